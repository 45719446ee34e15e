"""Documents that were made, by ids that nobody can guess; those not asked for are dropped."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from limelight.web.serving.refusals import Refusal

#: How long a document is held after it was last asked for, in seconds, and how many characters all
#: together may have.
_SECONDS, _MOST_CHARACTERS = 900.0, 150_000_000


@dataclass(slots=True)
class _Document:
    """A document, and when it was last asked for."""

    html: str
    asked: float


class DocumentStore:
    """Documents by ids that nobody can guess, for a while."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without documents."""
        self._clock = clock
        self._documents = OrderedDict[str, _Document]()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return how many documents are held."""
        return len(self._documents)

    def add(self, html: str) -> str:
        """Hold a document; return its id. Those not asked for longest make room for it."""
        name = secrets.token_urlsafe(18)
        with self._lock:
            self._documents[name] = _Document(html, self._clock())
            self._drop_idle()
            taken = sum(len(each.html) for each in self._documents.values())
            while taken > _MOST_CHARACTERS and len(self._documents) > 1:
                taken -= len(self._documents.popitem(last=False)[1].html)
        return name

    def get(self, name: str) -> str:
        """Return a document.

        Raises:
            Refusal: It is not held, or not any more.
        """
        with self._lock:
            self._drop_idle()
            document = self._documents.get(name)
            if document is None:
                raise Refusal("no-such-document", 410)
            document.asked = self._clock()
            self._documents.move_to_end(name)
            return document.html

    def drop_idle(self) -> None:
        """Drop the documents that nobody asked for in a long time."""
        with self._lock:
            self._drop_idle()

    def _drop_idle(self) -> None:
        oldest = self._clock() - _SECONDS
        for name, document in list(self._documents.items()):
            if document.asked < oldest:
                del self._documents[name]
