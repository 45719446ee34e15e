"""The page of a walkthrough: one HTML file with its pictures, its numbers and nothing else.

The words are in `html/en.toml` and `html/zh.toml`, the shape in `html/walkthrough.html`. Every
number stands in a `<data>` element with its exact value and the name of what it is of, and every
map's values are in the page, bit for bit, under the name of the map.
"""

from __future__ import annotations

import math
import re
import tomllib
from base64 import b64encode
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib import colormaps
from PIL import Image
from torch import Tensor
from torch.nn.functional import cosine_similarity

from limelight.explanation import as_pictures
from limelight.layers import INPUT
from limelight.plain import as_json, spelled
from limelight.render.maps import SEQUENTIAL, SIGNED, across, laid_out, limits
from limelight.render.overlays import colourise
from limelight.steps.formulas import MINUS, NONE, TIMES, marked, typeset

if TYPE_CHECKING:
    from limelight.explanation import Explanation
    from limelight.methods import Method
    from limelight.steps.walkthrough import Language, Walkthrough


#: So many channels are shown of those that weigh most, or add most, and that weigh least.
_MOST, _LEAST = 6, 3


#: Maps that show how much there is: their colours begin at zero unless they are negative.
_FROM_ZERO = ("activations", "kept", "heatmap")


#: No map is drawn so wide that it is not high enough to be pointed at.
_WIDEST = 6.0


#: Of a longer map every n-th value is in the page; of a larger photo every n-th pixel.
_CELLS, _PIXELS = 64, 448


def page(walkthrough: Walkthrough, language: Language) -> str:
    """Return the page in a language."""
    return _Page(walkthrough, language).render()


class _Map(NamedTuple):
    """A map on the page: its name, its picture, and the values of its first and last colour."""

    key: str
    grid: str
    aspect: float
    source: str
    scale: str
    low: Markup
    high: Markup


class _Card(NamedTuple):
    """One channel."""

    channel: int
    activations: _Map
    gradients: _Map | None
    weights: _Map | None
    adds: _Map


class _Page:
    """A page in the making, and the values that its script needs."""

    def __init__(self, walkthrough: Walkthrough, language: Language) -> None:
        self.w, self.language = walkthrough, language
        self.texts = _texts(language)
        self.maps = dict[str, dict[str, object]]()
        self.channelwise = walkthrough.weights.ndim == 1
        self.order = walkthrough.order.tolist()
        same = walkthrough.gradients is not None and torch.equal(
            walkthrough.weights, walkthrough.gradients
        )
        self.weights_differ = not self.channelwise and not same
        one = walkthrough.explanation
        self.charted = "weights" if self.channelwise else "totals"
        #: What the names on the page stand for.
        self.tensors = {
            "image": one.image[0],
            "score": one.score[0],
            "activations": walkthrough.activations,
            "gradients": walkthrough.gradients,
            "weights": walkthrough.weights,
            "strength": walkthrough.strength,
            "contributions": walkthrough.contributions,
            "totals": walkthrough.contributions.flatten(1).sum(1),
            "sums": walkthrough.sums,
            "raw": one.raw[0],
            "kept": walkthrough.kept,
            "resized": walkthrough.resized,
            "heatmap": one.heatmap[0],
            "beside": [other.explanation.raw[0] for other in walkthrough.beside],
            "others": [other.weights for other in walkthrough.beside],
        }
        self.seen = self._seen()
        #: What the heatmap is laid over, no larger than it is shown.
        self.photo = _reduced(walkthrough.photo or self.seen)
        self.weight = "alpha_k" if walkthrough.method.name == "gradcam" else "w_k"

    def render(self) -> str:
        """Fill in the template."""
        w, one = self.w, self.w.explanation
        status = one.status[0]
        context = {
            "w": w,
            "language": self.language,
            "texts": self.texts,
            "label": one.label[0],
            # Of a detector, several answers may be of one class; the first is the best.
            "explained": next(
                (n for n, answer in enumerate(w.answers) if answer.number == w.explained), None
            ),
            "status": status,
            "photo": _picture(self.photo),
            "input": _picture(self.seen, exact=True),
            "overlay": _picture(self._overlay(one)),
            "heat": self._heat(),
            "region": self._region(),
            "channels": self._colours(),
            "image_size": _by(one.image.shape[2:]),
            "resized": self._resized(),
            "at_input": one.layer == INPUT,
            "gap": self.texts["gap"],
            "averaged": self._averaged(),
            "idle": not bool(w.strength.any()),
            "slices": w.activations.ndim == 4,
            "grid": _by(w.activations.shape[1:]),
            "cells": math.prod(w.activations.shape[1:]),
            "per_cell": not self.channelwise,
            "weight": self.weight,
            "groups": [(name, list(map(self._card, some))) for name, some in self._groups()],
            "chart": self._chart(),
            "above": self._number(self.charted, "above"),
            "below": self._number(self.charted, "below"),
            "sums": [
                {"map": self._map(f"sums/{number}"), "count": count}
                for number, count in enumerate(w.counts)
            ],
            "negative": self._number("raw", "below"),
            "raw": self._map("raw"),
            "kept": self._map("kept"),
            "heatmap": self._map("heatmap", span=(0.0, 1.0)),
            "three": self.order[:3],
            "others": [
                self._method((w.method, one, w.weights), "raw", "weights"),
                *(
                    self._method(other, f"beside/{number}", f"others/{number}")
                    for number, other in enumerate(w.beside)
                ),
            ],
        }
        listed = "weights" if self.channelwise else "strength"
        for key in (listed, "totals"):
            self._keep(key, self._tensor(key)[None], whole=True)
        environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        environment.globals |= {"say": self._say, "number": self._number, "typeset": _math}
        template = environment.from_string(_asset("walkthrough.html"))
        packed = {"maps": self.maps, "order": self.order, "listed": [listed, "totals"]}
        return template.render(
            **context,
            style=Markup(_asset("walkthrough.css") + _bars()),
            script=Markup(_asset("walkthrough.js")),
            # Nothing in it may end the script element.
            maps=Markup(as_json(packed).replace("<", "\\u003c")),
        )

    def _tensor(self, key: str) -> Tensor:
        """Return what a name on the page stands for: "gradients/512" is `gradients[512]`."""
        name, *indices = key.split("/")
        found: Any = self.tensors[name]
        for index in indices:
            found = found[int(index)]
        tensor: Tensor = found.detach().cpu()
        return tensor

    def _value(self, key: str, what: str) -> float:
        """Return a number by the name of what it is of, and which number of that it is."""
        name, _, row = key.partition("/")
        if name in ("steps", "answers"):
            return float(getattr(getattr(self.w, name)[int(row)], what))
        if what == "likeness":
            this, whole = (self._tensor(one).flatten().double() for one in (key, "raw"))
            return float(cosine_similarity(this, whole, dim=0, eps=0))
        return float(_PARTS[what](self._tensor(key)))

    def _number(self, key: str, what: str = "value") -> Markup:
        """Return a number for people to read, with its exact value and where it comes from."""
        value = self._value(key, what)
        whole = what in ("above", "below")
        told = str(int(value)) if whole else f"{value:.1%}" if what == "share" else readable(value)
        told = f"{value:.2%}" if what == "probability" else told
        if math.isnan(value):  # of a sum that is zero everywhere, there is no likeness
            told = NONE
        return _data(value, key, what, told)

    def _map(self, key: str, span: tuple[float, float] | None = None) -> _Map:
        """Return a map, and keep its values for the script."""
        values = self._tensor(key)
        signed = key.partition("/")[0] not in _FROM_ZERO
        low, high = limits(values, signed=signed) if span is None else span
        signed = signed or low < 0
        table = laid_out(values)
        self._keep(key, table, across=across(values))
        ends = [
            _data(end, key, name, readable(end, 3)) for name, end in (("low", low), ("high", high))
        ]
        return _Map(
            key=key,
            grid=",".join(map(str, values.shape)),
            aspect=min(table.shape[1] / table.shape[0], _WIDEST),
            source=_coloured(table, low, high, SIGNED if signed else SEQUENTIAL),
            scale="signed" if signed else "plain",
            low=ends[0],
            high=ends[1],
        )

    def _keep(self, key: str, table: Tensor, *, across: int = 1, whole: bool = False) -> None:
        """Keep the values of a table `[rows, columns]`; of a large one every n-th, unless whole.

        Of a volume, so many slices stand `across`.
        """
        step = 1 if whole else math.ceil(max(table.shape) / _CELLS)
        some = table[::step, ::step].contiguous().numpy()
        kind = "f8" if some.dtype == np.float64 else "f4"
        self.maps[key] = {
            "rows": some.shape[0],
            "columns": some.shape[1],
            "step": step,
            "across": across,
            "type": kind,
            "data": b64encode(some.astype(f"<{kind}").tobytes()).decode(),
        }

    def _groups(self) -> list[tuple[str, list[int]]]:
        """Return the channels that are shown: those that weigh most, add most, weigh least."""
        left = set(self.order)
        by_added = self.w.added.argsort(descending=True, stable=True).tolist()
        groups = []
        for name, ranked, count in (
            ("strongest", self.order, _MOST),
            ("adding", by_added, _MOST),
            ("weakest", self.order[::-1], _LEAST),
        ):
            some = [channel for channel in ranked if channel in left][:count]
            left.difference_update(some)
            groups.append((name, some))
        return groups

    def _averaged(self) -> bool:
        """Say whether every gradient is the same in all cells, but for rounding."""
        gradients = self.w.gradients
        if gradients is None or not bool(gradients.any()):
            return False
        low, high = gradients.flatten(1).aminmax(dim=1)
        rounding = 16 * torch.finfo(low.dtype).eps * torch.maximum(low.abs(), high.abs())
        return bool((high - low <= rounding).all())

    def _card(self, channel: int) -> _Card:
        return _Card(
            channel=channel,
            activations=self._map(f"activations/{channel}"),
            gradients=None if self.w.gradients is None else self._map(f"gradients/{channel}"),
            weights=self._map(f"weights/{channel}") if self.weights_differ else None,
            adds=self._map(f"contributions/{channel}"),
        )

    def _method(
        self, found: tuple[Method, Explanation, Tensor | None], key: str, weighed: str
    ) -> dict[str, object]:
        """Return the row of a method, whose raw map and weights have these names on the page."""
        row, one, weights = found
        status = one.status[0]
        channels = self.order[:3] if weights is not None and weights.ndim == 1 else []
        return {
            "name": str(row),
            "formula": _formula(marked(row.formula)),
            "use": self.texts["methods"].get(row.name, row.use),
            "weighs": weights is not None,
            "weights": [self._number(f"{weighed}/{k}") for k in channels],
            "likeness": self._number(key, "likeness"),
            "status": ""
            if status.name in ("ok", self.w.explanation.status[0].name)
            else self._say(f"status.{status.name}"),
            "raw": self._map(key),
            "overlay": _picture(self._overlay(one), most=320),
        }

    def _seen(self) -> Image.Image:
        """Return the network's input as a picture."""
        one = self.w.explanation
        if self.w.preprocess is not None and one.image.ndim == 4:
            return self.w.preprocess.picture(one.image[0])
        return one.pictures()[0]

    def _overlay(self, one: Explanation) -> Image.Image:
        """Return the photo with the colours of a heatmap."""
        (overlay,) = one.overlay([self.photo] if one.image.ndim == 4 else None)
        return overlay

    def _heat(self) -> str:
        """Return the heatmap in its colours, as it is laid over the photo."""
        one = self.w.explanation
        (flat,) = as_pictures([one], [self.photo] if one.image.ndim == 4 else None)
        return _picture(colourise(flat.heatmaps[0], SEQUENTIAL))

    def _region(self) -> str:
        """Return the input with all darkened that the score is not about; "" when that is all."""
        region = self.w.explanation.region
        if region is None or region.ndim != 3 or bool(region[0].all()):
            return ""
        inside = region[0].detach().float().cpu().numpy()[..., None]
        pixels = np.asarray(self.seen, dtype=np.float32) * (0.25 + 0.75 * inside)
        return _picture(Image.fromarray(pixels.round().astype(np.uint8)))

    def _colours(self) -> list[str]:
        count = self.w.explanation.image.shape[1]
        names: list[str] = self.texts["photo"]["colours"]
        return names if count == 3 else [str(number) for number in range(count)]

    def _resized(self) -> Markup:
        """Say how the photo was resized before the crop."""
        resize = None if self.w.preprocess is None else self.w.preprocess.resize
        if resize is None:
            return Markup("")
        if isinstance(resize, int):
            return self._say("photo.resized_side", side=resize)
        return self._say("photo.resized_box", side=_by(resize))

    def _chart(self) -> dict[str, str]:
        """Return the weights from highest to lowest as the outline of bars, 1000 x 200."""
        values = (
            self._tensor(self.charted).double().nan_to_num(0, 0, 0).sort(descending=True).values
        ).tolist()
        low, high = min(0.0, values[-1]), max(0.0, values[0])
        scale = 200 / (high - low) if high > low else 0.0
        zero, wide = high * scale, 1000 / len(values)
        paths = {}
        for name, clamp in (("above", max), ("below", min)):
            heights = enumerate(clamp(0.0, value) for value in values)
            bars = (f"V{zero - y * scale:.1f}H{(x + 1) * wide:.1f}" for x, y in heights)
            paths[name] = f"M0 {zero:.1f}{''.join(bars)}V{zero:.1f}Z"
        return {"key": self.charted, "zero": f"{zero:.1f}", **paths}

    def _say(self, key: str, **values: object) -> Markup:
        """Return a text in the page's language, its formulas set, its places filled in."""
        text: Any = self.texts
        for part in key.split("."):
            text = text[part]
        text = text.strip().replace("WEIGHT", self.weight)
        kind = "photo" if self.w.explanation.image.ndim == 4 else "input"
        text = text.replace("THING", self.texts["thing"][kind])
        return Markup(_SET.sub(lambda match: _math(match[1]), text)).format(**values)


_SET = re.compile(r"\$(.+?)\$", re.DOTALL)


_PARTS: dict[str, Callable[[Tensor], Any]] = {
    "value": lambda tensor: tensor.item(),
    "min": Tensor.min,
    "max": Tensor.max,
    "mean": Tensor.mean,
    "sum": Tensor.sum,
    "above": lambda tensor: (tensor > 0).sum(),
    "below": lambda tensor: (tensor < 0).sum(),
}


def readable(value: float, digits: int = 4) -> str:
    """Return a number with so many digits that count, and a true minus sign."""
    value += 0.0  # no minus before a zero
    plain = value == 0 or 1e-3 <= abs(value) < 1e4 or not math.isfinite(value)
    told = f"{value:.{digits}g}" if plain else f"{value:.{digits - 1}e}"
    return re.sub(r"e([+-])0?", r"e\1", told).replace("e+", "e").replace("-", MINUS)


def _data(value: float, key: str, what: str, told: str) -> Markup:
    """Return a number as it is told, with its exact value and which number of what it is."""
    return Markup('<data value="{}" data-of="{}" data-as="{}">{}</data>').format(
        spelled(value), key, what, told
    )


def _math(formula: str) -> Markup:
    return _formula(typeset(formula))


def _formula(formula: Markup) -> Markup:
    return Markup('<span class="f" lang="en">{}</span>').format(formula)


def _by(sizes: Sequence[int]) -> str:
    return f" {TIMES} ".join(map(str, sizes))


@cache
def _asset(name: str) -> str:
    return (files("limelight.steps") / "html" / name).read_text(encoding="utf-8")


@cache
def _texts(language: str) -> dict[str, Any]:
    return tomllib.loads(_asset(f"{language}.toml"))


def _bars() -> str:
    """Return the styles of the colour bars."""
    styles = []
    for scale, name in (("signed", SIGNED), ("plain", SEQUENTIAL)):
        stops = (colormaps[name](number / 16)[:3] for number in range(17))
        told = ", ".join(f"rgb({', '.join(str(round(c * 255)) for c in stop)})" for stop in stops)
        styles.append(f".bar.{scale} {{ background: linear-gradient(to right, {told}); }}")
    return "\n".join(styles)


def _coloured(table: Tensor, low: float, high: float, colormap: str, most: int = 4 * _CELLS) -> str:
    """Return a table in the colours of its values, a pixel for each; NaN and infinity are grey."""
    step = math.ceil(max(table.shape) / most)
    values = table[::step, ::step].double().numpy()
    known = np.isfinite(values)
    middle = 0.5 if colormap == SIGNED else 0.0
    scaled = (values - low) / (high - low) if high > low else np.full_like(values, middle)
    index = np.where(known, (np.where(known, scaled, 0).clip(0, 1) * 254).round(), 255)
    colours = colormaps[colormap](np.linspace(0, 1, 255))[:, :3]
    picture = Image.fromarray(index.astype(np.uint8))
    picture.putpalette([*(colours * 255).round().astype(np.uint8).ravel().tolist(), 128, 128, 128])
    return _uri(picture, "PNG", optimize=True)


def _picture(photo: Image.Image, most: int = _PIXELS, *, exact: bool = False) -> str:
    """Return a photo, reduced if it is large; exactly if that is asked and it is not."""
    exact = exact and max(photo.size) <= most
    options = {"lossless": True} if exact else {"quality": 88}
    return _uri(_reduced(photo, most).convert("RGB"), "WEBP", **options)


def _reduced(photo: Image.Image, most: int = _PIXELS) -> Image.Image:
    """Return a photo with no side longer than so many pixels."""
    if max(photo.size) <= most:
        return photo
    smaller = photo.copy()
    smaller.thumbnail((most, most))
    return smaller


def _uri(picture: Image.Image, form: str, **options: Any) -> str:
    buffer = BytesIO()
    picture.save(buffer, form, **options)
    return f"data:image/{form.lower()};base64,{b64encode(buffer.getvalue()).decode()}"
