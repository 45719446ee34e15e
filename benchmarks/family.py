"""What the methods cost: many from one pass, many classes, many runs; beside grad-cam and torchcam.

Ratios are medians over rounds in which the sides take turns. The tables also show how far the raw
maps agree, each scaled by its largest absolute value. Plain forwards are the model under
`torch.inference_mode`. The parts:

families: All methods of the families weighted and pointwise that need nothing beyond gradients,
    together by `compare` and each alone by `explain`, over one plain forward.
classes: `explain_each` with five classes over `explain` with one.
ablation: `ablationcam` beside grad-cam's, which runs the whole network where limelight runs the
    head. grad-cam's runs once, with limelight's before and after it.
score-NETWORK: `scorecam` beside the plain forwards that it needs, and beside grad-cam's and
    torchcam's, each with as many together as it takes by default. Each runs in a process of its
    own, to measure its peak of memory over idle: resnet18 in seven rounds, resnet50 (2048 forwards)
    in three.
skipping: How many channels are constant in the embedded network on a photo, and what it saves not
    to run them.

It takes about an hour on two quiet cores. Score-CAM takes 50 minutes of it.

    python benchmarks/family.py
    python benchmarks/family.py --only families classes --network resnet18
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from statistics import median

import torch
from pytorch_grad_cam import AblationCAM, ScoreCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torchvision.models import get_model

import limelight
from limelight import METHODS
from limelight.photos.samples import find_sample
from measure import (
    DEVICE,
    Cost,
    Run,
    Table,
    Turns,
    alone,
    in_turns,
    plain_forward,
    plain_forwards,
    report,
    taken,
)
from peers import agreement, grad_cam, torchcam_scorecam

LAYER = "layer4"
#: For Score-CAM: networks, and in how many rounds each.
SCORED = {"resnet18": 7, "resnet50": 3}

ROWS = [
    row
    for row in METHODS.values()
    if row.family in ("weighted", "pointwise") and row.needs <= {"gradients", "curvature"}
]


def families(network: str, rounds: int) -> list[Table]:
    """Return the table of methods that one backward serves."""
    model, images = made(network), photo()
    together = f"all {len(ROWS)} together"
    sides: dict[str, Run] = {
        "a plain forward": partial(plain_forward, model, images),
        together: partial(limelight.compare, model, images, methods=ROWS, layers=[LAYER]),
    }
    for row in ROWS:
        sides[row.name] = partial(limelight.explain, model, images, method=row, layer=LAYER)
    return timed(f"{network} {LAYER}", sides, "a plain forward", rounds)


def classes(network: str, rounds: int) -> list[Table]:
    """Return the table of one class and five."""
    model, images = made(network), photo()
    sides: dict[str, Run] = {
        "one class": partial(limelight.explain, model, images, target=0, layer=LAYER),
        "five classes": partial(limelight.explain_each, model, images, range(5), layer=LAYER),
    }
    return timed(f"gradcam, {network} {LAYER}", sides, "one class", rounds)


def timed(title: str, sides: dict[str, Run], base: str, rounds: int) -> list[Table]:
    """Return the table of sides that took turns, as ratios over one of them."""
    turns = in_turns(sides, rounds)
    table = Table({title: "", "ms": ".1f", f"over {base}": ".3f"})
    for side in sides:
        table.add(side, turns.median(side) * 1e3, turns.over(side, base))
    return [table]


def ablation(network: str, _rounds: int) -> list[Table]:
    """Return the table of Ablation-CAM, limelight's and grad-cam's."""
    model, images = made(network), photo()
    index, target = predicted(model, images)
    found = list[Tensor]()

    def theirs() -> None:
        found.append(grad_cam(AblationCAM, deepcopy(model), LAYER, images, [target]).raw)

    ours = partial(raw_map, model, images, index, "ablationcam")
    raw = ours()
    before = [taken(ours) for _ in range(4)]
    long = taken(theirs)
    short = median([*before, *(taken(ours) for _ in range(4))])
    columns = {f"ablationcam, {network} {LAYER}": "", "s": ".2f", "over limelight": ".0f"}
    table = Table({**columns, "difference": ".0e", "correlation": ".4f"})
    table.add("limelight", short, 1, "", "")
    table.add("grad-cam", long, long / short, *agreement(raw, found[0]))
    return [table]


def score(network: str, _network: str, _rounds: int) -> list[Table]:
    """Return the table of Score-CAM: the forwards that it needs, limelight and the peers."""
    costs = {name: list[Cost]() for name in TOGETHER}
    for _ in range(SCORED[network]):
        for name in TOGETHER:
            costs[name].append(alone(partial(score_side, name, network)))

    seconds = Turns({name: [cost.seconds for cost in each] for name, each in costs.items()})
    peaks = Turns({name: [cost.peak for cost in each] for name, each in costs.items()})
    ours = costs["limelight"][0].result
    assert isinstance(ours, Tensor)
    columns = {f"scorecam, {network} {LAYER}": "", "together": "d", "s": ".2f"}
    columns |= {"over plain forwards": ".3f", "over limelight": ".3f", "peak, MiB": ".0f"}
    table = Table(
        {**columns, "peak over limelight": ".2f", "difference": ".0e", "correlation": ".4f"}
    )
    for name, together in TOGETHER.items():
        raw = costs[name][0].result
        alike = agreement(ours, raw) if isinstance(raw, Tensor) else ("", "")
        table.add(
            name,
            together,
            seconds.median(name),
            seconds.over(name, "plain forwards"),
            seconds.over(name, "limelight"),
            peaks.median(name),
            peaks.over(name, "limelight"),
            *alike,
        )
    return [table]


#: How many images each runs together by itself, on a CPU.
TOGETHER = {"plain forwards": 8, "limelight": 8, "grad-cam": 16, "torchcam": 32}


def score_sides(network: str) -> dict[str, Callable[[], Tensor | None]]:
    """Return the sides of Score-CAM, ready to run, after a plain forward."""
    torch.manual_seed(0)
    model, images = made(network), photo()
    index, target = predicted(model, images)
    low, high = limelight.cut(model, images, LAYER).activations.flatten(2).aminmax(dim=2)
    batch = images.repeat(TOGETHER["plain forwards"], 1, 1, 1)

    def theirs() -> Tensor:
        return grad_cam(ScoreCAM, model, LAYER, images, [target]).raw

    return {
        "plain forwards": partial(plain_forwards, model, batch, int((high > low).sum())),
        "limelight": partial(raw_map, model, images, index, "scorecam:softmax=true"),
        "grad-cam": theirs,
        "torchcam": partial(torchcam_scorecam, model, LAYER, images, index),
    }


def score_side(name: str, network: str) -> Run:
    """Return one side of Score-CAM, for a process of its own."""
    return score_sides(network)[name]


def skipping(_network: str, rounds: int) -> list[Table]:
    """Return the table of channels that are not run; Score-CAM takes a minute, so it runs once.

    Ablation-CAM leaves out channels that are zero, Score-CAM channels that are constant.
    """
    network = limelight.load_model()
    model, images = network.model, chelsea(network.preprocess)
    columns = {"method": "", "layer": "", "channels": "d", "left out": "d"}
    table = Table({**columns, "runs of all, s": ".2f", "limelight, s": ".2f", "ratio": ".3f"})
    for layer in (limelight.explain(model, images).layer, "blocks.5.3.bn2"):
        activations = limelight.cut(model, images, layer).activations
        low, high = activations[0].flatten(1).aminmax(dim=1)
        count = len(low)
        same, zero = int((low == high).sum()), int(((low == 0) & (high == 0)).sum())
        forwards = partial(all_forwards, model, images, count)
        heads = partial(all_heads, model, images, count, layer)
        for method, every, left_out, turns in (
            ("scorecam", forwards, same, 1),
            ("ablationcam", heads, zero, rounds),
        ):
            few = partial(limelight.explain, model, images, method=method, layer=layer, chunk=8)
            found = in_turns({"all": every, "few": few}, turns, warm_up=False)
            shown = found.median("all"), found.median("few"), found.over("few", "all")
            table.add(method, layer, count, left_out, *shown)
    return [table]


def all_forwards(model: nn.Module, images: Tensor, count: int) -> None:
    """Run the network as often as there are channels."""
    plain_forwards(model, images.repeat(8, 1, 1, 1), count)


def all_heads(model: nn.Module, images: Tensor, count: int, layer: str) -> None:
    """Cut the network, and run the head as often as there are channels."""
    cut = limelight.cut(model, images, layer)
    plain_forwards(cut.head, cut.activations.repeat(8, 1, 1, 1), count)


# ---- what is explained -----------------------------------------------------------------------


def made(network: str) -> nn.Module:
    """Return a network with random weights."""
    model: nn.Module = get_model(network, weights=None).eval().to(DEVICE)
    return model


def photo() -> Tensor:
    """Return a sample photo, `[1, 3, 224, 224]`."""
    return chelsea(limelight.Preprocess(size=(224, 224), resize=224)).to(DEVICE)


def chelsea(preprocess: limelight.Preprocess) -> Tensor:
    """Return the sample photo chelsea, contiguous, so that all sides have the same strides."""
    return preprocess(limelight.load_photo(find_sample("chelsea")))[None].contiguous()


def raw_map(model: nn.Module, images: Tensor, index: int, method: str) -> Tensor:
    """Return limelight's raw map of a class."""
    return limelight.explain(model, images, target=index, method=method, layer=LAYER).raw


def predicted(model: nn.Module, images: Tensor) -> tuple[int, Callable[[Tensor], Tensor]]:
    """Return the class of the highest score, in the form of limelight and of grad-cam."""
    with torch.inference_mode():
        index = int(model(images).argmax())
    return index, ClassifierOutputTarget(index)


PARTS: dict[str, Callable[[str, int], list[Table]]] = {
    "families": families,
    "classes": classes,
    "ablation": ablation,
    **{f"score-{network}": partial(score, network) for network in SCORED},
    "skipping": skipping,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--network", default="resnet50", help="a ResNet of torchvision")
    parser.add_argument("--rounds", type=int, default=15, help="of what takes milliseconds")
    parser.add_argument("--publish", action="store_true", help="write docs/benchmarks.md and .json")
    args = parser.parse_args()
    for name in args.only:
        tables = PARTS[name](args.network, args.rounds)
        report(name, tables, told="224 px", publish=args.publish)


if __name__ == "__main__":
    main()
