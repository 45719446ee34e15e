"""`limelight layers`, `models` and `methods`: what there is to choose from."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from PIL.Image import Image
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from limelight.cli import options
from limelight.cli.output import Console, document
from limelight.comparison import compare
from limelight.errors import LayerError, unknown
from limelight.inputs import ModelInputs
from limelight.layers import Candidate, ModuleCall, candidates, choose_layer, stages
from limelight.methods import METHODS
from limelight.models.network import DEFAULT, Network
from limelight.models.sources import model_names
from limelight.runtime.costs import costs
from limelight.runtime.record import record


def layers(
    model: options.Model = DEFAULT,
    weights: Annotated[
        str | None,
        options.a_name(
            "--weights",
            "-w",
            metavar="default|none|FILE",
            help="As for explain; random ones when not given, the library's own with --photo.",
        ),
    ] = None,
    classes: options.Classes = None,
    size: options.Size = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also the layers that speak against themselves.")
    ] = False,
    photo: Annotated[
        str | None,
        options.a_name("--photo", help="Also draw the same class of this photo at every stage."),
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="The class to draw, by index or name.")
    ] = None,
    method: Annotated[str, typer.Option("--method", help="The method to draw with.")] = "gradcam",
    out: Annotated[
        Path,
        options.a_path("--out", "-o", help="Where the figure of --photo goes."),
    ] = Path("limelight-out/stages.png"),
    colormap: options.Colormap = "inferno",
    as_json: options.AsJson = False,
) -> None:
    """Show the layers a network can be cut at, best first, and which is chosen and why.

    One pass is recorded, over random noise or over --photo. Cost is the share of the network's
    multiplications done when the layer is; gradient, the share of its cells that the score reads.

    With --photo the same class is drawn at every stage, early to late: early layers see edges, late
    ones meaning.
    """
    weights = weights or ("none" if photo is None else "default")
    network = options.load(model, weights, classes, size, device="cpu")
    seen = None if photo is None else options.as_seen(options.photos([photo])[0], network)
    if seen is not None:
        _, folder = options.place(out, None, one=True)
        out = out if folder is None else folder / "stages.png"
    images = _noise(network) if seen is None else seen[0]
    calls = record(network.model, images)
    ranked = candidates(calls)
    cost = costs(network.model, ModelInputs.of(images))
    shares = [cost[one.call.number] for one in ranked]
    if seen is not None:
        _draw_stages(network, *seen, calls, target, method, out, colormap)
    if as_json:
        rows = [_as_dict(r, one, c) for r, (one, c) in enumerate(zip(ranked, shares, strict=True))]
        document(rows)
        return
    good = [one for one in ranked if not one.objection]
    shown = ranked if everything else good[:12] or ranked[:12]
    table = Table(box=None, padding=(0, 1))
    table.add_column("layer", overflow="fold", no_wrap=True)  # to be copied it must be whole
    table.add_column("output", overflow="fold")
    table.add_column("grid", no_wrap=True)
    for heading in ("layout", "cost", "gradient", *(["remark"] if everything else [])):
        table.add_column(heading, overflow="fold")
    for rank, (one, share) in enumerate(zip(shown, shares, strict=False)):
        layout = one.call.layout
        assert layout is not None  # every candidate has one
        table.add_row(
            f"[bold green]{escape(one.path)}[/]" if rank == 0 else escape(one.path),
            escape(str(list(one.call.shape))),
            " x ".join(map(str, layout.grid)),
            escape(str(layout)),
            f"{share:.0%}",
            f"{one.call.cells:.0%}",
            *([escape(one.objection)] if everything else []),
        )
    console = Console()
    by = " x ".join(map(str, images.shape[2:]))
    console.print(f"[bold]{escape(network.name)}[/] for an input of {by}")
    console.print(table)
    try:
        choice = choose_layer(calls, tuple(images.shape[2:]))
        layer, reason = escape(str(choice.layer)), escape(choice.reason)
        console.print(f"Chosen: [bold green]{layer}[/], {reason}.")
    except LayerError as error:
        console.print(f"[yellow]{escape(str(error))}[/]")
    left = len(ranked) - len(shown)
    if left:
        console.print(f"{left} more, earlier or with something against them: --all")
    if seen is not None:
        console.print(f"The same class at every stage is in {escape(str(out))}.")


def _noise(network: Network) -> Tensor:
    """Return what to record a pass over when there is no photo."""
    height, width = network.preprocess.size or (320, 320)
    return torch.randn(
        1, len(network.preprocess.mean), height, width, dtype=torch.float32, device="cpu"
    )


def _draw_stages(
    network: Network,
    images: Tensor,
    photo: Image,
    calls: Sequence[ModuleCall],
    target: str | None,
    method: str,
    out: Path,
    colormap: str,
) -> None:
    """Draw the same class at every stage of a network on one sheet."""
    (wanted,) = options.targets([target] if target else None, None, None, False)
    found = compare(
        network.model,
        images,
        methods=[method],
        targets=[wanted],
        layers=stages(calls),
        classes=network.classes,
    )
    found.save(out, photos=[photo], colormap=colormap)


def _as_dict(rank: int, one: Candidate, cost: float) -> dict[str, object]:
    layout = one.call.layout
    assert layout is not None
    return {
        "layer": one.path,
        "chosen": rank == 0 and one.possible,
        "shape": list(one.call.shape),
        "layout": layout.kind,
        "prefix": layout.prefix,
        "grid": list(layout.grid),
        "span": list(layout.span),
        "cost": round(cost, 4),
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


def methods(as_json: options.AsJson = False) -> None:
    """List the methods: what each computes, what it needs, and when to use it."""
    if as_json:
        rows = [options.described(row) for row in METHODS.values()]
        document(rows)
        return
    console = Console()
    console.print(options.listing(METHODS.values()))
    console.print("g = dy_c/dA, X the image, H_k channel k resized to it and scaled to [0, 1].")
