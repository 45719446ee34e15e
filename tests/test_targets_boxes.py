"""Targets that are boxes of a detector."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import limelight
from helpers.scores import refused, scored
from helpers.tolerances import assert_agrees
from limelight.errors import TargetError
from limelight.targets import Box, Contrast, Counterfactual, Rank, Scores
from limelight.targets.outputs import Detected

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
    return Detected((logits,) * batch, (boxes,) * batch, (likely,) * batch, {})


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
    return Detected((logits,), (boxes,), (logits.sigmoid(),), {})


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
    output = Detected((LOGITS,), (each,), (likely,), [])
    assert boxed(Box([0, 0, 10, 10], 1), output).values.item() == 3
    # Dogs at [8, 8, 18, 18] are those of row 0 and 1 (moved by two); row 0 is surer of one.
    assert boxed(Box([8, 8, 18, 18], 2), output).values.item() == 1


def test_a_box_that_moves_is_followed_and_one_that_goes_is_the_nearest() -> None:
    found = boxed(Box([0, 0, 10, 10], 1))
    assert found.values.item() == 3
    # One pixel on, box 0 shares 81 of 119 pixels, and box 1 less than half.
    moved = found.read_again(found_by_hand(shift=1.0), torch.tensor([0]))
    assert moved.item() == 2
    # Seven pixels on, nothing overlaps by half; the nearest is read, box 0 with 9 of 191.
    far = found.read_again(found_by_hand(shift=7.0), torch.tensor([0]))
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
    empty = Detected((LOGITS[:0],), (BOXES[:0],), (LOGITS[:0],), {})
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
