"""Models that are asked: loaded from folders, prompted by templates, refused if they cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import limelight
from helpers.asking import QUESTION, asked, question
from helpers.vision_language import SEES, SIDE, drawn, hf, made, photo, reads
from limelight.errors import (
    InputError,
    MissingPhotoError,
    ModelError,
    OptionError,
    OutputError,
    TargetError,
    UnknownNameError,
    WeightsError,
)
from limelight.models.vision_language import PhotoTextProcessor
from limelight.vision_language.prompts import CAPTION_QUESTION, read_prompt
from limelight.vision_language.rows import WORD_COLUMNS

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] }} : "
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image> "
    "{% else %}{{ part['text'] }} {% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}assistant : {% endif %}"
)
PHOTO = photo(96, 64)


def chat(template: str = TEMPLATE) -> limelight.VisionLanguageModel:
    """Return a LLaVA with a template of conversations."""
    known = made("llava")
    processor = hf.LlavaProcessor(
        known.processor.image_processor,
        known.processor.tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )
    return limelight.VisionLanguageModel("chat", known.model, processor)


def saved(folder: Path, *parts: Any) -> str:
    for part in parts:
        part.save_pretrained(folder)
    return f"hf:{folder}"


# Prompts


def test_a_conversation_has_its_template_with_one_token_that_begins_it() -> None:
    prompt = read_prompt(chat(), [PHOTO], QUESTION)
    ids = prompt.inputs["input_ids"][0].tolist()
    words = made("llava").processor.tokenizer.convert_ids_to_tokens(ids)
    assert words == ["<bos>", "user", ":", *["<image>"] * 16, *QUESTION.split(), "assistant", ":"]


def test_an_older_template_takes_text_alone() -> None:
    older = (
        "{{ bos_token }}{% for message in messages %}{{ message['role'] }} : "
        "{{ message['content'] + '' }}{% endfor %}assistant : "
    )
    prompt = read_prompt(chat(older), [PHOTO], QUESTION)
    assert prompt.text == f"<bos>user : <image>\n{QUESTION}assistant : "


def test_a_conversation_without_a_question_asks_for_a_description() -> None:
    answer = limelight.caption(PHOTO, model=chat(), answer="a red disc")
    assert answer.question == CAPTION_QUESTION
    unasked = limelight.caption(PHOTO, model=asked("blip"), answer="a red disc")
    assert unasked.question == ""


def test_two_photos_have_a_token_each() -> None:
    prompt = read_prompt(asked("llava"), [PHOTO, PHOTO], question("llava", 2))
    assert prompt.text == f"<image><image>\n{QUESTION}"
    answer = limelight.ask([PHOTO, photo(64, 96)], QUESTION, model=asked("llava"), answer="a disc")
    assert answer.photo_names == ("photo 1", "photo 2")
    assert [len(word.heatmaps) for word in answer.words] == [2, 2]


def test_more_photos_than_a_model_takes_are_refused() -> None:
    with pytest.raises(InputError, match="does not take 2 photos and the question"):
        limelight.ask([PHOTO, PHOTO], "<image> what is this ?", model=asked("llava"))


def test_several_photos_do_not_become_prompts_of_their_own() -> None:
    with pytest.raises(InputError, match="'vit-gpt2' takes one photo in a prompt, and 2 were"):
        limelight.caption([PHOTO, PHOTO], model=asked("vit-gpt2"))


# Models


def test_a_captioner_is_loaded_from_a_folder_without_a_processor(tmp_path: Path) -> None:
    known = made("vit-gpt2")
    name = saved(tmp_path, known.model, hf.ViTImageProcessor(size=SIDE), known.processor.tokenizer)
    network = limelight.load_vision_language(name)
    assert isinstance(network.processor, PhotoTextProcessor)
    assert not any(weight.requires_grad for weight in network.model.parameters())
    found = limelight.caption(PHOTO, model=network, answer="a red disc")
    plain = limelight.caption(PHOTO, model=asked("vit-gpt2"), answer="a red disc")
    for word, same in zip(found.words, plain.words, strict=True):
        assert word.log_probability == pytest.approx(same.log_probability, abs=0.05)


def test_a_model_is_loaded_with_its_processor_in_a_type(tmp_path: Path) -> None:
    chatting = chat()
    processor = hf.LlavaProcessor(
        hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=SIDE),
        chatting.tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )
    name = saved(tmp_path, chatting.model, processor)
    network = limelight.load_vision_language(name, dtype=torch.bfloat16)
    assert next(network.model.parameters()).dtype == torch.bfloat16
    assert repr(network).startswith(f"VisionLanguageModel({name}, LlavaForConditionalGeneration, ")
    answer = limelight.ask(PHOTO, QUESTION, model=network, answer="a red disc")
    assert answer.model == name
    assert all(np.isfinite(word.signed[0]).all() for word in answer.words)
    random = limelight.load_vision_language(name, weights="none")
    assert random.weights == "random"


def test_models_that_cannot_answer_about_photos_are_refused(tmp_path: Path) -> None:
    config = hf.GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=1)
    blind = saved(tmp_path / "blind", hf.GPT2LMHeadModel(config))
    with pytest.raises(ModelError, match="GPT2LMHeadModel, which takes no picture"):
        limelight.load_vision_language(blind)
    text = {**reads(9), "projection_dim": 8}
    config = hf.CLIPConfig(text_config=text, vision_config=SEES, projection_dim=8)
    mute = saved(tmp_path / "mute", hf.CLIPModel(config))
    with pytest.raises(ModelError, match="CLIPModel, which generates no text"):
        limelight.load_vision_language(mute)
    with pytest.raises(WeightsError, match="cannot be had"):
        limelight.load_vision_language(f"hf:{tmp_path / 'nothing'}")
    with pytest.raises(ModelError, match="without a tokenizer"):
        limelight.VisionLanguageModel("x", made("llava").model, object())
    with pytest.raises(ModelError, match=r"is a str; an nn\.Module of transformers was expected"):
        limelight.VisionLanguageModel("x", "llava", made("llava").processor)


# What is refused


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"answer": " "}, TargetError, "The given answer is empty"),
        ({"word": "blue"}, UnknownNameError, "no word of the answer named 'blue'"),
        ({"word": 3}, TargetError, "There is no word 3"),
        ({"instead": "blue"}, OptionError, "and the answer has 3 words: a, red, disc"),
        ({"word": 1, "instead": "red"}, TargetError, "begin with the same tokens"),
        ({"word": 1, "instead": " "}, TargetError, "begin with the same tokens"),
        ({"word": 1, "instead": "zebra"}, TargetError, "tokenizer does not know 'zebra'"),
        ({"answer": "a zebra on a yak"}, TargetError, "tokenizer does not know 'zebra', 'yak'"),
        ({"whole": True, "word": 1}, OptionError, "whole=True explains the whole answer"),
        ({"answer": 3}, OptionError, "The answer is a int; a text was expected"),
        ({"max_new_tokens": 0}, OptionError, "max_new_tokens is 0"),
        ({"layer": "nowhere"}, UnknownNameError, "nowhere"),
        ({"method": "no-such"}, UnknownNameError, "no-such"),
    ],
)
def test_what_cannot_be_explained_is_refused(
    options: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        limelight.ask(PHOTO, QUESTION, model=asked("llava"), **{"answer": "a red disc", **options})


def test_an_empty_answer_is_refused() -> None:
    model = drawn(hf.LlavaForConditionalGeneration(made("llava").model.config))
    model.generation_config.eos_token_id = list(range(model.config.text_config.vocab_size))
    network = limelight.VisionLanguageModel("mute", model, made("llava").processor)
    with pytest.raises(TargetError, match="The model's answer is empty: it ends its sentence at"):
        limelight.ask(PHOTO, QUESTION, model=network)


@pytest.mark.parametrize(
    ("photos", "error", "said"),
    [
        ([], InputError, "no photos in the list"),
        (7, InputError, "The photo is a int"),
        ("nowhere.jpg", MissingPhotoError, "nowhere"),
        (np.zeros((5, 40, 40, 3), np.uint8), InputError, "is a volume of 5 slices"),
    ],
)
def test_what_is_no_photo_is_refused(photos: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        limelight.ask(photos, QUESTION, model=asked("llava"))


# Results


def test_an_answer_is_saved_as_page_figure_and_arrays(tmp_path: Path) -> None:
    answer = limelight.ask(
        [PHOTO, photo(64, 96)],
        question("internvl", 2),
        model=asked("internvl"),
        answer="a red disc",
    )
    folder = answer.save(tmp_path / "made" / "here", arrays=True)
    assert sorted(file.name for file in folder.iterdir()) == [
        "answer.html",
        "maps.npz",
        "words.png",
    ]
    assert answer.html() == (folder / "answer.html").read_text()
    with Image.open(folder / "words.png") as figure:
        assert min(figure.size) > 200
    with np.load(folder / "maps.npz") as arrays:
        assert np.array_equal(arrays["heatmap_1_0"], answer["red"].heatmaps[0])
        assert np.array_equal(arrays["signed_2_1"], answer["disc"].signed[1])
    shown = answer._repr_html_()
    assert "disc" in shown
    assert "<script" not in shown
    assert repr(answer).endswith("maps of 3 of 3 words over 2 photos)")
    word = answer["disc"]
    says = "needs the picture" if word.needs_picture else "does not need the picture"
    assert repr(word) == f"ExplainedWord('disc'; probability {word.probability:.3g}; {says}; ok)"
    with pytest.raises(OutputError, match=r"words\.png' is named like a file"):
        answer.save(tmp_path / "words.png")
    assert not (tmp_path / "words.png").exists()


def test_an_answer_is_a_table_of_words() -> None:
    answer = limelight.ask(PHOTO, QUESTION, model=asked("llava"), answer="a red disc", word="red")
    rows = answer.rows()
    assert [row["text"] for row in rows] == ["a", "red", "disc"]
    assert all(list(row) == list(WORD_COLUMNS) for row in rows)
    assert [row["status"] is None for row in rows] == [True, False, True]
    word, row = answer["red"], rows[1]
    assert row["probability"] == word.probability == np.exp(word.log_probability)
    if word.status is not None and word.status.ok:
        heat = word.heatmaps[0]
        y, x = np.unravel_index(heat.argmax(), heat.shape)
        assert row["max_x_photo"] == int((x + 0.5) * 96 / heat.shape[1])
        assert row["max_y_photo"] == int((y + 0.5) * 64 / heat.shape[0])
    frame = answer.to_frame()
    assert frame["needs_picture"].dtype == "boolean"


def test_photos_keep_their_names_and_sizes(tmp_path: Path) -> None:
    PHOTO.save(tmp_path / "holiday.png")
    grey = np.asarray(PHOTO.convert("L"))
    network = asked("gemma-3")
    answer = limelight.ask(
        [tmp_path / "holiday.png", grey], QUESTION, model=network, answer="a disc"
    )
    assert answer.photo_names == ("holiday.png", "photo 2")
    assert [(each.mode, each.size) for each in answer.photos] == [("RGB", (96, 64))] * 2
