"""limelight.sanity: maps beside those of random weights; and what compare measures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from scipy.stats import spearmanr
from torch import nn

import limelight
from helpers import networks
from helpers.measurements import (
    CLASSES,
    GOOD,
    NAN,
    about,
    assert_readable,
    made,
    network,
    pictures,
    texts,
)
from helpers.networks import ready
from helpers.tolerances import assert_agrees
from limelight.errors import (
    InputError,
    MethodError,
    MetricError,
    OptionError,
    OutputError,
    TargetError,
    UnknownNameError,
)
from limelight.metrics.measurement import Measurement
from limelight.metrics.sanity import verdict_of, verdicts

# Measured by compare


def test_compare_measures_its_own_maps() -> None:
    model, images = network(), pictures()
    boxes = [[[2, 2, 9, 9]]] * 3
    found = limelight.compare(
        model,
        images,
        methods=["gradcam", "saliency"],
        targets=[0, 3],
        metrics=["insertion:steps=3", "energy-pointing"],
        objects=boxes,
    )
    assert found.measured is not None
    wanted = limelight.measure(
        model,
        images,
        limelight.compare(model, images, methods=["gradcam", "saliency"], targets=[0, 3]),
        metrics=["insertion:steps=3", "energy-pointing"],
        objects=boxes,
    )
    assert found.measured.rows() == wanted.rows()
    assert {row["n"] for row in wanted.rows()} == {6}  # 3 images, 2 targets each
    assert limelight.compare(model, images, methods=["gradcam"]).measured is None


def test_a_method_twice_does_not_count_twice() -> None:
    model, images = network(), pictures(1)
    found = limelight.compare(model, images, methods=["gradcam"] * 2, metrics=["increase"])
    assert found.measured is not None
    assert [row["n"] for row in found.measured.rows()] == [1]


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"metrics": ["insertoin"]}, UnknownNameError, "Did you mean 'insertion'"),
        ({"metrics": []}, MetricError, "name at least one, or 'all'"),
        ({"metrics": ["pointing-game"]}, MetricError, "needs to be told where the objects are"),
        ({"metrics": ["increase"], "objects": [[]]}, InputError, "The objects are given as"),
    ],
    ids=["unknown", "none", "objects", "wrong objects"],
)
def test_what_cannot_be_measured_is_refused_before_any_work(
    options: dict[str, Any], error: type[Exception], says: str
) -> None:
    told = list[str]()
    with pytest.raises(error, match=says):
        limelight.compare(
            network(),
            pictures(),
            methods=["gradcam"],
            progress=lambda name, _done, _count: told.append(name),
            **options,
        )
    assert told == []


# limelight.sanity


def test_a_map_that_knows_nothing_of_the_weights_fails() -> None:
    found = limelight.sanity(
        network(), pictures(8), methods=["gradcam", "random", "centre"], steps=3, classes=CLASSES
    )
    assert found.verdicts == {"gradcam": "passes", "random": "fails", "centre": "fails"}
    assert [one.method for one in found.explanations] == ["gradcam", "random", "centre"]
    for stages in found.stages:
        assert [stage.share for stage in stages][-1] == 1
        assert len(stages) == 3
        assert stages[0].layer == "classifier.2"
        assert stages[-1].layer == "stem.0"
    assert found.verdicts == verdicts(found.measurement)


def test_the_likeness_is_spearman_s_of_the_stages() -> None:
    found = limelight.sanity(network(), pictures(), methods=["gradcam"], steps=4)
    (before,), (stages,) = found.explanations, found.stages
    wanted = [
        np.mean([spearmanr(before.raw[b].ravel(), s.maps.raw[b].ravel())[0] for s in stages])
        for b in range(3)
    ]
    (one,) = [one for one in found.measurement.estimates() if one.part == "value"]
    assert_agrees(one.own.value, np.mean(wanted))
    absolute = [
        spearmanr(before.raw[b].abs().ravel(), s.maps.raw[b].abs().ravel())[0]
        for b in range(3)
        for s in stages
    ]
    part = found.measurement.estimate("gradcam", "parameter-randomisation", part="absolute")
    assert_agrees(part.own.value, np.mean(absolute))
    # As the metric says.
    measured = limelight.measure(
        network(), pictures(), before, metrics=["parameter-randomisation:steps=4"]
    )
    assert_agrees(
        [row["value"] for row in measured.rows()],
        [row["value"] for row in found.measurement.rows()],
    )


def test_the_network_keeps_its_weights_and_its_mode() -> None:
    model = network().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for methods in (["gradcam"], ["rollout"]):
        try:
            limelight.sanity(model, pictures(), methods=methods, steps=2)
        except MethodError:
            assert methods == ["rollout"]
        assert model.training
        assert all(one.grad is None for one in model.parameters())
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name])


def test_the_seed_is_of_the_new_weights() -> None:
    def likeness(**options: Any) -> list[float]:
        found = limelight.sanity(network(), pictures(), methods=["gradcam"], steps=2, **options)
        return [row["value"] for row in found.measurement.rows()]

    assert likeness() == likeness(seed=0)
    torch.manual_seed(99)
    assert likeness() == likeness()
    assert likeness(seed=1) != likeness(seed=0)


def test_images_one_by_one_add_up_to_all_of_them() -> None:
    model, images, total = network(), pictures(), Measurement()
    for order in ([0, 1, 2], [2, 0, 1]):
        total = Measurement()
        for b in order:
            total += limelight.sanity(
                model, images[b : b + 1], methods=["gradcam", "saliency"], steps=3, target=2
            ).measurement
        whole = limelight.sanity(model, images, methods=["gradcam", "saliency"], steps=3, target=2)
        assert whole.verdicts == verdicts(total)
        for row, wanted in zip(total.rows(), whole.measurement.rows(), strict=True):
            assert row["n"] == wanted["n"] == 3
            for name in ("value", "low", "high"):
                assert_agrees(row[name], wanted[name])


@pytest.mark.parametrize(
    ("readings", "wanted"),
    [
        (about(0.2), "passes"),
        (about(0.8), "fails"),
        ([0.1, 0.9] * 5, "unclear"),
        (about(0.5), "unclear"),
        ([0.2], "unclear"),
        ([0.8], "unclear"),
        ([0.5], "unclear"),
        ([NAN, NAN], "unclear"),
        ([NAN, 0.2], "unclear"),
        ([-0.9] * 3, "unclear"),
        ([-0.9] * 8, "passes"),
        ([0.2] * 7 + [NAN] * 3, "unclear"),
    ],
    ids=[
        *("below", "above", "wide", "on it", "one below", "one above", "one on it"),
        *("none", "one of two", "negative, few", "negative", "few are defined"),
    ],
)
def test_a_method_passes_if_the_whole_interval_is_below(readings: list[float], wanted: str) -> None:
    some = [0.0] * len(readings)
    measured = made({("gradcam", "parameter-randomisation:steps=3"): (readings, some, some)})
    (one,) = measured.estimates()
    assert verdict_of(one) == wanted
    assert verdicts(measured) == {"gradcam": wanted}


def test_other_metrics_have_no_such_verdict() -> None:
    assert verdicts(made({("gradcam", "insertion"): GOOD})) == {}


def test_the_strip_shows_each_stage() -> None:
    found = limelight.sanity(
        network(), pictures(2), methods=["gradcam", "random"], steps=3, classes=CLASSES
    )
    figure = found.figure()
    assert_readable(figure)
    written = [words for words, _ in texts(figure)]
    assert written.count("photo") == 4  # two images, two methods
    assert sum(words.startswith("trained") for words in written) == 4
    for share, layer in ((stage.share, stage.layer) for stage in found.stages[0]):
        assert written.count(f"{share:.0%} random\n{layer}") == 4
    gradcam = found.measurement.estimate("gradcam", "parameter-randomisation").own
    assert written.count(f"gradcam unclear: likeness {gradcam}") == 2
    assert sum(words.startswith("random unclear: likeness 1.000") for words in written) == 2
    # A stage of a map that fails looks as the map did.
    shown = [np.asarray(axes.get_images()[0].get_array()) for axes in _images(figure)]
    per = 2 + 3
    strips = [shown[i : i + per] for i in range(0, len(shown), per)]
    assert len(strips) == 4
    for strip, same in zip(strips, (False, False, True, True), strict=True):
        assert all(np.array_equal(strip[1], one) for one in strip[2:]) == same


def _images(figure: Figure) -> list[Any]:
    return [axes for part in figure.subfigs for axes in part.axes if axes.get_images()]


def test_methods_that_share_a_name_have_their_own_likeness_in_the_strip() -> None:
    methods = ["smoothgrad:samples=2,noise=3.0", "smoothgrad:samples=2"]
    for order in (methods, methods[::-1], ["occlusion:patch=0.9,stride=0.9", "occlusion"]):
        found = limelight.sanity(network(), pictures(1), methods=order, steps=2)
        written = [words for words, _ in texts(found.figure())]
        for one in found.measurement.estimates():
            if one.part == "value":
                assert f"{one.method} {verdict_of(one)}: likeness {one.own}" in written


@pytest.mark.parametrize("form", ["png", "jpg", "pdf", "svg", "webp"])
def test_the_strip_is_saved(tmp_path: Path, form: str) -> None:
    found = limelight.sanity(network(), pictures(1), methods=["gradcam"], steps=2)
    photo = Image.new("RGB", (64, 64), "red")
    path = found.save(tmp_path / "a" / f"strip.{form}", photos=[photo], colormap="viridis")
    assert path.stat().st_size > 1000
    assert len(list(path.parent.iterdir())) == 1


def test_the_strip_says_what_is_wrong(tmp_path: Path) -> None:
    found = limelight.sanity(network(), pictures(2), methods=["gradcam"], steps=2)
    for name in ("strip.npz", "strip.gif", "strip"):
        with pytest.raises(OutputError, match="its suffix should be one of png"):
            found.save(tmp_path / name)
    with pytest.raises(InputError, match="The number of photos is 1, that of the explained"):
        found.save(tmp_path / "strip.png", photos=[Image.new("RGB", (9, 9))])
    with pytest.raises(UnknownNameError, match="Did you mean 'jet'"):
        found.save(tmp_path / "strip.png", colormap="jett")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"steps": 1}, OptionError, "steps is 1; at least 2 were expected"),
        ({"methods": ["gardcam"]}, UnknownNameError, "Did you mean 'gradcam'"),
        ({"methods": ["rollout"]}, MethodError, "none of these methods"),
        ({"target": 9}, TargetError, "an index from 0 to 4 was expected"),
        ({"methods": []}, MethodError, "name at least one"),
    ],
    ids=["steps", "method", "none", "target", "no method"],
)
def test_what_cannot_be_checked_is_refused(
    options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        limelight.sanity(network(), pictures(), **{"methods": ["gradcam"], "steps": 2, **options})


def test_more_stages_than_layers_are_as_many_as_there_are() -> None:
    model = ready(networks.PoolLinear())
    (stages,) = limelight.sanity(model, pictures(), methods=["gradcam"], steps=50).stages
    assert [stage.layer for stage in stages] == ["fc", "features.2", "features.0"]


def test_sanity_tells_how_far_it_is() -> None:
    told = list[tuple[str, int, int]]()
    limelight.sanity(
        network(),
        pictures(1),
        methods=["gradcam"],
        steps=2,
        progress=lambda *one: told.append(one),
    )
    assert ("randomising for gradcam", 100, 100) in told


def test_signals_have_strips_too(tmp_path: Path) -> None:
    model = nn.Sequential(
        *(nn.Conv1d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv1d(6, 6, 3, padding=1)),
        *(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, 3)),
    )
    found = limelight.sanity(model, torch.randn(8, 2, 40), methods=["gradcam", "random"], steps=2)
    assert found.verdicts["random"] == "fails"
    assert found.save(tmp_path / "strip.png").is_file()
