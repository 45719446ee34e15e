"""The token activation map, derived again, slowly, from its paper."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def interfering(logits: Tensor, ids: Sequence[int], cells: Sequence[int], word: int) -> list[int]:
    """Return the words that stand between the picture and a word, and are not the word itself."""
    assert len(logits) == len(ids)
    return [j for j in range(max(cells) + 1, word) if ids[j] != ids[word]]


def causal(logits: Tensor, ids: Sequence[int], cells: Sequence[int], word: int) -> list[float]:
    """Estimated causal inference, one number for each cell; Li et al. 2025, section 3.

    The activation of a word is its logit, not below 0, at each position of the picture. Those of
    earlier words, weighted by the word's own logits at their positions, are taken off as often as
    leaves the least squared rest; what is below 0 then is 0.

    Args:
        logits: Of one sentence, `[N, V]`.
        ids: Its words.
        cells: The positions of the picture.
        word: The position of the word.
    """

    def activation(of: int) -> list[float]:
        return [max(0.0, float(logits[n, ids[of]])) for n in cells]

    others = interfering(logits, ids, cells, word)
    weights = [max(0.0, float(logits[j, ids[word]])) for j in others]
    own, total = activation(word), sum(weights)
    if total == 0:
        return own
    taken = [0.0] * len(cells)
    for weight, j in zip(weights, others, strict=True):
        for n, value in enumerate(activation(j)):
            taken[n] += weight / total * value
    scale = sum(a * b for a, b in zip(own, taken, strict=True)) / sum(b * b for b in taken)
    return [max(0.0, a - scale * b) for a, b in zip(own, taken, strict=True)]


def rank_gaussian(values: Tensor) -> Tensor:
    """The rank Gaussian filter of one map `[h, w]`, mirrored at the edge; Li et al. 2025."""
    high, wide = values.shape

    def at(y: int, x: int) -> float:
        y, x = (abs(y), abs(x))
        y = y if y < high else 2 * (high - 1) - y
        x = x if x < wide else 2 * (wide - 1) - x
        return float(values[y, x])

    found = torch.zeros_like(values)
    for y in range(high):
        for x in range(wide):
            ranked = sorted(at(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1))
            mean = sum(ranked) / 9
            deviation = math.sqrt(sum((value - mean) ** 2 for value in ranked) / 9)
            if deviation == 0:
                found[y, x] = mean
                continue
            variation = deviation / mean
            weights = [math.exp(-((rank - 4) ** 2) / (2 * variation**2)) for rank in range(9)]
            both = zip(weights, ranked, strict=True)
            found[y, x] = sum(weight * value for weight, value in both) / sum(weights)
    return found


def as_map(values: Sequence[float], grid: tuple[int, int]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(grid)


def tam(
    logits: Tensor,
    ids: Tensor,
    cells: Sequence[int],
    words: Sequence[int],
    grid: tuple[int, int],
) -> Tensor:
    """Return the map of words, `[B, h, w]`, the mean over them."""
    maps = []
    for row, sentence in zip(logits, ids.tolist(), strict=True):
        each = [rank_gaussian(as_map(causal(row, sentence, cells, w), grid)) for w in words]
        maps.append(torch.stack(each).mean(0))
    return torch.stack(maps)
