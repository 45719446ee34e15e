"""What the benchmarks share: sides that take turns, peaks of memory, tables, and their output."""

from __future__ import annotations

import gc
import json
import os
import platform
import random
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from ctypes import CDLL
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import torch
import torchvision
from torch import Tensor

Run = Callable[[], object]

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"


# ---- time ------------------------------------------------------------------------------------


class Turns(NamedTuple):
    """The time of each side in each round, in seconds (or another cost of a run)."""

    times: dict[str, list[float]]

    def median(self, side: str) -> float:
        """Return the median of a side's times."""
        return statistics.median(self.times[side])

    def over(self, side: str, base: str) -> float:
        """Return the median over the rounds of the ratio of two sides in the same round.

        A shared machine is faster in one round than in the next. This affects a ratio within a
        round less than a ratio of medians.
        """
        pairs = zip(self.times[side], self.times[base], strict=True)
        return statistics.median(one / other for one, other in pairs)


def in_turns(
    sides: Mapping[str, Run], rounds: int, *, seconds: float = 0, warm_up: bool = True
) -> Turns:
    """Run all sides in every round, in another order each time, so that none is always first.

    There are at least `rounds`, and more while they take less than `seconds`, up to 41.
    """
    if warm_up:
        for run in sides.values():
            run()
    order, shuffle = list(sides), random.Random(0)
    times: dict[str, list[float]] = {name: [] for name in sides}
    begun = time.perf_counter()
    done = 0
    while done < rounds or (done < 41 and time.perf_counter() - begun < seconds):
        shuffle.shuffle(order)
        for name in order:
            times[name].append(taken(sides[name]))
        done += 1
    return Turns(times)


def commands_in_turns(sides: Mapping[str, Sequence[str]], rounds: int) -> Turns:
    """Run commands in turns, each in a process of its own; what they print is dropped."""
    runs = {
        name: partial(subprocess.run, command, check=True, capture_output=True)
        for name, command in sides.items()
    }
    return in_turns(runs, rounds)


def taken(run: Run) -> float:
    """Return how long one run takes, in seconds."""
    _synchronise()
    started = time.perf_counter()
    run()
    _synchronise()
    return time.perf_counter() - started


def _synchronise() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def plain_forward(model: Callable[[Tensor], object], images: Tensor) -> object:
    """Run a model without an explanation."""
    with torch.inference_mode():
        return model(images)


def plain_forwards(run: Callable[[Tensor], object], batch: Tensor, count: int) -> None:
    """Run `count` items in batches of the size of `batch`: the work without a method."""
    with torch.inference_mode():
        for done in range(0, count, len(batch)):
            run(batch[: count - done])


# ---- memory ----------------------------------------------------------------------------------


class Cost(NamedTuple):
    """The cost of one run in a process of its own: seconds, and MiB over idle at its peak.

    With CUDA this is the memory of the device, otherwise that of the process.
    """

    seconds: float
    peak: float
    result: object


def alone(prepare: Callable[[], Run]) -> Cost:
    """Call `prepare` in a fresh process (on Linux), and run what it returns."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_alone, prepare).result()


def _alone(prepare: Callable[[], Run]) -> Cost:
    run = prepare()
    gc.collect()
    CDLL("libc.so.6").malloc_trim(0)  # what was only needed to prepare is not idle
    kept = list[object]()
    if DEVICE.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        idle = torch.cuda.memory_allocated()
        seconds = taken(lambda: kept.append(run()))
        return Cost(seconds, (torch.cuda.max_memory_allocated() - idle) / 2**20, kept[0])
    Path("/proc/self/clear_refs").write_text("5")  # nor does its peak count
    before = _held("VmRSS")
    seconds = taken(lambda: kept.append(run()))
    return Cost(seconds, _held("VmHWM") - before, kept[0])


def _held(what: str) -> float:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith(f"{what}:"))


# ---- tables ----------------------------------------------------------------------------------


class Table:
    """Rows of values; columns format numbers for the page, and JSON keeps them unformatted."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        """Begin with columns, each with the format of its numbers."""
        self.columns, self.rows = dict(columns), list[list[object]]()

    def add(self, *values: object) -> None:
        """Add a row."""
        if len(values) != len(self.columns):
            raise ValueError(f"{len(values)} values for the columns {list(self.columns)}")
        self.rows.append(list(values))

    def __str__(self) -> str:
        """Return the table in Markdown."""
        shown = [
            [
                f"{value:{form}}" if isinstance(value, int | float) else str(value)
                for value, form in zip(row, self.columns.values(), strict=True)
            ]
            for row in self.rows
        ]
        lines = [f"| {' | '.join(line)} |" for line in (list(self.columns), *shown)]
        return "\n".join([lines[0], "|---" * len(self.columns) + "|", *lines[1:]])

    def records(self) -> list[dict[str, object]]:
        """Return a dict per row."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def report(section: str, tables: Sequence[Table], *, told: str = "", publish: bool = False) -> None:
    """Print a section's tables; with `publish`, write them into docs/benchmarks.md and .json.

    The section lies between `<!-- SECTION -->` and `<!-- end -->`.
    """
    text = "\n\n".join([f"On {setting()}{told and ', '}{told}:", *map(str, tables)])
    print(f"\n## {section}\n\n{text}", flush=True)
    if not publish:
        return
    page = PAGE.read_text()
    before, found, after = page.partition(f"<!-- {section} -->\n")
    _, ended, after = after.partition("<!-- end -->")
    if not found or not ended:
        raise ValueError(f"{PAGE} has no section {section!r}")
    PAGE.write_text(f"{before}{found}\n{text}\n\n{ended}{after}")
    store = PAGE.with_suffix(".json")
    known = json.loads(store.read_text()) if store.exists() else {}
    known[section] = {"setting": setting(), "tables": [table.records() for table in tables]}
    store.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")


def setting() -> str:
    """Return the machine and the versions of the measurement."""
    if DEVICE.type == "cuda":
        machine = torch.cuda.get_device_name()
    else:
        cpu = Path("/proc/cpuinfo")
        models = [
            line.partition(":")[2].strip()
            for line in (cpu.read_text().splitlines() if cpu.exists() else ())
            if line.startswith("model name")
        ]
        kind = models[0] if models else platform.machine()
        machine = f"{os.cpu_count()} cores of an {kind}, {torch.get_num_threads()} threads"
    return f"{machine}, torch {torch.__version__}, torchvision {torchvision.__version__}"
