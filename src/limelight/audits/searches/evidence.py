"""Kinds of evidence: what a class's maps are hottest on, sorted by what the network saw there.

One photo has several hot places, and a cue and an object would be averaged in one description of
the photo. So the places are sorted, not the photos: all peaks of a class are described by early
activations, brought to equal scales, reduced to principal components, and divided by k-means; how
many kinds there are is judged by their mean silhouette (Rousseeuw 1987).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from limelight.audits.results import EvidenceCluster
from limelight.audits.rows.columns import AuditRows, Floats, Numbers
from limelight.extras import refuse_without

#: A kind of evidence is in at least so many photos, of at least so many sources.
FEWEST_PHOTOS, FEWEST_SOURCES = 10, 3

#: Classes with fewer photos have their peaks sorted together: two kinds would not fit in one.
SMALL_CLASS = 2 * FEWEST_PHOTOS

#: A photo has evidence where its heat is at least this share of the photo's highest. Fainter peaks
#: help to tell the kinds apart.
LEAST_HEAT = 0.5

#: The numbers of kinds that are tried. Few kinds mix a cue with what is beside it, so the most are
#: taken whose silhouette is within the tolerance of the best.
KINDS, TOLERANCE = range(2, 9), 0.02

#: How many principal components describe a peak.
COMPONENTS = 12

#: So many peaks of a class are divided, and the others join the nearest kind; of so many the
#: silhouette is taken, whose time grows with the square.
MOST_PEAKS, MOST_JUDGED = 6000, 1000

#: Two kinds may be one if their centres are closer together than this many times their spread.
_NEAR = 1.0

#: Or rather two, if their shares of wrong answers are further apart than so many standard errors.
_APART = 3.0

#: Deviations below this share of the largest number are rounding.
_ROUNDING = 1e-6


def find_evidence(rows: AuditRows, sources: Numbers, *, seed: int) -> list[EvidenceCluster]:
    """Return the kinds of evidence of each predicted class, that with the most heat first.

    A photo has a kind of evidence where one of its peaks is of that kind, with at least half of the
    photo's highest heat. The kinds do not depend on the order of the rows. Classes with fewer than
    20 photos are taken together under the name "".

    Args:
        rows: The rows; those without a map are not looked at.
        sources: The source of each row, `[N]`.
        seed: Of the starts of k-means.

    Raises:
        MissingPackageError: scikit-learn is not installed.
    """
    refuse_without("sklearn")
    found = []
    for name, chosen in classes_of(rows):
        found += _evidence_of(rows, sources, name, chosen, seed)
    return found


def classes_of(rows: AuditRows) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """Yield each class with its rows, `[N]` yes or no: the largest first, the small ones together.

    A photo without a predicted class counts among the small ones. Photos whose map is of another
    class than the predicted one are of none.
    """
    readable = rows.of_answer
    names, member, counts = np.unique(
        rows.predicted[readable].astype(str), return_inverse=True, return_counts=True
    )
    number = np.full(len(rows), -1)
    number[readable] = member
    large = (counts >= SMALL_CLASS) & (names != "")
    for each in np.argsort(-counts, kind="stable"):
        if large[each]:
            yield str(names[each]), number == each
    small = np.append(~large, False)[number]  # -1, a row without a map, is the appended one
    if small.any():
        yield "", small


class _Places(NamedTuple):
    """The peaks of a class, P of them, in an order that does not depend on that of the rows.

    Attributes:
        peak: Their numbers in the rows, `[P]`.
        points: Their principal components, `[P, D]`.
    """

    peak: Numbers
    points: Floats


def _evidence_of(
    rows: AuditRows, sources: Numbers, name: str, chosen: npt.NDArray[np.bool_], seed: int
) -> list[EvidenceCluster]:
    """Return the kinds of evidence of one class."""
    places = _places(rows, chosen)
    if len(places.peak) < 2 * FEWEST_PHOTOS:
        return []
    kinds, distance = _divide(places.points, seed)
    heat = rows.peaks.heat[places.peak].astype(np.float64)
    found = []
    for kind in range(int(kinds.max()) + 1):
        own = np.flatnonzero(kinds == kind)
        photos = np.unique(rows.peaks.photo[places.peak[own[heat[own] >= LEAST_HEAT]]])
        count = len(np.unique(sources[photos]))
        if len(photos) < FEWEST_PHOTOS or count < FEWEST_SOURCES:
            continue
        nearest = own[np.argsort(distance[own], kind="stable")]
        share = float(heat[own].sum() / heat.sum())
        found.append((kind, EvidenceCluster("", name, places.peak[nearest], photos, count, share)))
    found.sort(key=lambda pair: -pair[1].heat_share)
    alike = _alike(rows, places.points, kinds, found)
    title = name or "small classes"
    return [
        EvidenceCluster(
            f"{title} {number + 1}",
            name,
            each.peaks,
            each.photos,
            each.sources,
            each.heat_share,
            alike=tuple(f"{title} {other + 1}" for other in np.flatnonzero(alike[number])),
        )
        for number, (_, each) in enumerate(found)
    ]


def _places(rows: AuditRows, chosen: npt.NDArray[np.bool_]) -> _Places:
    """Return the peaks of chosen rows with their principal components."""
    peaks = rows.peaks
    features = peaks.features
    readable = np.flatnonzero(chosen[peaks.photo] & ~np.isnan(features).any(1) & (peaks.heat > 0))
    rank = rows.rank
    order = np.lexsort((peaks.column[readable], peaks.row[readable], rank[peaks.photo[readable]]))
    kept = readable[order]
    return _Places(kept, _components(features[kept]))


def _components(features: Floats) -> Floats:
    """Return features `[P, K]` in equal scales and as principal components, `[P, D]`.

    Infinity, which is what half precision makes of large numbers, counts as the largest of those.
    A feature that is the same everywhere counts as 0.
    """
    from sklearn.decomposition import PCA

    largest = float(np.finfo(np.float16).max)
    values = np.clip(features.astype(np.float64), -largest, largest)
    if not values.size:
        return values
    part = values[:MOST_PEAKS]
    middle, deviation = part.mean(0), part.std(0)
    varies = deviation > _ROUNDING * np.maximum(np.abs(part).max(0), np.finfo(np.float64).tiny)
    scaled = (values[:, varies] - middle[varies]) / deviation[varies]
    if not scaled.shape[1]:
        return np.zeros((len(values), 1))
    size = min(COMPONENTS, scaled.shape[1], len(part))
    components = PCA(size, svd_solver="covariance_eigh").fit(scaled[:MOST_PEAKS])
    reduced: Floats = components.transform(scaled)
    return reduced


def _divide(points: Floats, seed: int) -> tuple[Numbers, Floats]:
    """Return the kind of each point `[P, D]` and its distance from the kind's centre, both `[P]`.

    Points that are all the same are of one kind.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    part = points[:MOST_PEAKS]
    different = len(np.unique(part.round(9), axis=0))
    judged = np.random.default_rng(seed).permutation(len(part))[:MOST_JUDGED]
    tried = list[tuple[float, Floats]]()
    for count in KINDS:
        if count >= different:
            break
        means = KMeans(count, n_init=3, random_state=seed).fit(part)
        seen = means.labels_[judged]
        if 1 < len(np.unique(seen)) < len(judged):
            tried.append((silhouette_score(part[judged], seen), means.cluster_centers_))
    best = max((score for score, _ in tried), default=0.0)
    near = [centres for score, centres in tried if score >= best - TOLERANCE]
    centres = near[-1] if near else part.mean(0)[None]
    away = np.stack([np.linalg.norm(points - centre, axis=1) for centre in centres], 1)
    kinds = away.argmin(1)
    return kinds, away[np.arange(len(points)), kinds]


def _alike(
    rows: AuditRows, points: Floats, kinds: Numbers, found: list[tuple[int, EvidenceCluster]]
) -> npt.NDArray[np.bool_]:
    """Return which kinds of evidence may be the same thing, `[E, E]`.

    Their centres are close together for their spread, and their photos are wrong about as often.
    """
    alike = np.zeros((len(found), len(found)), bool)
    members = [points[kinds == kind] for kind, _ in found]
    centres = [each.mean(0) for each in members]
    spreads = [float(np.sqrt(((each - each.mean(0)) ** 2).sum(1).mean())) for each in members]
    for a in range(len(found)):
        for b in range(a):
            gap = float(np.linalg.norm(centres[a] - centres[b]))
            near = gap < _NEAR * (spreads[a] + spreads[b]) / 2
            alike[a, b] = alike[b, a] = near and _wrong_alike(rows, found[a][1], found[b][1])
    return alike


def _wrong_alike(rows: AuditRows, first: EvidenceCluster, second: EvidenceCluster) -> bool:
    """Return whether two shares of wrong answers differ by no more than chance would have it."""
    answers = [rows.right[each.photos] for each in (first, second)]
    known = [each[np.isfinite(each)] for each in answers]
    if not len(known[0]) or not len(known[1]):
        return True
    share = float(np.concatenate(known).mean())
    error = np.sqrt(share * (1 - share) * (1 / len(known[0]) + 1 / len(known[1])))
    return bool(abs(known[0].mean() - known[1].mean()) <= _APART * error)
