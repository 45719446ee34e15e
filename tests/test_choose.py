"""`choose`: a map is recommended where it earns it, on photos that had no part, and else none."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from scipy.stats import ttest_rel
from torch import Tensor, nn

import limelight
from helpers import networks
from helpers.choices import learned, scene, squares
from helpers.commands import folder
from helpers.measurements import texts
from helpers.metric_cases import read
from helpers.model_state import hooks, untouched
from helpers.tolerances import assert_agrees
from limelight.errors import (
    InputError,
    LayerError,
    LimelightError,
    MethodError,
    MetricError,
    OptionError,
    TargetError,
    UnknownNameError,
)
from limelight.methods import chosen_methods
from limelight.metrics import choosing
from limelight.metrics.candidate_maps import CandidateMaps
from limelight.metrics.candidates import all_candidates
from limelight.metrics.case import digests
from limelight.metrics.choosing import Choosing
from limelight.metrics.intervals import PairedDifference
from limelight.metrics.photo_sources import DIGEST_BYTES, PhotoSource, halves
from limelight.metrics.readings import MapSource
from limelight.metrics.recommendation import _label
from limelight.metrics.sanity import verdict_of

__all__ = ["folder", "squares"]  # fixtures

METRICS = ["deletion:steps=4", "energy-pointing"]


def quick(
    *, whole: bool = False, measured_only: bool = False, **options: Any
) -> limelight.Recommendation:
    """Choose among few candidates for the trained network.

    The tests of learning and of sanity, which take most time, look at few photos unless they are to
    be `whole`. With `measured_only` no candidate is put to the test of sanity, so that none wins.
    """
    trained, pictures, _ = scene()
    settings = {
        "methods": "gradcam random",
        "layers": "features",
        "metrics": METRICS[0],
        "steps": 3,
        **options,
    }
    model, images = settings.pop("model", trained), settings.pop("images", pictures)
    with pytest.MonkeyPatch.context() as patch:
        if not whole:
            patch.setattr(choosing, "_LEARNED_PHOTOS", 2)
            patch.setattr(choosing, "_SANITY_PHOTOS", 8)
        if measured_only:
            patch.setattr(choosing, "_MOST_TRIED", 0)
        return limelight.choose(model, images, **settings)


@pytest.fixture(scope="module")
def found() -> limelight.Recommendation:
    return quick(whole=True, methods="random gradcam centre", metrics=METRICS, objects=scene()[2])


def confirming(images: Tensor) -> list[int]:
    """Return the numbers of the images to confirm on: the half with the larger digests."""
    digests = [blake2b(image.numpy().tobytes(), digest_size=16).hexdigest() for image in images]
    return sorted(range(len(images)), key=digests.__getitem__)[(len(images) + 1) // 2 :]


# Where the network has learned


def test_a_map_that_earns_it_is_recommended(found: limelight.Recommendation) -> None:
    assert found.best is not None
    assert found.best.name == "gradcam at features"
    assert found.sentence.startswith("Use gradcam at features. On 12 photos that had no part in")
    assert found.learned is not None
    assert found.learned.p == 0.05
    assert "has learned something" in found.learned.sentence
    assert found.ranking[0].candidate is found.best
    assert [row.sanity for row in found.ranking] == ["passes", None, None]
    assert [row.ahead for row in found.ranking] == [True, False, False]
    assert all(row.seconds > 0 for row in found.ranking)
    assert not found.beside_default  # it is what explain makes anyway


def test_its_evidence_is_that_of_photos_that_had_no_part(found: limelight.Recommendation) -> None:
    model, images, where = scene()
    rows = confirming(images)
    confirmed = {image for maps in found.confirmed_on.readings.values() for image in maps.images}
    chosen = {image for maps in found.chosen_on.readings.values() for image in maps.images}
    assert len(confirmed) == len(chosen) == 12
    assert not confirmed & chosen
    # The same figures, measured on exactly those images with the line that is printed.
    result = limelight.explain(model, images[rows], **found.arguments)
    again = limelight.measure(model, images[rows], result, metrics=METRICS, objects=where[rows])
    for metric in METRICS:
        ours = found.confirmed_on.estimate("gradcam", metric)
        theirs = again.estimate("gradcam", metric)
        assert ours.own.n == theirs.own.n == 12
        for figures in ("own", "random", "centre", "over_random", "over_centre"):
            for end in ("value", "low", "high"):
                assert_agrees(
                    getattr(getattr(ours, figures), end), getattr(getattr(theirs, figures), end)
                )
        assert ours.beats_chance is theirs.beats_chance is True
        assert f"{metric} {ours.lead}" in found.sentence
        # By scipy, image by image.
        (maps,) = [m for key, m in again.readings.items() if key.metric == metric]
        sign = -1 if metric.startswith("deletion") else 1
        controls: dict[MapSource, PairedDifference]
        controls = {"random": ours.over_random, "centre": ours.over_centre}
        for control, lead in controls.items():
            readings = maps.values["own"]["value"], maps.values[control]["value"]
            both = [sign * values.numpy() for values in readings]
            by_scipy = ttest_rel(*both)
            assert np.isclose(lead.p, by_scipy.pvalue, rtol=1e-6, atol=0)
            interval = by_scipy.confidence_interval(0.95)
            assert np.allclose([lead.low, lead.high], [interval.low, interval.high])


def test_its_sanity_is_that_of_photos_that_had_no_part(found: limelight.Recommendation) -> None:
    model, images, _ = scene()
    rows = confirming(images)
    again = limelight.sanity(model, images[rows], methods="gradcam", layer="features", steps=3)
    (ours,) = [one for one in found.sanity.estimates() if one.part == "value"]
    (theirs,) = [one for one in again.measurement.estimates() if one.part == "value"]
    assert_agrees(ours.own.value, theirs.own.value)
    assert verdict_of(ours) == verdict_of(theirs) == "passes"
    assert f"likeness {ours.own}" in found.sentence


def test_the_line_of_python_makes_the_map_that_was_measured(
    found: limelight.Recommendation,
) -> None:
    model, images, _ = scene()
    line = "limelight.explain(model, images, method='gradcam', layer='features')"
    assert found.python == line
    result = eval(line, {"limelight": limelight, "model": model, "images": images})
    assert torch.equal(result.raw, limelight.explain(model, images, layer="features").raw)


def test_the_fused_map_is_the_one_that_the_line_makes() -> None:
    model, images, _ = scene()
    layers = ["features.0", "features"]
    found = quick(measured_only=True, layers=layers, methods="gradcam")
    (fused,) = [row.candidate for row in found.ranking if len(row.candidate.layers) > 1]
    assert fused.name == "gradcam fused over features.0, features"
    recommended = replace(found, best=fused)
    result = eval(recommended.python, {"limelight": limelight, "model": model, "images": images})
    (maps,) = [m for key, m in found.chosen_on.readings.items() if key.layer == result.layer]
    rows = sorted(set(range(24)) - set(confirming(images)))
    part = limelight.explain(model, images[rows], **recommended.arguments)
    again = limelight.measure(model, images[rows], part, metrics=METRICS[0])
    (others,) = again.readings.values()
    order = [others.images.index(image) for image in maps.images]
    assert_agrees(maps.values["own"]["value"], others.values["own"]["value"][order])


def test_the_choice_does_not_depend_on_the_order_or_on_copies() -> None:
    _, images, _ = scene()
    order = torch.randperm(24, generator=torch.Generator().manual_seed(4))
    mixed = torch.cat([order, order[:5]])
    plain = quick(measured_only=True)
    again = quick(measured_only=True, images=images[mixed])
    digests = [
        {name for maps in one.chosen_on.readings.values() for name in maps.images}
        for one in (plain, again)
    ]
    assert digests[0] == digests[1]
    rows = [
        [{name: v for name, v in row.items() if name != "seconds"} for row in one.rows()]
        for one in (plain, again)
    ]
    assert rows[0] == rows[1]


def test_the_lead_over_the_default_map_is_told() -> None:
    model, images, _ = scene()
    found = quick(methods="layercam", layers=["features.0", "features"])
    rows = confirming(images)
    if found.best is None:
        pytest.fail(found.sentence)
    (pair,) = found.beside_default
    assert (pair.first, pair.second) == (found.best.name, "the default, gradcam at features,")
    ours = limelight.explain(model, images[rows], **found.arguments)
    default = limelight.explain(model, images[rows])
    own, other = (
        read(limelight.measure(model, images[rows], maps, metrics=METRICS[0]))
        for maps in (ours, default)
    )
    assert_agrees(pair.lead.value, float((other - own).mean()))  # lower is better
    assert pair.is_real is None
    assert found.evidence[-1].startswith(f"In deletion:steps=4 {found.best.name} leads the default")


# Halves


def sources(digests: str) -> list[PhotoSource]:
    return [PhotoSource(f"{i}", digest, lambda: None) for i, digest in enumerate(digests)]  # type: ignore[arg-type, return-value]


def test_the_halves_are_disjoint_and_of_different_photos() -> None:
    first, second = halves(sources("abcdefghijklmnopqab"))
    names = [[photo.digest for photo in half] for half in (first, second)]
    assert names == [list("abcdefghi"), list("jklmnopq")]
    mixed = halves(sources("qbaponmlkjihgfedcba"))
    assert [[photo.digest for photo in half] for half in mixed] == names
    with pytest.raises(InputError, match="There are 15 different photos; at least 16 were"):
        halves(sources("abcdefghijklmnoabc"))


def digest_of(image: Tensor) -> str:
    return digests(image[None], DIGEST_BYTES)[0]


def test_a_digest_tells_images_apart() -> None:
    image = torch.rand(3, 4, 4)
    assert digest_of(image) == digest_of(
        image.clone().permute(1, 2, 0).contiguous().permute(2, 0, 1)
    )
    assert digest_of(image) != digest_of(image + 1e-6)
    assert digest_of(image.bfloat16())


# Where nothing is recommended


def reinitialised(model: nn.Module, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    for module in model.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
    return model.double().eval()


def saturated(seed: int) -> nn.Module:
    model = reinitialised(networks.PoolLinear(3), seed)
    with torch.no_grad():
        model.get_parameter("fc.weight").mul_(1000)
    return model


RANDOM: dict[str, Callable[[int], nn.Module]] = {
    "convolutions": lambda seed: reinitialised(networks.PoolLinear(3), seed),
    "transformer": lambda seed: reinitialised(networks.TinyViT((6, 6)), seed),
    "batch norm": lambda seed: reinitialised(networks.ResidualCNN(), seed),
    "saturated": saturated,
}


@pytest.mark.parametrize("kind", RANDOM)
def test_nothing_is_recommended_of_random_weights(kind: str) -> None:
    for seed in (1, 2):
        model = RANDOM[kind](seed)
        found = quick(whole=True, model=model, methods="gradcam saliency", layers=None)
        assert found.best is None
        assert found.sentence.startswith("Nothing is recommended. ")
        assert found.arguments == {}
        assert found.python == ""


def test_controls_alone_are_never_recommended() -> None:
    found = quick(methods="random centre", metrics=METRICS, objects=scene()[2])
    assert found.best is None
    assert found.sentence == (
        "Nothing is recommended. None of these 2 beats chance here: on the 12 photos to choose on, "
        "each is behind random maps or a blob in the centre in some metric."
    )
    assert len(found.ranking) == 2
    assert not found.confirmed_on.readings


def test_a_map_that_random_weights_do_not_change_is_not_recommended() -> None:
    found = quick(methods="eigencam", layers="features.0", metrics=METRICS[1], objects=scene()[2])
    assert [row.ahead for row in found.ranking] == [True]
    assert found.ranking[0].sanity in ("fails", "unclear")
    assert found.best is None
    assert "do not pass the test of sanity" in found.sentence
    assert f"eigencam at features.0 ({found.ranking[0].sanity})" in found.sentence


def test_the_next_best_is_taken_if_the_best_fails_the_test_of_sanity() -> None:
    found = quick(
        methods="eigencam layercam",
        layers=["features.0", "features"],
        metrics=METRICS[1],
        objects=scene()[2],
    )
    tried = [row.sanity for row in found.ranking if row.sanity is not None]
    assert tried[0] != "passes"
    assert found.best is not None
    assert found.best is found.ranking[len(tried) - 1].candidate
    assert tried[-1] == "passes"


def test_a_winner_that_is_not_confirmed_is_not_recommended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured = CandidateMaps.measured
    calls = list[int]()

    def worse(self: CandidateMaps, loaded: Any, explanations: Any) -> Any:
        calls.append(1)
        if len(calls) > 12:  # on the other photos, the map of the opposite
            explanations = [replace(one, heatmap=1 - one.heatmap) for one in explanations]
        return measured(self, loaded, explanations)

    monkeypatch.setattr(CandidateMaps, "measured", worse)
    found = quick()
    assert found.best is None
    assert "None of these was shown to beat chance here: gradcam at features was best where" in (
        found.sentence
    )
    assert (
        "not shown to beat chance in deletion:steps=4. deletion:steps=4 of gradcam at features"
        in (found.sentence)
    )
    assert len(found.evidence) == 2


# Time


class Clock:
    """A clock that goes on when maps are measured, by a second for each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.photos = 0.0, list[int]()
        monkeypatch.setattr("limelight.metrics.choosing.time.perf_counter", self)
        measured = CandidateMaps.measured

        def slow(maps: CandidateMaps, loaded: Any, explanations: Any) -> Any:
            self.now += len(explanations)
            self.photos.append(len(explanations))
            return measured(maps, loaded, explanations)

        monkeypatch.setattr(CandidateMaps, "measured", slow)

    def __call__(self) -> float:
        self.now += 1e-4
        return self.now


EIGHT: dict[str, Any] = {
    "methods": "gradcam hirescam gradcam++ layercam random centre saliency input-x-gradient"
}


def test_without_time_the_worse_half_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    found = quick(**EIGHT, budget=110)
    assert clock.now <= 110 + 8
    assert clock.photos[:3] == [8, 8, 8]
    assert clock.photos[3:12] == [4] * 9  # 24 + 36 of the 66 seconds to choose
    assert [row.dropped for row in found.ranking] == [False] * 4 + [True] * 4
    assert {row.candidate.name for row in found.ranking if row.dropped} >= {
        "random at features",
        "saliency",
    }
    assert [len(row.estimates) for row in found.ranking] == [1] * 8
    assert [row.estimates[0].own.n for row in found.ranking] == [12] * 4 + [3] * 4
    assert found.best is not None


def test_too_little_time_recommends_nothing_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    found = quick(**EIGHT, budget=20)
    assert clock.now < 20 + 8
    assert found.best is None
    assert found.sentence == (
        "Nothing is recommended. The maps of 2 photos to choose on could be measured in the time "
        "that was given, and a choice takes 8. Give it more seconds, or fewer methods and layers."
    )
    assert len(found.ranking) == 8


def test_time_that_ends_within_the_confirmation_recommends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    choose_winner = Choosing._choose_winner

    def late(choosing: Choosing) -> None:
        choose_winner(choosing)
        clock.now += 30

    monkeypatch.setattr(Choosing, "_choose_winner", late)
    found = quick(budget=50)  # 24 to choose, and 30 are lost
    assert found.best is None
    assert found.sentence == (
        "Nothing is recommended. gradcam at features was best, and could be confirmed on 0 photos "
        "only, where it takes 8. Give it more photos or more seconds."
    )


def test_time_that_ends_before_the_test_of_sanity_recommends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    choose_winner = Choosing._choose_winner

    def late(choosing: Choosing) -> None:
        clock.now += 30
        choose_winner(choosing)

    monkeypatch.setattr(Choosing, "_choose_winner", late)
    found = quick(budget=50)
    assert found.best is None
    assert "was over before the test of sanity was done" in found.sentence


def test_the_test_of_learning_keeps_to_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def tick() -> float:
        now[0] += 1
        return now[0]

    monkeypatch.setattr("limelight.metrics.choosing.time.perf_counter", tick)
    found = quick(budget=20)
    assert found.learned is not None
    assert found.learned.is_shown is None
    assert found.learned.sentence == (
        "The test whether this network has learned anything was broken off."
    )
    assert found.best is None
    assert "The maps of 0 photos" in found.sentence


def test_no_budget_takes_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    assert quick().best is not None


# What a model and its inputs may be


def test_the_model_is_left_as_it_was() -> None:
    model, _, _ = scene()
    model.train()
    model.register_forward_hook(lambda *_: None)
    before = hooks(model)
    with untouched(model):
        found = quick(model=model, layers=None)
    assert model.training
    assert hooks(model) == before
    assert found.best is not None


def test_scores_that_are_no_class_are_not_checked_for_learning() -> None:
    class Embeds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = scene()[0]

        def forward(self, x: Tensor) -> Any:
            return {"grid": cast("Any", self.inner).features(x)}

    found = quick(
        measured_only=True,
        model=Embeds(),
        layers="inner.features",
        target=lambda output: output["grid"].mean((1, 2, 3)),
    )
    assert found.learned is not None
    assert found.learned.is_shown is None
    assert "not checked, because it gives no class logits" in found.learned.sentence
    assert found.ranking


@pytest.mark.parametrize(
    "target",
    [0, "red", ["red", "green"] * 12, torch.arange(24) % 3, lambda output: output[:, 1]],
    ids=["index", "name", "list", "tensor", "callable"],
)
def test_every_target_is_that_of_its_image(target: Any) -> None:
    model, images, _ = scene()
    classes = ("red", "green", "blue")
    found = quick(measured_only=True, target=target, classes=classes, methods="gradcam")
    rows = sorted(range(24), key=lambda i: digest_of(images[i]))[:12]
    part = target
    if isinstance(target, list | Tensor):
        part = [target[i] for i in rows]
    result = limelight.explain(model, images[rows], target=part, layer="features", classes=classes)
    again = limelight.measure(model, images[rows], result, metrics=METRICS[0])
    (ours,), (theirs,) = found.chosen_on.readings.values(), again.readings.values()
    assert_agrees(ours.values["own"]["value"], theirs.values["own"]["value"])


def test_photos_of_which_no_map_can_be_made_are_left_out() -> None:
    model, images, _ = scene()
    chosen = sorted(range(24), key=lambda number: digest_of(images[number]))[:12]
    with torch.no_grad():
        outputs = model(images)

    def lacking(numbers: list[int]) -> Callable[[Tensor], Tensor]:
        def score(output: Tensor) -> Tensor:
            if any(torch.allclose(output, outputs[number], atol=1e-9) for number in numbers):
                raise TargetError("Nothing was found here.")
            return output.softmax(1).amax(1)

        return score

    found = quick(measured_only=True, target=lacking(chosen[5:6]))
    name = f"image {chosen[5]}"
    assert dict(found.failed) == {name: f"{name}: Nothing was found here."}
    assert [row.estimates[0].own.n for row in found.ranking] == [11, 11]
    found = quick(measured_only=True, target=lacking(chosen[:1]))  # the first that is looked at
    assert [row.estimates[0].own.n for row in found.ranking] == [11, 11]
    with pytest.raises(TargetError, match=r"Nothing was found here\."):
        quick(measured_only=True, target=lacking(chosen[:3]))


def test_a_network_takes_photos_in_a_list_and_by_path(squares: Path) -> None:
    network = learned()
    paths = sorted(squares.glob("*.png"))
    settings: dict[str, Any] = {"model": network, "methods": "gradcam", "measured_only": True}
    by_path = quick(images=[str(path) for path in paths], **settings)
    listed = quick(images=[limelight.load_photo(path) for path in paths], **settings)
    assert by_path.ranking[0].estimates[0].own.n == listed.ranking[0].estimates[0].own.n == 10
    assert by_path.ranking[0].estimates[0].own.value < 0.3
    paths[0].write_bytes(b"")
    paths[1].unlink()
    some = quick(model=network, images=[*paths, squares / "nul\0.png"])
    assert sorted(Path(name).name for name, _ in some.failed) == ["00.png", "01.png", "nul\0.png"]
    with pytest.raises(InputError, match="Paths of photos were given, and how to prepare photos"):
        quick(images=paths)
    with pytest.raises(OptionError, match="objects go with a tensor of images"):
        quick(images=paths, objects=scene()[2], **settings)


class Beside(nn.Module):
    """The trained network, with a second input that is added."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = scene()[0]

    def forward(self, x: Tensor, more: Tensor) -> Tensor:
        return cast("Tensor", self.inner(x)) + more


def test_inputs_may_be_a_dict() -> None:
    images = scene()[1]
    found = quick(
        measured_only=True,
        model=Beside(),
        images={"x": images, "more": torch.zeros(24, 3, dtype=torch.float64)},
        layers="inner.features",
    )
    plain = quick(measured_only=True)
    assert found.ranking[0].estimates[0].own.value == plain.ranking[0].estimates[0].own.value


def test_a_network_without_layers_has_the_methods_of_the_input() -> None:
    images = torch.zeros(20, 1, 8, 8)
    images.flatten(1)[:, [0, 20, 40]] = 5 * torch.randn(20, 3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(LayerError, match="no layer whose output is a grid"):
        limelight.choose(model, images, methods="gradcam", metrics="deletion:steps=2")
    with torch.no_grad():  # the class is the brightest of three pixels
        model[1].get_parameter("weight").zero_()[[0, 1, 2], [0, 20, 40]] = 5.0
    found = limelight.choose(
        model, images, methods="gradcam saliency", metrics="deletion:steps=2", steps=2
    )
    assert [row.candidate.name for row in found.ranking] == ["saliency"]
    assert [skipped.method for skipped in found.skipped] == ["gradcam"]


def test_methods_that_a_network_cannot_do_are_skipped() -> None:
    found = quick(measured_only=True, methods="gradcam rollout")
    assert [skipped.method for skipped in found.skipped] == ["rollout"]
    with pytest.raises(
        MethodError, match="None of the candidates can be made on this network:\n  "
    ):
        quick(methods="rollout legrad")


# What is refused


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"methods": "gardcam"}, UnknownNameError, "Did you mean 'gradcam'"),
        ({"methods": []}, MethodError, "name at least one"),
        ({"metrics": "deltion"}, UnknownNameError, "Did you mean 'deletion'"),
        ({"metrics": []}, MetricError, "name at least one"),
        ({"metrics": "sparseness"}, MetricError, "cannot be chosen by sparseness alone"),
        ({"metrics": "energy-pointing"}, MetricError, "needs to be told where the objects are"),
        ({"layers": "featurs"}, UnknownNameError, "There is no layer named 'featurs'"),
        ({"layers": []}, LayerError, "There are no layers in the list"),
        ({"target": 9}, TargetError, "an index from 0 to 2 was expected"),
        ({"target": [0, 1]}, TargetError, "There are 2 targets for 24 images"),
        ({"target": torch.tensor([0, 1])}, TargetError, "does not say of each of 24 images"),
        ({"budget": 0}, OptionError, "a number of seconds above 0 was expected"),
        ({"budget": math.nan}, OptionError, "a number of seconds above 0 was expected"),
        ({"steps": 1}, OptionError, "at least 2 were expected"),
        ({"images": "photos"}, InputError, "The inputs are a str"),
        ({"images": torch.rand(15, 3, 24, 24)}, InputError, "There are 15 different photos"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_what_cannot_be_done_is_refused_before_the_work(
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    error: type[LimelightError],
    says: str,
) -> None:
    monkeypatch.delattr("limelight.metrics.choosing.has_learned")
    monkeypatch.delattr(CandidateMaps, "measured")
    with pytest.raises(error, match=says):
        quick(**options)


# Tables, documents and pictures


def test_all_of_it_can_be_written(found: limelight.Recommendation, tmp_path: Path) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    text = found.save(tmp_path / "choice.json").read_text()
    report = json.loads(text, parse_constant=refuse)
    assert report["recommended"] == "gradcam at features"
    assert report["arguments"] == found.arguments
    assert report["evidence"] == found.evidence
    assert [row["candidate"] for row in report["candidates"]] == [
        row.candidate.name for row in found.ranking
    ]
    lines = found.save(tmp_path / "candidates.csv").read_text().splitlines()
    assert lines[0].startswith(
        "candidate,method,layers,rank,seconds,sanity,dropped,deletion:steps=4 v"
    )
    assert len(lines) == 4
    nothing = limelight.Recommendation(None, "Nothing.", None)
    assert json.loads(nothing.save(tmp_path / "none.json").read_text())["recommended"] is None
    with pytest.raises(InputError, match="Nothing was measured"):
        nothing.save(tmp_path / "none.png")


def test_the_picture_shows_the_winner_and_the_candidates(found: limelight.Recommendation) -> None:
    written = [words for words, _ in texts(found.figure())]
    assert "Use gradcam at features" in written
    for metric in METRICS:
        assert written.count(metric) == 1
    for name in ("the winner on other photos", "1. gradcam at features", "chance: random"):
        assert name in written


def test_long_paths_keep_apart_in_the_picture() -> None:
    layers = [f"vision.encoder.layers.{number}.layer_norm1" for number in (3, 11)]
    candidates = all_candidates(chosen_methods("attention-x-gradient gradcam"), layers)
    labels = [_label(candidate) for candidate in candidates]
    assert len(set(labels)) == len(labels)
    assert max(map(len, labels)) <= 28
    assert any("11.layer_norm1" in label for label in labels)
