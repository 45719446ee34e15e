"""What the metrics are made of: blur, ranks, correlations, likeness, boxes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.metric_scenes import SCENES
from helpers.tolerances import assert_agrees
from limelight.metrics.faithfulness import blur, pixel_ranks
from limelight.metrics.statistics import pearson, spearman, structural_similarity
from oracles import faithfulness, metrics


@pytest.mark.parametrize("size", [(1, 7), (3, 4), (12, 16), (30,), (4, 5, 6), (1, 1)], ids=str)
def test_the_blur_equals_the_oracle(size: tuple[int, ...]) -> None:
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    wanted = np.stack([faithfulness.blurred(image.numpy()) for image in images])
    assert_agrees(blur(images), torch.tensor(wanted))


def test_the_rank_of_pixels_is_stable() -> None:
    maps = torch.tensor([[[0.2, 0.9, 0.2], [0.9, 0.0, 0.2]], [[0.0, -0.0, 0.0], [0.0, -0.0, 0.0]]])
    assert pixel_ranks(maps).tolist() == [[2, 0, 3, 1, 5, 4], [0, 1, 2, 3, 4, 5]]
    many = torch.randint(0, 3, (4, 5000)).float()
    for row, found in zip(many, pixel_ranks(many), strict=True):
        assert found.tolist() == np.argsort(np.argsort(-row.numpy(), kind="stable")).tolist()


def test_correlations_equal_the_oracle_with_ties_and_constant_rows() -> None:
    a = torch.randint(0, 4, (6, 30)).double()
    b = torch.randint(0, 3, (6, 30)).double() + a / 2
    a[1], b[2], a[3], b[3] = 2, 0.1, 0, 0
    pairs = list(zip(a.numpy(), b.numpy(), strict=True))
    wanted = torch.tensor([metrics.rank_correlation(*pair) for pair in pairs], dtype=torch.float64)
    assert_agrees(spearman(a, b), wanted)
    wanted = torch.tensor([metrics.correlation(*pair) for pair in pairs], dtype=torch.float64)
    assert_agrees(pearson(a, b), wanted)
    assert_agrees(pearson(a * 1e-150, b * 1e100 + 1e90), wanted)


def test_rank_correlation_does_not_change_with_what_keeps_the_order() -> None:
    a, b = torch.randn(3, 40).double(), torch.randn(3, 40).double()
    assert torch.equal(spearman(a.exp(), b), spearman(a, b))
    assert_agrees(spearman(-a, b), -spearman(a, b))


@pytest.mark.parametrize("size", [(9, 11), (7, 7), (6, 8), (3, 9), (20,), (7, 8, 9)], ids=str)
def test_structural_similarity_equals_the_oracle(size: tuple[int, ...]) -> None:
    a, b = torch.rand(2, *size, dtype=torch.float64), torch.rand(2, *size, dtype=torch.float64)
    each = [
        metrics.structural_similarity(one.numpy(), other.numpy())
        for one, other in zip(a, b, strict=True)
    ]
    limit = "variances of a window, each a difference of squares, in a quotient"
    assert_agrees(structural_similarity(a, b), torch.tensor(each, dtype=torch.float64), limit=limit)
    assert_agrees(structural_similarity(a, a), torch.ones(2, dtype=torch.float64))


def test_structural_similarity_of_what_has_no_window_is_not_defined() -> None:
    assert structural_similarity(torch.rand(2, 2, 9), torch.rand(2, 2, 9)).isnan().all()


@pytest.mark.parametrize(("patch", "most"), [("0.3", (4, 5)), ("1", (12, 16)), ("0.01", (1, 1))])
def test_boxes_have_sides_up_to_the_patch_and_reach_every_edge(
    patch: str, most: tuple[int, int]
) -> None:
    boxes = SCENES["picture"].holes(0, f"infidelity:samples=1500,patch={patch},seed=1")
    assert len(boxes) == 1500
    sides, reached = set(), np.zeros((12, 16), dtype=bool)
    for box in boxes:
        rows, columns = np.flatnonzero(box.any(1)), np.flatnonzero(box.any(0))
        assert box.sum() == len(rows) * len(columns), "not a box"
        assert len(rows) == rows[-1] - rows[0] + 1
        assert len(columns) == columns[-1] - columns[0] + 1
        sides.add((len(rows), len(columns)))
        reached |= box
    assert {one for one, _ in sides} == set(range(1, most[0] + 1))
    assert {other for _, other in sides} == set(range(1, most[1] + 1))
    if patch != "0.01":
        assert reached.all()
