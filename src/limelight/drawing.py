"""What maps are drawn on: the photos that were explained, photos that are given, or the inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from PIL import Image

from limelight.errors import InputError
from limelight.photos.crops import CroppedPhoto, name_of_file, same_proportions
from limelight.photos.geometry import Geometry
from limelight.photos.memory import PhotoSize, Sized
from limelight.status import Status

if TYPE_CHECKING:
    from torch import Tensor

    from limelight.finish import AxisSpan, FinishedInPieces
    from limelight.render import Heat, InputPicture
    from limelight.window_scores import WindowScores

Crops = Sequence[CroppedPhoto]


class Drawable(Protocol):
    """The attributes of an `Explanation` that are needed to draw it."""

    @property
    def image(self) -> Tensor: ...  # noqa: D102

    @property
    def raw(self) -> Tensor: ...  # noqa: D102

    @property
    def heatmap(self) -> Tensor: ...  # noqa: D102

    @property
    def status(self) -> tuple[Status, ...]: ...  # noqa: D102

    @property
    def span(self) -> tuple[AxisSpan, ...]: ...  # noqa: D102

    @property
    def crops(self) -> tuple[CroppedPhoto, ...] | None: ...  # noqa: D102

    @property
    def scored_regions(self) -> list[Tensor | None]: ...  # noqa: D102

    def heatmap_at(self, size: Sequence[int]) -> Tensor: ...  # noqa: D102

    def in_pieces(self, size: Sequence[int]) -> FinishedInPieces: ...  # noqa: D102

    def __getitem__(self, image: int) -> Self: ...  # noqa: D105


class Explained(Drawable, Protocol):
    """The attributes of an `Explanation` that are drawn or written beside the drawing."""

    @property
    def label(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def score(self) -> Tensor: ...  # noqa: D102

    @property
    def index(self) -> Tensor | None: ...  # noqa: D102

    @property
    def method(self) -> str: ...  # noqa: D102

    @property
    def layer(self) -> str: ...  # noqa: D102

    @property
    def geometry(self) -> tuple[Geometry | None, ...] | None: ...  # noqa: D102

    @property
    def windows(self) -> WindowScores | None: ...  # noqa: D102


def as_pictures(
    explanations: Sequence[Drawable],
    photos: Sequence[Image.Image] | None = None,
    *,
    whole: bool = False,
    longest: int | None = None,
) -> Iterator[InputPicture]:
    """Yield for each image the picture to draw on, with heatmaps and regions at its size.

    There is a heatmap and a region for each explanation.

    Args:
        explanations: Explanations of the same images.
        photos: One per image; those that were explained, or the images themselves, when not given.
        whole: Whether to draw on whole photos.
        longest: About how many pixels the longer side of a photo is reduced to, as for the panel of
            a figure; None to keep them all.

    Raises:
        InputError: As `photos_to_draw_on`, or there are photos and the inputs are no pictures.
    """
    from limelight import render

    images, crops = explanations[0].image, explanations[0].crops
    regions = [explanation.scored_regions for explanation in explanations]
    if images.ndim == 4:
        for b, crop in enumerate(photos_to_draw_on(images, crops, photos, whole=whole)):
            small = crop.reduced(longest) if longest else crop
            heatmaps = [heatmap_on_photo(explanation[b], small) for explanation in explanations]
            outlined = [
                render.region_on(each[b], heatmap)
                for each, heatmap in zip(regions, heatmaps, strict=True)
            ]
            name = crop.name or "photo"
            yield render.InputPicture(
                name, small.photo, heatmaps, outlined, geometry=small.geometry
            )
        return
    refuse_photos(images, photos, whole=whole)
    for b, image in enumerate(images):
        heatmaps_of_image = [each.heatmap[b].detach().float().cpu() for each in explanations]
        yield render.input_picture(image, heatmaps_of_image, [each[b] for each in regions])


def heatmap_on_photo(explanation: Drawable, crop: CroppedPhoto) -> Heat:
    """Return the heatmap of one image on its photo; a large one is computed in pieces."""
    from limelight.render.whole import HeatOnPhoto, as_array

    heatmap: Heat
    size = (crop.view_size.height, crop.view_size.width)
    if math.prod(size) <= _MAX_WHOLE_PIXELS:
        heatmap = as_array(explanation.heatmap_at(size)[0])
    else:
        heatmap = explanation.in_pieces(size)
    if crop.all_seen:
        return heatmap
    return HeatOnPhoto(heatmap, crop.view_box, (crop.photo.height, crop.photo.width))


#: Heatmaps of more pixels than this are computed in pieces to be drawn.
_MAX_WHOLE_PIXELS = 4_000_000


def photos_to_draw_on(
    images: Tensor,
    crops: Crops | None,
    photos: Sequence[Image.Image] | None = None,
    *,
    whole: bool = False,
) -> Iterator[CroppedPhoto]:
    """Return what to draw on, one per image, each with the box of it that became the input.

    Args:
        images: What the network was given, `[B, C, H, W]`.
        crops: The photos that it was made from; None when they are not known.
        photos: Photos that the user gives; None for those of `crops`, or for the images.
        whole: Whether to draw on whole photos; else on the part that the network saw.

    Raises:
        InputError: The images are no pictures; there is not one photo per image; a photo does not
            show what the network was given; or a whole one is asked for and is not known.
    """
    if images.ndim != 4:
        raise InputError(
            f"The inputs have shape {list(images.shape)}; only pictures [B, C, H, W] can be drawn "
            "here. Take the maps as the tensors they are."
        )
    if photos is not None:
        if isinstance(photos, Image.Image):
            raise InputError(
                "The photos are one picture; a list with one for each image was expected: [photo]."
            )
        if len(photos) != len(images):
            raise InputError(
                f"The number of photos is {len(photos)}, that of the explained images "
                f"{len(images)}."
            )
        known = [None] * len(photos) if crops is None else crops
        placed = [
            _placed(number, photo, crop, image, whole=whole)
            for number, (photo, crop, image) in enumerate(zip(photos, known, images, strict=True))
        ]
        return iter(placed)
    if crops is not None:
        return iter(crops) if whole else (crop.as_view() for crop in crops)
    check_whole(crops, whole=whole)
    return (CroppedPhoto.uncropped(_picture(image)) for image in images)


def check_whole(crops: Crops | None, *, whole: bool) -> None:
    """Refuse to draw on whole photos that are not known.

    Raises:
        InputError: They are asked for.
    """
    if whole and crops is None:
        raise InputError(
            "whole=True draws on the whole photo, and the maps were made from a tensor, whose "
            "photo is not known. Pass a Network and the photo: explain(network, photo)."
        )


def refuse_photos(
    images: Tensor, photos: Sequence[Image.Image] | None, *, whole: bool = False
) -> None:
    """Refuse photos for images that are no pictures.

    Raises:
        InputError: There are photos, or whole ones are asked for.
    """
    if photos is not None or whole:
        raise InputError(
            f"The inputs have shape {list(images.shape)}; photos go with pictures [B, C, H, W] "
            "alone. Leave the photos out: the inputs themselves are drawn."
        )


def _picture(image: Tensor) -> Image.Image:
    """Return an image `[C, H, W]` as a picture, stretched to the full range."""
    from limelight import render

    return Image.fromarray(np.ascontiguousarray(render.stretched(image)))


def _placed(
    number: int, photo: Image.Image, crop: CroppedPhoto | None, image: Tensor, *, whole: bool
) -> CroppedPhoto:
    """Return a photo with the box of it that became the input `[C, H, W]`.

    1. By its size and proportions, it may be the whole photo, the part that the network saw, or
       both.
    2. Of these, it is what resembles the input most; a photo without structure is the first.

    Raises:
        InputError: Its proportions fit neither, or it resembles the input in neither way.
    """
    from limelight.photos.likeness import LEAST_LIKENESS, likeness

    check_whole(None if crop is None else [crop], whole=whole)
    # 1. What it may be.
    possible = _possible_crops(photo, crop, image, whole=whole)
    if not possible:
        assert crop is not None
        raise InputError(_wrong_size(number, photo, crop, whole=whole))
    # 2. What it is.
    likenesses = [likeness(each, image) for each in possible]
    if None in likenesses:
        return possible[0]
    most = max(value for value in likenesses if value is not None)
    if most < LEAST_LIKENESS:
        advice = (
            "Pass a Network and the photo, explain(network, photo); or draw on the part that the "
            "network saw, network.preprocess.view(photo)."
        )
        raise InputError(
            f"Photo {number} does not show what the network was given: their likeness is "
            f"{most:.2f}, and at least {LEAST_LIKENESS} was expected, so the map would not lie "
            f"where the network looked. {advice if crop is None else _LEAVE_OUT}"
        )
    return possible[likenesses.index(most)]


def _possible_crops(
    photo: Image.Image, crop: CroppedPhoto | None, image: Tensor, *, whole: bool
) -> list[CroppedPhoto]:
    """Return what a photo may be by its proportions; what has the same size too comes first."""
    seen = CroppedPhoto.uncropped(photo, name=crop.name if crop else name_of_file(photo))
    if crop is None:
        return [seen]
    size, view_size = PhotoSize.of(photo), crop.view_size
    input_size = PhotoSize(image.shape[2], image.shape[1])
    possible = list[tuple[PhotoSize, CroppedPhoto]]()
    if same_proportions(photo, crop.photo):
        possible.append((PhotoSize.of(crop.photo), crop.on(photo)))
    if not whole and (same_proportions(photo, view_size) or size == input_size):
        possible.append((view_size, seen))
    return [placed for _, placed in sorted(possible, key=lambda each: each[0] != size)]


def _wrong_size(number: int, photo: Image.Image, crop: CroppedPhoto, *, whole: bool) -> str:
    """Return the message about a photo whose proportions fit neither the whole nor the part."""
    part = f" or the part of it that the network saw, {_by(crop.view_size)},"
    return (
        f"Photo {number} is {_by(photo)} pixels; the whole photo that was explained, "
        f"{_by(crop.photo)},{'' if whole else part} was expected, or the same at another size. "
        f"{_LEAVE_OUT}"
    )


_LEAVE_OUT = "Leave the photos out: what was explained is drawn on."


def _by(size: Sized) -> str:
    return f"{size.width} x {size.height}"
