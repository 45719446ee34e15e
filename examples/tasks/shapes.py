"""The photos: discs, squares and triangles in three colours on a dark wall; a cat and a cup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor
from torchvision.transforms.functional import to_tensor

import limelight
from limelight.photos.samples import find_sample

SIZE = 96
SHAPES = ("disc", "square", "triangle")
CLASSES = ("background", *SHAPES)
COLOURS = {"red": (214, 74, 62), "green": (84, 178, 96), "blue": (74, 124, 224)}


class Scene(NamedTuple):
    """A photo of shapes, no shape twice and no colour twice.

    Attributes:
        photo: The photo, three times as large as the networks' input.
        kinds: The kind of each shape, from 0, in increasing order.
        colours: The colour of each shape.
        boxes: `[S, 4]`, as x1, y1, x2, y2 in pixels of the networks' input.
        masks: `[S, H, W]`, the pixels of each shape.
    """

    photo: Image.Image
    kinds: list[int]
    colours: list[str]
    boxes: Tensor
    masks: Tensor


def outline(kind: int, x: float, y: float, radius: float, scale: int) -> Image.Image:
    """Return the mask of one shape, at `scale` times the size."""
    mask = Image.new("L", (SIZE * scale, SIZE * scale))
    pen = ImageDraw.Draw(mask)
    box = [scale * v for v in (x - radius, y - radius, x + radius, y + radius)]
    left, top, right, bottom = box
    if kind == 0:
        pen.ellipse(box, fill=255)
    elif kind == 1:
        pen.rectangle(box, fill=255)
    else:
        pen.polygon([(left, bottom), (right, bottom), (scale * x, top)], fill=255)
    return mask


def draw_scene(random: np.random.Generator, count: int | None = None) -> Scene:
    """Draw one or more shapes that do not touch, with their shadows, on a wall."""
    side = SIZE * 3
    count = count or int(random.integers(1, 4))
    kinds = sorted(random.permutation(3)[:count].tolist())
    colours = [list(COLOURS)[i] for i in random.permutation(3)[:count]]
    places: list[tuple[float, float, float]] = []
    while len(places) < count:
        radius = random.uniform(9, 19)
        x, y = random.uniform(radius + 3, SIZE - radius - 6, 2)
        if all(max(abs(x - u), abs(y - v)) > radius + r + 3 for u, v, r in places):
            places.append((x, y, radius))
    across, down = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side))
    slope = random.uniform(-1, 1, 2)
    light = 1 + 0.2 * (slope[0] * across + slope[1] * down)
    wall = np.array([74, 78, 88]) + random.uniform(-14, 14, 3)
    picture = Image.fromarray((light[..., None] * wall).clip(0, 255).astype(np.uint8))
    masks = []
    for kind, colour, (x, y, radius) in zip(kinds, colours, places, strict=True):
        shadow = outline(kind, x + 0.5, y + 1, radius, 3).filter(ImageFilter.GaussianBlur(7))
        picture.paste((24, 24, 28), mask=shadow)
        paint = np.array(COLOURS[colour]) + random.uniform(-18, 18, 3)
        picture.paste(
            tuple(paint.clip(0, 255).astype(int).tolist()), mask=outline(kind, x, y, radius, 3)
        )
        masks.append(np.asarray(outline(kind, x, y, radius, 1)) > 0)
    pixels = np.asarray(picture) * light[..., None]
    boxes = [(x - r, y - r, x + r, y + r) for x, y, r in places]
    return Scene(
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)),
        kinds,
        colours,
        torch.tensor(boxes, dtype=torch.float32),
        torch.from_numpy(np.stack(masks)),
    )


def draw_with(random: np.random.Generator, kinds: Sequence[int]) -> Scene:
    """Draw a photo of these kinds of shapes."""
    while (scene := draw_scene(random, len(kinds))).kinds != list(kinds):
        pass
    return scene


def seen(scenes: Sequence[Scene]) -> Tensor:
    """Return photos as input of the networks, `[B, 3, H, W]`."""
    small = [one.photo.resize((SIZE, SIZE), Image.Resampling.BOX) for one in scenes]
    return (torch.stack([to_tensor(one) for one in small]) - 0.35) / 0.2


def with_noise(images: Tensor) -> Tensor:
    """Return images with noise, for training."""
    random = torch.Generator().manual_seed(0)
    return images + 0.1 * torch.randn(images.shape, generator=random)


class Photos(NamedTuple):
    """The photos for training, and the photos for testing."""

    known: list[Scene]
    images: Tensor
    unseen: list[Scene]


def draw_photos() -> Photos:
    """Draw all photos; those for testing have three shapes each."""
    random = np.random.default_rng(0)
    known = [draw_scene(random) for _ in range(640)]
    return Photos(known, with_noise(seen(known)), [draw_scene(random, 3) for _ in range(8)])


def two_photos(network: limelight.Network) -> tuple[Tensor, Image.Image]:
    """Return the photos of a cat and of a cup side by side, as input and as a picture."""
    cat, cup = (limelight.load_photo(find_sample(name)) for name in ("chelsea", "coffee"))
    both = torch.cat([network.preprocess(photo) for photo in (cat, cup)], 2)[None]
    shown = Image.new("RGB", (448, 224))
    for x, photo in enumerate((cat, cup)):
        shown.paste(network.preprocess.view(photo).resize((224, 224)), (224 * x, 0))
    return both, shown
