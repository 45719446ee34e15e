"""A file with the measurement of each photo, so that an interrupted run can be resumed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limelight.errors import OutputError
from limelight.files import write_whole
from limelight.metrics.annotation_files import Annotations
from limelight.metrics.measurement import Measurement
from limelight.metrics.photo_measurement import MeasureSpec, PhotoMeasured
from limelight.plain import as_json

#: How many measurements are kept before they are joined.
_MOST_SEPARATE = 256


class Journal:
    """A file with a line for each photo, which is written as soon as the photo is measured.

    Opened again with the same question, it knows which photos are done: those whose file and whose
    annotations are what they were. A photo whose line was cut short, as the run was killed, is
    measured again.

    Attributes:
        done: The photos that were measured.
    """

    def __init__(
        self, path: Path, question: Mapping[str, Any], photos: Sequence[Path], spec: MeasureSpec
    ) -> None:
        """Read the file, if there is one; it is written when there is something to keep.

        Args:
            path: The file.
            question: What is measured of every photo, and how; see `MeasureSpec.question`.
            photos: The photos to measure.
            spec: What is measured.

        Raises:
            OutputError: It answers another question, or cannot be read or written.
        """
        self.path = path
        self._first_line = as_json({"measured": question}, sort_keys=True)
        self._states = {str(photo): _state(photo, spec.annotations) for photo in photos}
        measurements = dict[str, Measurement]()
        try:
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        except UnicodeDecodeError as error:
            raise _not_a_journal(path) from error
        except OSError as error:
            raise OutputError(f"Cannot write {str(path)!r}: {error.strerror or error}.") from error
        kept = [self._first_line]
        if len(lines) == 1 and self._first_line.startswith(lines[0]):
            lines = lines[:0]  # killed before the first photo was written
            path.unlink()
        if lines:
            _refuse_other(path, lines[0], question)
        for line in lines[1:]:
            try:
                entry = json.loads(line)
                photo, measurement = entry["photo"], Measurement.from_dict(entry)
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # cut short when a run was killed
            kept.append(line)
            if self._states.get(photo) == entry.get("state"):
                measurements[photo] = measurement
        self.done = set(measurements)
        self._measurements = list(measurements.values())
        if lines:
            write_whole(path, ("\n".join(kept) + "\n").encode())

    def keep(self, result: PhotoMeasured) -> None:
        """Write the measurement of a photo.

        Raises:
            OutputError: The file cannot be written.
        """
        name = str(result.path)
        entry = {"photo": name, "state": self._states[name], **result.measurement.as_dict()}
        line = as_json(entry)
        lines = [line] if self.path.exists() else [self._first_line, line]
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(
                f"Cannot write {str(self.path)!r}: {error.strerror or error}. What was measured "
                "before is kept; free some space, and the same request goes on from there."
            ) from error
        self.done.add(name)
        self._measurements.append(result.measurement)
        if len(self._measurements) > _MOST_SEPARATE:  # many small tensors take more room
            self._measurements = [self.total]

    @property
    def total(self) -> Measurement:
        """The measurements of all photos in question, joined."""
        return Measurement.total(self._measurements)


def _state(photo: Path, annotations: Annotations | None) -> str:
    """Return text that changes when the photo or its annotations change."""
    try:
        size = photo.stat().st_size
    except OSError:
        size = 0
    return f"{size} {'' if annotations is None else annotations.fingerprint(photo)}".strip()


def _refuse_other(path: Path, first_line: str, question: Mapping[str, Any]) -> None:
    """Refuse to go on with a journal of another question.

    Raises:
        OutputError: The journal answers another question, or the file is no journal.
    """
    try:
        before = dict(json.loads(first_line)["measured"])
    except (ValueError, KeyError, TypeError) as error:
        raise _not_a_journal(path) from error
    now = json.loads(as_json(question))
    differing = [name for name in now if before.get(name) != now[name]]
    if differing:
        changes = [f"{name} was {before.get(name)!r} and is {now[name]!r}" for name in differing]
        summary = "; ".join(
            change if len(change) < 120 else f"{change[:80]} ..." for change in changes
        )
        raise OutputError(
            f"{str(path)!r} keeps what was measured with other settings: {summary}. Delete it, or "
            "pass another folder."
        )


def _not_a_journal(path: Path) -> OutputError:
    return OutputError(
        f"{str(path)!r} is not what `limelight measure` writes. Pass another folder."
    )
