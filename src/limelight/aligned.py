"""Heatmaps as files that lie where their photo does: NIfTI in the body, GeoTIFF on the earth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from limelight import files
from limelight.errors import InputError, OutputError
from limelight.explanation import Explanation
from limelight.explanation_arrays import PhotoHeatmap, photo_heatmap
from limelight.map_scales import ScaledMaps, highest_value
from limelight.models.network import Network
from limelight.photo_pipeline import PhotoResult
from limelight.photos.geotiff import geotiff_bytes
from limelight.photos.nifti import nifti_bytes
from limelight.photos.opened import VolumeFile, split_path
from limelight.photos.pictures import open_stack
from limelight.photos.raster import Numbers
from limelight.regions.thresholds import ThresholdRule, check_threshold, hot_pixels

#: The formats of aligned files.
ALIGNED = ("tif", "tiff", "nii", "nii.gz")


class AlignedMap:
    """The heat over a whole photo or volume, to be written as a file that lies where it lies.

    Heat is in [0, 1], and 0 where the network did not see. Of the slices of a volume, which were
    explained one by one, the highest value of all raw maps becomes 1.

        aligned = limelight.AlignedMap(network, "ct.nii.gz")
        for result in limelight.explain_photos(network, ["ct.nii.gz"], ["tumour"]):
            aligned.add(result)
        aligned.save("heat.nii.gz")
    """

    def __init__(self, network: Network, source: str | Path) -> None:
        """Begin without maps.

        Args:
            network: The network that was explained; it says which part of a volume it saw.
            source: The photo, such as a GeoTIFF, or a volume in a NIfTI file.
        """
        self.network = network
        self.source: Path = Path(source)
        self._slices = list[PhotoResult]()

    def __len__(self) -> int:
        """Return how many maps were added."""
        return len(self._slices)

    def add(self, result: PhotoResult) -> None:
        """Add the map of the photo, of one of its slices, or of the whole volume.

        Raises:
            InputError: There are several targets.
        """
        if not result.explanations:
            return
        if len(result.explanations) > 1:
            raise InputError(
                f"There are {len(result.explanations)} maps of {str(result.path)!r}; an aligned "
                "file holds one. Name one target."
            )
        self._slices.append(result.without_pixels())

    def heat(self) -> PhotoHeatmap:
        """Return the heat over the photo, `[H, W]`, or the volume, `[D, H, W]`, as it is shown.

        Raises:
            InputError: No map was added, or they are not of the source.
        """
        if not self._slices:
            raise InputError(f"There is no map of {str(self.source)!r} to write.")
        stack = open_stack(self.source, self.network.preprocess.channels)
        first = self._slices[0]
        if stack is None:
            assert first.crop is not None
            return photo_heatmap(first.explanations[0], first.crop)
        if not isinstance(stack, VolumeFile):
            raise InputError(
                f"{str(self.source)!r} is a film; a photo or a volume was expected. Write a film."
            )
        shape = stack.shape[:3]
        if first.crop is None:
            return _in_volume(
                first.explanations[0], shape, self.network.preprocess.volume_box(shape)
            )
        highest = highest_value(each.explanations[0] for each in self._slices)
        heat = torch.zeros(shape, dtype=torch.float32, device="cpu")
        seen = torch.zeros(shape, dtype=torch.bool, device="cpu")
        for result in self._slices:
            inside = split_path(result.path)
            if inside is None or inside[0] != self.source or result.crop is None:
                raise InputError(f"{str(result.path)!r} is no slice of {str(self.source)!r}.")
            maps = ScaledMaps(result.explanations[0], signed=False, highest=[highest])
            heat[inside[1]], seen[inside[1]] = photo_heatmap(maps, result.crop)
        return PhotoHeatmap(heat, seen)

    def save(self, path: str | Path) -> Path:
        """Write the heat, 32-bit floats, whole or not at all.

        Args:
            path: The file: .nii or .nii.gz for a NIfTI source, .tif for a photo.

        Raises:
            OutputError: The format does not go with the source, or the file cannot be written.
            InputError: As `heat`.
        """
        path = Path(path)
        check_aligned(path, self.source)
        return self._write(path, self.heat().heatmap.numpy())

    def save_regions(
        self, path: str | Path, threshold: float | None = None, how: ThresholdRule = "share"
    ) -> Path:
        """Write where it is hot, 1 in hot pixels or voxels and 0 elsewhere, in bytes.

        Args:
            path: As in `save`.
            threshold, how: As in `Explanation.regions`.

        Raises:
            OptionError: The threshold makes no sense.
            OutputError, InputError: As `save`.
        """
        path = Path(path)
        check_aligned(path, self.source)
        threshold = check_threshold(threshold, how)
        heat, seen = (each.numpy() for each in self.heat())
        return self._write(path, hot_pixels(heat, seen, threshold, how).astype(np.uint8))

    def _write(self, path: Path, values: Numbers) -> Path:
        if aligned_format(path).startswith("tif"):
            return files.write_whole(path, geotiff_bytes(values, self.source))
        compressed = path.suffix.lower() == ".gz"
        return files.write_whole(path, nifti_bytes(values, self.source, compressed=compressed))


def aligned_format(path: Path) -> str:
    """Return the format of an aligned file by its suffix.

    Raises:
        OutputError: There is no such format.
    """
    name = path.name.lower()
    for form in sorted(ALIGNED, key=len, reverse=True):
        if name.endswith(f".{form}"):
            return form
    raise OutputError(
        f"Cannot write {path.name!r}: its suffix should be one of {', '.join(ALIGNED)}."
    )


def check_aligned(path: Path, source: Path) -> None:
    """Refuse a file whose format does not go with its source.

    Raises:
        OutputError: It does not.
    """
    form = aligned_format(path)
    of_nifti = source.name.lower().endswith((".nii", ".nii.gz"))
    if form.startswith("nii") != of_nifti:
        fits = ".nii.gz" if of_nifti else ".tif"
        raise OutputError(
            f"Cannot write {path.name!r}: a map of {source.name!r} keeps its place in {fits}. "
            "Pass another name."
        )


def _in_volume(
    explanation: Explanation, shape: Sequence[int], box: Sequence[tuple[int, int]]
) -> PhotoHeatmap:
    """Return the heat over a whole volume, `[D, H, W]`, of which the network saw a box at once."""
    heat = explanation.heatmap_at([stop - start for start, stop in box])[0].detach().float().cpu()
    inside = [
        slice(max(0, start), min(length, stop))
        for (start, stop), length in zip(box, shape, strict=True)
    ]
    part = [
        slice(each.start - start, each.stop - start)
        for each, (start, _) in zip(inside, box, strict=True)
    ]
    volume = torch.zeros(*shape, dtype=torch.float32, device="cpu")
    seen = torch.zeros(*shape, dtype=torch.bool, device="cpu")
    volume[tuple(inside)], seen[tuple(inside)] = heat[tuple(part)], True
    return PhotoHeatmap(volume, seen)
