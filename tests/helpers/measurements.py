"""Measurements that are made by hand, and what is written on their figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from torch import Tensor, nn

from helpers import networks
from helpers.networks import ready
from limelight.metrics.measurement import Measurement

CLASSES = ("ant", "bee", "cat", "dog", "elk")
NAN = math.nan


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return ready(networks.ResidualCNN())


def pictures(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 16, 16, dtype=torch.float64, generator=torch.manual_seed(1))


#: Readings of the maps, of random ones and of a blob in the centre.
Readings = tuple[Sequence[float], Sequence[float], Sequence[float]]


def made(by: Mapping[tuple[str, str] | tuple[str, str, str], Readings]) -> Measurement:
    """Make a measurement by hand, by method and metric, or method, layer and metric."""
    total = Measurement()
    for (method, *layer, metric), found in by.items():
        images, count = dict(zip(("own", "random", "centre"), found, strict=True)), len(found[0])
        key = {"method": method, "layer": layer[0] if layer else "layer"}
        reading = {
            **key,
            "metric": metric,
            "groups": ["cat"] * count,
            "images": [f"image {i}" for i in range(count)],
            "numbers": {whose: {"value": list(one)} for whose, one in images.items()},
            "curves": {whose: {} for whose in images},
            "counted": {whose: {} for whose in images},
        }
        status = [{**key, "counts": {"ok": count}}]
        total += Measurement.from_dict({"unmeasured": [], "status": status, "readings": [reading]})
    return total


def about(middle: float, count: int = 20) -> list[float]:
    """Return values whose mean has a short interval around it."""
    return [middle + 0.01 * (-1) ** i for i in range(count)]


GOOD, BAD = (about(0.8), about(0.3), about(0.4)), (about(0.35), about(0.3), about(0.4))
LOW = (about(0.1), about(0.3), about(0.4))


def texts(figure: Figure) -> list[tuple[str, Any]]:
    """Return all that is written on a figure, and where."""
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    found = list[Text]()
    for part in (figure, *figure.subfigs):
        found += part.texts
        found += [text for legend in part.legends for text in legend.get_texts()]
    for axes in figure.axes:
        found += [text for text in axes.findobj(Text) if text.axes is axes]
        ticks = {label for axis in (axes.xaxis, axes.yaxis) for label in axis.findobj(Text)}
        found = [text for text in found if text not in ticks]
        for axis in (axes.xaxis, axes.yaxis) if axes.axison else ():
            low, high = sorted(axis.get_view_interval())
            slack = (high - low) * 1e-9
            found += [axis.label]
            found += [
                tick.label1
                for tick in axis.get_major_ticks()
                if low - slack <= tick.get_loc() <= high + slack
            ]
    shown = [one for one in dict.fromkeys(found) if one.get_visible() and one.get_text().strip()]
    return [(one.get_text(), one.get_window_extent(canvas.get_renderer())) for one in shown]


def assert_readable(figure: Figure) -> None:
    """Refuse words that are cut off at the edge of the figure, or written over others."""
    written = texts(figure)
    width, height = FigureCanvasAgg(figure).get_width_height()
    for words, box in written:
        inside = min(box.x0, box.y0, width - box.x1, height - box.y1)
        assert inside > -2, f"{words!r} is cut off at {box} of {width} x {height}"
    for (words, box), (others, other) in combinations(written, 2):
        across = min(box.x1, other.x1) - max(box.x0, other.x0)
        down = min(box.y1, other.y1) - max(box.y0, other.y0)
        assert min(across, down) < 3, f"{words!r} and {others!r} overlap"
