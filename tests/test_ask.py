"""Questions about photos: prompts, sentences, words, and where their maps lie on the photos."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from inspect import signature
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor

import limelight
from helpers.asking import ASKED, QUESTION, asked, question
from helpers.tolerances import assert_agrees
from helpers.vision_language import inputs, made, photo
from helpers.vision_language_cells import CELLS
from limelight.errors import InputError, OptionError
from limelight.inputs import ModelInputs
from limelight.models.vision_language import PhotoTextProcessor
from limelight.targets import Words
from limelight.text_words import Span, Word
from limelight.vision_language.answer import Sink
from limelight.vision_language.explained_words import Asked, Unseen, explained_words
from limelight.vision_language.given_photos import blurred_away
from limelight.vision_language.places import piece_places
from limelight.vision_language.prompts import processed, read_prompt
from limelight.vision_language.sentences import Sentence
from limelight.vision_language.sinks import find_sinks, without_sinks

SQUARE, OBLONG = (64, 64), (96, 32)
ANSWER = "a red disc"


def ask(name: str, *photos: Image.Image, **options: Any) -> limelight.ExplainedAnswer:
    given = photos or (photo(*OBLONG),)
    asked_ = question(name, len(given))
    return limelight.ask(list(given), asked_, model=asked(name), **{"answer": ANSWER, **options})


def single(value: float) -> Tensor:
    """Return a number that was computed in float32 as one of float32."""
    return torch.tensor(value, dtype=torch.float32)


# Probabilities

#: What generates from the prompt alone in these, and from `pixel_values` in the others.
FROM_PROMPT = ("llava", "paligemma", "gemma-3", "internvl", "idefics3", "qwen2-vl", "pixtral")


def generated(name: str, given: dict[str, Any]) -> list[tuple[int, float]]:
    """Return the tokens that a model generates, with their log-probability at each step."""
    found = made(name).model.generate(
        **given,
        max_new_tokens=5,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    )
    tokens = found.sequences[0][-len(found.logits) :].tolist()
    steps = [logits[0].float().log_softmax(-1) for logits in found.logits]
    text = made(name).processor.tokenizer.decode
    return [
        (token, float(step[token]))
        for token, step in zip(tokens, steps, strict=True)
        if text([token], skip_special_tokens=True)
    ]


@pytest.mark.parametrize("name", [*FROM_PROMPT, "trocr", "blip", "git"])
def test_each_word_is_as_probable_as_when_it_was_generated(name: str) -> None:
    given = inputs(name, [[photo(*OBLONG)]], QUESTION)
    if name not in FROM_PROMPT:
        given = {"pixel_values": given["pixel_values"]}
    expected = generated(name, given)
    asked_ = question(name) if name in FROM_PROMPT else ""
    answer = limelight.ask(
        photo(*OBLONG), asked_, model=asked(name), max_new_tokens=5, without_picture=False
    )
    found = [(word.tokens[0], word.log_probability) for word in answer.words]
    assert not answer.given
    assert found
    for (token, value), (same, wanted) in zip(found, expected, strict=False):
        assert token == same
        assert_agrees(single(value), single(wanted))


@pytest.mark.parametrize("name", ["llava", "paligemma", "gemma-3", "qwen2-vl"])
def test_no_word_sees_the_words_behind_it(name: str) -> None:
    # PaliGemma lets tokens of one kind see each other, and Gemma 3 those of the other kind.
    one, other = ask(name), ask(name, answer="a red square")
    for word, same in zip(one.words[:2], other.words[:2], strict=True):
        assert_agrees(single(word.log_probability), single(same.log_probability))
    assert one.words[2].log_probability != pytest.approx(other.words[2].log_probability, abs=0.01)


def test_the_whole_answer_is_as_probable_as_its_words_together() -> None:
    words, whole = ask("llava").words, ask("llava", whole=True)
    (all_of_it,) = whole.words
    assert all_of_it.text == whole.text == ANSWER
    assert all_of_it.has_map
    together = math.fsum(word.log_probability for word in words)
    assert_agrees(single(all_of_it.log_probability), single(together))


def test_a_word_against_another_is_the_difference_of_their_log_probabilities() -> None:
    found = ask("llava", word="red", instead="blue")
    other = ask("llava", answer="a blue disc")["blue"]
    word = found["red"]
    assert word.instead == "blue"
    assert word.contrast is not None
    assert_agrees(single(word.contrast), single(word.log_probability - other.log_probability))
    assert [each.has_map for each in found.words] == [False, True, False]
    assert not np.allclose(word.signed[0], ask("llava")["red"].signed[0])


def test_without_the_picture_is_the_mean_of_the_two_contentless_photos() -> None:
    word = ask("llava")["red"]
    blanks = [ask("llava", blank)["red"].log_probability for blank in blurred_away(photo(*OBLONG))]
    assert word.without_picture is not None
    assert_agrees(single(word.without_picture), single(sum(blanks) / 2))
    assert word.gain == word.log_probability - word.without_picture
    said = {word.log_probability - blank < math.log(2) for blank in blanks}
    assert word.undecided == (len(said) > 1)
    assert word.needs_picture is (None if word.undecided else not said.pop())
    assert word.picture_share == 1 - word.log_probability / word.without_picture
    plain = ask("llava", without_picture=False)["red"]
    assert (plain.without_picture, plain.gain, plain.picture_share, plain.needs_picture) == (
        (None,) * 4
    )


def test_without_the_picture_is_the_mean_over_other_photos_if_there_are_some() -> None:
    others = [photo(64, 64, seed=8), photo(*OBLONG, seed=9), photo(20, 90, seed=10)]
    word = ask("llava", other_photos=others)["red"]
    fitted = [ImageOps.fit(other, photo(*OBLONG).size) for other in others]
    found = [ask("llava", other)["red"].log_probability for other in fitted]
    assert word.without_picture is not None
    assert_agrees(single(word.without_picture), single(sum(found) / 3))
    assert not word.undecided


@pytest.mark.parametrize(
    ("known", "blurred", "undecided", "needs"),
    [
        ((-1.0, -1.2), True, False, False),
        ((-4.0, -5.0), True, False, True),
        ((-0.1, -5.0), True, True, None),
        ((-0.1, -5.0), False, False, True),  # what differs from photo to photo is seen in photos
    ],
)
def test_blurred_pictures_that_disagree_leave_it_undecided(
    known: tuple[float, float], blurred: bool, undecided: bool, needs: bool | None
) -> None:
    sentence = Sentence((1, 5), 1, {})
    asked_ = Asked(Word(Span(0, 3), (0,)), None, shown=False, instead="")
    unseen = Unseen([[each] for each in known], blurred)
    (word,) = explained_words(sentence, "red", [asked_], [], [-0.7], unseen)
    assert (word.undecided, word.needs_picture) == (undecided, needs)
    assert word.without_picture == pytest.approx(sum(known) / 2)
    assert ("is undecided: with one of the two" in word.status_reason) == undecided


def test_other_photos_are_for_the_comparison_alone() -> None:
    with pytest.raises(OptionError, match="other photos to compare with, and without_picture"):
        ask("llava", other_photos=[photo(9, 9)], without_picture=False)


def test_a_photo_that_is_blurred_away_has_neither_shape_nor_colour() -> None:
    blurred, negative = map(np.asarray, blurred_away(photo(*OBLONG)))
    assert blurred.shape == (32, 96, 3)
    assert (blurred == blurred[..., :1]).all()
    assert np.ptp(blurred) < 40 < np.ptp(np.asarray(photo(*OBLONG).convert("L")))
    assert (blurred + negative == 255).all()


# Maps


def expected_maps(name: str, *photos: Image.Image, picture: int | None) -> list[Tensor]:
    """Return the raw maps of the answer's words, of a sentence that the tests' helper writes."""
    given = inputs(name, [list(photos)], f"{QUESTION} {ANSWER}")
    ids = given["input_ids"]
    count = ids.shape[1]
    explained = limelight.explain_each(
        made(name).model,
        {**given, **_kind_of_answer(name, ids)},
        [Words(ids, at) for at in range(count - 3, count)],
        method="hirescam",
        picture=picture,
    )
    return [each.raw[0] for each in explained]


def _kind_of_answer(name: str, ids: Tensor) -> dict[str, Tensor]:
    """Return which tokens PaliGemma's answer is of: those that see no later ones."""
    if name != "paligemma":
        return {}
    kinds = torch.zeros_like(ids)
    kinds[:, -3:] = 1
    return {"token_type_ids": kinds}


@pytest.mark.parametrize("name", ["gemma-3", "qwen2-vl", "qwen3-vl", "pixtral"])
def test_the_map_of_a_word_is_that_of_its_log_probability(name: str) -> None:
    # The whole photo is one piece in these: the canvas is the layer's own grid.
    answer = ask(name, photo(*OBLONG))
    for word, raw in zip(
        answer.words, expected_maps(name, photo(*OBLONG), picture=None), strict=True
    ):
        assert word.status is not None
        if word.status.ok:
            assert_agrees(word.signed[0], raw / raw.abs().max(), terms=2000)
            heat = raw.relu()
            assert_agrees(word.heatmaps[0], heat / heat.max(), terms=2000)


@pytest.mark.parametrize("name", ["qwen2-vl", "glm4v"])
def test_the_maps_of_packed_photos_are_on_one_scale(name: str) -> None:
    photos = photo(*SQUARE), photo(*OBLONG, seed=1)
    answer = ask(name, *photos)
    raws = [expected_maps(name, *photos, picture=number) for number in (0, 1)]
    for word, first, second in zip(answer.words, *raws, strict=True):
        largest = max(first.abs().max(), second.abs().max())
        assert_agrees(word.signed[0], first / largest, terms=2000)
        assert_agrees(word.signed[1], second / largest, terms=2000)
        assert max(float(heat.max()) for heat in word.heatmaps) == pytest.approx(1)


def boxes_of(name: str, sizes: Sequence[tuple[int, int]], number: int) -> list[Any]:
    """Return where the pieces of a photo lie, as limelight measures it."""
    network, photos = asked(name), [photo(*size, seed=n) for n, size in enumerate(sizes)]
    prompt = read_prompt(network, photos, question(name, len(photos)))

    def process(given: Sequence[Image.Image]) -> dict[str, Any]:
        return processed(network, given, prompt.text, special=prompt.special, as_model=False)

    together = len(photos) == 1 or ModelInputs.of(prompt.inputs).image.ndim == 5
    return piece_places(process, photos, number, None if together else number)


def assert_boxes(found: Sequence[Any], name: str, size: tuple[int, int]) -> None:
    """Check boxes in photo lengths against those that the family's own code has, in pixels."""
    width, height = size
    expected = [box for box in CELLS[name].pieces(size) if box[2] > box[0]]
    seen = [box for box in found if box is not None]
    for box, (left, top, right, bottom) in zip(seen, expected, strict=True):
        wanted = left / width, top / height, right / width, bottom / height
        assert box == pytest.approx(wanted, abs=0.015)


@pytest.mark.parametrize("size", [SQUARE, OBLONG])
@pytest.mark.parametrize("name", ASKED)
def test_pieces_lie_where_the_processor_cuts_them(name: str, size: tuple[int, int]) -> None:
    assert_boxes(boxes_of(name, [size], 0), name, size)


@pytest.mark.parametrize("size", [(1600, 64), (64, 1600)])
def test_a_piece_of_a_long_and_narrow_photo_keeps_its_cells(size: tuple[int, int]) -> None:
    # The processor cuts a square out of the middle: 64 pixels of 1600.
    (box,) = boxes_of("llava", [size], 0)
    assert box is not None
    along = (box.x0, box.x1) if size[0] > size[1] else (box.y0, box.y1)
    assert along == pytest.approx((768 / 1600, 832 / 1600), abs=2e-3)
    for word in ask("llava", photo(*size)).words:
        cells = word.signed[0] if size[0] > size[1] else word.signed[0].T
        assert len(cells) == np.count_nonzero(cells.any(0)) == 4  # those of the layer's grid


def test_the_token_activation_map_reads_logits_at_the_picture() -> None:
    picture = photo(*SQUARE)
    found = ask("llava", picture, method="tam")
    given = inputs("llava", [[picture]], f"{QUESTION} {ANSWER}")
    ids, count = given["input_ids"], len(ANSWER.split())
    assert any(word.signed[0].any() for word in found.words)
    for number, word in enumerate(found.words):
        target = Words(ids, at=ids.shape[1] - count + number)
        alone = limelight.explain(made("llava").model, given, target=target, method="tam")
        largest = float(alone.raw.max()) or 1.0
        assert_agrees(torch.from_numpy(word.signed[0]), alone.raw[0] / largest)


@pytest.mark.parametrize("name", ["llava", "gemma-3", "internvl", "idefics3", "qwen2-vl"])
def test_pieces_of_one_photo_are_told_from_those_of_another(name: str) -> None:
    sizes = [SQUARE, OBLONG]
    for number, size in enumerate(sizes):
        found = boxes_of(name, sizes, number)
        assert_boxes(found, name, size)


def test_padding_has_no_place_on_the_photo() -> None:
    # The photo in a square of bars, twice as high: what a bar says is not drawn.
    class Barred(PhotoTextProcessor):
        def __call__(self, images: Any = None, text: Any = None, **options: Any) -> Any:
            framed = []
            for each in images:
                square = Image.new("RGB", (64, 64))
                square.paste(each.resize((64, 32)), (0, 16))
                framed.append(square)
            return super().__call__(framed, text, **options)

    known = asked("vit-gpt2")
    barred = Barred(known.processor.image_processor, known.tokenizer)
    network = limelight.VisionLanguageModel("barred", known.model, barred)
    (box,) = piece_places(
        lambda given: processed(network, given, None, as_model=False), [photo(64, 32)], 0, None
    )
    assert box == pytest.approx((0, -0.5, 1, 1.5), abs=0.015)
    answer = limelight.caption(photo(64, 32), model=network, answer=ANSWER)
    assert answer.words[0].heatmaps[0].shape == (2, 4)


def test_a_processor_that_mirrors_the_photo_is_refused() -> None:
    known = asked("vit-gpt2")

    def mirrored(photos: Sequence[Image.Image]) -> dict[str, Any]:
        turned = [each.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for each in photos]
        return processed(known, turned, None, as_model=False)

    with pytest.raises(InputError, match="a ramp from black to white is no line along them"):
        piece_places(mirrored, [photo(*SQUARE)], 0, None)


def test_a_photo_that_is_normalised_by_its_own_numbers_has_its_place() -> None:
    known = made("pix2struct").processor

    def process(photos: Sequence[Image.Image]) -> dict[str, Any]:
        return dict(known.image_processor(photos, return_tensors="pt", max_patches=48))

    (box,) = piece_places(process, [photo(*OBLONG)], 0, None)
    assert box == pytest.approx((0, 0, 1, 1), abs=0.03)


@pytest.mark.parametrize("name", ["llava", "qwen2-vl"])
def test_right_before_a_layer_norm_words_are_explained_by_grad_cam(name: str) -> None:
    layer = "model.language_model.layers.0"
    answer = ask(name, photo(96, 64), layer=layer)
    assert (answer.method, answer.layer) == ("gradcam", layer)
    assert all(word.status is not None and word.status.ok for word in answer.words)
    named = ask(name, photo(96, 64), layer=layer, method="hirescam")
    assert all("before a layer norm" in word.status_reason for word in named.words)
    assert ask(name).method == "hirescam"


# One pass


@contextmanager
def counted_forwards(model: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Note for each run of a model whether it records a graph."""
    runs, kind = list[bool](), type(model)
    forward = kind.forward

    def noted(self: Any, *args: Any, **kwargs: Any) -> Any:
        output = forward(self, *args, **kwargs)
        runs.append(output.logits.requires_grad)
        return output

    noted.__signature__ = signature(forward)  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setattr(kind, "forward", noted)
        yield runs


def test_one_pass_with_a_graph_explains_all_words(monkeypatch: pytest.MonkeyPatch) -> None:
    ask("llava")  # the layer is chosen once for a model and a shape
    with counted_forwards(made("llava").model, monkeypatch) as runs:
        answer = ask("llava", without_picture=False)
    assert len(answer.explained) == 3
    assert sum(runs) == 1


def kept_bytes(network: limelight.VisionLanguageModel, **options: Any) -> int:
    """Return how many bytes the graph of a call keeps, without the weights."""
    weights = {p.untyped_storage().data_ptr() for p in network.model.parameters()}
    kept = dict[int, int]()

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor if tensor.is_leaf else tensor.detach()  # else a node may hold itself

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        limelight.ask(
            photo(*OBLONG), QUESTION, model=network, answer=ANSWER, without_picture=False, **options
        )
    return sum(kept.values())


def test_the_graph_does_not_grow_with_the_words() -> None:
    ask("llava")
    one, three = kept_bytes(asked("llava"), word=0), kept_bytes(asked("llava"))
    assert 0 < three < 1.2 * one  # each word adds its own logits alone


def test_weights_that_require_no_gradient_make_the_same_maps_with_less_memory() -> None:
    network = asked("llava")
    frozen = limelight.VisionLanguageModel(
        "frozen", copy.deepcopy(network.model).requires_grad_(False), network.processor
    )
    found = limelight.ask(photo(*OBLONG), QUESTION, model=frozen, answer=ANSWER)
    plain = ask("llava")
    assert (found.layer, found.reason) == (plain.layer, plain.reason)
    for word, same in zip(found.words, plain.words, strict=True):
        assert_agrees(torch.from_numpy(word.signed[0]), torch.from_numpy(same.signed[0]))
    assert 0 < kept_bytes(frozen) < 0.8 * kept_bytes(network)


def test_the_model_is_left_as_it_was() -> None:
    model = made("llava").model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    try:
        in_training = ask("llava")
        assert all(module.training for module in model.modules())
    finally:
        model.eval()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert in_training.words[0].log_probability == ask("llava").words[0].log_probability


def test_bfloat16_says_about_the_same() -> None:
    network = asked("llava")
    half = limelight.VisionLanguageModel(
        "half", copy.deepcopy(network.model).to(torch.bfloat16), network.processor
    )
    found = limelight.ask(photo(*OBLONG), QUESTION, model=half, answer=ANSWER)
    for word, precise in zip(found.words, ask("llava").words, strict=True):
        assert word.log_probability == pytest.approx(precise.log_probability, abs=0.2)
        assert word.heatmaps[0].dtype == np.float32
        assert np.corrcoef(word.signed[0].flat, precise.signed[0].flat)[0, 1] > 0.9


# Sinks

CORNER = (0, 0)


def hot(*cells: tuple[int, int], size: int = 8) -> np.ndarray:
    heat = np.zeros((size, size), dtype=np.float32)
    for cell in cells:
        heat[cell] = 1
    return heat


def test_a_corner_that_all_words_are_hot_in_is_a_sink() -> None:
    maps = [hot(CORNER, (k, 4)) for k in range(1, 6)]
    sinks, covered = find_sinks(maps)
    assert sinks == (Sink((0.0, 0.0, 0.125, 0.125), 1.0),)
    assert np.argwhere(covered).tolist() == [[0, 0]]


def test_a_sink_is_a_place_of_nearly_all_words_and_small() -> None:
    few = [hot(CORNER, (k, 4)) for k in range(1, 4)]
    assert find_sinks(few)[0] == ()  # of three words nothing can be said
    some = [hot((k, 4)) for k in range(1, 4)] + [hot(CORNER)] * 7
    assert find_sinks(some)[0] == ()  # seven of ten
    block = [(row, column) for row in range(3) for column in range(3)]
    assert find_sinks([hot(*block)] * 6)[0] == ()  # as large as an object


def test_what_words_share_in_a_sink_is_subtracted() -> None:
    maps = [hot(CORNER, (k, 4)) for k in range(1, 6)]
    maps[0][CORNER] = 0.75
    _, covered = find_sinks(maps)
    left = without_sinks(maps, covered)
    assert left[0][CORNER] == pytest.approx(0.75 - 0.95)
    assert left[1][CORNER] == pytest.approx(1 - 0.95)
    for k, (before, after) in enumerate(zip(maps, left, strict=True), start=1):
        assert after[k, 4] == before[k, 4] == 1


def test_sinks_are_subtracted_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline: Any = import_module("limelight.vision_language.pipeline")
    real = pipeline.on_photo

    def with_sink(*given: Any) -> np.ndarray:
        cells: np.ndarray = real(*given)
        cells[CORNER] = 2 * np.abs(cells).max()
        return cells

    monkeypatch.setattr(pipeline, "on_photo", with_sink)
    long = "a red disc on white"
    kept = ask("qwen2-vl", photo(96, 64), answer=long)
    taken = ask("qwen2-vl", photo(96, 64), answer=long, subtract_sinks=True)
    (sink,) = kept.sinks[0]
    assert sink.box == pytest.approx((0, 0, 1 / 6, 1 / 4))
    assert (kept.subtracted, taken.subtracted) == (False, True)
    assert all(word.heatmaps[0][CORNER] == 1 for word in kept.words)
    assert all(word.heatmaps[0][CORNER] < 0.01 for word in taken.words)
    alone = ask("qwen2-vl", photo(96, 64), answer=long, subtract_sinks=True, word="red")
    assert [word.text for word in alone.explained] == ["red"]
    assert_agrees(alone["red"].heatmaps[0], taken["red"].heatmaps[0])
