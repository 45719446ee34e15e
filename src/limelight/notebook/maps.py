"""Maps over their photos, with the opacity and the class to choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from limelight.notebook.encoding import data_uri, filled, fitting, named, reduced


@dataclass(frozen=True, slots=True)
class MapTile:
    """One map.

    Attributes:
        photo: Which of the view's photos it lies on.
        heat: The colours of the map alone.
        overlay: The photo with these colours, which is seen first and where there is no style.
        title: What it explains, or by which method.
        facts: More about it, in a few words.
        note: Why it shows nothing; "" if it shows something.
    """

    photo: int
    heat: Image.Image
    overlay: Image.Image
    title: str
    facts: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class MapPanel:
    """Maps that are seen together; one of several panels is chosen by its name."""

    name: str
    tiles: Sequence[MapTile]


@dataclass(frozen=True, slots=True)
class MapsView:
    """All that one cell shows of maps.

    Attributes:
        heading: What is the same for all maps.
        chosen: What the names of the panels are: "target", "image".
        photos: What the maps lie on.
        panels: The maps.
        colours: The colours of the maps from 0 to 1, as CSS writes them.
        more: What is not shown, in words; "" if all is shown.
        notes: Sentences below the maps.
    """

    heading: str
    chosen: str
    photos: Sequence[Image.Image]
    panels: Sequence[MapPanel]
    colours: Sequence[str]
    more: str = ""
    notes: Sequence[str] = ()


#: What can be seen of a map: the shares of colours in the blend with the photo.
_OPACITIES = (("photo", 0.0), ("25 %", 0.25), ("50 %", 0.5), ("75 %", 0.75), ("heatmap", 1.0))


def maps_html(view: MapsView) -> str:
    """Return a view of maps.

    The pictures of a choice are in the style: where that is taken out, so is the choice, and the
    overlays of all panels are left.
    """
    count = max((len(panel.tiles) for panel in view.panels), default=0)
    width = next(width for most, width in _WIDTHS if count <= most)

    def draw(side: int) -> str:
        tiles = [tile for panel in view.panels for tile in panel.tiles]
        overlays = {id(tile): reduced(tile.overlay, min(side, 2 * width)) for tile in tiles}
        photos = [reduced(photo, min(side, 2 * width)) for photo in view.photos]
        return filled(
            "maps.html",
            view=view,
            opacities=_OPACITIES,
            width=width,
            gradient=", ".join(view.colours),
            photos=[data_uri(photo, "jpeg", 82) for photo in photos],
            shape=photos[0].size if photos else (1, 1),
            panels=[
                {
                    "name": named(panel.name),
                    "tiles": [
                        {
                            "tile": tile,
                            "overlay": data_uri(overlays[id(tile)], "jpeg", 82),
                            "heat": data_uri(reduced(tile.heat, max(64, side // 2)), "webp", 60),
                            "size": overlays[id(tile)].size,
                        }
                        for tile in panel.tiles
                    ],
                }
                for panel in view.panels
            ],
        )

    return fitting(draw)


#: How wide a map is shown, in CSS pixels, where so many stand side by side.
_WIDTHS = ((1, 300), (4, 230), (12, 180), (10**9, 140))
