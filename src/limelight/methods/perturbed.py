"""Methods of many runs: what the score becomes when parts are removed, or are all that is left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from limelight.evidence import Evidence, MakeVariants
from limelight.finish import resize
from limelight.methods.weighted import weigh


def ablationcam(evidence: Evidence) -> Tensor:
    """Weight each channel by what the score loses without it.

    `w_k = y_c - y_c(A without channel k)`, `L = sum_k w_k A_k`, shape `[B, *grid]`: Desai and
    Ramaswamy 2020, section 3. The paper divides by `y_c`; that only scales the map of a positive
    score, but would flip the sign of the map of a negative one, so it is left out. A channel that
    is zero everywhere is not run, as nothing changes without it. A difference no larger than
    rounding counts as zero.
    """
    activations = evidence.activations
    active = activations.flatten(2).any(2).T  # [K, B]
    complete = torch.ones_like(active[:1])  # the last variant keeps all channels

    scores = evidence.head.scores(torch.cat([active, complete]), without_channel(evidence))
    lost = torch.where(active, scores[-1] - scores[:-1], 0)
    rounding = 8 * torch.finfo(lost.dtype).eps * scores[-1].abs()
    return weigh(evidence, torch.where(lost.abs() > rounding, lost, 0).T)


def without_channel(evidence: Evidence) -> MakeVariants:
    """Return what removes one channel by its number; that behind the last one removes none."""
    activations = evidence.activations

    def without(channels: Tensor, b: int) -> Tensor:
        rows = activations[b].repeat(len(channels), 1, *[1] * len(evidence.axes))
        is_channel = channels < activations.shape[1]
        rows[is_channel.nonzero()[:, 0], channels[is_channel]] = 0
        return rows

    return without


def reciprocam(evidence: Evidence, *, gaussian: bool = False) -> Tensor:
    """Score each cell by what the head returns when it sees that cell alone; needs no gradient.

    `L_ij = y_c(A [only cell ij]) - y_c(0)`, shape `[B, *grid]`: Byun and Lee 2022, section 3; the
    prefix tokens of a transformer stay as they are (Byun and Lee 2023). With `gaussian` the cell's
    neighbours stay too, with weights 1 2 1 / 2 4 2 / 1 2 1 over 16. The papers use the probability
    as the score; here it is the score that was asked for, minus the score with no cell at all. If
    the head is a pool and a linear layer, this is Grad-CAM.
    """
    activations = evidence.activations
    grid = activations.shape[2:]
    count = math.prod(grid)

    def alone(number: Tensor, b: int) -> Tensor:
        # The last variant has no cell at all.
        is_alone = number[:, None] == torch.arange(count, device=number.device)
        cells = is_alone.to(activations).reshape(-1, *grid)
        for axis in range(1, cells.ndim if gaussian else 0):
            cells = cells / 2 + (_shifted(cells, axis, 1) + _shifted(cells, axis, -1)) / 4
        return activations[b] * cells[:, None]

    scores = evidence.head.scores(_all(evidence, count + 1), alone)
    return (scores[:-1] - scores[-1]).T.reshape(-1, *grid)


def _shifted(cells: Tensor, axis: int, step: int) -> Tensor:
    """Shift by one cell along an axis; what leaves the grid is dropped."""
    size = cells.shape[axis]
    moved = torch.zeros_like(cells)
    moved.narrow(axis, max(step, 0), size - 1).copy_(cells.narrow(axis, max(-step, 0), size - 1))
    return moved


def scorecam(evidence: Evidence, *, softmax: bool = False) -> Tensor:
    """Weight each channel by the score of the image seen through it.

    With `H_k` the channel, resized to the image and scaled to [0, 1], and X the image:
    `alpha_k = y_c(X * H_k) - y_c(0)`, `L = sum_k alpha_k A_k`, shape `[B, *grid]`: Wang et al.
    2020, eq. 6 to 10, with the black baseline of section 4. Algorithm 1 adds a `softmax` over the
    channels; the map then depends on the scale of the scores. A constant channel masks everything:
    its alpha (before the softmax) is zero, and it is not run.
    """
    return _through_masks(evidence, _Masks(evidence), softmax=softmax)


def sscam(
    evidence: Evidence,
    *,
    samples: int = 10,
    deviation: float = 2.0,
    seed: int = 0,
    softmax: bool = False,
) -> Tensor:
    """Weight each channel by the score of the image seen through it, averaged over noise.

    As `scorecam`, with `alpha_k = mean_i y_c(X * (H_k + noise_i)) - y_c(0)`, the noise normal with
    the given standard deviation and the same for all channels: Wang et al. 2020 b, section 3.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (samples, 1, *evidence.image.shape[2:])
    noise = torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu") * deviation
    masks = _Masks(evidence, add=noise.to(evidence.image))
    return _through_masks(evidence, masks, softmax=softmax)


def iscam(evidence: Evidence, *, samples: int = 10, softmax: bool = False) -> Tensor:
    """Weight each channel by the score of the image as the channel is faded in.

    As `scorecam`, with `alpha_k = mean_i y_c(X * i/n H_k) - y_c(0)`, where i runs from 1 to n
    samples: Naidu et al. 2020, section 3.
    """
    scale = torch.arange(1, samples + 1, dtype=torch.float64, device="cpu") / samples
    masks = _Masks(evidence, times=scale.to(evidence.image))
    return _through_masks(evidence, masks, softmax=softmax)


class _Masks:
    """The channels as masks over the image, `[B, K]`, each in several variations."""

    def __init__(
        self, evidence: Evidence, *, times: Tensor | None = None, add: Tensor | None = None
    ) -> None:
        self.evidence = evidence
        channels = evidence.activations.flatten(2)
        self.low, self.high = channels.aminmax(dim=2)
        self.times, self.add = times, add
        self.variations = max(1 if t is None else len(t) for t in (times, add))

    def needed(self, *, softmax: bool) -> Tensor:
        """Return which channels have to be run, `[B, K]`.

        A constant channel makes a mask of zero, which gains nothing. With noise added it does gain
        something, which counts unless the channel is zero and there is no softmax.
        """
        if self.add is None:
            return self.high > self.low
        return (self.high != 0) | (self.low != 0) | softmax

    def masked(self, number: Tensor, b: int) -> Tensor:
        """Return image b seen through masks `[M, C, *image]`.

        A number is `channel * variations + variation`; the number behind the last channel means a
        mask that is zero everywhere.
        """
        evidence = self.evidence
        channel, variation = number // self.variations, number % self.variations
        black = channel == self.low.shape[1]
        channel = torch.where(black, 0, channel)
        size = evidence.image.shape[2:]
        masks = resize(evidence.activations[b, channel], size, evidence.span)
        # After the resize, as a resized channel need not reach the channel's extremes.
        low, high = masks.flatten(1).aminmax(dim=1)
        axes = [1] * len(evidence.axes)
        value_range = torch.where(high > low, high - low, 1).reshape(-1, *axes)
        masks = (masks - low.reshape(-1, *axes)) / value_range
        masks = masks.to(evidence.image.dtype)[:, None]
        if self.times is not None:
            masks = masks * self.times[variation].reshape(-1, 1, *axes)
        if self.add is not None:
            masks = masks + self.add[variation]
        return evidence.image[b] * torch.where(black.reshape(-1, 1, *axes), 0, masks)


def _through_masks(evidence: Evidence, masks: _Masks, *, softmax: bool) -> Tensor:
    count = masks.variations
    wanted = masks.needed(softmax=softmax).T.repeat_interleave(count, 0)  # [K * variations, B]
    scores = evidence.network.scores(torch.cat([wanted, torch.ones_like(wanted[:1])]), masks.masked)
    gain = torch.where(wanted, scores[:-1] - scores[-1], 0)
    gain = gain.reshape(-1, count, gain.shape[1]).mean(1).T  # [B, K]
    return weigh(evidence, gain.softmax(1) if softmax else gain)


def occlusion(
    evidence: Evidence, *, patch: float = 0.2, stride: float = 0.1, baseline: float = 0.0
) -> Tensor:
    """Cover each part of the image in turn, and measure what the score loses.

    `L_ij` is the mean of `y_c - y_c(X covered by w)` over the windows w that cover pixel ij, shape
    `[B, *image]`: Zeiler and Fergus 2014, section 4.2. `patch` and `stride` are shares of the
    image's sides (at least one pixel); covered pixels have the value `baseline`, in the network's
    units, where 0 is the mean colour.
    """
    size = evidence.activations.shape[2:]
    axes = []
    for length in size:
        width = min(length, max(1, round(patch * length)))
        step = min(width, max(1, round(stride * length)))  # so that every pixel is covered
        starts = [*range(0, length - width, step), length - width]
        axes.append([slice(start, start + width) for start in starts])
    windows = list(product(*axes))

    def covered(number: Tensor, b: int) -> Tensor:
        rows = evidence.activations[b].repeat(len(number), 1, *[1] * len(size))
        for row, index in zip(rows, number.tolist(), strict=True):
            row[(slice(None), *windows[index])] = baseline
        return rows

    drops = evidence.score - evidence.head.scores(_all(evidence, len(windows)), covered)
    summed = torch.zeros_like(evidence.activations[:, 0])
    covers = torch.zeros_like(summed[0])
    for drop, window in zip(drops.to(summed), windows, strict=True):
        summed[(slice(None), *window)] += drop.reshape(-1, *[1] * len(size))
        covers[window] += 1
    return summed / covers


def rise(
    evidence: Evidence, *, masks: int = 4000, cells: int = 7, keep: float = 0.5, seed: int = 0
) -> Tensor:
    """Score random masks, and average them with their scores as weights.

    `L = 1 / (N p) sum_i (s_i - mean s) M_i` with `s_i = y_c(X * M_i)`, shape `[B, *image]`: Petsiuk
    et al. 2018, section 3, with N masks that keep a cell with probability p. A mask is a grid of
    cells, a little larger than the image, interpolated linearly and shifted by less than a cell.
    The same masks serve all images. The paper leaves the mean score in. That adds the same value to
    every pixel, apart from the noise of the masks, and would hide the map of a negative score.
    """
    image = evidence.activations
    summed = torch.zeros_like(image[:, 0])
    random_masks = RiseMasks(image.shape[2:], masks, cells=cells, keep=keep, seed=seed)

    def masked(number: Tensor, b: int) -> Tensor:
        return image[b] * random_masks(number).to(image)[:, None]

    scores = evidence.head.scores(_all(evidence, masks), masked)
    scores = scores - scores.mean(0)
    for numbers in torch.split(torch.arange(masks, device="cpu"), 64):
        chunk = random_masks(numbers).to(image)
        summed += torch.tensordot(scores[numbers.to(scores.device)].T.to(image), chunk, 1)
    return summed / (masks * keep)


class RiseMasks:
    """The masks of RISE for images of one size; `masks(numbers)` returns some, `[M, *size]`."""

    def __init__(
        self, size: Sequence[int], count: int, *, cells: int, keep: float, seed: int
    ) -> None:
        """Draw the grids; masks are interpolated on demand, as all would take much memory."""
        generator = torch.Generator().manual_seed(seed)
        self.size = tuple(size)
        self.cell = [math.ceil(length / min(cells, length)) for length in self.size]
        grid = [min(cells, length) + 1 for length in self.size]
        drawn = torch.rand(count, *grid, generator=generator, dtype=torch.float32, device="cpu")
        self.grids = (drawn < keep).float()
        shifts = [
            torch.randint(0, cell, (count,), generator=generator, device="cpu")
            for cell in self.cell
        ]
        self.shifts = torch.stack(shifts, 1)

    def __call__(self, numbers: Tensor) -> Tensor:
        """Return the masks with these numbers, `[M, *size]`."""
        numbers = numbers.cpu()
        grids = self.grids[numbers]
        pairs = zip(grids.shape[1:], self.cell, strict=True)
        large = resize(grids, [cells * cell for cells, cell in pairs])
        cropped = []
        for mask, shift in zip(large, self.shifts[numbers].tolist(), strict=True):
            ends = zip(shift, self.size, strict=True)
            cropped.append(mask[tuple(slice(start, start + length) for start, length in ends)])
        return torch.stack(cropped)


def kernelshap(
    evidence: Evidence,
    *,
    segments: int = 50,
    samples: int = 1000,
    baseline: float = 0.0,
    seed: int = 0,
) -> Tensor:
    """Divide the score among superpixels: their Shapley values, by a weighted regression.

    With S superpixels and the kernel `(S - 1) / (C(S, s) s (S - s))` for coalitions of s of them,
    phi minimises the weighted squares of `y_c(X of the coalition) - phi_0 - sum phi`, under
    `phi_0 = y_c(baseline)` and `phi_0 + sum phi = y_c(X)`; `L` is phi of the superpixel that a
    pixel is in, shape `[B, *image]`: Lundberg and Lee 2017, theorem 2. Coalitions are drawn by
    their weight, each with its complement; if there are at most `samples` of them, all are used,
    and the values are exact. Pictures are cut into the superpixels of SLIC (scikit-image); other
    inputs, and pictures in which SLIC finds a single part, into blocks.

    1. Cut each image into parts, and draw coalitions of them.
    2. Score each image with the parts outside each coalition at the baseline.
    3. Regress the gains of the coalitions on their members; each pixel gets the value of its part.
    """
    images = evidence.activations
    # 1. The coalitions.
    parts = [superpixels(image, segments).to(images.device) for image in images]
    coalitions_of = [_coalitions(int(numbers.max()) + 1, samples, seed) for numbers in parts]
    # The last variant of each image is the empty coalition.
    members = [
        torch.cat([rows, torch.zeros_like(rows[:1])]).to(images) for rows, _ in coalitions_of
    ]
    wanted = torch.zeros(max(map(len, members)), len(images), dtype=torch.bool, device="cpu")
    for b, rows in enumerate(members):
        wanted[: len(rows), b] = True

    def joined(number: Tensor, b: int) -> Tensor:
        inside = members[b][number][:, parts[b]][:, None] > 0
        return torch.where(inside, images[b], baseline)

    # 2. The scores.
    scores = evidence.head.scores(wanted.to(images.device), joined).cpu().double()
    explained = evidence.score.cpu().double()
    # 3. The values.
    maps = torch.zeros_like(images[:, 0])
    for b, (coalitions, weights) in enumerate(coalitions_of):
        empty = scores[len(coalitions), b]
        gains = scores[: len(coalitions), b] - empty
        shares = _regress(coalitions.double(), weights, gains, explained[b] - empty)
        maps[b] = shares.to(images)[parts[b]]
    return maps


def superpixels(image: Tensor, count: int) -> Tensor:
    """Return the superpixel of each pixel, numbered from 0, for an image `[C, *image]`."""
    size = image.shape[1:]
    labels = torch.zeros(size, dtype=torch.long, device="cpu")
    if len(size) == 2:
        from skimage.segmentation import slic

        picture = image.float().cpu()
        low, high = picture.aminmax()
        picture = (picture - low) / torch.where(high > low, high - low, 1)
        labels = torch.from_numpy(
            slic(
                picture.movedim(0, -1).numpy(),
                n_segments=count,
                convert2lab=len(image) == 3,
                start_label=0,
                channel_axis=-1,
            )
        )
    if not labels.any():
        labels = blocks(size, max(1, round(count ** (1 / len(size)))))
    numbers: Tensor = torch.unique(labels, return_inverse=True)[1]
    return numbers


def blocks(size: Sequence[int], sides: int) -> Tensor:
    """Cut an image into `sides` blocks along each axis; return the block of each pixel, from 0."""
    numbers = torch.zeros(tuple(size), dtype=torch.long, device="cpu")
    for axis, length in enumerate(size):
        count = min(sides, length)
        along = torch.arange(length, device="cpu") * count // length
        numbers = numbers * count + along.reshape(-1, *[1] * (len(size) - axis - 1))
    return numbers


def _coalitions(count: int, samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return coalitions `[V, S]` of 0 and 1, without the empty and full ones, and weights `[V]`."""
    if count < 2:
        whole = torch.ones(1, count, dtype=torch.float32, device="cpu")
        return whole, torch.ones(1, dtype=torch.float64, device="cpu")
    if count < 30 and 2**count - 2 <= samples:
        rows = list(product((0.0, 1.0), repeat=count))[1:-1]
        all_coalitions = torch.tensor(rows, dtype=torch.float32, device="cpu")
        sizes = all_coalitions.sum(1).int().tolist()
        weights = [(count - 1) / (math.comb(count, s) * s * (count - s)) for s in sizes]
        return all_coalitions, torch.tensor(weights, dtype=torch.float64, device="cpu")
    generator = torch.Generator().manual_seed(seed)
    sizes_ = torch.arange(1, count, device="cpu")
    chance = (count - 1) / (sizes_ * (count - sizes_)).float()
    size = sizes_[
        torch.multinomial(chance, max(1, samples // 2), replacement=True, generator=generator)
    ]
    shape = len(size), count
    drawn = torch.rand(shape, generator=generator, dtype=torch.float32, device="cpu")
    order = drawn.argsort(1).argsort(1)
    half = (order < size[:, None]).float()
    drawn = torch.cat([half, 1 - half])
    return drawn, torch.ones(len(drawn), dtype=torch.float64, device="cpu")


def _regress(coalitions: Tensor, weights: Tensor, gains: Tensor, total: Tensor) -> Tensor:
    """Return the values `[S]` that sum to `total` and fit the gains of the coalitions best."""
    if not (gains.isfinite().all() and total.isfinite()):
        return torch.full_like(coalitions[0], torch.nan)
    if coalitions.shape[1] < 2:
        return total.expand(1)
    last = coalitions[:, -1:]  # its value follows from the others and the total
    root = weights.sqrt()[:, None]
    inputs, targets = (coalitions[:, :-1] - last) * root, (gains[:, None] - last * total) * root
    values = torch.linalg.lstsq(inputs, targets, driver="gelsd").solution[:, 0]
    return torch.cat([values, (total - values.sum())[None]])


def _all(evidence: Evidence, count: int) -> Tensor:
    shape = (count, evidence.activations.shape[0])
    return torch.ones(shape, dtype=torch.bool, device=evidence.activations.device)
