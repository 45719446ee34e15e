"""`limelight ask`: a model's answer, word by word, on the terminal and as a page."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import limelight
from helpers.asked_models import save_blip, save_llava
from helpers.commands import Runner, flat, folder, full_after, run, save_photo
from helpers.pages import read
from helpers.tolerances import assert_agrees, of_heatmaps

__all__ = ["folder", "run"]  # fixtures

QUESTION = "what is in the picture ?"
ANSWER = "a red cat on the mat"


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_llava(tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_blip(tmp_path_factory.mktemp("blip"))


def report_of(run: Runner, *args: object) -> dict[str, Any]:
    code, out, err = run("ask", *args, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert isinstance(report, dict)
    return report


def test_a_question_is_answered_word_by_word(run: Runner, folder: Path, llava: str) -> None:
    save_photo(folder / "a.png")
    code, out, err = run("ask", "a.png", QUESTION, "--model", llava, "--answer", ANSWER)
    assert code == 0, err
    assert f"question {QUESTION} given {ANSWER}" in flat(out)
    assert "word probability without picture owed to the picture hottest at" in flat(out)
    lines = out.splitlines()
    found = limelight.ask("a.png", QUESTION, model=llava, answer=ANSWER)
    for word in found.words:
        (line,) = (line for line in lines if line.split()[:1] == [word.text] and "%" in line)
        assert ("not needed" in line) == (word.needs_picture is False)
    assert f"method {found.method} page" in flat(out)
    page = read((folder / "limelight-out" / "a-ask" / "answer.html").read_text(encoding="utf-8"))
    assert page.one("h1").text == QUESTION
    assert "limelight-out/a-ask/answer.html" in out


def test_the_document_says_what_the_library_finds(run: Runner, folder: Path, llava: str) -> None:
    save_photo(folder / "a.png", size=(64, 64))
    given = ("a.png", QUESTION, "--model", llava, "--answer", ANSWER, "--out", "a.html")
    report = report_of(run, *given)
    found = limelight.ask("a.png", QUESTION, model=llava, answer=ANSWER)
    assert report["answer"] == found.text == ANSWER
    assert (report["given"], report["subtracted"]) == (True, False)
    for name in ("method", "layer", "reason"):
        assert report[name] == getattr(found, name)
    assert [word["text"] for word in report["words"]] == ANSWER.split()
    for said, word in zip(report["words"], found.words, strict=True):
        assert said["log_probability"] == pytest.approx(word.log_probability, rel=1e-5)
        assert said["without_picture"] == pytest.approx(word.without_picture, rel=1e-5)
        assert said["picture_share"] == pytest.approx(word.picture_share, rel=1e-3, abs=1e-5)
        assert said["needs_picture"] == word.needs_picture
        assert ANSWER[said["start"] : said["end"]] == said["text"]
        assert word.status is not None
        assert said["status"] == word.status.name
        if word.status.ok:
            (heatmap,) = word.heatmaps
            rows, columns = heatmap.shape
            row, column = said["max_y_photo"] * rows // 64, said["max_x_photo"] * columns // 64
            assert heatmap[row, column] == heatmap.max()


def test_the_model_answers_itself_within_its_tokens(run: Runner, folder: Path, blip: str) -> None:
    save_photo(folder / "a.png")
    options = ("--max-new-tokens", 5, "--no-without-picture", "--out", "a.html")
    code, out, err = run("ask", "a.png", "--caption", "--model", blip, *options)
    assert code == 0, err
    found = limelight.caption("a.png", model=blip, max_new_tokens=5, without_picture=False)
    assert 1 <= len(found.words) <= 5  # of a tokenizer of whole words
    assert f"caption {found.text}" in flat(out)
    assert "word probability hottest at" in flat(out)
    assert "question" not in out


def test_one_word_is_compared_with_another(run: Runner, folder: Path, llava: str) -> None:
    save_photo(folder / "a.png")
    given = ("a.png", QUESTION, "--model", llava, "--answer", ANSWER, "--out", "a.html")
    code, out, err = run("ask", *given, "--word", 2, "--instead", "disc")
    assert code == 0, err
    (compared,) = (line for line in out.splitlines() if "nats against" in line)
    assert re.search(r"cat .* [+-]\d\.\d\d nats against 'disc'", compared)
    page = read((folder / "a.html").read_text(encoding="utf-8"))
    assert [node.one("span", "text").text for node in page.all("button", "word")] == ["cat"]


def test_a_whole_answer_is_one_map(run: Runner, folder: Path, llava: str) -> None:
    save_photo(folder / "a.png")
    given = ("a.png", QUESTION, "--model", llava, "--answer", ANSWER, "--out", "a.html")
    (whole,) = report_of(run, *given, "--whole")["words"]
    assert (whole["text"], whole["start"], whole["end"]) == (ANSWER, 0, len(ANSWER))
    page = read((folder / "a.html").read_text(encoding="utf-8"))
    assert [node.one("span", "text").text for node in page.all("button", "word")] == [ANSWER]


def test_several_photos_are_seen_together(run: Runner, folder: Path, llava: str) -> None:
    save_photo(folder / "a.png", size=(64, 32))
    save_photo(folder / "b.png", seed=1, size=(32, 64))
    given = ("a.png", "b.png", QUESTION, "--model", llava, "--answer", ANSWER)
    code, out, err = run("ask", *given, "--out", "both.html", "--lang", "zh")
    assert code == 0, err
    assert re.search(r"[ab]\.png: \d+, \d+", out)
    page = read((folder / "both.html").read_text(encoding="utf-8"))
    assert page.one("html").attributes["lang"] == "zh"
    assert [node.text for node in page.all("figcaption")] == ["1. a.png", "2. b.png"]
    assert not (folder / "words.png").exists()


def test_page_figure_arrays_and_table_are_written(run: Runner, folder: Path, llava: str) -> None:
    save_photo(folder / "a.png")
    given = ("a.png", QUESTION, "--model", llava, "--answer", ANSWER, "--width", "85mm")
    report = report_of(run, *given, "--out", "maps", "--arrays", "--table", "words.csv")
    assert report["page"] == "maps/answer.html"
    names = sorted(path.name for path in (folder / "maps").iterdir())
    assert names == ["answer.html", "maps.npz", "words.png"]
    found = limelight.ask("a.png", QUESTION, model=llava, answer=ANSWER)
    with np.load("maps/maps.npz") as arrays:
        expected = found.words[2].heatmaps[0]
        condition = of_heatmaps(torch.from_numpy(found.words[2].signed[0])[None])
        assert_agrees(arrays["heatmap_2_0"], expected, condition=condition)
    with open("words.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == [word["text"] for word in report["words"]]
    assert {row["answer"] for row in rows} == {ANSWER}
    with Image.open("maps/words.png") as figure:
        assert figure.width == pytest.approx(85 / 25.4 * figure.info["dpi"][0], rel=0.02)


def test_the_users_choices_reach_the_library(run: Runner, folder: Path, llava: str) -> None:
    save_photo(folder / "a.png")
    layer = "model.vision_tower.encoder.layers.0"
    given = ("a.png", QUESTION, "--model", llava, "--answer", ANSWER, "--out", "a.html")
    report = report_of(
        run, *given, "--layer", layer, "--method", "layercam", "--dtype", "float64", "--weights",
        "none", "--device", "cpu", "--subtract-sinks",
    )  # fmt: skip
    assert (report["layer"], report["method"]) == (layer, "layercam")
    assert (report["weights"], report["subtracted"]) == ("random", True)
    save_photo(folder / "others" / "b.png", seed=1)
    save_photo(folder / "others" / "c.png", seed=2)
    compared = report_of(run, *given, "--other", "others", "--other", "a.png")
    expected = limelight.ask(
        "a.png", QUESTION, model=llava, answer=ANSWER,
        other_photos=["others/b.png", "others/c.png", "a.png"],
    )  # fmt: skip
    for said, word in zip(compared["words"], expected.words, strict=True):
        assert said["without_picture"] == pytest.approx(word.without_picture, rel=1e-5)
    code, _, err = run("ask", *given, "--other", "away.png")
    assert code == 2
    assert "away.png" in err
    _, out, _ = run("ask", *given, "--weights", "none")
    assert "The weights are random: neither words nor maps mean a thing." in out


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("a.png",), "The last argument is the photo 'a.png'; the question was expected there"),
        (("a.png", "a.png"), "The last argument is the photo 'a.png'"),
        (("chelsea",), "The last argument is the photo 'chelsea'"),
        (("What is it?",), "There is a question, 'What is it?', and no photo"),
        (("a.png", " "), "The question is empty"),
        (("a.png", ""), "The question is empty"),
        (
            ("a.png", "what", "is", "it", "--model", "hf:x"),
            "There is no file 'what'. All but the last argument are photos: write the question in",
        ),
        (("a.png", "what ?", "--caption", "--model", "hf:x"), "With --caption there is none."),
        (("a.png", QUESTION, "--model", "none"), "--model is 'none'; a model of transformers"),
        (("a.png", QUESTION), "--model is missing; a model of transformers"),
        (("b.png", QUESTION, "--model", "hf:x"), "There is no file 'b.png'"),
        (("a.png", QUESTION, "--model", "hf:x", "--out", "page.pdf"), "--out is 'page.pdf'"),
        (("a.png", QUESTION, "--model", "hf:x", "--method", "gradkam"), "Did you mean 'gradcam'"),
        (
            ("a.png", QUESTION, "--model", "hf:x", "--out", "p.html", "--arrays"),
            "--arrays writes a file beside it",
        ),
        (("a.png", QUESTION, "--language", "zh"), "Use --lang."),
        ((), "Missing argument"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_what_is_wrong_is_said_before_the_model_is_loaded(
    run: Runner, folder: Path, args: tuple[str, ...], text: str
) -> None:
    save_photo(folder / "a.png")
    code, _, err = run("ask", *args)
    assert code == 2
    assert text in flat(err)
    assert [path.name for path in folder.iterdir() if path.suffix == ".html"] == []


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("--word", "dog"), "no word of the answer named 'dog'"),
        (("--word", "9"), "There is no word 9"),
        (("--instead", "disc"), "Name the one that it stands in for, as in --word 'mat'"),
        (("--whole", "--word", "cat"), "--whole explains the whole answer"),
        (("--layer", "nowhere"), "nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_explained_is_said_in_options(
    run: Runner, folder: Path, llava: str, args: tuple[str, ...], text: str
) -> None:
    save_photo(folder / "a.png")
    code, _, err = run("ask", "a.png", QUESTION, "--model", llava, "--answer", ANSWER, *args)
    assert code == 2
    assert text in flat(err)
    assert not list(folder.glob("limelight-out/*"))


def test_why_words_have_no_map_is_said_once(run: Runner, folder: Path, llava: str) -> None:
    save_photo(folder / "a.png")
    given = ("a.png", QUESTION, "--model", llava, "--answer", ANSWER)
    code, out, _ = run("ask", *given, "--layer", "model.language_model.layers.1")
    assert code == 0
    words = ANSWER.split()
    assert flat(out).count("disconnected") == len(words) + 1
    assert flat(out).count("disconnected all words: The score does not depend on the grid") == 1
    assert "Take --layer 'model.multi_modal_projector'." in flat(out)


def test_an_answer_is_told_also_when_its_page_cannot_be_written(
    run: Runner, folder: Path, llava: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_photo(folder / "a.png")
    full_after(monkeypatch, 0)
    code, out, err = run("ask", "a.png", QUESTION, "--model", llava, "--answer", ANSWER)
    assert code == 2
    assert f"given {ANSWER}" in flat(out)
    assert "page" not in out.split("method")[-1]
    assert "No space left on device" in flat(err)


def test_a_word_that_is_not_a_number_comes_of_broken_weights(
    run: Runner, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    broken = tmp_path_factory.mktemp("broken")
    name = save_llava(broken)
    model = limelight.load_vision_language(name).model
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    model.save_pretrained(broken)
    save_photo(folder / "a.png")
    given = ("a.png", QUESTION, "--model", name, "--answer", ANSWER, "--out", "a.html")
    code, out, err = run("ask", *given)
    assert code == 1, err
    assert "not-finite" in out
