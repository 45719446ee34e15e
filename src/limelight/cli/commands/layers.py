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

from limelight.cli.network_options import (
    ClassFile,
    InputSize,
    ModelName,
    NetworkOptions,
    weights_option,
)
from limelight.cli.option_groups import name_option, out_option
from limelight.cli.output import Console, document
from limelight.cli.output_options import AsJson, Colormap, PictureFiles, whole_option
from limelight.cli.photo_options import load_input, photo_paths
from limelight.cli.target_options import read_class
from limelight.comparison import compare as draw_maps
from limelight.errors import LayerError
from limelight.inputs import ModelInputs
from limelight.layers import Candidate, ModuleCall, candidates, choose_layer, stages
from limelight.models.network import DEFAULT, Network
from limelight.photos.crops import CroppedPhoto
from limelight.runtime.costs import costs
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
    method: Annotated[str, typer.Option(help="The method to draw with.")] = "gradcam"
    out: Annotated[Path, out_option("Where the figure of --photo goes.")] = Path(
        "limelight-out/stages.png"
    )
    colormap: Colormap = "inferno"
    whole: Annotated[bool | None, whole_option("what it saw")] = None

    def file(self) -> Path:
        """Return the file of the figure; fail before any work is done."""
        return PictureFiles.plan(self.out, single=True).next("stages")

    def draw(
        self,
        network: Network,
        images: Tensor,
        crop: CroppedPhoto,
        calls: Sequence[ModuleCall],
        file: Path,
    ) -> None:
        """Draw the same class at every stage of a network on one sheet."""
        sheet = draw_maps(
            network.model,
            images,
            methods=[self.method],
            targets=[read_class(self.target) if self.target else None],
            layers=stages(calls),
            classes=network.classes,
        )
        sheet.drawn_on([crop]).save(file, whole=bool(self.whole), colormap=self.colormap)


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
    size: InputSize = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also list rejected layers, with the reason.")
    ] = False,
    stage_options: _StageOptions,
    as_json: AsJson = False,
) -> None:
    """Show the layers a network can be cut at, best first, and which is chosen and why.

    One pass is recorded, over random noise or over --photo. Cost is the share of the network's
    multiplications done when the layer is; gradient, the share of its cells that the score reads.

    With --photo the same class is drawn at every stage, early to late: early layers see edges, late
    ones meaning.
    """
    weights = weights or ("none" if stage_options.photo is None else "default")
    options = NetworkOptions(model=model, weights=weights, classes=classes, size=size, device="cpu")
    network = options.load()
    if stage_options.photo is None:
        images, drawn = _noise(network), None
        calls = record(network.model, images)
    else:
        images, crop = load_input(photo_paths([stage_options.photo])[0], network)
        drawn = stage_options.file()
        calls = record(network.model, images)
        stage_options.draw(network, images, crop, calls, drawn)
    cost = costs(network.model, ModelInputs.of(images))
    ranking = [(candidate, cost[candidate.call.number]) for candidate in candidates(calls)]
    if as_json:
        document([_candidate_as_dict(rank, *ranked) for rank, ranked in enumerate(ranking)])
        return
    console = Console()
    grid = " x ".join(map(str, images.shape[2:]))
    console.print(f"[bold]{escape(network.name)}[/] for an input of {grid}")
    good = [(candidate, share) for candidate, share in ranking if not candidate.objection]
    shown = ranking if everything else good[:12] or ranking[:12]
    console.print(_candidates_table(shown, objections=everything))
    console.print(_choice_sentence(calls, tuple(images.shape[2:])))
    if more := len(ranking) - len(shown):
        console.print(f"{more} more, earlier or with something against them: --all")
    if drawn is not None:
        console.print(f"The same class at every stage is in {escape(str(drawn))}.")


def _noise(network: Network) -> Tensor:
    """Return what to record a pass over when there is no photo."""
    height, width = network.preprocess.size or (320, 320)
    return torch.randn(
        1, len(network.preprocess.mean), height, width, dtype=torch.float32, device="cpu"
    )


def _candidate_as_dict(rank: int, candidate: Candidate, cost: float) -> dict[str, object]:
    layout = candidate.call.layout
    assert layout is not None  # every candidate has one
    return {
        "layer": candidate.path,
        "chosen": rank == 0 and candidate.possible,
        "shape": list(candidate.call.shape),
        "layout": layout.kind,
        "prefix": layout.prefix,
        "grid": list(layout.grid),
        "span": list(layout.span),
        "cost": round(cost, 4),
        "gradient_cells": candidate.call.cells,
        "objection": candidate.objection,
    }


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
            escape(str(layout)),
            f"{share:.0%}",
            f"{candidate.call.cells:.0%}",
            *([escape(candidate.objection)] if objections else []),
        )
    return table


def _choice_sentence(calls: Sequence[ModuleCall], image: tuple[int, ...]) -> str:
    """Return which layer is chosen and why, or why none is."""
    try:
        choice = choose_layer(calls, image)
    except LayerError as error:
        return f"[yellow]{escape(str(error))}[/]"
    return f"Chosen: [bold green]{escape(str(choice.layer))}[/], {escape(choice.reason)}."
