"""What a run might have changed: a model's state, its hooks, and the tensors that are alive."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def described(value: object, alive: list[object]) -> object:
    """Describe an attribute of a module so that two descriptions are equal if nothing changed."""
    alive.append(value)  # so that no id is used twice
    if isinstance(value, Tensor):
        version = None if value.is_inference() else value._version
        grad = described(value.grad, alive) if value.is_leaf else None
        return id(value), version, value.requires_grad, value.detach().flatten().tolist(), grad
    if isinstance(value, dict):
        return id(value), [(key, described(item, alive)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return id(value), [described(item, alive) for item in value]
    return value if isinstance(value, bool | int | float | str | None) else id(value)


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    alive: list[object] = []

    def state() -> dict[str, object]:
        found: dict[str, object] = {
            "grad mode": torch.is_grad_enabled(),
            "inference mode": torch.is_inference_mode_enabled(),
            "random numbers": torch.get_rng_state().tolist(),
        }
        for path, module in model.named_modules():
            found[f"{path} itself"] = id(module), type(module)
            found[f"{path} has"] = sorted(module.__dict__)
            for key, value in module.__dict__.items():
                found[f"{path}.{key}"] = described(value, alive)
        return found

    before = state()
    try:
        yield
    finally:
        after = state()
        assert [key for key in before if before[key] != after.get(key)] == []


def live(collect: bool = True) -> int:
    if collect:
        gc.collect()
    return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())


def hooks(model: nn.Module) -> int:
    """Count the hooks on a model and on its parameters."""
    of_modules = sum(
        len(value)
        for module in model.modules()
        for name, value in vars(module).items()
        if "hooks" in name and value is not None
    )
    return of_modules + sum(len(p._backward_hooks or ()) for p in model.parameters())


def state(model: nn.Module) -> list[object]:
    """Return everything about a model that a run might have changed."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [
        (
            path,
            module.training,
            sorted(vars(module)),
            [len(getattr(module, name)) for name in hooks],
            [(name, id(p), p._version, p.grad, p.requires_grad) for name, p in own(module)],
        )
        for path, module in model.named_modules()
    ]


def own(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(recurse=False)
    yield from module.named_buffers(recurse=False)


class Raised(Exception):
    """What a test raises in the middle of a run."""
