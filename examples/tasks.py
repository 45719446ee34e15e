"""Train small networks and draw the pictures of docs/tasks.md, one for each task.

    python examples/tasks.py                  # all of them, about four minutes on one core
    python examples/tasks.py --only detection --out pictures

The photos are drawn here too: discs, squares and triangles in three colours on a dark wall. So the
right place of every map is known, and the script checks that the map lies there.
"""

from __future__ import annotations

import argparse
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    interpolate,
    mse_loss,
    normalize,
)
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead
from torchvision.transforms.functional import to_tensor

import limelight
from limelight.photos.samples import find_sample

SIZE = 96
SHAPES = ("disc", "square", "triangle")
CLASSES = ("background", *SHAPES)
COLOURS = {"red": (214, 74, 62), "green": (84, 178, 96), "blue": (74, 124, 224)}
WORDS = ("<begin>", "a", "and", *COLOURS, *SHAPES, "<end>")


# Photos


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


# Networks


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


# Pictures


def shrink(data: bytes, path: Path, wide: int = 1000) -> None:
    """Write a figure as a small image file."""
    with Image.open(BytesIO(data)) as drawn:
        picture = drawn.convert("RGB")
    if picture.width > wide:
        high = round(picture.height * wide / picture.width)
        picture = picture.resize((wide, high), Image.Resampling.LANCZOS)
    picture.save(path, optimize=True)


def save(
    result: limelight.Explanation, path: Path, photos: Sequence[Image.Image] | None = None
) -> None:
    """Write the figure of an explanation."""
    drawn = result.save(path, photos=photos)
    shrink(drawn.read_bytes(), path)


def strip(
    found: Sequence[limelight.Explanation], path: Path, photo: Image.Image, wide: int = 1000
) -> None:
    """Write the photo and the overlay of each explanation of it, side by side."""
    panel = 1.9 * photo.width / photo.height
    sheet = Figure(figsize=(panel * (len(found) + 1), 2.35), dpi=200)
    sheet.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02)
    panels = sheet.subplots(1, len(found) + 1)
    panels[0].imshow(photo)
    panels[0].set_title("photo", fontsize=9)
    for axes, result in zip(panels[1:], found, strict=True):
        axes.imshow(result.overlay([photo])[0])
        axes.set_title(f"{result.label[0]}  {result.score[0]:.2f}", fontsize=9, fontweight="bold")
    for axes in panels:
        axes.set_axis_off()
    data = BytesIO()
    sheet.savefig(data, format="png", facecolor="white")
    shrink(data.getvalue(), path, wide)


def check(heatmap: Tensor, inside: Tensor, least: float = 2.0) -> None:
    """Raise an error unless a heatmap `[*image]` has far more heat inside a mask than by chance."""
    inside = inside.float()
    share = float((heatmap * inside).sum() / heatmap.sum())
    if not share > least * float(inside.mean()):
        raise RuntimeError(f"Only {share:.0%} of the heat is on {float(inside.mean()):.0%} of it.")


# Tasks


def classification(photos: Photos, out: Path) -> None:
    """Draw three labels of one photo, and what speaks for and against one number."""
    present = torch.tensor([[float(k in one.kinds) for k in range(3)] for one in photos.known])

    def of_labels(rows: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(model(photos.images[rows]), present[rows])

    model = Pooled(3)
    train(model, of_labels, len(present), 400, 4e-3)
    one = photos.unseen[0]
    images = seen([one])
    found = limelight.explain_each(model, images, list(SHAPES), classes=SHAPES)
    for result, mask in zip(found, one.masks, strict=True):
        check(result.heatmap[0], mask)
    strip(found, out / "task-labels.png", one.photo)

    def area(scene: Scene) -> float:
        return sum(
            float(mask.float().mean()) * {0: 10, 1: -10, 2: 0}[kind]
            for kind, mask in zip(scene.kinds, scene.masks, strict=True)
        )

    areas = torch.tensor([[area(scene)] for scene in photos.known])

    def of_area(rows: Tensor) -> Tensor:
        return mse_loss(regressor(photos.images[rows]), areas[rows])

    torch.manual_seed(0)
    regressor = Pooled(1, average=True)
    train(regressor, of_area, len(areas), 300, 4e-3)
    found = limelight.explain_each(regressor, images, [0, limelight.Counterfactual(0)])
    for result, mask in zip(found, one.masks, strict=False):
        check(result.heatmap[0], mask)
    strip(found, out / "task-regression.png", one.photo)


def segmentation(photos: Photos, out: Path) -> None:
    """Draw a class where it is predicted, in a mask, and at a pixel."""
    classes = torch.stack(
        [(one.masks * (torch.tensor(one.kinds) + 1)[:, None, None]).amax(0) for one in photos.known]
    )

    def loss_of(rows: Tensor) -> Tensor:
        return cross_entropy(model(photos.images[rows])["out"], classes[rows])

    model = Segmenter()
    train(model, loss_of, len(classes), 300, 4e-3)
    one = photos.unseen[1]
    images = seen([one]).expand(2, -1, -1, -1)
    result = limelight.explain(
        model, images, target=limelight.Region(["disc", "triangle"]), classes=CLASSES
    )
    for heatmap, mask in zip(result.heatmap, one.masks[[0, 2]], strict=True):
        check(heatmap, mask, 3)
    save(result, out / "task-segmentation.png", [one.photo] * 2)


def detection(photos: Photos, out: Path) -> None:
    """Draw the three most probable objects, from one pass."""

    def loss_of(rows: Tensor) -> Tensor:
        wanted = [
            {"boxes": photos.known[row].boxes, "labels": torch.tensor(photos.known[row].kinds) + 1}
            for row in rows.tolist()
        ]
        losses: Tensor = sum(model(list(photos.images[rows]), wanted).values())
        return losses

    model = detector()
    train(model, loss_of, len(photos.known), 250, 4e-3)
    one = photos.unseen[2]
    images = seen([one]).expand(3, -1, -1, -1)
    boxes = limelight.Box(one.boxes, torch.tensor(one.kinds) + 1)
    result = limelight.explain(model, images, target=boxes, method="hirescam", classes=CLASSES)
    for heatmap, mask in zip(result.heatmap, one.masks, strict=True):
        check(heatmap, mask)
    save(result, out / "task-detection.png", [one.photo] * 3)


def embedding(_photos: Photos, out: Path) -> None:
    """Draw two photos side by side, and where they are similar to each of the two."""
    network = limelight.load_model()
    cat, coffee = (limelight.load_photo(find_sample(name)) for name in ("chelsea", "coffee"))
    both = torch.cat([network.preprocess(photo) for photo in (cat, coffee)], 2)[None]
    shown = Image.new("RGB", (448, 224))
    for x, photo in enumerate((cat, coffee)):
        shown.paste(network.preprocess.view(photo).resize((224, 224)), (224 * x, 0))
    pooled = nn.Sequential(*list(network.model.children())[:-1])  # all but the classifier
    with torch.no_grad():
        vectors = [pooled(network.preprocess(photo)[None])[0] for photo in (cat, coffee)]
    targets = [
        limelight.Similarity(vector, text)
        for vector, text in zip(vectors, ("the photo of a cat", "the photo of a cup"), strict=True)
    ]
    found = limelight.explain_each(pooled, both, targets)
    left = torch.zeros(both.shape[2:])
    left[:, :224] = 1
    for result, inside in zip(found, (left, 1 - left), strict=True):
        check(result.heatmap[0], inside, 1.5)
    strip(found, out / "task-embedding.png", shown, 840)


def ids_of(text: str) -> list[int]:
    """Return the tokens of a text."""
    return [WORDS.index(word) for word in text.split()]


def caption(scene: Scene) -> str:
    """Return a caption of a photo with at most two shapes."""
    pairs = list(zip(scene.colours, scene.kinds, strict=True))[:2]
    said = " and ".join(f"a {colour} {SHAPES[kind]}" for colour, kind in pairs)
    return f"<begin> {said} <end>"


def language(photos: Photos, out: Path) -> None:
    """Draw where each prompt fits, and the map of each word of a caption."""
    texts = [f"a {colour} {shape}" for colour in COLOURS for shape in SHAPES]
    ids = torch.tensor([ids_of(text) for text in texts])
    fits = torch.tensor(
        [
            [
                float(
                    text in {f"a {c} {SHAPES[k]}" for c, k in zip(s.colours, s.kinds, strict=True)}
                )
                for text in texts
            ]
            for s in photos.known
        ]
    )

    def of_prompts(rows: Tensor) -> Tensor:
        logits = prompts(photos.images[rows], ids)["logits_per_image"]
        return binary_cross_entropy_with_logits(2 * (logits - 5), fits[rows])

    prompts = Prompts()
    train(prompts, of_prompts, len(fits), 400, 4e-3)
    one = photos.unseen[3]
    asked = [f"a {c} {SHAPES[k]}" for c, k in zip(one.colours, one.kinds, strict=True)]
    asked_of = {"pixel_values": seen([one]), "input_ids": ids}
    found = limelight.explain_each(prompts, asked_of, asked, classes=texts)
    for result, mask in zip(found, one.masks, strict=True):
        check(result.heatmap[0], mask)
    strip(found, out / "task-prompts.png", one.photo)

    random = np.random.default_rng(1)
    known = [draw_scene(random, 2) for _ in range(640)]
    images = with_noise(seen(known))
    sentences = torch.tensor([ids_of(caption(scene)) for scene in known])

    def of_captions(rows: Tensor) -> Tensor:
        logits = captioner(images[rows], sentences[rows, :-1])
        return cross_entropy(
            logits.flatten(0, 1), sentences[rows, 1:].flatten(), label_smoothing=0.1
        )

    torch.manual_seed(0)
    captioner = Captioner()
    train(captioner, of_captions, len(known), 600, 4e-3)
    one = draw_scene(random, 2)
    while "red" in one.colours:  # which this network says where it finds no other colour
        one = draw_scene(random, 2)
    sentence = [WORDS.index("<begin>")]
    with torch.no_grad():
        while sentence[-1] != WORDS.index("<end>") and len(sentence) < 10:
            logits = captioner(seen([one]), torch.tensor([sentence]))
            sentence.append(int(logits[0, -1].argmax()))
    spoken = [WORDS[i] for i in sentence]
    if " ".join(spoken) != caption(one):
        raise RuntimeError(f"The caption is {spoken}, not {caption(one)!r}.")
    words = limelight.each_word(sentence, spoken)
    given = seen([one]), torch.tensor([sentence])
    found = limelight.explain_each(captioner, given, words, method="hirescam")
    told = [found[t - 1] for t, word in enumerate(spoken) if word in (*COLOURS, *SHAPES)]
    for result, shape in zip(told, (0, 0, 1, 1), strict=True):
        check(result.heatmap[0], one.masks[shape])
    strip(told, out / "task-caption.png", one.photo)


def beats(random: np.random.Generator, extra: bool) -> tuple[Tensor, tuple[int, int]]:
    """Return a signal `[1, L]` of beats, and the place of a beat that is too early and too wide."""
    length, at = 512, np.arange(512)
    signal, place = random.normal(0, 0.04, length), (0, 0)
    starts = np.arange(random.integers(20, 60), length - 40, random.integers(58, 70))
    odd = int(random.integers(1, len(starts) - 1))
    for number, start in enumerate(starts.tolist()):
        if extra and number == odd:
            signal += 0.9 * np.exp(-(((at - start + 14) / 9) ** 2))
            signal -= 0.5 * np.exp(-(((at - start - 8) / 9) ** 2))
            place = (start - 32, start + 28)
            continue
        signal += np.exp(-(((at - start) / 2.5) ** 2)) - 0.25 * np.exp(
            -(((at - start - 5) / 2.5) ** 2)
        )
        signal += 0.25 * np.exp(-(((at - start - 22) / 8) ** 2))
    return torch.tensor(signal, dtype=torch.float32)[None], place


def signals(_photos: Photos, out: Path) -> None:
    """Draw which beat made a signal abnormal."""
    random = np.random.default_rng(2)
    strange = torch.arange(480) % 2
    known = torch.stack([beats(random, bool(one))[0] for one in strange])

    def loss_of(rows: Tensor) -> Tensor:
        return cross_entropy(model(known[rows]), strange[rows])

    model = Signal()
    train(model, loss_of, len(known), 200, 4e-3)
    signal, (first, last) = beats(random, True)
    result = limelight.explain(
        model, signal[None], target="an extra beat", classes=["regular", "an extra beat"]
    )
    inside = torch.zeros(signal.shape[1])
    inside[first:last] = 1
    check(result.heatmap[0], inside)
    save(result, out / "task-signal.png")


def scan(random: np.random.Generator, nodule: bool) -> tuple[Tensor, Tensor]:
    """Return a volume `[1, D, H, W]` with bright rods and a ball, and the mask of the ball."""
    z, y, x = np.meshgrid(*[np.arange(n) + 0.5 for n in (16, 32, 32)], indexing="ij")
    volume = random.normal(0, 0.15, z.shape)
    for _ in range(3):  # rods through all slices, slightly tilted
        (a, b), (c, d) = random.uniform(4, 28, 2), random.uniform(-0.4, 0.4, 2)
        volume += 1.0 * ((y - a - c * z) ** 2 + (x - b - d * z) ** 2 < 2.2**2)
    centre = random.uniform(4, 12), *random.uniform(6, 26, 2)
    inside = sum((w - c) ** 2 for w, c in zip((z, y, x), centre, strict=True)) < 3.4**2
    inside = inside & nodule
    volume[inside] += 1.0
    return torch.tensor(volume, dtype=torch.float32)[None], torch.from_numpy(inside)


def film(random: np.random.Generator, way: int) -> tuple[Tensor, Tensor]:
    """Return a video `[3, T, H, W]` in which one of three discs moves, and the mask of that one."""
    count, size, step = 8, 48, 2.6
    dy, dx = ((0, -step), (0, step), (-step, 0), (step, 0))[way]
    y, x = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5, indexing="ij")
    places = list[tuple[float, float]]()
    while len(places) < 3:
        v, u = random.uniform(8, size - 8, 2)
        ends = v + dy * (count - 1), u + dx * (count - 1)
        inside = all(6 < end < size - 6 for end in ends) or places
        if inside and all(max(abs(v - a), abs(u - b)) > 13 for a, b in places):
            places.append((v, u))
    paint = [random.uniform(0.2, 1, 3) for _ in places]
    film = np.full((3, count, size, size), -0.6) + random.normal(0, 0.03, (1, count, size, size))
    moving = np.zeros((count, size, size), dtype=bool)
    for t in range(count):
        for number, (v, u) in reversed(list(enumerate(places))):
            shift = t if number == 0 else 0
            disc = (y - v - dy * shift) ** 2 + (x - u - dx * shift) ** 2 < 4.5**2
            film[:, t, disc] = paint[number][:, None]
            if number == 0:
                moving[t] = disc
    return torch.tensor(film, dtype=torch.float32), torch.from_numpy(moving)


def solids(_photos: Photos, out: Path) -> None:
    """Draw a ball in a volume, and the moving disc of a video."""
    random = np.random.default_rng(3)
    sick = torch.arange(320) % 2
    volumes = torch.stack([scan(random, bool(one))[0] for one in sick])

    def of_volumes(rows: Tensor) -> Tensor:
        return cross_entropy(model(volumes[rows]), sick[rows])

    model = Solid(1, 2, (1, 1, 1))
    train(model, of_volumes, len(volumes), 120, 4e-3)
    volume, inside = scan(random, True)
    result = limelight.explain(model, volume[None], target="nodule", classes=["clear", "nodule"])
    check(result.heatmap[0], inside)
    save(result, out / "task-volume.png")

    ways = torch.arange(320) % 4
    films = torch.stack([film(random, int(way))[0] for way in ways])

    def of_films(rows: Tensor) -> Tensor:
        return cross_entropy(watcher(films[rows]), ways[rows])

    watcher = Solid(3, 4, (1, 2, 2))
    train(watcher, of_films, len(films), 250, 6e-3)
    names = ["moves left", "moves right", "moves up", "moves down"]
    clip, moving = film(random, 1)
    result = limelight.explain(watcher, clip[None], target="moves right", classes=names)
    check(result.heatmap[0], moving)
    save(result, out / "task-video.png")


TASKS = {
    "classification": classification,
    "segmentation": segmentation,
    "detection": detection,
    "embedding": embedding,
    "language": language,
    "signals": signals,
    "solids": solids,
}


def main() -> None:
    """Draw the pictures that the command line selects."""
    told = argparse.ArgumentParser(description="Draw the pictures of docs/tasks.md.")
    told.add_argument("--only", choices=TASKS, action="append", help="this task alone")
    told.add_argument("--out", type=Path, default=Path("docs/images"), help="a folder")
    asked = told.parse_args()
    torch.set_num_threads(1)
    photos = draw_photos()
    for name in asked.only or TASKS:
        began = time.perf_counter()
        torch.manual_seed(0)
        TASKS[name](photos, asked.out)
        print(f"{name}: {time.perf_counter() - began:.0f} s")  # noqa: T201


if __name__ == "__main__":
    main()
