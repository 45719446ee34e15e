"""What an exported file should return, by ordinary hooks and a full backward, in float64.

Nothing of limelight is used here: `oracles.evidence` finds activations and gradients on a copy of
the model, and the formulas are those that `oracles` derives from their papers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from oracles.evidence import Grid, Probe, cells_of, channels_first, probe, run
from oracles.pointwise import gradcam_elementwise, hirescam, layercam
from oracles.weighted import cam, fem, gradcam, gradcam_plus_plus, xgradcam

#: Methods of activations and gradients `[B, K, *grid]`.
OF_GRADIENTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gradcam": gradcam,
    "gradcam++": gradcam_plus_plus,
    "xgradcam": xgradcam,
    "hirescam": hirescam,
    "layercam": layercam,
    "gradcam-elementwise": gradcam_elementwise,
}


@dataclass(frozen=True, eq=False)
class Expected:
    """A copy of a model in float64, images, and the class of each; -1 for the predicted one.

    Attributes:
        model: The model; it stays as it is.
        layer: The layer's path in it.
        images: `[B, C, H, W]`.
        targets: `[B]`.
        grid: How the layer's output becomes a grid `[B, K, *grid]`.
        ungrid: Puts a grid back into the layer's output, given what that was.
        call: Which call of the layer it is, from 1.
        logits: Finds the logits in the output.
        linear: The path of the linear layer, for CAM.
    """

    model: nn.Module
    layer: str
    images: Tensor
    targets: Sequence[int]
    grid: Grid = channels_first
    ungrid: Callable[[Tensor, Tensor], Tensor] = lambda grid, _output: grid
    call: int = 1
    logits: Callable[[Any], Tensor] = lambda output: output
    linear: str = ""

    @cached_property
    def precise(self) -> nn.Module:
        return copy.deepcopy(self.model).double().eval()

    @cached_property
    def output(self) -> Tensor:
        """The logits, `[B, C]`."""
        with torch.no_grad():
            return self.logits(run(self.precise, self.images.double()))

    @cached_property
    def classes(self) -> list[int]:
        """The class of each image."""
        predicted = self.output.argmax(1).tolist()
        return [p if t == -1 else t for p, t in zip(predicted, self.targets, strict=True)]

    @cached_property
    def probe(self) -> Probe:
        images = self.images.double()
        return probe(self.precise, self.layer, images, self.score, self.grid, call=self.call)

    def score(self, output: Any) -> Tensor:
        """Return the logit of each image's class, `[B]`."""
        return torch.stack([self.logits(output)[b, c] for b, c in enumerate(self.classes)])

    def raw(self, method: str) -> Tensor:
        """Return the raw map of a method, `[B, *grid]`."""
        a, g = self.probe.activations, self.probe.gradients
        if method in OF_GRADIENTS:
            return OF_GRADIENTS[method](a, g)
        if method == "fem":
            return fem(a)
        if method == "cam":
            weight = cast("Tensor", self.precise.get_submodule(self.linear).weight)
            return cam(a, weight, self.classes)
        assert method == "reciprocam"
        return self.reciprocam()

    def reciprocam(self) -> Tensor:
        """Recipro-CAM, Byun and Lee 2022: the score when a cell alone is left, less that of none.

        What lies on no cell, as a class token, stays (Byun and Lee 2023).
        """
        a = self.probe.activations
        nothing = self.score_with(torch.zeros_like(a))
        found = []
        for cell in cells_of(a.shape[2:]):
            left = torch.zeros_like(a)
            left[(..., *cell)] = a[(..., *cell)]
            found.append(self.score_with(left) - nothing)
        return torch.stack(found, 1).reshape(-1, *a.shape[2:])

    def score_with(self, grid: Tensor) -> Tensor:
        """Return the scores, `[B]`, with another grid in the layer's output."""
        calls = 0

        def replaced(_module: nn.Module, _args: object, output: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls != self.call:
                return None
            other = self.ungrid(grid, self.probe.raw).clone()
            return (other, *output[1:]) if isinstance(output, tuple) else other

        hook = self.precise.get_submodule(self.layer).register_forward_hook(replaced)
        try:
            with torch.no_grad():
                return self.score(run(self.precise, self.images.double()))
        finally:
            hook.remove()

    def what_cancels(self, method: str) -> float | None:
        """Return the size of what is subtracted in a raw map; None where little cancels."""
        if method != "reciprocam":
            return None
        scores = [abs(float(self.output[b, c])) for b, c in enumerate(self.classes)]
        return max(float(self.raw(method).abs().max()), *scores)

    def statuses(self, method: str) -> list[str]:
        """Return the status of each map of a score that depends on the layer, and is finite."""
        names = []
        for one in self.raw(method):
            if one.amax() == one.amin():
                names.append("flat")
            else:
                names.append("ok" if one.amax() > 0 else "no-positive-evidence")
        return names

    def heatmap(self, method: str) -> Tensor:
        """Return the heatmap `[B, H, W]` of a map with evidence, on a grid that covers the image.

        Relu; bilinear, cell centres over pixel centres; then each map less its minimum, over its
        maximum.
        """
        size = tuple(self.images.shape[2:])
        positive = self.raw(method).clamp(min=0)[:, None]
        larger = interpolate(positive, size=size, mode="bilinear", align_corners=False)[:, 0]
        least, most = larger.amin((1, 2), keepdim=True), larger.amax((1, 2), keepdim=True)
        return (larger - least) / (most - least)


def behind_prefix(count: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Return what puts a grid `[B, K, h, w]` behind the first tokens of `[B, N, K]`."""
    return lambda grid, output: torch.cat(
        [output[:, :count], grid.flatten(2).transpose(1, 2)], dim=1
    )


def last_axis(grid: Tensor, _output: Tensor) -> Tensor:
    """Return a grid `[B, K, h, w]` with its channels last."""
    return grid.permute(0, 2, 3, 1)
