"""The state of the source: how its modules import each other, and what one call passes through.

    scripts/house                    a line per figure
    scripts/house --details          and what each of them counts
    scripts/house --tree DIR         another checkout's src/limelight
    scripts/house --json             for a machine
    scripts/house --draw             write the drawing, docs/images/house.svg

tests/test_house.py demands most of it of this checkout.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from house_report.drawing import floor_arrows, house_svg, room_lines
from house_report.imports import (
    circles,
    private_uses,
    read_imports,
    read_modules,
    unplaced_rooms,
    upward_imports,
)
from house_report.sizes import doubled_names, long_files, option_lines

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parents[1] / "src" / "limelight"
DRAWING = HERE.parents[1] / "docs" / "images" / "house.svg"


@dataclass(frozen=True)
class Figure:
    """One line of the report, and what it counts."""

    name: str
    count: int
    details: list[str]


def ask_live(tree: Path, *question: str) -> Any:
    """Return what live.py answers about a package, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-P", HERE / "live.py", *question],
        env={**os.environ, "PYTHONPATH": str(tree.parent)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@cache
def shadowed_modules(tree: Path) -> dict[str, str]:
    """Return the modules that cannot be imported under their own path, first of all, and why.

    Each is imported. That is more certain than reading the source: whatever binds a name is seen.
    Only a module in a circle can need another one before it, so only these are imported first.
    """
    modules = read_modules(tree)
    circled = {name for circle in circles(read_imports(modules)) for name in circle}
    shadowed: dict[str, str] = ask_live(tree, "shadows", *modules, "--", *circled)
    return shadowed


def figures(tree: Path, longest: int = 400) -> list[Figure]:
    """Return all figures of a package."""
    modules = read_modules(tree)
    imports = read_imports(modules)
    run = [edge for edge in imports if not edge.for_types]
    upward = upward_imports(imports)
    doubled = doubled_names(modules)
    options = option_lines(modules)
    names, call = ask_live(tree, "names"), ask_live(tree, "call", str(tree))

    def listed(name: str, details: Iterable[object]) -> Figure:
        lines = [str(line) for line in details]
        return Figure(name, len(lines), lines)

    def homes(private: bool) -> list[str]:
        pairs = [
            (name, homes) for name, homes in doubled.items() if name.startswith("_") == private
        ]
        return [f"{name}: {', '.join(homes)}" for name, homes in pairs]

    return [
        listed("circles of imports", map(" <-> ".join, circles(run))),
        listed("circles, TYPE_CHECKING included", map(" <-> ".join, circles(imports))),
        listed("rooms without a place in ORDER", unplaced_rooms(modules)),
        listed("upward imports", [edge for edge in upward if not edge.for_types]),
        listed("upward imports under TYPE_CHECKING", [edge for edge in upward if edge.for_types]),
        listed("shadowed modules", map(": ".join, shadowed_modules(tree).items())),
        listed("private names of other modules used", private_uses(modules, imports)),
        listed("public names in several modules", homes(private=False)),
        listed("private names in several modules", homes(private=True)),
        listed(f"files over {longest} lines, tables aside", long_files(modules, longest)),
        listed("functions that one explain enters", call["functions"]),
        listed("files that one explain enters", call["files"]),
        Figure("calls of one explain", call["calls"], []),
        listed("classes that one explain makes instances of", call["made"]),
        Figure(
            "lines of options in cli/",
            sum(options.values()),
            [f"{name}: {count}" for name, count in options.items()],
        ),
        listed("public names without a docstring", names["undocumented"]),
        listed("public names out of order", names["out of order"]),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        "scripts/house", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tree", type=Path, default=SOURCE, metavar="DIR")
    parser.add_argument("--details", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--draw", action="store_true")
    asked = parser.parse_args(arguments)
    if asked.draw:
        modules = read_modules(asked.tree.resolve())
        arrows = floor_arrows(read_imports(modules))
        DRAWING.write_text(house_svg(room_lines(modules), arrows), encoding="utf-8")
        return
    report = figures(asked.tree.resolve())
    if asked.json:
        print(json.dumps([asdict(figure) for figure in report], indent=1))
        return
    width = max(len(figure.name) for figure in report)
    for figure in report:
        print(f"{figure.name:{width}} {figure.count:5}")
        for line in figure.details if asked.details else ():
            print(f"    {line}")


if __name__ == "__main__":
    main()
