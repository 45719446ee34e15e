"""--whole and --crop: what the commands draw on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.commands import Runner, folder, run, save_photo

__all__ = ["folder", "run"]  # fixtures

OVERLAY = ("--picture", "overlay", "--out", "maps")


def test_explain_draws_on_the_whole_photo_or_on_what_was_seen(run: Runner, folder: Path) -> None:
    save_photo(folder / "a.png", size=(600, 400))
    for option, size in (("", (600, 400)), ("--whole", (600, 400)), ("--crop", (350, 350))):
        code, out, err = run("explain", "a.png", *filter(None, [option]), *OVERLAY, "--json")
        assert code == 0, err
        (photo,) = json.loads(out)["photos"]
        assert photo["size"] == [600, 400]
        assert photo["box"] == [125, 25, 475, 375]
        with Image.open(photo["explanations"][0]["picture"]) as drawn:
            assert drawn.size == size


@pytest.mark.parametrize("orientation", [6, 8])
def test_a_photo_that_exif_turns_is_drawn_upright(
    run: Runner, folder: Path, orientation: int
) -> None:
    upright = Image.new("RGB", (400, 600), "black")
    upright.paste("white", (100, 80, 180, 300))
    exif = Image.Exif()
    exif[0x0112] = orientation
    turn = Image.Transpose.ROTATE_90 if orientation == 6 else Image.Transpose.ROTATE_270
    upright.transpose(turn).save(folder / "turned.png", exif=exif)
    upright.save(folder / "upright.png")
    code, out, err = run("explain", "turned.png", "upright.png", *OVERLAY, "-t", 281, "--json")
    assert code == 0, err
    drawn = []
    for photo in json.loads(out)["photos"]:
        assert photo["size"] == [400, 600]
        assert photo["box"] == pytest.approx([25, 125, 375, 475])
        with Image.open(photo["explanations"][0]["picture"]) as picture:
            drawn.append(np.asarray(picture.convert("RGB")))
    assert drawn[0].shape == (600, 400, 3)
    assert np.array_equal(drawn[0], drawn[1])


def test_photos_of_a_folder_keep_their_sizes(run: Runner, folder: Path) -> None:
    sizes = {"wide": (300, 120), "high": (90, 200), "small": (40, 30)}
    for seed, (name, size) in enumerate(sizes.items()):
        save_photo(folder / "photos" / f"{name}.png", seed, size)
    code, out, err = run("explain", "photos", "--topk", 2, *OVERLAY, "--json")
    assert code == 0, err
    for photo in json.loads(out)["photos"]:
        assert len(photo["explanations"]) == 2
        for each in photo["explanations"]:
            with Image.open(each["picture"]) as drawn:
                assert drawn.size == sizes[Path(photo["photo"]).stem]


def test_a_photo_smaller_than_the_crop_is_drawn_in_its_own_size(run: Runner, folder: Path) -> None:
    save_photo(folder / "a.png", size=(100, 80))
    (folder / "nets.py").write_text(
        "import limelight\n"
        "def build():\n"
        "    network = limelight.load_model()\n"
        "    unresized = limelight.Preprocess(resize=None)\n"
        "    return limelight.Network('n', network.model, unresized, network.classes)\n"
    )
    code, out, err = run("explain", "a.png", "--model", "nets:build", *OVERLAY, "--json")
    assert code == 0, err
    (photo,) = json.loads(out)["photos"]
    assert photo["box"] == [-62, -72, 162, 152]
    with Image.open(photo["explanations"][0]["picture"]) as drawn:
        assert drawn.size == (100, 80)


def test_arrays_of_whole_photos_are_written_when_asked_for(run: Runner, folder: Path) -> None:
    save_photo(folder / "a.png", size=(120, 80))
    for options, has_photo in (((), False), (("--crop",), False), (("--whole",), True)):
        code, _, err = run("explain", "a.png", *options, "--out", "a.npz")
        assert code == 0, err
        with np.load(folder / "a.npz") as arrays:
            assert arrays["heatmap"].shape == (1, 224, 224)
            assert ("photo_heatmap_0" in arrays) == has_photo
            if has_photo:
                assert arrays["photo_heatmap_0"].shape == arrays["photo_seen_0"].shape == (80, 120)


@pytest.mark.parametrize(
    "command",
    [
        ("compare", "a.png", "--methods", "gradcam"),
        ("sanity", "a.png", "--methods", "gradcam", "--steps", 2),
        ("layers", "--photo", "a.png"),
    ],
    ids=["compare", "sanity", "layers"],
)
def test_sheets_are_drawn_on_what_was_seen_or_on_whole_photos(
    run: Runner, folder: Path, command: tuple[object, ...]
) -> None:
    save_photo(folder / "a.png", size=(600, 200))
    shapes = []
    for options in ((), ("--crop",), ("--whole",)):
        code, _, err = run(*command, *options, "--out", "sheet.png")
        assert code == 0, err
        with Image.open(folder / "sheet.png") as sheet:
            shapes.append(sheet.height / sheet.width)
    assert shapes[0] == shapes[1] != shapes[2]  # panels are 1 : 1, or 3 : 1
