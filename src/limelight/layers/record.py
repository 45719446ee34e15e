"""A recorded pass, read: the layout of every output, and where gradient arrives on its grid."""

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
        cells: The share of the grid's cells at which gradient of the score arrives.
        unread: The longest run of channels at which none arrives, as a share of the channels.
        sibling: A module in the same container that works on a grid of its own in parallel, so that
            neither depends on the other; "" without.
    """

    calls: int = field(kw_only=True)
    layout: Layout | None = field(kw_only=True)
    cells: float = field(kw_only=True)
    unread: float = field(kw_only=True)
    sibling: str = field(kw_only=True, default="")


@dataclass(frozen=True, slots=True)
class InputGeometry:
    """The sizes of the input, to read grids over it.

    Attributes:
        size: The sizes of its grid axes, `[H, W]` for a picture.
        canvas: The sizes of the canvas on which the network puts it, scaled and padded; () if it
            does not.
        span: How long the canvas is along each axis, in picture lengths; () if the same.
        tokens: The grid that the tokens come from, if the user named it.
    """

    size: tuple[int, ...]
    canvas: tuple[int, ...] = ()
    span: tuple[float, ...] = ()
    tokens: tuple[int, ...] | None = None


def read(
    raw_calls: Sequence[RawCall],
    arrived: Sequence[Tensor | None],
    origins: Sequence[int],
    geometry: InputGeometry,
) -> tuple[ModuleCall, ...]:
    """Return the calls of a recorded pass with their layouts, and where gradient arrives on grids.

    1. Find the layout of the output, unless it is no grid over the image.
    2. Find how long the grid is in picture lengths.
    3. Find at which cells and channels gradient arrives.
    4. Find the modules that work in parallel.

    Args:
        raw_calls: The calls in the order in which they returned.
        arrived: By number of the call, where gradient of a score arrived at its output; None where
            it did not arrive.
        origins: By number of the call, the calls that its output depends on, as a bit mask; the
            highest bit stands for the image.
        geometry: The sizes of the input.
    """
    ran = Counter(call.path for call in raw_calls)
    grids = [] if geometry.tokens is None else [geometry.tokens]
    layouts: dict[int, tuple[Layout, int]] = {}  # by result: layout, number of channels
    bits = 0  # a bit for each result in `layouts`
    token_counts = set[int]()
    words: dict[int, int] = {}  # by number of the call: how many words its input had
    calls = []
    for call in raw_calls:
        # 1. The layout. An output that does not depend on the image (positions, words) has none,
        # nor has one whose first axis is no batch of one image (windows, patches of patches).
        depends_on_image = origins[call.number] >> len(arrived) & 1
        layout = layout_of(call.shape, geometry.size, grids) if depends_on_image else None
        if layout and layout.kind != "frames" and call.shape[0] != 1:
            layout = None
        if call.words:
            words[call.number] = call.words
        counts = (n for number, n in words.items() if origins[call.number] >> number & 1)
        if layout and not set(call.shape[1:3]).isdisjoint(counts):
            layout = None  # an axis over words, not over the picture
        if layout and _is_attention(layout, call.shape, token_counts, geometry.size):
            layout = None
        if len(call.shape) == 3:
            token_counts.add(call.shape[1])
        cells, unread = 0.0, 1.0
        if layout:
            # Later tokens may come from a grid with the picture's proportions. The last two axes
            # count: time, or depth, has a scale of its own.
            close = mismatch(layout.grid[-2:], geometry.size[-2:]) < SAME_PROPORTIONS
            if close and layout.grid not in grids and geometry.tokens is None:
                grids.append(layout.grid)
            # 2. The span.
            if call.result in layouts:
                layout = replace(layout, span=layouts[call.result][0].span)
            else:
                latest = (origins[call.result] & bits).bit_length() - 1  # before it
                layout = replace(layout, span=_span(call, layout, layouts.get(latest), geometry))
                layouts[call.result] = layout, _channels(layout, call.shape)
                bits |= 1 << call.result
            # 3. Where gradient arrives.
            mask = arrived[call.number]
            if mask is not None:
                cells, unread = _arrival(layout.to_grid(mask)[0].flatten(1))
        raw = {f.name: getattr(call, f.name) for f in fields(call)}
        calls.append(
            ModuleCall(**raw, calls=ran[call.path], layout=layout, cells=cells, unread=unread)
        )
    # 4. The parallel modules.
    return _with_siblings(calls, origins)


def _is_attention(
    layout: Layout, shape: Sequence[int], counts: Set[int], image: Sequence[int]
) -> bool:
    """Return whether what looks like a grid is inside an attention: `[1, heads, N, d or N]`."""
    if layout.kind == "tokens" or len(shape) != 4 or shape[2] not in counts:
        return False
    return shape[2] == shape[3] or mismatch(layout.grid, image) >= SAME_PROPORTIONS


def _channels(layout: Layout, shape: Sequence[int]) -> int:
    return shape[1] if layout.kind == "channels first" else shape[-1]


def _span(
    call: RawCall, layout: Layout, before: tuple[Layout, int] | None, geometry: InputGeometry
) -> tuple[float, ...]:
    """Return how long a grid is, in picture lengths; it depends on the grid `before`.

    Two things change the length: patches cut side by side from a grid that their size does not
    divide, which is padded first, or cropped; and neighbours merged two by two when one is left
    over. Convolutions whose windows overlap keep it.
    """
    if before is None:
        last, channels = geometry.canvas or geometry.size, 0
        span = geometry.span or (1.0,) * len(last)
    else:
        last, channels = before[0].grid, before[1]
        span = before[0].span or (1.0,) * len(last)
    grid = layout.grid
    if call.patch and len(call.input_shape) == len(grid) + 2:
        came_in = call.input_shape[2:]
        if all(a >= b for a, b in zip(came_in, last, strict=True)):
            # The grid covers cells * patch of the pixels that came in, padded from the last grid.
            steps = zip(span, grid, call.patch, last, strict=True)
            span = tuple(s * g * p / n for s, g, p, n in steps)
    elif call.input_shape and layout.kind != "channels first" and len(last) == len(grid):
        merge = [max(1, math.ceil(n / g)) for g, n in zip(grid, last, strict=True)]
        merged = channels and call.input_shape[-1] == channels * math.prod(merge)
        if merged and math.prod(merge) > 1:
            span = tuple(s * g * r / n for s, g, r, n in zip(span, grid, merge, last, strict=True))
    return () if all(abs(s - 1) < 1e-9 for s in span) else span


def _with_siblings(calls: Sequence[ModuleCall], origins: Sequence[int]) -> tuple[ModuleCall, ...]:
    """Return the calls, each with a module that works in parallel in the same container."""
    by_container: dict[str, list[ModuleCall]] = {}
    for call in calls:
        if call.path and call.learned and call.layout and call.cells > 0:
            by_container.setdefault(call.path.rpartition(".")[0], []).append(call)
    with_siblings = []
    for call in calls:
        neighbours = by_container.get(call.path.rpartition(".")[0], []) if call.path else []
        siblings = (
            other.path
            for other in neighbours
            if other.path != call.path
            and other.result != call.result
            and not origins[call.result] >> other.result & 1
            and not origins[other.result] >> call.result & 1
        )
        with_siblings.append(replace(call, sibling=next(siblings, "")))
    return tuple(with_siblings)


def _arrival(arrived: Tensor) -> tuple[float, float]:
    """Return the share of cells reached, and of channels in the longest run not reached."""
    reached, channels = arrived.any(0).tolist(), arrived.any(1).tolist()
    unread = _longest_run([not arrives for arrives in channels])
    return sum(reached) / len(reached), unread / len(channels)


def _longest_run(flags: Sequence[bool]) -> int:
    return max((sum(1 for _ in run) for flag, run in groupby(flags) if flag), default=0)
