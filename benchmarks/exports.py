"""Every classifier of torchvision and one of every architecture in timm: does it export?

Each network has random weights, and `limelight.export` writes it to an ONNX file with the map of
the layer that limelight chooses. onnxruntime then runs the file on another number of images than
it was exported with, and the raw maps, the heatmaps and the logits are compared with those of
`limelight.explain` and of the network itself.

A network runs in a process of its own, with a limit of time and of memory. The smallest come
first. A network with more parameters than `--parameters` is skipped, and listed as skipped.

With `--json`, results are kept in a file, one a line, and a later run goes on from there; `--again`
tries those again that did not export. The list of networks is kept beside that file, as timm takes
minutes to be listed.

    python benchmarks/exports.py --json exports.jsonl
    python benchmarks/exports.py --family timm --only '^vit' --limit 3 --json exports.jsonl
    python benchmarks/exports.py --json exports.jsonl --again 'aten\\.'
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import limelight
from measure import Table
from zoo_networks import fill_zeros, settle, standardised, timm_networks

#: The share of networks that is to export, in percent.
GOALS = {"torchvision": 95, "timm": 80}

#: Raw maps that differ by no more than this share of their largest value are the same.
SAME = 1e-4

#: How many images the file is run on; it is exported with one.
BATCH = 2


@dataclass(frozen=True)
class Candidate:
    """A network of the sweep: its library, its name there, its input and its size."""

    family: str
    name: str
    shape: tuple[int, ...]
    parameters: int

    def build(self) -> nn.Module:
        """Build the network, with random weights."""
        if self.family == "timm":
            import timm

            made: nn.Module = timm.create_model(self.name.partition(": ")[2])
            return made
        return torchvision_model(self.name)


@dataclass
class Row:
    """The result of one network.

    Attributes:
        family, name, parameters: The network.
        outcome: `exported`; `differs` (there is a file, and its maps are not those of
            `limelight.explain`); `refused` (limelight says why); `failed` (another error);
            `out of memory`; `out of time`; `skipped` (too large to be tried).
        reason: Why it was not exported.
        layer: The layer of the map.
        status: The status of the maps, in words.
        raw, logits: The largest difference, as a share of the largest value.
        heatmap: The largest difference.
        seconds: How long the export took, with its own check.
        megabytes: The size of the file.
    """

    family: str
    name: str
    parameters: int
    outcome: str = ""
    reason: str = ""
    layer: str = ""
    status: str = ""
    raw: float | None = None
    logits: float | None = None
    heatmap: float | None = None
    seconds: float | None = None
    megabytes: float | None = None


# ---- the networks ----------------------------------------------------------------------------


def torchvision_model(name: str) -> nn.Module:
    """Build a classifier of torchvision, with random weights."""
    from torchvision import models

    # The weights of these two are drawn for minutes otherwise.
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    made: nn.Module = models.get_model(name, weights=None, **options)
    return made


def torchvision_candidates() -> Iterator[Candidate]:
    """Find every classifier of torchvision."""
    from torchvision import models

    for name in models.list_models(module=models):
        size = next(iter(models.get_model_weights(name))).meta["num_params"]
        side = 299 if name == "inception_v3" else 224
        yield Candidate("torchvision", name, (3, side, side), size)


def timm_candidates() -> Iterator[Candidate]:
    """Find the smallest member with a classifier of every architecture module of timm."""
    import timm

    for network in timm_networks():
        if ": " not in network.name:  # the same architectures at other sizes
            continue
        with torch.device("meta"):
            made = timm.create_model(network.name.partition(": ")[2])
        size = sum(weight.numel() for weight in made.parameters())
        yield Candidate("timm", network.name, tuple(made.default_cfg["input_size"]), size)


FAMILIES = {"torchvision": torchvision_candidates, "timm": timm_candidates}


def candidates_of(family: str, kept: Path | None) -> list[Candidate]:
    """Return the networks of a family, from the file that keeps their list if there is one."""
    store = kept and kept.with_name(f"{kept.stem}-{family}.json")
    if store and store.exists():
        listed = json.loads(store.read_text())
        return [Candidate(**{**each, "shape": tuple(each["shape"])}) for each in listed]
    found = list(FAMILIES[family]())
    if store:
        store.write_text(json.dumps([asdict(each) for each in found], indent=1))
    return found


# ---- one network -----------------------------------------------------------------------------


def visit(candidate: Candidate, method: str) -> Row:
    """Export a network, run the file, and compare."""
    row = Row(candidate.family, candidate.name, candidate.parameters)
    try:
        export_and_compare(candidate, method, row)
    except limelight.LimelightError as error:
        row.outcome, row.reason = "refused", shortened(str(error))
    except MemoryError as error:
        row.outcome, row.reason = "out of memory", shortened(str(error))
    except Exception as error:  # of any kind: the next network has its turn
        row.outcome, row.reason = "failed", shortened(f"{type(error).__name__}: {error}")
        if "can't allocate memory" in str(error) or "bad_alloc" in str(error):
            row.outcome = "out of memory"
    return row


def export_and_compare(candidate: Candidate, method: str, row: Row) -> None:
    """Fill in the row of a network."""
    torch.manual_seed(0)
    model = candidate.build().eval()
    fill_zeros(model)
    channels, *sides = candidate.shape
    image = standardised(*sides, channels=channels)
    settle(model, image)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        started = time.perf_counter()
        export = limelight.export(model, image, path, method=method)
        row.seconds = time.perf_counter() - started
        row.megabytes = sum(file.stat().st_size for file in Path(folder).iterdir()) / 1e6
        images = torch.cat([image, image.flip(-1)])[:BATCH]
        outputs = run_file(path, images)
    row.layer = export.description.maps[0].layer
    compare(model, images, method, outputs, row)


def run_file(path: Path, images: Tensor) -> dict[str, np.ndarray[Any, Any]]:
    """Return the outputs of a file for the predicted classes, by name."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    target = np.full(len(images), -1, dtype=np.int64)
    found = session.run(None, {"image": images.numpy(), "target": target})
    return dict(zip([output.name for output in session.get_outputs()], found, strict=True))


def compare(
    model: nn.Module,
    images: Tensor,
    method: str,
    outputs: dict[str, np.ndarray[Any, Any]],
    row: Row,
) -> None:
    """Fill in how far the outputs of a file are from limelight's maps and the network's logits."""
    from limelight.status import STATUS_NAMES

    eager = limelight.explain(model, images, method=method, layer=row.layer)
    with torch.inference_mode():
        logits = model(images)
    row.raw = share_apart(outputs["raw"], eager.raw)
    row.logits = share_apart(outputs["logits"], logits)
    row.heatmap = float(np.abs(outputs["heatmap"] - eager.heatmap.numpy()).max())
    expected = [status.name for status in eager.status]
    found = [STATUS_NAMES[number] for number in outputs["status"]]
    row.status = ", ".join(dict.fromkeys(expected))
    if found != expected:
        row.outcome, row.reason = "differs", f"the status is {found}, not {expected}"
    elif not (row.raw <= SAME and row.logits <= SAME):
        row.outcome = "differs"
        row.reason = f"raw maps {row.raw:.1e} and logits {row.logits:.1e} apart"
    else:
        row.outcome = "exported"


def share_apart(found: np.ndarray[Any, Any], expected: Tensor) -> float:
    """Return the largest difference of two arrays, as a share of the largest value expected."""
    right = expected.numpy()
    if found.shape != right.shape:
        return float("inf")
    return float(np.abs(found - right).max() / (np.abs(right).max() or 1))


def shortened(text: str) -> str:
    """Return the beginning of a text, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= 300 else f"{line[:297]}..."


# ---- a process for each ----------------------------------------------------------------------


def visit_alone(candidate: Candidate, limits: argparse.Namespace) -> Row:
    """Visit a network in a process of its own, which is ended when it takes too long."""
    row = Row(candidate.family, candidate.name, candidate.parameters)
    if candidate.parameters > limits.parameters:
        size = f"{candidate.parameters / 1e6:.0f} million parameters"
        return replace(row, outcome="skipped", reason=size)
    command = [sys.executable, __file__, "--method", limits.method]
    command += ["--gigabytes", str(limits.gigabytes), "--one", json.dumps(asdict(candidate))]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limits.seconds, check=False
        )
    except subprocess.TimeoutExpired:
        reason = f"not done after {limits.seconds:.0f} s"
        return replace(row, outcome="out of time", reason=reason)
    lines = done.stdout.splitlines()
    if done.returncode == 0 and lines:
        return Row(**json.loads(lines[-1]))
    # A process that is killed, or that C++ ends, says nothing on its standard output.
    last = done.stderr.strip().splitlines()[-1:] or [""]
    died = "out of memory" if done.returncode == -9 or "bad_alloc" in done.stderr else "failed"
    reason = shortened(f"the process ended with {done.returncode}: {last[0]}")
    return replace(row, outcome=died, reason=reason)


def run_one(given: str, method: str, gigabytes: float) -> None:
    """Visit one network in this process, under a limit of memory, and print its row."""
    limit = int(gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    warnings.simplefilter("ignore")
    fields = json.loads(given)
    candidate = Candidate(**{**fields, "shape": tuple(fields["shape"])})
    print(json.dumps(asdict(visit(candidate, method))))


# ---- what came of it -------------------------------------------------------------------------


def summary(rows: Sequence[Row]) -> str:
    """Return how many export, and of those that do not, why, in Markdown."""
    counts = Table({"": "", "networks": "d", "exported": "d", "%": ".1f", "goal, %": "d"})
    outcomes = Table({"outcome": "", "networks": "d", "reason": "", "which": ""})
    for family, goal in GOALS.items():
        listed = [row for row in rows if row.family == family]
        if listed:
            good = sum(row.outcome == "exported" for row in listed)
            counts.add(family, len(listed), good, 100 * good / len(listed), goal)
    groups = defaultdict[tuple[str, str], list[str]](list)
    for row in rows:
        if row.outcome != "exported":
            groups[row.outcome, cause(row.reason)].append(row.name)
    for (outcome, reason), names in sorted(groups.items(), key=lambda item: -len(item[1])):
        outcomes.add(outcome, len(names), reason.replace("|", "/"), ", ".join(names))
    return f"{counts}\n\n{outcomes}\n\n{figures(rows)}"


def cause(reason: str) -> str:
    """Return a reason without the numbers and names by which the same cause differs."""
    return re.sub(r"\d+(\.\d+)?(e-?\d+)?", "N", re.sub(r"'[^']*'", "'...'", reason))[:160]


def figures(rows: Iterable[Row]) -> str:
    """Return how exact and how large the files are, and how long they take, in Markdown."""
    table = Table({"of the exported": "", "median": ".2g", "largest": ".2g", "network": ""})
    good = [row for row in rows if row.outcome == "exported"]
    for name in ("raw", "logits", "heatmap", "seconds", "megabytes"):
        values = [(getattr(row, name), row.name) for row in good]
        if values:
            worst, where = max(values)
            table.add(name, float(np.median([value for value, _ in values])), worst, where)
    return str(table)


def read_rows(kept: Path | None, again: str | None) -> dict[tuple[str, str], Row]:
    """Return the rows that are kept, without those that are to be tried again."""
    if kept is None or not kept.exists():
        return {}
    rows = [Row(**json.loads(line)) for line in kept.read_text().splitlines()]
    return {
        (row.family, row.name): row
        for row in rows
        if row.outcome == "exported"
        or again is None
        or not re.search(again, f"{row.outcome}: {row.name}: {row.reason}")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=[*FAMILIES])
    parser.add_argument("--only", default="", metavar="REGEX", help="networks by name")
    parser.add_argument("--limit", type=int, help="try no more networks than this")
    parser.add_argument("--method", default="gradcam")
    parser.add_argument("--seconds", type=float, default=300, help="limit of each network")
    parser.add_argument("--gigabytes", type=float, default=12, help="limit of each network")
    parser.add_argument("--parameters", type=float, default=350e6, help="skip larger networks")
    parser.add_argument("--json", type=Path, help="keep rows here, one a line, and go on from them")
    parser.add_argument(
        "--again",
        nargs="?",
        const="",
        metavar="REGEX",
        help="try those again that did not export, by outcome, name or reason",
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        run_one(args.one, args.method, args.gigabytes)
        return
    rows = read_rows(args.json, args.again)
    listed = [each for family in args.family for each in candidates_of(family, args.json)]
    due = [
        each
        for each in sorted(listed, key=lambda each: each.parameters)
        if (each.family, each.name) not in rows and re.search(args.only, each.name)
    ]
    for candidate in due[: args.limit]:
        row = visit_alone(candidate, args)
        rows[row.family, row.name] = row
        if args.json:
            with args.json.open("a") as file:
                file.write(json.dumps(asdict(row)) + "\n")
        shown = "" if row.raw is None else f" raw {row.raw:.1e}"
        print(f"{row.seconds or 0:6.1f} s  {row.outcome}: {row.name}{shown} {row.reason}")
        sys.stdout.flush()
    print(f"\n{summary([*rows.values()])}")


if __name__ == "__main__":
    main()
