"""Explain with a file that limelight exported: onnxruntime, numpy and Pillow, without torch.

network = limelight.deployed.load("network.onnx")
result = network.explain("cat.jpg")
result.heatmap, result.raw, result.score, result.status
result.save("cat.png")
"""

from __future__ import annotations

from limelight.deployed.description import Description, MapDescription
from limelight.deployed.explanation import DeployedExplanation
from limelight.deployed.images import PreparedPhoto
from limelight.deployed.network import DeployedNetwork, load
from limelight.finish_arrays import FinishedInPieces
from limelight.status import STATUS_NAMES

__all__ = [
    "STATUS_NAMES",
    "DeployedExplanation",
    "DeployedNetwork",
    "Description",
    "FinishedInPieces",
    "MapDescription",
    "PreparedPhoto",
    "load",
]
