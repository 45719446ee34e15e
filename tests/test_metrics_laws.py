"""Laws of measurements."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import limelight
from helpers.metric_cases import (
    HEATMAPS,
    QUICK,
    Sum,
    every_metric,
    explained,
    masks,
    network,
    parts,
    pictures,
    read,
    same,
    total,
)
from helpers.tolerances import assert_agrees
from limelight.errors import InputError, MetricError
from limelight.inputs import ModelInputs
from limelight.metrics.case import PerturbedModel
from limelight.metrics.measurement import Measurement
from limelight.options import Options
from limelight.targets import as_target

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
    assert_agrees(told.estimates()[0].own.value, wanted.item())
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


def perturbed_model(model: nn.Module, images: Tensor, target: Any) -> PerturbedModel:
    return PerturbedModel(model, ModelInputs.of(images), as_target(target), Options.read())


def test_the_other_class_is_never_the_explained_one_and_all_others_are_drawn() -> None:
    images = torch.rand(400, 1, 2, 2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 5))
    explained = [i % 5 for i in range(400)]
    perturbed = perturbed_model(model, images, explained)
    output = torch.arange(5.0).expand(400, 5)  # each logit says its class
    rows = torch.arange(400)
    drawn = {
        seed: perturbed.score_of_another_class(seed).read_again(output, rows) for seed in (0, 1)
    }
    assert not (drawn[0] == torch.tensor(explained)).any()
    assert (drawn[0] != drawn[1]).any()
    for label in range(5):
        others = drawn[0][torch.tensor(explained) == label].long().bincount(minlength=5)
        assert ((others > 5) == (torch.arange(5) != label)).all(), others
    # Alone, in another order and in another precision, an image has the same one.
    for row in (0, 7, 399):
        alone = perturbed_model(model.double(), images[row : row + 1].double(), explained[row])
        score = alone.score_of_another_class(0).read_again(output[:1], rows[:1])
        assert score == drawn[0][row]


@pytest.mark.parametrize("method", ["random", "centre", "eigencam"])
def test_a_map_that_does_not_depend_on_the_class_is_that_of_any(method: str) -> None:
    model, images = network(), pictures()
    result = explained(model, images, method=method)
    measured = limelight.measure(model, images, result, metrics=["random-logit"])
    for source in ("own", "random", "centre"):
        for name in ("value", "absolute", "ssim"):
            estimate = getattr(measured.estimate(method, "random-logit", part=name), source)
            assert_agrees(estimate.value, 1.0)
