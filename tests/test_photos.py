from __future__ import annotations

import io
import os
import socket
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models

from helpers.photos import load_picture, with_ycbcr_tiff
from helpers.tolerances import assert_agrees
from limelight.cli.target_options import PlaceOptions
from limelight.errors import LimelightError, MissingPhotoError, OptionError, PhotoError
from limelight.photos.finding import find_photos
from limelight.photos.memory import MAX_PIXELS, PhotoSize
from limelight.photos.pictures import load_photo, photo_size
from limelight.photos.preprocess import Preprocess
from limelight.targets import Box


def gradient(width: int = 40, height: int = 30) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], -1).astype(np.uint8))


def claimed_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def jpeg() -> bytes:
    buffer = io.BytesIO()
    gradient(200, 200).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("empty.jpg", b"", "is empty"),
        ("text.jpg", b"this is no picture at all, just words", "not a picture"),
        ("cut.jpg", jpeg()[:1500], "damaged"),
        ("header.jpg", jpeg()[:12], "damaged"),
        ("bomb.png", claimed_png(60_000, 60_000), "decompression bombs"),
        ("wide.png", claimed_png(16_000, 10_000), "160 million pixels"),
        ("nothing.png", claimed_png(0, 10), "no pixels"),
        ("nodata.png", claimed_png(10, 10), "damaged"),
    ],
)
def test_bad_file_is_one_clear_sentence(
    tmp_path: Path, name: str, content: bytes, text: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(PhotoError) as caught:
        load_photo(path)
    assert text in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingPhotoError, match="There is no file") as caught:
        load_photo(tmp_path / "none.jpg")
    assert caught.value.exit_code == 2
    with pytest.raises(PhotoError, match="is a folder"):
        load_photo(tmp_path)


def test_limit_is_above_honest_photos() -> None:
    assert MAX_PIXELS > 12_000 * 9_000


@pytest.mark.parametrize(
    "mode",
    [
        *["RGB", "L", "P", "1", "CMYK", "RGBA", "LA"],
        pytest.param(
            "YCbCr",
            marks=with_ycbcr_tiff,
        ),
    ],
)
def test_every_mode_becomes_rgb_of_the_same_picture(tmp_path: Path, mode: str) -> None:
    picture = gradient(64, 64)
    path = tmp_path / "picture.tif"
    picture.convert(mode).save(path)
    loaded = load_picture(path)
    assert loaded.mode == "RGB"
    assert loaded.size == picture.size
    # In one bit a grey is a pattern of dots, so compare means of 16 x 16 dots.
    ours, theirs = (np.asarray(p.convert("L").reduce(16), float) for p in (loaded, picture))
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.98


def test_palette_with_transparency_and_rgba_lie_on_white(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    clear.save(tmp_path / "a.png")
    assert load_picture(tmp_path / "a.png").getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.save(tmp_path / "p.png", transparency=0)
    assert load_picture(tmp_path / "p.png").getpixel((0, 0)) == (255, 255, 255)
    half = Image.new("RGBA", (8, 8), (0, 0, 0, 128))
    half.save(tmp_path / "h.png")
    assert load_picture(tmp_path / "h.png").getpixel((0, 0)) == (127, 127, 127)


def test_floating_point_tiff_that_is_not_finite(tmp_path: Path) -> None:
    values = np.full((10, 10), np.nan, dtype=np.float32)
    Image.fromarray(values).save(tmp_path / "nan.tif")
    with pytest.raises(PhotoError, match="NaN"):
        load_photo(tmp_path / "nan.tif")


def test_rotation_by_exif_is_applied(tmp_path: Path) -> None:
    picture = gradient(40, 30)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    picture.save(tmp_path / "turned.png", exif=exif)
    loaded = load_photo(tmp_path / "turned.png")
    assert loaded.size == (30, 40)
    upright = picture.transpose(Image.Transpose.ROTATE_270)
    assert np.array_equal(np.asarray(loaded), np.asarray(upright))


def test_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert load_picture(tmp_path / "moving.gif").getpixel((0, 0)) == (255, 0, 0)


def test_folders_are_searched_in_order_and_only_for_photos(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.JPG", "a.png", "deep/c.webp", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    found = find_photos([tmp_path, tmp_path / "a.png", tmp_path / "notes.txt"])
    assert [path.name for path in found] == ["a.png", "b.JPG", "c.webp", "notes.txt"]
    (tmp_path / "void").mkdir()
    with pytest.raises(MissingPhotoError, match="holds no photo"):
        find_photos([tmp_path / "void"])


SIZES = [(300, 200), (200, 300), (231, 517), (224, 224), (100, 90), (640, 481)]


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_b0", "swin_b", "inception_v3"])
@pytest.mark.parametrize("size", SIZES)
def test_preprocessing_is_torchvisions(name: str, size: tuple[int, int]) -> None:
    from limelight.models import zoo

    photo = gradient(*size)
    preset = models.get_model_weights(name).DEFAULT.transforms()
    ours = zoo._torchvision_preprocess(preset)(photo)
    assert_agrees(ours, preset(photo), terms=3)


@pytest.mark.parametrize(
    "name",
    ["vit_base_patch16_224", "tf_efficientnet_lite0", "beit_base_patch16_384", "convnext_tiny"],
)
@pytest.mark.parametrize("size", SIZES)
def test_preprocessing_is_timms(name: str, size: tuple[int, int]) -> None:
    from timm.data import create_transform, resolve_data_config
    from timm.models import get_pretrained_cfg

    from limelight.models import zoo

    photo = gradient(*size)
    config = resolve_data_config(pretrained_cfg=get_pretrained_cfg(name).to_dict())
    theirs = create_transform(**config, is_training=False)(photo)
    assert_agrees(zoo._timm_preprocess(name, config)(photo), theirs, terms=3)


def test_padding_where_the_crop_is_larger_than_the_photo() -> None:
    from torchvision.transforms import functional

    photo = gradient(50, 37)
    preprocess = Preprocess((64, 64), 37, (0.0,) * 3, (1.0,) * 3)
    theirs = functional.to_tensor(functional.center_crop(photo, [64, 64]))
    assert_agrees(preprocess(photo), theirs, terms=3)


@pytest.mark.parametrize("name", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_a_thin_photo_is_resized_as_torchvision_does(name: str) -> None:
    from torchvision.transforms import InterpolationMode, functional

    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 255, (2000, 30, 3), dtype=np.uint8))
    preprocess = Preprocess((224, 224), 500, (0.0,) * 3, (1.0,) * 3, name)  # over 16 million pixels
    resized = functional.resize(photo, [500], InterpolationMode(name), max_size=None)
    theirs = functional.to_tensor(functional.center_crop(resized, [224, 224]))
    assert torch.equal(preprocess(photo), theirs)


@pytest.mark.parametrize("size", SIZES)
def test_view_is_what_the_network_saw(size: tuple[int, int]) -> None:
    photo = gradient(*size)
    preprocess = Preprocess(mean=(0.0,) * 3, std=(1.0,) * 3)
    seen = preprocess.view(photo).resize((224, 224), Image.Resampling.BILINEAR)
    gap = torch.from_numpy(np.array(seen)).permute(2, 0, 1) / 255 - preprocess(photo)
    assert gap.abs().max() < 0.03


def test_grey_input_and_exact_resize() -> None:
    grey = Preprocess((32, 48), (32, 48), (0.5,), (0.5,))
    tensor = grey(gradient(100, 50))
    assert tensor.shape == (1, 32, 48)
    assert -1 <= tensor.min() < tensor.max() <= 1
    assert grey.view(gradient(100, 50)).size == (100, 50)


@pytest.mark.parametrize(
    "bad",
    [
        {"size": (0, 224)},
        {"resize": 0},
        {"std": (0.0, 1.0, 1.0)},
        {"mean": (0.5,)},
        {"mean": (0.5,) * 4, "std": (0.5,) * 3},
        {"mean": (), "std": ()},
        {"window": (40, 0)},
        {"window": (40, float("nan"))},
        {"window": (40,)},
        {"size": (8, 224, 224)},
    ],
)
def test_senseless_preprocessing_is_refused(bad: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(OptionError) as caught:
        Preprocess(**bad)  # type: ignore[arg-type]
    assert isinstance(caught.value, LimelightError)


def test_a_thin_photo_is_no_bomb(tmp_path: Path) -> None:
    Image.new("RGB", (1, 20_000)).save(tmp_path / "thin.png")
    photo = load_photo(tmp_path / "thin.png")
    with pytest.raises(PhotoError, match="1 x 20000 pixels is too thin"):
        Preprocess()(photo)


@pytest.mark.parametrize("raised", [RuntimeError, NotImplementedError, struct.error, MemoryError])
def test_whatever_a_decoder_raises_is_about_this_photo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: type[Exception]
) -> None:
    gradient().save(tmp_path / "x.png")

    def explode(*_: object) -> None:
        raise raised("Failed to decode image")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", explode)
    with pytest.raises(PhotoError, match=r"x.png.*cannot be decoded: Failed to decode"):
        load_photo(tmp_path / "x.png")


def test_damaged_exif_leaves_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gradient().save(tmp_path / "x.png")

    def explode(*_: object) -> None:
        raise struct.error("unpack requires a buffer of 2 bytes")

    monkeypatch.setattr("PIL.ImageOps.exif_transpose", explode)
    assert load_photo(tmp_path / "x.png").size == (40, 30)


def bad_paths(folder: Path) -> dict[str, Path]:
    """Make what is no photo, by what is said of it."""
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    os.mkfifo(folder / "pipe.jpg")
    (folder / "void").mkdir()
    gradient().save(folder / "good.png")
    return {
        "a link that leads back to itself": folder / "loop.jpg",
        "is a pipe; a file was expected": folder / "pipe.jpg",
        "is a device; a file was expected": Path("/dev/zero"),
        "the name is longer than any can be": folder / ("x" * 300 + ".jpg"),
        "no name holds a null byte": folder / "a\0b.jpg",
        "There is no file": folder / "good.png" / "below.png",
        "is a folder that holds no photo": folder / "void",
    }


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_a_path_that_is_no_photo_is_told_in_its_turn(tmp_path: Path) -> None:
    bad = bad_paths(tmp_path)
    found = find_photos([*bad.values(), tmp_path / "good.png"])
    assert found == [*bad.values(), tmp_path / "good.png"]
    for text, path in bad.items():
        with pytest.raises(PhotoError, match=text) as caught:
            load_photo(path)
        assert "damaged" not in str(caught.value)
        assert "empty" not in str(caught.value)


def test_a_socket_is_told_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's name is short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("s.jpg")
        with pytest.raises(PhotoError, match=r"'s\.jpg' is a socket; a file was expected"):
            load_photo("s.jpg")


def test_what_may_not_be_read_is_not_told_as_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradient().save(tmp_path / "x.png")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(PhotoError, match=r"x.png' may not be read: Permission denied. Allow it"):
        load_photo(tmp_path / "x.png")


def test_a_folder_that_may_not_be_read_is_told_in_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "closed").mkdir()
    gradient().save(tmp_path / "x.png")
    listed = os.scandir, os.listdir

    def refusing(number: int, path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return listed[number](path)

    monkeypatch.setattr(os, "scandir", lambda path: refusing(0, path))
    monkeypatch.setattr(os, "listdir", lambda path: refusing(1, path))
    assert find_photos([tmp_path]) == [tmp_path / "closed", tmp_path / "x.png"]
    with pytest.raises(PhotoError, match="closed' may not be read: Permission denied"):
        load_photo(tmp_path / "closed")


@pytest.mark.parametrize("orientation", [1, 3, 6, 8, 9])
def test_the_size_of_a_photo_is_known_without_decoding_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    gradient().save(tmp_path / "x.jpg", exif=exif)
    size = PhotoSize.of(load_photo(tmp_path / "x.jpg"))

    def explode(*_: object) -> None:
        raise AssertionError("the photo was decoded")

    monkeypatch.setattr("PIL.JpegImagePlugin.JpegImageFile.load", explode)
    assert photo_size(tmp_path / "x.jpg") == size
    monkeypatch.setattr("limelight.photos.pictures.OpenedPhoto.decode", explode)
    place = PlaceOptions(box="1,2,10,20")
    (box,) = place.place([None], Preprocess(None, None), [tmp_path / "x.jpg"])
    assert isinstance(box, Box)
    assert box.box == [1, 2, 10, 20]


def test_an_empty_name_is_not_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    gradient().save("x.png")
    for act in (lambda: find_photos(["x.png", ""]), lambda: load_photo("")):
        with pytest.raises(MissingPhotoError, match="'' is an empty name") as caught:
            act()
        assert caught.value.exit_code == 2
    assert find_photos(["."]) == [Path("x.png")]


def test_no_other_decoder_than_those_offered_sees_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*_: object) -> None:
        raise AssertionError("Ghostscript was started")

    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", started)
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n"
    (tmp_path / "x.jpg").write_bytes(eps)
    gradient().save(tmp_path / "y.jpg", "PCX")
    for name in ("x.jpg", "y.jpg"):
        with pytest.raises(PhotoError, match=f"{name}' is not a picture that can be read"):
            load_photo(tmp_path / name)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "JPEG2000", "PPM"])
def test_each_format_that_is_offered_is_read(tmp_path: Path, form: str) -> None:
    gradient().save(tmp_path / "x", form)
    loaded = np.asarray(load_photo(tmp_path / "x"), float)
    assert np.abs(loaded - np.asarray(gradient(), float)).mean() < 12


def test_a_photo_larger_than_pillow_likes_is_read_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradient(90, 60).save(tmp_path / "x.tif", compression="tiff_lzw")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)
    monkeypatch.setattr("limelight.photos.crops._CROP_PIXELS", 1000)
    photo = load_photo(tmp_path / "x.tif")  # warnings are errors here
    assert Preprocess().view(photo).size == (52, 52)


def test_libtiff_does_not_write_to_stderr_on_its_own(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from limelight.photos.decode import silence_decoders

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (90, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.tif", compression="tiff_lzw")
    data = bytearray((tmp_path / "x.tif").read_bytes())
    data[2000:2200] = b"\xff" * 200
    (tmp_path / "x.tif").write_bytes(data)
    silence_decoders()
    with pytest.raises(PhotoError, match="damaged"):
        load_photo(tmp_path / "x.tif")
    assert capfd.readouterr().err == ""
