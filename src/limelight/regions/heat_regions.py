"""The regions of a heatmap: where it is hot, in pixels of the photo."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from limelight.drawing import photos_to_draw_on
from limelight.errors import InputError, OptionError, unknown
from limelight.explanation_arrays import photo_heatmap
from limelight.photos.crops import CroppedPhoto
from limelight.regions.contours import Contour, contours
from limelight.regions.thresholds import Heat, Mask, ThresholdRule, check_threshold, hot_pixels
from limelight.status import Status
from limelight.tables.explanations import Tabulated

#: Whose pixels regions are in: the whole photo's, or those of the network's input.
PixelsOf = Literal["photo", "input"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class HeatRegion:
    """A connected part of a picture that is hot; pixels that share an edge are connected.

    A pixel in column x and row y reaches from x to x + 1 and from y to y + 1.

    Attributes:
        box: Left, top, right and bottom, x1 y1 x2 y2: its pixels reach exactly from the first to
            the second corner.
        area: Its number of pixels.
        mean_heat: The mean of the heatmap in it.
        max_heat: The maximum of the heatmap in it.
        max_x, max_y: Column and row of the first pixel with that heat.
        share_of_heat: Its share of the heat of the whole picture.
        size: Height and width of the picture.
        inside: Which pixels of its box belong to it, `[y2 - y1, x2 - x1]`.
    """

    box: tuple[int, int, int, int]
    area: int
    mean_heat: float
    max_heat: float
    max_x: int
    max_y: int
    share_of_heat: float
    size: tuple[int, int]
    inside: Mask

    def __repr__(self) -> str:
        """Return the box, the area and the share of heat."""
        return f"HeatRegion(box {self.box}, {self.area} pixels, {self.share_of_heat:.0%} of heat)"

    @property
    def mask(self) -> Tensor:
        """Which pixels of the picture belong to it, `[H, W]`."""
        mask = torch.zeros(self.size, dtype=torch.bool, device="cpu")
        left, top, right, bottom = self.box
        mask[top:bottom, left:right] = torch.from_numpy(self.inside)
        return mask

    def at_size(self, size: tuple[int, int]) -> HeatRegion:
        """Return the same region of the picture at another size (height and width)."""
        if size == self.size:
            return self
        left, top, right, bottom = self.box
        rows, y1, down = _nearest(top, bottom, self.size[0], size[0])
        columns, x1, across = _nearest(left, right, self.size[1], size[1])
        inside = self.inside[rows][:, columns]
        return replace(
            self,
            box=(x1, y1, x1 + len(columns), y1 + len(rows)),
            area=int(np.count_nonzero(inside)),
            max_x=int((self.max_x + 0.5) * across),
            max_y=int((self.max_y + 0.5) * down),
            size=size,
            inside=inside,
        )

    @property
    def contours(self) -> list[Contour]:
        """Its contours along the edges of pixels, `[N, 2]` each: the outer one, then its holes.

        Each is x, y of its corners; the last is joined to the first. Filling the outer one and
        taking the others out gives `mask` exactly.
        """
        return [ring + np.array(self.box[:2]) for ring in contours(self.inside)]


def _nearest(start: int, stop: int, old: int, new: int) -> tuple[Mask, int, float]:
    """Return the cells from `start` to `stop` of an axis that are nearest to those of a new one.

    With them come the first of the new ones, and how many there are for each old one.
    """
    scale = new / old
    first = min(math.ceil(start * scale - 0.5), new - 1)
    last = max(first + 1, math.ceil(stop * scale - 0.5))
    cells = ((np.arange(first, last) + 0.5) / scale).astype(int)
    return cells.clip(start, stop - 1) - start, first, scale


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ImageRegions:
    """The regions of one image, that with most heat first.

    Attributes:
        label: What was explained, in words.
        index: The class; None when the target was a callable.
        status: Whether the heatmap shows something; if not, there are no regions.
        pixels: Whose pixels they are in: the whole "photo"'s, or those of the network's "input".
        size: Height and width of that picture.
        how, threshold: How hot pixels were told from others.
        picture: The picture itself; smaller, if it was explained by tiles and is large.
        regions: The regions.
    """

    label: str
    index: int | None
    status: Status
    pixels: PixelsOf
    size: tuple[int, int]
    how: ThresholdRule
    threshold: float | None
    picture: Image.Image = field(repr=False)
    regions: tuple[HeatRegion, ...]

    def __repr__(self) -> str:
        """Return what was explained, and the number of regions."""
        count = "1 region" if len(self) == 1 else f"{len(self)} regions"
        height, width = self.size
        return f"ImageRegions({self.label}: {count}, {self.pixels} of {width} x {height} pixels)"

    def __len__(self) -> int:
        """Return the number of regions."""
        return len(self.regions)

    def __iter__(self) -> Iterator[HeatRegion]:
        """Go through the regions, that with most heat first."""
        return iter(self.regions)

    def __getitem__(self, number: int) -> HeatRegion:
        """Return a region by its number from 0."""
        return self.regions[number]

    @property
    def mask(self) -> Tensor:
        """Which pixels belong to any region, `[H, W]`."""
        return self.numbered > 0

    @property
    def numbered(self) -> Tensor:
        """The number of each pixel's region from 1, `[H, W]`; 0 outside of all."""
        numbers = torch.zeros(self.size, dtype=torch.int32, device="cpu")
        for number, region in enumerate(self, start=1):
            left, top, right, bottom = region.box
            numbers[top:bottom, left:right][torch.from_numpy(region.inside)] = number
        return numbers


def regions_of_images(
    explanation: Tabulated,
    threshold: float | None,
    how: ThresholdRule,
    *,
    min_area: int,
    largest: bool,
    pixels: PixelsOf | None,
) -> list[ImageRegions]:
    """Return the regions of each image, as `Explanation.regions`."""
    threshold = check_threshold(threshold, how)
    if isinstance(min_area, bool) or not isinstance(min_area, int) or min_area < 1:
        raise OptionError(
            f"min_area is {min_area!r}; a number of pixels of at least 1 was expected."
        )
    known = ("photo", "input")
    if pixels not in (None, *known):
        raise unknown("kind of pixels", str(pixels), known, "There are 'photo' and 'input'.")
    if explanation.image.ndim != 4:
        raise InputError(
            f"The inputs have shape {list(explanation.image.shape)}; regions are those of pictures "
            "[B, C, H, W]. Take the heatmaps, and label their parts along the axes you need."
        )
    if pixels == "photo" and explanation.crops is None:
        raise InputError(
            "pixels='photo' gives regions in pixels of the photo, and the maps were made from a "
            "tensor, whose photo is not known. Pass a Network and the photo: explain(network, "
            "photo)."
        )
    on_photo = explanation.crops is not None and pixels != "input"
    crops = explanation.crops if on_photo else None
    found = []
    for b, crop in enumerate(photos_to_draw_on(explanation.image, crops, whole=on_photo)):
        status = explanation.status[b]
        regions = tuple[HeatRegion, ...]()
        if status.ok:
            heat, seen = _heat(explanation[b], crop, on_photo=on_photo)
            of_size = crop.original_size.width * crop.original_size.height / heat.size
            least = math.ceil(min_area / of_size)
            regions = tuple(
                region.at_size(_size_of(crop))
                for region in find_regions(heat, seen, threshold, how, min_area=least)
            )
        found.append(
            ImageRegions(
                label=explanation.label[b],
                index=None if explanation.index is None else int(explanation.index[b]),
                status=status,
                pixels="photo" if on_photo else "input",
                size=_size_of(crop),
                how=how,
                threshold=threshold,
                picture=crop.photo,
                regions=(max(regions, key=lambda region: region.area),)
                if largest and regions
                else regions,
            )
        )
    return found


def _size_of(crop: CroppedPhoto) -> tuple[int, int]:
    """Return the height and width of the photo in its file."""
    return crop.original_size.height, crop.original_size.width


def _heat(explanation: Tabulated, crop: CroppedPhoto, *, on_photo: bool) -> tuple[Heat, Mask]:
    """Return the heatmap of one image, `[H, W]`, and which of its pixels the network saw."""
    if not on_photo:
        heatmap = explanation.heatmap[0].detach().float().cpu().numpy()
        return heatmap, np.ones(heatmap.shape, dtype=bool)
    of_photo = photo_heatmap(explanation, crop)
    return of_photo.heatmap.numpy(), of_photo.seen.numpy()


def find_regions(
    heat: Heat, seen: Mask, threshold: float | None, how: ThresholdRule, *, min_area: int = 1
) -> list[HeatRegion]:
    """Return the connected regions of hot pixels, that with most heat first.

    Args:
        heat: A heatmap, `[H, W]`.
        seen: Which pixels the network saw, `[H, W]`.
        threshold, how: As in `hot_pixels`.
        min_area: The fewest pixels of a region.
    """
    from scipy.ndimage import find_objects, label

    parts, _ = label(hot_pixels(heat, seen, threshold, how))
    total = float(heat.sum(dtype=np.float64))
    regions = []
    for number, where in enumerate(find_objects(parts), start=1):
        inside = parts[where] == number
        area = int(np.count_nonzero(inside))
        if area < min_area:
            continue
        values = heat[where]
        row, column = divmod(int(np.where(inside, values, -1).argmax()), inside.shape[1])
        heat_inside = float(values.sum(dtype=np.float64, where=inside))
        rows, columns = where
        regions.append(
            HeatRegion(
                box=(columns.start, rows.start, columns.stop, rows.stop),
                area=area,
                mean_heat=heat_inside / area,
                max_heat=float(values[row, column]),
                max_x=columns.start + column,
                max_y=rows.start + row,
                share_of_heat=heat_inside / total,
                size=(heat.shape[0], heat.shape[1]),
                inside=inside,
            )
        )
    return sorted(regions, key=lambda region: -region.share_of_heat)
