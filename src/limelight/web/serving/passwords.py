"""User and password, by HTTP Basic authentication, with a bound on guesses."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

from limelight.web.serving.refusals import Refusal
from limelight.web.settings import PageSettings

#: How many wrong passwords an address may send at once, and after how many seconds one more.
_GUESSES, _SECONDS_FOR_ONE = 10, 10.0

#: How many addresses are remembered.
_MOST_ADDRESSES = 4096

#: How many bits of an IPv6 address are one customer's network, who has all addresses in it.
_NETWORK_BITS = 64


class Passwords:
    """Tells who may ask. Who guesses is not listened to for a while, right or wrong.

    The address is that of the connection: behind a proxy all who ask share one.
    """

    def __init__(self, settings: PageSettings, clock: Callable[[], float] = time.monotonic) -> None:
        """Ask for the user and the password that were set, or for none."""
        self._expected = (
            None if settings.password is None else f"{settings.user}:{settings.password}".encode()
        )
        self._clock = clock
        self._guesses = OrderedDict[str, tuple[float, float]]()  # how many, and when that was

    def check(self, authorization: str, address: str) -> None:
        """Let a request through.

        Args:
            authorization: The header; "" for none.
            address: Where the request comes from.

        Raises:
            Refusal: User or password is wrong, which of them is not told; or too many were wrong.
        """
        if self._expected is None:
            return
        if not authorization:  # as a browser asks first
            raise Refusal("password", 401)
        network = _network(address)
        guesses = self._guesses_of(network)
        if guesses > _GUESSES - 1:
            seconds = round((guesses - _GUESSES + 1) * _SECONDS_FOR_ONE) + 1
            raise Refusal("too-many-passwords", 429, seconds=seconds)
        if not secrets.compare_digest(_given(authorization), self._expected):
            self._guesses[network] = guesses + 1, self._clock()
            self._guesses.move_to_end(network)
            while len(self._guesses) > _MOST_ADDRESSES:
                self._guesses.popitem(last=False)
            raise Refusal("password", 401)

    def _guesses_of(self, network: str) -> float:
        """Return how many guesses count against an address: each counts less as time goes by."""
        guesses, then = self._guesses.get(network, (0.0, 0.0))
        return max(0.0, guesses - (self._clock() - then) / _SECONDS_FOR_ONE)


def _given(authorization: str) -> bytes:
    """Return user and password as a header holds them; nothing if it holds none."""
    scheme, _, code = authorization.partition(" ")
    try:
        return base64.b64decode(code, validate=True) if scheme.lower() == "basic" else b""
    except (binascii.Error, ValueError):
        return b""


def _network(address: str) -> str:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 4:
        return address
    return str(ipaddress.ip_network((int(found), _NETWORK_BITS), strict=False))
