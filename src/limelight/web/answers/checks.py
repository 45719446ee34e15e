"""The quick check of a map: what is left of the score without what lights up most."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from limelight.metrics.case import MapCase, Maps, PerturbedModel
from limelight.metrics.controls import control_case
from limelight.metrics.faithfulness import pixel_ranks
from limelight.translations.languages import Language
from limelight.web.answers.maps import shown_label
from limelight.web.answers.numbers import finite
from limelight.web.answers.probes import blurred_input
from limelight.web.requests import MapRequest
from limelight.web.subjects.looks import Look
from limelight.web.subjects.targets import read_target

#: The share of the pixels that is blurred away.
SHARE = 0.2

#: How many random maps say what chance reaches. A map that knows nothing is below all of them, by
#: luck alone, once in ten times.
RANDOM_MAPS = 9

#: A probability below this has little to lose; then the score before softmax is read.
_LEAST_PROBABILITY = 0.05

#: A loss of less than this share of the score is none to speak of.
_LEAST_LOSS = 0.05

#: What the check says: nothing, where no map takes away anything to speak of; or that the map
#: takes away more of the score than the centre and all random maps; than most, by their mean, and
#: the centre; than random maps alone; or no more than those.
CheckVerdict = Literal["no-loss", "ahead", "ahead-on-average", "behind-centre", "no-better"]


def check_map(
    look: Look, request: MapRequest, give_way: Callable[[], None], language: Language
) -> dict[str, Any]:
    """Return what is left when the hottest pixels of a map are blurred away, beside the controls.

    1. Make the map.
    2. Take the same network, photo and score, to be run on changed photos; they are kept.
    3. Blur the hottest fifth away, by this map, by random maps on its grid, by a blob in the
       centre. What random maps and the blob leave is kept for the next map on this grid.

    Args:
        look: The photo as the network saw it.
        request: The map.
        give_way: Called between runs; it raises an error when nobody waits any more.
        language: The language of the label.

    Raises:
        LimelightError: As `Look.explain`.
    """
    # 1. The map.
    explanation = look.explain(request, lambda _task, _done, _total: give_way())
    (status,) = explanation.status
    answer: dict[str, Any] = {
        "share": SHARE,
        "status": status.name,
        "label": shown_label(explanation.label[0], language),
        "method": explanation.method,
        "layer": explanation.layer,
    }
    if not status.ok:
        return {**answer, "own": None}
    # 2. The network.
    perturbed = look.once(("perturbed", request.target), lambda: _perturbed(look, request))
    # Where classes do not exclude each other, the share of one is not its probability.
    has_probability = perturbed.has_probability and not look.served.has_several_labels
    by_probability = has_probability and float(perturbed.value[0]) >= _LEAST_PROBABILITY
    # 3. The map and the controls.
    blurred = blurred_input(look)

    def left(case: MapCase) -> float:
        image, removed = perturbed.images, pixel_ranks(case.heatmap)[0] < _count(case)
        changed = torch.where(removed.reshape(1, 1, *perturbed.size), blurred.to(image), image)
        return _read(perturbed, changed, by_probability=by_probability)

    def left_by(control: str) -> float:
        return left(control_case(control, perturbed, grid, explanation.span))

    grid = tuple(explanation.raw.shape[1:])
    maps = Maps(explanation.raw.detach(), explanation.heatmap.detach(), explanation.span)
    own = left(MapCase(maps, perturbed))
    controls = dict[str, float]()
    for control in ("centre", *(f"random:seed={seed}" for seed in range(RANDOM_MAPS))):
        key = "left without", control, grid, explanation.span, by_probability
        give_way()
        controls[control] = perturbed.once(key, partial(left_by, control))
    centre, *chance = controls.values()
    before = float((perturbed.value if by_probability else perturbed.score)[0])
    mean = sum(chance) / len(chance)
    return {
        **answer,
        "measured": "probability" if by_probability else "score",
        "before": finite(before),
        "own": finite(own),
        "chance": {
            "mean": finite(mean),
            "lowest": finite(min(chance)),
            "highest": finite(max(chance)),
            "count": len(chance),
        },
        "centre": finite(centre),
        "verdict": check_verdict(before, own, chance, centre),
    }


def _perturbed(look: Look, request: MapRequest) -> PerturbedModel:
    target = read_target(request.target, look.served, look.stored, look.inputs.image.shape[2:])
    return PerturbedModel(look.served.network.model, look.inputs, target, look.served.options)


def _count(case: MapCase) -> int:
    """Return how many pixels are blurred away."""
    return round(SHARE * case.heatmap[0].numel())


def _read(perturbed: PerturbedModel, changed: Tensor, *, by_probability: bool) -> float:
    read = perturbed.values if by_probability else perturbed.score_values
    return float(read(1, lambda _number, _image: changed)[0, 0])


def check_verdict(before: float, own: float, chance: list[float], centre: float) -> CheckVerdict:
    """Return what the check says; less is better."""
    if before - min(own, centre, *chance) < _LEAST_LOSS * abs(before):
        return "no-loss"
    if own < min(chance) and own < centre:
        return "ahead"
    if own >= sum(chance) / len(chance):
        return "no-better"
    return "ahead-on-average" if own < centre else "behind-centre"
