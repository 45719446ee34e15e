"""What `limelight ask` prints: the answer, and a line for each word of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from limelight.cli.messages import (
    layer_text,
    print_errors,
    warn_of_random_weights,
)
from limelight.cli.output import Console
from limelight.cli.words import in_options
from limelight.status import Status
from limelight.vision_language.explained_answer import ExplainedAnswer
from limelight.vision_language.page import percent
from limelight.vision_language.rows import WORD_COLUMNS


def answer_as_dict(answer: ExplainedAnswer, photos: Sequence[Path]) -> dict[str, Any]:
    """Return what is said of an answer, as plain values."""
    return {
        "photos": list(map(str, photos)),
        "model": answer.model,
        "question": answer.question,
        "answer": answer.text,
        "given": answer.given,
        "method": answer.method,
        "layer": answer.layer,
        "reason": answer.reason,
        "words": [{name: row[name] for name in _OF_A_WORD} for row in answer.rows()],
        "sinks": [
            {"photo": number, "box": list(sink.box), "share": sink.share}
            for number, sinks in enumerate(answer.sinks)
            for sink in sinks
        ],
        "subtracted": answer.subtracted,
    }


#: The columns of a row that say something of its word, and not of the whole answer.
_OF_A_WORD = [
    name for name in WORD_COLUMNS if name not in ("method", "layer", "model", "question", "answer")
]


def print_answer(console: Console, report: dict[str, Any], found: ExplainedAnswer) -> None:
    """Print an answer, its words, and where the page is.

    Args:
        console: Where it is printed.
        report: What `answer_as_dict` returns, with what is known of the run.
        found: The answer.
    """
    warn_of_random_weights(console, report["weights"], "words")
    photos = " ".join(report["photos"])
    console.print(f"[bold]{escape(photos)}[/]  {escape(report['model'])} ({report['weights']})")
    said = _facts()
    if report["question"]:
        said.add_row("question", escape(report["question"]))
    answer = "given" if report["given"] else "answer" if report["question"] else "caption"
    said.add_row(answer, f"[bold]{escape(report['answer'])}[/]")
    console.print(said)
    console.print(_words(console, report))
    facts = _facts()
    for status, texts in _without_map(found).items():
        facts.add_row(status.name, _why(status, texts, len(found.words)))
    for sink in report["sinks"]:
        facts.add_row("sink", _sink(sink, report))
    facts.add_row("layer", layer_text(report))
    facts.add_row("method", escape(report["method"]))
    if report["page"]:
        facts.add_row("page", escape(report["page"]))
    facts.add_row("time", f"{report['seconds']:.2f} s")
    console.print(facts)
    print_errors(report["unwritten"])


def _facts() -> Table:
    table = Table(box=None, padding=(0, 1), show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _words(console: Console, report: dict[str, Any]) -> Table:
    """Return a table with a line for each word."""
    known = any(word["without_picture"] is not None for word in report["words"])
    table = Table(box=None, padding=(0, 1))
    table.add_column("word", overflow="fold")
    table.add_column("probability", justify="right", no_wrap=True)
    if known:
        table.add_column("without picture", justify="right", no_wrap=True)
        table.add_column("owed to the picture", no_wrap=True)
    table.add_column("hottest at", overflow="fold")
    table.add_column("", overflow="fold")
    for word in report["words"]:
        idle = word["needs_picture"] is False
        name = escape(word["text"])
        table.add_row(
            f"[dim]{name}[/]" if idle else name,
            percent(word["probability"]),
            *(_picture(console, word) if known else ()),
            _place(word, several=len(report["photos"]) > 1),
            _remark(word),
        )
    return table


def _picture(console: Console, word: dict[str, Any]) -> tuple[str, str]:
    """Return how probable a word is without the picture, and how much of it is the picture."""
    blurred = math.exp(word["without_picture"])
    if word["needs_picture"] is False:
        return percent(blurred), "[dim]not needed[/]"
    if word["needs_picture"] is None:
        return percent(blurred), "[dim]undecided[/]"
    share = word["picture_share"] or 0.0
    return percent(blurred), f"{percent(share):>4} [cyan]{console.bar(share / 3)}[/]"


def _place(word: dict[str, Any], *, several: bool) -> str:
    """Return the pixel of the photo where the map of a word is hottest."""
    if word["photo"] is None:
        return ""
    photo = f"{escape(word['photo'])}: " if several else ""
    return f"{photo}{word['max_x_photo']}, {word['max_y_photo']}"


def _remark(word: dict[str, Any]) -> str:
    """Return that there is no map; or what the map compares the word with."""
    if word["status"] not in (None, "ok"):
        return f"[yellow]{word['status']}[/]"
    if word["contrast"] is None:
        return ""
    return escape(f"{word['contrast']:+.2f} nats against {word['instead']!r}")


def _without_map(found: ExplainedAnswer) -> dict[Status, list[str]]:
    """Return why words have no map, with the words, each once: many have the same reason."""
    reasons = dict[Status, list[str]]()
    for word in found.words:
        if word.status is not None and not word.status.ok:
            reasons.setdefault(word.status, []).append(word.text)
    return reasons


def _why(status: Status, texts: Sequence[str], words: int) -> str:
    """Return which words have no map, and why."""
    named = ", ".join(dict.fromkeys(texts))
    which = "all words" if len(texts) == words > 1 else named
    return f"{escape(which)}: {escape(in_options(status.message))}"


def _sink(sink: dict[str, Any], report: dict[str, Any]) -> str:
    """Return where a sink is, how many words look there, and what became of it."""
    left, top, right, bottom = sink["box"]
    photo = f"photo {sink['photo'] + 1}, " if len(report["photos"]) > 1 else ""
    end = "taken out of the maps" if report["subtracted"] else "--subtract-sinks takes it out"
    return (
        f"{photo}{(left + right) / 2:.0%}, {(top + bottom) / 2:.0%}: {percent(sink['share'])} of "
        f"the words look there; {end}"
    )
