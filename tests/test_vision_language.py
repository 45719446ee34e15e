"""Models of pictures and words of many families: a map is Grad-CAM's, and lies on the photo.

What is expected is found by plain hooks and autograd, and laid by what each family's own code does
with patches, crops and class tokens (`helpers/vision_language_cells.py`).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import limelight
from helpers.tolerances import assert_agrees
from helpers.vision_language import FAMILIES, inputs, made, photo, sentences
from helpers.vision_language_cells import CELLS, Box, Size, laid, rows_of
from limelight.targets import ScoreTarget, Words
from oracles.weighted import gradcam

#: Sizes of photos, width and height, of the prompts of each case.
SQUARE, OBLONG, UPRIGHT = (64, 64), (96, 32), (32, 64)
Sizes = Sequence[Sequence[Size]]
CASES: dict[str, Sizes] = {
    "a photo": [[SQUARE]],
    "an oblong photo": [[OBLONG]],
    "two prompts": [[SQUARE], [SQUARE]],
}
LAYERS = [(name, layer) for name, cells in CELLS.items() for layer in cells.layers]
WITHIN = [(name, layer) for name, cells in CELLS.items() for layer in cells.within]

#: Layers whose cells see little but their own place, of all of which there are as many as there
#: are kinds of order.
PLACED = [*LAYERS, *((name, cells.within[0]) for name, cells in CELLS.items() if cells.within)]
#: The share of cells that change most if their place does, where it is not all of them.
LOCAL = {("florence-2", "model.vision_tower.convs.1"): 0.5}

any_family = pytest.mark.parametrize("name", FAMILIES)
any_layer = pytest.mark.parametrize(("name", "layer"), [*LAYERS, *WITHIN])
local_layer = pytest.mark.parametrize(("name", "layer"), PLACED)
any_case = pytest.mark.parametrize("case", CASES)


def photos_of(sizes: Sizes) -> list[list[Image.Image]]:
    return [
        [photo(*size, seed=10 * b + p) for p, size in enumerate(row)] for b, row in enumerate(sizes)
    ]


def asked_of(name: str, given: dict[str, Any]) -> ScoreTarget | int:
    """Return the score: the last two words, or the first prompt."""
    if name == "siglip2":
        return 0
    ids = sentences(name, given)
    return Words(ids, at=[ids.shape[1] - 2, ids.shape[1] - 1])


def score_of(name: str, given: dict[str, Any], output: Any) -> Tensor:
    """The same score, written out, `[B]`."""
    if name == "siglip2":
        return output.logits_per_image[:, 0]
    ids = sentences(name, given)
    logits = output.logits[:, -ids.shape[1] :].float()
    each = [
        logits[:, t - 1].log_softmax(-1).gather(1, ids[:, t, None])[:, 0]
        for t in (ids.shape[1] - 2, ids.shape[1] - 1)
    ]
    return torch.stack(each).sum(0)


class Seen(NamedTuple):
    """What a plain hook and autograd find at a layer."""

    output: Tensor
    gradient: Tensor
    score: Tensor


def watch(name: str, model: nn.Module, layer: str, given: dict[str, Any]) -> Seen:
    outputs: list[Tensor] = []

    def keep(_module: nn.Module, _args: object, output: Any) -> Any:
        """Keep the first tensor, of which no later operation in place is to reach the value."""
        if isinstance(output, Tensor):
            outputs.append(output.clone())
            return outputs[-1]
        changed = copy.copy(output)
        if isinstance(output, tuple):
            outputs.append(output[0].clone())
            return (outputs[-1], *output[1:])
        key = next(key for key, value in output.items() if isinstance(value, Tensor))
        outputs.append(output[key].clone())
        changed[key] = outputs[-1]
        return changed

    handle = model.get_submodule(layer).register_forward_hook(keep, prepend=True)
    try:
        with torch.enable_grad():
            score = score_of(name, given, model(**copy.copy(given)))
            (gradient,) = torch.autograd.grad(score.sum(), outputs[0])
    finally:
        handle.remove()
    return Seen(outputs[0].detach(), gradient, score.detach())


def by_hand(name: str, layer: str, sizes: Sizes, picture: int = 0) -> tuple[Tensor, Tensor]:
    """Return Grad-CAM's raw map and the score, by plain hooks."""
    given = inputs(name, photos_of(sizes))
    seen = watch(name, made(name).model, layer, given)
    rows = rows_of(name, layer, sizes, given, picture)
    return gradcam(laid(seen.output, rows), laid(seen.gradient, rows)), seen.score


def explained(
    name: str, sizes: Sizes, layer: str | None = None, **options: Any
) -> limelight.Explanation:
    given = inputs(name, photos_of(sizes))
    return limelight.explain(
        made(name).model, given, target=asked_of(name, given), layer=layer, **options
    )


# Equal to autograd's


@any_case
@any_layer
def test_the_map_is_grad_cam_of_the_layer(name: str, layer: str, case: str) -> None:
    found = explained(name, CASES[case], layer)
    raw, score = by_hand(name, layer, CASES[case])
    assert found.layer == layer
    assert_agrees(found.raw, raw)
    assert_agrees(found.score, score)


@any_case
@any_family
def test_the_layer_that_is_chosen_sees_the_picture(name: str, case: str) -> None:
    found = explained(name, CASES[case])
    assert any(found.layer.startswith(part) for part in CELLS[name].parts), found.layer
    assert all(status.name != "disconnected" for status in found.status)
    raw, _ = by_hand(name, found.layer, CASES[case])
    assert_agrees(found.raw, raw)


# In place


def inverted(picture: Image.Image, box: Box) -> Image.Image:
    """Return a photo with a box of it black where it was bright, and white where it was dark."""
    pixels = np.array(picture)
    left, top, right, bottom = (round(side) for side in box)
    block = pixels[top:bottom, left:right]
    pixels[top:bottom, left:right] = np.where(block < 128, 255, 0)
    return Image.fromarray(pixels)


def boxes(piece: Box, h: int, w: int) -> list[Box]:
    """Return where the cells of a grid over part of a photo lie."""
    left, top, right, bottom = piece
    wide, high = (right - left) / w, (bottom - top) / h
    return [
        (left + j * wide, top + i * high, left + (j + 1) * wide, top + (i + 1) * high)
        for i in range(h)
        for j in range(w)
    ]


def cells_of(name: str, size: Size, h: int, w: int) -> list[tuple[int, int, Box]]:
    """Return which piece, which cell of it, and where that lies on the photo."""
    return [
        (t, cell, box)
        for t, piece in enumerate(CELLS[name].pieces(size))
        if piece[2] > piece[0]
        for cell, box in enumerate(boxes(piece, h, w))
    ]


def most_changed(change: Tensor, piece: int) -> int:
    """Return the cell of a piece that changed most, of activations `[K, *grid]`."""
    return int(change.norm(dim=0).flatten(-2).view(-1, change.shape[-2:].numel())[piece].argmax())


@pytest.mark.parametrize("size", [SQUARE, OBLONG])
@local_layer
def test_what_is_laid_by_hand_lies_over_the_photo(name: str, layer: str, size: Size) -> None:
    before, model = photo(*size), made(name).model

    def activations(photos: list[list[Image.Image]]) -> Tensor:
        given = inputs(name, photos)
        rows = rows_of(name, layer, [[size]] * len(photos), given)
        return laid(watch(name, model, layer, given).output, rows)

    still = activations([[before]])
    due = cells_of(name, size, *still.shape[-2:])
    moved = activations([[inverted(before, box)] for _, _, box in due])
    found = [most_changed(m - still[0], t) for m, (t, _, _) in zip(moved, due, strict=True)]
    right = sum(cell == c for cell, (_, c, _) in zip(found, due, strict=True))
    assert right >= LOCAL.get((name, layer), 1.0) * len(due)


@pytest.mark.parametrize("size", [SQUARE, OBLONG])
@local_layer
def test_what_changes_on_the_photo_changes_the_cell_over_it(
    name: str, layer: str, size: Size
) -> None:
    before, model = photo(*size), made(name).model
    still = limelight.cut(model, inputs(name, [[before]]), layer).activations[0]
    due = cells_of(name, size, *still.shape[-2:])
    for t, cell, box in due[:: len(due) // 7]:
        after = inputs(name, [[inverted(before, box)]])
        moved = limelight.cut(model, after, layer).activations[0]
        assert most_changed(moved - still, t) == cell
