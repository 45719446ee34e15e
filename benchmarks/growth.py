"""How the cost grows with the work: with images in a batch, classes, layers and photos.

The amounts of work take turns. A straight line is fitted through the medians by least squares: its
slope is the cost of one more, and R^2 says how linear the growth is. The figure is
docs/images/cost.png.

    python benchmarks/growth.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torchvision.models import get_model

import limelight
from limelight.photos.samples import SAMPLES, find_sample
from measure import DEVICE, PAGE, Run, Table, Turns, in_turns, plain_forward, report

LAYERS = [f"layer{stage}.{block}" for block in (1, 0) for stage in (4, 3, 2, 1)]


class Growth(NamedTuple):
    """A kind of work whose amount grows."""

    what: str
    counts: Sequence[int]
    work: Callable[[int], Run]
    plain: Callable[[int], Run] | None = None


def growths(network: str, folder: Path) -> list[Growth]:
    """Return the kinds of work for a ResNet; photos are copies of the samples in a folder."""
    torch.manual_seed(0)
    model = get_model(network, weights=None).eval().to(DEVICE)
    images = torch.randn(16, 3, 224, 224, device=DEVICE)
    one = images[:1]
    loaded = limelight.Network(network, model)
    paths = [folder / f"{number:03}.jpg" for number in range(64)]
    for number, path in enumerate(paths):
        sample = find_sample(list(SAMPLES)[number % len(SAMPLES)])
        Image.open(sample).convert("RGB").save(path)

    def batch(count: int) -> Run:
        return partial(limelight.explain, model, images[:count], target=5, layer="layer4")

    def forward(count: int) -> Run:
        return partial(plain_forward, model, images[:count])

    def classes(count: int) -> Run:
        return partial(limelight.explain_each, model, one, range(count), layer="layer4")

    def layers(count: int) -> Run:
        return partial(
            limelight.compare, model, one, methods=["gradcam"], layers=LAYERS[:count], targets=[5]
        )

    def photos(count: int) -> Run:
        def run() -> None:
            for result in limelight.explain_photos(loaded, paths[:count], layer="layer4"):
                path = folder / f"{result.path.stem}-map.jpg"
                assert result.view is not None
                result.explanations[0].save(path, picture="overlay")

        return run

    return [
        Growth("images in a batch", (1, 2, 4, 8, 12, 16), batch, forward),
        Growth("classes", (1, 2, 5, 10, 15, 20), classes),
        Growth("layers", (1, 2, 4, 6, 8), layers),
        Growth("photos, disk to overlay", (8, 16, 32, 48, 64), photos),
    ]


def line(counts: Sequence[int], times: Sequence[float]) -> tuple[float, float, float]:
    """Return slope, intercept and R^2 of the straight line through times."""
    slope, start = np.polyfit(counts, times, 1)
    left = np.asarray(times) - (start + slope * np.asarray(counts))
    return float(slope), float(start), float(1 - left.var() / np.var(times))


def drawn(grown: Sequence[tuple[Growth, Turns]], network: str) -> Figure:
    """Return the figure: a panel for each kind of work."""
    figure = Figure(figsize=(11, 3), layout="constrained")
    axes = figure.subplots(1, len(grown))
    for axis, (growth, turns) in zip(axes, grown, strict=True):
        shown = {"limelight": ("", "#c2410c"), "plain forward": ("plain ", "#57534e")}
        for name, (prefix, colour) in shown.items():
            if f"{prefix}{growth.counts[0]}" not in turns.times:
                continue
            times = [turns.median(f"{prefix}{count}") * 1e3 for count in growth.counts]
            slope, start, _ = line(growth.counts, times)
            ends = np.array([0, growth.counts[-1]])
            axis.plot(ends, start + slope * ends, color=colour, linewidth=1, alpha=0.6)
            label = f"{name}, {slope:.3g} ms each"
            axis.plot(growth.counts, times, "o", color=colour, markersize=4, label=label)
        axis.set_xlabel(growth.what)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_xlim(left=0)
        axis.set_ylim(bottom=0, top=axis.get_ylim()[1] * 1.3)  # room for the legend
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, loc="upper left", handletextpad=0.2)
    axes[0].set_ylabel(f"ms, {network}")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--network", default="resnet18", help="a ResNet of torchvision")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--publish", action="store_true", help="write docs/benchmarks.md and .json")
    args = parser.parse_args()
    grown = list[tuple[Growth, Turns]]()
    columns = {f"gradcam, {args.network}": "", "each, ms": ".2f", "R^2 of the line": ".4f"}
    columns |= {"least": "d", "ms for the least": ".0f", "most": "d", "ms for the most": ".0f"}
    table = Table(columns)
    with TemporaryDirectory() as folder:
        for growth in growths(args.network, Path(folder)):
            sides = {f"{count}": growth.work(count) for count in growth.counts}
            if growth.plain is not None:
                sides |= {f"plain {count}": growth.plain(count) for count in growth.counts}
            turns = in_turns(sides, args.rounds)
            grown.append((growth, turns))
            for prefix in ("", "plain ") if growth.plain else ("",):
                times = [turns.median(f"{prefix}{count}") * 1e3 for count in growth.counts]
                slope, _, straight = line(growth.counts, times)
                name = f"{prefix and 'plain forward, '}{growth.what}"
                ends = growth.counts[0], times[0], growth.counts[-1], times[-1]
                table.add(name, slope, straight, *ends)
    report("growth", [table], told=f"224 px, {args.rounds} rounds", publish=args.publish)
    if args.publish:
        drawn(grown, args.network).savefig(PAGE.parent / "images" / "cost.png", dpi=110)
    else:
        print("--publish draws the figure")


if __name__ == "__main__":
    main()
