"""`limelight layers`, `models` and `methods`: what there is to choose from."""

from __future__ import annotations

import fnmatch
import json
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from limelight.cli import options
from limelight.cut import trace
from limelight.errors import LayerError, unknown
from limelight.layers import Candidate, candidates, choose
from limelight.methods import METHODS
from limelight.models import DEFAULT, model_names


def layers(
    model: options.Model = DEFAULT,
    weights: options.Weights = "none",
    classes: options.Classes = None,
    size: options.Size = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also the layers that speak against themselves.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Show the layers a network can be cut at, best first, and which is chosen and why.

    One pass over random noise is recorded, with random weights unless --weights says otherwise:
    which layers can be cut at does not depend on them.
    """
    network = options.load(model, weights, classes, size, device="cpu")
    height, width = network.preprocess.size or (320, 320)
    noise = torch.randn(1, len(network.preprocess.mean), height, width)
    calls = trace(network.model, noise)
    ranked = candidates(calls)
    if as_json:
        typer.echo(json.dumps([_as_dict(rank, one) for rank, one in enumerate(ranked)], indent=2))
        return
    good = [one for one in ranked if not one.objection]
    shown = ranked if everything else good[:12] or ranked[:12]
    table = Table(box=None, padding=(0, 1))
    headings = ("layer", "output", "grid", "layout", *(["remark"] if everything else []))
    for heading in headings:
        # A path must be whole to be copied; a terminal too narrow for it wraps the others.
        table.add_column(heading, overflow="fold", no_wrap=heading in ("layer", "grid"))
    for rank, one in enumerate(shown):
        layout = one.call.layout
        assert layout is not None  # every candidate has one
        table.add_row(
            f"[bold green]{escape(one.path)}[/]" if rank == 0 else escape(one.path),
            escape(str(list(one.call.shape))),
            " x ".join(map(str, layout.grid)),
            str(layout),
            *([one.objection] if everything else []),
        )
    console = Console()
    console.print(f"[bold]{escape(network.name)}[/] for an input of {height} x {width}")
    console.print(table)
    try:
        choice = choose(calls, (height, width))
        console.print(f"Chosen: [bold green]{escape(str(choice.layer))}[/], {choice.reason}.")
    except LayerError as error:
        console.print(f"[yellow]{escape(str(error))}[/]")
    left = len(ranked) - len(shown)
    if left:
        console.print(f"{left} more, earlier or with something against them: --all")


def _as_dict(rank: int, one: Candidate) -> dict[str, object]:
    layout = one.call.layout
    assert layout is not None
    return {
        "layer": one.path,
        "chosen": rank == 0 and one.possible,
        "shape": list(one.call.shape),
        "layout": layout.kind,
        "prefix": layout.prefix,
        "grid": list(layout.grid),
        "gradient_cells": one.call.cells,
        "objection": one.objection,
    }


def models(
    pattern: Annotated[
        str | None, typer.Argument(help="Part of a name, or a pattern such as 'vit_*'.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """List the networks that --model knows by name."""
    names = model_names()
    if pattern:
        glob = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
        names = {source: fnmatch.filter(known, glob) for source, known in names.items()}
        if not any(names.values()):
            known = [name for group in model_names().values() for name in group]
            raise unknown("model", pattern, known, "`limelight models` lists them.")
    if as_json:
        typer.echo(json.dumps(names, indent=2))
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


def methods(as_json: options.AsJson = False) -> None:
    """List the methods: what each computes, what it needs, and when to use it."""
    if as_json:
        rows = [
            {
                "name": row.name,
                "formula": row.formula,
                "family": row.family,
                "needs": sorted(row.needs),
                "options": row.known_options,
                "paper": row.paper,
                "use": row.use,
            }
            for row in METHODS.values()
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(no_wrap=True)
    family = ""
    for row in METHODS.values():
        if row.family != family:
            family = row.family
            table.add_row(f"[bold]{family}[/]", "")
        told = [row.formula, row.paper]
        if row.known_options:
            own = ", ".join(f"{name}={value}" for name, value in row.known_options.items())
            told.append(f"options: {own}")
        text = f"{escape(row.use)}\n[dim]{escape(chr(10).join(told))}[/]"
        table.add_row(f"  [bold cyan]{row.name}[/]", text)
    console = Console()
    console.print(table)
    console.print("g = dy_c/dA, X the image, H_k channel k resized to it and scaled to [0, 1].")
