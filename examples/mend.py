"""My network looks at a mark in the corner. How do I find that out, and how do I stop it?

    python examples/mend.py

In the training pictures 97 % of the crosses and 3 % of the rings have a mark, and so the network
learns the mark. On new pictures, where the mark says nothing, its maps show why it errs. A copy
learns on from such pictures, with one more loss: the share of its heat outside the shape's box.
"""

from copy import deepcopy
from pathlib import Path

import torch
from drawn import NAMES, classifier, draw, train
from matplotlib import pyplot
from torch import Tensor
from torch.nn.functional import cross_entropy

import limelight
from limelight.training import outside

MARK = torch.zeros(1, 64, 64)
MARK[:, :12, :12] = 1  # where it may be, in pixels of the picture


def draw_marked(count: int, share: float = 0.97) -> tuple[Tensor, Tensor, Tensor]:
    """Return pictures, classes, boxes; this share of crosses is marked, and 1 - share of rings."""
    scene = draw(count, shapes=1)
    images, kinds = 0.4 * scene.images + 0.1 * torch.randn(count, 1, 64, 64), scene.kinds[:, 0]
    marked = torch.rand(count) < torch.where(kinds == 1, share, 1 - share)
    images[marked, :, 1:7, 1:7] = 1
    return images, kinds, scene.boxes


def plain_loss() -> Tensor:
    """Return the cross entropy of the biased network."""
    images, kinds, _ = draw_marked(32)
    return cross_entropy(biased(images), kinds)


def mending_loss() -> Tensor:
    """Return the cross entropy of its copy, and twice the share of heat outside the box."""
    images, kinds, boxes = draw_marked(32)
    why = limelight.Contrast(kinds, against=1 - kinds, weight=1)  # both ways to use a mark
    result = limelight.explain(mended, images, target=why, differentiable=True)
    return cross_entropy(mended(images), kinds) + 2 * outside(result, list(boxes))


torch.manual_seed(0)
biased = classifier()
train(biased, plain_loss, steps=60, rate=5e-3)
mended = deepcopy(biased)
train(mended, mending_loss, steps=80, rate=5e-3)

torch.manual_seed(4)
images, kinds, _ = draw_marked(400, share=0.5)
figure, rows = pyplot.subplots(2, 6, figsize=(8, 3), layout="constrained")
for (name, model), row in zip({"biased": biased, "mended": mended}.items(), rows, strict=True):
    right = (model(images).argmax(1) == kinds).float().mean()
    result = limelight.explain(model, images, classes=NAMES)
    heat = result.heatmap[result.index == 1]
    on_mark = (heat * MARK).sum() / heat.sum()
    print(f'{name}: {right:.0%} of 400 are right, {on_mark:.0%} of the heat of "cross" is there.')
    for axes, overlay, label in zip(row, result.overlay(), result.label, strict=False):
        axes.imshow(overlay)
        axes.set_title(label, fontsize=9)
        axes.set(xticks=[], yticks=[])
    row[0].set_ylabel(name)
figure.savefig("mend.jpg", dpi=110)
print("The picture is", Path("mend.jpg").resolve())
