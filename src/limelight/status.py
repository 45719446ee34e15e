"""Whether a heatmap shows something, and if not, why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, get_args

if TYPE_CHECKING:
    from torch import Tensor

    from limelight.finish import AxisSpan

StatusName = Literal[
    "ok", "no-positive-evidence", "disconnected", "cancelled", "flat", "not-finite"
]

#: The names, at the places that `status_numbers` returns.
STATUS_NAMES: Final[tuple[StatusName, ...]] = get_args(StatusName)

#: What a method sums up, so that it may cancel: the gradients over the cells of a channel, or
#: gradient times activation over the channels of a cell.
SummedOver = Literal["cells", "channels"]

#: A sum that is smaller than this against the sum of the sizes, in units of their rounding, is
#: rounding: before an instance norm or a layer norm it is some 25 units, elsewhere a million.
_ROUNDING_UNITS = 1000

#: A layer norm adds an epsilon to the variance, which leaves about this share of the sum.
_LEFT_BY_EPSILON = 1e-4


@dataclass(frozen=True, slots=True)
class Status:
    """Whether a heatmap shows something, and if not, why and what to do.

    Attributes:
        name: `ok`; `no-positive-evidence` (nothing on the grid speaks for the score),
            `disconnected` (the score does not depend on the grid), `cancelled` (what the method
            sums up cancels, so the map is rounding), `flat` (the map is the same everywhere) or
            `not-finite` (the score or the map holds NaN or infinity).
        message: The same in a sentence that says what to do; "" if ok.
    """

    name: StatusName
    message: str = ""

    @property
    def ok(self) -> bool:
        """Whether the heatmap shows something."""
        return self.name == "ok"

    def __str__(self) -> str:
        """Return the name and the message."""
        return f"{self.name}: {self.message}" if self.message else self.name


def cancels(values: Tensor, over: SummedOver = "cells") -> Tensor:
    """Return for each image whether values `[B, K, *grid]` cancel in every sum over an axis, `[B]`.

    Over the cells of a channel, gradients do right before an instance norm: it takes each channel's
    mean away, so that no change of the mean reaches the score, and `sum_ij g_k` is nothing but
    rounding. Over the channels of a cell, gradient times activation does right before a layer norm:
    it takes the scale of each cell away, so that `sum_k g_k A_k` is nothing but rounding. For a
    single cell, or channel, and for zeros, the answer is no.
    """
    import torch

    axis = 2 if over == "cells" else 1
    flat = values.flatten(2)
    left, size = flat.sum(axis).abs().amax(1), flat.abs().sum(axis).amax(1)
    share = min(_ROUNDING_UNITS * torch.finfo(values.dtype).eps, 0.01)
    share = max(share, _LEFT_BY_EPSILON) if over == "channels" else share
    return (left < share * size) & (size > 0)


_CANCELLED: dict[SummedOver, str] = {
    "cells": "The gradients at {layer!r} cancel in every channel, so that their sums are nothing "
    "but rounding, and so would be the map. Right before an instance norm they do. Take the layer "
    "after the norm, or a method that sums no gradients, such as 'layercam'.",
    "channels": "Gradient times activation at {layer!r} cancels over the channels of every cell, "
    "so that the sums are nothing but rounding, and so would be the map. Right before a layer norm "
    "they do. Take the layer after the norm, or another method, such as 'gradcam' or 'layercam'.",
}


def map_status(
    raw: Tensor,
    score: Tensor,
    connections: Sequence[Tensor],
    *,
    cancelled: Tensor | None = None,
    summed_over: SummedOver | None = None,
    all_left_out: Tensor | None = None,
    method: str,
    layer: str,
    grid: Sequence[int] | None = None,
    why: Callable[[], str],
) -> tuple[Status, ...]:
    """Return the status of each raw map `[B, *grid]`.

    Args:
        raw: The raw maps.
        score: The scores, `[B]`.
        connections: Gradients of the scores, or other evidence, `[B, ...]` each. Where one is zero,
            the image's score does not depend on the layer: its map is "disconnected".
        cancelled: Whether what the method sums up cancels, `[B]`; None if it sums nothing that may.
        summed_over: Over what it sums.
        all_left_out: For a map that leaves out what speaks against the score, whether that is all
            there is, `[B]`; None for other maps.
        method: The method's name.
        layer: The layer's path.
        grid: The sizes of the layer's grid; None for a map that is not made on the grid of one
            layer behind the input.
        why: Returns why a score does not depend on the layer; called only if needed.
    """
    import torch

    numbers = status_numbers(raw, score, connections, cancelled, all_left_out)
    is_zero = ~(raw.flatten(1) != 0).any(1)
    statuses = []
    # One transfer from the device for all values.
    for number, without_values in torch.stack([numbers, is_zero.to(numbers)], 1).tolist():
        name = STATUS_NAMES[number]
        message = status_message(
            name,
            method=method,
            layer=layer,
            grid=grid,
            summed_over=summed_over,
            leaves_out=all_left_out is not None and bool(without_values),
        )
        statuses.append(Status(name, why() if name == "disconnected" else message))
    return tuple(statuses)


def status_numbers(
    raw: Tensor,
    score: Tensor,
    connections: Sequence[Tensor],
    cancelled: Tensor | None = None,
    all_left_out: Tensor | None = None,
) -> Tensor:
    """Return the status of each raw map `[B, *grid]`, as its place in STATUS_NAMES, `[B]`.

    The arguments are those of `map_status`. It computes with tensors alone, so that it can be
    exported as part of a network.
    """
    import torch

    values = raw.flatten(1)
    low, high = values.amin(1), values.amax(1)
    is_connected = torch.ones_like(low, dtype=torch.bool)
    for tensor in connections:
        is_connected = is_connected & (tensor.flatten(1) != 0).any(1)
    # A difference no larger than rounding counts as zero.
    rounding = 8 * torch.finfo(raw.dtype).eps
    is_flat = high - low <= rounding * torch.maximum(high.abs(), low.abs())
    is_finite = low.isfinite() & high.isfinite() & score.to(low).isfinite()
    # Each line overrules those before it.
    numbers = torch.where(high <= 0, _number("no-positive-evidence"), _number("ok"))
    numbers = torch.where(is_flat, _number("flat"), numbers)
    if all_left_out is not None:
        numbers = torch.where(is_flat & all_left_out, _number("no-positive-evidence"), numbers)
    if cancelled is not None:
        numbers = torch.where(cancelled, _number("cancelled"), numbers)
    numbers = torch.where(is_connected, numbers, _number("disconnected"))
    return torch.where(is_finite, numbers, _number("not-finite"))


def _number(name: StatusName) -> int:
    return STATUS_NAMES.index(name)


def status_message(
    name: StatusName,
    *,
    method: str,
    layer: str,
    grid: Sequence[int] | None,
    summed_over: SummedOver | None = None,
    leaves_out: bool = False,
) -> str:
    """Return what to do about a status, in a sentence; "" for ok.

    Args:
        name: The status.
        method, layer, grid, summed_over: As in `map_status`.
        leaves_out: Whether the map is zero because the method leaves out what speaks against the
            score.
    """
    left_out = _all_left_out(method, layer, grid)
    return {
        "ok": "",
        "no-positive-evidence": left_out if leaves_out else _AGAINST.format(layer=layer),
        "disconnected": _DISCONNECTED.format(layer=layer),
        "cancelled": _CANCELLED[summed_over or "cells"].format(layer=layer),
        "flat": _flat(method, layer, grid),
        "not-finite": _NOT_FINITE,
    }[name]


_AGAINST = (
    "Nothing on the grid of {layer!r} speaks for this score; everything speaks against it. Look at "
    "the signed raw map, or explain another class."
)

_DISCONNECTED = (
    "The score does not depend on {layer!r}. Explain another class, or take a layer that it "
    "depends on."
)

_NOT_FINITE = (
    "NaN or infinity came out of the network or the map. Check the weights; in float16 values "
    "overflow, so use bfloat16 or float32."
)


def _flat(method: str, layer: str, grid: Sequence[int] | None) -> str:
    """Return what to do about a map that is the same everywhere."""
    where, instead = "", "Take"
    if grid is not None:
        where = f" on the grid {list(grid)} of {layer!r}"
        instead = "Take an earlier layer with a finer grid, or"
    return (
        f"The map is the same everywhere{where}. {instead} another method than {method!r}; a "
        "picture without any structure does this too."
    )


def _all_left_out(method: str, layer: str, grid: Sequence[int] | None) -> str:
    """Return what to do about a map of zeros that leaves out what speaks against the score."""
    where = "" if grid is None else f" at {layer!r}"
    return (
        f"{method!r} keeps only what speaks for this score, and finds nothing of it{where}: the "
        "map is zero everywhere. Explain another class, or take a method whose raw map is signed, "
        "such as 'gradcam' or 'input-x-gradient'."
    )


def zero_unless_ok(maps: Tensor, status: Sequence[Status]) -> Tensor:
    """Set maps `[B, ...]` whose status is not ok to zero."""
    import torch

    if all(s.ok for s in status):
        return maps
    kept = torch.tensor([s.ok for s in status], device=maps.device)
    return torch.where(kept.reshape(-1, *(1,) * (maps.ndim - 1)), maps, torch.zeros_like(maps))


def to_heatmap(
    raw: Tensor, size: Sequence[int], status: Sequence[Status], span: Sequence[AxisSpan] = ()
) -> Tensor:
    """Return the heatmaps of raw maps; those whose status is not ok are zero."""
    from limelight.finish import finish

    return zero_unless_ok(finish(raw, size, span), status)
