"""The result: a map, what it explains, and whether it is worth anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from limelight import files
from limelight.errors import InputError, OptionError, OutputError, unknown
from limelight.finish import finish

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

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
            output=pytree.tree_map_only(
                Tensor, lambda t: t[one] if t.ndim and len(t) == len(self) else t, self.output
            ),
        )

    def heatmap_at(self, size: Sequence[int]) -> Tensor:
        """Return the heatmap at another size, `[B, *size]`: finished from the raw map."""
        return finished(self.raw, size, self.status)

    def pictures(self) -> list[Image]:
        """Return the images as the network was given them, each stretched to the full range.

        Raises:
            InputError: They are not pictures `[B, C, H, W]`.
        """
        return pictures(self.image)

    def overlay(
        self,
        photos: Sequence[Image] | None = None,
        *,
        colormap: str = "inferno",
        alpha: float | None = None,
    ) -> list[Image]:
        """Lay the colours of the heatmaps over the photos.

        Args:
            photos: One per image, at any size; the network's own input when not given.
            colormap: The name of a matplotlib colour map.
            alpha: None for the article's overlay, (photo + colours) / max; else
                (1 - alpha) photo + alpha colours.

        Raises:
            UnknownNameError: There is no such colour map.
            OptionError: `alpha` is not in [0, 1].
            InputError: There is not one photo per image, or the inputs are no pictures.
        """
        from limelight import render

        if alpha is not None and not 0 <= alpha <= 1:
            raise OptionError(f"alpha is {alpha}; a share from 0 to 1 was expected.")
        return [
            render.overlay(photo, heat, colormap=colormap, alpha=alpha)
            for photo, heat in self._pairs(photos)
        ]

    def figure(self, photos: Sequence[Image] | None = None, *, colormap: str = "inferno") -> Figure:
        """Draw photo, heatmap with colour bar, and overlay, a row per image, with all names."""
        from limelight import render

        photos = [render.as_panel(photo) for photo in photos_of(self.image, photos)]
        rows = [
            render.Row(
                photo=photo,
                heatmap=heat,
                title=label,
                note="" if status.ok else str(status),
            )
            for (photo, heat), label, status in zip(
                self._pairs(photos), self.label, self.status, strict=True
            )
        ]
        return render.figure(rows, method=self.method, layer=self.layer, colormap=colormap)

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
        return files.write_whole(path, self._one_picture(form, photos, picture, colormap))

    def _one_picture(
        self, form: str, photos: Sequence[Image] | None, picture: Picture, colormap: str
    ) -> bytes:
        from limelight import render

        if picture == "heatmap":
            ((_, heat),) = self._pairs(photos)
            return render.encode(render.colourise(heat, colormap), form)
        alpha = None if picture == "overlay" else 0.5
        return render.encode(self.overlay(photos, colormap=colormap, alpha=alpha)[0], form)

    def _pairs(self, photos: Sequence[Image] | None) -> list[tuple[Image, Tensor]]:
        """Return each photo with its heatmap at the photo's size."""
        return [
            (photo, self[b].heatmap_at((photo.height, photo.width))[0].detach().float().cpu())
            for b, photo in enumerate(photos_of(self.image, photos))
        ]

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
            names=np.array(json.dumps(names)),
        )
        return buffer.getvalue()

    def _repr_png_(self) -> bytes | None:
        """Show the figure in a notebook; of inputs that are no pictures, the text alone."""
        from limelight import render

        if self.image.ndim != 4:
            return None
        return render.encode_figure(self.figure(), "png")


def pictures(images: Tensor) -> list[Image]:
    """Return images `[B, C, H, W]` as pictures, each stretched to the full range.

    Raises:
        InputError: They are not pictures.
    """
    from PIL.Image import fromarray

    if images.ndim != 4:
        raise InputError(
            f"The inputs have shape {list(images.shape)}; only pictures [B, C, H, W] can be drawn. "
            "The maps are in .raw and .heatmap, and save() writes them as .npz."
        )
    rgb = images.float().cpu()
    if rgb.shape[1] != 3:  # depth, infrared, many bands: their mean, in grey
        rgb = rgb.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    low, high = rgb.amin((1, 2, 3), keepdim=True), rgb.amax((1, 2, 3), keepdim=True)
    scaled = (rgb - low) / torch.where(high > low, high - low, torch.ones_like(high))
    bytes_ = (scaled * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return [fromarray(picture.numpy()) for picture in bytes_]


def photos_of(images: Tensor, photos: Sequence[Image] | None) -> Sequence[Image]:
    """Return the photos to draw on, one per image: those given, or the images themselves.

    Raises:
        InputError: There is not one photo per image, or the images are no pictures.
    """
    photos = pictures(images) if photos is None else photos
    if len(photos) != len(images):
        raise InputError(
            f"The number of photos is {len(photos)}, that of the explained images {len(images)}."
        )
    return photos


def judge(
    raw: Tensor,
    score: Tensor,
    evidence: Sequence[Tensor],
    *,
    method: str,
    layer: str,
    instead: Callable[[], str],
) -> tuple[Status, ...]:
    """Say of each raw map `[B, *grid]` whether its heatmap is worth anything.

    Args:
        raw: The raw maps.
        score: The scores, `[B]`.
        evidence: What the method read of each score (gradients, class weights), `[B, ...]`.
        method: The method's name.
        layer: The layer's path.
        instead: Returns the layer that would have been chosen, "" if none; asked only if needed.
    """
    low, high = raw.flatten(1).aminmax(dim=1)
    finite = low.isfinite() & high.isfinite() & score.isfinite()
    connected = torch.ones_like(finite)
    for tensor in evidence:
        connected &= tensor.flatten(1).any(1)
    # A difference that rounding alone can make is none.
    flat = high - low <= 8 * torch.finfo(raw.dtype).eps * torch.maximum(high.abs(), low.abs())
    # One transfer from the device for all of them.
    facts = torch.stack([finite, connected, flat, high <= 0]).T.tolist()
    statuses = []
    for is_finite, is_connected, is_flat, is_negative in facts:
        if not is_finite:
            status = Status(
                "not-finite",
                "NaN or infinity came out of the network or the map. Check the weights; in "
                "float16 values overflow, so use bfloat16 or float32.",
            )
        elif not is_connected:
            status = Status("disconnected", _disconnected(layer, instead()))
        elif is_flat:
            status = Status(
                "flat",
                f"The map is the same everywhere on the grid {list(raw.shape[1:])} of {layer!r}. "
                "Take an earlier layer with a finer grid, or another method than "
                f"{method!r}; a picture without any structure does this too.",
            )
        elif is_negative:
            status = Status(
                "no-positive-evidence",
                f"Nothing on the grid of {layer!r} speaks for this score; everything speaks "
                "against it. Look at the signed raw map, or explain another class.",
            )
        else:
            status = Status("ok")
        statuses.append(status)
    return tuple(statuses)


def _disconnected(layer: str, instead: str) -> str:
    if instead and instead != layer:
        return (
            f"The score does not depend on the grid of {layer!r}: after it only other tokens, or "
            f"nothing of it, is read. Take layer={instead!r}."
        )
    return (
        f"The gradient of the score is zero everywhere on the grid of {layer!r}. A head whose "
        "weights are zero (not trained yet) does this, as does a score that no longer changes."
    )


def finished(raw: Tensor, size: Sequence[int], status: Sequence[Status]) -> Tensor:
    """Finish raw maps into heatmaps; those that are worth nothing become 0 everywhere."""
    return worth(finish(raw, size), status)


def worth(maps: Tensor, status: Sequence[Status]) -> Tensor:
    """Return maps `[B, ...]` with 0 everywhere in those that are worth nothing."""
    if all(one.ok for one in status):
        return maps
    kept = torch.tensor([one.ok for one in status], device=maps.device)
    return torch.where(kept.reshape(-1, *(1,) * (maps.ndim - 1)), maps, torch.zeros_like(maps))
