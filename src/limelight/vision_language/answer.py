"""The explained answer of a vision-language model: its words, each with its map."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from limelight.status import Status

#: A word needs the picture if it is at least this many nats more probable with it than without:
#: twice as probable.
LEAST_GAIN = math.log(2)


class Sink(NamedTuple):
    """A place of a photo that nearly every word's map is hot in, whatever the word.

    Attributes:
        box: Left, top, right and bottom, in picture lengths: (0, 0, 1, 1) is the whole photo.
        share: The share of the words whose map is hot in it, in [0, 1].
    """

    box: tuple[float, float, float, float]
    share: float


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ExplainedWord:
    """A word of an answer: how probable it is, how much of that is the picture, and its maps.

    Attributes:
        text: The word as it is read, without the space before it; a punctuation mark is a word.
        start: The place of its first character in `AnswerData.text`.
        end: The place behind its last character.
        tokens: The numbers of its tokens.
        at: The places of these tokens in the sentence that the model was given, from 0.
        log_probability: The log-probability of the word, given the picture and all before it, in
            nats: `sum_t log p(w_t | w_<t, picture)` over its tokens.
        without_picture: The same without the picture, `(1/n) sum_i log p(w | picture i)`: the mean
            over the picture blurred away in grey and its negative, or over other photos. None if
            it was not asked for.
        heatmaps: For each photo, `[h, w]` float32 in [0, 1], on a coarse canvas of the whole photo;
            () for a word that was not asked about.
        signed: The same before relu, divided by its largest size, so in [-1, 1].
        status: Whether the maps show something; None for a word that was not asked about.
        status_reason: What has to be said beside the map, in a sentence: why it shows nothing, or
            that the word did not need the picture; "" if there is nothing to say.
        instead: The other word that the map compares with; "" if there is none.
        contrast: `log p(word) - log p(other word)` in nats, at the first token where they differ;
            None without another word.
        undecided: Whether the two blurred pictures disagree: with one of them the word stays at
            least half as probable, and with the other it does not. Then the word may need the
            picture, or one of the two is like nothing that the model knows; other photos tell.
    """

    text: str
    start: int
    end: int
    tokens: tuple[int, ...]
    at: tuple[int, ...]
    log_probability: float
    without_picture: float | None
    heatmaps: tuple[np.ndarray, ...]
    signed: tuple[np.ndarray, ...]
    status: Status | None
    status_reason: str = ""
    instead: str = ""
    contrast: float | None = None
    undecided: bool = False

    @property
    def has_map(self) -> bool:
        """Whether the word was asked about, so that it has maps."""
        return bool(self.heatmaps)

    @property
    def probability(self) -> float:
        """The probability of the word, given the picture and all before it, in [0, 1]."""
        return math.exp(self.log_probability)

    @property
    def gain(self) -> float | None:
        """What the picture adds to the log-probability, `log p - log p_without`, in nats.

        It is negative for a word that the picture makes less probable; None if it is not known.
        """
        if self.without_picture is None:
            return None
        return self.log_probability - self.without_picture

    @property
    def picture_share(self) -> float | None:
        """How much of the surprise of the word the picture takes away, `1 - log p / log p_without`.

        1 for a word that is certain with the picture and not without it, 0 for one that is as
        probable without, negative for one that the picture makes less probable. None if it is not
        known, or if the word is certain without the picture.
        """
        if not self.without_picture:
            return None
        return 1 - self.log_probability / self.without_picture

    @property
    def needs_picture(self) -> bool | None:
        """Whether the picture makes the word at least twice as probable.

        None if that is not known, or `undecided`.
        """
        gain = self.gain
        return None if gain is None or self.undecided else gain >= LEAST_GAIN

    def __repr__(self) -> str:
        """Return the word, its probability, whether it needs the picture, and its status."""
        needs = {None: "", True: "; needs the picture", False: "; does not need the picture"}
        status = "not explained" if self.status is None else self.status.name
        return (
            f"ExplainedWord({self.text!r}; probability {self.probability:.3g}"
            f"{needs[self.needs_picture]}; {status})"
        )


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class AnswerData:
    """An answer, and for every word what the model looked at.

    Attributes:
        photos: The photos in RGB, as they were given.
        photo_names: The names of their files; "photo 1" and so on for those without one.
        question: The question; "" for a caption.
        text: The answer.
        words: Its words, in order. Of one word that was asked about, that one alone has maps; for a
            whole answer there is one, which is all of it.
        model: The name of the model.
        method: The method's name in METHODS, with the options that were set.
        layer: The dotted path of the layer at which the maps were made.
        reason: Why this layer was taken.
        sinks: For each photo, the places where nearly every word's map is hot.
        subtracted: Whether the sinks were taken out of the maps.
        given: Whether the answer was given by the user, and not generated by the model.
    """

    photos: tuple[Image, ...]
    photo_names: tuple[str, ...]
    question: str
    text: str
    words: tuple[ExplainedWord, ...]
    model: str
    method: str
    layer: str
    reason: str
    sinks: tuple[tuple[Sink, ...], ...]
    subtracted: bool = False
    given: bool = False

    @property
    def explained(self) -> tuple[ExplainedWord, ...]:
        """The words that have maps."""
        return tuple(word for word in self.words if word.has_map)
