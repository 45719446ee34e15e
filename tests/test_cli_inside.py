"""`limelight walkthrough` and `limelight trace`, run as users run them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import limelight
from helpers.commands import MODELS, Runner, flat, folder, run, save_photo
from helpers.pages import Node, read
from helpers.tolerances import assert_agrees
from limelight.photos.samples import find_sample

__all__ = ["folder", "run"]  # fixtures


def page_at(path: Path) -> Node:
    return read(path.read_text(encoding="utf-8"))


def files_in(folder: Path) -> list[str]:
    return sorted(str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file())


# walkthrough


def test_a_walkthrough_without_a_photo_is_that_of_the_sample(run: Runner, folder: Path) -> None:
    code, out, err = run("walkthrough")
    assert (code, err) == (0, "")
    assert files_in(folder) == ["limelight-out/chelsea-walkthrough.html"]
    for words in ("tiger cat, score", "ok", "bn2: the last layer with a grid", "gradcam", "MB)"):
        assert words in flat(out)
    assert "limelight-out/chelsea-walkthrough.html" in out
    beside = ["cam", "gradcam++", "xgradcam", "fem", "hirescam", "layercam", "gradcam-elementwise"]
    named = [word for word in re.findall(r"[\w+-]+", flat(out)) if word in beside]
    assert named[-len(beside) :] == beside  # among others, if there are new ones
    page = page_at(folder / "limelight-out" / "chelsea-walkthrough.html")
    assert page.one("html").attributes["lang"] == "en"
    assert "efficientnet-lite0" in page.one("dl").text


def test_the_page_is_that_of_the_library(run: Runner, folder: Path) -> None:
    assert run("walkthrough", "coffee", "--out", "page.html", "--beside", "fem")[0] == 0
    network = limelight.load_model()
    photo = limelight.load_photo(find_sample("coffee"))
    found = limelight.walkthrough(
        network.model,
        network.images(photo),
        beside=["fem"],
        classes=network.classes,
        photo=network.preprocess.view(photo),
        preprocess=network.preprocess,
        name=network.name,
    )
    assert (folder / "page.html").read_text(encoding="utf-8") == found.html()


@pytest.mark.parametrize(
    ("out", "written"),
    [
        ("page.html", "page.html"),
        ("deep/er/page.HTM", "deep/er/page.HTM"),
        ("pages", "pages/a-walkthrough.html"),
        ("v1.0", "v1.0/a-walkthrough.html"),
    ],
)
def test_a_page_goes_where_it_is_asked_to(
    run: Runner, folder: Path, out: str, written: str
) -> None:
    save_photo(folder / "a.png")
    (folder / "v1.0").mkdir()
    code, _, err = run("walkthrough", "a.png", "--out", out, "--beside", "fem")
    assert code == 0, err
    assert files_in(folder) == sorted(["a.png", written])


def test_choices_reach_the_page(run: Runner, folder: Path) -> None:
    save_photo(folder / "a.png")
    code, out, err = run(
        *("walkthrough", "a.png", "--lang", "zh", "--method", "layercam", "--layer", "blocks.4"),
        *("--beside", "gradcam eigencam", "--beside", "fem:deviations=1", "--target", "tabby"),
        *("--against", "pug", "--out", "page.html"),
    )
    assert code == 0, err
    page = page_at(folder / "page.html")
    assert page.one("html").attributes["lang"] == "zh"
    facts = [one.text for one in page.one("dl").all("dd")]
    assert facts[:3] == ["efficientnet-lite0", "blocks.4", "layercam"]
    names = [one.one("h4").text for one in page.all("article", "method")]
    assert names == ["layercam", "gradcam", "eigencam", "fem:deviations=1"]
    assert "tabby rather than pug" in page.one("title").text
    assert "tabby rather than pug" in flat(out)


def test_a_walkthrough_for_a_machine(run: Runner, folder: Path) -> None:
    save_photo(folder / "a.png")
    code, out, err = run(
        "walkthrough", "a.png", "--json", "--layer", "blocks.4", "--beside", "cam fem", "-t", "285"
    )
    assert (code, err) == (0, "")
    report = json.loads(out, parse_constant=pytest.fail)
    network = limelight.load_model()
    images = network.images(limelight.load_photo(folder / "a.png"))
    expected = limelight.explain(network.model, images, target=285, layer="blocks.4")
    assert report["score"] == float(expected.score[0])
    assert report["target"] == "Egyptian cat"
    assert (report["layer"], report["reason"], report["method"]) == ("blocks.4", "named", "gradcam")
    assert (report["status"], report["message"]) == (expected.status[0].name, "")
    assert report["beside"] == ["fem"]
    assert list(report["skipped"]) == ["cam"]
    assert report["skipped"]["cam"].startswith("CAM needs a head")
    assert Path(report["page"]).stat().st_size == report["bytes"]
    page = page_at(Path(report["page"]))
    shown = page.first("data", **{"data-of": "score"})
    assert float(shown.attributes["value"]) == report["score"]
    assert (report["photo"], report["model"]) == ("a.png", "efficientnet-lite0")
    assert report["weights"] == network.weights
    assert report["seconds"] > 0


def test_a_folder_of_one_photo_is_that_photo(run: Runner, folder: Path) -> None:
    save_photo(folder / "photos" / "a.png")
    assert run("walkthrough", "photos", "--beside", "fem", "--out", "o")[0] == 0
    assert files_in(folder) == ["o/a-walkthrough.html", "photos/a.png"]


def test_what_is_skipped_is_told(run: Runner, folder: Path) -> None:
    save_photo(folder / "a.png")
    code, out, _ = run(
        *("walkthrough", "a.png", "--model", "squeezenet1_0", "--weights", "none"),
        *("--beside", "cam", "--size", 64),
    )
    assert code == 0
    assert "skipped cam: CAM needs a head" in flat(out)
    assert "beside none" in flat(out)
    assert "The weights are random" in out


def test_a_network_that_computes_nothing_finite(run: Runner, folder: Path) -> None:
    (folder / "nets_inside.py").write_text(MODELS)
    save_photo(folder / "a.png")
    given = ("--model", "nets_inside:nan", "--layer", "conv")
    code, out, _ = run("walkthrough", "a.png", *given, "--out", "page.html", "--json")
    assert code == 1
    report = json.loads(out, parse_constant=pytest.fail)
    assert report["status"] == "not-finite"
    assert report["score"] is None
    assert "not finite" in page_at(folder / "page.html").one("dl").text
    code, out, _ = run("trace", "a.png", *given)
    assert code == 0
    assert "values are NaN or infinite" in out
    code, out, _ = run("trace", "a.png", *given, "--json")
    assert json.loads(out, parse_constant=pytest.fail)["score"] is None


# trace


def test_a_trace_without_a_photo_is_that_of_the_sample(run: Runner, folder: Path) -> None:
    code, out, err = run("trace")
    assert (code, err) == (0, "")
    assert files_in(folder) == []
    assert "chelsea.png  efficientnet-lite0" in out
    for words in ("tiger cat, score 9.2", "bn2  ", "<input>  [1, 3, 224, 224]", "alpha = "):
        assert words in out
    assert "the last layer with a grid on which gradient of the score arrives" in out


def test_the_text_is_that_of_the_library(run: Runner, folder: Path) -> None:
    save_photo(folder / "a.png")
    code, out, err = run(
        *("trace", "a.png", "--layer", "blocks.4", "--layer", "classifier", "--target", "tabby"),
        *("--values", 3, "--channel", 2),
    )
    assert code == 0, err
    network = limelight.load_model()
    images = network.images(limelight.load_photo(folder / "a.png"))
    found = limelight.trace(
        network.model, images, ["blocks.4", "classifier"], target=281, classes=network.classes
    )
    assert found.text(window=3, channel=2).splitlines() == out.splitlines()[1:]
    assert "channel 2, mean gradient alpha" in out


def test_a_trace_for_a_machine(run: Runner, folder: Path) -> None:
    save_photo(folder / "a.png")
    layers = ("--layer", "classifier", "--layer", "blocks.4")
    code, out, err = run("trace", "a.png", "--json", *layers, "--values", 2, "--target", 7)
    assert (code, err) == (0, "")
    report = json.loads(out, parse_constant=pytest.fail)
    network = limelight.load_model()
    images = network.images(limelight.load_photo(folder / "a.png"))
    found = limelight.trace(network.model, images, ["classifier", "blocks.4"], target=7)
    assert report["score"] == float(found.score[0])
    assert report["target"] == "cock"
    assert [one["layer"] for one in report["layers"]] == ["classifier", "blocks.4", "<input>"]
    assert report["layers"] == [found.numbers(number, size=2) for number in range(3)]
    assert report["files"] == []


def test_arrays_and_a_picture_are_saved(run: Runner, folder: Path) -> None:
    save_photo(folder / "a.png")
    given = ("trace", "a.png", "--layer", "blocks.2", "--save", "npz", "--save", "png")
    code, out, err = run(*given, "--out", "traces/of/a", "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["files"] == ["traces/of/a/a-trace.npz", "traces/of/a/a-trace.png"]
    assert files_in(folder) == sorted(["a.png", *report["files"]])
    with np.load(report["files"][0]) as arrays:
        assert json.loads(str(arrays["names"]))["layers"] == ["blocks.2", "<input>"]
        assert_agrees(float(arrays["score"][0]), report["score"])
        shape = report["layers"][0]["shape"]
        assert list(arrays["activations_0"].shape) == list(arrays["gradients_0"].shape) == shape
    with Image.open(report["files"][1]) as picture:
        assert picture.format == "PNG"
    code, out, _ = run(*given, "--save", "png")
    assert code == 0
    assert out.count("Written: ") == 2
    assert "Written: limelight-out/a-trace.npz" in out


def test_a_layer_asked_for_twice(run: Runner, folder: Path) -> None:
    save_photo(folder / "a.png")
    code, out, err = run("trace", "a.png", "--layer", "blocks.4", "--layer", "blocks.4")
    assert code == 0, err
    assert out.count("blocks.4  Sequential") in (1, 2)


# What goes wrong

WRONG: list[tuple[list[str], int, str]] = [
    (["walkthrough", "none.jpg"], 2, "There is no file 'none.jpg'"),
    (["walkthrough", "photos"], 2, "'photos' holds 2 photos; one was expected"),
    (["walkthrough", "void"], 2, "holds no photo"),
    (["walkthrough", "broken.jpg"], 1, "not a picture"),
    (["walkthrough", "a.png", "--out", "page.pdf"], 2, "a file that ends in .html was expected"),
    (["walkthrough", "a.png", "--out", "file/page.html"], 2, "Cannot write"),
    (["walkthrough", "a.png", "--out", "file"], 2, "Cannot write"),
    (["walkthrough", "a.png", "--lang", "de"], 2, "'de' is not one of 'en', 'zh'"),
    (["walkthrough", "a.png", "--method", "eigencam"], 2, "is not a sum over channels"),
    (["walkthrough", "a.png", "--method", "gardcam"], 2, "Did you mean 'gradcam'"),
    (["walkthrough", "a.png", "--beside", "gardcam"], 2, "Did you mean 'gradcam'"),
    (["walkthrough", "a.png", "--beside", "rollout"], 2, "cannot be shown beside a map of one"),
    (["walkthrough", "a.png", "--layer", "blcks.3"], 2, "no layer named 'blcks.3'"),
    (["walkthrough", "a.png", "--target", "tabbi"], 2, "Did you mean 'tabby'"),
    (["walkthrough", "a.png", "--target", "1000"], 2, "an index from 0 to 999 was expected"),
    (["walkthrough", "a.png", "--against", "pug", "--counterfactual"], 2, "not both"),
    (["walkthrough", "a.png", "--model", "resnet5O"], 2, "Did you mean 'resnet50'"),
    (["walkthrough", "a.png", "--box", "1,2,30,40"], 2, "A box needs a detector"),
    (["walkthrough", "a.png", "photos"], 2, "unexpected extra argument"),
    (["trace", "none.jpg"], 2, "There is no file 'none.jpg'"),
    (["trace", "photos"], 2, "'photos' holds 2 photos; one was expected"),
    (["trace", "broken.jpg"], 1, "not a picture"),
    (["trace", "a.png", "--layer", "blcks.3"], 2, "no layer named 'blcks.3'"),
    (["trace", "a.png", "--values", "0"], 2, "--values"),
    (["trace", "a.png", "--channel", "-1"], 2, "--channel"),
    (["trace", "a.png", "--channel", "9999"], 2, "There is no channel 9999 at 'bn2'"),
    (["trace", "a.png", "--save", "gif"], 2, "its suffix should be one of"),
    (["trace", "a.png", "--save", "npz", "--channel", "9999"], 2, "There is no channel 9999"),
    (["trace", "a.png", "--save", "npz", "--out", "file/x"], 2, "Cannot write"),
    (["trace", "a.png", "--target", "tabbi"], 2, "Did you mean 'tabby'"),
]


@pytest.mark.parametrize(
    ("args", "expected", "text"), WRONG, ids=[" ".join(args) for args, _, _ in WRONG]
)
def test_bad_input_is_one_clear_sentence(
    run: Runner, folder: Path, args: list[str], expected: int, text: str
) -> None:
    (folder / "void").mkdir()
    (folder / "file").write_text("x")
    (folder / "broken.jpg").write_bytes(b"broken as can be")
    for name in ("a.png", "photos/a.png", "photos/b.png"):
        save_photo(folder / name)
    before = files_in(folder)
    code, out, err = run(*args)
    assert text in flat(err), err
    assert code == expected
    assert "Traceback" not in out + err
    assert files_in(folder) == before


@pytest.mark.parametrize("command", ["walkthrough", "trace"])
def test_help(run: Runner, command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    for words in ("--layer", "--target", "--json", "Examples"):
        assert words in out
    assert command in run("--help")[1]


def test_nothing_is_half_written(
    run: Runner, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_photo(folder / "a.png")
    (folder / "page.html").write_text("what was there before")

    def refused(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refused)
    code, _, err = run("walkthrough", "a.png", "--out", "page.html", "--beside", "fem")
    assert code == 2
    assert "Cannot write 'page.html': No space left on device" in flat(err)
    assert (folder / "page.html").read_text() == "what was there before"
    assert files_in(folder) == ["a.png", "page.html"]
