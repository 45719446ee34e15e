"""The code of calls of limelight."""

from __future__ import annotations

from dataclasses import dataclass, field

from limelight.compat.migration.remarks import NotRewrittenError

_WIDTH = 100


def text_code(*parts: str) -> str:
    """Return the code of a text in which every second part is the code of a number.

    Raises:
        NotRewrittenError: Such a part has quotes or braces, which have no place in a text.
    """
    numbers = parts[1::2]
    if all(number.replace(".", "", 1).isdigit() for number in numbers):
        return f'"{"".join(parts)}"'
    if any(sign in number for number in numbers for sign in "'\"{}\n"):
        raise NotRewrittenError("give its options names first, as they become part of a text")
    filled = [f"{{{part}}}" if place % 2 else part for place, part in enumerate(parts)]
    return f'f"{"".join(filled)}"'


@dataclass(slots=True)
class ExplainCall:
    """A call of `limelight.explain`, as code.

    Attributes:
        model, inputs: The first two arguments.
        keywords: The other arguments, by name; without value where they are left out.
    """

    model: str
    inputs: str
    keywords: dict[str, str] = field(default_factory=dict)

    def code(self, column: int) -> str:
        """Return the call, on one line if it is short enough where it stands.

        Args:
            column: How much stands before it on its line.
        """
        keywords = [f"{name}={value}" for name, value in self.keywords.items() if value]
        arguments = [self.model, self.inputs, *keywords]
        line = f"limelight.explain({', '.join(arguments)})"
        if column + len(line) <= _WIDTH:
            return line
        return "limelight.explain(\n" + "".join(f"    {each},\n" for each in arguments) + ")"


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What stands in the place of a call.

    Attributes:
        call: The call of `explain`, whose result gets a name where that is possible; None where
            `value` is all.
        value: The expression that has the value of the old call; `{}` is the result.
    """

    call: ExplainCall | None
    value: str
