"""The check that an exported file gives what the network gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from limelight.deployed.description import Description, MapDescription
from limelight.errors import ModelError
from limelight.explanation import Explanation
from limelight.exporting.plan import ExportPlan
from limelight.finish import AxisSpan, finish
from limelight.methods import find_method
from limelight.status import STATUS_NAMES
from limelight.targets.outputs import returned

#: Runs the file: from images `[B, C, *image]` and targets `[B]` to its outputs by name.
RunFile = Callable[[Tensor, Tensor], Mapping[str, Tensor]]

#: The largest difference that is let through, relative to the largest value; and where the network
#: itself differs by rounding.
TOLERANCE = 1e-4
MOST_TOLERATED = 0.02


@dataclass(slots=True)
class Parity:
    """The largest differences between a file and its network.

    Attributes:
        logits, raw: Relative to the largest value among the image's logits, or on its map.
        heatmap: Between the file's heatmap and the one that its own raw map gives.
        rounding: By how much what the network itself gives changes by rounding, where that counted;
            or 0.
        comparisons: How many images were compared, each time that one was.
        shown: How many maps show something, all maps of the file counted.
        differing: What differs by more than `TOLERANCE`, in words.
    """

    logits: float = 0.0
    raw: float = 0.0
    heatmap: float = 0.0
    rounding: float = 0.0
    comparisons: int = 0
    shown: int = 0
    differing: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """Return the figures by what was compared."""
        return {
            "logits": self.logits,
            "raw": self.raw,
            "heatmap": self.heatmap,
            "rounding": self.rounding,
            "comparisons": self.comparisons,
            "shown": self.shown,
        }

    def add(
        self,
        what: str,
        difference: float,
        where: str,
        own_rounding: Callable[[], float] | None = None,
    ) -> None:
        """Note a difference.

        `own_rounding` returns by how much the network itself differs by rounding.
        """
        setattr(self, what, max(getattr(self, what), difference))
        allowed = TOLERANCE
        if own_rounding is not None and not difference <= allowed:
            rounding = own_rounding()
            self.rounding = max(self.rounding, rounding)
            allowed = max(allowed, min(2 * rounding, MOST_TOLERATED))
        if not difference <= allowed:
            self.differing.append(f"{where} by {difference:.1e}")


def measure_parity(run_file: RunFile, plan: ExportPlan, description: Description) -> Parity:
    """Compare a file with its network, on real and random images, in batches of several sizes.

    1. Run the file.
    2. Explain the same images, of the classes that the file explained, with the network.
    3. Compare logits, raw maps and statuses; and heatmaps with what the raw maps give.

    Where a ReLU's input is next to zero, rounding decides whether a gradient passes. So what the
    file gives may also differ by twice what the network's own changes by when the image changes by
    rounding.

    Args:
        run_file: Runs the file.
        plan: The network, and what was exported of it.
        description: What the file says of itself.

    Raises:
        ModelError: Something differs by more, or a status does.
    """
    parity, count = Parity(), plan.reading.count(plan.run.output)
    _check_repeatable(plan)
    for images, target in _batches(plan.run.inputs.image, description.batch, count):
        # 1. The file.
        outputs = run_file(images, target)
        logits = outputs["logits"]
        # 2. The network.
        _, classes = plan.reading.score(logits, target)
        explanations = plan.explain(images, classes.tolist())
        # 3. The differences.
        expected = plan.reading.logits(returned(explanations[0].output)).detach().cpu()
        parity.comparisons += len(images)
        own = _OwnRounding(plan, images, classes.tolist())
        for b, difference in enumerate(_relative(logits, expected)):
            where = f"the logits of image {b + 1} of {len(images)}"
            parity.add("logits", difference, where, partial(own.of_logits, b))
        for number, each in enumerate(description.maps):
            _compare(parity, each, outputs, explanations[number], partial(own.of_raw, number))
    if parity.differing:
        raise ModelError(
            "The exported file does not give what the network gives, so it was not written: it "
            f"differs in {'; '.join(parity.differing[:4])}. At most {TOLERANCE:.0e} was expected, "
            "relative to the largest value. Take another layer or method, and please report it."
        )
    return parity


def _compare(
    parity: Parity,
    each: MapDescription,
    outputs: Mapping[str, Tensor],
    explanation: Explanation,
    own_rounding: Callable[[int], float],
) -> None:
    """Compare one map of the file with that of the network.

    `own_rounding(b)` returns by how much the network's own map of an image changes by rounding.
    """
    raw, heatmap = outputs[each.raw], outputs[each.heatmap]
    name, expected = f"{each.method} at {each.layer}", explanation.raw.detach().cpu()
    # What subtracts scores has the rounding of the scores.
    subtracts = "head" in find_method(each.method).needs
    least = explanation.score.detach().cpu().abs() if subtracts else None
    differences = _relative(raw, expected, least)
    for b, number in enumerate(outputs[each.status].tolist()):
        status = STATUS_NAMES[number]
        parity.shown += status == "ok"
        if status != explanation.status[b].name:
            parity.differing.append(
                f"the status of {name}, {status} instead of {explanation.status[b].name}"
            )
        elif status not in ("cancelled", "not-finite"):  # what is rounding is not compared
            where = f"the raw map of {name}"
            parity.add("raw", differences[b], where, partial(own_rounding, b))
        finished = finish(raw[b][None], heatmap.shape[1:], [AxisSpan(*axis) for axis in each.span])
        wanted = finished[0] if status == "ok" else torch.zeros_like(finished[0])
        difference = float((heatmap[b] - wanted).abs().max())
        parity.add("heatmap", difference, f"the heatmap of {name}")


def _check_repeatable(plan: ExportPlan) -> None:
    """Refuse a network that gives something else each time: nothing could be compared with it.

    Raises:
        ModelError: As said.
    """
    image = plan.run.inputs.image[:1]
    first, second = (
        plan.reading.logits(returned(plan.explain(image, [0])[0].output)) for _ in range(2)
    )
    if not torch.allclose(
        first, second, rtol=0, atol=1e-6 * float(first.abs().max()), equal_nan=True
    ):
        raise ModelError(
            "The network gives something else each time it sees the same image, so a file cannot "
            "be compared with it, and none was written. It draws random numbers, or keeps state "
            "between calls: make its forward a function of its input."
        )


class _OwnRounding:
    """How much what the network itself gives changes by rounding, at most, for each image.

    Relative to the largest value, over images whose values differ by a millionth.
    """

    def __init__(self, plan: ExportPlan, images: Tensor, classes: Sequence[int]) -> None:
        """Compute nothing yet: it is rarely asked for."""
        self._plan, self._images, self._classes = plan, images, classes
        self._explained = dict[int, list[Explanation]]()

    def of_logits(self, image: int) -> float:
        """Return the change of the logits of an image."""
        output = returned(self._explain(image)[0].output)
        logits = self._plan.reading.logits(output).detach().cpu()
        return max(_relative(logits[1:], logits[:1].expand_as(logits[1:])))

    def of_raw(self, number: int, image: int) -> float:
        """Return the change of a raw map of an image."""
        raw = self._explain(image)[number].raw.detach().cpu()
        return max(_relative(raw[1:], raw[:1].expand_as(raw[1:])))

    def _explain(self, image: int) -> list[Explanation]:
        """Explain an image and changed ones."""
        if image not in self._explained:
            generator = torch.Generator().manual_seed(0)
            original = self._images[image : image + 1]
            shape = _DRAWS, *original.shape[1:]
            noise = torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")
            changed = torch.cat([original, original * (1 + 1e-6 * noise.to(original))])
            classes = [self._classes[image]] * len(changed)
            self._explained[image] = self._plan.explain(changed, classes)
        return self._explained[image]


#: How many changed images are drawn for it.
_DRAWS = 8


def _relative(values: Tensor, expected: Tensor, least: Tensor | None = None) -> list[float]:
    """Return for each image the largest difference, relative to the largest finite value.

    It is infinite where one value is finite, or NaN, and the other is not. With `least`, `[B]`, it
    is relative to that where that is larger.
    """
    values, expected = values.flatten(1), expected.flatten(1)
    same = (values == expected) | (values.isnan() & expected.isnan())
    difference = torch.where(same, 0, (values - expected).abs()).nan_to_num(torch.inf, torch.inf)
    largest = torch.where(expected.isfinite(), expected.abs(), 0).amax(1, keepdim=True)
    if least is not None:
        largest = torch.maximum(largest, least[:, None])
    relative: list[float] = torch.where(difference > 0, difference / largest, 0).amax(1).tolist()
    return relative


def _batches(images: Tensor, fixed: int | None, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images `[B, C, *image]` and targets `[B]`: the real ones, and random ones like them.

    The real ones come twice: for the predicted classes, and for given ones, evenly over the
    `count` classes. Of random ones each second has a given class.
    """
    batch = fixed or len(images)
    real = images[torch.arange(batch, device=images.device) % len(images)]
    yield real, torch.full((batch,), -1, dtype=torch.long, device="cpu")
    yield (
        real,
        (torch.arange(1, batch + 1, device="cpu") * count // (batch + 1)).clamp(max=count - 1),
    )
    generator = torch.Generator().manual_seed(0)
    deviation, mean = images.std(), images.mean()
    for size in (fixed,) if fixed else (1, 3):
        shape = size, *images.shape[1:]
        noise = torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")
        target = torch.where(torch.arange(size, device="cpu") % 2 == 0, -1, count - 1)
        yield noise.to(images) * deviation + mean, target
