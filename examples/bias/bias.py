"""Find out with Grad-CAM that a network judges people by their cap, and fix it.

    python examples/bias/bias.py                  # four to eight minutes
    python examples/bias/bias.py --seed 1 --out other-people

This is the experiment of section 6.3 of the Grad-CAM paper (Selvaraju et al. 2017), on photographs
that `scenes.py` draws. A doctor holds a stethoscope, and a nurse holds a syringe. One network
learns from photographs in which the colour of the cap nearly determines the class. Its twin learns
from the same photographs with evenly distributed colours. On new photographs, in which the cap says
nothing about the class, the script counts how often each network is right, measures where its maps
lie, and compares both networks photograph by photograph.

It writes `bias.jpg` (photographs with both networks' maps), `photos.jpg` (both training sets) and
`bias.json` (all figures). docs/bias.md reports the results.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scenes import CAPS, CLASSES, SHARES, SIZE, TOOLS, Scene, deal_caps, draw_scene
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import limelight
from limelight.files import make_folder, write_whole
from limelight.metrics.holm import adjusted
from limelight.metrics.intervals import Estimate, PairedDifference, difference, mean
from limelight.render import save_figure

#: It comes with limelight, and is given the photographs as they are, uncropped.
EMBEDDED = limelight.load_model()
PREPROCESS = replace(EMBEDDED.preprocess, resize=SIZE)

#: How many photographs go through a network at once: in training, and when maps are made.
STEP, BATCH = 20, 25

#: So many blocks of the embedded network are kept as they are.
KEPT = 3


# Photographs


class Photos(NamedTuple):
    """A set of B photographs.

    Attributes:
        images: The input of a network, `[B, C, H, W]`.
        kinds: Their classes, `[B]`.
        caps: The colours of the caps, `[B]`; a cap agrees with the class of the same number.
        tool: The mask of the tool, `[B, H, W]`.
        cap: The mask of the cap, `[B, H, W]`.
    """

    images: Tensor
    kinds: Tensor
    caps: Tensor
    tool: Tensor
    cap: Tensor

    @classmethod
    def of(cls, scenes: Sequence[Scene], kinds: np.ndarray, caps: np.ndarray) -> Photos:
        """Put scenes together."""
        return cls(
            torch.stack([PREPROCESS(one.photo) for one in scenes]),
            torch.from_numpy(kinds),
            torch.from_numpy(caps),
            torch.from_numpy(np.stack([one.tool for one in scenes])),
            torch.from_numpy(np.stack([one.cap for one in scenes])),
        )

    @property
    def agrees(self) -> Tensor:
        """Whether the cap agrees with the class, `[B]`."""
        return self.caps == self.kinds


def draw_training(count: int, seed: int, console: Console) -> dict[str, Photos]:
    """Draw both training sets, `count` photographs per class; only the caps differ."""
    kinds = np.arange(2 * count) % 2
    caps = {
        name: deal_caps(kinds, shares, np.random.default_rng([seed, 2, number]))
        for number, (name, shares) in enumerate(SHARES.items())
    }
    drawn = dict[str, list[Scene]]((name, []) for name in caps)
    for i in track(range(len(kinds)), "drawing photographs to learn from", console=console):
        wanted = {name: int(own[i]) for name, own in caps.items()}
        # Where both sets have the same cap, they have the same photograph.
        scenes = {cap: draw_scene(int(kinds[i]), cap, [seed, 0, i]) for cap in wanted.values()}
        for name, cap in wanted.items():
            drawn[name].append(scenes[cap])
    return {name: Photos.of(drawn[name], kinds, caps[name]) for name in caps}


def draw_test(count: int, seed: int, console: Console) -> Photos:
    """Draw the test set, `count` photographs per class; the cap agrees with half of each class."""
    kinds = np.arange(2 * count) % 2
    caps = deal_caps(kinds, SHARES["balanced"], np.random.default_rng([seed, 3]))
    numbers = track(range(len(kinds)), "drawing photographs to test on", console=console)
    scenes = [draw_scene(int(kinds[i]), int(caps[i]), [seed, 1, i]) for i in numbers]
    return Photos.of(scenes, kinds, caps)


# Networks


class Network(nn.Module):
    """The frozen first blocks of an ImageNet network, followed by layers that learn.

    These are a convolution, an average over its grid of 14 x 14 cells, and a linear layer. For such
    a head Grad-CAM equals CAM, so the values of the map add up to the logit.
    """

    def __init__(self) -> None:
        """Make it."""
        super().__init__()
        known: Any = EMBEDDED.model
        self.trunk = nn.Sequential(known.conv_stem, known.bn1, known.blocks[:KEPT])
        self.features = nn.Sequential(
            nn.BatchNorm2d(40, affine=False),
            nn.Conv2d(40, 64, 4, 2, 1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
        )
        # It begins silent where there is little to see, and so the background stays dark.
        nn.init.constant_(self.features.get_parameter("2.bias"), -1.0)
        self.head = nn.Linear(64, len(CLASSES))

    def judge(self, seen: Tensor) -> Tensor:
        """Return the logits `[B, 2]` for the output of the trunk, `[B, 40, 28, 28]`."""
        logits: Tensor = self.head(self.features(seen).mean((2, 3)))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, `[B, 2]`."""
        return self.judge(self.trunk(x))


def train(photos: Photos, epochs: int, seed: int, console: Console, name: str) -> Network:
    """Train a network; the seed alone determines its initial weights and the batches."""
    torch.manual_seed(seed)
    model = Network().eval()
    mirrored = torch.cat([photos.images, photos.images.flip(3)])
    kinds = photos.kinds.repeat(2)
    batches = torch.split(mirrored, BATCH)
    with torch.no_grad():  # what the trunk sees never changes
        seen = torch.cat(
            [model.trunk(b) for b in track(batches, f"looking at the {name} set", console=console)]
        )
    learning = [*model.features.parameters(), *model.head.parameters()]
    steps = epochs * -(-len(kinds) // STEP)
    optimizer = torch.optim.AdamW(learning, 2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    model.features.train()
    for _ in track(range(epochs), f"learning from the {name} set", console=console):
        for rows in torch.split(torch.randperm(len(kinds)), STEP):
            loss = cross_entropy(model.judge(seen[rows]), kinds[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return model.eval()


# Figures


class Asked(NamedTuple):
    """The predictions of a network on the test set, and where its maps lie.

    Attributes:
        said: The predicted classes, `[B]`.
        maps: Explanations of the predicted class, one per batch.
        energy: For "cap" and "tool", the share of the energy there: `[B]` for the maps ("own"), for
            random maps ("random") and for a blob in the centre ("centre").
    """

    said: Tensor
    maps: list[limelight.Explanation]
    energy: dict[str, dict[str, Tensor]]


def ask(model: nn.Module, test: Photos, console: Console, doing: str) -> Asked:
    """Explain the predicted class of every photograph, and measure where the maps lie."""
    maps, energy = list[limelight.Explanation](), dict[str, dict[str, Tensor]]()
    masks = {"cap": test.cap, "tool": test.tool}
    measured = {name: limelight.Measurement() for name in masks}
    starts = range(0, len(test.kinds), BATCH)
    for start in track(starts, doing, console=console):
        rows = slice(start, start + BATCH)
        images = test.images[rows]
        maps.append(limelight.explain(model, images, classes=CLASSES))
        for name, mask in masks.items():
            measured[name] += limelight.measure(
                model, images, maps[-1], metrics="energy-pointing", objects=mask[rows]
            )
    for name, measurement in measured.items():
        (readings,) = measurement.readings.values()
        energy[name] = {source: parts["value"] for source, parts in readings.values.items()}
    said = torch.cat([batch.index for batch in maps if batch.index is not None])
    return Asked(said, maps, energy)


def figures_of(asked: Asked, test: Photos) -> dict[str, Estimate]:
    """Return all figures of one network, each under the name of its row in the table."""
    right, agrees = (asked.said == test.kinds).double(), test.agrees
    shares = {
        "right": right,
        "right, cap agrees": right[agrees],
        "right, cap contradicts": right[~agrees],
        "says what the cap says": (asked.said == test.caps).double(),
    }
    figures = {name: mean(share, yes_or_no=True) for name, share in shares.items()}
    for area, energy in asked.energy.items():
        own = energy["own"]
        figures[f"energy on {area}"] = mean(own)
        for kind, name in enumerate(CLASSES):
            figures[f"{area}, of maps of '{name}'"] = mean(own[asked.said == kind])
        figures[f"{area}, of wrong answers"] = mean(own[right == 0])
        figures[f"{area}, of a random map"] = mean(energy["random"])
        figures[f"{area}, of a centre blob"] = mean(energy["centre"])
    return figures


def differences_of(asked: dict[str, Asked], test: Photos) -> dict[str, PairedDifference]:
    """Compare photograph by photograph; the p-values have Holm's correction for all rows."""
    biased, balanced = asked["biased"], asked["balanced"]
    pairs = {
        "right: balanced - biased": (
            (balanced.said == test.kinds).double(),
            (biased.said == test.kinds).double(),
        ),
        "cap: biased - balanced": (biased.energy["cap"]["own"], balanced.energy["cap"]["own"]),
        "tool: balanced - biased": (balanced.energy["tool"]["own"], biased.energy["tool"]["own"]),
    }
    everyone = torch.full_like(test.kinds, True, dtype=torch.bool)
    for part, network, rows in (
        ("biased", biased, everyone),
        ("biased, wrong", biased, biased.said != test.kinds),
        ("balanced", balanced, everyone),
        ("balanced, nurse", balanced, balanced.said == CLASSES.index("nurse")),
    ):
        cap, tool = network.energy["cap"], network.energy["tool"]
        pairs[f"{part}: tool - cap"] = tool["own"][rows], cap["own"][rows]
        pairs[f"{part}: cap - random"] = cap["own"][rows], cap["random"][rows]
        pairs[f"{part}: tool - random"] = tool["own"][rows], tool["random"][rows]
    differences = {name: difference(*pair) for name, pair in pairs.items()}
    p_values = adjusted([each.p for each in differences.values()])
    return {
        name: replace(each, p=p)
        for (name, each), p in zip(differences.items(), p_values, strict=True)
    }


def counts_of(photos: Photos) -> dict[str, dict[str, int]]:
    """Return how many of each class wear each cap."""
    return {
        name: {
            colour: int(((photos.kinds == kind) & (photos.caps == cap)).sum())
            for cap, colour in enumerate(CAPS)
        }
        for kind, name in enumerate(CLASSES)
    }


def as_plain(figures: Mapping[str, Estimate | PairedDifference]) -> dict[str, dict[str, Any]]:
    """Return figures as plain values, without NaN, for JSON."""
    return {
        name: {
            key: None if math.isnan(value) else value
            for key, value in asdict(figure).items()
            if key not in ("left_out", "images")  # each photograph has one map
        }
        for name, figure in figures.items()
    }


def shown(figure: dict[str, Any], whole: int) -> str:
    """Return a share with its interval in percent, or a dash if there was nothing to measure.

    A figure of a part of the `whole` test photographs says of how many.
    """
    if figure["low"] is None:
        return "-"
    part = "" if figure["n"] == whole else f" (n={figure['n']})"
    return f"{figure['value']:.1%} [{figure['low']:.1%}, {figure['high']:.1%}]{part}"


def shown_difference(figure: dict[str, Any]) -> list[str]:
    """Return the cells of a difference: n, percentage points, where more and where less, and p."""
    if figure["low"] is None:
        return [str(figure["n"]), "-", "-", "-"]
    value, low, high = (100 * figure[key] for key in ("value", "low", "high"))
    return [
        str(figure["n"]),
        f"{value:+.1f} [{low:+.1f}, {high:+.1f}]",
        f"{figure['above']:.0%} / {figure['below']:.0%}",
        "<0.001" if figure["p"] < 0.001 else f"{figure['p']:.3f}",
    ]


def tables_of(found: dict[str, Any]) -> list[Table]:
    """Return the two tables that are printed: the figures, and the differences."""
    networks, whole = found["networks"], found["test"]["n"]
    figures = Table(title=f"{whole} test photographs, 95 % intervals", box=SIMPLE_HEAD)
    figures.add_column("learned from the", no_wrap=True)
    for name in networks:
        figures.add_column(f"{name} set")
    for row in networks["biased"]["figures"]:
        cells = [shown(network["figures"][row], whole) for network in networks.values()]
        figures.add_row(row, *cells)
    title = "Differences, photograph by photograph"
    differences = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("compared", "n", "percentage points", "more/less", "p"):
        differences.add_column(column, no_wrap=True)
    for row, figure in found["differences"].items():
        differences.add_row(row, *shown_difference(figure))
    return [figures, differences]


# Pictures


def rows_shown(test: Photos, biased: Asked) -> list[int]:
    """Choose the test photographs of the picture, by a rule.

    For each class, take the first two in which the cap contradicts the class, the biased network's
    errors before the others; then take the first one in which the cap agrees.
    """
    wrong, rows = biased.said != test.kinds, list[int]()
    for kind in range(len(CLASSES)):
        against = torch.nonzero((test.kinds == kind) & ~test.agrees).flatten().tolist()
        rows += sorted(against, key=lambda row: not wrong[row])[:2]
    return [*sorted(rows), *torch.nonzero(test.agrees).flatten().tolist()[:1]]


def draw_maps(test: Photos, asked: dict[str, Asked], seed: int) -> Figure:
    """Draw a row for each chosen photograph: the photograph, and each network's map over it."""
    rows = rows_shown(test, asked["biased"])
    sheet = Figure(figsize=(6.6, 2.42 * len(rows)), dpi=130)
    sheet.set_layout_engine("constrained", w_pad=0.03, h_pad=0.03)
    for axes, row in zip(sheet.subplots(len(rows), 1 + len(asked)), rows, strict=True):
        kind, cap = int(test.kinds[row]), int(test.caps[row])
        photo = draw_scene(kind, cap, [seed, 1, row]).photo
        axes[0].imshow(photo)
        axes[0].set_title(f"a {CLASSES[kind]} ({TOOLS[kind]}), {CAPS[cap]} cap", fontsize=8.5)
        for panel, (name, one) in zip(axes[1:], asked.items(), strict=True):
            panel.imshow(one.maps[row // BATCH][row % BATCH].overlay([photo])[0])
            said, right = CLASSES[int(one.said[row])], bool(one.said[row] == kind)
            panel.set_title(
                f"{name}: {said}, {'right' if right else 'wrong'}",
                fontsize=8.5,
                fontweight="bold",
                color="#1a7a34" if right else "#b3261e",
            )
        for panel in axes:
            panel.set_axis_off()
    return sheet


def draw_sets(training: dict[str, Photos], seed: int) -> Figure:
    """Draw the first photographs of each training set, two rows of eight."""
    sheet = Figure(figsize=(10, 2.8 * len(training)), dpi=110)
    sheet.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02)
    panels = sheet.subplots(2 * len(training), 8).reshape(len(training), 16)
    for axes, (name, photos) in zip(panels, training.items(), strict=True):
        for row, panel in enumerate(axes):
            panel.set_axis_off()
            if row < len(photos.kinds):
                kind, cap = int(photos.kinds[row]), int(photos.caps[row])
                panel.imshow(draw_scene(kind, cap, [seed, 0, row]).photo)
                panel.set_title(f"{name}: {CLASSES[kind]}", fontsize=7)
    return sheet


def experiment(
    out: Path, *, seed: int, train_count: int, test_count: int, epochs: int, console: Console
) -> dict[str, Any]:
    """Run the whole experiment, write the three files, and return the figures.

    Raises:
        OutputError: The files cannot be written there; this is checked first.
    """
    make_folder(out)
    training = draw_training(train_count, seed, console)
    test = draw_test(test_count, seed, console)
    asked = {}
    for name, photos in training.items():
        model = train(photos, epochs, seed, console, name)
        asked[name] = ask(model, test, console, f"explaining the {name} network")
    found = {
        "seed": seed,
        "epochs": epochs,
        "training": {name: counts_of(photos) for name, photos in training.items()},
        "test": {"n": len(test.kinds), **counts_of(test)},
        "area": {"cap": float(test.cap.double().mean()), "tool": float(test.tool.double().mean())},
        "networks": {
            name: {
                "layer": network.maps[0].layer,
                "grid": list(network.maps[0].raw.shape[1:]),
                "maps without evidence": sum(
                    not status.ok for batch in network.maps for status in batch.status
                ),
                "figures": as_plain(figures_of(network, test)),
            }
            for name, network in asked.items()
        },
        "differences": as_plain(differences_of(asked, test)),
    }
    save_figure(out / "photos.jpg", lambda: draw_sets(training, seed))
    save_figure(out / "bias.jpg", lambda: draw_maps(test, asked, seed))
    write_whole(out / "bias.json", (json.dumps(found, indent=1) + "\n").encode())
    return found


def at_least(least: int) -> Callable[[str], int]:
    """Return a parser for an integer argument that refuses a number below the least."""

    def read(text: str) -> int:
        if not text.lstrip("-").isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(
                f"{text!r} was given; an integer of at least {least} was expected"
            )
        return int(text)

    return read


def main(given: Sequence[str] | None = None) -> None:
    """Run the experiment as the command line says."""
    parser = argparse.ArgumentParser(
        description="A network that judges people by their cap: found with Grad-CAM, and mended."
    )
    parser.add_argument(
        "--out", type=Path, default=Path("limelight-out/bias"), help="a folder for what is written"
    )
    parser.add_argument("--seed", type=at_least(0), default=0, help="another gives other people")
    parser.add_argument(
        "--train", type=at_least(5), default=250, help="photographs a class to learn from (250)"
    )
    parser.add_argument(
        "--test", type=at_least(4), default=200, help="photographs a class to test on (200)"
    )
    parser.add_argument("--epochs", type=at_least(1), default=5, help="how often each is seen (5)")
    asked = parser.parse_args(given)
    console, began = Console(), time.perf_counter()
    # Sums come out the same, however many cores there are.
    torch.set_num_threads(1)
    try:
        found = experiment(
            asked.out,
            seed=asked.seed,
            train_count=asked.train,
            test_count=asked.test,
            epochs=asked.epochs,
            console=console,
        )
    except limelight.LimelightError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        console.print("Stopped. No file is half written.")
        sys.exit(130)
    console.print(*tables_of(found))
    minutes = (time.perf_counter() - began) / 60
    console.print(
        f"bias.jpg, photos.jpg and bias.json are in {asked.out}, after {minutes:.1f} minutes."
    )


if __name__ == "__main__":
    main()
