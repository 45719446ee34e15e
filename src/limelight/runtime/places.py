"""Measures where each number of a layer's output looks; `limelight.layers.places` reads it.

The network runs, as it is and without a graph, on the first picture and on the picture changed a
little by weighted noise, up to the last module that is asked for. What its outputs change by tells
which part of the picture each number answers to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from limelight.inputs import ModelInputs, tensors
from limelight.layers.moments import Moments
from limelight.layers.tracks import Anchor
from limelight.pixels import as_pixels
from limelight.progress import RunCallback
from limelight.runtime.autograd import no_grad
from limelight.runtime.execution import call_shadow
from limelight.runtime.shadow import fill_zeros, shadow

#: The size of the noise, as a share of the picture's deviation, by the bits of its numbers.
_NOISE = {16: 0.25, 32: 1e-2, 64: 1e-3}

#: The share of that noise with which spreads are measured: networks answer linearly to so little.
_FINE = 0.1

#: The size of the noise on a picture of whole numbers, which it has to change.
_NOISE_OF_INTEGERS = 8.0

#: The weight of every pixel where the noise is as it is.
_ONE = torch.ones((), dtype=torch.float64, device="cpu")

#: How much of the changes may come from random numbers that the network draws, in energy.
_REPEATS = 1e-4


@dataclass
class PlaceMeasurement:
    """The measurement of one tensor.

    Attributes:
        moments: Of all draws, for one image.
        random: How the output differs between two runs on the same picture: "" if it does not,
            "seeded" if it follows from torch's seed, "always" if it differs whatever the seed.
    """

    moments: Moments
    random: str = ""


def measure_places(
    model: nn.Module,
    inputs: ModelInputs,
    anchors: Sequence[Anchor],
    *,
    draws: int = 2,
    size: float = 1.0,
    seed: int = 0,
) -> list[PlaceMeasurement | None]:
    """Measure where outputs and inputs of calls look; None for a call that did not run.

    1. Run the network on the picture twice, with one seed, and once more with another seed if it
       draws random numbers.
    2. For each draw of noise and each weight, run it on the changed picture.
    3. Sum the squared changes of each number, by weight.

    Args:
        model: The network.
        inputs: The inputs of one image.
        anchors: The outputs and inputs to measure.
        draws: How many draws of noise.
        size: How large the noise is, against the usual.
        seed: The seed for what the network itself draws.
    """
    runner = _Runner(model, inputs, anchors)
    image = inputs.image
    places = _along_axes(image)
    axes = len(places)
    weights = [_ONE, *(place.sqrt() for place in places), *places]
    # 1. The picture.
    base = runner.run(image, seed)
    again = runner.run(image, seed)
    other = runner.run(image, seed + 1) if runner.draws_numbers else again
    # 2., 3. The changed pictures.
    sums: list[list[Tensor | None]] = [[None] * (1 + 2 * axes) for _ in anchors]
    for noise in _noises(image, draws, size):
        for number, weight in enumerate(weights):
            changed = runner.run(_changed(image, noise * weight), seed)
            for totals, before, after in zip(sums, base, changed, strict=True):
                if before is not None and after is not None:
                    squares, total = (after - before).square(), totals[number]
                    totals[number] = squares if total is None else total + squares
    results = list[PlaceMeasurement | None]()
    for totals, values in zip(sums, zip(base, again, other, strict=True), strict=True):
        first, second, third = values
        found = [total for total in totals if total is not None]
        if first is None or second is None or third is None or not found:
            results.append(None)
            continue
        moments = Moments(
            found[0], torch.stack(found[1 : 1 + axes]), torch.stack(found[1 + axes :])
        )
        limit = _REPEATS * float(found[0].sum()) / draws
        results.append(PlaceMeasurement(moments, _random(first, second, third, limit)))
    return results


def measure_moments(
    model: nn.Module,
    inputs: ModelInputs,
    anchor: Anchor,
    *,
    draws: int,
    progress: RunCallback | None = None,
) -> Moments | None:
    """Measure where one output looks, sharply enough for its spread; None if it did not run.

    The picture is changed by n and, for each axis, by `y n`, with the same noise n. As

        E[(J n) (J y n)] = sum_p J_p^2 y_p   and   E[(J y n)^2] = sum_p J_p^2 y_p^2 ,

    the two changes give both moments. By Cauchy and Schwarz, no variance that is made of sums of
    them is negative, however few the draws.
    """
    runner = _Runner(model, inputs, [anchor])
    image = inputs.image
    weights = [_ONE, *_along_axes(image)]
    (base,) = runner.run(image, 0)
    energy, first, second = (torch.zeros((), dtype=torch.float64, device="cpu") for _ in range(3))
    is_fine = image.is_floating_point() and torch.finfo(image.dtype).bits > 16
    for number, drawn in enumerate(_noises(image, draws, 1.0), start=1):
        noise = drawn * _FINE if is_fine else drawn
        runs = [runner.run(_changed(image, noise * weight), 0)[0] for weight in weights]
        changes = [run - base for run in runs if run is not None and base is not None]
        if len(changes) < len(runs):
            return None
        whole, along = changes[0], torch.stack(changes[1:])
        energy = energy + whole.square()
        first = first + whole * along
        second = second + along.square()
        if progress:
            progress(number, draws)
    return Moments(energy, first, second)


def _random(first: Tensor, second: Tensor, third: Tensor, limit: float) -> str:
    if float((second - first).square().sum()) > limit:
        return "always"
    return "seeded" if float((third - first).square().sum()) > limit else ""


class _Stop(BaseException):
    """Ends a run when all that is wanted has been seen; no `except Exception` stops it."""


def first_grid(arguments: Iterable[Tensor], least_axes: int) -> Tensor | None:
    """Return the first tensor among a call's arguments that may be a grid, of so many axes."""
    return next((t for t in arguments if t.is_floating_point() and t.ndim >= least_axes), None)


class _Runner:
    """Runs a shadow up to the last call that is wanted."""

    def __init__(self, model: nn.Module, inputs: ModelInputs, anchors: Sequence[Anchor]) -> None:
        self._model, self._inputs, self._anchors = model, inputs, anchors
        self.draws_numbers = False
        wanted = {anchor.path for anchor in anchors}
        self._modules = {id(m): path for path, m in model.named_modules() if path in wanted}
        with torch.inference_mode(False):
            self._root, self._copies = shadow(model)
            for copy in self._copies.values():
                fill_zeros(copy)

    def run(self, image: Tensor, seed: int) -> list[Tensor | None]:
        """Return the wanted tensors for an image, in float64 on the CPU.

        It also notes whether the network drew random numbers from torch.
        """
        watch = _Watch(self._anchors, self._inputs.least_axes)
        hooks = []
        for key, path in self._modules.items():
            copy = self._copies[key]
            hooks += [
                copy.register_forward_pre_hook(partial(watch.enter, path), with_kwargs=True),
                copy.register_forward_hook(partial(watch.leave, path), prepend=True),
            ]
        inputs = self._inputs.on(image).clone()
        try:
            with no_grad(), _seeded(seed, image.device):
                before = _generators(image.device)
                try:
                    call_shadow(self._model, self._root, self._copies, inputs)
                finally:
                    pairs = zip(before, _generators(image.device), strict=True)
                    self.draws_numbers = not all(torch.equal(a, b) for a, b in pairs)
        except _Stop:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        return [watch.seen.get(anchor) for anchor in self._anchors]


class _Watch:
    """Keeps the wanted tensors of one run, and stops it when it has them all."""

    def __init__(self, anchors: Sequence[Anchor], least_axes: int) -> None:
        self._least_axes = least_axes
        self.seen = dict[Anchor, Tensor]()
        self._waiting = {(a.path, a.call, a.is_input): a for a in anchors}
        self._counts = dict[str, int]()
        self._running = list[int]()

    def enter(self, path: str, _module: nn.Module, args: Any, kwargs: Any) -> None:
        """Keep the input of a call."""
        call = self._counts.get(path, 0)
        self._counts[path] = call + 1
        self._running.append(call)
        self._keep((path, call, True), first_grid(tensors((args, kwargs)), self._least_axes))

    def leave(self, path: str, _module: nn.Module, _args: Any, output: Any) -> None:
        """Keep the output of a call."""
        found = tensors(output)
        self._keep((path, self._running.pop(), False), found[0] if found else None)

    def _keep(self, key: tuple[str, int, bool], tensor: Tensor | None) -> None:
        anchor = self._waiting.pop(key, None)
        if anchor is None:
            return
        if tensor is not None and tensor.is_floating_point():
            self.seen[anchor] = tensor.detach().to("cpu", torch.float64, copy=True)
        if not self._waiting:
            raise _Stop


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's generators, and give the caller's state back."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def _generators(device: torch.device) -> list[Tensor]:
    """Return the states of torch's generators that a network on this device draws from."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def _noises(image: Tensor, draws: int, size: float) -> Iterator[Tensor]:
    """Yield Gaussian noise of the size that suits the image's type, or `size` times that."""
    generator = torch.Generator("cpu").manual_seed(0)
    if image.is_floating_point() or image.is_complex():
        deviation = float(image.detach().abs().double().std(correction=0))
        scale = (deviation or 1.0) * _NOISE[torch.finfo(image.dtype).bits] * size
    else:
        scale = _NOISE_OF_INTEGERS * max(size, 1.0)
    for _ in range(draws):
        drawn = torch.randn(image.shape, generator=generator, dtype=torch.float64, device="cpu")
        yield drawn * scale


def _along_axes(image: Tensor) -> list[Tensor]:
    """Return for each axis of the image the place of each pixel, from 0 to 1."""
    places = []
    for axis in range(2, image.ndim):
        sizes = [1] * image.ndim
        sizes[axis] = image.shape[axis]
        along = torch.arange(image.shape[axis], dtype=torch.float64, device="cpu")
        places.append(((along + 0.5) / image.shape[axis]).reshape(sizes))
    return places


def _changed(image: Tensor, noise: Tensor) -> Tensor:
    """Return the image with noise; whole numbers stay whole, and in the range of their type."""
    if image.is_floating_point() or image.is_complex():
        return image + noise.to(image)
    changed = image.detach().cpu().double() + noise.round()
    return as_pixels(changed, image.dtype).to(image)
