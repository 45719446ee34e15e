"""What a user calls to cut a network at a layer: `A = body(x)`, `y = head(A)`.

A `Cut` holds the activations of one layer from one pass (`forward`). Gradients, runs of the head,
and attention come from the other modules of this room.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from limelight.errors import QUANTISED, MethodError
from limelight.evidence import Attention, BiasGradient, WordLogits
from limelight.inputs import Inputs, ModelInputs, as_tensor, map_tensors
from limelight.layers import INPUT, Layout, ResolvedLayer
from limelight.layers.resolved import Layer
from limelight.misnamed import checked_arguments
from limelight.options import Options
from limelight.runtime import attending, deep
from limelight.runtime.autograd import behind_node, differentiate, no_grad, node_of
from limelight.runtime.cam_head import class_weights
from limelight.runtime.diagnosis import layers_instead, why_disconnected
from limelight.runtime.execution import run_network
from limelight.runtime.forward import Pass, run_pass
from limelight.runtime.head import Head, checked_rows
from limelight.runtime.memory_format import suits_channels_last
from limelight.runtime.output_layout import layout_of_output, on_its_picture
from limelight.runtime.shadow import keeps_nothing
from limelight.runtime.word_logits import word_logits
from limelight.targets import LogitsKey, Scores, ScoreTarget, Target, as_target
from limelight.targets.outputs import returned

_log = logging.getLogger(__name__)


@checked_arguments
def cut(
    model: nn.Module,
    inputs: Inputs,
    layer: Layer | None = None,
    *,
    classes: Sequence[str] | None = None,
    output: LogitsKey | None = None,
    grid: Sequence[int] | None = None,
    picture: int | None = None,
    differentiable: bool = False,
) -> Cut:
    """Run a model once and cut it at a layer.

    With `A` the activations and `y_c` a class score, Grad-CAM is then its paper (Selvaraju et al.
    2017, eq. 1 and 2): `alpha_k = mean_ij dy_c/dA_k`, `L = relu(sum_k alpha_k A_k)`:

        cut = limelight.cut(model, images, "layer4")
        alpha = cut.gradients(target=281).mean((-2, -1), keepdim=True)
        L = (alpha * cut.activations).sum(1).relu()

    The model runs as in evaluation mode, whatever mode it is in, and is left untouched.

    Args:
        model: Any eager `nn.Module`; wrappers (DataParallel, DDP, `torch.compile`) are looked
            through.
        inputs: Images `[B, C, *image]`, or a tuple or dict of what the model takes.
        layer: A dotted path, the module itself, or None to have limelight choose; `"<input>"` cuts
            in front of the network, so that A is the images.
        classes: The names of the classes, for targets given by name.
        output, grid, picture: As in `explain`.
        differentiable: Let activations and gradients carry a graph to the model's parameters, so
            that a loss on them can be trained. It costs the graph of a training step.

    Raises:
        UnknownNameError: The model has no such layer.
        LayerError: The layer did not run, ran several times, or its output is not a grid.
        ModelError: The model is scripted, has uninitialised parameters, or is not an `nn.Module`.
        InputError: The images are empty, or not finite.
    """
    options = Options.read(classes=classes, output=output, grid=grid, differentiable=differentiable)
    return cut_layers(model, ModelInputs.of(inputs, picture), [layer], options)[0]


def cuts(
    model: nn.Module,
    inputs: Inputs,
    layers: Sequence[Layer | None],
    *,
    classes: Sequence[str] | None = None,
    output: LogitsKey | None = None,
    grid: Sequence[int] | None = None,
    picture: int | None = None,
    differentiable: bool = False,
) -> list[Cut]:
    """Run a model once and cut it at several layers; as `cut`, one result per layer, in order."""
    options = Options.read(classes=classes, output=output, grid=grid, differentiable=differentiable)
    return cut_layers(model, ModelInputs.of(inputs, picture), layers, options)


def cut_layers(
    model: nn.Module,
    inputs: ModelInputs,
    layers: Sequence[Layer | None],
    options: Options,
    *,
    asked: Sequence[ScoreTarget] = (),
    input_requires_grad: bool = True,
    watched: Sequence[Layer] = (),
) -> list[Cut]:
    """Cut as `cuts`, with inputs and options already read; the last arguments are `run_pass`'s."""
    asking: dict[str, Any] = {"asked": asked, "watched": watched}
    run, outputs = run_pass(
        model, inputs, layers, options, input_requires_grad=input_requires_grad, **asking
    )
    cuts = []
    for layer, reason, tensor in outputs:
        placed = layout_of_output(tensor, layer, run)
        _log.info("cut at %s (%s): %s", layer.name, reason, placed.layout)
        cuts.append(
            Cut(
                layer.name,
                reason,
                placed.layout,
                _layer_output=tensor,
                _resolved=layer,
                _run=on_its_picture(run, placed),
            )
        )
    return cuts


@dataclass(frozen=True, eq=False)
class Cut:
    """A network cut at a layer: `A = body(x)`, `y = head(A)`.

    Attributes:
        layer: The layer's dotted path.
        reason: Why this layer: "named", or why limelight chose it.
        layout: How the layer's output becomes a grid.
    """

    layer: str
    reason: str
    layout: Layout
    _layer_output: Tensor = field(repr=False)
    _resolved: ResolvedLayer = field(repr=False)
    _run: Pass = field(repr=False)

    @property
    def activations(self) -> Tensor:
        """The activations A of the layer, `[B, K, *grid]`."""
        with_graph = self._run.options.differentiable
        return self.layout.to_grid(
            self._layer_output if with_graph else self._layer_output.detach()
        )

    @property
    def output(self) -> Any:
        """What the model returned, without a graph."""
        output = returned(self._run.output)
        return output.detach() if isinstance(output, Tensor) else map_tensors(output, Tensor.detach)

    @property
    def image(self) -> Tensor:
        """The images `[B, C, *image]` that the grid lies on.

        With several pictures among the inputs, these are the first that the layer depends on.
        """
        return self._run.inputs.image

    @property
    def picture(self) -> int:
        """The number of the images' tensor among the model's input tensors, from 0."""
        return self._run.inputs.at

    def on(self, images: Tensor, *, with_graph: bool = False) -> Cut:
        """Cut the same network at the same layer over other images `[B, C, *image]`.

        The model's other arguments stay the same. `with_graph` makes a graph begin at the input.
        """
        run, inputs = self._run, self._run.inputs.on(images)
        requires_grad = with_graph or self._layer_output.requires_grad
        (other,) = cut_layers(
            run.model, inputs, [self.layer], run.options, input_requires_grad=requires_grad
        )
        return other

    def score(self, target: Target = None) -> Scores:
        """Return the score of each image, `[B]`; the default target is the predicted class.

        The values carry the graph of the head.
        """
        with torch.inference_mode(False), torch.enable_grad():
            return as_target(target).score(self._run.output, self._run.context)

    def probability(self, target: Target | Scores = None) -> Tensor | None:
        """Return the probability of the explained class, `[B]`: `p_c = softmax(y)_c`.

        It is None unless the score is that of one class among several, or that of words.
        """
        probability = self._scores(target).probability
        if probability is None:
            return None
        with torch.no_grad():
            rows = torch.arange(self._run.inputs.batch, device="cpu")
            return probability(self._run.output, rows).detach()

    def gradients(self, target: Target | Scores = None) -> Tensor:
        """Return the gradient of the score with respect to A, `d score_b / d A_b`.

        Shape `[B, K, *grid]`; zero where the score does not depend on A. Here and below, what
        `score` returned may stand for the target.

        Raises:
            UnknownNameError, TargetError: The target gives no score per image.
            MethodError: The network is quantised.
        """
        with torch.inference_mode(False), torch.enable_grad():
            total = self._scores(target).values.sum()
            (gradient,) = differentiate(
                total, [self._layer_output], graph=self._run.options.differentiable
            )
        if self._run.traits.quantised and not gradient.any():
            raise MethodError(QUANTISED)
        return self.layout.to_grid(gradient)

    def curvature(self, target: Target | Scores = None) -> Tensor:
        """Return the Hessian of the score times the activations, `H A`, `[B, K, *grid]`.

        `(H A)_i = sum_j d^2 y_c / (dA_i dA_j) A_j`, over all that the layer puts out for an image:
        a class token, which has no cell of the grid, is among the j.
        """
        scores = self._scores(target)
        with suppress(MethodError):
            return self._curvature(scores.values, self._layer_output)
        # Fused attention cannot be differentiated twice; its plain implementation can.
        inputs = self._run.inputs
        with sdpa_kernel(SDPBackend.MATH):
            options = Options(self._run.spec)
            (cut_again,) = cut_layers(self._run.model, inputs, [self.layer], options)
        with torch.inference_mode(False), torch.enable_grad():
            values = scores.read_again(
                cut_again._run.output, torch.arange(inputs.batch, device="cpu")
            )
        return self._curvature(values, cut_again._layer_output)

    def _curvature(self, values: Tensor, layer_output: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            (gradient,) = differentiate(values.sum(), [layer_output], graph=True)
            with_graph = self._run.options.differentiable
            along = layer_output if with_graph else layer_output.detach()
            (product,) = differentiate(gradient, [layer_output], along=along, graph=with_graph)
        return self.layout.to_grid(product)

    def head(
        self,
        activations: Tensor,
        *,
        rows: Tensor | Sequence[int] | None = None,
        may_overwrite: bool = False,
    ) -> Any:
        """Run the rest of the network on other activations and return its output.

        Only what comes after the layer is computed; what ran before it is replayed from a record.
        The first call makes that record in one more pass over the whole network. The output is
        differentiable with respect to `activations`, in the caller's grad mode.

        Args:
            activations: `[M, K, *grid]`.
            rows: `[M]` integers, the image (0 to B - 1) that each row of activations belongs to.
                Not needed when M = B (row m belongs to image m) or when B = 1.
            may_overwrite: Whether the network may write on the activations. That saves a copy, if
                the caller does not read them again.

        Raises:
            InputError: The activations do not fit the layer, or `rows` is needed or wrong.
        """
        row_images = None if rows is None else as_tensor(rows)
        if self._resolved.path == INPUT:
            return self.network(activations, rows=row_images)
        return self._head(activations, row_images, may_overwrite=may_overwrite)

    def network(self, images: Tensor, *, rows: Tensor | Sequence[int] | None = None) -> Any:
        """Run the whole network on other images and return its output.

        Args:
            images: `[M, C, *image]`.
            rows: `[M]` integers, the image (0 to B - 1) that each of them replaces: the model's
                other arguments are those of that image. Not needed when M = B or B = 1.

        Raises:
            InputError: `rows` is needed or wrong.
        """
        inputs = self._run.inputs
        row_images = None if rows is None else as_tensor(rows)
        row_images = checked_rows(row_images, len(images), inputs.batch, images.device)
        return run_network(
            self._run.model, inputs.on(images, row_images), compile=self._run.options.compile
        )

    def guided_gradients(self, target: Target | Scores = None) -> Tensor:
        """Return the gradient at the images when each ReLU passes on only positive gradients.

        Guided backpropagation (Springenberg et al. 2015, section 3.4), `[B, C, *image]`. A network
        without a ReLU raises a MethodError.
        """
        return deep.guided_gradients(self._run, self._scores(target))

    def bias_gradients(self, target: Target | Scores = None) -> list[BiasGradient]:
        """Return `b_l * dy_c/dz_l` of every layer l with a bias and a grid, `[B, K_l, *grid_l]`.

        Together with the gradient at the input they sum to the score (Srinivas and Fleuret 2019).
        """
        return deep.bias_gradients(self._run, self._scores(target))

    def attention(
        self, target: Target | Scores = None, *, by_layer: bool = False, tower: str = ""
    ) -> Attention:
        """Return the attention matrices of a tower, with the gradient of the score at each.

        With `by_layer` a layer's gradient is that of its own score: if its block's tokens went
        straight into what follows the last block. `tower` is the path of the module that holds the
        layers, "" for the picture's; an UnknownNameError or a MethodError says if it has no map.
        """
        find = attending.layer_attention if by_layer else attending.attention
        return find(self._run, self._scores(target), tower)

    def word_logits(self, target: Target | Scores = None) -> WordLogits:
        """Return the logits of a sentence's words at the picture; MethodError if there are none."""
        return word_logits(self._run, self._scores(target))

    @cached_property
    def _head(self) -> Head:
        with no_grad():
            return Head(self._run.model, self._resolved, self._run.inputs, self.layout)

    def class_weights(self, target: Target | Scores = None) -> Tensor:
        """Return the weights `w^c` of the linear layer for the explained class, `[B, K]`.

        They exist when the head is an average pool and one linear layer, `y = W mean_ij(A) + b`
        (Zhou et al. 2016, eq. 1), which is checked on the values of this pass. For a target that is
        not a class, `w = (d score / d y) W`.

        Raises:
            MethodError: The head is not an average pool and one linear layer.
        """
        gradients = self.gradients(target)
        return class_weights(
            self._run, self.layer, self.activations, gradients, self._scores(target)
        )

    @property
    def suits_channels_last(self) -> bool:
        """Whether images in channels-last format run faster, with the same result."""
        return suits_channels_last(self._run.model, self._run.inputs)

    @property
    def keeps_nothing(self) -> bool:
        """Whether the model surely stores nothing in a pass, so that inference mode is safe."""
        return keeps_nothing(self._run.model)

    def check_gradient(self, target: Target | Scores = None) -> None:
        """Refuse a score that no gradient can reach.

        Raises:
            MethodError: The network is quantised, and the score's graph does not lead to the layer.
        """
        if self._run.traits.quantised and not self._leads_here(self._scores(target)):
            raise MethodError(QUANTISED)

    def why_disconnected(self, target: Target = None, scores: Scores | None = None) -> str:
        """Return why the gradient of a score (`scores`, if known) is zero here; what to do."""
        in_graph = self._leads_here(scores or self.score(target))
        return why_disconnected(self._run, self.layer, as_target(target), in_graph=in_graph)

    def elsewhere(self, scores: Scores, image: int) -> Iterator[Cut]:
        """Yield the network cut at layers that the score of one image may read instead of this.

        They are those chosen before for other scores, and then the one chosen for this score.
        """
        for layer in layers_instead(self._run, self.layer, scores, image):
            (other,) = cut_layers(self._run.model, self._run.inputs, [layer], self._run.options)
            yield replace(
                other,
                reason=f"a layer that the score reads; on the grid of {self.layer!r}, which was "
                "chosen first, no gradient of it arrives",
            )

    def _leads_here(self, scores: Scores) -> bool:
        """Return whether the graph leads from the scores back to the layer."""
        return node_of(self._layer_output) in behind_node(node_of(scores.values))

    def _scores(self, target: Target | Scores) -> Scores:
        """Return the scores for a target; those that were found before are returned as they are."""
        return target if isinstance(target, Scores) else self.score(target)
