"""Does it work on a network of my own, whose answer is a number?

    python examples/own_network.py

The network learns in seconds by how many the rings in a picture outnumber the crosses. limelight is
told nothing about it but where the number is: it finds the layer and the grid. The map is signed:
red places make the number larger, and blue ones make it smaller.
"""

import torch
from drawn import draw, stage, train
from torch import Tensor, nn

import limelight


class Counter(nn.Module):
    """Convolutions, a sum over the picture, and a number, which is one entry of a dict."""

    def __init__(self) -> None:
        """Make it."""
        super().__init__()
        self.edges, self.shapes = stage(1, 16), nn.Sequential(stage(16, 24), stage(24, 32))
        self.number = nn.Linear(32, 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the number, `[B, 1]`, beside what it was made from."""
        cells = self.shapes(self.edges(images))
        return {"cells": cells, "difference": self.number(cells.sum((2, 3)) / 64)}


def loss_of() -> Tensor:
    """Return the mean square error on new pictures."""
    scene = draw(32, shapes=4)
    wanted = (1 - 2 * scene.kinds).sum(1)
    return (model(scene.images)["difference"][:, 0] - wanted).square().mean()


torch.manual_seed(0)
model = Counter()
train(model, loss_of)

scene = draw(1, shapes=4)
result = limelight.explain(model, scene.images, target=0, output="difference")
print(f"The answer is {result.score[0]:.1f}, and {(1 - 2 * scene.kinds).sum()} is right.")
style = limelight.FigureStyle(width="200mm", dpi=100)
path = result.save("own_network.jpg", picture="signed", style=style)
print("The picture is", path.resolve())
