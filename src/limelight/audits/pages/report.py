"""The report of an audit: one HTML file that asks for nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

from limelight.audits.data.views import PhotoViews
from limelight.audits.pages.cards import (
    MOST_CARDS,
    finding_cards,
    table_rows,
    want_card_pictures,
)
from limelight.audits.pages.inventory import (
    MOST_KINDS,
    case_cells,
    evidence_by_class,
    want_inventory_pictures,
)
from limelight.audits.pages.page import facts_of, filled_page, photo_tile, ranged, script_data
from limelight.audits.pages.photo_table import packed_within, shown_first, thumbs_within
from limelight.audits.pages.thumbnails import draw_thumbnails, heat_uri, mean_heat
from limelight.audits.results import Audit, ClassSummary, GroupSummary
from limelight.audits.verdict import (
    UNKNOWN,
    as_share,
    chance,
    counted,
    heat_on_objects,
    reasons,
    verdict,
    with_interval,
)
from limelight.files import write_whole
from limelight.progress import ProgressCallback

#: The most characters of a report.
MOST_CHARACTERS = 8_000_000

#: How many photos of the list have a picture at most, if there is room.
_MOST_THUMBS = 400

#: How many characters are kept for them where the list of photos is long.
_ROOM_FOR_THUMBS = 300_000

#: The most rows of the tables of classes, groups and reasons, and those of classes that are open.
_MOST_ROWS, _OPEN_ROWS = 200, 12

#: The most classes with mean maps, and the fewest photos of one.
_MOST_MEANS, _FEWEST_MEANT = 12, 5

#: How many photos are shown where nothing was found.
_SAMPLE = 12


def write_report(
    audit: Audit, views: PhotoViews, folder: Path, *, progress: ProgressCallback | None = None
) -> Path:
    """Write `report.html` into a folder, whole or not at all.

    Args:
        audit: What was found.
        views: How to read the photos again. Those that are gone are shown as grey tiles.
        folder: The folder.
        progress: Called as photos are read.

    Raises:
        OutputError: It cannot be written there; a report that was there is untouched.
    """
    page = report_html(audit, views, progress=progress)
    return write_whole(folder / "report.html", page.encode(errors="backslashreplace"))


def report_html(
    audit: Audit, views: PhotoViews, *, progress: ProgressCallback | None = None
) -> str:
    """Return the report of an audit as HTML; see `write_report`."""
    wanted = want_card_pictures(audit).joined(want_inventory_pictures(audit))
    first = shown_first(audit)
    wanted.small.update(first[:_MOST_THUMBS])
    sample = [] if audit.findings else _sample(audit)
    wanted.tiles.update(sample)
    pictures = draw_thumbnails(audit.rows, views, wanted, progress=progress)
    values = {
        "title": verdict(audit),
        "stats": _stats(audit),
        "findings": table_rows(audit, pictures),
        "cards": finding_cards(audit, pictures),
        "most_cards": MOST_CARDS,
        "some_placed": any(each.kind in ("place", "border") for each in audit.findings),
        "some_marked": any(each.kind == "mark" for each in audit.findings),
        "sample": [photo_tile(audit.rows, number, pictures) for number in sample],
        "open_classes": _OPEN_ROWS,
        "evidence": evidence_by_class(audit, pictures),
        "kinds": len(audit.evidence),
        "shown_kinds": min(len(audit.evidence), MOST_KINDS),
        "cases": case_cells(audit, pictures),
        "classes": [_class_row(each) for each in audit.classes[:_MOST_ROWS]],
        "more_classes": max(0, len(audit.classes) - _MOST_ROWS),
        "accuracy": ranged(audit.accuracy),
        "means": list(_mean_maps(audit)),
        "groups": [_group_row(audit, each) for each in audit.groups[:_MOST_ROWS]],
        "more_groups": max(0, len(audit.groups) - _MOST_ROWS),
        "warnings": audit.warnings,
        "unseen": audit.unseen,
        "reasons": reasons(audit.rows)[:_MOST_ROWS],
        "statuses": sorted(audit.statuses.items(), key=lambda pair: -pair[1]),
        "gone": len(pictures.failed),
        "facts": facts_of(audit),
        "seed": audit.seed,
        "photos": len(audit.rows),
        "total": audit.total,
        "labelled": audit.accuracy is not None,
        "links": [
            (name, text)
            for name, text, there in (
                ("findings", "Findings", True),
                ("evidence", "Evidence", True),
                ("objects", "Objects", bool(audit.cases)),
                ("classes", "Classes", True),
                ("photos", "Photos", True),
                ("limits", "Limits", True),
            )
            if there
        ],
        "has_map": bool(audit.rows.ok.any()),
    }
    bare = filled_page("report.html", **values, listed=0, packed="", thumbs=script_data({}))
    packed, listed = packed_within(audit, MOST_CHARACTERS - len(bare) - _ROOM_FOR_THUMBS)
    small = {number: pictures.small[number] for number in first if number in pictures.small}
    room = MOST_CHARACTERS - len(bare) - len(packed) - 100
    thumbs = thumbs_within(audit.rows, small, room)
    return filled_page(
        "report.html", **values, listed=listed, packed=packed, thumbs=script_data(thumbs)
    )


def _sample(audit: Audit) -> list[int]:
    """Return photos with a map, drawn at random."""
    drawn = np.random.default_rng(audit.seed).permutation(np.flatnonzero(audit.rows.ok))
    return sorted(drawn[:_SAMPLE].tolist())


def _stats(audit: Audit) -> list[tuple[str, str, str]]:
    """Return the figures at the top: name, value, and what it is out of."""
    rows, known = audit.rows, ~np.isnan(audit.rows.right)
    photos = f"a sample of {audit.total:,}" if audit.total > len(rows) else ""
    sources = counted(audit.sources, "source") if audit.sources != len(rows) else ""
    stats = [("Photos", f"{len(rows):,}", ", ".join(filter(None, (photos, sources))))]
    if audit.accuracy is not None:
        even = chance(rows)
        beside = "" if isnan(even) else f"chance {as_share(even)}"
        stats.append(("Right answers", with_interval(audit.accuracy), beside))
        stats.append(("Wrong answers", f"{int(rows.wrong.sum()):,}", f"of {int(known.sum()):,}"))
    on_objects = heat_on_objects(rows)
    if on_objects:
        told = f"chance {as_share(on_objects.chance)}, on {counted(on_objects.photos, 'photo')}"
        stats.append(("Heat on the objects", as_share(on_objects.share), told))
    kinds = f"{counted(len(audit.evidence), 'kind')} of evidence"
    stats.append(("Findings", f"{len(audit.findings):,}", kinds))
    bad = int((~rows.ok).sum())
    stats.append(("Without a map", f"{bad:,}", f"of {len(rows):,}"))
    return stats


def _class_row(each: ClassSummary) -> dict[str, Any]:
    return {
        "name": each.name,
        "photos": f"{each.photos:,}",
        "sources": f"{each.sources:,}",
        "wrong": UNKNOWN if each.wrong is None else f"{each.wrong:,}",
        "right": ranged(each.right),
        "tested": "yes" if each.tested else f"no: {each.reason}" if each.reason else "no",
    }


def _mean_maps(audit: Audit) -> Iterable[dict[str, Any]]:
    """Yield the mean maps of right and of wrong answers: of all photos, and of each class."""
    rows = audit.rows
    large = [each.name for each in audit.classes if each.photos >= _FEWEST_MEANT]
    classes = large[:_MOST_MEANS]
    chosen = [("All photos", np.ones(len(rows), np.bool_))] if len(audit.classes) > 1 else []
    chosen += [(name, rows.predicted == name) for name in classes]
    for name, members in chosen:
        maps = []
        for answer, part in (
            ("right", rows.right == 1),
            ("wrong", rows.wrong),
            ("", np.isnan(rows.right)),
        ):
            numbers = np.flatnonzero(members & part & rows.ok)
            if len(numbers):
                heat = heat_uri(mean_heat(rows, numbers), opaque=True)
                maps.append({"answer": answer, "heat": heat, "photos": f"{len(numbers):,}"})
        if maps:
            yield {"name": name, "maps": maps}


def _group_row(audit: Audit, each: GroupSummary) -> dict[str, Any]:
    reach = _reach(audit)
    return {
        "name": each.name,
        "photos": f"{each.photos:,}",
        "right": with_interval(each.right),
        "energy": with_interval(each.energy),
        "difference": ranged(each.difference, -reach, reach, signed=True),
        "reach": f"{100 * reach:.0f}",
    }


def _reach(audit: Audit) -> float:
    """Return where the axis of the differences of groups ends."""
    ends = [
        abs(end)
        for each in audit.groups
        if each.difference is not None
        for end in (each.difference.low, each.difference.high, each.difference.value)
        if not isnan(end)
    ]
    return max(0.1, *ends) if ends else 0.1
