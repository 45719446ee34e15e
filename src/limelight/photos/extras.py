"""Packages that read only some kinds of files: what they say of them, kept private."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from limelight.errors import MissingPackageError, PhotoError
from limelight.photos.decode import photo_errors


@contextmanager
def private_errors(path: Path, kind: str) -> Iterator[None]:
    """Raise a PhotoError that repeats nothing of what the file holds, which may name a patient.

    Args:
        path: The file.
        kind: What it is, for the error.
    """
    with photo_errors(path):
        try:
            yield
        except (PhotoError, MissingPackageError, OSError, MemoryError):
            raise
        except Exception as error:
            raise PhotoError(
                f"{str(path)!r} is no {kind} that can be read ({type(error).__name__}). The file "
                "is damaged or cut short; save or download it again."
            ) from None


@contextmanager
def without_log(name: str) -> Iterator[None]:
    """Keep a package from logging: what it logs may repeat what a file says of a patient."""
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
