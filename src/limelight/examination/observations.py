"""What an examination found: one observation for each thing that was looked at."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from limelight.errors import LimelightError, describe_error

#: `ok`; `absent`, an optional package that is not installed; `note`, something to know; `broken`,
#: something to mend.
ObservationVerdict = Literal["ok", "absent", "note", "broken"]


class Observation(NamedTuple):
    """One thing that was looked at.

    Attributes:
        part: The part of the examination that it belongs to, such as "versions".
        subject: What was looked at.
        found: What was found.
        verdict: `ok`; `absent`, an optional package that is not installed; `note`, something to
            know; or `broken`.
        advice: What was expected and what to do, in sentences; "" if nothing.
    """

    part: str
    subject: str
    found: str
    verdict: ObservationVerdict = "ok"
    advice: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Examination:
    """What `examine` found.

    Attributes:
        observations: All that was looked at, in order.
    """

    observations: tuple[Observation, ...]

    @property
    def broken(self) -> tuple[Observation, ...]:
        """What has to be mended."""
        return tuple(each for each in self.observations if each.verdict == "broken")

    @property
    def notes(self) -> tuple[Observation, ...]:
        """What is good to know."""
        return tuple(each for each in self.observations if each.verdict == "note")

    @property
    def ok(self) -> bool:
        """Whether nothing has to be mended."""
        return not self.broken

    def rows(self) -> list[dict[str, Any]]:
        """Return the observations as plain values."""
        return [each._asdict() for each in self.observations]

    def __repr__(self) -> str:
        """Return how many things were looked at, and how many of them have to be mended."""
        return (
            f"Examination({len(self.observations)} observations, {len(self.broken)} broken, "
            f"{len(self.notes)} to note)"
        )

    def __str__(self) -> str:
        """Return everything as text, part by part, and at the end what to mend."""
        width = max((len(each.subject) for each in self.observations), default=0)
        lines, part = list[str](), ""
        for each in self.observations:
            if each.part != part:
                part = each.part
                lines += ["", part] if lines else [part]
            lines.append(f"  {each.verdict:7}{each.subject:{width}}  {each.found}")
            lines += [f"  {'':7}{'':{width}}  {each.advice}"] if each.advice else []
        return "\n".join([*lines, "", summary(self.observations)])


def summary(observations: Sequence[Observation]) -> str:
    """Return in a sentence how many things have to be mended."""
    broken = [each.subject for each in observations if each.verdict == "broken"]
    noted = [each.subject for each in observations if each.verdict == "note"]
    end = f" To note: {', '.join(noted)}." if noted else ""
    if broken:
        return f"To mend: {', '.join(broken)}.{end}"
    return f"Nothing has to be mended.{end}"


def observed(
    part: str, subject: str, look: Callable[[], Observation], advice: str = ""
) -> Observation:
    """Return what a look at something finds; if it raises, that it is broken, and the error.

    Args:
        part, subject: As in `Observation`, for the error.
        look: Looks.
        advice: What to do if it raises something that is not limelight's, which says so itself.
    """
    try:
        return look()
    except LimelightError as error:
        return Observation(part, subject, "it does not work", "broken", str(error))
    except (Exception, SystemExit) as error:  # of other libraries, or of the user's model
        return Observation(part, subject, describe_error(error), "broken", advice)


def quiet(_step: str, _done: int, _total: int) -> None:
    """Report nothing: the `progress` of an examination that nobody watches."""


def timed(look: Callable[[], Any]) -> tuple[Any, float]:
    """Return what a function returns, and how many seconds it took."""
    started = time.perf_counter()
    return look(), time.perf_counter() - started


def of_part(
    part: str, observations: Iterator[Observation], advice: str = ""
) -> Iterator[Observation]:
    """Yield observations; if looking for the next one raises, that ends the part, as broken."""
    try:
        yield from observations
    except LimelightError as error:
        yield Observation(part, part, "it does not work", "broken", str(error))
    except (Exception, SystemExit) as error:
        yield Observation(part, part, describe_error(error), "broken", advice)
