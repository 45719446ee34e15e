"""Prompts of a batch: their variants run together, and their pictures keep their places."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import limelight
from helpers.tolerances import assert_agrees
from helpers.vision_language import FAMILIES, inputs, made, photo, sentences
from limelight.errors import LayerError, MethodError
from limelight.inputs import ModelInputs

FIRST, LATER = "@ what is this ? a red disc", "what is this @ ? a red disc"


def prompts(name: str, texts: Sequence[str]) -> dict[str, Any]:
    """Return what a family takes for texts with a photo at `@`, another in each."""
    known = FAMILIES[name]
    read = made(name).processor(
        images=[[photo(32, 32, seed)] for seed in range(len(texts))],
        text=[text.replace("@", known.picture) for text in texts],
        return_tensors="pt",
        padding=True,
        **dict(known.options),
    )
    return {key: value for key, value in read.items() if value is not None and key != "labels"}


def last_word(given: dict[str, Any]) -> limelight.Words:
    ids = given["input_ids"]
    return limelight.Words(ids, ids.shape[1] - 1)


# Variants together

TOGETHER = ["paligemma", "blip", "vit-gpt2", "gemma-3", "idefics3", "qwen2-vl", "glm4v", "pixtral"]


@pytest.mark.parametrize("name", TOGETHER)
@pytest.mark.parametrize("where", ["layer", "input"])
def test_variants_of_prompts_run_together_as_one_at_a_time(name: str, where: str) -> None:
    given = inputs(name, [[photo(64, 48, 0)], [photo(64, 48, 1)]])
    cut = limelight.cut(made(name).model, given, None)
    run, own = (cut.head, cut.activations) if where == "layer" else (cut.network, cut.image)
    rows = torch.tensor([0, 1, 0, 1, 1])
    generator = torch.Generator().manual_seed(0)
    variants = own[rows] * torch.rand(own[rows].shape, generator=generator)
    with torch.no_grad():
        together = run(variants, rows=rows).logits
        for variant, row, logits in zip(variants, rows.tolist(), together, strict=True):
            others = own.clone()
            others[row] = variant
            assert_agrees(logits, run(others).logits[row])


@pytest.mark.parametrize("name", ["llava", "idefics3", "qwen2-vl", "pixtral", "mistral3"])
def test_variants_of_one_prompt_run_together_as_one_at_a_time(name: str) -> None:
    cut = limelight.cut(made(name).model, inputs(name, [[photo(64, 48)]]), None)
    generator = torch.Generator().manual_seed(0)
    own = cut.activations.expand(3, *cut.activations.shape[1:])
    variants = own * torch.rand(own.shape, generator=generator)
    with torch.no_grad():
        together = cut.head(variants).logits
        for variant, logits in zip(variants, together, strict=True):
            assert_agrees(logits, cut.head(variant[None]).logits[0])


@pytest.mark.parametrize("name", ["llava", "qwen2-vl", "idefics3"])
def test_padding_is_each_prompt_s_own_after_a_batch_without_any(name: str) -> None:
    model = copy.deepcopy(made(name).model)
    even, padded = prompts(name, [FIRST, FIRST]), prompts(name, [FIRST, "@ a red disc"])
    assert padded["input_ids"].shape == even["input_ids"].shape
    limelight.cut(model, even, None)
    cut = limelight.cut(model, padded, None)
    for row in (0, 1):
        variants = torch.stack([cut.image[row], cut.image[row] / 2])
        alone = ModelInputs.of(padded).take(torch.tensor([row]))
        with torch.no_grad():
            together = cut.network(variants, rows=[row, row]).logits
            for variant, logits in zip(variants, together, strict=True):
                expected = model(**alone.on(variant[None]).arguments()[1]).logits[0]
                assert_agrees(logits, expected)


# Where the picture stands in a sentence

DECODER = "model.language_model.layers.0"


@pytest.mark.parametrize("name", ["llava", "qwen2-vl", "gemma-3"])
def test_the_picture_is_found_elsewhere_in_a_sentence_as_long(name: str) -> None:
    before, moved = prompts(name, [FIRST]), prompts(name, [LATER])
    assert before["input_ids"].shape == moved["input_ids"].shape
    assert FAMILIES[name].words == "input_ids"
    model = copy.deepcopy(made(name).model)
    limelight.cut(model, before, DECODER)
    cut = limelight.cut(model, moved, DECODER)
    kept: list[Tensor] = []
    handle = model.get_submodule(DECODER).register_forward_hook(
        lambda _module, _args, output: kept.append(output)
    )
    with torch.no_grad():
        model(**moved)
    handle.remove()
    ids = sentences(name, moved)[0]
    cells = cut.layout.grid[0] ** 2
    (token,) = (t for t in set(ids.tolist()) if (ids == t).sum() == cells)
    assert torch.equal(cut.activations[0].flatten(1).T, kept[0][0, ids == token])


@pytest.mark.parametrize("name", ["llava", "qwen2-vl"])
@pytest.mark.parametrize("second", [LATER, "@ a red disc"], ids=["moved", "padded"])
def test_pictures_at_other_places_in_a_batch_are_refused_within_sentences(
    name: str, second: str
) -> None:
    model, given = made(name).model, prompts(name, [FIRST, second])
    with pytest.raises(LayerError, match=r"at other places in some sentences.*one at a time"):
        limelight.cut(model, given, DECODER)
    with pytest.raises(MethodError, match=r"at other places in some sentences.*one at a time"):
        limelight.explain(model, given, target=last_word(given), method="tam")
    cut = limelight.cut(model, given, None)
    with pytest.raises(MethodError, match=r"attends in a sentence.*one at a time"):
        cut.attention(last_word(given), tower="language_model")


# Which of several pictures


@pytest.mark.parametrize("widths", [(32, 48, 64), (64, 48, 32)], ids=str)
def test_one_of_three_photos_of_other_sizes_is_found_among_the_patches(
    widths: tuple[int, int, int],
) -> None:
    given = inputs("pixtral", [[photo(width, 32, width) for width in widths]])
    layer = "model.multi_modal_projector"
    model = made("pixtral").model
    own = model.get_submodule(layer)(model.model.vision_tower(**_pixtral_tower(given))[0])
    for number, cut in enumerate(limelight.cut(model, given, layer, picture=n) for n in range(3)):
        start = sum(widths[:number]) // 8 * 4
        cells = own[0, start : start + widths[number] // 8 * 4]
        assert cut.activations.shape[2:] == (4, widths[number] // 8)
        assert_agrees(cut.activations[0].flatten(1).T, cells)


def _pixtral_tower(given: dict[str, Any]) -> dict[str, Any]:
    return {"pixel_values": given["pixel_values"], "image_sizes": given["image_sizes"]}


class _Stereo(nn.Module):
    """Joins two pictures of one size."""

    def __init__(self) -> None:
        super().__init__()
        self.joined, self.fc = nn.Conv2d(6, 4, 3, padding=1), nn.Linear(4, 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        joined = self.joined(torch.cat([left, right], 1)).relu()
        logits: Tensor = self.fc(joined.mean((2, 3)))
        return logits


def test_the_picture_that_is_asked_for_changes_from_call_to_call() -> None:
    model, pair = _Stereo().eval(), (torch.randn(1, 3, 8, 8), torch.randn(1, 3, 8, 8))
    for picture in (0, 1, 0):
        cut = limelight.cut(model, pair, "joined", picture=picture)
        assert cut.picture == picture
        assert torch.equal(cut.image, pair[picture])


# What is no pack

IDS = torch.tensor([[49, 5, 6, 50, 0, 0, 0, 0], [49, 5, 7, 8, 50, 0, 0, 0]])
SIZES = torch.tensor([[32, 32], [32, 24]])

NO_PACKS = {
    "signals beside two numbers": (torch.zeros(3, 12, 100), torch.tensor([[3, 2]] * 3)),
    "signals beside other numbers": (torch.zeros(2, 12, 100), torch.tensor([[3, 2], [4, 1]])),
    "features beside ones": (torch.zeros(6, 10), torch.ones(6, 3, dtype=torch.long)),
    "features beside faces": (torch.zeros(12, 10), torch.tensor([[0, 1, 2], [-2, -3, 2]])),
    "more photos than texts": (torch.zeros(4, 3, 32, 32), IDS),
    "a detector beside sizes": (torch.zeros(2, 3, 32, 32), SIZES),
    "series beside a mask": (torch.zeros(2, 96, 7), torch.ones(2, 96, dtype=torch.long)),
}


@pytest.mark.parametrize("what", NO_PACKS)
def test_what_is_no_pack_is_taken_as_it_is(what: str) -> None:
    read = ModelInputs.of(NO_PACKS[what])
    assert read.packing is None
    assert read.image.shape == NO_PACKS[what][0].shape


def test_patches_with_grids_need_no_sentences() -> None:
    given = inputs("qwen2-vl", [[photo(64, 48, 0)], [photo(64, 48, 1)]])
    tower = made("qwen2-vl").model.model.visual
    read = ModelInputs.of((given["pixel_values"], given["image_grid_thw"]))
    assert read.image.shape[0] == 2
    assert read.image.shape[2:] == (6, 8)
    alone = limelight.cut(tower, (given["pixel_values"], given["image_grid_thw"]), "merger")
    whole = limelight.cut(made("qwen2-vl").model, given, "model.visual.merger")
    assert torch.equal(alone.activations, whole.activations)
