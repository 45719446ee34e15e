"""What whoever starts the page decides: where it listens, who may ask, and how much."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from limelight.errors import OptionError
from limelight.translations.languages import Language


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one request, and all together, may take.

    Attributes:
        upload_bytes: The most bytes of one uploaded file.
        pixels: The most pixels of one photo, known before it is decoded.
        files: The most files of one request.
        waiting: How many requests may wait for the network.
        seconds: How long one request may keep the network, in seconds.
        method_numbers: The most numbers that a method's options may ask for: that of its runs, or
            the like, times that of the network's input. Some methods hold all of them at once.
        photo_bytes: The most bytes of all photos that are held, decoded.
        look_bytes: The most bytes of all passes of networks that are held.
        idle_seconds: After how long without a request a photo is dropped, in seconds.
    """

    upload_bytes: int = 20_000_000
    pixels: int = 40_000_000
    files: int = 16
    waiting: int = 64
    seconds: float = 120.0
    method_numbers: int = 400_000_000
    photo_bytes: int = 600_000_000
    look_bytes: int = 900_000_000
    idle_seconds: float = 3600.0

    def __post_init__(self) -> None:
        """Refuse limits that let nothing through.

        Raises:
            OptionError: One is not positive.
        """
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise OptionError(f"{name} is {getattr(self, name)}; more than 0 was expected.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSettings:
    """Where the page listens, who may ask, and what it shows.

    Attributes:
        host: The address to listen at; by default only this machine can reach it.
        port: The port; 0 for any that is free.
        user, password: What HTTP Basic authentication asks for; None for nobody.
        limits: How much a request may take.
        audit: The folder of an audit, whose report is a tab; None for none.
        language: The language of the page for whoever names none; None for that of the browser.
        framed_by: The origins whose pages may hold this one in a frame, as a notebook does.
        names: Host names under which the page may be asked for, besides addresses.
        loading: The options of the command by which a network was loaded, beside its name and
            weights, by the name of the network: "" for an option without a value.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    user: str | None = None
    password: str | None = None
    limits: Limits = field(default_factory=Limits)
    audit: Path | None = None
    language: Language | None = None
    framed_by: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    loading: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse an open door: other machines may ask only with a password.

        Raises:
            OptionError: The page would be open to others without a password, or the port is none.
        """
        if not 0 <= self.port <= 65535:
            raise OptionError(f"The port is {self.port}; a number from 0 to 65535 was expected.")
        if (self.user is None) != (self.password is None) or "" in (self.user, self.password):
            raise OptionError(
                "A user without a password, or a password without a user, was given; give both, as "
                "in USER:PASSWORD, or neither."
            )
        if not self.is_loopback and self.password is None:
            raise OptionError(
                f"The page would listen at {self.host!r}, where other machines reach it, and no "
                "password is set. Set one as USER:PASSWORD, or listen at 127.0.0.1."
            )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the page."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def knows_host(self, name: str) -> bool:
        """Return whether a request for this host name is meant for the page.

        A page elsewhere can let its own name point to this machine, and so make a browser ask here.
        An address, or a name that was set, cannot be used so.
        """
        if name.lower() in map(str.lower, ("localhost", self.host, *self.names)):
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True
