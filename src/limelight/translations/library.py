"""The sentences of the library in another language, found by their templates."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files

from limelight.translations.templates import Template

#: Longer texts are not looked up: no sentence of the library is so long.
_MOST_LETTERS = 6000

#: Of how many sentences a text may be made, and how deep values may hold others.
_MOST_SENTENCES, _MOST_DEEP = 12, 4

#: What stands between Chinese words in place of "; " and ": ".
_SEMICOLON, _COLON = "\N{FULLWIDTH SEMICOLON}", "\N{FULLWIDTH COLON}"


def translated(text: str, language: str) -> str | None:
    """Return a sentence of the library in a language; several, if they follow one another.

    None if it is none of those that are known in the language.

    Args:
        text: The English text.
        language: `en`, in which it is returned as it is, or `zh`.
    """
    if language == "en" or not text:
        return text
    return _known(text, language, _MOST_DEEP) if len(text) <= _MOST_LETTERS else None


def in_language(text: str, language: str) -> str:
    """Return a sentence of the library in a language; in English if it is not known there."""
    found = translated(text, language)
    return text if found is None else found


@cache
def templates(language: str) -> tuple[tuple[Template, Template], ...]:
    """Return all templates: in English, and in the language. More exact ones come first."""
    text = (files("limelight.translations") / f"{language}.toml").read_text(encoding="utf-8")
    pairs = [pair for table in tomllib.loads(text).values() for pair in table.items()]
    both = [(Template.read(english), Template.read(other)) for english, other in pairs]
    return tuple(sorted(both, key=lambda pair: -sum(map(len, pair[0].literals))))


def _known(text: str, language: str, depth: int) -> str | None:
    """Return a text that is one sentence, or several."""
    whole = _one(text, language, depth)
    return _several(text, language, depth) if whole is None else whole


def _one(text: str, language: str, depth: int) -> str | None:
    """Return a text that is one sentence, or a part of one."""
    for english, other in templates(language):
        values = english.match(text)
        if values is not None:
            quoted = {hole.name for hole in english.holes if hole.quoted}
            told = {
                name: value if name in quoted else _value(value, language, depth - 1)
                for name, value in values.items()
            }
            return other.fill(told)
    return None


def _value(value: str, language: str, depth: int) -> str:
    """Return a value of a sentence, translated where it is a sentence or a list of such itself."""
    if depth <= 0 or not any(letter.isalpha() for letter in value):
        return value
    found = _known(value.strip(), language, depth)
    if found is not None:
        return found
    items = value.split("; ")
    if 1 < len(items) <= _MOST_SENTENCES:
        return _SEMICOLON.join(_value(item, language, depth - 1) for item in items)
    name, colon, rest = value.partition(": ")
    told = _known(rest, language, depth - 1) if colon else None
    return value if told is None else f"{name}{_COLON}{told}"


def _several(text: str, language: str, depth: int) -> str | None:
    """Return a text of several sentences, if it can be parted into such that are all known.

    What each place from the end on can be made of is found once.
    """
    starts = [0]
    for place in range(1, len(text)):
        if text[place - 2 : place] in (". ", "? "):
            starts.append(place)
    if not 1 < len(starts) <= _MOST_SENTENCES:
        return None
    found: dict[int, str | None] = {len(text): ""}
    ends = [*(start - 1 for start in starts[1:]), len(text)]
    for start in reversed(starts):
        found[start] = None
        for end in ends:
            rest = found.get(end if end == len(text) else end + 1)
            if end <= start or rest is None:
                continue
            first = _one(text[start:end], language, depth)
            if first is not None:
                found[start] = first + rest
                break
    return found[0]
