"""The files that an audit writes at its end: findings, lists of photos, and the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from limelight.audits.data.folders import LocalFolder, OutputFolder
from limelight.audits.data.views import PhotoViews
from limelight.audits.pages.lists import write_lists
from limelight.audits.pages.report import write_report
from limelight.audits.results import Audit
from limelight.audits.verdict import audit_as_dict
from limelight.plain import as_json
from limelight.progress import ProgressCallback

#: The findings as plain values.
FINDINGS = "findings.json"


def write_findings(
    audit: Audit,
    views: PhotoViews,
    folder: OutputFolder,
    *,
    report: bool,
    progress: ProgressCallback | None = None,
) -> None:
    """Write findings.json, and with `report` the lists and report.html, each whole or not at all.

    Raises:
        OutputError: One cannot be written.
    """
    folder.write(FINDINGS, as_json(audit_as_dict(audit), indent=1).encode())
    if report:

        def write_pages(made: Path) -> None:
            write_lists(audit, made, views.preprocess)
            write_report(audit, views, made, progress=progress)

        write_files(folder, write_pages)


def write_files(folder: OutputFolder, write: Callable[[Path], object]) -> None:
    """Let a function write files into a folder; those of a folder at a URL are made here first.

    Raises:
        OutputError: One cannot be written.
    """
    if isinstance(folder, LocalFolder):
        write(folder.path)
        return
    with TemporaryDirectory(prefix="limelight-") as name:
        made = Path(name)
        write(made)
        for file in sorted(path for path in made.rglob("*") if path.is_file()):
            folder.write(file.relative_to(made).as_posix(), file.read_bytes())
