"""The drop-in for grad-cam: what scripts pass, what they derive, and what goes wrong."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import limelight
import limelight.compat
import limelight.compat.pytorch_grad_cam as drop_in
from helpers.model_state import untouched
from limelight.compat.pytorch_grad_cam import ActivationsAndGradients, BaseCAM, GradCAM
from limelight.compat.pytorch_grad_cam.utils.model_targets import (
    ClassifierOutputTarget,
    FasterRCNNBoxScoreTarget,
    SemanticSegmentationTarget,
)
from limelight.compat.pytorch_grad_cam.utils.reshape_transforms import fasterrcnn_reshape_transform
from limelight.errors import (
    InputError,
    LayerError,
    MethodError,
    OptionError,
    TargetError,
    UnknownNameError,
)

Array = NDArray[Any]


class Plain(nn.Module):
    """One convolution, a pool and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.classifier = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits


@pytest.fixture
def model() -> Plain:
    torch.manual_seed(0)
    return Plain().eval()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 16, 20, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def expected(model: Plain, images: Tensor) -> Array:
    return GradCAM(model, [model.features])(images, [ClassifierOutputTarget(c) for c in (1, 3)])


# ---- targets ---------------------------------------------------------------------------------


def test_targets_may_be_classes_or_any_callable(
    model: Plain, images: Tensor, expected: Array
) -> None:
    cam = GradCAM(model, [model.features])
    same: list[Any] = [
        [1, 3],
        np.array([1, 3]),
        torch.tensor([1, 3]),
        [lambda o: o[1], lambda o: o[3]],
    ]
    for targets in same:
        np.testing.assert_array_equal(cam(images, targets), expected)
    np.testing.assert_allclose(cam(images[:1], 1), expected[:1], atol=1e-6)
    both = cam(images, 1)  # one class for all images
    np.testing.assert_allclose(both[0], expected[0], atol=1e-6)
    np.testing.assert_array_equal(both, cam(images, lambda o: o[1]))


def test_no_target_is_the_predicted_class(model: Plain, images: Tensor) -> None:
    cam = GradCAM(model, [model.features])
    predicted = model(images).argmax(1).tolist()
    np.testing.assert_array_equal(cam(images), cam(images, predicted))
    np.testing.assert_array_equal(cam(input_tensor=images, targets=None), cam(images, predicted))


def test_targets_that_do_not_fit(model: Plain, images: Tensor) -> None:
    cam = GradCAM(model, [model.features])
    with pytest.raises(TargetError, match=r"There are 1 targets for 2 images; one per image"):
        cam(images, [ClassifierOutputTarget(1)])
    with pytest.raises(TargetError, match=r"image 0 returned \[5\]; a tensor with one number"):
        cam(images, lambda o: o)
    with pytest.raises(TargetError, match=r"A target is 'cat'; a callable"):
        cam(images, ["cat", "dog"])  # type: ignore[list-item]


def test_the_forms_of_earlier_versions(model: Plain, images: Tensor, expected: Array) -> None:
    with pytest.warns(DeprecationWarning, match="write model.to"):
        cam = GradCAM(model=model, target_layers=[model.features], use_cuda=False)
    for category, new in (
        ([1, 3], "[ClassifierOutputTarget(1), ClassifierOutputTarget(3)]"),
        (np.array([1, 3]), "[ClassifierOutputTarget(1), ClassifierOutputTarget(3)]"),
    ):
        with pytest.warns(DeprecationWarning, match=re.escape("[1, 3] is the form")) as caught:
            maps = cam(input_tensor=images, target_category=category)
        assert str(caught[0].message).endswith(f"write targets={new}.")
        np.testing.assert_array_equal(maps, expected)
    for batch, new in ((1, "[ClassifierOutputTarget(3)]"), (2, "[ClassifierOutputTarget(3)] * 2")):
        with pytest.warns(DeprecationWarning, match="target_category=3 is the form") as caught:
            cam(images[:batch], target_category=3)
        assert str(caught[0].message).endswith(f"write targets={new}.")
    with pytest.warns(DeprecationWarning, match=r"write target_layers=\[layer\]"):
        GradCAM(model=model, target_layer=model.features)
    if not torch.cuda.is_available():
        with (
            pytest.warns(DeprecationWarning, match="use_cuda"),
            pytest.raises(OptionError, match="finds no GPU"),
        ):
            GradCAM(model, [model.features], use_cuda=True)


def test_use_cuda_in_its_earlier_place(images: Tensor) -> None:
    torch.manual_seed(1)
    model = TinyTransformer().eval()
    given = drop_in.HiResCAM(model, [model.blocks[0]], reshape)(images, 2)
    layers: list[Any] = [model.blocks[0]]
    arguments: list[Any] = [model, layers, False, reshape]
    with pytest.warns(DeprecationWarning, match="use_cuda=False"):
        cam = drop_in.HiResCAM(*arguments)
    np.testing.assert_array_equal(cam(images, 2), given)
    assert cam.compute_input_gradient is False
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    guided = drop_in.GuidedBackpropReLUModel(network)(images[:1], 2)
    for old in ({"use_cuda": False}, {"device": False}):
        with pytest.warns(DeprecationWarning, match="use_cuda=False"):
            same: Any = drop_in.GuidedBackpropReLUModel(network, **old)  # type: ignore[arg-type]
        np.testing.assert_array_equal(same(images[:1], 2), guided)


# ---- layers ----------------------------------------------------------------------------------


def test_layers_may_be_paths(model: Plain, images: Tensor, expected: Array) -> None:
    np.testing.assert_array_equal(GradCAM(model, ["features"])(images, [1, 3]), expected)


def test_a_container_is_a_list_of_layers(model: Plain, images: Tensor) -> None:
    listed = GradCAM(model, list(model.features))(images, 1)
    whole: Any = model.features
    np.testing.assert_array_equal(GradCAM(model, whole)(images, 1), listed)
    only: Any = model.features[0]
    assert GradCAM(model, only).target_layers == [model.features[0]]


def test_layers_that_do_not_fit(model: Plain) -> None:
    with pytest.raises(LayerError, match="a Linear outside the model"):
        GradCAM(model, [nn.Linear(2, 2)])
    with pytest.raises(UnknownNameError, match="There is no layer named 'feature'"):
        GradCAM(model, ["feature"])
    with pytest.raises(LayerError, match="target_layers is empty"):
        GradCAM(model, [])


class TinyTransformer(nn.Module):
    """Patches of 4 x 4 pixels, a class token in front, two blocks; as vision transformers are."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, width, 4, stride=4)
        self.cls_token = nn.Parameter(torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(torch.randn(1, 21, width) / 3)
        layer = nn.TransformerEncoderLayer(width, 2, 32, dropout=0.0, batch_first=True)
        self.blocks = nn.ModuleList(
            [layer, nn.TransformerEncoderLayer(width, 2, 32, 0.0, batch_first=True)]
        )
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch_embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], 1) + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        logits: Tensor = self.head(tokens[:, 0])
        return logits


def reshape(tokens: Tensor) -> Tensor:
    return tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, 4, 5)


@pytest.mark.parametrize("name", ["GradCAM", "HiResCAM", "LayerCAM", "EigenCAM", "ScoreCAM", "FEM"])
def test_reshape_transform_is_obeyed_and_not_needed(name: str, images: Tensor) -> None:
    torch.manual_seed(1)
    model = TinyTransformer().eval()
    layer = model.blocks[0]
    with untouched(model):
        given = getattr(drop_in, name)(model, [layer], reshape_transform=reshape)(images, 2)
    found = getattr(drop_in, name)(model, [layer])(images, 2)
    np.testing.assert_allclose(given, found, atol=1e-5)
    # Obeyed: a transform that turns the grid around turns the map around.
    turned = getattr(drop_in, name)(model, [layer], reshape_transform=lambda t: reshape(t).flip(-1))
    if name != "ScoreCAM":  # whose masks then lie elsewhere
        np.testing.assert_allclose(turned(images, 2), given[..., ::-1], atol=1e-5)


def test_methods_of_the_head_behind_a_transform(images: Tensor) -> None:
    torch.manual_seed(1)
    model = TinyTransformer().eval()
    shapley = drop_in.ShapleyCAM(model, [model.blocks[0]], reshape)(images[:1], 2)
    assert shapley.max() == pytest.approx(1)
    maps = drop_in.AblationCAM(model, [model.blocks[0]], reshape, batch_size=5)(images[:1], 2)
    kept = list[Tensor]()
    handle = model.blocks[0].register_forward_hook(lambda _m, _i, o: kept.append(o))
    with torch.no_grad():
        score = model(images[:1])[0, 2]
        handle.remove()
        raw = torch.zeros(4, 5)
        for k in range(16):
            tokens = kept[0].clone()
            tokens[:, :, k] = 0
            lost = score - model.head(model.blocks[1](tokens)[:, 0])[0, 2]
            raw += lost * reshape(kept[0])[0, k]
    peak = np.unravel_index(maps[0].argmax(), maps[0].shape)
    assert (peak[0] // 4, peak[1] // 4) == tuple(np.unravel_index(int(raw.argmax()), (4, 5)))


def test_a_transform_that_returns_no_grid(images: Tensor, model: Plain) -> None:
    cam = GradCAM(model, [model.features], reshape_transform=lambda t: t.flatten())
    with pytest.raises(LayerError, match=r"The reshape_transform returned \[.*\[2, K, height, wid"):
        cam(images, 1)


class Pyramid(nn.Module):
    """A backbone that returns levels by name, and a head over them."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Levels()
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        levels = self.backbone(x)
        logits: Tensor = self.head(torch.cat([f.mean((2, 3)) for f in levels.values()], 1))
        return logits


class Levels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.second = nn.Conv2d(4, 4, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        fine = self.first(x).relu()
        return OrderedDict([("0", fine), ("pool", self.second(fine).relu())])


@pytest.mark.parametrize("name", ["EigenCAM", "GradCAM", "AblationCAM"])
def test_a_pyramid_of_features(name: str, images: Tensor) -> None:
    torch.manual_seed(0)
    model = Pyramid().eval()
    cam = getattr(drop_in, name)(model, [model.backbone], fasterrcnn_reshape_transform)
    maps = cam(images, 2)
    assert maps.shape == (2, 16, 20)
    levels = model.backbone(images)
    for level in levels.values():
        level.retain_grad()
    model.head(torch.cat([f.mean((2, 3)) for f in levels.values()], 1))[:, 2].sum().backward()
    if name == "GradCAM":
        gradients = OrderedDict((n, level.grad) for n, level in levels.items())
        a, g = (fasterrcnn_reshape_transform(x).detach().numpy() for x in (levels, gradients))
        raw = np.maximum(np.einsum("bk,bkhw->bhw", g.mean((2, 3)), a), 0)
        assert (maps.reshape(2, -1).argmax(1) // 20 // 4).tolist() == (
            raw.reshape(2, -1).argmax(1) // 5
        ).tolist()
    if name == "AblationCAM":
        weights = cam.get_cam_weights(images, model.backbone, [], np.ones((2, 8, 4, 5)), None)
        scores = model(images)[:, 2]
        changed = {**levels, "pool": levels["pool"].clone()}
        changed["pool"][:, 1] = 0
        left = model.head(torch.cat([f.mean((2, 3)) for f in changed.values()], 1))[:, 2]
        lost = ((scores - left) / scores.abs()).detach().numpy()
        np.testing.assert_allclose(weights[:, 5], lost, atol=1e-5)


# ---- classes of one's own --------------------------------------------------------------------


def test_a_method_of_ones_own(model: Plain, images: Tensor, expected: Array) -> None:
    class Weights(BaseCAM):
        def get_cam_weights(
            self, input_tensor: Any, target_layers: Any, targets: Any, activations: Any, grads: Any
        ) -> Array:
            assert isinstance(grads, np.ndarray)
            assert [t.category for t in targets] == [1, 3]
            return np.asarray(grads.mean(axis=(2, 3)))

    class Image(BaseCAM):
        def get_cam_image(self, *arguments: Any) -> Array:
            _, layer, _, activations, grads, _ = arguments
            assert layer is model.features
            return np.asarray((grads.mean(axis=(2, 3), keepdims=True) * activations).sum(axis=1))

    for own in (Weights, Image):
        np.testing.assert_allclose(
            own(model, [model.features])(images, [1, 3]), expected, atol=1e-6
        )
    with pytest.raises(NotImplementedError, match="neither get_cam_weights nor get_cam_image"):
        BaseCAM(model, [model.features])(images, 1)


def test_a_class_derived_from_another(model: Plain, images: Tensor) -> None:
    class Signless(GradCAM):
        def get_cam_weights(self, *arguments: Any) -> Array:
            return np.abs(super().get_cam_weights(*arguments))

    raw = model.features(images).detach().numpy()
    weights = np.abs(model.classifier.weight.detach().numpy()[2])
    maps = Signless(model, [model.features])(images, 2)
    summed = np.einsum("k,bkhw->bhw", weights, raw)
    low, high = summed.min((1, 2), keepdims=True), summed.max((1, 2), keepdims=True)
    np.testing.assert_allclose(maps, (summed - low) / (high - low), atol=1e-5)


@pytest.mark.parametrize("name", ["GradCAM", "FullGrad"])
def test_the_size_of_maps_is_that_of_get_target_width_height(
    model: Plain, images: Tensor, name: str
) -> None:
    base = getattr(drop_in, name)
    size = []

    class Larger(base):  # type: ignore[misc, valid-type]
        def get_target_width_height(self, input_tensor: Tensor) -> tuple[int, int]:
            size.append(super().get_target_width_height(input_tensor))
            return 40, 33

    assert Larger(model, [model.features])(images, 1).shape == (2, 33, 40)
    assert size == [(20, 16)]  # width and height
    assert GradCAM(model, [model.features]).get_target_width_height(torch.ones(1, 1, 6, 8, 10)) == (
        10,
        8,
        6,
    )


def test_the_steps_of_a_call_may_be_ones_own(model: Plain, images: Tensor, expected: Array) -> None:
    class Layers(GradCAM):
        def compute_cam_per_layer(
            self, input_tensor: Tensor, targets: Any, eigen_smooth: bool
        ) -> list[Array]:
            (activations,) = self.activations_and_grads.activations
            (grads,) = self.activations_and_grads.gradients
            arrays = activations.cpu().data.numpy(), grads.cpu().data.numpy()
            raw = self.get_cam_image(input_tensor, self.target_layers[0], targets, *arrays)
            return [np.maximum(raw, 0)[:, None]]

    class Forward(GradCAM):
        def forward(
            self, input_tensor: Tensor, targets: Any = None, eigen_smooth: bool = False
        ) -> Array:
            self.outputs = self.activations_and_grads(input_tensor)
            loss = sum(target(o) for target, o in zip(targets, self.outputs, strict=True))
            loss.backward(retain_graph=True)
            by_layer = self.compute_cam_per_layer(input_tensor, targets, eigen_smooth)
            return self.aggregate_multi_layers(by_layer)

    targets = [ClassifierOutputTarget(c) for c in (1, 3)]
    for own in (Layers, Forward):
        cam = own(model, [model.features])
        for batch in (images.flip(0), images):  # a second call keeps nothing of the first
            maps = cam(batch, targets)
        np.testing.assert_allclose(maps, expected, atol=1e-6)


class Keeper:
    """Runs the model with hooks on it, and puts what it returns in a form of its own."""

    def __init__(self, model: nn.Module, layer: nn.Module) -> None:
        self.model = model
        self.handle = layer.register_forward_hook(self.keep_output)
        self.activations, self.gradients = list[Tensor](), list[Tensor]()

    def keep_output(self, _module: nn.Module, _args: object, output: Tensor) -> None:
        self.activations.append(output.detach())
        if output.requires_grad:
            register_hook: Any = output.register_hook
            register_hook(lambda grad: self.gradients.insert(0, grad))

    def __call__(self, x: Tensor) -> Any:
        self.activations, self.gradients = [], []
        return [{"logits": row} for row in self.model(x)]

    def release(self) -> None:
        self.handle.remove()


def test_activations_and_grads_may_be_replaced(
    model: Plain, images: Tensor, expected: Array
) -> None:
    with GradCAM(model, [model.features]) as cam, torch.no_grad():
        cam.activations_and_grads = Keeper(model, model.features)
        maps = cam(images, [lambda o: o["logits"][1], lambda o: o["logits"][3]])
        np.testing.assert_allclose(maps, expected, atol=1e-6)
    assert not model.features._forward_hooks
    with drop_in.EigenCAM(model, [model.features]) as cam:
        as_usual = cam(images)
        cam.activations_and_grads = Keeper(model, model.features)
        np.testing.assert_allclose(cam(images), as_usual, atol=1e-6)


def test_tensors_with_their_graph(images: Tensor) -> None:
    torch.manual_seed(0)
    model = TinyTransformer().eval()

    class Second(BaseCAM):
        def __init__(self, model: nn.Module, layers: list[Any]) -> None:
            super().__init__(model, layers, compute_input_gradient=True, detach=False)

        def get_cam_image(self, *arguments: Any) -> Array:
            images, _, _, activations, grads, _ = arguments
            assert images.grad is not None
            product = torch.autograd.grad(grads, activations, activations, retain_graph=True)[0]
            weights = reshape(grads - product / 2).mean((2, 3), keepdim=True)
            return (weights * reshape(activations)).sum(1).detach().numpy()

    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        own = Second(model, [model.blocks[0]])(images, 2)
    expected = drop_in.ShapleyCAM(model, [model.blocks[0]], reshape)(images, 2)
    np.testing.assert_allclose(own, expected, atol=1e-5)


def test_activations_and_gradients_by_hand(model: Plain, images: Tensor) -> None:
    keeper = ActivationsAndGradients(model, [model.features], None)
    assert keeper.gradients == []
    output = keeper(images)
    assert keeper.gradients == []
    output[:, 2].sum().backward()
    (activations,), (gradients,) = keeper.activations, keeper.gradients
    torch.testing.assert_close(activations, model.features(images).detach())
    slope = model.classifier.weight[2].detach() / (16 * 20)
    torch.testing.assert_close(gradients, slope[None, :, None, None].expand_as(gradients))
    keeper.release()
    assert keeper.activations == []
    assert not model.features._forward_hooks


# ---- a call and what is left after it --------------------------------------------------------


def test_the_model_is_left_alone_and_exceptions_pass(model: Plain, images: Tensor) -> None:
    model.train()
    before = [p.clone() for p in model.parameters()]

    def work() -> None:
        with GradCAM(model, [model.features]) as cam:
            cam(images, 1)
            raise IndexError("mine")

    with pytest.raises(IndexError, match="mine"), untouched(model):
        work()
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_outputs_after_a_call(model: Plain, images: Tensor) -> None:
    with GradCAM(model=model, target_layers=[model.features]) as cam:
        cam(images, 1)
        torch.testing.assert_close(cam.outputs, model(images).detach())
        cam.release()
    assert cam(images, 1).shape == (2, 16, 20)  # nothing was hooked, so nothing is lost


def test_activations_and_gradients_after_a_call(model: Plain, images: Tensor) -> None:
    cam = GradCAM(model, [model.features])
    cam(images, 2)
    (activations,), (gradients,) = (
        cam.activations_and_grads.activations,
        cam.activations_and_grads.gradients,
    )
    torch.testing.assert_close(activations, model.features(images).detach())
    slope = model.classifier.weight[2].detach() / (16 * 20)
    torch.testing.assert_close(gradients, slope[None, :, None, None].expand_as(gradients))
    eigen = drop_in.EigenCAM(model, [model.features])
    eigen(images)
    assert eigen.activations_and_grads.gradients == []


def test_a_map_that_shows_nothing_says_why(model: Plain, images: Tensor) -> None:
    cam = GradCAM(model, [model.features])
    with torch.no_grad():
        model.classifier.weight[1] = -1
    with pytest.warns(UserWarning, match="image 0, 1 shows nothing. no-positive-evidence"):
        maps = cam(images, 1)
    assert not maps.any()
    assert [[s.name for s in layer] for layer in cam.statuses] == [["no-positive-evidence"] * 2]
    with pytest.warns(UserWarning, match="disconnected"):
        assert not cam(images, lambda o: o.sum() * 0).any()


def test_methods_that_run_the_network_make_maps_in_a_call_alone(
    model: Plain, images: Tensor
) -> None:
    cam = drop_in.ScoreCAM(model, [model.features])
    with pytest.raises(MethodError, match="ScoreCAM reads more of the network"):
        cam.get_cam_weights(images, model.features, [], np.ones((1, 8, 4, 4)), None)
    with pytest.raises(OptionError, match="ratio_channels_to_ablate is 0"):
        drop_in.AblationCAM(model, [model.features], ratio_channels_to_ablate=0)

    class Own(drop_in.AblationLayer):
        def set_next_batch(self, *arguments: Any) -> None: ...

    with pytest.raises(OptionError, match="Own defines set_next_batch, which is not run"):
        drop_in.AblationCAM(model, [model.features], ablation_layer=Own())


class Segmenter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
        self.classifier = nn.Conv2d(6, 4, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": self.classifier(self.features(x))}


def test_a_place_stays_the_same_place_in_augmented_images(images: Tensor) -> None:
    torch.manual_seed(0)
    model = Segmenter().eval()
    mask = np.zeros((16, 20), dtype=np.float32)
    mask[4:9, 2:6] = 1  # on the left
    cam = drop_in.HiResCAM(model, [model.features])
    targets = [SemanticSegmentationTarget(2, mask)] * 2
    maps = cam(images, targets, aug_smooth=True)
    left, right = maps[:, :, :9].sum(), maps[:, :, 11:].sum()
    assert left > 0
    assert right == 0
    assert cam.outputs["out"].shape == (2, 4, 16, 20)


def test_a_box_is_mirrored_with_the_image() -> None:
    from limelight.compat.augmentation import FlipAndFactor, turned_back

    target = FasterRCNNBoxScoreTarget([1], [np.array([0.0, 0.0, 4.0, 6.0])])
    (read,) = turned_back([target], FlipAndFactor(flip=True, factor=1.0), torch.zeros(1, 3, 8, 20))
    seen = {
        "boxes": torch.tensor([[16.0, 0.0, 20.0, 6.0]]),  # of the mirror image, 20 pixels wide
        "labels": torch.tensor([1]),
        "scores": torch.tensor([0.5]),
    }
    assert float(read(seen)) == pytest.approx(1.5)


def test_signals_and_volumes() -> None:
    torch.manual_seed(0)
    volume = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    maps = drop_in.HiResCAM(volume, ["0"])(torch.randn(1, 1, 6, 8, 10), 1)
    assert maps.shape == (1, 6, 8, 10)
    assert maps.min() >= 0  # a cubic spline would overshoot
    signal = nn.Sequential(nn.Conv1d(2, 4, 3, padding=1), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    assert drop_in.HiResCAM(signal, ["0"])(torch.randn(2, 2, 30), 1).shape == (2, 30)


def test_windows_of_sess(model: Plain, images: Tensor) -> None:
    with pytest.raises(OptionError, match="pool is 'min'"):
        drop_in.SESS(model, [model.features], pool="min")
    with pytest.raises(ValueError, match="smaller than the window of 16 pixels"):
        drop_in.SESS(model, [model.features], scales=[8])(images, 1)
    sess = drop_in.SESS(model, [model.features], num_scales=1, smooth=False, window_size=16)
    (first, second) = (
        sess(images[:1], 1)[0],
        GradCAM(model, [model.features])(images[:1, :, :, :16], 1)[0],
    )
    # Two windows cover the image; where only the first one lies, its map is that of GradCAM.
    is_seen = second[:, :4] > 0.05
    share = first[:, :4][is_seen] / second[:, :4][is_seen]
    assert is_seen.any()
    assert np.std(share) < 1e-5


# ---- names and places ------------------------------------------------------------------------


def test_install_puts_the_drop_in_under_its_name(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "import pytorch_grad_cam.metrics.road\n"
        "from pytorch_grad_cam import GradCAM\n"
        "from pytorch_grad_cam.metrics.ARCC import ARCC\n"
        "from pytorch_grad_cam.utils.image import show_cam_on_image\n"
        "import limelight.compat.pytorch_grad_cam as drop_in\n"
        "assert drop_in.GradCAM is GradCAM\n"
        "assert not {'cv2', 'sklearn', 'ttach'} & set(sys.modules)\n"
        "print(sys.argv[1:], __name__)\n"
    )
    run = subprocess.run(
        [sys.executable, "-m", "limelight.compat", str(script), "--cat", "7"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout.strip() == "['--cat', '7'] __main__", run.stderr
    missing = subprocess.run(
        [sys.executable, "-m", "limelight.compat", str(tmp_path / "none.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert missing.returncode == 1
    assert "There is no script" in missing.stderr


def test_install_refuses_where_the_library_itself_was_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_grad_cam", sys)
    with pytest.raises(ImportError, match="was imported before"):
        limelight.compat.install()


@pytest.mark.parametrize("transform", [None, lambda output: output])
def test_runs_are_shown_on_a_terminal_alone(
    transform: Any, model: Plain, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    cam = drop_in.ScoreCAM(model, [model.features], transform)
    cam(images, 1)
    assert not shown.getvalue()
    monkeypatch.setattr(shown, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    cam(images, 1)
    assert "ScoreCAM" in shown.getvalue()
    assert "18/18" in shown.getvalue()  # eight channels and the black image, of two images


def test_images_that_are_no_tensor(model: Plain, images: Tensor) -> None:
    cam = GradCAM(model, [model.features])
    with pytest.raises(InputError, match=r"input_tensor is a ndarray; a tensor .* was expected"):
        cam(images.numpy(), 1)  # type: ignore[arg-type]


def test_a_target_of_limelights_own(model: Plain, images: Tensor, expected: Array) -> None:
    cam = GradCAM(model, [model.features])
    np.testing.assert_array_equal(cam(images, limelight.AnyOf([1]))[0], cam(images, 1)[0])
