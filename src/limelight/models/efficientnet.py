"""EfficientNet-Lite0, the embedded network: Tan and Le 2019, without squeeze-and-excitation.

The modules have timm's names (`blocks.4.2.bn3`), and so have the keys of the state dict. timm
itself takes more than a second to import, for which the command does not wait.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor, nn


class StageSizes(NamedTuple):
    """Blocks of one width, of which the first has the stride."""

    expansion: int
    channels: int
    blocks: int
    stride: int
    kernel: int


#: Table 1 of the article, in its order.
STAGES = (
    StageSizes(expansion=1, channels=16, blocks=1, stride=1, kernel=3),
    StageSizes(expansion=6, channels=24, blocks=2, stride=2, kernel=3),
    StageSizes(expansion=6, channels=40, blocks=2, stride=2, kernel=5),
    StageSizes(expansion=6, channels=80, blocks=3, stride=2, kernel=3),
    StageSizes(expansion=6, channels=112, blocks=3, stride=1, kernel=5),
    StageSizes(expansion=6, channels=192, blocks=4, stride=2, kernel=5),
    StageSizes(expansion=6, channels=320, blocks=1, stride=1, kernel=3),
)

_STEM, _HEAD = 32, 1280  # channels


class EfficientNetLite0(nn.Module):
    """From images `[B, 3, H, W]` to logits `[B, classes]`."""

    def __init__(self, classes: int = 1000) -> None:
        """Build it with random weights."""
        super().__init__()
        self.conv_stem = _convolution(3, _STEM, kernel=3, stride=2)
        self.bn1 = _Norm(_STEM, nn.ReLU6(inplace=True))
        stages, channels = list[nn.Module](), _STEM
        for stage in STAGES:
            stages.append(_stage(channels, stage))
            channels = stage.channels
        self.blocks = nn.Sequential(*stages)
        self.conv_head = _convolution(channels, _HEAD)
        self.bn2 = _Norm(_HEAD, nn.ReLU6(inplace=True))
        self.global_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(_HEAD, classes)
        self._draw_weights()

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        features = self.blocks(self.bn1(self.conv_stem(images)))
        features = self.bn2(self.conv_head(features))
        logits: Tensor = self.classifier(self.global_pool(features))
        return logits

    def _draw_weights(self) -> None:
        """Draw the weights so that activations keep their scale from layer to layer."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                outputs = module.out_channels // module.groups * math.prod(module.kernel_size)
                nn.init.normal_(module.weight, std=math.sqrt(2 / outputs))
        bound = 1 / math.sqrt(self.classifier.out_features)
        nn.init.uniform_(self.classifier.weight, -bound, bound)
        nn.init.zeros_(self.classifier.bias)


def _stage(channels: int, stage: StageSizes) -> nn.Sequential:
    block = _Separable if stage.expansion == 1 else _Inverted
    rest = stage._replace(stride=1)
    first = block(channels, stage)
    return nn.Sequential(first, *(block(stage.channels, rest) for _ in range(stage.blocks - 1)))


class _Separable(nn.Module):
    """A depthwise convolution, and one of 1 x 1."""

    def __init__(self, channels: int, stage: StageSizes) -> None:
        super().__init__()
        self.conv_dw = _depthwise(channels, stage)
        self.bn1 = _Norm(channels, nn.ReLU6(inplace=True))
        self.conv_pw = _convolution(channels, stage.channels)
        self.bn2 = _Norm(stage.channels, nn.Identity())

    def forward(self, inputs: Tensor) -> Tensor:
        return self.bn2(self.conv_pw(self.bn1(self.conv_dw(inputs))))  # type: ignore[no-any-return]


class _Inverted(nn.Module):
    """Expand, a depthwise convolution, project; added to the input where the shape stays."""

    def __init__(self, channels: int, stage: StageSizes) -> None:
        super().__init__()
        wide = channels * stage.expansion
        self.adds = stage.stride == 1 and channels == stage.channels
        self.conv_pw = _convolution(channels, wide)
        self.bn1 = _Norm(wide, nn.ReLU6(inplace=True))
        self.conv_dw = _depthwise(wide, stage)
        self.bn2 = _Norm(wide, nn.ReLU6(inplace=True))
        self.conv_pwl = _convolution(wide, stage.channels)
        self.bn3 = _Norm(stage.channels, nn.Identity())

    def forward(self, inputs: Tensor) -> Tensor:
        expanded = self.bn2(self.conv_dw(self.bn1(self.conv_pw(inputs))))
        projected: Tensor = self.bn3(self.conv_pwl(expanded))
        return projected + inputs if self.adds else projected


class _Norm(nn.BatchNorm2d):
    """A batch norm and the activation behind it."""

    def __init__(self, channels: int, act: nn.Module) -> None:
        super().__init__(channels, eps=1e-3)
        self.act = act

    def forward(self, inputs: Tensor) -> Tensor:
        return self.act(super().forward(inputs))  # type: ignore[no-any-return]


class _PaddedConv2d(nn.Conv2d):
    """A convolution that pads as TensorFlow does: an odd cell at the end."""

    def forward(self, inputs: Tensor) -> Tensor:
        pads = list[int]()
        sizes = zip(inputs.shape[-2:], self.kernel_size, self.stride, strict=True)
        for size, kernel, stride in sizes:
            missing = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            pads = [missing // 2, missing - missing // 2, *pads]  # the last axis comes first
        return super().forward(nn.functional.pad(inputs, pads) if any(pads) else inputs)


def _depthwise(channels: int, stage: StageSizes) -> nn.Conv2d:
    return _convolution(
        channels, channels, kernel=stage.kernel, stride=stage.stride, groups=channels
    )


def _convolution(
    inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    kind, padding = (nn.Conv2d, kernel // 2) if stride == 1 else (_PaddedConv2d, 0)
    return kind(inputs, outputs, kernel, stride=stride, padding=padding, groups=groups, bias=False)
