"""What is asked for, in words: classes, and the names of files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from limelight.errors import LimelightError
from limelight.files import file_name
from limelight.targets.class_names import class_index
from limelight.web.requests import ClassName, FileRequest
from limelight.web.subjects.networks import ServedNetwork

#: The suffixes of files that are no pictures, nor pages.
_SUFFIXES: Final[Mapping[str, str]] = {"arrays": "npz", "table": "csv", "regions": "json"}


def class_word(value: ClassName | None, served: ServedNetwork) -> ClassName | None:
    """Return a class by its name, or by its index where the name would mean another, or none."""
    if value is None:
        return None
    classes = served.network.classes or ()
    name = classes[value] if isinstance(value, int) and 0 <= value < len(classes) else value
    if not isinstance(name, str):
        return value
    try:
        index = class_index(name, len(classes), classes)
    except LimelightError:
        return value
    by_number = re.fullmatch(r"\s*-?\d+\s*", name) is not None or name == "similar"
    return index if by_number or (isinstance(value, int) and index != value) else name


def suffix_of(asked: FileRequest) -> str | None:
    """Return the suffix of a file without its dot; None for a page to send."""
    return asked.suffix if asked.kind == "picture" else _SUFFIXES.get(asked.kind)


def name_of(asked: FileRequest, served: ServedNetwork, photo: str, suffix: str) -> str:
    """Return the name of a file: of which photo, by which method, of which class."""
    target = asked.target
    classes = (class_word(target.class_, served), class_word(target.against, served))
    words = [Path(photo).stem, asked.method, *classes]
    parts = [re.sub(r"[^\w+.-]+", "-", str(each)).strip("-.") for each in words if each is not None]
    return file_name([*(part for part in parts if part)] or ["photo"], suffix)
