"""The callbacks for Lightning and transformers: with these trainers, and with what they ask for."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

from limelight.errors import OptionError
from limelight.training import MapMonitor, callbacks, lightning_callback, trainer_callback


class Small(nn.Module):
    """A convolution and a linear layer; with labels it returns a loss, as transformers' do."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.fc = nn.Linear(4, 2)

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> Any:
        logits = self.fc(self.features(pixel_values).mean((2, 3)))
        if labels is None:
            return logits
        return {"loss": cross_entropy(logits, labels), "logits": logits}


class Photos(Dataset[Any]):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        seeded = torch.Generator().manual_seed(number)
        return {
            "pixel_values": torch.randn(3, 8, 8, generator=seeded),
            "labels": torch.tensor(number % 2),
        }


def monitored(folder: Path | None = None) -> MapMonitor:
    torch.manual_seed(0)
    images = torch.stack([Photos()[number]["pixel_values"] for number in range(2)])
    return MapMonitor(
        Small(), images, target=[0, 1], masks=torch.ones(2, 8, 8), folder=folder, strict=True
    )


def epochs(monitor: MapMonitor) -> list[float]:
    return [record.epoch for record in monitor.records]


@pytest.fixture
def lightning_like(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with no more of Lightning than the class that callbacks derive from."""
    for name in ("lightning", "lightning.pytorch"):
        module = ModuleType(name)
        module.__path__ = []
        monkeypatch.setitem(sys.modules, name, module)
    cast("Any", sys.modules["lightning.pytorch"]).Callback = type("Callback", (), {})
    callbacks._lightning_class.cache_clear()
    monkeypatch.setattr(callbacks, "_lightning_class", callbacks._lightning_class.__wrapped__)


@pytest.mark.usefixtures("lightning_like")
def test_lightning_makes_maps_when_validation_ends_in_inference_mode() -> None:
    monitor = monitored()
    callback = lightning_callback(monitor)
    trainer = SimpleNamespace(
        sanity_checking=True,
        current_epoch=0,
        is_global_zero=True,
        state=SimpleNamespace(fn="fit"),
    )
    callback.on_fit_start(trainer, monitor.model)
    with torch.inference_mode():
        callback.on_validation_epoch_end(trainer, monitor.model)
    assert epochs(monitor) == []  # the trial before training
    trainer.sanity_checking = False
    with torch.inference_mode():
        callback.on_validation_epoch_end(trainer, monitor.model)
    callback.on_train_epoch_end(trainer, monitor.model)
    assert epochs(monitor) == [1]
    trainer.current_epoch = 1
    callback.on_train_epoch_end(trainer, monitor.model)  # an epoch without validation
    assert epochs(monitor) == [1, 2]
    trainer.is_global_zero, trainer.current_epoch = False, 2
    callback.on_train_epoch_end(trainer, monitor.model)
    assert epochs(monitor) == [1, 2]


@pytest.mark.usefixtures("lightning_like")
def test_a_monitor_of_another_model_is_told() -> None:
    monitor = monitored()
    trainer = SimpleNamespace()
    with pytest.warns(UserWarning, match="shares no parameter with the one that is trained"):
        lightning_callback(monitor).on_fit_start(trainer, Small())


def test_without_lightning_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    callbacks._lightning_class.cache_clear()
    with pytest.raises(OptionError, match=r"pip install lightning\. In a loop of your own"):
        lightning_callback(monitored())


def test_transformers_makes_maps_when_an_epoch_ends() -> None:
    monitor = monitored()
    callback = trainer_callback(monitor)
    state = SimpleNamespace(epoch=0.0, is_world_process_zero=True)
    callback.on_train_begin(None, state, None, model=monitor.model)
    state.epoch = 0.5
    with torch.no_grad():
        callback.on_evaluate(None, state, None)
    state.epoch = 0.9999999
    callback.on_epoch_end(None, state, None)
    state.epoch = 1.0
    callback.on_evaluate(None, state, None)
    assert epochs(monitor) == [0.5, 1]
    assert pickle.loads(pickle.dumps(callback)).monitor.records[0].epoch == 0.5
    state.is_world_process_zero, state.epoch = False, 2.0
    callback.on_epoch_end(None, state, None)
    assert epochs(monitor) == [0.5, 1]


# With the trainers themselves


@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
@pytest.mark.parametrize("validates", [True, False], ids=["validation", "no-validation"])
def test_lightning_itself_calls_it(package: str, validates: bool, tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    lightning: Any = pytest.importorskip(package)
    monitor, modes = monitored(tmp_path / "maps"), list[bool]()

    class Learner(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = monitor.model

        def training_step(self, batch: Any, _number: int) -> Any:
            return self.network(**batch)["loss"]

        def validation_step(self, batch: Any, _number: int) -> None:
            assert not torch.is_grad_enabled()
            modes.append(torch.is_inference_mode_enabled())
            self.network(**batch)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    callback = lightning_callback(monitor)
    trainer = lightning.Trainer(
        max_epochs=3,
        accelerator="cpu",
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=str(tmp_path),
        limit_val_batches=1.0 if validates else 0,
    )
    data = DataLoader(Photos(), batch_size=4)
    learner = Learner()
    trainer.fit(learner, data, data)
    assert epochs(monitor) == [1, 2, 3]
    if validates:
        trainer.validate(learner, data, verbose=False)
        assert modes[-1]  # inference mode
        assert epochs(monitor) == [1, 2, 3]
    first, last = monitor.records[0].explanation.raw, monitor.records[-1].explanation.raw
    assert not torch.equal(first, last)
    assert len(list((tmp_path / "maps").rglob("*.png"))) == 6


def test_transformers_itself_calls_it(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    from transformers import Trainer, TrainingArguments

    monitor = monitored()
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        num_train_epochs=2,
        per_device_train_batch_size=4,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        learning_rate=0.1,
    )
    trainer = Trainer(
        monitor.model,
        arguments,
        train_dataset=Photos(),
        eval_dataset=Photos(),
        callbacks=[trainer_callback(monitor)],
    )
    trainer.train()
    assert epochs(monitor) == [0.5, 1, 1.5, 2]
    first, last = monitor.records[0].explanation.raw, monitor.records[-1].explanation.raw
    assert not torch.equal(first, last)
