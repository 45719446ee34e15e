"""The page, asked in this process, without a socket."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image
from starlette.testclient import TestClient

from limelight.web.application import build_application
from limelight.web.serving.page_state import PageState
from limelight.web.settings import PageSettings
from limelight.web.subjects.networks import ServedNetworks


@contextlib.contextmanager
def asked_page(
    networks: Mapping[str, Any], settings: PageSettings | None = None
) -> Iterator[tuple[TestClient, PageState]]:
    """Serve networks; yield a client, and what all its requests share."""
    state = PageState.begin(settings or PageSettings(), ServedNetworks(networks))
    application: Any = build_application(state)
    with TestClient(application, base_url="http://localhost") as client:
        yield client, state


def photo_bytes(seed: int = 0, size: tuple[int, int] = (64, 40)) -> bytes:
    """Return a photo as PNG: soft noise."""
    pixels = np.random.default_rng(seed).integers(0, 255, (5, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize(size).save(buffer, "PNG")
    return buffer.getvalue()


def hold(client: TestClient, name: str = "cat.png", data: bytes | None = None) -> str:
    """Let the page hold a photo; return its id."""
    answer = client.post("/api/photos", files={"photo": (name, data or photo_bytes())})
    assert answer.status_code == 200, answer.text
    photo: str = answer.json()["id"]
    return photo
