"""Grad-CAM over a plain forward: what an explanation costs, as a ratio measured in one run.

Both sides take turns, round by round, on the same model and images; the ratio is that of the
medians. The plain side is the model under `torch.inference_mode`. The other is limelight.explain,
from images to heatmaps at image size, with the layer named ("named") and found ("found": after the
first call on a model the choice is remembered, and that is what is timed; the first call itself is
shown apart).

    make bench
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial

import torch
import torchvision
from torch import Tensor, nn

import limelight

LAYERS = {"resnet50": "layer4", "mobilenet_v3_large": "features"}


def median_times(sides: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median time of each side, in seconds; the sides take turns in every round."""
    for run in sides.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            started = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - started)
    return {name: statistics.median(taken) for name, taken in times.items()}


def plain_forward(model: nn.Module, images: Tensor) -> object:
    with torch.inference_mode():
        return model(images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    print(
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, "
        f"{torch.get_num_threads()} threads, {platform.processor() or platform.machine()}, "
        f"medians of {rounds} rounds"
    )
    print(
        f"{'network':20} {'batch':>5} {'plain ms':>9} {'named':>6} {'found':>6} {'first call':>10}"
    )
    for name, layer in LAYERS.items():
        model = torchvision.models.get_model(name, weights=None).eval()
        for batch in (1, 16):
            images = torch.randn(batch, 3, 224, 224)
            fresh = torchvision.models.get_model(name, weights=None).eval()
            plain_forward(fresh, images)
            started = time.perf_counter()
            limelight.explain(fresh, images)
            first = time.perf_counter() - started
            sides: dict[str, Callable[[], object]] = {
                "plain": partial(plain_forward, model, images),
                "named": partial(limelight.explain, model, images, layer=layer),
                "found": partial(limelight.explain, model, images),
            }
            times = median_times(sides, rounds)
            plain = times["plain"]
            print(
                f"{name:20} {batch:5} {plain * 1e3:9.1f} {times['named'] / plain:6.3f} "
                f"{times['found'] / plain:6.3f} {first / plain:10.2f}"
            )


if __name__ == "__main__":
    main()
