"""Odd paths and names: each beside a good photo, in every command that takes several."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from hostile_tries import photos
from hostile_tries.tiny import MODEL
from hostile_tries.tries import Skip, Try

DRAW = (*MODEL, "--picture", "overlay")
QUICK = (*MODEL, "--methods", "gradcam")
MEASURE = (*QUICK, "--metrics", "insertion:steps=2")

#: Names that a good photo may have. Some end in bytes that are not UTF-8.
NAMES = {
    "newline": "new\nline.jpg",
    "tab": "tab\tbed.jpg",
    "carriage return": "re\rturn.jpg",
    "quotes": "qu'o\"te.jpg",
    "escape": "es\x1b[31mc.jpg",
    "title": "ti\x1b]0;owned\x07tle.jpg",
    "c1 control": "c1\x9b31m.jpg",
    "markup": "[red]bold.jpg",
    "open markup": "[b [.jpg",
    "braces": "{x}%s%d$HOME.jpg",
    "html": "<script>alert(1).jpg",
    "backslash": "back\\slash\\n.jpg",
    "space": " space .jpg",
    "dots": "...jpg",
    "hidden": ".hidden.jpg",
    "emoji": "😀é漢.jpg",
    "right to left": "a\u202egpj.jpg",
    "not utf-8": os.fsdecode(b"\xff\xfe\x80.jpg"),
    "half utf-8": os.fsdecode(b"caf\xc3.jpg"),
    "no suffix": "nosuffix",
    "upper": "UPPER.JPEG",
    "dash": "-dash.jpg",
    "option": "--json.jpg",
    "glob": "*[a-z]?.jpg",
    "225 bytes": "l" * 221 + ".jpg",
    "255 bytes": "x" * 251 + ".jpg",
    "255 bytes of emoji": "é" * 125 + "x.jpg",
}


def tries(work: Path) -> Iterator[Try]:
    """Yield them."""
    good = photos.good(work / "good")
    other = photos.good(work / "good", "other.jpg", 1)
    yield from _names(work / "names", good)
    bad = _bad_paths(work / "bad", good)
    for name, path in bad.items():
        yield from _beside(name, path, good, other)
    yield from _empty(good)
    yield from _forbidden(work / "forbidden", good, other)
    yield from _folders(work / "folders", good)
    yield from _scripts(work / "scripts")


#: Scripts that cannot be migrated.
SCRIPTS = {
    "binary": b"\x89PNG\r\n\x1a\n\xff",
    "with a null byte": b"import pytorch_grad_cam\0\n",
    "nested deeply": b"import pytorch_grad_cam\n" + b"(" * 100_000,
    "of many signs": b"import pytorch_grad_cam\nx = " + b"-" * 100_000 + b"1\n",
    "of a long chain": b"import pytorch_grad_cam\nx = a" + b".a" * 100_000 + b"\n",
    "not finished": b"import pytorch_grad_cam\nwith GradCAM(",
    "empty": b"",
}


def _scripts(folder: Path) -> Iterator[Try]:
    folder.mkdir()
    for told, data in SCRIPTS.items():
        path = folder / f"{told}.py"
        path.write_bytes(data)
        for more in ((), ("--json",), ("--diff",)):
            name = f"script {told}: migrate {' '.join(more)}".rstrip()
            yield Try(name, ("migrate", str(path), *more), codes=(1,), says=("script",))
    for out in (folder / "empty.py", folder):
        name = f"migrate --out {out.name}"
        argv = ("migrate", str(folder / "empty.py"), "--out", str(out))
        yield Try(name, argv, codes=(1, 2))
    yield Try("no script: migrate", ("migrate", str(folder / "none.py")), codes=(2,))


def _names(folder: Path, good: str) -> Iterator[Try]:
    folder.mkdir()
    data = Path(good).read_bytes()
    for told, name in NAMES.items():
        (folder / name).write_bytes(data)
        photo = str(folder / name)
        many = (good, photo)
        yield Try(
            f"name with {told}: explain --json",
            ("explain", *many, *DRAW, "--json"),
            done=("good.jpg", name),
        )
        yield Try(f"name with {told}: explain", ("explain", *many, *DRAW), says=("good",))
        yield Try(f"name with {told}: npz", ("explain", *many, *MODEL, "-f", "npz", "--json"))
        yield Try(f"name with {told}: walkthrough", ("walkthrough", photo, *MODEL, "--json"))
        yield Try(
            f"name with {told}: compare",
            ("compare", *many, *QUICK, "--json"),
            done=("good.jpg", name),
        )
        yield Try(f"name with {told}: measure", ("measure", *many, *MEASURE), says=("n = 2",))
        yield Try(f"name with {told}: sanity", ("sanity", *many, *QUICK, "--steps", "2", "--json"))
        yield Try(f"name with {told}: trace", ("trace", photo, *MODEL, "--save", "npz", "--json"))
        broken = folder / f"broken-{name}" if len(os.fsencode(name)) < 240 else None
        if broken:
            broken.write_bytes(data[:99])
            yield Try(
                f"broken, name with {told}: explain",
                ("explain", good, str(broken), *DRAW),
                codes=(1,),
                says=("good", "broken"),
            )
            yield Try(
                f"broken, name with {told}: measure",
                ("measure", good, str(broken), *MEASURE),
                codes=(1,),
                says=("n = 1", "broken"),
            )
    yield Try(
        "all names: explain", ("explain", str(folder), *DRAW), codes=(1,), says=("upper|UPPER",)
    )
    yield Try(
        "all names: explain --json",
        ("explain", str(folder), *DRAW, "--json"),
        codes=(1,),
        done=tuple(name for name in NAMES.values() if Path(name).suffix and name[0] != "."),
    )


def _bad_paths(folder: Path, good: str) -> dict[str, str]:
    """Paths that are no photo: what they are, and the path."""
    folder.mkdir()
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "ping.jpg").symlink_to("pong.jpg")
    (folder / "pong.jpg").symlink_to("ping.jpg")
    (folder / "dangling.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(folder / "fifo.jpg")
    (folder / "zero.jpg").symlink_to("/dev/zero")
    (folder / "random.jpg").symlink_to("/dev/urandom")
    (folder / "null.jpg").symlink_to("/dev/null")
    (folder / "empty.jpg").touch()
    (folder / "socket.jpg").symlink_to(_socket(folder))
    return {
        "symlink loop": str(folder / "loop.jpg"),
        "symlinks in a ring": str(folder / "ping.jpg"),
        "path through a loop": str(folder / "loop.jpg" / "x.jpg"),
        "dangling link": str(folder / "dangling.jpg"),
        "fifo": str(folder / "fifo.jpg"),
        "device zero": str(folder / "zero.jpg"),
        "device random": str(folder / "random.jpg"),
        "device null": str(folder / "null.jpg"),
        "/dev/zero": "/dev/zero",
        "socket": str(folder / "socket.jpg"),
        "empty file": str(folder / "empty.jpg"),
        "missing": str(folder / "missing.jpg"),
        "photo as a folder": good + "/x.jpg",
        "300 bytes": "y" * 296 + ".jpg",
        "300 bytes in a folder": str(folder / ("y" * 296 + ".jpg")),
        "5000 bytes": str(folder / ("d/" * 2500 + "x.jpg")),
        "long, not utf-8": os.fsdecode(b"\xff" * 300) + ".jpg",
    }


def _socket(folder: Path) -> str:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(folder / "s"))
    server.detach()
    return "s"


def _beside(name: str, path: str, good: str, other: str) -> Iterator[Try]:
    """One bad path never ends the batch, whatever its place in the row."""
    blame = () if name == "empty file" else ("damaged or cut short", r"is empty \(0 bytes\)")
    # a name that is not there may be a request that has to change: then nothing is done
    missing = name in {"missing", "dangling link"}
    codes = (1, 2) if missing or "bytes" in name or "long" in name else (1,)
    seen = () if missing else ("good.jpg", "other.jpg")
    two = () if missing else ("n = 2",)
    never = () if name == "device null" else blame
    for place, row in {"first": (path, good, other), "in the middle": (good, path, other)}.items():
        yield Try(
            f"{name} {place}: explain --json",
            ("explain", *row, *DRAW, "--json"),
            codes=codes,
            done=seen,
            failed=() if missing else (path.rsplit("/", 1)[-1],),
            never=never,
        )
    row = (good, path, other)
    yield Try(f"{name}: explain", ("explain", *row, *DRAW), codes=codes, says=seen, never=never)
    yield Try(f"{name}: compare", ("compare", *row, *QUICK, "--json"), codes=codes, done=seen)
    yield Try(f"{name}: measure", ("measure", *row, *MEASURE), codes=codes, says=two)
    yield Try(
        f"{name}: measure --json",
        ("measure", *row, *MEASURE, "--json"),
        codes=codes,
        says=() if missing else ('"n": 2',),
    )
    sanity = ("sanity", *row, *QUICK, "--steps", "2", "--json")
    yield Try(f"{name}: sanity", sanity, codes=codes, says=())
    alone = (1, 2)
    yield Try(f"{name}: walkthrough", ("walkthrough", path, *MODEL), codes=alone, never=never)
    yield Try(f"{name}: walkthrough --json", ("walkthrough", path, *MODEL, "--json"), codes=alone)
    yield Try(f"{name}: trace", ("trace", path, *MODEL), codes=alone, never=never)
    yield Try(f"{name}: concepts", ("concepts", *row, *MODEL, "--count", "2"), codes=(0, 1, 2))
    yield Try(f"{name}: layers", ("layers", "--photo", path, *MODEL), codes=alone, never=never)
    for option in ("--classes", "--weights"):
        yield Try(f"{name}: {option}", ("explain", good, *DRAW, option, path), codes=alone)
    for option in ("--masks", "--boxes", "--names", "--match"):
        yield Try(f"{name}: {option}", ("measure", good, *MEASURE, option, path), codes=alone)


def _empty(good: str) -> Iterator[Try]:
    """An empty name is never the working directory."""
    here = {"here.jpg": ""}
    for command in ("explain", "compare", "measure", "sanity", "concepts", "walkthrough", "trace"):
        for row in (("",), (good, "")) if command not in {"walkthrough", "trace"} else (("",),):
            for more in ((), ("--json",)) if command != "concepts" else ((),):
                told = (
                    f"empty name: {command} {'beside a good one ' * (len(row) - 1)}{' '.join(more)}"
                )
                yield Try(
                    told,
                    (command, *row, *MODEL, *more),
                    codes=(2,),
                    files=here,
                    seconds=20,
                    says=("[Ee]mpty",),
                )
    for command, option in (
        ("measure", "--masks"),
        ("measure", "--boxes"),
        ("measure", "--names"),
        ("measure", "--match"),
        ("measure", "--classes"),
        ("explain", "--classes"),
        ("explain", "--weights"),
        ("explain", "--model"),
        ("explain", "--out"),
        ("measure", "--out"),
        ("walkthrough", "--out"),
        ("compare", "--out"),
        ("trace", "--out"),
        ("layers", "--photo"),
        ("layers", "--out"),
    ):
        photo = () if command == "layers" else (good,)
        model = () if option == "--model" else MODEL
        draw = ("--photo", good) if command == "layers" and option == "--out" else ()
        argv = (command, *photo, *model, *draw, option, "")
        codes = (0, 2) if option == "--out" else (2,)  # --out "" may be this folder
        yield Try(f"empty name: {command} {option}", argv, codes=codes, files=here, seconds=20)


def _forbidden(folder: Path, good: str, other: str) -> Iterator[Try]:
    """Photos and folders without permission; root's privileges are dropped in the process."""
    data = Path(good).read_bytes()
    for name in ("closed", "unlisted", "readonly"):
        (folder / name).mkdir(parents=True)
        (folder / name / "in.jpg").write_bytes(data)
    (folder / "secret.jpg").write_bytes(data)
    (folder / "secret.jpg").chmod(0)
    (folder / "closed").chmod(0)
    (folder / "unlisted").chmod(0o111)
    (folder / "readonly").chmod(0o555)
    secret = str(folder / "secret.jpg")
    never = ("damaged or cut short", "is empty")
    for name, path in {
        "unreadable photo": secret,
        "photo in a closed folder": str(folder / "closed" / "in.jpg"),
        "closed folder": str(folder / "closed"),
        "unlisted folder": str(folder / "unlisted"),
    }.items():
        row = (good, path, other)
        yield Try(
            f"{name}: explain",
            ("explain", *row, *DRAW, "--json"),
            codes=(1,),
            setup=unprivileged,
            done=("good.jpg", "other.jpg"),
            never=never,
        )
        yield Try(
            f"{name}: explain, text",
            ("explain", *row, *DRAW),
            codes=(1,),
            setup=unprivileged,
            says=("good.jpg", "other.jpg", Path(path).name),
            never=never,
        )
        yield Try(
            f"{name}: measure",
            ("measure", *row, *MEASURE),
            codes=(1,),
            setup=unprivileged,
            says=("n = 2",),
            never=never,
        )
        yield Try(
            f"{name}: compare",
            ("compare", *row, *QUICK, "--json"),
            codes=(1,),
            setup=unprivileged,
            done=("good.jpg", "other.jpg"),
            never=never,
        )
        yield Try(
            f"{name}: walkthrough",
            ("walkthrough", path, *MODEL),
            codes=(1, 2),
            setup=unprivileged,
            never=never,
        )
    yield Try(
        "folder with an unreadable photo and a closed folder",
        ("explain", str(folder), good, *DRAW, "--json"),
        codes=(1,),
        setup=unprivileged,
        done=("good.jpg", "in.jpg"),
    )
    for option in ("--classes", "--weights"):
        yield Try(
            f"unreadable {option}",
            ("explain", good, *DRAW, option, secret),
            codes=(1, 2),
            setup=unprivileged,
            never=never,
        )
    for command, more in (
        ("explain", DRAW),
        ("measure", MEASURE),
        ("walkthrough", MODEL),
        ("compare", QUICK),
    ):
        for tail in ((), ("--json",)):
            yield Try(
                f"{command} --out in a read-only folder {''.join(tail)}",
                (command, good, *more, "--out", str(folder / "readonly" / "new"), *tail),
                codes=(2,),
                setup=unprivileged,
            )


def unprivileged() -> None:
    """Drop what lets root read everything."""
    if os.geteuid() == 0:
        head, nothing = struct.pack("Ii", 0x20080522, 0), bytes(24)
        capset = getattr(ctypes.CDLL(None), "capset", None)
        if capset is None or capset(head, nothing) != 0:
            raise Skip("the privileges of root cannot be dropped here")
    Path("closed").touch()
    Path("closed").chmod(0)
    if os.access("closed", os.R_OK):
        raise Skip("permissions are not kept to here")


def _folders(folder: Path, good: str) -> Iterator[Try]:
    """Folders that are empty, endless or full of what is no photo."""
    (folder / "empty").mkdir(parents=True)
    (folder / "ring" / "deep").mkdir(parents=True)
    (folder / "ring" / "deep" / "up").symlink_to(folder / "ring")
    (folder / "ring" / "in.jpg").write_bytes(Path(good).read_bytes())
    (folder / "ring" / "again.jpg").symlink_to(folder / "ring" / "in.jpg")
    (folder / "mixed").mkdir()
    (folder / "mixed" / "notes.txt").write_text("no photo")
    (folder / "mixed" / "in.jpg").write_bytes(Path(good).read_bytes())
    (folder / "mixed" / "loop.jpg").symlink_to("loop.jpg")
    (folder / "mixed" / "bad.jpg").write_bytes(b"no photo")
    os.mkfifo(folder / "mixed" / "fifo.jpg")
    for name, codes in {"empty": (1, 2), "ring": (0,), "mixed": (1,)}.items():
        path = str(folder / name)
        done = ("in.jpg",) if name == "mixed" else ()
        yield Try(
            f"{name} folder: explain", ("explain", path, *DRAW, "--json"), codes=codes, done=done
        )
        yield Try(
            f"{name} folder beside a good photo",
            ("explain", path, good, *DRAW, "--json"),
            codes=(0, 1, 2),
            done=("good.jpg",),
        )
        yield Try(f"{name} folder: measure", ("measure", path, *MEASURE), codes=codes)
        yield Try(
            f"{name} folder: compare", ("compare", path, *QUICK, "--json"), codes=codes, done=done
        )
