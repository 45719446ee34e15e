"""Films of overlays: one scale over time, all targets of a picture, and files that play."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from matplotlib import colormaps
from PIL import Image, ImageChops
from torch import Tensor, nn

import limelight
from helpers.commands import Runner, folder, run
from limelight.errors import OptionError, OutputError
from limelight.render import captioned, write_film

__all__ = ["folder", "run"]  # fixtures

SIDE = 32


class Colours(nn.Module):
    """A network whose classes are red, green and blue: each score is a colour's mean."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, bias=False)
        self.conv.weight.data = torch.eye(3).reshape(3, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).relu().mean((2, 3))  # type: ignore[no-any-return]


def colours() -> limelight.Network:
    """Return the network, which sees the whole photo as it is."""
    preprocess = limelight.Preprocess(None, None, (0.0,) * 3, (1.0,) * 3)
    return limelight.Network("colours", Colours(), preprocess, ("red", "green", "blue"))


def spot(path: Path, at: int, colour: tuple[int, int, int]) -> Path:
    """Write a black photo with a square of a colour."""
    pixels = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    pixels[8:16, at : at + 8] = colour
    Image.fromarray(pixels).save(path)
    return path


def film_of(paths: list[Path], targets: Any) -> limelight.Film:
    """Return the film of the photos' maps at the network's only layer."""
    network = colours()
    film = limelight.Film(network)
    for result in limelight.explain_photos(network, paths, targets, layer="conv"):
        film.add(result)
    return film


def test_heat_has_one_scale_over_time(tmp_path: Path) -> None:
    """A map that is half as strong as the strongest is drawn in the colour of one half."""
    paths = [spot(tmp_path / f"{n}.png", 4, (red, 0, 0)) for n, red in enumerate((255, 102, 51))]
    film = film_of(paths, [0])
    shares = (1.0, 0.4, 0.2)
    for picture, share, path in zip(film.pictures(), shares, paths, strict=True):
        photo = np.asarray(Image.open(path)) / 255
        index = min(int(share * 256), 255)
        colour = np.array(colormaps["inferno"](index)[:3])
        opacity = 0.75 * min(share / 0.6, 1)
        expected = (1 - opacity) * photo[12, 8] + opacity * colour
        assert np.abs(np.asarray(picture)[12, 8] / 255 - expected).max() < 0.01, share
        assert np.abs(np.asarray(picture)[28, 28] / 255 - photo[28, 28]).max() < 0.01


def test_all_targets_of_a_picture_are_drawn_on_it(tmp_path: Path) -> None:
    pixels = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    pixels[4:10, 4:10, 0] = pixels[20:26, 20:26, 2] = 255
    Image.fromarray(pixels).save(tmp_path / "both.png")
    (picture,) = film_of([tmp_path / "both.png"], ["red", "blue"]).pictures()
    photo = Image.open(tmp_path / "both.png")
    changed = ImageChops.difference(picture.crop((0, 0, SIDE, SIDE)), photo)
    heated = np.asarray(changed).max(-1) > 20
    assert heated[7, 7]
    assert heated[23, 23]
    assert not heated[7, 23]


def test_a_box_is_drawn_and_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    def note(picture: Image.Image, left: str, right: str) -> Image.Image:
        written.append(left)
        return picture

    monkeypatch.setattr("limelight.render.captioned", note)
    film = film_of([spot(tmp_path / "a.png", 4, (255, 0, 0))], ["red"])
    for label in ("cat in box [1, 2, 3, 4]", "cat in box"):
        frame = film._frames[0]
        film._frames[0] = replace(
            frame, explanations=tuple(replace(each, label=(label,)) for each in frame.explanations)
        )
        list(film.pictures())
    assert [text.rsplit(maxsplit=1)[0] for text in written] == ["cat", "cat in box"]


def test_a_map_that_shows_nothing_leaves_the_photo(tmp_path: Path) -> None:
    paths = [spot(tmp_path / "red.png", 4, (255, 0, 0)), spot(tmp_path / "b.png", 4, (0, 0, 255))]
    film = film_of(paths, ["red"])
    pictures = list(film.pictures())
    photo = Image.open(paths[1])
    changed = ImageChops.difference(pictures[1].crop((0, 0, SIDE, SIDE)), photo)
    assert np.asarray(changed).max() <= 2


def test_pictures_are_not_kept(tmp_path: Path) -> None:
    film = film_of([spot(tmp_path / "red.png", 4, (255, 0, 0))], ["red"])
    (frame,) = film._frames
    assert frame.crop is not None
    assert frame.crop.photo.mode == "1"
    assert frame.explanations[0].image.numel() <= 3
    assert frame.explanations[0].heatmap.numel() <= 1
    assert frame.explanations[0].crops is None


def test_heat_lies_where_the_network_looked_with_tiles_too(tmp_path: Path) -> None:
    """Windows cover the whole photo; the network alone would see the middle of it."""
    pixels = np.zeros((64, 192, 3), dtype=np.uint8)
    pixels[20:36, 168:184, 0] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    network = limelight.Network(
        "colours", Colours(), limelight.Preprocess((64, 64), 64, (0.0,) * 3, (1.0,) * 3)
    )
    film = limelight.Film(network)
    views = limelight.tiles(64, 0)
    paths = [tmp_path / "wide.png"]
    for result in limelight.explain_photos(network, paths, [0], layer="conv", views=views):
        film.add(result)
    (picture,) = film.pictures()
    changed = ImageChops.difference(picture.crop((0, 0, 192, 64)), Image.fromarray(pixels))
    rows, columns = np.nonzero(np.asarray(changed).max(-1) > 20)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 35, 168, 183)


@pytest.mark.parametrize("fps", [10.0, 24.0, 29.97])
def test_an_mp4_has_every_picture_and_its_rate(tmp_path: Path, fps: float) -> None:
    shades = np.linspace(0, 255, 60).astype(int)
    pictures = (Image.new("RGB", (51, 40), (s, s, s)) for s in shades.tolist())
    path = write_film(tmp_path / "a.mp4", (captioned(each, "grey") for each in pictures), fps)
    with av.open(path) as film:
        stream = film.streams.video[0]
        assert float(stream.average_rate or 0) == pytest.approx(fps, rel=1e-3)
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(frames) == 60
    assert all(side % 2 == 0 for side in frames[0].shape[:2])
    for frame, shade in zip(frames, shades, strict=True):
        assert abs(frame[10:30, 10:30].mean() - shade) < 6


def test_a_gif_has_every_picture_and_goes_on(tmp_path: Path) -> None:
    pictures = (Image.new("RGB", (20, 20), (12 * n, 0, 0)) for n in range(20))
    with Image.open(write_film(tmp_path / "a.gif", pictures, 20)) as film:
        assert film.info["loop"] == 0
        assert film.info["duration"] == 50
        assert getattr(film, "n_frames", 1) == 20


def test_pictures_of_other_sizes_are_laid_into_the_first(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (40, 20), "white"), Image.new("RGB", (20, 20), "white")]
    with Image.open(write_film(tmp_path / "a.gif", pictures, 5)) as film:
        film.seek(1)
        second = np.asarray(film.convert("L"))
    assert second.shape == (20, 40)
    assert second[10, 20] > 200
    assert second[10, 2] < 60


def test_a_film_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> Any:
        yield Image.new("RGB", (20, 20))
        raise KeyboardInterrupt

    for name in ("a.gif", "a.mp4"):
        with pytest.raises(KeyboardInterrupt):
            write_film(tmp_path / name, broken(), 5)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="no picture to show"):
        write_film(tmp_path / "a.gif", [], 5)


def test_a_line_too_long_is_cut_off_and_any_script_is_written() -> None:
    short = captioned(Image.new("RGB", (120, 80)), "tabby 9.1", "f001.jpg")
    long = captioned(Image.new("RGB", (120, 80)), "tabby " * 40, "f001.jpg")
    assert short.size == long.size
    assert np.asarray(long)[80:, 116:].max() < 60  # the margin on the right is free
    assert np.asarray(short)[80:, :60].max() > 200


def test_the_command_makes_a_film_and_no_other_picture(run: Runner, tmp_path: Path) -> None:
    for number in range(6):
        spot(tmp_path / f"f{number}.png", 3 * number, (40 * number + 50, 0, 0))
    command = ("explain", *sorted(tmp_path.glob("f*.png")), "--model", "test_film:colours")
    code, out, err = run(*command, "--layer", "conv", "--film", "walk.mp4", "--json")
    assert code == 0, err
    pictures = {each["picture"] for p in json.loads(out)["photos"] for each in p["explanations"]}
    assert pictures == {"walk.mp4"}
    with av.open("walk.mp4") as film:
        assert sum(1 for _ in film.decode(video=0)) == 6
    assert not Path("limelight-out").exists()
    code, out, _ = run(*command, "--layer", "conv", "--film", "walk.gif", "--fps", "4")
    assert code == 0
    assert "The film is walk.gif" in out


def test_the_frames_of_a_video_have_regions(run: Runner, tmp_path: Path) -> None:
    clip = tmp_path / "my.clip.mp4"
    frames = np.zeros((3, SIDE, SIDE, 3), dtype=np.uint8)
    frames[:, 8:16, 8:16, 0] = 200
    write_film(clip, [Image.fromarray(frame) for frame in frames], fps=10)
    network = ("--model", "test_film:colours", "--target", "red", "--layer", "conv")
    command = ("explain", clip, *network, "--film", "out.gif")
    assert run(*command, "--regions", "regions.json")[0] == 0
    images = json.loads(Path("regions.json").read_text())["images"]
    assert [image["file_name"] for image in images] == [f"my_clip-{n}" for n in (1, 2, 3)]
    code, _, err = run(*command, "--regions", "r", "--regions-format", "yolo", "--every", "3")
    assert code == 0, err
    assert [path.name for path in Path("r/labels").iterdir()] == ["my_clip-1.txt"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--film", "a.avi"), "one of mp4, gif"),
        (("--film", "a.mp4", "--fps", "0"), "fps is 0"),
        (("--fps", "5"), "--fps goes with --film"),
    ],
)
def test_a_film_that_cannot_be_is_refused_before_the_work(
    run: Runner, options: tuple[str, ...], message: str
) -> None:
    code, _, err = run("explain", "chelsea", *options)
    assert code == 2
    assert message in " ".join(err.split())


def test_a_rate_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(OptionError, match="fps is -1"):
        film_of([], [0]).save("a.gif", fps=-1)
