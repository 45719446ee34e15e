"""The small networks of the tasks, and their training."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from shapes import CLASSES, COLOURS, SHAPES, SIZE
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead

WORDS = ("<begin>", "a", "and", *COLOURS, *SHAPES, "<end>")


def stage(width_in: int, width_out: int, stride: int = 2) -> nn.Sequential:
    """Return a convolution with its normalisation and ReLU.

    With a stride of 2 the kernel is even, so that a cell lies in the middle of its receptive field.
    """
    kernel = 4 if stride == 2 else 3
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, kernel, stride, 1, bias=False),
        nn.BatchNorm2d(width_out),
        nn.ReLU(),
    )


def quiet(made: nn.Sequential) -> nn.Sequential:
    """Return a stage whose initial output is zero where there is nothing to see."""
    nn.init.constant_(made.get_parameter("1.bias"), -1.5)
    return made


def trunk(width: int = 48) -> nn.Sequential:
    """Return the layers that make features at a quarter of the image's size."""
    return nn.Sequential(stage(3, 16), stage(16, 32), stage(32, width, 1), stage(width, width, 1))


class Pooled(nn.Module):
    """A network that ends in a maximum (or average) over the cells and a linear layer."""

    def __init__(self, outputs: int, *, average: bool = False) -> None:
        """Make it."""
        super().__init__()
        self.average = average
        self.features = trunk()
        self.last = quiet(stage(48, 64))
        self.head = nn.Linear(64, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return its outputs, `[B, outputs]`."""
        features: Tensor = self.last(self.features(x))
        pooled = features.mean((2, 3)) if self.average else features.amax((2, 3))
        outputs: Tensor = self.head(pooled)
        return outputs


class Segmenter(nn.Module):
    """Logits of each pixel, as `out` of a dict, as torchvision's segmenters return them."""

    def __init__(self) -> None:
        """Make it."""
        super().__init__()
        self.features = trunk()
        self.context = nn.Sequential(stage(48, 48), stage(48, 48, 1))
        self.head = nn.Conv2d(48, len(CLASSES), 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the logits."""
        logits = self.head(self.context(self.features(x)))
        return {"out": interpolate(logits, x.shape[2:], mode="bilinear", align_corners=False)}


class Maps(nn.Module):
    """Maps at a quarter of the image's size, such as the heatmaps of keypoints."""

    def __init__(self, outputs: int) -> None:
        """Make it."""
        super().__init__()
        self.features = trunk()
        self.context = nn.Sequential(stage(48, 48, 1), stage(48, 48, 1))
        self.head = nn.Conv2d(48, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the maps, `[B, outputs, h, w]`."""
        maps: Tensor = self.head(self.context(self.features(x)))
        return maps


class Masks(nn.Module):
    """Mask classification: a query for each colour finds a mask, and the class of what is there."""

    def __init__(self) -> None:
        """Make it."""
        super().__init__()
        self.features = trunk()
        self.last = quiet(stage(48, 64))
        self.pixels = nn.Conv2d(48, 32, 1)
        self.queries = nn.Parameter(torch.randn(len(COLOURS), 64))
        self.classes = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, len(SHAPES) + 1))
        self.masks = nn.Linear(64, 32)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the class logits of each query, the last for no object, and its mask logits."""
        features = self.features(x)
        cells = self.last(features).flatten(2)
        attention = (self.queries @ cells / 8).softmax(2)
        seen = attention @ cells.mT
        masks = torch.einsum("bqc,bchw->bqhw", self.masks(seen), self.pixels(features))
        return {"class_queries_logits": self.classes(seen), "masks_queries_logits": masks}


class Pyramid(nn.Module):
    """Features on two levels, at a quarter and an eighth of the image's size."""

    out_channels = 64

    def __init__(self) -> None:
        """Make it."""
        super().__init__()
        self.early = trunk()
        self.late = nn.Sequential(stage(48, 64), stage(64, 64, 1))
        self.across = nn.Conv2d(48, 64, 1)
        self.along = nn.Conv2d(64, 64, 1)

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Return both levels; the coarser one is added to the finer one."""
        early = self.early(x)
        late = self.along(self.late(early))
        return OrderedDict(
            [("fine", self.across(early) + interpolate(late, scale_factor=2.0)), ("coarse", late)]
        )


def detector() -> FCOS:
    """Return torchvision's FCOS on that pyramid."""
    return FCOS(
        Pyramid(),
        len(CLASSES),
        anchor_generator=AnchorGenerator(((8,), (16,)), ((1.0,),) * 2),
        head=FCOSHead(Pyramid.out_channels, 1, len(CLASSES), num_convs=1),
        min_size=SIZE,
        max_size=SIZE,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
    )


class Prompts(nn.Module):
    """Pictures and texts in one space: how well each text fits each picture."""

    def __init__(self) -> None:
        """Make it."""
        super().__init__()
        self.vision = Pooled(32)
        self.words = nn.EmbeddingBag(len(WORDS), 32, mode="sum")

    def forward(self, pixel_values: Tensor, input_ids: Tensor) -> dict[str, Tensor]:
        """Return `logits_per_image`, `[B, texts]`."""
        pictures = normalize(self.vision(pixel_values), dim=1)
        return {"logits_per_image": 10 * pictures @ normalize(self.words(input_ids), dim=1).T}


class Captioner(nn.Module):
    """Predicts the next word; the words before it attend to the cells of the picture."""

    def __init__(self) -> None:
        """Make it."""
        super().__init__()
        self.features = trunk()
        self.last = quiet(stage(48, 64))
        self.words = nn.Embedding(len(WORDS), 64)
        self.memory = nn.GRU(64, 64, batch_first=True)
        self.ask = nn.Linear(64, 64)
        self.head = nn.Sequential(nn.Linear(128, 96), nn.ReLU(), nn.Linear(96, len(WORDS)))

    def forward(self, images: Tensor, ids: Tensor) -> Tensor:
        """Return the logits of the word after each word, `[B, N, V]`."""
        cells = self.last(self.features(images)).flatten(2)
        so_far, _ = self.memory(self.words(ids))
        attention = (self.ask(so_far) @ cells / 8).softmax(2)
        logits: Tensor = self.head(torch.cat([attention @ cells.mT, so_far], 2))
        return logits


class Signal(nn.Module):
    """A classifier of signals `[B, 1, L]`."""

    def __init__(self) -> None:
        """Make it."""
        super().__init__()
        widths = (1, 12, 24, 32)
        self.features = nn.Sequential(
            *(
                nn.Sequential(nn.Conv1d(a, b, 8, 2, 3), nn.BatchNorm1d(b), nn.ReLU())
                for a, b in pairwise(widths)
            )
        )
        self.head = nn.Linear(widths[-1], 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(self.features(x).amax(2))
        return logits


class Solid(nn.Module):
    """A classifier of volumes and of video, `[B, C, D, H, W]`."""

    def __init__(self, channels: int, outputs: int, first: tuple[int, int, int]) -> None:
        """Make it; `first` are the first layer's strides."""
        super().__init__()

        def block(a: int, b: int, stride: tuple[int, int, int]) -> nn.Sequential:
            deep, high, wide = (4 if step == 2 else 3 for step in stride)
            return nn.Sequential(
                nn.Conv3d(a, b, (deep, high, wide), stride, 1), nn.BatchNorm3d(b), nn.ReLU()
            )

        self.features = nn.Sequential(
            block(channels, 12, first), block(12, 24, (1, 2, 2)), block(24, 32, (1, 1, 1))
        )
        self.head = nn.Linear(32, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(self.features(x).mean((2, 3, 4)))
        return logits


def train(
    model: Any, loss_of: Callable[[Tensor], Tensor], count: int, steps: int, rate: float
) -> Any:
    """Train on `count` examples in batches of 16, and return the model in evaluation mode."""
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    model.train()
    for _ in range(steps):
        loss: Any = loss_of(torch.randint(count, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()
