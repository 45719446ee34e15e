"""An exported network whose body computes in 8 bits; its head and the gradient stay in float."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy.typing as npt

from limelight.errors import OptionError
from limelight.exporting.graph_names import rename_values, values_read

if TYPE_CHECKING:
    import onnx

#: What an exported network takes: arrays by the names of its inputs.
Feeds = Mapping[str, npt.NDArray[Any]]

#: The operators that compute in integers: those with weights, and what often stands between them.
_OPERATORS: Final = ("Conv", "Gemm", "MatMul", "Add", "Clip", "MaxPool", "Relu")

#: What the names of everything inside the body begin with.
_PREFIX = "body/"


def body_nodes(model: onnx.ModelProto, cut_values: Sequence[str]) -> list[onnx.NodeProto]:
    """Return the nodes that make the values at the cut, in the order of the graph.

    Raises:
        OptionError: The graph makes no value of such a name.
    """
    nodes = list(model.graph.node)
    makers = {value: number for number, node in enumerate(nodes) for value in node.output if value}
    missing = [value for value in cut_values if value not in makers]
    if missing:
        raise OptionError(
            f"The graph makes no value named {', '.join(map(repr, missing))}. Name the outputs of "
            "the nodes at the cut."
        )
    body: set[int] = set()
    waiting = [makers[value] for value in cut_values]
    while waiting:
        number = waiting.pop()
        if number not in body:
            body.add(number)
            waiting += [makers[value] for value in values_read(nodes[number]) if value in makers]
    return [nodes[number] for number in sorted(body)]


def quantise(
    model: onnx.ModelProto, cut_values: Sequence[str], calibration: Iterable[Feeds]
) -> onnx.ModelProto:
    """Return a copy of an exported network whose body computes in 8 bits.

    Convolutions and products with a matrix of weights become integers, and the sums, ReLUs and
    maxima between them: weights per output channel, and activations in the range that they have in
    the calibration. What comes after the cut is left as it is.

    On x86 processors without VNNI sums of 8 bits overflow; onnxruntime avoids that with the session
    option `session.x64quantprecision` set to 1.

    Args:
        model: In opset 13 or later.
        cut_values: The names of the values at the cut; the body is what makes them.
        calibration: Inputs like those that the network will see, a few dozen.

    Raises:
        OptionError: The graph makes no value of such a name, or there is no calibration.
    """
    import onnx

    body = body_nodes(model, cut_values)
    quantised = _quantised(_as_model(model, body), calibration)
    joined = onnx.ModelProto()
    joined.CopyFrom(model)
    _replace_body(joined.graph, {node.output[0] for node in body}, quantised.graph)
    return joined


def _as_model(model: onnx.ModelProto, body: Sequence[onnx.NodeProto]) -> onnx.ModelProto:
    """Return the body as a network of its own, whose outputs are what the rest reads of it."""
    import onnx

    graph = model.graph
    first_outputs = {node.output[0] for node in body}
    made = {value for node in body for value in node.output}
    read = {value for node in body for value in values_read(node)}
    read_after = {output.name for output in graph.output}
    for node in graph.node:
        if node.output[0] not in first_outputs:
            read_after.update(values_read(node))
    typed = {value.name: value for value in (*graph.output, *graph.value_info)}
    part = onnx.helper.make_graph(
        body,
        "body",
        [value for value in graph.input if value.name in read],
        [
            typed.get(value) or onnx.ValueInfoProto(name=value)
            for node in body
            for value in node.output
            if value in made & read_after
        ],
        [value for value in graph.initializer if value.name in read],
        value_info=[value for value in graph.value_info if value.name in made],
    )
    for node in part.node:
        node.name = node.name or node.output[0]  # the quantiser tells them apart by it
    return onnx.helper.make_model(
        part,
        opset_imports=model.opset_import,
        functions=model.functions,
        ir_version=model.ir_version,
    )


def _quantised(body: onnx.ModelProto, calibration: Iterable[Feeds]) -> onnx.ModelProto:
    """Return the body in 8 bits."""
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder, _without_log():
        exact, simplified, written = (
            Path(folder, f"{name}.onnx") for name in ("exact", "simplified", "int8")
        )
        onnx.save(body, exact)  # in memory, it would lose the shapes that are constants
        quant_pre_process(exact, simplified, skip_symbolic_shape=True)
        quantize_static(
            simplified,
            written,
            _reader(calibration, [value.name for value in body.graph.input]),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_OPERATORS),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_clipped_outputs(onnx.load(simplified).graph),
            extra_options={"MatMulConstBOnly": True},
        )
        return onnx.load(written)


def _clipped_outputs(body: onnx.GraphProto) -> list[str]:
    """Return the names of nodes that clip what is also an output of the body.

    They stay in float: the quantiser would clip their input itself, for all who read it.
    """
    outputs = {value.name for value in body.output}
    return [
        node.name
        for node in body.node
        if node.op_type in ("Clip", "Relu") and node.input[0] in outputs
    ]


def _reader(calibration: Iterable[Feeds], names: Sequence[str]) -> Any:
    """Return what hands the calibration to onnxruntime, of the inputs that the body takes."""
    from onnxruntime.quantization import CalibrationDataReader

    feeds = iter(calibration)
    first = next(feeds, None)
    if first is None:
        raise OptionError(
            "There are no images for the calibration of int8. Give some that are like those that "
            "the network will see, a few dozen."
        )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.waiting = chain([first], feeds)

        def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
            feed = next(self.waiting, None)
            return None if feed is None else {name: feed[name] for name in names}

    return Reader()


def _replace_body(graph: onnx.GraphProto, replaced: set[str], body: onnx.GraphProto) -> None:
    """Put another body into a graph, in place of the nodes whose first outputs are given."""
    kept = {value.name for value in (*body.input, *body.output)}
    made = {value for node in body.node for value in node.output}
    inner = {value.name for value in body.initializer} | made - kept
    rename_values(body, {value: f"{_PREFIX}{value}" for value in inner - kept})
    for node in body.node:
        node.name = f"{_PREFIX}{node.name}"
    rest = [node for node in graph.node if node.output[0] not in replaced]
    read = {value for node in rest for value in values_read(node)}
    weights = [value for value in graph.initializer if value.name in read]
    outputs = {value for node in rest for value in node.output}
    known = [value for value in graph.value_info if value.name in outputs | kept]
    for field, values in (
        (graph.node, [*body.node, *rest]),
        (graph.initializer, [*weights, *body.initializer]),
        (graph.value_info, known),
    ):
        del field[:]
        field.extend(values)


@contextmanager
def _without_log() -> Iterator[None]:
    """Keep onnxruntime's quantiser from logging; it does so through the root logger."""
    root = logging.getLogger()

    def is_other(record: logging.LogRecord) -> bool:
        return "onnxruntime" not in record.pathname

    # Without any handler, the functions of logging would set the root logger up for good.
    handler = logging.NullHandler()
    root.addHandler(handler)
    root.addFilter(is_other)
    try:
        yield
    finally:
        root.removeFilter(is_other)
        root.removeHandler(handler)
