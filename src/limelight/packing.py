"""Pictures in pieces: as packed patches, as crops, or several to a prompt."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor


class KnownOrder(NamedTuple):
    """Positions at which the cells of a picture are to be expected, row by row.

    Attributes:
        positions: The position of each cell.
        length: How many positions an output has that holds them.
        grid: The sizes of the grid; () if only the order is known.
        is_certain: Whether the input itself says so: the pack, or the tokens of a sentence. Else it
            is what shapes suggest.
        channel_axis: The axis of the channels in such an output, from the end if negative.
    """

    positions: tuple[int, ...]
    length: int
    grid: tuple[int, ...] = ()
    is_certain: bool = True
    channel_axis: int = -1


@dataclass(frozen=True, slots=True)
class Packing:
    """Where the picture of each prompt lies among the pieces that a tensor holds.

    A piece is a patch, a crop, or one of several pictures. The cells of the *lattice* are the
    pieces of one picture, in the picture's own order: rows and columns of patches, say.

    Attributes:
        pieces: All pieces of each of B prompts, `[B, P, *piece]`.
        lead: The sizes of the tensor's leading axes for one prompt; P is their product. The first
            is the number that the batch multiplies.
        lattice: The sizes of the lattice; () if the picture is a single piece.
        order: For each cell of the lattice, row by row, the number of its piece.
        pictures: How many pictures each prompt has.
        first_channel: The channels of a piece before this one are not of the picture.
        sizes: For pictures that are padded to one size: the height and width of each of a prompt;
            () if they are not. The picture is what is not padding.
        merges: Along how many cells, in rows and in columns, the pieces of a pack lie in blocks.
    """

    pieces: Tensor
    lead: tuple[int, ...]
    lattice: tuple[int, ...]
    order: tuple[int, ...]
    pictures: int = 1
    first_channel: int = 0
    merges: int = 1
    sizes: tuple[tuple[int, int], ...] = ()

    @property
    def is_flat(self) -> bool:
        """Whether the pieces are patches in a row without a batch axis, `[N, D]`."""
        return len(self.lead) == 1 and self.pieces.ndim == 3

    @property
    def signature(self) -> tuple[object, ...]:
        """What the layouts of outputs hang on, besides the shape of the picture."""
        return self.lead, self.order, self.sizes

    def unpack(self) -> Tensor:
        """Return the pictures `[B, C, *lattice, *rest]`, for pieces `[C, *rest]`."""
        with torch.inference_mode(False), torch.no_grad():
            cells = self.pieces[:, self._index][:, :, self.first_channel :]
            if self.sizes:
                height, width = self.sizes[self.order[0]]
                cells = cells[..., :height, :width]
            cells = cells.reshape(len(cells), *self.lattice, *cells.shape[2:])
            return cells.movedim(1 + len(self.lattice), 1)

    def pack(self, pictures: Tensor) -> Tensor:
        """Return the tensor as the model takes it, with other pictures `[B, C, *lattice, *rest]`.

        It carries the graph of the pictures, and lies in memory as networks view it.
        """
        axes = len(self.lattice)
        cells = pictures.movedim(1, 1 + axes)
        cells = cells.reshape(len(cells), -1, *cells.shape[1 + axes :])
        if not self._is_whole:
            pieces = self.pieces.to(cells)
            if self.sizes:
                cells = _laid_on(pieces[:, self._index], cells)
            if self.first_channel:
                fixed = pieces[:, self._index, : self.first_channel]
                cells = torch.cat([fixed, cells], 2)
            cells = pieces.index_copy(1, self._index, cells)
        first, *others = self.lead
        return cells.reshape(len(cells) * first, *others, *cells.shape[2:]).contiguous()

    def take(self, rows: Tensor) -> Packing:
        """Return the packing of these prompts, one for each row."""
        return replace(self, pieces=self.pieces[rows.to(self.pieces.device)])

    def counts(self) -> set[int]:
        """Return how many rows of another tensor may belong to one prompt: one per picture, say."""
        return {self.lead[0], self.pictures, self.pieces.shape[1]} - {1}

    def orders(self) -> tuple[KnownOrder, ...]:
        """Return where the cells of patches lie in outputs: as packed, and merged."""
        if self.sizes:
            return tuple(_joined_orders(self.sizes, self.order[0]))
        if self.pieces.ndim > 3:
            return ()
        count, block = self.pieces.shape[1], self.merges**2
        orders = [KnownOrder(self.order, count, self.lattice)]
        if block > 1:
            start, cells = min(self.order) // block, len(self.order) // block
            *time, h, w = self.lattice
            merged = (*time, h // self.merges, w // self.merges)
            places = tuple(range(start, start + cells))
            orders.append(KnownOrder(places, count // block, merged))
            orders += [
                KnownOrder(tuple(start + place for place in order), count // block, merged)
                for order in _orders_by_window(merged)
            ]
        return tuple(orders)

    @property
    def _index(self) -> Tensor:
        return torch.tensor(self.order, dtype=torch.long, device=self.pieces.device)

    @property
    def _is_whole(self) -> bool:
        in_order = self.order == tuple(range(self.pieces.shape[1]))
        return in_order and not self.first_channel and not self.sizes


#: The sides of the windows, in tokens, by which networks may sort the tokens of a picture.
_WINDOWS = range(2, 9)


def _orders_by_window(grid: tuple[int, ...]) -> Iterator[list[int]]:
    """Yield for each cell its place, if each picture's or frame's cells are sorted by windows.

    Windows at the edges are cut off.
    """
    *time, height, width = grid
    if 1 in (height, width):
        return
    rows, columns = (torch.arange(size, device="cpu") for size in (height, width))
    for side in _WINDOWS:
        if side >= max(height, width):
            return
        window = (rows[:, None] // side) * -(-width // side) + columns[None] // side
        in_window = (rows[:, None] % side) * side + columns[None] % side
        places = (window * side**2 + in_window).flatten().argsort().argsort()
        frames = torch.arange(math.prod(time), device="cpu")[:, None] * height * width
        yield (frames + places).flatten().tolist()


def _laid_on(padded: Tensor, pictures: Tensor) -> Tensor:
    """Return padded pictures `[..., H, W]` with others in their upper left corner."""
    laid = padded.clone()
    laid[..., : pictures.shape[-2], : pictures.shape[-1]] = pictures
    return laid


def _joined_orders(sizes: Sequence[tuple[int, int]], picture: int) -> Iterator[KnownOrder]:
    """Yield where the patches of one picture lie among those of all, for each size of patch.

    The patches of pictures of different sizes follow one another, row by row.
    """
    side = math.gcd(*(length for size in sizes for length in size))
    for patch in range(2, side + 1):
        counts = [h * w // patch**2 for h, w in sizes]
        if side % patch or counts[picture] < 2:
            continue
        start, (h, w) = sum(counts[:picture]), sizes[picture]
        positions = tuple(range(start, start + counts[picture]))
        yield KnownOrder(positions, sum(counts), (h // patch, w // patch))


def patches_on(tensor: Tensor, grid: Sequence[int]) -> Packing | None:
    """Return the packing of patches `[B, N, C]` that lie on a grid, row by row.

    Those behind the grid are padding. None if there are too few for it.
    """
    count = math.prod(grid)
    if not 1 < count <= tensor.shape[1]:
        return None
    return Packing(tensor, (1, tensor.shape[1]), tuple(grid), tuple(range(count)))
