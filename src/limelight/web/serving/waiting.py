"""What waits, and whose turn it is: addresses take turns, and so do the pages of one address."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Asked(Protocol):
    """What waits for its turn.

    Attributes:
        client: Whose it is: an address, and after a space the name that a page gave itself.
        goes_first: Whether it goes before what else waits for its client.
    """

    client: str
    goes_first: bool


J = TypeVar("J", bound=Asked)


def address_of(client: str) -> str:
    """Return where a client is: it may call itself what it likes, but not come from elsewhere."""
    return client.partition(" ")[0]


class Waiting(Generic[J]):
    """What waits, by address and by client.

    Whoever has waited longest for a turn of their own is next. So one who asks for much, or under
    many names, keeps others waiting no longer than one who asks for little.
    """

    def __init__(self) -> None:
        """Begin without any."""
        self._waiting = OrderedDict[str, OrderedDict[str, deque[J]]]()

    def __len__(self) -> int:
        """Return how many wait."""
        return sum(map(_count, self._waiting.values()))

    def __iter__(self) -> Iterator[J]:
        """Iterate over all that wait."""
        for clients in self._waiting.values():
            for own in clients.values():
                yield from own

    def add(self, job: J) -> None:
        """Let a job wait behind those of its client; behind those that go first, if it does too."""
        clients = self._waiting.setdefault(address_of(job.client), OrderedDict())
        own = clients.setdefault(job.client, deque())
        before = sum(each.goes_first for each in own) if job.goes_first else len(own)
        own.insert(before, job)

    def next(self) -> J | None:
        """Return the job whose turn it is, which waits no longer; None if there is none."""
        if not self._waiting:
            return None
        address, clients = next(iter(self._waiting.items()))
        client, own = next(iter(clients.items()))
        job = own[0]
        clients.move_to_end(client)
        self._waiting.move_to_end(address)
        self.remove(job)
        return job

    def remove(self, job: J) -> None:
        """Let a job wait no longer."""
        address = address_of(job.client)
        clients = self._waiting[address]
        clients[job.client].remove(job)
        if not clients[job.client]:
            del clients[job.client]
        if not clients:
            del self._waiting[address]

    def of(self, client: str) -> list[J]:
        """Return what waits for a client."""
        clients = self._waiting.get(address_of(client), OrderedDict[str, deque[J]]())
        return list(clients.get(client, ()))

    def makes_room_for(self, client: str) -> J | None:
        """Return the job that has to give way to one more of a client; None for that one itself.

        It is the last of whoever has most waiting: of the fullest address, if that has then still
        no fewer than the client's own, and else of the fullest client of this address. Of several
        that have as many, it is the one whose turn is last.
        """
        own_address = address_of(client)
        own_clients = self._waiting.get(own_address, OrderedDict())
        fullest = max(reversed(self._waiting.values()), key=_count, default=own_clients)
        if _count(fullest) < _count(own_clients) + 2:
            fullest = own_clients
        jobs = max(reversed(fullest.values()), key=len, default=deque[J]())
        if fullest is own_clients and len(jobs) < len(own_clients.get(client, ())) + 2:
            return None
        return jobs[-1]


def _count(clients: OrderedDict[str, deque[J]]) -> int:
    return sum(map(len, clients.values()))
