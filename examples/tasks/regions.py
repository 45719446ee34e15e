"""Segmentation, masks, detection, keypoints, depth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from networks import Maps, Masks, Segmenter, detector, train
from pictures import check, save, strip
from shapes import CLASSES, COLOURS, SHAPES, SIZE, Photos, Scene, seen
from torch import Tensor, nn
from torch.nn.functional import (
    avg_pool2d,
    binary_cross_entropy_with_logits,
    cross_entropy,
    interpolate,
    mse_loss,
)

import limelight


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

    sides = ("left", "top", "right", "bottom")
    edges = [limelight.Edge(side, one.boxes[0], 1) for side in sides]
    found = limelight.explain_each(model, images[:1], edges, method="hirescam", classes=CLASSES)
    # What moves an edge out is evidence against the coordinates of the left and the top one.
    outwards = [
        replace(each, raw=-each.raw) if side in ("left", "top") else each
        for side, each in zip(sides, found, strict=True)
    ]
    for each in outwards:
        check(each.heatmap_at((SIZE, SIZE))[0], one.masks[0])
    titles = [
        f"{side} edge at {float(each.score):.1f}" for side, each in zip(sides, found, strict=True)
    ]
    strip(outwards, out / "task-edges.png", one.photo, titles)


def masks(photos: Photos, out: Path) -> None:
    """Draw the mask at each of three pixels."""
    none = len(SHAPES)
    classes = torch.full((len(photos.known), len(COLOURS)), none)
    wanted = torch.zeros(len(photos.known), len(COLOURS), SIZE, SIZE)
    for row, scene in enumerate(photos.known):
        for kind, colour, mask in zip(scene.kinds, scene.colours, scene.masks, strict=True):
            query = list(COLOURS).index(colour)
            classes[row, query], wanted[row, query] = kind, mask.float()
    wanted = avg_pool2d(wanted, 4)

    def loss_of(rows: Tensor) -> Tensor:
        output = model(photos.images[rows])
        logits, drawn = output["class_queries_logits"], output["masks_queries_logits"]
        there = classes[rows] != none
        of_masks = binary_cross_entropy_with_logits(drawn[there], wanted[rows][there])
        return cross_entropy(logits.flatten(0, 1), classes[rows].flatten()) + of_masks

    model = Masks()
    train(model, loss_of, len(classes), 400, 4e-3)
    one = photos.unseen[5]
    middles = [((y1 + y2) / 2, (x1 + x2) / 2) for x1, y1, x2, y2 in one.boxes.tolist()]
    targets = [limelight.Mask((int(y), int(x))) for y, x in middles]
    found = limelight.explain_each(model, seen([one]), targets, method="hirescam", classes=SHAPES)
    for result, mask in zip(found, one.masks, strict=True):
        check(result.heatmap[0], mask)
    strip(found, out / "task-masks.png", one.photo)


def keypoints(photos: Photos, out: Path) -> None:
    """Draw the three corners of a triangle."""
    names = ("top", "left foot", "right foot")
    y, x = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")

    def distances(scene: Scene) -> Tensor:
        """Return how far each pixel lies from each corner of the triangle, `[3, H, W]`."""
        if 2 not in scene.kinds:
            return torch.full((3, SIZE, SIZE), torch.inf)
        left, top, right, bottom = scene.boxes[scene.kinds.index(2)].tolist()
        corners = (((left + right) / 2, top), (left, bottom), (right, bottom))
        return torch.stack([((x - u) ** 2 + (y - v) ** 2).sqrt() for u, v in corners])

    peaks = torch.stack([torch.exp(-((distances(scene) / 5) ** 2)) for scene in photos.known])
    peaks = avg_pool2d(peaks, 4)

    def loss_of(rows: Tensor) -> Tensor:
        return 100 * mse_loss(model(photos.images[rows]), peaks[rows])

    model = Maps(len(names))
    train(model, loss_of, len(peaks), 250, 4e-3)
    one = photos.unseen[6]
    targets = [limelight.Keypoint(name) for name in names]
    found = limelight.explain_each(model, seen([one]), targets, method="hirescam", classes=names)
    for result, distance in zip(found, distances(one), strict=True):
        check(result.heatmap[0], distance < 12)
    strip(found, out / "task-keypoints.png", one.photo)


class Depth(nn.Module):
    """How near each pixel is, as `predicted_depth`, as networks for depth return it."""

    def __init__(self) -> None:
        """Make it."""
        super().__init__()
        self.maps = Maps(1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the nearness, `[B, H, W]`."""
        near = interpolate(self.maps(x), x.shape[2:], mode="bilinear", align_corners=False)
        return {"predicted_depth": near[:, 0]}


def depth(photos: Photos, out: Path) -> None:
    """Draw how near two shapes are; a larger shape is nearer."""

    def nearness(scene: Scene) -> Tensor:
        widths = (scene.boxes[:, 2] - scene.boxes[:, 0]) / 20
        return (scene.masks * widths[:, None, None]).amax(0)

    near = torch.stack([nearness(scene) for scene in photos.known])

    def loss_of(rows: Tensor) -> Tensor:
        return mse_loss(model(photos.images[rows])["predicted_depth"], near[rows])

    model = Depth()
    train(model, loss_of, len(near), 150, 4e-3)
    one = photos.unseen[7]
    images = seen([one])
    targets = [limelight.Region(where=mask) for mask in one.masks]
    found = limelight.explain_each(
        model, images, targets, method="hirescam", output="predicted_depth"
    )
    for result, mask in zip(found, one.masks, strict=True):
        check(result.heatmap[0], mask)
    titles = [f"nearness  {float(result.score):.2f}" for result in found]
    strip(found, out / "task-depth.png", one.photo, titles)
