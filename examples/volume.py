"""Does it work on 16-bit volumes, such as CT, and on a network that segments them?

    python examples/volume.py

A drawn scan of a lung, in Hounsfield units, is written to scan.npy and read back as limelight reads
NIfTI and DICOM: with its window, and without a detour through 8 bits. The network marks the voxels
of nodules, which are balls, and of vessels, which are rods. The score is the mean logit of a class
where the network finds it, or inside a mask of your own: `limelight.Region("nodule", where=mask)`.
"""

import numpy as np
import torch
from drawn import train
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

import limelight

CLASSES = ["lung", "nodule", "vessel"]
PREPROCESS = limelight.Preprocess(
    size=(16, 48, 48), resize=(16, 48, 48), mean=(0.0,), std=(1.0,), window=(-600, 1500)
)


def draw() -> tuple[Tensor, Tensor]:
    """Return a scan in Hounsfield units and the class of each voxel, both `[16, 48, 48]`."""
    z, y, x = torch.meshgrid(*map(torch.arange, (16.0, 48.0, 48.0)), indexing="ij")
    classes = torch.zeros(16, 48, 48, dtype=torch.long)
    for _ in range(3):
        a, b, lean = (torch.rand(3) * torch.tensor([32, 32, 1])).tolist()
        classes[torch.hypot(y - 8 - a - (lean - 0.5) * (z - 8), x - 8 - b) < 2.5] = 2
    a, b, c = (torch.tensor([5, 8, 8]) + torch.rand(3) * torch.tensor([6, 32, 32])).tolist()
    classes[torch.sqrt((z - a) ** 2 + (y - b) ** 2 + (x - c) ** 2) < 4] = 1
    return torch.where(classes > 0, 40.0, -800.0) + 40 * torch.randn(16, 48, 48), classes


class Segmenter(nn.Module):
    """Logits of the classes, for every voxel."""

    def __init__(self) -> None:
        """Make it."""
        super().__init__()
        widths = ((1, 12, 2), (12, 16, 1), (16, 16, 1))  # with the stride
        stages = [
            [nn.Conv3d(a, b, 3, stride, 1), nn.BatchNorm3d(b), nn.ReLU()] for a, b, stride in widths
        ]
        self.body = nn.Sequential(*(nn.Sequential(*each) for each in stages))
        self.head = nn.Conv3d(16, 3, 1)

    def forward(self, scans: Tensor) -> Tensor:
        """Return the logits, `[B, 3, D, H, W]`."""
        return interpolate(self.head(self.body(scans)), scans.shape[2:], mode="trilinear")


def loss_of() -> Tensor:
    """Return the cross entropy of the voxels of four new scans."""
    scans, classes = map(torch.stack, zip(*[draw() for _ in range(4)], strict=True))
    inputs = ((scans[:, None] + 1350) / 1500).clamp(0, 1)  # as PREPROCESS makes them
    return cross_entropy(model(inputs), classes, torch.tensor([0.1, 1, 1]))


torch.manual_seed(0)
model = Segmenter()
train(model, loss_of, steps=60, rate=2e-2)

np.save("scan.npy", draw()[0].to(torch.int16).numpy())
network = limelight.Network("lung", model, PREPROCESS, CLASSES)
result = limelight.explain(network, "scan.npy", target="nodule")
print(f"{result.region.sum():.0f} voxels are called nodule; the layer is {result.layer}.")
style = limelight.FigureStyle(width="200mm", dpi=90)
print("The picture is", result.save("volume.jpg", style=style).resolve())
