"""The methods of a layer equal their oracles, and doctored ones do not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from helpers import attention_studies
from helpers.method_scenes import (
    DOCTORED,
    OF_NO_CLASS,
    ORACLES,
    SCENES,
    SCENES_OF_CAM,
    SPECTRAL,
    UNDOCTORED,
    Scene,
    every_method,
    explained,
    over,
)
from helpers.tolerances import assert_agrees
from limelight.errors import MethodError, UnknownNameError
from limelight.evidence import Evidence
from limelight.methods import METHODS, find_method

# The table


def test_every_method_has_an_oracle() -> None:
    known = {how.partition(":")[0] for how in [*ORACLES, *attention_studies.ORACLES]}
    assert known | {"tam"} == set(METHODS)  # that of words is in test_token_activation.py


def test_every_oracle_has_seen_a_mistake() -> None:
    assert {how.partition(":")[0] for how in ORACLES} == set(DOCTORED) & set(METHODS)
    assert set(DOCTORED) <= set(ORACLES)
    assert all(DOCTORED.values())


@every_method
def test_a_row_says_what_it_is(name: str) -> None:
    row = METHODS[name]
    assert row.name == name
    assert row.formula
    assert row.paper
    assert row.use.endswith(".")
    assert row.avoid.endswith(".")


@every_method
def test_a_method_reads_what_its_row_says_and_no_more(name: str) -> None:
    row, image = METHODS[name], torch.randn(1, 3, 9, 9)
    evidence = Evidence(activations=image, image=image, score=torch.ones(1))
    if not row.needs:
        assert row.raw(evidence).shape == (1, 9, 9)
        return
    needs = "|".join(row.needs)
    with pytest.raises(MethodError, match=rf"reads the ({needs}), which were not gathered"):
        row.raw(evidence)


def test_a_method_that_is_not_there_comes_with_the_nearest() -> None:
    assert find_method("gradcam") == METHODS["gradcam"]
    with pytest.raises(UnknownNameError, match=r"no method named 'grad-cem'\. Did you mean"):
        find_method("grad-cem")
    with pytest.raises(UnknownNameError, match=r"no method named 'xyz'\. There are cam, gradcam"):
        find_method("xyz")


# Oracles


@over(ORACLES, [name for name in SCENES if name not in SCENES_OF_CAM[1:]])
def test_a_raw_map_equals_its_oracle(method: str, scene: Scene) -> None:
    assert_agrees(
        scene.explained(method).raw,
        scene.expected(method),
        scale=scene.what_cancels(method),
        limit=SPECTRAL if method in ("kpcacam", "eigencam", "eigengradcam") else None,
    )


def test_what_the_oracles_are_shown_would_tell_signs_and_cells_apart() -> None:
    for name in ("transformer", "block of a transformer", "channels last", "signal", "volume"):
        scene = SCENES[name]
        assert scene.a.min() < 0 < scene.a.max()
        assert (scene.g.std(scene.axes) > 0.01 * scene.g.abs().mean(scene.axes)).all()
    assert SCENES["transformer"].curvature.abs().max() > 1e-3
    dead = ~SCENES["cnn"].a.flatten(2).any(2)
    assert dead.any()  # some channel is zero everywhere
    for how in ORACLES.keys() - {"cam", "gradcam-elementwise"}:
        expected = SCENES["transformer"].expected(how)
        assert expected.min() < 0
        assert expected.max() > 0 or "softmax" in how


def doctored_on(method: str) -> Scene:
    return SCENES["pool" if method == "cam" else "transformer"]


@pytest.mark.parametrize(
    ("method", "how"), [(method, how) for method, made in DOCTORED.items() for how in made]
)
def test_a_doctored_map_fails_its_oracle(method: str, how: str) -> None:
    scene = doctored_on(method)
    with pytest.raises(AssertionError, match="apart by"):
        assert_agrees(DOCTORED[method][how](scene), scene.expected(method))


@pytest.mark.parametrize("method", UNDOCTORED)
def test_what_is_doctored_would_be_right_without(method: str) -> None:
    scene = doctored_on(method)
    right = UNDOCTORED[method](scene)
    assert_agrees(right, scene.expected(method), scale=scene.what_cancels(method))


@over(ORACLES)
@pytest.mark.parametrize("other", [[1, 1, 2], [0, 1, 2], [2, 2, 2]], ids=str)
def test_the_map_of_another_class_fails_the_oracle(
    method: str, scene: Scene, other: list[int]
) -> None:
    raw = explained(scene, scene.model, scene.images, method, other).raw
    if method.partition(":")[0] in OF_NO_CLASS:
        assert torch.equal(raw, scene.explained(method).raw)
        return
    with pytest.raises(AssertionError, match="apart by"):
        assert_agrees(raw, scene.expected(method))


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw[..., :-1],
        lambda raw: raw.transpose(1, 2),
        lambda raw: raw[:1],
        lambda raw: raw[:, None],
        lambda raw: raw.float(),
        lambda raw: raw * torch.nan,
    ],
)
def test_a_map_of_another_shape_or_kind_fails_the_oracle(
    change: Callable[[Tensor], Tensor],
) -> None:
    scene = SCENES["cnn"]
    with pytest.raises(AssertionError):
        assert_agrees(change(scene.explained("gradcam").raw), scene.expected("gradcam"))


def test_an_oracle_that_is_zero_everywhere_is_no_oracle() -> None:
    with pytest.raises(AssertionError, match="nothing would be compared"):
        assert_agrees(torch.zeros(2), torch.zeros(2))
