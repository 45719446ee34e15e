"""The page in a browser: photos go in, maps are shown, pointed at, compared and cut."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import limelight
from helpers.page_server import Watched, browser, opened, served
from limelight.photos.samples import find_sample
from limelight.web.settings import Limits, PageSettings

pytest.importorskip("skimage")

#: A screen on which the strips are far down, so that they are not made.
PHONE = {"width": 400, "height": 800}

LIMITS = Limits(upload_bytes=400_000, pixels=300_000)

#: Classes of the embedded network.
TIGER_CAT, EGYPTIAN_CAT, VOLCANO = 282, 285, 980


@pytest.fixture(scope="module")
def network() -> Any:
    return limelight.load_model()


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.open(find_sample("chelsea")).convert("RGB")


@pytest.fixture(scope="module")
def address(network: Any) -> Iterator[str]:
    with served(PageSettings(port=0, limits=LIMITS), {network.name: network}) as url:
        yield url


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def shared(chromium: Any, address: str) -> Iterator[Watched]:
    """A page with the cat, which tests use one after the other."""
    with opened(chromium, address) as watched:
        watched.page.click("[data-sample=chelsea]")
        yield watched


@pytest.fixture
def page(shared: Watched) -> Iterator[Any]:
    """The shared page, as it was when the cat had just been shown."""
    page = shared.page
    choose_class(page, "tiger cat")
    page.locator("[data-question=why]").click()
    page.locator("[data-key='method:gradcam'] .tile").click()
    page.locator("[data-key='layer:bn2'] .tile").click()
    page.select_option("#compare", "")
    for box in ("#signed", "#threshold-on"):
        page.uncheck(box)
    page.locator("button[data-tool=point]").click()
    explained(page, "tiger cat")
    yield page
    assert shared.complaints == shared.refused == shared.elsewhere == []


def expect(locator: Any) -> Any:
    """Return what waits until something holds of an element, for long on a busy machine."""
    told = pytest.importorskip("playwright.sync_api").expect
    told.set_options(timeout=20_000)
    return told(locator)


def choose_class(page: Any, name: str) -> None:
    page.fill("#class", name)
    page.locator("#class").press("Enter")
    explained(page, name)


def explained(page: Any, what: str) -> None:
    """Wait until the map of something is shown."""
    expect(page.locator(".score")).to_contain_text(f"“{what}”")
    expect(page.locator(".working")).to_be_hidden()


def pressed(page: Any, key: str) -> None:
    """Wait until the map that is shown is that of a tile."""
    expect(page.locator(f"[data-key='{key}'] .tile")).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".working")).to_be_hidden()


def point(page: Any, *keys: str) -> tuple[int, int]:
    """Move the crosshair by keys; return where it is."""
    view = page.locator("#stage-view")
    for key in keys:
        view.press(key)
    x, y = fact(page, "place").split(", ")
    return int(x), int(y)


def fact(page: Any, name: str) -> str:
    """Return what the page says of the point under the crosshair."""
    text: str = page.locator(f".values [data-fact={name}] b").inner_text()
    return text.replace("\u2212", "-")


def picture(page: Any) -> str:
    """Return what the canvas shows."""
    pixels: str = page.evaluate("document.querySelector('.view .picture').toDataURL()")
    return pixels


def at(heatmap: torch.Tensor, network: Any, photo: Image.Image, x: float, y: float) -> float:
    """Return the value of a map of the input at a pixel of the photo."""
    left, top, right, bottom = network.preprocess.crop(photo).box
    rows, columns = heatmap.shape
    row, column = (y - top) / (bottom - top) * rows, (x - left) / (right - left) * columns
    return float(heatmap[int(row), int(column)])


def test_an_uploaded_photo_shows_its_five_most_probable_classes(
    chromium: Any, address: str, network: Any, photo: Image.Image
) -> None:
    with opened(chromium, address, viewport=PHONE) as watched:
        page = watched.page
        page.set_input_files("#files", find_sample("chelsea"))
        explained(page, "tiger cat")
        shown = page.locator("#answers button").all_inner_texts()
        expect(page.locator(".tray li")).to_have_count(1)
    with torch.inference_mode():
        probable = network.model(network.images(photo)).softmax(1)[0].topk(5)
    pairs = zip(probable.values.tolist(), probable.indices.tolist(), strict=True)
    assert [text.split("\n") for text in shown] == [
        [network.classes[index], f"{100 * probability:.1f}%"] for probability, index in pairs
    ]


def test_the_crosshair_tells_the_heat_that_limelight_computes(
    page: Any, network: Any, photo: Image.Image
) -> None:
    heatmap = limelight.explain(network.model, network.images(photo), target=TIGER_CAT).heatmap[0]
    raw = limelight.explain(network.model, network.images(photo), target=TIGER_CAT).raw[0]
    for keys in (["ArrowDown"], ["Shift+ArrowLeft"] * 2, ["Shift+ArrowDown", "ArrowRight"]):
        x, y = point(page, *keys)
        assert float(fact(page, "heat")) == pytest.approx(
            at(heatmap, network, photo, x, y), abs=6e-4
        )
        assert raw.min() <= float(fact(page, "raw")) <= raw.max() * 1.001
        red, green, blue = map(int, page.locator(".values .colour b").inner_text().split())
        # The page shows the photo as WebP, which loses a little.
        assert np.abs(np.array([red, green, blue]) - np.array(photo.getpixel((x, y)))).max() < 40
    tile = page.locator("[data-key='method:gradcam'] .value")
    expect(tile).not_to_be_empty()
    assert float(tile.inner_text()) == pytest.approx(float(fact(page, "heat")), abs=0.05)
    point(page, *["Shift+ArrowLeft"] * 12)
    assert "did not see this" in page.locator(".values").inner_text()


def test_the_map_of_another_class_method_and_layer_is_that_of_limelight(
    page: Any, network: Any, photo: Image.Image
) -> None:
    choose_class(page, "volcano")
    page.locator("[data-key='method:layercam'] .tile").click()
    pressed(page, "method:layercam")
    page.locator("[data-key='layer:blocks.4'] .tile").click()
    pressed(page, "layer:blocks.4")
    options: dict[str, Any] = {"method": "layercam", "layer": "blocks.4"}
    expected = limelight.explain(
        network.model, network.images(photo), target=VOLCANO, **options
    ).heatmap[0]
    page.locator("#stage-view").press("Escape")  # the arrows begin at the centre
    for keys in (["ArrowRight"], ["Shift+ArrowDown"] * 2, ["Shift+ArrowRight"]):
        x, y = point(page, *keys)
        assert float(fact(page, "heat")) == pytest.approx(
            at(expected, network, photo, x, y), abs=6e-4
        )


def test_two_classes_are_swiped_each_with_its_own_map(
    page: Any, network: Any, photo: Image.Image
) -> None:
    page.locator("#stage-view").press("Escape")
    alone = picture(page)
    page.select_option("#compare", "class")
    expect(page.locator(".side.left")).to_have_text("tiger cat")
    expect(page.locator(".side.right")).to_have_text("Egyptian cat")
    heatmap = limelight.explain(network.model, network.images(photo), target=EGYPTIAN_CAT).heatmap[
        0
    ]
    x, y = point(page, "ArrowDown")
    assert float(fact(page, "heat-other")) == pytest.approx(
        at(heatmap, network, photo, x, y), abs=6e-4
    )
    handle = page.locator(".swipe")
    handle.press("End")
    expect(handle).to_have_attribute("aria-valuenow", "100")
    assert picture(page) == alone
    handle.press("Home")
    expect(handle).to_have_attribute("aria-valuenow", "0")
    other = picture(page)
    assert other != alone
    page.select_option("#compare", "")
    choose_class(page, "Egyptian cat")
    assert picture(page) == other


def test_a_threshold_turns_heat_into_regions(page: Any, network: Any, photo: Image.Image) -> None:
    from scipy.ndimage import label

    page.check("#threshold-on")
    page.fill("#threshold", "0.35")
    told = page.locator(".values [data-fact=regions]").inner_text()
    count, share = re.findall(r"[\d.]+", told)
    heatmap = limelight.explain(network.model, network.images(photo), target=TIGER_CAT).heatmap[0]
    hot = heatmap.numpy() >= 0.35
    left, top, right, bottom = network.preprocess.crop(photo).box
    seen = (right - left) * (bottom - top) / (photo.width * photo.height)
    assert int(count) == label(hot)[1]
    assert float(share) == pytest.approx(100 * hot.mean() * seen, abs=0.1)
    mask = picture(page)
    page.locator("[data-shape=boxes]").click()
    assert picture(page) != mask


def test_a_box_tells_how_much_heat_it_holds(page: Any, network: Any, photo: Image.Image) -> None:
    page.locator("button[data-tool=box]").click()
    page.locator("#stage-view").press("Escape")
    first = point(page, "ArrowDown", "Enter")
    second = point(page, *["Shift+ArrowLeft"] * 3, *["Shift+ArrowDown"] * 2, "Enter")
    told = page.locator(".region").inner_text()
    heatmap = limelight.explain(network.model, network.images(photo), target=TIGER_CAT).heatmap[0]
    left, top, right, bottom = network.preprocess.crop(photo).box
    x = left + (np.arange(224) + 0.5) / 224 * (right - left)
    y = top + (np.arange(224) + 0.5) / 224 * (bottom - top)
    across = (x >= second[0]) & (x < first[0])
    down = (y >= first[1]) & (y < second[1])
    inside = float(heatmap.numpy()[np.ix_(down, across)].sum() / heatmap.sum())
    assert float(re.findall(r"[\d.]+", told)[0]) == pytest.approx(100 * inside, abs=0.1)
    page.locator("#stage-view").press("Escape")
    expect(page.locator(".region")).to_be_empty()


def test_a_map_that_shows_nothing_says_so_and_offers_the_next_step(page: Any) -> None:
    page.locator("[data-question=against]").click()
    banner = page.locator(".banner")
    expect(banner).to_contain_text("Nothing speaks for this.")
    plain = picture(page)
    banner.get_by_text("Show signed").click()
    expect(page.locator("#signed")).to_be_checked()
    assert picture(page) != plain
    banner.get_by_text("Explain Egyptian cat").click()
    expect(banner).to_be_hidden()
    explained(page, "Egyptian cat")


def test_a_slow_method_runs_when_asked(page: Any) -> None:
    tile = page.locator("[data-key='method:reciprocam']")
    expect(tile).to_have_class(re.compile("missing"))
    tile.locator(".run").click()
    expect(tile).not_to_have_class(re.compile("missing"))
    expect(page.locator(".cannot dt", has_text="rollout")).to_have_count(1)


def test_what_is_no_photo_or_too_large_is_refused_in_a_sentence(
    chromium: Any, address: str, tmp_path: Path
) -> None:
    wrong, huge, wide = (tmp_path / name for name in ("notes.png", "huge.png", "wide.png"))
    wrong.write_text("These are notes, and no picture.")
    huge.write_bytes(bytes(LIMITS.upload_bytes + 1))
    Image.new("L", (1000, 301)).save(wide)
    with opened(chromium, address, viewport=PHONE) as watched:
        page, notice = watched.page, watched.page.locator("#notice")
        page.set_input_files("#files", huge)
        expect(notice).to_contain_text("huge.png has 0.4 MB")
        page.set_input_files("#files", wide)
        expect(notice).to_contain_text("wide.png has 0.3 million pixels")
        assert watched.refused == []
        page.set_input_files("#files", wrong)
        expect(notice).to_contain_text("'notes.png' is not a picture that can be read")
        assert watched.refused == ["422 /api/photos"]
        watched.refused.clear()
        page.set_input_files("#files", find_sample("chelsea"))
        explained(page, "tiger cat")
        expect(notice).to_be_hidden()


#: Drops or pastes a file on the page, as the system would.
HAND_OVER = """([kind, code, name]) => {
  const bytes = Uint8Array.from(atob(code), (letter) => letter.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type: "image/png" }));
  const options = { bubbles: true, cancelable: true };
  document.body.dispatchEvent(
    kind === "paste"
      ? new ClipboardEvent("paste", { clipboardData: data, ...options })
      : new DragEvent(kind, { dataTransfer: data, ...options })
  );
}"""


def test_photos_are_dropped_pasted_taken_from_a_folder_and_by_the_camera(
    chromium: Any, address: str, tmp_path: Path
) -> None:
    code = b64encode(find_sample("chelsea").read_bytes()).decode()
    (tmp_path / "notes.txt").write_text("no photo")
    for number in range(8):
        Image.new("RGB", (32, 32), (20 * number, 90, 30)).save(tmp_path / f"{number}.png")
    with opened(chromium, address, viewport=PHONE) as watched:
        page, tray = watched.page, watched.page.locator(".tray li")
        page.evaluate(HAND_OVER, ["drop", code, "dropped.png"])
        explained(page, "tiger cat")
        page.evaluate(HAND_OVER, ["paste", code, "pasted.png"])
        expect(page.locator(".thumb[aria-label='pasted.png']")).to_have_attribute(
            "aria-pressed", "true"
        )
        page.set_input_files("#folder", tmp_path)
        expect(tray).to_have_count(10)
        page.locator(".ways button").nth(2).click()
        page.locator("dialog .primary:enabled").click()
        expect(tray).to_have_count(11)
        expect(page.locator(".thumb[aria-pressed=true]")).to_have_attribute(
            "aria-label", re.compile("camera-")
        )


def test_two_users_at_the_same_time_see_their_own_photos(chromium: Any, address: str) -> None:
    options = {"viewport": PHONE}
    with (
        opened(chromium, address, **options) as one,
        opened(chromium, address, locale="zh-CN", **options) as other,
    ):
        one.page.click("[data-sample=chelsea]")
        other.page.click("[data-sample=coffee]")
        explained(one.page, "tiger cat")
        explained(other.page, "espresso")
        choose_class(other.page, "cup")
        choose_class(one.page, "lynx")
        for watched in (one, other):
            expect(watched.page.locator(".tray li")).to_have_count(1)
        assert "解释什么" in other.page.locator("#targets").inner_text()


def test_a_map_of_another_class_is_reached_by_keyboard_alone(chromium: Any, address: str) -> None:
    with opened(chromium, address) as watched:
        page = watched.page
        keys = page.keyboard
        reach(page, "[data-sample=coffee]")
        keys.press("Enter")
        explained(page, "espresso")
        reach(page, "#class")
        keys.type("coffee mug")
        keys.press("Enter")
        explained(page, "coffee mug")
        reach(page, "[data-key='method:layercam'] .tile")
        keys.press("Enter")
        pressed(page, "method:layercam")
        reach(page, "#stage-view", "Shift+Tab")
        keys.press("ArrowRight")
        assert 0 <= float(fact(page, "heat")) <= 1


def reach(page: Any, selector: str, key: str = "Tab") -> None:
    """Press a key until an element has the focus."""
    wanted = page.locator(selector).element_handle()
    for _ in range(120):
        if page.evaluate("wanted => document.activeElement === wanted", wanted):
            return
        page.keyboard.press(key)
    pytest.fail(f"{selector} is not reached by {key}")


def test_the_page_fits_a_telephone_in_both_languages(chromium: Any, address: str) -> None:
    with opened(chromium, address, viewport=PHONE) as watched:
        page = watched.page
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        page.click("[data-sample=chelsea]")
        explained(page, "tiger cat")
        page.select_option("#compare", "method")
        page.check("#threshold-on")
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        page.click("#language")
        expect(page.locator("#targets h2").first).to_have_text("解释什么")
        page.locator("[data-question=against]").click()
        expect(page.locator(".banner strong")).to_have_text("没有任何部分支持该类别。")
        assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_a_photo_that_is_not_held_any_more_is_sent_again(chromium: Any, address: str) -> None:
    with opened(chromium, address, viewport=PHONE) as watched:
        page = watched.page
        with page.expect_response("**/maps*") as answer:
            page.set_input_files("#files", find_sample("chelsea"))
        explained(page, "tiger cat")
        held = answer.value.url.split("/maps")[0]
        assert page.request.delete(held).status == 204
        choose_class(page, "lynx")
        assert {line.split(" ")[0] for line in watched.refused} == {"410"}
        watched.refused.clear()
