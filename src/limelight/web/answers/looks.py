"""What a network answers about a photo, as the page takes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from limelight.models.vision_language import VisionLanguageModel
from limelight.translations.languages import Language
from limelight.web.subjects.looks import Look
from limelight.web.wording import say


def look_as_dict(look: Look, language: Language) -> dict[str, Any]:
    """Return what a network answers about a photo, and which part of the photo it saw.

    Args:
        look: The photo as the network saw it.
        language: The language in which a class without a name is named.
    """
    served, objects = look.served, look.objects()
    answer = {
        "network": served.network.name,
        "kind": served.kind,
        "measure": served.measure,
        "box": list(look.crop.box),
        "input": list(look.inputs.image.shape[2:]),
        "answers": [named_answer(each, served.measure, language) for each in look.answers()],
    }
    if objects is not None:
        answer["objects"] = [named_answer(each, served.measure, language) for each in objects]
    return answer


def unasked_as_dict(model: VisionLanguageModel, size: Sequence[int]) -> dict[str, Any]:
    """Return the same for a model that answers questions: nothing, as nothing was asked yet.

    Args:
        model: The model.
        size: Width and height of the photo.
    """
    return {
        "network": model.name,
        "kind": "vision-language",
        "measure": "probability",
        "box": [0, 0, *size],
        "input": [],
        "answers": [],
    }


def named_answer(answer: dict[str, Any], measure: str, language: Language) -> dict[str, Any]:
    """Return an answer with a name, also where the network's classes have none."""
    if answer["name"] is not None:
        return answer
    key = "page.kinds.the-output" if measure == "score" else "page.kinds.class"
    return {**answer, "name": say(key, language, number=answer["index"])}
