"""The metrics equal their oracles, and doctored ones do not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import limelight
from helpers.metric_scenes import DOCTORED, ORACLES, SCENES, UNDOCTORED, allowed, expected
from helpers.networks import CHOSEN
from helpers.tolerances import assert_agrees
from limelight.metrics import METRICS

every_scene = pytest.mark.parametrize("name", SCENES)
every_metric = pytest.mark.parametrize("metric", ORACLES)


def test_every_metric_has_an_oracle_with_every_option() -> None:
    known = {metric.partition(":")[0] for metric in ORACLES}
    assert known == set(METRICS)
    for name, row in METRICS.items():
        own = [metric for metric in ORACLES if metric.partition(":")[0] == name]
        for option in row.known_options:
            assert any(f"{option}=" in metric for metric in own), f"{option} of {name}"


def test_every_oracle_has_seen_a_mistake() -> None:
    assert {metric.partition(":")[0] for metric in DOCTORED} == set(METRICS)
    assert set(DOCTORED) <= set(ORACLES)


@pytest.mark.parametrize("metric", list(METRICS))
def test_a_row_says_what_it_is(metric: str) -> None:
    row = METRICS[metric]
    assert row.name == metric
    assert row.family in ("faithfulness", "localisation", "complexity", "robustness", "sanity")
    assert row.better in ("higher", "lower")
    assert row.needs <= {"objects", "probability", "recipe"}
    assert row.formula
    assert row.paper
    assert row.use.endswith((".", "?"))
    assert row.avoid.endswith(".")
    assert row.function.__doc__


@every_scene
@every_metric
def test_readings_equal_the_oracle(name: str, metric: str) -> None:
    scene, wanted = SCENES[name], expected(name, metric)
    assert not scene.measured(metric).unmeasured
    found, curves = scene.readings(metric), scene.curves(metric)
    assert found.keys() | curves.keys() == wanted.keys()
    for part, values in found.items():
        assert torch.equal(values.isnan(), wanted[part].isnan())
        if wanted[part].nan_to_num().any():
            assert_agrees(values, wanted[part], **allowed(scene, metric))
        else:
            assert not values.any(), part
    for part, summed in curves.items():
        assert_agrees(summed, wanted[part].sum(0), **allowed(scene, metric))


@every_metric
def test_what_the_oracles_are_shown_is_not_zero_everywhere(metric: str) -> None:
    assert any(expected(name, metric)["value"].nan_to_num().any() for name in SCENES)


def agrees(found: Tensor, wanted: Tensor) -> bool:
    try:
        assert torch.equal(found.isnan(), wanted.isnan())
        assert_agrees(found.nan_to_num(), wanted.nan_to_num())
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize(
    ("metric", "how"), [(metric, how) for metric, hows in DOCTORED.items() for how in hows]
)
def test_a_doctored_metric_fails_its_oracle(metric: str, how: str) -> None:
    """In some scene at least: not every mistake shows in every map."""
    for name, scene in SCENES.items():
        found = [float(DOCTORED[metric][how](scene, b)) for b in range(3)]
        wanted = expected(name, metric)["value"]
        if wanted.nan_to_num().any() and not agrees(
            torch.tensor(found, dtype=torch.float64), wanted
        ):
            return
    pytest.fail("the mistake does not show in any scene")


def test_what_is_doctored_would_be_right_without() -> None:
    for metric, plain in UNDOCTORED.items():
        found = torch.tensor([plain(SCENES["picture"], b) for b in range(3)], dtype=torch.float64)
        assert_agrees(found, expected("picture", metric)["value"])


# Controls


@every_scene
@pytest.mark.parametrize("control", ["random", "centre"])
def test_controls_are_those_methods_on_the_same_grid(name: str, control: str) -> None:
    scene = SCENES[name]
    maps = limelight.explain(
        scene.model, scene.images, target=list(CHOSEN), layer=scene.layer, method=control
    )
    assert maps.raw.shape == scene.explanation.raw.shape
    rows = ["deletion:steps=10", "energy-pointing", "infidelity:samples=9", "occlusion-correlation"]
    whole = limelight.measure(
        scene.model, scene.images, [scene.explanation, maps], metrics=rows, objects=scene.masks
    )
    for metric in rows:
        own = whole.estimate(control, metric)
        other = whole.estimate("gradcam", metric)
        assert own.own == getattr(other, control)
        assert other.own != other.random
        assert other.random != other.centre
