"""The command `limelight`, also as `python -m limelight`."""

from __future__ import annotations

import sys

from limelight.errors import MissingPackageError


def main() -> None:
    """Run the command line; without its packages, say which extra has them, and exit with 2."""
    try:
        from limelight.cli import main as command_line
    except MissingPackageError as error:
        sys.exit(_refused(error))
    command_line()


def _refused(error: MissingPackageError) -> int:
    """Print an error as the command line does, and return its exit code."""
    print(f"Error: {error}", file=sys.stderr)  # noqa: T201 (rich, which prints else, is missing)
    return error.exit_code


if __name__ == "__main__":
    main()
