"""Which network made an explanation: what its maps do not show."""

from __future__ import annotations

from dataclasses import dataclass

from limelight.methods.tiles import Tiles
from limelight.methods.views import Views
from limelight.models.network import Model, Network
from limelight.photos.preprocess import Preprocess
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
        tiles: The windows, if the pictures were explained by tiles.
    """

    model: str
    parameters: int
    name: str = ""
    weights: str = ""
    preprocess: Preprocess | None = None
    tiles: Tiles | None = None

    @classmethod
    def of(cls, model: Model, views: Views | Tiles | None = None) -> Provenance:
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
            views if isinstance(views, Tiles) else None,
        )
