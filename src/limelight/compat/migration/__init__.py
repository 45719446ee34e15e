"""Scripts that call grad-cam, torchcam or captum, rewritten for limelight's own API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limelight.errors import ScriptError

if TYPE_CHECKING:
    from limelight.compat.migration.rewriting import Rewriting


def migrate(source: str) -> Rewriting:
    """Rewrite a script for limelight's own API, where there is a counterpart.

    What has none stays as it was; grad-cam is then imported from `limelight.compat`.

    Raises:
        ScriptError: The script is not Python, is nested too deeply, or imports none of the
            libraries that are known.
        MissingPackageError: libcst is not installed.
    """
    from limelight.compat.migration.rewriting import rewrite

    try:
        return rewrite(source)
    except RecursionError as error:
        raise ScriptError(
            "The script is nested too deeply to be read. Migrate the part of it that explains."
        ) from error
