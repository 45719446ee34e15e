"""A captioner that learns here: where its words lie, and which it says without looking."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from PIL import Image

import limelight
from helpers.captioner import COLOURS, SHAPES, Picture, captioner, pictures

#: What stands at which place of every caption.
PLACES = ("a", "colour", "shape", "on", "white")
SEEN, PRIOR = ("colour", "shape"), ("a", "on", "white")

#: How much more of the heat of a word lies on its shape than by chance.
WANTED = 3

Answers = list[tuple[Picture, limelight.ExplainedAnswer]]


@pytest.fixture(scope="module")
def answers() -> Answers:
    """Captions of pictures that the captioner never saw, with every colour and shape."""
    held_out = pictures(27, seed=2)
    return [(each, limelight.caption(each.photo, model=captioner())) for each in held_out]


def told(line: str) -> None:
    """Print a figure, which `pytest -s` shows."""
    print(f"\n{line}", end="")  # noqa: T201


def over_chance(heatmap: np.ndarray, picture: Picture) -> float:
    """Return the share of the heat on a shape, by the shape's share of the picture; 0 if cold."""
    size = picture.photo.size
    heat = np.asarray(Image.fromarray(heatmap).resize(size, Image.Resampling.BILINEAR))
    return float(heat[picture.mask].sum() / (heat.sum() or 1) / picture.mask.mean())


def test_the_captioner_names_colour_and_shape(answers: Answers) -> None:
    right = sum(answer.text == picture.caption for picture, answer in answers)
    told(f"{right} of {len(answers)} captions are right")
    assert right >= 0.9 * len(answers)


def test_words_of_colour_and_shape_lie_on_their_shape(answers: Answers) -> None:
    found, elsewhere = defaultdict(list), defaultdict(list)
    for number, (picture, answer) in enumerate(answers):
        other = answers[number - 1][0]
        for place, word in zip(PLACES, answer.words, strict=True):
            found[place].append(over_chance(word.heatmaps[0], picture))
            elsewhere[place].append(over_chance(word.heatmaps[0], other))
    for place in PLACES:
        told(
            f"{place}: {np.mean(found[place]):.1f} times chance on its own shape, "
            f"{np.mean(elsewhere[place]):.1f} on that of another picture"
        )
    for place in SEEN:
        assert np.mean(found[place]) >= WANTED
        assert np.mean(found[place]) > 2 * np.mean(elsewhere[place])


#: Trainings: one whose captioner still says "white" of a dark picture, and one whose does not.
TRAININGS = (0, 3)


def needing(
    training: int, others: list[Picture] | None
) -> dict[str, list[limelight.ExplainedWord]]:
    """Return by their place the words of captions of pictures that the captioner never saw."""
    model, words = captioner(training), defaultdict(list)
    photos = None if others is None else [other.photo for other in others]
    for picture in pictures(27, seed=2):
        answer = limelight.caption(picture.photo, model=model, other_photos=photos)
        for place, word in zip(PLACES, answer.words, strict=True):
            said = "did not need the picture" in word.status_reason
            assert said == (word.needs_picture is False)
            words[place].append(word)
    for place in PLACES:
        needs = [word.needs_picture for word in words[place]]
        gain = np.mean([word.gain or 0.0 for word in words[place]])
        told(
            f"training {training}, {place}: {needs.count(True)} of {len(needs)} need the picture, "
            f"{needs.count(None)} undecided; it adds {gain:.2f} nats"
        )
    return words


@pytest.mark.parametrize("training", TRAININGS)
def test_words_of_the_prior_do_not_need_the_picture_beside_other_pictures(training: int) -> None:
    words = needing(training, pictures(9, seed=9))
    for place in PRIOR:
        assert all(word.needs_picture is False for word in words[place])
    for place in SEEN:
        assert np.mean([word.needs_picture for word in words[place]]) >= 0.9


@pytest.mark.parametrize("training", TRAININGS)
def test_blurred_pictures_never_take_the_prior_for_what_is_seen(training: int) -> None:
    words = needing(training, None)
    for place in PRIOR:
        assert not any(word.needs_picture for word in words[place])
    for place in SEEN:
        assert any(word.needs_picture for word in words[place])


def test_a_wrong_caption_of_one_s_own_is_improbable_where_it_is_wrong() -> None:
    (picture,) = pictures(1, seed=5)
    wrong = next(colour for colour in COLOURS if colour != picture.colour)
    answer = limelight.caption(
        picture.photo, model=captioner(), answer=f"a {wrong} {picture.shape} on white"
    )
    assert answer.given
    assert answer[wrong].probability < 0.01
    assert answer["white"].probability > 0.9


def test_a_captioner_begins_its_caption_with_the_text() -> None:
    (picture,) = pictures(1, seed=7)
    begun = limelight.ask(picture.photo, "a green", model=captioner())
    assert begun.text.split() == [picture.shape, "on", "white"]
    assert begun.words[0].at[0] == 3  # behind what begins the sentence, "a" and "green"


@pytest.mark.parametrize("kind", ["colour", "shape"])
def test_a_word_is_explained_against_another(kind: str) -> None:
    (picture,) = pictures(1, seed=6)
    word = getattr(picture, kind)
    other = next(each for each in (*COLOURS, *SHAPES) if each != word and _like(each, kind))
    answer = limelight.caption(picture.photo, model=captioner(), word=word, instead=other)
    assert [each.text for each in answer.explained] == [word]
    contrast = answer[word].contrast
    assert contrast is not None
    assert contrast > 2
    turned = limelight.caption(
        picture.photo,
        model=captioner(),
        answer=answer.text.replace(word, other),
        word=other,
        instead=word,
    )
    assert turned[other].contrast == pytest.approx(-contrast, rel=1e-4)


def _like(word: str, kind: str) -> bool:
    return word in (COLOURS if kind == "colour" else SHAPES)
