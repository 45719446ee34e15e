"""The page by a finger, on a wide screen that is scrolled, and after a reload."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from helpers import page_networks
from helpers.page_server import Watched, browser, opened, served

pytest.importorskip("skimage")

PHONE = {"viewport": {"width": 400, "height": 800}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    first = replace(page_networks.classifier(), name="first", weights="random")
    second = replace(page_networks.classifier(), name="second")
    with served(networks={each.name: each for each in (first, second)}) as url:
        yield url


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as started:
        yield started


@pytest.fixture
def phone(chromium: Any, address: str) -> Iterator[Watched]:
    """A telephone with a photo."""
    with opened(chromium, address, **PHONE) as watched:
        shown(watched.page)
        yield watched
        assert watched.complaints == watched.refused == watched.elsewhere == []


@pytest.fixture
def laptop(chromium: Any, address: str) -> Iterator[Watched]:
    """A wide screen with a photo."""
    with opened(chromium, address, viewport={"width": 1280, "height": 720}) as watched:
        shown(watched.page)
        yield watched
        assert watched.complaints == watched.refused == watched.elsewhere == []


def expect(locator: Any) -> Any:
    """Return what waits until something holds of an element, for long on a busy machine."""
    told = pytest.importorskip("playwright.sync_api").expect
    told.set_options(timeout=20_000)
    return told(locator)


def shown(page: Any) -> None:
    page.click("[data-sample=chelsea]")
    expect(page.locator(".score")).not_to_be_empty()


def drag(watched: Watched, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag a finger over the photo, from and to shares of the view."""
    page = watched.page
    page.evaluate("document.querySelector('#stage').scrollIntoView()")
    box = page.locator("#stage-view").bounding_box()

    def place(x: float, y: float) -> dict[str, float]:
        return {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}

    finger = page.context.new_cdp_session(page)

    def touch(kind: str, *points: dict[str, float]) -> None:
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": list(points)})

    touch("touchStart", place(*start))
    for step in range(1, 9):
        share = step / 8
        x, y = (a + (b - a) * share for a, b in zip(start, end, strict=True))
        touch("touchMove", place(x, y))
    touch("touchEnd")


def test_a_finger_takes_the_class_that_it_taps_and_nothing_behind_it(phone: Watched) -> None:
    page = phone.page
    page.tap("#class")
    last = page.locator("#classes-1 li").last
    name = last.inner_text().split(maxsplit=1)[1]
    last.tap()
    expect(page.locator(".score")).to_contain_text(f"“{name}”")
    expect(page.locator("#class")).to_have_value(name)


def test_a_finger_that_scrolls_the_page_points_at_nothing(phone: Watched) -> None:
    page = phone.page
    drag(phone, (0.5, 0.9), (0.5, 0.1))
    expect(page.locator("#stage-view")).not_to_be_in_viewport(ratio=1)
    expect(page.locator(".values [data-fact=place]")).to_have_count(0)


def test_a_finger_that_paints_leaves_the_brush_where_it_was_lifted(phone: Watched) -> None:
    page = phone.page
    page.tap("button[data-tool=brush]")
    drag(phone, (0.4, 0.7), (0.6, 0.4))
    expect(page.locator("#probe-undo")).to_be_enabled()
    stage = page.evaluate("document.querySelector('#stage').getBoundingClientRect().top")
    x, y = map(int, page.inner_text(".values [data-fact=place] b").split(", "))
    assert (x, y) == pytest.approx((0.6 * 451, 0.4 * 300), abs=12)
    assert stage == pytest.approx(0, abs=5)  # the page did not move under the finger


def test_a_telephone_is_not_told_to_drop_a_photo(chromium: Any, address: str) -> None:
    with opened(chromium, address, **PHONE) as watched:
        assert watched.page.inner_text(".drop h2") == "Choose a photo"
        assert "folder" not in watched.page.inner_text(".ways")


def test_the_photo_stays_in_sight_beside_its_panels_and_never_lies_over_the_strips(
    laptop: Watched,
) -> None:
    page = laptop.page
    page.click("#tab-out")
    page.wait_for_selector(".out-code")
    places = "['.stage-body', '.strips', '.panels'].map((each) => document.querySelector(each)"
    edges = f"{places}.getBoundingClientRect()).map(({{ top, bottom }}) => [top, bottom])"
    heights = []
    for step in range(8):
        page.evaluate(f"scrollTo(0, {200 * step})")
        (top, bottom), (strips, _), (_, panels) = page.evaluate(edges)
        assert bottom <= strips
        heights.append(top)
        assert top >= 9 or bottom == pytest.approx(panels, abs=20)
    assert heights.count(10) >= 2


def test_photos_are_there_again_after_a_reload(laptop: Watched) -> None:
    page = laptop.page
    page.click("[data-sample=coffee]")
    expect(page).to_have_title("coffee · limelight")
    page.reload()
    page.wait_for_selector("html[data-ready=yes]")
    expect(page.locator(".tray .thumb")).to_have_count(2)
    expect(page).to_have_title("coffee · limelight")
    expect(page.locator(".score")).not_to_be_empty()


def test_of_many_photos_one_is_a_stop_of_the_tab_key(laptop: Watched) -> None:
    page = laptop.page
    page.click("[data-sample=coffee]")
    expect(page).to_have_title("coffee · limelight")
    thumbs = page.locator(".tray .thumb")
    assert [each.get_attribute("tabindex") for each in thumbs.all()] == ["-1", "0"]
    thumbs.last.press("ArrowLeft")
    expect(thumbs.first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_title("chelsea · limelight")
    expect(thumbs.first).to_be_focused()
    page.keyboard.press("Delete")
    expect(thumbs).to_have_count(1)
    expect(page).to_have_title("coffee · limelight")


def test_ctrl_z_takes_the_last_stroke_back(laptop: Watched) -> None:
    page = laptop.page
    page.click("button[data-tool=brush]")
    page.click("#stage-view")
    expect(page.locator("#probe-undo")).to_be_enabled()
    page.keyboard.press("Control+z")
    expect(page.locator("#probe-undo")).to_be_disabled()


def test_random_weights_are_told_and_another_network_is_compared_with_the_one_before(
    laptop: Watched,
) -> None:
    page = laptop.page
    assert "random" in page.inner_text("#targets .random")
    page.select_option("#compare", "network")
    page.wait_for_selector(".side.right:has-text('second')")
    page.select_option("#network", "second")
    page.wait_for_selector(".side.left:has-text('second')")
    page.wait_for_selector(".side.right:has-text('first')")
    assert page.locator("#targets .random").is_hidden()


def test_what_was_wrong_with_a_file_is_not_said_of_the_next_photo(
    chromium: Any, address: str
) -> None:
    with opened(chromium, address, **PHONE) as watched:
        page = watched.page
        wrong = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no photo"}
        page.set_input_files("#files", wrong)
        expect(page.locator("#notice")).to_contain_text("notes.txt")
        page.tap("[data-sample=coffee]")
        expect(page.locator("#notice")).to_be_hidden()
        expect(page).to_have_title("coffee · limelight")
        assert [line.split(" ")[0] for line in watched.refused] == ["422"]
        watched.refused.clear()
