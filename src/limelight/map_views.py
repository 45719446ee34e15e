"""Views of maps for a notebook: their pictures, their names, and what chooses among them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch
from PIL.Image import Image
from torch import Tensor

from limelight.drawing import Explained, as_pictures
from limelight.notebook import MapPanel, MapsView, MapTile, maps_html, pictures_html

if TYPE_CHECKING:
    from limelight.render import Heat

#: How many images of a batch are drawn where only a PNG is shown.
MOST_IMAGES_IN_PNG = 4


#: How many images, panels, and maps of a panel are shown.
_MOST_IMAGES, _MOST_PANELS, _MOST_MAPS = 6, 8, 36


M = TypeVar("M", bound=Explained)


class Pictures(list[Image]):
    """A list of pictures that a notebook shows."""

    def _repr_html_(self) -> str:
        """Show the first pictures in a notebook."""
        return pictures_html(self)


class MapList(list[M]):
    """A list of explanations that a notebook shows, one target at a time."""

    def _repr_html_(self) -> str:
        """Show the first explanations in a notebook, with target and opacity to choose."""
        return targets_html(self) if self else "[]"


class _NamedMap(NamedTuple):
    """The map of one image, with what is written below it."""

    maps: Explained
    image: int
    title: str
    facts: str


def targets_html(explanations: Sequence[Explained], name: str = "") -> str:
    """Return explanations as HTML, of which one is chosen by its target; each has all its images.

    Args:
        explanations: At least one.
        name: What stands over all, such as the file of a photo.
    """
    shown = explanations[:_MOST_PANELS]
    heading = _common([f"{each.method} at {each.layer}" for each in shown])
    photos, panels, most = _Photos(), list[MapPanel](), 0
    for each in shown:
        place = "" if heading else f" · {each.method} at {each.layer}"
        count = len(each.label)
        most = max(most, count)
        tiles = list[MapTile]()
        for b in range(min(count, _MOST_IMAGES)):
            image = f"image {b}, " if count > 1 else ""
            facts = f"{image}score {float(each.score[b].detach()):.4g}{place}"
            tiles.append(photos.tile(_NamedMap(each, b, each.label[b], facts)))
        panels.append(MapPanel(_common(each.label) or f"{each.label[0]}, …", tiles))
    more = [_more(len(explanations) - len(shown), "target"), _more(most - _MOST_IMAGES, "image")]
    heading = ": ".join(filter(None, (name, heading)))
    return _html(photos, panels, heading=heading, chosen="target", more=more)


def methods_html(explanations: Sequence[Explained], notes: Sequence[str] = ()) -> str:
    """Return explanations of the same images as HTML: all methods of the target that is chosen.

    Args:
        explanations: At least one.
        notes: Sentences below the maps.
    """
    layer = _common([each.layer for each in explanations])
    by_target = dict[str, list[_NamedMap]]()
    count = len(explanations[0].label)
    for b in range(min(count, _MOST_IMAGES)):
        for each in explanations:
            image = f"image {b}: " if count > 1 else ""
            target = f"{image}{each.label[b]}, score {float(each.score[b].detach()):.4g}"
            place = "" if layer else each.layer
            by_target.setdefault(target, []).append(_NamedMap(each, b, each.method, place))
    photos = _Photos()
    panels = [
        MapPanel(name, list(map(photos.tile, named[:_MOST_MAPS])))
        for name, named in list(by_target.items())[:_MOST_PANELS]
    ]
    most = max(len(named) for named in by_target.values())
    heading = f"at {layer}" if layer else ""
    if len(panels) == 1:
        heading = f"{panels[0].name} {heading}".strip()
    more = [
        _more(count - _MOST_IMAGES, "image"),
        _more(len(by_target) - _MOST_PANELS, "target"),
        _more(most - _MOST_MAPS, "map"),
    ]
    return _html(photos, panels, heading=heading, chosen="target", more=more, notes=notes)


def concepts_html(
    heading: str, drawn: Iterable[tuple[Image, Tensor]], labels: Sequence[Sequence[str]]
) -> str:
    """Return concepts as HTML: where each is on the photo that is chosen.

    Args:
        heading: What is the same for all.
        drawn: For each image the photo, and the concepts' heatmaps at its size, `[R, H, W]`.
        labels: For each concept its classes.
    """
    photos, panels, more = _Photos(), list[MapPanel](), 0
    for b, (photo, heatmaps) in enumerate(drawn):
        if b >= _MOST_IMAGES:
            more += 1
            continue
        tiles = [
            photos.drawn(photo, heatmap, f"concept {number}", ", ".join(names))
            for number, (heatmap, names) in enumerate(zip(heatmaps, labels, strict=True), 1)
        ]
        panels.append(MapPanel(f"image {b}", tiles[:_MOST_MAPS]))
    left_out = [_more(more, "image"), _more(len(labels) - _MOST_MAPS, "concept")]
    return _html(photos, panels, heading=heading, chosen="photo", more=left_out)


def _html(
    photos: _Photos,
    panels: Sequence[MapPanel],
    *,
    heading: str,
    chosen: str,
    more: Iterable[str],
    notes: Sequence[str] = (),
) -> str:
    """Return the HTML of maps on photos, in panels."""
    left_out = ", ".join(filter(None, more))
    return maps_html(
        MapsView(
            heading=heading,
            chosen=chosen,
            photos=photos.pictures,
            panels=panels,
            colours=colours_of_maps(),
            more=f"Not shown: {left_out}." if left_out else "",
            notes=notes,
        )
    )


class _Photos:
    """The photos of a view, each of which is kept once."""

    def __init__(self) -> None:
        self.pictures = list[Image]()
        self._numbers = dict[bytes, int]()

    def tile(self, named: _NamedMap) -> MapTile:
        """Draw the map of an explanation, and return it with the number of its photo."""
        from limelight import render

        one_image = named.maps[named.image]
        (drawn,) = as_pictures([one_image], longest=render.PANEL_PIXELS)
        status, region = one_image.status[0], drawn.regions[0]
        note = "" if status.ok else str(status)
        tile = self.drawn(
            drawn.photo, drawn.heatmaps[0], named.title, named.facts, note, curve=drawn.curve
        )
        if region is not None:
            for picture in (tile.heat, tile.overlay):
                render.outlined(picture, region)
        return tile

    def drawn(
        self,
        photo: Image,
        heatmap: Heat,
        title: str,
        facts: str,
        note: str = "",
        *,
        curve: bool = False,
    ) -> MapTile:
        """Draw a map on a photo, and return it with the photo's number."""
        from limelight import render

        return MapTile(
            photo=self._number(photo.convert("RGB")),
            heat=render.colourise(heatmap),
            overlay=render.overlay(photo, heatmap, curve=curve),
            title=title,
            facts=facts,
            note=note,
        )

    def _number(self, photo: Image) -> int:
        """Return the number of a photo, which becomes the last if it is new."""
        number = self._numbers.setdefault(photo.tobytes(), len(self.pictures))
        if number == len(self.pictures):
            self.pictures.append(photo)
        return number


def colours_of_maps() -> list[str]:
    """Return the colours of maps from 0 to 1, as CSS writes them."""
    from limelight import render

    scale = render.colourise(torch.linspace(0, 1, 9, dtype=torch.float32, device="cpu")[None])
    return [f"rgb{scale.getpixel((column, 0))}" for column in range(scale.width)]


def _common(texts: Sequence[str]) -> str:
    """Return the text that all are; "" if they differ."""
    return texts[0] if len(set(texts)) == 1 else ""


def _more(count: int, kind: str) -> str:
    """Return how many more there are, in words; "" for none."""
    return f"{count} more {kind}{'s' if count > 1 else ''}" if count > 0 else ""
