"""A model with what is needed to show it a photo and to read its answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL.Image import Image
from torch import Tensor, nn

from limelight.photos.preprocess import Preprocess

DEFAULT = "efficientnet-lite0"


@dataclass(frozen=True, slots=True)
class Network:
    """A model with what is needed to show it a photo and to read its answer.

    Attributes:
        name: What it was asked for as.
        model: The network, in evaluation mode.
        preprocess: From a photo to its input.
        classes: The names of its classes, None when they are not known.
        weights: Where its weights come from, in words.
    """

    name: str
    model: nn.Module
    preprocess: Preprocess = field(default_factory=Preprocess)
    classes: tuple[str, ...] | None = None
    weights: str = "as the model was given"

    def images(self, photo: Image) -> Tensor:
        """Return a photo as the model takes it, `[1, C, H, W]`, on its device and in its type."""
        image = self.preprocess(photo)[None]
        return image.to(next(self.model.parameters(), image))
