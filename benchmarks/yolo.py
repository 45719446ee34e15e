"""Does the heat of a box lie on what is in the box? A YOLO, trained on shapes in minutes.

The trainer of ultralytics trains a nano network on pictures with two or three shapes each, on the
CPU, without a download. Then every shape of ten new pictures is explained by its box. Chance is the
share of the picture that the shape's box covers. The script also measures what a map costs, over
the detector's forward, and draws a figure.

    pip install 'limelight[yolo]'
    python benchmarks/yolo.py --out docs/images/yolo.jpg
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

import limelight
from measure import taken

#: The side of a picture in pixels, and what is in it.
SIDE, NAMES = 160, ["disc", "square", "triangle"]


def shapes(draw: np.random.Generator) -> tuple[Image.Image, list[tuple[int, list[int]]]]:
    """Draw a picture, and return it with each shape's class and box."""
    noise = draw.normal(110, 18, (SIDE, SIDE, 3)).clip(0, 255).astype(np.uint8)
    picture = Image.fromarray(noise)
    pen, found = ImageDraw.Draw(picture), list[tuple[int, list[int]]]()
    middles = list[tuple[int, int, int]]()
    for _ in range(60):
        radius = int(draw.integers(14, 30))
        x, y = map(int, draw.integers(radius + 2, SIDE - radius - 2, 2))
        if any(max(abs(x - a), abs(y - b)) <= radius + r + 4 for a, b, r in middles):
            continue
        middles.append((x, y, radius))
        box = [x - radius, y - radius, x + radius, y + radius]
        kind, colour = int(draw.integers(3)), tuple(map(int, draw.integers(0, 255, 3)))
        if kind == 0:
            pen.ellipse(box, fill=colour)
        elif kind == 1:
            pen.rectangle(box, fill=colour)
        else:
            pen.polygon([(x, box[1]), (box[0], box[3]), (box[2], box[3])], fill=colour)
        found.append((kind, box))
        if len(found) == 3:
            break
    return picture, found


def train(folder: Path, epochs: int) -> Any:
    """Train a YOLO on 320 pictures."""
    from ultralytics import YOLO

    draw = np.random.default_rng(0)
    for split, count in (("train", 320), ("val", 8)):
        images, labels = folder / "images" / split, folder / "labels" / split
        for each in (images, labels):
            each.mkdir(parents=True)
        for number in range(count):
            picture, found = shapes(draw)
            picture.save(images / f"{number:04d}.png")
            lines = [
                f"{kind} {(x1 + x2) / 2 / SIDE} {(y1 + y2) / 2 / SIDE} "
                f"{(x2 - x1) / SIDE} {(y2 - y1) / SIDE}"
                for kind, (x1, y1, x2, y2) in found
            ]
            (labels / f"{number:04d}.txt").write_text("\n".join(lines))
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(NAMES))
    data = folder / "data.yaml"
    data.write_text(f"path: {folder}\ntrain: images/train\nval: images/val\nnames:\n{names}")
    yolo = YOLO("yolo11n.yaml")
    quiet = {"plots": False, "val": False, "verbose": False, "project": str(folder), "workers": 0}
    yolo.train(
        data=str(data),
        epochs=epochs,
        imgsz=SIDE,
        device="cpu",
        amp=False,
        optimizer="AdamW",
        lr0=0.01,
        mosaic=0.0,
        warmup_epochs=1,
        cache="ram",
        **quiet,
    )
    return yolo


def as_input(picture: Image.Image) -> Tensor:
    """Return a picture as the network's input, `[1, 3, H, W]` in [0, 1]."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255


def share_inside(heat: Tensor, box: list[int]) -> float:
    """Return the share of a map's heat that lies in a box."""
    x1, y1, x2, y2 = box
    return float(heat[y1:y2, x1:x2].sum() / heat.sum())


def evaluate(yolo: Any, method: str | None) -> list[str]:
    """Explain every shape of ten new pictures; return a line for each, and one for all.

    None stands for the default method.
    """
    draw, lines = np.random.default_rng(1), list[str]()
    times, others, missed = list[float](), list[float](), 0
    for number in range(10):
        picture, found = shapes(draw)
        for kind, box in found:
            target = limelight.Box(box, NAMES[kind], iou=0.4)
            try:
                each = limelight.explain(yolo, as_input(picture), target=target, method=method)
            except limelight.TargetError:
                missed += 1
                continue
            x1, y1, x2, y2 = box
            chance = (x2 - x1) * (y2 - y1) / SIDE**2
            inside = share_inside(each.heatmap[0], box) / chance if each.status[0].ok else 0.0
            times.append(inside)
            rest = [share_inside(each.heatmap[0], other) for _, other in found if other != box]
            others.append(max(rest, default=0.0) / chance if each.status[0].ok else 0.0)
            lines.append(
                f"picture {number}, {NAMES[kind]}: {inside:.1f} times chance, on another shape "
                f"{others[-1]:.2f}, {each.status[0].name}, {each.layer}"
            )
    above = np.mean(np.array(times) >= 3)
    lines.append(
        f"{method or 'default'}: {len(times)} boxes, {missed} not proposed; times chance: least "
        f"{min(times):.1f}, median {np.median(times):.1f}, at least 3 in {above:.0%}; on another "
        f"shape: median {np.median(others):.2f}, most {max(others):.2f} times chance"
    )
    return lines


def draw_boxes(yolo: Any, path: Path) -> None:
    """Draw the map of each box of the first new picture, a row each."""
    picture, found = shapes(np.random.default_rng(1))
    boxes = torch.tensor([box for _, box in found]).float()
    images = as_input(picture).expand(len(boxes), -1, -1, -1).contiguous()
    target = limelight.Box(boxes, [NAMES[kind] for kind, _ in found], iou=0.4)
    result = limelight.explain(yolo, images, target=target)
    result.save(path, photos=[picture] * len(boxes))


def costs(yolo: Any) -> list[str]:
    """Return what maps cost, over the detector's forward."""
    image = as_input(shapes(np.random.default_rng(1))[0])
    network = yolo.model.eval()

    def forward() -> None:
        with torch.no_grad():
            network(image)

    calls: dict[str, Callable[[], Any]] = {
        "one box": partial(limelight.explain, yolo, image),
        "ten boxes": partial(limelight.explain_each, yolo, image, limelight.top(10)),
    }
    lines = []
    for name, call in calls.items():
        call()
        ratio = min(taken(call) for _ in range(9)) / min(taken(forward) for _ in range(9))
        lines.append(f"a map for {name}: {ratio:.1f} forwards")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--weights", type=Path, help="a network trained before")
    parser.add_argument("--out", type=Path, help="the figure")
    args = parser.parse_args()
    if args.weights:
        from ultralytics import YOLO

        yolo = YOLO(args.weights)
    else:
        yolo = train(Path(tempfile.mkdtemp()), args.epochs)
    for method in ("gradcam", "layercam", "hirescam", None):
        lines = evaluate(yolo, method)
        print("\n".join(lines[-1:] if method else lines))
    print("\n".join(costs(yolo)))
    if args.out:
        draw_boxes(yolo, args.out)


if __name__ == "__main__":
    main()
