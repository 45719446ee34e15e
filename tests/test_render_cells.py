"""The picture of where cells look."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.patches import Ellipse, Rectangle
from PIL import Image

from limelight.layers import Layout
from limelight.photos.crops import CroppedPhoto
from limelight.render.cells import cells_figure, save_cells
from limelight.runtime.cells import CellPlaces


def places(h: int = 3, w: int = 5) -> CellPlaces:
    """Return cells that look straight at themselves, with a spread of 0.1 and 0.05."""
    y, x = (((torch.arange(g, dtype=torch.float64) + 0.5) / g) for g in (h, w))
    centre = torch.stack([y[:, None].expand(h, w), x.expand(h, w)])
    spread = torch.tensor([0.1, 0.05], dtype=torch.float64)[:, None, None].expand(2, h, w)
    return CellPlaces("layer", Layout("channels first", (h, w)), centre, spread, torch.ones(h, w))


PHOTO = Image.new("RGB", (200, 100), "white")


def test_cells_are_drawn_where_they_lie_and_where_they_look() -> None:
    left, right = cells_figure(places(), CroppedPhoto.uncropped(PHOTO)).axes
    squares = [patch for patch in left.patches if isinstance(patch, Rectangle)]
    ellipses = [p for p in left.patches if isinstance(p, Ellipse) and not p.get_fill()]
    assert len(squares) == len(ellipses) == 5
    first, around = squares[0], ellipses[0]
    assert np.allclose((*first.get_xy(), first.get_width()), (-0.5, -0.5, 40))
    assert np.allclose(around.get_center(), (200 / 10 - 0.5, 100 / 6 - 0.5))
    assert np.allclose((around.get_width(), around.get_height()), (2 * 0.05 * 200, 2 * 0.1 * 100))
    rows, columns = right.lines[:3], right.lines[3:8]
    assert [len(line.get_xdata()) for line in (*rows, *columns)] == [5] * 3 + [3] * 5  # type: ignore[arg-type]
    assert np.allclose(np.asarray(right.lines[0].get_xdata()), [19.5, 59.5, 99.5, 139.5, 179.5])


def test_on_the_whole_photo_cells_lie_on_the_part_that_was_seen() -> None:
    crop = CroppedPhoto(PHOTO, (50, 0, 150, 100))
    left, _ = cells_figure(places(), crop).axes
    (_, middle) = left.patches[-3:-1]  # the last cell is that in the middle
    assert isinstance(middle, Ellipse)
    assert np.allclose(middle.get_center(), (99.5, 49.5))
    shown: npt.NDArray[np.uint8] = np.asarray(left.images[0].get_array())
    assert (shown[50, 100] == 153).all(), "what was seen is dimmed"
    assert shown[50, 20].mean() > 153, "what was not seen is pale"


def test_cells_without_an_answer_are_left_out() -> None:
    cells = places()
    cells.energy[0, 0] = 0
    left, right = cells_figure(cells, CroppedPhoto.uncropped(PHOTO)).axes
    assert sum(isinstance(patch, Rectangle) for patch in left.patches) == 4
    assert np.isnan(np.asarray(right.lines[0].get_xdata())).tolist() == [True, *[False] * 4]


def test_many_cells_are_drawn_as_a_net_of_few_lines() -> None:
    _, right = cells_figure(places(100, 120), CroppedPhoto.uncropped(PHOTO)).axes
    assert len(right.lines) <= 16 + 16 + 1


def test_pictures_and_arrays_are_written(tmp_path: Path) -> None:
    path = save_cells(tmp_path / "cells.png", places(), CroppedPhoto.uncropped(PHOTO))
    assert Image.open(io.BytesIO(path.read_bytes())).format == "PNG"
    path = save_cells(tmp_path / "cells.npz", places(), CroppedPhoto.uncropped(PHOTO))
    with np.load(path) as arrays:
        assert arrays["spread"][0, 0, 0] == 0.1
