"""Where a monitor writes: a folder, TensorBoard, Weights & Biases, MLflow."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL.Image import Image

from limelight import files
from limelight.errors import OptionError
from limelight.tables import csv_text
from limelight.training.records import RECORD_COLUMNS, MapRecord


class MapWriter(Protocol):
    """What a monitor asks of the places that it writes to."""

    def check(self) -> None:
        """Refuse, before training begins, what cannot be written to."""

    def write(self, record: MapRecord, pictures: Sequence[Image]) -> None:
        """Write a record, with a picture for each of its photos."""


@dataclass
class FolderWriter:
    """Writes pictures, `PHOTO/epoch-0001.png`, and the figures of all epochs, `energy.csv`.

    Training that goes on in the same folder continues the table: rows of earlier epochs are kept.

    Attributes:
        folder: The folder; it is made.
    """

    folder: str | Path
    _rows: list[dict[str, Any]] | None = field(default=None, init=False, repr=False)

    def check(self) -> None:
        """Make the folder.

        Raises:
            OutputError: It cannot be written to.
        """
        files.make_folder(Path(self.folder))

    def write(self, record: MapRecord, pictures: Sequence[Image]) -> None:
        """Write the pictures and the table, each whole or not at all.

        Raises:
            OutputError: They cannot be written there.
        """
        from limelight import render

        folder = Path(self.folder)
        for name, picture in zip(record.names, pictures, strict=True):
            encoded = BytesIO()
            render.write(picture, "png", encoded)
            path = folder / name / f"epoch-{_numbered(record.epoch)}.png"
            files.write_whole(path, encoded.getvalue())
        table = folder / "energy.csv"
        known = _rows_before(table, record.epoch) if self._rows is None else self._rows
        self._rows = [row for row in known if float(row["epoch"]) != record.epoch]
        self._rows += record.rows()
        files.write_whole(table, csv_text(self._rows, RECORD_COLUMNS).encode())


def _numbered(epoch: float) -> str:
    """Return an epoch so that names sort as numbers: 0003, or 0003_25 in the middle of one."""
    whole = int(epoch)
    return f"{whole:04d}" if epoch == whole else f"{whole:04d}_{100 * (epoch - whole):02.0f}"


def _rows_before(table: Path, epoch: float) -> list[dict[str, Any]]:
    """Return the rows of a table, if there is one, that are of earlier epochs."""
    if not table.is_file():
        return []
    rows = csv.DictReader(StringIO(files.read_text(table)))
    return [row for row in rows if float(row["epoch"]) < epoch]


@dataclass
class TensorBoardWriter:
    """Writes to TensorBoard.

    Attributes:
        to: A folder of logs, or a `SummaryWriter`, such as the `experiment` of Lightning's logger.
    """

    to: Any

    def check(self) -> None:
        """Open the folder.

        Raises:
            OptionError: TensorBoard is not installed.
        """
        if isinstance(self.to, str | Path):
            _refuse_without("tensorboard")
            from torch.utils.tensorboard import SummaryWriter

            self.to = SummaryWriter(str(self.to))

    def write(self, record: MapRecord, pictures: Sequence[Image]) -> None:
        """Write pictures and figures at the step of the epoch."""
        step = int(record.epoch)
        for name, picture in zip(record.names, pictures, strict=True):
            self.to.add_image(f"maps/{name}", np.asarray(picture), step, dataformats="HWC")
        for name, value in _figures(record).items():
            self.to.add_scalar(name, value, step)
        self.to.flush()


@dataclass
class WandbWriter:
    """Writes to Weights & Biases.

    Attributes:
        run: The run, as `wandb.init` returns it; None for the one that is under way.
    """

    run: Any = None

    def check(self) -> None:
        """Refuse to begin without the package.

        Raises:
            OptionError: It is not installed.
        """
        if self.run is None:
            _refuse_without("wandb")

    def write(self, record: MapRecord, pictures: Sequence[Image]) -> None:
        """Log pictures and figures in one step, with the epoch.

        Raises:
            OptionError: No run is under way.
        """
        import wandb

        run = self.run or wandb.run
        if run is None:
            raise OptionError("No run of wandb is under way: call wandb.init(...) before training.")
        maps = {
            f"maps/{name}": wandb.Image(picture)
            for name, picture in zip(record.names, pictures, strict=True)
        }
        run.log({**maps, **_figures(record), "epoch": record.epoch})


@dataclass
class MlflowWriter:
    """Writes to MLflow.

    Attributes:
        run_id: The run; None for the one that is under way.
    """

    run_id: str | None = None

    def check(self) -> None:
        """Refuse to begin without the package.

        Raises:
            OptionError: It is not installed.
        """
        _refuse_without("mlflow")

    def write(self, record: MapRecord, pictures: Sequence[Image]) -> None:
        """Log pictures as artifacts, and figures at the step of the epoch.

        Raises:
            OptionError: No run is under way.
        """
        import mlflow

        active = mlflow.active_run()
        run_id = self.run_id or (active.info.run_id if active else None)
        if run_id is None:
            raise OptionError(
                "No run of mlflow is under way: call mlflow.start_run() before training, or pass "
                "the run's id."
            )
        client = mlflow.MlflowClient()
        for name, picture in zip(record.names, pictures, strict=True):
            path = f"maps/{name}/epoch-{_numbered(record.epoch)}.png"
            client.log_image(run_id, picture, artifact_file=path)
        for name, value in _figures(record).items():
            client.log_metric(run_id, name, value, step=int(record.epoch))


def _figures(record: MapRecord) -> dict[str, float]:
    """Return the figures of a record by name, without those that are not known."""
    figures = {"maps/mean_energy": record.mean_energy, "maps/accuracy": record.accuracy}
    figures |= {
        f"maps/energy/{name}": value
        for name, value in zip(record.names, record.energy, strict=True)
    }
    return {name: value for name, value in figures.items() if not math.isnan(value)}


def _refuse_without(package: str) -> None:
    """Refuse to begin without a package.

    A folder of its name, such as wandb leaves behind, is no package.

    Raises:
        OptionError: It is not installed.
    """
    found = find_spec(package)
    if found is None or found.origin is None:
        raise OptionError(
            f"Maps were to be written to {package}, which is not installed: pip install {package}. "
            "A folder, MapMonitor(..., folder='maps'), needs nothing more."
        )
