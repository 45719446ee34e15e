"""Does the map show what the score depends on? The network runs on changed images.

f is the probability `p_c` of the explained class, word or sentence; where a score has none (a
regression, an embedding, a contrast, a callable), it is the score itself. M is the heatmap. Pixels
are ranked by M in a stable order: among equal ones the first comes first.
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
from limelight.metrics.statistics import harmonic_mean, pearson, spearman

#: By how much a probability may exceed 1 through rounding.
_ROUNDING = 1e-6


_PROBABILITY_ADVICE = (
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
    perturbed = case.perturbed
    empty = torch.full_like(perturbed.images, baseline)
    at_empty = perturbed.once(("empty", baseline), lambda: _value_of(perturbed, empty))
    return _replace_by_rank(case, steps, perturbed.images, empty, (perturbed.value, at_empty))


def insertion(case: MapCase, *, steps: int = 100) -> Readings:
    """Show pixels of a blurred image sharp, those with the highest M first: f should rise fast.

    As `deletion`, from a blurred image to the image itself; higher is better. The blur is a
    Gaussian of 11 pixels along each axis with a deviation of 5; the border is continued outwards.
    """
    perturbed = case.perturbed
    blurred = perturbed.once("blurred", lambda: blur(perturbed.images))
    at_blurred = perturbed.once("at blurred", lambda: _value_of(perturbed, blurred))
    return _replace_by_rank(case, steps, blurred, perturbed.images, (at_blurred, perturbed.value))


def _value_of(perturbed: PerturbedModel, images: Tensor) -> Tensor:
    """Return f of other images, `[B]`."""
    return perturbed.values(1, lambda _number, b: images[b][None])[0]


def _replace_by_rank(
    case: MapCase, steps: int, before: Tensor, after: Tensor, ends: tuple[Tensor, Tensor]
) -> Readings:
    """Replace pixels of `before` by those of `after`, the highest M first; `ends` is f of both."""
    ranks = pixel_ranks(case.heatmap)
    count = ranks.shape[1]
    shares = torch.linspace(0, 1, steps + 1, dtype=torch.float64, device="cpu")
    counts = (shares * count).round().long()
    inner = counts[1:-1].to(ranks.device)

    def replaced(number: Tensor, b: int) -> Tensor:
        is_replaced = ranks[b] < inner[number, None]
        return torch.where(is_replaced.reshape(-1, 1, *before.shape[2:]), after[b], before[b])

    between = case.perturbed.values(len(inner), replaced)
    curve = torch.cat([ends[0][None], between, ends[1][None]]).T.cpu().double()
    return {"value": torch.trapezoid(curve, counts.double() / count, dim=1), "curve": curve}


def road(case: MapCase, *, steps: int = 9, noise: float = 0.01, seed: int = 0) -> Readings:
    """Remove the most, and the least, relevant pixels so that no hole shows, and compare.

    Removed pixels are imputed from their neighbours (noisy linear imputation, see `impute`), with
    normal noise of the given deviation in the network's units. `morf` is the mean of f over the
    removed shares `i / (steps + 1)`, i from 1 to steps, the most relevant removed first; `lerf` is
    the same with the least relevant first (Rong et al. 2022); `value` is `(lerf - morf) / 2`,
    `[B]`, as in the grad-cam library (Gildenblat 2021). Higher is better; a map that is the same
    everywhere has 0.

    Returns:
        `value`, `morf` and `lerf` `[B]`, and the curves of both, `[B, steps]`.
    """
    perturbed = case.perturbed
    count = case.heatmap[0].numel()
    # One pixel has to stay: imputing needs a neighbour.
    counts = [min(count - 1, round(count * i / (steps + 1))) for i in range(1, steps + 1)]
    if not any(counts):
        raise MetricError(
            f"Images of {count} pixels are too small to remove some and impute them from the rest."
        )
    highest_first, lowest_first = pixel_ranks(case.heatmap), pixel_ranks(-case.heatmap)
    generator = torch.Generator().manual_seed(seed)
    shape = perturbed.images.shape[1:]
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu") * noise
    added = drawn.to(perturbed.images)
    limits = torch.tensor(counts, device=highest_first.device)

    def imputed(number: Tensor, b: int) -> Tensor:
        ranks = torch.where((number < steps)[:, None], highest_first[b], lowest_first[b])
        removed = (ranks < limits[number % steps, None]).reshape(-1, *perturbed.size)
        return impute(perturbed.images[b], removed) + torch.where(removed[:, None], added, 0)

    curves = perturbed.values(2 * steps, imputed).T.cpu().double()
    morf, lerf = curves[:, :steps], curves[:, steps:]
    parts = {"morf": morf.mean(1), "lerf": lerf.mean(1)}
    value = (parts["lerf"] - parts["morf"]) / 2
    return {"value": value, **parts, "morf curve": morf, "lerf curve": lerf}


def average_drop(case: MapCase) -> Readings:
    """Return how much of the probability is lost when only what M shows is seen.

    `max(0, p(x) - p(x * M)) / p(x)`, `[B]`: Chattopadhay et al. 2018, section 4.1; x is in the
    network's units, so that what M hides takes the mean colour. Lower is better. A map that is
    near 1 nearly everywhere loses nothing: read this metric beside `average-gain` and the controls.
    """
    return {"value": _drop(case)}


def increase(case: MapCase) -> Readings:
    """Return whether f is higher when only what M shows is seen.

    `[p(x * M) > p(x)]`, `[B]`: Chattopadhay et al. 2018, section 4.1. Higher is better.
    """
    return {"value": (case.masked_value > case.perturbed.value).double().cpu()}


def average_gain(case: MapCase) -> Readings:
    """Return which share of the missing probability is gained when only what M shows is seen.

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
    images, heatmap, drop = case.perturbed.images, case.heatmap, _drop(case)
    of_masked = case.remade(images * heatmap[:, None].to(images)).heatmap
    correlation = (pearson(of_masked.flatten(1), heatmap.flatten(1)) + 1) / 2
    extremes = [maps.flatten(1).aminmax(dim=1) for maps in (of_masked, heatmap)]
    is_constant = torch.stack([(low == high).cpu() for low, high in extremes]).any(0)
    coherency = torch.where(is_constant, 0, correlation)
    complexity = heatmap.flatten(1).cpu().double().mean(1)
    terms = torch.stack([coherency, 1 - complexity, 1 - drop])
    return {
        "value": harmonic_mean(terms),
        "coherency": coherency,
        "complexity": complexity,
        "average drop": drop,
    }


def infidelity(
    case: MapCase, *, samples: int = 100, patch: float = 0.3, scaled: bool = True, seed: int = 0
) -> Readings:
    """Return how far the map is from predicting what the score loses with parts of the image.

    `E[(I . phi - (y_c(x) - y_c(x - I)))^2]`, `[B]`: Yeh et al. 2019, definition 2.1. `x - I` is the
    image with a box, drawn at random, set to 0; each side is between a pixel and `patch` times the
    image's. phi is the raw map, signed, resized to the image, and `I . phi` its sum over the box:
    the loss that phi predicts. The score is the logit. A raw map has no unit: with `scaled` it is
    multiplied by `E[(I . phi) d] / E[(I . phi)^2]`, d the loss, which makes the error least, so
    that only the proportions of phi count. Lower is better.
    """
    perturbed = case.perturbed
    boxes = perturbed.once(
        ("boxes", samples, patch, seed), lambda: _random_boxes(perturbed.size, samples, patch, seed)
    ).to(perturbed.images.device)

    def without(number: Tensor, b: int) -> Tensor:
        return torch.where(boxes[number, None], 0, perturbed.images[b])

    lost = perturbed.once(
        ("lost", samples, patch, seed),
        lambda: perturbed.score - perturbed.score_values(samples, without),
    )
    lost = lost.T.cpu().double()  # [B, V]
    phi = case.contributions.flatten(1).cpu().double()
    chunks = torch.split(boxes.flatten(1).cpu(), 16)
    predicted = torch.cat([phi @ chunk.T.double() for chunk in chunks], 1)
    if scaled:
        square = (predicted**2).sum(1, keepdim=True)
        product = (predicted * lost).sum(1, keepdim=True)
        predicted = predicted * torch.where(square > 0, product / square, 0)
    return {"value": ((predicted - lost) ** 2).mean(1)}


def occlusion_correlation(case: MapCase, *, cells: int = 14, baseline: float = 0.0) -> Readings:
    """Return how well M ranks parts of the image by what the score loses without them.

    The image is cut into `cells` patches along each axis; Spearman's correlation, over patches, of
    the mean of M with `y_c(x) - y_c(x with the patch at the baseline)`, `[B]`: Selvaraju et al.
    2017, section 5.3. Higher is better; a map that is the same everywhere has 0.
    """
    perturbed = case.perturbed
    patches = blocks(perturbed.size, cells).to(perturbed.images.device)
    count = int(patches.max()) + 1

    def without(number: Tensor, b: int) -> Tensor:
        covered = patches[None] == number.reshape(-1, *[1] * patches.ndim)
        return torch.where(covered[:, None], baseline, perturbed.images[b])

    lost = perturbed.once(
        ("occluded", cells, baseline),
        lambda: perturbed.score - perturbed.score_values(count, without),
    )
    # Values that differ by rounding alone share a rank: the means are exact, the losses rounded.
    lost = _rounded(lost.T.cpu().double(), _rounding_unit(perturbed.score))
    return {"value": spearman(_patch_means(case.heatmap, patches), lost)}


def saco(case: MapCase, *, groups: int = 10, baseline: float = 0.0) -> Readings:
    """Return how well M says which groups of pixels f depends on more (SaCo).

    The pixels, ranked by M, are cut into `groups` of the same size, the highest M first.
    `sum_(i<j) +-(s_i - s_j) / sum_(i<j) (s_i - s_j)`, `[B]`, s the mean of M in a group; the sign
    is + where `d_i >= d_j`, d being what f loses when that group alone is set to the baseline: Wu
    et al. 2024, algorithm 1. The value lies between -1 and 1; higher is better; a map that is the
    same everywhere has 0.
    """
    perturbed = case.perturbed
    count = case.heatmap[0].numel()
    number_of_groups = min(groups, count)
    group = pixel_ranks(case.heatmap) * number_of_groups // count

    def without(number: Tensor, b: int) -> Tensor:
        removed = (group[b] == number[:, None]).reshape(-1, 1, *perturbed.size)
        return torch.where(removed, baseline, perturbed.images[b])

    lost = (perturbed.value - perturbed.values(number_of_groups, without)).T.cpu().double()
    lost = _rounded(lost, _rounding_unit(perturbed.value))
    salience = _group_means(case.heatmap, group, number_of_groups)
    first, second = torch.triu_indices(number_of_groups, number_of_groups, offset=1, device="cpu")
    weights = salience[:, first] - salience[:, second]
    total = weights.sum(1)
    agreed = torch.where(lost[:, first] >= lost[:, second], weights, -weights).sum(1)
    return {"value": torch.where(total > 0, agreed / torch.where(total > 0, total, 1), 0)}


def _group_means(maps: Tensor, group: Tensor, count: int) -> Tensor:
    """Return the mean of maps `[B, *image]` over each group of their pixels `[B, N]`, `[B, V]`."""
    rows, group = maps.flatten(1).cpu().double(), group.cpu()
    sums = rows.new_zeros(len(rows), count).scatter_add_(1, group, rows)
    sizes = rows.new_zeros(len(rows), count).scatter_add_(1, group, torch.ones_like(rows))
    return sums / sizes


def _patch_means(maps: Tensor, patches: Tensor) -> Tensor:
    """Return the mean of maps `[B, *image]` over each patch, numbered from 0, `[B, V]`."""
    numbers = patches.flatten().cpu()
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


def _rounding_unit(scores: Tensor) -> Tensor:
    """Return by how much scores `[B]` may differ through rounding alone, `[B, 1]`."""
    return 64 * torch.finfo(scores.dtype).eps * scores.abs().cpu().double()[:, None]


def _rounded(rows: Tensor, unit: Tensor) -> Tensor:
    """Return rows `[B, N]` as whole multiples of a unit `[B, 1]`; as they are where it is 0."""
    return torch.where(unit > 0, (rows / torch.where(unit > 0, unit, 1)).round(), rows)


def pixel_ranks(maps: Tensor) -> Tensor:
    """Return the rank of each pixel `[B, N]`, 0 for the highest; ties keep their order."""
    order = maps.flatten(1).sort(dim=1, descending=True, stable=True).indices
    return torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )


def blur(images: Tensor, width: int = 11, deviation: float = 5.0) -> Tensor:
    """Return images `[B, C, *image]` blurred along each axis; the border is continued outwards."""
    distance = torch.arange(width, dtype=torch.float64, device="cpu") - (width - 1) / 2
    kernel = (-(distance**2) / (2 * deviation**2)).exp()
    kernel = (kernel / kernel.sum()).to(images)[None, None]
    for axis in range(2, images.ndim):
        rows = images.movedim(axis, -1)
        flat = pad(rows.reshape(-1, 1, rows.shape[-1]), (width // 2, width // 2), mode="replicate")
        images = conv1d(flat, kernel).reshape(rows.shape).movedim(-1, axis)
    return images


def _random_boxes(size: tuple[int, ...], count: int, patch: float, seed: int) -> Tensor:
    """Return boxes drawn at random, as masks `[V, *image]`."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.ones(count, *size, dtype=torch.bool, device="cpu")
    for axis, length in enumerate(size):
        longest = max(1, round(patch * length))
        side = torch.randint(1, longest + 1, (count,), generator=generator, device="cpu")
        place = torch.rand(count, generator=generator, dtype=torch.float32, device="cpu")
        start = (place * (length - side + 1)).long()
        pixel = torch.arange(length, device="cpu")
        inside = (pixel >= start[:, None]) & (pixel < (start + side)[:, None])
        masks &= inside.reshape(count, *[length if a == axis else 1 for a in range(len(size))])
    return masks


def _probabilities(case: MapCase) -> tuple[Tensor, Tensor]:
    """Return the probabilities of the image and of what M shows of it, `[B]`.

    They are NaN where a callable returned no probability.

    Raises:
        MetricError: What is explained has no probability.
    """
    if not case.perturbed.has_probability and not case.perturbed.has_custom_score:
        raise MetricError(
            f"The metric is about a probability, and {case.perturbed.scores.labels[0]!r} has none. "
            f"{_PROBABILITY_ADVICE}"
        )
    both = torch.stack([case.perturbed.value.cpu().double(), case.masked_value.cpu().double()])
    # Only the values show whether a callable returns probabilities; each image is judged alone.
    is_probability = ((both >= 0) & (both <= 1 + _ROUNDING)).all(0)
    before, after = torch.where(is_probability, both, math.nan)
    return before, after


def _drop(case: MapCase) -> Tensor:
    before, after = _probabilities(case)
    lost = (before - after).clamp(min=0) / torch.where(before == 0, 1, before)
    return torch.where(before == 0, 0, lost)
