"""Attention within windows, written out as one matrix of all tokens of a layer.

Swin (Liu et al. 2021): windows of M x M tokens, shifted by s tokens in every other layer (section
3.2), and 2 x 2 tokens merged into one between stages (section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Windows(NamedTuple):
    """How a layer lays its grid into windows.

    Attributes:
        grid: The sizes of its grid.
        side: M, how many tokens a window has along an axis.
        shift: s, by how many tokens the windows are shifted.
    """

    grid: tuple[int, int]
    side: int
    shift: int

    def tokens(self) -> list[list[int]]:
        """Return the token at each place of each window, row by row; -1 beyond the grid.

        Windows begin at the first token, and the last are padded; then all moves by the shift.
        """
        high, wide = (-(-size // self.side) * self.side for size in self.grid)
        found = []
        for top in range(0, high, self.side):
            for left in range(0, wide, self.side):
                window = []
                for row in range(top, top + self.side):
                    for column in range(left, left + self.side):
                        y, x = (row + self.shift) % high, (column + self.shift) % wide
                        inside = y < self.grid[0] and x < self.grid[1]
                        window.append(y * self.grid[1] + x if inside else -1)
                found.append(window)
        return found


def among_all(weights: Tensor, windows: Windows) -> Tensor:
    """Return matrices within windows `[B W, heads, n, n]` as `[B, heads, N, N]`."""
    tokens = windows.tokens()
    batch, count = len(weights) // len(tokens), windows.grid[0] * windows.grid[1]
    whole = torch.zeros(batch, weights.shape[1], count, count, dtype=weights.dtype)
    for b in range(batch):
        for w, window in enumerate(tokens):
            for i, query in enumerate(window):
                for j, key in enumerate(window):
                    if query >= 0 and key >= 0:
                        whole[b, :, query, key] = weights[b * len(tokens) + w, :, i, j]
    return whole


def merging(before: Sequence[int], after: Sequence[int]) -> Tensor:
    """Return `m_ij`, the part of token i that is token j, `[N', N]`: a quarter of each of four."""
    found = torch.zeros(after[0] * after[1], before[0] * before[1], dtype=torch.float64)
    for y in range(before[0]):
        for x in range(before[1]):
            row = (y // 2) * after[1] + x // 2
            found[row, y * before[1] + x] = 0.25
    return found


def rollout(layers: Sequence[tuple[Tensor, Windows]]) -> Tensor:
    """Attention rollout through windows and merging, the mean over the tokens pooled, `[B, h, w]`.

    `A = 0.5 W_att + 0.5 I`, multiplied layer by layer (Abnar and Zuidema 2020, eq. 1), with m
    between the stages.
    """
    first, maps = layers[0][1].grid, []
    for b in range(len(layers[0][0])):
        relevance = torch.eye(first[0] * first[1], dtype=torch.float64)
        grid = first
        for weights, windows in layers:
            if windows.grid != grid:
                relevance, grid = merging(grid, windows.grid) @ relevance, windows.grid
            mean = weights[b].mean(0)
            relevance = (0.5 * mean + 0.5 * torch.eye(len(mean), dtype=mean.dtype)) @ relevance
        maps.append(relevance.mean(0).reshape(first))
    return torch.stack(maps)


def attention_x_gradient(layers: Sequence[tuple[Tensor, Tensor, Windows]]) -> Tensor:
    """The same of `R <- R + A_bar R`, less what the identity alone would give."""
    first, maps = layers[0][2].grid, []
    for b in range(len(layers[0][0])):
        same = torch.eye(first[0] * first[1], dtype=torch.float64)
        gained, grid = torch.zeros_like(same), first  # R is their sum
        for weights, gradients, windows in layers:
            if windows.grid != grid:
                merge, grid = merging(grid, windows.grid), windows.grid
                gained, same = merge @ gained, merge @ same
            bar = (weights[b] * gradients[b]).clamp(min=0).mean(0)
            gained = gained + bar @ gained + bar @ same
        maps.append(gained.mean(0).reshape(first))
    return torch.stack(maps)
