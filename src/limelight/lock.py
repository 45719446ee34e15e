"""Keep two runs from writing the same file."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from limelight.errors import OutputError


@contextmanager
def only_run(path: Path) -> Iterator[None]:
    """Keep every other run from a file meanwhile.

    The lock is the system's, on a file beside it, and ends with the process, however that ends.

    Args:
        path: The file that one run at a time may write on.

    Raises:
        OutputError: Another run has it, or its folder cannot be locked.
    """
    lock, holder = (path.with_name(f".{path.stem}.{suffix}") for suffix in ("lock", "run"))
    try:
        held = FileLock(lock).acquire(timeout=0)
    except Timeout as error:
        raise OutputError(
            f"{str(path)!r} is being written by another run{_told_of(holder)}. Wait until that is "
            "done; the same request then takes up what it wrote. Or pass another folder."
        ) from error
    except OSError as error:
        raise OutputError(
            f"Cannot lock {str(lock)!r}: {error.strerror or error}. Pass another folder."
        ) from error
    with held:
        with suppress(OSError):  # not in the lock itself, which nobody else can read on Windows
            holder.write_text(f"process {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        try:
            yield
        finally:
            for one in (holder, lock):  # Windows deletes the lock only when it is released
                with suppress(OSError):
                    one.unlink()


def _told_of(holder: Path) -> str:
    """Return who has the file, in brackets; "" when that cannot be read."""
    try:
        return f" ({holder.read_text()})"
    except (OSError, UnicodeDecodeError):
        return ""
