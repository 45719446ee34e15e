"""What other systems and later Pythons do otherwise: encodings, modules of Unix alone, forking."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import limelight

SOURCE = Path(limelight.__file__).parent

#: Modules that Windows has not, and what Python 3.13 and 3.14 took out of the standard library.
NOT_EVERYWHERE = {
    *("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"),
    *("cgi", "crypt", "imghdr", "nis", "pipes", "sndhdr", "telnetlib", "uu", "xdrlib"),
}

#: Attributes that Windows has not, and such as Python 3.14 took away.
NO_ATTRIBUTES = {
    "os": {
        "fork",
        "forkpty",
        "getuid",
        "geteuid",
        "getpgid",
        "killpg",
        "mkfifo",
        "setsid",
        "uname",
    },
    "signal": {"SIGALRM", "SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "alarm", "setitimer", "pause"},
    "ast": {"Num", "Str", "Bytes", "NameConstant", "Ellipsis"},
    "asyncio": {"get_event_loop", "set_event_loop_policy", "get_event_loop_policy"},
    "codecs": {"open"},
    "pkgutil": {"find_loader", "get_loader"},
    "time": {"tzset"},
}


def calls_in(text: str) -> Iterator[ast.Call]:
    """Yield the calls in a source."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            yield node


def is_without_encoding(call: ast.Call) -> bool:
    """Return whether a call reads or writes text in the encoding that a machine happens to have.

    `limelight.files.read_text` is always UTF-8.
    """
    function, names = call.func, {each.arg for each in call.keywords}
    if isinstance(function, ast.Name):
        is_text = function.id == "open" and (len(call.args) < 2 or _is_text_mode(call.args[1:2]))
    elif isinstance(function, ast.Attribute):
        owner = function.value.id if isinstance(function.value, ast.Name) else ""
        is_text = {
            "read_text": owner != "files" and not call.args,
            "write_text": owner != "files",
            "NamedTemporaryFile": _is_text_mode(call.args[:1]),
            "open": _is_text_mode(call.args[:1]) or (not call.args and "path" in owner),
            "run": "text" in names,
        }.get(function.attr, False)
    else:
        is_text = False
    return is_text and "encoding" not in names


def _is_text_mode(argument: list[ast.expr]) -> bool:
    (value,) = argument or (ast.Constant(None),)
    mode = value.value if isinstance(value, ast.Constant) else None
    return isinstance(mode, str) and re.fullmatch("[rwaxt+]+", mode) is not None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("path.read_text()", 1),
        ("path.write_text('a')", 1),
        ("open('a')", 1),
        ("open('a', 'w')", 1),
        ("path.open()", 1),
        ("path.open('a')", 1),
        ("subprocess.run(['a'], text=True)", 1),
        ("path.read_text(encoding='utf-8')", 0),
        ("open('a', 'rb')", 0),
        ("path.open('wb')", 0),
        ("Image.open(path)", 0),
        ("read_text(path)", 0),
        ("files.read_text(path)", 0),
    ],
)
def test_a_text_without_its_encoding_is_found(text: str, found: int) -> None:
    assert sum(map(is_without_encoding, calls_in(text))) == found


def test_texts_are_read_and_written_in_a_named_encoding() -> None:
    # On Windows the default is a code page of the country, before Python 3.15.
    wrong = [
        f"{path.relative_to(SOURCE)}:{call.lineno}"
        for path in SOURCE.rglob("*.py")
        for call in calls_in(path.read_text(encoding="utf-8"))
        if is_without_encoding(call)
    ]
    assert wrong == []


def test_nothing_that_only_some_systems_or_old_pythons_have_is_used() -> None:
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not NOT_EVERYWHERE & {name.partition(".")[0] for name in names}, path
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                gone = NO_ATTRIBUTES.get(node.value.id, set())
                assert node.attr not in gone, f"{path}:{node.lineno}"


def test_nothing_relies_on_how_processes_are_started() -> None:
    # Python 3.14 begins them on Linux with a server and no longer by a fork.
    for path in SOURCE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\bmultiprocessing\b|\bProcessPoolExecutor\b", text), path


def test_no_finally_swallows_an_error() -> None:
    # Python 3.14 warns of each: a return that leaves a `finally` block.
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            last = node.finalbody if isinstance(node, ast.Try) else []
            inside = [each for statement in last for each in ast.walk(statement)]
            leaving = [each.lineno for each in inside if isinstance(each, ast.Return)]
            assert leaving == [], path
