"""Medical files, written with what must never be read of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

#: What names the patient in the files that are written here.
SECRET = "Zebulon^Quagmire"

AXIAL = (1, 0, 0, 0, 1, 0)


def phantom(shape: Sequence[int], dtype: str = "int16") -> npt.NDArray[Any]:
    """Return distinct numbers without any symmetry."""
    count = int(np.prod(shape))
    return np.random.default_rng(0).permutation(count).reshape(shape).astype(dtype)


def dicom(
    path: Path,
    pixels: npt.NDArray[Any],
    *,
    position: Sequence[float] | None = None,
    directions: Sequence[float] | None = AXIAL,
    series: str = "1.2.3",
    photometric: str = "MONOCHROME2",
    frames: bool = False,
    **elements: Any,
) -> Path:
    """Write a DICOM file whose patient is SECRET.

    Args:
        path: The file.
        pixels: `[H, W]`, `[H, W, 3]`, or with `frames` several of them.
        position, directions, series, photometric: What the header says.
        frames: Whether the first axis counts frames.
        elements: Further elements; None leaves one out.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    shape = pixels.shape[1:] if frames else pixels.shape
    bits = 8 * pixels.dtype.itemsize
    standard = {
        "PatientName": SECRET,
        "PatientID": SECRET,
        "PatientComments": SECRET,
        "InstitutionName": SECRET,
        "ImageComments": SECRET,
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "Modality": "CT",
        "SeriesInstanceUID": series,
        "SeriesNumber": 1,
        "Rows": shape[0],
        "Columns": shape[1],
        "SamplesPerPixel": shape[2] if len(shape) == 3 else 1,
        "PhotometricInterpretation": photometric,
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelSpacing": [2.0, 0.5],
        "PixelData": pixels.tobytes(),
        "ImagePositionPatient": None if position is None else list(position),
        "ImageOrientationPatient": None if directions is None else list(directions),
        "PlanarConfiguration": 0 if len(shape) == 3 else None,
        "NumberOfFrames": len(pixels) if frames else None,
    }
    for name, value in (standard | elements).items():
        if value is not None:
            setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def nifti(voxels: npt.NDArray[Any], affine: npt.ArrayLike) -> Any:
    """Return a NIfTI image, to be saved by nibabel."""
    return nib.Nifti1Image(voxels, affine)  # type: ignore[no-untyped-call]


def items(**elements: Any) -> Items:
    """Return a sequence of one item."""
    dataset = Dataset()
    for name, value in elements.items():
        setattr(dataset, name, value)
    return Items([dataset])
