"""Masks that a model proposes: mask classification, prompted segmenters and Mask R-CNN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

import limelight
from helpers.mask_networks import (
    CLASSES,
    PICTURE,
    Heatmaps,
    MaskClassifier,
    Prompted,
    mask_rcnn,
    transformers_network,
)
from helpers.plain_hooks import by_hand, pictures
from helpers.tolerances import assert_agrees
from limelight import Contrast, Mask, Rank, Region
from limelight.errors import TargetError
from limelight.targets.mask_sets import mirrored_masks
from oracles.evidence import Grid, channels_first, tokens

#: Score of an output, `[B]`.
Score = Callable[[Any], Tensor]

LAYER = "body.late"


def small(network: type[nn.Module]) -> tuple[nn.Module, Tensor]:
    return network().double().eval(), pictures(2, PICTURE)


def shares(output: Any) -> Tensor:
    """The probability of each class for each query, without "no object", `[B, Q, C]`."""
    return cast("Tensor", output.class_queries_logits.softmax(-1)[..., :-1])


def semantic(output: Any) -> Tensor:
    """`sum_q p_q(c) m_q(x)`, `[B, C, h, w]`."""
    total: Any = 0
    for q in range(output.masks_queries_logits.shape[1]):
        mask = output.masks_queries_logits[:, q].sigmoid()
        total = total + shares(output)[:, q, :, None, None] * mask[:, None]
    return cast("Tensor", total)


def where_predicted(index: int) -> Score:
    """The mean semantic score of a class over the cells where it is the highest."""

    def score(output: Any) -> Tensor:
        scores = semantic(output)
        values = []
        for image in scores:
            inside = image.argmax(0) == index
            inside = inside if inside.any() else torch.ones_like(inside)
            values.append(image[index][inside].mean())
        return torch.stack(values)

    return score


def class_logit(query: int, index: int) -> Score:
    return lambda output: output.class_queries_logits[:, query, index]


def of_most_probable(index: int | None = None) -> Score:
    """The class logit of the query for which the class, or any class, is most probable."""

    def score(output: Any) -> Tensor:
        values = []
        for logits, likely in zip(output.class_queries_logits, shares(output), strict=True):
            at = likely if index is None else likely[:, index : index + 1]
            query, label = divmod(int(at.argmax()), at.shape[1])
            values.append(logits[query, label if index is None else index])
        return torch.stack(values)

    return score


def at_pixel(row: int, column: int, size: tuple[int, int]) -> Score:
    """The class logit of the largest product of a class's probability and the mask there."""

    def score(output: Any) -> Tensor:
        masks, values = output.masks_queries_logits, []
        y, x = (int(row * masks.shape[2] / size[0]), int(column * masks.shape[3] / size[1]))
        for b, likely in enumerate(shares(output)):
            product = likely * masks[b, :, y, x].sigmoid()[:, None]
            query, label = divmod(int(product.argmax()), product.shape[1])
            values.append(output.class_queries_logits[b, query, label])
        return torch.stack(values)

    return score


def mean_of_mask(number: int | None) -> Score:
    """The mean logit of one of SAM's masks, or of the best one, where it is positive."""

    def score(output: Any) -> Tensor:
        values = []
        for masks, quality in zip(output.pred_masks[:, 0], output.iou_scores[:, 0], strict=True):
            mask = masks[int(quality.argmax()) if number is None else number]
            inside = mask > 0
            values.append(mask[inside].mean() if inside.any() else mask.mean())
        return torch.stack(values)

    return score


def at_pixel_of_best(row: int, column: int, size: tuple[int, int]) -> Score:
    def score(output: Any) -> Tensor:
        masks = output.pred_masks[:, 0]
        y, x = (int(row * masks.shape[2] / size[0]), int(column * masks.shape[3] / size[1]))
        best = output.iou_scores[:, 0].argmax(1).tolist()
        return torch.stack([masks[b, number, y, x] for b, number in enumerate(best)])

    return score


def check(model: nn.Module, inputs: Any, target: Any, score: Score, layer: str, grid: Grid) -> Any:
    found = limelight.explain(model, inputs, target=target, layer=layer, method="gradcam")
    with torch.no_grad():
        output = model(**inputs) if isinstance(inputs, dict) else model(inputs)
    values = score(output)
    assert_agrees(found.score, values)
    assert_agrees(found.raw, by_hand(model, layer, inputs, score, grid))
    return found


QUERY_TARGETS: list[tuple[Any, Callable[[tuple[int, int]], Score]]] = [
    (1, lambda _: where_predicted(1)),
    (Region(2), lambda _: where_predicted(2)),
    (Region(1, (9, 20)), lambda size: lambda output: cell_of(semantic(output)[:, 1], size)),
    (Mask(3, 1), lambda _: class_logit(3, 1)),
    (Mask(), lambda _: of_most_probable()),
    (Mask(target=2), lambda _: of_most_probable(2)),
    (Mask((9, 20)), lambda size: at_pixel(9, 20, size)),
    (Mask(2, Contrast(0, 3, weight=0.5)), lambda _: contrast),
]


def cell_of(dense: Tensor, size: tuple[int, int]) -> Tensor:
    return dense[:, int(9 * dense.shape[1] / size[0]), int(20 * dense.shape[2] / size[1])]


def contrast(output: Any) -> Tensor:
    logits = output.class_queries_logits[:, 2]
    return cast("Tensor", logits[:, 0] - 0.5 * logits[:, 3])


@pytest.mark.parametrize("number", range(len(QUERY_TARGETS)))
def test_mask_classification_is_explained_at_the_layer(number: int) -> None:
    model, images = small(MaskClassifier)
    target, score = QUERY_TARGETS[number]
    check(model, images, target, score(PICTURE[1:]), LAYER, channels_first)


@pytest.mark.parametrize("number", range(len(QUERY_TARGETS)))
@pytest.mark.parametrize("kind", ["mask2former", "maskformer", "eomt"])
def test_mask_classification_of_transformers(kind: str, number: int) -> None:
    model, images, layer = transformers_network(kind)
    grid = tokens(5, (8, 8)) if kind == "eomt" else channels_first
    target, score = QUERY_TARGETS[number]
    check(model, images, target, score(tuple(images.shape[2:])), layer, grid)


def test_ranks_of_classes_and_of_masks() -> None:
    model, images = small(MaskClassifier)
    output = model(images)
    areas = [scores.argmax(0).flatten().bincount(minlength=CLASSES) for scores in semantic(output)]
    by_class = limelight.explain_each(model, images, limelight.top(2), layer=LAYER)
    assert by_class[0].index is not None
    assert by_class[0].index.tolist() == [int(area.argmax()) for area in areas]
    most = [likely.amax(1).sort(descending=True).indices.tolist() for likely in shares(output)]
    targets = [Mask(target=rank) for rank in limelight.top(3)]
    for rank, found in enumerate(limelight.explain_each(model, images, targets, layer=LAYER)):
        expected = tuple(f"in mask {numbers[rank]}" for numbers in most)
        assert tuple(label.partition(" ")[2][2:] for label in found.label) == expected


def test_names_and_the_region_of_a_mask() -> None:
    model, images = small(MaskClassifier)
    names = ["sky", "cat", "dog", "sofa"]
    found = limelight.explain(model, images, target=Mask(3, "dog"), classes=names, layer=LAYER)
    assert found.label == ("dog in mask 3",) * 2
    inside = model(images).masks_queries_logits[:, 3] > 0
    grown = inside.repeat_interleave(4, 1).repeat_interleave(4, 2)
    assert found.region is not None
    assert torch.equal(found.region, grown)


def test_a_mask_is_found_by_the_box_around_it() -> None:
    model, images = small(MaskClassifier)
    masks = model(images).masks_queries_logits[0] > 0
    rows, columns = masks[1].any(1).nonzero()[:, 0] * 4, masks[1].any(0).nonzero()[:, 0] * 4
    box = [columns[0].item(), rows[0].item(), columns[-1].item() + 4, rows[-1].item() + 4]
    found = limelight.explain(model, images[:1], target=Mask(box, 2), layer=LAYER)
    areas = []
    for mask in masks:
        y, x = mask.nonzero().unbind(1)
        around = [4 * int(x.min()), 4 * int(y.min()), 4 * int(x.max()) + 4, 4 * int(y.max()) + 4]
        areas.append(overlap(around, box))
    near = [q for q, area in enumerate(areas) if area >= 0.5]
    likely = shares(model(images))[0, :, 2]
    assert found.label == (f"class 2 in mask {max(near, key=lambda q: likely[q].item())}",)


def overlap(one: list[int], other: list[Any]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return float(both / (sum(areas) - both))


PROMPT_TARGETS: list[tuple[Any, Callable[[tuple[int, int]], Score]]] = [
    (None, lambda _: mean_of_mask(None)),
    (Mask(), lambda _: mean_of_mask(None)),
    (Mask(1), lambda _: mean_of_mask(1)),
    (Region(where=(9, 20)), lambda size: at_pixel_of_best(9, 20, size)),
]


@pytest.mark.parametrize("number", range(len(PROMPT_TARGETS)))
def test_a_prompted_mask_is_explained_by_its_own_logits(number: int) -> None:
    model, images = small(Prompted)
    points = torch.tensor([[[10.0, 12.0]], [[30.0, 20.0]]]).double()
    inputs = {"pixel_values": images, "input_points": points}
    target, score = PROMPT_TARGETS[number]
    found = check(model, inputs, target, score(PICTURE[1:]), LAYER, channels_first)
    if isinstance(target, Mask):
        best = model(**inputs).iou_scores[:, 0].argmax(1).tolist()
        numbers = best if target.where is None else [1, 1]
        assert found.label == tuple(f"mask {n}" for n in numbers)


@pytest.mark.parametrize("number", range(len(PROMPT_TARGETS)))
def test_masks_of_sam(number: int) -> None:
    model, inputs, layer = transformers_network("sam")
    target, score = PROMPT_TARGETS[number]
    check(model, inputs, target, score((64, 64)), layer, channels_first)


@pytest.mark.parametrize("number", [0, 2])
def test_masks_of_mask_rcnn(number: int) -> None:
    torch.manual_seed(1)
    model = mask_rcnn().double().eval()
    image = torch.rand(3, 48, 48).double()

    def score(output: Any) -> Tensor:
        mask = output[0]["masks"][number, 0]
        inside = mask > 0.5
        assert inside.any()
        return cast("Tensor", (mask[inside] / (1 - mask[inside])).log().mean()[None])

    found = limelight.explain(
        model, [image], target=Mask(number), layer="backbone.across", method="gradcam"
    )
    assert_agrees(found.score, score(model([image])), condition=100)
    expected = by_hand(model, "backbone.across", [image], score)
    assert_agrees(found.raw, expected, condition=100)
    label = int(model([image])[0]["labels"][number])
    assert found.label == (f"class {label} in mask {number}",)


class BoxesAndMasks(nn.Module):
    """The masks of a network beside boxes: a DETR for panoptic segmentation."""

    def __init__(self) -> None:
        super().__init__()
        self.masks, self.boxes = MaskClassifier(), nn.Parameter(torch.rand(6, 4))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        output = self.masks(x)
        boxes = 0.2 + 0.5 * self.boxes.expand(len(x), 6, 4)
        return {
            "logits": output.class_queries_logits,
            "pred_boxes": boxes,
            "pred_masks": output.masks_queries_logits,
        }


def test_masks_beside_boxes() -> None:
    model, images = small(BoxesAndMasks)
    targets = [Mask(3, 1), Mask(), Mask((9, 20))]
    found = limelight.explain_each(model, images, targets, layer="masks." + LAYER)
    expected = limelight.explain_each(model.get_submodule("masks"), images, targets, layer=LAYER)
    for each, due in zip(found, expected, strict=True):
        assert each.label == due.label
        assert torch.equal(each.raw, due.raw)


def test_the_masks_of_mirror_images_are_flipped_back() -> None:
    masks = torch.rand(1, 2, 3, 4)
    boxes = {"pred_boxes": torch.rand(1, 2, 4), "pred_masks": masks}
    assert torch.equal(mirrored_masks(boxes, (-1,))["pred_masks"], masks.flip(-1))
    returned = [{"masks": masks.movedim(0, 1), "labels": torch.ones(2)}]
    (flipped,) = mirrored_masks(returned, (-2, -1))
    assert torch.equal(flipped["masks"], masks.movedim(0, 1).flip(-2, -1))
    assert flipped["labels"] is returned[0]["labels"]
    assert mirrored_masks([{"boxes": masks}], (-1,)) == [{"boxes": masks}]


@pytest.mark.parametrize("method", ["scorecam", "hirescam"])
def test_mask_rcnn_runs_again(method: str) -> None:
    """The mask is found again among others, of other numbers, in runs of changed pictures."""
    torch.manual_seed(1)
    model = mask_rcnn().double().eval()
    image = torch.rand(3, 48, 48).double()
    views = limelight.flips() if method == "hirescam" else None
    found = limelight.explain(
        model, [image], target=Mask(1), layer="backbone.across", method=method, views=views
    )
    assert found.raw.isfinite().all()
    assert found.raw.any()


def dense_scores(kind: str) -> tuple[nn.Module, Any, Any, Callable[[Any, Tensor], Tensor]]:
    """A model, its inputs, a target, and the score of an output's rows `[M]` of images `[M]`."""
    if kind == "keypoint":
        model, images = small(Heatmaps)
        peaks = model(images)[:, 2].flatten(1).argmax(1)

        def peak(output: Any, rows: Tensor) -> Tensor:
            return cast("Tensor", output[:, 2].flatten(1)[torch.arange(len(rows)), peaks[rows]])

        return model, images, limelight.Keypoint(2), peak
    if kind == "number":
        model, images = small(MaskClassifier)
        return model, images, Mask(3, 1), lambda output, _: class_logit(3, 1)(output)
    if kind == "semantic":
        model, images = small(MaskClassifier)
        cells = semantic(model(images)).argmax(1) == 1
        cells |= ~cells.flatten(1).any(1)[:, None, None]

        def mean(output: Any, rows: Tensor) -> Tensor:
            scores = semantic(output)[:, 1]
            return torch.stack([scores[m][cells[b]].mean() for m, b in enumerate(rows.tolist())])

        return model, images, 1, mean
    model, images = small(Prompted)
    inputs = {"pixel_values": images, "input_points": torch.ones(2, 1, 2).double()}
    output = model(**inputs)
    best = output.iou_scores[:, 0].argmax(1)
    inside = [output.pred_masks[b, 0, best[b]] > 0 for b in range(2)]
    assert all(mask.any() for mask in inside)

    def of_best(output: Any, rows: Tensor) -> Tensor:
        masks = output.pred_masks[:, 0]
        return torch.stack([masks[m, best[b]][inside[b]].mean() for m, b in enumerate(rows)])

    return model, inputs, Mask() if kind == "prompted" else None, of_best


KINDS = ["keypoint", "number", "semantic", "prompted", "prompted by none"]


@pytest.mark.parametrize("kind", KINDS)
def test_ablation_is_what_the_score_loses_without_each_channel(kind: str) -> None:
    model, inputs, target, scores = dense_scores(kind)
    found = limelight.explain(model, inputs, target=target, method="ablationcam", layer=LAYER)
    cut = limelight.cut(model, inputs, LAYER)
    rows = torch.arange(2)
    expected = torch.zeros_like(cut.activations[:, 0])
    with torch.no_grad():
        whole = scores(cut.head(cut.activations), rows)
        for k in range(8):
            without = cut.activations.clone()
            without[:, k] = 0
            lost = whole - scores(cut.head(without), rows)
            expected += lost[:, None, None] * cut.activations[:, k]
    assert_agrees(found.raw.double(), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["scorecam", "occlusion:patch=0.5,stride=0.5", "hirescam"])
def test_a_batch_is_as_each_image_alone(kind: str, method: str) -> None:
    model, inputs, target, _ = dense_scores(kind)
    layer = None if method.startswith("occlusion") else LAYER
    together = limelight.explain(model, inputs, target=target, method=method, layer=layer)
    for b in range(2):
        one = (
            {name: value[b : b + 1] for name, value in inputs.items()}
            if isinstance(inputs, dict)
            else inputs[b : b + 1]
        )
        alone = limelight.explain(model, one, target=target, method=method, layer=layer)
        assert_agrees(alone.raw[0], together.raw[b], scale=float(together.score.abs().max()))
        assert alone.label[0] == together.label[b]


@pytest.mark.parametrize("where", [None, (9, 20), "box"])
def test_a_mask_is_found_again_in_the_mirror_image(where: Any) -> None:
    """Where queries change places with the picture, the mask is still that of the same object."""
    model, images = small(Mirrored)
    where = [0, 0, 24, 32] if where == "box" else where
    plain = limelight.explain(model, images, target=Mask(where, 1), layer="late", method="hirescam")
    other = limelight.explain(
        model, images.flip(-1), target=Mask(1, 1), layer="late", method="hirescam"
    )
    assert plain.label == ("class 1 in mask 0",) * 2
    both = limelight.explain(
        model,
        images,
        target=Mask(where, 1),
        layer="late",
        method="hirescam",
        views=limelight.flips(),
    )
    assert_agrees(both.raw, (plain.raw + other.raw.flip(-1)) / 2)


class Mirrored(nn.Module):
    """Two queries: one for each half of the picture; the brighter half is the object."""

    def __init__(self) -> None:
        super().__init__()
        self.late = nn.Conv2d(3, 4, 4, stride=4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        grid = self.late(x).tanh()
        half = grid.shape[3] // 2
        masks = x.new_full((len(x), 2, *grid.shape[2:]), -5.0)
        masks[:, 0, :, :half] = masks[:, 1, :, half:] = 5.0
        halves = torch.stack([grid[..., :half].mean((2, 3)), grid[..., half:].mean((2, 3))], 1)
        return {"class_queries_logits": halves, "masks_queries_logits": masks}


def test_the_default_method_of_masks_and_of_their_sum() -> None:
    model, images = small(MaskClassifier)
    found = limelight.explain_each(model, images, [Mask(3, 2), 2, limelight.Region(2)], layer=LAYER)
    assert [each.method for each in found] == ["hirescam", "gradcam", "gradcam"]
    model, images = small(Heatmaps)
    targets = [limelight.Keypoint(2), limelight.Keypoint(2, at=(8, 8)), limelight.Region(2)]
    found = limelight.explain_each(model, images, targets, layer=LAYER)
    assert [each.method for each in found] == ["hirescam", "hirescam", "gradcam"]


def test_one_image_of_a_batch() -> None:
    boxes = torch.tensor([[0.0, 0, 9, 9], [4, 4, 9, 9]])
    mask = Mask(boxes, ["a", "b"]).of_image(1, 2)
    assert torch.equal(torch.as_tensor(mask.where), boxes[1])
    model, images = small(MaskClassifier)
    found = limelight.explain(model, images, target=Mask(2, [0, 3]), layer=LAYER)
    assert found[1].label == ("class 3 in mask 2",)


def refused(target: Any, model: nn.Module, inputs: Any) -> str:
    with pytest.raises(TargetError) as error:
        limelight.cut(model, inputs, LAYER).score(limelight.targets.as_target(target))
    return str(error.value)


def test_what_a_mask_refuses() -> None:
    model, images = small(MaskClassifier)
    assert refused(Mask(6), model, images) == (
        "The mask is 6; a number from 0 to 5 was expected, or a pixel (row, column), or a box x1, "
        "y1, x2, y2."
    )
    assert refused(Mask((32, 0)), model, images) == (
        "The pixel is (32, 0); an index along each axis of [32, 48] was expected, from the top "
        "left: (row, column)."
    )
    assert "The box has shape [3]; x1, y1, x2, y2 were expected" in refused(
        Mask([1, 2, 3]), model, images
    )
    assert "No mask in image 0 fills the box asked for: the boxes around masks overlap it by" in (
        refused(Mask([0, 0, 1, 1]), model, images)
    )
    assert refused(Mask(target=Rank(7)), model, images) == (
        "The mask of rank 7 was asked for; the model returned 6 masks."
    )
    heatmaps, _ = small(Heatmaps)
    assert refused(Mask(), heatmaps, images).startswith(
        "A mask needs a model that proposes masks: mask classification, which returns "
        "`class_queries_logits` and `masks_queries_logits`, SAM, or Mask R-CNN. This model "
        "returned Tensor."
    )
    prompted, _ = small(Prompted)
    inputs = {"pixel_values": images, "input_points": torch.ones(2, 1, 2).double()}
    assert refused(Mask(target=Contrast(0)), prompted, inputs) == (
        "target is a Contrast; the masks of this model have no class logits, so a class was "
        "expected, or None."
    )
