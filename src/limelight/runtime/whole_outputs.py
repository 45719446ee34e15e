"""A pass that keeps the whole outputs of layers, in the layers' own form, with their gradients.

A `Cut` reads a layer's output as a grid. Here the user says how that is done, so the output stays
as the layer put it out: a tensor with any axes, or a nest of tensors, as a feature pyramid is.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree

from limelight.errors import MethodError
from limelight.inputs import ModelInputs, tensors
from limelight.layers import resolve
from limelight.layers.resolved import Layer
from limelight.runtime.autograd import differentiate, no_grad
from limelight.runtime.capture import Capture
from limelight.runtime.execution import call_shadow
from limelight.runtime.forward import run_captured
from limelight.runtime.shadow import shadow
from limelight.runtime.unwrap import unwrap
from limelight.targets import Scores


class WholeOutputs:
    """One pass, with the whole outputs of some layers.

    Attributes:
        output: What the network returned, with the graph behind the first layer; for a detector, a
            `Detected`.
        paths: The layers' dotted paths.
        at_layers: For each layer, what it put out: tensors in the graph, or a nest of them.
    """

    def __init__(self, model: nn.Module, inputs: ModelInputs, layers: Sequence[Layer]) -> None:
        """Run the model, as in evaluation mode, without touching it.

        Raises:
            UnknownNameError, LayerError, ModelError, InputError: As `cut`.
        """
        self._model, self._inputs = unwrap(model), inputs
        self._layers = [resolve(self._model, layer) for layer in layers]
        capture = Capture(self._layers, whole=True)
        with no_grad():
            self.output = run_captured(self._model, inputs.clone(), capture)
        self.paths = [layer.name for layer in self._layers]
        self.at_layers: list[Any] = [capture.output_of(layer) for layer in self._layers]

    def gradients(self, total: Tensor, number: int, *, graph: bool = False) -> Any:
        """Return the gradient of a number at one of the layers, in the form of its output.

        With `graph` the gradient can be differentiated again.
        """
        output = self.at_layers[number]
        with torch.inference_mode(False), torch.enable_grad():
            found = iter(differentiate(total, _floats(output), graph=graph))

        def gradient(leaf: Tensor) -> Tensor:
            return next(found) if leaf.is_floating_point() else leaf

        return pytree.tree_map_only(Tensor, gradient, output)

    def curvature(self, scores: Scores, number: int) -> Any:
        """Return the Hessian of the scores times a layer's output, `H A`, in the output's form."""
        with suppress(MethodError):
            return self._curvature(scores.values, number)
        # Fused attention cannot be differentiated twice; its plain implementation can.
        with sdpa_kernel(SDPBackend.MATH):
            again = WholeOutputs(self._model, self._inputs, [layer.name for layer in self._layers])
        rows = torch.arange(self._inputs.batch, device="cpu")
        with torch.inference_mode(False), torch.enable_grad():
            values = scores.read_again(again.output, rows)
        return again._curvature(values, number)

    def _curvature(self, values: Tensor, number: int) -> Any:
        slopes = _floats(self.gradients(values.sum(), number, graph=True))
        outputs = _floats(self.at_layers[number])
        with torch.inference_mode(False), torch.enable_grad():
            products = [(s * v.detach()).sum() for s, v in zip(slopes, outputs, strict=True)]
            total = torch.stack(products).sum()
        return self.gradients(total, number)

    def run_with(self, number: int, output: Any, rows: Tensor) -> Any:
        """Run the network with another output of a layer, and return what the network returns.

        Args:
            number: Which of the layers.
            output: What it is to put out, for M rows.
            rows: The image that each of the rows belongs to, `[M]`.
        """
        key = id(self._layers[number].module)
        with torch.inference_mode(False):
            root, copies = shadow(self._model, {key})
        copies[key].__dict__["forward"] = lambda *_args, **_kwargs: output
        try:
            return call_shadow(self._model, root, copies, self._inputs.take(rows))
        finally:  # a copy must not refer to itself
            del copies[key].__dict__["forward"]


def _floats(output: Any) -> list[Tensor]:
    """Return the tensors in floating point of an output."""
    return [leaf for leaf in tensors([output]) if leaf.is_floating_point()]
