"""Files that limelight exported, read and drawn without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

import limelight
from helpers.deployed_files import (
    CLASSES,
    MESSAGES,
    NETWORK,
    described,
    map_of,
    save_file,
    save_file_of_arrays,
)
from helpers.hidden_packages import hide_for_a_test
from helpers.tolerances import assert_agrees
from limelight import Preprocess, Raster, deployed, finish, finish_arrays, render
from limelight.deployed.scores import answers, ranked, read_scores
from limelight.errors import (
    InputError,
    LimelightError,
    MissingPackageError,
    MissingPhotoError,
    MissingWeightsError,
    OptionError,
    OutputError,
    PhotoError,
    TargetError,
    UnknownNameError,
    WeightsError,
)
from limelight.exporting.class_scores import score_of_region

#: What a server does not have.
ABSENT = (
    *("torch", "torchvision", "timm", "scipy", "skimage", "tifffile", "jinja2", "safetensors"),
    *("filelock", "pandas", "onnx", "onnxscript"),
)


def photo_of(size: tuple[int, int], seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (7, 9, 3), dtype=np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with files, and three photos."""
    path = tmp_path_factory.mktemp("deployed")
    save_file(path / "net.onnx")
    save_file(path / "two.onnx", described(maps=(map_of(), map_of(1))))
    save_file(path / "four.onnx", described(batch=4))
    save_file(path / "inside.onnx", described(preprocessing_inside=True))
    for seed, size in enumerate([(300, 200), (120, 260), (90, 80)]):
        photo_of(size, seed).save(path / f"{seed}.png")
    return path


@pytest.fixture(scope="module")
def photos(folder: Path) -> list[Path]:
    return [folder / f"{seed}.png" for seed in range(3)]


@pytest.fixture(scope="module")
def network(folder: Path) -> deployed.DeployedNetwork:
    return deployed.load(folder / "net.onnx")


def same(found: deployed.DeployedExplanation, expected: limelight.Explanation) -> None:
    """Assert that a file says what the network in PyTorch says."""
    assert_agrees(torch.from_numpy(found.raw), expected.raw)
    assert_agrees(torch.from_numpy(found.heatmap), expected.heatmap)
    assert_agrees(torch.from_numpy(found.score), expected.score)
    assert expected.index is not None
    assert found.index.tolist() == expected.index.tolist()
    assert found.label == expected.label
    assert [each.name for each in found.status] == [each.name for each in expected.status]
    assert (found.method, found.layer) == (expected.method, expected.layer)


def test_a_file_is_read_and_drawn_without_torch(folder: Path, photos: list[Path]) -> None:
    code = f"""
import sys
absent = {ABSENT!r}
sys.modules |= dict.fromkeys(absent)
import limelight
from limelight import deployed
result = deployed.load("net.onnx").explain("0.png", "pug")
result.save("alone.npz", whole=True)
assert "matplotlib" not in sys.modules
result.save("alone.png", whole=True)
result.save("signed.png", picture="signed")
result.overlay(whole=True, signed=True)
loaded = [name for name in sys.modules if name.partition(".")[0] in absent]
print([name for name in loaded if sys.modules[name] is not None], result)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("[] DeployedExplanation(pug; score "), done.stderr
    expected = limelight.explain(NETWORK, photos[0], target=1, layer="relu")
    expected.save(folder / "with.png", whole=True)
    alone, drawn = (np.asarray(Image.open(folder / f"{name}.png")) for name in ("alone", "with"))
    assert np.array_equal(alone, drawn)
    with np.load(folder / "alone.npz") as arrays:
        (seen,) = expected.photo_heatmaps()
        assert np.array_equal(arrays["photo_seen_0"], seen.seen.numpy())
        assert_agrees(torch.from_numpy(arrays["photo_heatmap_0"]), seen.heatmap)
        assert arrays["logits"].shape == (1, 3)
        names = json.loads(str(arrays["names"]))
    assert names == {"label": ["pug"], "status": ["ok"], "method": "gradcam", "layer": "relu"}


SIZES = [(1, 1), (5, 9), (33, 33), (224, 224), (230, 517)]
GRIDS = [(1, 1), (1, 7), (7, 7), (3, 12), (56, 40)]
SPANS: list[tuple[tuple[float, float, float, float], ...]] = [
    (),
    ((-0.1, 1.1, 0, 1), (0, 0.9, 0, 1)),
    ((0.1, 0.8, 0.1, 0.9), (0.2, 1.0, 0.25, 1.0)),
]


@pytest.mark.parametrize("span", SPANS, ids=str)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_arrays_are_finished_as_tensors_are(
    grid: tuple[int, int], span: tuple[tuple[float, float, float, float], ...]
) -> None:
    raw = np.random.default_rng(1).standard_normal((2, *grid)).astype(np.float32)
    raw[0, 0, 0] = np.nan
    for size in SIZES:
        # In 64 bits: torch finds places in the numbers of the map.
        exact = finish.finish(
            torch.from_numpy(raw).double(), size, [finish.AxisSpan(*each) for each in span]
        ).numpy()
        found = finish_arrays.finish(raw, size, span)
        assert found.dtype == np.float32
        assert np.abs(found - exact).max() < 1e-6
        pieces = finish_arrays.FinishedInPieces(raw[1], size, span)
        top, left = size[0] // 2, size[1] // 3
        assert np.abs(pieces[:, :] - exact[1]).max() < 1e-6
        assert np.abs(pieces[top:, left:] - exact[1, top:, left:]).max() < 1e-6


def test_signed_pieces_are_divided_by_the_highest() -> None:
    raw = np.array([[1.0, -2.0], [0.5, 0.0]], np.float32)
    pieces = finish_arrays.FinishedInPieces(raw, (6, 8), highest=2.0)
    assert np.allclose(pieces[:, :], finish_arrays.resize(raw[None], (6, 8))[0] / 2)


def test_a_photo_is_explained_as_by_the_network(
    network: deployed.DeployedNetwork, photos: list[Path]
) -> None:
    decoded = limelight.load_photo(photos[0])
    for given in (
        photos[0],
        str(photos[0]),
        decoded,
        np.asarray(decoded),
        Raster.of(np.asarray(decoded)),
    ):
        same(network.explain(given), limelight.explain(NETWORK, given, layer="relu"))
    several = network.explain(photos, ["Tabby", None, 1])
    classes = [0, int(several.index[1]), 1]
    same(several, limelight.explain(NETWORK, photos, target=classes, layer="relu"))
    assert len(several) == 3
    same(several[-1], limelight.explain(NETWORK, photos[2], target=1, layer="relu"))
    with pytest.raises(IndexError, match="There are 3 images; there is no image 3"):
        several[3]
    assert repr(several[2]) == (
        f"DeployedExplanation(pug; score {several.score[2]:.4g}; gradcam at relu; status ok; raw "
        "[1, 10, 12], heatmap [1, 40, 48])"
    )
    assert repr(network) == "DeployedNetwork(net; gradcam at relu)"


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("kind", ["figure", "overlay", "article", "blend", "heatmap", "signed"])
def test_pictures_are_those_of_explain(
    network: deployed.DeployedNetwork, photos: list[Path], tmp_path: Path, kind: Any, whole: bool
) -> None:
    results = [
        network.explain(photos[1]),
        limelight.explain(NETWORK, photos[1], layer="relu"),
    ]
    drawn = [
        Image.open(each.save(tmp_path / f"{n}.png", picture=kind, whole=whole))  # type: ignore[attr-defined]
        for n, each in enumerate(results)
    ]
    pixels = [np.asarray(each, int) for each in drawn]
    # The raw maps differ by rounding, which may move a value to the next colour.
    assert np.abs(pixels[0] - pixels[1]).max() <= 4
    assert (pixels[0] != pixels[1]).mean() < 1e-3


def test_large_photos_are_drawn_in_pieces(
    network: deployed.DeployedNetwork, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = network.explain(photos[0])
    whole = [np.asarray(result.overlay(whole=True, signed=s)[0], int) for s in (False, True)]
    monkeypatch.setattr("limelight.drawing._MAX_WHOLE_PIXELS", 100)
    again = [np.asarray(result.overlay(whole=True, signed=s)[0], int) for s in (False, True)]
    for at_once, in_pieces in zip(whole, again, strict=True):
        assert np.abs(at_once - in_pieces).max() <= 4
        assert (at_once != in_pieces).mean() < 0.01


def test_several_images_share_a_scale(
    network: deployed.DeployedNetwork, photos: list[Path], tmp_path: Path
) -> None:
    result = network.explain(photos)
    assert len(result.figure().axes) == len(result.figure(scale="shared", signed=True).axes)
    assert result.save(tmp_path / "all.pdf", scale="shared").stat().st_size > 1000
    with pytest.raises(OutputError, match="One overlay was asked for, and there are 3 images"):
        result.save(tmp_path / "all.png", picture="overlay")
    with pytest.raises(OutputError, match="suffix should be one of png"):
        result.save(tmp_path / "all.txt")


def test_an_array_is_taken_as_it_is(network: deployed.DeployedNetwork, photos: list[Path]) -> None:
    images = torch.stack([NETWORK.preprocess(limelight.load_photo(path)) for path in photos])
    found = network.explain(images.numpy(), 1)
    same(found, limelight.explain(NETWORK.model, images, target=1, layer="relu", classes=CLASSES))
    by_tensor = network.explain(images)  # type: ignore[arg-type]  # works, and is not promised
    assert by_tensor.label == network.explain(images.double().numpy()).label
    assert found.overlay()[0].size == (48, 40)
    views = [NETWORK.preprocess.view(limelight.load_photo(path)) for path in photos]
    assert [each.size for each in found.overlay(views)] == [view.size for view in views]
    with pytest.raises(InputError, match="Photo 0 does not show what the network was given"):
        found.overlay(views[::-1])
    with pytest.raises(InputError, match="whole=True draws on the whole photo"):
        found.overlay(whole=True)


def test_a_fixed_batch_is_filled_up(folder: Path, photos: list[Path]) -> None:
    four, any_number = deployed.load(folder / "four.onnx"), deployed.load(folder / "net.onnx")
    many = [*photos, *photos]
    found, expected = four.explain(many, [0, 1, 2] * 2), any_number.explain(many, [0, 1, 2] * 2)
    assert found.index.tolist() == [0, 1, 2, 0, 1, 2]
    assert_agrees(torch.from_numpy(found.raw), torch.from_numpy(expected.raw))
    assert len(found.image) == len(found.crops or ()) == 6


def test_a_file_may_prepare_photos_itself(folder: Path, photos: list[Path]) -> None:
    network = deployed.load(folder / "inside.onnx")
    result = network.explain([*photos, np.asarray(limelight.load_photo(photos[0]))])
    assert result.crops is not None
    assert [crop.box for crop in result.crops[:2]] == [(0, 0, 300, 200), (0, 0, 120, 260)]
    assert [crop.name for crop in result.crops] == ["0.png", "1.png", "2.png", ""]
    assert [each.size for each in result.overlay(whole=True)[:2]] == [(300, 200), (120, 260)]
    assert result.score[0] == result.score[3]
    assert result[1].figure().axes[0].get_title() == "1.png"
    with pytest.raises(InputError, match="the file makes the network's input itself"):
        network.explain(np.zeros((1, 3, 40, 48), np.float32))
    with pytest.raises(PhotoError, match="has numbers of float64, and the file takes bytes"):
        network.explain(Raster.of(np.random.default_rng(0).random((20, 30, 3))))


def test_a_file_may_hold_several_maps(folder: Path, photos: list[Path]) -> None:
    network = deployed.load(folder / "two.onnx")
    assert repr(network) == "DeployedNetwork(net; gradcam at relu, gradcam++ at relu)"
    first, second = network.explain(photos), network.explain(photos, method="gradcam++")
    assert [each.method for each in first.maps] == ["gradcam", "gradcam++"]
    assert (first.method, second.method) == ("gradcam", "gradcam++")
    assert np.array_equal(second.raw, first.maps[1].raw)
    assert np.array_equal(first.maps[1].raw, -abs(first.raw))
    assert np.array_equal(second[1].maps[0].raw, first.raw[1:2])
    assert network.explain(photos, layer="relu").method == "gradcam"
    with pytest.raises(UnknownNameError, match="no method in the file named 'gradcan'"):
        network.explain(photos, method="gradcan")
    with pytest.raises(UnknownNameError, match="It has relu"):
        network.explain(photos, layer="blocks[3]")


def test_a_map_that_shows_nothing_says_why(folder: Path, photos: list[Path]) -> None:
    network = deployed.load(folder / "two.onnx")
    result = network.explain(photos[0], method="gradcam++")
    status = result.status[0]
    assert (status.name, status.message) == ("no-positive-evidence", MESSAGES[1])
    assert not result.heatmap.any()
    assert not result.heatmap_at((50, 60)).any()
    assert not result.in_pieces((50, 60))[:, :].any()
    notes = [" ".join(text.get_text().split()) for text in result.figure().texts]
    assert f"no-positive-evidence: {MESSAGES[1]}" in notes


REFUSED: list[tuple[Any, Any, type[LimelightError], str]] = [
    ("0.png", "pgu", UnknownNameError, "no class named 'pgu'. Did you mean 'pug'?"),
    ("0.png", 3, TargetError, "an index from 0 to 2 was expected"),
    ("0.png", -1, TargetError, "an index from 0 to 2 was expected"),
    (["0.png"] * 2, [0, 1, 2], TargetError, "There are 3 targets for 2 images"),
    ([], None, InputError, "No photo was given"),
    ("none.png", None, MissingPhotoError, "There is no file"),
    (3, None, InputError, "A int was given; a photo was expected"),
    (
        np.zeros((2, 3, 8, 8), np.float32),
        None,
        InputError,
        "[2, 3, 8, 8] was given; the file takes",
    ),
    (np.zeros((0, 3, 40, 48), np.float32), None, InputError, "[B, 3, 40, 48] of float32"),
    (np.zeros((1, 3, 40, 48), np.uint8), None, InputError, "An array of uint8 was given"),
    ("0.png", 1.0, TargetError, "The target is 1.0; a class was expected, by its index"),
    ("0.png", np.float32(3), TargetError, "The target is np.float32(3.0); a class was expected"),
    ("0.png", np.array(1.5), TargetError, "The target is array(1.5); a class was expected"),
    ("0.png", [1.5], TargetError, "or None for the predicted one"),
    ("0.png", np.array(3), TargetError, "an index from 0 to 2 was expected"),
    ("0.png", True, TargetError, "The target class is True"),
    ("0.png", object, TargetError, "The target is <class 'object'>; a class was expected"),
]


@pytest.mark.parametrize(("inputs", "target", "kind", "says"), REFUSED, ids=range(len(REFUSED)))
def test_what_a_file_does_not_take_is_refused(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    inputs: Any,
    target: Any,
    kind: type[LimelightError],
    says: str,
) -> None:
    monkeypatch.chdir(folder)
    given: Any = [inputs] if isinstance(inputs, int) else inputs
    with pytest.raises(kind) as error:
        deployed.load("net.onnx").explain(given, target)
    assert says in str(error.value)


def test_a_file_without_names_or_preprocessing_takes_indices_and_arrays(tmp_path: Path) -> None:
    path = save_file(tmp_path / "bare.onnx", described(classes=None, preprocess=None))
    network = deployed.load(path)
    assert network.preprocess is None
    images = np.random.default_rng(0).random((2, 3, 40, 48), np.float32)
    assert network.explain(images, 2).label == ("class 2", "class 2")
    with pytest.raises(TargetError, match="'pug', and the file does not say the names"):
        network.explain(images, "pug")
    with pytest.raises(TargetError, match="an index from 0 to 2 was expected"):
        network.explain(images, 3)
    with pytest.raises(InputError, match=r"Pass an array \[B, 3, 40, 48\] of float32"):
        network.explain(photo_of((50, 50)))


@pytest.mark.parametrize("given", [None, 5])
def test_what_is_no_photo_and_no_array_is_told(tmp_path: Path, given: Any) -> None:
    photo = "a photo or a list of them (a path, a Pillow picture, a Raster or an array of pixels)"
    array = "an array [B, 3, 40, 48] of float32"
    taken: list[tuple[dict[str, Any], str]] = [
        ({}, f"{photo}, or {array}"),
        ({"preprocess": None}, array),
        ({"preprocessing_inside": True}, photo),
    ]
    for fields, expected in taken:
        network = deployed.load(save_file(tmp_path / "net.onnx", described(**fields)))
        with pytest.raises(InputError) as error:
            network.explain(given)
        assert str(error.value) == f"{given} was given; {expected} was expected."


def test_a_class_may_be_an_array_without_axes(
    network: deployed.DeployedNetwork, photos: list[Path]
) -> None:
    several: list[Any] = [np.array(1), np.int64(1), np.array([1, 1])]
    for target in several:
        assert network.explain(photos[:2], target).label == ("pug", "pug")


@pytest.mark.parametrize("size", [(20,), (4, 5, 6), (3, 2, 5, 6)], ids=str)
def test_signals_volumes_and_frames_are_explained(tmp_path: Path, size: tuple[int, ...]) -> None:
    network = deployed.load(save_file_of_arrays(tmp_path / "net.onnx", *size))
    images = np.random.default_rng(0).random((3, 2, *size), np.float32)
    result = network.explain(images, [0, "beat", None])
    means = images.reshape(3, 2, -1).mean(2)
    assert result.label[:2] == ("rest", "beat")
    assert np.allclose(result.score, [means[0, 0], means[1, 1], means[2].max()])
    assert np.array_equal(result.raw, images.max(1))
    assert result.heatmap.shape == (3, *size)
    larger = tuple(2 * n for n in size)
    assert result[1].heatmap_at(larger).shape == (1, *larger)
    with np.load(result.save(tmp_path / "maps.npz")) as arrays:
        assert np.array_equal(arrays["heatmap"], result.heatmap)
    draw: list[Callable[[], object]] = [
        result.overlay,
        result.figure,
        lambda: result.save(tmp_path / "maps.png"),
        lambda: result[0].save(tmp_path / "maps.png", picture="heatmap"),
    ]
    for each in draw:
        with pytest.raises(InputError, match=r"without torch only pictures .* to an .npz file"):
            each()
    for given in (images[0], images[:, :, :-1]):
        with pytest.raises(InputError) as error:
            network.explain(given)
        said = f"An array of shape {list(given.shape)} was given; the file takes an array [B, 2, "
        assert said in str(error.value)
    with pytest.raises(InputError, match=r"of int64 was given.* and normalised\.$"):
        network.explain(images.astype(np.int64))


def test_volumes_are_prepared_as_photos_are(tmp_path: Path) -> None:
    preprocess = {"size": (4, 5, 6), "resize": (4, 5, 6), "mean": (0.5, 0.5), "std": (0.5, 0.5)}
    path = save_file_of_arrays(tmp_path / "net.onnx", 4, 5, 6, preprocess=preprocess)
    volume = np.random.default_rng(0).random((4, 5, 6, 2), np.float32)
    network = deployed.load(path)
    prepared = np.moveaxis(2 * volume[None] - 1, -1, 1)
    result = network.explain(Raster.of(volume, 2))
    assert np.allclose(result.raw, network.explain(prepared).raw, atol=1e-5)
    assert result.crops is None
    assert result.save(tmp_path / "maps.npz").is_file()
    for name, whole in (("maps.npz", True), ("maps.png", False)):
        with pytest.raises(InputError, match="without torch only pictures"):
            result.save(tmp_path / name, whole=whole)


def test_labels_are_those_of_explain() -> None:
    single = read_scores(np.ones((1, 1), np.float32), np.array([-1]), described(classes=None))
    assert single.label == ("the output",)
    named = read_scores(np.ones((1, 1), np.float32), np.array([-1]), described(classes=("pug",)))
    assert named.label == ("pug",)
    cells = np.array([[[[2.0, 1.0]], [[1.0, 3.0]], [[0.0, 0.0]]]], np.float32)
    about = described(output="regions", classes=None)
    model = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Upsample(scale_factor=4))
    for target in (-1, 1, 2):
        found = read_scores(cells, np.array([target]), about)
        expected = limelight.explain(
            model, torch.from_numpy(cells), target=None if target < 0 else target, layer="0"
        )
        assert found.label == expected.label
    assert found.label == ("class 2, predicted nowhere",)
    below = read_scores(-cells[:, :1] - 1, np.array([-1]), about)
    assert below.label == ("the output, predicted nowhere",)


def test_a_photo_that_becomes_another_input_is_refused(tmp_path: Path) -> None:
    preprocess = described().preprocess or {}
    about = described(preprocess={**preprocess, "size": None, "resize": 60})
    network = deployed.load(save_file(tmp_path / "any.onnx", about))
    with pytest.raises(PhotoError, match=r"becomes an input \[3, 60, 90\], and the file takes"):
        network.explain(photo_of((90, 60)))


def broken(path: Path) -> Iterator[tuple[str, type[LimelightError], str]]:
    """Write files that cannot be opened; yield their names, the error, and what it says."""
    (path / "empty.onnx").touch()
    (path / "text.onnx").write_text("no network")
    (path / "cut.onnx").write_bytes(save_file(path / "whole.onnx").read_bytes()[:900])
    save_file(path / "foreign.onnx", described_=False)
    save_file(path / "apart.onnx", external=True)
    (path / "apart.onnx.data").unlink()
    save_file(path / "later.onnx", replace(described(), form=99, version="9.0"))
    model = onnx.load(path / "whole.onnx")
    onnx.helper.set_model_props(model, {"limelight": "{"})
    onnx.save_model(model, path / "damaged.onnx")
    (path / "program.pt2").touch()
    (path / "folder.onnx").mkdir()
    yield "empty.onnx", WeightsError, "is no ONNX file that onnxruntime can run"
    yield "text.onnx", WeightsError, "is no ONNX file that onnxruntime can run"
    yield "cut.onnx", WeightsError, "is no ONNX file that onnxruntime can run"
    yield "foreign.onnx", WeightsError, "not one that limelight exported"
    yield "apart.onnx", WeightsError, "copy the file 'apart.onnx.data' to the same folder"
    yield "later.onnx", WeightsError, "written by limelight 9.0, in form 99"
    yield "damaged.onnx", WeightsError, "The description in the file cannot be read"
    yield "program.pt2", OptionError, "is a program of torch.export, which needs PyTorch"
    yield "folder.onnx", WeightsError, "is a folder; an .onnx file was expected"
    yield "none.onnx", MissingWeightsError, "There is no file"


def test_files_that_cannot_be_opened_are_refused(tmp_path: Path) -> None:
    for name, kind, says in broken(tmp_path):
        with pytest.raises(LimelightError) as error:
            deployed.load(tmp_path / name)
        assert type(error.value) is kind, name
        assert says in str(error.value), name
        assert name in str(error.value) or kind is WeightsError


DAMAGED = [
    ('{"form": 1}', "it has no 'preprocess'"),
    ('{"form": "2"}', "its form is '2', and a whole number was expected"),
    ('{"form": null}', "its form is None"),
    ('{"form": 1, "preprocess": null, "maps": [{"colour": 1}]}', "argument 'colour'"),
    ('{"form": 1, "preprocess": null, "maps": 5}', "not iterable"),
    ('{"form": 1, "preprocess": 5, "maps": []}', "no attribute 'items'"),
    ('{"form": 1, "preprocess": null, "maps": [], "colour": 1}', "argument 'colour'"),
    ("[]", "indices must be integers"),
    ("null", "not subscriptable"),
]


@pytest.mark.parametrize(("text", "says"), DAMAGED)
def test_a_damaged_description_is_told(text: str, says: str) -> None:
    with pytest.raises(WeightsError, match="The description in the file cannot be read: ") as error:
        deployed.Description.from_json(text)
    assert says in str(error.value)


def test_a_description_is_json_whatever_its_figures() -> None:
    figures = {"raw": float("nan"), "logits": float("inf"), "images": 4.0}
    about = described(parity=figures, quantised=figures)

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    fields = json.loads(about.to_json(), parse_constant=refuse)
    assert fields["parity"] == {"raw": None, "logits": None, "images": 4.0}
    found = deployed.Description.from_json(about.to_json())
    assert found == replace(about, parity=fields["parity"], quantised=fields["quantised"])
    assert deployed.Description.from_json(found.to_json()) == found


def test_weights_in_a_file_of_their_own_are_found(tmp_path: Path) -> None:
    network = deployed.load(save_file(tmp_path / "apart.onnx", external=True))
    assert network.explain(photo_of((60, 50))).status[0].ok


def test_what_is_not_installed_is_named(
    folder: Path,
    photos: list[Path],
    network: deployed.DeployedNetwork,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = network.explain(photos[0])
    with pytest.raises(OptionError, match="no provider 'Abacus' here; it has"):
        deployed.load(folder / "net.onnx", providers=["Abacus"])
    hide_for_a_test(monkeypatch, "onnxruntime", "matplotlib")
    with pytest.raises(MissingPackageError, match=r"pip install onnxruntime\. The extra 'export'"):
        deployed.load(folder / "net.onnx")
    draw: list[Callable[[], object]] = [
        result.overlay,
        result.figure,
        lambda: result.save(folder / "x.png"),
    ]
    for each in draw:
        with pytest.raises(MissingPackageError, match="pip install matplotlib"):
            each()


def test_threads_and_providers_reach_onnxruntime(folder: Path) -> None:
    network = deployed.load(folder / "net.onnx", providers=["CPUExecutionProvider"], threads=1)
    assert network.session.get_session_options().intra_op_num_threads == 1
    assert network.session.get_providers() == ["CPUExecutionProvider"]


def test_what_onnxruntime_cannot_run_is_told(tmp_path: Path) -> None:
    path = save_file(tmp_path / "net.onnx", described(input_shape=(3, 20, 20), preprocess=None))
    with pytest.raises(InputError, match=r"cannot run .*net.onnx' on an image of shape \[1, 3, 2"):
        deployed.load(path).explain(
            np.zeros((1, 3, 2, 2), np.float32)[:, :, :1].repeat(20, 2).repeat(10, 3)
        )


def test_scores_of_a_segmenter() -> None:
    about = described(output="regions")
    cells = np.zeros((1, 3, 2, 2), np.float32)
    cells[0, 0] = [[3, 1], [-1, -1]]
    cells[0, 2] = [[0, 2], [5, 5]]  # background: most cells, and still the last
    cells[0, 1] = -2
    found = read_scores(cells, np.array([-1]), about)
    assert found.index.tolist() == [0]
    assert found.score.tolist() == [3.0]
    assert found.region is not None
    assert found.region[0].tolist() == [[True, False], [False, False]]
    asked = read_scores(np.repeat(cells, 2, 0), np.array([2, 1]), about)
    assert asked.score.tolist() == [4.0, -2.0]  # of three cells; of all, as it has none
    assert ranked(cells, about)[0].tolist() == [0, 1, 2]
    assert answers(cells, about) == [(2, 0.75), (0, 0.25)]
    single = read_scores(cells[:, :1], np.array([-1]), described(output="regions", classes=None))
    assert single.score.tolist() == [2.0]
    assert answers(cells[:, :1], about) == [(0, 0.5)]


def test_scores_of_a_detector() -> None:
    about = described(output="boxes")
    boxes = np.array([[[1, -1, 0], [0.5, 3, 0], [-2, 2, 2]]], np.float32)
    found = read_scores(np.repeat(boxes, 2, 0), np.array([-1, 2]), about)
    assert found.index.tolist() == [1, 2]
    assert found.score.tolist() == [3.0, 2.0]
    assert found.region is None
    assert [index for index, _ in answers(boxes, about)] == [1, 2, 0]
    # With a class that means no object, the box counts that is most probably of the class.
    apart = np.array([[[1, 0, -9], [2, 0, 9]]], np.float32)
    softmax = described(output="boxes", no_object=True)
    assert read_scores(apart, np.array([-1]), softmax).score.tolist() == [1.0]
    assert ranked(apart, softmax)[0].tolist() == [0, 1]


def test_boxes_are_compared_by_logits_where_sigmoids_round_to_one() -> None:
    about = described(output="boxes")
    boxes = np.array([[[18, 2], [3, 1], [3, 20]], [[18, 2], [25, 1], [3, 20]]], np.float32)
    found = read_scores(boxes, np.array([-1, 0]), about)
    assert found.index.tolist() == [1, 0]
    assert found.score.tolist() == [20.0, 25.0]
    assert ranked(40 * boxes, about)[:, 0].tolist() == [1, 0]
    assert answers(boxes[:1], about)[0] == (1, 1 / (1 + np.exp(-20.0)))
    assert answers(-1000 * boxes[:1], about)[0] == (0, 0.0)


def test_a_region_is_found_in_32_bits_as_in_the_file() -> None:
    about = described(output="regions", classes=None)
    cells = np.zeros((1, 2, 256, 512), np.float32)
    cells[0, 0, :128] = 1.0
    cells[0, 1, 128:] = 2.0
    # Equal areas: by its mean the second class were first, but in 32 bits the sums are equal.
    _, index = score_of_region(torch.from_numpy(cells), torch.tensor([-1]))
    assert read_scores(cells, np.array([-1]), about).index.tolist() == index.tolist() == [0]
    _, index = score_of_region(torch.from_numpy(cells[..., :8]), torch.tensor([-1]))
    found = read_scores(cells[..., :8], np.array([-1]), about)
    assert found.index.tolist() == index.tolist() == [1]


def test_segmenters_and_detectors_are_drawn(tmp_path: Path) -> None:
    for kind in ("regions", "boxes"):
        network = deployed.load(save_file(tmp_path / f"{kind}.onnx", described(output=kind)))
        result = network.explain(photo_of((90, 70)), "pug")
        assert result.save(tmp_path / f"{kind}.png", whole=True).is_file()
        outlined = any(each is not None for each in result.scored_regions)
        assert outlined == (kind == "regions")


PREPROCESSES = [
    Preprocess(),
    Preprocess(size=None, resize=90, interpolation="bicubic"),
    Preprocess(mean=(0.5,), std=(0.25,), size=(30, 40), resize=(50, 50)),
    Preprocess(window=(100, 80), size=(64, 64), resize=64),
]


@pytest.mark.parametrize("preprocess", PREPROCESSES, ids=str)
def test_an_input_is_the_same_as_an_array(preprocess: Preprocess) -> None:
    photo = photo_of((130, 100)).convert("L" if preprocess.channels == 1 else "RGB")
    array, tensor = preprocess.array(photo), preprocess(photo)
    assert array.dtype == np.float32
    assert np.array_equal(array, tensor.numpy())
    assert array.strides == tuple(4 * step for step in tensor.stride())


def test_volumes_are_cropped_and_padded_around_their_middle() -> None:
    volume = np.arange(5 * 6 * 7, dtype=np.float32).reshape(5, 6, 7)
    shape = Preprocess(size=(3, 8, 7), resize=(5, 6, 7), mean=(0.0,), std=(1.0,))
    found = shape.array(Raster.of(volume))[0] * volume.max()
    assert found.shape == (3, 8, 7)
    assert np.allclose(found[:, 1:7], volume[1:4], atol=1e-3)
    assert not found[:, [0, 7]].any()


def test_arrays_are_drawn_as_tensors_are() -> None:
    heat = torch.rand(60, 80, generator=torch.Generator().manual_seed(1))
    photo, array = photo_of((80, 60)), heat.numpy()
    on_photo = [render.HeatOnPhoto(each, (-4, 10, 76, 70), (90, 80)) for each in (heat, array)]
    pairs = [
        [render.overlay(photo, each) for each in (heat, array)],
        [render.colourise(each, "jet") for each in on_photo],
        [render.outlined(photo.copy(), each > 0.5) for each in (heat, array)],
        [render.overlay(photo, render.highest_heat([each, each])) for each in (heat, array)],
    ]
    for of_tensor, of_array in pairs:
        assert of_tensor.tobytes() == of_array.tobytes()
