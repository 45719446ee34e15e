"""DICOM files as pictures, and those of a series as a volume."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from limelight.errors import PhotoError
from limelight.photos.decode import photo_errors
from limelight.photos.dicom import Header, NoPictureError, read_header, read_pixels
from limelight.photos.files import is_dicom
from limelight.photos.memory import PhotoSize, check_bytes
from limelight.photos.natural import natural
from limelight.photos.opened import OpenedPicture, OpenedRaster, VolumeFile
from limelight.photos.planes import Display, Plane, slice_distance
from limelight.photos.raster import Numbers, Raster, span_of


class DicomVolume(VolumeFile):
    """Several frames, from one DICOM file or from the files of a series."""

    def open(self, number: int) -> OpenedPicture:
        """Open one frame; all are read here, in the caller's thread, as `dicom_errors` says."""
        self.volume()
        return super().open(number)

    def open_whole(self, frames: int | None = None) -> OpenedPicture:
        """Open all frames."""
        self.volume()
        return super().open_whole(frames)


def open_dicom(path: Path) -> OpenedPicture:
    """Open a DICOM file of one frame, and read its pixels.

    Grey numbers are scaled as the file says, to Hounsfield units in CT, and keep what they are.
    Where no window is given, the file's first one is used. Axial pictures are turned so that the
    patient's right is at the left, and the face up; others stay as they are stored.

    Raises:
        MissingPhotoError, PhotoError: There is no such file; it is damaged, no picture, or
            compressed in a way that is not read; or pydicom is not installed.
    """
    header = read_header(path)
    height, width = Display.of(header.planes[0]).size(header.rows, header.columns)
    taken = 3 * header.rows * header.columns * header.colours * header.itemsize
    size = PhotoSize(width, height)
    check_bytes(path, "DICOM file", size, taken)
    picture = _volume(path, [header]).slice(0)
    return OpenedRaster(path, size, taken, lambda: picture)


def open_dicom_stack(path: Path) -> DicomVolume | None:
    """Open a DICOM file of several frames, or a series in a folder; None for other paths.

    A folder that holds one series is the path of that series; of several, each has a path beneath
    it, `folder/series-1`.

    Raises:
        PhotoError: It is damaged or too large, or several of its slices lie at one place.
    """
    if path.is_file():
        header = read_header(path) if is_dicom(path) else None
        return None if header is None or header.frames == 1 else _stack(path, [header])
    named = re.fullmatch(r"series-(\d+)", path.name)
    folder = path if path.is_dir() or not named else path.parent
    if not folder.is_dir():
        return None
    series = [headers for headers in _series(_dicom_files(folder)) if len(headers) > 1]
    if folder is path:
        return _stack(path, series[0]) if len(series) == 1 else None
    assert named is not None
    number = int(named[1])
    if len(series) < 2 or not 1 <= number <= len(series):
        return None
    return _stack(path, series[number - 1])


def dicom_pictures(files: Iterable[Path]) -> list[Path]:
    """Return the paths of the pictures in DICOM files: series, and files by themselves.

    Of a series of slices the path is its folder; see `open_dicom_stack` for folders of several.
    Files without a picture are left out. A file that cannot be read is among them.
    """
    by_folder = defaultdict[Path, list[Path]](list)
    for file in files:
        by_folder[file.parent].append(file)
    return list(chain.from_iterable(map(_pictures_of_folder, by_folder, by_folder.values())))


def _pictures_of_folder(folder: Path, files: Sequence[Path]) -> list[Path]:
    unreadable = list[Path]()
    series = _series(files, unreadable)
    volumes = [headers for headers in series if len(headers) > 1]
    names = [folder / f"series-{number}" for number in range(1, len(volumes) + 1)]
    if len(volumes) == 1:
        names = [folder]
    alone = [headers[0].path for headers in series if len(headers) == 1]
    return [*names, *sorted(alone + unreadable, key=natural)]


def _dicom_files(folder: Path) -> list[Path]:
    with photo_errors(folder):
        return [path for path in folder.iterdir() if is_dicom(path) and path.is_file()]


def _series(files: Iterable[Path], unreadable: list[Path] | None = None) -> list[list[Header]]:
    """Return the files that belong together, in order; files without a picture are left out.

    Slices of one series are of one size and parallel. Projections and films are alone.

    Args:
        files: DICOM files.
        unreadable: Gets those that cannot be read.
    """
    groups = list[list[Header]]()
    for file in sorted(files, key=natural):
        try:
            header = read_header(file)
        except NoPictureError:
            continue
        except PhotoError:
            if unreadable is not None:
                unreadable.append(file)
            continue
        fitting = (group for group in groups if _belongs(header, group[0]))
        group = next(fitting, None)
        if group is None:
            groups.append([header])
        else:
            group.append(header)
    return sorted(groups, key=lambda group: group[0].number[:2])


def _belongs(header: Header, other: Header) -> bool:
    """Return whether two files are slices of one volume."""
    return (
        header.series == other.series != ""
        and header.frames == other.frames == 1
        and header.is_placed
        and other.is_placed
        and (header.rows, header.columns) == (other.rows, other.columns)
        and (header.colours, header.inverted) == (other.colours, other.inverted)
        and header.planes[0].is_parallel(other.planes[0])
    )


def _stack(path: Path, headers: Sequence[Header]) -> DicomVolume:
    """Return the frames of one file, or of the files of a series, in their order in the body.

    Raises:
        PhotoError: Slices of a series lie at one place.
    """
    first = headers[0]
    if len(headers) > 1:
        headers = sorted(headers, key=lambda header: header.planes[0].place)
        places = [header.planes[0].place for header in headers]
        if np.diff(places).min() < 1e-3:
            raise PhotoError(
                f"{str(path)!r} holds a series of {len(headers)} pictures, several of which lie at "
                "one place, as those of several times or echoes do. Put those of each into a "
                "folder of its own, or name the files that you mean."
            )
    height, width = Display.of(first.planes[0]).size(first.rows, first.columns)
    shape = (sum(header.frames for header in headers), height, width, first.colours)
    itemsize = max(header.itemsize for header in headers)
    fps = first.fps if len(headers) == 1 else None
    return DicomVolume(path, shape, itemsize, lambda: _volume(path, headers), fps)


def _volume(path: Path, headers: Sequence[Header]) -> Raster:
    """Return the frames of files as one volume `[D, H, W, C]`."""
    first = headers[0]
    planes = [plane for header in headers for plane in header.planes]
    values = np.concatenate([read_pixels(header) for header in headers])
    order = _order(planes)
    if order != list(range(len(planes))):
        planes, values = [planes[each] for each in order], values[order]
    display = Display.of(planes[0])
    values = np.ascontiguousarray(display.turned(values))
    pixel, distance = display.spacing(planes[0]), slice_distance(planes)
    return Raster(
        values,
        _span(values, planes, repr(str(path))),
        None if pixel is None else (distance or float("nan"), *pixel),
        display.sides,
        first.inverted and first.colours == 1,
    )


def _order(planes: Sequence[Plane]) -> list[int]:
    """Return the frames from the feet to the head, or along another normal, if they are slices."""
    order = list(range(len(planes)))
    slices = all(plane.is_placed and plane.is_parallel(planes[0]) for plane in planes)
    if not slices or len({round(plane.place, 3) for plane in planes}) < len(planes):
        return order  # a film
    return sorted(order, key=lambda each: planes[each].place)


def _span(values: Numbers, planes: Sequence[Plane], name: str) -> tuple[float, float]:
    """Return what becomes black and white: the window of the file, or all that was measured."""
    middle = planes[len(planes) // 2]
    if values.shape[-1] == 3:
        return 0.0, 255.0
    if middle.window is not None:
        return middle.window
    if middle.padding is not None:
        measured = values[values != middle.padding * middle.slope + middle.intercept]
        return span_of(measured if measured.size else values, name)
    return span_of(values, name)
