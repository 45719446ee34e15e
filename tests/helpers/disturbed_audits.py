"""Audits that are killed, interrupted, or run out of disk, each in a process of its own.

Run as a script with the folder of the photos, the folder of the results, and, where the system lets
us mount them, a folder for small disks: it prints what became of each audit as JSON.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet
import torch

from helpers.audited import tiny_network
from limelight.audits import pipeline
from limelight.audits.rows import shards
from limelight.errors import LimelightError
from limelight.progress import ProgressCallback

KILLS = 10


class Audits:
    """Audits of the same photos, in processes that are forked from this one.

    Attributes:
        photos: The folder of the photos.
        message: A file for the message of an audit that failed.
    """

    def __init__(self, photos: Path, message: Path) -> None:
        self.photos, self.message = photos, message

    def begin(self, out: Path, progress: ProgressCallback | None = None) -> int:
        """Begin an audit in another process, and return its id."""
        process = os.fork()
        if process:
            return process
        code = 0
        try:
            pipeline.audit(
                tiny_network(),
                self.photos,
                out,
                batch=2,
                removal=False,
                progress=progress,
            )
        except LimelightError as error:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            self.message.write_text(str(error))
            code = 3
        except KeyboardInterrupt:
            code = 4
        finally:
            os._exit(code)
        raise AssertionError

    def end(self, process: int) -> int:
        """Wait for an audit, and return its exit code; less the signal that killed it, if any."""
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

    def run(self, out: Path, progress: ProgressCallback | None = None) -> int:
        """Run an audit, and return its exit code."""
        return self.end(self.begin(out, progress))

    def fail(self, out: Path, progress: ProgressCallback | None = None) -> str:
        """Run an audit that fails, and return its message."""
        code = self.run(out, progress)
        assert code == 3, code
        return self.message.read_text()


def rows_in(out: Path) -> int:
    """Return how many rows are in the files of a run, all of which must be whole."""
    files = sorted(out.glob("rows/*.parquet"))
    return sum(pyarrow.parquet.read_metadata(file).num_rows for file in files)


def tell(pipe: int, _task: str, _done: int, _total: int) -> None:
    """Write a byte to a pipe, as progress."""
    os.write(pipe, b".")


def kill(audits: Audits, out: Path) -> dict[str, Any]:
    """Kill an audit at ten random moments, go on each time, and let it end.

    A moment is a number of batches and a short time later, so that all kinds of them are met
    however busy the machine is: while it begins, looks, or writes.
    """
    chance, rows = random.Random(0), list[int]()
    for _ in range(KILLS):
        seen, done = os.pipe()
        process = audits.begin(out, partial(tell, done))
        os.close(done)
        for _ in range(chance.randint(0, 4)):
            os.read(seen, 1)
        time.sleep(chance.uniform(0, 0.05))
        os.kill(process, signal.SIGKILL)
        assert audits.end(process) == -signal.SIGKILL
        os.close(seen)
        rows.append(rows_in(out))
    return {"rows": rows, "code": audits.run(out)}


def interrupt(audits: Audits, out: Path) -> dict[str, Any]:
    """Interrupt an audit as Ctrl-C does, and go on."""

    def press(_task: str, done: int, _total: int) -> None:
        if done == 10:
            os.kill(os.getpid(), signal.SIGINT)

    return {"interrupted": audits.run(out, press), "rows": rows_in(out), "code": audits.run(out)}


def limit(audits: Audits, out: Path) -> dict[str, Any]:
    """Let files have no more than a few bytes in the middle of an audit, and go on without that."""

    def limit_files(_task: str, done: int, _total: int) -> None:
        if done == 10:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))

    message = audits.fail(out, limit_files)
    return {"message": message, "rows": rows_in(out), "code": audits.run(out)}


@contextmanager
def disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a small disk in memory."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def fill(audits: Audits, folder: Path) -> dict[str, Any]:
    """Audit on a disk that gets full, on one that may not be written, and with room again."""
    other = folder / "other"

    def fill_disk(_task: str, done: int, _total: int) -> None:
        if done == 10:
            with suppress(OSError), other.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))

    with disk(folder, "1m"):
        out = folder / "run"
        message, rows = audits.fail(out, fill_disk), rows_in(out)
        other.unlink()
        remount(folder, "ro")
        read_only = audits.fail(out)
        remount(folder, "rw")
        code = audits.run(out)
        subprocess.run(["cp", "-r", out, audits.message.parent / "filled"], check=True)
    return {"message": message, "rows": rows, "read-only": read_only, "code": code}


def run_two(audits: Audits, out: Path) -> dict[str, Any]:
    """Begin a second audit in the folder of one that is still running."""
    first = audits.begin(out, lambda _task, _done, _total: time.sleep(0.05))
    while not rows_in(out):
        time.sleep(0.01)
    message = audits.fail(out)
    return {"message": message, "code": audits.end(first)}


def main(photos: Path, results: Path, disks: Path | None) -> None:
    """Run all audits, and print what became of them."""
    torch.set_num_threads(1)
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # who runs in the background ignores it
    shards.LEAST_SECONDS = 0.0  # a file for nearly each batch
    for name in ("search", "write_findings"):
        setattr(pipeline, name, lambda *_, **__: None)
    audits = Audits(photos, results / "message.txt")
    assert audits.run(results / "plain") == 0
    said = {
        "killed": kill(audits, results / "killed"),
        "interrupted": interrupt(audits, results / "interrupted"),
        "limited": limit(audits, results / "limited"),
        "two": run_two(audits, results / "two"),
    }
    if disks is not None:
        said["filled"] = fill(audits, disks)
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]) if sys.argv[3:] else None)
