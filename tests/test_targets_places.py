"""Where something lies as a score: edges of boxes, keypoints, pairs of pictures, ensembles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

import limelight
from helpers.mask_networks import Body, Heatmaps, transformers_network
from helpers.place_networks import Siamese
from helpers.plain_hooks import by_hand, pictures
from helpers.shapes import faster_rcnn, fcos
from helpers.tolerances import SHAPES, assert_agrees
from limelight import Contrast, Edge, Keypoint, Similarity
from limelight.errors import InputError, TargetError, UnknownNameError
from limelight.fusion import fuse
from limelight.methods.fusing import fuse_maps
from oracles.evidence import tokens

SIDES = ["left", "top", "right", "bottom"]
LAYER = "body.late"
PICTURE = (3, 32, 48)


def detector(kind: str) -> Any:
    torch.manual_seed(2)
    if kind == "one stage":
        found: Any = fcos()
        found.score_thresh = 0.0
        with torch.no_grad():
            found.head.regression_head.bbox_reg.bias.fill_(1.5)  # so that boxes have a size
    else:
        found = faster_rcnn()
        found.roi_heads.score_thresh = 0.0
    return found.double().eval()


def inner_edge(boxes: Tensor, width: float) -> int:
    """Return the number of a box that does not touch the edge of the picture."""
    inside = (boxes > 1).all(1) & (boxes < width - 1).all(1)
    return int(inside.nonzero()[0])


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", ["one stage", "two stages"])
def test_the_edge_of_a_box_that_torchvision_returns(kind: str, side: str) -> None:
    model = detector(kind)
    image = torch.rand(3, 48, 48).double()
    (returned,) = model([image])
    number = inner_edge(returned["boxes"], 48)
    box, label = returned["boxes"][number].detach(), int(returned["labels"][number])

    def edge(output: Any) -> Tensor:
        return cast("Tensor", output[0]["boxes"][number, SIDES.index(side)][None])

    target = Edge(side, box, label, iou=0.99)  # type: ignore[arg-type]
    found = limelight.explain(
        model, [image], target=target, layer="backbone.across", method="gradcam"
    )
    assert_agrees(found.score, box[SIDES.index(side)][None], terms=SHAPES)
    expected = by_hand(model, "backbone.across", [image], edge)
    assert_agrees(found.raw, expected, terms=SHAPES, condition=100)
    assert found.label[0].startswith(f"{side} edge of class {label} in box [")
    inside = found.region
    assert inside is not None
    assert abs(float(inside.sum()) - float((box[2:] - box[:2]).prod())) < 48


class Queries(nn.Module):
    """Three queries, each with class logits and a box: a DETR."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Body()
        self.queries = nn.Parameter(torch.randn(3, 8))
        self.classes, self.boxes = nn.Linear(8, 5), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        grid = self.body(x).tanh().flatten(2)
        weights = torch.einsum("qk,bkn->bqn", self.queries, grid).softmax(2)
        values = self.queries + torch.einsum("bqn,bkn->bqk", weights, grid)
        return {
            "logits": 3 * self.classes(values),
            "pred_boxes": 0.4 + 0.2 * self.boxes(values).sigmoid(),
        }


def queries() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return Queries().double().eval(), pictures(2, PICTURE)


def coordinates(output: Any) -> Tensor:
    """The corners of all boxes, in pixels, `[B, Q, 4]`."""
    x, y, w, h = output["pred_boxes"].unbind(2)
    height, width = PICTURE[1:]
    corners = [(x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width]
    return torch.stack([*corners, (y + h / 2) * height], 2)


@pytest.mark.parametrize("index", [None, 2])
@pytest.mark.parametrize("side", SIDES)
def test_the_edge_of_the_most_probable_object(side: str, index: int | None) -> None:
    model, images = queries()

    def edge(output: Any) -> Tensor:
        likely = output["logits"].softmax(2)[..., :-1]
        likely = likely.amax(2) if index is None else likely[..., index]
        most = likely.argmax(1).tolist()
        corners = coordinates(output)[..., SIDES.index(side)]
        return torch.stack([corners[b, number] for b, number in enumerate(most)])

    target = Edge(side, target=index)  # type: ignore[arg-type]
    found = limelight.explain(model, images, target=target, layer=LAYER, method="gradcam")
    assert_agrees(found.score, edge(model(images)))
    assert_agrees(found.raw, by_hand(model, LAYER, images, edge))
    assert limelight.explain(model, images, target=target, layer=LAYER).method == "hirescam"
    for b in range(2):  # a batch is as each image alone, and so are methods that run the head again
        for method in ("gradcam", "scorecam", "ablationcam"):
            both = limelight.explain(model, images, target=target, layer=LAYER, method=method)
            alone = limelight.explain(
                model, images[b : b + 1], target=target, layer=LAYER, method=method
            )
            assert_agrees(alone.raw[0], both.raw[b], scale=float(both.score.abs().max()))


def test_an_edge_of_a_mirror_image_is_the_other_edge_flipped_back() -> None:
    model, images = queries()

    def raw_of(side: Any, pictures: Tensor, views: Any = None) -> Tensor:
        target = Edge(side, target=1)
        return limelight.explain(
            model, pictures, target=target, layer=LAYER, method="hirescam", views=views
        ).raw

    turned = -raw_of("right", images.flip(-1)).flip(-1)
    expected = (raw_of("left", images) + turned) / 2
    assert_agrees(raw_of("left", images, limelight.flips()), expected)


def test_what_an_edge_refuses() -> None:
    with pytest.raises(
        UnknownNameError, match=r"There is no side named 'lef'. Did you mean 'left'"
    ):
        Edge("lef")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="The sides are left, top, right, bottom"):
        Edge(0)  # type: ignore[arg-type]
    with pytest.raises(TargetError, match="iou is 0; a share above 0 and up to 1 was expected"):
        Edge("left", iou=0)
    model, images = queries()
    with pytest.raises(TargetError, match="target is a Contrast; an edge belongs to one class"):
        limelight.explain(model, images, target=Edge("left", target=Contrast(0)), layer=LAYER)
    with pytest.raises(TargetError, match="There are 2 class names for a model with 4 classes"):
        limelight.explain(model, images, target=Edge("left"), layer=LAYER, classes=["a", "b"])
    heatmaps = Heatmaps().double().eval()
    with pytest.raises(TargetError, match="A box needs a detector"):
        limelight.explain(heatmaps, images, target=Edge("left"), layer=LAYER)


def test_an_edge_of_one_image_of_a_batch() -> None:
    boxes = torch.tensor([[0.0, 0, 9, 9], [4, 4, 9, 9]])
    alone = Edge("top", boxes, ["a", "b"]).of_image(1, 2)
    assert torch.equal(torch.as_tensor(alone.box), boxes[1])
    assert alone.side == "top"


def peak(index: int | None) -> Callable[[Any], Tensor]:
    """The peak of a heatmap; of the highest one without an index."""

    def score(output: Any) -> Tensor:
        heatmaps = output if isinstance(output, Tensor) else output.heatmaps
        peaks = heatmaps.flatten(2).amax(2)
        return cast("Tensor", peaks.amax(1) if index is None else peaks[:, index])

    return score


def at_pixel(index: int, row: int, column: int, size: tuple[int, int]) -> Callable[[Any], Tensor]:
    def score(output: Any) -> Tensor:
        heatmap = (output if isinstance(output, Tensor) else output.heatmaps)[:, index]
        y, x = (int(row * heatmap.shape[1] / size[0]), int(column * heatmap.shape[2] / size[1]))
        return cast("Tensor", heatmap[:, y, x])

    return score


POINTS: list[tuple[Any, Callable[[tuple[int, int]], Callable[[Any], Tensor]]]] = [
    (Keypoint(2), lambda _: peak(2)),
    (Keypoint(), lambda _: peak(None)),
    (Keypoint("knee"), lambda _: peak(3)),
    (Keypoint(1, at=(9, 20)), lambda size: at_pixel(1, 9, 20, size)),
]
NAMES = ["nose", "eye", "ear", "knee", "foot"]


@pytest.mark.parametrize("number", range(len(POINTS)))
@pytest.mark.parametrize("kind", ["small", "vitpose"])
def test_keypoints(kind: str, number: int) -> None:
    target, score = POINTS[number]
    model: nn.Module = Heatmaps().double().eval()
    images, layer = pictures(2, PICTURE), LAYER
    if kind == "small":
        expected = by_hand(model, layer, images, score(PICTURE[1:]))
    else:
        model, images, layer = transformers_network("vitpose")
        grid = tokens(0, (8, 6))
        expected = by_hand(model, layer, images, score((64, 48)), grid)
    found = limelight.explain(
        model, images, target=target, layer=layer, classes=NAMES, method="gradcam"
    )
    assert_agrees(found.raw, expected)
    assert found.region is not None
    cells = 64 * 48 // (32 * 24) if kind == "vitpose" else 16
    assert found.region.flatten(1).sum(1).tolist() == [cells] * 2
    if number == 2:
        heatmaps = model(images) if kind == "small" else model(images).heatmaps
        y, x = divmod(int(heatmaps[0, 3].argmax()), heatmaps.shape[3])
        side = images.shape[3] / heatmaps.shape[3]
        assert found.label[0] == f"knee at ({int((y + 0.5) * side)}, {int((x + 0.5) * side)})"


def test_a_network_that_returns_heatmaps_by_that_name_needs_no_keypoint() -> None:
    model, images, layer = transformers_network("vitpose")
    targets = [None, "eye", limelight.Rank(1)]
    results = limelight.explain_each(model, images, targets, layer=layer, classes=NAMES)
    explicit = limelight.explain_each(
        model, images, [Keypoint(), Keypoint("eye"), Keypoint()], layer=layer, classes=NAMES
    )
    for found, expected in zip(results, explicit, strict=True):
        assert found.label == expected.label
        assert torch.equal(found.raw, expected.raw)


def test_the_order_of_keypoints_is_that_of_their_peaks() -> None:
    model, images = Heatmaps().double().eval(), pictures(2, PICTURE)
    order = model(images).flatten(2).amax(2).sort(1, descending=True).indices
    targets = [Keypoint(rank) for rank in limelight.top(3)]
    for rank, found in enumerate(limelight.explain_each(model, images, targets, layer=LAYER)):
        assert found.index is not None
        assert found.index.tolist() == order[:, rank].tolist()


def test_what_a_keypoint_refuses() -> None:
    model, images = queries()
    with pytest.raises(
        TargetError,
        match=r"A keypoint needs heatmaps \[B, K, \*grid\] with 2 grid axes; the model returned "
        r"\[2, 3, 5\]. Pick the heatmaps with output=...; if the model returns coordinates, the "
        "target is the index of one of them.",
    ):
        limelight.explain(model, images, target=Keypoint(0), layer=LAYER)
    heatmaps = Heatmaps().double().eval()
    with pytest.raises(TargetError, match=r"The pixel is \(32, 0\); an index along each axis"):
        limelight.explain(heatmaps, images, target=Keypoint(0, at=(32, 0)), layer=LAYER)


def test_depth_at_a_pixel_and_over_a_mask() -> None:
    model, images = Heatmaps().double().eval(), pictures(2, PICTURE)
    mask = torch.zeros(32, 48)
    mask[8:16, 4:12] = 1
    over_mask, at = (
        limelight.explain(
            model,
            images,
            target=limelight.Region(where=where),
            output=lambda y: y[:, :1],
            layer=LAYER,
        )
        for where in (mask, (9, 20))
    )

    def corner(depth: Tensor) -> Tensor:
        return depth[:, 0, 2:4, 1:3].mean((1, 2))

    assert_agrees(over_mask.raw, by_hand(model, LAYER, images, corner))
    assert_agrees(at.raw, by_hand(model, LAYER, images, lambda y: y[:, 0, 2, 5]))


class Embeds(nn.Module):
    """A picture's embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.out = Body(), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.out(self.body(x).tanh().mean((2, 3))))


def cosine(one: Tensor, other: Tensor) -> Tensor:
    return cast("Tensor", (one * other).sum() / one.norm() / other.norm())


def test_a_pair_of_one_batch_has_a_map_on_each_picture() -> None:
    model, images = Embeds().double().eval(), pictures(2, PICTURE)
    found = limelight.explain(model, images, target=Similarity(), layer=LAYER)
    both = by_hand(model, LAYER, images, lambda e: cosine(e[0], e[1]).expand(2))
    assert_agrees(found.raw, both)
    assert found.score[0] == found.score[1]
    assert found.label == ("similarity to image 1", "similarity to image 0")
    for method in ("scorecam", "ablationcam", "occlusion:patch=0.5,stride=0.5"):
        layer = None if method.startswith("occ") else LAYER
        again = limelight.explain(model, images, target=Similarity(), layer=layer, method=method)
        vectors = model(images).detach().flip(0)
        given = limelight.explain(
            model, images, target=Similarity(vectors), layer=layer, method=method
        )
        assert torch.equal(again.raw, given.raw)


def test_a_pair_needs_two_pictures() -> None:
    model, images = Embeds().double().eval(), pictures(3, PICTURE)
    with pytest.raises(
        TargetError,
        match=r"Similarity\(\) compares the two images of a batch, and there are 3. Pass the "
        r"vector to compare with: Similarity\(vector\).",
    ):
        limelight.explain(model, images, target=Similarity(), layer=LAYER)


def test_one_call_has_a_map_for_each_picture_of_a_siamese_network() -> None:
    model = Siamese().double().eval()
    a, b = pictures(1, PICTURE), pictures(1, PICTURE)
    layers = ["backbone#1", "backbone#2"]
    found = limelight.compare(model, (a, b), methods=["gradcam"], targets=[1], layers=layers)
    for number, each in enumerate(found.explanations):
        assert each.picture == number
        assert torch.equal(each.image, (a, b)[number])
        assert_agrees(each.raw, by_hand(model, "backbone", (a, b), call=number + 1))


def test_maps_of_two_pictures_are_not_fused() -> None:
    model = Siamese().double().eval()
    inputs = pictures(1, PICTURE), pictures(1, PICTURE)
    layers = ["backbone#1", "backbone#2"]
    with pytest.raises(
        InputError,
        match="Cannot fuse a map of input 0 and a map of input 1; maps of the same picture were "
        r"expected. For a map of each, pass the layers to compare\(layers=\[...\]\).",
    ):
        limelight.explain(model, inputs, target=1, layer=layers)


class Member(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.out = Body(), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.out(self.body(x).tanh().mean((2, 3))))


class Ensemble(nn.Module):
    """The mean of the logits of two networks."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = Member(), Member()

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", (self.a(x) + self.b(x)) / 2)


def test_an_ensemble_has_a_map_of_each_member_and_their_mean() -> None:
    model, images = Ensemble().double().eval(), pictures(2, PICTURE)
    layers = ["a.body.late", "b.body.late"]
    expected = [by_hand(model, layer, images) for layer in layers]
    members = limelight.compare(model, images, methods=["gradcam"], targets=[1], layers=layers)
    for each, raw in zip(members, expected, strict=True):
        assert_agrees(each.raw, raw)
    for how in ("mean", "max"):
        found = limelight.explain(model, images, target=1, layer=layers, fuse=how)
        assert_agrees(found.raw, fuse_maps(expected, how))
        assert torch.equal(found.raw, fuse(members.explanations, how).raw)
