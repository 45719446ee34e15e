"""Small networks, each with something about it that a cut has to get right."""

from __future__ import annotations

import functools
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

AnyModule = TypeVar("AnyModule", bound=nn.Module)

#: The size of pictures that the networks of this file take, where they say no other.
PICTURE = (3, 12, 16)
#: One class for each image of a batch of three.
CHOSEN = [1, 0, 2]


def ready(model: AnyModule, dtype: torch.dtype = torch.float64) -> AnyModule:
    """Give batch norms statistics that do something; evaluation mode, float64."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.2)
    return model.to(dtype).eval()


class Block(nn.Module):
    """A residual block; its in-place ReLU runs twice, and `+=` overwrites what `bn2` put out."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width_out, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width_out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width_out)
        self.shortcut = nn.Conv2d(width_in, width_out, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += self.shortcut(x)
        return cast("Tensor", self.relu(out))


class ResidualCNN(nn.Module):
    """Batch norms, in-place ReLUs, residuals, and two linear layers at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        )
        self.block1 = Block(4, 6)
        self.block2 = Block(6, 7)
        self.drop = nn.Dropout(0.5)
        self.classifier = nn.Sequential(nn.Linear(7, 6), nn.ReLU(inplace=True), nn.Linear(6, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.block2(self.block1(self.stem(x)))
        return cast("Tensor", self.classifier(self.drop(x.mean((2, 3)))))


class PoolLinear(nn.Module):
    """Convolutions, an average pool and one linear layer: where CAM exists."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.Tanh(), nn.Conv2d(6, 8, 3, stride=2, padding=1)
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.fc(self.pool(self.features(x)).flatten(1)))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, width = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1)
        return cast("Tensor", self.proj((weights @ v).transpose(1, 2).reshape(b, n, width)))


class TransformerBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return cast("Tensor", x + self.mlp(self.norm2(x)))


class TinyViT(nn.Module):
    """A class token, two registers, patches of 4, positions; the head reads the class token."""

    prefix = 3

    def __init__(self, grid: tuple[int, int] = (3, 4), width: int = 8) -> None:
        super().__init__()
        count = grid[0] * grid[1]
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.extra = nn.Parameter(torch.randn(1, self.prefix, width))
        self.positions = nn.Parameter(torch.randn(1, self.prefix + count, width))
        self.blocks = nn.ModuleList(TransformerBlock(width, heads=2) for _ in range(2))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.extra.expand(x.shape[0], -1, -1), patches], dim=1) + self.positions
        for block in self.blocks:
            x = block(x)
        return cast("Tensor", self.head(self.norm(x)[:, 0]))


class ChannelsLast(nn.Module):
    """Channels after the grid, as in Swin; 10 of them, and grids that 10 is not like."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 10, 4, stride=4)
        self.mix = nn.Sequential(nn.LayerNorm(10), nn.Linear(10, 10), nn.GELU())
        self.norm = nn.LayerNorm(10)
        self.head = nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.mix(self.patches(x).permute(0, 2, 3, 1)))
        return cast("Tensor", self.head(x.tanh().mean((1, 2))))


class Encoder(nn.Module):
    """PyTorch's own transformer, which has a fused path that skips its inner modules."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        for parameter in self.encoder.parameters():
            nn.init.normal_(parameter, 0, 0.5)  # its layers begin as copies of one
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.encoder(self.patches(x).flatten(2).transpose(1, 2))
        return cast("Tensor", self.head(x.tanh().mean(1)))


class Recurrent(nn.Module):
    """Reads the rows of the grid one after another."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 4, stride=4)
        self.rnn = nn.LSTM(6 * 4, 7, batch_first=True)
        self.fc = nn.Linear(7, 5)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.conv(x).permute(0, 2, 1, 3).flatten(2)
        return cast("Tensor", self.fc(self.rnn(rows)[0][:, -1]))


class Signal(nn.Module):
    """One grid axis."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(2, 5, 5, stride=2, padding=2), nn.ReLU(inplace=True))
        self.conv = nn.Conv1d(5, 6, 3, padding=1)
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.fc(self.conv(self.body(x)).tanh().mean(2)))


class Volume(nn.Module):
    """Three grid axes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU(inplace=True)
        )
        self.conv = nn.Conv3d(4, 5, 3, stride=2, padding=1)
        self.fc = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.fc(self.conv(self.body(x)).tanh().mean((2, 3, 4))))


class TwoInputs(nn.Module):
    """An image and what is known about it, `[B, 2]`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2)
        self.known = nn.Linear(2, 6)
        self.fc = nn.Linear(6, 4)

    def forward(self, image: Tensor, known: Tensor) -> Tensor:
        pooled = self.conv(image).tanh().mean((2, 3))
        return cast("Tensor", self.fc(pooled * self.known(known)))


class CalledTwice(nn.Module):
    """One convolution that runs twice; another, and a list, that never run."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.conv = nn.Conv2d(6, 6, 3, padding=1)
        self.unused = nn.Conv2d(6, 6, 1)
        self.listed = nn.ModuleList([nn.Conv2d(6, 6, 1)])
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.stem(x)).tanh()
        x = self.listed[0](self.conv(x).tanh())
        return cast("Tensor", self.fc(x.sin().mean((2, 3))))


class Chain(nn.Module):
    """Three convolutions; the networks below differ in how they reach them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 5, 3, padding=1)
        self.second = nn.Conv2d(5, 6, 3, stride=2)
        self.third = nn.Conv2d(6, 6, 3, padding=1)
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.first(x).tanh()).tanh()
        return self.finish(x)

    def finish(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.fc(self.third(x).tanh().mean((2, 3))))


class KeepsAList(Chain):
    """Runs its children from a plain list and a plain dict."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = [self.first, (self.second, "then", self.third)]
        self.last = {"fc": self.fc}

    def forward(self, x: Tensor) -> Tensor:
        first, (second, _, third) = cast("Any", self.steps)
        return cast("Tensor", self.last["fc"](third(second(first(x)).tanh()).tanh().mean((2, 3))))


class BoundMethod(Chain):
    """Keeps a method of its own as an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.step = self.finish

    def forward(self, x: Tensor) -> Tensor:
        return self.step(self.second(self.first(x).tanh()).tanh())


class Dispatched(Chain):
    """Its forward is a partial over itself, as libraries that place modules on devices do."""

    def __init__(self) -> None:
        super().__init__()
        self.forward = functools.partial(Chain.forward, self)  # type: ignore[method-assign]


class Caller(nn.Module):
    """Runs a module that is registered elsewhere."""

    def __init__(self, other: nn.Module) -> None:
        super().__init__()
        self.others = [other]  # in a list, so that its parameters are not counted twice

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.others[0](x).tanh())


class Borrows(Chain):
    """One of its modules runs another's child."""

    def __init__(self) -> None:
        super().__init__()
        self.caller = Caller(self.second)

    def forward(self, x: Tensor) -> Tensor:
        return self.finish(self.caller(self.first(x).tanh()))


class Counter(nn.Module):
    """Counts its calls in a buffer, in evaluation mode too, and its output depends on the count."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


class Counting(Chain):
    def __init__(self) -> None:
        super().__init__()
        self.early = Counter()
        self.late = Counter()

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.early(self.first(x)).tanh()).tanh()
        return cast("Tensor", self.late(self.finish(x)))


class Memo(nn.Module):
    """Keeps what passes on itself, as attention modules do that are asked for their weights."""

    def forward(self, x: Tensor) -> Tensor:
        self.last = x
        return self.last * 2


class Remembering(Chain):
    def __init__(self) -> None:
        super().__init__()
        self.early = Memo()
        self.late = Memo()

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.early(self.first(x)).tanh()).tanh()
        return cast("Tensor", self.late(self.finish(x)))


class Settings(nn.Module):
    """Reads an ordered dict of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.settings = OrderedDict(gain=2.0, offset=0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.settings["gain"] + self.settings["offset"]


class Configured(Chain):
    def __init__(self) -> None:
        super().__init__()
        self.early = Settings()

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.early(self.first(x)).tanh()).tanh()
        return self.finish(x)


class OwnNoGrad(Chain):
    """Turns grad off around its body itself, as people do who train only the head."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.second(self.first(x).tanh())
        return self.finish(x.tanh())


class Table(nn.Module):
    """Puts out a table of 3 rows, whatever the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.randn(3, 6))

    def forward(self) -> Tensor:
        return self.rows * 2


class WithTable(Chain):
    """Attends from the pooled image to a table of 3 rows, which is made before the layer runs."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Table()

    def forward(self, x: Tensor) -> Tensor:
        table = self.table()
        x = self.third(self.second(self.first(x).tanh())).tanh().mean((2, 3))
        return cast("Tensor", self.fc(x + (x @ table.T).softmax(1) @ table))


@dataclass
class Result:
    """An output that is no tensor, tuple or dict."""

    logits: Tensor
    hidden: Tensor


class Returns(Chain):
    """Wraps its logits: "tuple", "dict", "object", "list", or as "nothing"."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Any:
        hidden = self.second(self.first(x).tanh()).tanh()
        logits = self.finish(hidden)
        kinds: dict[str, Any] = {
            "tuple": (logits, hidden),
            "list": [logits, hidden],
            "dict": {"hidden": hidden, "logits": logits},
            "object": Result(logits, hidden),
            "nothing": None,
        }
        return kinds[self.kind]


class Pair(nn.Module):
    """Puts out a tuple, the grid first."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(5, 6, 3, stride=2)

    def forward(self, x: Tensor) -> tuple[Tensor, float]:
        return self.conv(x), 0.5


class TupleInside(Chain):
    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair()

    def forward(self, x: Tensor) -> Tensor:
        grid, scale = self.pair(self.first(x).tanh())
        return self.finish(grid.sin() * scale)


class Skips(Chain):
    """Goes through an empty `Sequential`, which is false in Python's eyes, as shortcuts do."""

    def __init__(self) -> None:
        super().__init__()
        self.shortcut = nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.first(x).tanh())
        return self.finish(self.shortcut(x) + x.sin())


class RaisesLate(Chain):
    """Raises after its convolutions have run."""

    def forward(self, x: Tensor) -> Tensor:
        self.second(self.first(x))
        raise RuntimeError("raised in the middle of the model")


class Wrapper(nn.Module):
    """Keeps the real model in `_orig_mod`, as `torch.compile` does."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._orig_mod = model

    def forward(self, *args: Any) -> Any:
        raise AssertionError("the wrapper ran, not the model inside it")
