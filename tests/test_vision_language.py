"""Models of pictures and words of many families: a map is Grad-CAM's, and lies on the photo.

What is expected is found by plain hooks and autograd, and laid by what each family's own code does
with patches, crops and class tokens (`helpers/vision_language_cells.py`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import limelight
from helpers.plain_hooks import correlation
from helpers.tolerances import assert_agrees
from helpers.vision_language import FAMILIES, cast, inputs, made, photo, sentences
from helpers.vision_language_cells import CELLS, Box, Size, laid, rows_of
from limelight.errors import LayerError, LimelightError
from limelight.targets import ScoreTarget, Words
from oracles.weighted import gradcam

Sizes = Sequence[Sequence[Size]]
#: Sizes of photos, width and height, of each prompt.
SQUARE, OBLONG, UPRIGHT = (64, 64), (96, 32), (32, 64)
ONE: Sizes = [[OBLONG]]
TWO: Sizes = [[SQUARE], [SQUARE]]
BOTH: Sizes = [[SQUARE, UPRIGHT]]

#: Layers, each with prompts: in the tower, behind it, and among words.
PLACED = [
    (name, layer, sizes)
    for name, cells in CELLS.items()
    for layer, sizes in zip((*cells.layers, *cells.within), (TWO, ONE, ONE, TWO), strict=False)
]
#: Those whose cells see little but their own place: not the last, in which words look at others.
LOCAL = [one for one in PLACED if one[1] not in CELLS[one[0]].within[1:]]
#: Of kernels that overlap, the share of cells that change most if their own place does.
BLURRED = {
    ("florence-2", "model.vision_tower.convs.0"): 0.9,
    ("florence-2", "model.vision_tower.convs.1"): 0.5,
}
#: Layers at which limelight may refuse a photo, and must not be wrong: their places are blurred, or
#: in an order of their own, such as lines of all crops with a token at their ends.
HARD = {
    ("git", "git.encoder.layer.0.attention.self.value"),
    ("git", "git.visual_projection"),
    ("llava-next", "model.language_model.layers.0"),
    ("llava-next", "model.language_model.layers.0.input_layernorm"),
    ("llava-next", "model.multi_modal_projector"),
    ("llava-onevision", "model.language_model.layers.0"),
    ("llava-onevision", "model.language_model.layers.0.input_layernorm"),
    ("mllama", "model.multi_modal_projector"),
}
STACKED = [name for name in CELLS if FAMILIES[name].several and not CELLS[name].packs]
PACKED = [name for name in CELLS if CELLS[name].packs]


def named(value: Any) -> str:
    return value if isinstance(value, str) else "oblong" if value == ONE else "two prompts"


any_family = pytest.mark.parametrize("name", FAMILIES)


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
        first: Tensor = output.logits_per_image[:, 0]
        return first
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


@contextmanager
def refused_at_most(name: str, layer: str) -> Iterator[None]:
    """Let a hard layer be refused, with the reason; what is accepted has to be right."""
    try:
        yield
    except LayerError as error:
        if (name, layer) not in HARD or "no grid over the image: its" not in str(error):
            raise


# Equal to autograd's


@pytest.mark.parametrize(("name", "layer", "sizes"), PLACED, ids=named)
def test_the_map_is_grad_cam_of_the_layer(name: str, layer: str, sizes: Sizes) -> None:
    with refused_at_most(name, layer):
        found = explained(name, sizes, layer)
        raw, score = by_hand(name, layer, sizes)
        assert found.layer == layer
        assert_agrees(found.raw, raw)
        assert_agrees(found.score, score)


@any_family
def test_the_layer_that_is_chosen_sees_the_picture(name: str) -> None:
    found = explained(name, ONE)
    assert any(found.layer.startswith(part) for part in CELLS[name].parts), found.layer
    assert found.status[0].name != "disconnected"
    raw, _ = by_hand(name, found.layer, ONE)
    assert_agrees(found.raw, raw)


@any_family
def test_a_row_of_a_batch_is_the_map_of_its_prompt_alone(name: str) -> None:
    layer, model = CELLS[name].layers[0], made(name).model
    together = explained(name, TWO, layer)
    for b, photos in enumerate(photos_of(TWO)):
        given = inputs(name, [photos])
        seen = watch(name, model, layer, given)
        rows = rows_of(name, layer, TWO[:1], given)
        alone = gradcam(laid(seen.output, rows), laid(seen.gradient, rows))
        assert_agrees(together.raw[b], alone[0])
        assert_agrees(together.score[b], seen.score[0])


@any_family
def test_a_model_in_bfloat16_has_nearly_the_same_map(name: str) -> None:
    layer = CELLS[name].layers[1]
    with refused_at_most(name, layer):
        fine = explained(name, ONE, layer)
        model = copy.deepcopy(made(name).model).bfloat16()
        given = cast(inputs(name, photos_of(ONE)), torch.bfloat16)
        coarse = limelight.explain(model, given, target=asked_of(name, given), layer=layer)
        assert coarse.status[0].name == fine.status[0].name
        assert correlation(coarse.raw, fine.raw) > 0.95


#: Families that cut photos of other shapes into other pieces, or other numbers of them.
CUT_BY_SHAPE = [*PACKED, "llava-next", "llava-onevision", "internvl", "idefics3", "smolvlm"]


@pytest.mark.parametrize("name", [*CUT_BY_SHAPE, "pix2struct", "siglip2"])
def test_prompts_whose_photos_are_cut_differently_are_refused(name: str) -> None:
    with pytest.raises(LimelightError, match="one at a time"):
        explained(name, [[SQUARE], [OBLONG]], CELLS[name].layers[0])


# Two photos in a prompt


@pytest.mark.parametrize("name", STACKED)
def test_the_pieces_of_two_photos_are_explained_together(name: str) -> None:
    layer = CELLS[name].layers[1]
    with refused_at_most(name, layer):
        found = explained(name, BOTH, layer)
        raw, score = by_hand(name, layer, BOTH)
        assert_agrees(found.raw, raw)
        assert_agrees(found.score, score)


@pytest.mark.parametrize("name", STACKED)
def test_one_piece_or_photo_of_several_is_explained(name: str) -> None:
    layer = CELLS[name].layers[0]
    found = explained(name, BOTH, layer, picture=1)
    given = inputs(name, photos_of(BOTH))
    seen = watch(name, made(name).model, layer, given)
    rows = rows_of(name, layer, BOTH, given)
    # All pieces of the second photo, or the second piece.
    rows = rows[:, len(CELLS[name].pieces(SQUARE)) :] if CELLS[name].photos_apart else rows[:, 1]
    assert_agrees(found.raw, gradcam(laid(seen.output, rows), laid(seen.gradient, rows)))


@pytest.mark.parametrize("picture", [0, 1])
@pytest.mark.parametrize("name", PACKED)
def test_one_of_two_packed_photos_is_explained(name: str, picture: int) -> None:
    layer = CELLS[name].layers[picture]
    found = explained(name, BOTH, layer, picture=picture)
    raw, score = by_hand(name, layer, BOTH, picture)
    assert_agrees(found.raw, raw)
    assert_agrees(found.score, score)


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


def by_hand_at(name: str, layer: str, photos: list[list[Image.Image]]) -> Tensor:
    """Return the activations `[B, K, *grid]` of prompts, by a plain hook."""
    given = inputs(name, photos)
    output = watch(name, made(name).model, layer, given).output
    sizes = [[one.size for one in row] for row in photos]
    return laid(output, rows_of(name, layer, sizes, given))


@pytest.mark.parametrize("size", [SQUARE, OBLONG], ids=["square", "oblong"])
@pytest.mark.parametrize(("name", "layer"), [place[:2] for place in LOCAL])
def test_what_is_laid_by_hand_lies_over_the_photo(name: str, layer: str, size: Size) -> None:
    before = photo(*size)
    still = by_hand_at(name, layer, [[before]])
    due = cells_of(name, size, *still.shape[-2:])
    moved = by_hand_at(name, layer, [[inverted(before, box)] for _, _, box in due])
    found = [most_changed(m - still[0], t) for m, (t, _, _) in zip(moved, due, strict=True)]
    right = sum(cell == c for cell, (_, c, _) in zip(found, due, strict=True))
    assert right / len(due) >= BLURRED.get((name, layer), 1.0)


@pytest.mark.parametrize(("name", "layer", "sizes"), LOCAL, ids=named)
def test_what_changes_on_the_photo_changes_the_cell_over_it(
    name: str, layer: str, sizes: Sizes
) -> None:
    size, model = sizes[0][0], made(name).model
    before = photo(*size)

    def activations(picture: Image.Image) -> Tensor:
        return limelight.cut(model, inputs(name, [[picture]] * len(sizes)), layer).activations[-1]

    try:
        still = activations(before)
    except LayerError:
        assert (name, layer) in HARD
        return
    due = cells_of(name, size, *still.shape[-2:])
    for t, cell, box in due[1 :: len(due) // 3]:
        after = inverted(before, box)
        if (name, layer) in BLURRED:
            assert_agrees(activations(after), by_hand_at(name, layer, [[after]])[0])
        else:
            assert most_changed(activations(after) - still, t) == cell


@pytest.mark.parametrize("name", ["qwen2-vl", "qwen2.5-vl"])
def test_each_frame_of_a_video_has_cells_of_its_own(name: str) -> None:
    model, (t, h, w), layer = made(name).model, (3, 8, 12), "model.visual.merger"
    given = inputs(name, photos_of(ONE))
    generator = torch.Generator().manual_seed(0)
    patches = torch.randn(t * h * w, given["pixel_values"].shape[1], generator=generator)
    words = given["input_ids"][0].tolist()[-4:]
    ids = torch.tensor([[model.config.video_token_id] * (t * h * w // 4) + words])
    shared = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": 2 * (ids == model.config.video_token_id).long(),
        "video_grid_thw": torch.tensor([[t, h, w]]),
    }

    def activations(pixels: Tensor) -> Tensor:
        video = {**shared, "pixel_values_videos": pixels}
        return limelight.cut(model, video, layer).activations[0]

    still = activations(patches)
    assert still.shape[1:] == (t, h // 2, w // 2)
    for cell in range(0, t * h * w // 4, 5):
        changed = patches.clone()  # four patches, two by two, lie behind one another
        changed[4 * cell : 4 * cell + 4] += 3 * torch.randn(
            4, patches.shape[1], generator=generator
        )
        assert int((activations(changed) - still).norm(dim=0).argmax()) == cell
