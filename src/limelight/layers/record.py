"""A recorded pass, read: the layout of every output, and where gradient arrives on its grid."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Mapping, Sequence, Set
from dataclasses import dataclass, field, fields, replace
from itertools import groupby

from torch import Tensor

from limelight.finish import AxisSpan, along_axes
from limelight.layers.guesses import SAME_PROPORTIONS, guess_layout, guess_pieces, mismatch
from limelight.layers.layouts import Layout
from limelight.layers.moments import KnownGrid
from limelight.layers.tracks import plain_span
from limelight.packing import KnownOrder


@dataclass(frozen=True, slots=True)
class RawCall:
    """One module call in a recorded pass over one image, before it is read.

    Attributes:
        path: The module's dotted path.
        shape: The shape of its (first) output tensor.
        source: The number of its input tensor: calls with the same input have the same. None
            without.
        result: The number of its output tensor: calls with the same output have the same.
        number: The number of this call.
        learned: Whether the module holds parameters.
        input_shape: The shape of its (first) input tensor; () without.
        patch: The sizes of the patches, if the module cuts its input into patches side by side;
            else ().
        several: Whether it put out several tensors with grids; this call is about the first.
        words: How many words its input had, as integers `[1, N]`; 0 if none.
        kind: The type of the module, by name.
    """

    path: str
    shape: tuple[int, ...]
    source: int | None
    result: int
    number: int
    learned: bool
    input_shape: tuple[int, ...] = ()
    patch: tuple[int, ...] = ()
    several: bool = False
    words: int = 0
    kind: str = ""


@dataclass(frozen=True, slots=True)
class ModuleCall(RawCall):
    """A module call in a recorded pass: a `RawCall`, and what reading the record found out.

    Attributes:
        calls: How often the module ran in this pass.
        layout: How the output becomes a grid; None if it cannot.
        settled: Whether the layout was measured, or follows from the operations before it; else it
            is a guess by the shape.
        measured: Whether the layout was measured, or follows from one that was; if not, it follows
            from the picture itself.
        reason: Why the output is no grid over the picture, as measured; "" if that is not known.
        cells: The share of the grid's cells at which gradient of the score arrives.
        unread: The longest run of channels at which none arrives, as a share of the channels.
        sibling: A module that works on a grid of its own in parallel, in the same container or on
            the same tensor, so that neither depends on the other; "" without.
        is_scored: Whether the network returns the output, and the score is read from it.
        cancelled: Whether the gradient adds up to nothing in every channel.
        among_words: Whether its positions are those of a sentence, with pictures among the words.
    """

    calls: int = field(kw_only=True)
    layout: Layout | None = field(kw_only=True)
    settled: bool = field(kw_only=True, default=True)
    measured: bool = field(kw_only=True, default=False)
    reason: str = field(kw_only=True, default="")
    cells: float = field(kw_only=True)
    unread: float = field(kw_only=True)
    sibling: str = field(kw_only=True, default="")
    is_scored: bool = field(kw_only=True, default=False)
    cancelled: bool = field(kw_only=True, default=False)
    among_words: bool = field(kw_only=True, default=False)

    @property
    def dropped(self) -> int:
        """How many cells of the grid the network dropped."""
        return sum(position < 0 for position in self.layout.order) if self.layout else 0

    @property
    def unplaced(self) -> int:
        """How many positions of the output, class tokens among them, are no cell of the grid."""
        if self.layout is None:
            return 0
        positions = math.prod(self.shape) // self.shape[self.layout.axis_of_channels]
        return positions - math.prod(self.layout.grid) + self.dropped


@dataclass(frozen=True, slots=True)
class InputGeometry:
    """The sizes of the input, to read grids over it.

    Attributes:
        size: The sizes of its grid axes, `[H, W]` for a picture.
        canvas: The sizes of the canvas on which the network puts it, scaled and padded; () if it
            does not.
        span: Where the canvas lies on the picture; () if they are the same.
        tokens: The grid that the tokens come from, if the user named it.
        least_axes: How many axes an output over it has at least; one less without a batch axis.
        packed: Orders of the positions in outputs over packed patches.
        pieces: How many pieces (frames, crops, pictures) one prompt's input has; outputs may have a
            row for each.
        own: The numbers of those that the image is made of.
    """

    size: tuple[int, ...]
    canvas: tuple[int, ...] = ()
    span: tuple[AxisSpan, ...] = ()
    tokens: tuple[int, ...] | None = None
    least_axes: int = 3
    packed: tuple[KnownOrder, ...] = ()
    pieces: int = 1
    own: tuple[int, ...] = (0,)

    def guess(self, shape: Sequence[int], grids: Sequence[tuple[int, ...]] = ()) -> Layout | None:
        """Return what the shape of an output suggests about its layout, given earlier grids."""
        for positions, length, grid, *_ in self.packed:
            if shape[:-1] in ((length,), (1, length)):
                return Layout("tokens", grid, order=positions, folds=shape[0])
        if len(shape) == 2 and self.least_axes == 2:
            layout = self._guess_joined(shape[0], shape[1], grids)
            return None if layout is None else replace(layout, folds=shape[0])
        if self.pieces > 1 and shape[0] == self.pieces and len(shape) > 2:
            return guess_pieces(shape, self.size, self.pieces, self.own, grids)
        if self.pieces > 1 and len(shape) >= 3 and shape[0] == 1:
            joined = self._guess_joined(math.prod(shape[1:-1]), shape[-1], grids)
            if joined is not None:
                return replace(joined, folds=1)
        return guess_layout(shape, self.size, grids)

    def suggested(self, shape: Sequence[int], grids: Sequence[tuple[int, ...]]) -> list[KnownOrder]:
        """Return the order of positions that `guess` finds, if the output may be of tokens.

        It is certain which pieces are the image's own, if others are not.
        """
        guess = self.guess(shape, grids)
        if guess is None or guess.kind != "tokens" or guess.folds != shape[0]:
            return []
        axis, is_part = guess.axis_of_channels, len(self.own) < self.pieces
        in_a_row = range(guess.prefix, guess.prefix + math.prod(guess.grid))
        order, length = guess.order or tuple(in_a_row), math.prod(shape) // shape[axis]
        return [KnownOrder(order, length, guess.grid, is_part, axis)]

    def _guess_joined(
        self, count: int, channels: int, grids: Sequence[tuple[int, ...]]
    ) -> Layout | None:
        """Return what `count` tokens may be that join those of all pieces in one axis."""
        if count % self.pieces:
            return None
        shape = self.pieces, count // self.pieces, channels
        if self.pieces == 1:
            return guess_layout(shape, self.size, grids)
        return guess_pieces(shape, self.size, self.pieces, self.own, grids)


#: Where gradient of a score arrived at an output: a mask of its shape; None for nowhere; True if it
#: was not looked at, and gradient can arrive there.
Arrival = Tensor | bool | None


def read(
    raw_calls: Sequence[RawCall],
    arrivals: Sequence[Arrival],
    origins: Sequence[int],
    geometry: InputGeometry,
    settled: Mapping[int, Layout | None],
    measured: Container[int] = (),
    reasons: Mapping[int, str] | None = None,
    scored: Container[int] = (),
    cancelled: Container[int] = (),
) -> tuple[ModuleCall, ...]:
    """Return the calls of a recorded pass with their layouts, and where gradient arrives on grids.

    1. Take the layout of the output that is settled, or guess it.
    2. Find at which cells and channels gradient arrives.
    3. Find the modules that work in parallel.

    Args:
        raw_calls: The calls in the order in which they returned.
        arrivals: By number of the call, where gradient of a score arrived at its output.
        origins: By number of the call, the calls that its output depends on, as a bit mask; the
            highest bit stands for the image.
        geometry: The sizes of the input.
        settled: By number of the call, the layouts that are known; None for no grid.
        measured: The numbers of the calls whose layouts do not follow from the image.
        reasons: By number of the call, why it has no grid.
        scored: The results of calls that the network returns, and the score is read from.
        cancelled: The numbers of the calls at which the gradient adds up to nothing.
    """
    ran = Counter(call.path for call in raw_calls)
    guesses = Guesses(origins, len(raw_calls), geometry)
    names = [field.name for field in fields(RawCall)]
    calls = []
    for call in raw_calls:
        # 1. The layout.
        guess = guesses.next(call)
        layout = settled.get(call.number, guess)
        # 2. Where gradient arrives.
        cells, unread = 0.0, 1.0
        arrived = arrivals[call.number]
        if layout and arrived is True:
            cells, unread = 1.0, 0.0
        elif layout and isinstance(arrived, Tensor):
            cells, unread = _arrival(layout.to_grid(arrived)[0].flatten(1))
        raw = {name: getattr(call, name) for name in names}
        calls.append(
            ModuleCall(
                **raw,
                calls=ran[call.path],
                layout=layout,
                settled=call.number in settled,
                measured=call.number in settled and call.number in measured,
                reason=(reasons or {}).get(call.number, ""),
                cells=cells,
                unread=unread,
                is_scored=call.result in scored,
                cancelled=call.number in cancelled,
                among_words=guesses.holds_words(call, layout),
            )
        )
    # 3. The parallel modules.
    reached = {call.number for call in calls if arrivals[call.number] is not None}
    return _with_siblings(calls, origins, reached)


class Guesses:
    """Guesses the layouts of calls by their shapes, one after the other."""

    def __init__(self, origins: Sequence[int], count: int, geometry: InputGeometry) -> None:
        """Begin a pass of `count` calls; for `origins` and `geometry` see `read`."""
        self._origins, self._count, self._geometry = origins, count, geometry
        self._grids = [] if geometry.tokens is None else [geometry.tokens]
        self._token_counts = set[int]()
        self._words: dict[int, int] = {}  # by number of the call: how many words its input had

    def is_among_words(self, call: RawCall) -> bool:
        """Return whether an axis of an output that was seen is one over words."""
        counts = (n for m, n in self._words.items() if self._origins[call.number] >> m & 1)
        return not set(call.shape[1:3]).isdisjoint(counts)

    def holds_words(self, call: RawCall, layout: Layout | None) -> bool:
        """Return whether an output that was seen holds the words of a sentence too.

        They are all its positions, or as many of them have no cell of the grid.
        """
        if self.is_among_words(call) or layout is None or layout.kind != "tokens":
            return self.is_among_words(call)
        left_over = math.prod(call.shape) // call.shape[layout.axis_of_channels]
        left_over -= math.prod(layout.grid)
        return any(
            n <= left_over for m, n in self._words.items() if self._origins[call.number] >> m & 1
        )

    def next(self, call: RawCall) -> Layout | None:
        """Return the guess for the next call.

        An output that does not depend on the image (positions, words) has no layout, nor has one
        whose first axis is no batch of one image (windows, patches of patches).
        """
        size = self._geometry.size
        depends_on_image = self._origins[call.number] >> self._count & 1
        layout = self._geometry.guess(call.shape, self._grids) if depends_on_image else None
        if layout and not layout.folds > 1 and layout.kind != "frames" and call.shape[0] != 1:
            layout = None
        if call.words:
            self._words[call.number] = call.words
        if self.is_among_words(call):
            layout = None
        if layout and _is_attention(layout, call.shape, self._token_counts, size):
            layout = None
        if len(call.shape) == 3:
            self._token_counts.add(call.shape[1])
        if layout and layout.grid not in self._grids and self._geometry.tokens is None:
            # Later tokens may come from a grid with the picture's proportions. The last two axes
            # count: time, or depth, has a scale of its own.
            similar = mismatch(layout.grid[-2:], size[-2:]) < SAME_PROPORTIONS
            self._grids += [layout.grid] if similar else []
        return layout


def _is_attention(
    layout: Layout, shape: Sequence[int], counts: Set[int], image: Sequence[int]
) -> bool:
    """Return whether what looks like a grid is inside an attention: `[1, heads, N, d or N]`."""
    if layout.kind == "tokens" or len(shape) != 4 or shape[2] not in counts:
        return False
    return shape[2] == shape[3] or mismatch(layout.grid, image) >= SAME_PROPORTIONS


def span_after(
    call: RawCall,
    layout: Layout,
    before: KnownGrid | None,
    channels: Container[int],
    geometry: InputGeometry,
) -> tuple[AxisSpan, ...]:
    """Return where a grid lies on the picture; it depends on the grid `before`.

    `channels` are the numbers of channels that outputs on the grid before have.

    It changes where patches are cut side by side from a grid that their size does not divide, which
    is padded first, or cropped, and where neighbours are merged two by two and one is left over.
    """
    last = before.grid if before else geometry.canvas or geometry.size
    span = along_axes(before.span if before else geometry.span, len(last))
    grid, longer = layout.grid, [1.0] * len(layout.grid)
    if len(last) != len(grid):
        return ()
    if call.patch and len(call.input_shape) == len(grid) + 2:
        came_in = call.input_shape[2:]
        if all(a >= b for a, b in zip(came_in, last, strict=True)):
            # The grid covers cells * patch of the pixels that came in, padded from the last grid.
            longer = [g * p / n for g, p, n in zip(grid, call.patch, last, strict=True)]
    elif call.input_shape and layout.kind != "channels first":
        merge = [max(1, math.ceil(n / g)) for g, n in zip(grid, last, strict=True)]
        joined, rest = divmod(call.input_shape[-1], math.prod(merge))
        if math.prod(merge) > 1 and not rest and joined in channels:
            longer = [g * r / n for g, r, n in zip(grid, merge, last, strict=True)]
    return plain_span(
        [
            along._replace(end=along.start + along.length * by)
            for along, by in zip(span, longer, strict=True)
        ]
    )


def _with_siblings(
    calls: Sequence[ModuleCall], origins: Sequence[int], reached: Container[int]
) -> tuple[ModuleCall, ...]:
    """Return the calls, each with a module that works in parallel, if there is one.

    Such a module is in the same container, the nearest that is called itself, or reads the same
    tensor; and the score depends on it: it is among the calls that gradient `reached`.
    """
    called = {call.path for call in calls}
    container = {path: _container(path, called) for path in called}
    by_container: dict[str, list[ModuleCall]] = {}
    by_source: dict[int | None, list[ModuleCall]] = {}
    for call in calls:
        if call.path and call.learned and call.number in reached:
            by_source.setdefault(call.source, []).append(call)
            if call.layout and call.cells > 0:
                by_container.setdefault(container[call.path], []).append(call)
    by_source.pop(None, None)
    with_siblings = []
    for call in calls:
        neighbours = by_container.get(container[call.path], []) if call.path else []
        siblings = (
            other.path
            for other in (*by_source.get(call.source, []), *neighbours)
            if other.result != call.result
            and not f"{call.path}.".startswith(f"{other.path}.")
            and not f"{other.path}.".startswith(f"{call.path}.")
            and not origins[call.result] >> other.result & 1
            and not origins[other.result] >> call.result & 1
        )
        sibling = next(siblings, "")
        with_siblings.append(replace(call, sibling=sibling) if sibling else call)
    return tuple(with_siblings)


def _container(path: str, called: Set[str]) -> str:
    """Return the path of the nearest module around another that is called itself.

    A list or dict of modules is not.
    """
    path = path.rpartition(".")[0]
    while path and path not in called:
        path = path.rpartition(".")[0]
    return path


def _arrival(arrived: Tensor) -> tuple[float, float]:
    """Return the share of cells reached, and of channels in the longest run not reached."""
    reached, channels = arrived.any(0).tolist(), arrived.any(1).tolist()
    unread = _longest_run([not arrives for arrives in channels])
    return sum(reached) / len(reached), unread / len(channels)


def _longest_run(flags: Sequence[bool]) -> int:
    return max((sum(1 for _ in run) for flag, run in groupby(flags) if flag), default=0)
