"""Method against chance and method against method, from readings told by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from limelight.metrics import find_metric
from limelight.metrics.comparisons import MapsDifference, groups_alike, pairwise
from limelight.metrics.holm import adjusted, alike
from limelight.metrics.intervals import (
    FEWEST_IMAGES,
    FEWEST_IMAGES_OF_A_PAIR,
    PairedDifference,
    difference,
)
from limelight.metrics.measurement import Measurement
from limelight.metrics.readings import MapReadings, MapSource, ReadingsKey

ENOUGH = FEWEST_IMAGES_OF_A_PAIR


def readings(
    own: Sequence[float],
    random: Sequence[float] | None = None,
    centre: Sequence[float] | None = None,
    *,
    metric: str = "insertion",
    images: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
) -> MapReadings:
    """Return the readings of one method, of one map of each image unless told."""
    n = len(own)
    sources: dict[MapSource, Any] = {
        "own": own,
        "random": [0.0] * n if random is None else random,
        "centre": [0.0] * n if centre is None else centre,
    }
    values = {
        source: {"value": torch.tensor(np.asarray(row, dtype=float))}
        for source, row in sources.items()
    }
    return MapReadings(
        find_metric(metric),
        values,
        {source: {} for source in sources},
        {source: {} for source in sources},
        tuple(groups or ["cat"] * n),
        tuple(images or [f"digest {number}" for number in range(n)]),
    )


def measured(rows: Mapping[str, MapReadings]) -> Measurement:
    return Measurement(
        {ReadingsKey(name, "layer4", str(row.metric)): row for name, row in rows.items()}
    )


def noisy(n: int, *levels: float, seed: int = 0, noise: float = 0.05) -> list[Any]:
    """Return readings that follow the image, each series by so much higher."""
    random = np.random.default_rng(seed)
    image = random.random(n)
    return [image + level + random.normal(0, noise, n) for level in levels]


# Holm


def by_loop(p_values: Sequence[float]) -> list[float]:
    """Return Holm's p-values: the largest of (m - j + 1) p_(j) over all p_(j) up to each one."""
    claims = sorted(p for p in p_values if not math.isnan(p))
    corrected = []
    for p in p_values:
        upto = [min(1.0, (len(claims) - j) * q) for j, q in enumerate(claims) if q <= p]
        corrected.append(math.nan if math.isnan(p) else max(upto))
    return corrected


@pytest.mark.parametrize("seed", range(20))
def test_holms_correction_is_that_of_a_loop(seed: int) -> None:
    random = np.random.default_rng(seed)
    p_values = (random.random(random.integers(0, 12)) ** 3).tolist()
    p_values = [math.nan if random.random() < 0.2 else p for p in p_values]
    p_values += p_values[:2]  # equal ones
    found = adjusted(p_values)
    np.testing.assert_allclose(found, by_loop(p_values))
    order = random.permutation(len(p_values)).tolist()
    again = adjusted([p_values[i] for i in order])
    np.testing.assert_allclose(again, [found[i] for i in order])


def test_holms_correction_by_hand() -> None:
    assert adjusted([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjusted([0.02]) == [0.02]
    assert adjusted([]) == []
    assert adjusted([0.9, 0.8]) == [1.0, 1.0]
    assert str(adjusted([math.nan, 0.02])) == "[nan, 0.02]"


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_holms_claims_are_those_of_the_step_down_test(alpha: float) -> None:
    random = np.random.default_rng(7)
    for _ in range(200):
        p_values = (random.random(8) ** 4).tolist()
        rejected, left = set[int](), sorted(range(8), key=p_values.__getitem__)
        while left and p_values[left[0]] < alpha / len(left):
            rejected.add(left.pop(0))
        assert {i for i, p in enumerate(adjusted(p_values)) if p < alpha} == rejected


# Who is alike


def largest_groups(count: int, apart: set[tuple[int, int]]) -> list[tuple[int, ...]]:
    """Try all groups; keep those that lie in no other."""
    fitting = [
        set(group)
        for size in range(1, count + 1)
        for group in itertools.combinations(range(count), size)
        if not any(pair in apart for pair in itertools.combinations(group, 2))
    ]
    return sorted(
        tuple(sorted(group)) for group in fitting if not any(group < other for other in fitting)
    )


@pytest.mark.parametrize("count", range(8))
@pytest.mark.parametrize("share", [0.1, 0.4, 0.7, 1.0])
def test_the_largest_groups_are_those_of_trying_all(count: int, share: float) -> None:
    random = np.random.default_rng(count)
    for _ in range(10):
        pairs = itertools.combinations(range(count), 2)
        apart = {pair for pair in pairs if random.random() < share}
        asked = set[tuple[int, int]]()

        def differ(i: int, j: int, apart: Any = apart, asked: Any = asked) -> bool:
            asked.add((i, j))
            return (i, j) in apart

        assert alike(count, differ) == largest_groups(count, apart)
        assert asked == set(itertools.combinations(range(count), 2))


def test_a_method_may_be_like_a_better_and_like_a_worse_one() -> None:
    nothing = PairedDifference(0.0, 0.0, 0.0, 1.0, 60, 60, 0.0, 0.0)
    pairs = [
        MapsDifference(first, second, "insertion", nothing, p)
        for first, second, p in (("a", "b", 0.4), ("a", "c", 0.001), ("b", "c", 0.051))
    ]
    assert [pair.is_real for pair in pairs] == [False, True, False]
    assert groups_alike("abc", pairs) == [("a", "b"), ("b", "c")]
    assert groups_alike("abc", []) == [("a", "b", "c")]
    assert groups_alike("", []) == []


# Pairs of methods


def test_pairs_are_compared_image_by_image_and_corrected_for_their_number() -> None:
    series = noisy(ENOUGH, 0.05, 0.03, 0.0, 0.0)
    found = pairwise("insertion", [(f"m{i}", readings(row)) for i, row in enumerate(series)])
    numbers = list(itertools.combinations(range(4), 2))
    assert [(pair.first, pair.second) for pair in found] == [(f"m{i}", f"m{j}") for i, j in numbers]
    tests = [stats.ttest_rel(series[i], series[j]) for i, j in numbers]
    for pair, (i, j), test in zip(found, numbers, tests, strict=True):
        ends = test.confidence_interval()
        assert pair.lead.value == pytest.approx((series[i] - series[j]).mean())
        assert (pair.lead.low, pair.lead.high) == pytest.approx((ends.low, ends.high))
        assert pair.lead.p == pytest.approx(test.pvalue)
    wanted = by_loop([float(test.pvalue) for test in tests])
    np.testing.assert_allclose([pair.p for pair in found], wanted)
    assert [pair.is_real for pair in found] == [p < 0.05 for p in wanted]
    assert {pair.is_real for pair in found} == {True, False}


def test_the_first_leads_also_where_lower_is_better() -> None:
    low, high = noisy(ENOUGH, 0.0, 0.3)
    for metric, better, worse in (("insertion", high, low), ("deletion", low, high)):
        rows = [
            ("good", readings(better, worse, worse, metric=metric)),
            ("bad", readings(worse, better, better, metric=metric)),
        ]
        (pair,) = pairwise(metric, rows)
        assert pair.lead.value == pytest.approx((high - low).mean())
        assert pair.is_real
        good, bad = measured(dict(rows)).estimates()
        assert good.beats_chance
        assert not bad.beats_chance
        assert bad.p == 1.0, "a control that is not beaten is no evidence, however surely"
        assert good.over_random == pair.lead == good.lead
        assert bad.over_random.value == -pair.lead.value
        assert (good.ahead, bad.ahead) == (True, False)


def test_a_part_of_which_lower_is_better_leads_where_it_is_lower() -> None:
    lower = [row for row in map(find_metric, ("road", "adcc")) if row.lower_parts]
    for metric in lower:
        for part in metric.lower_parts:
            lead = metric.lead(
                torch.zeros(9) - 0.5, torch.zeros(9), ["a"] * 9, list("abcdefghi"), part
            )
            assert lead.value == 0.5


def test_maps_of_other_images_are_paired_by_image_class_and_occurrence() -> None:
    first = readings(
        [0.1, 0.2, 0.3, 0.4, 0.5],
        images=["a", "a", "a", "b", "c"],
        groups=["cat", "cat", "dog", "cat", "cat"],
    )
    second = readings(
        [4.0, 3.0, 1.0, 2.0, 9.0, 7.0],
        images=["b", "a", "a", "a", "d", "c"],
        groups=["cat", "dog", "cat", "cat", "cat", "dog"],
    )
    (pair,) = pairwise("insertion", [("one", first), ("other", second)])
    wanted = difference(
        torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64),
        torch.tensor([1.0, 2, 3, 4], dtype=torch.float64),
        images=["a", "a", "a", "b"],
    )
    assert pair.lead == wanted
    assert (pair.lead.n, pair.lead.images) == (4, 2)


def test_methods_without_a_common_image_are_not_compared() -> None:
    rows = [
        ("one", readings([0.1] * 60)),
        ("other", readings([0.2] * 60, images=[f"{n}" for n in range(60)])),
    ]
    (pair,) = pairwise("insertion", rows)
    assert (pair.lead.n, pair.is_real) == (0, None)
    assert pair.sentence == "one and other have no map of the same image in insertion."


def test_the_pairing_does_not_depend_on_the_order_of_the_images() -> None:
    one, other = noisy(ENOUGH, 0.02, 0.0)
    order = np.random.default_rng(3).permutation(ENOUGH)
    names = [f"digest {number}" for number in range(ENOUGH)]
    straight = pairwise("insertion", [("one", readings(one)), ("other", readings(other))])
    mixed = readings(other[order], images=[names[i] for i in order])
    assert pairwise("insertion", [("one", readings(one)), ("other", mixed)]) == straight


def test_the_same_maps_are_not_said_to_differ() -> None:
    (row,) = noisy(ENOUGH, 0.0)
    (pair,) = pairwise(
        "insertion", [("hirescam", readings(row)), ("gradcam", readings(row + 1e-9))]
    )
    assert (pair.lead.value, pair.lead.low, pair.lead.high, pair.p) == (0, 0, 0, 1)
    assert pair.is_real is False


def test_what_one_of_both_lacks_is_left_out() -> None:
    one, other = noisy(ENOUGH + 2, 0.3, 0.0)
    one[0], other[1] = math.nan, math.inf
    (pair,) = pairwise("insertion", [("one", readings(one)), ("other", readings(other))])
    assert (pair.lead.n, pair.lead.images) == (ENOUGH, ENOUGH)
    assert pair.lead.value == pytest.approx((one - other)[2:].mean())
    other[2] = math.nan
    (pair,) = pairwise("insertion", [("one", readings(one)), ("other", readings(other))])
    assert pair.is_real is None, "one image too few is left"


# The number of images that a claim takes


@pytest.mark.parametrize("n", [1, 2, FEWEST_IMAGES - 1, FEWEST_IMAGES, 60])
def test_no_method_beats_chance_on_too_few_images(n: int) -> None:
    own, control = noisy(n, 5.0, 0.0)
    (estimate,) = measured({"gradcam": readings(own, control, control)}).estimates()
    assert estimate.beats_chance is (True if n >= FEWEST_IMAGES else None)
    assert math.isnan(estimate.p) == (n < FEWEST_IMAGES)
    assert ("too few images for a claim, which takes 8" in estimate.sentence) == (n < FEWEST_IMAGES)


@pytest.mark.parametrize("n", [2, FEWEST_IMAGES, ENOUGH - 1, ENOUGH])
def test_no_two_methods_differ_on_too_few_images(n: int) -> None:
    one, other = noisy(n, 5.0, 0.0)
    table = measured({"other": readings(other), "one": readings(one)})
    (pair,) = table.differences("insertion")
    assert (pair.first, pair.second) == ("one", "other"), "the better one first"
    assert pair.is_real is (True if n >= ENOUGH else None)
    groups = table.alike("insertion")
    assert groups == ([("one",), ("other",)] if n >= ENOUGH else [("one", "other")])
    assert table.letters("insertion") == {"one": "a", "other": "b" if n >= ENOUGH else "a"}


def test_images_count_and_not_maps() -> None:
    images = [f"digest {number % 7}" for number in range(700)]
    own, control = noisy(700, 5.0, 0.0)
    table = measured(
        {
            "one": readings(own, control, control, images=images),
            "other": readings(control, control, control, images=images),
        }
    )
    assert [estimate.beats_chance for estimate in table.estimates()] == [None, None]
    assert [pair.is_real for pair in table.differences("insertion")] == [None]


@pytest.mark.parametrize("undefined", ["random", "centre"])
def test_a_control_that_is_not_defined_allows_no_claim(undefined: str) -> None:
    own, control = noisy(60, 5.0, 0.0)
    controls: Any = {"random": control, "centre": control} | {undefined: [math.nan] * 60}
    (estimate,) = measured({"gradcam": readings(own, **controls)}).estimates()
    assert estimate.beats_chance is None


# Method against chance


def test_both_controls_have_to_be_beaten_and_all_methods_count() -> None:
    own, random, centre, worse, weak = noisy(30, 0.02, 0.0, 0.01, -0.1, 0.005, noise=0.01)
    table = measured(
        {
            "good": readings(own, random, centre),
            "worse": readings(worse, random, centre),
            "weak": readings(weak, random, random),
        }
    )
    wanted = by_loop(
        [
            max(stats.ttest_rel(own, control).pvalue for control in (random, centre)),
            1.0,
            stats.ttest_rel(weak, random).pvalue,
        ]
    )
    found = table.estimates()
    np.testing.assert_allclose([estimate.p for estimate in found], wanted)
    assert [estimate.beats_chance for estimate in found] == [p < 0.05 for p in wanted]
    good = found[0]
    assert good.lead is good.over_centre, "the blob is harder to beat"
    assert not found[1].ahead


def test_each_metric_is_corrected_for_itself() -> None:
    own, control = noisy(20, 0.03, 0.0)
    alone = measured({"one": readings(own, control, control)})
    both = Measurement(
        {
            **alone.readings,
            **measured({"one": readings(control, own, own, metric="deletion")}).readings,
        }
    )
    assert [e.p for e in both.estimates()] == [alone.estimates()[0].p] * 2


def test_figures_do_not_depend_on_shards_or_their_order() -> None:
    series = noisy(60, 0.04, 0.02, 0.0, 0.0)
    names = [f"digest {number}" for number in range(60)]

    def shard(kept: Sequence[int]) -> Measurement:
        one, other, random, centre = ([row[i] for i in kept] for row in series)
        images = [names[i] for i in kept]
        return measured(
            {
                "one": readings(one, random, centre, images=images),
                "other": readings(other, random, centre, images=images),
            }
        )

    whole = shard(range(60))
    shards = [shard(range(start, start + 12)) for start in range(0, 60, 12)]
    for order in itertools.islice(itertools.permutations(shards), 0, 120, 17):
        total = Measurement.total(order)
        assert total.rows() == whole.rows()
        assert total.difference_rows() == whole.difference_rows()
    again = Measurement.total([whole, whole])
    assert again.differences("insertion")[0].lead.images == 60
    for one, two in zip(again.estimates(), whole.estimates(), strict=True):
        assert one.over_random.low <= two.over_random.low + 1e-12
        assert one.p >= two.p - 1e-12


# Sentences


def test_a_difference_says_what_it_shows() -> None:
    one, other, third = noisy(ENOUGH, 0.2, 0.0, 0.0)
    rows = [("one", readings(one)), ("other", readings(other)), ("third", readings(third))]
    real, _, no = pairwise("insertion", rows)
    start = f"In insertion one leads other by {real.lead} on {ENOUGH} maps: "
    assert real.sentence == f"{start}the difference is real."
    assert no.sentence.endswith(f"on {ENOUGH} maps: these images cannot tell them apart.")
    few = [(name, readings(row.values["own"]["value"][:20].tolist())) for name, row in rows[:2]]
    (pair,) = pairwise("insertion", few)
    assert pair.sentence.endswith("on 20 maps: too few images for a claim, which takes 80.")


def test_an_estimate_says_what_it_shows() -> None:
    own, control = [0.5, 0.7] * 5, [0.2, 0.3] * 5
    (better,) = measured({"gradcam": readings(own, control, [0.1] * 10)}).estimates()
    ends = stats.ttest_rel(own, control).confidence_interval()
    assert better.sentence == (
        "insertion of gradcam is 0.600 on 10 maps, where random maps have 0.250 and a blob in the "
        "centre has 0.100. Image by image it is 0.350 better than random maps (between "
        f"{ends.low:.3f} and {ends.high:.3f}), on 100% of them: it beats chance."
    )
    (worse,) = measured({"gradcam": readings(control, [0.1] * 10, own)}).estimates()
    assert worse.sentence == (
        "insertion of gradcam is 0.250 on 10 maps, where random maps have 0.100 and a blob in the "
        "centre has 0.600. Image by image it is 0.350 worse than the blob (between "
        f"{ends.low:.3f} and {ends.high:.3f}), on 0% of them: that it beats chance was not shown."
    )
    mixed = [0.3, 0.1] * 4
    (unclear,) = measured({"gradcam": readings(mixed, [0.2] * 8, [0.1] * 8)}).estimates()
    half = stats.ttest_1samp(mixed, 0.2).confidence_interval().high - 0.2
    assert f"and from {half:.3f} worse to {half:.3f} better is possible" in unclear.sentence
    (single,) = measured({"gradcam": readings([0.5], [0.2], [0.1])}).estimates()
    assert single.sentence == (
        "insertion of gradcam is 0.500 on 1 map, where random maps have 0.200 and a blob in the "
        "centre has 0.100. Image by image it is 0.300 better than random maps, on 100% of them: "
        "too few images for a claim, which takes 8."
    )
    (none,) = measured({"gradcam": readings([math.nan])}).estimates()
    assert none.sentence == "insertion is not defined for any map of gradcam."
