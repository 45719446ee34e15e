"""What the graph of a recorded pass tells: which calls depend on which, and how places move.

The nodes of autograd's graph name the operations between two tensors, with their sizes, strides and
paddings. Where every operation between two tensors keeps places, or moves them by a rule that is
known (`limelight.layers.tracks`), the layout of the later follows from that of the earlier. This
module reads that off; whatever else the network does between two tensors ends a track, and the
layout has to be measured.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial
from typing import Any, NamedTuple

from limelight.layers.tracks import (
    Anchor,
    Cropped,
    Joined,
    Operation,
    Permuted,
    Resized,
    Track,
    Windows,
)


class Lineage(NamedTuple):
    """What a graph tells of the calls of a recorded pass.

    Attributes:
        origins: By number of the node, the calls that it depends on, as a bit mask; a call includes
            itself, and the bit after the last call stands for the image.
        tracks: By number of the node, how its tensor comes from its anchor.
        aligned: Anchors that are added to another tensor, cell by cell, with the track of that
            tensor: what an attention puts out lies where the tokens lie that it is added to.
    """

    origins: list[int]
    tracks: list[Track]
    aligned: dict[Anchor, Track]


def read_lineage(
    nodes: Sequence[Any], anchors: Sequence[Anchor], calls: int, image: tuple[Any, Sequence[int]]
) -> Lineage:
    """Read the graph behind the nodes.

    Args:
        nodes: The graph nodes of the outputs of all calls, then of some of their inputs, then of
            others.
        anchors: What the nodes of outputs and inputs are as anchors.
        calls: How many of the nodes are outputs.
        image: The node and the shape of the image.
    """
    image_node, image_shape = image
    numbers, by_node = dict[Any, int](), dict[Any, Anchor]()
    for number, node in enumerate(nodes[:calls]):
        numbers.setdefault(node, number)
    for node, anchor in zip(nodes, anchors, strict=False):
        by_node.setdefault(node, anchor)
    masks: dict[Any, int] = {None: 0}
    tracks: dict[Any, Track | None] = {None: None}  # by node; and by node and output, of several
    aligned = dict[Anchor, Track]()
    for node in _in_order([*nodes, image_node]):
        bits = 1 << numbers[node] if node in numbers else 0
        for below, _ in node.next_functions:
            bits |= masks.get(below, 0)
        if node is image_node:
            masks[node], tracks[node] = bits | 1 << calls, Track.of_image(image_shape)
            continue
        masks[node] = bits
        seen = {below for below, _ in node.next_functions if masks.get(below, 0) >> calls & 1}
        track = _track(node, tracks, seen, aligned)
        if track is None and node in by_node:
            track = Track(by_node[node], by_node[node].shape)
        tracks[node] = track
        if type(node).__name__.startswith("Split"):
            for number in range(1, len(node._input_metadata)):
                tracks[node, number] = _track(node, tracks, seen, aligned, number)
    return Lineage(
        [masks[node] for node in nodes],
        [
            tracks.get(node) or Track(anchor, anchor.shape)
            for node, anchor in zip(nodes, anchors, strict=False)
        ],
        aligned,
    )


def _in_order(nodes: Sequence[Any]) -> list[Any]:
    """Return the nodes and all that they depend on, each after those that it depends on."""
    ordered, done = list[Any](), {None}
    waiting = [(node, False) for node in reversed(nodes)]
    while waiting:
        node, ready = waiting.pop()
        if node in done:
            continue
        if ready:
            done.add(node)
            ordered.append(node)
        else:
            waiting.append((node, True))
            waiting += [(below, False) for below, _ in node.next_functions if below not in done]
    return ordered


def _track(
    node: Any,
    tracks: Mapping[Any, Track | None],
    seen: Set[Any],
    aligned: dict[Anchor, Track],
    output: int = 0,
) -> Track | None:
    """Return the track of a node's output; None if the operation moves places in its own way.

    Where an operation has several outputs, it is the one of that number.

    Of several operands, those count that depend on the image; they are `seen`, if any is. Anchors
    that the operation lays on an earlier tensor are put into `aligned`.
    """
    name = re.sub(r"Backward\d*$", "", type(node).__name__)
    metadata = node._input_metadata
    if not metadata:
        return None
    shape = tuple(metadata[output].shape)
    inputs = [
        track
        for below, number in node.next_functions
        if (below in seen or not seen)
        and (track := tracks.get((below, number) if number else below)) is not None
    ]
    if not inputs:
        return None
    if name in _KEEP:
        # Of several operands of the full shape, the one whose anchor is the earliest.
        same = [track for track in inputs if track.shape == shape]
        earliest = min(same, key=lambda track: track.anchor.order, default=None)
        for track in same:
            if earliest is not None and track.anchor != earliest.anchor and track.before is None:
                aligned.setdefault(track.anchor, earliest)
        return earliest
    read = partial(_part, output=output) if name.startswith("Split") else _STEPS.get(name)
    if read is None:
        return None
    try:
        step = read(node, shape)
    except (AttributeError, RuntimeError, TypeError):  # not kept, or of another name
        return None
    before = min(inputs, key=lambda track: track.anchor.order)
    return None if step is None else before.after(step, shape)


#: Operations whose result at a place is made of what came in at the same place.
_KEEP = frozenset(
    (
        *("Add", "Sub", "Rsub", "Mul", "Div", "Neg", "Abs", "Pow", "Sqrt", "Rsqrt", "Exp", "Log"),
        *("Sin", "Cos", "Reciprocal"),
        *("Relu", "LeakyRelu", "PreluKernel", "Elu", "Gelu", "Silu", "Mish", "Softplus", "Sigmoid"),
        *("LogSigmoid", "Tanh", "Hardtanh", "Hardswish", "Hardsigmoid", "Threshold", "Clamp"),
        *("ClampMin", "ClampMax", "Erf", "Maximum", "Minimum", "Where", "MaskedFill", "Lerp"),
        *("Addcmul", "NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm", "NativeLayerNorm"),
        *("NativeGroupNorm", "FusedRmsNorm", "NativeDropout", "FusedDropout", "Clone", "ToCopy"),
        *("View", "UnsafeView", "ReshapeAlias", "Alias", "ViewAs", "Expand", "Contiguous"),
    )
)


def _convolution(node: Any, _shape: tuple[int, ...]) -> Operation:
    """Read a convolution."""
    kernel = node._saved_weight.shape[2:]
    extent = tuple((k - 1) * d + 1 for k, d in zip(kernel, node._saved_dilation, strict=True))
    transposed = bool(node._saved_transposed)
    return Windows(extent, tuple(node._saved_stride), tuple(node._saved_padding), transposed)


def _pooling(node: Any, _shape: tuple[int, ...]) -> Operation:
    """Read a pooling; without a stride, its windows lie side by side."""
    kernel = tuple(node._saved_kernel_size)
    dilation = tuple(getattr(node, "_saved_dilation", ())) or (1,) * len(kernel)
    extent = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    stride = tuple(node._saved_stride) or kernel
    return Windows(extent, stride, tuple(node._saved_padding))


def _adaptive_pooling(_node: Any, shape: tuple[int, ...]) -> Operation | None:
    """Read a pooling to a given size."""
    return Resized() if math.prod(shape[2:]) > 1 else None


def _permutation(node: Any, shape: tuple[int, ...]) -> Operation:
    return Permuted(tuple(_signed(dim) % len(shape) for dim in node._saved_dims))


def _transposition(node: Any, shape: tuple[int, ...]) -> Operation:
    order = [*range(len(shape))]
    first, second = (_signed(dim) % len(shape) for dim in (node._saved_dim0, node._saved_dim1))
    order[first], order[second] = order[second], order[first]
    return Permuted(tuple(order))


def _slice(node: Any, shape: tuple[int, ...]) -> Operation | None:
    """Read a slice; one that skips cells has no rule."""
    if node._saved_step != 1:
        return None
    dimension = _signed(node._saved_dim) % len(shape)
    size = node._saved_self_sym_sizes[dimension]
    start = _signed(node._saved_start)
    before = min(max(start + size if start < 0 else start, 0), size)
    return Cropped(((dimension, (before, size - before - shape[dimension])),))


def _part(node: Any, shape: tuple[int, ...], output: int) -> Operation:
    """Read one part of a tensor that is split along an axis."""
    dimension = _signed(node._saved_dim) % len(shape)
    sizes = [part.shape[dimension] for part in node._input_metadata]
    return Cropped(((dimension, (sum(sizes[:output]), sum(sizes[output + 1 :]))),))


def _constant_padding(node: Any, shape: tuple[int, ...]) -> Operation:
    return _padding(node._saved_pad, shape)


def _reflected_padding(node: Any, shape: tuple[int, ...]) -> Operation:
    return _padding(node._saved_padding, shape)


def _padding(pads: Sequence[int], shape: tuple[int, ...]) -> Operation:
    """Read a padding, whose numbers begin with the last axis."""
    pairs = enumerate(zip(pads[::2], pads[1::2], strict=True), start=1)
    edges = ((len(shape) - number, (-before, -after)) for number, (before, after) in pairs)
    return Cropped(tuple(edge for edge in edges if any(edge[1])))


def _signed(number: int) -> int:
    """Return a number that autograd keeps as an unsigned one."""
    return number - 2**64 if number >= 2**63 else number


_STEPS: dict[str, Callable[[Any, tuple[int, ...]], Operation | None]] = {
    "Convolution": _convolution,
    **dict.fromkeys((f"MaxPool{n}DWithIndices" for n in (2, 3)), _pooling),
    **dict.fromkeys((f"AvgPool{n}D" for n in (2, 3)), _pooling),
    **dict.fromkeys(
        (f"Adaptive{pool}Pool{n}D" for pool in ("Avg", "Max") for n in (2, 3)), _adaptive_pooling
    ),
    **dict.fromkeys(
        (
            f"Upsample{kind}"
            for kind in (
                *("Nearest1D", "Nearest2D", "Nearest3D", "NearestExact1D", "NearestExact2D"),
                *("NearestExact3D", "Linear1D", "Bilinear2D", "Bilinear2DAa", "Trilinear3D"),
                *("Bicubic2D", "Bicubic2DAa", "Lanczos2DAa"),
            )
        ),
        lambda _node, _shape: Resized(),
    ),
    "Permute": _permutation,
    "Transpose": _transposition,
    "T": _transposition,
    "Cat": lambda node, _shape: Joined(_signed(node._saved_dim)),
    "Slice": _slice,
    "ConstantPadNd": _constant_padding,
    **dict.fromkeys(
        (f"{kind}Pad{n}D" for kind in ("Reflection", "Replication") for n in (1, 2, 3)),
        _reflected_padding,
    ),
}
