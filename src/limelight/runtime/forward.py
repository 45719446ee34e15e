"""The pass: the network runs once, cut at one or several layers.

The body runs without a graph. The output of the first layer becomes a leaf that requires grad, and
from there on a graph is recorded. `torch.autograd.grad(score, A)` then differentiates the head
alone, and no gradient of a parameter is ever computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from limelight.errors import INFERENCE, LayerError
from limelight.inputs import ModelInputs, input_problem, tensors
from limelight.layers import INPUT, Site, resolve
from limelight.layers.sites import Layer
from limelight.options import Options
from limelight.runtime.autograd import no_grad, with_graph
from limelight.runtime.capture import Capture
from limelight.runtime.compiled import compiled, parts_of
from limelight.runtime.detectors import call
from limelight.runtime.plan import Plan, plan_pass
from limelight.runtime.shadow import shadow
from limelight.runtime.traits import Traits
from limelight.runtime.unwrap import unwrap
from limelight.targets.context import TargetContext
from limelight.targets.outputs import OutputSpec, returned


class LayerOutput(NamedTuple):
    """What one layer put out in a pass.

    Attributes:
        site: The layer.
        reason: Why this layer.
        raw: Its output, a leaf of the graph behind it or a part of the graph of an earlier layer.
    """

    site: Site
    reason: str
    raw: Tensor


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass: what went in, and what came out, with the graph behind the first layer.

    Attributes:
        model: The network, without wrappers.
        inputs: What it was given.
        output: What it returned.
        options: What the call asked for.
        context: What a target has to know besides the output.
        plan: What was known before it ran.
    """

    model: nn.Module
    inputs: ModelInputs
    output: Any
    options: Options
    context: TargetContext
    plan: Plan

    @property
    def traits(self) -> Traits:
        """What is known of the network by its modules."""
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
    follow_input: bool = True,
) -> tuple[Pass, list[LayerOutput]]:
    """Run a model once, cut at layers.

    1. Look through wrappers, and plan: which layers, named or chosen from a recorded pass, and
       which inputs do not go with the images.
    2. Find the layers' modules.
    3. Make a shadow, on which the layers are copies with a hook.
    4. Run it: without a graph up to the first layer, with one from there on.
    5. Take what the layers put out off the hooks, and keep it with what went in and came out.

    Args:
        model: Any eager network.
        inputs: What it is given.
        layers: Where to cut; None has the layer chosen.
        options: What the call asks for.
        follow_input: Whether a cut at the input begins a graph. Without one there is no gradient.

    Raises:
        UnknownNameError, LayerError, ModelError, InputError: As `cut`.
    """
    # 1. The network inside wrappers, and the plan.
    model, spec = unwrap(model), options.spec
    if spec.grid and len(spec.grid) != inputs.image.ndim - 2:
        raise LayerError(
            f"grid is {spec.grid}; a size for each axis of {list(inputs.image.shape[2:])} was "
            "expected."
        )
    plan = plan_pass(model, inputs, layers, spec)
    if plan.fixed:
        inputs = replace(inputs, fixed=plan.fixed)

    # 2. The layers.
    sites = [resolve(model, path) for path, _ in plan.layers]
    at_input = any(site.path == INPUT for site in sites)

    with ExitStack() as stack:
        stack.enter_context(no_grad())
        if options.differentiable:  # fused attention cannot be differentiated twice
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if options.differentiable or (at_input and follow_input):
            stack.enter_context(with_graph())
        image, given = _leaf(inputs, follow_input) if at_input else (inputs.image, inputs.fresh())

        # 3. The shadow.
        capture = Capture([site for site in sites if site.path != INPUT])
        parts = parts_of(model, capture.wanted) if options.compile else []
        root, copies = shadow(model, {*capture.wanted, *map(id, parts)})
        if parts:
            stack.enter_context(compiled(model, copies, parts))
        hooks = [copies[key].register_forward_hook(capture.hook(key)) for key in capture.wanted]

        # 4. The run.
        try:
            output = call(model, root, copies, given)
        finally:
            capture.stop()
            for hook in hooks:  # or they, and A, would wait for the garbage collector
                hook.remove()
    if at_input and follow_input and _all_inference(output):
        raise LayerError(INFERENCE)

    # 5. What is kept.
    raws = [image if site.path == INPUT else capture.raw(site) for site in sites]
    context = TargetContext(inputs.batch, tuple(inputs.image.shape[2:]), spec, plan.words)
    reasons = (reason for _, reason in plan.layers)
    run = Pass(model, inputs, output, options, context, plan)
    return run, list(map(LayerOutput, sites, reasons, raws))


def _leaf(inputs: ModelInputs, follow: bool) -> tuple[Tensor, ModelInputs]:
    """Return the images as a leaf to differentiate by, and inputs that pass them on as a clone."""
    problem = input_problem(inputs)
    if problem:
        raise LayerError(problem)
    if not follow:
        return inputs.image, inputs.fresh()
    leaf = inputs.image.clone().requires_grad_()
    return leaf, inputs.on(leaf.clone())


def _all_inference(output: Any) -> bool:
    """Return whether the model ran its whole forward in inference mode."""
    returned_tensors = tensors([returned(output)])
    return bool(returned_tensors) and all(t.is_inference() for t in returned_tensors)
