"""The house as a drawing: rooms in their order, their sizes, and what imports what.

`scripts/house --draw` writes docs/images/house.svg. Sizes change with every commit, so the drawing
keeps the lines it was drawn from, and is outdated only once a room is off by a fifth.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from house_report.imports import ORDER, Import, Module, room_of

#: What a row of ORDER is about, by one of its rooms.
FLOORS = {
    "errors": "files, errors, threads",
    "peer_names": "names of other libraries, HTML",
    "inputs": "inputs; raw map to heatmap",
    "layers": "which layer, which score",
    "methods": "evidence becomes a raw map",
    "options": "what a call asks for",
    "runtime": "the only room that runs a model",
    "target_evidence": "cut and target become evidence",
    "photos": "photos and networks",
    "render": "pictures",
    "explanation": "results",
    "pipeline": "explain",
    "metrics": "is the map true?",
    "repetition": "the same map again",
    "comparison": "compare, concepts, trace",
    "examination": "limelight doctor",
    "steps": "step by step; answers",
    "audits": "data sets; training",
    "web": "the page",
    "deployed": "exported files, without torch",
    "exporting": "a network and its maps as a file",
    "compat": "other libraries' code",
    "cli": "the command",
    "__main__": "python -m limelight",
}

_WIDTH, _LEFT, _RIGHT = 960, 212, 800  # of the drawing; where rooms begin and end
_ROOM, _GAP, _PAD = 24, 4, 5  # the height of a room; between rooms; inside a floor
_PER_LINE = 0.054
_LANE = 13

_STYLE = """
text { font: 11px system-ui, sans-serif; fill: #1f2328 }
.title { fill: #59636e }
.paper { fill: #ffffff }
.floor { fill: #f0f2f5 }
.room { fill: #dbe7f7 }
.size { fill: #9dbfe8 }
.arrow { fill: none; stroke: #59636e; stroke-width: 1.2 }
.head { fill: #59636e }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .title { fill: #9198a1 }
  .paper { fill: #0d1117 }
  .floor { fill: #1b222c }
  .room { fill: #1f3350 }
  .size { fill: #34609c }
  .arrow { stroke: #9198a1 }
  .head { fill: #9198a1 }
}
"""


def room_lines(modules: Mapping[str, Module]) -> dict[str, int]:
    """Return the lines of each room, in the order of the house."""
    lines = Counter[str]()
    for module in modules.values():
        lines[room_of(module.name)] += module.lines
    return {room: lines[room] for room in chain(*ORDER) if lines[room]}


def floor_arrows(imports: Iterable[Import]) -> list[tuple[int, int]]:
    """Return which floor imports from which, but for what it reaches by other arrows.

    That is the transitive reduction of the graph of floors.
    """
    floors = {room: number for number, row in enumerate(ORDER) for room in row}
    graph: dict[int, set[int]] = {number: set() for number in range(len(ORDER))}
    for edge in imports:
        ends = [floors.get(room_of(module)) for module in (edge.importer, edge.imported)]
        if None not in ends and ends[0] != ends[1]:
            upper, lower = (end for end in ends if end is not None)
            graph[upper].add(lower)
    reached = dict[int, set[int]]()
    for floor in sorted(graph):  # from the bottom up: imports go down
        reached[floor] = graph[floor].union(*(reached[lower] for lower in graph[floor]))
    return [
        (upper, lower)
        for upper, lowers in sorted(graph.items())
        for lower in sorted(lowers)
        if not any(lower in reached[other] for other in lowers)
    ]


def floor_title(rooms: Sequence[str]) -> str:
    """Return what a floor is about; "" if nobody has said so."""
    return next((FLOORS[room] for room in rooms if room in FLOORS), "")


def house_svg(lines: Mapping[str, int], arrows: Sequence[tuple[int, int]]) -> str:
    """Return the drawing of rooms with so many lines, and of arrows between floors."""
    parts, tops, bottoms, y = list[str](), dict[int, float](), dict[int, float](), 8.0
    for number in reversed(range(len(ORDER))):
        rows = list(_rows([room for room in ORDER[number] if room in lines], lines))
        height = len(rows) * (_ROOM + _GAP) - _GAP + 2 * _PAD
        tops[number], bottoms[number] = y, y + height
        title, middle = floor_title(ORDER[number]), y + height / 2 + 4
        parts.append(
            f'<rect class="floor" x="8" y="{y:g}" width="{_RIGHT - 4}" height="{height}" rx="4"/>'
            f'<text class="title" x="16" y="{middle:g}">{title}</text>'
        )
        for row_number, row in enumerate(rows):
            top = y + _PAD + row_number * (_ROOM + _GAP)
            parts += [_room(room, x, top, width, lines[room]) for room, x, width in row]
        y += height + 10
    parts += _arrows(arrows, tops, bottoms)
    notes = (
        "A room imports from the floors below, and from rooms to its left. The blue part of a room "
        "is its share",
        f"of {sum(lines.values()):,} lines. An arrow says which floor uses which; what a floor "
        "reaches by other arrows has none of its own.",
    )
    parts += [
        f'<text class="title" x="16" y="{y + 12 + 15 * number:g}">{note}</text>'
        for number, note in enumerate(notes)
    ]
    size = f'width="{_WIDTH}" height="{y + 38:g}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y + 38:g}" {size} '
        'role="img" aria-label="The rooms of limelight">\n'
        f"<style>{_STYLE}</style>\n"
        f'<rect class="paper" {size} rx="6"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _rows(
    rooms: Sequence[str], lines: Mapping[str, int]
) -> Iterator[list[tuple[str, float, float]]]:
    """Go through the rows of a floor: each room with its left edge and its width."""
    row, x = list[tuple[str, float, float]](), float(_LEFT)
    for room in rooms:
        width = max(len(room) * 6.3 + 14, lines[room] * _PER_LINE)
        if row and x + width > _RIGHT:
            yield row
            row, x = [], float(_LEFT)
        row.append((room, x, width))
        x += width + _GAP
    yield row


def _room(room: str, x: float, y: float, width: float, lines: int) -> str:
    share = f'width="{lines * _PER_LINE:.1f}" height="{_ROOM}" rx="3"'
    return (
        f'<g data-room="{room}" data-lines="{lines}"><title>{room}: {lines:,} lines</title>'
        f'<rect class="room" x="{x:.1f}" y="{y:g}" width="{width:.1f}" height="{_ROOM}" rx="3"/>'
        f'<rect class="size" x="{x:.1f}" y="{y:g}" {share}/>'
        f'<text x="{x + 7:.1f}" y="{y + 16:g}">{room}</text></g>'
    )


def _arrows(
    arrows: Sequence[tuple[int, int]], tops: Mapping[int, float], bottoms: Mapping[int, float]
) -> Iterator[str]:
    """Go through the arrows: straight to the floor below, and else by lanes at the right."""
    lanes = list[list[tuple[int, int]]]()
    for upper, lower in sorted(arrows, key=lambda arrow: arrow[0] - arrow[1]):
        if upper - lower == 1:
            start, end, x = bottoms[upper], tops[lower], 104
            yield f'<path class="arrow" d="M{x} {start:g}V{end - 3:g}"/>' + _head(x, end, "down")
            continue
        free = (lane for lane in lanes if all(low >= upper or high <= lower for high, low in lane))
        lane = next(free, None)
        if lane is None:
            lanes.append(lane := [])
        lane.append((upper, lower))
        edge = _RIGHT + 8
        x = edge + 14 + _LANE * next(n for n, known in enumerate(lanes) if known is lane)
        # Arrows leave a floor in its lower half and arrive in its upper one.
        start, end = bottoms[upper] - 8, tops[lower] + 8
        yield (
            f'<path class="arrow" d="M{edge} {start:g}H{x - 6}q6 0 6 6V{end - 6:g}q0 6 -6 6'
            f'H{edge + 5}"/>' + _head(edge, end, "left")
        )


def _head(x: float, y: float, direction: str) -> str:
    ends = ((-4, -6), (4, -6)) if direction == "down" else ((7, -4), (7, 4))
    (ax, ay), (bx, by) = ends
    return f'<path class="head" d="M{x:g} {y:g}l{ax} {ay}l{bx - ax} {by - ay}z"/>'


def drawn_lines(svg: str) -> dict[str, int]:
    """Return the lines that a drawing was drawn from."""
    found = re.findall(r'data-room="(\w+)" data-lines="(\d+)"', svg)
    return {room: int(lines) for room, lines in found}


def outdated(svg: str, lines: Mapping[str, int], arrows: Sequence[tuple[int, int]]) -> list[str]:
    """Return what a drawing tells wrongly: a room, a size that is off by a fifth, an arrow."""
    drawn = drawn_lines(svg)
    faults = [f"there is no room {room}" for room in drawn if room not in lines]
    for room, count in lines.items():
        if room not in drawn:
            faults.append(f"the room {room} is missing")
        elif abs(count - drawn[room]) > max(100, drawn[room] / 5):
            faults.append(f"{room} has {count} lines, not {drawn[room]}")
    if not faults and house_svg(drawn, arrows) != svg:
        faults.append("other floors import from each other, or it is drawn in another way")
    return faults
