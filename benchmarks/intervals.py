"""How often intervals hold, and how often a claim about a method is false, or is missed.

simulations: limelight's own functions on drawn readings whose truth is known: the coverage of the
    interval of a mean; false and true claims that one series is better than another of the same
    images, beside the rule before, by which two bootstrap intervals had to be apart.
readings: The same claims on the readings of real runs (`--readings`), with images drawn with
    replacement: see `intervals_readings.py`. What comes out are the numbers of images that a claim
    takes, FEWEST_IMAGES and FEWEST_IMAGES_OF_A_PAIR of `limelight.metrics.intervals`.
photos: Maps of random cells on photos (`--photos`), each with a seed of its own: how often is such
    a map said to beat chance? Each takes twelve passes of the network: with 200 seeds and 20 photos
    half an hour on one quiet core.

Simulations and readings of twelve methods take about five minutes on one core.

    python benchmarks/intervals.py --readings faithful/table.json located/table.json
    python benchmarks/intervals.py --photos coco128/images --seeds 200
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

import limelight
from intervals_readings import ALPHA, Rates, Readings, fewest, read
from limelight.metrics.annotation_files import Annotations
from limelight.metrics.estimates import with_claims
from limelight.metrics.intervals import (
    FEWEST_IMAGES,
    FEWEST_IMAGES_OF_A_PAIR,
    PairedDifference,
    difference,
    mean,
)
from limelight.metrics.measurement import Measurement
from limelight.metrics.photo_measurement import MeasureSpec, measure_photos
from limelight.metrics.run import chosen_metrics
from measure import Table

Array = npt.NDArray[Any]
Random = np.random.Generator

PAGE = Path(__file__).parents[1] / "docs" / "measure.md"

#: How many images are drawn in the tables, and beside them to find how many a claim takes.
COUNTS = (8, 12, 20, 50, 100, 400)
FEW, FINER = 5, (6, 10, 30, 40, 60, 70, 80)

#: Real numbers are drawn so many times as often as yes-or-no readings, which take long: their error
#: is near the limit, and that of yes-or-no readings is below the nominal rate.
MORE = 4

#: How many samples the rule before drew for an interval.
RESAMPLES = 2000


def percent(share: float) -> str:
    """Return a share in percent."""
    return f"{100 * share:.1f}"


def tell(what: str) -> None:
    """Say on standard error what is done, and when."""
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


# ---- coverage ------------------------------------------------------------------------------------


class Sample(NamedTuple):
    """Readings, with the group and the image of each map."""

    values: Array
    groups: Sequence[str] = ()
    images: Sequence[str] | None = None


class Kind(NamedTuple):
    """A kind of readings: how a sample of n images is drawn, and the true mean."""

    draw: Callable[[Random, int], Sample]
    truth: float
    yes_or_no: bool = False
    over_groups: bool = False


def several_maps(random: Random, n: int) -> Sample:
    """Draw a geometric number of maps of each image, two in the mean, whose readings are alike."""
    image = np.repeat(np.arange(n), random.geometric(0.5, n))
    level = random.beta(0.5, 1.5, n)
    values = level[image] + random.normal(0, 0.1, len(image))
    return Sample(values, images=[f"{number}" for number in image])


def hits_of_several_maps(random: Random, n: int) -> Sample:
    """Draw hits in the same way, each with the probability of its image."""
    image = np.repeat(np.arange(n), random.geometric(0.5, n))
    level = random.beta(1, 1, n)
    hits = (random.random(len(image)) < level[image]) * 1.0
    return Sample(hits, images=[f"{number}" for number in image])


def of_five_classes(random: Random, n: int) -> Sample:
    """Draw readings of five classes of the same mean, of which one is six times as frequent."""
    group = random.choice(5, n, p=[0.1, 0.1, 0.1, 0.1, 0.6])
    return Sample(random.beta(0.5, 1.5, n), groups=[f"{number}" for number in group])


KINDS = {
    "normal": Kind(lambda r, n: Sample(r.normal(0, 1, n)), 0),
    "skewed: beta(0.5, 1.5)": Kind(lambda r, n: Sample(r.beta(0.5, 1.5, n)), 0.25),
    "very skewed: exponential": Kind(lambda r, n: Sample(r.exponential(1, n)), 1),
    "yes or no, half": Kind(lambda r, n: Sample((r.random(n) < 0.5) * 1.0), 0.5, True),
    "yes or no, nine of ten": Kind(lambda r, n: Sample((r.random(n) < 0.9) * 1.0), 0.9, True),
    "several maps of an image": Kind(several_maps, 0.25),
    "yes or no, several maps of an image": Kind(hits_of_several_maps, 0.5, True),
    "mean over five classes": Kind(of_five_classes, 0.25, over_groups=True),
}


def coverage(draws: int) -> Table:
    """Count how often the interval of a mean holds the true mean."""
    table = Table({"readings": "", **{f"n = {n}": "" for n in COUNTS}})
    for name, kind in KINDS.items():
        tell(f"coverage, {name}")
        random, cells = np.random.default_rng(0), list[str]()
        for n in COUNTS:
            held = 0
            for _ in range(draws):
                sample = kind.draw(random, n)
                estimate = mean(
                    torch.from_numpy(sample.values),
                    sample.groups,
                    sample.images,
                    over_groups=kind.over_groups,
                    yes_or_no=kind.yes_or_no,
                )
                held += estimate.low <= kind.truth <= estimate.high
            cells.append(percent(held / draws))
        table.add(name, *cells)
    return table


# ---- one series against another ------------------------------------------------------------------


class Pairs(NamedTuple):
    """Two series of the same images: how D samples `[D, n]` of both are drawn.

    Attributes:
        draw: Draws both, given by how much the first is better.
        effect: By how much it is where power is measured.
        yes_or_no: Whether the readings are 1 or 0.
    """

    draw: Callable[[Random, tuple[int, int], float], tuple[Array, Array]]
    effect: float
    yes_or_no: bool = False


def alike(random: Random, shape: tuple[int, int], effect: float) -> tuple[Array, Array]:
    """Draw readings that follow their image, with a correlation of about 0.8."""
    image = random.beta(0.5, 1.5, shape)
    first, second = random.normal(0, 0.1, (2, *shape))
    return image + first + effect, image + second


def alike_and_skewed(random: Random, shape: tuple[int, int], effect: float) -> tuple[Array, Array]:
    """Draw readings whose differences are exponential: now and then one is much better."""
    image = random.beta(0.5, 1.5, shape)
    return image + random.exponential(0.1, shape) - 0.1 + effect, image


def hits(random: Random, shape: tuple[int, int], effect: float) -> tuple[Array, Array]:
    """Draw hits, of images of which some are easier than others; both hit half of them."""
    level = random.beta(0.5, 0.5, shape)
    first, second = random.random((2, *shape)) < level
    first |= random.random(shape) < 2 * effect
    return first * 1.0, second * 1.0


PAIRS = {
    "numbers": Pairs(alike, 0.05),
    "numbers, skewed": Pairs(alike_and_skewed, 0.05),
    "yes or no": Pairs(hits, 0.25, True),
}


@cache
def of_counts(both: int, first: int, second: int, neither: int) -> PairedDifference:
    """Return the difference of yes-or-no readings, which depends on four counts."""
    counts = [both, first, second, neither]
    series = np.repeat([[1.0, 1, 0, 0], [1, 0, 1, 0]], counts, axis=1)
    return difference(torch.from_numpy(series[0]), torch.from_numpy(series[1]), yes_or_no=True)


def paired(first: Array, second: Array, *, yes_or_no: bool) -> Array:
    """Return whether the first is said to be better, or worse: 1, -1, or 0 for no claim, `[D]`."""
    claims = list[float]()
    for a, b in zip(first, second, strict=True):
        if yes_or_no:
            counts = [int(((a == i) & (b == j)).sum()) for i in (1, 0) for j in (1, 0)]
            lead = of_counts(*counts)
        else:
            lead = difference(torch.from_numpy(a), torch.from_numpy(b))
        claims.append(float(np.sign(lead.value)) if lead.p < ALPHA else 0.0)
    return np.array(claims)


def apart(first: Array, second: Array, *, yes_or_no: bool) -> Array:
    """Return the same by the rule before: bootstrap intervals of both means are apart (Efron 1979).

    It had no other rule for yes-or-no readings.
    """
    del yes_or_no
    n = first.shape[1]
    times = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), RESAMPLES)
    ends = [
        np.quantile(series @ times.T / n, [ALPHA / 2, 1 - ALPHA / 2], axis=1)
        for series in (first, second)
    ]
    (low_a, high_a), (low_b, high_b) = ends
    return np.asarray((low_a > high_b) * 1.0 - (low_b > high_a))


def claims(draws: int) -> tuple[Table, Table]:
    """Count the false claims of two series of equal means, and the true ones of others."""
    columns = {"readings": "", "rule": "", **{f"n = {n}": "" for n in COUNTS}}
    false, true = Table(columns), Table(columns)
    for name, pairs in PAIRS.items():
        tell(f"claims, {name}")
        for rule, claim in {"paired": paired, "before": apart}.items():
            random, errors, power = np.random.default_rng(0), list[str](), list[str]()
            for n in COUNTS:
                said = claim(*pairs.draw(random, (draws, n), 0), yes_or_no=pairs.yes_or_no)
                errors.append(f"{percent((said > 0).mean())} / {percent((said < 0).mean())}")
                found = claim(
                    *pairs.draw(random, (draws, n), pairs.effect), yes_or_no=pairs.yes_or_no
                )
                power.append(percent((found > 0).mean()))
            false.add(name, rule, *errors)
            true.add(f"{name}, {pairs.effect:g} better", rule, *power)
    return false, true


# ---- real readings -------------------------------------------------------------------------------


def on_readings(readings: Readings, draws: int) -> tuple[Table, list[Rates]]:
    """Count the claims on real readings."""
    columns = (
        "false: beats chance",
        "worst row",
        "false: two differ",
        "worst pair",
        "found: beats chance",
        "found before",
        "told apart",
        "told apart before",
    )
    yes_or_no = readings.population.yes_or_no
    draws *= 1 if yes_or_no else MORE
    counts = sorted((FEW, *COUNTS, *(() if yes_or_no else FINER)))
    table, found = Table({"images drawn": "d", **dict.fromkeys(columns, "")}), list[Rates]()
    for n in counts:
        tell(f"{readings.metric}, {n} images")
        rates = readings.rates(n, draws)
        found.append(rates)
        if n not in COUNTS:
            continue
        cells = list[str]()
        for shares in (rates.chance, rates.differ):
            cells += [percent(float(np.mean(list(shares.values())))), percent(max(shares.values()))]
        power = (rates.found, rates.found_before, rates.told, rates.told_before)
        table.add(n, *cells, *map(percent, power))
    return table, found


def fewest_images(rates: Sequence[Sequence[Rates]]) -> str:
    """Return how many images each claim takes, in words."""
    lines = list[str]()
    for claim, nominal, words, name, constant in (
        ("chance", ALPHA / 2, "a method beats chance", "FEWEST_IMAGES", FEWEST_IMAGES),
        ("differ", ALPHA, "two differ", "FEWEST_IMAGES_OF_A_PAIR", FEWEST_IMAGES_OF_A_PAIR),
    ):
        each = [fewest(of_metric, claim, nominal) for of_metric in rates if of_metric]
        most = None if None in each else max(n for n in each if n is not None)
        lines.append(
            f"- That {words} takes {'more than were tried' if most is None else f'{most} images'}: "
            f"from there on the error is at most {percent(1.5 * nominal)} % in every row, one and "
            f"a half times the nominal {percent(nominal)} % (Bradley 1978). limelight makes the "
            f"claim from {constant} on (`{name}`)."
        )
    return "\n".join(lines)


def simulations(files: Sequence[Path], draws: int) -> str:
    """Return the tables of all simulations, in Markdown."""
    tables = [read(file) for file in files]
    false, true = claims(draws)
    parts = [
        f"Each figure is of {draws} draws, those of real numbers of {MORE * draws}, and those of "
        "the rule before on real readings of a twentieth.",
        "How often, in %, the 95 % interval of a mean holds the true mean of n images:",
        str(coverage(draws)),
        "How often, in %, one of two series of equal means is said to be better / worse; 2.5 on "
        "each side is nominal. *Paired* is limelight's rule, *before* that two bootstrap intervals "
        "had to be apart:",
        str(false),
        "How often, in %, a series that is better is said to be:",
        str(true),
    ]
    rates = list[list[Rates]]()
    for readings in (each for table in tables for each in table):
        table, found = on_readings(readings, draws)
        population = readings.population
        # More draws than there are photos say more of their repetitions than of the claim.
        rates.append([each for each in found if each.n <= population.images])
        parts += [
            f"`{readings.metric}` of {len(readings.methods)} methods on "
            f"{int(population.sizes.sum())} maps of {population.images} photos, in %; methods of "
            "the same maps count once:",
            str(table),
        ]
    if rates:
        parts.append(fewest_images(rates))
    return "\n\n".join(parts)


# ---- random maps on photos -----------------------------------------------------------------------


def random_maps(
    photos: Sequence[Path], seeds: int, metrics: Sequence[str], annotations: Annotations | None
) -> str:
    """Return how often maps of random cells are said to be better than others, in Markdown."""
    network = limelight.load_model()
    spec = MeasureSpec(
        methods=[limelight.METHODS["random"].set(seed=seed + 1) for seed in range(seeds)],
        metrics=chosen_metrics(metrics, with_objects=annotations is not None),
        annotations=annotations,
    )
    measured = list[Measurement]()
    for done, result in enumerate(measure_photos(network, photos, spec)):
        tell(f"photo {done + 1} of {len(photos)}, {result.error or result.path.name}")
        measured.append(result.measurement)
    total = Measurement.total(measured)
    table = Table(
        {
            "metric": "",
            "photos": "d",
            "beat chance": "",
            "better than the random control": "",
            "better than another seed": "",
        }
    )
    for metric in total.metrics:
        # Each is claimed as if it were the only method: without Holm's correction for all seeds.
        each = [with_claims([estimate])[0] for estimate in total.ranking(metric)]
        own = [
            maps.values["own"]["value"]
            for key, maps in total.readings.items()
            if key.metric == metric
        ]
        table.add(
            f"`{metric}`",
            each[0].own.images,
            percent(float(np.mean([bool(estimate.beats_chance) for estimate in each]))),
            percent(float(np.mean([is_better(estimate.over_random) for estimate in each]))),
            percent(better_than_another(own)),
        )
    return (
        f"{seeds} maps of random cells on each photo, in % of the seeds; 2.5 is nominal. The "
        "control is one draw, which all seeds are compared with; of two seeds each is another "
        f"draw.\n\n{table}"
    )


def is_better(lead: PairedDifference) -> bool:
    """Return whether a difference shows that the first is better."""
    return lead.value > 0 and lead.p < ALPHA


def better_than_another(series: Sequence[Tensor]) -> float:
    """Return in which share of the ordered pairs the first is said to be better."""
    some = permutations(series[:40], 2)
    return float(np.mean([is_better(difference(first, second)) for first, second in some]))


# ---- the page ------------------------------------------------------------------------------------


def publish(section: str, text: str) -> None:
    """Write text into its place in the page."""
    begin, end = f"<!-- {section}:begin -->", f"<!-- {section}:end -->"
    before, found, rest = PAGE.read_text().partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"{PAGE} has no section {section!r}")
    PAGE.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--readings", nargs="+", type=Path, default=[], help="table.json or readings.jsonl"
    )
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--photos", type=Path, help="a folder: random maps on its photos alone")
    parser.add_argument("--boxes", type=Path, help="boxes of the photos, as for limelight measure")
    parser.add_argument("--metrics", nargs="+", help="of random maps; with boxes also energy")
    parser.add_argument("--count", type=int, default=20, help="how many of the photos")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--publish", action="store_true", help="write the tables into docs/")
    asked: Any = parser.parse_args()
    section = "random" if asked.photos else "statistics"
    if asked.photos:
        names = (".jpg", ".jpeg", ".png")
        photos = sorted(file for file in asked.photos.iterdir() if file.suffix.lower() in names)
        annotations = Annotations(boxes=asked.boxes) if asked.boxes else None
        metrics = ["insertion:steps=10"] + (["energy-pointing"] if annotations else [])
        text = random_maps(
            photos[: asked.count], asked.seeds, asked.metrics or metrics, annotations
        )
    else:
        text = simulations(asked.readings, asked.draws)
    print(text)
    if asked.publish:
        publish(section, text)


if __name__ == "__main__":
    main()
