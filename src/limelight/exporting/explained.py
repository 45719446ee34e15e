"""The head of a network with its maps, as a function of tensors that can be captured as a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limelight.evidence import Evidence, EvidenceKind, MakeVariants, at_least_float32
from limelight.exporting.class_scores import ReadScore
from limelight.finish import finish
from limelight.layers import Layout
from limelight.methods import Method
from limelight.runtime.autograd import differentiate
from limelight.runtime.exported import SplitNetwork
from limelight.status import cancels, status_numbers


@dataclass(frozen=True, slots=True)
class MapAtLayer:
    """A map of the file.

    Attributes:
        method: The method.
        layer: The number of the layer among those of the file.
    """

    method: Method
    layer: int


@dataclass(frozen=True)
class ExplainedHead:
    """The head of a network, its gradient, and the maps: from the layers' outputs to all outputs.

    Attributes:
        split: The network, split at the layers.
        layouts: How each layer's output becomes a grid.
        maps: The maps.
        read_score: Reads the score of a class from the logits.
        class_count: C, the number of classes.
        matrices: For each layer, what interpolates its grid to the image (`resize_matrices`).
        size: The sizes of the image's axes.
    """

    split: SplitNetwork
    layouts: tuple[Layout, ...]
    maps: tuple[MapAtLayer, ...]
    read_score: ReadScore
    class_count: int
    matrices: tuple[Sequence[Tensor], ...]
    size: tuple[int, ...]

    def __call__(self, target: Tensor, *values: Any) -> list[Tensor]:
        """Return the logits, and heatmap, raw map and status of each map.

        1. Run the head from the layers' outputs on, and read the score.
        2. Differentiate the score.
        3. Make each map: the method, the status, and the three steps to the heatmap.

        Args:
            target: The class of each image, `[B]`; -1 for the predicted one.
            values: What the body returned.
        """
        count = len(self.split.first)
        with torch.enable_grad():
            # 1. The score.
            leaves = [value.detach().requires_grad_() for value in values[:count]]
            logits, outputs = self.split.head(*leaves, *values[count:])
            scores, index = self.read_score(logits, target)
            is_class = (target >= -1) & (target < self.class_count)
            # 2. The gradients.
            needs = frozenset[EvidenceKind]().union(*(each.method.needs for each in self.maps))
            gradients = _gradients(scores, outputs, needs)
        # 3. The maps.
        results = [logits.detach()]
        for each in self.maps:
            rerun = _Rerun(self, each.layer, index, values, outputs[each.layer].detach())
            evidence = self._evidence(each, outputs, gradients, rerun, scores.detach())
            results += self._map(each, evidence, is_class)
        return results

    def _evidence(
        self,
        each: MapAtLayer,
        outputs: Sequence[Tensor],
        gradients: Mapping[EvidenceKind, Sequence[Tensor]],
        rerun: _Rerun,
        score: Tensor,
    ) -> Evidence:
        """Return what a method reads at a layer."""
        layout = self.layouts[each.layer]
        activations = at_least_float32(layout.to_grid(outputs[each.layer].detach()))
        found: dict[EvidenceKind, Any] = {
            kind: at_least_float32(layout.to_grid(by_layer[each.layer]))
            for kind, by_layer in gradients.items()
        }
        if "class weights" in each.method.needs:
            # Behind a mean, each cell has the share 1 / N of the weight.
            found["class weights"] = found["gradients"].flatten(2).sum(2)
        if "head" in each.method.needs:
            found["head"] = rerun
        return Evidence(
            activations=activations,
            image=activations,  # no method that can be exported reads the image
            score=at_least_float32(score),
            found=found,
            span=layout.span,
        )

    def _map(self, each: MapAtLayer, evidence: Evidence, is_class: Tensor) -> list[Tensor]:
        """Return heatmap, raw map and status of a map; NaN where the target is no class."""
        method = each.method
        raw = method.raw(evidence)
        raw = torch.where(is_class.reshape(-1, *[1] * (raw.ndim - 1)), raw, torch.nan)
        reads_gradient = not method.needs.isdisjoint({"gradients", "class weights"})
        connections = [evidence.gradients] if reads_gradient else []
        cancelled = None
        if method.sums_over is not None:
            gradients = evidence.gradients
            summed = (
                gradients * evidence.activations if method.sums_over == "channels" else gradients
            )
            cancelled = cancels(summed, method.sums_over)
        numbers = status_numbers(
            raw,
            evidence.score,
            connections,
            cancelled,
            raw.flatten(1).amax(1) <= 0 if method.keeps_positive else None,
        )
        is_ok = (numbers == 0).reshape(-1, *[1] * len(self.size))
        heatmap = finish(raw, self.size, evidence.span, self.matrices[each.layer])
        return [torch.where(is_ok, heatmap, torch.zeros_like(heatmap)), raw, numbers]


def _gradients(
    scores: Tensor, outputs: Sequence[Tensor], needs: frozenset[EvidenceKind]
) -> dict[EvidenceKind, Sequence[Tensor]]:
    """Return the derivatives of the scores at each layer's output, of each kind that is needed."""
    found = dict[EvidenceKind, Sequence[Tensor]]()
    curved = "curvature" in needs
    if curved or not needs.isdisjoint({"gradients", "class weights"}):
        gradients = differentiate(scores.sum(), outputs, graph=curved)
        found["gradients"] = [gradient.detach() for gradient in gradients]
    if curved:
        found["curvature"] = [
            differentiate(gradient, [output], along=output.detach())[0]
            for gradient, output in zip(gradients, outputs, strict=True)
        ]
    return found


@dataclass(frozen=True)
class _Rerun:
    """Runs the head on variants of one layer's output, those of all images together.

    Attributes:
        explained: The head.
        layer: The number of the layer.
        index: The explained class of each image, `[B]`.
        values: What the body returned.
        output: The layer's output.
    """

    explained: ExplainedHead
    layer: int
    index: Tensor
    values: Sequence[Any]
    output: Tensor

    def scores(self, wanted: Tensor, make: MakeVariants) -> Tensor:
        """Return the score of each variant of each image, `[V, B]`; all variants are run."""
        count = wanted.shape[0]
        numbers = torch.arange(count, device=wanted.device)
        all_images: Any = (slice(None), None)  # where the number of one image was expected
        variants = make(numbers, all_images).flatten(0, 1)
        layout = self.explained.layouts[self.layer]
        given = layout.from_grid(variants, self._repeated(self.output, count))
        values = [self._repeated(value, count) for value in self.values]
        logits, _ = self.explained.split.heads[self.layer](given, *values)
        scores, _ = self.explained.read_score(logits, self._repeated(self.index, count))
        return scores.reshape(-1, count).T

    def _repeated(self, value: Any, count: int) -> Any:
        """Return a value of the body for `count` variants of each image.

        Rows are repeated where there are as many as images, or a multiple; a number of rows is
        multiplied. Only a symbol can be told from a constant, so the batch has to be open.
        """
        if isinstance(value, torch.SymInt):
            return value * count
        is_per_image = isinstance(value, Tensor) and value.ndim
        if not is_per_image or not isinstance(value.shape[0], torch.SymInt):
            return value
        batch, rest = self.index.shape[0], value.shape[1:]
        rows = value.reshape(batch, 1, -1, *rest)
        return rows.expand(-1, count, *[-1] * (rows.ndim - 2)).reshape(-1, *rest)

    def gradients(self, weights: Tensor, make: MakeVariants) -> Tensor:
        """Refuse: no method that can be exported asks for it."""
        raise NotImplementedError
