"""Fonts for names in any script: installed ones that hold the characters, or readable escapes."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from functools import cache

from matplotlib import rcParams
from matplotlib.font_manager import FontProperties, findSystemFonts, fontManager, get_font

from limelight.plain import visible

#: The start of the name of a font that has a box for every character, and draws none.
_BOXES = "last resort"

#: Parts of names of fonts to look at first: they cover a script well, in a plain face.
_FIRST = ("noto sans", "source han sans", "wenquanyi", "yahei", "pingfang", "hiragino", "malgun")

#: Blocks of the scripts of China, Japan and Korea, which one font covers together.
_EAST_ASIAN = ((0x1100, 0x11FF), (0x2E80, 0x9FFF), (0xAC00, 0xD7AF), (0xF900, 0xFFEF))


class FontWarning(UserWarning):
    """Text of a figure has characters that no installed font can draw."""


def drawable(text: str) -> str:
    r"""Return text as figures show it: characters that no font draws are written out, as `\u732b`.

    A warning says which characters these are, and what to install. Control characters are written
    out as well.
    """
    text = visible(text)
    absent = sorted({character for character in text if not _can_draw(character)})
    if not absent:
        return text
    warnings.warn(_advice("".join(absent)), FontWarning, stacklevel=2)
    return "".join(_escaped(each) if each in absent else each for each in text)


def can_draw(text: str) -> bool:
    """Return whether there are fonts for every character of a text."""
    return all(_can_draw(character) for character in visible(text))


def families(text: str) -> list[str]:
    """Return the font families that draw a text: matplotlib's, and what holds the rest of it."""
    names = dict.fromkeys(rcParams["font.family"])
    for character in text:
        if not _in_base(character):
            names |= dict.fromkeys(filter(None, [_family_with(character)]))
    return list(names)


def font_file(text: str) -> str:
    """Return the file of one font that holds a text, or most of its characters."""
    files = [_file_of(family) for family in families(text)]
    return max(files, key=lambda file: sum(ord(each) in _characters(file) for each in text))


def _can_draw(character: str) -> bool:
    return _in_base(character) or _family_with(character) is not None


def _in_base(character: str) -> bool:
    """Return whether the fonts that matplotlib is set to hold a character."""
    if character in "\n\t":
        return True
    files = (_file_of(family) for family in rcParams["font.family"])
    return any(ord(character) in _characters(file) for file in files)


def _file_of(family: str) -> str:
    return str(fontManager.findfont(FontProperties(family=[family])))


@cache
def _family_with(character: str) -> str | None:
    """Return the first installed family that holds a character; None if none does."""
    for family, path in _installed():
        if ord(character) in _characters(path):
            return family
    return None


@cache
def _installed() -> tuple[tuple[str, str], ...]:
    """Return families and files of the fonts on this machine, those of known good faces first.

    matplotlib keeps a list of fonts from its first start; fonts that were installed later are
    added to it.
    """
    known = {entry.fname for entry in fontManager.ttflist}
    for path in sorted(set(_font_files()) - known):
        try:
            fontManager.addfont(path)
        except Exception:  # a broken font file raises anything
            continue
    plain = [
        entry
        for entry in fontManager.ttflist
        if entry.style == "normal" and not entry.name.lower().startswith(_BOXES)
    ]
    return tuple((entry.name, entry.fname) for entry in sorted(plain, key=_order))


def _font_files() -> Iterable[str]:
    """Return the paths of all font files on this machine."""
    return findSystemFonts()


def _order(entry: object) -> tuple[int, int, str]:
    """Return by what fonts are sorted: known good faces first, regular weight first."""
    name, weight = getattr(entry, "name", ""), getattr(entry, "weight", 400)
    rank = next((k for k, part in enumerate(_FIRST) if part in name.lower()), len(_FIRST))
    distance = abs(weight - 400) if isinstance(weight, int) else 0
    return rank, distance, name


@cache
def _characters(path: str) -> frozenset[int]:
    """Return the characters of a font file; none of one that holds pictures or is broken."""
    try:
        font = get_font(path)
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except Exception:  # a broken font file raises anything
        return frozenset()


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _advice(absent: str) -> str:
    """Return which characters cannot be drawn, and which font to install."""
    packages = " and ".join(dict.fromkeys(_packages(absent)))
    return (
        f"No installed font has the characters {absent[:20]!r}{'...' if absent[20:] else ''}, so "
        f"the figure shows their numbers, as {_escaped(absent[0])}. Install a font that has them: "
        f"{packages}."
    )


def _packages(characters: str) -> Iterator[str]:
    for character in characters:
        if any(first <= ord(character) <= last for first, last in _EAST_ASIAN):
            yield "Noto Sans CJK (on Debian and Ubuntu fonts-noto-cjk)"
        elif unicodedata.category(character) == "So" or ord(character) >= 0x1F000:
            yield "Symbola (fonts-symbola)"
        else:
            yield "Noto Sans (fonts-noto-core)"


def properties(text: str, size: float, *, bold: bool = False) -> FontProperties:
    """Return the font of a text, bold only if all families that it needs have a bold face."""
    names = families(text)
    heavy = bold and all(map(_has_bold, names[len(rcParams["font.family"]) :]))
    return FontProperties(family=names, size=size, weight="bold" if heavy else "normal")


@cache
def _has_bold(family: str) -> bool:
    weights = [entry.weight for entry in fontManager.ttflist if entry.name == family]
    return any(weight == "bold" or (weight != "normal" and int(weight) > 500) for weight in weights)
