"""The result of `explain`: maps, what they explain, and whether they show anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from torch import Tensor
from torch.utils import _pytree as pytree

from limelight import files
from limelight.drawing import as_pictures, check_whole, heatmap_on_photo, refuse_photos
from limelight.errors import OptionError, OutputError, unknown
from limelight.finish import AxisSpan
from limelight.status import Status, to_heatmap

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from limelight.photos.crops import CroppedPhoto
    from limelight.photos.geometry import Geometry
    from limelight.recipe import Recipe


PictureKind = Literal["figure", "overlay", "blend", "heatmap"]


FormatName = Literal["png", "jpg", "jpeg", "webp", "pdf", "svg", "npz"]


#: The picture files that `Explanation.save` writes, and the arrays.
FORMATS: tuple[FormatName, ...] = get_args(FormatName)


class PhotoHeatmap(NamedTuple):
    """The heatmap of a whole photo.

    Attributes:
        heatmap: In [0, 1], `[H, W]`; 0 where the network did not see.
        seen: Which pixels the network saw, `[H, W]`.
    """

    heatmap: Tensor
    seen: Tensor


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
        span: Where the raw map's grid lies on the picture, along each axis, when the network pads
            or crops it; () when the grid covers it.
        recipe: How the maps were made, to repeat it on other images; None when it cannot be
            repeated.
        crops: The photos that were explained, one per image, each with the box of it that the
            network saw; None when they are not known, and `image` is drawn on.
        geometry: Of volumes, how their slices lie in the body, and the size of the input's pixels,
            one per image, None where it is not known; else None.
        picture: Which of the model's input tensors `image` is, from 0, where it takes several.
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
            crops=None if self.crops is None else self.crops[rows],
            geometry=None if self.geometry is None else self.geometry[rows],
            recipe=None if self.recipe is None else self.recipe.of_image(b, self.image.ndim - 2),
            output=pytree.tree_map_only(
                Tensor, lambda t: t[rows] if t.ndim and len(t) == len(self) else t, self.output
            ),
        )

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

    def photo_heatmaps(self) -> list[PhotoHeatmap]:
        """Return the heatmap of each whole photo, in its own size, and what of it was seen.

        Where the network saw the photo, it is `heatmap_at` the size of that part; elsewhere it is
        0. What lies on a black border around the photo is left out.

        Raises:
            InputError: The photos are not known, as the maps were made from a tensor.
        """
        from limelight.render import in_one_tensor

        check_whole(self.crops, whole=True)
        return [
            PhotoHeatmap(in_one_tensor(heatmap_on_photo(self[b], crop)), crop.seen())
            for b, crop in enumerate(self.crops or ())
        ]

    def pictures(self) -> list[Image]:
        """Return the network's input as one picture per image, stretched to the full range.

        Signals are drawn as curves; volumes and video as slices side by side.
        """
        return [drawn.photo for drawn in as_pictures([self])]

    def overlay(
        self,
        photos: Sequence[Image] | None = None,
        *,
        whole: bool = False,
        colormap: str = "inferno",
        alpha: float | None = None,
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
            colormap: The name of a matplotlib colour map.
            alpha: None for the article's overlay, (photo + colours) / max; else
                (1 - alpha) photo + alpha colours. Under a signal's curve, the brightness of the
                colours: full when None.

        Raises:
            UnknownNameError: There is no such colour map.
            OptionError: `alpha` is not in [0, 1].
            InputError: There is not one photo per image; a photo does not show what the network was
                given; the inputs are no pictures; or whole photos are asked for and not known.
        """
        from limelight import render

        if alpha is not None and not 0 <= alpha <= 1:
            raise OptionError(f"alpha is {alpha}; a share from 0 to 1 was expected.")
        overlays = []
        for drawn in as_pictures([self], photos, whole=whole):
            overlay = render.overlay(
                drawn.photo, drawn.heatmaps[0], colormap=colormap, alpha=alpha, curve=drawn.curve
            )
            (region,) = drawn.regions
            overlays.append(overlay if region is None else render.outlined(overlay, region))
        return overlays

    @property
    def regions(self) -> list[Tensor | None]:
        """The pixels that the score of each image is about, `[*image]`; None for all pixels."""
        if self.region is None:
            return [None] * len(self.raw)
        regions = self.region.detach().cpu()
        return [None if bool(region.all()) else region for region in regions]

    def figure(
        self,
        photos: Sequence[Image] | None = None,
        *,
        whole: bool = False,
        colormap: str = "inferno",
    ) -> Figure:
        """Draw photo, heatmap with colour bar, and overlay, a row per image, with all names.

        Signals `[B, C, L]` are drawn as curves on the heatmap's colours. For volumes and video
        `[B, C, D, H, W]`, the heat of every slice is drawn, and up to eight slices without and with
        colours.
        """
        from limelight import render

        notes = ["" if status.ok else str(status) for status in self.status]
        if self.image.ndim == 4:
            panels = as_pictures([self], photos, whole=whole, as_panels=True)
            rows = [
                render.ExplainedPhoto(
                    panel.photo, panel.heatmaps[0], label, note, panel.regions[0], panel.geometry
                )
                for panel, label, note in zip(panels, self.label, notes, strict=True)
            ]
            return render.photo_figure(
                rows, method=self.method, layer=self.layer, colormap=colormap
            )
        refuse_photos(self.image, photos, whole=whole)
        heatmaps = self.heatmap.detach().float().cpu()
        inputs = [
            render.ExplainedInput(*fields)
            for fields in zip(
                self.image,
                heatmaps,
                self.label,
                notes,
                self.regions,
                self.geometry or [None] * len(self),
                strict=True,
            )
        ]
        return render.input_figure(inputs, method=self.method, layer=self.layer, colormap=colormap)

    def save(
        self,
        path: str | Path,
        *,
        photos: Sequence[Image] | None = None,
        whole: bool = False,
        picture: PictureKind = "figure",
        colormap: str = "inferno",
    ) -> Path:
        """Write a picture, or the arrays, whole or not at all.

        Args:
            path: The file. Its suffix is the format: .png, .jpg, .webp, .pdf, .svg, or .npz for the
                raw maps, heatmaps, scores and names.
            photos: What to draw on, as in `overlay`.
            whole: Draw on the whole photos, as in `overlay`. In an .npz file, `photo_heatmap_0` and
                `photo_seen_0` are what `photo_heatmaps` returns for the first image, and so on.
            picture: `figure` (photo, heatmap, overlay, names), `overlay` (the article's),
                `blend` (half photo, half colours) or `heatmap`; the last three take one image.
            colormap: The name of a matplotlib colour map.

        Raises:
            OutputError: The format is unknown, or the file cannot be written there.
            InputError: As `overlay`.
        """
        if picture not in get_args(PictureKind):
            known = get_args(PictureKind)
            raise unknown("picture", picture, known, f"There are {', '.join(known)}.")
        path = Path(path)
        form = files.known_suffix(path, FORMATS)
        if form == "npz":
            return files.write_arrays(path, *self._arrays(whole=whole))
        if picture == "figure":
            from limelight import render

            figure = self.figure(photos, whole=whole, colormap=colormap)
            return files.write_whole(path, render.encode_figure(figure, form))
        if len(self) > 1:
            raise OutputError(
                f"One {picture} was asked for, and there are {len(self)} images. Save them one by "
                "one, explanation[0].save(...), or picture='figure' for all in one."
            )
        from limelight import render

        drawn = self._one_picture(photos, picture, colormap, whole=whole)
        return files.write_whole(path, lambda file: render.write(drawn, form, file))

    def _one_picture(
        self, photos: Sequence[Image] | None, picture: PictureKind, colormap: str, *, whole: bool
    ) -> Image:
        from limelight import render

        if picture == "heatmap":
            (drawn,) = as_pictures([self], photos, whole=whole)
            return render.colourise(drawn.heatmaps[0], colormap)
        alpha = None if picture == "overlay" else 0.5
        return self.overlay(photos, whole=whole, colormap=colormap, alpha=alpha)[0]

    def _arrays(self, *, whole: bool) -> tuple[dict[str, Tensor], object]:
        """Return what an .npz file holds: the arrays, and their names."""
        arrays = {"raw": self.raw, "heatmap": self.heatmap, "score": self.score.detach().float()}
        for b, (heatmap, seen) in enumerate(self.photo_heatmaps() if whole else ()):
            arrays |= {f"photo_heatmap_{b}": heatmap, f"photo_seen_{b}": seen}
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
