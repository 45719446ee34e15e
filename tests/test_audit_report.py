"""The report of an audit: what it says is what was found, whatever the photos are called."""

from __future__ import annotations

import base64
import gzip
import io
import json
from collections.abc import Hashable
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.audits import (
    GRID,
    WHOLE,
    audit_of,
    audit_rows,
    cap_audit,
    class_of,
    evidence,
    gone,
    views,
    with_marks,
)
from helpers.browser import browse, frame
from helpers.pages import Node, read
from limelight.audits.data.views import PhotoViews
from limelight.audits.pages import report
from limelight.audits.pages.thumbnails import Spot, Wanted, draw_thumbnails, heat_uri
from limelight.audits.results import Audit, Finding, FindingKind
from limelight.audits.verdict import audit_as_dict, findings_table, verdict
from limelight.plain import as_json
from limelight.render.overlays import overlay_colours

HOSTILE = '</script><img src=x onerror="document.title=1"><script>alert(1)</script>&{{ 7 * 7 }}'


def page_of(audit: Audit, load: Any = None) -> Node:
    return read(report.report_html(audit, views(load) if load else views()))


def listed(page: Node) -> dict[str, Any]:
    packed = gzip.decompress(base64.b64decode(page.one("script", id="packed").text))
    return json.loads(packed)  # type: ignore[no-any-return]


def picture_in(source: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))


def cells_of(page: Node, name: str) -> list[list[str]]:
    table = page.one("table", "findings") if name == "findings" else None
    section = page.one("section", id=name)
    table = table or section.first("table")
    rows = table.one("tbody").all("tr")
    return [[cell.seen.strip() for cell in row.children if isinstance(cell, Node)] for row in rows]


def test_the_verdict_has_the_accuracy_its_interval_the_number_and_chance() -> None:
    audit = cap_audit(24)
    assert verdict(audit) == (
        "The network is right on 50% [40, 60] of 24 photos (chance 50%), and 1 kind of evidence "
        "goes with its wrong answers: “doctor 1”; none lies at a fixed place."
    )


def test_the_verdict_names_places_and_marks() -> None:
    audit = with_marks(cap_audit(24))
    place = replace(audit.findings[0], kind="border", title="a frame")
    told = verdict(replace(audit, findings=(place, *audit.findings[1:])))
    assert "no evidence goes with its wrong answers" in told
    assert "1 kind of evidence lies at a fixed place: “a frame”" in told
    assert "1 class has a mark in the pixels: “a mark at the top right of nurse”" in told


def test_the_verdict_says_what_was_tested_when_nothing_was_found() -> None:
    audit = replace(cap_audit(24), findings=())
    assert "and no evidence goes with its wrong answers; none lies" in verdict(audit)
    some = replace(
        audit,
        classes=(
            class_of(audit.rows, "doctor"),
            class_of(audit.rows, "nurse", tested=False, reason="6 wrong answers, 20 are needed"),
        ),
    )
    assert "wrong answers in the 1 of 2 classes that could be tested" in verdict(some)


def test_the_verdict_says_that_wrong_answers_are_too_few_to_test() -> None:
    rows = cap_audit(24).rows
    few = class_of(rows, "doctor", tested=False, reason="Too few wrong answers: 6; 20 are needed.")
    told = verdict(replace(cap_audit(24), findings=(), classes=(few,)))
    expected = "could not be tested (Too few wrong answers: 6; 20 are needed)"
    assert expected in told
    assert "no evidence goes" not in told


def test_the_verdict_names_the_class_whose_wrong_answers_are_too_few() -> None:
    rows = cap_audit(24).rows
    few = [class_of(rows, name, tested=False, reason="2 sources") for name in ("doctor", "nurse")]
    told = verdict(replace(cap_audit(24), findings=(), classes=tuple(few)))
    assert "could not be tested (doctor: 2 sources)" in told


def test_chance_is_not_told_where_any_object_on_a_photo_makes_an_answer_right() -> None:
    rows = audit_rows(
        4, label=["", "", "cat", ""], predicted=["cat"] * 4, right=[1.0, 0.0, 1.0, nan]
    )
    audit = audit_of(rows)
    assert verdict(audit).startswith(
        "The network is right on 67% [57, 77] of 3 labelled photos, and"
    )
    assert "chance" not in page_of(audit).one("dl", "stats").text


def test_without_labels_nothing_is_called_right_or_wrong() -> None:
    given = cap_audit(24)
    missing = np.full(24, nan)
    rows = replace(given.rows, right=missing, label=np.array([""] * 24, dtype=object))
    kinds = tuple(
        replace(each, right_with=None, right_without=None, excess=nan, p=nan)
        for each in given.evidence
    )
    audit = audit_of(rows, evidence=kinds)
    assert verdict(audit).startswith("No true classes are known for the 24 photos, so which")
    page = page_of(audit)
    assert not list(page.all("b", "wrong"))
    assert not list(page.all("figure", "wrong"))
    shown = page.one("section", id="evidence").seen
    assert "58% of the heat" in shown
    assert "Wrong answers have it" not in shown
    assert "right with it" not in shown


def test_without_any_map_the_reason_is_told() -> None:
    rows = audit_rows(
        3,
        np.zeros((3, GRID, GRID)),
        photo=["a/1.jpg", "a/2.jpg", "a/3.jpg"],
        status=[""] * 3,
        error=["a/1.jpg: truncated", "a/2.jpg: truncated", "no such layer"],
        predicted=[""] * 3,
    )
    audit = audit_of(rows)
    assert verdict(audit).endswith("and no photo has a map that can be read (truncated).")
    page = page_of(audit)
    limits = page.one("section", id="limits")
    reasons = [[cell.text for cell in row.all("td")] for row in limits.first("tbody").all("tr")]
    assert reasons == [["truncated", "2", "a/1.jpg"], ["no such layer", "1", "a/3.jpg"]]


def test_where_nothing_was_found_photos_are_drawn_at_random() -> None:
    audit = replace(cap_audit(24), findings=())
    tiles = list(page_of(audit).one("section", id="findings").all("figure"))
    assert len(tiles) == 12
    assert len({tile.attributes["title"] for tile in tiles}) == 12
    assert not list(page_of(cap_audit(24)).one("section", id="findings").all("div", "sample"))


def test_the_top_has_the_figures_of_all_photos() -> None:
    audit = cap_audit(24)
    figures = {
        part.one("dt").text: [each.text for each in part.all("dd")]
        for part in page_of(audit).one("dl", "stats").all("div")
    }
    assert figures == {
        "Photos": ["24", ""],
        "Right answers": ["50% [40, 60]", "chance 50%"],
        "Wrong answers": ["12", "of 24"],
        "Heat on the objects": [
            f"{audit.rows.energy_inside.mean():.0%}",
            "chance 20%, on 24 photos",
        ],
        "Findings": ["1", "4 kinds of evidence"],
        "Without a map": ["0", "of 24"],
    }


def test_many_classes_are_folded_away() -> None:
    names = [f"class {number:02d}" for number in range(30)]
    rows = audit_rows(60, predicted=names * 2, label=names * 2, right=[1.0] * 60)
    section = page_of(audit_of(rows)).one("section", id="classes")
    first, more = section.all("tbody")
    assert [len(list(each.all("tr"))) for each in (first, more)] == [12, 18]
    assert section.one("summary").text == "18 more classes"
    assert [part.one("b").text for part in section.one("div", "means").all("p")] == ["All photos"]


def test_an_audit_without_photos_has_a_page() -> None:
    page = page_of(audit_of(audit_rows(0)))
    assert listed(page)["photo"] == []


def test_the_table_of_findings_has_their_figures() -> None:
    audit = with_marks(cap_audit(24))
    first, second = cells_of(page_of(audit), "findings")
    assert first == [
        *("doctor 1goes with wrong answers", "", "12", "58%", "42% [32, 52]", "89% [79, 99]"),
        *("+11.5%", "0.004", "\N{EN DASH}"),
    ]
    assert second == [
        *("a mark at the top right of nursea mark in the pixels", "", "12"),
        *(*["\N{EN DASH}"] * 4, "0.01", "1.31"),
    ]


@pytest.mark.parametrize("kind", ["place", "border"])
def test_the_table_has_the_deviations_of_findings_at_a_place_alone(kind: FindingKind) -> None:
    audit = cap_audit(24)
    (found,) = audit.findings
    assert found.evidence is not None
    kept = replace(found.evidence, place=8.25, border=-6.0)
    if kind == "border":
        kept = replace(kept, place=-6.0, border=8.25)
    placed = replace(found, kind=kind, evidence=kept)
    first, second = cells_of(page_of(replace(audit, findings=(found, placed))), "findings")
    assert (first[-1], second[-1]) == ("\N{EN DASH}", "8.2")
    card = page_of(replace(audit, findings=(placed,))).one("article", id="finding-1")
    figures = {each.one("dt").text: each.one("dd").text for each in card.one("dl").all("div")}
    near, far = "Closer together than chance", "Closer to the border"
    assert figures[near if kind == "place" else far] == "z 8.2"
    assert figures[far if kind == "place" else near] == "z \N{MINUS SIGN}6.0"


@pytest.mark.parametrize(("low", "said"), [(-0.02, True), (0.0, True), (0.12, False)])
def test_removal_without_a_gain_is_no_acquittal(low: float, said: bool) -> None:
    audit = cap_audit(24)
    (found,) = audit.findings
    assert found.removal is not None
    changed = replace(found, removal=replace(found.removal, low=low))
    card = page_of(replace(audit, findings=(changed,))).one("article", id="finding-1")
    assert ("No gain is no acquittal" in card.seen) == said


def test_the_page_leads_through_the_evidence_of_all_classes_and_explains_its_columns() -> None:
    page = page_of(cap_audit(24))
    assert "Go through all classes before you mend" in page.one("section", id="evidence").seen
    section = page.one("section", id="findings")
    heads = [each.text for each in section.first("thead").all("th")]
    words = [each.text for each in section.one("dl", "words").all("dt")]
    assert words == heads[3:4] + heads[4:5] + heads[6:]


def test_a_card_shows_crops_photos_place_removal_and_what_to_do() -> None:
    audit = with_marks(cap_audit(24))
    card = page_of(audit).one("article", id="finding-1")
    assert len(list(card.first("div", "crops").all("img"))) == 10
    for answer in ("wrong", "right"):
        tiles = list(card.all("figure", **{"class": f"tile {answer}"}))
        assert len(tiles) == 4
        assert all(answer in tile.one("figcaption").text for tile in tiles)
        assert all(len(list(tile.all("img", "heat"))) == 1 for tile in tiles)
    wrong = next(card.all("figure", **{"class": "tile wrong"})).one("figcaption").text
    assert "true: nurse" in wrong
    assert "said: doctor" in wrong
    # 12 peaks of its evidence, each at the centre of its cell.
    dots = {
        (float(dot.attributes["cx"][:-1]), float(dot.attributes["cy"][:-1]))
        for dot in card.one("figure", "place").all("circle")
    }
    peaks = audit.rows.peaks
    of = audit.evidence[0].peaks
    centres = np.stack([peaks.column[of], peaks.row[of]], 1) * 100 / GRID + 50 / GRID
    assert dots == {(round(x, 1), round(y, 1)) for x, y in centres.tolist()}
    bars = [bar.first("b").attributes["style"] for bar in card.all("i", "bars")]
    assert bars == ["left: 50.0%; width: 50.0%", "left: 45.65%; width: 4.35%"]
    assert "+25 [+12, +33] beside the random hole" in card.seen
    assert "Tried on 24 right answers (10% lost) and 24 wrong ones (60% mended)" in card.seen
    assert "Add nurses with blue caps." in card.one("div", "advice").text
    files = [each.text for each in card.first("ul", "files").all("li")]
    assert files == [f"people/{number:04d}.jpg" for number in audit.evidence[0].photos]
    assert "people/0001.jpg" in list(card.all("ul", "files"))[1].text


def test_a_card_shows_only_photos_that_count_as_having_the_evidence() -> None:
    audit = cap_audit(24)
    (found,) = audit.findings
    assert found.evidence is not None
    right = audit.rows.right[found.evidence.photos] == 1
    fewer = found.evidence.photos[~right | (np.cumsum(right) <= 2)]  # two right answers are left
    kind = replace(found.evidence, photos=fewer)
    card = page_of(replace(audit, findings=(replace(found, evidence=kind),))).one("article")
    shown = [tile.attributes["title"] for tile in card.all("figure", **{"class": "tile right"})]
    assert shown == [f"people/{number:04d}.jpg" for number in fewer if audit.rows.right[number]]
    having = {f"people/{number:04d}.jpg" for number in fewer}
    assert {crop.attributes["title"] for crop in card.first("div", "crops").all("img")} <= having


def test_a_mark_is_drawn_at_its_box() -> None:
    card = page_of(with_marks(cap_audit(24))).one("article", id="finding-2")
    box = next(card.one("figure", "place").all("rect")).attributes
    assert [box[side] for side in ("x", "y", "width", "height")] == [
        "75.0%",
        "5.0%",
        "20.0%",
        "10.0%",
    ]
    assert len(list(card.first("div", "crops").all("img"))) == 10
    assert card.first("button", "find").attributes["data-label"] == "nurse"


def test_a_crop_is_what_is_around_its_peak() -> None:
    picture = Image.new("RGB", (280, 140), "white")
    picture.paste("red", (0, 0, 60, 60))
    rows = audit_rows(1, photo=["1.jpg"])
    spots: dict[Hashable, Spot] = {"corner": Spot(0, 0.05, 0.1, 0.3), "end": Spot(0, 1.0, 1.0, 0.3)}
    seen = PhotoViews(WHOLE, lambda photo, preprocess: picture)
    found = draw_thumbnails(rows, seen, Wanted(crops=spots))
    corner, end = (
        np.asarray(picture_in(found.crops[name]).convert("RGB")).mean((0, 1)) for name in spots
    )
    assert corner[0] > 240  # 42 x 42 pixels of the red square, moved inside
    assert corner[1] < 30
    assert end.min() > 240


def test_the_heat_has_the_colours_and_the_opacity_of_overlays() -> None:
    heat = np.zeros((4, 5))
    heat[1, 3] = 1
    drawn = picture_in(heat_uri(heat)).convert("RGBA")
    pixels = np.asarray(drawn).reshape(4, 3, 5, 3, 4)[:, 1, :, 1]  # the middle of each cell
    colours = overlay_colours()
    assert pixels[1, 3].tolist() == colours[255].tolist()
    assert (pixels[heat == 0][:, 3] == colours[0, 3]).all()


def test_evidence_of_right_answers_stands_apart_and_alike_evidence_together() -> None:
    audit = cap_audit(24)
    page = page_of(audit).one("section", id="evidence")
    doctor, nurse = (
        next(part for part in page.all("details", "class") if part.first("b").text == name)
        for name in ("doctor", "nurse")
    )
    names = [node.text for node in doctor.all("h4")]
    assert names == ["Wrong answers have it more often", "Right answers have it more often"]
    assert [node.first("b").text for node in doctor.all("div", "what")] == ["doctor 1", "doctor 2"]
    together = nurse.one("div", **{"class": "kinds alike"})
    assert [node.first("b").text for node in together.all("div", "what")] == ["nurse 1", "nurse 2"]
    assert len(list(nurse.all("h4"))) == 1


def test_the_cases_count_every_photo_once() -> None:
    audit = with_marks(cap_audit(24))
    cells = list(page_of(audit).one("section", id="objects").all("div", "case"))
    assert len(cells) == 8
    assert [cell.one("h3").text for cell in cells][:4] == [
        *("Heat is elsewhere", "Heat is the object and more"),
        *("Heat is a part of the object", "Heat and object agree"),
    ]
    assert all("3 photos (12%)" in cell.seen and "chance 20%" in cell.seen for cell in cells)
    apart = next(case for case in audit.cases if case.relation == "apart" and not case.right)
    energy = audit.rows.energy_inside[list(apart.photos)].mean()
    assert f"energy {energy:.0%}" in cells[0].seen


def test_groups_are_drawn_beside_the_rest() -> None:
    section = page_of(with_marks(cap_audit(24))).one("section", id="classes")
    row = next(row for row in section.all("tr") if "ward B" in row.seen)
    assert "\N{MINUS SIGN}20 [\N{MINUS SIGN}31, \N{MINUS SIGN}9]" in row.seen
    line = row.one("line", "span").attributes
    assert (line["x1"], line["x2"]) == ("0.0%", "35.48%")  # on an axis from -31 to 31 points
    assert row.one("circle").attributes["cx"] == "17.74%"


def test_the_list_of_photos_has_every_column() -> None:
    audit = with_marks(cap_audit(24))
    found = listed(page_of(audit))
    rows = audit.rows
    assert [found["folder"] + name for name in found["photo"]] == rows.photo.tolist()
    assert found["folder"] == "people/"
    for column in ("label", "predicted"):
        names = [found["classes"][each] for each in found[column]]
        assert names == getattr(rows, column).tolist()
    assert found["right"] == rows.right.astype(int).tolist()
    assert found["probability"] == np.rint(100 * rows.probability).astype(int).tolist()
    has = [{found["kinds"][kind] for kind in kinds} for kinds in found["evidence"]]
    for each in audit.evidence:
        holders = [number for number, names in enumerate(has) if each.name in names]
        assert holders == each.photos.tolist()
    assert {found["cases"][each] for each in found["case"]} >= {"right, apart", "wrong, within"}


def test_names_can_do_no_harm() -> None:
    given = with_marks(cap_audit(24, name=lambda number: f"{HOSTILE}/{number}\u202egpj.jpg"))
    rows = replace(
        given.rows,
        label=np.array([f"{HOSTILE}{name}" for name in given.rows.label], dtype=object),
        predicted=np.array([f"{HOSTILE}{name}" for name in given.rows.predicted], dtype=object),
        error=np.array([HOSTILE] * 24, dtype=object),
    )
    kinds = tuple(replace(each, name=HOSTILE + each.name) for each in given.evidence)
    finding = replace(
        given.findings[0], title=HOSTILE, sentence=HOSTILE, advice=HOSTILE, evidence=kinds[0]
    )
    audit = replace(
        given,
        rows=rows,
        evidence=kinds,
        findings=(finding,),
        warnings=(HOSTILE,),
        unseen=(HOSTILE,),
        run={"network": HOSTILE},
    )
    text = report.report_html(audit, views())
    assert "<script>alert" not in text
    assert "\u202e" not in text
    page = read(text)
    assert len(list(page.all("script"))) == 3
    for node in page.all("img"):
        assert node.attributes["src"].startswith("data:image/")
        assert "onerror" not in node.attributes
    assert page.one("article", id="finding-1").one("h3").text == HOSTILE
    assert listed(page)["classes"][0].startswith("</script>")


def test_photos_that_are_gone_are_grey_tiles_with_the_reason() -> None:
    audit = with_marks(cap_audit(24))
    page = page_of(audit, gone)
    card = page.one("article", id="finding-1")
    tiles = list(card.all("figure", "tile"))
    assert len(tiles) == 8
    assert all("Cannot read 'people/" in tile.one("span", "gone").text for tile in tiles)
    assert "24 photos could not be read again" in page.one("section", id="limits").seen
    assert json.loads(page.one("script", id="thumbs").text) == {}


def test_a_store_that_breaks_does_not_break_the_report() -> None:
    def broken(photo: str, _preprocess: Any) -> Any:
        raise RuntimeError("the bucket is away")

    assert "the bucket is away" in page_of(cap_audit(8), broken).seen


def test_the_page_asks_for_nothing() -> None:
    page = page_of(with_marks(cap_audit(24)))
    policy = page.first("meta", **{"http-equiv": "Content-Security-Policy"}).attributes["content"]
    assert policy.startswith("default-src 'none'; img-src data:;")
    for node in page.all():
        for name in ("src", "href"):
            address = node.attributes.get(name, "data:")
            assert address.startswith(("data:", "#", "lists/finding-"))


def test_a_report_of_many_photos_keeps_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    count, random = 3000, np.random.default_rng(0)
    names = [f"set/{random.bytes(80).hex()}.jpg" for _ in range(count)]
    right = (random.random(count) < 0.9).astype(float)
    rows = audit_rows(
        count,
        photo=names,
        label=["cat"] * count,
        predicted=np.where(right == 1, "cat", "dog"),
        right=right,
    )
    kind = evidence("dog 1", "dog", np.flatnonzero(right == 0).tolist(), rows)
    finding = Finding("wrong", "dog 1", "", "", 0.1, evidence=kind)
    audit = audit_of(rows, evidence=(kind,), findings=(finding,), total=50_000)
    monkeypatch.setattr(report, "MOST_CHARACTERS", 330_000)
    monkeypatch.setattr(report, "_ROOM_FOR_THUMBS", 20_000)
    text = report.report_html(audit, views())
    assert len(text) <= 330_000
    page = read(text)
    found = listed(page)
    shown = len(found["photo"])
    assert 1000 < shown < count
    assert f"{shown:,} of 50,000 photos are listed here" in page.one("section", id="photos").seen
    assert found["right"].count(0) == int((right == 0).sum())  # findings and wrong answers first
    assert f"a sample of {50_000:,}" in verdict(audit)


def test_thumbnails_are_chosen_when_there_are_many_photos(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(report, "_MOST_THUMBS", 5)
    monkeypatch.setattr(report, "_SAMPLE", 0)
    audit = replace(cap_audit(24), findings=(), evidence=())
    thumbs = json.loads(page_of(audit).one("script", id="thumbs").text)
    assert len(thumbs) == 5
    assert all(audit.rows.wrong[int(number)] for number in thumbs)  # before right ones


def test_the_report_is_written_whole_and_tells_its_progress(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    path = report.write_report(
        cap_audit(8), views(), tmp_path, progress=lambda *step: told.append(step)
    )
    assert path == tmp_path / "report.html"
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]
    assert told[0][1:] == (0, 0)
    assert told[-1][1] == told[-1][2] > 0


def test_plain_values_are_strict_json_and_equal_the_audit() -> None:
    audit = with_marks(cap_audit(24))
    plain = json.loads(as_json(audit_as_dict(audit)))
    assert plain["right"] == {"value": 0.5, "low": 0.4, "high": 0.6}
    assert plain["chance"] == 0.5
    first, second = plain["findings"]
    assert (first["excess"], first["p"], first["photos"]) == (0.115, 0.004, 12)
    assert (second["excess"], second["lift"], second["box"]) == (
        None,
        1.31,
        [0.75, 0.05, 0.95, 0.15],
    )
    assert len(first["examples"]) == 10
    assert [each["name"] for each in plain["evidence"]] == [each.name for each in audit.evidence]
    assert sum(each["photos"] for each in plain["cases"]) == 24
    assert findings_table(audit)[0]["removal"] == 0.23


PROBE = """<script>
const until = async (done) => { while (!done()) await new Promise((r) => setTimeout(r, 20)); };
addEventListener("load", async () => {
  const page = document.querySelector("iframe").contentDocument;
  const get = (name) => page.querySelector(name);
  const rows = () => [...page.querySelectorAll("#rows .row")];
  const count = () => get("#count").textContent;
  const set = async (name, value) => {
    const before = count();
    page.querySelector(`#filters [name=${name}]`).value = value;
    get("#filters").dispatchEvent(new Event("input"));
    await until(() => count() !== before);
    return [count(), rows().length];
  };
  const report = [];
  get("#finding-1 button.find").click();
  await until(() => rows().length);
  report.push([count(), rows().length]);
  get("#filters").reset();
  await until(() => count().startsWith("300 "));
  report.push([count(), rows().length]);
  report.push(await set("right", "0"));
  report.push(await set("text", "0013"));
  report.push(rows()[0].textContent, page.title === document.title ? "changed" : "kept");
  report.push(page.documentElement.scrollWidth <= 400 ? "fits" : "wide");
  const told = document.createElement("pre");
  told.id = "report";
  told.textContent = JSON.stringify(report);
  document.body.append(told);
});
</script>"""


def test_a_browser_filters_the_photos_and_asks_for_nothing(tmp_path: Path) -> None:
    audit = cap_audit(300, name=lambda number: f"p/{number:04d} <script>parent.x=1</script>.jpg")
    text = report.report_html(audit, views())
    browsed = browse(tmp_path, [frame(text, 400)], PROBE)
    told: list[Any] = [*browsed.report]
    found, whole, wrong, searched, row, title, width = told
    assert found[0] == f"{len(audit.evidence[0].photos)} of 300 photos listed here."
    assert whole[0] == "300 of 300 photos listed here."
    assert whole[1] < 40  # only what is seen is drawn
    assert wrong[0] == "150 of 300 photos listed here."
    assert searched == ["1 of 300 photos listed here.", 1]
    assert row == (
        "0013 <script>parent.x=1</script>.jpg✗ wrong true: nurse said: doctor "
        + f"{audit.rows.probability[13]:.0%}doctor 1 · doctor 2"
    )
    assert title == "kept"
    assert width == "fits"
    assert browsed.console == []
    assert browsed.asked == set()
