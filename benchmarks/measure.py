"""What the benchmarks share: times and memory measured side by side, and tables in Markdown."""

from __future__ import annotations

import gc
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from ctypes import CDLL
from multiprocessing import get_context
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

Run = Callable[[], object]


def median_times(
    sides: Mapping[str, Run], rounds: int, *, warm_up: bool = True
) -> dict[str, float]:
    """Return the median time of each side, in seconds; the sides take turns in every round."""
    if warm_up:
        for run in sides.values():
            run()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            times[name].append(taken(run))
    return {name: statistics.median(each) for name, each in times.items()}


def taken(run: Run) -> float:
    """Return how long one run takes, in seconds."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def plain_forward(model: nn.Module, images: Tensor) -> object:
    """Run a model as it is run when nothing is explained."""
    with torch.inference_mode():
        return model(images)


def plain_forwards(run: Callable[[Tensor], object], batch: Tensor, count: int) -> None:
    """Run `count` items, as many together as there are in `batch`: the work without a method."""
    with torch.inference_mode():
        for done in range(0, count, len(batch)):
            run(batch[: count - done])


def peak_memory(prepare: Callable[[], Run]) -> float:
    """Return how far a run rises above idle at its peak, in MiB, in a fresh process on Linux.

    `prepare` is called there, and what it returns is run; idle is what the process holds in
    between. The kernel's VmHWM is read, as `ru_maxrss` starts from the parent's.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_peak, prepare).result()


def _peak(prepare: Callable[[], Run]) -> float:
    run = prepare()
    gc.collect()
    CDLL("libc.so.6").malloc_trim(0)  # what was only needed to prepare is not idle
    Path("/proc/self/clear_refs").write_text("5")  # nor does its peak count
    idle = _held("VmRSS")
    run()
    return _held("VmHWM") - idle


def _held(what: str) -> float:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith(f"{what}:"))


def setting() -> str:
    """Say on what was measured."""
    return (
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, "
        f"{torch.get_num_threads()} threads, {platform.processor() or platform.machine()}"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table in Markdown."""
    lines = [f"| {' | '.join(map(str, line))} |" for line in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])
