from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import limelight
from limelight import errors
from limelight.methods import METHODS

SOURCE = Path(limelight.__file__).parent
HEAVY = ("torchvision", "timm", "matplotlib", "typer", "rich", "skimage", "scipy", "safetensors")


def test_import_loads_nothing_heavy() -> None:
    code = "import limelight, sys; print([m for m in sys.argv[1:] if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code, *HEAVY], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_public_names_are_sorted_and_exist() -> None:
    # METHODS first, then classes, then functions: the order that sorts constants before names.
    assert limelight.__all__ == sorted(limelight.__all__, key=lambda n: (not n.isupper(), n))
    for name in limelight.__all__:
        assert getattr(limelight, name).__doc__ or name == "METHODS"


def users_of(pattern: str) -> set[str]:
    return {
        path.relative_to(SOURCE).parts[0]
        for path in SOURCE.rglob("*.py")
        if re.search(pattern, path.read_text())
    }


def test_only_the_cut_hooks_and_differentiates() -> None:
    assert users_of(r"\.backward\(|autograd\.grad|register_\w*backward") == {"cut"}
    assert users_of(r"register_forward") == {"cut"}
    assert users_of(r"TorchFunctionMode") == {"cut"}


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
    assert errors.nearest("cat", known)[:2] == ["tiger cat", "catamaran"]
    assert errors.nearest("qqqq", known) == []
    assert "Look there." in str(errors.unknown("class", "qqqq", known, "Look there."))


@pytest.mark.parametrize("name", METHODS)
def test_every_row_of_methods_is_whole(name: str) -> None:
    row = METHODS[name]
    assert row.name == name
    assert row.formula
    assert re.search(r"\b(19|20)\d\d\b", row.paper)
    assert row.use.endswith(".")
    assert row.function.__doc__
    assert re.search(r"\b(19|20)\d\d\b", row.function.__doc__)
