"""Grad modes and derivatives."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from limelight.errors import WRITTEN_ON, MethodError

#: How PyTorch, or else torchvision, says that an operator has no second derivative; its name.
_NO_SECOND_DERIVATIVE = (
    r"derivative for (\S+) is not implemented|double backwards on (\S+) not supported"
)


class KeepGrad(TorchFunctionMode):
    """Keeps grad on where a model turns it off in its own forward, around a frozen backbone say."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Switch grad on where the model would switch it off."""
        if func is torch._C._set_grad_enabled:
            args = (True,)
        return func(*args, **kwargs) if kwargs else func(*args)


class KeepGradMode(TorchFunctionMode):
    """Keeps the grad mode as it is where a model would change it in its own forward.

    In a graph that is exported, each change would put what follows into a graph of its own.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Leave out what would change the mode."""
        if func is torch._C._set_grad_enabled:
            return None
        return func(*args, **(kwargs or {}))


@contextmanager
def no_grad() -> Iterator[None]:
    """Run without grad and outside inference mode, whatever the caller is in."""
    with torch.inference_mode(False), torch.no_grad():
        yield


@contextmanager
def with_graph() -> Iterator[None]:
    """Record a graph, whatever grad mode the caller or the model asks for."""
    with torch.inference_mode(False), torch.enable_grad(), KeepGrad():
        yield


def differentiate(
    total: Tensor,
    sources: Sequence[Tensor],
    *,
    along: Tensor | None = None,
    retain: bool = True,
    graph: bool = False,
) -> list[Tensor]:
    """Return the gradient of `total` with respect to each source, zero if it does not depend on it.

    Where `total` is not a single number, `along` weighs its entries, as in `torch.autograd.grad`.
    With `graph` the gradients can be differentiated again. The error that autograd raises when a
    tensor was written on in place gets a note that says what to do.

    Raises:
        MethodError: What is differentiated is a gradient itself, and an operator has no second
            derivative.
    """
    if not total.requires_grad:
        return [torch.zeros_like(source) for source in sources]
    try:
        gradients = torch.autograd.grad(
            total, sources, along, retain_graph=retain, create_graph=graph, allow_unused=True
        )
    except RuntimeError as error:
        if "modified by an inplace operation" in str(error):
            error.add_note(WRITTEN_ON)
        missing = re.match(_NO_SECOND_DERIVATIVE, str(error))
        if missing:
            operator = missing[1] or missing[2]
            raise MethodError(
                f"The method needs second derivatives, and {operator}, an operator of the "
                "network, has none in PyTorch. Use 'gradcam'."
            ) from error
        raise
    return [
        torch.zeros_like(source) if gradient is None else gradient
        for source, gradient in zip(sources, gradients, strict=True)
    ]


def accumulate_gradients(scores: Sequence[Tensor]) -> None:
    """Add the gradients of scores to the `grad` of all leaves, for code that reads them there.

    The model's parameters are leaves too, so only a user's own pass is differentiated like this.
    """
    torch.autograd.backward(scores, retain_graph=True)


def node_of(tensor: Tensor) -> Any:
    """Return the graph node that made a tensor; None if the tensor is not in a graph."""
    if not tensor.requires_grad:
        return None
    # A class derived from Tensor would add a node of its own.
    with torch._C.DisableTorchFunctionSubclass():
        return torch.autograd.graph.get_gradient_edge(tensor).node


def first_behind(node: Any, wanted: Container[Any]) -> set[Any]:
    """Return which of the wanted nodes a node depends on first: not by way of another of them."""
    seen, found, waiting = set[Any](), set[Any](), [node]
    while waiting:
        last = waiting.pop()
        if last is None or last in seen:
            continue
        seen.add(last)
        if last in wanted:
            found.add(last)
        else:
            waiting += [below for below, _ in last.next_functions]
    return found


def behind_node(node: Any) -> set[Any]:
    """Return a node of a graph and all nodes that it depends on."""
    found, waiting = set[Any](), [node]
    while waiting:
        last = waiting.pop()
        if last is not None and last not in found:
            found.add(last)
            waiting += [below for below, _ in last.next_functions]
    return found
