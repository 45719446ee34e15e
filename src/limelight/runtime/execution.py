"""Runs of a shadow of the whole network, plain or with every module call observed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from limelight.inputs import ModelInputs
from limelight.runtime.compiled import compiled, parts_of
from limelight.runtime.detectors import call
from limelight.runtime.shadow import shadow


def run_network(model: nn.Module, inputs: ModelInputs, *, compile: bool = False) -> Any:
    """Run a shadow of the whole model in the caller's grad mode, and return its output."""
    parts = parts_of(model, ()) if compile else []
    with torch.inference_mode(False):
        root, copies = shadow(model, set(map(id, parts)))
    with compiled(model, copies, parts):
        return call(model, root, copies, inputs)


def observe(
    model: nn.Module,
    root: nn.Module,
    copies: Mapping[int, nn.Module],
    inputs: ModelInputs,
    enter: Enter,
    leave: Leave,
    *,
    propose_all: bool = False,
) -> Any:
    """Run a shadow in the current grad mode, with a callback before and after each module call.

    `enter(key)` is called before and `leave(key, arguments, output)` after each call of a copied
    module; what `leave` returns replaces the output. The key is the id of the original module. For
    `propose_all` see `call`.
    """
    for key, copy in copies.items():

        def before(_module: nn.Module, _args: object, key: int = key) -> None:
            enter(key)

        def after(
            _module: nn.Module, args: object, kwargs: object, output: Any, key: int = key
        ) -> Any:
            return leave(key, (args, kwargs), output)

        copy.register_forward_pre_hook(before)
        copy.register_forward_hook(after, with_kwargs=True)
    return call(model, root, copies, inputs.clone(), propose_all=propose_all)


#: Called with the id of a module before it runs.
Enter = Callable[[int], None]


#: Called with the id of a module, its arguments and its output; returns the output to go on with.
Leave = Callable[[int, object, Any], Any]
