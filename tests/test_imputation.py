"""Imputation: ROAD's linear system, solved."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import limelight
from helpers.metric_scenes import SCENES, Recorder, Seen
from helpers.tolerances import assert_agrees, rounding
from limelight.metrics.imputation import impute
from oracles import faithfulness

SIZES = [
    (2, 2),
    (3, 3),
    (5, 7),
    (8, 8),
    (9, 16),
    (1, 9),
    (9, 1),
    (2, 11),
    (1, 2),
    (7,),
    (2,),
    (33,),
]
SIZES += [(3, 4, 5), (1, 1, 6), (2, 2, 2), (5, 1, 3), (17, 13)]
every_size = pytest.mark.parametrize("size", SIZES, ids=str)


def dense(images: Tensor, removed: Tensor) -> Tensor:
    each = [
        faithfulness.imputed(image.double().numpy(), gone.numpy())
        for image, gone in zip(images, removed, strict=True)
    ]
    return torch.tensor(np.stack(each))


def allowed(images: Tensor, removed: Tensor) -> dict[str, Any]:
    """How far imputed pixels may be off: the system's condition, and what its solver leaves.

    Errors of the equations, as often up as down, go through the inverse matrix: a pixel is off by
    the length of its row. Conjugate gradients stop at eps^(3/4) of the right side, which is no
    larger than the image.
    """
    image, dtype = np.zeros((1, *removed.shape[1:])), images.dtype
    inverses = [np.linalg.inv(faithfulness.equations(image, gone.numpy())[0]) for gone in removed]
    condition = max(np.linalg.norm(one, axis=1).max(initial=1) for one in inverses)
    size = max(1.0, float(images.abs().max()))
    left = torch.finfo(dtype).eps ** 0.75 * condition * size
    return {"dtype": dtype, "scale": size, "condition": condition, "truncation": left}


def holes(size: tuple[int, ...], shares: list[float], seed: int = 0) -> Tensor:
    """Return masks with a share of the pixels removed, one pixel left at least."""
    generator, count = torch.Generator().manual_seed(seed), math.prod(size)
    found = []
    for share in shares:
        order = torch.rand(count, generator=generator).argsort().argsort()
        found.append(order < min(count - 1, round(share * count)))
    return torch.stack(found).reshape(-1, *size)


@every_size
def test_imputation_solves_the_system_that_a_dense_solver_solves(size: tuple[int, ...]) -> None:
    removed = holes(size, [0.1, 0.5, 0.9, 0.99, 1.0])
    images = torch.randn(5, 3, *size, dtype=torch.float64)
    found = impute(images, removed)
    assert found.dtype == torch.float64
    assert_agrees(found, dense(images, removed), **allowed(images, removed))
    kept = (~removed)[:, None].expand_as(images)
    assert torch.equal(found[kept], images[kept])


@every_size
def test_with_one_known_pixel_all_become_it(size: tuple[int, ...]) -> None:
    for place in range(min(4, math.prod(size))):
        removed = torch.ones(1, *size, dtype=torch.bool)
        removed.view(-1)[place] = False
        images = torch.randn(1, 2, *size, dtype=torch.float64)
        found = impute(images, removed).flatten(2)
        assert_agrees(found, images.flatten(2)[:, :, place, None].expand_as(found))


@pytest.mark.parametrize("size", [(12, 16), (37,), (5, 9, 7)], ids=str)
def test_each_image_of_a_batch_is_imputed_as_it_is_alone(size: tuple[int, ...]) -> None:
    removed = holes(size, [0.0, 0.2, 0.6, 0.97])
    images = torch.randn(4, 2, *size, dtype=torch.float64)
    together = impute(images, removed)
    for b in range(4):
        alone = impute(images[b : b + 1], removed[b : b + 1])
        assert_agrees(together[b : b + 1], alone, **allowed(images, removed))
    assert torch.equal(together[0], images[0])


def test_one_image_serves_many_masks() -> None:
    removed = holes((7, 9), [0.2, 0.6, 0.97])
    image = torch.randn(2, 7, 9, dtype=torch.float64)
    assert torch.equal(impute(image, removed), impute(image.expand(3, -1, -1, -1), removed))


@pytest.mark.parametrize("shape", ["block", "frame", "halves"])
def test_large_holes_are_imputed_as_well_as_small_ones(shape: str) -> None:
    removed = torch.zeros(1, 28, 33, dtype=torch.bool)
    if shape == "block":
        removed[:, 2:26, 3:30] = True
    elif shape == "frame":
        removed[:] = True
        removed[:, 13:15, 16:18] = False
    else:
        removed[:, :, 5:] = True
    images = torch.randn(1, 1, 28, 33, dtype=torch.float64)
    assert_agrees(impute(images, removed), dense(images, removed), **allowed(images, removed))


def test_few_steps_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    images, removed = torch.randn(1, 1, 64, 96, dtype=torch.float64), holes((64, 96), [0.98])
    solved = impute(images, removed)
    monkeypatch.setattr("limelight.metrics.imputation._MOST_STEPS", 16)
    assert_agrees(impute(images, removed), solved, **allowed(images, removed))


@pytest.mark.parametrize("share", [0.3, 0.9, 0.99])
def test_imputation_in_float32_comes_near_float64(share: float) -> None:
    removed = holes((24, 31), [share] * 2)
    images = torch.randn(2, 3, 24, 31)
    found = impute(images, removed)
    assert found.dtype == torch.float32
    assert_agrees(found, dense(images, removed), **allowed(images, removed))


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_imputation_does_not_depend_on_the_scale(scale: float) -> None:
    removed, images = holes((9, 10), [0.5]), torch.randn(1, 2, 9, 10, dtype=torch.float64)
    found = impute(images * scale, removed) / scale
    assert_agrees(found, impute(images, removed), **allowed(images, removed))


def test_a_constant_image_stays_constant() -> None:
    removed = holes((9, 10), [0.2, 0.9])
    for level in (0.0, 1.0, -3.5):
        images = torch.full((2, 3, 9, 10), level, dtype=torch.float64)
        found = impute(images, removed)
        assert_agrees(found, images, **allowed(images, removed))


def test_what_is_imputed_lies_between_what_is_known() -> None:
    images = torch.randn(3, 1, 15, 11, dtype=torch.float64)
    removed = holes((15, 11), [0.3, 0.8, 0.95])
    for image, gone, found in zip(images, removed, impute(images, removed), strict=True):
        known = image[:, ~gone]
        left = allowed(image[None], gone[None])
        off = left["truncation"] + rounding(condition=left["condition"]) * left["scale"]
        assert known.min() - off <= found.min() <= found.max() <= known.max() + off


def test_a_mirror_image_is_imputed_as_the_mirror_image() -> None:
    images, removed = torch.randn(1, 1, 9, 14, dtype=torch.float64), holes((9, 14), [0.7])
    mirrored = impute(images.flip(3), removed.flip(2)).flip(3)
    assert_agrees(mirrored, impute(images, removed), **allowed(images, removed))


def test_road_removes_the_number_of_pixels_it_is_asked_to() -> None:
    scene = SCENES["picture"]
    image = scene.images[:1]
    heatmap = torch.zeros(1, 12, 16, dtype=torch.float64)
    heatmap[0, 3, 4] = 1  # mostly zero
    seen = Seen()
    model = Recorder(scene.model, seen)
    limelight.measure(model, image, heatmap, target=1, metrics=["road:steps=7"])
    changed = (torch.cat(seen.batches) != image).any(1).flatten(1).sum(1).tolist()
    wanted = [round(192 * i / 8) for i in range(1, 8)]
    assert [n for n in changed if n][: 2 * 7] == wanted * 2


def test_road_s_noise_is_seeded_and_its_own() -> None:
    scene = SCENES["picture"]

    def curve(options: str) -> Tensor:
        return limelight.measure(
            scene.model, scene.images, scene.explanation, metrics=[f"road:steps=2{options}"]
        ).curves("road")["morf curve"]["gradcam"]

    before = torch.get_rng_state()
    assert torch.equal(curve(""), curve(",seed=0"))
    assert not torch.equal(curve(""), curve(",seed=1"))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(123)
    assert torch.equal(curve(""), curve(",seed=0"))
