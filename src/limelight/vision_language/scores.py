"""The score of a word against another word in its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from limelight.errors import TargetError
from limelight.models.vision_language import VisionLanguageModel
from limelight.targets.context import TargetContext
from limelight.targets.scores import RowTarget
from limelight.targets.words import Words
from limelight.text_words import Word
from limelight.vision_language.sentences import Sentence


@dataclass(frozen=True, slots=True, eq=False)
class WordContrast(RowTarget):
    """Why one word and not another: `log p(w_t | w_<t, picture) - log p(v_t | w_<t, picture)`.

    Both are read at one token, the first where the two words differ, and from one pass: what comes
    before it is the same for both.

    Attributes:
        word: The token w_t in its sentence.
        other: The token v_t in the same sentence.
    """

    reads_logits = True

    word: Words
    other: Words

    def label(self) -> str:
        """Return what is explained, in words."""
        return f"{self.word.label()} rather than {self.other.label()}"

    def read(self, output: Any, rows: Tensor, context: TargetContext) -> Tensor:
        """Return the difference of the log-probabilities in each row of an output, `[M]`."""
        word = self.word.read(output, rows, context)
        return word - self.other.read(output, rows, context)


def word_score(sentence: Sentence, word: Word, text: str) -> Words:
    """Return the score of a word: the log-probability of its tokens."""
    at = [place + 1 for place in word.tokens]  # token 0 of the tail stands before the answer
    return Words(sentence.tail, at, text)


def word_contrast(
    network: VisionLanguageModel, sentence: Sentence, text: str, word: Word, other: str
) -> WordContrast:
    """Return the score of a word against another one in its place.

    The answer up to and with the word, and the same with the other word, become tokens; the score
    is read at the first token where they differ.

    Raises:
        TargetError: The words do not differ in a token, the tokenizer does not know the other one,
            or the model wrote the word with other tokens than its tokenizer would.
    """
    before, own = text[: word.span.start], text[word.span.start : word.span.end]
    given, others = (
        list(network.tokenizer(before + each, add_special_tokens=False)["input_ids"])
        for each in (own, other.strip())
    )
    pairs = enumerate(zip(given, others, strict=False))
    at = next((place for place, (a, b) in pairs if a != b), None)
    if network.tokenizer.unk_token_id in others and other.strip():
        raise TargetError(
            f"The model's tokenizer does not know {other!r}, so that it has no probability of its "
            "own. Name a word that it knows."
        )
    if at is None or not other.strip():
        raise TargetError(
            f"{own!r} and {other!r} begin with the same tokens, so that there is none to compare "
            "them at. Name a word that begins otherwise."
        )
    places = [place for place in word.tokens if sentence.answer[place] == given[at]]
    if not places:
        raise TargetError(
            f"{own!r} cannot be compared with {other!r}: in this answer it is written with other "
            "tokens than the tokenizer makes of it. Pass the answer as a text of your own."
        )
    place = places[0] + 1
    replaced = list(sentence.tail)
    replaced[place] = others[at]
    return WordContrast(Words(sentence.tail, place, own), Words(replaced, place, other.strip()))
