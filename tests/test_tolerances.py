"""The rule for tolerances: what rounding does stays inside, and what a mistake does is outside."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from helpers import networks, tolerances
from helpers.networks import ready
from helpers.shapes import Segmenter, faster_rcnn, fcos
from helpers.tolerances import (
    NETWORK,
    SHAPES,
    assert_agrees,
    assert_differs,
    of_heatmaps,
    rounding,
    terms_of,
)

pytest_plugins = ["pytester"]

FORMATS = [torch.float16, torch.float32, torch.float64]

every_format = pytest.mark.parametrize("dtype", FORMATS, ids=str)


def in_order(numbers: Tensor) -> Tensor:
    """Sum one after another, each sum rounded to the format, `[N, M] -> [M]`."""
    total = torch.zeros_like(numbers[0])
    for one in numbers:
        total = total + one
    return total


@every_format
@pytest.mark.parametrize("terms", [3, 30, 300])
def test_sums_in_any_order_are_inside(dtype: torch.dtype, terms: int) -> None:
    numbers = torch.randn(terms, 1000).to(dtype)
    # What is added: a sum on the way is as large as sqrt(terms) of its numbers.
    scale = numbers.double().cumsum(0).abs().max()
    for _ in range(3):
        shuffled = numbers[torch.randperm(terms)]
        assert_agrees(in_order(shuffled), in_order(numbers), terms=terms, scale=scale)
        exact = numbers.double().sum(0)
        assert_agrees(in_order(shuffled), exact, terms=terms, scale=scale, dtype=dtype)


@pytest.mark.parametrize("dtype", FORMATS[1:], ids=str)
def test_a_network_in_another_order_is_inside(dtype: torch.dtype) -> None:
    model, images = ready(networks.PoolLinear(), dtype), torch.randn(3, 3, 12, 16, dtype=dtype)
    other = ready(networks.PoolLinear(), dtype)
    other.load_state_dict(model.state_dict())
    order = torch.randperm(8)
    with torch.no_grad():  # channels in another order are sums in another
        conv, fc = other.features[2], other.fc
        assert isinstance(conv, nn.Conv2d)
        assert conv.bias is not None
        conv.weight.copy_(conv.weight[order])
        conv.bias.copy_(conv.bias[order])
        fc.weight.copy_(fc.weight[:, order])
        assert_agrees(other(images), model(images))


@pytest.mark.parametrize("factor", [1 + 1e-4, 1 - 1e-4])
def test_a_score_off_by_one_in_ten_thousand_is_rejected_in_float32(factor: float) -> None:
    scores = torch.randn(5)
    with pytest.raises(AssertionError, match="apart by"):
        assert_agrees(scores * factor, scores)


def test_a_map_off_by_a_thousandth_of_its_maximum_is_rejected_in_float32() -> None:
    expected = torch.rand(2, 7, 7)
    found = expected.clone()
    found[1, 3, 4] += 1e-3 * expected.max()
    with pytest.raises(AssertionError, match="apart by"):
        assert_agrees(found, expected)


def test_numbers_that_cancel_are_judged_by_their_size() -> None:
    one, other = torch.tensor([10.0]), torch.tensor([9.97])
    found, expected = one - other, torch.tensor([0.03])
    with pytest.raises(AssertionError, match="apart by"):
        assert_agrees(found, expected, terms=1)
    assert_agrees(found, expected, terms=1, scale=10.0)
    assert_agrees(found, expected, terms=1, scale=one)
    with pytest.raises(AssertionError, match=r"10 \(scale\)"):
        assert_agrees(found + 1e-3, expected, terms=1, scale=10.0)


def test_each_element_may_have_a_scale() -> None:
    expected = torch.tensor([1.0, 1e6])
    found = expected + torch.tensor([1.0, 0.0])
    assert_agrees(found, expected)
    with pytest.raises(AssertionError, match=r"apart by 1\.0e\+00, .* 1 \(scale\)"):
        assert_agrees(found, expected, scale=expected)
    assert_agrees(torch.zeros(2), torch.zeros(2), scale=torch.tensor([0.0, 1.0]))


def test_where_one_is_in_a_finer_format_only_the_other_errs() -> None:
    expected = torch.ones(1, dtype=torch.float64)
    most = rounding(torch.float32, errors=1)
    limit = "this test, which goes up to it"
    assert_agrees(expected + 0.9 * most, expected, dtype=torch.float32, limit=limit)
    with pytest.raises(AssertionError, match=r"1 computation\(s\) that err"):
        assert_agrees(expected + 1.1 * most, expected, dtype=torch.float32)
    assert rounding(torch.float32) == 2 * most


def test_what_limits_a_comparison_is_said() -> None:
    text = (
        r"apart by 1\.0e\+00, more than the limit of 5\.2e-01: 2 computation\(s\) that err x 8 x "
        r"1\.1e-16 \(rounding in torch\.float64\) x sqrt\(9 terms\) x 4 \(condition\) x "
        r"2 \(scale\) \+ 5\.2e-01 \(of the formula\)"
    )
    with pytest.raises(AssertionError, match=text):
        assert_agrees([2.0, 1.0], [2.0, 2.0], terms=9, condition=4.0, truncation=0.52)


@pytest.mark.parametrize(
    ("found", "expected", "text"),
    [
        (torch.ones(2), torch.ones(3), r"\[2\], not \[3\]"),
        (torch.ones(2), torch.ones(2, dtype=torch.float64), "not one format"),
        (np.ones(2, dtype=np.float32), torch.ones(2, dtype=torch.float64), "not one format"),
        (torch.tensor([1.0, math.nan]), torch.ones(2), "NaN at other places"),
        (torch.tensor([1.0, math.inf]), torch.ones(2), "apart by inf"),
        (torch.tensor([math.inf, 1]), torch.tensor([-math.inf, 1]), "apart by"),
        (torch.zeros(2), torch.zeros(2), "zero everywhere: nothing would be compared"),
        (0.1, float(torch.tensor(0.1)), "apart by 1.5e-09"),
    ],
)
def test_what_cannot_be_the_same_is_refused(found: object, expected: object, text: str) -> None:
    with pytest.raises(AssertionError, match=text):
        assert_agrees(found, expected)


def test_numbers_lists_and_arrays_are_compared_too() -> None:
    assert_agrees(0.1 + 0.2, 0.3)
    assert_agrees([0.1 + 0.2, math.nan], np.array([0.3, math.nan]))
    assert_agrees(np.float64(1), torch.ones((), dtype=torch.float64))


def test_what_differs_differs_by_more_than_rounding() -> None:
    one = torch.randn(5)
    assert_differs(one, one * 1.01)
    for other in (one, one * (1 + 1e-6)):
        with pytest.raises(AssertionError, match="which rounding may be"):
            assert_differs(one, other)


def test_a_heatmap_is_off_by_what_its_map_is_over_its_range() -> None:
    raw = torch.tensor([[1.0, 3.0, -9.0], [0.5, 0.6, 0.0], [-1.0, -2.0, -3.0]])[:, None]
    assert of_heatmaps(raw) == pytest.approx(9 / 0.6)
    assert of_heatmaps(raw, scale=30.0) == pytest.approx(30 / 0.6)
    assert of_heatmaps(-raw.abs()) == 1


NETWORKS = [
    networks.ResidualCNN,
    networks.PoolLinear,
    networks.TinyViT,
    networks.ChannelsLast,
    networks.Encoder,
    networks.Recurrent,
    networks.Signal,
    networks.Volume,
    networks.Chain,
    networks.CalledTwice,
    networks.TupleInside,
]


@pytest.mark.parametrize("network", NETWORKS)
def test_the_networks_of_the_tests_have_no_more_terms_than_is_said(
    network: type[nn.Module],
) -> None:
    cells, channels = 192, 10  # a picture of 12 x 16 that is averaged, the widest layer of a map
    assert 2 * terms_of(network()) + cells + channels <= NETWORK


@pytest.mark.parametrize("network", [Segmenter, fcos, faster_rcnn])
def test_those_that_are_trained_have_no_more_either(network: Callable[[], nn.Module]) -> None:
    cells, channels = 256, 32  # of a level of the pyramid
    assert 2 * terms_of(network()) + cells + channels <= SHAPES


def test_terms_are_those_of_every_layer() -> None:
    layers = {
        nn.Conv2d(3, 5, 3): 27,
        nn.Conv2d(4, 6, 3, groups=2): 18,
        nn.ConvTranspose2d(3, 5, 2): 12,
        nn.Linear(7, 2): 7,
        nn.LayerNorm(8): 8,
        nn.BatchNorm2d(8): 2,
        nn.LSTM(4, 7): 11,
        nn.MultiheadAttention(8, 2): 16,
        nn.ReLU(): 0,
        nn.Embedding(10, 4): 0,
    }
    for layer, count in layers.items():
        assert terms_of(layer) == count, layer
    assert terms_of(nn.Sequential(*layers)) == sum(layers.values())
    assert terms_of(Segmenter()) == 679


def test_the_share_of_the_limit_is_recorded() -> None:
    tolerances.used.clear()
    most = rounding()
    assert_agrees(1 + most / 2, 1.0, limit="half of it")
    assert_agrees(1.0, 1.0)
    with pytest.raises(AssertionError):
        assert_agrees(2.0, 1.0)
    (half, why), (none, nothing) = tolerances.used
    assert half == pytest.approx(0.5, rel=0.01)
    assert (why, none, nothing) == ("half of it", 0.0, None)


SOME_TESTS = """
from helpers.tolerances import assert_agrees, rounding

def test_far():
    assert_agrees(1 + rounding() / 20, 1.0)

def test_near():
    assert_agrees(1 + rounding() / 20, 1.0)
    assert_agrees(1 + rounding() / 2, 1.0, limit="it is half of it")

def test_nearer():
    assert_agrees(1 + rounding() / 5, 1.0)

def test_none():
    pass
"""

SAID = [
    "*2 of 3 tests use over a tenth of their limit*",
    " 50% test_some.py::test_near: it is half of it",
    " 20% test_some.py::test_nearer: no reason given",
]


@pytest.fixture
def some_tests(pytester: pytest.Pytester) -> pytest.Pytester:
    here = Path(__file__).parent
    shutil.copy(here / "conftest.py", pytester.path)
    shutil.copytree(here / "helpers", pytester.path / "helpers")
    pytester.makepyfile(test_some=SOME_TESTS)
    return pytester


def test_headroom_lists_the_tests_near_their_limit(some_tests: pytest.Pytester) -> None:
    some_tests.runpytest_inprocess("--headroom").stdout.fnmatch_lines(SAID)
    assert "tenth" not in some_tests.runpytest_inprocess().stdout.str()
    tolerances.used.clear()


def test_headroom_hears_of_tests_in_other_processes(some_tests: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    some_tests.runpytest_inprocess("--headroom", "-n", "1").stdout.fnmatch_lines(SAID)
