"""A stand-in for the user's model, so that the model itself is never touched.

A shadow is the model with some of its modules copied: shallowly, sharing every parameter. Hooks,
evaluation mode and replaced forwards live on the copies and go away with them. There is nothing to
restore when something raises, and threads that use one model cannot disturb each other.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.lazy import LazyModuleMixin

from limelight.errors import ModelError
from limelight.runtime.redirect import redirect
from limelight.runtime.traits import SORTS_BOXES
from limelight.runtime.unwrap import scripted_error

_COMMON = frozenset(nn.Module().__dict__)  # attributes of every module; the others are the user's


def shadow(
    model: nn.Module, touched: Collection[int] | None = None
) -> tuple[nn.Module, dict[int, nn.Module]]:
    """Copy, shallowly, the modules that a pass must not share with the user.

    Those are the modules that are `touched` (their ids; None for all), those in training mode (the
    copies are in evaluation mode), those compiled in place, those that a forward may write on
    (buffers, attributes, hooks), and every module on the way to one of them. Call it outside
    inference mode.

    Returns:
        The model's stand-in, and the copies by the id of their originals.

    Raises:
        ModelError: A module to copy is scripted, or has uninitialised parameters.
    """
    modules, parents = _walk(model)
    waiting = [
        key
        for key, module in modules.items()
        if _may_change(module) or touched is None or key in touched
    ]
    copies: dict[int, nn.Module] = {}
    for key in waiting:  # it grows by those on the way
        if key not in copies:
            copies[key] = _copy(modules[key])
            waiting += parents.get(key, ())
    for copy in copies.values():
        _adopt(copy, copies)
        for name in copy.__dict__.keys() - _COMMON:
            copy.__dict__[name] = redirect(copy.__dict__[name], copies)
    return copies.get(id(model), model), copies


def twin(copy: nn.Module) -> nn.Module:
    """Return another copy of a module in a shadow, with the same children and its own hooks."""
    return _copy(copy)


def clear_hooks(copy: nn.Module) -> None:
    """Take all hooks off a module in a shadow."""
    for name in _COMMON:
        if isinstance(copy.__dict__.get(name), OrderedDict):
            copy.__dict__[name].clear()


def fill_zeros(copy: nn.Module) -> None:
    """Put noise in place of weights that are all zero, as fresh heads and gates are.

    They would stop the gradient for reasons that have nothing to do with how the network is built.
    """
    for name, weight in tuple(copy._parameters.items()):
        if weight is None or "bias" in name or not weight.is_floating_point() or weight.any():
            continue
        copy.__dict__["_parameters"] = dict(copy._parameters)  # it was the original's
        seeded = torch.Generator().manual_seed(0)
        noise = torch.randn(weight.shape, generator=seeded, dtype=torch.float32, device="cpu")
        noise /= max(1, weight[0].numel()) ** 0.5 if weight.ndim > 1 else 1
        copy._parameters[name] = nn.Parameter(noise.to(weight), requires_grad=False)


def _walk(model: nn.Module) -> tuple[dict[int, nn.Module], dict[int, list[int]]]:
    """Return all modules inside a model, and the ids of those that hold each, by its id.

    This runs for every module of every pass, so it is kept lean, as is `_may_change`.
    """
    modules, parents = {id(model): model}, dict[int, list[int]]()
    waiting = [model]
    for module in waiting:  # it grows meanwhile
        for child in module._modules.values():
            if child is None:
                continue
            key = id(child)
            if key in modules:
                parents[key].append(id(module))
            else:
                modules[key], parents[key] = child, [id(module)]
                if child._modules:
                    waiting.append(child)
    return modules, parents


def _adopt(copy: nn.Module, copies: dict[int, nn.Module]) -> None:
    """Give a copy the copies of its children."""
    children = copy._modules
    for name, child in children.items():
        if id(child) in copies:
            children[name] = copies[id(child)]
    compiled = children.get("_orig_mod")
    if compiled is not None:  # torch.compile's wrapper calls the original by a closure
        copy.__dict__["forward"] = compiled


#: Where modules come from that write nothing on themselves in evaluation mode, buffers aside.
_TRUSTED = ("torch.nn.", "torchvision.", "timm.")


def writes_nothing(model: nn.Module) -> bool:
    """Return whether all modules come from libraries that keep nothing of a pass."""
    return all(type(module).__module__.startswith(_TRUSTED) for module in model.modules())


class _Kind(NamedTuple):
    """What is known of a module by its type.

    Attributes:
        plain: Whether its forward writes on nothing in evaluation mode, not even on buffers: that
            of torch.nn's modules, and of batch norms that timm and torchvision derive from them.
        changes: Whether its forward may write on it, or is listened to.
    """

    plain: bool
    changes: bool


#: What is known of the libraries' types; those of the user are not held on to.
_kinds: dict[type, _Kind] = {}


def _kind(kind: type) -> _Kind:
    """Return what is known of a module by its type."""
    known = _kinds.get(kind)
    if known is None:
        trusted = kind.__module__.startswith(_TRUSTED)
        plain = kind.__module__.startswith("torch.nn.") or (trusted and issubclass(kind, _NormBase))
        # A detector is listened to where it sorts boxes (limelight.runtime.detectors).
        known = _Kind(plain, changes=not trusted or hasattr(kind, SORTS_BOXES))
        if trusted:
            _kinds[kind] = known
    return known


def _may_change(module: nn.Module) -> bool:
    """Return whether running a module could change it, or whether it must be changed to run."""
    state, kind = module.__dict__, type(module)
    plain, changes = _kinds.get(kind) or _kind(kind)
    if (
        changes
        or state["training"]
        # Hooks may write too: those of weight_norm and pruning do.
        or state["_forward_pre_hooks"]
        or state["_forward_hooks"]
        or state.get("_compiled_call_impl") is not None
        or (not plain and (state["_buffers"] or _checkpoints(state)))
    ):
        if isinstance(module, LazyModuleMixin) and module.has_uninitialized_params():
            raise ModelError(
                f"{kind.__name__} has parameters that are not initialised yet. Run the model "
                "once on an input first."
            )
        return True
    # Made under inference mode, a tensor cannot take part in a graph; its clone can.
    for tensors in (state["_parameters"], state["_buffers"]):
        for tensor in tensors.values():
            if tensor is not None and tensor.is_inference():
                return True
    return False


def _checkpoints(state: dict[str, Any]) -> bool:
    """Return whether a module runs again in the backward, where it would not see the cut."""
    return bool(state.get("grad_checkpointing") or state.get("gradient_checkpointing"))


#: Switched off on copies: checkpointing (timm's and transformers' names), and nested tensors, which
#: have no shape.
_FLAGS = (
    "grad_checkpointing",
    "gradient_checkpointing",
    "enable_nested_tensor",
    "use_nested_tensor",
)


def _copy(module: nn.Module) -> nn.Module:
    """Return a copy of a module with the same children; what its forward may write is its own."""
    if isinstance(module, torch.jit.ScriptModule):
        raise scripted_error(module)
    copy = object.__new__(type(module))
    state = copy.__dict__
    for name, value in module.__dict__.items():
        # The dicts of hooks are copied too: what is registered here must not reach the original.
        hooks = name in _COMMON and isinstance(value, OrderedDict)
        state[name] = value.copy() if hooks else value
    state["_modules"] = dict(module._modules)
    state["training"] = False
    state["_compiled_call_impl"] = None
    for flag in _FLAGS:
        if flag in state:
            state[flag] = False
    state["_buffers"] = {
        name: None if buffer is None else buffer.clone() for name, buffer in module._buffers.items()
    }
    # The same dict, not a copy of it: FSDP puts the weights into it while the model runs.
    if any(one is not None and one.is_inference() for one in module._parameters.values()):
        state["_parameters"] = {
            name: nn.Parameter(parameter.clone(), requires_grad=False)
            if parameter is not None and parameter.is_inference()
            else parameter
            for name, parameter in module._parameters.items()
        }
    return copy
