"""Rows of photos from the machines of a Ray cluster: Ray Data, with a network in each worker."""

from __future__ import annotations

import logging
import math
import os
import pickle
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

from limelight.audits.rows.maker import Row, RowMaker
from limelight.errors import MissingPackageError, OptionError, describe_error

#: The most photos that a worker is given at a time: as many are done again when it is killed.
MOST_GIVEN = 512

#: How many workers are given the same photos when they die of them, as for want of memory.
TRIES = 4


def ray_rows(
    maker: RowMaker, photos: Sequence[str], *, address: str | None = None
) -> Iterator[list[Row]]:
    """Yield the rows of photos as workers make them, some photos at a time, in any order.

    1. Connect to Ray, or start it on this machine.
    2. Give each worker a copy of the maker, with the network in it.
    3. Give workers photos; a worker that dies is started again, and gets its photos again.

    The rows are those that `maker.rows` makes, and errors that concern all photos are raised alike.

    Args:
        maker: Makes the rows of photos. Its `workers` is how many processes have a network each;
            None for one per GPU if the network is on one, else for one per processor but one, up to
            eight.
        photos: The paths or URLs of the photos, which all machines must be able to read.
        address: The address of a cluster, as `auto` or `ray://host:10001`; None to use the one that
            this process is connected to, or else to start Ray on this machine.

    Raises:
        OptionError: Ray is not installed, cannot be reached, or has too few GPUs; or some photos
            end every worker that gets them.
    """
    # 1. Ray.
    with _connected(address) as ray, _quiet(ray):
        gpu = next((each.is_cuda for each in maker.looker.network.model.parameters()), False)
        share = share_out(ray.cluster_resources(), maker.workers, gpu=gpu)
        # 2. The maker, once for all workers.
        own = replace(maker, truth=replace(maker.truth, photos={}), workers=share.threads)
        shipped = ray.put(ray.cloudpickle.dumps(own))
        # 3. The photos.
        parts = _parts(maker, photos, share.workers)
        tries = ray.remote(num_cpus=0)(_Tries).remote()
        results = ray.data.from_items(parts, override_num_blocks=len(parts)).map_batches(
            _Worker,
            fn_constructor_args=(shipped, tuple(sys.path), tries, TRIES),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(share.workers, len(parts))),
            num_cpus=share.cpus,
            num_gpus=1 if gpu else 0,
        )
        try:
            for result in results.iter_rows():
                made = pickle.loads(result["made"])
                if isinstance(made, BaseException):
                    raise made
                yield made
        except ray.exceptions.RayError as error:
            raise OptionError(
                f"Ray failed: {describe_error(error)}. The rows that were made are kept, and the "
                "same request goes on from there."
            ) from error


class _Tries:
    """Counts how often photos were given to workers: Ray would try for ever."""

    def __init__(self) -> None:
        """Begin with none."""
        self.counts = Counter[int]()

    def begin(self, part: int) -> int:
        """Count a part of the photos, and return how often it was given."""
        self.counts[part] += 1
        return self.counts[part]


class _Worker:
    """Makes the rows of the photos that it is given, in a process of its own."""

    def __init__(self, shipped: Any, paths: Sequence[str], tries: Any, most: int) -> None:
        """Unpack the maker; its network may be defined in any module that the user can import."""
        import ray

        self.most = most
        sys.path += [path for path in paths if path not in sys.path]
        self.maker: RowMaker = pickle.loads(ray.get(shipped))
        self.tries = tries

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        """Return the rows of some photos, packed: Ray would change the types of their values."""
        return {"made": [self._made(part) for part in batch["part"].tolist()]}

    def _made(self, part: bytes) -> bytes:
        import ray

        number, photos, known = pickle.loads(part)
        self.maker.truth = replace(self.maker.truth, photos=known)
        try:
            if ray.get(self.tries.begin.remote(number)) > self.most:
                raise OptionError(
                    f"{self.most} workers died, one after the other, when they had the photos from "
                    f"{photos[0]!r} to {photos[-1]!r}. If they ran out of memory, take fewer "
                    "workers or a smaller batch; else leave those photos out. The rows that were "
                    "made are kept, and the same request goes on from there."
                )
            return pickle.dumps([row for rows in self.maker.rows(photos) for row in rows])
        except Exception as error:  # raised again by the process that writes the rows
            return packed_error(error)


def packed_error(error: Exception) -> bytes:
    """Return an error packed; in place of one that cannot be, its text."""
    try:
        packed = pickle.dumps(error)
        pickle.loads(packed)
    except Exception:  # errors of other packages may not be picklable
        return pickle.dumps(RuntimeError(describe_error(error)))
    return packed


def _parts(maker: RowMaker, photos: Sequence[str], workers: int) -> list[dict[str, bytes]]:
    """Return the photos in parts, each with what is known of its photos."""
    batches = math.ceil(len(photos) / (4 * workers * maker.batch))
    size = maker.batch * max(1, min(MOST_GIVEN // maker.batch, batches))  # batches stay whole
    parts = [list(photos[start : start + size]) for start in range(0, len(photos), size)]
    known = maker.truth.photos
    return [
        {
            "part": pickle.dumps(
                (number, part, {each: known[each] for each in part if each in known})
            )
        }
        for number, part in enumerate(parts)
    ]


class Share(NamedTuple):
    """What each worker has of the cluster.

    Attributes:
        workers: How many workers there are.
        cpus: How many processors each takes, which may be a part of one.
        threads: How many threads decode in each.
    """

    workers: int
    cpus: float
    threads: int


def share_out(resources: Mapping[str, float], workers: int | None, *, gpu: bool) -> Share:
    """Return what each worker has of the cluster's processors and GPUs.

    One processor is left to Ray, or half of the only one: workers that take all of them starve what
    Ray itself does, which then waits for ever.

    Raises:
        OptionError: There are fewer GPUs than workers.
    """
    cpus, gpus = resources.get("CPU", 0.0), int(resources.get("GPU", 0))
    if gpu and not 0 < (workers or gpus) <= gpus:
        raise OptionError(
            f"{workers or 1} workers with a GPU each were asked for, and Ray has {gpus} GPUs. Ask "
            "for fewer workers, or move the network to the CPU."
        )
    workers = workers or (gpus if gpu else max(1, min(8, int(cpus) - 1)))
    each = (cpus - 1 if cpus > 1 else cpus / 2) / workers
    if each < 1:
        return Share(workers, math.floor(each * 100) / 100, 1)
    return Share(workers, math.floor(each) if gpu else 1, max(1, min(8, math.floor(each))))


@contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """Connect to Ray while the block runs; a connection that was there before stays.

    Raises:
        MissingPackageError: Ray is not installed, or only a part of it.
        OptionError: It cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray is imported
    try:
        import ray
        import ray.cloudpickle
        import ray.data
        import ray.exceptions
    except ImportError as error:
        raise MissingPackageError(
            f"The engine 'ray' needs Ray, and it cannot be imported ({error}): pip install "
            "'limelight[ray]'.",
            name="ray",
        ) from error
    if ray.is_initialized():
        yield ray
        return
    here = address is None and not os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"address": "local", "include_dashboard": False}
    try:
        ray.init(
            **(options if here else {"address": address}),
            logging_level=logging.ERROR,
            log_to_driver=False,
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
