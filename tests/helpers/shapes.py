"""Pictures of shapes on noise, with the networks that learn to find them in seconds."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate
from torchvision.models.detection import FCOS, FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead
from torchvision.ops import MultiScaleRoIAlign

SIZE = 64
#: The classes from 1; 0 is the background.
NAMES = ("background", "disc", "square", "triangle")


class Scene(NamedTuple):
    """Pictures with shapes of different classes in each.

    Attributes:
        images: `[B, 3, H, W]`.
        boxes: `[B, S, 4]`, as x1, y1, x2, y2.
        labels: `[B, S]`, the classes.
        masks: `[B, S, H, W]`, where each shape is.
    """

    images: Tensor
    boxes: Tensor
    labels: Tensor
    masks: Tensor

    @property
    def classes(self) -> Tensor:
        """The class of each pixel, `[B, H, W]`."""
        return (self.masks * self.labels[..., None, None]).amax(1)


def scenes(count: int, seed: int, shapes: int = 2) -> Scene:
    """Draw bright shapes with stripes on noise, apart from each other, no class twice."""
    random = torch.Generator().manual_seed(seed)

    def draw(low: float, high: float, *size: int) -> Tensor:
        return low + (high - low) * torch.rand(size, generator=random)

    row, column = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")
    stripes = ((row // 2) % 2, (column // 2) % 2, (row // 2 + column // 2) % 2)
    images = 0.2 * torch.randn(count, 3, SIZE, SIZE, generator=random)
    boxes = torch.zeros(count, shapes, 4)
    labels = torch.zeros(count, shapes, dtype=torch.long)
    masks = torch.zeros(count, shapes, SIZE, SIZE, dtype=torch.bool)
    for b in range(count):
        labels[b] = torch.randperm(3, generator=random)[:shapes] + 1
        # One shape to a quarter of the picture, so that none touches another.
        quarters = torch.randperm(4, generator=random)[:shapes]
        centres = [
            torch.stack([quarter // 2, quarter % 2]) * SIZE / 2 + draw(13, SIZE / 2 - 13, 2)
            for quarter in quarters
        ]
        for s, (y, x) in enumerate(centres):
            radius = float(draw(8, 12, 1))
            across, down = (column - x).abs(), (row - y).abs()
            kind = int(labels[b, s])
            if kind == 1:
                inside = across**2 + down**2 <= radius**2
            elif kind == 2:
                inside = torch.maximum(across, down) <= radius
            else:  # point upwards
                inside = (down <= radius) & (across <= (row - y + radius) / 2)
            masks[b, s] = inside
            boxes[b, s] = torch.stack([x - radius, y - radius, x + radius, y + radius])
            bright = 0.5 + stripes[kind - 1] * draw(0.8, 1.2, 1)
            images[b] = torch.where(inside, bright + images[b], images[b])
    return Scene(images.double(), boxes.double(), labels, masks)


def _stage(width_in: int, width_out: int, stride: int = 2) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(width_out),
        nn.ReLU(inplace=True),
    )


class Pyramid(nn.Module):
    """Three stages, and a pyramid of two levels over the last two of them."""

    out_channels = 32

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_stage(3, 12), _stage(12, 24))
        self.late = nn.Sequential(_stage(24, 32), _stage(32, 32, stride=1))
        self.across = nn.Conv2d(24, 32, 1)
        self.along = nn.Conv2d(32, 32, 1)

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        early = self.stem(x)
        late = self.along(self.late(early))
        finer = self.across(early) + interpolate(late, scale_factor=2.0)
        return OrderedDict([("0", finer), ("1", late)])


#: Pictures go through as they are.
_AS_THEY_ARE: dict[str, Any] = {
    "min_size": SIZE,
    "max_size": SIZE,
    "image_mean": [0.0] * 3,
    "image_std": [1.0] * 3,
}


def fcos() -> FCOS:
    """Return a detector of one stage; shapes of this size are all found on the fine level."""
    return FCOS(
        Pyramid(),
        4,
        anchor_generator=AnchorGenerator(((8,), (16,)), ((1.0,),) * 2),
        head=FCOSHead(Pyramid.out_channels, 1, 4, num_convs=1),
        **_AS_THEY_ARE,
    )


def faster_rcnn() -> FasterRCNN:
    """Return a detector of two stages: boxes below 18 pixels are read off the fine level."""
    return FasterRCNN(
        Pyramid(),
        rpn_anchor_generator=AnchorGenerator(((16,), (24,)), ((1.0,),) * 2),
        box_roi_pool=MultiScaleRoIAlign(
            ["0", "1"], output_size=4, sampling_ratio=2, canonical_scale=18, canonical_level=3
        ),
        box_head=_Pool(),
        box_predictor=_Predictor(),
        rpn_pre_nms_top_n_train=200,
        rpn_post_nms_top_n_train=60,
        rpn_pre_nms_top_n_test=200,
        rpn_post_nms_top_n_test=60,
        rpn_batch_size_per_image=64,
        box_batch_size_per_image=32,
        box_score_thresh=0.5,
        **_AS_THEY_ARE,
    )


class _Pool(nn.Module):
    """Averages what is in a box."""

    def forward(self, x: Tensor) -> Tensor:
        return x.relu().mean((2, 3))


class _Predictor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.classes = nn.Linear(Pyramid.out_channels, 4)
        self.boxes = nn.Linear(Pyramid.out_channels, 16)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.classes(x), self.boxes(x)


class Segmenter(nn.Module):
    """Logits of each pixel, as `out` of a dict, as torchvision's segmenters return them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_stage(3, 12), _stage(12, 24))
        self.late = nn.Sequential(_stage(24, 32, stride=1), _stage(32, 32, stride=1))
        self.head = nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        logits = self.head(self.late(self.stem(x)))
        size = x.shape[2:]
        return {"out": interpolate(logits, size, mode="bilinear", align_corners=False)}


def train_detector(model: Any, steps: int, seed: int = 1, rate: float = 4e-3) -> Any:
    """Train a detector of torchvision on scenes, 8 pictures at a time; return it for use.

    In float64, so that what it learns does not hang on the last bit of a sum.
    """
    model, known = model.double(), scenes(8 * 24, seed)
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    model.train()
    for step in range(steps):
        rows = torch.arange(8) + 8 * (step % 24)
        wanted = [{"boxes": known.boxes[b], "labels": known.labels[b]} for b in rows]
        loss = sum(model(list(known.images[rows]), wanted).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def train_segmenter(model: Segmenter, steps: int, seed: int = 1) -> Segmenter:
    """Train a segmenter on scenes, 8 pictures at a time, in float64; return it for use."""
    model, known = model.double(), scenes(8 * 24, seed)
    classes = known.classes
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    model.train()
    for step in range(steps):
        rows = torch.arange(8) + 8 * (step % 24)
        loss = cross_entropy(model(known.images[rows])["out"], classes[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return model.eval()
