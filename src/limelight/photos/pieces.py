"""Large pictures in pieces, so that intermediate arrays stay small."""

from __future__ import annotations

from collections.abc import Iterator

#: How many pixels are worked on at a time.
PIECE_PIXELS = 2**18


def pieces(
    width: int, height: int, most: int = PIECE_PIXELS
) -> Iterator[tuple[int, int, int, int]]:
    """Yield boxes (left, top, right, bottom) of at most `most` pixels that cover a picture."""
    across = min(width, most)
    down = max(1, most // max(1, across))
    for top in range(0, height, down):
        for left in range(0, width, across):
            yield left, top, min(left + across, width), min(top + down, height)
