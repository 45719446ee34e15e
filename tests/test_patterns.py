"""Ways in which people write models, each of which once went wrong."""

from __future__ import annotations

import gc
from collections import namedtuple
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import limelight
from helpers.tolerances import assert_agrees
from limelight.errors import LayerError

IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.b = nn.Conv2d(6, 8, 3, padding=1, stride=2)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.b(self.a(x)).mean((2, 3)))


def expected() -> limelight.Explanation:
    return limelight.explain(Net().eval(), IMAGES, target=1, layer="b")


def same_map(model: nn.Module, layer: str = "b", **options: Any) -> None:
    result = limelight.explain(model, IMAGES, target=1, layer=layer, **options)
    assert result.status[0].ok
    assert_agrees(result.raw, expected().raw)


class PassesNamesOn(nn.Module):
    """Not its inner network, though it answers for it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.inner, name)

    def forward(self, x: Tensor) -> Any:
        return self.inner(x * 3)


def test_a_wrapper_that_passes_names_on_is_not_taken_for_what_it_wraps() -> None:
    inner = Net().eval()
    inner._orig_mod = Net().eval()
    result = limelight.explain(PassesNamesOn(inner), IMAGES, layer="inner.b")
    assert_agrees(result.output, inner(IMAGES * 3))


class Helper:
    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def run(self, x: Tensor) -> Any:
        return self.module(x)


class WithHelper(Net):
    def __init__(self) -> None:
        super().__init__()
        self.helper = Helper(self.a)

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.b(self.helper.run(x)).mean((2, 3)))


def with_closure() -> Net:
    model = Net()
    plain = model.forward

    def forward(x: Tensor) -> Any:
        return plain(x)

    model.forward = forward  # type: ignore[method-assign]
    return model


def with_compiled_forward() -> Net:
    model = Net()
    model.forward = torch.compile(model.forward)  # type: ignore[method-assign]
    return model


@pytest.mark.parametrize("make", [WithHelper, with_closure, with_compiled_forward])
@pytest.mark.parametrize("training", [False, True])
def test_what_is_reached_around_the_module_tree_is_followed(make: Any, training: bool) -> None:
    model = make().train(training)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    same_map(model)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert model.training is training


def test_a_long_vocabulary_and_a_ring_are_not_searched_for_modules() -> None:
    model = Net().eval()
    ring: dict[str, Any] = {}
    ring["self"] = ring
    vars(model).update(ring=ring, words={str(i): i for i in range(100_000)})
    same_map(model)
    assert vars(model)["ring"] is ring


class FrozenMiddle(Net):
    def forward(self, x: Tensor) -> Any:
        h = self.a(x)
        with torch.no_grad():
            h = self.b(h)
        return self.fc(h.mean((2, 3)))


class FrozenBody(Net):
    @torch.no_grad()
    def body(self, x: Tensor) -> Any:
        return self.b(self.a(x))

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.body(x).mean((2, 3)))


@pytest.mark.parametrize("make", [FrozenMiddle, FrozenBody])
@pytest.mark.parametrize("layer", ["a", "b", None])
def test_grad_switched_off_inside_the_model_is_overruled(make: Any, layer: str | None) -> None:
    result = limelight.explain(make().eval(), IMAGES, target=1, layer=layer)
    plain = limelight.explain(Net().eval(), IMAGES, target=1, layer=layer)
    assert_agrees(result.raw, plain.raw)
    assert result.layer == plain.layer
    assert torch.is_grad_enabled()


def test_inference_mode_inside_the_model_is_named() -> None:
    class Inferring(Net):
        def forward(self, x: Tensor) -> Any:
            with torch.inference_mode():
                h = self.b(self.a(x))
            return self.fc(h.mean((2, 3)))

    with pytest.raises(LayerError, match="inference_mode inside the model's own forward"):
        limelight.explain(Inferring().eval(), IMAGES, layer="b")


@pytest.mark.parametrize("layer", [None, "blocks.1.norm1"])
def test_activation_checkpointing(layer: str | None) -> None:
    import timm

    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", depth=2, img_size=32).eval()
    images = torch.randn(1, 3, 32, 32)
    plain = limelight.explain(model, images, target=1, layer=layer)
    model.set_grad_checkpointing(True)
    checkpointed = limelight.explain(model, images, target=1, layer=layer)
    assert checkpointed.layer == plain.layer == "blocks.1.norm1"
    assert_agrees(checkpointed.raw, plain.raw)


Named = namedtuple("Named", ["embedding", "logits"])


class Nested(Net):
    def forward(self, x: Tensor) -> Any:
        h = self.b(self.a(x)).mean((2, 3))
        return Named(h, self.fc(h))


def test_logits_of_a_namedtuple_are_found() -> None:
    same_map(Nested().eval())


def test_a_target_may_read_what_holds_no_logits() -> None:
    class Listed(Net):
        def forward(self, x: Tensor) -> Any:
            return [{"boxes": [super().forward(x)]}]

    result = limelight.explain(Listed().eval(), IMAGES, target=lambda y: y[0]["boxes"][0][:, 1])
    assert_agrees(result.raw, expected().raw)


def test_a_body_that_cannot_be_differentiated_asks_for_a_layer() -> None:
    class Detour(Net):
        def forward(self, x: Tensor) -> Any:
            h = self.a(x)
            h = torch.from_numpy(h.numpy() * 1)  # refuses tensors that require grad
            return self.fc(self.b(h).mean((2, 3)))

    with pytest.raises(LayerError, match=r"The model runs, but.*Name a layer"):
        limelight.explain(Detour().eval(), IMAGES)
    same_map(Detour().eval())


def test_a_model_that_cannot_run_raises_its_own_exception() -> None:
    class Broken(Net):
        def forward(self, x: Tensor) -> Any:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        limelight.explain(Broken(), IMAGES)


def test_a_forgotten_batch_axis_is_named() -> None:
    with pytest.raises(ValueError, match="4D input") as caught:
        limelight.explain(Net().eval(), IMAGES[0], layer="b")
    assert any("image[None]" in note for note in caught.value.__notes__)


def test_cam_under_the_models_own_autocast() -> None:
    class Casting(Net):
        def forward(self, x: Tensor) -> Any:
            with torch.autocast("cpu", torch.bfloat16):
                return super().forward(x)

    cam = limelight.explain(Casting().eval(), IMAGES, target=1, layer="b", method="cam")
    plain = limelight.explain(Net().eval(), IMAGES, target=1, layer="b", method="cam")
    assert (cam.raw - plain.raw).abs().max() < 0.03 * plain.raw.abs().max()


@pytest.mark.parametrize("method", ["gradcam", "cam"])
def test_one_number_per_image(method: str) -> None:
    class One(Net):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(8, 1)

        def forward(self, x: Tensor) -> Any:
            return super().forward(x)[:, 0]

    result = limelight.explain(One().eval(), IMAGES, layer="b", method=method)
    assert result.label == ("the output", "the output")
    assert result.raw.abs().max() > 0


def test_head_leaves_nothing_to_the_garbage_collector() -> None:
    def count() -> int:
        return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())

    model = Net().eval()

    def once() -> None:
        cut = limelight.cut(model, IMAGES, "b")
        cut.head(cut.activations)
        cut.head(cut.activations[[0, 0, 1]], rows=torch.tensor([0, 0, 1]))
        cut.gradients(1)

    once()
    gc.collect()
    gc.disable()
    try:
        before = count()
        for _ in range(5):
            once()
        assert count() == before
    finally:
        gc.enable()


def test_the_choice_is_remembered_for_every_shape_of_input() -> None:
    model, runs = Net().eval(), list[int]()
    model.fc.register_forward_hook(lambda *_: runs.append(1))
    shapes = [IMAGES, IMAGES[..., :12], IMAGES, IMAGES[..., :12]]
    for images in shapes * 2:
        limelight.explain(model, images)
    assert len(runs) == 8 + 2  # a record for each of two shapes


def test_biases_that_are_zero_do_not_sway_the_choice() -> None:
    for seed in range(20):
        model = Net().eval()
        torch.manual_seed(seed)
        for module in (model.a[0], model.b, model.fc):
            assert isinstance(module, nn.Conv2d | nn.Linear)
            nn.init.normal_(module.weight)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
        assert limelight.explain(model, IMAGES).layer == "b"


def test_a_class_named_without_names_is_called_so() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 196, 1000))
    assert limelight.explain(model, IMAGES, target="tabby").label == ("tabby", "tabby")


def test_a_models_own_exception_comes_with_what_it_was_given() -> None:
    def notes(images: Any, layer: str | None) -> str:
        with pytest.raises((RuntimeError, TypeError, ValueError)) as caught:
            limelight.explain(Net().eval(), images, layer=layer)
        return " ".join(caught.value.__notes__)

    for layer in ("b", None):
        assert "float64 [2, 3, 16, 16], the model is torch.float32" in notes(IMAGES.double(), layer)
        assert "torch.float32 [2, 16, 16, 3]" in notes(IMAGES.movedim(1, -1), layer)
        assert "takes a tuple or a dict" in notes((IMAGES, IMAGES), layer)


def test_rows_may_be_a_list() -> None:
    cut = limelight.cut(Net().eval(), IMAGES, "b")
    found = cut.head(cut.activations[[1, 0, 1]], rows=[1, 0, 1])
    assert_agrees(found, cut.output[[1, 0, 1]])


class Trained(Net):
    """Its last weights change after each use, as by an optimiser in another thread."""

    def forward(self, x: Tensor) -> Any:
        found = super().forward(x)
        self.fc.weight.detach().add_(0)
        return found


def test_weights_that_change_while_a_layer_is_looked_for_are_told_of() -> None:
    says = r"The model runs, but.*inplace operation.*an optimiser in another thread: explain"
    with pytest.raises(LayerError, match=says) as caught:
        limelight.explain(Trained().eval(), IMAGES)
    assert "with layer=..." in str(caught.value)


@pytest.mark.parametrize("method", ["gradcam", "saliency", "smoothgrad:samples=2", "shapleycam"])
def test_weights_that_change_while_a_score_is_differentiated_are_told_of(method: str) -> None:
    model = Trained().eval()
    layer = "b" if limelight.METHODS[method.partition(":")[0]].place == "layer" else None
    with pytest.raises(RuntimeError, match="inplace operation") as caught:
        limelight.explain(model, IMAGES, method=method, target=1, layer=layer)
    assert "an optimiser in another thread: explain between" in "".join(caught.value.__notes__)
