"""A thousand photos from disk to overlays, over plain forwards with the same decoding; start-up.

photos: The command `limelight explain PHOTO... --crop --picture overlay`, in this process, beside a
    loop that decodes the same photos, prepares them in the same way and runs the network on batches
    of the same size under `torch.inference_mode`. The sides take turns on parts of the photos. The
    photos come from --folder, or are copies of the samples.
start: The time of an import and of a command, beside `import torch`, each in a process of its own.
    limelight loads a name when it is first used; `explain` needs torch and more.

    python benchmarks/photos.py
    python benchmarks/photos.py --folder path/to/photos
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from typer.testing import CliRunner

import limelight
from limelight.cli import app
from limelight.photos.finding import find_photos
from limelight.photos.samples import SAMPLES, find_sample
from measure import Run, Table, commands_in_turns, in_turns, report

BATCH = 8


def copies(found: list[Path], folder: Path, count: int) -> list[Path]:
    """Copy photos into a folder repeatedly, until it holds `count` photos."""
    paths = [folder / f"{number:04}{found[number % len(found)].suffix}" for number in range(count)]
    for number, path in enumerate(paths):
        shutil.copy(found[number % len(found)], path)
    return paths


def plain(network: str, paths: list[Path]) -> None:
    """Decode photos and run the network on them, and do nothing else."""
    loaded = limelight.load_model(network, weights="none")
    for start in range(0, len(paths), BATCH):
        photos = [limelight.load_photo(path) for path in paths[start : start + BATCH]]
        images = torch.stack([loaded.preprocess(photo) for photo in photos])
        with torch.inference_mode():
            loaded.model(images)


def command(network: str, paths: list[Path], out: Path, form: str) -> None:
    """Run the command on photos."""
    asked = ["explain", *map(str, paths), "--model", network, "--weights", "none"]
    asked += ["--crop", "--picture", "overlay", "--format", form, "--batch", str(BATCH)]
    done = CliRunner().invoke(app, [*asked, "--out", str(out), "--json"])
    if done.exit_code:
        raise RuntimeError(done.output)


def photos(network: str, folder: Path | None, count: int, rounds: int) -> Table:
    """Return the table of photos; each round uses its own part of them."""
    found = find_photos([folder] if folder else map(find_sample, SAMPLES))
    table = Table({f"{count} photos, {network}": "", "s": ".1f", "over plain": ".3f"})
    with TemporaryDirectory() as place:
        inside = Path(place) / "in"
        inside.mkdir()
        paths = copies(found, inside, count)
        size = -(-count // rounds)
        parts = [paths[start : start + size] for start in range(0, count, size)]
        names = ("plain forwards", "overlays, jpg", "overlays, png")
        at = dict.fromkeys(names, 0)

        def side(name: str) -> Run:
            def run() -> None:
                part = parts[at[name] % len(parts)]
                at[name] += 1
                if name == names[0]:
                    plain(network, part)
                else:
                    command(network, part, Path(place) / "out", name[-3:])

            return run

        for name in names:
            side(name)()  # what is loaded at first
            at[name] = 0
        turns = in_turns({name: side(name) for name in names}, len(parts), warm_up=False)
    for name in names:
        table.add(name, sum(turns.times[name]), turns.over(name, names[0]))
    return table


def start(rounds: int) -> Table:
    """Return the table of start-up."""
    own = str(Path(sys.executable).with_name("limelight"))
    sides = {
        "import torch": [sys.executable, "-c", "import torch"],
        "import limelight": [sys.executable, "-c", "import limelight"],
        "from limelight import explain": [sys.executable, "-c", "from limelight import explain"],
        "limelight --version": [own, "--version"],
        "limelight --help": [own, "--help"],
    }
    turns = commands_in_turns(sides, rounds)
    table = Table({"start-up": "", "s": ".2f", "over import torch": ".3f"})
    for name in sides:
        table.add(name, turns.median(name), turns.over(name, "import torch"))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--folder", type=Path, help="of photos; without it, copies of the samples")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=10, help="into which the photos are divided")
    parser.add_argument("--publish", action="store_true", help="write docs/benchmarks.md and .json")
    args = parser.parse_args()
    tables = [photos(args.network, args.folder, args.count, args.rounds), start(args.rounds)]
    report("photos", tables, told=f"{BATCH} photos together", publish=args.publish)


if __name__ == "__main__":
    main()
