"""Explained answers made by hand, with maps of random numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from PIL import Image

from limelight.photos.samples import find_sample
from limelight.status import Status
from limelight.vision_language.answer import ExplainedWord, Sink
from limelight.vision_language.explained_answer import ExplainedAnswer

#: The probability of each word with the picture and without it: a cat needs the picture, and so
#: does a mat, though little; the others do not; one is less probable with the picture.
WITH_AND_WITHOUT = {
    "A": (0.5, 0.6),
    "cat": (0.9, 0.01),
    "on": (0.999, 0.97),
    "a": (0.3, 0.16),
    "red": (0.0004, 0.0003),
    "mat": (0.02, 0.001),
    ",": (0.8, 0.7),
    "asleep": (0.25, 0.05),
    ".": (0.997, 0.99),
}

TEXT = "A cat on a red mat, asleep."

#: Of the words, that whose map shows nothing.
SILENT = "asleep"

NOTHING = Status("no-positive-evidence", "Nothing on the grid of 'tower' speaks for this <word>.")

SINKS = (Sink((0.0, 0.0, 0.125, 0.25), 1.0), Sink((0.75, 0.5, 1.0, 1.0), 0.875))


@cache
def sample(name: str) -> Image.Image:
    with Image.open(find_sample(name)) as photo:
        return photo.convert("RGB")


def made(
    text: str = TEXT,
    *,
    question: str = "What do you see?",
    photos: Sequence[str] = ("chelsea",),
    numbers: Mapping[str, tuple[float, float]] = WITH_AND_WITHOUT,
    asked: Sequence[str] | None = None,
    blurred: bool = True,
    sinks: Sequence[Sink] = (),
    cells: Sequence[tuple[int, int]] = ((6, 9), (8, 8), (7, 5)),
    instead: str = "",
    given: bool = False,
) -> ExplainedAnswer:
    """Return an answer; `cells` are the rows and columns of the maps of each photo."""
    rng = np.random.default_rng(0)
    words = []
    for number, found in enumerate(re.finditer(r"\w+|[^\w\s]", text)):
        probability, without = numbers.get(found[0], (0.7, 0.1))
        raw = [rng.normal(size=cells[photo]).astype(np.float32) for photo in range(len(photos))]
        most = max(float(np.abs(one).max()) for one in raw)
        heat = tuple((one / most).clip(0) for one in raw)
        silent = found[0] == SILENT
        with_map = asked is None or found[0] in asked
        words.append(
            ExplainedWord(
                text=found[0],
                start=found.start(),
                end=found.end(),
                tokens=(number + 7,),
                at=(number + 40,),
                log_probability=math.log(probability),
                without_picture=math.log(without) if blurred else None,
                heatmaps=tuple(one * (not silent) for one in heat) if with_map else (),
                signed=tuple(one / most for one in raw) if with_map else (),
                status=(NOTHING if silent else Status("ok")) if with_map else None,
                instead=instead,
                contrast=1.5 if instead else None,
            )
        )
    return ExplainedAnswer(
        photos=tuple(sample(name) for name in photos),
        photo_names=tuple(f"{name}.png" for name in photos),
        question=question,
        text=text,
        words=tuple(words),
        model="hf:some/<model>",
        method="gradcam",
        layer="vision_tower.encoder.layers.3",
        reason="the last layer with a grid",
        sinks=(tuple(sinks), *((),) * (len(photos) - 1)),
        given=given,
    )
