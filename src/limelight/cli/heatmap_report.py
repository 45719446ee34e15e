"""What `limelight explain` prints for people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.markup import escape
from rich.table import Table

from limelight.cli.messages import (
    count_photos,
    layer_text,
    method_text,
    print_errors,
    print_untried,
    status_text,
    warn_of_random_weights,
)
from limelight.cli.output import Console
from limelight.cli.run_record import RunRecord
from limelight.targets.class_names import label_of

if TYPE_CHECKING:
    from limelight.explanation import Explanation
    from limelight.models.network import Network
    from limelight.targets.outputs import LogitsKey


class HeatmapRun(NamedTuple):
    """What all photos of a run have in common.

    Attributes:
        title: The network that was explained, as `network_title` says it.
        method: The method that was named; None for the default.
        seconds: How long each part of the work took.
    """

    title: str
    method: str | None
    seconds: dict[str, float]


def report_heatmaps(run: RunRecord, heatmaps: HeatmapRun, facts: Mapping[str, str]) -> None:
    """Print what was explained, for a machine or for people.

    Args:
        run: What was done.
        heatmaps: What all photos have in common.
        facts: What the document says of the network, with where its `weights` come from.
    """
    total, untried = len(run.paths), run.untried
    interruption = f"{len(untried)} photos not done, the others are written."
    if run.as_json:
        report = {**facts, "photos": run.done, **run.shortfall, "seconds": heatmaps.seconds}
        run.print_document(report, f"Interrupted: {interruption}")
        return
    warn_of_random_weights(run.console, facts["weights"])
    if total == 1 and run.done:
        print_photo(run.console, run.done[0], heatmaps)
    elif run.done:
        print_photos(run.console, run.done, heatmaps)
    if run.stopped:
        run.console.print(f"[yellow]Interrupted:[/] {interruption}")
    print_errors(run.failed + run.unwritten)
    errors = Console(stderr=True)
    for photos, verb in ((run.failed, "read"), (run.unwritten, "written")):
        if photos and total > 1:
            errors.print(f"{len(photos)} of {total} photos could not be {verb}.")
    if not run.stopped:
        print_untried(untried)


def print_photo(console: Console, photo: dict[str, Any], heatmaps: HeatmapRun) -> None:
    """Print all that is known of one photo."""
    answers_table = Table(box=None, padding=(0, 1), show_header=False)
    for best in photo["top5"]:
        bar = console.bar(best["probability"])
        answers_table.add_row(
            f"{best['probability']:7.2%}", f"[cyan]{bar}[/]", escape(best["class"])
        )
    console.print(f"[bold]{escape(photo['photo'])}[/]  {heatmaps.title}")
    if photo["top5"]:
        console.print(answers_table)
    facts = Table(box=None, padding=(0, 1), show_header=False)
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for each in photo["explanations"]:
        index = "" if each["index"] is None else f" ({each['index']})"
        facts.add_row("target", f"{escape(each['target'])}{index}, score {each['score']:.4g}")
        if each["place"] is not None:
            facts.add_row("place", f"{','.join(map(str, each['place']))} of the photo")
        facts.add_row("status", status_text(each))
        if each["gap"] is not None:
            facts.add_row("gap", f"{each['gap']:.2%}: how far the map is from summing to its due")
        facts.add_row("picture", escape(each["picture"]))
    last = photo["explanations"][-1]
    facts.add_row("layer", layer_text(last))
    facts.add_row("method", method_text(last["method"], heatmaps.method))
    facts.add_row("time", _times(heatmaps.seconds))
    console.print(facts)


def print_photos(console: Console, photos: list[dict[str, Any]], heatmaps: HeatmapRun) -> None:
    """Print a line for each picture of several photos."""
    table = Table(box=None, padding=(0, 1))
    for heading in ("photo", "target", "score", "status", "picture"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("score", "status"))
    for photo in photos:
        for each in photo["explanations"]:
            table.add_row(
                escape(Path(photo["photo"]).name),
                escape(each["target"]),
                f"{each['score']:.3g}",
                f"[{'green' if each['status'] == 'ok' else 'yellow'}]{each['status']}[/]",
                escape(Path(each["picture"]).name),
            )
    console.print(table)
    first = photos[0]["explanations"][0]
    console.print(
        f"{count_photos(photos)} with {heatmaps.title}, "
        f"{method_text(first['method'], heatmaps.method)} at {layer_text(first)}. "
        f"{_times(heatmaps.seconds)}. "
        f"{_where(photos)}"
    )


def _where(photos: list[dict[str, Any]]) -> str:
    """Return where the pictures are: in a folder, or a film."""
    files = {each["picture"] for photo in photos for each in photo["explanations"]}
    first = Path(photos[0]["explanations"][0]["picture"])
    if len(files) == 1 and len(photos) > 1:
        return f"The film is {escape(str(first))}."
    return f"The pictures are in {escape(str(first.parent))}."


def _times(seconds: dict[str, float]) -> str:
    return (
        f"{seconds['explain']:.2f} s to explain, {seconds['draw']:.2f} s to draw, "
        f"{seconds['load']:.2f} s to load the network"
    )


def explanation_as_dict(explanation: Explanation) -> dict[str, Any]:
    """Return what is said of the explanation of one image, as plain values."""
    index, gap = explanation.index, explanation.completeness_gap
    return {
        "target": explanation.label[0],
        "index": None if index is None else int(index[0]),
        "score": float(explanation.score[0]),
        "method": explanation.method,
        "layer": explanation.layer,
        "reason": explanation.reason,
        "status": explanation.status[0].name,
        "message": explanation.status[0].message,
        "gap": None if gap is None else float(gap[0]),
        **({} if explanation.windows is None else {"windows": explanation.windows.as_dicts()}),
    }


def best_classes(
    explanation: Explanation, network: Network, key: LogitsKey | None
) -> list[dict[str, Any]]:
    """Return the network's five first answers."""
    from limelight.inputs import ModelInputs
    from limelight.runtime.detectors import read_detected
    from limelight.targets.outputs import answers

    inputs = ModelInputs.of(explanation.image)
    output = read_detected(explanation.output, inputs, network.model)
    return [
        {"index": index, "class": label_of(index, network.classes), "probability": probability}
        for index, probability in answers(output, key=key)
    ]
