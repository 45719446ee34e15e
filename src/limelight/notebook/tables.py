"""Tables of numbers, with a sentence over them and a picture below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from limelight.notebook.encoding import data_uri, filled, fitting, reduced

#: How many rows of a table are shown.
_MOST_ROWS = 60


#: How much larger than in a view of maps a picture below tables is, as it holds many panels.
_ENLARGED = 3


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        caption: What it shows.
        columns: The headings.
        rows: The cells; numbers are texts already.
        words: How many columns, from the first, hold words; the others hold numbers.
        strong: The numbers of rows, from 0, that stand out.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1
    strong: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class TablesView:
    """All that one cell shows of tables.

    Attributes:
        heading: The main sentence.
        tables: The tables.
        code: A line of Python; "" for none.
        picture: A picture below the tables; None for none.
        alt: What it shows, in words.
        notes: Sentences below all.
        folded: What is seen of `notes` until they are opened; "" to show them.
    """

    heading: str
    tables: Sequence[Table] = ()
    code: str = ""
    picture: Image.Image | None = None
    alt: str = ""
    notes: Sequence[str] = ()
    folded: str = ""


def tables_html(view: TablesView) -> str:
    """Return a view of tables, of which the first rows are shown."""

    def draw(side: int) -> str:
        drawn = None if view.picture is None else reduced(view.picture, _ENLARGED * side)
        return filled(
            "tables.html",
            view=view,
            most=_MOST_ROWS,
            picture=None if drawn is None else data_uri(drawn, "webp", 78),
            size=None if drawn is None else drawn.size,
        )

    return fitting(draw)
