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

    `limelight.stages` picks layers from the calls. The score whose gradient is followed is the
    highest logit; for a detector, the highest logits of a small, a medium and a large box; for a
    segmenter, the highest mean logit over the picture. A record is kept for inputs of the same
    shape, until the model is gone or has other modules.

    Args:
        model, inputs, output, grid: As in `cut`.

    Raises:
        ModelError, InputError: As `cut`.
    """
    spec = output_spec(None, output, grid)
    return cached_record(unwrap(model), ModelInputs.of(inputs), spec).calls


class CachedRecord(NamedTuple):
    """A recorded pass, and the layer chosen from it."""

    calls: tuple[ModuleCall, ...]
    choice: layers_.Choice | LayerError


def cached_record(model: nn.Module, inputs: ModelInputs, spec: OutputSpec) -> CachedRecord:
    """Return the record of a model for inputs of these shapes; it is made once."""
    cache = model_cache(model, spec.key)
    key = "record", inputs.signature, spec.hashable_key, spec.grid
    cached: CachedRecord | None = cache.get(key)
    if cached is None:
        calls = _record_or_explain(model, inputs, spec)
        try:
            choice: layers_.Choice | LayerError = layers_.choose_layer(
                calls, tuple(inputs.image.shape[2:])
            )
        except LayerError as error:
            choice = LayerError(str(error))  # the traceback would keep this pass alive
        cached = cache[key] = CachedRecord(calls, choice)
    return cached


def _record_or_explain(
    model: nn.Module, inputs: ModelInputs, spec: OutputSpec
) -> tuple[ModuleCall, ...]:
    try:
        return _record(model, inputs.first(1), spec)
    except LimelightError:
        raise
    except Exception as error:
        with no_grad():  # if the model itself raises, that is what the user should see
            try:
                run_network(model, inputs.clone())
            except Exception as models_error:
                raise models_error from None
        written = WRITTEN_ON in getattr(error, "__notes__", [])
        advice = "Name a layer with layer=..., one after what stops them."
        raise LayerError(
            f"The model runs, but a pass with gradients to look for layers does not "
            f"({type(error).__name__}: {str(error).partition(chr(10))[0]}). "
            f"{WRITTEN_ON if written else advice}"
        ) from error


class _Recorder:
    """Notes every call of one pass, and replaces each output by one whose gradient is noted."""

    def __init__(self, model: nn.Module, inputs: ModelInputs) -> None:
        input_tensors = tensors((inputs.args, inputs.kwargs))
        self._sentences = {
            t.shape[1] for t in input_tensors if t.ndim == 2 and not t.is_floating_point()
        }
        self._paths = {id(module): path for path, module in model.named_modules()}
        self._modules = {id(module): module for module in model.modules()}
        self._learned = {id(m): any(True for _ in m.parameters()) for m in model.modules()}
        self._results: Any = WeakTensorKeyDictionary()  # by tensor handed on: `RawCall.result`
        self._sources: Any = WeakTensorKeyDictionary()  # by input tensor: `RawCall.source`
        self.nodes = list[Any]()  # by number of the call: the graph node of its output
        self.reached: list[Tensor | None] = []  # by number of the call: where gradient arrived
        self.roots = list[Tensor]()  # leaves of the graph besides the image
        self.calls = list[layers_.RawCall]()
        self.canvas: tuple[int, ...] = ()
        self.span: tuple[float, ...] = ()
        self.recording = True  # a backward may run modules again

    def leave(self, key: int, arguments: object, output: Any) -> Any:
        """Note a call, and return the output to go on with."""
        if not self.recording:
            return output
        for part in output if isinstance(output, tuple) else ():
            if hasattr(part, "image_sizes") and hasattr(part, "tensors"):  # torchvision's detectors
                self.canvas = tuple(part.tensors.shape[2:])
                sizes = zip(self.canvas, part.image_sizes[0], strict=True)
                self.span = tuple(padded / size for padded, size in sizes)
        grids = [t for t in tensors(output) if t.ndim >= 3 and t.shape[0] == 1]
        several = len({id(tensor) for tensor in grids if tensor.is_floating_point()}) > 1
        return substitute_first(
            output, lambda tensor: self._follow(key, tensors(arguments), tensor, several=several)
        )

    def _follow(
        self, key: int, arguments: list[Tensor], tensor: Tensor, *, several: bool
    ) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        if tensor.is_inference():
            raise LayerError(INFERENCE)
        number = len(self.nodes)
        result = self._results.get(tensor, number)
        # A container's own modules may read its output too. The view is a node of its own, which
        # only what runs after the container reads.
        leaf = tensor.view_as(tensor) if self._modules[key]._modules else tensor
        if not leaf.requires_grad:
            leaf = leaf.detach().requires_grad_()
            self.roots.append(leaf)
        handed_on = leaf.clone()  # the network may write on it
        leaf.register_hook(partial(_note, self.reached, number))  # type: ignore[no-untyped-call]
        self.nodes.append(node_of(leaf))
        self.reached.append(None)
        self._results[handed_on] = result
        source = max(arguments, key=lambda t: self._results.get(t, -1), default=None)
        call = layers_.RawCall(
            path=self._paths[key],
            shape=tuple(tensor.shape),
            source=None if source is None else self._sources.setdefault(source, len(self._sources)),
            result=result,
            number=number,
            learned=self._learned[key],
            input_shape=tuple(arguments[0].shape) if arguments else (),
            patch=patch_of(self._modules[key]),
            several=several,
            kind=type(self._modules[key]).__name__,
            words=max((t.shape[1] for t in arguments if self._are_words(t)), default=0),
        )
        self.calls.append(call)
        return handed_on

    def _are_words(self, tensor: Tensor) -> bool:
        """Return whether a tensor holds the word numbers of a sentence that the user passed in.

        Positions, which are consecutive numbers, do not count.
        """
        if tensor.ndim != 2 or tensor.shape[1] not in self._sentences:
            return False
        whole = tensor.dtype in (torch.int32, torch.int64)
        return whole and not bool((tensor[:, 1:] - tensor[:, :-1] == 1).all())


def _record(model: nn.Module, inputs: ModelInputs, spec: OutputSpec) -> tuple[ModuleCall, ...]:
    """Record one pass over one image.

    1. Run a shadow with every call observed, and note the graph node of each output.
    2. Find which outputs the scores depend on.
    3. Differentiate the scores, and note where gradient arrives at each output.
    4. Read the record: the layout of each output, and where gradient arrives on its grid.
    """
    # 1. The observed run.
    recorder = _Recorder(model, inputs)
    with torch.inference_mode(False), torch.enable_grad():
        image = inputs.image.clone()
        root, copies = shadow(model)
        for copy in copies.values():
            fill_zeros(copy)
        if image.is_floating_point():  # then the graph tells what depends on it
            inputs = inputs.on(image.requires_grad_().clone())
        with KeepGrad():
            output = observe(
                model, root, copies, inputs, lambda _key: None, recorder.leave, propose_all=True
            )
        recorder.recording = False

        # 2. What the scores depend on.
        followed = scores_to_follow(
            output, TargetContext(inputs.batch, tuple(inputs.image.shape[2:]), spec)
        )
        nodes = [*recorder.nodes, node_of(image)]
        made_of = origins([*nodes, *map(node_of, followed)], len(nodes))
        reached = made_of[len(nodes) :]
        if image.requires_grad and not any(bits >> len(recorder.nodes) for bits in reached):
            raise LayerError(QUANTISED if traits_of(model).quantised else DETACHED)

        # 3. Where gradient arrives.
        sources = [image] if image.requires_grad else recorder.roots
        arrived, alive = _arrived_from_all(followed, sources, recorder.reached)
    if image.requires_grad and not alive:
        # The score is at a limit (a ReLU, a clamp) for this image; for another it may not be.
        arrived = [
            torch.ones((), dtype=torch.bool, device="cpu").expand(call.shape)
            if all(bits >> call.number & 1 for bits in reached)
            else None
            for call in recorder.calls
        ]

    # 4. The record, read.
    if not image.requires_grad:
        made_of = [bits | 1 << len(recorder.nodes) for bits in made_of]
    size = tuple(inputs.image.shape[2:])
    geometry = layers_.InputGeometry(size, recorder.canvas, recorder.span, spec.grid)
    return layers_.read(recorder.calls, arrived, made_of, geometry)


def _note(reached: list[Tensor | None], number: int, gradient: Tensor | None) -> None:
    """Note where gradient arrived; a bool per value takes a quarter of the gradient's memory."""
    if gradient is not None:  # None behind an operation without a derivative
        reached[number] = gradient != 0


def _arrived_from_all(
    scores: Sequence[Tensor], sources: Sequence[Tensor], reached: list[Tensor | None]
) -> tuple[list[Tensor | None], bool]:
    """Return where gradient of any score arrived at each call, and whether any reached the sources.

    The entry of a call is None unless gradient of every score arrived there.
    """
    total: list[Tensor | None] = []
    alive = False
    for number, score in enumerate(scores):
        reached[:] = [None] * len(reached)
        gradients = differentiate(score, sources, retain=number < len(scores) - 1)
        alive = alive or any(bool(gradient.any()) for gradient in gradients)
        arrived = [None if mask is None or not mask.any() else mask for mask in reached]
        pairs = zip(total or arrived, arrived, strict=True)
        total = [None if a is None or b is None else a | b for a, b in pairs]
    return total, alive


def chosen_layer(model: nn.Module, inputs: ModelInputs, spec: OutputSpec) -> layers_.Choice:
    """Return the layer to cut at when none is named; raise a LayerError if there is none."""
    choice = cached_record(model, inputs, spec).choice
    if isinstance(choice, LayerError):
        raise LayerError(str(choice))
    return choice
