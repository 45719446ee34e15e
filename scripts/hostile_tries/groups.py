"""The groups, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from hostile_tries import (
    group_library,
    group_measure,
    group_memory,
    group_networks,
    group_offline,
    group_options,
    group_output,
    group_paths,
    group_photos,
    group_weights,
)
from hostile_tries.tries import Try

GROUPS: dict[str, Callable[[Path], Iterator[Try]]] = {
    "photos": group_photos.tries,
    "paths": group_paths.tries,
    "weights": group_weights.tries,
    "networks": group_networks.tries,
    "options": group_options.tries,
    "output": group_output.tries,
    "library": group_library.tries,
    "measure": group_measure.tries,
    "offline": group_offline.tries,
    "memory": group_memory.tries,
}
#: Groups whose tries are made one by one, and whose memory is printed for each.
ALONE = {"memory"}


def clean(work: Path) -> None:
    """Undo what outlives the temporary folder."""
    group_output.clean(work)
