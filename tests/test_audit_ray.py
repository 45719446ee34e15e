"""Rows made in a cluster of Ray: the same rows, whatever becomes of the workers."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from helpers.networks import ResidualCNN, ready
from limelight.audits.data.truth import Truth
from limelight.audits.rows.cluster import Share, packed_error, ray_rows, share_out
from limelight.audits.rows.looking import Looker, LookPlan
from limelight.audits.rows.maker import RowMaker
from limelight.errors import LayerError, OptionError
from limelight.models.network import Network
from limelight.photos.preprocess import Preprocess

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
ray: Any = pytest.importorskip("ray")

PHOTOS = 23  # no multiple of a batch
BATCH = 4


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Draw photos in the folders of three classes; one of them cannot be read."""
    folder, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    paths = [folder / str(number % 3) / f"{number}.png" for number in range(PHOTOS)]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(path)
    paths[5].write_bytes(b"no picture")
    return list(map(str, paths))


@pytest.fixture(scope="module")
def maker(photos: Sequence[str]) -> RowMaker:
    torch.manual_seed(0)
    network = tiny(ready(ResidualCNN(), torch.float32))
    plan = LookPlan.make(network, network.images(network.load_photo(photos[0])))
    truth = Truth.read(photos, labels="folders", classes=network.classes)
    return RowMaker(Looker(network, plan), truth, batch=BATCH, workers=2)


def tiny(model: nn.Module) -> Network:
    classes = tuple("01234")
    return Network("tiny", model, Preprocess(size=(32, 32), resize=32), classes)


@pytest.fixture(scope="module")
def _cluster() -> Iterator[None]:
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


def rows_of(batches: Iterator[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return sorted((row for rows in batches for row in rows), key=lambda row: str(row["photo"]))


def assert_same(rows: Sequence[Mapping[str, Any]], expected: Sequence[Mapping[str, Any]]) -> None:
    assert [row["photo"] for row in rows] == [row["photo"] for row in expected]
    for row, other in zip(rows, expected, strict=True):
        assert set(row) == set(other)
        for name, value in other.items():
            assert type(row[name]) is type(value), name
            if isinstance(value, float | np.ndarray):
                np.testing.assert_allclose(row[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
            else:
                assert row[name] == value, name


@dataclass
class Killer:
    """Kills the process that asks for a photo, the first time or every time."""

    photo: str
    killed: Path
    always: bool = False

    def __call__(self, photo: str) -> Path:
        if photo == self.photo and (self.always or not self.killed.exists()):
            self.killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return Path(photo)


@pytest.mark.usefixtures("_cluster")
def test_workers_make_the_same_rows_though_one_is_killed(
    maker: RowMaker, photos: Sequence[str], tmp_path: Path
) -> None:
    expected = rows_of(maker.rows(photos))
    assert sum("right" in row for row in expected) == PHOTOS - 1
    assert sum("error" in row for row in expected) == 1
    killer = Killer(photos[9], tmp_path / "killed")
    rows = rows_of(ray_rows(replace(maker, local=killer), photos))
    assert killer.killed.exists()
    assert_same(rows, expected)
    assert ray.is_initialized()  # Ray was there before, and stays


@pytest.mark.usefixtures("_cluster")
def test_photos_that_kill_every_worker_end_the_run_with_their_names(
    maker: RowMaker, photos: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("limelight.audits.rows.cluster.TRIES", 1)
    killer = Killer(photos[9], tmp_path / "killed", always=True)
    few = photos[8:12]
    with pytest.raises(OptionError, match="1 workers died") as caught:
        list(ray_rows(replace(maker, local=killer, workers=1), few))
    assert repr(few[0]) in str(caught.value)
    assert repr(few[-1]) in str(caught.value)


class UnpackableError(Exception):
    """An error that no other process can be given."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.file = sys.stdout


@dataclass
class Failing:
    """Raises an error in place of returning a file."""

    kind: type[Exception]

    def __call__(self, photo: str) -> Path:
        raise self.kind("no more")


@pytest.mark.usefixtures("_cluster")
def test_an_error_that_concerns_all_photos_is_raised_as_in_one_process(
    maker: RowMaker, photos: Sequence[str]
) -> None:
    failing = replace(maker, local=Failing(LayerError), workers=1)
    for engine in (failing.rows, partial(ray_rows, failing)):
        with pytest.raises(LayerError, match=r"^no more$"):
            list(engine(photos[:3]))


def test_an_error_that_cannot_be_packed_is_raised_by_its_text() -> None:
    error = pickle.loads(packed_error(UnpackableError("no more")))
    assert (type(error), str(error)) == (RuntimeError, "UnpackableError: no more")


@pytest.mark.parametrize(
    ("resources", "workers", "gpu", "expected"),
    [
        ({"CPU": 8}, None, False, Share(7, 1, 1)),
        ({"CPU": 64}, None, False, Share(8, 1, 7)),
        ({"CPU": 2}, 2, False, Share(2, 0.5, 1)),
        ({"CPU": 1}, None, False, Share(1, 0.5, 1)),
        ({"CPU": 16, "GPU": 2}, None, True, Share(2, 7, 7)),
    ],
)
def test_a_processor_is_left_to_ray(
    resources: dict[str, float], workers: int | None, gpu: bool, expected: Share
) -> None:
    share = share_out(resources, workers, gpu=gpu)
    assert share == expected
    assert share.workers * share.cpus < resources["CPU"]


def test_more_workers_than_gpus_are_refused() -> None:
    with pytest.raises(OptionError, match=r"3 workers with a GPU each .* Ray has 2 GPUs"):
        share_out({"CPU": 8, "GPU": 2}, 3, gpu=True)
    with pytest.raises(OptionError, match="Ray has 0 GPUs"):
        share_out({"CPU": 8}, None, gpu=True)


def test_without_ray_the_error_says_what_to_install(
    maker: RowMaker, photos: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(OptionError, match=r"pip install 'limelight\[ray\]'"):
        list(ray_rows(maker, photos))
