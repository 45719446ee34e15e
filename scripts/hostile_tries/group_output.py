"""Where the report goes: encodings, closed pipes, full disks, terminals."""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from hostile_tries import photos
from hostile_tries.tiny import MODEL
from hostile_tries.tries import Ran, Skip, Try

DRAW = (*MODEL, "--picture", "overlay")
ENCODINGS = ("latin-1", "cp1252", "ascii", "cp437", "cp932", "koi8-r")
#: A process whose locale is of old, as `LANG=C` was before Python 3.7.
PLAIN = {"LC_ALL": "C", "LANG": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


def tries(work: Path) -> Iterator[Try]:
    """Yield them."""
    good = photos.good(work / "good")
    strange = photos.good(work / "good", "漢é█.jpg", 1)
    bad = str(work / "good" / "bad-é.jpg")
    Path(bad).write_bytes(b"no photo")
    commands = _commands(good, strange)
    for encoding in ENCODINGS:
        for name, argv in commands.items():
            for more in ((), ("--json",)) if name != "concepts" else ((),):
                yield Try(
                    f"stdout in {encoding}: {name} {''.join(more)}",
                    (*argv, *more),
                    setup=_encoded(encoding),
                    also=_decoded(encoding) if not more else None,
                )
        yield Try(
            f"stdout in {encoding}: explain, one bad",
            ("explain", good, bad, *DRAW),
            codes=(1,),
            setup=_encoded(encoding),
            also=_decoded(encoding, "good"),
        )
    argv = ("explain", good, strange, *DRAW)
    for name, environment in {
        "LANG=C": PLAIN,
        "LANG=C, UTF-8 mode": {"LC_ALL": "C", "LANG": "C"},
        "latin-1": {"PYTHONIOENCODING": "latin-1"},
        "cp1252": {"PYTHONIOENCODING": "cp1252"},
        "ascii": {"PYTHONIOENCODING": "ascii:strict"},
    }.items():
        yield Try(f"{name}: explain", argv, fresh=True, environment=environment, says=("good.jpg",))
        yield Try(
            f"{name}: explain --json",
            (*argv, "--json"),
            fresh=True,
            environment=environment,
            done=("good.jpg",),
        )
    yield from _places(good, commands)
    yield from _terminals(good, work)
    yield from _disks(work, good, strange)


def _commands(good: str, strange: str) -> dict[str, tuple[str, ...]]:
    return {
        "explain": ("explain", good, strange, *DRAW),
        "compare": ("compare", good, strange, *MODEL, "--methods", "gradcam saliency"),
        "measure": (
            "measure",
            good,
            strange,
            *MODEL,
            "--methods",
            "gradcam",
            "--metrics",
            "insertion:steps=2",
        ),
        "sanity": ("sanity", good, *MODEL, "--methods", "gradcam", "--steps", "2"),
        "walkthrough": ("walkthrough", strange, *MODEL),
        "trace": ("trace", strange, *MODEL),
        "concepts": ("concepts", good, strange, *MODEL, "--count", "2"),
        "layers": ("layers", *MODEL),
        "models": ("models", "resnet*"),
        "methods": ("methods",),
        "metrics": ("metrics",),
    }


def _encoded(encoding: str) -> Callable[[], None]:
    def setup() -> None:
        file = io.FileIO(1, "w", closefd=False)
        sys.stdout = io.TextIOWrapper(file, encoding, "strict", write_through=True)

    return setup


def _decoded(encoding: str, word: str = "") -> Callable[[Ran], Iterator[str]]:
    """The report is there, and is text in that encoding."""

    def also(ran: Ran) -> Iterator[str]:
        if len(ran.out.strip()) < 40:
            yield f"a report in {encoding}; {len(ran.out)} bytes"
        elif word not in (text := ran.out.decode(encoding, "replace")):
            yield f"a report in {encoding} that names {word!r}; {text[:80]!r}"

    return also


def _places(good: str, commands: dict[str, tuple[str, ...]]) -> Iterator[Try]:
    """Stdout that is closed, full, or read in part."""
    every = (0, 1, 2, 120, 141, -13)
    for name in ("explain", "measure", "methods", "layers"):
        argv = commands[name]
        for told, reader in {"head -1": "head -n 1", "nobody": "true"}.items():
            yield Try(
                f"read by {told}: {name}",
                argv,
                fresh=True,
                setup=_piped(reader),
                codes=every,
                unread=True,
            )
        yield Try(
            f"stdout closed: {name}", argv, fresh=True, setup=_closed(1), codes=every, unread=True
        )
        yield Try(
            f"stderr closed: {name}", argv, fresh=True, setup=_closed(2), says=("gradcam|grid",)
        )
        yield Try(
            f"both closed: {name}", argv, fresh=True, setup=_closed(1, 2), codes=every, unread=True
        )
        yield Try(
            f"stdin closed: {name}", argv, fresh=True, setup=_closed(0), says=("gradcam|grid",)
        )
        yield Try(
            f"stdout is /dev/full: {name}",
            argv,
            fresh=True,
            setup=_into("/dev/full"),
            codes=(1, 2, 120),
        )
    odd = {
        "COLUMNS=5": {"COLUMNS": "5"},
        "COLUMNS=0": {"COLUMNS": "0"},
        "COLUMNS=x": {"COLUMNS": "x"},
        "COLUMNS=-3": {"COLUMNS": "-3"},
        "COLUMNS=99999": {"COLUMNS": "99999"},
        "LINES=0": {"LINES": "0"},
        "TERM=dumb": {"TERM": "dumb"},
        "TERM empty": {"TERM": ""},
        "NO_COLOR": {"NO_COLOR": "1"},
        "no HOME": {"HOME": ""},
        "HOME nowhere": {"HOME": "/nowhere"},
        "HOME a file": {"HOME": "/dev/null"},
        "TMPDIR nowhere": {"TMPDIR": "/nowhere"},
        "TZ": {"TZ": "nowhere/x"},
        "LC_ALL unknown": {"LC_ALL": "xx_YY.nothing"},
        "MPLBACKEND": {"MPLBACKEND": "TkAgg"},
        "MPLBACKEND unknown": {"MPLBACKEND": "nothing"},
        "OMP_NUM_THREADS=x": {"OMP_NUM_THREADS": "x"},
        "MPLCONFIGDIR": {"MPLCONFIGDIR": "/dev/null/x"},
        "PYTHONWARNINGS": {"PYTHONWARNINGS": "default"},
    }
    for name, environment in odd.items():
        fresh = name.startswith(("HOME", "no HOME", "MPL", "LC", "OMP", "PYTHON"))
        for command in (
            ("explain",) if fresh else ("explain", "measure", "compare", "layers", "methods")
        ):
            yield Try(
                f"{name}: {command}",
                commands[command],
                environment=environment,
                fresh=fresh,
                says=(r"\w",),
            )
    yield Try("no environment", ("explain", good, *DRAW), setup=_bare, fresh=True, says=("good",))


def _bare() -> None:
    path = os.environ["PYTHONPATH"]
    os.environ.clear()
    os.environ["PYTHONPATH"] = path


def _closed(*numbers: int) -> Callable[[], None]:
    def setup() -> None:
        for number in numbers:
            os.close(number)

    return setup


def _into(path: str) -> Callable[[], None]:
    def setup() -> None:
        os.dup2(os.open(path, os.O_WRONLY), 1)

    return setup


def _piped(command: str) -> Callable[[], None]:
    def setup() -> None:
        reader = subprocess.Popen(command.split(), stdin=subprocess.PIPE)
        assert reader.stdin is not None
        os.dup2(reader.stdin.fileno(), 1)

    return setup


def _terminals(good: str, work: Path) -> Iterator[Try]:
    """On a terminal there are colours, but none of a name's own sequences."""
    escaped = work / "good" / "es\x1b]0;owned\x07c\x1b[5m.jpg"
    escaped.write_bytes(Path(good).read_bytes())
    broken = work / "good" / "broken\x1b]0;owned\x07c\x9b5m.jpg"
    broken.write_bytes(b"no photo")
    quick = (*MODEL, "--methods", "gradcam")
    for name, argv in {
        "explain": ("explain", good, str(escaped), str(broken), *DRAW),
        "measure": (
            "measure",
            good,
            str(escaped),
            str(broken),
            *quick,
            "--metrics",
            "insertion:steps=2",
        ),
        "compare": ("compare", good, str(escaped), str(broken), *quick),
        "walkthrough": ("walkthrough", str(escaped), *MODEL),
        "walkthrough, broken": ("walkthrough", str(broken), *MODEL),
        "trace": ("trace", str(escaped), *MODEL),
        "--target": ("explain", good, *DRAW, "--target", "\x1b]0;owned\x07"),
        "--method": ("explain", good, *DRAW, "--method", "\x1b]0;owned\x07"),
        "--layer": ("explain", good, *DRAW, "--layer", "\x1b]0;owned\x07"),
        "--model": ("explain", good, "--model", "\x1b]0;owned\x07"),
        "--nothing": ("explain", good, "--\x1b]0;owned\x07"),
        "--out": ("explain", good, *DRAW, "--out", "es\x1b]0;owned\x07c"),
    }.items():
        for term in ("xterm-256color", "dumb"):
            yield Try(f"terminal {term}: {name}", argv, call=_on_terminal(argv, term), seconds=60)


def _on_terminal(argv: tuple[str, ...], term: str) -> Callable[[], None]:
    """Run the command on a terminal of its own; print what of it deviates."""

    def call() -> None:
        import pty

        from limelight.cli import main

        os.environ["TERM"] = term
        process, terminal = pty.fork()
        if process == 0:
            code = 1
            try:
                sys.stdout, sys.stderr = (open(n, "w", closefd=False) for n in (1, 2))  # noqa: SIM115
                sys.argv = ["limelight", *argv]
                main()
                code = 0
            except SystemExit as leaving:
                code = leaving.code if isinstance(leaving.code, int) else 0
            finally:
                os._exit(code)
        seen = b""
        try:
            while part := os.read(terminal, 65536):
                seen += part
        except OSError:  # how Linux says that the other end is closed
            pass
        os.waitpid(process, 0)
        for sequence in (b"\x1b]0;", b"\x07", b"\x1b[5m", "\x9b".encode()):
            if sequence in seen:
                at = seen.index(sequence)
                print(f"no {sequence!r} of a name; {seen[max(0, at - 30) : at + 30]!r}")
        if b"Traceback" in seen:
            print(f"no traceback; {seen[-200:]!r}")
        if not seen.strip():
            print("a report on the terminal; nothing")

    return call


def _disks(work: Path, good: str, other: str) -> Iterator[Try]:
    """Disks without room: what is done is told, nothing is left in part."""
    many = [good, other, *(photos.good(work / "good", f"more-{n}.jpg", n) for n in range(4))]
    mounted = {size: _tmpfs(work / f"disk-{size}k", size) for size in (24, 150)}
    for more in ((), ("--json",)):
        for size, disk in mounted.items():
            for name, argv in {
                "explain": ("explain", *many, *DRAW),
                "explain figures": ("explain", *many, *MODEL),
                "explain npz": ("explain", *many, *MODEL, "-f", "npz"),
                "compare": ("compare", *many, *MODEL, "--methods", "gradcam"),
                "measure": (
                    "measure",
                    *many,
                    *MODEL,
                    "--methods",
                    "gradcam",
                    "--metrics",
                    "insertion:steps=2",
                ),
                "walkthrough": ("walkthrough", good, *MODEL),
                "trace": ("trace", good, *MODEL, "--save", "npz"),
            }.items():
                out = f"{disk}/{name.replace(' ', '-')}{''.join(more)}"
                yield Try(
                    f"disk of {size} kB: {name} {''.join(more)}",
                    (*argv, "--out", out, *more),
                    codes=(0, 1, 2),
                    setup=_needs(disk),
                    also=_all_told(len(many), out),
                )
        yield Try(
            f"files of 3 kB at most: explain {''.join(more)}",
            ("explain", *many, *DRAW, "-f", "png", "--out", "out", *more),
            codes=(1, 2),
            setup=_small_files,
        )


def _tmpfs(folder: Path, size: int) -> Path | None:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError:
        return None
    return folder if done.returncode == 0 else None


def clean(work: Path) -> None:
    """Unmount."""
    for folder in (work / "output").glob("disk-*k"):
        subprocess.run(["umount", str(folder)], capture_output=True, check=False)


def _needs(disk: Path | None) -> Callable[[], None]:
    def setup() -> None:
        if disk is None:
            raise Skip("a small disk cannot be mounted here")

    return setup


def _small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))


def _all_told(count: int, out: str) -> Callable[[Ran], Iterator[str]]:
    """Every photo is told of, under one key or several; what is written is whole."""

    def also(ran: Ran) -> Iterator[str]:
        from PIL import Image

        for path in Path(out).rglob("*.png"):
            try:
                Image.open(path).load()
            except (OSError, SyntaxError):
                yield f"pictures whole or not at all; {path.name}"
        left = [path.name for path in Path(out).rglob("*") if path.suffix in {".part", ".tmp"}]
        if left:
            yield f"nothing left half-written; {left}"
        Path(out).exists() and subprocess.run(["rm", "-rf", out], check=False)
        if ran.out[:1] == b"{" and b'"photos"' in ran.out:
            keys = ("photos", "failed", "unwritten", "untried")
            rows = [row for key in keys for row in ran.document[key]]
            told = {row if isinstance(row, str) else row["photo"] for row in rows}
            if len(told) != count:
                yield f"{count} photos told of; {len(told)}"
        elif "--json" in out and "explain" in out and ran.code:
            yield f"a JSON that tells of {count} photos; none"

    return also
