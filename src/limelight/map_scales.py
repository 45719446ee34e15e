"""The scale of the colours of maps: each map's own, one for all maps, or signed around zero."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self, cast, get_args

import numpy as np

from limelight import finish_arrays
from limelight.drawing import Drawable, Explained
from limelight.errors import OptionError, unknown
from limelight.figure_style import MapScale
from limelight.photos.crops import CroppedPhoto
from limelight.plain import MINUS
from limelight.status import Status

if TYPE_CHECKING:
    from torch import Tensor

    from limelight.finish import AxisSpan, FinishedInPieces
    from limelight.render import HeatColours


class ScaledMaps:
    """Maps to be drawn on another scale than that of heatmaps: what `Drawable` asks for.

    Attributes:
        maps: The explanation.
        signed: Whether the maps keep what speaks against the score: they are in [-1, 1].
        highest: What becomes 1, for each image.
    """

    def __init__(self, maps: Drawable, *, signed: bool, highest: Sequence[float]) -> None:
        """Lay maps on a scale."""
        self.maps, self.signed, self.highest = maps, signed, tuple(highest)

    @property
    def image(self) -> Tensor:
        """What the network was given."""
        return self.maps.image

    @property
    def raw(self) -> Tensor:
        """The raw maps."""
        return self.maps.raw

    @property
    def status(self) -> tuple[Status, ...]:
        """Whether the maps show something."""
        return self.maps.status

    @property
    def span(self) -> tuple[AxisSpan, ...]:
        """Where the grid lies on the picture."""
        return self.maps.span

    @property
    def crops(self) -> tuple[CroppedPhoto, ...] | None:
        """The photos."""
        return self.maps.crops

    @property
    def scored_regions(self) -> list[Tensor | None]:
        """What the scores are about."""
        return self.maps.scored_regions

    @property
    def heatmap(self) -> Tensor:
        """The maps at the size of the input."""
        return self.heatmap_at(self.image.shape[2:])

    def heatmap_at(self, size: Sequence[int]) -> Tensor:
        """Return the maps at a size, `[B, *size]`, in [0, 1] or, if signed, in [-1, 1]."""
        values = resized(self.maps, size, signed=self.signed)
        highest = [each if each > 0 else 1.0 for each in self.highest]
        as_values: Any = np.float32 if _is_array(values) else values.new_tensor
        divisor = as_values(highest).reshape(-1, *[1] * len(size))
        scaled: Tensor = (values / divisor).clip(-1, 1)
        return scaled

    def in_pieces(self, size: Sequence[int]) -> FinishedInPieces:
        """Return the map of one image at a size, computed as it is read."""
        raw = shown(self.maps, signed=self.signed)[0]
        pieces: FinishedInPieces
        pieces = _steps(raw).FinishedInPieces(raw, size, self.span, highest=self.highest[0])
        return pieces

    def __getitem__(self, image: int) -> Self:
        """Return the maps of one image."""
        return type(self)(self.maps[image], signed=self.signed, highest=(self.highest[image],))


def highest_value(explanations: Iterable[Drawable]) -> float:
    """Return the highest value of all raw maps whose status is ok; 0 if there is none."""
    values = (
        float(each.raw.detach().max()) for each in explanations if all(s.ok for s in each.status)
    )
    return max((value for value in values if math.isfinite(value)), default=0.0)


def is_shown(status: Status, *, signed: bool) -> bool:
    """Return whether a map is drawn: a signed one also shows what speaks against the score."""
    return status.ok or (signed and status.name == "no-positive-evidence")


def shown(maps: Drawable, *, signed: bool) -> Tensor:
    """Return what is drawn of raw maps `[B, *grid]`: zero where the status says that it is nothing.

    If they are not signed, what speaks against the score is left out.
    """
    axes = [1] * (maps.raw.ndim - 1)
    kept = [is_shown(each, signed=signed) for each in maps.status]
    values: Any
    if _is_array(maps.raw):
        values = np.nan_to_num(maps.raw, nan=0, posinf=0, neginf=0)
        values = values if signed else finish_arrays.relu(values)
        values = np.where(np.array(kept).reshape(-1, *axes), values, np.zeros_like(values))
        return cast("Tensor", values)
    import torch

    from limelight.finish import relu

    raw = maps.raw.detach().float().cpu()
    values = raw.nan_to_num(0, 0, 0) if signed else relu(raw)
    return torch.where(torch.tensor(kept, device="cpu").reshape(-1, *axes), values, 0)


def resized(maps: Drawable, size: Sequence[int], *, signed: bool) -> Tensor:
    """Return what is drawn of raw maps at a size, `[B, *size]`, unscaled."""
    values = shown(maps, signed=signed)
    larger: Tensor = _steps(values).resize(values, size, maps.span)
    return larger


def _largest(maps: Drawable, *, signed: bool) -> list[float]:
    """Return the largest value or, if signed, size of what is drawn of each image."""
    values = abs(resized(maps, maps.image.shape[2:], signed=signed)).reshape(len(maps.raw), -1)
    return [float(each.max()) for each in values]


def _is_array(values: object) -> bool:
    """Return whether maps are arrays, as those of an exported file are, and no tensors."""
    return isinstance(values, np.ndarray)


def _steps(values: object) -> Any:
    """Return the module that finishes maps: that of arrays, or that of tensors."""
    if _is_array(values):
        return finish_arrays
    from limelight import finish

    return finish


def on_one_scale(
    explanations: Sequence[Explained],
    *,
    scale: MapScale,
    signed: bool = False,
    colormap: str | None = None,
) -> tuple[Sequence[Drawable], HeatColours]:
    """Return explanations as they are drawn on a scale, and what their colours stand for.

    Args:
        explanations: The explanations on a figure.
        scale: "each" for maps whose own highest value has the last colour; "shared" for one scale,
            that of the raw maps.
        signed: Whether to draw what speaks against the score, too.
        colormap: A matplotlib colour map; None for the usual one.

    Raises:
        UnknownNameError: There is no such scale.
        OptionError: The scale is shared, and the maps have several methods or layers.
    """
    from limelight.render import SEQUENTIAL, SIGNED, HeatColours

    if scale not in get_args(MapScale):
        known = get_args(MapScale)
        raise unknown("scale", scale, known, f"There are {', '.join(known)}.")
    if scale == "shared":
        _check_one_kind(explanations)
    colormap = colormap or (SIGNED if signed else SEQUENTIAL)
    if scale == "each" and not signed:
        several = sum(len(explanation.raw) for explanation in explanations) > 1
        return explanations, HeatColours(colormap, label=_EACH if several else _ONE)
    highest = [_largest(each, signed=signed) for each in explanations]
    top = max(max(values) for values in highest)
    if scale == "shared":
        highest = [[top] * len(values) for values in highest]
    scaled = [
        ScaledMaps(each, signed=signed, highest=values)
        for each, values in zip(explanations, highest, strict=True)
    ]
    single = sum(map(len, highest)) == 1
    limit = (top or 1.0) if scale == "shared" or single else 1.0
    label = _SIGNED if signed else _SHARED
    if not single:
        label += _OF_ALL if scale == "shared" else _OF_EACH
    if signed and not any(bool((shown(each, signed=True) < 0).any()) for each in explanations):
        label += _NONE_NEGATIVE
    return scaled, HeatColours(colormap, signed, limit, label)


_EACH = "heat; each map's own maximum is 1"
_ONE = "heat; the map's own maximum is 1"
_SHARED = "raw map, what raises the score"
_SIGNED = f"raw map: what lowers ({MINUS}) and raises (+) the score"
_OF_ALL = "; one scale for all maps"
_OF_EACH = f"; each map's own largest value is 1 or {MINUS}1"
_NONE_NEGATIVE = "; no value is below zero"


def _check_one_kind(explanations: Sequence[Explained]) -> None:
    """Refuse one scale for maps whose raw values cannot be compared.

    Raises:
        OptionError: They have several methods, or layers.
    """
    kinds = dict.fromkeys(f"{each.method} at {each.layer}" for each in explanations)
    if len(kinds) > 1:
        raise OptionError(
            f"scale='shared' draws raw values on one scale, and those of {', '.join(kinds)} cannot "
            "be compared. Draw maps of one method at one layer, or take scale='each'."
        )


def signed_maps(maps: Drawable) -> Drawable:
    """Return maps as their signed values, each with its own largest one at 1 or -1."""
    return ScaledMaps(maps, signed=True, highest=_largest(maps, signed=True))
