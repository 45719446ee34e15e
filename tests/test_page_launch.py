"""The page of one's own network: from Python, in a notebook, and by the command."""

from __future__ import annotations

import base64
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import limelight
from helpers.asking import asked
from helpers.hidden_packages import hide_for_a_test
from helpers.model_state import untouched
from limelight.errors import InputError, MissingPackageError, OptionError
from limelight.models.network import Network

#: What the command `limelight` runs.
START = "from limelight.cli import main; main()"

PREPROCESS = limelight.Preprocess(size=(32, 32), resize=32, mean=(0.5,) * 3, std=(0.5,) * 3)


def own_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


def photo() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 255, (5, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((64, 40))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return own_network().train()


@pytest.fixture(scope="module")
def served(model: nn.Module) -> Iterator[limelight.PageServer]:
    with limelight.page(model, ["cat", "dog", "owl"], preprocess=PREPROCESS) as page:
        yield page


def sent(page: limelight.PageServer) -> str:
    buffer = BytesIO()
    photo().save(buffer, "PNG")
    answer = httpx.post(f"{page.url}api/photos", files={"photo": ("a.png", buffer.getvalue())})
    identity: str = answer.json()["id"]
    return identity


def mapped(page: limelight.PageServer, asked: dict[str, Any]) -> dict[str, Any]:
    address = f"{page.url}api/photos/{sent(page)}/maps"
    first = httpx.post(address, json={"maps": [asked]}, timeout=60).text.splitlines()[0]
    found: dict[str, Any] = json.loads(first)["map"]
    return found


def test_the_page_of_ones_own_network_draws_the_map_that_explain_makes(
    served: limelight.PageServer, model: nn.Module
) -> None:
    shown = mapped(served, {"target": {"class": "dog"}, "layer": "2"})
    network = Network("own", model, PREPROCESS, ("cat", "dog", "owl"))
    expected = limelight.explain(network, photo(), target="dog", layer="2")
    assert (shown["label"], shown["layer"]) == ("dog", "2")
    assert shown["score"] == pytest.approx(float(expected.score), rel=1e-5)
    heat = np.frombuffer(base64.b64decode(shown["heatmap"]), "<u2").reshape(32, 32) / 65535
    np.testing.assert_allclose(heat, expected.heatmap[0].detach().numpy(), atol=2e-4)


def test_the_model_is_left_as_it_was(served: limelight.PageServer, model: nn.Module) -> None:
    with untouched(model):
        mapped(served, {"method": "guided-backprop"})
    assert model.training


def test_a_notebook_shows_the_page_in_a_frame_that_may_hold_it(
    served: limelight.PageServer,
) -> None:
    shown = served._repr_html_()
    assert f'<iframe src="{served.url}"' in shown
    policy = httpx.get(served.url).headers["content-security-policy"]
    assert "frame-ancestors 'self' http://localhost:*" in policy


def test_a_page_that_is_closed_answers_no_more_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with limelight.page(own_network(), preprocess=PREPROCESS) as page:
        assert httpx.get(f"{page.url}api/page").status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(page.url)
    left = [each for each in set(threading.enumerate()) - before if "limelight" in each.name]
    for thread in left:
        thread.join(5)
    assert not any(thread.is_alive() for thread in left)


def test_other_networks_can_be_chosen() -> None:
    also = {"other": own_network()}
    with limelight.page(own_network(), preprocess=PREPROCESS, also=also) as page:
        assert httpx.get(f"{page.url}api/page").json()["networks"] == ["Sequential", "other"]
        assert httpx.get(f"{page.url}api/networks/other", timeout=60).json()["name"] == "other"


def test_a_model_that_answers_questions_is_asked_by_the_name_that_it_was_given() -> None:
    with limelight.page(own_network(), preprocess=PREPROCESS, also={"ours": asked("blip")}) as page:
        facts = httpx.get(f"{page.url}api/networks/ours", timeout=60).json()
        assert (facts["name"], facts["kind"]) == ("ours", "vision-language")
        answer = httpx.post(
            f"{page.url}api/photos/{sent(page)}/look", json={"network": facts["name"]}
        )
        assert answer.json()["network"] == "ours"


def test_two_networks_of_one_name_are_refused() -> None:
    also = {"Sequential": own_network()}
    with pytest.raises(OptionError, match="Two networks of the page are called 'Sequential'"):
        limelight.page(own_network(), preprocess=PREPROCESS, also=also)


def test_a_port_that_is_taken_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OptionError, match=f"cannot listen at '127.0.0.1', port {port}"):
            limelight.page(own_network(), preprocess=PREPROCESS, port=port)


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(InputError, match="model is a int; a network was expected"):
        limelight.page(3)  # type: ignore[arg-type]
    volumes = limelight.Preprocess(size=(4, 8, 8), resize=(4, 8, 8), mean=(0.5,), std=(0.5,))
    with pytest.raises(OptionError, match="takes volumes; the page shows pictures"):
        limelight.page(nn.Conv3d(1, 2, 3), preprocess=volumes)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_for_a_test(monkeypatch, "uvicorn")
    with pytest.raises(MissingPackageError, match=r"pip install 'limelight\[page\]'"):
        limelight.page(own_network(), preprocess=PREPROCESS)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "ward-pc"])
def test_other_machines_may_ask_only_with_a_password(host: str) -> None:
    with pytest.raises(OptionError, match="no password is set"):
        limelight.PageSettings(host=host)
    limelight.PageSettings(host=host, user="ward", password="secret")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.5", "::1", "localhost"])
def test_this_machine_needs_none(host: str) -> None:
    assert limelight.PageSettings(host=host).is_loopback


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"port": 70000}, "The port is 70000"),
        ({"user": "ward"}, "without a password"),
        ({"user": "ward", "password": ""}, "without a password"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(OptionError, match=told):
        limelight.PageSettings(**options)


def test_limits_that_let_nothing_through_are_refused() -> None:
    with pytest.raises(OptionError, match="pixels is 0"):
        limelight.Limits(pixels=0)


def test_the_command_says_where_the_page_is_and_ends_when_told() -> None:
    command = [sys.executable, "-c", START, "page", "--port", "0", "--lang", "zh"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = ""
            for line in process.stdout:
                found = re.search(r"http://127\.0\.0\.1:\d+/", line)
                if found:
                    url = found[0]
                    break
            assert httpx.get(f"{url}api/texts").json()["language"] == "zh"
        finally:
            process.send_signal(signal.SIGTERM)
        process.stdout.read()
        assert process.wait(20) in (-signal.SIGTERM, 0)
