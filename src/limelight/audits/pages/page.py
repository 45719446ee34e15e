"""The parts that the pages of audits share: templates, photos with their heat, intervals."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from math import isnan
from pathlib import PurePath
from typing import Any

import numpy as np

from limelight.audits.pages.thumbnails import Spot, Thumbnails, heat_uri
from limelight.audits.results import Audit, EvidenceCluster
from limelight.audits.rows.columns import AuditRows
from limelight.audits.verdict import (
    Interval,
    as_share,
    change_with_interval,
    counted,
    with_interval,
)
from limelight.plain import as_json, visible
from limelight.render.maps import SEQUENTIAL
from limelight.render.overlays import overlay_colours


def filled_page(template: str, **values: Any) -> str:
    """Return a template of `html/`, filled in; all text is escaped."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined  # not before a page is made
    from markupsafe import Markup

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(_asset),
    )
    environment.filters["shown"] = shown
    environment.filters["photos"] = lambda count: counted(count, "photo")
    return environment.get_template(template).render(
        style=Markup(f"{_asset('audit.css')}{_scale_style()}"),
        script=Markup(_asset("audit.js")),
        **values,
    )


def shown(text: object) -> str:
    """Return text without characters that turn the direction of writing or cannot be shown."""
    return visible(str(text))


def script_data(value: Any) -> str:
    """Return plain values as JSON that may stand in a script element: nothing in it may end it."""
    from markupsafe import Markup

    return Markup(as_json(value).replace("<", "\\u003c"))


def photo_tile(rows: AuditRows, number: int, pictures: Thumbnails) -> dict[str, Any]:
    """Return a photo with its heat, and what is said below it."""
    path, right = str(rows.photo[number]), float(rows.right[number])
    return {
        "number": number,
        "path": path,
        "name": PurePath(path).name or path,
        "source": pictures.tiles.get(number),
        "heat": heat_uri(rows.maps[number]) if rows.status[number] == "ok" else None,
        "failed": pictures.failed.get(number, "not read"),
        "answer": "" if isnan(right) else "right" if right else "wrong",
        "label": str(rows.label[number]),
        "predicted": str(rows.predicted[number]),
        "probability": as_share(float(rows.probability[number])),
    }


def crop_tile(rows: AuditRows, name: Hashable, spot: Spot, pictures: Thumbnails) -> dict[str, Any]:
    """Return a square of a photo, and which photo it is of."""
    return {
        "source": pictures.crops.get(name),
        "path": str(rows.photo[spot.row]),
        "failed": pictures.failed.get(spot.row, "not read"),
    }


def spot_of(rows: AuditRows, peak: int) -> Spot:
    """Return the square around a peak."""
    down, across = rows.maps.shape[1:]
    x, y = (rows.peaks.column[peak] + 0.5) / across, (rows.peaks.row[peak] + 0.5) / down
    return Spot(int(rows.peaks.photo[peak]), float(x), float(y))


def peaks_with(rows: AuditRows, evidence: EvidenceCluster) -> list[int]:
    """Return the peaks of evidence on the photos that count as having it, the nearest first.

    The fainter ones of other photos only helped to tell the kinds apart.
    """
    having = np.isin(rows.peaks.photo[evidence.peaks], evidence.photos)
    peaks: list[int] = evidence.peaks[having].tolist()
    return peaks


def of_different_photos(rows: AuditRows, peaks: Iterable[int], most: int) -> list[int]:
    """Return the first peaks of different photos; peaks of the same photos where they are few."""
    first: dict[int, int] = {}
    rest = []
    for peak in peaks:
        if (photo := int(rows.peaks.photo[peak])) in first:
            rest.append(peak)
        else:
            first[photo] = peak
    return [*first.values(), *rest][:most]


def ranged(
    estimate: Interval | None, low: float = 0.0, high: float = 1.0, *, signed: bool = False
) -> dict[str, Any] | None:
    """Return where an estimate and its interval lie on an axis from `low` to `high`, in percent."""
    if estimate is None or isnan(estimate.value):
        return None

    def at(value: float) -> float:
        return round(100 * min(max((value - low) / (high - low), 0.0), 1.0), 2)

    ends = (estimate.low, estimate.high)
    known = not any(map(isnan, ends))
    return {
        "at": at(estimate.value),
        "low": at(ends[0]) if known else None,
        "high": at(ends[1]) if known else None,
        "zero": at(0.0),
        "text": change_with_interval(estimate) if signed else with_interval(estimate),
    }


def facts_of(audit: Audit) -> list[tuple[str, str]]:
    """Return how the rows of an audit were made, as names and texts; unknown facts are left out.

    Method and layer are those of the rows, which say what was chosen.
    """
    facts = dict(audit.run)
    for name in ("method", "layer"):
        used = sorted({*getattr(audit.rows, name)} - {""})
        if used:
            facts[name] = used
    return [
        (str(name).replace("_", " "), _as_text(value))
        for name, value in facts.items()
        if value not in (None, "", {}, [], ())
    ]


def _as_text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_as_text(part)}" for key, part in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_as_text, value))
    return str(value)


def _scale_style() -> str:
    """Return the style of the colour bar: the colours as opaque as they lie over a photo."""
    stops = ", ".join(
        f"rgb({red} {green} {blue} / {alpha / 255:.2f})"
        for red, green, blue, alpha in overlay_colours(SEQUENTIAL)[::15].tolist()
    )
    return f".scale i {{ background: linear-gradient(to right, {stops}); }}"


@cache
def _asset(name: str) -> str:
    return (files("limelight.audits.pages") / "html" / name).read_text(encoding="utf-8")
