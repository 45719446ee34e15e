"""What the colours of maps stand for, and the colour bar that says so."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from limelight.plain import MINUS
from limelight.render.maps import SEQUENTIAL
from limelight.render.pages import Page
from limelight.render.texts import fitted, inches_of, line_count, line_inches

_BAR_INCHES = 0.09  # the height of a bar

_TICK_INCHES = 0.05  # from the bar to its numbers


@dataclass(frozen=True, slots=True)
class HeatColours:
    """What the colours of maps stand for.

    Attributes:
        colormap: The name of a matplotlib colour map.
        signed: Whether maps are in [-1, 1], with zero in the middle of the colours; else in [0, 1].
        limit: The value that the last colour stands for.
        label: What the values are, in words.
    """

    colormap: str = SEQUENTIAL
    signed: bool = False
    limit: float = 1.0
    label: str = "heat; each map's own maximum is 1"

    @property
    def ticks(self) -> dict[float, str]:
        """The values that are marked on the bar, and how they are written."""
        middle = 0.0 if self.signed else self.limit / 2
        ends = (-self.limit if self.signed else 0.0, middle, self.limit)
        return {value: f"{value:.3g}".replace("-", MINUS) for value in ends}


@dataclass(frozen=True, slots=True)
class ColourBar:
    """A horizontal colour bar with its numbers and, below them, its label; laid out, not drawn.

    Attributes:
        colours: What it shows.
        size: The size of its text, in points.
        length: The length of the bar, in inches.
        label: The label, in lines.
    """

    colours: HeatColours
    size: float
    length: float
    label: str

    @classmethod
    def fit(cls, colours: HeatColours, size: float, length: float, width: float) -> ColourBar:
        """Lay out a bar of a length, whose label may be as wide as the page, in inches."""
        numbers = 1.6 * sum(inches_of(number, size) for number in colours.ticks.values())
        return cls(
            colours,
            size,
            min(width, max(length, numbers)),
            fitted(colours.label, width, size, lines=4),
        )

    @property
    def height(self) -> float:
        """The height of bar, numbers and label, in inches."""
        lines = line_inches(self.size, 1 + line_count(self.label))
        return _BAR_INCHES + _TICK_INCHES + lines

    def draw(self, page: Page, middle: float, top: float) -> None:
        """Draw the bar on a page, around `middle`, from `top` down; both in inches."""
        colours = self.colours
        axes = page.add_axes(middle - self.length / 2, top, self.length, _BAR_INCHES)
        norm = Normalize(-colours.limit if colours.signed else 0, colours.limit)
        mappable = ScalarMappable(norm, colours.colormap)
        bar = page.figure.colorbar(
            mappable, cax=axes, orientation="horizontal", ticks=list(colours.ticks)
        )
        bar.ax.set_xticklabels(list(colours.ticks.values()))
        bar.ax.tick_params(labelsize=self.size, length=2, pad=1.5)
        bar.outline.set_linewidth(0.4)
        if colours.signed:
            bar.ax.axvline(0, color="black", linewidth=0.8)
        first, *_, last = bar.ax.get_xticklabels()
        first.set_horizontalalignment("left")
        last.set_horizontalalignment("right")
        below = top + _BAR_INCHES + _TICK_INCHES + line_inches(self.size)
        page.write(self.label, middle, below, self.size)
