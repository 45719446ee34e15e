"""The options of a call: read once from the keyword arguments, and passed on whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from limelight.errors import OptionError
from limelight.methods.views import Views
from limelight.progress import ProgressCallback
from limelight.targets.outputs import LogitsKey, OutputSpec, output_spec


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a call. The pass, the evidence and the recipe keep them as they are.

    Attributes:
        spec: How to read the network's output.
        views: Average over several views of the images; None for the images alone.
        eigen: Take the first principal component over channels instead of their sum.
        differentiable: Let maps and scores carry a graph to the model's parameters.
        chunk: How many variants of an image are run together; None to let limelight choose.
        compile: Run the network through `torch.compile` wherever no graph is recorded.
        progress: Called by methods that run the network many times.
    """

    spec: OutputSpec = field(default_factory=OutputSpec)
    views: Views | None = None
    eigen: bool = False
    differentiable: bool = False
    chunk: int | None = None
    compile: bool = False
    progress: ProgressCallback | None = None

    def __post_init__(self) -> None:
        """Refuse a chunk below 1, and views of another type."""
        is_integer = isinstance(self.chunk, int) and not isinstance(self.chunk, bool)
        if self.chunk is not None and (not is_integer or self.chunk < 1):
            raise OptionError(f"chunk is {self.chunk!r}; an integer of at least 1 was expected.")
        if not isinstance(self.views, Views | None):
            raise OptionError(
                f"views is {self.views!r}; limelight.flips(), noise() or scales() was expected."
            )

    @classmethod
    def read(
        cls,
        *,
        classes: Sequence[str] | None = None,
        output: LogitsKey | None = None,
        grid: Sequence[int] | None = None,
        views: Views | None = None,
        eigen: bool = False,
        differentiable: bool = False,
        chunk: int | None = None,
        compile: bool = False,
        progress: ProgressCallback | None = None,
    ) -> Options:
        """Return the options in the keyword arguments that `explain` and similar functions share.

        Raises:
            OptionError: One of them cannot have that value.
        """
        spec = output_spec(classes, output, grid)
        return cls(spec, views, eigen, differentiable, chunk, compile, progress)

    def to_repeat(self) -> Options:
        """Return the options without those that concern a single run."""
        return replace(self, differentiable=False, progress=None)
