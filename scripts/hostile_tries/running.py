"""Tries are run in forked processes: torch takes seconds to load, and is loaded once."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from hostile_tries.contract import GHOST
from hostile_tries.tries import Ran, Skip, Try

#: Any process is ended when it holds as much as this.
LIMIT = 4000.0
#: What a process exits with that could not make its try; its stderr says why.
SKIPPED = 77


def load() -> None:
    """Load what most tries need, on one thread: no thread of torch's may be there when forking."""
    import torch

    torch.set_num_threads(1)
    for name in ("matplotlib.pyplot", "timm", "torchvision.models.detection"):
        import_module(name)

    import limelight
    from limelight.cli import COMMANDS, load_command

    for name in COMMANDS:
        load_command(name).make_context(name, [])  # what reads the options is loaded only then
    import hostile_tries.tiny

    hostile_tries.tiny.build()
    limelight.load_model()
    gc.freeze()  # so that a child's collector does not copy every page


def start(one: Try, folder: Path) -> int:
    """Start a process that makes a try in a folder; return its id."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in one.files.items():
        (folder / name).write_text(text)
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process == 0:
        code = 99
        try:
            code = _child(one, folder)
        finally:
            os._exit(code)
    return process


def _child(one: Try, folder: Path) -> int:
    os.setsid()  # a Ctrl-C for the battery is not one for the try
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.chdir(folder)
    for number, name in ((0, os.devnull), (1, "stdout"), (2, "stderr")):
        made = os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(made, number)
        os.close(made)
    os.environ.update(_environment(folder), **one.environment)
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), "utf-8", write_through=True)
    sys.stderr = io.TextIOWrapper(
        io.FileIO(2, "w", closefd=False), "utf-8", "backslashreplace", write_through=True
    )
    try:
        if one.setup is not None:
            one.setup()
        if one.fresh:
            line = "from limelight.cli import main; main()"
            os.execve(sys.executable, [sys.executable, "-P", "-c", line, *one.argv], os.environ)
        return _run(one)
    except Skip as reason:
        os.write(2, str(reason).encode())
        return SKIPPED


def _run(one: Try) -> int:
    """Do what the interpreter does with a script."""
    from limelight.cli import main

    sys.argv = ["limelight", *one.argv]
    try:
        if one.call is not None:
            one.call()
        else:
            main()
        sys.stdout.flush()
    except SystemExit as leaving:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        if leaving.code is None or isinstance(leaving.code, int):
            return (leaving.code or 0) & 255
        os.write(2, str(leaving.code).encode())
        return 1
    except Skip:
        raise
    except BaseException as error:
        os.write(2, traceback.format_exc().encode(errors="backslashreplace"))
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _environment(folder: Path) -> dict[str, str]:
    """Keep a try off the user's caches; the first `gs` in PATH is a stand-in."""
    return {
        "PATH": f"{folder.parent / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "GHOST": str(folder / GHOST),
        "COLUMNS": "100",
        "OMP_NUM_THREADS": "1",
        "HF_HOME": str(folder / "hub"),
        "TORCH_HOME": str(folder / "torch"),
    }


def stand_in(work: Path) -> None:
    """Write a Ghostscript that leaves a mark."""
    (work / "bin").mkdir(exist_ok=True)
    ghost = work / "bin" / "gs"
    ghost.write_text('#!/bin/sh\n: > "$GHOST"\nexit 1\n')
    ghost.chmod(0o755)


@dataclass
class _Running:
    one: Try
    process: int
    folder: Path
    began: float = field(default_factory=time.monotonic)
    megabytes: float = 0.0
    killed: str = ""

    def look(self) -> None:
        """Note its memory; end it where it takes too much of it, or of time."""
        self.megabytes = max(self.megabytes, peak(self.process))
        if self.megabytes > LIMIT:
            self.kill(f"ended at {self.megabytes:.0f} MB, after {self.seconds:.0f} s")
        elif self.seconds > self.one.seconds:
            self.kill(f"still running after {self.seconds:.0f} s, at {self.megabytes:.0f} MB")

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def kill(self, why: str) -> None:
        self.killed = self.killed or why
        end(self.process)


def run(tries: Iterator[Try], work: Path, jobs: int) -> Iterator[tuple[Try, Ran]]:
    """Make the tries, so many at a time; yield each as it ends."""
    running: dict[int, _Running] = {}
    numbers = iter(range(10**9))
    waiting: Try | None = next(tries, None)
    try:
        while running or waiting is not None:
            while waiting is not None and len(running) < jobs:
                folder = work / f"try-{next(numbers)}"
                process = start(waiting, folder)
                running[process] = _Running(waiting, process, folder)
                waiting = next(tries, None)
            for process, now in list(running.items()):
                now.look()
                done, status = os.waitpid(process, os.WNOHANG)
                if done:
                    del running[process]
                    end(process)  # what it left behind
                    yield now.one, _ended(now, status)
            time.sleep(0.01)
    finally:
        for now in running.values():
            now.kill("interrupted")
            os.waitpid(now.process, 0)


def _ended(now: _Running, status: int) -> Ran:
    out, err = (_read(now.folder / name) for name in ("stdout", "stderr"))
    code = os.waitstatus_to_exitcode(status)
    return Ran(now.folder, code, out, err, now.seconds, now.megabytes, now.killed)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(50_000_000)


def peak(process: int | str) -> float:
    """The highest resident set of a process so far, in MB; 0 where /proc does not tell."""
    with suppress(OSError), open(f"/proc/{process}/status", encoding="utf-8") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def end(process: int) -> None:
    """Kill a process that `start` made, and its children."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process, signal.SIGKILL)
