"""Photos and a question become the inputs of a vision-language model, by its own processor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from PIL.Image import Image
from torch import Tensor

from limelight.errors import InputError, describe_error
from limelight.inputs import ModelInputs
from limelight.models.vision_language import VisionLanguageModel
from limelight.runtime.generation import quietly

#: What a model that is asked for a caption, and answers questions alone, is asked.
CAPTION_QUESTION = "Describe the picture in one sentence."


class Prompt(NamedTuple):
    """What the processor is given beside the photos, and what it made.

    Attributes:
        text: The text, with the place of the photos in it where the model wants that; None for
            photos alone.
        special: Whether the tokenizer adds the tokens that begin a text.
        begins: What the answer begins with, for models that take no question; "" if nothing.
        inputs: The model's keyword arguments.
    """

    text: str | None
    special: bool
    begins: str
    inputs: dict[str, Any]


def read_prompt(network: VisionLanguageModel, photos: Sequence[Image], question: str) -> Prompt:
    """Return the prompt for photos and a question.

    A model that was trained on conversations gets its own template. Any other gets the question as
    it is, with the token that stands for a photo before it if the processor does not add that by
    itself. A captioner that takes no text begins the caption with it.

    Raises:
        InputError: The processor does not take them, or the model takes one photo and there are
            several.
    """
    begins = "" if _takes_text(network) else question
    problem = ""
    for text, special in _texts(network, len(photos), question):
        try:
            inputs = processed(network, photos, text, special=special)
        except (ValueError, TypeError, IndexError, KeyError) as error:
            problem = describe_error(error).splitlines()[0]
            continue
        if _has_place_for_photos(network, inputs):
            _check_several(network, inputs, len(photos))
            return Prompt(text, special, begins, inputs)
        problem = "the question gets no place for a photo"
    count = f"{len(photos)} photos" if len(photos) > 1 else "a photo"
    raise InputError(
        f"The processor of {network.name!r}, {type(network.processor).__name__}, does not take "
        f"{count} and the question {question!r}: {problem}. Write the question as the model's "
        "description says, with its token for a photo in it if it needs one."
    )


def _check_several(network: VisionLanguageModel, inputs: dict[str, Any], photos: int) -> None:
    """Refuse several photos that became a batch of prompts, or of which only some are left."""
    if photos == 1 or ModelInputs.of(inputs).image.ndim == 5:
        return
    try:
        ModelInputs.of(inputs, photos - 1)
    except InputError as error:
        raise InputError(
            f"{network.name!r} takes one photo in a prompt, and {photos} were given. Ask about "
            "each by itself."
        ) from error


def processed(
    network: VisionLanguageModel,
    photos: Sequence[Image],
    text: str | None,
    *,
    special: bool = True,
    as_model: bool = True,
) -> dict[str, Any]:
    """Return what a processor makes of photos and text, as the model's keyword arguments.

    Args:
        network: The model with its processor.
        photos: The photos.
        text: The text of the prompt; None for none.
        special: Whether the tokenizer adds the tokens that begin a text.
        as_model: Move tensors to the model's device and, if they are floating point, to its type.
    """
    with quietly():
        made = _called(network.processor, list(photos), text, special=special)
    taken = network.arguments - {"labels"}
    kept = {name: value for name, value in made.items() if name in taken}
    if not as_model:
        return kept
    like = next(p for p in network.model.parameters() if p.is_floating_point())
    return {name: _like(value, like) for name, value in kept.items()}


def _called(
    processor: Any, photos: list[Image], text: str | None, *, special: bool
) -> Mapping[str, Any]:
    """Call a processor with one prompt: in a batch of one, or as it is if it takes no batch."""
    options: dict[str, Any] = {"return_tensors": "pt"}
    if text is not None and not special:
        options["add_special_tokens"] = False
    texts = ({"text": [text]}, {"text": text}) if text is not None else ({}, {})
    try:
        made = processor(images=[photos], **texts[0], **options)
    except (ValueError, TypeError, AttributeError):
        made = processor(images=photos, **texts[1], **options)
    return dict(made)


def _like(value: Any, parameter: Tensor) -> Any:
    """Return a tensor on a parameter's device and, if it is floating point, in its type."""
    if not isinstance(value, Tensor):
        return value
    return value.to(parameter if value.is_floating_point() else parameter.device)


def _takes_text(network: VisionLanguageModel) -> bool:
    """Return whether the model reads a text beside the sentence that it writes."""
    draws_it = getattr(getattr(network.processor, "image_processor", None), "is_vqa", False)
    return "input_ids" in network.arguments or bool(draws_it)


def _texts(
    network: VisionLanguageModel, count: int, question: str
) -> Iterator[tuple[str | None, bool]]:
    """Yield the texts to try, and whether the tokenizer adds what begins a text."""
    if not _takes_text(network):
        yield None, True
        return
    chat = _in_template(network, count, question or CAPTION_QUESTION)
    if chat is not None:
        begins = network.tokenizer.bos_token
        yield chat, not (begins and chat.startswith(begins))
        return
    if not question and not _photo_token(network):
        yield None, True
        return
    yield question, True
    token = _photo_token(network)
    if token and token not in question:
        yield f"{token * count}\n{question}", True
        yield f"{token * count}{question}", True


def is_chat(network: VisionLanguageModel) -> bool:
    """Return whether the model was trained on conversations: its processor has a template."""
    has = any(
        getattr(part, "chat_template", None) for part in (network.processor, network.tokenizer)
    )
    return has and hasattr(network.processor, "apply_chat_template")


def _in_template(network: VisionLanguageModel, count: int, question: str) -> str | None:
    """Return a question about photos in the template of conversations; None without one."""
    if not is_chat(network):
        return None
    token = _photo_token(network)
    parts = [{"type": "image"}] * count + [{"type": "text", "text": question}]
    as_text = f"{token * count}\n{question}"
    chat = ""
    for content in (parts, as_text):  # older templates take text alone
        try:
            chat = str(
                network.processor.apply_chat_template(
                    [{"role": "user", "content": content}], add_generation_prompt=True
                )
            )
        except Exception:  # a template may raise anything
            continue
        if not token or token in chat:
            return chat
    return chat or None


def _photo_token(network: VisionLanguageModel) -> str:
    """Return the token that stands for a photo; "" if it is not known."""
    for part in (network.processor, network.tokenizer):
        token = getattr(part, "image_token", None)
        if token:
            return str(token)
    return ""


def _has_place_for_photos(network: VisionLanguageModel, inputs: dict[str, Any]) -> bool:
    """Return whether the text has a place for the photos, if the model looks for one there."""
    config, token = network.model.config, _photo_token(network)
    numbers = {
        getattr(config, name, None)
        for name in ("image_token_id", "image_token_index", "media_placeholder_token_id")
    }
    if token:
        numbers.add(network.tokenizer.convert_tokens_to_ids(token))
    known = [number for number in numbers if isinstance(number, int)]
    if "input_ids" not in inputs or not known or network.writes_apart:
        return True
    ids = inputs["input_ids"]
    return bool(torch.isin(ids, torch.tensor(known, device=ids.device)).any())
