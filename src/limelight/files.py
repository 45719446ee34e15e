"""Writing files whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from limelight.errors import OutputError


def make_folder(folder: Path) -> Path:
    """Create a folder and prove that files can be written in it, before any work is done.

    Raises:
        OutputError: They cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".limelight-"):
            pass
    except OSError as error:
        raise _refused(folder, error) from error
    return folder


def write_whole(path: Path, data: bytes) -> Path:
    """Write a file under a temporary name, then move it into place; make its folder if need be.

    Raises:
        OutputError: The file cannot be written there; what was there before is untouched.
    """
    folder = make_folder(path.parent)
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".limelight-", delete=False) as file:
            temporary = Path(file.name)
            file.write(data)
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # temporary files are private; a picture is not
        temporary.replace(path)
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return path


def _refused(path: Path, error: OSError) -> OutputError:
    why = error.strerror or str(error)
    return OutputError(f"Cannot write {str(path)!r}: {why}. Pass another path.")


def known_suffix(path: Path, known: Sequence[str]) -> str:
    """Return the suffix of a file to write, without its dot, in lower case.

    Raises:
        OutputError: It is none of those known.
    """
    suffix = path.suffix.lower().lstrip(".")
    if suffix not in known:
        raise OutputError(
            f"Cannot write {path.name!r}: its suffix should be one of {', '.join(known)}."
        )
    return suffix
