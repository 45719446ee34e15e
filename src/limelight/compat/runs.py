"""What a call of a peer's class needs of the network: one pass, and evidence at each layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from limelight.errors import LayerError, MethodError
from limelight.evidence import Evidence, EvidenceKind, at_least_float32
from limelight.finish import AxisSpan
from limelight.inputs import ModelInputs, map_tensors
from limelight.layers.resolved import INPUT, Layer
from limelight.methods.perturbed import without_channel
from limelight.options import Options
from limelight.progress import ProgressCallback, RunCallback
from limelight.runtime.channels_read import ChannelsRead, channels_read, without_channels
from limelight.runtime.cut import Cut, cut_layers
from limelight.runtime.execution import run_network
from limelight.runtime.rerun import Rerunner
from limelight.runtime.unwrap import unwrap
from limelight.runtime.whole_outputs import WholeOutputs
from limelight.status import Status, SummedOver, cancels, map_status
from limelight.target_evidence import TargetEvidence
from limelight.targets import OutputSpec, Scores, ScoreTarget, TargetContext
from limelight.targets.outputs import returned

#: From what a layer puts out to its channels over a grid, `[B, K, *grid]`.
ReshapeTransform = Callable[[Any], Tensor]


def output_without_graph(model: nn.Module, images: Tensor) -> Any:
    """Run a shadow of the model, as in evaluation mode, and return what it returns."""
    with torch.no_grad():
        return returned(run_network(unwrap(model), ModelInputs.of(images.clone())))


class LayerEvidence(ABC):
    """What one pass found out about one layer and one score per image.

    Attributes:
        layer: The layer, as the user named it.
        path: Its dotted path.
        scores: The scores.
        span: Where the grid lies on the picture, along each axis; () if it covers the picture.
    """

    layer: Layer
    path: str
    scores: Scores
    span: tuple[AxisSpan, ...] = ()

    @cached_property
    @abstractmethod
    def activations(self) -> Tensor:
        """The activations over a grid, `[B, K, *grid]`."""

    @cached_property
    @abstractmethod
    def gradients(self) -> Tensor:
        """The gradient of the score at them, `[B, K, *grid]`."""

    @abstractmethod
    def evidence(self, needs: frozenset[EvidenceKind]) -> Evidence:
        """Return the evidence for a method of METHODS with these needs."""

    @abstractmethod
    def scores_without(self, removed: Tensor) -> Tensor:
        """Return the score of each image without one of its channels, `[K, B]`.

        `removed` `[K, B]` says which channels to remove; the others have the score of the image.
        """

    @abstractmethod
    def why_disconnected(self) -> str:
        """Return why the score does not depend on the layer."""

    @abstractmethod
    def with_graph(self) -> tuple[Any, Any]:
        """Return the layer's output and its gradient as they are, in the graph."""

    def status(
        self,
        raw: Tensor,
        method: str,
        *,
        reads: bool,
        sums_over: SummedOver | None,
        keeps_positive: bool,
    ) -> tuple[Status, ...]:
        """Return the status of each raw map `[B, *grid]` of a method.

        Args:
            raw: The raw maps.
            method: The method's name.
            reads: Whether it reads gradients.
            sums_over: What it sums, so that it may cancel; None for nothing.
            keeps_positive: Whether it leaves out what speaks against the score.
        """
        gradients = self.gradients.to(raw.device) if reads else None
        return map_status(
            raw,
            self.scores.values.detach().to(raw.device),
            [] if gradients is None else [gradients],
            cancelled=self._cancelled(sums_over) if reads else None,
            summed_over=sums_over,
            all_left_out=raw.flatten(1).amax(1) <= 0 if keeps_positive else None,
            method=method,
            layer=self.path,
            grid=None if self.path == INPUT else raw.shape[1:],
            why=self.why_disconnected,
        )

    def _cancelled(self, over: SummedOver | None) -> Tensor | None:
        """Return for each image whether what a method sums up cancels, `[B]`."""
        if over is None:
            return None
        values = self.gradients if over == "cells" else self.gradients * self.activations
        return cancels(values, over).cpu()


class CutLayer(LayerEvidence):
    """A layer whose grid limelight finds."""

    def __init__(self, layer: Layer, cut: Cut, target: ScoreTarget, options: Options) -> None:
        """Score the images."""
        self._evidence = TargetEvidence(cut, target, options)
        self._evidence.begin("")
        self.layer, self.path, self.span = layer, cut.layer, cut.layout.span
        self.scores = self._evidence.scores

    @cached_property
    def activations(self) -> Tensor:
        """The activations over the layer's grid, `[B, K, *grid]`."""
        return at_least_float32(self._evidence.cut.activations)

    @cached_property
    def gradients(self) -> Tensor:
        """The gradient of the score at them, `[B, K, *grid]`."""
        return self.evidence(frozenset({"gradients"})).gradients

    def evidence(self, needs: frozenset[EvidenceKind]) -> Evidence:
        """Return the evidence for a method with these needs."""
        return self._evidence.evidence(needs)

    def scores_without(self, removed: Tensor) -> Tensor:
        """Return the score of each image without one of its channels, `[K, B]`: head runs."""
        evidence = self.evidence(frozenset({"head"}))
        return evidence.head.scores(removed, without_channel(evidence))

    def with_graph(self) -> tuple[Any, Any]:
        """Raise an error: the tensors of a cut are on a grid."""
        raise NotImplementedError("a pass that keeps the layers' form was expected")

    def why_disconnected(self) -> str:
        """Return why the score does not depend on the layer, and which layer to take."""
        return self._evidence.why_disconnected()


class TransformedLayer(LayerEvidence):
    """A layer whose output, and whose gradient, the user turns into a grid."""

    def __init__(
        self,
        layer: Layer,
        run: TransformedRun,
        number: int,
        scores: Scores,
        progress: RunCallback | None,
    ) -> None:
        """Prepare to turn the output of one of the layers into a grid.

        Raises:
            LayerError: The transform returns no `[B, K, *grid]`.
        """
        self.layer, self.path = layer, run.outputs.paths[number]
        self.scores, self._run, self._number, self._progress = scores, run, number, progress
        self._output = run.outputs.at_layers[number]

    @cached_property
    def activations(self) -> Tensor:
        """The transformed output of the layer, `[B, K, *grid]`."""
        return self._on_grid(self._output)

    @cached_property
    def gradients(self) -> Tensor:
        """The transformed gradient of the score at the layer's output, `[B, K, *grid]`."""
        return self._on_grid(self._run.outputs.gradients(self.scores.values.sum(), self._number))

    def evidence(self, needs: frozenset[EvidenceKind]) -> Evidence:
        """Return the evidence for a method with these needs.

        Raises:
            MethodError: It needs what cannot be had behind a transform.
        """
        found: dict[EvidenceKind, Any] = {}
        for need in needs:
            match need:
                case "gradients":
                    found[need] = self.gradients
                case "curvature":
                    curvature = self._run.outputs.curvature(self.scores, self._number)
                    found[need] = self._on_grid(curvature)
                case "network":
                    found[need] = self._run.rerunner(
                        self._run.on_images, self.scores, self._progress
                    )
                case _:
                    raise MethodError(
                        f"The method reads the {need}, which is not known behind a "
                        "reshape_transform. Leave the transform out; limelight finds the grid."
                    )
        return Evidence(
            activations=self.activations,
            image=self._run.inputs.image,
            score=at_least_float32(self.scores.values.detach()),
            found=found,
        )

    def scores_without(self, removed: Tensor) -> Tensor:
        """Return the score of each image without one of its channels, `[K, B]`.

        Each runs the network with the layer's output replaced; see `runtime.channels_read`.
        """
        rerunner = self._run.rerunner(self._with_channels_removed, self.scores, self._progress)
        return rerunner.scores(removed, lambda channels, _image: channels)

    def with_graph(self) -> tuple[Any, Any]:
        """Return the layer's output and its gradient as they are, in the graph."""
        total = self.scores.values.sum()
        return self._output, self._run.outputs.gradients(total, self._number, graph=True)

    def why_disconnected(self) -> str:
        """Return why the score does not depend on the layer."""
        return (
            "No gradient of the score arrives at what the reshape_transform reads. Take an earlier "
            "layer; in front of the last attention, if the class token alone is read behind it."
        )

    def _on_grid(self, output: Any) -> Tensor:
        """Apply the transform to a layer's output, or to its gradient."""
        grid = self._run.transform(map_tensors(output, lambda t: at_least_float32(t.detach())))
        batch = self._run.inputs.batch
        if not isinstance(grid, Tensor) or grid.ndim < 3 or len(grid) != batch:
            shape = list(grid.shape) if isinstance(grid, Tensor) else type(grid).__name__
            raise LayerError(
                f"The reshape_transform returned {shape}; channels over a grid were expected, "
                f"[{batch}, K, height, width]. Leave it out to let limelight find the grid."
            )
        return grid

    def _with_channels_removed(self, channels: Tensor, images: Tensor) -> Any:
        """Run the network with a channel of the grid removed, one in each row."""
        removed = [self._channels_read[channel] for channel in channels.tolist()]
        output = without_channels(self._output, images, removed)
        return self._run.outputs.run_with(self._number, output, images)

    @cached_property
    def _channels_read(self) -> list[ChannelsRead]:
        """What the transform reads for each channel of the grid."""
        return channels_read(self._run.transform, self._output)


class TransformedRun:
    """One pass in which the user's transform turns the outputs of layers into grids.

    Attributes:
        transform: From what a layer puts out to `[B, K, *grid]`.
        outputs: The pass.
        inputs: What the model was given.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: ModelInputs,
        layers: Sequence[Layer],
        transform: ReshapeTransform,
        chunk: int,
    ) -> None:
        """Run the model."""
        self.transform, self.inputs, self._model, self._chunk = transform, inputs, model, chunk
        self.outputs = WholeOutputs(model, inputs, layers)

    def on_images(self, images: Tensor, rows: Tensor) -> Any:
        """Run the whole network on other images `[M, C, *image]`."""
        return run_network(self._model, self.inputs.on(images, rows))

    def rerunner(
        self,
        network: Callable[[Tensor, Tensor], Any],
        scores: Scores,
        progress: RunCallback | None,
    ) -> Rerunner:
        """Return what runs a network on many variants."""
        return Rerunner(network, scores, self._chunk, progress, inference=False, mixed=True)


class PeerRun:
    """One pass of the network for a call of a peer's class.

    Attributes:
        inputs: What the model was given.
        returned: What it returned, without a graph.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        layers: Sequence[Layer],
        *,
        transform: ReshapeTransform | None = None,
        keeps_form: bool = False,
        chunk: int | None = None,
    ) -> None:
        """Run the model.

        Args:
            model: The network.
            images: `[B, C, *image]`.
            layers: Where to cut.
            transform: From what a layer puts out to a grid; None to let limelight find it.
            keeps_form: Without a transform, take what a layer puts out as it is.
            chunk: How many variants run together; None to let limelight choose.
        """
        self._model, self._layers, self._options = model, layers, Options.read(chunk=chunk)
        self.inputs = ModelInputs.of(images)
        self._transformed: TransformedRun | None = None
        self._cuts = list[Cut]()
        if transform is not None or keeps_form:
            self._transformed = TransformedRun(
                model, self.inputs, layers, transform or _as_it_is, chunk or _CHUNK
            )
            output = self._transformed.outputs.output
        else:
            self._cuts = cut_layers(model, self.inputs, layers, self._options)
            output = self._cuts[0].output
        self.returned = map_tensors(returned(output), Tensor.detach)

    @property
    def batch(self) -> int:
        """B, the number of images."""
        return self.inputs.batch

    @property
    def images(self) -> Tensor:
        """The images `[B, C, *image]`."""
        return self.inputs.image

    def at_layers(
        self, target: ScoreTarget, progress: ProgressCallback | None = None
    ) -> list[LayerEvidence]:
        """Score the images, and return what is known at each layer.

        Args:
            target: What is explained.
            progress: Called by methods that run the network many times.

        Raises:
            UnknownNameError, TargetError: The target gives no score per image.
        """
        run = self._transformed
        if run is None:
            options = replace(self._options, progress=progress)
            return [
                CutLayer(layer, cut, target, options)
                for layer, cut in zip(self._layers, self._cuts, strict=True)
            ]
        context = TargetContext(self.batch, tuple(self.images.shape[2:]), OutputSpec())
        with torch.inference_mode(False), torch.enable_grad():
            scores = target.score(run.outputs.output, context)
        return [
            TransformedLayer(layer, run, number, scores, progress and partial(progress, ""))
            for number, layer in enumerate(self._layers)
        ]

    def images_with_gradient(self, target: ScoreTarget) -> Tensor:
        """Return a copy of the images whose `grad` is that of the score."""
        (cut,) = cut_layers(self._model, self.inputs, [INPUT], self._options)
        with torch.inference_mode(False):
            images = self.images.clone().requires_grad_()
        images.grad = cut.gradients(target)
        return images


def _as_it_is(output: Any) -> Any:
    return output


#: How many variants of an image run together behind a transform, if the user does not say.
_CHUNK = 8
