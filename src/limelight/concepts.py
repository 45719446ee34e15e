"""Deep feature factorization: what the activations are made of, and what the network calls it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from limelight.errors import InputError, OptionError
from limelight.evidence import at_least_float32
from limelight.explanation import photos_of
from limelight.finish import resize
from limelight.inputs import Inputs
from limelight.layers.resolved import Layer
from limelight.methods import spectral
from limelight.runtime.cut import cut
from limelight.targets import LogitsKey
from limelight.targets.class_names import label_of, names_for
from limelight.targets.outputs import class_logits

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Factorization:
    """What `factorize` returns: R concepts of B images.

    Attributes:
        maps: Where each concept is, `[B, R, *grid]`, not negative.
        concepts: Each concept's channels, `[R, K]`, of length 1, not negative.
        logits: What the network says of a grid full of each concept, `[R, C]`.
        labels: The classes with the highest of these logits, the highest first, for each concept.
        error: The share of the activations that is not accounted for, `|A - W H| / |A|`.
        layer: The layer's dotted path.
        image: What the network was given, `[B, C, *image]`.
    """

    maps: Tensor
    concepts: Tensor
    logits: Tensor
    labels: tuple[tuple[str, ...], ...]
    error: float
    layer: str
    image: Tensor

    def __repr__(self) -> str:
        """Return what was found."""
        first = "; ".join(labels[0] for labels in self.labels)
        return f"Factorization({len(self.concepts)} concepts at {self.layer}: {first})"

    @property
    def heatmaps(self) -> Tensor:
        """The maps at image size, `[B, R, *image]`; each concept in [0, 1] over all images."""
        size = self.image.shape[2:]
        large = torch.stack([resize(one, size) for one in self.maps.unbind(1)], 1)
        highest = large.transpose(0, 1).flatten(1).amax(1)
        scale = torch.where(highest > 0, highest, 1)
        return large / scale.reshape(1, -1, *[1] * len(size))

    def figure(self, photos: Sequence[Image] | None = None, *, colormap: str = "inferno") -> Figure:
        """Draw, for each image, the photo and where each concept is, with its classes."""
        from limelight import render

        blocks = []
        heatmaps = self.heatmaps.float().cpu()
        for photo, maps in zip(photos_of(self.image, photos), heatmaps, strict=True):
            small = render.as_panel(photo)
            large = resize(maps, (small.height, small.width))
            panels = [
                render.Panel(one, f"concept {number}", labels[0])
                for number, (one, labels) in enumerate(zip(large, self.labels, strict=True), 1)
            ]
            blocks.append(render.Block(small, f"concepts at {self.layer}", panels))
        return render.sheet(blocks, colormap=colormap)

    def save(
        self,
        path: str | Path,
        *,
        photos: Sequence[Image] | None = None,
        colormap: str = "inferno",
    ) -> Path:
        """Write the figure whole or not at all; the suffix says as what.

        Raises:
            OutputError: The format is unknown, or the file cannot be written there.
        """
        from limelight import render

        return render.save_figure(path, lambda: self.figure(photos, colormap=colormap))


def factorize(
    model: nn.Module,
    inputs: Inputs,
    *,
    concepts: int = 5,
    layer: Layer | None = None,
    classes: Sequence[str] | None = None,
    output: LogitsKey | None = None,
    grid: Sequence[int] | None = None,
) -> Factorization:
    """Find what the activations of all the images are made of: `A ~ W H`, nothing negative.

    Deep feature factorization (Collins et al. 2018): the cells of all images `[B * cells, K]` are
    non-negative sums of a few concepts `[R, K]`, the rows of H; the columns of W are where they
    are. What a concept means to the network is read off its head, run on a grid that is full of
    the concept, as strong as it gets.

    Args:
        model: A trained network; used as in evaluation mode and left untouched.
        inputs: Images `[B, C, *image]`, or a tuple or dict of what the model takes.
        concepts: R, how many to look for.
        layer: A dotted path or a module inside the model; None to have it chosen.
        classes: The names of the classes; a model with 1000 is taken to know ImageNet's.
        output, grid: As in `explain`.

    Raises:
        OptionError: `concepts` is not positive, or there are fewer cells or channels.
        UnknownNameError, LayerError, ModelError, InputError: As `explain`.
    """
    run = cut(model, inputs, layer, classes=classes, output=output, grid=grid)
    activations = run.activations
    cells, channels = activations[:, 0].numel(), activations.shape[1]
    if not 1 <= concepts <= min(cells, channels):
        raise OptionError(
            f"concepts is {concepts}; from 1 to {min(cells, channels)} was expected at "
            f"{run.layer!r}, which has {cells} cells of {channels} channels."
        )
    samples = at_least_float32(activations)
    if not samples.isfinite().all():
        raise InputError(
            f"The activations of {run.layer!r} hold values that are NaN or infinite, so they have "
            "no concepts. Check the weights; in float16 values overflow."
        )
    maps, found = spectral.factorize_activations(samples, concepts)
    rebuilt = torch.einsum("br...,rk->bk...", maps, found)
    error = float((samples.relu() - rebuilt).norm() / samples.relu().norm())
    strongest, image = maps.flatten(2).amax(2).max(0)  # of each concept, and in which image
    grid = activations.shape[2:]
    full = (found * strongest[:, None]).reshape(concepts, channels, *[1] * len(grid))
    with torch.no_grad():
        found_output = run.head(full.expand(-1, -1, *grid).to(activations.dtype), rows=image)
    logits = class_logits(found_output, output)
    names = names_for(logits.shape[1], classes)
    best = logits.topk(min(3, logits.shape[1]), dim=1).indices.tolist()
    labels = tuple(tuple(label_of(i, names) for i in row) for row in best)
    return Factorization(maps, found, logits, labels, error, run.layer, run.image)
