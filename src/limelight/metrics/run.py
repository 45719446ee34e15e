"""Measure maps of a network's images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from limelight.application import follow
from limelight.errors import InputError, LimelightError, MetricError
from limelight.evidence import Evidence, at_least_float32
from limelight.explanation import Explanation
from limelight.inputs import ModelInputs
from limelight.methods import METHODS
from limelight.metrics import METRICS
from limelight.metrics.case import Again, MapCase, Maps, PerturbedModel
from limelight.metrics.measurement import Measurement
from limelight.metrics.metric import Metric, Readings
from limelight.metrics.objects import Objects, Where
from limelight.metrics.readings import Key, Sample, Unmeasured, Whose
from limelight.metrics.robustness import Stage, likeness, randomised
from limelight.models.network import Images, Model, read_subject
from limelight.options import Options
from limelight.progress import ProgressCallback
from limelight.recipe import Recipe
from limelight.registry import find_entries, means_all
from limelight.status import Status, map_status, to_heatmap
from limelight.targets import LogitsKey, ScoreTarget, Target, as_target

#: What is measured when nobody says: quick, and with objects where they are known.
QUICK, QUICK_OBJECTS = ("insertion", "deletion", "road"), ("energy-pointing", "pointing-game")


#: What heatmaps are called whose method is not known.
_OWN = "heatmaps"


CONTROLS: tuple[Whose, ...] = ("random", "centre")


def measure(
    model: Model,
    inputs: Images,
    maps: Explanation | Tensor | Iterable[Explanation],
    *,
    metrics: str | Sequence[str | Metric] | None = None,
    objects: Where | Objects | None = None,
    groups: Sequence[str] | None = None,
    target: Target = None,
    classes: Sequence[str] | None = None,
    output: LogitsKey | None = None,
    grid: Sequence[int] | None = None,
    chunk: int | None = None,
    compile: bool = False,
    progress: ProgressCallback | None = None,
) -> Measurement:
    """Say how far maps can be trusted, against maps that know nothing.

        result = limelight.explain(model, images)
        measured = limelight.measure(model, images, result, metrics=["deletion", "insertion"])
        measured.figure("gradcam", "insertion").own       # 0.61 [0.55, 0.67]
        measured.figure("gradcam", "insertion").random    # the same of random maps
        measured.verdict().sentence

    Every figure is a mean over images with n, its 95 % bootstrap interval, and the same figure of
    a `random` map and of a blob in the `centre`, on the grid of the method's own map. Measurements
    add up, over batches and shards.

    Args:
        model: The network that was explained.
        inputs: What it was given.
        maps: What `explain` returned for these inputs; several of those, or what `compare`
            returned; or heatmaps of your own, `[B, *image]`, of which the positive part is scaled
            to [0, 1], as `explain` does.
        metrics: Names in METRICS, with options if any as in "deletion:steps=50", or rows of it;
            "all" for all that can be had; None for insertion, deletion and road, with
            energy-pointing and pointing-game where objects are given.
        objects: Where the objects are: masks `[B, *image]`, or for each image boxes `[n, 4]`, x1,
            y1, x2, y2 in its pixels.
        groups: The class of each image, for metrics that are a mean over classes; None for what is
            explained.
        target: What heatmaps of your own explain, as in `explain`; explanations know it.
        classes, output, grid: As in `explain`, for heatmaps of your own.
        chunk: How many changed images are run together; None takes 8 on a CPU, 32 elsewhere.
        compile: Run the changed images through the network as `torch.compile` makes it, which pays
            for thousands of them; as in `explain`.
        progress: Is told what is measured, how many runs are done, and of how many.

    Raises:
        MetricError: A metric cannot be had: there are no objects, or how the maps were made is not
            known; or nothing could be measured.
        InputError: The maps are not of these inputs, or the objects do not fit them.
        UnknownNameError, OptionError: As `find_metric`.
    """
    subject = read_subject(model, inputs, classes)
    options = Options.read(
        classes=subject.classes,
        output=output,
        grid=grid,
        chunk=chunk,
        compile=compile,
        progress=progress,
    )
    total = measure_all(
        subject.model,
        subject.inputs,
        maps,
        options,
        metrics=metrics,
        objects=objects,
        groups=groups,
        target=target,
    )
    if not total.samples:
        reasons = "\n".join(f"  {one.metric}: {one.reason}" for one in total.unmeasured)
        raise MetricError(f"None of the metrics can be had:\n{reasons}")
    return total


def measure_all(
    model: nn.Module,
    inputs: ModelInputs,
    maps: Explanation | Tensor | Iterable[Explanation],
    options: Options,
    *,
    metrics: str | Sequence[str | Metric] | None,
    objects: Where | Objects | None = None,
    groups: Sequence[str] | None = None,
    target: Target = None,
) -> Measurement:
    """Do what `measure` does; where no metric can be had, say so in the measurement."""
    each: list[Explanation | Tensor]
    each = [maps] if isinstance(maps, Explanation | Tensor) else list(maps)
    if not each:
        raise InputError("There are no maps to measure; pass at least one explanation.")
    rows, marked = check_metrics(inputs.image, metrics, objects)
    subjects = [_subject(one, inputs, as_target(target), options) for one in each]
    own = [one for one in subjects if one.method == _OWN]
    if len(own) > 1:
        subjects = [
            replace(one, method=f"{_OWN} {own.index(one) + 1}") if one in own else one
            for one in subjects
        ]
    known = any(one.recipe is not None for one in subjects)
    if metrics == "all" and not known:
        rows = [row for row in rows if "recipe" not in row.needs]
    unmade = [row.name for row in rows if "recipe" in row.needs]
    if unmade and not known:
        raise MetricError(
            f"{unmade[0]!r} makes the maps again, on changed images or weights, and how these were "
            "made is not known. Pass what limelight.explain returned rather than a heatmap."
        )
    probes, total = dict[object, PerturbedModel](), Measurement()
    for subject in subjects:
        probe = subject.probe(probes, model, inputs)
        named = tuple(groups or subject.label or probe.scores.labels)
        if len(named) != inputs.batch:
            raise InputError(
                f"There are {len(named)} groups for {inputs.batch} images; the class of each image "
                "was expected, or None for what is explained."
            )
        total = total + _measured(subject, probe, rows, marked, named)
    return total


def check_metrics(
    images: Tensor,
    metrics: str | Sequence[str | Metric] | None,
    objects: Where | Objects | None,
) -> tuple[list[Metric], Objects | None]:
    """Return the metrics meant and the objects, refusing before any work what cannot be.

    Raises:
        MetricError, InputError, UnknownNameError, OptionError: As `measure`.
    """
    rows = chosen_metrics(metrics, with_objects=objects is not None)
    needing = [row.name for row in rows if "objects" in row.needs]
    if needing and objects is None:
        raise MetricError(
            f"{needing[0]!r} needs to be told where the objects are: objects=masks [B, *image], or "
            "a list with the boxes [n, 4] of each image."
        )
    return rows, None if objects is None else Objects.of(objects, images)


def chosen_metrics(
    metrics: str | Sequence[str | Metric] | None, *, with_objects: bool
) -> list[Metric]:
    """Return the rows meant, each once: all of METRICS that can be had for "all".

    Names may stand in one text, with spaces or commas between them.

    Raises:
        UnknownNameError, OptionError: As `find_metric`.
        MetricError: There are none.
    """
    if means_all(metrics):
        return [row for row in METRICS.values() if with_objects or "objects" not in row.needs]
    if metrics is None:
        metrics = QUICK + (QUICK_OBJECTS if with_objects else ())
    rows = find_entries(METRICS, "metric", metrics)
    if not rows:
        raise MetricError("There are no metrics to measure by; name at least one, or 'all'.")
    return rows


@dataclass(frozen=True, eq=False)
class _Subject:
    """Maps to measure, and what they are of."""

    method: str
    layer: str
    maps: Maps
    status: tuple[Status, ...]
    target: ScoreTarget
    options: Options
    label: tuple[str, ...] | None = None
    again: Again | None = None
    recipe: Recipe | None = None

    @property
    def counts(self) -> dict[tuple[str, str], dict[str, int]]:
        """How often each status occurs."""
        names = Counter[str](status.name for status in self.status)
        return {(self.method, self.layer): dict(names)}

    def probe(
        self,
        known: dict[object, PerturbedModel],
        model: nn.Module,
        inputs: ModelInputs,
    ) -> PerturbedModel:
        """Return the probe of the score that the maps are of; the same for maps of the same score.

        Raises:
            InputError: The maps are of another score than the target gives.
        """
        spec = self.options.spec
        key = spec.key if isinstance(spec.key, str | int | None) else id(spec.key)
        same = id(self.target), self.label, key, spec.grid
        if same not in known:
            known[same] = PerturbedModel(model, inputs, self.target, self.options)
        found = known[same]
        if self.label is not None and self.label != found.scores.labels:
            raise InputError(
                f"The explanation is of {list(self.label)}, and this model and these inputs give "
                f"{list(found.scores.labels)}. Pass the model and the inputs that were explained; "
                "of an explanation fused twice, pass the target too."
            )
        return found


def _subject(
    one: Explanation | Tensor, inputs: ModelInputs, target: ScoreTarget, options: Options
) -> _Subject:
    """Read what is to be measured.

    Raises:
        InputError: The maps are not of these images.
    """
    image = inputs.image
    if isinstance(one, Explanation):
        if one.image.shape != image.shape:
            raise InputError(
                f"The explanation is of images {list(one.image.shape)}, and the images are "
                f"{list(image.shape)}. Pass what was explained."
            )
        recipe = one.recipe
        if recipe is not None:
            target, spec = recipe.parts[0].target, recipe.parts[0].options.spec
            options = replace(options, spec=spec)
        maps = Maps(one.raw.detach(), one.heatmap.detach(), one.span)
        again = None if recipe is None else _follow(recipe)
        return _Subject(
            one.method, one.layer, maps, one.status, target, options, one.label, again, recipe
        )
    if tuple(one.shape) != (len(image), *image.shape[2:]):
        raise InputError(
            f"The heatmaps have shape {list(one.shape)}; [B, *image] = "
            f"{[len(image), *image.shape[2:]]} was expected, one for each image and at its size."
        )
    heatmaps = one.detach().to(image.device)
    heatmaps = heatmaps if heatmaps.is_floating_point() else heatmaps.float()
    if not bool(heatmaps.isfinite().all()):
        raise InputError("The heatmaps hold NaN or infinity; finite numbers were expected.")
    score = heatmaps.new_zeros(len(image))
    status = map_status(heatmaps, score, [], method=_OWN, layer="", why=lambda: "")
    maps = Maps(heatmaps, to_heatmap(heatmaps, image.shape[2:], status))
    return _Subject(_OWN, "", maps, status, target, options)


def _follow(recipe: Recipe) -> Again:
    def again(probe: PerturbedModel, given: ModelInputs, model: nn.Module | None = None) -> Maps:
        found = follow(recipe, model or probe.model, given, probe.read())
        return Maps(found.raw, found.heatmap, found.span)

    return again


def _measured(
    subject: _Subject,
    probe: PerturbedModel,
    rows: Sequence[Metric],
    objects: Objects | None,
    groups: Sequence[str],
) -> Measurement:
    """Measure one method's maps, and the controls on the same grid."""
    own = MapCase(subject.maps, probe, subject.again, objects)
    samples, unmeasured = dict[Key, Sample](), list[Unmeasured]()
    for row in rows:
        probe.begin(f"{row.name} of {subject.method}")
        try:
            readings: dict[Whose, Readings] = {"own": row.update(own)}
        except LimelightError as error:
            unmeasured.append(Unmeasured(subject.method, str(row), str(error)))
            continue
        readings |= _of_controls(row, own)
        samples[Key(subject.method, subject.layer, str(row))] = Sample.of(
            row, readings, groups, probe.names
        )
    return Measurement(samples, subject.counts, tuple(unmeasured))


def measure_randomised(
    model: nn.Module,
    inputs: ModelInputs,
    explanations: Sequence[Explanation],
    row: Metric,
    options: Options,
) -> tuple[tuple[tuple[Stage, ...], ...], Measurement]:
    """Measure by parameter randomisation, and keep the maps of its stages, for each explanation."""
    probes, kept, total = dict[object, PerturbedModel](), list[tuple[Stage, ...]](), Measurement()
    for one in explanations:
        subject = _subject(one, inputs, as_target(None), options)
        probe = subject.probe(probes, model, inputs)
        own = MapCase(subject.maps, probe, subject.again)
        probe.begin(f"randomising for {subject.method}")
        try:
            stages = tuple(randomised(own, **row.known_options))
        except LimelightError as error:
            unmeasured = (Unmeasured(subject.method, str(row), str(error)),)
            total = total + Measurement(status=subject.counts, unmeasured=unmeasured)
            kept.append(())
            continue
        readings: dict[Whose, Readings] = {"own": likeness(own.maps, [s.maps for s in stages])}
        readings |= _of_controls(row, own)
        key = Key(subject.method, subject.layer, str(row))
        total = total + Measurement(
            {key: Sample.of(row, readings, one.label, probe.names)}, subject.counts
        )
        kept.append(stages)
    return tuple(kept), total


def _of_controls(row: Metric, own: MapCase) -> dict[Whose, Readings]:
    """Measure maps that know nothing, on the grid of those that may know something."""
    grid, span, probe = tuple(own.maps.raw.shape[1:]), own.maps.span, own.probe
    found = dict[Whose, Readings]()
    for name in CONTROLS:
        # The same for all methods with this grid.
        case = probe.once(
            (name, grid, span), partial(_control, name, probe, grid, span, own.objects)
        )
        found[name] = probe.once((str(row), name, grid, span), partial(row.update, case))
    return found


def _control(
    name: str,
    probe: PerturbedModel,
    grid: tuple[int, ...],
    span: tuple[float, ...],
    objects: Objects | None,
) -> MapCase:
    """Return the case of a map that knows nothing, on the grid of one that may know something."""

    def again(probe: PerturbedModel, given: ModelInputs, model: nn.Module | None = None) -> Maps:
        del model  # it knows nothing of that either
        image = given.image
        cells = at_least_float32(image.new_zeros(len(image), 1, *grid))
        raw = METHODS[name].raw(Evidence(activations=cells, image=image, score=probe.score))
        status = (Status("ok"),) * len(image)
        return Maps(raw, to_heatmap(raw, image.shape[2:], status, span), span)

    with torch.no_grad():
        return MapCase(again(probe, probe.given), probe, again, objects)
