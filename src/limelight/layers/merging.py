"""Tokens that a network merges: which earlier ones a later one is made of, by their cells."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from limelight.finish import along_axes
from limelight.layers.layouts import Layout


def spread(shares: Tensor, after: Layout, before: Layout, count: int) -> Tensor:
    """Return shares of the tokens on a grid, as shares of the tokens on an earlier grid.

    A later token is taken as the mean of the earlier ones in its cell, `t'_i = sum_j m_ij t_j`,
    where m_ij is the part of cell i that the earlier cell j covers; so `s = s' m`. Tokens without a
    cell have no share.

    Args:
        shares: Those of the later tokens, `[B, N']`.
        after: The layout of the later tokens.
        before: The layout of the earlier tokens.
        count: N, how many earlier tokens there are.

    Returns:
        The shares of the earlier tokens, `[B, N]`.
    """
    on_grid = after.positions_to_grid(shares)
    for axis, matrix in enumerate(_overlaps(after, before), start=1):
        on_grid = (on_grid.movedim(axis, -1) @ matrix.to(on_grid)).movedim(-1, axis)
    return before.grid_to_positions(on_grid, count)


def _overlaps(after: Layout, before: Layout) -> list[Tensor]:
    """Return along each axis the part of later cells that each earlier one covers, `[h', h]`."""
    spans = zip(
        along_axes(after.span, len(after.grid)),
        along_axes(before.span, len(before.grid)),
        strict=True,
    )
    matrices = []
    for late, early, (later, earlier) in zip(after.grid, before.grid, spans, strict=True):
        starts, ends = _edges(late, (later.start, later.end))
        firsts, lasts = _edges(early, (earlier.start, earlier.end))
        common = torch.minimum(ends[:, None], lasts) - torch.maximum(starts[:, None], firsts)
        covered = common.clamp(min=0)
        covered = torch.where(covered > 1e-9, covered, 0)  # cells that only touch
        matrices.append(covered / covered.sum(1, keepdim=True).clamp(min=1e-9))
    return matrices


def _edges(cells: int, span: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Return where each cell of an axis begins and ends, in picture lengths."""
    start, end = span
    edges = torch.linspace(start, end, cells + 1, dtype=torch.float64, device="cpu")
    return edges[:-1], edges[1:]
