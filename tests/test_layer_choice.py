"""The layer is chosen for the score that is asked, and carries a map that means something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import limelight
from limelight.inputs import ModelInputs
from limelight.runtime import record
from limelight.runtime.costs import costs
from limelight.targets import Scores, ScoreTarget, TargetContext
from limelight.targets.scores import RowTarget


def by_hand(model: nn.Module, layer: str, image: Tensor, score: Callable[[Any], Tensor]) -> Tensor:
    """Return Grad-CAM's raw map at a layer, from an ordinary hook and autograd."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        kept.append(output)

    hook = model.get_submodule(layer).register_forward_hook(keep)
    with torch.enable_grad():
        output = model(image.clone().requires_grad_())
    hook.remove()
    (gradient,) = torch.autograd.grad(score(output).sum(), kept[0])
    return (gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1).detach()


def assert_map(
    found: limelight.Explanation, model: nn.Module, score: Callable[[Any], Tensor]
) -> None:
    """Check a raw map against the one by hand, at the same layer."""
    theirs = by_hand(model, found.layer, found.image, score)
    torch.testing.assert_close(found.raw, theirs, rtol=1e-4, atol=1e-6 * float(theirs.abs().max()))


def conv(a: int, b: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(a, b, 3, stride, 1), nn.BatchNorm2d(b), nn.ReLU())


def picture(batch: int = 1, size: int = 64) -> Tensor:
    return torch.randn(batch, 3, size, size)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# ---- several heads ---------------------------------------------------------------------------


class Features(nn.Module):
    """A backbone that returns the output of each stage, the first of them first."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8, 2)
        self.stages = nn.ModuleList(
            nn.Sequential(conv(a, b, 2), conv(b, b)) for a, b in ((8, 16), (16, 24), (24, 32))
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        outputs = [self.stem(x)]
        for stage in self.stages:
            outputs.append(stage(outputs[-1]))
        return outputs


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_callable_that_reads_one_of_several_outputs_has_its_layer(stage: int) -> None:
    def score(output: list[Tensor]) -> Tensor:
        return output[stage].square().mean((1, 2, 3))

    model = Features().eval()
    found = limelight.explain(model, picture(), target=score)
    assert found.layer.startswith(f"stages.{stage - 1}."), found.layer  # not the output itself
    assert found.status[0].ok
    assert_map(found, model, score)


class TwoHeads(nn.Module):
    """A shared trunk, then a tower for each of two tasks; the classes come first."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = conv(3, 8, 2)
        self.animal, self.weather = conv(8, 16, 2), conv(8, 16, 2)
        self.animals, self.weathers = nn.Linear(16, 5), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.trunk(x)
        return {
            "logits": self.animals(self.animal(x).mean((2, 3))),
            "weather": self.weathers(self.weather(x).mean((2, 3))),
        }


def test_each_head_is_explained_at_its_own_tower() -> None:
    model, image = TwoHeads().eval(), picture()
    assert limelight.explain(model, image, target=2).layer == "animal"
    found = limelight.explain(model, image, target=lambda output: output["weather"][:, 1])
    assert found.layer == "weather"
    assert_map(found, model, lambda output: output["weather"][:, 1])
    # The choice for the one is not that for the other.
    assert limelight.explain(model, image, target=2).layer == "animal"


def test_a_layer_for_targets_of_both_heads_serves_both() -> None:
    targets: list[Any] = [2, lambda output: output["weather"][:, 1]]
    both = limelight.explain_each(TwoHeads().eval(), picture(), targets)
    assert [found.layer for found in both] == ["trunk", "trunk"]


class Weather(ScoreTarget):
    """A target of a user's own."""

    def score(self, output: Any, context: TargetContext) -> Scores:
        def read(output: Any, _rows: Tensor) -> Any:
            return output["weather"][:, 0]

        return Scores(read(output, torch.arange(context.batch)), None, ("sun",), read)


class WeatherRow(RowTarget):
    """The same as a target of rows."""

    def label(self) -> str:
        return "sun"

    def read(self, output: Any, rows: Tensor, context: TargetContext) -> Any:
        return output["weather"][:, 0]


@pytest.mark.parametrize("target", [Weather(), WeatherRow()])
def test_a_target_of_ones_own_has_its_own_layer(target: ScoreTarget) -> None:
    assert limelight.explain(TwoHeads().eval(), picture(), target=target).layer == "weather"


def test_a_callable_for_each_image_of_a_batch_is_followed() -> None:
    def score(output: dict[str, Tensor]) -> Tensor:
        return torch.stack([output["weather"][0, 0], output["weather"][1, 2]])

    model = TwoHeads().eval()
    found = limelight.explain(model, picture(2), target=score)
    assert found.layer == "weather"
    assert_map(found, model, score)


def test_the_choice_is_remembered_by_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []
    whole = record._record

    def counted(*args: Any, **kwargs: Any) -> Any:
        passes.append(1)
        return whole(*args, **kwargs)

    monkeypatch.setattr(record, "_record", counted)
    model, image = TwoHeads().eval(), picture()

    def layer_for(head: str, index: int) -> str:
        return limelight.explain(model, image, target=lambda o: o[head][:, index]).layer

    assert layer_for("weather", 1) == "weather"
    count = len(passes)
    assert layer_for("weather", 1) == "weather"  # another lambda from the same line and values
    assert len(passes) == count
    assert layer_for("logits", 1) == "animal"
    assert len(passes) == count + 1


def test_a_callable_may_name_what_has_no_value_yet() -> None:
    def score(output: dict[str, Tensor]) -> Tensor:
        return output["weather"][:, 0] if len(output) > 1 else later

    assert limelight.explain(TwoHeads().eval(), picture(), target=score).layer == "weather"
    later = torch.zeros(1)


def test_an_error_of_the_callable_is_the_users_own() -> None:
    with pytest.raises(KeyError, match="snow"):
        limelight.explain(TwoHeads().eval(), picture(), target=lambda output: output["snow"][:, 0])


# ---- a remembered layer that this score skips ---------------------------------------------------


class Switched(nn.Module):
    """Two towers, one of which answers, as an attribute says."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8, 2)
        self.near, self.far = conv(8, 16, 2), conv(8, 16, 2)
        self.head = nn.Linear(16, 4)
        self.use_far = False

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x)
        near, far = self.near(x).mean((2, 3)), self.far(x).mean((2, 3))
        return self.head(far if self.use_far else near)


def test_where_the_score_skips_the_remembered_layer_another_is_taken_and_said() -> None:
    model, image = Switched().eval(), picture()
    assert limelight.explain(model, image).layer == "near"
    model.use_far = True
    found = limelight.explain(model, image)
    assert (found.layer, found.status[0].name) == ("far", "ok")
    assert "'near'" in found.reason
    passes: list[int] = []
    hook = model.stem.register_forward_hook(lambda *_: passes.append(1))
    assert limelight.explain(model, image).layer == "far"  # it is remembered: two passes, no record
    hook.remove()
    assert len(passes) == 2
    assert_map(found, model, lambda output: output.amax(1))
    compared = limelight.compare(model, image, methods=["gradcam", "layercam"])
    assert {each.layer for each in compared.explanations} == {"far"}


class Levels(nn.Module):
    """Logits `[B, C, N]` of the cells of two levels, each with a tower of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = conv(3, 8, 4), conv(8, 16, 2)
        self.towers = nn.ModuleList([conv(8, 16), conv(16, 16)])
        self.heads = nn.ModuleList([nn.Conv2d(16, 3, 1), nn.Conv2d(16, 3, 1)])

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(x)
        levels = [fine, self.coarse(fine)]
        parts = zip(levels, self.towers, self.heads, strict=True)
        return torch.cat([head(tower(x)).flatten(2) for x, tower, head in parts], 2)


def test_a_callable_over_the_boxes_of_one_level_is_explained_there() -> None:
    model, image = Levels().eval(), picture()
    fine = limelight.explain(model, image, target=lambda output: output[:, 1, :256].mean(1))
    coarse = limelight.explain(model, image, target=lambda output: output[:, 1, 256:].mean(1))
    assert (fine.layer, coarse.layer) == ("towers.0", "towers.1")
    assert_map(coarse, model, lambda output: output[:, 1, 256:].mean(1))


# ---- layers whose map would mean nothing --------------------------------------------------------


class Adapted(nn.Module):
    """A layer with a low-rank adapter beside it, behind a dropout, as peft writes it."""

    def __init__(self, base: nn.Module, inner: int, outer: int) -> None:
        super().__init__()
        self.base_layer = base
        self.lora_dropout = nn.ModuleDict({"default": nn.Dropout(0.1)})
        self.lora_A = nn.ModuleDict({"default": nn.Linear(inner, 2, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(2, outer, bias=False)})

    def forward(self, x: Tensor) -> Any:
        low = self.lora_A["default"](self.lora_dropout["default"](x))
        return self.base_layer(x) + self.lora_B["default"](low)


class Transformer(nn.Module):
    """Patches and a class token, two blocks of attention, a head on the class token."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Any:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(16)
        self.query: nn.Module = nn.Linear(16, 16)
        self.key, self.value = nn.Linear(16, 16), nn.Linear(16, 16)
        self.out = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Any:
        y = self.norm(x)
        values = nn.functional.scaled_dot_product_attention(
            self.query(y), self.key(y), self.value(y)
        )
        return x + self.out(values)


@pytest.mark.parametrize("fresh", [False, True], ids=["trained", "fresh"])
@pytest.mark.parametrize("where", ["query", "value", "every linear"])
def test_an_adapter_is_never_the_layer(where: str, fresh: bool) -> None:
    model = Transformer().eval()
    image = picture()
    expected = limelight.explain(model, image, target=1)
    for block in model.blocks:
        names = ["query", "key", "value", "out"] if where == "every linear" else [where]
        for name in names:
            adapted = Adapted(getattr(block, name), 16, 16).eval()
            if fresh:
                nn.init.zeros_(next(adapted.lora_B.parameters()))
            setattr(block, name, adapted)
    found = limelight.explain(model, image, target=1)
    assert found.layer == expected.layer == "blocks.1.norm"
    assert found.status[0].name != "disconnected"
    if fresh:
        torch.testing.assert_close(found.raw, expected.raw)


class Normed(nn.Module):
    """A U-Net of one level whose convolutions are followed by instance norms.

    The wrapper around its inside reads the picture, as that of a recursive U-Net does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, 2, 1)
        self.inside = Inside(self.down)
        self.out = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Any:
        return self.out(self.inside(x))


class Inside(nn.Module):
    def __init__(self, down: nn.Module) -> None:
        super().__init__()
        self.down = down
        self.conv, self.norm = nn.Conv2d(8, 8, 3, 1, 1), nn.InstanceNorm2d(8, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.leaky_relu(self.norm(self.conv(self.down(x).relu())), 0.1)


def test_the_layer_is_after_an_instance_norm_not_right_before_it() -> None:
    model, image = Normed().eval(), picture()
    found = limelight.explain(model, image, target=limelight.Region(1, where=(20, 20)))
    assert found.layer == "inside"
    exact = limelight.explain(
        model.double(), image.double(), target=limelight.Region(1, where=(20, 20))
    )
    torch.testing.assert_close(found.raw.double(), exact.raw, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("method", ["gradcam", "xgradcam", "shapleycam", "guided-gradcam"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_map_of_gradients_that_cancel_is_not_ok(method: str, dtype: torch.dtype) -> None:
    model, image = Normed().eval().to(dtype), picture(2).to(dtype)
    found = limelight.explain(model, image, layer="inside.conv", method=method)
    assert [status.name for status in found.status] == ["cancelled", "cancelled"]
    assert "instance norm" in found.status[0].message
    assert not found.heatmap.any()
    assert limelight.explain(model, image, layer="inside.norm", method=method).status[0].ok


def test_methods_that_sum_no_gradients_work_before_an_instance_norm() -> None:
    found = limelight.explain(Normed().eval(), picture(), layer="inside.conv", method="layercam")
    assert found.status[0].ok
    views = limelight.explain(
        Normed().eval(), picture(), layer="inside.conv", views=limelight.flips()
    )
    assert views.status[0].name == "cancelled"


class LayerNormed(nn.Module):
    """A convolution, a layer norm over the channels of each cell, a pool and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.LayerNorm(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(self.conv(x).permute(0, 2, 3, 1))
        logits: Tensor = self.head(normed.relu().mean((1, 2)))
        return logits


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_that_cancel_before_a_layer_norm_are_no_map(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model, image = LayerNormed().eval().to(dtype), picture(2).to(dtype)
    found = limelight.explain(model, image, layer="conv", method="hirescam")
    assert [status.name for status in found.status] == ["cancelled", "cancelled"]
    assert "Right before a layer norm they do. Take the layer after" in found.status[0].message
    assert not found.heatmap.any()
    assert limelight.explain(model, image, layer="norm", method="hirescam").status[0].ok
    assert limelight.explain(model, image, layer="conv", method="gradcam").status[0].ok
    assert limelight.explain(model, image, layer="conv", method="hirescam", eigen=True).status[0].ok


class Segmenter(nn.Module):
    """Logits of every pixel, one channel for each class; resized or not."""

    def __init__(self, classes: int, resized: bool) -> None:
        super().__init__()
        self.encoder = nn.Sequential(conv(3, 8, 2), conv(8, 16, 2))
        self.decoder = conv(16, 12)
        self.head = nn.Conv2d(12, classes, 1)
        self.resized = resized

    def forward(self, x: Tensor) -> Tensor:
        y = self.head(self.decoder(self.encoder(x)))
        return nn.functional.interpolate(y, x.shape[2:]) if self.resized else y


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("resized", [False, True])
def test_the_layer_of_a_segmenter_is_not_its_own_output(classes: int, resized: bool) -> None:
    model = Segmenter(classes, resized).eval()
    found = limelight.explain(model, picture(), target=limelight.Region(0, where=(30, 30)))
    assert found.layer == "decoder"


class WithToken(nn.Module):
    """A network that passes a view of a parameter to a module."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.norm = nn.Parameter(torch.randn(1, 1, 8)), nn.LayerNorm(8)
        self.patch, self.head = nn.Conv2d(3, 8, 8, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Any:
        token = self.norm(self.token.expand(len(x), -1, -1))
        x = self.patch(x).flatten(2).transpose(1, 2)
        return self.head(torch.cat([token, x], 1).mean(1))


def test_costs_of_a_network_that_passes_a_view_of_a_parameter() -> None:
    model = WithToken().eval()
    inputs = ModelInputs.of(picture())
    shares = costs(model, inputs)
    assert len(shares) == len(limelight.record(model, picture()))
    assert shares == sorted(shares)
    assert shares[-1] == 1


class Depth(nn.Module):
    """One number for each place, `[B, H, W]`."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = conv(3, 8, 2), conv(8, 8)
        self.head = nn.Conv2d(8, 1, 1)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.decoder(self.encoder(x)))[:, 0]


def test_the_layer_of_a_map_of_depths_is_not_the_map() -> None:
    found = limelight.explain(Depth().eval(), picture(), target=limelight.Region(where=(30, 30)))
    assert found.layer == "decoder"


class Ensemble(nn.Module):
    """Two networks whose logits are averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = Switched(), Switched()

    def forward(self, x: Tensor) -> Any:
        return (self.a(x) + self.b(x)) / 2


def test_a_member_of_an_ensemble_is_explained_and_the_other_named() -> None:
    model, image = Ensemble().eval(), picture()
    found = limelight.explain(model, image, target=1)
    assert found.layer == "b.near"
    assert "layer=['b.near', 'a.near'] explains both" in found.reason
    both = limelight.explain(model, image, target=1, layer=["b.near", "a.near"], fuse="mean")
    assert both.status[0].ok
    assert "another way" not in limelight.explain(model.a, image, target=1).reason
