"""The result: a map, what it explains, and whether it is worth anything."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from limelight import files
from limelight.errors import InputError, OptionError, OutputError, unknown
from limelight.finish import FinishedInPieces, finish
from limelight.plain import as_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from limelight.explain import Recipe
    from limelight.render import Flat, Heat

StatusName = Literal["ok", "no-positive-evidence", "disconnected", "flat", "not-finite"]
Picture = Literal["figure", "overlay", "blend", "heatmap"]
FormatName = Literal["png", "jpg", "jpeg", "webp", "pdf", "svg", "npz"]

#: The picture files that `Explanation.save` writes, and the arrays.
FORMATS: tuple[FormatName, ...] = get_args(FormatName)


@dataclass(frozen=True, slots=True)
class Status:
    """Whether a heatmap is worth anything, and if not, why and what to do.

    Attributes:
        name: `ok`; `no-positive-evidence` (nothing on the grid speaks for the score),
            `disconnected` (the score does not depend on the grid), `flat` (the map is the same
            everywhere) or `not-finite` (NaN or infinity came out).
        message: The same in a sentence that says what to do; "" when ok.
    """

    name: StatusName
    message: str = ""

    @property
    def ok(self) -> bool:
        """Whether the heatmap shows something."""
        return self.name == "ok"

    def __str__(self) -> str:
        """Return the name and the message."""
        return f"{self.name}: {self.message}" if self.message else self.name


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Explanation:
    """What `explain` returns, for B images.

    Attributes:
        raw: The raw map, signed and unscaled, at the layer's resolution, `[B, *grid]`.
        heatmap: relu, resize to the input, normalise: in [0, 1], `[B, *image]`; 0 everywhere
            when the status is not ok.
        score: The score that is explained, `[B]`, before softmax unless the target says otherwise.
        index: The class of each image, `[B]`; None when the target was a callable.
        label: For each image, what was explained, in words.
        status: For each image, whether its heatmap is worth anything.
        method: The method's name in METHODS, with the options that were set, and what was done
            besides: "rise:masks=1000, 2 flips".
        layer: The layer's dotted path.
        reason: Why this layer.
        image: What the network was given, `[B, C, *image]`.
        output: What the network returned.
        gap: For a method whose map sums to something known (integrated gradients to the score
            gained over the baseline), how far it is from that, as a share, `[B]`; else None.
        region: The pixels that the score is about, `[B, *image]`: a mask, a box, where a class is
            predicted; None for all of them.
        span: How long the raw map's grid is along each axis, in picture lengths, when the network
            pads or crops the picture; () when the grid covers it.
        recipe: How it was made, so that it can be made again on other images; None when it cannot.
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
    gap: Tensor | None = None
    region: Tensor | None = None
    span: tuple[float, ...] = ()
    recipe: Recipe | None = None

    def __repr__(self) -> str:
        """Return all but the tensors, of which the shapes."""
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
        one = slice(b, b + 1)
        return replace(
            self,
            raw=self.raw[one],
            heatmap=self.heatmap[one],
            score=self.score[one],
            index=None if self.index is None else self.index[one],
            label=self.label[one],
            status=self.status[one],
            image=self.image[one],
            gap=None if self.gap is None else self.gap[one],
            region=None if self.region is None else self.region[one],
            recipe=None if self.recipe is None else self.recipe.of_image(b, self.image.ndim - 2),
            output=pytree.tree_map_only(
                Tensor, lambda t: t[one] if t.ndim and len(t) == len(self) else t, self.output
            ),
        )

    def heatmap_at(self, size: Sequence[int]) -> Tensor:
        """Return the heatmap at another size, `[B, *size]`: finished from the raw map."""
        return finished(self.raw, size, self.status, self.span)

    def pictures(self) -> list[Image]:
        """Return what the network was given as one picture per image, at the full range.

        Signals are drawn as curves; of volumes and video the slices with the heat, side by side.
        """
        return [flat.photo for flat in laid_flat([self])]

    def overlay(
        self,
        photos: Sequence[Image] | None = None,
        *,
        colormap: str = "inferno",
        alpha: float | None = None,
    ) -> list[Image]:
        """Lay the colours of the heatmaps over the photos: one picture per image.

        Signals are drawn as curves; of volumes and video up to eight slices, evenly spaced, side
        by side, always with the one that has the most heat.

        Args:
            photos: One per image, at any size; the network's own input when not given.
            colormap: The name of a matplotlib colour map.
            alpha: None for the article's overlay, (photo + colours) / max; else
                (1 - alpha) photo + alpha colours. Under a signal's curve, the share of the
                colours: all when None.

        Raises:
            UnknownNameError: There is no such colour map.
            OptionError: `alpha` is not in [0, 1].
            InputError: There is not one photo per image, or there are photos of inputs that are
                no pictures.
        """
        from limelight import render

        if alpha is not None and not 0 <= alpha <= 1:
            raise OptionError(f"alpha is {alpha}; a share from 0 to 1 was expected.")
        return [
            render.overlay(
                flat.photo, flat.heatmaps[0], colormap=colormap, alpha=alpha, curve=flat.curve
            )
            for flat in laid_flat([self], photos)
        ]

    def figure(self, photos: Sequence[Image] | None = None, *, colormap: str = "inferno") -> Figure:
        """Draw photo, heatmap with colour bar, and overlay, a row per image, with all names.

        Signals `[B, C, L]` are drawn as curves on the heatmap's colours; of volumes and video
        `[B, C, D, H, W]` the heat of every slice, and up to eight slices without and with colours.
        """
        from limelight import render

        notes = ["" if status.ok else str(status) for status in self.status]
        if self.image.ndim == 4:
            flats = laid_flat([self], photos, as_panels=True)
            rows = [
                render.Row(
                    flat.photo, flat.heatmaps[0], label, note, self._region_at(b, flat.photo)
                )
                for b, (flat, label, note) in enumerate(zip(flats, self.label, notes, strict=True))
            ]
            return render.figure(rows, method=self.method, layer=self.layer, colormap=colormap)
        no_photos(self.image, photos)
        heatmaps = self.heatmap.detach().float().cpu()
        samples = [
            render.Sample(*one) for one in zip(self.image, heatmaps, self.label, notes, strict=True)
        ]
        return render.sample_figure(
            samples, method=self.method, layer=self.layer, colormap=colormap
        )

    def _region_at(self, b: int, photo: Image) -> Tensor | None:
        """Return the outlined region of one image at the photo's size; None when it is all."""
        if self.region is None or bool(self.region[b].all()):
            return None
        region = self.region[b].float().cpu()[None, None]
        size = (photo.height, photo.width)
        return torch.nn.functional.interpolate(region, size=size)[0, 0] > 0

    def save(
        self,
        path: str | Path,
        photos: Sequence[Image] | None = None,
        *,
        picture: Picture = "figure",
        colormap: str = "inferno",
    ) -> Path:
        """Write a picture, or the arrays, whole or not at all.

        Args:
            path: Where to; its suffix says as what: .png, .jpg, .webp, .pdf, .svg, or .npz for
                the raw maps, heatmaps, scores and names.
            photos: What to draw on, one per image; the network's own input when not given.
            picture: `figure` (photo, heatmap, overlay, names), `overlay` (the article's),
                `blend` (half photo, half colours) or `heatmap`; the last three take one image.
            colormap: The name of a matplotlib colour map.

        Raises:
            OutputError: The format is unknown, or the file cannot be written there.
        """
        if picture not in get_args(Picture):
            known = get_args(Picture)
            raise unknown("picture", picture, known, f"There are {', '.join(known)}.")
        path = Path(path)
        form = files.known_suffix(path, FORMATS)
        if form == "npz":
            return files.write_whole(path, self._arrays())
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
        self, photos: Sequence[Image] | None, picture: Picture, colormap: str
    ) -> Image:
        from limelight import render

        if picture == "heatmap":
            (flat,) = laid_flat([self], photos)
            return render.colourise(flat.heatmaps[0], colormap)
        alpha = None if picture == "overlay" else 0.5
        return self.overlay(photos, colormap=colormap, alpha=alpha)[0]

    def _arrays(self) -> bytes:
        import numpy as np

        buffer = BytesIO()
        names = {
            "label": list(self.label),
            "status": [str(status) for status in self.status],
            "method": self.method,
            "layer": self.layer,
        }
        np.savez_compressed(
            buffer,
            raw=self.raw.detach().cpu().numpy(),
            heatmap=self.heatmap.detach().cpu().numpy(),
            score=self.score.detach().float().cpu().numpy(),
            names=np.array(as_json(names)),
        )
        return buffer.getvalue()

    def _repr_png_(self) -> bytes:
        """Show the figure in a notebook."""
        from limelight import render

        return render.encode_figure(self.figure(), "png")


def laid_flat(
    explanations: Sequence[Explanation],
    photos: Sequence[Image] | None = None,
    *,
    as_panels: bool = False,
) -> Iterator[Flat]:
    """Yield for each image the picture to draw on, and the heatmap of each explanation at its size.

    Args:
        explanations: Of the same images.
        photos: One per image; the images themselves when not given.
        as_panels: Whether photos are reduced to what a panel of a figure shows.

    Raises:
        InputError: There is not one photo per image, or there are photos of inputs that are no
            pictures.
    """
    from limelight import render

    images = explanations[0].image
    if images.ndim == 4:
        for b, photo in enumerate(photos_of(images, photos)):
            small = render.as_panel(photo) if as_panels else photo
            yield render.Flat("photo", small, [_heat(one[b], small) for one in explanations])
        return
    no_photos(images, photos)
    for b, image in enumerate(images):
        heats = [one.heatmap[b].detach().float().cpu() for one in explanations]
        yield render.lay_flat(image, heats)


def _heat(one: Explanation, photo: Image) -> Heat:
    """Return the heatmap of one image at a photo's size; of a large one in pieces."""
    size = (photo.height, photo.width)
    if photo.height * photo.width <= _LARGE:
        return one.heatmap_at(size)[0].detach().float().cpu()
    return FinishedInPieces(worth(one.raw, one.status)[0], size, one.span)


#: Heatmaps of more pixels than this are not made as a whole to be drawn.
_LARGE = 4_000_000


def photos_of(images: Tensor, photos: Sequence[Image] | None) -> Sequence[Image]:
    """Return the photos to draw on, one per image: those given, or the images themselves.

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


def no_photos(images: Tensor, photos: Sequence[Image] | None) -> None:
    """Refuse photos for images that are no pictures.

    Raises:
        InputError: There are photos.
    """
    if photos is not None:
        raise InputError(
            f"The inputs have shape {list(images.shape)}; photos go with pictures [B, C, H, W] "
            "alone. Leave the photos out: the inputs themselves are drawn."
        )


def judge(
    raw: Tensor,
    score: Tensor,
    evidence: Sequence[Tensor],
    *,
    method: str,
    layer: str,
    why: Callable[[], str],
) -> tuple[Status, ...]:
    """Say of each raw map `[B, *grid]` whether its heatmap is worth anything.

    Args:
        raw: The raw maps.
        score: The scores, `[B]`.
        evidence: What the method read of each score (gradients, class weights), `[B, ...]`.
        method: The method's name.
        layer: The layer's path.
        why: Returns why a score does not depend on the layer; asked only if needed.
    """
    low, high = raw.flatten(1).aminmax(dim=1)
    connected = torch.ones_like(low)
    for tensor in evidence:
        connected = connected * tensor.flatten(1).any(1)
    # One transfer from the device for all of them.
    facts = torch.stack([low, high, score.to(low), connected], 1).tolist()
    rounding = 8 * torch.finfo(raw.dtype).eps
    statuses = []
    for lowest, highest, value, is_connected in facts:
        is_finite = math.isfinite(lowest) and math.isfinite(highest) and math.isfinite(value)
        # A difference that rounding alone can make is none.
        is_flat = highest - lowest <= rounding * max(abs(highest), abs(lowest))
        if not is_finite:
            status = Status(
                "not-finite",
                "NaN or infinity came out of the network or the map. Check the weights; in "
                "float16 values overflow, so use bfloat16 or float32.",
            )
        elif not is_connected:
            status = Status("disconnected", why())
        elif is_flat:
            status = Status(
                "flat",
                f"The map is the same everywhere on the grid {list(raw.shape[1:])} of {layer!r}. "
                "Take an earlier layer with a finer grid, or another method than "
                f"{method!r}; a picture without any structure does this too.",
            )
        elif highest <= 0:
            status = Status(
                "no-positive-evidence",
                f"Nothing on the grid of {layer!r} speaks for this score; everything speaks "
                "against it. Look at the signed raw map, or explain another class.",
            )
        else:
            status = Status("ok")
        statuses.append(status)
    return tuple(statuses)


def finished(
    raw: Tensor, size: Sequence[int], status: Sequence[Status], span: Sequence[float] = ()
) -> Tensor:
    """Finish raw maps into heatmaps; those that are worth nothing become 0 everywhere."""
    return worth(finish(raw, size, span), status)


def worth(maps: Tensor, status: Sequence[Status]) -> Tensor:
    """Return maps `[B, ...]` with 0 everywhere in those that are worth nothing."""
    if all(one.ok for one in status):
        return maps
    kept = torch.tensor([one.ok for one in status], device=maps.device)
    return torch.where(kept.reshape(-1, *(1,) * (maps.ndim - 1)), maps, torch.zeros_like(maps))
