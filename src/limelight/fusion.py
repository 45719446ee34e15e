"""One explanation of several of the same images and targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from limelight.errors import InputError
from limelight.explanation import Explanation
from limelight.finish import onto_picture
from limelight.methods.fusing import Fusion, fuse_maps
from limelight.recipe import Recipe
from limelight.status import map_status, to_heatmap, zero_unless_ok


def fuse(explanations: Sequence[Explanation], how: Fusion = "mean") -> Explanation:
    """Make one explanation of several of the same images and targets, of several layers say.

    Each raw map is resized to the finest grid among them and scaled to [0, 1], positive part only;
    then their `mean`, `max` (Jiang et al. 2021) or `product` (RefineCAM, Domeniconi et al. 2026) is
    taken. A map whose status is not ok counts as zero everywhere.

    Raises:
        UnknownNameError: There is no such way to fuse.
        InputError: There are none, or they are not of the same images and targets.
    """
    if not explanations:
        raise InputError("There are no explanations to fuse; pass at least one.")
    first = explanations[0]
    for other in explanations[1:]:
        if other.label != first.label or other.image.shape != first.image.shape:
            raise InputError(
                f"Cannot fuse explanations of {list(first.label)} and of {list(other.label)}; they "
                "were expected to be of the same images and the same targets."
            )
    maps = [onto_picture(zero_unless_ok(one.raw, one.status), one.span) for one in explanations]
    raw = fuse_maps(maps, how)
    layer = " + ".join(dict.fromkeys(one.layer for one in explanations))
    method = " + ".join(dict.fromkeys(one.method for one in explanations))
    judged = map_status(raw, first.score, [], method=method, layer=layer, why=lambda: "")
    bad = zip(*(one.status for one in explanations), strict=True)
    status = tuple(
        each[0] if len(set(each)) == 1 and not each[0].ok else own
        for each, own in zip(bad, judged, strict=True)
    )
    return replace(
        first,
        raw=raw,
        heatmap=to_heatmap(raw, first.image.shape[2:], status),
        status=status,
        method=f"{method}, {how}",
        layer=layer,
        reason="named",
        completeness_gap=None,
        span=(),
        recipe=_joined(explanations, how),
    )


def _joined(explanations: Sequence[Explanation], how: Fusion) -> Recipe | None:
    """Return the recipe of what is fused; None where a part of it was fused before."""
    recipes = [one.recipe for one in explanations]
    parts = [one.parts[0] for one in recipes if one is not None and len(one.parts) == 1]
    return Recipe(tuple(parts), how) if len(parts) == len(recipes) else None
