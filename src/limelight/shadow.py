"""A stand-in for the user's model, so that the model itself is never touched.

A shadow is the model with some of its modules copied: shallowly, sharing every parameter. Hooks,
evaluation mode and replaced forwards live on the copies and go away with them. There is nothing to
restore when something raises, and threads that use one model cannot disturb each other.
"""

from __future__ import annotations

import types
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from limelight.errors import ModelError

_COMMON = frozenset(nn.Module().__dict__)  # attributes of every module; the others are the user's


def unwrap(model: nn.Module) -> nn.Module:
    """Return the network inside DataParallel, DistributedDataParallel or `torch.compile`.

    Raises:
        ModelError: It is not an eager `nn.Module`.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(f"The model is a {type(model).__name__}; a torch.nn.Module was expected.")
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return unwrap(model.module)
    compiled = getattr(model, "_orig_mod", None)
    if isinstance(compiled, nn.Module):
        return unwrap(compiled)
    if isinstance(model, torch.jit.ScriptModule):
        raise _scripted(model)
    return model


def fingerprint(model: nn.Module) -> tuple[int, ...]:
    """Return the ids of all modules inside a model: it changes when the model is rebuilt."""
    found: dict[int, None] = {}
    waiting = [model]
    while waiting:
        module = waiting.pop()
        if id(module) not in found:
            found[id(module)] = None
            waiting.extend(child for child in module._modules.values() if child is not None)
    return tuple(found)


def shadow(
    model: nn.Module, touched: Callable[[nn.Module], bool]
) -> tuple[nn.Module, dict[int, nn.Module]]:
    """Copy, shallowly, the modules that a pass must not share with the user.

    Those are the modules that are `touched`, those in training mode (the copies are in evaluation
    mode), those compiled in place, those that keep buffers a forward may overwrite, and every
    module on the way to one of them. Call it outside inference mode.

    Returns:
        The model's stand-in, and the copies by the id of their originals.

    Raises:
        ModelError: A module to copy is scripted, or has uninitialised parameters.
    """
    seen: dict[int, nn.Module] = {}
    copies: dict[int, nn.Module] = {}

    def visit(module: nn.Module) -> nn.Module:
        if id(module) in seen:
            return seen[id(module)]
        seen[id(module)] = module
        children = {name: child and visit(child) for name, child in module._modules.items()}
        on_the_way = any(children[name] is not child for name, child in module._modules.items())
        if on_the_way or _has_state(module) or touched(module):
            seen[id(module)] = copies[id(module)] = _copy(module, children)
        return seen[id(module)]

    root = visit(model)
    for copy in copies.values():
        for name in copy.__dict__.keys() - _COMMON:
            copy.__dict__[name] = _redirect(copy.__dict__[name], copies)
    return root, copies


def _has_state(module: nn.Module) -> bool:
    """Say whether running this module could change it, or needs it changed."""
    if module.training or module.__dict__.get("_compiled_call_impl") is not None:
        return True
    # torch's own modules write no buffers in evaluation mode; others may.
    if module._buffers and not type(module).__module__.startswith("torch.nn."):
        return True
    for parameter in module._parameters.values():
        if parameter is None:
            continue
        if nn.parameter.is_lazy(parameter):
            raise ModelError(
                f"{type(module).__name__} has parameters that are not initialised yet. Run the "
                "model once on an input first."
            )
        if parameter.is_inference():
            return True
    return False


def _copy(module: nn.Module, children: dict[str, nn.Module | None]) -> nn.Module:
    if isinstance(module, torch.jit.ScriptModule):
        raise _scripted(module)
    copy = object.__new__(type(module))
    state = copy.__dict__
    for name, value in module.__dict__.items():
        # The dicts of hooks are copied too: what is registered here must not reach the original.
        hooks = name in _COMMON and isinstance(value, OrderedDict)
        state[name] = value.copy() if hooks else value
    state["_modules"] = children
    state["training"] = False
    state["_compiled_call_impl"] = None
    state["_buffers"] = {
        name: None if buffer is None else buffer.clone() for name, buffer in module._buffers.items()
    }
    # Made under inference mode, a parameter cannot take part in a graph; its clone can.
    state["_parameters"] = {
        name: nn.Parameter(parameter.clone(), requires_grad=False)
        if parameter is not None and parameter.is_inference()
        else parameter
        for name, parameter in module._parameters.items()
    }
    return copy


def _redirect(value: Any, copies: Mapping[int, nn.Module]) -> Any:
    """Point an attribute at the copies: a module, its bound method, or a collection of them."""
    if isinstance(value, nn.Module):
        return copies.get(id(value), value)
    if isinstance(value, types.MethodType) and id(value.__self__) in copies:
        return types.MethodType(value.__func__, copies[id(value.__self__)])
    if type(value) in (list, tuple):
        items = [_redirect(item, copies) for item in value]
        same = all(new is old for new, old in zip(items, value, strict=True))
        return value if same else type(value)(items)
    if type(value) is dict:
        pairs = {key: _redirect(item, copies) for key, item in value.items()}
        return value if all(pairs[key] is item for key, item in value.items()) else pairs
    return value


def _scripted(module: nn.Module) -> ModelError:
    return ModelError(
        f"{type(module).__name__} is a ScriptModule, which cannot be cut: its inside no longer "
        "runs in Python. Pass the eager model that it was scripted or traced from."
    )
