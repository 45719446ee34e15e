"""What commands print: one JSON document for a machine, and text that nothing spoils."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

import limelight.cli
from helpers.commands import Runner, folder, run, save_photo
from limelight.cli import output
from limelight.plain import visible

__all__ = ["folder", "run"]

NETS = """
import os, sys
from torch import nn

print("imported")

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)
    def forward(self, x):
        print("forward")
        return self.fc(self.conv(x).mean((2, 3)))

class Leaving(Net):
    def forward(self, x):
        sys.exit(0)

class Telling(Net):
    def forward(self, x):
        raise RuntimeError("first\\nsecond \\x1b[31mline\\nthird")

class Stopped(Net):
    def __init__(self):
        raise KeyboardInterrupt
"""


def own(folder: Path, name: str, network: str) -> tuple[str, ...]:
    """Write a module of the user's, and return the options that name a network in it."""
    (folder / f"{name}.py").write_text(NETS)
    save_photo(folder / "a.png")
    return "explain", "a.png", "--model", f"{name}:{network}", "--layer", "conv", "--size", "32"


def test_prints_of_the_users_model_are_no_part_of_the_document(run: Runner, folder: Path) -> None:
    code, out, err = run(*own(folder, "loud_nets", "Net"), "--json")
    assert code == 0
    assert len(json.loads(out)["photos"]) == 1
    assert "imported\n" in err
    assert "forward\n" in err


def test_what_goes_to_the_descriptor_is_no_part_of_the_document_either() -> None:
    program = (
        "import atexit, os, sys\n"
        "from limelight.cli import output\n"
        "with output.for_a_machine():\n"
        "    print('print')\n"
        "    os.write(1, b'descriptor\\n')\n"
        "    os.system('echo process')\n"
        "    atexit.register(print, 'exit')\n"
        "    output.document({'a': 1})\n"
        "print('after')\n"
        "with output.for_a_machine():\n"
        "    output.document({'b': 2})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    one, text, two = done.stdout.partition("after\n")
    assert text
    assert json.loads(one) == {"a": 1}
    assert json.loads(two) == {"b": 2}
    assert sorted(done.stderr.split()) == ["descriptor", "exit", "print", "process"]


@pytest.mark.parametrize(
    ("args", "kind", "message", "expected"),
    [
        (("explain", "--topk", "0"), "UsageError", "--topk", 2),
        (("explain", "--frobnicate"), "UsageError", "See 'limelight explain --help'.", 2),
        (("concepts",), "UsageError", "No such option", 2),
        (("explain", "--target", "3", "--topk", "2"), "UsageError", "not both", 2),
        (("frobnicate",), "UsageError", "No such command 'frobnicate'", 2),
        (("models", "resnet5O"), "UnknownNameError", "Did you mean 'resnet50'", 2),
        (("layers", "--model", "nowhere:net"), "ModelError", "Cannot import 'nowhere'", 2),
        (("explain", "--mean", "-1"), "OptionError", "numbers in 0..1 were expected", 2),
        (("explain", "--std", "nan"), "OptionError", "numbers in 0..1 were expected", 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_an_error_is_a_document_too(
    run: Runner, args: tuple[str, ...], kind: str, message: str, expected: int
) -> None:
    code, out, err = run(*args, "--json")
    error = json.loads(out)["error"]
    assert code == error["exit_code"] == expected
    assert error["type"] == kind
    assert message in error["message"]
    assert err.startswith("Error: ")


def test_help_is_text_with_json_as_well(run: Runner) -> None:
    assert "Usage" in run("explain", "--json", "--help")[1]


def test_a_model_that_calls_exit_is_told_of(run: Runner, folder: Path) -> None:
    code, out, err = run(*own(folder, "leaving_nets", "Leaving"), "--json")
    assert code == 2
    assert json.loads(out)["error"]["type"] == "ModelError"
    assert "The model's own code called sys.exit(0) (leaving_nets.py, line 17)" in err
    assert not list(folder.glob("limelight-out/*"))


def test_all_lines_of_a_models_message_are_told_and_no_terminal_obeys_them(
    run: Runner, folder: Path
) -> None:
    code, _, err = run(*own(folder, "telling_nets", "Telling"))
    assert code == 1
    assert "RuntimeError: first\nsecond \\x1b[31mline\nthird" in err
    assert "\x1b" not in err
    code, out, _ = run(*own(folder, "telling_nets", "Telling"), "--json")
    assert "second \x1b[31mline" in json.loads(out)["error"]["message"]


def test_an_interrupt_while_loading_has_a_word(run: Runner, folder: Path) -> None:
    args = own(folder, "stopped_nets", "Stopped")
    code, out, err = run(*args)
    assert code == 130
    assert err.endswith("Interrupted.\n")
    code, out, _ = run(*args, "--json")
    assert code == 130
    assert json.loads(out)["error"]["type"] == "Interrupted"


def test_a_traceback_is_shown_beside_the_document(run: Runner) -> None:
    code, out, err = run("--traceback", "models", "resnet5O", "--json")
    assert code == 2
    assert "Traceback (most recent call last)" in err
    assert json.loads(out)["error"]["type"] == "UnknownNameError"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_a_report_reaches_a_stream_that_cannot_encode_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    photo = save_photo(folder / "a.png").rename(folder / "t\udcfftö ψ.png")
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "argv", ["limelight", "explain", str(photo), "--picture", "heatmap"])
    with pytest.raises(SystemExit) as ended:
        limelight.cli.main()
    assert ended.value.code == 0
    assert isinstance(stream.buffer, io.BytesIO)
    text = stream.buffer.getvalue().decode(encoding)
    assert "t\\udcfft" in text
    assert ("█" if encoding == "utf-8" else "#") in text
    assert ("ψ" if encoding == "utf-8" else "\\u03c8") in text


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\x9b31mb\x07", "a\\x9b31mb\\x07"),
        ("a\u202egpj.b", "a\\u202egpj.b"),
        ("a\tb\nc ö 😀", "a\tb\nc ö 😀"),
    ],
)
def test_a_terminal_obeys_no_name(given: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert visible(given) == shown
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    output.Console().print(given, soft_wrap=True)
    assert not set(stream.getvalue()) & set("\x1b\x9b\x07\u202e")


def test_a_report_that_stdout_has_no_room_for_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    code = "import sys; from limelight.cli import main; sys.argv[1:] = ['methods']; main()"
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, check=False)
    assert done.returncode == 2
    assert "The report cannot be written to stdout: No space left" in capfd.readouterr().err


def test_a_terminal_of_no_width_is_taken_for_one_of_80(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "0")
    assert output.Console().width == 80
