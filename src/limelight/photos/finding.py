"""Finding photos in folders."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from limelight.errors import MissingPhotoError
from limelight.photos.dicom_series import dicom_pictures
from limelight.photos.files import is_dicom, no_photo_message, photo_path, photos_inside
from limelight.photos.natural import natural


def find_photos(paths: Iterable[str | Path]) -> list[Path]:
    """Return the photos that files and folders name; a folder's at any depth, sorted.

    Numbers in names are sorted by their value. The slices of a DICOM series in a folder are one
    volume, whose path is the folder. Files that cannot be read are among the photos: `load_photo`
    then raises the error.

    Raises:
        MissingPhotoError: A name is empty, or all names are folders without a photo.
    """
    photos, empty_folders = list[Path](), list[Path]()
    for path in map(photo_path, paths):
        if not os.path.isdir(path):
            photos.append(path)
            continue
        inside = _pictures_inside(path)
        empty_folders += [] if inside else [path]
        photos += inside or [path]
    if len(empty_folders) == len(photos) and empty_folders:
        raise MissingPhotoError(no_photo_message(empty_folders[0]))
    distinct: dict[object, Path] = {}
    for path in photos:  # the same file may be named in two ways
        distinct.setdefault(_place_of(path), path)
    return list(distinct.values())


def _pictures_inside(folder: Path) -> list[Path]:
    """Return what `photos_inside` does, with one path for each DICOM series."""
    files = photos_inside(folder)
    dicom = {path for path in files if is_dicom(path)}
    others = [path for path in files if path not in dicom]
    return sorted([*others, *dicom_pictures(dicom)], key=natural) if dicom else files


def _place_of(path: Path) -> object:
    """Return the file that a path leads to; the path itself when it leads nowhere."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return path
