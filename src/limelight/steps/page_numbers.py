"""The numbers and maps on a walkthrough's page, each by the name of the tensor it is of.

A name is a path: "gradients/512" is `gradients[512]`. Every number stands in a `<data>` element
with its exact value and its name, and the values of every map are kept for the script, bit for bit.
"""

from __future__ import annotations

import math
import re
from base64 import b64encode
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from markupsafe import Markup
from torch import Tensor
from torch.nn.functional import cosine_similarity

from limelight.pixels import in_floating_point
from limelight.plain import spelled
from limelight.render.maps import SEQUENTIAL, SIGNED, across, laid_out, limits
from limelight.steps.data import WalkthroughData
from limelight.steps.drawings import map_picture
from limelight.steps.formulas import MINUS, NONE

#: Maps that show how much there is: their colours begin at zero unless they are negative.
_FROM_ZERO = ("activations", "kept", "heatmap")


#: No map is drawn wider than this many times its height, so that it can be pointed at.
_WIDEST = 6.0


#: The most rows or columns of a map whose values are all in the page; else every n-th is.
_CELLS = 64


class Map(NamedTuple):
    """A map on the page: its name, its picture, and the values of its first and last colour."""

    key: str
    grid: str
    aspect: float
    source: str
    scale: str
    low: Markup
    high: Markup


class PageNumbers:
    """The tensors of a walkthrough by name, their numbers and maps, and the values in the page.

    Attributes:
        maps: The values of the maps and lists that were asked for, for the script.
    """

    def __init__(self, walkthrough: WalkthroughData) -> None:
        """Name the tensors."""
        explanation, beside = walkthrough.explanation, walkthrough.beside
        self.maps = dict[str, dict[str, object]]()
        self._walkthrough = walkthrough
        self._tensors: dict[str, Any] = {
            "image": in_floating_point(explanation.image[0]),
            "score": explanation.score[0],
            "activations": walkthrough.activations,
            "gradients": walkthrough.gradients,
            "weights": walkthrough.weights,
            "strength": walkthrough.strength,
            "contributions": walkthrough.contributions,
            "totals": walkthrough.contributions.flatten(1).sum(1),
            "sums": walkthrough.sums,
            "raw": explanation.raw[0],
            "kept": walkthrough.kept,
            "resized": walkthrough.resized,
            "heatmap": explanation.heatmap[0],
            **_hottest_cell(walkthrough),
            "beside": [other.explanation.raw[0] for other in beside],
            "others": [other.weights for other in beside],
        }

    def tensor(self, key: str) -> Tensor:
        """Return the tensor that has a name on the page."""
        name, *indices = key.split("/")
        tensor = self._tensors[name]
        for index in indices:
            tensor = tensor[int(index)]
        on_cpu: Tensor = tensor.detach().cpu()
        return on_cpu

    def number(self, key: str, what: str = "value") -> Markup:
        """Return a number for people to read, with its exact value and where it comes from.

        Args:
            key: The name of the tensor; or "steps/0" or "answers/0", a row of the walkthrough.
            what: Which number: a key of `_NUMBERS`, "likeness" (the cosine to the raw map), or
                an attribute of the row.
        """
        value = self._value(key, what)
        if math.isnan(value):  # a sum that is zero everywhere has no likeness
            text = NONE
        elif what in ("above", "below"):
            text = str(int(value))
        elif what in _PERCENT:
            text = f"{value:{_PERCENT[what]}}"
        else:
            text = readable(value)
        return _data(value, key, what, text)

    def map(self, key: str, span: tuple[float, float] | None = None) -> Map:
        """Return a map, and keep its values for the script; `span` is that of its colours."""
        values = self.tensor(key)
        signed = key.partition("/")[0] not in _FROM_ZERO
        low, high = limits(values, signed=signed) if span is None else span
        signed = signed or low < 0
        table = laid_out(values)
        self.keep(key, table, across=across(values))
        return Map(
            key=key,
            grid=",".join(map(str, values.shape)),
            aspect=min(table.shape[1] / table.shape[0], _WIDEST),
            source=map_picture(table, low, high, SIGNED if signed else SEQUENTIAL),
            scale="signed" if signed else "plain",
            low=_data(low, key, "low", readable(low, 3)),
            high=_data(high, key, "high", readable(high, 3)),
        )

    def keep(self, key: str, table: Tensor, *, across: int = 1, whole: bool = False) -> None:
        """Keep the values of a table `[rows, columns]`; of a large one every n-th, unless whole.

        `across` is how many slices of a volume stand side by side.
        """
        step = 1 if whole else math.ceil(max(table.shape) / _CELLS)
        values = table[::step, ::step].contiguous().numpy()
        kind = "f8" if values.dtype == np.float64 else "f4"
        self.maps[key] = {
            "rows": values.shape[0],
            "columns": values.shape[1],
            "step": step,
            "across": across,
            "type": kind,
            "data": b64encode(values.astype(f"<{kind}").tobytes()).decode(),
        }

    def _value(self, key: str, what: str) -> float:
        name, _, row = key.partition("/")
        if name in ("steps", "answers"):
            return float(getattr(getattr(self._walkthrough, name)[int(row)], what))
        if what == "likeness":
            part, whole = (self.tensor(each).flatten().double() for each in (key, "raw"))
            return float(cosine_similarity(part, whole, dim=0, eps=0))
        return float(_NUMBERS[what](self.tensor(key)))


#: The numbers of a tensor, by what the page calls them.
_NUMBERS: dict[str, Callable[[Tensor], Any]] = {
    "value": lambda tensor: tensor.item(),
    "place": lambda tensor: tensor.item(),
    "min": Tensor.min,
    "max": Tensor.max,
    "mean": Tensor.mean,
    "sum": Tensor.sum,
    "above": lambda tensor: (tensor > 0).sum(),
    "below": lambda tensor: (tensor < 0).sum(),
}


#: The numbers that are shown in percent, with their format.
_PERCENT = {"share": ".1%", "place": ".1%", "probability": ".2%"}


def _hottest_cell(walkthrough: WalkthroughData) -> dict[str, Tensor]:
    """Return the centre and the spread of what the hottest cell looks at, `[A]`, if known."""
    cells, hottest = walkthrough.cells, walkthrough.hottest
    if cells is None or hottest is None:
        return {}
    centre, spread = (along.movedim(0, -1)[hottest] for along in (cells.centre, cells.spread))
    return {"centre": centre, "spread": spread}


def readable(value: float, digits: int = 4) -> str:
    """Return a number with so many significant digits, and a true minus sign."""
    value += 0.0  # no minus before a zero
    plain = value == 0 or 1e-3 <= abs(value) < 1e4 or not math.isfinite(value)
    text = f"{value:.{digits}g}" if plain else f"{value:.{digits - 1}e}"
    return re.sub(r"e([+-])0?", r"e\1", text).replace("e+", "e").replace("-", MINUS)


def averaged(gradients: Tensor | None) -> bool:
    """Return whether the gradients `[K, *grid]` are equal in all cells of a channel, but rounding.

    It is where an average over the grid follows the layer. Gradients that are all zero do not
    count.
    """
    if gradients is None or not bool(gradients.any()):
        return False
    low, high = gradients.flatten(1).aminmax(dim=1)
    rounding = 16 * torch.finfo(low.dtype).eps * torch.maximum(low.abs(), high.abs())
    return bool((high - low <= rounding).all())


def _data(value: float, key: str, what: str, text: str) -> Markup:
    """Return a text with its exact value, the tensor's name, and which number of it this is."""
    return Markup('<data value="{}" data-of="{}" data-as="{}">{}</data>').format(
        spelled(value), key, what, text
    )
