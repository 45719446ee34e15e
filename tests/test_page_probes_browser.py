"""The panels Probe and Trust in a browser: brush, cell, quick check, faithfulness, blank maps."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest

from helpers.page_server import Watched, browser, opened, served
from helpers.probed_networks import HEIGHT, WIDTH, networks, photo

pytest.importorskip("playwright.sync_api")

#: What a key of the texts of these panels looks like, where its words are missing.
_KEY = re.compile(r"\b(probe|cell|trust|metrics|instead|view)\.[a-z]")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served(networks=networks()) as address:
        yield address


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as chromium:
        yield chromium


@pytest.fixture
def watched(chromium: Any, address: str) -> Iterator[Watched]:
    with opened(chromium, address) as watched:
        _choose(watched.page, 0)
        yield watched


def _choose(page: Any, seed: int) -> None:
    """Take a photo into the tray; the first is shown."""
    buffer = BytesIO()
    photo(seed).save(buffer, "PNG")
    file = {"name": f"photo{seed}.png", "mimeType": "image/png", "buffer": buffer.getvalue()}
    page.set_input_files("#files", file)
    page.locator(f".tray li >> nth={seed}").wait_for()
    page.locator("#targets .chip").first.wait_for()


def _chip(page: Any, name: str) -> Any:
    """The button of one of the first answers."""
    return page.locator("#targets .chip:visible", has_text=re.compile(f"^{name}"))


def _on_screen(page: Any, x: float, y: float) -> tuple[float, float]:
    """Where a point of the photo, in its pixels, is on the screen."""
    view = page.locator("#stage-view").bounding_box()
    scale = min(view["width"] / WIDTH, view["height"] / HEIGHT)
    left = view["x"] + (view["width"] - WIDTH * scale) / 2
    top = view["y"] + (view["height"] - HEIGHT * scale) / 2
    return left + x * scale, top + y * scale


def _drag(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.locator("#stage-view").scroll_into_view_if_needed()
    page.mouse.move(*_on_screen(page, *start))
    page.mouse.down()
    page.mouse.move(*_on_screen(page, *end), steps=8)
    page.mouse.up()


def _painted(request: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    rows, columns = request["raster"]
    bits = np.frombuffer(b64decode(request["strokes"]), dtype=np.uint8).reshape(rows, -1)
    return np.unpackbits(bits, axis=1)[:, :columns]


def _asks(page: Any, what: str, act: Any, target: int | None = None) -> dict[str, Any]:
    """Do something, and return what the page then asked the server, of a class if one is named."""

    def is_it(response: Any) -> bool:
        if not response.url.split("?")[0].endswith(what):
            return False
        asked = json.loads(response.request.post_data)
        return target is None or asked["target"] == {"class": target}

    with page.expect_response(is_it) as told:
        act()
    asked: dict[str, Any] = json.loads(told.value.request.post_data)
    return {**asked, "url": told.value.url}


def _answer(asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Ask the server the same as the page did, and return the lines of its answer."""
    body = {key: value for key, value in asked.items() if key != "url"}
    answer = httpx.post(asked["url"], json={**body, "replaces": ""}, timeout=60)
    return [json.loads(line) for line in answer.text.splitlines()]


def _probes(page: Any, act: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Do something to the paint, and return the last request and answer once all are there."""
    answers = list[Any]()

    def note(response: Any) -> None:
        if response.url.split("?")[0].endswith("/probe"):
            answers.append(response)

    page.on("response", note)
    act()
    page.locator(".probe[aria-busy=false]").wait_for()
    page.remove_listener("response", note)
    return json.loads(answers[-1].request.post_data), answers[-1].json()


def test_the_score_of_what_is_left_is_shown_while_a_part_is_painted_over(watched: Watched) -> None:
    page = watched.page
    page.click("button[data-tool=brush]")
    asked, told = _probes(page, lambda: _drag(page, (40, 40), (80, 40)))
    shares = [_percent(told[when]["probability"]) for when in ("before", "after")]
    assert page.locator(".probe-live").inner_text().split(" ")[::2] == shares
    painted = _painted(asked)
    rows, columns = painted.shape
    assert painted[rows // 2, columns * 40 // WIDTH : columns * 80 // WIDTH].all()
    assert not painted[:, : columns // 8].any()
    assert asked["fill"] == "blurred"
    said = page.locator("#panel-probe .said").first.inner_text()
    assert told["label"] in said
    rows = page.locator(".probe-answers li")
    assert rows.count() == len(told["moved"]) == 3
    for row in told["moved"]:
        shown = page.locator(f".probe-answers [data-index='{row['index']}'] b").inner_text()
        assert shown == _percent(row["after"])


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def test_paint_can_be_erased_taken_back_and_cleared(watched: Watched) -> None:
    page = watched.page
    page.click("#probe-paint")
    assert page.locator("button[data-tool=brush]").get_attribute("aria-pressed") == "true"
    first, _ = _probes(page, lambda: _drag(page, (40, 30), (80, 30)))
    page.click("#probe-erase")
    erased, _ = _probes(page, lambda: _drag(page, (60, 20), (60, 45)))
    back, _ = _probes(page, lambda: page.click("#probe-undo"))
    counts = [int(_painted(each).sum()) for each in (first, erased, back)]
    assert 0 < counts[1] < counts[2]
    page.click("#probe-clear")
    page.locator(".probed").wait_for(state="hidden")
    assert page.locator("#probe-clear").is_disabled()
    again, _ = _probes(page, lambda: page.click("#probe-undo"))
    assert (_painted(again) == _painted(back)).all()


def test_another_photo_of_the_tray_can_be_painted_with(watched: Watched) -> None:
    page = watched.page
    _choose(page, 1)
    page.click("button[data-tool=brush]")
    _, blurred = _probes(page, lambda: _drag(page, (40, 30), (80, 30)))
    options = page.locator("#probe-fill option").all_inner_texts()
    assert options == ["blur", "middle grey", "the photo photo0.png"]
    asked, told = _probes(page, lambda: page.select_option("#probe-fill", label=options[2]))
    assert asked["fill"] == "photo"
    assert told["after"]["score"] not in (told["before"]["score"], blurred["after"]["score"])


def test_the_brush_works_by_keyboard_alone(watched: Watched) -> None:
    page = watched.page
    page.locator("button[data-tool=brush]").focus()
    page.keyboard.press("Enter")
    page.locator("#stage-view").focus()
    dab, _ = _probes(page, lambda: page.keyboard.press("Space"))

    def paint_along() -> None:
        page.keyboard.press("Enter")
        for _ in range(3):
            page.keyboard.press("Shift+ArrowRight")
        page.keyboard.press("Enter")

    _probes(page, paint_along)
    line, _ = _probes(page, lambda: page.keyboard.press("Space"))
    one, more = _painted(dab), _painted(line)
    assert one.any()
    assert (more >= one).all()
    assert more.any(0).sum() > one.any(0).sum()
    assert more.any(1).sum() == one.any(1).sum()
    page.locator("#stage-view").press("ArrowDown")  # the pen is up: nothing is painted
    size = float(page.locator("#probe-size").input_value())
    page.locator("#stage-view").press("]")
    assert float(page.locator("#probe-size").input_value()) > size


def test_a_click_shows_the_cell_its_channels_and_where_it_looks(watched: Watched) -> None:
    page = watched.page
    page.locator("#stage-view").scroll_into_view_if_needed()
    at = _on_screen(page, 2 * (14 + 10), 2 * (4 + 22))
    asked = _asks(page, "/cell", lambda: page.mouse.click(*at))
    first, last = _answer(asked)
    assert asked["at"] == pytest.approx([48, 52], abs=1)
    cell = first["cell"]
    assert cell["cell"] == [5, 2]
    page.locator(".looks", has_text="around").wait_for()
    said = page.locator(".cell .said").inner_text()
    assert re.fullmatch(r"Row 6, column 3 of 8 . 8 cells of second\.", said)
    rows = page.locator(".channels tbody tr")
    assert rows.count() == cell["count"] == 6
    assert [row.locator("th").inner_text() for row in rows.all()] == [
        str(each["channel"]) for each in cell["channels"]
    ]
    x, y = (round(each) for each in last["looks"]["centre"])
    assert f"around {x}, {y}" in page.locator(".looks").inner_text()


def test_enter_at_the_crosshair_shows_the_cell_and_a_new_class_reads_it_again(
    watched: Watched,
) -> None:
    page = watched.page
    page.locator("#stage-view").focus()
    page.keyboard.press("ArrowRight")
    first = _asks(page, "/cell", lambda: page.keyboard.press("Enter"))
    again = _asks(page, "/cell", _chip(page, "b").click)
    assert again["at"] == first["at"]
    assert again["target"] != first["target"]


def test_a_point_outside_of_what_was_seen_is_told_in_a_sentence(watched: Watched) -> None:
    page = watched.page
    page.locator("#stage-view").scroll_into_view_if_needed()
    page.mouse.click(*_on_screen(page, 4, 40))
    told = page.locator(".cell .note", has_text="The network did not see the point")
    told.wait_for()
    assert page.locator(".channels").count() == 0


def test_the_quick_check_stands_beside_chance_and_the_centre(watched: Watched) -> None:
    page = watched.page
    page.click("#tab-trust")
    (told,) = _answer(_asks(page, "/check", _chip(page, "b").click, target=1))
    page.locator(".trust-check .bars", has_text=_percent(told["chance"]["mean"])).wait_for()
    numbers = page.locator(".trust-check .bars b")
    assert told["measured"] == "probability"
    expected = [told["own"], told["chance"]["mean"], told["centre"]]
    assert numbers.all_inner_texts() == [_percent(share) for share in expected]
    assert page.locator(f".trust-check .verdict-{told['verdict']}").is_visible()
    assert page.locator(".state.ok").is_visible()


def test_the_faithfulness_table_comes_on_request_and_for_the_metrics_that_are_chosen(
    watched: Watched,
) -> None:
    page = watched.page
    page.click("#tab-trust")
    page.click(".metric-choice summary")
    for name in ("deletion", "road"):
        page.uncheck(f".metric-choice input[value={name}]")
    page.check(".metric-choice input[value=sparseness]")
    asked = _asks(page, "/faithfulness", lambda: page.click("#measure"))
    assert asked["metrics"] == ["insertion", "sparseness"]
    page.locator(".faithfulness .said").wait_for()
    done = _answer(asked)[-1]["done"]
    shown = [row.locator("td.number").all_inner_texts() for row in page.locator("tbody tr").all()]
    rows = [[row[key] for key in ("own", "random", "centre")] for row in done["rows"]]
    assert [[float(each.replace("\N{MINUS SIGN}", "-")) for each in row] for row in shown] == [
        pytest.approx(row, abs=6e-4) for row in rows
    ]
    assert f"In {done['won']} of 1 measures" in page.locator(".faithfulness .said").inner_text()
    # Another map has other figures: those of this one go.
    _chip(page, "b").click()
    page.locator(".faithfulness table").wait_for(state="detached")


def test_measuring_can_be_stopped(watched: Watched) -> None:
    page = watched.page
    page.route("**/faithfulness*", lambda _route: None)  # it is never answered
    page.click("#tab-trust")
    page.click("#measure:enabled")
    page.locator(".measure-controls progress").wait_for()
    page.click("#stop-measuring")
    page.locator("#measure:enabled").wait_for()
    assert page.locator(".measure-controls progress").count() == 0
    assert page.locator(".note.error").count() == 0


def test_a_blank_map_comes_with_steps_that_lead_to_one_that_shows_something(
    watched: Watched,
) -> None:
    page = watched.page
    page.click("#tab-trust")
    # Nothing speaks for class c, wherever it is among the answers.
    _chip(page, "c").click()
    page.locator(".state.blank").wait_for()
    step = page.locator(".trust-steps button[data-action=class]")
    assert "its map shows something" in step.inner_text()
    page.locator(".trust-steps button[data-action=signed]").click()
    page.locator(".control input:checked, .check input:checked").first.wait_for()
    step.click()
    page.locator(".state.ok").wait_for()
    assert page.locator(".trust-steps button").count() == 0


def test_the_panels_fit_a_narrow_screen_and_are_all_in_the_readers_language(
    chromium: Any, address: str
) -> None:
    size = {"width": 400, "height": 800}
    with opened(chromium, address, viewport=size, locale="zh-CN") as watched:
        page = watched.page
        _choose(page, 0)
        page.locator("#stage-view").scroll_into_view_if_needed()
        page.mouse.click(*_on_screen(page, 60, 40))
        page.locator(".channels").wait_for()
        page.click("button[data-tool=brush]")
        _probes(page, lambda: _drag(page, (40, 40), (80, 40)))
        _has_its_words(page, "#panel-probe", is_chinese=True)
        page.click("#tab-trust")
        page.click("#measure:enabled")
        page.locator(".faithfulness .said").wait_for()
        page.click(".metric-choice summary")
        _has_its_words(page, "#panel-trust", is_chinese=True)
        page.click("#language")
        page.locator("#panel-trust h2", has_text="Quick check").wait_for()
        page.locator(".state.ok", has_text="evidence").wait_for()
        page.locator(".metric-choice label", has_text="sparse").first.wait_for(state="attached")
        _has_its_words(page, "#panel-trust", is_chinese=False)


def _has_its_words(page: Any, panel: str, *, is_chinese: bool) -> None:
    text = page.locator(panel).inner_text()
    assert not _KEY.search(text), text
    assert "{" not in text
    chinese = len(re.findall("[\u4e00-\u9fff]", text))
    assert (chinese > 100) if is_chinese else chinese == 0, text
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
