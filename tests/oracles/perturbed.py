"""Methods that run the network on what was changed, derived again, slowly, from their papers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from oracles.evidence import ScoreOf, cells_of, classes, upsampled
from oracles.family import Family
from oracles.weighted import weighed

if TYPE_CHECKING:
    from helpers.input_studies import Studied
    from helpers.method_scenes import Scene


def ablationcam(score: ScoreOf, activations: Tensor) -> Tensor:
    """Ablation-CAM without its ReLU; Desai and Ramaswamy 2020.

    `w_k = (y_c - y_c^k) / y_c` with `y_c^k` the score when channel k is zero, `L = sum_k w_k A_k`;
    without the division, which would turn the map of a negative score.
    """
    total = torch.zeros_like(activations[:, 0])
    for k in range(activations.shape[1]):
        without = activations.clone()
        without[:, k] = 0
        drop = score(activations) - score(without)
        total = total + torch.stack([w * a[k] for w, a in zip(drop, activations, strict=True)])
    return total


def reciprocam(score: ScoreOf, activations: Tensor, *, gaussian: bool = False) -> Tensor:
    """Recipro-CAM; Byun and Lee 2022: each cell's score when it alone is left of the grid.

    The score when nothing is left, which all cells share, is taken off. With `gaussian`, its
    neighbours are left too: each step away weighs half as much, and the cell itself `2^-axes`, so
    that the weights sum to one; those outside the grid are lost.
    """
    cells = list(product(*map(range, activations.shape[2:])))
    nothing = score(torch.zeros_like(activations))
    found = []
    for cell in cells:
        left = torch.zeros_like(activations).flatten(2)
        for place, other in enumerate(cells):
            away = [abs(i - j) for i, j in zip(cell, other, strict=True)]
            steps = [{0: 1 / 2, 1: 1 / 4}.get(d, 0.0) for d in away]
            weight = math.prod(steps) if gaussian else float(cell == other)
            left[:, :, place] = weight * activations.flatten(2)[:, :, place]
        found.append(score(left.reshape(activations.shape)) - nothing)
    return torch.stack(found, dim=1).reshape(-1, *activations.shape[2:])


def unchanged(mask: Tensor) -> list[Tensor]:
    return [mask]


def with_noise(noise: Tensor) -> Callable[[Tensor], list[Tensor]]:
    """SS-CAM's masks, from noise `[samples, 1, *image]`."""
    return lambda mask: [mask + one[0] for one in noise]


def faded_in(samples: int) -> Callable[[Tensor], list[Tensor]]:
    """IS-CAM's masks."""
    return lambda mask: [mask * (i + 1) / samples for i in range(samples)]


def scorecam(
    score: ScoreOf,
    images: Tensor,
    activations: Tensor,
    masks: Callable[[Tensor], list[Tensor]] = unchanged,
    *,
    softmax: bool = False,
) -> Tensor:
    """Score-CAM without its ReLU; Wang et al. 2020.

    Eq. 7: `H_k = s(Up(A_k))`. Eq. 8: `s(A) = (A - min A) / (max A - min A)`. Eq. 6 and 10:
    `alpha_k = f(X * H_k) - f(X_b)`, with `X_b = 0` (section 4). Eq. 9: `L = relu(sum_k alpha_k
    A_k)`. Algorithm 1 takes the softmax over k of alpha.

    With several masks of a channel it is their mean gain: SS-CAM (Wang et al. 2020 b) and IS-CAM
    (Naidu et al. 2020). Of a channel that is the same everywhere, where eq. 8 is 0/0, the mask is
    taken to be zero.
    """
    black = score(torch.zeros_like(images))
    gains = []
    for k in range(activations.shape[1]):
        seen = []
        for image, a in zip(images, activations, strict=True):
            large = upsampled(a[k], image.shape[1:])
            spread = large.max() - large.min()
            seen.append([image * one for one in masks((large - large.min()) / (spread or 1))])
        runs = [score(torch.stack(list(together))) - black for together in zip(*seen, strict=True)]
        gains.append(sum(runs, torch.zeros_like(black)) / len(runs))
    maps = []
    for b, a in enumerate(activations):
        alpha = [gain[b].item() for gain in gains]
        if softmax:
            highest = max(alpha)
            raised = [math.exp(one - highest) for one in alpha]
            alpha = [one / sum(raised) for one in raised]
        total = torch.zeros_like(a[0])
        for alpha_k, a_k in zip(alpha, a, strict=True):
            total = total + alpha_k * a_k
        maps.append(total)
    return torch.stack(maps)


def occlusion(
    score: ScoreOf,
    images: Tensor,
    wide: Sequence[int],
    step: Sequence[int],
    baseline: float = 0.0,
) -> Tensor:
    """Occlusion, with covers `wide` pixels a side and `step` apart; Zeiler and Fergus 2014, 4.2.

    Of each pixel the mean, over the covers that hide it, of what the score loses. The last cover of
    a row ends where the image does.
    """
    size = images.shape[2:]
    starts = []
    for length, w, s in zip(size, wide, step, strict=True):
        along = [0]
        while along[-1] + w < length:
            along.append(min(along[-1] + s, length - w))
        starts.append(along)
    losses: dict[tuple[Any, ...], list[Tensor]] = {}
    whole = score(images)
    for corner in product(*starts):
        inside = cells_of(wide)
        hidden = [tuple(c + i for c, i in zip(corner, cell, strict=True)) for cell in inside]
        covered = images.clone()
        for at in hidden:
            covered[(slice(None), slice(None), *at)] = baseline
        loss = (whole - score(covered)).detach()
        for at in hidden:
            losses.setdefault(at, []).append(loss)
    found = torch.zeros_like(images[:, 0])
    for pixel, those in losses.items():
        found[(slice(None), *pixel)] = sum(those, torch.zeros_like(whole)) / len(those)
    return found.detach()


def rise_mask(
    grid: Tensor, shift: Sequence[int], cell: Sequence[int], size: Sequence[int]
) -> Tensor:
    """One mask of RISE; Petsiuk et al. 2018, section 3.2.

    The grid of cells, enlarged to `cell` pixels each by linear interpolation, seen through a window
    of the image's size at the shift.
    """
    large = upsampled(grid, [n * c for n, c in zip(grid.shape, cell, strict=True)])
    mask = torch.zeros(tuple(size), dtype=grid.dtype)
    for pixel in cells_of(size):
        mask[pixel] = large[tuple(p + s for p, s in zip(pixel, shift, strict=True))]
    return mask


def rise(score: ScoreOf, images: Tensor, masks: Tensor, keep: float) -> Tensor:
    """RISE, from its masks `[N, *image]`; Petsiuk et al. 2018, section 3.1.

    `S = 1 / (E[M] N) sum_i f(I * M_i) M_i`, with `f` less its mean over the masks, which adds the
    same to all pixels but for the noise of the masks.
    """
    scores = [score(images * mask).detach().tolist() for mask in masks]
    total = torch.zeros_like(images[:, 0])
    for b in range(len(images)):
        mean = math.fsum(of_mask[b] for of_mask in scores) / len(scores)
        for of_mask, mask in zip(scores, masks, strict=True):
            total[b] += (of_mask[b] - mean) * mask / (keep * len(masks))
    return total


def shapley(
    score: ScoreOf, images: Tensor, parts: Sequence[Tensor], baseline: float = 0.0
) -> Tensor:
    """Shapley values of parts of the images, each pixel having that of its part.

    `phi_i = sum_{S without i} |S|! (n - |S| - 1)! / n! (v(S + i) - v(S))` with v(S) the score of
    the image with nothing but the parts in S: Shapley 1953; Lundberg and Lee 2017, section 2.4.
    """
    found = torch.zeros_like(images[:, 0])
    for b, part in enumerate(parts):
        count = int(part.max()) + 1
        value: dict[tuple[bool, ...], float] = {}
        for coalition in product((False, True), repeat=count):
            variant = torch.full_like(images, baseline)
            for i, inside in enumerate(coalition):
                if inside:
                    variant[b] = torch.where(part == i, images[b], variant[b])
            value[coalition] = score(variant)[b].item()
        for i in range(count):
            phi = 0.0
            for without, worth in value.items():
                if not without[i]:
                    others = sum(without)
                    orders = math.factorial(others) * math.factorial(count - others - 1)
                    with_i = (*without[:i], True, *without[i + 1 :])
                    phi += orders / math.factorial(count) * (value[with_i] - worth)
            found[b][part == i] = phi
    return found


# How the tests call the methods of a layer, and the mistakes that they have to see


def noise(scene: Scene, samples: int = 10, deviation: float = 2.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (samples, 1, *scene.size[1:])
    return torch.randn(shape, generator=generator, dtype=torch.float64) * deviation


def seen_through(
    scene: Scene,
    masks: Callable[[Tensor], list[Tensor]] = unchanged,
    *,
    softmax: bool = False,
) -> Tensor:
    return scorecam(scene.score, scene.images, scene.a, masks, softmax=softmax)


def of_channels(s: Scene, score: Callable[[int], Tensor]) -> Tensor:
    """Return weights `[B, K]` from those of each channel, `[B]`."""
    return torch.stack([score(k) for k in range(s.a.shape[1])], dim=1)


def without(s: Scene, k: int, instead: Tensor | float = 0.0) -> Tensor:
    activations = s.a.clone()
    activations[:, k] = instead
    return s.head(activations)


def resized(s: Scene, channels: Tensor, mode: str = "bilinear", corners: bool = False) -> Tensor:
    aligned = corners if mode == "bilinear" else None
    return interpolate(channels, s.size[1:], mode=mode, align_corners=aligned)


def scaled(channels: Tensor) -> Tensor:
    low, high = channels.amin((2, 3), keepdim=True), channels.amax((2, 3), keepdim=True)
    return (channels - low) / (high - low)


def masks_of(s: Scene) -> Tensor:
    return scaled(resized(s, s.a))


def gains(s: Scene, masks: Tensor, baseline: Tensor | float | None = None) -> Tensor:
    """Return the gains `[B, K]` through masks `[B, K, *image]`."""
    below = s.score(0 * s.images) if baseline is None else torch.as_tensor(baseline)
    return of_channels(s, lambda k: s.score(s.images * masks[:, k : k + 1]) - below)


def mean_gains(s: Scene, variations: Sequence[Tensor]) -> Tensor:
    return torch.stack([gains(s, masks) for masks in variations]).mean(0)


def only_cells(s: Scene, gaussian: bool = False) -> Tensor:
    """Return a mask for each cell, `[cells, *grid]`."""
    cells = torch.eye(s.a[0, 0].numel(), dtype=s.a.dtype).reshape(-1, 1, *s.a.shape[2:])
    kernel = torch.tensor([1.0, 2, 1], dtype=s.a.dtype) / 4
    outer = kernel[:, None] * kernel
    return (nn.functional.conv2d(cells, outer[None, None], padding=1) if gaussian else cells)[:, 0]


def of_cells(s: Scene, score: Callable[[Tensor], Tensor], *, gaussian: bool = False) -> Tensor:
    found = torch.stack([score(mask) for mask in only_cells(s, gaussian)], dim=1)
    return found.reshape(-1, *s.a.shape[2:])


def spread(s: Scene, mask: Tensor) -> Tensor:
    """Return the activations of a mask's heaviest cell, all over the mask."""
    i, j = divmod(int(mask.argmax()), mask.shape[1])
    return s.a[:, :, i : i + 1, j : j + 1] * mask


def scores_of(s: Scene) -> float:
    """The size of scores, of which differences are taken."""
    return float(s.probe.output.detach().abs().max())


def weighted_scores(s: Scene) -> float:
    return scores_of(s) * float(s.a.abs().sum(1).max())


AT_A_LAYER: Family[Scene] = Family(
    oracles={
        "ablationcam": lambda s: ablationcam(s.head, s.a),
        "scorecam": seen_through,
        "scorecam:softmax=true": lambda s: seen_through(s, softmax=True),
        "sscam": lambda s: seen_through(s, with_noise(noise(s))),
        "sscam:samples=3,deviation=0.5,seed=7,softmax=true": lambda s: seen_through(
            s, with_noise(noise(s, 3, 0.5, 7)), softmax=True
        ),
        "iscam": lambda s: seen_through(s, faded_in(10)),
        "iscam:samples=3,softmax=true": lambda s: seen_through(s, faded_in(3), softmax=True),
        "reciprocam": lambda s: reciprocam(s.head, s.a),
        "reciprocam:gaussian=true": lambda s: reciprocam(s.head, s.a, gaussian=True),
    },
    doctored={
        "ablationcam": {
            "divided by the score": lambda s: (
                s.expected("ablationcam") / s.score(s.images)[:, None, None]
            ),
            "the other sign": lambda s: -s.expected("ablationcam"),
            "the score without it": lambda s: weighed(s, of_channels(s, partial(without, s))),
            "the channel's mean in its place": lambda s: weighed(
                s,
                of_channels(
                    s,
                    lambda k: s.head(s.a) - without(s, k, s.a[:, k].mean((1, 2), keepdim=True)),
                ),
            ),
            "the channel's least in its place": lambda s: weighed(
                s,
                of_channels(
                    s, lambda k: s.head(s.a) - without(s, k, s.a[:, k].amin((1, 2), keepdim=True))
                ),
            ),
            "a positive drop only": lambda s: weighed(
                s, of_channels(s, lambda k: s.head(s.a) - without(s, k)).relu()
            ),
        },
        "scorecam": {
            "a softmax": lambda s: s.expected("scorecam:softmax=true"),
            "no baseline": lambda s: weighed(s, gains(s, masks_of(s), 0.0)),
            "the image for a baseline": lambda s: weighed(
                s, gains(s, masks_of(s), s.score(s.images))
            ),
            "masks that are not scaled": lambda s: weighed(s, gains(s, resized(s, s.a))),
            "masks scaled before the resize": lambda s: weighed(
                s, gains(s, resized(s, scaled(s.a)))
            ),
            "masks scaled all together": lambda s: weighed(
                s,
                gains(
                    s, scaled(resized(s, s.a).flatten(1)[:, None, None]).reshape(3, -1, *s.size[1:])
                ),
            ),
            "masks inside out": lambda s: weighed(s, gains(s, 1 - masks_of(s))),
            "aligned corners": lambda s: weighed(
                s, gains(s, scaled(resized(s, s.a, corners=True)))
            ),
            "the nearest cell": lambda s: weighed(s, gains(s, scaled(resized(s, s.a, "nearest")))),
            "positive gains only": lambda s: weighed(s, gains(s, masks_of(s)).relu()),
            "the mask for the activations": lambda s: (
                gains(s, masks_of(s))[:, :, None, None] * scaled(s.a)
            ).sum(1),
        },
        "scorecam:softmax=true": {
            "no softmax": lambda s: s.expected("scorecam"),
            "a softmax over images": lambda s: weighed(s, gains(s, masks_of(s)).softmax(0)),
        },
        "sscam": {
            "no noise": lambda s: s.expected("scorecam"),
            "another seed": lambda s: seen_through(s, with_noise(noise(s, seed=1))),
            "a deviation of one": lambda s: seen_through(s, with_noise(noise(s) / 2)),
            "noise on the activations": lambda s: weighed(
                s, mean_gains(s, [scaled(resized(s, s.a) + one) for one in noise(s)])
            ),
            "masks kept within 0 and 1": lambda s: weighed(
                s, mean_gains(s, [(masks_of(s) + one).clamp(0, 1) for one in noise(s)])
            ),
            "noise on the image": lambda s: weighed(
                s, mean_gains(s, [masks_of(s) * (1 + one) for one in noise(s)])
            ),
            "the first sample": lambda s: seen_through(s, with_noise(noise(s)[:1])),
            "the sum over samples": lambda s: s.expected("sscam") * 10,
        },
        "iscam": {
            "full strength": lambda s: s.expected("scorecam"),
            "from nothing": lambda s: weighed(
                s, mean_gains(s, [masks_of(s) * i / 10 for i in range(10)])
            ),
            "strengths summed up": lambda s: weighed(
                s, mean_gains(s, [masks_of(s) * i * (i + 1) / 20 for i in range(1, 11)])
            ),
            "masks to a power": lambda s: weighed(
                s, mean_gains(s, [masks_of(s) ** (i / 10) for i in range(1, 11)])
            ),
            "the sum over steps": lambda s: s.expected("iscam") * 10,
        },
        "reciprocam": {
            "the bare score": lambda s: of_cells(s, lambda mask: s.head(s.a * mask)),
            "the probability": lambda s: of_cells(
                s, lambda mask: classes(s.chosen, lambda y: y.softmax(1))(s.output(s.a * mask))
            ),
            "what is lost without the cell": lambda s: of_cells(
                s, lambda mask: s.head(s.a) - s.head(s.a * (1 - mask))
            ),
            "no class token": lambda s: of_cells(
                s,
                lambda mask: classes(s.chosen)(s.output(s.a * mask, 0.0) - s.output(0 * s.a, 0.0)),
            ),
            "the neighbours too": lambda s: s.expected("reciprocam:gaussian=true"),
            "rows for columns": lambda s: s.expected("reciprocam").mT.reshape(-1, *s.a.shape[2:]),
        },
        "reciprocam:gaussian=true": {
            "the cell alone": lambda s: s.expected("reciprocam"),
            "the cell spread over its neighbours": lambda s: of_cells(
                s, lambda mask: s.head(spread(s, mask)) - s.head(0 * s.a), gaussian=True
            ),
            "weights that sum to one at the border": lambda s: of_cells(
                s, lambda mask: s.head(s.a * mask / mask.sum()) - s.head(0 * s.a), gaussian=True
            ),
            "weights whose peak is one": lambda s: of_cells(
                s, lambda mask: s.head(s.a * mask * 4) - s.head(0 * s.a), gaussian=True
            ),
        },
    },
    undoctored={
        "ablationcam": lambda s: weighed(s, of_channels(s, lambda k: s.head(s.a) - without(s, k))),
        "scorecam": lambda s: weighed(s, gains(s, masks_of(s))),
        "sscam": lambda s: weighed(s, mean_gains(s, [masks_of(s) + one for one in noise(s)])),
        "iscam": lambda s: weighed(s, mean_gains(s, [masks_of(s) * i / 10 for i in range(1, 11)])),
        "reciprocam": lambda s: of_cells(s, lambda mask: s.head(s.a * mask) - s.head(0 * s.a)),
        "reciprocam:gaussian=true": lambda s: of_cells(
            s, lambda mask: s.head(s.a * mask) - s.head(0 * s.a), gaussian=True
        ),
    },
    cancels={
        **dict.fromkeys(("ablationcam", "scorecam", "sscam", "iscam"), weighted_scores),
        "reciprocam": scores_of,
    },
    linear=("ablationcam", "scorecam", "sscam", "iscam", "reciprocam", "reciprocam:gaussian=true"),
    shaped_by_scale=(
        "scorecam:softmax=true",
        "sscam:samples=3,deviation=0.5,seed=7,softmax=true",
        "iscam:samples=3,softmax=true",
    ),
)


# How the tests call the methods of the input, and the mistakes that they have to see


#: Covers a fourth of a side wide, and 0.13 of it apart.
COVERS = {(12, 16): ((3, 4), (2, 2)), (6, 8): ((2, 2), (1, 1)), (3, 4): ((1, 1), (1, 1))}


def covers(studied: Studied) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return COVERS[cast("tuple[int, int]", tuple(studied.activations.shape[2:]))]


def leave_one_out(studied: Studied) -> Tensor:
    found = torch.zeros_like(studied.activations[:, 0])
    whole = studied.score(studied.activations)
    for b, part in enumerate(studied.superpixels()):
        for i in range(int(part.max()) + 1):
            without = torch.where(part == i, 0.2, studied.activations)
            found[b][part == i] = (whole - studied.score(without))[b].item()
    return found


def shifted_rise(studied: Studied) -> Tensor:
    drawn = studied.rise_masks()
    total = torch.zeros_like(studied.activations[:, 0])
    for mask, other in zip(drawn, drawn.roll(1, 0), strict=True):
        total += studied.score(studied.activations * mask)[:, None, None].detach() * other
    return total / (0.4 * len(drawn))


def shared_out(studied: Studied) -> Tensor:
    found = studied.expected("kernelshap")
    return found / torch.stack([part.flatten().bincount()[part] for part in studied.superpixels()])


def scores_at_the_input(studied: Studied) -> float:
    return float(studied.score(studied.activations).detach().abs().max())


AT_THE_INPUT: Family[Studied] = Family(
    oracles={
        "occlusion:patch=0.25,stride=0.13,baseline=0.2": lambda s: occlusion(
            s.score, s.activations, *covers(s), 0.2
        ),
        "rise:masks=20,cells=3,keep=0.4,seed=3": lambda s: rise(
            s.score, s.activations, s.rise_masks(), 0.4
        ),
        "kernelshap:segments=5,baseline=0.2": lambda s: shapley(
            s.score, s.activations, s.superpixels(), 0.2
        ),
    },
    doctored={
        "occlusion": {
            "what is left": lambda s: (
                s.score(s.activations)[:, None, None] - s.expected("occlusion")
            ),
            "a zero cover": lambda s: occlusion(s.score, s.activations, *covers(s)),
            "covers side by side": lambda s: occlusion(
                s.score, s.activations, covers(s)[0], covers(s)[0], 0.2
            ),
        },
        "rise": {
            "not divided by p": lambda s: 0.4 * s.expected("rise"),
            "the mean score left in": lambda s: (
                s.expected("rise")
                + torch.stack([s.score(s.activations * m) for m in s.rise_masks()]).mean(0)[
                    :, None, None
                ]
                * s.rise_masks().mean(0)
                / 0.4
            ),
            "hard masks": lambda s: rise(s.score, s.activations, s.rise_masks().round(), 0.4),
            "scores of the next mask": shifted_rise,
        },
        "kernelshap": {
            "leave one out": leave_one_out,
            "shared among pixels": shared_out,
            "another baseline": lambda s: shapley(s.score, s.activations, s.superpixels(), 0.0),
        },
    },
    cancels=dict.fromkeys(("occlusion", "rise", "kernelshap"), scores_at_the_input),
)
