"""`ask` and `caption`: a model answers about photos, and every word of it is explained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from PIL.Image import Image

from limelight.errors import OptionError
from limelight.explanation import Explanation
from limelight.inputs import ModelInputs
from limelight.layers.resolved import Layer
from limelight.methods import Method, find_method
from limelight.misnamed import checked_arguments
from limelight.models.network import AnyPhoto
from limelight.models.vision_language import VisionLanguageModel, load_vision_language
from limelight.pipeline import explain_each
from limelight.progress import ProgressCallback
from limelight.targets import ScoreTarget
from limelight.text_words import Span, Word, split_words
from limelight.vision_language.canvas import Cells, on_photo
from limelight.vision_language.explained_answer import ExplainedAnswer
from limelight.vision_language.explained_words import (
    Asked,
    Unseen,
    WordMaps,
    explained_words,
    with_sinks,
)
from limelight.vision_language.given_photos import read_photos, stand_ins
from limelight.vision_language.places import PieceBox, piece_places
from limelight.vision_language.prompts import (
    CAPTION_QUESTION,
    Prompt,
    is_chat,
    processed,
    read_prompt,
)
from limelight.vision_language.scores import word_contrast, word_score
from limelight.vision_language.sentences import (
    Sentence,
    log_probabilities,
    run_sentence,
    special_tokens,
    write_sentence,
)
from limelight.vision_language.words import find_word

#: The methods where none is named: the second where the sums of the first cancel.
_BY_DEFAULT = "hirescam", "gradcam"


@checked_arguments
def ask(
    photos: AnyPhoto | Sequence[AnyPhoto],
    question: str,
    *,
    model: VisionLanguageModel | str,
    answer: str | None = None,
    word: str | int | None = None,
    instead: str | None = None,
    whole: bool = False,
    method: str | Method | None = None,
    layer: Layer | None = None,
    subtract_sinks: bool = False,
    max_new_tokens: int = 64,
    without_picture: bool = True,
    other_photos: AnyPhoto | Sequence[AnyPhoto] | None = None,
    progress: ProgressCallback | None = None,
) -> ExplainedAnswer:
    """Ask a vision-language model about photos, and show what it looked at for every word.

        answer = limelight.ask("beach.jpg", "What is the man holding?", model="hf:llava")
        answer.text, [word.text for word in answer.words]
        answer["umbrella"].heatmaps[0], answer["umbrella"].picture_share
        answer.save("beach")

    The model's processor makes the prompt, the model answers greedily, and one pass over prompt and
    answer explains all words: the score of a word is `sum_t log p(w_t | w_<t, picture)` over its
    tokens t. The maps of all crops are laid together on the photo; where they lie is measured
    through the processor.

    Args:
        photos: A photo, or several in one prompt: files, Pillow pictures, rasters or arrays.
        question: The question. A captioner that takes no question begins its caption with it.
        model: A model, or the name of one for `load_vision_language`.
        answer: An answer of one's own, to be explained in place of the model's.
        word: Explain this word alone: its text, or its number from 0.
        instead: Another word in the place of that word; the score is then the difference of their
            log-probabilities, at the first token where they differ.
        whole: Explain the whole answer with one map.
        method: A name in METHODS, if need be with options, or a row of it. None for HiRes-CAM: a
            word is read at the few cells that it attends to, and HiRes-CAM weighs each cell by
            itself, where Grad-CAM takes the mean over all. Right before a layer norm, where the
            sums of HiRes-CAM cancel, it is Grad-CAM.
        layer: A dotted path or a module inside the model; None to let limelight choose.
        subtract_sinks: Take what the maps of all words share out of the places where nearly all are
            hot; see `find_sinks`.
        max_new_tokens: How many tokens the model generates at most.
        without_picture: Run the model twice more, with the photos blurred away in grey and with the
            negatives of that, to see which words it would say without looking.
        other_photos: Run it with these photos instead, each in place of all that the question is
            about: four or more, of the kind that the model knows, and each of something else. A
            model may say anything of a blurred picture; what it says of all photos is its prior.
        progress: Called as progress(task, done, total).

    Raises:
        InputError: The processor does not take the photos with the question, or where its parts
            lie on the photo cannot be measured.
        TargetError: The answer is empty, or has no such word, or the other word cannot be compared.
        OptionError: Options contradict each other.
        UnknownNameError, LayerError, MethodError, ModelError, WeightsError, PhotoError: As
            `explain` and `load_vision_language`.
    """
    _check_options(question, answer, word, instead, whole, max_new_tokens)
    pictures, names = read_photos(photos)
    others = _others(other_photos, without_picture=without_picture)
    network = load_vision_language(model) if isinstance(model, str) else model
    prompt = read_prompt(network, pictures, question)
    given = _Given(network, pictures, prompt)
    sentence = write_sentence(network, prompt, answer, max_new_tokens)
    special = special_tokens(network, sentence.answer)
    text, words = split_words(sentence.answer, special, given.decode)
    asked = _asked(given, sentence, text, words, _Choice(word, instead, whole, subtract_sinks))
    found = _explained(given, sentence, asked, method, layer, progress)
    unseen = _unseen(given, sentence, others) if without_picture else None
    maps, sinks = with_sinks(found.maps, subtract=subtract_sinks)
    return ExplainedAnswer(
        photos=pictures,
        photo_names=names,
        question=question,
        text=text,
        words=explained_words(sentence, text, asked, maps, found.known, unseen),
        model=network.name,
        method=found.first.method,
        layer=found.first.layer,
        reason=found.first.reason,
        sinks=sinks or ((),) * len(pictures),
        subtracted=subtract_sinks,
        given=answer is not None,
    )


@checked_arguments
def caption(
    photos: AnyPhoto | Sequence[AnyPhoto],
    *,
    model: VisionLanguageModel | str,
    answer: str | None = None,
    word: str | int | None = None,
    instead: str | None = None,
    whole: bool = False,
    method: str | Method | None = None,
    layer: Layer | None = None,
    subtract_sinks: bool = False,
    max_new_tokens: int = 64,
    without_picture: bool = True,
    other_photos: AnyPhoto | Sequence[AnyPhoto] | None = None,
    progress: ProgressCallback | None = None,
) -> ExplainedAnswer:
    """Let a model write a caption, and show what it looked at for every word: `ask` unasked.

    A model that answers questions alone is asked to describe the picture; its `question` says so.
    The arguments are those of `ask`, and so are the errors.

        limelight.caption("beach.jpg", model="hf:blip").save("beach")
    """
    network = load_vision_language(model) if isinstance(model, str) else model
    return ask(
        photos,
        CAPTION_QUESTION if is_chat(network) else "",
        model=network,
        answer=answer,
        word=word,
        instead=instead,
        whole=whole,
        method=method,
        layer=layer,
        subtract_sinks=subtract_sinks,
        max_new_tokens=max_new_tokens,
        without_picture=without_picture,
        other_photos=other_photos,
        progress=progress,
    )


class _Choice(NamedTuple):
    """What of an answer is explained; the fields are arguments of `ask`."""

    word: str | int | None
    instead: str | None
    whole: bool
    subtract_sinks: bool


@dataclass(frozen=True)
class _Given:
    """A model, and the prompt that it is given."""

    network: VisionLanguageModel
    photos: tuple[Image, ...]
    prompt: Prompt

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of tokens."""
        text: str = self.network.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def process(self, photos: Sequence[Image], *, as_model: bool = False) -> dict[str, Any]:
        """Return the model's arguments for the same prompt with other photos."""
        prompt = self.prompt
        return processed(
            self.network, photos, prompt.text, special=prompt.special, as_model=as_model
        )

    def boxes(self, photo: int, picture: int | None) -> list[PieceBox | None]:
        """Return where the pieces of a photo lie on it."""
        return piece_places(self.process, self.photos, photo, picture)


class _Found(NamedTuple):
    """The maps and probabilities of all words that were asked about.

    Attributes:
        first: The explanation of the first word.
        maps: For each word its maps.
        known: The log-probability of each token of the answer.
    """

    first: Explanation
    maps: list[WordMaps]
    known: list[float]


def _check_options(
    question: str,
    answer: str | None,
    word: str | int | None,
    instead: str | None,
    whole: bool,
    max_new_tokens: int,
) -> None:
    for name, text in (("question", question), ("answer", answer)):
        if text is not None and not isinstance(text, str):
            raise OptionError(f"The {name} is a {type(text).__name__}; a text was expected.")
    if whole and (word is not None or instead is not None):
        raise OptionError(
            "whole=True explains the whole answer, and a word of it was named too. Pass one of "
            "both."
        )
    if max_new_tokens < 1:
        raise OptionError(f"max_new_tokens is {max_new_tokens}; a number from 1 was expected.")


def _others(
    other_photos: AnyPhoto | Sequence[AnyPhoto] | None, *, without_picture: bool
) -> tuple[Image, ...]:
    """Return the photos to compare with; () for the photos themselves, blurred away."""
    if other_photos is None:
        return ()
    if not without_picture:
        raise OptionError(
            "There are other photos to compare with, and without_picture is False, which leaves "
            "the comparison out. Pass one of both."
        )
    return read_photos(other_photos)[0]


def _asked(
    given: _Given, sentence: Sentence, text: str, words: Sequence[Word], choice: _Choice
) -> list[Asked]:
    """Return the words of an answer, each with the score that is explained.

    Raises:
        OptionError: A word to compare with is named, and not the one that it is compared with.
        TargetError, UnknownNameError: As `find_word` and `word_contrast`.
    """
    if choice.whole:
        tokens = tuple(dict.fromkeys(token for word in words for token in word.tokens))
        words = [Word(Span(words[0].span.start, words[-1].span.end), tokens)]
    texts = [text[word.span.start : word.span.end] for word in words]
    if choice.instead is not None and choice.word is None and len(words) > 1:
        raise OptionError(
            f"instead is {choice.instead!r}, and the answer has {len(words)} words: "
            f"{', '.join(texts)}. Name the one that it stands in for, as in word={texts[-1]!r}."
        )
    chosen = None if choice.word is None else find_word(texts, choice.word)
    asked = []
    for number, (word, own) in enumerate(zip(words, texts, strict=True)):
        score: ScoreTarget | None = word_score(sentence, word, own)
        instead = ""
        if choice.instead is not None and number == (chosen or 0):
            instead = choice.instead.strip()
            score = word_contrast(given.network, sentence, text, word, instead)
        shown = chosen in (None, number)
        # What all maps share is known from the maps of all words.
        asked.append(Asked(word, score if shown or choice.subtract_sinks else None, shown, instead))
    return asked


def _explained(
    given: _Given,
    sentence: Sentence,
    asked: Sequence[Asked],
    method: str | Method | None,
    layer: Layer | None,
    progress: ProgressCallback | None,
) -> _Found:
    """Explain all words that have a score, from one pass; of packed photos, from one for each."""
    named = find_method(_BY_DEFAULT[0] if method is None else method)
    inputs = sentence.inputs(given.prompt.inputs, everywhere="word logits" in named.needs)
    scores = [each.score for each in asked if each.score is not None]
    by_photo = _explained_photos(given, inputs, scores, named, layer, progress)
    if method is None and any(_cancels(each) for found, _ in by_photo for each in found):
        by_photo = _explained_photos(given, inputs, scores, _BY_DEFAULT[1], layer, progress)
    maps = list[WordMaps]()
    for number in range(len(scores)):
        raw: list[Cells] = [on_photo(found[number], boxes) for found, boxes in by_photo]
        maps.append(WordMaps.of(raw, [found[number] for found, _ in by_photo]))
    first = by_photo[0][0][0]
    return _Found(first, maps, log_probabilities(first.output, sentence.tail))


def _cancels(explanation: Explanation) -> bool:
    return explanation.status[0].name == "cancelled"


def _explained_photos(
    given: _Given,
    inputs: dict[str, Any],
    scores: Sequence[ScoreTarget],
    method: str | Method,
    layer: Layer | None,
    progress: ProgressCallback | None,
) -> list[tuple[list[Explanation], list[PieceBox | None]]]:
    """Return for each photo an explanation of each score, and where its pieces lie."""
    explain = partial(
        explain_each,
        given.network.model,
        inputs,
        scores,
        method=method,
        layer=layer,
        progress=progress,
    )
    count = len(given.photos)
    together = count == 1 or ModelInputs.of(inputs).image.ndim == 5
    by_photo = list[tuple[list[Explanation], list[PieceBox | None]]]()
    for photo in range(count):
        if together:
            explanations = by_photo[0][0] if by_photo else explain()
            by_photo.append((explanations, given.boxes(photo, None)))
        else:
            by_photo.append((explain(picture=photo), given.boxes(photo, photo)))
    return by_photo


def _unseen(given: _Given, sentence: Sentence, others: Sequence[Image]) -> Unseen:
    """Return the log-probability of each token of an answer where the photos are not seen."""
    found = list[list[float]]()
    for photos in stand_ins(given.photos, others):
        inserted = given.process(photos, as_model=True)
        inputs = sentence.inputs(given.prompt.inputs | inserted)
        found.append(log_probabilities(run_sentence(given.network, inputs), sentence.tail))
    return Unseen(found, blurred=not others)
