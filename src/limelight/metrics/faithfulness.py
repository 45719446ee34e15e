"""Does the map show what the score depends on? The image is changed, and the network asked again.

f is the probability `p_c` of the explained class (of a word or a sentence theirs); where a score
has none (a regression, an embedding, a contrast, a callable), the score itself. M is the heatmap.
Pixels are ranked by M in a stable order: of equal ones the first comes first.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad

from limelight.errors import MetricError
from limelight.methods.perturbed import blocks
from limelight.metrics.case import MapCase, PerturbedModel
from limelight.metrics.imputation import impute
from limelight.metrics.metric import Readings
from limelight.metrics.statistics import pearson, spearman

#: How much more than 1 rounding may make of a probability.
_ROUNDING = 1e-6


_TAKE = (
    "Take a class as the target, or a callable that returns a probability, as in "
    "target=lambda y: y.sigmoid()[:, 3]; or a metric that takes any score (deletion, insertion, "
    "road)."
)


def deletion(case: MapCase, *, steps: int = 100, baseline: float = 0.0) -> Readings:
    """Remove pixels, those with the highest M first: f should fall fast.

    The area under f by the trapezoid rule, over the share of pixels removed from 0 to 1 in `steps`
    equal steps, both ends included, `[B]`: Petsiuk et al. 2018 (RISE). What is removed is set
    to the baseline, in the network's units, where 0 is the mean colour. The value lies between the
    least and the largest f; lower is better.

    Returns:
        `value` `[B]`, and `curve` `[B, steps + 1]`.
    """
    probe = case.probe
    empty = torch.full_like(probe.images, baseline)
    bare = probe.once(("emptied", baseline), lambda: _unchanged(probe, empty))
    return _replaced(case, steps, probe.images, empty, (probe.value, bare))


def insertion(case: MapCase, *, steps: int = 100) -> Readings:
    """Show pixels of a blurred image sharp, those with the highest M first: f should rise fast.

    As `deletion`, from a blurred image to the image itself; higher is better. The blur is a
    Gaussian of 11 pixels along each axis and a deviation of 5, which continues the border outwards.
    """
    probe = case.probe
    blurred = probe.once("blurred", lambda: blur(probe.images))
    bare = probe.once("bare", lambda: _unchanged(probe, blurred))
    return _replaced(case, steps, blurred, probe.images, (bare, probe.value))


def _unchanged(probe: PerturbedModel, images: Tensor) -> Tensor:
    """Return f of other images as they are, `[B]`."""
    return probe.values(1, lambda _number, b: images[b][None])[0]


def _replaced(
    case: MapCase, steps: int, before: Tensor, after: Tensor, ends: tuple[Tensor, Tensor]
) -> Readings:
    """Replace pixels of `before` by those of `after` step by step; f is known at both ends."""
    rank = ranked(case.heatmap)
    count = rank.shape[1]
    shares = torch.linspace(0, 1, steps + 1, dtype=torch.float64, device="cpu")
    counts = (shares * count).round().long()
    inner = counts[1:-1].to(rank.device)

    def replaced(number: Tensor, b: int) -> Tensor:
        done = rank[b] < inner[number, None]
        return torch.where(done.reshape(-1, 1, *before.shape[2:]), after[b], before[b])

    between = case.probe.values(len(inner), replaced)
    curve = torch.cat([ends[0][None], between, ends[1][None]]).T.cpu().double()
    return {"value": torch.trapezoid(curve, counts.double() / count, dim=1), "curve": curve}


def road(case: MapCase, *, steps: int = 9, noise: float = 0.01, seed: int = 0) -> Readings:
    """Remove the most, and the least, relevant pixels so that no hole shows, and compare.

    Removed pixels are imputed from their neighbours (noisy linear imputation, see `impute`), with
    normal noise of the given deviation in the network's units. `morf` is the mean of f over the
    removed shares `i / (steps + 1)`, i from 1 to steps, the most relevant removed first; `lerf` the
    same, the least relevant first (Rong et al. 2022); `value` is `(lerf - morf) / 2`, `[B]`, as in
    the grad-cam library (Gildenblat 2021). Higher is better; a map that is the same everywhere
    has 0.

    Returns:
        `value`, `morf` and `lerf` `[B]`, and the curves of both, `[B, steps]`.
    """
    probe = case.probe
    count = case.heatmap[0].numel()
    # One pixel has to stay, or there would be nothing to impute from.
    counts = [min(count - 1, round(count * i / (steps + 1))) for i in range(1, steps + 1)]
    if not any(counts):
        raise MetricError(
            f"Images of {count} pixels are too small to remove some and impute them from the rest."
        )
    most, least = ranked(case.heatmap), ranked(-case.heatmap)
    generator = torch.Generator().manual_seed(seed)
    shape = probe.images.shape[1:]
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu") * noise
    added = drawn.to(probe.images)
    limits = torch.tensor(counts, device=most.device)

    def imputed(number: Tensor, b: int) -> Tensor:
        order = torch.where((number < steps)[:, None], most[b], least[b])
        removed = (order < limits[number % steps, None]).reshape(-1, *probe.size)
        return impute(probe.images[b], removed) + torch.where(removed[:, None], added, 0)

    found = probe.values(2 * steps, imputed).T.cpu().double()
    morf, lerf = found[:, :steps], found[:, steps:]
    parts = {"morf": morf.mean(1), "lerf": lerf.mean(1)}
    value = (parts["lerf"] - parts["morf"]) / 2
    return {"value": value, **parts, "morf curve": morf, "lerf curve": lerf}


def average_drop(case: MapCase) -> Readings:
    """Return how much of the probability is lost when only what M shows is seen.

    `max(0, p(x) - p(x * M)) / p(x)`, `[B]`: Chattopadhay et al. 2018, section 4.1; x is in the
    network's units, so that what M hides takes the mean colour. Lower is better. A map that is
    near 1 nearly everywhere loses nothing: read it beside `average-gain` and the controls.
    """
    return {"value": _drop(case)}


def increase(case: MapCase) -> Readings:
    """Return whether f is higher when only what M shows is seen.

    `[p(x * M) > p(x)]`, `[B]`: Chattopadhay et al. 2018, section 4.1. Higher is better.
    """
    return {"value": (case.masked > case.probe.value).double().cpu()}


def average_gain(case: MapCase) -> Readings:
    """Return how much of what is missing to certainty is gained when only what M shows is seen.

    `max(0, p(x * M) - p(x)) / (1 - p(x))`, `[B]`: Zhang et al. 2024, Opti-CAM. Higher is better.
    """
    before, after = _probabilities(case)
    missing = (1 - before).clamp(min=0)
    gained = (after - before).clamp(min=0) / torch.where(missing == 0, 1, missing)
    return {"value": torch.where(missing == 0, 0, gained)}


def adcc(case: MapCase) -> Readings:
    """Return the harmonic mean of coherency, 1 - complexity and 1 - average drop.

    `3 / (1 / coherency + 1 / (1 - complexity) + 1 / (1 - drop))`, `[B]`, with coherency
    `(pearson(CAM(x * M), M) + 1) / 2`, complexity `mean(M)`, and the drop of `average_drop`: Poppi
    et al. 2021. Higher is better; where one of the three is 0, so is the value. A map that is the
    same everywhere is coherent with nothing: its coherency is 0.

    Returns:
        `value`, and its parts `coherency`, `complexity` and `average drop`, `[B]`.
    """
    images, heatmap, drop = case.probe.images, case.heatmap, _drop(case)
    seen = case.repeated(images * heatmap[:, None].to(images)).heatmap
    alike = (pearson(seen.flatten(1), heatmap.flatten(1)) + 1) / 2
    blank = [one.flatten(1).aminmax(dim=1) for one in (seen, heatmap)]
    coherency = torch.where(
        torch.stack([(low == high).cpu() for low, high in blank]).any(0), 0, alike
    )
    complexity = heatmap.flatten(1).cpu().double().mean(1)
    three = torch.stack([coherency, 1 - complexity, 1 - drop])
    value = torch.where((three == 0).any(0), 0, 3 / (1 / three).sum(0))
    return {
        "value": value,
        "coherency": coherency,
        "complexity": complexity,
        "average drop": drop,
    }


def infidelity(
    case: MapCase, *, samples: int = 100, patch: float = 0.3, scaled: bool = True, seed: int = 0
) -> Readings:
    """Return how far the map is from telling what the score loses with parts of the image.

    `E[(I . phi - (y_c(x) - y_c(x - I)))^2]`, `[B]`: Yeh et al. 2019, definition 2.1. `x - I` is the
    image with a box, drawn at random, set to 0; a side of it is between a pixel and `patch` times
    the image's. phi is the raw map, signed, resized to the image, and `I . phi` its sum over the
    box: what phi says the box is worth. The score is the logit. A raw map has no unit: with
    `scaled` it is multiplied by `E[(I . phi) d] / E[(I . phi)^2]`, d what is lost, which makes the
    error least, and phi answers for its proportions alone. Lower is better.
    """
    probe = case.probe
    boxes = probe.once(
        ("boxes", samples, patch, seed), lambda: _boxes(probe.size, samples, patch, seed)
    ).to(probe.images.device)

    def without(number: Tensor, b: int) -> Tensor:
        return torch.where(boxes[number, None], 0, probe.images[b])

    lost = probe.once(
        ("lost", samples, patch, seed), lambda: probe.score - probe.scored(samples, without)
    )
    lost = lost.T.cpu().double()  # [B, V]
    phi = case.contributions.flatten(1).cpu().double()
    some = torch.split(boxes.flatten(1).cpu(), 16)
    said = torch.cat([phi @ part.T.double() for part in some], 1)
    if scaled:
        square = (said**2).sum(1, keepdim=True)
        said = said * torch.where(square > 0, (said * lost).sum(1, keepdim=True) / square, 0)
    return {"value": ((said - lost) ** 2).mean(1)}


def occlusion_correlation(case: MapCase, *, cells: int = 14, baseline: float = 0.0) -> Readings:
    """Return how well M ranks parts of the image by what the score loses without them.

    The image is cut into `cells` patches along each axis; Spearman's correlation, over patches, of
    the mean of M with `y_c(x) - y_c(x with the patch at the baseline)`, `[B]`: Selvaraju et al.
    2017, section 5.3. Higher is better; a map that is the same everywhere has 0.
    """
    probe = case.probe
    places = blocks(probe.size, cells).to(probe.images.device)
    count = int(places.max()) + 1

    def without(number: Tensor, b: int) -> Tensor:
        covered = places[None] == number.reshape(-1, *[1] * places.ndim)
        return torch.where(covered[:, None], baseline, probe.images[b])

    lost = probe.once(
        ("occluded", cells, baseline), lambda: probe.score - probe.scored(count, without)
    )
    # What differs by no more than rounding has the same rank: sums are exact, losses rounded.
    digits = 64 * torch.finfo(probe.score.dtype).eps * probe.score.abs().cpu().double()[:, None]
    worth = _rounded(lost.T.cpu().double(), digits)
    return {"value": spearman(_means(case.heatmap, places), worth)}


def _means(maps: Tensor, places: Tensor) -> Tensor:
    """Return the mean of maps `[B, *image]` over each patch, numbered from 0, `[B, V]`."""
    numbers = places.flatten().cpu()
    order, sizes = numbers.argsort(), numbers.bincount().tolist()
    rows = maps.flatten(1).cpu().double()[:, order]
    return torch.tensor(
        [
            [math.fsum(patch.tolist()) / len(patch) for patch in torch.split(row, sizes)]
            for row in rows
        ],
        dtype=torch.float64,
        device="cpu",
    )


def _rounded(rows: Tensor, digits: Tensor) -> Tensor:
    """Return rows `[B, N]` as multiples of the digits `[B, 1]` that are left of them."""
    return torch.where(digits > 0, (rows / torch.where(digits > 0, digits, 1)).round(), rows)


def ranked(maps: Tensor) -> Tensor:
    """Return the place of each pixel `[B, N]`, 0 for the highest; of equal ones the first first."""
    order = maps.flatten(1).sort(dim=1, descending=True, stable=True).indices
    return torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )


def blur(images: Tensor, width: int = 11, deviation: float = 5.0) -> Tensor:
    """Return images `[B, C, *image]` blurred along each axis; the border is continued outwards."""
    away = torch.arange(width, dtype=torch.float64, device="cpu") - (width - 1) / 2
    kernel = (-(away**2) / (2 * deviation**2)).exp()
    kernel = (kernel / kernel.sum()).to(images)[None, None]
    for axis in range(2, images.ndim):
        rows = images.movedim(axis, -1)
        flat = pad(rows.reshape(-1, 1, rows.shape[-1]), (width // 2, width // 2), mode="replicate")
        images = conv1d(flat, kernel).reshape(rows.shape).movedim(-1, axis)
    return images


def _boxes(size: tuple[int, ...], count: int, patch: float, seed: int) -> Tensor:
    """Return boxes drawn at random, as masks `[V, *image]`."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.ones(count, *size, dtype=torch.bool, device="cpu")
    for axis, length in enumerate(size):
        most = max(1, round(patch * length))
        side = torch.randint(1, most + 1, (count,), generator=generator, device="cpu")
        place = torch.rand(count, generator=generator, dtype=torch.float32, device="cpu")
        start = (place * (length - side + 1)).long()
        at = torch.arange(length, device="cpu")
        inside = (at >= start[:, None]) & (at < (start + side)[:, None])
        masks &= inside.reshape(count, *[length if a == axis else 1 for a in range(len(size))])
    return masks


def _probabilities(case: MapCase) -> tuple[Tensor, Tensor]:
    """Return the probabilities of the image and of what M shows of it, `[B]`; NaN without.

    Raises:
        MetricError: What is explained has no probability.
    """
    if not case.probe.probable and not case.probe.custom:
        raise MetricError(
            f"The metric is about a probability, and {case.probe.scores.labels[0]!r} has none. "
            f"{_TAKE}"
        )
    both = torch.stack([one.cpu().double() for one in (case.probe.value, case.masked)])
    # What a callable returns is only seen now; each image stands for itself.
    likely = ((both >= 0) & (both <= 1 + _ROUNDING)).all(0)
    before, after = torch.where(likely, both, math.nan)
    return before, after


def _drop(case: MapCase) -> Tensor:
    before, after = _probabilities(case)
    lost = (before - after).clamp(min=0) / torch.where(before == 0, 1, before)
    return torch.where(before == 0, 0, lost)
