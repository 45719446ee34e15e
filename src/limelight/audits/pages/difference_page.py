"""The page of two audits of the same photos, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

from limelight.audits.data.views import PhotoViews
from limelight.audits.pages.cards import KINDS
from limelight.audits.pages.differing import AuditDifference, difference_sentence, is_untested
from limelight.audits.pages.moves import ClassMove, FindingMove
from limelight.audits.pages.page import (
    crop_tile,
    facts_of,
    filled_page,
    of_different_photos,
    peaks_with,
    photo_tile,
    spot_of,
)
from limelight.audits.pages.thumbnails import (
    Thumbnails,
    Wanted,
    draw_thumbnails,
    heat_uri,
    signed_uri,
)
from limelight.audits.results import Audit
from limelight.audits.verdict import (
    UNKNOWN,
    as_share,
    change_with_interval,
    counted,
    with_interval,
)
from limelight.files import write_whole
from limelight.progress import ProgressCallback

#: The most photos side by side of each kind, the most classes with maps, and crops of a finding.
_PHOTOS, _CLASSES, _CROPS = 12, 12, 4

#: The most findings of both audits together.
_FINDINGS = 60


def write_difference(
    found: AuditDifference,
    views: PhotoViews,
    folder: Path,
    *,
    other_views: PhotoViews | None = None,
    progress: ProgressCallback | None = None,
) -> Path:
    """Write `difference.html` into a folder, whole or not at all.

    Args:
        found: What differs.
        views: How to read the photos as the network of A saw them.
        folder: The folder.
        other_views: The same for B; None where both saw the same part of each photo.
        progress: Called as photos are read.

    Raises:
        OutputError: It cannot be written there; a page that was there is untouched.
    """
    page = difference_html(found, views, other_views=other_views, progress=progress)
    return write_whole(folder / "difference.html", page.encode(errors="backslashreplace"))


def difference_html(
    found: AuditDifference,
    views: PhotoViews,
    *,
    other_views: PhotoViews | None = None,
    progress: ProgressCallback | None = None,
) -> str:
    """Return the page of two audits as HTML; see `write_difference`."""
    chosen = {name: _chosen(found, name) for name in ("B", "A", "")}
    places = [place for each in chosen.values() for place in each]
    wanted_a = Wanted(tiles={int(found.rows_a[place]) for place in places})
    wanted_b = Wanted(tiles={int(found.rows_b[place]) for place in places})
    for each, wanted in ((found.a, wanted_a), (found.b, wanted_b)):
        wanted.crops.update(
            (peak, spot_of(each.rows, peak)) for peaks in _peaks(each) for peak in peaks
        )
    pictures = (
        draw_thumbnails(found.a.rows, views, wanted_a, progress=progress),
        draw_thumbnails(found.b.rows, other_views or views, wanted_b, progress=progress),
    )
    return filled_page(
        "difference.html",
        title=difference_sentence(found),
        stats=_stats(found),
        links=_links(found),
        facts_a=facts_of(found.a),
        facts_b=facts_of(found.b),
        answers=_answers(found),
        warnings=_warnings(found),
        findings=[_finding(found, each, pictures) for each in found.findings[:_FINDINGS]],
        more_findings=max(0, len(found.findings) - _FINDINGS),
        classes=[_class(each) for each in found.classes[:_CLASSES]],
        more_classes=max(0, len(found.classes) - _CLASSES),
        parts=[
            {
                "name": name,
                "count": count,
                "pairs": [_pair(found, place, pictures) for place in chosen[of]],
            }
            for name, of, count in (
                ("Only B is right", "B", len(found.only_right("B"))),
                ("Only A is right", "A", len(found.only_right("A"))),
                ("The heat moved most", "", int((~np.isnan(found.moved)).sum())),
            )
        ],
    )


def _chosen(found: AuditDifference, of: str) -> list[int]:
    """Return the photos that are shown: those on which the heat moved most, first."""
    places = found.only_right(of) if of else np.flatnonzero(~np.isnan(found.moved))
    moved = np.nan_to_num(found.moved[places])
    return [int(place) for place in places[np.argsort(-moved, kind="stable")][:_PHOTOS]]


def _peaks(audit: Audit) -> list[list[int]]:
    """Return the peaks that stand for each finding; none for a mark."""
    return [
        of_different_photos(audit.rows, peaks_with(audit.rows, each.evidence), _CROPS)
        if each.evidence is not None
        else []
        for each in audit.findings[:_FINDINGS]
    ]


def _links(found: AuditDifference) -> list[tuple[str, str]]:
    links = (("findings", "Findings", True), ("moved", "Heat", bool(found.classes)))
    return [(name, text) for name, text, there in links if there] + [("photos", "Photos")]


def _stats(found: AuditDifference) -> list[tuple[str, str, str]]:
    """Return the figures at the top: name, value, and what it is out of."""
    stats = [("Photos in both", f"{len(found):,}", "")]
    for name, pair in (("Right answers", found.right), ("Heat on the objects", found.energy)):
        if pair is not None:
            values = f"A {with_interval(pair.a)}, B {with_interval(pair.b)}"
            stats.append((f"{name}, B less A", change_with_interval(pair.change), values))
    known = found.moved[~np.isnan(found.moved)]
    if len(known):
        stats.append(("Heat that moved", as_share(float(known.mean())), "of each map, on average"))
    return stats


def _warnings(found: AuditDifference) -> list[str]:
    """Return what limits the comparison, in sentences."""
    told = []
    if found.changed:
        told.append(
            f"{counted(found.changed, 'photo')} changed between the audits and are left out."
        )
    left = len(found.a.rows) + len(found.b.rows) - 2 * len(found) - 2 * found.changed
    if left:
        told.append(f"Left out, as only one audit has them: {counted(left, 'photo')}.")
    if found.relabelled:
        told.append(
            f"The audits know different true classes of {counted(found.relabelled, 'photo')}; each "
            "is judged by its own."
        )
    for name, audit in (("A", found.a), ("B", found.b)):
        if is_untested(audit):
            told.append(
                f"{name} has too few wrong answers to test what they share. That it has no finding "
                "of them proves nothing: compare the heat at the other's findings."
            )
    return told


def _answers(found: AuditDifference) -> list[list[str]] | None:
    """Return how many photos both, one, or none is right on; None where that is not known."""
    a, b = found.a.rows.right[found.rows_a], found.b.rows.right[found.rows_b]
    if found.right is None:
        return None
    return [[f"{int(((a == one) & (b == other)).sum()):,}" for other in (1, 0)] for one in (1, 0)]


def _finding(
    found: AuditDifference, each: FindingMove, pictures: Sequence[Thumbnails]
) -> dict[str, Any]:
    audit, drawn = (found.a, pictures[0]) if each.of == "A" else (found.b, pictures[1])
    other = "B" if each.of == "A" else "A"
    peaks = _peaks(audit)[each.number - 1]
    heat = _in_order(each)
    return {
        "of": each.of,
        "title": each.finding.title,
        "kind": KINDS[each.finding.kind],
        "crops": [crop_tile(audit.rows, peak, spot_of(audit.rows, peak), drawn) for peak in peaks],
        "other": f"{other} has it too ({each.same})" if each.same else f"not found in {other}",
        "gone": each.same is None,
        "heat_a": with_interval(heat["a"]) if heat else UNKNOWN,
        "heat_b": with_interval(heat["b"]) if heat else UNKNOWN,
    }


def _in_order(each: FindingMove) -> Mapping[str, Any] | None:
    """Return the heat at a finding in A and in B; a finding of B is measured the other way."""
    if each.heat is None:
        return None
    ours, theirs = each.heat.a, each.heat.b
    return {"a": ours, "b": theirs} if each.of == "A" else {"a": theirs, "b": ours}


def _class(each: ClassMove) -> dict[str, Any]:
    change = each.b - each.a
    highest = max(float(each.a.max()), float(each.b.max())) or 1.0
    reach = float(np.abs(change).max()) or 1.0
    return {
        "name": each.name,
        "photos": f"{each.photos:,}",
        "a": heat_uri(each.a / highest, opaque=True),
        "b": heat_uri(each.b / highest, opaque=True),
        "change": signed_uri(change / reach),
        "moved": with_interval(each.moved),
    }


def _pair(found: AuditDifference, place: int, pictures: Sequence[Thumbnails]) -> dict[str, Any]:
    moved = float(found.moved[place])
    return {
        "a": photo_tile(found.a.rows, int(found.rows_a[place]), pictures[0]),
        "b": photo_tile(found.b.rows, int(found.rows_b[place]), pictures[1]),
        "moved": "" if isnan(moved) else as_share(moved),
    }
