"""The methods of the input and the controls, each by what is known of it alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import limelight
from helpers import networks
from helpers.input_studies import CNN, SAMPLE, as_grid, images_of, study
from helpers.model_state import untouched
from helpers.networks import CHOSEN, PICTURE, ready
from helpers.tolerances import assert_agrees
from limelight.methods.perturbed import RiseMasks, superpixels
from oracles import controls, evidence, perturbed, pixels
from oracles.evidence import classes

# Guided backpropagation: by hand, and however a ReLU is written


def test_guided_backprop_by_hand() -> None:
    torch.manual_seed(0)
    conv, linear = nn.Conv2d(2, 3, 3).double(), nn.Linear(3 * 4 * 5, 4).double()
    model = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), linear, nn.ReLU(inplace=True))
    images = images_of(3, (2, 6, 7))
    with torch.no_grad():
        linear.bias.add_(3)  # so that the last ReLU lets everything through
        before = conv(images)
        above = linear.weight[CHOSEN].reshape(before.shape)
        passed = torch.where((before > 0) & (above > 0), above, 0)
        guided = F.conv_transpose2d(passed, conv.weight)
        assert (model[:4](images) > 0).all()
    found = limelight.explain(model, images, target=CHOSEN, method="guided-backprop").raw
    assert_agrees(found, guided.abs().amax(1))


class Activated(nn.Module):
    """Two convolutions, each with an activation behind it that is a module or a function."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3)
        self.conv2 = nn.Conv2d(8, 8, 3)
        self.fc = nn.Linear(8, 5)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.conv1(x) * 9)  # which reaches beyond 6
        return cast("Tensor", self.fc(self.activation(self.conv2(x)).mean((2, 3))))


@pytest.mark.parametrize(
    "activation",
    [
        nn.ReLU(),
        nn.ReLU(inplace=True),
        F.relu,
        lambda x: F.relu(x, True),
        lambda x: F.relu(x, inplace=True),
        lambda x: F.relu(input=x),
        F.relu_,
        torch.relu,
        torch.relu_,
        lambda x: x.relu(),
        lambda x: x.relu_(),
    ],
)
def test_a_relu_is_guided_however_it_is_written(activation: Callable[[Tensor], Tensor]) -> None:
    assert_guided(activation, nn.ReLU())


@pytest.mark.parametrize(
    "activation",
    [
        nn.ReLU6(),
        nn.ReLU6(inplace=True),
        F.relu6,
        lambda x: F.relu6(x, True),
        nn.Hardtanh(0.0, 6.0),
        nn.Hardtanh(0, 6, inplace=True),
        lambda x: F.hardtanh(x, 0.0, 6.0),
        lambda x: F.hardtanh_(x, 0.0, 6.0),
    ],
)
def test_a_relu6_is_guided_however_it_is_written(activation: Callable[[Tensor], Tensor]) -> None:
    assert_guided(activation, nn.ReLU6())


def assert_guided(activation: Callable[[Tensor], Tensor], as_module: nn.Module) -> None:
    torch.manual_seed(0)
    model, twin = ready(Activated(activation)), ready(Activated(as_module))
    twin.load_state_dict(model.state_dict())
    images = images_of()
    with untouched(model):
        found = limelight.explain(model, images, target=CHOSEN, method="guided-backprop").raw
    for one in found:
        assert one.any()
    guided = pixels.guided_backprop(twin, images, classes(CHOSEN))
    assert_agrees(found, pixels.saliency(guided))
    plain = evidence.slopes(lambda x: classes(CHOSEN)(twin(x)), images)
    with pytest.raises(AssertionError, match="apart by"):
        assert_agrees(found, pixels.saliency(plain))


# Integrated gradients


def test_integrated_gradients_are_complete_where_the_network_is_smooth() -> None:
    for build in (networks.PoolLinear, networks.TinyViT):
        model, images = ready(build()), images_of()
        for baseline in (0.0, 0.3):
            found = limelight.explain(
                model, images, target=CHOSEN, method=f"integrated-gradients:baseline={baseline}"
            )
            gained = found.score - gain_over(model, images, baseline)
            assert_agrees(found.raw.sum((1, 2)), gained)
            assert found.completeness_gap is not None
            assert found.completeness_gap.shape == (3,)
            # A share of what each image gained, which cancels to what it is.
            cancels = (found.score.abs() + gained.abs()).max() / gained.abs().min()
            assert_agrees(
                found.completeness_gap, torch.zeros_like(found.completeness_gap), scale=cancels
            )


def gain_over(model: nn.Module, images: Tensor, baseline: float) -> Tensor:
    with torch.no_grad():
        return classes(CHOSEN)(model(torch.full_like(images, baseline)))


def test_the_gap_of_integrated_gradients_is_what_is_missing() -> None:
    studied = study(CNN)
    for steps in (2, 50):
        found = limelight.explain(
            studied.model,
            studied.images,
            target=CHOSEN,
            method=f"integrated-gradients:steps={steps},baseline=0.3",
        )
        gained = found.score - gain_over(studied.model, studied.images, 0.3)
        missing = (found.raw.sum((1, 2)) - gained).abs() / gained.abs()
        assert found.completeness_gap is not None
        assert (missing > 1e-6).all()
        assert_agrees(found.completeness_gap, missing)


def test_the_gap_is_zero_of_an_image_that_is_the_baseline() -> None:
    images = torch.zeros(2, *PICTURE, dtype=torch.float64)
    found = limelight.explain(study(CNN).model, images, target=1, method="integrated-gradients")
    assert found.completeness_gap is not None
    assert found.completeness_gap.tolist() == [0, 0]


def test_only_a_method_that_promises_a_sum_has_a_gap() -> None:
    studied = study(CNN)
    for method in ("saliency", "input-x-gradient", "centre"):
        assert (
            limelight.explain(studied.model, studied.images, method=method).completeness_gap is None
        )


def test_input_x_gradient_is_integrated_gradients_of_a_linear_model() -> None:
    model, images = nn.Sequential(nn.Flatten(), nn.Linear(576, 5)).double(), images_of()
    product, integral = (
        limelight.explain(model, images, target=CHOSEN, method=method).raw
        for method in ("input-x-gradient", "integrated-gradients:steps=3")
    )
    assert_agrees(product, integral)
    weight = cast("Tensor", model[1].weight).detach()[CHOSEN].reshape(images.shape)
    assert_agrees(product, (images * weight).sum(1))


# FullGrad


class Relus(nn.Module):
    """Piecewise linear, with layers whose bias or whose place is not the usual one."""

    def __init__(self) -> None:
        super().__init__()
        self.late = nn.Conv2d(6, 6, 3, padding=1)  # registered first, runs after the others
        self.plain = nn.Conv2d(3, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4, affine=False)
        self.up = nn.ConvTranspose2d(4, 6, 2, stride=2)
        self.norm2 = nn.BatchNorm2d(6)
        self.act = nn.LeakyReLU(0.1, inplace=True)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm2(self.up(self.act(self.norm(self.plain(x))))), inplace=True)
        x = self.late(x)
        x = x + self.late(x).relu_()  # which runs twice
        return cast("Tensor", self.fc(self.pool(x).mean((2, 3))))


@pytest.mark.parametrize("build", [networks.ResidualCNN, Relus])
def test_gradients_at_the_input_and_at_all_biases_make_up_the_score(
    build: type[nn.Module],
) -> None:
    torch.manual_seed(9)
    model, images = ready(build()), images_of()
    cut = limelight.cut(model, images, "<input>")
    with untouched(model):
        found = [each.values for each in cut.bias_gradients(CHOSEN)]
    told = pixels.bias_gradients(model, images, classes(CHOSEN), as_grid)
    flat = [one for one in told if one.ndim == 2]  # of linear layers
    assert_same_terms(found, told)
    terms = [cut.activations * cut.gradients(CHOSEN), *found, *flat]
    total = torch.stack([term.flatten(1).sum(1) for term in terms]).sum(0)
    assert_agrees(total, cut.score(CHOSEN).values.detach())


def assert_same_terms(found: Sequence[Tensor], told: Sequence[Tensor]) -> None:
    for one, other in zip(found, [one for one in told if one.ndim == 4], strict=True):
        assert_agrees(one, other)


class Norms(nn.Module):
    """A layer of each kind that has a bias, and no batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.group = nn.GroupNorm(2, 6)
        self.instance = nn.InstanceNorm2d(6, affine=True)
        self.layer = nn.LayerNorm(6)
        self.mix = nn.Linear(6, 7)
        self.fc = nn.Linear(7, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.instance(self.group(self.conv(x)).tanh()).tanh().permute(0, 2, 3, 1)
        return cast("Tensor", self.fc(self.mix(self.layer(x)).tanh().mean((1, 2))))


def test_every_kind_of_layer_with_a_bias_takes_part() -> None:
    torch.manual_seed(0)
    model, images = ready(Norms()), images_of()
    for parameter in model.parameters():
        nn.init.normal_(parameter)  # norms begin with a bias of zero
    found = limelight.cut(model, images, "<input>").bias_gradients(CHOSEN)
    assert_same_terms(
        [each.values for each in found],
        pixels.bias_gradients(model, images, classes(CHOSEN), as_grid),
    )


# Occlusion, by hand


def test_occlusion_of_a_linear_model_by_hand() -> None:
    weight, signal = [1.0, 2.0, 3.0, 4.0, 5.0], [1.0, -1.0, 2.0, 0.5, 3.0]
    fc = nn.Linear(5, 1).double()
    fc.weight.data = torch.tensor([weight], dtype=torch.float64)
    model = nn.Sequential(nn.Flatten(), fc)
    images = torch.tensor([[signal]], dtype=torch.float64)
    shares = [w * x for w, x in zip(weight, signal, strict=True)]  # 1, -2, 6, 2, 15
    pairs = [a + b for a, b in itertools.pairwise(shares)]  # -1, 4, 8, 17

    def occluded(options: str) -> list[float]:
        method = f"occlusion:{options}"
        found = limelight.explain(model, images, target=0, method=method).raw
        return cast("list[float]", found[0].tolist())

    assert_agrees(occluded("patch=0.2,stride=0.2"), shares)
    middle = [(a + b) / 2 for a, b in itertools.pairwise(pairs)]
    assert_agrees(occluded("patch=0.4,stride=0.2"), [pairs[0], *middle, pairs[-1]])
    # Covers at 0, 2 and, so that the end is covered, 3.
    expected = [pairs[0], pairs[0], pairs[2], (pairs[2] + pairs[3]) / 2, pairs[3]]
    assert_agrees(occluded("patch=0.4,stride=0.4"), expected)
    assert_agrees(occluded("patch=1,stride=1"), [sum(shares)] * 5)
    less = [w * (x - 2) for w, x in zip(weight, signal, strict=True)]
    assert_agrees(occluded("patch=0.2,stride=0.2,baseline=2.0"), less)


# RISE's masks


@pytest.mark.parametrize("size", [(12, 16), (7,), (30, 31), (5, 6, 4), (2, 9)], ids=str)
@pytest.mark.parametrize("keep", [0.2, 0.5])
def test_masks_are_between_zero_and_one_and_keep_a_share(
    size: tuple[int, ...], keep: float
) -> None:
    drawn = RiseMasks(size, 2000, cells=4, keep=keep, seed=0)
    made = drawn(torch.arange(2000))
    assert made.shape == (2000, *size)
    assert made.min() == 0
    assert made.max() == 1
    # Two cells at least are drawn on their own; the mean over many draws is p in every pixel.
    deviation = math.sqrt(keep * (1 - keep) / 2000)
    assert (made.mean(0) - keep).abs().max() < 5 * deviation
    assert abs(made.mean() - keep) < 2.5 * deviation


def test_masks_are_the_grids_interpolated_and_shifted() -> None:
    size, cells = (12, 17), (4, 4)
    drawn = RiseMasks(size, 6, cells=4, keep=0.5, seed=1)
    assert drawn.grids.shape == (6, *(n + 1 for n in cells))
    assert set(drawn.grids.flatten().tolist()) == {0, 1}
    cell = [math.ceil(length / n) for length, n in zip(size, cells, strict=True)]
    made = drawn(torch.tensor([5, 0, 3]))
    for mask, number in zip(made, (5, 0, 3), strict=True):
        shift = [int(one) for one in drawn.shifts[number]]
        assert all(0 <= one < c for one, c in zip(shift, cell, strict=True))
        assert_agrees(mask, perturbed.rise_mask(drawn.grids[number], shift, cell, size))


def test_shifts_take_every_value_less_than_a_cell() -> None:
    shifts = RiseMasks((12, 20), 500, cells=4, keep=0.5, seed=0).shifts
    assert set(shifts[:, 0].tolist()) == set(range(3))
    assert set(shifts[:, 1].tolist()) == set(range(5))


def test_more_cells_than_pixels_are_as_many_as_pixels() -> None:
    made = RiseMasks((3, 4), 50, cells=7, keep=0.5, seed=0)(torch.arange(50))
    assert made.shape == (50, 3, 4)
    assert set(made.flatten().tolist()) == {0, 1}


# Models that turn grad off


@pytest.mark.parametrize(
    "method",
    ["saliency", "input-x-gradient", "smoothgrad:samples=3", "integrated-gradients", "fullgrad"],
)
def test_a_backbone_under_no_grad_has_the_same_map(method: str) -> None:
    frozen, plain = ready(networks.OwnNoGrad()), ready(networks.Chain())
    plain.load_state_dict(frozen.state_dict())
    images = images_of()
    maps = [
        limelight.explain(model, images, target=CHOSEN, method=method).raw
        for model in (frozen, plain)
    ]
    assert_agrees(maps[0], maps[1])


# Shapley values: of signals, whose parts are blocks


class Sums(nn.Module):
    """Sums over the first 8 of 12 positions; the others are not read."""

    def forward(self, x: Tensor) -> Tensor:
        read = x[:, 0, :8]
        total = read.sum(1)
        return torch.stack([total**2 + (read**3).sum(1), total, (2 * total).sin()], dim=1)


def test_blocks_of_a_signal_have_the_same_length() -> None:
    assert superpixels(torch.zeros(1, 12), 6).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_shapley_values_share_the_score_out_fairly() -> None:
    signal = torch.tensor([[[1.0, 2, 2, 1, -1, 1, 0, 3, 5, 6, 7, 8]]], dtype=torch.float64)
    for samples in (1000, 24):  # all coalitions, and some
        values = limelight.explain(
            Sums(), signal, target=0, method=f"kernelshap:segments=6,samples={samples}"
        ).raw[0, ::2]
        assert_agrees(values.sum(), 9**2 + 45)
        if samples == 1000:
            assert_agrees(values[0], values[1])
            assert_agrees(values[4:], torch.zeros(2).double(), scale=values.abs().max())
            # The square shares the products of two parts between them; the cubes are additive.
            sums, cubes = [3.0, 3.0, 0.0, 3.0], [9.0, 9.0, 0.0, 27.0]
            by_hand = [s * 9 + c for s, c in zip(sums, cubes, strict=True)]
            assert_agrees(values[:4].tolist(), by_hand)


def test_two_parts_share_the_score() -> None:
    signal = torch.randn(1, 1, 12, dtype=torch.float64)
    found = limelight.explain(Sums(), signal, target=1, method="kernelshap:segments=2").raw[0]
    assert_agrees(
        found[[0, 6]].tolist(), [float(signal[0, 0, :6].sum()), float(signal[0, 0, 6:8].sum())]
    )


class Overflowing(nn.Module):
    """A score that is no number once the first position is covered."""

    def forward(self, x: Tensor) -> Tensor:
        total = x[:, 0].sum(1, keepdim=True)
        return torch.cat([total / (x[:, 0, :1] != 0), total], dim=1)


def test_no_score_is_shared_out_that_is_no_number() -> None:
    signal = torch.ones(1, 1, 12, dtype=torch.float64)
    found = limelight.explain(Overflowing(), signal, target=0, method="kernelshap:segments=6")
    assert found.raw.isnan().all()
    assert found.status[0].name == "not-finite"
    assert not found.heatmap.any()


def test_a_few_coalitions_suffice_for_an_additive_score() -> None:
    signal = torch.randn(2, 1, 12, dtype=torch.float64)
    found = limelight.explain(
        Sums(), signal, target=1, method="kernelshap:segments=12,samples=60,seed=5"
    ).raw
    expected = torch.where(torch.arange(12) < 8, signal[:, 0], 0)
    assert_agrees(found, expected)


def test_more_coalitions_come_nearer_to_the_shapley_values() -> None:
    signal = torch.randn(1, 1, 12, dtype=torch.float64)
    parts_ = [superpixels(signal[0], 12)]
    exact = perturbed.shapley(lambda x: Sums()(x)[:, 2], signal, parts_)

    def gap(samples: int) -> float:
        gaps = [
            limelight.explain(
                Sums(),
                signal,
                target=2,
                method=f"kernelshap:segments=12,samples={samples},seed={seed}",
            ).raw
            - exact
            for seed in range(8)
        ]
        return torch.stack(gaps).square().mean().sqrt().item()

    few, many = gap(100), gap(1600)
    assert many < few / 2.5  # a fourth, were they drawn independently
    assert many < 0.5 * exact.abs().max().item()


class AllOfFour(nn.Module):
    """Scores when the first four positions are all there."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0, :4].prod(1, keepdim=True)


def test_coalitions_are_drawn_by_their_weight() -> None:
    signal = torch.ones(1, 1, 12, dtype=torch.float64)
    method = "kernelshap:segments=12,samples=4000,seed={}"
    found = [
        limelight.explain(AllOfFour(), signal, target=0, method=method.format(seed), chunk=4001).raw
        for seed in range(32)
    ]
    # Four share 1, and eight have nothing; sizes drawn evenly would tend to 0.215 and 0.018.
    expected = torch.tensor([0.25] * 4 + [0.0] * 8, dtype=torch.float64)
    assert_agrees(torch.stack(found).mean(0)[0], expected, truncation=0.03 * 0.25, limit=SAMPLE)


def test_one_superpixel_has_the_whole_score() -> None:
    studied = study(CNN)
    found = limelight.explain(
        studied.model, studied.images, target=CHOSEN, method="kernelshap:segments=1"
    )
    gained = found.score - gain_over(studied.model, studied.images, 0.0)
    assert_agrees(found.raw, gained[:, None, None].expand(3, 12, 16))


# Controls


def test_random_is_uniform() -> None:
    model, images = ready(networks.ResidualCNN()), images_of(4, (3, 48, 64))
    found = limelight.explain(model, images, method="random", layer="stem").raw
    assert found.shape == (4, 48, 64)
    ranks, tolerance = controls.uniform_ranks(found.numel()), 1.6 / math.sqrt(found.numel())
    assert_agrees(found.flatten().sort().values, ranks, truncation=tolerance, limit=SAMPLE)
    doctored = {
        "normal": torch.randn(found.numel(), dtype=torch.float64),
        "between -1 and 1": 2 * found.flatten() - 1,
        "squared": found.flatten() ** 2,
        "the same twice": found[:, :24].flatten().repeat(2) * 1.02,
    }
    for values in doctored.values():
        with pytest.raises(AssertionError, match="apart by"):
            assert_agrees(values.sort().values, ranks, truncation=tolerance, limit=SAMPLE)


def test_neighbours_and_images_of_a_random_map_have_nothing_in_common() -> None:
    model, images = ready(networks.ResidualCNN()), images_of(4, (3, 48, 64))
    found = limelight.explain(model, images, method="random", layer="stem").raw
    pairs = [
        (found[0], found[1]),
        (found[:, :-1], found[:, 1:]),
        (found[..., :-1], found[..., 1:]),
    ]
    for one, other in pairs:
        both = torch.stack([one.flatten(), other.flatten()])
        assert both.corrcoef()[0, 1].abs() < 4 / math.sqrt(one.numel())


def test_controls_know_nothing_of_the_class_or_of_the_weights() -> None:
    images = images_of()
    for method in ("random", "centre"):
        maps = [
            limelight.explain(
                ready(networks.ResidualCNN()), images, target=target, method=method, layer="block1"
            ).raw
            for target in (0, 1)
        ]
        assert torch.equal(maps[0], maps[1])


def test_centre_is_symmetric_and_the_same_for_all_images() -> None:
    found = limelight.explain(study(CNN).model, images_of(), method="centre", layer="block1").raw
    assert found.shape == (3, 6, 8)
    assert torch.equal(found[0], found[1])
    for axis in (1, 2):
        assert_agrees(found, found.flip(axis))
    assert found.argmax() == 2 * 8 + 3  # beside the middle
