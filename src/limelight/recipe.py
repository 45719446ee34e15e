"""How an explanation was made, so that it can be made again."""

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
    """What one map was made by: target, method, layer, and what else `explain` was asked for."""

    target: ScoreTarget
    method: Method
    layer: str
    options: Options


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an explanation was made: its parts, fused if there are several."""

    parts: tuple[Part, ...]
    fuse: Fusion = "mean"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the recipe, or nothing where it holds what cannot be pickled: a lambda, say."""
        try:
            pickle.dumps(self.parts)
        except Exception:  # pickle raises nearly anything
            return _nothing, ()
        return Recipe, (self.parts, self.fuse)

    def of_image(self, image: int, axes: int) -> Recipe:
        """Return the recipe for one image of the batch alone."""
        parts = (replace(one, target=one.target.of_image(image, axes)) for one in self.parts)
        return replace(self, parts=tuple(parts))


def _nothing() -> None:
    """Return what is left of a recipe that could not be pickled."""
