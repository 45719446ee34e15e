"""Several explanations of the same images and targets, fused into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from limelight.errors import InputError
from limelight.explanation import Explanation
from limelight.finish import onto_picture
from limelight.methods.fusing import Fusion, fuse_maps
from limelight.provenance import Provenance
from limelight.recipe import Recipe
from limelight.status import Status, map_status, to_heatmap, zero_unless_ok


def fuse(explanations: Sequence[Explanation], how: Fusion = "mean") -> Explanation:
    """Fuse explanations of the same images and targets, at several layers say, into one.

    The positive part of each raw map is resized to the finest grid among them and scaled to [0, 1];
    then their `mean`, `max` (Jiang et al. 2021) or `product` (RefineCAM, Domeniconi et al. 2026) is
    taken. A map whose status is not ok counts as zero everywhere.

    1. Check that all explanations are of the same images and targets.
    2. Fuse the raw maps.
    3. Find the status: where no part is ok, that of the parts; in a product, where one is not.

    Raises:
        UnknownNameError: There is no such way to fuse.
        InputError: The list is empty, or the explanations differ in images or targets.
    """
    # 1. The check.
    if not explanations:
        raise InputError("There are no explanations to fuse; pass at least one.")
    first = explanations[0]
    for other in explanations[1:]:
        other_shape = other.image.shape != first.image.shape
        if other.label != first.label or (other_shape and other.picture == first.picture):
            raise InputError(
                f"Cannot fuse explanations of {list(first.label)} and of {list(other.label)}; they "
                "were expected to be of the same images and the same targets."
            )
        if other.picture != first.picture:
            raise InputError(
                f"Cannot fuse a map of input {first.picture} and a map of input {other.picture}; "
                "maps of the same picture were expected. For a map of each, pass the layers to "
                "compare(layers=[...])."
            )
    # 2. The map.
    maps = [onto_picture(zero_unless_ok(part.raw, part.status), part.span) for part in explanations]
    raw = fuse_maps(maps, how)
    layer = " + ".join(dict.fromkeys(part.layer for part in explanations))
    method = " + ".join(dict.fromkeys(part.method for part in explanations))
    # 3. The status.
    fused = map_status(raw, first.score, [], method=method, layer=layer, why=lambda: "")
    by_image = zip(*(part.status for part in explanations), strict=True)
    status = tuple(
        _fused_status(parts, of_fused, how) for parts, of_fused in zip(by_image, fused, strict=True)
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
        recipe=_joined([part.recipe for part in explanations], how),
        provenance=_joined_provenance(explanations, how),
    )


def _fused_status(parts: Sequence[Status], fused: Status, how: Fusion) -> Status:
    """Return the status of an image's fused map, given those of its parts and the map's own."""
    empty = [part for part in parts if not part.ok]
    if len(empty) == len(parts) or (empty and how == "product"):
        messages = dict.fromkeys(part.message for part in empty)
        return Status(empty[0].name, " ".join(messages))
    if fused.name == "flat" and how == "product":
        return Status(
            "flat",
            "The product of the maps is zero everywhere: no place has heat in all of them. Fuse "
            "them with 'mean' or 'max', or take other layers.",
        )
    return fused


def _joined(recipes: Sequence[Recipe | None], how: Fusion) -> Recipe | None:
    """Return the recipe of the fused explanation; None if one of its parts was fused before."""
    parts = [r.parts[0] for r in recipes if r is not None and len(r.parts) == 1]
    return Recipe(tuple(parts), how) if len(parts) == len(recipes) else None


def _joined_provenance(explanations: Sequence[Explanation], how: Fusion) -> Provenance | None:
    """Return which network made the fused explanation, and how its windows were explained."""
    first = explanations[0].provenance
    if first is None or first.tiles is None:
        return first
    by_part = [part.provenance for part in explanations]
    alike = all(part is not None and part.tiles == first.tiles for part in by_part)
    recipes = [part.of_windows if part is not None and alike else None for part in by_part]
    return replace(first, of_windows=_joined(recipes, how))
