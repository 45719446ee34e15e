"""The frames of video files."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from limelight.errors import MissingPackageError, PhotoError
from limelight.photos.decode import check_file, photo_errors
from limelight.photos.memory import PHOTO_BYTES, PhotoSize
from limelight.photos.opened import OpenedPicture, OpenedRaster, Stack, StackEndError
from limelight.photos.raster import Numbers, Photo, Raster

if TYPE_CHECKING:
    from fractions import Fraction

    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

#: The formats that may be read. Others name further files, or addresses.
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegvideo,mpegts,m4v"

#: Those whose times tell one frame from another, so that a frame is found without all before it.
_TIMED = ("mov", "matroska")


@dataclass
class VideoFile(Stack):
    """The frames of a video file, decoded one after the other as they are opened.

    Attributes:
        path: The file.
        count: How many frames it holds.
        fps: How many of them a second has, on average.
        size: The size of a frame, upright.
        times: When each frame is shown, in seconds from the first.
        stamps: The same in the file's own unit; none where that does not tell frames apart.
        starts: The frames that are coded without others.
        cut: Whether the file ends before it should.
    """

    path: Path
    count: int
    fps: float | None
    size: PhotoSize
    times: Sequence[float]
    stamps: Sequence[int]
    starts: Sequence[int]
    cut: bool
    _reading: Lock = field(default_factory=Lock, repr=False)
    _reader: _Reader | None = field(default=None, repr=False)

    def time(self, number: int) -> float | None:
        """Return when a frame is shown, in seconds from the first."""
        return self.times[number] if number < len(self.times) else None

    @property
    def listed(self) -> int:
        """How many paths there are: one for each frame, and one for the error of a cut file."""
        return self.count + self.cut

    def open(self, number: int) -> OpenedPicture:
        """Decode one frame. The next one is at hand then; others are looked for.

        Raises:
            StackEndError: The video is damaged there, or cut short before.
        """
        frame = self._frame(number)
        turned = _turns(frame) % 2 == 1
        size = (frame.height, frame.width) if turned else (frame.width, frame.height)
        taken = 12 * frame.width * frame.height  # as coded, in RGB, and turned
        return _OpenedFrame(self.path_of(number), PhotoSize(*size), taken, frame)

    def open_whole(self, frames: int | None = None) -> OpenedPicture:
        """Decode evenly spaced frames, or all, as a volume `[T, H, W, 3]`."""
        numbers = list(range(self.count))
        if frames is not None and frames < self.count:
            numbers = np.linspace(0, self.count - 1, frames).round().astype(int).tolist()
        taken = 3 * len(numbers) * self.size.width * self.size.height
        if 2 * taken > PHOTO_BYTES:
            raise PhotoError(
                f"{len(numbers)} frames of {str(self.path)!r} take {taken / 1e9:.1f} GB; at most "
                f"{PHOTO_BYTES / 2e9:.1f} GB are read as one. Take fewer frames, by a Preprocess "
                "whose resize says how many, (16, 224, 224), or make it smaller first."
            )
        pictures = [_numbers(self._frame(number)) for number in numbers]
        if len({picture.shape for picture in pictures}) > 1:
            raise PhotoError(f"The frames of {str(self.path)!r} change their size.")
        values = np.stack(pictures)
        volume = Raster(values, _span(values))
        return OpenedRaster(self.path, self.size, 3 * taken, lambda: volume)

    def _frame(self, number: int) -> VideoFrame:
        """Return a frame as it is coded."""
        with self._reading:
            if self._reader is None or not self._go_to(self._reader, number):
                self._restart()
            assert self._reader is not None
            return self._reader.frame(number)

    def _go_to(self, reader: _Reader, number: int) -> bool:
        """Go near a frame, and return whether it is still ahead; else it is read from the start."""
        known = number < len(self.stamps)
        start = self.starts[max(0, bisect_right(self.starts, number) - 1)] if known else 0
        if reader.next <= number and start <= reader.next:
            return True
        return known and reader.seek(start)

    def _restart(self) -> None:
        if self._reader is not None:
            self._reader.container.close()
        self._reader = _Reader(self.path, self.count, self.stamps)


class _Reader:
    """A video file that is being decoded.

    Attributes:
        next: The number of the frame that comes next.
    """

    def __init__(self, path: Path, count: int, stamps: Sequence[int]) -> None:
        """Begin with the first frame."""
        self.path, self.count, self.stamps = path, count, stamps
        self.container, self.stream = _open(path)
        self.stream.thread_type = "AUTO"
        # A frame that is damaged in part would else be handed out with the damage patched over.
        self.stream.codec_context.options = {"err_detect": "explode"}
        self.frames: Iterator[VideoFrame] = self.container.decode(self.stream)
        self.next = 0

    def seek(self, start: int) -> bool:
        """Go to a frame that is coded without others, or before; return whether it is found."""
        with suppress(Exception):
            self.container.seek(self.stamps[start], stream=self.stream)
            self.frames = self.container.decode(self.stream)
            first = next(self.frames)
            assert first.pts is not None
            self.next = bisect_left(self.stamps, first.pts)
            self.frames = chain([first], self.frames)
            return self.next <= start and self.stamps[self.next] == first.pts
        return False

    def frame(self, number: int) -> VideoFrame:
        """Return a frame, decoding those before.

        Raises:
            StackEndError: The video is damaged there, or cut short before.
        """
        while True:
            try:
                with video_errors(self.path):
                    frame = next(self.frames, None)
            except PhotoError:
                frame = None
            if frame is None or frame.is_corrupt or not self._is_next(frame):
                raise StackEndError(
                    f"{str(self.path)!r} is damaged or cut short: frame {self.next + 1} cannot be "
                    f"decoded. The {self.next} before it can; those behind it are left out. Save "
                    "or download it again."
                )
            self.next += 1
            if self.next > number:
                return frame

    def _is_next(self, frame: VideoFrame) -> bool:
        return not self.stamps or (
            self.next < len(self.stamps) and frame.pts == self.stamps[self.next]
        )


@contextmanager
def video_errors(path: Path) -> Iterator[None]:
    """Raise a PhotoError in place of the errors of the decoder."""
    with photo_errors(path):
        try:
            yield
        except (PhotoError, MissingPackageError, MemoryError):
            raise
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            raise
        except Exception as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise PhotoError(
                f"{str(path)!r} is no video that can be read ({reason}). The file is damaged or "
                "cut short; save or download it again."
            ) from None


def open_video(path: Path) -> VideoFile:
    """Open a video file, and count its frames; the first alone is decoded.

    Raises:
        MissingPhotoError: There is no such file.
        PhotoError: It is damaged, holds no video, or PyAV is not installed.
    """
    with video_errors(path):
        check_file(path)
        container, stream = _open(path)
        with container:
            packets, whole = _packets(container, stream)
            if not packets:
                raise PhotoError(f"{str(path)!r} holds no frame of a video.")
            shown = [packet for packet in packets if not packet.dropped]
            stamps = sorted(packet.stamp for packet in shown if packet.stamp is not None)
            known = len(set(stamps)) == len(shown)
            keys = {packet.stamp for packet in shown if packet.key}
            starts = [number for number, stamp in enumerate(stamps) if stamp in keys]
            timed = known and bool(starts) and container.format.name.startswith(_TIMED)
            rate = stream.average_rate or stream.guessed_rate
            video = VideoFile(
                path,
                len(shown),
                float(rate) if rate else None,
                PhotoSize(stream.width, stream.height),
                times=_times(stamps if known else [], stream.time_base),
                stamps=stamps if timed else [],
                starts=starts if timed else [],
                cut=not whole or stream.frames > len(packets),
            )
    video.size = video.open(0).size  # turned as the frames say
    return video


class _Packet(NamedTuple):
    """A coded frame: when it is shown, whether it needs no others, and whether it is left out."""

    stamp: int | None
    key: bool
    dropped: bool


def _packets(container: InputContainer, stream: VideoStream) -> tuple[list[_Packet], bool]:
    """Return the coded frames, and whether the file could be read to its end."""
    packets = list[_Packet]()
    try:
        for packet in container.demux(stream):
            if packet.size:
                packets.append(_Packet(packet.pts, packet.is_keyframe, packet.is_discard))
    except Exception:  # the frames before can be read
        return packets, False
    return packets, True


def _times(stamps: Sequence[int], unit: Fraction | None) -> list[float]:
    """Return sorted stamps in seconds from the first."""
    return [float((stamp - stamps[0]) * unit) for stamp in stamps] if unit else []


def _open(path: Path) -> tuple[InputContainer, VideoStream]:
    """Open a video file at its first frame.

    Raises:
        PhotoError: It holds no video.
        MissingPackageError: PyAV is not installed.
    """
    import av

    container = av.open(
        f"file:{path}", options={"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
    )
    streams = container.streams.video
    if not streams:
        container.close()
        raise PhotoError(f"{str(path)!r} holds no video.")
    best = container.streams.best("video")
    return container, next(stream for stream in streams if stream is best)


@dataclass
class _OpenedFrame(OpenedPicture):
    """A frame that is decoded, and not in RGB yet."""

    path: Path
    size: PhotoSize
    bytes: int
    frame: VideoFrame

    def decode(self) -> Photo:
        """Return the frame, upright."""
        with video_errors(self.path):
            return _photo(_numbers(self.frame))


def _numbers(frame: VideoFrame) -> Numbers:
    """Return a frame, upright: RGB of 8 bits, or grey of 16 where the video has more than 8."""
    name = frame.format.name
    deep = name.startswith("gray") and name not in ("gray", "gray8")
    numbers: Numbers = frame.to_ndarray(format="gray16le" if deep else "rgb24")
    if deep:
        numbers = numbers[..., None]
    return np.ascontiguousarray(np.rot90(numbers, _turns(frame)))


def _turns(frame: VideoFrame) -> int:
    """Return how often a frame is turned by 90 degrees, against the clock, to be upright."""
    return round(frame.rotation / 90) % 4


def _span(values: Numbers) -> tuple[float, float]:
    """Return what is black and white, the same for all frames of a video."""
    return 0.0, float(np.iinfo(values.dtype).max)


def _photo(numbers: Numbers) -> Photo:
    if numbers.dtype == np.uint8:
        return Image.fromarray(numbers)
    return Raster(numbers, _span(numbers))
