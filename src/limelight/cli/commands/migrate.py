"""`limelight migrate`: a script for grad-cam, torchcam or captum, rewritten for limelight."""

from __future__ import annotations

import difflib
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from limelight.cli.option_groups import out_option
from limelight.cli.output import Console, document, writing_to
from limelight.cli.output_options import AsJson
from limelight.compat.migration import migrate as rewrite
from limelight.errors import OptionError, OutputError, ScriptError
from limelight.files import read_text, write_whole


def migrate(
    *,
    script: Annotated[
        Path, typer.Argument(metavar="SCRIPT", help="A Python file; it stays as it is.")
    ],
    out: Annotated[
        Path | None, out_option("A file for the new script; printed if left out.")
    ] = None,
    diff: Annotated[
        bool, typer.Option("--diff", help="Print what changes, as a unified diff.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print SCRIPT, which calls grad-cam, torchcam or captum, rewritten for limelight.

    What has no counterpart stays as it was, with a comment; grad-cam is then imported from
    limelight.compat. What differs, and what stays, is told on stderr, by line of SCRIPT.
    """
    source = _read(script)
    if out is not None and out.exists() and out.samefile(script):
        raise OutputError(f"Cannot write {str(out)!r}: it is the script itself. Pass another path.")
    rewriting = rewrite(source)
    text = _difference(script, source, rewriting.script) if diff else rewriting.script
    if out is not None:
        write_whole(out, text.encode())
    if as_json:
        document({"script": text, "remarks": [asdict(remark) for remark in rewriting.remarks]})
        return
    if out is None:
        with writing_to("stdout", "script"):
            sys.stdout.write(text)
            sys.stdout.flush()
    console = Console(stderr=True)
    for remark in rewriting.remarks:
        console.print(escape(str(remark)), soft_wrap=True, highlight=False)


def _read(script: Path) -> str:
    """Return the text of a script.

    Raises:
        OptionError: There is no such file, or it cannot be read.
        ScriptError: It is a notebook, or no text.
    """
    if script.suffix == ".ipynb":
        raise ScriptError(
            f"{str(script)!r} is a notebook, but a Python script was expected. Make one with "
            f"`jupyter nbconvert --to script {script.name}`, and migrate that."
        )
    try:
        return read_text(script)
    except UnicodeDecodeError as error:
        raise ScriptError(
            f"{str(script)!r} is not text in UTF-8, but a Python script was expected."
        ) from error
    except OSError as error:
        why = error.strerror or error
        raise OptionError(
            f"The script {str(script)!r} cannot be read: {why}. Pass a Python file."
        ) from error


def _difference(path: Path, old: str, new: str) -> str:
    """Return a unified diff of two versions of a script."""
    lines = difflib.unified_diff(
        old.splitlines(keepends=True),
        new.splitlines(keepends=True),
        f"a/{path.name}",
        f"b/{path.name}",
    )
    return "".join(lines)
