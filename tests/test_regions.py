"""The hot regions of heatmaps, beside slow ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

import limelight
from helpers.plain_network import IMAGES, net
from helpers.region_cases import OK, Mask, explanation, photo, pixels_in_polygons
from limelight.errors import InputError, LimelightError, OptionError, OutputError, UnknownNameError
from limelight.photos.crops import CroppedPhoto
from limelight.regions.contours import contours, fill_polygon, in_one_polygon
from limelight.regions.thresholds import ThresholdRule
from limelight.status import Status

SEED = torch.Generator().manual_seed(3)
RAW = torch.rand(2, 12, 17, generator=SEED)
RAW[:, :3] = 0  # without heat


def flooded(hot: Mask) -> list[set[tuple[int, int]]]:
    """Return the pixels of each part that is connected along edges, found by flooding."""
    left = {(int(row), int(column)) for row, column in zip(*np.nonzero(hot), strict=True)}
    parts = []
    while left:
        part, waiting = set(), [min(left)]
        while waiting:
            pixel = waiting.pop()
            if pixel in left:
                left.remove(pixel)
                part.add(pixel)
                row, column = pixel
                waiting += [(row + 1, column), (row - 1, column)]
                waiting += [(row, column + 1), (row, column - 1)]
        parts.append(part)
    return parts


def otsu_by_hand(values: np.ndarray[Any, Any]) -> float:
    """Return the middle of the bin that splits values best (Otsu 1979, eq. 18), slowly."""
    edges = np.linspace(values.min(), values.max(), 257)
    bins = np.minimum(((values - edges[0]) / (edges[-1] - edges[0]) * 256).astype(int), 255)
    middles = (edges[1:] + edges[:-1]) / 2
    best, limit = -1.0, 0.0
    for split in range(255):
        low, high = middles[bins[bins <= split]], middles[bins[bins > split]]
        if len(low) and len(high):
            between = len(low) * len(high) * (low.mean() - high.mean()) ** 2
            if between > best * (1 + 1e-12):
                best, limit = between, middles[split]
    return float(limit)


def hot_by_hand(heat: np.ndarray[Any, Any], threshold: float | None, how: str) -> Mask:
    if how == "share":
        hot = heat >= np.float32((0.2 if threshold is None else threshold) * heat.max())
    elif how == "quantile":
        assert threshold is not None
        count = max(1, round((1 - threshold) * heat.size))
        hot = heat >= sorted(heat.ravel().tolist(), reverse=True)[count - 1]
    else:
        hot = heat > otsu_by_hand(heat.ravel())
    return np.asarray(hot & (heat > 0))


@pytest.mark.parametrize(
    ("threshold", "how"),
    [
        (None, "share"),
        (0.5, "share"),
        (1, "share"),
        (0.9, "quantile"),
        (0.0, "quantile"),
        (0.999, "quantile"),
        (None, "otsu"),
    ],
)
def test_regions_are_those_of_a_slow_search(threshold: float | None, how: ThresholdRule) -> None:
    result = explanation(RAW)
    for heatmap, regions in zip(result.heatmap, result.regions(threshold, how), strict=True):
        heat = heatmap.numpy()
        parts = flooded(hot_by_hand(heat, threshold, how))
        assert len(regions) == len(parts) > 0
        by_corner = {min(part): part for part in parts}
        for region in regions:
            pixels = list(zip(*np.nonzero(region.mask.numpy()), strict=True))
            part = by_corner.pop(min((int(row), int(column)) for row, column in pixels))
            assert {(int(row), int(column)) for row, column in pixels} == part
            rows, columns = [row for row, _ in part], [column for _, column in part]
            box = min(columns), min(rows), max(columns) + 1, max(rows) + 1
            assert region.box == box
            values = {pixel: float(heat[pixel]) for pixel in part}
            assert region.area == len(part)
            assert region.mean_heat == pytest.approx(sum(values.values()) / len(part))
            assert region.max_heat == max(values.values())
            assert values[region.max_y, region.max_x] == region.max_heat
            assert region.share_of_heat == pytest.approx(sum(values.values()) / heat.sum())
        assert not by_corner
        shares = [region.share_of_heat for region in regions]
        assert shares == sorted(shares, reverse=True)


def test_the_hottest_tenth_is_a_tenth_of_the_pixels_and_none_is_cold() -> None:
    raw = torch.arange(100.0).reshape(1, 10, 10)
    (regions,) = explanation(raw).regions(0.9, "quantile")
    assert regions.mask.flatten().nonzero()[:, 0].tolist() == list(range(90, 100))
    (regions,) = explanation((raw - 95).relu()).regions(0.5, "quantile")
    assert int(regions.mask.sum()) == 4  # only so many have any heat


def test_areas_and_the_largest() -> None:
    raw = torch.zeros(1, 6, 9)
    raw[0, 1, 1] = 10  # hottest, one pixel
    raw[0, 3:5, 3:6] = 1.5
    raw[0, 0, 7:] = 4
    whole = explanation(raw)
    assert [region.area for region in whole.regions(0.1)[0]] == [1, 6, 2]
    assert [region.area for region in whole.regions(0.1, min_area=2)[0]] == [6, 2]
    assert [region.area for region in whole.regions(0.1, largest=True)[0]] == [6]
    assert not len(whole.regions(0.1, min_area=7, largest=True)[0])
    assert whole.regions(0.1)[0].numbered.unique().tolist() == [0, 1, 2, 3]


def test_a_map_that_shows_nothing_has_no_region() -> None:
    status = [Status("flat", "The map is the same everywhere."), OK]
    empty, full = explanation(RAW, status=status).regions(1e-6)
    assert (len(empty), bool(empty.mask.any())) == (0, False)
    assert len(full)


def test_regions_lie_on_the_whole_photo_where_the_network_saw_it() -> None:
    crop = CroppedPhoto(photo(60, 40), (10.2, 5.1, 40.4, 35.2))
    result = explanation(RAW[:1], size=(24, 34), crops=[crop])
    ((heat, seen),) = result.photo_heatmaps()
    (regions,) = result.regions(0.5)
    assert (regions.pixels, regions.size) == ("photo", (40, 60))
    assert torch.equal(regions.mask, (heat >= 0.5 * heat.max()) & seen)
    (quantile,) = result.regions(0.75, "quantile")
    assert int(quantile.mask.sum()) == round(0.25 * int(seen.sum()))  # of what was seen
    (of_input,) = result.regions(0.5, pixels="input")
    assert (of_input.pixels, of_input.size) == ("input", (24, 34))
    assert torch.equal(of_input.mask, result.heatmap[0] >= 0.5)


def test_heat_on_a_border_around_the_photo_is_in_no_region() -> None:
    raw = torch.zeros(1, 4, 4)
    raw[0, 0, 0], raw[0, 1, 1] = 2, 1
    crop = CroppedPhoto(photo(20, 20), (-20, -20, 60, 60))
    (regions,) = explanation(raw, crops=[crop]).regions(0.9)
    (region,) = regions
    assert region.share_of_heat <= 1
    assert region.max_heat == pytest.approx(0.5, abs=0.1)


def test_of_a_real_explanation() -> None:
    result = limelight.explain(net(), IMAGES, layer="conv")
    for heatmap, regions in zip(result.heatmap, result.regions(0.4), strict=True):
        assert torch.equal(regions.mask, heatmap.float() >= 0.4)


@pytest.mark.parametrize("density", [0.35, 0.6, 0.85])
def test_contours_give_the_mask_back_exactly(density: float) -> None:
    rng = np.random.default_rng(int(100 * density))
    with_holes = 0
    for _ in range(25):
        height, width = (int(side) for side in rng.integers(1, 13, 2))
        labels, count = ndimage.label(rng.random((height, width)) < density)
        for number in range(1, count + 1):
            mask = labels == number
            rings = contours(mask)
            flat = [ring.ravel().tolist() for ring in rings]
            assert (pixels_in_polygons(flat, height, width) == mask).all()
            for ring in rings:
                assert len({tuple(corner) for corner in ring.tolist()}) == len(ring)
            # The first ring is the outer one, the others are holes.
            outer = pixels_in_polygons(flat[:1], height, width)
            assert (outer | mask == outer).all()
            assert sum(pixels_in_polygons([hole], height, width).sum() for hole in flat[1:]) == (
                outer.sum() - mask.sum()
            )
            joined = in_one_polygon(rings).ravel().tolist()
            assert (pixels_in_polygons([joined], height, width) == mask).all()
            with_holes += len(rings) > 1
    assert with_holes or density < 0.5


def test_contours_of_a_region_are_in_pixels_of_the_photo_and_fill_its_box() -> None:
    raw = torch.zeros(1, 20, 30)
    raw[0, 5:15, 8:25] = 1
    raw[0, 8:10, 12:14] = 0
    ((region,),) = explanation(raw).regions(0.5)
    outer, hole = region.contours
    assert (*outer.min(0), *outer.max(0)) == region.box == (8, 5, 25, 15)
    assert sorted(map(tuple, hole.tolist())) == [(12, 8), (12, 10), (14, 8), (14, 10)]


def test_polygons_are_filled_where_the_centres_of_pixels_lie_in_them() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        corners = rng.uniform(-4, 16, (int(rng.integers(3, 9)), 2))
        mask = np.zeros((11, 13), dtype=bool)
        fill_polygon(mask, corners)
        assert (mask == pixels_in_polygons([corners.ravel().tolist()], 11, 13)).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"threshold": 0},
            OptionError,
            "threshold is 0 and how is 'share'; a share of the maximum",
        ),
        ({"threshold": 20}, OptionError, "above 0 and up to 1 was expected"),
        ({"threshold": "half"}, OptionError, "threshold is 'half'"),
        ({"threshold": float("nan")}, OptionError, "threshold is nan"),
        ({"how": "quantile"}, OptionError, "threshold is None and how is 'quantile'; a quantile"),
        ({"how": "quantile", "threshold": 1}, OptionError, "such as 0.9 for the hottest tenth"),
        ({"how": "otsu", "threshold": 0.5}, OptionError, "finds the threshold itself. Leave"),
        ({"how": "otzu"}, UnknownNameError, "Did you mean 'otsu'"),
        ({"min_area": 0}, OptionError, "min_area is 0; a number of pixels of at least 1"),
        ({"pixels": "screen"}, UnknownNameError, "There are 'photo' and 'input'"),
        ({"pixels": "photo"}, InputError, "whose photo is not known. Pass a Network"),
    ],
)
def test_arguments_that_are_refused(
    arguments: dict[str, Any], error: type[LimelightError], message: str
) -> None:
    with pytest.raises(error, match=message.replace(".", r"\.")):
        explanation(RAW).regions(**arguments)


def test_volumes_are_refused() -> None:
    volume = explanation(torch.rand(1, 3, 4, 5), index=None)
    with pytest.raises(InputError, match=r"regions are those of pictures \[B, C, H, W\]"):
        volume.regions()


def test_regions_are_drawn_with_outline_box_and_number(tmp_path: Path) -> None:
    raw = torch.zeros(1, 40, 60)
    raw[0, 10:30, 20:50] = 1
    crop = CroppedPhoto.uncropped(Image.new("RGB", (600, 400), "white"))
    regions = explanation(raw, crops=[crop]).regions(0.5)
    ((region,),) = regions
    (drawn,) = regions.overlay()
    assert drawn.size == (600, 400)
    pixels = np.asarray(drawn)
    orange = (pixels == (0xE6, 0x9F, 0x00)).all(-1)
    left, top, right, bottom = region.box
    assert orange[(top + bottom) // 2, left]
    assert orange[(top + bottom) // 2, right - 1]
    assert not orange[(top + bottom) // 2, left + 20 : right - 20].any()
    assert (pixels[bottom + 10 :] == 255).all()  # what is cold stays as it is
    assert orange[top - 5 : top, left : left + 20].any()  # the ground of its number
    regions.save(tmp_path / "drawn.png")
    with Image.open(tmp_path / "drawn.png") as file:
        assert (np.asarray(file) == pixels).all()
    assert np.asarray(crop.photo).min() == 255  # the photo itself is not drawn on


def test_a_small_picture_is_enlarged_and_several_are_saved_one_by_one(tmp_path: Path) -> None:
    regions = explanation(RAW).regions(0.5)
    assert [drawn.size for drawn in regions.overlay()] == [(17 * 24, 12 * 24)] * 2
    with pytest.raises(OutputError, match="there are 2 images"):
        regions.save(tmp_path / "both.png")
    with pytest.raises(OutputError, match="png, jpg, jpeg, webp"):
        explanation(RAW[:1]).regions(0.5).save(tmp_path / "regions.pdf")


def test_regions_show_themselves_in_a_notebook() -> None:
    regions = explanation(torch.rand(2, 8, 8)).regions(0.5)
    assert regions._repr_html_().count("<img") == 2
    assert regions.overlay()._repr_html_().count("<img") == 2  # type: ignore[attr-defined]


def test_the_table_of_regions() -> None:
    regions = explanation(RAW).regions(0.6)
    rows = regions.rows(["a.jpg", "b.jpg"])
    assert len(rows) == sum(map(len, regions))
    first, region = rows[0], regions[0][0]
    assert (first["photo"], first["image"], first["region"]) == ("a.jpg", 0, 1)
    assert (first["x1"], first["y1"], first["x2"], first["y2"]) == region.box
    assert (first["area"], first["pixels"]) == (region.area, "input")
    frame = regions.to_frame(["a.jpg", "b.jpg"])
    assert frame["share_of_heat"].tolist() == [row["share_of_heat"] for row in rows]
    with pytest.raises(InputError, match="There are 1 names of photos for 2 images"):
        regions.rows(["a.jpg"])
