"""Videos: every frame is the right one, however it is reached."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import nn

import limelight
from limelight.errors import MissingPhotoError, PhotoError
from limelight.photo_pipeline import PhotoResult, explain_photos
from limelight.photos.opened import Stack
from limelight.photos.pictures import each_picture, open_picture, open_stack
from limelight.photos.preprocess import Preprocess
from limelight.photos.raster import Raster

Array = npt.NDArray[np.uint8]


def pictures(count: int, height: int, width: int) -> list[Array]:
    """Return distinct pictures of large, even blocks, which codecs keep."""
    rng = np.random.default_rng(0)
    down, across = -(-height // 8), -(-width // 8)
    blocks = [rng.integers(0, 256, (down, across, 3), dtype="uint8") for _ in range(count)]
    return [block.repeat(8, 0).repeat(8, 1)[:height, :width] for block in blocks]


def write(
    path: Path,
    frames: Sequence[Array],
    codec: str = "libx264",
    *,
    times: Sequence[int] | None = None,
    pix_fmt: str = "yuv420p",
    **options: str,
) -> Path:
    """Write a video of 25 frames a second, or of times in milliseconds."""
    height, width = frames[0].shape[:2]
    with av.open(path, "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = height, width, pix_fmt
        if times is not None:
            stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(
                pixels, format="rgb24" if pixels.ndim == 3 else "gray16le"
            )
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read_in_order(path: Path) -> list[npt.NDArray[Any]]:
    """Return all frames as PyAV decodes them from the first to the last."""
    with av.open(path) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def stack_of(path: Path) -> Stack:
    stack = open_stack(path)
    assert stack is not None
    return stack


def pixels_of(path: Path) -> npt.NDArray[Any]:
    picture = limelight.load_photo(path)
    return picture.values if isinstance(picture, Raster) else np.asarray(picture)


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "b-frames.mp4": ("libx264", {"g": "12", "bf": "3"}),
    "open-gop.mkv": ("libx264", {"g": "10", "bf": "2", "x264-params": "open-gop=1"}),
    "phone.mov": ("libx264", {}),
    "old.avi": ("mpeg4", {"g": "10", "bf": "2"}),
    "older.mpg": ("mpeg2video", {"g": "10", "bf": "2"}),
    "page.webm": ("libvpx-vp9", {"g": "8"}),
}


@pytest.mark.parametrize("name", KINDS)
def test_frames_are_the_same_in_order_and_at_random(tmp_path: Path, name: str) -> None:
    codec, options = KINDS[name]
    frames = pictures(45, 48, 64)
    path = write(tmp_path / name, frames, codec, **options)
    expected = read_in_order(path)
    assert len(expected) == 45
    for decoded, drawn in zip(expected, frames, strict=True):
        assert np.abs(decoded.astype(int) - drawn).mean() < 40  # none was left out or repeated
    paths = each_picture([path])
    assert paths[11] == path / f"{path.stem}-12"
    for frame, pixels in zip(paths, expected, strict=True):
        assert np.array_equal(pixels_of(frame), pixels)
    for number in [44, 0, 13, 12, 11, 30, 29, 31, 5, 44, 43]:
        assert np.array_equal(pixels_of(paths[number]), expected[number])
    every = each_picture([path], every=7)
    for frame, pixels in zip(every, expected[::7], strict=True):
        assert np.array_equal(pixels_of(frame), pixels)


def test_frames_of_a_variable_rate_keep_their_times(tmp_path: Path) -> None:
    times = [0, 40, 90, 91, 300, 1000, 1010, 2500]
    path = write(tmp_path / "x.mp4", pictures(8, 48, 64), times=times, bf="2")
    stack = stack_of(path)
    assert stack.count == 8
    assert [stack.time(number) for number in range(8)] == pytest.approx(
        [time / 1000 for time in times], abs=1e-4
    )
    for number in (7, 3, 4):
        assert np.array_equal(pixels_of(stack.paths()[number]), read_in_order(path)[number])
    steady = stack_of(write(tmp_path / "y.mp4", pictures(10, 48, 64)))
    assert steady.fps == 25
    assert steady.time(5) == pytest.approx(0.2)


def test_odd_sizes(tmp_path: Path) -> None:
    frames = pictures(4, 47, 63)
    path = write(tmp_path / "x.mkv", frames, "ffv1", pix_fmt="bgr0")
    opened = open_picture(path / "x-3")
    assert (opened.size.width, opened.size.height) == (63, 47)
    assert np.array_equal(pixels_of(path / "x-3"), frames[2])  # this codec keeps every bit


def test_grey_of_16_bits_keeps_its_numbers(tmp_path: Path) -> None:
    depth = np.arange(48 * 64, dtype="uint16").reshape(48, 64) * 20
    frames: Any = [depth, depth[::-1]]
    path = write(
        tmp_path / "depth.mkv",
        [np.ascontiguousarray(f) for f in frames],
        "ffv1",
        pix_fmt="gray16le",
    )
    picture = limelight.load_photo(path / "depth-2")
    assert isinstance(picture, Raster)
    assert np.array_equal(picture.values[..., 0], frames[1])
    assert picture.span == (0, 65535)


@pytest.mark.parametrize(
    ("matrix", "turned"),
    [
        ((0, 1, -1, 0), lambda x: np.rot90(x, -1)),  # as a phone held upright writes it
        ((0, -1, 1, 0), lambda x: np.rot90(x, 1)),
        ((-1, 0, 0, -1), lambda x: np.rot90(x, 2)),
    ],
)
def test_videos_of_phones_are_turned_upright(
    tmp_path: Path, matrix: tuple[int, ...], turned: Any
) -> None:
    path = write(tmp_path / "x.mp4", pictures(3, 48, 64))
    expected = read_in_order(path)

    # The matrix of the track header maps a point (x, y) to (a x + c y, b x + d y).
    def coded(a: int, b: int, c: int, d: int) -> bytes:
        parts = (a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
        return b"".join(part.to_bytes(4, "big", signed=True) for part in parts)

    content = path.read_bytes()
    track = content.index(b"tkhd")
    place = content.index(coded(1, 0, 0, 1), track)
    changed = content[:place] + coded(*matrix) + content[place + 36 :]
    path.write_bytes(changed)
    upright = turned(expected[1])
    opened = open_picture(path / "x-2")
    assert (opened.size.height, opened.size.width) == upright.shape[:2]
    assert np.array_equal(pixels_of(path / "x-2"), upright)
    size = limelight.load_photo(path).size
    assert size == (upright.shape[1], upright.shape[0])


# Damage


class Scores(nn.Module):
    """Two scores of a picture."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.head(self.features(x).mean((2, 3)))
        return answer


def explained(*paths: Path) -> list[PhotoResult]:
    network = limelight.Network("scores", Scores().eval(), Preprocess(size=(32, 32), resize=32))
    return list(explain_photos(network, paths, layer="features"))


def test_the_frames_before_damage_are_explained_and_one_error_tells_it(tmp_path: Path) -> None:
    path = write(tmp_path / "x.mp4", pictures(60, 48, 64), g="12", bf="2")
    Image.new("RGB", (40, 40)).save(tmp_path / "y.png")
    content = path.read_bytes()
    for name, damaged in {
        "cut.mp4": content[: len(content) * 2 // 3],
        "hole.mp4": content[: len(content) // 2] + bytes(500) + content[len(content) // 2 + 500 :],
    }.items():
        (tmp_path / name).write_bytes(damaged)
        *good, bad, photo = explained(tmp_path / name, tmp_path / "y.png")
        assert photo.error is None
        assert 20 <= len(good) < 45
        assert all(result.error is None for result in good)
        assert bad.path == tmp_path / name / f"{name[:-4]}-{len(good) + 1:02}"
        assert str(bad.error) == (
            f"{str(tmp_path / name)!r} is damaged or cut short: frame {len(good) + 1} cannot be "
            f"decoded. The {len(good)} before it can; those behind it are left out. Save or "
            "download it again."
        )
        for result, expected in zip(good, read_in_order(path), strict=False):
            assert result.crop is not None
            assert np.array_equal(np.asarray(result.crop.photo), expected)


def test_files_that_are_no_videos(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = write(tmp_path / "x.mkv", pictures(3, 48, 64))
    (tmp_path / "text.mp4").write_bytes(b"no video" * 100)
    (tmp_path / "head.mkv").write_bytes(whole.read_bytes()[:100])
    (tmp_path / "empty.avi").touch()
    # A playlist could name any other file, or an address.
    (tmp_path / "list.mp4").write_text(f"#EXTM3U\n#EXTINF:1,\n{whole}\n#EXT-X-ENDLIST\n")
    (tmp_path / "concat.mov").write_text(f"ffconcat version 1.0\nfile {whole.name}\n")
    for name in ("text.mp4", "head.mkv", "list.mp4", "concat.mov"):
        with pytest.raises(PhotoError, match=f"{name}' is no video that can be read"):
            limelight.load_photo(tmp_path / name)
        (result,) = explained(tmp_path / name)
        assert "is no video that can be read" in str(result.error)
    with pytest.raises(PhotoError, match="is empty"):
        limelight.load_photo(tmp_path / "empty.avi")
    with pytest.raises(MissingPhotoError, match="There is no file"):
        limelight.load_photo(tmp_path / "none.mp4")
    with pytest.raises(MissingPhotoError, match=r"There is no picture 9 in .*, which holds 3"):
        limelight.load_photo(whole / "x-9")
    assert capfd.readouterr() == ("", "")


# Networks of video


def test_a_network_of_video_gets_evenly_spaced_frames(tmp_path: Path) -> None:
    path = write(tmp_path / "x.mp4", pictures(30, 48, 64))
    preprocess = Preprocess(size=(4, 48, 64), resize=(4, 48, 64), mean=(0.0,) * 3, std=(1.0,) * 3)
    assert each_picture([path], volumes=preprocess.takes_volumes) == [path]
    volume = open_picture(path, 3, preprocess.frames).decode()
    assert isinstance(volume, Raster)
    expected = [read_in_order(path)[number] for number in (0, 10, 19, 29)]
    assert np.array_equal(volume.values, expected)
    image = preprocess(volume)
    assert image.shape == (3, 4, 48, 64)
    assert torch.equal(image[:, 2], torch.from_numpy(expected[2]).permute(2, 0, 1) / 255)


def test_a_video_that_is_too_long_to_be_read_as_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "x.mp4", pictures(30, 48, 64))
    monkeypatch.setattr("limelight.photos.video.PHOTO_BYTES", 100_000)
    with pytest.raises(PhotoError, match=r"30 frames of '.*x.mp4' take .* Take fewer frames, by"):
        limelight.load_photo(path)
    open_picture(path, 3, 4).decode()


def test_few_frames_are_held_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.mp4", pictures(200, 48, 64))
    network = limelight.Network("scores", Scores().eval(), Preprocess(size=(32, 32), resize=32))
    opened = []
    own = open_picture

    def counting(*args: Any) -> Any:
        opened.append(args)
        return own(*args)

    monkeypatch.setattr("limelight.photos.batches.open_picture", counting)
    results = explain_photos(network, [path], layer="features", batch=4)
    next(results)
    assert len(opened) <= 4 + 2 * 4 + 2
    assert sum(1 for _ in results) == 199
