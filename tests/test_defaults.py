"""Whatever type and device torch makes new tensors of by itself, the figures are the same."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import limelight
from helpers.networks import PoolLinear, ResidualCNN, TinyViT, ready
from helpers.towers import llava, sentence
from limelight.methods import METHODS

SOURCE = Path(limelight.__file__).parent
DEFAULTS = (torch.float64, torch.float16, "meta")
every_default = pytest.mark.parametrize("default", DEFAULTS, ids=str)

#: Methods that run the network many times, with few runs.
SHORT = {
    "rise": "rise:masks=70",
    "kernelshap": "kernelshap:segments=8,samples=20",
    "smoothgrad": "smoothgrad:samples=2",
    "sscam": "sscam:samples=2",
    "iscam": "iscam:samples=2",
    "integrated-gradients": "integrated-gradients:steps=3",
}


@contextmanager
def default_of(default: torch.dtype | str) -> Iterator[None]:
    """Let new tensors be of this type, or on this device."""
    if isinstance(default, str):
        with torch.device(default):
            yield
        return
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def network_for(method: str) -> tuple[nn.Module, Any]:
    torch.manual_seed(0)
    if METHODS[method].family == "attention":
        return ready(TinyViT(), torch.float32), torch.randn(2, 3, 12, 16)
    if METHODS[method].family == "words":
        return llava("sdpa").float(), {
            name: tensor.float() if tensor.is_floating_point() else tensor
            for name, tensor in sentence().items()
        }
    model = PoolLinear() if method == "cam" else ResidualCNN()
    return ready(model, torch.float32), torch.randn(2, 3, 20, 20)


def same(found: Any, expected: Any) -> bool:
    """Compare tensors number by number, and what holds tensors by what they hold."""
    if isinstance(expected, Tensor):
        kind = found.dtype == expected.dtype and found.device == expected.device
        return kind and torch.equal(found.nan_to_num(7), expected.nan_to_num(7))
    if isinstance(expected, list | tuple):
        return all(map(same, found, expected)) and len(found) == len(expected)
    return bool(repr(found) == repr(expected))


def assert_same_under_all(ask: Callable[[], Any]) -> None:
    expected = ask()
    for default in DEFAULTS:
        with default_of(default):
            found = ask()
        assert same(found, expected), default


@pytest.mark.parametrize("method", list(METHODS))
def test_maps_do_not_depend_on_the_defaults_of_torch(method: str) -> None:
    model, images = network_for(method)

    def ask() -> Any:
        of_words = METHODS[method].family == "words"
        words = limelight.Words(images["input_ids"], 22) if of_words else None
        result = limelight.explain(model, images, target=words, method=SHORT.get(method, method))
        return result.raw, result.heatmap, result.score, result.status, result.completeness_gap

    assert_same_under_all(ask)


@pytest.mark.parametrize("metric", list(limelight.METRICS))
def test_figures_do_not_depend_on_the_defaults_of_torch(metric: str) -> None:
    model, images = network_for("gradcam")
    objects = [[[2, 2, 9, 9]], [[3, 3, 12, 12]]]

    def ask() -> Any:
        maps = limelight.explain(model, images, target=1)
        steps = {"parameter-randomisation": ":steps=2", "max-sensitivity": ":samples=2"}
        name = metric + steps.get(metric, "")
        return limelight.measure(model, images, maps, metrics=[name], objects=objects).rows()

    assert_same_under_all(ask)


@pytest.mark.parametrize("views", ["flips", "noise", "scales"])
def test_views_do_not_depend_on_the_defaults_of_torch(views: str) -> None:
    model, images = network_for("gradcam")
    look = {
        "flips": limelight.flips(),
        "noise": limelight.noise(samples=2),
        "scales": limelight.scales(count=2),
    }[views]
    assert_same_under_all(lambda: limelight.explain(model, images, views=look).raw)


def test_other_results_do_not_depend_on_the_defaults_of_torch() -> None:
    model, images = network_for("gradcam")
    fused = ["block1", "block2"]
    assert_same_under_all(lambda: limelight.explain(model, images, layer=fused, target=[1, 2]).raw)
    sheet = ["gradcam", "random"]
    assert_same_under_all(
        lambda: [one.raw for one in limelight.compare(model, images, methods=sheet)]
    )
    assert_same_under_all(lambda: limelight.factorize(model, images, concepts=2).maps)
    assert_same_under_all(lambda: str(limelight.trace(model, images)))

    def cascade() -> Any:
        return limelight.sanity(model, images, methods=["gradcam"], steps=2).measurement.rows()

    assert_same_under_all(cascade)
    assert_same_under_all(lambda: limelight.walkthrough(model, images[:1]).html())


@pytest.mark.parametrize(
    "target",
    [
        limelight.Contrast(1),
        limelight.Counterfactual(2),
        limelight.AnyOf([1, 3]),
        limelight.Rank(2),
        limelight.Similarity(torch.arange(5.0)),
        torch.tensor([3, 1]),
        lambda output: output.sum(1),
    ],
    ids=["contrast", "counterfactual", "among", "rank", "similarity", "tensor", "callable"],
)
def test_targets_do_not_depend_on_the_defaults_of_torch(target: Any) -> None:
    model, images = network_for("gradcam")
    assert_same_under_all(lambda: limelight.explain(model, images, target=target).raw)


class Dense(nn.Module):
    """A segmenter: logits `[B, C, H, W]`."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
        self.head = nn.Conv2d(6, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x))
        return logits


@pytest.mark.parametrize(
    "where", [None, (2, 3), torch.eye(8) > 0], ids=["predicted", "pixel", "mask"]
)
def test_regions_do_not_depend_on_the_defaults_of_torch(where: Any) -> None:
    model, images = Dense().eval(), torch.randn(2, 3, 8, 8)
    target = limelight.Region(1, where)
    assert_same_under_all(lambda: limelight.explain(model, images, target=target).raw)


def test_photos_and_networks_do_not_depend_on_the_defaults_of_torch() -> None:
    photo = Image.linear_gradient("L").convert("RGB")

    def ask() -> Any:
        network = limelight.load_model(weights="none")
        images = network.images(photo)
        picture = network.preprocess.picture(images[0])
        return images, list(network.model.parameters()), picture.tobytes()

    assert_same_under_all(ask)


@every_default
def test_a_forward_sees_the_defaults_that_the_user_set(default: torch.dtype | str) -> None:
    class Notes(PoolLinear):
        def forward(self, x: Tensor) -> Tensor:
            seen.append((torch.zeros(1).dtype, torch.zeros(1).device.type))
            return super().forward(x)

    seen = list[tuple[torch.dtype, str]]()
    model, images = Notes().eval(), torch.randn(1, 3, 8, 8)
    expected = (torch.float32, "meta") if default == "meta" else (default, "cpu")
    with default_of(default):
        limelight.explain(model, images, method="rise:masks=4")
        limelight.explain(model, images)
    assert set(seen) == {expected}


def test_loading_a_network_leaves_the_defaults_as_they_were() -> None:
    with default_of(torch.float64), torch.device("meta"):
        limelight.load_model(weights="none")
        with pytest.raises(limelight.LimelightError):
            limelight.load_model("resnet51")
        assert torch.get_default_dtype() == torch.float64
        assert torch.zeros(1).device.type == "meta"
    assert torch.get_default_dtype() == torch.float32


#: What makes a new tensor, and of these what is of the default type unless told otherwise.
FLOATS = {"rand", "randn", "zeros", "ones", "empty", "full", "linspace", "eye"}
MAKERS = FLOATS | {"arange", "randint", "randperm", "tensor", "as_tensor", "asarray", "normal"}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.stem)
def test_a_tensor_is_made_with_its_type_and_its_device(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    for call in calls:
        name = ast.unparse(call.func).removeprefix("torch.")
        if not ast.unparse(call.func).startswith("torch.") or name not in MAKERS:
            continue
        named = {keyword.arg for keyword in call.keywords}
        wanted = {"device", "dtype"} if name in FLOATS else {"device"}
        assert named >= wanted, f"line {call.lineno}: {ast.unparse(call)}"
