"""The local maxima of maps, and what the network saw under them."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, max_pool2d, pad

#: The most maxima of a map, and the least heat of one, where the highest has 1.
MOST_PEAKS, LEAST_HEAT = 3, 0.4

#: With more channels, features are projected to so many numbers.
MOST_FEATURES = 128


def find_peaks(heat: Tensor) -> list[Tensor]:
    """Return the cells of up to three local maxima of each map, `[n]` each, the highest first.

    A maximum is a cell that none of its eight neighbours exceeds. Beside one that is taken, cells
    within a seventh of the grid's shorter side are left out.

    Args:
        heat: The maps, `[B, h, w]`; the highest of each is 1, or it is 0 everywhere.
    """
    rows, columns = heat.shape[1:]
    radius = max(1, round(min(rows, columns) / 7))
    highest = max_pool2d(heat[:, None], 3, 1, 1)[:, 0]
    left = torch.where((heat == highest) & (heat >= LEAST_HEAT), heat, 0)
    taken = list[Tensor]()
    for _ in range(MOST_PEAKS):
        value, cell = left.flatten(1).max(1)
        taken.append(torch.where(value > 0, cell, -1))
        left = left * ~_around(cell, rows, columns, radius)
    return [cells[cells >= 0] for cells in torch.stack(taken, 1)]


def _around(cell: Tensor, rows: int, columns: int, radius: int) -> Tensor:
    """Return which cells lie within `radius` rows and columns of the cells `[B]`, `[B, h, w]`."""
    row = torch.arange(rows, device=cell.device)[None, :, None]
    column = torch.arange(columns, device=cell.device)[None, None, :]
    down = (row - (cell // columns)[:, None, None]).abs()
    across = (column - (cell % columns)[:, None, None]).abs()
    return (down <= radius) & (across <= radius)


def features_under(heat: Tensor, activations: Tensor, peaks: list[Tensor]) -> list[Tensor]:
    """Return what the network saw under peaks: `[n, K]` for each image.

    It is the mean of early activations A in the 3 x 3 cells around a peak, weighed by their heat M:
    `sum_ij M_ij A_kij / sum_ij M_ij`. Of more than 128 channels it is a projection to 128 numbers,
    by a fixed matrix of normally distributed numbers, which keeps distances nearly as they are
    (Johnson and Lindenstrauss 1984).

    Args:
        heat: The maps, `[B, h, w]`.
        activations: The activations A of an early layer, `[B, K, *grid]`.
        peaks: What `find_peaks` returned.
    """
    rows, columns = heat.shape[1:]
    pooled = adaptive_avg_pool2d(activations.float(), (rows, columns))
    weighed = _sums_of_nine(pooled * heat[:, None]).flatten(2)
    weights = _sums_of_nine(heat[:, None]).flatten(2)
    found = []
    for of_image, weight, cells in zip(weighed, weights, peaks, strict=True):
        features = (of_image[:, cells] / weight[:, cells].clamp(min=1e-6)).T
        found.append(features if len(of_image) <= MOST_FEATURES else _project(features))
    return found


def feature_count(channels: int) -> int:
    """Return how many numbers describe a peak, for a layer with so many channels."""
    return min(channels, MOST_FEATURES)


def _sums_of_nine(values: Tensor) -> Tensor:
    """Return the sum over the 3 x 3 cells around each cell of `[B, C, h, w]`; outside is 0."""
    across = pad(values, (1, 1, 1, 1))
    across = across[..., :-2] + across[..., 1:-1] + across[..., 2:]
    return across[..., :-2, :] + across[..., 1:-1, :] + across[..., 2:, :]


def _project(features: Tensor) -> Tensor:
    return features @ torch.from_numpy(_projection(features.shape[1])).to(features)


@cache
def _projection(channels: int) -> npt.NDArray[np.float32]:
    """Return the matrix that projects features, `[K, 128]`; it is always the same."""
    drawn = np.random.Generator(np.random.PCG64(0)).standard_normal((channels, MOST_FEATURES))
    projection: npt.NDArray[np.float32] = (drawn / MOST_FEATURES**0.5).astype(np.float32)
    return projection


def difference_hash(images: Tensor) -> list[int]:
    """Return 64 bits for each image `[B, C, H, W]`, of which few differ where two look alike.

    The picture becomes grey and is averaged to 8 x 9 cells; each bit says whether a cell is
    brighter than the one to its left.
    """
    cells = adaptive_avg_pool2d(images.detach().float().mean(1, keepdim=True), (8, 9))[:, 0]
    bits = (cells[..., 1:] > cells[..., :-1]).flatten(1).cpu().numpy()
    return [int.from_bytes(np.packbits(row).tobytes(), "big") for row in bits]
