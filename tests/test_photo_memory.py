"""What photos take of memory: it goes with the pixels of one, not with how many there are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from PIL import Image

import limelight
from limelight import render
from limelight.ahead import Room, ahead
from limelight.errors import OutputError, PhotoError
from limelight.explanation import Explanation
from limelight.finish import AxisSpan, FinishedInPieces, finish
from limelight.photos import memory
from limelight.photos.batches import prepared
from limelight.photos.pictures import load_photo
from limelight.photos.pieces import pieces
from limelight.photos.preprocess import Preprocess
from limelight.status import Status

SIDE = 2000
STATUS = Path("/proc/self/status")

linux = pytest.mark.skipif(not STATUS.exists(), reason="peaks of memory are read from /proc")


def kilobytes(name: str) -> int:
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1])


class Peak:
    per_pixel: float


@contextmanager
def peak(pixels: int = SIDE * SIDE) -> Iterator[Peak]:
    """Find how far the memory of this process rises in a block, in bytes per pixel."""
    found = Peak()
    Path("/proc/self/clear_refs").write_text("5")  # begin with the peak that is now
    before = kilobytes("VmRSS")
    yield found
    found.per_pixel = (kilobytes("VmHWM") - before) * 1024 / pixels


def explanation(raw: torch.Tensor, status: Status | None = None) -> Explanation:
    return Explanation(
        raw=raw,
        heatmap=finish(raw, (8, 8)),
        score=torch.ones(1),
        index=None,
        label=("cat",),
        status=(status or Status("ok"),),
        method="gradcam",
        layer="0",
        reason="named",
        image=torch.zeros(1, 3, 8, 8),
        output=torch.zeros(1, 2),
    )


@linux
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "1", "I;16", "F", "CMYK", "turned"])
def test_a_photo_is_decoded_with_8_bytes_a_pixel(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "photo.tif"
    exif = Image.Exif()
    exif[0x0112] = 6 if mode == "turned" else 1
    Image.new("RGB" if mode == "turned" else mode, (SIDE, SIDE)).save(path, exif=exif)
    load_photo(path)
    with peak() as found:
        load_photo(path)
    assert found.per_pixel < 11  # it was 12 and more, 16 with transparency, 24 of floating point


@linux
@pytest.mark.parametrize(("picture", "form"), [("overlay", "png"), ("heatmap", "svg")])
def test_a_picture_is_drawn_with_little_more_than_its_own_pixels(
    tmp_path: Path, picture: limelight.explanation_pictures.PictureKind, form: str
) -> None:
    photo = Image.new("RGB", (2000, 2100), (90, 20, 200))
    result = explanation(torch.rand(1, 7, 7))
    path = tmp_path / f"x.{form}"
    result.save(path, photos=[photo.crop((0, 0, 200, 200))], picture=picture)
    with peak(2000 * 2100) as found:
        result.save(path, photos=[photo], picture=picture)
    assert found.per_pixel < 12  # of them 4 for the picture; it was 44 and more


@linux
@pytest.mark.parametrize("picture", ["overlay", "heatmap"])
def test_a_whole_photo_is_drawn_on_with_little_more_than_its_own_pixels(
    tmp_path: Path, picture: limelight.explanation_pictures.PictureKind
) -> None:
    photo = Image.new("RGB", (2000, 2100), (90, 20, 200))
    result, path = explanation(torch.rand(1, 7, 7)), tmp_path / "x.png"
    for drawn_on in (photo.crop((0, 0, 200, 200)), photo):
        crop = Preprocess().crop(drawn_on)
        with peak(2000 * 2100) as found:
            result.drawn_on([crop]).save(path, whole=True, picture=picture)
    assert found.per_pixel < 12


@pytest.mark.parametrize(
    "span",
    [
        (),
        (AxisSpan(0.0, 1.1), AxisSpan(0.0, 0.9)),
        (AxisSpan(-0.2, 0.7), AxisSpan(0.25, 0.8, 0.25, 0.8)),
    ],
)
@pytest.mark.parametrize(
    ("grid", "size"),
    [((7, 7), (500, 640)), ((14, 9), (10, 300)), ((1, 1), (40, 50)), ((60, 50), (59, 1000))],
)
def test_a_heatmap_in_pieces_is_the_heatmap(
    grid: tuple[int, int], size: tuple[int, int], span: tuple[AxisSpan, ...]
) -> None:
    raw = torch.randn(1, *grid, generator=torch.Generator().manual_seed(0))
    (whole,) = finish(raw, size, span)
    heat = FinishedInPieces(raw[0], size, span)
    for left, top, right, bottom in pieces(size[1], size[0], 5000):
        part = heat[top:bottom, left:right]
        assert (part - whole[top:bottom, left:right]).abs().max() < 2e-5


def test_a_large_picture_looks_as_a_small_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 200, (211, 300, 3), dtype=np.uint8))
    result = explanation(torch.rand(1, 7, 7))
    whole = [np.asarray(result.overlay([photo], alpha=alpha)[0], int) for alpha in (None, 0.4)]
    monkeypatch.setattr("limelight.drawing._MAX_WHOLE_PIXELS", 0)
    monkeypatch.setattr("limelight.photos.pieces.pieces.__defaults__", (1000,))
    for alpha, one in zip((None, 0.4), whole, strict=True):
        in_pieces = np.asarray(result.overlay([photo], alpha=alpha)[0], int)
        assert np.abs(in_pieces - one).max() <= 3  # a value between two colours may take the other
        assert (in_pieces == one).mean() > 0.99


def test_a_large_map_that_is_worth_nothing_is_dark_everywhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("limelight.drawing._MAX_WHOLE_PIXELS", 0)
    bad = explanation(torch.rand(1, 7, 7), Status("not-finite", "NaN"))
    photo = Image.new("RGB", (30, 20))
    assert np.ptp(np.asarray(bad.overlay([photo])[0]), axis=(0, 1)).max() == 0


def test_pieces_cover_every_pixel_once() -> None:
    for width, height in ((1, 1), (7, 30), (30, 7), (1000, 1), (1, 1000)):
        seen = np.zeros((height, width), int)
        for left, top, right, bottom in pieces(width, height, 20):
            assert (right - left) * (bottom - top) <= 20
            seen[top:bottom, left:right] += 1
        assert (seen == 1).all()


def save(path: Path, size: tuple[int, int] = (40, 30)) -> Path:
    Image.new("RGB", size).save(path)
    return path


def test_a_batch_ends_where_there_is_no_room_for_another(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{number}.png") for number in range(7)]
    paths.insert(1, tmp_path / "missing.png")
    room = Room(3 * (8 * 40 * 30 + 24 * 5 * 4))
    found = []
    for batch in prepared(paths, Preprocess((5, 4), None), batch=5, room=room):
        found.append([one.path.name for one in batch])
        assert sum(one.taken for one in batch) <= room.size
        for one in batch:
            room.give(one.taken)
    assert found == [
        ["0.png", "missing.png", "1.png", "2.png"],
        ["3.png", "4.png", "5.png"],
        ["6.png"],
    ]
    assert room.take(room.size, wait=False)  # all was given back


def test_results_are_the_same_however_little_room_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    )
    network = limelight.Network("own", model.eval(), Preprocess((16, 16), 18))
    rng = np.random.default_rng(0)
    paths = []
    for number in range(5):
        paths.append(tmp_path / f"{number}.png")
        pixels = rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(paths[-1])
    all_at_once = list(limelight.explain_photos(network, paths, layer="0"))
    monkeypatch.setattr(sys.modules["limelight.photo_pipeline"], "PHOTO_BYTES", 1)
    monkeypatch.setattr("limelight.photos.memory.PHOTO_BYTES", 8 * 40 * 30)
    one_by_one = list(limelight.explain_photos(network, paths, layer="0"))
    for one, other in zip(all_at_once, one_by_one, strict=True):
        assert one.path == other.path
        assert torch.allclose(one.explanations[0].raw, other.explanations[0].raw, atol=1e-6)
        assert one.view is not None
        assert other.view is not None
        assert one.view.tobytes() == other.view.tobytes()


@linux
def test_photos_that_a_network_takes_as_large_as_they_are_fit_in_the_room(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{number}.png", (SIDE, SIDE)) for number in range(5)]
    own_size = Preprocess(size=None, resize=None)

    def run(some: list[Path]) -> None:
        room = Room(2 * 32 * SIDE * SIDE)
        for batch in prepared(some, own_size, batch=5, room=room):
            while batch:
                room.give(batch.pop().taken)

    run(paths[:1])
    with peak() as found:
        run(paths)
    assert found.per_pixel < 2 * 32 + 3  # it was 97 and more


@pytest.mark.parametrize(
    "preprocess",
    [Preprocess((500, 500), 10), Preprocess(None, 50), Preprocess(None, None), Preprocess()],
)
def test_all_that_was_taken_for_a_photo_is_given_back_and_never_more(
    tmp_path: Path, preprocess: Preprocess
) -> None:
    given = list[int]()

    class Watched(Room):
        def give(self, taken: int) -> None:
            given.append(taken)
            super().give(taken)

    class Mean(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean((2, 3))

    network = limelight.Network("own", Mean(), preprocess)
    room = Watched(1)
    for result in limelight.explain_photos(
        network, [save(tmp_path / "x.png")], method="saliency", room=room
    ):
        assert result.view is not None
        assert result.taken >= memory.bytes_to_draw(result.view)
        room.give(result.taken)
    assert min(given) >= 0  # it was less, of a view larger than its photo
    assert room.take(1, wait=False)


def test_who_needs_room_waits_until_some_is_given_back() -> None:
    room = Room(10)
    assert room.take(8)
    assert not room.take(3, wait=False)
    Thread(target=room.give, args=(8,)).start()
    assert room.take(30)  # more than there is: all of it
    assert not room.take(1, wait=False)


def test_items_for_which_there_is_no_room_are_not_begun() -> None:
    begun = list[int]()
    room = Room(2)
    results = ahead(begun.append, range(5), threads=1, count=9, room=room, needs=lambda _: 1)
    next(results)
    assert len(begun) <= 2
    room.give(1)
    next(results)
    assert len(begun) <= 3
    results.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", ["WEBP", "JPEG2000", "AVIF"])
def test_a_photo_whose_decoder_would_take_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    if form not in Image.registered_extensions().values():
        pytest.skip(f"this Pillow has no {form}")
    path = tmp_path / "photo"
    Image.new("RGB", (64, 64)).save(path, form)
    assert load_photo(path).size == (64, 64)
    monkeypatch.setattr(memory, "PHOTO_BYTES", 8 * 64 * 64)
    with pytest.raises(PhotoError, match=rf"is a {form} of 64 x 64 pixels, which takes .* GB"):
        load_photo(path)


def test_a_thin_photo_is_resized_only_where_it_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for size in ((30, 400), (400, 30), (50, 60)):
        photo = Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8))
        for preprocess in (Preprocess(), Preprocess((64, 300), 100)):
            monkeypatch.setattr("limelight.photos.preprocess.MAX_WHOLE_RESIZE", 16_000_000)
            whole = preprocess(photo)
            monkeypatch.setattr("limelight.photos.preprocess.MAX_WHOLE_RESIZE", 1)
            assert (preprocess(photo) - whole).abs().max() < 2.01 / 255 / 0.224


@pytest.mark.parametrize(
    ("form", "size", "text"),
    [("webp", (16_384, 1), "sides of up to 16383"), ("jpg", (65_501, 1), "sides of up to 65500")],
)
def test_a_picture_larger_than_its_format_holds(
    form: str, size: tuple[int, int], text: str
) -> None:
    with pytest.raises(OutputError, match=rf"Cannot write a picture of .*{text}.*as png"):
        render.write(Image.new("RGB", size), form, BytesIO())
