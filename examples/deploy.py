"""How do I get the map in production, without PyTorch?

    python examples/deploy.py

A network that has learned rings and crosses in seconds becomes one ONNX file that returns its
answer and its heatmap: the gradient is part of the graph. Before it is written, it is compared with
the network. A second Python then explains a photo with it, by onnxruntime, and never imports torch.
"""

import subprocess
import sys

import torch
from drawn import NAMES, classifier, draw, train
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchvision.transforms.functional import to_pil_image

import limelight


def loss_of() -> Tensor:
    """Return the cross entropy on new pictures."""
    scene = draw(32, shapes=1)
    return cross_entropy(model(scene.images), scene.kinds[:, 0])


torch.manual_seed(0)
model = classifier()
train(model, loss_of, steps=60)

picture = limelight.Preprocess(size=(64, 64), resize=(64, 64), mean=(0.0,), std=(1.0,))
network = limelight.Network("rings", model, picture, NAMES)
to_pil_image(draw(1, shapes=1).images[0].clamp(0, 1)).resize((256, 256)).save("ring.png")
exported = limelight.export(network, "ring.png", "rings.onnx")
print(
    f"The file's logits differ by {exported.description.parity['logits']:.0e} from the network's."
)

WITHOUT_TORCH = """
import sys
from limelight import FigureStyle, deployed

result = deployed.load("rings.onnx").explain("ring.png")
print(f"{result.label[0]}, {result.status[0].name}; torch is imported: {'torch' in sys.modules}")
style = FigureStyle(width="200mm", dpi=110)
print("The picture is", result.save("deploy.jpg", style=style).resolve())
"""
subprocess.run([sys.executable, "-c", WITHOUT_TORCH], check=True)
