"""The pass: the network runs once, cut at one or several layers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from limelight import layers as layers_
from limelight.errors import INFERENCE, LayerError
from limelight.inputs import ModelInputs, input_problem, tensors
from limelight.layers import INPUT, Site
from limelight.layers.sites import Layer
from limelight.runtime.autograd import no_grad, with_graph
from limelight.runtime.capture import Capture
from limelight.runtime.compiled import compiled, parts_of
from limelight.runtime.detectors import call
from limelight.runtime.record import choose
from limelight.runtime.shadow import shadow
from limelight.runtime.traits import Traits, traits_of
from limelight.runtime.unbatched import mark_unbatched_inputs
from limelight.runtime.unwrap import unwrap
from limelight.targets import OutputSpec, TargetContext
from limelight.targets.context import target_context
from limelight.targets.outputs import returned


def run_pass(
    model: nn.Module,
    layers: Sequence[Layer | None],
    given: ModelInputs,
    reading: OutputSpec | None,
    *,
    differentiable: bool,
    follow_input: bool,
    compile: bool = False,
) -> tuple[list[Site], list[str], list[Tensor], Pass]:
    """Run a model once; return the layers, why these, what each put out, and the pass."""
    model, reading = unwrap(model), reading or OutputSpec()
    if reading.grid and len(reading.grid) != given.image.ndim - 2:
        raise LayerError(
            f"grid is {reading.grid}; a size for each axis of {list(given.image.shape[2:])} was "
            "expected."
        )
    given = mark_unbatched_inputs(model, given, reading)
    sites, reasons = list[Site](), list[str]()
    for layer in layers:
        if layer is None:
            choice = choose(model, given, reading)
        else:
            choice = layers_.Choice(layer, "what the method reads" if layer == INPUT else "named")
        sites.append(layers_.resolve(model, choice.layer))
        reasons.append(choice.reason)
    watch = Capture([site for site in sites if site.path != INPUT])
    image: Tensor | None = None
    with ExitStack() as stack:
        stack.enter_context(no_grad())
        at_input = any(site.path == INPUT for site in sites)
        if differentiable:  # fused attention cannot be differentiated twice
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if differentiable or (at_input and follow_input):
            stack.enter_context(with_graph())
        if at_input:
            image, passed = _leaf(given, follow=follow_input)
        else:
            passed = given.fresh()
        parts = parts_of(model, watch.wanted) if compile else []
        root, copies = shadow(model, {*watch.wanted, *map(id, parts)})
        stack.enter_context(compiled(model, copies, parts))
        handles = [copies[key].register_forward_hook(watch.hook(key)) for key in watch.wanted]
        try:
            output = call(model, root, copies, passed)
        finally:
            watch.stop()
            for handle in handles:  # or they, and A, would wait for the garbage collector
                handle.remove()
    if image is not None and follow_input and _all_inference(output):
        raise LayerError(INFERENCE)
    run = Pass(model, given, output, reading, traits_of(model), differentiable, compile)
    raws = [
        image if site.path == INPUT and image is not None else watch.raw(site) for site in sites
    ]
    return sites, reasons, raws, run


def _all_inference(output: Any) -> bool:
    """Say whether the model ran its whole forward in inference mode."""
    found = tensors([returned(output)])
    return bool(found) and all(tensor.is_inference() for tensor in found)


def _leaf(given: ModelInputs, *, follow: bool) -> tuple[Tensor, ModelInputs]:
    """Return the images as a leaf to differentiate by, and inputs that pass them on as a clone."""
    problem = input_problem(given)
    if problem:
        raise LayerError(problem)
    if not follow:
        return given.image, given.fresh()
    leaf = given.image.clone().requires_grad_()
    return leaf, given.on(leaf.clone())


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass: what went in and what came out (with the graph behind the cut)."""

    model: nn.Module
    given: ModelInputs
    output: Any
    reading: OutputSpec
    traits: Traits
    differentiable: bool = False
    compile: bool = False

    @property
    def asked(self) -> TargetContext:
        """What a target has to know besides the output."""
        return target_context(self.given, self.reading)
