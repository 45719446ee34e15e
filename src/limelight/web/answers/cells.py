"""Cells: what the cell of a map holds under a point of the photo, and where it looks."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limelight.errors import LayerError, MethodError
from limelight.evidence import at_least_float32, contributions
from limelight.explanation import Explanation
from limelight.finish import along_axes
from limelight.layers.resolved import INPUT
from limelight.photos.crops import Box
from limelight.progress import ProgressCallback
from limelight.runtime.cells import CellPlaces, measure_cells
from limelight.runtime.unwrap import unwrap
from limelight.web.answers.numbers import finite
from limelight.web.requests import CellRequest, MapRequest
from limelight.web.serving.refusals import Refusal
from limelight.web.subjects.looks import Look


@dataclass(frozen=True, slots=True, eq=False)
class TakenApart:
    """A map, taken apart into its channels.

    Attributes:
        explanation: The map of one image.
        activations: A, `[K, *grid]`; None for a map that is not on the grid of a layer.
        gradients: `dy_c/dA`, `[K, *grid]`; None where the method reads none.
        weights: The method's weights, `[K]` or `[K, *grid]`; None for a map that is not a sum over
            channels.
        adds: What each channel adds, `[K, *grid]`, so that the map is their sum; for a map that is
            no such sum, gradient times activation; None where the activations are.
    """

    explanation: Explanation
    activations: Tensor | None
    gradients: Tensor | None
    weights: Tensor | None
    adds: Tensor | None


def cell(
    look: Look, request: CellRequest, progress: ProgressCallback | None = None
) -> dict[str, Any]:
    """Return what the cell under a point of the photo holds.

    1. Make the map, and take it apart.
    2. Find the cell.
    3. Sort its channels by what they add there.

    Raises:
        Refusal: The network did not see that point of the photo.
        LimelightError: As `Look.explain`.
    """
    # 1. The map.
    apart = _taken_apart(look, request, progress)
    explanation = apart.explanation
    raw = explanation.raw.detach()[0]
    # 2. The cell.
    at = find_cell(look, explanation, request.at)
    # 3. Its channels.
    here = (slice(None), *at)
    channels, left = list[dict[str, Any]](), None
    if apart.adds is not None:
        order = apart.adds[here].abs().argsort(descending=True, stable=True)
        channels = [_channel(apart, at, number) for number in order[: request.channels].tolist()]
        left = finite(float(apart.adds[here][order[request.channels :]].sum()))
    slopes = None if apart.gradients is None else apart.gradients.norm(dim=0)
    return {
        "cell": list(at),
        "grid": list(raw.shape),
        "layer": explanation.layer,
        "method": explanation.method,
        "box": _in_photo(look, _extent(explanation, at)),
        "value": finite(float(raw[at])),
        "highest": finite(float(raw.max())),
        "rank": int((raw > raw[at]).sum()) + 1,
        "channels": channels,
        "count": 0 if apart.adds is None else len(apart.adds),
        "sums": apart.weights is not None,
        "rest": left,
        "total": None if apart.adds is None else finite(float(apart.adds[here].sum())),
        "gradient": None if slopes is None else finite(float(slopes[at])),
        "steepest": None if slopes is None else finite(float(slopes.max())),
    }


def looks_at(look: Look, request: CellRequest, check: Callable[[], None]) -> dict[str, Any]:
    """Return where the cell under a point looks: `looks`, or None and `why` there is nothing.

    `looks` holds the centre and the standard deviation around it, x and y in pixels of the photo,
    and how much the cell answers to a change of the picture, 1 for the cell that answers most. All
    cells of a layer are measured at once, by some twenty runs, and kept. `check` is called between
    them.

    Raises:
        Refusal, LimelightError: As `cell`.
    """
    explanation = _taken_apart(look, request, None).explanation
    at = find_cell(look, explanation, request.at)
    if explanation.layer == INPUT:
        return {"looks": None, "why": "input"}
    places = look.once(
        ("cells", explanation.layer), lambda: _measured(look, explanation.layer, check)
    )
    if places is None:
        return {"looks": None, "why": "not-measured"}
    if places.energy.shape != explanation.raw.shape[1:]:
        return {"looks": None, "why": "another-grid"}
    energy = float(places.energy[at])
    if not energy > 0:
        return {"looks": None, "why": "nothing"}
    (y, x), (down, across) = (
        part[(slice(None), *at)].tolist() for part in (places.centre, places.spread)
    )
    left, top, right, bottom = look.crop.box
    return {
        "looks": {
            "centre": [left + x * (right - left), top + y * (bottom - top)],
            "spread": [across * (right - left), down * (bottom - top)],
            "energy": energy,
        },
        "why": None,
    }


def find_cell(look: Look, explanation: Explanation, at: tuple[float, float]) -> tuple[int, int]:
    """Return row and column of the map's cell that lies over a point of the photo.

    The grid need not cover the picture exactly: where it lies is its `span`. Where it ends before
    the picture does, its last cells go on, as the heatmap does.

    Raises:
        Refusal: The network did not see that point.
    """
    left, top, right, bottom = look.crop.box
    places = (at[1] - top) / (bottom - top), (at[0] - left) / (right - left)
    spans = along_axes(explanation.span, 2)
    seen = (
        span.seen_from <= place <= span.seen_to for place, span in zip(places, spans, strict=True)
    )
    if not all(seen):
        raise Refusal("not-seen", 422, x=round(at[0]), y=round(at[1]))
    row, column = (
        min(max(math.floor((place - span.start) / span.length * count), 0), count - 1)
        for place, span, count in zip(places, spans, explanation.raw.shape[1:], strict=True)
    )
    return row, column


def _extent(explanation: Explanation, at: tuple[int, int]) -> Box:
    """Return left, top, right and bottom of a cell, in picture lengths."""
    (top, bottom), (left, right) = (
        (span.start + i * span.length / count, span.start + (i + 1) * span.length / count)
        for i, count, span in zip(
            at, explanation.raw.shape[1:], along_axes(explanation.span, 2), strict=True
        )
    )
    return left, top, right, bottom


def _in_photo(look: Look, box: Box) -> list[float]:
    """Return a box in picture lengths as one in pixels of the photo."""
    left, top, right, bottom = look.crop.box
    width, height = right - left, bottom - top
    x1, y1, x2, y2 = box
    return [left + x1 * width, top + y1 * height, left + x2 * width, top + y2 * height]


def _channel(apart: TakenApart, at: tuple[int, int], number: int) -> dict[str, Any]:
    def here(values: Tensor | None) -> float | None:
        if values is None:
            return None
        return finite(float(values[number][at] if values.ndim > 1 else values[number]))

    return {
        "channel": number,
        "activation": here(apart.activations),
        "gradient": here(apart.gradients),
        "weight": here(apart.weights),
        "adds": here(apart.adds),
    }


def _taken_apart(look: Look, request: CellRequest, progress: ProgressCallback | None) -> TakenApart:
    """Return the map that was asked for, taken apart; it is kept for the next point."""
    key = "taken apart", request.target, request.method, request.layer
    return look.once(key, lambda: _take_apart(look, request, progress))


def _take_apart(look: Look, request: MapRequest, progress: ProgressCallback | None) -> TakenApart:
    """Make a map, and take it apart.

    1. Make the map.
    2. Take activations and gradients of the layer, if the map is on its grid.
    3. Take what each channel adds.
    """
    # 1. The map.
    explanation, method, sums = look.made(request, progress)
    # 2. The layer.
    nothing = TakenApart(explanation, None, None, None, None)
    if method.place == "network":
        return nothing
    evidence = look.evidence_at(explanation.layer, request.target, method)
    activations = at_least_float32(evidence.cut.activations)[0]
    if activations.shape[1:] != explanation.raw.shape[1:]:
        return nothing
    gradients = None
    if explanation.layer != INPUT or "gradients" in method.needs:
        with contextlib.suppress(MethodError):  # a quantised network has none
            gradients = evidence.evidence(frozenset({"gradients"})).gradients[0]
    # 3. The channels.
    if method.by_channel:
        ((weights, values),) = sums
        added = contributions(weights, values)[0]
        return TakenApart(explanation, activations, gradients, weights[0], added)
    if gradients is None:
        return nothing
    return TakenApart(explanation, activations, gradients, None, gradients * activations)


def _measured(look: Look, layer: str, check: Callable[[], None]) -> CellPlaces | None:
    """Return where the cells of a layer look; None if it cannot be measured."""
    try:
        with torch.inference_mode(False):
            model, spec = unwrap(look.served.network.model), look.served.options.spec
            return measure_cells(model, look.inputs, layer, spec, lambda _done, _total: check())
    except LayerError:
        return None
