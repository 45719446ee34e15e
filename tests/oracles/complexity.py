"""Metrics of how much a map lights up, computed again slowly, from their papers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import special, stats

from oracles.family import MetricFamily
from oracles.metrics import Array

if TYPE_CHECKING:
    from helpers.metric_scenes import Scene


def gini(values: Array) -> float:
    """Return half the mean difference of two values, relative to their mean; Gini 1912.

    Hurley and Rickard 2009 write it as a sum over sorted values.
    """
    if not values.any():  # as any map that is the same everywhere
        return 0.0
    flat = values.ravel()
    differences = math.fsum(abs(flat[:, None] - flat[None]).ravel())
    return differences / (2 * flat.size * math.fsum(flat))


def entropy(values: Array) -> float:
    """Return the entropy of shares of the sum, in nats; Bhatt et al. 2020, `mu_C`."""
    if not values.any():  # as any map that is the same everywhere
        return math.log(values.size)
    total = math.fsum(values.ravel())
    shares = [value / total for value in values.ravel().tolist()]
    return -math.fsum(share * math.log(share) for share in shares if share > 0)


# How the tests call these metrics, and the mistakes that they have to see


def of_sorted(values: Array) -> float:
    ordered = np.sort(values.ravel())
    n = len(ordered)
    place = np.arange(1, n + 1)
    return float((2 * place - n - 1) @ ordered / (n * ordered.sum()))


METRICS: MetricFamily[Scene] = MetricFamily(
    oracles={
        "sparseness": lambda s, b: gini(s.heatmap(b)),
        "complexity": lambda s, b: {
            "value": entropy(s.heatmap(b)),
            "of uniform": entropy(s.heatmap(b)) / math.log(s.heatmap(b).size),
        },
    },
    doctored={
        "sparseness": {
            "the other way round": lambda s, b: 1 - of_sorted(s.heatmap(b)),
            "of a sample": lambda s, b: (
                of_sorted(s.heatmap(b)) * s.heatmap(b).size / (s.heatmap(b).size - 1)
            ),
            "the sizes of the raw map": lambda s, b: of_sorted(abs(s.phi(b))),
            "the share of zeros": lambda s, b: float((s.heatmap(b) == 0).mean()),
            "squared": lambda s, b: of_sorted(s.heatmap(b) ** 2),
        },
        "complexity": {
            "in bits": lambda s, b: float(stats.entropy(s.heatmap(b).ravel(), base=2)),
            "of uniform": lambda s, b: float(
                stats.entropy(s.heatmap(b).ravel()) / math.log(s.heatmap(b).size)
            ),
            "short of uniform": lambda s, b: float(
                math.log(s.heatmap(b).size) - stats.entropy(s.heatmap(b).ravel())
            ),
            "the sizes of the raw map": lambda s, b: float(stats.entropy(abs(s.phi(b)).ravel())),
            "shares by softmax": lambda s, b: float(
                stats.entropy(special.softmax(s.heatmap(b).ravel()))
            ),
            "how many pixels that is": lambda s, b: float(
                np.exp(stats.entropy(s.heatmap(b).ravel()))
            ),
        },
    },
    undoctored={
        "sparseness": lambda s, b: of_sorted(s.heatmap(b)),
        "complexity": lambda s, b: float(stats.entropy(s.heatmap(b).ravel())),
    },
)
