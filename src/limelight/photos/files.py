"""Photo files: their formats, and finding them in folders."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from limelight.errors import MissingPhotoError

#: The decoders that may read a file. Pillow has others, some of which start programs.
DECODERS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "JPEG2000", "PPM")


#: The suffixes of TIFF files, which not only Pillow reads.
TIFF_SUFFIXES = (".tif", ".tiff")


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
    """Return a name as a path; an empty name, which would be the working directory, is refused.

    Raises:
        MissingPhotoError: It is empty.
    """
    if path == "":
        raise MissingPhotoError(
            "'' is an empty name; that of a photo or a folder was expected. Is a variable not set?"
        )
    return Path(path)


def find_photos(paths: Iterable[str | Path]) -> list[Path]:
    """Return the photos that files and folders name; a folder's at any depth, sorted.

    Files that cannot be read are among them: `load_photo` then raises the error.

    Raises:
        MissingPhotoError: A name is empty, or all names are folders without a photo.
    """
    photos, empty_folders = list[Path](), list[Path]()
    for path in map(photo_path, paths):
        if not os.path.isdir(path):
            photos.append(path)
            continue
        inside = photos_inside(path)
        empty_folders += [] if inside else [path]
        photos += inside or [path]
    if len(empty_folders) == len(photos) and empty_folders:
        raise MissingPhotoError(no_photo_message(empty_folders[0]))
    distinct: dict[object, Path] = {}
    for path in photos:  # the same file may be named in two ways
        distinct.setdefault(_place_of(path), path)
    return list(distinct.values())


def photos_inside(folder: Path) -> list[Path]:
    """Return the photos in a folder, sorted, and the folders in it that cannot be read."""
    unreadable = list[Path]()
    walk = os.walk(folder, onerror=lambda error: unreadable.append(Path(error.filename)))
    files = (Path(parent, name) for parent, _, names in walk for name in names)
    photos = [path for path in files if path.suffix.lower() in SUFFIXES and _may_be_file(path)]
    return sorted(photos + unreadable)


def _may_be_file(path: Path) -> bool:
    """Return whether a path is a file, or may be one that cannot be read."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:  # a link to nothing
        return False
    except OSError:
        return True


def _place_of(path: Path) -> object:
    """Return the file that a path leads to; the path itself when it leads nowhere."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return path


def no_photo_message(folder: Path) -> str:
    """Return the message about a folder without photos."""
    return (
        f"{str(folder)!r} is a folder that holds no photo; files ending in "
        f"{', '.join(sorted(SUFFIXES))} are looked for."
    )
