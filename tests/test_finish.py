from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import pytest
import torch
from torch import Tensor, nn

import networks
from limelight.cut import cut
from limelight.errors import MethodError, UnknownNameError
from limelight.evidence import Evidence
from limelight.finish import finish, normalise, relu, resize
from limelight.methods import METHODS, find_method
from networks import ready
from oracles import assert_agrees, cam, channels_first, classes, gradcam, probe, tokens

CHOSEN = [1, 0, 2]
PICTURE = (3, 12, 16)
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


# The methods that make raw maps


class Studied(NamedTuple):
    """What a cut found, and what the oracle did."""

    evidence: Evidence
    gradcam: Tensor
    cam: Tensor


def studied(classes_: list[int] = CHOSEN) -> Studied:
    model = ready(networks.PoolLinear())
    images = torch.randn(3, *PICTURE, dtype=torch.float64)
    expected = probe(model, "features", images, classes(classes_), channels_first)
    found = cut(model, "features", images)
    evidence = Evidence(
        activations=found.activations,
        found={
            "gradients": found.gradients(classes_),
            "class weights": found.class_weights(classes_),
        },
    )
    return Studied(
        evidence,
        gradcam(expected.activations, expected.gradients),
        cam(expected.activations, model.fc.weight, classes_),
    )


def test_gradcam_and_cam_equal_their_oracles() -> None:
    found = studied()
    assert_agrees(METHODS["gradcam"].function(found.evidence), found.gradcam)
    assert_agrees(METHODS["cam"].function(found.evidence), found.cam)


@pytest.mark.parametrize(
    ("network", "layer", "size", "grid"),
    [
        (networks.ResidualCNN, "block1", PICTURE, channels_first),
        (networks.TinyViT, "blocks.0", PICTURE, tokens(networks.TinyViT.prefix, (3, 4))),
        (networks.Signal, "conv", (2, 23), channels_first),
        (networks.Volume, "conv", (1, 7, 8, 9), channels_first),
    ],
)
def test_gradcam_equals_its_oracle_on_one_two_and_three_grid_axes(
    network: type[nn.Module],
    layer: str,
    size: tuple[int, ...],
    grid: Callable[[Tensor], Tensor],
) -> None:
    model, images = ready(network()), torch.randn(3, *size, dtype=torch.float64)
    expected = probe(model, layer, images, classes(CHOSEN), grid)
    found = cut(model, layer, images)
    evidence = Evidence(activations=found.activations, found={"gradients": found.gradients(CHOSEN)})
    raw = METHODS["gradcam"].function(evidence)
    assert_agrees(raw, gradcam(expected.activations, expected.gradients))


def doctored(evidence: Evidence) -> dict[str, Tensor]:
    """Return maps that are nearly, but not, Grad-CAM."""
    a, g = evidence.activations, evidence.gradients
    alpha = g.mean((2, 3), keepdim=True)
    return {
        "the gradient's sum": (g.sum((2, 3), keepdim=True) * a).sum(1),
        "the gradient's size": (g.abs().mean((2, 3), keepdim=True) * a).sum(1),
        "positive gradients only": (g.relu().mean((2, 3), keepdim=True) * a).sum(1),
        "the mean over channels": (alpha * a).mean(1),
        "no weights": a.sum(1),
        "no activations": g.sum(1),
        "a relu": (alpha * a).sum(1).relu(),
        "the other sign": -(alpha * a).sum(1),
        "the weights of another image": (alpha.roll(1, 0) * a).sum(1),
        "the weights of the next channel": (alpha.roll(1, 1) * a).sum(1),
        "the mean over the batch": (alpha.mean(0, keepdim=True) * a).sum(1),
        "upside down": (alpha * a).sum(1).flip(1),
        "one part in a million": (alpha * a).sum(1) * (1 + 1e-6),
    }


@pytest.mark.parametrize("how", list(doctored(studied().evidence)))
def test_a_doctored_gradcam_fails_its_oracle(how: str) -> None:
    found = studied()
    with pytest.raises(AssertionError, match="apart by"):
        assert_agrees(doctored(found.evidence)[how], found.gradcam)


def test_gradients_of_each_cell_by_itself_fail_gradcam_s_oracle() -> None:
    # Behind a pool every cell has the same gradient; in front of another layer it has not.
    model, images = ready(networks.ResidualCNN()), torch.randn(3, *PICTURE, dtype=torch.float64)
    expected = probe(model, "block1", images, classes(CHOSEN), channels_first)
    found = cut(model, "block1", images)
    hires = (found.gradients(CHOSEN) * found.activations).sum(1)
    with pytest.raises(AssertionError, match="apart by"):
        assert_agrees(hires, gradcam(expected.activations, expected.gradients))


@pytest.mark.parametrize("other", [[1, 1, 2], [0, 1, 2], [2, 2, 2]], ids=str)
def test_the_map_of_another_class_fails_the_oracle(other: list[int]) -> None:
    torch.manual_seed(1)
    right = studied()
    torch.manual_seed(1)
    wrong = studied(other)
    for name, expected in (("gradcam", right.gradcam), ("cam", right.cam)):
        with pytest.raises(AssertionError, match="apart by"):
            assert_agrees(METHODS[name].function(wrong.evidence), expected)


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
    found = studied()
    with pytest.raises(AssertionError):
        assert_agrees(change(METHODS["gradcam"].function(found.evidence)), found.gradcam)


def test_an_oracle_that_is_zero_everywhere_is_no_oracle() -> None:
    with pytest.raises(AssertionError, match="nothing would be compared"):
        assert_agrees(torch.zeros(2), torch.zeros(2))


def test_cam_is_gradcam_up_to_the_number_of_cells_behind_a_pool_and_a_linear_layer() -> None:
    found = studied()
    cells = found.evidence.activations[0, 0].numel()
    assert_agrees(
        METHODS["gradcam"].function(found.evidence) * cells, METHODS["cam"].function(found.evidence)
    )
    size = PICTURE[1:]
    heatmaps = [finish(METHODS[name].function(found.evidence), size) for name in ("gradcam", "cam")]
    assert_agrees(heatmaps[0], heatmaps[1])


def maps_of(method: str, model: nn.Module, images: Tensor, targets: list[int]) -> Tensor:
    found = cut(model, "features", images)
    gathered = {
        "gradients": found.gradients(targets),
        "class weights": found.class_weights(targets),
    }
    row = METHODS[method]
    evidence = Evidence(
        activations=found.activations,
        found={need: gathered[need] for need in row.needs},
    )
    return row.function(evidence)


every_method = pytest.mark.parametrize("method", list(METHODS))


@every_method
def test_permuting_the_batch_permutes_the_maps(method: str) -> None:
    model, images = ready(networks.PoolLinear()), torch.randn(3, *PICTURE, dtype=torch.float64)
    order = [2, 0, 1]
    permuted = maps_of(method, model, images[order], [CHOSEN[i] for i in order])
    assert_agrees(permuted, maps_of(method, model, images, CHOSEN)[order])


@every_method
def test_the_maps_of_a_batch_are_the_batch_of_the_maps(method: str) -> None:
    model, images = ready(networks.PoolLinear()), torch.randn(3, *PICTURE, dtype=torch.float64)
    alone = [maps_of(method, model, images[i : i + 1], CHOSEN[i : i + 1]) for i in range(3)]
    assert_agrees(maps_of(method, model, images, CHOSEN), torch.cat(alone))


@every_method
@pytest.mark.parametrize("scale", [2.0, 1e-5])
def test_scaling_the_scores_scales_the_map_and_leaves_the_heatmap(
    method: str, scale: float
) -> None:
    model, images = ready(networks.PoolLinear()), torch.randn(3, *PICTURE, dtype=torch.float64)
    raw = maps_of(method, model, images, CHOSEN)
    with torch.no_grad():
        model.fc.weight.mul_(scale)
        model.fc.bias.mul_(scale)
    scaled = maps_of(method, model, images, CHOSEN)
    assert_agrees(scaled, raw * scale)
    size = PICTURE[1:]
    assert_agrees(finish(scaled, size), finish(raw, size))


@every_method
def test_a_map_is_signed_and_has_the_layer_s_grid(method: str) -> None:
    model, images = ready(networks.PoolLinear()), torch.randn(3, *PICTURE, dtype=torch.float64)
    raw = maps_of(method, model, images, CHOSEN)
    assert raw.shape == (3, 6, 8)
    assert raw.min() < 0 < raw.max()


@every_method
def test_a_method_reads_what_its_row_says_and_no_more(method: str) -> None:
    evidence = Evidence(activations=torch.ones(1, 2, 3, 3))
    for need in METHODS[method].needs:
        with pytest.raises(MethodError, match=rf"reads the {need}, which were not gathered"):
            METHODS[method].function(evidence)


def test_a_difference_of_scores_has_the_difference_of_the_maps() -> None:
    model, images = ready(networks.PoolLinear()), torch.randn(3, *PICTURE, dtype=torch.float64)
    found = cut(model, "features", images)

    def map_of(target: object) -> Tensor:
        gradients = found.gradients(cast("int", target))
        return METHODS["gradcam"].function(
            Evidence(activations=found.activations, found={"gradients": gradients})
        )

    assert_agrees(map_of(lambda y: y[:, 1] - y[:, 3]), map_of(1) - map_of(3))


def test_a_method_that_is_not_there_comes_with_the_nearest() -> None:
    assert find_method("gradcam") is METHODS["gradcam"]
    with pytest.raises(UnknownNameError, match=r"no method named 'grad-cam'\. Did you mean"):
        find_method("grad-cam")
    with pytest.raises(UnknownNameError, match=r"no method named 'xyz'\. There are gradcam, cam"):
        find_method("xyz")


@every_method
def test_a_row_says_what_it_is(method: str) -> None:
    row = METHODS[method]
    assert row.name == method
    assert row.formula
    assert row.paper
    assert row.use.endswith(".")
