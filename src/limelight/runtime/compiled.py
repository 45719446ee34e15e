"""`torch.compile` for the body: for the parts of a network that hold no layer to cut at.

A compiled function belongs to the modules that it was made from, and every pass makes a new shadow.
Each model therefore has one more shadow, which is kept: its parts are compiled when they first run,
and every later pass uses them. They run only where no graph is recorded, which is the body.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from limelight.errors import OptionError
from limelight.runtime.model_cache import ModelCache
from limelight.runtime.scripted import is_scripted
from limelight.runtime.shadow import shadow

Forward = Callable[..., Any]


def parts_of(model: nn.Module, layers: Collection[int]) -> list[nn.Module]:
    """Return the largest modules that contain none of the layers, which are given by their ids.

    A part may be a layer itself. Modules without children are left out, and so are modules with
    hooks or scripted parts inside: hooks may do anything, and a scripted part is compiled already.
    """
    parts = list[nn.Module]()
    for child in model.children():
        if any(id(inner) in layers for inner in child.modules() if inner is not child):
            parts += parts_of(child, layers)
        elif child._modules and not any(map(_stays_eager, child.modules())):
            parts.append(child)
    return parts


def _stays_eager(module: nn.Module) -> bool:
    return bool(is_scripted(module) or module._forward_hooks or module._forward_pre_hooks)


@contextmanager
def compiled(
    model: nn.Module, copies: Mapping[int, nn.Module], parts: Collection[nn.Module]
) -> Iterator[None]:
    """Let the copies of these parts in a shadow run compiled functions while grad is off."""
    if not parts:
        yield
        return
    with torch.inference_mode(False), torch.no_grad():
        kept = _kept_shadows.of(model)
        for part in parts:
            kept.refresh(part)
    for part in parts:
        copy = copies[id(part)]
        copy.__dict__["forward"] = _either(copy.forward, kept.function(part))
    try:
        yield
    finally:
        for part in parts:  # a copy must not refer to itself
            copies[id(part)].__dict__.pop("forward", None)


def _either(eager: Forward, fast: Forward) -> Forward:
    def forward(*args: Any, **kwargs: Any) -> Any:
        return (eager if torch.is_grad_enabled() else fast)(*args, **kwargs)

    return forward


class _KeptShadow:
    """A shadow that is kept from pass to pass, and the compiled functions of its parts."""

    def __init__(self, model: nn.Module) -> None:
        _, self._copies = shadow(model)
        self._functions = dict[int, Forward]()

    def refresh(self, part: nn.Module) -> None:
        """Copy the buffers from the model, as training changes them; parameters are shared."""
        for module in part.modules():
            copy = self._copies[id(module)]
            for name, buffer in module._buffers.items():
                kept_buffer = copy._buffers.get(name)
                if kept_buffer is None or buffer is None or kept_buffer.shape != buffer.shape:
                    copy._buffers[name] = None if buffer is None else buffer.clone()
                else:
                    kept_buffer.copy_(buffer)

    def function(self, part: nn.Module) -> Forward:
        """Return a part's compiled forward."""
        key, name = id(part), type(part).__name__
        if key not in self._functions:
            copy = self._copies[key]
            fast = torch.compile(copy)

            def run_compiled(*args: Any, **kwargs: Any) -> Any:
                try:
                    return fast(*args, **kwargs)
                except torch._dynamo.exc.TorchDynamoException as error:
                    raise OptionError(
                        f"torch.compile cannot compile the part {name} of the network: {error} "
                        "Leave compile out, or install what it needs (on a CPU, a C++ compiler)."
                    ) from error

            self._functions[key] = run_compiled
        return self._functions[key]


#: The kept shadow of each model.
_kept_shadows = ModelCache(_KeptShadow)
