"""The page at work: a server in this process, and a browser that complains and reports."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest

import limelight
from limelight.web.launch import PageServer, ServedModel
from limelight.web.settings import PageSettings

#: What keeps Chromium to itself.
CHROMIUM = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
)

#: Chromium writes into its console that an answer was an error: which the page is to tell.
ANSWERED_ERROR = "Failed to load resource: the server responded with a status of "


@contextlib.contextmanager
def served(
    settings: PageSettings | None = None, networks: Mapping[str, ServedModel] | None = None
) -> Iterator[str]:
    """Serve the page at a port that is free, in a thread; yield its address.

    Args:
        settings: How it is served.
        networks: Networks by their names; None for the embedded network.
    """
    loaded: Mapping[str, ServedModel] = networks or {"efficientnet-lite0": limelight.load_model()}
    with PageServer(settings or PageSettings(port=0), loaded) as page:
        yield page.url


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """Start Chromium without a window; skip where there is none."""
    playwright = pytest.importorskip("playwright.sync_api")
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("there is no chromium on the PATH")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=executable, args=list(CHROMIUM))
        try:
            yield started
        finally:
            started.close()


class Watched:
    """A page of a browser, and what it complained of and asked for.

    Attributes:
        page: The page, of playwright.
        complaints: What is in its console, and errors that nobody caught.
        refused: Answers of the server that were errors, as "status path".
        elsewhere: What was asked of other hosts.
    """

    def __init__(self, context: Any, address: str) -> None:
        """Open a tab, and watch it."""
        self.page = context.new_page()
        self.complaints, self.refused, self.elsewhere = list[str](), list[str](), list[str]()
        host = urlsplit(address).netloc
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("response", self._answer)

        def ask(request: Any) -> None:
            asked = urlsplit(request.url)
            if asked.scheme not in ("blob", "data") and asked.netloc != host:
                self.elsewhere.append(request.url)

        self.page.on("request", ask)
        self.page.goto(address)
        self.page.wait_for_selector("html[data-ready=yes]")

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(ANSWERED_ERROR):
            self.complaints.append(message.text)

    def _answer(self, response: Any) -> None:
        if response.status >= 400:
            self.refused.append(f"{response.status} {urlsplit(response.url).path}")


@contextlib.contextmanager
def opened(browser: Any, address: str, **options: Any) -> Iterator[Watched]:
    """Open the page in a browser of its own; fail on complaints, errors and requests elsewhere.

    What the server refuses has to be taken from `refused` by whoever expects it.

    Args:
        browser: The browser.
        address: The address of the page.
        options: Of the browser's context, such as `viewport`, `locale` and `color_scheme`.
    """
    options = {"viewport": {"width": 1280, "height": 900}, "locale": "en-GB", **options}
    context = browser.new_context(**options)
    context.set_default_timeout(20_000)
    try:
        watched = Watched(context, address)
        yield watched
        assert watched.complaints == []
        assert watched.refused == []
        assert watched.elsewhere == []
    finally:
        context.close()
