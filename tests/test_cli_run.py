"""`limelight run`: photos explained by an exported file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import limelight
from helpers.commands import Runner, flat, folder, full_after, run, save_photo
from helpers.deployed_files import (
    MESSAGES,
    NETWORK,
    described,
    map_of,
    save_file,
    save_file_of_arrays,
)
from limelight.deployed import DeployedExplanation

__all__ = ["folder", "run"]  # fixtures


@pytest.fixture
def files(folder: Path) -> Path:
    """Write a file, one of several maps, and three photos."""
    save_file(folder / "net.onnx", described(weights="by hand"))
    save_file(folder / "two.onnx", described(maps=(map_of(), map_of(1))))
    for seed in range(3):
        save_photo(folder / "photos" / f"{seed}.png", seed)
    return folder


def test_a_photo_is_explained_and_drawn(run: Runner, files: Path) -> None:
    code, out, err = run("run", "net.onnx", "photos/0.png", "--out", "maps")
    assert code == 0, err
    result = limelight.explain(NETWORK, files / "photos/0.png", layer="relu")
    picture = next((files / "maps").iterdir())
    for words in ("net (by hand)", result.label[0], f"score {float(result.score[0]):.4g}"):
        assert words in out
    for words in ("relu: as exported", "gradcam", "ok", picture.name, " s to explain", "%"):
        assert words in out
    assert np.array_equal(
        np.asarray(Image.open(picture)),
        np.asarray(Image.open(result.save(files / "expected.png", whole=True))),
    )


def test_json_has_the_keys_of_explain(run: Runner, files: Path) -> None:
    code, out, _ = run("run", "net.onnx", "photos/0.png", "--target", "pug", "-t", 2, "--json")
    report = json.loads(out)
    assert code == 0
    expected = limelight.explain(NETWORK, files / "photos/0.png", target="pug", layer="relu")
    assert (report["model"], report["weights"], report["file"]) == ("net", "by hand", "net.onnx")
    assert set(report["seconds"]) == {"load", "explain", "draw"}
    (photo,) = report["photos"]
    assert photo["size"] == [90, 60]
    assert expected.crops is not None
    assert photo["box"] == list(expected.crops[0].box)
    assert sum(each["probability"] for each in photo["top5"]) == pytest.approx(1)
    pug, background = photo["explanations"]
    assert pug["target"] == "pug"
    assert pug["score"] == pytest.approx(float(expected.score[0]), rel=1e-5)
    assert (background["index"], background["layer"], background["status"]) == (2, "relu", "ok")
    assert Path(pug["picture"]).is_file()
    assert Path(pug["picture"]).name == "0-gradcam-1-pug.png"


def test_topk_explains_the_highest_classes(run: Runner, files: Path) -> None:
    _, out, _ = run("run", "net.onnx", "photos", "--topk", 3, "--picture", "overlay", "--json")
    for photo in json.loads(out)["photos"]:
        best = [each["class"] for each in photo["top5"]]
        assert [each["target"] for each in photo["explanations"]] == best
    assert len(list((files / "limelight-out").iterdir())) == 9


def test_one_of_several_maps_is_chosen(run: Runner, files: Path) -> None:
    args = ("run", "two.onnx", "photos/0.png")
    _, out, _ = run(*args, "--method", "gradcam++", "--layer", "relu")
    assert "gradcam++" in out
    assert f"no-positive-evidence {MESSAGES[1]}" in flat(out)
    assert "gradcam++" not in run(*args)[1]
    code, _, err = run(*args, "--method", "layercam")
    assert code == 2
    assert "no method in the file named 'layercam'. It has gradcam, gradcam++." in err


def test_a_folder_with_a_bad_photo_in_it(run: Runner, files: Path) -> None:
    (files / "photos" / "bad.jpg").write_bytes(b"broken")
    save_file(files / "pairs.onnx", described(batch=2))
    code, out, err = run("run", "pairs.onnx", "photos", "--out", "maps")
    assert code == 1
    assert "bad.jpg" in err
    assert "1 of 4 photos could not be read" in err
    assert "3 photos with net" in out
    assert len(list((files / "maps").iterdir())) == 3


def test_a_file_that_prepares_photos_itself(run: Runner, files: Path) -> None:
    save_file(files / "inside.onnx", described(preprocessing_inside=True))
    _, out, _ = run("run", "inside.onnx", "photos", "--format", "npz", "--whole", "--json")
    for photo in json.loads(out)["photos"]:
        assert photo["box"] == [0, 0, 90, 60]
        with np.load(photo["explanations"][0]["picture"]) as arrays:
            assert arrays["photo_heatmap_0"].shape == (60, 90)


def test_several_pictures_in_a_file(run: Runner, files: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (5, 50, 60, 3), dtype=np.uint8)
    np.save(files / "frames.npy", frames)
    code, out, _ = run("run", "net.onnx", "frames.npy", "--every", 2, "--json")
    assert code == 0
    assert len(json.loads(out)["photos"]) == 3


def test_volumes_are_explained_and_not_drawn(run: Runner, files: Path) -> None:
    volume = {"size": (4, 5, 6), "resize": (4, 5, 6), "mean": (0.5, 0.5), "std": (0.5, 0.5)}
    save_file_of_arrays(files / "volume.onnx", 4, 5, 6, preprocess=volume)
    np.save(files / "scan.npy", np.random.default_rng(0).random((2, 6, 5, 6), np.float32))
    code, out, err = run("run", "volume.onnx", "scan.npy", "--format", "npz", "--whole", "--json")
    assert code == 0, err
    (photo,) = json.loads(out)["photos"]
    with np.load(photo["explanations"][0]["picture"]) as arrays:
        assert arrays["heatmap"].shape == (1, 4, 5, 6)
    code, _, err = run("run", "volume.onnx", "scan.npy")
    assert code == 1
    assert "without torch only pictures [B, C, H, W] are drawn" in flat(err)


USAGE: list[tuple[list[str], str]] = [
    (["net.onnx"], "Missing argument"),
    (["none.onnx", "photos"], "There is no file 'none.onnx'"),
    (["net.onnx", "photos", "--target", "pgu"], "no class named 'pgu'. Did you mean 'pug'?"),
    (["net.onnx", "photos", "--target", "3"], "an index from 0 to 2 was expected"),
    (["net.onnx", "photos", "--topk", "4"], "The class of rank 4 was asked for"),
    (["net.onnx", "photos", "--topk", "2", "-t", "1"], "give --target or --topk, not both"),
    (["net.onnx", "photos", "--picture", "blend", "--dpi", "90"], "Leave them out, or take"),
    (["net.onnx", "photos", "--out", "x.png"], "There are several pictures to write"),
    (["net.onnx", "photos", "--threads", "0"], "Invalid value for '--threads'"),
    (["", "photos"], "an empty name"),
    (["program.pt2", "photos"], "is a program of torch.export"),
]


@pytest.mark.parametrize(("args", "says"), USAGE, ids=range(len(USAGE)))
def test_what_is_asked_wrongly_is_told(
    run: Runner, files: Path, args: list[str], says: str
) -> None:
    (files / "program.pt2").touch()
    code, out, err = run("run", *args)
    assert (code, out) == (2, "")
    assert says in flat(err)
    _, out, _ = run("run", *args, "--json")
    assert json.loads(out)["error"]["exit_code"] == 2


def test_a_missing_photo_is_told(run: Runner, files: Path) -> None:
    code, out, err = run("run", "net.onnx", "none.jpg")
    assert (code, out) == (2, "")
    assert "There is no file 'none.jpg'" in err
    code, out, _ = run("run", "net.onnx", "none.jpg", "photos/1.png", "--json")
    report = json.loads(out)
    assert code == 1
    assert [len(report[key]) for key in ("photos", "failed")] == [1, 1]


def test_a_file_of_another_kind_is_told(run: Runner, files: Path) -> None:
    code, _, err = run("run", "photos/0.png", "photos")
    assert code == 1
    assert "is no ONNX file that onnxruntime can run" in err


def test_a_full_disk_ends_the_run(
    run: Runner, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_after(monkeypatch, 1)
    code, out, err = run("run", "net.onnx", "photos", "--json")
    assert code == 2
    report = json.loads(out)
    counts = [len(report[key]) for key in ("photos", "unwritten", "untried")]
    assert counts == [1, 1, 1]
    assert "No space left" in report["unwritten"][0]["error"], err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("of the runtime")], ids=repr)
def test_what_was_done_before_the_end_is_told(
    run: Runner, files: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    save, done = DeployedExplanation.save, list[int]()

    def ending(self: DeployedExplanation, *args: Any, **options: Any) -> Path:
        if len(done) == 2:
            raise error
        done.append(1)
        return save(self, *args, **options)

    monkeypatch.setattr("limelight.deployed.explanation.DeployedExplanation.save", ending)
    stopped = isinstance(error, KeyboardInterrupt)
    code, out, err = run("run", "net.onnx", "photos")
    assert code == (130 if stopped else 1)
    assert ("Interrupted: 1 photos not done" in out) == stopped
    assert ("RuntimeError: of the runtime" in err) != stopped
    done.clear()
    _, out, _ = run("run", "net.onnx", "photos", "--json")
    report = json.loads(out)
    assert len(report["photos"]) == 2
    assert report["error"]["exit_code"] == code
    assert [Path(each).stem for each in report["untried"]] == ["2"]


def test_the_command_needs_no_torch(files: Path) -> None:
    code = """
import sys
absent = "torch torchvision timm scipy skimage tifffile jinja2 safetensors filelock pandas".split()
sys.modules |= dict.fromkeys(absent)
import limelight.cli
sys.argv[1:] = sys.argv[1].split()
limelight.cli.main()
"""

    def told(line: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, line]
        return subprocess.run(command, cwd=files, capture_output=True, text=True, check=False)

    done = told("run net.onnx photos --topk 2 --json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["photos"]) == 3
    assert told("run net.onnx photos/0.png --picture signed").returncode == 0
    missing = told("run net.onnx gradcam")
    assert missing.returncode == 2
    assert "There is no file 'gradcam'" in missing.stderr
    sample = told("run net.onnx chelsea")
    assert sample.returncode == 2
    assert "comes with scikit-image, and it is not installed" in flat(sample.stderr)
