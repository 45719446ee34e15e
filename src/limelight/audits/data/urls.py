"""URLs that fsspec reads and writes, and what of them may be shown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from limelight.errors import OptionError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

#: A user's password before the host of a URL, and what follows `?` in one of the web, which may be
#: a signature.
_PASSWORD = re.compile(r"(://[^/@:\s]*):[^/\s]*@")
_SIGNATURE = re.compile(r"(https?://[^\s?'\"]*)\?[^\s'\"]*")


def is_url(place: str) -> bool:
    """Return whether a place is a URL, rather than a path on this machine."""
    return "://" in place and not place.startswith("file://")


def without_secrets(text: str) -> str:
    """Return text without the passwords and signatures of the URLs in it."""
    return _SIGNATURE.sub(r"\1", _PASSWORD.sub(r"\1@", text))


def filesystem_of(url: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system that a URL is of, and the path there.

    Raises:
        OptionError: A package that it needs is not installed, or it cannot be reached.
    """
    shown = without_secrets(url)
    try:
        import fsspec.core
    except ImportError as error:
        raise OptionError(
            f"{shown!r} is a URL, which the package fsspec reads, and it is not installed: "
            "pip install fsspec."
        ) from error
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise OptionError(
            f"The package that reads {shown!r} is not installed: {without_secrets(str(error))}. "
            "Install it with pip."
        ) from None
    except Exception as error:  # each file system raises its own errors
        raise OptionError(
            f"{shown!r} cannot be opened: {reason(error)}. A path, or a URL that fsspec knows, was "
            "expected, such as s3://bucket/folder."
        ) from None
    return filesystem, str(path).rstrip("/")


def reason(error: Exception) -> str:
    """Return what an error of a file system says, without secrets."""
    return without_secrets(str(error)) or type(error).__name__
