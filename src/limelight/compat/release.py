"""Use in a `with` block: what a call kept is forgotten at its end."""

from __future__ import annotations

from typing import Self


class Releasable:
    """An object that keeps what its last call found, and can forget it.

    An exception inside the block is the user's, and passes through.
    """

    def release(self) -> None:
        """Forget what the last call kept; the model has no hook to remove."""

    def __enter__(self) -> Self:
        """Return the object itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Forget what the last call kept."""
        self.release()
