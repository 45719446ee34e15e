"""A word of an answer, found by its text or its number."""

from __future__ import annotations

from collections.abc import Sequence

from limelight.errors import TargetError, unknown


def find_word(words: Sequence[str], wanted: str | int) -> int:
    """Return the number of a word, given by its number from 0, or by its text.

    Raises:
        UnknownNameError: There is no such word.
        TargetError: There are several, or there is no word of that number.
    """
    if isinstance(wanted, int):
        if not -len(words) <= wanted < len(words):
            raise TargetError(
                f"There is no word {wanted}: the answer has {len(words)}, which are 0 to "
                f"{len(words) - 1}."
            )
        return wanted % len(words)
    folded = wanted.strip().casefold()
    exact = [number for number, word in enumerate(words) if word == wanted.strip()]
    found = exact or [number for number, word in enumerate(words) if word.casefold() == folded]
    if not found:
        raise unknown("word of the answer", wanted, words, f"It has {', '.join(words)}.")
    if len(found) > 1:
        raise TargetError(
            f"{wanted!r} is in the answer {len(found)} times. Pass the number of the one that is "
            f"meant: {', '.join(map(str, found))}."
        )
    return found[0]
