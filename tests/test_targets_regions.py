"""Targets that are regions of dense logits."""

from __future__ import annotations

import math
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from helpers.scores import refused, rows_of, scored
from helpers.tolerances import assert_agrees
from limelight.targets import Contrast, Counterfactual, Rank, Region


def dense(batch: int = 2, classes: int = 3, grid: tuple[int, ...] = (4, 4)) -> Tensor:
    """Whole numbers, all different."""
    count = batch * classes * math.prod(grid)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(3))
    return order.double().reshape(batch, classes, *grid) / 8


def test_a_mask_of_the_image_s_size_averages_the_logits_of_its_pixels() -> None:
    logits = dense(grid=(8, 8))
    mask = torch.zeros(8, 8)
    mask[2, 3] = mask[2, 4] = mask[7, 0] = 1
    found = scored(logits, Region(1, where=mask), 2)
    for b in range(2):
        pixels = [logits[b, 1, 2, 3], logits[b, 1, 2, 4], logits[b, 1, 7, 0]]
        assert_agrees(found.values[b].item(), sum(p.item() for p in pixels) / 3)
    assert found.labels == ("class 1 in the mask",) * 2
    assert found.region is not None
    assert torch.equal(found.region, (mask > 0).expand(2, 8, 8))


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.float32, torch.int64], ids=str)
def test_a_mask_may_be_of_any_kind_and_only_nonzero_counts(kind: torch.dtype) -> None:
    logits = dense(grid=(8, 8))
    mask = torch.zeros(8, 8)
    mask[1, 1], mask[5, 6] = 1, 200
    given = mask.to(kind)
    expected = (logits[:, 2, 1, 1] + logits[:, 2, 5, 6]) / 2
    assert_agrees(scored(logits, Region(2, where=given), 2).values, expected)
    assert_agrees(
        scored(logits, Region(2, where=cast("Tensor", given.numpy())), 2).values, expected
    )


def test_a_mask_over_coarse_logits_counts_each_cell_by_the_share_inside() -> None:
    logits = dense(1)
    mask = torch.zeros(8, 8)
    mask[0, 0:3] = 1  # half of the top left cell (2 of 4 pixels), a quarter of the next
    found = scored(logits, Region(0, where=mask), 1)
    expected = (0.5 * logits[0, 0, 0, 0] + 0.25 * logits[0, 0, 0, 1]) / 0.75
    assert_agrees(found.values, expected[None])


def test_a_mask_whose_size_does_not_divide_counts_each_cell_by_the_share_inside() -> None:
    # 7 rows on 3 cells: pooled adaptively, cell i reads rows floor(7 i / 3) to ceil(7 (i+1) / 3).
    logits = dense(1, grid=(3, 3))
    mask = torch.zeros(7, 7)
    mask[2] = 1
    shares = torch.zeros(3, 3, dtype=torch.float64)
    for i in range(3):
        low, high = math.floor(7 * i / 3), math.ceil(7 * (i + 1) / 3)
        shares[i] = sum(row == 2 for row in range(low, high)) / (high - low)
    expected = (logits[0, 1] * shares).sum() / shares.sum()
    assert_agrees(scored(logits, Region(1, where=mask), 1, (7, 7)).values, expected[None])


def test_a_single_pixel_in_a_mask_is_not_lost_on_coarse_logits() -> None:
    logits = dense(1)
    for row, column in ((0, 0), (3, 6), (7, 7), (4, 1)):
        mask = torch.zeros(8, 8)
        mask[row, column] = 1
        found = scored(logits, Region(2, where=mask), 1)
        assert found.values.item() == logits[0, 2, row // 2, column // 2].item()


def test_a_mask_of_the_logits_size() -> None:
    logits = dense(1)
    mask = torch.zeros(4, 4)
    mask[1, 2] = mask[3, 3] = 1
    found = scored(logits, Region(0, where=mask), 1)
    assert found.values.item() == (logits[0, 0, 1, 2] + logits[0, 0, 3, 3]).item() / 2
    assert found.region is not None
    expected = torch.zeros(1, 8, 8, dtype=torch.bool)
    expected[0, 2:4, 4:6] = expected[0, 6:8, 6:8] = True
    assert torch.equal(found.region, expected)


def test_one_mask_per_image() -> None:
    logits = dense(grid=(8, 8))
    mask = torch.zeros(2, 8, 8)
    mask[0, 1, 5] = mask[1, 6, 2] = 1
    found = scored(logits, Region([2, 0], where=mask), 2)
    assert found.values.tolist() == [logits[0, 2, 1, 5].item(), logits[1, 0, 6, 2].item()]


def test_a_pixel_is_row_and_column() -> None:
    logits = dense()
    found = scored(logits, Region(1, where=(3, 6)), 2)  # of 8 x 8, over a grid of 4 x 4
    assert found.values.tolist() == logits[:, 1, 1, 3].tolist()
    assert found.labels[0] == "class 1 at pixel (3, 6)"
    for corner in ((0, 0), (0, 7), (7, 0), (7, 7)):
        at = logits[:, 0, corner[0] // 2, corner[1] // 2]
        assert scored(logits, Region(0, where=corner), 2).values.tolist() == at.tolist()


def test_without_a_class_the_pixel_is_of_the_one_predicted_there() -> None:
    logits = dense()
    found = scored(logits, Region(where=(3, 6)), 2)
    assert found.indices is not None
    assert found.indices.tolist() == logits[:, :, 1, 3].argmax(1).tolist()
    assert found.values.tolist() == logits[:, :, 1, 3].amax(1).tolist()


def test_without_a_mask_the_region_is_where_the_class_is_predicted() -> None:
    logits = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    logits[0, 1, 0, :3] = torch.tensor([5.0, 7.0, 9.0])
    logits[0, 2, 1:3, 2] = 4.0
    logits[0, 0] = 1.0
    assert scored(logits, Region(1), 1).values.item() == 7
    assert scored(logits, 2, 1).values.item() == 4
    found = scored(logits, Region(2), 1)
    assert found.region is not None
    expected = torch.zeros(1, 8, 8, dtype=torch.bool)
    expected[0, 2:6, 4:6] = True
    assert torch.equal(found.region, expected)


def test_a_class_that_is_predicted_nowhere_is_explained_over_the_picture() -> None:
    logits = dense(1)
    logits[0, 1] -= 100
    found = scored(logits, Region(1), 1)
    assert_agrees(found.values, logits[0, 1].mean()[None])
    assert found.labels == ("class 1, predicted nowhere",)
    assert found.region is not None
    assert found.region.all()


def test_nothing_predicted_in_one_image_does_not_change_the_other() -> None:
    logits = dense(2)
    logits[0, 1] -= 100
    found = scored(logits, Region(1), 2)
    predicted = logits[1].argmax(0) == 1
    assert_agrees(found.values[1], logits[1, 1][predicted].mean())
    assert found.labels == ("class 1, predicted nowhere", "class 1")


def test_ranks_go_by_the_area_on_which_a_class_is_predicted() -> None:
    logits = torch.zeros(1, 4, 4, 4, dtype=torch.float64)
    logits[0, 2, :, :2] = 1  # 8 cells
    logits[0, 0, :3, 2] = 5  # 3 cells, however sure
    logits[0, 3, 3, 2] = 9
    logits[0, 3, :, 3] = 2  # 5 with the one above
    order = [scored(logits, Rank(k), 1).indices for k in (1, 2, 3, 4)]
    assert [one.item() for one in order if one is not None] == [2, 3, 0, 1]
    assert scored(logits, None, 1).labels == ("class 2",)


def test_within_a_mask_the_class_is_the_one_predicted_on_most_of_it() -> None:
    logits = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    logits[0, 1] = 1
    logits[0, 2, 3] = 2
    mask = torch.zeros(4, 4)
    mask[2:, 0] = mask[3, 1] = 1  # one cell of class 1, two of class 2
    found = scored(logits, Region(where=mask), 1)
    assert found.indices is not None
    assert found.indices.item() == 2
    assert_agrees(found.values, torch.tensor([4 / 3], dtype=torch.float64))


@pytest.mark.parametrize(
    "name", ["background", "__background__", "Background", "unlabeled", "void"]
)
def test_a_background_is_not_explained_where_names_tell_of_one(name: str) -> None:
    logits = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    logits[0, 0] = 3
    logits[0, 2, 0, 0] = 5
    names = [name, "cat", "dog"]
    assert scored(logits, None, 1, classes=names).labels == ("dog",)
    order = [scored(logits, Rank(k), 1, classes=names).indices for k in (1, 2, 3)]
    assert [one.item() for one in order if one is not None] == [2, 1, 0]
    assert scored(logits, None, 1).labels == ("class 0",)
    # Asked for, it is explained.
    asked = scored(logits, name, 1, classes=names)
    assert asked.values.item() == 3


@pytest.mark.parametrize("where", [None, "mask"])
def test_of_one_class_the_region_is_where_its_logit_is_positive(where: str | None) -> None:
    logits = torch.full((1, 1, 4, 4), -2.0, dtype=torch.float64)
    logits[0, 0, 1, 1:3] = torch.tensor([3.0, 4.0])
    if where is None:
        assert scored(logits, None, 1).values.item() == 3.5
        assert scored(logits, 0, 1).values.item() == 3.5
        assert scored(logits, None, 1).labels == ("the output",)
        nowhere = scored(-logits.abs(), None, 1)
        assert_agrees(nowhere.values, -logits.abs().mean()[None])
    else:
        mask = torch.zeros(4, 4)
        mask[1, :2] = 1
        assert scored(logits, Region(where=mask), 1).values.item() == 0.5


def test_signals_and_volumes_have_regions_too() -> None:
    signal = dense(2, 3, (5,))
    mask = torch.zeros(10)
    mask[2:6] = 1
    expected = (signal[:, 1, 1] + signal[:, 1, 2]) / 2
    assert_agrees(scored(signal, Region(1, where=mask), 2, (10,)).values, expected)
    assert_agrees(scored(signal, Region(1, where=(9,)), 2, (10,)).values, signal[:, 1, 4])
    volume = dense(2, 3, (2, 3, 4))
    solid = torch.zeros(4, 6, 8)
    solid[0:2, 2:4, 0:2] = 1  # one cell
    assert_agrees(
        scored(volume, Region(2, where=solid), 2, (4, 6, 8)).values, volume[:, 2, 0, 1, 0]
    )
    at = scored(volume, Region(0, where=(3, 5, 1)), 2, (4, 6, 8))
    assert_agrees(at.values, volume[:, 0, 1, 2, 0])
    predicted = (volume.argmax(1) == 1).double()
    mean = (volume[:, 1] * predicted).sum((1, 2, 3)) / predicted.sum((1, 2, 3))
    assert_agrees(scored(volume, 1, 2, (4, 6, 8)).values, mean)


def test_differences_of_classes_over_a_region() -> None:
    logits = dense(1)
    mask = torch.zeros(4, 4)
    mask[1, 2] = mask[3, 0] = 1
    one, two = ((logits[0, c, 1, 2] + logits[0, c, 3, 0]).item() / 2 for c in (1, 2))
    against = scored(logits, Region(Counterfactual(1), where=mask), 1)
    assert against.values.item() == -one
    assert against.labels == ("against class 1 in the mask",)
    rather = scored(logits, Region(Contrast(1, 2), where=mask), 1)
    assert_agrees(rather.values, torch.tensor([one - 0.6 * two], dtype=torch.float64))
    whole = scored(logits, Region(Contrast(1, 2, weight=1.0), where=(5, 5)), 1)
    assert_agrees(whole.values, (logits[0, 1, 2, 2] - logits[0, 2, 2, 2])[None])


def test_a_contrast_of_where_a_class_is_predicted_reads_both_there() -> None:
    logits = dense(1)
    there = logits[0].argmax(0) == 1
    expected = logits[0, 1][there].mean() - 0.6 * logits[0, 2][there].mean()
    assert_agrees(scored(logits, Region(Contrast(1, 2)), 1).values, expected[None])
    assert_agrees(scored(logits, Contrast(1, 2), 1).values, expected[None])


def test_again_reads_other_outputs_over_the_same_region() -> None:
    logits, other = dense(2), dense(2).flip(2) * 3
    # Where class 1 is predicted is fixed by the first output.
    found = scored(logits, Region(1), 2)
    there = logits.argmax(1) == 1
    rows = [1, 0, 1, 1]
    expected = [other[b, 1][there[b]].mean() for b in rows]
    assert_agrees(found.again(rows_of(other, rows), torch.tensor(rows)), torch.stack(expected))


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (Region(1, where=torch.zeros(8, 8)), r"The mask is empty: no pixel is inside\. Pass where"),
        (
            Region(1, where=torch.stack([torch.zeros(8, 8), torch.ones(8, 8)])),
            r"The mask is empty",
        ),
        (Region(1, where=torch.ones(5, 8)), r"mask has shape \[5, 8\]; \[8, 8\] was expected"),
        (
            Region(1, where=torch.ones(3, 8, 8)),
            r"mask has shape \[3, 8, 8\]; .*\[2, 8, 8\] for one",
        ),
        (Region(1, where=torch.ones(2, 1, 8, 8)), r"mask has shape \[2, 1, 8, 8\]"),
        (Region(1, where=torch.ones(8)), r"mask has shape \[8\]; \[8, 8\] was expected"),
        (Region(1, where=(8, 0)), r"The pixel is \(8, 0\); an index along each axis of \[8, 8\]"),
        (Region(1, where=(0, -1)), r"The pixel is \(0, -1\)"),
        (Region(1, where=(1, 2, 3)), r"The pixel is \(1, 2, 3\)"),
        (Region(1, where=cast("Any", (1.5, 2))), r"The pixel is \(1\.5, 2\)"),
        (Region(3, where=(0, 0)), r"target class is 3; the model has 3 classes"),
        (Region(Rank(4)), r"rank 4 was asked for; the model has 3 classes"),
        (Counterfactual(cast("Any", Region(1))), r"Turn it round: Region\(target=Counterfactual"),
        (Contrast(cast("Any", Region(1)), 2), r"Turn it round: Region\(target=Contrast"),
        (
            Region(cast("Any", Region(1))),
            "Region takes a class, not a Region.",
        ),
    ],
    ids=str,
)
def test_a_region_that_is_none_says_what_was_expected(target: Any, text: str) -> None:
    refused(dense(), target, 2, text)


def test_a_region_needs_dense_logits() -> None:
    text = r"needs logits \[B, C, \*grid\] with 2 grid axes.*returned \[2, 5\]\. Leave `where` out"
    refused(torch.zeros(2, 5), Region(1), 2, text)
    refused(torch.zeros(3, 5, 4, 4), Region(1), 2, r"the model returned \[3, 5, 4, 4\]")


@pytest.mark.parametrize("classes", [1, 4, 200])
def test_any_number_of_classes(classes: int) -> None:
    logits = dense(1, classes)
    last = classes - 1
    assert_agrees(scored(logits, Region(last, where=(0, 0)), 1).values, logits[:, last, 0, 0])
