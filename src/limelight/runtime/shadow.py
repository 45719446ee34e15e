"""A shadow: a stand-in for the user's model, so that the model itself is never touched.

A shadow is the model with some of its modules copied: shallowly, sharing every parameter. Hooks,
evaluation mode and replaced forwards live on the copies and disappear with them. When something
raises, nothing has to be restored, and threads that use one model cannot disturb each other.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.lazy import LazyModuleMixin

from limelight.errors import ModelError
from limelight.runtime.redirect import redirect
from limelight.runtime.scripted import ScriptedPart, inside_scripted_error, is_scripted
from limelight.runtime.traits import SORTS_BOXES

_COMMON = frozenset(nn.Module().__dict__)  # what every module has; other attributes are the user's


def shadow(
    model: nn.Module, touched: Collection[int] | None = None
) -> tuple[nn.Module, dict[int, nn.Module]]:
    """Copy, shallowly, the modules that a pass must not share with the user.

    These are: the modules in `touched` (their ids; None for all), those in training mode (the
    copies are in evaluation mode), those compiled in place, those whose forward may write on them
    (buffers, attributes, hooks), and every module that contains one of these. A scripted part is
    one module, without an inside. Call this outside inference mode.

    Returns:
        The model's shadow, and the copies by the id of their originals.

    Raises:
        ModelError: A module in `touched` is inside a scripted part, or a module to copy has
            uninitialised parameters.
    """
    modules, parents = _walk(model)
    for key in touched or ():
        if key not in modules:
            raise inside_scripted_error(model, key)
    waiting = [
        key
        for key, module in modules.items()
        if _may_change(module) or touched is None or key in touched
    ]
    copies: dict[int, nn.Module] = {}
    for key in waiting:  # the list grows by the modules that contain them
        if key not in copies:
            copies[key] = copy_module(modules[key])
            waiting += parents.get(key, ())
    for copy in copies.values():
        _adopt(copy, copies)
        for name in copy.__dict__.keys() - _COMMON:
            copy.__dict__[name] = redirect(copy.__dict__[name], copies)
    return copies.get(id(model), model), copies


def keep_observers(copy: nn.Module) -> None:
    """Let the forward hooks of a module in a shadow see its output, and change nothing.

    Hooks of transformers keep hidden states for what comes later. All other hooks are removed.
    """
    observers = {key: _observer(hook) for key, hook in copy._forward_hooks.items()}
    for name in _COMMON:
        if isinstance(copy.__dict__.get(name), OrderedDict) and name not in _ABOUT_FORWARD_HOOKS:
            copy.__dict__[name].clear()
    copy._forward_hooks.update(observers)


#: What says how the forward hooks of a module are called.
_ABOUT_FORWARD_HOOKS = ("_forward_hooks_with_kwargs", "_forward_hooks_always_called")


def _observer(hook: Callable[..., Any]) -> Callable[..., None]:
    """Return a hook that calls another and drops what it returns."""

    def observe(*arguments: Any) -> None:
        hook(*arguments)

    return observe


def fill_zeros(copy: nn.Module) -> None:
    """Replace weights that are all zero, as in newly made heads and gates, by noise.

    Such weights would stop the gradient for reasons that have nothing to do with how the network is
    built.
    """
    for name, weight in tuple(copy._parameters.items()):
        if weight is None or "bias" in name or not weight.is_floating_point() or weight.is_meta:
            continue
        if (weight.ndim and weight[0].any()) or weight.any():  # the first row mostly tells
            continue
        copy.__dict__["_parameters"] = dict(copy._parameters)  # the dict was the original's
        seeded = torch.Generator().manual_seed(0)
        noise = torch.randn(weight.shape, generator=seeded, dtype=torch.float32, device="cpu")
        noise /= max(1, weight[0].numel()) ** 0.5 if weight.ndim > 1 else 1
        copy._parameters[name] = nn.Parameter(noise.to(weight), requires_grad=False)


def _walk(model: nn.Module) -> tuple[dict[int, nn.Module], dict[int, list[int]]]:
    """Return all modules inside a model by id, and for each id the ids of its parents.

    This and `_may_change` run for every module in every pass, so they are kept fast.
    """
    modules, parents = {id(model): model}, {id(model): list[int]()}
    waiting = [model]
    for module in waiting:  # the list grows meanwhile
        for child in module._modules.values():
            if child is None:
                continue
            key = id(child)
            if key in modules:
                parents[key].append(id(module))
            else:
                modules[key], parents[key] = child, [id(module)]
                if child._modules and not is_scripted(child):
                    waiting.append(child)
    return modules, parents


def _adopt(copy: nn.Module, copies: dict[int, nn.Module]) -> None:
    """Give a copy the copies of its children."""
    children = copy._modules
    for name, child in children.items():
        if id(child) in copies:
            children[name] = copies[id(child)]
    compiled = children.get("_orig_mod")
    if compiled is not None:  # torch.compile's wrapper calls the original in a closure
        copy.__dict__["forward"] = compiled


#: Libraries whose modules write nothing on themselves in evaluation mode, except for buffers.
_TRUSTED = ("torch.nn.", "torchvision.", "timm.", "limelight.models.")


def keeps_nothing(model: nn.Module) -> bool:
    """Return whether all modules come from libraries that store nothing during a pass."""
    return all(type(module).__module__.startswith(_TRUSTED) for module in model.modules())


class _TypeTraits(NamedTuple):
    """What the type of a module tells about it.

    Attributes:
        plain: Whether its forward writes on nothing in evaluation mode, not even on buffers: true
            for torch.nn's modules, and for batch norms that timm and torchvision derive from them.
        changes: Whether its forward may write on it, or limelight replaces one of its methods.
    """

    plain: bool
    changes: bool


#: The traits of the libraries' types; the user's types are not kept, so that they can be freed.
_traits_by_type: dict[type, _TypeTraits] = {}


def _traits_of_type(module_type: type) -> _TypeTraits:
    """Return what the type of a module tells about it."""
    traits = _traits_by_type.get(module_type)
    if traits is None:
        trusted = module_type.__module__.startswith(_TRUSTED)
        plain = module_type.__module__.startswith("torch.nn.") or (
            trusted and issubclass(module_type, _NormBase)
        )
        # A detector's method that sorts boxes is replaced (limelight.runtime.detectors).
        traits = _TypeTraits(plain, changes=not trusted or hasattr(module_type, SORTS_BOXES))
        if trusted:
            _traits_by_type[module_type] = traits
    return traits


def _may_change(module: nn.Module) -> bool:
    """Return whether running a module could change it, or whether it has to be changed to run."""
    state, module_type = module.__dict__, type(module)
    plain, changes = _traits_by_type.get(module_type) or _traits_of_type(module_type)
    if (
        changes
        or state.get("training", True)  # it may be a property of the module's type
        # Hooks may write on it too: those of weight_norm and pruning do.
        or state["_forward_pre_hooks"]
        or state["_forward_hooks"]
        or state.get("_compiled_call_impl") is not None
        or (not plain and (state["_buffers"] or _checkpoints(state)))
    ):
        if isinstance(module, LazyModuleMixin) and module.has_uninitialized_params():
            raise ModelError(
                f"{module_type.__name__} has parameters that are not initialised yet. Run the "
                "model once on an input first."
            )
        return True
    # A tensor made in inference mode cannot take part in a graph; its clone can.
    for tensors in (
        (state["_parameters"], state["_buffers"])
        if plain
        else (state["_parameters"], state["_buffers"], state)
    ):
        for tensor in tensors.values():
            if isinstance(tensor, torch.Tensor) and tensor.is_inference():
                return True
    return False


def _checkpoints(state: dict[str, Any]) -> bool:
    """Return whether a module runs again in the backward pass, where it would not see the cut."""
    return bool(state.get("grad_checkpointing") or state.get("gradient_checkpointing"))


#: Switched off on copies: checkpointing (timm's and transformers' names), and nested tensors, which
#: have no shape.
_FLAGS = (
    "grad_checkpointing",
    "gradient_checkpointing",
    "enable_nested_tensor",
    "use_nested_tensor",
)


def copy_module(module: nn.Module) -> nn.Module:
    """Return a shallow copy of a module, with the same children and parameters.

    The copy has its own buffers and its own dicts of hooks, and is in evaluation mode.
    """
    if is_scripted(module):
        return ScriptedPart(module)
    copy = object.__new__(type(module))
    state = copy.__dict__
    for name, value in module.__dict__.items():
        # Dicts of hooks are copied too: a hook on the copy must not reach the original.
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
    if any(p is not None and p.is_inference() for p in module._parameters.values()):
        state["_parameters"] = {
            name: nn.Parameter(parameter.clone(), requires_grad=False)
            if parameter is not None and parameter.is_inference()
            else parameter
            for name, parameter in module._parameters.items()
        }
    return copy
