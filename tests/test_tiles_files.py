"""Picture files larger than memory: read in parts, explained window by window."""

from __future__ import annotations

import csv
import json
import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torch import Tensor, nn

import limelight
from helpers.commands import Runner, folder, run
from helpers.photos import with_ycbcr_tiff
from limelight.errors import PhotoError
from limelight.photos import tiff_windows, windowed
from limelight.photos.raster import Raster
from limelight.photos.windowed import open_windows
from limelight.regions.heat_regions import find_regions

__all__ = ["folder", "run"]  # fixtures

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 255, (150, 211, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 4096, (150, 211), dtype=np.uint16)
BANDS = RNG.integers(0, 4096, (5, 150, 211), dtype=np.uint16)
PART = (slice(33, 121), slice(50, 201))


class Reds(nn.Module):
    """Class 1 is what is red."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 2, 4, stride=4)
        with torch.no_grad():
            self.body.weight.zero_()
            self.body.bias.zero_()  # type: ignore[union-attr]
            for channel in (0, 1):
                self.body.weight[channel, channel] = 1 / 16
        self.fc = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.fc.weight.copy_(torch.tensor([[0.0, 1.0], [6.0, -6.0]]))

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.body(x).relu().mean((2, 3)))
        return scores


def network(**preprocess: Any) -> limelight.Network:
    wanted: dict[str, Any] = {"size": (32, 32), "resize": 32, "mean": (0.0,) * 3, "std": (1.0,) * 3}
    wanted |= preprocess
    return limelight.Network("reds", Reds().eval(), limelight.Preprocess(**wanted), ("grey", "red"))


def with_a_red_square(side: int, top: int, left: int) -> np.ndarray[Any, Any]:
    picture = np.full((side, side, 3), 60, dtype=np.uint8)
    picture[top : top + 40, left : left + 40] = (250, 20, 20)
    return picture


# Reading


@pytest.mark.parametrize(
    ("picture", "options"),
    [
        (RGB, {}),
        (RGB, {"compression": "deflate", "rowsperstrip": 16}),
        (RGB, {"compression": "deflate", "rowsperstrip": 7, "predictor": True}),
        (RGB, {"compression": "deflate", "tile": (64, 32)}),
        (RGB, {"tile": (64, 32)}),
        (RGB, {"bigtiff": True, "compression": "lzma", "rowsperstrip": 16}),
        (DEEP, {"byteorder": ">"}),
        (DEEP, {"byteorder": ">", "compression": "deflate", "rowsperstrip": 9}),
        (DEEP.astype(np.float32), {"compression": "deflate", "rowsperstrip": 10}),
        (BANDS, {"planarconfig": "separate"}),
        (BANDS, {"planarconfig": "separate", "compression": "deflate", "rowsperstrip": 11}),
    ],
)
def test_a_part_of_a_tiff_is_that_part(
    tmp_path: Path, picture: np.ndarray[Any, Any], options: dict[str, Any]
) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(
        path, picture, photometric="rgb" if picture is RGB else "minisblack", **options
    )
    found = open_windows(path, 5 if picture is BANDS else 3)
    whole = np.moveaxis(picture, 0, -1) if picture is BANDS else picture
    expected = whole if whole.ndim == 3 else whole[..., None]
    assert found.shape == (150, 211)
    for part in (PART, (slice(0, 150), slice(0, 211)), PART):
        assert np.array_equal(found.numbers(part), expected[part])


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "YCbCr"])
@pytest.mark.parametrize("compression", ["tiff_lzw", "jpeg", "packbits"])
def test_what_tifffile_does_not_decode_is_read_in_parts_too(
    tmp_path: Path, mode: str, compression: str
) -> None:
    if compression == "jpeg" and mode == "RGBA":
        pytest.skip("JPEG has no transparency")
    path = tmp_path / "x.tif"
    smooth = Image.fromarray(RGB).resize((30, 20)).resize((411, 300)).convert(mode)
    if mode == "RGBA":
        smooth.putalpha(Image.linear_gradient("L").resize(smooth.size))
    smooth.save(path, compression=compression)
    found = open_windows(path, 3)
    with Image.open(path) as opened:
        assert len(opened.tag_v2[273]) > 1  # type: ignore[attr-defined]
    if mode == "YCbCr" and compression != "jpeg":
        pytest.skip("colours that only Pillow reads, as a whole")
    expected = np.asarray(limelight.load_photo(path), dtype=int)[PART]
    assert np.abs(found.numbers(PART).astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    "colours",
    [
        "RGB",
        pytest.param(
            "YCbCr",
            marks=with_ycbcr_tiff,
        ),
    ],
)
def test_tiles_of_a_slide_in_jpeg_are_read_in_parts(tmp_path: Path, colours: str) -> None:
    smooth = np.asarray(Image.fromarray(RGB).resize((30, 20)).resize((192, 128)))
    coded = list[bytes]()
    for top, left in product(range(0, 128, 64), range(0, 192, 64)):
        tile, buffer = Image.fromarray(smooth[top : top + 64, left : left + 64]), BytesIO()
        options: dict[str, Any] = {"keep_rgb": True} if colours == "RGB" else {"subsampling": 2}
        tile.save(buffer, "JPEG", quality=95, **options)
        coded.append(buffer.getvalue())
    path = tmp_path / "slide.svs"
    tifffile.imwrite(
        path,
        iter(coded),
        shape=smooth.shape,
        dtype=np.uint8,
        tile=(64, 64),
        compression="adobe_deflate",  # to be replaced: tifffile writes no JPEG by itself
        photometric="rgb",
    )
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages.first.tags[259].overwrite(7)
        file.pages.first.tags[262].overwrite(6 if colours == "YCbCr" else 2)
    part = (slice(10, 100), slice(50, 190))
    with Image.open(path) as whole:
        expected = np.asarray(whole)[part].astype(int)
    assert np.abs(open_windows(path, 3).numbers(part) - expected).max() <= 1


def test_what_nothing_here_decodes_is_said(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    Image.fromarray(DEEP).save(path, compression="tiff_lzw")  # more than 8 bits
    with pytest.raises(PhotoError, match=r"compressed by LZW, .* pip install imagecodecs"):
        _ = open_windows(path, 3).survey


def test_colours_that_only_pillow_reads_are_decoded_as_a_whole(tmp_path: Path) -> None:
    for mode in ("P", "CMYK", "1"):
        path = tmp_path / f"{mode}.tif"
        Image.fromarray(RGB).convert(mode).save(path)
        expected = np.asarray(limelight.load_photo(path))[PART]
        assert np.array_equal(open_windows(path, 3).numbers(PART), expected)


def test_numbers_have_one_scale_in_all_windows(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(4096, dtype=np.uint16)[::8], (64, 1))
    path = tmp_path / "ramp.tif"
    tifffile.imwrite(path, ramp, compression="deflate", rowsperstrip=8)
    picture = open_windows(path, 3)
    assert picture.survey.span == (0, 4088)
    take = limelight.Preprocess(size=None, resize=None, mean=(0,), std=(1,))
    for left in (0, 200, 448):
        seen = take(picture.window((slice(0, 64), slice(left, left + 64))))
        assert seen[0, 0].tolist() == pytest.approx((ramp[0, left : left + 64] / 4088).tolist())


def test_an_array_is_mapped_and_so_is_a_volume(tmp_path: Path) -> None:
    for name, order in (("c", "C"), ("f", "F")):
        np.save(tmp_path / f"{name}.npy", np.asarray(RGB, order=order))  # type: ignore[call-overload]
        assert np.array_equal(open_windows(tmp_path / f"{name}.npy", 3).numbers(PART), RGB[PART])
    np.save(tmp_path / "volume.npy", BANDS)
    volume = open_windows(tmp_path / "volume.npy", 1)
    assert volume.shape == (5, 150, 211)
    assert volume.survey.reduced.size == (106, 75)
    tifffile.imwrite(tmp_path / "pages.tif", BANDS, photometric="minisblack")
    pages = open_windows(tmp_path / "pages.tif", 1)
    assert np.array_equal(pages.numbers((slice(1, 3), *PART))[..., 0], BANDS[1:3, *PART])


def test_the_reduced_picture_holds_the_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(windowed.LONGEST, 2, 60)
    monkeypatch.setattr(windowed, "_NUMBERS_AT_ONCE", 3 * 211 * 20)
    np.save(tmp_path / "x.npy", DEEP)
    reduced = open_windows(tmp_path / "x.npy", 3).survey.reduced
    assert reduced.size == (math.ceil(211 / 4), math.ceil(150 / 4))
    assert isinstance(reduced, Raster)
    assert abs(int(reduced.values[3, 4, 0]) - DEEP[12:16, 16:20].mean()) <= 0.5
    assert abs(int(reduced.values[-1, -1, 0]) - DEEP[148:, 208:].mean()) <= 0.5


def test_one_large_compressed_strip_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, RGB, compression="deflate", rowsperstrip=150)
    monkeypatch.setattr(tiff_windows, "PHOTO_BYTES", RGB.nbytes)
    with pytest.raises(
        PhotoError, match=r"single compressed strip takes .* Save it in small tiles"
    ):
        open_windows(path, 3)
    tifffile.imwrite(path, RGB, tile=(16, 16), compression="deflate")
    open_windows(path, 3)
    tifffile.imwrite(path, RGB)  # is read as it lies on the disk
    open_windows(path, 3)


def test_too_large_a_photo_is_told_of_tiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(RGB).save(tmp_path / "x.png")
    monkeypatch.setattr("limelight.photos.memory.MAX_PIXELS", 1000)
    with pytest.raises(PhotoError, match="or save it as TIFF and explain it with views=tiles"):
        limelight.load_photo(tmp_path / "x.png")


# Explaining


@pytest.mark.parametrize("suffix", [".tif", ".npy", ".png"])
def test_a_file_is_explained_as_the_photo_is(tmp_path: Path, suffix: str) -> None:
    pixels, path = with_a_red_square(300, 130, 190), tmp_path / f"x{suffix}"
    if suffix == ".tif":
        tifffile.imwrite(path, pixels, compression="deflate", rowsperstrip=16, photometric="rgb")
    elif suffix == ".npy":
        np.save(path, pixels)
    else:
        Image.fromarray(pixels).save(path)
    tiles = limelight.tiles(64)
    (result,) = limelight.explain_photos(network(), [path], views=tiles)
    (found,) = result.explanations
    photo = limelight.explain(network(), Image.fromarray(pixels), views=tiles)
    assert found.label == photo.label == ("red",)
    assert torch.equal(found.raw, photo.raw)
    assert torch.equal(found.heatmap, photo.heatmap)
    peak = int(found.heatmap[0].argmax())
    assert 130 <= peak // 300 < 170
    assert 190 <= peak % 300 < 230


def test_explain_reads_a_file_by_windows_too(tmp_path: Path) -> None:
    """The name of a file is not read as a whole, prepared, and only then cut into windows."""
    path, tiles = tmp_path / "large.tif", limelight.tiles(64)
    tifffile.imwrite(path, with_a_red_square(256, 160, 40), photometric="rgb", tile=(64, 64))
    (of_photos,) = limelight.explain_photos(network(), [path], [1], views=tiles)
    for given in (path, str(path), [path]):
        explained = limelight.explain(network(), given, target=1, views=tiles)
        assert torch.equal(explained.raw, of_photos.explanations[0].raw)
        assert explained.windows is not None
        assert len(explained.windows) > 9


def test_a_large_photo_is_drawn_reduced_and_places_are_those_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(windowed.LONGEST, 2, 100)
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, with_a_red_square(300, 130, 190), compression="deflate", rowsperstrip=16)
    (result,) = limelight.explain_photos(network(), [path], [1], views=limelight.tiles(64))
    (found,) = result.explanations
    assert result.crop is not None
    assert result.crop.photo.size == (100, 100)
    assert result.crop.original_size == limelight.PhotoSize(300, 300)
    assert result.crop.original_box == (0, 0, 300, 300)
    assert found.image.shape == (1, 3, 100, 100)
    assert found.overlay(whole=True)[0].size == (100, 100)
    peak = int(found.heatmap[0].argmax())
    assert 130 <= peak // 100 * 3 < 170
    assert 190 <= peak % 100 * 3 < 230
    ((region,),) = found.regions(0.5)
    assert region.size == (300, 300)
    assert region.box == pytest.approx((190, 130, 230, 170), abs=8)
    assert region.area == region.mask.sum() == pytest.approx(40 * 40, rel=0.3)
    assert region.mask[region.max_y, region.max_x]
    assert found.regions(0.5, min_area=3000)[0].regions == ()
    assert found.regions(0.5).overlay()[0].size[0] >= 400
    (row,) = found.rows()
    assert (row["photo_width"], row["photo_height"]) == (300, 300)
    assert 190 <= row["max_x_photo"] < 230
    assert 130 <= row["max_y_photo"] < 170


@pytest.mark.parametrize(("old", "new"), [((10, 20), (100, 61)), ((100, 61), (10, 20))])
def test_a_region_at_another_size_is_the_same_part(
    old: tuple[int, int], new: tuple[int, int]
) -> None:
    inside = np.zeros(old, dtype=bool)
    inside[old[0] // 2 :, old[1] // 4 : old[1] // 2] = True
    heat = inside.astype(np.float32)
    (region,) = find_regions(heat, np.ones(old, bool), 0.5, "share")
    other = region.at_size(new)
    rows = ((np.arange(new[0]) + 0.5) * old[0] / new[0]).astype(int)
    columns = ((np.arange(new[1]) + 0.5) * old[1] / new[1]).astype(int)
    assert np.array_equal(other.mask.numpy(), inside[rows][:, columns])
    assert other.area == other.mask.sum()


def test_a_volume_is_explained_in_windows(tmp_path: Path) -> None:
    class Bright(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Conv3d(1, 2, 2, stride=2)

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.body(x).relu().mean((2, 3, 4))
            return scores

    model = Bright().eval()
    with torch.no_grad():
        model.body.weight.fill_(1)
        model.body.bias.zero_()  # type: ignore[union-attr]
    volume = np.zeros((40, 60, 50), dtype=np.int16)
    volume[20:28, 40:48, 8:16] = 900
    np.save(tmp_path / "ct.npy", volume)
    preprocess = limelight.Preprocess(
        size=(16, 16, 16), resize=(16, 16, 16), mean=(0.0,), std=(1.0,), window=(450, 900)
    )
    net = limelight.Network("bright", model, preprocess)
    (result,) = limelight.explain_photos(
        net, [tmp_path / "ct.npy"], [0], layer="body", views=limelight.tiles()
    )
    (found,) = result.explanations
    assert result.crop is None
    at = np.unravel_index(int(found.heatmap[0].argmax()), found.heatmap.shape[1:])
    assert 20 <= at[0] < 28
    assert 40 <= at[1] < 48
    assert 8 <= at[2] < 16


def test_a_damaged_file_is_reported_and_the_others_are_done(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.tif", tmp_path / "bad.tif"
    for path in (good, bad):
        tifffile.imwrite(path, RGB, compression="deflate", rowsperstrip=16, photometric="rgb")
    content = bytearray(bad.read_bytes())
    with tifffile.TiffFile(bad) as file:
        at = file.pages.first.dataoffsets[4]
    content[at : at + 400] = b"x" * 400
    bad.write_bytes(content)
    first, second = limelight.explain_photos(network(), [bad, good], [1], views=limelight.tiles(64))
    assert "bad.tif' cannot be decoded" in str(first.error)
    assert second.explanations[0].status[0].ok


# The command


NETS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 3)
    def forward(self, x):
        return self.fc(self.conv(x).relu().mean((2, 3)))
"""


def explained(run: Runner, *options: str) -> tuple[int, dict[str, Any]]:
    code, out, _ = run(
        "explain", "x.tif", "--model", "nets_tiles:Net", "--size", "32,32", *options, "--json"
    )
    return code, json.loads(out)


@pytest.fixture
def large(folder: Path) -> Path:
    (folder / "nets_tiles.py").write_text(NETS)
    path = folder / "x.tif"
    tifffile.imwrite(path, with_a_red_square(300, 130, 190), compression="deflate", rowsperstrip=16)
    return path


def test_the_command_lists_the_windows(
    run: Runner, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(windowed.LONGEST, 2, 100)
    code, report = explained(run, "--tiles", "64,0.5", "--target", "1", "--out", "x.png")
    (photo,) = report["photos"]
    assert (code, photo["size"], photo["box"]) == (0, [300, 300], [0, 0, 300, 300])
    (found,) = photo["explanations"]
    assert len(found["windows"]) == 81
    assert found["windows"][-1]["box"] == [236, 236, 300, 300]
    assert found["score"] == max(window["score"] for window in found["windows"])
    assert found["method"] == "gradcam, 81 tiles"
    with Image.open("x.png") as drawn:
        assert drawn.size[0] > 100
    code, again = explained(
        run, "--views", "tiles:size=64,overlap=0.5", "--target", "1", "--out", "y.npz"
    )
    assert again["photos"][0]["explanations"][0]["windows"] == found["windows"]
    with np.load("y.npz") as arrays:
        assert arrays["window_boxes"].shape == (81, 4)
        assert arrays["window_scores"].shape == (81, 1)


def test_boxes_of_the_file_are_laid_on_what_stands_for_it(
    run: Runner, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The photo is drawn at a third of its size; boxes are in pixels of the file."""
    monkeypatch.setitem(windowed.LONGEST, 2, 100)
    for left, top in ((189, 129), (21, 60)):
        box = f"{left},{top},{left + 42},{top + 42}"
        Path("boxes.csv").write_text(f"photo,x1,y1,x2,y2\nx.tif,{box}\n")
        files = ("--boxes", "boxes.csv", "--table", "t.csv", "--out", "x.npz")
        code, _ = explained(run, "--tiles", "64", "--target", "1", *files)
        assert code == 0
        with np.load("x.npz") as arrays:
            heat = arrays["heatmap"][0].astype(float)
        inside = heat[top // 3 : top // 3 + 14, left // 3 : left // 3 + 14]
        (row,) = csv.DictReader(Path("t.csv").read_text().splitlines())
        expected = inside.sum() / heat.sum()
        assert float(row["share_in_objects"]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--tiles", "large"], "--tiles is 'large'; a size in pixels was expected"),
        (["--tiles", "64,much"], "--tiles is '64,much'"),
        (["--tiles", "64,2"], "overlap of the tiles is 2.0"),
        (["--tiles", "0"], "size of the tiles is 0"),
        (["--tiles", "8x8x8"], r"size of the tiles is (8, 8, 8), and the picture has 2 axes"),
        (["--tiles", "64", "--views", "flips"], "give --views or --tiles, not both"),
    ],
)
def test_tiles_that_cannot_be_are_refused(
    run: Runner, large: Path, options: list[str], says: str
) -> None:
    code, _, err = run("explain", large, "--model", "nets_tiles:Net", *options)
    assert code == 2
    assert says in " ".join(err.split())
    assert not list(Path("limelight-out").glob("*"))


def test_sizes_may_differ_and_be_those_of_the_network(run: Runner, large: Path) -> None:
    _, report = explained(run, "--tiles", "64x96,0", "--target", "1")
    boxes = report["photos"][0]["explanations"][0]["windows"]
    assert boxes[0]["box"] == [0, 0, 96, 64]
    _, report = explained(run, "--tiles", "auto", "--target", "1")
    assert report["photos"][0]["explanations"][0]["windows"][0]["box"] == [0, 0, 32, 32]


def test_an_interrupt_between_windows_leaves_nothing_half_written(
    run: Runner, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_bar: object, name: str, done: int, _count: int) -> None:
        if name == "windows" and done > 8:
            raise KeyboardInterrupt

    monkeypatch.setattr("limelight.cli.progress.Bar.show_runs", interrupted)
    code, report = explained(run, "--tiles", "64", "--target", "1", "--out", "maps")
    assert code == 130
    assert report["photos"] == []
    assert not [path for path in Path().rglob("*") if path.suffix == ".png"]


# Memory


STATUS = Path("/proc/self/status")


def kilobytes(name: str) -> int:
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1])


@contextmanager
def peak(found: list[float]) -> Iterator[None]:
    """Note how far the memory of this process rises in a block, in MB."""
    Path("/proc/self/clear_refs").write_text("5")
    before = kilobytes("VmRSS")
    yield
    found.append((kilobytes("VmHWM") - before) / 1e3)


def write_stripes(path: Path, side: int, rows: int = 16) -> Path:
    """Write a picture of red and grey stripes, a strip at a time."""
    strip = np.full((rows, side, 3), 60, dtype=np.uint8)
    strip[:, ::100] = (250, 20, 20)
    coded: Sequence[bytes] = [zlib.compress(strip.tobytes(), 1)] * (side // rows)
    tifffile.imwrite(
        path,
        iter(coded),
        shape=(side, side, 3),
        dtype=np.uint8,
        rowsperstrip=rows,
        compression="adobe_deflate",
        photometric="rgb",
    )
    return path


@pytest.mark.skipif(not STATUS.exists(), reason="peaks of memory are read from /proc")
def test_the_peak_of_memory_does_not_grow_with_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(windowed.LONGEST, 2, 500)  # else what is drawn on takes more than the rest
    net, tiles, peaks = network(), limelight.tiles(500, 0), list[float]()
    small, large = (write_stripes(tmp_path / f"{side}.tif", side) for side in (2000, 8000))
    options: dict[str, Any] = {"views": tiles, "targets": [1]}
    list(limelight.explain_photos(net, [small], **options))
    for path in (small, large):
        with peak(peaks):
            (result,) = limelight.explain_photos(net, [path], **options)
        assert result.error is None
        del result
    # The larger picture has 192 MB. Of its strips those of one row of windows are kept: 12 MB.
    assert peaks[1] < peaks[0] + 40
    assert peaks[1] < 80
