"""A page: a figure, or a part of one, on which everything is placed in inches from the top left."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from limelight.render.texts import TITLE_PAD, fitted, inches_of, line_count, line_inches

#: The empty border of a figure, and the space between two pictures, in inches.
MARGIN, GAP = 0.08, 0.08


class Page:
    """A figure, or a part of one, of a known width and height in inches."""

    def __init__(self, figure: FigureBase, width: float, height: float) -> None:
        """Lay a page over a figure."""
        self.figure, self.width, self.height = figure, width, height

    def add_axes(
        self, left: float, top: float, width: float, height: float, **options: Any
    ) -> Axes:
        """Add axes at a place, in inches."""
        return self.figure.add_axes(self._share(left, top, width, height), **options)

    def place(self, axes: Axes, left: float, top: float, width: float, height: float) -> None:
        """Move axes to a place, in inches."""
        axes.set_position(self._share(left, top, width, height))

    def _share(
        self, left: float, top: float, width: float, height: float
    ) -> tuple[float, float, float, float]:
        """Return a place in shares of the page, from the bottom left, as matplotlib takes it."""
        bottom = self.height - top - height
        across, up = self.width, self.height
        return left / across, bottom / up, width / across, height / up

    def write(
        self,
        text: str,
        x: float,
        top: float,
        size: float,
        *,
        align: str = "center",
        **options: Any,
    ) -> None:
        """Write text below a height, in inches: its middle, or its left end, at `x`."""
        if text:
            self.figure.text(
                x / self.width,
                1 - top / self.height,
                text,
                fontsize=size,
                ha=align,
                va="top",
                parse_math=False,
                **options,
            )


class Heading:
    """A heading that says what is explained, and how: on one line, or on two if both do not fit.

    Attributes:
        height: How high it is, in inches.
    """

    def __init__(self, what: str, how: str, width: float, size: float) -> None:
        """Lay it out in a width, in inches."""
        beside = width - inches_of(fitted(how, width, size), size) - 2 * GAP
        self._one_line = line_count(fitted(what, max(beside, 0.1), size, bold=True, lines=2)) == 1
        self._what = fitted(what, width, size, bold=True, lines=3)
        self._how = fitted(how, width, size, lines=3)
        self._width, self._size = width, size
        lines = line_count(self._what)
        self.height = line_inches(size, lines if self._one_line else lines + line_count(self._how))

    def write(self, page: Page, left: float, top: float) -> None:
        """Write it on a page, from a place on."""
        page.write(self._what, left, top, self._size, align="left", fontweight="bold")
        if self._one_line:
            page.write(self._how, left + self._width, top, self._size, align="right")
        else:
            below = top + line_inches(self._size, line_count(self._what))
            page.write(self._how, left, below, self._size, align="left")


def label_axes(axes: Axes, size: float) -> tuple[float, float]:
    """Set the size of ticks and labels, and return what they take beside and below the axes.

    Both are in inches.
    """
    axes.tick_params(labelsize=size, length=2, pad=2)
    axes.xaxis.labelpad = axes.yaxis.labelpad = 2
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_fontsize(size)
    numbers = axes.yaxis.get_major_formatter().format_ticks(list(axes.get_yticks()))
    ticks = 6 / 72  # the ticks, and the space on both sides of their numbers
    beside = max((inches_of(each, size) for each in numbers), default=0.0) + ticks
    beside += line_inches(size, line_count(axes.get_ylabel()))
    below = ticks + line_inches(size, 1 + line_count(axes.get_xlabel()))
    return beside, below


def write_title(axes: Axes, text: str, size: float, *, bold: bool = False) -> None:
    """Write a title over axes; a dollar sign in it is no formula."""
    axes.set_title(
        text,
        fontsize=size,
        fontweight="bold" if bold else "normal",
        pad=TITLE_PAD * 72,
        parse_math=False,
    )
