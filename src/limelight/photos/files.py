"""Photo files: their formats, and finding them in folders."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from limelight.errors import MissingPhotoError

#: The decoders that are let at a file. Others, some of them programs of their own, never see one.
DECODERS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "JPEG2000", "PPM")


#: The suffixes that make a file in a folder a photo.
SUFFIXES = frozenset(
    [
        ".avif",
        ".bmp",
        ".gif",
        ".jfif",
        ".jp2",
        ".jpeg",
        ".jpg",
        ".png",
        ".ppm",
        ".pgm",
        ".tif",
        ".tiff",
        ".webp",
    ]
)


def photo_path(path: str | Path) -> Path:
    """Return a name as a path; an empty one would be the working directory.

    Raises:
        MissingPhotoError: It is empty.
    """
    if path == "":
        raise MissingPhotoError(
            "'' is an empty name; that of a photo or a folder was expected. Is a variable not set?"
        )
    return Path(path)


def find_photos(paths: Iterable[str | Path]) -> list[Path]:
    """Return the photos meant by files and folders; of a folder all in it, at any depth, sorted.

    What cannot be read is among them: `load_photo` says in its turn what is wrong with it.

    Raises:
        MissingPhotoError: A name is empty, or there is nothing but folders without a photo.
    """
    found, void = list[Path](), list[Path]()
    for path in map(photo_path, paths):
        if not os.path.isdir(path):
            found.append(path)
            continue
        inside = photos_inside(path)
        void += [] if inside else [path]
        found += inside or [path]
    if len(void) == len(found) and void:
        raise MissingPhotoError(no_photo_message(void[0]))
    distinct: dict[object, Path] = {}
    for path in found:  # the same file may be named in two ways
        distinct.setdefault(_place_of(path), path)
    return list(distinct.values())


def photos_inside(folder: Path) -> list[Path]:
    """Return the photos in a folder, sorted, and what in it cannot be looked into."""
    closed = list[Path]()
    walk = os.walk(folder, onerror=lambda error: closed.append(Path(error.filename)))
    files = (Path(parent, name) for parent, _, names in walk for name in names)
    photos = [path for path in files if path.suffix.lower() in SUFFIXES and _may_be_file(path)]
    return sorted(photos + closed)


def _may_be_file(path: Path) -> bool:
    """Say whether there is a file, or what cannot be looked at."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:  # a link to nothing
        return False
    except OSError:
        return True


def _place_of(path: Path) -> object:
    """Return where a path leads; of one that leads nowhere, itself."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return path


def no_photo_message(folder: Path) -> str:
    """Return what to say of a folder without photos."""
    return (
        f"{str(folder)!r} is a folder that holds no photo; files ending in "
        f"{', '.join(sorted(SUFFIXES))} are looked for."
    )
