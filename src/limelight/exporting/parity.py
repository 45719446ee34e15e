"""The check that an exported file gives what the network gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from limelight.deployed.description import Description, MapDescription
from limelight.errors import ModelError
from limelight.explanation import Explanation
from limelight.exporting.class_scores import ClassReading
from limelight.finish import AxisSpan, finish
from limelight.status import STATUS_NAMES
from limelight.targets.outputs import returned

#: Runs the file: from images `[B, C, *image]` and targets `[B]` to its outputs by name.
RunFile = Callable[[Tensor, Tensor], Mapping[str, Tensor]]

#: Explains images of these classes with the network: one explanation for each map.
ExplainOriginal = Callable[[Tensor, Sequence[int]], Sequence[Explanation]]

#: The largest difference that is let through, relative to the largest value.
TOLERANCE = 1e-4


@dataclass(slots=True)
class Parity:
    """The largest differences between a file and its network.

    Attributes:
        logits, raw: Relative to the largest value among the image's logits, or on its map.
        heatmap: Between the file's heatmap and the one that its own raw map gives.
        images: How many images were compared.
        differing: What differs by more than `TOLERANCE`, in words.
    """

    logits: float = 0.0
    raw: float = 0.0
    heatmap: float = 0.0
    images: int = 0
    differing: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """Return the figures by what was compared."""
        return {
            "logits": self.logits,
            "raw": self.raw,
            "heatmap": self.heatmap,
            "images": self.images,
        }

    def add(self, what: str, difference: float, where: str) -> None:
        """Note a difference."""
        setattr(self, what, max(getattr(self, what), difference))
        if not difference <= TOLERANCE:
            self.differing.append(f"{where} by {difference:.1e}")


def measure_parity(
    run_file: RunFile,
    original: ExplainOriginal,
    reading: ClassReading,
    description: Description,
    images: Tensor,
) -> Parity:
    """Compare a file with its network, on real and random images, in batches of several sizes.

    1. Run the file.
    2. Explain the same images, of the classes that the file explained, with the network.
    3. Compare logits, raw maps and statuses; and heatmaps with what the raw maps give.

    Args:
        run_file: Runs the file.
        original: Explains with the network.
        reading: How class scores are read.
        description: What the file says of itself.
        images: Real images, `[B, C, *image]`.

    Raises:
        ModelError: Something differs by more than `TOLERANCE`, or a status does.
    """
    parity = Parity()
    for batch, target in _batches(images, description.batch):
        # 1. The file.
        outputs = run_file(batch, target)
        logits = outputs["logits"]
        # 2. The network.
        _, classes = reading.score(logits, target)
        explanations = original(batch, classes.tolist())
        # 3. The differences.
        expected = reading.logits(returned(explanations[0].output)).detach().cpu()
        parity.images += len(batch)
        parity.add("logits", _relative(logits, expected), f"the logits of {len(batch)} images")
        for each, explanation in zip(description.maps, explanations, strict=True):
            _compare(parity, each, outputs, explanation, batch.shape[2:])
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
    size: Sequence[int],
) -> None:
    """Compare one map of the file with that of the network."""
    raw, heatmap = outputs[each.raw], outputs[each.heatmap]
    name, expected = f"{each.method} at {each.layer}", explanation.raw.detach().cpu()
    for b, number in enumerate(outputs[each.status].tolist()):
        status = STATUS_NAMES[number]
        if status != explanation.status[b].name:
            parity.differing.append(
                f"the status of {name}, {status} instead of {explanation.status[b].name}"
            )
        elif status not in ("cancelled", "not-finite"):  # what is rounding is not compared
            parity.add("raw", _relative(raw[b][None], expected[b][None]), f"the raw map of {name}")
        finished = finish(raw[b][None], size, [AxisSpan(*axis) for axis in each.span])[0]
        wanted = finished if status == "ok" else torch.zeros_like(finished)
        parity.add("heatmap", float((heatmap[b] - wanted).abs().max()), f"the heatmap of {name}")


def _relative(values: Tensor, expected: Tensor) -> float:
    """Return the largest difference, relative to the largest value of each image."""
    difference = (values - expected).flatten(1).abs().amax(1)
    largest = expected.flatten(1).abs().amax(1)
    return float(torch.where(difference > 0, difference / largest, 0).max())


def _batches(images: Tensor, fixed: int | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images `[B, C, *image]` and targets `[B]`: the real ones, and random ones like them.

    The predicted class is asked for, and for each second random image a given one.
    """
    count = fixed or len(images)
    real = images[torch.arange(count, device=images.device) % len(images)]
    yield real, torch.full((count,), -1, dtype=torch.long, device="cpu")
    generator = torch.Generator().manual_seed(0)
    deviation, mean = images.std(), images.mean()
    for size in (fixed,) if fixed else (1, 3):
        shape = size, *images.shape[1:]
        noise = torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")
        target = torch.arange(size, device="cpu") % 2 - 1
        yield noise.to(images) * deviation + mean, target
