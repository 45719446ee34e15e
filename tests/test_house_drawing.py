"""docs/images/house.svg shows the house as it is."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from xml.etree import ElementTree

import pytest

from house_report.drawing import (
    FLOORS,
    drawn_lines,
    floor_arrows,
    floor_title,
    house_svg,
    outdated,
    room_lines,
)
from house_report.imports import ORDER, Import, read_imports, read_modules
from house_report.report import DRAWING, SOURCE

MODULES = read_modules(SOURCE)
LINES = room_lines(MODULES)
ARROWS = floor_arrows(read_imports(MODULES))


def test_the_drawing_is_as_new() -> None:
    faults = outdated(DRAWING.read_text(encoding="utf-8"), LINES, ARROWS)
    assert faults == [], "run `scripts/house --draw`"


def test_every_floor_says_what_it_is_about() -> None:
    assert [row for row in ORDER if not floor_title(row)] == [], "name it in FLOORS"
    assert len(FLOORS) == len(ORDER)
    assert FLOORS.keys() <= {*chain(*ORDER)}


def test_all_rooms_are_drawn_inside_the_picture() -> None:
    drawn = ElementTree.fromstring(house_svg(LINES, ARROWS))
    assert set(drawn_lines(house_svg(LINES, ARROWS))) == set(chain(*ORDER))
    width, height = float(drawn.attrib["width"]), float(drawn.attrib["height"])
    boxes = [{key: float(box.get(key, 0)) for key in ("x", "y", "width", "height")}
             for box in drawn.iter("{http://www.w3.org/2000/svg}rect")]  # fmt: skip
    assert all(box["x"] + box["width"] <= width for box in boxes)
    assert all(box["y"] + box["height"] <= height for box in boxes)


def edges(*pairs: tuple[str, str]) -> list[Import]:
    return [Import(f"limelight.{a}", f"limelight.{b}", "x", "x", 1, False) for a, b in pairs]


def test_an_arrow_stands_for_what_no_other_arrows_reach() -> None:
    (cli, web) = (next(n for n, row in enumerate(ORDER) if room in row) for room in ("cli", "web"))
    assert floor_arrows(edges(("cli", "web"), ("web", "errors"))) == [(web, 0), (cli, web)]
    more = edges(("cli", "web"), ("web", "errors"), ("cli", "errors"))
    assert floor_arrows(more) == [(web, 0), (cli, web)]
    assert floor_arrows(edges(("targets", "layers"))) == []  # on one floor


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda lines, arrows: (lines | {"attic": 5}, arrows), "the room attic is missing"),
        (lambda lines, arrows: ({"cli": lines["cli"]}, arrows), "there is no room web"),
        (lambda lines, arrows: (lines | {"web": lines["web"] * 2}, arrows), "web has"),
        (lambda lines, arrows: (lines, arrows[1:]), "other floors import"),
    ],
)  # fmt: skip
def test_an_old_drawing_is_found(
    change: Callable[..., tuple[dict[str, int], list[tuple[int, int]]]], fault: str
) -> None:
    found = outdated(house_svg(LINES, ARROWS), *change(LINES, ARROWS))
    assert fault in "; ".join(found)


def test_a_few_lines_more_leave_the_drawing_as_it_is() -> None:
    assert outdated(house_svg(LINES, ARROWS), LINES | {"web": LINES["web"] + 90}, ARROWS) == []
