"""limelight shows what a neural network looked at.

    result = limelight.explain(model, images)
    result.heatmap, result.raw, result.score, result.status
    result.save("cat.png")

Cut the network at a layer: `A = body(x)`, `y = head(A)`. Everything else is arithmetic on A.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # and for tools that look for what a program imports
    from limelight.compare import Comparison as Comparison, compare as compare
    from limelight.concepts import Factorization as Factorization, factorize as factorize
    from limelight.cut import INPUT as INPUT, Cut as Cut, cut as cut, cuts as cuts
    from limelight.cut.record import record as record
    from limelight.errors import LimelightError as LimelightError
    from limelight.evidence import Attention as Attention, Evidence as Evidence
    from limelight.explain import (
        fuse_explanations,
        PhotoResult as PhotoResult,
        explain as explain,
        explain_each as explain_each,
        explain_photos as explain_photos,
    )
    from limelight.explanation import Explanation as Explanation, Status as Status
    from limelight.layers import stages as stages
    from limelight.measure import METRICS as METRICS, Metric as Metric
    from limelight.measure.measurement import Measurement as Measurement
    from limelight.measure.objects import Objects as Objects
    from limelight.measure.run import measure as measure
    from limelight.measure.sanity import Sanity as Sanity, sanity as sanity
    from limelight.methods import METHODS as METHODS, Method as Method
    from limelight.methods.combinators import (
        Views as Views,
        flips as flips,
        noise as noise,
        scales as scales,
    )
    from limelight.models import Network as Network, load_model as load_model
    from limelight.photos import Preprocess as Preprocess, load_photo as load_photo
    from limelight.targets import (
        Among as Among,
        Box as Box,
        Contrast as Contrast,
        Counterfactual as Counterfactual,
        Rank as Rank,
        Region as Region,
        Similarity as Similarity,
        Words as Words,
        each_word as each_word,
        top as top,
    )
    from limelight.trace import Trace as Trace, trace as trace
    from limelight.version import __version__ as __version__
    from limelight.walkthrough import Walkthrough as Walkthrough, walkthrough as walkthrough

    fuse = fuse_explanations

#: What is offered, by where it is defined.
_OFFERED = {
    "compare": ("Comparison", "compare"),
    "concepts": ("Factorization", "factorize"),
    "cut": ("INPUT", "Cut", "cut", "cuts"),
    "cut.record": ("record",),
    "errors": ("LimelightError",),
    "evidence": ("Attention", "Evidence"),
    "explain": ("PhotoResult", "explain", "explain_each", "explain_photos", "fuse"),
    "explanation": ("Explanation", "Status"),
    "layers": ("stages",),
    "measure": ("METRICS", "Metric"),
    "measure.measurement": ("Measurement",),
    "measure.objects": ("Objects",),
    "measure.run": ("measure",),
    "measure.sanity": ("Sanity", "sanity"),
    "methods": ("METHODS", "Method"),
    "methods.combinators": ("Views", "flips", "noise", "scales"),
    "models": ("Network", "load_model"),
    "photos": ("Preprocess", "load_photo"),
    "targets": (
        "Among",
        "Box",
        "Contrast",
        "Counterfactual",
        "Rank",
        "Region",
        "Similarity",
        "Words",
        "each_word",
        "top",
    ),
    "trace": ("Trace", "trace"),
    "version": ("__version__",),
    "walkthrough": ("Walkthrough", "walkthrough"),
}
_HOMES = {name: home for home, names in _OFFERED.items() for name in names}

__all__ = sorted(_HOMES, key=lambda name: (not name.isupper(), name))  # noqa: PLE0605


class _Package(ModuleType):
    """Loads what it offers when that is first asked for: torch alone takes seconds.

    Some functions are called like the modules that they are defined in; the names are the
    functions'.
    """

    def __getattr__(self, name: str) -> Any:
        home, inside = _HOMES.get(name), "fuse_explanations" if name == "fuse" else name
        if home is not None:
            value = getattr(import_module(f"{__name__}.{home}"), inside)
            super().__setattr__(name, value)
            return value
        if not name.startswith("_") and find_spec(f"{__name__}.{name}") is not None:
            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        # Python sets a module here when it has loaded it.
        if not (isinstance(value, ModuleType) and name in _HOMES):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
