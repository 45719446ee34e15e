"""Names on the hub, without a network: refused at once, or never answered."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

from hostile_tries import photos
from hostile_tries.tries import Try

NAMES = (
    "hf:microsoft/resnet-18", "hf:no-such/network", "hf:a/b/c", "hf:nothing",
    "resnet18.a1_in1k", "resnet18", "vit_tiny_patch16_224", "fasterrcnn_mobilenet_v3_large_320_fpn",
)  # fmt: skip


def tries(work: Path) -> Iterator[Try]:
    """Yield them. Each is a fresh process: it takes some seconds to load before it asks."""
    good = photos.good(work / "good")
    for name in NAMES:
        for way, setup in {
            "refused": _refused,
            "unanswered": _unanswered,
            "HF_HUB_OFFLINE": _told,
        }.items():
            if way == "HF_HUB_OFFLINE" and not name.startswith("hf:"):
                continue
            # a machine under load takes a while to start Python; the ten seconds are those after
            yield Try(
                f"{name}, {way}",
                ("explain", good, "--model", name, "--json"),
                fresh=True,
                setup=setup,
                codes=(1, 2),
                seconds=25,
                never=("(?i)retry", "Max retries"),
            )


def _refused() -> None:
    _proxy(9)


def _told() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    _proxy(9)


def _unanswered() -> None:
    server = socket.create_server(("127.0.0.1", 0), backlog=64)
    server.set_inheritable(True)
    port = server.getsockname()[1]
    server.detach()  # it listens as long as the process lives, and never accepts
    _proxy(port)


def _proxy(port: int) -> None:
    for name in (
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "all_proxy",
    ):
        os.environ[name] = f"http://127.0.0.1:{port}"
    for name in ("no_proxy", "NO_PROXY"):
        os.environ.pop(name, None)
