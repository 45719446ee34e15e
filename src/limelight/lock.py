"""A lock on a file, so that two runs do not write it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from limelight.errors import OutputError


@contextmanager
def only_run(path: Path) -> Iterator[None]:
    """Keep other runs from a file while the block runs.

    The operating system holds the lock, on a file beside it, so it ends with the process, however
    that ends.

    Args:
        path: The file that one run at a time may write.

    Raises:
        OutputError: Another run has the lock, or its file cannot be made.
    """
    from filelock import FileLock, Timeout

    lock, holder = (path.with_name(f".{path.stem}.{suffix}") for suffix in ("lock", "run"))
    try:
        held = FileLock(lock).acquire(timeout=0)
    except Timeout as error:
        holding = _holding_run(holder)
        raise OutputError(
            f"{str(path)!r} is being written by another run{holding}. Wait until that is "
            "done; the same request then takes up what it wrote. Or pass another folder."
        ) from error
    except OSError as error:
        raise OutputError(
            f"Cannot lock {str(lock)!r}: {error.strerror or error}. Pass another folder."
        ) from error
    with held:
        with suppress(OSError):  # not in the lock itself: others cannot read it on Windows
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            holder.write_text(f"process {os.getpid()}, since {since}", encoding="utf-8")
        try:
            yield
        finally:
            for file in (holder, lock):  # Windows deletes the lock only when it is released
                with suppress(OSError):
                    file.unlink()


def _holding_run(holder: Path) -> str:
    """Return in brackets which run has the lock; "" when that cannot be read."""
    try:
        return f" ({holder.read_text(encoding='utf-8')})"
    except (OSError, UnicodeDecodeError):
        return ""
