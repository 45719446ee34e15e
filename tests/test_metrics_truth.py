"""Tests of the metrics themselves: which of them rank a map first that is right by construction.

Each network reads one patch of the picture and nothing else, so the map of that patch is right, and
maps that leave it out are wrong. A metric that says otherwise is listed here with the reason; what
is listed has to fail, so that the list stays true. `docs/measure.md` shows it as a table.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from limelight.inputs import ModelInputs
from limelight.metrics import METRICS, find_metric
from limelight.metrics.case import MapCase, Maps, PerturbedModel
from limelight.options import Options
from limelight.status import map_status, to_heatmap
from limelight.targets import as_target

PAGE = Path(__file__).parent.parent / "docs" / "measure.md"

SIZE, SIDE = 64, 24
TOP, LEFT = 12, 28  # where the patch is that the networks read
ELSEWHERE = (36, 2)  # a patch that looks alike, and is not read


class ReadsOnePatch(nn.Module):
    """Two or three logits, read off one patch of the picture."""

    def __init__(self, read: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.read = read

    def forward(self, x: Tensor) -> Tensor:
        return self.read(x[..., TOP : TOP + SIDE, LEFT : LEFT + SIDE].flatten(1))


def mean_colour(patch: Tensor) -> Tensor:
    mean = 3 * patch.mean(1)
    return torch.stack([mean, -mean], 1)


def bright_pixels(patch: Tensor) -> Tensor:
    bright = 8 * (patch - 0.5).relu().mean(1) - 2
    return torch.stack([bright, 0 * bright], 1)


def shades(patch: Tensor) -> Tensor:
    """Bright, grey or dark: at the mean colour bright is not the least likely."""
    mean = 4 * patch.mean(1)
    return torch.stack([mean, 0 * mean + 1, -mean], 1)


def contrast(patch: Tensor) -> Tensor:
    deviation = 4 * patch.std(1) - 2
    return torch.stack([deviation, -deviation], 1)


def grey(patch: Tensor) -> Tensor:
    """The mean colour itself is what speaks for the class."""
    colour = 2 - 3 * patch.square().mean(1)
    return torch.stack([colour, -colour], 1)


#: The networks, and by how much both patches are brighter than the rest of their pictures.
NETWORKS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "mean colour": (mean_colour, 0.8),
    "bright pixels": (bright_pixels, 0.8),
    "shades": (shades, 0.8),
    "contrast": (contrast, 0.5),
    "grey": (grey, 0.0),
}
ALL = tuple(NETWORKS)

#: The metrics, with fewer steps than they have by default.
QUICK = {
    **{name: name for name, row in METRICS.items() if row.family == "faithfulness"},
    "deletion": "deletion:steps=20",
    "insertion": "insertion:steps=20",
    "road": "road:steps=1",
}


def pictures(lift: float) -> Tensor:
    """Noise on smooth noise, with two patches that are brighter, `[8, 3, 64, 64]`."""
    batches = []
    for seed in (2, 3):
        generator = torch.Generator().manual_seed(seed)
        fine = torch.randn(4, 3, SIZE, SIZE, generator=generator, dtype=torch.float64)
        coarse = torch.randn(4, 3, 8, 8, generator=generator, dtype=torch.float64)
        batches.append((fine + interpolate(coarse, size=(SIZE, SIZE), mode="bilinear")) / 2)
    brighter = patch_at(TOP, LEFT) + patch_at(*ELSEWHERE)
    return torch.cat(batches) * (1 if lift else 0.6) + lift * brighter


def patch_at(top: int, left: int) -> Tensor:
    found = torch.zeros(SIZE, SIZE, dtype=torch.float64)
    found[top : top + SIDE, left : left + SIDE] = 1
    return found


def maps() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    patch = patch_at(TOP, LEFT)
    all_but_one_pixel = torch.ones_like(patch)
    all_but_one_pixel[0, 0] = 0
    cells = torch.rand(1, 1, 8, 8, generator=generator, dtype=torch.float64)
    return {
        "right": patch,
        "elsewhere": patch_at(*ELSEWHERE),
        "complement": 1 - patch,
        "uniform": torch.ones_like(patch),
        "random pixels": torch.rand(SIZE, SIZE, generator=generator, dtype=torch.float64),
        "random cells": interpolate(cells, size=(SIZE, SIZE), mode="bilinear")[0, 0],
        "all but one pixel": all_but_one_pixel,
    }


WRONG = ("elsewhere", "complement")
RIVALS = (*WRONG, "uniform", "random pixels", "random cells")


@functools.cache
def perturbed_network(network: str) -> PerturbedModel:
    read, lift = NETWORKS[network]
    model, images = ReadsOnePatch(read).eval(), ModelInputs.of(pictures(lift))
    return PerturbedModel(model, images, as_target(0), Options.read())


@functools.cache
def readings(network: str, metric: str) -> dict[str, Tensor]:
    """Return how good each map is by a metric, higher being better, for each picture."""
    return {name: reading(network, metric, one) for name, one in maps().items()}


def reading(network: str, metric: str, one: Tensor) -> Tensor:
    row, perturbed = find_metric(metric), perturbed_network(network)
    raw = one.expand(len(perturbed.images), -1, -1)
    status = map_status(raw, perturbed.score, [], method="", layer="", why=lambda: "")
    made = Maps(raw, to_heatmap(raw, (SIZE, SIZE), status))
    case = MapCase(made, perturbed, lambda *_, **__: made)
    values = row.update(case)["value"] * (1 if row.better == "higher" else -1)
    return values.round(decimals=9)  # values that differ by rounding alone are the same


def is_first(network: str, metric: str) -> Tensor:
    """Return for each picture whether the right map alone has the best value."""
    values = readings(network, metric)
    return torch.stack([values["right"] > values[name] for name in RIVALS]).all(0)


def is_last(network: str, metric: str) -> Tensor:
    """Return for each picture whether a wrong map has the lowest value, and the right one more."""
    values = readings(network, metric)
    worst = torch.stack([values[name] for name in ("right", *RIVALS)]).amin(0)
    wrong = torch.stack([values[name] for name in WRONG]).amin(0)
    return (wrong == worst) & (values["right"] > worst)


def is_ahead_of_all_but_one_pixel(network: str, metric: str) -> Tensor:
    """Return for each picture whether the right map is better than one of everything."""
    values = readings(network, metric)
    return values["right"] > values["all but one pixel"]


CLAIMS = {
    "the right map is first": is_first,
    "a wrong map is last": is_last,
    "the right map is ahead of one of all pixels but one": is_ahead_of_all_but_one_pixel,
}
FIRST, LAST, AHEAD = CLAIMS


class Failure(NamedTuple):
    """A claim that does not hold for a metric on some networks, and why."""

    metric: str
    networks: tuple[str, ...]
    claims: tuple[str, ...]
    why: str


GAINS_NOTHING = "f stays the same when all but the patch is hidden, so that the right map gains 0"
GREY = "the mean colour, with which pixels are removed, is what speaks for the class"
PARTS = "without a part of the patch there may be more contrast in it than before"
ONE_GROUP = "only the group with the dark pixel weighs, and that is worth nothing, as the map says"
EVERYTHING = "a map of everything hides nothing, so that it loses as little as the right one"

FAILURES = (
    Failure("increase", ALL, (FIRST, LAST, AHEAD), GAINS_NOTHING),
    Failure("average-gain", ALL, (FIRST, LAST, AHEAD), GAINS_NOTHING),
    Failure("average-drop", ALL, (AHEAD,), EVERYTHING),
    Failure("saco", ALL, (AHEAD,), ONE_GROUP),
    Failure(
        "adcc", ALL, (LAST,), "a map that is the same everywhere has 0: it is coherent with nothing"
    ),
    *(
        Failure(metric, ("contrast",), claims, PARTS)
        for metric, claims in {
            "infidelity": (FIRST,),
            "occlusion-correlation": (FIRST, LAST, AHEAD),
            "saco": (FIRST,),
        }.items()
    ),
    *(
        Failure(metric, ("grey",), (FIRST, LAST, AHEAD), GREY)
        for metric in ("deletion", "insertion", "road", "occlusion-correlation")
    ),
    Failure("saco", ("grey",), (FIRST, LAST), GREY),
    Failure("average-drop", ("grey",), (FIRST, LAST), "nothing is lost by any map: " + GREY),
    Failure("adcc", ("grey",), (FIRST,), "nothing is lost by any map: " + GREY),
)


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("metric", QUICK)
@pytest.mark.parametrize("network", NETWORKS)
def test_the_right_map_is_ranked_first_and_a_wrong_one_last(
    network: str, metric: str, claim: str
) -> None:
    holds = CLAIMS[claim](network, QUICK[metric])
    reasons = [
        failure.why
        for failure in FAILURES
        if failure.metric == metric and network in failure.networks and claim in failure.claims
    ]
    assert bool(holds.all()) != bool(reasons), (holds.tolist(), reasons)


@pytest.mark.parametrize("metric", QUICK)
def test_the_page_says_how_often_the_right_map_is_first(metric: str) -> None:
    counts = [str(int(is_first(network, QUICK[metric]).sum())) for network in NETWORKS]
    line = f"| `{metric}` | {' | '.join(counts)} |"
    assert line in PAGE.read_text(), line


@pytest.mark.parametrize("metric", ["deletion:steps=20", "occlusion-correlation", "saco"])
def test_with_a_baseline_that_the_class_is_not_made_of_the_right_map_is_first(metric: str) -> None:
    assert not is_first("grey", metric).any()
    other = f"{metric}{',' if ':' in metric else ':'}baseline=2"
    assert is_first("grey", other).all()
    assert is_last("grey", other).all()


@pytest.mark.parametrize("network", NETWORKS)
def test_infidelity_scaled_does_not_see_the_sign_of_a_map(network: str) -> None:
    """The best factor may be negative, in the official code too."""
    patch = maps()["right"]
    for metric, same in {"infidelity": True, "infidelity:scaled=false": False}.items():
        right, turned = reading(network, metric, patch), reading(network, metric, -patch)
        assert ((turned == right) == same).all()
