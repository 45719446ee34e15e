"""`python -m limelight.examination`: examine the installation where the command line cannot start.

It needs nothing but Python.
"""

from __future__ import annotations

import sys

from limelight.examination.installation import examine_installation
from limelight.examination.observations import Examination


def main() -> None:
    """Print what is found; the exit code is 1 if something is broken."""
    examination = Examination(tuple(examine_installation()))
    sys.stdout.write(f"{examination}\n")
    sys.exit(not examination.ok)


if __name__ == "__main__":
    main()
