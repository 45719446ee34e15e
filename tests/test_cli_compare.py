from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import limelight.cli.commands.compare as command
from helpers.commands import Runner, folder, run, save_photo
from limelight.methods import METHODS
from limelight.pipeline import explain_many

__all__ = ["folder", "run"]  # fixtures


def test_compare_draws_a_sheet_and_says_what_is_on_it(run: Runner, folder: Path) -> None:
    save_photo(folder / "cat.jpg")
    code, out, _ = run(
        "compare", "cat.jpg", "--methods", "gradcam saliency rollout", "-t", "tabby", "-t", "pug"
    )
    assert code == 0
    assert out.count("tabby") == out.count("pug") == 2
    assert "skipped rollout: The method needs attention among all tokens" in out
    assert "The sheet is limelight-out/cat-compare.png" in out
    with Image.open(folder / "limelight-out" / "cat-compare.png") as sheet:
        assert sheet.width > 400


def test_compare_for_a_machine(run: Runner, folder: Path) -> None:
    save_photo(folder / "photos" / "a.jpg")
    save_photo(folder / "photos" / "b.jpg", seed=1)
    code, out, err = run(
        "compare",
        "photos",
        "--methods",
        "gradcam integrated-gradients:steps=2 rollout",
        "--layer",
        "bn2",
        "--layer",
        "blocks.4",
        "--format",
        "npz",
        "--json",
    )
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert [Path(one["photo"]).name for one in report["photos"]] == ["a.jpg", "b.jpg"]
    first = report["photos"][0]
    assert [(one["method"], one["layer"]) for one in first["explanations"]] == [
        ("gradcam", "bn2"),
        ("gradcam", "blocks.4"),
        ("integrated-gradients:steps=2", "<input>"),
    ]
    assert first["explanations"][2]["gap"] > 0
    assert first["skipped"][0]["method"] == "rollout"
    with np.load(first["sheet"]) as arrays:
        assert arrays["heatmap_1"].shape == (1, 224, 224)


def test_compare_knows_all_methods(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def none_of_them(*_args: object, **options: object) -> list[object]:
        asked.extend(row.name for row in options["methods"])  # type: ignore[attr-defined]
        return []

    monkeypatch.setattr(command, "explain_many", none_of_them)
    assert run("compare", "--methods", "all")[0] == 2
    assert asked == list(METHODS)


def test_an_interrupted_comparison_shows_what_was_done(
    run: Runner, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*args: object, **options: object) -> object:
        results = explain_many(*args, **options)  # type: ignore[arg-type]
        yield next(results)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "explain_many", stopped)
    save_photo(folder / "cat.jpg")
    code, out, _ = run("compare", "cat.jpg", "--methods", "gradcam layercam")
    assert code == 130
    assert "Interrupted: the sheet shows what was done" in out
    assert (folder / "limelight-out" / "cat-compare.png").is_file()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--methods", "gardcam"], "Did you mean 'gradcam'"),
        (["--methods", "rise:maks=3"], "Did you mean 'masks'"),
        (["--methods", "rollout cam", "--model", "vgg16", "--weights", "none"], "none of these"),
        (["--views", "flip"], "Did you mean 'flips'"),
        (["--layer", "bn22"], "no layer named 'bn22'"),
        (["--out", "sheet.doc"], "its suffix should be one of"),
        (["--against", "pug", "--counterfactual"], "not both"),
        (["nowhere.jpg"], "nowhere.jpg"),
    ],
)
def test_what_is_wrong_with_a_comparison_is_said(
    run: Runner, folder: Path, words: list[str], says: str
) -> None:
    save_photo(folder / "cat.jpg")
    words = words if words[0].endswith(".jpg") else ["cat.jpg", *words]
    code, out, err = run("compare", *words)
    assert code == 2
    assert says in err
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    ("words", "target", "method"),
    [
        (["--against", "similar", "-t", "tabby"], "tabby rather than ", "gradcam"),
        (["--against", "pug", "-t", "tabby"], "tabby rather than pug", "gradcam"),
        (["--counterfactual", "-t", "tabby"], "against tabby", "gradcam"),
        (["--views", "noise:samples=2"], "", "gradcam, 2 noisy copies"),
        (["--eigen"], "", "gradcam, eigen"),
        (["-l", "bn2", "-l", "blocks.4", "--fuse", "max"], "", "gradcam, max"),
        (["--method", "eigencam:centred=true"], "", "eigencam:centred=True"),
    ],
)
def test_explain_knows_contrasts_views_and_fusing(
    run: Runner, folder: Path, words: list[str], target: str, method: str
) -> None:
    save_photo(folder / "cat.jpg")
    code, out, _ = run("explain", "cat.jpg", "--json", *words)
    assert code == 0
    (one,) = json.loads(out)["photos"][0]["explanations"]
    assert one["target"].startswith(target)
    assert one["method"] == method
    assert Path(one["picture"]).is_file()


def test_explain_reports_the_gap(run: Runner, folder: Path) -> None:
    save_photo(folder / "cat.jpg")
    _, out, _ = run("explain", "cat.jpg", "--method", "integrated-gradients:steps=2")
    assert "how far the map is from summing to its due" in out


def test_concepts_of_several_photos(run: Runner, folder: Path) -> None:
    save_photo(folder / "photos" / "a.jpg")
    save_photo(folder / "photos" / "b.jpg", seed=1)
    code, out, _ = run("concepts", "photos", "--count", "2")
    assert code == 0
    assert "of the activations is left unexplained" in out
    with Image.open(folder / "limelight-out" / "a-concepts.png") as picture:
        assert picture.height > picture.width / 3
    code, _, err = run("concepts", "photos", "--count", "2000")
    assert code == 2
    assert "concepts is 2000" in err


@pytest.mark.parametrize("names", [("bad.jpg", "good.jpg"), ("good.jpg", "bad.jpg")])
def test_a_damaged_photo_does_not_stop_the_others(
    run: Runner, folder: Path, names: tuple[str, str]
) -> None:
    save_photo(folder / "good.jpg")
    (folder / "bad.jpg").write_bytes(b"no photo")
    code, out, err = run("compare", *names, "--methods", "gradcam", "--methods", "random")
    assert code == 1
    assert "bad.jpg" in err
    assert "random" in out
    assert (folder / "limelight-out" / "good-compare.png").is_file()
    code, out, err = run("concepts", *names, "--count", "2")
    assert code == 1
    assert "bad.jpg" in err
    assert (folder / "limelight-out" / f"{Path(names[0]).stem}-concepts.png").is_file()
    _, out, _ = run("compare", *names, "--methods", "gradcam", "--json")
    assert "bad.jpg" in json.loads(out)["failed"][0]["photo"]
