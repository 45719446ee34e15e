"""A stand-in for the user's model, so that the model itself is never touched.

A shadow is the model with some of its modules copied: shallowly, sharing every parameter. Hooks,
evaluation mode and replaced forwards live on the copies and go away with them. There is nothing to
restore when something raises, and threads that use one model cannot disturb each other.
"""

from __future__ import annotations

import functools
import math
import threading
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from copy import copy as shallow_copy
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.lazy import LazyModuleMixin

from limelight.errors import ModelError

_Made = TypeVar("_Made")

_COMMON = frozenset(nn.Module().__dict__)  # attributes of every module; the others are the user's


#: The method that sorts boxes, in every detector of torchvision.
SORTS_BOXES = "postprocess_detections"


def unwrap(model: nn.Module) -> nn.Module:
    """Return the network inside DataParallel, DistributedDataParallel or `torch.compile`.

    Raises:
        ModelError: It is not an eager `nn.Module`.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(f"The model is a {type(model).__name__}; a torch.nn.Module was expected.")
    if isinstance(model, torch.jit.ScriptModule):
        raise _scripted(model)
    if type(model).__name__ == "FullyShardedDataParallel":  # without importing it
        raise ModelError(
            "The model is wrapped in FullyShardedDataParallel, which keeps its weights flat and in "
            "shards. Explain what is inside, with the weights put together: with "
            "FullyShardedDataParallel.summon_full_params(model, writeback=False): "
            "limelight.explain(model.module, images)."
        )
    if isinstance(model, torch.fx.GraphModule) and not _runs_modules(model):
        raise ModelError(
            "The model is an exported program, whose modules no longer run one by one, so that it "
            "cannot be cut. Pass the eager model, or torch.export.unflatten(program)."
        )
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return unwrap(model.module)
    # Not by attribute: a wrapper that passes unknown names on would be taken for what it wraps.
    compiled = model._modules.get("_orig_mod")
    if compiled is not None:
        return unwrap(compiled)
    return model


def _runs_modules(graph: torch.fx.GraphModule) -> bool:
    """Say whether a traced graph still calls modules (but for the guards that export adds)."""
    return any(
        node.op == "call_module" and not str(node.target).startswith("_guards")
        for node in graph.graph.nodes
    )


def fingerprint(model: nn.Module) -> tuple[int, ...]:
    """Return the ids of all modules inside a model: it changes when the model is rebuilt."""
    found: dict[int, None] = {}
    waiting: list[nn.Module | None] = [model]
    for module in waiting:  # it grows meanwhile
        if module is not None and id(module) not in found:
            found[id(module)] = None
            if module._modules:
                waiting += module._modules.values()
    return tuple(found)


class PerModel(Generic[_Made]):
    """What is made once for each model, and again when the model is rebuilt; it goes with it."""

    def __init__(
        self,
        make: Callable[[nn.Module], _Made],
        *,
        worn: Callable[[_Made], bool] = lambda _made: False,
    ) -> None:
        """Prepare; what is `worn` is made again too."""
        self._make, self._worn, self._lock = make, worn, threading.Lock()
        self._known: weakref.WeakKeyDictionary[nn.Module, tuple[tuple[int, ...], _Made]]
        self._known = weakref.WeakKeyDictionary()

    def of(self, model: nn.Module) -> _Made:
        """Return that of a model."""
        modules = fingerprint(model)
        with self._lock:
            known = self._known.get(model)
            if known is None or known[0] != modules or self._worn(known[1]):
                known = self._known[model] = modules, self._make(model)
        return known[1]


_facts: PerModel[dict[object, Any]]
_facts = PerModel(lambda _model: {}, worn=lambda facts: len(facts) > 32)


def facts_about(model: nn.Module) -> dict[object, Any]:
    """Return what was found out about a model: a dict to be filled.

    It is empty again when the model is rebuilt, and when it has grown large.
    """
    return _facts.of(model)


class Traits(NamedTuple):
    """What is known of a network by the modules that it is built of.

    Attributes:
        quantised: Whether it computes with integers, through which no gradient flows.
        sorts_boxes: Whether it is a detector of torchvision.
        cuts_patches: Whether it cuts something into patches side by side.
    """

    quantised: bool
    sorts_boxes: bool
    cuts_patches: bool


def traits_of(model: nn.Module) -> Traits:
    """Return the traits of a network; to look at all its modules takes its time."""
    facts = facts_about(model)
    known: Traits | None = facts.get("traits")
    if known is None:
        modules = list(model.modules())
        known = facts["traits"] = Traits(
            quantised=any(".quantized" in type(one).__module__ for one in modules),
            sorts_boxes=any(hasattr(type(one), SORTS_BOXES) for one in modules),
            cuts_patches=any(patch_of(one) for one in modules),
        )
    return known


def patch_of(module: nn.Module) -> tuple[int, ...]:
    """Return the sizes of the patches that a convolution cuts side by side; () if it slides."""
    if not isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return ()
    kernel = tuple(module.kernel_size)
    slides = kernel != tuple(module.stride) or any(side != 0 for side in module.padding)
    return () if slides or math.prod(kernel) == 1 else kernel


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
    touched = set(fingerprint(model)) if touched is None else touched
    copies: dict[int, nn.Module] = {}
    root = _visit(model, touched, {}, copies)
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


def _visit(
    module: nn.Module,
    touched: Collection[int],
    seen: dict[int, nn.Module],
    copies: dict[int, nn.Module],
) -> nn.Module:
    """Return a module's stand-in. This runs for every module of every pass, so it is kept lean."""
    key, new = id(module), None
    seen[key] = module
    for name, child in module._modules.items():
        if child is None:
            continue
        other = seen.get(id(child))
        if other is None:
            other = _visit(child, touched, seen, copies)
        if other is not child:
            new = dict(module._modules) if new is None else new
            new[name] = other
    if _may_change(module) or new is not None or key in touched:
        seen[key] = copies[key] = _copy(module, dict(module._modules) if new is None else new)
    return seen[key]


#: Where modules come from that write nothing on themselves in evaluation mode, buffers aside.
_TRUSTED = ("torch.nn.", "torchvision.", "timm.")


def writes_nothing(model: nn.Module) -> bool:
    """Say whether all modules come from libraries that keep nothing of a pass."""
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
    known = _kinds.get(kind)
    if known is None:
        trusted = kind.__module__.startswith(_TRUSTED)
        plain = kind.__module__.startswith("torch.nn.") or (trusted and issubclass(kind, _NormBase))
        # A detector is listened to where it sorts boxes (limelight.cut.call).
        known = _Kind(plain, changes=not trusted or hasattr(kind, SORTS_BOXES))
        if trusted:
            _kinds[kind] = known
    return known


def _may_change(module: nn.Module) -> bool:
    """Say whether running this module could change it, or whether it must be changed to run."""
    state, buffers = module.__dict__, module._buffers
    kind: type = type(module)
    plain, changes = _kind(kind)
    changes = (
        changes
        or module.training
        or state.get("_compiled_call_impl") is not None
        # Hooks may write too: those of weight_norm and pruning do.
        or bool(state["_forward_pre_hooks"] or state["_forward_hooks"])
        or (
            not plain
            # A second run in the backward, which checkpointing makes, would not see the cut.
            and bool(
                buffers or state.get("grad_checkpointing") or state.get("gradient_checkpointing")
            )
        )
    )
    if not changes:
        # Made under inference mode, a tensor cannot take part in a graph; its clone can.
        for tensor in (*module._parameters.values(), *buffers.values()):
            if tensor is not None and tensor.is_inference():
                return True
        return False
    if isinstance(module, LazyModuleMixin) and module.has_uninitialized_params():
        raise ModelError(
            f"{kind.__name__} has parameters that are not initialised yet. Run the model "
            "once on an input first."
        )
    return True


#: Switched off on copies: checkpointing (timm's and transformers' names), and nested tensors, which
#: have no shape.
_FLAGS = (
    "grad_checkpointing",
    "gradient_checkpointing",
    "enable_nested_tensor",
    "use_nested_tensor",
)


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
    for flag in _FLAGS:
        if flag in state:
            state[flag] = False
    compiled = children.get("_orig_mod")
    if compiled is not None:  # torch.compile's wrapper calls the original by a closure
        state["forward"] = compiled
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


#: How deep, and in collections of up to which size, attributes are searched for modules.
_DEPTH, _SIZE = 4, 4096


def _redirect(  # noqa: PLR0911 (a line per kind of value)
    value: Any, copies: Mapping[int, nn.Module], depth: int = _DEPTH
) -> Any:
    """Point an attribute at the copies: a module, its bound method, or what holds one of them.

    Lists, tuples, dicts, partials, closures and plain objects are looked into; what holds no
    copied module is returned as it is.
    """
    if isinstance(value, nn.Module):
        return copies.get(id(value), value)
    if depth == 0 or value is None or isinstance(value, torch.Tensor | str | int | float | type):
        return value
    if isinstance(value, types.MethodType):
        owner = _redirect(value.__self__, copies, depth - 1)
        return value if owner is value.__self__ else types.MethodType(value.__func__, owner)
    if isinstance(value, types.FunctionType):
        return _redirect_function(value, copies, depth)
    if type(value) is functools.partial:
        parts = (value.func, value.args, value.keywords)
        new = [_redirect(part, copies, depth - 1) for part in parts]
        return functools.partial(new[0], *new[1], **new[2]) if _differ(new, parts) else value
    if type(value) in (list, tuple) and len(value) <= _SIZE:
        items = [_redirect(item, copies, depth - 1) for item in value]
        return type(value)(items) if _differ(items, value) else value
    if type(value) is dict and len(value) <= _SIZE:
        items = [_redirect(item, copies, depth - 1) for item in value.values()]
        return dict(zip(value, items, strict=True)) if _differ(items, value.values()) else value
    if type(value).__module__.partition(".")[0] in ("builtins", "torch", "collections"):
        return value
    attributes = getattr(value, "__dict__", None)
    if type(attributes) is dict:
        followed = _redirect(attributes, copies, depth - 1)
        if followed is not attributes:
            value = shallow_copy(value)
            value.__dict__.update(followed)
    return value


def _redirect_function(
    function: types.FunctionType, copies: Mapping[int, nn.Module], depth: int
) -> Any:
    """Rebuild a function whose closure holds a copied module; look through torch.compile's."""
    compiled = function.__dict__.get("_torchdynamo_orig_callable")
    if compiled is not None:
        followed = _redirect(compiled, copies, depth - 1)
        return function if followed is compiled else followed
    cells = function.__closure__ or ()
    try:
        held = [cell.cell_contents for cell in cells]
    except ValueError:  # a cell that is still empty
        return function
    items = [_redirect(item, copies, depth - 1) for item in held]
    if not _differ(items, held):
        return function
    closure = tuple(types.CellType(item) for item in items)
    rebuilt = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, closure
    )
    rebuilt.__kwdefaults__ = function.__kwdefaults__
    return rebuilt


def _differ(new: Iterable[object], old: Iterable[object]) -> bool:
    return any(a is not b for a, b in zip(new, old, strict=True))


def _scripted(module: nn.Module) -> ModelError:
    return ModelError(
        f"{type(module).__name__} is a ScriptModule, which cannot be cut: its inside no longer "
        "runs in Python. Pass the eager model that it was scripted or traced from."
    )
