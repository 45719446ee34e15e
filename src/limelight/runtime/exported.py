"""A network as a graph of operators, split at layers: body, head, and the head's gradient.

`torch.export` writes down which operators a network runs. The layers' outputs are marked in it, so
that the graph can be split: the *head* is what depends on a layer, the *body* is the rest. The head
is then run once more on stand-ins without values, together with the gradient of its score; what it
runs meanwhile, forward and backward, is again a graph of operators, without autograd.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel

from limelight.errors import LimelightError, ModelError
from limelight.inputs import ModelInputs, substitute_first
from limelight.layers import INPUT, ResolvedLayer
from limelight.runtime.autograd import KeepGradMode, no_grad
from limelight.runtime.export_rewrites import backward_decompositions, rewrite_for_gradient
from limelight.runtime.shadow import shadow
from limelight.runtime.yolo import keeps_anchors

#: Reads the logits from what a network returned.
ReadLogits = Callable[[Any], Tensor]


@torch.library.custom_op("limelight::mark", mutates_args=())
def _mark(values: Tensor, number: int) -> Tensor:  # noqa: ARG001 (read in the graph)
    """Mark a layer's output in an exported graph."""
    return values.clone()


@_mark.register_fake
def _marked_like(values: Tensor, number: int) -> Tensor:  # noqa: ARG001
    return torch.empty_like(values)


class _Calls:
    """How often each module ran, by its id; not a dict, as torch watches those of a network."""

    def __init__(self) -> None:
        self.count_by_module = Counter[int]()

    def count(self, key: int) -> int:
        """Count one more call of a module, and return its number, from 1."""
        self.count_by_module[key] += 1
        return self.count_by_module[key]


class _MarkedNetwork(nn.Module):
    """A shadow of a network in which the outputs of layers are marked, and which returns logits."""

    def __init__(
        self,
        model: nn.Module,
        inputs: ModelInputs,
        layers: Sequence[ResolvedLayer],
        read: ReadLogits,
    ) -> None:
        super().__init__()
        anchored = {id(module) for module in model.modules() if keeps_anchors(module)}
        self.network, copies = shadow(model, {id(layer.module) for layer in layers} | anchored)
        for key in anchored:  # anchors are made anew, not kept for one batch size
            copies[key].__dict__["dynamic"] = True
        self._inputs, self._read = inputs, read
        self._calls = _Calls()
        self._at_input = [n for n, layer in enumerate(layers) if layer.path == INPUT]
        for key in {id(layer.module) for layer in layers if layer.path != INPUT}:
            numbers = {
                layer.call: number for number, layer in enumerate(layers) if id(layer.module) == key
            }
            copies[key].register_forward_hook(self._marks(key, numbers))

    def forward(self, image: Tensor) -> Tensor:
        self._calls.count_by_module.clear()
        for number in self._at_input:
            image = _mark(image, number)
        with KeepGradMode():
            args, kwargs = self._inputs.on(image).arguments()
            return self._read(self.network(*args, **kwargs))

    def _marks(self, key: int, numbers: Mapping[int | None, int]) -> Callable[..., Any]:
        """Return the hook that marks the calls of a module."""

        def mark(_module: nn.Module, _args: object, output: Any) -> Any:
            number = numbers.get(self._calls.count(key), numbers.get(None))
            if number is None:
                return output
            return substitute_first(output, lambda values: _mark(values, number))

        return mark


@dataclass(frozen=True, eq=False)
class SplitNetwork:
    """A network as two graphs, split at layers.

    Attributes:
        body: Takes the images; returns what the head needs, its `first` layers' outputs in front.
        head: Takes what the body returns; returns the logits and the outputs of all layers.
        first: The numbers of the layers that depend on no other layer.
        values: Stand-ins, without values, for what the body returns.
        heads: For each layer, the head that takes the output of that layer besides, in front.
        batch: The number of images; a symbol if it is left open.
    """

    body: fx.GraphModule
    head: fx.GraphModule
    first: tuple[int, ...]
    values: tuple[Any, ...]
    heads: tuple[fx.GraphModule, ...]
    batch: Any


def split_network(
    model: nn.Module,
    inputs: ModelInputs,
    layers: Sequence[ResolvedLayer],
    read: ReadLogits,
    *,
    dynamic: bool,
) -> SplitNetwork:
    """Write a network down as two graphs, split at layers.

    1. Mark the layers' outputs in a shadow of the network, and export it.
    2. Sort its operators: those that depend on a layer are the head's.
    3. Make a graph of each part.

    Args:
        model: The unwrapped network.
        inputs: Its arguments; all but the images become constants of the graph.
        layers: The layers, the first of which have no other in front.
        read: Reads the logits.
        dynamic: Whether the number of images is left open.

    Raises:
        ModelError: torch cannot export the network; the message holds its reason.
    """
    # 1. The marked graph.
    graph_module = _exported(model, inputs, layers, read, dynamic=dynamic)
    graph = graph_module.graph
    for node in list(graph.nodes):
        if node.op == "call_module" and not node.users:  # a check of the inputs' shapes
            graph.erase_node(node)
    rewrite_for_gradient(graph)
    marks = {
        node.args[1]: node
        for node in graph.nodes
        if node.op == "call_function" and node.target is torch.ops.limelight.mark.default
    }
    missing = [layer.name for number, layer in enumerate(layers) if number not in marks]
    if missing:
        raise ModelError(
            f"The exported graph does not contain the output of {', '.join(map(repr, missing))}: "
            "the logits do not depend on it. Take another layer; `limelight layers` lists them."
        )
    # 2. The head's operators.
    in_head = set[fx.Node]()
    for node in graph.nodes:
        if node in marks.values() or not in_head.isdisjoint(node.all_input_nodes):
            in_head.add(node)
    # 3. The two graphs.
    first = tuple(n for n, mark in marks.items() if mark.args[0] not in in_head)
    passed = [marks[number].args[0] for number in first]
    for node in graph.nodes:
        if node in in_head and node not in marks.values():
            passed += [
                value
                for value in node.all_input_nodes
                if value not in in_head and value.op != "get_attr" and value not in passed
            ]
    body = _part(graph_module, passed, in_head)
    split = _Split(graph_module, passed, marks, first, in_head)
    heads = tuple(split.head(from_layer=number) for number in range(len(layers)))
    values = tuple(value.meta["val"] for value in passed)
    image = next(node for node in graph.nodes if node.op == "placeholder")
    batch = image.meta["val"].shape[0]
    return SplitNetwork(body, split.head(), first, values, heads, batch)


def _exported(
    model: nn.Module,
    inputs: ModelInputs,
    layers: Sequence[ResolvedLayer],
    read: ReadLogits,
    *,
    dynamic: bool,
) -> fx.GraphModule:
    """Return the graph of a network with marked layers, without operators that write in place."""
    network = _MarkedNetwork(model, inputs, layers, read)
    try:
        with no_grad(), sdpa_kernel(SDPBackend.MATH), torch_quiet():
            program = torch.export.export(
                network, (inputs.image,), dynamic_shapes=_shapes(1, dynamic), strict=False
            )
            module = program.run_decompositions({}).module()
    except Exception as error:  # whatever the network's own code and torch raise
        raise ModelError(_why_not(model, error, dynamic=dynamic)) from error
    assert isinstance(module, fx.GraphModule)
    return module


def _shapes(inputs: int, dynamic: bool) -> tuple[dict[int, Any], ...] | None:
    """Return which axes of inputs are open: the first of each, or none."""
    batch = torch.export.Dim("batch", min=1)
    return ({0: batch},) * inputs if dynamic else None


def export_program(
    network: nn.Module, image: Tensor, *, dynamic: bool
) -> torch.export.ExportedProgram:
    """Return what computes outputs from images `[B, C, *image]` and targets `[B]` as a program."""
    target = torch.zeros(len(image), dtype=torch.long, device=image.device)
    try:
        with no_grad(), torch_quiet():
            return torch.export.export(
                network.eval(), (image, target), dynamic_shapes=_shapes(2, dynamic), strict=False
            )
    except Exception as error:  # whatever torch raises
        raise ModelError(
            "torch.export cannot write down the gradient of the network's head for any number of "
            "images: one of its operators takes the number for a constant. Export it for a fixed "
            "one: batch=1."
            if dynamic
            else _why_not(network, error, dynamic=False)
        ) from error


def _why_not(model: nn.Module, error: Exception, *, dynamic: bool) -> str:
    """Return why a network cannot be exported, and what to do."""
    by_values = "GuardOnDataDependent" in type(error).__name__
    advice = (
        "If its forward depends on the number of images, export it for a fixed one: batch=1."
        if dynamic and not by_values
        else "Its forward may depend on values, or call what torch.export does not know."
    )
    return f"torch.export cannot write down {type(model).__name__}: {_first_lines(error)} {advice}"


def _first_lines(error: Exception) -> str:
    """Return the type of an error and the first lines of its message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:2])[:400]}"


def _part(whole: fx.GraphModule, passed: Sequence[fx.Node], left_out: set[fx.Node]) -> Any:
    """Return the graph of the body: what is not left out, up to the values that are passed."""
    part, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    for node in whole.graph.nodes:
        if node.op != "output" and node not in left_out:
            copies[node] = part.node_copy(node, copies.__getitem__)
    part.output(tuple(copies[node] for node in passed))
    part.eliminate_dead_code()
    return fx.GraphModule(whole, part)


class _Split(NamedTuple):
    """A graph, and where it is split.

    Attributes:
        whole: The graph with marked layers.
        passed: What the body passes to the head, the outputs of the `first` layers in front.
        marks: The node that marks the output of each layer.
        first: The numbers of the layers that depend on no other layer.
        in_head: The nodes of the head.
    """

    whole: fx.GraphModule
    passed: Sequence[fx.Node]
    marks: Mapping[int, fx.Node]
    first: Sequence[int]
    in_head: set[fx.Node]

    def head(self, from_layer: int | None = None) -> fx.GraphModule:
        """Return the graph of the head, to the logits and the layers' outputs.

        It takes what the body passes; with `from_layer` also, in front, the output of that layer.
        """
        part, copies, layers = fx.Graph(), dict[fx.Node, fx.Node](), dict[int, fx.Node]()
        given = {} if from_layer is None else {from_layer: part.placeholder("given")}
        inputs = [part.placeholder(f"value_{number}") for number in range(len(self.passed))]
        # What is passed as a layer's output may be passed a second time, as what skips the layer.
        count = len(self.first)
        copies.update(zip(self.passed[count:], inputs[count:], strict=True))
        given = {**dict(zip(self.first, inputs[:count], strict=True)), **given}
        numbers = {mark: number for number, mark in self.marks.items()}
        logits = next(iter(self.in_head))
        for node in self.whole.graph.nodes:
            if node in numbers:
                number = numbers[node]
                copies[node] = layers[number] = given.get(number) or copies[node.args[0]]
            elif node.op == "get_attr":
                copies[node] = part.node_copy(node)
            elif node.op == "output":
                returned = node.args[0]
                logits = returned[0] if isinstance(returned, tuple | list) else returned
            elif node in self.in_head and node not in copies:
                copies[node] = part.node_copy(node, copies.__getitem__)
        in_order = tuple(layers[number] for number in sorted(layers))
        part.output((copies[logits], in_order))
        part.eliminate_dead_code()
        return fx.GraphModule(self.whole, part)


#: Who speaks of its own steps while a network is exported.
_LOGGERS = ("torch.export", "torch.fx", "torch.onnx", "onnxscript", "onnx_ir")


@contextmanager
def torch_quiet() -> Iterator[None]:
    """Keep what exports a network from writing of its own steps to the terminal."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


#: Given the head, the values that the body passed, and the target, `[B]`: returns tensors.
Explain = Callable[..., Sequence[Tensor]]


def capture(explain: Explain, values: Sequence[Any], *, batch: Any) -> fx.GraphModule:
    """Return the graph of all operators that a function runs, the backward ones among them.

    Args:
        explain: Called as explain(target, *values).
        values: Stand-ins for what the body returns.
        batch: The number of images: a number, or a symbol.
    """
    fake = next(value for value in values if isinstance(value, Tensor))
    with fake.fake_mode:  # type: ignore[attr-defined]
        target = torch.empty(batch, dtype=torch.int64, device=fake.device)
    try:
        with torch.inference_mode(False), sdpa_kernel(SDPBackend.MATH), torch_quiet():
            return make_fx(
                explain,
                decomposition_table=backward_decompositions(),
                tracing_mode="symbolic",
                _allow_non_fake_inputs=True,
            )(target, *values)
    except LimelightError:
        raise
    except Exception as error:  # whatever torch raises
        raise ModelError(
            "The gradient of the network's head cannot be written down: "
            f"{_first_lines(error)} Take another layer or method."
        ) from error
