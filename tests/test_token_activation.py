"""The token activation map equals its oracle, and doctored ones do not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

import limelight
from helpers import networks
from helpers.input_studies import images_of
from helpers.model_state import untouched
from helpers.networks import ready
from helpers.tolerances import assert_agrees
from helpers.towers import FIRST, PATCHES, WORD, llava, sentence
from limelight.errors import MethodError
from limelight.methods.token_activation import rank_gaussian
from limelight.targets import Words
from oracles import words

GRID = (4, 4)
CELLS = range(FIRST, FIRST + PATCHES)


def spoken() -> dict[str, Tensor]:
    """Return a sentence of words that the picture speaks for; one stands twice behind it."""
    inputs = sentence()
    ids = inputs["input_ids"]
    with torch.no_grad():
        said = llava("sdpa")(**inputs).logits[:, CELLS].mean(1).topk(3).indices
    ids[:, WORD], ids[:, WORD + 1], ids[:, FIRST + PATCHES] = said.T
    ids[:, WORD - 2] = ids[:, WORD]
    return inputs


@pytest.mark.parametrize("at", [[WORD], [WORD, WORD + 1], [FIRST + PATCHES]])
def test_the_token_activation_map_equals_its_oracle(at: Sequence[int]) -> None:
    model, inputs = llava("sdpa"), spoken()
    ids = inputs["input_ids"]
    with untouched(model):
        found = limelight.explain(model, inputs, target=Words(ids, list(at)), method="tam")
    logits = model(**inputs).logits.detach()
    assert_agrees(found.raw, words.tam(logits, ids, CELLS, at, GRID))
    assert found.status[0].ok


@pytest.mark.parametrize("how", ["nothing taken off", "not filtered", "the word itself too"])
def test_a_doctored_token_activation_map_fails_its_oracle(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, inputs = llava("sdpa"), spoken()
    ids, logits = inputs["input_ids"], model(**inputs).logits.detach()
    expected = words.tam(logits, ids, CELLS, [WORD], GRID)
    if how == "nothing taken off":
        monkeypatch.setattr(words, "interfering", lambda *_: [])
    elif how == "not filtered":
        monkeypatch.setattr(words, "rank_gaussian", lambda values: values)
    else:
        monkeypatch.setattr(words, "interfering", lambda *_: list(range(FIRST + PATCHES, WORD)))
    with pytest.raises(AssertionError, match="apart by"):
        assert_agrees(words.tam(logits, ids, CELLS, [WORD], GRID), expected)


@pytest.mark.parametrize("grid", [(3, 4), (1, 5), (2, 2)])
def test_the_filter_equals_its_oracle_on_any_grid(grid: tuple[int, int]) -> None:
    maps = torch.rand(2, *grid, dtype=torch.float64)
    maps[1] = 0.3  # all alike
    expected = torch.stack([words.rank_gaussian(values) for values in maps])
    assert_agrees(rank_gaussian(maps), expected)


def test_the_filter_takes_off_a_single_hot_cell_and_keeps_what_is_even() -> None:
    maps = torch.full((1, 5, 5), 0.2)
    maps[0, 2, 2] = 1.0
    filtered = rank_gaussian(maps)[0]
    assert filtered[2, 2] < 0.3
    assert_agrees(filtered[0], torch.full((5,), 0.2))


def test_a_map_of_a_batch_is_the_batch_of_the_maps() -> None:
    model, inputs = llava("sdpa"), spoken()
    together = limelight.explain(
        model, inputs, target=Words(inputs["input_ids"], WORD), method="tam"
    )
    for image in range(2):
        one = {name: tensor[image : image + 1] for name, tensor in inputs.items()}
        alone = limelight.explain(model, one, target=Words(one["input_ids"], WORD), method="tam")
        assert_agrees(alone.raw[0], together.raw[image])


def test_only_words_behind_the_picture_have_a_token_activation_map() -> None:
    model, inputs = llava("sdpa"), spoken()
    with pytest.raises(MethodError, match=r"The token 2 stands in front of the last .*, 18"):
        limelight.explain(model, inputs, target=Words(inputs["input_ids"], 2), method="tam")
    with pytest.raises(MethodError, match=r"explains words; pass target=limelight.Words"):
        limelight.explain(ready(networks.TinyViT()), images_of(), target=1, method="tam")


class Captioner(torch.nn.Module):
    """Says a sentence about a picture that is no part of it."""

    def __init__(self) -> None:
        super().__init__()
        self.see, self.say = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4, 30)

    def forward(self, picture: Tensor, ids: Tensor) -> Tensor:
        seen = self.see(picture).mean((2, 3))
        said: Tensor = self.say(seen)
        return said[:, None].expand(-1, ids.shape[1], -1)


def test_a_model_without_the_picture_in_its_sentence_is_refused() -> None:
    ids = torch.arange(6).expand(3, 6)
    with pytest.raises(MethodError, match=r"needs logits at the picture's positions.*'gradcam'"):
        limelight.explain(
            ready(Captioner()), (images_of(), ids), target=Words(ids, 3), method="tam"
        )
