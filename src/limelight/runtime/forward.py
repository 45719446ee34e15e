"""The pass: the network runs once, cut at one or several layers.

The body runs without a graph. The output of the first layer becomes a leaf that requires grad, and
from there on autograd records the graph. `torch.autograd.grad(score, A)` then differentiates the
head alone; no gradient of a parameter is ever computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from limelight.errors import INFERENCE, LayerError
from limelight.inputs import ModelInputs, tensors
from limelight.layers import INPUT, ResolvedLayer, resolve
from limelight.layers.resolved import Layer
from limelight.options import Options
from limelight.pixels import input_problem
from limelight.runtime.autograd import no_grad, with_graph
from limelight.runtime.capture import Capture
from limelight.runtime.compiled import compiled, parts_of
from limelight.runtime.execution import call_shadow
from limelight.runtime.plan import Plan, plan_pass
from limelight.runtime.shadow import shadow
from limelight.runtime.traits import Traits
from limelight.runtime.unwrap import unwrap
from limelight.targets import ScoreTarget
from limelight.targets.context import TargetContext
from limelight.targets.outputs import OutputSpec, returned


class LayerOutput(NamedTuple):
    """The output of one layer in a pass.

    Attributes:
        layer: The layer.
        reason: Why this layer.
        tensor: Its output, in the layer's own layout: a leaf of the graph; or, if an earlier layer
            is cut too, a tensor inside the graph that begins there.
    """

    layer: ResolvedLayer
    reason: str
    tensor: Tensor


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass: its inputs and its output, with the graph behind the first layer.

    Variables of this type are named `run`, as `pass` is a keyword.

    Attributes:
        model: The network, without wrappers.
        inputs: The model's arguments.
        output: What the network returned; for a detector, a `Detected`.
        options: The options of the call.
        context: What a target needs to know besides the output.
        plan: What was decided before the pass.
    """

    model: nn.Module
    inputs: ModelInputs
    output: Any
    options: Options
    context: TargetContext
    plan: Plan

    @property
    def traits(self) -> Traits:
        """What the network's modules tell about it."""
        return self.plan.traits

    @property
    def spec(self) -> OutputSpec:
        """How to read the output."""
        return self.options.spec


def run_pass(
    model: nn.Module,
    inputs: ModelInputs,
    layers: Sequence[Layer | None],
    options: Options,
    *,
    asked: Sequence[ScoreTarget] = (),
    input_requires_grad: bool = True,
    watched: Sequence[Layer] = (),
) -> tuple[Pass, list[LayerOutput]]:
    """Run a model once, cut at layers.

    1. Unwrap the network, and plan: find which layers to cut at, and which input tensors are not
       one per image.
    2. Find the layers' modules.
    3. Make a shadow, in which the layers are copies with a hook.
    4. Run the shadow: without a graph up to the first layer, with one from there on.
    5. Take the layers' outputs from the hooks, and keep them with the inputs and the output.

    Args:
        model: Any eager network.
        inputs: Its arguments.
        layers: Where to cut; limelight chooses the layer for None.
        options: The options of the call.
        asked: The targets that a layer is chosen for.
        input_requires_grad: Whether the images are a leaf that requires grad when the network is
            cut at the input. Without it that cut has no gradient, and needs no graph.
        watched: Those of the layers at which no graph begins; their activations alone are read.

    Raises:
        UnknownNameError, LayerError, ModelError, InputError: As `cut`.
    """
    # 1. The unwrapped network, and the plan.
    model, spec = unwrap(model), options.spec
    inputs = inputs.on_grid(spec.grid)
    if spec.grid and len(spec.grid) != inputs.image.ndim - 2:
        raise LayerError(
            f"grid is {spec.grid}; a size for each axis of {list(inputs.image.shape[2:])} was "
            "expected."
        )
    plan = plan_pass(model, inputs, layers, spec, asked)
    if plan.unbatched:
        inputs = replace(inputs, unbatched=plan.unbatched)

    # 2. The layers' modules.
    resolved = [resolve(model, path) for path, _ in plan.layers]
    at_input = any(layer.path == INPUT for layer in resolved)

    with ExitStack() as stack:
        stack.enter_context(no_grad())
        if options.differentiable:  # fused attention cannot be differentiated twice
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if options.differentiable or (at_input and input_requires_grad):
            stack.enter_context(with_graph())
        image, call_inputs = (
            _images_to_cut(inputs, requires_grad=input_requires_grad)
            if at_input
            else (inputs.image, inputs.clone())
        )

        # 3. and 4. The shadow, and the run.
        captured = [layer for layer in resolved if layer.path != INPUT]
        capture = Capture(captured, watched=_only_watched(captured, layers, watched))
        output = run_captured(model, call_inputs, capture, compile=options.compile)
    if at_input and input_requires_grad and _all_inference(output):
        raise LayerError(INFERENCE)

    # 5. What the pass keeps.
    tensors_at_layers = [
        image if layer.path == INPUT else capture.output_of(layer) for layer in resolved
    ]
    context = TargetContext(inputs.batch, tuple(inputs.image.shape[2:]), spec, plan.words)
    reasons = (reason for _, reason in plan.layers)
    run = Pass(model, inputs, output, options, context, plan)
    return run, list(map(LayerOutput, resolved, reasons, tensors_at_layers))


def _only_watched(
    captured: Sequence[ResolvedLayer], layers: Sequence[Layer | None], watched: Sequence[Layer]
) -> list[ResolvedLayer]:
    """Return the captured layers that are watched, and not also cut at."""
    in_pairs = zip(captured, (layer for layer in layers if layer != INPUT), strict=False)
    cut_at = {id(layer.module) for layer, named in in_pairs if named not in watched}
    return [layer for layer in captured if id(layer.module) not in cut_at]


def run_captured(
    model: nn.Module, inputs: ModelInputs, capture: Capture, *, compile: bool = False
) -> Any:
    """Run a shadow in which the captured layers are copies with a hook, and return its output.

    The shadow may write on the inputs. Call this without grad; from the first captured layer on, a
    graph is recorded.
    """
    to_compile = parts_of(model, capture.wanted) if compile else []
    root, copies = shadow(model, {*capture.wanted, *map(id, to_compile)})
    hooks = [hook for key in capture.wanted for hook in capture.hook(copies[key], key)]
    with compiled(model, copies, to_compile):
        try:
            return call_shadow(model, root, copies, inputs)
        finally:
            capture.stop()
            for hook in hooks:  # else a reference cycle through the hook keeps A alive
                hook.remove()


def _images_to_cut(inputs: ModelInputs, *, requires_grad: bool) -> tuple[Tensor, ModelInputs]:
    """Return the images to cut at, and the inputs to run on.

    With `requires_grad` the images are a leaf of the graph, and the inputs hold a clone of it.

    Raises:
        LayerError: The input is no batch of images.
    """
    problem = input_problem(inputs.image, requires_grad=requires_grad)
    if problem:
        raise LayerError(problem)
    if not requires_grad:
        return inputs.image, inputs.clone()
    leaf = inputs.image.clone().requires_grad_()
    return leaf, inputs.on(leaf.clone())


def _all_inference(output: Any) -> bool:
    """Return whether the model ran its whole forward in inference mode."""
    returned_tensors = tensors([returned(output)])
    return bool(returned_tensors) and all(t.is_inference() for t in returned_tensors)
