"""Documents of their own: how a map came to be, and the report of an audit."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from limelight.errors import MethodError
from limelight.progress import ProgressCallback
from limelight.steps.walkthrough import walkable, walkthrough
from limelight.translations.languages import Language
from limelight.web.requests import WalkthroughRequest
from limelight.web.serving.refusals import Refusal
from limelight.web.subjects.looks import Look
from limelight.web.subjects.targets import read_target

#: The pages of an audit, by the names in their addresses.
AUDIT_PAGES: Final = {"report": "report.html", "difference": "difference.html"}


def walk_through(
    look: Look, asked: WalkthroughRequest, language: Language, progress: ProgressCallback
) -> str:
    """Return the document that shows how a map came to be.

    Args:
        look: The photo as the network saw it.
        asked: The map.
        language: The language of the document.
        progress: As in `explain`.

    Raises:
        Refusal: The map of the method is not a sum over channels, which could be taken apart.
        LimelightError: As `walkthrough`.
    """
    network = look.served.network
    if asked.method is not None:
        try:
            walkable(asked.method)
        except MethodError:
            raise Refusal("not-walkable", 422, method=repr(asked.method)) from None
    target = read_target(asked.target, look.served, look.stored, look.inputs.image.shape[2:])
    page = walkthrough(
        network.model,
        look.inputs.image,
        target=target,
        method=asked.method,
        layer=asked.layer,
        classes=network.classes,
        photo=look.crop.view(),
        preprocess=network.preprocess,
        name=network.name,
        language=language,
        progress=progress,
    )
    return page.html()


def audit_pages(folder: Path) -> list[str]:
    """Return the names of the pages that the folder of an audit has, as AUDIT_PAGES calls them.

    Raises:
        Refusal: It has none.
    """
    found = [name for name in AUDIT_PAGES if _audit_file(folder, name) is not None]
    if not found:
        raise Refusal("no-report", 404, folder=repr(folder.name))
    return found


def audit_page(folder: Path, name: str) -> str:
    """Return a page of an audit.

    Raises:
        Refusal: The folder has no such page.
    """
    path = _audit_file(folder, name)
    if path is None:
        raise Refusal("no-report", 404, folder=repr(folder.name))
    return path.read_text(encoding="utf-8")


def _audit_file(folder: Path, name: str) -> Path | None:
    """Return the file of a page; None if there is none, or if it leads to another file."""
    path = folder / AUDIT_PAGES[name]
    return path if path.is_file() and not path.is_symlink() else None
