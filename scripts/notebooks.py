"""Run the notebooks of examples/notebooks, and save them with what they show.

    python scripts/notebooks.py                # all of them
    python scripts/notebooks.py own_network

A translation (`article.zh.ipynb`) has the same code as its original, up to comments, and so it gets
what the original shows. A notebook that fails, warns, or shows a path of this machine is not saved.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import nbclient
import nbformat

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "examples" / "notebooks"
LANGUAGES = ("zh",)

#: Warnings fail. That of tqdm, which timm imports, is about widgets that are not installed.
WARNINGS = "error::UserWarning,error::RuntimeWarning,ignore:IProgress not found"


def originals() -> list[Path]:
    """Return the notebooks that are no translations."""
    return sorted(path for path in FOLDER.glob("*.ipynb") if "." not in path.stem)


def translations(path: Path) -> list[Path]:
    """Return the translations of a notebook."""
    named = (path.with_name(f"{path.stem}.{language}.ipynb") for language in LANGUAGES)
    return [path for path in named if path.exists()]


def read(path: Path) -> Any:
    """Return a notebook."""
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def code_cells(notebook: Any) -> list[Any]:
    """Return the cells that hold code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def executed(path: Path, folder: Path | str) -> Any:
    """Run a notebook from top to bottom with a working directory, and return it with its outputs.

    Raises:
        CellExecutionError: A cell failed.
        RuntimeError: A cell warned, or shows where it ran.
    """
    notebook = read(path)
    # A backend that draws into files, as the command line sets it, would show no picture.
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    nbclient.NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    ).execute(env=environment | {"PYTHONWARNINGS": WARNINGS})
    for number, cell in enumerate(code_cells(notebook), 1):
        for output in cell.outputs:
            if output.get("name") == "stderr":
                raise RuntimeError(f"Code cell {number} of {path.name} warns: {output['text']}")
        cell.outputs = _with_one_text(cell.outputs)
        shown = str(cell.outputs)
        for place in (ROOT, Path.home(), Path(folder).resolve()):
            if str(place) in shown:
                raise RuntimeError(f"Code cell {number} of {path.name} shows the path {place}.")
    return notebook


def _with_one_text(outputs: list[Any]) -> list[Any]:
    """Join what was printed, which arrives in pieces by chance, and put it before the pictures."""
    printed = [output for output in outputs if output.output_type == "stream"]
    others = [output for output in outputs if output.output_type != "stream"]
    for piece in printed[1:]:
        printed[0].text += piece.text
    return [*printed[:1], *others]


def save(notebook: Any, path: Path) -> None:
    """Write a notebook, without what only this run knows."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")  # type: ignore[no-untyped-call]


def main() -> None:
    """Run the notebooks that are named, or all."""
    import tempfile

    for path in originals():
        if sys.argv[1:] and path.stem not in sys.argv[1:]:
            continue
        with tempfile.TemporaryDirectory() as folder:
            notebook = executed(path, folder)
        save(notebook, path)
        for other in translations(path):
            translated = read(other)
            pairs = zip(code_cells(notebook), code_cells(translated), strict=True)
            for original, own in pairs:
                own.outputs, own.execution_count = original.outputs, original.execution_count
            save(translated, other)
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
