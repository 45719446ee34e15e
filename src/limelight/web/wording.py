"""The words of the page: `texts/en.toml` and `texts/zh.toml`, filled in."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from limelight.status import Status
from limelight.translations.languages import LANGUAGES, Language
from limelight.translations.library import in_language, translated


@cache
def words(language: Language) -> dict[str, Any]:
    """Return all texts of a language, in tables."""
    name = f"{language}.toml"
    return tomllib.loads((files("limelight.web") / "texts" / name).read_text(encoding="utf-8"))


def say(key: str, language: Language, **values: object) -> str:
    """Return the text of a key such as "errors.too-many-bytes", with {names} filled in."""
    text: Any = words(language)
    for part in key.split("."):
        text = text[part]
    return str(text).format(**values)


def library_sentence(sentence: str, language: Language) -> str:
    """Return a sentence of the library in a language; if it is not known there, in English so."""
    known = translated(sentence, language)
    return say("errors.library", language, sentence=sentence) if known is None else known


def library_words(words_: str, language: Language) -> str:
    """Return a few words of the library, such as why a layer was chosen, in a language."""
    return in_language(words_, language)


def status_sentence(status: Status, language: Language) -> str:
    """Return what a status says to do, in a language; "" for ok."""
    return library_sentence(status.message, language)


def language_of(accepted: str, default: Language | None = None) -> Language:
    """Return the language of the page for an Accept-Language header, as "zh-CN,zh;q=0.9,en".

    Args:
        accepted: The header; "" for none.
        default: The language that was set, which overrules it.
    """
    if default is not None:
        return default
    ranked = list[tuple[float, Language]]()
    for part in accepted.lower().split(","):
        name, _, quality = part.partition(";q=")
        primary = name.strip().split("-")[0]
        for language in LANGUAGES:
            if primary == language:
                ranked.append((_number(quality), language))
    return max(ranked, key=lambda pair: pair[0], default=(0.0, LANGUAGES[0]))[1]


def asked_language(named: str, accepted: str, default: Language | None = None) -> Language:
    """Return the language that a request asks for: by `?lang=`, or else by its header.

    Args:
        named: What `lang` is; "" for nothing.
        accepted, default: As `language_of` takes them.
    """
    for language in LANGUAGES:
        if named == language:
            return language
    return language_of(accepted, default)


def _number(quality: str) -> float:
    try:
        return float(quality or 1)
    except ValueError:
        return 0.0
