"""Where the evidence that an audit found lies on photos, as masks for a loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from limelight.audits.results import Audit, EvidenceCluster, Finding, Mark
from limelight.audits.rows.columns import AuditRows, Floats, Numbers
from limelight.errors import InputError, OptionError

#: What was found, or several of it: their places are put together.
Found = Finding | EvidenceCluster | Mark


def evidence_masks(
    rows: Audit | AuditRows,
    found: Found | Sequence[Found],
    photos: Sequence[str | Path],
    size: Sequence[int],
    *,
    around: int = 1,
) -> Tensor:
    """Return where evidence lies on photos, `[B, *size]`, for the loss `inside`.

    A pixel is marked if its cell is at most `around` cells, along each axis, from a peak of the
    evidence in the photo's map. A mark is at the same place in all photos.

        masks = evidence_masks(audit, finding, paths, images.shape[2:])
        loss = cross_entropy(model(images), labels) + inside(result, masks)

    Args:
        rows: The audit, or other rows whose peaks the evidence has (`find_again`).
        found: A finding, a kind of evidence or a mark, or several.
        photos: The photos of the batch, by the names that they have in the rows.
        size: The height and width of the network's input.
        around: How many cells around a peak belong to it: with 1, the 3 x 3 cells that describe it.

    Raises:
        InputError: A photo is not among the rows.
        OptionError: `around` is negative.
    """
    if around < 0:
        raise OptionError(f"around is {around}; a number of cells, 0 or more, was expected.")
    rows = rows.rows if isinstance(rows, Audit) else rows
    kinds = _evidence_and_marks(found)
    numbers = _numbers_of(photos, rows)
    cells = np.zeros((len(photos), *rows.maps.shape[1:]), dtype=np.bool_)
    for evidence in kinds.evidence:
        _mark_cells(cells, rows, evidence.peaks, numbers, around)
    masks = _at_size(cells, size)
    for mark in kinds.marks:
        masks |= _at_size(mark.pixels[None], size)
    return masks


def find_again(audit: Audit, found: Finding | EvidenceCluster, rows: AuditRows) -> EvidenceCluster:
    """Return evidence of an audit as it occurs in other rows, of the training photos say.

    Each peak of the rows that have the same predicted class belongs to the kind of evidence for
    that class whose centre is nearest. Distances are Euclidean, of features that are standardised
    by the audit's peaks.

        again = find_again(audit, audit.findings[0], training_rows)
        masks = evidence_masks(training_rows, again, paths, images.shape[2:])

    Args:
        audit: The audit.
        found: One of its findings, or of its kinds of evidence.
        rows: Rows made by the same network, with features of the same layer.

    Returns:
        The evidence, with peaks and photos of `rows`, the nearest to the centre first. Sources,
        answers and tests are those of the audit no more, and left out.

    Raises:
        InputError: The finding has no evidence, or the features are others.
    """
    (evidence,) = _evidence_and_marks(found).evidence or (None,)
    if evidence is None:
        raise InputError(
            "The finding is a mark, which lies at one place in all photos. Pass it to "
            "evidence_masks as it is."
        )
    own, other = audit.rows.peaks.features, rows.peaks.features
    if own.shape[1] != other.shape[1]:
        raise InputError(
            f"The audit's peaks have {own.shape[1]} features and those of the rows "
            f"{other.shape[1]}. Make both with one network, and with features of the same layer."
        )
    kinds = [kind for kind in audit.evidence if kind.predicted == evidence.predicted]
    place = [kind.name for kind in kinds].index(evidence.name)
    distances = _distances_to_centres(own, [kind.peaks for kind in kinds], other)
    of_class = rows.predicted[rows.peaks.photo] == evidence.predicted
    candidates = of_class if evidence.predicted else np.ones_like(of_class)
    chosen = np.flatnonzero(candidates & (distances.argmin(1) == place))
    chosen = chosen[distances[chosen, place].argsort(kind="stable")]
    return replace(
        evidence,
        peaks=chosen,
        photos=np.unique(rows.peaks.photo[chosen]),
        sources=0,
        heat_share=nan,
        right_with=None,
        right_without=None,
        excess=nan,
        p=nan,
        place=nan,
        border=nan,
        centre=(nan, nan),
    )


class _Kinds(NamedTuple):
    evidence: list[EvidenceCluster]
    marks: list[Mark]


def _evidence_and_marks(found: Found | Sequence[Found]) -> _Kinds:
    """Return the evidence and the marks in what was found."""
    kinds = _Kinds([], [])
    for each in [found] if isinstance(found, Found) else found:
        parts = (each.evidence, each.mark) if isinstance(each, Finding) else (each,)
        for part in parts:
            if isinstance(part, EvidenceCluster):
                kinds.evidence.append(part)
            elif isinstance(part, Mark):
                kinds.marks.append(part)
    return kinds


def _numbers_of(photos: Sequence[str | Path], rows: AuditRows) -> Numbers:
    """Return the numbers of the photos' rows, `[B]`."""
    known = {name: number for number, name in enumerate(rows.photo)}
    names = [str(photo) for photo in photos]
    missing = [name for name in names if name not in known]
    if missing:
        like = f"; the first of the rows is {rows.photo[0]!r}" if len(rows) else ""
        raise InputError(
            f"{len(missing)} of the {len(names)} photos are not among the rows, {missing[0]!r} "
            f"for one{like}. Look at the photos that you train on, too, and call them by the names "
            "that they have there."
        )
    return np.array([known[name] for name in names], dtype=np.int64)


def _mark_cells(
    cells: npt.NDArray[np.bool_], rows: AuditRows, peaks: Numbers, numbers: Numbers, around: int
) -> None:
    """Mark the cells around chosen peaks, in the maps `[B, h, w]` of chosen rows `[B]`."""
    all_peaks = rows.peaks
    for b, number in enumerate(numbers):
        for peak in peaks[all_peaks.photo[peaks] == number]:
            row, column = int(all_peaks.row[peak]), int(all_peaks.column[peak])
            top, left = max(0, row - around), max(0, column - around)
            cells[b, top : row + around + 1, left : column + around + 1] = True


def _at_size(cells: npt.NDArray[np.bool_], size: Sequence[int]) -> Tensor:
    """Return for each pixel of a size whether its centre is in a marked cell, `[B, *size]`."""
    height, width = size
    h, w = cells.shape[1:]
    down = ((np.arange(height) + 0.5) * h / height).astype(np.int64)
    across = ((np.arange(width) + 0.5) * w / width).astype(np.int64)
    return torch.from_numpy(np.ascontiguousarray(cells[:, down][:, :, across]))


def _distances_to_centres(
    own: Floats, peaks_of: Sequence[Numbers], other: Floats
) -> npt.NDArray[np.float64]:
    """Return the distances of features `[P, K]` to the means of kinds of peaks, `[P, C]`.

    Features are standardised by all peaks of the kinds.
    """
    known = own[np.concatenate(peaks_of)].astype(np.float64)
    mean, spread = known.mean(0), known.std(0)
    spread[spread == 0] = 1
    centres = np.stack([own[peaks].astype(np.float64).mean(0) for peaks in peaks_of])
    scaled, scaled_centres = (other - mean) / spread, (centres - mean) / spread
    return np.stack([np.linalg.norm(scaled - each, axis=1) for each in scaled_centres], 1)
