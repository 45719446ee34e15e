"""In a browser: objects that are chosen, texts to compare with, and the words of an answer."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from helpers.asking import asked
from helpers.page_kinds import PHOTO, SQUARE, networks
from helpers.page_server import browser, opened, served


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    every = networks()
    names = ("detector", "clip", "number", "segmenter", "renamed", "border")
    offered = {name: every[name] for name in names}
    with served(networks={**offered, "llava": asked("llava")}) as url:
        yield url


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as started:
        yield started


def _photo() -> bytes:
    photo = Image.new("RGB", PHOTO, (20, 20, 20))
    left, top, right, bottom = SQUARE
    ImageDraw.Draw(photo).rectangle((left, top, right - 1, bottom - 1), fill="white")
    buffer = BytesIO()
    photo.save(buffer, "PNG")
    return buffer.getvalue()


def _state(page: Any, what: str) -> Any:
    return page.evaluate(f"import('/static/js/store.js').then(({{ get }}) => {what})")


def _wait(page: Any, what: str) -> None:
    """Wait until something is true of the page's state, and drawn."""
    for _ in range(400):
        if _state(page, f"Boolean({what})"):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never came: {what}")


def _show(page: Any, network: str) -> None:
    sent = {"name": "square.png", "mimeType": "image/png", "buffer": _photo()}
    page.set_input_files("input[type=file]", sent)
    _wait(page, "get().main")
    if network != "detector":
        page.select_option("#network", network)
        _wait(page, f"get().network.name === '{network}' && get().look?.network === '{network}'")


def test_an_object_is_chosen_in_the_list_and_on_the_photo(address: str, chromium: Any) -> None:
    with opened(chromium, address) as watched:
        page = watched.page
        _show(page, "detector")
        button = page.locator("#objects-list button")
        assert button.count() == 1
        assert "square" in button.inner_text()
        button.focus()
        page.keyboard.press("Enter")
        _wait(page, "get().main?.request.target.box")
        chosen = page.locator("#objects-list button[aria-pressed=true]")
        assert chosen.count() == 1
        assert _state(page, "get().target.class") == 0
        assert _state(page, "get().target.box") == pytest.approx(SQUARE)
        page.locator("#objects-list button").focus()
        page.keyboard.press("Enter")  # once more lets it go
        _wait(page, "!get().target.box && get().main && !get().main.request.target.box")
        _click(page, SQUARE[0] + 8, SQUARE[1] + 8)
        _wait(page, "get().target.box")
        _click(page, 20, 50)  # where no object is
        assert _state(page, "get().target.box") == pytest.approx(SQUARE)


def _click(page: Any, x: float, y: float) -> None:
    """Click at a point of the photo, in its pixels."""
    page.mouse.click(*_on_screen(page, x, y))


def _on_screen(page: Any, x: float, y: float) -> tuple[float, float]:
    """Return where a point of the photo is on the screen."""
    box = page.locator("#stage-view").bounding_box()
    scale = min(box["width"] / PHOTO[0], box["height"] / PHOTO[1])
    left = box["x"] + (box["width"] - PHOTO[0] * scale) / 2
    top = box["y"] + (box["height"] - PHOTO[1] * scale) / 2
    return left + scale * x, top + scale * y


def _drag(page: Any, start: tuple[int, int], end: tuple[int, int]) -> None:
    """Drag from one point of the photo to another."""
    page.mouse.move(*_on_screen(page, *start))
    page.mouse.down()
    page.mouse.move(*_on_screen(page, *end), steps=3)
    page.mouse.up()


def test_a_place_of_a_segmenter_is_explained_by_itself(address: str, chromium: Any) -> None:
    with opened(chromium, address) as watched:
        page = watched.page
        _show(page, "segmenter")
        names = page.locator(".targets > .chips .name").all_inner_texts()
        assert names == ["dark", "bright"]  # those that are present, the largest first
        assert page.get_by_text("Explain the place pointed at").is_disabled()
        _click(page, SQUARE[0] + 8, SQUARE[1] + 8)
        page.get_by_text("Explain the place pointed at").click()
        _wait(page, "get().main?.request.target.pixel")
        assert _state(page, "get().main.label") == "bright"
        page.get_by_text("Explain the class everywhere").click()
        _wait(page, "get().main && !get().main.request.target.pixel")
        assert _state(page, "get().main.label") == "dark"


def test_a_place_takes_the_turn_of_a_box_and_stays_for_another_class(
    address: str, chromium: Any
) -> None:
    with opened(chromium, address) as watched:
        page = watched.page
        _show(page, "segmenter")
        page.click("[data-tool=box]")
        _drag(page, (50, 20), (60, 30))
        _wait(page, "get().main?.request.target.box")
        page.click("[data-tool=point]")
        _click(page, SQUARE[0] + 8, SQUARE[1] + 8)
        page.get_by_text("Explain the place pointed at").click()
        _wait(page, "get().main?.request.target.pixel")
        assert _state(page, "get().main.request.target.box ?? null") is None
        page.locator(".targets > .chips .chip", has_text="dark").click()
        _wait(page, "get().main?.label === 'dark'")
        assert _state(page, "get().main.request.target.pixel[0]") > SQUARE[0]


def test_two_networks_are_compared_by_the_name_of_the_class(address: str, chromium: Any) -> None:
    with opened(chromium, address) as watched:
        page = watched.page
        _show(page, "segmenter")
        page.locator(".targets > .chips .chip", has_text="bright").click()
        _wait(page, "get().main?.label === 'bright'")
        page.select_option("#compare", "network")
        page.select_option("#other-network", "renamed")
        _wait(page, "get().others.compare?.label?.startsWith('bright')")
        assert _state(page, "[get().main.index, get().others.compare.index]") == [1, 2]
        assert page.inner_text(".side.right").startswith("renamed · bright")
        page.fill("#class", "nothing")
        page.locator("#class").press("Enter")
        _wait(page, "get().others.compare?.error")
        assert page.inner_text(".side.right").startswith("renamed has no class nothing")


def test_the_network_that_was_chosen_last_is_shown_whichever_answers_last(
    address: str, chromium: Any
) -> None:
    with opened(chromium, address) as watched:
        page, held = watched.page, list[Any]()

        def hold(route: Any) -> None:
            held.append(route)

        _show(page, "detector")
        page.route("**/api/networks/clip?layers=false*", hold)
        page.select_option("#network", "clip")
        page.select_option("#network", "number")
        _wait(page, "get().main?.request.network === 'number'")
        with page.expect_response("**/api/networks/clip*"):
            held[0].continue_()
        page.wait_for_timeout(200)
        assert _state(page, "get().network.name") == page.input_value("#network") == "number"


def test_a_region_is_a_share_of_the_photo_also_where_the_map_reaches_past_it(
    address: str, chromium: Any
) -> None:
    with opened(chromium, address) as watched:
        page = watched.page
        _show(page, "border")
        page.fill("#class", "1")
        page.locator("#class").press("Enter")
        _wait(page, "get().main?.status.name === 'ok'")
        left, top, right, bottom = _state(page, "get().main.box")
        assert min(-left, -top, right - PHOTO[0], bottom - PHOTO[1]) > 0
        page.check("#threshold-on")
        page.fill("#threshold", "0")  # all that is warm
        share = float(page.inner_text("[data-fact=regions]").split("together ")[1].split("%")[0])
        heat = np.array(_state(page, "[...get().main.heat]")).reshape(64, 64)
        y, x = (
            (np.arange(64) + 0.5) / 64 * (end - start) + start
            for start, end in ((top, bottom), (left, right))
        )
        inside = ((y > 0) & (y < PHOTO[1]))[:, None] & ((x > 0) & (x < PHOTO[0]))
        assert share == pytest.approx(100 * (heat[inside] > 0).mean(), abs=0.1)


def test_a_question_can_be_asked_whatever_panel_was_open(address: str, chromium: Any) -> None:
    with opened(chromium, address) as watched:
        page = watched.page
        _show(page, "detector")
        page.click("#tab-walkthrough")
        page.select_option("#network", "llava")
        page.fill("#question", "what is this ?")
        assert page.is_visible("#stage-view")


def test_the_tray_keeps_the_focus(address: str, chromium: Any) -> None:
    with opened(chromium, address) as watched:
        page = watched.page
        for name in ("one.png", "two.png"):
            page.set_input_files(
                "#files", {"name": name, "mimeType": "image/png", "buffer": _photo()}
            )
            _wait(page, f"get().photos.at(-1)?.name === '{name}' && get().main")
        page.locator(".tray .thumb").nth(1).focus()
        page.keyboard.press("Enter")
        _wait(page, "get().photo.name === 'two.png' && get().main")
        assert page.evaluate("document.activeElement.ariaLabel") == "two.png"
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        _wait(page, "get().photos.length === 1")
        assert page.evaluate("document.activeElement.ariaLabel") == "one.png"


def test_texts_of_ones_own_are_compared(address: str, chromium: Any) -> None:
    with opened(chromium, address) as watched:
        page = watched.page
        _show(page, "clip")
        assert page.input_value("#texts") == "a cat\na dog"
        page.fill("#texts", "a square\n\n a wheel \na square")
        page.keyboard.press("Control+Enter")
        _wait(page, "get().main?.request.texts && get().look?.answers.length === 2")
        names = page.locator(".targets > .chips .name").all_inner_texts()
        assert sorted(names) == ["a square", "a wheel"]  # each once, without blank lines
        other = next(name for name in names if name != _state(page, "get().main.label"))
        page.locator(".chip", has_text=other).first.click()
        _wait(page, f"get().main?.label === '{other}'")
        page.get_by_text("Back to the texts it came with").click()
        _wait(page, "get().look?.answers.some(({ name }) => name === 'a cat')")
        page.select_option("#network", "number")
        _wait(page, "get().main?.request.network === 'number'")
        assert _state(page, "get().texts.length") == 0
        score = _state(page, "get().look.answers[0].score")
        shown = page.inner_text(".targets > .chips .probability")
        assert float(shown.replace("\N{MINUS SIGN}", "-")) == pytest.approx(score, rel=0.01)


def test_each_word_of_an_answer_shows_its_map_on_a_phone_in_chinese(
    address: str, chromium: Any
) -> None:
    size = {"width": 400, "height": 800}
    with opened(chromium, address, viewport=size, locale="zh-CN") as watched:
        page = watched.page
        _show(page, "llava")
        assert page.locator(".asking h2").inner_text() == "就照片提问"
        assert not page.locator("#strips").is_visible()
        page.fill("#question", "what is this ?")
        page.click(".asking summary")
        page.fill("#own-answer", "a red disc")
        page.keyboard.press("Enter")
        page.wait_for_selector(".word[aria-pressed=true]")
        assert page.locator(".word .text").all_inner_texts() == ["a", "red", "disc"]
        page.locator(".word").first.focus()
        page.keyboard.press("End")
        _wait(page, "get().main?.label === 'disc'")
        page.keyboard.press("ArrowLeft")
        _wait(page, "get().main?.label === 'red'")
        assert page.locator(".word[aria-pressed=true] .text").inner_text() == "red"
        page.locator("#stage-view").focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function("document.querySelectorAll('.word .here')[2].textContent !== ''")
        heat = float(page.locator(".word[aria-pressed=true] .here").inner_text())
        assert heat == pytest.approx(float(page.inner_text("[data-fact=heat] b")), abs=0.006)
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        link = page.locator(".asking a.page")
        assert link.get_attribute("href").startswith("/documents/")
        page.fill("#own-answer", "a purple disc")
        page.keyboard.press("Enter")
        page.wait_for_selector(".failed:not(:empty)")
        assert page.locator(".failed").inner_text().startswith("模型的分词器不认识 'purple'")
