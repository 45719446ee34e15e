"""Small networks for the panels Probe and Trust, whose cells and scores are known by hand."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from limelight.models.network import Network
from limelight.photos.preprocess import Preprocess

SIZE = 32
PREPROCESS = Preprocess(size=(SIZE, SIZE), resize=40)
WIDTH, HEIGHT = 120, 80


class Tiny(nn.Module):
    """Two convolutions, a mean, and three classes, of which nothing speaks for the last."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.ReLU())
        self.classes = nn.Linear(6, 3)
        with torch.no_grad():
            self.classes.weight[2] = -self.classes.weight[2].abs() - 0.1

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x)))

    def head(self, cells: Tensor) -> Tensor:
        """Return the scores of the classes, far enough apart that what is painted over shows."""
        return self.classes(30 * cells.mean((2, 3)))  # type: ignore[no-any-return]


class Middle(nn.Module):
    """Patches of the middle of the picture: its grid covers half of it along each axis."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.patches = nn.Conv2d(3, 5, 4, stride=4)
        self.classes = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        quarter = SIZE // 4
        seen = x[:, :, quarter:-quarter, quarter:-quarter]
        return self.classes(self.patches(seen).relu().mean((2, 3)))  # type: ignore[no-any-return]


class Branches(nn.Module):
    """Two branches; each class is read from its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.left = nn.Conv2d(3, 4, 8, stride=8)
        self.right = nn.Conv2d(3, 4, 8, stride=8)
        with torch.no_grad():
            self.left.bias.fill_(1.0)  # type: ignore[union-attr]
            self.right.bias.fill_(1.0)  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.left(x).relu(), self.right(x).relu()
        return torch.stack([left.mean((1, 2, 3)), right.mean((1, 2, 3))], 1)


MODELS = {"tiny": Tiny().eval(), "middle": Middle().eval(), "branches": Branches().eval()}


def networks() -> dict[str, Network]:
    """Return them as the page takes them, with classes called a, b and c."""
    names = {"tiny": "abc"}
    return {
        name: Network(name, model, PREPROCESS, tuple(names.get(name, "ab")))
        for name, model in MODELS.items()
    }


def photo(seed: int) -> Image.Image:
    """A photo of smooth patches, so that a blur and a crop change it; the second is darker."""
    noise = np.random.default_rng(seed).random((HEIGHT // 8, WIDTH // 8, 3))
    return Image.fromarray((noise * 255 / (1 + 3 * seed)).astype(np.uint8)).resize(
        (WIDTH, HEIGHT), Image.Resampling.BICUBIC
    )
