"""How far can I trust this map?

    python examples/trust.py

A network learns in seconds whether a picture has a cross. Where the crosses are is known, so each
map is measured by how much of its heat lies on them; and by insertion, how fast the probability
comes back when the hottest pixels do. Both are shown beside chance: a random map, and a blob in the
centre. Then the weights become random: a map that stays the same does not show the network.
"""

import torch
from drawn import classifier, draw, train
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import limelight


def loss_of() -> Tensor:
    """Return the cross entropy on new pictures."""
    scene = draw(32, shapes=2)
    return cross_entropy(model(scene.images), scene.kinds.amax(1))


torch.manual_seed(0)
model = classifier(nn.AdaptiveMaxPool2d)
train(model, loss_of)

scene = draw(64, shapes=2)
both = scene.kinds.sum(1) == 1  # a ring and a cross
images, crosses = scene.images[both], scene.boxes[both][scene.kinds[both] == 1]
methods = ["gradcam", "layercam", "saliency", "guided-backprop"]
metrics = ["energy-pointing", "insertion:steps=5"]
measured = limelight.compare(
    model, images, methods=methods, targets=1, metrics=metrics, objects=list(crosses[:, None])
).measured
for metric in metrics:
    print(measured.ranking(metric)[0].sentence)
print(measured.verdict().sentence)
sane = limelight.sanity(model, images[:16], methods=methods, target=1, steps=3)
print("With random weights:", sane.verdicts)
style = limelight.FigureStyle(width="250mm", dpi=90)
print("The picture is", measured.save("trust.jpg", style=style).resolve())
