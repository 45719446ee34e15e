"""Requests that are refused: by a code, whose sentence is in `texts/`, in the reader's language."""

from __future__ import annotations

import re
from typing import Any, Final

from torch import OutOfMemoryError

from limelight.errors import LimelightError
from limelight.translations.languages import Language
from limelight.web.wording import library_sentence, say

#: The header in which an answer names the code of its error, as its body does.
ERROR_HEADER: Final = "x-limelight-error"

#: What torch says, in a RuntimeError, when a processor's memory is too small.
_ALLOCATION = "can't allocate memory"


class Refusal(LimelightError):
    """A request that the page refuses.

    Attributes:
        code: What is wrong, as `errors` in `texts/` names it.
        http_status: The status of the answer.
        values: What the sentence names.
    """

    def __init__(self, code: str, http_status: int = 400, **values: object) -> None:
        """Refuse a request for a reason."""
        self.code, self.http_status, self.values = code, http_status, values
        super().__init__(say(f"errors.{code}", "en", **values))

    def sentence(self, language: Language) -> str:
        """Return what is wrong, what was expected and what to do, in a language."""
        return say(f"errors.{self.code}", language, **self.values)


def refused(error: Exception, language: Language) -> tuple[int, dict[str, Any]]:
    """Return the HTTP status and the body that answer an error, in a language.

    The body is `{"error": {"code", "message"}}`. An error that is not limelight's is not described:
    it may hold what is none of the reader's business.
    """
    if isinstance(error, Refusal):
        return error.http_status, _body(error.code, error.sentence(language))
    if isinstance(error, LimelightError):
        code = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", type(error).__name__).lower()
        return 422, _body(code, library_sentence(str(error), language))
    if isinstance(error, MemoryError | OutOfMemoryError) or _ALLOCATION in str(error):
        return 503, _body("out-of-memory", say("errors.out-of-memory", language))
    return 500, _body("internal", say("errors.internal", language))


def _body(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}
