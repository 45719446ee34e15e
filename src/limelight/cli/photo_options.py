"""Arguments for the photos that a command is given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limelight.errors import OptionError
from limelight.photos.decode import silence_decoders
from limelight.photos.finding import find_photos
from limelight.photos.samples import SAMPLES, find_sample

if TYPE_CHECKING:
    from torch import Tensor

    from limelight.models.network import Network
    from limelight.photos.crops import CroppedPhoto

Photos = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PHOTO...",
        help="Photos and folders of photos, or a sample: " + ", ".join(SAMPLES) + ".",
        show_default=False,
    ),
]

Every = Annotated[
    int,
    typer.Option(
        "--every",
        min=1,
        help="Of a video or a volume, take every Nth picture: 10 takes the 1st, the 11th, ...",
    ),
]

OnePhoto = Annotated[
    str,
    typer.Argument(
        metavar="PHOTO", help="A photo, or a sample's name; without one, the sample 'chelsea'."
    ),
]


def photo_paths(given: Sequence[str] | None) -> list[Path]:
    """Return the paths of the photos that are named; without names, that of the sample 'chelsea'.

    The name of a sample means the sample, unless a file has that name.

    Raises:
        OptionError: The name is that of a method.
    """
    from limelight.methods import METHODS  # with it comes torch

    for name in given or ():
        if name in METHODS and not Path(name).exists():
            raise OptionError(
                f"{name!r} is a method, and there is no photo of that name. Several methods are "
                "one word, with commas: limelight compare PHOTO --methods gradcam,layercam."
            )
    return found_photos(given or ["chelsea"])


def found_photos(given: Sequence[str]) -> list[Path]:
    """Return the paths of the photos that are named, without torch.

    The name of a sample means the sample, unless a file has that name.
    """
    silence_decoders()
    return find_photos(
        find_sample(name) if name in SAMPLES and not Path(name).exists() else name for name in given
    )


def one_photo_path(given: str) -> Path:
    """Return the path of the one photo that is named.

    Raises:
        OptionError: A folder of several photos is named.
    """
    paths = photo_paths([given])
    if len(paths) > 1:
        raise OptionError(f"{given!r} holds {len(paths)} photos; one was expected.")
    return paths[0]


def load_input(path: Path, network: Network) -> tuple[Tensor, list[CroppedPhoto] | None]:
    """Return a photo as the network's input, `[1, C, H, W]`, and as small as a panel shows it.

    The photo itself, which may be large, is not kept. A volume is drawn from the input, without
    photos.

    Raises:
        PhotoError: The photo cannot be read.
    """
    from limelight.render import PANEL_PIXELS  # with it comes matplotlib

    photo = network.load_photo(path)
    if network.preprocess.takes_volumes:
        return network.images(photo), None
    return network.images(photo), [network.preprocess.crop(photo).reduced(PANEL_PIXELS)]
