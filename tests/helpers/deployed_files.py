"""Small files as limelight exports them, put together by hand, and the same network in PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from limelight import Network, Preprocess
from limelight.deployed import STATUS_NAMES, Description, MapDescription
from limelight.deployed.description import METADATA_KEY, OutputKind

CLASSES = ("tabby, tabby cat", "pug", "background")
PREPROCESS = Preprocess(size=(40, 48), resize=(44, 60))
MESSAGES = tuple("" if name == "ok" else f"Do something: {name}." for name in STATUS_NAMES)

_STRIDE = 4
_ONES = np.ones(1, dtype=np.int64)


class Net(nn.Module):
    """A convolution, a mean, and a linear layer: its Grad-CAM is a formula."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv, self.relu, self.fc = nn.Conv2d(3, 5, 4, _STRIDE), nn.ReLU(), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.fc(self.relu(self.conv(x)).mean((2, 3)))
        return pooled


NET = Net().eval()
NETWORK = Network("net", NET, PREPROCESS, CLASSES)


def map_of(number: int = 0, **fields: Any) -> MapDescription:
    """Return what the file says of a map; those after the first are numbered."""
    end = f"_{number + 1}" if number else ""
    described = MapDescription(
        method=("gradcam", "gradcam++")[number],
        layer="relu",
        grid=(10, 12),
        heatmap=f"heatmap{end}",
        raw=f"raw{end}",
        status=f"status{end}",
        messages=MESSAGES,
    )
    return replace(described, **fields)


def described(**fields: Any) -> Description:
    """Return what the file says of itself."""
    usual: dict[str, Any] = {
        "network": "net",
        "output": "classes",
        "maps": (map_of(),),
        "input_shape": (3, 40, 48),
        "classes": CLASSES,
        "preprocess": asdict(PREPROCESS),
        "version": "0.1.0",
    }
    return Description(**usual | fields)


class _Graph:
    """The nodes and the numbers of a graph."""

    def __init__(self) -> None:
        self.nodes, self.numbers = list[Any](), list[Any]()

    def add(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def number(self, name: str, value: Any) -> str:
        self.numbers.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def save_file(
    path: Path, about: Description | None = None, *, external: bool = False, described_: bool = True
) -> Path:
    """Write a file of the small network, with the outputs that its description names."""
    about = about or described()
    graph = _Graph()
    image, shapes = "image", dict[str, tuple[int, list[Any]]]()
    if about.preprocessing_inside:
        image = _prepare(graph)
        shapes |= {"crop": (TensorProto.FLOAT, [4]), "size": (TensorProto.INT64, [2])}
    _network(graph, image, about.output)
    logits: Mapping[OutputKind, list[Any]] = {
        "classes": ["batch", 3],
        "regions": ["batch", 3, 10, 12],
        "boxes": ["batch", 120, 3],
    }
    shapes["logits"] = (TensorProto.FLOAT, logits[about.output])
    for number, each in enumerate(about.maps):
        _map(graph, each, against=number > 0)
        shapes |= {
            each.heatmap: (TensorProto.FLOAT, ["batch", 40, 48]),
            each.raw: (TensorProto.FLOAT, ["batch", 10, 12]),
            each.status: (TensorProto.INT64, ["batch"]),
        }
    given = (
        helper.make_tensor_value_info("image", TensorProto.UINT8, ["height", "width", 3])
        if about.preprocessing_inside
        else helper.make_tensor_value_info(
            "image", TensorProto.FLOAT, [about.batch or "batch", 3, 40, 48]
        )
    )
    batch = about.batch or "batch"
    target = helper.make_tensor_value_info("target", TensorProto.INT64, [batch])
    outputs = [helper.make_tensor_value_info(name, *shape) for name, shape in shapes.items()]
    made = helper.make_graph(graph.nodes, "net", [given, target], outputs, graph.numbers)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if described_:
        helper.set_model_props(model, {METADATA_KEY: about.to_json()})
    options: dict[str, Any] = {}
    if external:
        options = {
            "save_as_external_data": True,
            "location": f"{path.name}.data",
            "size_threshold": 100,  # the weights alone
        }
    onnx.save_model(model, path, **options)
    return path


def _prepare(graph: _Graph) -> str:
    """Resize a photo to the input as a whole, by its nearest pixels."""
    graph.add("Transpose", ["image"], "first", perm=[2, 0, 1])
    graph.add("Cast", ["first"], "floats", to=TensorProto.FLOAT)
    graph.add("Unsqueeze", ["floats", graph.number("axis0", np.zeros(1, np.int64))], "one")
    graph.add("Div", ["one", graph.number("bytes", np.float32(255))], "shares")
    size = graph.number("input_size", np.array([1, 3, 40, 48], np.int64))
    graph.add("Resize", ["shares", "", "", size], "prepared", mode="nearest")
    graph.add("Shape", ["image"], "size", start=0, end=2)
    graph.add("Cast", ["size"], "float_size", to=TensorProto.FLOAT)
    graph.add("Gather", ["float_size", graph.number("turned", np.array([1, 0]))], "ends")
    graph.add("Concat", [graph.number("starts", np.zeros(2, np.float32)), "ends"], "crop", axis=0)
    return "prepared"


def _network(graph: _Graph, image: str, kind: OutputKind) -> None:
    """Add the network up to its logits, and the class of each image."""
    for name, value in NET.state_dict().items():
        graph.number(name, value.numpy())
    graph.add("Conv", [image, "conv.weight", "conv.bias"], "convolved", strides=[_STRIDE, _STRIDE])
    graph.add("Relu", ["convolved"], "relu")
    graph.add(
        "ReduceMean", ["relu", graph.number("axes23", np.array([2, 3]))], "pooled", keepdims=0
    )
    graph.add("Gemm", ["pooled", "fc.weight", "fc.bias"], "of_image", transB=1)
    by_cell = graph.number("cell_weight", NET.fc.weight.detach().numpy()[..., None, None])
    graph.add("Conv", ["relu", by_cell, "fc.bias"], "of_cells")
    if kind == "classes":
        graph.add("Identity", ["of_image"], "logits")
    elif kind == "regions":
        graph.add("Identity", ["of_cells"], "logits")
    else:
        shape = graph.number("box_shape", np.array([0, 3, -1]))
        graph.add("Reshape", ["of_cells", shape], "flat")
        graph.add("Transpose", ["flat"], "logits", perm=[0, 2, 1])
    graph.add("ArgMax", ["of_image"], "best", axis=1, keepdims=0)
    graph.add("Less", ["target", graph.number("none", np.zeros(1, np.int64))], "predicted")
    graph.add("Where", ["predicted", "best", "target"], "class")


def _map(graph: _Graph, each: MapDescription, *, against: bool) -> None:
    """Add Grad-CAM: the mean over the channels, weighted by the class's row of the last layer.

    `against` the class, it is less its size: a map without positive values.
    """
    raw, p = each.raw, f"{each.raw}/"
    graph.add("Gather", ["fc.weight", "class"], f"{p}row", axis=0)
    graph.add("Unsqueeze", [f"{p}row", graph.number(f"{p}a", np.array([2, 3]))], f"{p}weight")
    graph.add("Mul", ["relu", f"{p}weight"], f"{p}weighted")
    graph.add("ReduceSum", [f"{p}weighted", graph.number(f"{p}b", _ONES)], f"{p}sum", keepdims=0)
    graph.add("Mul", [f"{p}sum", graph.number(f"{p}s", np.float32(1 / 120))], f"{p}mean")
    graph.add("Abs", [f"{p}mean"], f"{p}size")
    graph.add("Neg" if against else "Identity", [f"{p}size" if against else f"{p}mean"], raw)
    graph.add("Relu", [raw], f"{p}positive")
    graph.add("Unsqueeze", [f"{p}positive", graph.number(f"{p}c", _ONES)], f"{p}grid")
    scales = graph.number(f"{p}f", np.array([1, 1, 4, 4], np.float32))
    graph.add("Resize", [f"{p}grid", "", scales], f"{p}large", mode="linear")
    graph.add("Squeeze", [f"{p}large", graph.number(f"{p}d", _ONES)], f"{p}map")
    axes = graph.number(f"{p}e", np.array([1, 2]))
    graph.add("ReduceMin", [f"{p}map", axes], f"{p}low")
    graph.add("ReduceMax", [f"{p}map", axes], f"{p}high")
    graph.add("Sub", [f"{p}map", f"{p}low"], f"{p}above")
    graph.add("Sub", [f"{p}high", f"{p}low"], f"{p}range")
    graph.add("Max", [f"{p}range", graph.number(f"{p}t", np.float32(1e-20))], f"{p}divisor")
    graph.add("Div", [f"{p}above", f"{p}divisor"], each.heatmap)
    graph.add("ReduceMax", [raw, axes], f"{p}top", keepdims=0)
    graph.add("LessOrEqual", [f"{p}top", graph.number(f"{p}z", np.float32(0))], f"{p}nothing")
    graph.add("Cast", [f"{p}nothing"], each.status, to=TensorProto.INT64)


def save_file_of_arrays(path: Path, *size: int, **fields: Any) -> Path:
    """Write a file for arrays [B, 2, *size]: means of two channels, and the larger at each place.

    Its logits are the means, its raw map and heatmap that maximum.
    """
    about = described(
        **{
            "maps": (map_of(grid=size),),
            "input_shape": (2, *size),
            "preprocess": None,
            "classes": ("rest", "beat"),
        }
        | fields
    )
    places = numpy_helper.from_array(np.arange(2, 2 + len(size)), "places")
    first = numpy_helper.from_array(np.array([1]), "first")
    zero = numpy_helper.from_array(np.array(0, np.float32), "zero")
    node, info = helper.make_node, helper.make_tensor_value_info
    floats, whole = TensorProto.FLOAT, TensorProto.INT64
    nodes = [
        node("ReduceMean", ["image", "places"], ["logits"], keepdims=0),
        node("ReduceMax", ["image", "first"], ["raw"], keepdims=0),
        node("Identity", ["raw"], ["heatmap"]),
        node("ReduceMax", ["logits", "first"], ["highest"], keepdims=0),
        node("Mul", ["highest", "zero"], ["nothing"]),
        node("Cast", ["nothing"], ["status"], to=whole),
    ]
    inputs = [info("image", floats, ["batch", 2, *size]), info("target", whole, ["batch"])]
    outputs = [
        info("logits", floats, ["batch", 2]),
        info("raw", floats, ["batch", *size]),
        info("heatmap", floats, ["batch", *size]),
        info("status", whole, ["batch"]),
    ]
    graph = helper.make_graph(nodes, "net", inputs, outputs, [places, first, zero])
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: about.to_json()})
    onnx.save_model(model, path)
    return path
