"""Whether the network looks at a mark: whether its place is hotter with the mark than without."""

from __future__ import annotations

from dataclasses import replace
from math import nan, sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from limelight.audits.results import Mark
from limelight.audits.rows.columns import Floats, Numbers, Texts
from limelight.audits.searches.related import FEWEST_SOURCES

#: The network looks at a mark from this t on, where it is at least so many times as hot with it as
#: without. On drawn scenes networks that learned a stamp, or take it for something, had t of 2 to
#: 11, those that do not mind it -1 to 3; on windows of photos with a frame 4.7 to 9.5. A stamp that
#: changes few answers, and stands out little from photos, can stay below.
LEAST_T, LEAST_RATIO = 4.0, 1.25

#: Heat is of coarse cells, and spills over: it is read up to so many pixels around the mark.
_AROUND = 4


class MarkedPhotos(NamedTuple):
    """The photos that were compared, N of them.

    Attributes:
        fine: Their fine structure, `[N, 6400]`.
        names: Their classes, `[N]`.
        explained: The classes that their maps are of, `[N]`.
        maps: Their maps, `[N, h, w]`; 0 where there is none.
        sources: Their sources, `[N]`.
    """

    fine: Floats
    names: Texts
    explained: Texts
    maps: npt.NDArray[np.floating]
    sources: Numbers


def with_heat(mark: Mark, photos: MarkedPhotos) -> Mark:
    """Return a mark with the heat of the class's maps there, with the mark and without it.

    How much a photo x shows the mark is `sum_i d_i x_i` over the pixels of the mark, with d the
    mean of the class less that of the rest. The third of the class's photos that shows it most is
    compared with the third that shows it least; where that third is more like the other one than
    like the rest (nearly all photos of the class have the mark), with the rest.
    """
    pixels = mark.pixels.ravel()
    own = photos.names == mark.label
    difference = photos.fine[own].mean(0) - photos.fine[~own].mean(0)
    shows = photos.fine[:, pixels] @ difference[pixels]
    heat = heat_at(around(mark.pixels, _AROUND), photos.maps)
    read = np.isfinite(heat)
    explained = own & read & (photos.explained == mark.label)
    members = np.flatnonzero(explained if explained.any() else own & read)
    members = members[np.argsort(shows[members], kind="stable")]
    third = len(members) // 3
    if not third:
        return mark
    without, having = members[:third], members[-third:]
    if shows[without].mean() > (shows[having].mean() + shows[~own].mean()) / 2:
        without = np.flatnonzero(~own & read & (photos.explained != mark.label))
    return replace(
        mark,
        lift=float(heat[having].mean()),
        lift_without=float(heat[without].mean()) if len(without) else nan,
        heat_t=_difference_t(heat, having, without, photos.sources),
    )


def looks_at(mark: Mark) -> bool | None:
    """Return whether the network looks at a mark; None where that cannot be told."""
    if not (np.isfinite(mark.lift) and np.isfinite(mark.heat_t)):
        return None
    return mark.heat_t >= LEAST_T and mark.lift >= LEAST_RATIO * mark.lift_without


def around(pixels: npt.NDArray[np.bool_], reach: int) -> npt.NDArray[np.bool_]:
    """Return the pixels and those up to `reach` rows and columns from one of them."""
    from scipy.ndimage import binary_dilation

    near: npt.NDArray[np.bool_] = binary_dilation(pixels, np.ones((2 * reach + 1,) * 2, bool))
    return near


def heat_at(pixels: npt.NDArray[np.bool_], maps: npt.NDArray[np.floating]) -> Floats:
    """Return the mean heat of each map `[N, h, w]` at pixels over its mean heat; NaN without any.

    A pixel has the heat of the cell that its centre lies in.
    """
    rows, columns = (
        ((np.arange(side) + 0.5) / side * cells).astype(int)
        for side, cells in zip(pixels.shape, maps.shape[1:], strict=True)
    )
    cell = (rows[:, None] * maps.shape[2] + columns)[pixels]
    share = np.bincount(cell, minlength=maps.shape[1] * maps.shape[2]) / max(1, len(cell))
    flat = maps.reshape(len(maps), -1).astype(np.float64)
    mean = flat.mean(1)
    heat: Floats = np.full(len(maps), nan)
    np.divide(flat @ share, mean, out=heat, where=mean > 0)
    return heat


def _difference_t(heat: Floats, first: Numbers, second: Numbers, sources: Numbers) -> float:
    """Return the t of the mean heat `[N]` of some photos less that of others.

    Its variance is that over the sources, S of them (Liang and Zeger 1986): source s moves the
    difference by `e_s = sum (h - m) / n` over its photos among the first n with mean m, less the
    same among the second, and the variance is `S / (S - 1) sum_s e_s^2`. With one photo a source
    this is Welch's t. NaN with fewer than `FEWEST_SOURCES` sources in all.
    """
    both = np.concatenate([first, second])
    origins, number = np.unique(sources[both], return_inverse=True)
    if len(origins) < FEWEST_SOURCES or not len(first) or not len(second):
        return nan
    means = heat[first].mean(), heat[second].mean()
    moved = np.concatenate(
        [
            (heat[first] - means[0]) / len(first),
            (means[1] - heat[second]) / len(second),
        ]
    )
    of_source = np.bincount(number, moved)
    error = sqrt(len(origins) / (len(origins) - 1) * float((of_source**2).sum()))
    return float(means[0] - means[1]) / max(error, 1e-6)
