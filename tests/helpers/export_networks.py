"""Small networks for exports: heads whose backward pass ONNX has no operators for, and others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from helpers.networks import Attention, Block

#: The size of pictures that the networks of this file take.
PICTURE = (3, 24, 32)
CLASSES = 5


class Behind(nn.Module):
    """Two convolutions with ReLUs, `body`, whose grid is 6 x 8; then a head; then a linear layer.

    What a head leaves of a grid is averaged.
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(6, 6, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.head = head
        with torch.no_grad():
            width = self.features(torch.zeros(2, *PICTURE)).shape[1]
        self.fc = nn.Linear(width, CLASSES)

    def features(self, x: Tensor) -> Tensor:
        x = self.head(self.body(x))
        return x if x.ndim == 2 else x.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.fc(self.features(x)))


def conv(width_in: int, width_out: int, size: int = 3, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(width_in, width_out, size, **{"padding": size // 2, **options})


class Activations(nn.Module):
    """The sum of every activation function, each of another scale of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(6, 7)
        self.functions = nn.ModuleList([make() for make in ACTIVATIONS])

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return sum(
            (f(x * (0.5 + 0.4 * i) - 0.1 * i) for i, f in enumerate(self.functions)),
            start=torch.zeros_like(x),
        )


ACTIVATIONS: list[Callable[[], nn.Module]] = [
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.GELU,
    lambda: nn.GELU("tanh"),
    nn.Mish,
    nn.SiLU,
    lambda: nn.LeakyReLU(0.2),
    lambda: nn.PReLU(7),
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.ReLU6,
    nn.Hardtanh,
    nn.Softplus,
    nn.Softsign,
    nn.Tanh,
    nn.Sigmoid,
    nn.LogSigmoid,
]


class Excited(nn.Module):
    """A squeeze and excitation, as in MobileNetV3, and a softmax over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.reduce, self.expand = conv(6, 3, 1), conv(3, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(x, 1)
        x = x * F.hardsigmoid(self.expand(F.relu(self.reduce(pooled))) * 3)
        return x * x.softmax(1)


class AttendingHead(nn.Module):
    """The cells as tokens: softmax by hand, then scaled dot product attention, then torch's own."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(6)
        self.manual = Attention(6, heads=2)
        self.qkv = nn.Linear(6, 18)
        self.torchs = nn.MultiheadAttention(6, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        batch, width = x.shape[:2]
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.manual(self.norm(tokens))
        query, key, value = self.qkv(tokens).reshape(batch, -1, 3, 2, 3).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        tokens = tokens + mixed.transpose(1, 2).reshape(batch, -1, width)
        tokens = tokens + self.torchs(tokens, tokens, tokens)[0]
        return cast("Tensor", tokens.tanh().mean(1))


class Interpolated(nn.Module):
    """Nearest, bilinear, bicubic: to twice the size and to a size of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList([conv(6, 6), conv(6, 6), conv(6, 7)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.convs[0](F.interpolate(x, scale_factor=2, mode="nearest")).tanh()
        x = self.convs[1](F.interpolate(x, size=(9, 10), mode="bilinear")).tanh()
        x = self.convs[2](F.interpolate(x, size=(5, 7), mode="bicubic"))
        return x.tanh()


class Padded(nn.Module):
    """Reflected, repeated and circular borders, and a roll, as of shifted windows."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList([conv(6, 6, padding=0), conv(6, 6, padding=0), conv(6, 7)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.convs[0](F.pad(x, (1, 1, 1, 1), mode="reflect")).tanh()
        x = self.convs[1](F.pad(x, (1, 1, 1, 1), mode="replicate")).tanh()
        x = x.roll((1, -2), (2, 3))
        x = self.convs[2](F.pad(x, (2, 1, 1, 0), mode="circular"))
        return x.tanh()


class Cells(nn.Module):
    """Indexing, gathering, sorting and scattering of cells."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(6, 6)
        self.fc = nn.Linear(6, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).flatten(2)
        kept = x[:, :, ::3] * x[:, :, torch.tensor([0, 5, 5, 9])].sum(2, keepdim=True)
        best = x.topk(4, dim=2).values.mean(2)
        spread = torch.cat([x.amax(2, keepdim=True), kept.cumsum(2)], 2)
        return cast("Tensor", self.fc(best + spread.std(2) + x.norm(dim=2)))


class TokensPooled(nn.Module):
    """The mean of turned tokens by adaptive pools along one axis and along three, as in Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 7)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        along = F.adaptive_avg_pool1d(self.fc(tokens).tanh().transpose(1, 2), 1)
        volume = self.fc(x.movedim(1, -1)).movedim(-1, 1)[:, :, None]
        return along.flatten(1) + F.adaptive_avg_pool3d(volume, 1).flatten(1)


#: By what is special about them, what lies between `body` and the linear layer.
HEADS: dict[str, Callable[[], nn.Module]] = {
    "convolution and relu": lambda: nn.Sequential(conv(6, 7), nn.ReLU()),
    "batch norm and silu": lambda: nn.Sequential(conv(6, 7), nn.BatchNorm2d(7), nn.SiLU()),
    "residual, relu in place": lambda: nn.Sequential(
        conv(6, 6), nn.ReLU(inplace=True), Block(6, 7)
    ),
    "activation functions": Activations,
    "max pool": lambda: nn.Sequential(
        nn.MaxPool2d(3, 2, padding=1), conv(6, 7), nn.MaxPool2d(2, 1, ceil_mode=True), nn.Tanh()
    ),
    "depthwise and grouped": lambda: nn.Sequential(
        conv(6, 6, groups=6), nn.ReLU(), conv(6, 8, 5, groups=2, stride=2, bias=False), nn.ReLU()
    ),
    "strided and dilated": lambda: nn.Sequential(
        conv(6, 7, stride=(2, 3)), nn.Tanh(), conv(7, 7, dilation=2, padding=2), nn.Tanh()
    ),
    "transposed convolution": lambda: nn.Sequential(
        nn.ConvTranspose2d(6, 7, 3, stride=2, padding=1, output_padding=1),
        nn.Tanh(),
        nn.ConvTranspose2d(7, 8, 4, stride=3, groups=1, dilation=2),
        nn.Tanh(),
    ),
    "average pool": lambda: nn.Sequential(
        nn.AvgPool2d(3, 2, padding=1, count_include_pad=False), conv(6, 7), nn.Tanh()
    ),
    "average pool with borders": lambda: nn.Sequential(nn.AvgPool2d(3, 2, padding=1), nn.Tanh()),
    "adaptive pool to 1": lambda: nn.Sequential(
        conv(6, 7), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(7, 8), nn.Tanh()
    ),
    "adaptive pools to more": lambda: nn.Sequential(
        nn.AdaptiveAvgPool2d((4, 5)), conv(6, 7), nn.AdaptiveAvgPool2d((2, 5)), nn.Flatten()
    ),
    "adaptive pools of tokens": TokensPooled,
    "adaptive max pool": lambda: nn.Sequential(conv(6, 7), nn.AdaptiveMaxPool2d(1), nn.Tanh()),
    "group norm": lambda: nn.Sequential(conv(6, 8), nn.GroupNorm(2, 8), nn.ReLU(), conv(8, 7)),
    "instance norm behind a layer": lambda: nn.Sequential(
        conv(6, 8), nn.InstanceNorm2d(8, affine=True), nn.ReLU()
    ),
    "squeeze and excitation": Excited,
    "attention": AttendingHead,
    "interpolation": Interpolated,
    "borders": Padded,
    "pixel shuffle": lambda: nn.Sequential(
        conv(6, 8), nn.PixelShuffle(2), nn.Tanh(), nn.PixelUnshuffle(2), conv(8, 7), nn.Tanh()
    ),
    "dropout": lambda: nn.Sequential(conv(6, 7), nn.Dropout2d(0.5), nn.ReLU(), nn.Dropout(0.5)),
    "cells": Cells,
    "local response norm": lambda: nn.Sequential(conv(6, 7), nn.LocalResponseNorm(3), nn.Tanh()),
}


class SideBySide(nn.Module):
    """Several heads that read the same grid; what each leaves of it is averaged."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.heads = nn.ModuleList([HEADS[name]() for name in names])

    def forward(self, x: Tensor) -> Tensor:
        results = [head(x) for head in self.heads]
        return torch.cat([each if each.ndim == 2 else each.mean((2, 3)) for each in results], 1)


def behind(*names: str) -> Behind:
    """Return a network with some of the heads, side by side."""
    return Behind(SideBySide(names))


#: Heads that are tried together. Where a group fails, `behind` of each finds the one that does.
GROUPS: dict[str, list[str]] = {
    "convolutions": [
        "convolution and relu",
        "residual, relu in place",
        "depthwise and grouped",
        "strided and dilated",
        "transposed convolution",
        "dropout",
    ],
    "norms, pools and activation functions": [
        "activation functions",
        "batch norm and silu",
        "group norm",
        "instance norm behind a layer",
        "squeeze and excitation",
        "max pool",
        "adaptive pool to 1",
        "adaptive pools of tokens",
    ],
    "pools and borders": [
        "average pool",
        "average pool with borders",
        "adaptive pools to more",
        "adaptive max pool",
        "local response norm",
        "borders",
    ],
    "attention, sizes and cells": ["attention", "interpolation", "pixel shuffle", "cells"],
}


class Concatenated(nn.Module):
    """What comes before the layer is read again behind it: added, multiplied, concatenated.

    A relu works in place on what the layer puts out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 5, stride=4)
        self.layer = conv(5, 6)
        self.shortcut = conv(5, 6, 1)
        self.last = conv(6 + 5, 7)
        self.fc = nn.Linear(7, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        early = self.stem(x).tanh()
        gate = early.mean((1, 2, 3))
        x = self.layer(early).relu_() + self.shortcut(early)
        x = x.relu() * gate[:, None, None, None]
        x = self.last(torch.cat([x, early], 1)).tanh()
        return cast("Tensor", self.fc(x.mean((2, 3))))


class Pooled(nn.Module):
    """Where CAM exists: an average pool and a linear layer; with a dropout, as trained ones."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(conv(3, 6, stride=2), nn.SiLU(), conv(6, 8, stride=2))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.fc(self.drop(torch.flatten(self.pool(self.features(x)), 1))))


class ChannelsLast(nn.Module):
    """Windows of attention over a grid with channels last, shifted, as in Swin; merged patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.norm = nn.LayerNorm(8)
        self.attention = Attention(8, heads=2)
        self.merge = nn.Linear(32, 10, bias=False)
        self.last = nn.LayerNorm(10)
        self.head = nn.Linear(10, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.patches(x).permute(0, 2, 3, 1))
        batch, height, width, channels = x.shape
        windows = x.roll((1, 1), (1, 2)).reshape(batch, height // 2, 2, width // 2, 2, channels)
        windows = windows.transpose(2, 3).reshape(-1, 4, channels)
        mixed = self.attention(windows).reshape(batch, height // 2, width // 2, 2, 2, channels)
        x = x + mixed.transpose(2, 3).reshape(batch, height, width, channels).roll((-1, -1), (1, 2))
        quarters = [x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
        x = self.last(self.merge(torch.cat(quarters, -1)))
        return cast("Tensor", self.head(x.mean((1, 2))))


class Twice(nn.Module):
    """One convolution that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 6, stride=4)
        self.conv = conv(6, 6)
        self.fc = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.conv(self.stem(x)).tanh()).relu()
        return cast("Tensor", self.fc(x.sin().mean((2, 3))))


class Pair(nn.Module):
    """Puts out a tuple, the grid first."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(3, 6, stride=4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.conv(x).relu()
        return x, x.mean((2, 3))


class Wrapped(nn.Module):
    """A layer that puts out a tuple, and logits in a dict, a tuple, or neither."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.pair = Pair()
        self.last = conv(6, 6)
        self.fc = nn.Linear(6, CLASSES)
        self.kind = kind

    def forward(self, x: Tensor) -> Any:
        grid, mean = self.pair(x)
        logits = self.fc(self.last(grid).tanh().mean((2, 3)) + mean)
        if self.kind == "dict":
            return {"logits": logits, "hidden": mean}
        return (logits, mean) if self.kind == "tuple" else logits
