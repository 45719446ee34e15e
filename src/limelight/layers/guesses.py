"""What the shape of an output suggests about its layout, until it is measured.

A guess decides nothing alone: it says which layers are worth measuring.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product

from limelight.layers.layouts import Layout

#: A grid has the image's proportions if its `mismatch` with the image is below this.
SAME_PROPORTIONS = 0.3


#: The most extra tokens (class, distillation, registers) that are guessed to be before the patches.
MOST_PREFIX_TOKENS = 16


def mismatch(grid: Sequence[int], image: Sequence[int]) -> float:
    """Return how far a grid's proportions are from the image's: 0 when they agree.

    `max |log(g_i / s_i) - mean_j log(g_j / s_j)|` over the axes i; infinite when the grid is finer
    than the image.
    """
    return max(_deviations(grid, image))


def _deviations(grid: Sequence[int], image: Sequence[int]) -> list[float]:
    """Return the deviations of which `mismatch` is the largest, one per axis."""
    if any(g < 1 or g > s for g, s in zip(grid, image, strict=True)):
        return [math.inf]
    scales = [math.log(g / s) for g, s in zip(grid, image, strict=True)]
    middle = sum(scales) / len(scales)
    return [abs(scale - middle) for scale in scales]


def _fits_as_well(grid: Sequence[int], other: Sequence[int], image: Sequence[int]) -> bool:
    """Return whether one grid's proportions are at least as near to the image's as another's.

    If the largest deviations are the same but for rounding, which differs between machines, the
    sums of squared deviations decide.
    """
    ours, theirs = _deviations(grid, image), _deviations(other, image)
    if not math.isclose(max(ours), max(theirs), rel_tol=1e-9):
        return max(ours) < max(theirs)
    squares = [sum(d * d for d in deviations) for deviations in (ours, theirs)]
    return squares[0] < squares[1] or math.isclose(*squares, rel_tol=1e-9)


def guess_layout(
    shape: Sequence[int], image: Sequence[int], grids: Sequence[tuple[int, ...]] = ()
) -> Layout | None:
    """Find how an output of this shape becomes a grid over an image.

    Args:
        shape: The shape of the layer's output for one image, batch first.
        image: The sizes of the input's grid axes, `[H, W]` for a picture.
        grids: The grids found earlier in the same pass, newest last; tokens come from one of them.

    Returns:
        The layout, or None when no reading of the shape makes a grid.
    """
    axes = len(image)
    if axes == 3 and len(shape) == 4 and 1 < shape[0] == image[0]:  # one picture per frame
        grid = (shape[0], *shape[2:])
        return Layout("frames", grid) if mismatch(grid, image) < math.inf else None
    if axes == 1 and len(shape) == 3 and (shape[2],) not in grids:
        as_tokens = _tokens(shape[1], image, grids)
        if as_tokens:
            return as_tokens
    if axes and len(shape) == axes + 2:
        first, last = tuple(shape[2:]), tuple(shape[1:-1])
        # On a tie channels come first, as they do in every convolution.
        if _fits_as_well(first, last, image):
            return Layout("channels first", first) if mismatch(first, image) < math.inf else None
        return Layout("channels last", last)
    if axes >= 2 and len(shape) == 3:
        return _tokens(shape[1], image, grids)
    return None


def guess_pieces(
    shape: Sequence[int],
    image: Sequence[int],
    pieces: int,
    own: Sequence[int],
    grids: Sequence[tuple[int, ...]] = (),
) -> Layout | None:
    """Find how an output with a row for each piece (frame, crop, picture) becomes a grid.

    Args:
        shape: The shape of the output, `[P, ...]`, for one image.
        image: The sizes of the input's grid axes; the first is that of the pieces if several are
            the image's own.
        pieces: P, the number of pieces.
        own: The numbers of the image's own pieces.
        grids: As in `guess_layout`.
    """
    inner = image[1:] if len(own) > 1 else image
    if shape[0] != pieces or len(inner) < 1:
        return None
    inside = [grid[-len(inner) :] for grid in grids]
    layout = guess_layout((1, *shape[1:]), inner, inside)
    if layout is None:
        return None
    grid = (len(own), *layout.grid) if len(own) > 1 else layout.grid
    if layout.kind == "channels first" and len(own) == pieces:
        return Layout("frames", grid)
    axis = layout.axis_of_channels
    count = math.prod(shape[1:]) // shape[axis]
    cells = range(layout.prefix, layout.prefix + math.prod(layout.grid))
    order = tuple(piece * count + cell for piece in own for cell in cells)
    return Layout("tokens", grid, order=order, channel_axis=axis, folds=pieces)


def _tokens(count: int, image: Sequence[int], grids: Sequence[tuple[int, ...]]) -> Layout | None:
    """Return the layout of `count` tokens: on a grid of the network, else one like the image."""
    fitting = [
        Layout("tokens", grid, count - math.prod(grid))
        for grid in reversed(grids)
        if math.prod(grid) > 1
        and 0 <= count - math.prod(grid) <= min(MOST_PREFIX_TOKENS, math.prod(grid) - 1)
    ]
    if fitting:
        return min(fitting, key=lambda layout: layout.prefix)
    for prefix, grid in product((0, 1) if len(image) > 1 else (0,), reversed(grids)):
        for coarse in _coarser(grid):
            if 1 < math.prod(coarse) == count - prefix:
                return Layout("tokens", coarse, prefix)
    if len(image) == 2 and not grids:
        for prefix in range(min(MOST_PREFIX_TOKENS + 1, count)):
            rows = round(math.sqrt((count - prefix) * image[0] / image[1]))
            if rows and (count - prefix) % rows == 0:
                grid = (rows, (count - prefix) // rows)
                if mismatch(grid, image) < 1e-6:
                    return Layout("tokens", grid, prefix)
    return None


def _coarser(grid: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield grids whose cells cover 2, 4, 8 or 16 of `grid` along each axis, or along the last two.

    A cell left over at the edge becomes a cell by itself.
    """
    for factor in (2, 4, 8, 16) if len(grid) > 1 else (2,):
        yield tuple(math.ceil(size / factor) for size in grid)
        if len(grid) == 3:
            yield grid[0], *(math.ceil(size / factor) for size in grid[1:])


def possible_grids(count: int, image: Sequence[int]) -> Sequence[tuple[int, ...]]:
    """Return the grids that `count` tokens over a picture could have, the most likely first.

    They have roughly the picture's proportions, and up to two tokens in front.
    """
    if len(image) == 1:
        return [(count,), (count - 1,)]
    if len(image) != 2:
        return []
    prefixes = {
        (rows, (count - prefix) // rows): prefix
        for prefix in (2, 1, 0)
        for rows in range(2, count // 2 + 1)
        if (count - prefix) % rows == 0
    }
    similar = [grid for grid in prefixes if mismatch(grid, image) < 2 * SAME_PROPORTIONS]
    return sorted(similar, key=lambda grid: (mismatch(grid, image), prefixes[grid]))[:5]


def ambiguous(path: str, shape: Sequence[int], image: Sequence[int], patches: int = 0) -> str:
    """Return a sentence on the grids that an output of tokens could have; "" for other outputs.

    Of an input of so many packed `patches` the picture is not known, and no grid is suggested.
    """
    grids = possible_grids(shape[1], image) if len(shape) == 3 else []
    if not grids:
        return ""
    problem = (
        f"{path!r} puts out {shape[1]} tokens, and nothing in the network says along which grid "
        "they were cut"
    )
    if shape[1] == patches:
        return f"{problem}."
    choices = ", ".join(" x ".join(map(str, grid)) for grid in grids)
    return f"{problem}; {choices} would do. Say which with grid={grids[0]}."
