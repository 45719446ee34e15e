"""NIfTI and DICOM: the right voxels in the right place, and nobody's name anywhere."""

from __future__ import annotations

import itertools
import json
import traceback
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
import torch
from matplotlib.axes import Axes
from matplotlib.text import Text
from pydicom.uid import JPEGLSLossless, RLELossless
from torch import nn

import limelight
from helpers.commands import Runner, folder, run
from helpers.hidden_packages import hide_for_a_test
from helpers.scans import AXIAL, SECRET, dicom, items, nifti, phantom
from limelight.errors import MissingPhotoError, OptionError, PhotoError, UnknownNameError
from limelight.photo_pipeline import explain_photos
from limelight.photos.finding import find_photos
from limelight.photos.opened import Stack
from limelight.photos.pictures import each_picture, open_stack
from limelight.photos.preprocess import Preprocess
from limelight.photos.raster import Raster
from limelight.photos.windows import WINDOWS, read_window

__all__ = ["folder", "run"]  # fixtures

Array = npt.NDArray[Any]

nib: Any = nibabel  # which has few types


def scan(path: Path) -> Raster:
    """Return a picture or volume that is known to be no Pillow picture."""
    loaded = limelight.load_photo(path)
    assert isinstance(loaded, Raster)
    return loaded


def stack_of(path: Path) -> Stack:
    stack = open_stack(path)
    assert stack is not None
    return stack


# NIfTI


def affines() -> list[Array]:
    """Return affines of all orders and directions of the axes, and oblique ones."""
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            affine = np.zeros((4, 4))
            for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
                affine[world, axis] = sign * (1.5, 2.5, 4.0)[axis]
            affine[:, 3] = (11, -7, 5, 1)
            found.append(affine)
    angle = np.deg2rad(20)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return [*found, turn @ found[0], turn @ found[21]]


def test_a_nifti_is_shown_in_axial_slices_as_radiologists_look_at_them(tmp_path: Path) -> None:
    # Where a voxel lies is computed by the affine alone, as nibabel documents it.
    voxels = phantom((5, 6, 7))
    for number, affine in enumerate(affines()):
        path = tmp_path / f"{number}.nii.gz"
        nib.save(nifti(voxels, affine), path)
        volume = scan(path)
        assert volume.sides == ("R", "L", "A", "P")
        places = np.stack(np.meshgrid(*map(np.arange, voxels.shape), indexing="ij"), -1)
        world = nib.affines.apply_affine(affine, places)
        at_number = zip(voxels.ravel(), world.reshape(-1, 3), strict=True)
        where = {int(voxel): place for voxel, place in at_number}
        at = np.vectorize(where.__getitem__, signature="()->(n)")(volume.values[..., 0])
        # Slices go up, rows to the back, and columns to the left of the patient.
        steps = [np.diff(at, axis=axis).reshape(-1, 3).mean(0) for axis in range(3)]
        for step, axis, sign in zip(steps, (2, 1, 0), (1, -1, -1), strict=True):
            assert np.abs(step).argmax() == axis
            assert np.sign(step[axis]) == sign
        assert volume.spacing == pytest.approx([np.linalg.norm(step) for step in steps])


def test_the_numbers_of_a_nifti_are_scaled_as_it_says(tmp_path: Path) -> None:
    stored = phantom((4, 5, 3))
    image = nifti(stored, np.diag([-1, -1, 1, 1]))
    nib.save(image, tmp_path / "plain.nii")
    plain = scan(tmp_path / "plain.nii").values
    assert plain.dtype == np.int16
    assert np.array_equal(plain[..., 0], stored.T)  # stored from right to left and front to back
    image.header.set_slope_inter(2, -1024)
    nib.save(image, tmp_path / "scaled.nii.gz")
    scaled = scan(tmp_path / "scaled.nii.gz").values
    assert scaled.dtype == np.float32
    assert np.allclose(scaled, nib.load(tmp_path / "scaled.nii.gz").get_fdata().T[..., None])


def test_a_nifti_of_one_slice_is_a_picture_in_its_own_plane(tmp_path: Path) -> None:
    planes = {(1, 6, 7): "APSI", (5, 1, 7): "RLSI", (5, 6, 1): "RLAP", (5, 6): "RLAP"}
    for shape, sides in planes.items():
        path = tmp_path / f"{len(shape)}-{sides}.nii"
        voxels = phantom(shape)
        nib.save(nifti(voxels, np.diag([2.0, 3.0, 4.0, 1.0])), path)
        assert open_stack(path) is None
        picture = scan(path)
        assert picture.sides == tuple(sides)
        flat = voxels.squeeze()  # its axes lead to the right, to the front or up
        shown = flat.T[::-1] if sides == "RLSI" else flat.T[::-1, ::-1]
        across = -1 if sides == "RLSI" else 1
        assert np.array_equal(picture.values[..., 0], shown[:, ::across])


def test_units_and_unknown_directions_of_a_nifti(tmp_path: Path) -> None:
    image = nifti(phantom((4, 5, 3)), np.diag([0.5, 0.5, 2.0, 1]))
    image.header.set_xyzt_units("micron")
    nib.save(image, tmp_path / "cells.nii")
    assert scan(tmp_path / "cells.nii").spacing == pytest.approx((0.002, 0.0005, 0.0005))
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nib.save(image, tmp_path / "somewhere.nii")
    assert scan(tmp_path / "somewhere.nii").sides is None


def test_several_volumes_in_a_nifti_are_channels_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "four.nii"
    nib.save(nifti(phantom((4, 5, 3, 2)), np.eye(4)), path)
    with pytest.raises(PhotoError, match=r"holds 2 volumes\. Save the one that you mean, nib"):
        limelight.load_photo(path)
    volume = limelight.load_photo(path, channels=2)
    assert isinstance(volume, Raster)
    assert volume.values.shape == (3, 5, 4, 2)
    nib.save(nifti(phantom((4, 5, 3, 1)), np.eye(4)), path)
    assert scan(path).values.shape == (3, 5, 4, 1)
    colours = np.zeros((4, 5, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    colours["G"] = 7
    nib.save(nifti(colours, np.eye(4)), path)
    assert scan(path).values[0, 0, 0].tolist() == [0, 7, 0]


def test_damaged_niftis_are_told(tmp_path: Path) -> None:
    whole = tmp_path / "whole.nii"
    nib.save(nifti(phantom((4, 5, 3)), np.eye(4)), whole)
    (tmp_path / "cut.nii").write_bytes(whole.read_bytes()[:400])
    (tmp_path / "text.nii.gz").write_bytes(b"no scan at all" * 100)
    (tmp_path / "empty.nii").touch()
    for name in ("cut.nii", "text.nii.gz"):
        with pytest.raises(PhotoError, match=f"{name}' (is no NIfTI|cannot be)") as caught:
            limelight.load_photo(tmp_path / name)
        assert "damaged or cut short" in str(caught.value)
    with pytest.raises(PhotoError, match="is empty"):
        limelight.load_photo(tmp_path / "empty.nii")
    with pytest.raises(MissingPhotoError, match="There is no file"):
        limelight.load_photo(tmp_path / "none.nii")
    with pytest.raises(MissingPhotoError, match=r"There is no picture 4 in '.*whole.nii', which"):
        limelight.load_photo(whole / "whole-4")


# DICOM


def test_hounsfield_units_and_the_window_of_the_file(tmp_path: Path) -> None:
    stored = phantom((6, 8), "uint16")
    path = dicom(
        tmp_path / "ct.dcm",
        stored,
        RescaleSlope=2,
        RescaleIntercept=-1024,
        WindowCenter=[40, 400],
        WindowWidth=[401, 2000],
    )
    picture = scan(path)
    assert np.array_equal(picture.values[..., 0], stored * 2.0 - 1024)
    assert picture.values.dtype == np.int16  # a scan of 600 slices then fits
    # PS3.3, C.11.2.1.2: black up to c - 0.5 - (w - 1) / 2, white above c - 0.5 + (w - 1) / 2.
    assert picture.span == (-160.5, 239.5)
    assert picture.spacing == (2.0, 0.5)
    assert picture.sides == ("R", "L", "A", "P")
    parts = scan(dicom(tmp_path / "pet.dcm", stored, RescaleSlope=0.25, RescaleIntercept=0))
    assert np.array_equal(parts.values[..., 0], stored * 0.25)
    high = scan(dicom(tmp_path / "high.dcm", stored, RescaleSlope=1, RescaleIntercept=70000))
    assert np.array_equal(high.values[..., 0], stored.astype(int) + 70000)
    exact = dicom(
        tmp_path / "exact.dcm",
        stored,
        WindowCenter=40,
        WindowWidth=400,
        VOILUTFunction="LINEAR_EXACT",
    )
    assert scan(exact).span == (-160, 240)
    without = scan(dicom(tmp_path / "plain.dcm", stored, PixelPaddingValue=int(stored.max())))
    assert without.span == (0, np.sort(stored.ravel())[-2])
    windowed = Preprocess(size=None, resize=None, mean=(0.0,), std=(1.0,), window=(40, 400))(
        picture
    )
    expected = np.clip((stored * 2.0 - 1024 + 160) / 400, 0, 1)
    assert np.allclose(windowed[0], expected, atol=1e-6)


def test_signs_bits_and_inverted_greys(tmp_path: Path) -> None:
    signed = (phantom((6, 8)) - 20).astype("int16")
    # Twelve bits are in use, and those above them hold something else.
    stored = (signed.astype("uint16") & 0x0FFF) | 0x5000
    path = dicom(
        tmp_path / "x.dcm",
        stored.astype("uint16"),
        BitsStored=12,
        HighBit=11,
        PixelRepresentation=1,
        photometric="MONOCHROME1",
    )
    picture = scan(path)
    assert np.array_equal(picture.values[..., 0], signed)
    scaled = picture.scaled()
    assert scaled[..., 0].flat[signed.argmin()] == 1
    assert scaled[..., 0].flat[signed.argmax()] == 0
    assert picture.scaled((0, 10))[..., 0].flat[signed.argmax()] == 0


def test_colours_become_rgb(tmp_path: Path) -> None:
    rgb = phantom((6, 8, 3), "uint8")
    picture = scan(dicom(tmp_path / "rgb.dcm", rgb, photometric="RGB"))
    assert np.array_equal(picture.values, rgb)
    red = np.broadcast_to(np.array([76, 85, 255], "uint8"), (6, 8, 3))  # Y, Cb and Cr of red
    ybr = scan(dicom(tmp_path / "ybr.dcm", np.ascontiguousarray(red), photometric="YBR_FULL"))
    assert np.abs(ybr.values.astype(int) - (255, 0, 0)).max() <= 2
    index = (phantom((6, 8), "uint8") % 2).astype("uint8")
    tables: dict[str, Any] = {
        f"{name}PaletteColorLookupTable{part}": value
        for name, entries in (("Red", (0, 65535)), ("Green", (257, 0)), ("Blue", (0, 0)))
        for part, value in (
            ("Descriptor", [2, 0, 16]),
            ("Data", np.array(entries, "uint16").tobytes()),
        )
    }
    palette = scan(dicom(tmp_path / "p.dcm", index, photometric="PALETTE COLOR", **tables))
    assert palette.values[index == 1].tolist() == [[255, 0, 0]] * int(index.sum())
    assert palette.values[index == 0][0].tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("directions", "expected"),
    [
        (AXIAL, lambda x: x),
        ((-1, 0, 0, 0, -1, 0), lambda x: x[::-1, ::-1]),  # face down
        ((-1, 0, 0, 0, 1, 0), lambda x: x[:, ::-1]),
        ((0, 1, 0, 1, 0, 0), lambda x: x.T),
        ((0, -1, 0, 1, 0, 0), lambda x: x.T[::-1]),
        ((0.98, 0.17, 0.1, -0.17, 0.98, 0), lambda x: x),
    ],
)
def test_axial_pictures_are_turned_as_radiologists_look_at_them(
    tmp_path: Path, directions: Sequence[float], expected: Any
) -> None:
    stored = phantom((6, 8))
    picture = scan(dicom(tmp_path / "a.dcm", stored, directions=directions))
    assert np.array_equal(picture.values[..., 0], expected(stored))
    assert picture.sides == ("R", "L", "A", "P")
    assert picture.spacing == ((0.5, 2.0) if picture.height == 8 else (2.0, 0.5))


def test_other_pictures_stay_as_they_are_stored(tmp_path: Path) -> None:
    stored = phantom((6, 8))
    for name, directions, sides in (
        ("sagittal", (0, 1, 0, 0, 0, -1), "APSI"),
        ("coronal", (1, 0, 0, 0, 0, -1), "RLSI"),
        ("turned", (0, -1, 0, 0, 0, -1), "PASI"),
    ):
        picture = scan(dicom(tmp_path / f"{name}.dcm", stored, directions=directions))
        assert np.array_equal(picture.values[..., 0], stored)
        assert picture.sides == tuple(sides)
    projection = dicom(
        tmp_path / "chest.dcm", stored, directions=None, PatientOrientation=["L", "F"]
    )
    assert scan(projection).sides == ("R", "L", "S", "I")
    path = dicom(tmp_path / "n.dcm", stored, directions=None, PatientOrientation=["LALALAL", "F"])
    path.write_bytes(path.read_bytes().replace(b"LALALAL", b"Zebulon"))
    assert scan(path).sides is None


def series(
    folder: Path, count: int = 5, *, uid: str = "1.2.3", prefix: str = "", **elements: Any
) -> Array:
    """Write a series whose file names are not in the order of its slices; return it in order."""
    folder.mkdir(exist_ok=True)
    volume = phantom((count, 6, 8))
    for number, place in enumerate(np.random.default_rng(3).permutation(count)):
        dicom(
            folder / f"{prefix}{number}.dcm",
            volume[place],
            position=(0, 0, 3.0 * place - 50),
            series=uid,
            **elements,
        )
    return volume


def test_a_series_in_a_folder_is_a_volume_in_the_order_of_its_places(tmp_path: Path) -> None:
    volume = series(tmp_path / "head")
    (path,) = find_photos([tmp_path])
    assert path == tmp_path / "head"
    whole = scan(path)
    assert np.array_equal(whole.values[..., 0], volume)
    assert whole.spacing == (3.0, 2.0, 0.5)
    pictures = each_picture([path])
    assert pictures[0] == path / "head-1"
    for picture, expected in zip(pictures, volume, strict=True):
        assert np.array_equal(scan(picture).values[..., 0], expected)
    # One file is one slice.
    assert scan(tmp_path / "head" / "0.dcm").values.shape == (6, 8, 1)


def test_sagittal_series_go_from_right_to_left(tmp_path: Path) -> None:
    volume = phantom((4, 6, 8))
    for place, name in enumerate("dbac"):
        dicom(
            tmp_path / name,  # without a suffix
            volume[place],
            position=(5.0 * place, 0, 0),
            directions=(0, 1, 0, 0, 0, -1),
        )
    (path,) = find_photos([tmp_path])
    assert np.array_equal(scan(path).values[..., 0], volume)
    assert scan(path).spacing == (5.0, 2.0, 0.5)


def test_several_series_in_a_folder_are_each_its_own(tmp_path: Path) -> None:
    first = series(tmp_path, 3, uid="1.2.9", SeriesNumber=2)
    second = series(tmp_path, 4, uid="1.2.3", prefix="b", SeriesNumber=7)
    scout = phantom((6, 8))
    dicom(tmp_path / "scout.dcm", scout, directions=(1, 0, 0, 0, 0, -1), position=(0, 0, 0))
    dicom(tmp_path / "report.dcm", scout, Rows=None, Columns=None, BitsAllocated=None)
    paths = find_photos([tmp_path])
    assert [path.name for path in paths] == ["scout.dcm", "series-1", "series-2"]
    assert np.array_equal(scan(paths[1]).values[..., 0], first)
    assert np.array_equal(scan(paths[2]).values[..., 0], second)
    assert np.array_equal(scan(paths[2] / "series-2-3").values[..., 0], second[2])
    with pytest.raises(PhotoError, match="is a folder; one photo was expected"):
        limelight.load_photo(tmp_path)
    with pytest.raises(PhotoError, match="is a DICOM file without a picture, such as a report"):
        limelight.load_photo(tmp_path / "report.dcm")


def test_slices_at_one_place_are_refused(tmp_path: Path) -> None:
    series(tmp_path, 3)
    series(tmp_path, 3, prefix="later")
    with pytest.raises(PhotoError, match="a series of 6 pictures, several of which lie at one pl"):
        limelight.load_photo(tmp_path)


def test_projections_in_a_folder_are_photos_by_themselves(tmp_path: Path) -> None:
    for name in ("IM10", "IM2"):
        dicom(tmp_path / name, phantom((6, 8)), directions=None)
    assert [path.name for path in find_photos([tmp_path])] == ["IM2", "IM10"]


def test_a_file_of_many_frames_is_a_film_or_a_volume(tmp_path: Path) -> None:
    frames = phantom((4, 6, 8))
    film = dicom(tmp_path / "film.dcm", frames, frames=True, directions=None, FrameTime=40)
    assert np.array_equal(scan(film).values[..., 0], frames)
    assert stack_of(film).fps == 25
    assert find_photos([tmp_path]) == [film]
    # As enhanced files do, one says of each frame where it lies, in any order.
    order = [2, 0, 3, 1]
    groups = [
        items(
            PlanePositionSequence=items(ImagePositionPatient=[0, 0, 2.5 * place]),
            PixelValueTransformationSequence=items(RescaleSlope=1 + place, RescaleIntercept=0),
        )[0]
        for place in order
    ]
    shared = items(
        PlaneOrientationSequence=items(ImageOrientationPatient=list(AXIAL)),
        PixelMeasuresSequence=items(PixelSpacing=[1.5, 1.5]),
        FrameVOILUTSequence=items(WindowCenter=50, WindowWidth=101),
    )
    path = dicom(
        tmp_path / "enhanced.dcm",
        frames,
        frames=True,
        directions=None,
        PixelSpacing=None,
        PerFrameFunctionalGroupsSequence=groups,
        SharedFunctionalGroupsSequence=shared,
    )
    volume = scan(path)
    scaled = [frames[order.index(place)] * (1.0 + place) for place in range(4)]
    assert np.array_equal(volume.values[..., 0], scaled)
    assert volume.spacing == (2.5, 1.5, 1.5)
    assert volume.span == (-0.5, 99.5)
    assert volume.sides == ("R", "L", "A", "P")


def test_compressed_files_are_read_or_the_package_is_named(tmp_path: Path) -> None:
    import pydicom

    stored = phantom((6, 8))
    path = dicom(tmp_path / "x.dcm", stored)
    dataset = pydicom.dcmread(path)
    dataset.compress(RLELossless)
    dataset.save_as(tmp_path / "rle.dcm")
    assert np.array_equal(scan(tmp_path / "rle.dcm").values[..., 0], stored)
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    dataset.save_as(tmp_path / "ls.dcm")
    with pytest.raises(PhotoError, match=r"compressed by JPEG-LS .*pip install pylibjpeg pylib"):
        limelight.load_photo(tmp_path / "ls.dcm")


# Nobody's name


def assert_anonymous(text: str) -> None:
    for part in (SECRET, *SECRET.split("^")):
        assert part.lower() not in text.lower()


def secret_nifti(path: Path) -> Path:
    image = nifti(phantom((32, 32, 3)), np.diag([1.0, 1.0, 4.0, 1.0]))
    image.header["descrip"] = image.header["aux_file"] = SECRET
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", SECRET.encode()))
    nib.save(image, path)
    return path


def damaged_dicoms(folder: Path) -> list[Path]:
    """Write files whose elements hold a name where numbers belong, and that are cut short."""
    folder.mkdir()
    stored = phantom((6, 8))
    whole = dicom(folder / "whole.dcm", stored).read_bytes()
    (folder / "cut.dcm").write_bytes(whole[:-30])
    (folder / "short.dcm").write_bytes(whole[:300])
    with warnings.catch_warnings(action="ignore"):
        for name in ("RescaleSlope", "PixelSpacing", "WindowCenter", "InstanceNumber"):
            # As long as the name, to be replaced in the file.
            numbers: dict[str, Any] = {name: ["1.234567", "2.345678"]}
            path = dicom(folder / f"{name}.dcm", stored, **numbers)
            content = path.read_bytes().replace(b"1.234567", b"Quagmire")
            path.write_bytes(content)
        path = dicom(folder / "many.dcm", stored, NumberOfFrames="12345678")
        path.write_bytes(path.read_bytes().replace(b"12345678", b"Quagmire"))
        dicom(folder / "photometric.dcm", stored, photometric="QUAGMIRE")
        path = dicom(folder / "syntax.dcm", stored)
        content = path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"Zebulon^Quagmire.1.2")
        path.write_bytes(content)
    return [path for path in folder.iterdir() if path.name != "whole.dcm"]


def test_errors_and_warnings_name_nobody(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    recwarn: pytest.WarningsRecorder,
) -> None:
    paths = damaged_dicoms(tmp_path / "bad")
    nifti = secret_nifti(tmp_path / "scan.nii")
    content = nifti.read_bytes()
    (tmp_path / "cut.nii").write_bytes(content[: len(content) // 2])
    (tmp_path / "odd.nii").write_bytes(content[:70] + b"Qu" + content[72:])  # the type of numbers
    caplog.clear()
    refused = []
    for path in [*paths, tmp_path / "cut.nii", tmp_path / "odd.nii"]:
        with suppress(PhotoError):
            assert_anonymous(repr(limelight.load_photo(path)))
            continue
        with pytest.raises(PhotoError) as caught:
            limelight.load_photo(path)
        refused.append(path.name)
        assert_anonymous("".join(traceback.format_exception(caught.value)))
    assert {"cut.dcm", "short.dcm", "many.dcm", "syntax.dcm", "cut.nii", "odd.nii"} <= {*refused}
    assert not recwarn.list
    assert not caplog.records
    written = capfd.readouterr()
    assert_anonymous(written.out + written.err)


class Brightest(nn.Module):
    """Two scores of a grey picture."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.head(self.features(x).mean((2, 3)))
        return answer


def grey_network(**options: Any) -> limelight.Network:
    options = {"size": (16, 16), "resize": 16, **options}
    preprocess = Preprocess(mean=(0.5,), std=(0.5,), **options)
    return limelight.Network("grey", Brightest().eval(), preprocess)


def test_no_result_names_the_patient(tmp_path: Path) -> None:
    network = grey_network()
    paths = [secret_nifti(tmp_path / "scan.nii.gz"), dicom(tmp_path / "x.dcm", phantom((32, 32)))]
    results = list(explain_photos(network, paths, layer="features"))
    assert len(results) == 4
    for number, result in enumerate(results):
        assert result.error is None
        assert result.crop is not None
        assert result.crop.geometry is not None
        (explanation,) = result.explanations
        assert_anonymous(repr(explanation))
        for suffix in ("png", "pdf", "svg", "jpg", "webp", "npz"):
            written = explanation.save(tmp_path / f"{number}.{suffix}")
            assert SECRET.encode() not in written.read_bytes()
            assert b"Quagmire" not in written.read_bytes()
    with np.load(tmp_path / "0.npz") as arrays:
        assert_anonymous(json.dumps({name: str(arrays[name]) for name in arrays}))


def test_the_command_names_nobody(run: Runner, folder: Path) -> None:
    series(folder / "ct", 3)
    dicom(folder / "bad.dcm", phantom((6, 8)), photometric="MONOCHROME2", BitsAllocated=24)
    (folder / "nets.py").write_text(
        "from torch import nn\n"
        "def grey(): return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), "
        "nn.Flatten(), nn.Linear(4, 2))\n"
    )
    options = ("--model", "nets:grey", "--size", 16, "--mean", ".5", "--std", ".5", "--out", "maps")
    code, out, err = run("explain", "ct", "bad.dcm", "--json", *options)
    report = json.loads(out)
    assert [Path(photo["photo"]).name for photo in report["photos"]] == ["ct-1", "ct-2", "ct-3"]
    assert [Path(failed["photo"]).name for failed in report["failed"]] == ["bad.dcm"]
    assert code == 1
    assert_anonymous(out + err)
    for written in (folder / "maps").iterdir():
        assert b"Quagmire" not in written.read_bytes()


# The figure


def letters_of(explanation: limelight.Explanation) -> list[str]:
    return [text.get_text() for text in explanation.figure(whole=True).findobj(Text)]


def test_a_figure_has_the_sides_a_scale_and_true_proportions(tmp_path: Path) -> None:
    path = dicom(tmp_path / "x.dcm", phantom((30, 200)), position=(0, 0, 0))
    network = grey_network(size=None, resize=None)
    explanation = limelight.explain(network, limelight.load_photo(path), layer="features")
    texts = letters_of(explanation)
    assert [texts.count(letter) for letter in "RLAPSI"] == [2, 2, 2, 2, 0, 0]
    assert texts.count("20 mm") == 2  # up to a third of 200 pixels of 0.5 mm
    panel = explanation.figure().axes[0].get_window_extent()
    assert panel.height / panel.width == pytest.approx(30 * 2.0 / (200 * 0.5), rel=1e-3)
    # Another size of the photo has other pixels.
    crop = explanation.crops and explanation.crops[0]
    assert crop
    small = crop.reduced(100)
    assert small.photo.width < 200
    assert small.geometry is not None
    assert small.geometry.pixel == pytest.approx((4.0, 1.0))
    photo = limelight.explain(network, torch.rand(1, 1, 8, 8), layer="features")
    assert not set("RLAP") & set(letters_of_tensor(photo))


def letters_of_tensor(explanation: limelight.Explanation) -> list[str]:
    return [text.get_text() for text in explanation.figure().findobj(Text)]


def test_the_slices_of_a_volume_have_them_too(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii"
    nib.save(nifti(phantom((40, 20, 6)), np.diag([-1.0, 4.0, 3.0, 1.0])), path)
    sizes: Any = {"size": (6, 10, 40), "resize": (6, 10, 40)}
    features = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU())
    pool = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2))
    model = nn.Sequential(features, pool).eval()
    network = limelight.Network("volumes", model, grey_network(**sizes).preprocess)
    explained = limelight.explain(network, limelight.load_photo(path), layer="0")
    (of_file,) = explain_photos(network, [path], layer="0")
    for explanation in (explained, explained[0], of_file.explanations[0]):
        # Rows of 4 mm became half as many; columns of 1 mm stay.
        assert explanation.geometry is not None
        assert explanation.geometry[0] is not None
        assert explanation.geometry[0].pixel == (8.0, 1.0)
        figure = explanation.figure()
        texts = [text.get_text() for text in figure.findobj(Text)]
        assert [texts.count(letter) for letter in "RLAPSI"] == [6, 6, 6, 6, 0, 0]
        assert texts.count("10 mm") == 6
        panel = next(axes for axes in figure.findobj(Axes) if axes.get_title() == "slice 0")
        extent = panel.get_window_extent()
        assert extent.height / extent.width == pytest.approx(10 * 8 / 40, rel=1e-3)


# Windows


def test_windows_are_read_by_name_or_numbers() -> None:
    assert read_window("40,400") == (40, 400)
    assert read_window(" -600 , 1500 ") == (-600, 1500)
    assert read_window("Lung") == WINDOWS["lung"]
    for name, window in WINDOWS.items():
        assert read_window(name) == window
        Preprocess(window=window)
    with pytest.raises(UnknownNameError, match=r"no window named 'lungs'\. Did you mean 'lung'"):
        read_window("lungs")
    for text in ("", "40", "40,400,3", "a,b", ","):
        with pytest.raises(OptionError, match="its centre and its width were expected, as in"):
            read_window(text)
    for text in ("40,0", "40,-400", "nan,3", "0,inf"):
        with pytest.raises(OptionError, match="The window is"):
            read_window(text)


# Folders and packages


def test_grey_pages_of_a_tiff_are_a_volume(tmp_path: Path) -> None:
    pages = phantom((5, 32, 40), "uint16")
    tifffile.imwrite(tmp_path / "cells.tif", pages, imagej=True, metadata={"axes": "ZYX"})
    tifffile.imwrite(tmp_path / "film.tif", pages, metadata={"axes": "TYX"})
    with tifffile.TiffWriter(tmp_path / "pages.tiff") as file:
        for page in pages:
            file.write(page, contiguous=False, metadata=None)
    for name in ("cells.tif", "film.tif", "pages.tiff"):
        stack = stack_of(tmp_path / name)
        assert stack.count == 5
        assert np.array_equal(scan(tmp_path / name).values[..., 0], pages)
        third = scan(stack.paths()[2])
        assert np.array_equal(third.values[..., 0], pages[2])
        assert third.span == (0, pages.max())


def test_thumbnails_pyramids_and_colours_of_a_tiff_are_no_volume(tmp_path: Path) -> None:
    pages = phantom((3, 64, 64), "uint16")
    with tifffile.TiffWriter(tmp_path / "thumbnail.tif") as file:
        file.write(pages[0])
        file.write(pages[0, ::8, ::8])
    with tifffile.TiffWriter(tmp_path / "pyramid.tif") as file:
        file.write(pages[0], subifds=1)
        file.write(pages[0, ::2, ::2], subfiletype=1)
    tifffile.imwrite(tmp_path / "rgb.tif", pages.transpose(1, 2, 0).astype("uint8"))
    (tmp_path / "bad.tif").write_bytes(b"II*\0" + b"\xff" * 40)
    for name in ("thumbnail.tif", "pyramid.tif", "rgb.tif", "bad.tif"):
        assert open_stack(tmp_path / name) is None
    assert np.array_equal(scan(tmp_path / "pyramid.tif").values[..., 0], pages[0])


def test_frames_are_sorted_by_their_numbers(tmp_path: Path) -> None:
    names = ["frame-1.png", "frame-2.png", "frame-10.png", "frame-10b.png", "x.png"]
    for name in reversed(names):
        (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in find_photos([tmp_path])] == names


def test_arrays_in_a_folder_are_taken_where_there_is_no_photo(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", phantom((6, 8)))
    np.savez(tmp_path / "b.npz", phantom((6, 8)))
    assert find_photos([tmp_path]) == [tmp_path / "a.npy"]
    assert find_photos([tmp_path / "b.npz"]) == [tmp_path / "b.npz"]
    (tmp_path / "c.png").write_bytes(b"x")
    assert find_photos([tmp_path]) == [tmp_path / "c.png"]


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("a.nii", "nibabel", "medical"), ("a.dcm", "pydicom", "medical"), ("a.mp4", "av", "video")],
)
def test_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str, extra: str
) -> None:
    (tmp_path / name).write_bytes(b"x" * 400)
    hide_for_a_test(monkeypatch, package)
    needed = rf"needs the package {package}, which is not installed"
    expected = rf"{needed}: pip install 'limelight\[{extra}\]'"
    (path,) = find_photos([tmp_path])
    with pytest.raises(PhotoError, match=expected):
        limelight.load_photo(path)
    (result,) = explain_photos(grey_network(), [path])
    assert expected.replace("\\", "") in str(result.error)
