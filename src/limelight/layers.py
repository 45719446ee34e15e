"""Which layer to cut at, and how its output becomes a grid.

Nothing here runs a model: `limelight.cut` records one pass, and this file reads the record.

Words: a *layer* is named by its dotted path (`"layer4"`, `"features.16"`, also `"features[-1]"`),
with `#k` for its k-th call when one module runs several times (`"layer4.0.relu#2"`). A *layout*
says how the layer's output, whatever its axes, becomes activations `A` `[B, K, *grid]`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field, fields, replace
from itertools import groupby, product
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from limelight.errors import LayerError, UnknownNameError, unknown

#: A layer with a longer run of unread channels than this share is several things side by side:
#: queries, keys and values, say, or the scores of the other classes. (Channels that a ReLU
#: happens to switch off are scattered, and make no such run.)
UNREAD_RUN = 0.3

#: Grids whose `mismatch` with the image is below this have the image's proportions.
SAME_PROPORTIONS = 0.3

#: The most extra tokens (class, distillation, registers) looked for in front of the patches.
MOST_PREFIX_TOKENS = 16


#: In place of a layer: the network's input. Then `A` is the images, and `head` the whole network.
INPUT = "<input>"


class Site(NamedTuple):
    """A resolved layer: the module, its dotted path, and which of its calls is meant."""

    module: nn.Module
    path: str
    call: int | None = None

    @property
    def name(self) -> str:
        """The path, with `#k` when one call of several was chosen."""
        return self.path if self.call is None else f"{self.path}#{self.call}"


def resolve(model: nn.Module, layer: str | nn.Module) -> Site:
    """Find a layer inside a model.

    Args:
        model: The network.
        layer: A dotted path (`"blocks.11.norm1"`), the same with Python's indices
            (`"blocks[-1].norm1"`), with `#k` for the k-th call, or the module itself.

    Raises:
        UnknownNameError: No module has that path; the nearest ones are named.
        LayerError: The module is not part of the model, or is the whole model.
    """
    if layer == INPUT:
        return Site(model, INPUT)
    if isinstance(layer, nn.Module):
        for path, module in model.named_modules():
            if module is layer and path:
                return Site(module, path)
        what = (
            "the whole model" if layer is model else f"a {type(layer).__name__} outside the model"
        )
        raise LayerError(
            f"The layer given is {what}; a layer inside {type(model).__name__} was expected. "
            "Pass its dotted path; `limelight layers` lists them."
        )
    path, numbered, call = layer.partition("#")
    readable = re.fullmatch(r"[^.\[\]]+(\.[^.\[\]]+|\[-?\d+\])*", path)
    if not readable or (numbered and not re.fullmatch(r"[1-9]\d*", call)):
        raise LayerError(
            f"Cannot read the layer {layer!r}. A dotted path was expected, as in 'layer4.0' or "
            "'features[-1]'; after '#' may stand which call is meant, from 1, as in 'layer4#2'."
        )
    module, steps = model, list[str]()
    for step in re.findall(r"[^.\[\]]+|\[-?\d+\]", path):
        children = dict(module._modules.items())
        compiled = children.get("_orig_mod")
        if compiled is not None and step != "_orig_mod":  # torch.compile's wrapper
            children = dict(compiled._modules.items())
        names = list(children)
        where = ".".join(steps) or type(model).__name__
        name = step
        if step.startswith("["):
            index = int(step[1:-1])
            if not -len(names) <= index < len(names):
                raise UnknownNameError(
                    f"There is no layer {path!r}: {where!r} has {len(names)} modules inside."
                )
            name = names[index]
        child = children.get(name)
        if child is None:
            known = (known for known, _ in model.named_modules() if known)
            inside = ", ".join(repr(n) for n in names[:8]) or "nothing"
            raise unknown("layer", path, known, f"Inside {where!r} there is {inside}.")
        module, steps = child, [*steps, name]
    return Site(module, ".".join(steps), int(call) if call else None)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a layer's output becomes a grid `[B, K, *grid]`.

    Attributes:
        kind: `channels first` `[B, K, *grid]`, `channels last` `[B, *grid, K]`, `tokens`
            `[B, P + prod(grid), K]`, or `frames` `[B * T, K, H, W]` with the grid `[T, H, W]`.
        grid: The sizes of the grid axes.
        prefix: P, how many tokens come before the grid (class token, registers).
        span: How long the grid is along each axis, in picture lengths: more than 1 when the network
            pads the picture, less when it drops its edge; () when the grid covers it.
    """

    kind: Literal["channels first", "channels last", "tokens", "frames"]
    grid: tuple[int, ...]
    prefix: int = 0
    span: tuple[float, ...] = ()

    def to_grid(self, output: Tensor) -> Tensor:
        """Return a layer's output (or its gradient) as `[B, K, *grid]`."""
        if self.kind == "channels last":
            return output.movedim(-1, 1)
        if self.kind == "tokens":
            return output[:, self.prefix :].transpose(1, 2).reshape(len(output), -1, *self.grid)
        if self.kind == "frames":
            return output.reshape(-1, self.grid[0], *output.shape[1:]).movedim(1, 2)
        return output

    def from_grid(self, activations: Tensor, output: Tensor) -> Tensor:
        """Return `activations` `[B, K, *grid]` as the layer would have put them out.

        Prefix tokens, which have no place on the grid, are taken from `output`.
        """
        if self.kind == "channels last":
            return activations.movedim(1, -1)
        if self.kind == "tokens":
            return torch.cat(
                [output[:, : self.prefix], activations.flatten(2).transpose(1, 2)], dim=1
            )
        if self.kind == "frames":
            return activations.movedim(2, 1).flatten(0, 1)
        return activations

    def __str__(self) -> str:
        """Describe the layout in words, as in `tokens, 1 prefix`."""
        said = f"{self.kind}, {self.prefix} prefix" if self.prefix else self.kind
        if not self.span:
            return said
        return f"{said}, spans {' x '.join(f'{s:.0%}' for s in self.span)} of the picture"


@dataclass(frozen=True, slots=True)
class Seen:
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


@dataclass(frozen=True, slots=True)
class Call(Seen):
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
class Candidate:
    """A layer that could be cut at.

    Attributes:
        call: How it ran.
        objection: What speaks against it; "" when nothing does.
        possible: Whether it could be cut at for all that.
    """

    call: Call
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


def mismatch(grid: Sequence[int], image: Sequence[int]) -> float:
    """Return how far a grid's proportions are from the image's: 0 when they agree.

    `max |log(g_i / s_i) - mean_j log(g_j / s_j)|` over the axes i; infinite when the grid is finer
    than the image.
    """
    if any(g < 1 or g > s for g, s in zip(grid, image, strict=True)):
        return math.inf
    scales = [math.log(g / s) for g, s in zip(grid, image, strict=True)]
    middle = sum(scales) / len(scales)
    return max(abs(scale - middle) for scale in scales)


def layout_of(
    shape: Sequence[int], image: Sequence[int], grids: Sequence[tuple[int, ...]] = ()
) -> Layout | None:
    """Find how an output of this shape becomes a grid over an image.

    Args:
        shape: The shape of the layer's output for one image, batch first.
        image: The sizes of the input's grid axes, `[H, W]` for a picture.
        grids: Grids seen earlier in the same pass, newest last; tokens were cut along one of them.

    Returns:
        The layout, or None when no reading of the shape makes a grid.
    """
    axes = len(image)
    if axes == 3 and len(shape) == 4 and 1 < shape[0] == image[0]:  # one picture per frame
        grid = (shape[0], *shape[2:])
        return Layout("frames", grid) if mismatch(grid, image) < math.inf else None
    if axes == 1 and len(shape) == 3 and (shape[2],) not in grids:
        along = _tokens(shape[1], image, grids)
        if along:
            return along
    if axes and len(shape) == axes + 2:
        first, last = tuple(shape[2:]), tuple(shape[1:-1])
        # On a tie channels come first, as they do in every convolution.
        if mismatch(first, image) <= mismatch(last, image):
            return Layout("channels first", first) if mismatch(first, image) < math.inf else None
        return Layout("channels last", last)
    if axes >= 2 and len(shape) == 3:
        return _tokens(shape[1], image, grids)
    return None


def _tokens(count: int, image: Sequence[int], grids: Sequence[tuple[int, ...]]) -> Layout | None:
    """Find the grid of `count` tokens: the network's own, or else the one like the image."""
    fitting = [
        Layout("tokens", grid, count - math.prod(grid))
        for grid in reversed(grids)
        if math.prod(grid) > 1
        and 0 <= count - math.prod(grid) <= min(MOST_PREFIX_TOKENS, math.prod(grid) - 1)
    ]
    if fitting:
        return min(fitting, key=lambda layout: layout.prefix)
    for prefix, grid in product((0, 1) if len(image) > 1 else (0,), reversed(grids)):
        for coarse in _coarser(grid):
            if 1 < math.prod(coarse) == count - prefix:
                return Layout("tokens", coarse, prefix)
    if len(image) == 2 and not grids:
        for prefix in range(min(MOST_PREFIX_TOKENS + 1, count)):
            rows = round(math.sqrt((count - prefix) * image[0] / image[1]))
            if rows and (count - prefix) % rows == 0:
                grid = (rows, (count - prefix) // rows)
                if mismatch(grid, image) < 1e-6:
                    return Layout("tokens", grid, prefix)
    return None


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


def _coarser(grid: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield grids whose cells are 2, 4, 8 or 16 of a grid's along each axis, or along the last two.

    One that is left over at the edge makes a cell of its own.
    """
    for factor in (2, 4, 8, 16) if len(grid) > 1 else (2,):
        yield tuple(math.ceil(size / factor) for size in grid)
        if len(grid) == 3:
            yield grid[0], *(math.ceil(size / factor) for size in grid[1:])


def possible_grids(count: int, image: Sequence[int]) -> Sequence[tuple[int, ...]]:
    """Return the grids that `count` tokens over a picture could have, the most likely first.

    Those are the grids of roughly the picture's proportions, with up to two tokens in front.
    """
    if len(image) == 1:
        return [(count,), (count - 1,)]
    if len(image) != 2:
        return []
    found = {
        (rows, (count - prefix) // rows): prefix
        for prefix in (2, 1, 0)
        for rows in range(2, count // 2 + 1)
        if (count - prefix) % rows == 0
    }
    close = [grid for grid in found if mismatch(grid, image) < 2 * SAME_PROPORTIONS]
    return sorted(close, key=lambda grid: (mismatch(grid, image), found[grid]))[:5]


def ambiguous(path: str, shape: Sequence[int], image: Sequence[int]) -> str:
    """Say which grids an output of tokens could have; "" when it is none."""
    grids = possible_grids(shape[1], image) if len(shape) == 3 else []
    if not grids:
        return ""
    said = ", ".join(" x ".join(map(str, grid)) for grid in grids)
    return (
        f"{path!r} puts out {shape[1]} tokens, and nothing in the network says along which grid "
        f"they were cut; {said} would do. Say which with grid={grids[0]}."
    )


def read(
    seen: Sequence[Seen],
    arrived: Sequence[Tensor | None],
    origins: Sequence[int],
    picture: Picture,
) -> tuple[Call, ...]:
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
                before = max((r for r in placed if origins[call.result] >> r & 1), default=None)
                span = _span(call, layout, None if before is None else placed[before], picture)
                layout = replace(layout, span=span)
                placed[call.result] = layout, _channels(layout, call.shape)
            mask = arrived[call.own]
            if mask is not None:
                cells, unread = _arrival(layout.to_grid(mask)[0].flatten(1))
        known = {f.name: getattr(call, f.name) for f in fields(call)}
        calls.append(Call(**known, calls=ran[call.path], layout=layout, cells=cells, unread=unread))
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
    call: Seen, layout: Layout, before: tuple[Layout, int] | None, picture: Picture
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


def _with_neighbours(calls: Sequence[Call], origins: Sequence[int]) -> tuple[Call, ...]:
    """Return calls with, of each, one that works beside it in the same container."""
    within: dict[str, list[Call]] = {}
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


def candidates(calls: Sequence[Call]) -> list[Candidate]:
    """Rank the layers of a recorded pass: the one to cut at first, the impossible ones last.

    A layer can be cut at when its output is a grid of more than one cell, it runs once, and
    gradient of the score arrives on the grid. It had better hold parameters, be read in all its
    channels, and not be one of several branches that read the same tensor. Of those that remain
    the latest is best: later layers see more meaning. Among modules that put out the very same
    tensor (a stage and its last block) the outermost stands for all.
    """
    outermost: dict[int, tuple[int, Call]] = {}
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


def stages(calls: Sequence[Call], count: int = 6) -> list[str]:
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
    by_grid: dict[tuple[int, ...], list[Call]] = {}
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


def _judge(call: Call, readers: Sequence[str]) -> Candidate:
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


def choose(calls: Sequence[Call], image: Sequence[int] = ()) -> Choice:
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
