"""The result of a deployed network: maps, what they explain, and whether they show anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from limelight import files
from limelight.drawing import check_whole, heatmap_on_photo
from limelight.errors import InputError, OutputError
from limelight.explanation_pictures import (
    FORMATS,
    OPACITY,
    PictureKind,
    check_picture,
    explanation_figure,
    heat_picture,
    overlays,
)
from limelight.extras import refuse_without
from limelight.figure_style import USUAL_STYLE, FigureStyle, MapScale
from limelight.finish_arrays import FinishedInPieces, Span, finish
from limelight.misnamed import checked_arguments

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from limelight.drawing import Explained
    from limelight.photos.crops import CroppedPhoto
    from limelight.photos.geometry import Geometry
    from limelight.render import Alpha
    from limelight.status import Status

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DeployedExplanation:
    """What `DeployedNetwork.explain` returns, for B images; all numbers are numpy arrays.

    Attributes:
        logits: What the network returned: `[B, C]`; for a segmenter `[B, C, *grid]`; for a detector
            the logits of its boxes, `[B, N, C]`.
        raw: The raw map, signed and unscaled, at the layer's resolution, `[B, *grid]`.
        heatmap: The raw map after relu, resize to the input, and normalise: in [0, 1],
            `[B, *image]`; 0 everywhere when the status is not ok.
        score: The score that is explained, `[B]`, before softmax.
        index: The class of each image, `[B]`.
        label: For each image, the class that was explained, in words.
        status: For each image, whether its heatmap shows something.
        method: The method's name.
        layer: The layer's dotted path.
        image: What the file was given, `[B, C, *image]`; zeros if it prepares photos itself.
        region: The cells that the score is about, `[B, *grid]`; None for all.
        span: Where the raw map's grid lies on the picture, along each axis; () when it covers it.
        crops: The photos that were explained, each with the box of it that the network saw; None
            for an array, and for volumes.
        maps: The explanation by each map of the file, in its order.
    """

    logits: Array
    raw: Array
    heatmap: Array
    score: Array
    index: npt.NDArray[np.int64]
    label: tuple[str, ...]
    status: tuple[Status, ...]
    method: str
    layer: str
    image: Array
    region: npt.NDArray[np.bool_] | None = None
    span: tuple[Span, ...] = ()
    crops: tuple[CroppedPhoto, ...] | None = None
    maps: tuple[DeployedExplanation, ...] = ()

    def __repr__(self) -> str:
        """Return labels, scores, method, layer and status, and the shapes of the maps."""
        scores = ", ".join(f"{score:.4g}" for score in self.score.tolist())
        status = ", ".join(status.name for status in self.status)
        return (
            f"DeployedExplanation({', '.join(self.label)}; score {scores}; {self.method} at "
            f"{self.layer}; status {status}; raw {list(self.raw.shape)}, heatmap "
            f"{list(self.heatmap.shape)})"
        )

    def __len__(self) -> int:
        """Return B, the number of images."""
        return len(self.label)

    def __getitem__(self, image: int) -> DeployedExplanation:
        """Return the explanation of one image, with B = 1."""
        if not -len(self) <= image < len(self):
            raise IndexError(f"There are {len(self)} images; there is no image {image}.")
        b = image % len(self)
        rows = slice(b, b + 1)
        return replace(
            self,
            logits=self.logits[rows],
            raw=self.raw[rows],
            heatmap=self.heatmap[rows],
            score=self.score[rows],
            index=self.index[rows],
            label=self.label[rows],
            status=self.status[rows],
            image=self.image[rows],
            region=None if self.region is None else self.region[rows],
            crops=None if self.crops is None else self.crops[rows],
            maps=tuple(each[b] for each in self.maps),
        )

    @property
    def scored_regions(self) -> list[Array | None]:
        """The cells that the score of each image is about, `[*grid]`; None for all of them."""
        if self.region is None:
            return [None] * len(self)
        return [None if each.all() else each for each in self.region]

    @property
    def geometry(self) -> tuple[Geometry | None, ...] | None:
        """The size of the pixels of volumes, which are not drawn here: None."""
        return None

    def heatmap_at(self, size: Sequence[int]) -> Array:
        """Return the heatmap at another size, `[B, *size]`, computed from the raw map."""
        shown = np.array([each.ok for each in self.status]).reshape(-1, *[1] * len(size))
        finished = finish(self.raw, size, self.span)
        return np.where(shown, finished, np.zeros_like(finished))

    def in_pieces(self, size: Sequence[int]) -> FinishedInPieces:
        """Return the heatmap of the first image at another size, computed as it is read."""
        raw = self.raw[0] if self.status[0].ok else np.zeros_like(self.raw[0])
        return FinishedInPieces(raw, size, self.span)

    @checked_arguments
    def overlay(
        self,
        photos: Sequence[Image] | None = None,
        *,
        whole: bool = False,
        colormap: str | None = None,
        alpha: Alpha = "heat",
        signed: bool = False,
    ) -> list[Image]:
        """Lay the colours of the heatmaps over the photos: one picture per image.

        Args:
            photos: What to draw on, one per image, where an array was explained; without them it is
                the array itself, stretched to the full range.
            whole: Draw on the whole photos, and mark what the network did not see; else on the
                parts that it saw.
            colormap: The name of a matplotlib colour map; "inferno", or "RdBu_r" of a signed map,
                when not given.
            alpha: How opaque the colours are: as hot as they are, "heat"; a share; None for the
                overlay of the Grad-CAM article.
            signed: Draw the raw maps, with what lowers the score, each scaled by its largest value.

        Raises:
            UnknownNameError: There is no such colour map.
            OptionError: `alpha` is not in [0, 1]; or matplotlib is not installed.
            InputError: The inputs are no pictures `[B, C, H, W]`; whole photos are asked for and
                not known; or photos do not fit.
        """
        _check_drawn(self.image)
        _check_matplotlib()
        drawn = overlays(
            _explained(self), photos, whole=whole, colormap=colormap, alpha=alpha, signed=signed
        )
        return list(drawn)

    @checked_arguments
    def figure(
        self,
        photos: Sequence[Image] | None = None,
        *,
        whole: bool = False,
        colormap: str | None = None,
        scale: MapScale = "each",
        signed: bool = False,
        style: FigureStyle = USUAL_STYLE,
    ) -> Figure:
        """Draw photo, heatmap and overlay, a row per image, with all names and a colour bar.

        Args:
            photos, whole, colormap: As in `overlay`.
            scale: "each": the highest value of each map has the last colour. "shared": all maps
                have one scale, that of the raw maps.
            signed: Draw the raw maps in place of the heatmaps: what raises the score in one colour,
                what lowers it in another, and zero between them.
            style: Width, resolution and font size.

        Raises:
            UnknownNameError, OptionError, InputError: As `overlay`.
        """
        _check_drawn(self.image)
        _check_matplotlib()
        return explanation_figure(
            _explained(self),
            photos,
            whole=whole,
            colormap=colormap,
            scale=scale,
            signed=signed,
            style=style,
        )

    @checked_arguments
    def save(
        self,
        path: str | Path,
        *,
        photos: Sequence[Image] | None = None,
        whole: bool = False,
        picture: PictureKind = "figure",
        colormap: str | None = None,
        scale: MapScale = "each",
        style: FigureStyle = USUAL_STYLE,
    ) -> Path:
        """Write a picture, or the arrays, whole or not at all.

        Args:
            path: The file. Its suffix is the format: .png, .jpg, .webp, .pdf, .svg, or .npz for the
                logits, raw maps, heatmaps, scores and names.
            photos, whole: What to draw on, as in `overlay`. In an .npz file, `photo_heatmap_0` and
                `photo_seen_0` are the heatmap of the first whole photo and what was seen of it.
            picture: `figure`, `signed`, `overlay`, `article`, `blend` or `heatmap`, as of
                `limelight.Explanation.save`; the last four take one image.
            colormap: The name of a matplotlib colour map.
            scale, style: As in `figure`, for figures alone.

        Raises:
            OutputError: The format is unknown, or the file cannot be written there.
            OptionError: A style is asked for, and the picture is no figure; or matplotlib is not
                installed.
            InputError: As `overlay`.
        """
        check_picture(picture, scale, style)
        path = Path(path)
        form = files.known_suffix(path, FORMATS)
        if form == "npz":
            return files.write_arrays(path, *self._arrays(whole=whole))
        _check_drawn(self.image)
        _check_matplotlib()
        if picture in ("figure", "signed"):
            from limelight.render.figures import encode_figure

            figure = self.figure(
                photos,
                whole=whole,
                colormap=colormap,
                scale=scale,
                signed=picture == "signed",
                style=style,
            )
            return files.write_whole(path, encode_figure(figure, form))
        if len(self) > 1:
            raise OutputError(
                f"One {picture} was asked for, and there are {len(self)} images. Save them one by "
                "one, explanation[0].save(...), or picture='figure' for all in one."
            )
        if picture == "heatmap":
            drawn = heat_picture(_explained(self), photos, colormap, whole=whole)
        else:
            alpha = OPACITY[picture]
            (drawn,) = self.overlay(photos, whole=whole, colormap=colormap, alpha=alpha)
        from limelight.render.overlays import write

        return files.write_whole(path, lambda file: write(drawn, form, file))

    def _arrays(self, *, whole: bool) -> tuple[Mapping[str, Array], Mapping[str, object]]:
        """Return what an .npz file holds: the arrays, and their names."""
        from limelight.render.whole import in_one_array

        arrays = {
            "logits": self.logits,
            "raw": self.raw,
            "heatmap": self.heatmap,
            "score": self.score,
        }
        if whole:
            _check_drawn(self.image)
        check_whole(self.crops, whole=whole)
        for b, crop in enumerate(self.crops or () if whole else ()):
            heat = heatmap_on_photo(_explained(self[b]), crop)
            arrays |= {f"photo_heatmap_{b}": in_one_array(heat)}
            arrays |= {f"photo_seen_{b}": crop.seen_array()}
        return arrays, {
            "label": list(self.label),
            "status": [str(status) for status in self.status],
            "method": self.method,
            "layer": self.layer,
        }


def _check_drawn(image: Array) -> None:
    """Refuse to draw what is drawn by torch alone.

    Raises:
        InputError: It is no pictures `[B, C, H, W]`.
    """
    if image.ndim != 4:
        raise InputError(
            f"The inputs have shape {list(image.shape)}; without torch only pictures [B, C, H, W] "
            "are drawn. Take the arrays: explanation.heatmap and raw, or save(...) to an .npz "
            "file without whole=True; or draw with torch, limelight.explain(...)."
        )


def _check_matplotlib() -> None:
    """Refuse to draw without the package that has the colours.

    Raises:
        MissingPackageError: It is not installed.
    """
    refuse_without(
        "matplotlib",
        extra="",
        instead="Without it, take the arrays: explanation.heatmap, or save(...) to an .npz file.",
    )


def _explained(maps: DeployedExplanation) -> Explained:
    """Return maps as those are typed that are drawn: drawing reads arrays as it does tensors."""
    return cast("Explained", maps)
