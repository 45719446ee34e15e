"""The rows of the table of a network's layers, from input to output."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Literal

from limelight.layers import INPUT, ModuleCall
from limelight.steps.data import Step

#: Modules are unfolded until the table has at least the first number of rows, and never past the
#: second.
_MIN_ROWS, _MAX_ROWS = 8, 40


def network_table(
    calls: Sequence[ModuleCall], shares: Sequence[float], cut: str
) -> tuple[Step, ...]:
    """Return the rows of the table: the calls of a recorded pass, about 8 to 40 of them.

    The layer at which the network is cut always has a row, even when its children have rows too;
    the modules around it never do.

    Args:
        calls: The recorded pass.
        shares: For each call, the share of the pass's cost that is spent when the call ends.
        cut: The dotted path of the layer, with #k for the k-th of several calls.
    """
    layer, _, number = cut.partition("#")
    ran = [call for call in calls if call.path]
    shown = _shown_paths({call.path for call in ran}, layer)
    rows, past_cut, seen = list[Step](), cut == INPUT, dict[str, int]()
    for call in ran:
        if call.path not in shown | {layer}:  # the layer itself may have been unfolded
            continue
        seen[call.path] = seen.get(call.path, 0) + 1
        is_cut = call.path == layer and (not number or seen[layer] == int(number))
        side: Literal["body", "cut", "head"]
        side = "cut" if is_cut else "head" if past_cut else "body"
        past_cut = past_cut or is_cut
        path = f"{call.path}#{seen[call.path]}" if call.calls > 1 else call.path
        rows.append(Step(path, call.kind, call.shape, call.layout, shares[call.number], side))
    return tuple(rows)


def _shown_paths(paths: Set[str], layer: str) -> set[str]:
    """Return the modules to show: from the outermost, unfold the ones with the most children."""
    shown = {path.partition(".")[0] for path in paths}
    while True:
        children = {path: _children(path, paths) for path in shown}
        must = [path for path in shown if layer.startswith(f"{path}.") or path not in paths]
        may = [path for path in shown if len(shown) < _MIN_ROWS and len(children[path]) > 1]
        may = [path for path in may if len(shown) + len(children[path]) <= _MAX_ROWS]
        opened = max(must or may, key=lambda path: (len(children[path]), path), default=None)
        if opened is None:
            return shown
        shown = shown - {opened} | children[opened]


def _children(path: str, paths: Set[str]) -> set[str]:
    """Return the modules directly inside a module, among those that ran."""
    depth = path.count(".") + 2
    return {".".join(inner.split(".")[:depth]) for inner in paths if inner.startswith(f"{path}.")}
