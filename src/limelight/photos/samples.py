"""Sample photos for a first try, from the wheel of scikit-image."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from limelight.errors import MissingPhotoError, unknown
from limelight.extras import is_installed

SAMPLES = {"chelsea": "a cat", "coffee": "a cup of espresso"}


def samples_are_installed() -> bool:
    """Return whether scikit-image, which brings the sample photos, is installed."""
    return is_installed("skimage")


def find_sample(name: str) -> Path:
    """Return the path of a sample photo.

    Raises:
        UnknownNameError: There is no such sample.
        MissingPhotoError: scikit-image, which brings it, is not installed.
    """
    if name not in SAMPLES:
        raise unknown("sample photo", name, SAMPLES, f"There are {', '.join(SAMPLES)}.")
    package = find_spec("skimage")  # importing it takes longer than finding it
    if package is None or package.origin is None:
        raise MissingPhotoError(
            f"The sample photo {name!r} comes with scikit-image, and it is not installed: "
            "pip install scikit-image, or name a photo of your own."
        )
    return Path(package.origin).parent / "data" / f"{name}.png"
