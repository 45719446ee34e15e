"""Photo files: their formats, and finding them in folders."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from limelight.errors import MissingPhotoError
from limelight.photos.natural import natural

#: The decoders that may read a file. Pillow has others, some of which start programs.
DECODERS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "JPEG2000", "PPM")


#: The suffixes of TIFF files, which not only Pillow reads.
TIFF_SUFFIXES = (".tif", ".tiff")


#: The suffixes of volumes in NIfTI files.
NIFTI_SUFFIXES = (".nii", ".nii.gz")


#: The suffixes of DICOM files, which often have none.
DICOM_SUFFIXES = (".dcm", ".dicom")


#: The suffixes of video files.
VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")


#: The suffixes that make a file in a folder a photo.
SUFFIXES = frozenset(
    [
        ".avi",
        ".avif",
        ".bmp",
        ".dcm",
        ".dicom",
        ".gif",
        ".jfif",
        ".jp2",
        ".jpeg",
        ".jpg",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".nii",
        ".nii.gz",
        ".pgm",
        ".png",
        ".ppm",
        ".tif",
        ".tiff",
        ".webm",
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


def is_nifti(path: Path) -> bool:
    """Return whether a path ends as NIfTI files do."""
    return path.name.lower().endswith(NIFTI_SUFFIXES)


def is_video(path: Path) -> bool:
    """Return whether a path ends as video files do."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def is_dicom(path: Path) -> bool:
    """Return whether a file is named as DICOM files are, or has no suffix and begins as they do."""
    suffix = path.suffix.lower()
    if suffix in DICOM_SUFFIXES:
        return True
    if suffix and not suffix[1:].isdigit():  # a number ends the names that are UIDs
        return False
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except (OSError, ValueError):
        return False


def photos_inside(folder: Path) -> list[Path]:
    """Return the photos in a folder, sorted, and the folders in it that cannot be read.

    Numbers in names are sorted by their value: frame-10 comes after frame-2. Arrays, .npy, are
    photos where there are no others.
    """
    unreadable = list[Path]()
    walk = os.walk(folder, onerror=lambda error: unreadable.append(Path(error.filename)))
    files = [Path(parent, name) for parent, _, names in walk for name in names]
    photos = [path for path in files if _is_photo(path) and _may_be_file(path)]
    if not photos:
        photos = [p for p in files if p.suffix.lower() == ".npy" and _may_be_file(p)]
    return sorted(photos + unreadable, key=natural)


def _is_photo(path: Path) -> bool:
    """Return whether a file is named as photos are, or begins as a DICOM file does."""
    return path.suffix.lower() in SUFFIXES or is_nifti(path) or is_dicom(path)


def _may_be_file(path: Path) -> bool:
    """Return whether a path is a file, or may be one that cannot be read."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:  # a link to nothing
        return False
    except OSError:
        return True


def no_photo_message(folder: Path) -> str:
    """Return the message about a folder without photos."""
    return (
        f"{str(folder)!r} is a folder that holds no photo; files ending in "
        f"{', '.join(sorted(SUFFIXES))} are looked for."
    )
