"""What becomes of metrics at the edges, in any batch, and of the network that they measure."""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import limelight
import networks
import shapes
from limelight.errors import (
    InputError,
    LimelightError,
    MetricError,
    ModelError,
    OptionError,
    UnknownNameError,
)
from limelight.inputs import ModelInputs
from limelight.metrics import METRICS, find_metric
from limelight.metrics.measurement import Measurement
from limelight.metrics.objects import Objects
from limelight.metrics.statistics import Estimate, mean, mean_over_groups
from limelight.runtime.randomise import cascade
from networks import ready
from oracles import metrics as oracles
from test_cut import untouched
from tolerances import assert_agrees

#: Every metric with few steps, so that all of them are quick.
QUICK = {
    **{name: name for name in METRICS},
    "deletion": "deletion:steps=5",
    "insertion": "insertion:steps=5",
    "road": "road:steps=2",
    "infidelity": "infidelity:samples=6",
    "occlusion-correlation": "occlusion-correlation:cells=3",
    "max-sensitivity": "max-sensitivity:samples=2",
    "parameter-randomisation": "parameter-randomisation:steps=2",
}
every_metric = pytest.mark.parametrize("metric", QUICK.values(), ids=list(QUICK))
LOCALISATION = [name for name, row in METRICS.items() if row.family == "localisation"]
HEATMAPS = [name for name, row in METRICS.items() if "recipe" not in row.needs]


def network(seed: int = 2) -> nn.Module:
    torch.manual_seed(seed)
    model = ready(networks.ResidualCNN())
    with torch.no_grad():
        cast("nn.Linear", model.get_submodule("classifier.2")).weight.mul_(20)
    return model


def pictures(count: int = 4, seed: int = 1, size: tuple[int, ...] = (3, 12, 16)) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, *size, generator=generator, dtype=torch.float64)


def masks(count: int = 4) -> Tensor:
    found = torch.zeros(count, 12, 16)
    for b in range(count):
        found[b, b : b + 5, 2 + b : 9] = 1
    return found


def explained(model: nn.Module, images: Tensor, **options: Any) -> limelight.Explanation:
    return limelight.explain(model, images, **{"layer": "block1", **options})


def read(measured: Measurement, method: str | None = None, metric: str | None = None) -> Tensor:
    """Return the readings of each image, of the first method and metric or those named."""
    for key, sample in measured.samples.items():
        if method in (None, key.method) and metric in (None, key.metric):
            return sample.readings["own"]["value"]
    raise AssertionError("not measured")


def parts(measured: Measurement) -> dict[str, Tensor]:
    """Return all readings, by what they are of."""
    return {
        f"{key} {whose} {name}": values
        for key, sample in measured.samples.items()
        for whose, readings in sample.readings.items()
        for name, values in readings.items()
    }


def own(heatmap: Tensor, objects: Any, metric: str, **options: Any) -> Tensor:
    """Measure heatmaps of one's own against objects; the network does not matter."""
    images = torch.rand(len(heatmap), 1, *heatmap.shape[1:]) + 1
    measured = limelight.measure(
        Sum(), images, heatmap, metrics=[metric], objects=objects, target=total, **options
    )
    return read(measured)


class Sum(nn.Module):
    """The sum of all pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).sum(1, keepdim=True)


def total(output: Tensor) -> Tensor:
    return output[:, 0]


def same(
    found: Tensor, wanted: Tensor, *, scale: float | None = None, dtype: torch.dtype | None = None
) -> None:
    """Assert that readings are the same, those that are not defined too.

    They are made of probabilities, shares and correlations, up to 1, or of larger scores.
    """
    scale = max(1.0, float(wanted.nan_to_num().abs().max())) if scale is None else scale
    assert_agrees(found, wanted, scale=scale, dtype=dtype)


# Objects


def test_an_image_without_an_object_is_left_out_and_never_a_hit() -> None:
    objects = torch.zeros(3, 6, 8)
    objects[1, 2:4, 3:5] = 1
    boxes: list[Any] = [[], [[3.0, 2.0, 5.0, 4.0]], torch.zeros(0, 4)]
    for where in (objects, boxes):
        for metric in LOCALISATION:
            images, heatmap = torch.rand(3, 1, 6, 8), torch.rand(3, 6, 8)
            measured = limelight.measure(
                Sum(), images, heatmap, metrics=[metric], objects=where, target=total
            )
            assert read(measured).isnan().tolist() == [True, False, True]
            for estimate in (f := measured.figures()[0]).own, f.random, f.centre:
                assert (estimate.n, estimate.left_out) == (1, 2)
                assert not math.isnan(estimate.value)


def test_without_any_object_there_is_no_figure() -> None:
    for metric in LOCALISATION:
        images, heatmap = torch.rand(2, 1, 6, 8), torch.rand(2, 6, 8)
        measured = limelight.measure(
            Sum(), images, heatmap, metrics=[metric], objects=[[], []], target=total
        )
        figure = measured.figures()[0]
        assert math.isnan(figure.own.value)
        assert (figure.own.n, figure.own.left_out) == (0, 2)
        assert figure.beats_chance is None
        json.dumps(measured.as_dict(), allow_nan=False)


def test_an_object_that_covers_everything_is_always_hit() -> None:
    heatmap, objects = torch.rand(2, 6, 8), torch.ones(2, 6, 8)
    for metric in ("pointing-game", "energy-pointing", "mass-accuracy", "rank-accuracy"):
        assert_agrees(own(heatmap, objects, metric), torch.ones(2).double())
    assert own(torch.ones(2, 6, 8), objects, "localisation-error").tolist() == [0, 0]


@pytest.mark.parametrize("level", [0.0, 0.7, -2.0])
def test_a_map_that_is_the_same_everywhere_scores_what_chance_would(level: float) -> None:
    heatmap, objects = torch.full((1, 40, 50), level), torch.zeros(1, 40, 50)
    objects[0, :4, :5] = 1
    share = torch.tensor([20 / 2000], dtype=torch.float64)
    for metric in ("energy-pointing", "mass-accuracy", "rank-accuracy"):
        assert_agrees(own(heatmap, objects, metric), share)
    near = oracles.near(objects[0].numpy() > 0, 15).mean()
    found = own(heatmap, objects, "pointing-game")
    assert_agrees(found, torch.tensor([near], dtype=torch.float64))
    assert own(heatmap, objects, "localisation-error").item() == 1  # all of the image


def test_a_map_that_is_the_same_everywhere_ranks_nothing() -> None:
    model, images = network(), pictures()
    flat = limelight.measure(
        model, images, torch.full((4, 12, 16), 0.3), metrics=["road:steps=3", QUICK["infidelity"]]
    )
    assert flat.figure("heatmaps", "road").own.value == 0
    occluded = limelight.measure(
        model, images, torch.zeros(4, 12, 16), metrics=["occlusion-correlation"]
    )
    assert occluded.figure("heatmaps", "occlusion-correlation").own.value == 0


def test_a_map_whose_status_is_not_ok_is_measured_as_nothing_and_told() -> None:
    model, images = network(), pictures()
    with torch.no_grad():
        last = cast("nn.Linear", model.get_submodule("classifier.2"))
        last.weight[3] = 0
    result = explained(model, images, target=3)
    assert {status.name for status in result.status} == {"disconnected"}
    rows = ["energy-pointing", "road:steps=2", "occlusion-correlation", "max-sensitivity"]
    measured = limelight.measure(model, images, result, metrics=rows, objects=masks())
    assert measured.status == {("gradcam", "block1"): {"disconnected": 4}}
    assert_agrees(read(measured, metric="energy-pointing"), masks().double().mean((1, 2)))
    assert measured.figure("gradcam", "road").own.value == 0
    assert measured.figure("gradcam", "occlusion-correlation").own.value == 0
    assert measured.figure("gradcam", "max-sensitivity").own.left_out == 4


def test_a_blank_map_does_not_come_near_a_whole_one_in_adcc() -> None:
    """Coherent with itself it is not; small and harmless it is."""
    model, images = network(), pictures()
    with torch.no_grad():
        cast("nn.Linear", model.get_submodule("classifier.2")).weight[3] = 0
    measured = limelight.measure(
        model, images, explained(model, images, target=3), metrics=["adcc"]
    )
    figure = measured.figure("gradcam", "adcc")
    assert not figure.own.value > figure.random.value


def test_a_one_pixel_object() -> None:
    heatmap, objects = torch.zeros(1, 30, 40), torch.zeros(1, 30, 40)
    heatmap[0, 10, 20], objects[0, 10, 20] = 1, 1
    for metric in ("pointing-game:tolerance=0", "energy-pointing", "mass-accuracy"):
        assert own(heatmap, objects, metric).item() == 1
    assert own(heatmap, objects, "rank-accuracy").item() == 1
    assert own(heatmap, objects, "localisation-error").item() == 0
    for metric in ("energy-pointing", "mass-accuracy", "rank-accuracy"):
        assert own(heatmap.flip(2), objects, metric).item() == 0


@pytest.mark.parametrize(
    ("step", "hit"), [((0, 15), 1), ((15, 0), 1), ((0, 16), 0), ((9, 12), 1), ((10, 12), 0)]
)
def test_a_hit_is_within_15_pixels_between_centres(step: tuple[int, int], hit: int) -> None:
    heatmap, objects = torch.zeros(1, 40, 40), torch.zeros(1, 40, 40)
    objects[0, 3, 4], heatmap[0, 3 + step[0], 4 + step[1]] = 1, 1
    assert own(heatmap, objects, "pointing-game").item() == hit


def test_several_maxima_hit_by_their_share() -> None:
    heatmap, objects = torch.zeros(1, 4, 40), torch.zeros(1, 4, 40)
    heatmap[0, 0, [0, 30, 39]], objects[0, 0, 1] = 5, 1
    assert_agrees(own(heatmap, objects, "pointing-game").item(), 1 / 3)


def test_rank_accuracy_shares_the_border_by_hand() -> None:
    # Of 4 places 2 are sure, one of them a hit; 2 of 3 level ones follow, one of which is inside.
    heatmap = torch.tensor([[[3.0, 2.0, 1.0, 1.0, 1.0, 0.0, 0.0]]])
    objects = torch.tensor([[[1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0]]])
    found = own(heatmap, objects, "rank-accuracy").item()
    assert_agrees(found, (1 + 2 / 3) / 4)


def test_the_box_of_the_largest_part_by_hand() -> None:
    heatmap = torch.zeros(1, 10, 10)
    heatmap[0, 1:4, 1:5] = 0.15  # at the threshold, and larger
    heatmap[0, 4, 5] = 0.5  # touches it at a corner alone
    heatmap[0, 7:9, 7:9] = 1.0
    assert own(heatmap, [[[1, 1, 5, 4]]], "localisation-error").item() == 0
    assert own(heatmap, [[[7, 7, 9, 9]]], "localisation-error").item() == 1
    # Any one of several boxes will do; half of the union is enough, less is not.
    assert own(heatmap, [[[7, 7, 9, 9], [1, 1, 5, 4]]], "localisation-error").item() == 0
    assert own(heatmap, [[[1, 1, 5, 7]]], "localisation-error").item() == 0
    assert own(heatmap, [[[1, 1, 5, 7.01]]], "localisation-error").item() == 1
    assert own(heatmap, [[[7, 7, 9, 9]]], "localisation-error:threshold=0.16").item() == 0


def test_of_parts_that_are_equally_large_the_first_counts() -> None:
    heatmap = torch.zeros(1, 6, 6)
    heatmap[0, 0:2, 0:2], heatmap[0, 4:6, 4:6] = 0.5, 1
    assert own(heatmap, [[[0, 0, 2, 2]]], "localisation-error").item() == 0
    assert own(heatmap, [[[4, 4, 6, 6]]], "localisation-error").item() == 1


#: Boxes of an image of 4 rows and 6 columns, and its pixels (row, column).
BOXES: list[tuple[list[float], list[tuple[int, int]]]] = [
    ([1, 2, 3, 4], [(2, 1), (2, 2), (3, 1), (3, 2)]),
    ([0.6, 0, 2.4, 1], [(0, 1)]),  # the centres 1.5 alone
    ([0.4, 0, 2.6, 1], [(0, 0), (0, 1), (0, 2)]),
    ([2.6, 1.6, 2.9, 1.9], [(1, 2)]),  # no centre inside: the pixel it lies in
    ([2.1, 0, 2.2, 4], [(0, 2), (1, 2), (2, 2), (3, 2)]),  # thin
    ([-5, -5, 1, 1], [(0, 0)]),
    ([5, 3, 50, 50], [(3, 5)]),
    ([-3, -3, 0.2, 0.2], [(0, 0)]),
    ([5.9, 3.9, 9, 9], [(3, 5)]),
    ([3, 2, 3, 2], [(2, 3)]),  # a point
    ([0, 0, 0, 0], [(0, 0)]),  # a point on the corner
    ([-9, 0, -1, 4], []),
    ([6, 0, 9, 4], []),
    ([0, 4, 6, 5], []),
    ([-9, -9, 99, 99], list(itertools.product(range(4), range(6)))),
]


@pytest.mark.parametrize(("box", "pixels"), BOXES, ids=[str(box) for box, _ in BOXES])
def test_the_pixels_of_a_box(box: list[float], pixels: list[tuple[int, int]]) -> None:
    found = Objects.of([[box]], torch.zeros(1, 3, 4, 6))
    assert [tuple(place) for place in found.mask[0].nonzero().tolist()] == pixels
    assert len(found.boxes[0]) == bool(pixels)


def test_boxes_of_signals_and_volumes_begin_with_the_last_axis() -> None:
    signal = Objects.of([[[2, 5]]], torch.zeros(1, 2, 9))
    assert signal.mask[0].nonzero().flatten().tolist() == [2, 3, 4]
    volume = Objects.of([[[0, 1, 2, 1, 3, 4]]], torch.zeros(1, 1, 5, 4, 3))
    wanted = torch.zeros(5, 4, 3, dtype=torch.bool)
    wanted[2:4, 1:3, 0:1] = True
    assert torch.equal(volume.mask[0], wanted)


def test_every_connected_part_of_a_mask_is_an_object() -> None:
    mask = torch.zeros(1, 6, 8, dtype=torch.bool)
    mask[0, 0:2, 1:4] = mask[0, 3:6, 5:8] = True
    (boxes,) = Objects.of(mask, torch.zeros(1, 3, 6, 8)).boxes
    assert boxes.tolist() == [[1, 0, 4, 2], [5, 3, 8, 6]]


def test_objects_are_taken_as_masks_of_any_kind_as_boxes_and_as_objects() -> None:
    heatmap, images = torch.rand(2, 6, 8), torch.rand(2, 1, 6, 8)
    mask = torch.zeros(2, 6, 8)
    mask[0, 1:3, 2:6], mask[1, 0:6, 0:3] = 200, 1
    boxes: list[Any] = [[[2, 1, 6, 3]], torch.tensor([[0, 0, 3, 6]])]
    for metric in LOCALISATION:
        wanted = own(heatmap, mask, metric)
        for where in (mask > 0, mask.to(torch.uint8), boxes, Objects.of(boxes, images)):
            assert torch.equal(own(heatmap, where, metric), wanted)


# Small images, and those without structure


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (1, 9), (2, 2)], ids=str)
@pytest.mark.parametrize("metric", HEATMAPS)
def test_the_smallest_images_have_a_figure_or_a_reason(metric: str, size: tuple[int, int]) -> None:
    heatmap, images = torch.rand(2, *size), torch.rand(2, 1, *size)

    def measured() -> Measurement:
        return limelight.measure(
            Sum(),
            images,
            heatmap,
            metrics=[metric],
            objects=torch.ones(2, *size),
            target=lambda y: y[:, 0].sigmoid(),
        )

    if metric == "road" and size == (1, 1):
        with pytest.raises(MetricError, match=r"Images of 1 pixels are too small to remove some"):
            measured()
    else:
        assert read(measured()).isfinite().all()


@every_metric
@pytest.mark.parametrize("level", [0.0, 0.6])
def test_an_image_without_structure_gives_finite_figures(metric: str, level: float) -> None:
    model, images = network(), torch.full((2, 3, 12, 16), level, dtype=torch.float64)
    measured = limelight.measure(
        model, images, explained(model, images), metrics=[metric], objects=masks(2)
    )
    found = read(measured)
    assert (found.isfinite() | found.isnan()).all()
    assert not found.isinf().any()


# Networks and targets


def wanted_deletion(model: nn.Module, images: Tensor, heatmap: Tensor, value: Any) -> Tensor:
    def of(b: int) -> Callable[[oracles.Array], float]:
        @torch.no_grad()
        def one(image: oracles.Array) -> float:
            changed = images.clone()
            changed[b] = torch.tensor(image)
            return float(value(model(changed))[b])

        return one

    each = [
        oracles.deletion(of(b), images[b].numpy(), heatmap[b].numpy(), 5)[0]
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
        dropped = limelight.measure(model, images, result, metrics=["average-drop"]).figures()[0]
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
        metrics=["deletion:steps=3", "energy-pointing", "max-sensitivity:samples=1"],
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
        assert getattr(measured.figure("gradcam", metric), control) == (
            measured.figure(control, metric).own
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
    (key,) = measured.samples
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


# Laws


def test_whether_a_score_is_a_probability_does_not_depend_on_the_batch() -> None:
    images = torch.rand(3, 1, 4, 4, dtype=torch.float64) / 16
    images[2] += 1  # the sums of the first two are below 1
    heatmap = torch.rand(3, 4, 4)
    found = []
    for rows in (slice(0, 3), slice(0, 1), slice(1, 3)):
        try:
            found.append(
                limelight.measure(
                    Sum(), images[rows], heatmap[rows], metrics=["average-drop"], target=total
                ).n
            )
        except MetricError:
            found.append(0)
    assert found in ([0, 0, 0], [3, 1, 2])


def test_classes_may_be_told_for_the_mean_over_them() -> None:
    model, images = network(), pictures()
    result = explained(model, images)
    rows = ["pointing-game:tolerance=0"]
    hits = limelight.measure(model, images, result, metrics=rows, objects=masks())
    told = limelight.measure(
        model, images, result, metrics=rows, objects=masks(), groups=["a", "a", "a", "b"]
    )
    same(read(told), read(hits))
    values = read(hits)
    wanted = (values[:3].mean() + values[3]) / 2
    assert_agrees(told.figures()[0].own.value, wanted.item())
    with pytest.raises(InputError, match=r"There are 3 groups for 4 images"):
        limelight.measure(
            model, images, result, metrics=rows, objects=masks(), groups=["a", "a", "b"]
        )


@every_metric
def test_the_readings_of_a_batch_are_those_of_its_images(metric: str) -> None:
    model, images, objects = network(), pictures(), masks()
    objects[2] = 0
    whole = limelight.measure(
        model, images, explained(model, images), metrics=[metric], objects=objects
    )
    rows = [slice(0, 1), slice(1, 3), slice(3, 4)]
    each = [
        limelight.measure(
            model,
            images[r],
            explained(model, images[r]),
            metrics=[metric],
            objects=objects[r],
            chunk=chunk,
        )
        for r, chunk in zip(rows, (1, 3, 50), strict=True)
    ]
    summed = parts(sum(each, Measurement()))
    for name, values in parts(whole).items():
        same(summed[name], values)


@every_metric
def test_permuting_the_batch_permutes_the_readings(metric: str) -> None:
    model, images, objects = network(), pictures(), masks()
    order = [2, 0, 3, 1]
    one = limelight.measure(
        model, images, explained(model, images), metrics=[metric], objects=objects
    )
    other = limelight.measure(
        model,
        images[order],
        explained(model, images[order]),
        metrics=[metric],
        objects=objects[order],
    )
    for name, values in parts(one).items():
        same(parts(other)[name], values[order])


@pytest.mark.parametrize("factor", [1e-5, 3.0, 1e4])
def test_the_scale_of_a_map_leaves_what_ranks_or_shares(factor: float) -> None:
    model, images = network(), pictures()
    heatmap = torch.rand(4, 12, 16, dtype=torch.float64)
    rows = [QUICK[name] for name in HEATMAPS]
    one = limelight.measure(model, images, heatmap, metrics=rows, objects=masks())
    other = limelight.measure(model, images, heatmap * factor, metrics=rows, objects=masks())
    for name, values in parts(one).items():
        same(parts(other)[name], values)


def times(factor: float) -> Callable[[Tensor], Tensor]:
    return lambda y: y[:, 1] * factor


@pytest.mark.parametrize("factor", [1e-5, 7.0])
def test_the_scale_of_a_score_leaves_what_ranks(factor: float) -> None:
    model, images = network(), pictures()
    heatmap = torch.rand(4, 12, 16, dtype=torch.float64)
    rows = ["occlusion-correlation:cells=3", "increase"]
    found = [
        limelight.measure(model, images, heatmap, metrics=rows, target=times(f))
        for f in (1.0, factor)
    ]
    for metric in rows:
        same(read(found[1], metric=metric), read(found[0], metric=metric))


def test_the_scale_of_a_score_scales_what_is_in_its_unit() -> None:
    model, images = network(), pictures()
    heatmap = torch.rand(4, 12, 16, dtype=torch.float64)
    rows = {"deletion:steps=5": 3, "insertion:steps=5": 3, "road:steps=2": 3, "infidelity": 9}
    one, other = (
        limelight.measure(model, images, heatmap, metrics=list(rows), target=times(f))
        for f in (1, 3)
    )
    for metric, power in rows.items():
        same(read(other, metric=metric), read(one, metric=metric) * power)


def test_figures_do_not_depend_on_the_order_in_which_measurements_are_added() -> None:
    model, images, objects = network(), pictures(), masks()
    rows = ["deletion:steps=5", "pointing-game:tolerance=1", "road:steps=2"]
    shards = [
        limelight.measure(
            model,
            images[b : b + 1],
            explained(model, images[b : b + 1]),
            metrics=rows,
            objects=objects[b : b + 1],
        )
        for b in range(4)
    ]
    first, second, third, fourth = shards
    wanted = (first + second + third + fourth).rows()
    assert ((first + second) + (third + fourth)).rows() == wanted
    assert (first + (second + (third + fourth))).rows() == wanted
    assert (Measurement() + first + second + third + fourth + Measurement()).rows() == wanted
    for order in itertools.islice(itertools.permutations(shards), 0, 24, 5):
        found = {
            one["metric"]: one for one in sum(order, Measurement()).rows() if one["part"] == "value"
        }
        for row in wanted:
            if row["part"] == "value":
                assert found[row["metric"]] == row


def test_adding_changes_neither() -> None:
    model, images = network(), pictures(2)
    one = limelight.measure(model, images, explained(model, images), metrics=["deletion:steps=3"])
    before = json.dumps(one.as_dict())
    _ = one + one
    assert json.dumps(one.as_dict()) == before
    assert (one + one).n == 4
    assert one.n == 2


def test_what_was_measured_is_saved_and_read_back_exactly(tmp_path: Path) -> None:
    model, images, objects = network(), pictures(), masks()
    objects[1] = 0
    result = explained(model, images)
    whole = limelight.measure(model, images, result, metrics="all", objects=objects)
    whole = whole + limelight.measure(
        model, images, result.heatmap, metrics=["increase"], objects=objects
    )
    back = Measurement.load(whole.save(tmp_path / "measured.json"))
    assert json.dumps(back.as_dict()) == json.dumps(whole.as_dict())
    assert [str(row) for row in back.rows()] == [str(row) for row in whole.rows()]
    assert back.verdict() == whole.verdict()
    for name, values in parts(whole).items():
        assert torch.equal(parts(back)[name].nan_to_num(-9), values.nan_to_num(-9))
        assert parts(back)[name].dtype == torch.float64
    assert (back + whole).n == 2 * whole.n
    assert json.loads((tmp_path / "measured.json").read_text())


def test_curves_are_means_over_images_and_belong_to_a_method_at_a_layer() -> None:
    model, images = network(), pictures()
    both = [explained(model, images, layer=layer) for layer in ("block1", "stem")]
    curves = limelight.measure(model, images, both, metrics=["deletion:steps=4"]).curves("deletion")
    alone = [
        limelight.measure(model, images, one, metrics=["deletion:steps=4"]).curves("deletion")
        for one in both
    ]
    assert not torch.equal(alone[0]["curve"]["gradcam"], alone[1]["curve"]["gradcam"])
    found = [v for name, v in curves["curve"].items() if not name.startswith("chance")]
    assert len(found) == 2, "each layer has a curve of its own"


# Statistics


@pytest.mark.parametrize("n", [2, 5, 40, 300])
def test_the_interval_is_that_of_an_independent_bootstrap(n: int) -> None:
    values = np.random.default_rng(n).gamma(2.0, size=n)
    found = mean(torch.tensor(values), ["a"] * n)
    assert_agrees(found.value, values.mean(), scale=values.max())
    assert (found.n, found.left_out) == (n, 0)
    low, high = oracles.bootstrap(values.tolist(), 2000, seed=99)
    close = 0.12 * (high - low)
    assert found.low == pytest.approx(low, abs=close)
    assert found.high == pytest.approx(high, abs=close)
    assert found.low <= found.value <= found.high


def test_the_interval_over_groups_is_that_of_an_independent_bootstrap() -> None:
    random = np.random.default_rng(5)
    groups = random.choice(["cat", "dog", "rare"], 90, p=[0.6, 0.35, 0.05]).tolist()
    values = [float(random.random() < {"cat": 0.8, "dog": 0.4, "rare": 0.5}[g]) for g in groups]
    found = mean_over_groups(torch.tensor(values, dtype=torch.float64), groups)
    by_group = [
        np.mean([v for v, g in zip(values, groups, strict=True) if g == name])
        for name in set(groups)
    ]
    assert_agrees(found.value, np.mean(by_group), scale=max(values))
    low, high = oracles.bootstrap(values, 4000, 99, groups)
    assert found.low == pytest.approx(low, abs=0.12 * (high - low))
    assert found.high == pytest.approx(high, abs=0.12 * (high - low))


def test_the_mean_over_classes_weighs_classes_and_not_images() -> None:
    values = torch.tensor([1.0, 1, 1, 0])
    groups = ["a", "a", "a", "b"]
    assert mean_over_groups(values, groups).value == 0.5
    assert mean(values, groups).value == 0.75


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    random, hits = np.random.default_rng(0), 0
    for _ in range(150):
        found = mean(torch.tensor(random.normal(3.0, 2.0, size=60)), ["a"] * 60)
        hits += found.low <= 3.0 <= found.high
    assert 0.88 <= hits / 150 <= 0.99


@pytest.mark.parametrize("average", [mean, mean_over_groups], ids=["mean", "over groups"])
def test_an_interval_needs_two_values(
    average: Callable[[Tensor, Sequence[str]], Estimate],
) -> None:
    none = average(torch.tensor([math.nan, math.nan]), ["a", "b"])
    assert math.isnan(none.value)
    assert (none.n, none.left_out) == (0, 2)
    one = average(torch.tensor([0.25, math.nan]), ["a", "b"])
    assert (one.value, one.n, one.left_out) == (0.25, 1, 1)
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert str(one) == "0.250"


@pytest.mark.parametrize("average", [mean, mean_over_groups], ids=["mean", "over groups"])
@pytest.mark.parametrize("level", [0.0, 0.1, 1 / 3, 1.0])
def test_of_values_that_are_all_the_same_so_are_the_ends(
    average: Callable[[Tensor, Sequence[str]], Estimate], level: float
) -> None:
    found = average(torch.full((10,), level, dtype=torch.float64), list("aabbbbbccc"))
    assert_agrees(found.value, level, terms=1, scale=level or 1.0)
    assert found.low == found.value == found.high


@pytest.mark.parametrize("average", [mean, mean_over_groups], ids=["mean", "over groups"])
def test_an_interval_does_not_depend_on_the_order_and_leaves_the_generators(
    average: Callable[[Tensor, Sequence[str]], Estimate],
) -> None:
    values = torch.rand(23, dtype=torch.float64)
    groups = [str(int(v * 7) % 3) for v in values.tolist()]
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index]
    wanted = average(values, groups)
    order = torch.randperm(23, generator=torch.Generator().manual_seed(1)).tolist()
    assert average(values[order], [groups[i] for i in order]) == wanted
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.random.get_state()[1].tolist() == numpy_before  # type: ignore[index]


def test_values_that_are_not_finite_make_no_warning() -> None:
    found = mean(torch.tensor([1.0, math.inf, 2.0, 3.0]), list("abcd"))
    assert (found.value, found.n, found.left_out) == (2.0, 3, 1)


# The network is left as it was


class Tied(networks.Chain):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.fourth = nn.Conv2d(6, 6, 3, padding=1)
        self.fourth.weight = self.third.weight

    def finish(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.fc(self.fourth(self.third(x).tanh()).tanh().mean((2, 3))))


class Attends(nn.Module):
    """PyTorch's own attention, which reads its weights itself."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return cast("Tensor", self.head(x.tanh().mean(1)))


class NoReset(nn.Module):
    """Weights of its own, and no way to reset them."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 3))
        self.body = nn.Sequential(nn.Conv2d(3, 3, 3), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.body(x).mean((2, 3)) @ self.weight.T)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "residual": networks.ResidualCNN,
    "vit": networks.TinyViT,
    "lstm": networks.Recurrent,
    "attention": Attends,
    "encoder": networks.Encoder,
    "tied": Tied,
    "no reset": NoReset,
    "channels last": networks.ChannelsLast,
    "called twice": networks.CalledTwice,
    "list": networks.KeepsAList,
}
every_network = pytest.mark.parametrize("kind", NETWORKS)


def of_kind(kind: str) -> nn.Module:
    torch.manual_seed(5)
    model = ready(NETWORKS[kind]())
    for module in model.modules():  # as trained: nothing is constant
        if isinstance(module, nn.LayerNorm | nn.MultiheadAttention):
            for parameter in module.parameters():
                nn.init.normal_(parameter, 0.5, 0.5)
    return model


@pytest.mark.parametrize("training", [False, True], ids=["eval", "training"])
@pytest.mark.parametrize("kind", ["residual", "lstm", "attention", "tied"])
def test_every_metric_leaves_the_network_as_it_was(kind: str, training: bool) -> None:
    model, images = of_kind(kind), pictures(2, size=(3, 16, 16))
    model.train(training)
    handle = model.register_forward_hook(lambda *_: None)
    for number, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(number % 2 == 0)
        parameter.grad = torch.ones_like(parameter) if number % 3 == 0 else None
    state = {name: one.clone() for name, one in model.state_dict().items()}
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    numbers = np.random.get_state()[1].tolist()  # type: ignore[index]
    objects = torch.zeros(2, 16, 16)
    objects[:, 3:9, 4:10] = 1
    result = limelight.explain(model, images, method="input-x-gradient")
    for metric in QUICK.values():
        with untouched(model):
            limelight.measure(model, images, result, metrics=[metric], objects=objects)
        for name, one in model.state_dict().items():
            assert torch.equal(one, state[name]), f"{metric}: {name}"
        for parameter, grad in zip(model.parameters(), grads, strict=True):
            assert (parameter.grad is None) == (grad is None)
            assert grad is None or torch.equal(cast("Tensor", parameter.grad), grad)
    assert np.random.get_state()[1].tolist() == numbers  # type: ignore[index]
    handle.remove()


class Fails(networks.ResidualCNN):
    """Raises at a certain run."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = [math.inf]

    def forward(self, x: Tensor) -> Tensor:
        self.runs[0] -= 1
        if self.runs[0] <= 0:
            raise KeyError("the network's own")
        return super().forward(x)


@pytest.mark.parametrize("after", [2, 3, 4, 5])
@pytest.mark.parametrize("name", ["deletion", "road", "max-sensitivity", "parameter-randomisation"])
def test_a_network_that_raises_midway_is_left_as_it_was(name: str, after: int) -> None:
    torch.manual_seed(0)
    model, images = ready(Fails()), pictures(2)
    result = explained(model, images)
    state = {key: one.clone() for key, one in model.state_dict().items()}
    training = [module.training for module in model.modules()]
    random = torch.get_rng_state()
    model.runs[0] = after
    with pytest.raises(KeyError, match="the network's own"):
        limelight.measure(model, images, result, metrics=[name], chunk=1)
    model.runs[0] = math.inf
    for key, one in model.state_dict().items():
        assert torch.equal(one, state[key])
    assert [module.training for module in model.modules()] == training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), random)


# The cascade


def stages(
    model: nn.Module, images: Tensor, steps: int = 100, seed: int = 0
) -> list[tuple[str, float, dict[str, Tensor], Tensor]]:
    """Return each stage: its layer, share, weights, and what the network puts out."""
    found = []
    for layer, share, shadow in cascade(model, ModelInputs.of(images), steps, seed):
        state = {name: one.detach().clone() for name, one in shadow.named_parameters()}
        with torch.no_grad():
            found.append((layer, share, state, shadow(images)))
    return found


def changed(model: nn.Module, state: dict[str, Tensor]) -> set[str]:
    return {name for name, one in model.named_parameters() if not torch.equal(one, state[name])}


@every_network
def test_the_cascade_goes_from_the_logits_to_all_weights(kind: str) -> None:
    model, images = of_kind(kind), pictures(2, size=(3, 12, 16))
    with torch.no_grad():
        output = model(images)
    found = stages(model, images)
    assert found[-1][1] == 1
    assert changed(model, found[-1][2]) == {name for name, _ in model.named_parameters()}
    before = set[str]()
    for (_layer, _share, state, other), (_, share) in zip(
        found, [(None, s[1]) for s in found], strict=True
    ):
        now = changed(model, state)
        assert before < now, "every stage adds a layer"
        assert 0 < share <= 1
        assert not torch.equal(other, output), "what is drawn is what the network reads"
        before = now
    for previous, following in itertools.pairwise(found):
        # Attention empties its last layer's bias with its own, and what is tied is drawn twice.
        for name in changed(model, previous[2]) - {"fourth.weight", "third.weight"}:
            if not name.endswith("out_proj.bias"):
                assert torch.equal(previous[2][name], following[2][name]), "drawn once"


@every_network
def test_the_shadow_is_an_ordinary_network_with_those_weights(kind: str) -> None:
    model, images = of_kind(kind), pictures(2, size=(3, 12, 16))
    for _layer, _share, shadow in cascade(model, ModelInputs.of(images), 100, 0):
        twin = copy.deepcopy(model)
        twin.load_state_dict(shadow.state_dict())
        with torch.no_grad():
            assert_agrees(shadow(images), twin(images))


@pytest.mark.parametrize(
    ("kind", "logits"),
    [
        ("residual", "classifier.2."),
        ("vit", "head."),
        ("lstm", "fc."),
        ("attention", "head."),
        ("encoder", "head."),
        ("tied", "fc."),
        ("channels last", "head."),
    ],
)
def test_the_first_stage_is_the_layer_that_makes_the_logits(kind: str, logits: str) -> None:
    model, images = of_kind(kind), pictures(2, size=(3, 12, 16))
    layer, _share, state, _output = stages(model, images)[0]
    assert f"{layer}." == logits
    assert changed(model, state) == {f"{logits}weight", f"{logits}bias"}


def test_tied_weights_stay_tied() -> None:
    model, images = of_kind("tied"), pictures(2)
    for _layer, _share, shadow in cascade(model, ModelInputs.of(images), 100, 0):
        third, fourth = shadow.get_submodule("third"), shadow.get_submodule("fourth")
        assert third.weight is fourth.weight


@every_network
def test_the_cascade_is_seeded(kind: str) -> None:
    model, images = of_kind(kind), pictures(2, size=(3, 12, 16))
    torch.manual_seed(77)
    random = torch.get_rng_state()
    first, again, other = (stages(model, images, 3, seed)[-1][2] for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), random)
    for name, one in first.items():
        assert torch.equal(one, again[name])
        assert not torch.equal(one, other[name]) or one.std() == 0  # as norms begin


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 50])
def test_however_many_steps_in_the_end_all_weights_are_random(steps: int) -> None:
    model, images = network(), pictures(2)
    found = stages(model, images, steps)
    assert len(found) <= steps
    assert found[-1][1] == 1


def test_a_map_that_does_not_read_the_weights_does_not_change() -> None:
    model, images = network(), pictures()
    for method in ("centre", "random"):
        measured = limelight.measure(
            model,
            images,
            explained(model, images, method=method),
            metrics=["parameter-randomisation:steps=3"],
        )
        for part in ("value", "absolute", "ssim"):
            one = measured.figure(method, "parameter-randomisation", part=part)
            for estimate in (one.own, one.random, one.centre):
                assert_agrees(estimate.value, 1.0)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", ["weight norm", "spectral norm", "parametrised"])
def test_normalised_weights_are_drawn_anew_and_left_alone(kind: str) -> None:
    torch.manual_seed(3)
    model, images = networks.Chain(), pictures(2)
    wrap: dict[str, Callable[[nn.Module], nn.Module]] = {
        "weight norm": torch.nn.utils.weight_norm,
        "spectral norm": torch.nn.utils.spectral_norm,
        "parametrised": torch.nn.utils.parametrizations.weight_norm,
    }
    model.second = cast("nn.Conv2d", wrap[kind](model.second))
    ready(model)
    with torch.no_grad():
        output = model(images)
    with untouched(model):
        found = stages(model, images)
    with torch.no_grad():
        assert torch.equal(model(images), output)
    assert changed(model, found[-1][2]) == {name for name, _ in model.named_parameters()}


# Errors


def refused(kind: type[LimelightError], text: str, **given: Any) -> None:
    model = Counts()
    images = pictures(2)
    arguments: dict[str, Any] = {"maps": torch.rand(2, 12, 16), "metrics": ["deletion"]} | given
    maps = arguments.pop("maps")
    with pytest.raises(kind, match=text):
        limelight.measure(model, images, maps, **arguments)
    assert not model.count, "refused before any work"


class Counts(networks.PoolLinear):
    """Counts its runs."""

    count = 0

    def forward(self, x: Tensor) -> Tensor:
        Counts.count += 1
        return super().forward(x)


def test_a_metric_that_is_not_there_comes_with_the_nearest() -> None:
    refused(UnknownNameError, r"'delection'.*deletion", metrics=["delection"])
    refused(UnknownNameError, r"option of deletion.*'step'.*steps", metrics=["deletion:step=3"])
    refused(UnknownNameError, r"option of increase.*There are: none", metrics=["increase:steps=3"])


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        ("deletion:steps=0", r"The option steps of deletion is 0; an integer of at least 1 was"),
        ("deletion:steps=2.5", r"steps of deletion is 2.5; an integer of at least 1"),
        ("deletion:steps", r"Cannot read 'steps' in 'deletion:steps'; option=value was expected"),
        ("road:noise=-1", r"noise of road is -1; a number of at least 0"),
        ("road:seed=-1", r"seed of road is -1; an integer of at least 0"),
        ("infidelity:patch=2", r"patch of infidelity is 2; a number above 0 and at most 1"),
        ("infidelity:patch=0", r"patch of infidelity is 0; a number above 0 and at most 1"),
        ("infidelity:scaled=3", r"scaled of infidelity is 3; true or false was expected"),
        ("occlusion-correlation:cells=0", r"cells of occlusion-correlation is 0; an integer of at"),
        ("pointing-game:tolerance=-1", r"tolerance of pointing-game is -1; a number of at least 0"),
        ("localisation-error:iou=1.5", r"iou of localisation-error is 1.5; a number above 0 and"),
        ("max-sensitivity:radius=0", r"radius of max-sensitivity is 0; a number above 0"),
        ("max-sensitivity:samples=nan", r"samples of max-sensitivity is nan; an integer"),
        ("deletion:baseline=inf", r"baseline of deletion is inf; a number"),
        ("parameter-randomisation:steps=0", r"steps of parameter-randomisation is 0; an integer"),
    ],
)
def test_an_option_out_of_range_is_refused(metric: str, text: str) -> None:
    objects = torch.ones(2, 12, 16)
    refused(OptionError, text, metrics=[metric], objects=objects)


@pytest.mark.parametrize("metric", LOCALISATION)
def test_where_the_objects_are_has_to_be_told(metric: str) -> None:
    refused(
        MetricError,
        rf"'{metric}' needs to be told where the objects are: objects=masks \[B, \*image\], or a "
        r"list with the boxes \[n, 4\] of each image",
        metrics=["increase", metric],
    )


@pytest.mark.parametrize("metric", [name for name in METRICS if name not in HEATMAPS])
def test_how_a_map_was_made_has_to_be_known(metric: str) -> None:
    refused(
        MetricError,
        rf"'{metric}' makes the maps again.*Pass what limelight.explain returned rather than a",
        metrics=["increase", metric],
    )


def test_maps_and_objects_have_to_fit_the_images() -> None:
    refused(
        InputError, r"heatmaps have shape \[3, 12, 16\].*\[2, 12, 16\]", maps=torch.rand(3, 12, 16)
    )
    refused(InputError, r"heatmaps have shape \[2, 3, 4\].*at its size", maps=torch.rand(2, 3, 4))
    refused(InputError, r"There are no maps to measure; pass at least one", maps=[])
    refused(MetricError, r"There are no metrics to measure by; name at least one", metrics=[])
    rows = ["energy-pointing"]
    refused(
        InputError,
        r"objects are given as \[2, 5, 5\], for images \[2, 3, 12, 16\]. Masks \[2, 12, 16\]",
        objects=torch.ones(2, 5, 5),
        metrics=rows,
    )
    refused(
        InputError,
        r"objects are given as 3 images.*a list with the boxes \[n, 4\] of each image",
        objects=[[], [], []],
        metrics=rows,
    )
    for boxes in ([[1, 2, 3]], [[5, 5, 3, 9]], [[1, 2, 3, math.nan]], [1, 2, 3, 4]):
        refused(
            InputError,
            r"The boxes of image 1 are .*; a row x1, y1, x2, y2 for each was expected, in pixels",
            objects=[[], boxes],
            metrics=rows,
        )


def test_an_explanation_of_other_images_or_another_model_is_refused() -> None:
    model, images = network(), pictures()
    result = explained(model, images)
    with pytest.raises(InputError, match=r"explanation is of images \[4, 3, 12, 16\].*\[2, 3"):
        limelight.measure(model, images[:2], result, metrics=["deletion"])
    other = explained(
        model, images, target=[(int(i) + 1) % 5 for i in cast("Tensor", result.index)]
    )
    assert limelight.measure(model, images, other, metrics=["deletion:steps=1"]).n == 4
    with pytest.raises(InputError, match=r"Pass the model and the inputs that were explained"):
        limelight.measure(network(9), images, result, metrics=["deletion"])


def test_a_network_without_weights_has_none_to_draw() -> None:
    images = pictures(2, size=(1, 6, 8))
    result = limelight.explain(Sum(), images, method="input-x-gradient")
    with pytest.raises(MetricError, match=r"has no parameters.*Measure it by another metric"):
        limelight.measure(Sum(), images, result, metrics=["parameter-randomisation"])
    with pytest.raises(ModelError, match=r"a Sum, has no parameters"):
        next(cascade(Sum(), ModelInputs.of(images), 2, 0))


def test_what_cannot_be_had_is_told_beside_what_can() -> None:
    model, images = network(), pictures(2)
    measured = limelight.measure(
        model, images, explained(model, images, target=limelight.Counterfactual(1)), metrics="all"
    )
    assert {one.metric for one in measured.unmeasured} == {"average-drop", "average-gain", "adcc"}
    assert {one.method for one in measured.unmeasured} == {"gradcam"}
    assert all("is about a probability" in one.reason for one in measured.unmeasured)
    twice = measured + measured
    assert twice.unmeasured == measured.unmeasured


def test_measurements_that_do_not_fit_are_not_added() -> None:
    model, images = network(), pictures(2)
    result = explained(model, images)
    one = limelight.measure(model, images, result, metrics=["deletion:steps=3"])
    told = one.as_dict()
    for curves in ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [0.0]):
        other = json.loads(json.dumps(told))
        for whose in other["readings"][0]["curves"].values():
            whose["curve"] = curves
        with pytest.raises(InputError, match=r"do not fit each other.*same options"):
            _ = one + Measurement.from_dict(other)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "3",
        '{"readings": [3], "status": [], "unmeasured": []}',
        '{"readings": [{}], "status": [], "unmeasured": []}',
        '{"readings": [{"method": "a", "layer": "b", "metric": "increase", "groups": [],'
        ' "images": [], "numbers": {"own": [], "random": [], "centre": []},'
        ' "counted": {}, "curves": {"own": {}, "random": {},'
        ' "centre": {}}}], "status": [], "unmeasured": []}',
        '{"readings": {}, "status": 3, "unmeasured": []}',
        '{"readings": [], "status": [], "unmeasured": [{"a": 1}]}',
    ],
)
def test_a_file_that_is_no_measurement_says_so(text: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"cannot be read as a measurement.*Measurement.save"):
        Measurement.load(path)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.json.*cannot be read as a measurement"):
        Measurement.load(tmp_path / "none.json")


def test_a_figure_that_was_not_measured_says_what_was() -> None:
    model, images = network(), pictures(2)
    one = limelight.measure(model, images, explained(model, images), metrics=["deletion:steps=3"])
    assert one.figure("gradcam", "deletion") == one.figure("gradcam", "deletion:steps=3")
    with pytest.raises(UnknownNameError, match=r"gradcam deletion:steps=3"):
        one.figure("gradcam", "insertion")
    with pytest.raises(UnknownNameError, match=r"gradcam deletion ssim"):
        one.figure("gradcam", "deletion", part="ssim")


def test_rows_are_taken_as_names_are() -> None:
    model, images = network(), pictures(2)
    result = explained(model, images)
    row = find_metric("deletion").set(steps=3)
    one = limelight.measure(model, images, result, metrics=[row])
    other = limelight.measure(model, images, result, metrics=["deletion:steps=3"])
    assert one.rows() == other.rows()
    with pytest.raises(OptionError, match=r"metric is a int; a name in METRICS was expected"):
        find_metric(cast("str", 3))


# Sanity: on a network that learned something


def test_on_a_network_that_was_trained_maps_beat_chance_and_go_away_with_the_weights() -> None:
    torch.manual_seed(0)
    model, images, boxes = trained()
    result = limelight.explain(model, images, layer="features.2")
    measured = limelight.measure(
        model,
        images,
        result,
        metrics=["deletion:steps=20", "insertion:steps=20", "road:steps=4", "energy-pointing"],
        objects=boxes,
    )
    for metric in ("insertion", "road", "energy-pointing"):
        figure = measured.figure("gradcam", metric)
        assert figure.own.value > figure.random.value, metric
    assert measured.figure("gradcam", "energy-pointing").beats(
        measured.figure("gradcam", "energy-pointing").random
    )


def trained() -> tuple[nn.Module, Tensor, Tensor]:
    """Return a network that tells patterns apart, pictures, and where the patterns are."""
    generator = torch.Generator().manual_seed(0)

    def draw(count: int) -> tuple[Tensor, Tensor, Tensor]:
        images = 0.3 * torch.randn(count, 3, 24, 24, generator=generator).double()
        where = torch.zeros(count, 24, 24)
        labels = torch.randint(0, 3, (count,), generator=generator)
        for b, label in enumerate(labels.tolist()):
            y, x = torch.randint(0, 16, (2,), generator=generator).tolist()
            images[b, label, y : y + 8, x : x + 8] += 2
            where[b, y : y + 8, x : x + 8] = 1
        return images, labels, where

    model = networks.PoolLinear(classes=3).double()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        images, labels, _where = draw(32)
        optimizer.zero_grad()
        cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    images, _labels, where = draw(12)
    return model.eval(), images, where
