"""A network with its weights drawn anew, layer by layer from the logits down, or shuffled."""

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
    model: nn.Module, inputs: ModelInputs, steps: int, seed: int
) -> Iterator[tuple[str, float, nn.Module]]:
    """Yield a shadow of the model in which more and more layers have weights drawn anew.

    Cascading randomisation (Adebayo et al. 2018, section 3.1): first the layer that makes the
    logits, at the end all layers, in the reverse of the order in which they begin to run. The model
    itself keeps its weights. Every step yields the same shadow, which the next step changes.

    Args:
        model: The network.
        inputs: The arguments of a pass, which shows the order of the layers.
        steps: How many steps to take, evenly spaced from one layer to all.
        seed: The seed of the draws; the process's own random generator is left as it is.

    Yields:
        The layer randomised last, the share of layers that are random, and the shadow.

    Raises:
        ModelError: The network has no parameters.
    """
    model = unwrap(model)
    order = [module for module in _order(model, inputs) if _weights_of(module)][::-1]
    if not order:
        raise ModelError(
            f"The model, a {type(model).__name__}, has no parameters, so that none can be drawn "
            "anew. Measure it by another metric."
        )
    names = {module: name or "the model" for name, module in model.named_modules()}
    with no_grad():
        root, copies = shadow(model)
        _unshare_weights(copies)
    done = 0
    even = torch.linspace(1, len(order), steps, dtype=torch.float32, device="cpu")
    counts = even.round().int().tolist()
    for count in dict.fromkeys([*counts[:-1], len(order)]):
        for number in range(done, count):
            _redraw_weights(copies[id(order[number])], crc32(f"{seed}, {number}".encode()))
        done = count
        yield names[order[count - 1]], count / len(order), root


def shuffled(model: nn.Module, seed: int) -> nn.Module:
    """Return a shadow of the model in which the numbers of each weight are permuted.

    The permuted network has the same weights, each in another place. So if nothing was learned, the
    network itself is one of many that are equally likely. Buffers are permuted where they are
    learned: the statistics of batch norms, frozen ones too. Others, such as fixed positions, stay.

    Args:
        model: The network, which keeps its weights.
        seed: The seed of the permutations.
    """
    with no_grad():
        root, copies = shadow(unwrap(model))
        _unshare_weights(copies)
        done = set[int]()
        for number, copy in enumerate(copies.values()):
            learned = _weights_of(copy) | _statistics_of(copy)
            for name, values in learned.items():
                if id(values) in done:
                    continue
                done.add(id(values))
                generator = torch.Generator().manual_seed(
                    crc32(f"{seed}, {number}, {name}".encode())
                )
                order = torch.randperm(values.numel(), generator=generator, device="cpu")
                values.copy_(values.flatten()[order.to(values.device)].reshape(values.shape))
    return root


def _order(model: nn.Module, inputs: ModelInputs) -> list[nn.Module]:
    """Return all modules in the order in which they begin to run.

    A module that is never called takes the place of its parent, which then reads its weights
    itself.
    """
    started: dict[int, None] = {}

    def enter(key: int, _arguments: object) -> None:
        started.setdefault(key)

    with no_grad():
        root, copies = shadow(model)
        observe(model, root, copies, inputs, enter, lambda *_call: _call[2])
    starts = {key: number for number, key in enumerate(started)}
    modules = list[tuple[int, nn.Module]]()

    def visit(module: nn.Module, at: int) -> None:
        at = starts.get(id(module), at)
        modules.append((at, module))
        for child in module.children():
            visit(child, at)

    visit(model, 0)
    modules.sort(key=lambda pair: pair[0])  # stable: children stay behind their parents
    return list(dict.fromkeys(module for _, module in modules))


def _weights_of(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return a module's weights by name, without those of its children."""
    named = module._parameters.items()
    return {
        name: weight for name, weight in named if weight is not None and weight.is_floating_point()
    }


def _statistics_of(module: nn.Module) -> dict[str, Tensor]:
    """Return what a batch norm has learned into buffers; a frozen one also keeps its weight there.

    Other modules have none.
    """
    buffers = {
        name: values
        for name, values in module._buffers.items()
        if values is not None and values.is_floating_point()
    }
    return buffers if {"running_mean", "running_var"} <= buffers.keys() else {}


def _unshare_weights(copies: dict[int, nn.Module]) -> None:
    """Give the copies in a shadow weights of their own; tied weights stay tied."""
    clones: dict[int, nn.Parameter] = {}
    for copy in copies.values():
        old = copy._parameters
        for weight in old.values():
            if weight is not None and id(weight) not in clones:
                clones[id(weight)] = nn.Parameter(
                    weight.detach().clone(), requires_grad=weight.requires_grad
                )
        new = {name: None if weight is None else clones[id(weight)] for name, weight in old.items()}
        copy.__dict__["_parameters"] = new
        for name, value in copy.__dict__.items():
            if isinstance(value, Tensor):  # computed by old-style weight norm and by pruning
                copy.__dict__[name] = value.detach().clone()
        flat = copy.__dict__.get("_flat_weights")  # where recurrent layers keep them
        if flat is not None:
            copy.__dict__["_flat_weights"] = [clones.get(id(weight), weight) for weight in flat]


def _redraw_weights(module: nn.Module, seed: int) -> None:
    """Draw a module's weights anew.

    Its `reset_parameters` draws them if it has one; weights that this leaves as they were are drawn
    from a normal distribution with their own mean and standard deviation. A weight whose values are
    all the same stays. A batch norm also resets its running statistics.
    """
    weights = _weights_of(module)
    devices = sorted({weight.device.index for weight in weights.values() if weight.is_cuda})
    with torch.no_grad(), torch.random.fork_rng(devices=devices):
        # Not torch.manual_seed, which would seed every device.
        for generator in (
            torch.default_generator,
            *(torch.cuda.default_generators[d] for d in devices),
        ):
            generator.manual_seed(seed)
        before = {name: weight.clone() for name, weight in weights.items()}
        reset: Any = getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))
        if callable(reset):
            reset()
        for name, weight in weights.items():
            if _has_different_values(before[name]) and torch.equal(weight, before[name]):
                weight.copy_(weight.mean() + weight.std() * torch.randn_like(weight))


def _has_different_values(tensor: Tensor) -> bool:
    """Return whether the values in a tensor are not all the same."""
    return bool((tensor != tensor.flatten()[0]).any())
