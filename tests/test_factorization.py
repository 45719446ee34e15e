"""Deep feature factorization."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from torch import Tensor

import limelight
from helpers.tolerances import assert_agrees
from limelight.errors import InputError
from limelight.methods.spectral import factorize_activations
from limelight.photos.samples import find_sample
from limelight.render import encode_figure


def factorizable(batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Return A = W H, and W and H: each concept has cells and channels of its own."""
    maps, concepts = torch.rand(batch, 3, 4, 5).double(), torch.rand(3, 7).double()
    for c in range(3):
        maps[0, :, 0, c] = concepts[:, c] = 0
        maps[0, c, 0, c] = concepts[c, c] = 1
    return torch.einsum("bchw,ck->bkhw", maps, concepts), maps, concepts


def test_a_single_concept_is_right_from_the_start() -> None:
    # The leading singular vectors of a matrix of rank one are its factors.
    activations = torch.einsum("bhw,k->bkhw", torch.rand(2, 4, 5).double(), torch.rand(7).double())
    start = factorize_activations(activations, 1, rounds=0)
    assert_agrees(put_together(*start), activations)


def put_together(maps: Tensor, concepts: Tensor) -> Tensor:
    return torch.einsum("bc...,ck->bk...", maps, concepts)


def by_least_squares(samples: Tensor, count: int, seed: int, rounds: int = 60) -> float:
    """Return the error of factorizing `[N, K]` by non-negative least squares, in turns."""
    concepts = np.random.default_rng(seed).random((count, samples.shape[1]))
    wanted = samples.numpy()
    for _ in range(rounds):
        maps = np.stack([nnls(concepts.T, row)[0] for row in wanted])
        concepts = np.stack([nnls(maps, column)[0] for column in wanted.T], axis=1)
    return float(np.linalg.norm(wanted - maps @ concepts))


@pytest.mark.parametrize("shape", [(2, 7, 9), (2, 7, 4, 5), (1, 4, 2, 3, 4)], ids=str)
def test_factors_have_the_grid_nothing_negative_and_concepts_of_length_one(
    shape: tuple[int, ...],
) -> None:
    activations = torch.randn(shape, dtype=torch.float64)
    maps, concepts = factorize_activations(activations, 3)
    assert maps.shape == (shape[0], 3, *shape[2:])
    assert concepts.shape == (3, shape[1])
    assert maps.min() >= 0
    assert concepts.min() >= 0
    assert_agrees(concepts.norm(dim=1), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_error_is_that_of_a_slower_factorization_or_nearly(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    activations = torch.randn(2, 8, 5, 6, generator=generator, dtype=torch.float64).relu()
    maps, concepts = factorize_activations(activations, count)
    error = (put_together(maps, concepts) - activations).norm().item()
    samples = activations.movedim(1, -1).reshape(-1, 8)
    best = min(by_least_squares(samples, count, start) for start in range(3))
    assert error <= 1.03 * best


def test_a_product_of_three_concepts_is_taken_apart_again() -> None:
    activations, maps, concepts = factorizable()
    found_maps, found_concepts = factorize_activations(activations, 3)
    assert_agrees(put_together(found_maps, found_concepts), activations)
    order = (concepts @ found_concepts.T).argmax(1)
    assert sorted(order.tolist()) == [0, 1, 2]
    lengths = torch.linalg.vector_norm(concepts, dim=1)
    assert_agrees(found_concepts[order], concepts / lengths[:, None])
    assert_agrees(found_maps[:, order], maps * lengths[:, None, None])


def test_one_pattern_is_one_concept() -> None:
    pattern, strengths = torch.rand(2, 3, 4).double(), torch.rand(5).double()
    maps, concepts = factorize_activations(strengths[:, None, None] * pattern[:, None], 1)
    assert_agrees(concepts[0], strengths / strengths.norm())
    assert_agrees(maps[:, 0], pattern * strengths.norm())


def test_factors_are_always_the_same_and_negative_activations_count_as_zero() -> None:
    activations = torch.randn(2, 7, 4, 5, dtype=torch.float64)
    maps, concepts = factorize_activations(activations, 3)
    torch.manual_seed(1)
    for other in (activations, activations.clone(), activations.relu()):
        again = factorize_activations(other, 3)
        assert torch.equal(again[0], maps)
        assert torch.equal(again[1], concepts)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_scale_of_the_activations_is_in_the_maps(scale: float) -> None:
    activations = torch.rand(2, 7, 4, 5, dtype=torch.float64)
    maps, concepts = factorize_activations(activations, 3)
    found = factorize_activations(activations * scale, 3)
    assert_agrees(found[0], maps * scale)
    assert_agrees(found[1], concepts)


def test_factors_of_a_permuted_batch_are_permuted() -> None:
    activations = torch.rand(3, 7, 4, 5, dtype=torch.float64)
    maps, concepts = factorize_activations(activations, 3)
    found = factorize_activations(activations[[2, 0, 1]], 3)
    assert_agrees(found[0], maps[[2, 0, 1]])
    assert_agrees(found[1], concepts)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("count", [1, 9])
@pytest.mark.parametrize("value", [0.0, 0.5])
def test_factors_of_little_are_finite(dtype: torch.dtype, count: int, value: float) -> None:
    activations = torch.full((1, 4, 2, 3), value, dtype=dtype)  # 9 concepts are more than exist
    maps, concepts = factorize_activations(activations, count)
    assert maps.isfinite().all()
    assert concepts.isfinite().all()
    if value:
        # Rounds of descent; of more concepts than there are, some come to zero slowly.
        left = 1e-3 * value
        assert_agrees(put_together(maps, concepts), activations, truncation=left)


def test_a_network_prepares_the_photos_and_is_drawn_on_them() -> None:
    network = limelight.load_model()
    photos = [limelight.load_photo(find_sample(name)) for name in ("chelsea", "coffee")]
    found = limelight.factorize(network, photos, concepts=2)
    images = torch.cat([network.images(photo) for photo in photos])
    parts = limelight.factorize(network.model, images, concepts=2, classes=network.classes)
    assert found.labels == parts.labels
    assert torch.equal(found.maps, parts.maps)
    views = [network.preprocess.view(photo) for photo in photos]
    assert found.photos == tuple(views)
    assert parts.photos is None
    drawn = [encode_figure(figure, "png") for figure in (found.figure(), parts.figure(views))]
    assert drawn[0] == drawn[1] != encode_figure(parts.figure(), "png")
    with pytest.raises(InputError, match="A photo was given"):
        limelight.factorize(network.model, photos)
