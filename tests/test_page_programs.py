"""The page's API for programs: photos in, maps out; health, metrics, and the description of all."""

from __future__ import annotations

import base64
import importlib
import io
import json
import pkgutil
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import APIRouter
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel
from starlette.testclient import TestClient

import limelight
import limelight.web.routes
from helpers import page_networks
from helpers.asked_pages import asked_page, hold, photo_bytes
from limelight.models.network import Network
from limelight.web import replies
from limelight.web.serving.page_state import PageState
from limelight.web.serving.work_queue import WorkQueue
from limelight.web.settings import Limits, PageSettings
from limelight.web.wording import words

GUIDE = (Path(__file__).parent.parent / "docs" / "page-api.md").read_text()

LIMITS = Limits(upload_bytes=2_000_000, files=6)


@pytest.fixture(scope="module")
def network() -> Network:
    return page_networks.classifier()


@pytest.fixture(scope="module")
def page(network: Network) -> Iterator[tuple[TestClient, PageState]]:
    networks = {network.name: network, "detector": page_networks.detector()}
    with asked_page(networks, PageSettings(limits=LIMITS)) as asked:
        yield asked


@pytest.fixture(scope="module")
def client(page: tuple[TestClient, PageState]) -> TestClient:
    return page[0]


def sent(*photos: tuple[str, bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("photo", photo) for photo in photos]


def explained(client: TestClient, *photos: tuple[str, bytes], **fields: Any) -> dict[str, Any]:
    answer = client.post("/api/explain", files=sent(*photos), data=fields)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


FOUR = [(f"{seed}.png", photo_bytes(seed, (64, 40 + seed))) for seed in range(4)]


# ---- Photos in, maps out


def test_the_answers_are_those_of_the_library(client: TestClient, network: Network) -> None:
    answer = explained(client, *FOUR, target="dog", method="layercam", layer="body.second")
    assert answer["network"] == network.name
    assert [each["photo"] for each in answer["photos"]] == [name for name, _ in FOUR]
    for found, (_, data) in zip(answer["photos"], FOUR, strict=True):
        photo = opened(data)
        result = limelight.explain(
            network, photo, target="dog", method="layercam", layer="body.second"
        )
        probabilities = result.output.softmax(1)[0]
        assert found["score"] == pytest.approx(float(result.score[0]), rel=1e-5)
        assert found["probability"] == pytest.approx(float(probabilities[1]), rel=1e-5)
        assert (found["label"], found["index"], found["method"]) == ("dog", 1, "layercam")
        assert (found["width"], found["height"]) == photo.size
        assert found["box"] == pytest.approx(network.preprocess.crop_box(photo))
        assert found["status"]["name"] == result.status[0].name
        best = probabilities.argsort(descending=True).tolist()
        assert [each["index"] for each in found["top"]] == best
        picture = opened(base64.b64decode(found["heatmap"]))
        (drawn,) = [result.crops and result.crops[0].view()]
        assert drawn
        assert picture.size == drawn.size


def test_photos_go_through_the_network_together(client: TestClient, network: Network) -> None:
    model: Any = network.model
    explained(client, FOUR[0])
    model.batches.clear()
    explained(client, FOUR[0])
    alone = list(model.batches)
    model.batches.clear()
    explained(client, *FOUR)
    assert alone == [1] * len(alone)
    assert model.batches == [4] * len(alone)


def test_a_photo_that_cannot_be_read_has_an_error_and_the_others_go_on(
    client: TestClient,
) -> None:
    broken = [("a.txt", b"text"), ("b.png", FOUR[0][1][:300])]
    answer = explained(client, FOUR[0], *broken, FOUR[1])["photos"]
    assert [sorted({"error", "label"} & each.keys()) for each in answer] == [
        ["label"], ["error"], ["error"], ["label"],
    ]  # fmt: skip
    assert answer[1]["error"]["code"] == "not-a-picture"
    assert "'b.png'" in answer[2]["error"]["message"]


def test_photos_of_different_sizes_are_explained_apart() -> None:
    given = page_networks.classifier()
    preprocess = limelight.Preprocess(size=None, resize=None, mean=(0.5,) * 3, std=(0.5,) * 3)
    network = Network("any size", given.model, preprocess, given.classes)
    photos = [("a.png", photo_bytes(0, (40, 32))), ("b.png", photo_bytes(1, (48, 32)))]
    photos += [("c.png", photo_bytes(2, (40, 32)))]
    with asked_page({"any size": network}) as (client, _):
        model: Any = network.model
        explained(client, photos[0])
        model.batches.clear()
        answer = explained(client, *photos, target="4")
    assert sorted(set(model.batches)) == [1, 2]
    for found, (_, data) in zip(answer["photos"], photos, strict=True):
        alone = limelight.explain(network, opened(data), target=4)
        assert found["index"] == 4
        assert found["score"] == pytest.approx(float(alone.score[0]), rel=1e-5)


def test_what_cannot_be_explained_of_photos_is_told_of_each(client: TestClient) -> None:
    answer = explained(client, *FOUR[:2], target="a horse")["photos"]
    assert [each["error"]["code"] for each in answer] == ["unknown-name-error"] * 2
    assert "'a horse'" in answer[0]["error"]["message"]


def test_arrays_are_those_of_the_page(client: TestClient, network: Network) -> None:
    (found,) = explained(client, FOUR[2], target=0, arrays="true", longest=16)["photos"]
    photo = hold(client, *FOUR[2])
    asked = {"longest": 16, "maps": [{"target": {"class": 0}}]}
    first = client.post(f"/api/photos/{photo}/maps", json=asked).text.splitlines()[0]
    shown = json.loads(first)["map"]
    assert found["map"].keys() == shown.keys()
    assert "heatmap" not in found
    for name in ("heatmap", "signed"):
        kind = "<u2" if name == "heatmap" else "<i2"
        one, other = (
            np.frombuffer(base64.b64decode(each[name]), kind).astype(int)
            for each in (found["map"], shown)
        )
        assert len(one) == 16 * 16
        assert np.abs(one - other).max() <= 2


@pytest.mark.parametrize("how", ["field", "header"])
def test_one_photo_is_answered_by_a_picture(
    client: TestClient, network: Network, tmp_path: Path, how: str
) -> None:
    data = {"picture": "overlay", "whole": "true", "colormap": "viridis", "target": "1"}
    headers = {"accept": "image/png"} if how == "header" else {}
    data |= {"format": "png"} if how == "field" else {}
    answer = client.post("/api/explain", files=sent(FOUR[3]), data=data, headers=headers)
    assert answer.headers["content-type"] == "image/png"
    result = limelight.explain(network, opened(FOUR[3][1]), target=1)
    path = result.save(tmp_path / "map.png", picture="overlay", whole=True, colormap="viridis")
    one, other = (np.asarray(opened(each), int) for each in (answer.content, path.read_bytes()))
    assert np.abs(one - other).max() <= 1


@pytest.mark.parametrize(
    ("photos", "fields", "status", "code"),
    [
        (FOUR[:2], {"format": "png"}, 413, "too-many-files"),
        (FOUR[:1] * 7, {}, 413, "too-many-files"),
        (FOUR[:1], {"colour": "red"}, 422, "invalid"),
        (FOUR[:1], {"longest": "9"}, 422, "invalid"),
        (FOUR[:1], {"method": "grad-camera"}, 422, "unknown-name-error"),
        (FOUR[:1], {"network": "other"}, 404, "no-such-network"),
        (FOUR[:1], {"against": "dog", "counterfactual": "true"}, 422, "target-error"),
        (FOUR[:1], {"method": "rise:masks=100000000"}, 422, "too-many-runs"),
        ([("a.txt", b"text")], {"format": "png"}, 422, "not-a-picture"),
    ],
)
def test_a_request_that_cannot_be_done_is_refused(
    client: TestClient, photos: Any, fields: dict[str, str], status: int, code: str
) -> None:
    answer = client.post("/api/explain", files=sent(*photos), data=fields)
    if answer.status_code == 200:  # of the photo, not of the request
        assert answer.json()["photos"][0]["error"]["code"] == code
        return
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_form_without_a_photo_is_told_which_field_is_missing(client: TestClient) -> None:
    answer = client.post("/api/explain?lang=zh", data={"target": "dog"})
    assert answer.status_code == 422
    assert answer.json()["error"] == {
        "code": "no-file",
        "message": words("zh")["errors"]["no-file"].format(field="photo"),
    }


# ---- Health and metrics


def test_health_is_told_without_a_password() -> None:
    settings = PageSettings(user="me", password="secret")
    with asked_page({"one": page_networks.classifier()}, settings) as (client, state):
        assert client.get("/metrics").status_code == 401
        answer = client.get("/health")
        assert (answer.status_code, answer.json()["status"]) == (200, "ok")
        state.queue.close()
        answer = client.get("/health")
        assert (answer.status_code, answer.json()["status"]) == (503, "stopped")


def test_a_request_that_keeps_the_network_far_too_long_is_told(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = property(lambda _queue: 2 * LIMITS.seconds + 1)
    monkeypatch.setattr(WorkQueue, "seconds_at_work", long)
    answer = client.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "stuck")


def figures(client: TestClient) -> dict[tuple[str, ...], float]:
    """Return all figures by name and labels."""
    text = client.get("/metrics").text
    return {
        (sample.name, *map(str, sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_count_requests_refusals_and_work() -> None:
    with asked_page({"one": page_networks.classifier()}) as (client, state):
        photo = hold(client)
        for _ in range(3):
            client.post(f"/api/photos/{photo}/look", json={})
        client.post(f"/api/photos/{photo}/look", json={"network": "other"})
        client.get("/nowhere")
        client.get("/api/page", headers={"host": "elsewhere.example"})
        found = figures(client)
        look = "('route', '/api/photos/{photo_id}/look')"
        assert (
            found["limelight_requests_total", "('method', 'POST')", look, "('status', '200')"] == 3
        )
        assert (
            found["limelight_requests_total", "('method', 'POST')", look, "('status', '404')"] == 1
        )
        for code in ("no-such-network", "no-such-address", "host"):
            assert found["limelight_refusals_total", f"('code', '{code}')"] == 1
        assert found["limelight_work_seconds_count", "('ending', 'ok')"] == 3
        assert found["limelight_work_seconds_count", "('ending', 'no-such-network')"] == 1
        assert found["limelight_queue_seconds_count",] == 4
        assert found["limelight_request_seconds_count", look] == 4
        assert found["limelight_photos",] == 1
        assert found["limelight_photo_bytes",] == state.photos.taken > 0
        assert found["limelight_networks_loaded",] == 1
        assert found["limelight_queue_length",] == 0


def test_addresses_that_clients_make_up_do_not_fill_the_metrics(client: TestClient) -> None:
    for number in range(3):
        client.get(f"/made/up/{number}")
        client.request(f"MADE{number}", "/api/page")
    assert not [key for key in figures(client) if "made" in "".join(key).lower()]


def test_each_page_counts_by_itself() -> None:
    with asked_page({"one": page_networks.classifier()}) as (client, _):
        assert not [key for key in figures(client) if key[0] == "limelight_requests_total"]


# ---- The description of all addresses


@pytest.fixture(scope="module")
def openapi(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def routes() -> Iterator[Any]:
    """Yield all routes of the page, from the modules in which they are."""
    for module in pkgutil.iter_modules(limelight.web.routes.__path__, "limelight.web.routes."):
        router = getattr(importlib.import_module(module.name), "router", None)
        if isinstance(router, APIRouter):
            yield from router.routes


ROUTES = [route for route in routes() if route.include_in_schema]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_every_address_is_described_with_its_answer_and_its_errors(
    openapi: dict[str, Any], route: Any
) -> None:
    path = re.sub(r":path\}", "}", route.path)
    for method in route.methods:
        told = openapi["paths"][path][method.lower()]
        assert told["description"]
        places = [each["name"] for each in told.get("parameters", ()) if each["in"] == "path"]
        assert set(places) == set(re.findall(r"{(\w+)}", path))
        assert {"4XX", "5XX"} <= told["responses"].keys()
        if "204" not in told["responses"]:
            contents = told["responses"]["200"]["content"]
            assert contents
            assert all(is_told(kind, content) for kind, content in contents.items()), contents


def is_told(kind: str, content: dict[str, Any]) -> bool:
    """Return whether it is told what is in an answer: by a model, an example, or as a file."""
    schema = content["schema"]
    is_file = schema.get("format") == "binary" or kind in ("text/html", "text/plain")
    return "$ref" in schema or is_file or bool(content.get("example"))


def test_the_description_is_one_of_openapi(openapi: dict[str, Any]) -> None:
    """Checked by the validator where it is installed, and else by what it would find first."""
    assert openapi["openapi"].startswith("3.1")
    text = json.dumps(openapi)
    for kind, name in re.findall(r'"\$ref": "#/components/(\w+)/(\w+)"', text):
        assert name in openapi["components"][kind]
    assert not re.findall(r'"\$ref": "(?!#/components/)', text)
    identifiers = [
        operation["operationId"]
        for operations in openapi["paths"].values()
        for operation in operations.values()
    ]
    assert len(set(identifiers)) == len(identifiers)
    try:
        validator = importlib.import_module("openapi_spec_validator")
    except ImportError:
        return
    validator.validate(openapi)


def test_the_fields_of_forms_are_described(openapi: dict[str, Any]) -> None:
    body = openapi["paths"]["/api/explain"]["post"]["requestBody"]
    schema = body["content"]["multipart/form-data"]["schema"]
    assert schema["required"] == ["photo"]
    assert schema["properties"]["photo"]["items"] == {"type": "string", "format": "binary"}
    assert schema["properties"]["format"]["enum"] == ["json", "png"]
    assert {"target", "against", "method", "layer", "arrays"} <= schema["properties"].keys()
    body = openapi["paths"]["/api/photos"]["post"]["requestBody"]
    assert body["content"]["multipart/form-data"]["schema"]["properties"].keys() == {"photo"}


def answered(client: TestClient, photo: str) -> dict[str, tuple[type[BaseModel], Any]]:
    """Return an answer of each address that answers with JSON, and its model."""
    post, get = client.post, client.get
    photos = f"/api/photos/{photo}"
    streamed = post(f"{photos}/maps", json={"maps": [{}]}).text.splitlines()
    return {
        "texts": (replies.TextsReply, get("/api/texts").json()),
        "page": (replies.PageReply, get("/api/page").json()),
        "network": (replies.NetworkReply, get("/api/networks/detector").json()),
        "photo": (replies.PhotoReply, post("/api/photos", files=sent(FOUR[0])).json()),
        "look": (replies.LookReply, post(f"{photos}/look", json={}).json()),
        "objects": (replies.LookReply, post(f"{photos}/look", json={"network": "detector"}).json()),
        "map": (replies.MapFacts, json.loads(streamed[0])["map"]),
        "code": (replies.CodeReply, post(f"{photos}/code", json={}).json()),
        "explain": (replies.ExplainReply, explained(client, FOUR[0], ("a", b"b"))),
        "arrays": (replies.ExplainReply, explained(client, FOUR[0], arrays="true")),
        "health": (replies.HealthReply, get("/health").json()),
        "error": (replies.ErrorReply, get("/nowhere").json()),
    }


def test_answers_are_as_they_are_described(client: TestClient) -> None:
    for name, (model, answer) in answered(client, hold(client)).items():
        read = model.model_validate(answer)  # a value that is not described is an error
        given = {key: value for key, value in answer.items() if value is not None}
        assert read.model_dump(mode="json", exclude_none=True).keys() == given.keys(), name


# ---- The guide


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)


def test_each_call_of_the_guide_is_to_an_address_that_there_is(openapi: dict[str, Any]) -> None:
    calls = [line for line in "".join(blocks("sh")).replace("\\\n", " ").splitlines() if line]
    assert len(calls) >= 8
    for call in calls:
        parts = shlex.split(call, comments=True)
        assert parts[0] == "curl"
        (address,) = [part for part in parts if part.startswith("http://127.0.0.1:7860/")]
        is_post = any(part in ("-F", "--json", "-X") for part in parts)
        method = parts[parts.index("-X") + 1] if "-X" in parts else "POST" if is_post else "GET"
        path = address.partition("7860")[2].partition("?")[0]
        known = [
            each
            for each in openapi["paths"]
            if re.fullmatch(re.sub(r"{\w+}", r"[^/]+", each), path)
        ]
        if path == "/openapi.json":
            continue
        assert known, path
        assert method.lower() in openapi["paths"][known[0]], call
        for field in [parts[n + 1] for n, part in enumerate(parts) if part == "-F"]:
            schema = openapi["paths"][known[0]]["post"]["requestBody"]["content"]
            assert field.split("=")[0] in schema["multipart/form-data"]["schema"]["properties"]


def test_the_client_of_the_guide_works(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, data in (("cat.jpg", FOUR[0][1]), ("dog.jpg", FOUR[1][1])):
        opened(data).save(tmp_path / name)
    (block,) = blocks("py")
    with limelight.page(network) as served:
        exec(block.replace("http://127.0.0.1:7860", served.url.rstrip("/")), {})
    assert "cat.jpg" in capsys.readouterr().out
    with Image.open(tmp_path / "cat-map.png") as picture:
        assert picture.size
