"""Small pictures of photos, of what is around a peak, and of heat, as text for a page."""

from __future__ import annotations

import os
from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from limelight.audits.data.views import PhotoViews
from limelight.audits.rows.columns import AuditRows
from limelight.notebook.encoding import data_uri
from limelight.plain import visible
from limelight.progress import ProgressCallback
from limelight.render.maps import SEQUENTIAL, SIGNED
from limelight.render.overlays import colourise, overlay_colours

#: The longest side of a photo as it is read, on a card, and in a list, in pixels.
_READ, _TILE, _SMALL = 448, 224, 80

#: The side of a crop in pixels.
_CROP = 96

#: The quality of their encodings.
_TILE_QUALITY, _CROP_QUALITY, _SMALL_QUALITY = 66, 70, 56

#: The longest side of the mean of photos, in pixels.
_MEAN = 160

#: How many heats a drawn map tells apart, and how many pixels a cell has at most.
_HEATS, _PIXELS_PER_CELL = 64, 3

#: How many photos are read at once.
_THREADS = min(8, os.cpu_count() or 1)

Floats = npt.NDArray[np.floating[Any]]


class Spot(NamedTuple):
    """A square of a photo.

    Attributes:
        row: The number of the photo's row.
        x, y: Its centre, across and down, as shares of what the network sees.
        side: Its side as a share of the shorter side.
    """

    row: int
    x: float
    y: float
    side: float = 72 / 224


@dataclass
class Wanted:
    """Which pictures are wanted of which photos.

    Attributes:
        tiles: The numbers of the rows whose photo is wanted as large as on a card.
        crops: The squares that are wanted, by their names.
        small: The numbers of the rows whose photo is wanted as small as in a list.
        means: The numbers of the rows whose mean photo is wanted, by its name.
    """

    tiles: set[int] = field(default_factory=set)
    crops: dict[Hashable, Spot] = field(default_factory=dict)
    small: set[int] = field(default_factory=set)
    means: dict[Hashable, Sequence[int]] = field(default_factory=dict)

    def joined(self, other: Wanted) -> Wanted:
        """Return all pictures of both."""
        return Wanted(
            self.tiles | other.tiles,
            self.crops | other.crops,
            self.small | other.small,
            self.means | other.means,
        )


@dataclass
class Thumbnails:
    """Pictures as addresses of images that hold them.

    Attributes:
        tiles: By the number of their row.
        crops: By their names.
        small: By the number of their row: of all photos that were read.
        means: By their name.
        failed: Why a photo could not be read any more, by the number of its row.
    """

    tiles: dict[int, str] = field(default_factory=dict)
    crops: dict[Hashable, str] = field(default_factory=dict)
    small: dict[int, str] = field(default_factory=dict)
    means: dict[Hashable, str] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Pictures:
    """The pictures made of one photo; `failed` says why there are none."""

    tile: str = ""
    small: str = ""
    crops: Mapping[Hashable, str] = field(default_factory=dict)
    mean: Floats | None = None
    failed: str = ""


def draw_thumbnails(
    rows: AuditRows,
    views: PhotoViews,
    wanted: Wanted,
    *,
    task: str = "Reading photos for the report",
    progress: ProgressCallback | None = None,
) -> Thumbnails:
    """Read each photo that is wanted once, and return its pictures.

    A photo that cannot be read any more has a reason instead.
    """
    spots: dict[int, dict[Hashable, Spot]] = defaultdict(dict)
    for name, spot in wanted.crops.items():
        spots[spot.row][name] = spot
    meant = {number for numbers in wanted.means.values() for number in numbers}
    numbers = sorted(wanted.tiles | wanted.small | meant | spots.keys())

    def draw(number: int) -> _Pictures:
        try:
            seen = views.view(str(rows.photo[number]), _READ)
        except Exception as error:  # files are gone, servers are away: the page says so
            return _Pictures(failed=visible(str(error)) or type(error).__name__)
        return _Pictures(
            data_uri(_shrunk(seen, _TILE), "webp", _TILE_QUALITY) if number in wanted.tiles else "",
            data_uri(_shrunk(seen, _SMALL), "webp", _SMALL_QUALITY),
            {name: _crop(seen, spot) for name, spot in spots.get(number, {}).items()},
            _as_grid(seen, rows.maps.shape[1:]) if number in meant else None,
        )

    return _collected(numbers, draw, wanted, _reporter(progress, task, len(numbers)))


def _collected(
    numbers: Sequence[int],
    draw: Callable[[int], _Pictures],
    wanted: Wanted,
    report: Callable[[int], None],
) -> Thumbnails:
    """Return the pictures of all photos, drawn by several threads."""
    found, sums = Thumbnails(), dict[Hashable, Floats]()
    groups: dict[int, list[Hashable]] = defaultdict(list)
    for name, of in wanted.means.items():
        for number in of:
            groups[number].append(name)
    counts: dict[Hashable, int] = defaultdict(int)
    report(0)
    with ThreadPoolExecutor(_THREADS) as pool:
        for done, (number, made) in enumerate(zip(numbers, pool.map(draw, numbers), strict=True)):
            report(done + 1)
            if made.failed:
                found.failed[number] = made.failed
                continue
            found.small[number] = made.small
            found.crops.update(made.crops)
            if made.tile:
                found.tiles[number] = made.tile
            for name in groups[number]:
                assert made.mean is not None
                sums[name] = sums.get(name, 0) + made.mean
                counts[name] += 1
    for name, total in sums.items():
        mean = Image.fromarray((total / counts[name]).round().clip(0, 255).astype(np.uint8))
        found.means[name] = data_uri(mean, "webp", _TILE_QUALITY)
    return found


def _reporter(progress: ProgressCallback | None, task: str, total: int) -> Callable[[int], None]:
    def report(done: int) -> None:
        if progress is not None:
            progress(task, done, total if done else 0)

    return report


def _shrunk(picture: Image.Image, side: int) -> Image.Image:
    small = picture.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small


def _crop(seen: Image.Image, spot: Spot) -> str:
    """Return a square of a photo; at the border it is moved inside."""
    side = min(max(1.0, spot.side * min(seen.size)), *seen.size)
    left, top = (
        min(max(place * whole - side / 2, 0.0), whole - side)
        for place, whole in zip((spot.x, spot.y), seen.size, strict=True)
    )
    box = (left, top, left + side, top + side)
    part = seen.resize((_CROP, _CROP), Image.Resampling.BICUBIC, box)
    return data_uri(part, "webp", _CROP_QUALITY)


def _as_grid(seen: Image.Image, cells: Sequence[int]) -> Floats:
    """Return a photo in the proportions of the network's grid, `[H, W, 3]`."""
    height, width = cells
    scale = _MEAN / max(height, width)
    size = (max(1, round(scale * width)), max(1, round(scale * height)))
    return np.asarray(seen.resize(size, Image.Resampling.BILINEAR), dtype=np.float32)


def heat_uri(heat: Floats, *, opaque: bool = False) -> str:
    """Return a map `[h, w]` in [0, 1] as a picture to lay over a photo; or alone, if `opaque`.

    The heat between the centres of the cells is on straight lines, and colours come after.
    """
    height, width = heat.shape
    size = (_PIXELS_PER_CELL * width, _PIXELS_PER_CELL * height)
    cells = Image.fromarray(np.nan_to_num(np.asarray(heat, dtype=np.float32)))
    between = np.asarray(cells.resize(size, Image.Resampling.BILINEAR)).clip(0, 1)
    levels = (between * (_HEATS - 1)).round().astype(np.uint8)
    colours = _palette()
    drawn = Image.fromarray(levels)
    drawn.putpalette(colours[:, :3].tobytes(), "RGB")
    transparency = {} if opaque else {"transparency": colours[:, 3].tobytes()}
    return _png(drawn, **transparency)


@cache
def _palette() -> npt.NDArray[np.uint8]:
    """Return colour and opacity of each heat that is told apart, `[_HEATS, 4]`."""
    chosen = np.linspace(0, 255, _HEATS).round().astype(np.int64)
    return np.asarray(overlay_colours(SEQUENTIAL)[chosen])


def signed_uri(change: Floats) -> str:
    """Return a signed map `[h, w]` in [-1, 1] as a picture: red above 0, blue below."""
    height, width = change.shape
    size = (_PIXELS_PER_CELL * width, _PIXELS_PER_CELL * height)
    cells = Image.fromarray(np.nan_to_num(np.asarray(change, dtype=np.float32)))
    between = np.asarray(cells.resize(size, Image.Resampling.BILINEAR)).clip(-1, 1)
    return _png(colourise(between, SIGNED, signed=True).quantize(_HEATS))


def _png(picture: Image.Image, **options: Any) -> str:
    buffer = BytesIO()
    picture.save(buffer, "PNG", optimize=True, **options)
    return f"data:image/png;base64,{b64encode(buffer.getvalue()).decode()}"


def mean_heat(rows: AuditRows, chosen: Iterable[int]) -> Floats:
    """Return the mean map of chosen rows, `[h, w]`, its highest heat 1; 0 without any map."""
    numbers = np.fromiter(chosen, np.int64)
    numbers = numbers[rows.ok[numbers]]
    if not len(numbers):
        return np.zeros(rows.maps.shape[1:], dtype=np.float32)
    mean = rows.maps[numbers].mean(0, dtype=np.float64)
    return np.asarray(mean / (mean.max() or 1.0), dtype=np.float32)
