"""The first map: the first call on a network, over a plain forward; the command, over import torch.

calls: The first and the second call on a network object that nobody has explained before, at batch
    1, as a multiple of a plain forward in the same round. limelight finds the layer; the peers need
    it named. Each call has a network object of its own in every round, which has run plain before.
command: From start to picture, beside `import torch`, each in a process of its own.

    python benchmarks/first_call.py
    python benchmarks/first_call.py --networks resnet50 --rounds 15
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from torchvision.models import get_model

from gradcam import NETWORKS, PEERS, PLAIN_GRIDS, limelights
from limelight.photos.samples import find_sample
from measure import DEVICE, Table, Turns, commands_in_turns, plain_forward, report, taken
from zoo_networks import fill_zeros

Call = Callable[[nn.Module, Tensor], Tensor]


def callers(name: str) -> dict[str, Call]:
    """Return the calls that explain a network, by whose they are."""
    network = NETWORKS[name]
    peers = [peer for peer in PEERS if peer == "grad-cam" or name in PLAIN_GRIDS]
    return {
        "limelight": partial(limelights, layer=None),
        **{peer: partial(PEERS[peer], network=network) for peer in peers},
    }


def turns_of(name: str, rounds: int, seconds: float) -> tuple[Turns, Turns]:
    """Return the times of the first calls and of the second, each beside plain forwards.

    There are at least `rounds`, and more while they take less than `seconds`, up to 41.
    """
    torch.manual_seed(0)
    built = get_model(name, weights=None).eval().to(DEVICE)
    fill_zeros(built)  # the head of a fresh ViT, to which no map leads
    images = torch.randn(1, 3, 224, 224, device=DEVICE)
    calls = callers(name)
    for call in calls.values():  # what is loaded at first, on networks that are not measured
        call(deepcopy(built), images)
    order, shuffle = list(calls), random.Random(0)
    first: dict[str, list[float]] = {side: [] for side in ("plain", *calls)}
    second: dict[str, list[float]] = {side: [] for side in ("plain", *calls)}
    begun = time.perf_counter()
    for done in range(41):
        if done >= rounds and time.perf_counter() - begun > seconds:
            break
        shuffle.shuffle(order)
        plain = list[float]()
        for side in order:
            model = deepcopy(built)
            plain_forward(model, images)
            plain.append(taken(partial(plain_forward, model, images)))
            first[side].append(taken(partial(calls[side], model, images)))
            second[side].append(taken(partial(calls[side], model, images)))
            plain.append(taken(partial(plain_forward, model, images)))
        first["plain"].append(statistics.median(plain))
        second["plain"].append(statistics.median(plain))
    return Turns(first), Turns(second)


def calls(networks: Sequence[str], rounds: int, seconds: float) -> list[Table]:
    """Return the tables of first and of second calls, over plain forwards."""
    sides = ("limelight", *PEERS)
    columns = {"plain, ms": ".1f", **dict.fromkeys(sides, ".2f")}
    tables = [Table({f"{which} call": "", **columns}) for which in ("first", "second")]
    for name in networks:
        for table, turns in zip(tables, turns_of(name, rounds, seconds), strict=True):
            over = [turns.over(s, "plain") if s in turns.times else "none" for s in sides]
            table.add(name, turns.median("plain") * 1e3, *over)
            print(str(table).splitlines()[-1], flush=True)
    return tables


def command(rounds: int) -> Table:
    """Return the table of the command: from start to picture, beside `import torch`."""
    own = str(Path(sys.executable).with_name("limelight"))
    with TemporaryDirectory() as folder:
        out = str(Path(folder) / "picture.png")
        sides = {
            "import torch": [sys.executable, "-c", "import torch"],
            "limelight explain PHOTO": [own, "explain", str(find_sample("chelsea")), "--out", out],
        }
        turns = commands_in_turns(sides, rounds)
    table = Table({"command": "", "s": ".2f", "s after import torch": ".2f"})
    for name in sides:
        pairs = zip(turns.times[name], turns.times["import torch"], strict=True)
        table.add(name, turns.median(name), statistics.median(a - b for a, b in pairs))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=15, help="more rounds while there is time")
    parser.add_argument("--publish", action="store_true", help="write docs/benchmarks.md and .json")
    args = parser.parse_args()
    tables = [*calls(args.networks, args.rounds, args.seconds), command(args.rounds)]
    told = f"float32, 224 px, batch 1, random weights, at least {args.rounds} rounds"
    report("first-call", tables, told=told, publish=args.publish)


if __name__ == "__main__":
    main()
