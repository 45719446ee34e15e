"""Put mistakes into the source, one at a time, and see whether the tests notice.

    scripts/mutate methods                     a sample of the mistakes that can be made in methods/
    scripts/mutate methods places metrics      room after room
    scripts/mutate metrics --sample 0          all mistakes; it takes hours
    scripts/mutate places --only '*tracks*'    those in modules or functions of such a name

A mistake is a *mutant*: one line of one function changed, such as `+` into `-`, 1 into 2, `<` into
`<=`, an argument left out. The tests that enter the function run on it until one fails; then the
mutant is *killed*. One that *survived* either changes nothing that anybody could see, or a test is
missing. mutmut 3 makes and runs the mutants (`pip install 'mutmut>=3.8,<4'`), in forks of one
process, so torch is imported once. It works on a copy of the tree, in .mutation/ROOM.

The report counts the mutants by what became of them and shows the change of each one that
survived; it is also written to .mutation/ROOM/report.txt. The sample is drawn at random, by a
seed, from the mutants of all modules alike.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Room(NamedTuple):
    """Modules of the package, and the test files that speak of them."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]


#: Tests that take long, or that start programs of their own, which know nothing of mutants, are not
#: among them.
ROOMS = {
    "methods": Room(
        ("methods/*",),
        (
            "test_methods",
            "test_methods_by_hand",
            "test_methods_laws",
            "test_methods_input",
            "test_methods_input_by_hand",
            "test_methods_input_laws",
            "test_token_activation",
            "test_tiles",
            "test_combinators",
            "test_factorization",
            "test_names",
        ),
    ),
    "places": Room(
        (
            "runtime/places.py",
            "runtime/cells.py",
            "layers/places.py",
            "layers/tracks.py",
            "layers/orders.py",
            "layers/moments.py",
            "layers/merging.py",
            "layers/guesses.py",
            "layers/layouts.py",
        ),
        (
            "test_places",
            "test_places_inputs",
            "test_layers_guesses",
            "test_layers_places",
            "test_cells",
            "test_layers",
            "test_span",
        ),
    ),
    "metrics": Room(
        ("metrics/*",),
        (
            "test_metrics",
            "test_metrics_by_hand",
            "test_metrics_laws",
            "test_metrics_parts",
            "test_metrics_refused",
            "test_metrics_objects",
            "test_metrics_truth",
            "test_annotations",
            "test_comparisons",
            "test_imputation",
            "test_intervals",
            "test_learned",
            "test_names",
            "test_verdict",
        ),
    ),
}


def mutmut(*arguments: str, at: Path, refused: str = "") -> str:
    """Run a command of mutmut in the copy, and return what it prints.

    It has to succeed, or to print `refused`.
    """
    program = "from mutmut.__main__ import cli; cli()"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=at,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode and not (refused and refused in done.stdout):
        raise SystemExit(f"mutmut {arguments[0]} failed, at {at}:\n{done.stdout[-3000:]}")
    return done.stdout


def copy_tree(room: Room, at: Path) -> None:
    """Make the copy that is mutated, with the configuration of mutmut.

    Mutants that were tried before keep their results, unless their function has changed.
    """
    for name in ("src", "tests", "scripts"):
        shutil.rmtree(at / name, ignore_errors=True)
        shutil.copytree(ROOT / name, at / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", at)
    modules = [f"src/limelight/{module}" for module in room.modules]
    tests = [f"tests/{test}.py" for test in room.tests]
    lines = {
        "source_paths": ["src"],
        "only_mutate": modules,
        "also_copy": ["scripts"],
        "pytest_add_cli_args_test_selection": tests,
        "use_git_change_detection": ["false"],
    }
    text = "".join(f"{key} =\n    " + "\n    ".join(lines[key]) + "\n" for key in lines)
    (at / "setup.cfg").write_text(f"[mutmut]\n{text}", encoding="utf-8")


def try_room(name: str, asked: argparse.Namespace) -> str:
    """Return the report of a room."""
    at: Path = asked.at / name
    at.mkdir(parents=True, exist_ok=True)
    copy_tree(ROOMS[name], at)
    # There is no command that makes the mutants and tries none; they stand in files afterwards.
    mutmut("run", "none", at=at, refused="nothing matches")
    files = sorted(at.glob("mutants/src/**/*.meta"))
    tried = [json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"] for path in files]
    mutants = [mutant for file in tried for mutant in file]
    wanted = [mutant for mutant in mutants if fnmatch(mutant, asked.only)]
    count = min(asked.sample or len(wanted), len(wanted))
    sample = random.Random(asked.seed).sample(wanted, count)
    mutmut("run", "--max-children", str(asked.processes), *sample, at=at)
    printed = mutmut("results", "--all", "true", at=at)
    results = dict(re.findall(r"(\S+__mutmut_\d+): (.+)", printed))
    counted = Counter(results.get(mutant, "not run") for mutant in sample)
    left = sorted(mutant for mutant in sample if results.get(mutant) != "killed")
    shown = [f"# {results.get(mutant)}\n{mutmut('show', mutant, at=at)}" for mutant in left]
    seen = ", ".join(f"{number} {status}" for status, number in counted.most_common())
    report = f"{name}: {seen} of {count} mutants drawn from {len(wanted)}, seed {asked.seed}\n"
    (at / "report.txt").write_text("\n".join([report, *shown]), encoding="utf-8")
    return "\n".join([*shown, report])


def main(arguments: Sequence[str] | None = None) -> None:
    """Try rooms, and print their reports."""
    parser = argparse.ArgumentParser(
        "scripts/mutate", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("rooms", nargs="+", choices=ROOMS, metavar="ROOM", help=", ".join(ROOMS))
    parser.add_argument("--sample", type=int, default=200, help="how many mutants; 0: all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="of mutants' names")
    parser.add_argument("--processes", type=int, default=1, help="at the same time")
    parser.add_argument("--at", type=Path, default=ROOT / ".mutation", help="where the copies are")
    asked = parser.parse_args(arguments)
    for name in asked.rooms:
        print(try_room(name, asked))


if __name__ == "__main__":
    main()
