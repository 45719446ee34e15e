"""`limelight metrics`: what there is to measure maps by."""

from __future__ import annotations

from limelight.cli.entry_tables import Names, entries_table, entry_as_dict, named_rows
from limelight.cli.output import Console, document
from limelight.cli.output_options import AsJson
from limelight.metrics import METRICS


def metrics(*, names: Names = None, as_json: AsJson = False) -> None:
    """List the metrics: what each computes, when to use it, and when not to."""
    rows = named_rows(METRICS, "metric", names)
    if as_json:
        document([entry_as_dict(row) | {"better": row.better} for row in rows])
        return
    console = Console()
    remark = "{0.better} is better".format
    console.print(entries_table(rows, remark, with_ranges=bool(names)))
    console.print(
        "f = the probability of the explained class (the score, where there is none), M the "
        "heatmap, x the image, B the object, phi the raw map, y the score."
    )
