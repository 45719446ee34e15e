"""Metrics of where objects are, and of images that are small or without structure."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any, cast

import pytest
import torch
from torch import nn

import limelight
from helpers.metric_cases import (
    HEATMAPS,
    LOCALISATION,
    QUICK,
    Sum,
    every_metric,
    explained,
    masks,
    network,
    own,
    pictures,
    read,
    total,
)
from helpers.tolerances import assert_agrees
from limelight.errors import MetricError
from limelight.metrics.measurement import Measurement
from limelight.metrics.objects import Objects
from oracles import localisation

# Objects


def test_an_image_without_an_object_is_left_out_and_never_a_hit() -> None:
    objects = torch.zeros(3, 6, 8)
    objects[1, 2:4, 3:5] = 1
    boxes: list[Any] = [[], [[3.0, 2.0, 5.0, 4.0]], torch.zeros(0, 4)]
    for where in (objects, boxes):
        for metric in LOCALISATION:
            images, heatmap = torch.rand(3, 1, 6, 8), torch.rand(3, 6, 8)
            measured = limelight.measure(
                Sum(), images, heatmap, metrics=[metric], objects=where, target=total
            )
            assert read(measured).isnan().tolist() == [True, False, True]
            for estimate in (e := measured.estimates()[0]).own, e.random, e.centre:
                assert (estimate.n, estimate.left_out) == (1, 2)
                assert not math.isnan(estimate.value)


def test_without_any_object_there_is_no_estimate() -> None:
    for metric in LOCALISATION:
        images, heatmap = torch.rand(2, 1, 6, 8), torch.rand(2, 6, 8)
        measured = limelight.measure(
            Sum(), images, heatmap, metrics=[metric], objects=[[], []], target=total
        )
        estimate = measured.estimates()[0]
        assert math.isnan(estimate.own.value)
        assert (estimate.own.n, estimate.own.left_out) == (0, 2)
        assert estimate.beats_chance is None
        json.dumps(measured.as_dict(), allow_nan=False)


def test_an_object_that_covers_everything_is_always_hit() -> None:
    heatmap, objects = torch.rand(2, 6, 8), torch.ones(2, 6, 8)
    for metric in ("pointing-game", "energy-pointing", "mass-accuracy", "rank-accuracy"):
        assert_agrees(own(heatmap, objects, metric), torch.ones(2).double())
    assert own(torch.ones(2, 6, 8), objects, "localisation-error").tolist() == [0, 0]


@pytest.mark.parametrize("level", [0.0, 0.7, -2.0])
def test_a_map_that_is_the_same_everywhere_scores_what_chance_would(level: float) -> None:
    heatmap, objects = torch.full((1, 40, 50), level), torch.zeros(1, 40, 50)
    objects[0, :4, :5] = 1
    share = torch.tensor([20 / 2000], dtype=torch.float64)
    for metric in ("energy-pointing", "mass-accuracy", "rank-accuracy"):
        assert_agrees(own(heatmap, objects, metric), share)
    near = localisation.near(objects[0].numpy() > 0, 15).mean()
    found = own(heatmap, objects, "pointing-game")
    assert_agrees(found, torch.tensor([near], dtype=torch.float64))
    assert own(heatmap, objects, "localisation-error").item() == 1  # all of the image


def test_a_map_that_is_the_same_everywhere_ranks_nothing() -> None:
    model, images = network(), pictures()
    flat = limelight.measure(
        model, images, torch.full((4, 12, 16), 0.3), metrics=["road:steps=3", QUICK["infidelity"]]
    )
    assert flat.estimate("heatmaps", "road").own.value == 0
    occluded = limelight.measure(
        model, images, torch.zeros(4, 12, 16), metrics=["occlusion-correlation"]
    )
    assert occluded.estimate("heatmaps", "occlusion-correlation").own.value == 0


def test_a_map_whose_status_is_not_ok_is_measured_as_nothing_and_told() -> None:
    model, images = network(), pictures()
    with torch.no_grad():
        last = cast("nn.Linear", model.get_submodule("classifier.2"))
        last.weight[3] = 0
    result = explained(model, images, target=3)
    assert {status.name for status in result.status} == {"disconnected"}
    rows = ["energy-pointing", "road:steps=2", "occlusion-correlation", "max-sensitivity"]
    measured = limelight.measure(model, images, result, metrics=rows, objects=masks())
    assert measured.status == {("gradcam", "block1"): {"disconnected": 4}}
    assert_agrees(read(measured, metric="energy-pointing"), masks().double().mean((1, 2)))
    assert measured.estimate("gradcam", "road").own.value == 0
    assert measured.estimate("gradcam", "occlusion-correlation").own.value == 0
    assert measured.estimate("gradcam", "max-sensitivity").own.left_out == 4


def test_a_blank_map_does_not_come_near_a_whole_one_in_adcc() -> None:
    """Coherent with itself it is not; small and harmless it is."""
    model, images = network(), pictures()
    with torch.no_grad():
        cast("nn.Linear", model.get_submodule("classifier.2")).weight[3] = 0
    measured = limelight.measure(
        model, images, explained(model, images, target=3), metrics=["adcc"]
    )
    estimate = measured.estimate("gradcam", "adcc")
    assert not estimate.own.value > estimate.random.value


def test_a_one_pixel_object() -> None:
    heatmap, objects = torch.zeros(1, 30, 40), torch.zeros(1, 30, 40)
    heatmap[0, 10, 20], objects[0, 10, 20] = 1, 1
    for metric in ("pointing-game:tolerance=0", "energy-pointing", "mass-accuracy"):
        assert own(heatmap, objects, metric).item() == 1
    assert own(heatmap, objects, "rank-accuracy").item() == 1
    assert own(heatmap, objects, "localisation-error").item() == 0
    for metric in ("energy-pointing", "mass-accuracy", "rank-accuracy"):
        assert own(heatmap.flip(2), objects, metric).item() == 0


@pytest.mark.parametrize(
    ("step", "hit"), [((0, 15), 1), ((15, 0), 1), ((0, 16), 0), ((9, 12), 1), ((10, 12), 0)]
)
def test_a_hit_is_within_15_pixels_between_centres(step: tuple[int, int], hit: int) -> None:
    heatmap, objects = torch.zeros(1, 40, 40), torch.zeros(1, 40, 40)
    objects[0, 3, 4], heatmap[0, 3 + step[0], 4 + step[1]] = 1, 1
    assert own(heatmap, objects, "pointing-game").item() == hit


def test_several_maxima_hit_by_their_share() -> None:
    heatmap, objects = torch.zeros(1, 4, 40), torch.zeros(1, 4, 40)
    heatmap[0, 0, [0, 30, 39]], objects[0, 0, 1] = 5, 1
    assert_agrees(own(heatmap, objects, "pointing-game").item(), 1 / 3)


def test_rank_accuracy_shares_the_border_by_hand() -> None:
    # Of 4 places 2 are sure, one of them a hit; 2 of 3 level ones follow, one of which is inside.
    heatmap = torch.tensor([[[3.0, 2.0, 1.0, 1.0, 1.0, 0.0, 0.0]]])
    objects = torch.tensor([[[1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0]]])
    found = own(heatmap, objects, "rank-accuracy").item()
    assert_agrees(found, (1 + 2 / 3) / 4)


def test_the_box_of_the_largest_part_by_hand() -> None:
    heatmap = torch.zeros(1, 10, 10)
    heatmap[0, 1:4, 1:5] = 0.15  # at the threshold, and larger
    heatmap[0, 4, 5] = 0.5  # touches it at a corner alone
    heatmap[0, 7:9, 7:9] = 1.0
    assert own(heatmap, [[[1, 1, 5, 4]]], "localisation-error").item() == 0
    assert own(heatmap, [[[7, 7, 9, 9]]], "localisation-error").item() == 1
    # Any one of several boxes will do; half of the union is enough, less is not.
    assert own(heatmap, [[[7, 7, 9, 9], [1, 1, 5, 4]]], "localisation-error").item() == 0
    assert own(heatmap, [[[1, 1, 5, 7]]], "localisation-error").item() == 0
    assert own(heatmap, [[[1, 1, 5, 7.01]]], "localisation-error").item() == 1
    assert own(heatmap, [[[7, 7, 9, 9]]], "localisation-error:threshold=0.16").item() == 0


def test_of_parts_that_are_equally_large_the_first_counts() -> None:
    heatmap = torch.zeros(1, 6, 6)
    heatmap[0, 0:2, 0:2], heatmap[0, 4:6, 4:6] = 0.5, 1
    assert own(heatmap, [[[0, 0, 2, 2]]], "localisation-error").item() == 0
    assert own(heatmap, [[[4, 4, 6, 6]]], "localisation-error").item() == 1


#: Boxes of an image of 4 rows and 6 columns, and its pixels (row, column).
BOXES: list[tuple[list[float], list[tuple[int, int]]]] = [
    ([1, 2, 3, 4], [(2, 1), (2, 2), (3, 1), (3, 2)]),
    ([0.6, 0, 2.4, 1], [(0, 1)]),  # the centres 1.5 alone
    ([0.4, 0, 2.6, 1], [(0, 0), (0, 1), (0, 2)]),
    ([2.6, 1.6, 2.9, 1.9], [(1, 2)]),  # no centre inside: the pixel it lies in
    ([2.1, 0, 2.2, 4], [(0, 2), (1, 2), (2, 2), (3, 2)]),  # thin
    ([-5, -5, 1, 1], [(0, 0)]),
    ([5, 3, 50, 50], [(3, 5)]),
    ([-3, -3, 0.2, 0.2], [(0, 0)]),
    ([5.9, 3.9, 9, 9], [(3, 5)]),
    ([3, 2, 3, 2], [(2, 3)]),  # a point
    ([0, 0, 0, 0], [(0, 0)]),  # a point on the corner
    ([-9, 0, -1, 4], []),
    ([6, 0, 9, 4], []),
    ([0, 4, 6, 5], []),
    ([-9, -9, 99, 99], list(itertools.product(range(4), range(6)))),
]


@pytest.mark.parametrize(("box", "pixels"), BOXES, ids=[str(box) for box, _ in BOXES])
def test_the_pixels_of_a_box(box: list[float], pixels: list[tuple[int, int]]) -> None:
    found = Objects.of([[box]], torch.zeros(1, 3, 4, 6))
    assert [tuple(place) for place in found.mask[0].nonzero().tolist()] == pixels
    assert len(found.boxes[0]) == bool(pixels)


def test_boxes_of_signals_and_volumes_begin_with_the_last_axis() -> None:
    signal = Objects.of([[[2, 5]]], torch.zeros(1, 2, 9))
    assert signal.mask[0].nonzero().flatten().tolist() == [2, 3, 4]
    volume = Objects.of([[[0, 1, 2, 1, 3, 4]]], torch.zeros(1, 1, 5, 4, 3))
    wanted = torch.zeros(5, 4, 3, dtype=torch.bool)
    wanted[2:4, 1:3, 0:1] = True
    assert torch.equal(volume.mask[0], wanted)


def test_every_connected_part_of_a_mask_is_an_object() -> None:
    mask = torch.zeros(1, 6, 8, dtype=torch.bool)
    mask[0, 0:2, 1:4] = mask[0, 3:6, 5:8] = True
    (boxes,) = Objects.of(mask, torch.zeros(1, 3, 6, 8)).boxes
    assert boxes.tolist() == [[1, 0, 4, 2], [5, 3, 8, 6]]


def test_objects_are_taken_as_masks_of_any_kind_as_boxes_and_as_objects() -> None:
    heatmap, images = torch.rand(2, 6, 8), torch.rand(2, 1, 6, 8)
    mask = torch.zeros(2, 6, 8)
    mask[0, 1:3, 2:6], mask[1, 0:6, 0:3] = 200, 1
    boxes: list[Any] = [[[2, 1, 6, 3]], torch.tensor([[0, 0, 3, 6]])]
    for metric in LOCALISATION:
        wanted = own(heatmap, mask, metric)
        for where in (mask > 0, mask.to(torch.uint8), boxes, Objects.of(boxes, images)):
            assert torch.equal(own(heatmap, where, metric), wanted)


# Small images, and those without structure


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (1, 9), (2, 2)], ids=str)
@pytest.mark.parametrize("metric", HEATMAPS)
def test_the_smallest_images_have_a_figure_or_a_reason(metric: str, size: tuple[int, int]) -> None:
    heatmap, images = torch.rand(2, *size), torch.rand(2, 1, *size)

    def measured() -> Measurement:
        return limelight.measure(
            Sum(),
            images,
            heatmap,
            metrics=[metric],
            objects=torch.ones(2, *size),
            target=lambda y: y[:, 0].sigmoid(),
        )

    if metric == "road" and size == (1, 1):
        with pytest.raises(MetricError, match=r"Images of 1 pixels are too small to remove some"):
            measured()
    else:
        assert read(measured()).isfinite().all()


@every_metric
@pytest.mark.parametrize("level", [0.0, 0.6])
def test_an_image_without_structure_gives_finite_estimates(metric: str, level: float) -> None:
    model, images = network(), torch.full((2, 3, 12, 16), level, dtype=torch.float64)
    measured = limelight.measure(
        model, images, explained(model, images), metrics=[metric], objects=masks(2)
    )
    found = read(measured)
    assert (found.isfinite() | found.isnan()).all()
    assert not found.isinf().any()
