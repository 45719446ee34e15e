"""Attributes that hold modules outside the module tree, pointed at the copies in a shadow."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable, Mapping
from copy import copy as shallow_copy
from typing import Any

import torch
from torch import nn

#: Attributes are searched for modules to this depth, in collections of up to this size.
_DEPTH, _SIZE = 4, 4096


def redirect(  # noqa: PLR0911 (a line per kind of value)
    value: Any, copies: Mapping[int, nn.Module], depth: int = _DEPTH
) -> Any:
    """Point a value at the copies: a module, its bound method, or something that holds one.

    A tensor made in inference mode, which cannot be saved for a backward, becomes its clone.
    Lists, tuples, dicts, partials, closures and plain objects are searched; a value that holds no
    copied module and no such tensor is returned unchanged.
    """
    if isinstance(value, nn.Module):
        return copies.get(id(value), value)
    if isinstance(value, torch.Tensor):
        return value.clone() if value.is_inference() else value
    if depth == 0 or value is None or isinstance(value, str | int | float | type):
        return value
    if isinstance(value, types.MethodType):
        owner = redirect(value.__self__, copies, depth - 1)
        return value if owner is value.__self__ else types.MethodType(value.__func__, owner)
    if isinstance(value, types.FunctionType):
        return _redirect_function(value, copies, depth)
    if type(value) is functools.partial:
        parts = (value.func, value.args, value.keywords)
        new = [redirect(part, copies, depth - 1) for part in parts]
        return functools.partial(new[0], *new[1], **new[2]) if _differ(new, parts) else value
    if type(value) in (list, tuple) and len(value) <= _SIZE:
        items = [redirect(item, copies, depth - 1) for item in value]
        return type(value)(items) if _differ(items, value) else value
    if type(value) is dict and len(value) <= _SIZE:
        items = [redirect(item, copies, depth - 1) for item in value.values()]
        return dict(zip(value, items, strict=True)) if _differ(items, value.values()) else value
    if type(value).__module__.partition(".")[0] in ("builtins", "torch", "collections"):
        return value
    attributes = getattr(value, "__dict__", None)
    if type(attributes) is dict:
        followed = redirect(attributes, copies, depth - 1)
        if followed is not attributes:
            value = shallow_copy(value)
            value.__dict__.update(followed)
    return value


def _redirect_function(
    function: types.FunctionType, copies: Mapping[int, nn.Module], depth: int
) -> Any:
    """Rebuild a function whose closure holds a copied module, also one behind torch.compile."""
    compiled = function.__dict__.get("_torchdynamo_orig_callable")
    if compiled is not None:
        followed = redirect(compiled, copies, depth - 1)
        return function if followed is compiled else followed
    cells = function.__closure__ or ()
    try:
        contents = [cell.cell_contents for cell in cells]
    except ValueError:  # a cell that is still empty
        return function
    items = [redirect(item, copies, depth - 1) for item in contents]
    if not _differ(items, contents):
        return function
    closure = tuple(types.CellType(item) for item in items)
    rebuilt = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, closure
    )
    rebuilt.__kwdefaults__ = function.__kwdefaults__
    return rebuilt


def _differ(new: Iterable[object], old: Iterable[object]) -> bool:
    return any(a is not b for a, b in zip(new, old, strict=True))
