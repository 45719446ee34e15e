"""What the methods cost: many from one pass, many classes, many runs; beside grad-cam and torchcam.

Every ratio is of medians of sides that took turns in one run; beside it stands how far the raw maps
agree, each scaled by its largest absolute value. Plain forwards are the model under
`torch.inference_mode`. Five parts:

families: All rows of the families weighted and pointwise that need gradients at most, together by
    `compare` and each alone by `explain`, over one plain forward.
classes: `explain_each` with five classes over `explain` with one.
ablation: `ablationcam` beside grad-cam's, which runs the whole network where limelight runs the
    head. Theirs is run once, with limelight's before and after it.
score: `scorecam` beside the plain forwards that it needs, as many together, and beside grad-cam's
    and torchcam's; with how far each rises above idle at its peak, in a process of its own.
skipping: how many channels are the same everywhere in the embedded network on a photo, and what is
    saved by not running them.

It takes about 12 minutes on two quiet cores, of which grad-cam's Ablation-CAM takes 3. With
`--channels 2048` Score-CAM is that of ResNet-50, and it takes about an hour.

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
from limelight.samples import find_sample
from measure import (
    Run,
    median_times,
    peak_memory,
    plain_forward,
    plain_forwards,
    setting,
    table,
    taken,
)
from peers import agreement, grad_cam, torchcam_scorecam

#: The network whose last stage, layer4, has so many channels.
SCORED = {512: "resnet18", 2048: "resnet50"}
LAYER = "layer4"
PARTS = ("families", "classes", "ablation", "score", "skipping")

ROWS = [
    row
    for row in METHODS.values()
    if row.family in ("weighted", "pointwise") and row.needs <= {"gradients", "curvature"}
]


def families(network: str, size: int, rounds: int) -> str:
    """Return the table of methods that one backward serves."""
    model, images = get_model(network, weights=None).eval(), photo(size)
    together = f"all {len(ROWS)} together"
    sides: dict[str, Run] = {
        "plain": partial(plain_forward, model, images),
        together: partial(limelight.compare, model, images, methods=ROWS, layers=[LAYER]),
    }
    for row in ROWS:
        sides[row.name] = partial(limelight.explain, model, images, method=row, layer=LAYER)
    times = median_times(sides, rounds)
    plain = times.pop("plain")
    rows = [[name, f"{time / plain:.3f}"] for name, time in times.items()]
    return table([f"{network} {LAYER}", f"over a plain forward of {plain * 1e3:.1f} ms"], rows)


def classes(network: str, size: int, rounds: int) -> str:
    """Return the table of one class and five."""
    model, images = get_model(network, weights=None).eval(), photo(size)
    sides: dict[str, Run] = {
        "one class": partial(limelight.explain, model, images, target=0, layer=LAYER),
        "five classes": partial(limelight.explain_each, model, images, range(5), layer=LAYER),
    }
    times = median_times(sides, rounds)
    one, five = times.values()
    head = ["gradcam", *(f"{name}, ms" for name in times), "ratio"]
    row = [f"{network} {LAYER}", f"{one * 1e3:.1f}", f"{five * 1e3:.1f}", f"{five / one:.3f}"]
    return table(head, [row])


def ablation(network: str, size: int, chunk: int) -> str:
    """Return the table of Ablation-CAM, limelight's and grad-cam's."""
    model, images = get_model(network, weights=None).eval(), photo(size)
    index, target = predicted(model, images)
    made = list[Tensor]()

    def theirs() -> None:
        kind = partial(AblationCAM, batch_size=chunk)
        made.append(grad_cam(kind, deepcopy(model), LAYER, images, [target]).raw)

    ours = partial(raw_map, model, images, index, "ablationcam", None)
    raw = ours()
    before = [taken(ours) for _ in range(3)]
    long = taken(theirs)
    short = median([*before, *(taken(ours) for _ in range(3))])
    rows = [
        ["limelight", f"{short:.2f}", "", ""],
        ["grad-cam", f"{long:.2f}", f"{long / short:.0f}", alike(raw, made[0])],
    ]
    head = [f"ablationcam, {network} {LAYER}", "s", "over limelight", "difference, correlation"]
    return table(head, rows)


def score(network: str, size: int, rounds: int, chunk: int) -> str:
    """Return the table of Score-CAM: the forwards that it needs, limelight's and the peers'."""
    made = dict[str, Tensor | None]()

    def keep(name: str, side: Callable[[], Tensor | None]) -> None:
        made[name] = side()

    sides = score_sides(network, size, chunk)
    times = median_times(
        {name: partial(keep, name, side) for name, side in sides.items()}, rounds, warm_up=False
    )
    peaks = {name: peak_memory(partial(score_side, name, network, size, chunk)) for name in sides}
    ours = made["limelight"]
    assert ours is not None
    rows = []
    for name, raw in made.items():
        time, peak = times[name], peaks[name]
        row = [name, f"{time:.2f}", f"{time / times['plain forwards']:.3f}"]
        row += [f"{time / times['limelight']:.3f}", f"{peak:.0f}"]
        row += [f"{peak / peaks['limelight']:.2f}", "" if raw is None else alike(ours, raw)]
        rows.append(row)
    head = [f"scorecam, {network} {LAYER}", "s", "over plain forwards", "over limelight"]
    return table([*head, "peak, MiB", "over limelight", "difference, correlation"], rows)


def score_sides(network: str, size: int, chunk: int) -> dict[str, Callable[[], Tensor | None]]:
    """Return the sides of Score-CAM, ready to run: a plain forward has been done."""
    torch.manual_seed(0)
    model, images = get_model(network, weights=None).eval(), photo(size)
    index, target = predicted(model, images)
    low, high = limelight.cut(model, LAYER, images).activations.flatten(2).aminmax(dim=2)
    batch = images.repeat(chunk, 1, 1, 1)

    def theirs() -> Tensor:
        return grad_cam(ScoreCAM, model, LAYER, images, [target], batch_size=chunk).raw

    return {
        "plain forwards": partial(plain_forwards, model, batch, int((high > low).sum())),
        "limelight": partial(raw_map, model, images, index, "scorecam:softmax=true", chunk),
        "grad-cam": theirs,
        "torchcam": partial(torchcam_scorecam, model, LAYER, images, index, chunk=chunk),
    }


def score_side(name: str, network: str, size: int, chunk: int) -> Run:
    """Return one of them, for a process of its own."""
    return score_sides(network, size, chunk)[name]


def skipping(rounds: int, chunk: int) -> str:
    """Return the table of channels that are not run; Score-CAM, of a minute each, takes one round.

    Ablation-CAM leaves out what is zero, Score-CAM what is the same everywhere.
    """
    network = limelight.load_model()
    model, images = network.model, chelsea(network.preprocess)
    rows = []
    for layer in (limelight.explain(model, images).layer, "blocks.5.3.bn2"):
        low, high = limelight.cut(model, layer, images).activations[0].flatten(1).aminmax(dim=1)
        count = len(low)
        same, zero = int((low == high).sum()), int(((low == 0) & (high == 0)).sum())
        forwards = partial(all_forwards, model, images, count, chunk)
        heads = partial(all_heads, model, images, count, layer, chunk)
        for method, every, left_out, turns in (
            ("scorecam", forwards, same, 1),
            ("ablationcam", heads, zero, rounds),
        ):
            few = partial(limelight.explain, model, images, method=method, layer=layer, chunk=chunk)
            times = median_times({"all": every, "few": few}, turns, warm_up=False)
            shown = [f"{time:.2f}" for time in times.values()]
            rows.append(
                [method, layer, count, left_out, *shown, f"{times['few'] / times['all']:.3f}"]
            )
    head = ["method", "layer", "channels", "left out", "runs of all, s", "limelight, s", "ratio"]
    return table(head, rows)


def all_forwards(model: nn.Module, images: Tensor, count: int, chunk: int) -> None:
    """Run the network as often as there are channels."""
    plain_forwards(model, images.repeat(chunk, 1, 1, 1), count)


def all_heads(model: nn.Module, images: Tensor, count: int, layer: str, chunk: int) -> None:
    """Cut the network, and run the head as often as there are channels."""
    cut = limelight.cut(model, layer, images)
    plain_forwards(cut.head, cut.activations.repeat(chunk, 1, 1, 1), count)


# ---- what is explained -----------------------------------------------------------------------


def photo(size: int) -> Tensor:
    """Return a sample photo, `[1, 3, size, size]`."""
    return chelsea(limelight.Preprocess(size=(size, size), resize=size))


def chelsea(preprocess: limelight.Preprocess) -> Tensor:
    """Return it as `preprocess` makes it; contiguous, so that all sides have the same strides."""
    return preprocess(limelight.load_photo(find_sample("chelsea")))[None].contiguous()


def raw_map(model: nn.Module, images: Tensor, index: int, method: str, chunk: int | None) -> Tensor:
    """Return limelight's raw map of a class."""
    found = limelight.explain(model, images, target=index, method=method, layer=LAYER, chunk=chunk)
    return found.raw


def predicted(model: nn.Module, images: Tensor) -> tuple[int, Callable[[Tensor], Tensor]]:
    """Return the class of the highest score, as limelight and as grad-cam take it."""
    with torch.inference_mode():
        index = int(model(images).argmax())
    return index, ClassifierOutputTarget(index)


def alike(one: Tensor, other: Tensor) -> str:
    """Return the largest difference of two maps, and their correlation."""
    difference, correlation = agreement(one, other)
    return f"{difference:.0e}, {correlation:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--network", default="resnet50", help="a ResNet of torchvision")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=15, help="of what takes milliseconds")
    parser.add_argument("--long-rounds", type=int, default=3, help="of what takes many runs")
    parser.add_argument("--chunk", type=int, default=8, help="how many are run together")
    parser.add_argument("--channels", type=int, default=512, choices=SCORED, help="of Score-CAM")
    args = parser.parse_args()
    parts: dict[str, Run] = {
        "families": partial(families, args.network, args.size, args.rounds),
        "classes": partial(classes, args.network, args.size, args.rounds),
        "ablation": partial(ablation, args.network, args.size, args.chunk),
        "score": partial(score, SCORED[args.channels], args.size, args.long_rounds, args.chunk),
        "skipping": partial(skipping, args.long_rounds, args.chunk),
    }
    rounds = f"medians of {args.rounds} and {args.long_rounds} rounds"
    print(f"{setting()}, {args.size} px, {rounds}, {args.chunk} together")
    for name in args.only:
        print(f"\n{parts[name]()}", flush=True)


if __name__ == "__main__":
    main()
