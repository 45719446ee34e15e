"""Methods for the words of a vision-language model: what its logits say at the picture."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from limelight.evidence import Evidence, WordLogits


def tam(evidence: Evidence) -> Tensor:
    """Show where a language model would say the word, less what earlier words explain.

    With `Z_i = relu(logit of word i)` at the picture's positions, the words j that stand between
    the picture and the word, other than the word itself, interfere by
    `I = sum_j a_j Z_j / sum_j a_j`, where a_j is that logit of word i at the position of word j.
    `L_i = relu(Z_i - s I)`, with the s that leaves least, `s = <Z_i, I> / <I, I>`; then
    `rank_gaussian`: Li et al. 2025, section 3 (estimated causal inference, rank Gaussian filter).
    Shape `[B, *grid]`, the mean over the words that are explained. The paper then puts picture and
    words on one scale, to show them side by side; that is left out.
    """
    found = evidence.word_logits
    maps = [rank_gaussian(_without_earlier(found, word)) for word in found.explained]
    return torch.stack(maps).mean(0)


def _without_earlier(found: WordLogits, word: int) -> Tensor:
    """Return the logits of a word at the picture, less what earlier words explain, `[B, *grid]`."""
    positive = found.at_picture.relu()
    activation, earlier = positive[:, word], positive[:, :word]
    others = found.ids[:, :word] != found.ids[:, word, None]
    shares = found.at_words[:, word, :word].relu() * others
    total = shares.sum(1, keepdim=True)
    shares = torch.where(total > 0, shares / total, 0)
    spread = shares.reshape(*shares.shape, *(1,) * (earlier.ndim - 2))
    interference = (spread * earlier).sum(1)
    grid = tuple(range(1, activation.ndim))
    size = interference.square().sum(grid, keepdim=True)
    scale = (activation * interference).sum(grid, keepdim=True) / size
    return (activation - torch.where(size > 0, scale * interference, 0)).relu()


#: How many cells along an axis the filter looks at.
_WINDOW = 3


def rank_gaussian(maps: Tensor) -> Tensor:
    """Replace each cell by a mean of its neighbourhood that leans to the median, `[B, *grid]`.

    The 3 x 3 values around a cell are sorted, and weighted by a Gaussian of their distance in rank
    from the median, `exp(-(r - m)^2 / 2 c^2)`, whose deviation is their coefficient of variation,
    `c = std / mean`: Li et al. 2025, section 3. The edge is mirrored. Frames of a video are
    filtered one by one.

    Args:
        maps: What is filtered; not negative.
    """
    axes = range(max(1, maps.ndim - 2), maps.ndim)
    windows = maps
    for axis in axes:
        windows = _mirrored(windows, axis).unfold(axis, _WINDOW, 1)
    values = windows.flatten(maps.ndim).sort(-1).values
    deviation, mean = values.std(-1, correction=0, keepdim=True), values.mean(-1, keepdim=True)
    ranks = torch.arange(values.shape[-1], device=maps.device) - values.shape[-1] // 2
    variation = torch.where(deviation > 0, deviation / mean, 1)  # the values are all alike else
    weights = torch.exp(-ranks.square() / (2 * variation.square()))
    return (values * weights).sum(-1) / weights.sum(-1)


def _mirrored(maps: Tensor, axis: int) -> Tensor:
    """Return maps with one more cell at both ends of an axis, mirrored at the edge."""
    last_axis = maps.movedim(axis, -1)
    mode = "reflect" if last_axis.shape[-1] > 1 else "replicate"
    flat = last_axis.reshape(1, -1, last_axis.shape[-1])
    longer = pad(flat, (_WINDOW // 2, _WINDOW // 2), mode=mode)
    return longer.reshape(*last_axis.shape[:-1], -1).movedim(-1, axis)
