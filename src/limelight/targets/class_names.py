"""The names of classes: ImageNet's, those in a text file, and which class a name means."""

from __future__ import annotations

import operator
import runpy
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from limelight.errors import OptionError, TargetError, unknown
from limelight.extras import is_installed
from limelight.files import read_text

#: A class, by its index or by its name.
ClassName = int | str

#: Names of the background; a class with such a name is chosen last, unless it is asked for.
BACKGROUND_NAMES = frozenset({"background", "__background__", "bg", "unlabeled", "void"})


@cache
def imagenet_classes() -> tuple[str, ...]:
    """Return the names of ImageNet's 1000 classes, by index.

    Raises:
        MissingPackageError: torchvision, which has them, is not installed.
    """
    names = _names_in_torchvision()
    if names is None:
        from torchvision.models import ResNet18_Weights

        names = ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
    return tuple(names)


def _names_in_torchvision() -> Sequence[str] | None:
    """Return the names in torchvision's own file of them, as importing torchvision takes a second.

    None when torchvision has no such file.
    """
    package = find_spec("torchvision")
    for folder in (package and package.submodule_search_locations) or ():
        file = Path(folder) / "models" / "_meta.py"
        if file.is_file():
            names: Sequence[str] | None = runpy.run_path(str(file)).get("_IMAGENET_CATEGORIES")
            return names
    return None


def read_class_names(path: str | Path) -> list[str]:
    """Return the class names in a text file, one per line.

    Raises:
        OptionError: The file cannot be read, or a line is empty.
    """
    try:
        text = read_text(Path(path))
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(
            f"The class names cannot be read from {str(path)!r}: {error}. A text file with one "
            "name per line was expected."
        ) from error
    names = [line.strip() for line in text.strip().splitlines()]
    if not names or "" in names:
        raise OptionError(
            f"The file {str(path)!r} holds {'an empty line' if names else 'no class names'}; one "
            "name per line was expected, in the order of the model's outputs."
        )
    return names


def names_for(count: int, classes: Sequence[str] | None) -> Sequence[str] | None:
    """Return the names of `count` classes: the given ones, ImageNet's for 1000 classes, or None.

    None, too, for 1000 classes where torchvision, which has the names, is not installed.
    """
    if classes is None and count == 1000 and is_installed("torchvision"):
        return imagenet_classes()
    return classes


def class_index(name: ClassName, count: int, classes: Sequence[str] | None) -> int:
    """Return the index of a class given by index or by name.

    Names match whatever their case; if a class has several names ("tabby, tabby cat"), each of them
    matches. Without `classes`, the names for a model with 1000 outputs are ImageNet's.

    Raises:
        UnknownNameError: No class has that name; the nearest are named.
        TargetError: The index is out of range, several classes share the name, or the names are not
            known.
    """
    if isinstance(name, str):
        return _named_class(name, count, classes)
    try:
        index = operator.index(name)
    except TypeError:
        if callable(name) or hasattr(name, "score"):  # a callable, or a target of another kind
            raise TargetError(
                f"A list of targets holds a {type(name).__name__}; a list holds a class for each "
                "image, by index or by name. Pass one target by itself; for several of the same "
                "images, call explain_each(model, images, targets)."
            ) from None
        index = -1
    if isinstance(name, bool) or not 0 <= index < count:
        raise TargetError(
            f"The target class is {name!r}; the model has {count} classes, so an index from 0 to "
            f"{count - 1} was expected."
        )
    return index


def _named_class(name: str, count: int, classes: Sequence[str] | None) -> int:
    if classes is None and count == 1000:
        classes = imagenet_classes()
    if classes is None:
        raise TargetError(
            f"The target is the name {name!r}, and the names of the model's {count} classes are "
            "not known. Pass classes=[...], or the class's index."
        )
    wanted = name.strip().casefold()
    by_whole_name = [i for i, class_name in enumerate(classes) if class_name.casefold() == wanted]
    by_part = [
        i for i, class_name in enumerate(classes) if wanted in class_name.casefold().split(", ")
    ]
    indices = by_whole_name or by_part
    if not indices:
        otherwise = f"Class names are those of the weights, such as {', '.join(classes[:3])}."
        known = [part for names in classes for part in (names, *names.split(", "))]
        raise unknown("class", name, known, otherwise)
    if len(indices) > 1:
        raise TargetError(
            f"Several classes are named {name!r}: {indices}. Pass one of the indices."
        )
    return indices[0]


def label_of(index: int, classes: Sequence[str] | None) -> str:
    """Return the name of a class, or "class 281" when names are not known."""
    return f"class {index}" if classes is None else classes[index]
