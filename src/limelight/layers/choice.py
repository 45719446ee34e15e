"""Which layer to cut at when none is named: the recorded layers ranked, with reasons."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from limelight.errors import LayerError
from limelight.layers.guesses import ambiguous
from limelight.layers.record import ModuleCall

#: If the score does not depend on a longer run of channels than this share, the output holds
#: several things side by side: queries, keys and values, say, or the scores of other classes.
#: (Channels that a ReLU happens to switch off are scattered, and make no such run.)
UNREAD_RUN = 0.3

#: A layer of which the score reads no more cells than these, and less than this share, shows
#: little: a class token that was taken for a cell, or the window of one last convolution.
HANDFUL, HANDFUL_SHARE = 9, 0.25

#: The objection to a layer that the score does not depend on; for a detector, that not each of the
#: small, medium and large boxes depends on.
NO_GRADIENT = "no gradient of the score arrives on its grid"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A layer that could be cut at.

    Attributes:
        call: Its recorded call.
        objection: Why not to choose it unasked; "" if there is no reason.
        possible: Whether it can be cut at nevertheless.
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
    gradient of the score arrives on the grid. Preferably it has parameters, the score depends on
    all of its channels and on more than a handful of its cells, the gradient does not cancel, and
    it is neither one of several branches nor the network's output, whose map would be a copy of it.
    Among the layers left the latest is best: later layers hold more meaning. Where several modules
    put out the very same tensor (a stage and its last block), the outermost represents them all.
    """
    outermost: dict[int, tuple[int, ModuleCall]] = {}
    for order, call in enumerate(calls):
        if not (call.path and call.layout and math.prod(call.layout.grid) > 1):
            continue
        # A module that merely passes a tensor on (a dropout, an identity) does not represent it,
        _, inner = outermost.get(call.result, (0, None))
        # nor does a module with several outputs, or one whose own output no gradient reaches.
        represents = (
            call.learned and not call.several and (call.cells or not inner or not inner.cells)
        )
        if inner is None or represents:
            outermost[call.result] = order, call
    latest_first = [call for _, call in sorted(outermost.values(), key=lambda pair: -pair[0])]
    ranked = [_as_candidate(call) for call in latest_first]
    return sorted(ranked, key=lambda candidate: (not candidate.possible, candidate.objection != ""))


def stages(calls: Sequence[ModuleCall], count: int = 6) -> list[str]:
    """Return the paths of up to `count` layers of a recorded pass, early to late: its stages.

    From the layers without objection, this takes at each size of grid the last of the outermost
    layers. Where there are fewer sizes than `count` (a transformer has one), blocks spaced evenly
    fill the rest. The last stage is the layer that is chosen when none is named.
    """
    ranked = candidates(calls)
    good = [layer.call for layer in ranked if layer.possible and not layer.objection]
    if not good:
        return [layer.path for layer in ranked[:1] if layer.possible]
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
    # If there are more than `count`, the earliest are left out: they show mere edges.
    return [call.path for call in sorted(taken.values(), key=lambda c: order[id(c)])][-count:]


def _as_candidate(call: ModuleCall) -> Candidate:
    """Return a layer with the first objection to it, if any."""
    if call.calls > 1:
        return Candidate(call, f"it runs {call.calls} times", possible=False)
    if call.cells == 0:
        return Candidate(call, NO_GRADIENT, possible=False)
    return Candidate(call, next(_objections(call), ""))


def _objections(call: ModuleCall) -> Iterator[str]:
    """Yield why not to cut at a layer unasked."""
    cells = math.prod(call.layout.grid) if call.layout else 1
    reached = round(call.cells * cells)
    if not call.learned:
        yield "it has no parameters"
    if call.several:
        yield "it puts out several grids, and only the first would be cut at"
    if call.unread > UNREAD_RUN:
        yield f"the score skips {call.unread:.0%} of its channels in a row"
    if call.is_scored:
        yield "it is what the network returns, so its map would be a copy of that"
    if math.prod(call.shape) == cells:
        yield "it has a single channel, so its map would be a copy of it"
    if reached <= HANDFUL and call.cells < HANDFUL_SHARE:
        yield f"the score reads no more than {reached} of its {cells} cells"
    if call.among_words:
        yield "it holds the words of a sentence too, and what they have read of the picture"
    if call.cancelled:
        yield "the gradient cancels in each of its channels, as before an instance norm"
    if call.sibling:
        yield f"it is one of several branches, beside {call.sibling}"


def layers_beside(calls: Sequence[ModuleCall], origins: Sequence[int]) -> list[ModuleCall]:
    """Return the layers on another way to the score than the one that is chosen, best first.

    Neither depends on the other, as in two members of an ensemble; `origins` are those of `read`.
    """
    chosen, *others = (candidate.call for candidate in candidates(calls) if candidate.possible)
    return [
        other
        for other in others
        if not origins[chosen.result] >> other.result & 1
        and not origins[other.result] >> chosen.result & 1
    ]


def choose_layer(
    calls: Sequence[ModuleCall], image: Sequence[int] = (), patches: int = 0
) -> Choice:
    """Choose the layer to cut at from a recorded pass, over an image of these sizes.

    If the input may be packed patches, `patches` is their number.

    Raises:
        LayerError: No layer can be cut at; the nearest misses are named with their reasons.
    """
    ranked = candidates(calls)
    if ranked and ranked[0].possible:
        reason = "the last layer with a grid on which gradient of the score arrives"
        although = f", although {ranked[0].objection}" if ranked[0].objection else ""
        return Choice(ranked[0].path, reason + although)
    unclear = [call for call in calls if call.path and call.learned and call.layout is None]
    sentences = (ambiguous(call.path, call.shape, image, patches) for call in unclear[::-1])
    advice = next(filter(None, sentences), "")
    if image and advice and not any(candidate.call.cells for candidate in ranked):
        raise LayerError(advice)
    nearest = "; ".join(f"{candidate.path}: {candidate.objection}" for candidate in ranked[:3])
    repeated = next((c.path for c in ranked if c.call.calls > 1), "")
    say_which = (
        f" One call of several is named as in layer={repeated + '#1'!r}." if repeated else ""
    )
    raise LayerError(
        "No layer to cut at was found: none has a grid of several cells on which gradient of the "
        f"score arrives ({nearest or 'no output in this network is a grid'}). Name one with "
        "layer=..., and see `limelight layers` for all of them; a larger input has finer grids."
        f"{say_which}"
    )
