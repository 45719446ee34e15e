"""The preprocessing inside an exported graph against Pillow and NumPy, written out by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from helpers.exporting import needs_onnx
from helpers.onnx_networks import exported, passed_on, run, session, trained_network
from limelight.errors import OptionError
from limelight.exporting.preprocessing_graph import with_preprocessing
from limelight.photos.preprocess import Preprocess
from limelight.photos.samples import find_sample

needs_onnx()

TARGET = np.array([-1])
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def resized_by_hand(width: int, height: int, preprocess: Preprocess) -> tuple[int, int]:
    """Return the width and height of a resized photo."""
    if preprocess.resize is None:
        return width, height
    if isinstance(preprocess.resize, tuple):
        return preprocess.resize[1], preprocess.resize[0]
    shorter = preprocess.resize
    low, high = min(width, height), max(width, height)
    if preprocess.longest is not None and shorter * high / low > preprocess.longest:
        shorter = max(1, round(preprocess.longest * low / high))
    longer = math.floor(shorter * high / low)
    return (shorter, longer) if width <= height else (longer, shorter)


def start_by_hand(whole: int, part: int) -> int:
    """Return where a centred crop starts: torchvision rounds inside, and truncates the border."""
    return round((whole - part) / 2) if whole >= part else -((part - whole) // 2)


def levels_by_hand(photo: Image.Image, preprocess: Preprocess) -> npt.NDArray[np.float64]:
    """Return the input in grey levels, 0 to 255, `[C, H, W]`: resized, cropped, black outside."""
    size = resized_by_hand(*photo.size, preprocess)
    resized = np.asarray(photo.resize(size, FILTERS[preprocess.interpolation]), dtype=float)
    resized = resized.reshape(size[1], size[0], -1).transpose(2, 0, 1)
    if preprocess.size is None:
        return resized
    rows, columns = preprocess.size
    top, left = start_by_hand(size[1], rows), start_by_hand(size[0], columns)
    border = max(rows, columns)
    padded = np.pad(resized, ((0, 0), (border, border), (border, border)))
    return padded[:, border + top :, border + left :][:, :rows, :columns]


def box_by_hand(width: int, height: int, preprocess: Preprocess) -> list[float]:
    """Return left, top, right and bottom of the crop in a photo."""
    size = resized_by_hand(width, height, preprocess)
    rows, columns = preprocess.size or (size[1], size[0])
    left, top = start_by_hand(size[0], columns), start_by_hand(size[1], rows)
    if preprocess.size is None:
        left = top = 0
    across, down = width / size[0], height / size[1]
    return [left * across, top * down, (left + columns) * across, (top + rows) * down]


def network_of(preprocess: Preprocess) -> Any:
    """Return a session whose logits are what the preprocessing makes of a photo."""
    size = preprocess.size or (preprocess.resize if isinstance(preprocess.resize, tuple) else None)
    network = passed_on(preprocess.channels, *(size or ("h", "w")))
    return session(with_preprocessing(network, preprocess))


def sample(name: str) -> Image.Image:
    """Return a sample photo."""
    return Image.open(find_sample(name)).convert("RGB")


def bytes_of(photo: Image.Image) -> npt.NDArray[np.uint8]:
    """Return a photo as `[H, W, C]`."""
    return np.asarray(photo).reshape(photo.height, photo.width, -1)


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    cat = sample("chelsea")
    cup = sample("coffee")
    return [
        cat,
        cup,
        cat.rotate(90, expand=True),
        cat.crop((9, 9, 210, 211)),
        cat.crop((0, 0, 31, 31)),
        cup.crop((5, 5, 405, 46)),  # thin
        cup.crop((5, 5, 96, 176)),
        cup.resize((1501, 997)),
        cat.crop((70, 70, 73, 79)),
    ]


@pytest.mark.parametrize(
    "preprocess",
    [
        Preprocess(),
        Preprocess(interpolation="bicubic"),
        Preprocess(interpolation="nearest"),
        Preprocess(resize=235, size=(224, 225), interpolation="bicubic"),
        Preprocess(resize=(240, 200), size=(224, 191)),
        Preprocess(resize=(99, 130), size=None, interpolation="nearest"),
        Preprocess(resize=100, size=(224, 225)),  # with a black border
        Preprocess(resize=None, size=(225, 224)),
        Preprocess(resize=None, size=None),
        Preprocess(resize=99, size=None),
        Preprocess(resize=250, longest=333, size=(320, 320)),
        Preprocess(resize=64, size=(56, 56), mean=(0.5,), std=(0.25,)),
    ],
    ids=lambda p: f"{p.resize}-{p.longest}-{p.size}-{p.interpolation}-{p.channels}",
)
def test_a_photo_becomes_what_pillow_makes_of_it(
    preprocess: Preprocess, photos: list[Image.Image]
) -> None:
    network = network_of(preprocess)
    mean, std = (np.reshape(v, (-1, 1, 1)) for v in (preprocess.mean, preprocess.std))
    for whole in photos:
        photo = whole.convert("L") if preprocess.channels == 1 else whole
        got = run(network, image=bytes_of(photo), target=TARGET)
        expected = levels_by_hand(photo, preprocess)
        assert got["logits"].shape == (1, *expected.shape)
        gaps = abs((got["logits"][0] * std + mean) * 255 - expected)
        assert gaps.max() < 1.001
        # Pillow 13 resizes some photos along the other axis first.
        exact = preprocess.interpolation == "nearest" or preprocess.resize is None
        assert gaps.mean() < (1e-4 if exact else 0.25)
        # Nor is what the product itself makes of a photo farther away.
        assert abs(got["logits"][0] - preprocess(photo).numpy()).max() < 1.001 / 255 / std.min()
        np.testing.assert_array_equal(got["size"], [photo.height, photo.width])
        expected_box = np.array(box_by_hand(*photo.size, preprocess), np.float32)
        np.testing.assert_array_equal(got["crop"], expected_box)
        own_box = np.array(preprocess.crop_box(photo), np.float32)
        np.testing.assert_array_equal(got["crop"], own_box)


@pytest.mark.parametrize("longest", [None, 50])
def test_sizes_and_crops_are_those_of_python(longest: int | None) -> None:
    # Odd and even sizes, proportions of 1 to 60, and quotients that are whole.
    preprocess = Preprocess(resize=30, size=(27, 32), longest=longest, interpolation="nearest")
    network, random = network_of(preprocess), np.random.default_rng(0)
    sizes = [*random.integers(1, 90, (150, 2)), (30, 30), (1, 60), (60, 1), (30, 45), (7, 7)]
    for width, height in sizes:
        photo = np.zeros((height, width, 3), np.uint8)
        got = run(network, image=photo, target=TARGET)
        expected = np.array(box_by_hand(int(width), int(height), preprocess), np.float32)
        np.testing.assert_array_equal(got["crop"], expected)


def test_a_network_says_of_a_photo_what_it_says_of_its_input() -> None:
    model = exported(trained_network(steps=5))
    preprocess = Preprocess(resize=70, size=(64, 64), mean=MEAN, std=STD)
    before = model.SerializeToString(deterministic=True)
    joined = with_preprocessing(model, preprocess)
    assert model.SerializeToString(deterministic=True) == before
    assert [(p.key, p.value) for p in joined.metadata_props] == [("limelight", "a description")]
    photo = sample("chelsea")
    got = run(session(joined), image=bytes_of(photo), target=TARGET)
    seen = preprocess(photo)[None].numpy()
    expected = run(session(model), image=seen, target=TARGET)
    assert list(got) == [*expected, "crop", "size"]
    for name in expected:
        assert got[name].shape == expected[name].shape
        np.testing.assert_allclose(got[name], expected[name], rtol=0.02, atol=0.02)
    # As many bytes as the weights and a few steps.
    assert joined.ByteSize() - model.ByteSize() < 10_000


def test_the_axes_say_what_is_known_of_them() -> None:
    preprocess = Preprocess(resize=70, size=(64, 60))
    joined = with_preprocessing(passed_on(3, 64, "height"), preprocess)
    axes = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*joined.graph.input, *joined.graph.output)
    }
    assert axes == {
        "image": ["height", "width", 3],
        "target": [1],
        "logits": [1, 3, 64, 60],
        "status": [1],
        "crop": [4],
        "size": [2],
    }
    free = with_preprocessing(passed_on(3, "height", "width"), replace(preprocess, size=None))
    logits = free.graph.output[0].type.tensor_type.shape.dim
    assert [axis.dim_param for axis in logits][2:] == ["seen_height", "seen_width"]


def test_names_inside_a_network_do_not_clash_with_those_of_the_photo() -> None:
    # The branches of an If read the image by its name, too.
    model = passed_on(3, 8, 8)
    branch = helper.make_graph(
        [helper.make_node("Neg", ["image"], ["negative"])],
        "branch",
        [],
        [helper.make_tensor_value_info("negative", TensorProto.FLOAT, None)],
    )
    del model.graph.node[0]
    model.graph.initializer.append(helper.make_tensor("yes", TensorProto.BOOL, [], [True]))
    model.graph.node.insert(
        0, helper.make_node("If", ["yes"], ["crop"], then_branch=branch, else_branch=branch)
    )
    model.graph.node.insert(1, helper.make_node("Abs", ["crop"], ["size"]))
    model.graph.node.insert(2, helper.make_node("Neg", ["size"], ["logits"]))
    preprocess = Preprocess(resize=(8, 8), size=None, mean=(0, 0, 0), std=(1, 1, 1))
    photo = sample("chelsea")
    got = run(session(with_preprocessing(model, preprocess)), image=bytes_of(photo), target=TARGET)
    expected = -levels_by_hand(photo, preprocess) / 255
    assert abs(got["logits"][0] - expected).max() < 1.001 / 255
    assert got["size"].tolist() == [photo.height, photo.width]


OUTSIDE = "Export without the preprocessing, and pass the file what Preprocess makes of a photo."


@pytest.mark.parametrize(
    ("preprocess", "says"),
    [
        (
            Preprocess(interpolation="lanczos"),
            "The Preprocess resizes by 'lanczos', which ONNX lacks; 'bilinear', 'bicubic' and "
            f"'nearest' can be inside the file. {OUTSIDE}",
        ),
        (
            Preprocess(window=(40, 400)),
            "The Preprocess has window=(40, 400); inside the file it reads 8-bit photos, which "
            f"need none. {OUTSIDE}",
        ),
        (
            Preprocess(size=(8, 9, 9), resize=(8, 9, 9), mean=(0.5,), std=(0.5,)),
            "The Preprocess makes volumes, (8, 9, 9); inside the file it reads pictures only. "
            f"{OUTSIDE}",
        ),
        (
            Preprocess(mean=(0.5,) * 4, std=(0.5,) * 4),
            "The Preprocess makes 4 channels; inside the file it reads 8-bit photos, grey (1) or "
            f"RGB (3). {OUTSIDE}",
        ),
        (
            Preprocess(size=(224, 192)),
            "The network takes [any, 3, 224, 224] and the Preprocess makes [1, 3, 224, 192] of a "
            "photo. Give both the same size and channels, and a batch of 1 or of any size.",
        ),
        (
            Preprocess(size=None),
            "The network takes [any, 3, 224, 224] and the Preprocess makes [1, 3, any, any] of a "
            "photo. Give both the same size and channels, and a batch of 1 or of any size.",
        ),
    ],
    ids=["lanczos", "window", "volume", "channels", "size", "free"],
)
def test_what_the_graph_cannot_do_is_refused(preprocess: Preprocess, says: str) -> None:
    with pytest.raises(OptionError) as error:
        with_preprocessing(passed_on(3, 224, 224), preprocess)
    assert str(error.value) == says


def without_image() -> onnx.ModelProto:
    model = passed_on(3, 224, 224)
    model.graph.input[0].name = "signal"
    return model


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (
            passed_on(3, 224, 224, batch=4),
            "The network takes [4, 3, 224, 224] and the Preprocess makes [1, 3, 224, 224] of a "
            "photo. Give both the same size and channels, and a batch of 1 or of any size.",
        ),
        (
            passed_on(3, 224, 224, opset=17),
            "The network was exported in opset 17; with the preprocessing inside, 18 or later is "
            "needed. Export it in a later one.",
        ),
        (
            without_image(),
            "The network takes signal, target; for the preprocessing inside, an input 'image', "
            f"float32 [batch, C, H, W], was expected. {OUTSIDE}",
        ),
    ],
    ids=["batch", "opset", "image"],
)
def test_networks_that_take_no_photo_are_refused(model: onnx.ModelProto, says: str) -> None:
    with pytest.raises(OptionError) as error:
        with_preprocessing(model, Preprocess())
    assert str(error.value) == says
