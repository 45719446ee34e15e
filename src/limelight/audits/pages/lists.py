"""Lists of photos: for a spreadsheet, for scripts, and for a labelling tool."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from limelight.audits.results import Audit
from limelight.audits.rows.columns import AuditRows
from limelight.audits.verdict import photos_of
from limelight.files import make_folder, remove_file, write_whole
from limelight.photos.memory import PhotoSize
from limelight.photos.preprocess import Preprocess
from limelight.plain import as_json
from limelight.tables import TableFile

#: The folder of the lists, in the folder of the audit.
LISTS = "lists"

#: The columns of `photos.csv`. They are part of the files: docs/audit.md has what each holds.
PHOTO_COLUMNS: dict[str, type] = {
    "photo": str,
    "digest": str,
    "width": int,
    "height": int,
    "group": str,
    "label": str,
    "predicted": str,
    "probability": float,
    "right": int,
    "explained": str,
    "score": float,
    "status": str,
    "message": str,
    "layer": str,
    "method": str,
    "energy_inside": float,
    "pointing_hit": float,
    "mass_accuracy": float,
    "object_share": float,
    "iou": float,
    "object_coverage": float,
    "saliency_coverage": float,
    "evidence": str,
    "case": str,
    "error": str,
}

#: The columns of `errors.csv`.
_ERROR_COLUMNS: dict[str, type] = {"photo": str, "status": str, "message": str, "error": str}

#: The names by which a project of Label Studio knows the box, the classes and the picture.
_HEAT, _GIVEN, _PREDICTED, _IMAGE = "heat", "label", "predicted", "image"

#: Hot are the cells with at least half of the highest heat.
_HOT = 0.5


def write_lists(audit: Audit, folder: Path, preprocess: Preprocess | None = None) -> list[Path]:
    """Write the lists of an audit into the folder `lists` of its folder, each whole or not at all.

    `photos.csv` has all photos with their evidence, `errors.csv` those without a map that can be
    read, `wrong.txt` the paths of wrong answers, `finding-1.txt` and so on those of each finding,
    `label-studio.json` the photos to look at again, as tasks of Label Studio with the hot box and
    both classes, and `label-studio.xml` the configuration of its project.

    Args:
        audit: The audit.
        folder: The folder of the audit.
        preprocess: How the photos became the network's input, to place the hot box on the whole
            photo; None to leave the boxes out.

    Returns:
        The files.

    Raises:
        OutputError: They cannot be written there.
    """
    folder = make_folder(folder / LISTS)
    rows = audit.rows
    evidence, cases = evidence_names(audit), case_names(audit)
    written = [
        TableFile(folder / "photos.csv", PHOTO_COLUMNS, _photo_rows(rows, evidence, cases)).write(),
        TableFile(folder / "errors.csv", _ERROR_COLUMNS, _error_rows(rows)).write(),
        _write_paths(folder / "wrong.txt", rows.photo[rows.wrong]),
    ]
    for number, finding in enumerate(audit.findings, 1):
        paths = rows.photo[photos_of(audit, finding)]
        written.append(_write_paths(folder / finding_list(number), paths))
    _remove_earlier(folder, len(audit.findings))
    chosen = _to_look_at(audit)
    tasks = [_task(audit, number, evidence[number], preprocess) for number in chosen]
    classes = sorted({str(name) for name in (*rows.label, *rows.predicted)} - {""})
    kinds = [*sorted({name for number in chosen for name in evidence[number]}), _HEAT]
    written.append(write_whole(folder / "label-studio.json", as_json(tasks).encode()))
    written.append(write_whole(folder / "label-studio.xml", _project(classes, kinds).encode()))
    return written


def finding_list(number: int) -> str:
    """Return the name of the list of a finding; the first has the number 1."""
    return f"finding-{number}.txt"


def _remove_earlier(folder: Path, findings: int) -> None:
    """Remove lists that an earlier audit with more findings left."""
    kept = {finding_list(number) for number in range(1, findings + 1)}
    for path in folder.glob("finding-*.txt"):
        if path.stem.removeprefix("finding-").isdigit() and path.name not in kept:
            remove_file(path)


def evidence_names(audit: Audit) -> list[list[str]]:
    """Return the names of the evidence that each photo has, `[N]`."""
    names: list[list[str]] = [[] for _ in range(len(audit.rows))]
    for each in audit.evidence:
        for number in each.photos.tolist():
            names[number].append(each.name)
    return names


def case_names(audit: Audit) -> list[str]:
    """Return which of the eight cases each photo is, `[N]`, as in `wrong, apart`; "" if unknown."""
    names = [""] * len(audit.rows)
    for case in audit.cases:
        for number in case.photos:
            names[number] = f"{'right' if case.right else 'wrong'}, {case.relation}"
    return names


def _photo_rows(
    rows: AuditRows, evidence: Sequence[Sequence[str]], cases: Sequence[str]
) -> list[Mapping[str, Any]]:
    columns = {
        name: [_plain(value, kind) for value in getattr(rows, name).tolist()]
        for name, kind in PHOTO_COLUMNS.items()
        if name not in ("evidence", "case")
    }
    columns["evidence"] = ["; ".join(names) for names in evidence]
    columns["case"] = list(cases)
    return [
        {name: values[number] for name, values in columns.items()} for number in range(len(rows))
    ]


def _plain(value: Any, kind: type) -> Any:
    """Return a value as the table holds it: NaN is missing."""
    if isinstance(value, float) and isnan(value):
        return None
    return kind(value)


def _error_rows(rows: AuditRows) -> list[Mapping[str, Any]]:
    return [
        {name: str(getattr(rows, name)[number]) for name in _ERROR_COLUMNS}
        for number in np.flatnonzero(~rows.ok).tolist()
    ]


def _write_paths(path: Path, photos: Iterable[str]) -> Path:
    r"""Write paths, one a line; a line end within a name becomes `\n` or `\r`."""
    names = (str(each).replace("\n", r"\n").replace("\r", r"\r") for each in photos)
    return write_whole(
        path, "".join(f"{name}\n" for name in names).encode(errors="backslashreplace")
    )


def _to_look_at(audit: Audit) -> list[int]:
    """Return the photos that people should look at again, each once.

    They are those that may have a wrong label, the wrong answers of findings, other wrong answers,
    and where no labels are known, the photos of findings.
    """
    rows, wrong = audit.rows, audit.rows.wrong
    chosen: dict[int, None] = {}
    for finding in audit.findings:
        chosen.update(dict.fromkeys(finding.relabel.tolist()))
    for finding in audit.findings:
        numbers = photos_of(audit, finding)
        chosen.update((each, None) for each in numbers if wrong[each] or np.isnan(rows.right[each]))
    chosen.update(dict.fromkeys(np.flatnonzero(wrong).tolist()))
    return list(chosen)


def _task(
    audit: Audit, number: int, evidence: Sequence[str], preprocess: Preprocess | None
) -> dict[str, Any]:
    """Return a photo as a task of Label Studio, with what the network said as its prediction."""
    rows = audit.rows
    photo, probability = str(rows.photo[number]), float(rows.probability[number])
    parts = [
        _choice(name, str(value))
        for name, value in ((_GIVEN, rows.label[number]), (_PREDICTED, rows.predicted[number]))
        if value
    ]
    box = None if preprocess is None else hot_box(rows, number, preprocess)
    if box is not None:
        parts.append(_rectangle(box, rows, number, evidence[0] if evidence else _HEAT))
    return {
        "data": {
            _IMAGE: _address(photo),
            "path": photo,
            "label": str(rows.label[number]),
            "predicted": str(rows.predicted[number]),
            "evidence": list(evidence),
        },
        "predictions": [
            {"model_version": "limelight", "score": probability, "result": parts},
        ],
    }


def _choice(name: str, value: str) -> dict[str, Any]:
    return {
        "id": name,
        "from_name": name,
        "to_name": _IMAGE,
        "type": "choices",
        "value": {"choices": [value]},
    }


def _rectangle(
    box: tuple[float, float, float, float], rows: AuditRows, number: int, name: str
) -> dict[str, Any]:
    left, top, right, bottom = (round(100 * side, 3) for side in box)
    return {
        "id": _HEAT,
        "from_name": _HEAT,
        "to_name": _IMAGE,
        "type": "rectanglelabels",
        "original_width": int(rows.width[number]),
        "original_height": int(rows.height[number]),
        "image_rotation": 0,
        "value": {
            "x": left,
            "y": top,
            "width": round(right - left, 3),
            "height": round(bottom - top, 3),
            "rotation": 0,
            "rectanglelabels": [name],
        },
    }


def hot_box(
    rows: AuditRows, number: int, preprocess: Preprocess
) -> tuple[float, float, float, float] | None:
    """Return left, top, right and bottom of the hot cells, as shares of the whole photo.

    None where there is no map, or where the size of the photo is not known.
    """
    hot = rows.maps[number] >= _HOT
    width, height = int(rows.width[number]), int(rows.height[number])
    if not hot.any() or rows.status[number] != "ok" or min(width, height) < 1:
        return None
    down, across = (np.flatnonzero(hot.any(axis)) for axis in (1, 0))
    left, top, right, bottom = preprocess.crop_box(PhotoSize(width, height))

    def inside(cell: float, cells: int, start: float, end: float, whole: int) -> float:
        return min(max((start + cell / cells * (end - start)) / whole, 0.0), 1.0)

    cells_down, cells_across = hot.shape
    return (
        inside(across[0], cells_across, left, right, width),
        inside(down[0], cells_down, top, bottom, height),
        inside(across[-1] + 1, cells_across, left, right, width),
        inside(down[-1] + 1, cells_down, top, bottom, height),
    )


def _address(photo: str) -> str:
    """Return where Label Studio finds a photo: a URL, or a file below the root that it serves."""
    if "://" in photo:
        return photo
    return f"/data/local-files/?d={quote(photo.lstrip('/'), errors='backslashreplace')}"


def _project(classes: Sequence[str], kinds: Sequence[str]) -> str:
    """Return the configuration of a project of Label Studio that opens the tasks."""
    choices = "".join(f"    <Choice value={quoteattr(each)}/>\n" for each in classes)
    labels = "".join(f"    <Label value={quoteattr(each)}/>\n" for each in kinds)
    return f"""<!-- LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true
     LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=/ (or the working folder, where paths are relative) -->
<View>
  <Image name="{_IMAGE}" value="${_IMAGE}"/>
  <RectangleLabels name="{_HEAT}" toName="{_IMAGE}">
{labels}  </RectangleLabels>
  <Header value="True class"/>
  <Choices name="{_GIVEN}" toName="{_IMAGE}" choice="single">
{choices}  </Choices>
  <Header value="What the network said"/>
  <Choices name="{_PREDICTED}" toName="{_IMAGE}" choice="single">
{choices}  </Choices>
</View>
"""
