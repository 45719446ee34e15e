"""The classes that regions show evidence for, as numbers of annotation files."""

from __future__ import annotations

from collections.abc import Sequence

from limelight.regions.heat_regions import ImageRegions
from limelight.targets.class_names import label_of


class Categories:
    """Numbers from 0 and names of what regions are evidence for.

    A class has its own index as its number, so that it has the same in every file. What is no class
    of the network (a callable, words) is numbered after the classes, in the order it comes in.

    Attributes:
        names: The names of the network's classes; None when they are not known.
    """

    def __init__(self, names: Sequence[str] | None) -> None:
        """Begin with nothing but the names of the network's classes."""
        self.names = names
        self._indices = dict[int, str]()
        self._others = dict[str, None]()

    def add(self, regions: ImageRegions) -> None:
        """Note the class of regions, before any is numbered."""
        if regions.index is None:
            self._others.setdefault(regions.label)
        elif self.names is not None and regions.index < len(self.names):
            self._indices[regions.index] = self.names[regions.index]
        else:
            unnamed = label_of(regions.index, None)
            is_named = bool(regions.label) and not regions.label.startswith(unnamed)
            self._indices.setdefault(regions.index, regions.label if is_named else unnamed)

    def number(self, index: int | None, label: str) -> int:
        """Return the number of a class that was noted."""
        return self._first_other + list(self._others).index(label) if index is None else index

    @property
    def used(self) -> dict[int, str]:
        """The names of what was noted, by number."""
        others = enumerate(self._others, start=self._first_other)
        return dict(sorted([*self._indices.items(), *others]))

    @property
    def lines(self) -> list[str]:
        """The names of all numbers from 0 on, each on one line."""
        names = dict(enumerate(self.names or ())) | self.used
        count = max(names, default=-1) + 1
        return [
            " ".join(names.get(number, label_of(number, None)).split()) for number in range(count)
        ]

    @property
    def _first_other(self) -> int:
        return max(len(self.names or ()), max(self._indices, default=-1) + 1)
