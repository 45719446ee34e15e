"""Figures that a notebook shows, also without `%matplotlib inline`."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import PIL.Image
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from limelight.notebook import MOST_PNG, MOST_PNG_ALONE, small_png
from limelight.render.texts import prepare_texts

#: The widest a figure is shown in a notebook, in pixels.
_MOST_PIXELS = 1400


class ShownFigure(Figure):
    """A figure made without pyplot, which a notebook shows as any other."""

    def _repr_png_(self) -> bytes:
        """Show the figure in a notebook."""
        return small_png(_reduced(figure_picture(self)), MOST_PNG_ALONE)


def figure_picture(sheet: Figure) -> PIL.Image.Image:
    """Return a figure as a picture, on white."""
    prepare_texts(sheet)
    sheet.set_facecolor("white")
    canvas = FigureCanvasAgg(sheet)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return PIL.Image.fromarray(pixels).convert("RGB")


def figures_png(sheets: Iterable[Figure]) -> bytes:
    """Return figures, one below the other, as the PNG that stands beside HTML in a notebook."""
    pictures = list(map(figure_picture, sheets))
    width, height = max(each.width for each in pictures), sum(each.height for each in pictures)
    joined, top = PIL.Image.new("RGB", (width, height), "white"), 0
    for each in pictures:
        joined.paste(each, (0, top))
        top += each.height
    return small_png(_reduced(joined), MOST_PNG)


def _reduced(picture: PIL.Image.Image) -> PIL.Image.Image:
    picture.thumbnail((_MOST_PIXELS, 4 * _MOST_PIXELS), PIL.Image.Resampling.LANCZOS)
    return picture
