"""Results as tables: the rows of explanations, data frames, and files in CSV and Parquet."""

from __future__ import annotations

from limelight.tables.explanations import EXPLANATION_COLUMNS, explanation_rows, failed_row
from limelight.tables.frames import as_frame
from limelight.tables.table_files import TABLE_FORMATS, TableFile, csv_text

__all__ = [
    "EXPLANATION_COLUMNS",
    "TABLE_FORMATS",
    "TableFile",
    "as_frame",
    "csv_text",
    "explanation_rows",
    "failed_row",
]
