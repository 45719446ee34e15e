"""Which words of a text matter: the result of `explain_text`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from limelight.notebook import Table, TablesView, tables_html
from limelight.tables.frames import as_frame

if TYPE_CHECKING:
    import pandas

#: The columns of the rows of explained texts, with the types of their values.
TEXT_COLUMNS: Mapping[str, type] = {
    "image": int,
    "text": int,
    "word": str,
    "value": float,
    "share": float,
    "special": bool,
    "target": str,
    "score": float,
    "method": str,
    "layer": str,
}


@dataclass(frozen=True, slots=True)
class TextWord:
    """A word of a text, and how much it speaks for the score.

    Attributes:
        text: The word as it is read; for a special token, its name.
        value: The sum of the values of its tokens: positive where the word speaks for the score,
            negative where it speaks against it.
        share: The same, divided by the largest absolute value among the words of its text, in
            [-1, 1]; beyond that for a special token that has more than any word.
        at: The positions of its tokens in the text, from 0.
        special: Whether it is no word but a token that begins, ends or fills up the text.
    """

    text: str
    value: float
    share: float
    at: tuple[int, ...]
    special: bool


@dataclass(frozen=True, slots=True)
class ExplainedText:
    """Which words of a text speak for the score of a picture, and which against it.

    Attributes:
        image: The number of the picture in the batch, from 0.
        text: The number of the text among the inputs, from 0.
        words: Its words in order, without special tokens.
        special: The tokens that begin, end or fill up the text. The score is often read at one of
            them, so their values can be large and say nothing of a word.
        values: The value of each token, `[N]`, signed.
        target: What was explained, in words: the text, if its name is known.
        score: The explained score of the picture.
        method: The method, with its options.
        layer: The layer at which the tokens were weighed.
        reason: Why this layer.
    """

    image: int
    text: int
    words: tuple[TextWord, ...]
    special: tuple[TextWord, ...] = field(repr=False)
    values: Tensor = field(repr=False)
    target: str
    score: float
    method: str
    layer: str
    reason: str = field(repr=False)

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each word, and for each special token, in the order of the text.

        The columns are `image`, `text`, `word`, `value`, `share`, `special`, `target`, `score`,
        `method` and `layer`.
        """
        return [
            {
                "image": self.image,
                "text": self.text,
                "word": word.text,
                "value": word.value,
                "share": word.share,
                "special": word.special,
                "target": self.target,
                "score": self.score,
                "method": self.method,
                "layer": self.layer,
            }
            for word in self._in_order()
        ]

    def to_frame(self) -> pandas.DataFrame:
        """Return `rows` as a data frame of pandas.

        Raises:
            OptionError: pandas is not installed.
        """
        return as_frame(self.rows(), TEXT_COLUMNS)

    def _repr_html_(self) -> str:
        """Show the words with their values in a notebook."""
        cells = [(word.text, f"{word.share:+.2f}", f"{word.value:+.4g}") for word in self.words]
        heading = f"Picture {self.image}, {self.target}: score {self.score:.4g}"
        note = f"By {self.method} at {self.layer}. A share of 1 is the largest value of a word."
        table = Table("", ("word", "share", "value"), cells)
        return tables_html(TablesView(heading, [table], notes=[note]))

    def _in_order(self) -> Sequence[TextWord]:
        return sorted((*self.words, *self.special), key=lambda word: word.at)
