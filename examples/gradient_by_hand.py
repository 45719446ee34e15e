"""Gradients by hand, for a network small enough to check every number on paper.

    python examples/gradient_by_hand.py

A convolution with one 2x2 kernel, then a linear layer with two outputs, both without bias:

    a = conv(x)                 [1, 1, 2, 2]
    y = W flatten(a)            [1, 2]

The score is y_0. limelight finds its gradient at the convolution, dy_0/da, and at the input,
dy_0/dx. The Jacobian J = da/dx, `[4, 9]`, connects them: it holds the derivative of each of the
four outputs with respect to each of the nine inputs. The chain rule says `dy_0/dx = J^T dy_0/da`.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import torch
from rich.console import Console
from torch import Tensor, nn

import limelight

IMAGE = torch.tensor([[1.0, 2, 3], [1, 1, 2], [2, 1, 2]]).reshape(1, 1, 3, 3)
KERNEL = torch.tensor([[1.0, 0], [1, 2]]).reshape(1, 1, 2, 2)
WEIGHTS = torch.tensor([[0.0, 1, 0, 1], [1, 0, 1, 1]])


class Numbers(NamedTuple):
    """All numbers that can be checked on paper.

    Attributes:
        convolved: The output of the convolution, `[2, 2]`.
        outputs: The output of the network, `[2]`.
        at_convolution: `dy_0/da`, `[2, 2]`.
        jacobian: `da/dx`, `[4, 9]`, rows and columns in reading order.
        at_input: `dy_0/dx`, `[3, 3]`, by backpropagation.
        by_chain_rule: The same, computed as `J^T dy_0/da`.
    """

    convolved: Tensor
    outputs: Tensor
    at_convolution: Tensor
    jacobian: Tensor
    at_input: Tensor
    by_chain_rule: Tensor


def network() -> nn.Module:
    """Return the network, in float64."""
    conv, fc = nn.Conv2d(1, 1, 2, bias=False), nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        conv.weight.copy_(KERNEL)
        fc.weight.copy_(WEIGHTS)
    return nn.Sequential(OrderedDict(conv=conv, flatten=nn.Flatten(), fc=fc)).double()


def numbers() -> Numbers:
    """Trace output 0 back to the convolution and the input, and multiply by hand."""
    model, image = network(), IMAGE.double()
    found = limelight.trace(model, image, ["conv", "fc"], target=0)
    conv, fc, start = found.layers
    jacobian = torch.func.jacrev(model.get_submodule("conv"))(image).reshape(4, 9)
    return Numbers(
        convolved=conv.activations[0, 0],
        outputs=fc.activations[0],
        at_convolution=conv.gradients[0, 0],
        jacobian=jacobian,
        at_input=start.gradients[0, 0],
        by_chain_rule=(jacobian.T @ conv.gradients.flatten()).reshape(3, 3),
    )


def main() -> None:
    """Print every number with the step that makes it."""
    found = numbers()
    steps = (
        ("the input x", IMAGE[0, 0]),
        ("the kernel", KERNEL[0, 0]),
        ("a = conv(x)", found.convolved),
        ("W, the weights of the linear layer", WEIGHTS),
        ("y = W flatten(a)", found.outputs[None]),
        ("dy_0/da, which is row 0 of W", found.at_convolution),
        ("J = da/dx: a row for each output, a column for each input", found.jacobian),
        ("dy_0/dx, propagated back", found.at_input),
        ("J^T dy_0/da, by the chain rule", found.by_chain_rule),
    )
    console = Console()
    for name, values in steps:
        console.print(f"[bold]{name}[/]")
        for row in values.tolist():
            console.print("   " + " ".join(f"{value:4g}" for value in row), highlight=False)
    largest = (found.at_input - found.by_chain_rule).abs().max()
    console.print(f"The two differ by at most {largest:g}.")


if __name__ == "__main__":
    main()
