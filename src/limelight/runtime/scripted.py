"""Scripted and traced parts of an eager network: each runs as one module, and has no inside."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from limelight.errors import ModelError


def is_scripted(module: nn.Module) -> bool:
    """Return whether a module is scripted or traced, so that its inside runs without Python."""
    return isinstance(module, torch.jit.ScriptModule)


class ScriptedPart(nn.Module):
    """The stand-in for a scripted module in a shadow: a scripted module takes no hooks itself.

    It runs a copy in evaluation mode, with the same parameters and buffers of its own.
    """

    def __init__(self, module: Any) -> None:
        """Copy the scripted module."""
        super().__init__()
        self.training = False
        wrap: Any = torch.jit._recursive.wrap_cpp_module
        # Not as a child: its inside is not to be walked.
        self.__dict__["_scripted"] = wrap(_copy_inside(module._c))

    def __getattr__(self, name: str) -> Any:
        """Return what the scripted module has under this name: weights, and methods of its own."""
        return getattr(self.__dict__["_scripted"], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the scripted module."""
        return self.__dict__["_scripted"](*args, **kwargs)


def _copy_inside(inside: Any) -> Any:
    """Return a copy of what a scripted module wraps, and of all modules inside it."""
    copied = copy.copy(inside)  # parameters are shared
    for name, child in torch._C.ModuleDict(inside).items():
        copied.setattr(name, _copy_inside(child))
    buffers: Any = torch._C.BufferDict(inside)
    for name, buffer in buffers.items():
        copied.setattr(name, buffer.clone())
    if copied.hasattr("training"):
        copied.setattr("training", False)
    return copied


def inside_scripted_error(model: nn.Module, key: int) -> ModelError:
    """Return the error for a layer inside a scripted part of a model; `key` is the layer's id."""
    parts = {path: id(module) for path, module in model.named_modules() if is_scripted(module)}
    path = next(path for path, other in parts.items() if other == key)
    part = next(outer for outer in parts if path.startswith(f"{outer}."))
    return ModelError(
        f"The layer {path!r} is inside {part!r}, and {part!r} is a ScriptModule, which cannot be "
        "cut: its inside no longer runs in Python. Pass the eager model that it was scripted or "
        f"traced from, or name a layer outside, or {part!r} itself."
    )
