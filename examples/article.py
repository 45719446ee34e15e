"""Grad-CAM as the article's script for a CNN draws it: later layers beside earlier ones.

    python examples/article.py --out article.jpg

It differs from such a script by its import alone: `limelight.compat.article` in place of `utils`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from torchvision import transforms

import limelight
from limelight.compat.article import GradCAM, center_crop_img, show_cam_on_image
from limelight.photos.samples import find_sample

#: A cat and a cup of espresso; the network comes with limelight.
PHOTOS, CLASSES = ("chelsea", "coffee"), {281: "tabby", 967: "espresso"}

#: From early to late.
LAYERS = ("blocks.1", "blocks.3", "blocks.5", "bn2")


def draw() -> Figure:
    """Return a figure: in each row the photo, and the overlay of each class at one layer."""
    network = limelight.load_model()
    model, mean, std = network.model, network.preprocess.mean, network.preprocess.std
    photos = [np.array(limelight.load_photo(find_sample(name))) for name in PHOTOS]
    img = np.hstack([center_crop_img(photo, 224) for photo in photos])
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])
    input_tensor = transform(img)[None]

    layers = {name: model.get_submodule(name) for name in LAYERS}
    figure = Figure(figsize=(8.6, 6.4), layout="constrained")
    rows = figure.subplots(len(layers), 1 + len(CLASSES))
    for (name, layer), (left, *others) in zip(layers.items(), rows, strict=True):
        cam = GradCAM(model=model, target_layers=[layer], use_cuda=False)
        left.imshow(img)
        left.set_ylabel(name)
        for axes, (category, label) in zip(others, CLASSES.items(), strict=True):
            heatmap = cam(input_tensor=input_tensor, target_category=category)[0, :]
            axes.imshow(show_cam_on_image(img.astype(np.float32) / 255, heatmap, use_rgb=True))
            if left is rows[0][0]:
                axes.set_title(f"{category}: {label}")
    for axes in rows.flat:
        axes.set_xticks([])
        axes.set_yticks([])
    return figure


def main() -> None:
    """Draw the figure and save it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("article.jpg"), help="where to save it")
    arguments = parser.parse_args()
    draw().savefig(arguments.out, dpi=110)


if __name__ == "__main__":
    main()
