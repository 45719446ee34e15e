"""Tokens become words: which characters of a text, and which tokens, make up each word."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

from limelight.errors import TargetError, unknown


class Span(NamedTuple):
    """Characters of a text, from `start` to before `end`."""

    start: int
    end: int


class Word(NamedTuple):
    """A word of a text.

    Attributes:
        span: Its characters.
        tokens: The places of its tokens among the tokens of the text, from 0.
    """

    span: Span
    tokens: tuple[int, ...]


def token_spans(
    ids: Sequence[int], decode: Callable[[Sequence[int]], str]
) -> tuple[str, list[Span]]:
    r"""Return the text of tokens, and the characters of each token in it.

    Any tokenizer that turns tokens back into text will do: what the first n tokens and the whole
    text begin with alike is what n tokens have written. A token that completes no character, as
    when several make up one of Chinese, has no characters; the token that completes it has it.
    """
    text = decode(ids)
    spans, end = list[Span](), 0
    for count in range(1, len(ids) + 1):
        start, end = end, max(end, _alike(decode(ids[:count]), text))
        spans.append(Span(start, end))
    return text, spans


def _alike(one: str, other: str) -> int:
    """Return how many characters two texts begin alike with."""
    pairs = enumerate(zip(one, other, strict=False))
    different = next((place for place, (a, b) in pairs if a != b), None)
    return min(len(one), len(other)) if different is None else different


def words_of(
    ids: Sequence[int], special: frozenset[int], decode: Callable[[Sequence[int]], str]
) -> tuple[str, list[Word]]:
    """Return the text of tokens, and its words.

    1. Find the characters of each token.
    2. Split the text into words; in scripts without spaces a word is a token.
    3. Give each word its tokens; words that share a token are one.

    Args:
        ids: The tokens, `[N]`.
        special: The tokens that stand for no text, such as the one that ends a sentence.
        decode: Returns the text of tokens, without special ones.
    """
    text, spans = token_spans(ids, decode)
    ends = {span.end for span in spans}
    words = list[Word]()
    for span in _split(text, ends):
        tokens = _tokens_of(span, ids, spans, special)
        if words and set(tokens) & set(words[-1].tokens):
            joined = dict.fromkeys((*words[-1].tokens, *tokens))
            words[-1] = Word(Span(words[-1].span.start, span.end), tuple(joined))
        elif tokens:
            words.append(Word(span, tokens))
    return text, words


def _tokens_of(
    word: Span, ids: Sequence[int], spans: Sequence[Span], special: frozenset[int]
) -> tuple[int, ...]:
    """Return the tokens that write a word, with those before them that complete no character."""
    tokens, waiting = list[int](), list[int]()
    for place, (token, span) in enumerate(zip(ids, spans, strict=True)):
        if token in special:
            waiting = []
        elif span.start == span.end:
            waiting.append(place)
        else:
            if span.start < word.end and span.end > word.start:
                tokens += [*waiting, place]
            waiting = []
    return tuple(tokens)


def _split(text: str, ends: set[int]) -> list[Span]:
    """Return the words of a text: letters and digits together, each punctuation mark alone.

    Marks inside a word belong to it, as in "don't" and "3.5". Equal punctuation marks in a row are
    one word. Where a script has no spaces, words end where tokens end.
    """
    spans, start, kind = list[Span](), 0, "space"
    for place in range(len(text)):
        now = _kind(text, place, kind)
        begins = (
            now != kind or _always_apart(text, place, now) or (now == "dense" and place in ends)
        )
        if begins:
            if kind != "space":
                spans.append(Span(start, place))
            start, kind = place, now
    if kind != "space":
        spans.append(Span(start, len(text)))
    return spans


#: What the names of letters of scripts without spaces begin with.
_DENSE = ("CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")

#: Marks that belong to a word between two of its letters, and between two digits.
_BETWEEN_LETTERS = "'-\N{RIGHT SINGLE QUOTATION MARK}\N{HYPHEN}"
_BETWEEN_DIGITS = ".,:/"

_SKIN_TONES = "".join(map(chr, range(0x1F3FB, 0x1F400)))


def _kind(text: str, place: int, before: str) -> str:
    """Return what kind of word a character belongs to."""
    character = text[place]
    category = unicodedata.category(character)
    continues = category in ("Mn", "Mc", "Me", "Cf") or character in _SKIN_TONES
    if continues and before != "space":
        return before  # accents, vowel signs, joiners: they belong to what they follow
    if character.isspace() or category[0] in "ZC":
        return "space"
    if category[0] in "LNM":
        return "dense" if unicodedata.name(character, "").startswith(_DENSE) else "letter"
    return "letter" if before == "letter" and _joins(text, place) else "mark"


def _joins(text: str, place: int) -> bool:
    """Return whether a mark stands between two letters, or digits, that it joins into a word."""
    if place == 0 or place + 1 == len(text):
        return False
    before, mark, after = text[place - 1], text[place], text[place + 1]
    if mark in _BETWEEN_LETTERS:
        return before.isalnum() and after.isalnum()
    return mark in _BETWEEN_DIGITS and before.isdigit() and after.isdigit()


def _always_apart(text: str, place: int, kind: str) -> bool:
    """Return whether a mark begins a word although a mark stands before it."""
    character = text[place]
    if kind != "mark" or unicodedata.category(character)[0] in "MC" or character in _SKIN_TONES:
        return False
    return character != text[place - 1] and unicodedata.category(text[place - 1]) != "Cf"


def find_word(words: Sequence[str], wanted: str | int) -> int:
    """Return the number of a word, given by its number from 0, or by its text.

    Raises:
        UnknownNameError: There is no such word.
        TargetError: There are several, or there is no word of that number.
    """
    if isinstance(wanted, int):
        if not -len(words) <= wanted < len(words):
            raise TargetError(
                f"There is no word {wanted}: the answer has {len(words)}, which are 0 to "
                f"{len(words) - 1}."
            )
        return wanted % len(words)
    folded = wanted.strip().casefold()
    exact = [number for number, word in enumerate(words) if word == wanted.strip()]
    found = exact or [number for number, word in enumerate(words) if word.casefold() == folded]
    if not found:
        raise unknown("word of the answer", wanted, words, f"It has {', '.join(words)}.")
    if len(found) > 1:
        raise TargetError(
            f"{wanted!r} is in the answer {len(found)} times. Pass the number of the one that is "
            f"meant: {', '.join(map(str, found))}."
        )
    return found[0]
