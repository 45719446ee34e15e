"""Sample photos for a first try, from the wheel of scikit-image."""

from __future__ import annotations

from pathlib import Path

from limelight.errors import unknown

SAMPLES = {"chelsea": "a cat", "coffee": "a cup of espresso"}


def find_sample(name: str) -> Path:
    """Return the path of a sample photo.

    Raises:
        UnknownNameError: There is no such sample.
    """
    if name not in SAMPLES:
        raise unknown("sample photo", name, SAMPLES, f"There are {', '.join(SAMPLES)}.")
    import skimage

    return Path(skimage.__file__).parent / "data" / f"{name}.png"
