"""What is promised of every run of the command line, whatever it was given."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hostile_tries.tries import DONE, Ran, Try

#: Lines that are not limelight's own.
NOISE = re.compile(
    r"DecompressionBomb|UserWarning|FutureWarning|RuntimeWarning|ResourceWarning"
    r"|^TIFF\w+: |\.tiff?: [A-Z]|libtiff|libpng|Corrupt JPEG|huggingface_hub|Retrying|[Rr]etry \d"
    r"|Exception ignored|MaxRetryError|WARNING",
    re.MULTILINE,
)
#: An exception of Python's or torch's, told by its type.
FOREIGN = re.compile(
    r"^(?:Error: )?(?:[\w.]+\.)?[A-Z]\w*(?:Error|Exception|Interrupt|Exit)(?::|$)", re.MULTILINE
)
#: Where the ghost of Ghostscript (see `files.stand_in`) leaves its mark.
GHOST = "ghostscript-was-run"
#: Where malicious weights leave theirs.
PWNED = "code-was-run"


def deviations(one: Try, ran: Ran) -> Iterator[str]:
    """Yield what of a run is not as promised, as `expected; seen`."""
    if ran.killed:
        yield f"it ends; {ran.killed}"
        return
    if one.call is not None:
        yield from _of_call(ran)
    else:
        yield from _of_command(one, ran)
    if ran.megabytes > one.megabytes:
        yield f"at most {one.megabytes:.0f} MB; {ran.megabytes:.0f} MB"
    for mark in (GHOST, PWNED):
        if (ran.folder / mark).exists():
            yield f"nothing outside runs; {mark}"


def _of_call(ran: Ran) -> Iterator[str]:
    yield from ran.out.decode(errors="backslashreplace").splitlines()
    if ran.code:
        last = ran.err.decode(errors="backslashreplace").strip().splitlines()[-1:]
        yield f"the function returns; exit {ran.code}: {''.join(last)[:300]}"


def _of_command(one: Try, ran: Ran) -> Iterator[str]:
    if ran.code not in one.codes:
        yield f"exit {' or '.join(map(str, one.codes))}; exit {ran.code}: {_end(ran)}"
    yield from _of_text(one, ran)
    if "--json" in one.argv and "--help" not in one.argv:
        yield from _of_json(one, ran)
    for pattern in one.says:
        if not re.search(pattern, ran.text):
            yield f"says /{pattern}/; {_end(ran)}"
    for pattern in one.never:
        if found := re.search(pattern, ran.text):
            yield f"never says /{pattern}/; {found[0][:120]!r}"
    if one.also is not None:
        yield from one.also(ran)


def _of_text(one: Try, ran: Ran) -> Iterator[str]:
    err = ran.err.decode(errors="backslashreplace")
    if "Traceback (most recent call last)" in ran.text:
        yield f"no traceback; {_end(ran)}"
    elif not one.foreign and (found := FOREIGN.search(err)):
        yield f"an error of limelight's own; {err[found.start() :].strip()[:160]!r}"
    if found := NOISE.search(err):
        yield f"no lines of other libraries; {found[0]!r} in {_line(err, found.start())!r}"
    if b"\x1b" in ran.out + ran.err:
        yield "no ESC byte; one in " + ("stdout" if b"\x1b" in ran.out else "stderr")
    told = "--json" in one.argv or one.unread or ran.code in (DONE, 130)
    if not told and not re.search(r"Error\b|left out|Usage|not-finite", ran.text):
        yield f"a word about exit {ran.code}; {_end(ran)}"


def _of_json(one: Try, ran: Ran) -> Iterator[str]:
    try:
        document = ran.document
    except (ValueError, UnicodeDecodeError) as error:
        start = ran.out[:60].decode(errors="backslashreplace")
        yield f"one strict JSON document; {str(error)[:80]}: {start!r}"
        return
    if ran.code not in (DONE, 130) and not re.search(rb'"error"|"not-finite"', ran.out):
        yield f"the JSON says why exit {ran.code}; no 'error' in it"
    if not isinstance(document, dict):
        if one.done or one.failed:
            yield "JSON of photos; something else"
        return
    for key, names in (("photos", one.done), ("failed", one.failed)):
        if missing := sorted(set(names) - ran.photos(key)):
            yield f"told under {key!r}: {', '.join(map(repr, missing))[:150]}; not there"
    for row in [*document.get("failed", []), *document.get("unwritten", [])]:
        if FOREIGN.match(str(row.get("error", ""))):
            yield f"a reason of limelight's own; {str(row['error'])[:120]!r}"


def _line(text: str, at: int) -> str:
    return text[text.rfind("\n", 0, at) + 1 :].split("\n", 1)[0][:120]


def _end(ran: Ran) -> str:
    """The last words of a run."""
    said = (ran.err if ran.err.strip() else ran.out).decode(errors="backslashreplace")
    return repr(" ".join(said.split())[-200:]) if said.strip() else "silence"
