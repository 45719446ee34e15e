"""How a layer's output, whatever its axes, becomes a grid over the image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from limelight.finish import AxisSpan
from limelight.inputs import as_plain

LayoutKind = Literal["channels first", "channels last", "tokens", "frames"]


@dataclass(frozen=True)
class Layout:
    """How a layer's output becomes a grid `[B, K, *grid]`.

    The channels are one axis of the output. The numbers along all other axes, read in order, are
    the output's *positions*; each cell of the grid is one of them.

    Attributes:
        kind: `channels first` `[B, K, *grid]`, `channels last` `[B, *grid, K]`, `tokens`
            `[B, N, K]` (N positions, in whatever order), or `frames` `[B * T, K, H, W]` with the
            grid `[T, H, W]`.
        grid: The sizes of the grid axes; 1 for an axis of the image that the network has pooled.
        prefix: P, how many positions come before the grid (class token, registers).
        span: Where the grid lies on the picture, along each axis; () if it covers the picture
            exactly.
        order: For each cell of the grid, row by row, its position in the output; -1 for a cell that
            the network dropped. () if the cells are the positions from `prefix` on, in order.
        channel_axis: The number of the channels' axis, from the end of the shape if negative; None
            for the kind's usual one.
        folds: How many rows of the first axis belong to one image: T frames, or windows.
        joined: How many tokens belong to one image, where those of all images follow one another
            along the second axis, `[1, B * N, K]`; 0 where each image has a row of its own.
    """

    kind: LayoutKind
    grid: tuple[int, ...]
    prefix: int = 0
    span: tuple[AxisSpan, ...] = ()
    order: tuple[int, ...] = ()
    channel_axis: int | None = None
    folds: int = 1
    joined: int = 0

    def to_grid(self, output: Tensor) -> Tensor:
        """Return a layer's output (or its gradient) as `[B, K, *grid]`, a plain tensor."""
        whole = self._by_channel(as_plain(output))
        if self._is_whole(whole):
            return whole.reshape(*whole.shape[:2], *self.grid)
        flat = whole.flatten(2)
        if not self.order:
            cells = flat[:, :, self.prefix : self.prefix + math.prod(self.grid)]
        else:
            cells = flat.index_select(2, self._positions.clamp(min=0).to(flat.device))
            if self._dropped:
                cells = cells * (self._positions >= 0).to(cells)
        return cells.reshape(*flat.shape[:2], *self.grid)

    def from_grid(self, activations: Tensor, output: Tensor) -> Tensor:
        """Return `activations` `[M, K, *grid]` as the layer would have put them out.

        Positions without a place on the grid are taken from `output`, the layer's own output for
        the same images.
        """
        whole = self._by_channel(output)
        cells = activations.flatten(2)
        if not self._is_whole(whole):
            flat = whole.flatten(2)
            if self.order:
                kept = self._positions >= 0
                positions = self._positions[kept].to(flat.device)
                chosen = cells[:, :, kept.to(flat.device)] if self._dropped else cells
                cells = flat.index_copy(2, positions, chosen.to(flat.dtype))
            else:
                end = self.prefix + math.prod(self.grid)
                cells = torch.cat([flat[:, :, : self.prefix], cells, flat[:, :, end:]], dim=2)
        laid = cells.reshape(activations.shape[0], -1, *whole.shape[2:])
        if self._folds > 1:
            laid = laid.movedim(2, 1).flatten(0, 1)
        laid = laid.movedim(1, self.axis_of_channels)
        if self.joined:
            laid = laid.flatten(0, 1)[None]
        # A network may view its tokens in other shapes.
        return laid.contiguous() if self.kind == "tokens" else laid

    def positions_to_grid(self, values: Tensor) -> Tensor:
        """Return one value for each position, `[B, N]`, as `[B, *grid]`."""
        positions = Layout("tokens", self.grid, self.prefix, order=self.order)
        return positions.to_grid(values[:, :, None])[:, 0]

    def grid_to_positions(self, values: Tensor, count: int) -> Tensor:
        """Return one value for each cell, `[B, *grid]`, as `[B, N]`; 0 at what has no cell."""
        positions = Layout("tokens", self.grid, self.prefix, order=self.order)
        nothing = values.new_zeros(values.shape[0], count, 1)
        return positions.from_grid(values[:, None], nothing)[..., 0]

    def __str__(self) -> str:
        """Describe the layout in words, as in `tokens, 1 prefix`."""
        words: list[str] = [self.kind]
        if self.prefix:
            words.append(f"{self.prefix} prefix")
        if self.order:
            words.append("in an order of its own")
        if self._folds > 1 and self.kind != "frames":
            words.append(f"{self._folds} rows for each image")
        if self._dropped:
            words.append(f"{self._dropped} cells dropped")
        if self.span:
            words.append(f"spans {' x '.join(map(str, self.span))} of the picture")
        return ", ".join(words)

    @property
    def axis_of_channels(self) -> int:
        """The number of the channels' axis, from the end if negative."""
        if self.channel_axis is not None:
            return self.channel_axis
        return 1 if self.kind in ("channels first", "frames") else -1

    @property
    def _folds(self) -> int:
        return self.grid[0] if self.kind == "frames" else self.folds

    @cached_property
    def _positions(self) -> Tensor:
        return torch.tensor(self.order, dtype=torch.long, device="cpu")

    @cached_property
    def _dropped(self) -> int:
        return sum(position < 0 for position in self.order)

    def _by_channel(self, output: Tensor) -> Tensor:
        """Return an output as `[B, K, *positions]`, its other axes in their order."""
        if self.joined:
            output = output.reshape(-1, self.joined, *output.shape[2:])
        by_channel = output.movedim(self.axis_of_channels, 1)
        if self._folds > 1:
            folded = by_channel.reshape(-1, self._folds, *by_channel.shape[1:])
            by_channel = folded.movedim(1, 2)
        return by_channel

    def _is_whole(self, by_channel: Tensor) -> bool:
        """Return whether the positions are the cells of the grid, all of them and in order."""
        return not self.order and math.prod(by_channel.shape[2:]) == math.prod(self.grid)
