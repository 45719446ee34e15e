"""One recorded pass over one image: every module call, its shape, and where gradient flows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from limelight import layers as layers_
from limelight.errors import DETACHED, INFERENCE, QUANTISED, WRITTEN_ON, LayerError, LimelightError
from limelight.inputs import Inputs, ModelInputs, substitute_first, tensors
from limelight.layers import ModuleCall
from limelight.runtime.autograd import KeepGrad, differentiate, no_grad, node_of, origins
from limelight.runtime.execution import observe, run_network
from limelight.runtime.model_cache import model_cache
from limelight.runtime.shadow import fill_zeros, shadow
from limelight.runtime.traits import patch_of, traits_of
from limelight.runtime.unwrap import unwrap
from limelight.targets import LogitsKey, OutputSpec, output_spec
from limelight.targets.context import TargetContext
from limelight.targets.target import scores_to_follow


def record(
    model: nn.Module,
    inputs: Inputs,
    *,
    output: LogitsKey | None = None,
    grid: Sequence[int] | None = None,
) -> tuple[ModuleCall, ...]:
    """Record one pass over the first image: every module call, its shape, and where gradient flows.

    The score whose gradient is followed is the highest logit; of a detector, those of a small, a
    middling and a large box; of a segmenter, its mean over the picture. A record is remembered for
    as long as the model lives with the same modules, for inputs of the same shape.

    Args:
        model, inputs, output, grid: As in `cut`.

    Raises:
        ModelError, InputError: As `cut`.
    """
    reading = output_spec(None, output, grid)
    return cached_record(unwrap(model), ModelInputs.of(inputs), reading).calls


class _Known(NamedTuple):
    """A remembered record, and what was chosen from it."""

    calls: tuple[ModuleCall, ...]
    choice: layers_.Choice | LayerError


def cached_record(model: nn.Module, given: ModelInputs, reading: OutputSpec) -> _Known:
    """Return what is known of a model for such inputs; find it out the first time."""
    facts, key = model_cache(model), ("record", given.signature, reading.key, reading.grid)
    known: _Known | None = facts.get(key)
    if known is None:
        calls = _record_or_say_why(model, given, reading)
        try:
            choice: layers_.Choice | LayerError = layers_.choose(
                calls, tuple(given.image.shape[2:])
            )
        except LayerError as error:
            choice = LayerError(str(error))  # without the traceback, which holds on to this pass
        known = facts[key] = _Known(calls, choice)
    return known


def _record_or_say_why(
    model: nn.Module, given: ModelInputs, reading: OutputSpec
) -> tuple[ModuleCall, ...]:
    try:
        return _record(model, given.first(1), reading)
    except LimelightError:
        raise
    except Exception as error:
        with no_grad():  # if the model itself raises, that is what the user should see
            try:
                run_network(model, given.fresh())
            except Exception as own:
                raise own from None
        written = WRITTEN_ON in getattr(error, "__notes__", [])
        advice = "Name a layer with layer=..., one after what stops them."
        raise LayerError(
            f"The model runs, but a pass with gradients to look for layers does not "
            f"({type(error).__name__}: {str(error).partition(chr(10))[0]}). "
            f"{WRITTEN_ON if written else advice}"
        ) from error


class _Recorder:
    """Notes every call of one pass, and hands on its output with a leaf of a graph in between."""

    def __init__(self, model: nn.Module, given: ModelInputs) -> None:
        every = tensors((given.args, given.kwargs))
        self._sentences = {t.shape[1] for t in every if t.ndim == 2 and not t.is_floating_point()}
        self._paths = {id(module): path for path, module in model.named_modules()}
        self._modules = {id(module): module for module in model.modules()}
        self._learned = {id(m): any(True for _ in m.parameters()) for m in model.modules()}
        self._results: Any = WeakTensorKeyDictionary()  # by tensor: the number of its result
        self._sources: Any = WeakTensorKeyDictionary()  # by tensor: a number of its own
        self.nodes = list[Any]()  # of the graph, by the number of what was handed on
        self.reached: list[Tensor | None] = []  # by the same: where gradient arrived
        self.roots = list[Tensor]()  # what the graph begins with, besides the image
        self.seen = list[layers_.RawCall]()
        self.canvas: tuple[int, ...] = ()
        self.span: tuple[float, ...] = ()
        self.recording = True  # a backward may run modules again

    def leave(self, key: int, arguments: object, output: Any) -> Any:
        """Note a call; return the output to go on with."""
        if not self.recording:
            return output
        for laid in output if isinstance(output, tuple) else ():
            if hasattr(laid, "image_sizes") and hasattr(laid, "tensors"):  # torchvision's detectors
                self.canvas = tuple(laid.tensors.shape[2:])
                sizes = zip(self.canvas, laid.image_sizes[0], strict=True)
                self.span = tuple(padded / size for padded, size in sizes)
        grids = [t for t in tensors(output) if t.ndim >= 3 and t.shape[0] == 1]
        several = len({id(tensor) for tensor in grids if tensor.is_floating_point()}) > 1
        return substitute_first(
            output, lambda tensor: self._follow(key, tensors(arguments), tensor, several=several)
        )

    def _follow(self, key: int, given: list[Tensor], tensor: Tensor, *, several: bool) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        if tensor.is_inference():
            raise LayerError(INFERENCE)
        own = len(self.nodes)
        result = self._results.get(tensor, own)
        # A container may use what it returns on the way too; only what it hands on is its own.
        leaf = tensor.view_as(tensor) if self._modules[key]._modules else tensor
        if not leaf.requires_grad:
            leaf = leaf.detach().requires_grad_()
            self.roots.append(leaf)
        handed = leaf.clone()  # which may be written on
        leaf.register_hook(partial(_note, self.reached, own))  # type: ignore[no-untyped-call]
        self.nodes.append(node_of(leaf))
        self.reached.append(None)
        self._results[handed] = result
        source = max(given, key=lambda t: self._results.get(t, -1), default=None)
        call = layers_.RawCall(
            path=self._paths[key],
            shape=tuple(tensor.shape),
            source=None if source is None else self._sources.setdefault(source, len(self._sources)),
            result=result,
            own=own,
            learned=self._learned[key],
            given=tuple(given[0].shape) if given else (),
            patch=patch_of(self._modules[key]),
            several=several,
            kind=type(self._modules[key]).__name__,
            words=max((t.shape[1] for t in given if self._are_words(t)), default=0),
        )
        self.seen.append(call)
        return handed

    def _are_words(self, tensor: Tensor) -> bool:
        """Say whether a tensor holds numbers of words of a sentence that the user gave.

        Positions, which are numbers one after the other, are none.
        """
        if tensor.ndim != 2 or tensor.shape[1] not in self._sentences:
            return False
        whole = tensor.dtype in (torch.int32, torch.int64)
        return whole and not bool((tensor[:, 1:] - tensor[:, :-1] == 1).all())


def _record(model: nn.Module, given: ModelInputs, reading: OutputSpec) -> tuple[ModuleCall, ...]:
    recorder = _Recorder(model, given)
    with torch.inference_mode(False), torch.enable_grad():
        image = given.image.clone()
        root, copies = shadow(model)
        for copy in copies.values():
            fill_zeros(copy)
        if image.is_floating_point():  # the graph then tells what is made of it
            given = given.on(image.requires_grad_().clone())
        with KeepGrad():
            output = observe(
                model, root, copies, given, lambda _key: None, recorder.leave, propose_all=True
            )
        recorder.recording = False
        followed = scores_to_follow(
            output, TargetContext(given.batch, tuple(given.image.shape[2:]), reading)
        )
        nodes = [*recorder.nodes, node_of(image)]
        made_of = origins([*nodes, *map(node_of, followed)], len(nodes))
        reached = made_of[len(nodes) :]
        if image.requires_grad and not any(bits >> len(recorder.nodes) for bits in reached):
            raise LayerError(QUANTISED if traits_of(model).quantised else DETACHED)
        sources = [image] if image.requires_grad else recorder.roots
        arrived, alive = _arrived_from_all(followed, sources, recorder.reached)
    if image.requires_grad and not alive:
        # The score is at a limit (a ReLU, a clamp) for this image, and need not be for the next.
        arrived = [
            torch.ones((), dtype=torch.bool, device="cpu").expand(call.shape)
            if all(bits >> call.own & 1 for bits in reached)
            else None
            for call in recorder.seen
        ]
    if not image.requires_grad:
        made_of = [bits | 1 << len(recorder.nodes) for bits in made_of]
    size = tuple(given.image.shape[2:])
    picture = layers_.Picture(size, recorder.canvas, recorder.span, reading.grid)
    return layers_.read(recorder.seen, arrived, made_of, picture)


def _note(reached: list[Tensor | None], number: int, gradient: Tensor | None) -> None:
    """Note where gradient arrived: a truth for each number takes a quarter of its memory."""
    if gradient is not None:  # as behind an operation without a derivative
        reached[number] = gradient != 0


def _arrived_from_all(
    scores: Sequence[Tensor], sources: Sequence[Tensor], reached: list[Tensor | None]
) -> tuple[list[Tensor | None], bool]:
    """Return where the gradient of any score arrived; None where that of one did not at all.

    And whether any arrived at the sources.
    """
    total: list[Tensor | None] = []
    alive = False
    for number, one in enumerate(scores):
        reached[:] = [None] * len(reached)
        found = differentiate(one, sources, retain=number < len(scores) - 1)
        alive = alive or any(bool(gradient.any()) for gradient in found)
        now = [None if mask is None or not mask.any() else mask for mask in reached]
        pairs = zip(total or now, now, strict=True)
        total = [None if a is None or b is None else a | b for a, b in pairs]
    return total, alive


def choose(model: nn.Module, given: ModelInputs, reading: OutputSpec) -> layers_.Choice:
    """Return the layer to cut at when none is named, or raise the LayerError that says why none."""
    choice = cached_record(model, given, reading).choice
    if isinstance(choice, LayerError):
        raise LayerError(str(choice))
    return choice
