"""A stand-in for the user's model, so that the model itself is never touched.

A shadow is the model with some of its modules copied: shallowly, sharing every parameter. Hooks,
evaluation mode and replaced forwards live on the copies and go away with them. There is nothing to
restore when something raises, and threads that use one model cannot disturb each other.
"""

from __future__ import annotations

import functools
import types
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

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
    mode), those compiled in place, those that a forward may write on (buffers, attributes, hooks),
    and every module on the way to one of them. Call it outside inference mode.

    Returns:
        The model's stand-in, and the copies by the id of their originals.

    Raises:
        ModelError: A module to copy is scripted, or has uninitialised parameters.
    """
    seen: dict[int, nn.Module] = {}
    copies: dict[int, nn.Module] = {}
    root = _visit(model, touched, seen, copies)
    for copy in copies.values():
        for name in copy.__dict__.keys() - _COMMON:
            copy.__dict__[name] = _redirect(copy.__dict__[name], copies)
    return root, copies


def twin(copy: nn.Module) -> nn.Module:
    """Return another copy of a module in a shadow, with the same children and its own hooks."""
    return _copy(copy, dict(copy._modules))


def clear_hooks(copy: nn.Module) -> None:
    """Take all hooks off a module in a shadow."""
    for name in _COMMON:
        if isinstance(copy.__dict__.get(name), OrderedDict):
            copy.__dict__[name].clear()


def _visit(
    module: nn.Module,
    touched: Callable[[nn.Module], bool],
    seen: dict[int, nn.Module],
    copies: dict[int, nn.Module],
) -> nn.Module:
    """Return a module's stand-in. This runs for every module of every pass, so it is kept lean."""
    if id(module) in seen:
        return seen[id(module)]
    seen[id(module)] = module
    children: dict[str, nn.Module | None] | None = None
    for name, child in module._modules.items():
        if child is None:
            continue
        new = _visit(child, touched, seen, copies)
        if new is not child:
            children = dict(module._modules.items()) if children is None else children
            children[name] = new
    if _may_change(module) or children is not None or touched(module):
        children = dict(module._modules.items()) if children is None else children
        seen[id(module)] = copies[id(module)] = _copy(module, children)
    return seen[id(module)]


#: Where modules come from that write nothing on themselves in evaluation mode, buffers aside.
_TRUSTED = ("torch.nn.", "torchvision.", "timm.")


def _may_change(module: nn.Module) -> bool:
    """Say whether running this module could change it, or whether it must be changed to run."""
    state, kind = module.__dict__, type(module)
    if module.training or state.get("_compiled_call_impl") is not None:
        changes = True
    elif state["_forward_pre_hooks"] or state["_forward_hooks"]:
        changes = True  # hooks may write too: those of weight_norm and pruning do
    else:
        origin, buffers = kind.__module__, state["_buffers"]
        changes = not origin.startswith(_TRUSTED) or (
            bool(buffers) and not origin.startswith("torch.nn.")
        )
        # Made under inference mode, a tensor cannot take part in a graph; its clone can.
        for tensor in state["_parameters"].values():
            changes = changes or (tensor is not None and tensor.is_inference())
        for tensor in buffers.values():
            changes = changes or (tensor is not None and tensor.is_inference())
    if changes and isinstance(module, LazyModuleMixin) and module.has_uninitialized_params():
        raise ModelError(
            f"{kind.__name__} has parameters that are not initialised yet. Run the model once on "
            "an input first."
        )
    return changes


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
    compiled = children.get("_orig_mod")
    if compiled is not None:  # torch.compile's wrapper calls the original by a closure
        state["forward"] = compiled
    state["_buffers"] = {
        name: None if buffer is None else buffer.clone() for name, buffer in module._buffers.items()
    }
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
    if type(value) is functools.partial:
        parts = (value.func, value.args, value.keywords)
        func, args, keywords = (_redirect(part, copies) for part in parts)
        same = (func, args, keywords) == parts
        return value if same else functools.partial(func, *args, **keywords)
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
