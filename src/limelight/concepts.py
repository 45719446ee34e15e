"""Deep feature factorization: concepts in the activations, and the classes the head sees there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight import map_views
from limelight.drawing import photos_to_draw_on
from limelight.errors import InputError, OptionError
from limelight.evidence import at_least_float32
from limelight.figure_style import USUAL_STYLE, FigureStyle
from limelight.finish import AxisSpan, resize
from limelight.layers.resolved import Layer
from limelight.methods import spectral
from limelight.misnamed import KnownAttributes, checked_arguments
from limelight.models.network import Images, Model, read_subject
from limelight.options import Options
from limelight.photos.crops import CroppedPhoto
from limelight.runtime.cut import Cut, cut_layers
from limelight.targets import LogitsKey, OutputSpec
from limelight.targets.class_names import label_of, names_for
from limelight.targets.outputs import class_logits

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Factorization(KnownAttributes):
    """What `factorize` returns: R concepts of B images.

    Attributes:
        maps: W, where each concept is, `[B, R, *grid]`, not negative.
        concepts: H, each concept's channels, `[R, K]`, of length 1, not negative.
        logits: The network's logits for a grid full of each concept, `[R, C]`.
        labels: For each concept the classes with the highest of these logits, the highest first.
        error: The share of the activations that is left, `|A - W H| / |A|`.
        layer: The layer's dotted path.
        image: What the network was given, `[B, C, *image]`.
        photos: What to draw on, one per image: the part of the photo that the network saw; None to
            draw on `image`.
        span: Where the grid lies on the picture, along each axis; () if it covers the picture.
    """

    maps: Tensor
    concepts: Tensor
    logits: Tensor
    labels: tuple[tuple[str, ...], ...]
    error: float
    layer: str
    image: Tensor
    photos: tuple[Image, ...] | None = None
    span: tuple[AxisSpan, ...] = ()

    def __repr__(self) -> str:
        """Return the number of concepts, the layer, and the first class of each concept."""
        first = "; ".join(labels[0] for labels in self.labels)
        return f"Factorization({len(self.concepts)} concepts at {self.layer}: {first})"

    @property
    def heatmaps(self) -> Tensor:
        """The maps at image size, `[B, R, *image]`; each concept in [0, 1] over all images."""
        size = self.image.shape[2:]
        large = torch.stack([resize(maps, size, self.span) for maps in self.maps.unbind(1)], 1)
        highest = large.transpose(0, 1).flatten(1).amax(1)
        scale = torch.where(highest > 0, highest, 1)
        return large / scale.reshape(1, -1, *[1] * len(size))

    @checked_arguments
    def figure(
        self,
        photos: Sequence[Image] | None = None,
        *,
        colormap: str | None = None,
        style: FigureStyle = USUAL_STYLE,
    ) -> Figure:
        """Draw, for each image, the photo and where each concept is, with its classes.

        Args:
            photos: One per image; those that were passed in, or the network's own input, when not
                given.
            colormap: The name of a matplotlib colour map.
            style: Width, resolution and font size.

        Raises:
            InputError: There is not one photo per image, or one does not show what the network was
                given.
        """
        from limelight import render

        blocks = []
        for crop, heatmaps in self._drawn(photos, style):
            panels = [
                render.Panel(heatmap, f"concept {number}", labels[0])
                for number, (heatmap, labels) in enumerate(
                    zip(heatmaps, self.labels, strict=True), 1
                )
            ]
            name = crop.name or "photo"
            blocks.append(render.Block(crop.photo, f"concepts at {self.layer}", panels, name))
        label = "how strong the concept is; its highest value in all images is 1"
        colours = render.HeatColours(colormap or render.SEQUENTIAL, label=label)
        return render.sheet(blocks, colours=colours, style=style)

    def _drawn(
        self, photos: Sequence[Image] | None = None, style: FigureStyle = USUAL_STYLE
    ) -> Iterator[tuple[CroppedPhoto, Tensor]]:
        """Yield for each image the photo, and the heatmaps at its size, `[R, H, W]`."""
        from limelight import render

        crops = None if self.photos is None else list(map(CroppedPhoto.uncropped, self.photos))
        drawn_on = photos_to_draw_on(self.image, crops, photos)
        for crop, maps in zip(drawn_on, self.heatmaps.float().cpu(), strict=True):
            small = crop.reduced(render.panel_pixels(style))
            yield small, resize(maps, (small.photo.height, small.photo.width))

    def _repr_html_(self) -> str:
        """Show where each concept is, and its classes, in a notebook."""
        heading = f"{len(self.concepts)} concepts at {self.layer}"
        drawn = ((crop.photo, heatmaps) for crop, heatmaps in self._drawn())
        return map_views.concepts_html(heading, drawn, self.labels)

    def _repr_png_(self) -> bytes:
        """Show the figure where a notebook shows no HTML."""
        from limelight import render

        return render.figures_png([self.figure()])

    @checked_arguments
    def save(
        self,
        path: str | Path,
        *,
        photos: Sequence[Image] | None = None,
        colormap: str | None = None,
        style: FigureStyle = USUAL_STYLE,
    ) -> Path:
        """Write the figure, whole or not at all, in the format of the suffix.

        Raises:
            OutputError: The format is unknown, or the file cannot be written there.
        """
        from limelight import render

        return render.save_figure(path, lambda: self.figure(photos, colormap=colormap, style=style))


@checked_arguments
def factorize(
    model: Model,
    inputs: Images,
    *,
    concepts: int = 5,
    layer: Layer | None = None,
    classes: Sequence[str] | None = None,
    output: LogitsKey | None = None,
    grid: Sequence[int] | None = None,
) -> Factorization:
    """Factorize the activations of all the images into concepts: `A ~ W H`, nothing negative.

    Deep feature factorization (Collins et al. 2018): the cells of all images `[B * cells, K]` are
    non-negative sums of a few concepts `[R, K]`, the rows of H; the columns of W say where they
    are. To name a concept, the network's head is run on a grid full of the concept, at the highest
    strength that it has in the images.

    Args:
        model: A trained network, or a `Network` as `load_model` returns it; used as in evaluation
            mode and left untouched.
        inputs: Images `[B, C, *image]`, or a tuple or dict of what the model takes; with a
            `Network` also a photo, or a list of photos.
        concepts: R, how many to look for.
        layer: A dotted path or a module inside the model; None to have it chosen.
        classes: The names of the classes; a model with 1000 is taken to know ImageNet's.
        output, grid: As in `explain`.

    Raises:
        OptionError: `concepts` is not positive, or there are fewer cells or channels.
        UnknownNameError, LayerError, ModelError, InputError: As `explain`.
    """
    subject = read_subject(model, inputs, classes)
    options = Options.read(classes=subject.classes, output=output, grid=grid)
    (cut,) = cut_layers(subject.model, subject.inputs, [layer], options)
    activations = cut.activations
    cells, channels = activations[:, 0].numel(), activations.shape[1]
    if not 1 <= concepts <= min(cells, channels):
        raise OptionError(
            f"concepts is {concepts}; from 1 to {min(cells, channels)} was expected at "
            f"{cut.layer!r}, which has {cells} cells of {channels} channels."
        )
    samples = at_least_float32(activations)
    if not samples.isfinite().all():
        raise InputError(
            f"The activations of {cut.layer!r} hold values that are NaN or infinite, so they have "
            "no concepts. Check the weights; in float16 values overflow."
        )
    maps, directions = spectral.factorize_activations(samples, concepts)
    rebuilt = torch.einsum("br...,rk->bk...", maps, directions)
    error = float((samples.relu() - rebuilt).norm() / samples.relu().norm())
    logits = _concept_logits(cut, maps, directions, options.spec)
    names = names_for(logits.shape[1], subject.classes)
    best = logits.topk(min(3, logits.shape[1]), dim=1).indices.tolist()
    labels = tuple(tuple(label_of(i, names) for i in row) for row in best)
    return Factorization(
        maps,
        directions,
        logits,
        labels,
        error,
        cut.layer,
        cut.image,
        subject.photos,
        cut.layout.span,
    )


def _concept_logits(cut: Cut, maps: Tensor, directions: Tensor, spec: OutputSpec) -> Tensor:
    """Return the logits `[R, C]` of the head for a grid full of each concept at its strongest.

    Whatever else the model takes is that of the image where the concept is strongest.
    """
    size = cut.activations.shape[2:]
    strongest, image = maps.flatten(2).amax(2).max(0)  # for each concept, over the images
    cells = (directions * strongest[:, None]).reshape(*directions.shape, *[1] * len(size))
    grids = cells.expand(-1, -1, *size).to(cut.activations.dtype)
    with torch.no_grad():
        output = cut.head(grids, rows=image)
    return class_logits(output, spec.key)
