"""Notes the calls of one recorded pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from limelight.errors import INFERENCE, LayerError
from limelight.finish import AxisSpan
from limelight.inputs import ModelInputs, substitute_first, tensors
from limelight.layers import RawCall
from limelight.layers.tracks import Anchor
from limelight.runtime.autograd import node_of
from limelight.runtime.places import first_grid
from limelight.runtime.traits import patch_of


class Recorder:
    """Notes every call of one pass, and the node of each output in the graph."""

    def __init__(self, model: nn.Module, inputs: ModelInputs, *, copy_outputs: bool) -> None:
        """Prepare for a pass.

        Args:
            model: The network.
            inputs: What it runs on.
            copy_outputs: Whether the network gets copies of what its modules put out, as it writes
                on tensors that a gradient needs.
        """
        self._copy_outputs = copy_outputs
        self._least_axes = inputs.least_axes
        input_tensors = tensors((inputs.args, inputs.kwargs))
        self._sentences = {
            t.shape[1] for t in input_tensors if t.ndim == 2 and not t.is_floating_point()
        }
        self._paths = {id(module): path for path, module in model.named_modules()}
        self._modules = {id(module): module for module in model.modules()}
        self._learned = {id(m): any(True for _ in m.parameters()) for m in model.modules()}
        self._results = dict[GradientEdge, int]()  # by edge handed on: `RawCall.result`
        self._sources = dict[GradientEdge | int, int]()  # by result or edge: `RawCall.source`
        self.edges = list[GradientEdge]()  # by number of the call: its output in the graph
        self.calls = list[RawCall]()
        self.anchors = list[Anchor]()  # by number of the call: its output as an anchor
        self.inputs = list[tuple[Any, Anchor]]()  # nodes of inputs, and what they are as anchors
        self._entered = dict[int, int]()  # by module: how many of its calls have begun
        self._running = list[tuple[int, int | None]]()  # number and source of each call inside
        self.canvas: tuple[int, ...] = ()
        self.span: tuple[AxisSpan, ...] = ()
        self.recording = True  # a backward may run modules again

    def enter(self, key: int, arguments: object) -> None:
        """Note the input of a call, as an anchor."""
        if self.recording:
            with torch._C.DisableTorchFunction():  # the mode that keeps grad on takes time
                self._enter(key, arguments)

    def _enter(self, key: int, arguments: object) -> None:
        number = self._entered.get(key, 0)
        self._entered[key] = number + 1
        found = tensors(arguments)
        self._running.append((number, self._source(found)))
        tensor = first_grid(found, self._least_axes)
        if tensor is not None and tensor.requires_grad:
            anchor = Anchor(self._moment(), self._paths[key], number, True, tuple(tensor.shape))
            self.inputs.append((node_of(tensor), anchor))

    def _source(self, arguments: list[Tensor]) -> int | None:
        """Return the number of the input tensor: of several, the one put out last."""
        edges = [get_gradient_edge(tensor) for tensor in arguments if tensor.requires_grad]
        if not edges:
            return None
        latest = max(edges, key=lambda edge: self._results.get(edge, -1))
        # What merely passes a tensor on (a dropout, an identity) hands on another edge of it.
        return self._sources.setdefault(self._results.get(latest, latest), len(self._sources))

    def results_of(self, output: Any) -> dict[Any, int | None]:
        """Return the nodes of the tensors that the network returned, with `RawCall.result`.

        It is None for a tensor that is not what a module put out.
        """
        edges = (get_gradient_edge(t) for t in tensors(output) if t.requires_grad)
        return {edge.node: self._results.get(edge) for edge in edges}

    def _moment(self) -> int:
        return len(self.inputs) + len(self.edges)

    def leave(self, key: int, arguments: object, output: Any) -> Any:
        """Note a call, and return the output to go on with."""
        if not self.recording:
            return output
        with torch._C.DisableTorchFunction():
            return self._leave(key, arguments, output)

    def _leave(self, key: int, arguments: object, output: Any) -> Any:
        begun = self._running.pop()
        for part in output if isinstance(output, tuple) else ():
            if hasattr(part, "image_sizes") and hasattr(part, "tensors"):  # torchvision's detectors
                self.canvas = tuple(part.tensors.shape[2:])
                sizes = zip(self.canvas, part.image_sizes[0], strict=True)
                self.span = tuple(AxisSpan(0.0, padded / size) for padded, size in sizes)
        grids = [t for t in tensors(output) if t.ndim >= 3 and t.shape[0] == 1]
        several = len({id(tensor) for tensor in grids if tensor.is_floating_point()}) > 1
        return substitute_first(
            output,
            lambda tensor: self._follow(key, begun, tensors(arguments), tensor, several=several),
        )

    def _follow(
        self,
        key: int,
        begun: tuple[int, int | None],
        arguments: list[Tensor],
        tensor: Tensor,
        *,
        several: bool,
    ) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        if tensor.is_inference():
            raise LayerError(INFERENCE)
        number, result = len(self.edges), len(self.edges)
        if tensor.requires_grad:
            result = self._results.get(get_gradient_edge(tensor), number)
        # A container's own modules may read its output too. The copy is a node of its own, which
        # only what runs after the container reads. What is written on a view changes its node.
        handed_on = tensor
        if self._modules[key]._modules or tensor._is_view() or self._copy_outputs:
            handed_on = tensor.clone()
        if handed_on.requires_grad:
            self.edges.append(get_gradient_edge(handed_on))
        else:
            leaf = handed_on.detach().requires_grad_()
            self.edges.append(get_gradient_edge(leaf))
            handed_on = leaf.clone()  # the network may write on it
        self._results[get_gradient_edge(handed_on)] = result
        call = RawCall(
            path=self._paths[key],
            shape=tuple(tensor.shape),
            source=begun[1],
            result=result,
            number=number,
            learned=self._learned[key],
            input_shape=tuple(arguments[0].shape) if arguments else (),
            patch=patch_of(self._modules[key]),
            several=several,
            kind=type(self._modules[key]).__name__,
            words=max((t.shape[1] for t in arguments if self._are_words(t)), default=0),
        )
        self.calls.append(call)
        path, shape = self._paths[key], tuple(tensor.shape)
        self.anchors.append(Anchor(self._moment() - 1, path, begun[0], False, shape))
        return handed_on

    def _are_words(self, tensor: Tensor) -> bool:
        """Return whether a tensor holds the word numbers of a sentence that the user passed in.

        Positions, which are consecutive numbers, do not count.
        """
        if tensor.ndim != 2 or tensor.shape[1] not in self._sentences:
            return False
        whole = tensor.dtype in (torch.int32, torch.int64)
        return whole and not bool((tensor[:, 1:] - tensor[:, :-1] == 1).all())
