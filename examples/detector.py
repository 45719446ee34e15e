"""Why does my detector, say a YOLO, find this object in this box?

    python examples/detector.py

A detector with the form of a YOLO, a box and logits for each cell of a grid, learns in seconds to
find rings and crosses. It returns `limelight.Detected`, and that is all that limelight has to know.
The score is the logit of one box. For boxes the default is hirescam: the weights of gradcam are
means over the whole picture, and so its map also shows other objects of the same class.
"""

import torch
from drawn import NAMES, draw, stage, train
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

import limelight

ROWS, COLUMNS = (torch.cartesian_prod(*[torch.arange(4.0, 64, 8)] * 2)).unbind(1)
MIDDLES = torch.stack([COLUMNS, ROWS] * 2, 1)  # of the 64 cells: x, y, x, y


class Detector(nn.Module):
    """A box and two logits for each of 8 x 8 cells."""

    def __init__(self) -> None:
        """Make it."""
        super().__init__()
        self.body, self.head = (
            nn.Sequential(stage(1, 16), stage(16, 24), stage(24, 32)),
            nn.Conv2d(32, 4 + 2, 1),
        )

    def forward(self, images: Tensor) -> limelight.Detected:
        """Return the logits, `[B, 64, 2]`, and the boxes, `[B, 64, 4]`."""
        numbers = self.head(self.body(images)).flatten(2).mT
        return limelight.Detected(logits=numbers[..., 4:], boxes=MIDDLES + 8 * numbers[..., :4])


def loss_of() -> Tensor:
    """Return how wrong classes and boxes are, on new pictures."""
    scene = draw(32)
    found = model(scene.images)
    middles = (scene.boxes[..., :2] + scene.boxes[..., 2:]) / 2
    column, row = (middles // 8).long().unbind(2)
    picture, cell = torch.arange(32)[:, None], 8 * row + column
    wanted = torch.zeros(32, 64, 2)
    wanted[picture, cell, scene.kinds] = 1
    off = torch.stack(found.boxes)[picture, cell] - scene.boxes
    wrong = binary_cross_entropy_with_logits(
        torch.stack(found.logits), wanted, pos_weight=torch.tensor(5.0)
    )
    return 10 * wrong + off.abs().mean()


torch.manual_seed(0)
model = Detector()
train(model, loss_of)

maps = limelight.compare(
    model,
    draw(1).images,
    methods="hirescam gradcam",
    targets=limelight.top(2),
    layers="body.0",
    classes=NAMES,
)
for result in maps:
    share = result.rows()[0]["share_in_region"]
    print(f"{result.method}: {share:.0%} of its heat is where the {result.label[0]} is.")
style = limelight.FigureStyle(width="200mm", dpi=85)
print("The picture is", maps.save("detector.jpg", style=style).resolve())
