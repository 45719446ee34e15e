"""`page`: the page of one's own network, from Python or a notebook; and what the command starts."""

from __future__ import annotations

import html
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from torch import nn

from limelight.errors import InputError, OptionError
from limelight.extras import refuse_without
from limelight.misnamed import checked_arguments
from limelight.models.network import Network
from limelight.models.sources import load_model
from limelight.models.vision_language import VisionLanguageModel
from limelight.photos.preprocess import Preprocess
from limelight.web.settings import PageSettings

if TYPE_CHECKING:
    import uvicorn

#: What a page can show.
ServedModel = Network | VisionLanguageModel

#: Where notebooks come from that may hold the page in a frame.
_NOTEBOOKS = ("http://localhost:*", "http://127.0.0.1:*", "vscode-webview:")


#: How high the page is in a notebook, in CSS pixels.
_FRAME_HEIGHT = 900

#: How long a page takes to listen at the most, and to end, in seconds.
_START_SECONDS, _END_SECONDS = 60, 10


@checked_arguments
def page(
    model: nn.Module | Network | VisionLanguageModel | str | None = None,
    classes: Sequence[str] | None = None,
    *,
    preprocess: Preprocess | None = None,
    also: Mapping[str, nn.Module | Network | VisionLanguageModel | str] | None = None,
    port: int = 0,
    settings: PageSettings | None = None,
) -> PageServer:
    """Show a network's maps on a page, to point at and to compare; a notebook displays it.

    The page is served by this process, in a thread of its own, to this machine alone. It runs until
    it is closed, or the process ends. The model is left untouched.

        page = limelight.page(model, ["cat", "dog"])
        page.url
        page.close()

    Args:
        model: A trained network; or a `Network`, as `load_model` returns it; or a model that
            answers questions, as `load_vision_language` returns it; or a name that `load_model`
            knows; None for the embedded network.
        classes: The names of the classes, by index; None for those of the `Network`.
        preprocess: How a photo becomes the model's input; None for that of the `Network`, or, of a
            plain model, ImageNet's: 256 pixels, 224 of them, its mean and deviation.
        also: Other networks that can be chosen on the page, by their names.
        port: The port to listen at; 0 for any that is free.
        settings: Where else to listen, who may ask, and how much; `port` is not read then.

    Raises:
        OptionError: A package of the page is missing, the port is taken, the network takes volumes,
            or two networks have the same name.
        InputError: The model is none.
        UnknownNameError, WeightsError, ModelError: As `load_model`.
    """
    first = _as_served(model, classes, preprocess)
    others = [_as_served(each, None, None, name) for name, each in (also or {}).items()]
    settings = settings or PageSettings(port=port, framed_by=_NOTEBOOKS)
    return PageServer(settings, by_name([first, *others]))


def by_name(models: Sequence[ServedModel]) -> dict[str, ServedModel]:
    """Return models by their names, which they are chosen by.

    Raises:
        OptionError: Two have the same name.
    """
    named = dict[str, ServedModel]()
    for model in models:
        if model.name in named:
            raise OptionError(
                f"Two networks of the page are called {model.name!r}, and they are chosen by name. "
                "Give each its own: limelight.page(network, also={NAME: other})."
            )
        named[model.name] = model
    return named


class PageServer:
    """A page that is served by this process until it is closed.

    Attributes:
        url: Its address.
    """

    def __init__(self, settings: PageSettings, networks: Mapping[str, ServedModel]) -> None:
        """Serve a page from a thread of its own.

        Raises:
            OptionError: A package of the page is missing, or the port is taken.
        """
        self._socket, self._server = _listening(settings, networks)
        self.url: str = address_of(self._socket)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="limelight-server", daemon=True
        )
        self._thread.start()
        waited = threading.Event()
        for _ in range(20 * _START_SECONDS):
            if self._server.started or not self._thread.is_alive():
                break
            waited.wait(0.05)
        if not self._server.started:
            self.close()
            raise OptionError(f"The page did not start at {self.url}; the log says why.")

    def close(self) -> None:
        """End the page; what it held is given free."""
        self._server.should_exit = True
        self._thread.join(_END_SECONDS)
        self._socket.close()

    def __enter__(self) -> Self:
        """Return the page, to be closed at the end of the block."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Close it."""
        self.close()

    def __repr__(self) -> str:
        """Return where it is."""
        return f"PageServer({self.url})"

    def _repr_html_(self) -> str:
        """Show the page in a notebook, in a frame."""
        url = html.escape(self.url)
        return (
            f'<iframe src="{url}" width="100%" height="{_FRAME_HEIGHT}" allow="camera; '
            f'clipboard-write" title="limelight" style="border: 0"></iframe><p><a href="{url}" '
            f'target="_blank">{url}</a></p>'
        )


def serve(
    settings: PageSettings,
    networks: Mapping[str, ServedModel],
    announce: Callable[[str], None],
) -> None:
    """Serve a page from this thread until it is interrupted, or told to end.

    Args:
        settings: Where, to whom, and how much.
        networks: The networks that can be chosen, by their names; the first is shown first.
        announce: Called with the address, once the page answers.

    Raises:
        OptionError: A package of the page is missing, or the port is taken.
    """
    listening, server = _listening(settings, networks, announce)
    with listening:
        server.run([listening])


def address_of(listening: socket.socket) -> str:
    """Return the address of the page behind a socket, as a browser takes it."""
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "localhost"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _listening(
    settings: PageSettings,
    networks: Mapping[str, ServedModel],
    announce: Callable[[str], None] | None = None,
) -> tuple[socket.socket, uvicorn.Server]:
    """Return a socket that listens, and a server that is yet to be run on it."""
    refuse_without("fastapi", "uvicorn", "python_multipart", "prometheus_client")
    from limelight.web.application import build_application
    from limelight.web.serving.page_state import PageState
    from limelight.web.serving.server import EndingServer, uvicorn_config
    from limelight.web.subjects.networks import ServedNetworks

    served = ServedNetworks(networks)
    listening = _bound(settings)
    url = address_of(listening)
    state = PageState.begin(settings, served)
    application = build_application(state, (lambda: announce(url)) if announce else None)
    return listening, EndingServer(uvicorn_config(application, settings), state.queue)


def _bound(settings: PageSettings) -> socket.socket:
    """Return a socket that is bound to host and port.

    Raises:
        OptionError: It is taken, or is none of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        try:
            if sys.platform != "win32":  # there it would let two programs have one port
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen()  # who asks before the page is ready waits
        except OSError:
            listening.close()
            raise
    except OSError as error:
        reason = error.strerror or error
        raise OptionError(
            f"The page cannot listen at {settings.host!r}, port {settings.port}: {reason}. Take "
            "another port, or 0 for any that is free."
        ) from error
    return listening


def _as_served(
    model: object,
    classes: Sequence[str] | None,
    preprocess: Preprocess | None,
    name: str | None = None,
) -> ServedModel:
    """Return a model with its name, preprocessing and classes; one that answers questions has none.

    Raises:
        InputError: It is no model.
    """
    if isinstance(model, VisionLanguageModel):
        return replace(model, name=name or model.name)
    if model is None or isinstance(model, str):
        model = load_model() if model is None else load_model(model)
    if isinstance(model, nn.Module):
        model = Network(type(model).__name__, model)
    if not isinstance(model, Network):
        raise InputError(
            f"model is a {type(model).__name__}; a network was expected, or a Network, or the name "
            "of one."
        )
    return replace(
        model,
        name=name or model.name,
        preprocess=preprocess or model.preprocess,
        classes=model.classes if classes is None else tuple(classes),
    )
