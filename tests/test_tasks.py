"""Maps of segmenters and detectors lie on what they are about.

The networks are trained here, in seconds, on pictures with two shapes of different classes each, so
that a map of all that is bright, or of the whole picture, does not pass.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

import limelight
from helpers import tolerances
from helpers.shapes import (
    NAMES,
    SIZE,
    Scene,
    Segmenter,
    faster_rcnn,
    fcos,
    scenes,
    train_detector,
    train_segmenter,
)
from limelight.errors import TargetError
from limelight.targets import Box, Region

METHODS = ["gradcam", "layercam", "hirescam"]
#: Pictures that no network was trained on.
UNSEEN = 12
#: How bright a shape is that a detector may miss.
FAINT = 0.3

assert_agrees = partial(tolerances.assert_agrees, terms=tolerances.SHAPES)

every_method = pytest.mark.parametrize("method", METHODS)


@pytest.fixture(scope="module")
def unseen() -> Scene:
    return scenes(UNSEEN, seed=99)


@pytest.fixture(scope="module")
def segmenter() -> Any:
    torch.manual_seed(0)
    return train_segmenter(Segmenter(), steps=120)


@pytest.fixture(scope="module")
def one_stage() -> Any:
    torch.manual_seed(0)
    return train_detector(fcos(), steps=120)


@pytest.fixture(scope="module")
def two_stages() -> Any:
    torch.manual_seed(0)
    return train_detector(faster_rcnn(), steps=200)


#: The detectors, and the layer to cut at: FCOS finds all shapes on the level that this one makes.
DETECTORS: list[tuple[str, str | None]] = [("one_stage", "backbone.across"), ("two_stages", None)]

every_detector = pytest.mark.parametrize(
    ("name", "layer"), DETECTORS, ids=[n for n, _ in DETECTORS]
)


def over_chance(heatmap: Tensor, inside: Tensor) -> Tensor:
    """How much of the energy is inside `[B, H, W]`, over how much would be by chance, `[B]`."""
    energy = (heatmap * inside).flatten(1).sum(1) / heatmap.flatten(1).sum(1)
    return energy / inside.float().flatten(1).mean(1)


def pixels_in(boxes: Tensor) -> Tensor:
    """The pixels whose centres are in boxes `[B, 4]`, `[B, H, W]`."""
    at = torch.arange(SIZE) + 0.5
    x1, y1, x2, y2 = boxes[:, :, None].unbind(1)
    across, down = (at > x1) & (at < x2), (at > y1) & (at < y2)
    return down[:, :, None] & across[:, None, :]


def boxes_of(scene: Scene) -> list[Box]:
    """Targets for the first shape of each picture, and for the second."""
    return [Box(scene.boxes[:, s], scene.labels[:, s]) for s in range(2)]


def proposals(detector: Any, images: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """What the plain model proposes: of each image boxes `[N, C | 1, 4]`, logits, probabilities.

    The inner modules of the model are called one by one, and nothing is hooked or sorted out.
    """
    with torch.no_grad():
        laid, _ = detector.transform(list(images))
        features = detector.backbone(laid.tensors)
        levels = list(features.values())
        found = []
        if hasattr(detector, "roi_heads"):
            regions, _ = detector.rpn(laid, features)
            heads = detector.roi_heads
            pooled = heads.box_roi_pool(features, regions, laid.image_sizes)
            logits, moves = heads.box_predictor(heads.box_head(pooled))
            boxes = heads.box_coder.decode(moves, regions).clamp(0, SIZE)
            likely = logits.softmax(1) * torch.tensor([0.0, 1.0, 1.0, 1.0]).to(logits)
            start = 0
            for one in regions:
                own = slice(start, start := start + len(one))
                found.append((boxes[own], logits[own], likely[own]))
            return found
        head, anchors = detector.head(levels), detector.anchor_generator(laid, levels)
        for b, own in enumerate(anchors):
            middle, side = (own[:, :2] + own[:, 2:]) / 2, own[:, 2:] - own[:, :2]
            first, last = (head["bbox_regression"][b] * side.repeat(1, 2)).split(2, dim=1)
            boxes = torch.cat([middle - first, middle + last], 1).clamp(0, SIZE)[:, None]
            logits = head["cls_logits"][b]
            likely = (logits.sigmoid() * head["bbox_ctrness"][b].sigmoid()).sqrt()
            found.append((boxes, logits, likely))
        return found


def logit_of(proposed: tuple[Tensor, Tensor, Tensor], box: Tensor, index: int) -> Tensor:
    """The logit of the most probable proposal of a class among those over half on the box."""
    boxes, logits, likely = proposed
    own = boxes[:, index if boxes.shape[1] > 1 else 0]
    near = [n for n in range(len(own)) if box_iou(own[n : n + 1], box[None]).item() >= 0.5]
    return logits[max(near, key=lambda n: likely[n, index].item()), index]


def size(proposed: list[tuple[Tensor, Tensor, Tensor]]) -> float:
    """How large logits are: a small one is what is left of terms as large as theirs."""
    return max(float(logits.abs().max()) for _, logits, _ in proposed)


def detected(found: dict[str, Tensor], box: Tensor, index: int) -> bool:
    """Whether a detector returned this class here."""
    overlap = box_iou(found["boxes"], box[None])[:, 0]
    return bool(((overlap >= 0.5) & (found["labels"] == index)).any())


# Segmentation


@every_method
def test_a_map_of_a_segmenter_is_on_the_shape_and_not_on_the_other(
    segmenter: Any, unseen: Scene, method: str
) -> None:
    regions = [Region(unseen.labels[:, s], where=unseen.masks[:, s]) for s in range(2)]
    found = limelight.explain_each(
        segmenter, unseen.images, regions, method=method, classes=list(NAMES)
    )
    for s, result in enumerate(found):
        assert all(status.ok for status in result.status)
        assert result.label == tuple(f"{NAMES[i]} in the mask" for i in unseen.labels[:, s])
        assert over_chance(result.heatmap, unseen.masks[:, s]).min() > 3
        assert over_chance(result.heatmap, unseen.masks[:, 1 - s]).max() < 1
        assert result.region is not None
        assert torch.equal(result.region, unseen.masks[:, s])


def test_a_region_s_score_is_the_mean_logit_over_the_shape(segmenter: Any, unseen: Scene) -> None:
    with torch.no_grad():
        logits = segmenter(unseen.images)["out"]
    expected = torch.stack(
        [logits[b, unseen.labels[b, 0]][unseen.masks[b, 0]].mean() for b in range(UNSEEN)]
    )
    target = Region(unseen.labels[:, 0], where=unseen.masks[:, 0])
    assert_agrees(limelight.explain(segmenter, unseen.images, target=target).score, expected)


@every_method
def test_where_a_class_is_predicted_its_map_is_on_its_shape(
    segmenter: Any, unseen: Scene, method: str
) -> None:
    found = limelight.explain(
        segmenter, unseen.images, target=Region(unseen.labels[:, 1]), method=method
    )
    assert over_chance(found.heatmap, unseen.masks[:, 1]).min() > 3
    assert over_chance(found.heatmap, unseen.masks[:, 0]).max() < 1


def test_ranks_of_a_segmenter_are_different_shapes_and_no_background(
    segmenter: Any, unseen: Scene
) -> None:
    found = limelight.explain_each(segmenter, unseen.images, limelight.top(2), classes=list(NAMES))
    first, second = (result.index for result in found)
    assert first is not None
    assert second is not None
    assert [{*pair} for pair in zip(first.tolist(), second.tolist(), strict=True)] == [
        {*pair} for pair in unseen.labels.tolist()
    ]
    masks = [
        (unseen.masks & (unseen.labels == index[:, None])[..., None, None]).any(1)
        for index in (first, second)
    ]
    for result, own, other in zip(found, masks, masks[::-1], strict=True):
        assert over_chance(result.heatmap, own).min() > 3
        assert over_chance(result.heatmap, other).max() < 1


# Detection


@every_detector
@every_method
def test_the_map_of_a_box_is_on_it_and_not_on_the_other(
    request: pytest.FixtureRequest, unseen: Scene, name: str, layer: str | None, method: str
) -> None:
    detector = request.getfixturevalue(name)
    found = limelight.explain_each(
        detector, unseen.images, boxes_of(unseen), method=method, layer=layer, classes=list(NAMES)
    )
    for s, result in enumerate(found):
        assert all(status.ok for status in result.status)
        box = unseen.boxes[0, s].tolist()
        said = f"{NAMES[unseen.labels[0, s]]} in box [{', '.join(f'{x:.0f}' for x in box)}]"
        assert result.label[0] == said
        own, other = (pixels_in(unseen.boxes[:, k]) for k in (s, 1 - s))
        assert over_chance(result.heatmap, own).min() > 3
        elsewhere = over_chance(result.heatmap, other)
        assert bool((elsewhere < over_chance(result.heatmap, own) / 2).all())
        if method != "gradcam":  # whose weights are those of the whole picture
            assert elsewhere.max() < 1
        assert result.region is not None
        assert torch.equal(result.region, own)


@every_detector
def test_by_default_a_box_is_explained_by_hirescam_which_is_not_on_the_other(
    request: pytest.FixtureRequest, unseen: Scene, name: str, layer: str | None
) -> None:
    detector = request.getfixturevalue(name)
    found = limelight.explain_each(detector, unseen.images, boxes_of(unseen), layer=layer)
    named = limelight.explain_each(
        detector, unseen.images, boxes_of(unseen), layer=layer, method="hirescam"
    )
    for s, (result, expected) in enumerate(zip(found, named, strict=True)):
        assert result.method == "hirescam"
        assert torch.equal(result.raw, expected.raw)
        assert over_chance(result.heatmap, pixels_in(unseen.boxes[:, s])).min() > 3
        assert over_chance(result.heatmap, pixels_in(unseen.boxes[:, 1 - s])).max() < 1
    assert limelight.explain(detector, unseen.images, layer=layer).method == "hirescam"


def test_by_default_a_region_and_a_class_are_explained_by_gradcam(
    segmenter: Any, unseen: Scene
) -> None:
    for target in (Region(1), None, 1):
        found = limelight.explain(segmenter, unseen.images, target=target)
        named = limelight.explain(segmenter, unseen.images, target=target, method="gradcam")
        assert found.method == "gradcam"
        assert torch.equal(found.raw, named.raw)


@every_detector
def test_the_score_of_a_box_is_the_logit_of_its_proposal(
    request: pytest.FixtureRequest, unseen: Scene, name: str, layer: str | None
) -> None:
    detector = request.getfixturevalue(name)
    plain = proposals(detector, unseen.images)
    found = limelight.explain_each(detector, unseen.images, boxes_of(unseen), layer=layer)
    for s, result in enumerate(found):
        expected = [
            logit_of(plain[b], unseen.boxes[b, s], int(unseen.labels[b, s])) for b in range(UNSEEN)
        ]
        assert_agrees(result.score, torch.stack(expected), scale=size(plain))


@every_detector
def test_two_boxes_from_one_pass_are_as_each_alone(
    request: pytest.FixtureRequest, unseen: Scene, name: str, layer: str | None
) -> None:
    detector = request.getfixturevalue(name)
    targets = boxes_of(unseen)
    together = limelight.explain_each(detector, unseen.images, targets, layer=layer)
    for result, target in zip(together, targets, strict=True):
        alone = limelight.explain(detector, unseen.images, target=target, layer=layer)
        assert_agrees(result.raw, alone.raw)
        assert_agrees(result.score, alone.score)


@every_detector
def test_a_batch_of_boxes_is_as_each_picture_alone(
    request: pytest.FixtureRequest, unseen: Scene, name: str, layer: str | None
) -> None:
    detector = request.getfixturevalue(name)
    together = limelight.explain(detector, unseen.images, target=boxes_of(unseen)[0], layer=layer)
    for b in range(3):
        target = Box(unseen.boxes[b, 0].tolist(), int(unseen.labels[b, 0]))
        alone = limelight.explain(detector, unseen.images[b : b + 1], target=target, layer=layer)
        assert_agrees(alone.raw[0], together.raw[b])


@every_detector
def test_an_object_that_was_not_returned_can_be_asked_for(
    request: pytest.FixtureRequest, unseen: Scene, name: str, layer: str | None
) -> None:
    detector = request.getfixturevalue(name)
    holder = getattr(detector, "roi_heads", detector)
    kept = holder.detections_per_img
    holder.detections_per_img = 1
    try:
        with torch.no_grad():
            returned = detector(list(unseen.images))
        missed = [
            next(
                s
                for s in range(2)
                if not detected(returned[b], unseen.boxes[b, s], int(unseen.labels[b, s]))
            )
            for b in range(UNSEEN)
        ]
        rows = torch.arange(UNSEEN)
        boxes, labels = unseen.boxes[rows, missed], unseen.labels[rows, missed]
        found = limelight.explain(
            detector, unseen.images, target=Box(boxes, labels), layer=layer, method="hirescam"
        )
    finally:
        holder.detections_per_img = kept
    assert over_chance(found.heatmap, pixels_in(boxes)).min() > 3
    assert bool(
        (
            over_chance(found.heatmap, pixels_in(unseen.boxes[rows, [1 - s for s in missed]])) < 1
        ).all()
    )


@every_detector
def test_a_faint_object_below_every_threshold_has_its_logit_too(
    request: pytest.FixtureRequest, unseen: Scene, name: str, layer: str | None
) -> None:
    detector = request.getfixturevalue(name)
    faint = torch.where(unseen.masks[:, 1:2], unseen.images * FAINT, unseen.images)
    plain = proposals(detector, faint)
    with torch.no_grad():
        returned = detector(list(faint))
    asked = 0
    for b in range(UNSEEN):
        box, index = unseen.boxes[b, 1], int(unseen.labels[b, 1])
        own = plain[b][0][:, index if plain[b][0].shape[1] > 1 else 0]
        near = bool((box_iou(own, box[None]) >= 0.5).any())
        if detected(returned[b], box, index):
            continue
        if not near:
            with pytest.raises(TargetError, match="No box that the detector proposed in image 0"):
                limelight.explain(detector, faint[b : b + 1], target=Box(box, index), layer=layer)
            continue
        found = limelight.explain(detector, faint[b : b + 1], target=Box(box, index), layer=layer)
        assert_agrees(found.score[0], logit_of(plain[b], box, index), scale=size(plain))
        asked += 1
    assert asked  # or nothing was shown


@every_detector
def test_ranks_of_a_detector_are_different_objects(
    request: pytest.FixtureRequest, unseen: Scene, name: str, layer: str | None
) -> None:
    detector = request.getfixturevalue(name)
    found = limelight.explain_each(
        detector, unseen.images, limelight.top(2), layer=layer, method="hirescam"
    )
    first, second = (result.index for result in found)
    assert first is not None
    assert second is not None
    # Both shapes, in one order or the other.
    right = [
        {a, b} == {*pair}
        for a, b, pair in zip(first.tolist(), second.tolist(), unseen.labels.tolist(), strict=True)
    ]
    assert sum(right) >= 0.8 * UNSEEN
    for result, index in zip(found, (first, second), strict=True):
        for b in range(UNSEEN):
            if right[b]:
                box = unseen.boxes[b][unseen.labels[b] == index[b]]
                assert over_chance(result.heatmap[b : b + 1], pixels_in(box)) > 3
    one = limelight.explain(
        detector, unseen.images, target=limelight.Rank(2), layer=layer, method="hirescam"
    )
    assert_agrees(one.raw, found[1].raw)


def test_the_top_three_of_a_detector_are_three_objects(two_stages: Any) -> None:
    three = scenes(UNSEEN, seed=98, shapes=3)
    found = limelight.explain_each(two_stages, three.images, limelight.top(3), method="hirescam")
    labels = torch.stack([result.index for result in found if result.index is not None], 1)
    right = [{*row} == {1, 2, 3} for row in labels.tolist()]
    assert sum(right) >= 0.7 * UNSEEN
    for rank, result in enumerate(found):
        for b in (b for b in range(UNSEEN) if right[b]):
            box = three.boxes[b][three.labels[b] == labels[b, rank]]
            assert over_chance(result.heatmap[b : b + 1], pixels_in(box)) > 3


def test_without_a_target_the_most_probable_object_is_explained(
    two_stages: Any, unseen: Scene
) -> None:
    with torch.no_grad():
        returned = two_stages(list(unseen.images))
    found = limelight.explain(two_stages, unseen.images, method="hirescam")
    assert found.index is not None
    assert found.index.tolist() == [int(one["labels"][0]) for one in returned]
    best = torch.stack([one["boxes"][0] for one in returned])
    assert over_chance(found.heatmap, pixels_in(best)).min() > 3


def test_boxes_of_both_levels_of_a_pyramid_reach_the_layer_that_is_chosen(
    two_stages: Any, unseen: Scene
) -> None:
    # Read on the coarse level, a box does not depend on what makes the fine one, and says so.
    fine = limelight.explain_each(
        two_stages, unseen.images, boxes_of(unseen), layer="backbone.across"
    )
    names = {status.name for result in fine for status in result.status}
    assert names == {"ok", "disconnected"}
    chosen = limelight.explain_each(two_stages, unseen.images, boxes_of(unseen))
    assert {status.name for result in chosen for status in result.status} == {"ok"}


@every_detector
def test_images_in_a_list_are_the_same_as_stacked(
    request: pytest.FixtureRequest, unseen: Scene, name: str, layer: str | None
) -> None:
    detector, target = request.getfixturevalue(name), boxes_of(unseen)[0]
    stacked = limelight.explain(detector, unseen.images, target=target, layer=layer)
    listed = limelight.explain(detector, list(unseen.images), target=target, layer=layer)
    assert_agrees(listed.raw, stacked.raw)


# Boxes in methods that run the network again, and in other views


def nearest_logit(proposed: tuple[Tensor, Tensor, Tensor], box: Tensor, index: int) -> Tensor:
    """As `logit_of`; where no proposal is near enough, of the nearest."""
    boxes, logits, _ = proposed
    own = boxes[:, index if boxes.shape[1] > 1 else 0]
    overlap = box_iou(own, box[None])[:, 0]
    if bool((overlap >= 0.5).any()):
        return logit_of(proposed, box, index)
    return logits[overlap.argmax(), index]


@every_detector
def test_occlusion_of_a_box_is_what_its_logit_loses(
    request: pytest.FixtureRequest, unseen: Scene, name: str, layer: str | None
) -> None:
    detector = request.getfixturevalue(name)
    images, box, index = unseen.images[:1], unseen.boxes[0, 0], int(unseen.labels[0, 0])
    found = limelight.explain(
        detector,
        images,
        target=Box(box, index),
        method="occlusion:patch=0.25,stride=0.25",
        chunk=3,
    )

    def logit(pictures: Tensor) -> Tensor:
        return nearest_logit(proposals(detector, pictures)[0], box, index)

    expected = torch.zeros_like(images[:, 0])
    for row in range(0, SIZE, 16):
        for column in range(0, SIZE, 16):
            hidden = images.clone()
            hidden[:, :, row : row + 16, column : column + 16] = 0
            lost = logit(images) - logit(hidden)
            expected[0, row : row + 16, column : column + 16] = lost
    assert_agrees(found.raw, expected, scale=size(proposals(detector, images)))


@every_detector
def test_ablation_of_a_box_is_what_its_logit_loses_without_each_channel(
    request: pytest.FixtureRequest, unseen: Scene, name: str, layer: str | None
) -> None:
    detector = request.getfixturevalue(name)
    images = unseen.images[:2]
    target = Box(unseen.boxes[:2, 1], unseen.labels[:2, 1])
    found = limelight.explain(detector, images, target=target, method="ablationcam", layer=layer)
    cut = limelight.cut(detector, images, found.layer)
    twin, without = copy.deepcopy(detector), -1

    def remove(_module: Any, _args: object, output: Tensor) -> Tensor:
        kept = output.clone()
        if without >= 0:
            kept[:, without] = 0
        return kept

    twin.get_submodule(found.layer).register_forward_hook(remove)

    def logits() -> Tensor:
        plain = proposals(twin, images)
        return torch.stack(
            [
                nearest_logit(plain[b], unseen.boxes[b, 1], int(unseen.labels[b, 1]))
                for b in range(2)
            ]
        )

    whole, expected = logits(), torch.zeros_like(found.raw)
    for without in range(cut.activations.shape[1]):
        lost = whole - logits()
        expected += lost[:, None, None] * cut.activations[:, without]
    without = -1
    added = size(proposals(twin, images)) * float(cut.activations.abs().sum(1).max())
    assert_agrees(found.raw, expected, scale=added)


@every_detector
def test_score_cam_runs_on_a_box(
    request: pytest.FixtureRequest, unseen: Scene, name: str, layer: str | None
) -> None:
    detector = request.getfixturevalue(name)
    target = Box(unseen.boxes[:2, 0], unseen.labels[:2, 0])
    together = limelight.explain(
        detector, unseen.images[:2], target=target, method="scorecam", layer=layer
    )
    for b in range(2):
        own = Box(unseen.boxes[b, 0], int(unseen.labels[b, 0]))
        alone = limelight.explain(
            detector, unseen.images[b : b + 1], target=own, method="scorecam", layer=layer
        )
        logits = size(proposals(detector, unseen.images[b : b + 1]))
        activations = limelight.cut(detector, unseen.images[b : b + 1], alone.layer).activations
        added = logits * float(activations.abs().sum(1).max())
        assert_agrees(together.raw[b], alone.raw[0], scale=added)


@every_detector
def test_a_box_is_flipped_with_the_picture(
    request: pytest.FixtureRequest, unseen: Scene, name: str, layer: str | None
) -> None:
    detector = request.getfixturevalue(name)
    boxes, labels = unseen.boxes[:, 0], unseen.labels[:, 0]

    def explained(images: Tensor, at: Tensor, views: Any = None) -> Tensor:
        return limelight.explain(
            detector, images, target=Box(at, labels), layer=layer, method="hirescam", views=views
        ).raw

    mirrored = boxes.clone()
    mirrored[:, [0, 2]] = SIZE - boxes[:, [2, 0]]
    found = explained(unseen.images, boxes, limelight.flips())
    other = explained(unseen.images.flip(-1), mirrored).flip(-1)
    assert_agrees(found, (explained(unseen.images, boxes) + other) / 2)


@every_detector
def test_the_class_of_a_box_is_the_most_probable_one_there(
    request: pytest.FixtureRequest, unseen: Scene, name: str, layer: str | None
) -> None:
    detector = request.getfixturevalue(name)
    found = limelight.explain_each(
        detector, unseen.images, [Box(unseen.boxes[:, s]) for s in range(2)], layer=layer
    )
    labels = torch.stack([one.index for one in found if one.index is not None], 1)
    assert torch.equal(labels, unseen.labels)
