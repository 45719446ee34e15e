"""One recorded pass, and the layouts of its calls: read off the graph, or measured."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

from torch import nn

from limelight.finish import AxisSpan, along_axes
from limelight.inputs import ModelInputs
from limelight.layers import (
    InputGeometry,
    KnownGrid,
    Layout,
    Moments,
    RawCall,
    Track,
    follow,
    measured_span,
    read_places,
    span_after,
)
from limelight.layers.guesses import guess_layout
from limelight.layers.tracks import IMAGE, Anchor
from limelight.packing import KnownOrder
from limelight.runtime.places import PlaceMeasurement, measure_places

_log = logging.getLogger(__name__)

#: Numbers in the outputs that are measured together; each takes some 50 bytes.
_MOST_NUMBERS = 2**23

#: How many earlier outputs are measured along with one, for the grids that it is made of.
_MOST_EARLIER = 8

#: How many draws of noise are measured, and how large it is against the usual: first, and again
#: where that cannot be read. In a network that is almost chaotic only small changes add up; steps,
#: of quantisation, answer to large ones alone.
_ATTEMPTS = ((2, 1.0), (6, 0.1), (6, 30.0))


#: Why there is no grid where the network shuffles its tokens.
MOVING = (
    "its positions move from run to run: the network draws random numbers, to shuffle or to drop "
    "them, so they have no place that a map could show"
)


@dataclass
class Recording:
    """The calls of one recorded pass over one image, and what is known of their layouts.

    Attributes:
        calls: The calls, in the order in which they returned.
        origins: By number of the call, the calls that its output depends on, as a bit mask; the
            highest bit stands for the image.
        tracks: By number of the call, how its output comes from its anchor.
        geometry: The sizes of the input.
        anchor_origins: By anchor, the calls that it depends on, as a bit mask.
        aligned: By anchor that is added to another tensor, the track of that tensor.
        layouts: By number of the call, the layouts that are settled; None for no grid.
        reasons: By number of the call, why it has no grid.
    """

    calls: tuple[RawCall, ...]
    origins: Sequence[int]
    tracks: Sequence[Track]
    geometry: InputGeometry
    anchor_origins: dict[Anchor, int]
    aligned: dict[Anchor, Track]
    layouts: dict[int, Layout | None] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    _measured: dict[Anchor, Layout | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Settle what follows from the image, or does not depend on it."""
        for call in self.calls:
            if not self.origins[call.number] >> len(self.calls) & 1:
                self._settle(call.number, "it does not depend on the picture")
            elif (layout := self.tracks[call.number].layout) is not None:
                self._settle(call.number, layout)

    def anew(self) -> Recording:
        """Return the same recording with nothing measured."""
        return replace(self, layouts={}, reasons={}, _measured={})

    def settle(self, model: nn.Module, inputs: ModelInputs, numbers: Iterable[int]) -> None:
        """Settle the layouts of some calls: measure those that do not follow from the image.

        Args:
            model: The network.
            inputs: The inputs of one image.
            numbers: The numbers of the calls.
        """
        open_ = [number for number in numbers if number not in self.layouts]
        roots = {self._root(self.tracks[number]).anchor for number in open_}
        self._measure(model, inputs, roots - {IMAGE})
        lost = dict[int, Anchor]()  # calls that do not follow from their anchor
        for number in open_:
            layout = self._along(self.tracks[number])
            own = self.anchor_of(number)
            if layout is None and own not in self._measured:
                lost[number] = own
            else:
                self._settle(number, layout or self._measured[own])
        self._measure(model, inputs, set(lost.values()))
        for number, own in lost.items():
            self._settle(number, self._measured[own])

    def reads_words(self, number: int) -> bool:
        """Return whether a call's output depends on a module that was given a sentence."""
        origins = self.origins[number]
        return any(call.words and origins >> call.number & 1 for call in self.calls)

    def _root(self, track: Track) -> Track:
        """Return the track at whose anchor places are read: the last that another is laid on."""
        while track.layout is None and track.anchor in self.aligned:
            track = self.aligned[track.anchor]
        return track

    def _along(self, track: Track) -> Layout | None:
        """Return the layout at the end of a track, if those before it are known."""
        if track.layout is not None:
            return track.layout
        if track.anchor in self.aligned:
            anchor: Layout | str | None = self._along(self.aligned[track.anchor])
        else:
            anchor = self._measured.get(track.anchor)
        return follow(track, anchor) if isinstance(anchor, Layout) else None

    def anchor_of(self, number: int) -> Anchor:
        """Return a call's own output as an anchor."""
        return self._own_anchors[number]

    @cached_property
    def _own_anchors(self) -> list[Anchor]:
        outputs = (anchor for anchor in self.anchor_origins if not anchor.is_input)
        return sorted(outputs, key=lambda anchor: anchor.order)

    def _settle(self, number: int, layout: Layout | str) -> None:
        self.layouts[number] = layout if isinstance(layout, Layout) else None
        _log.debug("layout of %s: %s", self.calls[number].path, layout)
        if isinstance(layout, str):
            self.reasons[number] = layout

    def _measure(self, model: nn.Module, inputs: ModelInputs, wanted: set[Anchor]) -> None:
        """Measure tensors, and with them the earlier ones whose grids they may be made of."""
        wanted -= self._measured.keys()
        if not wanted:
            return
        expected = inputs.expected_orders
        every = sorted({*wanted, *self._earlier(wanted)}, key=lambda anchor: anchor.order)
        for group in _groups(every):
            waiting = group
            for draws, size in _ATTEMPTS:
                measure = partial(measure_places, model, inputs, draws=draws, size=size)
                measured = measure(waiting)
                for anchor, measurement in zip(waiting, measured, strict=True):
                    self._measured[anchor] = self._read(anchor, measurement, expected)
                self._confirm(measure, waiting, measured, expected)
                waiting = [a for a in waiting if a in wanted and isinstance(self._measured[a], str)]
                if not waiting:
                    break

    def _confirm(
        self,
        measure: Callable[..., list[PlaceMeasurement | None]],
        anchors: Sequence[Anchor],
        measured: Sequence[PlaceMeasurement | None],
        expected: Sequence[KnownOrder],
    ) -> None:
        """Measure again, with another seed, where the network draws random numbers."""
        random = [
            anchor
            for anchor, measurement in zip(anchors, measured, strict=True)
            if measurement is not None
            and measurement.random
            and isinstance(self._measured[anchor], Layout)
        ]
        if not random:
            return
        again = measure(random, seed=1)
        for anchor, measurement in zip(random, again, strict=True):
            if self._read(anchor, measurement, expected) != self._measured[anchor]:
                self._measured[anchor] = MOVING

    def _read(
        self,
        anchor: Anchor,
        measurement: PlaceMeasurement | None,
        expected: Sequence[KnownOrder],
    ) -> Layout | str:
        """Return the layout of a measured tensor, or why it has none."""
        if measurement is None:
            return "it puts out no numbers that can be measured"
        moments, known, tokens = measurement.moments, self._known(anchor), self.geometry.tokens
        suggested = self.geometry.suggested(anchor.shape, [grid.grid for grid in known])
        layout = read_places(moments, known, [*expected, *suggested])
        settled = isinstance(layout, Layout) and (layout.kind != "tokens" or layout.grid == tokens)
        if tokens is not None and not settled:
            said = guess_layout(anchor.shape, self.geometry.size, [tokens])
            fits = said is not None and said.grid == tokens
            layout = said if said is not None and fits else _does_not_hold(tokens, anchor)
        if isinstance(layout, str):
            return layout + (measurement.random and "; the network draws random numbers")
        return replace(layout, span=self._span(anchor, layout, moments, known))

    def _span(
        self,
        anchor: Anchor,
        layout: Layout,
        moments: Moments,
        known: Sequence[KnownGrid],
    ) -> tuple[AxisSpan, ...]:
        """Return where the grid of a measured tensor lies on the picture."""
        same = [grid for grid in known if grid.grid == layout.grid]
        if same:
            return same[-1].span
        before = known[-1] if known else None
        call = next((c for c in self.calls if c.path == anchor.path), None)
        span = self.geometry.span
        if call is not None:
            channels = self._channels_on(before) if before else ()
            span = span_after(call, layout, before, channels, self.geometry)
        seen = None if known else measured_span(moments, layout)
        return span if seen is None or _agree(span, seen, layout.grid) else seen

    def _channels_on(self, grid: KnownGrid) -> set[int]:
        """Return the numbers of channels of all outputs that have the cells of a grid."""
        shapes = (call.shape for call in self.calls)
        return {s[-1] for s in shapes if len(s) > 2 and math.prod(s[:-1]) == math.prod(grid.grid)}

    def _known(self, anchor: Anchor) -> list[KnownGrid]:
        """Return the grids that a tensor is made of, the latest last."""
        if self.geometry.tokens is not None:
            return [KnownGrid(self.geometry.tokens)]
        origins, known = self.anchor_origins[anchor], dict[object, KnownGrid]()
        before = [
            (own.order, self.layouts.get(call.number) or self._measured.get(own))
            for call, own in zip(self.calls, self._own_anchors, strict=True)
            if own.order < anchor.order and origins >> call.number & 1
        ]
        before += [
            (other.order, layout)
            for other, layout in self._measured.items()
            if other.is_input
            and other.order < anchor.order
            and not self.anchor_origins[other] & ~origins
        ]
        for _, layout in sorted(before, key=lambda each: each[0]):
            if isinstance(layout, Layout):
                earlier = known.pop(layout.grid, KnownGrid(layout.grid))
                fronts = earlier.fronts
                if layout.kind == "tokens" and not layout.order and layout.prefix not in fronts:
                    fronts = *fronts, layout.prefix
                known[layout.grid] = KnownGrid(layout.grid, layout.span, fronts)
        return list(known.values())

    def _earlier(self, wanted: Iterable[Anchor]) -> list[Anchor]:
        """Return the anchors before these, one for each shape, that are worth measuring."""
        last = max(anchor.order for anchor in wanted)
        first: dict[tuple[int, ...], Anchor] = {}
        for track in self.tracks:
            anchor = track.anchor
            if 0 <= anchor.order < last and len(anchor.shape) >= self.geometry.least_axes:
                first.setdefault(anchor.shape, anchor)
        return [a for a in first.values() if a not in self._measured][:_MOST_EARLIER]


def _groups(anchors: Sequence[Anchor]) -> Iterable[list[Anchor]]:
    """Yield anchors in groups that fit into memory together."""
    group, count = list[Anchor](), 0
    for anchor in anchors:
        size = math.prod(anchor.shape)
        if group and count + size > _MOST_NUMBERS:
            yield group
            group, count = [], 0
        group.append(anchor)
        count += size
    yield group


def _does_not_hold(grid: Sequence[int], anchor: Anchor) -> str:
    """Return why a grid that was said cannot be that of a tensor."""
    said = " x ".join(map(str, grid))
    return f"the grid that was said, {said}, is not that of an output {list(anchor.shape)}"


def _agree(span: Sequence[AxisSpan], seen: Sequence[AxisSpan], grid: Sequence[int]) -> bool:
    """Return whether two spans of a grid agree, but for about half a cell."""
    pairs = zip(along_axes(span, len(grid)), seen, grid, strict=True)
    return all(max(abs(a.start - b.start), abs(a.end - b.end)) * g < 0.6 for a, b, g in pairs)
