"""`limelight walkthrough`: a page that shows how one map came to be."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from limelight.cli.heatmap_report import explanation_as_dict
from limelight.cli.map_options import DEFAULT_METHOD, Chunk, OneLayer
from limelight.cli.messages import layer_text, method_text, status_text, warn_of_random_weights
from limelight.cli.network_options import LogitsPart, NetworkOptions
from limelight.cli.option_groups import out_option
from limelight.cli.output import Console, document
from limelight.cli.output_options import AsJson, page_file
from limelight.cli.photo_options import OnePhoto, one_photo_path
from limelight.cli.progress import Bar
from limelight.cli.target_options import OneTargetOptions, PlaceOptions
from limelight.files import file_name
from limelight.methods import chosen_methods
from limelight.models.network import Network
from limelight.photos.pictures import photo_size
from limelight.steps.walkthrough import Walkthrough, walkable
from limelight.steps.walkthrough import walkthrough as walk_through
from limelight.translations.languages import Language


def walkthrough(
    *,
    photo: OnePhoto = "chelsea",
    network_options: NetworkOptions,
    target_options: OneTargetOptions,
    place_options: PlaceOptions,
    layer: OneLayer = None,
    output: LogitsPart = None,
    method: Annotated[
        str | None,
        typer.Option(
            help=f"The method to walk through, whose map sums over channels. {DEFAULT_METHOD}"
        ),
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(
            help="Methods to show side by side with it, with spaces or commas between them; "
            "without it, all that weigh channels or cells by gradients."
        ),
    ] = None,
    chunk: Chunk = None,
    out: Annotated[Path, out_option("A file that ends in .html, or a folder.")] = Path(
        "limelight-out"
    ),
    lang: Annotated[Language, typer.Option(help="The language of the page.")] = "en",
    as_json: AsJson = False,
) -> None:
    """Show how the heatmap of PHOTO came to be: a page with every step, and its true numbers.

    The photo as the network sees it, the layers and where they are cut, the score, activations,
    gradients and weights of the channels, the sum as it grows, ReLU, resize, overlay; and what
    other formulas make of the same evidence. The page is one file that asks for nothing else.

    [bold]Examples[/]

    limelight walkthrough cat.jpg --out page.html

    limelight walkthrough cat.jpg --model swin_t --target tabby --lang zh

    limelight walkthrough cat.jpg --method layercam --layer blocks.4 --beside "gradcam eigencam"
    """
    class_meant = target_options.only_target()
    rows = chosen_methods(beside) if beside else None
    row = None if method is None else walkable(method)
    path = one_photo_path(photo)
    photo_size(path)  # a file that is not there is told before the network is loaded
    file = page_file(out, file_name([path.stem, "walkthrough"], "html"))
    started = time.perf_counter()
    network = network_options.load()
    (placed,) = place_options.place([class_meant], network.preprocess, [path])
    picture = network.load_photo(path)
    images, view = network.images(picture), network.preprocess.view(picture)
    del picture  # it may be large
    console = Console(stderr=as_json)
    bar = Bar(console, "walking through", 1)
    for _ in bar.over([None]):
        page = walk_through(
            network.model,
            images,
            target=placed,
            method=row,
            beside=rows,
            layer=layer,
            classes=network.classes,
            output=output,
            photo=view,
            preprocess=network.preprocess,
            name=network.name,
            language=lang,
            chunk=chunk,
            progress=bar.show_runs,
        )
        page.save(file)
    report = _page_as_dict(page, path, network, file)
    report["seconds"] = round(time.perf_counter() - started, 3)
    if as_json:
        document(report)
    else:
        _print_page(console, report, method)
    raise typer.Exit(1 if report["status"] == "not-finite" else 0)


def _page_as_dict(page: Walkthrough, photo: Path, network: Network, file: Path) -> dict[str, Any]:
    said = explanation_as_dict(page.explanation)
    names = ("target", "score", "method", "layer", "reason", "status", "message")
    return {
        "photo": str(photo),
        "model": network.name,
        "weights": network.weights,
        **{name: said[name] for name in names},
        "beside": [str(other.method) for other in page.beside],
        "skipped": {skipped.method: skipped.reason for skipped in page.skipped},
        "page": str(file),
        "bytes": file.stat().st_size,
    }


def _print_page(console: Console, page: dict[str, Any], method: str | None) -> None:
    """Print what is on the page, and where that is."""
    warn_of_random_weights(console, page["weights"])
    facts = Table(box=None, padding=(0, 1), show_header=False)
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("target", f"{escape(page['target'])}, score {page['score']:.4g}")
    facts.add_row("status", status_text(page))
    facts.add_row("layer", layer_text(page))
    facts.add_row("method", method_text(page["method"], method))
    facts.add_row("beside", escape(", ".join(page["beside"])) or "none")
    for name, reason in page["skipped"].items():
        facts.add_row("skipped", escape(f"{name}: {reason}"))
    facts.add_row("page", f"{escape(page['page'])} ({page['bytes'] / 1e6:.2f} MB)")
    facts.add_row("time", f"{page['seconds']:.2f} s")
    network = escape(f"{page['model']} ({page['weights']})")
    console.print(f"[bold]{escape(page['photo'])}[/]  {network}")
    console.print(facts)
