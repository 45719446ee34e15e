"""Places carried along a network: what operations do to the grid of the tensor that they change.

A convolution, a pooling or a crop moves the cells of a grid by known rules, and an addition does
not move them at all. A *track* is the chain of such operations between a tensor whose layout is
known (its *anchor*) and a tensor whose layout follows from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from limelight.finish import AxisSpan, along_axes
from limelight.layers.layouts import Layout


class Anchor(NamedTuple):
    """A tensor at which tracks begin: an output, or an input, of a module's call; or the image.

    Attributes:
        order: Its place in the pass; anchors compare by it.
        path: The module's dotted path.
        call: Which of the module's calls, from 0.
        is_input: Whether it is the input of the call; else its output.
        shape: Its shape, for one image.
    """

    order: int
    path: str = ""
    call: int = 0
    is_input: bool = False
    shape: tuple[int, ...] = ()


#: The anchor of tracks that begin at the image.
IMAGE = Anchor(-1)


class Operation(Protocol):
    """An operation that changes the axes of a tensor, and what it does to the tensor's layout."""

    def apply(self, grid: TrackedGrid, shape: tuple[int, ...]) -> TrackedGrid | None:
        """Return the layout of the result, of this shape; None if it cannot be told."""


@dataclass(frozen=True, slots=True)
class Track:
    """How a tensor comes from its anchor.

    Attributes:
        anchor: The tensor at which it begins.
        shape: The tensor's shape, for one image.
        before: The track of the tensor before the last step; None at the anchor.
        step: The last step; None at the anchor.
        grid: The tensor's layout, if the anchor is the image; else None.
    """

    anchor: Anchor
    shape: tuple[int, ...]
    before: Track | None = None
    step: Operation | None = None
    grid: TrackedGrid | None = None

    @classmethod
    def of_image(cls, shape: Sequence[int]) -> Track:
        """Return the track of the images `[B, C, *image]` themselves."""
        layout = Layout("channels first", tuple(shape[2:]))
        return cls(IMAGE, tuple(shape), grid=tracked(layout))

    def after(self, step: Operation, shape: tuple[int, ...]) -> Track | None:
        """Return the track one step further, to a tensor of this shape.

        It is None if the step's rule does not hold for the layout. From an anchor that is still to
        be measured, only windows and permutations are followed.
        """
        if self.grid is None:
            known = isinstance(step, Windows | Resized | Permuted)
            return Track(self.anchor, shape, self, step) if known else None
        grid = applied(step, self.grid, shape)
        return None if grid is None else Track(self.anchor, shape, self, step, grid)

    @property
    def layout(self) -> Layout | None:
        """The tensor's layout, if the anchor is the image."""
        return None if self.grid is None else self.grid.finished()


@dataclass(frozen=True, slots=True)
class TrackedGrid:
    """A layout on its way along a track.

    Attributes:
        layout: The layout, with a span for every axis.
        content: The span along each axis without the padding of just before: where it ends.
    """

    layout: Layout
    content: tuple[tuple[float, float], ...]

    def axis_of(self, dimension: int, rank: int) -> int | None:
        """Return which axis of the image a dimension of the tensor is; None if it is none.

        Raises:
            LookupError: The cells of the layout are not the tensor's dimensions.
        """
        layout = self.layout
        dimensions = [d for d in range(1, rank) if d != self.channel_axis(rank)]
        if layout.kind == "frames":
            dimensions = [0, *dimensions]
        axes = [*range(len(layout.grid))]
        if len(dimensions) < len(axes):  # the network has pooled an axis of the image
            axes = [axis for axis in axes if layout.grid[axis] > 1]
        if layout.kind == "tokens" or layout.order or len(dimensions) != len(axes):
            raise LookupError("the cells of the layout are not the tensor's dimensions")
        return axes[dimensions.index(dimension)] if dimension in dimensions else None

    def channel_axis(self, rank: int) -> int:
        """Return the dimension of the channels."""
        return self.layout.axis_of_channels % rank

    def finished(self) -> Layout:
        """Return the layout, with a span only if the grid does not cover the picture exactly."""
        return replace(self.layout, span=plain_span(self.layout.span))

    def moved(
        self, axis: int, cells: int, span: AxisSpan, content: tuple[float, float] | None = None
    ) -> TrackedGrid:
        """Return the layout with another number of cells and another span along an axis.

        The content is the whole span when not given.
        """
        grid, spans, contents = [*self.layout.grid], [*self.layout.span], [*self.content]
        grid[axis], spans[axis] = cells, span
        contents[axis] = content or (span.start, span.end)
        layout = replace(self.layout, grid=tuple(grid), span=tuple(spans))
        return TrackedGrid(layout, tuple(contents))


def tracked(layout: Layout) -> TrackedGrid:
    """Return a layout to be followed along a track."""
    spans = along_axes(layout.span, len(layout.grid))
    return TrackedGrid(replace(layout, span=spans), tuple((s.start, s.end) for s in spans))


def applied(step: Operation, grid: TrackedGrid, shape: tuple[int, ...]) -> TrackedGrid | None:
    """Return the layout after a step; None if its rule does not hold for this layout."""
    try:
        after = step.apply(grid, shape)
    except LookupError:
        return None
    return None if after is None or 0 in after.layout.grid else after


def follow(track: Track, anchor: Layout) -> Layout | None:
    """Return the layout at the end of a track, given that of its anchor; None if unknown."""
    links = list[Track]()
    link = track
    while link.before is not None:
        links.append(link)
        link = link.before
    grid: TrackedGrid | None = tracked(anchor)
    for link in reversed(links):
        assert link.step is not None
        grid = None if grid is None else applied(link.step, grid, link.shape)
    return None if grid is None else grid.finished()


def plain_span(span: Sequence[AxisSpan]) -> tuple[AxisSpan, ...]:
    """Return a span, or () if it is the picture but for rounding."""
    ends = ((*along[:4:2], along.end - 1, along.seen_to - 1) for along in span)
    return () if all(abs(end) < 1e-9 for ends_ in ends for end in ends_) else tuple(span)


@dataclass(frozen=True, slots=True)
class Windows:
    """A convolution or a pooling: windows that slide over the axes after the channels.

    Attributes:
        extent: How many cells a window reaches along each axis, dilation included.
        stride: By how many cells it moves.
        padding: How many cells are added before the first.
        transposed: Whether it is a transposed convolution.
    """

    extent: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    transposed: bool = False

    def apply(self, grid: TrackedGrid, shape: tuple[int, ...]) -> TrackedGrid | None:
        """Return the layout of what the windows put out."""
        rank = len(shape)
        if grid.channel_axis(rank) != 1 or len(self.extent) != rank - 2:
            return None
        for number, dimension in enumerate(range(2, rank)):
            axis = grid.axis_of(dimension, rank)
            assert axis is not None
            sizes = self.extent[number], self.stride[number], self.padding[number]
            along = _slid(grid, axis, shape[dimension], *sizes, transposed=self.transposed)
            grid = grid.moved(axis, shape[dimension], along)
        return grid


def _slid(
    grid: TrackedGrid,
    axis: int,
    cells: int,
    extent: int,
    stride: int,
    padding: int,
    *,
    transposed: bool,
) -> AxisSpan:
    """Return the span of the `cells` that windows put out along an axis.

    A cell lies at the centre of its window, and is as long as the stride. Windows that do not lie
    side by side, and end at the border but for half a stride, cover what they slide over: the
    content, if it was padded just before, or the content with its padding.
    """
    n, along = grid.layout.grid[axis], grid.layout.span[axis]
    one = along.length / n  # how long a cell is that came in
    if transposed:
        first, last = (padding - (extent - stride) / 2) / stride, cells / stride
        slack_before = slack_after = 0.5
    else:
        first, last = (extent - stride) / 2 - padding, float(stride * cells)
        slack_before, slack_after = stride / 2, stride / 2 + (0.5 if stride > 1 else 0)
    start, end = along.start + first * one, along.start + (first + last) * one
    if extent != stride:
        for border, edge in (grid.content[axis], (along.start, along.end)):
            near = abs(start - border) <= (slack_before + _HAIR) * one
            if near and abs(end - edge) <= (slack_after + _HAIR) * one:
                return along._replace(start=border, end=edge)
    return along._replace(start=start, end=end)


#: Rounding in the places of borders, in cells.
_HAIR = 1e-6


@dataclass(frozen=True, slots=True)
class Resized:
    """An interpolation: more or fewer cells, in the same place, along the axes after channels."""

    def apply(self, grid: TrackedGrid, shape: tuple[int, ...]) -> TrackedGrid | None:
        """Return the layout with the new numbers of cells."""
        rank = len(shape)
        if grid.channel_axis(rank) != 1:
            return None
        for dimension in range(2, rank):
            axis = grid.axis_of(dimension, rank)
            assert axis is not None
            grid = grid.moved(axis, shape[dimension], grid.layout.span[axis])
        return grid


@dataclass(frozen=True, slots=True)
class Permuted:
    """A permutation of the axes: dimension d of the result was dimension `dimensions[d]`."""

    dimensions: tuple[int, ...]

    def apply(self, grid: TrackedGrid, shape: tuple[int, ...]) -> TrackedGrid | None:
        """Return the layout with the channels elsewhere; the cells have to keep their order."""
        rank, layout = len(shape), grid.layout
        kept = [d for d in self.dimensions if d != grid.channel_axis(rank)]
        if self.dimensions[0] != 0 or kept != sorted(kept):
            return None
        at = self.dimensions.index(grid.channel_axis(rank))
        if layout.kind == "frames" and at != 1:
            return None
        kind = layout.kind
        if kind in ("channels first", "channels last"):
            kind = "channels first" if at == 1 else "channels last"
        usual = at == 1 if kind in ("channels first", "frames") else at == rank - 1
        axis = None if usual else at
        return replace(grid, layout=replace(layout, kind=kind, channel_axis=axis))


@dataclass(frozen=True, slots=True)
class Joined:
    """A concatenation along a dimension, which has to be that of the channels."""

    dimension: int

    def apply(self, grid: TrackedGrid, shape: tuple[int, ...]) -> TrackedGrid | None:
        """Return the layout as it is, if channels were joined."""
        rank = len(shape)
        return grid if self.dimension % rank == grid.channel_axis(rank) else None


@dataclass(frozen=True, slots=True)
class Cropped:
    """A part of the tensor: along each dimension, what is cut off before and after.

    Negative numbers add cells there.

    Attributes:
        edges: By dimension, how many cells go before and after.
    """

    edges: tuple[tuple[int, tuple[int, int]], ...]

    def apply(self, grid: TrackedGrid, shape: tuple[int, ...]) -> TrackedGrid | None:
        """Return the layout of the part."""
        rank = len(shape)
        for dimension, (before, after) in self.edges:
            if dimension % rank == grid.channel_axis(rank):
                continue
            axis = grid.axis_of(dimension % rank, rank)
            if axis is None:
                return None
            along, cells = grid.layout.span[axis], grid.layout.grid[axis] - before - after
            one = along.length / grid.layout.grid[axis]
            start, end = along.start + before * one, along.end - after * one
            seen = (
                max(along.seen_from, start) if before > 0 else along.seen_from,
                min(along.seen_to, end) if after > 0 else along.seen_to,
            )
            content = max(grid.content[axis][0], start), min(grid.content[axis][1], end)
            grid = grid.moved(axis, cells, AxisSpan(start, end, *seen), content)
        return grid
