"""The list of photos of a report, packed column by column, for its script to search."""

from __future__ import annotations

import gzip
from base64 import b64encode
from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

import numpy as np

from limelight.audits.pages.lists import case_names, evidence_names
from limelight.audits.pages.thumbnails import heat_uri
from limelight.audits.results import Audit
from limelight.audits.rows.columns import AuditRows
from limelight.audits.verdict import photos_of, reason_of_each
from limelight.plain import as_json, visible

#: The most photos that a page lists.
MOST_LISTED = 100_000


def listed_photos(audit: Audit, most: int = MOST_LISTED) -> list[int]:
    """Return the rows that a page lists: all, or findings, wrong answers and a sample of others."""
    return sorted(shown_first(audit)[:most])


def shown_first(audit: Audit) -> list[int]:
    """Return all rows in the order in which they deserve room: findings, wrong answers, others."""
    rows = audit.rows
    found = [number for finding in audit.findings for number in photos_of(audit, finding)]
    drawn = np.random.default_rng(audit.seed).permutation(len(rows))
    wrong = drawn[rows.wrong[drawn]]
    return list(dict.fromkeys([*found, *wrong.tolist(), *drawn.tolist()]))


def packed_photos(audit: Audit, numbers: Sequence[int]) -> str:
    """Return the columns of rows as JSON, compressed by gzip, as base64.

    Names are numbers in lists of names, and a common folder of all paths is given once.
    """
    rows = audit.rows
    paths = [visible(str(rows.photo[number])) for number in numbers]
    folder = _common_folder(paths)
    evidence = [each.name for each in audit.evidence]
    place = {name: number for number, name in enumerate(evidence)}
    of_photo, cases = evidence_names(audit), case_names(audit)
    classes, class_of = _numbered([*rows.label.tolist(), *rows.predicted.tolist()])
    case_list, case_of = _numbered(cases)
    status_list, status_of = _numbered(reason_of_each(rows))
    right = rows.right.tolist()
    packed = {
        "folder": folder,
        "classes": [visible(name) for name in classes],
        "kinds": [visible(name) for name in evidence],
        "cases": case_list,
        "statuses": [visible(name) for name in status_list],
        "row": list(numbers),
        "photo": [path[len(folder) :] for path in paths],
        "label": [class_of[number] for number in numbers],
        "predicted": [class_of[len(rows) + number] for number in numbers],
        "right": [-1 if isnan(right[number]) else int(right[number]) for number in numbers],
        "probability": [_percent(float(rows.probability[number])) for number in numbers],
        "evidence": [[place[name] for name in of_photo[number]] for number in numbers],
        "case": [case_of[number] for number in numbers],
        "status": [status_of[number] for number in numbers],
    }
    return b64encode(gzip.compress(as_json(packed).encode(), 6, mtime=0)).decode()


def packed_within(audit: Audit, room: int) -> tuple[str, int]:
    """Return the packed list of as many photos as fit into `room` characters, and how many."""
    most = min(MOST_LISTED, len(audit.rows))
    while len(packed := packed_photos(audit, listed_photos(audit, most))) > room and most:
        most = min(most - 1, int(0.9 * most * room / len(packed)))
    return packed, most


def thumbs_within(rows: AuditRows, small: Mapping[int, str], room: int) -> dict[str, list[str]]:
    """Return small photos and their heat by the number of their row, within `room` characters."""
    kept: dict[str, list[str]] = {}
    for number, source in small.items():
        pair = [source, heat_uri(rows.maps[number]) if rows.status[number] == "ok" else ""]
        room -= sum(map(len, pair)) + 24  # quotes, commas and the number
        if room < 0:
            break
        kept[str(number)] = pair
    return kept


def _percent(share: float) -> int:
    return -1 if isnan(share) else round(100 * share)


def _numbered(names: Sequence[Any]) -> tuple[list[str], list[int]]:
    """Return the different names in order, and the number of each given one."""
    known = sorted({str(name) for name in names})
    place = {name: number for number, name in enumerate(known)}
    return known, [place[str(name)] for name in names]


def _common_folder(paths: Sequence[str]) -> str:
    """Return the folder that all paths begin with, with its slash; "" if there is none."""
    if not paths:
        return ""
    first, last = min(paths), max(paths)  # what these two begin with, all between them do
    same = next(
        (k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first)
    )
    return first[: first.rfind("/", 0, same) + 1]
