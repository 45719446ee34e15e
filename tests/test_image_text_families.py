"""Prompts as classes, in every family of networks that compare pictures with texts."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import limelight
from helpers.image_text_networks import (
    FAMILIES,
    GRID,
    READS,
    SEES,
    Family,
    any_family,
    drawn,
    prompts,
    segmenter,
    transformers,
)
from helpers.tolerances import assert_agrees, assert_differs
from limelight.errors import TargetError
from limelight.targets import Contrast, Pair, Region, Words
from oracles.evidence import probe
from oracles.weighted import gradcam

TEXTS = ["a cat", "a dog", "a car"]


# ---- a prompt ----------------------------------------------------------------------------------


@any_family
@pytest.mark.parametrize("batch", [2, 3])
def test_the_map_of_a_prompt_is_grad_cam_of_its_logit(family: Family, batch: int) -> None:
    model, inputs = family.asked(batch, 3)
    result = limelight.explain(
        model, inputs, target="a dog", classes=TEXTS, layer=family.layer or None
    )
    with torch.no_grad():
        assert_agrees(result.score, family.logits(model(**inputs))[:, 1])
    assert result.label == ("a dog",) * batch
    found = probe(model, result.layer, inputs, lambda y: family.logits(y)[:, 1], family.as_grid)
    assert_agrees(result.raw, gradcam(found.activations, found.gradients))
    assert result.raw.shape == (batch, *family.grid)


@any_family
def test_without_a_target_the_text_that_fits_best_is_explained(family: Family) -> None:
    model, inputs = family.asked(2, 3)
    with torch.no_grad():
        best = family.logits(model(**inputs)).argmax(1)
    result = limelight.explain(model, inputs, classes=TEXTS, layer=family.layer or None)
    assert result.label == tuple(TEXTS[index] for index in best.tolist())
    assert result.raw.shape == (2, *family.grid)


def off_by(
    model: Any, inputs: dict[str, Tensor], layer: str | None, grid: tuple[int, ...]
) -> list[int]:
    """For each patch of 8 x 8 pixels, how far the cell that it changes most is from its own."""
    before = inputs["pixel_values"]
    cells: list[tuple[int, ...]] = list(itertools.product(*map(range, grid)))
    changed = before.repeat(len(cells), *(1,) * (before.ndim - 1))
    ids = inputs["input_ids"]
    each = {"input_ids": ids.repeat(len(cells), 1)} if len(ids) == 1 else {}
    for number, (*frame, row, column) in enumerate(cells):
        rows, columns = slice(8 * row, 8 * row + 8), slice(8 * column, 8 * column + 8)
        (changed[number, frame[0]] if frame else changed[number])[:, rows, columns] += (
            3 * torch.randn(3, 8, 8)
        )
    named = limelight.cut(model, inputs, layer)
    after = limelight.cut(model, {**inputs, **each, "pixel_values": changed}, named.layer)
    changes = (after.activations - named.activations).abs().sum(1).flatten(1)
    assert changes.shape[1] == len(cells)
    most = [cells[index] for index in changes.argmax(1).tolist()]
    return [
        max(abs(a - b) for a, b in zip(cell, found, strict=True))
        for cell, found in zip(cells, most, strict=True)
    ]


@any_family
def test_a_cell_of_the_layer_is_the_patch_that_it_is_drawn_on(family: Family) -> None:
    model, inputs = family.asked(1, 3)
    far = off_by(model, inputs, family.layer or None, family.grid)
    reach = 1 if family is FAMILIES["align"] else 0  # its convolutions look beyond their cells
    assert sum(distance <= reach for distance in far) >= 0.9 * len(far)


@any_family
def test_a_picture_alone_has_the_map_that_it_has_among_others(family: Family) -> None:
    model, inputs = family.asked(3, 3)  # as many prompts as pictures are no pairs
    layer = family.layer or None
    together = limelight.explain(model, inputs, target=2, layer=layer)
    one = {**inputs, "pixel_values": inputs["pixel_values"][1:2]}
    assert_agrees(together.raw[1], limelight.explain(model, one, target=2, layer=layer).raw[0])


# ---- a pair ------------------------------------------------------------------------------------


@any_family
def test_a_pair_is_each_picture_with_its_own_text(family: Family) -> None:
    model, inputs = family.asked(3, 3)
    layer = family.layer or None
    result = limelight.explain(model, inputs, target=Pair(), classes=TEXTS, layer=layer)
    with torch.no_grad():
        assert_agrees(result.score, family.logits(model(**inputs)).diagonal())
    assert result.label == tuple(TEXTS)
    for b in range(3):
        alone = limelight.explain(model, inputs, target=b, layer=layer)
        assert_agrees(result.raw[b], alone.raw[b])


def test_a_pair_out_of_a_batch_keeps_its_text() -> None:
    model, inputs = FAMILIES["clip"].asked(3, 3)
    result = limelight.explain(model, inputs, target=Pair())
    assert result[2].recipe is not None
    again = limelight.explain(model, inputs, target=result[2].recipe.parts[0].target)
    assert_agrees(again.score[2], result.score[2])


def test_pairs_need_as_many_texts_as_pictures() -> None:
    model, inputs = FAMILIES["clip"].asked(2, 3)
    with pytest.raises(TargetError, match=r"there are 2 pictures and 3 texts.*target=0"):
        limelight.explain(model, inputs, target=Pair())


def test_a_contrast_of_two_prompts() -> None:
    model, inputs = FAMILIES["clip"].asked(2, 3)
    result = limelight.explain(model, inputs, target=Contrast("a cat", "a dog"), classes=TEXTS)
    assert_differs(result.raw, limelight.explain(model, inputs, target=0).raw)


# ---- embeddings of pictures and texts, and a scale ----------------------------------------------


class Towers(nn.Module):
    """Returns embeddings of the pictures and of the texts, as open_clip does, in some form."""

    def __init__(self, form: str = "scale", width: int = 6) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.form, self.see = form, nn.Conv2d(3, width, 8, 8)
        self.hear = nn.Embedding(30, width)

    def logits(self, images: Tensor, texts: Tensor) -> Tensor:
        image = nn.functional.normalize(self.see(images).relu().mean((2, 3)) - 0.1, dim=1)
        text = nn.functional.normalize(self.hear(texts).mean(1), dim=1)
        scale = 1.0 if self.form == "plain" else 7.0
        return scale * image @ text.T - (3.0 if "bias" in self.form else 0.0)

    def forward(self, images: Tensor, texts: Tensor) -> Any:
        image = nn.functional.normalize(self.see(images).relu().mean((2, 3)) - 0.1, dim=1)
        text = nn.functional.normalize(self.hear(texts).mean(1), dim=1)
        scale, bias = torch.full((1,), 7.0), torch.tensor(-3.0)
        return {
            "plain": (image, text),
            "scale": (image, text, scale),
            "bias": (image, text, scale, bias),
            "dict": {"image_features": image, "text_features": text, "logit_scale": scale},
            "dict with bias": {"a": image, "b": text, "c": scale, "d": bias},
        }[self.form]


@pytest.mark.parametrize("form", ["plain", "scale", "bias", "dict", "dict with bias"])
@pytest.mark.parametrize("count", [2, 3])
def test_embeddings_are_read_as_the_logits_of_the_texts(form: str, count: int) -> None:
    model, inputs = Towers(form), (torch.randn(2, 3, 32, 32), prompts(count))
    logits = model.logits(*inputs).detach()
    found = limelight.explain(model, inputs, layer="see")
    assert_agrees(found.score, logits.amax(1))
    assert found.index is not None
    assert found.index.tolist() == logits.argmax(1).tolist()
    with pytest.raises(TargetError, match=rf"target class is 5; the model has {count} classes"):
        limelight.explain(model, inputs, target=5, layer="see")


def test_the_probabilities_in_a_table_are_those_of_the_texts() -> None:
    model, inputs = Towers(), (torch.randn(2, 3, 32, 32), prompts(3))
    found = limelight.explain(model, inputs, target="a car", classes=TEXTS, layer="see")
    expected = model.logits(*inputs).detach().softmax(1)[:, 2]
    rows = found.rows()
    assert_agrees([row["probability"] for row in rows], expected)


def test_confident_probabilities_of_two_heads_are_no_embeddings() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.see = nn.Conv2d(3, 3, 8, 8)

        def forward(self, images: Tensor) -> Any:
            sure = (1e4 * self.see(images).mean((2, 3))).softmax(1)
            return sure, sure.flip(1)

    model, images = Heads(), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        probabilities = model(images)[0]
    assert_agrees(probabilities.norm(dim=1), torch.ones(2))
    found = limelight.explain(model, images, target=1, layer="see")
    assert torch.equal(found.score, probabilities[:, 1])


# ---- texts beside the picture make no output the next word ---------------------------------------


def test_a_map_of_clipseg_is_no_row_of_words() -> None:
    model = segmenter()
    inputs = {"pixel_values": torch.randn(2, 3, 32, 32), "input_ids": prompts(2)}
    with torch.no_grad():
        logits = model(**inputs).logits
    found = limelight.explain(model, inputs, target=Region(0, (5, 9)))
    assert_agrees(found.score, logits[:, 5, 9])
    assert "next word" not in limelight.explain(model, inputs).label[0]


def test_an_answer_without_logits_is_no_word() -> None:
    config = transformers.BlipConfig(
        text_config={**READS, "encoder_hidden_size": 16, "sep_token_id": 28}, vision_config=SEES
    )
    model = drawn(transformers.BlipForQuestionAnswering(config))
    ids = prompts(1)
    inputs = {"pixel_values": torch.randn(1, 3, 32, 32), "input_ids": ids, "labels": ids}
    with pytest.raises(TargetError, match=r"needs logits \[B, C\]"):
        limelight.explain(model, inputs)
    with pytest.raises(TargetError, match=r"model returned loss, image_embeds, .*text decoder"):
        limelight.explain(model, inputs, target=Words(ids))


class Tasked(nn.Module):
    """Returns masks, and takes words for its task, as OneFormer does."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.see, self.task = nn.Conv2d(3, 8, 1), nn.Embedding(30, 8)

    def forward(self, pixel_values: Tensor, task_inputs: Tensor) -> Any:
        cells = self.see(pixel_values).relu()
        queries = self.task(task_inputs)
        return {
            "class_queries_logits": queries[..., :5],
            "masks_queries_logits": torch.einsum("bqc,bchw->bqhw", queries, cells),
        }


def test_masks_of_a_task_in_words_are_no_words() -> None:
    inputs = {"pixel_values": torch.randn(2, 3, 32, 32), "task_inputs": prompts(2)}
    model = Tasked()
    found = limelight.explain(model, inputs, target=Region(3, (4, 4)), layer="see")
    output = model(**inputs)
    shares = output["class_queries_logits"].softmax(-1)[..., 3]
    masks = output["masks_queries_logits"][:, :, 4, 4].sigmoid()
    assert found.label == ("class 3 at pixel (4, 4)",) * 2
    assert_agrees(found.score, (shares * masks).sum(1).detach())


@pytest.mark.parametrize("words", [4, 16])
def test_words_behind_the_patches_move_no_cell(words: int) -> None:
    config = transformers.GitConfig(vision_config=SEES, **READS)
    model, ids = drawn(transformers.GitForCausalLM(config)), prompts(1, words)
    inputs = {"pixel_values": torch.randn(1, 3, 32, 32), "input_ids": ids}
    assert off_by(model, inputs, None, GRID).count(0) >= 14
