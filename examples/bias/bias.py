"""Find out with Grad-CAM that a network judges people by their cap, and fix it.

    python examples/bias/bias.py                  # four to eight minutes
    python examples/bias/bias.py --seed 1 --out other-people

This is the experiment of section 6.3 of the Grad-CAM paper (Selvaraju et al. 2017), on photographs
that `scenes.py` draws. A doctor holds a stethoscope, and a nurse holds a syringe. One network
learns from photographs in which the colour of the cap nearly determines the class. Its twin learns
from the same photographs with evenly distributed colours. On new photographs, in which the cap says
nothing about the class, the script counts how often each network is right, and measures where its
maps lie.

It writes `bias.jpg` (photographs with both networks' maps), `photos.jpg` (both training sets) and
`bias.json` (all figures). docs/bias.md reports the results.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
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
from limelight.metrics.intervals import Estimate, mean
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
        energy: The share of the maps' energy on the tool and on the cap.
    """

    said: Tensor
    maps: list[limelight.Explanation]
    energy: dict[str, limelight.Measurement]


def ask(model: nn.Module, test: Photos, console: Console, doing: str) -> Asked:
    """Explain the predicted class of every photograph, and measure where the maps lie."""
    maps, energy = list[limelight.Explanation](), {"cap": test.cap, "tool": test.tool}
    found = dict[str, list[limelight.Measurement]]((name, []) for name in energy)
    starts = range(0, len(test.kinds), BATCH)
    for start in track(starts, doing, console=console):
        rows = slice(start, start + BATCH)
        images = test.images[rows]
        maps.append(limelight.explain(model, images, classes=CLASSES))
        for name, masks in energy.items():
            found[name].append(
                limelight.measure(
                    model, images, maps[-1], metrics="energy-pointing", objects=masks[rows]
                )
            )
    said = torch.cat([one.index for one in maps if one.index is not None])
    total = {name: limelight.Measurement.total(parts) for name, parts in found.items()}
    return Asked(said, maps, total)


def told(estimate: Estimate) -> dict[str, float | None]:
    """Return a mean with its interval as plain values, without NaN, for JSON."""
    plain = asdict(estimate)
    numbers = {name: plain[name] for name in ("value", "low", "high", "n")}
    return {name: None if math.isnan(one) else one for name, one in numbers.items()}


def figures_of(asked: Asked, test: Photos) -> dict[str, Any]:
    """Return all figures of one network as plain values."""
    right, agrees = (asked.said == test.kinds).double(), test.agrees
    parts = {f"maps of '{one}'": asked.said == kind for kind, one in enumerate(CLASSES)}
    parts["wrong answers"] = asked.said != test.kinds
    measured = {
        name: one.estimate("gradcam", "energy-pointing") for name, one in asked.energy.items()
    }
    return {
        "accuracy": told(mean(right)),
        "accuracy, cap agrees": told(mean(right[agrees])),
        "accuracy, cap contradicts": told(mean(right[~agrees])),
        "says what the cap says": told(mean((asked.said == test.caps).double())),
        "layer": asked.maps[0].layer,
        "grid": list(asked.maps[0].raw.shape[1:]),
        "maps without evidence": sum(not s.ok for one in asked.maps for s in one.status),
        "energy": {
            name: {
                "map": told(one.own),
                **{
                    f"of {which}": told(mean(shares_of(asked.energy[name])[rows]))
                    for which, rows in parts.items()
                },
                "of a random map": told(one.random),
                "of a centre blob": told(one.centre),
            }
            for name, one in measured.items()
        },
    }


def shares_of(measured: limelight.Measurement) -> Tensor:
    """Return the measured value of each map, `[B]`, in order."""
    (maps,) = measured.readings.values()
    return maps.values["own"]["value"]


def counts_of(photos: Photos) -> dict[str, dict[str, int]]:
    """Return how many of each class wear each cap."""
    return {
        name: {
            colour: int(((photos.kinds == kind) & (photos.caps == cap)).sum())
            for cap, colour in enumerate(CAPS)
        }
        for kind, name in enumerate(CLASSES)
    }


def shown(figure: dict[str, float | None]) -> str:
    """Return a share with its interval in percent, or a dash if there was nothing to measure."""
    if figure["low"] is None:
        return "-"
    return f"{figure['value']:.1%} [{figure['low']:.1%}, {figure['high']:.1%}]"


def rows_of(found: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Return all figures as rows of a table: a name, and a cell for each network.

    A figure of a part of the test photographs says of how many.
    """
    networks, area = found["networks"].values(), found["area"]
    rows = [
        ("right", [one["accuracy"] for one in networks]),
        ("right, cap agrees", [one["accuracy, cap agrees"] for one in networks]),
        ("right, cap contradicts", [one["accuracy, cap contradicts"] for one in networks]),
        ("says what the cap says", [one["says what the cap says"] for one in networks]),
    ]
    for name in ("cap", "tool"):
        energy = [one["energy"][name] for one in networks]
        rows.append((f"energy on {name}, area {area[name]:.1%}", [one["map"] for one in energy]))
        rows += [
            (f"{name}, {whose}", [one[whose] for one in energy])
            for whose in energy[0]
            if whose.startswith("of ")
        ]
    whole = found["test"]["n"]
    return [
        (
            name,
            [shown(one) + ("" if one["n"] == whole else f" (n={one['n']})") for one in figures],
        )
        for name, figures in rows
    ]


def table_of(found: dict[str, Any]) -> Table:
    """Return the table that is printed."""
    table = Table(title=f"{found['test']['n']} test photographs, 95 % intervals", box=SIMPLE_HEAD)
    table.add_column("learned from the", no_wrap=True)
    for name in found["networks"]:
        table.add_column(f"{name} set")
    for name, cells in rows_of(found):
        table.add_row(name, *cells)
    return table


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
        "networks": {name: figures_of(one, test) for name, one in asked.items()},
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
    console.print(table_of(found))
    minutes = (time.perf_counter() - began) / 60
    console.print(
        f"bias.jpg, photos.jpg and bias.json are in {asked.out}, after {minutes:.1f} minutes."
    )


if __name__ == "__main__":
    main()
