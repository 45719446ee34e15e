"""The towers of a network: its attention, found in one pass, and grouped by its tokens.

A tower is the attention of layers over one set of tokens: that of the picture's encoder, of the
text's, of the language model in whose sentence the picture stands. It is named by the dotted path
of the module that holds its layers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from limelight.errors import MethodError, unknown
from limelight.inputs import substitute_first, tensors
from limelight.layers import Layout
from limelight.runtime.autograd import behind_node, no_grad, node_of, with_graph
from limelight.runtime.execution import observe, run_network
from limelight.runtime.forward import Pass
from limelight.runtime.output_layout import ELSEWHERE, stands_elsewhere
from limelight.runtime.record import recording_of, token_layouts
from limelight.runtime.rules import KeepAttention, KeptProduct, SeeAttentionByHead
from limelight.runtime.shadow import shadow
from limelight.runtime.window_places import cells_of_windows


class Around(NamedTuple):
    """A call of a module inside which one attention ran, and no other.

    Attributes:
        key: The id of the module.
        shape: The shape of its output.
        edge: Its output, in the graph.
        output: Its output; None unless outputs are kept.
    """

    key: int
    shape: tuple[int, ...]
    edge: GradientEdge | None
    output: Tensor | None


@dataclass
class Attending:
    """One attention of a pass.

    Attributes:
        product: Its matrix, queries and keys.
        path: The dotted path of the module that computed it.
        around: The calls of modules inside which no other attention ran, innermost first.
    """

    product: KeptProduct
    path: str = ""
    around: list[Around] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, ...]:
        """How many queries and keys the matrix has."""
        return tuple(self.product.weights.shape[-2:])


class Placed(NamedTuple):
    """Where the tokens of a layer of attention lie.

    Attributes:
        layout: How they become a grid.
        tokens: How many they are.
        windows: Which token stands at each place of the windows, `[W, n]`; None without windows.
    """

    layout: Layout
    tokens: int
    windows: Tensor | None = None


class Tower(NamedTuple):
    """A tower that a method can follow.

    Attributes:
        name: The dotted path of the module that holds its layers.
        layers: Its attention, first to last.
        places: Where the tokens of each layer lie.
        pool: The attention by which a few queries read the tokens of the last layer.
    """

    name: str
    layers: list[Attending]
    places: list[Placed]
    pool: Attending | None


class AttendedPass(NamedTuple):
    """A pass with a graph, in which all attention was written out.

    Attributes:
        output: What the network returned.
        image: The images, a leaf of the graph unless they are whole numbers.
        attention: What ran, in order.
    """

    output: Any
    image: Tensor
    attention: list[Attending]


def run_attended(run: Pass, *, keep_outputs: bool = False) -> AttendedPass:
    """Run the network with a graph, and keep all attention, with the modules that it ran in.

    Args:
        run: An earlier pass.
        keep_outputs: Whether to keep what those modules put out.
    """
    paths = {id(module): path for path, module in run.model.named_modules()}
    # To measure where tokens lie takes a big network minutes, and few networks need it for this.
    by_head = SeeAttentionByHead()
    with no_grad(), by_head:
        run_network(run.model, run.inputs.clone())
    tokens = token_layouts(run.model, run.inputs, run.spec) if by_head.seen else ()
    rule = KeepAttention(tokens)
    attention, kept_at_entry = list[Attending](), list[int]()

    def enter(_key: int, _arguments: object) -> None:
        kept_at_entry.append(len(rule.kept))

    def leave(key: int, _arguments: object, output: Any) -> Any:
        before = kept_at_entry.pop()
        attention.extend(Attending(one, paths[key]) for one in rule.kept[len(attention) :])
        if len(rule.kept) != before + 1:
            return output
        found = tensors(output)
        if not found:
            return output
        first = found[0]
        edge = get_gradient_edge(first) if first.requires_grad else None
        kept = first if keep_outputs else None
        attention[before].around.append(Around(key, tuple(first.shape), edge, kept))
        # The network may write on what the module put out.
        return substitute_first(output, Tensor.clone) if keep_outputs else output

    with with_graph():
        image = run.inputs.image.clone()
        if image.is_floating_point():
            image.requires_grad_()
        root, copies = shadow(run.model)
        with rule:
            output = observe(run.model, root, copies, run.inputs.on(image.clone()), enter, leave)
    return AttendedPass(output, image, attention)


def find_tower(run: Pass, passed: AttendedPass, wanted: str) -> Tower:
    """Return the tower that is wanted by name; "" stands for the first that is over the picture.

    Raises:
        UnknownNameError: There is no tower of that name.
        MethodError: It is not over the tokens of one grid, or no tower is.
    """
    towers = grouped(passed.attention)
    if wanted:
        names = [_named(towers, wanted)]
    else:
        names = [name for name, layers in towers.items() if _sees(layers, passed.image)]
    problem: MethodError | None = None
    for name in names:
        try:
            return _placed(run, name, towers, passed.image)
        except MethodError as error:
            problem = problem or error
    if problem is not None:
        raise problem
    raise _refusal("has none", towers if towers and not wanted else {})


def grouped(attention: Sequence[Attending]) -> dict[str, list[Attending]]:
    """Return all attention by the tower that it belongs to, by the tower's name.

    Layers belong together if they lie in numbered parts of one module, as `blocks.0` and
    `blocks.1`; and if these are over different numbers of tokens and none is within windows, the
    number is the same.
    """
    paths = [one.path.split(".") for one in attention]
    by_path = dict[str, list[Attending]]()
    for one, path in zip(attention, paths, strict=True):
        by_path.setdefault(_holder(path, paths), []).append(one)
    towers = dict[str, list[Attending]]()
    for name, layers in by_path.items():
        by_size = dict[tuple[int, ...], list[Attending]]()
        for one in layers:
            by_size.setdefault(one.size, []).append(one)
        batches = {one.product.weights.shape[0] for one in layers}
        if len(by_size) == 1 or len(batches) > 1 or any(m != n for m, n in by_size):
            towers[name] = layers
            continue
        for part in by_size.values():
            towers[_common([one.path.split(".") for one in part])] = part
    return towers


def _holder(path: Sequence[str], paths: Sequence[Sequence[str]]) -> str:
    """Return the path of the module that holds the numbered layers of which this is one."""
    numbered = [depth for depth, part in enumerate(path) if re.search(r"\d$", part)]
    for depth in numbered:
        inside = [
            other[depth] for other in paths if other[:depth] == path[:depth] and other[depth:]
        ]
        if len({part for part in inside if re.search(r"\d$", part)}) > 1:
            return ".".join(path[:depth])
    return ".".join(path[: numbered[-1]] if numbered else path)


def _common(paths: Sequence[Sequence[str]]) -> str:
    """Return the path of the innermost module that all paths lead through."""
    depth = 0
    while all(len(path) > depth and path[depth] == paths[0][depth] for path in paths):
        depth += 1
    return ".".join(paths[0][:depth])


def _named(towers: dict[str, list[Attending]], wanted: str) -> str:
    """Return the name of the tower that a path leads to: its own, or one around or inside it.

    Part of a path is enough if it leads to one tower alone: `language_model` for
    `model.language_model.layers`.

    Raises:
        UnknownNameError: There is none, or several.
    """
    if wanted in towers:
        return wanted
    related = [
        name
        for name in towers
        if f".{wanted}." in f".{name}." or f"{wanted}.".startswith(f"{name}.")
    ]
    if len(related) == 1:
        return related[0]
    names = ", ".join(map(repr, towers)) or "none"
    raise unknown("tower", wanted, (), f"There are {names}.")


def _sees(layers: Sequence[Attending], image: Tensor) -> bool:
    """Return whether the attention depends on the picture, as far as the graph tells."""
    if not image.requires_grad:
        return True
    return node_of(image) in behind_node(node_of(layers[-1].product.weights))


def _placed(run: Pass, name: str, towers: dict[str, list[Attending]], image: Tensor) -> Tower:
    """Return a tower with the places of its tokens.

    Raises:
        MethodError: They do not lie on a grid.
    """
    layers = towers[name]
    if not _sees(layers, image):
        raise MethodError(
            f"Nothing in the tower {name!r} depends on the picture, so there is no map of it. "
            f"There are {', '.join(map(repr, towers))}."
        )
    places = _places_among_all(run, name, layers) or _places_in_windows(run, layers)
    if places is None:
        raise _refusal(f"has attention matrices {_sizes(layers)} in {name!r}", {})
    pools = (
        after[0]
        for other, after in towers.items()
        if other != name and len(after) == 1 and _reads(after[0], layers[-1], places[-1])
    )
    return Tower(name, layers, places, next(pools, None))


def _refusal(found: str, towers: dict[str, list[Attending]]) -> MethodError:
    """Return the error for attention that no grid is found for."""
    if towers:
        sizes = ", ".join(f"{_sizes(layers)} in {name!r}" for name, layers in towers.items())
        found = f"has attention matrices {sizes}, none of which depends on the picture"
    advice = "" if found == "has none" else ": of some of the tokens, or of what has no place"
    return MethodError(
        "The method needs attention among all tokens of a grid in every layer, or within windows "
        f"of it; this network {found}{advice}. Use 'gradcam' or 'layercam'."
    )


def _sizes(layers: Sequence[Attending]) -> str:
    return ", ".join(sorted({str(list(one.size)) for one in layers}))


def _reads(pool: Attending, last: Attending, place: Placed) -> bool:
    """Return whether an attention reads all tokens of the last layer, by queries of its own."""
    queries, keys = pool.size
    if place.windows is not None or queries == keys or keys != place.tokens:
        return False
    return node_of(last.product.weights) in behind_node(node_of(pool.product.weights))


def _places_among_all(run: Pass, name: str, layers: Sequence[Attending]) -> list[Placed] | None:
    """Return the places of tokens that all attend to each other; None if they do not.

    Raises:
        MethodError: They lie elsewhere in some sentences of the batch.
    """
    batch = run.inputs.batch
    sizes = {size for one in layers for size in one.size}
    shapes = [one.product.weights.shape for one in layers]
    if len(sizes) > 1 or any(len(s) > 4 or (len(s) == 4 and s[0] != batch) for s in shapes):
        return None
    (count,) = sizes
    layout = token_layouts(run.model, run.inputs, run.spec, within=name).get(count)
    layout = layout or token_layouts(run.model, run.inputs, run.spec).get(count)
    if layout is not None and stands_elsewhere(layout, count, run.inputs):
        raise MethodError(f"The tower {name!r} attends in a sentence. {ELSEWHERE}")
    return None if layout is None else [Placed(layout, count)] * len(layers)


def _places_in_windows(run: Pass, layers: Sequence[Attending]) -> list[Placed] | None:
    """Return the places of tokens that attend to each other within windows; None if unclear.

    The modules around each layer are tried, innermost first: those that put out all tokens of an
    image, then those of whose output each row is a frame or a window. What has to be measured is
    measured for all layers at once.
    """
    batch = run.inputs.batch
    if not all(_in_windows(one.product.weights, batch) for one in layers):
        return None
    tried = [
        sorted(
            (around for around in one.around if len(around.shape) >= 3 and around.edge),
            key=lambda around: around.shape[0] != batch,
        )
        for one in layers
    ]
    places, known = dict[int, Placed](), dict[tuple[int, ...], Layout]()
    for attempt in range(max(map(len, tried), default=0)):
        waiting = {
            n: each[attempt] for n, each in enumerate(tried) if n not in places and each[attempt:]
        }
        for number, layout in _layouts_at(run, waiting).items():
            around, weights = waiting[number], layers[number].product.weights
            placed = _place_in_windows(weights, around, layout, batch)
            if placed is not None:
                places[number], known[around.shape] = placed, layout
    # Where noise hides the places, in half precision say: a block adds to the tokens before it, so
    # what it puts out lies as what others of the same shape put out.
    for number in range(len(layers)):
        for around in tried[number]:
            if number in places or around.shape not in known:
                continue
            weights = layers[number].product.weights
            placed = _place_in_windows(weights, around, known[around.shape], batch)
            if placed is not None:
                places[number] = placed
    return [places[n] for n in range(len(layers))] if len(places) == len(layers) else None


def _in_windows(weights: Tensor, batch: int) -> bool:
    """Return whether matrices can be those of windows, `[B W, heads, n, n]`."""
    square = weights.shape[-1] == weights.shape[-2]
    return weights.ndim == 4 and square and weights.shape[0] % batch == 0


def _place_in_windows(weights: Tensor, around: Around, layout: Layout, batch: int) -> Placed | None:
    """Return the places of the tokens of one layer, as a module around it puts them out.

    1. Where a module puts out all tokens of an image, the graph tells which of them is at which
       place of a window.
    2. Where each row of its output is a frame or a window, these are the windows.
    """
    several, size = weights.shape[0] // batch, weights.shape[-1]
    if around.shape[0] == batch and around.edge is not None:
        windows = cells_of_windows(weights, around.edge, around.shape, layout)
        return None if windows is None else Placed(layout, int(windows.max()) + 1, windows)
    if around.shape[:2] == (weights.shape[0], size) and layout.folds == several:
        tokens = torch.arange(several * size, device="cpu").reshape(several, size)
        return Placed(layout, several * size, tokens)
    return None


def _layouts_at(run: Pass, wanted: Mapping[int, Around]) -> dict[int, Layout]:
    """Return the layouts of what modules put out, by the same numbers; without those of no grid."""
    recording = recording_of(run.model, run.inputs, run.spec)
    paths = {id(module): path for path, module in run.model.named_modules()}
    by_output = dict[tuple[str, tuple[int, ...]], int]()
    for call in recording.calls:
        by_output.setdefault((call.path, call.shape[1:]), call.number)
    calls = {n: by_output.get((paths[a.key], a.shape[1:])) for n, a in wanted.items()}
    known = {n: call for n, call in calls.items() if call is not None}
    recording.settle(run.model, run.inputs.first(1), set(known.values()))
    found = {n: recording.layouts[call] for n, call in known.items()}
    return {n: layout for n, layout in found.items() if layout is not None}
