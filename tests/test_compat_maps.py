"""The drop-in for grad-cam: each class gives the right map, in the forms that scripts call it.

What is right is found again by plain hooks and numpy, from the papers; nothing of limelight is used
for that.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import limelight
import limelight.compat.pytorch_grad_cam as drop_in
from helpers.model_state import untouched
from helpers.networks import ready
from limelight.compat.pytorch_grad_cam import GradCAM
from limelight.compat.pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from oracles.evidence import Probe, channels_first, classes, probe

Array = NDArray[Any]

CLASSES = [2, 0, 1]
SIZE = (24, 32)


class Plain(nn.Module):
    """Two convolutions without in-place operations; a head that is curved in the activations."""

    def __init__(self) -> None:
        super().__init__()
        self.early = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.late = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 5))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.late(self.early(x)))
        return logits + logits**2 / 4


@pytest.fixture
def model() -> Plain:
    torch.manual_seed(3)
    return ready(Plain())


@pytest.fixture
def images() -> Tensor:
    return torch.randn(3, 3, *SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def found_at(model: nn.Module, images: Tensor, layer: str = "late") -> Probe:
    return probe(model, layer, images, classes(CLASSES), channels_first)


def arrays(found: Probe) -> tuple[Array, Array]:
    return found.activations.numpy(), found.gradients.numpy()


def scaled(maps: Array, size: Sequence[int] = SIZE) -> Array:
    """Positive part, scaled to [0, 1], resized as OpenCV does, and scaled again."""
    finished = []
    for raw in np.maximum(maps, 0):
        unit = (raw - raw.min()) / (raw.max() - raw.min())
        large = cv2.resize(unit, size[::-1], interpolation=cv2.INTER_LINEAR)
        finished.append((large - large.min()) / (large.max() - large.min()))
    return np.stack(finished)


def first_component(values: Array) -> Array:
    """The first principal component `[B, *grid]`, positive where the mean channel is high."""
    maps = []
    for one in values:
        cells = one.reshape(len(one), -1).T
        centred = cells - cells.mean(0)
        component = centred @ np.linalg.svd(centred, full_matrices=False)[2][0]
        sign = np.sign(np.corrcoef(component, cells.mean(1))[0, 1])
        maps.append((sign * component).reshape(one.shape[1:]))
    return np.stack(maps)


def gradcam(a: Array, g: Array) -> Array:
    return np.asarray(np.einsum("bk,bkhw->bhw", g.mean((2, 3)), a))


def gradcam_plus_plus(a: Array, g: Array) -> Array:
    below = 2 * g**2 + a.sum((2, 3), keepdims=True) * g**3
    alpha = np.divide(g**2, below, out=np.zeros_like(g), where=g != 0)
    return np.asarray(np.einsum("bk,bkhw->bhw", (alpha * np.maximum(g, 0)).sum((2, 3)), a))


def xgradcam(a: Array, g: Array) -> Array:
    weights = (a * g).sum((2, 3)) / a.sum((2, 3))
    return np.asarray(np.einsum("bk,bkhw->bhw", np.nan_to_num(weights), a))


def fem(a: Array, _g: Array) -> Array:
    mean, deviation = a.mean((2, 3), keepdims=True), a.std((2, 3), keepdims=True)
    return np.asarray((mean * (a > mean + 2 * deviation)).sum(1))


def kernel_component(a: Array, _g: Array) -> Array:
    maps = []
    for one in a:
        cells = one.reshape(len(one), -1).T
        centred = cells - cells.mean(0)
        kernel = np.tanh(centred @ centred.T / len(one) + 1)
        middle = np.eye(len(kernel)) - 1 / len(kernel)
        values, vectors = np.linalg.eigh(middle @ kernel @ middle)
        component = np.sqrt(values[-1]) * vectors[:, -1]
        sign = np.sign(np.corrcoef(component, cells.mean(1))[0, 1])
        maps.append((sign * component).reshape(one.shape[1:]))
    return np.stack(maps)


def seg_eigen(a: Array, g: Array) -> Array:
    component = first_component(np.abs(g) * a)
    return np.stack([m if m.max() >= -m.min() else -m for m in component])


FORMULAS: dict[str, Callable[[Array, Array], Array]] = {
    "GradCAM": gradcam,
    "HiResCAM": lambda a, g: (g * a).sum(1),
    "GradCAMElementWise": lambda a, g: np.maximum(g * a, 0).sum(1),
    "GradCAMPlusPlus": gradcam_plus_plus,
    "XGradCAM": xgradcam,
    "LayerCAM": lambda a, g: (np.maximum(g, 0) * a).sum(1),
    "EigenCAM": lambda a, _g: first_component(a),
    "EigenGradCAM": lambda a, g: first_component(g * a),
    "SegEigenCAM": seg_eigen,
    "KPCA_CAM": kernel_component,
    "FEM": fem,
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("batch", [1, 3])
def test_each_class_gives_the_map_of_its_formula(
    name: str, batch: int, model: Plain, images: Tensor
) -> None:
    expected = scaled(FORMULAS[name](*arrays(found_at(model, images))))[:batch]
    with untouched(model), getattr(drop_in, name)(model=model, target_layers=[model.late]) as cam:
        targets = [ClassifierOutputTarget(c) for c in CLASSES[:batch]]
        maps = cam(input_tensor=images[:batch], targets=targets)
    assert maps.dtype == np.float32
    assert maps.shape == (batch, *SIZE)
    np.testing.assert_allclose(maps, expected, atol=2e-6)


def test_the_maps_of_several_layers_are_averaged(model: Plain, images: Tensor) -> None:
    by_layer = []
    for layer in ("early", "late"):
        raw = np.maximum(gradcam(*arrays(found_at(model, images, layer))), 0)
        low, high = raw.min((1, 2), keepdims=True), raw.max((1, 2), keepdims=True)
        units = (raw - low) / (high - low)
        by_layer.append([cv2.resize(unit, SIZE[::-1]) for unit in units])
    mean = np.mean(by_layer, axis=0)
    low, high = mean.min((1, 2), keepdims=True), mean.max((1, 2), keepdims=True)
    maps = GradCAM(model, [model.early, model.late])(images, CLASSES)
    np.testing.assert_allclose(maps, (mean - low) / (high - low), atol=2e-6)


def test_smoothed_maps(model: Plain, images: Tensor) -> None:
    a, g = arrays(found_at(model, images))
    expected = scaled(first_component(g.mean((2, 3))[..., None, None] * a))
    maps = GradCAM(model, [model.late])(images, CLASSES, eigen_smooth=True)
    np.testing.assert_allclose(maps, expected, atol=2e-6)

    augmented = []
    for flip in (False, True):
        for factor in (0.9, 1, 1.1):
            seen = (images.flip(-1) if flip else images) * factor
            each = scaled(gradcam(*arrays(found_at(model, seen))))
            augmented.append(each[..., ::-1] if flip else each)
    maps = GradCAM(model, [model.late])(images, CLASSES, aug_smooth=True)
    np.testing.assert_allclose(maps, np.mean(augmented, axis=0), atol=2e-6)


def score_with(model: Plain, activations: Tensor, index: int) -> float:
    with torch.no_grad():
        logits = model.head(activations)
        return float((logits + logits**2 / 4)[0, index])


def test_ablationcam(model: Plain, images: Tensor) -> None:
    found = found_at(model, images)
    maps, some = [], drop_in.AblationCAM(model, [model.late], ratio_channels_to_ablate=0.5)
    for a, index in zip(found.activations, CLASSES, strict=True):
        score, total = score_with(model, a[None], index), np.zeros(a.shape[1:])
        for k in range(len(a)):
            without = a.clone()
            without[k] = 0
            lost = score - score_with(model, without[None], index)
            total += lost / abs(score) * a[k].numpy()
        maps.append(total)
    cam = drop_in.AblationCAM(model, [model.late], batch_size=3)
    np.testing.assert_allclose(cam(images, CLASSES), scaled(np.stack(maps)), atol=2e-6)
    some(images, CLASSES)
    weights = some.get_cam_weights(images, model.late, [], found.activations.numpy(), None)
    assert (weights != 0).sum(1).tolist() == [4, 4, 4]  # half of eight


def test_scorecam(model: Plain, images: Tensor) -> None:
    maps = []
    for image, a, index in zip(images, found_at(model, images).activations, CLASSES, strict=True):
        scores = []
        for channel in a.numpy():
            mask = cv2.resize(channel, SIZE[::-1])
            height = mask.max() - mask.min()
            mask = (mask - mask.min()) / (height if height else 1)
            with torch.no_grad():
                scores.append(float(model((image * torch.from_numpy(mask))[None])[0, index]))
        exponentials = np.exp(np.array(scores) - max(scores))
        weights = exponentials / exponentials.sum()
        maps.append(np.einsum("k,khw->hw", weights, a.numpy()))
    cam = drop_in.ScoreCAM(model, [model.late])
    cam.batch_size = 3
    np.testing.assert_allclose(cam(images, CLASSES), scaled(np.stack(maps)), atol=2e-6)


def test_shapleycam(model: Plain, images: Tensor) -> None:
    found = found_at(model, images)
    maps = []
    for a, g, index in zip(found.activations, found.gradients, CLASSES, strict=True):

        def score(flat: Tensor, shape: torch.Size = a.shape, index: int = index) -> Tensor:
            logits: Tensor = model.head(flat.reshape(1, *shape))
            return (logits + logits**2 / 4)[0, index]

        hessian = torch.autograd.functional.hessian(score, a.flatten())  # type: ignore[no-untyped-call]
        product = (hessian @ a.flatten()).reshape(a.shape)
        weights = (g - product / 2).mean((1, 2))
        maps.append((weights[:, None, None] * a).sum(0).detach().numpy())
    cam = drop_in.ShapleyCAM(model, [model.late])
    np.testing.assert_allclose(cam(images, CLASSES), scaled(np.stack(maps)), atol=2e-6)


def test_randomcam_follows_numpys_seed(model: Plain, images: Tensor) -> None:
    np.random.seed(7)
    maps = drop_in.RandomCAM(model, [model.late])(images[:1], CLASSES[:1])
    np.random.seed(7)
    weights = np.random.uniform(-1, 1, size=(1, 8))
    raw = np.einsum("bk,bkhw->bhw", weights, found_at(model, images).activations.numpy()[:1])
    np.testing.assert_allclose(maps, scaled(raw), atol=2e-6)


def test_refinecam_is_the_product(model: Plain, images: Tensor) -> None:
    layers = [model.early, model.late]
    product = np.prod([GradCAM(model, [layer])(images, CLASSES) for layer in layers], axis=0)
    maps = drop_in.RefineCAM(model, layers, base_method=GradCAM)(images, CLASSES)
    high = product.max((1, 2), keepdims=True)
    np.testing.assert_allclose(maps, product / high, atol=2e-6)


def test_finercam_compares_with_the_nearest_classes(model: Plain, images: Tensor) -> None:
    def difference(logits: Tensor) -> Tensor:
        scores = []
        for row in logits:
            main = int(row.argmax())
            others = (row - row[main]).abs().argsort()[1:3].tolist()
            shares = row.softmax(0)
            total = sum(shares[o] * (row[main] - 0.5 * row[o]) for o in others)
            scores.append(total / sum(shares[o] for o in others))
        return torch.stack(scores)

    expected = scaled(gradcam(*arrays(probe(model, "late", images, difference, channels_first))))
    cam = drop_in.FinerCAM(model, [model.late])
    maps = cam(images, alpha=0.5, comparison_categories=[1, 2])
    np.testing.assert_allclose(maps, expected, atol=2e-6)
    chosen = cam(images, target_idx=3, comparison_categories=[1])
    assert chosen.shape == (3, *SIZE)
    assert cam.outputs.shape == (3, 5)


def test_fullgrad_is_limelights(model: Plain, images: Tensor) -> None:
    expected = limelight.explain(model, images, target=CLASSES, method="fullgrad").raw.numpy()
    low, high = expected.min((1, 2), keepdims=True), expected.max((1, 2), keepdims=True)
    maps = drop_in.FullGrad(model, [])(images, CLASSES)
    np.testing.assert_allclose(maps, (expected - low) / (high - low), atol=2e-6)
    smooth = drop_in.FullGrad(model, [])(images, CLASSES, eigen_smooth=True)
    assert smooth.shape == maps.shape
    assert np.ptp(smooth) == pytest.approx(1)


def only_positive(_module: nn.Module, gradients: Any, _outputs: Any) -> tuple[Tensor]:
    return (gradients[0].relu(),)


def test_guided_backpropagation_of_every_image(model: Plain, images: Tensor) -> None:
    guided = drop_in.GuidedBackpropReLUModel(model=model, device="cpu")
    each = [guided(images[b : b + 1], target_category=CLASSES[0]) for b in range(3)]
    assert each[0].shape == (*SIZE, 3)
    np.testing.assert_allclose(guided(images, CLASSES[0]), np.stack(each), atol=1e-9)
    twin = copy.deepcopy(model)
    for module in twin.modules():
        if isinstance(module, nn.ReLU):
            module.register_full_backward_hook(only_positive)
    leaf = images[:1].clone().requires_grad_()
    twin(leaf)[0, CLASSES[0]].backward()
    assert leaf.grad is not None
    np.testing.assert_allclose(each[0], leaf.grad[0].movedim(0, -1).numpy(), atol=1e-9)


def test_factorization_rebuilds_the_activations(model: Plain, images: Tensor) -> None:
    find = drop_in.DeepFeatureFactorization(model, model.late, computation_on_concepts=lambda c: c)
    concepts, heatmaps, computed = find(images, n_components=3)
    assert concepts.shape == (8, 3)
    assert [each.shape for each in heatmaps] == [(3, *SIZE)] * 3
    np.testing.assert_allclose(computed, concepts.T, atol=1e-6)
    a = found_at(model, images).activations.numpy()
    from limelight.compat.pytorch_grad_cam.feature_factorization.deep_feature_factorization import (
        dff,
    )

    concepts, maps = dff(a, 8)
    offset = a.min((0, 2, 3)).reshape(1, -1, 1, 1)
    rebuilt = np.einsum("kn,bnhw->bkhw", concepts - offset.reshape(-1, 1), maps) + offset
    np.testing.assert_allclose(rebuilt, a, atol=0.05 * a.max())
