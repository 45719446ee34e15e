"""How many channels a network takes, read from its first convolution."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class TakenInput(NamedTuple):
    """What a network takes, as far as its first convolution says it.

    Attributes:
        channels: How many channels.
        axes: How many axes an image has: 1 for a signal, 2 for a picture, 3 for a volume.
    """

    channels: int
    axes: int


def taken_input(model: nn.Module) -> TakenInput | None:
    """Return what the first layer with weights takes; None if it is no convolution.

    Modules are listed in the order in which they were made, which nearly always is that of the
    forward pass.
    """
    for module in model.modules():
        if isinstance(module, _CONVOLUTIONS) and module.in_channels > 0:  # 0 before a first call
            return TakenInput(module.in_channels, module.weight.ndim - 2)
        if next(module.parameters(recurse=False), None) is not None:
            return None
    return None
