"""What a call asks for besides model, inputs, target, method and layer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from limelight.errors import OptionError
from limelight.methods.views import Views
from limelight.progress import ProgressCallback
from limelight.targets import OutputSpec


@dataclass(frozen=True, slots=True)
class Options:
    """What `explain` was asked for besides model, images, target, method and layer."""

    reading: OutputSpec = field(default_factory=OutputSpec)
    views: Views | None = None
    eigen: bool = False
    differentiable: bool = False
    chunk: int | None = None
    progress: ProgressCallback | None = None
    compile: bool = False

    def __post_init__(self) -> None:
        """Refuse a chunk of nothing, and views that are none."""
        whole = isinstance(self.chunk, int) and not isinstance(self.chunk, bool)
        if self.chunk is not None and (not whole or self.chunk < 1):
            raise OptionError(f"chunk is {self.chunk!r}; an integer of at least 1 was expected.")
        if not isinstance(self.views, Views | None):
            raise OptionError(
                f"views is {self.views!r}; limelight.flips(), noise() or scales() was expected."
            )

    def plain(self) -> Options:
        """Return the same without what is for a single run."""
        return replace(self, differentiable=False, progress=None)
