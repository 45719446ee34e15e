"""Whether answers change when evidence is painted over: a trial with the network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from limelight.audits.data.truth import NetworkClasses
from limelight.audits.data.views import PhotoViews
from limelight.audits.results import EvidenceCluster, Removal
from limelight.audits.rows.columns import AuditRows, Floats, Numbers
from limelight.errors import PhotoError
from limelight.metrics.imputation import impute
from limelight.models.network import Network
from limelight.progress import ProgressCallback
from limelight.targets.class_names import names_for
from limelight.targets.outputs import LogitsKey, class_probabilities

#: At most so many right answers are tried, and as many wrong ones.
MOST_OF_A_KIND = 24

#: Cells beside a peak belong to the evidence with at least this share of its heat.
_HOT = 0.5

#: Cells are looked at that are no further from a peak than this share of the grid.
_REACH = 1 / 7

#: How often sources are drawn for the interval.
_DRAWS = 2000

#: How many photos go through the network at once, each in three forms.
_BATCH = 8

_TASK = "painting over evidence"

Cells = npt.NDArray[np.bool_]


def remove(
    network: Network,
    views: PhotoViews,
    rows: AuditRows,
    sources: Numbers,
    evidence: EvidenceCluster,
    *,
    seed: int,
    output: LogitsKey | None = None,
    progress: ProgressCallback | None = None,
) -> Removal | None:
    """Paint over the evidence in up to 24 photos answered rightly and 24 wrongly, and ask again.

    The hot cells around each peak are filled from their rim: each pixel becomes the mean of its
    neighbours (Rong et al. 2022, without noise). A blur would keep the colour of what is removed.
    Beside that, a hole of the same shape is filled at a random place of the same photo that does
    not touch the evidence. With the share a of right answers among the photos with the evidence,
    the change of accuracy is `-a right_lost + (1 - a) wrong_mended`. Its interval is of the change
    less that of the random holes, over 2000 draws of sources with replacement; photos of one
    source count together.

    Args:
        network: The network.
        views: Reads the photos again.
        rows: The rows.
        sources: The source of each row, `[N]`.
        evidence: The evidence to remove.
        seed: Chooses the photos and the random holes, and draws the sources.
        output: The part of what the network returns that holds the logits.
        progress: Is told how many photos are done.

    Returns:
        What became of the answers; None where it cannot be known: without labels, where the network
        takes volumes or does not answer with one class, or where no photo can be read any more.
    """
    random = np.random.default_rng(seed)
    chosen = _chosen(rows, evidence, random)
    if not len(chosen) or views.preprocess.takes_volumes:
        return None
    right_names = _right_names(rows, network)
    tried, told = list[_Tried](), 0
    for batch in _batches(_painted(network, views, rows, evidence, chosen, random)):
        answers = _answers(network, torch.cat([each.images for each in batch]), output)
        if answers is None:
            return None
        for number, each in enumerate(batch):
            names = right_names[rows.label[each.row]]
            rights = [answer in names for answer in answers[3 * number : 3 * number + 3]]
            tried.append(_Tried(each.row, *rights))
        told += len(batch)
        if progress:
            progress(_TASK, told, len(chosen))
    known = rows.right[evidence.photos]
    share = float(np.nanmean(known))
    return _removal(tried, sources, share, random) if tried else None


def _chosen(rows: AuditRows, evidence: EvidenceCluster, random: np.random.Generator) -> Numbers:
    """Return the rows to try: right answers and wrong ones, drawn from those with the evidence."""
    rank = rows.rank
    photos = evidence.photos[rows.label[evidence.photos] != ""]
    photos = photos[np.argsort(rank[photos])]
    drawn = random.permutation(photos)
    kinds = [drawn[rows.right[drawn] == value][:MOST_OF_A_KIND] for value in (1, 0)]
    return np.concatenate(kinds)


def _right_names(rows: AuditRows, network: Network) -> dict[str, set[str]]:
    """Return for each label the classes that were right answers for it, and the one it names.

    A label may be a class's index, another name of it, or stand for several.
    """
    classes = NetworkClasses(network.classes)
    names = dict[str, set[str]]()
    for label in set(map(str, rows.label)):
        index = classes.index(label) if classes.knows(label) else None
        named = None if index is None or classes.names is None else classes.names[index]
        names[label] = {label if named is None else named}
    for i in np.flatnonzero(rows.right == 1):
        names[rows.label[i]].add(rows.predicted[i])
    return names


class _Painted(NamedTuple):
    """A photo in three forms.

    Attributes:
        row: The number of its row.
        images: As it is, with the evidence painted over, and with a random hole, `[3, C, H, W]`.
    """

    row: int
    images: Tensor


def _painted(
    network: Network,
    views: PhotoViews,
    rows: AuditRows,
    evidence: EvidenceCluster,
    chosen: Numbers,
    random: np.random.Generator,
) -> Iterator[_Painted]:
    """Yield the photos that can still be read, each in three forms."""
    for row in chosen:
        cells = evidence_cells(rows, evidence, int(row))
        hole = _elsewhere(cells, random)
        try:
            image = network.images(views.load(rows.photo[row], views.preprocess))
        except PhotoError:
            continue
        removed = torch.from_numpy(np.stack([cells, hole])).to(image.device)
        yield _Painted(int(row), torch.cat([image, impute(image, _pixels(removed, image))]))


def evidence_cells(rows: AuditRows, evidence: EvidenceCluster, row: int) -> Cells:
    """Return which cells of a photo hold the evidence, `[h, w]`.

    They are the peaks of the evidence with the cells near each that have at least half of its heat,
    and the cells around all these: what is filled from its rim must not have the evidence there.
    """
    from scipy.ndimage import binary_dilation

    peaks = rows.peaks
    own = evidence.peaks[peaks.photo[evidence.peaks] == row]
    heat = rows.maps[row].astype(np.float32)
    reach = max(1, round(min(heat.shape) * _REACH))
    down, across = np.indices(heat.shape)
    cells = np.zeros(heat.shape, bool)
    for peak in own:
        i, j = peaks.row[peak], peaks.column[peak]
        near = np.maximum(abs(down - i), abs(across - j)) <= reach
        cells |= near & (heat >= _HOT * heat[i, j])
    wider: Cells = binary_dilation(cells, np.ones((3, 3), bool))
    return wider


def _elsewhere(cells: Cells, random: np.random.Generator) -> Cells:
    """Return cells of the same shape at a random place that does not touch them.

    Where the shape fits at no such place it lies where it covers the fewest of them.
    """
    down, across = np.nonzero(cells)
    down, across = down - down.min(), across - across.min()
    height, width = cells.shape
    tops, lefts = height - down.max(), width - across.max()
    starts = random.permutation(int(tops * lefts))
    covered = np.array(
        [cells[down + start // lefts, across + start % lefts].sum() for start in starts]
    )
    start = starts[covered.argmin()]
    hole = np.zeros_like(cells)
    hole[down + start // lefts, across + start % lefts] = True
    return hole


def _pixels(cells: Tensor, image: Tensor) -> Tensor:
    """Return which pixels of an image `[1, C, H, W]` lie in cells `[M, h, w]`, `[M, H, W]`."""
    for axis in (1, 2):
        size, count = image.shape[axis + 1], cells.shape[axis]
        places = torch.arange(size, dtype=torch.int64, device=image.device)
        cells = cells.index_select(axis, places * count // size)
    return cells


def _batches(painted: Iterator[_Painted]) -> Iterator[list[_Painted]]:
    batch = list[_Painted]()
    for each in painted:
        batch.append(each)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _answers(network: Network, images: Tensor, output: LogitsKey | None) -> list[str] | None:
    """Return the predicted class of each image; None if there is none, as with detectors."""
    with torch.no_grad():
        probabilities = class_probabilities(network.model(images), output)
    if probabilities is None or probabilities.shape[1] == 1 or len(probabilities) != len(images):
        return None
    names = names_for(probabilities.shape[1], network.classes)
    indices = probabilities.argmax(1).tolist()
    return [str(index) if names is None else names[index] for index in indices]


class _Tried(NamedTuple):
    """Whether the answer to a photo is right: as it is, without evidence, with a random hole."""

    row: int
    before: bool
    without: bool
    random: bool


def _removal(
    tried: Sequence[_Tried], sources: Numbers, share: float, random: np.random.Generator
) -> Removal:
    """Return what became of the answers, with the share of right ones among all photos."""
    before = np.array([each.before for each in tried])
    after = np.array([[each.without, each.random] for each in tried])
    _, member = np.unique([sources[each.row] for each in tried], return_inverse=True)
    count = int(member.max()) + 1
    ones = np.ones((1, count))
    lost, mended = _changes(before, after, member, ones)
    change = (-share * lost + (1 - share) * mended)[0]
    weights = random.multinomial(count, np.full(count, 1 / count), size=_DRAWS).astype(np.float64)
    drawn_lost, drawn_mended = _changes(before, after, member, weights)
    drawn = -share * drawn_lost + (1 - share) * drawn_mended
    low, high = np.quantile(drawn[:, 0] - drawn[:, 1], [0.025, 0.975])
    return Removal(
        right=int(before.sum()),
        wrong=int((~before).sum()),
        right_lost=float(lost[0, 0]),
        wrong_mended=float(mended[0, 0]),
        change=float(change[0]),
        random_change=float(change[1]),
        low=float(low),
        high=float(high),
    )


def _changes(
    before: npt.NDArray[np.bool_], after: Cells, member: Numbers, weights: Floats
) -> tuple[Floats, Floats]:
    """Return the shares of right answers lost and of wrong ones mended, both `[R, 2]`.

    Args:
        before: Whether each of T answers was right, `[T]`.
        after: Whether it is without the evidence, and with a random hole, `[T, 2]`.
        member: The source of each, `[T]`.
        weights: How often each source counts, `[R, S]`.
    """
    counts = weights[:, member]
    shares = []
    for was in (before, ~before):
        total = (counts * was).sum(1, keepdims=True)
        changed = counts @ (was[:, None] & (after != before[:, None])).astype(np.float64)
        shares.append(np.where(total > 0, changed / np.maximum(total, 1), 0.0))
    return shares[0], shares[1]
