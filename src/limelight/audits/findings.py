"""The files that an audit writes at its end: findings, lists of photos, and the report."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from limelight.audits.folders import LocalFolder, OutputFolder
from limelight.audits.lists import write_lists
from limelight.audits.report import write_report
from limelight.audits.results import Audit
from limelight.audits.verdict import audit_as_dict
from limelight.audits.views import PhotoViews
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
    if not report:
        return
    if isinstance(folder, LocalFolder):
        _write_pages(audit, views, folder.path, progress)
        return
    with TemporaryDirectory(prefix="limelight-") as name:
        made = Path(name)
        _write_pages(audit, views, made, progress)
        for file in sorted(path for path in made.rglob("*") if path.is_file()):
            folder.write(file.relative_to(made).as_posix(), file.read_bytes())


def _write_pages(
    audit: Audit, views: PhotoViews, folder: Path, progress: ProgressCallback | None
) -> None:
    write_lists(audit, folder, views.preprocess)
    write_report(audit, views, folder, progress=progress)
