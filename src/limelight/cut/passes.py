"""What every pass over a model is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from limelight.cut.call import call
from limelight.cut.compiled import compiled, parts_of
from limelight.cut.head import Enter, Head, Leave
from limelight.cut.rules import KeepGrad
from limelight.cut.shadow import Traits, facts_about, shadow, unwrap
from limelight.errors import WRITTEN_ON
from limelight.inputs import Given, tensors
from limelight.layers import Layout, Site
from limelight.targets import Asked, Reading, returned


@dataclass(frozen=True, slots=True)
class Run:
    """One pass: what went in and what came out (with the graph behind the cut)."""

    model: nn.Module
    given: Given
    output: Any
    reading: Reading
    traits: Traits
    differentiable: bool = False
    compile: bool = False

    @property
    def asked(self) -> Asked:
        """What a target has to know besides the output."""
        return asked_of(self.given, self.reading)


def asked_of(given: Given, reading: Reading) -> Asked:
    """Return what a target has to know besides the output."""
    words = any(
        t.ndim == 2 and not t.is_floating_point() and t.dtype != torch.bool
        for t in tensors((given.args, given.kwargs))
    )
    return Asked(given.batch, tuple(given.image.shape[2:]), reading, words)


@contextmanager
def no_grad() -> Iterator[None]:
    """Run without grad and outside inference mode, whatever the caller is in."""
    with torch.inference_mode(False), torch.no_grad():
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


def observe(
    model: nn.Module,
    root: nn.Module,
    copies: Mapping[int, nn.Module],
    given: Given,
    enter: Enter,
    leave: Leave,
    *,
    propose_all: bool = False,
) -> Any:
    """Run a shadow in the current grad mode, telling of every call of a copied module.

    `enter(key)` is called before and `leave(key, arguments, output)` after each; what `leave`
    returns takes the place of the output. The key is the id of the original module. For
    `propose_all` see `call`.
    """
    for key, copy in copies.items():

        def before(_module: nn.Module, _args: object, key: int = key) -> None:
            enter(key)

        def after(
            _module: nn.Module, args: object, kwargs: object, output: Any, key: int = key
        ) -> Any:
            return leave(key, (args, kwargs), output)

        copy.register_forward_pre_hook(before)
        copy.register_forward_hook(after, with_kwargs=True)
    return call(model, root, copies, given.fresh(), propose_all=propose_all)


@contextmanager
def with_graph() -> Iterator[None]:
    """Record a graph, whatever the caller or the model says."""
    with torch.inference_mode(False), torch.enable_grad(), KeepGrad():
        yield


def run_network(model: nn.Module, given: Given, *, compile: bool = False) -> Any:
    """Run a shadow of the whole model in the caller's grad mode, and return its output."""
    parts = parts_of(model, ()) if compile else []
    with torch.inference_mode(False):
        root, copies = shadow(model, set(map(id, parts)))
    with compiled(model, copies, parts):
        return call(model, root, copies, given)


def suits_channels_last(model: nn.Module, given: Given) -> bool:
    """Say whether images should lie channels last in memory.

    Convolutions on a CPU are faster so, mostly by a quarter. A network that takes it for granted
    how its tensors lie fails, or makes something else of it; so the first image is run both ways,
    once, and has to give the same.
    """
    model, image = unwrap(model), given.image
    if image.ndim != 4 or image.device.type != "cpu" or image.dtype not in _FASTER:
        return False
    facts, key = facts_about(model), ("channels last", given.signature)
    known: bool | None = facts.get(key)
    if known is None:
        convolves = any(isinstance(module, nn.Conv2d) for module in model.modules())
        known = facts[key] = convolves and _same_either_way(model, given.first(1))
    return known


def _same_either_way(model: nn.Module, first: Given) -> bool:
    outputs = list[list[Tensor]]()
    for layout in (torch.contiguous_format, torch.channels_last):
        lying = first.on(first.image.contiguous(memory_format=layout))
        with no_grad(), suppress(RuntimeError):
            outputs.append(tensors([returned(run_network(model, lying))]))
    same = len(outputs) == 2 and len(outputs[0]) == len(outputs[1])
    return same and all(map(_alike, *outputs))


#: What convolutions of other layouts than channels first are made for.
_FASTER = (torch.float32, torch.bfloat16, torch.float16)


def _alike(one: Tensor, other: Tensor) -> bool:
    """Say whether two tensors are the same but for rounding."""
    if one.shape != other.shape:
        return False
    if not one.is_floating_point() or not one.numel():
        return torch.equal(one, other)
    room = torch.finfo(one.dtype).eps ** 0.5 * one.abs().max()
    return bool(((one - other).abs() <= room).all())


def head_at(run: Run, site: Site, layout: Layout) -> Head:
    """Return the rest of the network after a layer, ready to run on other activations."""

    def observed(given: Given, enter: Enter, leave: Leave) -> Any:
        with no_grad():
            root, copies = shadow(run.model)
            return observe(run.model, root, copies, given, enter, leave)

    with no_grad():
        return Head(run.model, site, run.given, layout, observed)
