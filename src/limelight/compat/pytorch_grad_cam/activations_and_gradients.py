"""Activations and gradients at some layers, for code that reads them by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from limelight.compat.runs import LayerEvidence, ReshapeTransform
from limelight.inputs import ModelInputs, map_tensors, tensors
from limelight.layers.resolved import Layer
from limelight.runtime.whole_outputs import WholeOutputs
from limelight.targets.outputs import returned


class ActivationsAndGradients:
    """Activations of layers in a pass, and, after a backward pass of yours, their gradients.

        keeper = ActivationsAndGradients(model, [model.layer4], None)
        score = keeper(images)[:, 281].sum()  # then differentiate it, as in training
        keeper.activations, keeper.gradients

    The model gets no hook: each call runs a stand-in that shares its parameters.

    Attributes:
        activations: What each layer put out, after `reshape_transform` and without a graph; with
            `detach=False` as it was put out, with its graph.
        at_layers: What a method's own pass found out at each layer; [] after a call by hand.
    """

    def __init__(
        self,
        model: nn.Module,
        target_layers: Sequence[Layer],
        reshape_transform: ReshapeTransform | None,
        detach: bool = True,
    ) -> None:
        """Remember the model and the layers."""
        self.model = model
        self.target_layers: list[Layer] = [*target_layers]
        self.reshape_transform, self.detach = reshape_transform, detach
        self.clear()

    def __call__(self, x: Any) -> Any:
        """Run the model and return its output."""
        run = WholeOutputs(self.model, ModelInputs.of(x), self.target_layers)
        for tensor in _in_graph(run.at_layers):
            tensor.retain_grad()
        self._outputs = run.at_layers
        self.keep([self._read(output) for output in self._outputs], None)
        return returned(run.output)

    @property
    def gradients(self) -> list[Any]:
        """The gradient at each layer; [] before a backward."""
        if self._gradients is None:
            return [
                self._read(map_tensors(output, _gradient))
                for output in self._outputs
                if any(tensor.grad is not None for tensor in _in_graph(output))
            ]
        return self._gradients

    def keep(
        self,
        activations: list[Any],
        gradients: list[Any] | None,
        at_layers: Sequence[LayerEvidence] = (),
    ) -> None:
        """Keep activations, gradients if they are known already, and where both come from."""
        self.activations, self._gradients = activations, gradients
        self.at_layers = list(at_layers)

    def clear(self) -> None:
        """Forget what was kept."""
        self._outputs = list[Any]()
        self.keep([], [])

    def release(self) -> None:
        """Forget what was kept; there is no hook to remove."""
        self.clear()

    def _read(self, output: Any) -> Any:
        """Return a layer's output, or its gradient, as a grid without a graph."""
        if not self.detach:
            return output
        output = map_tensors(output, lambda tensor: tensor.detach().cpu())
        return output if self.reshape_transform is None else self.reshape_transform(output)


def _in_graph(output: Any) -> list[Tensor]:
    """Return the tensors of an output that are in the graph."""
    return [tensor for tensor in tensors([output]) if tensor.requires_grad]


def _gradient(tensor: Tensor) -> Tensor:
    """Return the gradient at a tensor, 0 where none arrived."""
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
