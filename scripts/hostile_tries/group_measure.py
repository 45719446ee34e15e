"""A measure killed, resumed, torn, or run twice at once: the table is that of a quiet run."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hostile_tries import photos, running
from hostile_tries.tiny import MODEL
from hostile_tries.tries import Ran, Try

COUNT = 12
OPTIONS = (
    *MODEL,
    "--methods",
    "gradcam saliency",
    "--metrics",
    "insertion:steps=20 deletion:steps=20",
)


def tries(work: Path) -> Iterator[Try]:
    """Yield them."""
    folder = work / "folder"
    for number in range(COUNT):
        photos.good(folder, f"{number}.jpg", number)
    argv = ("measure", str(folder), *OPTIONS, "--out", "out")
    quiet = work / "quiet"
    dice = random.Random(0)
    yield Try("undisturbed", argv, also=_keep(quiet))
    for name, sent, turns in (
        ("kill -9", signal.SIGKILL, 6),
        ("SIGTERM", signal.SIGTERM, 4),
        ("SIGINT", signal.SIGINT, 6),
    ):
        for turn in range(turns):
            after = [dice.randrange(COUNT) for _ in range(3)]
            yield Try(f"{name} {turn}, resumed", call=_broken_off(argv, sent, after, quiet))
    for name, damage in DAMAGE.items():
        yield Try(f"readings with {name}", call=_damaged(argv, damage, quiet))
    for turn in range(3):
        yield Try(f"two at once {turn}", call=_two(argv, quiet), seconds=120)
    yield from _refused(argv, work)
    yield from _interrupted(folder)


def _keep(place: Path) -> Callable[[Ran], Iterator[str]]:
    """Keep the table that all others must equal."""

    def also(ran: Ran) -> Iterator[str]:
        place.mkdir(exist_ok=True)
        for name in ("table.json", "table.csv", "readings.jsonl"):
            data = (ran.folder / "out" / name).read_text()
            (place / name).write_text(data)
            for line in [data] if name == "table.json" else data.splitlines():
                if not name.startswith("table.csv"):
                    json.loads(line, parse_constant=_constant)

        rows = len((place / "readings.jsonl").read_text().splitlines())
        if rows != COUNT + 1:
            yield f"a head and {COUNT} readings; {rows} lines"

    return also


def _constant(token: str) -> Any:
    raise ValueError(f"{token} is not JSON")


def _start(argv: tuple[str, ...], name: str) -> int:
    """Start a measure beside this process; both write to `out` in this folder."""
    return running.start(Try(name, argv, setup=lambda: os.chdir(os.pardir)), Path(name))


def _finish(argv: tuple[str, ...], name: str, codes: tuple[int, ...] = (0,)) -> None:
    code = os.waitstatus_to_exitcode(os.waitpid(_start(argv, name), 0)[1])
    if code not in codes:
        said = Path(name, "stderr").read_text(errors="replace")
        print(f"exit {codes} of {name}; exit {code}: {said[-200:]!r}")


def _compare(quiet: Path, out: str = "out") -> None:
    """Print where the table differs from that of the undisturbed run, or readings are double."""
    for name in ("table.json", "table.csv"):
        own = Path(out, name)
        if not own.exists() or own.read_text() != (quiet / name).read_text():
            print(f"the {name} of an undisturbed run; another, or none")
    rows = _readings(Path(out))
    if len(rows) != len(set(rows)) or len(rows) != COUNT:
        print(f"{COUNT} photos read once; {len(rows)} readings of {len(set(rows))}")


def _readings(out: Path) -> list[str]:
    """The photos in the journal; says so of a line that is no strict JSON."""
    found = []
    for line in (out / "readings.jsonl").read_text(errors="replace").splitlines():
        try:
            row = json.loads(line, parse_constant=_constant)
        except ValueError:
            print(f"readings in strict JSON; {line[:60]!r}")
            continue
        if "photo" in row:
            found.append(row["photo"])
    return found


def _broken_off(
    argv: tuple[str, ...], sent: signal.Signals, after: list[int], quiet: Path
) -> Callable[[], None]:
    """Send a signal once so many photos are done; do so three times; then let it finish."""

    def call() -> None:
        for turn, count in enumerate(after):
            process = _start(argv, f"broken-{turn}")
            code = _send(process, sent, count)
            text = _said(f"broken-{turn}")
            if "Traceback" in text:
                print(f"no traceback after a signal; {text[-200:]!r}")
            if sent == signal.SIGINT and code not in (0, 130):
                print(f"exit 130 (or 0, if it was done); exit {code}: {text[-200:]!r}")
        _finish(argv, "last")
        _compare(quiet)

    return call


def _said(name: str) -> str:
    files = (Path(name, stream) for stream in ("stdout", "stderr"))
    return "".join(file.read_text(errors="replace") for file in files if file.exists())


def _send(process: int, sent: signal.Signals, count: int) -> int:
    """Wait until it has read one photo, and so many in all; send; return its exit."""
    journal = Path("out", "readings.jsonl")
    count = max(count, 1 + (journal.read_bytes().count(b"\n") if journal.exists() else 0))
    while True:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if journal.exists() and journal.read_bytes().count(b"\n") > count:
            break
        time.sleep(0.002)
    os.kill(process, sent)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _torn(data: bytes) -> bytes:
    return data[:-40]


def _nul(data: bytes) -> bytes:
    return data[:-200] + bytes(4096)


def _line(data: bytes, number: int, new: bytes | None) -> bytes:
    lines = data.splitlines(keepends=True)
    lines[number : number + 1] = [] if new is None else [new]
    return b"".join(lines)


#: What happens to the journal between two runs.
DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "a torn last line": _torn,
    "no last newline": lambda data: data[:-1],
    "zeros at the end": _nul,
    "zeros after the end": lambda data: data + bytes(4096),
    "half of it": lambda data: data[: len(data) // 2],
    "the head alone": lambda data: data.splitlines(keepends=True)[0],
    "half of the head": lambda data: data[:50],
    "nothing in it": lambda _: b"",
    "blank lines": lambda data: data.replace(b"\n", b"\n\n"),
    "a line twice": lambda data: data + data.splitlines(keepends=True)[-1],
    "a torn line in the middle": lambda data: _line(data, 3, b'{"photo": "x", "rea\n'),
    "no line in the middle": lambda data: _line(data, 5, None),
    "bytes that are no text": lambda data: data + b"\xff\xfe\x00\n",
    "a list for a line": lambda data: data + b"[1, 2]\n",
    "a number for a line": lambda data: data + b"5\n",
}


def _damaged(
    argv: tuple[str, ...], damage: Callable[[bytes], bytes], quiet: Path
) -> Callable[[], None]:
    """Either the table comes out right, or it is refused in a sentence; never a wrong table."""

    def call() -> None:
        _finish(argv, "first")
        journal = Path("out", "readings.jsonl")
        journal.write_bytes(damage(journal.read_bytes()))
        for name in ("table.json", "table.csv"):
            Path("out", name).unlink()
        code = os.waitstatus_to_exitcode(os.waitpid(_start(argv, "again"), 0)[1])
        said = Path("again", "stderr").read_text(errors="replace")
        if code == 0:
            _same_table(quiet)
        elif code not in (1, 2) or "Error:" not in said or "Traceback" in said:
            print(f"done, or an error; exit {code}: {said[-300:]!r}")
        elif ("Error: " in said and "JSONDecodeError" in said) or "UnicodeDecodeError" in said:
            print(f"an error of limelight's own; {said[-300:]!r}")

    return call


def _same_table(quiet: Path) -> None:
    if Path("out", "table.csv").read_text() != (quiet / "table.csv").read_text():
        print("the table of an undisturbed run; another")


def _two(argv: tuple[str, ...], quiet: Path) -> Callable[[], None]:
    """Two at once: one is refused, or they share the work."""

    def call() -> None:
        processes = [_start(argv, name) for name in ("one", "two")]
        codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
        if sorted(codes) not in ([0, 0], [0, 2]):
            print(f"one done, the other done or refused with 2; exit {codes}")
        _compare(quiet)
        _finish(argv, "three")
        _compare(quiet)

    return call


def _refused(argv: tuple[str, ...], work: Path) -> Iterator[Try]:
    """A place to write that is none."""
    for name in ("file", "dangling", "loop"):
        place = work / f"out-{name}"
        if name == "file":
            place.write_text("taken")
        else:
            place.symlink_to("nowhere/at/all" if name == "dangling" else place)
        for more in ((), ("--json",)):
            yield Try(
                f"--out is a {name} {''.join(more)}",
                (*argv[:-1], str(place), *more),
                codes=(0, 2) if name == "dangling" else (2,),
            )
    for name in ("readings.jsonl", "table.json", "table.csv", "curves.png"):
        place = work / f"out-{name}"
        (place / name / "in").mkdir(parents=True)
        for more in ((), ("--json",)):
            yield Try(
                f"{name} is a folder {''.join(more)}", (*argv[:-1], str(place), *more), codes=(2,)
            )
    place = work / "out-other"
    place.mkdir()
    (place / "readings.jsonl").write_text('{"measured": {"model": "another"}}\n')
    yield Try("readings of another question", (*argv[:-1], str(place)), codes=(0, 2))


def _interrupted(folder: Path) -> Iterator[Try]:
    """Ctrl-C at odd moments of the other commands."""
    model = (*MODEL, "--json")
    for command, more in {
        "explain": (),
        "compare": ("--methods", "gradcam saliency rise:masks=200"),
        "sanity": ("--methods", "gradcam saliency"),
        "walkthrough": (),
        "layers": (),
    }.items():
        paths = (
            ()
            if command == "layers"
            else (str(folder / "0.jpg"),)
            if command == "walkthrough"
            else (str(folder),)
        )
        for wait in (0.0, 0.05, 0.15, 0.3, 0.5, 0.8):
            yield Try(
                f"Ctrl-C after {wait} s: {command}",
                (command, *paths, *more, *model),
                codes=(0, 130),
                setup=_alarm(wait),
            )


def _alarm(wait: float) -> Callable[[], None]:
    def setup() -> None:
        signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
        signal.setitimer(signal.ITIMER_REAL, wait + 0.02)

    return setup
