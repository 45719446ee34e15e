"""Pictures that are opened and not decoded yet, alone or several in a file.

Each picture of a file that holds several has a path beneath the file: the twelfth of `clip.mp4`
is `clip.mp4/clip-0012`.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from limelight.errors import PhotoError
from limelight.photos.memory import PHOTO_BYTES, PhotoSize
from limelight.photos.raster import Photo, Raster


class StackEndError(PhotoError):
    """A picture of a stack cannot be read, nor any behind it."""


class OpenedPicture(ABC):
    """A picture whose size is known and whose pixels are not decoded yet.

    Attributes:
        path: The path that it was opened by.
        size: Its size once it is upright.
        bytes: The most bytes that it takes to decode it.
    """

    path: Path
    size: PhotoSize
    bytes: int

    @abstractmethod
    def decode(self) -> Photo:
        """Return the picture, and close its file; this is called once.

        Raises:
            PhotoError: It is damaged.
        """

    def close(self) -> None:  # noqa: B027 - most files are not kept open
        """Close the file of a picture that is not decoded."""


class Stack(ABC):
    """A file or a folder that holds several pictures: slices of a volume, or frames of a film.

    Attributes:
        path: The file or the folder.
        count: How many pictures it holds.
        fps: How many frames of a video a second has; None for other pictures.
    """

    path: Path
    count: int
    fps: float | None

    @abstractmethod
    def open(self, number: int) -> OpenedPicture:
        """Open one picture, from 0 on.

        Raises:
            PhotoError: It cannot be read.
        """

    @abstractmethod
    def open_whole(self, frames: int | None = None) -> OpenedPicture:
        """Open all pictures as one volume.

        Args:
            frames: Of a video so many frames are taken, evenly spaced; None for all.

        Raises:
            PhotoError: They cannot be read, or are too many.
        """

    def time(self, number: int) -> float | None:  # noqa: ARG002 - a video knows more
        """Return when a frame is shown, in seconds; None for pictures that are no frames."""
        return None

    @property
    def listed(self) -> int:
        """How many paths there are: one for each picture."""
        return self.count

    def paths(self) -> list[Path]:
        """Return the path of each picture; names count from 1, and sort."""
        return list(map(self.path_of, range(self.listed)))

    def path_of(self, number: int) -> Path:
        """Return the path of a picture, from 0 on."""
        stem = self.path.name if self.path.is_dir() else self.path.stem.removesuffix(".nii")
        # A dot would end the stem of the pictures' own names.
        stem, digits = stem.replace(".", "_"), len(str(self.listed))
        return self.path / f"{stem}-{number + 1:0{digits}}"


def split_path(path: Path) -> tuple[Path, int] | None:
    """Return the file and the number, from 0 on, of a picture in a stack; None for other paths."""
    numbered = re.fullmatch(r".+-(\d+)", path.name)
    if numbered is None or int(numbered[1]) == 0 or os.path.exists(path):
        return None
    return path.parent, int(numbered[1]) - 1


@dataclass
class VolumeFile(Stack):
    """A volume `[D, H, W, C]` in a file or a folder.

    Attributes:
        shape: Its shape, known without its values.
        itemsize: The bytes of each value.
        load: Reads the volume.
        fps: How many slices a second has, where they are frames.
    """

    path: Path
    shape: tuple[int, ...]
    itemsize: int
    load: Callable[[], Raster]
    fps: float | None = None
    _volume: Raster | None = field(default=None, repr=False)
    _reading: Lock = field(default_factory=Lock, repr=False)

    def __post_init__(self) -> None:
        """Refuse a volume that is too large.

        Raises:
            PhotoError: It is.
        """
        self.count, height, width, channels = self.shape
        self.size = PhotoSize(width, height)
        self.bytes = self.count * height * width * channels * self.itemsize
        if 2 * self.bytes > PHOTO_BYTES:
            raise PhotoError(
                f"{str(self.path)!r} is a volume of {self.count} x {height} x {width} voxels, "
                f"which takes {self.bytes / 1e9:.1f} GB; at most {PHOTO_BYTES / 2e9:.1f} GB are "
                "read as one. Make it smaller first, or explain it as a .npy file with "
                "views=tiles()."
            )

    def volume(self) -> Raster:
        """Return the volume, which is read once."""
        with self._reading:  # slices are decoded in threads
            if self._volume is None:
                self._volume = self.load()
            return self._volume

    def open(self, number: int) -> OpenedPicture:
        """Open one slice, from 0 on."""
        height, width, channels = self.shape[1:]
        path, taken = self.path_of(number), height * width * channels * self.itemsize
        return OpenedRaster(path, self.size, taken, lambda: self.volume().slice(number))

    def open_only(self) -> OpenedPicture:
        """Open the only slice of a volume under the path of the file."""
        return OpenedRaster(self.path, self.size, 3 * self.bytes, lambda: self.volume().slice(0))

    def open_whole(self, frames: int | None = None) -> OpenedPicture:  # noqa: ARG002
        """Open the volume, all of it."""
        return OpenedRaster(self.path, self.size, 3 * self.bytes, self.volume)


@dataclass
class OpenedRaster(OpenedPicture):
    """A volume or a picture in numbers, which is read when it is decoded, or was before."""

    path: Path
    size: PhotoSize
    bytes: int
    read: Callable[[], Raster]

    def decode(self) -> Photo:
        """Return the volume or the picture."""
        return self.read()
