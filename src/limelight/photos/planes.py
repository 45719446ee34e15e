"""Where pictures lie in the body, as DICOM says it: to the left, to the back, and up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from limelight.photos.geometry import AXIAL_SIDES, Sides
from limelight.photos.raster import Numbers

Vector = tuple[float, float, float]

#: What lies where each axis leads, and where it comes from.
_AHEAD, _BEHIND = "LPS", "RAI"

_OPPOSITE = dict(zip(_AHEAD + _BEHIND, _BEHIND + _AHEAD, strict=True))


@dataclass(frozen=True)
class Plane:
    """Where a picture lies, and how its numbers are scaled.

    Attributes:
        position: Where the first pixel is, in millimetres.
        row: Where a row leads, as a vector of length 1.
        column: Where a column leads.
        spacing: The distance between rows, and between columns, in millimetres.
        thickness: That of the slice.
        slope, intercept: What stored numbers are multiplied by, and what is added.
        window: The numbers that are shown as black and as white.
        padding: The stored number that stands for no measurement.
        letters: What lies at the right and at the bottom, where no vectors are known.
    """

    position: Vector | None = None
    row: Vector | None = None
    column: Vector | None = None
    spacing: tuple[float, float] | None = None
    thickness: float | None = None
    slope: float = 1.0
    intercept: float = 0.0
    window: tuple[float, float] | None = None
    padding: float | None = None
    letters: tuple[str, str] | None = None

    @property
    def is_placed(self) -> bool:
        """Whether it is known where the picture lies."""
        return self.position is not None and self.row is not None and self.column is not None

    @property
    def is_scaled(self) -> bool:
        """Whether the stored numbers are not those that are meant."""
        return (self.slope, self.intercept) != (1, 0)

    @property
    def normal(self) -> npt.NDArray[np.float64]:
        """The direction across the picture, to the left, the back or the head of the patient."""
        normal = np.cross(self.row or (), self.column or ())
        return normal if normal[np.abs(normal).argmax()] > 0 else -normal

    @property
    def is_axial(self) -> bool:
        """Whether the picture lies across the body."""
        return self.row is not None and int(np.abs(self.normal).argmax()) == 2

    @property
    def place(self) -> float:
        """How far along its normal the picture lies, in millimetres."""
        return float(np.dot(self.normal, self.position or (0, 0, 0)))

    def is_parallel(self, other: Plane) -> bool:
        """Return whether the rows and columns of two pictures lead to the same sides."""
        directions = (self.row or (), self.column or ()), (other.row or (), other.column or ())
        return all(
            len(one) == len(two) and np.allclose(one, two, atol=1e-3)
            for one, two in zip(*directions, strict=True)
        )


@dataclass(frozen=True)
class Display:
    """How a picture is turned to be shown.

    Axial ones are shown as radiologists do, the patient's right at the left and the face up; all
    others as they are stored.

    Attributes:
        swapped: Whether rows become columns.
        down, across: Whether the rows, and the columns, are then read backwards.
        sides: What lies at the sides of the picture that is shown; None where it is not known.
    """

    swapped: bool = False
    down: bool = False
    across: bool = False
    sides: Sides | None = None

    @classmethod
    def of(cls, plane: Plane) -> Display:
        """Return how a picture is shown."""
        if plane.row is None or plane.column is None:
            return cls(sides=None if plane.letters is None else _sides(*plane.letters))
        if not plane.is_axial:
            return cls(sides=_sides(_letter(plane.row), _letter(plane.column)))
        swapped = abs(plane.row[0]) < abs(plane.row[1])
        across, down = (plane.column, plane.row) if swapped else (plane.row, plane.column)
        return cls(swapped, down[1] < 0, across[0] < 0, AXIAL_SIDES)

    def turned(self, values: Numbers) -> Numbers:
        """Return pictures `[D, H, W, C]` as they are shown."""
        if self.swapped:
            values = values.swapaxes(1, 2)
        return values[:, :: -1 if self.down else 1, :: -1 if self.across else 1]

    def size(self, rows: int, columns: int) -> tuple[int, int]:
        """Return the height and the width that are shown."""
        return (columns, rows) if self.swapped else (rows, columns)

    def spacing(self, plane: Plane) -> tuple[float, float] | None:
        """Return the distance between rows, and between columns, that are shown."""
        if plane.spacing is None:
            return None
        return plane.spacing[::-1] if self.swapped else plane.spacing


def slice_distance(planes: Sequence[Plane]) -> float | None:
    """Return how far sorted pictures lie from each other, in millimetres; None if not known."""
    if len(planes) > 1 and all(plane.is_placed for plane in planes):
        distance = float(np.median(np.diff([plane.place for plane in planes])))
        if distance > 0:
            return distance
    return planes[0].thickness


def _letter(direction: Vector) -> str:
    """Return what lies where a direction leads, as far as one letter says it."""
    axis = int(np.abs(direction).argmax())
    return (_AHEAD if direction[axis] > 0 else _BEHIND)[axis]


def _sides(right: str, bottom: str) -> Sides:
    return _OPPOSITE[right], right, _OPPOSITE[bottom], bottom
