"""`limelight methods`: what there is to make maps with."""

from __future__ import annotations

from limelight.cli.entry_tables import entries_table, entry_as_dict
from limelight.cli.output import Console, document
from limelight.cli.output_options import AsJson
from limelight.methods import METHODS


def methods(*, as_json: AsJson = False) -> None:
    """List the methods: what each computes, what it needs, and when to use it."""
    if as_json:
        document([entry_as_dict(row) for row in METHODS.values()])
        return
    console = Console()
    console.print(entries_table(METHODS.values()))
    console.print("g = dy_c/dA, X the image, H_k channel k resized to it and scaled to [0, 1].")
