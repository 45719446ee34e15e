"""Small networks of each kind that the page shows; `helpers.page_networks:classifier` loads one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import limelight

CLASSES = ("cat, tomcat", "dog", "crane", "crane", "7")

SIDE = 32

PREPROCESS = limelight.Preprocess(size=(SIDE, SIDE), resize=SIDE, mean=(0.5,) * 3, std=(0.5,) * 3)


class Features(nn.Module):
    """A body that all of them have: `[B, 3, 32, 32]` becomes `[B, 8, 8, 8]`."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 5, padding=2, stride=2)
        self.second = nn.Conv2d(6, 8, 3, padding=1, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.second(self.first(images).relu()).relu()
        return found


class Classifier(nn.Module):
    """A classifier, which notes how many images came at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = Features(), nn.Linear(8, len(CLASSES))
        self.batches = list[int]()

    def forward(self, images: Tensor) -> Tensor:
        self.batches.append(len(images))
        scores: Tensor = self.head(self.body(images).mean((2, 3)))
        return scores


class Segmenter(nn.Module):
    """A segmenter: scores of each class at each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = Features(), nn.Conv2d(8, len(CLASSES), 1)

    def forward(self, images: Tensor) -> Tensor:
        coarse = self.head(self.body(images))
        return nn.functional.interpolate(coarse, images.shape[2:], mode="bilinear")


class Detector(nn.Module):
    """A detector that proposes the same boxes for each photo: squares of 16 pixels, 8 apart."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = Features(), nn.Conv2d(8, len(CLASSES), 4, stride=2)

    def forward(self, images: Tensor) -> limelight.Detected:
        logits = self.head(self.body(images))
        starts = 8.0 * torch.arange(3, dtype=images.dtype, device=images.device)
        y, x = torch.meshgrid(starts, starts, indexing="ij")
        boxes = torch.stack([x, y, x + 16, y + 16], -1).reshape(-1, 4)
        return limelight.Detected(logits=logits.flatten(2).transpose(1, 2), boxes=boxes)


def _network(kind: type[nn.Module]) -> limelight.Network:
    torch.manual_seed(0)
    name = f"helpers.page_networks:{kind.__name__.lower()}"
    return limelight.Network(name, kind().eval(), PREPROCESS, CLASSES)


def classifier() -> limelight.Network:
    return _network(Classifier)


def segmenter() -> limelight.Network:
    return _network(Segmenter)


def detector() -> limelight.Network:
    return _network(Detector)


NETWORKS = {"classifier": classifier, "segmenter": segmenter, "detector": detector}
