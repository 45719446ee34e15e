"""Runs of a shadow: as the user would call the model, and with every module call observed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from limelight.inputs import ModelInputs, as_plain, map_tensors, tensors
from limelight.runtime.compiled import compiled, parts_of
from limelight.runtime.detectors import Proposals, as_detected, note_proposals
from limelight.runtime.shadow import shadow
from limelight.runtime.traits import SORTS_BOXES


def call_shadow(
    model: nn.Module,
    root: nn.Module,
    copies: Mapping[int, nn.Module],
    inputs: ModelInputs,
    *,
    propose_all: bool = False,
) -> Any:
    """Run a shadow of a model and return its output; the output of a detector as `Detected`.

    Args:
        model: The original.
        root: Its shadow.
        copies: The copies in the shadow, by the id of their originals.
        inputs: The arguments of the call; the shadow may write on them.
        propose_all: Add the whole image to the proposals of a two-stage detector's first stage, so
            that the second stage looks at it too. It is read on the coarsest level of a feature
            pyramid.
    """
    proposals = list[Proposals]()
    detectors = [copy for copy in copies.values() if hasattr(type(copy), SORTS_BOXES)]
    for copy in detectors:
        note_proposals(copy, proposals, propose_all=propose_all)
    try:
        args, kwargs = inputs.arguments()
        output = root(*args, **kwargs)
    except Exception as error:
        inputs.annotate(error, model)
        raise
    finally:
        for copy in detectors:  # a copy must not refer to itself
            del copy.__dict__[SORTS_BOXES]
    output = _plain(output)
    if isinstance(output, Tensor) and not proposals:
        return output
    return as_detected(output, proposals, inputs, model)


def _plain(output: Any) -> Any:
    """Return an output with plain tensors in place of those of derived classes."""
    if isinstance(output, Tensor):
        return as_plain(output)
    derived = any(as_plain(tensor) is not tensor for tensor in tensors([output]))
    return map_tensors(output, as_plain) if derived else output


def run_network(model: nn.Module, inputs: ModelInputs, *, compile: bool = False) -> Any:
    """Run a shadow of the whole model in the caller's grad mode, and return its output."""
    parts = parts_of(model, ()) if compile else []
    with torch.inference_mode(False):
        root, copies = shadow(model, set(map(id, parts)))
    with compiled(model, copies, parts):
        return call_shadow(model, root, copies, inputs)


def observe(
    model: nn.Module,
    root: nn.Module,
    copies: Mapping[int, nn.Module],
    inputs: ModelInputs,
    enter: Enter,
    leave: Leave,
    *,
    propose_all: bool = False,
    after_hooks: bool = False,
) -> Any:
    """Run a shadow in the current grad mode, with a callback before and after each module call.

    `enter(key, arguments)` is called before and `leave(key, arguments, output)` after each call of
    a copied module; what `leave` returns replaces the output. The key is the id of the original
    module. It sees what the module itself put out, or with `after_hooks` what the user's hooks have
    made of that. For `propose_all` see `call_shadow`.
    """
    for key, copy in copies.items():

        def before(_module: nn.Module, args: object, kwargs: object, key: int = key) -> None:
            enter(key, (args, kwargs))

        def after(
            _module: nn.Module, args: object, kwargs: object, output: Any, key: int = key
        ) -> Any:
            return leave(key, (args, kwargs), output)

        copy.register_forward_pre_hook(before, with_kwargs=True)
        copy.register_forward_hook(after, with_kwargs=True, prepend=not after_hooks)
    return call_shadow(model, root, copies, inputs.clone(), propose_all=propose_all)


#: Called with the id of a module and its arguments, before it runs.
Enter = Callable[[int, object], None]


#: Called with the id of a module, its arguments and its output; returns the output to go on with.
Leave = Callable[[int, object, Any], Any]
