"""How figures are made for a page: their width, resolution and font size, as one value."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final, Literal

from limelight.errors import OptionError

#: Whether each map has a colour scale of its own, or all maps of a figure have one.
MapScale = Literal["each", "shared"]

#: How many inches a unit is.
_UNITS = {"mm": 1 / 25.4, "cm": 1 / 2.54, "in": 1.0}

#: A width with its unit.
_WIDTH = re.compile(r"\s*(?P<number>\d+(\.\d*)?|\.\d+)\s*(?P<unit>mm|cm|in)?\s*")

#: The least and the most inches, dots per inch and points.
_WIDTHS, _DPI, _FONT_SIZES = (1.5, 40.0), (30, 2400), (4.0, 24.0)


@dataclass(frozen=True, slots=True)
class FigureStyle:
    """The width, resolution and font size of a figure.

        column = limelight.FigureStyle(width="85mm", dpi=300, font_size=8)
        result.save("figure.pdf", style=column)

    Attributes:
        width: How wide the page is: "85mm", "8.5cm", "3.3in", or a number of inches. None for a
            width that follows from what is drawn.
        dpi: Pixels per inch of a png, jpg or webp, and of the photos in a pdf or svg; None for
            what suits a screen, 150 or 200.
        font_size: The size of all text, in points, whatever the width.
    """

    width: str | float | None = None
    dpi: int | None = None
    font_size: float = 8.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            OptionError: One of them makes no sense.
        """
        least, most = _WIDTHS
        inches = self.inches
        if inches is not None and not least <= inches <= most:
            raise OptionError(
                f"width is {self.width!r}, {inches * 25.4:.4g} mm; from {least * 25.4:.0f} to "
                f"{most * 25.4:.0f} mm was expected, as in '85mm'."
            )
        _check_range("dpi", self.dpi, _DPI, "pixels per inch")
        _check_range("font_size", self.font_size, _FONT_SIZES, "points")

    @property
    def inches(self) -> float | None:
        """The width in inches; None for one that follows from what is drawn."""
        if self.width is None:
            return None
        match = _WIDTH.fullmatch(str(self.width))
        if match is None or isinstance(self.width, bool):
            raise OptionError(
                f"width is {self.width!r}; a number with a unit was expected, as in '85mm', "
                "'8.5cm' or '3.3in'. A number alone is inches."
            )
        return float(match["number"]) * _UNITS[match["unit"] or "in"]

    def dots(self, usual: int) -> int:
        """Return the pixels per inch, which are `usual` unless others were asked for."""
        return self.dpi or usual


def _check_range(name: str, value: float | None, limits: tuple[float, float], unit: str) -> None:
    """Refuse a value that is no number from the first limit to the second.

    Raises:
        OptionError: It is none.
    """
    if value is None:
        return
    least, most = limits
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not least <= value <= most:
        raise OptionError(f"{name} is {value!r}; {least:g} to {most:g} {unit} were expected.")


#: A width that follows from what is drawn, and text of 8 points.
USUAL_STYLE: Final = FigureStyle()
