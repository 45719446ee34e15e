"""What the metrics find on a linear network, by hand."""

from __future__ import annotations

import math
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

import limelight
from helpers.metric_scenes import first
from helpers.networks import ready
from helpers.tolerances import assert_agrees


class Plain(nn.Module):
    """Scores `w x + b`, and `-w x`."""

    def __init__(self, weight: list[float], bias: float = 0.0) -> None:
        super().__init__()
        self.fc = nn.Linear(len(weight), 2, dtype=torch.float64)
        rows = [weight, [-w for w in weight]]
        with torch.no_grad():
            self.fc.weight.copy_(torch.tensor(rows, dtype=torch.float64))
            self.fc.bias.copy_(torch.tensor([bias, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.fc(x.flatten(1)))


def plain(weight: list[float], bias: float = 0.0) -> nn.Module:
    return ready(Plain(weight, bias))


def by_hand(
    model: nn.Module,
    pixels: list[float],
    metric: str,
    heatmap: list[float] | None = None,
    *,
    size: tuple[int, ...] = (2, 2),
    target: Any = first,
    method: str = "input-x-gradient",
) -> dict[str, Tensor]:
    image = torch.tensor(pixels, dtype=torch.float64).reshape(1, 1, *size)
    maps: Any
    if heatmap is None:
        maps = limelight.explain(model, image, target=target, method=method)
    else:
        maps = torch.tensor(heatmap, dtype=torch.float64).reshape(1, *size)
    measured = limelight.measure(model, image, maps, metrics=[metric], target=target)
    (maps,) = measured.readings.values()
    return dict(maps.values["own"]) | dict(maps.curve_sums["own"])


def value(found: dict[str, Tensor]) -> float:
    return found["value"].item()


def test_deletion_by_hand() -> None:
    found = by_hand(plain([1.0, 1, 1, 1], 0.5), [4, 3, 2, 1], "deletion:steps=4")
    assert found["curve"].tolist() == [10.5, 6.5, 3.5, 1.5, 0.5]
    assert_agrees(value(found), (10.5 / 2 + 6.5 + 3.5 + 1.5 + 0.5 / 2) / 4)


def test_deletion_to_another_baseline_by_hand() -> None:
    found = by_hand(plain([1.0, 1, 1, 1]), [4, 3, 2, 1], "deletion:steps=4,baseline=-1")
    assert found["curve"].tolist() == [10, 5, 1, -2, -4]


def test_more_steps_than_pixels_change_nothing_but_the_curve() -> None:
    few = by_hand(plain([1.0, 2, 0.5, 1]), [4, 3, 2, 1], "deletion:steps=4")
    many = by_hand(plain([1.0, 2, 0.5, 1]), [4, 3, 2, 1], "deletion:steps=400")
    assert_agrees(value(many), value(few))
    assert many["curve"].shape == (401,)


def test_steps_that_do_not_divide_the_pixels_weigh_by_what_they_removed() -> None:
    # 3 steps of 4 pixels: 0, 1, 3, 4 are gone.
    found = by_hand(plain([1.0, 1, 1, 1]), [4, 3, 2, 1], "deletion:steps=3")
    assert found["curve"].tolist() == [10, 6, 1, 0]
    assert_agrees(value(found), 8 / 4 + 3.5 / 2 + 0.5 / 4)


def test_insertion_by_hand() -> None:
    kernel = [math.exp(-(d**2) / 50) for d in range(-5, 6)]
    own = sum(kernel[:6]) / sum(kernel)  # of a pixel in a row of two, beyond the edge again itself
    rows = [[4.0, 3.0], [2.0, 1.0]]
    across = [[own * a + (1 - own) * b, own * b + (1 - own) * a] for a, b in rows]
    soft_pixels = [
        own * across[i][j] + (1 - own) * across[1 - i][j] for i in range(2) for j in range(2)
    ]
    weight, pixels = [1.0, 2, 0.5, 3], [4.0, 3, 2, 1]
    found = by_hand(plain(weight), pixels, "insertion:steps=4", [0.3, 0.4, 0.1, 0.2])
    curve = [sum(w * x for w, x in zip(weight, soft_pixels, strict=True))]
    for pixel in (1, 0, 3, 2):
        curve.append(curve[-1] + weight[pixel] * (pixels[pixel] - soft_pixels[pixel]))
    assert_agrees(found["curve"].tolist(), curve)


def test_a_constant_image_is_its_own_blur() -> None:
    found = by_hand(plain([1.0, 2, 3, 4], 1.0), [0.7] * 4, "insertion")
    assert_agrees(found["curve"].tolist(), [8.0] * 101)
    assert_agrees(value(found), 8.0)


def test_average_drop_increase_and_gain_by_hand() -> None:
    model = plain([0.1] * 4)
    # M is (1, 2/3, 1/3, 0), f falls from 0.8 to 0.4 + 0.2 = 0.6
    pixels, heatmap = [4.0, 3, 0, 1], [3.0, 2, 1, 0]
    assert_agrees(value(by_hand(model, pixels, "average-drop", heatmap)), 0.25)
    assert value(by_hand(model, pixels, "increase", heatmap)) == 0
    assert value(by_hand(model, pixels, "average-gain", heatmap)) == 0
    # f rises from 0.4 to 0.6: a third of what was missing
    pixels = [4.0, 3, 0, -3]
    assert value(by_hand(model, pixels, "average-drop", heatmap)) == 0
    assert value(by_hand(model, pixels, "increase", heatmap)) == 1
    found = value(by_hand(model, pixels, "average-gain", heatmap))
    assert_agrees(found, 1 / 3)


def test_the_ends_of_probability_by_hand() -> None:
    heatmap = [3.0, 2, 1, 0]
    nothing, sure = plain([0.0] * 4), plain([0.0] * 4, 1.0)
    assert value(by_hand(nothing, [1.0] * 4, "average-drop", heatmap)) == 0
    assert value(by_hand(nothing, [1.0] * 4, "average-gain", heatmap)) == 0
    assert value(by_hand(sure, [1.0] * 4, "average-gain", heatmap)) == 0
    # All is lost: 1 - drop is 0, and so is the harmonic mean.
    lost = plain([0.0, 0, 0, 0.5])
    assert value(by_hand(lost, [1.0] * 4, "average-drop", heatmap)) == 1


def test_of_a_class_the_probability_is_read_by_hand() -> None:
    # Logits s and -s: p = 1 / (1 + exp(-2 s)).
    found = by_hand(plain([1.0] * 4), [0.4, 0.3, 0.2, 0.1], "deletion:steps=4", target=0)
    left = [1.0, 0.6, 0.3, 0.1, 0.0]
    assert_agrees(found["curve"].tolist(), [1 / (1 + math.exp(-2 * s)) for s in left])


@pytest.mark.parametrize("target", [first, 0], ids=["callable", "class"])
@pytest.mark.parametrize("scaled", ["true", "false"])
@pytest.mark.parametrize("size", [(4, 6), (24,), (2, 3, 4)], ids=str)
def test_input_times_gradient_says_all_that_boxes_are_worth(
    scaled: str, target: Any, size: tuple[int, ...]
) -> None:
    weight, pixels = torch.randn(24).double(), torch.randn(24).double()
    found = by_hand(
        plain(weight.tolist(), 3.0),
        pixels.tolist(),
        f"infidelity:scaled={scaled}",
        size=size,
        target=target,
    )
    # The mean square of differences that cancel, of sums of up to 24 products.
    assert_agrees(value(found) ** 0.5, 0.0, scale=(weight * pixels).abs().sum() + 3)


def test_infidelity_of_a_map_that_says_nothing_is_the_mean_square_of_what_is_lost() -> None:
    # All boxes are one pixel: each is lost equally often, but for chance.
    model = plain([1.0] * 4)
    found = by_hand(model, [2.0] * 4, "infidelity:patch=0.1", [0.0] * 4)
    assert_agrees(value(found), 4.0)


def test_infidelity_unscaled_by_hand() -> None:
    model = plain([1.0] * 4)
    # phi says 1 for every pixel, and 2 is lost with each; heatmaps of one's own are the raw map.
    found = by_hand(model, [2.0] * 4, "infidelity:patch=0.1,scaled=false", [1.0] * 4)
    assert_agrees(value(found), 1.0)
    found = by_hand(model, [2.0] * 4, "infidelity:patch=0.1,scaled=true", [1.0] * 4)
    assert_agrees(value(found) ** 0.5, 0.0, scale=8.0)


def test_what_each_patch_is_worth_correlates_with_itself() -> None:
    weight = torch.rand(24).tolist()
    found = by_hand(
        plain(weight, 1.0), torch.rand(24).tolist(), "occlusion-correlation", size=(4, 6)
    )
    assert_agrees(value(found), 1.0)
    patchwise = by_hand(
        plain(weight), torch.rand(24).tolist(), "occlusion-correlation:cells=2", size=(4, 6)
    )
    assert_agrees(value(patchwise), 1.0)


def test_the_other_way_round_it_correlates_with_minus_one() -> None:
    found = by_hand(
        plain([1.0] * 4), [1.0, 2, 3, 4], "occlusion-correlation", [4.0, 3, 2, 1], size=(4,)
    )
    assert_agrees(value(found), -1.0)


def test_max_sensitivity_of_a_constant_gradient_is_zero() -> None:
    model = plain([1.0, -2, 3, 4])
    assert value(by_hand(model, [1.0, 2, 3, 4], "max-sensitivity", method="saliency")) == 0


def test_max_sensitivity_of_input_times_gradient_by_hand() -> None:
    weight, pixels = torch.tensor([1.0, -2, 3, 4]).double(), torch.tensor([1.0, 2, 3, 4]).double()
    generator, worst = torch.Generator().manual_seed(3), 0.0
    for _ in range(5):
        step = (torch.rand(1, 2, 2, generator=generator, dtype=torch.float64) * 2 - 1) * 0.1
        worst = max(worst, float((weight * step.flatten()).norm() / (weight * pixels).norm()))
    metric = "max-sensitivity:samples=5,radius=0.1,seed=3"
    found = value(by_hand(plain(weight.tolist()), pixels.tolist(), metric))
    assert_agrees(found, worst)


def test_saco_by_hand() -> None:
    # s is (1, 1/2, 0): f loses 1, 3 and 2, so one pair of three is as M says.
    found = by_hand(plain([1.0, 3, 2]), [1.0, 1, 1], "saco:groups=3", [2.0, 1, 0], size=(3,))
    assert_agrees(value(found), (-1 / 2 - 1 + 1 / 2) / 2)
    # Groups of two, at another baseline: f loses 4 + 8, 6 + 2.
    found = by_hand(
        plain([2.0, 4, 3, 1]), [1.0] * 4, "saco:groups=2,baseline=-1", [4.0, 3, 2, 1], size=(4,)
    )
    assert value(found) == 1


def test_saco_of_more_groups_than_pixels_has_a_group_for_each() -> None:
    found = by_hand(plain([3.0, 1, 2]), [1.0] * 3, "saco", [2.0, 1, 0], size=(3,))
    assert_agrees(value(found), (1 / 2 + 1 - 1 / 2) / 2)


@pytest.mark.parametrize("level", [0.0, 0.3])
def test_a_map_that_is_the_same_everywhere_has_no_pairs_to_tell(level: float) -> None:
    model = plain([1.0, 2, 3, 4])
    assert value(by_hand(model, [1.0] * 4, "saco", [level] * 4)) == 0
    assert value(by_hand(model, [1.0] * 4, "sparseness", [level] * 4)) == 0
    found = by_hand(model, [1.0] * 4, "complexity", [level] * 4)
    assert_agrees(value(found), math.log(4))
    assert_agrees(found["of uniform"].item(), 1.0)


def test_groups_that_lose_the_same_but_for_rounding_are_as_the_map_says() -> None:
    model = plain([0.1] * 10)
    assert value(by_hand(model, [0.7] * 10, "saco", [9.0 - i for i in range(10)], size=(10,))) == 1


def test_a_single_pixel_is_as_sparse_and_as_simple_as_a_map_can_be() -> None:
    model = plain([1.0, 2, 3, 4])
    assert value(by_hand(model, [1.0] * 4, "sparseness", [0.0, 0, 5, 0])) == 3 / 4
    assert value(by_hand(model, [1.0] * 4, "complexity", [0.0, 0, 5, 0])) == 0


def test_sparseness_and_complexity_by_hand() -> None:
    model, heatmap = plain([1.0, 2, 3, 4]), [0.0, 1, 3, 0]
    # The mean difference of two pixels is (4 x 1 + 4 x 3 + 2 x 2) / 16, twice the mean is 2.
    assert_agrees(value(by_hand(model, [1.0] * 4, "sparseness", heatmap)), 20 / 16 / 2)
    wanted = -(math.log(1 / 4) / 4 + 3 * math.log(3 / 4) / 4)
    found = by_hand(model, [1.0] * 4, "complexity", heatmap)
    assert_agrees(value(found), wanted)
    assert_agrees(found["of uniform"].item(), wanted / math.log(4))


def test_one_pixel_has_no_entropy_to_be_a_share_of() -> None:
    found = by_hand(plain([1.0]), [1.0], "complexity", [1.0], size=(1, 1))
    assert value(found) == 0
    assert found["of uniform"].isnan().all()


def test_of_two_classes_the_other_logit_is_the_other_one() -> None:
    # Their logits are w x and -w x, and so are their maps.
    found = by_hand(plain([1.0, 2, 3, 4]), [4.0, 1, 2, 3], "random-logit", target=0)
    assert_agrees(value(found), -1.0)
    assert_agrees(found["absolute"].item(), 1.0)


def test_road_by_hand() -> None:
    # In a row of two a removed pixel becomes the other; noise is none.
    found = by_hand(plain([1.0, 1.0]), [4.0, 1.0], "road:steps=1,noise=0", [1.0, 0.0], size=(2,))
    assert {name: one.flatten().tolist() for name, one in found.items()} == {
        "value": [3.0],
        "morf": [2.0],
        "lerf": [8.0],
        "morf curve": [2.0],
        "lerf curve": [8.0],
    }
