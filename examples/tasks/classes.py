"""Classification, regression, ensembles."""

from __future__ import annotations

from pathlib import Path

import torch
from networks import Pooled, train
from pictures import check, strip
from shapes import SHAPES, Photos, Scene, seen, two_photos
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

import limelight


def classification(_photos: Photos, out: Path) -> None:
    """Draw two classes of two photos side by side."""
    network = limelight.load_model()
    both, shown = two_photos(network)
    found = limelight.explain_each(network, both, ["tabby", "espresso"])
    left = torch.zeros(both.shape[2:])
    left[:, :224] = 1
    for result, inside in zip(found, (left, 1 - left), strict=True):
        check(result.heatmap[0], inside, 1.5)
    strip(found, out / "task-classes.png", shown, wide=700)


def labels(photos: Photos, out: Path) -> None:
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


class Ensemble(nn.Module):
    """The mean of the logits of two networks."""

    def __init__(self, a: nn.Module, b: nn.Module) -> None:
        """Keep both."""
        super().__init__()
        self.a, self.b = a, b

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean logits."""
        mean: Tensor = (self.a(x) + self.b(x)) / 2
        return mean


def ensemble(photos: Photos, out: Path) -> None:
    """Draw what each of two members looked at, and both: one looks for discs, one for red."""
    discs = torch.tensor([[float(0 in scene.kinds)] for scene in photos.known])
    reds = torch.tensor([[float("red" in scene.colours)] for scene in photos.known])
    members = []
    for present in (discs, reds):
        member = Pooled(1)

        def loss_of(rows: Tensor, member: nn.Module = member, present: Tensor = present) -> Tensor:
            return binary_cross_entropy_with_logits(member(photos.images[rows]), present[rows])

        members.append(train(member, loss_of, len(present), 200, 4e-3))
    one = photos.unseen[2]
    layers = ["a.last", "b.last"]
    model, images = Ensemble(*members), seen([one])
    comparison = limelight.compare(model, images, methods=["gradcam"], targets=[0], layers=layers)
    fused = limelight.explain(model, images, target=0, layer=layers, fuse="mean")
    disc, red = one.masks[one.kinds.index(0)], one.masks[one.colours.index("red")]
    found = [*comparison, fused]
    for result, mask in zip(found, (disc, red, disc | red), strict=True):
        check(result.heatmap[0], mask)
    titles = ("a, which knows discs", "b, which knows red", "the mean of both maps")
    strip(found, out / "task-ensemble.png", one.photo, titles)
