"""Detectors as people have them: their boxes are read from the form of what they return."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import limelight
from helpers.hidden_packages import hide_for_a_test
from helpers.tolerances import assert_agrees
from limelight.errors import MissingPackageError, ModelError, TargetError
from limelight.inputs import ModelInputs
from limelight.runtime.detectors import read_detected
from limelight.runtime.queries import read_queries

#: The network's classes, and the numbers by which a side's distance is told.
CLASSES, BINS = 3, 4
SIZE = (32, 48)


class Yolo(nn.Module):
    """Three levels, a box for each cell: what ultralytics' heads return, in each of their forms."""

    def __init__(self, form: str = "detect", beside: int = 0) -> None:
        super().__init__()
        self.form, self.beside = form, beside
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        self.neck = nn.ModuleList(
            nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU()) for _ in range(3)
        )
        numbers = 4 * BINS + CLASSES + beside
        self.heads = nn.ModuleList(nn.Conv2d(8, numbers, 1) for _ in range(3))
        self.second = nn.ModuleList(nn.Conv2d(8, numbers, 1) for _ in range(3))

    def levels(self, images: Tensor) -> list[Tensor]:
        features, levels = self.stem(images), []
        for step in self.neck:
            features = step(features)
            levels.append(features)
        return levels

    def head(self, levels: list[Tensor], convolutions: nn.ModuleList) -> dict[str, Any]:
        pairs = zip(levels, convolutions, strict=True)
        numbers = torch.cat([convolution(level).flatten(2) for level, convolution in pairs], 2)
        distances, scores, rest = torch.split(numbers, [4 * BINS, CLASSES, self.beside], 1)
        raw = {"boxes": distances, "scores": scores, "feats": levels}
        if self.form == "obb":
            raw["angle"] = rest
        elif self.beside:
            raw["beside"] = rest
        return raw

    def decoded(self, raw: dict[str, Any]) -> Tensor:
        boxes = decoded_by_hand(raw["boxes"], raw["feats"], raw.get("angle"))
        rest = [raw[name] for name in ("angle", "beside") if name in raw]
        return torch.cat([boxes, raw["scores"].sigmoid(), *rest], 1)

    def forward(self, images: Tensor) -> Any:
        levels = self.levels(images)
        raw = self.head(levels, self.heads)
        decoded = self.decoded(raw)
        if self.form == "segment":
            return (decoded, levels[0]), raw
        if self.form == "probabilities":
            return decoded, levels
        if self.form == "joined":
            return decoded, [head(x) for head, x in zip(self.heads, levels, strict=True)]
        if self.form in ("two heads", "end to end"):
            both = {"one2many": raw, "one2one": self.head(levels, self.second)}
            if self.form == "two heads":
                return decoded, both
            best = self.decoded(both["one2one"]).transpose(1, 2)[:, :5]
            label = best[..., 4:].argmax(2, keepdim=True)
            return torch.cat([best[..., :5], label], 2), both
        return decoded, raw


def decoded_by_hand(distances: Tensor, levels: list[Tensor], angle: Tensor | None) -> Tensor:
    """Centre, width and height of each cell's box, cell by cell."""
    boxes = torch.zeros(len(distances), 4, distances.shape[2])
    cells = [
        (row, column, SIZE[0] // level.shape[2])
        for level in levels
        for row in range(level.shape[2])
        for column in range(level.shape[3])
    ]
    for image in range(len(distances)):
        for number, (row, column, stride) in enumerate(cells):
            sides = [
                sum(b * share for b, share in enumerate(bins.softmax(0)))
                for bins in distances[image, :, number].detach().reshape(4, BINS)
            ]
            left, top, right, bottom = map(float, sides)
            x, y = (right - left) / 2, (bottom - top) / 2
            if angle is not None:
                turn = float(angle[image, 0, number].detach())
                x, y = (
                    x * math.cos(turn) - y * math.sin(turn),
                    x * math.sin(turn) + y * math.cos(turn),
                )
            centre = (column + 0.5 + x, row + 0.5 + y)
            boxes[image, :, number] = stride * torch.tensor([*centre, left + right, top + bottom])
    return boxes


def build(form: str = "detect", beside: int = 0) -> Yolo:
    torch.manual_seed(0)
    return Yolo(form, beside).eval()


def pictures(batch: int = 1) -> Tensor:
    return torch.rand(batch, 3, *SIZE, generator=torch.Generator().manual_seed(1))


def raw_logits(output: Any, form: str) -> Tensor:
    """The logits `[B, N, C]` of the head that was decoded."""
    if form == "joined":
        levels = [level[:, 4 * BINS :].flatten(2) for level in output[1]]
        return torch.cat(levels, 2).transpose(1, 2)
    if form == "probabilities":
        likely: Tensor = output[0][:, 4:].transpose(1, 2)
        return (likely / (1 - likely)).log()
    raw = output[1]
    head = {"two heads": "one2many", "end to end": "one2one"}.get(form)
    logits: Tensor = (raw if head is None else raw[head])["scores"]
    return logits.transpose(1, 2)


def gradcam_by_hand(model: nn.Module, layer: str, images: Any, score: Callable[[Any], Any]) -> Any:
    """Grad-CAM of one score at a layer, by a hook and autograd."""
    kept: list[Tensor] = []
    hook = model.get_submodule(layer).register_forward_hook(
        lambda _module, _inputs, output: kept.append(output)
    )
    output = model(**images) if isinstance(images, dict) else model(images)
    hook.remove()
    (gradient,) = torch.autograd.grad(score(output), kept[0])
    return (gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1).detach()


FORMS = [
    ("detect", 0),
    ("segment", 2),
    ("pose", 6),
    ("obb", 1),
    ("two heads", 0),
    ("end to end", 0),
    ("joined", 0),
    ("probabilities", 0),
]


@pytest.mark.parametrize(("form", "beside"), FORMS, ids=[form for form, _ in FORMS])
def test_a_yolo_is_explained_by_its_raw_logits(form: str, beside: int) -> None:
    model, images = build(form, beside), pictures()
    logits = raw_logits(model(images), form)[0]
    best = int(logits[:, 1].argmax())
    result = limelight.explain(
        model, images, target=limelight.Box(target=1), layer="stem", method="gradcam"
    )
    assert result.status[0].ok
    assert_agrees(result.score, logits[best, 1][None])
    expected = gradcam_by_hand(
        model, "stem", images, lambda output: raw_logits(output, form)[0, best, 1]
    )
    assert_agrees(result.raw, expected)
    # None is the most probable object of all.
    assert_agrees(limelight.explain(model, images, layer="stem").score, logits.max()[None])
    # A class by its name, and a box that is proposed.
    corners = read_detected(model(images), ModelInputs.of(images), model).boxes[0][best].tolist()
    named = limelight.explain(
        model,
        images,
        target=limelight.Box(corners, "dog", iou=0.9),
        layer="stem",
        classes=["cat", "dog", "bird"],
    )
    assert named.label[0].startswith("dog in box [")


@pytest.mark.parametrize("form", ["detect", "obb", "end to end"])
def test_the_boxes_of_a_yolo_are_corners_in_pixels(form: str) -> None:
    model, images = build(form, int(form == "obb")), pictures()
    output = model(images)
    raw = output[1]["one2one"] if form == "end to end" else output[1]
    boxes = decoded_by_hand(raw["boxes"], raw["feats"], raw.get("angle"))[0].T
    turn = raw["angle"][0, 0] if form == "obb" else torch.zeros(len(boxes))
    # The corners of each box, turned about its centre; the upright box around them.
    signs = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]]) / 2
    x, y = (signs[None] * boxes[:, None, 2:]).unbind(-1)
    cos, sin = turn.cos()[:, None], turn.sin()[:, None]
    turned = torch.stack([x * cos - y * sin, x * sin + y * cos], -1) + boxes[:, None, :2]
    expected = torch.cat([turned.amin(1), turned.amax(1)], 1).clamp(min=0)
    expected = expected.minimum(torch.tensor([SIZE[1], SIZE[0]] * 2))
    found = read_detected(output, ModelInputs.of(images), model)
    assert_agrees(found.boxes[0], expected)


def test_top_boxes_of_a_batch_of_pictures() -> None:
    model, images = build(), pictures(2)
    logits = raw_logits(model(images), "detect")
    first, second = limelight.explain_each(model, images, limelight.top(2), layer="stem")
    assert_agrees(first.score, logits.flatten(1).amax(1))
    assert (second.score < first.score).all()
    assert first.region is not None
    assert first.region.shape == (2, *SIZE)


def test_a_box_that_a_yolo_did_not_propose_is_refused() -> None:
    with pytest.raises(TargetError, match="No box that the detector proposed in image 0 overlaps"):
        limelight.explain(build(), pictures(), target=limelight.Box([1, 1, 2, 2]), layer="stem")


class OldYolo(nn.Module):
    """YOLOv5 before ultralytics' package: an objectness, and classes beside it, for each anchor."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 8, 1), nn.ReLU())
        self.head = nn.Conv2d(8, 2 * (5 + CLASSES), 1)

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        raw = self.head(self.stem(images))
        level = raw.unflatten(1, (2, 5 + CLASSES)).permute(0, 1, 3, 4, 2)
        decoded = level.sigmoid() * torch.tensor([96.0, 64, 20, 20, 1, 1, 1, 1])
        return decoded.flatten(1, 3), [level]


def test_yolov5_is_read_with_its_objectness() -> None:
    torch.manual_seed(0)
    model, images = OldYolo().eval(), pictures()
    decoded, (level,) = model(images)
    likely = decoded[0, :, 4] * decoded[0, :, 6]
    best = int(likely.argmax())
    result = limelight.explain(model, images, target=1, layer="stem")
    assert_agrees(result.score, level.flatten(1, 3)[0, best, 6][None])


def test_probabilities_beside_their_logits_are_not_explained() -> None:
    class Classify(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Conv2d(3, 6, 3, 2)
            self.head = nn.Linear(6, 4)

        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            logits = self.head(self.body(images).relu().mean((2, 3)))
            return logits.softmax(1), logits

    torch.manual_seed(0)
    model, images = Classify().eval(), pictures()
    result = limelight.explain(model, images, target=2)
    assert_agrees(result.score, model(images)[1][:, 2])
    expected = gradcam_by_hand(model, "body", images, lambda output: output[1][0, 2])
    assert_agrees(limelight.explain(model, images, target=2, layer="body").raw, expected)
    # A pair of two other things is read at its first, as ever.
    assert limelight.explain(model, images, target=2, output=0).score.item() < 1


class Own(nn.Module):
    """A detector of one's own, whose wrapper says what it proposed."""

    def __init__(self, **changed: Any) -> None:
        super().__init__()
        self.changed = changed
        self.body = nn.Sequential(nn.Conv2d(3, 6, 8, 8), nn.ReLU())
        self.head = nn.Conv2d(6, 3, 1)

    def forward(self, images: Tensor) -> limelight.Detected:
        logits = self.head(self.body(images)).flatten(2).transpose(1, 2)
        x = torch.arange(logits.shape[1]) % 6 * 8.0
        y = torch.arange(logits.shape[1]) // 6 * 8.0
        parts = {"logits": logits, "boxes": torch.stack([x, y, x + 8, y + 8], 1)}
        return limelight.Detected(**{**parts, **self.changed})


def test_any_model_may_return_what_it_proposed() -> None:
    torch.manual_seed(0)
    model, images = Own().eval(), pictures(2)
    logits = model(images).logits
    assert [each.shape for each in logits] == [(24, 3)] * 2
    assert_agrees(model(images).probabilities[0], logits[0].sigmoid())
    result = limelight.explain(model, images, target=limelight.Box([8, 0, 16, 8], 2))
    assert_agrees(result.score, torch.stack([each[1, 2] for each in logits]))
    expected = gradcam_by_hand(model, "body", images, lambda output: output.logits[0][1, 2])
    at_body = limelight.explain(
        model, images, target=limelight.Box([8, 0, 16, 8], 2), layer="body", method="gradcam"
    )
    assert_agrees(at_body.raw[:1], expected[:1])
    assert isinstance(result.output, limelight.Detected)
    # A callable is given what the model returned.
    custom = limelight.explain(
        model, images, target=lambda found: torch.stack([each[3, 0] for each in found.logits])
    )
    assert_agrees(custom.score, torch.stack([each[3, 0] for each in logits]))


class Anchored(nn.Module):
    """Two levels, two anchors for each cell: what effdet's networks return, in both forms."""

    def __init__(self, form: str = "levels") -> None:
        super().__init__()
        self.form, self.count = form, 3
        self.fine = nn.Sequential(nn.Conv2d(3, 6, 8, 8), nn.ReLU())
        self.coarse = nn.Sequential(nn.Conv2d(6, 6, 2, 2), nn.ReLU())
        self.classes, self.offsets = nn.Conv2d(6, 2 * self.count, 1), nn.Conv2d(6, 2 * 4, 1)

    def forward(self, images: Tensor) -> Any:
        fine = self.fine(images)
        both = [fine, self.coarse(fine)]
        levels = [[head(level) for level in both] for head in (self.classes, self.offsets)]
        if self.form == "levels":
            return tuple(levels)
        flat = (
            [x.permute(0, 2, 3, 1).reshape(len(x), -1, n) for x in maps]
            for maps, n in zip(levels, (self.count, 4), strict=True)
        )
        logits, offsets = (torch.cat(maps, 1) for maps in flat)
        sizes = offsets[..., 2:].exp() * 8
        corners = offsets[..., :2].sigmoid() * 20
        boxes = torch.cat([corners, corners + sizes], -1)
        if self.form == "sorted":
            best, label = logits.sigmoid().max(2)
            return torch.cat([boxes, best[..., None], label[..., None].to(boxes)], 2)
        return limelight.Detected(logits, boxes)


@pytest.mark.parametrize("form", ["levels", "sorted"])
@pytest.mark.parametrize("target", [None, 1, limelight.Box([1, 1, 9, 9])])
def test_boxes_without_anchors_or_logits_say_how_to_wrap_the_network(
    form: str, target: Any
) -> None:
    torch.manual_seed(0)
    with pytest.raises(TargetError) as raised:
        limelight.explain(Anchored(form).eval(), pictures(), target=target, layer="fine")
    what = {"levels": "which only anchors make boxes", "sorted": "without the logits"}[form]
    assert what in str(raised.value)
    assert "return limelight.Detected(logits, boxes)" in str(raised.value)


def test_a_wrapper_joins_the_levels_of_anchors() -> None:
    torch.manual_seed(0)
    model, images = Anchored("wrapped").eval(), pictures()
    raw = Anchored("levels").eval()
    raw.load_state_dict(model.state_dict())
    found = limelight.explain(model, images, target=limelight.Box(target=1), layer="fine")
    # The channels of a level are the classes of its first anchor, then those of its second.
    by_anchor = [level.unflatten(1, (2, 3))[:, :, 1] for level in raw(images)[0]]
    assert_agrees(found.score, torch.cat([each.flatten() for each in by_anchor]).amax()[None])
    # A part that is named is explained as it is.
    named = limelight.explain(raw, images, target=1, layer="fine", output="0.0")
    assert named.score.shape == (1,)


class Counted(Own):
    """A detector that counts its forwards."""

    runs = 0

    def forward(self, images: Tensor) -> limelight.Detected:
        Counted.runs += 1
        return super().forward(images)


def test_targets_of_one_pass_have_each_its_own_default_method() -> None:
    model, images = Counted().eval(), pictures()
    targets: list[Any] = [
        limelight.Box([8, 0, 16, 8], 2),
        2,
        None,
        limelight.Contrast(0, 1),
        lambda found: torch.stack([each[3, 0] for each in found.logits]),
    ]
    limelight.explain_each(model, images, targets, layer="body")
    before = Counted.runs
    found = limelight.explain_each(model, images, targets, layer="body")
    assert Counted.runs == before + 1
    defaults = ["hirescam", "hirescam", "hirescam", "hirescam", "gradcam"]
    assert [each.method for each in found] == defaults
    for target, each, name in zip(targets, found, defaults, strict=True):
        named = limelight.explain(model, images, target=target, layer="body", method=name)
        assert torch.equal(each.raw, named.raw)
    # A method that is named is taken, and the options of a method go with the default.
    assert limelight.explain(model, images, layer="body", method="layercam").method == "layercam"
    options: dict[str, Any] = {"eigen": True, "views": limelight.flips()}
    assert (
        limelight.explain(model, images, layer="body", **options).method
        == limelight.explain(model, images, layer="body", method="hirescam", **options).method
    )
    assert limelight.explain(model, images, layer=["body", "body"]).method == "hirescam, mean"
    page = limelight.walkthrough(model, images, layer="body")
    assert page.method.name == page.explanation.method == "hirescam"
    assert "hirescam" not in [str(other.method) for other in page.beside]
    assert "gradcam" in [str(other.method) for other in page.beside]


def test_probabilities_of_one_s_own_decide_which_object_is_first() -> None:
    torch.manual_seed(0)
    likely = torch.zeros(1, 24, 3)
    likely[0, 5, 1] = 1
    model = Own(probabilities=likely, output={"what": "the model returned"}).eval()
    result = limelight.explain(model, pictures())
    assert result.label == ("class 1 in box [40, 0, 48, 8]",)
    assert result.output == {"what": "the model returned"}
    with pytest.raises(TargetError, match="Class 0 is no object but the background"):
        limelight.explain(model, pictures(), target=0)


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({"logits": torch.zeros(4, 2)}, r"logits of Detected are \[4, 2\]; one tensor \[B, N, C\]"),
        ({"boxes": "none"}, r"boxes of Detected are str; one tensor \[B, N, 4\] was expected"),
        ({"boxes": torch.zeros(2, 5, 4)}, r"logits of 1 images, boxes of 2"),
        ({"boxes": torch.zeros(4, 4)}, r"logits \[5, 2\], boxes \[4, 4\]"),
        ({"boxes": torch.zeros(1, 5, 2)}, r"boxes \[5, 2\].*boxes \[N, 4\] or \[N, C, 4\]"),
        ({"probabilities": torch.zeros(1, 5, 3)}, r"probabilities \[5, 3\]"),
    ],
    ids=["one image", "no tensor", "images", "boxes", "corners", "probabilities"],
)
def test_proposals_that_do_not_belong_together_are_refused(parts: Any, text: str) -> None:
    fitting = {"logits": torch.zeros(1, 5, 2), "boxes": torch.zeros(1, 5, 4)}
    with pytest.raises(ModelError, match=text):
        limelight.Detected(**{**fitting, **parts})


def test_proposals_for_another_number_of_images_are_refused() -> None:
    model = Own(logits=torch.zeros(3, 24, 3)).eval()
    with pytest.raises(TargetError, match="proposals for 3 images; 1 were passed in"):
        limelight.explain(model, pictures(), layer="body")


class Configuration:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class Prompts(nn.Module):
    """Like OWL-ViT: a logit for each prompt, from the likeness of its embedding to the cells'."""

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.config = Configuration(**{"num_labels": 2, "text_config": None, **config})
        self.body = nn.Sequential(nn.Conv2d(3, 6, 16, 16), nn.ReLU())
        self.texts = nn.Embedding(2000, 6)

    def forward(self, pixel_values: Tensor, input_ids: Tensor) -> dict[str, Tensor]:
        cells = self.body(pixel_values).flatten(2).transpose(1, 2)
        if len(input_ids) == len(pixel_values) and "model_type" in vars(self.config):
            texts = self.texts(input_ids)  # a logit for each token
        else:
            texts = self.texts(input_ids).mean(1)[None].expand(len(cells), -1, -1)
        boxes = torch.full((*cells.shape[:2], 4), 0.25)
        boxes[..., 0] = torch.linspace(0.1, 0.9, boxes.shape[1])
        return {"logits": cells @ texts.transpose(1, 2), "pred_boxes": boxes}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_each_prompt_is_a_class(count: int) -> None:
    torch.manual_seed(0)
    model, names = Prompts().eval(), ["cat", "dog", "bird"][:count]
    inputs = {"pixel_values": pictures(), "input_ids": torch.arange(5 * count).view(count, 5)}
    logits = model(**inputs)["logits"][0]
    best = int(logits[:, count - 1].argmax())
    result = limelight.explain(
        model, inputs, target=names[-1], classes=names, layer="body", method="gradcam"
    )
    assert_agrees(result.score, logits[best, -1][None])
    expected = gradcam_by_hand(
        model, "body", inputs, lambda output: output["logits"][0, best, count - 1]
    )
    assert_agrees(result.raw, expected)


def test_a_prompt_of_several_tokens_is_its_best_token() -> None:
    torch.manual_seed(0)
    model = Prompts(model_type="grounding-dino").eval()
    words = torch.tensor([[101, 7, 8, 1012, 9, 10, 11, 1012, 102]])
    inputs = {"pixel_values": pictures(), "input_ids": words}
    logits = model(**inputs)["logits"][0]
    of_prompt = [logits[:, 1:3].amax(1), logits[:, 4:7].amax(1)]
    names = ["a cat", "a remote control"]
    for name, values in zip(names, of_prompt, strict=True):
        result = limelight.explain(model, inputs, target=name, classes=names, layer="body")
        assert_agrees(result.score, values.max()[None])


@pytest.mark.parametrize(
    ("config", "count", "is_softmax"),
    [
        ({"num_labels": 4}, 4, False),  # RT-DETR, D-FINE, Deformable and Conditional DETR
        ({"num_labels": 3}, 4, True),  # DETR, YOLOS, Table Transformer
        ({"num_labels": 3, "text_config": None}, 4, False),
        ({}, 4, True),
        ({}, 1, False),
    ],
    ids=["sigmoid", "no object", "prompts", "unknown", "one"],
)
def test_the_configuration_says_whether_the_last_class_is_none(
    config: dict[str, Any], count: int, is_softmax: bool
) -> None:
    model, logits = nn.Module(), torch.randn(1, 5, count)
    model.inner = nn.Module()  # the network may stand in a wrapper
    if config:
        model.inner.config = Configuration(**config)  # type: ignore[assignment]
    output = {"logits": logits, "pred_boxes": torch.rand(1, 5, 4)}
    proposed = read_queries(output, ModelInputs.of(pictures()), model)
    assert proposed is not None
    expected = logits.softmax(-1)[..., :-1] if is_softmax else logits.sigmoid()
    assert_agrees(proposed[2], expected)


def test_tensors_that_a_model_keeps_from_inference_mode_do_no_harm() -> None:
    class Keeps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Conv2d(3, 6, 3, 2)
            self.kept: dict[str, list[Tensor]] = {}

        def forward(self, images: Tensor) -> Tensor:
            if not self.kept:
                self.kept = {"scales": [torch.linspace(1, 2, 6)]}
            scaled: Tensor = self.body(images) * self.kept["scales"][0][:, None, None]
            return scaled.mean((2, 3))

    torch.manual_seed(0)
    model, images = Keeps().eval(), pictures()
    with torch.inference_mode():
        model(images)
    kept = model.kept["scales"][0]
    result = limelight.explain(model, images, target=2, layer="body")
    assert result.status[0].ok or result.status[0].name == "no-positive-evidence"
    assert model.kept["scales"][0] is kept
    assert kept.is_inference()


def test_class_names_that_a_network_brings() -> None:
    model, images = build(), pictures()
    model.names = {0: "cat", 1: "dog", 2: "bird"}  # type: ignore[assignment]
    result = limelight.explain(model, images, target="bird", layer="stem")
    assert result.label[0].startswith("bird in box [")
    model.names = {0: "0", 1: "1", 2: "2"}  # type: ignore[assignment]
    assert limelight.explain(model, images, target=2, layer="stem").label[0].startswith("class 2")


def test_without_ultralytics_its_networks_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hide_for_a_test(monkeypatch, "ultralytics")
    with pytest.raises(MissingPackageError, match=r"ultralytics, .* 'limelight\[yolo\]'"):
        limelight.load_model("yolo:yolo11n.pt")


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolov8n-seg.yaml", "yolov8n-obb.yaml"])
def test_ultralytics(name: str) -> None:
    ultralytics = pytest.importorskip("ultralytics")
    torch.manual_seed(0)
    yolo = ultralytics.YOLO(name)
    images = torch.rand(1, 3, 64, 96)
    logits = yolo.model.eval()(images)[1]["scores"][0]
    result = limelight.explain(yolo, images, target=5, layer="model.4")
    assert_agrees(result.score, logits[5].max()[None])
    network = limelight.load_model(f"yolo:{name}")
    assert network.preprocess.size == (640, 640)
