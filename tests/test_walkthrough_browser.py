"""A walkthrough's page in a browser, where there is one."""

from __future__ import annotations

import math
import re

import pytest

from helpers.browser import Browsed, browse
from helpers.page_cases import case, page
from helpers.page_truth import laid_out
from helpers.pages import packed_in, read
from limelight.steps.page_numbers import readable

#: Reads pages in frames 400 pixels wide: how wide they are, what pointing and the table show.
PROBE = """
<script>
addEventListener("load", () => {
  const report = [];
  for (const frame of document.querySelectorAll("iframe")) {
    const page = frame.contentDocument, view = frame.contentWindow, told = {};
    const root = page.documentElement;
    told.wide = [root.scrollWidth, root.clientWidth];
    told.pointed = {};
    const pointed = (figure, x, y) => {
      const cells = figure.querySelector(".cells");
      cells.scrollIntoView();
      const box = cells.getBoundingClientRect();
      const at = { clientX: box.left + x * box.width, clientY: box.top + y * box.height };
      cells.dispatchEvent(new view.PointerEvent("pointermove", { bubbles: true, ...at }));
      return figure.querySelector("output").textContent;
    };
    for (const figure of page.querySelectorAll(".map")) {
      const corner = pointed(figure, 0.99, 0.99);
      const text = pointed(figure, 0.4, 0.6);
      const others = [...page.querySelectorAll(".map")];
      told.pointed[figure.dataset.map] = {
        text, corner,
        marked: others.filter((one) => one.querySelector(".mark").style.display === "block").length,
        linked: others.filter((one) => one.dataset.grid === figure.dataset.grid).length,
        written: others.filter((one) => one.querySelector("output").textContent).length,
      };
    }
    const first = page.querySelector(".map");
    const press = (key) => first.dispatchEvent(new view.KeyboardEvent("keydown", { key }));
    const keys = ["ArrowUp", "ArrowLeft", "x", "ArrowDown", "ArrowRight", "ArrowRight"];
    told.keys = keys.map((key) => {
      press(key);
      return first.querySelector("output").textContent;
    });
    const all = page.getElementById("all");
    all.open = true;
    all.dispatchEvent(new view.Event("toggle"));
    told.table = [...all.querySelectorAll("tbody tr")].map(
      (row) => [...row.cells].map((cell) => cell.textContent)
    );
    report.push(told);
  }
  const out = document.createElement("pre");
  out.id = "report";
  out.textContent = JSON.stringify(report);
  document.body.append(out);
});
</script>
"""


BROWSED = ("a volume, fem in float64", "a signal", "swin_t", "chelsea, input-x-gradient")


@pytest.fixture(scope="module")
def browsed(tmp_path_factory: pytest.TempPathFactory) -> Browsed:
    frames = [case(name).found._repr_html_() for name in BROWSED]
    narrow = [frame.replace('style="width: 100%', 'style="width: 400px') for frame in frames]
    # So that the probe may look inside.
    closed = 'sandbox="allow-scripts"'
    assert all(closed in frame for frame in frames)
    narrow = [frame.replace(closed, "") for frame in narrow]
    return browse(tmp_path_factory.mktemp("browser"), narrow, PROBE)


def test_a_browser_has_nothing_to_complain_of_and_asks_for_nothing(browsed: Browsed) -> None:
    assert browsed.console == []
    assert browsed.asked == set()
    assert len(browsed.report) == len(BROWSED)


@pytest.mark.parametrize("name", BROWSED)
def test_a_page_fits_a_telephone(browsed: Browsed, name: str) -> None:
    wide, inside = browsed.report[BROWSED.index(name)]["wide"]
    assert wide <= inside <= 400


@pytest.mark.parametrize("name", BROWSED)
def test_pointing_at_a_map_tells_the_value_of_the_cell(browsed: Browsed, name: str) -> None:
    told, truth = browsed.report[BROWSED.index(name)], case(name).truth
    assert set(told["pointed"]) == set(packed_in(read(page(name)))["maps"]) - {
        *packed_in(read(page(name)))["listed"]
    }
    for key, seen in told["pointed"].items():
        values = truth[key]
        table = laid_out(values)
        step = math.ceil(max(table.shape) / 64)
        rows, columns = (math.ceil(side / step) for side in table.shape)
        row, column = int(0.6 * rows) * step, int(0.4 * columns) * step
        where = re.fullmatch(r"\[([\d, ]+)\] (.*)", seen["text"])
        assert where is not None, seen
        place = tuple(map(int, where[1].split(", ")))
        # Boxes are not a whole number of pixels: the cell may be the one beside it.
        assert len(place) == values.ndim
        if values.ndim == 3:
            across = math.ceil(math.sqrt(len(values)))
            high, wide = values.shape[1:]
            assert place == (row // high * across + column // wide, row % high, column % wide)
            inside = place[0] < len(values)
        else:
            assert place == ((row, column) if values.ndim == 2 else (column,))
            inside = True
        if inside:
            assert where[2] == readable(float(values[place])), (key, place)
        assert seen["marked"] == seen["written"] == seen["linked"] >= 1


def test_pointing_tells_of_no_slice_that_there_is_not(browsed: Browsed) -> None:
    truth = case(BROWSED[0]).truth
    for key, seen in browsed.report[0]["pointed"].items():
        place = re.match(r"\[(\d+), ", seen["corner"])
        assert place is None or int(place[1]) < len(truth[key]), (key, seen["corner"])
        assert "NaN" not in seen["corner"], key


@pytest.mark.parametrize("name", BROWSED)
def test_keys_move_about_a_map_and_stay_in_it(browsed: Browsed, name: str) -> None:
    told, truth = browsed.report[BROWSED.index(name)], case(name).truth
    values = truth[f"activations/{truth.order[0]}"]
    table = laid_out(values)
    step = math.ceil(max(table.shape) / 64)
    high, wide = ((side - 1) // step * step for side in table.shape)
    # From where it was pointed at last; x is no arrow.
    places = [re.match(r"\[([\d, ]+)\]", text) for text in told["keys"]]
    if values.ndim == 2:
        found = [tuple(map(int, place[1].split(", "))) for place in places if place]
        row, column = found[0][0] + step, found[0][1]
        row = row if row <= high and found[3][0] else found[0][0]
        left, right = max(0, column - step), min(wide, max(0, column - step) + step)
        down = min(high, found[0][0] + step)
        assert found[1:5] == [
            (found[0][0], left),
            (found[0][0], left),
            (down, left),
            (down, right),
        ]
    assert len([place for place in places if place]) == len(told["keys"])


@pytest.mark.parametrize("name", BROWSED)
def test_the_table_lists_every_channel(browsed: Browsed, name: str) -> None:
    told, truth = browsed.report[BROWSED.index(name)], case(name).truth
    weights = truth["weights" if truth.per_channel else "strength"]
    expected = [
        [str(rank), str(k), readable(float(weights[k])), readable(float(truth["totals"][k]))]
        for rank, k in enumerate(truth.order, start=1)
    ]
    assert told["table"] == expected
