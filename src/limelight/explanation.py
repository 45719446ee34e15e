"""The result of `explain`: maps, what they explain, and whether they show anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from limelight import files, map_views
from limelight.drawing import as_pictures
from limelight.errors import OutputError
from limelight.explanation_arrays import explanation_arrays, photo_heatmaps, rows_of_fields
from limelight.explanation_pictures import (
    FORMATS,
    OPACITY,
    PictureKind,
    check_picture,
    explanation_figure,
    heat_picture,
    overlays,
)
from limelight.figure_style import USUAL_STYLE, FigureStyle, MapScale
from limelight.finish import AxisSpan, FinishedInPieces
from limelight.manifests import manifest_of, without_folders
from limelight.misnamed import KnownAttributes, checked_arguments
from limelight.status import Status, to_heatmap, zero_unless_ok

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from limelight.explanation_arrays import PhotoHeatmap
    from limelight.models.network import Network
    from limelight.photos.crops import CroppedPhoto
    from limelight.photos.geometry import Geometry
    from limelight.provenance import Provenance
    from limelight.recipe import Recipe
    from limelight.regions import ExplainedRegions, PixelsOf, ThresholdRule
    from limelight.render import Alpha
    from limelight.window_scores import WindowScores


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Explanation(KnownAttributes):
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
        span: Where the raw map's grid lies on the picture, along each axis, when the network pads
            or crops it; () when the grid covers it.
        recipe: How the maps were made, to repeat it on other images; None when it cannot be
            repeated.
        crops: The photos that were explained, one per image, each with the box of it that the
            network saw; None when they are not known, and `image` is drawn on.
        geometry: Of volumes, how their slices lie in the body, and the size of the input's pixels,
            one per image, None where it is not known; else None.
        picture: Which of the model's input tensors `image` is, from 0, where it takes several.
        windows: By `tiles`, the windows and their scores, of which `score` is the highest; or None.
        provenance: Which network made the maps; None where that is not known.
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
    crops: tuple[CroppedPhoto, ...] | None = None
    geometry: tuple[Geometry | None, ...] | None = None
    picture: int = 0
    windows: WindowScores | None = None
    provenance: Provenance | None = None

    @property
    def photos(self) -> tuple[Image, ...] | None:
        """The part of each photo that the network saw; None when the photos are not known."""
        return None if self.crops is None else tuple(crop.view() for crop in self.crops)

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
        return replace(self, **rows_of_fields(self, image % len(self)))

    def drawn_on(
        self,
        crops: Sequence[CroppedPhoto] | None,
        geometry: Sequence[Geometry | None] | None = None,
    ) -> Explanation:
        """Return a copy to be drawn on these photos, or volumes, one per image.

        None changes nothing.
        """
        drawn = self if crops is None else replace(self, crops=tuple(crops))
        return drawn if geometry is None else replace(drawn, geometry=tuple(geometry))

    def heatmap_at(self, size: Sequence[int]) -> Tensor:
        """Return the heatmap at another size, `[B, *size]`, computed from the raw map."""
        return to_heatmap(self.raw, size, self.status, self.span)

    def in_pieces(self, size: Sequence[int]) -> FinishedInPieces:
        """Return the heatmap of the first image at another size, computed as it is read."""
        return FinishedInPieces(zero_unless_ok(self.raw, self.status)[0], size, self.span)

    def photo_heatmaps(self) -> list[PhotoHeatmap]:
        """Return the heatmap of each whole photo, in its own size, and what of it was seen.

        Where the network saw the photo, it is `heatmap_at` the size of that part; elsewhere it is
        0. What lies on a black border around the photo is left out.

        Raises:
            InputError: The photos are not known, as the maps were made from a tensor.
        """
        return photo_heatmaps(self)

    def pictures(self) -> list[Image]:
        """Return the network's input as one picture per image, stretched to the full range.

        Signals are drawn as curves; volumes and video as slices side by side.
        """
        return map_views.Pictures(drawn.photo for drawn in as_pictures([self]))

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

        The region that the score is about is outlined, as in `figure`.

        Signals are drawn as curves; volumes and video as up to eight slices side by side, evenly
        spaced, the slice with the most heat among them.

        Args:
            photos: One per image, at any size: the whole photos that were explained, or the parts
                that the network saw. The network's own input where there are none.
            whole: Draw on the whole photos, and mark what the network did not see; else on the
                parts that it saw.
            colormap: The name of a matplotlib colour map; "inferno", or "RdBu_r" of a signed map,
                when not given.
            alpha: How opaque the colours are: (1 - alpha) photo + alpha colours. With "heat" it
                grows with the heat, so that the photo stays as it is where there is none. With None
                the picture is the Grad-CAM article's, (photo + colours) / max. Under a signal's
                curve, a number is the brightness of the colours.
            signed: Draw the raw maps, with what lowers the score, each scaled by its largest value.

        Raises:
            UnknownNameError: There is no such colour map.
            OptionError: `alpha` is not in [0, 1].
            InputError: There is not one photo per image; a photo does not show what the network was
                given; the inputs are no pictures; or whole photos are asked for and not known.
        """
        return map_views.Pictures(
            overlays(self, photos, whole=whole, colormap=colormap, alpha=alpha, signed=signed)
        )

    @property
    def scored_regions(self) -> list[Tensor | None]:
        """The pixels that the score of each image is about, `[*image]`; None for all pixels."""
        if self.region is None:
            return [None] * len(self.raw)
        regions = self.region.detach().cpu()
        return [None if bool(region.all()) else region for region in regions]

    def regions(
        self,
        threshold: float | None = None,
        how: ThresholdRule = "share",
        *,
        min_area: int = 1,
        largest: bool = False,
        pixels: PixelsOf | None = None,
    ) -> ExplainedRegions:
        """Return the connected regions where each heatmap h is hot; none when its status is not ok.

        Args:
            threshold: With "share", the share of the maximum, 0.2 when None (Zhou et al. 2016);
                with "quantile", the quantile of the pixels that the network saw.
            how: "share": `h >= threshold * max h`; "quantile": the hottest `1 - threshold` of the
                pixels; "otsu": above the threshold that splits h best (Otsu 1979).
            min_area: The fewest pixels of a region.
            largest: Keep only the region with most pixels.
            pixels: Whose pixels regions are in, "photo" or "input"; None for "photo" if known.

        Raises:
            OptionError, UnknownNameError: An argument has a value that it cannot have.
            InputError: The inputs are no pictures, or the photo is not known.
        """
        from limelight.regions import ExplainedRegions

        return ExplainedRegions.of(
            self, threshold, how, min_area=min_area, largest=largest, pixels=pixels
        )

    def rows(
        self,
        photos: Sequence[str] | None = None,
        *,
        objects: Tensor | None = None,
        first: int = 0,
    ) -> list[dict[str, Any]]:
        """Return a row of plain values for each image; docs/guide.md has the columns.

        Args:
            photos: The names of the photos, one per image.
            objects: Masks of objects in the input, `[B, *image]`; their share of heat is a column.
            first: The number of the first image.

        Raises:
            InputError: There is not one name, or not one mask, for each image.
        """
        from limelight import tables

        return tables.explanation_rows(self, photos, objects=objects, first=first)

    def manifest(
        self, model: nn.Module | Network | None = None, photos: Sequence[str | Path] | None = None
    ) -> dict[str, Any]:
        """Return, as plain values, all that `explain_again` needs; docs/manifest.md has the keys.

        Args:
            model: The network that was explained, for the digest of its weights; None without.
            photos: The files of the photos, one per image, where they are not known.

        Raises:
            InputError: There is not one photo for each image.
        """
        return manifest_of(self, model, photos)

    def to_frame(
        self, photos: Sequence[str] | None = None, *, objects: Tensor | None = None
    ) -> pandas.DataFrame:
        """Return `rows` as a data frame; an OptionError says so when pandas is not installed."""
        from limelight import tables

        return tables.as_frame(self.rows(photos, objects=objects), tables.EXPLANATION_COLUMNS)

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

        Signals `[B, C, L]` are drawn as curves on the heatmap's colours. For volumes and video
        `[B, C, D, H, W]`, the heat of every slice is drawn, and up to eight slices without and with
        colours.

        Args:
            photos, whole, colormap: As in `overlay`.
            scale: "each": the highest value of each map has the last colour. "shared": all maps
                have one scale, that of the raw maps, so that weak and strong ones can be told
                apart. The colour bar says which.
            signed: Draw the raw maps in place of the heatmaps: what raises the score in one colour,
                what lowers it in another, and zero between them.
            style: Width, resolution and font size.
        """
        return explanation_figure(
            self,
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
                raw maps, heatmaps, scores and names.
            photos: What to draw on, as in `overlay`.
            whole: Draw on the whole photos, as in `overlay`. In an .npz file, `photo_heatmap_0` and
                `photo_seen_0` are what `photo_heatmaps` returns for the first image, and so on.
            picture: `figure` (photo, heatmap, overlay, names), `signed` (the figure of the raw
                map), `overlay` (opaque where it is hot), `article` (the overlay of the Grad-CAM
                article), `blend` (half photo, half colours) or `heatmap`; the last four take one
                image, and are as large as the photo.
            colormap: The name of a matplotlib colour map.
            scale, style: As in `figure`, for figures alone.

        Raises:
            OutputError: The format is unknown, or the file cannot be written there.
            OptionError: A style is asked for, and the picture is no figure.
            InputError: As `overlay`.
        """
        check_picture(picture, scale, style)
        path = Path(path)
        form = files.known_suffix(path, FORMATS)
        if form == "npz":
            arrays, names = explanation_arrays(self, whole=whole)
            return files.write_arrays(path, arrays, names | {"manifest": without_folders(self)})
        from limelight import render

        if picture in ("figure", "signed"):
            figure = self.figure(
                photos,
                whole=whole,
                colormap=colormap,
                scale=scale,
                signed=picture == "signed",
                style=style,
            )
            return files.write_whole(path, render.encode_figure(figure, form))
        if len(self) > 1:
            raise OutputError(
                f"One {picture} was asked for, and there are {len(self)} images. Save them one by "
                "one, explanation[0].save(...), or picture='figure' for all in one."
            )
        if picture == "heatmap":
            drawn = heat_picture(self, photos, colormap, whole=whole)
        else:
            alpha = OPACITY[picture]
            (drawn,) = self.overlay(photos, whole=whole, colormap=colormap, alpha=alpha)
        return files.write_whole(path, lambda file: render.write(drawn, form, file))

    def _repr_html_(self) -> str:
        """Show the first images in a notebook, with the opacity of the colours to choose."""
        return map_views.targets_html([self])

    def _repr_png_(self) -> bytes:
        """Show the figures of the first images where a notebook shows no HTML."""
        from limelight import render

        return render.figures_png(
            self[b].figure() for b in range(min(len(self), map_views.MOST_IMAGES_IN_PNG))
        )
