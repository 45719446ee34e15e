"""`python -m limelight.compat script.py ...`: run a script with the drop-ins in place."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from limelight.compat import install


def main(arguments: list[str]) -> None:
    """Run a script as Python would, after `install()`."""
    if not arguments or arguments[0].startswith("-"):
        sys.exit("Usage: python -m limelight.compat script.py [its arguments]")
    script, *_ = arguments
    if not Path(script).exists():
        sys.exit(f"There is no script {script!r}.")
    install()
    sys.argv = arguments
    sys.path[0] = str(Path(script).resolve().parent)
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
