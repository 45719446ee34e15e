"""Models that are asked about photos: the tiny families, as `limelight.ask` takes them."""

from __future__ import annotations

from functools import cache
from typing import Any

import limelight
from helpers.vision_language import FAMILIES, made
from limelight.models.vision_language import PhotoTextProcessor

QUESTION = "what is this ?"

#: Families whose processor of the tests wants the whole sentence: for these, what makes photos and
#: what makes tokens is taken, as for captioners that come without a processor.
_IN_PARTS = ("vit-gpt2", "trocr", "blip", "git")

#: What of a question these take by themselves: their placeholders are not put in by the processor.
_WRITTEN_OUT = ("kosmos-2", "florence-2")

#: All that generate text.
ASKED = [name for name in FAMILIES if name != "siglip2"]


@cache
def asked(name: str) -> limelight.VisionLanguageModel:
    """Return a tiny model of a family with its processor."""
    known = made(name)
    processor: Any = known.processor
    if name in _IN_PARTS:
        processor = PhotoTextProcessor(processor.image_processor, processor.tokenizer)
    return limelight.VisionLanguageModel(name, known.model, processor)


def question(name: str, photos: int = 1) -> str:
    """Return the question, with what stands for the photos where the processor wants that."""
    picture = FAMILIES[name].picture
    if name in _WRITTEN_OUT or picture not in ("", "<image>"):
        return " ".join([picture] * photos + [QUESTION])
    return QUESTION
