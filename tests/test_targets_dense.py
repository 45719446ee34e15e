"""Targets of segmenters, detectors, language models and embeddings, in exact numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import limelight
from limelight.errors import InputError, LayerError, OptionError, TargetError, UnknownNameError
from limelight.inputs import ModelInputs
from limelight.targets import (
    Box,
    Contrast,
    Counterfactual,
    OutputSpec,
    Rank,
    Region,
    Scores,
    Similarity,
    TargetContext,
    Words,
    each_word,
    output_spec,
    score,
)
from limelight.targets.outputs import Detected, find_logits
from tolerances import assert_agrees

Pick = Any


def scored(
    output: Any,
    target: Any,
    batch: int,
    size: tuple[int, ...] = (8, 8),
    *,
    classes: list[str] | None = None,
    pick: Pick = None,
    words: bool = False,
) -> Scores:
    found = score(output, target, TargetContext(batch, size, OutputSpec(classes, pick), words))
    # Whatever the target, the same output has the same scores again, in any order and repeated.
    everything = torch.arange(batch)
    assert torch.equal(found.again(output, everything), found.values)
    return found


def refused(output: Any, target: Any, batch: int, text: str, size: Any = (8, 8)) -> None:
    with pytest.raises(TargetError, match=text):
        score(output, target, TargetContext(batch, size, OutputSpec()))


def rows_of(output: Tensor, rows: list[int]) -> Tensor:
    return output[torch.tensor(rows)]


# Regions


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
            r"target class is Region\(.*an index from 0 to 2 was expected",
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


# Boxes

BOXES = torch.tensor(
    [[0.0, 0, 10, 10], [2, 0, 12, 10], [20, 20, 30, 40], [20, 20, 30, 30], [50, 50, 64, 60]]
)
#: Of each box the logit of the background, a cat and a dog.
LOGITS = torch.tensor(
    [[0.0, 2.0, 1.0], [0.0, 3.0, -1.0], [0.0, -1.0, 4.0], [0.0, 1.0, 2.5], [3.0, -2.0, -4.0]]
)


def found_by_hand(batch: int = 1, shift: float = 0.0) -> Detected:
    """What a detector of one stage proposed: sigmoids, and the first class is the background."""
    boxes, logits = BOXES + shift, LOGITS
    likely = logits.sigmoid() * torch.tensor([0.0, 1.0, 1.0])
    return Detected({}, (boxes,) * batch, (logits,) * batch, (likely,) * batch)


def boxed(target: Any, output: Detected | None = None, batch: int = 1) -> Scores:
    return scored(output or found_by_hand(batch), target, batch, (60, 64))


def test_of_the_boxes_that_overlap_the_most_probable_is_read() -> None:
    # With [1, 0, 11, 10] boxes 0 and 1 share 90 of 110 pixels each; the second is surer of a cat.
    assert boxed(Box([1, 0, 11, 10], 1)).values.item() == 3
    assert boxed(Box([1, 0, 11, 10], 2)).values.item() == 1
    found = boxed(Box([1, 0, 11, 10]))
    assert found.indices is not None
    assert found.indices.item() == 1
    assert found.values.item() == 3
    assert found.labels == ("class 1 in box [1, 0, 11, 10]",)


def test_boxes_that_overlap_less_are_not_read() -> None:
    # With [20, 20, 30, 32] box 2 shares 120 of 200 (0.6), box 3 100 of 120 (0.83).
    box = [20, 20, 30, 32]
    assert boxed(Box(box, 2)).values.item() == 4
    assert boxed(Box(box, 2, iou=0.6)).values.item() == 4
    assert boxed(Box(box, 2, iou=0.61)).values.item() == 2.5
    assert boxed(Box(box, 2, iou=0.83)).values.item() == 2.5
    refused_box(Box(box, 2, iou=0.84), r"overlaps the box asked for by 0\.84 .*nearest has 0\.83")


def refused_box(target: Any, text: str, batch: int = 1) -> None:
    refused(found_by_hand(batch), target, batch, text, (60, 64))


def test_a_class_without_a_box_is_read_at_its_most_probable_one() -> None:
    assert boxed(1).values.item() == 3
    found = boxed(Box(target=2))
    assert found.values.item() == 4
    assert found.labels == ("class 2 in box [20, 20, 30, 40]",)


def test_ranks_are_objects_without_their_duplicates() -> None:
    # A dog in box 2 (4.0), a cat in box 1 (3.0; box 0 is the same cat by 80 of 120), then the cats
    # and dogs that hardly are any.
    first, second = boxed(Rank(1)), boxed(Rank(2))
    assert first.values.item() == 4
    assert first.labels == ("class 2 in box [20, 20, 30, 40]",)
    assert second.values.item() == 3
    assert second.labels == ("class 1 in box [2, 0, 12, 10]",)
    assert boxed(None).values.item() == 4


def in_a_row() -> Detected:
    """Boxes of one class, each a neighbour's by 7 of 13, the outer ones apart: the surest first."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10]])
    logits = torch.tensor([[3.0], [2.0], [1.0]])
    return Detected({}, (boxes,), (logits,), (logits.sigmoid(),))


def test_an_object_s_score_is_that_of_its_own_box_in_a_crowd() -> None:
    # The box in the middle is the first object seen again; the second object is the last box.
    assert boxed(Rank(1), in_a_row()).values.item() == 3
    second = boxed(Rank(2), in_a_row())
    assert second.labels == ("the output in box [6, 0, 16, 10]",)
    assert second.values.item() == 1


def test_ranks_are_different_objects_however_little_overlap_is_asked_for() -> None:
    # A dog's boxes 2 and 3 are two objects, as they share no more than half.
    logits = [boxed(Box(target=Rank(k), iou=0.3)).values.item() for k in (1, 2, 3)]
    assert logits == [4, 3, 2.5]


def test_at_a_given_box_ranks_are_classes() -> None:
    order = [boxed(Box([0, 0, 10, 10], Rank(k))).indices for k in (1, 2)]
    assert [one.item() for one in order if one is not None] == [1, 2]


def test_one_box_per_image() -> None:
    given = torch.tensor([[20.0, 20, 30, 40], [0, 0, 10, 10]])
    found = boxed(Box(given, [2, 1]), batch=2)
    assert found.values.tolist() == [4, 3]
    assert found.region is not None
    assert found.region[0].nonzero().amin(0).tolist() == [20, 20]
    assert found.region[0].nonzero().amax(0).tolist() == [39, 29]
    assert found.region.flatten(1).sum(1).tolist() == [200, 100]


def test_differences_of_classes_are_read_off_one_box() -> None:
    box = [20, 20, 30, 40]
    assert boxed(Box(box, Counterfactual(2))).values.item() == -4
    assert_agrees(boxed(Box(box, Contrast(2, 1))).values, torch.tensor([4 + 0.6]))
    against = boxed(Box(box, Contrast(2, 1))).labels[0]
    assert against == "class 2 in box [20, 20, 30, 40] rather than class 1"


def test_boxes_of_their_own_for_each_class() -> None:
    each = torch.stack([BOXES, BOXES, BOXES + 8], 1)  # those of dogs lie elsewhere
    likely = LOGITS.softmax(1) * torch.tensor([0.0, 1.0, 1.0])
    output = Detected([], (each,), (LOGITS,), (likely,))
    assert boxed(Box([0, 0, 10, 10], 1), output).values.item() == 3
    # Dogs at [8, 8, 18, 18] are those of row 0 and 1 (moved by two); row 0 is surer of one.
    assert boxed(Box([8, 8, 18, 18], 2), output).values.item() == 1


def test_a_box_that_moves_is_followed_and_one_that_goes_is_the_nearest() -> None:
    found = boxed(Box([0, 0, 10, 10], 1))
    assert found.values.item() == 3
    # One pixel on, box 0 shares 81 of 119 pixels, and box 1 less than half.
    moved = found.again(found_by_hand(shift=1.0), torch.tensor([0]))
    assert moved.item() == 2
    # Seven pixels on, nothing overlaps by half; the nearest is read, box 0 with 9 of 191.
    far = found.again(found_by_hand(shift=7.0), torch.tensor([0]))
    assert far.item() == 2


def test_the_background_is_no_object() -> None:
    refused_box(Box(target=0), r"Class 0 is no object but the background; name another class")
    refused_box(0, r"Class 0 is no object but the background")


@pytest.mark.parametrize(
    ("box", "text"),
    [
        ([10, 0, 0, 10], r"x1 < x2 and y1 < y2 in pixels of the image.*64 wide and 60 high"),
        ([0, 10, 10, 10], r"x1 < x2 and y1 < y2"),
        ([0, 0, 66, 10], r"which is 64 wide and 60 high"),
        ([0, 0, 10, 62], r"which is 64 wide and 60 high"),
        ([-2, 0, 10, 10], r"x1 < x2 and y1 < y2"),
        ([0, 0, 10], r"The box has shape \[(1, )?3\]; x1, y1, x2, y2 were expected"),
        ([[0, 0, 10, 10]] * 3, r"The box has shape \[3, 4\]; .* one such row per image \[1, 4\]"),
        ([0, 0, math.nan, 10], r"x1 < x2 and y1 < y2"),
        ([34, 2, 44, 12], r"No box that the detector proposed in image 0 overlaps .*0\.00"),
    ],
    ids=str,
)
def test_a_box_that_is_none_says_what_was_expected(box: Any, text: str) -> None:
    refused_box(Box(box, 1), text)


@pytest.mark.parametrize("iou", [0.0, -0.1, 1.5])
def test_an_overlap_that_means_nothing_is_refused(iou: float) -> None:
    with pytest.raises(TargetError, match=r"a share above 0 and up to 1 was expected"):
        Box([0, 0, 1, 1], iou=iou)


def test_a_box_needs_a_detector() -> None:
    refused(torch.zeros(1, 5), Box([0, 0, 4, 4]), 1, r"A box needs a detector.*returned Tensor")


def test_a_detector_that_proposed_nothing_says_so() -> None:
    empty = Detected({}, (BOXES[:0],), (LOGITS[:0],), (LOGITS[:0],))
    refused(empty, None, 1, r"The detector proposed no box at all in one of the images")


def test_more_ranks_than_objects_are_refused() -> None:
    refused_box(
        Rank(50), r"object of rank 50 was asked for; in image 0 the detector proposed \d+\."
    )


class Queries(nn.Module):
    """Answers like DETR: boxes as centre, width and height in shares, a logit of no object last."""

    def __init__(self, named: str = "pred_logits") -> None:
        super().__init__()
        self.named = named
        self.body = nn.Conv2d(3, 6, 4, stride=4)
        self.classes = nn.Linear(6, 3)
        self.boxes: Tensor
        corners = torch.tensor([[0.25, 0.25, 0.5, 0.5], [0.75, 0.5, 0.25, 1.0]])
        self.register_buffer("boxes", corners)
        self.register_buffer("queries", torch.randn(2, 6))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        tokens = self.body(x).flatten(2).transpose(1, 2)
        weights = (self.queries @ tokens.transpose(1, 2)).softmax(-1)
        logits = self.classes((weights @ tokens).tanh())
        return {self.named: logits, "pred_boxes": self.boxes.expand(len(x), 2, 4)}


@pytest.mark.parametrize("named", ["pred_logits", "logits"])
def test_boxes_of_queries_are_read_in_pixels(named: str) -> None:
    model, images = Queries(named).eval(), torch.randn(2, 3, 16, 32)
    with torch.no_grad():
        logits = model(images)[named]
    # Centre (0.25, 0.25) and half of each side: a quarter of the picture, 32 wide and 16 high.
    first = limelight.explain(model, images, target=Box([0, 0, 16, 8], 1))
    assert_agrees(first.score, logits[:, 0, 1])
    second = limelight.explain(model, images, target=Box([20, 0, 28, 16], [0, 1]))
    assert_agrees(second.score, torch.stack([logits[0, 1, 0], logits[1, 1, 1]]))
    chosen = limelight.explain(model, images)
    likely = logits.softmax(-1)[..., :2].flatten(1).argmax(1)
    assert_agrees(chosen.score, logits[..., :2].flatten(1)[torch.arange(2), likely])
    with pytest.raises(TargetError, match=r"the model has 2 classes"):
        limelight.explain(model, images, target=Box([0, 0, 16, 8], 2))
    with pytest.raises(TargetError, match=r"No box that the detector proposed in image 0"):
        limelight.explain(model, images, target=Box([0, 8, 16, 16], 1))


# Words


def sentences(batch: int = 2, count: int = 5, vocabulary: int = 7) -> tuple[Tensor, Tensor]:
    logits = torch.randn(batch, count, vocabulary, dtype=torch.float64)
    return logits, torch.randint(vocabulary, (batch, count))


def test_a_sentence_s_score_is_minus_its_cross_entropy() -> None:
    logits, ids = sentences()
    found = scored(logits, Words(ids), 2)
    for b in range(2):
        expected = -cross_entropy(logits[b, :-1], ids[b, 1:], reduction="sum")
        assert_agrees(found.values[b].double(), expected)
    assert found.labels == ("the sentence",) * 2
    assert found.indices is None
    assert found.values.dtype is logits.dtype


@pytest.mark.parametrize("at", [1, 3, 4, [2], [3, 4], (1, 4)], ids=str)
def test_words_are_read_off_the_logits_before_them(at: Any) -> None:
    logits, ids = sentences()
    expected = torch.zeros(2, dtype=torch.float64)
    for t in [at] if isinstance(at, int) else at:
        expected += torch.stack([logits[b, t - 1].log_softmax(0)[ids[b, t]] for b in range(2)])
    assert_agrees(scored(logits, Words(ids, at), 2).values.double(), expected)


def test_one_sentence_for_all_images() -> None:
    logits, ids = sentences()
    alone = scored(logits, Words(ids[0]), 2).values
    assert_agrees(alone, scored(logits, Words(ids[:1].expand(2, -1)), 2).values)
    assert_agrees(scored(logits, Words(ids[0].tolist()), 2).values, alone)


def test_picture_tokens_in_front_of_the_sentence_are_left_out() -> None:
    logits, ids = sentences()
    longer = torch.cat([torch.randn(2, 9, 7, dtype=torch.float64), logits], 1)
    for at in (None, 1, [2, 3]):
        before = scored(logits, Words(ids, at), 2).values
        assert_agrees(scored(longer, Words(ids, at), 2).values, before)


def test_words_of_other_rows_keep_their_own_sentences() -> None:
    logits, ids = sentences()
    found = scored(logits, Words(ids, 2), 2)
    rows = [1, 1, 0]
    expected = torch.stack([logits[b, 1].log_softmax(0)[ids[b, 2]] for b in rows])
    again = found.again(rows_of(logits, rows), torch.tensor(rows))
    assert_agrees(again.double(), expected)


def test_each_word_is_a_target_and_together_they_are_the_sentence() -> None:
    logits, ids = sentences(1)
    targets = each_word(ids[0], ["<s>", "a", "cat", "sits", "</s>"])
    assert [target.text for target in targets] == ["a", "cat", "sits", "</s>"]
    assert [target.at for target in targets] == [1, 2, 3, 4]
    parts = [scored(logits, target, 1) for target in targets]
    assert [part.labels for part in parts] == [("a",), ("cat",), ("sits",), ("</s>",)]
    assert_agrees(
        torch.stack([part.values for part in parts]).sum(0), scored(logits, Words(ids), 1).values
    )
    assert [target.at for target in each_word(ids[0], first=3)] == [3, 4]
    assert scored(logits, each_word(ids[0])[1], 1).labels == ("token 2",)
    with pytest.raises(TargetError, match=r"There are 2 words for 5 tokens"):
        each_word(ids[0], ["a", "cat"])


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (Words([1, 2, 3, 4, 5, 6]), r"There are 6 tokens from number 1 to 6, .*\[2, 5, 7\]"),
        (Words([1, 2, 7, 0, 0]), r"5 tokens from number 0 to 7"),
        (Words([1, -1, 2, 3, 4]), r"token"),
        (Words([1, 2, 3, 4, 5], 0), r"at is 0; positions from 1 to 4 were expected"),
        (Words([1, 2, 3, 4, 5], 5), r"at is 5; positions from 1 to 4"),
        (Words([1, 2, 3, 4, 5], -1), r"at is -1; positions from 1 to 4"),
        (Words([1, 2, 3, 4, 5], []), r"at is \[\]; positions"),
        (Words([1]), r"positions from 1 to 0 were expected|at least two tokens"),
        (Words(torch.zeros(2, 5)), r"tokens have shape \[2, 5\]; integers \[N\] were expected"),
        (Words(torch.ones(3, 5, dtype=torch.long)), r"tokens have shape \[3, 5\]; .*\[2, N\]"),
        (Words(torch.ones(1, 2, 5, dtype=torch.long)), r"tokens have shape \[1, 2, 5\]"),
    ],
    ids=str,
)
def test_words_that_do_not_fit_say_what_was_expected(target: Any, text: str) -> None:
    refused(sentences()[0], target, 2, text)


def test_a_class_of_a_language_model_is_the_next_word() -> None:
    logits, _ = sentences()
    found = scored(logits, None, 2, words=True)
    assert found.indices is not None
    assert found.indices.tolist() == logits[:, -1].argmax(1).tolist()
    assert_agrees(found.values, logits[:, -1].amax(1))
    assert found.labels[0].endswith(" as the next word")
    assert_agrees(scored(logits, [3, 1], 2, words=True).values, logits[[0, 1], -1, [3, 1]])


# Similarity


def test_a_similarity_is_the_cosine() -> None:
    embedding = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    found = scored(embedding, Similarity(torch.tensor([4.0, 3.0]), "a cat"), 2)
    assert_agrees(found.values, torch.tensor([24 / 25, 4 / 5]))
    assert found.labels == ("similarity to a cat",) * 2
    assert scored(embedding, Similarity(torch.ones(2)), 2).labels[0] == "similarity to a vector"
    each = scored(embedding, Similarity(torch.tensor([[0.0, 2.0], [-5.0, 0.0]])), 2)
    assert_agrees(each.values, torch.tensor([4 / 5, -1.0]))
    swapped = each.again(rows_of(embedding, [1, 0, 1]), torch.tensor([0, 1, 1]))
    assert_agrees(swapped, torch.tensor([0.0, -3 / 5, -1.0]))


def test_a_similarity_to_itself_is_one_whatever_the_scale() -> None:
    embedding = torch.randn(3, 6, dtype=torch.float64)
    found = scored(embedding, Similarity(embedding * 7.5), 3)
    assert_agrees(found.values, torch.ones(3, dtype=torch.float64))


def test_the_vector_carries_no_graph_and_may_be_of_another_kind() -> None:
    embedding = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    to = torch.randn(4, requires_grad=True)
    scored(embedding, Similarity(to), 2).values.sum().backward()  # type: ignore[no-untyped-call]
    assert embedding.grad is not None
    assert to.grad is None
    listed = scored(embedding, Similarity(cast("Any", to.tolist())), 2).values
    assert_agrees(listed, scored(embedding, Similarity(to), 2).values)


@pytest.mark.parametrize(
    ("output", "to", "text"),
    [
        (torch.ones(2, 4), torch.zeros(4), r"The vector is zero; nothing is similar to it"),
        (torch.ones(2, 4), torch.stack([torch.ones(4), torch.zeros(4)]), r"The vector is zero"),
        (torch.ones(2, 4), torch.ones(5), r"vector has shape \[1, 5\]; \[4\] was expected"),
        (torch.ones(2, 4), torch.ones(3, 4), r"one per image, \[2, 4\]"),
        (torch.ones(2, 4), torch.ones(1, 2, 4), r"vector has shape \[1, 2, 4\]"),
        (
            torch.ones(2, 4, 3, 3),
            torch.ones(4),
            r"return embeddings \[B, D\]; it returned \[2, 4, ",
        ),
        (torch.ones(3, 4), torch.ones(4), r"embeddings"),
    ],
    ids=["zero", "one zero", "length", "batch", "axes", "grid", "rows"],
)
def test_a_vector_that_does_not_fit_says_what_was_expected(
    output: Tensor, to: Tensor, text: str
) -> None:
    refused(output, Similarity(to), 2, text)


# Which part of the output


@dataclass
class Parts:
    note: str
    aux: dict[str, Tensor]
    scores: Tensor


class Ordered(NamedTuple):
    hidden: Tensor
    scores: Tensor


class Free:
    def __init__(self, scores: Tensor) -> None:
        self.scores = scores
        self.note = "text"


OTHER, MINE = torch.zeros(2, 3), torch.tensor([[1.0, 4.0, 2.0], [0.0, -1.0, 5.0]])


@pytest.mark.parametrize(
    ("output", "pick"),
    [
        ({"logits": OTHER, "scores": MINE}, "scores"),
        ((OTHER, MINE), 1),
        ((OTHER, MINE), -1),
        ([OTHER, MINE], "1"),
        (Ordered(OTHER, MINE), 1),
        (Ordered(OTHER, MINE), "scores"),
        (Parts("a", {"inner": OTHER}, MINE), "scores"),
        (Parts("a", {"inner": MINE}, OTHER), "aux.inner"),
        (Free(MINE), "scores"),
        ([{"logits": OTHER}, {"deep": (OTHER, MINE)}], "1.deep.1"),
        ({1: MINE, "logits": OTHER}, 1),
        ({"a.b": OTHER, "a": {"b": MINE}}, "a.b"),
        ({"logits": OTHER, "scores": MINE}, lambda output: output["scores"]),
        (MINE * 2, lambda output: output / 2),
    ],
    ids=lambda value: str(value) if isinstance(value, str | int) else type(value).__name__,
)
def test_a_part_of_the_output_is_picked(output: Any, pick: Pick) -> None:
    assert torch.equal(find_logits(output, pick), MINE)
    assert scored(output, None, 2, pick=pick).values.tolist() == [4, 5]
    assert scored(output, Similarity(torch.ones(3)), 2, pick=pick).values.shape == (2,)


@pytest.mark.parametrize(
    ("output", "pick", "text"),
    [
        ({"logits": OTHER, "scores": MINE}, "score", r"no output named 'score'\. .*'scores'"),
        ({"logits": OTHER}, "zzz", r"no output named 'zzz'\. a dict of 1 has logits"),
        ((OTHER, MINE), 2, r"no output named '2'\. .*a tuple of 2 has 0, 1"),
        (Ordered(OTHER, MINE), "score", r"no output named 'score'\. Did you mean 'scores'"),
        (Parts("a", {"inner": OTHER}, MINE), "aux.iner", r"no output named 'aux\.iner'"),
    ],
    ids=["key", "far", "index", "named", "deep"],
)
def test_a_part_that_is_not_there_comes_with_the_nearest(
    output: Any, pick: Pick, text: str
) -> None:
    with pytest.raises(UnknownNameError, match=text):
        find_logits(output, pick)


@pytest.mark.parametrize(
    ("output", "pick", "text"),
    [
        ({"note": "text"}, "note", r"output='note' is a str; the tensor that holds the logits"),
        ({"inner": {"logits": OTHER}}, "inner", r"output='inner' is a dict of 1; the tensor"),
        ([OTHER], lambda output: None, r" is None; the tensor that holds"),
    ],
    ids=["text", "dict", "none"],
)
def test_a_part_that_is_no_tensor_is_refused(output: Any, pick: Pick, text: str) -> None:
    with pytest.raises(TargetError, match=text):
        find_logits(output, pick)


def test_logits_are_found_however_deep_they_are() -> None:
    assert find_logits([[{"a": [MINE]}]]) is MINE
    assert find_logits({"loss": None, "inner": {"deep": (None, MINE)}}) is MINE
    assert find_logits((None, Parts("a", {"inner": OTHER}, MINE))) is MINE


# List inputs


class Listens(nn.Module):
    """Takes a list of images, as torchvision's detectors do, and refuses a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, stride=2)
        self.fc = nn.Linear(5, 4)

    def forward(self, images: list[Tensor]) -> Tensor:
        assert isinstance(images, list)
        assert all(image.ndim == 3 for image in images)
        return cast("Tensor", self.fc(self.conv(torch.stack(images)).tanh().mean((2, 3))))


@pytest.mark.parametrize(
    "method", ["gradcam", "saliency", "occlusion:patch=0.3,stride=0.3", "scorecam"]
)
def test_a_list_of_images_reaches_the_model_as_a_list(method: str) -> None:
    model, images = Listens().eval(), torch.randn(2, 3, 13, 17)

    class Stacks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, x: Tensor) -> Tensor:
            return cast("Tensor", self.inner(list(x)))

    listed = limelight.explain(model, list(images), target=[2, 0], method=method)
    stacked = limelight.explain(Stacks().eval(), images, target=[2, 0], method=method)
    assert listed.heatmap.shape == (2, 13, 17)
    assert_agrees(listed.raw, stacked.raw)


@pytest.mark.parametrize(
    ("images", "text"),
    [
        ([], r"a list of nothing; a list of images \[C, H, W\] was expected"),
        ([1, 2], r"a list of int; a list of images"),
        ([torch.ones(3, 4, 4), "text"], r"a list of Tensor, str"),
        (
            [torch.ones(3, 4, 4), torch.ones(3, 5, 4)],
            r"shapes \[\[3, 4, 4\], \[3, 5, 4\]\]; one shap",
        ),
        ([torch.ones(3, 0, 4)], r"The images are empty"),
        ([torch.full((3, 4, 4), math.nan)], r"NaN or infinite"),
    ],
    ids=["nothing", "numbers", "text", "sizes", "empty", "nan"],
)
def test_a_list_that_is_none_of_images_is_refused(images: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        ModelInputs.of(images)


# A grid that has to be said


class Unfolds(nn.Module):
    """Cuts patches of 4 with an unfold and embeds them with a linear layer; no class token."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3 * 16, 8)
        self.norm = nn.LayerNorm(8)
        self.mix = nn.Linear(8, 8)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        patches = nn.functional.unfold(x, 4, stride=4).transpose(1, 2)
        x = self.mix(self.norm(self.embed(patches)).tanh())
        return cast("Tensor", self.fc(x.sin().mean(1)))


def test_an_ambiguous_grid_is_asked_for_and_can_be_said() -> None:
    # 26 x 40 pixels hold 6 x 10 patches of 4 (the last rows are lost), and 60 tokens could as well
    # be 5 x 12; neither has the picture's proportions exactly.
    model, images = Unfolds().eval(), torch.randn(2, 3, 26, 40)
    for layer in (None, "mix"):
        with pytest.raises(
            LayerError, match=r"60 tokens.*6 x 10.*Say which with grid=\("
        ) as caught:
            limelight.explain(model, images, target=1, layer=layer)
        assert "5 x 12" in str(caught.value)
    found = limelight.explain(model, images, target=1, grid=(6, 10))
    assert found.raw.shape == (2, 6, 10)
    assert found.layer == "mix"
    # Each cell is the token of its patch, row by row.
    cut = limelight.cut(model, images, "mix", grid=(6, 10))
    patches = nn.functional.unfold(images, 4, stride=4).transpose(1, 2)
    with torch.no_grad():
        tokens = model.mix(model.norm(model.embed(patches)).tanh())
    assert_agrees(cut.activations[:, :, 4, 7], tokens[:, 47])
    other = limelight.explain(model, images, target=1, grid=[10, 6])
    assert other.raw.shape == (2, 10, 6)
    each = limelight.explain_each(model, images, [0, 1], grid=(6, 10))
    assert_agrees(each[1].raw, found.raw)


@pytest.mark.parametrize("grid", [(9, 9), (61, 1), (3, 4, 5), (60,)], ids=str)
def test_a_grid_that_does_not_hold_the_tokens_is_refused(grid: tuple[int, ...]) -> None:
    model, images = Unfolds().eval(), torch.randn(2, 3, 26, 40)
    with pytest.raises(LayerError):
        limelight.explain(model, images, target=1, grid=grid)
    with pytest.raises(LayerError):
        limelight.explain(model, images, target=1, grid=grid, layer="mix")


@pytest.mark.parametrize("grid", [(), (0, 4), (2.5, 4), "77", 7, (-1, 3)], ids=str)
def test_a_grid_of_no_sizes_is_refused(grid: Any) -> None:
    with pytest.raises(OptionError, match=r"the sizes of its axes were expected"):
        output_spec(None, None, grid)


# Signs


class Regressor(nn.Module):
    def __init__(self, channels: int = 3, outputs: int = 1, *, flat: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 6, 3, stride=2)
        self.fc = nn.Linear(6, outputs)
        self.flat = flat

    def forward(self, x: Tensor) -> Tensor:
        found = cast("Tensor", self.fc(self.conv(x).tanh().mean((2, 3))))
        return found[:, 0] if self.flat else found


@pytest.mark.parametrize("flat", [True, False], ids=["[B]", "[B, 1]"])
@pytest.mark.parametrize("method", ["gradcam", "hirescam", "ablationcam", "scorecam"])
def test_what_speaks_against_one_output_is_its_map_turned_round(flat: bool, method: str) -> None:
    model, images = Regressor(flat=flat).double().eval(), torch.randn(3, 3, 11, 11).double()
    plain = limelight.explain(model, images, method=method)
    against = limelight.explain(model, images, target=Counterfactual(), method=method)
    with torch.no_grad():
        expected = model(images).reshape(3)
    assert_agrees(plain.score, expected)
    assert_agrees(against.score, -expected)
    assert_agrees(against.raw, -plain.raw)
    assert plain.raw.abs().max() > 0
    assert plain.label == ("the output",) * 3
    assert against.label == ("against the output",) * 3


def test_many_labels_are_each_explained_by_their_own_logit() -> None:
    model, images = Regressor(outputs=4).double().eval(), torch.randn(2, 3, 11, 11).double()
    found = limelight.explain_each(model, images, [0, 3, Counterfactual(3)])
    with torch.no_grad():
        logits = model(images)
    assert_agrees(found[0].score, logits[:, 0])
    assert_agrees(found[1].score, logits[:, 3])
    assert_agrees(found[2].raw, -found[1].raw)


@pytest.mark.parametrize("channels", [1, 2, 4, 200])
@pytest.mark.parametrize(
    "method", ["gradcam", "saliency", "occlusion:patch=0.4,stride=0.4", "rise:masks=8"]
)
def test_pictures_of_any_number_of_channels(channels: int, method: str) -> None:
    model, images = Regressor(channels, 3).eval(), torch.randn(2, channels, 11, 13)
    found = limelight.explain(model, images, target=2, method=method)
    assert found.heatmap.shape == (2, 11, 13)
    assert found.heatmap.isfinite().all()
    with torch.no_grad():
        assert_agrees(found.score, model(images)[:, 2])
    assert len(found.pictures()) == 2


# Methods that run the network again, and views


class Dense(nn.Module):
    """A segmenter whose logits have half the image's size."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.Tanh())
        self.late = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Conv2d(6, 4, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": self.head(self.late(self.body(x)).tanh())}


class Embeds(nn.Module):
    """A picture's embedding, or with words the logits of each next one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.words = nn.Embedding(9, 6)
        self.out = nn.Linear(6, 9)

    def forward(self, images: Tensor, ids: Tensor | None = None) -> Tensor:
        picture = self.conv(images).tanh().mean((2, 3))
        if ids is None:
            return cast("Tensor", picture)
        return cast("Tensor", self.out((self.words(ids) * picture[:, None]).cumsum(1)))


SENTENCE = torch.tensor([[0, 3, 5, 1], [0, 2, 2, 8]])


def prepared(kind: str) -> tuple[Any, Any, Any, Any]:
    """A model, its inputs, a target, and the score of an output's rows `[M]` of images `[M]`."""
    images = torch.randn(2, 3, 12, 12).double()
    if kind == "region":
        mask = torch.zeros(2, 12, 12)
        mask[0, 2:6, 2:8] = mask[1, 6:, 4:8] = 1
        cells = mask[:, ::2, ::2].double()

        def over(output: Any, rows: Tensor) -> Tensor:
            share = cells[rows] / cells[rows].sum((1, 2), keepdim=True)
            return cast("Tensor", (output["out"][:, 2] * share).sum((1, 2)))

        return Dense().double().eval(), images, Region(2, where=mask), over
    model = Embeds().double().eval()
    if kind == "similarity":
        to = torch.randn(2, 6).double()

        def alike(output: Any, rows: Tensor) -> Tensor:
            product = (output * to[rows]).sum(1)
            return cast("Tensor", product / output.norm(dim=1) / to[rows].norm(dim=1))

        return model, images, Similarity(to), alike

    def likely(output: Any, rows: Tensor) -> Tensor:
        return torch.stack(
            [output[m, 1].log_softmax(0)[SENTENCE[b, 2]] for m, b in enumerate(rows.tolist())]
        )

    return model, (images, SENTENCE), Words(SENTENCE, 2), likely


@pytest.mark.parametrize("kind", ["region", "similarity", "words"])
def test_occlusion_of_any_target_is_what_the_score_loses(kind: str) -> None:
    model, inputs, target, scores = prepared(kind)
    found = limelight.explain(
        model, inputs, target=target, method="occlusion:patch=0.33,stride=0.33", chunk=2
    )
    images = inputs[0] if isinstance(inputs, tuple) else inputs
    rows = torch.arange(2)

    def run(pictures: Tensor) -> Tensor:
        with torch.no_grad():
            output = model(pictures, SENTENCE) if kind == "words" else model(pictures)
        return cast("Tensor", scores(output, rows))

    whole = run(images)
    assert_agrees(found.score.double(), whole)
    for row in range(0, 12, 4):
        for column in range(0, 12, 4):
            hidden = images.clone()
            hidden[:, :, row : row + 4, column : column + 4] = 0
            inside = found.raw[:, row : row + 4, column : column + 4].flatten(1)
            lost = (whole - run(hidden))[:, None].expand_as(inside)
            assert_agrees(inside.double(), lost)


@pytest.mark.parametrize("kind", ["region", "similarity", "words"])
def test_ablation_of_any_target_is_what_the_score_loses_without_each_channel(kind: str) -> None:
    model, inputs, target, scores = prepared(kind)
    layer = "late" if kind == "region" else "conv"
    found = limelight.explain(model, inputs, target=target, method="ablationcam", layer=layer)
    cut = limelight.cut(model, inputs, layer)
    rows = torch.arange(2)
    expected = torch.zeros_like(cut.activations[:, 0])
    with torch.no_grad():
        whole = scores(cut.head(cut.activations), rows)
        for k in range(6):
            without = cut.activations.clone()
            without[:, k] = 0
            lost = whole - scores(cut.head(without), rows)
            expected += lost[:, None, None] * cut.activations[:, k]
    assert_agrees(found.raw.double(), expected)


@pytest.mark.parametrize("kind", ["region", "similarity", "words"])
@pytest.mark.parametrize(
    "method", ["scorecam", "ablationcam", "rise:masks=6", "hirescam", "saliency"]
)
def test_a_batch_is_as_each_image_alone(kind: str, method: str) -> None:
    model, inputs, target, _ = prepared(kind)
    images = inputs[0] if isinstance(inputs, tuple) else inputs
    together = limelight.explain(model, inputs, target=target, method=method)
    for b in range(2):
        own: Any = Words(SENTENCE[b], 2)
        if kind != "words":
            own = Region(2, where=target.where[b]) if kind == "region" else Similarity(target.to[b])
        one = images[b : b + 1]
        given = (one, SENTENCE[b : b + 1]) if kind == "words" else one
        alone = limelight.explain(model, given, target=own, method=method)
        assert_agrees(alone.raw[0], together.raw[b])


@pytest.mark.parametrize("kind", ["region", "similarity", "words"])
def test_scores_again_of_many_rows_of_one_image(kind: str) -> None:
    model, inputs, target, scores = prepared(kind)
    cut = limelight.cut(model, inputs, None)
    found = cut.score(target)
    for b in range(2):
        rows = torch.full((3,), b)
        variants = cut.activations[b] * torch.tensor([1.0, 0.5, 2.0])[:, None, None, None].double()
        with torch.no_grad():
            output = cut.head(variants, rows=rows)
            assert_agrees(found.again(output, rows).double(), scores(output, rows))
            assert_agrees(found.again(output, rows)[0], found.values[b].detach())


def test_a_region_of_a_mirror_image_is_flipped_back() -> None:
    model, images, target, _ = prepared("region")
    found = limelight.explain(
        model, images, target=target, views=limelight.flips(), layer="late", method="hirescam"
    )
    plain = limelight.explain(model, images, target=target, layer="late", method="hirescam").raw
    turned = Region(2, where=target.where.flip(-1))
    other = limelight.explain(
        model, images.flip(-1), target=turned, layer="late", method="hirescam"
    ).raw
    assert_agrees(found.raw, (plain + other.flip(-1)) / 2)


class Scorer(nn.Module):
    """A segmenter in miniature, as wide as its picture: what it puts out is the picture itself."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(torch.eye(2)[..., None, None])

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.conv(x))


def test_where_a_class_is_predicted_is_found_in_the_picture_itself_for_every_view() -> None:
    images = torch.randn(1, 2, 4, 4).double()
    there = (images[0, 1] > images[0, 0]).double()
    expected = images[0, 1] * there / there.sum()
    for views in (None, limelight.flips(-1, -2)):
        found = limelight.explain(
            Scorer().double().eval(), images, target=1, views=views, method="hirescam", layer="conv"
        )
        assert_agrees(found.raw[0], expected)
