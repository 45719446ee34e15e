"""`limelight migrate`: what it prints, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.commands import Runner, folder, run

__all__ = ["folder", "run"]  # fixtures

OLD = """\
from pytorch_grad_cam import GradCAM

cam = GradCAM(model=model, target_layers=[layer], use_cuda=True)
grayscale = cam(input_tensor=x, targets=None)
cam = GradCAM(model=build(), target_layers=[layer])
other = cam(input_tensor=x, targets=None)
"""
NEW = """\
from limelight.compat.pytorch_grad_cam import GradCAM
import limelight

result = limelight.explain(model, x, method="gradcam", layer=layer)
grayscale = result.heatmap.cpu().numpy()
# limelight migrate: kept, as the model is made inside the call; give it a name first (line 6)
cam = GradCAM(model=build(), target_layers=[layer])
other = cam(input_tensor=x, targets=None)
"""
TOLD = [
    "line 4: use_cuda is left out: move the model and the images with .to('cuda')",
    "line 5: kept: GradCAM: the model is made inside the call; give it a name first (line 6)",
]


@pytest.fixture
def script(folder: Path) -> Path:
    path = folder / "script.py"
    path.write_text(OLD)
    return path


def test_the_new_script_is_printed_and_the_rest_told(run: Runner, script: Path) -> None:
    code, out, err = run("migrate", "script.py")
    assert (code, out) == (0, NEW)
    assert err.splitlines() == TOLD
    assert script.read_text() == OLD
    assert [path.name for path in script.parent.iterdir()] == ["script.py"]


def test_a_diff(run: Runner, script: Path) -> None:
    code, out, err = run("migrate", "script.py", "--diff")
    assert code == 0
    assert out.startswith("--- a/script.py\n+++ b/script.py\n@@ ")
    assert '+result = limelight.explain(model, x, method="gradcam", layer=layer)\n' in out
    assert "\n other = cam(input_tensor=x, targets=None)\n" in out
    assert err.splitlines() == TOLD


def test_a_file(run: Runner, script: Path) -> None:
    code, out, _ = run("migrate", "script.py", "--out", "new/script.py")
    assert (code, out) == (0, "")
    assert Path("new/script.py").read_text() == NEW
    assert script.read_text() == OLD


def test_for_a_machine(run: Runner, script: Path) -> None:
    code, out, _ = run("migrate", "script.py", "--json")
    report = json.loads(out)
    assert code == 0
    assert report["script"] == NEW
    assert [remark["line"] for remark in report["remarks"]] == [4, 5]
    assert [remark["kept"] for remark in report["remarks"]] == [False, True]


def test_the_script_itself_is_never_overwritten(run: Runner, script: Path) -> None:
    Path("link.py").symlink_to(script)
    for out in ("script.py", "../" + script.parent.name + "/script.py", "link.py"):
        code, _, err = run("migrate", "script.py", "--out", out)
        assert code == 2
        assert err == (
            f"Error: Cannot write '{out}': it is the script itself. Pass another path. On the "
            "command line it is --out.\n"
        )
    assert script.read_text() == OLD


@pytest.mark.parametrize(
    ("content", "code", "told"),
    [
        (None, 2, "The script 'a.py' cannot be read: No such file or directory. Pass a Python"),
        (b"import torch\n", 1, "imports none of pytorch_grad_cam, torchcam and captum"),
        (b"", 1, "imports none of pytorch_grad_cam, torchcam and captum"),
        (b"import pytorch_grad_cam\nprint 'x'\n", 1, "that can be parsed: line 2, \"print 'x'\"."),
        (b"\x89PNG\xff", 1, "'a.py' is not text in UTF-8, but a Python script was expected."),
        (b"import pytorch_grad_cam\n\0", 1, "is not Python that can be parsed"),
        (b"(" * 5000, 1, "is not Python that can be parsed"),
        (b"import pytorch_grad_cam\na" + b".a" * 900, 1, "is nested too deeply to be read"),
    ],
)
def test_what_cannot_be_migrated(
    run: Runner, folder: Path, content: bytes | None, code: int, told: str
) -> None:
    if content is not None:
        (folder / "a.py").write_bytes(content)
    for more in ((), ("--json",)):
        ended, out, err = run("migrate", "a.py", *more)
        assert ended == code
        assert told in err
        assert json.loads(out)["error"]["exit_code"] == code if more else out == ""


def test_a_folder_is_no_script(run: Runner, folder: Path) -> None:
    (folder / "a").mkdir()
    code, _, err = run("migrate", "a")
    assert code == 2
    assert "The script 'a' cannot be read" in err


def test_a_notebook_is_refused(tmp_path: Path, run: Runner) -> None:
    notebook = tmp_path / "cat.ipynb"
    notebook.write_text("{}")
    code, _, err = run("migrate", str(notebook))
    assert code == 1
    assert "is a notebook, but a Python script was expected" in " ".join(err.split())
    assert "jupyter nbconvert --to script cat.ipynb" in " ".join(err.split())
