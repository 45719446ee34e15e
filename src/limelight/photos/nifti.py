"""Volumes in NIfTI files, turned to axial slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from limelight.errors import PhotoError
from limelight.photos.decode import check_file
from limelight.photos.extras import private_errors, without_log
from limelight.photos.geometry import AXIAL_SIDES, Sides
from limelight.photos.opened import VolumeFile
from limelight.photos.raster import Numbers, Raster, span_of

#: What the files are called in errors.
_KIND = "NIfTI file"


def open_nifti(path: Path, channels: int | None = None) -> VolumeFile:
    """Open a volume in a NIfTI file, whose voxels are read later.

    The volume `[D, H, W, C]` has axial slices, from the feet to the head, shown as radiologists do:
    the patient's right at the left of the picture, the face up. Its axes are those of the file in
    the nearest order and directions; nothing is resampled, so oblique slices stay oblique. A file
    of one sagittal or coronal slice holds that slice, with the head up, and the face or the
    patient's right at the left. The numbers are those of the file, scaled as it says.

    Args:
        path: The file.
        channels: How many channels the network takes: a file of so many volumes holds a channel in
            each.

    Raises:
        MissingPhotoError: There is no such file.
        PhotoError: It is damaged, too large, holds several volumes, or nibabel is not installed.
    """
    with private_errors(path, _KIND):
        check_file(path)
        image = _load(path)
        order = _Order.of(image, path)
        shape = _shape(path, image, channels)
        itemsize = _read_dtype(image).itemsize
        turned = tuple(shape[axis] for axis in order.axes)
        return VolumeFile(
            path, (*turned, shape[3]), itemsize, lambda: _read(path, image, shape, order)
        )


def nifti_bytes(values: Numbers, source: Path, *, compressed: bool) -> bytes:
    """Return numbers `[D, H, W]`, in the order in which a file is shown, as a file that lies there.

    The axes are those of the source, and its affine is kept, which is all that is.

    Raises:
        PhotoError: The source is damaged, or nibabel is not installed.
    """
    import gzip

    with private_errors(source, _KIND):
        image = _load(source)
        import nibabel

        order = _Order.of(image, source)
        flipped = values[tuple(slice(None, None, -1 if flip else 1) for flip in order.flipped)]
        in_file = flipped.transpose(np.argsort(order.axes))
        written: Any = nibabel.Nifti1Image(in_file, image.affine)  # type: ignore[no-untyped-call]
        written.header.set_xyzt_units(*image.header.get_xyzt_units())
        for name in ("qform_code", "sform_code"):
            written.header[name] = image.header[name]
        content: bytes = written.to_bytes()
        return gzip.compress(content, mtime=0) if compressed else content


def _load(path: Path) -> Any:
    """Return a file as nibabel opens it; what nibabel logs may hold parts of it, and is dropped."""
    import nibabel

    with without_log("nibabel.global"):
        image = nibabel.load(path)
    if not isinstance(image, nibabel.Nifti1Pair):
        raise PhotoError(f"{str(path)!r} is no NIfTI file, as its name says it is.")
    return image


@dataclass(frozen=True)
class _Order:
    """How the axes of a file become slices, rows and columns.

    Attributes:
        axes: The axis of the file that becomes the slices, the rows and the columns.
        flipped: Whether each of them is read backwards.
        spacing: The distance between voxels along each, in millimetres.
        sides: What lies at the sides of a slice; None where the file does not say.
    """

    axes: tuple[int, ...]
    flipped: tuple[bool, ...]
    spacing: tuple[float, ...]
    sides: Sides | None

    @classmethod
    def of(cls, image: Any, path: Path) -> _Order:
        """Return the order in which a file is shown.

        Raises:
            PhotoError: Its affine says no directions.
        """
        from nibabel import affines, orientations

        directions: Numbers = orientations.io_orientation(image.affine)  # type: ignore[no-untyped-call]
        if np.isnan(directions).any():
            raise PhotoError(
                f"{str(path)!r} does not say how its voxels lie: its affine has no inverse. Save "
                "it with one."
            )
        sizes: Numbers = affines.voxel_sizes(image.affine)  # type: ignore[no-untyped-call]
        spacing = sizes * _millimetres(image)
        known = bool(image.header["qform_code"] or image.header["sform_code"])
        shown, sides = _display([_length(image, directions, world) for world in range(3)])
        axes = tuple(int(np.flatnonzero(directions[:, 0] == world)[0]) for world, _ in shown)
        flipped = tuple(
            directions[axis, 1] != sign for axis, (_, sign) in zip(axes, shown, strict=True)
        )
        return cls(axes, flipped, tuple(spacing[list(axes)]), sides if known else None)


#: An axis of the world (to the right, to the front, up) and the direction that it is shown in.
_Shown = tuple[int, int]


def _display(lengths: Sequence[int]) -> tuple[tuple[_Shown, _Shown, _Shown], Sides]:
    """Return what becomes the slices, rows and columns, and the sides of a slice.

    Args:
        lengths: How many voxels there are from left to right, from back to front, and upwards.
    """
    right, front, up = lengths
    if right == 1 and min(front, up) > 1:
        return ((0, 1), (2, -1), (1, -1)), ("A", "P", "S", "I")
    if front == 1 and min(right, up) > 1:
        return ((1, 1), (2, -1), (0, -1)), ("R", "L", "S", "I")
    return ((2, 1), (1, -1), (0, -1)), AXIAL_SIDES


def _length(image: Any, directions: Numbers, world: int) -> int:
    axis = int(np.flatnonzero(directions[:, 0] == world)[0])
    return int(image.shape[axis]) if axis < len(image.shape) else 1


def _millimetres(image: Any) -> float:
    """Return how many millimetres the unit of the file has; a file without one means them."""
    factors = {"meter": 1000.0, "micron": 0.001}
    return factors.get(image.header.get_xyzt_units()[0], 1.0)


def _shape(path: Path, image: Any, channels: int | None) -> tuple[int, int, int, int]:
    """Return the shape of a file as `[X, Y, Z, C]`.

    Raises:
        PhotoError: It holds several volumes, which are not the channels of the network.
    """
    sizes = [*image.shape, 1, 1, 1][: max(3, len(image.shape))]
    several = [size for size in sizes[3:] if size != 1]
    colours = len(image.get_data_dtype().names or "c")
    if not several:
        return sizes[0], sizes[1], sizes[2], colours
    count = int(np.prod(several))
    if colours == 1 and count == channels:
        return sizes[0], sizes[1], sizes[2], count
    takes = "" if channels is None else f"; the network takes {channels} channels"
    raise PhotoError(
        f"{str(path)!r} holds {count} volumes{takes}. Save the one that you mean, "
        "nibabel.four_to_three(image)[0], or pass a mean and a standard deviation for each volume, "
        "which are then its channels."
    )


def _read_dtype(image: Any) -> np.dtype[Any]:
    """Return the type of the numbers that are read: scaled ones are 32-bit floats."""
    stored: np.dtype[Any] = image.get_data_dtype()
    if stored.names:
        return np.dtype(np.uint8)
    return np.dtype(np.float32) if _is_scaled(image) else stored.newbyteorder("=")


def _is_scaled(image: Any) -> bool:
    return (image.dataobj.slope, image.dataobj.inter) != (1, 0)


def _read(path: Path, image: Any, shape: Sequence[int], order: _Order) -> Raster:
    """Return the volume of a file `[D, H, W, C]`."""
    with private_errors(path, _KIND):
        numbers: Any
        if _is_scaled(image):
            numbers = np.asarray(image.dataobj, dtype=np.float32)
        else:
            numbers = image.dataobj.get_unscaled()
        if numbers.dtype.names:  # colours
            numbers = np.stack([numbers[name] for name in numbers.dtype.names], axis=-1)
        turned = numbers.reshape(shape).transpose(*order.axes, 3)
        turned = turned[tuple(slice(None, None, -1 if flip else 1) for flip in order.flipped)]
        values = np.ascontiguousarray(turned, dtype=_read_dtype(image))
        return Raster(values, span_of(values, repr(str(path))), order.spacing, order.sides)
