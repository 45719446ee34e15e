"""What the metrics cost: deletion and insertion over the forwards that they need; ROAD's beside.

Every ratio is of medians of sides that took turns in one run. Two parts:

curves: deletion and insertion in 100 steps of one image, over the 200 plain forwards that they
    need, as many together (`torch.inference_mode`).
road: ROAD of one image, the most and the least relevant 10 % to 90 % removed, over grad-cam's
    (`ROADCombined`, noisy linear imputation); and the imputation alone, for which the two are first
    held to give the same pictures. Theirs solves one system after the other with scipy, and runs
    the network on one image at a time.

It takes about five minutes on two quiet cores.

    python benchmarks/metrics.py
    python benchmarks/metrics.py --only road --rounds 5
"""

from __future__ import annotations

import argparse

import torch
from pytorch_grad_cam.metrics.road import NoisyLinearImputer, ROADCombined
from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget
from torch import Tensor, nn
from torchvision.models import get_model

import limelight
from limelight import METRICS
from limelight.inputs import Given
from limelight.measure.case import Case, Maps, Probe
from limelight.measure.imputation import impute
from limelight.samples import find_sample
from limelight.targets import Reading
from measure import Run, median_times, plain_forwards, setting, table

STEPS, TOGETHER = 100, 8
PERCENT = range(10, 100, 10)
PARTS = ("curves", "road")


def picture() -> Tensor:
    """Return a photo as the network takes it, `[1, 3, 224, 224]`."""
    photo = limelight.load_photo(find_sample("chelsea"))
    return limelight.Preprocess()(photo)[None].contiguous()


def case_of(model: nn.Module, images: Tensor, target: int) -> Case:
    """Return a case with a map that was made before."""
    result = limelight.explain(model, images, target=target, method="centre")
    probe = Probe(model, Given.of(images), target, Reading(), chunk=TOGETHER)
    return Case(Maps(result.raw, result.heatmap), probe)


def curves(network: str, rounds: int) -> str:
    """Time deletion and insertion beside the forwards that they need."""
    model, images = get_model(network, weights=None).eval(), picture()
    rows = [METRICS[name].set(steps=STEPS) for name in ("deletion", "insertion")]

    def ours() -> None:
        case = case_of(model, images, 281)
        for row in rows:
            row.update(case)

    batch = images.expand(TOGETHER, -1, -1, -1).contiguous()
    sides: dict[str, Run] = {
        "deletion and insertion": ours,
        "plain": lambda: plain_forwards(model, batch, 2 * STEPS),
    }
    times = median_times(sides, rounds)
    ratio = times["deletion and insertion"] / times["plain"]
    head = [f"{network}, {STEPS} steps each", "seconds", "over the forwards"]
    return table(
        head,
        [
            ["deletion and insertion", f"{times['deletion and insertion']:.2f}", f"{ratio:.3f}"],
            [f"{2 * STEPS} plain forwards", f"{times['plain']:.2f}", "1"],
        ],
    )


def road(network: str, rounds: int) -> str:
    """Time ROAD beside grad-cam's, after comparing what both impute."""
    model, images = get_model(network, weights=None).eval(), picture()
    heatmap = limelight.explain(limelight.load_model().model, images, target=281).heatmap
    place = heatmap.flatten().argsort(descending=True, stable=True).argsort()
    place = place.reshape(heatmap.shape[1:])
    masks = torch.stack([place < round(percent / 100 * place.numel()) for percent in PERCENT])
    imputer = NoisyLinearImputer(noise=0)

    def theirs_imputed() -> Tensor:
        return torch.stack([imputer(images[0], (~mask).float()) for mask in masks])

    apart = (impute(images[0], masks) - theirs_imputed()).abs().max() / images.abs().max()
    row = METRICS["road"].set(steps=len(PERCENT))
    maps = Maps(heatmap, heatmap)

    def ours() -> None:
        probe = Probe(model, Given.of(images), 281, Reading(), chunk=TOGETHER)
        row.update(Case(maps, probe))

    def theirs() -> None:
        combined = ROADCombined(percentiles=list(PERCENT))
        combined(images, heatmap.numpy(), [ClassifierOutputSoftmaxTarget(281)], model)

    whole = median_times({"limelight": ours, "grad-cam": theirs}, rounds)
    part = median_times(
        {"limelight": lambda: impute(images[0], masks), "grad-cam": theirs_imputed}, rounds
    )
    rows = [
        [
            name,
            *(f"{times[side]:.2f}" for side in times),
            f"{times['grad-cam'] / times['limelight']:.1f}",
        ]
        for name, times in (
            (f"ROAD of {network}, {2 * len(PERCENT)} removals", whole),
            (f"imputation alone, {len(PERCENT)} removals", part),
        )
    ]
    told = table(["seconds", "limelight", "grad-cam", "times as fast"], rows)
    return f"{told}\n\nImputed pictures differ by at most {apart:.1e} of the largest value."


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    print(setting(), end="\n\n")
    for part in asked.only:
        print({"curves": curves, "road": road}[part](asked.network, asked.rounds), end="\n\n")


if __name__ == "__main__":
    main()
