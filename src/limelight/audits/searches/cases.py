"""Answers by how the heat lies to the objects, by group, and by class."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from limelight.audits.results import Case, ClassSummary, GroupSummary, Relation
from limelight.audits.rows.columns import AuditRows, Floats, Numbers
from limelight.audits.searches.related import FEWEST_SOURCES, sources_of
from limelight.metrics.intervals import Estimate, length_of_difference, mean

#: From this share on the objects are hot, and the hot pixels on the objects.
COVERED = 0.5

#: About so many wrong answers of a class are needed to test them.
FEWEST_WRONG = 20

#: Groups with fewer photos are not listed, and of many groups those with the most photos.
FEWEST_OF_A_GROUP, MOST_GROUPS = 10, 50

_RELATIONS: Mapping[tuple[bool, bool], Relation] = {
    (True, True): "aligned",
    (False, True): "within",
    (True, False): "around",
    (False, False): "apart",
}

_Chosen = npt.NDArray[np.bool_]


def cases_of(rows: AuditRows) -> tuple[Case, ...]:
    """Return the eight cases of right or wrong x how the hot pixels S lie to the objects O.

    The cases are those of Boggust et al. 2022 (Shared Interest), section 3. The paper tells them
    by high and low values; high means at least one half here:

    | relation | objects hot, `|S & O| / |O|` | heat on objects, `|S & O| / |S|` | right, wrong |
    |---|---|---|---|
    | aligned | high | high | human aligned, confuser |
    | within | low | high | sufficient subset, insufficient subset |
    | around | high | low | context dependent, context confusion |
    | apart | low | low | sufficient context, distractor |

    Where both are high, intersection over union is at least 1/3. Photos whose answer is not known
    to be right or wrong, without objects, or without a map that can be read are in no case.
    """
    hot, on_objects = rows.object_coverage, rows.saliency_coverage
    known = rows.ok & np.isfinite(rows.right) & np.isfinite(hot) & np.isfinite(on_objects)
    found = []
    for right in (True, False):
        for (is_hot, is_on), relation in _RELATIONS.items():
            chosen = known & ((rows.right == 1) == right)
            chosen &= ((hot >= COVERED) == is_hot) & ((on_objects >= COVERED) == is_on)
            found.append(Case(right, relation, tuple(np.flatnonzero(chosen).tolist())))
    return tuple(found) if known.any() else ()


def statuses_of(rows: AuditRows) -> dict[str, int]:
    """Return how many maps have each status, the most frequent first; `error` counts photos."""
    named = np.where(rows.error != "", "error", rows.status)
    counts = Counter(str(name) for name in named if name)
    return dict(sorted(counts.items(), key=lambda each: (-each[1], each[0])))


def class_summaries(rows: AuditRows, sources: Numbers) -> tuple[ClassSummary, ...]:
    """Return the answers of each predicted class, that with the most photos first.

    Intervals of the share of right answers count the photos of one source together.
    """
    counts = Counter(str(name) for name in rows.predicted if name)
    summaries = []
    for name, count in sorted(counts.items(), key=lambda each: (-each[1], each[0])):
        own = rows.predicted == name
        known = own & np.isfinite(rows.right)
        wrong = int((rows.right[known] == 0).sum()) if known.any() else None
        told = known & rows.of_answer
        reason = untested(rows.right[told] == 0, sources[told])
        if not known.any():
            reason = "no labels are known"
        summaries.append(
            ClassSummary(
                name=name,
                photos=count,
                sources=len(np.unique(sources[own])),
                wrong=wrong,
                right=share_of_right(rows.right[known], sources[known]),
                tested=not reason,
                reason=reason,
                heat=_mean_map(rows, own),
                heat_right=_mean_map(rows, own & (rows.right == 1)),
                heat_wrong=_mean_map(rows, own & rows.wrong),
            )
        )
    return tuple(summaries)


def untested(wrong: _Chosen, sources: Numbers) -> str:
    """Return why the answers of a class, `[N]`, cannot be tested; "" where they can."""
    count, origins = int(wrong.sum()), len(np.unique(sources))
    if origins < FEWEST_SOURCES:
        few = "1 source" if origins == 1 else f"{origins} sources"
        return f"its photos are of {few}; at least {FEWEST_SOURCES} are needed"
    if count < FEWEST_WRONG:
        return f"{count} of {len(wrong)} answers are wrong; about {FEWEST_WRONG} are needed"
    if count == len(wrong):
        return "all answers are wrong"
    return ""


def _mean_map(rows: AuditRows, chosen: _Chosen) -> tuple[tuple[float, ...], ...]:
    """Return the mean heat of the maps of chosen rows that can be read, `[h][w]`; () for none."""
    maps = rows.maps[chosen & rows.ok]
    if not len(maps):
        return ()
    return tuple(tuple(row) for row in maps.mean(0, dtype=np.float64).tolist())


def groups_of(rows: AuditRows, sources: Numbers) -> tuple[GroupSummary, ...]:
    """Return accuracy and energy of the groups with at least 10 photos, the largest 50 first.

    The photos of a group are what there is to see of it, so intervals count those together that
    are related without the group: frames of one file, copies.

    Args:
        rows: The rows.
        sources: The source of each row, `[N]`. Where each group is one source, those within the
            groups are found anew.
    """
    counts = Counter(str(name) for name in rows.group if name)
    large = sorted(counts, key=lambda name: (-counts[name], name))[:MOST_GROUPS]
    large = [name for name in large if counts[name] >= FEWEST_OF_A_GROUP]
    if not large:
        return ()
    within = sources
    pairs = {(name, source) for name, source in zip(rows.group, sources, strict=True) if name}
    if len(pairs) == len(counts):
        within = sources_of(replace(rows, group=np.full(len(rows), "", dtype=object)))
    known = np.isfinite(rows.right)
    energy = rows.ok & np.isfinite(rows.energy_inside)
    summaries = []
    for name in large:
        own = rows.group == name
        here = own & energy
        summaries.append(
            GroupSummary(
                name=name,
                photos=counts[name],
                right=share_of_right(rows.right[own & known], within[own & known]),
                energy=_estimate(rows.energy_inside[here], within[here]) if here.any() else None,
                difference=difference_of_shares(rows.right[known], own[known], within[known]),
            )
        )
    return tuple(summaries)


def share_of_right(right: Floats, sources: Numbers) -> Estimate | None:
    """Return the share of right answers with an interval over sources; None without answers."""
    return _share(right, sources) if len(right) else None


def _share(values: Floats, sources: Numbers) -> Estimate:
    """Return the share of yes-or-no values with an interval over sources."""
    return mean(_tensor(values), images=_names(sources), yes_or_no=True)


def _estimate(values: Floats, sources: Numbers) -> Estimate:
    """Return the mean of numbers with an interval over sources."""
    return mean(_tensor(values), images=_names(sources))


def _tensor(values: Floats) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, device="cpu")


def _names(sources: Numbers) -> Sequence[str]:
    return [str(source) for source in sources.tolist()]


def difference_of_shares(values: Floats, own: _Chosen, sources: Numbers) -> Estimate | None:
    """Return the share of yes-or-no values `[N]` in a part less that in the rest.

    Its interval is made of the exact intervals `[l, u]` of both shares a and b (Zou and Donner
    2008): `d - sqrt((a - l_a)^2 - 2 r (a - l_a)(u_b - b) + (u_b - b)^2)`, and the mirror image of
    it. r is the correlation of the two shares when each source is left out in turn, so that photos
    of one source in both parts are compared as pairs; where each source is in one part, r is 0.

    None where the part or the rest is empty.
    """
    if own.all() or not own.any():
        return None
    part, rest = _share(values[own], sources[own]), _share(values[~own], sources[~own])
    count = len(np.unique(sources))
    value = part.value - rest.value
    if math.isnan(part.low) or math.isnan(rest.low):
        return Estimate(value, math.nan, math.nan, len(values), images=count)
    r = _correlation(values, own, sources)
    low = value - length_of_difference(part.value - part.low, rest.high - rest.value, r)
    high = value + length_of_difference(part.high - part.value, rest.value - rest.low, r)
    return Estimate(value, max(-1.0, low), min(1.0, high), len(values), images=count)


def _correlation(values: Floats, own: _Chosen, sources: Numbers) -> float:
    """Return the correlation of two shares when each source is left out; 0 where one is constant.

    It is that of the changes `(m - m_i)`, with m the share and m_i that without source i.
    """
    _, number = np.unique(sources, return_inverse=True)
    changes = []
    for chosen in (own, ~own):
        size = np.bincount(number[chosen], minlength=number.max() + 1)
        total = np.bincount(number[chosen], values[chosen], minlength=number.max() + 1)
        left = np.maximum(size.sum() - size, 1)
        changes.append(total.sum() / size.sum() - (total.sum() - total) / left)
    deviations = [float(np.sqrt((change**2).sum())) for change in changes]
    if min(deviations) == 0:
        return 0.0
    return float(changes[0] @ changes[1]) / (deviations[0] * deviations[1])
