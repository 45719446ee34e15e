"""Pictures of more than 8 bits, of other channels than three, arrays and volumes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
import torch
from PIL import Image
from torch import Tensor, nn

import limelight
from helpers.commands import Runner, folder, run
from limelight.errors import OptionError, PhotoError
from limelight.photos.raster import Raster

__all__ = ["folder", "run"]  # fixtures

SIDE = 24

Numbers = npt.NDArray[Any]


def ramp(low: float, high: float, kind: str) -> Numbers:
    """Return numbers from the lowest to the highest, `[SIDE, SIDE]`."""
    return np.linspace(low, high, SIDE * SIDE).reshape(SIDE, SIDE).astype(kind)


def png_16(path: Path, numbers: Numbers) -> None:
    """Write a 16-bit PNG by hand, grey or in colours: neither Pillow nor limelight writes those."""
    import struct
    import zlib

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    height, width, bands = numbers.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[bands]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in numbers)
    head = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    chunks = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def write(path: Path, numbers: Numbers) -> Path:
    """Write numbers `[H, W]` or `[H, W, C]` in the format of the suffix."""
    if path.suffix == ".npy":
        np.save(path, numbers)
    elif path.suffix == ".npz":
        np.savez(path, picture=numbers)
    elif path.suffix == ".png":
        png_16(path, numbers if numbers.ndim == 3 else numbers[..., None])
    else:
        rgb = numbers.ndim == 3 and numbers.shape[-1] == 3
        tifffile.imwrite(path, numbers, photometric="rgb" if rgb else "minisblack")
    return path


def as_it_is(channels: int = 3, **options: Any) -> limelight.Preprocess:
    """Return a preprocessing that changes no pixel but scales it to 0..1."""
    return limelight.Preprocess(None, None, (0.0,) * channels, (1.0,) * channels, **options)


DEEP = [
    pytest.param(".png", ramp(0, 65535, "uint16"), id="png-16"),
    pytest.param(".png", ramp(0, 4095, "uint16"), id="png-12"),
    pytest.param(".tif", ramp(100, 4000, "uint16"), id="tiff-12"),
    pytest.param(".tif", ramp(-1000, 3000, "int16"), id="tiff-int16"),
    pytest.param(".tif", ramp(-100, 100, "int8"), id="tiff-int8"),
    pytest.param(".tif", ramp(-70000, 2e9, "int32"), id="tiff-int32"),
    pytest.param(".tif", ramp(0, 4e9, "uint32"), id="tiff-uint32"),
    pytest.param(".tif", ramp(-3, 8, "float32"), id="tiff-float32"),
    pytest.param(".tif", ramp(-3, 8, "float64"), id="tiff-float64"),
    pytest.param(".npy", ramp(-3, 8, "float16"), id="npy-float16"),
    pytest.param(".npy", ramp(0, 4095, "int64"), id="npy-int64"),
    pytest.param(".npz", ramp(0, 4095, "uint16"), id="npz"),
]


@pytest.mark.parametrize(("suffix", "numbers"), DEEP)
def test_numbers_reach_the_network_as_they_are(
    tmp_path: Path, suffix: str, numbers: Numbers
) -> None:
    path = write(tmp_path / f"deep{suffix}", numbers)
    image = limelight.Network("n", nn.Identity(), as_it_is()).images(limelight.load_photo(path))
    values = numbers.astype(np.float64)
    expected = (values - values.min()) / (values.max() - values.min())
    assert image.shape == (1, 3, SIDE, SIDE)
    assert np.abs(image[0].numpy() - expected).max() < 1e-6
    levels = len(np.unique(numbers))
    assert len(np.unique(image[0, 0].numpy())) == levels


@pytest.mark.parametrize(("suffix", "numbers"), DEEP)
def test_a_window_spreads_its_numbers_and_cuts_off_the_others(
    tmp_path: Path, suffix: str, numbers: Numbers
) -> None:
    path = write(tmp_path / f"deep{suffix}", numbers)
    values = numbers.astype(np.float64)
    centre, width = float(np.median(values)), float(np.ptp(values)) / 3
    preprocess = as_it_is(1, window=(centre, width))
    image = preprocess(limelight.load_photo(path, channels=1))
    expected = ((values - (centre - width / 2)) / width).clip(0, 1)
    assert np.abs(image[0].numpy() - expected).max() < 1e-5
    assert (image == 0).any()
    assert (image == 1).any()


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
def test_colours_of_16_bits_are_not_cut_down_to_8(tmp_path: Path, suffix: str) -> None:
    generator = np.random.default_rng(0)
    numbers = generator.integers(0, 65536, (SIDE, SIDE, 3)).astype("uint16")
    numbers[0, 0], numbers[0, 1] = 0, 65535
    image = as_it_is()(limelight.load_photo(write(tmp_path / f"c{suffix}", numbers)))
    assert np.abs(image.permute(1, 2, 0).numpy() - numbers / 65535).max() < 1e-6


@pytest.mark.parametrize("bands", [2, 4])
def test_what_is_clear_in_16_bits_lies_on_white(tmp_path: Path, bands: int) -> None:
    numbers = np.zeros((SIDE, SIDE, bands), dtype="uint16")
    numbers[:12, :, -1], numbers[12:, :, -1] = 65535, 0
    image = as_it_is()(limelight.load_photo(write(tmp_path / "clear.png", numbers)))
    assert image[:, :12].max() == 0
    assert image[:, 12:].min() == 1


def test_8_bits_of_a_dark_photo_are_not_stretched(tmp_path: Path) -> None:
    numbers = ramp(0, 100, "uint8")
    for suffix in (".tif", ".npy"):
        path = write(tmp_path / f"dark{suffix}", numbers)
        assert float(as_it_is(1)(limelight.load_photo(path)).max()) == pytest.approx(100 / 255)


def test_floats_between_0_and_1_are_scaled_already(tmp_path: Path) -> None:
    path = write(tmp_path / "f.tif", ramp(0.2, 0.6, "float32"))
    image = as_it_is(1)(limelight.load_photo(path))
    assert float(image.min()) == pytest.approx(0.2)
    assert float(image.max()) == pytest.approx(0.6)


def test_a_deep_picture_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).integers(0, 65536, (20, 30, 3)).astype("uint16")
    for orientation in range(1, 9):
        path = tmp_path / f"turned-{orientation}.tif"
        tifffile.imwrite(
            path, numbers, photometric="rgb", extratags=[(274, "H", 1, orientation, True)]
        )
        # Pillow's own turning, of the high bytes of the same picture.
        eight = Image.fromarray((numbers >> 8).astype("uint8"))
        exif = Image.Exif()
        exif[274] = orientation
        eight.save(tmp_path / "eight.png", exif=exif)
        upright = np.asarray(limelight.load_photo(tmp_path / "eight.png"))
        photo = limelight.load_photo(path)
        assert isinstance(photo, Raster)
        assert np.array_equal(photo.values >> 8, upright), orientation


@pytest.mark.parametrize("bands", [2, 4, 7, 13])
@pytest.mark.parametrize("layout", ["last", "first", "tiff-planes"])
def test_many_channels_reach_a_network_that_takes_them(
    tmp_path: Path, bands: int, layout: str
) -> None:
    numbers = np.random.default_rng(1).integers(0, 4000, (SIDE, SIDE + 6, bands)).astype("uint16")
    if layout == "tiff-planes":
        path = tmp_path / "bands.tif"
        planes = np.moveaxis(numbers, -1, 0)
        tifffile.imwrite(path, planes, planarconfig="separate", photometric="minisblack")
    else:
        path = tmp_path / "bands.npy"
        np.save(path, numbers if layout == "last" else np.moveaxis(numbers, -1, 0))
    image = as_it_is(bands)(limelight.load_photo(path, channels=bands))
    low, high = int(numbers.min()), int(numbers.max())
    expected = (numbers.astype(float) - low) / (high - low)
    assert np.abs(image.permute(1, 2, 0).numpy() - expected).max() < 1e-6


def test_four_bands_of_a_png_reach_a_network_of_four_channels(tmp_path: Path) -> None:
    numbers = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 4)).astype("uint8")
    Image.fromarray(numbers).save(tmp_path / "four.png")
    image = as_it_is(4)(limelight.load_photo(tmp_path / "four.png", channels=4))
    assert np.allclose(image.permute(1, 2, 0).numpy(), numbers / 255)


def test_a_photo_of_other_channels_is_refused_with_both_numbers() -> None:
    photo = Raster.of(np.zeros((8, 9, 5), dtype="uint16"), 5)
    with pytest.raises(PhotoError, match=r"5 channels, and the network takes 3 channels"):
        as_it_is(3)(photo)


def test_grey_is_repeated_and_colours_become_grey() -> None:
    grey = Raster.of(ramp(0, 1, "float32"))
    assert torch.equal(as_it_is(3)(grey)[2], as_it_is(1)(grey)[0])
    colours = Raster.of(np.random.default_rng(0).random((9, 8, 3)).astype("float32"))
    expected = colours.values @ np.array([0.299, 0.587, 0.114])
    assert np.abs(as_it_is(1)(colours)[0].numpy() - expected).max() < 1e-6


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos", "nearest"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_raster_of_8_bits_becomes_what_the_photo_becomes(
    interpolation: str, channels: int
) -> None:
    # Smooth, as Pillow cuts off what a filter overshoots after each of two passes.
    y, x = np.mgrid[:90, :120] / 100
    waves = [np.sin(9 * x + 5 * y), np.cos(12 * x), np.sin(7 * y)]
    numbers = (127.5 + 90 * np.stack(waves, -1)).astype("uint8")
    half = (0.5,) * channels
    preprocess = limelight.Preprocess((32, 40), 48, half, half, interpolation)
    by_pillow = preprocess(Image.fromarray(numbers))
    # It rounds to 8 bits after each of them, and once more from colours to grey.
    assert (preprocess(Raster.of(numbers)) - by_pillow).abs().max() <= 2 * 2 / 255


class Volumes(nn.Module):
    """A network of volumes, of one channel and three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 4, 3, padding=1)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).relu().mean((2, 3, 4)))  # type: ignore[no-any-return]


class Grey(nn.Module):
    """A network of pictures of one channel."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, padding=1)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).relu().mean((2, 3)))  # type: ignore[no-any-return]


def volumes() -> nn.Module:
    """Return a network of volumes."""
    torch.manual_seed(0)
    return Volumes()


def grey() -> nn.Module:
    """Return a network of grey pictures."""
    torch.manual_seed(0)
    return Grey()


def seven() -> nn.Module:
    """Return a network of seven channels."""
    torch.manual_seed(0)
    return Grey(7)


def test_a_volume_reaches_a_network_of_volumes_by_its_window() -> None:
    numbers = np.random.default_rng(0).integers(-1000, 3000, (10, 12, 14)).astype("int16")
    preprocess = limelight.Preprocess((10, 12, 14), None, (0.0,), (1.0,), window=(40, 400))
    image = preprocess(Raster.of(numbers))
    assert np.abs(image[0].numpy() - ((numbers + 160.0) / 400).clip(0, 1)).max() < 1e-6
    network = limelight.Network("v", volumes(), preprocess)
    explanation = limelight.explain(network, numbers)
    by_hand = limelight.explain(network.model, image[None])
    assert torch.equal(explanation.raw, by_hand.raw)
    assert explanation.heatmap.shape == (1, 10, 12, 14)


def test_a_volume_is_resized_along_each_axis_alone() -> None:
    numbers = np.random.default_rng(0).random((8, 12, 16)).astype("float32")
    shrunk = limelight.Preprocess((4, 6, 8), (4, 6, 8), (0.0,), (1.0,), "bilinear")
    image = shrunk(Raster.of(numbers))
    expected = torch.from_numpy(numbers)[None, None]
    # PyTorch's antialiasing of two axes, twice, as it has none for three.
    within = nn.functional.interpolate(
        expected[0], size=(6, 8), mode="bilinear", antialias=True, align_corners=False
    )
    along = within.permute(0, 2, 1, 3).reshape(1, 6, 8, 8)
    along = nn.functional.interpolate(
        along, size=(4, 8), mode="bilinear", antialias=True, align_corners=False
    )
    assert (image - along.reshape(1, 6, 4, 8).permute(0, 2, 1, 3)).abs().max() < 1e-5


@pytest.mark.parametrize("size", [(6, 20, 10), (16, 8, 30)])
def test_a_volume_is_cropped_or_padded_around_its_centre(size: tuple[int, int, int]) -> None:
    numbers = np.random.default_rng(0).random((10, 12, 14)).astype("float32")
    image = limelight.Preprocess(size, None, (0.0,), (1.0,))(Raster.of(numbers))[0].numpy()
    assert image.shape == size
    assert image.sum() > 0
    inside = tuple(
        slice(max(0, (whole - part) // 2), max(0, (whole - part) // 2) + min(whole, part))
        for whole, part in zip(numbers.shape, size, strict=True)
    )
    kept = numbers[inside]
    nonzero = image[
        np.ix_(*(np.flatnonzero(image.any(tuple({0, 1, 2} - {axis}))) for axis in range(3)))
    ]
    assert np.array_equal(nonzero, kept)


def test_volumes_and_pictures_are_not_mistaken_for_each_other() -> None:
    volume = Raster.of(np.zeros((9, 12, 14), dtype="int16"))
    with pytest.raises(PhotoError, match="volume of 9 slices of 14 x 12 pixels"):
        as_it_is()(volume)
    with pytest.raises(PhotoError, match="takes volumes"):
        limelight.Preprocess((4, 6, 8), None, (0.0,), (1.0,))(Image.new("RGB", (9, 9)))


def test_each_slice_of_a_volume_is_explained_by_itself(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).integers(0, 4000, (12, SIDE, SIDE)).astype("int16")
    np.save(tmp_path / "ct.head.npy", numbers)
    network = limelight.Network("g", grey(), as_it_is(1))
    results = list(limelight.explain_photos(network, [tmp_path / "ct.head.npy"]))
    assert [result.path.name for result in results][:2] == ["ct_head-01", "ct_head-02"]
    assert len(results) == 12
    low, high = int(numbers.min()), int(numbers.max())
    for result, each in zip(results, numbers, strict=True):
        image = torch.from_numpy((each.astype("float32") - low) / (high - low))
        by_hand = limelight.explain(network.model, image[None, None])
        assert torch.allclose(result.explanations[0].raw, by_hand.raw, atol=1e-6)


def test_an_array_of_several_is_named_behind_the_file(tmp_path: Path) -> None:
    first, second = ramp(0, 1, "float32"), ramp(0, 4, "float32")
    np.savez(tmp_path / "two.npz", first=first, second=second, label=np.array(3))
    with pytest.raises(PhotoError, match=r"2 arrays .* Name it behind the file: '.*two.npz/first'"):
        limelight.load_photo(tmp_path / "two.npz")
    photo = limelight.load_photo(tmp_path / "two.npz" / "second")
    assert isinstance(photo, Raster)
    assert photo.span == (0, 4)
    with pytest.raises(PhotoError, match="no picture 'third'"):
        limelight.load_photo(tmp_path / "two.npz" / "third")


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (np.array(["a", "b"]), "numbers were expected"),
        (np.zeros(5), "has the shape"),
        (np.zeros((0, 4)), "has the shape"),
        (np.full((4, 4), np.inf), "NaN or infinite"),
    ],
)
def test_an_array_that_is_no_picture_is_told_by_its_file(
    tmp_path: Path, numbers: Numbers, message: str
) -> None:
    np.save(tmp_path / "bad.npy", numbers)
    with pytest.raises(PhotoError, match=message) as caught:
        limelight.load_photo(tmp_path / "bad.npy")
    assert "bad.npy" in str(caught.value)


def test_an_array_that_holds_code_is_not_run(tmp_path: Path) -> None:
    np.save(tmp_path / "code.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(PhotoError):
        limelight.load_photo(tmp_path / "code.npy")


@pytest.mark.parametrize(
    "given",
    [
        lambda numbers: numbers,
        Image.fromarray,
        lambda numbers: [numbers],
        Raster.of,
    ],
    ids=["array", "pillow", "list", "raster"],
)
def test_what_is_passed_to_explain_is_prepared_by_the_network(given: Any) -> None:
    numbers = ramp(0, 4095, "uint16")
    half = (0.5,)
    network = limelight.Network("g", grey(), limelight.Preprocess((16, 16), 20, half, half))
    explanation = limelight.explain(network, given(numbers))
    assert torch.allclose(explanation.image[0], network.preprocess(Raster.of(numbers)))
    assert explanation.crops is not None
    assert explanation.crops[0].photo.size == (SIDE, SIDE)


def test_a_file_is_read_by_the_network(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.png", ramp(0, 4095, "uint16"))
    network = limelight.Network("g", grey(), as_it_is(1))
    by_hand = limelight.explain(network, limelight.load_photo(path))
    for given in (path, str(path), [path]):
        assert torch.equal(limelight.explain(network, given).raw, by_hand.raw)
    with pytest.raises(limelight.LimelightError, match="The inputs are a str"):
        limelight.explain(grey(), str(path))
    with pytest.raises(PhotoError, match="There is no file"):
        limelight.explain(network, "nothing.png")


def test_an_array_for_a_plain_model_says_what_to_pass() -> None:
    with pytest.raises(limelight.LimelightError, match=r"An array was given.*Pass a Network"):
        limelight.explain(grey(), ramp(0, 1, "float32"))


def test_a_missing_batch_axis_is_told() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
    with pytest.raises(RuntimeError) as caught:
        limelight.explain(network, torch.zeros(3, 8, 8))
    assert any("add the batch axis, image[None]" in note for note in caught.value.__notes__)


def test_the_wrong_number_of_channels_is_told() -> None:
    network = limelight.Network("g", grey(), limelight.Preprocess((16, 16), 20))
    with pytest.raises(RuntimeError) as caught:
        limelight.explain(network, Image.new("RGB", (30, 30)))
    assert any("the first layer takes 1 channels" in note for note in caught.value.__notes__)


def test_the_command_takes_grey_and_many_channels(run: Runner, tmp_path: Path) -> None:
    write(tmp_path / "scan.png", ramp(0, 4095, "uint16"))
    command = ("explain", tmp_path / "scan.png", "--model", "test_depth:grey", "--json")
    for options in ((), ("--mean", "0.5", "--std", "0.5"), ("--mean", "0", "--std", "1")):
        code, out, err = run(*command, *options, "--out", tmp_path / "maps")
        assert code == 0, err
        assert json.loads(out)["photos"][0]["explanations"][0]["status"] == "ok"
    np.save(tmp_path / "seven.npy", np.random.default_rng(0).random((SIDE, SIDE, 7)))
    command = ("explain", tmp_path / "seven.npy", "--model", "test_depth:seven", "--json")
    code, out, err = run(*command, "--out", tmp_path / "maps")
    assert code == 0, err


def test_the_command_shows_a_volume_to_a_network_of_volumes(run: Runner, tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).integers(-1000, 3000, (20, 30, 30)).astype("int16")
    np.save(tmp_path / "ct.npy", numbers)
    command = ("explain", tmp_path / "ct.npy", "--model", "test_depth:volumes")
    code, _, err = run(*command)
    assert code == 2
    assert "Pass --size DEPTH,HEIGHT,WIDTH" in err
    options = ("--size", "10,16,16", "--window", "40,400", "--out", tmp_path / "ct.pdf", "--json")
    code, out, err = run(*command, *options)
    assert code == 0, err
    photo = json.loads(out)["photos"][0]
    assert photo["size"] is None
    assert Path(photo["explanations"][0]["picture"]).read_bytes().startswith(b"%PDF")


def test_the_command_takes_every_slice_or_every_third(run: Runner, tmp_path: Path) -> None:
    np.save(tmp_path / "ct.npy", np.random.default_rng(0).random((8, 30, 30)))
    command = ("explain", tmp_path / "ct.npy", "--model", "test_depth:grey", "--json")
    code, out, err = run(*command, "--every", "3", "--out", tmp_path / "maps")
    assert code == 0, err
    names = [Path(photo["photo"]).name for photo in json.loads(out)["photos"]]
    assert names == ["ct-1", "ct-4", "ct-7"]
    assert len(list((tmp_path / "maps").iterdir())) == 3


def test_no_crop_shows_the_network_the_whole_photo(run: Runner, tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), "teal").save(tmp_path / "wide.png")
    command = ("explain", tmp_path / "wide.png", "--json", "--out", tmp_path / "maps")

    def box(*options: object) -> Any:
        code, out, err = run(*command, *options)
        assert code in (0, 1), err
        return json.loads(out)["photos"][0]["box"]

    assert box()[2] - box()[0] < 200
    assert box("--no-crop") == [0, 0, 300, 200]
    assert box("--resize", "224,224") == [0, 0, 300, 200]
    left, top, right, bottom = box("--resize", "224")
    assert (top, bottom) == (0, 200)
    assert right - left == pytest.approx(200, abs=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--window", "40"), "The window is '40'"),
        (("--window", "40,0"), "a positive number"),
        (("--window", "a,b"), "The window is 'a,b'"),
        (("--window", "lungs"), "Did you mean 'lung'"),
        (("--resize", "0"), "--resize is '0'"),
        (("--resize", "3,4,5"), "--resize is '3,4,5'"),
        (("--size", "big"), "--size is 'big'"),
        (("--resize", "224", "--no-crop"), "Give one of them"),
        (("--mean", "0.5,0.5"), "--mean has 2 numbers"),
    ],
)
def test_options_that_cannot_be_read_are_told(
    run: Runner, options: tuple[str, ...], message: str
) -> None:
    code, _, err = run("explain", "chelsea", *options)
    assert code == 2
    assert message in " ".join(err.split())


def test_a_senseless_window_is_refused() -> None:
    with pytest.raises(OptionError, match="centre and its width"):
        limelight.Preprocess(window=(1, -1))
