"""What metrics and measurements refuse, and what they say."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

import limelight
from helpers import networks
from helpers.metric_cases import (
    HEATMAPS,
    LOCALISATION,
    Sum,
    explained,
    network,
    pictures,
)
from helpers.networks import ready
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
from limelight.runtime.randomise import cascade


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
        ("random-logit:seed=-1", r"seed of random-logit is -1; an integer of at least 0"),
        ("saco:groups=1", r"groups of saco is 1; an integer of at least 2 was expected"),
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


@pytest.mark.parametrize("kind", ["callable", "contrast", "counterfactual", "single output"])
def test_another_class_needs_a_score_of_one_class_among_several(kind: str) -> None:
    model, images = network(), pictures(2)
    targets: dict[str, Any] = {
        "callable": lambda y: y[:, 1],
        "contrast": limelight.Contrast(1),
        "counterfactual": limelight.Counterfactual(1),
    }
    if kind == "single output":
        model = ready(networks.PoolLinear(classes=1))
    result = limelight.explain(model, images, target=targets.get(kind))
    text = (
        r"explains another class too, and '.+' is not one class among several. Take a class of a "
        r"network with at least two as the target, or another metric of sanity"
    )
    with pytest.raises(MetricError, match=text):
        limelight.measure(model, images, result, metrics=["random-logit"])


def test_what_cannot_be_had_is_told_beside_what_can() -> None:
    model, images = network(), pictures(2)
    measured = limelight.measure(
        model, images, explained(model, images, target=limelight.Counterfactual(1)), metrics="all"
    )
    reasons = {one.metric: one.reason for one in measured.unmeasured}
    assert {one.method for one in measured.unmeasured} == {"gradcam"}
    assert "is not one class among several" in reasons.pop("random-logit")
    assert set(reasons) == {"average-drop", "average-gain", "adcc"}
    assert all("is about a probability" in reason for reason in reasons.values())
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


def test_an_estimate_that_was_not_measured_says_what_was() -> None:
    model, images = network(), pictures(2)
    one = limelight.measure(model, images, explained(model, images), metrics=["deletion:steps=3"])
    assert one.estimate("gradcam", "deletion") == one.estimate("gradcam", "deletion:steps=3")
    with pytest.raises(UnknownNameError, match=r"no estimate named.*gradcam deletion:steps=3"):
        one.estimate("gradcam", "insertion")
    with pytest.raises(UnknownNameError, match=r"gradcam deletion ssim"):
        one.estimate("gradcam", "deletion", part="ssim")


def test_rows_are_taken_as_names_are() -> None:
    model, images = network(), pictures(2)
    result = explained(model, images)
    row = find_metric("deletion").set(steps=3)
    one = limelight.measure(model, images, result, metrics=[row])
    other = limelight.measure(model, images, result, metrics=["deletion:steps=3"])
    assert one.rows() == other.rows()
    with pytest.raises(OptionError, match=r"metric is a int; a name in METRICS was expected"):
        find_metric(cast("str", 3))
