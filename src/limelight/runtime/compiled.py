"""The body compiled: the parts of a network that hold no layer to cut at, each by `torch.compile`.

A compiled function belongs to the modules that it was made from, and a shadow is new for every
pass. So there is one more shadow for each model, which stays: its parts are compiled when they are
first run, and serve every later pass. They run where no graph is recorded, which is the body.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from limelight.errors import OptionError
from limelight.runtime.model_cache import ModelCache
from limelight.runtime.shadow import shadow

Forward = Callable[..., Any]


def parts_of(model: nn.Module, layers: Collection[int]) -> list[nn.Module]:
    """Return the largest modules that hold none of the layers (by id), though they may be one.

    Those of a single operation are left out, as are those with hooks inside, which may do anything.
    """
    found = list[nn.Module]()
    for child in model.children():
        if any(id(inner) in layers for inner in child.modules() if inner is not child):
            found += parts_of(child, layers)
        elif child._modules and not any(map(_has_hooks, child.modules())):
            found.append(child)
    return found


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


@contextmanager
def compiled(
    model: nn.Module, copies: Mapping[int, nn.Module], parts: Collection[nn.Module]
) -> Iterator[None]:
    """Let copies in a shadow of these parts run compiled wherever grad is off."""
    if not parts:  # nor is anything prepared
        yield
        return
    with torch.inference_mode(False), torch.no_grad():
        stays = _known.of(model)
        for part in parts:
            stays.refresh(part)
    for part in parts:
        copy = copies[id(part)]
        copy.__dict__["forward"] = _either(copy.forward, stays.function(part))
    try:
        yield
    finally:
        for part in parts:  # or they would hold on to themselves
            copies[id(part)].__dict__.pop("forward", None)


def _either(eager: Forward, fast: Forward) -> Forward:
    def forward(*args: Any, **kwargs: Any) -> Any:
        return (eager if torch.is_grad_enabled() else fast)(*args, **kwargs)

    return forward


class _Stays:
    """A shadow that stays, and what was compiled of it."""

    def __init__(self, model: nn.Module) -> None:
        _, self._copies = shadow(model)
        self._functions = dict[int, Forward]()

    def refresh(self, part: nn.Module) -> None:
        """Take over the buffers, which training changes; parameters are shared."""
        for module in part.modules():
            copy = self._copies[id(module)]
            for name, buffer in module._buffers.items():
                own = copy._buffers.get(name)
                if own is None or buffer is None or own.shape != buffer.shape:
                    copy._buffers[name] = None if buffer is None else buffer.clone()
                else:
                    own.copy_(buffer)

    def function(self, part: nn.Module) -> Forward:
        """Return a part's compiled forward."""
        key, kind = id(part), type(part).__name__
        if key not in self._functions:
            copy = self._copies[key]
            fast = torch.compile(copy)

            def run(*args: Any, **kwargs: Any) -> Any:
                try:
                    return fast(*args, **kwargs)
                except torch._dynamo.exc.TorchDynamoException as error:
                    raise OptionError(
                        f"torch.compile cannot compile the part {kind} of the network: {error} "
                        "Leave compile out, or install what it needs (on a CPU, a C++ compiler)."
                    ) from error

            self._functions[key] = run
        return self._functions[key]


#: The shadow that stays, of each model.
_known = ModelCache(_Stays)
