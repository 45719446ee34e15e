"""Tokens become words: for any tokenizer, in any script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from helpers.vision_language import tokenizers
from limelight.errors import TargetError, UnknownNameError
from limelight.text_words import split_words, token_spans
from limelight.vision_language.words import find_word


def read(*tokens: str, special: Sequence[str] = ()) -> list[tuple[str, tuple[int, ...]]]:
    """Return the words of tokens that are written one after another, with their tokens."""

    def decode(ids: Sequence[int]) -> str:
        return "".join(tokens[i] for i in ids if tokens[i] not in special).lstrip(" ")

    no_text = frozenset(i for i, token in enumerate(tokens) if token in special)
    text, words = split_words(range(len(tokens)), no_text, decode)
    return [(text[word.span.start : word.span.end], word.tokens) for word in words]


def test_a_word_of_several_tokens_is_one() -> None:
    assert read("An", " umb", "rel", "la", " opens") == [
        ("An", (0,)),
        ("umbrella", (1, 2, 3)),
        ("opens", (4,)),
    ]


def test_punctuation_marks_are_words_and_marks_inside_words_are_not() -> None:
    said = read("It", "'", "s", " 3", ".", "5", " m", ",", " well", "-", "known", "...", '"')
    assert [word for word, _ in said] == ["It's", "3.5", "m", ",", "well-known", "...", '"']


def test_special_tokens_are_no_words_and_part_of_none() -> None:
    assert read("<s>", "a", " cat", "</s>", special=["<s>", "</s>"]) == [
        ("a", (1,)),
        ("cat", (2,)),
    ]


def test_words_that_share_a_token_are_one() -> None:
    assert read("He", " said", '."', " Yes") == [
        ("He", (0,)),
        ("said", (1,)),
        ('."', (2,)),
        ("Yes", (3,)),
    ]
    assert read("of the", " sea") == [("of the", (0,)), ("sea", (1,))]


def test_a_token_of_blanks_belongs_to_the_word_behind_it() -> None:
    assert read("a", " ", "b", " ") == [("a", (0,)), ("b", (1, 2))]
    assert read("a", "\n", "b") == [("a", (0,)), ("b", (2,))]


def test_in_scripts_without_spaces_a_word_is_a_token() -> None:
    assert read("一个", "男人", "拿着", "伞", "。") == [
        ("一个", (0,)),
        ("男人", (1,)),
        ("拿着", (2,)),
        ("伞", (3,)),
        ("。", (4,)),
    ]
    assert [word for word, _ in read("ร่ม", "สี", "แดง")] == ["ร่ม", "สี", "แดง"]
    assert [word for word, _ in read("한", "국", "어 ", "책")] == ["한국어", "책"]


def test_accents_vowel_signs_and_joined_emoji_stay_with_their_letter() -> None:
    family = "\N{MAN}\N{ZERO WIDTH JOINER}\N{WOMAN}"
    thumb = "\N{THUMBS UP SIGN}\N{EMOJI MODIFIER FITZPATRICK TYPE-4}"
    text = f"cafe\N{COMBINING ACUTE ACCENT} नमस्ते {family} {thumb}"
    assert [word for word, _ in read(*text)] == text.split()


def bytes_apart() -> Any:
    """Return a tokenizer whose tokens are single bytes."""
    level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = {letter: i for i, letter in enumerate(sorted(level.alphabet()))}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(alphabet, []))
    made.pre_tokenizer = level
    made.decoder = tokenizers.decoders.ByteLevel()
    return made


def test_a_character_of_several_tokens_belongs_to_one_word() -> None:
    made = bytes_apart()
    text = "a 伞 é."
    ids = made.encode(text).ids
    assert len(ids) == len(text.encode())
    found, words = split_words(ids, frozenset(), made.decode)
    assert found == text
    assert [(text[w.span.start : w.span.end], w.tokens) for w in words] == [
        ("a", (0,)),
        ("伞", (1, 2, 3, 4)),
        ("é", (5, 6, 7)),
        (".", (8,)),
    ]


def test_pieces_of_words_are_put_together_as_their_tokenizer_does() -> None:
    made = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({"[UNK]": 0, "umb": 1, "##rella": 2, "do": 3, "n": 4, "'": 5})
    )
    made.decoder = tokenizers.decoders.WordPiece(cleanup=True)
    text, words = split_words([1, 2, 3, 4], frozenset(), made.decode)
    assert text == "umbrella do n"
    assert [word.tokens for word in words] == [(0, 1), (2,), (3,)]


def test_the_characters_of_all_tokens_are_the_text() -> None:
    made = bytes_apart()
    ids = made.encode("naïve 伞!").ids
    text, spans = token_spans(ids, made.decode)
    assert "".join(text[span.start : span.end] for span in spans) == text


def test_a_word_is_found_by_text_or_number() -> None:
    words = ["A", "red", "a", "disc"]
    assert find_word(words, "red") == find_word(words, " Red ") == find_word(words, 1) == 1
    assert find_word(words, "a") == 2  # as it is written, before as it is spelled
    assert find_word(words, -1) == 3
    with pytest.raises(UnknownNameError, match=r"named 'blue'\. It has A, red"):
        find_word(words, "blue")
    with pytest.raises(TargetError, match="There is no word 4: the answer has 4"):
        find_word(words, 4)
    with pytest.raises(TargetError, match=r"2 times\. Pass the number of .* meant: 0, 2"):
        find_word(["a", "b", "a"], "a")
