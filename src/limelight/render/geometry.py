"""The sides of the body and a scale in millimetres, drawn on medical pictures."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from limelight.photos.geometry import Geometry

#: The lengths of scale bars, in millimetres.
_LENGTHS = tuple(digit * 10.0**power for power in range(-3, 4) for digit in (1, 2, 5))

#: The size of the marks as a share of that of other text: slices are small.
_SHARE = 0.75

#: White letters and lines are seen on white, too.
_EDGE = (withStroke(linewidth=2, foreground="black"),)


def shape_in_figure(height: int, width: int, geometry: Geometry | None) -> float:
    """Return the height of a picture by its width, as it is drawn."""
    return height / width * (1 if geometry is None else geometry.aspect)


def draw_geometry(axes: Axes, width: int, geometry: Geometry | None, size: float) -> None:
    """Write what lies at each side of a picture that fills the axes, and draw a scale.

    Args:
        axes: Of one picture.
        width: That of the picture, in pixels.
        geometry: Of the picture; None draws nothing.
        size: That of letters, in points.
    """
    if geometry is None:
        return
    if geometry.sides is not None:
        left, right, top, bottom = geometry.sides
        for letter, across, up in (
            (left, 0, 0.5),
            (right, 1, 0.5),
            (top, 0.5, 1),
            (bottom, 0.5, 0),
        ):
            axes.text(
                0.07 + 0.86 * across,
                0.07 + 0.86 * up,
                letter,
                transform=axes.transAxes,
                ha=("left", "center", "right")[int(2 * across)],
                va=("bottom", "center", "top")[int(2 * up)],
                fontsize=_SHARE * size,
                color="white",
                path_effects=list(_EDGE),
            )
    if geometry.in_mm:
        _draw_scale(axes, geometry.pixel[1] * width, size)


def _draw_scale(axes: Axes, width: float, size: float) -> None:
    """Draw a bar of up to a third of a picture that is `width` millimetres wide."""
    fitting = [length for length in _LENGTHS if length <= width / 3]
    if not fitting:
        return
    length = fitting[-1]
    end = 0.07 + length / width
    axes.plot(
        [0.07, end],
        [0.08, 0.08],
        transform=axes.transAxes,
        color="white",
        linewidth=1.5,
        solid_capstyle="butt",
        path_effects=list(_EDGE),
        scalex=False,
        scaley=False,
    )
    axes.text(
        0.07,
        0.105,
        f"{length:g} mm" if length < 1000 else f"{length / 1000:g} m",
        transform=axes.transAxes,
        fontsize=_SHARE * size,
        color="white",
        path_effects=list(_EDGE),
    )
