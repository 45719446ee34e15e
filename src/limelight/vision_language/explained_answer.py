"""The result of `ask`: an answer, and a map for every word of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limelight import files
from limelight.errors import OutputError
from limelight.figure_style import USUAL_STYLE, FigureStyle
from limelight.misnamed import KnownAttributes, checked_arguments
from limelight.translations.languages import Language
from limelight.vision_language.answer import AnswerData, ExplainedWord
from limelight.vision_language.page import page_html
from limelight.vision_language.words import find_word

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

#: What names of files end in: of figures, pages and arrays, for which a folder is mistaken.
_OF_FILES = (".png", ".jpg", ".jpeg", ".webp", ".pdf", ".svg", ".html", ".npz")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ExplainedAnswer(AnswerData, KnownAttributes):
    """What `ask` and `caption` return.

    Its attributes are those of `AnswerData`.
    """

    def __repr__(self) -> str:
        """Return question, answer, method, layer, and the numbers of words and photos."""
        return (
            f"ExplainedAnswer({self.question!r} -> {self.text!r}; {self.method} at {self.layer}; "
            f"maps of {len(self.explained)} of {len(self.words)} words over {len(self.photos)} "
            f"photo{'s' * (len(self.photos) > 1)})"
        )

    def __len__(self) -> int:
        """Return the number of words."""
        return len(self.words)

    def __getitem__(self, word: int | str) -> ExplainedWord:
        """Return a word by its number from 0, or by its text.

        Raises:
            UnknownNameError: There is no such word.
            TargetError: It is in the answer several times, or there is no word of that number.
        """
        return self.words[find_word([known.text for known in self.words], word)]

    def rows(self) -> list[dict[str, Any]]:
        """Return a row of plain values for each word; docs/ask.md has the columns."""
        from limelight.vision_language.rows import word_rows

        return word_rows(self)

    def to_frame(self) -> pandas.DataFrame:
        """Return `rows` as a data frame; an OptionError says so when pandas is not installed."""
        from limelight import tables
        from limelight.vision_language.rows import WORD_COLUMNS

        return tables.as_frame(self.rows(), WORD_COLUMNS)

    @checked_arguments
    def figure(self, *, signed: bool = False, style: FigureStyle = USUAL_STYLE) -> Figure:
        """Draw the maps of all words over each photo, with how probable they are.

        Args:
            signed: Draw the maps before relu: what raises the score of a word in one colour, what
                lowers it in another.
            style: Width, resolution and font size.
        """
        from limelight.vision_language.drawings import answer_figure

        return answer_figure(self, signed=signed, style=style)

    @checked_arguments
    def html(self, *, language: Language = "en") -> str:
        """Return the page: one HTML file that loads no other file.

        Args:
            language: `en` or `zh`.

        Raises:
            UnknownNameError: There is no such language.
        """
        return page_html(self, language)

    @checked_arguments
    def save(
        self,
        folder: str | Path,
        *,
        language: Language = "en",
        arrays: bool = False,
        style: FigureStyle = USUAL_STYLE,
    ) -> Path:
        """Write `answer.html`, the page, and `words.png`, the figure, into a folder; return it.

        Args:
            folder: The folder, which is made if need be.
            language: The language of the page, `en` or `zh`.
            arrays: Write `maps.npz` too: of word k and photo n the arrays `heatmap_k_n` and
                `signed_k_n`, and the rows of all words as JSON in `names`.
            style: Width, resolution and font size of the figure.

        Raises:
            OutputError: Nothing can be written there, or it is named like a file.
            UnknownNameError: There is no such language.
        """
        from limelight import render

        if Path(folder).suffix.lower() in _OF_FILES:
            raise OutputError(
                f"{str(folder)!r} is named like a file, and several are written: pass a folder. "
                ".figure() and .html() return the figure and the page by themselves."
            )
        folder, page = Path(folder), self.html(language=language)
        files.make_folder(folder)
        figure = render.encode_figure(self.figure(style=style), "png")
        files.write_whole(folder / "answer.html", page.encode(errors="backslashreplace"))
        files.write_whole(folder / "words.png", figure)
        if arrays:
            files.write_arrays(folder / "maps.npz", self._arrays(), self.rows())
        return folder

    def _arrays(self) -> dict[str, Any]:
        named = {"heatmap": "heatmaps", "signed": "signed"}
        return {
            f"{name}_{k}_{n}": cells
            for k, word in enumerate(self.words)
            for name, field in named.items()
            for n, cells in enumerate(getattr(word, field))
        }

    def _repr_html_(self) -> str:
        """Show the words' maps in a notebook, with the word and the opacity to choose."""
        from limelight.vision_language.drawings import answer_html

        return answer_html(self)

    def _repr_png_(self) -> bytes:
        """Show the figure where a notebook shows no HTML."""
        from limelight import render

        return render.figures_png([self.figure()])
