"""What a monitor of maps writes, and that it leaves the training alone."""

from __future__ import annotations

import csv
import math
import pickle
import re
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from torch import Tensor, nn

import limelight
from helpers.model_state import untouched
from limelight.errors import InputError, LimelightError, OptionError, OutputError
from limelight.training import (
    FolderWriter,
    MapMonitor,
    MapRecord,
    MlflowWriter,
    TensorBoardWriter,
    WandbWriter,
)


class Normed(nn.Module):
    """Batch norm and dropout before a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5)
        )
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.fc(self.features(x).mean((2, 3))))


def network() -> Normed:
    torch.manual_seed(1)
    model = Normed().train()
    model(torch.randn(4, 3, 12, 16))
    return model


def pictures() -> Tensor:
    return torch.randn(2, 3, 12, 16, generator=torch.Generator().manual_seed(2))


def masks() -> Tensor:
    mask = torch.zeros(2, 12, 16, dtype=torch.bool)
    mask[0, 2:9, 3:11] = True
    return mask


def learn(model: nn.Module, images: Tensor) -> None:
    """Make one step of training."""
    model.train()
    loss = nn.functional.cross_entropy(model(images), torch.tensor([1, 0]))
    loss.backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.sub_(0.1 * cast("Tensor", parameter.grad))
            parameter.grad = None


def pixels(path: Path) -> Any:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def frames_of(path: Path) -> list[Any]:
    with Image.open(path) as film:
        return [
            np.asarray(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(film)
        ]


def of(record: MapRecord | None) -> MapRecord:
    assert record is not None
    return record


def test_a_record_holds_the_maps_of_the_network_in_evaluation_mode() -> None:
    model, images = network(), pictures()
    monitor = MapMonitor(model, images, target=[1, 0], masks=masks())
    learn(model, images)
    found = of(monitor(1))
    result = limelight.explain(model.eval(), images, target=[1, 0])
    assert torch.equal(found.explanation.raw, result.raw)
    heat = nn.functional.interpolate(result.raw.relu()[:, None], size=(12, 16))[0, 0]
    assert found.energy[0] == pytest.approx(float((heat * masks()[0]).sum() / heat.sum()), rel=1e-5)
    assert math.isnan(found.energy[1])  # it has no mask
    assert found.mask_share[0] == pytest.approx(56 / 192)
    predicted = model(images).argmax(1).tolist()
    assert list(found.right) == [predicted[0] == 1, predicted[1] == 0]
    assert found.mean_energy == found.energy[0]
    assert found.explanation.output is None


def test_without_a_target_the_predicted_class_is_explained_and_nothing_is_right() -> None:
    model, images = network(), pictures()
    found = of(MapMonitor(model, images)(3))
    assert found.explanation.index is not None
    assert found.explanation.index.tolist() == model.eval()(images).argmax(1).tolist()
    assert found.right == (None, None)
    assert math.isnan(found.accuracy)
    assert math.isnan(found.mean_energy)


# Where trainers call it


@pytest.mark.parametrize(
    ("around", "wrapped"),
    [
        (nullcontext, lambda model: model),
        (torch.no_grad, lambda model: model),
        (torch.inference_mode, lambda model: model),
        (torch.inference_mode, nn.DataParallel),
    ],
    ids=["plain", "no_grad", "inference", "parallel"],
)
def test_it_works_wherever_it_is_called(
    around: Callable[[], Any], wrapped: Callable[[nn.Module], nn.Module]
) -> None:
    model, images = network(), pictures()
    due = limelight.explain(model, images, target=[1, 0]).raw
    monitor = MapMonitor(wrapped(model), images, target=[1, 0], masks=masks(), strict=True)
    with around():
        found = of(monitor(1))
    assert torch.equal(found.explanation.raw, due)
    assert not found.explanation.raw.is_inference()


def test_it_works_under_autocast() -> None:
    model, images = network(), pictures()
    monitor = MapMonitor(model, images, target=[1, 0], masks=masks(), strict=True)
    plain = of(monitor(1)).energy[0]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = of(monitor(2))
    assert found.energy[0] == pytest.approx(plain, abs=0.02)
    assert found.explanation.raw.dtype == torch.float32


def test_images_may_have_been_made_in_inference_mode_and_are_copied() -> None:
    model, images = network(), pictures()
    with torch.inference_mode():
        batch = images.clone()
        monitor = MapMonitor(model, batch, target=[1, 0], strict=True)
        before = of(monitor(1)).explanation.raw
        batch.zero_()
        after = of(monitor(2)).explanation.raw
    assert torch.equal(before, after)


def test_a_network_may_change_its_precision_and_take_a_dict() -> None:
    class Named(Normed):
        def forward(self, pixel_values: Tensor) -> Tensor:
            return super().forward(pixel_values)

    model = Named()
    monitor = MapMonitor(model, {"pixel_values": pictures()}, target=1, strict=True)
    model.double()
    assert of(monitor(1)).explanation.raw.dtype == torch.float32


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("around", [nullcontext, torch.inference_mode], ids=["plain", "inference"])
def test_the_network_and_the_random_numbers_are_left_alone(
    mode: str, around: Callable[[], Any], tmp_path: Path
) -> None:
    model, images = network(), pictures()
    nn.functional.cross_entropy(model(images), torch.tensor([1, 0])).backward()  # type: ignore[no-untyped-call]
    model.fc.bias.requires_grad_(False)
    model.train(mode == "train")
    model.features[1].eval()  # one module in another mode
    with untouched(model):
        monitor = MapMonitor(model, images, target=[1, 0], masks=masks(), folder=tmp_path)
    with untouched(model), around():
        of(monitor(1))
    with untouched(model):
        monitor.film(tmp_path / "film.gif")


class Draws(Normed):
    """It draws random numbers in its forward, in every mode."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 0.01 * torch.randn_like(x))


def test_a_network_that_draws_leaves_the_random_numbers_of_training_alone() -> None:
    monitor = MapMonitor(Draws(), pictures())
    torch.manual_seed(5)
    due = torch.rand(3)
    torch.manual_seed(5)
    of(monitor(1))
    assert torch.equal(torch.rand(3), due)


def test_only_the_first_of_several_processes_does_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rank = [1]
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank[0])
    monitor = MapMonitor(network(), pictures(), folder=tmp_path / "maps")
    assert monitor(1) is None
    assert not (tmp_path / "maps").exists()
    rank[0] = 0
    assert monitor(2) is not None
    assert [each.epoch for each in monitor.records] == [2]


def test_every_so_many_epochs() -> None:
    monitor = MapMonitor(network(), pictures(), every=3)
    for epoch in range(8):
        monitor(epoch)
    assert [record.epoch for record in monitor.records] == [0, 3, 6]
    of(monitor(6))  # again
    assert [record.epoch for record in monitor.records] == [0, 3, 6]


# What fails


def test_what_cannot_work_is_refused_before_training(tmp_path: Path) -> None:
    model, images = network(), pictures()
    with pytest.raises(LimelightError, match="There is no layer named 'featurs'"):
        MapMonitor(model, images, layer="featurs")
    with pytest.raises(InputError, match=r"Masks \[2, 12, 16\] were expected"):
        MapMonitor(model, images, masks=torch.ones(2, 5, 5))
    with pytest.raises(OptionError, match="every is 0"):
        MapMonitor(model, images, every=0)
    with pytest.raises(OptionError, match="There are 1 names for 2 photos"):
        MapMonitor(model, images, names=["a"])
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Cannot write"):
        MapMonitor(model, images, folder=tmp_path / "file")


class Breaks(FolderWriter):
    """Writes nothing from the second epoch on."""

    def write(self, record: MapRecord, pictures: Any) -> None:
        if record.epoch > 1:
            raise RuntimeError("the disk is full")


def test_a_failure_after_an_epoch_is_a_warning_once(tmp_path: Path) -> None:
    monitor = MapMonitor(network(), pictures(), writers=[Breaks(tmp_path)])
    of(monitor(1))
    with pytest.warns(UserWarning, match="epoch 2 .* training goes on: RuntimeError: the disk is"):
        assert monitor(2) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert monitor(3) is None
    assert [record.epoch for record in monitor.records] == [1, 2, 3]  # the maps were made


def test_a_failure_ends_the_training_where_that_is_asked_for(tmp_path: Path) -> None:
    monitor = MapMonitor(network(), pictures(), writers=[Breaks(tmp_path)], strict=True)
    with pytest.raises(RuntimeError, match="the disk is full"):
        monitor(2)


# What is written


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "energy.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_has_a_picture_of_each_photo_and_epoch_and_a_table(tmp_path: Path) -> None:
    model, images = network(), pictures()
    monitor = MapMonitor(
        model, images, target=[1, 0], masks=masks(), folder=tmp_path, names=["a/b", "c"]
    )
    for epoch in (1, 2):
        learn(model, images)
        monitor(epoch)
    monitor(2.5)
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png"))
    epochs = ("0001", "0002", "0002_50")
    assert files == [f"{name}/epoch-{n}.png" for name in ("a-b", "c") for n in epochs]
    rows = rows_of(tmp_path)
    assert [(row["epoch"], row["photo"]) for row in rows] == [
        (epoch, name) for epoch in ("1", "2", "2.5") for name in ("a-b", "c")
    ]
    assert [float(row["energy"]) for row in rows[::2]] == [
        record.energy[0] for record in monitor.records
    ]
    assert {row["energy"] for row in rows[1::2]} == {""}  # without a mask
    assert {row["right"] for row in rows} <= {"0", "1"}
    one, other = (pixels(tmp_path / "c" / f"epoch-{n}.png") for n in epochs[:2])
    assert one.shape == other.shape
    assert (one != other).any()


def test_training_that_goes_on_continues_the_table(tmp_path: Path) -> None:
    for first in (1, 3):
        monitor = MapMonitor(network(), pictures(), folder=tmp_path)
        for epoch in (first, first + 1, first + 2):
            monitor(epoch)
    assert [row["epoch"] for row in rows_of(tmp_path)][::2] == ["1", "2", "3", "4", "5"]
    MapMonitor(network(), pictures(), folder=tmp_path)(2)
    assert [row["epoch"] for row in rows_of(tmp_path)][::2] == ["1", "2"]


def test_photos_are_called_by_their_files_and_drawn_on(tmp_path: Path) -> None:
    names = ["x.png", "y.png"]
    for name in names:
        Image.radial_gradient("L").resize((90, 60)).convert("RGB").save(tmp_path / name)
    known = limelight.load_model(weights="none")
    monitor = MapMonitor(known, [tmp_path / name for name in names], folder=tmp_path / "maps")
    monitor(1)
    assert monitor.records[0].names == ("x.png", "y.png")
    drawn = pixels(tmp_path / "maps" / "x.png" / "epoch-0001.png")
    seen = known.preprocess.crop(known.load_photo(tmp_path / "x.png")).view_size
    assert drawn.shape[1] == seen.width + seen.width % 2


def test_a_film_has_a_picture_for_each_epoch(tmp_path: Path) -> None:
    model, images = network(), pictures()
    monitor = MapMonitor(model, images, target=[1, 0], masks=masks())
    with pytest.raises(OutputError, match="no picture"):
        monitor.film(tmp_path / "none.gif")
    for epoch in (1, 2, 3):
        learn(model, images)
        monitor(epoch)
    scales: list[Any] = ["each", "shared"]
    for scale in scales:
        frames = frames_of(monitor.film(tmp_path / f"{scale}.gif", scale=scale))
        assert len(frames) == 3
        assert frames[0].shape[1] >= 2 * 16  # side by side
        assert (frames[0] != frames[2]).any()
    with pytest.raises(OptionError, match="fps is 0"):
        monitor.film(tmp_path / "film.gif", fps=0)


def test_on_one_scale_weak_heat_is_dark(tmp_path: Path) -> None:
    model, images = network(), pictures()
    monitor = MapMonitor(model, images, target=[1, 0])
    with torch.no_grad():
        for epoch, factor in ((1, 0.01), (2, 100.0)):
            model.fc.weight *= factor
            monitor(epoch)

    def first(scale: Any) -> Any:
        return frames_of(monitor.film(tmp_path / "film.gif", scale=scale))[0]

    own, shared = first("each"), first("shared")
    assert np.abs(own - shared).max() > 40


class SummaryWriterLike:
    """Takes what torch's SummaryWriter takes."""

    def __init__(self) -> None:
        self.images: dict[tuple[str, int], Any] = {}
        self.scalars: dict[tuple[str, int], float] = {}

    def add_image(self, tag: str, image: Any, step: int, *, dataformats: str) -> None:
        assert dataformats == "HWC"
        self.images[tag, step] = image

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.scalars[tag, step] = value

    def flush(self) -> None:
        pass


def test_what_tensorboard_gets() -> None:
    writer = SummaryWriterLike()
    monitor = MapMonitor(
        network(), pictures(), target=[1, 0], masks=masks(), writers=[TensorBoardWriter(writer)]
    )
    found = of(monitor(4))
    assert {*writer.images} == {("maps/photo-0", 4), ("maps/photo-1", 4)}
    assert all(image.ndim == 3 and image.dtype == np.uint8 for image in writer.images.values())
    assert writer.scalars == {
        ("maps/mean_energy", 4): found.energy[0],
        ("maps/accuracy", 4): found.accuracy,
        ("maps/energy/photo-0", 4): found.energy[0],
    }


@pytest.mark.parametrize(
    ("writer", "package"),
    [
        (TensorBoardWriter, "tensorboard"),
        (lambda _folder: WandbWriter(), "wandb"),
        (lambda _folder: MlflowWriter(), "mlflow"),
    ],
    ids=["tensorboard", "wandb", "mlflow"],
)
def test_a_missing_package_is_named_before_training(
    writer: Any, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("limelight.training.writers.find_spec", lambda _name: None)
    with pytest.raises(OptionError, match=f"{package}, which is not installed: pip install"):
        MapMonitor(network(), pictures(), writers=[writer(tmp_path)])


def test_tensorboard_itself_reads_what_was_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monitor = MapMonitor(
        network(), pictures(), masks=masks(), writers=[TensorBoardWriter(tmp_path)], strict=True
    )
    for epoch in (1, 2):
        monitor(epoch)
    log = EventAccumulator(str(tmp_path))
    log.Reload()
    energies = [each.value for each in log.Scalars("maps/mean_energy")]
    assert energies == pytest.approx([record.energy[0] for record in monitor.records])
    assert [each.step for each in log.Images("maps/photo-1")] == [1, 2]


def test_wandb_itself_takes_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.chdir(tmp_path)
    monitor = MapMonitor(network(), pictures(), masks=masks(), writers=[WandbWriter()], strict=True)
    with pytest.raises(OptionError, match=r"call wandb\.init"):
        monitor(1)
    with wandb.init(mode="offline", dir=str(tmp_path)) as run:
        found = of(monitor(2))
        assert run.summary["maps/mean_energy"] == pytest.approx(found.energy[0])
    assert list(tmp_path.rglob("maps/photo-1*.png")) or list(tmp_path.rglob("*.wandb"))


def test_mlflow_itself_takes_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(tmp_path.as_uri())
    mlflow.set_experiment("maps")
    monitor = MapMonitor(
        network(), pictures(), masks=masks(), writers=[MlflowWriter()], strict=True
    )
    with pytest.raises(OptionError, match=r"call mlflow\.start_run"):
        monitor(1)
    with mlflow.start_run() as run:
        found = of(monitor(2))
    kept = mlflow.get_run(run.info.run_id)
    assert kept.data.metrics["maps/mean_energy"] == pytest.approx(found.energy[0])
    assert len(list(tmp_path.rglob("epoch-0002.png"))) == 2


def test_a_monitor_can_be_sent_to_another_process(tmp_path: Path) -> None:
    monitor = MapMonitor(network(), pictures(), folder=tmp_path)
    of(monitor(1))
    again = pickle.loads(pickle.dumps(monitor))
    assert of(again(2)).names == monitor.records[0].names


PAGE = Path(__file__).parent.parent / "docs" / "training.md"


def test_examples_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    space: dict[str, Any] = {}
    examples = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    for block in examples:
        exec(block, space)
    assert len(space["monitor"].records) == 3
    assert (tmp_path / "attention.gif").is_file()
    assert len(rows_of(tmp_path / "maps")) == 6


def test_each_photo_has_pictures_of_its_own_whatever_it_is_called(tmp_path: Path) -> None:
    images = pictures()[:1].repeat(4, 1, 1, 1)
    names = ["a", "a", "a-0", ""]
    monitor = MapMonitor(network(), images, names=names, folder=tmp_path, strict=True)
    assert len(set(of(monitor(1)).names)) == 4
    assert len(list(tmp_path.rglob("*.png"))) == 4
