"""The metrics under the names of the grad-cam library, computed by hand."""

from __future__ import annotations

import importlib
import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from limelight.compat.pytorch_grad_cam.metrics import arcc, cam_mult_image, road
from limelight.compat.pytorch_grad_cam.metrics import perturbation_confidence as perturbation
from limelight.compat.pytorch_grad_cam.utils.model_targets import (
    ClassifierOutputSoftmaxTarget as Probability,
)
from limelight.errors import InputError, MetricError, OptionError, TargetError
from oracles import faithfulness

Array = npt.NDArray[Any]

TARGETS = [Probability(0), Probability(2)]


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 3)).eval()


IMAGES = torch.randn(2, 2, 8, 9, generator=torch.Generator().manual_seed(1))


MAPS = torch.rand(2, 8, 9, generator=torch.Generator().manual_seed(2)).numpy()


def probability(network: nn.Module, images: Tensor) -> Array:
    """Return the probability of the target of each image."""
    with torch.no_grad():
        softmax = network(images).softmax(1)
    return np.array([softmax[0, 0].item(), softmax[1, 2].item()])


def without(maps: Array, percentile: float, *, most: bool) -> Tensor:
    """Return IMAGES without the pixels beyond a percentile of maps without ties, with noise."""
    noise = 0.01 * torch.randn(
        2, 8, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    imputed = []
    for image, one_map in zip(IMAGES.double(), maps, strict=True):
        relevance = one_map if most else -one_map.astype(np.float64)
        gone = relevance >= np.percentile(relevance, percentile)
        filled = torch.from_numpy(faithfulness.imputed(image.numpy(), gone))
        imputed.append(filled + noise * torch.from_numpy(gone))
    return torch.stack(imputed)


@pytest.mark.parametrize("percentile", [10, 37, 50, 80, 99])
@pytest.mark.parametrize("most", [True, False])
def test_road(network: nn.Module, percentile: float, most: bool) -> None:
    metric = (road.ROADMostRelevantFirst if most else road.ROADLeastRelevantFirst)(percentile)
    scores, changed = metric(IMAGES, MAPS, TARGETS, network, return_visualization=True)
    truth = without(MAPS, percentile, most=most)
    torch.testing.assert_close(changed.double(), truth, rtol=0, atol=1e-4)
    before, after = (probability(network, images) for images in (IMAGES, truth.float()))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, after - before, atol=1e-5)
    np.testing.assert_allclose(
        metric(IMAGES, MAPS, TARGETS, network, return_diff=False), after, atol=1e-5
    )


def test_road_is_averaged_and_combined(network: nn.Module) -> None:
    percentiles = [20, 60]
    arguments = (IMAGES, MAPS, TARGETS, network)
    before = probability(network, IMAGES)
    morf, lerf = (
        np.mean(
            [
                probability(network, without(MAPS, p, most=most).float()) - before
                for p in percentiles
            ],
            axis=0,
        )
        for most in (True, False)
    )
    averages = road.ROADMostRelevantFirstAverage, road.ROADLeastRelevantFirstAverage
    for average, truth in zip(averages, (morf, lerf), strict=True):
        np.testing.assert_allclose(average(percentiles)(*arguments), truth, atol=1e-5)
    combined = road.ROADCombined(percentiles)
    np.testing.assert_allclose(combined(*arguments), (lerf - morf) / 2, atol=1e-5)
    np.testing.assert_array_equal(combined(*arguments), combined(*arguments))
    assert combined.percentiles == percentiles


def removed(
    one_map: Tensor, percentile: Any, kind: Any = perturbation.RemoveMostRelevantFirst
) -> list[int]:
    """Return the numbers of the pixels that are removed."""
    seen = list[Tensor]()

    def keep(image: Tensor, mask: Tensor) -> Tensor:
        seen.append(mask)
        return image

    kind(percentile, keep)(torch.zeros(1, *one_map.shape), one_map)
    (mask,) = seen
    assert ((mask == 0) | (mask == 1)).all()
    return (mask.flatten() == 0).nonzero().flatten().tolist()


def test_exactly_the_share_is_removed_and_ties_keep_their_order() -> None:
    mostly_zero = torch.zeros(4, 5)
    mostly_zero[2, 3] = 1
    assert removed(mostly_zero, 80) == [0, 1, 2, 13]
    assert removed(mostly_zero, 20, perturbation.RemoveLeastRelevantFirst) == [
        *range(13),
        14,
        15,
        16,
    ]
    assert removed(torch.full((4, 5), 0.5), 75) == [0, 1, 2, 3, 4]
    nothing_known = torch.full((4, 5), torch.nan)
    assert removed(nothing_known, 75) == [0, 1, 2, 3, 4]
    assert len(removed(torch.rand(4, 5), 0)) == 19  # one pixel has to stay
    assert len(removed(torch.rand(4, 5), 100)) == 1


def test_otsus_threshold_removes_what_is_relevant() -> None:
    one_map = torch.rand(8, 9, generator=torch.Generator().manual_seed(0)) ** 3
    levels = (255 * one_map.numpy()).astype(np.uint8)
    threshold, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    above = np.flatnonzero(levels > threshold).tolist()
    assert removed(one_map, "auto") == above
    least = removed(one_map, "auto", perturbation.RemoveLeastRelevantFirst)
    assert set(least).isdisjoint(above)
    assert removed(torch.full((8, 9), 0.5), "auto") == []


def test_removed_pixels_are_imputed() -> None:
    image = IMAGES[0]
    gone = torch.zeros(8, 9, dtype=torch.bool)
    gone[2:5, 3:] = True
    filled = road.NoisyLinearImputer(noise=0)(image, (~gone).float())
    truth = faithfulness.imputed(image.double().numpy(), gone.numpy())
    np.testing.assert_allclose(filled, truth, atol=1e-5)
    torch.manual_seed(3)
    noisy = [road.NoisyLinearImputer(noise=0.5)(image, (~gone).float()) for _ in range(2)]
    assert torch.equal(*noisy)
    assert (noisy[0] - filled)[:, gone].std().item() == pytest.approx(0.5, rel=0.3)
    assert torch.equal(noisy[0][:, ~gone], image[:, ~gone])
    assert sum(weight for _, weight in road.neighbors_weights) == pytest.approx(1)


def test_what_cannot_be_imputed() -> None:
    with pytest.raises(MetricError) as error:
        road.NoisyLinearImputer()(IMAGES[0], torch.zeros(8, 9))
    assert str(error.value) == (
        "The mask is 0 everywhere; at least one pixel has to stay, from which the others are "
        "imputed."
    )
    with pytest.raises(OptionError, match=r"the only weights that are offered. Leave it out."):
        road.NoisyLinearImputer(weighting=[((0, 1), 1.0)])
    with pytest.raises(OptionError) as option:
        road.ROADMostRelevantFirst(120)
    assert str(option.value) == (
        "percentile is 120; a number from 0 to 100 was expected, or 'auto'."
    )


def test_the_image_times_the_map(network: nn.Module) -> None:
    arguments = (IMAGES, MAPS, TARGETS, network)
    before = probability(network, IMAGES)
    times = IMAGES * torch.from_numpy(MAPS)[:, None]
    change = probability(network, times) - before
    assert change.min() < 0 < change.max()  # both signs are seen
    metrics = {
        cam_mult_image.CamMultImageConfidenceChange: change,
        cam_mult_image.DropInConfidence: np.maximum(-change, 0),
        cam_mult_image.IncreaseInConfidence: np.float32(change > 0),
    }
    for metric, truth in metrics.items():
        scores = metric()(*arguments)
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, truth, atol=1e-6)
        again, changed = metric()(*arguments, return_visualization=True)
        np.testing.assert_array_equal(again, scores)
        assert torch.equal(changed, times)


def test_the_network_runs_in_evaluation_mode_and_stays_as_it_is(network: nn.Module) -> None:
    metric = cam_mult_image.CamMultImageConfidenceChange()
    truth = metric(IMAGES, MAPS, TARGETS, network)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    np.testing.assert_array_equal(metric(IMAGES, MAPS, TARGETS, network), truth)
    assert all(module.training for module in network.modules())
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_a_perturbation_of_ones_own(network: nn.Module) -> None:
    images = IMAGES.clone()

    def darken(image: Tensor, one_map: Tensor) -> Tensor:
        return image.mul_(0.5 * one_map)

    metric = perturbation.PerturbationConfidenceMetric(darken)
    scores = metric(images, MAPS, TARGETS, network, return_diff=False)
    assert torch.equal(images, IMAGES)
    half = IMAGES * torch.from_numpy(MAPS)[:, None] / 2
    np.testing.assert_allclose(scores, probability(network, half), atol=1e-6)


def test_outputs_that_are_no_tensor(network: nn.Module) -> None:
    class InDict(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network

        def forward(self, images: Tensor) -> dict[str, Tensor]:
            return {"logits": self.inner(images)}

    metric = cam_mult_image.CamMultImageConfidenceChange()
    truth = metric(IMAGES, MAPS, TARGETS, network)
    np.testing.assert_array_equal(metric(IMAGES, MAPS, TARGETS, InDict().eval()), truth)


def test_maps_and_targets_have_to_fit(network: nn.Module) -> None:
    metric = cam_mult_image.CamMultImageConfidenceChange()
    with pytest.raises(InputError) as error:
        metric(IMAGES, MAPS[:1], TARGETS, network)
    assert str(error.value) == (
        "The maps are [1, 8, 9] and the images [2, 2, 8, 9]; one map [8, 9] per image was expected."
    )
    with pytest.raises(TargetError) as target:
        metric(IMAGES, MAPS, TARGETS[:1], network)
    assert str(target.value) == (
        "There are 1 targets for 2 images; one per image was expected, in a list."
    )


def correlation(a: Array, b: Array) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def test_arcc(network: nn.Module) -> None:
    def method(input_tensor: Tensor, targets: list[Any]) -> Array:
        assert targets is TARGETS
        return np.asarray(input_tensor.abs().mean(1) ** 2)

    maps = method(IMAGES, TARGETS)
    maps = maps / maps.max((1, 2), keepdims=True)
    of_masked = method(IMAGES * torch.from_numpy(maps)[:, None], TARGETS)
    coherency = [(correlation(a, b) + 1) / 2 for a, b in zip(of_masked, maps, strict=True)]
    complexity = [float(one_map.mean()) for one_map in maps]
    np.testing.assert_allclose(arcc.Complexity()(maps), complexity, rtol=1e-5)
    np.testing.assert_allclose(
        arcc.Coherency()(IMAGES, maps, TARGETS, network, method), coherency, rtol=1e-5
    )
    twice_road = 2 * road.ROADCombined([30, 70])(IMAGES, maps, TARGETS, network)
    terms = [
        (a, 1 - b, min(max(c, 0), 1))
        for a, b, c in zip(coherency, complexity, twice_road.tolist(), strict=True)
    ]
    truth = [3 / sum(1 / term for term in t) if min(t) > 0 else 0 for t in terms]
    assert max(truth) > 0
    value = arcc.ARCC(method, [30, 70])(IMAGES, maps, TARGETS, network)
    assert value.dtype == np.float32
    np.testing.assert_allclose(value, truth, rtol=1e-4)


def test_a_constant_map_is_coherent_with_nothing() -> None:
    a, b = MAPS, np.stack([np.ones((8, 9)), 1 - MAPS[1]])
    assert arcc.batch_pearson_coherency(a, b).tolist() == pytest.approx([0, -1])
    assert not math.isnan(arcc.Complexity()(b)[0])


def test_arcc_is_found_where_the_peers_readme_has_it() -> None:
    name = "limelight.compat.pytorch_grad_cam.metrics.ARCC"
    assert importlib.import_module(name).ARCC is arcc.ARCC
