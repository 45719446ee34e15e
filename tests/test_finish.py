from __future__ import annotations

import pytest
import torch
from torch import Tensor

from helpers.tolerances import assert_agrees
from limelight.finish import finish, normalise, relu, resize

SHAPES = [(3, 7), (3, 5, 7), (3, 4, 5, 6)]
SIZES = {2: (23,), 3: (24, 30), 4: (8, 9, 15)}


def raw_maps(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, dtype=dtype)


any_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


# Each step


def test_relu_keeps_what_is_positive() -> None:
    raw = torch.tensor([[[-1.0, 0.0], [2.5, -0.0]]])
    assert torch.equal(relu(raw), torch.tensor([[[0.0, 0.0], [2.5, 0.0]]]))


def test_relu_puts_nothing_where_a_value_is_not_finite() -> None:
    raw = torch.tensor([[torch.nan, torch.inf, -torch.inf, 3.0]])
    assert torch.equal(relu(raw), torch.tensor([[0.0, 0.0, 0.0, 3.0]]))


def test_no_step_changes_its_argument() -> None:
    raw = raw_maps((2, 5, 7))
    before = raw.clone()
    for step in (relu, normalise, lambda maps: resize(maps, (9, 9)), lambda m: finish(m, (9, 9))):
        step(raw)
        assert torch.equal(raw, before)


def test_resize_along_one_axis_is_linear_between_cell_centres() -> None:
    # Cells are centred at 0.5 and 1.5; four pixels at 0.25, 0.75, 1.25, 1.75 of the same length.
    found = resize(torch.tensor([[0.0, 1.0]], dtype=torch.float64), (4,))
    assert_agrees(found, torch.tensor([[0.0, 0.25, 0.75, 1.0]], dtype=torch.float64))


@any_shape
def test_resize_is_separable_linear_interpolation(shape: tuple[int, ...]) -> None:
    maps, size = raw_maps(shape), SIZES[len(shape)]
    expected = maps
    for axis, (cells, pixels) in enumerate(zip(shape[1:], size, strict=True), start=1):
        # The weight of each cell for each pixel: a hat of one cell's width, held at the edges.
        at = (torch.arange(pixels, dtype=torch.float64) + 0.5) * cells / pixels - 0.5
        at = at.clamp(0, cells - 1)
        hat = (1 - (at[:, None] - torch.arange(cells)).abs()).clamp(min=0)
        expected = (expected.movedim(axis, -1) @ hat.T).movedim(-1, axis)
    assert_agrees(resize(maps, size), expected)


@any_shape
def test_resize_to_the_same_size_changes_nothing(shape: tuple[int, ...]) -> None:
    maps = raw_maps(shape)
    assert torch.equal(resize(maps, shape[1:]), maps)


@any_shape
def test_resize_keeps_within_the_range_and_keeps_what_is_constant(shape: tuple[int, ...]) -> None:
    maps = raw_maps(shape)
    found = resize(maps, SIZES[len(shape)])
    assert found.shape == (3, *SIZES[len(shape)])
    assert found.min() >= maps.min()
    assert found.max() <= maps.max()
    constant = torch.full(shape, 0.3, dtype=torch.float64)
    expected = torch.full_like(found, 0.3)
    assert_agrees(resize(constant, SIZES[len(shape)]), expected)


def test_resize_commutes_with_flips() -> None:
    maps = raw_maps((2, 4, 6))
    for axes in ([1], [2], [1, 2]):
        assert_agrees(resize(maps.flip(axes), (20, 21)), resize(maps, (20, 21)).flip(axes))


@any_shape
def test_normalise_takes_the_least_to_zero_and_the_most_to_one(shape: tuple[int, ...]) -> None:
    maps = raw_maps(shape)
    found = normalise(maps).flatten(1)
    assert torch.equal(found.amin(1), torch.zeros(3, dtype=torch.float64))
    assert torch.equal(found.amax(1), torch.ones(3, dtype=torch.float64))
    assert torch.equal(found.argsort(1), maps.flatten(1).argsort(1))
    assert_agrees(normalise(found), found)


def test_normalise_by_hand() -> None:
    maps = torch.tensor([[[-1.0, 1.0], [3.0, 0.0]]], dtype=torch.float64)
    expected = torch.tensor([[[0.0, 0.5], [1.0, 0.25]]], dtype=torch.float64)
    assert_agrees(normalise(maps), expected)


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5, 1e-30, 1e30])
def test_a_map_that_is_the_same_everywhere_becomes_zero(value: float) -> None:
    maps = torch.stack([torch.full((4, 4), value), torch.arange(16.0).reshape(4, 4)])
    found = normalise(maps)
    assert torch.equal(found[0], torch.zeros(4, 4))
    assert found[1].max() == 1


# Laws of the whole


@pytest.mark.parametrize("value", [0.1, 0.3, 1 / 3, 1e-7, 123.456])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_resizing_a_constant_map_leaves_no_rounding_to_be_blown_up(
    value: float, dtype: torch.dtype
) -> None:
    for size in ((224, 224), (200, 301), (13, 9)):
        assert not finish(torch.full((1, 7, 5), value, dtype=dtype), size).any()


@any_shape
def test_finish_is_relu_then_resize_then_normalise(shape: tuple[int, ...]) -> None:
    raw, size = raw_maps(shape), SIZES[len(shape)]
    assert torch.equal(finish(raw, size), normalise(resize(relu(raw), size)))


@any_shape
@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str
)
def test_a_heatmap_is_between_zero_and_one(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    found = finish(raw_maps(shape, dtype), SIZES[len(shape)])
    assert found.dtype is dtype
    assert found.shape == (3, *SIZES[len(shape)])
    assert found.amin() == 0
    assert torch.equal(found.flatten(1).amax(1), torch.ones(3, dtype=dtype))


@any_shape
@pytest.mark.parametrize("scale", [1e-5, 1e-12, 1e5, 3.7])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_the_scale_of_the_scores_does_not_matter(
    shape: tuple[int, ...], scale: float, dtype: torch.dtype
) -> None:
    raw, size = raw_maps(shape, dtype), SIZES[len(shape)]
    assert_agrees(finish(raw * scale, size), finish(raw, size))


@pytest.mark.parametrize(
    "values",
    [
        [torch.nan] * 4,
        [torch.inf] * 4,
        [-torch.inf] * 4,
        [torch.nan, 1.0, torch.inf, 2.0],
        [-torch.inf, 1.0, 2.0, 3.0],
        [0.0] * 4,
        [-1.0] * 4,
        [1.0] * 4,
        [3e38, -3e38, 1e38, 0.0],
        [1e-44, 0.0, 0.0, 0.0],
    ],
    ids=str,
)
def test_a_heatmap_never_holds_nan(values: list[float]) -> None:
    raw = torch.tensor(values).reshape(1, 2, 2)
    for size in ((2, 2), (9, 9)):
        found = finish(raw, size)
        assert found.isfinite().all()
        assert found.min() >= 0
        assert found.max() <= 1


@any_shape
def test_permuting_the_batch_permutes_the_heatmaps(shape: tuple[int, ...]) -> None:
    raw, size = raw_maps(shape), SIZES[len(shape)]
    order = torch.tensor([2, 0, 1])
    assert torch.equal(finish(raw[order], size), finish(raw, size)[order])


@any_shape
def test_the_heatmaps_of_a_batch_are_the_batch_of_the_heatmaps(shape: tuple[int, ...]) -> None:
    raw, size = raw_maps(shape), SIZES[len(shape)]
    raw[1] *= 1e4  # one image's strength is no other's business
    raw[2] = -raw[2].abs()
    alone = torch.cat([finish(one[None], size) for one in raw])
    assert_agrees(finish(raw, size), alone)


def test_a_heatmap_can_be_differentiated() -> None:
    raw = raw_maps((2, 3, 4)).requires_grad_()
    assert torch.autograd.gradcheck(lambda maps: finish(maps, (5, 7)), (raw,))


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("size", [(3, 4), (5, 7)], ids=str)
def test_a_blank_heatmap_has_no_broken_gradient(value: float, size: tuple[int, int]) -> None:
    raw = raw_maps((2, 3, 4))
    raw[0] = value
    raw.requires_grad_()
    (gradient,) = torch.autograd.grad(finish(raw, size)[:, :2].sum(), raw)
    assert gradient.isfinite().all()
    assert gradient[1].any()
