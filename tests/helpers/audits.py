"""Audits made by hand: people with caps, and where a network that cheats would look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from limelight.audits.data.views import PhotoViews
from limelight.audits.results import (
    Audit,
    Case,
    ClassSummary,
    EvidenceCluster,
    Finding,
    GroupSummary,
    Mark,
    Removal,
)
from limelight.audits.rows.columns import AuditRows, Peaks
from limelight.errors import PhotoError
from limelight.metrics.intervals import Estimate
from limelight.photos.preprocess import Preprocess
from limelight.photos.raster import Photo

GRID = 14

#: What the network of these audits sees: the whole photo.
WHOLE = Preprocess((224, 224), (224, 224))

_TEXTS = ("photo", "digest", "group", "label", "predicted", "explained", "status", "message")
_NUMBERS = ("probability", "score", "energy_inside", "pointing_hit", "mass_accuracy")
_OBJECTS = ("object_share", "iou", "object_coverage", "saliency_coverage")


def audit_rows(count: int, maps: npt.NDArray[Any] | None = None, **columns: Any) -> AuditRows:
    """Return rows with given columns, one peak a map at its highest cell; others are missing."""
    given: dict[str, Any] = {}
    for name in (*_TEXTS, "layer", "method", "error"):
        given[name] = np.array(columns.get(name, [""] * count), dtype=object)
    for name in (*_NUMBERS, *_OBJECTS, "right"):
        given[name] = np.array(columns.get(name, [nan] * count), dtype=np.float64)
    if "status" not in columns:
        given["status"] = np.array(["ok"] * count, dtype=object)
    for name in ("width", "height"):
        given[name] = np.array(columns.get(name, [224] * count), dtype=np.int64)
    if maps is None:
        maps = np.zeros((count, GRID, GRID), np.float16)
        maps[:, 2, 3] = 1
    w = maps.shape[2]
    highest = maps.reshape(count, -1).argmax(1) if count else np.empty(0, np.int64)
    peaks = columns.get("peaks") or Peaks(
        np.arange(count), highest // w, highest % w, np.ones(count), np.zeros((count, 2))
    )
    look = np.arange(count, dtype=np.uint64)
    return AuditRows(**given, look=look, maps=maps.astype(np.float16), peaks=peaks)


def evidence(name: str, predicted: str, peaks: Sequence[int], rows: AuditRows, **more: Any) -> Any:
    """Return evidence that has these peaks."""
    numbers = np.array(peaks, dtype=np.int64)
    photos = np.unique(rows.peaks.photo[numbers])
    return EvidenceCluster(
        name, predicted, numbers, photos, len(photos), more.pop("heat", 0.3), **more
    )


def share(value: float, n: int = 50) -> Estimate:
    """Return a share with ends 0.1 to both sides."""
    return Estimate(value, max(0.0, value - 0.1), min(1.0, value + 0.1), n, 0, n)


def audit_of(rows: AuditRows, **parts: Any) -> Audit:
    """Return an audit of rows, in which nothing was found unless it is given."""
    known = ~np.isnan(rows.right)
    right = float(rows.right[known].mean()) if known.any() else nan
    names = sorted(set(rows.predicted) - {""})
    whole: dict[str, Any] = {
        "total": len(rows),
        "classes": tuple(class_of(rows, name) for name in names),
        "evidence": (),
        "marks": (),
        "findings": (),
        "cases": (),
        "groups": (),
        "accuracy": share(right, int(known.sum())) if known.any() else None,
        "sources": len(rows),
        "statuses": {"ok": int(rows.ok.sum())},
        "warnings": (),
        "unseen": ("A cue without a place, such as a dark background.",),
        "seed": 0,
        "run": {"network": "resnet50", "method": "gradcam", "layer": "layer4"},
    }
    return Audit(rows=rows, **(whole | parts))


def class_of(rows: AuditRows, name: str, *, tested: bool = True, reason: str = "") -> ClassSummary:
    """Return the summary of a class."""
    members = rows.predicted == name
    known = members & ~np.isnan(rows.right)
    wrong = int((rows.right[known] == 0).sum()) if known.any() else None
    right = share(float(rows.right[known].mean())) if known.any() else None
    heat = rows.maps[members].mean(0, dtype=np.float64)
    cells = tuple(tuple(row) for row in heat.tolist())
    count = int(members.sum())
    return ClassSummary(name, count, count, wrong, right, tested, reason, cells)


def gone(photo: str, _preprocess: Preprocess) -> Photo:
    """Decode no photo: all of them are gone."""
    raise PhotoError(f"Cannot read {photo!r}: it is not there.")


def plain_colour(photo: str, _preprocess: Preprocess) -> Photo:
    """Decode a photo of one colour, which depends on its name."""
    colour = tuple(np.random.default_rng(list(photo.encode())).integers(60, 200, 3).tolist())
    return Image.new("RGB", (224, 224), colour)


def views(load: Callable[[str, Preprocess], Photo] = plain_colour) -> PhotoViews:
    """Return views of the whole photos."""
    return PhotoViews(WHOLE, load)


def cap_audit(count: int = 24, name: Callable[[int], str] = "people/{:04d}.jpg".format) -> Audit:
    """Return the audit of a network that says doctor where a cap is blue, with one finding.

    The caps are hot at the top, the tools below; each map has a peak on both.
    """
    random = np.random.default_rng(5)
    kinds, caps = np.arange(count) % 2, (np.arange(count) // 2) % 2
    maps, spots = np.zeros((count, GRID, GRID)), []
    down, across = np.mgrid[:GRID, :GRID]
    for number in range(count):
        places = [(2 + random.integers(2), 6 + random.integers(3)), (9, 9 + random.integers(3))]
        for height, (y, x) in zip((1.0, 0.6), places, strict=True):
            spot = height * np.exp(-((down - y) ** 2 + (across - x) ** 2) / 4)
            maps[number] = np.maximum(maps[number], spot)
            spots.append((number, y, x, height))
    photo, row, column, heat = map(np.array, zip(*spots, strict=True))
    names = np.array(["doctor", "nurse"], dtype=object)
    peaks = Peaks(photo, row, column, heat, np.zeros((len(photo), 2)))
    right = (kinds == caps).astype(float)
    rows = audit_rows(
        count,
        maps,
        photo=[name(number) for number in range(count)],
        label=names[kinds],
        predicted=names[caps],
        explained=names[caps],
        probability=random.uniform(0.6, 1, count),
        right=right,
        energy_inside=random.uniform(0, 1, count),
        object_share=[0.2] * count,
        layer=["layer4"] * count,
        method=["gradcam"] * count,
        peaks=peaks,
    )
    found = []
    for place, predicted in enumerate(("doctor", "nurse")):
        members = np.flatnonzero(rows.predicted == predicted)
        cap = evidence(
            f"{predicted} 1", predicted, (2 * members).tolist(), rows,
            heat=0.58, right_with=share(0.42), right_without=share(0.89), excess=0.115, p=0.004,
            place=1.2, border=0.4, centre=(0.2, 0.5),
        )  # fmt: skip
        tool = evidence(
            f"{predicted} 2", predicted, (2 * members + 1).tolist(), rows,
            heat=0.31, right_with=share(0.9), right_without=share(0.5), excess=-0.08, p=0.9,
            place=0.3, border=-0.4, centre=(0.65, 0.7),
        )  # fmt: skip
        found += [cap, tool] if place == 0 else [replace(cap, alike=("nurse 2",)), tool]
    removal = Removal(24, 24, 0.1, 0.6, 0.23, -0.02, 0.12, 0.33)
    finding = Finding(
        "wrong",
        "doctor 1",
        "42% [32, 52] of the answers with it are right, 89% without.",
        "Add nurses with blue caps.",
        0.115,
        evidence=found[0],
        removal=removal,
        relabel=np.array([1]),
    )
    return audit_of(rows, evidence=tuple(found), findings=(finding,))


def with_marks(audit: Audit) -> Audit:
    """Return an audit with a mark, cases and groups beside what it has."""
    rows = audit.rows
    pixels = np.zeros((80, 80), np.bool_)
    pixels[4:12, 60:76] = True
    mark = Mark("nurse", pixels, (0.75, 0.05, 0.95, 0.15), 11.2, 0.01, 1.31, 60)
    finding = Finding(
        "mark",
        "a mark at the top right of nurse",
        "The pixels of nurse differ there (p 0.01), and its maps are 1.31 times as hot there.",
        "Crop the photos, or paint the mark over.",
        0.0,
        mark=mark,
    )
    relations = ("aligned", "within", "around", "apart")
    cases = tuple(
        Case(bool(right), relation, tuple(numbers[place::4]))  # type: ignore[arg-type]
        for right in (1, 0)
        for numbers in (np.flatnonzero(rows.right == right).tolist(),)
        for place, relation in enumerate(relations)
    )
    groups = (
        GroupSummary("ward A", 12, share(0.8), share(0.6), Estimate(0.12, -0.03, 0.27, 12)),
        GroupSummary("ward B", 12, share(0.6), share(0.4), Estimate(-0.2, -0.31, -0.09, 12)),
    )
    return replace(
        audit,
        marks=(mark,),
        findings=(*audit.findings, finding),
        cases=cases,
        groups=groups,
        warnings=("Photos are related: 24 photos are of 10 sources.",),
    )


def write_photos(rows: AuditRows, folder: Path) -> AuditRows:
    """Write photos of one colour in a folder, and return the rows with their paths."""
    paths = [folder / Path(str(photo)).name for photo in rows.photo]
    for path, photo in zip(paths, rows.photo, strict=True):
        plain_colour(str(photo), WHOLE).save(path)  # type: ignore[union-attr]
    return replace(rows, photo=np.array(list(map(str, paths)), dtype=object))
