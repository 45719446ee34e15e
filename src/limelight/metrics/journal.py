"""Measure many photo files: one after the other, so that a run can be broken off and taken up."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limelight.errors import LimelightError, OutputError, PhotoError
from limelight.explanation import Explanation
from limelight.files import write_whole
from limelight.inputs import ModelInputs
from limelight.layers.resolved import Layer
from limelight.methods import Method
from limelight.metrics.annotations import Annotations, joined
from limelight.metrics.measurement import Measurement
from limelight.metrics.metric import Metric
from limelight.metrics.objects import Objects
from limelight.metrics.readings import Unmeasured
from limelight.metrics.run import measure
from limelight.models.network import Network
from limelight.options import Options
from limelight.photos.decode import load_photo
from limelight.photos.memory import PhotoSize
from limelight.pipeline import Skipped, explain_many
from limelight.plain import as_json
from limelight.progress import ProgressCallback
from limelight.targets import AnyOf, ClassName, ScoreTarget, Target, as_target
from limelight.targets.class_names import class_index

#: So many measurements are put together at a time.
_FOLDED = 256


@dataclass(frozen=True, slots=True)
class MeasureSpec:
    """What is measured of every photo.

    Attributes:
        methods: The methods.
        metrics: The metrics.
        target: What is explained, unless `matches` says otherwise.
        layer: Where to cut; None to have it chosen.
        annotations: Where the objects are; None when nobody said.
        matches: By a class of the annotations, those of the network that go with it: then each such
            class in a photo is explained, and its objects alone count.
        chunk: How many changed images are run together.
        compile: Whether the network is compiled for it.
    """

    methods: Sequence[Method]
    metrics: Sequence[Metric]
    target: Target = None
    layer: Layer | None = None
    annotations: Annotations | None = None
    matches: Mapping[str, Sequence[ClassName]] | None = None
    chunk: int | None = None
    compile: bool = False


@dataclass(frozen=True, slots=True)
class PhotoMeasured:
    """What became of one photo.

    Attributes:
        path: The file.
        measurement: What was measured; empty when nothing could be.
        error: Why nothing was, if so.
    """

    path: Path
    measurement: Measurement
    error: LimelightError | None = None


def measure_photos(
    network: Network,
    paths: Sequence[str | Path],
    asked: MeasureSpec,
    *,
    progress: ProgressCallback | None = None,
) -> Iterator[PhotoMeasured]:
    """Explain and measure photo files, one at a time.

    A photo that cannot be read, or on which nothing is marked, yields a result with the reason, and
    the others go on. Anything else that is wrong concerns all photos and is raised at once.
    """
    if asked.matches and network.classes is not None:
        for named in asked.matches.values():  # a name that is not there is told before any work
            for one in named:
                class_index(one, len(network.classes), network.classes)
    for path in map(Path, paths):
        try:
            yield PhotoMeasured(path, _of_photo(network, path, asked, progress))
        except PhotoError as error:
            yield PhotoMeasured(path, Measurement(), error)


def _of_photo(
    network: Network, path: Path, asked: MeasureSpec, progress: ProgressCallback | None
) -> Measurement:
    photo = load_photo(path)
    images, size = network.images(photo), PhotoSize.of(photo)
    del photo  # it may be large
    target = as_target(asked.target)
    cases: list[tuple[ScoreTarget, Objects | None, str]] = [(target, None, "")]
    if asked.annotations is not None:
        found = asked.annotations.objects(path, size, network.preprocess)
        if asked.matches is None:
            cases = [(target, joined(found), "")] if found else []
        else:
            known = asked.matches
            cases = [(AnyOf(known[one]), own, one) for one, own in found.items() if one in known]
        if not cases:
            raise PhotoError(
                f"Nothing is marked on {str(path)!r}, in the part that the network sees"
                + ("." if asked.matches is None else ", of the classes that are matched.")
            )
    options = Options.read(
        classes=network.classes, chunk=asked.chunk, compile=asked.compile, progress=progress
    )
    inputs = ModelInputs.of(images)
    results = explain_many(
        network.model,
        inputs,
        methods=asked.methods,
        targets=[target for target, _, _ in cases],
        layers=[asked.layer],
        options=options,
    )
    each = list(results)
    skipped = [one for one in each if isinstance(one, Skipped)]
    explanations = [one for one in each if isinstance(one, Explanation)]
    total = Measurement(unmeasured=tuple(Unmeasured(one.method, "", one.reason) for one in skipped))
    for target, objects, label in cases:
        own = [one for one in explanations if one.recipe and one.recipe.parts[0].target is target]
        if not own:
            continue
        total = total + measure(
            network.model,
            images,
            own,
            metrics=asked.metrics,
            objects=objects,
            groups=[label] if label else None,
            chunk=asked.chunk,
            compile=asked.compile,
            progress=progress,
        )
    return total


class Journal:
    """A file that keeps what was measured of each photo, a line for each, as it is done.

    Opened again with the same question, it knows what is done: photos that are still what they
    were, and marked as they were. A line that was cut short when a run was killed is measured
    again.

    Attributes:
        done: The photos that were measured.
    """

    def __init__(
        self, path: Path, question: Mapping[str, Any], photos: Sequence[Path], asked: MeasureSpec
    ) -> None:
        """Read the file, if there is one; it is written when there is something to keep.

        Args:
            path: The file.
            question: What is measured of every photo, and how.
            photos: Those that are asked for.
            asked: What is measured.

        Raises:
            OutputError: It answers another question, or cannot be read or written.
        """
        self.path = path
        self._begin = as_json({"measured": question}, sort_keys=True)
        self._states = {str(photo): _state(photo, asked.annotations) for photo in photos}
        found = dict[str, Measurement]()
        try:
            lines = path.read_text().splitlines() if path.exists() else []
        except UnicodeDecodeError as error:
            raise _foreign(path) from error
        except OSError as error:
            raise OutputError(f"Cannot write {str(path)!r}: {error.strerror or error}.") from error
        kept = [self._begin]
        if len(lines) == 1 and self._begin.startswith(lines[0]):
            lines = lines[:0]  # killed before the first photo was written
            path.unlink()
        if lines:
            _refuse_other(path, lines[0], question)
        for line in lines[1:]:
            try:
                told = json.loads(line)
                photo, measurement = told["photo"], Measurement.from_dict(told)
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # cut short when a run was killed
            kept.append(line)
            if self._states.get(photo) == told.get("state"):
                found[photo] = measurement
        self.done = set(found)
        self._found = list(found.values())
        if lines:
            write_whole(path, ("\n".join(kept) + "\n").encode())

    def keep(self, result: PhotoMeasured) -> None:
        """Write down what was measured of a photo.

        Raises:
            OutputError: The file cannot be written.
        """
        name = str(result.path)
        told = {"photo": name, "state": self._states[name], **result.measurement.as_dict()}
        line = as_json(told)
        lines = [line] if self.path.exists() else [self._begin, line]
        try:
            with self.path.open("a") as file:
                file.writelines(f"{line}\n" for line in lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(
                f"Cannot write {str(self.path)!r}: {error.strerror or error}. What was measured "
                "before is kept; free some space, and the same request goes on from there."
            ) from error
        self.done.add(name)
        self._found.append(result.measurement)
        if len(self._found) > _FOLDED:  # many small tensors take more room than few large ones
            self._found = [self.total]

    @property
    def total(self) -> Measurement:
        """All that was measured of the photos that are asked for."""
        return Measurement.total(self._found)


def _state(photo: Path, annotations: Annotations | None) -> str:
    """Return what changes when a photo does, or what is marked on it."""
    try:
        size = photo.stat().st_size
    except OSError:
        size = 0
    return f"{size} {'' if annotations is None else annotations.fingerprint(photo)}".strip()


def _refuse_other(path: Path, begin: str, question: Mapping[str, Any]) -> None:
    """Refuse to go on with a journal of another question.

    Raises:
        OutputError: It is one.
    """
    try:
        before = dict(json.loads(begin)["measured"])
    except (ValueError, KeyError, TypeError) as error:
        raise _foreign(path) from error
    now = json.loads(as_json(question))
    other = [name for name in now if before.get(name) != now[name]]
    if other:
        each = [f"{name} was {before.get(name)!r} and is {now[name]!r}" for name in other]
        told = "; ".join(one if len(one) < 120 else f"{one[:80]} ..." for one in each)
        raise OutputError(
            f"{str(path)!r} keeps what was measured with other settings: {told}. Delete it, or "
            "pass another folder."
        )


def _foreign(path: Path) -> OutputError:
    return OutputError(
        f"{str(path)!r} is not what `limelight measure` writes. Pass another folder."
    )
