"""Whether a network is read well: what is found in it, a first map, and how far to trust it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from limelight.channels import taken_input
from limelight.errors import InputError, LayerError, LimelightError
from limelight.examination.cell_places import cells_observation, grid_observation
from limelight.examination.model_state import (
    changed_in,
    empty_weights,
    model_state,
    unsound_weights,
)
from limelight.examination.network_output import examine_output
from limelight.examination.observations import (
    Observation,
    ObservationVerdict,
    of_part,
    quiet,
    timed,
)
from limelight.explanation import Explanation
from limelight.layers import candidates, resolve
from limelight.layers.choice import NO_GRADIENT
from limelight.layers.resolved import Layer
from limelight.metrics.sanity import LIKENESS_LIMIT, sanity
from limelight.models.network import Images, Model, Network, Subject, read_subject
from limelight.photos.samples import SAMPLES, find_sample
from limelight.pipeline import explain
from limelight.progress import ProgressCallback
from limelight.runtime.autograd import no_grad
from limelight.runtime.cells import measure_cells
from limelight.runtime.detectors import read_detected
from limelight.runtime.execution import run_network
from limelight.runtime.record import cached_record, chosen_layer
from limelight.runtime.unwrap import unwrap
from limelight.targets import LogitsKey, OutputSpec, Target, output_spec

#: A second map may differ from the first by so much, as a share of the largest value.
_SAME = 1e-5

#: Inputs with values above this were probably never scaled to the range that networks take.
_PIXEL_VALUES = 20


def examine_network(
    model: Model,
    images: Images | None,
    *,
    target: Target = None,
    layer: Layer | None = None,
    output: LogitsKey | None = None,
    seconds: float = 60,
    progress: ProgressCallback = quiet,
) -> Iterator[Observation]:
    """Yield what is found in a network, from its weights to how far its maps can be trusted.

    1. What it is, and what it takes.
    2. What it returns, and whether it returns the same again.
    3. Where it can be cut, which layer is chosen, and whether its cells look where they lie.
    4. A first map of each image, whether it is the same again, and whether the model is untouched.
    5. Whether the map goes away with the weights, if that fits the time.

    Args:
        model: As in `explain`.
        images: As in `explain`; None for a sample photo, if the model is a `Network`.
        target, layer, output: As in `explain`.
        seconds: How long the last step may take, about.
        progress: Called as progress(step, done, total).

    Raises:
        InputError: The images cannot be made for this model, or cannot be read.
        ModelError: The model is not an eager `nn.Module`.
    """
    given, images = _given(model, images)
    subject = read_subject(model, images)
    unwrap(subject.model)  # raises what cannot be examined
    network = model if isinstance(model, Network) else None
    spec = output_spec(subject.classes, output, None)
    found = _NetworkExamination(model, images, subject, network, spec, layer, target)
    before = model_state(subject.model)
    parts = (
        ("network", "the network", found.network_observations()),
        ("input", "the input", found.input_observations(given)),
        ("output", "the output", found.output_observations()),
        ("layers", "the layers", found.layer_observations()),
        ("place", "where the cells of the layer look", found.place_observations()),
        ("map", "a first map", found.map_observations()),
        ("trust", _RANDOM_WEIGHTS, found.trust_observations(seconds, progress)),
    )
    for part, doing, observations in parts:
        progress(doing, 0, 0)
        seen = list(of_part(part, observations, _ITS_OWN_CODE))
        yield from seen
        if empty_weights(found.model):
            break  # without values it cannot be run
        if part in ("output", "layers") and any(each.verdict == "broken" for each in seen):
            break  # what does not run has no layers, and without a layer there is no map
    yield _untouched(subject.model, before)


_RANDOM_WEIGHTS = "whether random weights change the map"

_ITS_OWN_CODE = "It was raised by the network's own code, or by a library."


def _given(model: Model, images: Images | None) -> tuple[str, Images]:
    """Return in words what the network is shown, and the images.

    Raises:
        InputError: There are no images, and how to make them is not known.
    """
    if images is not None:
        return "the images that were given", images
    if not isinstance(model, Network):
        raise InputError(
            "No images were given, and how to make them for this model is not known. Pass images "
            "[B, C, H, W] as the model takes them; or a Network, which is shown a sample photo."
        )
    preprocess = model.preprocess
    if preprocess.takes_volumes or preprocess.channels not in (1, 3):
        size = preprocess.size or ((16, 64, 64) if preprocess.takes_volumes else (224, 224))
        noise = torch.randn(1, preprocess.channels, *size, dtype=torch.float32, device="cpu")
        return "noise, as no photo was given", noise.to(next(model.model.parameters(), noise))
    sample = next(iter(SAMPLES))
    return f"the sample photo {sample!r}, as none was given", find_sample(sample)


@dataclass(eq=False)
class _NetworkExamination:
    """A network with its images, and what was found in it so far."""

    given: Model
    images: Images
    subject: Subject
    network: Network | None
    spec: OutputSpec
    layer: Layer | None
    target: Target
    result: Explanation | None = None
    seconds: float = 0

    @cached_property
    def model(self) -> nn.Module:
        """The network inside its wrappers."""
        return unwrap(self.subject.model)

    def network_observations(self) -> Iterator[Observation]:
        """Yield what the network is, and whether its weights are sound."""
        part, model = "network", self.model
        if empty := empty_weights(model):
            advice = "Load weights from a file, after model.to_empty(device=...), or run it once."
            found = f"{', '.join(empty[:3])} hold{'' if len(empty) > 1 else 's'} nothing"
            yield Observation(part, "values", found, "broken", advice)
            return
        weights = list(model.named_parameters())
        count = sum(weight.numel() for _, weight in weights)
        name = self.network.name if self.network else type(model).__name__
        types = sorted({str(weight.dtype).removeprefix("torch.") for _, weight in weights})
        devices = sorted({str(weight.device) for _, weight in weights})
        where = f"{', '.join(types)} on {', '.join(devices)}" if weights else "without weights"
        yield Observation(
            part, "name", f"{name} ({type(model).__name__}), {count:,} parameters, {where}"
        )
        if self.network is not None:
            is_random = self.network.weights == "random"
            advice = "Neither answers nor maps mean a thing: load trained weights."
            verdict: ObservationVerdict = "note" if is_random else "ok"
            yield Observation(
                part, "weights", self.network.weights, verdict, advice if is_random else ""
            )
        if unsound := unsound_weights(model):
            advice = "Finite numbers were expected. Load the weights anew, or train without them."
            found = f"NaN or infinity in {', '.join(unsound[:3])}"
            yield Observation(part, "values", found, "broken", advice)

    def input_observations(self, given: str) -> Iterator[Observation]:
        """Yield what the network takes, and what it is given."""
        part, image = "input", self.subject.inputs.image
        taken = taken_input(self.model)
        shape = " x ".join(map(str, image.shape))
        if taken is not None and image.ndim >= 3 and taken.channels != image.shape[1]:
            advice = (
                f"The first convolution takes {taken.channels} channels; images "
                f"[B, {taken.channels}, ...] were expected, or a Preprocess with as many means."
            )
            yield Observation(part, "shape", shape, "broken", advice)
        else:
            channels = "" if taken is None else f"; the first convolution takes {taken.channels}"
            yield Observation(part, "shape", f"{shape}{channels}")
        yield Observation(part, "images", given)
        low, high = float(image.min()), float(image.max())
        large = image.is_floating_point() and high > _PIXEL_VALUES
        advice = (
            "Most networks are trained on numbers near 0. Scale and normalise the images as in "
            "training."
        )
        yield Observation(
            part,
            "values",
            f"from {low:.3g} to {high:.3g}",
            "note" if large else "ok",
            advice if large else "",
        )

    def output_observations(self) -> Iterator[Observation]:
        """Yield what the network returns, and whether it is the same again."""
        inputs = self.subject.inputs
        with no_grad():
            raw, seconds = timed(lambda: run_network(self.model, inputs.clone()))
            again = run_network(self.model, inputs.clone())
        read = [read_detected(each, inputs, self.model) for each in (raw, again)]
        yield from examine_output(read[0], read[1], self.spec, inputs.batch)
        yield Observation("output", "time", f"{seconds:.2f} s for a pass")

    def layer_observations(self) -> Iterator[Observation]:
        """Yield where the network can be cut, which layer is taken and why, and its layout."""
        part = "layers"
        calls = cached_record(self.model, self.subject.inputs, self.spec)
        ranked = candidates(calls)
        good = [each for each in ranked if each.possible and not each.objection]
        possible = [each for each in ranked if each.possible]
        yield Observation(
            part,
            "candidates",
            f"{len(possible)} of {len({call.path for call in calls if call.path})} modules can be "
            f"cut at, {len(good)} of them without objection",
        )
        path, reason = self._layer()
        objection = next((each.objection for each in ranked if each.path == path), "")
        # Small, medium and large boxes were followed, and some of them are read from this layer.
        serves_others = self.layer is None and objection == NO_GRADIENT
        if serves_others:
            reason += "; a score that is read from another grid is explained at a layer of that"
            objection = ""
        others = ", ".join(repr(each.path) for each in good[:3] if each.path != path)
        advice = f" Name another with layer=..., such as {others}." if others else ""
        yield Observation(
            part,
            "layer",
            f"{path}: {reason}",
            "note" if objection else "ok",
            f"Of this layer, {objection}.{advice}" if objection else "",
        )
        call = next((each for each in calls if each.path == path.partition("#")[0]), None)
        if call is not None and call.layout is not None:
            yield grid_observation(call)

    def _layer(self) -> tuple[str, str]:
        """Return the path of the layer that is taken, and why."""
        if self.layer is not None:
            return resolve(self.model, self.layer).name, "named"
        choice = chosen_layer(self.model, self.subject.inputs, self.spec)
        return str(choice.layer), choice.reason

    def place_observations(self) -> Iterator[Observation]:
        """Yield whether the cells of the layer look where they lie."""
        path, _ = self._layer()
        try:
            cells = measure_cells(self.model, self.subject.inputs, path, self.spec)
        except LayerError as error:
            yield Observation("place", "cells", "not measured", "note", str(error))
            return
        yield cells_observation(cells)

    def map_observations(self) -> Iterator[Observation]:
        """Yield the status of each image's map, and whether it is the same again."""
        part = "map"
        result, seconds = timed(self._explain)
        self.result, self.seconds = result, seconds
        for number, status in enumerate(result.status):
            subject = "map" if len(result) == 1 else f"map {number}"
            found = f"{status.name}: {result.method} of {result.label[number]}"
            unsound = status.name == "not-finite"
            verdict: ObservationVerdict = "ok" if status.ok else "broken" if unsound else "note"
            yield Observation(part, subject, found, verdict, status.message)
        gap = _gap(result.raw, self._explain().raw)
        advice = (
            "The same numbers were expected twice: something in the network is drawn at random in "
            "evaluation mode, or its kernels add up in no fixed order. Maps of it differ likewise; "
            "average over several, with views=limelight.noise()."
        )
        same = gap <= _SAME
        found = "the same map twice" if same else f"a second map differs by {gap:.1%}"
        if math.isfinite(gap):
            verdict = "ok" if same else "note"
            yield Observation(part, "again", found, verdict, "" if same else advice)
        yield Observation(part, "time", f"{seconds:.2f} s for a map, with what is found once")

    def _explain(self) -> Explanation:
        key = self.spec.key
        return explain(self.given, self.images, target=self.target, layer=self.layer, output=key)

    def trust_observations(
        self, seconds: float, progress: ProgressCallback
    ) -> Iterator[Observation]:
        """Yield whether the map goes away when the weights are drawn anew, in a few stages."""
        if self.result is None or not any(status.ok for status in self.result.status):
            advice = "There is no map to test."
            yield Observation("trust", "random weights", "not tried", "note", advice)
            return
        ends = time.perf_counter() + seconds

        def stop_in_time(_task: str, done: int, total: int) -> None:
            progress(_RANDOM_WEIGHTS, done, total)
            if time.perf_counter() > ends:
                raise _OutOfTime

        try:
            found = sanity(
                self.given,
                self.images,
                methods=self.result.method,
                target=self.target,
                layer=self.layer,
                steps=_STAGES,
                output=self.spec.key,
                progress=stop_in_time,
            )
        except LimelightError as error:
            yield Observation("trust", "random weights", "not tried", "note", str(error))
            return
        except _OutOfTime:
            advice = "`limelight sanity`, or limelight.sanity in Python, takes the time it needs."
            found_text = f"not finished in {seconds:.0f} s"
            yield Observation("trust", "random weights", found_text, "note", advice)
            return
        estimate = found.measurement.estimate(self.result.method, "parameter-randomisation").own
        yield _likeness(estimate.value, estimate.images)


#: How many stages of random weights are tried: the logits, all layers, and between them.
_STAGES = 4


class _OutOfTime(Exception):
    """Raised where an examination has taken its time."""


def _likeness(likeness: float, images: int) -> Observation:
    """Return what the likeness of maps with random weights says."""
    if math.isnan(likeness):
        advice = "A map that is the same everywhere is like no other. Take another photo or method."
        return Observation("trust", "random weights", "not measured", "note", advice)
    count = f"{images} image{'s' if images > 1 else ''}"
    found = f"a rank correlation of {likeness:.2f} with maps of random weights, on {count}"
    if likeness < LIKENESS_LIMIT:
        return Observation("trust", "random weights", found)
    advice = (
        f"Less than {LIKENESS_LIMIT} was expected: such a map shows edges or the middle of the "
        "picture rather than what was learned. A verdict takes 8 photos: `limelight sanity`."
    )
    return Observation("trust", "random weights", found, "note", advice)


def _gap(first: Tensor, second: Tensor) -> float:
    """Return the largest difference of two maps, as a share of the largest value of the first."""
    first, second = first.detach(), second.detach()
    largest = float(first.abs().max())
    return float((first - second).abs().max()) / largest if largest else 0.0


def _untouched(model: nn.Module, before: dict[str, Any]) -> Observation:
    """Return whether the examination left the model as it was."""
    changed = changed_in(model, before)
    if not changed:
        return Observation("model", "untouched", "weights, mode, hooks and gradients are as before")
    advice = (
        "The network's own forward changes them when it runs, or another thread did meanwhile. If "
        "neither is so, please report it."
    )
    return Observation("model", "untouched", f"changed: {', '.join(changed)}", "note", advice)
