"""`limelight.export`: what the file holds, what it says of itself, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import limelight
from helpers.exporting import needs_onnx
from helpers.hidden_packages import hide_for_a_test
from limelight.deployed.description import Description
from limelight.errors import (
    InputError,
    LayerError,
    MethodError,
    MissingPackageError,
    ModelError,
    OptionError,
    OutputError,
    TargetError,
    UnknownNameError,
)
from limelight.exporting import parity
from limelight.exporting.exportable import can_be_exported
from limelight.methods import METHODS
from limelight.status import STATUS_NAMES

needs_onnx()


class Small(nn.Module):
    """A classifier of four classes."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.ReLU()
        )
        self.head = nn.Linear(8, 4)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(image).mean((2, 3)))
        return logits


@pytest.fixture(scope="module")
def model() -> Small:
    torch.manual_seed(0)
    return Small()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(2, 3, 16, 20, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def exported(
    model: Small, images: Tensor, tmp_path_factory: pytest.TempPathFactory
) -> limelight.Export:
    path = tmp_path_factory.mktemp("export") / "small.onnx"
    return limelight.export(
        model,
        images,
        path,
        method=["gradcam", "layercam"],
        layer=["features.4", "features.1"],
        classes=["cat", "dog", "pug", "emu"],
    )


def read_description(path: Path) -> Description:
    loaded = onnx.load(path)
    (text,) = (entry.value for entry in loaded.metadata_props if entry.key == "limelight")
    return Description.from_json(text)


def test_the_file_takes_images_and_targets_and_returns_logits_and_each_map(
    exported: limelight.Export,
) -> None:
    session = onnxruntime.InferenceSession(exported.path)

    taken = {each.name: (each.shape, each.type) for each in session.get_inputs()}
    assert taken == {
        "image": (["batch", 3, 16, 20], "tensor(float)"),
        "target": (["batch"], "tensor(int64)"),
    }
    names = [each.name for each in session.get_outputs()]
    assert names[:7] == ["logits", "heatmap", "raw", "status", "heatmap_2", "raw_2", "status_2"]
    assert len(names) == 13


def test_the_file_says_what_it_is(exported: limelight.Export) -> None:
    said = read_description(exported.path)

    assert said == exported.description
    assert (said.network, said.output, said.classes) == (
        "Small",
        "classes",
        ("cat", "dog", "pug", "emu"),
    )
    assert [(each.method, each.layer, each.grid) for each in said.maps] == [
        ("gradcam", "features.4", (6, 8)),
        ("gradcam", "features.1", (16, 20)),
        ("layercam", "features.4", (6, 8)),
        ("layercam", "features.1", (16, 20)),
    ]
    assert said.input_shape == (3, 16, 20)
    assert said.batch is None
    assert said.version == limelight.__version__
    assert said.parity["comparisons"] == 8
    difference = said.parity["raw"]
    assert difference is not None
    assert 0 < difference < 1e-5


def test_each_map_is_that_of_explain(
    exported: limelight.Export, model: Small, images: Tensor
) -> None:
    session = onnxruntime.InferenceSession(exported.path)
    outputs = session.run(None, {"image": images.numpy(), "target": torch.tensor([2, -1]).numpy()})
    by_name = dict(zip((each.name for each in session.get_outputs()), outputs, strict=True))
    classes = [2, int(by_name["logits"][1].argmax())]

    for each in exported.description.maps:
        expected = limelight.explain(
            model, images, target=classes, method=each.method, layer=each.layer
        )
        raw = torch.from_numpy(by_name[each.raw])
        torch.testing.assert_close(
            raw, expected.raw, rtol=0, atol=1e-5 * float(expected.raw.abs().max())
        )
        torch.testing.assert_close(
            torch.from_numpy(by_name[each.heatmap]), expected.heatmap, rtol=0, atol=1e-4
        )
        names = [STATUS_NAMES[number] for number in by_name[each.status]]
        assert names == [status.name for status in expected.status]


def test_a_program_holds_the_same_and_its_description(
    model: Small, images: Tensor, tmp_path: Path
) -> None:
    exported = limelight.export(model, images, tmp_path / "small.pt2", layer="features.1")
    extra = {"limelight.json": ""}
    program = torch.export.load(exported.path, extra_files=extra)

    logits, heatmap, raw, status = program.module()(images[:1], torch.tensor([1]))
    expected = limelight.explain(model, images[:1], target=1, layer="features.1")
    torch.testing.assert_close(raw, expected.raw)
    torch.testing.assert_close(heatmap, expected.heatmap)
    torch.testing.assert_close(logits, model(images[:1]))
    assert status.tolist() == [0]
    assert Description.from_json(extra["limelight.json"]) == exported.description


def test_the_model_stays_as_it_was(images: Tensor, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    model.append(nn.Linear(4 * 14 * 18, 3))
    before = {name: value.clone() for name, value in model.state_dict().items()}

    limelight.export(model, images, tmp_path / "model.pt2", layer="2")

    assert model.training
    assert all(not module._forward_hooks for module in model.modules())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_call_of_a_module_that_runs_twice_can_be_named(images: Tensor, tmp_path: Path) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 2)

        def forward(self, image: Tensor) -> Tensor:
            logits: Tensor = self.head(self.conv(self.conv(image).relu()).relu().mean((2, 3)))
            return logits

    torch.manual_seed(2)
    model = Twice()
    with pytest.raises(LayerError, match=r"ran 2 times in this pass\. Say which call is meant"):
        limelight.export(model, images, tmp_path / "twice.pt2", layer="conv")
    exported = limelight.export(model, images, tmp_path / "twice.pt2", layer=["conv#1", "conv#2"])
    outputs = torch.export.load(exported.path).module()(images, torch.tensor([0, 1]))

    for number, layer in enumerate(("conv#1", "conv#2")):
        expected = limelight.explain(model, images, target=[0, 1], layer=layer)
        torch.testing.assert_close(outputs[2 + 3 * number], expected.raw)


@pytest.mark.parametrize(
    ("method", "nearest"),
    [
        ("scorecam", "reciprocam"),
        ("eigencam", "fem"),
        ("rise", "reciprocam"),
        ("integrated-gradients", "hirescam"),
        ("rollout", "gradcam"),
    ],
)
def test_a_method_that_cannot_be_exported_is_refused_with_the_nearest_that_can(
    method: str, nearest: str, model: Small, images: Tensor, tmp_path: Path
) -> None:
    with pytest.raises(MethodError, match=f"'{method}' cannot be exported: .*'{nearest}'"):
        limelight.export(model, images, tmp_path / "no.onnx", method=method)
    assert not list(tmp_path.iterdir())


def test_each_method_can_be_exported_or_has_a_reason() -> None:
    can = {name for name, row in METHODS.items() if can_be_exported(row)}

    assert can >= {
        "cam", "gradcam", "gradcam++", "xgradcam", "hirescam", "layercam",
        "gradcam-elementwise", "reciprocam",
    }  # fmt: skip
    assert can.isdisjoint({"scorecam", "eigencam", "ablationcam", "random"})


def test_cam_needs_its_head(model: Small, images: Tensor, tmp_path: Path) -> None:
    with pytest.raises(MethodError, match="CAM needs a head that is an average pool"):
        limelight.export(model, images, tmp_path / "cam.onnx", method="cam", layer="features.1")


class Noisy(Small):
    """A network that gives something else each time."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image + torch.rand_like(image))


def test_a_file_that_gives_something_else_is_not_written(images: Tensor, tmp_path: Path) -> None:
    path = tmp_path / "noisy.pt2"
    path.write_bytes(b"before")
    with pytest.raises(ModelError, match="gives something else each time it sees the same image"):
        limelight.export(Noisy(), images, path, layer="features.4")
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["noisy.pt2"]


def test_a_difference_from_the_network_is_found_and_no_file_written(
    model: Small, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from limelight.exporting import formats

    whole = formats.run_program

    def changed(*args: Any) -> Any:
        run = whole(*args)
        return lambda *given: {**run(*given), "raw": run(*given)["raw"] * 1.01}

    monkeypatch.setattr(formats, "run_program", changed)
    with pytest.raises(
        ModelError, match=r"does not give what .* the raw map of gradcam .* 1\.0e-02"
    ):
        limelight.export(model, images, tmp_path / "wrong.pt2", layer="features.4")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("values", "expected", "difference"),
    [
        ([1.0, 2.0], [1.0, 4.0], 0.5),
        ([torch.nan, 1.0], [1.0, 1.0], torch.inf),
        ([torch.nan, 1.0], [torch.nan, 1.0], 0.0),
        ([-torch.inf, 1.0], [-torch.inf, 2.0], 0.5),
        ([-torch.inf, 1.0], [-1e9, 1.0], torch.inf),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
    ],
)
def test_differences_are_relative_to_what_is_finite(
    values: list[float], expected: list[float], difference: float
) -> None:
    (found,) = parity._relative(torch.tensor([values]), torch.tensor([expected]))
    assert found == difference


def test_rounding_of_the_network_lets_little_through() -> None:
    figures = parity.Parity()
    figures.add("raw", 0.015, "a map", lambda: 0.01)
    assert not figures.differing
    figures.add("raw", 0.03, "a map", lambda: torch.inf)
    figures.add("raw", 1e-3, "a map", lambda: 1e-5)
    figures.add("logits", 2e-4, "logits")
    assert len(figures.differing) == 3


def test_an_argument_with_a_row_for_each_image_is_refused(images: Tensor, tmp_path: Path) -> None:
    class Two(Small):
        def forward(self, image: Tensor, factor: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(image) * factor

    given = images, torch.rand(2, 4)
    with pytest.raises(InputError, match="have a row for each of the 2 images"):
        limelight.export(Two(), given, tmp_path / "two.pt2", layer="features.4")
    exported = limelight.export(
        Two(), (images, torch.rand(1, 4)), tmp_path / "two.pt2", layer="features.4"
    )
    assert (exported.description.parity["raw"] or 0) < 1e-5


def test_8_bits_need_something_to_compute(model: Small, images: Tensor, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="there is nothing to compute before it"):
        limelight.export(model, images, tmp_path / "no.onnx", layer="<input>", int8=True)


def test_in_8_bits_a_layer_may_stand_behind_another(
    model: Small, images: Tensor, tmp_path: Path
) -> None:
    layers = ["features.1", "features.4"]
    exported = limelight.export(model, images, tmp_path / "two.onnx", layer=layers, int8=True)
    session = onnxruntime.InferenceSession(exported.path)

    names = [each.name for each in session.get_outputs()]
    assert names == ["logits", "heatmap", "raw", "status", "heatmap_2", "raw_2", "status_2"]
    assert exported.description.quantised is not None
    assert (exported.description.quantised["raw_correlation"] or 0) > 0.9


class ByValue(Small):
    """A network whose way depends on values."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image * (2 if image.sum() > 0 else 1))


def test_a_network_that_torch_cannot_export_is_refused_with_the_reason(
    images: Tensor, tmp_path: Path
) -> None:
    with pytest.raises(
        ModelError, match=r"cannot write down ByValue: .* Its forward may depend on values"
    ):
        limelight.export(ByValue(), images, tmp_path / "no.onnx", layer="features.4")


class ByCount(Small):
    """A network with a loop over its images."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(torch.stack([each * 2 for each in image]))


def test_a_network_that_counts_its_images_can_be_exported_for_a_fixed_number(
    images: Tensor, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="export it for a fixed one: batch=1"):
        limelight.export(ByCount(), images, tmp_path / "two.pt2", layer="features.4")
    exported = limelight.export(
        ByCount(), images, tmp_path / "two.pt2", layer="features.4", batch=2
    )
    assert exported.description.batch == 2
    assert exported.description.parity["comparisons"] == 6


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"batch": 0}, OptionError, "batch is 0; a number of images from 1 was expected"),
        ({"batch": True}, OptionError, "batch is True"),
        ({"method": "gradcm"}, UnknownNameError, "gradcam"),
        ({"method": []}, MethodError, "no methods in the list"),
        ({"layer": []}, LayerError, "no layers in the list"),
        ({"layer": "nowhere"}, UnknownNameError, "nowhere"),
        ({"preprocessing": True}, OptionError, "Pass a Network, as limelight.load_model"),
        ({"method": "reciprocam", "batch": 2}, MethodError, "Leave batch out, or take 'gradcam'"),
        ({"output": lambda y: y[None, None]}, TargetError, "A class target needs logits"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(
    arguments: dict[str, Any],
    error: type[Exception],
    text: str,
    model: Small,
    images: Tensor,
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match=text):
        limelight.export(model, images, tmp_path / "no.onnx", **arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["preprocessing", "int8"])
def test_what_changes_an_onnx_file_does_not_go_with_a_program(
    option: str, model: Small, images: Tensor, tmp_path: Path
) -> None:
    options: dict[str, Any] = {option: True}
    with pytest.raises(OptionError, match=r"Name a file that ends in \.onnx"):
        limelight.export(model, images, tmp_path / "no.pt2", **options)


def test_other_formats_numbers_and_inputs_are_refused(
    model: Small, images: Tensor, tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match="its suffix should be one of onnx, pt2"):
        limelight.export(model, images, tmp_path / "no.tflite")
    with pytest.raises(ModelError, match=r"torch.float64, and files are written in 32-bit"):
        limelight.export(Small().double(), images.double(), tmp_path / "no.onnx")
    with pytest.raises(InputError):
        limelight.export(model, images[:0], tmp_path / "no.onnx")


def test_a_missing_package_is_named_with_its_extra(
    model: Small, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide_for_a_test(monkeypatch, "onnxscript")
    with pytest.raises(MissingPackageError, match=r"package onnxscript, .*limelight\[export\]"):
        limelight.export(model, images, tmp_path / "no.onnx")


def test_progress_tells_each_step(model: Small, images: Tensor, tmp_path: Path) -> None:
    told = list[tuple[str, int, int]]()
    limelight.export(
        model,
        images,
        tmp_path / "small.pt2",
        layer="features.4",
        progress=lambda *step: told.append(step),
    )
    assert told == [
        ("explain", 0, 4),
        ("write the network down", 1, 4),
        ("compare", 2, 4),
        ("write", 3, 4),
    ]


def test_a_later_description_is_refused_and_a_damaged_one() -> None:
    from limelight.errors import WeightsError

    later = json.dumps({"form": 99, "version": "9.0"})
    with pytest.raises(WeightsError, match=r"limelight 9.0, in form 99 .* Update limelight"):
        Description.from_json(later)
    with pytest.raises(WeightsError, match="cannot be read"):
        Description.from_json("{")


def test_an_object_of_ultralytics_is_exported_with_its_preprocessing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Model(nn.Module):
        """Named as the class of ultralytics that holds a network."""

        task = "classify"
        overrides: ClassVar[dict[str, Any]] = {"imgsz": 32}

        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Sequential(
                nn.Conv2d(3, 4, 3),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(4, 3),
            )

    monkeypatch.setattr(Model, "__module__", "ultralytics.engine.model")
    torch.manual_seed(0)
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8))
    model = cast("Any", Model().eval())
    written = limelight.export(model, photo, tmp_path / "yolo.onnx", preprocessing=True)
    assert written.description.preprocessing_inside
