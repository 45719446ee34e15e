"""An answer in words as the page takes it: each word with its probability and its map."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from limelight.finish import resize
from limelight.status import Status
from limelight.translations.languages import Language
from limelight.vision_language.answer import ExplainedWord
from limelight.vision_language.explained_answer import ExplainedAnswer
from limelight.web.answers.maps import packed_map, within
from limelight.web.wording import library_sentence, library_words, status_sentence


def answer_as_dict(answer: ExplainedAnswer, longest: int, language: Language) -> dict[str, Any]:
    """Return an answer about one photo as plain values.

    The maps of its words are those of `map_as_dict`, and cover the whole photo.

    Args:
        answer: The answer.
        longest: The longer side of the maps, in pixels.
        language: The language of the statuses and remarks.
    """
    (photo,) = answer.photos
    size = within((photo.height, photo.width), longest)
    return {
        "network": answer.model,
        "question": answer.question,
        "answer": answer.text,
        "given": answer.given,
        "box": [0, 0, photo.width, photo.height],
        "words": [_word(answer, number, size, language) for number in range(len(answer.words))],
    }


def _word(
    answer: ExplainedAnswer, number: int, size: tuple[int, int], language: Language
) -> dict[str, Any]:
    """Return a word; `before` is what stands between it and the word before."""
    word = answer.words[number]
    without = word.without_picture
    begin = answer.words[number - 1].end if number else 0
    return {
        "text": word.text,
        "before": answer.text[begin : word.start],
        "probability": word.probability,
        "without_picture": None if without is None else math.exp(without),
        "picture_share": word.picture_share,
        "needs_picture": word.needs_picture,
        "undecided": word.undecided,
        "remark": library_sentence(word.status_reason, language) if word.status_reason else "",
        "map": _map(answer, word, size, language) if word.has_map else None,
    }


def _map(
    answer: ExplainedAnswer, word: ExplainedWord, size: tuple[int, int], language: Language
) -> dict[str, Any]:
    status = word.status or Status("ok")
    heatmap, signed = _resized(word.heatmaps[0], size), _resized(word.signed[0], size)
    rows, columns = word.signed[0].shape
    return {
        "method": answer.method,
        "layer": answer.layer,
        "reason": library_words(answer.reason, language),
        "grid": [rows, columns],
        "label": word.text,
        "region": None,
        "index": None,
        "score": word.log_probability,
        "status": {"name": status.name, "message": status_sentence(status, language)},
        **packed_map(heatmap.clamp(0, 1), signed),
        "raw": {"lowest": float(word.signed[0].min()), "highest": float(word.signed[0].max())},
    }


def _resized(cells: Any, size: tuple[int, int]) -> Tensor:
    """Return the cells of a word's map at another size, as heatmaps are resized."""
    values = torch.as_tensor(cells, dtype=torch.float32, device="cpu")
    return resize(values[None], size)[0]
