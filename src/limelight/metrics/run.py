"""`measure`: by metrics, how far the maps of a batch of images can be trusted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from limelight.errors import InputError, LimelightError, MetricError
from limelight.explanation import Explanation
from limelight.inputs import ModelInputs
from limelight.metrics import METRICS
from limelight.metrics.case import MapCase, PerturbedModel
from limelight.metrics.controls import measure_controls
from limelight.metrics.given_maps import GivenMaps, number_heatmaps, read_maps
from limelight.metrics.measurement import Measurement
from limelight.metrics.metric import Metric, Readings
from limelight.metrics.objects import MasksOrBoxes, Objects
from limelight.metrics.readings import MapReadings, MapSource, ReadingsKey, Unmeasured
from limelight.metrics.robustness import Stage, likeness, randomised
from limelight.misnamed import checked_arguments
from limelight.models.network import Images, Model, read_subject
from limelight.options import Options
from limelight.progress import ProgressCallback
from limelight.registry import find_entries, means_all
from limelight.targets import LogitsKey, Target, as_target

#: The metrics when none are named, and those that are added when the objects are given.
QUICK_METRICS = ("insertion", "deletion", "road")
QUICK_OBJECT_METRICS = ("energy-pointing", "pointing-game")


@checked_arguments
def measure(
    model: Model,
    inputs: Images,
    maps: Explanation | Tensor | Iterable[Explanation],
    *,
    metrics: str | Sequence[str | Metric] | None = None,
    objects: MasksOrBoxes | Objects | None = None,
    groups: Sequence[str] | None = None,
    target: Target = None,
    classes: Sequence[str] | None = None,
    output: LogitsKey | None = None,
    grid: Sequence[int] | None = None,
    chunk: int | None = None,
    compile: bool = False,
    progress: ProgressCallback | None = None,
) -> Measurement:
    """Measure how far maps can be trusted, beside maps that know nothing of the network.

        result = limelight.explain(model, images)
        measured = limelight.measure(model, images, result, metrics=["deletion", "insertion"])
        measured.estimate("gradcam", "insertion").own       # 0.61 [0.55, 0.67]
        measured.estimate("gradcam", "insertion").random    # the same for random maps
        measured.verdict().sentence

    Every estimate is a mean over n images with its 95 % interval. The controls, a
    `random` map and a blob in the `centre`, are measured in the same way, on the grid of the
    method's own map. Measurements of several batches or shards can be added.

    Args:
        model: The network that was explained.
        inputs: The inputs that were explained.
        maps: What `explain` returned for these inputs; several of those, or what `compare`
            returned; or heatmaps of your own, `[B, *image]`, whose positive part is scaled to
            [0, 1], as `explain` does.
        metrics: Names in METRICS, if need be with options as in "deletion:steps=50", or rows of
            METRICS; "all" for all that can be measured; None for insertion, deletion and road, and
            with objects also energy-pointing and pointing-game.
        objects: Where the objects are: masks `[B, *image]`, or for each image boxes `[n, 4]`, x1,
            y1, x2, y2 in its pixels.
        groups: The class of each image, for metrics that are a mean over classes; None for the
            label of what is explained.
        target: What heatmaps of your own explain, as in `explain`; explanations know it.
        classes, output, grid: As in `explain`, for heatmaps of your own.
        chunk: How many changed images are run together. None means up to 8 on a CPU, up to 32
            elsewhere, and fewer if images are large.
        compile: Let `torch.compile` speed up runs on changed images, as in `explain`; it pays for
            thousands of them.
        progress: Called as progress(task, done, total) while the network runs; a task is one metric
            of one method.

    Raises:
        MetricError: A metric needs objects, which are not given, or needs to make the maps again,
            and it is not known how they were made; or nothing could be measured.
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
    if not total.readings:
        reasons = "\n".join(f"  {gap.metric}: {gap.reason}" for gap in total.unmeasured)
        raise MetricError(f"None of the metrics can be had:\n{reasons}")
    return total


def measure_all(
    model: nn.Module,
    inputs: ModelInputs,
    maps: Explanation | Tensor | Iterable[Explanation],
    options: Options,
    *,
    metrics: str | Sequence[str | Metric] | None,
    objects: MasksOrBoxes | Objects | None = None,
    groups: Sequence[str] | None = None,
    target: Target = None,
) -> Measurement:
    """Measure as `measure` does, with inputs and options that are already read.

    If no metric can be measured, this raises no error; the measurement says why.
    """
    several: list[Explanation | Tensor]
    several = [maps] if isinstance(maps, Explanation | Tensor | str) else list(maps)
    if not several:
        raise InputError("There are no maps to measure; pass at least one explanation.")
    rows, marked = check_metrics(inputs.image, metrics, objects)
    all_given = number_heatmaps(
        [read_maps(item, inputs, as_target(target), options) for item in several]
    )
    remakable = any(given.remake is not None for given in all_given)
    rows = _possible_metrics(rows, metrics, remakable=remakable)
    models, total = dict[object, PerturbedModel](), Measurement()
    for given in all_given:
        perturbed = given.perturbed_model(models, model, inputs)
        labels = tuple(groups or given.label or perturbed.scores.labels)
        if len(labels) != inputs.batch:
            raise InputError(
                f"There are {len(labels)} groups for {inputs.batch} images; the class of each "
                "image was expected, or None for what is explained."
            )
        total = total + _measure_maps(given, perturbed, rows, marked, labels)
    return total


def _possible_metrics(
    rows: list[Metric], asked: str | Sequence[str | Metric] | None, *, remakable: bool
) -> list[Metric]:
    """Return the metrics that can be measured; some can only if the maps can be made again.

    Raises:
        MetricError: A metric was named that makes the maps again, and `remakable` is false.
    """
    if remakable:
        return rows
    if means_all(asked):
        return [row for row in rows if "recipe" not in row.needs]
    for row in rows:
        if "recipe" in row.needs:
            raise MetricError(
                f"{row.name!r} makes the maps again, on changed images or weights, and how these "
                "were made is not known. Pass what limelight.explain returned rather than a "
                "heatmap."
            )
    return rows


def check_metrics(
    images: Tensor,
    metrics: str | Sequence[str | Metric] | None,
    objects: MasksOrBoxes | Objects | None,
) -> tuple[list[Metric], Objects | None]:
    """Return the named metrics, and the objects; refuse both before any work is done.

    Raises:
        MetricError, InputError, UnknownNameError, OptionError: As `measure`.
    """
    if objects is None:
        return metrics_without_objects(metrics), None
    return chosen_metrics(metrics, with_objects=True), Objects.of(objects, images)


def metrics_without_objects(metrics: str | Sequence[str | Metric] | None) -> list[Metric]:
    """Return the named metrics, where it is not known where the objects are.

    Raises:
        MetricError: One of them has to know it, or no metric is named.
        UnknownNameError, OptionError: As `find_metric`.
    """
    rows = chosen_metrics(metrics, with_objects=False)
    if needing := needing_objects(rows):
        raise MetricError(
            f"{needing[0]!r} needs to be told where the objects are: objects=masks [B, *image], or "
            "a list with the boxes [n, 4] of each image."
        )
    return rows


def needing_objects(metrics: Sequence[Metric]) -> list[str]:
    """Return the names of the metrics that have to know where the objects are."""
    return [row.name for row in metrics if "objects" in row.needs]


def chosen_metrics(
    metrics: str | Sequence[str | Metric] | None, *, with_objects: bool
) -> list[Metric]:
    """Return the metrics that are named, each once; for "all", every metric that can be measured.

    Several names may stand in one text, with spaces or commas between them.

    Raises:
        UnknownNameError, OptionError: As `find_metric`.
        MetricError: No metric is named.
    """
    if means_all(metrics):
        return [row for row in METRICS.values() if with_objects or "objects" not in row.needs]
    if metrics is None:
        metrics = QUICK_METRICS + (QUICK_OBJECT_METRICS if with_objects else ())
    rows = find_entries(METRICS, "metric", metrics)
    if not rows:
        raise MetricError("There are no metrics to measure by; name at least one, or 'all'.")
    return rows


def _measure_maps(
    given: GivenMaps,
    perturbed: PerturbedModel,
    rows: Sequence[Metric],
    objects: Objects | None,
    groups: Sequence[str],
) -> Measurement:
    """Measure one method's maps, and the controls on the same grid."""
    case = MapCase(given.maps, perturbed, given.remake, objects)
    measured, unmeasured = dict[ReadingsKey, MapReadings](), list[Unmeasured]()
    for row in rows:
        perturbed.begin(f"{row.name} of {given.method}")
        try:
            readings: dict[MapSource, Readings] = {"own": row.update(case)}
        except LimelightError as error:
            unmeasured.append(Unmeasured(given.method, str(row), str(error)))
            continue
        readings |= measure_controls(row, case)
        measured[ReadingsKey(given.method, given.layer, str(row))] = MapReadings.of(
            row, readings, groups, perturbed.digests
        )
    return Measurement(measured, given.counts, tuple(unmeasured))


def measure_randomised(
    model: nn.Module,
    inputs: ModelInputs,
    explanations: Sequence[Explanation],
    row: Metric,
    options: Options,
) -> tuple[tuple[tuple[Stage, ...], ...], Measurement]:
    """Measure each explanation by parameter randomisation.

    Returns:
        For each explanation, the maps of all stages of randomisation; and the measurement.
    """
    models, kept, total = dict[object, PerturbedModel](), list[tuple[Stage, ...]](), Measurement()
    for explanation in explanations:
        given = read_maps(explanation, inputs, as_target(None), options)
        perturbed = given.perturbed_model(models, model, inputs)
        case = MapCase(given.maps, perturbed, given.remake)
        perturbed.begin(f"randomising for {given.method}")
        try:
            stages = tuple(randomised(case, **row.known_options))
        except LimelightError as error:
            unmeasured = (Unmeasured(given.method, str(row), str(error)),)
            total = total + Measurement(status=given.counts, unmeasured=unmeasured)
            kept.append(())
            continue
        readings: dict[MapSource, Readings]
        readings = {"own": likeness(case.maps, [stage.maps for stage in stages])}
        readings |= measure_controls(row, case)
        key = ReadingsKey(given.method, given.layer, str(row))
        maps = MapReadings.of(row, readings, explanation.label, perturbed.digests)
        total = total + Measurement({key: maps}, given.counts)
        kept.append(stages)
    return tuple(kept), total
