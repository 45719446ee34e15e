"""One recorded pass over one image: every module call, its layout, and where gradient flows."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from limelight import layers as layers_
from limelight.collector import collector_paused
from limelight.errors import WRITTEN_ON, LayerError, LimelightError
from limelight.inputs import Inputs, ModelInputs
from limelight.layers import Arrival, Choice, Layout, ModuleCall
from limelight.misnamed import checked_arguments
from limelight.patch_grids import packed_patches
from limelight.runtime.arrivals import Arrivals, RecordedPass
from limelight.runtime.autograd import KeepGrad, no_grad, node_of
from limelight.runtime.execution import observe, run_network
from limelight.runtime.lineage import read_lineage
from limelight.runtime.model_cache import kept, model_cache
from limelight.runtime.recorder import Recorder
from limelight.runtime.recording import MOVING, Recording
from limelight.runtime.shadow import fill_zeros, shadow
from limelight.runtime.unwrap import unwrap
from limelight.targets import LogitsKey, OutputSpec, ScoreTarget, output_spec
from limelight.targets.outputs import advice_on_bags, find_logits, returned
from limelight.targets.target import TargetRaisedError, what_is_read

_Result = TypeVar("_Result")

#: How far back the score is differentiated, as shares of the calls: no farther than needed.
_SHARES = (0.15, 0.4, 1.0)


@checked_arguments
def record(
    model: nn.Module,
    inputs: Inputs,
    *,
    output: LogitsKey | None = None,
    grid: Sequence[int] | None = None,
) -> tuple[ModuleCall, ...]:
    """Record one pass over the first image: every module call, its layout, where gradient flows.

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
    return cached_record(unwrap(model), ModelInputs.of(inputs), spec)


def cached_record(
    model: nn.Module, inputs: ModelInputs, spec: OutputSpec
) -> tuple[ModuleCall, ...]:
    """Return the whole record of a model for inputs of these shapes; it is made once."""
    inputs = inputs.on_grid(spec.grid)
    cache = model_cache(model, spec.key)
    key = "record", inputs.signature, spec.hashable_key, spec.grid
    calls: tuple[ModuleCall, ...] | None = kept(cache, key, "record of a pass")
    if calls is None:
        calls = cache[key] = with_pass(model, inputs, spec, _read_all)
    return calls


def chosen_layer(
    model: nn.Module, inputs: ModelInputs, spec: OutputSpec, asked: Sequence[ScoreTarget] = ()
) -> Choice:
    """Return the layer to cut at when none is named.

    It is found once for inputs of these shapes, and for what the targets that are `asked` read.

    Raises:
        LayerError: There is none.
    """
    inputs = inputs.on_grid(spec.grid)
    choices: dict[object, Choice | LayerError]
    choices = model_cache(model, spec.key).setdefault("choices", {})
    key = inputs.signature, spec.hashable_key, spec.grid, what_is_read(asked)
    choice = kept(choices, key, "choice of a layer")
    if choice is None:
        try:
            choice = with_pass(model, inputs, spec, partial(_choose, asked=asked))
        except LayerError as error:
            choice = LayerError(str(error))  # the traceback would keep this pass alive
        if len(choices) >= _MOST_CHOICES:
            choices.clear()
        choices[key] = choice
    if isinstance(choice, LayerError):
        raise LayerError(str(choice))
    return choice


#: How many choices of layers are kept per model; then all are dropped.
_MOST_CHOICES = 64


def token_layouts(
    model: nn.Module, inputs: ModelInputs, spec: OutputSpec, *, within: str = ""
) -> dict[int, Layout]:
    """Return the network's layouts of tokens, by the number of tokens N.

    Args:
        model, inputs, spec: As in `cached_record`.
        within: The path of a module, if only what runs inside it counts.
    """
    recording = recording_of(model, inputs, spec)
    layouts = dict[int, Layout]()
    tried = dict[int, int]()
    for call in recording.calls:
        count = _tokens_of(call.shape)
        inside = not within or f"{call.path}.".startswith(f"{within}.")
        if not count or not inside or count in layouts or tried.get(count, 0) >= _MOST_TRIED:
            continue
        blind = recording.layouts.get(call.number, ...) is None  # of the text alone, say
        tried[count] = tried.get(count, 0) + (not blind)
        recording.settle(model, inputs.first(1), [call.number])
        layout = recording.layouts[call.number]
        if layout is not None and layout.kind == "tokens":
            layouts[count] = replace(layout, folds=1)
    return layouts


def _tokens_of(shape: Sequence[int]) -> int:
    """Return how many tokens one image has in an output, `[1, N, K]` or `[N, 1, K]`; 0 if none."""
    if len(shape) != 3:
        return 0
    return shape[0] if shape[1] == 1 else shape[1]


#: How many outputs of as many tokens are measured to find one with a grid.
_MOST_TRIED = 3


def recording_of(model: nn.Module, inputs: ModelInputs, spec: OutputSpec) -> Recording:
    """Return the recording of a model for inputs of these shapes; it is made once."""
    inputs = inputs.on_grid(spec.grid)
    recording: Recording | None = model_cache(model).get(_recording_key(inputs, spec))
    return recording or with_pass(
        model, inputs, spec, lambda recorded: recorded.recording, keep_values=False
    )


def _recording_key(inputs: ModelInputs, spec: OutputSpec) -> object:
    return "recording", inputs.signature, inputs.at, spec.grid


def with_pass(
    model: nn.Module,
    inputs: ModelInputs,
    spec: OutputSpec,
    read: Callable[[RecordedPass], _Result],
    *,
    keep_values: bool = True,
) -> _Result:
    """Record a pass, and return what `read` finds in it.

    Without `keep_values` the graph cannot be differentiated, and takes little memory.

    Raises:
        LayerError: The model runs, but its pass cannot be recorded.
    """
    first = inputs.first(1)
    try:
        with (
            collector_paused(),
            torch.inference_mode(False),
            torch.enable_grad(),
            nullcontext() if keep_values else saved_tensors_hooks(_small_or_leaf, _as_it_is),
        ):
            try:
                return read(_record(model, first, inputs.batch, spec))
            except RuntimeError as error:
                if "modified by an inplace operation" not in str(error):
                    raise
            return read(_record(model, first, inputs.batch, spec, copy_outputs=True))
    except LimelightError:
        raise
    except TargetRaisedError as raised:
        raise raised.error from None
    except Exception as error:
        with no_grad():  # if the model itself raises, that is what the user should see
            try:
                output = run_network(model, inputs.clone())
            except Exception as models_error:
                raise models_error from None
        written = "modified by an inplace operation" in str(error)
        advice = "Name a layer with layer=..., one after what stops them."
        raise LayerError(
            f"The model runs, but a pass with gradients to look for layers does not "
            f"({type(error).__name__}: {str(error).partition(chr(10))[0]}). "
            f"{WRITTEN_ON if written else _advice_on_bags(output, inputs.batch) or advice}"
        ) from error


def _advice_on_bags(output: Any, batch: int) -> str:
    """Return what to do if the model has one score for all pictures; "" if it has not."""
    with suppress(LimelightError):
        return advice_on_bags(find_logits(output), batch).lstrip()
    return ""


def _small_or_leaf(tensor: Tensor) -> Tensor | None:
    """Keep what autograd saves if it is a weight, whose shape is read, or small."""
    if tensor.is_leaf:
        return tensor
    # A node that held its own output as it is would hold itself, and the weights, for ever.
    return tensor.detach() if tensor.numel() < 2**12 else None


def _as_it_is(kept: Any) -> Any:
    return kept


def _record(
    model: nn.Module,
    inputs: ModelInputs,
    batch: int,
    spec: OutputSpec,
    *,
    copy_outputs: bool = False,
) -> RecordedPass:
    """Record one pass over one image; call this with grad, outside inference mode.

    1. Run a shadow with every call observed, and note where its output is in the graph.
    2. Read from the graph which calls depend on which, and how places move between them.
    """
    # 1. The observed run.
    recorder = Recorder(model, inputs, copy_outputs=copy_outputs)
    image = inputs.image.clone()
    root, copies = shadow(model)
    for copy in copies.values():
        fill_zeros(copy)
    run_inputs = inputs
    if image.is_floating_point():  # then the graph tells what depends on it
        run_inputs = inputs.on(image.requires_grad_().clone())
    with KeepGrad():
        output = observe(
            model, root, copies, run_inputs, recorder.enter, recorder.leave, propose_all=True
        )
    recorder.recording = False
    # 2. The graph.
    cache, key = model_cache(model), _recording_key(inputs, spec)
    recording: Recording | None = cache.get(key)
    if recording is None:
        recording = cache[key] = _read_graph(recorder, image, inputs, spec)
    results = recorder.results_of(returned(output))
    edges = recorder.edges
    return RecordedPass(model, inputs, batch, spec, recording, edges, output, results, image)


def _read_graph(
    recorder: Recorder, image: Tensor, inputs: ModelInputs, spec: OutputSpec
) -> Recording:
    """Return the recording of a pass that was just run."""
    count = len(recorder.calls)
    nodes = [*(edge.node for edge in recorder.edges), *(node for node, _ in recorder.inputs)]
    anchors = [*recorder.anchors, *(anchor for _, anchor in recorder.inputs)]
    lineage = read_lineage(nodes, anchors, count, (node_of(image), image.shape))
    everything = 0 if image.requires_grad else 1 << count  # the graph does not begin at the image
    origins = [bits | everything for bits in lineage.origins]
    return Recording(
        tuple(recorder.calls),
        origins,
        lineage.tracks[:count],
        layers_.InputGeometry(
            tuple(image.shape[2:]),
            recorder.canvas,
            recorder.span,
            spec.grid,
            inputs.least_axes,
            () if inputs.packing is None else inputs.packing.orders(),
            *inputs.pieces,
        ),
        dict(zip(anchors, origins, strict=True)),
        lineage.aligned,
    )


def _read_all(recorded: RecordedPass) -> tuple[ModuleCall, ...]:
    """Return every call with its layout and where gradient arrives, everywhere."""
    recording, arrivals = recorded.recording, Arrivals(recorded)
    arrived = arrivals.since(0)
    guessed = read_calls(recording, arrived)
    recording.settle(
        recorded.model,
        recorded.inputs,
        [call.number for call in guessed if call.layout is not None and not call.settled],
    )
    return read_calls(recording, arrived)


def _choose(recorded: RecordedPass, asked: Sequence[ScoreTarget]) -> Choice:
    """Choose a layer: differentiate and measure no farther back than needed.

    1. Find where gradient arrives at the late calls.
    2. Rank them, settle the layout of the first, and see whether its gradient cancels; repeat while
       that changes the ranking, with ever more layouts at once.
    3. If an earlier call may be better, go farther back.
    """
    recording, arrivals = recorded.recording, Arrivals(recorded, asked)
    count = len(recording.calls)
    calls: tuple[ModuleCall, ...] = ()
    at_once = 1
    for share in (1.0,) if arrivals.whole else _SHARES:
        since = int(count * (1 - share))
        arrived = arrivals.since(since)
        while True:
            calls = read_calls(recording, arrived, arrivals.scored, arrivals.cancelled)
            ranked = layers_.candidates(calls)
            top = ranked[0] if ranked else None
            surely_late = top and top.call.number >= since and not top.objection
            if top is None or not top.possible or (since > 0 and not surely_late):
                break
            if top.call.settled:
                if not top.objection and arrivals.cancels(top.call):
                    continue
                return _with_another_way(calls, arrivals, recording)
            unsettled = [c.call.number for c in ranked if c.possible and not c.call.settled]
            recording.settle(recorded.model, recorded.inputs, unsettled[:at_once])
            at_once *= 16
            if recording.reasons.get(top.call.number) == MOVING:
                raise LayerError(
                    f"No layer is chosen: of {top.path!r}, {MOVING}. Stop the network from drawing "
                    "them, or name a layer before that with layer=..."
                )
    # Nothing that looks like a grid is one: measure what does not look like one.
    unclear = [
        call.number
        for call in calls
        if call.learned
        and not call.settled
        and call.layout is None
        and len(call.shape) >= recording.geometry.least_axes
    ]
    recording.settle(recorded.model, recorded.inputs, unclear[-_MOST_UNCLEAR:])
    advice = packed_patches(recorded.inputs)
    patches = recorded.inputs.image.shape[1] if advice else 0
    try:
        calls = read_calls(recording, arrivals.since(0), arrivals.scored, arrivals.cancelled)
        return _with_another_way(calls, arrivals, recording, patches)
    except LayerError as error:
        raise LayerError(f"{error}{advice}") from None


def _with_another_way(
    calls: Sequence[ModuleCall], arrivals: Arrivals, recording: Recording, patches: int = 0
) -> Choice:
    """Choose a layer; the reason names another on a way of its own, as in an ensemble's member."""
    choice = layers_.choose_layer(calls, recording.geometry.size, patches)
    others = layers_.layers_beside(calls, recording.origins)[:_MOST_BESIDE]
    beside = next((call.path for call in others if arrivals.arrives(call)), "")
    if not beside:
        return choice
    return replace(
        choice,
        reason=f"{choice.reason}; {beside!r} lies on another way to the score, and "
        f"layer=[{choice.layer!r}, {beside!r}] explains both",
    )


#: How many layers on other ways are tried.
_MOST_BESIDE = 4

#: How many outputs that do not look like a grid are measured when nothing else is left.
_MOST_UNCLEAR = 24


def read_calls(
    recording: Recording,
    arrived: Sequence[Arrival],
    scored: Container[int] = (),
    cancelled: Container[int] = (),
) -> tuple[ModuleCall, ...]:
    """Return the calls of a pass with what is known of them so far; as `layers.read`."""
    return layers_.read(
        recording.calls,
        arrived,
        recording.origins,
        recording.geometry,
        recording.layouts,
        {number for number, track in enumerate(recording.tracks) if track.grid is None},
        recording.reasons,
        scored,
        cancelled,
    )
