"""The drop-in's FullGrad with `eigen_smooth`, beside the same map by autograd and numpy."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from limelight.compat.pytorch_grad_cam import FullGrad


def test_eigen_smooth_joins_layers() -> None:
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, stride=2, padding=1)
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5))
    model = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), pool).eval()
    images = torch.randn(2, 3, 32, 48)

    made = FullGrad(model, [])(images, [3, 1], eigen_smooth=True)

    inputs = images.clone().requires_grad_()
    one = first(inputs)
    two = second(one.relu())
    score = pool(two.relu())[torch.arange(2), torch.tensor([3, 1])].sum()
    at_input, at_one, at_two = torch.autograd.grad(score, [inputs, one, two])
    assert first.bias is not None
    assert second.bias is not None
    parts = [
        (images * at_input).sum(1, keepdim=True),
        first.bias[:, None, None] * at_one,
        second.bias[:, None, None] * at_two,
    ]
    layers = torch.cat([_resized(_scaled(each.abs()), (32, 48)).sum(1, True) for each in parts], 1)
    each_scaled = _scaled(layers.flatten(0, 1)[:, None]).reshape(layers.shape)
    small = _resized(each_scaled, (4, 6)).detach().double().numpy()
    for b, samples in enumerate(small.reshape(2, 3, 24)):
        centred = (samples - samples.mean(1, keepdims=True)).T
        component = centred @ np.linalg.svd(centred)[2][0]
        if np.corrcoef(component, samples.mean(0))[0, 1] < 0:
            component = -component
        grid = torch.from_numpy(component).reshape(1, 1, 4, 6)
        expected = _scaled(_resized(grid, (32, 48)))[0, 0].numpy()
        np.testing.assert_allclose(made[b], expected, atol=2e-5)


def _scaled(maps: Tensor) -> Tensor:
    """Scale each image of `[B, K, h, w]` to [0, 1], over all of its channels."""
    low, high = maps.amin((1, 2, 3), keepdim=True), maps.amax((1, 2, 3), keepdim=True)
    return (maps - low) / (high - low)


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return interpolate(maps, size=size, mode="bilinear", align_corners=False)
