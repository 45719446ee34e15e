"""The controls: maps that know nothing of the network, measured to find out what chance reaches."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from limelight.evidence import Evidence, at_least_float32
from limelight.finish import AxisSpan
from limelight.inputs import ModelInputs
from limelight.methods import find_method
from limelight.metrics.case import MapCase, Maps, PerturbedModel
from limelight.metrics.metric import Metric, Readings
from limelight.metrics.objects import Objects
from limelight.metrics.readings import MapSource
from limelight.status import Status, to_heatmap
from limelight.targets import FixedScore

CONTROLS: tuple[MapSource, ...] = ("random", "centre")


def measure_controls(row: Metric, case: MapCase) -> dict[MapSource, Readings]:
    """Measure the controls by a metric, on the same grid as the maps of a case."""
    grid, span, perturbed = tuple(case.maps.raw.shape[1:]), case.maps.span, case.perturbed
    readings = dict[MapSource, Readings]()
    for name in CONTROLS:
        # All methods with this grid share the controls.
        control = perturbed.once(
            (name, grid, span), partial(control_case, name, perturbed, grid, span, case.objects)
        )
        readings[name] = perturbed.once((str(row), name, grid, span), partial(row.update, control))
    return readings


def control_case(
    control: str,
    perturbed: PerturbedModel,
    grid: tuple[int, ...],
    span: tuple[AxisSpan, ...],
    objects: Objects | None = None,
) -> MapCase:
    """Return the case of a control on a grid.

    Args:
        control: A method that knows nothing of the network, with options if any: "random:seed=3".
        perturbed: The network and its images.
        grid, span: The grid of the maps, and where it lies on the picture.
        objects: Where the objects are, if that is known.
    """
    method = find_method(control)

    def make(
        perturbed: PerturbedModel,
        inputs: ModelInputs,
        model: nn.Module | None = None,
        score: FixedScore | None = None,
    ) -> Maps:
        del model, score  # a control does not depend on them
        image = inputs.image
        cells = at_least_float32(image.new_zeros(len(image), 1, *grid))
        raw = method.raw(Evidence(activations=cells, image=image, score=perturbed.score))
        status = (Status("ok"),) * len(image)
        return Maps(raw, to_heatmap(raw, image.shape[2:], status, span), span)

    with torch.no_grad():
        return MapCase(make(perturbed, perturbed.inputs), perturbed, make, objects)
