"""Means over images and paired differences, against scipy and against loops written by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from scipy import optimize, stats
from torch import Tensor

from helpers.tolerances import assert_agrees
from limelight.metrics.intervals import Estimate, PairedDifference, difference, mean
from oracles import intervals as by_hand


def tensor(values: Any) -> Tensor:
    return torch.tensor(np.asarray(values, dtype=float))


def bits(seed: int, n: int, share: float = 0.6) -> list[float]:
    return [float(hit) for hit in np.random.default_rng(seed).random(n) < share]


#: scipy's `binomtest` looks for an end until it is known to 2e-12; two ends of two are joined.
BY_ROOTS = 1e-11


def assert_interval(
    found: Estimate | PairedDifference, low: float, high: float, truncation: float = 0.0
) -> None:
    scale = max(1.0, abs(low), abs(high))
    ends = [found.low, found.high], [low, high]
    assert_agrees(*ends, scale=scale, truncation=truncation)


class Maps(NamedTuple):
    """Readings of several maps of each image, of several classes."""

    first: list[float]
    second: list[float]
    groups: list[str]
    images: list[str]


def several_maps(seed: int, images: int = 9, *, yes_or_no: bool = False) -> Maps:
    """Return maps whose readings follow their image; some classes occur in one image alone."""
    random = np.random.default_rng(seed)
    maps = Maps([], [], [], [])
    for image in range(images):
        level = random.random()
        for _ in range(random.geometric(0.5)):
            if yes_or_no:
                pair = [float(random.random() < level), float(random.random() < level**2)]
            else:
                pair = [level + random.normal(0, 0.2), level + random.normal(0.1, 0.2)]
            for kept, value in zip((maps.first, maps.second), pair, strict=True):
                kept.append(value)
            maps.groups.append(random.choice(["cat", "dog", "owl", f"of {image}"]))
            maps.images.append(f"digest {image}")
    return maps


# Numbers


@pytest.mark.parametrize("n", [2, 3, 8, 40, 300])
def test_the_interval_of_numbers_is_students(n: int) -> None:
    values = np.random.default_rng(n).gamma(2.0, size=n)
    found = mean(tensor(values))
    wanted = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert_agrees(found.value, values.mean(), scale=values.max())
    assert_interval(found, wanted.low, wanted.high)
    assert (found.n, found.left_out, found.images) == (n, 0, n)


@pytest.mark.parametrize("n", [2, 3, 8, 40, 300])
@pytest.mark.parametrize("by", [0.0, 0.3, -2.0])
def test_the_interval_and_p_of_a_difference_are_those_of_the_paired_test(n: int, by: float) -> None:
    random = np.random.default_rng(n)
    first = random.gamma(2.0, size=n)
    second = 0.8 * first + random.normal(by, 0.5, n)
    found = difference(tensor(first), tensor(second))
    wanted = stats.ttest_rel(first, second)
    ends = wanted.confidence_interval(0.95)
    assert_agrees(found.value, (first - second).mean(), scale=abs(first).max())
    assert_interval(found, ends.low, ends.high)
    assert found.p == pytest.approx(wanted.pvalue, rel=1e-9)
    assert found.above == np.mean(first > second)
    assert found.below == np.mean(first < second)
    assert (found.n, found.images) == (n, n)


@pytest.mark.parametrize("over_groups", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_several_maps_of_an_image_leave_the_mean_together(seed: int, over_groups: bool) -> None:
    maps = several_maps(seed)
    groups = maps.groups if over_groups else ["all"] * len(maps.groups)
    found = mean(tensor(maps.first), maps.groups, maps.images, over_groups=over_groups)
    assert found.value == pytest.approx(by_hand.grouped_mean(maps.first, groups), abs=1e-12)
    assert_interval(found, *by_hand.jackknife_interval(maps.first, groups, maps.images))
    assert (found.n, found.images) == (len(maps.first), 9)


@pytest.mark.parametrize("over_groups", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_so_they_leave_a_difference(seed: int, over_groups: bool) -> None:
    maps = several_maps(seed)
    groups = maps.groups if over_groups else ["all"] * len(maps.groups)
    apart = [a - b for a, b in zip(maps.first, maps.second, strict=True)]
    found = difference(
        tensor(maps.first),
        tensor(maps.second),
        maps.groups,
        maps.images,
        over_groups=over_groups,
    )
    assert found.value == pytest.approx(by_hand.grouped_mean(apart, groups), abs=1e-12)
    assert_interval(found, *by_hand.jackknife_interval(apart, groups, maps.images))

    def nearer_end(alpha: float) -> float:
        low, high = by_hand.jackknife_interval(apart, groups, maps.images, alpha)
        return low if found.value > 0 else high

    assert found.p == pytest.approx(optimize.brentq(nearer_end, 1e-12, 1 - 1e-12), rel=1e-6)


# Yes or no


@pytest.mark.parametrize("n", [2, 8, 20, 100])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_the_interval_of_yes_or_no_is_clopper_and_pearsons(n: int, share: float) -> None:
    values = bits(n, n, share)
    wanted = stats.binomtest(int(sum(values)), n).proportion_ci(0.95, method="exact")
    for told in (True, False):
        # Readings that all are 0 or 1 are known for yes-or-no.
        assert_interval(mean(tensor(values), yes_or_no=told), wanted.low, wanted.high, BY_ROOTS)


def test_eight_hits_of_eight_are_no_certainty() -> None:
    found = mean(torch.ones(8), yes_or_no=True)
    assert found.value == found.high == 1.0
    assert found.low == pytest.approx(0.6306, abs=1e-4)
    assert str(mean(torch.zeros(8))) == "0.000 [0.000, 0.369]"


def test_a_tie_of_the_pointing_game_counts_as_its_share() -> None:
    found = mean(tensor([1, 0.5, 0, 1]), yes_or_no=True)
    assert found.value == 0.625
    wanted = by_hand.exact_interval(0.625, 4)
    assert_interval(found, *wanted)
    assert mean(tensor([1, 0.5, 0, 1])).low < 0, "unless told, they are numbers"


@pytest.mark.parametrize("over_groups", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_yes_or_no_of_several_maps_counts_as_many_as_have_its_variance(
    seed: int, over_groups: bool
) -> None:
    maps = several_maps(seed, images=12, yes_or_no=True)
    groups = maps.groups if over_groups else ["all"] * len(maps.groups)
    found = mean(
        tensor(maps.first), maps.groups, maps.images, over_groups=over_groups, yes_or_no=True
    )
    wanted = by_hand.interval_of_share(maps.first, groups, maps.images)
    assert_interval(found, *wanted)


@pytest.mark.parametrize("per_image", [1, 3, 6])
def test_maps_that_all_hit_count_one_for_each_image(per_image: int) -> None:
    images = [f"{number}" for number in range(8) for _ in range(per_image)]
    found = mean(torch.ones(len(images)), images=images, yes_or_no=True)
    assert_interval(found, 0.025 ** (1 / 8), 1)


@pytest.mark.parametrize("over_groups", [False, True])
@pytest.mark.parametrize("per_image", [2, 3, 6, 7])
def test_so_do_maps_of_images_of_which_none_changes_the_mean(
    per_image: int, over_groups: bool
) -> None:
    values = [float(number < 2) for _ in range(5) for number in range(per_image)]
    images = [f"{number}" for number in range(5) for _ in range(per_image)]
    groups = [f"{number}" for _ in range(5) for number in range(per_image)]
    found = mean(tensor(values), groups, images, over_groups=over_groups, yes_or_no=True)
    assert_interval(found, *by_hand.exact_interval(2 / per_image, 5))


# A difference of yes or no


@pytest.mark.parametrize("n", [4, 8, 20, 100])
@pytest.mark.parametrize("seed", range(4))
def test_a_difference_of_yes_or_no_is_newcombes(n: int, seed: int) -> None:
    random = np.random.default_rng(100 * n + seed)
    chosen = random.choice(4, n, p=random.dirichlet(np.ones(4)))
    first, second = (chosen <= 1).astype(float), (chosen % 2 == 0).astype(float)
    found = difference(tensor(first), tensor(second), yes_or_no=True)
    assert found.value == pytest.approx(first.mean() - second.mean())
    assert_interval(found, *by_hand.newcombe(first, second), BY_ROOTS)
    assert_p(found, lambda alpha: by_hand.newcombe(first, second, alpha))
    other = difference(tensor(second), tensor(first), yes_or_no=True)
    assert_interval(other, -found.high, -found.low)
    assert other.p == pytest.approx(found.p)


def assert_p(found: PairedDifference, interval: Callable[[float], tuple[float, float]]) -> None:
    """Check that p is the alpha at which the interval touches 0; 1 if none does."""
    number = 0 if found.value > 0 else 1

    def nearer_end(alpha: float) -> float:
        return interval(alpha)[number]

    if nearer_end(1.0) * nearer_end(1e-15) >= 0:
        assert found.p == 1.0
        assert interval(1.0)[0] <= 0 <= interval(1.0)[1]
    else:
        assert found.p == pytest.approx(optimize.brentq(nearer_end, 1e-15, 1.0), rel=1e-6)
    assert (found.p < 0.05) == (not found.low <= 0 <= found.high)


@pytest.mark.parametrize("over_groups", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_a_difference_of_yes_or_no_of_several_maps_is_made_of_both(
    seed: int, over_groups: bool
) -> None:
    maps = several_maps(seed, images=15, yes_or_no=True)
    groups = maps.groups if over_groups else ["all"] * len(maps.groups)
    found = difference(
        tensor(maps.first),
        tensor(maps.second),
        maps.groups,
        maps.images,
        over_groups=over_groups,
        yes_or_no=True,
    )

    def wanted(alpha: float = 0.05) -> tuple[float, float]:
        return by_hand.difference_of_shares(
            maps.first, maps.second, groups, maps.images, alpha=alpha
        )

    assert_interval(found, *wanted())
    assert_p(found, wanted)


def test_readings_that_agree_on_few_images_may_differ_on_others() -> None:
    hits = torch.tensor([1.0, 1, 1, 1, 0, 0, 0, 0])
    found = difference(hits, hits, yes_or_no=True)
    assert (found.value, found.p, found.above, found.below) == (0.0, 1.0, 0.0, 0.0)
    assert found.high == -found.low == pytest.approx(1 - 0.025 ** (1 / 8))


def test_a_difference_that_is_sure_is_not_infinitely_sure() -> None:
    found = difference(torch.ones(400), torch.zeros(400), yes_or_no=True)
    assert (found.value, found.high, found.p) == (1.0, 1.0, 1e-15)
    assert found.low == pytest.approx(1 - math.sqrt(2) * (1 - 0.025 ** (1 / 400)))


# Laws


KINDS: dict[str, dict[str, Any]] = {
    "numbers": {},
    "yes or no": {"yes_or_no": True},
    "over groups": {"over_groups": True},
    "yes or no over groups": {"yes_or_no": True, "over_groups": True},
}
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
@pytest.mark.parametrize("with_images", [False, True])
def test_the_order_of_maps_changes_no_digit(kind: str, with_images: bool) -> None:
    maps = Maps([], [], [], [])
    for seed in range(12):  # many maps of each image, and of each class
        more = several_maps(seed, images=5, yes_or_no=kind.startswith("yes"))
        maps = Maps(
            maps.first + more.first,
            maps.second + more.second,
            maps.groups + more.groups,
            maps.images + more.images,
        )
    n = len(maps.first)
    generators = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index]

    def both(order: Sequence[int]) -> tuple[Estimate, PairedDifference]:
        first, second, groups, images = ([row[i] for i in order] for row in maps)
        rest: Any = groups, images if with_images else None
        return (
            mean(tensor(first), *rest, **KINDS[kind]),
            difference(tensor(first), tensor(second), *rest, **KINDS[kind]),
        )

    wanted = both(range(n))
    for seed in range(5):
        assert both(np.random.default_rng(seed).permutation(n).tolist()) == wanted
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert np.random.get_state()[1].tolist() == generators[1]  # type: ignore[index]


@every_kind
@pytest.mark.parametrize("times", [2, 7])
def test_the_same_readings_of_the_same_images_again_make_nothing_surer(
    kind: str, times: int
) -> None:
    once = several_maps(5, images=10, yes_or_no=kind.startswith("yes"))
    again = Maps(once.first * times, once.second * times, once.groups * times, once.images * times)
    means, leads = list[Estimate](), list[PairedDifference]()
    for maps in (once, again):
        first, second = tensor(maps.first), tensor(maps.second)
        means.append(mean(first, maps.groups, maps.images, **KINDS[kind]))
        leads.append(difference(first, second, maps.groups, maps.images, **KINDS[kind]))
    for before, after in (means, leads):
        assert after.value == pytest.approx(before.value)
        assert after.images == before.images == 10
        assert after.n == times * before.n
        assert after.low <= before.low + 1e-9
        assert after.high >= before.high - 1e-9
    without = mean(tensor(again.first), again.groups, **KINDS[kind])
    assert without.high - without.low < means[1].high - means[1].low


@every_kind
@pytest.mark.parametrize("seed", range(20))
def test_the_mean_lies_in_its_interval(kind: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    maps = several_maps(seed, int(random.integers(2, 12)), yes_or_no=kind.startswith("yes"))
    found = mean(tensor(maps.first), maps.groups, maps.images, **KINDS[kind])
    assert found.low <= found.value <= found.high
    lead = difference(
        tensor(maps.first), tensor(maps.second), maps.groups, maps.images, **KINDS[kind]
    )
    assert lead.low <= lead.value <= lead.high
    assert 0 <= lead.p <= 1
    if kind.startswith("yes"):
        assert found.low >= 0
        assert found.high <= 1
        assert -1 <= lead.low <= lead.high <= 1


@every_kind
def test_turned_round_a_difference_changes_its_sign(kind: str) -> None:
    maps = several_maps(8, images=20, yes_or_no=kind.startswith("yes"))
    first, second = tensor(maps.first), tensor(maps.second)
    one = difference(first, second, maps.groups, maps.images, **KINDS[kind])
    other = difference(second, first, maps.groups, maps.images, **KINDS[kind])
    assert (other.value, other.above, other.below) == (-one.value, one.below, one.above)
    assert_interval(other, -one.high, -one.low)
    assert other.p == pytest.approx(one.p)


def test_the_mean_over_classes_weighs_classes_and_not_images() -> None:
    values = torch.tensor([1.0, 1, 1, 0])
    groups = ["a", "a", "a", "b"]
    assert mean(values, groups, over_groups=True).value == 0.5
    assert mean(values, groups).value == 0.75


# The edges


@every_kind
def test_an_interval_needs_two_images(kind: str) -> None:
    none = mean(torch.tensor([math.nan, math.nan]), ["a", "b"], **KINDS[kind])
    assert math.isnan(none.value)
    assert (none.n, none.left_out, none.images) == (0, 2, 0)
    one = mean(torch.tensor([0.25, math.nan]), ["a", "b"], **KINDS[kind])
    assert (one.value, one.n, one.left_out, one.images) == (0.25, 1, 1, 1)
    same = mean(torch.tensor([0.0, 1.0, 1.0]), list("aba"), ["x"] * 3, **KINDS[kind])
    assert (same.n, same.images) == (3, 1)
    for found in (one, same):
        assert math.isnan(found.low)
        assert math.isnan(found.high)
    assert str(one) == "0.250"
    lead = difference(
        torch.tensor([0.0, 1.0]), torch.tensor([1.0, 1.0]), list("aa"), ["x"] * 2, **KINDS[kind]
    )
    assert (lead.value, lead.n, lead.images, lead.below) == (-0.5, 2, 1, 0.5)
    assert math.isnan(lead.low)
    assert math.isnan(lead.high)
    assert math.isnan(lead.p)
    assert str(lead) == "-0.500"


@every_kind
@pytest.mark.parametrize("hole", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_in_either_series_is_left_out(kind: str, hole: float) -> None:
    first = tensor([0, 1, 1, hole, 1, 0, hole, 1])
    second = tensor([0, 0, 1, 1, hole, 1, hole, 0])
    groups = list("aabbabab")
    found = difference(first, second, groups, **KINDS[kind])
    kept = [0, 1, 2, 5, 7]
    wanted = difference(first[kept], second[kept], [groups[i] for i in kept], **KINDS[kind])
    assert found == wanted
    assert (found.n, found.images) == (5, 5)
    alone = mean(first, groups, **KINDS[kind])
    assert (alone.n, alone.left_out) == (6, 2)
    nothing = difference(first[3:5], second[3:5], **KINDS[kind] | {"over_groups": False})
    assert nothing.n == nothing.images == 0
    assert all(math.isnan(v) for v in (nothing.value, nothing.low, nothing.high, nothing.p))


@pytest.mark.parametrize("over_groups", [False, True])
@pytest.mark.parametrize("level", [0.1, 1 / 3, 0.7, 5.0])
def test_numbers_that_are_all_the_same_have_no_width(level: float, over_groups: bool) -> None:
    found = mean(
        torch.full((10,), level, dtype=torch.float64), list("aabbbbbccc"), over_groups=over_groups
    )
    assert_agrees(found.value, level, terms=1, scale=level)
    assert found.low == found.value == found.high


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_unless_they_all_are_0_or_1(level: float) -> None:
    found = mean(torch.full((10,), level))
    assert found.value == level
    assert found.high - found.low == pytest.approx(1 - 0.025**0.1)


@every_kind
def test_the_same_maps_differ_by_nothing(kind: str) -> None:
    maps = several_maps(2, images=20, yes_or_no=kind.startswith("yes"))
    first = tensor(maps.first)
    for second in (first.clone(), first * (1 + 1e-9)):
        found = difference(first, second, maps.groups, maps.images, **KINDS[kind])
        assert found.value == pytest.approx(0, abs=0 if kind == "numbers" else 1e-8)
        assert (found.p, found.above, found.below) == (1.0, 0, 0)
        assert found.low <= 0 <= found.high


def test_rounding_is_no_difference_though_it_has_a_sign() -> None:
    first = torch.rand(60, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = difference(first * (1 + 5e-8), first)
    assert str(found) == "+0.000 [+0.000, +0.000]"
    assert (found.value, found.p, found.above) == (0, 1, 0)
    assert difference(first * (1 + 5e-6), first).p < 1e-6


def test_two_numbers_that_are_0_and_1_may_have_any_class_names() -> None:
    found = mean(torch.tensor([1.0, 0.0]), ["", "b"], ["", "é"], over_groups=True)
    assert (found.value, found.images) == (0.5, 2)


# How often it holds


@pytest.mark.parametrize(
    ("draw", "truth", "n", "least", "most"),
    [
        pytest.param(lambda r, n: r.normal(3, 2, n), 3.0, 8, 0.92, 0.98, id="normal"),
        pytest.param(lambda r, n: r.beta(0.5, 1.5, n), 0.25, 20, 0.90, 0.98, id="skewed"),
        pytest.param(lambda r, n: (r.random(n) < 0.9) * 1.0, 0.9, 8, 0.95, 1, id="yes or no"),
    ],
)
def test_the_interval_holds_the_truth_about_as_often_as_it_says(
    draw: Callable[[np.random.Generator, int], Any], truth: float, n: int, least: float, most: float
) -> None:
    random = np.random.default_rng(0)
    found = [mean(tensor(draw(random, n))) for _ in range(600)]
    hits = sum(one.low <= truth <= one.high for one in found)
    assert least <= hits / 600 <= most


def test_maps_that_are_equal_in_truth_are_seldom_said_to_differ() -> None:
    random, said = np.random.default_rng(1), 0
    for _ in range(400):
        level = random.random(12)
        first, second = (tensor(level + random.normal(0, 0.1, 12)) for _ in range(2))
        found = difference(first, second)
        said += found.p < 0.05
        assert (found.p < 0.05) == (not found.low <= 0 <= found.high)
    assert 0.02 <= said / 400 <= 0.08


def test_pairs_tell_what_two_intervals_cannot() -> None:
    level = np.random.default_rng(2).random(20)
    first, second = tensor(level + 0.05 + 0.02 * np.cos(np.arange(20))), tensor(level)
    assert mean(first).low < mean(second).high
    assert difference(first, second).low > 0


def test_every_table_of_six_pairs_of_yes_or_no_agrees() -> None:
    counts = [c for c in itertools.product(range(7), repeat=3) if sum(c) <= 6]
    for both, one, other in counts:
        neither = 6 - both - one - other
        first = np.repeat([1.0, 1, 0, 0], [both, one, other, neither])
        second = np.repeat([1.0, 0, 1, 0], [both, one, other, neither])
        found = difference(tensor(first), tensor(second))
        assert_interval(found, *by_hand.newcombe(first, second), BY_ROOTS)
