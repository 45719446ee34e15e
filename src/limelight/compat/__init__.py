"""Drop-ins: the names of other libraries, computed by limelight."""

from __future__ import annotations

import importlib
import pkgutil
import sys

#: The libraries that there is a drop-in for, by the name that scripts import.
DROP_INS = ("pytorch_grad_cam",)


def install() -> None:
    """Let `import pytorch_grad_cam` import the drop-in, in scripts that cannot be edited.

    Call it before the script's own imports; or run the script as
    `python -m limelight.compat script.py`, which needs no line in it. It holds for this process.

    Raises:
        ImportError: The library itself was imported before.
    """
    for name in DROP_INS:
        _install(name)


def _install(name: str) -> None:
    """Put a drop-in and all of its modules under the library's own name."""
    package = importlib.import_module(f"{__name__}.{name}")
    known = sys.modules.get(name)
    if known is not None and known is not package:
        raise ImportError(
            f"{name} was imported before, from {getattr(known, '__file__', 'elsewhere')}. Call "
            "limelight.compat.install() in front of that import."
        )
    sys.modules[name] = package
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        short = module.name.removeprefix(f"{__name__}.")
        sys.modules[short] = importlib.import_module(module.name)
    sys.modules[f"{name}.metrics.ARCC"] = sys.modules[f"{name}.metrics.arcc"]
