"""`limelight page`: look at a network's maps in a browser."""

from __future__ import annotations

import webbrowser
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from limelight.cli.messages import network_title, warn_of_random_weights
from limelight.cli.network_options import NetworkOptions
from limelight.cli.output import Console
from limelight.errors import OptionError
from limelight.models.sources import load_model
from limelight.models.vision_language import load_vision_language
from limelight.translations.languages import Language
from limelight.web.launch import ServedModel, by_name, serve
from limelight.web.settings import Limits, PageSettings


def page(
    *,
    network_options: NetworkOptions,
    also: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="Another network that can be chosen on the page; repeat it to offer several.",
        ),
    ] = None,
    ask: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="A vision-language model that can be asked on the page, hf:NAME or hf:FOLDER; "
            "repeat it to offer several.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="The address to listen at; by default only this machine asks.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 for any that is free.")] = 7860,
    auth: Annotated[
        str | None,
        typer.Option(
            metavar="USER:PASSWORD",
            envvar="LIMELIGHT_AUTH",
            help="What to ask for before anything is shown. Rather set it in the environment: "
            "other users of the machine see what a command is called with.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A host name under which the page may be asked for, besides its address.",
        ),
    ] = None,
    max_upload: Annotated[
        float, typer.Option(metavar="MB", help="The most megabytes of one photo.")
    ] = 20.0,
    max_pixels: Annotated[
        float, typer.Option(metavar="MP", help="The most million pixels of one photo.")
    ] = 40.0,
    max_seconds: Annotated[
        float, typer.Option(help="How long one request may keep the network.")
    ] = 120.0,
    max_waiting: Annotated[
        int, typer.Option(help="How many requests may wait for the network.")
    ] = 64,
    max_memory: Annotated[
        float,
        typer.Option(
            metavar="GB",
            help="The most gigabytes for photos, and for what networks saw in them; those that "
            "were not asked for longest make room.",
        ),
    ] = 1.5,
    audit: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="The folder of an audit, whose report becomes a tab of the page."
        ),
    ] = None,
    lang: Annotated[
        Language | None,
        typer.Option(help="The language of the page; that of the browser when not given."),
    ] = None,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the page in a browser.")
    ] = False,
) -> None:
    """Look at a network's maps in a browser: choose, point, compare, brush, and take away.

    Photos are dropped on the page, and stay on this machine. The page asks nothing of the internet.
    It runs until it is interrupted (Ctrl-C). Other machines may ask only with a password: set
    LIMELIGHT_AUTH=USER:PASSWORD in the environment.

    [bold]Examples[/]

    limelight page

    limelight page --model resnet50 --also vit_b_16 --open

    limelight page --host 0.0.0.0 --allow-host ward-pc --max-upload 50
    """
    user, password = _user_and_password(auth)
    settings = PageSettings(
        host=host,
        port=port,
        user=user,
        password=password,
        limits=Limits(
            upload_bytes=round(max_upload * 1e6),
            pixels=round(max_pixels * 1e6),
            seconds=max_seconds,
            waiting=max_waiting,
            photo_bytes=round(0.4e9 * max_memory),
            look_bytes=round(0.6e9 * max_memory),
        ),
        audit=audit,
        language=lang,
        names=tuple(allow_host or ()),
    )
    console = Console()
    networks = list[ServedModel]()
    with console.status("loading the network"):
        networks.append(network_options.load())
        networks += [load_model(name) for name in also or ()]
        networks += [load_vision_language(name) for name in ask or ()]
    for network in networks:
        warn_of_random_weights(console, network.weights)

    def announce(url: str) -> None:
        console.print(", ".join(map(network_title, networks)))
        console.print(f"[bold]{escape(url)}[/]  (Ctrl-C ends the page)")
        if open_browser:
            webbrowser.open(url)

    settings = replace(settings, loading={networks[0].name: network_options.as_words})
    try:
        serve(settings, by_name(networks), announce)
    except KeyboardInterrupt:
        console.print("The page is closed.")


def _user_and_password(auth: str | None) -> tuple[str | None, str | None]:
    """Return what `USER:PASSWORD` holds; the password may hold colons itself.

    Raises:
        OptionError: There is no colon.
    """
    if auth is None:
        return None, None
    user, colon, password = auth.partition(":")
    if not colon:
        raise OptionError("--auth has no colon; USER:PASSWORD was expected.")
    return user, password
