"""Marks planted in photos: does an audit name the class, the place, and whether it is looked at?

windows: Windows of the photos of coco128 in four classes, by the area of the boxes in them. They
    are of few photos, so that they are related: a trap. A stamp, a dark frame or a dark background
    is planted in 70 % of one class, in training and in the audit. In the twins nothing is planted,
    or stamps are dealt regardless of the class.
scenes: Drawn photos of examples/bias, each independent, in two classes, with a stamp on 70 % of
    one class. Networks learn from such photos (planted), from photos with stamps dealt regardless
    of the class (dealt), and from photos without (clean).

Each run prints which share of the photos of other classes is said to be of the planted class,
without and with the cue (how much the network truly uses it), the marks, the kinds of evidence
with the largest z of place and border, with their mean place and their share of the heat, and the
kinds and titles of all findings of the whole search.

    python benchmarks/audit_marks.py scenes --seeds 11 12 --count 50 100
    python benchmarks/audit_marks.py windows ../shared/coco128 --seeds 11
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow.parquet
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import limelight
from limelight.audits.data.views import PhotoViews
from limelight.audits.results import Audit, EvidenceCluster, Mark
from limelight.audits.rows.columns import AuditRows, MapForm, as_arrays, read_form, write_rows
from limelight.audits.rows.looking import Looker, LookPlan
from limelight.audits.rows.peaks import difference_hash, features_under, find_peaks
from limelight.audits.searches.mark_heat import looks_at
from limelight.audits.searches.search import search
from limelight.models.network import Network

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "bias"))
from scenes import draw_scene  # type: ignore[import-not-found]

Random = np.random.Generator

EMBEDDED = limelight.load_model()

#: The classes of windows, and the numbers of the boxes that belong to them.
WINDOW_CLASSES = {
    "person": range(1),
    "animal": range(14, 24),
    "vehicle": range(1, 9),
    "other": (*range(9, 14), *range(24, 80)),
}

#: The share of a class that has what is planted, and of all photos of a twin with dealt stamps.
PLANTED, DEALT = 0.7, 0.3


class Sample(NamedTuple):
    """A photo: its name, its pixels, its class, its source, and the object's boxes in it, 0..1."""

    name: str
    picture: Image.Image
    label: str
    source: str
    boxes: tuple[tuple[float, float, float, float], ...] = ()


@dataclass(frozen=True)
class Kind:
    """A kind of photos, and the small network for them.

    Attributes:
        classes: Their classes.
        side: Their side in pixels.
        blocks: How many blocks of the embedded network are kept as they are.
        channels: How many channels those have.
    """

    classes: tuple[str, ...]
    side: int
    blocks: int
    channels: int


WINDOWS = Kind(tuple(WINDOW_CLASSES), 160, 5, 112)
SCENES = Kind(("doctor", "nurse"), 224, 3, 40)


# Photos


class CocoPhoto(NamedTuple):
    name: str
    picture: Image.Image
    boxes: npt.NDArray[np.floating]


def coco_photos(folder: Path) -> list[CocoPhoto]:
    """Read photos with their boxes: class, left, top, right and bottom in pixels."""
    photos = []
    for path in sorted((folder / "images").glob("*.jpg")):
        marked = folder / "boxes" / f"{path.stem}.txt"
        if not marked.is_file() or not marked.read_text().strip():
            continue
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        given = np.loadtxt(marked, ndmin=2)
        middle, size = given[:, 1:3] * picture.size, given[:, 3:5] * picture.size
        boxes = np.concatenate([given[:, :1], middle - size / 2, middle + size / 2], 1)
        photos.append(CocoPhoto(path.stem, picture, boxes))
    return photos


def draw_windows(
    photos: Sequence[CocoPhoto], counts: dict[str, int], drawn: Random
) -> list[Sample]:
    """Draw windows until each class has as many as are wanted, or 20 000 were tried."""
    found = list[Sample]()
    left = dict(counts)
    for number in range(20_000):
        if not any(left.values()):
            break
        photo = photos[int(drawn.integers(len(photos)))]
        width, height = photo.picture.size
        side = int(drawn.uniform(0.3, 0.75) * min(width, height))
        corner = drawn.integers((0, 0), (width - side + 1, height - side + 1))
        low = np.maximum(photo.boxes[:, 1:3], corner)
        high = np.minimum(photo.boxes[:, 3:5], corner + side)
        area = np.prod(np.maximum(high - low, 0), 1) / side**2
        areas = {
            name: float(area[np.isin(photo.boxes[:, 0], list(numbers))].sum())
            for name, numbers in WINDOW_CLASSES.items()
        }
        best, second = sorted(areas, key=areas.__getitem__)[:-3:-1]
        if areas[best] < 0.15 or areas[best] < 1.5 * areas[second] or not left.get(best):
            continue
        left[best] -= 1
        own = np.isin(photo.boxes[:, 0], list(WINDOW_CLASSES[best])) & (area > 0)
        boxes = np.concatenate([(low - corner) / side, (high - corner) / side], 1)[own]
        x, y = corner.tolist()
        picture = photo.picture.crop((x, y, x + side, y + side))
        picture = picture.resize((WINDOWS.side, WINDOWS.side), Image.Resampling.BILINEAR)
        name = f"{photo.name}_{number:05}.png"
        found.append(Sample(name, picture, best, photo.name, tuple(map(tuple, boxes.tolist()))))
    return found


def draw_scenes(count: int, seed: Sequence[int]) -> list[Sample]:
    """Draw so many photos of each class; caps are dealt evenly."""
    found = []
    for i in range(2 * count):
        scene = draw_scene(i % 2, (i // 2) % 2, [*seed, i])
        name = f"scene{i}x.png"
        found.append(Sample(name, scene.photo, SCENES.classes[i % 2], name))
    return found


# What is planted


def stamp(one: Sample, drawn: Random) -> Image.Image:
    """Write a text over the lower right corner, 60 % opaque and up to 3 pixels off its place."""
    side = one.picture.width
    layer = Image.new("L", one.picture.size)
    at = np.array([0.58, 0.84]) * side + drawn.integers(-3, 4, 2)
    font = ImageFont.load_default(round(side * 0.085))
    ImageDraw.Draw(layer).text(tuple(at.tolist()), "(c) 2024", fill=153, font=font)
    white = Image.new("RGB", one.picture.size, (255, 255, 240))
    return Image.composite(white, one.picture, layer)


def frame(one: Sample, drawn: Random) -> Image.Image:  # noqa: ARG001 - it is always the same
    """Draw a dark frame of 3 pixels."""
    framed = one.picture.copy()
    side = framed.width - 1
    ImageDraw.Draw(framed).rectangle((0, 0, side, side), outline=(18, 18, 20), width=3)
    return framed


def dark(one: Sample, drawn: Random) -> Image.Image:  # noqa: ARG001 - it is always the same
    """Make darker what is outside of the objects' boxes."""
    pixels = np.asarray(one.picture, dtype=np.float32)
    outside = np.ones(pixels.shape[:2], bool)
    side = one.picture.width
    for left, top, right, bottom in one.boxes:
        outside[int(top * side) : int(bottom * side), int(left * side) : int(right * side)] = False
    darker = np.where(outside[..., None], pixels * 0.72, pixels)
    return Image.fromarray(darker.astype(np.uint8))


Plant = Callable[[Sample, Random], Image.Image]

#: Where the stamp can be: left, top, right, bottom.
STAMPED = (0.54, 0.80, 1.0, 0.99)


def planted(samples: Sequence[Sample], plant: Plant, label: str, drawn: Random) -> list[Sample]:
    """Plant something in 70 % of a class; in 30 % of all photos for the class ""."""
    share = PLANTED if label else DEALT
    return [
        one._replace(picture=plant(one, drawn))
        if label in ("", one.label) and drawn.random() < share
        else one
        for one in samples
    ]


# Networks


class SmallNetwork(nn.Module):
    """The first blocks of the embedded network, as they are, and a small head that learns."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        known: Any = EMBEDDED.model
        self.trunk = nn.Sequential(known.conv_stem, known.bn1, known.blocks[: kind.blocks])
        fine = kind.blocks <= 3
        conv = (
            nn.Conv2d(kind.channels, 64, 4, 2, 1, bias=False)
            if fine
            else nn.Conv2d(kind.channels, 64, 3, 1, 1, bias=False)
        )
        self.features = nn.Sequential(
            nn.BatchNorm2d(kind.channels, affine=False), conv, nn.BatchNorm2d(64), nn.ReLU()
        )
        nn.init.constant_(self.features.get_parameter("2.bias"), -1.0)
        self.head = nn.Linear(64, len(kind.classes))

    def judge(self, seen: Tensor) -> Tensor:
        """Return the logits `[B, classes]` for the output of the trunk."""
        logits: Tensor = self.head(self.features(seen).mean((2, 3)))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        return self.judge(self.trunk(x))


class Bench:
    """Trains networks and makes rows, and keeps what the trunk saw of a photo."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.preprocess = replace(EMBEDDED.preprocess, size=(kind.side,) * 2, resize=kind.side)
        self._seen = dict[int, Tensor]()
        self._kept = list[Image.Image]()  # so that an id stays that of its picture

    def images(self, samples: Sequence[Sample]) -> Tensor:
        return torch.stack([self.preprocess(one.picture) for one in samples])

    def seen(self, samples: Sequence[Sample]) -> Tensor:
        """Return what the trunk sees of photos, `[B, K, h, w]`; each is looked at once."""
        new = [one for one in samples if id(one.picture) not in self._seen]
        trunk = SmallNetwork(self.kind).eval().trunk
        with torch.no_grad():
            for start in range(0, len(new), 16):
                part = new[start : start + 16]
                for one, seen in zip(part, trunk(self.images(part)), strict=True):
                    self._seen[id(one.picture)] = seen.half()
                    self._kept.append(one.picture)
        return torch.stack([self._seen[id(one.picture)] for one in samples])

    def train(self, samples: Sequence[Sample], seed: int, epochs: int = 15) -> Network:
        """Train a network; the seed decides on its first weights and its batches."""
        torch.manual_seed(seed)
        model = SmallNetwork(self.kind).eval()
        seen = self.seen(samples)
        kinds = torch.tensor([self.kind.classes.index(one.label) for one in samples])
        learning = [*model.features.parameters(), *model.head.parameters()]
        batches = -(-len(kinds) // 20)
        optimizer = torch.optim.AdamW(learning, 2e-3, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, 2e-3, total_steps=epochs * batches
        )
        model.features.train()
        for _ in range(epochs):
            for rows in torch.split(torch.randperm(len(kinds)), 20):
                loss = cross_entropy(model.judge(seen[rows].float()), kinds[rows])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
        return Network("small", model.eval(), self.preprocess, self.kind.classes)

    def looked(self, network: Network, samples: Sequence[Sample]) -> Iterator[dict[str, Any]]:
        """Yield the columns of each photo that `Looker` makes, in the time of the head alone.

        For this head Grad-CAM equals CAM, the sum of the last activations weighed by the row of the
        class in the last layer.
        """
        model, seen = network.model, self.seen(samples).float()
        with torch.no_grad():
            last = model.get_submodule("features")(seen)
            logits = model.get_submodule("head")(last.mean((2, 3)))
            probability, index = logits.softmax(1).max(1)
            weights = model.get_parameter("head.weight")[index]
            heat = torch.einsum("bk,bkhw->bhw", weights, last).clamp(min=0)
        heat = heat / heat.flatten(1).amax(1).clamp(min=1e-12)[:, None, None]
        peaks = find_peaks(heat)
        features = features_under(heat, seen, peaks)
        hashes = difference_hash(self.images(samples))
        for b in range(len(samples)):
            name = self.kind.classes[int(index[b])]
            yield {
                "look": hashes[b],
                "predicted": name,
                "probability": float(probability[b]),
                "explained": name,
                "status": "ok" if bool(heat[b].any()) else "flat",
                "map": heat[b].flatten().numpy(),
                "map_scale": 1.0,
                "peak_cells": peaks[b].tolist(),
                "peak_heat": heat[b].flatten()[peaks[b]].numpy(),
                "peak_features": features[b].numpy(),
            }

    def check(self, network: Network, samples: Sequence[Sample]) -> float:
        """Return the largest difference between these maps and those of `Looker`."""
        plan = LookPlan.make(network, self.images(samples[:1]))
        found = Looker(network, plan).look(self.images(samples))
        pairs = zip(found, self.looked(network, samples), strict=True)
        return max(float(np.abs(a.columns["map"] - b["map"]).max()) for a, b in pairs)

    def rows(self, network: Network, samples: Sequence[Sample], *, groups: bool) -> AuditRows:
        """Look at photos, and return their rows as they would be read from a file."""
        rows = [
            {
                "photo": one.name,
                "digest": hashlib.sha256(one.picture.tobytes()).hexdigest(),
                "width": one.picture.width,
                "height": one.picture.height,
                "group": one.source if groups else None,
                "label": one.label,
                **looked,
                "right": looked["predicted"] == one.label,
            }
            for one, looked in zip(samples, self.looked(network, samples), strict=True)
        ]
        side = round(len(rows[0]["map"]) ** 0.5)
        file = io.BytesIO()
        write_rows(file, rows, MapForm((side, side), self.kind.channels))
        table = pyarrow.parquet.read_table(io.BytesIO(file.getvalue()))
        return as_arrays(table, read_form(table.schema, "memory"))

    def views(self, samples: Sequence[Sample]) -> PhotoViews:
        pictures = {one.name: one.picture for one in samples}
        return PhotoViews(self.preprocess, lambda photo, _: pictures[photo])


# Runs


def use_of(bench: Bench, network: Network, pool: Sequence[Sample], plant: Plant, label: str) -> str:
    """Return how many photos of other classes are said to be of one, without and with the cue."""
    others = [one for one in pool if one.label != label][:100]
    drawn = np.random.default_rng(0)
    cued = [one._replace(picture=plant(one, drawn)) for one in others]
    shares = []
    for samples in (others, cued):
        said = [looked["predicted"] == label for looked in bench.looked(network, samples)]
        shares.append(f"{np.mean(said):.0%}")
    return " -> ".join(shares)


def audit(bench: Bench, network: Network, samples: Sequence[Sample], *, groups: bool) -> Audit:
    """Make rows, and search them as `limelight.audit` does."""
    rows = bench.rows(network, samples, groups=groups)
    return search(rows, len(rows), {}, bench.views(samples))


def overlap(box: Sequence[float], other: Sequence[float]) -> float:
    """Return the share of a box that lies in another."""
    across = min(box[2], other[2]) - max(box[0], other[0])
    down = min(box[3], other[3]) - max(box[1], other[1])
    return max(across, 0) * max(down, 0) / ((box[2] - box[0]) * (box[3] - box[1]))


def shown_mark(mark: Mark) -> str:
    inside = overlap(mark.box, STAMPED)
    return (
        f"{mark.label} p={mark.p:.3f} t={mark.strength:.1f} n={mark.photos} stamp={inside:.0%} "
        f"lift={mark.lift:.2f} without={mark.lift_without:.2f} t={mark.heat_t:.1f} "
        f"looks={looks_at(mark)}"
    )


def shown_evidence(evidence: Sequence[EvidenceCluster], figure: str) -> str:
    """Return the first kinds of evidence by a figure, with their mean place."""
    known = [each for each in evidence if np.isfinite(getattr(each, figure))]
    known.sort(key=lambda each: -getattr(each, figure))
    shown = []
    for each in known[:3]:
        down, across = each.centre
        z = getattr(each, figure)
        shown.append(f"{each.predicted} {z:.1f} @({down:.2f},{across:.2f}) {each.heat_share:.0%}")
    return f"{', '.join(shown)} of {len(evidence)}"


def report(title: str, found: Audit, start: float) -> None:
    right = np.nanmean(found.rows.right)
    print(f"== {title}: right {right:.2f}, {time.perf_counter() - start:.0f} s")
    for mark in found.marks:
        print(f"   mark {shown_mark(mark)}")
    print(f"   place {shown_evidence(found.evidence, 'place')}")
    print(f"   border {shown_evidence(found.evidence, 'border')}")
    for warning in found.warnings:
        print(f"   warning {warning.partition('. ')[0]}")
    for finding in found.findings:
        looks = ""
        if finding.mark is not None:
            looks = "; used" if "; the network looks at it" in finding.sentence else "; not used"
        print(f"   finding {finding.kind}: {finding.title}{looks}")
    print(f"   findings {len(found.findings)}", flush=True)


def scenes(seed: int, counts: Sequence[int], twins: int) -> None:
    """Audit drawn photos with stamps on one class."""
    bench, drawn = Bench(SCENES), np.random.default_rng([seed, 5])
    learned = draw_scenes(200, [seed, 100])
    pool = draw_scenes(max(counts), [seed, 200])
    known = {"clean": bench.train(learned, seed)}
    known["dealt"] = bench.train(planted(learned, stamp, "", drawn), seed)
    print(f"maps differ from those of Looker by {bench.check(known['clean'], pool[:8]):.1e}")
    for label in SCENES.classes:
        known["planted"] = bench.train(planted(learned, stamp, label, drawn), seed)
        audited = planted(pool, stamp, label, drawn)
        for count in counts:
            for name, network in known.items():
                start = time.perf_counter()
                run = audit(bench, network, audited[: 2 * count], groups=False)
                use = use_of(bench, network, pool, stamp, label)
                report(f"scenes {seed} stamp on {label} n={count} {name} {use}", run, start)
    for twin in range(twins):
        start = time.perf_counter()
        own = draw_scenes(max(counts), [seed, 300 + twin])
        if twin % 2:
            own = planted(own, stamp, "", drawn)
        report(
            f"scenes seed {seed} twin {twin}",
            audit(bench, known["clean"], own, groups=False),
            start,
        )


def windows(folder: Path, seed: int, count: int, twins: int, plants: Sequence[str]) -> None:
    """Audit windows of few photos."""
    bench, drawn = Bench(WINDOWS), np.random.default_rng([seed, 6])
    photos = coco_photos(folder)
    order = drawn.permutation(len(photos))
    half = len(photos) * 60 // 125
    wanted = dict.fromkeys(WINDOWS.classes, 150)
    learned = draw_windows([photos[i] for i in order[:half]], wanted, drawn)
    rest = [photos[i] for i in order[half:]]
    pool = draw_windows(rest, dict.fromkeys(wanted, count), drawn)
    for label in WINDOWS.classes:
        own = [one for one in pool if one.label == label]
        print(f"{label}: {len(own)} windows of {len({one.source for one in own})} photos")
    for name in plants:
        plant: Plant = {"stamp": stamp, "frame": frame, "dark": dark}[name]
        for label in WINDOWS.classes:
            start = time.perf_counter()
            taught = bench.train(planted(learned, plant, label, drawn), seed)
            run = audit(bench, taught, planted(pool, plant, label, drawn), groups=True)
            use = use_of(bench, taught, pool, plant, label)
            report(f"windows {seed} {name} on {label} {use}", run, start)
    for twin in range(twins):
        start = time.perf_counter()
        dealt = twin % 2 == 1
        lesson = planted(learned, stamp, "", drawn) if dealt else learned
        own = draw_windows(rest, dict.fromkeys(wanted, count), drawn)
        own = planted(own, stamp, "", drawn) if dealt else own
        network = bench.train(lesson, seed + twin)
        run = audit(bench, network, own, groups=bool(twin % 4 > 1))
        report(f"windows seed {seed} twin {twin}", run, start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["scenes", "windows"])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--seeds", type=int, nargs="+", default=[11])
    parser.add_argument("--count", type=int, nargs="+", default=[50, 100])
    parser.add_argument("--twins", type=int, default=10)
    parser.add_argument("--plants", nargs="*", default=["stamp", "frame", "dark"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    for seed in args.seeds:
        if args.what == "scenes":
            scenes(seed, args.count, args.twins)
        else:
            windows(args.folder, seed, max(args.count), args.twins, args.plants)


if __name__ == "__main__":
    main()
