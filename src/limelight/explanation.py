"""The result of `explain`: maps, what they explain, and whether they show anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from limelight import files
from limelight.errors import InputError, OptionError, OutputError, unknown
from limelight.finish import AxisSpan, FinishedInPieces
from limelight.status import Status, to_heatmap, zero_unless_ok

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from limelight.recipe import Recipe
    from limelight.render import Heat, InputPicture


PictureKind = Literal["figure", "overlay", "blend", "heatmap"]


FormatName = Literal["png", "jpg", "jpeg", "webp", "pdf", "svg", "npz"]


#: The picture files that `Explanation.save` writes, and the arrays.
FORMATS: tuple[FormatName, ...] = get_args(FormatName)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Explanation:
    """What `explain` returns, for B images.

    Attributes:
        raw: The raw map, signed and unscaled, at the layer's resolution, `[B, *grid]`.
        heatmap: The raw map after relu, resize to the input, and normalise: in [0, 1],
            `[B, *image]`; 0 everywhere when the status is not ok.
        score: The score that is explained, `[B]`, before softmax unless the target says otherwise.
        index: The class of each image, `[B]`; None when the target was a callable.
        label: For each image, what was explained, in words.
        status: For each image, whether its heatmap shows something.
        method: The method's name in METHODS, with the options that were set, and with views and
            eigen smoothing: "rise:masks=1000, 2 flips".
        layer: The layer's dotted path.
        reason: Why this layer was taken.
        image: What the network was given, `[B, C, *image]`.
        output: What the network returned.
        completeness_gap: For a method whose map should sum to a known number (integrated gradients
            to the score gained over the baseline), the relative difference from it, `[B]`; else
            None.
        region: The pixels that the score is about, `[B, *image]`: a mask, a box, where a class is
            predicted; None for all pixels.
        span: How long the raw map's grid is along each axis, in picture lengths, when the network
            pads or crops the picture; () when the grid covers it.
        recipe: How the maps were made, to repeat it on other images; None when it cannot be
            repeated.
        photos: What to draw on, one per image: the part of the photo that the network saw; None to
            draw on `image`.
    """

    raw: Tensor
    heatmap: Tensor
    score: Tensor
    index: Tensor | None
    label: tuple[str, ...]
    status: tuple[Status, ...]
    method: str
    layer: str
    reason: str
    image: Tensor
    output: Any
    completeness_gap: Tensor | None = None
    region: Tensor | None = None
    span: tuple[AxisSpan, ...] = ()
    recipe: Recipe | None = None
    photos: tuple[Image, ...] | None = None

    def __repr__(self) -> str:
        """Return labels, scores, method, layer and status, and the shapes of the maps."""
        scores = ", ".join(f"{score:.4g}" for score in self.score.tolist())
        status = ", ".join(status.name for status in self.status)
        return (
            f"Explanation({', '.join(self.label)}; score {scores}; {self.method} at {self.layer}; "
            f"status {status}; raw {list(self.raw.shape)}, heatmap {list(self.heatmap.shape)})"
        )

    def __len__(self) -> int:
        """Return B, the number of images."""
        return len(self.label)

    def __getitem__(self, image: int) -> Explanation:
        """Return the explanation of one image, with B = 1."""
        if not -len(self) <= image < len(self):
            raise IndexError(f"There are {len(self)} images; there is no image {image}.")
        b = image % len(self)
        rows = slice(b, b + 1)
        return replace(
            self,
            raw=self.raw[rows],
            heatmap=self.heatmap[rows],
            score=self.score[rows],
            index=None if self.index is None else self.index[rows],
            label=self.label[rows],
            status=self.status[rows],
            image=self.image[rows],
            completeness_gap=None if self.completeness_gap is None else self.completeness_gap[rows],
            region=None if self.region is None else self.region[rows],
            photos=None if self.photos is None else self.photos[rows],
            recipe=None if self.recipe is None else self.recipe.of_image(b, self.image.ndim - 2),
            output=pytree.tree_map_only(
                Tensor, lambda t: t[rows] if t.ndim and len(t) == len(self) else t, self.output
            ),
        )

    def drawn_on(self, photos: Sequence[Image] | None) -> Explanation:
        """Return a copy to be drawn on these photos, one per image; None changes nothing."""
        return self if photos is None else replace(self, photos=tuple(photos))

    def heatmap_at(self, size: Sequence[int]) -> Tensor:
        """Return the heatmap at another size, `[B, *size]`, computed from the raw map."""
        return to_heatmap(self.raw, size, self.status, self.span)

    def pictures(self) -> list[Image]:
        """Return the network's input as one picture per image, stretched to the full range.

        Signals are drawn as curves; volumes and video as slices side by side.
        """
        return [drawn.photo for drawn in as_pictures([self])]

    def overlay(
        self,
        photos: Sequence[Image] | None = None,
        *,
        colormap: str = "inferno",
        alpha: float | None = None,
    ) -> list[Image]:
        """Lay the colours of the heatmaps over the photos: one picture per image.

        Signals are drawn as curves; volumes and video as up to eight slices side by side, evenly
        spaced, the slice with the most heat among them.

        Args:
            photos: One per image, at any size; those that were explained, or the network's own
                input, when not given.
            colormap: The name of a matplotlib colour map.
            alpha: None for the article's overlay, (photo + colours) / max; else
                (1 - alpha) photo + alpha colours. Under a signal's curve, the brightness of the
                colours: full when None.

        Raises:
            UnknownNameError: There is no such colour map.
            OptionError: `alpha` is not in [0, 1].
            InputError: There is not one photo per image, or there are photos and the inputs are
                no pictures.
        """
        from limelight import render

        if alpha is not None and not 0 <= alpha <= 1:
            raise OptionError(f"alpha is {alpha}; a share from 0 to 1 was expected.")
        return [
            render.overlay(
                drawn.photo, drawn.heatmaps[0], colormap=colormap, alpha=alpha, curve=drawn.curve
            )
            for drawn in as_pictures([self], photos)
        ]

    def figure(self, photos: Sequence[Image] | None = None, *, colormap: str = "inferno") -> Figure:
        """Draw photo, heatmap with colour bar, and overlay, a row per image, with all names.

        Signals `[B, C, L]` are drawn as curves on the heatmap's colours. For volumes and video
        `[B, C, D, H, W]`, the heat of every slice is drawn, and up to eight slices without and with
        colours.
        """
        from limelight import render

        notes = ["" if status.ok else str(status) for status in self.status]
        if self.image.ndim == 4:
            panels = as_pictures([self], photos, as_panels=True)
            rows = [
                render.ExplainedPhoto(
                    panel.photo, panel.heatmaps[0], label, note, self._region_at(b, panel.photo)
                )
                for b, (panel, label, note) in enumerate(
                    zip(panels, self.label, notes, strict=True)
                )
            ]
            return render.photo_figure(
                rows, method=self.method, layer=self.layer, colormap=colormap
            )
        refuse_photos(self.image, photos)
        heatmaps = self.heatmap.detach().float().cpu()
        inputs = [
            render.ExplainedInput(*fields)
            for fields in zip(self.image, heatmaps, self.label, notes, strict=True)
        ]
        return render.input_figure(inputs, method=self.method, layer=self.layer, colormap=colormap)

    def _region_at(self, b: int, photo: Image) -> Tensor | None:
        """Return the region of one image at the photo's size; None when it is the whole image."""
        if self.region is None or bool(self.region[b].all()):
            return None
        region = self.region[b].float().cpu()[None, None]
        size = (photo.height, photo.width)
        return torch.nn.functional.interpolate(region, size=size)[0, 0] > 0

    def save(
        self,
        path: str | Path,
        *,
        photos: Sequence[Image] | None = None,
        picture: PictureKind = "figure",
        colormap: str = "inferno",
    ) -> Path:
        """Write a picture, or the arrays, whole or not at all.

        Args:
            path: The file. Its suffix is the format: .png, .jpg, .webp, .pdf, .svg, or .npz for the
                raw maps, heatmaps, scores and names.
            photos: What to draw on, one per image; those that were explained, or the network's own
                input, when not given.
            picture: `figure` (photo, heatmap, overlay, names), `overlay` (the article's),
                `blend` (half photo, half colours) or `heatmap`; the last three take one image.
            colormap: The name of a matplotlib colour map.

        Raises:
            OutputError: The format is unknown, or the file cannot be written there.
        """
        if picture not in get_args(PictureKind):
            known = get_args(PictureKind)
            raise unknown("picture", picture, known, f"There are {', '.join(known)}.")
        path = Path(path)
        form = files.known_suffix(path, FORMATS)
        if form == "npz":
            return files.write_arrays(path, *self._arrays())
        if picture == "figure":
            from limelight import render

            figure = self.figure(photos, colormap=colormap)
            return files.write_whole(path, render.encode_figure(figure, form))
        if len(self) > 1:
            raise OutputError(
                f"One {picture} was asked for, and there are {len(self)} images. Save them one by "
                "one, explanation[0].save(...), or picture='figure' for all in one."
            )
        from limelight import render

        drawn = self._one_picture(photos, picture, colormap)
        return files.write_whole(path, lambda file: render.write(drawn, form, file))

    def _one_picture(
        self, photos: Sequence[Image] | None, picture: PictureKind, colormap: str
    ) -> Image:
        from limelight import render

        if picture == "heatmap":
            (drawn,) = as_pictures([self], photos)
            return render.colourise(drawn.heatmaps[0], colormap)
        alpha = None if picture == "overlay" else 0.5
        return self.overlay(photos, colormap=colormap, alpha=alpha)[0]

    def _arrays(self) -> tuple[dict[str, Tensor], object]:
        """Return what an .npz file holds: the arrays, and their names."""
        arrays = {"raw": self.raw, "heatmap": self.heatmap, "score": self.score.detach().float()}
        return arrays, {
            "label": list(self.label),
            "status": [str(status) for status in self.status],
            "method": self.method,
            "layer": self.layer,
        }

    def _repr_png_(self) -> bytes:
        """Show the figure in a notebook."""
        from limelight import render

        return render.encode_figure(self.figure(), "png")


def as_pictures(
    explanations: Sequence[Explanation],
    photos: Sequence[Image] | None = None,
    *,
    as_panels: bool = False,
) -> Iterator[InputPicture]:
    """Yield for each image the picture to draw on, and the heatmap of each explanation at its size.

    Args:
        explanations: Explanations of the same images.
        photos: One per image; the images themselves when not given.
        as_panels: Whether photos are reduced to what a panel of a figure shows.

    Raises:
        InputError: There is not one photo per image, or there are photos and the inputs are no
            pictures.
    """
    from limelight import render

    images = explanations[0].image
    photos = explanations[0].photos if photos is None else photos
    if images.ndim == 4:
        for b, photo in enumerate(photos_of(images, photos)):
            small = render.as_panel(photo) if as_panels else photo
            heatmaps = [_heatmap_for(explanation[b], small) for explanation in explanations]
            yield render.InputPicture("photo", small, heatmaps)
        return
    refuse_photos(images, photos)
    for b, image in enumerate(images):
        heatmaps_of_image = [each.heatmap[b].detach().float().cpu() for each in explanations]
        yield render.input_picture(image, heatmaps_of_image)


def _heatmap_for(explanation: Explanation, photo: Image) -> Heat:
    """Return the heatmap of one image at a photo's size; a large one is computed in pieces."""
    size = (photo.height, photo.width)
    if photo.height * photo.width <= _MAX_WHOLE_PIXELS:
        return explanation.heatmap_at(size)[0].detach().float().cpu()
    raw = zero_unless_ok(explanation.raw, explanation.status)[0]
    return FinishedInPieces(raw, size, explanation.span)


#: Heatmaps of more pixels than this are computed in pieces to be drawn.
_MAX_WHOLE_PIXELS = 4_000_000


def photos_of(images: Tensor, photos: Sequence[Image] | None) -> Sequence[Image]:
    """Return the photos to draw on, one per image: the photos that were given, or the images.

    Raises:
        InputError: There is not one photo per image, or the images are no pictures.
    """
    from PIL.Image import fromarray

    from limelight import render

    if images.ndim != 4:
        raise InputError(
            f"The inputs have shape {list(images.shape)}; only pictures [B, C, H, W] can be drawn "
            "here. Take the maps as the tensors they are."
        )
    if photos is None:
        return [fromarray(render.stretched(image).numpy()) for image in images]
    if len(photos) != len(images):
        raise InputError(
            f"The number of photos is {len(photos)}, that of the explained images {len(images)}."
        )
    return photos


def refuse_photos(images: Tensor, photos: Sequence[Image] | None) -> None:
    """Refuse photos for images that are no pictures.

    Raises:
        InputError: There are photos.
    """
    if photos is not None:
        raise InputError(
            f"The inputs have shape {list(images.shape)}; photos go with pictures [B, C, H, W] "
            "alone. Leave the photos out: the inputs themselves are drawn."
        )
