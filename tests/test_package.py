from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import limelight
from limelight import errors
from limelight.cli import COMMANDS, load_command
from limelight.cli.words import PASSED, paragraphs, worded
from limelight.methods import METHODS

SOURCE = Path(limelight.__file__).parent
HEAVY = ("torchvision", "timm", "matplotlib", "typer", "rich", "skimage", "scipy", "safetensors")


def told_by(code: str, *args: str) -> str:
    """Return what code prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


LOADED = "import sys; print([m for m in sys.argv[1:] if m in sys.modules])"


def test_import_loads_nothing() -> None:
    assert told_by(f"import limelight; {LOADED}", *HEAVY, "torch", "PIL", "numpy") == "[]"


def test_what_is_offered_needs_nothing_heavy() -> None:
    assert told_by(f"from limelight import *; explain; {LOADED}", *HEAVY) == "[]"


def test_the_help_waits_for_no_torch() -> None:
    code = """
import atexit, sys, limelight.cli
atexit.register(lambda: print("torch" in sys.modules))
sys.argv[1:] = sys.argv[1].split()
limelight.cli.main()
"""
    assert told_by(code, "--help").endswith("False")
    assert told_by(code, "--version").endswith("False")
    assert told_by(code, "methods").endswith("True")


def test_a_first_map_waits_for_no_library_that_it_does_not_need(tmp_path: Path) -> None:
    code = """
import gc, sys, limelight.cli
unwanted, sys.argv[1:] = sys.argv[1].split(), ["explain", "--out", sys.argv[2]]
try:
    limelight.cli.main()
finally:
    print([name for name in unwanted if name in sys.modules], gc.isenabled())
"""
    unwanted = "torchvision timm skimage scipy safetensors transformers matplotlib.pyplot"
    said = told_by(code, unwanted, str(tmp_path / "picture.png"))
    assert said.splitlines()[-1] == "[] True", said


def test_the_help_tells_of_commands_what_they_tell_themselves() -> None:
    for name, summary in COMMANDS.items():
        assert (load_command(name).help or "").splitlines()[0] == summary


def test_public_names_are_sorted_and_exist() -> None:
    # METHODS first, then classes, then functions: the order that sorts constants before names.
    assert limelight.__all__ == sorted(limelight.__all__, key=lambda n: (not n.isupper(), n))
    for name in limelight.__all__:
        assert getattr(limelight, name).__doc__ or name == "METHODS"


def test_public_names_are_told_to_type_checkers() -> None:
    source = ast.parse((SOURCE / "__init__.py").read_text())
    (shown,) = [node for node in source.body if isinstance(node, ast.If)]
    imported = [node for node in shown.body if isinstance(node, ast.ImportFrom)]
    told = {alias.asname: node.module for node in imported for alias in node.names if alias.asname}
    modules = vars(limelight)["_MODULE_OF"]
    assert told == {name: f"limelight.{module}" for name, module in modules.items()}
    assert set(limelight.__all__) == told.keys() <= set(dir(limelight))


def test_modules_are_attributes_and_nothing_else_is() -> None:
    assert limelight.errors is errors
    with pytest.raises(AttributeError, match="module 'limelight' has no attribute 'explian'"):
        _ = limelight.explian


def users_of(pattern: str) -> set[str]:
    return {
        path.relative_to(SOURCE).parts[0]
        for path in SOURCE.rglob("*.py")
        if re.search(pattern, path.read_text())
    }


def test_only_the_runtime_hooks_and_differentiates() -> None:
    assert users_of(r"\.backward\(|autograd\.grad|register_\w*backward") == {"runtime"}
    assert users_of(r"register_forward") == {"runtime"}
    assert users_of(r"TorchFunctionMode") == {"runtime"}


def test_every_error_is_limelights_and_pythons() -> None:
    raised = [
        e for e in vars(errors).values() if isinstance(e, type) and e.__module__ == errors.__name__
    ]
    for error in raised:
        assert issubclass(error, limelight.LimelightError)
        assert error.__name__ in (errors.__doc__ or "")
        if error is not limelight.LimelightError:
            assert issubclass(error, ValueError | TypeError | LookupError)
        assert str(error("one sentence")) == "one sentence"
        assert error.exit_code in (1, 2)


def test_near_names() -> None:
    known = ["tabby", "tiger cat", "Egyptian cat", "catamaran", "dog"]
    assert errors.nearest("TABY", known) == ["tabby"]
    assert errors.nearest("cat", known)[:3] == ["tiger cat", "Egyptian cat", "catamaran"]
    assert errors.nearest("qqqq", known) == []
    assert "Look there." in str(errors.unknown("class", "qqqq", known, "Look there."))


@pytest.mark.parametrize("name", METHODS)
def test_every_row_of_methods_is_whole(name: str) -> None:
    row = METHODS[name]
    assert row.name == name
    assert row.formula
    assert re.search(r"\b(19|20)\d\d\b", row.paper)
    assert row.use.endswith(".")
    assert row.avoid.endswith(".")
    assert row.function.__doc__
    assert re.search(r"\b(19|20)\d\d\b", row.function.__doc__)


def test_the_version_is_that_of_the_command_and_needs_no_torch() -> None:
    code = f"import limelight; print(limelight.__version__); {LOADED}"
    said, loaded = told_by(code, *HEAVY, "torch").splitlines()
    command = told_by(
        "import sys; from limelight.cli import main; sys.argv[1:] = ['--version']; main()"
    )
    assert (command, loaded) == (f"limelight {said}", "[]")
    assert said == limelight.__version__


def test_the_library_does_not_speak_of_the_command_lines_options() -> None:
    for path in SOURCE.rglob("*.py"):
        if SOURCE / "cli" in path.parents:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found = re.search(r"(?<![\w-])--[a-z]", node.value)
                assert found is None, f"{path.name}, line {node.lineno}: {node.value}"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (errors.OutputError("Pass another path."), "path. On the command line it is --out."),
        (errors.OutputError("--out is one file."), "--out is one file."),
        (
            errors.LayerError("Name it with layer=..., please."),
            "Name it with --layer LAYER, please.",
        ),
        (
            errors.WeightsError("(weights='none'), weights='FILE'"),
            "(--weights none), --weights FILE",
        ),
        (errors.OptionError("Pass classes=[...]."), "Pass --classes FILE."),
        (errors.MethodError("Use method='gradcam'."), "Use --method gradcam."),
        (errors.PhotoError("or explain it with views=tiles()."), "or explain it with --tiles."),
        (
            errors.PhotoError("\"layer='x'.jpg\" cannot be read: pass layer=..."),
            "\"layer='x'.jpg\" cannot be read: pass --layer LAYER",
        ),
        (
            errors.PhotoError("'layer=....jpg' is not the class's."),
            "'layer=....jpg' is not the class's.",
        ),
        (errors.ModelError("KeyError: layer='x'"), "KeyError: layer='x'"),
        (errors.OutputError("No room on stdout."), "No room on stdout."),
        (
            errors.OutputError("'a.gif': its suffix should be one of npz, png."),
            "'a.gif': its suffix should be one of npz, png.",
        ),
        (
            errors.OutputError(
                "'--out': Is a folder. There is one of that name: pass another one."
            ),
            "pass another one. On the command line it is --out.",
        ),
        (
            errors.TargetError("Say output=..., or outlayer=..."),
            "Say --output KEY, or outlayer=...",
        ),
    ],
    ids=str,
)
def test_the_command_line_says_its_own_options(error: errors.LimelightError, says: str) -> None:
    assert worded(error).endswith(says)


def test_all_that_the_library_tells_to_pass_has_an_option() -> None:
    told = set[str]()
    for path in SOURCE.rglob("*.py"):
        if SOURCE / "cli" not in path.parents:
            text = (
                r"(?<!\w)(?:classes|layer|method|output|weights|views)="
                r"(?:\.\.\.|\[\.\.\.\]|'\w+'|tiles\(\))"
                r"|\bwhole=True(?= explains)|\b(?:Take layer|word)=(?=\{)|\bmax_new_tokens(?= is )"
            )
            told |= set(re.findall(text, path.read_text()))
    assert told == set(PASSED)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_is_broken_where_the_terminal_ends(name: str) -> None:
    told = load_command(name).help or ""
    lines = [line for line in told.splitlines() if line]
    assert told.split("\n\n") == lines  # a line is a paragraph
    examples = [line for line in lines if line.startswith("limelight ")]
    for line in set(lines) - set(examples):
        assert line.endswith((".", "[/]")), line
        assert "limelight " not in line or "`limelight " in line  # nothing is joined to an example
    assert (len(examples) > 0) == ("[bold]Examples[/]" in lines)


def test_paragraphs_of_a_docstring_become_lines() -> None:
    text = """First,
    and more.

    [bold]Examples[/]

    limelight a  --b

    limelight c
    """
    expected = "First, and more.\n\n[bold]Examples[/]\n\nlimelight a --b\n\nlimelight c"
    assert paragraphs(text) == expected
