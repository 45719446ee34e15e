"""Whether the hub can be reached: one short request.

The hub's own library asks for every file six times with pauses, half a minute each, before it gives
up.
"""

from __future__ import annotations

from pathlib import Path

_SECONDS = 5.0


def unreachable() -> str:
    """Return why the hub cannot be reached, in words; "" if it can."""
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=_SECONDS)
    except Exception as error:  # from one of two HTTP libraries, by the version of the hub's
        offline = "OfflineMode" in type(error).__name__
        return "offline mode is on" if offline else f"{constants.ENDPOINT} cannot be reached"
    return ""


def downloaded(repository: str, *files: str) -> Path | None:
    """Return the first of these files of a repository that was downloaded before."""
    from huggingface_hub import try_to_load_from_cache

    cached = (try_to_load_from_cache(repository, file) for file in files)
    return next((Path(path) for path in cached if isinstance(path, str)), None)
