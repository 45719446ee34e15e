"""Callbacks that make maps epoch by epoch, for Lightning and for the Trainer of transformers."""

from __future__ import annotations

import warnings
from functools import cache
from importlib import import_module
from typing import Any

from torch import nn

from limelight.errors import OptionError
from limelight.training.monitor import MapMonitor


def lightning_callback(monitor: MapMonitor) -> Any:
    """Return a callback of Lightning that calls a monitor after each epoch.

        monitor = MapMonitor(module.network, images, target=labels, folder="maps")
        Trainer(callbacks=[lightning_callback(monitor)]).fit(module, data)

    It does so when the validation of the epoch ends, where Lightning allows no gradients, or when
    the epoch ends if there is none. The first epoch is 1; `trainer.validate` counts as the last one
    again. It works with `lightning` and with `pytorch_lightning`.

    Args:
        monitor: The monitor, of the module that is trained or of a network in it.

    Raises:
        OptionError: Lightning is not installed.
    """
    return _lightning_class()(monitor)


def trainer_callback(monitor: MapMonitor) -> Any:
    """Return a callback of transformers' Trainer that calls a monitor after each epoch.

        monitor = MapMonitor(model, images, target=labels, folder="maps")
        Trainer(model, arguments, callbacks=[trainer_callback(monitor)], ...).train()

    An evaluation in the middle of an epoch counts as a fraction of it.

    Args:
        monitor: The monitor, of the model that is trained.

    Raises:
        OptionError: transformers is not installed.
    """
    return _trainer_class()(monitor)


@cache
def _lightning_class() -> type:
    """Return the class of the callback; its base is there once Lightning is imported."""
    base = _first_of(("lightning.pytorch", "pytorch_lightning"), "Callback", "lightning")

    class LightningMaps(base):  # type: ignore[misc, valid-type]
        """Calls a monitor after each epoch."""

        def __init__(self, monitor: MapMonitor) -> None:
            super().__init__()
            self.monitor = monitor
            self._done = 0

        def __reduce__(self) -> Any:
            return lightning_callback, (self.monitor,)

        def on_fit_start(self, _trainer: Any, module: nn.Module) -> None:
            """Compare what is watched with what is trained."""
            _warn_of_another_model(self.monitor, module)

        def on_validation_epoch_end(self, trainer: Any, _module: nn.Module) -> None:
            """Make the maps, unless this is only the trial before training."""
            if not trainer.sanity_checking:
                within = trainer.state.fn != "validate"
                self._make(trainer, trainer.current_epoch + within)

        def on_train_epoch_end(self, trainer: Any, _module: nn.Module) -> None:
            """Make the maps if the epoch had no validation."""
            epoch = trainer.current_epoch + 1
            if self._done != epoch:
                self._make(trainer, epoch)

        def _make(self, trainer: Any, epoch: int) -> None:
            self._done = epoch
            if trainer.is_global_zero:
                self.monitor(epoch)

    return LightningMaps


@cache
def _trainer_class() -> type:
    """Return the class of the callback; its base is there once transformers is imported."""
    base = _first_of(("transformers",), "TrainerCallback", "transformers")

    class TrainerMaps(base):  # type: ignore[misc, valid-type]
        """Calls a monitor after each epoch."""

        def __init__(self, monitor: MapMonitor) -> None:
            self.monitor = monitor

        def __reduce__(self) -> Any:
            return trainer_callback, (self.monitor,)

        def on_train_begin(self, _args: Any, _state: Any, _control: Any, **kwargs: Any) -> None:
            """Compare what is watched with what is trained."""
            _warn_of_another_model(self.monitor, kwargs["model"])

        def on_epoch_end(self, _args: Any, state: Any, _control: Any, **_kwargs: Any) -> None:
            """Make the maps."""
            if state.is_world_process_zero:
                self.monitor(round(state.epoch))

        def on_evaluate(self, _args: Any, state: Any, _control: Any, **_kwargs: Any) -> None:
            """Make the maps in the middle of an epoch."""
            within = state.epoch is not None and abs(state.epoch - round(state.epoch)) > 1e-6
            if within and state.is_world_process_zero:
                self.monitor(round(state.epoch, 2))

    return TrainerMaps


def _first_of(modules: tuple[str, ...], name: str, package: str) -> Any:
    """Return a class of the first of several modules that is installed.

    Raises:
        OptionError: None of them is.
    """
    for module in modules:
        try:
            return getattr(import_module(module), name)
        except ModuleNotFoundError as error:
            if error.name not in (module, module.partition(".")[0]):
                raise
    raise OptionError(
        f"This is a callback of {package}, which is not installed: pip install {package}. In a "
        "loop of your own, call monitor(epoch) after each epoch."
    )


def _warn_of_another_model(monitor: MapMonitor, trained: nn.Module) -> None:
    """Say that a monitor watches another model than the one that is trained."""
    watched = {id(parameter) for parameter in monitor.model.parameters()}
    if not watched & {id(parameter) for parameter in trained.parameters()}:
        warnings.warn(
            "The monitor watches a model that shares no parameter with the one that is trained, "
            "so its maps will not change. Make the monitor from the model that the trainer gets.",
            stacklevel=2,
        )
