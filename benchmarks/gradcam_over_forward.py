"""Grad-CAM over a plain forward: what an explanation costs, as a ratio measured in one run.

Both sides take turns, round by round, on the same model and images; the ratio is that of the
medians. The plain side is the model under `torch.inference_mode`. The other is limelight.explain,
from images to heatmaps at image size, with the layer named ("named") and found ("found": after the
first call on a model the choice is remembered, and that is what is timed; the first call itself is
shown apart).

    python benchmarks/gradcam_over_forward.py
"""

from __future__ import annotations

import argparse
from functools import partial

import torch
from torchvision.models import get_model

import limelight
from measure import Run, median_times, plain_forward, setting, table, taken

LAYERS = {"resnet50": "layer4", "mobilenet_v3_large": "features"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    rows = []
    for name, layer in LAYERS.items():
        model = get_model(name, weights=None).eval()
        for batch in (1, 16):
            images = torch.randn(batch, 3, 224, 224)
            fresh = get_model(name, weights=None).eval()
            plain_forward(fresh, images)
            first = taken(partial(limelight.explain, fresh, images))
            sides: dict[str, Run] = {
                "plain": partial(plain_forward, model, images),
                "named": partial(limelight.explain, model, images, layer=layer),
                "found": partial(limelight.explain, model, images),
            }
            times = median_times(sides, rounds)
            plain = times["plain"]
            ratios = [times["named"] / plain, times["found"] / plain]
            shown = [f"{plain * 1e3:.1f}", *(f"{r:.3f}" for r in ratios), f"{first / plain:.2f}"]
            rows.append([name, batch, *shown])
    print(f"{setting()}, medians of {rounds} rounds\n")
    head = ["network", "batch", "plain forward, ms", "layer named", "layer found", "first call"]
    print(table(head, rows))


if __name__ == "__main__":
    main()
