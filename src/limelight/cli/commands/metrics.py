"""`limelight metrics`: what there is to measure maps by."""

from __future__ import annotations

from limelight.cli.entry_tables import entries_table, entry_as_dict
from limelight.cli.output import Console, document
from limelight.cli.output_options import AsJson
from limelight.metrics import METRICS


def metrics(*, as_json: AsJson = False) -> None:
    """List the metrics: what each computes, which way is better, and when to use it."""
    if as_json:
        document([entry_as_dict(row) | {"better": row.better} for row in METRICS.values()])
        return
    console = Console()
    console.print(entries_table(METRICS.values(), lambda row: f"{row.better} is better"))
    console.print(
        "f = the probability of the explained class (the score, where there is none), M the "
        "heatmap, x the image, B the object, phi the raw map, y the score."
    )
