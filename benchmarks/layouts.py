"""What another memory layout and another precision save, and how they change the map.

The first table shows plain forwards and Grad-CAM of one batch:

* as it is;
* with the images channels last;
* in bfloat16, with images and weights channels last;
* with --compiled, as it is but compiled.

The second table shows Score-CAM of one image, in float32 (limelight lays its variants channels last
itself) and in bfloat16. Both tables show how far the raw map is from the one in float32, each
scaled by its largest absolute value: the largest difference, and the lowest correlation of an
image. Networks have random weights, except for the embedded network, which runs on its sample
photos.

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
from limelight.photos.samples import SAMPLES, find_sample
from measure import DEVICE, Run, Table, in_turns, plain_forward, report, taken
from peers import agreement

EMBEDDED = "embedded"
NETWORKS = {
    EMBEDDED: None,
    "mobilenet_v3_large": "features",
    "resnet50": "layer4",
    "densenet121": "features",
    "convnext_tiny": "features",
    "resnet18": "layer4",
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


def halved(model: nn.Module) -> nn.Module:
    """Return a copy in bfloat16, channels last."""
    half: nn.Module = deepcopy(model).to(torch.bfloat16).to(memory_format=torch.channels_last)
    return half


def measured(table: Table, name: str, batch: int, rounds: int) -> None:
    """Add the rows of one network."""
    model, images = ready(name, batch)
    layer = NETWORKS[name]
    last, half = images.contiguous(memory_format=torch.channels_last), halved(model)
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
            "",
        )


def compiled(table: Table, name: str, batch: int, rounds: int) -> None:
    """Add the row of one network whose body is compiled."""
    model, images = ready(name, batch)
    explain = partial(limelight.explain, model, images, target=281, layer=NETWORKS[name])
    due = explain().raw
    fast = partial(explain, compile=True)
    first = taken(fast)
    again = torch.compile(model)
    turns = in_turns(
        {
            "plain": partial(plain_forward, model, images),
            "plain compiled": partial(plain_forward, again, images),
            "compiled": fast,
        },
        rounds,
    )
    table.add(
        name,
        batch,
        "compiled",
        turns.median("compiled") * 1e3,
        turns.over("compiled", "plain compiled"),
        turns.over("compiled", "plain"),
        *agreement(due, fast().raw),
        f"{first:.0f}",
    )


def scored(name: str, rounds: int) -> Table:
    """Return the table of Score-CAM."""
    model, images = ready(name, 1)
    half, layer = halved(model), NETWORKS[name]
    given = {"float32": (model, images), "bfloat16": (half, images.bfloat16())}
    sides = {
        how: partial(limelight.explain, *one, target=281, layer=layer, method="scorecam")
        for how, one in given.items()
    }
    raw = {how: side().raw for how, side in sides.items()}  # which warms them up
    turns = in_turns(sides, rounds, warm_up=False)
    table = Table(
        {
            f"scorecam, {name} {layer}": "",
            "s": ".1f",
            "over float32": ".3f",
            "difference": ".0e",
            "correlation": ".4f",
        }
    )
    for how in sides:
        alike = agreement(raw["float32"], raw[how])
        table.add(how, turns.median(how), turns.over(how, "float32"), *alike)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS)[:-1])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compiled", nargs="*", choices=NETWORKS, default=["mobilenet_v3_large"])
    parser.add_argument("--scored", choices=NETWORKS, default="resnet18", help="for Score-CAM")
    parser.add_argument("--publish", action="store_true", help="write docs/benchmarks.md and .json")
    args = parser.parse_args()
    columns = {"network": "", "batch": "d", "gradcam": "", "ms": ".1f"}
    columns |= {"over the same forward": ".3f", "over the forward as it is": ".3f"}
    columns |= {"difference": ".0e", "correlation": ".4f", "first call, s": ""}
    table = Table(columns)
    for name in args.networks:
        for batch in args.batches:
            measured(table, name, batch, args.rounds)
            if name in args.compiled:
                compiled(table, name, batch, args.rounds)
    tables = [table, scored(args.scored, max(3, args.rounds // 2))]
    report("layouts", tables, told=f"224 px, {args.rounds} rounds", publish=args.publish)


if __name__ == "__main__":
    main()
