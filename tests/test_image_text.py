"""Networks of pictures and words: prompts, captions, a map for every word."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import limelight
from helpers.image_text_networks import GRID, READS, SEES, clip, drawn, prompts, transformers
from helpers.tolerances import assert_agrees, assert_differs
from limelight.targets import Similarity, Words, each_word
from oracles.evidence import probe, tokens
from oracles.weighted import gradcam


def captioner() -> Any:
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        transformers.ViTConfig(**SEES),
        transformers.GPT2Config(
            vocab_size=30,
            n_positions=40,
            n_embd=16,
            n_layer=2,
            n_head=2,
            add_cross_attention=True,
            is_decoder=True,
            bos_token_id=0,
            eos_token_id=29,
        ),
    )
    return drawn(transformers.VisionEncoderDecoderModel(config))


def blip() -> Any:
    config = transformers.BlipConfig(
        text_config={**READS, "encoder_hidden_size": 16, "projection_dim": 8, "sep_token_id": 28},
        vision_config={**SEES, "projection_dim": 8},
        projection_dim=8,
    )
    return drawn(transformers.BlipForConditionalGeneration(config))


# Prompts

#: How many pictures, and how many prompts.
COUNTS = [(2, 3), (3, 2), (1, 3), (3, 1), (2, 2), (3, 3)]

any_counts = pytest.mark.parametrize(("batch", "count"), COUNTS)


def asked(batch: int, count: int) -> tuple[Any, dict[str, Tensor]]:
    ids = prompts(count)
    return clip(), {
        "input_ids": ids,
        "pixel_values": torch.randn(batch, 3, 32, 32),
        "attention_mask": torch.ones_like(ids),
    }


@any_counts
def test_the_map_of_a_prompt_is_grad_cam_of_its_logit(batch: int, count: int) -> None:
    model, inputs = asked(batch, count)
    result = limelight.explain(model, inputs, target=count - 1)
    assert result.layer == "vision_model.encoder.layers.1.layer_norm1"
    found = probe(
        model,
        result.layer,
        inputs,
        lambda output: output.logits_per_image[:, count - 1],
        tokens(1, GRID),
    )
    assert_agrees(result.raw, gradcam(found.activations, found.gradients))
    with torch.no_grad():
        assert_agrees(result.score, model(**inputs).logits_per_image[:, count - 1])


@any_counts
@pytest.mark.parametrize("method", ["occlusion:patch=0.5,stride=0.5", "ablationcam", "scorecam"])
def test_pictures_are_run_again_with_all_the_prompts(batch: int, count: int, method: str) -> None:
    # As many prompts as pictures are not one prompt to each picture.
    model, inputs = asked(batch, count)
    together = limelight.explain(model, inputs, target=count - 1, method=method)
    for b in range(batch):
        one = {**inputs, "pixel_values": inputs["pixel_values"][b : b + 1]}
        alone = limelight.explain(model, one, target=count - 1, method=method)
        assert_agrees(together.raw[b], alone.raw[0])


@any_counts
def test_the_head_of_other_rows_sees_all_the_prompts(batch: int, count: int) -> None:
    model, inputs = asked(batch, count)
    cut = limelight.cut(model, inputs, None)
    with torch.no_grad():
        whole = model(**inputs).logits_per_image
        for b in range(batch):
            rows = torch.full((2,), b)
            output = cut.head(cut.activations[rows], rows=rows)
            assert_agrees(output.logits_per_image, whole[rows])


def test_each_prompt_has_its_own_map_from_one_pass() -> None:
    model, inputs = asked(2, 3)
    found = limelight.explain_each(model, inputs, [0, 1, 2], classes=["a cat", "a dog", "a car"])
    assert [one.label for one in found] == [("a cat",) * 2, ("a dog",) * 2, ("a car",) * 2]
    with torch.no_grad():
        scores = model(**inputs).logits_per_image
    assert_agrees(torch.stack([one.score for one in found], 1), scores)
    assert_differs(found[0].raw, found[1].raw)


def test_the_likeness_to_another_picture_s_embedding() -> None:
    model, inputs = asked(2, 3)
    with torch.no_grad():
        embeddings = model(**inputs).image_embeds
    result = limelight.explain(
        model, inputs, target=Similarity(embeddings[0], "the first"), output="image_embeds"
    )
    assert_agrees(result.score[0], torch.tensor(1.0))
    likeness = (embeddings[0] * embeddings[1]).sum() / embeddings.norm(dim=1).prod()
    assert_agrees(result.score[1], likeness)
    found = probe(
        model,
        result.layer,
        inputs,
        lambda y: torch.cosine_similarity(y.image_embeds, embeddings[:1]),
        tokens(1, GRID),
    )
    expected = gradcam(found.activations, found.gradients)
    assert_agrees(result.raw[1], expected[1])


# Captions

#: How it is made, what its sentences are called, and a layer of its pictures.
CAPTIONERS = {
    "encoder and decoder": (captioner, "decoder_input_ids", "encoder.layernorm"),
    "blip": (blip, "input_ids", "vision_model.encoder.layers.1.layer_norm1"),
}

any_captioner = pytest.mark.parametrize("name", CAPTIONERS)


def captioned(name: str, length: int, batch: int = 2) -> tuple[Any, dict[str, Tensor], Tensor]:
    build, key, _ = CAPTIONERS[name]
    ids = prompts(batch, length)
    return build(), {"pixel_values": torch.randn(batch, 3, 32, 32), key: ids}, ids


@any_captioner
def test_each_word_s_score_is_its_log_probability(name: str) -> None:
    model, inputs, ids = captioned(name, 6)
    with torch.no_grad():
        logits = model(**inputs).logits
    found = limelight.explain_each(model, inputs, [Words(ids, t) for t in range(1, 6)])
    for t, result in enumerate(found, start=1):
        expected = [logits[b, t - 1].log_softmax(0)[ids[b, t]] for b in range(2)]
        assert_agrees(result.score, torch.stack(expected))
    whole = limelight.explain(model, inputs, target=Words(ids))
    assert_agrees(whole.score, torch.stack([one.score for one in found]).sum(0))


def likely(output: Any, *, t: int, word: int) -> Any:
    return output.logits[:, t - 1].log_softmax(-1)[:, word]


@any_captioner
def test_each_word_has_a_map_of_its_own_over_the_patches(name: str) -> None:
    model, inputs, ids = captioned(name, 6, batch=1)
    names = ["<s>", "a", "cat", "sits", "down", "</s>"]
    found = limelight.explain_each(
        model, inputs, each_word(ids[0], names), method="hirescam", layer=CAPTIONERS[name][2]
    )
    assert [one.label for one in found] == [(word,) for word in names[1:]]
    for t, result in enumerate(found, start=1):
        assert result.raw.shape == (1, *GRID)
        word = partial(likely, t=t, word=int(ids[0, t]))
        seen = probe(model, result.layer, inputs, word, tokens(1, GRID))
        assert_agrees(result.raw, (seen.activations * seen.gradients).sum(1))
    assert_differs(found[0].raw, found[1].raw)


@any_captioner
@pytest.mark.parametrize("length", [3, 4, 5, 8, 15, 16, 17, 20, 33])
def test_the_words_of_a_sentence_are_no_grid_over_the_picture(name: str, length: int) -> None:
    # 4 and 5 words could be 2 x 2 patches merged, 16 and more those of the picture, with a prefix.
    model, inputs, ids = captioned(name, length, batch=1)
    result = limelight.explain(model, inputs, target=Words(ids))
    assert result.raw.shape == (1, *GRID)
    assert result.layer.startswith(("encoder", "vision_model"))
    assert result.status[0].name != "disconnected"


@any_captioner
@pytest.mark.parametrize("method", ["occlusion:patch=0.5,stride=0.5", "scorecam", "ablationcam"])
def test_pictures_are_run_again_with_their_own_sentences(name: str, method: str) -> None:
    model, inputs, ids = captioned(name, 6)
    together = limelight.explain(model, inputs, target=Words(ids, [2, 3]), method=method)
    for b in range(2):
        one = {key: value[b : b + 1] for key, value in inputs.items()}
        alone = limelight.explain(model, one, target=Words(ids[b], [2, 3]), method=method)
        assert_agrees(together.raw[b], alone.raw[0])


@any_captioner
def test_without_a_target_the_next_word_is_explained(name: str) -> None:
    model, inputs, _ = captioned(name, 6)
    with torch.no_grad():
        last = model(**inputs).logits[:, -1]
    result = limelight.explain(model, inputs)
    assert result.index is not None
    assert result.index.tolist() == last.argmax(1).tolist()
    assert_agrees(result.score, last.amax(1))
    assert result.label == tuple(f"class {i} as the next word" for i in result.index.tolist())
