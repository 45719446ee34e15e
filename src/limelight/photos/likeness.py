"""Whether a picture shows what the network was given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from limelight.photos.crops import CroppedPhoto

if TYPE_CHECKING:
    from torch import Tensor

#: The lowest likeness of a photo to an input that was made from it. Tried on 76 photos under nine
#: preprocessings (crops, squashes, borders, 32 to 320 pixels, grey). The right part of the photo
#: had at least 0.71, and all but 1 in 100 at least 0.93: as it is, as a JPEG of quality 20, reduced
#: to a quarter, in other interpolations, grey, blurred, at twice the contrast, at gamma 0.5 and 2;
#: 10260 pictures. Below it were the whole photo in place of its crop, 499 of 502 times where the
#: crop was less than four fifths of it or had a border, 18 of 24 times where it was more; another
#: photo, 684 of 684; the mirrored photo, 672 of 684, as some photos are symmetrical.
LEAST_LIKENESS = 0.7


#: The longer side of what is compared, in cells: interpolations and JPEG change little there.
_CELLS = 32


#: A picture whose neighbouring cells differ by less, in grey levels of 255, has no structure.
_LEAST_STRUCTURE = 0.5


def likeness(cropped: CroppedPhoto, image: Tensor | npt.NDArray[Any]) -> float | None:
    """Return how much a photo, cropped to its box, resembles a network's input `[C, H, W]`.

    Both become grey and are reduced to at most 32 x 32 cells. The likeness is the correlation of
    the differences between neighbouring cells, in [-1, 1]. Differences show a shift or a stretch
    that the light and dark of two photos do not.

    None when that cannot be told: the input is no picture of one or three channels, or one of the
    two has no structure.
    """
    if image.ndim != 3 or len(image) not in (1, 3):
        return None
    pixels = image if isinstance(image, np.ndarray) else image.detach().float().cpu().numpy()
    grey = pixels.mean(0)
    if not np.isfinite(grey).all():
        return None
    height, width = grey.shape
    scale = min(1, _CELLS / max(height, width))
    size = max(2, round(width * scale)), max(2, round(height * scale))
    small = cropped.reduced(8 * _CELLS).view().convert("RGB")
    shown = _differences(np.asarray(small.resize(size, _FILTER), dtype=np.float64).mean(2))
    given = _differences(np.asarray(Image.fromarray(grey).resize(size, _FILTER)))
    least = 1e-4 * float(abs(grey).max())
    if _root_mean_square(shown) < _LEAST_STRUCTURE or _root_mean_square(given) <= least:
        return None
    return float(np.corrcoef(shown, given)[0, 1])


_FILTER = Image.Resampling.BILINEAR

_Cells = npt.NDArray[np.float64]


def _differences(cells: npt.NDArray[np.floating]) -> _Cells:
    """Return the differences between neighbours along both axes, as one row."""
    differences = (np.diff(cells.astype(np.float64), axis=axis).ravel() for axis in (0, 1))
    return np.concatenate(list(differences))


def _root_mean_square(values: _Cells) -> float:
    return float(np.sqrt(np.mean(values**2)))
