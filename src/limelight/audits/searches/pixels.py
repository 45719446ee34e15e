"""Places at which the pixels of a class differ from those of the rest, without the network.

A stamp, a frame or a logo on the photos of one class is in the pixels, whether or not the network
looks at it. Only what is fine is compared: skies and lawns, which classes have for good reasons,
are taken off with the mean of the neighbourhood.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from limelight.audits.data.views import PhotoViews
from limelight.audits.results import Mark
from limelight.audits.rows.columns import AuditRows, Floats, Numbers, Texts
from limelight.audits.searches.mark_heat import MarkedPhotos, around, with_heat
from limelight.audits.searches.related import FEWEST_SOURCES
from limelight.errors import PhotoError
from limelight.progress import ProgressCallback

#: The side that views are squeezed to, and that of the neighbourhood whose mean is taken off.
SIDE, NEIGHBOURHOOD = 80, 9

#: Classes with fewer photos are not tested.
FEWEST_PHOTOS = 20

#: How many photos are read: of a class between these, and about so many in all.
MOST_OF_A_CLASS, LEAST_OF_A_CLASS, MOST_PHOTOS = 300, 50, 6000

#: How many permutations are drawn; p can be as small as 1 / 401.
PERMUTATIONS = 400

#: Marks with a larger p are not reported.
ALPHA = 0.05

#: Pixels are of one place, as the letters of a word are, if those up to so many around them touch.
_REACH = 1

#: A place is grown over pixels with so large a share of the limit of `|t|`, which join it if those
#: up to so many around them touch: of a stamp that is not quite at one place only a few pixels pass
#: the limit.
_GROWN, _GROWN_REACH = 0.7, 2

#: So many means of pictures are held at once.
_AT_ONCE = 1000


@dataclass(frozen=True, eq=False)
class MarkSearch:
    """What the search for marks found, and in what.

    Attributes:
        marks: The marks, the strongest first.
        classes: The classes that were compared.
        left_out: How many classes were not: they have few photos or few sources, or they are many.
        photos: How many photos were compared.
        unread: How many could not be read any more.
    """

    marks: tuple[Mark, ...]
    classes: tuple[str, ...]
    left_out: int
    photos: int
    unread: int


def search_marks(
    rows: AuditRows,
    sources: Numbers,
    views: PhotoViews,
    *,
    seed: int,
    progress: ProgressCallback | None = None,
) -> MarkSearch:
    """Find places at which the pixels of a class differ from those of all other photos.

    1. Read up to 300 photos of each class, grey, at 80 x 80, less the mean of 9 x 9 neighbours.
    2. Compare each class with the rest at each pixel: Welch's t.
    3. Permute the classes, whole sources at a time, and take the largest `|t|` of all pixels and
       classes (max-T: Westfall and Young 1993, section 2.6). p is the share of the permutations in
       which it is at least as large as a pixel's own.
    4. Join pixels with p < .05 that lie close together, and keep the largest place of each class.
       Where the places of classes overlap, the one with the larger `|t|` is kept: the other
       classes lack what it has. With two classes `|t|` is the same, and the one whose mean
       differs more from 0 is kept.
    5. Measure how hot the place is on photos of the class with the mark and without it: see
       `with_heat`.

    Classes are the labels where any are known, else the predicted ones. A class is tested with at
    least 20 photos of at least `FEWEST_SOURCES` sources.

    Args:
        rows: The rows.
        sources: The source of each row, `[N]`.
        views: Reads the photos again.
        seed: Of the permutations.
        progress: Is told how many photos are read.
    """
    names = rows.label if rows.label.any() else rows.predicted
    known = (names != "") & (rows.error == "")
    chosen, left_out = _chosen(names, known, rows)
    pictures, read = _read(rows.photo[chosen], views, progress)
    chosen, unread = chosen[read], int((~read).sum())
    tested = _testable(names[chosen], sources[chosen])
    left_out += len(set(names[chosen])) - len(tested)
    labels, own = names[chosen], sources[chosen]
    maps = np.where(rows.ok[chosen][:, None, None], rows.maps[chosen], 0)
    marks = list[Mark]()
    if tested and len(set(labels)) > 1:
        marks = _marks(_Pictures.of(pictures, labels, own, tested), seed)
        photos = MarkedPhotos(pictures, labels, rows.explained[chosen], maps, own)
        marks = [with_heat(each, photos) for each in marks]
    return MarkSearch(tuple(marks), tuple(tested), left_out, len(chosen), unread)


def _chosen(names: Texts, known: npt.NDArray[np.bool_], rows: AuditRows) -> tuple[Numbers, int]:
    """Return the numbers of the rows to read, and how many classes are left out.

    They are chosen and sorted by their digests, which does not depend on the order of the rows.
    """
    members = defaultdict[str, list[int]](list)
    for i in rows.by_content:
        if known[i]:
            members[names[i]].append(i)
    large = sorted(members, key=lambda name: (-len(members[name]), name))
    large = [name for name in large if len(members[name]) >= FEWEST_PHOTOS]
    large = large[: MOST_PHOTOS // LEAST_OF_A_CLASS]
    each = min(MOST_OF_A_CLASS, MOST_PHOTOS // max(1, len(large)))
    chosen = [i for name in sorted(large) for i in members[name][:each]]
    return np.array(chosen, dtype=np.int64), len(members) - len(large)


def _testable(names: Texts, sources: Numbers) -> list[str]:
    """Return the classes that have enough photos of enough sources."""
    tested = []
    for name in sorted(set(names)):
        own = sources[names == name]
        if len(own) >= FEWEST_PHOTOS and len(np.unique(own)) >= FEWEST_SOURCES:
            tested.append(name)
    return tested


def _read(
    photos: Texts, views: PhotoViews, progress: ProgressCallback | None
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return the fine structure of photos that can be read, `[R, 6400]`, and which those are."""
    found = np.empty((len(photos), SIDE * SIDE), np.float32)
    read = np.zeros(len(photos), bool)

    def load(photo: str) -> npt.NDArray[np.float32] | None:
        try:
            return fine_structure(views.view(photo, 2 * SIDE)).ravel()
        except (PhotoError, OSError):
            return None

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        for i, picture in enumerate(threads.map(load, photos)):
            if picture is not None:
                found[i], read[i] = picture, True
            if progress:
                progress("comparing pixels", i + 1, len(photos))
    return found[read], read


def fine_structure(view: Image.Image) -> npt.NDArray[np.float32]:
    """Return a picture in grey at 80 x 80 less the mean of 9 x 9 neighbours, `[80, 80]` in 0..1."""
    from scipy.ndimage import uniform_filter

    small = view.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    grey = np.asarray(small, dtype=np.float32) / 255
    fine: npt.NDArray[np.float32] = grey - uniform_filter(grey, NEIGHBOURHOOD, mode="reflect")
    return fine


class _Pictures(NamedTuple):
    """Pictures of classes to compare, sorted by their sources.

    Attributes:
        pixels: Their fine structure, `[N, 6400]`.
        number: The class of each, `[N]`; -1 for one that is not tested.
        names: The names of the classes.
        source: The source of each, from 0 on, `[N]`.
    """

    pixels: Floats
    number: Numbers
    names: list[str]
    source: Numbers

    @classmethod
    def of(cls, pixels: Floats, labels: Texts, sources: Numbers, tested: list[str]) -> _Pictures:
        """Sort pictures by source, and by class within it."""
        _, source = np.unique(sources, return_inverse=True)
        at = {name: number for number, name in enumerate(tested)}
        number = np.array([at.get(label, -1) for label in labels], dtype=np.int64)
        order = np.lexsort((number, source))
        return cls(pixels[order], number[order], tested, source[order])

    def permuted(self, drawn: np.random.Generator) -> Numbers:
        """Return the classes of the pictures after their sources were put in another order.

        The row of classes stays as it is, and the sources are laid along it anew. With one picture
        a source, this is a permutation of the classes.
        """
        rank = drawn.permutation(int(self.source.max()) + 1)[self.source]
        number = np.empty_like(self.number)
        number[np.argsort(rank, kind="stable")] = self.number
        return number

    def welch(self, numbers: Numbers) -> Floats:
        """Return `|t|` of each class against the rest, `[P, C, 6400]`, for classes `[P, N]`.

        `t = (m - r) / sqrt(v / n + w / k)`, with mean m and variance v of the n pictures of the
        class, and r and w of the k others (Welch 1947).
        """
        count = len(self.names)
        member = (numbers[:, None] == np.arange(count)[:, None]).reshape(-1, numbers.shape[1])
        n = member.sum(1, dtype=np.float32)[:, None]
        chosen, k = member.astype(np.float32), len(self.pixels) - n
        squares = self.pixels**2
        own, own_squares = chosen @ self.pixels, chosen @ squares
        rest, rest_squares = self.pixels.sum(0) - own, squares.sum(0) - own_squares
        error = _squared_error(own, own_squares, n) + _squared_error(rest, rest_squares, k)
        least = 1e-6 * squares.mean(0) / len(squares)  # rounding is no variance
        t = np.abs(own / n - rest / k) / np.sqrt(np.maximum(error, least) + 1e-20)
        shaped: Floats = t.reshape(len(numbers), count, -1)
        return shaped


def _squared_error(total: Floats, squares: Floats, count: Floats) -> Floats:
    """Return the squared standard error of means, from sums of values and of squares."""
    error: Floats = (squares / count - (total / count) ** 2) / (count - 1)
    return error


def _marks(pictures: _Pictures, seed: int) -> list[Mark]:
    """Return the marks of all classes, the strongest first."""
    t = pictures.welch(pictures.number[None])[0]
    largest = np.concatenate(list(_largest(pictures, seed)))
    limit = np.sort(largest)[-int(ALPHA * (len(largest) + 1))]
    found = list[tuple[Mark, float]]()
    differs = {name: t[i].reshape(SIDE, SIDE) > limit for i, name in enumerate(pictures.names)}
    for number, name in enumerate(pictures.names):
        place = _largest_place(differs[name])
        if place is None:
            continue
        place = _grown(place, t[number].reshape(SIDE, SIDE) > _GROWN * limit)
        own = pictures.pixels[pictures.number == number]
        strength = float(t[number][place.ravel()].max())
        p = float((1 + (largest >= strength).sum()) / (1 + len(largest)))
        mark = Mark(name, place, _box(place), strength, p, np.nan, len(own))
        found.append((mark, float((own.mean(0)[place.ravel()] ** 2).mean())))
    # With two classes t is the same but for rounding.
    found.sort(key=lambda each: (-round(each[0].strength, 3), -each[1]))
    kept = list[Mark]()
    for mark, _ in found:
        if not any((mark.pixels & around(differs[other.label], _REACH)).any() for other in kept):
            kept.append(mark)
    return kept


def _largest(pictures: _Pictures, seed: int) -> Iterator[Floats]:
    """Yield the largest `|t|` of all pixels and classes, for `PERMUTATIONS` in all."""
    drawn = np.random.default_rng([seed, len(pictures.pixels)])
    at_once = max(1, _AT_ONCE // len(pictures.names))
    for start in range(0, PERMUTATIONS, at_once):
        many = min(at_once, PERMUTATIONS - start)
        numbers = np.stack([pictures.permuted(drawn) for _ in range(many)])
        yield pictures.welch(numbers).max((1, 2))


def _largest_place(pixels: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_] | None:
    """Return those of some pixels `[80, 80]` that lie close together, the most; None for none."""
    from scipy.ndimage import label

    places, count = label(around(pixels, _REACH), np.ones((3, 3), bool))
    if not count:
        return None
    sizes = np.bincount(places[pixels], minlength=count + 1)
    largest: npt.NDArray[np.bool_] = pixels & (places == sizes.argmax())
    return largest


def _grown(place: npt.NDArray[np.bool_], pixels: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return those of some pixels `[80, 80]` that lie close together with a place among them."""
    from scipy.ndimage import label

    places, _ = label(around(pixels, _GROWN_REACH), np.ones((3, 3), bool))
    grown: npt.NDArray[np.bool_] = pixels & np.isin(places, np.unique(places[place]))
    return grown


def _box(pixels: npt.NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of pixels, as shares of the picture."""
    down, across = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    return (
        float(across[0] / SIDE),
        float(down[0] / SIDE),
        float((across[-1] + 1) / SIDE),
        float((down[-1] + 1) / SIDE),
    )
