"""Pictures in DICOM files. Nothing of a file is read but its pixels and what places them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from limelight.errors import PhotoError
from limelight.photos.decode import check_file
from limelight.photos.extras import private_errors, without_log
from limelight.photos.planes import Plane, Vector
from limelight.photos.raster import Numbers

#: What is read of a file: nothing that names a patient, a person or a place is among it.
_READ = (
    "SeriesInstanceUID",
    "SeriesNumber",
    "InstanceNumber",
    "AcquisitionNumber",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "PatientOrientation",
    "PixelSpacing",
    "SliceThickness",
    "CineRate",
    "FrameTime",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor",
)

_PIXELS = (
    "PixelData",
    "FloatPixelData",
    "DoubleFloatPixelData",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData",
)


class NoPictureError(PhotoError):
    """A DICOM file holds no picture, but a report or a plan, say."""


@contextmanager
def dicom_errors(path: Path) -> Iterator[None]:
    """Raise a PhotoError that repeats nothing of what the file holds, which may name a patient.

    Warnings and the log are silenced for the same reason. That is safe in one thread alone, so
    files are read in the caller's.
    """
    silent = warnings.catch_warnings(action="ignore")
    with silent, without_log("pydicom"), private_errors(path, "DICOM file"):
        yield


@dataclass(frozen=True)
class Header:
    """What places and shows the pixels of a DICOM file.

    Attributes:
        path: The file.
        rows, columns: The size of its frames.
        frames: How many frames it has.
        colours: 3 for colour pictures, 1 for grey ones.
        itemsize: The bytes of each number once it is read.
        inverted: Whether low numbers are bright.
        planes: Where its frames lie, and how their numbers are scaled, one for each frame.
        series: The series that it belongs to; this is compared, and not shown.
        number: The numbers of the series, the acquisition and the picture.
        fps: How many frames a second has; None where the file does not say.
    """

    path: Path
    rows: int
    columns: int
    frames: int
    colours: int
    itemsize: int
    inverted: bool
    planes: tuple[Plane, ...]
    series: str
    number: tuple[int, int, int]
    fps: float | None

    @property
    def is_placed(self) -> bool:
        """Whether the file says of each frame where it lies."""
        return all(plane.is_placed for plane in self.planes)


def read_header(path: Path) -> Header:
    """Return what places the pixels of a DICOM file.

    Raises:
        MissingPhotoError, PhotoError: There is no such file, it is damaged, it holds no picture, or
            pydicom is not installed.
    """
    with dicom_errors(path):
        check_file(path)
        dataset = _read(path, _READ)
        if not {"Rows", "Columns", "BitsAllocated"} <= set(dataset.dir()):
            raise NoPictureError(
                f"{str(path)!r} is a DICOM file without a picture, such as a report or a plan; one "
                "with pixels was expected."
            )
        frames = int(dataset.get("NumberOfFrames") or 1)
        grey = str(dataset.get("PhotometricInterpretation", "")).startswith("MONOCHROME")
        planes = tuple(_plane(dataset, frame) for frame in range(frames))
        in_floats = not all(map(_is_whole, planes)) or "ModalityLUTSequence" in dataset
        return Header(
            path,
            int(dataset.Rows),
            int(dataset.Columns),
            frames,
            1 if grey else 3,
            4 if grey and in_floats else max(1, int(dataset.BitsAllocated) // 8),
            str(dataset.get("PhotometricInterpretation")) == "MONOCHROME1",
            planes,
            str(dataset.get("SeriesInstanceUID", "")),
            (
                _whole(dataset, "SeriesNumber"),
                _whole(dataset, "AcquisitionNumber"),
                _whole(dataset, "InstanceNumber"),
            ),
            _fps(dataset),
        )


def read_pixels(header: Header) -> Numbers:
    """Return the numbers of a DICOM file, `[frames, H, W, C]`, scaled as it says; RGB of 8 bits.

    Raises:
        PhotoError: They are damaged, or compressed in a way that is not read.
    """
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
    from pydicom.pixels.utils import pixel_array

    with dicom_errors(header.path):
        dataset = _read(header.path, (*_READ, *_PIXELS))
        _check_compression(header.path, dataset)
        stored = pixel_array(dataset)
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            stored = apply_color_lut(stored, dataset)
        elif header.colours == 1:
            stored = _without_overlays(stored, dataset)
            if "ModalityLUTSequence" in dataset:
                stored = apply_modality_lut(stored, dataset)
        values = stored.reshape(header.frames, header.rows, header.columns, -1)
        if header.colours == 3:
            return _of_8_bits(values, dataset)[..., :3]
        return _scaled(values, header.planes)


def _read(path: Path, names: Sequence[str]) -> Any:
    """Return a few elements of a DICOM file."""
    import pydicom

    with_pixels = "PixelData" in names
    return pydicom.dcmread(path, stop_before_pixels=not with_pixels, specific_tags=list(names))


def _check_compression(path: Path, dataset: Any) -> None:
    """Refuse pixels that no installed package decodes.

    Raises:
        PhotoError: They are compressed in such a way.
    """
    from pydicom.pixels.decoders.base import get_decoder

    syntax = dataset.file_meta.TransferSyntaxUID
    with suppress(NotImplementedError):
        if get_decoder(syntax).is_available:
            return
    # The name is that of the standard; a UID of the file's own is not repeated.
    name = syntax.name if not syntax.is_private and syntax.name != str(syntax) else "an unknown way"
    raise PhotoError(
        f"{str(path)!r} is a DICOM file compressed by {name}, which no installed package decodes: "
        "pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg, or save it without "
        "compression."
    )


def _without_overlays(stored: Numbers, dataset: Any) -> Numbers:
    """Return numbers without the bits above those in use, where old files keep overlays."""
    allocated, used = int(dataset.BitsAllocated), int(dataset.get("BitsStored", 0))
    free = allocated - used
    if stored.dtype.kind not in "iu" or not 0 < free < allocated:
        return stored
    if int(dataset.get("HighBit", used - 1)) != used - 1:
        return stored
    # The right shift of signed numbers repeats their sign.
    return (stored << free) >> free


def _of_8_bits(values: Numbers, dataset: Any) -> Numbers:
    """Return colours in 8 bits."""
    if values.dtype == np.uint8:
        return values
    bits = 16 if dataset.PhotometricInterpretation == "PALETTE COLOR" else int(dataset.BitsStored)
    return (values >> max(0, bits - 8)).astype(np.uint8)


def _scaled(values: Numbers, planes: Sequence[Plane]) -> Numbers:
    """Return numbers `[frames, H, W, 1]` in the units of the file, such as Hounsfield's."""
    if not any(plane.is_scaled for plane in planes):
        return values.astype(np.float32) if values.dtype == np.float64 else values
    small = values.dtype.kind in "iu" and values.dtype.itemsize <= 2
    whole = small and all(map(_is_whole, planes))
    dtype = np.int32 if whole else np.float32
    factors = ([plane.slope for plane in planes], [plane.intercept for plane in planes])
    slopes, intercepts = (np.array(each, dtype=dtype).reshape(-1, 1, 1, 1) for each in factors)
    scaled: Numbers = values.astype(dtype)
    scaled *= slopes
    scaled += intercepts
    range_ = np.iinfo(np.int16)
    if whole and scaled.min() >= range_.min and scaled.max() <= range_.max:
        return scaled.astype(np.int16)
    return scaled


def _is_whole(plane: Plane) -> bool:
    """Return whether whole numbers stay whole as they are scaled, and fit 32 bits."""
    small = abs(plane.slope) <= 2**8 and abs(plane.intercept) <= 2**30
    return small and plane.slope.is_integer() and plane.intercept.is_integer()


def _plane(dataset: Any, frame: int) -> Plane:
    """Return where a frame lies, and how its numbers are scaled."""

    def group(sequence: str) -> Any:
        """Return the part of a file of many frames that is about this one, or about all."""
        for groups, number in (
            ("PerFrameFunctionalGroupsSequence", frame),
            ("SharedFunctionalGroupsSequence", 0),
        ):
            items = dataset.get(groups) or ()
            if number < len(items) and items[number].get(sequence):
                return items[number].get(sequence)[0]
        return dataset

    directions = _numbers(group("PlaneOrientationSequence"), "ImageOrientationPatient", 6)
    position = _numbers(group("PlanePositionSequence"), "ImagePositionPatient", 3)
    measures, values = group("PixelMeasuresSequence"), group("PixelValueTransformationSequence")
    spacing, thickness = _numbers(measures, "PixelSpacing", 2), _number(measures, "SliceThickness")
    plane = Plane(
        position=_vector(position),
        row=None if directions is None else _vector(directions[:3]),
        column=None if directions is None else _vector(directions[3:]),
        spacing=(spacing[0], spacing[1]) if spacing and min(spacing) > 0 else None,
        thickness=thickness if thickness and thickness > 0 else None,
        slope=_number(values, "RescaleSlope") or 1.0,
        intercept=_number(values, "RescaleIntercept") or 0.0,
        window=_window(group("FrameVOILUTSequence")),
        padding=_number(dataset, "PixelPaddingValue"),
    )
    return plane if plane.row else replace(plane, letters=_letters(dataset))


def _window(dataset: Any) -> tuple[float, float] | None:
    """Return the numbers that the first window of a file shows as black and as white.

    A linear window of the standard (PS3.3, C.11.2.1.2) is one number narrower than it says.
    """
    centre, width = _number(dataset, "WindowCenter"), _number(dataset, "WindowWidth")
    if centre is None or width is None:
        return None
    if str(dataset.get("VOILUTFunction") or "LINEAR") == "LINEAR":
        centre, width = centre - 0.5, width - 1
    return (centre - width / 2, centre + width / 2) if width > 0 else None


def _fps(dataset: Any) -> float | None:
    rate, time = _number(dataset, "CineRate"), _number(dataset, "FrameTime")
    if rate and rate > 0:
        return rate
    return 1000 / time if time and time > 0 else None


def _letters(dataset: Any) -> tuple[str, str] | None:
    """Return what lies at the right and the bottom of a projection, if the file says so."""
    parts: list[str] = []
    with suppress(Exception):
        parts = [str(part) for part in dataset.get("PatientOrientation") or ()]
    if len(parts) != 2 or not all(re.fullmatch(r"[LRAPHF]{1,3}", part) for part in parts):
        return None
    right, bottom = ({"H": "S", "F": "I"}.get(part[0], part[0]) for part in parts)
    return right, bottom


def _numbers(dataset: Any, name: str, count: int) -> list[float] | None:
    """Return the numbers in an element; None where they are missing or no numbers."""
    with suppress(Exception):
        numbers = [float(number) for number in dataset.get(name) or ()]
        if len(numbers) == count and np.isfinite(numbers).all():
            return numbers
    return None


def _number(dataset: Any, name: str) -> float | None:
    """Return the first number in an element; None where it is missing or no number."""
    with suppress(Exception):
        value = dataset.get(name)
        number = float(value if isinstance(value, str | int | float) else value[0])
        return number if np.isfinite(number) else None
    return None


def _whole(dataset: Any, name: str) -> int:
    return int(_number(dataset, name) or 0)


def _vector(numbers: Sequence[float] | None) -> Vector | None:
    return None if numbers is None else (numbers[0], numbers[1], numbers[2])
