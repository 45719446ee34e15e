"""Two audits of the same photos: what another network is right on, and where its heat moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np
import numpy.typing as npt

from limelight.audits.pages.moves import (
    ClassMove,
    FindingMove,
    Paired,
    PhotoPairs,
    class_moves,
    finding_moves,
    heat_shares,
    paired,
)
from limelight.audits.results import Audit
from limelight.audits.rows.columns import AuditRows, Floats, Numbers
from limelight.audits.searches.related import sources_of
from limelight.audits.verdict import (
    Interval,
    as_share,
    change_with_interval,
    counted,
    true_classes,
    with_interval,
)
from limelight.errors import OptionError


@dataclass(frozen=True, eq=False)
class AuditDifference:
    """Two audits of the same photos.

    Attributes:
        a, b: The audits.
        rows_a, rows_b: The numbers of the rows of the same photos, `[P]` each.
        changed: How many photos have the same path and another content; they are left out.
        right: The share of right answers, where both are known.
        energy: The share of the heat on the objects, where both are known.
        moved: Which share of the heat moved on each photo, `[P]`; NaN where a map is missing.
        classes: How the mean map of each class changed, that with the most photos first.
        findings: The findings of A, then those of B.
        relabelled: On how many photos the audits know different true classes.
    """

    a: Audit
    b: Audit
    rows_a: Numbers
    rows_b: Numbers
    changed: int
    right: Paired | None
    energy: Paired | None
    moved: Floats
    classes: tuple[ClassMove, ...]
    findings: tuple[FindingMove, ...]
    relabelled: int

    def __len__(self) -> int:
        """Return how many photos both audits have."""
        return len(self.rows_a)

    def only_right(self, of: str) -> Numbers:
        """Return the places in `rows_a` of the photos that only A, or only B, is right on."""
        a, b = self.a.rows.right[self.rows_a], self.b.rows.right[self.rows_b]
        first, second = (a, b) if of == "A" else (b, a)
        return np.flatnonzero((first == 1) & (second == 0))


def difference_of(a: Audit, b: Audit) -> AuditDifference:
    """Compare two audits of the same photos, photo by photo.

    Photos are the same if their content is: by path, else by digest. All differences are paired,
    and their intervals are over the sources of A's photos.

    Raises:
        OptionError: The audits have no photo, or no class, in common.
    """
    rows_a, rows_b, changed = _same_photos(a.rows, b.rows)
    if not len(rows_a):
        more = f" {counted(changed, 'photo')} changed since." if changed else ""
        raise OptionError(
            "The two audits have no photo in common: neither a path nor the content of a file."
            f"{more} Audit both networks on the same photos."
        )
    _check_classes(a.rows, b.rows)
    one, other = a.rows.take(_chosen(a.rows, rows_a)), b.rows
    sources = [str(each) for each in sources_of(one)[_ranks(rows_a)].tolist()]
    labels_a, labels_b = a.rows.label[rows_a], other.label[rows_b]
    shares_a, shares_b = heat_shares(a.rows.maps[rows_a], b.rows.maps[rows_b])
    moved = np.abs(shares_a - shares_b).sum((1, 2)) / 2
    pairs = PhotoPairs(rows_a, rows_b, shares_a, shares_b, sources)
    return AuditDifference(
        a,
        b,
        rows_a,
        rows_b,
        changed,
        paired(a.rows.right[rows_a], b.rows.right[rows_b], sources, yes_or_no=True),
        paired(a.rows.energy_inside[rows_a], b.rows.energy_inside[rows_b], sources),
        moved,
        class_moves(true_classes(a.rows)[rows_a], pairs, moved),
        (*finding_moves("A", a, b, pairs), *finding_moves("B", b, a, pairs.reversed())),
        int(((labels_a != labels_b) & (labels_a != "") & (labels_b != "")).sum()),
    )


def _same_photos(a: AuditRows, b: AuditRows) -> tuple[Numbers, Numbers, int]:
    """Return the rows of the same photos, and how many have the same path and another content."""
    of_path = {str(path): number for number, path in enumerate(b.photo)}
    pairs: dict[int, int] = {}
    changed = 0
    for number, path in enumerate(a.photo):
        other = of_path.get(str(path))
        if other is None:
            continue
        known = a.digest[number] and b.digest[other]
        if known and a.digest[number] != b.digest[other]:
            changed += 1
        else:
            pairs[number] = other
    taken = set(pairs.values())
    of_digest: dict[str, list[int]] = {}
    for number in range(len(b) - 1, -1, -1):
        if b.digest[number] and number not in taken:
            of_digest.setdefault(str(b.digest[number]), []).append(number)
    for number, digest in enumerate(a.digest):
        if number not in pairs and (left := of_digest.get(str(digest))):
            pairs[number] = left.pop()
    first = np.array(sorted(pairs), np.int64)
    second = np.array([pairs[number] for number in first.tolist()], np.int64)
    return first, second, changed


def _chosen(rows: AuditRows, numbers: Numbers) -> npt.NDArray[np.bool_]:
    chosen = np.zeros(len(rows), np.bool_)
    chosen[numbers] = True
    return chosen


def _ranks(numbers: Numbers) -> Numbers:
    """Return the place of each number among them in order."""
    return np.argsort(np.argsort(numbers))


def _check_classes(a: AuditRows, b: AuditRows) -> None:
    """Refuse audits of networks that answer other questions.

    Raises:
        OptionError: No class that one predicts or knows is a class of the other.
    """
    names_a, names_b = ({*rows.predicted, *rows.label} - {""} for rows in (a, b))
    if names_a and names_b and not names_a & names_b:
        some = (", ".join(map(repr, sorted(names)[:3])) for names in (names_a, names_b))
        raise OptionError(
            "The two audits have no class in common: {} and others, and {} and others. Audit "
            "networks of the same classes.".format(*some)
        )


def difference_sentence(found: AuditDifference) -> str:
    """Return what differs between two audits, in one sentence."""
    photos = f"the same {counted(len(found), 'photo')}"
    if found.right is not None:
        known = f"the same {counted(found.right.change.n, 'photo')}"
        told = (
            f"B is right on {with_interval(found.right.b)} and A on "
            f"{with_interval(found.right.a)} of {known}: "
            f"{change_with_interval(found.right.change)} points"
        )
    else:
        told = f"No true classes are known for {photos} of A and B"
    known_moves = found.moved[~np.isnan(found.moved)]
    if len(known_moves):
        told += f"; {as_share(float(known_moves.mean()))} of the heat moved"
    if found.energy is not None:
        told += (
            f"; on the objects it went from {as_share(found.energy.a.value)} to "
            f"{as_share(found.energy.b.value)} "
            f"({change_with_interval(found.energy.change)})"
        )
    return f"{told}; {_findings_told(found)}."


def _findings_told(found: AuditDifference) -> str:
    ours = [each for each in found.findings if each.of == "A"]
    theirs = [each for each in found.findings if each.of == "B"]
    if not ours and not theirs:
        return "neither has a finding"
    kept = sum(each.same is not None for each in ours)
    new = sum(each.same is None for each in theirs)
    return (
        f"of A's {counted(len(ours), 'finding')} B has {kept or 'none'}, and it has "
        f"{new or 'none'} of its own{_untested_told(found)}"
    )


def _untested_told(found: AuditDifference) -> str:
    """Return which network has too few wrong answers to have findings of them; "" if none has."""
    told = [name for name, each in (("A", found.a), ("B", found.b)) if is_untested(each)]
    return f" (too few wrong answers of {' and '.join(told)} to test)" if told else ""


def is_untested(audit: Audit) -> bool:
    """Return whether true classes are known, and no class could be tested for wrong answers."""
    known = audit.accuracy is not None
    return known and not any(each.tested for each in audit.classes)


def difference_as_dict(found: AuditDifference) -> dict[str, Any]:
    """Return what differs between two audits as plain values, for JSON."""
    return {
        "sentence": difference_sentence(found),
        "a": dict(found.a.run),
        "b": dict(found.b.run),
        "photos": len(found),
        "changed": found.changed,
        "relabelled": found.relabelled,
        "right": _plain_pair(found.right),
        "energy": _plain_pair(found.energy),
        "only_a_right": _paths(found, "A"),
        "only_b_right": _paths(found, "B"),
        "classes": [
            {"name": each.name, "photos": each.photos, "moved": _plain(each.moved)}
            for each in found.classes
        ],
        "findings": [
            {
                "of": each.of,
                "number": each.number,
                "title": each.finding.title,
                "same": each.same,
                "heat": _plain_pair(each.heat),
            }
            for each in found.findings
        ],
    }


def _paths(found: AuditDifference, of: str) -> list[str]:
    return [str(found.a.rows.photo[found.rows_a[place]]) for place in found.only_right(of).tolist()]


def _plain(estimate: Interval) -> Mapping[str, float]:
    return {end: float(getattr(estimate, end)) for end in ("value", "low", "high")}


def _plain_pair(pair: Paired | None) -> dict[str, Any] | None:
    if pair is None:
        return None
    p = None if isnan(pair.change.p) else float(pair.change.p)
    return {"a": _plain(pair.a), "b": _plain(pair.b), "change": _plain(pair.change), "p": p}
