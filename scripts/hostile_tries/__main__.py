"""Run the battery, and print a table of tries and deviations per group."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import hostile_tries
from hostile_tries import groups, running
from hostile_tries.contract import deviations
from hostile_tries.tries import Ran, Try


@dataclass
class Tally:
    """What came of one group."""

    group: str
    tries: int = 0
    deviating: int = 0
    skipped: list[str] = field(default_factory=list)
    deviations: list[tuple[str, str, str]] = field(default_factory=list)  # try, expected, seen
    seconds: float = 0.0
    megabytes: dict[str, float] = field(default_factory=dict)

    def add(self, one: Try, ran: Ran) -> None:
        """Count a try."""
        if ran.code == running.SKIPPED and not ran.killed:
            self.skipped.append(f"{one.name}: {ran.err.decode(errors='replace')[-200:]}")
            return
        self.tries += 1
        self.megabytes[one.name] = round(ran.megabytes)
        try:
            found = list(deviations(one, ran))
        except Exception as error:  # a document of another form than expected, say
            found = [f"an answer of the known form; {type(error).__name__}: {error}"]
        self.deviating += bool(found)
        for line in found:
            expected, _, seen = line.partition("; ")
            self.deviations.append((one.name, expected, seen))


def main() -> int:
    """Run what was asked for."""
    asked = _arguments()
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    began = time.monotonic()
    running.load()
    work = Path(tempfile.mkdtemp(prefix="hostile-"))
    work.chmod(0o755)
    tallies: list[Tally] = []
    interrupted = False
    try:
        running.stand_in(work)
        for name in asked.only or groups.GROUPS:
            tallies.append(Tally(name))
            _group(tallies[-1], groups.GROUPS[name], work, asked)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        groups.clean(work)
        if asked.keep:
            print(f"The files are in {work}.", file=sys.stderr)
        else:
            shutil.rmtree(work, ignore_errors=True)
    _report(tallies, time.monotonic() - began, interrupted)
    if asked.json:
        rows = [asdict(tally) for tally in tallies]
        Path(asked.json).write_text(json.dumps(rows, indent=1) + "\n")
    if interrupted:
        return 130
    return int(any(tally.deviations for tally in tallies))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/hostile",
        description=hostile_tries.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="It exits with 1 where anything deviates. VENV says which environment it runs in.",
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=list(groups.GROUPS),
        metavar="GROUP",
        help="only this group; repeat it for several: %(choices)s",
    )
    parser.add_argument("--match", default="", help="only tries with this in their name")
    parser.add_argument("--json", metavar="FILE", help="also write the result for a machine")
    parser.add_argument(
        "--jobs",
        type=int,
        default=min(4, os.cpu_count() or 1),
        metavar="N",
        help="tries at a time [%(default)s]; those of memory go one by one",
    )
    parser.add_argument("--keep", action="store_true", help="keep the temporary folder")
    return parser.parse_args()


def _group(
    tally: Tally, make: Callable[[Path], Iterator[Try]], work: Path, asked: argparse.Namespace
) -> None:
    folder = work / tally.group
    folder.mkdir()
    shutil.copytree(work / "bin", folder / "bin")
    began = time.monotonic()
    tries = (one for one in make(folder) if asked.match in one.name)
    jobs = 1 if tally.group in groups.ALONE else asked.jobs
    try:
        for one, ran in running.run(tries, folder, jobs):
            tally.add(one, ran)
            _progress(tally, one)
            if not asked.keep:
                shutil.rmtree(ran.folder, ignore_errors=True)
    finally:
        tally.seconds = round(time.monotonic() - began, 1)
        _progress(tally, None)


def _progress(tally: Tally, one: Try | None) -> None:
    """A counter on stderr: rewritten on a terminal, a line per group elsewhere."""
    line = f"{tally.group}: {tally.tries} tries, {tally.deviating} deviate"
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line} {one.name[:60] if one else ''}", end="", file=sys.stderr, flush=True)
    elif one is None:
        print(f"{line}, {tally.seconds:.0f} s", file=sys.stderr, flush=True)


def _report(tallies: list[Tally], seconds: float, interrupted: bool) -> None:
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    for tally in tallies:
        if tally.deviations:
            print(f"\n{tally.group}")
        for name, expected, seen in tally.deviations:
            print(f"  {name}: expected {expected}; seen {seen}")
        for reason in tally.skipped:
            print(f"  skipped {reason}")
    print(f"\n{'group':<10} {'tries':>6} {'deviating':>10} {'skipped':>8} {'seconds':>8}  peak MB")
    for tally in tallies:
        highest = max(tally.megabytes.values(), default=0)
        print(
            f"{tally.group:<10} {tally.tries:>6} {tally.deviating:>10} {len(tally.skipped):>8} "
            f"{tally.seconds:>8.0f} {highest:>8.0f}"
        )
        if tally.group in groups.ALONE:
            for name, megabytes in tally.megabytes.items():
                print(f"    {megabytes:>6.0f} MB  {name}")
    total, deviating = sum(t.tries for t in tallies), sum(t.deviating for t in tallies)
    ended = " Interrupted: this is what was done." if interrupted else ""
    print(f"{total} tries, {deviating} deviate, {seconds:.0f} s.{ended}")


if __name__ == "__main__":
    sys.exit(main())
