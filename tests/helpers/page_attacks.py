"""A page to be attacked: a small network behind the real server, raw bytes, and ASGI by hand."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import torch
from torch import nn

import limelight
from limelight.models.network import Network
from limelight.web.application import build_application
from limelight.web.serving.asgi import Application
from limelight.web.serving.page_state import PageState
from limelight.web.serving.server import EndingServer, uvicorn_config
from limelight.web.settings import PageSettings
from limelight.web.subjects.networks import ServedNetworks

#: The header of a request to the page, which has its address.
HOST = b"Host: 127.0.0.1\r\n"

PREPROCESS = limelight.Preprocess(size=(32, 32), resize=32, mean=(0.5,) * 3, std=(0.5,) * 3)


def small_network() -> Network:
    """A network that takes next to no time."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )
    return Network("small", model.eval(), PREPROCESS, ("cat", "dog", "owl"))


@dataclass
class Attacked:
    """A page that runs.

    Attributes:
        state: What all its requests share.
        port: Its port.
        server: Its server.
        thread: Where the server runs.
    """

    state: PageState
    port: int
    server: EndingServer
    thread: threading.Thread

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def client(self, **options: Any) -> httpx.Client:
        # Certificates, which take long to load, are of no use here.
        return httpx.Client(base_url=self.url, timeout=30, verify=False, **options)

    def wire(self, sent: bytes) -> bytes:
        """Send bytes as they are, and return all that comes back until the page closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(sent)
            return received(connection)

    def is_well(self) -> bool:
        """Whether it answers, and its queue works."""
        with self.client() as client:
            health: dict[str, Any] = client.get("health").json()
        return bool(health["status"] == "ok")


def received(connection: socket.socket) -> bytes:
    """Return all bytes that come until the other side closes."""
    parts = list[bytes]()
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


@contextlib.contextmanager
def attacked(settings: PageSettings | None = None) -> Iterator[Attacked]:
    """Serve a small network from a thread, at a free port."""
    settings = settings or PageSettings(port=0)
    network = small_network()
    state = PageState.begin(settings, ServedNetworks({network.name: network}))
    with serving(build_application(state), settings, state) as page:
        yield page
    state.close()


@contextlib.contextmanager
def serving(
    application: Application, settings: PageSettings, state: PageState
) -> Iterator[Attacked]:
    """Serve an application from a thread, at a free port."""
    ready = threading.Event()

    async def told(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            ready.set()
        await application(scope, receive, send)

    # asyncio sends at once only where the socket says that it is of TCP.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        server = EndingServer(uvicorn_config(told, settings), state.queue)
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        ready.wait(30)
        try:
            yield Attacked(state, listening.getsockname()[1], server, thread)
        finally:
            server.should_exit = True
            thread.join(30)


@dataclass
class Answer:
    """What an application answered.

    Attributes:
        status: The status.
        headers: The headers, as text.
        body: The body.
        parts: How many parts of the request were read.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    parts: int = 0

    @property
    def error(self) -> str:
        return self.headers.get("x-limelight-error", "")


async def asked(
    application: Application,
    path: str = "/",
    *,
    method: str = "GET",
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    body: Sequence[bytes] = (),
    address: str = "127.0.0.1",
    ends: bool = True,
) -> Answer:
    """Ask an application without a server.

    Args:
        application: The application.
        path, method, headers: What is asked; without a host it is asked for by its address.
        body: The parts of the body.
        address: Where the request comes from.
        ends: Whether the body ends; else no more of it comes, and nobody leaves.
    """
    answer, parts = Answer(), list(body)
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    if not any(name == "host" for name, _ in pairs):
        pairs.append(("host", "127.0.0.1:7860"))
    name, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": method,
        "path": name,
        "query_string": query.encode(),
        "headers": [(name.encode(), text.encode("latin-1")) for name, text in pairs],
        "client": (address, 50000),
    }

    async def receive() -> dict[str, Any]:
        if answer.parts < len(parts) or (ends and answer.parts == 0):
            part = parts[answer.parts] if parts else b""
            answer.parts += 1
            more = answer.parts < len(parts) or not ends
            return {"type": "http.request", "body": part, "more_body": more}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): text.decode() for name, text in message["headers"]}
        else:
            answer.body += message.get("body", b"")

    await application(scope, receive, send)
    return answer
