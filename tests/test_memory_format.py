"""How images lie in memory: channels last where that is faster and changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import resnet18

import limelight
from helpers.tolerances import assert_agrees, terms_of
from limelight import Network, Preprocess
from limelight.photo_pipeline import MANY_PHOTOS

MANY = "rise:masks=64"


class Sees(nn.Module):
    """A small network that notes how the images that it is given lie."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.fc = nn.Linear(8, 5)
        self.last = list[bool]()

    def forward(self, x: Tensor) -> Tensor:
        self.last.append(x.is_contiguous(memory_format=torch.channels_last))
        found: Tensor = self.fc(self.pooled(self.conv(x).relu()))
        return found

    def pooled(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Views(Sees):
    """One that fails where channels are last."""

    def pooled(self, x: Tensor) -> Tensor:
        return x.view(len(x), -1).view(len(x), 8, -1).mean(2)


class Strides(Sees):
    """One that takes channels first for granted, and reads something else if they are last."""

    def pooled(self, x: Tensor) -> Tensor:
        cells = x[0, 0].numel()
        return torch.as_strided(x, (len(x), 8, cells), (8 * cells, cells, 1))[..., :40].mean(2)


def images(size: int = 16) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def rise(model: nn.Module, given: Tensor) -> Tensor:
    return limelight.explain(model, given, target=1, method=MANY).raw


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    noise = torch.randint(
        0, 256, (MANY_PHOTOS, 20, 24, 3), generator=torch.Generator().manual_seed(2)
    )
    paths = [tmp_path / f"{number:02}.png" for number in range(len(noise))]
    for pixels, path in zip(noise.to(torch.uint8), paths, strict=True):
        Image.fromarray(pixels.numpy()).save(path)
    return paths


def network_of(model: nn.Module) -> Network:
    return Network("own", model.eval(), Preprocess(size=(16, 16), resize=16), None)


def test_many_variants_are_run_channels_last() -> None:
    model = Sees().eval()
    rise(model, images())
    assert sum(model.last) >= 2 * 64 / 8
    model.last.clear()
    rise(model.double(), images().double())  # in float64 nothing is gained
    assert not any(model.last)


def test_the_map_is_that_of_channels_first() -> None:
    model = resnet18(weights=None).eval()
    given = images(64)
    found = rise(model, given)
    due = rise(model.double(), given.double())
    assert_agrees(found, due, terms=terms_of(model), dtype=torch.float32)


@pytest.mark.parametrize("kind", [Views, Strides])
def test_a_network_that_counts_on_channels_first_gets_them(kind: type[Sees]) -> None:
    model = kind().eval()
    found = rise(model, images())
    due = rise(model.double(), images().double())
    assert sum(model.last) == 1  # the run that found it out
    limit = "of the scores their mean is taken off, which is larger than what is left"
    assert_agrees(found, due, dtype=torch.float32, limit=limit)


def test_images_that_lie_channels_last_stay_so() -> None:
    model = Sees().eval()
    limelight.explain(model, images())  # which finds the layer too
    assert not any(model.last)
    model.last.clear()
    limelight.explain(model, images().contiguous(memory_format=torch.channels_last))
    assert model.last == [True]


def test_photos_are_run_channels_last(photos: list[Path]) -> None:
    model = Sees()
    found = list(limelight.explain_photos(network_of(model), photos, batch=4))
    assert sum(model.last) == 1 + MANY_PHOTOS / 4
    preprocess = Preprocess(size=(16, 16), resize=16)
    given = torch.stack([preprocess(limelight.load_photo(path)) for path in photos])
    due = limelight.explain(model, given.contiguous())
    together = torch.cat([one.explanations[0].raw for one in found])
    assert_agrees(together, due.raw)


def test_few_photos_and_photos_of_many_sizes_are_run_as_they_lie(photos: list[Path]) -> None:
    model = Sees()
    list(limelight.explain_photos(network_of(model), photos[:-1], batch=4))
    uncropped = Network("own", model, Preprocess(size=None, resize=None), None)
    list(limelight.explain_photos(uncropped, photos, batch=4))
    assert not any(model.last)


@pytest.mark.parametrize("kind", [Views, Strides])
def test_photos_for_a_network_that_counts_on_channels_first(
    kind: type[Sees], photos: list[Path]
) -> None:
    model = kind()
    found = list(limelight.explain_photos(network_of(model), photos, batch=4))
    assert [one.error for one in found] == [None] * len(photos)
    assert sum(model.last) == 1


def test_autocast_is_kept() -> None:
    model = resnet18(weights=None).eval()
    due = limelight.explain(model, images(64), target=1)
    with torch.autocast("cpu", torch.bfloat16):
        found = limelight.explain(model, images(64), target=1)
    assert found.raw.dtype == torch.float32
    assert not torch.equal(found.raw, due.raw)
    for one, other in zip(found.raw.flatten(1), due.raw.flatten(1), strict=True):
        assert torch.corrcoef(torch.stack([one, other]))[0, 1] > 0.99
