"""What is taken away from the page: files, lines of code, and documents."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shlex
import urllib.parse
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from starlette.testclient import TestClient

import limelight
from helpers import page_networks
from helpers.asked_pages import asked_page, hold, photo_bytes
from helpers.commands import Runner, folder, run
from helpers.pages import packed_in, read
from limelight.cli.network_options import NetworkOptions
from limelight.models.network import Network
from limelight.web.answers.code_lines import code_lines
from limelight.web.requests import FileRequest, TargetRequest
from limelight.web.serving.refusals import Refusal
from limelight.web.settings import PageSettings
from limelight.web.subjects.document_store import DocumentStore
from limelight.web.subjects.networks import ServedNetwork

__all__ = ["folder", "run"]  # fixtures

#: A name that shells, Python and HTML all have to quote.
ODD = "it's <b>$HOME & `co`.png"


@pytest.fixture(scope="module")
def networks() -> dict[str, Network]:
    return {name: load() for name, load in page_networks.NETWORKS.items()}


@pytest.fixture(scope="module")
def client(networks: dict[str, Network]) -> Iterator[TestClient]:
    with asked_page(networks) as (client, _):
        yield client


@pytest.fixture(scope="module")
def photo(client: TestClient) -> str:
    return hold(client, ODD)


def taken(client: TestClient, photo: str, **asked: Any) -> tuple[str, bytes]:
    """Return the name and the bytes of a file."""
    answer = client.post(f"/api/photos/{photo}/files", json=asked)
    assert answer.status_code == 200, answer.text
    told = answer.headers["content-disposition"]
    (name,) = re.findall(r"^attachment; filename=\"[^\"]+\"; filename\*=UTF-8''(\S+)$", told)
    return urllib.parse.unquote(name), answer.content


def lines_of(client: TestClient, photo: str, **asked: Any) -> dict[str, Any]:
    answer = client.post(f"/api/photos/{photo}/code", json=asked)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def heatmap_in(data: bytes) -> npt.NDArray[Any]:
    heatmap: npt.NDArray[Any] = np.load(io.BytesIO(data))["heatmap"]
    return heatmap


# ---- The lines of code make the map of the page


CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("classifier", {}, {}),
    ("classifier", {"class": 0}, {"method": "layercam", "layer": "body.first"}),
    ("classifier", {"class": "dog"}, {"method": "rise:masks=24"}),
    ("classifier", {"class": 3}, {"method": "hirescam"}),
    ("classifier", {"class": 4}, {}),
    ("classifier", {"class": 1, "against": 0}, {"method": "gradcam++"}),
    ("classifier", {"class": 1, "counterfactual": True}, {}),
    ("classifier", {"counterfactual": True}, {}),
    ("detector", {"class": 2, "box": [20.0, 8.0, 40.0, 30.0]}, {}),
    ("detector", {"box": [12.0, 2.0, 33.0, 22.0]}, {"method": "gradcam"}),
    ("detector", {"class": 1, "against": 4, "box": [20.0, 8.0, 40.0, 30.0]}, {}),
    ("segmenter", {"class": 2, "pixel": [30.0, 11.0]}, {}),
    ("segmenter", {"pixel": [44.0, 39.0]}, {"method": "layercam"}),
    ("segmenter", {"class": 1, "box": [20.5, 8.0, 40.0, 30.0]}, {}),
]


@pytest.mark.parametrize(("network", "target", "how"), CASES)
def test_both_lines_make_the_map_that_the_page_shows(
    client: TestClient,
    photo: str,
    folder: Path,
    run: Runner,
    network: str,
    target: dict[str, Any],
    how: dict[str, Any],
) -> None:
    asked = {"network": network, "target": target, "kind": "arrays", **how}
    name, data = taken(client, photo, **asked)
    shown = heatmap_in(data)
    assert shown.max() == 1
    (folder / ODD).write_bytes(photo_bytes())
    lines = lines_of(client, photo, **asked)
    exec(lines["python"], {})
    written = [(folder / name).read_bytes()]
    if "box" in target and network == "segmenter":
        assert lines["command"] is None
        assert "pixel" in lines["note"]
    else:
        (folder / name).unlink()
        code, _, errors = run(*shlex.split(lines["command"])[1:])
        assert code == 0, errors
        written.append((folder / name).read_bytes())
        assert lines["note"] == ""
    for file in written:
        np.testing.assert_allclose(heatmap_in(file), shown, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "asked",
    [
        {"picture": "overlay", "colormap": "viridis", "whole": True},
        {"picture": "heatmap", "suffix": "webp"},
        {"picture": "signed", "whole": True, "colormap": "PuOr_r"},
        {"picture": "article", "suffix": "jpg"},
        {"kind": "table"},
        {"kind": "regions", "threshold": 0.55},
        {"kind": "arrays", "whole": True},
    ],
    ids=lambda asked: " ".join(map(str, asked.values())),
)
def test_both_lines_write_the_file_that_the_page_gives(
    client: TestClient, photo: str, folder: Path, run: Runner, asked: dict[str, Any]
) -> None:
    asked = {"network": "classifier", "target": {"class": 1}, **asked}
    name, data = taken(client, photo, **asked)
    (folder / ODD).write_bytes(photo_bytes())
    lines = lines_of(client, photo, **asked)
    exec(lines["python"], {})
    by_python = (folder / name).read_bytes()
    (folder / name).unlink()
    code, _, errors = run(*shlex.split(lines["command"])[1:])
    assert code == 0, errors
    by_command = (folder / name).read_bytes()
    assert content(name, by_python) == content(name, data)
    assert content(name, by_command) == content(name, data)


def content(name: str, data: bytes) -> Any:
    """Return what a file says, whatever its compression and its times."""
    if name.endswith(".npz"):
        arrays = np.load(io.BytesIO(data))
        return {key: np.asarray(arrays[key], dtype=np.float32).round(4).tolist() for key in ROUNDED}
    if name.endswith((".csv", ".json")):
        # Numbers of one map differ in their last digits by how many layers were read at once.
        text = data.decode().replace("\r\n", "\n")
        return re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.3f}", text)
    with Image.open(io.BytesIO(data)) as picture:
        return (np.asarray(picture.convert("RGB")) // 4).tolist()


#: The arrays whose values are compared.
ROUNDED = ("raw", "heatmap", "score", "photo_heatmap_0", "photo_seen_0")


def test_a_network_that_was_given_as_a_model_has_no_command() -> None:
    own = Network("Mine", page_networks.classifier().model)
    lines = code_lines(FileRequest(), ServedNetwork.of(own), "cat.jpg", "zh")
    assert 'limelight.Network("Mine", model)' in lines["python"]
    assert lines["command"] is None
    assert "model" in lines["note"]


def test_a_network_that_was_given_is_made_again_with_its_preprocessing_and_classes(
    folder: Path,
) -> None:
    given = page_networks.classifier()
    names = tuple(f"class {number}" for number in range(5))
    own = replace(given, name="Mine", classes=names)
    target = TargetRequest.model_validate({"class": 2})
    asked = FileRequest(kind="arrays", target=target)
    lines = code_lines(asked, ServedNetwork.of(own), "a.png", "en")
    (folder / "a.png").write_bytes(photo_bytes())
    made: dict[str, Any] = {"model": given.model}
    exec(lines["python"], made)
    assert made["network"].classes == list(names)
    assert made["network"].preprocess == own.preprocess
    assert "class 2" in repr(made["result"])


def test_random_weights_and_texts_are_named_in_both_lines() -> None:
    given = page_networks.classifier()
    network = Network("open_clip:RN50", given.model, given.preprocess, weights="random")
    asked = FileRequest(texts=("a cat", "it's a dog"))
    lines = code_lines(asked, ServedNetwork.of(network), "cat.jpg", "en")
    loaded = 'load_model("open_clip:RN50", weights="none", classes=["a cat", "it\'s a dog"])'
    assert loaded in lines["python"]
    first, command = lines["command"].split(" && ")
    assert shlex.split(first) == ["printf", "%s\\n", "a cat", "it's a dog", ">", "texts.txt"]
    assert "--weights none --classes texts.txt" in command


def test_both_lines_show_the_network_what_the_page_shows_it(
    folder: Path, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"class {number}" for number in range(5)]
    (folder / "names.txt").write_text("\n".join(names))
    options = NetworkOptions(
        model="helpers.page_networks:classifier", no_crop=True, mean="0.4", classes="names.txt"
    )
    network = options.load()
    settings = PageSettings(loading={network.name: options.as_words})
    with asked_page({network.name: network}, settings) as (client, _):
        photo = hold(client)
        asked = {"kind": "arrays", "target": {"class": 2}}
        name, data = taken(client, photo, **asked)
        lines = lines_of(client, photo, **asked)
    assert name == "cat-class-2.npz"
    (folder / "cat.png").write_bytes(photo_bytes())
    exec(lines["python"], {})
    by_python = (folder / name).read_bytes()
    code, _, errors = run(*shlex.split(lines["command"])[1:])
    assert code == 0, errors
    for file in (by_python, (folder / name).read_bytes()):
        np.testing.assert_allclose(heatmap_in(file), heatmap_in(data), rtol=0, atol=1e-5)
    cropped = limelight.explain(page_networks.classifier(), folder / "cat.png", target=2).heatmap
    assert np.abs(cropped.numpy() - heatmap_in(data)).max() > 0.05


def test_a_photo_that_looks_like_an_option_is_none_in_the_command(networks: Any) -> None:
    served = ServedNetwork.of(networks["classifier"])
    lines = code_lines(FileRequest(layer="--help"), served, "-rf.png", "en")
    words = shlex.split(lines["command"])
    assert words[2] == "./-rf.png"
    assert "--layer=--help" in words


# ---- Files


def test_regions_of_several_files_come_in_an_archive(client: TestClient, photo: str) -> None:
    asked = {"network": "classifier", "kind": "regions", "threshold": 0.5}
    name, data = taken(client, photo, regions="yolo", **asked)
    assert name.endswith(".zip")
    packed = zipfile.ZipFile(io.BytesIO(data))
    labels, names = sorted(packed.namelist(), reverse=True)
    assert (labels.startswith("labels/"), names) == (True, "classes.txt")
    coco = json.loads(taken(client, photo, regions="coco", **asked)[1])
    (image,) = coco["images"]
    assert image["file_name"] == ODD
    assert (image["width"], image["height"]) == (64, 40)
    first = list(map(float, packed.read(labels).split()[1:5]))
    x, y, width, height = coco["annotations"][0]["bbox"]
    assert first == pytest.approx(
        [(x + width / 2) / 64, (y + height / 2) / 40, width / 64, height / 40], abs=1e-5
    )
    name, data = taken(client, photo, regions="masks", **asked)
    with Image.open(io.BytesIO(data)) as mask:
        assert mask.size == (64, 40)


def test_a_colour_map_that_is_none_is_told(client: TestClient, photo: str) -> None:
    asked = {"network": "classifier", "colormap": "viridiss"}
    answer = client.post(f"/api/photos/{photo}/files", json=asked)
    assert answer.status_code == 422
    assert "viridis" in answer.json()["error"]["message"]
    assert answer.headers["x-limelight-error"] == answer.json()["error"]["code"]


@pytest.fixture(scope="module")
def sent_page(client: TestClient, photo: str) -> str:
    asked = {
        "network": "classifier",
        "target": {"class": 1},
        "kind": "page",
        "beside": [{"method": "layercam"}, {"network": "segmenter", "layer": "body.first"}],
    }
    answer = client.post(f"/api/photos/{photo}/files?lang=zh", json=asked)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_the_page_to_send_asks_for_nothing(sent_page: str) -> None:
    page = read(re.sub(r"<!doctype html>", "", sent_page))
    policy = page.one("meta", **{"http-equiv": "Content-Security-Policy"}).attributes["content"]
    assert policy.startswith("default-src 'none'")
    for node in page.all():
        for name in ("src", "href"):
            assert node.attributes.get(name, "data:").startswith("data:")
    assert not list(page.all("iframe"))
    assert not re.search(r"https?://|@import|url\(", sent_page)


def test_the_page_to_send_holds_the_maps_and_says_how_they_were_made(
    client: TestClient, photo: str, sent_page: str
) -> None:
    page = read(re.sub(r"<!doctype html>", "", sent_page))
    values = json.loads(page.one("script", id="values").text)
    methods = [(each["method"], each["layer"]) for each in values["maps"]]
    assert methods == [("gradcam", "body"), ("layercam", "body"), ("gradcam", "body.first")]
    steps = np.frombuffer(base64.b64decode(values["maps"][0]["heatmap"]), "<u2")
    asked = {"network": "classifier", "target": {"class": 1}, "kind": "arrays"}
    shown = heatmap_in(taken(client, photo, **asked)[1])[0]
    np.testing.assert_allclose(steps.reshape(32, 32) / 65535, shown, atol=2e-5)
    assert page.first("html").attributes["lang"] == "zh-Hans"
    assert "dog" in page.one("h1").text
    assert ODD in page.seen
    assert "limelight explain" in page.seen
    assert "<b>" not in values["texts"]["heading"]


def test_a_name_is_no_markup_in_the_page_to_send(sent_page: str) -> None:
    assert ODD not in sent_page
    assert "&lt;b&gt;" in sent_page


# ---- Documents


def walked(client: TestClient, photo: str, language: str = "en", **asked: Any) -> list[Any]:
    path = f"/api/photos/{photo}/walkthrough?lang={language}"
    answer = client.post(path, json={"network": "classifier", **asked})
    assert answer.status_code == 200
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_walkthrough_is_made_with_progress_and_kept_for_a_while(
    client: TestClient, photo: str
) -> None:
    *progress, last = walked(client, photo, "zh", target={"class": 1}, method="hirescam")
    assert progress[0]["progress"]["task"] == "hirescam"
    address = last["document"]
    assert re.fullmatch(r"/documents/[\w-]{20,}", address)
    answer = client.get(address)
    assert answer.status_code == 200
    page = read(answer.text.removeprefix("<!doctype html>"))
    assert page.first("html").attributes["lang"].startswith("zh")
    assert "dog" in page.seen
    assert packed_in(page)["maps"]


def test_documents_have_no_access_to_the_page(client: TestClient, photo: str) -> None:
    address = walked(client, photo)[-1]["document"]
    directives = [
        each.strip() for each in client.get(address).headers["content-security-policy"].split(";")
    ]
    assert directives == [
        "sandbox allow-scripts",
        "default-src 'none'",
        "script-src 'unsafe-inline'",
        "style-src 'unsafe-inline'",
        "img-src data:",
        "frame-ancestors 'self'",
    ]


def test_a_method_that_cannot_be_taken_apart_is_told_with_one_that_can(
    client: TestClient, photo: str
) -> None:
    (line,) = walked(client, photo, method="rise")
    assert line["error"]["code"] == "not-walkable"
    assert "'rise'" in line["error"]["message"]
    assert "hirescam" in line["error"]["message"]


def test_documents_that_nobody_asks_for_are_dropped() -> None:
    now = [0.0]
    store = DocumentStore(clock=lambda: now[0])
    first = store.add("one")
    now[0] = 800
    assert store.get(first) == "one"
    second = store.add("two")
    now[0] = 1600  # 800 seconds after both were asked for
    assert store.get(second) == "two"
    now[0] = 1750
    third = store.add("three")
    with pytest.raises(Refusal) as refusal:
        store.get(first)
    assert refusal.value.code == "no-such-document"
    assert (store.get(second), store.get(third), len(store)) == ("two", "three", 2)


def test_nothing_is_at_an_id_that_was_made_up(client: TestClient) -> None:
    answer = client.get("/documents/AAAAAAAAAAAAAAAAAAAAAAAA")
    assert (answer.status_code, answer.json()["error"]["code"]) == (410, "no-such-document")


@pytest.fixture
def audited(tmp_path: Path) -> Path:
    audit = tmp_path / "my audit"
    audit.mkdir()
    (audit / "report.html").write_text("<!doctype html><p>Naïve report")
    (audit / "findings.json").write_text("{}")
    (tmp_path / "secret.html").write_text("secret")
    return audit


def test_the_report_of_an_audit_is_shown_and_no_other_file(audited: Path) -> None:
    with asked_page({"classifier": page_networks.classifier()}, PageSettings(audit=audited)) as (
        client,
        _,
    ):
        page = {"name": "report", "address": "/documents/audit/report"}
        assert client.get("/api/audit").json() == {"pages": [page]}
        for address in ("/documents/audit", "/documents/audit/report"):
            answer = client.get(address)
            assert "Naïve report" in answer.text
            assert answer.headers["content-security-policy"].startswith("sandbox allow-scripts;")
        for name in ("findings.json", "findings", "..%2fsecret.html", "%2e%2e/secret.html"):
            answer = client.get(f"/documents/audit/{name}")
            assert answer.status_code in (404, 422)
            assert "secret" not in answer.text
        assert client.get("/documents/audit/difference").status_code == 404
        (audited / "difference.html").symlink_to(audited.parent / "secret.html")
        assert client.get("/documents/audit/difference").status_code == 404


def test_a_folder_without_a_report_is_told_what_to_do(audited: Path) -> None:
    (audited / "report.html").unlink()
    with asked_page({"classifier": page_networks.classifier()}, PageSettings(audit=audited)) as (
        client,
        _,
    ):
        for address in ("/api/audit", "/documents/audit"):
            answer = client.get(address)
            assert answer.status_code == 404
            told = answer.json()["error"]
            assert told["code"] == "no-report"
            assert "'my audit'" in told["message"]
            assert str(audited.parent) not in told["message"]


def test_a_page_without_an_audit_says_so_in_the_readers_language(client: TestClient) -> None:
    answer = client.get("/documents/audit", headers={"accept-language": "zh-CN"})
    assert answer.status_code == 404
    assert "审计" in answer.json()["error"]["message"]


def test_the_library_reads_what_is_taken_away(client: TestClient, photo: str) -> None:
    asked = {"network": "classifier", "target": {"class": 1}, "kind": "table"}
    text = taken(client, photo, **asked)[1].decode()
    network = page_networks.classifier()
    result = limelight.explain(network, Image.open(io.BytesIO(photo_bytes())), target=1)
    (row,) = result.rows([ODD])
    assert text.splitlines()[0].split(",") == list(row)
    (read_again,) = csv.DictReader(io.StringIO(text))
    assert float(read_again["score"]) == pytest.approx(row["score"], rel=1e-5)
    assert (read_again["photo"], read_again["target"], read_again["status"]) == (ODD, "dog", "ok")
