from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import limelight
from helpers.tolerances import assert_agrees
from limelight.errors import MethodError, TargetError, UnknownNameError
from limelight.targets import Target


class Pooled(nn.Module):
    """Average pool and one linear layer after a convolution."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.features = nn.Sequential(self.conv, nn.ReLU())
        self.fc = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.features(x).mean((2, 3)))
        return logits


@pytest.fixture(scope="module")
def network() -> limelight.Network:
    return limelight.load_model()


def one(
    network: limelight.Network, path: Path, target: Target = None, method: str = "gradcam"
) -> limelight.PhotoResult:
    (result,) = limelight.explain_photos(network, [path], [target], method=method)
    assert result.error is None
    return result


# ---- real photos -----------------------------------------------------------------------------


@pytest.mark.parametrize(("photo", "inside"), [("bird", 3), ("samoyed", 0)])
@pytest.mark.parametrize("method", ["gradcam", "cam"])
def test_heat_lies_on_the_animal(
    network: limelight.Network, shared: Path, photo: str, inside: int, method: str
) -> None:
    result = one(network, shared / "photos" / f"{photo}.jpg", method=method)
    mask = Image.open(shared / "photos" / f"{photo}_mask.png")
    seen = torch.from_numpy(np.array(network.preprocess.view(mask)) == inside)
    heat = result.explanations[0].heatmap_at(tuple(seen.shape))[0]
    share = heat[seen].sum() / heat.sum()
    assert share / seen.float().mean() >= 1.4


@pytest.mark.parametrize("dog", ["bull mastiff", "boxer"])
def test_cat_and_dog_light_up_different_animals(
    network: limelight.Network, shared: Path, dog: str
) -> None:
    (result,) = limelight.explain_photos(
        network, [shared / "photos" / "both.png"], ["tiger cat", dog]
    )
    cat_heat, dog_heat = (e.heatmap_at((224, 224))[0] for e in result.explanations)
    # The dog sits in the upper half of the photo, the cat lies in the lower.
    assert cat_heat[112:].sum() / cat_heat.sum() > 0.7
    assert dog_heat[:112].sum() / dog_heat.sum() > 0.7


def test_the_default_network_knows_real_photos(network: limelight.Network, shared: Path) -> None:
    photos = {
        "samoyed": "Samoyed",
        "parrot": "macaw",
        "hot_dog": "hotdog",
        "dragonfly": "dragonfly",
    }
    results = limelight.explain_photos(
        network, [shared / "photos" / f"{name}.jpg" for name in photos]
    )
    assert [r.explanations[0].label[0] for r in results] == list(photos.values())


def test_cam_is_gradcam_times_the_number_of_cells(network: limelight.Network, shared: Path) -> None:
    path = shared / "photos" / "cat.jpg"
    cam, grad = (one(network, path, method=m).explanations[0] for m in ("cam", "gradcam"))
    assert_agrees(cam.raw, grad.raw * math.prod(grad.raw.shape[1:]))
    assert_agrees(cam.heatmap, grad.heatmap)


# ---- the result ------------------------------------------------------------------------------


def test_result_says_everything() -> None:
    torch.manual_seed(0)
    model, images = Pooled(), torch.randn(2, 3, 12, 10)
    result = limelight.explain(model, images, target=["b", 2], classes=["a", "b", "c"])
    assert result.raw.shape == (2, 12, 10)
    assert result.heatmap.shape == (2, 12, 10)
    assert result.label == ("b", "c")
    assert result.index is not None
    assert result.index.tolist() == [1, 2]
    assert torch.equal(result.score, model(images)[[0, 1], [1, 2]])
    assert result.layer == "features"
    assert result.reason.startswith("the last layer with a grid")
    assert len(result) == 2
    assert result[1].label == ("c",)
    assert torch.equal(result[-1].output, result.output[1:])
    with pytest.raises(IndexError, match="There are 2 images"):
        result[2]
    named = limelight.explain(model, images, layer="features.0")
    assert (named.layer, named.reason) == ("features.0", "named")


def test_several_targets_come_from_one_forward() -> None:
    torch.manual_seed(0)
    model, images = Pooled(5), torch.randn(4, 3, 8, 8)
    limelight.explain(model, images)  # the layer is found
    runs = []
    model.fc.register_forward_hook(lambda *_: runs.append(1))
    results = limelight.explain_each(model, images, limelight.top(3))
    assert len(runs) == 1
    order = model(images).argsort(1, descending=True)
    for k, result in enumerate(results):
        assert result.index is not None
        assert torch.equal(result.index, order[:, k])
        alone = limelight.explain(model, images, target=order[:, k])
        assert_agrees(result.raw, alone.raw)


def test_score_times_a_constant_gives_the_same_heatmap() -> None:
    torch.manual_seed(0)
    model, images = Pooled().double(), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    plain = limelight.explain(model, images, target=lambda y: y[:, 0])
    for scale in (2.0, 1e-5, 1e-30):

        def target(y: Tensor, scale: float = scale) -> Tensor:
            return y[:, 0] * scale

        scaled = limelight.explain(model, images, target=target)
        assert_agrees(plain.heatmap, scaled.heatmap)
        assert_agrees(plain.raw * scale, scaled.raw)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_give_a_map_of_the_same_picture(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model, images = Pooled(), torch.randn(2, 3, 16, 16)
    plain = limelight.explain(model, images, target=1)
    other = limelight.explain(model.to(dtype), images.to(dtype), target=1)
    assert other.heatmap.dtype is (torch.float64 if dtype is torch.float64 else torch.float32)
    assert (other.heatmap - plain.heatmap).abs().max() < 0.05


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_signals_pictures_and_volumes_take_the_same_path(axes: int) -> None:
    torch.manual_seed(0)
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv(2, 6, 3, padding=1, stride=2)
            self.fc = nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.fc(self.conv(x).relu().flatten(2).mean(2))
            return logits

    size = (16, 12, 8)[:axes]
    result = limelight.explain(Net(), torch.randn(2, 2, *size))
    assert result.raw.shape == (2, *(s // 2 for s in size))
    assert result.heatmap.shape == (2, *size)


# ---- what a heatmap is worth -----------------------------------------------------------------


def test_status_ok() -> None:
    torch.manual_seed(0)
    result = limelight.explain(Pooled(), torch.randn(1, 3, 8, 8), target=lambda y: y.abs().sum(1))
    assert result.status[0].ok
    assert str(result.status[0]) == "ok"


def test_status_is_that_of_each_image() -> None:
    model = Pooled(1)
    nn.init.constant_(model.conv.weight, 1.0)
    assert model.conv.bias is not None
    nn.init.zeros_(model.conv.bias)
    nn.init.ones_(model.fc.weight)
    ramp = torch.linspace(0, 1, 64).reshape(1, 1, 8, 8).expand(1, 3, 8, 8)
    result = limelight.explain(model, torch.cat([ramp, torch.zeros(1, 3, 8, 8)]), target=0)
    assert [status.name for status in result.status] == ["ok", "flat"]
    assert result.heatmap[0].max() == 1
    assert result.heatmap[1].max() == 0


def test_status_no_positive_evidence() -> None:
    model = Pooled(1)
    nn.init.constant_(model.fc.weight, -1.0)
    result = limelight.explain(model, torch.randn(1, 3, 8, 8), target=0)
    assert result.status[0].name == "no-positive-evidence"
    assert result.raw.min() < 0
    assert result.heatmap.max() == 0
    assert "signed raw map" in result.status[0].message


def test_status_disconnected_without_any_gradient() -> None:
    model = Pooled()
    nn.init.zeros_(model.fc.weight)
    result = limelight.explain(model, torch.randn(1, 3, 8, 8), target=0)
    assert result.status[0].name == "disconnected"
    assert "weights are zero" in result.status[0].message
    constant = limelight.explain(
        Pooled(), torch.randn(2, 3, 8, 8), target=lambda y: torch.zeros(len(y))
    )
    assert [status.name for status in constant.status] == ["disconnected"] * 2


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_status_not_finite(value: float) -> None:
    model = Pooled()
    with torch.no_grad():
        model.fc.weight[0, 0] = value
    result = limelight.explain(model, torch.rand(1, 3, 8, 8), target=0)
    assert result.status[0].name == "not-finite"
    assert torch.equal(result.heatmap, torch.zeros_like(result.heatmap))


def test_last_block_of_a_vit_names_the_layer_to_take() -> None:
    import timm

    model = timm.create_model("vit_tiny_patch16_224", depth=2).eval()
    result = limelight.explain(model, torch.randn(1, 3, 224, 224), layer="blocks.1")
    assert result.status[0].name == "disconnected"
    assert "layer='blocks.1.norm1'" in result.status[0].message
    assert limelight.explain(model, torch.randn(1, 3, 224, 224)).layer == "blocks.1.norm1"


# ---- bad input -------------------------------------------------------------------------------


def test_cam_refuses_other_heads() -> None:
    class Deep(Pooled):
        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.fc(self.features(x).amax((2, 3)))
            return logits

    with pytest.raises(MethodError, match="average pool and one linear layer"):
        limelight.explain(Deep(), torch.randn(1, 3, 8, 8), method="cam")


def test_cam_of_a_callable_target() -> None:
    torch.manual_seed(0)
    model, images = Pooled().double(), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    margin = limelight.explain(model, images, target=lambda y: y[:, 0] - y[:, 1], method="cam")
    zero, first = limelight.explain_each(model, images, [0, 1], method="cam")
    assert_agrees(margin.raw, zero.raw - first.raw)


def test_unknown_method_is_refused_before_any_work() -> None:
    def explode(_: object) -> None:
        raise AssertionError("the model ran")

    model = Pooled()
    model.register_forward_pre_hook(lambda *_: explode(None))
    with pytest.raises(UnknownNameError, match=r"no method named 'grad-cem'.*'gradcam'"):
        limelight.explain(model, torch.randn(1, 3, 8, 8), method="grad-cem")


def test_class_names_must_belong_to_the_model() -> None:
    with pytest.raises(TargetError, match="There are 2 class names for a model with 3 classes"):
        limelight.explain(Pooled(), torch.randn(1, 3, 8, 8), classes=["a", "b"])


def test_an_exception_of_the_models_own_comes_through() -> None:
    class Odd(Pooled):
        def forward(self, x: Tensor) -> Tensor:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        limelight.explain(Odd(), torch.randn(1, 3, 8, 8), layer="features")


def test_a_bad_photo_among_good_ones_is_told_and_the_rest_is_done(
    network: limelight.Network, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "c", "d"):
        pixels = rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes(b"nonsense")
    paths = [tmp_path / f"{name}.png" for name in "abcd"]
    results = list(limelight.explain_photos(network, paths, batch=3))
    assert [result.path for result in results] == paths
    assert [result.error is None for result in results] == [True, False, True, True]
    (alone,) = limelight.explain_photos(network, paths[3:])
    ours, theirs = results[3].explanations[0], alone.explanations[0]
    assert_agrees(ours.raw, theirs.raw)
