"""The folder of a run: on this machine, or at a URL."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import IO, TYPE_CHECKING, Any
from uuid import uuid4

from limelight.audits.data.urls import filesystem_of, is_url, reason, without_secrets
from limelight.errors import OptionError, OutputError
from limelight.files import remove_file, write_whole
from limelight.lock import only_run
from limelight.plain import as_json

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

#: What the names of files begin with that are not whole yet.
_PART = ".limelight-"

#: The file by which a run at a URL says that it is going on, every so many seconds; after so many
#: without a sign it is taken for dead.
_SIGN, _SIGN_SECONDS, _DEAD_SECONDS = ".limelight-run.json", 20.0, 90.0


@dataclass(frozen=True)
class LocalFolder:
    """A folder on this machine.

    Attributes:
        path: The folder.
    """

    path: Path

    def __str__(self) -> str:
        """Return its path."""
        return str(self.path)

    def write(self, name: str, data: bytes) -> str:
        """Write a file whole or not at all, so that it outlives a crash; return its path.

        Raises:
            OutputError: It cannot be written.
        """

        def write(file: IO[bytes]) -> None:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

        return str(write_whole(self.path / name, write))

    def read(self, name: str) -> bytes:
        """Return what a file holds.

        Raises:
            OptionError: It cannot be read.
        """
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise _unreadable(str(self.path / name), error.strerror or str(error)) from error

    def names(self, prefix: str = "") -> list[str]:
        """Return the names of the files that begin with a prefix, sorted; none of a missing folder.

        The prefix may name a folder in this one, as in `rows/part`; no files of deeper ones.
        """
        inside, _, start = prefix.rpartition("/")
        folder = self.path / inside
        try:
            files = [entry.name for entry in os.scandir(folder) if entry.is_file()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise _unreadable(str(folder), error.strerror or str(error)) from error
        return _named(files, inside, start)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there.

        Raises:
            OutputError: It cannot be removed.
        """
        remove_file(self.path / name)

    @contextmanager
    def only_run(self) -> Iterator[None]:
        """Keep other runs from the folder while the block runs; remove what killed runs left.

        Raises:
            OutputError: Another run writes it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = error.strerror or str(error)
            if isinstance(error, FileExistsError):
                why = "it is a file, and a folder was expected"
            raise OutputError(
                f"Cannot write {str(self.path)!r}: {why}. Pass another folder."
            ) from error
        with only_run(self.path / "rows"):
            for left in [*self.path.glob(f"{_PART}*"), *self.path.glob(f"*/{_PART}*")]:
                with suppress(OSError):
                    left.unlink()
            yield


@dataclass(frozen=True)
class RemoteFolder:
    """A folder at a URL, through fsspec.

    Attributes:
        url: The URL, as it may be shown.
        filesystem: Where it is.
        root: Its path there.
    """

    url: str
    filesystem: AbstractFileSystem
    root: str

    @classmethod
    def of(cls, url: str) -> RemoteFolder:
        """Open a URL.

        Raises:
            OptionError: It cannot be opened.
        """
        return cls(without_secrets(url).rstrip("/"), *filesystem_of(url))

    def __str__(self) -> str:
        """Return its URL."""
        return self.url

    def write(self, name: str, data: bytes) -> str:
        """Write a file under a temporary name, then move it into place; return its URL.

        Raises:
            OutputError: It cannot be written.
        """
        path = f"{self.root}/{name}"
        folder, _, last = path.rpartition("/")
        temporary = f"{folder}/{_PART}{uuid4().hex}-{last}"
        try:
            self.filesystem.makedirs(folder, exist_ok=True)
            self.filesystem.pipe_file(temporary, data)
            self.filesystem.mv(temporary, path)
        except Exception as error:  # each file system raises its own errors
            with suppress(Exception):
                self.filesystem.rm_file(temporary)
            raise OutputError(
                f"Cannot write {f'{self.url}/{name}'!r}: {reason(error)}. Pass another folder."
            ) from None
        return f"{self.url}/{name}"

    def read(self, name: str) -> bytes:
        """Return what a file holds.

        Raises:
            OptionError: It cannot be read.
        """
        try:
            data: bytes = self.filesystem.cat_file(f"{self.root}/{name}")
        except Exception as error:  # each file system raises its own errors
            raise _unreadable(f"{self.url}/{name}", reason(error)) from None
        return data

    def names(self, prefix: str = "") -> list[str]:
        """Return the names of files as `LocalFolder.names` does."""
        inside, _, start = prefix.rpartition("/")
        folder = f"{self.root}/{inside}".rstrip("/")
        try:
            self.filesystem.invalidate_cache()
            entries = self.filesystem.ls(folder, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except Exception as error:  # each file system raises its own errors
            raise _unreadable(f"{self.url}/{inside}", reason(error)) from None
        files = [entry["name"] for entry in entries if entry["type"] == "file"]
        return _named([str(file).rpartition("/")[2] for file in files], inside, start)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there.

        Raises:
            OutputError: It cannot be removed.
        """
        try:
            self.filesystem.rm_file(f"{self.root}/{name}")
        except FileNotFoundError:
            return
        except Exception as error:  # each file system raises its own errors
            raise OutputError(f"Cannot remove {f'{self.url}/{name}'!r}: {reason(error)}.") from None

    @contextmanager
    def only_run(self) -> Iterator[None]:
        """Keep other runs from the folder while the block runs.

        No lock holds across machines, so a run writes a sign of life every 20 seconds, and one
        without a sign for 90 seconds is taken for dead.

        Raises:
            OutputError: Another run writes it, or the sign cannot be written.
        """
        own, ended = uuid4().hex, Event()
        self._refuse_running(own)
        self._sign(own)
        self._refuse_running(own)  # two may have begun at once

        def sign_on() -> None:
            while not ended.wait(_SIGN_SECONDS):
                with suppress(OutputError):  # the rows will tell of a lasting fault
                    self._sign(own)

        thread = Thread(target=sign_on, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            with suppress(OutputError):
                self.remove(_SIGN)

    def _sign(self, own: str) -> None:
        sign = {"run": own, "machine": socket.gethostname(), "time": time.time()}
        self.write(_SIGN, as_json(sign).encode())

    def _refuse_running(self, own: str) -> None:
        """Refuse to write where another run has given a sign of life.

        Raises:
            OutputError: One has.
        """
        try:
            sign: dict[str, Any] = json.loads(self.read(_SIGN))
            age = time.time() - float(sign["time"])
        except (OptionError, ValueError, KeyError, TypeError):
            return
        if sign.get("run") != own and age < _DEAD_SECONDS:
            raise OutputError(
                f"{self.url!r} is being written by another run, on {sign.get('machine')}. Wait "
                "until that is done; the same request then takes up what it wrote. If it was "
                f"killed, wait {_DEAD_SECONDS - age:.0f} seconds. Or pass another folder."
            )


#: The folder of a run.
OutputFolder = LocalFolder | RemoteFolder


def open_folder(place: str | Path) -> OutputFolder:
    """Return the folder at a path or a URL; it is made when something is written.

    Raises:
        OptionError: The URL cannot be opened.
    """
    if is_url(str(place)):
        return RemoteFolder.of(str(place))
    return LocalFolder(Path(str(place).removeprefix("file://")))


def _named(files: list[str], inside: str, start: str) -> list[str]:
    """Return the names in a folder that begin with a text, without locks and parts of files."""
    whole = [name for name in files if name.startswith(start) and not name.startswith(".")]
    return sorted(f"{inside}/{name}" if inside else name for name in whole)


def _unreadable(name: str, why: str) -> OptionError:
    return OptionError(f"{name!r} cannot be read: {why}. Pass the folder of an audit.")
