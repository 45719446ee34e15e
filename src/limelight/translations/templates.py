"""Templates of sentences: literal text with holes, matched exactly and in linear time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import NamedTuple


class Hole(NamedTuple):
    """A place of a template that a value stands in.

    Attributes:
        name: Its name.
        quoted: Whether the value is a text in quotes, as `repr` writes it; `{name!r}`.
    """

    name: str
    quoted: bool


@dataclass(frozen=True, slots=True)
class Template:
    """A sentence with holes: `literals[0]`, a value, `literals[1]`, a value, and so on.

    Attributes:
        literals: The text between the holes, one more than these; "" where there is none.
        holes: The holes.
    """

    literals: tuple[str, ...]
    holes: tuple[Hole, ...]

    @classmethod
    def read(cls, text: str) -> Template:
        """Read a template, as in "There is no {kind} named {given!r}." Braces are doubled.

        Raises:
            ValueError: Two holes stand side by side, so that no value could be told from the next.
        """
        literals, holes = [""], list[Hole]()
        for literal, name, _, conversion in Formatter().parse(text):
            literals[-1] += literal
            if name is not None:
                if holes and not literals[-1]:
                    raise ValueError(f"{text!r} has two holes side by side.")
                holes.append(Hole(name, conversion == "r"))
                literals.append("")
        return cls(tuple(literals), tuple(holes))

    def match(self, sentence: str) -> dict[str, str] | None:
        """Return the values with which the template is a sentence; None if it is not.

        A value in quotes ends where its quotes do. Any other ends at the first place where the text
        behind it stands, and is not tried again: the time grows as the length of the sentence,
        whatever the values hold.
        """
        values = dict[str, str]()
        if not sentence.startswith(self.literals[0]):
            return None
        place = len(self.literals[0])
        for number, (hole, behind) in enumerate(zip(self.holes, self.literals[1:], strict=True)):
            is_last = number == len(self.holes) - 1
            if hole.quoted:
                end = _end_of_quoted(sentence, place)
                if not sentence.startswith(behind, end) or end < 0:
                    return None
            elif is_last:
                end = len(sentence) - len(behind)
                if end < place or not sentence.endswith(behind):
                    return None
            else:
                end = sentence.find(behind, place)
                if end < 0:
                    return None
            value = sentence[place:end]
            if values.setdefault(hole.name, value) != value:
                return None
            place = end + len(behind)
        return values if place == len(sentence) else None

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the sentence with these values."""
        parts = [self.literals[0]]
        for hole, behind in zip(self.holes, self.literals[1:], strict=True):
            parts += [values[hole.name], behind]
        return "".join(parts)


def _end_of_quoted(text: str, start: int) -> int:
    """Return the place behind a text in quotes that begins at a place; -1 if none does."""
    quote = text[start : start + 1]
    if quote not in ("'", '"'):
        return -1
    place = start + 1
    while place < len(text):
        if text[place] == "\\":  # what it stands before does not end the text
            place += 1
        elif text[place] == quote:
            return place + 1
        place += 1
    return -1
