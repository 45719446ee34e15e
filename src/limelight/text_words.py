"""The words of a text that was cut into tokens."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from limelight.errors import OptionError

#: Where a character is a word by itself, as in Chinese and Japanese: first and last code points.
_WORDS_BY_THEMSELVES = ((0x3040, 0x30FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))

#: What a tokenizer shows of a character whose bytes are not all there yet.
_INCOMPLETE = "\ufffd"


@dataclass(frozen=True, slots=True)
class WordTokens:
    """A word and the tokens that it was cut into.

    Attributes:
        text: The word as it is read; for a special token, its name.
        at: The positions of its tokens in the text, from 0.
        special: Whether it is no word but a token that begins, ends or fills up the text.
    """

    text: str
    at: tuple[int, ...]
    special: bool = False


def words_of(ids: Sequence[int], tokenizer: Any = None) -> tuple[WordTokens, ...]:
    """Return the words and the special tokens of a text, in order.

    A word is what stands between blanks; punctuation is a word, and so is each Chinese or Japanese
    character. What follows the token that ends the text fills it up, and is special.

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
    found = [WordTokens(_decoded(tokenizer, ids[at : at + 1]), (at,), True) for at in special]
    found += _words(ids, [at for at in range(len(ids)) if at not in special], tokenizer)
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


def _words(ids: Sequence[int], positions: Sequence[int], tokenizer: Any) -> list[WordTokens]:
    """Return the words of a text without its special tokens: where the text grows by a blank.

    The text is decoded up to each token, since a token alone may look otherwise than in its text.
    """
    tokens = [ids[at] for at in positions]
    words = list[WordTokens]()
    before, start, waiting = "", 0, list[int]()
    for count, at in enumerate(positions, start=1):
        after = _decoded(tokenizer, tokens[:count])
        waiting.append(at)
        added = after[len(before) :]
        if (after.endswith(_INCOMPLETE) or added.isspace()) and count < len(positions):
            continue  # the rest of a character, or the word behind a blank, is to come
        if not words or _begins_word(before, after):
            start = len(before.rstrip())
            words.append(WordTokens(after[start:].strip(), tuple(waiting)))
        else:
            words[-1] = WordTokens(after[start:].strip(), (*words[-1].at, *waiting))
        before, waiting = after, []
    return words


def _begins_word(before: str, after: str) -> bool:
    """Return whether what a text grows by begins a new word."""
    last, first = before[-1:], after[len(before) :][:1]
    if not last or not first:
        return not last
    return (
        last.isspace()
        or first.isspace()
        or _is_word_by_itself(first)
        or _is_word_by_itself(last)
        or _is_sign(first)
        or _is_sign(last)
    )


def _is_word_by_itself(character: str) -> bool:
    return any(low <= ord(character) <= high for low, high in _WORDS_BY_THEMSELVES)


def _is_sign(character: str) -> bool:
    """Return whether a character is punctuation or a symbol."""
    return unicodedata.category(character)[0] in "PS"


def _decoded(tokenizer: Any, tokens: Sequence[int]) -> str:
    """Return the text of tokens, as it is."""
    try:
        text = tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False)
    except TypeError:  # that of open_clip takes tokens alone
        text = tokenizer.decode(list(tokens))
    return str(text)
