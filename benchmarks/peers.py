"""Calls of the peers, grad-cam 1.5.7 and torchcam 0.5.0, and a comparison of maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from io import StringIO
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchcam.methods import ScoreCAM

Score = Callable[[Tensor], Tensor]


class Made(NamedTuple):
    """The result of a method of grad-cam: its raw map, and the activations that it read."""

    raw: Tensor
    activations: Tensor


def grad_cam(
    kind: Callable[..., Any],
    model: nn.Module,
    layer: str,
    images: Tensor,
    targets: Sequence[Score],
    **attributes: Any,
) -> Made:
    """Run a method of grad-cam; return what `get_cam_image` makes, before relu and scaling."""
    found = list[Made]()
    # Its progress bars go to stderr.
    with (
        redirect_stderr(StringIO()),
        kind(model=model, target_layers=[model.get_submodule(layer)]) as cam,
    ):
        make = cam.get_cam_image

        def seen(*args: Any) -> Any:
            raw, activations = make(*args), torch.as_tensor(args[3]).detach()
            found.append(Made(torch.as_tensor(raw), activations))
            return raw

        cam.get_cam_image = seen
        for name, value in attributes.items():
            setattr(cam, name, value)
        cam(images, targets)
    return found[0]


def torchcam_scorecam(model: nn.Module, layer: str, images: Tensor, index: int) -> Tensor:
    """Run torchcam's ScoreCAM; return its map after relu, before scaling."""
    with ScoreCAM(model, layer) as cam:
        with torch.inference_mode():
            model(images)
        (found,) = cam(index, normalized=False)
    return torch.as_tensor(found)


def agreement(one: Tensor, other: Tensor, *, signless: bool = False) -> tuple[float, float]:
    """Compare maps `[B, *grid]`, each scaled by its largest absolute value.

    With `signless`, the other map takes the sign that agrees better.

    Returns:
        The largest difference, and the lowest correlation.
    """
    first, second = _scaled(one), _scaled(other)
    if signless:
        alike = (first * second).sum(1, keepdim=True)
        second = torch.where(alike < 0, -1, 1) * second
    pairs = torch.stack([first, second], 1)  # [B, 2, cells]
    correlations = [float(torch.corrcoef(pair)[0, 1]) for pair in pairs]
    return float((first - second).abs().max()), min(correlations)


def _scaled(maps: Tensor) -> Tensor:
    flat = maps.detach().double().flatten(1)
    return flat / flat.abs().amax(1, keepdim=True)
