"""Small networks of every kind, as the page serves them."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

import limelight
from limelight.models.network import Network
from limelight.models.prompted import Prompted, compare_encoded
from limelight.photos.preprocess import Preprocess

SIDE = 32

#: Width and height of the photo: wider than high, so that its sides are cropped.
PHOTO = 96, 64

#: Where the bright square of the photo is, in its pixels.
SQUARE = (48, 16, 64, 32)


def _seeded(seed: int) -> None:
    torch.manual_seed(seed)


class _Body(nn.Module):
    def __init__(self, channels: int = 3, seed: int = 0) -> None:
        super().__init__()
        _seeded(seed)
        self.first = nn.Sequential(nn.Conv2d(channels, 4, 3, 2, 1), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(4, 8, 3, 2, 1), nn.ReLU())

    def features(self, images: Tensor) -> Tensor:
        grids: Tensor = self.second(self.first(images))
        return grids


class Classifier(_Body):
    """So many classes, or a single number."""

    def __init__(self, classes: int, channels: int = 3) -> None:
        super().__init__(channels)
        self.head = nn.Linear(8, classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images).mean((2, 3)))
        return logits


class Several(Classifier):
    """A photo can have several of its classes, as networks of transformers say it."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.config = SimpleNamespace(problem_type="multi_label_classification")


class Smooth(Classifier):
    """Its last activation has no second derivative in PyTorch; and it runs on one image alone."""

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > 1:
            raise RuntimeError("one at a time")
        logits: Tensor = self.head(nn.functional.hardsigmoid(self.features(images)).mean((2, 3)))
        return logits


class Segmenter(_Body):
    """Class 1 where it is bright, class 0 elsewhere; class 2 nowhere."""

    def __init__(self) -> None:
        super().__init__()
        convolution = nn.Conv2d(3, 2, 1)
        self.body = nn.Sequential(convolution, nn.ReLU())
        with torch.no_grad():
            convolution.weight[:] = torch.tensor([1.0, -1.0])[:, None, None, None]
            convolution.bias = nn.Parameter(torch.tensor([-2.0, 2.0]))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        bright, dark = self.body(images).unbind(1)
        return {"out": torch.stack([dark, bright, -bright - dark - 1], 1)}


class Detector(nn.Module):
    """Finds in each quarter of a grid of 4 x 4 how bright it is: one box for each cell."""

    def __init__(self) -> None:
        super().__init__()
        means, self.head = nn.Conv2d(3, 2, SIDE // 4, SIDE // 4), nn.Conv2d(2, 2, 1)
        self.body = nn.Sequential(means, nn.ReLU())
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()
            means.weight[0] = 1 / (3 * (SIDE // 4) ** 2)
            self.head.weight[0, 0] = 9.0
            self.head.bias = nn.Parameter(torch.tensor([-6.0, -9.0]))

    def forward(self, images: Tensor) -> Any:
        logits = self.head(self.body(images)).flatten(2).transpose(1, 2)
        step = images.shape[-1] / 4
        cells = torch.cartesian_prod(torch.arange(4), torch.arange(4)).to(logits)
        corners = torch.cat([cells.flip(1), cells.flip(1) + 1], 1) * step
        return limelight.Detected(logits, corners.expand(len(logits), 16, 4))


class _Encoders(_Body):
    """What open_clip's networks have: an encoder of pictures, and one of texts."""

    def __init__(self) -> None:
        super().__init__()
        self.hear = nn.Embedding(64, 8)
        self.logit_scale = nn.Parameter(torch.tensor(3.0))

    def encode_image(self, images: Tensor, normalize: bool = False) -> Tensor:
        found = self.features(images).mean((2, 3))
        return nn.functional.normalize(found, dim=1) if normalize else found

    def encode_text(self, texts: Tensor, normalize: bool = False) -> Tensor:
        found = self.hear(texts).mean(1)
        return nn.functional.normalize(found, dim=1) if normalize else found


class Letters:
    """A tokeniser of letters."""

    all_special_ids = (0,)

    def decode(self, tokens: list[int]) -> str:
        return "".join(chr(96 + token) for token in tokens)


def letters(texts: Sequence[str]) -> dict[str, Tensor]:
    """Return the letters of texts as numbers, filled up with zeros."""
    rows = [[ord(letter) % 32 for letter in text[:12]] for text in texts]
    longest = max(map(len, rows))
    filled = [row + [0] * (longest - len(row)) for row in rows]
    return {"text": torch.tensor(filled, dtype=torch.long, device="cpu")}


def compares_texts(texts: Sequence[str]) -> Network:
    """Return a network of pictures and texts, with these texts filled in."""
    model = Prompted(_Encoders(), letters(texts), Letters(), compare_encoded, letters)
    return _network("clip", model, tuple(texts))


def _network(
    name: str, model: nn.Module, classes: tuple[str, ...] | None = None, channels: int = 3
) -> Network:
    half = (0.5,) * channels
    prepare = Preprocess(size=(SIDE, SIDE), resize=SIDE, mean=half, std=half)
    return Network(name, model.eval(), prepare, classes)


def networks() -> dict[str, Network]:
    """Return small networks of every kind by their names."""
    border = Preprocess(size=(64, 64), resize=SIDE, mean=(0.0,) * 3, std=(1.0,) * 3)
    any_size = Preprocess(size=None, resize=None, mean=(0.0,) * 3, std=(1.0,) * 3)
    made = [
        _network("classifier", Classifier(5), ("cat", "dog", "cup", "car", "sky")),
        _network("nameless", Classifier(5)),
        _network("several", Several(4), ("cat", "dog", "cup", "car")),
        _network("number", Classifier(1)),
        _network("smooth", Smooth(3), ("a", "b", "c")),
        _network("grey", Classifier(4, channels=1), ("a", "b", "c", "d"), channels=1),
        Network("border", Classifier(3).eval(), border),
        Network("any-size", Classifier(3).eval(), any_size),
        _network("segmenter", Segmenter(), ("dark", "bright", "nothing")),
        _network("renamed", Segmenter(), ("other", "dark", "bright")),
        _network("detector", Detector(), ("square", "other")),
        compares_texts(["a cat", "a dog"]),
    ]
    return {each.name: each for each in made}
