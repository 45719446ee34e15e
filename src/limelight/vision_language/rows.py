"""The rows of an explained answer: what is known of each word, in plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from limelight.vision_language.answer import AnswerData, ExplainedWord

#: The columns of a table of words, with the types of their values; docs/ask.md has what each holds.
WORD_COLUMNS: Mapping[str, type] = {
    "word": int,
    "text": str,
    "start": int,
    "end": int,
    "log_probability": float,
    "probability": float,
    "without_picture": float,
    "gain": float,
    "picture_share": float,
    "needs_picture": bool,
    "instead": str,
    "contrast": float,
    "status": str,
    "message": str,
    "photo": str,
    "max_x_photo": int,
    "max_y_photo": int,
    "method": str,
    "layer": str,
    "model": str,
    "question": str,
    "answer": str,
}


def word_rows(answer: AnswerData) -> list[dict[str, Any]]:
    """Return a row for each word of an answer, with the columns of `WORD_COLUMNS`."""
    same = {
        "method": answer.method,
        "layer": answer.layer,
        "model": answer.model,
        "question": answer.question,
        "answer": answer.text,
    }
    rows = []
    for number, word in enumerate(answer.words):
        row = {"word": number, **_known(word), **_highest(answer, word), **same}
        rows.append({name: row.get(name) for name in WORD_COLUMNS})
    return rows


def _known(word: ExplainedWord) -> dict[str, Any]:
    return {
        "text": word.text,
        "start": word.start,
        "end": word.end,
        "log_probability": word.log_probability,
        "probability": word.probability,
        "without_picture": word.without_picture,
        "gain": word.gain,
        "picture_share": word.picture_share,
        "needs_picture": word.needs_picture,
        "instead": word.instead or None,
        "contrast": word.contrast,
        "status": None if word.status is None else word.status.name,
        "message": word.status_reason or None,
    }


def _highest(answer: AnswerData, word: ExplainedWord) -> dict[str, Any]:
    """Return the photo where the map of a word is highest, and the pixel; {} without a map."""
    if word.status is None or not word.status.ok:
        return {}
    photo = max(range(len(word.heatmaps)), key=lambda number: word.heatmaps[number].max())
    cells = word.heatmaps[photo]
    row, column = np.unravel_index(int(cells.argmax()), cells.shape)
    width, height = answer.photos[photo].size
    return {
        "photo": answer.photo_names[photo],
        "max_x_photo": int((column + 0.5) * width / cells.shape[1]),
        "max_y_photo": int((row + 0.5) * height / cells.shape[0]),
    }
