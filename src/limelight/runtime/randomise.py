"""The same network with weights drawn anew, from the logits down: for the parameter test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from zlib import crc32

import torch
from torch import Tensor, nn

from limelight.errors import ModelError
from limelight.inputs import ModelInputs
from limelight.runtime.autograd import no_grad
from limelight.runtime.execution import observe
from limelight.runtime.shadow import shadow
from limelight.runtime.unwrap import unwrap


def cascade(
    model: nn.Module, given: ModelInputs, steps: int, seed: int
) -> Iterator[tuple[str, float, nn.Module]]:
    """Yield a shadow of the model in which more and more layers have weights drawn anew.

    Cascading randomisation (Adebayo et al. 2018, section 3.1): first the layer that makes the
    logits, in the end all of them, in the reverse of the order in which they begin to run. The
    model itself keeps its weights. The shadow is the same each time, so use it before going on.

    Args:
        model: The network.
        given: What it is given, to learn the order.
        steps: How many times to stop, evenly from the first layer to all.
        seed: Of the draws; the generator of the process is left as it is.

    Yields:
        The layer randomised last, the share of layers that are random, and the shadow.

    Raises:
        ModelError: The network has no parameters.
    """
    model = unwrap(model)
    order = [module for module in _order(model, given) if _own(module)][::-1]
    if not order:
        raise ModelError(
            f"The model, a {type(model).__name__}, has no parameters, so that none can be drawn "
            "anew. Measure it by another metric."
        )
    names = {module: name or "the model" for name, module in model.named_modules()}
    with no_grad():
        root, copies = shadow(model)
        _part(copies)
    done = 0
    even = torch.linspace(1, len(order), steps, dtype=torch.float32, device="cpu")
    counts = even.round().int().tolist()
    for count in dict.fromkeys([*counts[:-1], len(order)]):
        for number in range(done, count):
            _draw(copies[id(order[number])], crc32(f"{seed}, {number}".encode()))
        done = count
        yield names[order[count - 1]], count / len(order), root


def _order(model: nn.Module, given: ModelInputs) -> list[nn.Module]:
    """Return all modules in the order in which they begin; those that are not called, where their
    parent does, which then reads their weights itself."""
    met: dict[int, None] = {}
    with no_grad():
        root, copies = shadow(model)
        observe(model, root, copies, given, met.setdefault, lambda *_call: _call[2])
    begin = {key: number for number, key in enumerate(met)}
    found = list[tuple[int, nn.Module]]()

    def visit(module: nn.Module, at: int) -> None:
        at = begin.get(id(module), at)
        found.append((at, module))
        for child in module.children():
            visit(child, at)

    visit(model, 0)
    found.sort(key=lambda pair: pair[0])  # stable: children stay behind their parents
    return list(dict.fromkeys(module for _, module in found))


def _own(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return a module's own weights, by name."""
    named = module._parameters.items()
    return {name: one for name, one in named if one is not None and one.is_floating_point()}


def _part(copies: dict[int, nn.Module]) -> None:
    """Give the copies in a shadow weights of their own; what was one tensor stays one."""
    fresh: dict[int, nn.Parameter] = {}
    for copy in copies.values():
        old = copy._parameters
        for one in old.values():
            if one is not None and id(one) not in fresh:
                fresh[id(one)] = nn.Parameter(one.detach().clone(), requires_grad=one.requires_grad)
        new = {name: None if one is None else fresh[id(one)] for name, one in old.items()}
        copy.__dict__["_parameters"] = new
        for name, value in copy.__dict__.items():
            if isinstance(value, Tensor):  # what old-style weight norm and pruning compute
                copy.__dict__[name] = value.detach().clone()
        flat = copy.__dict__.get("_flat_weights")  # where recurrent layers look for them
        if flat is not None:
            copy.__dict__["_flat_weights"] = [fresh.get(id(one), one) for one in flat]


def _draw(module: nn.Module, seed: int) -> None:
    """Draw a module's weights anew: by its own `reset_parameters`, else from a normal distribution
    with the mean and the deviation that they had.

    Weights that are all the same stay. A batch norm forgets its statistics too.
    """
    weights = _own(module)
    devices = sorted({one.device.index for one in weights.values() if one.is_cuda})
    with torch.no_grad(), torch.random.fork_rng(devices=devices):
        # Not torch.manual_seed: it would seed devices that are none of ours.
        for generator in (
            torch.default_generator,
            *(torch.cuda.default_generators[d] for d in devices),
        ):
            generator.manual_seed(seed)
        before = {name: one.clone() for name, one in weights.items()}
        reset: Any = getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))
        if callable(reset):
            reset()
        for name, one in weights.items():
            if _varies(before[name]) and torch.equal(one, before[name]):
                one.copy_(one.mean() + one.std() * torch.randn_like(one))


def _varies(tensor: Tensor) -> bool:
    """Say whether a tensor holds different numbers."""
    return bool((tensor != tensor.flatten()[0]).any())
