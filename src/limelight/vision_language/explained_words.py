"""Maps and probabilities become the words of an explained answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from limelight.explanation import Explanation
from limelight.status import Status
from limelight.targets import ScoreTarget
from limelight.text_words import Word
from limelight.vision_language.answer import LEAST_GAIN, ExplainedWord, Sink
from limelight.vision_language.canvas import Cells, heat_of, scaled
from limelight.vision_language.sentences import Sentence
from limelight.vision_language.sinks import find_sinks, without_sinks


@dataclass(frozen=True, slots=True)
class Asked:
    """A word, and what is asked about it.

    Attributes:
        word: The word.
        score: What is explained; None if nothing is.
        shown: Whether its map is shown: it may also be made for what all maps share.
        instead: The other word; "" for none.
    """

    word: Word
    score: ScoreTarget | None
    shown: bool
    instead: str


@dataclass(frozen=True, slots=True, eq=False)
class WordMaps:
    """The maps of a word over all photos.

    Attributes:
        signed: `[h, w]` each, divided by the largest size of all.
        heat: The same in [0, 1].
        status: Whether they show something.
        score: The score that they explain.
    """

    signed: tuple[Cells, ...]
    heat: tuple[Cells, ...]
    status: Status
    score: float

    @classmethod
    def of(cls, raw: Sequence[Cells], explanations: Sequence[Explanation]) -> WordMaps:
        """Return the maps of a word, of the raw maps on each photo."""
        signed = scaled(raw)
        statuses = [explanation.status[0] for explanation in explanations]
        status = next((status for status in statuses if status.ok), statuses[0])
        score = float(explanations[0].score[0].detach())
        return cls(signed, heat_of(signed), status, score).checked()

    def checked(self) -> WordMaps:
        """Return the maps, with a status that says so if no heat is left on the photos."""
        if not self.status.ok or any(each.any() for each in self.heat):
            return self
        return replace(
            self,
            status=Status(
                "no-positive-evidence",
                "Nothing that lies on the photo speaks for the word: what does lies on padding, "
                "or was taken out as a sink. The signed map shows what speaks against it.",
            ),
        )


def with_sinks(
    maps: Sequence[WordMaps], *, subtract: bool
) -> tuple[list[WordMaps], tuple[tuple[Sink, ...], ...]]:
    """Return the maps of all words, and for each photo the sinks; subtracted if that is asked."""
    shown = [each for each in maps if each.status.ok]
    if not shown:
        return list(maps), ()
    found = [find_sinks(heat) for heat in zip(*(each.heat for each in shown), strict=True)]
    sinks = tuple(places for places, _ in found)
    if not subtract or not any(sinks):
        return list(maps), sinks
    by_photo = [
        without_sinks(signed, covered)
        for signed, (_, covered) in zip(
            zip(*(each.signed for each in shown), strict=True), found, strict=True
        )
    ]
    left = iter(zip(*by_photo, strict=True))
    return [_subtracted(each, next(left)) if each.status.ok else each for each in maps], sinks


def _subtracted(maps: WordMaps, left: Sequence[Cells]) -> WordMaps:
    signed = scaled(left)
    return replace(maps, signed=signed, heat=heat_of(signed)).checked()


class Unseen(NamedTuple):
    """How probable an answer is where the photos are not seen.

    Attributes:
        known: For each picture that stood in for the photos, the log-probability of each token.
        blurred: Whether these pictures were the photos, blurred away.
    """

    known: Sequence[Sequence[float]]
    blurred: bool


def explained_words(
    sentence: Sentence,
    text: str,
    asked: Sequence[Asked],
    maps: Sequence[WordMaps],
    known: Sequence[float],
    unseen: Unseen | None,
) -> tuple[ExplainedWord, ...]:
    """Return all words of an answer.

    Args:
        sentence: The sentence that the answer ends.
        text: The answer.
        asked: Its words.
        maps: The maps of those that have a score.
        known: The log-probability of each token of the answer.
        unseen: The same where the photos are not seen; None if that was not asked for.
    """
    remaining = iter(maps)
    words = []
    for each in asked:
        found = next(remaining) if each.score is not None else None
        words.append(_word(sentence, text, each, found if each.shown else None, known, unseen))
    return tuple(words)


def _word(
    sentence: Sentence,
    text: str,
    asked: Asked,
    maps: WordMaps | None,
    known: Sequence[float],
    unseen: Unseen | None,
) -> ExplainedWord:
    (start, end), tokens = asked.word
    with_picture = math.fsum(known[token] for token in tokens)
    pictures = () if unseen is None else unseen.known
    without = [math.fsum(each[token] for token in tokens) for each in pictures]
    word = ExplainedWord(
        text=text[start:end],
        start=start,
        end=end,
        tokens=tuple(sentence.answer[token] for token in tokens),
        at=tuple(sentence.first + token for token in tokens),
        log_probability=with_picture,
        without_picture=math.fsum(without) / len(without) if without else None,
        heatmaps=() if maps is None else maps.heat,
        signed=() if maps is None else maps.signed,
        status=None if maps is None else maps.status,
        instead=asked.instead,
        contrast=maps.score if maps is not None and asked.instead else None,
        undecided=unseen is not None
        and unseen.blurred
        and len({with_picture - each >= LEAST_GAIN for each in without}) > 1,
    )
    return replace(word, status_reason=_remark(word))


def _remark(word: ExplainedWord) -> str:
    """Return what has to be said beside a map; "" if there is nothing to say."""
    remarks = [] if word.status is None or word.status.ok else [word.status.message]
    if word.needs_picture is False and word.without_picture is not None:
        without = math.exp(word.without_picture)
        remarks.append(
            f"{word.text!r} did not need the picture: its probability is "
            f"{word.probability:.2g} with it, and {without:.2g} without."
        )
    if word.undecided:
        remarks.append(
            f"Whether {word.text!r} needs the picture is undecided: with one of the two blurred "
            "pictures it is at least half as probable, and with the other it is not. Compare with "
            "other photos of the kind that the model knows."
        )
    return " ".join(remarks)
