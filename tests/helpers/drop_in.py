"""Scripts with their import changed, and what they should compute: plain hooks, numpy, OpenCV."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from limelight.compat import pytorch_grad_cam

Array = npt.NDArray[Any]

Grid = Callable[[Any], Tensor]

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def run_script(name: str, old: str, new: str) -> dict[str, Any]:
    """Run a script of tests/scripts with one text replaced by another, and return its globals."""
    path = SCRIPTS / name
    text = path.read_text()
    assert old in text
    assert "limelight" not in text
    names: dict[str, Any] = {"__name__": "__main__", "__file__": str(path)}
    exec(compile(text.replace(old, new), str(path), "exec"), names)
    return names


def channels_last(output: Tensor) -> Tensor:
    return output.permute(0, 3, 1, 2)


def tokens(height: int, width: int, prefix: int = 0) -> Grid:
    """Return what lays tokens `[B, prefix + N, K]` on a grid."""

    def on_grid(output: Tensor) -> Tensor:
        grid = output[:, prefix:].reshape(len(output), height, width, -1)
        return channels_last(grid)

    return on_grid


def at_layer(
    model: nn.Module,
    layer: nn.Module,
    images: Tensor,
    score: Callable[[Any], Tensor],
    grid: Grid = lambda output: output,
) -> tuple[Array, Array]:
    """Return activations and gradients `[B, K, h, w]` at a layer, by a plain hook."""
    outputs: list[Tensor] = []
    model.eval()
    handle = layer.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    total = score(model(images)).sum()
    handle.remove()
    (gradient,) = torch.autograd.grad(total, outputs[-1])
    return grid(outputs[-1]).detach().numpy(), grid(gradient).numpy()


def of_class(category: int) -> Callable[[Tensor], Tensor]:
    """Return what reads the score of a class from logits `[B, C]`."""
    return lambda output: output[:, category]


def gradcam(activations: Array, gradients: Array) -> Array:
    """Return `sum_k mean_ij(g_k) A_k`."""
    weights = gradients.mean(axis=(2, 3), keepdims=True)
    return np.asarray((weights * activations).sum(axis=1))


def first_component(contributions: Array) -> Array:
    """Return `[B, K, h, w]` projected onto its first direction, turned to the mean of channels."""
    maps = []
    for each in contributions.astype(np.float64):
        cells = each.reshape(len(each), -1).T
        u, s, _ = np.linalg.svd(cells - cells.mean(axis=0), full_matrices=False)
        component = u[:, 0] * s[0]
        turn = np.sign(np.corrcoef(component, cells.mean(axis=1))[0, 1])
        maps.append((turn * component).reshape(each.shape[1:]))
    return np.stack(maps)


def scaled(one_map: Array) -> Array:
    """Return a map scaled to [0, 1]."""
    from_zero = one_map - one_map.min()
    highest = from_zero.max()
    return np.asarray(from_zero / highest if highest > 0 else from_zero)


def heatmap(raws: Array | Sequence[Array], size: Sequence[int]) -> Array:
    """Return the heatmap of one image from the raw map `[h, w]` of each layer: `[H, W]`."""
    height, width = size
    resized = [
        cv2.resize(scaled(np.maximum(raw, 0)).astype(np.float32), (width, height)) for raw in raws
    ]
    return scaled(np.mean(resized, axis=0))


def overlay(photo: Array, one_map: Array) -> Array:
    """Return an RGB photo in [0, 1] with the jet colours of a map added to it, 0 to 255."""
    bgr = cv2.applyColorMap(np.uint8(255 * one_map), cv2.COLORMAP_JET)
    added = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.float32) / 255 + photo
    return np.asarray(255 * (added / added.max())).astype(np.uint8)


class _GuidedReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,), (gradient,) = ctx.saved_tensors, gradients
        result: Tensor = gradient.clamp(min=0) * (x > 0)
        return result


class _Guided(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = _GuidedReLU.apply(x)
        return result


def guided_gradient(model: nn.Module, images: Tensor, category: int) -> Array:
    """Return the guided gradient `[H, W, C]` of one image, in a copy with other ReLUs."""
    guided = copy.deepcopy(model).eval()
    for module in list(guided.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, _Guided())
    images = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(guided(images)[0, category], images)
    return gradient[0].movedim(0, -1).numpy()


def deprocessed(values: Array) -> Array:
    """Return numbers as grey levels: a mean of 127, and a tenth of the range per deviation."""
    standard = (values - values.mean()) / (values.std() + 1e-5)
    return np.asarray(255 * np.clip(standard / 10 + 0.5, 0, 1)).astype(np.uint8)


def levels_apart(picture: Array, other: Array) -> Array:
    """Return how many grey levels two pictures differ by, at each pixel."""
    assert picture.shape == other.shape
    assert picture.dtype == other.dtype == np.uint8
    return np.asarray(np.abs(picture.astype(int) - other.astype(int)))


#: The package of the drop-in, as scripts write it.
PACKAGE = pytorch_grad_cam.__name__
