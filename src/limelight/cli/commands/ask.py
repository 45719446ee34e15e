"""`limelight ask`: what a vision-language model looked at, for every word of its answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from limelight.cli.answer_options import AnswerOptions
from limelight.cli.answer_report import answer_as_dict, print_answer
from limelight.cli.option_groups import out_option
from limelight.cli.output import document
from limelight.cli.output_options import AsJson, FigureOptions, page_file
from limelight.cli.photo_options import found_photos
from limelight.cli.progress import Bar
from limelight.cli.run_record import RunRecord
from limelight.cli.table_option import TablePath, plan_table, write_table
from limelight.cli.vision_language_options import VisionLanguageOptions
from limelight.errors import MissingPhotoError, OptionError
from limelight.figure_style import FigureStyle
from limelight.files import make_folder, write_whole
from limelight.photos.pictures import photo_size
from limelight.photos.samples import SAMPLES
from limelight.translations.languages import Language
from limelight.vision_language import pipeline
from limelight.vision_language.explained_answer import ExplainedAnswer
from limelight.vision_language.rows import WORD_COLUMNS


def ask(
    *,
    asked: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTO... QUESTION",
            help="A photo, or several that the model sees together, or a sample: "
            f"{', '.join(SAMPLES)}; and the question in quotes, which --caption leaves out.",
            show_default=False,
        ),
    ],
    caption: Annotated[
        bool, typer.Option("--caption", help="Ask nothing: the model writes a caption.")
    ] = False,
    model_options: VisionLanguageOptions,
    answer_options: AnswerOptions,
    out: Annotated[
        Path | None,
        out_option(
            "A folder for the page and a figure of all maps; or a file that ends in .html, for the "
            "page alone. Without it, a folder named after the photo in limelight-out."
        ),
    ] = None,
    arrays: Annotated[
        bool, typer.Option("--arrays", help="Write the maps as arrays too: maps.npz in the folder.")
    ] = False,
    table: TablePath = None,
    lang: Annotated[Language, typer.Option(help="The language of the page.")] = "en",
    figure_options: FigureOptions,
    as_json: AsJson = False,
) -> None:
    """Ask a vision-language model about PHOTO, and show what it looked at for every word.

    The model answers, and a page shows the photo, the answer, and a map for each word: click a
    word to see its map; point at the photo, and the words that looked there light up. Beside each
    word stands how probable it was, and how much of that is the picture: a word that the model
    would say without looking is marked. The page is one file that asks for nothing else.

    [bold]Examples[/]

    limelight ask beach.jpg "What is the man holding?" --model hf:llava-hf/llava-1.5-7b-hf

    limelight ask beach.jpg --caption --model hf:Salesforce/blip-image-captioning-base

    limelight ask beach.jpg "What is it?" --model hf:FOLDER --word umbrella --instead kite

    limelight ask before.jpg after.jpg "What has changed?" --model hf:FOLDER --lang zh
    """
    named, question = (asked, None) if caption else _photos_and_question(asked)
    model_options.check()
    paths = _found(named)
    others = _readable(answer_options.other) if answer_options.other else None
    rows, style = plan_table(table, WORD_COLUMNS), figure_options.style
    files = _Files.plan(out, paths[0], arrays=arrays)
    run, started = RunRecord(paths, as_json), time.perf_counter()
    with run.console.status("loading the model") if run.console.is_terminal else nullcontext():
        model = model_options.load()
    bar = Bar(run.console, "asking", 1)
    for _ in bar.over([None]):
        options = answer_options.arguments | {"model": model, "other_photos": others}
        options["progress"] = bar.show_runs
        found = (
            pipeline.caption(paths, **options)
            if question is None
            else pipeline.ask(paths, question, **options)
        )
        with run.file(files.page):  # the answer is still reported
            files.write(found, lang, style)
    if rows is not None:
        rows.rows += found.rows()
        write_table(rows, run)
    report = answer_as_dict(found, paths) | {
        "weights": model.weights,
        "page": None if run.unwritten else str(files.page),
        "unwritten": run.unwritten,
        "seconds": round(time.perf_counter() - started, 3),
    }
    if as_json:
        document(report)
    else:
        print_answer(run.console, report, found)
    if any(word["status"] == "not-finite" for word in report["words"]):
        run.code = max(run.code, 1)
    run.leave()


def _readable(named: Sequence[str]) -> list[Path]:
    """Return the paths of photos; what is not there is told before the model is loaded.

    Raises:
        MissingPhotoError, PhotoError: One is not there, or cannot be read.
    """
    paths = found_photos(named)
    for path in paths:
        photo_size(path)
    return paths


def _found(named: Sequence[str]) -> list[Path]:
    """Return the paths of the photos in front of a question.

    Raises:
        MissingPhotoError: One is not there, or is a word of a question without quotes.
        PhotoError: One cannot be read.
    """
    try:
        return _readable(named)
    except MissingPhotoError as error:
        if all(Path(name).suffix or Path(name).exists() or name in SAMPLES for name in named):
            raise
        raise MissingPhotoError(
            f"{error} All but the last argument are photos: write the question in quotes. With "
            "--caption there is none."
        ) from error


class _Files(NamedTuple):
    """The files that the command writes: a page alone, or a folder with page, figure and arrays."""

    page: Path
    alone: bool
    arrays: bool

    @classmethod
    def plan(cls, out: Path | None, photo: Path, *, arrays: bool) -> _Files:
        """Return what is written; fail before any work is done.

        Raises:
            OptionError: --out is a file of another kind, or one page, and arrays are asked for.
            OutputError: Nothing can be written there.
        """
        if out is None:
            out = make_folder(Path("limelight-out")) / f"{photo.stem}-ask"
            return cls(out / _PAGE, alone=False, arrays=arrays)
        page = page_file(out, _PAGE)
        alone = page == out
        if alone and arrays:
            raise OptionError(
                f"--out is the page {str(out)!r}, and --arrays writes a file beside it. Pass a "
                "folder to --out."
            )
        return cls(page, alone=alone, arrays=arrays)

    def write(self, answer: ExplainedAnswer, language: Language, style: FigureStyle) -> None:
        """Write the files."""
        if self.alone:
            page = answer.html(language=language)
            write_whole(self.page, page.encode(errors="backslashreplace"))
        else:
            answer.save(self.page.parent, language=language, arrays=self.arrays, style=style)


#: What `ExplainedAnswer.save` calls the page.
_PAGE = "answer.html"


def _photos_and_question(asked: Sequence[str]) -> tuple[Sequence[str], str]:
    """Return the photos and the question behind them.

    Raises:
        OptionError: There is no photo, or no question.
    """
    *photos, last = asked
    if not last.strip():
        raise OptionError("The question is empty. Ask something, or pass --caption.")
    if Path(last).exists() or (last in SAMPLES and not photos):
        raise OptionError(
            f"The last argument is the photo {last!r}; the question was expected there, in quotes: "
            f'limelight ask {last} "What is in the picture?". With --caption the model writes a '
            "caption, and there is no question."
        )
    if not photos:
        raise OptionError(
            f"There is a question, {last!r}, and no photo. Name the photo before the question: "
            "limelight ask PHOTO QUESTION."
        )
    return photos, last
