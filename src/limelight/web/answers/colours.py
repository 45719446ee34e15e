"""The colours that the page draws maps in."""

from __future__ import annotations

from base64 import b64encode
from functools import cache

import numpy as np

from limelight.render.maps import SEQUENTIAL, SIGNED
from limelight.render.overlays import colours_of

#: The colour maps that are offered, for heat and for signed maps.
_HEAT = (SEQUENTIAL, "viridis", "magma", "cividis", "turbo", "gray")
_SIGNED = (SIGNED, "coolwarm", "PuOr_r")


@cache
def colormaps() -> dict[str, dict[str, str]]:
    """Return for `heat` and `signed` the colours of each colour map.

    They are 256 colours from the lowest to the highest value, RGB, as base64.
    """
    return {
        "heat": {name: packed_colours(name) for name in _HEAT},
        "signed": {name: packed_colours(name) for name in _SIGNED},
    }


def packed_colours(name: str) -> str:
    """Return 256 colours of a colour map from its lowest to its highest, RGB, as base64.

    Raises:
        UnknownNameError: There is no such colour map.
    """
    values = np.linspace(0, 1, 256, dtype=np.float32)[None]
    colours = np.rint(255 * colours_of(values, name)).astype(np.uint8)
    return b64encode(colours.tobytes()).decode()
