"""Grad modes and derivatives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from limelight.errors import WRITTEN_ON


class KeepGrad(TorchFunctionMode):
    """Overrules a model that turns grad off in its own forward, around a frozen backbone say."""

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


@contextmanager
def no_grad() -> Iterator[None]:
    """Run without grad and outside inference mode, whatever the caller is in."""
    with torch.inference_mode(False), torch.no_grad():
        yield


@contextmanager
def with_graph() -> Iterator[None]:
    """Record a graph, whatever the caller or the model says."""
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
    """Return the gradient of `total` with respect to each source, zero where there is none.

    A total that is no number is weighed by `along`. With `graph` the gradients can be
    differentiated again. An error about what was written on meanwhile gets a note on what to do.
    """
    if not total.requires_grad:
        return [torch.zeros_like(source) for source in sources]
    try:
        found = torch.autograd.grad(
            total, sources, along, retain_graph=retain, create_graph=graph, allow_unused=True
        )
    except RuntimeError as error:
        if "modified by an inplace operation" in str(error):
            error.add_note(WRITTEN_ON)
        raise
    return [
        torch.zeros_like(source) if gradient is None else gradient
        for source, gradient in zip(sources, found, strict=True)
    ]


def node_of(tensor: Tensor) -> Any:
    """Return where a tensor stands in the graph; None outside it."""
    if not tensor.requires_grad:
        return None
    return torch.autograd.graph.get_gradient_edge(tensor).node


def origins(nodes: Sequence[Any], count: int) -> list[int]:
    """Return, of each node of a graph, what it was made of: a bit for each of the first ones.

    Each is made of all that the nodes below it are.
    """
    numbers: dict[Any, int] = {}
    for number, node in enumerate(nodes[:count]):
        numbers.setdefault(node, number)
    known: dict[Any, int] = {None: 0}
    waiting = [(node, False) for node in nodes]
    while waiting:
        node, ready = waiting.pop()
        if node is None or node in known:
            continue
        below = [one for one, _ in node.next_functions if one is not None]
        if ready:
            bits = 1 << numbers[node] if node in numbers else 0
            for one in below:
                bits |= known.get(one, 0)
            known[node] = bits
        else:
            waiting.append((node, True))
            waiting += [(one, False) for one in below if one not in known]
    return [known[node] for node in nodes]
