"""`python -m limelight`: the command line."""

from __future__ import annotations

from limelight.cli import main

if __name__ == "__main__":
    main()
