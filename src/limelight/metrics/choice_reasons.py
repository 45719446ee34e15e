"""Why `choose` recommends a map, or nothing, in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from limelight.metrics.estimates import MetricEstimate
from limelight.metrics.intervals import FEWEST_IMAGES
from limelight.metrics.measurement import Measurement
from limelight.metrics.sanity import SanityVerdict

NO_TIME_FOR_SANITY = (
    "The time that was given was over before the test of sanity was done. Give it more seconds, or "
    "fewer methods and layers."
)


def praise(
    name: str, confirmed: Measurement, sanity: Measurement, seconds: float, run_seconds: float
) -> str:
    """Return the recommendation, and what it rests on."""
    judged = [estimate for estimate in confirmed.estimates() if estimate.judged]
    images = max(estimate.own.images for estimate in judged)
    leads = ", ".join(f"{estimate.metric} {estimate.lead}" for estimate in judged)
    likeness = sanity.ranking("parameter-randomisation")[0].own
    return (
        f"Use {name}. On {images} photos that had no part in the choice it beats random "
        f"maps and a blob in the centre (lead over the better of them: {leads}), and random "
        f"weights change its maps (likeness {likeness}). One map takes {seconds:.2g} s, as "
        f"long as {seconds / run_seconds:.1f} runs of the network."
    )


def few(photos: int, *, in_time: bool) -> str:
    """Too few photos to choose on could be measured."""
    when = " in the time that was given" if in_time else ""
    hint = "Give it more seconds, or fewer methods and layers" if in_time else "Pass more photos"
    return (
        f"The maps of {photos} photos to choose on could be measured{when}, and a choice takes "
        f"{FEWEST_IMAGES}. {hint}."
    )


def none_ahead(candidates: int, photos: int) -> str:
    """Every candidate is behind a control in some metric."""
    return (
        f"None of these {candidates} beats chance here: on the {photos} photos to choose on, each "
        "is behind random maps or a blob in the centre in some metric."
    )


def none_sane(tried: Mapping[str, SanityVerdict]) -> str:
    """The best candidates do not pass the test of sanity."""
    names = ", ".join(f"{name} ({verdict})" for name, verdict in tried.items())
    hint = " More photos may make it clear." if "unclear" in tried.values() else ""
    return (
        "The best that are ahead of chance here do not pass the test of sanity, which asks whether "
        f"random weights change the maps: {names}.{hint}"
    )


def unconfirmed(name: str, photos: int, *, in_time: bool) -> str:
    """There are too few photos to confirm the choice."""
    hint = "more photos or more seconds" if in_time else "more photos"
    return (
        f"{name} was best, and could be confirmed on {photos} photos only, where it takes "
        f"{FEWEST_IMAGES}. Give it {hint}."
    )


def lost(name: str, estimates: Sequence[MetricEstimate]) -> str:
    """On the other photos the winner was not shown to beat chance in some metric."""
    metrics = " and in ".join(estimate.metric for estimate in estimates)
    example = replace(estimates[0], method=name).sentence
    return (
        f"None of these was shown to beat chance here: {name} was best where it was chosen, and on "
        f"the other photos it was not shown to beat chance in {metrics}. {example}"
    )


def not_sane(name: str, verdict: SanityVerdict) -> str:
    """On the other photos the winner does not pass the test of sanity."""
    why = {
        "fails": "its maps stay much the same when the weights are random",
        "unclear": "whether random weights change its maps is unclear. More photos may tell",
    }
    return (
        f"{name} was best, and on the other photos it did not pass the test of sanity: "
        f"{why[verdict]}."
    )
