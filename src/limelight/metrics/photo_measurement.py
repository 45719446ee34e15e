"""Measure photo files one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from limelight.errors import LimelightError, PhotoError
from limelight.explanation import Explanation
from limelight.inputs import ModelInputs
from limelight.layers.resolved import Layer
from limelight.methods import Method
from limelight.metrics.annotation_files import Annotations, join_objects
from limelight.metrics.measurement import Measurement
from limelight.metrics.metric import Metric
from limelight.metrics.objects import Objects
from limelight.metrics.readings import Unmeasured
from limelight.metrics.run import measure
from limelight.models.network import Network
from limelight.options import Options
from limelight.photos.memory import PhotoSize
from limelight.pipeline import Skipped, explain_many
from limelight.progress import ProgressCallback
from limelight.targets import AnyOf, ClassName, ScoreTarget, Target, as_target
from limelight.targets.class_names import class_index


@dataclass(frozen=True, slots=True)
class MeasureSpec:
    """The maps and metrics to measure on every photo.

    Attributes:
        methods: The methods.
        metrics: The metrics.
        target: What is explained, unless `matches` says otherwise.
        layer: Where to cut; None to have it chosen.
        output: The part of the output that holds the logits; None to find it.
        annotations: Where the objects are; None when that is not known.
        matches: By a class of the annotations, the network's classes that go with it. Each such
            class in a photo is then explained, and its objects alone count.
        chunk: How many changed images are run together.
        compile: Whether the changed images run through the network as `torch.compile` makes it.
    """

    methods: Sequence[Method]
    metrics: Sequence[Metric]
    target: Target = None
    layer: Layer | None = None
    output: str | None = None
    annotations: Annotations | None = None
    matches: Mapping[str, Sequence[ClassName]] | None = None
    chunk: int | None = None
    compile: bool = False

    def question(
        self,
        *,
        model: str,
        weights: str,
        classes: Sequence[str] | None,
        target: str | None,
        preprocessing: Sequence[object],
    ) -> dict[str, Any]:
        """Return all that decides what is measured of a photo, as plain values.

        A journal begins with it, and goes on only if it is asked the same. So its names and values
        stay as they are, or what was measured before has to be measured again.

        Args:
            model: The name of the network.
            weights: The name of its weights.
            classes: The names of its classes, where they were given.
            target: What is explained, as it was given.
            preprocessing: Size, mean, deviation and precision of what the network is given.
        """
        annotations = self.annotations
        return {
            "model": model,
            "weights": weights,
            "methods": [str(method) for method in self.methods],
            "metrics": [str(metric) for metric in self.metrics],
            "boxes": "" if annotations is None else str(annotations.boxes or ""),
            "masks": "" if annotations is None else str(annotations.masks or ""),
            "mask value": None if annotations is None else annotations.mask_value,
            "names": None if annotations is None else annotations.names,
            "match": {name: list(matching) for name, matching in (self.matches or {}).items()},
            "classes": classes,
            "target": target,
            "layer": self.layer,
            "input": list(preprocessing),
            **({} if self.output is None else {"output": self.output}),
        }


@dataclass(frozen=True, slots=True)
class PhotoMeasured:
    """The measurement of one photo, or the reason why there is none.

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
    spec: MeasureSpec,
    *,
    progress: ProgressCallback | None = None,
) -> Iterator[PhotoMeasured]:
    """Explain and measure photo files, one at a time.

    A photo that cannot be read, or on which nothing is marked, yields a result with the reason, and
    the others go on. Any other error concerns all photos and is raised at once.
    """
    if spec.matches and network.classes is not None:
        for class_names in spec.matches.values():  # an unknown name is refused before any work
            for name in class_names:
                class_index(name, len(network.classes), network.classes)
    for path in map(Path, paths):
        try:
            yield PhotoMeasured(path, _measure_photo(network, path, spec, progress))
        except PhotoError as error:
            yield PhotoMeasured(path, Measurement(), error)


def _measure_photo(
    network: Network, path: Path, spec: MeasureSpec, progress: ProgressCallback | None
) -> Measurement:
    """Explain a photo from one pass, and measure what explains each target.

    Raises:
        PhotoError: It cannot be read, or nothing is marked on it.
    """
    photo = network.load_photo(path)
    images, size = network.images(photo), PhotoSize.of(photo)
    del photo  # it may be large
    marked_targets = _marked_targets(network, path, size, spec)
    options = Options.read(
        classes=network.classes,
        output=spec.output,
        chunk=spec.chunk,
        compile=spec.compile,
        progress=progress,
    )
    results = list(
        explain_many(
            network.model,
            ModelInputs.of(images),
            methods=spec.methods,
            targets=[marked.target for marked in marked_targets],
            layers=[spec.layer],
            options=options,
        )
    )
    total = Measurement(
        unmeasured=tuple(
            Unmeasured(result.method, "", result.reason)
            for result in results
            if isinstance(result, Skipped)
        )
    )
    by_target = _by_target(results, len(marked_targets))
    for marked, explanations in zip(marked_targets, by_target, strict=True):
        if explanations:
            total = total + measure(
                network.model,
                images,
                explanations,
                metrics=spec.metrics,
                objects=marked.objects,
                groups=[marked.label] if marked.label else None,
                chunk=spec.chunk,
                compile=spec.compile,
                progress=progress,
            )
    return total


class _MarkedTarget(NamedTuple):
    """A target to explain in a photo, with the objects that belong to it and their class."""

    target: ScoreTarget
    objects: Objects | None = None
    label: str = ""


def _marked_targets(
    network: Network, path: Path, size: PhotoSize, spec: MeasureSpec
) -> list[_MarkedTarget]:
    """Return the targets to explain on a photo.

    Raises:
        PhotoError: Nothing is marked on it that the network sees.
    """
    target = as_target(spec.target)
    if spec.annotations is None:
        return [_MarkedTarget(target)]
    by_class = spec.annotations.objects(path, size, network.preprocess)
    if spec.matches is None:
        marked = [_MarkedTarget(target, join_objects(by_class))] if by_class else []
    else:
        marked = [
            _MarkedTarget(AnyOf(spec.matches[label]), objects, label)
            for label, objects in by_class.items()
            if label in spec.matches
        ]
    if not marked:
        raise PhotoError(
            f"Nothing is marked on {str(path)!r}, in the part that the network sees"
            + ("." if spec.matches is None else ", of the classes that are matched.")
        )
    return marked


def _by_target(results: Sequence[Explanation | Skipped], count: int) -> list[list[Explanation]]:
    """Return the explanations of each target, from what `explain_many` yielded at one layer.

    It yields a result for each target, method by method; a method that is skipped ends early.
    """
    by_target = [list[Explanation]() for _ in range(count)]
    for _, of_method in groupby(results, key=lambda result: result.method):
        for explanations, result in zip(by_target, of_method, strict=False):
            if isinstance(result, Explanation):
                explanations.append(result)
    return by_target
