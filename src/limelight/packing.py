"""Pictures that come in pieces: as packed patches, as crops, or several to a prompt.

What a vision-language model takes is told from the shapes of its inputs and from the numbers in
them, not from their names: sizes of grids that multiply to the number of patches, and tokens that
stand for a picture in a sentence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from limelight.errors import InputError


class KnownOrder(NamedTuple):
    """Positions at which the cells of a picture are to be expected, row by row.

    Attributes:
        positions: The position of each cell.
        length: How many positions an output has that holds them.
        grid: The sizes of the grid; () if only the order is known.
        is_certain: Whether the input itself says so: the pack, or the tokens of a sentence. Else it
            is what shapes suggest.
    """

    positions: tuple[int, ...]
    length: int
    grid: tuple[int, ...] = ()
    is_certain: bool = True


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

    def unpack(self) -> Tensor:
        """Return the pictures `[B, C, *lattice, *rest]`, for pieces `[C, *rest]`."""
        cells = self.pieces[:, self._index][:, :, self.first_channel :]
        if self.sizes:
            height, width = self.sizes[self.order[0]]
            cells = cells[..., :height, :width]
        cells = cells.reshape(len(cells), *self.lattice, *cells.shape[2:])
        return cells.movedim(1 + len(self.lattice), 1)

    def pack(self, pictures: Tensor) -> Tensor:
        """Return the tensor as the model takes it, with other pictures `[B, C, *lattice, *rest]`.

        It carries the graph of the pictures.
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
        return cells.reshape(len(cells) * first, *others, *cells.shape[2:])

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
        return tuple(orders)

    @property
    def _index(self) -> Tensor:
        return torch.tensor(self.order, dtype=torch.long, device=self.pieces.device)

    @property
    def _is_whole(self) -> bool:
        in_order = self.order == tuple(range(self.pieces.shape[1]))
        return in_order and not self.first_channel and not self.sizes


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


def find_packing(
    tensor: Tensor, others: Sequence[Tensor], picture: int | None = None
) -> Packing | None:
    """Return how a tensor of the model's inputs packs pictures; None if it does not.

    1. Patches in a row for all pictures `[N, D]`, with the grid t, h, w of each, `[n, 3]`.
    2. Patches of each picture `[B, N, D]`, with the rows and columns of each, `[B, 2]`.
    3. Patches that begin with the numbers of their row and column.
    4. Crops or several pictures `[..., C, H, W]` for sentences with tokens that stand for them.

    Args:
        tensor: The tensor.
        others: The other tensors that the model takes.
        picture: The number of the picture in each prompt; None for all in one if they have one
            size, else for the first.

    Raises:
        InputError: There is no such picture, or the prompts of a batch differ in their pictures.
    """
    tensor = tensor.detach()
    words = _words(others)
    if tensor.ndim == 2 and tensor.is_floating_point():
        return _in_a_row(tensor, others, words, picture or 0)
    if tensor.ndim == 3 and tensor.is_floating_point():
        return _with_shapes(tensor, others) or _with_numbers(tensor)
    if tensor.ndim >= 4 and words is not None:
        return _beside_words(tensor, words, others, picture)
    return None


def places_in_sentence(
    tensors: Sequence[Tensor], packing: Packing | None
) -> tuple[KnownOrder, ...]:
    """Return where a picture's cells may lie in the first sentence: at its placeholders.

    Args:
        tensors: All tensors that the model takes.
        packing: How its pictures are packed; None if each sentence has one picture.
    """
    words = _words(tensors)
    if words is None:
        return ()
    orders, length = list[KnownOrder](), words.ids.shape[1]
    pieces = 1 if packing is None else packing.pieces.shape[1]
    own = [0] if packing is None else sorted(packing.order)
    for token, count, run in words.placeholders():
        if run < _SHORTEST_RUN:
            continue
        at = ((words.ids[0] == token) & words.shown[0]).nonzero().flatten().tolist()
        first, last = own[0] * count // pieces, (own[-1] + 1) * count // pieces
        if last - first > 1:
            orders.append(KnownOrder(tuple(at[first:last]), length))
    return tuple(orders)


@dataclass(frozen=True, slots=True)
class _Words:
    """The sentences among the inputs.

    Attributes:
        ids: The tokens `[B, L]`.
        shown: Which of them are not padding, `[B, L]`.
    """

    ids: Tensor
    shown: Tensor

    def placeholders(self) -> Iterator[tuple[int, int, int]]:
        """Yield tokens that may stand for pictures, how often each is in every sentence, its run.

        Such a token comes several times in a row. A run that ends the sentence is padding.
        """
        for token in sorted(set(self.ids[0].tolist())):
            at = (self.ids == token) & self.shown
            counts = at.sum(1)
            runs = [_longest_run(row) for row in at.tolist()]
            if bool((counts == counts[0]).all()) and min(runs):
                yield token, int(counts[0]), min(runs)


def _is_mask(table: Tensor, ids: Tensor) -> bool:
    """Return whether a table hides padding, which is one token; kinds of tokens hide several."""
    return int(table.max()) == 1 and len(set(ids[table == 0].tolist())) <= 1


def _longest_run(row: Sequence[bool]) -> int:
    """Return the length of the longest run of True that does not end the row."""
    longest = run = 0
    for value in row:
        if value:
            run += 1
        else:
            longest, run = max(longest, run), 0
    return longest


#: A token that stands for a part of a picture comes at least so many times in a row.
_SHORTEST_RUN = 3


def _words(others: Sequence[Tensor]) -> _Words | None:
    """Return the sentences among the inputs: of the whole numbers in two axes, the longest rows."""
    tables = [t.detach() for t in others if t.ndim == 2 and not t.is_floating_point()]
    sentences = [t for t in tables if t.dtype != torch.bool and t.numel() and int(t.max()) > 1]
    if not sentences:
        return None
    ids = max(sentences, key=lambda table: (table.shape[1], int(table.max())))
    shown = torch.ones_like(ids, dtype=torch.bool)
    for table in tables:
        if table.shape == ids.shape and table is not ids and _is_mask(table, ids):
            shown &= table == 1
    return _Words(ids, shown)


def _in_a_row(
    tensor: Tensor, others: Sequence[Tensor], words: _Words | None, picture: int
) -> Packing | None:
    """Read patches `[N, D]`, in blocks of neighbours that the network merges."""
    grids = next((t for t in others if _are_grids(t, len(tensor))), None)
    if grids is None:
        return None
    sizes = [(int(t), int(h), int(w)) for t, h, w in grids.tolist()]
    batch = 1 if words is None else len(words.ids)
    if words is None and len(set(sizes)) == 1:
        batch = len(sizes)
    per_prompt = len(sizes) // batch
    own = sizes[:per_prompt]
    if len(sizes) % batch or own * batch != sizes:
        raise _differing(f"grids {sizes} (t, h, w)", batch)
    _check_picture(picture, per_prompt)
    merge = _merged(own, words)
    start = sum(math.prod(grid) for grid in own[:picture])
    t, h, w = own[picture]
    order = start + _in_blocks(t, h, w, merge)
    lattice = (h, w) if t == 1 else (t, h, w)
    pieces = tensor.reshape(batch, -1, tensor.shape[1])
    return Packing(
        pieces,
        (pieces.shape[1],),
        lattice,
        tuple(order.flatten().tolist()),
        per_prompt,
        merges=merge,
    )


def are_patches_in_a_row(tensor: Tensor, others: Sequence[Tensor]) -> bool:
    """Return whether a tensor may be patches `[N, D]`: another holds the sizes of their grids."""
    return tensor.ndim == 2 and any(_are_grids(other, len(tensor)) for other in others)


def _are_grids(tensor: Tensor, count: int) -> bool:
    """Return whether a tensor holds the sizes of grids of so many cells, `[n, 3]`."""
    if tensor.ndim != 2 or tensor.shape[1] != 3 or tensor.is_floating_point():
        return False
    return tensor.dtype != torch.bool and int(tensor.prod(1).sum()) == count


def _merged(grids: Sequence[tuple[int, int, int]], words: _Words | None) -> int:
    """Return how many patches along each side become one token: those of a block lie together.

    It follows from the number of tokens that stand for the pictures. Without sentences it is two,
    as in every such network that is known.

    Raises:
        InputError: No token comes as often as it should.
    """
    fitting = [m for m in (2, 1, 3, 4) if all(not h % m and not w % m for _, h, w in grids)]
    if words is None:
        return fitting[0]
    patches = sum(map(math.prod, grids))
    counts = {count for _, count, _ in words.placeholders()}
    for merge in fitting:
        if patches // merge**2 in counts:
            return merge
    raise InputError(
        f"The pictures are {patches} packed patches, of grids {list(grids)} (t, h, w), and no "
        "token of the sentences stands for them: it should come as often as there are patches, or "
        "a quarter as often if two by two are merged. Pass what the model's own processor makes of "
        "pictures and text together."
    )


def _in_blocks(t: int, h: int, w: int, merge: int) -> Tensor:
    """Return for each cell `[t, h, w]` its place in a pack of blocks of merge x merge cells."""
    places = torch.arange(t * h * w, dtype=torch.long, device="cpu")
    blocks = places.reshape(t, h // merge, w // merge, merge, merge)
    return blocks.permute(0, 1, 3, 2, 4).reshape(t, h, w)


def _with_shapes(tensor: Tensor, others: Sequence[Tensor]) -> Packing | None:
    """Read patches `[B, N, D]` with the rows and columns of each picture, `[B, 2]`."""
    batch, count, _ = tensor.shape
    for other in others:
        if other.shape != (batch, 2) or other.is_floating_point() or other.dtype == torch.bool:
            continue
        rows, columns = map(int, other[0].tolist())
        if min(rows, columns) < 1 or not 1 < rows * columns <= count:
            continue
        if not bool((other == other[0]).all()):
            raise _differing(f"rows and columns {other.tolist()}", batch)
        return patches_on(tensor, (rows, columns))
    return None


def _with_numbers(tensor: Tensor) -> Packing | None:
    """Read patches `[B, N, 2 + D]` whose first two channels number their row and column from 1."""
    if tensor.shape[2] < 3 or not tensor.numel():
        return None
    numbers = tensor[:, :, :2].double()
    if not bool((numbers == numbers.round()).all()) or float(numbers.min()) < 0:
        return None
    rows, columns = (int(size) for size in numbers[0].amax(0).tolist())
    shown = rows * columns
    if not 1 < shown <= tensor.shape[1]:
        return None
    cells = torch.arange(shown, dtype=torch.double, device=tensor.device)
    expected = torch.stack([cells // columns + 1, cells % columns + 1], 1)
    if not bool((numbers[0, :shown] == expected).all()) or bool(numbers[0, shown:].any()):
        return None
    if not bool((numbers == numbers[0]).all()):
        sizes = numbers.amax(1).long().tolist()
        raise _differing(f"rows and columns {sizes}", len(tensor))
    order = tuple(range(shown))
    return Packing(tensor, (1, tensor.shape[1]), (rows, columns), order, first_channel=2)


def _beside_words(
    tensor: Tensor, words: _Words, others: Sequence[Tensor], picture: int | None
) -> Packing | None:
    """Read crops or pictures `[..., C, H, W]` of prompts in which tokens stand for them."""
    lead, batch = tensor.shape[:-3], len(words.ids)
    if tensor.shape[-3] not in (1, 3) or lead[0] < batch:
        return None
    sizes = _padded_sizes(tensor, others)
    if lead == (batch,) and not sizes:
        return None
    if lead[0] % batch:
        if any(run >= _SHORTEST_RUN for _, _, run in words.placeholders()):
            raise _differing(f"{lead[0]} pictures or crops together", batch)
        return None
    per_prompt = lead[0] // batch, *lead[1:]
    count = math.prod(per_prompt)
    named = any(
        run >= _SHORTEST_RUN and times % per_prompt[0] == 0
        for _, times, run in words.placeholders()
    )
    # Without such tokens it may be video, for which three channels are the third axis.
    one_each = lead[0] == batch and (len(lead) > 2 or count in (1, 3))
    if not named and not one_each:
        return None
    pieces = tensor.reshape(batch, count, *tensor.shape[-3:])
    pictures = next((size for size in per_prompt if size > 1), 1)
    order = range(count)
    own = tuple(sizes[:count])
    if sizes and list(own) * batch != sizes:
        raise _differing(f"pictures of {sizes} pixels", batch)
    if picture is not None or sizes:
        picture = picture or 0
        _check_picture(picture, pictures)
        order = range(picture * (count // pictures), (picture + 1) * (count // pictures))
    lattice = (len(order),) if len(order) > 1 else ()
    return Packing(pieces, per_prompt, lattice, tuple(order), pictures, sizes=own)


def _padded_sizes(tensor: Tensor, others: Sequence[Tensor]) -> list[tuple[int, int]]:
    """Return the sizes of pictures `[n, C, H, W]` that are padded to one size; [] if they are not.

    They are among the inputs, and the largest of them is H by W.
    """
    for other in others:
        if other.shape != (tensor.shape[0], 2) or tensor.ndim != 4 or other.is_floating_point():
            continue
        whole = other.dtype != torch.bool and other.amax(0).tolist() == list(tensor.shape[-2:])
        if whole and not bool((other == other[0]).all()):
            return [(int(h), int(w)) for h, w in other.tolist()]
    return []


def _check_picture(picture: int, count: int) -> None:
    """Check that there is a picture of this number in each prompt.

    Raises:
        InputError: There is not.
    """
    if not 0 <= picture < count:
        raise InputError(
            f"picture is {picture}, and each prompt has {count} picture{'s' * (count != 1)}; a "
            f"number from 0 to {count - 1} was expected."
        )


def _differing(what: str, batch: int) -> InputError:
    return InputError(
        f"The {batch} prompts or pictures of this batch are cut differently ({what}), so their "
        "maps have different sizes. Explain them one at a time."
    )
