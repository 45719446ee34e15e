"""The error of claims about methods, on real readings: images are drawn again and again.

Of the readings that `limelight measure` wrote, n images are drawn with replacement, and the claims
counted that limelight would make of them. Numbers are centred first, so that nothing is better than
anything else: every claim is false. Yes-or-no readings cannot be centred; there, two series are
exchanged at random on each image. What is read is not centred for the power.

All draws of a table are computed at once. `Population.check` compares them with limelight's own
functions, and stops the benchmark if they differ.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from limelight.metrics.intervals import CONFIDENCE
from limelight.metrics.measurement import Measurement
from limelight.metrics.readings import MAP_SOURCES, MapReadings

Array = npt.NDArray[Any]

ALPHA = 1 - CONFIDENCE
#: Readings that differ by no more than this share differ by rounding alone. Methods are the same if
#: so many of their numbers do (where rounding changes the order of pixels, it changes more), or all
#: of their yes-or-no readings.
SAME, MOST = 1e-6, 0.9
#: How many draws are computed at once, and how many samples the rule before drew for an interval.
TOGETHER, RESAMPLES = 250, 1000


@dataclass(frozen=True)
class Population:
    """Readings of S series of the same maps, as sums over the maps of one image and one group.

    Attributes:
        sums: The sums, `[P, S]`; higher is better.
        sizes: How many maps each has, `[P]`.
        image: The number of its image, `[P]`, in rising order.
        group: The number of its group, `[P]`.
        images: How many images there are.
        yes_or_no: Whether the readings are 1 or 0.
    """

    sums: Array
    sizes: Array
    image: Array
    group: Array
    images: int
    yes_or_no: bool

    def drawn(self, n: int, draws: int, random: np.random.Generator) -> Iterator[Array]:
        """Yield how often each image is drawn, `[R, I]`, n images in each of the draws."""
        for start in range(0, draws, TOGETHER):
            rows = min(TOGETHER, draws - start)
            yield random.multinomial(n, np.full(self.images, 1 / self.images), rows) * 1.0

    def of(self, series: Sequence[int], orders: Sequence[Sequence[int]] = ()) -> Population:
        """Return some of the series; with orders, a copy of all images for each order of them."""
        sums = self.sums[:, list(series)]
        if not orders:
            return replace(self, sums=sums)
        copies = len(orders)
        return replace(
            self,
            sums=np.concatenate([sums[:, list(order)] for order in orders]),
            sizes=np.tile(self.sizes, copies),
            image=np.concatenate([self.image + self.images * copy for copy in range(copies)]),
            group=np.tile(self.group, copies),
            images=self.images * copies,
        )

    def totals(self, times: Array) -> tuple[Array, Array]:
        """Return the sums `[R, G, S]` and the counts `[R, G]` of each group in the draws."""
        order = np.argsort(self.group, kind="stable")
        first = np.flatnonzero(np.diff(self.group[order], prepend=-1))  # of each group
        weights = times[:, self.image[order]]
        totals = np.add.reduceat(weights[..., None] * self.sums[order], first, 1)
        return totals, np.add.reduceat(weights * self.sizes[order], first, 1)

    def values(self, times: Array) -> Array:
        """Return the means `[R, S]`: over groups, of the mean of each."""
        totals, counts = self.totals(times)
        means = totals / np.maximum(counts, 1)[..., None]
        return np.asarray(means.sum(1) / (counts > 0).sum(1)[:, None])

    def centred(self) -> Population:
        """Return the same with means of 0."""
        values = self.values(np.ones((1, self.images)))[0]
        return replace(self, sums=self.sums - values * self.sizes[:, None])

    def means(self, times: Array) -> Means:
        """Return the means and their covariance, by leaving out each image in turn."""
        totals, counts = self.totals(times)
        there = (counts > 0).sum(1)
        group_means = totals / np.maximum(counts, 1)[..., None]
        values = group_means.sum(1) / there[:, None]
        rest = counts[:, self.group] - self.sizes
        rest_means = totals[:, self.group] - self.sums
        rest_means /= np.maximum(rest, 1)[..., None]
        rest_means *= (rest > 0)[..., None]
        changes = rest_means - group_means[:, self.group]
        first = np.flatnonzero(np.diff(self.image, prepend=-1))  # of each image
        left = np.maximum(there[:, None] - np.add.reduceat((rest <= 0) * 1, first, 1), 1)
        changed = np.add.reduceat(changes, first, 1)
        without = ((values * there[:, None])[:, None] + changed) / left[..., None]
        n = times.sum(1)[0]
        weights = times[..., None]
        deviations = without - values[:, None]
        deviations -= (weights * deviations).sum(1, keepdims=True) / n
        covariance = (n - 1) / n * np.swapaxes(weights * deviations, 1, 2) @ deviations
        return Means(values, covariance, times[:, self.image] @ self.sizes, int(n), self.yes_or_no)

    def old_intervals(self, times: Array, random: np.random.Generator) -> tuple[Array, Array]:
        """Return what the rule before took: bootstrap intervals of each mean, `[R, S]` twice."""
        ends = []
        for row in times:
            n = int(row.sum())
            again = self.values(random.multinomial(n, row / n, RESAMPLES) * 1.0)
            ends.append(np.quantile(again, [ALPHA / 2, 1 - ALPHA / 2], axis=0))
        low, high = np.swapaxes(np.array(ends), 0, 1)
        return low, high


class Means(NamedTuple):
    """The means of S series in R draws.

    Attributes:
        values: The means, `[R, S]`.
        covariance: Their covariance, `[R, S, S]`.
        maps: How many maps each draw has, `[R]`.
        n: How many images.
        yes_or_no: Whether the readings are 1 or 0.
    """

    values: Array
    covariance: Array
    maps: Array
    n: int
    yes_or_no: bool

    def difference(self, first: int, second: int) -> tuple[Array, Array]:
        """Return the ends `[R]` of the interval of the first mean less the second."""
        a, b = self.values[:, first], self.values[:, second]
        (c_aa, c_ab), (_, c_bb) = self.covariance[:, [[first], [second]], [first, second]].T
        if not self.yes_or_no:
            variance = np.maximum(c_aa + c_bb - 2 * c_ab, 0)
            half = special.stdtrit(self.n - 1, 1 - ALPHA / 2) * np.sqrt(variance)
            return a - b - half, a - b + half
        (low_a, high_a), (low_b, high_b) = self.exact(a, c_aa), self.exact(b, c_bb)
        deviation = np.sqrt(c_aa * c_bb)
        r = np.where(deviation > 0, c_ab / np.where(deviation > 0, deviation, 1), 0)

        def length(x: Array, y: Array) -> Array:
            return np.asarray(np.sqrt(np.maximum(x**2 - 2 * r * x * y + y**2, 0)))

        return a - b - length(a - low_a, high_b - b), a - b + length(high_a - a, b - low_b)

    def exact(self, share: Array, variance: Array) -> tuple[Array, Array]:
        """Return the exact interval of shares."""
        alone = share * (1 - share) / (self.maps - 1)
        agree = variance <= SAME**2 * alone
        design = special.stdtrit(self.maps - 1, 1 - ALPHA / 2) / special.stdtrit(
            self.n - 1, 1 - ALPHA / 2
        )
        ratio = alone / np.where(agree, 1, variance) * design**2
        count = np.where(agree, self.n, self.maps * np.minimum(1, ratio))
        hits = share * count
        low = special.betaincinv(np.maximum(hits, 1e-300), count - hits + 1, ALPHA / 2)
        high = special.betaincinv(hits + 1, np.maximum(count - hits, 1e-300), 1 - ALPHA / 2)
        return np.where(share > 0, low, 0), np.where(share < 1, high, 1)


class Rates(NamedTuple):
    """How often claims are made of n images.

    Attributes:
        n: How many images.
        chance: The share of false claims that a method beats chance, for each method and each way
            in which it does not: it is as good as one control, or as both.
        differ: The share of false claims that two methods differ, for each pair.
        found: How often those that are better than both controls are said to be.
        found_before: The same, by the rule before.
        told: How often two methods are told apart, mean over the pairs.
        told_before: The same, by the rule before.
    """

    n: int
    chance: dict[str, float]
    differ: dict[str, float]
    found: float
    found_before: float
    told: float
    told_before: float


@dataclass(frozen=True)
class Readings:
    """The readings of several methods by one metric.

    Attributes:
        metric: The metric.
        methods: The methods; those whose maps are the same are there once.
        population: Own maps, random maps and blob of each method: series 3 m, 3 m + 1, 3 m + 2.
    """

    metric: str
    methods: tuple[str, ...]
    population: Population

    @classmethod
    def of(cls, metric: str, rows: Sequence[tuple[str, MapReadings]]) -> Readings:
        """Read the methods that have the same maps, and compare with limelight's own figures."""
        first = rows[0][1]
        rows = [(name, maps) for name, maps in rows if maps.images == first.images]
        kept = list[tuple[str, MapReadings]]()
        for name, maps in rows:
            most = 1.0 if maps.metric.yes_or_no else MOST
            if not any(is_same(own(maps), own(other), most) for _, other in kept):
                kept.append((name, maps))
        series = np.stack(
            [maps.values[source]["value"].numpy() for _, maps in kept for source in MAP_SOURCES]
        )
        row = first.metric
        if row.better == "lower":
            series = 1 - series if row.yes_or_no else -series
        defined = np.isfinite(series).all(0)
        _, image = np.unique(np.array(first.images)[defined], return_inverse=True)
        groups = np.array(first.groups if row.over_groups else [""] * len(defined))[defined]
        _, group = np.unique(groups, return_inverse=True)
        images, count = int(image.max()) + 1, int(group.max()) + 1
        pair, member = np.unique(image * count + group, return_inverse=True)
        sums = np.stack([np.bincount(member, values) for values in series[:, defined]], 1)
        population = Population(
            sums, np.bincount(member), pair // count, pair % count, images, row.yes_or_no
        )
        check(population, kept, defined, image)
        return cls(metric, tuple(name for name, _ in kept), population)

    def rates(self, n: int, draws: int, seed: int = 0) -> Rates:
        """Return how often claims are made of n images."""
        random, count = np.random.default_rng(seed), len(self.methods)
        null = self.exchanged if self.population.yes_or_no else self.shifted
        chance, differ = null(n, draws, random)
        population, better = self.population, self.better()
        found, told = np.zeros(count), np.zeros((count, count))
        found_before, told_before = found.copy(), told.copy()
        few = max(20, draws // 20)
        for times in population.drawn(n, draws, random):
            means = population.means(times)
            for m in range(count):
                lows = [means.difference(3 * m, 3 * m + control)[0] for control in (1, 2)]
                found[m] += (np.minimum(*lows) > 0).sum() / draws
            for i, j in combinations(range(count), 2):
                low, high = means.difference(3 * i, 3 * j)
                told[i, j] += ((low > 0) | (high < 0)).sum() / draws
        for times in population.drawn(n, few, random):
            low, high = population.old_intervals(times, random)
            for m in range(count):
                highest = high[:, [3 * m + 1, 3 * m + 2]].max(1)
                found_before[m] += (low[:, 3 * m] > highest).sum() / few
            for i, j in combinations(range(count), 2):
                apart = (low[:, 3 * i] > high[:, 3 * j]) | (low[:, 3 * j] > high[:, 3 * i])
                told_before[i, j] += apart.sum() / few
        pairs = max(1, count * (count - 1) // 2)
        return Rates(
            n,
            chance,
            differ,
            float(found[better].mean()) if any(better) else np.nan,
            float(found_before[better].mean()) if any(better) else np.nan,
            float(told.sum() / pairs),
            float(told_before.sum() / pairs),
        )

    def better(self) -> list[bool]:
        """Return which methods are better than both of their controls, over all images."""
        values = self.population.values(np.ones((1, self.population.images)))[0].reshape(-1, 3)
        return [bool(own > max(random, centre)) for own, random, centre in values]

    def shifted(
        self, n: int, draws: int, random: np.random.Generator
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Return the false claims about numbers, all of whose means are made equal."""
        observed = self.population.values(np.ones((1, self.population.images)))[0]
        population = self.population.centred()
        chance, differ = dict[str, float](), dict[str, float]()
        for times in population.drawn(n, draws, random):
            means = population.means(times)
            for m, name in enumerate(self.methods):
                own = 3 * m
                lows = [means.difference(own, own + control)[0] for control in (1, 2)]
                ahead = [observed[own] - observed[own + control] for control in (1, 2)]
                for equal, shift in {
                    "both": (0, 0),
                    "random": (0, ahead[1]),
                    "centre": (ahead[0], 0),
                }.items():
                    both = np.minimum(lows[0] + shift[0], lows[1] + shift[1]) > 0
                    add(chance, f"{name} = {equal}", both.sum() / draws)
            for i, j in combinations(range(len(self.methods)), 2):
                low, high = means.difference(3 * i, 3 * j)
                pair = f"{self.methods[i]} = {self.methods[j]}"
                add(differ, pair, ((low > 0) | (high < 0)).sum() / draws)
        return chance, differ

    def exchanged(
        self, n: int, draws: int, random: np.random.Generator
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Return the false claims about yes-or-no readings, exchanged at random on each image."""
        chance, differ = dict[str, float](), dict[str, float]()
        for m, name in enumerate(self.methods):
            for equal, orders in {
                "both": ((0, 1, 2), (1, 2, 0), (2, 0, 1)),
                "random": ((0, 1, 2), (1, 0, 2)),
                "centre": ((0, 1, 2), (2, 1, 0)),
            }.items():
                population = self.population.of((3 * m, 3 * m + 1, 3 * m + 2), orders)
                for times in population.drawn(n, draws, random):
                    means = population.means(times)
                    lows = [means.difference(0, control)[0] for control in (1, 2)]
                    add(chance, f"{name} = {equal}", (np.minimum(*lows) > 0).sum() / draws)
        for i, j in combinations(range(len(self.methods)), 2):
            population = self.population.of((3 * i, 3 * j), ((0, 1), (1, 0)))
            for times in population.drawn(n, draws, random):
                low, high = population.means(times).difference(0, 1)
                pair = f"{self.methods[i]} = {self.methods[j]}"
                add(differ, pair, ((low > 0) | (high < 0)).sum() / draws)
        return chance, differ


def add(rates: dict[str, float], name: str, share: float) -> None:
    rates[name] = rates.get(name, 0.0) + float(share)


def own(maps: MapReadings) -> Array:
    return np.asarray(maps.values["own"]["value"].numpy())


def is_same(one: Array, other: Array, most: float) -> bool:
    """Return whether so many readings are equal that they are those of the same maps."""
    return bool(np.isclose(one, other, rtol=SAME, atol=0, equal_nan=True).mean() >= most)


def check(
    population: Population,
    rows: Sequence[tuple[str, MapReadings]],
    defined: Array,
    image: Array,
) -> None:
    """Compare the intervals of some draws with those of limelight's own functions."""
    random = np.random.default_rng(0)
    maps = rows[0][1]
    where = np.flatnonzero(defined)
    for times in population.drawn(20, 10, random):
        means = population.means(times)
        for draw, row in enumerate(times):
            chosen, names = list[int](), list[str]()
            for number in np.repeat(np.arange(population.images), row.astype(int)).tolist():
                of_image = where[image == number].tolist()
                chosen += of_image
                names += [f"{len(names)}"] * len(of_image)
            groups = [maps.groups[i] for i in chosen]
            for m, (_, method) in enumerate(rows):
                first = method.values["own"]["value"][chosen]
                for number, source in enumerate(MAP_SOURCES[1:], 1):
                    second = method.values[source]["value"][chosen]
                    lead = maps.metric.lead(first, second, groups, names)
                    ends = means.difference(3 * m, 3 * m + number)
                    if not np.allclose([end[draw] for end in ends], [lead.low, lead.high]):
                        raise ValueError(f"{lead} and {ends[0][draw]}, {ends[1][draw]} differ.")


def read(path: Path) -> list[Readings]:
    """Return the readings of each metric that a method has to beat chance in.

    A file is the `table.json` or the `readings.jsonl` of `limelight measure`.
    """
    if path.suffix == ".jsonl":
        lines = [json.loads(line) for line in path.read_text().splitlines()[1:]]
        measured = Measurement.total(Measurement.from_dict(line) for line in lines)
    else:
        measured = Measurement.load(path)
    names = measured.names
    return [
        Readings.of(
            metric,
            [
                (names[key.method, key.layer], maps)
                for key, maps in measured.readings.items()
                if key.metric == metric and maps.metric.judged
            ],
        )
        for metric in measured.metrics
    ]


def fewest(rates: Sequence[Rates], claim: str, nominal: float) -> int | None:
    """Return the smallest n from which on no row errs more than 1.5 times the nominal rate.

    Bradley 1978, the liberal criterion. None if there is no such n among those that were tried.
    """
    found = None
    for rate in sorted(rates, key=lambda rate: -rate.n):
        shares: dict[str, float] = getattr(rate, claim)
        if shares and max(shares.values()) > 1.5 * nominal:
            break
        found = rate.n
    return found
