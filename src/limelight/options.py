"""The options of a call, read once from its keyword arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from limelight.errors import OptionError
from limelight.methods.tiles import Tiles
from limelight.methods.views import Views
from limelight.progress import ProgressCallback
from limelight.targets.outputs import LogitsKey, OutputSpec, output_spec


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a call; the pass, the evidence and the recipe hold the same object.

    Attributes:
        spec: How to read the network's output.
        views: Average over several views of the images; None for the images alone.
        eigen: Take the first principal component over channels instead of their sum.
        differentiable: Let maps and scores carry a graph to the model's parameters.
        chunk: How many variants of an image are run together; None to let limelight choose.
        compile: Run the network through `torch.compile` wherever no graph is recorded.
        progress: Called as progress(method, done, total) by methods that run the network many
            times; None to report nothing.
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
        views: Views | Tiles | None = None,
        eigen: bool = False,
        differentiable: bool = False,
        chunk: int | None = None,
        compile: bool = False,
        progress: ProgressCallback | None = None,
    ) -> Options:
        """Return options from the keyword arguments that `explain`, `compare` and others share.

        Raises:
            OptionError: An argument has a value that it cannot have.
        """
        if isinstance(views, Tiles):
            raise OptionError(
                "views is tiles(), which goes with explain, explain_each and explain_photos alone. "
                "Leave it out here, or pass a part of the picture."
            )
        spec = output_spec(classes, output, grid)
        return cls(spec, views, eigen, differentiable, chunk, compile, progress)

    def to_repeat(self) -> Options:
        """Return the options for a recipe, which makes maps without a graph and reports nothing."""
        return replace(self, differentiable=False, progress=None)
