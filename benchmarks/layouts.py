"""What another layout in memory and another precision save, and what they do to the map.

Plain forwards and Grad-CAM of one batch: as it is; with the images channels last; in bfloat16 with
images and weights channels last. Beside the times stands how far the raw map is from the one in
float32, each scaled by its largest absolute value: the largest difference, and the lowest
correlation of an image. Networks have random weights, but for the embedded one, whose photos are
its samples.

    python benchmarks/layouts.py
"""

from __future__ import annotations

import argparse
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models import get_model

import limelight
from limelight.samples import SAMPLES, find_sample
from measure import DEVICE, Run, Table, in_turns, plain_forward, report
from peers import agreement

EMBEDDED = "embedded"
NETWORKS = {
    EMBEDDED: None,
    "mobilenet_v3_large": "features",
    "resnet50": "layer4",
    "densenet121": "features",
    "convnext_tiny": "features",
}


def ready(name: str, batch: int) -> tuple[nn.Module, Tensor]:
    """Return a network and a batch of images."""
    torch.manual_seed(0)
    if name == EMBEDDED:
        network = limelight.load_model()
        photos = [limelight.load_photo(find_sample(sample)) for sample in SAMPLES]
        images = torch.stack([network.preprocess(photo) for photo in photos]).contiguous()
        model, images = network.model, images.repeat(batch, 1, 1, 1)[:batch]
    else:
        model, images = get_model(name, weights=None).eval(), torch.randn(batch, 3, 224, 224)
    return model.to(DEVICE), images.to(DEVICE)


def measured(table: Table, name: str, batch: int, rounds: int) -> None:
    """Add the rows of one network."""
    model, images = ready(name, batch)
    layer = NETWORKS[name]
    last = images.contiguous(memory_format=torch.channels_last)
    half = deepcopy(model).to(torch.bfloat16).to(memory_format=torch.channels_last)
    given = {
        "as it is": (model, images),
        "channels last": (model, last),
        "bfloat16": (half, last.bfloat16()),
    }
    sides = dict[str, Run]()
    for how, one in given.items():
        sides[f"plain, {how}"] = partial(plain_forward, *one)
        sides[how] = partial(limelight.explain, *one, target=281, layer=layer)
    turns = in_turns(sides, rounds)
    due = limelight.explain(model, images, target=281, layer=layer).raw
    for how, one in given.items():
        raw = limelight.explain(*one, target=281, layer=layer).raw
        base = "plain, as it is"
        table.add(
            name,
            batch,
            how,
            turns.median(how) * 1e3,
            turns.over(how, f"plain, {how}"),
            turns.over(how, base),
            *agreement(due, raw),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--publish", action="store_true", help="write docs/benchmarks.md and .json")
    args = parser.parse_args()
    columns = {"network": "", "batch": "d", "gradcam": "", "ms": ".1f"}
    columns |= {"over the same forward": ".3f", "over the forward as it is": ".3f"}
    table = Table({**columns, "difference": ".0e", "correlation": ".4f"})
    for name in args.networks:
        for batch in args.batches:
            measured(table, name, batch, args.rounds)
    report("layouts", [table], told=f"224 px, {args.rounds} rounds", publish=args.publish)


if __name__ == "__main__":
    main()
