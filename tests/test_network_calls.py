"""A `Network` in place of a model, and photos in place of a tensor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import limelight
from helpers import networks
from helpers.tolerances import assert_agrees
from limelight.errors import InputError, ModelError

CLASSES = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu")


def photo(seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def network() -> limelight.Network:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = networks.ready(networks.PoolLinear(), torch.float32)
    classes = CLASSES[: model.fc.out_features]
    preprocess = limelight.Preprocess(size=(24, 24), resize=24)
    return limelight.Network("tiny", model, preprocess, classes)


def test_a_photo_is_prepared_named_and_drawn_on(network: limelight.Network) -> None:
    result = limelight.explain(network, photo())
    by_hand = limelight.explain(network.model, network.images(photo()))
    assert_agrees(result.raw, by_hand.raw)
    assert result.label[0] in CLASSES
    assert by_hand.label[0].startswith("class ")
    view = network.preprocess.view(photo())
    assert result.photos is not None
    assert result.photos[0].tobytes() == view.tobytes()
    drawn, expected = result.overlay()[0], by_hand.overlay([view])[0]
    assert drawn.tobytes() == expected.tobytes()
    assert drawn.size == view.size


def test_several_photos_are_one_batch(network: limelight.Network) -> None:
    photos = [photo(1), photo(2)]
    result = limelight.explain(network, photos, target=["ant", "bee"])
    assert result.label == ("ant", "bee")
    second = result[1]
    assert second.photos is not None
    assert second.photos[0].tobytes() == network.preprocess.view(photos[1]).tobytes()
    assert_agrees(second.raw, limelight.explain(network, photos[1], target="bee").raw, terms=4096)


def test_a_tensor_goes_to_the_network_as_it_is(network: limelight.Network) -> None:
    images = network.images(photo())
    result = limelight.explain(network, images, target="cat")
    assert result.photos is None
    assert result.label == ("cat",)
    assert torch.equal(result.image, images)


def test_class_names_that_are_passed_win(network: limelight.Network) -> None:
    names = [f"kind {number}" for number in range(len(network.classes or ()))]
    assert limelight.explain(network, photo(), target=2, classes=names).label == ("kind 2",)


@pytest.mark.parametrize(
    "call",
    [
        lambda network, photo: limelight.explain_each(network, photo, limelight.top(2))[1],
        lambda network, photo: limelight.compare(network, photo, methods="gradcam").explanations[0],
        lambda network, photo: limelight.sanity(
            network, photo, methods="gradcam", steps=2
        ).explanations[0],
    ],
    ids=["explain_each", "compare", "sanity"],
)
def test_all_that_explains_takes_a_network_and_a_photo(
    network: limelight.Network, call: Callable[..., limelight.Explanation]
) -> None:
    explanation = call(network, photo())
    assert explanation.label[0] in CLASSES
    assert explanation.photos is not None


def test_measure_takes_a_network_and_a_photo(network: limelight.Network) -> None:
    result = limelight.explain(network, photo())
    measured = limelight.measure(network, photo(), result, metrics=["deletion:steps=4"])
    expected = limelight.measure(
        network.model,
        network.images(photo()),
        result,
        metrics=["deletion:steps=4"],
        classes=network.classes,
    )
    assert measured.methods == expected.methods == ("gradcam",)


def test_a_photo_for_a_bare_model_says_what_to_do(network: limelight.Network) -> None:
    for inputs in (photo(), [photo(), photo()]):
        with pytest.raises(InputError, match="Pass a Network, as"):
            limelight.explain(network.model, inputs)


def test_photos_that_make_no_batch_are_refused(network: limelight.Network) -> None:
    whole = limelight.Network("whole", network.model, limelight.Preprocess(size=None, resize=None))
    photos = [photo(), photo().resize((30, 30))]
    with pytest.raises(InputError, match=r"inputs of shapes \[\[3, 30, 30\], \[3, 40, 60\]\]"):
        limelight.explain(whole, photos)


def test_what_takes_a_module_alone_says_to_pass_it(network: limelight.Network) -> None:
    images = network.images(photo())
    calls: list[Any] = [limelight.cut, limelight.record]
    for call in calls:
        with pytest.raises(ModelError, match=r"is a Network; .* was expected. Pass its .model"):
            call(network, images)


def test_what_is_saved_is_drawn_on_the_photo(
    network: limelight.Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[Any]()
    original = limelight.Explanation.overlay

    def noted(self: limelight.Explanation, *args: Any, **options: Any) -> Any:
        drawn = original(self, *args, **options)
        seen.extend(drawn)
        return drawn

    monkeypatch.setattr(limelight.Explanation, "overlay", noted)
    limelight.explain(network, photo()).save(tmp_path / "x.png", picture="overlay")
    assert seen[0].size == network.preprocess.view(photo()).size
