"""How an explanation was made, to make it again on other images or with another model."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace
from typing import Any

from limelight.methods import Method
from limelight.methods.fusing import Fusion
from limelight.options import Options
from limelight.targets import ScoreTarget


@dataclass(frozen=True, slots=True)
class Part:
    """How one map was made.

    Attributes:
        target: What was explained.
        method: The row of METHODS, with its options.
        layer: The layer's dotted path, or `INPUT`.
        options: All else that `explain` was asked.
    """

    target: ScoreTarget
    method: Method
    layer: str
    options: Options


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an explanation was made, so that it can be made again for other images.

    Attributes:
        parts: How each map was made; there are several if they were fused.
        fuse: How they were fused.
    """

    parts: tuple[Part, ...]
    fuse: Fusion = "mean"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the recipe, or None if it cannot be pickled, as with a lambda."""
        try:
            pickle.dumps(self.parts)
        except Exception:  # pickle raises nearly anything
            return _nothing, ()
        return Recipe, (self.parts, self.fuse)

    def of_image(self, image: int, axes: int) -> Recipe:
        """Return the recipe for one image of the batch."""
        parts = (replace(part, target=part.target.of_image(image, axes)) for part in self.parts)
        return replace(self, parts=tuple(parts))


def _nothing() -> None:
    """Return None: unpickling gives this for a recipe that could not be pickled."""
