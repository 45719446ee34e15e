"""Sinks: small places that nearly every word's map is hot in, whatever the word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from limelight.vision_language.answer import Sink
from limelight.vision_language.canvas import Cells

#: A cell is hot in a map from this share of the map's maximum on.
HOT = 0.5

#: A cell that is hot in the maps of so many of the words is part of a sink.
SHARE_OF_WORDS = 0.9

#: A sink covers no more of the photo than this, or is one cell: what is larger is an object.
LARGEST = 0.02

#: Of fewer words nothing can be said that holds for nearly all.
FEWEST_WORDS = 4

_Mask = npt.NDArray[np.bool_]


def find_sinks(heatmaps: Sequence[Cells]) -> tuple[tuple[Sink, ...], _Mask]:
    """Return the sinks of a photo, and which cells they cover, `[h, w]`.

    With the heatmaps H_k in [0, 1] of W words, a cell c is hot for the share of words
    `s(c) = |{k: H_k(c) >= 1/2}| / W`. Cells with `s(c) >= 0.9` that touch are a sink, if they
    cover at most 2% of the photo or are one cell. Of fewer than four words there are none.

    Registers and corner patches that a network keeps notes in are such places (Darcet et al. 2024,
    "Vision transformers need registers"). So is a small object that the whole answer is about. A
    place that all words attend to, and that speaks for some of them and against others, is none: it
    is hot for some of them alone.

    Args:
        heatmaps: The heatmaps of the words over the photo, `[h, w]` each.
    """
    if len(heatmaps) < FEWEST_WORDS:
        shape = heatmaps[0].shape if heatmaps else (0, 0)
        return (), np.zeros(shape, dtype=np.bool_)
    share = np.mean([each >= HOT for each in heatmaps], axis=0)
    covered = np.zeros(share.shape, dtype=np.bool_)
    sinks = list[Sink]()
    for cells in _groups(share >= SHARE_OF_WORDS):
        if len(cells) > max(1, LARGEST * share.size):
            continue
        rows, columns = np.array(cells).T
        covered[rows, columns] = True
        sinks.append(Sink(_box(rows, columns, share.shape), float(share[rows, columns].max())))
    return tuple(sinks), covered


def without_sinks(signed: Sequence[Cells], covered: _Mask) -> list[Cells]:
    """Return the signed maps of words less what they share in sinks.

    In a cell c of a sink `S_k(c) - (1/W) sum_j S_j(c)` is left: what the map of a word has there
    beyond the others. Other cells stay as they are.
    """
    shared = np.where(covered, np.mean(signed, axis=0), 0)
    return [(each - shared).astype(np.float32) for each in signed]


def _groups(cells: _Mask) -> list[list[tuple[int, int]]]:
    """Return the cells that are set, in groups of cells that touch along an edge."""
    waiting = {(int(row), int(column)) for row, column in np.argwhere(cells)}
    groups = list[list[tuple[int, int]]]()
    while waiting:
        group = [waiting.pop()]
        for row, column in group:  # the list grows meanwhile
            beside = {(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)}
            group += beside & waiting
            waiting -= beside
        groups.append(group)
    return sorted(groups, key=min)


def _box(
    rows: npt.NDArray[Any], columns: npt.NDArray[Any], shape: tuple[int, ...]
) -> tuple[float, float, float, float]:
    height, width = shape
    return (
        float(columns.min() / width),
        float(rows.min() / height),
        float((columns.max() + 1) / width),
        float((rows.max() + 1) / height),
    )
