"""What the metrics cost: deletion and insertion over plain forwards; ROAD beside grad-cam's.

The sides of a ratio take turns in one run. There are two parts:

curves: Deletion and insertion of one image in 100 steps, over the 200 plain forwards that they
    need, with as many together (`torch.inference_mode`).
road: ROAD of one image, with the most and the least relevant 10 % to 90 % removed, over grad-cam's
    (`ROADCombined`, noisy linear imputation); and the imputation alone, after a comparison of the
    imputed pictures. grad-cam solves one system after the other with scipy, and runs the network on
    one image at a time.

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
from limelight.inputs import ModelInputs
from limelight.metrics.case import MapCase, Maps, PerturbedModel
from limelight.metrics.imputation import impute
from limelight.options import Options
from limelight.photos.samples import find_sample
from limelight.targets import as_target
from measure import Run, Table, in_turns, plain_forwards, report

STEPS, TOGETHER = 100, 8
PERCENT = range(10, 100, 10)
PARTS = ("curves", "road")


def picture() -> Tensor:
    """Return a sample photo as input of the network, `[1, 3, 224, 224]`."""
    photo = limelight.load_photo(find_sample("chelsea"))
    return limelight.Preprocess()(photo)[None].contiguous()


def case_of(model: nn.Module, images: Tensor, target: int) -> MapCase:
    """Return a case with a precomputed map."""
    result = limelight.explain(model, images, target=target, method="centre")
    perturbed = PerturbedModel(
        model, ModelInputs.of(images), as_target(target), Options(chunk=TOGETHER)
    )
    return MapCase(Maps(result.raw, result.heatmap), perturbed)


def curves(network: str, rounds: int) -> Table:
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
    turns = in_turns(sides, rounds)
    table = Table(
        {f"{network}, {STEPS} steps each": "", "seconds": ".2f", "over the forwards": ".3f"}
    )
    for side, name in (("deletion and insertion",) * 2, ("plain", f"{2 * STEPS} plain forwards")):
        table.add(name, turns.median(side), turns.over(side, "plain"))
    return table


def road(network: str, rounds: int) -> Table:
    """Time ROAD beside grad-cam's, after comparing the imputed pictures of both."""
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
        perturbed = PerturbedModel(
            model, ModelInputs.of(images), as_target(281), Options(chunk=TOGETHER)
        )
        row.update(MapCase(maps, perturbed))

    def theirs() -> None:
        combined = ROADCombined(percentiles=list(PERCENT))
        combined(images, heatmap.numpy(), [ClassifierOutputSoftmaxTarget(281)], model)

    whole = in_turns({"limelight": ours, "grad-cam": theirs}, rounds)
    part = in_turns(
        {"limelight": lambda: impute(images[0], masks), "grad-cam": theirs_imputed}, rounds
    )
    columns = {"seconds": "", "limelight": ".2f", "grad-cam": ".2f", "times as fast": ".1f"}
    table = Table({**columns, "largest difference": ".0e"})
    for name, turns in (
        (f"ROAD of {network}, {2 * len(PERCENT)} removals", whole),
        (f"imputation alone, {len(PERCENT)} removals", part),
    ):
        both = [turns.median(side) for side in ("limelight", "grad-cam")]
        table.add(name, *both, turns.over("grad-cam", "limelight"), float(apart))
    return table


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--publish", action="store_true", help="write docs/benchmarks.md and .json")
    asked = parser.parse_args()
    tables = [
        {"curves": curves, "road": road}[part](asked.network, asked.rounds) for part in asked.only
    ]
    told = f"{TOGETHER} changed images together, {asked.rounds} rounds"
    report("metrics", tables, told=told, publish=asked.publish)


if __name__ == "__main__":
    main()
