"""The colour maps of OpenCV, without OpenCV: equal to its own to one grey level."""

from __future__ import annotations

import operator
from functools import cache
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from limelight.errors import OptionError, unknown

#: A colour map, by the number of an OpenCV constant (`cv2.COLORMAP_JET` is 2) or by name.
Colormap = SupportsIndex | str

#: The names of OpenCV's colour maps, by number.
_NAMES = (
    "autumn",
    "bone",
    "jet",
    "winter",
    "rainbow",
    "ocean",
    "summer",
    "spring",
    "cool",
    "hsv",
    "pink",
    "hot",
    "parula",
    "magma",
    "inferno",
    "plasma",
    "viridis",
    "cividis",
    "twilight",
    "twilight_shifted",
    "turbo",
    "deepgreen",
)


#: Red, green and blue of the maps that differ from matplotlib's of that name, or that it lacks. The
#: knots, between which a channel is linear: `value:brightness`, both 0 to 255.
_KNOTS: dict[str, tuple[str, str, str]] = {
    "jet": (
        "95:0 96:2 159:254 160:255 223:255 225:248 255:128",
        "32:0 95:252 96:255 159:255 161:248 223:0",
        "0:128 31:252 32:255 95:255 96:254 158:6 159:1 161:0",
    ),
    "rainbow": (
        "101:255 106:235 151:11 154:0 203:1 208:13 255:170",
        "0:0 101:252 109:255 151:254 154:250 202:10 207:0",
        "0:0 151:1 154:5 202:245 207:255",
    ),
    "ocean": (
        "170:0 255:255",
        "85:0 255:255",
        "0:0 255:255",
    ),
    "hsv": (
        "40:255 45:240 85:0 170:0 210:240 215:255",
        "0:0 40:240 45:255 125:255 130:240 170:0",
        "85:0 125:240 130:255 210:255 215:240 255:0",
    ),
    "pink": (
        "0:0 4:40 11:66 20:89 35:118 61:156 96:195 213:241 255:255",
        "0:0 4:26 12:45 27:68 62:103 97:130 129:172 174:218 194:234 255:255",
        "0:0 4:26 12:45 27:68 62:103 113:139 192:182 231:230 255:255",
    ),
    "hot": (
        "0:0 101:252 109:255",
        "101:0 115:32 203:252 209:255",
        "202:0 207:15 255:255",
    ),
    "parula": (
        "0:53 32:3 64:20 96:7 128:57 161:150 192:218 224:252 255:249",
        "0:42 33:100 97:168 131:186 162:191 192:186 224:207 255:251",
        "0:135 32:225 96:198 161:114 198:78 228:41 255:14",
    ),
    "deepgreen": (
        "170:0 255:255",
        "0:0 255:255",
        "85:0 255:255",
    ),
}


def colour_table(colormap: Colormap) -> npt.NDArray[np.uint8]:
    """Return the colours of a colour map for the values 0 to 255, RGB, `[256, 3]`.

    Args:
        colormap: The number of an OpenCV colour map, 0 to 21; or a name: OpenCV's map of that name,
            else matplotlib's.

    Raises:
        OptionError: OpenCV has no colour map of that number.
        UnknownNameError: Neither OpenCV nor matplotlib has a colour map of that name.
    """
    if isinstance(colormap, str):
        return _table(colormap)
    try:
        number = operator.index(colormap)
    except TypeError:
        number = -1
    if not 0 <= number < len(_NAMES):
        raise OptionError(
            f"The colour map is {colormap!r}; a number of OpenCV's from 0 to {len(_NAMES) - 1} "
            "(COLORMAP_JET is 2) was expected, or a name as in 'jet'."
        )
    return _table(_NAMES[number])


@cache
def _table(name: str) -> npt.NDArray[np.uint8]:
    """Return the colours of a colour map by its name, `[256, 3]`."""
    values = np.arange(256)
    if name in _KNOTS:
        channels = [[knot.split(":") for knot in knots.split()] for knots in _KNOTS[name]]
        each = [np.interp(values, *np.array(knots, dtype=float).T) for knots in channels]
        return _grey_levels(np.stack(each, axis=1))
    from matplotlib import colormaps

    if name not in colormaps:
        raise unknown("colour map", name, [*_NAMES, *colormaps], "'jet' and 'viridis' are some.")
    # Some of matplotlib's tables have more than 256 colours; these places are the middles.
    return _grey_levels(255 * colormaps[name]((values + 0.5) / 256)[:, :3])


def _grey_levels(colours: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Round colours to whole grey levels, in a table that nobody writes on."""
    table: npt.NDArray[np.uint8] = np.rint(colours).astype(np.uint8)
    table.setflags(write=False)
    return table
