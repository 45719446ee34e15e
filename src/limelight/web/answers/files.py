"""Files of one map, to be taken away: what `Explanation` itself writes, and a page to send."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from limelight.explanation import Explanation
from limelight.tables import EXPLANATION_COLUMNS, csv_text
from limelight.translations.languages import Language
from limelight.web.answers.names import name_of, suffix_of
from limelight.web.answers.shared_page import shared_page
from limelight.web.requests import FileRequest
from limelight.web.subjects.networks import ServedNetwork

#: What files are, by their suffix.
MEDIA_TYPES: Final = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "webp": "image/webp",
    "pdf": "application/pdf",
    "svg": "image/svg+xml",
    "npz": "application/octet-stream",
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "txt": "text/plain; charset=utf-8",
    "zip": "application/zip",
    "html": "text/html; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class MadeFile:
    """A file to be taken away.

    Attributes:
        name: Its name.
        data: What is in it.
    """

    name: str
    data: bytes

    @property
    def media_type(self) -> str:
        """What it is, as HTTP says it."""
        return MEDIA_TYPES[self.name.rpartition(".")[2]]


def make_file(
    explanation: Explanation,
    asked: FileRequest,
    served: ServedNetwork,
    *,
    beside: Callable[[], Sequence[Explanation]],
    code: Mapping[str, Any],
    language: Language,
) -> MadeFile:
    """Return a file of the map of one photo.

    Args:
        explanation: The map, which knows its photo.
        asked: Which file.
        served: The network.
        beside: Makes the other maps of a page.
        code: The lines that make the same, for a page.
        language: The language of a page.

    Raises:
        LimelightError: As `Explanation.save` and `Explanation.regions`.
    """
    (crop,) = explanation.crops or ()
    photo = crop.name if crop.name.strip(".") else "photo"
    name = name_of(asked, served, photo, suffix_of(asked) or "html")
    if asked.kind == "table":
        text = csv_text(explanation.rows([photo]), EXPLANATION_COLUMNS, line_end="\r\n")
        return MadeFile(name, text.encode())
    if asked.kind == "page":
        network = served.network.name
        html = shared_page(explanation, beside(), asked, network, code=code, language=language)
        return MadeFile(name, html.encode(errors="backslashreplace"))
    with tempfile.TemporaryDirectory(prefix="limelight-") as folder:
        if asked.kind == "regions":
            return _regions(explanation, asked, photo, Path(folder) / name)
        picture, colormap = asked.picture, asked.colormap
        path = Path(folder) / name
        explanation.save(path, picture=picture, colormap=colormap, whole=asked.whole)
        return MadeFile(name, path.read_bytes())


def _regions(explanation: Explanation, asked: FileRequest, photo: str, path: Path) -> MadeFile:
    """Return the regions where a map is hot: one file, or all of a format in an archive."""
    regions, folder = explanation.regions(asked.threshold), path.parent
    out = path if asked.regions == "coco" else folder
    written = regions.export(out, asked.regions, photos=[photo])
    if len(written) == 1:
        return MadeFile(path.with_suffix(written[0].suffix).name, written[0].read_bytes())
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for each in written:
            packed.writestr(str(each.relative_to(folder)), each.read_bytes())
    return MadeFile(path.with_suffix(".zip").name, archive.getvalue())
