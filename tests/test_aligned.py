"""Heatmaps that lie where their photo lies: NIfTI in the body, GeoTIFF on the earth."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
import torch
from PIL import Image
from torch import Tensor, nn

import limelight
from limelight.errors import InputError, OutputError

nib: Any = import_module("nibabel")  # typed in part

Numbers = npt.NDArray[Any]


class Brightness(nn.Module):
    """A network whose one score is the mean brightness of a picture or a volume."""

    def __init__(self, axes: int, channels: int) -> None:
        super().__init__()
        convolution = nn.Conv2d if axes == 2 else nn.Conv3d
        self.conv = convolution(channels, 1, 1, bias=False)
        nn.init.ones_(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).relu().flatten(2).mean(2)  # type: ignore[no-any-return]


def network(axes: int = 2, channels: int = 1, **options: Any) -> limelight.Network:
    """Return a network that takes each pixel as it is."""
    sizes: dict[str, Any] = {"size": None, "resize": None} | options
    preprocess = limelight.Preprocess(mean=(0.0,) * channels, std=(1.0,) * channels, **sizes)
    return limelight.Network("bright", Brightness(axes, channels).eval(), preprocess)


AFFINES = {
    "ras": np.diag([1.0, 2.0, 3.0, 1.0]),
    "las": np.diag([-1.0, 2.0, 3.0, 1.0]),
    "turned": np.array([[0, 0, 2.0, -5], [-1.5, 0, 0, 7], [0, 3.0, 0, 1], [0, 0, 0, 1]]),
    "oblique": np.array([[0.96, -0.28, 0, 4], [0.28, 0.96, 0, -3], [0, 0, 2.5, 9], [0, 0, 0, 1.0]]),
}


def scan(path: Path, affine: Numbers, at: tuple[int, int, int]) -> Path:
    """Write a dark volume with one bright voxel, and a patient's name in the header."""
    voxels = np.zeros((12, 10, 8), dtype=np.int16)
    voxels[at] = 1000
    image = nib.Nifti1Image(voxels, affine)
    image.header["descrip"] = b"SECRET PATIENT"
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path


def aligned_of(net: limelight.Network, path: Path, target: Any = 0) -> limelight.AlignedMap:
    """Return the maps of a file at the network's only layer."""
    aligned = limelight.AlignedMap(net, path)
    for result in limelight.explain_photos(net, [path], [target], layer="conv"):
        aligned.add(result)
    return aligned


@pytest.mark.parametrize("affine", AFFINES.values(), ids=list(AFFINES))
@pytest.mark.parametrize("axes", [2, 3])
def test_heat_of_a_scan_lies_at_the_same_place_in_the_body(
    tmp_path: Path, affine: Numbers, axes: int
) -> None:
    """Read by nibabel alone: the hottest voxel has the world coordinates of the bright one."""
    at = (9, 2, 5)
    source = scan(tmp_path / "scan.nii.gz", affine, at)
    sizes: dict[str, Any] = {} if axes == 2 else {"size": None, "resize": displayed(source)}
    net = network(axes, **sizes)
    written = nib.load(aligned_of(net, source).save(tmp_path / "heat.nii.gz"))
    heat = np.asarray(written.dataobj)
    assert heat.shape == (12, 10, 8)
    assert np.array_equal(written.affine, nib.load(source).affine)
    assert np.argwhere(heat == heat.max()).tolist() == [list(at)]
    assert heat[at] == pytest.approx(1)
    assert np.count_nonzero(heat > 0.01) == 1
    assert b"SECRET" not in (tmp_path / "heat.nii.gz").read_bytes()
    assert bytes(written.header["descrip"]).strip(b"\0") == b""


def displayed(source: Path) -> tuple[int, int, int]:
    """Return the shape of a volume as it is shown."""
    volume = limelight.load_photo(source)
    assert isinstance(volume, limelight.Raster)
    depth, height, width, _ = volume.values.shape
    return depth, height, width


def test_a_network_that_crops_a_volume_leaves_the_rest_cold(tmp_path: Path) -> None:
    source = scan(tmp_path / "scan.nii", AFFINES["ras"], (6, 5, 4))
    depth, height, width = displayed(source)
    net = network(3, size=(depth - 4, height - 4, width - 4), resize=(depth, height, width))
    heat = aligned_of(net, source).heat()
    assert heat.seen.sum() == (depth - 4) * (height - 4) * (width - 4)
    assert not heat.heatmap[~heat.seen].any()
    written = np.asarray(nib.load(aligned_of(net, source).save(tmp_path / "h.nii")).dataobj)
    assert tuple(np.argwhere(written == written.max())[0]) == (6, 5, 4)


def test_slices_have_one_scale(tmp_path: Path) -> None:
    voxels = np.zeros((6, 6, 3), dtype=np.int16)
    voxels[1, 1, 0], voxels[1, 1, 2] = 1000, 250
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "two.nii")
    heat = aligned_of(network(), tmp_path / "two.nii")
    written = np.asarray(nib.load(heat.save(tmp_path / "heat.nii")).dataobj)
    assert written[1, 1, 0] == pytest.approx(1)
    assert written[1, 1, 2] == pytest.approx(0.25, abs=0.01)
    assert written[:, :, 1].max() == 0


def test_regions_of_a_scan_are_a_mask_in_its_place(tmp_path: Path) -> None:
    source = scan(tmp_path / "scan.nii", AFFINES["turned"], (9, 2, 5))
    aligned = aligned_of(network(), source)
    written = nib.load(aligned.save_regions(tmp_path / "mask.nii.gz", 0.5))
    mask = np.asarray(written.dataobj)
    assert mask.dtype == np.uint8
    assert np.argwhere(mask).tolist() == [[9, 2, 5]]


GEO = [
    (33550, "d", 3, (10.0, 20.0, 0.0), True),
    (33922, "d", 6, (0.0, 0.0, 0.0, 500000.0, 4600000.0, 0.0), True),
    (34735, "H", 8, (1, 1, 0, 1, 3072, 0, 1, 32633), True),
    (34737, "s", 0, "WGS 84 / UTM zone 33N|", True),
]


def aerial(path: Path, tags: Any = GEO) -> Path:
    """Write a dark GeoTIFF with one bright pixel in row 12, column 30."""
    pixels = np.zeros((40, 60), dtype=np.uint16)
    pixels[12, 30] = 60000
    tifffile.imwrite(path, pixels, photometric="minisblack", extratags=tags)
    return path


def geo_tags(path: Path) -> dict[int, Any]:
    with tifffile.TiffFile(path) as file:
        tags = file.pages.first.tags
        return {
            code: tags[code].value for code in (33550, 33922, 34264, 34735, 34737) if code in tags
        }


@pytest.mark.parametrize("crop", [False, True])
def test_heat_of_an_aerial_photo_keeps_its_place_on_the_earth(tmp_path: Path, crop: bool) -> None:
    source = aerial(tmp_path / "aerial.tif")
    net = network(size=(30, 40), resize=(40, 60)) if crop else network()
    path = aligned_of(net, source).save(tmp_path / "heat.tif")
    assert geo_tags(path) == geo_tags(source)
    heat = tifffile.imread(path)
    assert heat.shape == (40, 60)
    assert heat.dtype == np.float32
    assert tuple(np.argwhere(heat == heat.max())[0]) == (12, 30)
    if crop:
        assert not heat[:4].any()
        assert not heat[:, :9].any()


def test_a_map_of_another_size_has_larger_pixels(tmp_path: Path) -> None:
    from limelight.photos.geotiff import geotiff_bytes

    matrix = (34264, "d", 16, (10.0, 1, 0, 5, 2, -20, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1), True)
    source = aerial(tmp_path / "aerial.tif", [*GEO, matrix])
    small = tmp_path / "small.tif"
    small.write_bytes(geotiff_bytes(np.zeros((20, 20), dtype=np.float32), source))
    tags = geo_tags(small)
    assert tags[33550] == (30.0, 40.0, 0.0)
    assert tags[33922] == (0.0, 0.0, 0.0, 500000.0, 4600000.0, 0.0)
    # Column 20 and row 20 of the small one are column 60 and row 40 of the photo.
    before, after = (np.array(each[34264]).reshape(4, 4) for each in (geo_tags(source), tags))
    assert np.allclose(after @ [20, 20, 0, 1], before @ [60, 40, 0, 1])


def test_a_photo_without_a_place_is_a_plain_tiff(tmp_path: Path) -> None:
    Image.fromarray(np.eye(30, dtype=np.uint8) * 255).save(tmp_path / "plain.png")
    path = aligned_of(network(), tmp_path / "plain.png").save(tmp_path / "heat.tif")
    assert geo_tags(path) == {}
    assert np.array_equal(tifffile.imread(path) > 0.5, np.eye(30) > 0)


def test_what_cannot_be_aligned_is_refused(tmp_path: Path) -> None:
    source = aerial(tmp_path / "aerial.tif")
    aligned = limelight.AlignedMap(network(), source)
    with pytest.raises(InputError, match="no map"):
        aligned.save(tmp_path / "heat.tif")
    aligned = aligned_of(network(), source)
    with pytest.raises(OutputError, match=r"keeps its place in \.tif"):
        aligned.save(tmp_path / "heat.nii.gz")
    with pytest.raises(OutputError, match=r"one of tif, tiff, nii, nii\.gz"):
        aligned.save(tmp_path / "heat.png")
    (result,) = limelight.explain_photos(network(), [source], [0, None], layer="conv")
    with pytest.raises(InputError, match="2 maps"):
        aligned.add(result)
    assert torch.is_tensor(result.explanations[0].raw)
