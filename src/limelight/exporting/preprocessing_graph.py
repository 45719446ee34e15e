"""A network's preprocessing as the first part of its ONNX graph: a photo's bytes come in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from limelight.errors import OptionError
from limelight.exporting.graph_names import rename_values
from limelight.photos.preprocess import Preprocess

if TYPE_CHECKING:
    import onnx

#: The modes of ONNX's Resize that are Pillow's filters; cubic_coeff_a is Pillow's own.
_RESIZES: Final[Mapping[str, Mapping[str, Any]]] = {
    "bilinear": {"mode": "linear"},
    "bicubic": {"mode": "cubic", "cubic_coeff_a": -0.5},
}

_OUTSIDE = "Export without the preprocessing, and pass the file what Preprocess makes of a photo"

#: What the names of everything in this part of the graph begin with.
_PREFIX = "preprocessing/"

#: The names of two lengths in a graph, height and width; each int64 `[1]`.
_Lengths = tuple[str, str]

#: The first opset whose Resize antialiases.
_OPSET = 18


def with_preprocessing(model: onnx.ModelProto, preprocess: Preprocess) -> onnx.ModelProto:
    """Return a copy of an exported network that takes a photo, and makes its input itself.

    Its input `image` is a photo `[height, width, C]` of bytes, grey or RGB, of any size. It is
    resized, cropped, scaled and normalised as by the `Preprocess`, in 8 bits as by Pillow. The
    outputs are the network's, for a batch of 1, and

        crop  float32 [4]  left, top, right, bottom of what the network sees, in pixels of the photo
        size  int64 [2]    height and width of the photo

    Args:
        model: Takes `image`, float32 `[batch, C, H, W]`, in opset 18 or later.
        preprocess: How a photo becomes that image.

    Raises:
        OptionError: The `Preprocess` does something that the graph cannot do (lanczos, a window, a
            volume, other channels than grey and RGB), or makes inputs of another shape than the
            network takes.
    """
    import onnx

    _check_preprocess(preprocess)
    _check_network(model, preprocess)
    joined = onnx.ModelProto()
    joined.CopyFrom(model)
    graph = joined.graph
    # The photo takes the name of the input, and the two outputs take theirs.
    rename_values(graph, {name: f"{_PREFIX}{name}/network" for name in ("image", "crop", "size")})
    image = next(value for value in graph.input if value.name == f"{_PREFIX}image/network")
    _fix_axes(graph, image, preprocess)
    _add_photo(graph, image, preprocess)
    return joined


def _check_preprocess(preprocess: Preprocess) -> None:
    """Refuse a `Preprocess` that the graph cannot follow."""
    if preprocess.takes_volumes:
        raise OptionError(
            f"The Preprocess makes volumes, {preprocess.size or preprocess.resize}; inside the "
            f"file it reads pictures only. {_OUTSIDE}."
        )
    if preprocess.window is not None:
        raise OptionError(
            f"The Preprocess has window={preprocess.window}; inside the file it reads 8-bit "
            f"photos, which need none. {_OUTSIDE}."
        )
    if preprocess.channels not in (1, 3):
        raise OptionError(
            f"The Preprocess makes {preprocess.channels} channels; inside the file it reads 8-bit "
            f"photos, grey (1) or RGB (3). {_OUTSIDE}."
        )
    if preprocess.interpolation not in (*_RESIZES, "nearest"):
        raise OptionError(
            f"The Preprocess resizes by {preprocess.interpolation!r}, which ONNX lacks; 'bilinear',"
            f" 'bicubic' and 'nearest' can be inside the file. {_OUTSIDE}."
        )


def _check_network(model: onnx.ModelProto, preprocess: Preprocess) -> None:
    """Refuse a network that does not take what the `Preprocess` makes."""
    import onnx

    opset = max(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    if opset < _OPSET:
        raise OptionError(
            f"The network was exported in opset {opset}; with the preprocessing inside, {_OPSET} "
            "or later is needed. Export it in a later one."
        )
    types = {value.name: value.type.tensor_type for value in model.graph.input}
    image = types.get("image")
    if image is None or image.elem_type != onnx.TensorProto.FLOAT or len(image.shape.dim) != 4:
        raise OptionError(
            f"The network takes {', '.join(types)}; for the preprocessing inside, an input "
            f"'image', float32 [batch, C, H, W], was expected. {_OUTSIDE}."
        )
    # 0 stands for an axis of any length.
    takes = [axis.dim_value for axis in image.shape.dim]
    makes = [1, preprocess.channels, *(_input_size(preprocess) or (0, 0))]
    if any(length not in (0, made) for length, made in zip(takes, makes, strict=True)):
        raise OptionError(
            f"The network takes {_in_words(takes)} and the Preprocess makes {_in_words(makes)} of "
            "a photo. Give both the same size and channels, and a batch of 1 or of any size."
        )


def _in_words(lengths: Sequence[int]) -> str:
    """Return a shape for an error."""
    return "[" + ", ".join("any" if length == 0 else str(length) for length in lengths) + "]"


def _input_size(preprocess: Preprocess) -> tuple[int, int] | None:
    """Return height and width of every input; None where they are the photo's own."""
    size = preprocess.size if preprocess.size is not None else preprocess.resize
    return (size[0], size[1]) if isinstance(size, list | tuple) else None


def _fix_axes(graph: onnx.GraphProto, image: onnx.ValueInfoProto, preprocess: Preprocess) -> None:
    """Write the lengths that are known now, a batch of 1 and the input's size, at all values.

    An axis of the input that stays free gets a name that is not an axis of the photo's.
    """
    axes = image.type.tensor_type.shape.dim
    lengths = (1, preprocess.channels, *(_input_size(preprocess) or ("seen_height", "seen_width")))
    known = {
        axis.dim_param: length for axis, length in zip(axes, lengths, strict=True) if axis.dim_param
    }
    for value in (*graph.input, *graph.output, *graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            length = known.get(axis.dim_param)
            if isinstance(length, int):
                axis.dim_value = length
            elif length is not None:
                axis.dim_param = length


def _add_photo(graph: onnx.GraphProto, image: onnx.ValueInfoProto, preprocess: Preprocess) -> None:
    """Put the steps from a photo to the network's input before a graph."""
    from onnx import TensorProto, helper

    steps = _Steps()
    photo = steps.photo_size()
    resized = _resized(steps, preprocess, *photo)
    pixels = _resized_pixels(steps, preprocess, resized)
    if preprocess.size is None:
        parts, margins = resized, (steps.constant([0]),) * 2
    else:
        parts = steps.constant([preprocess.size[0]]), steps.constant([preprocess.size[1]])
        margins = _margins(steps, resized, parts)
        pixels = _cropped(steps, pixels, resized, parts, margins)
    _normalise(steps, preprocess, pixels, image.name)
    _add_crop(steps, photo, resized, parts, margins)
    steps.node("Concat", *photo, axis=0, output="size")
    earlier = list(graph.node)
    del graph.node[:]
    graph.node.extend([*steps.nodes, *earlier])
    graph.initializer.extend(steps.constants)
    graph.value_info.append(image)
    shape: list[str | int | None] = ["height", "width", preprocess.channels]
    image.CopyFrom(helper.make_tensor_value_info("image", TensorProto.UINT8, shape))
    graph.output.append(helper.make_tensor_value_info("crop", TensorProto.FLOAT, [4]))
    graph.output.append(helper.make_tensor_value_info("size", TensorProto.INT64, [2]))


class _Steps:
    """Nodes of a graph in the order that they are added, and the constants that they read.

    Lengths are int64 `[1]`.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def node(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node, and return the name of its output."""
        from onnx import helper

        name = f"{_PREFIX}{operator}_{len(self.nodes)}"
        output = output or name
        self.nodes.append(helper.make_node(operator, inputs, [output], name=name, **attributes))
        return output

    def constant(self, values: npt.ArrayLike, dtype: npt.DTypeLike = np.int64) -> str:
        """Add a constant, and return its name."""
        from onnx import numpy_helper

        name = f"{_PREFIX}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(values, dtype), name))
        return name

    def photo_size(self) -> _Lengths:
        """Return height and width of the photo."""
        shape = self.node("Shape", "image")
        height, width = (self.node("Gather", shape, self.constant([axis])) for axis in (0, 1))
        return height, width

    def as_double(self, length: str) -> str:
        """Return a length in 64-bit floating point, in which Python divides."""
        from onnx import TensorProto

        return self.node("Cast", length, to=TensorProto.DOUBLE)

    def ratio(self, numerator: str, denominator: str) -> str:
        """Return one length over another, in 64-bit floating point."""
        return self.node("Div", self.as_double(numerator), self.as_double(denominator))

    def rounded_ratio(self, numerator: str, denominator: str) -> str:
        """Return one length over another, rounded as by Python: halves to the even number."""
        from onnx import TensorProto

        whole = self.node("Round", self.ratio(numerator, denominator))
        return self.node("Cast", whole, to=TensorProto.INT64)


def _resized(steps: _Steps, preprocess: Preprocess, height: str, width: str) -> _Lengths:
    """Return height and width of the resized photo before the crop."""
    if preprocess.resize is None:
        return height, width
    if not isinstance(preprocess.resize, int):
        rows, columns = preprocess.resize
        return steps.constant([rows]), steps.constant([columns])
    shorter = steps.constant([preprocess.resize])
    if preprocess.longest is not None:
        shorter = _limited(steps, shorter, preprocess.longest, height, width)
    # Lengths are positive, so a quotient of integers is what int() makes of Python's.
    by_width = steps.node("Div", steps.node("Mul", shorter, height), width)
    by_height = steps.node("Div", steps.node("Mul", shorter, width), height)
    is_upright = steps.node("LessOrEqual", width, height)
    return (
        steps.node("Where", is_upright, by_width, shorter),
        steps.node("Where", is_upright, shorter, by_height),
    )


def _limited(steps: _Steps, shorter: str, longest: int, height: str, width: str) -> str:
    """Return the length of the shorter side, less where the longer one would exceed its limit."""
    low, high = steps.node("Min", height, width), steps.node("Max", height, width)
    limit = steps.node("Mul", steps.constant([longest]), low)
    is_long = steps.node("Greater", steps.node("Mul", shorter, high), limit)
    limited = steps.node("Max", steps.constant([1]), steps.rounded_ratio(limit, high))
    return steps.node("Where", is_long, limited, shorter)


def _margins(steps: _Steps, resized: _Lengths, parts: _Lengths) -> _Lengths:
    """Return where the centred parts begin; negative where a part is larger than the whole."""
    two = steps.constant([2])
    margins = []
    for whole, part in zip(resized, parts, strict=True):
        excess = steps.node("Sub", whole, part)
        is_larger = steps.node("GreaterOrEqual", excess, steps.constant([0]))
        lacking = steps.node("Neg", steps.node("Div", steps.node("Neg", excess), two))
        inside = steps.rounded_ratio(excess, two)
        margins.append(steps.node("Where", is_larger, inside, lacking))
    return margins[0], margins[1]


def _resized_pixels(steps: _Steps, preprocess: Preprocess, resized: _Lengths) -> str:
    """Return the resized photo in bytes, `[1, C, height, width]`."""
    channels_first = steps.node("Transpose", "image", perm=[2, 0, 1])
    pixels = steps.node("Unsqueeze", channels_first, steps.constant([0]))
    if preprocess.resize is None:
        return pixels
    if preprocess.interpolation == "nearest":
        return _nearest_pixels(steps, pixels, resized)
    # Across, then down, as in Pillow; from 13 on it goes down first if the photo loses more than
    # twice as many rows as columns. Reshaped: onnxruntime 1.20 reads no sizes that are only joined.
    sizes = steps.node("Reshape", steps.node("Concat", *resized, axis=0), steps.constant([2]))
    return steps.node(
        "Resize",
        pixels,
        "",
        "",
        sizes,
        axes=[2, 3],
        antialias=1,
        exclude_outside=1,  # weights of pixels beyond the border go to those within, as in Pillow
        **_RESIZES[preprocess.interpolation],
    )


def _nearest_pixels(steps: _Steps, pixels: str, resized: _Lengths) -> str:
    """Return pixels `[1, C, H, W]` resized by the nearest one.

    Pillow adds the distance of two samples up in 64-bit floating point, half of it first. Resize
    computes in 32 bits, and takes the neighbour at times.
    """
    from onnx import TensorProto

    shape, one = steps.node("Shape", pixels), steps.constant([1])
    for axis, length in zip((2, 3), resized, strict=True):
        before = steps.node("Gather", shape, steps.constant([axis]))
        distance = steps.ratio(before, length)
        first = steps.node("Mul", distance, steps.constant([0.5], np.float64))
        others = steps.node("Expand", distance, steps.node("Sub", length, one))
        distances = steps.node("Concat", first, others, axis=0)
        samples = steps.node("CumSum", distances, steps.constant(0))
        last = steps.node("Sub", before, one)
        indices = steps.node("Min", steps.node("Cast", samples, to=TensorProto.INT64), last)
        pixels = steps.node("Gather", pixels, indices, axis=axis)
    return pixels


def _cropped(
    steps: _Steps, pixels: str, resized: _Lengths, parts: _Lengths, margins: _Lengths
) -> str:
    """Return the part of the resized photo that the network sees, black beyond its borders."""
    before = [steps.node("Neg", margin) for margin in margins]  # negative padding crops
    after = [
        steps.node("Sub", steps.node("Add", margin, part), whole)
        for margin, part, whole in zip(margins, parts, resized, strict=True)
    ]
    padding = steps.node("Concat", *before, *after, axis=0)
    black = steps.constant(0, np.uint8)
    return steps.node("Pad", pixels, padding, black, steps.constant([2, 3]))


def _normalise(steps: _Steps, preprocess: Preprocess, pixels: str, output: str) -> None:
    """Add the last steps, to the network's input: scaled to [0, 1], less mean, over deviation."""
    from onnx import TensorProto

    numbers = steps.node("Cast", pixels, to=TensorProto.FLOAT)
    size = _input_size(preprocess)
    if size is not None:  # so that whoever runs the file knows all shapes after it
        shape = steps.constant([1, preprocess.channels, *size])
        numbers = steps.node("Reshape", numbers, shape)
    mean, std = (
        steps.constant(np.reshape(each, (1, -1, 1, 1)), np.float32)
        for each in (preprocess.mean, preprocess.std)
    )
    scaled = steps.node("Div", numbers, steps.constant(255, np.float32))
    steps.node("Div", steps.node("Sub", scaled, mean), std, output=output)


def _add_crop(
    steps: _Steps, photo: _Lengths, resized: _Lengths, parts: _Lengths, margins: _Lengths
) -> None:
    """Add the output `crop`: the inverse of resize and crop."""
    from onnx import TensorProto

    starts: list[str] = []
    ends: list[str] = []
    for before, after, part, margin in zip(photo, resized, parts, margins, strict=True):
        factor = steps.ratio(before, after)
        for edges, edge in ((starts, margin), (ends, steps.node("Add", margin, part))):
            edges.append(steps.node("Mul", steps.as_double(edge), factor))
    box = steps.node("Concat", *reversed(starts), *reversed(ends), axis=0)
    steps.node("Cast", box, to=TensorProto.FLOAT, output="crop")
