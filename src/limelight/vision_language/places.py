"""Where the pieces that a model is given lie on the photo: measured through its processor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from limelight.errors import InputError
from limelight.inputs import ModelInputs

#: Makes the model's keyword arguments of photos, with the text of the prompt.
Process = Callable[[Sequence[Image.Image]], dict[str, Any]]


class PieceBox(NamedTuple):
    """A box on a photo, in photo lengths: (0, 0, 1, 1) is the whole photo.

    It may reach past the photo, where the processor pads it.
    """

    x0: float
    y0: float
    x1: float
    y1: float


#: How far a number of the input may look from where its line says, in lengths of its piece.
_OFF = 0.04

#: How far 8 bits may be off, in lengths of the photo: the ramp is rounded, and what a filter makes
#: of it is rounded again. A piece that sees a thirtieth of the photo has only eight shades.
_ROUNDED = 1 / 255

#: How much of the contrast between black and white a number has to have that looks at the photo: at
#: the border of padding a filter mixes both.
_SEEN = 0.5

#: Sides so close to the photo's border lie on it: ramps of 8 bits do not tell them apart.
_ON_BORDER = 0.01

#: Next to the border of a photo a filter sees no full ramp.
_BORDER = 0.03


def piece_places(
    process: Process, photos: Sequence[Image.Image], photo: int, picture: int | None
) -> list[PieceBox | None]:
    """Return for each piece of a photo in the model's input where it lies on the photo.

    A piece is a crop, or the whole photo made small, or the grid of packed patches. Four photos of
    the same size go through the processor in place of the photo: black b, white w, and ramps r from
    black to white, from left to right and from top to bottom. A number of the input that looks at
    the place u of the photo becomes `r = b + (w - b) u`, whatever the processor's resizing,
    padding and normalising; so `u = (r - b) / (w - b)`, and where b = w it does not see the photo.
    Along each axis of the piece a line is fitted to u.

    Where a processor normalises each photo by its own mean and deviation, so that black and white
    become the same, the ramps from white to black say how large the contrast is.

    Args:
        process: Makes the model's keyword arguments of photos.
        photos: The photos of the prompt.
        photo: The number of the photo.
        picture: The number of the picture among the model's inputs that is read; None if the pieces
            of all photos are read together.

    Returns:
        For each piece, its box; None for a piece of padding alone, or of another photo.

    Raises:
        InputError: The ramps are no lines along the axes of the pieces: what the processor makes
            was misread.
    """
    width, height = photos[photo].size

    def seen(values: np.ndarray[Any, Any]) -> Tensor:
        grey = np.broadcast_to((values * 255).round().astype(np.uint8), (height, width))
        test = Image.fromarray(np.ascontiguousarray(grey)).convert("RGB")
        given = [test if number == photo else other for number, other in enumerate(photos)]
        return _pieces(ModelInputs.of(process(given), picture).image)

    across = ((np.arange(width) + 0.5) / width)[None]
    down = ((np.arange(height) + 0.5) / height)[:, None]
    black, white = seen(np.zeros((1, 1))), seen(np.ones((1, 1)))
    ramps = [seen(across), seen(down)]
    contrast = white - black
    if float(contrast.abs().max()) == 0:
        black, contrast = _own_contrast(ramps, [seen(1 - across), seen(1 - down)])
    sees = contrast.abs() > _SEEN * contrast.abs().max()
    u, v = (_mean((ramp - black) / contrast.where(sees, 1), sees) for ramp in ramps)
    shown = sees.any(1)
    return [_box(u[t], v[t], shown[t]) for t in range(len(u))]


def _pieces(image: Tensor) -> Tensor:
    """Return the pieces `[T, C, h, w]` of a picture `[1, C, h, w]` or `[1, C, T, h, w]`."""
    cells = image[0].double()
    return cells[None] if cells.ndim == 3 else cells.transpose(0, 1)


def _own_contrast(ramps: list[Tensor], reverses: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return black and contrast where each photo is normalised by its own numbers.

    A ramp and its reverse add up to black plus white, and differ by up to their contrast.
    """
    sums = torch.stack([r + s for r, s in zip(ramps, reverses, strict=True)])
    spans = torch.stack([r - s for r, s in zip(ramps, reverses, strict=True)]).abs()
    contrast = spans.max()
    sees = spans.amax(0) > 0
    black = (sums.mean(0) - contrast) / 2
    return black, sees * contrast


def _mean(values: Tensor, sees: Tensor) -> Tensor:
    """Return the mean over the numbers of each cell that see the photo, `[T, h, w]`."""
    return (values * sees).sum(1) / sees.sum(1).clamp(min=1)


def _box(u: Tensor, v: Tensor, shown: Tensor) -> PieceBox | None:
    """Return the box of a piece from where its cells look, `[h, w]` each."""
    if not shown.any():
        return None
    x0, x1 = _line(u, v, shown)
    y0, y1 = _line(v.T, u.T, shown.T)
    return PieceBox(x0, y0, x1, y1)


def _line(u: Tensor, other: Tensor, shown: Tensor) -> tuple[float, float]:
    """Return where a piece begins and ends along its columns, by a line fitted to `u [h, w]`.

    Raises:
        InputError: The columns do not look where a line says.
    """
    count = u.shape[1]
    columns = ((torch.arange(count, device="cpu") + 0.5) / count).double().expand_as(u)
    inside = shown & (u > _BORDER) & (u < 1 - _BORDER) & (other > _BORDER) & (other < 1 - _BORDER)
    kept = inside if len(set(columns[inside].tolist())) > 1 else shown
    x, y = columns[kept], u[kept]
    if len(set(x.tolist())) == 1:  # a single column: it reaches as far to both sides as it can
        half = min(float(y.mean()), 1 - float(y.mean())) * count
        centre = float(y.mean()) - (float(x[0]) - 0.5) * 2 * half
        return centre - half, centre + half
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    start = float(y.mean() - slope * x.mean())
    off = float((y - start - slope * x).abs().max())
    if not slope > 0 or off > max(_OFF * max(slope, 1 / count), _ROUNDED):
        raise InputError(
            "Where the parts of the model's input lie on the photo could not be measured: a ramp "
            f"from black to white is no line along them (it is off by {off:.3f} of the photo). The "
            "processor turns, mirrors or mixes them, or its pictures were read in a wrong order. "
            "Explain the tensors themselves: limelight.explain(model, inputs, target=Words(...))."
        )
    return _on_border(start, 0.0), _on_border(start + slope, 1.0)


def _on_border(place: float, border: float) -> float:
    """Return a place, or the border if it is next to it."""
    return border if abs(place - border) < _ON_BORDER else place
