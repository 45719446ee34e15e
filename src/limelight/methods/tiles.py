"""Large pictures cut into windows, each of which is explained by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from limelight.errors import OptionError

#: A window of a picture: where it begins and ends along each axis, in pixels.
WindowBox = tuple[slice, ...]


@dataclass(frozen=True, slots=True)
class Tiles:
    """How a picture is cut into windows.

    Attributes:
        size: The window's size in pixels of the picture: along each axis, or one number for all;
            None for the size that the network takes.
        overlap: Which share of a window the next one covers, in [0, 1).
    """

    size: int | tuple[int, ...] | None = None
    overlap: float = 0.25

    def __post_init__(self) -> None:
        """Refuse a size below 1 pixel, and an overlap that is no share below 1."""
        sides = (
            self.size if isinstance(self.size, tuple) else (1 if self.size is None else self.size,)
        )
        if not sides or not all(_is_whole(side) and side >= 1 for side in sides):
            raise OptionError(
                f"The size of the tiles is {self.size!r}; pixels were expected, as in 512 or "
                "(512, 256), or None for what the network takes."
            )
        number = isinstance(self.overlap, int | float) and not isinstance(self.overlap, bool)
        if not number or not 0 <= self.overlap < 1:
            raise OptionError(
                f"The overlap of the tiles is {self.overlap!r}; a share of their size was "
                "expected, from 0 to below 1."
            )

    @property
    def name(self) -> str:
        """Their name in VIEWS."""
        return "tiles"

    @property
    def made_with(self) -> dict[str, Any]:
        """The name in VIEWS and the arguments that make the same tiles again, as plain values."""
        size = list(self.size) if isinstance(self.size, tuple) else self.size
        return {"tiles": {"size": size, "overlap": self.overlap}}

    def size_for(self, axes: int, default: Sequence[int] | None) -> tuple[int, ...]:
        """Return the window's size along each axis of a picture.

        Args:
            axes: How many axes the picture has.
            default: The size that the network takes; None if that is not known.

        Raises:
            OptionError: The size is not known, or is that of a picture with other axes.
        """
        size = self.size if self.size is not None else default
        if size is None:
            raise OptionError(
                "The tiles have no size, and which size the network takes is not known. Name a "
                "size in pixels of the picture."
            )
        sizes = (size,) * axes if isinstance(size, int) else tuple(size)
        if len(sizes) != axes:
            raise OptionError(
                f"The size of the tiles is {sizes}, and the picture has {axes} axes; one number, "
                "or one for each axis was expected."
            )
        return sizes

    def boxes(self, shape: Sequence[int], size: Sequence[int]) -> list[WindowBox]:
        """Return the windows, row by row, which together cover every pixel of a picture.

        The last window along an axis is moved back inside; a picture that is smaller than the
        window is one window.

        Args:
            shape: The picture's size.
            size: The window's size.
        """
        along_axes = []
        for length, side in zip(shape, size, strict=True):
            step = max(1, round(side * (1 - self.overlap)))
            starts = [*range(0, length - side, step), max(0, length - side)]
            along_axes.append([slice(start, min(start + side, length)) for start in starts])
        return list(product(*along_axes))


def tiles(size: int | tuple[int, ...] | None = None, overlap: float = 0.25) -> Tiles:
    """Explain a large picture window by window, and lay the windows' maps together.

    The network sees one window at a time, so memory is bounded by the window and not by the
    picture. Every window is explained for the same class; the raw map of each lies where its layer
    was measured to look, and where windows overlap their maps are averaged, with weights that fall
    to zero towards a window's border.

        limelight.explain(model, images, views=limelight.tiles(512))
        limelight.explain_photos(network, ["slide.tif"], views=limelight.tiles(1024, 0.5))

    Args:
        size: The window's size in pixels of the picture: along each axis, or one number for all;
            None for the size that the network takes. The windows of a photo are resized to that.
        overlap: Which share of a window the next one covers, in [0, 1).

    Raises:
        OptionError: The size or the overlap cannot be.
    """
    return Tiles(tuple(size) if isinstance(size, list | tuple) else size, overlap)


def _is_whole(side: object) -> bool:
    return isinstance(side, int) and not isinstance(side, bool)
