"""Photos of a data set: on this machine, or at URLs from which they are fetched."""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from shutil import rmtree
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import finalize

from limelight.audits.data.named_photos import path_of
from limelight.audits.data.urls import filesystem_of, is_url, reason, without_secrets
from limelight.errors import MissingPhotoError, PhotoError
from limelight.photos.files import SUFFIXES
from limelight.photos.finding import find_photos
from limelight.photos.memory import PHOTO_BYTES
from limelight.photos.natural import natural
from limelight.photos.pictures import load_photo
from limelight.photos.preprocess import Preprocess
from limelight.photos.raster import Photo

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


class _Remote(NamedTuple):
    """The photos at a URL: a file, a folder, or those that a pattern matches.

    Attributes:
        head: What the URLs of its photos begin with, as they may be shown.
        tail: What they end with: "" unless the URL has several steps, as one in an archive.
        filesystem: Where they are.
        root: What their paths there begin with, in place of the head.
        pattern: The pattern of their paths; "" without one.
    """

    head: str
    tail: str
    filesystem: AbstractFileSystem
    root: str
    pattern: str = ""

    @classmethod
    def of(cls, url: str) -> _Remote:
        """Open a URL.

        Raises:
            OptionError: It cannot be opened.
        """
        filesystem, root = filesystem_of(url)
        first, step, rest = without_secrets(url).partition("::")
        if not root:
            return cls(first.partition("://")[0] + "://", step + rest, filesystem, root)
        head = first.rstrip("/")
        if not glob.has_magic(head):
            return cls(head, step + rest, filesystem, root)
        magic = min(root.find(sign) for sign in "*?[" if sign in root)
        folder = root[:magic].rpartition("/")[0]
        head = head.removesuffix(root[len(folder) :])
        return cls(head, step + rest, filesystem, folder, root)

    def photos(self) -> list[str]:
        """Return the URLs of its photos, sorted."""
        if self.pattern:
            files = self.filesystem.glob(self.pattern)
        elif _has_suffix(self.head, SUFFIXES) or not self.filesystem.isdir(self.root):
            return [self.head + self.tail]
        else:
            files = self.filesystem.find(self.root)
        photos = [file for file in files if _has_suffix(file, SUFFIXES)]
        photos = photos or [file for file in files if _has_suffix(file, (".npy",))]
        photos = sorted(map(str, photos), key=lambda file: natural(Path(file)))
        return [f"{self.head}{file[len(self.root) :]}{self.tail}" for file in photos]

    def path(self, photo: str) -> str | None:
        """Return the path of a photo; None for that of another URL."""
        if not (photo.startswith(self.head) and photo.endswith(self.tail)):
            return None
        return self.root + photo[len(self.head) : len(photo) - len(self.tail)]


@dataclass(eq=False)
class PhotoStore:
    """The photos of a data set: files, folders, patterns such as `photos/*.jpg`, and URLs of each.

    Photos at URLs are fetched to temporary files, one for each photo in work. Their names are their
    URLs without passwords and signatures.

    Attributes:
        data: Where the photos are.
    """

    data: Sequence[str]
    _remotes: list[_Remote] | None = field(default=None, repr=False)
    _folder: Path | None = field(default=None, repr=False)
    _files: dict[str, Path] = field(default_factory=dict, repr=False)
    _numbers: count[int] = field(default_factory=count, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Return what goes to another process, where photos are fetched anew."""
        return {"data": self.data}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin in another process."""
        self.__init__(state["data"])  # type: ignore[misc]

    def photos(self) -> list[str]:
        """Return the paths or URLs of the photos: those of each place in natural order.

        Raises:
            MissingPhotoError: There are none.
            PhotoError: A URL cannot be listed.
            OptionError: A URL cannot be opened.
        """
        photos = list[str]()
        for place in self.data:
            found = self._at_url(place) if is_url(place) else _on_this_machine(place)
            if not found:
                raise MissingPhotoError(
                    f"There is no photo at {without_secrets(place)!r}; files ending in "
                    f"{', '.join(sorted(SUFFIXES))} are looked for."
                )
            photos += found
        return list(dict.fromkeys(photos))

    def local(self, photo: str) -> Path:
        """Return a file with a photo; one at a URL is fetched.

        Raises:
            MissingPhotoError, PhotoError: It cannot be fetched, or is too large.
        """
        if not is_url(photo):
            return Path(photo)
        remote, path = self._found(photo)
        file = self._temporary(photo)
        try:
            size = remote.filesystem.size(path)
            if size is not None and size > PHOTO_BYTES:
                raise PhotoError(
                    f"{photo!r} has {size / 1e9:.1f} GB; at most {PHOTO_BYTES / 1e9:.1f} GB are "
                    "fetched as one photo. Make it smaller first."
                )
            remote.filesystem.get_file(path, str(file))
        except FileNotFoundError:
            raise MissingPhotoError(f"There is no file {photo!r}.") from None
        except PhotoError:
            raise
        except Exception as error:  # each file system raises its own errors
            raise PhotoError(f"{photo!r} cannot be fetched: {reason(error)}.") from None
        self._files[photo] = file
        return file

    def done_with(self, photo: str) -> None:
        """Delete the temporary file of a photo, if it has one."""
        file = self._files.pop(photo, None)
        if file is not None:
            file.unlink(missing_ok=True)

    def load(self, photo: str, preprocess: Preprocess) -> Photo:
        """Decode a photo by its path or URL.

        Raises:
            MissingPhotoError, PhotoError: It cannot be fetched or read.
        """
        file = self.local(photo)
        try:
            return load_photo(file, channels=preprocess.channels, frames=preprocess.frames)
        except PhotoError as error:
            raise type(error)(str(error).replace(str(file), photo)) from None
        finally:
            self.done_with(photo)

    def close(self) -> None:
        """Delete all temporary files."""
        if self._folder is not None:
            rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _at_url(self, url: str) -> list[str]:
        remote = _Remote.of(url)
        try:
            return remote.photos()
        except Exception as error:  # each file system raises its own errors
            raise PhotoError(
                f"The photos at {without_secrets(url)!r} cannot be listed: {reason(error)}."
            ) from None

    def _found(self, photo: str) -> tuple[_Remote, str]:
        """Return where a photo is, and its path there."""
        if self._remotes is None:
            self._remotes = [_Remote.of(place) for place in self.data if is_url(place)]
        for remote in self._remotes:
            path = remote.path(photo)
            if path is not None:
                return remote, path
        remote = _Remote.of(photo)
        return remote, remote.root

    def _temporary(self, photo: str) -> Path:
        """Return a path for a photo, with its suffixes, by which files are known."""
        with self._lock:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="limelight-"))
                finalize(self, rmtree, self._folder, ignore_errors=True)
        name = path_of(photo).name
        suffix = name[-7:] if name.lower().endswith(".nii.gz") else path_of(photo).suffix
        return self._folder / f"{next(self._numbers)}{suffix}"


def _has_suffix(file: str, suffixes: Sequence[str] | frozenset[str]) -> bool:
    return file.lower().endswith(tuple(suffixes))


def _on_this_machine(place: str) -> list[str]:
    """Return the photos at a path or a pattern.

    Raises:
        MissingPhotoError: There are none.
    """
    place = place.removeprefix("file://")
    if glob.has_magic(place) and not os.path.exists(place):
        files = sorted(map(Path, glob.glob(place, recursive=True)), key=natural)
        return [str(photo) for photo in find_photos(files)] if files else []
    return [str(photo) for photo in find_photos([place])]
