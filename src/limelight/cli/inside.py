"""`limelight walkthrough` and `trace`: how one map came to be."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from limelight.cli import options
from limelight.cli.output import Console, document
from limelight.cli.progress import Bar, called, complain, status, tell_weights
from limelight.cli.words import worded
from limelight.errors import OptionError, OutputError
from limelight.explanation import FORMATS
from limelight.files import file_name, known_suffix, make_folder
from limelight.models.network import DEFAULT
from limelight.photos.decode import load_photo
from limelight.steps.data import Language
from limelight.steps.walkthrough import walkable
from limelight.steps.walkthrough import walkthrough as walkthrough_
from limelight.tracing import trace as trace_

Photo = Annotated[
    str,
    typer.Argument(
        metavar="PHOTO", help="A photo, or a sample's name; without one, the sample 'chelsea'."
    ),
]


def walkthrough(
    photo: Photo = "chelsea",
    model: options.Model = DEFAULT,
    weights: options.Weights = "default",
    target: options.OneTarget = None,
    against: options.Against = None,
    counterfactual: options.Counter = False,
    box: options.AtBox = None,
    pixel: options.AtPixel = None,
    layer: options.OneLayer = None,
    method: Annotated[
        str,
        typer.Option("--method", help="The method to walk through, whose map sums over channels."),
    ] = "gradcam",
    beside: Annotated[
        list[str] | None,
        typer.Option(
            "--beside",
            help="Methods to show side by side with it, with spaces between them; without it, all "
            "that weigh channels or cells by gradients.",
        ),
    ] = None,
    chunk: options.Chunk = None,
    out: Annotated[
        Path, options.a_path("--out", "-o", help="A file that ends in .html, or a folder.")
    ] = Path("limelight-out"),
    lang: Annotated[Language, typer.Option("--lang", help="The language of the page.")] = "en",
    classes: options.Classes = None,
    size: options.Size = None,
    mean: options.Mean = None,
    std: options.Std = None,
    device: options.Device = "auto",
    dtype: options.Precision = options.DType.float32,
    as_json: options.AsJson = False,
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
    named = [] if target is None else [target]
    (wanted,) = options.targets(named, None, against, counterfactual)
    rows = None if beside is None else options.methods(beside)
    row = walkable(method)
    path = _one(photo)
    picture = load_photo(path)
    file = _place(out, file_name([path.stem, "walkthrough"], "html"), ("html", "htm"))
    console = Console(stderr=as_json)
    started = time.perf_counter()
    network = options.load(model, weights, classes, size, mean, std, device, dtype)
    (wanted,) = options.placed([wanted], box, pixel, network.preprocess, [path])
    images, view = network.images(picture), network.preprocess.view(picture)
    del picture  # it may be large
    bar = Bar(console, "walking through", 1)
    for _ in bar.over([None]):
        found = walkthrough_(
            network.model,
            images,
            target=wanted,
            method=row,
            beside=rows,
            layer=layer,
            classes=network.classes,
            photo=view,
            preprocess=network.preprocess,
            name=network.name,
            language=lang,
            chunk=chunk,
            progress=bar.named,
        )
        found.save(file)
    one = found.explanation
    report: dict[str, Any] = {
        "photo": str(path),
        "model": network.name,
        "weights": network.weights,
        "target": one.label[0],
        "score": float(one.score[0]),
        "method": one.method,
        "layer": one.layer,
        "reason": one.reason,
        "status": one.status[0].name,
        "message": one.status[0].message,
        "beside": [str(other.method) for other in found.beside],
        "skipped": {skipped.method: skipped.reason for skipped in found.skipped},
        "page": str(file),
        "bytes": file.stat().st_size,
        "seconds": round(time.perf_counter() - started, 3),
    }
    if as_json:
        document(report)
    else:
        _report(console, report)
    raise typer.Exit(1 if one.status[0].name == "not-finite" else 0)


def _report(console: Console, report: dict[str, Any]) -> None:
    tell_weights(console, report["weights"])
    facts = Table(box=None, padding=(0, 1), show_header=False)
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("target", f"{escape(report['target'])}, score {report['score']:.4g}")
    facts.add_row("status", status(report))
    facts.add_row("layer", f"{escape(report['layer'])}: {escape(report['reason'])}")
    facts.add_row("method", escape(report["method"]))
    facts.add_row("beside", escape(", ".join(report["beside"])) or "none")
    for name, reason in report["skipped"].items():
        facts.add_row("skipped", escape(f"{name}: {reason}"))
    facts.add_row("page", f"{escape(report['page'])} ({report['bytes'] / 1e6:.2f} MB)")
    facts.add_row("time", f"{report['seconds']:.2f} s")
    network = escape(f"{report['model']} ({report['weights']})")
    console.print(f"[bold]{escape(report['photo'])}[/]  {network}")
    console.print(facts)


def trace(
    photo: Photo = "chelsea",
    model: options.Model = DEFAULT,
    weights: options.Weights = "default",
    layer: Annotated[
        list[str] | None,
        typer.Option(
            "--layer",
            "-l",
            help="A dotted path, of any layer; repeat it for several; chosen when not given.",
        ),
    ] = None,
    target: options.OneTarget = None,
    against: options.Against = None,
    counterfactual: options.Counter = False,
    box: options.AtBox = None,
    pixel: options.AtPixel = None,
    window: Annotated[
        int, typer.Option("--window", min=1, help="How many values along each axis are printed.")
    ] = 5,
    channel: Annotated[
        int | None,
        typer.Option(
            "--channel",
            min=0,
            help="The channel to print; without it, that which adds most, |alpha| mean |A|.",
        ),
    ] = None,
    save: Annotated[
        list[str] | None,
        typer.Option(
            "--save",
            metavar="|".join(FORMATS),
            help="Also write the arrays (npz), or a picture; repeat it for several.",
        ),
    ] = None,
    out: Annotated[
        Path, options.a_path("--out", "-o", help="The folder that --save writes to.")
    ] = (Path("limelight-out")),
    classes: options.Classes = None,
    size: options.Size = None,
    mean: options.Mean = None,
    std: options.Std = None,
    device: options.Device = "auto",
    dtype: options.Precision = options.DType.float32,
    as_json: options.AsJson = False,
) -> None:
    """Follow the gradient of a score back through the network: activations A, gradients dy/dA.

    One pass forward and one back. For each layer, and for the input, it prints shape and range of
    what the layer put out and of the gradient there, and a window of values of both.

    [bold]Examples[/]

    limelight trace cat.jpg --layer blocks.4 --layer bn2

    limelight trace cat.jpg --model resnet50 --layer layer4 --layer fc --target tabby

    limelight trace cat.jpg --layer conv_stem --save npz --save png --out traces/
    """
    named = [] if target is None else [target]
    (wanted,) = options.targets(named, None, against, counterfactual)
    path = _one(photo)
    picture = load_photo(path)
    if save:
        make_folder(out)
    files = [out / file_name([path.stem, "trace"], form) for form in dict.fromkeys(save or [])]
    for file in files:  # before any work is done
        known_suffix(file, FORMATS)
    network = options.load(model, weights, classes, size, mean, std, device, dtype)
    (wanted,) = options.placed([wanted], box, pixel, network.preprocess, [path])
    images = network.images(picture)
    del picture  # it may be large
    found = trace_(
        network.model,
        images,
        layer,
        target=wanted,
        classes=network.classes,
    )
    text = found.text(window=window, channel=channel)
    written, unwritten = list[str](), list[dict[str, str]]()
    for file in files:
        try:
            written.append(str(found.save(file)))
        except OutputError as error:  # what was found is still told
            unwritten.append({"file": str(file), "error": worded(error)})
    code = OutputError.exit_code if unwritten else 0
    if not as_json:
        console = Console()
        console.print(f"[bold]{escape(str(path))}[/]  {called(network)}")
        console.print(text, markup=False, highlight=False, soft_wrap=True)
        for name in written:
            console.print(f"Written: {escape(name)}")
        complain(unwritten)
        raise typer.Exit(code)
    report = {
        "photo": str(path),
        "model": network.name,
        "weights": network.weights,
        "target": found.label[0],
        "score": float(found.score[0]),
        "layers": [
            found.numbers(number, size=window, channel=channel)
            for number in range(len(found.layers))
        ],
        "files": written,
        "unwritten": unwritten,
    }
    document(report)
    raise typer.Exit(code)


def _one(photo: str) -> Path:
    """Return the one photo meant.

    Raises:
        OptionError: It is a folder of several.
    """
    paths = options.photos([photo])
    if len(paths) > 1:
        raise OptionError(f"{photo!r} holds {len(paths)} photos; one was expected.")
    return paths[0]


def _place(out: Path, name: str, suffixes: tuple[str, ...]) -> Path:
    """Return the file to write; fail before any work is done."""
    if out.suffix.lower().lstrip(".") in suffixes and not out.is_dir():
        make_folder(out.parent)
        return out
    if out.suffix and not out.is_dir():
        raise OptionError(
            f"--out is {str(out)!r}; a file that ends in .html was expected, or a folder."
        )
    return make_folder(out) / name
