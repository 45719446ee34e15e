"""Which of a model's inputs pack pictures, and how: told from shapes and numbers, not from names.

Sizes of grids multiply to the number of patches, and tokens that stand for a picture come many
times in a sentence.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from limelight.errors import InputError
from limelight.packing import KnownOrder, Packing, patches_on


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


def places_of_pictures(tensors: Sequence[Tensor]) -> list[tuple[int, ...]]:
    """Return where in each sentence the tokens are that may stand for parts of pictures.

    It is [] if there are no sentences.
    """
    words = _words(tensors)
    return [] if words is None else words.places()


def pictures_move(tensors: Sequence[Tensor], left_over: int) -> bool:
    """Return whether the pictures stand elsewhere in some sentences of the batch.

    Args:
        tensors: All tensors that the model takes.
        left_over: How many positions of an output are not the picture's. Where they are fewer than
            the words, it is not an output over sentences, and they move nothing in it.
    """
    words = _words(tensors)
    places = [] if words is None or len(words.ids) < 2 else words.places()
    if words is None or len(set(places)) < 2:
        return False
    return left_over >= words.ids.shape[1] - len(places[0])


@dataclass(frozen=True, slots=True)
class _Words:
    """The sentences among the inputs.

    Attributes:
        ids: The tokens `[B, L]`.
        shown: Which of them are not padding, `[B, L]`.
    """

    ids: Tensor
    shown: Tensor

    @property
    def is_uneven(self) -> bool:
        """Whether a token that stands for pictures comes more often in some sentences."""
        rows = self._counted()
        return any(
            min(row.get(token, _NEVER).run for row in rows) >= _SHORTEST_RUN
            and len({row[token].times for row in rows}) > 1
            for token in rows[0]
        )

    def placeholders(self) -> Iterator[tuple[int, int, int]]:
        """Yield tokens that may stand for pictures, how often each is in every sentence, its run.

        Such a token comes several times in a row. A run that ends the sentence is padding.
        """
        rows = self._counted()
        for token in sorted(rows[0]):
            counted = [row.get(token, _NEVER) for row in rows]
            run = min(each.run for each in counted)
            if run and len({each.times for each in counted}) == 1:
                yield token, counted[0].times, run

    def places(self) -> list[tuple[int, ...]]:
        """Return where in each sentence the tokens are that may stand for parts of pictures."""
        tokens = {token for token, _, run in self.placeholders() if run >= _SHORTEST_RUN}
        return [
            tuple(n for n, token in enumerate(row) if token in tokens) for row in self._shown_ids()
        ]

    def _shown_ids(self) -> list[list[int | None]]:
        """Return the tokens of each sentence, None for padding."""
        pairs = zip(self.ids.tolist(), self.shown.tolist(), strict=True)
        return [
            [token if shown else None for token, shown in zip(ids, mask, strict=True)]
            for ids, mask in pairs
        ]

    def _counted(self) -> list[dict[int, _Counted]]:
        return [_count(row) for row in self._shown_ids()]


class _Counted(NamedTuple):
    """How often a token comes in a sentence, and the longest run of it that does not end it."""

    times: int
    run: int


_NEVER = _Counted(0, 0)


def _count(row: Sequence[int | None]) -> dict[int, _Counted]:
    counted, end = dict[int, _Counted](), 0
    for token, group in itertools.groupby(row):
        length = len(list(group))
        end += length
        if token is not None:
            before = counted.get(token, _NEVER)
            run = length if end < len(row) else 0
            counted[token] = _Counted(before.times + length, max(before.run, run))
    return counted


def _is_mask(table: Tensor, ids: Tensor) -> bool:
    """Return whether a table hides padding, which is one token; kinds of tokens hide several."""
    return int(table.max()) == 1 and len(set(ids[table == 0].tolist())) <= 1


#: A token that stands for a part of a picture comes at least so many times in a row.
_SHORTEST_RUN = 3


def _words(others: Sequence[Tensor]) -> _Words | None:
    """Return the sentences among the inputs: of the whole numbers in two axes, the longest rows.

    Rows of three numbers or less are sizes, of grids and photos.
    """
    tables = [t.detach() for t in others if t.ndim == 2 and not t.is_floating_point()]
    long = [t for t in tables if t.dtype != torch.bool and t.shape[1] > _SHORTEST_RUN]
    sentences = [t for t in long if t.numel() and int(t.max()) > 1]
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
    if tensor.dtype == torch.bool or not 0 < len(tensor) < count or int(tensor.min()) < 1:
        return False
    return int(tensor.prod(1).sum()) == count


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
    """Read patches `[B, N, D]` with the rows and columns of each picture, `[B, 2]`.

    They multiply to N, or to what a mask `[B, N]` leaves.
    """
    batch, count, _ = tensor.shape
    whole = [t for t in others if t.ndim == 2 and not t.is_floating_point()]
    masks = [t.sum(1) for t in whole if t.shape == (batch, count) and int(t.max()) == 1]
    for other in whole:
        if other.shape != (batch, 2) or other.dtype == torch.bool or int(other.min()) < 1:
            continue
        patches = other.prod(1)
        fits = bool((patches == count).all()) or any(bool((patches == m).all()) for m in masks)
        if not fits or int(patches.max()) < 2:
            continue
        if not bool((other == other[0]).all()):
            raise _differing(f"rows and columns {other.tolist()}", batch)
        rows, columns = map(int, other[0].tolist())
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
    if words.is_uneven:
        raise _differing(f"{lead[0]} pictures or rows of crops together", batch)
    if lead[0] % batch:
        return None
    per_prompt = lead[0] // batch, *lead[1:]
    count = math.prod(per_prompt)
    named = any(  # pictures of several sizes have as many tokens as they need
        run >= _SHORTEST_RUN and (sizes or times % per_prompt[0] == 0)
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
