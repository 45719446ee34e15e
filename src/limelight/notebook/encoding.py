"""Templates filled in, and pictures as text, within the bytes that a cell may take."""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Callable, Iterator
from functools import cache
from importlib.resources import files
from io import BytesIO
from typing import Literal

from PIL import Image

from limelight.plain import visible

#: The most characters of HTML, and bytes of a PNG beside it: 300 kB together, as a notebook holds a
#: PNG as base64, which is longer by a third.
MOST_HTML, MOST_PNG = 180_000, 88_000


#: The most bytes of a PNG that stands alone.
MOST_PNG_ALONE = 220_000


#: The longest side of a picture, in pixels, from the first that is tried to the last.
_SIDES = (440, 360, 280, 220, 160, 120, 90, 64)


#: The most letters of a name that are shown.
_MOST_LETTERS = 120


def fitting(draw: Callable[[int], str]) -> str:
    """Return HTML with the largest pictures that fit into `MOST_HTML` characters.

    Args:
        draw: Returns the HTML with pictures whose longest side has so many pixels.
    """
    attempts: Iterator[str] = (draw(side) for side in _SIDES)
    html = next(attempts)
    while len(html) > MOST_HTML and (smaller := next(attempts, None)) is not None:
        html = smaller
    return html


def filled(template: str, **values: object) -> str:
    """Return one of the templates in `html/`, filled in, with an id of its own.

    Two cells do not share an id, even if both show the same result.
    """
    from jinja2 import Environment, StrictUndefined  # not before something is shown
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["named"] = named
    root = f"limelight-{secrets.token_hex(4)}"
    style = Markup(_asset("notebook.css").replace("ROOT", f"#{root}"))
    return environment.from_string(_asset(template)).render(root=root, style=style, **values)


def named(text: object) -> str:
    """Return a name that fits into a caption, without characters that cannot be shown."""
    name = visible(str(text))
    return name if len(name) <= _MOST_LETTERS else f"{name[: _MOST_LETTERS - 1]}…"


def reduced(picture: Image.Image, side: int) -> Image.Image:
    """Return a picture in RGB whose longest side has at most so many pixels."""
    small = picture.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small


def data_uri(picture: Image.Image, form: Literal["jpeg", "webp"], quality: int) -> str:
    """Return a picture as the address of an <img> that holds it."""
    buffer = BytesIO()
    picture.save(buffer, form.upper(), quality=quality)
    return f"data:image/{form};base64,{b64encode(buffer.getvalue()).decode()}"


@cache
def _asset(name: str) -> str:
    return (files("limelight.notebook") / "html" / name).read_text(encoding="utf-8")
