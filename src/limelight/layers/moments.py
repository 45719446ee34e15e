"""The moments of what the numbers of an output look at, and its positions."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from limelight.finish import AxisSpan

#: How well the centres along an axis have to go with the places of the cells: their correlation.
IN_ORDER = 0.95

#: Numbers that answer less than this share of the strongest, in energy, answer to nothing.
SILENT = 1e-7

#: A grid is sharp, so that its cells can be told apart, if they spread less than this many cells.
SHARP = 1.2


class Moments(NamedTuple):
    """The moments measured for an output and one image; A is the number of the picture's axes.

    Attributes:
        energy: The squared change of each number, of the output's shape.
        first: The same with the weight `sqrt(y)`, for each axis y, `[A, *shape]`.
        second: The same with the weight `y`.
    """

    energy: Tensor
    first: Tensor
    second: Tensor


class KnownGrid(NamedTuple):
    """A grid that an output was made of.

    Attributes:
        grid: The sizes of its axes.
        span: Where it lies on the picture.
        fronts: How many tokens were in front of it, in each output of tokens.
    """

    grid: tuple[int, ...]
    span: tuple[AxisSpan, ...] = ()
    fronts: tuple[int, ...] = ()


class Cells(NamedTuple):
    """Where the positions of an output look; N is their number.

    Attributes:
        energy: How much they answer, `[N]`.
        centre: The centres of what they look at, in picture lengths, `[A, N]`.
        spread: Its standard deviation, `[A, N]`.
        placed: Whether they have a place, `[N]`.
    """

    energy: Tensor
    centre: Tensor
    spread: Tensor
    placed: Tensor


def centre_and_spread(energy: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return the centre of what numbers look at and its standard deviation, `[A, ...]` each."""
    centre = first / energy
    return centre, (second / energy - centre.square()).clamp(min=0).sqrt()


def correlation(a: Tensor, b: Tensor) -> list[float]:
    """Return the correlation of each row `[A, n]` with the same row of another."""
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    norms = (a.norm(dim=1) * b.norm(dim=1)).clamp(min=1e-300)
    return [float(r) for r in (a * b).sum(1) / norms]
