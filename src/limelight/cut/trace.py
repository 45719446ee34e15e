"""One recorded pass over one image: every module call, its shape, and where gradient flows."""

from __future__ import annotations

import threading
import weakref
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from limelight import layers as layers_
from limelight.cut.passes import differentiate, no_grad, observe
from limelight.cut.rules import KeepGrad
from limelight.cut.shadow import fill_zeros, fingerprint, shadow, unwrap
from limelight.errors import LayerError, LimelightError
from limelight.inputs import Given, Inputs, substitute_first, tensors
from limelight.layers import Call
from limelight.targets import find_logits


def trace(model: nn.Module, inputs: Inputs) -> tuple[Call, ...]:
    """Record one pass over the first image: every module call, its shape, and where gradient flows.

    The score whose gradient is followed is the highest logit. A trace is remembered for as long as
    the model lives with the same modules, for inputs of the same shape.

    Raises:
        ModelError, InputError: As `cut`.
    """
    return known_for(unwrap(model), Given.of(inputs)).calls


class _Known(NamedTuple):
    """A remembered trace, and what was chosen from it."""

    calls: tuple[Call, ...]
    choice: layers_.Choice | LayerError


#: By model: the modules it was built of, and what is known by the signature of the inputs.
_remembered: weakref.WeakKeyDictionary[nn.Module, tuple[object, dict[object, _Known]]]
_remembered = weakref.WeakKeyDictionary()
_remembered_lock = threading.Lock()


def known_for(model: nn.Module, given: Given) -> _Known:
    """Return what is known of a model for such inputs; find it out the first time."""
    modules, signature = fingerprint(model), given.signature
    with _remembered_lock:
        built_of, by_signature = _remembered.get(model, (None, {}))
        if built_of != modules or len(by_signature) > 32:
            _remembered[model] = modules, (by_signature := {})
        known = by_signature.get(signature)
    if known is None:
        calls = _trace_or_say_why(model, given)
        try:
            choice: layers_.Choice | LayerError = layers_.choose(calls)
        except LayerError as error:
            choice = LayerError(str(error))  # without the traceback, which holds on to this pass
        known = by_signature[signature] = _Known(calls, choice)
    return known


def _trace_or_say_why(model: nn.Module, given: Given) -> tuple[Call, ...]:
    try:
        return _trace(model, given.first(1))
    except LimelightError:
        raise
    except Exception as error:
        with no_grad():  # if the model itself raises, that is what the user should see
            root, _ = shadow(model, lambda _module: False)
            try:
                fresh = given.fresh()
                root(*fresh.args, **fresh.kwargs)
            except Exception as own:
                given.annotate(own, model)
                raise own from None
        raise LayerError(
            f"The model runs, but a pass with gradients to look for layers does not "
            f"({type(error).__name__}: {str(error).partition(chr(10))[0]}). Name a layer with "
            "layer=..., one after what stops them."
        ) from error


def _trace(model: nn.Module, given: Given) -> tuple[Call, ...]:
    paths = {id(module): path for path, module in model.named_modules()}
    learned = {id(m): any(True for _ in m.parameters()) for m in model.modules()}
    results = dict[int, int]()  # id of a tensor -> the number of the result it is
    leaves = list[Tensor]()  # by that number
    alive = list[object]()  # so that no id is used twice
    seen = list[layers_.Seen]()

    recording = True  # a backward may run modules again

    def leave(key: int, arguments: object, output: Any) -> Any:
        def follow(tensor: Tensor) -> Tensor:
            if not recording or not tensor.is_floating_point() or tensor.is_inference():
                return tensor
            handed = tensor
            if id(tensor) not in results:
                leaves.append(tensor if tensor.requires_grad else tensor.detach().requires_grad_())
                handed = leaves[-1].clone()
                results[id(tensor)] = results[id(handed)] = len(leaves) - 1
                alive.extend((tensor, handed))
            given_to = tensors(arguments)
            alive.extend(given_to)
            source = max(given_to, key=lambda t: results.get(id(t), -1), default=None)
            seen.append(
                layers_.Seen(
                    path=paths[key],
                    shape=tuple(tensor.shape),
                    source=None if source is None else id(source),
                    result=results[id(tensor)],
                    learned=learned[key],
                )
            )
            return handed

        return substitute_first(output, follow)

    with torch.inference_mode(False), torch.enable_grad():
        root, copies = shadow(model, lambda _module: True)
        for copy in copies.values():
            fill_zeros(copy)
        with KeepGrad():
            output = observe(root, copies, given, lambda _key: None, leave)
        recording = False
        outputs = [t for t in tensors([output]) if t.is_floating_point()]
        logits = outputs[0] if len(outputs) == 1 else find_logits(output)
        highest = logits.reshape(len(logits), -1).amax(1) if logits.ndim else logits
        gradients = differentiate(highest.sum(), leaves, retain=False)
    return layers_.read(seen, gradients, tuple(given.image.shape[2:]))


def choose(model: nn.Module, given: Given) -> layers_.Choice:
    """Return the layer to cut at when none is named, or raise the LayerError that says why none."""
    choice = known_for(model, given).choice
    if isinstance(choice, LayerError):
        raise LayerError(str(choice))
    return choice
