"""How large the pixels of a picture are, and how it lies in the body."""

from __future__ import annotations

from dataclasses import dataclass, replace

#: What of the body lies at the left, the right, the top and the bottom of a picture: R, L (right,
#: left), A, P (anterior, posterior), S or I (superior, inferior), seen from the patient.
Sides = tuple[str, str, str, str]

#: Axial slices are shown as radiologists look at them: from the feet, the face up.
AXIAL_SIDES: Sides = ("R", "L", "A", "P")


@dataclass(frozen=True, slots=True)
class Geometry:
    """The size of a picture's pixels, and how the picture lies in the body.

    Attributes:
        pixel: Height and width of a pixel.
        sides: What of the body lies at each side; None where it is not known.
        in_mm: Whether height and width are millimetres; else only their ratio is known.
    """

    pixel: tuple[float, float]
    sides: Sides | None = None
    in_mm: bool = True

    @property
    def aspect(self) -> float:
        """The height of a pixel by its width."""
        return self.pixel[0] / self.pixel[1]

    def enlarged(self, down: float, across: float) -> Geometry:
        """Return that of the same picture in `down` times as many rows, `across` times columns."""
        return replace(self, pixel=(self.pixel[0] / down, self.pixel[1] / across))
