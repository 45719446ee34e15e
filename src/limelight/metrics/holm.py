"""Claims about several methods at once: Holm's correction, and who cannot be told apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number; NaN stays, and does not count.

    `p'_(i) = max_{j <= i} min(1, (m - j + 1) p_(j))` over the m values in rising order: Holm 1979.
    If every claim with `p' < alpha` is made, the chance that any of them is false is below alpha.
    """
    order = sorted(
        (number for number, p in enumerate(p_values) if not math.isnan(p)),
        key=lambda number: p_values[number],
    )
    corrected, highest = list(p_values), 0.0
    for position, number in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - position) * p_values[number]))
        corrected[number] = highest
    return corrected


def alike(count: int, differ: Callable[[int, int], bool]) -> list[tuple[int, ...]]:
    """Return the largest groups of numbers below `count` of which no two differ, in order.

    Numbers may be in several groups: 0 and 1 may be alike, and 1 and 2, while 0 and 2 differ.
    """
    groups: list[set[int]] = [set(range(count))] if count else []
    for first in range(count):
        for second in range(first + 1, count):
            if not differ(first, second):
                continue
            # Piepho 2004: a group that holds both is split into one without each.
            split = [
                group - {removed}
                for group in groups
                for removed in ((first, second) if {first, second} <= group else (None,))
            ]
            groups = [
                group
                for number, group in enumerate(split)
                if not any(
                    group < other or (group == other and number > earlier)
                    for earlier, other in enumerate(split)
                )
            ]
    return sorted(tuple(sorted(group)) for group in groups)
