"""The utilities under the names of the grad-cam library: against OpenCV, or by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from limelight.compat.colormaps import colour_table
from limelight.compat.pytorch_grad_cam import sobel_cam as edges
from limelight.compat.pytorch_grad_cam import utils
from limelight.compat.pytorch_grad_cam.utils import find_layers, image, svd_on_activations
from limelight.compat.pytorch_grad_cam.utils import model_targets as targets
from limelight.compat.pytorch_grad_cam.utils import reshape_transforms as transforms
from limelight.errors import InputError, LayerError, LimelightError, OptionError, TargetError

Array = npt.NDArray[Any]


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def levels_apart(a: Array, b: Array) -> int:
    assert a.shape == b.shape
    assert a.dtype == b.dtype == np.uint8
    return int(np.abs(a.astype(int) - b.astype(int)).max())


# Colours


@pytest.mark.parametrize("number", range(22))
def test_every_colour_map_is_that_of_opencv(number: int) -> None:
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    truth = cv2.applyColorMap(ramp, number)[:, 0, ::-1]
    assert levels_apart(colour_table(number), truth) <= 1
    names = {getattr(cv2, name): name for name in dir(cv2) if name.startswith("COLORMAP_")}
    named = colour_table(names[number].removeprefix("COLORMAP_").lower())
    np.testing.assert_array_equal(named, colour_table(number))


def test_jet_is_exactly_that_of_opencv() -> None:
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    truth = cv2.applyColorMap(ramp, cv2.COLORMAP_JET)[:, 0, ::-1]
    np.testing.assert_array_equal(colour_table(2), truth)


def test_other_names_are_those_of_matplotlib() -> None:
    assert colour_table("gray")[[0, 100, 255]].tolist() == [[0] * 3, [100] * 3, [255] * 3]


def test_a_colour_map_that_does_not_exist() -> None:
    with pytest.raises(OptionError) as error:
        colour_table(22)
    assert str(error.value) == (
        "The colour map is 22; a number of OpenCV's from 0 to 21 (COLORMAP_JET is 2) was expected, "
        "or a name as in 'jet'."
    )
    with pytest.raises(LimelightError, match=r"There is no colour map named 'virids'.*'viridis'"):
        colour_table("virids")


# Maps on pictures


def blended(img: Array, mask: Array, colormap: int, weight: float, *, rgb: bool) -> Array:
    """Return the overlay that OpenCV's colours make."""
    colours = cv2.applyColorMap(np.uint8(255 * mask), colormap)
    colours = colours[..., ::-1] if rgb else colours
    mixed = (1 - weight) * np.float32(colours / 255) + weight * img
    return np.asarray(255 * (mixed / mixed.max()), dtype=np.uint8)


@pytest.mark.parametrize("rgb", [True, False])
@pytest.mark.parametrize("colormap", [2, 0, 12, 16, 19, 20])
@pytest.mark.parametrize("weight", [0.5, 0.3, 1.0])
def test_a_map_on_a_picture(rgb: bool, colormap: int, weight: float) -> None:
    img, mask = random(20, 30, 3), random(20, 30, seed=1)
    shown = image.show_cam_on_image(img, mask, rgb, colormap, weight)
    assert levels_apart(shown, blended(img, mask, colormap, weight, rgb=rgb)) <= 1


def test_a_map_is_blended_as_bgr_and_jet_by_default() -> None:
    img, mask = random(20, 30, 3), random(20, 30, seed=1)
    assert (
        levels_apart(image.show_cam_on_image(img, mask), blended(img, mask, 2, 0.5, rgb=False)) <= 1
    )


def test_values_beyond_the_map_are_clipped() -> None:
    img = random(2, 2, 3)
    beyond = np.array([[2.0, -1.0], [np.nan, 1.0]])
    within = np.array([[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_array_equal(
        image.show_cam_on_image(img, beyond), image.show_cam_on_image(img, within)
    )
    black = image.show_cam_on_image(np.zeros((2, 2, 3), np.float32), within, image_weight=1)
    assert not black.any()


@pytest.mark.parametrize(
    ("img", "mask", "weight", "text"),
    [
        (
            np.full((2, 2, 3), 255, np.uint8),
            np.zeros((2, 2)),
            0.5,
            "The picture has values from 255 to 255; floating point in [0, 1] was expected. For a "
            "picture of 0 to 255: np.float32(img) / 255.",
        ),
        (
            np.zeros((2, 2, 3)),
            np.zeros((2, 3)),
            0.5,
            "The picture is [2, 2, 3] and the map [2, 3]; a picture [H, W, 3] and a map [H, W] of "
            "the same size were expected.",
        ),
        (
            np.zeros((2, 2, 3)),
            np.zeros((2, 2)),
            1.5,
            "image_weight is 1.5; a number in [0, 1] was expected.",
        ),
    ],
)
def test_what_cannot_be_shown(img: Array, mask: Array, weight: float, text: str) -> None:
    with pytest.raises(ValueError) as error:
        image.show_cam_on_image(img, mask, image_weight=weight)
    assert str(error.value) == text
    with pytest.raises(ValueError) as error:
        image.show_factorization_on_image(img, mask[None], image_weight=weight)
    assert str(error.value) == text


def hsv_shades(color: Array, explanation: Array) -> Array:
    """Return a colour as bright as a map in [0, 1], by way of OpenCV's HSV."""
    shades = np.tile((255 * color[:3]).astype(np.uint8), (*explanation.shape, 1))
    hsv = cv2.cvtColor(shades, cv2.COLOR_RGB2HSV)
    hsv[..., 2] = (255 * explanation).astype(np.uint8)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_concepts_on_a_picture(count: int) -> None:
    img, maps = random(20, 30, 3), random(count, 20, 30, seed=1)
    colors = list(random(count, 3, seed=2))
    before = maps.copy()
    shown = image.show_factorization_on_image(img, maps, colors, image_weight=0.3)
    np.testing.assert_array_equal(maps, before)
    truth = np.zeros((20, 30, 3))
    for number, color in enumerate(colors):
        is_highest = maps.argmax(0) == number
        truth[is_highest] = hsv_shades(color, maps[number])[is_highest]
    truth = (255 * (0.3 * img + 0.7 * truth / 255)).astype(np.uint8)
    assert levels_apart(shown, truth) <= 1


def test_concepts_have_a_legend() -> None:
    img, maps = random(64, 96, 3), random(3, 64, 96, seed=1)
    alone = image.show_factorization_on_image(img, maps)
    shown = image.show_factorization_on_image(img, maps, concept_labels=["a", "b", "c"])
    assert shown.shape == (64, 192, 3)
    np.testing.assert_array_equal(shown[:, :96], alone)
    assert shown[:, 96:].std() > 10  # something is drawn there
    with pytest.raises(InputError, match="There are 1 colours for 3 concepts"):
        image.show_factorization_on_image(img, maps, [np.ones(3)])


def test_concepts_are_named_by_their_best_classes() -> None:
    scores = np.array([[0.1, 0.6, 0.3], [0.5, 0.25, 0.25]])
    labels = {0: "pug, pug-dog", 1: "tiger cat", 2: "a, b, c, d"}
    assert image.create_labels_legend(scores, labels) == [
        "tiger cat:0.60\na, b, c:0.30",
        "pug, pug-dog:0.50\ntiger cat:0.25",
    ]
    assert image.create_labels_legend(scores, labels, top_k=1)[1] == "pug, pug-dog:0.50"


# Preparing and scaling


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_a_picture_is_prepared(kind: type) -> None:
    img: Array = (200 * random(4, 5, 3)).astype(kind)
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    unit = img / 255 if kind is np.uint8 else img
    truth = ((unit - np.array(mean)) / np.array(std)).transpose(2, 0, 1)[None]
    prepared = image.preprocess_image(img[:, ::-1], mean, std)
    assert prepared.dtype == (torch.float64 if kind is np.float64 else torch.float32)
    np.testing.assert_allclose(prepared.numpy(), truth[..., ::-1], rtol=1e-5, atol=1e-5)
    default = image.preprocess_image(img)
    np.testing.assert_allclose(default.numpy(), 2 * unit.transpose(2, 0, 1)[None] - 1, rtol=1e-4)
    with pytest.raises(InputError, match="has 3 channels, mean 2 values and std 3"):
        image.preprocess_image(img, mean[:2], std)


def test_numbers_become_grey_levels() -> None:
    numbers = 7 * random(5, 6, 3) - 3
    truth = 0.1 * (numbers - numbers.mean()) / (numbers.std() + 1e-5) + 0.5
    grey = image.deprocess_image(numbers)
    assert levels_apart(grey, (255 * truth.clip(0, 1)).astype(np.uint8)) <= 1
    np.testing.assert_array_equal(image.deprocess_image(torch.from_numpy(numbers)), grey)
    assert utils.deprocess_image is image.deprocess_image


@pytest.mark.parametrize("size", [(30, 20), (224, 224), (5, 4), (9, 7), (3, 50)])
def test_maps_are_resized_as_by_opencv(size: tuple[int, int]) -> None:
    maps = 3 * random(2, 7, 9) - 1
    resized = image.scale_cam_image(maps, size)
    truth = [cv2.resize((m - m.min()) / (m.max() - m.min()), size) for m in maps]
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, truth, rtol=0, atol=1e-4)
    channels = image.scale_accross_batch_and_channels(maps.reshape(1, 2, 7, 9), size)
    np.testing.assert_array_equal(channels, resized[None])


def test_maps_keep_their_size_and_volumes_stay_in_range() -> None:
    maps = 3 * random(2, 7, 9) - 1
    scaled = image.scale_cam_image(maps)
    assert [(m.min(), m.max()) for m in scaled] == [(0, 1)] * 2
    volumes = image.scale_cam_image(random(2, 4, 5, 6), (12, 10, 8))
    assert volumes.shape == (2, 8, 10, 12)
    assert volumes.min() >= 0
    assert volumes.max() <= 1


def test_maps_that_say_nothing_are_zero() -> None:
    assert not image.scale_cam_image(np.full((1, 3, 3), 5.0), (6, 6)).any()
    assert not image.scale_cam_image(np.full((1, 3, 3), np.nan)).any()
    partly = image.scale_cam_image(np.array([[[np.nan, 1.0], [2.0, np.inf]]]))
    assert partly.tolist() == [[[0, 0], [1, 0]]]
    tiny = image.scale_cam_image(1e-12 * np.array([[[0.0, 1.0], [2.0, 4.0]]]))
    np.testing.assert_allclose(tiny, [[[0, 0.25], [0.5, 1]]])


def test_edges() -> None:
    img = (255 * random(20, 30, 3)).astype(np.uint8)
    grey = cv2.cvtColor(img, cv2.COLOR_RGB2GRAY)
    across, down = (cv2.convertScaleAbs(cv2.Sobel(grey, cv2.CV_64F, *d)) for d in ((1, 0), (0, 1)))
    truth = cv2.addWeighted(across, 0.5, down, 0.5, 0)
    assert levels_apart(edges.sobel_cam(img), np.asarray(truth)) <= 1
    with pytest.raises(InputError, match=r"The picture is \[20, 30\]; RGB \[H, W, 3\]"):
        edges.sobel_cam(grey)


# Targets


LOGITS = torch.tensor([0.5, 2.0, -1.0, 0.0], dtype=torch.float64)


def probabilities(logits: list[float]) -> list[float]:
    total = sum(math.exp(y) for y in logits)
    return [math.exp(y) / total for y in logits]


ROW = LOGITS.tolist()
P = probabilities(ROW)


@pytest.mark.parametrize(
    ("target", "value"),
    [
        (targets.ClassifierOutputTarget(1), 2.0),
        (targets.ClassifierOutputTarget(np.int64(-1)), 0.0),
        (targets.ClassifierOutputSoftmaxTarget(2), P[2]),
        (targets.ClassifierOutputReST(0), 0.5 + math.log(P[0])),
        (
            targets.FinerWeightedTarget(1, [0, 3], 0.6),
            (P[0] * (2 - 0.6 * 0.5) + P[3] * 2) / (P[0] + P[3]),
        ),
    ],
)
def test_a_class_is_read_from_an_output_and_from_a_batch(target: Any, value: float) -> None:
    assert float(target(LOGITS)) == pytest.approx(value)
    batch = torch.stack([LOGITS, LOGITS + 1, LOGITS])
    assert target(batch).shape == (3,)
    assert target(batch)[2].item() == pytest.approx(value)
    for output in ({"logits": LOGITS}, SimpleNamespace(logits=LOGITS), (LOGITS, torch.ones(2))):
        assert float(target(output)) == pytest.approx(value)


def test_unlikely_classes_are_compared() -> None:
    logits = torch.tensor([200.0, 1.0, 2.0])
    lead = targets.FinerWeightedTarget(0, [1, 2], 1.0)(logits)
    shares = probabilities([1.0, 2.0])
    assert lead.item() == pytest.approx(shares[0] * 199 + shares[1] * 198)
    with pytest.raises(TargetError, match="There are no classes to compare with"):
        targets.FinerWeightedTarget(0, [], 1.0)(logits)


def test_whole_outputs_as_targets() -> None:
    assert torch.equal(targets.BinaryClassifierOutputTarget(1)(LOGITS[:1]), LOGITS[:1])
    assert torch.equal(targets.BinaryClassifierOutputTarget(0)(LOGITS[:1]), -LOGITS[:1])
    assert torch.equal(targets.RawScoresOutputTarget()({"out": LOGITS}), LOGITS)
    assert targets.SoftmaxOutputTarget()(LOGITS).tolist() == pytest.approx(P)
    assert targets.ClassifierOutputTarget(0)(torch.tensor(3.0)) == 3


@pytest.mark.parametrize(
    ("category", "output", "text"),
    [
        (4, LOGITS, "The category is 4, but the output has 4 classes: 0 to 3."),
        (-5, LOGITS, "The category is -5, but the output has 4 classes: 0 to 3."),
        ("cat", LOGITS, "The category is 'cat'; the index of one class was expected."),
        (
            0,
            torch.ones(4, 2, 2),
            "ClassifierOutputTarget reads class logits [C] of one image; the output is [4, 2, 2]. "
            "For a segmentation take SemanticSegmentationTarget, for anything else a function from "
            "the output to one number.",
        ),
    ],
)
def test_a_class_that_is_not_there(category: Any, output: Tensor, text: str) -> None:
    with pytest.raises(TargetError) as error:
        targets.ClassifierOutputTarget(category)(output)
    assert str(error.value) == text


@pytest.mark.parametrize("kind", ["float array", "bool array", "tensor", "with a batch axis"])
def test_a_class_in_a_mask(kind: str) -> None:
    scores = torch.from_numpy(random(3, 4, 5)).double()
    mask = random(4, 5, seed=1) > 0.5
    masks = {
        "float array": mask.astype(np.float32),
        "bool array": mask,
        "tensor": torch.from_numpy(mask),
        "with a batch axis": mask[None],
    }
    target = targets.SemanticSegmentationTarget(2, masks[kind])
    truth = sum(scores[2, i, j].item() for i in range(4) for j in range(5) if mask[i, j])
    assert target(scores).item() == pytest.approx(truth)
    assert target({"out": scores}).item() == pytest.approx(truth)
    assert target(torch.stack([scores, 2 * scores])).tolist() == pytest.approx([truth, 2 * truth])


def test_a_mask_that_does_not_fit() -> None:
    target = targets.SemanticSegmentationTarget(0, np.ones((4, 4)))
    with pytest.raises(TargetError) as error:
        target(torch.ones(3, 4, 5))
    assert str(error.value) == (
        "The mask is [4, 4] and the class scores are [4, 5]; a mask [H, W] of that size was "
        "expected."
    )
    with pytest.raises(TargetError, match=r"the output is \[4\]. For a classifier take Classif"):
        target(LOGITS)
    with pytest.raises(TargetError, match="The category is 7, but the output has 3 classes"):
        targets.SemanticSegmentationTarget(7, np.ones((4, 4)))(torch.ones(3, 4, 4))


def test_boxes_that_are_found_again() -> None:
    detections = {
        "boxes": torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 40]], requires_grad=True),
        "labels": torch.tensor([1, 2]),
        "scores": torch.tensor([0.9, 0.6], requires_grad=True),
    }
    given = [
        np.array([0, 0, 10, 8]),
        [20, 20, 30, 40],
        torch.tensor([0, 0, 10, 10]),
        [50, 50, 60, 60],
    ]
    # The third has another label there, and nothing is where the fourth is.
    score = targets.FasterRCNNBoxScoreTarget([1, 2, 5, 1], given)(detections)
    assert score.shape == (1,)
    assert score.item() == pytest.approx(0.8 + 0.9 + 1 + 0.6)
    assert score.requires_grad
    strict = targets.FasterRCNNBoxScoreTarget([1, 2], given[:2], iou_threshold=0.85)
    assert strict(detections).item() == pytest.approx(1.6)
    nothing = {name: part[:0] for name, part in detections.items()}
    assert targets.FasterRCNNBoxScoreTarget([1], given[:1])(nothing).tolist() == [0]


def test_what_is_no_detection() -> None:
    with pytest.raises(TargetError, match="There are 2 labels for 1 boxes; one per box"):
        targets.FasterRCNNBoxScoreTarget([1, 2], [np.zeros(4)])
    with pytest.raises(TargetError, match="'boxes', 'labels' and 'scores'; the output is a Tensor"):
        targets.FasterRCNNBoxScoreTarget([1], [np.zeros(4)])(LOGITS)  # type: ignore[arg-type]


# Reshape transforms


def test_tokens_are_laid_on_their_grid() -> None:
    tokens = torch.arange(2 * 7 * 3.0).reshape(2, 7, 3)
    grid = transforms.vit_reshape_transform(tokens, 2, 3)
    assert grid.shape == (2, 3, 2, 3)
    assert all(
        grid[b, k, i, j] == tokens[b, 1 + 3 * i + j, k]
        for b in range(2)
        for k in range(3)
        for i in range(2)
        for j in range(3)
    )
    assert torch.equal(transforms.swinT_reshape_transform(tokens[:, 1:], 2, 3), grid)
    channels_last = grid.permute(0, 2, 3, 1)
    assert torch.equal(transforms.swinT_reshape_transform(channels_last), grid)


def test_the_grid_is_a_square_where_the_given_one_does_not_fit() -> None:
    assert transforms.vit_reshape_transform(torch.ones(2, 197, 3)).shape == (2, 3, 14, 14)
    assert transforms.vit_reshape_transform(torch.ones(2, 577, 3)).shape == (2, 3, 24, 24)
    assert transforms.swinT_reshape_transform(torch.ones(2, 49, 3)).shape == (2, 3, 7, 7)
    assert transforms.swinT_reshape_transform(torch.ones(2, 144, 3)).shape == (2, 3, 12, 12)


@pytest.mark.parametrize("shape", [(2, 201, 3), (2, 1, 3), (2, 3)], ids=str)
def test_tokens_that_fit_no_grid(shape: tuple[int, ...]) -> None:
    with pytest.raises(LayerError) as error:
        transforms.vit_reshape_transform(torch.ones(shape), 14, 13)
    assert str(error.value) == (
        f"The layer returned {list(shape)}; tokens [B, N, K] were expected, with N = height * "
        "width = 14 * 13 or a square after one class token. Pass height and width: lambda tensor: "
        "the_transform(tensor, height=..., width=...). Or pass no reshape_transform; limelight "
        "finds the grid itself."
    )


def test_a_pyramid_becomes_one_grid() -> None:
    pyramid = {
        "0": -torch.ones(2, 3, 8, 8),
        "1": torch.ones(2, 3, 4, 4),
        "pool": torch.ones(2, 3, 2, 2),
    }
    channels = transforms.fasterrcnn_reshape_transform(pyramid)
    assert torch.equal(channels, torch.ones(2, 9, 2, 2))
    with pytest.raises(
        LayerError, match="The layer returned a dict with 0, 1; a dict of the levels"
    ):
        transforms.fasterrcnn_reshape_transform({"0": pyramid["0"], "1": pyramid["1"]})


# Layers


def test_layers_are_found_and_replaced() -> None:
    relu = nn.ReLU()
    inner = nn.Sequential(relu, nn.Conv2d(1, 1, 1))
    model = nn.Sequential(nn.Conv2d(1, 1, 1), inner, nn.ReLU6())
    model.register_module("nothing", None)
    assert find_layers.find_layer_types_recursive(model, [nn.ReLU, nn.ReLU6]) == [relu, model[2]]
    found = find_layers.find_layer_predicate_recursive(
        model, lambda m: isinstance(m, nn.Sequential)
    )
    assert found == [inner]
    new = nn.Identity()
    assert find_layers.replace_layer_recursive(model, relu, new)
    assert inner[0] is new
    assert not find_layers.replace_layer_recursive(model, relu, new)
    find_layers.replace_all_layer_type_recursive(model, nn.Conv2d, new)
    assert model[0] is new
    assert inner[1] is new


# Components


def kernels(samples: Array, gamma: float) -> dict[str, Array]:
    dot = samples @ samples.T
    size = np.linalg.norm(samples, axis=1)
    apart = ((samples[:, None] - samples[None]) ** 2).sum(-1)
    return {
        "linear": dot,
        "poly": (gamma * dot + 1) ** 3,
        "rbf": np.exp(-gamma * apart),
        "sigmoid": np.tanh(gamma * dot + 1),
        "cosine": dot / size[:, None] / size[None],
    }


def first_component(kernel: Array) -> Array:
    """Return the first component of kernel PCA, up to its sign."""
    n = len(kernel)
    centre = np.eye(n) - 1 / n
    values, vectors = np.linalg.eigh(centre @ kernel @ centre)
    return np.asarray(math.sqrt(values[-1]) * vectors[:, -1])


def activations() -> Array:
    values = random(2, 6, 4, 5)
    values[:, :2] *= 1 + 3 * random(2, 1, 4, 5, seed=1)  # one direction stands out
    values[0, 3, 1, 2] = np.nan
    return values


def centred(values: Array) -> Array:
    samples = np.nan_to_num(values).reshape(6, 20).T.astype(np.float64)
    return np.asarray(samples - samples.mean(0))


def with_rule(component: Array, values: Array) -> Array:
    """Give a component the sign with which it goes along with the mean activation."""
    mean = np.nan_to_num(values).mean(0).ravel()
    return np.asarray(component * np.sign((component * (mean - mean.mean())).sum()))


def assert_maps(maps: Array, truth: list[Array]) -> None:
    assert maps.dtype == np.float32
    assert maps.shape == (2, 4, 5)
    scale = np.abs(truth).max()
    np.testing.assert_allclose(maps.reshape(2, 20), truth, rtol=0, atol=1e-5 * scale)


def test_projections() -> None:
    values = activations()
    before = values.copy()
    maps = utils.get_2d_projection(values)
    np.testing.assert_array_equal(values, before)
    projected = [centred(v) @ np.linalg.svd(centred(v))[2][0] for v in values]
    assert_maps(maps, [with_rule(p, v) for p, v in zip(projected, values, strict=True)])
    corrected = svd_on_activations.get_2d_projection_with_sign_correction(values)
    assert_maps(corrected, [-p if -p.min() > p.max() else p for p in projected])


@pytest.mark.parametrize("gamma", [None, 0.3])
@pytest.mark.parametrize("kernel", ["linear", "poly", "rbf", "sigmoid", "cosine"])
def test_kernel_projections(kernel: str, gamma: float | None) -> None:
    values = activations()
    before = values.copy()
    maps = svd_on_activations.get_2d_projection_kernel(values, kernel, gamma)
    np.testing.assert_array_equal(values, before)
    similar = [kernels(centred(v), gamma or 1 / 6)[kernel] for v in values]
    components = [first_component(k) for k in similar]
    assert_maps(maps, [with_rule(c, v) for c, v in zip(components, values, strict=True)])


def test_a_kernel_that_does_not_exist() -> None:
    with pytest.raises(LimelightError) as error:
        svd_on_activations.get_2d_projection_kernel(activations(), "laplace")
    assert str(error.value) == (
        "There is no kernel named 'laplace'. There are linear, poly, rbf, sigmoid, cosine."
    )
