"""The command audit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.audited import CLASSES, rows_in, write_photos
from helpers.commands import Runner, flat, folder, run

__all__ = ["folder", "run"]  # fixtures

pytest.importorskip("pyarrow")
pytest.importorskip("sklearn")

NET = ("--model", "helpers.audited:tiny_network")


@pytest.fixture
def photos(folder: Path) -> Path:
    write_photos(folder / "photos", 24)
    return folder / "photos"


def test_it_prints_the_verdict_and_writes_what_it_says(
    run: Runner, folder: Path, photos: Path
) -> None:
    code, out, err = run("audit", photos, *NET, "--out", "audit")
    assert (code, err) == (0, "")
    found = json.loads((folder / "audit" / "findings.json").read_text())
    assert flat(found["verdict"]) in flat(out)
    assert f"of {24} photos" in flat(out)
    for name in ("report.html", "lists/photos.csv", "run.json", "rows/part-000001.parquet"):
        assert (folder / "audit" / name).is_file(), name
    assert len(rows_in(folder / "audit")) == 24


def test_without_photos_the_rows_are_searched_again(
    run: Runner, folder: Path, photos: Path
) -> None:
    run("audit", photos, *NET, "--out", "audit", "--no-report")
    (folder / "labels.csv").write_text(
        "photo,label\n" + "\n".join(f"{n:03d}.png,{CLASSES[0]}" for n in range(24))
    )
    code, out, _ = run("audit", "--out", "audit", "--labels", "labels.csv", "--json")
    assert code == 0
    predicted = rows_in(folder / "audit").predicted
    assert json.loads(out)["right"]["value"] == pytest.approx((predicted == CLASSES[0]).mean())


def test_two_audits_are_compared(run: Runner, folder: Path, photos: Path) -> None:
    run("audit", photos, *NET, "--out", "a", "--no-report")
    run("audit", photos, "--model", "helpers.audited:other_network", "--out", "b", "--no-report")
    code, out, err = run("audit", "--diff", "a", "b", "--out", "compared")
    assert (code, err) == (0, "")
    assert "difference.html is in compared" in out
    assert "A is a, and B is b." in out
    assert (folder / "compared" / "difference.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "There is no audit in 'limelight-audit'"),
        (("nowhere", *NET), "nowhere"),
        (("photos", *NET, "--labels", "none.csv"), "none.csv"),
        (("photos", *NET, "--layer", "nothing"), "nothing"),
        (("photos", *NET, "--boxes", "photos", "--masks", "photos"), "not both"),
        (("photos", *NET, "--engine", "spark"), "spark"),
        (("--diff", "a", "b"), "There is no audit in 'a'"),
        (("photos", "--diff", "a", "b"), "takes no photos"),
        (("--diff", "a", "b", "--labels", "l.csv"), "takes no --labels"),
        (("--boxes", "photos"), "pass the photos too"),
        (
            ("photos", *NET, "--out", "photos/cat/000.png"),
            "it is a file, and a folder was expected",
        ),
    ],
    ids=[
        *("no run", "no photos", "no labels", "no layer", "boxes and masks", "engine", "diff"),
        *("photos of a diff", "labels of a diff", "boxes without photos", "a file"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_left(
    run: Runner, folder: Path, photos: Path, arguments: tuple[str, ...], said: str
) -> None:
    code, _, err = run("audit", *arguments)
    assert code in (1, 2)
    assert said in flat(err)
    assert "Traceback" not in err
    assert not list(folder.glob("*/rows/*.parquet"))


def test_one_photo_that_cannot_be_read_is_named(run: Runner, folder: Path) -> None:
    (folder / "torn.jpg").write_bytes(b"no picture")
    code, _, err = run("audit", "torn.jpg", *NET, "--out", "audit")
    assert code == 1
    assert flat(err).startswith("Error: 'torn.jpg'")


def test_the_help_names_extras_and_addresses_as_they_are(run: Runner) -> None:
    code, out, _ = run("audit", "--help")
    assert code == 0
    assert "limelight[ray]" in out
    assert "--address ADDRESS" in " ".join(out.replace("│", " ").split())


def test_json_is_one_document(run: Runner, photos: Path) -> None:
    code, out, err = run("audit", photos, *NET, "--out", "audit", "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["photos"] == 24
    assert report["out"] == "audit"
