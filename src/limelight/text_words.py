"""Tokens become words: which characters of a text, and which tokens, make up each word."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from limelight.errors import OptionError


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


def split_words(
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
        tokens = _tokens_of(span, text, ids, spans, special)
        if words and set(tokens) & set(words[-1].tokens):
            joined = dict.fromkeys((*words[-1].tokens, *tokens))
            words[-1] = Word(Span(words[-1].span.start, span.end), tuple(joined))
        elif tokens:
            words.append(Word(span, tokens))
    return text, words


def _tokens_of(
    word: Span, text: str, ids: Sequence[int], spans: Sequence[Span], special: frozenset[int]
) -> tuple[int, ...]:
    """Return the tokens that write a word, with those before it that write no character or a blank.

    Many tokenizers write the blank in front of a word in the word's own token.
    """
    tokens, waiting = list[int](), list[int]()
    for place, (token, span) in enumerate(zip(ids, spans, strict=True)):
        if token in special:
            waiting = []
        elif not text[span.start : span.end].strip(" "):
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


@dataclass(frozen=True, slots=True)
class WordTokens:
    """A word of a text that a network is given, and the tokens that it was cut into.

    Attributes:
        text: The word as it is read; for a special token, its name.
        at: The positions of its tokens in the text, from 0.
        special: Whether it is no word but a token that begins, ends or fills up the text, or a
            blank that no word follows.
    """

    text: str
    at: tuple[int, ...]
    special: bool = False


def words_of(ids: Sequence[int], tokenizer: Any = None) -> tuple[WordTokens, ...]:
    """Return the words and the special tokens of a text, in order; `split_words` says what is one.

    What follows the token that ends the text fills it up, and is special.

    Args:
        ids: The numbers of its tokens.
        tokenizer: The tokenizer that made them, with `decode` and `all_special_ids`, as those of
            transformers and open_clip. None if there is none: then each token is a word, named by
            its number.

    Raises:
        OptionError: The tokenizer has no `decode` or no `all_special_ids`.
    """
    if tokenizer is None:
        return tuple(WordTokens(f"token {token}", (at,)) for at, token in enumerate(ids))
    tokenizer = _with_decode(tokenizer)
    special = _special_positions(ids, _special_ids(tokenizer))
    kept = [at for at in range(len(ids)) if at not in special]

    def decode(tokens: Sequence[int]) -> str:
        return _decoded(tokenizer, tokens)

    text, words = split_words([ids[at] for at in kept], frozenset(), decode)
    found = [
        WordTokens(text[start:end], tuple(kept[token] for token in tokens))
        for (start, end), tokens in words
    ]
    in_words = {at for word in found for at in word.at}
    rest = [at for at in range(len(ids)) if at not in in_words]
    found += [WordTokens(decode(ids[at : at + 1]), (at,), True) for at in rest]
    return tuple(sorted(found, key=lambda word: word.at))


def _with_decode(tokenizer: Any) -> Any:
    """Return a tokenizer that decodes, which open_clip may keep inside another object.

    Raises:
        OptionError: There is none.
    """
    for each in (tokenizer, getattr(tokenizer, "tokenizer", None)):
        if hasattr(each, "decode") and hasattr(each, "all_special_ids"):
            return each
    raise OptionError(
        f"The tokenizer is a {type(tokenizer).__name__}; one with `decode` and `all_special_ids` "
        "was expected, as those of transformers and open_clip."
    )


def _special_ids(tokenizer: Any) -> frozenset[int]:
    """Return the numbers of a tokenizer's special tokens, without that of an unknown word."""
    special = frozenset(tokenizer.all_special_ids)
    names = ("bos", "eos", "cls", "sep", "pad")
    others = {getattr(tokenizer, f"{name}_token_id", None) for name in names}
    unknown = getattr(tokenizer, "unk_token_id", None)  # CLIP's also ends the text
    return special if unknown in others else special - {unknown}


def _special_positions(ids: Sequence[int], special_ids: Collection[int]) -> list[int]:
    """Return the positions of special tokens, and of what fills a text up behind its end."""
    special = [at for at, token in enumerate(ids) if token in special_ids]
    first_word = next((at for at in range(len(ids)) if at not in special), len(ids))
    end = max((at for at in special if at > first_word), default=len(ids))
    return [at for at in range(len(ids)) if at in special or at > end]


def _decoded(tokenizer: Any, tokens: Sequence[int]) -> str:
    """Return the text of tokens, as it is."""
    try:
        text = tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False)
    except TypeError:  # that of open_clip takes tokens alone
        text = tokenizer.decode(list(tokens))
    return str(text)
