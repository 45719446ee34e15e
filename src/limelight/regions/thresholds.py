"""From how much heat on a pixel belongs to a region."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from limelight.errors import OptionError, unknown

Heat = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]

#: How a threshold is read.
ThresholdRule = Literal["share", "quantile", "otsu"]

THRESHOLD_RULES: tuple[ThresholdRule, ...] = get_args(ThresholdRule)

#: The share of the maximum when none is named: Zhou et al. 2016, section 3.2.
DEFAULT_SHARE = 0.2


def check_threshold(threshold: float | None, how: str) -> float | None:
    """Return the threshold of a rule; its default where it has one and none is named.

    Raises:
        UnknownNameError: There is no such rule.
        OptionError: The threshold does not go with the rule.
    """
    if how not in THRESHOLD_RULES:
        known = ", ".join(THRESHOLD_RULES)
        raise unknown("rule for a threshold", str(how), THRESHOLD_RULES, f"There are {known}.")
    if how == "otsu":
        if threshold is not None:
            raise OptionError(
                f"threshold is {threshold!r} and how is 'otsu', which finds the threshold itself. "
                "Leave the threshold out, or take how='share' or 'quantile'."
            )
        return None
    if threshold is None and how == "share":
        return DEFAULT_SHARE
    is_number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
    allowed = is_number and (0 < threshold <= 1 if how == "share" else 0 <= threshold < 1)  # type: ignore[operator]
    if not allowed:
        expected = (
            "a share of the maximum above 0 and up to 1"
            if how == "share"
            else "a quantile from 0 to below 1, such as 0.9 for the hottest tenth of the pixels"
        )
        raise OptionError(
            f"threshold is {threshold!r} and how is {how!r}; {expected} was expected."
        )
    return threshold


def hot_pixels(heat: Heat, seen: Mask, threshold: float | None, how: ThresholdRule) -> Mask:
    """Return which pixels `[H, W]` of a heatmap h are hot.

    * share: `h >= threshold * max h` (Zhou et al. 2016, section 3.2; Choe et al. 2020, section 2).
      As h is scaled to [0, 1] by minimum and maximum, as in the second, max h is 1 unless the
      maximum lies on a border around the photo.
    * quantile: the hottest `1 - threshold` of the pixels that the network saw, rounded to a whole
      number of them and at least one. Pixels that are as hot as the last of these count too.
    * otsu: `h > t`, with the t between 256 bins of heat that makes the variance between the pixels
      above and below it largest, among the pixels that the network saw (Otsu 1979).

    A pixel without heat is never hot, nor is one that the network did not see.

    Args:
        heat: The heatmap, `[H, W]`.
        seen: Which pixels the network saw, `[H, W]`.
        threshold: As `check_threshold` returns it.
        how: The rule.
    """
    values = heat[seen]
    if not values.size or not values.max() > 0:
        return np.zeros_like(seen)
    if how == "otsu":
        from skimage.filters import threshold_otsu

        limit = float(threshold_otsu(values, nbins=256))  # type: ignore[no-untyped-call]
        return np.asarray(seen & (heat > max(limit, 0)))
    assert threshold is not None
    if how == "share":
        lowest = threshold * values.max()
    else:
        count = max(1, round((1 - threshold) * values.size))
        lowest = np.partition(values, values.size - count)[values.size - count]
    return np.asarray(seen & (heat > 0) & (heat >= lowest))
