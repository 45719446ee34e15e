"""One recorded pass over one image: every module call, its shape, and where gradient flows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from limelight import layers as layers_
from limelight.cut.passes import asked_of, differentiate, no_grad, observe, run_network
from limelight.cut.rules import KeepGrad
from limelight.cut.shadow import (
    facts_about,
    fill_zeros,
    patch_of,
    shadow,
    traits_of,
    unwrap,
)
from limelight.errors import (
    DETACHED,
    INFERENCE,
    QUANTISED,
    WRITTEN_ON,
    LayerError,
    LimelightError,
)
from limelight.inputs import Given, Inputs, substitute_first, tensors
from limelight.layers import Call
from limelight.targets import Pick, Reading, find_logits, reading_of, scores_to_follow


def record(
    model: nn.Module,
    inputs: Inputs,
    *,
    output: Pick | None = None,
    grid: Sequence[int] | None = None,
) -> tuple[Call, ...]:
    """Record one pass over the first image: every module call, its shape, and where gradient flows.

    The score whose gradient is followed is the highest logit; of a detector, those of a small, a
    middling and a large box; of a segmenter, its mean over the picture. A record is remembered for
    as long as the model lives with the same modules, for inputs of the same shape.

    Args:
        model, inputs, output, grid: As in `cut`.

    Raises:
        ModelError, InputError: As `cut`.
    """
    reading = reading_of(None, output, grid)
    return known_for(unwrap(model), Given.of(inputs), reading).calls


def settled(model: nn.Module, given: Given, reading: Reading) -> Given:
    """Return the inputs, knowing which of them go with the images, one for each.

    Two prompts for two images do not. That is found by trying: where the first image with all the
    prompts gives what it gives among all the images, they do not go with the images.
    """
    if not given.beside:
        return given
    facts, key = facts_about(model), ("fixed", given.signature, given.batch, reading.pick)
    fixed = facts.get(key)
    if fixed is None:
        tried = (frozenset(given.beside), *(frozenset([one]) for one in given.beside))
        alike = (f for f in tried if _stays_the_same(model, replace(given, fixed=f), reading))
        fixed = facts[key] = next(alike, frozenset())
    return replace(given, fixed=fixed)


def _stays_the_same(model: nn.Module, given: Given, reading: Reading) -> bool:
    """Say whether the first image alone gives what it gives among all the images."""
    outputs = []
    with no_grad():
        for some in (given, given.first(1)):
            try:
                outputs.append(find_logits(run_network(model, some.fresh()), reading.pick))
            except Exception:  # of any kind: the model does not take that
                return False
    whole, alone = outputs
    if whole.shape[:1] != (given.batch,) or alone.shape != (1, *whole.shape[1:]):
        return False
    return torch.allclose(alone, whole[:1], rtol=1e-3, atol=1e-5 * float(whole.abs().max()))


def costs(model: nn.Module, inputs: Inputs) -> list[float]:
    """Return, for each call of `record` in its order, the share of the pass's cost up to its end.

    The cost is counted in multiplications and additions of one pass over the first image.
    """
    model, given = unwrap(model), Given.of(inputs).first(1)
    from torch.utils.flop_counter import FlopCounterMode  # it loads Triton

    counter, spent = FlopCounterMode(display=False), list[int]()

    def leave(_key: int, _arguments: object, output: Any) -> Any:
        def note(tensor: Tensor) -> Tensor:
            if tensor.is_floating_point():
                spent.append(counter.get_total_flops())
            return tensor

        return substitute_first(output, note)

    with no_grad(), counter:
        root, copies = shadow(model)
        observe(model, root, copies, given, lambda _key: None, leave)
    total = max(1, counter.get_total_flops())
    return [flops / total for flops in spent]


class _Known(NamedTuple):
    """A remembered record, and what was chosen from it."""

    calls: tuple[Call, ...]
    choice: layers_.Choice | LayerError


def known_for(model: nn.Module, given: Given, reading: Reading) -> _Known:
    """Return what is known of a model for such inputs; find it out the first time."""
    facts, key = facts_about(model), ("record", given.signature, reading.pick, reading.grid)
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


def _record_or_say_why(model: nn.Module, given: Given, reading: Reading) -> tuple[Call, ...]:
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

    def __init__(self, model: nn.Module, given: Given) -> None:
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
        self.seen = list[layers_.Seen]()
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
        call = layers_.Seen(
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


def _record(model: nn.Module, given: Given, reading: Reading) -> tuple[Call, ...]:
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
        followed = scores_to_follow(output, asked_of(given, reading))
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


def node_of(tensor: Tensor) -> Any:
    """Return where a tensor stands in the graph; None outside it."""
    if not tensor.requires_grad:
        return None
    return torch.autograd.graph.get_gradient_edge(tensor).node


def origins(nodes: Sequence[Any], count: int) -> list[int]:
    """Return, of each node of a graph, what it was made of: a bit for each of the first ones.

    Each is made of all that the nodes below it are.
    """
    numbers: dict[Any, int] = {}
    for number, node in enumerate(nodes[:count]):
        numbers.setdefault(node, number)
    known: dict[Any, int] = {None: 0}
    waiting = [(node, False) for node in nodes]
    while waiting:
        node, ready = waiting.pop()
        if node is None or node in known:
            continue
        below = [one for one, _ in node.next_functions if one is not None]
        if ready:
            bits = 1 << numbers[node] if node in numbers else 0
            for one in below:
                bits |= known.get(one, 0)
            known[node] = bits
        else:
            waiting.append((node, True))
            waiting += [(one, False) for one in below if one not in known]
    return [known[node] for node in nodes]


def choose(model: nn.Module, given: Given, reading: Reading) -> layers_.Choice:
    """Return the layer to cut at when none is named, or raise the LayerError that says why none."""
    choice = known_for(model, given, reading).choice
    if isinstance(choice, LayerError):
        raise LayerError(str(choice))
    return choice
