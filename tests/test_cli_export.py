"""`limelight export`: the file, what is printed, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from helpers.commands import MODELS, Runner, flat, folder, run, save_photo
from helpers.exporting import needs_onnx

needs_onnx()


__all__ = ["folder", "run"]  # fixtures

NET = ("--model", "models:Net", "--size", "32")


@pytest.fixture
def photos(folder: Path) -> Path:
    (folder / "models.py").write_text(MODELS)
    for seed in range(4):
        save_photo(folder / "photos" / f"{seed}.png", seed)
    return folder


def test_a_file_is_written_and_what_is_in_it_is_told(run: Runner, photos: Path) -> None:
    code, out, err = run("export", "net.onnx", "photos/0.png", *NET, "--method", "gradcam,layercam")
    assert code == 0, err
    told = flat(out)
    for words in (
        "heatmap_2 layercam conv 30 x 30",
        "takes image [batch, 3, 32, 32] in 32-bit floats, and target [batch]",
        "of the largest value, in 6 comparisons",
        "its centre of 32 x 32, mean 0.485, 0.456, 0.406, deviation 0.229",
        "Try it: limelight run net.onnx PHOTO",
    ):
        assert words in told
    code, out, err = run("run", "net.onnx", "photos/1.png", "--method", "layercam", "--json")
    assert code == 0, err
    assert json.loads(out)["photos"][0]["explanations"][0]["method"] == "layercam"


def test_with_preprocessing_inside_the_file_runs_on_the_same_photo(
    run: Runner, photos: Path
) -> None:
    options = (*NET, "--preprocessing", "--json")
    torch.manual_seed(0)
    code, out, err = run("export", "net.onnx", "photos/0.png", *options)
    assert code == 0, err
    report = json.loads(out)
    assert report["preprocessing_inside"] is True
    assert report["batch"] == 1
    assert report["bytes"] == (photos / "net.onnx").stat().st_size
    assert report["parity"]["photo_logits"] < 0.01

    torch.manual_seed(0)  # the same random weights
    _, out, _ = run("explain", "photos/0.png", *NET, "--json")
    expected = json.loads(out)["photos"][0]
    code, out, err = run("run", "net.onnx", "photos/0.png", "--json")
    assert code == 0, err
    (photo,) = json.loads(out)["photos"]
    assert photo["box"] == pytest.approx(expected["box"])  # the file has it in 32 bits
    (shown,), (wanted,) = photo["explanations"], expected["explanations"]
    assert (shown["index"], shown["layer"]) == (wanted["index"], wanted["layer"])
    assert shown["score"] == pytest.approx(wanted["score"], abs=0.01)


def test_in_8_bits_what_is_lost_is_told(run: Runner, photos: Path) -> None:
    code, out, err = run("export", "net.onnx", "photos", *NET, "--int8")
    assert code == 0, err
    told = flat(out)
    assert "of 2 images keep their class" in told
    assert "too few photos" in told
    assert "in 8 bits raw maps correlate by" in told


def test_a_program_of_torch_is_written_by_its_suffix(run: Runner, photos: Path) -> None:
    code, out, err = run("export", "net.pt2", "photos/0.png", *NET, "--batch", 1)
    assert code == 0, err
    assert "takes image [1, 3, 32, 32]" in out
    assert "limelight run" not in out
    assert (photos / "net.pt2").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("net.tflite", *NET), "its suffix should be one of onnx, pt2"),
        (("net.onnx", *NET, "--method", "eigencam"), "The nearest method that can is 'fem'"),
        (("net.onnx", *NET, "--method", "gradcm"), "gradcam"),
        (("net.onnx", "no.png", *NET), "There is no file 'no.png'"),
        (("net.pt2", *NET, "--int8"), "Name a file that ends in .onnx"),
        (("net.onnx", *NET, "--preprocessing", "--batch", 2), "one photo at a time"),
        (("net.onnx", "--model", "models:Net", "--dtype", "float64"), "written in 32-bit"),
    ],
    ids=["suffix", "method", "misspelt", "photo", "program", "batch", "dtype"],
)
def test_what_cannot_be_exported_is_refused(
    arguments: tuple[object, ...], text: str, run: Runner, photos: Path
) -> None:
    code, _, err = run("export", *arguments)
    assert code == 2
    assert text in flat(err)
    assert not list(photos.glob("net.*"))
