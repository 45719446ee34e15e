"""How a map changes with small changes of the image, with random weights, and with the class."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from limelight.metrics.case import MapCase, Maps
from limelight.metrics.metric import Readings
from limelight.metrics.statistics import spearman, structural_similarity


def max_sensitivity(
    case: MapCase, *, samples: int = 10, radius: float = 0.02, seed: int = 0
) -> Readings:
    """Return how much the map changes, at most, when the image changes a little.

    `max_d ||phi(x + d) - phi(x)|| / ||phi(x)||`, `[B]`, phi the raw map and d drawn uniformly with
    `|d| <= radius` in every pixel, in the network's units: Yeh et al. 2019, definition 3.1, divided
    by the length of the map so that its scale does not count. All images have the same d; the
    explained class stays. Lower is better; a raw map that is zero everywhere is left out.
    """
    images, raw = case.perturbed.images, case.maps.raw
    generator = torch.Generator().manual_seed(seed)
    length = _length(raw)
    worst = torch.zeros_like(length)
    for number in range(samples):
        shape = images.shape[1:]
        drawn = torch.rand(shape, generator=generator, dtype=torch.float64, device="cpu") * 2 - 1
        nearby = case.remade(images + (drawn * radius).to(images))
        worst = torch.maximum(worst, _length(nearby.raw.to(raw) - raw))
        if case.perturbed.progress:
            case.perturbed.progress(number + 1, samples)
    return {"value": torch.where(length > 0, worst / length, math.nan)}


def parameter_randomisation(case: MapCase, *, steps: int = 8, seed: int = 0) -> Readings:
    """Return how much the map stays the same when the weights are drawn anew, layer by layer.

    Cascading randomisation (Adebayo et al. 2018, section 3.1): from the logits down to the input,
    in `steps` stages. Each stage gives Spearman's correlation of the raw maps before and after,
    signed and of their absolute values, and the structural similarity of the heatmaps. `value` is
    the mean of the signed correlation over the stages, `[B]`; `absolute` and `ssim` are the other
    two means. Lower is better: a map that random weights do not change does not show what the
    network learned. A map that is the same everywhere is left out; one that becomes so has
    correlation 0.

    Returns:
        `value`, `absolute`, `ssim` `[B]`, and the curves of all three, `[B, stages]`.
    """
    return likeness(case.maps, [stage.maps for stage in randomised(case, steps, seed)])


def random_logit(case: MapCase, *, seed: int = 0) -> Readings:
    """Return how alike the map is to that of another class, drawn at random.

    Spearman's correlation of the raw maps of both classes, signed, is the `value`, `[B]`;
    `absolute` is that of their absolute values, and `ssim` the structural similarity of the
    heatmaps: Sixt et al. 2020. Each image has a class of its own, never the explained
    one, drawn by the seed and the image; of two classes it is the other one, whose map may be the
    same with the sign turned (value -1, `absolute` 1). Lower is better: a map that is much the same
    for any class does not show what speaks for this one. A map that is the same everywhere is left
    out; where that of the other class is, the correlation is 0.

    Returns:
        `value`, `absolute` and `ssim`, `[B]`.
    """
    score = case.perturbed.score_of_another_class(seed)
    alike = _stage_likeness(case.maps, case.remade(case.perturbed.images, score=score))
    return {"value": alike["signed"], "absolute": alike["absolute"], "ssim": alike["ssim"]}


class Stage(NamedTuple):
    """The maps of a network with some random layers.

    Attributes:
        layer: The layer randomised last.
        share: The share of layers that are random.
        maps: The maps.
    """

    layer: str
    share: float
    maps: Maps


def randomised(case: MapCase, steps: int, seed: int) -> Iterator[Stage]:
    """Yield the maps at each stage of the cascade, from the logits down."""
    for layer, share, model in case.perturbed.cascade(steps, seed):
        yield Stage(layer, share, case.remade(case.perturbed.images, model))
        if case.perturbed.progress:
            case.perturbed.progress(round(share * 100), 100)


def likeness(before: Maps, stages: Iterable[Maps]) -> Readings:
    """Return how alike maps are to those of each stage; see `parameter_randomisation`."""
    by_stage = [_stage_likeness(before, after) for after in stages]
    curves = {
        name: torch.stack([stage[name] for stage in by_stage], 1)
        for name in ("signed", "absolute", "ssim")
    }
    return {
        "value": curves["signed"].mean(1),
        "absolute": curves["absolute"].mean(1),
        "ssim": curves["ssim"].mean(1),
        "curve": curves["signed"],
        "absolute curve": curves["absolute"],
        "ssim curve": curves["ssim"],
    }


def _stage_likeness(before: Maps, after: Maps) -> Readings:
    """Return how alike maps are, `[B]`: correlation of ranks, `signed` and `absolute`; `ssim`."""
    # Maps of NaN or infinity become constant, which correlate with nothing.
    first, second = (maps.raw.flatten(1).nan_to_num(0, 0, 0).cpu() for maps in (before, after))
    low, high = first.aminmax(dim=1)
    measures = {
        "signed": spearman(first, second),
        "absolute": spearman(first.abs(), second.abs()),
        "ssim": structural_similarity(before.heatmap, after.heatmap),
    }
    return {name: torch.where(high > low, values, math.nan) for name, values in measures.items()}


def _length(maps: Tensor) -> Tensor:
    """Return the Euclidean length of each map `[B, *grid]`."""
    lengths: Tensor = torch.linalg.vector_norm(maps.flatten(1), dim=1)
    return lengths
