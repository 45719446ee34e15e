"""The page to send: one HTML file with the photo and its maps, that asks for nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from limelight.explanation import Explanation
from limelight.notebook.encoding import data_uri, reduced
from limelight.plain import as_json, visible
from limelight.render.maps import SEQUENTIAL, SIGNED
from limelight.translations.languages import Language
from limelight.version import __version__
from limelight.web.answers.colours import packed_colours
from limelight.web.answers.maps import map_as_dict
from limelight.web.requests import FileRequest
from limelight.web.wording import words

#: The longer side of the photo, of the map and of those beside it, in pixels.
_PHOTO_PIXELS, _MAP_PIXELS, _BESIDE_PIXELS = 1024, 224, 112


def shared_page(
    explanation: Explanation,
    beside: Sequence[Explanation],
    asked: FileRequest,
    network: str,
    *,
    code: Mapping[str, Any],
    language: Language,
) -> str:
    """Return a page that shows a map, and those beside it, with the values under the pointer.

    Args:
        explanation: The map of one photo, which it knows.
        beside: Other maps of the same photo.
        asked: The colours.
        network: The name of the network.
        code: The lines that make the same picture, as `code_lines` returns them.
        language: The language of the page.

    Raises:
        UnknownNameError: There is no such colour map.
    """
    (crop,) = explanation.crops or ()
    is_signed = asked.picture == "signed"
    named = asked.colormap
    heat, signed = (SEQUENTIAL, named or SIGNED) if is_signed else (named or SEQUENTIAL, SIGNED)
    maps = [
        map_as_dict(each, _BESIDE_PIXELS if number else _MAP_PIXELS, language)
        for number, each in enumerate((explanation, *beside))
    ]
    width, height = crop.photo.size
    values = {
        "maps": maps,
        "photo": {"width": width, "height": height, "box": list(crop.box)},
        "colours": {"heat": packed_colours(heat), "signed": packed_colours(signed)},
        "texts": words(language)["page"]["shared"],
    }
    photo = data_uri(reduced(crop.photo, _PHOTO_PIXELS), "webp", 86)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["shown"] = lambda text: visible(str(text))
    return environment.from_string(_asset("shared.html")).render(
        language=language,
        texts=values["texts"],
        name=crop.name or "photo",
        network=network,
        code=code,
        photo=photo,
        size=(width, height),
        box=[round(edge) for edge in crop.box],
        all_seen=crop.all_seen,
        is_signed=is_signed,
        map=maps[0],
        version=__version__,
        style=Markup(_asset("shared.css")),
        script=Markup(_asset("shared.js")),
        values=_in_script(values),
    )


def _in_script(values: dict[str, Any]) -> Markup:
    """Return values as JSON in which nothing can end the script element."""
    return Markup(as_json(values).replace("<", "\\u003c"))


@cache
def _asset(name: str) -> str:
    return (files("limelight.web.answers") / "html" / name).read_text(encoding="utf-8")
