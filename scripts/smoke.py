#!/usr/bin/env python3
"""Install a wheel of limelight into an environment of its own, and use it outside of the tree.

    scripts/smoke.py dist/*.whl           with what it needs: first the core alone, then the extras
    scripts/smoke.py --here dist/*.whl    beside the packages of the Python that runs it, quickly

The source is out of reach: the environment is in a temporary folder, and everything runs there.
The first use that fails is the exit status; what each took is printed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
import time
import venv
from pathlib import Path
from tempfile import TemporaryDirectory

#: A map of a network of one's own, with the core alone.
OWN_NETWORK = """
from pathlib import Path
import torch
from torch import nn
import limelight

assert Path(limelight.__file__).is_relative_to("{folder}"), limelight.__file__
model = nn.Sequential(
    nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU(),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
).eval()
result = limelight.explain(model, torch.rand(2, 3, 64, 64))
assert result.heatmap.shape == (2, 64, 64), result
result.save("maps.npz")
print(result)
"""

#: What lies beside the modules: types, translations, the page's own files.
FILES = """
import re
from importlib.metadata import version
from importlib.resources import files
from urllib.request import urlopen
import limelight
from limelight.translations.library import translated

assert limelight.__version__ == version("limelight") == "{version}", limelight.__version__
inside = files("limelight")
assert (inside / "py.typed").is_file()
assert translated("nothing", "zh") not in (None, "nothing")
with limelight.page() as page:
    for part in sorted((inside / "web" / "static").rglob("*")):
        if part.is_file() and part.name != "index.html":
            way = part.relative_to(inside / "web" / "static").as_posix()
            with urlopen(f"{{page.url}}static/{{way}}", timeout=60) as answer:
                assert answer.read() == part.read_bytes(), way
    index = urlopen(page.url, timeout=60).read().decode()
    assert re.search(r"<title>.*limelight", index), index[:400]
print("the page and its files")
"""


def environment(folder: Path, wheel: Path, *, here: bool) -> Path:
    """Return the Python of a new environment with the wheel, and with what its core needs."""
    venv.create(folder, with_pip=not here, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not here:
        pip(python, str(wheel))
        return python
    pip(Path(sys.executable), "--python", str(python), "--no-index", "--no-deps", str(wheel))
    # The packages of this Python come after that. A .pth file in a folder that a .pth file names is
    # not read, and so an editable limelight is not found.
    own = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    (Path(own) / "packages_of_another.pth").write_text(
        f"{sysconfig.get_path('purelib')}\n", encoding="utf-8"
    )
    return python


def pip(python: Path, *arguments: str) -> None:
    """Let pip install something; options for pip itself come first."""
    before = [arguments[0], arguments[1]] if arguments[0] == "--python" else []
    rest = arguments[len(before) :]
    quiet = ["--quiet", "--disable-pip-version-check"]
    subprocess.run([python, "-m", "pip", *before, "install", *quiet, *rest], check=True)


def used(folder: Path, *command: str | Path, code: int = 0) -> str:
    """Run a command in a folder; return what it printed, after checking its exit status."""
    began = time.monotonic()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command,
        cwd=folder,
        env=kept | {"PYTHONUTF8": "1", "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        check=False,
    )
    name = Path(command[0]).stem + " " + " ".join(str(part) for part in command[1:])[:60]
    print(f"{time.monotonic() - began:6.1f} s  {' '.join(name.split())}", flush=True)
    if done.returncode != code:
        sys.exit(f"{done.stdout}\nIt exited with {done.returncode}; {code} was expected.")
    return done.stdout


def main() -> None:
    """Install and use the wheel that is named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--here", action="store_true", help="take the packages of this Python")
    given = parser.parse_args()
    wheel: Path = given.wheel.resolve()
    version = wheel.name.split("-")[1]
    with TemporaryDirectory(prefix="smoke-") as temporary:
        folder = Path(temporary).resolve()
        python = environment(folder / "environment", wheel, here=given.here)
        command = python.with_name("limelight.exe" if os.name == "nt" else "limelight")
        own = OWN_NETWORK.replace("{folder}", folder.as_posix())
        files = FILES.format(version=version)
        if not given.here:
            used(folder, python, "-c", own)
            refused = used(folder, command, "explain", code=2)
            assert "pip install 'limelight[cli]'" in refused, refused
            pip(python, f"limelight[cli,page] @ {wheel.as_uri()}")
        assert used(folder, command, "--version").strip() == f"limelight {version}"
        used(folder, command, "explain", "--out", "maps")
        assert list((folder / "maps").glob("*.png")), "no picture was written"
        used(folder, python, "-c", f"{own}\n{files}" if given.here else files)
    print(f"limelight {version} works outside of its source.")


if __name__ == "__main__":
    main()
