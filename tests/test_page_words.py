"""The library's sentences in Chinese: statuses, errors, reasons; and the words of the page."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from string import Formatter
from typing import Any

import pytest

import limelight
from helpers.texts import flat
from limelight import errors
from limelight.errors import LimelightError, unknown
from limelight.methods import METHODS
from limelight.photos.samples import SAMPLES, find_sample
from limelight.status import STATUS_NAMES, Status, status_message
from limelight.translations.library import in_language, templates, translated
from limelight.translations.templates import Template
from limelight.web.wording import library_sentence, say, status_sentence, words
from written_sentences import ROOT, Written, written_in

#: Files whose errors a reader of the page can meet. A new message in them needs a template.
REACHED = (
    "application.py",
    "errors.py",
    "input_images.py",
    "registry.py",
    *(f"layers/{name}.py" for name in ("choice", "resolved")),
    *(f"methods/{name}.py" for name in ("__init__", "attention", "method", "tiles", "views")),
    "metrics/case.py",
    "metrics/faithfulness.py",
    "metrics/run.py",
    "models/prompted.py",
    *(f"photos/{name}.py" for name in ("decode", "deep", "extras", "memory", "pictures")),
    *(f"photos/{name}.py" for name in ("preprocess", "raster", "samples")),
    *(f"runtime/{name}.py" for name in ("arrivals", "attending", "cam_head", "capture", "cells")),
    *(f"runtime/{name}.py" for name in ("deep", "diagnosis", "forward", "head", "output_layout")),
    *(f"runtime/{name}.py" for name in ("record", "scripted", "towers", "word_logits")),
    *(f"targets/{name}.py" for name in ("box_table", "class_names", "classes", "differences")),
    *(f"targets/{name}.py" for name in ("output_table", "outputs", "region_table", "scores")),
    "targets/tables.py",
    *(f"vision_language/{name}.py" for name in ("canvas", "given_photos", "pipeline", "places")),
    *(f"vision_language/{name}.py" for name in ("prompts", "scores", "sentences", "words")),
    "web/subjects/networks.py",
    "web/subjects/targets.py",
)

ALL_WRITTEN = [each for path in REACHED for each in written_in(path)]

#: Words of English one after another, which no Chinese sentence has but in code or in quotes.
ENGLISH = re.compile(r"(?:\b[a-z]{2,}\b ){4}")

CHINESE = re.compile(r"[\u4e00-\u9fff]")

#: Texts that are no words: names, signs, units.
NO_WORDS = re.compile(
    r"[\W\d_]*|\W*eigen=True\W*|true . false|[a-z]*limelight[a-z]*|[A-Z]{2,}\w*|.{0,3}",
    re.IGNORECASE,
)

#: Texts that are the same in both languages, or in the other one.
OTHER_WORDS = {"page.view.other-language", "page.out.python", "page.out.coco"}


def in_chinese(text: str) -> str:
    """Return a sentence in Chinese, which must be known."""
    found = translated(text, "zh")
    assert found is not None, text
    assert CHINESE.search(found) or NO_WORDS.fullmatch(found), found
    assert not ENGLISH.search(found), found
    return found


# Templates


def test_a_template_returns_the_values_that_make_a_sentence_of_it() -> None:
    template = Template.read("There is no {kind} named {given!r}. {hint}")
    values = template.match("There is no layer named 'a named \\'b\\'. c'. See it.")
    assert values == {"kind": "layer", "given": "'a named \\'b\\'. c'", "hint": "See it."}
    assert template.fill(values) == "There is no layer named 'a named \\'b\\'. c'. See it."


@pytest.mark.parametrize(
    "sentence",
    [
        "There is no layer named 'open. Yes.",
        "There is no layer named x. Yes.",
        "There is no layer named 'x'; Yes.",
        "So there is no layer named 'x'. Yes.",
        "",
    ],
)
def test_a_template_does_not_match_what_only_looks_like_it(sentence: str) -> None:
    assert Template.read("There is no {kind} named {given!r}. {hint}").match(sentence) is None


def test_a_value_that_is_asked_for_twice_has_to_be_the_same() -> None:
    template = Template.read("{a} x {a}")
    assert template.match("1 x 1") == {"a": "1"}
    assert template.match("1 x 2") is None


def test_two_holes_side_by_side_are_refused() -> None:
    with pytest.raises(ValueError, match="side by side"):
        Template.read("{a}{b}")


def test_every_value_round_trips_whatever_a_user_calls_a_file() -> None:
    names = [
        'it\'s "both"',
        "{x}",
        "\\",
        "a. b? c; d: e",
        "照片.png",
        "' is empty (0 bytes); a",
        "\n",
    ]
    for name in names:
        shown = repr(name)
        chinese = in_chinese(f"{shown} is empty (0 bytes); a picture was expected.")
        assert shown in chinese
        assert chinese.count("字节") == 1


def test_a_long_text_made_to_be_slow_is_given_up_or_read_in_one_go() -> None:
    text = "There is no class named '" + "\\'" * 2000 + ". Did you mean " * 100
    assert translated(text, "zh") is None
    assert translated("x. " * 10_000, "zh") is None


@pytest.mark.parametrize("language", ["en", "zh"])
def test_nothing_is_nothing_in_any_language(language: str) -> None:
    assert translated("", language) == ""


def test_an_unknown_sentence_is_known_to_be_unknown() -> None:
    assert translated("Nobody wrote this sentence.", "zh") is None
    assert in_language("Nobody wrote this sentence.", "zh") == "Nobody wrote this sentence."
    assert library_sentence("Nobody wrote this.", "zh") == say(
        "errors.library", "zh", sentence="Nobody wrote this."
    )
    assert library_sentence("Nobody wrote this.", "en") == "Nobody wrote this."


def test_sentences_that_follow_one_another_are_all_told() -> None:
    one = status_message("disconnected", method="m", layer="a. b", grid=None)
    other = status_message("flat", method="gradcam", layer="x", grid=(7, 7))
    assert in_chinese(f"{one} {other}") == in_chinese(one) + in_chinese(other)
    assert translated(f"{one} Nobody wrote this. {other}", "zh") is None


def test_a_sentence_within_a_sentence_is_told_too() -> None:
    error = unknown("layer", "layer5", ["layer4"], "")
    found = in_chinese(str(error))
    assert found.startswith("没有名为 'layer5' 的层。您是否想写 'layer4'")
    objected = "the last layer with a grid on which gradient of the score arrives, although it has "
    assert in_chinese(objected + "no parameters").endswith("尽管它没有参数")


# What the library writes


@pytest.mark.parametrize("written", ALL_WRITTEN, ids=lambda each: each.where)
def test_every_error_that_the_page_can_meet_has_a_template(written: Written) -> None:
    in_chinese(written.text.strip().replace("{}", "'x'"))


def test_the_messages_of_errors_are_found_in_the_source() -> None:
    texts = {each.text for each in ALL_WRITTEN}
    assert len(texts) > 200
    assert "{} is empty (0 bytes); a picture was expected." in texts
    assert errors.QUANTISED in texts  # raised by its name
    assert "The option {} of {} is {}; {} was expected." in texts
    assert "did not run in this pass, so there is nothing to cut." in " ".join(texts)  # a part


def test_a_new_message_would_be_found_missing() -> None:
    with pytest.raises(AssertionError):
        in_chinese("The sky over {} is {}; blue was expected.".replace("{}", "'x'"))


def test_every_file_that_is_said_to_be_covered_writes_something() -> None:
    silent = [path for path in REACHED if not written_in(path)]
    assert set(silent) <= {"runtime/diagnosis.py", "errors.py", "targets/differences.py"}
    assert all((ROOT / path).is_file() for path in REACHED)


@pytest.mark.parametrize("name", STATUS_NAMES)
@pytest.mark.parametrize("grid", [None, (7, 7)])
@pytest.mark.parametrize("summed_over", ["cells", "channels"])
@pytest.mark.parametrize("leaves_out", [True, False])
def test_every_status_is_told_in_chinese(
    name: Any, grid: Any, summed_over: Any, leaves_out: bool
) -> None:
    message = status_message(
        name,
        method="rise:masks=20",
        layer="features[-1].'odd'",
        grid=grid,
        summed_over=summed_over,
        leaves_out=leaves_out,
    )
    told = status_sentence(Status(name, message), "zh")
    assert status_sentence(Status(name, message), "en") == message
    if name == "ok":
        assert told == ""
        return
    assert told == in_chinese(message)
    assert (repr("features[-1].'odd'") in told) == (repr("features[-1].'odd'") in message)


def test_why_no_gradient_arrives_is_told_in_chinese() -> None:
    sentences = [
        text
        for node in ast.walk(ast.parse((ROOT / "runtime/diagnosis.py").read_text("utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name == "why_disconnected"
        for each in ast.walk(node)
        if isinstance(each, ast.Return) and isinstance(each.value, ast.JoinedStr)
        for text in [
            "".join(
                getattr(p, "value", "") if isinstance(p, ast.Constant) else "'x'"
                for p in each.value.values
            )
        ]
    ]
    assert len(sentences) == 3
    for sentence in sentences:
        in_chinese(sentence)


def test_what_methods_are_for_and_what_samples_show_is_told_in_chinese() -> None:
    for text in [*(method.use for method in METHODS.values()), *SAMPLES.values()]:
        assert CHINESE.search(in_chinese(text))


def test_errors_that_are_really_raised_are_told_in_chinese(tmp_path: Path) -> None:
    network = limelight.load_model()
    picture = limelight.load_photo(find_sample("chelsea"))
    (tmp_path / "cut.png").write_bytes(find_sample("chelsea").read_bytes()[:5000])
    raised = list[LimelightError]()
    for attempt in (
        lambda: limelight.explain(network, picture, target="tabi"),
        lambda: limelight.explain(network, picture, target=1000),
        lambda: limelight.explain(network, picture, layer="blocks.99"),
        lambda: limelight.explain(network, picture, layer="a..b"),
        lambda: limelight.explain(network, picture, method="gradkam"),
        lambda: limelight.explain(network, picture, method="rise:mask=5"),
        lambda: limelight.explain(network, picture, method="rise:masks=0"),
        lambda: limelight.explain(network, picture, method="rise:masks"),
        lambda: limelight.explain(network, picture, method="legrad"),
        lambda: limelight.explain(network, picture, method="fullgrad", layer="blocks"),
        lambda: limelight.explain(network, picture, target=limelight.Box([1, 2, 3, 4])),
        lambda: limelight.explain(network, picture, target=limelight.Region(where=(1, 2))),
        lambda: limelight.load_photo(tmp_path / "cut.png"),
        lambda: limelight.load_photo(tmp_path / "none.png"),
        lambda: limelight.load_photo(tmp_path),
    ):
        with pytest.raises(LimelightError) as caught:
            attempt()
        raised.append(caught.value)
    for error in raised:
        in_chinese(str(error))


# The words of the page


def test_both_languages_of_the_page_say_the_same() -> None:
    english, chinese = flat(words("en")), flat(words("zh"))
    assert list(english) == list(chinese)
    for key, text in english.items():
        assert _holes(text) == _holes(chinese[key]), key
        assert text == text.strip(), key
        assert chinese[key] == chinese[key].strip(), key


def _holes(text: str) -> list[str]:
    return sorted(name for _, name, *_ in Formatter().parse(text) if name is not None)


def test_the_chinese_of_the_page_is_chinese() -> None:
    for key, text in flat(words("zh")).items():
        bare = re.sub(r"\{\w*\}", "", text)
        is_name = key in OTHER_WORDS or NO_WORDS.fullmatch(bare)
        assert CHINESE.search(bare) or is_name, (key, text)
        # Beside Chinese letters stand Chinese signs.
        assert not re.search(r"[\u3000-\u9fff\uff00-\uffef][,;:?!()]", bare), (key, text)
        assert not re.search(r"[,;:?!()][\u3000-\u9fff]", bare), (key, text)


def test_the_english_of_the_page_holds_no_chinese() -> None:
    for key, text in flat(words("en")).items():
        assert not CHINESE.search(text) or key == "page.view.other-language", key


def test_chinese_templates_fill_in_all_values() -> None:
    for english, chinese in templates("zh"):
        names = {hole.name for hole in english.holes}
        assert names == {hole.name for hole in chinese.holes}, english
        assert any(literal.strip() for literal in english.literals)
        of_letters = "".join(literal for literal in chinese.literals)
        assert CHINESE.search(of_letters) or NO_WORDS.fullmatch(of_letters), english
