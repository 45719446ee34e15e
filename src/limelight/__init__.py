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
from typing import Any

#: What is offered, by where it is defined; `__init__.pyi` tells it to type checkers.
_OFFERED = {
    "compare": ("Comparison", "compare"),
    "concepts": ("Factorization", "factorize"),
    "cut": ("INPUT", "Cut", "cut", "cuts", "record"),
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
    "walkthrough": ("Walkthrough", "walkthrough"),
}
_HOMES = {name: home for home, names in _OFFERED.items() for name in names}

__all__ = [*_HOMES]  # noqa: PLE0604 (names are strings)


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
