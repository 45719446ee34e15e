"""Rows of photos from the machines of a Ray cluster: Ray Data, with a network in each worker."""

from __future__ import annotations

import logging
import math
import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from limelight.audits.row_maker import Row, RowMaker
from limelight.errors import OptionError, describe_error

#: The most photos that a worker is given at a time: as many are done again when it is killed.
MOST_GIVEN = 512

#: How often the photos that a worker had when it was killed are tried again: one of them may be
#: what kills it.
RETRIES = 3


@dataclass(frozen=True)
class RaySpec:
    """Where Ray runs, and how many workers there are.

    Attributes:
        address: The address of a cluster, as `auto` or `ray://host:10001`; None to use the one that
            the process is connected to, or else to start Ray on this machine.
        workers: How many workers have a network each; None for one per device, or without any for
            one per processor but one, up to eight.
    """

    address: str | None = None
    workers: int | None = None


def ray_rows(maker: RowMaker, photos: Sequence[str], spec: RaySpec | None = None) -> Iterator[Row]:
    """Yield the rows of photos as workers make them, in any order.

    1. Connect to Ray, or start it on this machine.
    2. Give each worker a copy of the maker, with the network in it.
    3. Give workers photos; a worker that dies is started again, and gets its photos again.

    The rows are those that `maker.rows` makes, and errors that concern all photos are raised alike.

    Args:
        maker: Makes the rows of photos. Networks on a GPU take one GPU per worker.
        photos: The paths or URLs of the photos, which all machines must be able to read.
        spec: Where Ray runs, and how many workers there are.

    Raises:
        OptionError: Ray is not installed, cannot be reached, or has fewer workers.
    """
    spec = spec or RaySpec()
    # 1. Ray.
    with _connected(spec.address) as ray, _quiet(ray):
        gpu = next(maker.looker.network.model.parameters()).is_cuda
        workers, cpus = _share_out(ray.cluster_resources(), spec.workers, gpu=gpu)
        # 2. The maker, once for all workers.
        shipped = ray.put(
            ray.cloudpickle.dumps(replace(maker, truth=replace(maker.truth, photos={})))
        )
        # 3. The photos.
        given = _parts(maker, photos, workers)
        results = ray.data.from_items(given, override_num_blocks=len(given)).map_batches(
            _Worker,
            fn_constructor_args=(shipped,),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=cpus,
            num_gpus=1 if gpu else 0,
            max_restarts=-1,
            max_task_retries=RETRIES,
        )
        for result in results.iter_rows():
            made = pickle.loads(result["made"])
            if isinstance(made, BaseException):
                raise made
            yield from made


class _Worker:
    """Makes the rows of the photos that it is given, in a process of its own."""

    def __init__(self, shipped: Any) -> None:
        """Unpack the maker."""
        import ray

        self.maker: RowMaker = pickle.loads(ray.get(shipped))

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        """Return the rows of some photos, packed: Ray would change the types of their values."""
        return {"made": [self._made(part) for part in batch["part"].tolist()]}

    def _made(self, part: bytes) -> bytes:
        photos, known = pickle.loads(part)
        self.maker.truth = replace(self.maker.truth, photos=known)
        try:
            return pickle.dumps(list(self.maker.rows(photos)))
        except Exception as error:  # raised again by the process that writes the rows
            return _packed_error(error)


def _packed_error(error: Exception) -> bytes:
    """Return an error packed; in place of one that cannot be, its text."""
    try:
        packed = pickle.dumps(error)
        pickle.loads(packed)
    except Exception:  # errors of other packages may not be picklable
        return pickle.dumps(RuntimeError(describe_error(error)))
    return packed


def _parts(maker: RowMaker, photos: Sequence[str], workers: int) -> list[dict[str, bytes]]:
    """Return the photos in parts, each with what is known of its photos."""
    size = max(maker.batch, min(MOST_GIVEN, math.ceil(len(photos) / (4 * workers))))
    parts = [list(photos[start : start + size]) for start in range(0, len(photos), size)]
    known = maker.truth.photos
    return [
        {"part": pickle.dumps((part, {photo: known[photo] for photo in part if photo in known}))}
        for part in parts
    ]


def _share_out(resources: dict[str, float], workers: int | None, *, gpu: bool) -> tuple[int, float]:
    """Return how many workers there are, and how many processors each of them takes.

    One processor is left to Ray: workers that take all of them starve it, and it waits for ever.

    Raises:
        OptionError: There are fewer GPUs.
    """
    cpus, gpus = resources.get("CPU", 0.0), int(resources.get("GPU", 0))
    if gpu:
        workers = workers or gpus
        if not 0 < workers <= gpus:
            raise OptionError(
                f"{workers or 1} workers with a GPU each were asked for, and Ray has {gpus} GPUs. "
                "Ask for fewer workers, or move the network to the CPU."
            )
    workers = workers or max(1, min(8, int(cpus) - 1))
    left = cpus - 1 if cpus > 1 else cpus / 2
    share = left / workers
    return workers, float(int(share)) if share >= 1 and gpu else min(1.0, share)


@contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """Connect to Ray while the block runs; a connection that was there before stays.

    Raises:
        OptionError: Ray is not installed, or cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray is imported
    try:
        import ray
        import ray.cloudpickle
        import ray.data
    except ImportError as error:
        raise OptionError(
            f"This engine needs Ray, and it cannot be imported ({error}): pip install "
            "'limelight[ray]'."
        ) from error
    if ray.is_initialized():
        yield ray
        return
    here = address is None and not os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"include_dashboard": False} if here else {}
    try:
        ray.init(
            address="local" if here else address,
            logging_level=logging.ERROR,
            log_to_driver=False,
            **options,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise OptionError(
            f"Ray cannot be {'started here' if here else f'reached at {address!r}'}: "
            f"{describe_error(error)}. Pass the address of a running cluster."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _quiet(ray: Any) -> Iterator[None]:
    """Keep Ray Data from its own progress bars and logs while the block runs."""
    context, logger = ray.data.DataContext.get_current(), logging.getLogger("ray.data")
    before = context.enable_progress_bars, logger.level
    context.enable_progress_bars = False
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        context.enable_progress_bars = before[0]
        logger.setLevel(before[1])
