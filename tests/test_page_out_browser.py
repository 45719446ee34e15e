"""What is taken away from the page, in a browser: files, lines of code, documents in frames."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from PIL import Image

from helpers import page_networks
from helpers.asked_pages import photo_bytes
from helpers.page_server import Watched, browser, opened, served
from limelight.web.settings import PageSettings

#: The pixels of the picture that is looked at.
PIXELS = """(() => {
  const picture = document.querySelector(".out-look img");
  const context = new OffscreenCanvas(picture.naturalWidth, picture.naturalHeight).getContext("2d");
  context.drawImage(picture, 0, 0);
  return [...context.getImageData(0, 0, picture.naturalWidth, picture.naturalHeight).data];
})()"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    audit = tmp_path_factory.mktemp("audit")
    script = "document.body.append('its script ran, in a page of ' + self.origin)"
    report = f"<!doctype html><body><h1>The report</h1><script>{script}</script>"
    (audit / "report.html").write_text(report)
    network, against = page_networks.classifier(), page_networks.classifier()
    with torch.no_grad():  # nothing that it sees speaks for a class
        head = against.model.get_submodule("head")
        assert isinstance(head, torch.nn.Linear)
        head.weight.copy_(-head.weight.abs())
    networks = {network.name: network, "against": replace(against, name="against")}
    with served(PageSettings(port=0, audit=audit), networks) as address:
        yield address


@pytest.fixture(scope="module")
def seen(address: str) -> Iterator[Watched]:
    """A page with a photo, whose map is shown."""
    rights = {"permissions": ["clipboard-read", "clipboard-write"]}
    with browser() as started, opened(started, address, **rights) as watched:
        photo = {"name": "a cat.png", "mimeType": "image/png", "buffer": photo_bytes()}
        watched.page.set_input_files("#files", files=[photo])
        watched.page.wait_for_selector("body:not(.empty)")
        watched.page.click("#tab-out")
        watched.page.wait_for_selector(".out-lines pre")
        yield watched


def chosen(page: Any, kind: str) -> None:
    page.click(f"[data-kind={kind}]")
    page.wait_for_selector(f"[data-kind={kind}][aria-pressed=true]")
    page.wait_for_selector(".out-look:not(.loading)")


def saved(page: Any, folder: Path) -> Path:
    with page.expect_download() as download:
        page.click("#save")
    path: Path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_the_file_that_is_saved_is_the_one_that_was_looked_at(
    seen: Watched, tmp_path: Path
) -> None:
    page = seen.page
    chosen(page, "picture")
    shown = page.evaluate(PIXELS)
    path = saved(page, tmp_path)
    assert path.name == "a-cat.png"
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.size == (64, 40)
        assert list(picture.convert("RGBA").tobytes()) == shown
    page.wait_for_selector(".out-save .note:has-text('a-cat.png')")


def test_the_table_is_shown_before_it_is_saved(seen: Watched, tmp_path: Path) -> None:
    page = seen.page
    chosen(page, "table")
    page.wait_for_selector(".out-table")
    told = page.inner_text(".out-table").split("\n")
    path = saved(page, tmp_path)
    with path.open(newline="") as file:
        (wanted,) = csv.DictReader(file)
    read = dict(zip(told[::2], told[1::2], strict=True))
    assert read["photo"] == wanted["photo"] == "a cat.png"
    assert read == {name: value for name, value in wanted.items() if value}


def test_the_threshold_of_regions_is_that_of_the_view(seen: Watched) -> None:
    page = seen.page
    chosen(page, "regions")
    page.wait_for_selector(".out-look img")
    page.focus("#out-threshold")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(".command code:has-text('0.51')")
    assert page.input_value("#threshold") == "0.51"
    assert page.evaluate("document.activeElement.id") == "out-threshold"
    page.uncheck("#threshold-on")


def test_lines_are_copied(seen: Watched) -> None:
    page = seen.page
    chosen(page, "arrays")
    page.wait_for_selector(".command code:has-text('.npz')")
    for name in ("python", "command"):
        page.click(f"[data-copies={name}]")
        page.wait_for_selector(f"[data-copies={name}]:has-text('Copied')")
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied == page.inner_text(f".out-code.{name} code")
        assert "a cat.png" in copied


def test_the_page_to_send_is_shown_and_works_from_a_file(seen: Watched, tmp_path: Path) -> None:
    page = seen.page
    chosen(page, "page")
    frame = page.frame_locator(".out-look iframe")
    label = frame.locator("#label").inner_text()
    path = saved(page, tmp_path)
    with page.context.browser.new_context() as context:
        alone = context.new_page()
        asked, complaints = list[str](), list[str]()
        alone.on("request", lambda request: asked.append(request.url))
        alone.on("console", lambda message: complaints.append(message.text))
        alone.on("pageerror", lambda error: complaints.append(str(error)))
        alone.goto(path.as_uri())
        assert alone.inner_text("#label") == label in page_networks.CLASSES
        alone.focus("#stage")
        alone.keyboard.press("ArrowRight")
        values = re.findall(
            r"at 32, 20 · heat ([\d.]+) · raw value (\S+)", alone.inner_text("#value")
        )
        assert len(values) == 1
        alone.click("#others button >> nth=1")
        other = alone.inner_text("#method")
        assert other != page.evaluate(
            "document.querySelector('.tile[aria-pressed=true]')?.innerText"
        )
        assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
        assert complaints == []


def test_the_page_to_send_draws_no_heat_where_the_map_shows_nothing(
    seen: Watched, address: str, tmp_path: Path
) -> None:
    sent = httpx.post(f"{address}api/photos", files={"photo": photo_bytes()}).json()
    asked = {"network": "against", "kind": "page", "target": {"class": 0}}
    path = tmp_path / "page.html"
    path.write_bytes(httpx.post(f"{address}api/photos/{sent['id']}/files", json=asked).content)
    with seen.page.context.browser.new_context() as context:
        alone = context.new_page()
        alone.goto(path.as_uri())
        assert "speaks for this score" in alone.inner_text("#status")
        assert alone.evaluate("document.getElementById('heat').style.opacity") == "0"
        alone.check("input[value=signed]")
        assert alone.evaluate("document.getElementById('heat').style.opacity") == "0.65"


def test_the_walkthrough_follows_the_map(seen: Watched) -> None:
    page = seen.page
    page.click("#tab-walkthrough")
    frame = page.frame_locator("#panel-walkthrough iframe")
    assert "gradcam" in frame.locator("dl").first.inner_text()
    first = page.get_attribute("#panel-walkthrough iframe", "src")
    page.click("#tab-out")
    page.click("#tab-walkthrough")
    assert page.get_attribute("#panel-walkthrough iframe", "src") == first
    page.click("#tab-out")
    page.click("[data-key='method:layercam'] .tile")
    page.wait_for_selector("[data-key='method:layercam'] [aria-pressed=true]")
    page.click("#tab-walkthrough")
    page.wait_for_selector(f".document iframe:not([src='{first}'])")
    assert "layercam" in frame.locator("dl").first.inner_text()


def test_a_method_without_channels_offers_another(seen: Watched) -> None:
    page = seen.page
    page.click("#tab-out")
    page.evaluate("import('./static/js/store.js').then(({ set }) => set({ method: 'kpcacam' }))")
    page.click("#tab-walkthrough")
    page.click("#panel-walkthrough button:has-text('gradcam')")
    page.wait_for_selector("#panel-walkthrough iframe")


def test_the_audit_is_shown_without_access_to_the_page(seen: Watched, address: str) -> None:
    page = seen.page
    page.click("#tab-audit")
    frame = page.frame_locator("#panel-audit iframe")
    frame.locator("h1").wait_for()
    assert "its script ran, in a page of null" in frame.locator("body").inner_text()
    link = page.get_attribute("#panel-audit a", "href")
    assert httpx.get(address.rstrip("/") + link).status_code == 200
