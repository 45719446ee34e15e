"""Laws of all methods of a layer; what runs, and what stays as it was."""

from __future__ import annotations

import copy
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

import limelight
from helpers import networks
from helpers.method_scenes import (
    LINEAR,
    OF_ANY_SCALE,
    OF_NO_CLASS,
    ONE_RUN,
    ORACLES,
    SCENES,
    SHAPED_BY_SCALE,
    SPECTRAL,
    Scene,
    every_oracle,
    explained,
    over,
)
from helpers.model_state import Raised, untouched
from helpers.networks import CHOSEN, PICTURE, ready
from helpers.tolerances import assert_agrees, of_heatmaps

# Laws of all methods


@every_oracle
def test_permuting_the_batch_permutes_the_maps(method: str, scene: Scene) -> None:
    order = [2, 0, 1]
    target = [CHOSEN[b] for b in order]
    permuted = explained(scene, scene.model, scene.images[order], method, target)
    assert_agrees(permuted.raw, scene.explained(method).raw[order])


@every_oracle
def test_the_maps_of_a_batch_are_the_batch_of_the_maps(method: str, scene: Scene) -> None:
    alone = [
        explained(scene, scene.model, scene.images[b : b + 1], method, [CHOSEN[b]]).raw
        for b in range(3)
    ]
    assert_agrees(scene.explained(method).raw, torch.cat(alone))


def with_scores_times(scene: Scene, scale: float) -> nn.Module:
    model = copy.deepcopy(scene.model)
    last = cast("nn.Linear", model.get_submodule(scene.last))
    with torch.no_grad():
        last.weight.mul_(scale)
        last.bias.mul_(scale)
    return model


@over(how for how in ORACLES if how not in SHAPED_BY_SCALE)
@pytest.mark.parametrize("scale", [3.0, 1e-5, 1e-30])
def test_the_scale_of_the_scores_scales_the_map_and_leaves_the_heatmap(
    method: str, scene: Scene, scale: float
) -> None:
    plain = scene.explained(method)
    found = explained(scene, with_scores_times(scene, scale), scene.images, method)
    factor = 1 if method.partition(":")[0] in {*OF_NO_CLASS, *OF_ANY_SCALE} else scale
    size = scene.what_cancels(method)
    assert_agrees(found.raw, plain.raw * factor, scale=None if size is None else size * factor)
    assert_agrees(found.heatmap, plain.heatmap, condition=of_heatmaps(plain.raw, size))


@over(SHAPED_BY_SCALE)
def test_where_the_paper_says_so_the_scale_of_the_scores_shapes_the_map(
    method: str, scene: Scene
) -> None:
    plain = scene.explained(method)
    found = explained(scene, with_scores_times(scene, 3.0), scene.images, method)
    shapes = [one.raw / one.raw.flatten(1).norm(dim=1)[:, None, None] for one in (found, plain)]
    with pytest.raises(AssertionError, match="apart by"):
        assert_agrees(shapes[0], shapes[1])


@every_oracle
def test_float32_comes_near_float64(method: str, scene: Scene) -> None:
    model, images = copy.deepcopy(scene.model).float(), scene.images.float()
    found = explained(scene, model, images, method)
    assert found.raw.dtype == found.heatmap.dtype == torch.float32
    precise = scene.explained(method)
    size = scene.what_cancels(method)
    assert_agrees(found.raw, precise.raw, scale=size, dtype=torch.float32)
    assert found.heatmap.isfinite().all()
    condition = of_heatmaps(precise.raw, size)
    assert_agrees(
        found.heatmap, precise.heatmap, dtype=torch.float32, scale=1.0, condition=condition
    )


@over(ORACLES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_map_of_a_model_in_half_precision_is_whole(
    method: str, scene: Scene, dtype: torch.dtype
) -> None:
    found = explained(scene, copy.deepcopy(scene.model).to(dtype), scene.images.to(dtype), method)
    assert found.raw.dtype == found.heatmap.dtype == torch.float32
    assert found.raw.isfinite().all()


@over(LINEAR)
def test_a_difference_of_scores_has_the_difference_of_the_maps(method: str, scene: Scene) -> None:
    def map_of(target: Any) -> Tensor:
        return limelight.explain(
            scene.model, scene.images, target=target, method=method, layer=scene.layer
        ).raw

    size = scene.what_cancels(method)
    assert_agrees(map_of(lambda y: y[:, 1] - y[:, 3]), map_of(1) - map_of(3), scale=size)


@over(ORACLES, ["cnn", "transformer", "channels last", "signal", "volume"])
def test_how_many_variants_run_together_does_not_matter(method: str, scene: Scene) -> None:
    for chunk in (1, 7):
        found = limelight.explain(
            scene.model, scene.images, target=CHOSEN, method=method, layer=scene.layer, chunk=chunk
        )
        limit = SPECTRAL if method == "kpcacam" else None
        expected, size = scene.expected(method), scene.what_cancels(method)
        assert_agrees(found.raw, expected, scale=size, limit=limit)


class Flat(nn.Module):
    """Its layer puts out the same value everywhere."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.fc = nn.Linear(4, 5)
        nn.init.zeros_(self.conv.weight)
        nn.init.constant_(self.conv.bias, value)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.fc(self.conv(x).mean((2, 3))))


@pytest.mark.parametrize("method", ORACLES)
@pytest.mark.parametrize("value", [0.0, 0.3, -0.7])
def test_activations_that_are_the_same_everywhere_make_no_nan_and_no_picture(
    method: str, value: float
) -> None:
    model, images = ready(Flat(value)), torch.randn(2, *PICTURE, dtype=torch.float64)
    found = limelight.explain(model, images, target=1, method=method, layer="conv")
    assert found.raw.isfinite().all()
    if method != "reciprocam:gaussian=true":  # at the border less is seen
        assert not found.heatmap.any()


@pytest.mark.parametrize("method", ["ablationcam", "reciprocam", "reciprocam:gaussian=true"])
def test_rounding_where_the_head_reads_nothing_makes_no_picture(method: str) -> None:
    scene = SCENES["transformer"]
    found = limelight.explain(
        scene.model, scene.images, target=CHOSEN, method=method, layer="blocks.1"
    )
    assert not found.heatmap.any()
    assert not any(status.ok for status in found.status)


# The model is left as it was


def shaken(scene: Scene) -> nn.Module:
    """Return a copy in training mode, partly frozen, with gradients and hooks."""
    model = copy.deepcopy(scene.model)
    first = next(iter(model.children()))
    model.train()
    first.eval()
    first.requires_grad_(False)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
    model.register_forward_hook(lambda *_: None)
    first.register_forward_pre_hook(lambda *_: None)
    return model


@every_oracle
def test_a_model_is_left_as_it_was(method: str, scene: Scene) -> None:
    model = shaken(scene)
    with untouched(model):
        found = explained(scene, model, scene.images, method)
    assert_agrees(found.raw, scene.expected(method), scale=scene.what_cancels(method))


@every_oracle
def test_a_model_that_raises_on_the_way_is_left_as_it_was(method: str, scene: Scene) -> None:
    model = shaken(scene)
    calls, fatal = 0, 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == fatal:
            raise Raised

    model.get_submodule(scene.last).register_forward_hook(count)
    explained(scene, model, scene.images, method)  # what it learns of a new model it learns here
    calls = 0
    explained(scene, model, scene.images, method)
    for fatal_call in {1, calls // 2 + 1, calls}:
        calls, fatal = 0, fatal_call
        with untouched(model), pytest.raises(Raised):
            explained(scene, model, scene.images, method)
    calls = fatal = 0
    again = explained(scene, model, scene.images, method).raw
    assert_agrees(again, scene.expected(method), scale=scene.what_cancels(method))


# What runs


class Counted(nn.Module):
    """Notes how many images each of its runs has."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.runs.append(len(x))
        return x


class Stages(networks.Chain):
    """Says what runs in front of its layer `second`, and behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.rest = Counted(), Counted()

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.body(self.first(x)).tanh()).tanh()
        return self.finish(self.rest(x))


def runs(method: str, chunk: int) -> tuple[list[int], list[int]]:
    """Return the sizes of the runs in front of the layer and behind it; 2 images, 6 channels."""
    model, images = ready(Stages()), torch.randn(2, *PICTURE, dtype=torch.float64)
    with torch.no_grad():
        model.second.weight[4] = 0
        cast("Tensor", model.second.bias)[4] = 0  # one of the channels is zero everywhere
    for _ in range(2):  # what it learns of a new model it learns at first
        model.body.runs.clear()
        model.rest.runs.clear()
        limelight.explain(model, images, target=1, method=method, layer="second", chunk=chunk)
    return model.body.runs, model.rest.runs


@pytest.mark.parametrize(
    ("method", "count"), [("ablationcam", 6), ("reciprocam", 36), ("reciprocam:gaussian=true", 36)]
)
def test_only_the_head_runs_again_where_activations_change(method: str, count: int) -> None:
    once, apart = runs(method, 1000), runs(method, 1)
    assert apart[0] == once[0]
    assert len(once[0]) <= 3  # the pass itself, and what the head has to know
    assert len(apart[1]) - len(once[1]) == 2 * count - 2
    assert once[1][-2:] == [count, count]
    assert apart[1][-2 * count :] == [1] * 2 * count


@pytest.mark.parametrize(
    ("method", "count"), [("scorecam", 5), ("sscam:samples=3", 15), ("iscam:samples=3", 15)]
)
def test_the_network_runs_once_per_mask_of_a_channel_that_says_something(
    method: str, count: int
) -> None:
    body, rest = runs(method, 1)
    assert body == rest
    assert body[0] == 2
    assert body[1:] == [1] * 2 * (count + 1)  # and once in black


@pytest.mark.parametrize("method", sorted(ONE_RUN))
def test_the_other_methods_take_one_run(method: str) -> None:
    assert runs(method, 1) == ([2], [2])
