"""Text on figures: measured, wrapped to a width or shortened, in fonts that hold its characters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from matplotlib import rcParams
from matplotlib.figure import FigureBase
from matplotlib.text import Text
from matplotlib.textpath import TextToPath

from limelight.render.fonts import drawable, families, properties

#: A line of text takes this share more than the size of its font.
_LINE = 1.2

#: How much wider text may be drawn than it was measured, as pixels round it.
_SLACK = 1.03


#: The space between a title and its picture, in inches.
TITLE_PAD = 0.05


def line_inches(size: float, lines: int = 1) -> float:
    """Return how high lines of text are, with the space between them."""
    return lines * _LINE * size / 72


def titles_inches(titles: Sequence[str], size: float) -> float:
    """Return how high titles over pictures are, with the space below them, but not above."""
    above_letters = 0.4 * size / 72
    return line_inches(size, max(map(line_count, titles))) - above_letters + TITLE_PAD


@lru_cache(maxsize=4096)
def inches_of(text: str, size: float, *, bold: bool = False) -> float:
    """Return how wide a line of text is."""
    font = properties(text, size, bold=bold)
    width, _, _ = TextToPath().get_text_width_height_descent(text, font, ismath=False)
    return float(width) / 72 * _SLACK


def fitted(text: str, inches: float, size: float, *, bold: bool = False, lines: int = 1) -> str:
    """Return text in at most so many lines that are not wider than this.

    A word that is longer than a line is broken. Text that does not fit ends in `…`.
    """
    rows = list(_lines(drawable(text), inches, size, bold=bold))
    if len(rows) <= lines:
        return "\n".join(rows)
    last = " ".join(rows[lines - 1 :])
    while last and inches_of(last + "…", size, bold=bold) > inches:
        last = last[:-1].rstrip()
    return "\n".join([*rows[: lines - 1], last + "…"])


def line_count(text: str) -> int:
    """Return how many lines a text has; none if it is empty."""
    return text.count("\n") + 1 if text else 0


def _lines(text: str, inches: float, size: float, *, bold: bool) -> Iterator[str]:
    """Break text into lines: at spaces, else after a punctuation mark, else anywhere."""
    for paragraph in text.split("\n"):
        line = ""
        for word in _WORDS.findall(paragraph):
            if inches_of((line + word).rstrip(), size, bold=bold) <= inches:
                line += word
                continue
            if line.strip():
                yield line.rstrip()
            line = word
            while inches_of(line.rstrip(), size, bold=bold) > inches and len(line) > 1:
                part = _longest_start(line, inches, size, bold=bold)
                yield line[:part]
                line = line[part:]
        yield line.rstrip()


_EAST_ASIAN = "\u2e80-\u9fff\uac00-\ud7af"  # scripts without spaces, broken anywhere

#: What stays together: a score with its number; else letters up to a space or to a mark in a name.
_WORDS = re.compile(
    rf"score \S+|\d[\d.,]*\s*|[{_EAST_ASIAN}]"
    rf"|[^\s.,:/_\-{_EAST_ASIAN}]*[\s.,:/_\-]+|[^\s.,:/_\-{_EAST_ASIAN}]+"
)


def _longest_start(text: str, inches: float, size: float, *, bold: bool) -> int:
    """Return how many of the first characters fit into a width; at least one."""
    count = 1
    while count < len(text) and inches_of(text[: count + 1], size, bold=bold) <= inches:
        count += 1
    return count


def prepare_texts(sheet: FigureBase) -> None:
    """Make all text of a figure drawable: its characters, and its fonts."""
    for text in sheet.findobj(Text):
        assert isinstance(text, Text)
        words = drawable(text.get_text())
        text.set_text(words)
        if len(families(words)) > len(rcParams["font.family"]):
            bold = text.get_fontweight() == "bold"
            text.set_fontproperties(properties(words, float(text.get_fontsize()), bold=bold))
