"""What only a running package shows. `scripts/house` runs this in a process of its own.

    python live.py shadows MODULE... -- MODULE...
    python live.py names
    python live.py call DIR

The answer is a JSON document on stdout.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Callable, Collection
from enum import Enum
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any


def shadows(*names: str, first: Collection[str] = ()) -> dict[str, str]:
    """Return the modules that a program cannot reach by their own path, and what is there instead.

    A package is asked for its modules before they are loaded, too, which finds what it defines
    under their names, and what PEP 562 offers lazily.

    Args:
        names: The modules.
        first: Those to import as the first of their package: modules in a circle of imports, which
            may need another one before them.
    """
    before = dict[str, Any]()
    for package in {name.rpartition(".")[0] for name in names} - {""}:
        loaded = _imported_first(package)
        before |= {
            name: getattr(loaded, name.rpartition(".")[2], None)
            for name in names
            if name.rpartition(".")[0] == package and name not in sys.modules
        }
    shadowed = dict[str, str]()
    for name in names:
        parent, _, leaf = name.rpartition(".")
        try:
            module = _imported_first(name) if name in first else importlib.import_module(name)
        except Exception as error:
            shadowed[name] = f"{type(error).__name__}: {error}"
            continue
        after = getattr(sys.modules[parent], leaf) if parent else module
        other = [value for value in (before.get(name), after) if _shadows(value, name)]
        if other:
            shadowed[name] = f"a {type(other[0]).__name__}"
    return shadowed


def _imported_first(name: str) -> ModuleType:
    """Import a module into a program that has loaded nothing of its package."""
    root = name.partition(".")[0]
    for known in [known for known in sys.modules if known.partition(".")[0] == root]:
        del sys.modules[known]
    return importlib.import_module(name)


def _shadows(value: Any, name: str) -> bool:
    """Return whether what a package has under a module's name is something else."""
    is_it = isinstance(value, ModuleType) and value.__name__ == name
    return value is not None and not is_it


def names() -> dict[str, list[str]]:
    """Return the public names that have no docstring, and those that are not where they sort.

    What Python writes itself for a dataclass or a named tuple, `Name(field, ...)`, is none.
    """
    import limelight

    offered = limelight.__all__
    values = [(name, getattr(limelight, name)) for name in offered]
    code = [(name, value) for name, value in values if callable(value)]
    bare = [name for name, value in code if _undocumented(value)]
    in_order = sorted(offered, key=lambda name: (not name.isupper(), name))
    moved = [name for name, expected in zip(offered, in_order, strict=True) if name != expected]
    return {"undocumented": bare, "out of order": moved}


def _undocumented(value: Any) -> bool:
    text = value.__doc__ or ""
    return not text or (isinstance(value, type) and text.startswith(f"{value.__name__}("))


def call(directory: str) -> dict[str, Any]:
    """Return what one warm `limelight.explain` of a small network enters and makes."""
    import torch
    from torchvision.models import resnet18

    import limelight

    torch.manual_seed(0)
    model, images = resnet18().eval(), torch.rand(1, 3, 64, 64)

    def explain() -> None:
        limelight.explain(model, images, target=0)

    explain()
    entries = entered(explain, Path(directory).resolve())
    return {
        "functions": sorted(set(entries)),
        "files": sorted({function.partition(":")[0] for function in entries}),
        "calls": len(entries),
        "made": made_by(explain),
    }


def entered(run: Callable[[], None], directory: Path) -> list[str]:
    """Return `file:function` for each call into a file of a directory.

    A lambda or comprehension is part of its function. A generator counts each time it is resumed.
    """
    calls = list[CodeType]()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and not frame.f_code.co_name.startswith("<"):
            calls.append(frame.f_code)

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return [
        f"{Path(code.co_filename).relative_to(directory)}:{code.co_qualname}"
        for code in calls
        if Path(code.co_filename).is_relative_to(directory)
    ]


def made_by(run: Callable[[], None]) -> list[str]:
    """Return the classes of limelight that instances are made of, members of an Enum aside."""
    made = set[str]()
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("limelight")]
    for module in modules:
        for value in list(vars(module).values()):
            if inspect.isclass(value) and value.__module__ == module.__name__:
                _watch(value, made)
    run()
    return sorted(made)


def _watch(watched: type, made: set[str]) -> None:
    """Have a class note each class, itself or one below it, that an instance is made of."""
    if issubclass(watched, Enum):
        return
    original: Any = watched.__new__

    def new(cls: type, *args: Any, **options: Any) -> Any:
        made.add(f"{cls.__module__}.{cls.__qualname__}")
        return original(cls) if original is object.__new__ else original(cls, *args, **options)

    watched.__new__ = new  # type: ignore[method-assign]


if __name__ == "__main__":
    question, *arguments = sys.argv[1:]
    if question == "shadows":
        end = arguments.index("--")
        answer: Any = shadows(*arguments[:end], first=arguments[end + 1 :])
    else:
        questions: dict[str, Callable[..., Any]] = {"names": names, "call": call}
        answer = questions[question](*arguments)
    print(json.dumps(answer))
