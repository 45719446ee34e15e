"""What an audit costs for each photo: time beside plain forwards, memory, bytes, and with Ray.

rate: The rows of an audit, written as Parquet, beside plain forwards of the same photos: decoded by
    the same threads, in batches of the same size, under `torch.inference_mode`. The sides take
    turns on parts of the photos.
memory: The peak of resident memory while the rows of few and of many photos are made, each in a
    process of its own. The photos are links to a few files.
bytes: The size of the Parquet files, column by column.
ray: The rows from one worker and from two, beside this process, from the first photo
    to the last: workers take long to start.
search: The search of drawn rows, and the report on them.

    python benchmarks/audit.py rate --folder path/to/photos
    python benchmarks/audit.py memory bytes ray
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow.parquet
import torch
from PIL import Image
from torch import nn

import limelight
from limelight.ahead import Room
from limelight.audits.data.folders import LocalFolder
from limelight.audits.data.truth import Truth
from limelight.audits.data.views import PhotoViews
from limelight.audits.pages.report import write_report
from limelight.audits.rows.cluster import ray_rows
from limelight.audits.rows.columns import AuditRows, Peaks
from limelight.audits.rows.looking import Looker, LookPlan
from limelight.audits.rows.maker import RowMaker
from limelight.audits.rows.shards import Shards
from limelight.audits.searches.search import search
from limelight.models.network import Network
from limelight.photos.batches import input_batches, prepared
from limelight.photos.finding import find_photos
from limelight.photos.memory import PHOTO_BYTES
from limelight.photos.preprocess import Preprocess
from limelight.photos.samples import SAMPLES, find_sample
from measure import Cost, Run, Table, alone, setting

BATCH = 8


@contextmanager
def linked(found: Sequence[Path], count: int) -> Iterator[list[str]]:
    """Link photos under other names, until there are `count`."""
    with TemporaryDirectory() as place:
        paths = [
            Path(place, f"{number:06}{found[number % len(found)].suffix}")
            for number in range(count)
        ]
        for number, path in enumerate(paths):
            path.symlink_to(found[number % len(found)].resolve())
        yield list(map(str, paths))


def small(folder: Path, found: Sequence[Path], side: int) -> list[Path]:
    """Save small copies of photos."""
    copies = []
    for path in found:
        with Image.open(path) as photo:
            copy = photo.convert("RGB")
        copy.thumbnail((side, side))
        copies.append(folder / f"{path.stem}.jpg")
        copy.save(copies[-1])
    return copies


def loaded(network: str) -> Network:
    """Return a network with random weights; the embedded one with its own."""
    embedded = network == "efficientnet-lite0"
    torch.manual_seed(0)
    return limelight.load_model(network, weights="default" if embedded else "none")


def maker_for(network: Network, photos: Sequence[str], *, trial: bool = False) -> RowMaker:
    """Return what makes the rows of photos."""
    plan = LookPlan.make(network, network.images(network.load_photo(photos[0])))
    return RowMaker(Looker(network, plan, trial=trial), Truth({}), batch=BATCH)


def plain(network: Network, photos: Sequence[str]) -> None:
    """Decode photos ahead, run the network on them, and do nothing else."""
    room = Room(PHOTO_BYTES)
    for group in prepared(map(Path, photos), network.preprocess, batch=BATCH, room=room):
        for images in input_batches(group):
            with torch.inference_mode():
                network.model(images)
        for photo in group:
            room.give(photo.taken)


def write(batches: Iterator[list[dict[str, Any]]], maker: RowMaker, out: Path) -> int:
    """Write rows as an audit does, and return how many there are."""
    shards, count = Shards(LocalFolder(out), maker.looker.plan.form), 0
    for rows in batches:
        shards.add(rows)
        count += len(rows)
    shards.flush()
    return count


def rate(network: str, found: Sequence[Path], count: int, rounds: int) -> Table:
    """Return photos a second of an audit and of plain forwards, and the ratios of the medians.

    The time of the processor counts the work of all threads, whatever else the machine does.
    """
    table = Table(
        {
            f"{count} photos, {network}": "",
            "photos a second": ".1f",
            "time over plain": ".3f",
            "processor time over plain": ".3f",
        }
    )
    own = loaded(network)
    with linked(found, count) as photos, TemporaryDirectory() as out:
        as_it_is, trial = maker_for(own, photos), maker_for(own, photos, trial=True)
        sides: dict[str, Callable[[Sequence[str]], object]] = {
            "plain forwards": partial(plain, own),
            "audit": lambda part: write(as_it_is.rows(part), as_it_is, Path(out)),
            "audit, memory format tried": lambda part: write(trial.rows(part), trial, Path(out)),
        }
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
        size = -(-count // rounds)
        for run in sides.values():
            run(photos[:BATCH])
        for number in range(rounds):
            for name in [*sides, *sides][number % 3 :][:3]:  # none is always first
                begun = time.perf_counter(), time.process_time()
                sides[name](photos[number * size :][:size])
                ended = time.perf_counter(), time.process_time()
                times[name].append((ended[0] - begun[0], ended[1] - begun[1]))
    medians = {name: np.median(each, axis=0) for name, each in times.items()}
    base = medians["plain forwards"]
    for name, (wall, cpu) in medians.items():
        table.add(name, size / float(wall), float(wall / base[0]), float(cpu / base[1]))
    return table


def small_network() -> Network:
    """Return a network that takes next to no time, of inputs of 64 x 64."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(a, b, 3, 2, 1) for a, b in ((3, 16), (16, 32), (32, 64))]
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    model = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())), *pool)
    return Network("three convolutions", model.eval(), Preprocess(size=(64, 64), resize=64))


def _make(found: Sequence[Path], count: int) -> Run:
    """Return the making of the rows of some photos, in a process of its own."""
    own = small_network()
    with linked(found, BATCH) as few:
        maker = maker_for(own, few)
        list(maker.rows(few))  # what the first batch alone takes

    def run() -> int:
        with linked(found, count) as photos, TemporaryDirectory() as out:
            return write(maker.rows(photos), maker, Path(out))

    return run


def memory(found: Sequence[Path], counts: Sequence[int]) -> Table:
    """Return the peak memory of some numbers of photos, with a small network."""
    columns = {"photos": ",", "s": ".0f", "MiB over idle": ".0f", "rows": ","}
    table = Table(columns)
    with TemporaryDirectory() as folder:
        photos = small(Path(folder), found, 160)
        for count in counts:
            cost: Cost = alone(partial(_make, photos, count))
            table.add(count, cost.seconds, cost.peak, cost.result)
    return table


def sizes(network: str, found: Sequence[Path], count: int) -> Table:
    """Return the bytes of a row in Parquet, for the columns that take most."""
    table = Table({f"column, {count} photos, {network}": "", "bytes a photo": ".0f"})
    with linked(found, count) as photos, TemporaryDirectory() as out:
        maker = maker_for(loaded(network), photos)
        rows = [row for rows in maker.rows(photos) for row in rows]
        shards = Shards(LocalFolder(Path(out)), maker.looker.plan.form)
        shards.add(rows)
        shards.flush()
        files = list(Path(out).glob("rows/*.parquet"))
        by_column = dict[str, int]()
        for file in files:
            facts = pyarrow.parquet.read_metadata(file)
            for group in range(facts.num_row_groups):
                for number in range(facts.num_columns):
                    column = facts.row_group(group).column(number)
                    name = column.path_in_schema.partition(".")[0]
                    by_column[name] = by_column.get(name, 0) + column.total_compressed_size
        total = sum(file.stat().st_size for file in files)
    form = maker.looker.plan.form
    for name, size in sorted(by_column.items(), key=lambda item: -item[1])[:6]:
        table.add(name, size / count)
    table.add(
        f"all, with {len(files)} files (grid {form.grid}, {form.features} features)", total / count
    )
    return table


class Stamped:
    """Writes down when each photo is asked for, in a file of each process."""

    def __init__(self, folder: Path) -> None:
        """Begin in a folder."""
        self.folder = folder

    def __call__(self, photo: str) -> Path:
        """Return the file of a photo."""
        with (self.folder / f"{os.getpid()}").open("a") as file:
            file.write(f"{time.time()}\n")
        return Path(photo)

    def times(self) -> list[float]:
        """Return all times, sorted."""
        files = self.folder.iterdir()
        return sorted(float(line) for file in files for line in file.read_text().splitlines())


def with_ray(network: str, found: Sequence[Path], count: int) -> Table:
    """Return photos a second with Ray beside this process: from the first photo to the last."""
    table = Table(
        {f"{count} photos, {network}": "", "photos a second": ".1f", "s to the first": ".1f"}
    )

    def add(name: str, maker: RowMaker, make: Callable[[RowMaker], Iterator[Any]]) -> None:
        with TemporaryDirectory() as folder:
            stamped = Stamped(Path(folder))
            begun = time.time()
            for _ in make(replace(maker, local=stamped)):
                pass
            times = stamped.times()
            table.add(name, count / (times[-1] - times[0]), times[0] - begun)

    with linked(found, count) as photos:
        maker = maker_for(loaded(network), photos)
        list(maker.rows(photos[:BATCH]))
        add("this process", maker, lambda own: own.rows(photos))
        import ray

        ray.init(
            num_cpus=(os.cpu_count() or 1) + 1,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        for workers in (1, 2):
            own = replace(maker, workers=workers)
            add(f"Ray, {workers} workers", own, lambda own: ray_rows(own, photos))
        ray.shutdown()
    return table


def drawn_rows(count: int, classes: int = 10, grid: int = 14, features: int = 40) -> AuditRows:
    """Draw rows: maps with three spots, each of one of four kinds of evidence of the class."""
    random = np.random.default_rng(0)
    numbers = np.arange(count)
    predicted = random.integers(0, classes, count)
    cells = np.sort(random.permuted(np.tile(np.arange(grid**2), (count, 1)), axis=1)[:, :3], axis=1)
    maps = np.zeros((count, grid * grid), np.float16)
    heat = np.sort(random.uniform(0.4, 1, (count, 3)))[:, ::-1].astype(np.float32)
    heat[:, 0] = 1
    np.put_along_axis(maps, cells, heat.astype(np.float16), axis=1)
    kinds = random.integers(0, 4, (count, 3))
    middles = random.standard_normal((classes, 4, features))
    seen = middles[predicted[:, None], kinds] + 0.3 * random.standard_normal((count, 3, features))
    names = np.array([f"class {number}" for number in predicted], dtype=object)
    right = random.random(count) < 0.85
    label = np.where(right, names, np.roll(names, 1))
    known = {
        "photo": np.array([f"photos/{number:08}.jpg" for number in numbers], dtype=object),
        "digest": np.array([random.bytes(8).hex() for _ in numbers], dtype=object),
        "look": random.integers(0, 2**63, count).astype(np.uint64),
        "width": np.full(count, 640),
        "height": np.full(count, 480),
        "label": label,
        "predicted": names,
        "explained": names,
        "probability": random.random(count),
        "right": (label == names).astype(np.float64),
        "score": random.standard_normal(count),
        "status": np.full(count, "ok", dtype=object),
        "layer": np.full(count, "layer4", dtype=object),
        "method": np.full(count, "gradcam", dtype=object),
        "maps": maps.reshape(count, grid, grid),
        "peaks": Peaks(
            np.repeat(numbers, 3),
            cells.ravel() // grid,
            cells.ravel() % grid,
            heat.ravel(),
            seen.reshape(-1, features).astype(np.float32),
        ),
    }
    missing = {
        each.name: np.full(count, "" if each.type == "Texts" else np.nan, dtype=object)
        for each in fields(AuditRows)
        if each.name not in known
    }
    numbers_missing = {
        name: values.astype(np.float64) for name, values in missing.items() if values[0] != ""
    }
    return AuditRows(**{**missing, **numbers_missing, **known})


def _noise(photo: str, _preprocess: Preprocess) -> Image.Image:
    """Return a picture of noise, in place of a photo."""
    random = np.random.default_rng(crc32(photo.encode()))
    return Image.fromarray(random.integers(0, 256, (120, 160, 3), dtype=np.uint8))


def _search(count: int) -> Run:
    """Return the search of drawn rows and the report on it, in a process of its own."""
    rows = drawn_rows(count)
    preprocess = Preprocess(size=(112, 112), resize=112)

    def run() -> tuple[float, float, float]:
        begun = time.perf_counter()
        views = PhotoViews(preprocess, _noise)
        found = search(rows, count, {"model": "drawn"}, views)
        searched = time.perf_counter()
        with TemporaryDirectory() as out:
            page = write_report(found, views, Path(out))
            size = page.stat().st_size / 1e6
        return searched - begun, time.perf_counter() - searched, size

    return run


def searches(counts: Sequence[int]) -> Table:
    """Return time and memory of the search and of the report, and its size."""
    table = Table(
        {
            "rows": ",",
            "search, s": ".0f",
            "report, s": ".0f",
            "report, MB": ".1f",
            "MiB over idle": ".0f",
        }
    )
    for count in counts:
        cost: Cost = alone(partial(_search, count))
        table.add(count, *cost.result, cost.peak)  # type: ignore[misc]  # a tuple of three
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("parts", nargs="+", choices=["rate", "memory", "bytes", "ray", "search"])
    parser.add_argument("--network", default="efficientnet-lite0")
    parser.add_argument("--folder", type=Path, help="of photos; without it, the samples")
    parser.add_argument("--count", type=int, default=480)
    parser.add_argument("--rounds", type=int, default=6, help="into which the photos are divided")
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 20_000], help="for memory")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000], help="for search")
    args = parser.parse_args()
    found = find_photos([args.folder] if args.folder else map(find_sample, SAMPLES))
    parts: dict[str, Callable[[], Table]] = {
        "rate": lambda: rate(args.network, found, args.count, args.rounds),
        "memory": lambda: memory(found, args.counts),
        "bytes": lambda: sizes(args.network, found, min(args.count, len(found))),
        "search": lambda: searches(args.rows),
        "ray": lambda: with_ray(args.network, found, args.count),
    }
    print(f"On {setting()}, {BATCH} photos together:")
    for part in args.parts:
        print(f"\n## {part}\n\n{parts[part]()}", flush=True)


if __name__ == "__main__":
    main()
