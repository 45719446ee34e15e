"""One recorded pass over one image: every module call, its shape, and where gradient flows."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from limelight import layers as layers_
from limelight.cut.call import call
from limelight.cut.passes import asked_of, differentiate, no_grad, observe
from limelight.cut.rules import KeepGrad
from limelight.cut.shadow import fill_zeros, fingerprint, shadow, unwrap
from limelight.errors import LayerError, LimelightError
from limelight.inputs import Given, Inputs, substitute_first, tensors
from limelight.layers import Call
from limelight.targets import Pick, Reading, reading_of, scores_to_follow


def trace(
    model: nn.Module,
    inputs: Inputs,
    *,
    output: Pick | None = None,
    grid: Sequence[int] | None = None,
) -> tuple[Call, ...]:
    """Record one pass over the first image: every module call, its shape, and where gradient flows.

    The score whose gradient is followed is the highest logit; of a detector, those of a small, a
    middling and a large box; of a segmenter, its mean over the picture. A trace is remembered for
    as long as the model lives with the same modules, for inputs of the same shape.

    Args:
        model, inputs, output, grid: As in `cut`.

    Raises:
        ModelError, InputError: As `cut`.
    """
    reading = reading_of(None, output, grid)
    return known_for(unwrap(model), Given.of(inputs), reading).calls


class _Known(NamedTuple):
    """A remembered trace, and what was chosen from it."""

    calls: tuple[Call, ...]
    choice: layers_.Choice | LayerError


#: By model: the modules it was built of, and what is known by the signature of the inputs.
_remembered: weakref.WeakKeyDictionary[nn.Module, tuple[object, dict[object, _Known]]]
_remembered = weakref.WeakKeyDictionary()
_remembered_lock = threading.Lock()


def known_for(model: nn.Module, given: Given, reading: Reading) -> _Known:
    """Return what is known of a model for such inputs; find it out the first time."""
    modules = fingerprint(model)
    signature = (given.signature, reading.pick, reading.grid)
    with _remembered_lock:
        built_of, by_signature = _remembered.get(model, (None, {}))
        if built_of != modules or len(by_signature) > 32:
            _remembered[model] = modules, (by_signature := {})
        known = by_signature.get(signature)
    if known is None:
        calls = _trace_or_say_why(model, given, reading)
        try:
            choice: layers_.Choice | LayerError = layers_.choose(calls)
        except LayerError as error:
            choice = LayerError(str(error))  # without the traceback, which holds on to this pass
        known = by_signature[signature] = _Known(calls, choice)
    return known


def _trace_or_say_why(model: nn.Module, given: Given, reading: Reading) -> tuple[Call, ...]:
    try:
        return _trace(model, given.first(1), reading)
    except LimelightError:
        raise
    except Exception as error:
        with no_grad():  # if the model itself raises, that is what the user should see
            root, copies = shadow(model, lambda _module: False)
            try:
                call(model, root, copies, given.fresh())
            except Exception as own:
                raise own from None
        raise LayerError(
            f"The model runs, but a pass with gradients to look for layers does not "
            f"({type(error).__name__}: {str(error).partition(chr(10))[0]}). Name a layer with "
            "layer=..., one after what stops them."
        ) from error


def _trace(model: nn.Module, given: Given, reading: Reading) -> tuple[Call, ...]:
    paths = {id(module): path for path, module in model.named_modules()}
    originals = {id(module): module for module in model.modules()}
    learned = {id(m): any(True for _ in m.parameters()) for m in model.modules()}
    results = dict[int, int]()  # id of a tensor -> the number of the result it is
    leaves = list[Tensor]()  # by that number
    alive = list[object]()  # so that no id is used twice
    seen = list[layers_.Seen]()

    recording = True  # a backward may run modules again
    canvas: tuple[int, ...] = ()
    span: tuple[float, ...] = ()
    size = tuple(given.image.shape[2:])

    def leave(key: int, arguments: object, output: Any) -> Any:
        def follow(tensor: Tensor) -> Tensor:
            if not recording or not tensor.is_floating_point() or tensor.is_inference():
                return tensor
            own = len(leaves)
            result = results.setdefault(id(tensor), own)
            leaves.append(tensor if tensor.requires_grad else tensor.detach().requires_grad_())
            handed = leaves[-1].clone()  # of its own: a container may hand on less than it holds
            results[id(handed)] = result
            alive.extend((tensor, handed))
            given_to = tensors(arguments)
            first = tuple(given_to[0].shape) if given_to else ()
            alive.extend(given_to)
            source = max(given_to, key=lambda t: results.get(id(t), -1), default=None)
            seen.append(
                layers_.Seen(
                    path=paths[key],
                    shape=tuple(tensor.shape),
                    source=None if source is None else id(source),
                    result=result,
                    own=own,
                    learned=learned[key],
                    given=first,
                    patch=patch_of(originals[key]),
                )
            )
            return handed

        nonlocal canvas, span
        for laid in output if isinstance(output, tuple) else ():
            if hasattr(laid, "image_sizes") and hasattr(
                laid, "tensors"
            ):  # a detector of torchvision
                canvas = tuple(laid.tensors.shape[2:])
                span = tuple(c / n for c, n in zip(canvas, laid.image_sizes[0], strict=True))
        return substitute_first(output, follow)

    with torch.inference_mode(False), torch.enable_grad():
        root, copies = shadow(model, lambda _module: True)
        for copy in copies.values():
            fill_zeros(copy)
        with KeepGrad():
            output = observe(model, root, copies, given, lambda _key: None, leave, propose_all=True)
        recording = False
        followed = scores_to_follow(output, asked_of(given, reading))
        origins = _origins(leaves)
        gradients = _reached_by_all(followed, leaves)
    picture = layers_.Picture(size, canvas, span, reading.grid)
    return layers_.read(seen, gradients, origins, picture)


def patch_of(module: nn.Module) -> tuple[int, ...]:
    """Return the sizes of the patches that a convolution cuts side by side; () if it slides."""
    if not isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return ()
    kernel = tuple(module.kernel_size)
    slides = kernel != tuple(module.stride) or any(side != 0 for side in module.padding)
    return () if slides or math.prod(kernel) == 1 else kernel


def _origins(leaves: Sequence[Tensor]) -> list[int]:
    """Return, of each result, what it was made of: a bit for the number of each other one.

    It is read off the graph, each node of which is made of all that the nodes below it are.
    """
    numbers: dict[Any, int] = {}
    for number, leaf in enumerate(leaves):
        node = torch.autograd.graph.get_gradient_edge(leaf).node
        numbers.setdefault(node, number)
    made_of: dict[Any, int] = {}
    waiting = [(node, False) for node in numbers]
    while waiting:
        node, ready = waiting.pop()
        if node in made_of:
            continue
        below = [one for one, _ in node.next_functions if one is not None]
        if ready:
            bits = 1 << numbers[node] if node in numbers else 0
            for one in below:
                bits |= made_of.get(one, 0)
            made_of[node] = bits
        else:
            waiting.append((node, True))
            waiting += [(one, False) for one in below if one not in made_of]
    return [made_of[torch.autograd.graph.get_gradient_edge(leaf).node] for leaf in leaves]


def _reached_by_all(scores: Sequence[Tensor], leaves: Sequence[Tensor]) -> list[Tensor]:
    """Return the size of the gradients of all scores, by leaf; 0 where one of them has none."""
    total: list[Tensor] = []
    for number, one in enumerate(scores):
        found = differentiate(one, leaves, retain=number < len(scores) - 1)
        if len(scores) == 1:
            return found
        sizes = [gradient.abs() for gradient in found]
        total = total or [torch.ones_like(size) for size in sizes]
        total = [
            before + size if size.any() and before.any() else torch.zeros_like(size)
            for before, size in zip(total, sizes, strict=True)
        ]
    return total


def choose(model: nn.Module, given: Given, reading: Reading) -> layers_.Choice:
    """Return the layer to cut at when none is named, or raise the LayerError that says why none."""
    choice = known_for(model, given, reading).choice
    if isinstance(choice, LayerError):
        raise LayerError(str(choice))
    return choice
