"""`limelight layers`: where a network can be cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from limelight.application import method_for
from limelight.cli.map_options import DEFAULT_METHOD
from limelight.cli.network_options import (
    ClassFile,
    InputSize,
    LogitsPart,
    ModelName,
    NetworkOptions,
    weights_option,
)
from limelight.cli.option_groups import name_option, out_option
from limelight.cli.output import Console, document
from limelight.cli.output_options import (
    AsJson,
    Colormap,
    FigureOptions,
    PictureFiles,
    whole_option,
)
from limelight.cli.photo_options import load_input, photo_paths
from limelight.cli.target_options import read_class
from limelight.comparison import compare as draw_maps
from limelight.errors import LayerError
from limelight.figure_style import FigureStyle
from limelight.finish import along_axes
from limelight.inputs import ModelInputs
from limelight.layers import INPUT, Candidate, Layout, ModuleCall, candidates, choose_layer, stages
from limelight.models.defaults import DEFAULT
from limelight.models.network import Network
from limelight.photos.crops import CroppedPhoto
from limelight.pipeline import named_method
from limelight.runtime.cells import where_cells_look
from limelight.runtime.costs import costs
from limelight.runtime.cut import cut
from limelight.runtime.record import record


@dataclass(frozen=True, kw_only=True)
class _StageOptions:
    """The figure of one class at every stage."""

    photo: Annotated[
        str | None,
        name_option(help="Also draw the same class of this photo at every stage."),
    ] = None
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="The class to draw, by index or name.")
    ] = None
    method: Annotated[
        str | None, typer.Option(help=f"The method to draw with. {DEFAULT_METHOD}")
    ] = None
    out: Annotated[Path, out_option("Where the figure of --photo goes.")] = Path(
        "limelight-out/stages.png"
    )
    colormap: Colormap = None
    whole: Annotated[bool | None, whole_option("what it saw")] = None

    def file(self) -> Path:
        """Return the file of the figure; fail before any work is done."""
        return PictureFiles.plan(self.out, single=True).next("stages")

    def draw(
        self,
        network: Network,
        images: Tensor,
        crops: Sequence[CroppedPhoto] | None,
        calls: Sequence[ModuleCall],
        file: Path,
        style: FigureStyle,
        output: str | None,
    ) -> None:
        """Draw the same class at every stage of a network on one sheet."""
        target = read_class(self.target) if self.target else None
        method = named_method(self.method)
        if method is None:  # the default depends on the score, which takes a run of its own
            ahead = cut(network.model, images, INPUT, classes=network.classes, output=output)
            scores = ahead.score(target)
            method = method_for(scores, None)
        sheet = draw_maps(
            network.model,
            images,
            methods=[method],
            targets=[target],
            layers=stages(calls),
            classes=network.classes,
            output=output,
        )
        sheet.drawn_on(crops).save(
            file, whole=bool(self.whole), colormap=self.colormap, style=style
        )

    def draw_cells(
        self,
        network: Network,
        images: Tensor,
        crops: Sequence[CroppedPhoto] | None,
        file: Path,
        style: FigureStyle,
        output: str | None,
    ) -> Path | None:
        """Draw where the cells of the chosen layer look.

        None if no layer is chosen, or the network takes no pictures.
        """
        from limelight.render.cells import save_cells  # with it comes matplotlib

        if crops is None:
            return None
        try:
            cells = where_cells_look(network.model, images, output=output)
        except LayerError:
            return None
        (crop,) = crops
        drawn_on = crop if self.whole else CroppedPhoto.uncropped(crop.view())
        return save_cells(file.with_stem(f"{file.stem}-cells"), cells, drawn_on, style=style)


def layers(
    *,
    model: ModelName = DEFAULT,
    weights: Annotated[
        str | None,
        weights_option(
            "As for explain; random ones when not given, the library's own with --photo."
        ),
    ] = None,
    classes: ClassFile = None,
    output: LogitsPart = None,
    size: InputSize = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also list rejected layers, with the reason.")
    ] = False,
    stage_options: _StageOptions,
    figure_options: FigureOptions,
    as_json: AsJson = False,
) -> None:
    """Show the layers a network can be cut at, best first, and which is chosen and why.

    One pass is recorded, over random noise or over --photo. Cost is the share of the network's
    multiplications done when the layer is; gradient, the share of its cells that the score reads.
    A layout is measured where it does not follow from the operations before the layer.

    With --photo the same class is drawn at every stage, early to late: early layers see edges, late
    ones meaning. A second picture, named `-cells`, shows where the cells of the chosen layer look.
    """
    style = figure_options.style
    weights = weights or ("none" if stage_options.photo is None else "default")
    options = NetworkOptions(model=model, weights=weights, classes=classes, size=size, device="cpu")
    network = options.load()
    if stage_options.photo is None:
        images, drawn, cells = _noise(network), None, None
        calls = record(network.model, images, output=output)
    else:
        images, crops = load_input(photo_paths([stage_options.photo])[0], network)
        drawn = stage_options.file()
        calls = record(network.model, images, output=output)
        stage_options.draw(network, images, crops, calls, drawn, style, output)
        cells = stage_options.draw_cells(network, images, crops, drawn, style, output)
    cost = costs(network.model, ModelInputs.of(images))
    ranking = [(candidate, cost[candidate.call.number]) for candidate in candidates(calls)]
    rejected = [c for c in reversed(calls) if everything and c.path and c.learned and c.reason]
    if as_json:
        rows = [_candidate_as_dict(rank, *ranked) for rank, ranked in enumerate(ranking)]
        rows += [_rejected_as_dict(call, cost[call.number]) for call in rejected]
        document(rows)
        return
    console = Console()
    grid = " x ".join(map(str, images.shape[2:]))
    console.print(f"[bold]{escape(network.name)}[/] for an input of {grid}")
    good = [(candidate, share) for candidate, share in ranking if not candidate.objection]
    shown = ranking if everything else good[:12] or ranking[:12]
    console.print(_candidates_table(shown, objections=everything))
    if rejected:
        console.print(_rejected_table(rejected))
    console.print(_choice_sentence(calls, tuple(images.shape[2:])))
    if more := len(ranking) - len(shown):
        console.print(
            f"{more} more layers come earlier or have a drawback. --all lists them, with reasons."
        )
    if drawn is not None:
        console.print(f"The same class at every stage is in {escape(str(drawn))}.")
    if cells is not None:
        console.print(f"Where the cells of the chosen layer look is in {escape(str(cells))}.")


def _noise(network: Network) -> Tensor:
    """Return what to record a pass over when there is no photo."""
    preprocess = network.preprocess
    size = preprocess.size or ((64, 128, 128) if preprocess.takes_volumes else (320, 320))
    return torch.randn(1, preprocess.channels, *size, dtype=torch.float32, device="cpu")


def _candidate_as_dict(rank: int, candidate: Candidate, cost: float) -> dict[str, object]:
    call, layout = candidate.call, candidate.call.layout
    assert layout is not None  # every candidate has one
    return {
        "layer": candidate.path,
        "chosen": rank == 0 and candidate.possible,
        "shape": list(call.shape),
        "layout": layout.kind,
        "prefix": layout.prefix,
        "grid": list(layout.grid),
        "span": [
            {"start": along.start, "end": along.end, "seen": [along.seen_from, along.seen_to]}
            for along in along_axes(layout.span, len(layout.grid))
        ],
        "order": "its own" if layout.order else "rows",
        "windows": layout.folds,
        "dropped": call.dropped,
        "without_place": call.unplaced,
        "settled": _settled(call),
        "cost": round(cost, 4),
        "gradient_cells": call.cells,
        "objection": candidate.objection,
    }


def _rejected_as_dict(call: ModuleCall, cost: float) -> dict[str, object]:
    return {
        "layer": call.path,
        "chosen": False,
        "shape": list(call.shape),
        "layout": None,
        "cost": round(cost, 4),
        "objection": call.reason,
    }


def _settled(call: ModuleCall) -> str:
    """Return how the layout of a call is known."""
    if not call.settled:
        return "shape"
    return "measured" if call.measured else "operations"


def _candidates_table(ranking: Sequence[tuple[Candidate, float]], *, objections: bool) -> Table:
    """Return a table of layers, best first, with their shares of the network's cost."""
    table = Table(box=None, padding=(0, 1))
    table.add_column("layer", overflow="fold", no_wrap=True)  # to be copied it must be whole
    table.add_column("output", overflow="fold")
    table.add_column("grid", no_wrap=True)
    for heading in ("layout", "cost", "gradient", *(["remark"] if objections else [])):
        table.add_column(heading, overflow="fold")
    for rank, (candidate, share) in enumerate(ranking):
        layout, path = candidate.call.layout, escape(candidate.path)
        assert layout is not None  # every candidate has one
        table.add_row(
            f"[bold green]{path}[/]" if rank == 0 else path,
            escape(str(list(candidate.call.shape))),
            " x ".join(map(str, layout.grid)),
            escape(_layout_in_words(candidate.call, layout)),
            f"{share:.0%}",
            f"{candidate.call.cells:.0%}",
            *([escape(candidate.objection)] if objections else []),
        )
    return table


def _layout_in_words(call: ModuleCall, layout: Layout) -> str:
    """Return the layout, what it leaves out, and, if it is not its span, the part that is seen."""
    words = [str(layout)]
    if rest := call.unplaced - layout.prefix:
        words.append(f"{rest} more without a place" if layout.prefix else f"{rest} without a place")
    seen = [along[2:] for along in layout.span]
    if any(each not in ((0, 1), along[:2]) for each, along in zip(seen, layout.span, strict=True)):
        parts = (f"{start:.0%} to {end:.0%}" for start, end in seen)
        words.append(f"sees {' x '.join(parts)}")
    if call.measured:
        words.append("measured")
    return ", ".join(words)


def _rejected_table(rejected: Sequence[ModuleCall]) -> Table:
    """Return a table of the layers whose output is no grid, and why, as it was measured."""
    table = Table(box=None, padding=(0, 1))
    table.add_column("layer", overflow="fold", no_wrap=True)
    table.add_column("output", overflow="fold")
    table.add_column("why it is no grid", overflow="fold")
    for call in rejected:
        table.add_row(escape(call.path), escape(str(list(call.shape))), escape(call.reason))
    return table


def _choice_sentence(calls: Sequence[ModuleCall], image: tuple[int, ...]) -> str:
    """Return which layer is chosen and why, or why none is."""
    try:
        choice = choose_layer(calls, image)
    except LayerError as error:
        return f"[yellow]{escape(str(error))}[/]"
    return f"Chosen: [bold green]{escape(str(choice.layer))}[/], {escape(choice.reason)}."
