"""Pictures of an explained answer: the maps of its words over the photos."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from limelight.figure_style import FigureStyle
from limelight.map_views import colours_of_maps
from limelight.notebook import MapPanel, MapsView, MapTile, maps_html
from limelight.vision_language.answer import AnswerData, ExplainedWord
from limelight.vision_language.canvas import Cells

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from limelight.render import Panel

#: How many words a notebook shows, and how long the longer side of their photos is, in pixels.
_MOST_WORDS, _NOTEBOOK_PIXELS = 24, 440


def at_size(cells: Cells, size: tuple[int, int]) -> Cells:
    """Return a coarse map as large as a picture of (width, height), `[H, W]`: bilinear."""
    picture = Image.fromarray(np.asarray(cells, dtype=np.float32))
    larger: Cells = np.array(picture.resize(size, Image.Resampling.BILINEAR))
    return larger


def answer_figure(answer: AnswerData, *, signed: bool, style: FigureStyle) -> Figure:
    """Draw for each photo the maps of all words that have one."""
    from limelight import render

    colours = render.HeatColours(signed=signed) if signed else render.HeatColours()
    blocks = []
    for number, photo in enumerate(answer.photos):
        small = _reduced(photo, render.panel_pixels(style))
        panels = [_panel(word, number, small, signed=signed) for word in answer.explained]
        name = answer.photo_names[number]
        title = _title(answer) if number == 0 else name
        blocks.append(render.Block(small, title, panels, name=name))
    return render.sheet(blocks, colours=colours, style=style, sentence=_how(answer))


def answer_html(answer: AnswerData) -> str:
    """Return an answer as HTML for a notebook, with the word to choose."""
    from limelight import render

    photos = [_reduced(photo, _NOTEBOOK_PIXELS) for photo in answer.photos]
    words = answer.explained
    panels = []
    for word in words[:_MOST_WORDS]:
        tiles = []
        for number, photo in enumerate(photos):
            heat = at_size(word.heatmaps[number], photo.size)
            tiles.append(
                MapTile(
                    photo=number,
                    heat=render.colourise(heat),
                    overlay=render.overlay(photo, heat),
                    title=word.text,
                    facts=facts(word),
                    note=word.status_reason,
                )
            )
        panels.append(MapPanel(word.text, tiles))
    more = len(words) - len(panels)
    return maps_html(
        MapsView(
            heading=_title(answer),
            chosen="word",
            photos=photos,
            panels=panels,
            colours=colours_of_maps(),
            more=f"Not shown: {more} more words." if more > 0 else "",
            notes=[_how(answer)],
        )
    )


def facts(word: ExplainedWord) -> str:
    """Return how probable a word is, and how much of that is the picture, in a few words."""
    said = [f"p {word.probability:.2g}"]
    if word.without_picture is not None:
        said.append(f"{np.exp(word.without_picture):.2g} without the picture")
    if word.needs_picture is False:
        said.append("needs no picture")
    elif word.undecided:
        said.append("undecided")
    if word.contrast is not None:
        said.append(f"{word.contrast:+.2f} nats over {word.instead!r}")
    return ", ".join(said)


def _panel(word: ExplainedWord, photo: int, picture: Image.Image, *, signed: bool) -> Panel:
    from limelight import render

    cells = (word.signed if signed else word.heatmaps)[photo]
    note = "" if word.status is None or word.status.ok else str(word.status)
    return render.Panel(at_size(cells, picture.size), word.text, facts(word), note)


def _title(answer: AnswerData) -> str:
    return f"{answer.question} — {answer.text}" if answer.question else answer.text


def _how(answer: AnswerData) -> str:
    """Return how the maps were made, in a line."""
    sinks = " · sinks subtracted" if answer.subtracted else ""
    return f"{answer.model} · {answer.method} at {answer.layer}{sinks}"


def _reduced(photo: Image.Image, side: int) -> Image.Image:
    small = photo.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small
