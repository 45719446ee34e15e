"""Which layer to cut at when none is named: the record's layers ranked, and why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from limelight.errors import LayerError
from limelight.layers.layouts import ambiguous
from limelight.layers.record import ModuleCall

#: A layer with a longer run of unread channels than this share is several things side by side:
#: queries, keys and values, say, or the scores of the other classes. (Channels that a ReLU
#: happens to switch off are scattered, and make no such run.)
UNREAD_RUN = 0.3


@dataclass(frozen=True, slots=True)
class Candidate:
    """A layer that could be cut at.

    Attributes:
        call: How it ran.
        objection: What speaks against it; "" when nothing does.
        possible: Whether it could be cut at for all that.
    """

    call: ModuleCall
    objection: str = ""
    possible: bool = True

    @property
    def path(self) -> str:
        """The layer's dotted path."""
        return self.call.path


@dataclass(frozen=True, slots=True)
class Choice:
    """The layer to cut at (its path, or the module), and why."""

    layer: str | nn.Module
    reason: str


def candidates(calls: Sequence[ModuleCall]) -> list[Candidate]:
    """Rank the layers of a recorded pass: the one to cut at first, the impossible ones last.

    A layer can be cut at when its output is a grid of more than one cell, it runs once, and
    gradient of the score arrives on the grid. It had better hold parameters, be read in all its
    channels, and not be one of several branches that read the same tensor. Of those that remain
    the latest is best: later layers see more meaning. Among modules that put out the very same
    tensor (a stage and its last block) the outermost stands for all.
    """
    outermost: dict[int, tuple[int, ModuleCall]] = {}
    for order, call in enumerate(calls):
        if not (call.path and call.layout and math.prod(call.layout.grid) > 1):
            continue
        # What merely passes a tensor on (a dropout, an identity) does not stand for its maker.
        _, inner = outermost.get(call.result, (0, None))
        # Nor does what puts it out beside other things, or what was made of it is read instead.
        stands = call.learned and not call.several and (call.cells or not inner or not inner.cells)
        if inner is None or stands:
            outermost[call.result] = order, call
    latest_first = [call for _, call in sorted(outermost.values(), key=lambda pair: -pair[0])]
    readers: dict[int | None, list[str]] = {}
    for call in calls:
        if call.learned and call.path:
            readers.setdefault(call.source, []).append(call.path)
    readers.pop(None, None)
    ranked = [_judge(call, readers.get(call.source, [])) for call in latest_first]
    return sorted(ranked, key=lambda candidate: (not candidate.possible, candidate.objection != ""))


def stages(calls: Sequence[ModuleCall], count: int = 6) -> list[str]:
    """Return the paths of up to `count` layers of a recorded pass, early to late: its stages.

    Of the layers that nothing speaks against, at each size of grid the last of the outermost; where
    there are fewer sizes than asked for (in a transformer there is one), blocks evenly between
    them. The last one is the layer that is chosen when none is named.
    """
    ranked = candidates(calls)
    good = [one.call for one in ranked if one.possible and not one.objection]
    if not good:
        return [one.path for one in ranked[:1] if one.possible]
    order = {id(call): number for number, call in enumerate(calls)}
    chosen = good[0]
    by_grid: dict[tuple[int, ...], list[ModuleCall]] = {}
    for call in sorted(good, key=lambda call: order[id(call)]):
        if call.layout:
            by_grid.setdefault(call.layout.grid, []).append(call)
    taken = {id(chosen): chosen}
    for grid, same in by_grid.items():
        if chosen.layout and grid != chosen.layout.grid:
            last = max(same, key=lambda call: (-call.path.count("."), order[id(call)]))
            taken[id(last)] = last
    room = count - len(taken)
    for depth in range(8):
        between = [c for c in good if c.path.count(".") == depth and id(c) not in taken]
        if room > 0 and len(between) >= room:
            picked = [between[(2 * i + 1) * len(between) // (2 * room)] for i in range(room)]
            taken |= {id(call): call for call in picked}
            break
    # More than asked for: the earliest, which are mere edges, go first.
    return [call.path for call in sorted(taken.values(), key=lambda c: order[id(c)])][-count:]


def _judge(call: ModuleCall, readers: Sequence[str]) -> Candidate:
    """Say what speaks against choosing a layer unasked; `readers` read the same tensor as it."""
    if call.calls > 1:
        return Candidate(call, f"it runs {call.calls} times", possible=False)
    if call.cells == 0:
        return Candidate(call, "no gradient of the score arrives on its grid", possible=False)
    if not call.learned:
        return Candidate(call, "it has no parameters")
    if call.several:
        return Candidate(call, "it puts out several grids, and only the first would be cut at")
    if call.unread > UNREAD_RUN:
        return Candidate(call, f"the score skips {call.unread:.0%} of its channels in a row")
    beside = [
        other
        for other in readers
        if not f"{call.path}.".startswith(f"{other}.")
        and not f"{other}.".startswith(f"{call.path}.")
    ]
    beside = [call.beside] if call.beside and not beside else beside
    return Candidate(call, f"it is one of several branches, beside {beside[0]}" if beside else "")


def choose(calls: Sequence[ModuleCall], image: Sequence[int] = ()) -> Choice:
    """Choose the layer to cut at from a recorded pass, over an image of these sizes.

    Raises:
        LayerError: No layer can be cut at; the nearest misses are named with their reasons.
    """
    ranked = candidates(calls)
    if ranked and ranked[0].possible:
        reason = "the last layer with a grid on which gradient of the score arrives"
        but = f", although {ranked[0].objection}" if ranked[0].objection else ""
        return Choice(ranked[0].path, reason + but)
    unclear = [call for call in calls if call.path and call.learned and call.layout is None]
    said = next(filter(None, (ambiguous(c.path, c.shape, image) for c in unclear[::-1])), "")
    if image and said and not any(candidate.call.cells for candidate in ranked):
        raise LayerError(said)
    near = "; ".join(f"{candidate.path}: {candidate.objection}" for candidate in ranked[:3])
    raise LayerError(
        "No layer to cut at was found: none has a grid of several cells on which gradient of the "
        f"score arrives ({near or 'no output in this network is a grid'}). Name one with "
        "layer=..., and see `limelight layers` for all of them; a larger input has finer grids."
    )
