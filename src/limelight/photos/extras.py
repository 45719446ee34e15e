"""Packages that only some kinds of files need."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from limelight.errors import PhotoError


def missing_package(path: Path, kind: str, package: str, extra: str) -> PhotoError:
    """Return the error for a file whose package is not installed."""
    return PhotoError(
        f"{str(path)!r} is {kind}, which needs the package {package}: "
        f"pip install 'limelight[{extra}]'."
    )


@contextmanager
def without_log(name: str) -> Iterator[None]:
    """Keep a package from logging: what it logs may repeat what a file says of a patient."""
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
