"""The page of a walkthrough: one HTML file that asks for nothing else.

The words are in `html/en.toml` and `html/zh.toml`, the shape in `html/walkthrough.html`, the
numbers and maps in `page_numbers.py`, the pictures in `drawings.py`.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import torch
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from PIL import Image
from torch import Tensor

from limelight.drawing import as_pictures
from limelight.explanation import Explanation
from limelight.layers import INPUT
from limelight.methods import Method
from limelight.plain import as_json
from limelight.render.maps import SEQUENTIAL
from limelight.render.overlays import colourise
from limelight.steps.data import WalkthroughData
from limelight.steps.drawings import (
    bar_chart,
    bar_styles,
    cell_outlines,
    photo_picture,
    reduced,
    region_picture,
)
from limelight.steps.formulas import TIMES, marked, typeset
from limelight.steps.page_numbers import Map, PageNumbers, averaged
from limelight.translations.languages import Language
from limelight.translations.library import in_language

#: How many channels are shown of those that weigh most or add most, and of those that weigh least.
_MOST, _LEAST = 6, 3


#: The longest side of the overlay of another method, in pixels.
_SMALL_PIXELS = 320


def page(walkthrough: WalkthroughData, language: Language) -> str:
    """Return the page in a language."""
    return _Page(walkthrough, language).render()


class _Card(NamedTuple):
    """One channel."""

    channel: int
    activations: Map
    gradients: Map | None
    weights: Map | None
    adds: Map


class _Page:
    """A page in the making."""

    def __init__(self, walkthrough: WalkthroughData, language: Language) -> None:
        self.w, self.language = walkthrough, language
        self.texts = _texts(language)
        self.numbers = PageNumbers(walkthrough)
        self.channelwise = walkthrough.weights.ndim == 1
        self.order = walkthrough.order.tolist()
        same = walkthrough.gradients is not None and torch.equal(
            walkthrough.weights, walkthrough.gradients
        )
        self.weights_differ = not self.channelwise and not same
        self.input = self._input()
        #: What the heatmap is laid over, no larger than it is shown.
        self.photo = reduced(walkthrough.photo or self.input)
        self.weight = "alpha_k" if walkthrough.method.name == "gradcam" else "w_k"

    def render(self) -> str:
        """Fill in the template."""
        environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        environment.globals |= {
            "say": self._say,
            "in_language": in_language,
            "number": self.numbers.number,
            "typeset": _formula,
        }
        context = {**self._words(), **self._pictures(), **self._maps()}
        return environment.from_string(_asset("walkthrough.html")).render(
            w=self.w,
            language=self.language,
            texts=self.texts,
            **context,
            style=Markup(_asset("walkthrough.css") + bar_styles()),
            script=Markup(_asset("walkthrough.js")),
            maps=self._values(),
        )

    def _words(self) -> dict[str, object]:
        """Return the words and plain values of the page."""
        w, explanation = self.w, self.w.explanation
        image = explanation.image
        return {
            # A detector may have several answers of one class; the first is the best.
            "explained": next(
                (n for n, answer in enumerate(w.answers) if answer.number == w.explained), None
            ),
            "colours": self.texts["photo"]["colours"]
            if image.shape[1] == 3
            else [str(number) for number in range(image.shape[1])],
            "image_size": _by(image.shape[2:]),
            "grid": _by(w.activations.shape[1:]),
            "cells": math.prod(w.activations.shape[1:]),
            "resized": self._resized(),
            "at_input": explanation.layer == INPUT,
            "averaged": averaged(w.gradients),
            "idle": not bool(w.strength.any()),
            "per_cell": not self.channelwise,
            "weight": self.weight,
            "strongest": self.order[:3],
        }

    def _pictures(self) -> dict[str, object]:
        """Return the photo, and what is laid over it."""
        explanation, region = self.w.explanation, self.w.explanation.region
        outlined = region is not None and region.ndim == 3 and not bool(region[0].all())
        charted = "weights" if self.channelwise else "totals"
        return {
            "photo": photo_picture(self.photo),
            "input": photo_picture(self.input, exact=True),
            "overlay": photo_picture(self._overlay(explanation)),
            "heat": photo_picture(self._heat()),
            "looking": self._looking(),
            "region": region_picture(self.input, region[0])
            if outlined and region is not None
            else "",
            "charted": charted,
            "chart": bar_chart(self.numbers.tensor(charted)),
        }

    def _maps(self) -> dict[str, object]:
        """Return the maps of the page, in their order."""
        w, draw = self.w, self.numbers.map
        return {
            "groups": [(name, list(map(self._card, ks))) for name, ks in self._groups()],
            "sums": [
                {"map": draw(f"sums/{number}"), "count": count}
                for number, count in enumerate(w.counts)
            ],
            "raw": draw("raw"),
            "kept": draw("kept"),
            "heatmap": draw("heatmap", span=(0.0, 1.0)),
            "others": [
                self._method(w.method, w.explanation, w.weights, "raw", "weights"),
                *(
                    self._method(*other, f"beside/{number}", f"others/{number}")
                    for number, other in enumerate(w.beside)
                ),
            ],
        }

    def _values(self) -> Markup:
        """Return the values that the script needs: of all maps, and of the list of channels."""
        listed = ["weights" if self.channelwise else "strength", "totals"]
        for key in listed:
            self.numbers.keep(key, self.numbers.tensor(key)[None], whole=True)
        packed = {"maps": self.numbers.maps, "order": self.order, "listed": listed}
        # Nothing in it may end the script element.
        return Markup(as_json(packed).replace("<", "\\u003c"))

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
            channels = [channel for channel in ranked if channel in left][:count]
            left.difference_update(channels)
            groups.append((name, channels))
        return groups

    def _card(self, channel: int) -> _Card:
        draw = self.numbers.map
        return _Card(
            channel=channel,
            activations=draw(f"activations/{channel}"),
            gradients=None if self.w.gradients is None else draw(f"gradients/{channel}"),
            weights=draw(f"weights/{channel}") if self.weights_differ else None,
            adds=draw(f"contributions/{channel}"),
        )

    def _method(
        self,
        method: Method,
        explanation: Explanation,
        weights: Tensor | None,
        raw_key: str,
        weights_key: str,
    ) -> dict[str, object]:
        """Return the row of a method, whose raw map and weights have these names on the page."""
        status = explanation.status[0]
        channels = self.order[:3] if weights is not None and weights.ndim == 1 else []
        return {
            "name": str(method),
            "formula": _as_formula(marked(method.formula)),
            "use": in_language(method.use, self.language),
            "weighs": weights is not None,
            "weights": [self.numbers.number(f"{weights_key}/{k}") for k in channels],
            "likeness": self.numbers.number(raw_key, "likeness"),
            "status": ""
            if status.name in ("ok", self.w.explanation.status[0].name)
            else self._say(f"status.{status.name}"),
            "raw": self.numbers.map(raw_key),
            "overlay": photo_picture(self._overlay(explanation), _SMALL_PIXELS),
        }

    def _input(self) -> Image.Image:
        """Return the network's input as a picture."""
        explanation = self.w.explanation
        if self.w.preprocess is not None and explanation.image.ndim == 4:
            return self.w.preprocess.picture(explanation.image[0])
        return explanation.pictures()[0]

    def _photos(self, explanation: Explanation) -> list[Image.Image] | None:
        """Return what to draw on: only pictures `[B, C, H, W]` take a photo."""
        return [self.photo] if explanation.image.ndim == 4 else None

    def _overlay(self, explanation: Explanation) -> Image.Image:
        """Return the article's overlay, whose formula the page shows."""
        (overlay,) = explanation.overlay(self._photos(explanation), alpha=None)
        return overlay

    def _looking(self) -> dict[str, object] | None:
        """Return the picture of where the hottest cell looks; None if that is not known."""
        cells, hottest = self.w.cells, self.w.hottest
        if cells is None or hottest is None:
            return None
        return {
            "photo": photo_picture(self.photo, _SMALL_PIXELS),
            "row": hottest[0] + 1,
            "column": hottest[1] + 1,
            **cell_outlines(cells, hottest, self.photo.size),
        }

    def _heat(self) -> Image.Image:
        """Return the heatmap in its colours, as it is laid over the photo."""
        explanation = self.w.explanation
        (drawn,) = as_pictures([explanation], self._photos(explanation))
        return colourise(drawn.heatmaps[0], SEQUENTIAL)

    def _resized(self) -> Markup:
        """Return in words how the photo was resized before the crop."""
        resize = None if self.w.preprocess is None else self.w.preprocess.resize
        if resize is None:
            return Markup("")
        if isinstance(resize, int):
            return self._say("photo.resized_side", side=resize)
        return self._say("photo.resized_box", side=_by(resize))

    def _say(self, key: str, **values: object) -> Markup:
        """Return a text in the page's language, its formulas set, its places filled in."""
        text: Any = self.texts
        for part in key.split("."):
            text = text[part]
        text = text.strip().replace("WEIGHT", self.weight)
        kind = "photo" if self.w.explanation.image.ndim == 4 else "input"
        text = text.replace("THING", self.texts["thing"][kind])
        return Markup(_FORMULA.sub(lambda match: _formula(match[1]), text)).format(**values)


_FORMULA = re.compile(r"\$(.+?)\$", re.DOTALL)


def _formula(formula: str) -> Markup:
    return _as_formula(typeset(formula))


def _as_formula(formula: Markup) -> Markup:
    return Markup('<span class="f" lang="en">{}</span>').format(formula)


def _by(sizes: Sequence[int]) -> str:
    return f" {TIMES} ".join(map(str, sizes))


@cache
def _asset(name: str) -> str:
    return (files("limelight.steps") / "html" / name).read_text(encoding="utf-8")


@cache
def _texts(language: str) -> dict[str, Any]:
    return tomllib.loads(_asset(f"{language}.toml"))
