"""Embeddings, and pairs of pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from networks import Pooled, train
from pictures import check, side_by_side, strip
from shapes import Photos, draw_with, seen, two_photos
from torch import Tensor, nn
from torch.nn.functional import mse_loss, normalize

import limelight


def embedding(_photos: Photos, out: Path) -> None:
    """Draw two photos side by side, and where they are similar to each of the two."""
    network = limelight.load_model()
    both, shown = two_photos(network)
    pooled = nn.Sequential(*list(network.model.children())[:-1])  # all but the classifier
    with torch.no_grad():
        vectors = [pooled(half)[0] for half in both.chunk(2, 3)]
    texts = "the cat", "the cup"
    targets = [limelight.Similarity(*pair) for pair in zip(vectors, texts, strict=True)]
    found = limelight.explain_each(pooled, both, targets)
    left = torch.zeros(both.shape[2:])
    left[:, :224] = 1
    for result, inside in zip(found, (left, 1 - left), strict=True):
        check(result.heatmap[0], inside, 1.5)
    titles = [
        f"like {text}  {float(result.score):.2f}" for text, result in zip(texts, found, strict=True)
    ]
    strip(found, out / "task-embedding.png", shown, titles, wide=700)


def pair(photos: Photos, out: Path) -> None:
    """Draw where two photos are alike, on each of them: both show a disc."""
    present = torch.tensor([[float(k in scene.kinds) for k in range(3)] for scene in photos.known])
    shared = normalize(present)

    def loss_of(rows: Tensor) -> Tensor:
        vectors = normalize(model(photos.images[rows]))
        return mse_loss(vectors @ vectors.T, shared[rows] @ shared[rows].T)

    model = Pooled(32)
    train(model, loss_of, len(present), 400, 4e-3)
    random = np.random.default_rng(4)
    scenes = [draw_with(random, kinds) for kinds in ((0, 1), (0, 2))]
    result = limelight.explain(model, seen(scenes), target=limelight.Similarity())
    for heatmap, scene in zip(result.heatmap, scenes, strict=True):
        check(heatmap, scene.masks[0])
    pictures = [scene.photo for scene in scenes]
    overlays = result.overlay(pictures)
    panels = []
    for number, (photo, overlay) in enumerate(zip(pictures, overlays, strict=True)):
        panels += [(f"photo {number}", photo), (f"cosine  {result.score[number]:.2f}", overlay)]
    side_by_side(panels, out / "task-pair.png")
