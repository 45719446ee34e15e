"""One recorded pass, read: the layout of every output, and where gradient arrives on its grid."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, fields, replace
from itertools import groupby

from torch import Tensor

from limelight.layers.layouts import SAME_PROPORTIONS, Layout, layout_of, mismatch


@dataclass(frozen=True, slots=True)
class RawCall:
    """One module call in a recorded pass over one image, as it was seen.

    Attributes:
        path: The module's dotted path.
        shape: The shape of its (first) output tensor.
        source: A number that is the same for calls whose input is the same tensor; None without.
        result: A number that is the same for calls whose output is the same tensor.
        own: The number of what this very call handed on.
        learned: Whether the module holds parameters.
        given: The shape of its (first) input tensor; () without.
        patch: Of a module that cuts its input into patches side by side, their sizes; else ().
        several: Whether it put out several tensors with grids, of which this is the first.
        words: How many words it was given, as whole numbers `[1, N]`; 0 when none.
        kind: What the module is called.
    """

    path: str
    shape: tuple[int, ...]
    source: int | None
    result: int
    own: int
    learned: bool
    given: tuple[int, ...] = ()
    patch: tuple[int, ...] = ()
    several: bool = False
    words: int = 0
    kind: str = ""


@dataclass(frozen=True, slots=True)
class ModuleCall(RawCall):
    """The same, as it was read: `calls[i]` returned as the i-th.

    Attributes:
        calls: How often the module ran in this pass.
        layout: How the output becomes a grid, None when it cannot.
        cells: Share of the grid's cells at which gradient of the score arrives.
        unread: The longest run of channels at which none arrives, as a share of the channels.
        beside: A module in the same container that works on its own grid side by side with this
            one, neither reading the other; "" without.
    """

    calls: int = field(kw_only=True)
    layout: Layout | None = field(kw_only=True)
    cells: float = field(kw_only=True)
    unread: float = field(kw_only=True)
    beside: str = field(kw_only=True, default="")


@dataclass(frozen=True, slots=True)
class Picture:
    """What is known of the input, to read grids over it.

    Attributes:
        size: The sizes of its grid axes, `[H, W]` of a picture.
        canvas: The same of what the network lays it on, scaled and padded; () when it does not.
        span: How long the canvas is along each axis, in picture lengths; () when the same.
        tokens: The grid along which tokens were cut, if it was said.
    """

    size: tuple[int, ...]
    canvas: tuple[int, ...] = ()
    span: tuple[float, ...] = ()
    tokens: tuple[int, ...] | None = None


def read(
    seen: Sequence[RawCall],
    arrived: Sequence[Tensor | None],
    origins: Sequence[int],
    picture: Picture,
) -> tuple[ModuleCall, ...]:
    """Find the layout of every output of a recorded pass, and where gradient arrives on its grid.

    Args:
        seen: The calls in the order in which they returned.
        arrived: Where gradient of a score arrived at what was handed on, by its number; None where
            none did.
        origins: What each was made of: a bit for the number of each other one, and behind them all
            one for the image.
        picture: What the network was given.
    """
    ran = Counter(call.path for call in seen)
    grids = [] if picture.tokens is None else [picture.tokens]
    placed: dict[int, tuple[Layout, int]] = {}  # by result: its layout and number of channels
    bits = 0  # a bit for each result in there
    counts = set[int]()  # of tokens
    words: dict[int, int] = {}  # by result: how many words it was made of
    calls = []
    for call in seen:
        # One image was recorded; another first axis is no batch (windows, patches of patches).
        # What was not made of it (positions, words) is no grid over it.
        over = origins[call.own] >> len(arrived) & 1
        layout = layout_of(call.shape, picture.size, grids) if over else None
        if layout and layout.kind != "frames" and call.shape[0] != 1:
            layout = None
        if call.words:
            words[call.own] = call.words
        read_in = (n for one, n in words.items() if origins[call.own] >> one & 1)
        if layout and not set(call.shape[1:3]).isdisjoint(read_in):
            layout = None  # a place for each word, not for parts of the picture
        if layout and _is_attention(layout, call.shape, counts, picture.size):
            layout = None
        if len(call.shape) == 3:
            counts.add(call.shape[1])
        cells, unread = 0.0, 1.0
        if layout:
            # Of three axes the last two count: time, or depth, has a step of its own.
            close = mismatch(layout.grid[-2:], picture.size[-2:]) < SAME_PROPORTIONS
            if close and layout.grid not in grids and picture.tokens is None:
                grids.append(layout.grid)
            if call.result in placed:
                layout = replace(layout, span=placed[call.result][0].span)
            else:
                latest = (origins[call.result] & bits).bit_length() - 1  # that it was made of
                layout = replace(layout, span=_span(call, layout, placed.get(latest), picture))
                placed[call.result] = layout, _channels(layout, call.shape)
                bits |= 1 << call.result
            mask = arrived[call.own]
            if mask is not None:
                cells, unread = _arrival(layout.to_grid(mask)[0].flatten(1))
        known = {f.name: getattr(call, f.name) for f in fields(call)}
        calls.append(
            ModuleCall(**known, calls=ran[call.path], layout=layout, cells=cells, unread=unread)
        )
    return _with_neighbours(calls, origins)


def _is_attention(
    layout: Layout, shape: Sequence[int], counts: Set[int], image: Sequence[int]
) -> bool:
    """Say whether what looks like a grid is the inside of an attention: `[1, heads, N, d or N]`."""
    if layout.kind == "tokens" or len(shape) != 4 or shape[2] not in counts:
        return False
    return shape[2] == shape[3] or mismatch(layout.grid, image) >= SAME_PROPORTIONS


def _channels(layout: Layout, shape: Sequence[int]) -> int:
    return shape[1] if layout.kind == "channels first" else shape[-1]


def _span(
    call: RawCall, layout: Layout, before: tuple[Layout, int] | None, picture: Picture
) -> tuple[float, ...]:
    """Return how long a grid is, in picture lengths, from that of the grid it was made of.

    Two things change it: patches cut side by side from what does not divide by their size, which is
    padded first, or cut off; and neighbours merged two by two where one is left over. Convolutions
    that slide keep it.
    """
    if before is None:
        last, channels = picture.canvas or picture.size, 0
        span = picture.span or (1.0,) * len(last)
    else:
        last, channels = before[0].grid, before[1]
        span = before[0].span or (1.0,) * len(last)
    grid = layout.grid
    if call.patch and len(call.given) == len(grid) + 2:
        entered = call.given[2:]
        if all(a >= b for a, b in zip(entered, last, strict=True)):
            # cells * patch of the pixels that entered, which were padded from the last ones
            steps = zip(span, grid, call.patch, last, strict=True)
            span = tuple(s * g * p / n for s, g, p, n in steps)
    elif call.given and layout.kind != "channels first" and len(last) == len(grid):
        ratio = [max(1, math.ceil(n / g)) for g, n in zip(grid, last, strict=True)]
        merged = channels and call.given[-1] == channels * math.prod(ratio)
        if merged and math.prod(ratio) > 1:
            span = tuple(s * g * r / n for s, g, r, n in zip(span, grid, ratio, last, strict=True))
    return () if all(abs(s - 1) < 1e-9 for s in span) else span


def _with_neighbours(calls: Sequence[ModuleCall], origins: Sequence[int]) -> tuple[ModuleCall, ...]:
    """Return calls with, of each, one that works beside it in the same container."""
    within: dict[str, list[ModuleCall]] = {}
    for call in calls:
        if call.path and call.learned and call.layout and call.cells > 0:
            within.setdefault(call.path.rpartition(".")[0], []).append(call)
    found = []
    for call in calls:
        near = within.get(call.path.rpartition(".")[0], []) if call.path else []
        apart = (
            other.path
            for other in near
            if other.path != call.path
            and other.result != call.result
            and not origins[call.result] >> other.result & 1
            and not origins[other.result] >> call.result & 1
        )
        found.append(replace(call, beside=next(apart, "")))
    return tuple(found)


def _arrival(gradient: Tensor) -> tuple[float, float]:
    """Return the share of cells reached and the longest run of channels not, from `[K, cells]`."""
    reached, read_ = gradient.any(0).tolist(), gradient.any(1).tolist()
    return sum(reached) / len(reached), _longest_run([not one for one in read_]) / len(read_)


def _longest_run(flags: Sequence[bool]) -> int:
    return max((sum(1 for _ in run) for flag, run in groupby(flags) if flag), default=0)
