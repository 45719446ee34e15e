"""Grad-CAM of a CNN as the article's script draws it: a later layer beside an earlier one.

    python examples/article.py --weights mobilenet_v2.pth --photo both.png --out article.jpg

The weights are those of torchvision's mobilenet_v2, trained on images with mean and standard
deviation 0.5. The photo is explained whole, in its own size.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torchvision import models, transforms

from limelight.compat.article import GradCAM, show_cam_on_image

CLASSES = {281: "tabby", 254: "pug"}


def draw(weights: Path, photo: Path) -> Figure:
    """Return a figure: in each row the photo, and the overlay of each class at one layer."""
    model = models.mobilenet_v2(weights=None)
    model.load_state_dict(torch.load(weights, map_location="cpu"))
    img = np.array(Image.open(photo).convert("RGB"))
    transform = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])]
    )
    input_tensor = transform(img)[None]

    layers = {"features[6]": model.features[6], "features[-1]": model.features[-1]}
    figure = Figure(figsize=(7.5, 5.4), layout="constrained")
    rows = figure.subplots(len(layers), 1 + len(CLASSES))
    for (name, layer), (left, *others) in zip(layers.items(), rows, strict=True):
        cam = GradCAM(model=model, target_layers=[layer], use_cuda=False)
        left.imshow(img)
        left.set_ylabel(name)
        for axes, (category, label) in zip(others, CLASSES.items(), strict=True):
            heatmap = cam(input_tensor=input_tensor, target_category=category)[0, :]
            axes.imshow(show_cam_on_image(img.astype(np.float32) / 255, heatmap, use_rgb=True))
            axes.set_title(f"{category}: {label}")
    for axes in rows.flat:
        axes.set_xticks([])
        axes.set_yticks([])
    return figure


def main() -> None:
    """Draw the figure and save it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="a state dict of mobilenet_v2")
    parser.add_argument("--photo", type=Path, required=True, help="a photo of a cat and a dog")
    parser.add_argument("--out", type=Path, default=Path("article.jpg"), help="where to save it")
    arguments = parser.parse_args()
    draw(arguments.weights, arguments.photo).savefig(arguments.out, dpi=120)


if __name__ == "__main__":
    main()
