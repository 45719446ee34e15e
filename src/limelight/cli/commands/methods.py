"""`limelight methods`: what there is to make maps with."""

from __future__ import annotations

from limelight.cli.entry_tables import Names, entries_table, entry_as_dict, named_rows
from limelight.cli.output import Console, document
from limelight.cli.output_options import AsJson
from limelight.methods import METHODS


def methods(*, names: Names = None, as_json: AsJson = False) -> None:
    """List the methods: what each computes, when to use it, and when not to."""
    rows = named_rows(METHODS, "method", names)
    if as_json:
        document([entry_as_dict(row) for row in rows])
        return
    console = Console()
    console.print(entries_table(rows, with_ranges=bool(names)))
    console.print("g = dy_c/dA, X the image, H_k channel k resized to it and scaled to [0, 1].")
