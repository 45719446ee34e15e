"""`limelight models`: the networks that --model knows by name."""

from __future__ import annotations

import fnmatch
from typing import Annotated

import typer
from rich.markup import escape

from limelight.cli.output import Console, document
from limelight.cli.output_options import AsJson
from limelight.errors import unknown
from limelight.models.sources import model_names


def models(
    *,
    pattern: Annotated[
        str | None, typer.Argument(help="Part of a name, or a pattern such as 'vit_*'.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the networks that --model knows by name."""
    names = model_names()
    if pattern:
        glob = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
        matching = {source: fnmatch.filter(known, glob) for source, known in names.items()}
        if not any(matching.values()):
            known_names = [name for group in names.values() for name in group]
            raise unknown("model", pattern, known_names, "`limelight models` lists them.")
        names = matching
    if as_json:
        document(names)
        return
    console = Console()
    for source, known in names.items():
        if not known:
            continue
        console.print(f"[bold]{source}[/] ({len(known)})")
        if source == "timm" and not pattern:
            console.print("  too many to list: limelight models PATTERN, such as 'convnext*'")
        else:
            console.print("  " + escape(", ".join(known)), highlight=False)
    if not pattern:
        console.print("[bold]your own[/]\n  package.module:factory, a function that returns it")
