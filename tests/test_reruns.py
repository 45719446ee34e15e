"""Running a network many times: nothing is written on that is the user's, or on record."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

import limelight
from helpers.networks import ready
from helpers.tolerances import assert_agrees, assert_is_slope
from limelight.errors import MethodError, TargetError
from limelight.methods import METHODS

SHORT = {
    "rise": "rise:masks=12",
    "kernelshap": "kernelshap:segments=4,samples=20",
    "smoothgrad": "smoothgrad:samples=3",
    "integrated-gradients": "integrated-gradients:steps=4",
    "sscam": "sscam:samples=2",
    "iscam": "iscam:samples=2",
}
METHODS_OF_A_CNN = [
    SHORT.get(name, name)
    for name, row in METHODS.items()
    if row.family not in ("attention", "words") and name != "cam"
]
RERUN = [SHORT.get(name, name) for name, row in METHODS.items() if row.needs & {"head", "network"}]


class Preprocesses(nn.Module):
    """Normalises its input itself, in place or not."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.in_place = in_place
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
        self.mix = nn.Conv2d(6, 4, 3, stride=2)
        self.fc = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = x.sub_(0.3).mul_(2) if self.in_place else (x - 0.3) * 2
        return cast("Tensor", self.fc(self.mix(self.features(x)).tanh().mean((2, 3))))


def pictures(count: int = 2) -> Tensor:
    return torch.randn(count, 3, 10, 12, dtype=torch.float64)


@pytest.mark.parametrize("views", [None, limelight.flips()], ids=["plain", "flips"])
@pytest.mark.parametrize("method", METHODS_OF_A_CNN)
def test_a_model_that_writes_on_its_input_has_the_same_map(
    method: str, views: limelight.Views | None
) -> None:
    images = pictures()
    layer = "features" if METHODS[method.split(":", maxsplit=1)[0]].place == "layer" else None
    expected, found = (
        limelight.explain(
            ready(Preprocesses(in_place)),
            given,
            target=[1, 2],
            method=method,
            layer=layer,
            views=views,
        )
        for in_place, given in ((False, images), (True, images.clone()))
    )
    assert_agrees(found.raw, expected.raw)
    assert torch.equal(found.image, images)


def test_the_user_s_own_images_are_not_written_on() -> None:
    images = pictures()
    before = images.clone()
    limelight.compare(ready(Preprocesses(in_place=True)), images, methods=RERUN)
    assert torch.equal(images, before)


class Masks(nn.Module):
    """Writes, under a mask, on what an early layer put out, after a later one has run."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.in_place = in_place
        torch.manual_seed(0)
        self.side = nn.Conv2d(3, 4, 3, padding=1)
        self.main = nn.Conv2d(3, 4, 3, padding=1)
        self.fc = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        side = self.side(x)
        main = self.main(x).tanh()
        if self.in_place:
            side[side < 0] *= 3
        else:
            side = torch.where(side < 0, 3 * side, side)
        return cast("Tensor", self.fc((side * main).mean((2, 3))))


@pytest.mark.filterwarnings("ignore:Use of index_put_ on expanded tensors")
@pytest.mark.parametrize("method", ["ablationcam", "reciprocam"])
def test_a_record_that_is_shared_by_many_rows_is_not_written_on(method: str) -> None:
    images = pictures(1)
    expected, found = (
        limelight.explain(ready(Masks(in_place)), images, target=1, method=method, layer="main")
        for in_place in (False, True)
    )
    assert_agrees(found.raw, expected.raw)
    at = limelight.cut(ready(Masks(True)), images, "main")
    rows = at.activations.repeat(3, 1, 1, 1)
    first = at.head(rows)
    assert_agrees(at.head(rows), first)
    assert_agrees(first, at.output.expand(3, -1))


def test_what_a_network_keeps_for_later_can_take_part_in_training() -> None:
    class Caches(Preprocesses):
        kept: dict[int, Tensor]

        def __init__(self) -> None:
            super().__init__(in_place=False)
            self.kept = {}

        def forward(self, x: Tensor) -> Tensor:
            if x.shape[-1] not in self.kept:
                self.kept[x.shape[-1]] = torch.linspace(0.5, 1, x.shape[-1]).to(x)
            return super().forward(x * self.kept[x.shape[-1]])

    model = ready(Caches())
    limelight.explain(model, pictures(), target=1, method="rise:masks=4")
    model.kept = {}
    limelight.explain(model, pictures(), target=1, method="rise:masks=4")
    loss = model(pictures().requires_grad_()).sum()
    loss.backward()
    assert model.fc.weight.grad is not None


@pytest.mark.parametrize("method", METHODS_OF_A_CNN)
def test_no_tensor_waits_for_the_garbage_collector(method: str) -> None:
    model, images = ready(Preprocesses(in_place=False)), pictures()
    layer = "features" if METHODS[method.split(":", maxsplit=1)[0]].place == "layer" else None

    def explain() -> None:
        limelight.explain(model, images, target=1, method=method, layer=layer)

    def count() -> int:
        return sum(issubclass(type(one), Tensor) for one in gc.get_objects())

    explain()
    gc.collect()
    gc.disable()
    try:
        before = count()
        for _ in range(3):
            explain()
        assert count() <= before
    finally:
        gc.enable()


@pytest.mark.parametrize("method", ["rise:masks=5", "scorecam", "integrated-gradients:steps=3"])
def test_a_squeeze_that_eats_the_batch_is_named(method: str) -> None:
    class Squeezes(Preprocesses):
        def __init__(self) -> None:
            super().__init__(in_place=False)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).squeeze()

    with pytest.raises(TargetError, match=r"For 1 images the model returned logits .*squeeze"):
        limelight.explain(
            ready(Squeezes()),
            pictures(),
            target=1,
            method=method,
            layer="features" if method == "scorecam" else None,
            chunk=1,
        )


# NaN


@pytest.mark.parametrize(
    "method",
    ["gradcam", "eigencam", "eigengradcam", "kpcacam", "kernelshap:samples=8", "rise:masks=4"],
)
def test_nan_is_a_status_and_not_an_exception_and_stays_with_its_image(method: str) -> None:
    class Breaks(Preprocesses):
        def __init__(self) -> None:
            super().__init__(in_place=False)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(torch.where(x[:, :1, :1, :1] > 50, torch.nan, x))

    images = pictures()
    images[1, 0, 0, 0] = 60
    layer = "features" if METHODS[method.split(":", maxsplit=1)[0]].place == "layer" else None
    found = limelight.explain(ready(Breaks()), images, target=1, method=method, layer=layer)
    assert found.status[1].name == "not-finite"
    assert found.status[0].name != "not-finite"
    assert found.heatmap.isfinite().all()


# Differentiable, by every row that says it is


@pytest.mark.parametrize(
    "method", ["gradcam", "gradcam++", "xgradcam", "shapleycam", "hirescam", "layercam", "saliency"]
)
def test_the_gradient_of_every_differentiable_map_is_that_of_finite_differences(
    method: str,
) -> None:
    model, images = ready(Preprocesses(in_place=False)), pictures()
    parameter = model.mix.weight
    layer = "features" if METHODS[method].place == "layer" else None

    def loss() -> Tensor:
        found = limelight.explain(
            model,
            images,
            target=lambda y: y.softmax(1)[:, 1],
            method=method,
            layer=layer,
            differentiable=True,
        )
        return found.raw.square().sum()

    (gradient,) = torch.autograd.grad(loss(), [parameter])
    assert_is_slope(gradient, loss, parameter, at=(1, 2, 0, 1), step=1e-5)


# CAM


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    "pool",
    [
        lambda a: a[:, :, :3, :3].mean((2, 3)),
        lambda a: (a * a.sum(1, keepdim=True).flatten(2).softmax(2).reshape(a[:, :1].shape)).sum(
            (2, 3)
        ),
    ],
    ids=["of a corner", "by attention"],
)
def test_cam_is_refused_behind_another_pool_in_every_precision(
    pool: Callable[[Tensor], Tensor], dtype: torch.dtype
) -> None:
    class Pools(Preprocesses):
        def __init__(self) -> None:
            super().__init__(in_place=False)

        def forward(self, x: Tensor) -> Tensor:
            return cast("Tensor", self.fc(pool(self.mix(self.features(x)))))

    model = ready(Pools(), dtype)
    with pytest.raises(MethodError, match="average pool and one linear layer"):
        limelight.explain(model, pictures().to(dtype), method="cam", layer="mix")


# Networks without a grid, and with a padding mask


def test_a_network_without_a_grid_is_compared_at_its_input() -> None:
    model = ready(nn.Sequential(nn.Flatten(), nn.Linear(360, 6), nn.ReLU(), nn.Linear(6, 4)))
    found = limelight.compare(model, pictures(), methods=["gradcam", "saliency", "occlusion"])
    assert [one.method for one in found] == ["saliency", "occlusion"]
    assert "No layer to cut at was found" in found.skipped[0].reason


def test_the_input_can_be_one_of_the_layers() -> None:
    model, images = ready(Preprocesses(in_place=False)), pictures()
    (found,) = limelight.compare(model, images, methods="gradcam", layers=limelight.INPUT)
    expected = limelight.explain(model, images, method="gradcam", layer=limelight.INPUT)
    assert_agrees(found.raw, expected.raw)


class Padded(nn.Module):
    """A transformer that hides some tokens, and one token from itself all over."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, 8, 2, stride=2)
        layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Any:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        hidden = torch.zeros(tokens.shape[:2], dtype=torch.bool)
        hidden[:, -4:] = True
        return self.fc(self.encoder(tokens, src_key_padding_mask=hidden).mean(1))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("method", ["gradcam", "rollout", "legrad", "attention-x-gradient"])
def test_a_transformer_with_a_padding_mask(method: str) -> None:
    found = limelight.explain(ready(Padded()), pictures(), target=1, method=method)
    assert found.raw.isfinite().all()
    assert found.raw.shape == (2, 5, 6)


def test_tokens_that_attend_to_nothing_do_not_break_the_rest() -> None:
    class Blind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches, self.fc = nn.Conv2d(3, 8, 2, stride=2), nn.Linear(8, 5)
            self.norm = nn.LayerNorm(8)

        def forward(self, x: Tensor) -> Any:
            tokens = self.norm(self.patches(x).flatten(2).transpose(1, 2))
            mask = torch.ones(30, 30, dtype=torch.bool)
            mask[3] = False
            heads = tokens[:, None]
            mixed = nn.functional.scaled_dot_product_attention(heads, heads, heads, mask)
            return self.fc(mixed[:, 0].mean(1))

    found = limelight.explain(ready(Blind()), pictures(), target=1, method="rollout")
    assert found.status[0].ok


class WritesOnWhatItIsGiven(nn.Module):
    """A network that goes on in place behind its layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.relu = nn.Conv2d(3, 6, 3), nn.ReLU(inplace=True)
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.fc(self.relu(self.conv(x)).mean((2, 3)))
        return found


@pytest.mark.parametrize("rows", [1, 5])
def test_activations_that_a_head_is_given_stay_as_they_are(rows: int) -> None:
    cut = limelight.cut(ready(WritesOnWhatItIsGiven()), pictures()[:1], "conv")
    given = cut.activations.repeat(rows, 1, 1, 1) - 0.1
    before = given.clone()
    outputs = [cut.head(given) for _ in range(3)]
    assert torch.equal(given, before)
    assert (given < 0).any()
    for output in outputs:
        assert_agrees(output, outputs[0])
    for _ in range(3):  # what is spent may be written on, and gives the same
        assert_agrees(cut.head(given.clone(), may_overwrite=True), outputs[0])


@pytest.mark.parametrize("method", ["ablationcam", "reciprocam"])
def test_a_network_that_writes_in_place_has_the_same_map(method: str) -> None:
    model, images = ready(WritesOnWhatItIsGiven()), pictures()
    found = limelight.explain(model, images, target=1, method=method, layer="conv", chunk=3)
    model.relu.inplace = False
    due = limelight.explain(model, images, target=1, method=method, layer="conv", chunk=3)
    assert_agrees(found.raw, due.raw)


def test_fewer_variants_of_large_images_run_together() -> None:
    log = list[int]()

    class Logs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            log.append(len(x))
            found: Tensor = self.fc(x.mean((2, 3)))
            return found

    for side, together in ((32, 8), (600, 1)):
        log.clear()
        limelight.explain(Logs(), torch.rand(1, 3, side, side), method="rise:masks=12")
        assert max(log) == together
