"""Which network made an explanation: what its maps do not show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from limelight.methods.tiles import Tiles
from limelight.models.network import Model, Network
from limelight.photos.preprocess import Preprocess
from limelight.recipe import Recipe
from limelight.runtime.unwrap import unwrap


@dataclass(frozen=True, slots=True)
class Provenance:
    """Which network made an explanation.

    Attributes:
        model: The class of the network, with its module.
        parameters: How many parameters it has.
        name: The name of the `Network` that was explained; "" for a plain module.
        weights: Where its weights come from, in words; "" for a plain module.
        preprocess: How it makes its input from a photo; None for a plain module.
        classes: The names of its classes; None where they are not known, and for a plain module.
        tiles: The windows, if the pictures were explained by tiles.
        of_windows: How each window was explained, if so; None where that is not known.
    """

    model: str
    parameters: int
    name: str = ""
    weights: str = ""
    preprocess: Preprocess | None = None
    classes: Sequence[str] | None = None
    tiles: Tiles | None = None
    of_windows: Recipe | None = None

    @classmethod
    def of(cls, model: Model) -> Provenance:
        """Return what is known of a network; its weights are not read, which would take long."""
        network = model if isinstance(model, Network) else None
        module = unwrap(network.model if network else model)  # type: ignore[arg-type]
        kind = type(module)
        return cls(
            f"{kind.__module__}.{kind.__qualname__}",
            sum(weight.numel() for weight in module.parameters()),
            network.name if network else "",
            network.weights if network else "",
            network.preprocess if network else None,
            network.classes if network else None,
        )

    def with_windows_of(self, before: Provenance | None) -> Provenance:
        """Return the same with the windows that an explanation knows of, if it knows any."""
        if before is None:
            return self
        return replace(self, tiles=before.tiles, of_windows=before.of_windows)

    def of_image(self, image: int, axes: int) -> Provenance:
        """Return what is known of one image of the batch."""
        windows = self.of_windows
        return self if windows is None else replace(self, of_windows=windows.of_image(image, axes))
