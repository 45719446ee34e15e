"""Metrics of small changes, random weights and other classes, computed again from their papers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from oracles.family import Found, MetricFamily
from oracles.metrics import Array, Explain, rank_correlation, structural_similarity

if TYPE_CHECKING:
    from helpers.metric_scenes import Scene


def max_sensitivity(explain: Explain, image: Array, nearby: Iterable[Array]) -> float:
    """`max_d |phi(x + d) - phi(x)| / |phi(x)|`; Yeh et al. 2019, definition 3.1."""
    phi = explain(image)
    length = math.sqrt(math.fsum(phi.ravel() ** 2))
    worst = 0.0
    for step in nearby:
        change = explain(image + step) - phi
        worst = max(worst, math.sqrt(math.fsum(change.ravel() ** 2)))
    return worst / length if length else math.nan


def randomised(
    raw: Array, heatmap: Array, after: Sequence[tuple[Array, Array]]
) -> dict[str, float | list[float]]:
    """Return how alike maps stay over a cascade of raw maps and heatmaps; Adebayo et al. 2018."""
    signed = [rank_correlation(raw.ravel(), other.ravel()) for other, _ in after]
    absolute = [rank_correlation(abs(raw).ravel(), abs(other).ravel()) for other, _ in after]
    ssim = [structural_similarity(heatmap, other) for _, other in after]
    return {
        "value": statistics.fmean(signed),
        "absolute": statistics.fmean(absolute),
        "ssim": statistics.fmean(ssim),
        "curve": signed,
        "absolute curve": absolute,
        "ssim curve": ssim,
    }


def other_logit(raw: Array, heatmap: Array, other: Array, other_heatmap: Array) -> dict[str, float]:
    """Return how alike the maps of two classes are; Sixt et al. 2020."""
    return {
        "value": rank_correlation(raw.ravel(), other.ravel()),
        "absolute": rank_correlation(abs(raw).ravel(), abs(other).ravel()),
        "ssim": structural_similarity(heatmap, other_heatmap),
    }


# How the tests call these metrics, and the mistakes that they have to see


def of_another(s: Scene, b: int, seed: int = 0) -> Found:
    label, image = s.other_class(b, seed), s.image(b)
    return other_logit(
        s.raw(b),
        s.heatmap(b),
        s.explain_raw(b, label=label)(image),
        s.explain(b, label=label)(image),
    )


def raw_of(s: Scene, b: int, label: int) -> Array:
    return s.explain_raw(b, label=label)(s.image(b))


def cascaded(s: Scene, b: int, steps: int = 8, seed: int = 0) -> Found:
    after = [
        (s.explain_raw(b, model)(s.image(b)), s.explain(b, model)(s.image(b)))
        for model in s.randomised(steps, seed)
    ]
    return randomised(s.raw(b), s.heatmap(b), after)


def changes(s: Scene, b: int, order: Any = 2, **drawn: Any) -> Array:
    explain, image = s.explain_raw(b), s.image(b)
    phi = explain(image)
    return np.array(
        [np.linalg.norm((explain(image + d) - phi).ravel(), order) for d in s.nearby(**drawn)]
    )


def length(s: Scene, b: int) -> float:
    return float(np.linalg.norm(s.raw(b)))


def each_stage(s: Scene, b: int, alike: Callable[[Array, Array], float]) -> list[float]:
    return [alike(s.raw(b), s.explain_raw(b, model)(s.image(b))) for model in s.randomised()]


def ranked_alike(a: Array, b: Array) -> float:
    return float(stats.spearmanr(a.ravel(), b.ravel())[0])


METRICS: MetricFamily[Scene] = MetricFamily(
    oracles={
        "max-sensitivity": lambda s, b: max_sensitivity(s.explain_raw(b), s.image(b), s.nearby()),
        "max-sensitivity:samples=3,radius=0.5,seed=2": lambda s, b: max_sensitivity(
            s.explain_raw(b), s.image(b), s.nearby(3, 0.5, 2)
        ),
        "parameter-randomisation": cascaded,
        "parameter-randomisation:steps=3,seed=7": lambda s, b: cascaded(s, b, 3, 7),
        "random-logit": of_another,
        "random-logit:seed=6": lambda s, b: of_another(s, b, 6),
    },
    doctored={
        "max-sensitivity": {
            "the mean": lambda s, b: float(changes(s, b).mean() / length(s, b)),
            "not divided": lambda s, b: float(changes(s, b).max()),
            "the largest cell": lambda s, b: float(changes(s, b, math.inf).max() / length(s, b)),
            "squared": lambda s, b: float((changes(s, b) ** 2).max() / length(s, b) ** 2),
            "one step fewer": lambda s, b: float(changes(s, b)[:-1].max() / length(s, b) * 0.999),
            "twice as far": lambda s, b: float(changes(s, b, radius=0.04).max() / length(s, b)),
            "other steps": lambda s, b: float(changes(s, b, seed=1).max() / length(s, b)),
        },
        "parameter-randomisation": {
            "without sign": lambda s, b: statistics.fmean(
                each_stage(s, b, lambda x, y: ranked_alike(abs(x), abs(y)))
            ),
            "the size of the correlation": lambda s, b: statistics.fmean(
                map(abs, each_stage(s, b, ranked_alike))
            ),
            "not of ranks": lambda s, b: statistics.fmean(
                each_stage(s, b, lambda x, y: float(np.corrcoef(x.ravel(), y.ravel())[0, 1]))
            ),
            "the last stage alone": lambda s, b: each_stage(s, b, ranked_alike)[-1],
            "the first stage alone": lambda s, b: each_stage(s, b, ranked_alike)[0],
            "the trained network too": lambda s, b: statistics.fmean(
                [1.0, *each_stage(s, b, ranked_alike)]
            ),
            "the most alike": lambda s, b: max(each_stage(s, b, ranked_alike)),
        },
        "random-logit": {
            "the same class": lambda s, b: ranked_alike(s.raw(b), s.raw(b)),
            "the next class": lambda s, b: ranked_alike(
                s.raw(b), raw_of(s, b, (s.chosen(b) + 1) % s.classes)
            ),
            "one class for all": lambda s, b: ranked_alike(
                s.raw(b), raw_of(s, b, s.other_class(0))
            ),
            "another seed": lambda s, b: ranked_alike(s.raw(b), raw_of(s, b, s.other_class(b, 1))),
            "without sign": lambda s, b: ranked_alike(
                abs(s.raw(b)), abs(raw_of(s, b, s.other_class(b)))
            ),
            "not of ranks": lambda s, b: float(
                np.corrcoef(s.raw(b).ravel(), raw_of(s, b, s.other_class(b)).ravel())[0, 1]
            ),
            "of the heatmaps": lambda s, b: ranked_alike(
                s.heatmap(b), s.explain(b, label=s.other_class(b))(s.image(b))
            ),
        },
    },
    undoctored={
        "max-sensitivity": lambda s, b: float(changes(s, b).max() / length(s, b)),
        "parameter-randomisation": lambda s, b: statistics.fmean(each_stage(s, b, ranked_alike)),
        "random-logit": lambda s, b: ranked_alike(s.raw(b), raw_of(s, b, s.other_class(b))),
    },
    allowed={
        "max-sensitivity": lambda _: {
            "limit": "maps of nearly the same images, whose difference is small beside them"
        },
        "parameter-randomisation": lambda _: {
            "limit": "variances, each a difference of squares, in a quotient"
        },
        "random-logit": lambda _: {
            "limit": "variances, each a difference of squares, in a quotient"
        },
    },
)
