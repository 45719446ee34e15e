"""`limelight skill`: the skill file for coding assistants."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from limelight.cli.output import writing_to
from limelight.skill import SKILL_PATH, skill_text


def skill(
    *,
    path: Annotated[
        bool, typer.Option("--path", help="Print where the file is, to copy or link it.")
    ] = False,
) -> None:
    """Print the skill file: for coding assistants, which call answers which question.

    [bold]Examples[/]

    limelight skill

    limelight skill --path
    """
    with writing_to("stdout", "skill file"):
        sys.stdout.write(f"{SKILL_PATH}\n" if path else skill_text())
        sys.stdout.flush()
