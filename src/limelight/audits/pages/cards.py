"""The findings of a report: their table, and a card for each."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import isnan, nan
from typing import Any

import numpy as np

from limelight.audits.pages.lists import finding_list
from limelight.audits.pages.page import (
    crop_tile,
    of_different_photos,
    peaks_with,
    photo_tile,
    ranged,
    spot_of,
)
from limelight.audits.pages.thumbnails import Spot, Thumbnails, Wanted, heat_uri, mean_heat
from limelight.audits.results import Audit, Finding, Mark, Removal
from limelight.audits.rows.columns import AuditRows
from limelight.audits.verdict import (
    UNKNOWN,
    as_change,
    as_excess,
    as_probability,
    as_share,
    photos_of,
    with_interval,
)
from limelight.plain import MINUS

#: The most findings with a card, and the crops, the photos of each kind and the files on one.
MOST_CARDS, _CROPS, _PHOTOS, _FILES = 24, 10, 4, 100

#: The most photos of which a mean photo is made.
_MEAN_PHOTOS = 24

#: The most peaks that are marked on a mean photo.
_MOST_DOTS = 60

#: What findings of each kind are, in a few words.
KINDS = {
    "wrong": "goes with wrong answers",
    "place": "always at one place",
    "border": "always at the border",
    "mark": "a mark in the pixels",
}


def want_card_pictures(audit: Audit) -> Wanted:
    """Return which pictures the cards show."""
    wanted = Wanted()
    for number, finding in enumerate(audit.findings[:MOST_CARDS]):
        wanted.crops.update(_finding_spots(audit, number))
        wrong, right, unknown = _finding_photos(audit, finding)
        wanted.tiles.update((*wrong, *right, *unknown))
        wanted.means[number] = _spread(photos_of(audit, finding), _MEAN_PHOTOS)
    return wanted


def finding_cards(audit: Audit, pictures: Thumbnails) -> list[dict[str, Any]]:
    """Return what the card of each finding shows."""
    return [
        _card(audit, number, finding, pictures)
        for number, finding in enumerate(audit.findings[:MOST_CARDS])
    ]


def _card(audit: Audit, number: int, finding: Finding, pictures: Thumbnails) -> dict[str, Any]:
    rows, evidence, photos = audit.rows, finding.evidence, photos_of(audit, finding)
    wrong, right, unknown = (
        [photo_tile(rows, each, pictures) for each in numbers]
        for numbers in _finding_photos(audit, finding)
    )
    return {
        "number": number + 1,
        "kind": KINDS[finding.kind],
        "title": finding.title,
        "sentence": finding.sentence,
        "advice": finding.advice,
        "name": evidence.name if evidence else "",
        "is_mark": finding.mark is not None,
        "filter": _filter(rows, finding),
        "crops": [crop_tile(rows, *each, pictures) for each in _finding_spots(audit, number)],
        "wrong": wrong,
        "right": right,
        "unknown": unknown,
        "answers": [
            ("with it", ranged(evidence.right_with)),
            ("without it", ranged(evidence.right_without)),
        ]
        if evidence and evidence.right_with
        else [],
        "place": _place(audit, finding, pictures.means.get(number)),
        "removal": None if finding.removal is None else _removal(finding.removal),
        "photos": len(photos),
        "files": [str(rows.photo[each]) for each in photos[:_FILES]],
        "list": finding_list(number + 1),
        "relabel": [str(rows.photo[each]) for each in finding.relabel[:_FILES].tolist()],
        "relabels": len(finding.relabel),
        "figures": _figures(finding),
    }


def _filter(rows: AuditRows, finding: Finding) -> tuple[str, str]:
    """Return which filter of the list finds the photos of a finding, and its value."""
    if finding.evidence is not None:
        return "evidence", finding.evidence.name
    assert finding.mark is not None
    return "label" if (rows.label != "").any() else "predicted", finding.mark.label


def _figures(finding: Finding) -> list[tuple[str, str]]:
    """Return the figures of a finding in words, those that are known."""
    evidence, mark = finding.evidence, finding.mark
    figures: list[tuple[str, float, str]] = []
    if evidence:
        figures = [
            ("Share of the heat", evidence.heat_share, as_share(evidence.heat_share)),
            ("Excess of wrong answers", evidence.excess, as_excess(evidence.excess)),
            ("p", evidence.p, as_probability(evidence.p)),
            ("Closer together than chance", evidence.place, f"z {_as_z(evidence.place)}"),
            ("Closer to the border", evidence.border, f"z {_as_z(evidence.border)}"),
        ]
    if mark:
        figures = [
            ("Heat there, over uniform", mark.lift, f"{mark.lift:.2f}"),
            ("The same without the mark", mark.lift_without, f"{mark.lift_without:.2f}"),
            ("p", mark.p, as_probability(mark.p)),
            ("Largest |t|", mark.strength, f"{mark.strength:.1f}"),
            ("Photos compared", mark.photos, f"{mark.photos:,}"),
        ]
    return [(name, text) for name, value, text in figures if not isnan(value)]


def _finding_spots(audit: Audit, number: int) -> list[tuple[Hashable, Spot]]:
    """Return the squares that a card shows, with their names: around peaks, or at the mark."""
    rows, finding = audit.rows, audit.findings[number]
    if finding.evidence is not None:
        peaks = of_different_photos(rows, peaks_with(rows, finding.evidence), _CROPS)
        return [(peak, spot_of(rows, peak)) for peak in peaks]
    assert finding.mark is not None
    left, top, right, bottom = finding.mark.box
    side = max(Spot(0, 0, 0).side, right - left, bottom - top)
    place = ((left + right) / 2, (top + bottom) / 2, side)
    photos = _spread(photos_of(audit, finding), _CROPS)
    return [(("mark", number, each), Spot(each, *place)) for each in photos]


def _finding_photos(audit: Audit, finding: Finding) -> tuple[list[int], list[int], list[int]]:
    """Return the photos that a card shows: wrong answers, right ones, and where that is unknown."""
    rows = audit.rows
    if finding.evidence is not None:
        order = rows.peaks.photo[peaks_with(rows, finding.evidence)].tolist()
        numbers = list(dict.fromkeys([*order, *photos_of(audit, finding)]))
    else:
        numbers = _hottest(rows, photos_of(audit, finding), finding.mark)
    right = rows.right[numbers]
    parts = (right == 0, right == 1, np.isnan(right))
    wrong, well, unknown = (np.array(numbers, np.int64)[part].tolist() for part in parts)
    return wrong[:_PHOTOS], well[:_PHOTOS], unknown[: _PHOTOS * 2]


def _hottest(rows: AuditRows, numbers: Sequence[int], mark: Mark | None) -> list[int]:
    """Return photos in the order of the share of their heat that lies in a mark's box."""
    assert mark is not None
    down, across = rows.maps.shape[1:]
    left, top, right, bottom = mark.box
    columns = slice(int(left * across), max(int(np.ceil(right * across)), int(left * across) + 1))
    lines = slice(int(top * down), max(int(np.ceil(bottom * down)), int(top * down) + 1))
    maps = rows.maps[list(numbers)].astype(np.float32)
    heat = maps[:, lines, columns].sum((1, 2)) / np.maximum(maps.sum((1, 2)), 1e-6)
    return [numbers[place] for place in np.argsort(-heat, kind="stable").tolist()]


def _spread(numbers: Sequence[int], most: int) -> list[int]:
    """Return at most so many of the numbers, evenly spread over them."""
    if len(numbers) <= most:
        return list(numbers)
    return [numbers[int(place)] for place in np.linspace(0, len(numbers) - 1, most)]


def _place(audit: Audit, finding: Finding, mean: str | None) -> dict[str, Any] | None:
    """Return where a finding lies on the mean of its photos, in percent."""
    if mean is None:
        return None
    rows, dots = audit.rows, []
    down, across = rows.maps.shape[1:]
    if finding.evidence is not None:
        for peak in _spread(peaks_with(rows, finding.evidence), _MOST_DOTS):
            x = (int(rows.peaks.column[peak]) + 0.5) / across
            y = (int(rows.peaks.row[peak]) + 0.5) / down
            dots.append((round(100 * x, 1), round(100 * y, 1)))
    box = None
    if finding.mark is not None:
        left, top, right, bottom = (100 * float(side) for side in finding.mark.box)
        box = [round(each, 2) for each in (left, top, right - left, bottom - top)]
    photos = photos_of(audit, finding)
    return {
        "mean": mean,
        "photos": min(len(photos), _MEAN_PHOTOS),
        "heat": heat_uri(mean_heat(rows, photos)) if finding.mark is not None else None,
        "dots": dots,
        "box": box,
    }


def _removal(removal: Removal) -> dict[str, Any]:
    """Return the changes of accuracy by removal as bars on a common axis."""
    changes = (removal.change, removal.random_change)
    reach = max(0.1, *(abs(each) for each in changes if not isnan(each)))

    def bar(change: float) -> dict[str, Any]:
        share = 0.0 if isnan(change) else change / reach
        return {
            "start": round(50 + 50 * min(share, 0.0), 2),
            "length": round(50 * abs(share), 2),
            "text": as_change(change),
        }

    return {
        "evidence": bar(removal.change),
        "random": bar(removal.random_change),
        "right": removal.right,
        "wrong": removal.wrong,
        "right_lost": as_share(removal.right_lost),
        "wrong_mended": as_share(removal.wrong_mended),
        "may_acquit": not removal.low > 0,
        "difference": as_change(removal.change - removal.random_change),
        "interval": ""
        if isnan(removal.low)
        else f"[{as_change(removal.low)}, {as_change(removal.high)}]",
    }


def table_rows(audit: Audit, pictures: Thumbnails) -> list[dict[str, Any]]:
    """Return the rows of the table of findings."""
    return [_table_row(audit, number, pictures) for number in range(len(audit.findings))]


def _table_row(audit: Audit, number: int, pictures: Thumbnails) -> dict[str, Any]:
    finding = audit.findings[number]
    evidence, mark = finding.evidence, finding.mark
    spots = _finding_spots(audit, number)[:4] if number < MOST_CARDS else []
    return {
        "number": number + 1,
        "title": finding.title,
        "kind": KINDS[finding.kind],
        "has_card": number < MOST_CARDS,
        "crops": [crop_tile(audit.rows, *each, pictures) for each in spots],
        "photos": f"{len(photos_of(audit, finding)):,}",
        "heat": as_share(evidence.heat_share) if evidence else UNKNOWN,
        "with_it": with_interval(evidence.right_with if evidence else None),
        "without": with_interval(evidence.right_without if evidence else None),
        "excess": as_excess(evidence.excess) if evidence else UNKNOWN,
        "p": as_probability(evidence.p if evidence else mark.p if mark else float("nan")),
        "z": _as_z(_place_z(finding)),
        "lift": f"{mark.lift:.2f}" if mark else UNKNOWN,
    }


def _place_z(finding: Finding) -> float:
    """Return by how many standard deviations a finding keeps to its place; NaN for other ones."""
    if finding.evidence is None or finding.kind not in ("place", "border"):
        return nan
    return float(finding.evidence.place if finding.kind == "place" else finding.evidence.border)


def _as_z(z: float) -> str:
    """Return a number of standard deviations; a dash where it is not known."""
    return UNKNOWN if isnan(z) else f"{z:.1f}".replace("-", MINUS)
