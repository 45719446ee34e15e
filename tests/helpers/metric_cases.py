"""Networks, pictures and masks to measure, and the readings of a measurement."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

import limelight
from helpers import networks
from helpers.networks import ready
from helpers.tolerances import assert_agrees
from limelight.metrics import METRICS
from limelight.metrics.measurement import Measurement

#: Every metric with few steps, so that all of them are quick.
QUICK = {
    **{name: name for name in METRICS},
    "deletion": "deletion:steps=5",
    "insertion": "insertion:steps=5",
    "road": "road:steps=2",
    "infidelity": "infidelity:samples=6",
    "occlusion-correlation": "occlusion-correlation:cells=3",
    "max-sensitivity": "max-sensitivity:samples=2",
    "parameter-randomisation": "parameter-randomisation:steps=2",
}
every_metric = pytest.mark.parametrize("metric", QUICK.values(), ids=list(QUICK))
LOCALISATION = [name for name, row in METRICS.items() if row.family == "localisation"]
HEATMAPS = [name for name, row in METRICS.items() if "recipe" not in row.needs]


def network(seed: int = 2) -> nn.Module:
    torch.manual_seed(seed)
    model = ready(networks.ResidualCNN())
    with torch.no_grad():
        cast("nn.Linear", model.get_submodule("classifier.2")).weight.mul_(20)
    return model


def pictures(count: int = 4, seed: int = 1, size: tuple[int, ...] = (3, 12, 16)) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, *size, generator=generator, dtype=torch.float64)


def masks(count: int = 4) -> Tensor:
    found = torch.zeros(count, 12, 16)
    for b in range(count):
        found[b, b : b + 5, 2 + b : 9] = 1
    return found


def explained(model: nn.Module, images: Tensor, **options: Any) -> limelight.Explanation:
    return limelight.explain(model, images, **{"layer": "block1", **options})


def read(measured: Measurement, method: str | None = None, metric: str | None = None) -> Tensor:
    """Return the readings of each image, of the first method and metric or those named."""
    for key, maps in measured.readings.items():
        if method in (None, key.method) and metric in (None, key.metric):
            return maps.values["own"]["value"]
    raise AssertionError("not measured")


def parts(measured: Measurement) -> dict[str, Tensor]:
    """Return all readings, by what they are of."""
    return {
        f"{key} {source} {name}": values
        for key, maps in measured.readings.items()
        for source, readings in maps.values.items()
        for name, values in readings.items()
    }


def own(heatmap: Tensor, objects: Any, metric: str, **options: Any) -> Tensor:
    """Measure heatmaps of one's own against objects; the network does not matter."""
    images = torch.rand(len(heatmap), 1, *heatmap.shape[1:]) + 1
    measured = limelight.measure(
        Sum(), images, heatmap, metrics=[metric], objects=objects, target=total, **options
    )
    return read(measured)


class Sum(nn.Module):
    """The sum of all pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).sum(1, keepdim=True)


def total(output: Tensor) -> Tensor:
    return output[:, 0]


def same(
    found: Tensor, wanted: Tensor, *, scale: float | None = None, dtype: torch.dtype | None = None
) -> None:
    """Assert that readings are the same, those that are not defined too.

    They are made of probabilities, shares and correlations, up to 1, or of larger scores.
    """
    scale = max(1.0, float(wanted.nan_to_num().abs().max())) if scale is None else scale
    assert_agrees(found, wanted, scale=scale, dtype=dtype)
