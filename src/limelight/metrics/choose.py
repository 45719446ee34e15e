"""`choose`: which map to trust on a network, and where to cut, or that none can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from limelight.errors import InputError, OptionError, TargetError
from limelight.inputs import ModelInputs
from limelight.methods import Method, chosen_methods
from limelight.metrics import Metric
from limelight.metrics.candidate_maps import ChoiceSpec
from limelight.metrics.case import digests
from limelight.metrics.choosing import Choosing
from limelight.metrics.objects import MasksOrBoxes, Objects
from limelight.metrics.photo_sources import DIGEST_BYTES, LoadedPhoto, PhotoSource, photo_source
from limelight.metrics.recommendation import Recommendation
from limelight.metrics.run import check_metrics, metrics_without_objects
from limelight.misnamed import checked_arguments
from limelight.models.network import Images, Model, Network, read_subject
from limelight.options import Options
from limelight.pipeline import as_layers
from limelight.progress import ProgressCallback
from limelight.targets import LogitsKey, ScoreTarget, Target, as_target

#: The candidates when no method is named; those that a network cannot do are skipped.
CANDIDATE_METHODS = (
    "gradcam hirescam gradcam++ layercam eigencam saliency guided-gradcam "
    "integrated-gradients:steps=20 attention-x-gradient legrad rollout"
)


#: The metrics when none are named, and those that are added when the objects are given.
CHOICE_METRICS = "insertion:steps=10 road:steps=3"
CHOICE_OBJECT_METRICS = f"{CHOICE_METRICS} energy-pointing"


@checked_arguments
def choose(
    model: Model,
    inputs: Images | Sequence[str | Path],
    *,
    methods: str | Sequence[str | Method] | None = None,
    layers: str | Sequence[str] | None = None,
    metrics: str | Sequence[str | Metric] | None = None,
    objects: MasksOrBoxes | Objects | None = None,
    target: Target = None,
    budget: float | None = None,
    steps: int = 5,
    seed: int = 0,
    classes: Sequence[str] | None = None,
    output: LogitsKey | None = None,
    grid: Sequence[int] | None = None,
    chunk: int | None = None,
    compile: bool = False,
    progress: ProgressCallback | None = None,
) -> Recommendation:
    """Find out which method, at which layer, makes the maps to trust on this network.

        found = limelight.choose(model, images)
        found.sentence
        result = limelight.explain(model, images, **found.arguments)

    1. Is it shown that the network has learned anything? Its predictions are compared with those of
       39 copies with shuffled weights. If not, nothing is recommended.
    2. On one half of the images every candidate, a method at a layer or fused over the layers, is
       measured beside random maps and a blob in the centre.
    3. The winner has the best mean rank over the metrics, of those that are ahead of both controls
       and whose maps random weights change (the test of sanity).
    4. On the other half, which had no part in the choice, the winner has to beat both controls in
       every metric and to pass the test of sanity again. If not, nothing is recommended.

    The half of an image depends on its content alone.

    Args:
        model: As in `explain`.
        inputs: As in `explain`, at least 16 different images; for a `Network` also paths of photos,
            which are loaded one at a time.
        methods: The methods to choose among; None for a dozen that are quick.
        layers: Where to cut; None for four stages of the network, early to late. With several, each
            method is also fused over all of them.
        metrics: What to measure by, as in `measure`; None for insertion and ROAD, and, with
            objects, energy-pointing.
        objects: Where the objects are, as in `measure`; not for paths.
        target: What to explain, as in `explain`; None for the predicted class. `found.arguments`
            does not hold it.
        budget: How many seconds the choice may take. When time is short, the worse half of the
            candidates is given up.
        steps: How many stages the test of sanity has.
        seed: The seed of shuffled and random weights.
        classes, output, grid, chunk, compile, progress: As in `measure`.

    Raises:
        InputError: There are fewer than 16 different images.
        MethodError: None of the candidates can be made on this network.
        OptionError, UnknownNameError, MetricError, LayerError, TargetError: As `measure`.
    """
    if budget is not None and not budget > 0:
        raise OptionError(f"budget is {budget!r}; a number of seconds above 0 was expected.")
    if steps < 2:
        raise OptionError(f"steps is {steps}; at least 2 were expected, the logits and all layers.")
    candidate_methods = chosen_methods(CANDIDATE_METHODS if methods is None else methods)
    names = CHOICE_METRICS if objects is None else CHOICE_OBJECT_METRICS
    wanted = names if metrics is None else metrics
    named_layers = [] if layers is None else dict.fromkeys(map(str, as_layers(layers)))
    read_target = as_target(target)
    paths = _paths(inputs)
    if paths is not None:
        if not isinstance(model, Network):
            raise InputError(
                "Paths of photos were given, and how to prepare photos for this model is not "
                "known. Pass a Network, as limelight.load_model returns it, or a tensor of images."
            )
        if objects is not None:
            raise OptionError(
                "objects go with a tensor of images, in whose pixels they are. For photos with "
                "boxes or masks use the command `limelight choose`."
            )
        network, model_classes = model.model, model.classes if classes is None else classes
        rows = metrics_without_objects(wanted)
        sources = [
            photo_source(path, model, of_image)
            for path, of_image in zip(paths, _each_target(read_target, len(paths), 2), strict=True)
        ]
    else:
        subject = read_subject(model, inputs, classes)
        network, model_classes = subject.model, subject.classes
        rows, marked = check_metrics(subject.inputs.image, wanted, objects)
        sources = _row_sources(subject.inputs, read_target, marked)
    spec = ChoiceSpec(
        methods=candidate_methods,
        metrics=rows,
        layers=list(named_layers),
        steps=steps,
        budget=budget,
        seed=seed,
    )
    options = Options.read(
        classes=model_classes,
        output=output,
        grid=grid,
        chunk=chunk,
        compile=compile,
        progress=progress,
    )
    choosing = Choosing(network, sources, spec, options)
    for _ in choosing.run():
        pass
    return choosing.recommendation()


def _paths(inputs: Images | Sequence[str | Path]) -> list[Path] | None:
    """Return the inputs as paths of photos; None if they are images."""
    if not isinstance(inputs, list | tuple) or not inputs:
        return None
    paths = [Path(item) for item in inputs if isinstance(item, str | Path)]
    return paths if len(paths) == len(inputs) else None


def _each_target(target: ScoreTarget, images: int, axes: int) -> list[ScoreTarget]:
    """Return the target of each image.

    Raises:
        TargetError: It is not known of every image what to explain.
    """
    value = getattr(target, "value", None)
    if isinstance(value, list | tuple) and len(value) != images:
        raise TargetError(
            f"There are {len(value)} targets for {images} images. Pass one for all (target=281) "
            "or one per image."
        )
    try:
        return [target.of_image(image, axes) for image in range(images)]
    except IndexError:
        raise TargetError(
            f"The target does not say of each of {images} images what to explain; it was "
            "expected to have a row for each, or one for all."
        ) from None


def _row_sources(
    inputs: ModelInputs, target: ScoreTarget, objects: Objects | None
) -> list[PhotoSource]:
    """Return the images of a batch, each alone."""

    targets = _each_target(target, inputs.batch, inputs.image.ndim - 2)

    def load(row: int) -> LoadedPhoto:
        alone = inputs.take(torch.tensor([row], device="cpu"))
        marked = None
        if objects is not None:
            marked = Objects(objects.mask[row : row + 1], objects.boxes[row : row + 1])
        return LoadedPhoto(alone, targets[row], marked)

    return [
        PhotoSource(f"image {row}", digest, partial(load, row))
        for row, digest in enumerate(digests(inputs.image, DIGEST_BYTES))
    ]
