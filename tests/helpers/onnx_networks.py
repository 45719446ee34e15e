"""Networks as ONNX graphs that give their explanation: the outputs of an exported file."""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from helpers.shapes import SIZE, scenes

Arrays = dict[str, npt.NDArray[Any]]


class CamNetwork(nn.Module):
    """Convolutions, pooling, one linear layer; its Grad-CAM is CAM, which needs no gradient."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        widths = (3, 16, 32, 64, 64)
        self.body = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
                    nn.BatchNorm2d(after),
                    nn.ReLU(),
                )
                for before, after in pairwise(widths)
            )
        )
        self.classifier = nn.Linear(widths[-1], classes)

    def forward(self, image: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        """Return logits, heatmap, raw map and status."""
        activations = self.body(image)
        logits = self.classifier(activations.mean((2, 3)))
        chosen = torch.where(target < 0, logits.argmax(1), target)
        raw = torch.einsum("bk,bkhw->bhw", self.classifier.weight[chosen], activations)
        positive = raw.relu()
        peak = positive.amax((1, 2), keepdim=True)
        scaled = positive / peak.clamp_min(1e-30)
        heatmap = interpolate(scaled[:, None], size=(SIZE, SIZE), mode="bilinear")[:, 0]
        return logits, heatmap, raw, (peak[:, 0, 0] <= 0).long()


def trained_network(steps: int = 60) -> CamNetwork:
    """Return a network that knows shapes, and takes pictures in [0, 1]."""
    torch.manual_seed(0)
    network = CamNetwork().train()
    scene = scenes(256, seed=1, shapes=1)
    images, labels = pictures(scene.images), scene.labels[:, 0] - 1
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    for step in range(steps):
        chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(step))[:64]
        logits = network(images[chosen], labels[chosen])[0]
        optimiser.zero_grad()
        cross_entropy(logits, labels[chosen]).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return network.eval()


def pictures(images: Tensor) -> Tensor:
    """Return scenes as pictures in [0, 1]."""
    return ((images + 0.5) / 2.5).clamp(0, 1).float()


def exported(network: nn.Module) -> onnx.ModelProto:
    """Return a network in ONNX, for any batch."""
    example = torch.rand(2, 3, SIZE, SIZE), torch.tensor([-1, 0])
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():  # torch warns of itself
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            example,
            dynamo=True,
            verbose=False,
            input_names=["image", "target"],
            output_names=["logits", "heatmap", "raw", "status"],
            dynamic_shapes=({0: batch}, {0: batch}),
        )
    assert program is not None
    model = onnx.ModelProto()
    model.CopyFrom(program.model_proto)
    model.metadata_props.add(key="limelight", value="a description")
    return model


def passed_on(
    channels: int = 3,
    height: int | str = "h",
    width: int | str = "w",
    batch: int | str = "batch",
    opset: int = 18,
) -> onnx.ModelProto:
    """Return a graph whose logits are its image, unchanged."""
    shape: list[int | str | None] = [batch, channels, height, width]
    values = [
        helper.make_tensor_value_info(name, kind, axes)
        for name, kind, axes in (
            ("image", TensorProto.FLOAT, shape),
            ("target", TensorProto.INT64, [batch]),
            ("logits", TensorProto.FLOAT, shape),
            ("status", TensorProto.INT64, [batch]),
        )
    ]
    nodes = [
        helper.make_node("Identity", ["image"], ["logits"]),
        helper.make_node("Identity", ["target"], ["status"]),
    ]
    graph = helper.make_graph(nodes, "passed_on", values[:2], values[2:])
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Return a checked graph, ready to run."""
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run(running: onnxruntime.InferenceSession, **inputs: npt.ArrayLike) -> Arrays:
    """Return the outputs of a graph by their names."""
    names = [value.name for value in running.get_outputs()]
    feeds = {name: np.asarray(value) for name, value in inputs.items()}
    return dict(zip(names, running.run(names, feeds), strict=True))
