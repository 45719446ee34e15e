"""The page "your error, your answer": every status and every error by its literal text."""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from typing import NamedTuple

from limelight import errors
from limelight.errors import LimelightError
from limelight.status import STATUS_NAMES, StatusName, SummedOver, status_message
from limelight.web.wording import words
from site_pages.error_groups import CURES, GROUPS, Group, group_of
from site_pages.foreign_errors import FOREIGN
from site_pages.markdown import anchor_of, cell, code, table
from written_sentences import HOLE, errors_in, files_with_errors

#: What each status means, and what helps.
STATUSES: dict[StatusName, str] = {
    "ok": "The heatmap shows something. Whether it is true is another question: "
    "[measure it](measure.md).",
    "no-positive-evidence": "Everything on the grid speaks against the score, so that nothing is "
    "left after the ReLU. It is a fact about the network and not a fault. Look at the signed map, "
    "`result.raw` or `result.figure(signed=True)`; explain the class that the network predicts; or "
    "explain a difference, `target=lambda y: y[:, 281] - y[:, 282]`.",
    "disconnected": "No gradient arrives: the score does not depend on what the layer puts out. "
    "The layer lies behind the last place that the score reads, beside it, or the network "
    "detaches its values on the way. Leave `layer` out, or take one that `limelight layers` "
    "lists.",
    "cancelled": "The method sums numbers that cancel, so that the sum is rounding. It happens "
    "right before a normalisation, which takes just this sum away. Take the layer behind it, or a "
    "method that does not sum.",
    "flat": "The map has one value everywhere. Behind a global pool the grid has a single cell; a "
    "picture in one colour has no structure.",
    "not-finite": "NaN or infinity. Look first at the weights, then at float16: bfloat16 has the "
    "range of float32.",
}


#: A text that is longer is not a heading as a whole.
_LONGEST_TITLE = 110


class Entry(NamedTuple):
    """An error of the page.

    Attributes:
        kind: The class of the error.
        texts: What it may say.
        anchor: Where it stands on the page.
    """

    kind: str
    texts: tuple[str, ...]
    anchor: str


def pages() -> dict[str, str]:
    """Return the page of errors, by its path in docs."""
    parts = [
        "# Your error, your answer",
        _FIRST,
        _FINDER,
        "## Statuses of a map",
        _STATUSES,
        *(_status_part(name) for name in STATUS_NAMES),
        "### Other sentences that come with a map { #status-other }",
        _OTHERS,
        *(code(each) for each in other_sentences()),
        "## Errors of other libraries that bring people here",
        _FOREIGN,
        *(_foreign_part(text, answer) for text, answer in FOREIGN.items()),
        "## Errors of limelight, by class",
        _classes_part(),
    ]
    found = entries()
    for group in GROUPS:
        parts += [f"## {group.title}", group.help]
        kinds = sorted({each.kind for each in found[group]})
        parts += [_class_part(group, kind, found[group]) for kind in kinds]
    parts += ["## What the page refuses", _REFUSED, _refusals_part()]
    return {"errors.md": "\n\n".join(parts) + "\n"}


_FIRST = (
    "Paste the message, or search this page for some of its words. Words in braces, "
    f"as in `{{name}}`, stand for what you gave; `{HOLE}` for a value that has no name. Every "
    "error says what was given, what was expected and what to do; where that is not enough, the "
    "answer stands below. The page is written from the source, so that none is missing."
)

#: What scripts/docs_site/theme/assets/errors.js works with; without it, it stays hidden.
_FINDER = """\
<div class="error-finder" hidden>
<label for="error-message">Your message</label>
<textarea id="error-message" rows="3" spellcheck="false"
placeholder="LayerError: No layer to cut at was found ..."></textarea>
<ol aria-live="polite"></ol>
<p hidden>No entry has these words. Is it all of the message's last line?</p>
</div>
<script type="module" src="../assets/errors.js"></script>"""

_STATUSES = (
    "A map that shows nothing is no error: `result.status` says why for each image, the overlay "
    "has no heat, and `limelight explain` says it in a sentence. "
    "[Blank maps](guide.md#the-result) has more."
)

_OTHERS = (
    "limelight looks for the reason why a map is blank, and says it instead of the sentence of the "
    "status. Each says what to do."
)

_FOREIGN = (
    "These messages are torch's, or come from scripts around other libraries. What stands here is "
    "what limelight does in the same place."
)

_REFUSED = "The codes and sentences with which the page answers a request that it refuses."


def _status_part(name: StatusName) -> str:
    literal = "\n\n".join(code(each) for each in status_sentences(name))
    parts = (f"### `{name}` {{ #status-{name} }}", literal, STATUSES[name])
    return "\n\n".join(part for part in parts if part)


def status_sentences(name: StatusName) -> list[str]:
    """Return what a status may say, with names for what is filled in."""
    sums: tuple[SummedOver, ...] = ("cells", "channels")
    found = [
        status_message(
            name,
            method="{method}",
            layer="{layer}",
            grid=grid,
            summed_over=summed_over,
            leaves_out=leaves_out,
        ).replace(str(list(_GRID)), "{grid}")
        for summed_over in sums
        for leaves_out in (False, True)
        for grid in (_GRID, None)
    ]
    return [each for each in dict.fromkeys(found) if each]


#: A grid that stands for any.
_GRID = (-1, -1)


def other_sentences() -> list[str]:
    """Return the other sentences that a map may come with: what was found to be the reason.

    All that a reader of the page can meet have a translation; that is where they are listed.
    """
    text = (files("limelight.translations") / "zh.toml").read_text(encoding="utf-8")
    known = (re.sub(r"\{(\w+)!r\}", r"'{\1}'", each) for each in tomllib.loads(text)["status"])
    shown = {each for name in STATUS_NAMES for each in status_sentences(name)}
    return [each for each in known if each not in shown]


def _foreign_part(text: str, answer: str) -> str:
    return f"### {code(text)} {{ #{anchor_of(text)} }}\n\n{answer}"


def _classes_part() -> str:
    """Return the table of the classes of errors."""
    classes = [
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, LimelightError)
    ]
    rows = [
        (
            code(each.__name__),
            ", ".join(code(base.__name__) for base in each.__bases__ if base is not Exception),
            (each.__doc__ or "").partition("\n")[0],
            str(each.exit_code),
        )
        for each in classes
    ]
    return (
        table(("class", "is also", "when", "exit code"), rows)
        + "\n\n`except limelight.LimelightError` catches them all."
    )


def entries() -> dict[Group, list[Entry]]:
    """Return all errors of the library, each text once, by group."""
    found: dict[Group, list[Entry]] = {group: [] for group in GROUPS}
    seen, anchors = set[tuple[str, ...]](), set[str]()
    for path in files_with_errors():
        for error in errors_in(path):
            if not error.texts or error.texts in seen:
                continue
            seen.add(error.texts)
            anchor = next(each for each in _anchors(error.texts[0]) if each not in anchors)
            anchors.add(anchor)
            found[group_of(path)].append(Entry(error.kind, error.texts, anchor))
    return found


def _anchors(text: str) -> Iterator[str]:
    """Yield names for a text, each longer than the one before, so that few need a number."""
    for letters in range(50, 400, 25):
        yield anchor_of(text, letters)
    number = 2
    while True:
        yield f"{anchor_of(text)}-{number}"
        number += 1


def _class_part(group: Group, kind: str, found: list[Entry]) -> str:
    """Return the errors of a group that are of one class."""
    heading = f"### {kind} {{ #{anchor_of(group.title)}-{kind.casefold()} }}"
    return "\n\n".join([heading, *(_entry_part(each) for each in found if each.kind == kind)])


def _entry_part(entry: Entry) -> str:
    """Return an error: its text as heading, what else it may say, and its cure."""
    first = entry.texts[0]
    sentence = re.match(r".+?[.?](?= |$)", first)
    title = sentence[0] if sentence and len(first) > _LONGEST_TITLE else first
    literal = [code(each) for each in entry.texts if each != title]
    cures = [cure for start, cure in CURES.items() if first.startswith(start)]
    return "\n\n".join([f"#### {code(title)} {{ #{entry.anchor} }}", *literal, *cures])


def _refusals_part() -> str:
    """Return the table of what the page refuses."""
    texts = [(name, text) for name, text in words("en")["errors"].items() if name != "library"]
    return table(("code", "what it says"), [(code(name), cell(text)) for name, text in texts])
