"""Inputs that are patches of a picture, cut before: along which grid."""

from __future__ import annotations

import math

from limelight.inputs import ModelInputs


def packed_patches(inputs: ModelInputs) -> str:
    """Return what to do if the input is patches that were cut before; "" if it cannot be."""
    if inputs.image.ndim != 3 or inputs.form != "tensor":
        return ""
    count = inputs.image.shape[1]
    grids = _grids_of_patches(inputs)
    choices = ", ".join(f"{rows} x {columns}" for rows, columns in grids)
    example = f" {count} patches may be {choices}: grid={grids[0]}." if grids else ""
    return (
        " If the input is packed patches [B, N, values], say along which grid they were cut: "
        f"grid=(rows, columns).{example}"
    )


def _grids_of_patches(inputs: ModelInputs) -> list[tuple[int, int]]:
    """Return up to three grids that packed patches may come from, the nearest to a square first."""
    count = inputs.image.shape[1]
    pairs = [(rows, count // rows) for rows in range(2, count // 2 + 1) if count % rows == 0]
    return sorted(pairs, key=lambda pair: abs(math.log(pair[0] / pair[1])))[:3]
