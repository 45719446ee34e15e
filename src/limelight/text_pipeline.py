"""`explain_text`: which words of a text matter for the score of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from limelight.errors import MethodError
from limelight.evidence import Evidence, at_least_float32
from limelight.inputs import ModelInputs
from limelight.layers.resolved import Layer
from limelight.methods import METHODS, Method, find_method
from limelight.misnamed import checked_arguments
from limelight.models.network import Images, Model, Subject, read_subject
from limelight.models.prompted import Prompted
from limelight.options import Options
from limelight.pixels import in_floating_point
from limelight.runtime.text_gradients import TextGradients, text_gradients
from limelight.targets import LogitsKey, Target, as_target
from limelight.text_explanation import ExplainedText, TextWord
from limelight.text_words import WordTokens, words_of


@checked_arguments
def explain_text(
    model: Model,
    inputs: Images,
    *,
    target: Target = None,
    tokenizer: Any = None,
    method: str | Method = "hirescam",
    layer: Layer | None = None,
    classes: Sequence[str] | None = None,
    output: LogitsKey | None = None,
) -> list[ExplainedText]:
    """Show which words of a text matter for the score of a picture, and which speak against it.

    A map over the tokens of the text, with the formula that the method has for pictures. By default
    it is that of HiRes-CAM (Draelos and Carin 2020) at the embeddings of the words, which is there
    gradient times input (Denil et al. 2014): for the N tokens with embeddings `A`, `[N, K]`, the
    value of token n is `v_n = sum_k (dy_c/dA_nk) A_nk`. No ReLU follows: the values are signed. A
    word of several tokens has their sum.

        network = limelight.load_model("hf:openai/clip-vit-base-patch32", classes=["a red car"])
        (text,) = limelight.explain_text(network, photo)
        for word in text.words:
            print(word.text, word.share)

        limelight.explain_text(clip, inputs, target=0, tokenizer=tokenizer)
        limelight.explain_text(clip, inputs, target=limelight.Pair(), tokenizer=tokenizer)

    Args:
        model: A network of pictures and texts; or a `Network` with its prompts filled in, as
            `load_model` returns it.
        inputs: A tuple or dict of the model's arguments, with texts as integers `[P, N]`; for a
            `Network` with prompts, photos or images alone.
        target: What to explain, as in `explain`: with prompts as classes, one of them; None for the
            text that fits best.
        tokenizer: The tokenizer that made the tokens, of transformers or open_clip, to tell words
            and special tokens. Without it each token is a word. A `Network` brings its own.
        method: A name in METHODS, of a method that reads gradients alone and makes its map of a
            layer: `gradcam`, `hirescam`, `layercam` and their like.
        layer: A layer of the text tower, whose output is `[P, N, K]` or `[N, P, K]`; None for the
            embeddings of the words. Later layers have mixed the words already.
        classes: The names of the texts, by number.
        output: As in `explain`.

    Returns:
        For each picture the text that its score reads; all of them, if it reads several, as that of
        a `Contrast` does.

    Raises:
        MethodError: The method reads other evidence than gradients, or no gradient of the score
            arrives at the texts.
        InputError: The inputs hold no texts.
        OptionError: The tokenizer does not decode.
        UnknownNameError, LayerError, TargetError, ModelError: As `explain`.
    """
    row = _gradient_method(method)
    subject = read_subject(model, inputs, classes)
    options = Options.read(classes=subject.classes, output=output)
    with_texts = _with_texts(subject)
    found = text_gradients(subject.model, with_texts, layer, as_target(target), options)
    rows = [_words(subject, text, ids, tokenizer) for text, ids in enumerate(found.ids.tolist())]
    values = _token_values(found, row, with_texts)
    return [
        _explained(image, text, rows[text], values[image, text], found, str(row))
        for image, text in _texts_read(found)
    ]


def _gradient_method(method: str | Method) -> Method:
    """Return a method that makes its map from a layer's activations and gradients alone.

    Raises:
        MethodError: The method reads something else.
        UnknownNameError, OptionError: As `find_method`.
    """
    row = find_method(method)
    if not _reads_gradients_alone(row):
        names = ", ".join(name for name, each in METHODS.items() if _reads_gradients_alone(each))
        raise MethodError(
            f"{row.name!r} makes its map from other evidence than a layer's gradients, which texts "
            f"do not give. It goes with {names}."
        )
    return row


def _reads_gradients_alone(method: Method) -> bool:
    return method.needs == {"gradients"} and method.place == "layer"


def _with_texts(subject: Subject) -> ModelInputs:
    """Return the inputs of a call, with the texts that a network brings among them."""
    if not isinstance(subject.model, Prompted):
        return subject.inputs
    return ModelInputs.of({"images": subject.inputs.image, **subject.model.tokens})


def _words(
    subject: Subject, text: int, ids: Sequence[int], tokenizer: Any
) -> tuple[WordTokens, ...]:
    """Return the words of a text: those that a network knows, or those of the tokenizer."""
    if isinstance(subject.model, Prompted) and tokenizer is None:
        return subject.model.words[text]
    return words_of(ids, tokenizer)


def _texts_read(found: TextGradients) -> list[tuple[int, int]]:
    """Return the pictures, each with the number of a text that its score reads.

    Raises:
        MethodError: The score of a picture reads none.
    """
    arrives = found.gradients.flatten(2).any(2)  # [B, P]
    if not bool(arrives.any(1).all()):
        raise MethodError(
            f"No gradient of the score arrives at the texts, at {found.layer!r}. The score does "
            "not depend on them, or it reads a text that was embedded before. Name another target, "
            "or another layer of the text tower."
        )
    return [(image, text) for image, text in arrives.nonzero().tolist()]


def _token_values(found: TextGradients, method: Method, inputs: ModelInputs) -> Tensor:
    """Return the value of each token of each text for each picture, `[B, P, N]`.

    The tokens are the grid, the texts of all pictures the batch of a method.
    """
    batch, count = found.gradients.shape[:2]
    activations = found.activations.expand(batch, *found.activations.shape)
    evidence = Evidence(
        activations=at_least_float32(activations.flatten(0, 1).transpose(1, 2)),
        image=in_floating_point(inputs.image).repeat_interleave(count, 0),
        score=at_least_float32(found.scores.values.detach()).repeat_interleave(count),
        found={"gradients": at_least_float32(found.gradients.flatten(0, 1).transpose(1, 2))},
    )
    with torch.no_grad():
        return method.raw(evidence).reshape(batch, count, -1)


def _explained(
    image: int,
    text: int,
    words: Sequence[WordTokens],
    values: Tensor,
    found: TextGradients,
    method: str,
) -> ExplainedText:
    """Return a text with the values of its words."""
    sums = [float(values[list(word.at)].sum()) for word in words]
    of_words = [abs(value) for value, word in zip(sums, words, strict=True) if not word.special]
    largest = max(of_words, default=0.0) or 1.0
    weighed = [
        TextWord(word.text, value, value / largest, word.at, word.special)
        for word, value in zip(words, sums, strict=True)
    ]
    return ExplainedText(
        image=image,
        text=text,
        words=tuple(word for word in weighed if not word.special),
        special=tuple(word for word in weighed if word.special),
        values=values,
        target=found.scores.labels[image],
        score=float(found.scores.values[image].detach()),
        method=method,
        layer=found.layer,
        reason=found.reason,
    )
