"""Audits of data sets: where a network looks on each photo, whether it should, and what to mend.

`limelight.audit` makes one. The types here are what a `limelight.Audit` and a
`limelight.AuditDifference` consist of.
"""

from typing import TYPE_CHECKING

from limelight.lazy import lazy_names

if TYPE_CHECKING:  # for type checkers, and for tools that read what a program imports
    from limelight.audits.pages.moves import ClassMove, FindingMove, Paired
    from limelight.audits.results import (
        Case,
        ClassSummary,
        EvidenceCluster,
        GroupSummary,
        Mark,
        Removal,
    )
    from limelight.audits.rows.columns import AuditRows, Peaks

__all__ = [
    "AuditRows",
    "Case",
    "ClassMove",
    "ClassSummary",
    "EvidenceCluster",
    "FindingMove",
    "GroupSummary",
    "Mark",
    "Paired",
    "Peaks",
    "Removal",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "pages.moves": ("ClassMove", "FindingMove", "Paired"),
        "results": (
            "Case",
            "ClassSummary",
            "EvidenceCluster",
            "GroupSummary",
            "Mark",
            "Removal",
        ),
        "rows.columns": ("AuditRows", "Peaks"),
    },
)
