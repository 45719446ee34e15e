"""Files: written whole or not at all, read with a limit, and their names."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from zlib import crc32

from limelight.errors import LimelightError, OutputError
from limelight.plain import as_json

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor


def make_folder(folder: Path) -> Path:
    """Create a folder, and check that files can be written in it before any work is done.

    Raises:
        OutputError: They cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".limelight-"):
            pass
    except OSError as error:
        raise _output_error(folder, error) from error
    return folder


def write_whole(path: Path, data: bytes | Callable[[IO[bytes]], object]) -> Path:
    """Write a file under a temporary name, then move it into place; make its folder if needed.

    Args:
        path: The file.
        data: The bytes, or a function that writes them to the open file.

    Raises:
        OutputError: The file cannot be written there; a file that was there is untouched.
    """
    folder = make_folder(path.parent)
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".limelight-", delete=False) as file:
            temporary = Path(file.name)
            if callable(data):
                data(file)
            else:
                file.write(data)
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # temporary files are private; results are not
        temporary.replace(path)
    except OSError as error:
        raise _output_error(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return path


def remove_file(path: Path) -> None:
    """Remove a file that an earlier run may have written.

    Raises:
        OutputError: It is there, and cannot be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _output_error(path, error) from error


def write_arrays(
    path: Path, arrays: Mapping[str, Tensor | npt.NDArray[Any]], names: object
) -> Path:
    """Write tensors or arrays as a compressed .npz file, whole or not at all.

    Args:
        path: The file.
        arrays: The tensors or arrays, by their names in the file.
        names: What they are, as plain values; JSON text in the file, also called `names`.

    Raises:
        OutputError: The file cannot be written there; a file that was there is untouched.
    """
    import numpy as np

    buffer = BytesIO()
    values: dict[str, Any] = {
        name: each if isinstance(each, np.ndarray) else each.detach().cpu().numpy()
        for name, each in arrays.items()
    }
    np.savez_compressed(buffer, names=np.array(as_json(names)), **values)
    return write_whole(path, buffer.getvalue())


#: The largest list of names, boxes or matches that is read, in bytes.
_TEXT_BYTES = 256_000_000


def read_text(path: Path, *, most: int = _TEXT_BYTES) -> str:
    """Return the text of a file in UTF-8, of at most so many bytes.

    A pipe that a shell passes, as in `<(cut -f1 table.txt)`, is read too.

    Raises:
        OSError: It cannot be read, is another pipe or a device (which may never end), or is too
            large.
        UnicodeDecodeError: It is not UTF-8.
    """
    kind = path.stat().st_mode
    if not stat.S_ISREG(kind) and not (stat.S_ISFIFO(kind) and path.parts[:2] == ("/", "dev")):
        raise OSError(f"{str(path)!r} is no file, but a folder, pipe or device")
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(f"{str(path)!r} is larger than {most / 1e6:.0f} MB")
    return content.decode("utf-8-sig")


#: What to do when the system cannot write, by the error; else: pass another path.
_ADVICE = {
    errno.ENOSPC: "Free some space, or pass another path.",
    errno.EDQUOT: "Free some space, or pass another path.",
    errno.ENAMETOOLONG: "Pass a shorter name.",
    errno.EISDIR: "There is a folder of that name: pass another one.",
}


def _output_error(path: Path, error: OSError) -> OutputError:
    why = error.strerror or str(error)
    advice = _ADVICE.get(error.errno or 0, "Pass another path.")
    return OutputError(f"Cannot write {str(path)!r}: {why}. {advice}")


def refuses_all(error: LimelightError) -> bool:
    """Return whether no other file can be written either: the disk is full, read-only or broken."""
    cause = error.__cause__
    broken = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
    writing = isinstance(error, OutputError)
    return writing and isinstance(cause, OSError) and cause.errno in broken


#: The longest name of a file, in bytes.
_NAME_BYTES = 255


def file_name(parts: Sequence[str], suffix: str) -> str:
    """Return the parts of a name joined by dashes, with a suffix (without its dot).

    When the name is too long for a file, its longest parts are shortened and a checksum of the
    whole name is added, so that different names stay different.
    """
    whole = "-".join(part for part in parts if part)
    if _bytes(f"{whole}.{suffix}") <= _NAME_BYTES:
        return f"{whole}.{suffix}"
    shorter = [part for part in parts if part]
    check = f"{crc32(whole.encode(errors='surrogatepass')):08x}"
    while _bytes(short := f"{'-'.join([*shorter, check])}.{suffix}") > _NAME_BYTES:
        longest = max(range(len(shorter)), key=lambda number: _bytes(shorter[number]))
        shorter[longest] = shorter[longest][:-1]
    return short


def _bytes(name: str) -> int:
    return len(name.encode(errors="surrogatepass"))


def known_suffix(path: Path, known: Sequence[str]) -> str:
    """Return the suffix of a file to write, without its dot, in lower case.

    Raises:
        OutputError: It is not among the known ones.
    """
    suffix = path.suffix.lower().lstrip(".")
    if suffix not in known:
        raise OutputError(
            f"Cannot write {path.name!r}: its suffix should be one of {', '.join(known)}."
        )
    return suffix
