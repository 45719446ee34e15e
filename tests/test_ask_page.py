"""The page of an explained answer: what it says, and what it draws in a browser."""

from __future__ import annotations

import math
import re
import tomllib
from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib import colormaps
from PIL import Image

import limelight.vision_language
from helpers.answers import NOTHING, SILENT, SINKS, TEXT, WITH_AND_WITHOUT, made
from helpers.browser import Browsed, browse, frame
from helpers.pages import Node, packed_in, read
from limelight.errors import UnknownNameError
from limelight.render.overlays import overlay, overlay_colours
from limelight.translations.languages import Language
from limelight.vision_language.page import page_html, percent

LANGUAGES: tuple[Language, ...] = ("en", "zh")

FOLDER = Path(limelight.vision_language.__file__).parent / "html"


def texts(language: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / f"{language}.toml").read_text(encoding="utf-8"))


def chips(page: Node) -> dict[str, Node]:
    """Return the buttons of words, by their text; the last of several that are alike."""
    return {chip.first("span", "text").text: chip for chip in page.all("button", "word")}


def keys(table: dict[str, Any], before: str = "") -> set[str]:
    found = set()
    for name, value in table.items():
        inside = keys(value, f"{before}{name}.") if isinstance(value, dict) else set()
        found |= inside or {before + name}
    return found


def places(table: dict[str, Any]) -> dict[str, list[str]]:
    """Return the places to be filled in of each text."""
    return {
        name: sorted(re.findall(r"\{\w+\}", str(value)))
        for name, value in table.items()
        if not isinstance(value, dict)
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_page_asks_for_nothing_and_leaves_nothing_open(language: Language) -> None:
    text = page_html(made(sinks=SINKS, photos=("chelsea", "coffee"), instead="dog"), language)
    tree = read(text)
    bare = re.sub(r"data:image/\w+;base64,[\w+/=]+", "", text)
    bare = bare.replace(tree.one("script", id="maps").text, "")
    assert not re.search(r"https?:|//\w+\.|@import|url\(|fetch|XMLHttp", bare)
    assert tree.one("html").attributes["lang"] == language
    policy = tree.one("meta", **{"http-equiv": "Content-Security-Policy"}).attributes["content"]
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    for node in tree.all():
        for attribute in ("src", "href"):
            assert node.attributes.get(attribute, "data:").startswith("data:")
        assert node.tag not in ("iframe", "object", "embed", "form", "base")
        assert node.attributes.get("alt", "some").strip()
        assert node.attributes.get("aria-label", "some").strip()
    assert not re.search(r"\bNone\b|Undefined|\{\w*\}", tree.seen)


def test_both_languages_have_the_same_texts_with_the_same_places() -> None:
    english, chinese = map(texts, LANGUAGES)
    assert keys(english) == keys(chinese)
    assert places(english) == places(chinese)
    assert places(english["sinks"]) == places(chinese["sinks"])


def test_the_words_of_the_page_are_the_answer() -> None:
    page = read(page_html(made()))
    assert page.one("h1").text == "What do you see?"
    line = page.one("div", "words")
    said = [node.text for node in line.all("span", "text")]
    assert said == [word.text for word in made().words]
    # A sign stays on the line of its word.
    groups = [
        [one.text for one in group.all("span", "text")] for group in line.all("span", "group")
    ]
    assert groups == [["A"], ["cat"], ["on"], ["a"], ["red"], ["mat", ","], ["asleep", "."]]


def test_words_without_a_space_between_them_stand_close_and_new_lines_are_kept() -> None:
    line = read(page_html(made("看 cat(dog)\n\nred"))).one("div", "words")
    close = [
        (group.first("span", "text").text, "close" in group.attributes["class"])
        for group in line.all("span", "group")
    ]
    assert close == [("看", False), ("cat", True), ("dog", False), ("red", False)]
    assert len(list(line.all("hr"))) == 1


def test_each_word_says_how_probable_it_is_and_how_much_of_it_is_the_picture() -> None:
    page = read(page_html(made()))
    cat = chips(page)["cat"]
    share = 1 - math.log(0.9) / math.log(0.01)
    assert cat.one("span", "p").text == "90%"
    assert cat.one("b").attributes["style"] == f"width: {100 * share:.1f}%"
    assert cat.attributes["aria-label"] == "cat: probability 90%, owed to the picture 98%"
    number = cat.attributes["data-word"]
    panel = page.one("div", "panel", **{"data-panel": number})
    assert [one.text for one in panel.all("data")] == ["90%", "1.0%", "98%"]
    assert "90 times as probable as without it" in panel.text
    row = list(page.one("tbody").all("tr"))[int(number)]
    assert [cell.text for cell in row.all("td")] == ["90%", "1.0%", "98%", "yes", "ok"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_that_need_no_picture_say_so_in_words_wherever_they_are(language: Language) -> None:
    page, said = read(page_html(made(), language)), texts(language)
    rows = list(page.one("tbody").all("tr"))
    for word, (with_it, without) in WITH_AND_WITHOUT.items():
        chip = chips(page)[word]
        number = chip.attributes["data-word"]
        panel = page.one("div", "panel", **{"data-panel": number})
        idle = with_it < 2 * without
        assert idle == (said["prior_note"] in panel.text), word
        assert idle == (said["needs"]["no"] in rows[int(number)].text), word
        if word != SILENT:
            assert idle == chip.attributes["aria-label"].endswith(said["told_prior"]), word
        if word.isalpha() and word != SILENT:
            assert idle == (chip.one("span", "part").text == said["marks"]["prior"]), word
    needing = said["separator"].join(["cat", "mat", SILENT])
    summary = said["summary_some"].format(count=3, total=7, words=needing)
    assert page.one("p", "summary").text == summary


def test_a_map_that_shows_nothing_says_why() -> None:
    page = read(page_html(made()))
    chip = chips(page)[SILENT]
    assert chip.one("span", "part").text == "no map"
    assert chip.attributes["aria-label"].endswith("has no map")
    panel = page.one("div", "panel", **{"data-panel": chip.attributes["data-word"]})
    assert "Nothing in the photo speaks for this word" in panel.text
    assert NOTHING.message in page.one("tbody").text


def test_words_that_were_not_asked_about_cannot_be_chosen() -> None:
    page = read(page_html(made(asked=["mat"])))
    assert list(chips(page)) == ["mat"]
    assert [node.first("span", "text").text for node in page.all("span", "unasked")] == [
        word for word in WITH_AND_WITHOUT if word != "mat"
    ]
    assert [one is None for one in packed_in(page)["words"]].count(False) == 1
    assert len(list(page.all("div", "panel", **{"data-panel": "5"}))) == 1
    assert page.one("tbody").text.count("not asked for") == 8


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_word_on_which_blurred_pictures_disagree_is_undecided(language: Language) -> None:
    answer, said = made(), texts(language)
    words = tuple(replace(word, undecided=True) for word in answer.words)
    page = read(page_html(replace(answer, words=words), language))
    parts = [one.text for one in page.one("div", "words").all("span", "part")]
    assert set(parts) <= {said["marks"]["undecided"], said["marks"]["silent"]}
    assert said["legend"]["undecided"] in page.one("ul", "legend").text
    panel = page.one("div", "panel", **{"data-panel": "1"})
    assert said["undecided_note"] in panel.text
    assert said["prior_note"] not in panel.text
    rows = list(page.one("tbody").all("tr"))
    assert all(said["needs"]["undecided"] in row.text for row in rows)
    named = said["separator"].join(dict.fromkeys(w.text for w in words if w.text.isalpha()))
    summary = said["summary_undecided"].format(total=7, words=named)
    assert page.one("p", "summary").text == summary


def test_a_page_does_not_speak_of_a_picture_that_was_not_blurred() -> None:
    page = read(page_html(made(blurred=False)))
    assert list(page.all("p", "summary")) == []
    assert list(page.one("div", "words").all("span", "part")) == [
        chips(page)[SILENT].one("span", "part")
    ]
    for text in ("owed to the picture", "Without the picture", "prior", "Needs the picture"):
        assert text not in page.seen
    assert "How probable it is without the picture was not asked." in page.seen


def test_a_word_is_compared_with_another_by_name() -> None:
    page = read(page_html(made(instead="<dog>")))
    panel = page.first("div", "panel", **{"data-panel": "1"})
    assert "with “<dog>”: +1.50 nats between the two, 4.5 times as probable." in panel.text


def test_a_caption_has_no_question_and_a_given_answer_says_so() -> None:
    caption = read(page_html(made(question="")))
    assert caption.one("h1").text == "Caption"
    assert caption.one("title").text == f"Caption: {TEXT}"
    assert "An answer that was given" not in caption.seen
    assert "An answer that was given" in read(page_html(made(given=True))).seen


def test_the_word_that_gains_most_of_the_picture_is_shown_first() -> None:
    (first,) = (
        chip for chip in chips(read(page_html(made()))).values() if "data-first" in chip.attributes
    )
    assert first.first("span", "text").text == "cat"


@pytest.mark.parametrize("subtracted", [False, True])
def test_sinks_are_outlined_where_they_are_and_told_in_words(subtracted: bool) -> None:
    answer = replace(made(sinks=SINKS, photos=("chelsea", "coffee")), subtracted=subtracted)
    page = read(page_html(answer))
    first, second = page.all("div", "picture")
    assert [one.attributes["style"] for one in first.all("i", "sink")] == [
        "left: 0.00%; top: 0.00%; width: 12.50%; height: 25.00%",
        "left: 75.00%; top: 50.00%; width: 25.00%; height: 50.00%",
    ]
    assert list(second.all("i", "sink")) == []
    told = [item.text for item in page.one("section", "note").all("li")]
    assert told == [
        "chelsea.png: 6% from the left, 12% from the top; 100% of the words look there",
        "chelsea.png: 88% from the left, 75% from the top; 88% of the words look there",
    ]
    assert ("taken out of the maps" in page.seen) == subtracted
    assert list(read(page_html(made())).all("input", id="sinks")) == []


def test_the_maps_of_the_page_are_those_of_the_words() -> None:
    answer = made(photos=("chelsea", "coffee"))
    packed = packed_in(read(page_html(answer)))
    for word, kept in zip(answer.words, packed["words"], strict=True):
        for heatmap, one in zip(word.heatmaps, kept["maps"], strict=True):
            assert (one["rows"], one["columns"]) == heatmap.shape
            heats = np.frombuffer(b64decode(one["data"]), np.uint8).reshape(heatmap.shape)
            assert np.abs(heats / 255 - heatmap).max() <= 0.5 / 255 + 1e-6


def test_the_colours_of_the_page_are_those_of_every_overlay() -> None:
    ramp = np.linspace(0, 1, 256, dtype=np.float32)[None]
    colours = overlay_colours()[:, :3].astype(float)
    opacity = overlay_colours()[:, 3:] / 255
    for grey in (0, 130, 255):
        photo = Image.new("RGB", (256, 1), (grey,) * 3)
        drawn = np.asarray(overlay(photo, ramp)).astype(float)[0]
        assert np.abs((1 - opacity) * grey + opacity * colours - drawn).max() <= 2


@pytest.mark.parametrize(
    ("photos", "rows"),
    [(1, [1]), (2, [1, 1]), (3, [1, 2]), (4, [2, 2]), (6, [2, 2, 2])],
    ids=str,
)
def test_photos_stand_in_rows_that_fill_a_screen(photos: int, rows: list[int]) -> None:
    answer = made(photos=("chelsea",) * photos, cells=((4, 6),) * photos)
    page = read(page_html(answer))
    assert [len(list(row.all("figure"))) for row in page.all("div", "row")] == rows
    names = [node.text for node in page.all("figcaption")]
    assert names == ([] if photos == 1 else [f"{n + 1}. chelsea.png" for n in range(photos)])


def test_what_model_and_user_wrote_is_text_alone() -> None:
    text = '</script><script>alert("1")</script> <img src=x onerror=alert(1)> & "quoted"'
    page = read(page_html(made(text, question=text)))
    assert page.one("h1").text == text
    assert len(list(page.all("script"))) == 2
    assert [image.attributes["alt"] for image in page.all("img")] == ["chelsea.png"]


def test_a_page_in_no_known_language() -> None:
    with pytest.raises(UnknownNameError, match=r"no language named 'fr'.*There are en and zh"):
        page_html(made(), "fr")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0%"), (1e-5, "<0.1%"), (0.0012, "0.1%"), (0.094, "9.4%"), (0.1, "10%"),
        (0.994, "99%"), (0.996, ">99%"), (1, "100%"),
    ],
)  # fmt: skip
def test_a_share_is_written_as_people_read_it(share: float, text: str) -> None:
    assert percent(share) == text


def colour(text: str) -> npt.NDArray[np.float64]:
    return np.array([int(text[at : at + 2], 16) for at in (1, 3, 5)]) / 255


def contrast(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    """Return the contrast of two colours, as WCAG 2 defines it."""

    def luminance(rgb: npt.NDArray[np.float64]) -> float:
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted([luminance(first), luminance(second)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_light_and_dark(scheme: str) -> None:
    style = (FOLDER / "answer.css").read_text(encoding="utf-8")
    light, dark = (
        dict(re.findall(r"--(\w+): (#\w{6})", part)) for part in style.split("@media")[:2]
    )
    named = {name: colour(value) for name, value in (light if scheme == "light" else dark).items()}
    pairs = [("ink", "paper"), ("ink", "card"), ("ink", "warm"), ("ink", "glow")]
    pairs += [("soft", "paper"), ("soft", "card"), ("soft", "warm"), ("accent", "paper")]
    for text, ground in pairs:
        assert contrast(named[text], named[ground]) >= 4.5, (text, ground)
    for bar in ("accent", "plain", "ink"):
        assert contrast(named[bar], named["track"]) >= 2.4, bar


# In a browser

#: Reads pages in frames: how wide they are, and what choosing and pointing do.
PROBE = (Path(__file__).parent / "helpers" / "answer_probe.html").read_text(encoding="utf-8")

LONG = " ".join(
    f"{word}{number}" for number in range(10) for word in ("one", "two", "sesquipedalian")
)

BROWSED = {
    "a photo in a telephone": (made(sinks=SINKS), "en", 400),
    "two photos on a screen": (made(photos=("chelsea", "coffee")), "zh", 1200),
    "a long answer in a telephone": (
        made(f"{TEXT} {LONG} {'x' * 90}", question=LONG, photos=("coffee",) * 3), "en", 400,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def browsed(tmp_path_factory: pytest.TempPathFactory) -> Browsed:
    frames = [
        frame(page_html(answer, "zh" if language == "zh" else "en"), width)
        for answer, language, width in BROWSED.values()
    ]
    return browse(tmp_path_factory.mktemp("browser"), frames, PROBE)


@pytest.fixture(params=BROWSED)
def told(browsed: Browsed, request: pytest.FixtureRequest) -> tuple[Any, ...]:
    """What a browser tells of a page, with the answer and how wide its frame is."""
    answer, _, width = BROWSED[request.param]
    return browsed.report[list(BROWSED).index(request.param)], answer, width


def test_a_browser_has_nothing_to_complain_of_and_asks_for_nothing(browsed: Browsed) -> None:
    assert browsed.console == []
    assert browsed.asked == set()
    assert len(browsed.report) == len(BROWSED)


def test_a_page_is_no_wider_than_its_window(told: tuple[Any, ...]) -> None:
    wide, inside = told[0]["wide"]
    assert wide <= inside <= told[2]


def test_one_word_is_chosen_and_its_numbers_are_seen(told: tuple[Any, ...]) -> None:
    seen, answer, _ = told
    assert seen["begun"]["pressed"] == seen["begun"]["stops"] == [1]
    assert seen["clicked"]["pressed"] == seen["clicked"]["stops"] == [5]
    assert seen["clicked"]["panels"] == ["5"]
    assert seen["clicked"]["here"].startswith(answer.words[5].text)


def test_keys_walk_over_the_words_and_stay_among_them(told: tuple[Any, ...]) -> None:
    seen, answer, _ = told
    last = len(answer.words) - 1
    right, end = seen["keys"]["ArrowRight"]
    left, begin = seen["keys"]["ArrowLeft"]
    assert [right, left, seen["keys"]["Home"], begin] == [6, 5, [0], 0]
    assert [seen["keys"]["End"], end] == [[last], last]
    assert seen["focused"][0] == seen["focused"][1]
    assert seen["keys"]["x"] == seen["keys"]["ArrowDown"]
    if last > 20:  # there are several lines
        (up,), (down,) = seen["keys"]["ArrowUp"], seen["keys"]["ArrowDown"]
        assert 0 < up < last
        assert up < down <= last


def test_pointing_at_a_word_shows_it_for_as_long_as_it_lasts(told: tuple[Any, ...]) -> None:
    seen = told[0]
    assert (seen["previewed"]["pressed"], seen["previewed"]["panels"]) == ([1], ["2"])
    assert (seen["left"]["pressed"], seen["left"]["panels"]) == ([1], ["1"])


def test_the_map_of_a_word_lies_over_the_photo_in_limelights_colours(told: tuple[Any, ...]) -> None:
    seen, answer, _ = told
    assert len(seen["clicked"]["pixels"]) == len(answer.photos)
    for canvas, heatmap in zip(seen["clicked"]["pixels"], answer.words[5].heatmaps, strict=True):
        drawn = np.array(canvas["cells"])
        assert canvas["coloured"]
        assert drawn.shape == (*heatmap.shape, 4)
        for row, column in np.ndindex(heatmap.shape):
            # A pixel beside the centre of a cell is at most a pixel away from it.
            pixel, heat = drawn[row, column], float(heatmap[row, column])
            opacity = 255 * 0.75 * min(heat / 0.6, 1)
            assert abs(float(pixel[3]) - opacity) <= 8, (row, column)
            if heat > 0.4:
                tone = np.array(colormaps["inferno"](heat)[:3]) * 255
                assert np.abs(pixel[:3] - tone).max() <= 14, (row, column)


def test_pointing_at_the_photo_lights_up_the_words_that_looked_there(told: tuple[Any, ...]) -> None:
    seen, answer, _ = told
    points = [(0.1, 0.1), (0.5, 0.6), (0.99, 0.99), (0.9999, 0.0)]
    for (x, y), lit in zip(points, seen["pointed"], strict=True):
        heats = []
        for word in answer.words:
            rows, columns = word.heatmaps[0].shape
            heats.append(float(word.heatmaps[0][int(y * rows), int(x * columns)]))
        for number, (heat, shown) in enumerate(zip(heats, lit["lit"], strict=True)):
            assert shown == pytest.approx(heat if number in lit["looked"] else 0, abs=0.003)
        # Heats are kept in 256 steps.
        assert {n for n, heat in enumerate(heats) if heat > 0.153} <= set(lit["looked"])
        assert {n for n, heat in enumerate(heats) if heat > 0.147} >= set(lit["looked"])
        hottest = max(range(len(heats)), key=lambda number: heats[number])
        assert re.search(
            rf"[:\uff1a] ?{re.escape(answer.words[hottest].text)} {100 * heats[hottest]:.0f}%",
            lit["here"],
        )
        assert (lit["live"], lit["spot"]) == ("off", "none")


def test_a_tap_and_the_arrow_keys_point_as_well(told: tuple[Any, ...]) -> None:
    seen = told[0]
    assert seen["away"]["looked"] == []
    assert set(seen["away"]["lit"]) == {0}
    assert seen["tapped"]["lit"] == seen["pointed"][1]["lit"]
    assert (seen["tapped"]["spot"], seen["tapped"]["live"]) == ("block", "polite")
    assert (seen["keyed"]["spot"], seen["keyed"]["live"]) == ("block", "polite")


def test_escape_leaves_the_photo_as_it_is(told: tuple[Any, ...]) -> None:
    escaped = told[0]["escaped"]
    assert (escaped["pressed"], escaped["panels"], escaped["looked"]) == ([], ["none"], [])
    assert escaped["stops"] == [0]
    assert escaped["spot"] == "none"
    assert not escaped["coloured"]
    assert not told[0]["faded"]


def test_nothing_moves_when_a_word_is_chosen_or_the_photo_pointed_at(told: tuple[Any, ...]) -> None:
    begun, *later = told[0]["layouts"]
    assert len(later) == 3  # one with a word that has more to say than the first
    for layout in later:
        assert np.abs(np.array(layout) - np.array(begun)).max() < 0.01


def test_sinks_can_be_hidden(told: tuple[Any, ...]) -> None:
    count = sum(map(len, told[1].sinks))
    assert told[0]["sinks"] == [count, 0]
