"""Metrics of networks, targets and maps of every kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

import limelight
from helpers import networks, shapes
from helpers.metric_cases import (
    HEATMAPS,
    QUICK,
    every_metric,
    explained,
    masks,
    network,
    parts,
    pictures,
    read,
    same,
)
from helpers.networks import ready
from helpers.tolerances import assert_agrees
from limelight.errors import MetricError
from limelight.metrics.statistics import spearman
from oracles import faithfulness, metrics

# Networks and targets


def wanted_deletion(model: nn.Module, images: Tensor, heatmap: Tensor, value: Any) -> Tensor:
    def of(b: int) -> Callable[[metrics.Array], float]:
        @torch.no_grad()
        def one(image: metrics.Array) -> float:
            changed = images.clone()
            changed[b] = torch.tensor(image)
            return float(value(model(changed))[b])

        return one

    each = [
        faithfulness.deletion(of(b), images[b].numpy(), heatmap[b].numpy(), 5)[0]
        for b in range(len(images))
    ]
    return torch.tensor(each, dtype=torch.float64)


def test_a_model_that_ends_in_softmax_is_not_softened_twice() -> None:
    model, images = network(), pictures()
    soft = nn.Sequential(model, nn.Softmax(1))
    heatmap = torch.rand(4, 12, 16, dtype=torch.float64)
    rows = [QUICK[name] for name in ("deletion", "insertion", "road", "average-drop", "increase")]
    one = limelight.measure(model, images, heatmap, metrics=rows, target=[0, 1, 2, 3])
    other = limelight.measure(soft, images, heatmap, metrics=rows, target=[0, 1, 2, 3])
    for name, values in parts(one).items():
        same(parts(other)[name], values)


def test_a_single_output_is_measured_as_it_is() -> None:
    torch.manual_seed(1)
    model, images = ready(networks.PoolLinear(classes=1)), pictures()
    nn.init.constant_(cast("Tensor", model.fc.bias), 5.0)
    result = limelight.explain(model, images, layer="features.0")
    measured = limelight.measure(model, images, result, metrics=["deletion:steps=5"])
    wanted = wanted_deletion(model, images, result.heatmap, lambda y: y[:, 0])
    assert_agrees(read(measured), wanted)
    assert result.score.min() < 0 or result.score.max() > 1
    with pytest.raises(MetricError, match=r"is about a probability, and .* has none"):
        limelight.measure(model, images, result, metrics=["average-drop"])


@pytest.mark.parametrize("kind", ["callable", "contrast", "counterfactual", "similarity"])
def test_a_score_without_a_probability_is_measured_itself(kind: str) -> None:
    model, images = network(), pictures()
    vector = torch.randn(5, dtype=torch.float64)
    targets: dict[str, tuple[Any, Any]] = {
        "callable": (lambda y: y[:, 1] * 2 - 9, lambda y: y[:, 1] * 2 - 9),
        "contrast": (limelight.Contrast(1, against=2, weight=1.0), lambda y: y[:, 1] - y[:, 2]),
        "counterfactual": (limelight.Counterfactual(1), lambda y: -y[:, 1]),
        "similarity": (
            limelight.Similarity(vector),
            lambda y: torch.cosine_similarity(y, vector[None], dim=1),
        ),
    }
    target, value = targets[kind]
    result = explained(model, images, target=target)
    measured = limelight.measure(model, images, result, metrics=["deletion:steps=5", "increase"])
    assert_agrees(read(measured), wanted_deletion(model, images, result.heatmap, value))
    if kind == "callable":  # it might have been one, so each image is looked at
        dropped = limelight.measure(model, images, result, metrics=["average-drop"]).estimates()[0]
        assert (dropped.own.n, dropped.own.left_out) == (0, 4)
        return
    with pytest.raises(MetricError, match=r"Take a class as the target, or a callable"):
        limelight.measure(model, images, result, metrics=["average-drop"])


def test_a_callable_that_returns_a_probability_has_one() -> None:
    model, images = network(), pictures()
    by_class = limelight.measure(
        model, images, explained(model, images, target=1), metrics=["average-drop", "average-gain"]
    )
    called = explained(model, images, target=lambda y: y.softmax(1)[:, 1])
    maps = limelight.explain(model, images, target=1, layer="block1").heatmap
    by_call = limelight.measure(
        model,
        images,
        maps,
        target=lambda y: y.softmax(1)[:, 1],
        metrics=["average-drop", "average-gain"],
    )
    for metric in ("average-drop", "average-gain"):
        same(read(by_call, metric=metric), read(by_class, metric=metric))
    assert limelight.measure(model, images, called, metrics=["adcc"]).n == 4


def test_a_region_of_a_segmenter_is_measured_by_its_mean_probability() -> None:
    torch.manual_seed(0)
    model, images = ready(shapes.Segmenter()), pictures(2, size=(3, 32, 32))
    mask = torch.zeros(32, 32)
    mask[4:20, 6:22] = 1
    result = limelight.explain(model, images, target=limelight.Region(2, where=mask))
    measured = limelight.measure(
        model,
        images,
        result,
        metrics=["deletion:steps=5", "average-drop", "energy-pointing", "max-sensitivity"],
        objects=mask.expand(2, -1, -1),
    )
    assert not measured.unmeasured

    def likely(y: Any) -> Tensor:
        return cast("Tensor", y["out"].softmax(1)[:, 2][:, mask > 0].mean(1))

    wanted = wanted_deletion(model, images, result.heatmap, likely)
    assert_agrees(read(measured), wanted)


def test_the_other_class_of_a_region_is_explained_over_the_same_region() -> None:
    torch.manual_seed(0)
    model, images = ready(shapes.Segmenter()), pictures(2, size=(3, 32, 32))
    mask = torch.zeros(32, 32)
    mask[4:20, 6:22] = 1

    def raw(label: int) -> Tensor:
        region = limelight.Region(label, where=mask)
        return limelight.explain(model, images, target=region).raw

    result = limelight.explain(model, images, target=limelight.Region(2, where=mask))
    found = read(limelight.measure(model, images, result, metrics=["random-logit"]))
    count = model(images)["out"].shape[1]
    alike = torch.stack([spearman(raw(2).flatten(1), raw(c).flatten(1)) for c in range(count)])
    gaps = (alike - found).abs()
    assert gaps.min(0).values.max() < 1e-9
    assert (gaps.argmin(0) != 2).all()


def test_a_box_of_a_detector_is_measured() -> None:
    torch.manual_seed(0)
    scene = shapes.scenes(2, seed=5)
    model = shapes.fcos().double().eval()
    result = limelight.explain(
        model, scene.images, target=limelight.Box(target=1), layer="backbone.across"
    )
    measured = limelight.measure(
        model,
        scene.images,
        result,
        metrics=[
            "deletion:steps=3",
            "energy-pointing",
            "max-sensitivity:samples=1",
            "random-logit",
        ],
        objects=[boxes[:1] for boxes in scene.boxes],
    )
    assert not measured.unmeasured
    assert all(values.isfinite().all() for values in parts(measured).values())
    assert 0 <= read(measured).min() <= read(measured).max() <= 1


@every_metric
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_networks_in_lower_precision_are_measured(metric: str, dtype: torch.dtype) -> None:
    model, images = network().to(dtype), pictures(2).to(dtype)
    measured = limelight.measure(
        model, images, explained(model, images), metrics=[metric], objects=masks(2)
    )
    assert not measured.unmeasured
    found = read(measured)
    assert found.dtype == torch.float64
    assert found.isfinite().all()
    double = limelight.measure(
        model.double(),
        images.double(),
        explained(model.double(), images.double()),
        metrics=[metric],
        objects=masks(2),
    )
    if dtype == torch.float32 and metric not in ("parameter-randomisation:steps=2",):
        same(found, read(double), dtype=torch.float32)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("control", ["random", "centre"])
def test_in_lower_precision_too_controls_are_those_methods(
    control: str, dtype: torch.dtype
) -> None:
    model, images = network().to(dtype), pictures(2).to(dtype)
    maps = explained(model, images, method=control)
    measured = limelight.measure(
        model,
        images,
        [explained(model, images), maps],
        metrics=["energy-pointing", "rank-accuracy"],
        objects=masks(2),
    )
    for metric in ("energy-pointing", "rank-accuracy"):
        assert getattr(measured.estimate("gradcam", metric), control) == (
            measured.estimate(control, metric).own
        )


@pytest.mark.parametrize("name", ["signal", "volume", "transformer"])
@every_metric
def test_every_metric_takes_any_grid(metric: str, name: str) -> None:
    torch.manual_seed(4)
    cases: dict[str, tuple[nn.Module, tuple[int, ...], str]] = {
        "signal": (networks.Signal(), (2, 37), "conv"),
        "volume": (networks.Volume(), (1, 5, 9, 7), "conv"),
        "transformer": (networks.TinyViT(), (3, 12, 16), "blocks.0"),
    }
    plain, size, layer = cases[name]
    model, images = ready(plain), pictures(2, size=size)
    objects = torch.zeros(2, *size[1:])
    objects[..., :4] = 1
    result = limelight.explain(model, images, layer=layer)
    measured = limelight.measure(model, images, result, metrics=[metric], objects=objects)
    assert not measured.unmeasured
    assert read(measured).isfinite().all()


# Where maps come from


def test_a_heatmap_of_one_s_own_is_measured_as_the_explanation_is() -> None:
    model, images = network(), pictures()
    result = explained(model, images, target=[0, 1, 2, 3])
    rows = [QUICK[name] for name in HEATMAPS if name not in ("infidelity", "mass-accuracy")]
    one = limelight.measure(model, images, result, metrics=rows, objects=masks())
    other = limelight.measure(
        model, images, result.heatmap, metrics=rows, objects=masks(), target=[0, 1, 2, 3]
    )
    for metric in rows:
        same(read(other, metric=metric), read(one, metric=metric))


def test_a_heatmap_may_be_of_any_number_and_scale() -> None:
    model, images = network(), pictures()
    heatmap = torch.randint(0, 50, (4, 12, 16))
    rows = ["deletion:steps=5", "average-drop", "energy-pointing"]
    wanted = limelight.measure(model, images, heatmap.double(), metrics=rows, objects=masks())
    for other in (heatmap, heatmap.float() * 1e-20, heatmap.to(torch.uint8)):
        found = limelight.measure(model, images, other, metrics=rows, objects=masks())
        for metric in rows:
            same(read(found, metric=metric), read(wanted, metric=metric), dtype=torch.float32)


@pytest.mark.parametrize("target", [None, 2, [0, 1, 2, 3], ["a", "b", "c", "d"]], ids=str)
def test_the_explanation_of_one_image_is_measured_with_it(target: Any) -> None:
    model, images = network(), pictures()
    names = list("abcde")
    result = explained(model, images, target=target, classes=names)
    rows = ["deletion:steps=5", "max-sensitivity:samples=2", "adcc"]
    wanted = limelight.measure(model, images, result, metrics=rows)
    for b in range(4):
        found = limelight.measure(model, images[b : b + 1], result[b], metrics=rows)
        for metric in rows:
            same(read(found, metric=metric), read(wanted, metric=metric)[b : b + 1])


def test_so_is_it_where_each_image_has_a_vector_of_its_own() -> None:
    model, images = network(), pictures()
    target = limelight.Similarity(torch.randn(4, 5, dtype=torch.float64))
    result = explained(model, images, target=target)
    rows = ["occlusion-correlation:cells=3", "max-sensitivity:samples=2"]
    wanted = limelight.measure(model, images, result, metrics=rows)
    for b in range(4):
        found = limelight.measure(model, images[b : b + 1], result[b], metrics=rows)
        for metric in rows:
            same(read(found, metric=metric), read(wanted, metric=metric)[b : b + 1])


def test_so_is_it_where_each_image_has_a_mask_of_its_own() -> None:
    torch.manual_seed(0)
    model, images = ready(shapes.Segmenter()), pictures(2, size=(3, 32, 32))
    mask = torch.zeros(2, 32, 32)
    mask[0, 4:20, 6:22], mask[1, 20:, :9] = 1, 1
    result = limelight.explain(model, images, target=limelight.Region(2, where=mask))
    wanted = limelight.measure(model, images, result, metrics=["deletion:steps=3"])
    for b in range(2):
        one = limelight.measure(model, images[b : b + 1], result[b], metrics=["deletion:steps=3"])
        same(read(one), read(wanted)[b : b + 1])


def test_fused_maps_are_made_again_fused() -> None:
    model, images = network(), pictures()
    fused = explained(model, images, layer=["block1", "block2"])
    measured = limelight.measure(
        model, images, fused, metrics=["max-sensitivity:samples=1,seed=3", "deletion:steps=3"]
    )
    generator = torch.Generator().manual_seed(3)
    step = (torch.rand(3, 12, 16, generator=generator, dtype=torch.float64) * 2 - 1) * 0.02
    again = explained(
        model, images + step, layer=["block1", "block2"], target=cast("Tensor", fused.index)
    )
    change = (again.raw - fused.raw).flatten(1).norm(dim=1) / fused.raw.flatten(1).norm(dim=1)
    assert_agrees(read(measured), change)


def test_maps_over_views_are_made_again_over_views() -> None:
    model, images = network(), pictures()
    result = explained(model, images, views=limelight.flips())
    measured = limelight.measure(model, images, result, metrics=["max-sensitivity:samples=1"])
    (key,) = measured.readings
    assert key.method == "gradcam, 2 flips"
    generator = torch.Generator().manual_seed(0)
    step = (torch.rand(3, 12, 16, generator=generator, dtype=torch.float64) * 2 - 1) * 0.02
    again = explained(
        model, images + step, views=limelight.flips(), target=cast("Tensor", result.index)
    )
    change = (again.raw - result.raw).flatten(1).norm(dim=1) / result.raw.flatten(1).norm(dim=1)
    assert_agrees(read(measured), change)


def test_an_explanation_that_carries_a_graph_is_measured() -> None:
    model, images = network(), pictures(2)
    result = explained(model, images, differentiable=True)
    plain = limelight.measure(
        model, images, explained(model, images), metrics="all", objects=masks(2)
    )
    found = limelight.measure(model, images, result, metrics="all", objects=masks(2))
    for name, values in parts(plain).items():
        same(parts(found)[name], values)
