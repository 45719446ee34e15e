"""What measurements say: verdicts, rankings, pictures and files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

import limelight
from helpers.measurements import (
    BAD,
    GOOD,
    LOW,
    NAN,
    Readings,
    about,
    assert_readable,
    made,
    network,
    pictures,
    texts,
)
from helpers.tolerances import assert_agrees
from limelight import render
from limelight.errors import InputError, LimelightError, OutputError
from limelight.metrics.intervals import mean
from limelight.metrics.measurement import Measurement
from limelight.metrics.readings import Unmeasured
from limelight.metrics.storage import MEASUREMENT_FORMATS


def test_words_that_cannot_be_read_are_seen() -> None:
    """Or the tests below could not fail."""
    good = Figure((4, 2))
    good.text(0.1, 0.5, "here")
    good.text(0.6, 0.5, "there")
    assert_readable(good)
    for x, says in ((0.15, "overlap"), (0.95, "cut off"), (-0.05, "cut off")):
        bad = Figure((4, 2))
        bad.text(0.1, 0.5, "here")
        bad.text(x, 0.5, "there")
        with pytest.raises(AssertionError, match=says):
            assert_readable(bad)


# Verdicts


def test_one_method_earned_trust() -> None:
    verdict = made(
        {
            ("gradcam", "insertion"): GOOD,
            ("gradcam", "deletion"): LOW,
            ("saliency", "insertion"): BAD,
            ("saliency", "deletion"): LOW,
        }
    ).verdict()
    assert verdict == (
        "gradcam",
        ("gradcam",),
        "gradcam earned trust on this network in 20 explanations: image by image it beat random "
        "and centre in both metrics, alone.",
    )


def test_several_earned_trust_and_the_best_rank_comes_first() -> None:
    better = (about(0.9), *GOOD[1:])
    best = made(
        {
            ("gradcam", "insertion"): GOOD,
            ("gradcam", "deletion"): LOW,
            ("layercam", "insertion"): better,
            ("layercam", "deletion"): (about(0.2), *LOW[1:]),
            ("hirescam", "insertion"): (about(0.95), *GOOD[1:]),
            ("hirescam", "deletion"): (about(0.05), *LOW[1:]),
        }
    ).verdict()
    assert best.method == "hirescam"
    assert best.trusted[0] == "hirescam"
    assert set(best.trusted) == {"gradcam", "layercam", "hirescam"}
    assert best.sentence.startswith("hirescam earned trust on this network in 20 explanations")
    assert best.sentence.endswith("in both metrics; so did gradcam, layercam.")


def test_in_one_metric() -> None:
    assert made({("gradcam", "deletion"): LOW}).verdict().sentence == (
        "gradcam earned trust on this network in 20 explanations: image by image it beat random "
        "and centre in the one metric, alone."
    )


def test_none_earned_trust() -> None:
    verdict = made(
        {
            ("gradcam", "insertion"): BAD,
            ("gradcam", "deletion"): BAD,
            ("saliency", "insertion"): BAD,
            ("saliency", "deletion"): LOW,
        }
    ).verdict()
    assert verdict == (
        None,
        (),
        "No method earned trust on this network in 20 explanations: the nearest, saliency, beat "
        "random and centre in 1 of 2 metrics.",
    )
    assert made({("gradcam", "insertion"): BAD}).verdict().sentence.endswith("in 0 of 1 metric.")


def test_one_image_has_no_interval_and_earns_nothing() -> None:
    one = ([0.8], [0.3], [0.4])
    verdict = made(
        {
            ("gradcam", "insertion"): one,
            ("gradcam", "road"): one,
            ("saliency", "insertion"): ([0.1], [0.3], [0.4]),
            ("saliency", "road"): one,
        }
    ).verdict()
    assert verdict == (
        None,
        (),
        "1 image is too few to earn trust on, which takes 8; gradcam did better than random and "
        "centre in both metrics, by chance or not. Measure a folder of photos.",
    )
    worse = made({("gradcam", "insertion"): ([0.1], [0.3], [0.4])}).verdict()
    assert "gradcam did better than random and centre in 0 of 1" in worse.sentence


def test_nothing_was_measured_in_which_a_map_has_to_beat_chance() -> None:
    wanted = (None, (), "Nothing was measured in which a map has to beat chance.")
    assert Measurement().verdict() == wanted
    assert made({("gradcam", "max-sensitivity"): LOW}).verdict() == wanted
    assert made({("gradcam", "parameter-randomisation"): LOW}).verdict() == wanted
    # Beside one that is judged, they do not count.
    both = made({("gradcam", "max-sensitivity"): BAD, ("gradcam", "insertion"): GOOD})
    assert both.verdict().trusted == ("gradcam",)


def test_images_in_which_nothing_is_defined_are_not_one_image() -> None:
    nothing = ([NAN] * 3, [NAN] * 3, [NAN] * 3)
    sentence = made({("gradcam", "energy-pointing"): nothing}).verdict().sentence
    assert "On one image" not in sentence
    assert "earned trust on" not in sentence or sentence.startswith("No method")


def test_a_figure_that_is_not_defined_earns_no_trust() -> None:
    nothing = ([NAN] * 20, about(0.3), about(0.4))
    verdict = made({("gradcam", "insertion"): GOOD, ("gradcam", "road"): nothing}).verdict()
    assert verdict.trusted == ()
    assert "gradcam, beat random and centre in 1 of 2" in verdict.sentence


def test_a_method_that_some_metric_could_not_measure_earns_no_trust_by_that() -> None:
    """It is held to as many metrics as the others."""
    verdict = made(
        {
            ("gradcam", "insertion"): GOOD,
            ("gradcam", "deletion"): BAD,
            ("heatmaps", "insertion"): GOOD,
        }
    ).verdict()
    assert verdict.trusted == ()


def test_what_may_be_chance_earns_no_trust() -> None:
    wide = ([0.0, 1.0] * 10, about(0.3), about(0.4))
    assert made({("gradcam", "insertion"): wide}).verdict().trusted == ()
    # Better than one control alone is not enough either.
    centred = (about(0.8), about(0.3), about(0.8))
    assert made({("gradcam", "insertion"): centred}).verdict().trusted == ()


def test_a_method_at_two_layers_is_told_apart() -> None:
    verdict = made(
        {("gradcam", "early", "insertion"): BAD, ("gradcam", "late", "insertion"): GOOD}
    ).verdict()
    assert verdict.trusted == ("gradcam at late",)
    assert "gradcam at late earned trust" in verdict.sentence


# Rankings


def test_rankings_are_best_first_and_say_what_beats_chance() -> None:
    measured = made(
        {
            ("saliency", "insertion"): BAD,
            ("gradcam", "insertion"): GOOD,
            ("saliency", "deletion"): LOW,
            ("gradcam", "deletion"): BAD,
        }
    )
    first, second = measured.rankings()
    assert (first.title, first.note) == ("insertion", "higher is better")
    assert list(first.lines) == [
        ("gradcam", "0.800", "0.300", "0.400", True),
        ("saliency", "0.350", "0.300", "0.400", False),
    ]
    assert (second.title, second.note) == ("deletion", "lower is better")
    assert [line[0] for line in second.lines] == ["saliency", "gradcam"]


def test_of_one_image_rankings_say_what_is_ahead() -> None:
    (ranking,) = made(
        {("a", "insertion"): ([0.8], [0.3], [0.4]), ("b", "insertion"): ([0.35], [0.3], [0.4])}
    ).rankings()
    assert [(name, good) for name, *_, good in ranking.lines] == [("a", True), ("b", False)]


def test_metrics_with_and_without_options_are_ranked_apart() -> None:
    measured = made({("a", "insertion"): GOOD, ("a", "insertion:steps=3"): LOW})
    for ranking, value in zip(measured.rankings(), ("0.800", "0.100"), strict=True):
        assert [line[:2] for line in ranking.lines] == [("a", value)]


def test_layers_are_told_apart_in_rankings_and_figures() -> None:
    measured = made({("gradcam", "early", "increase"): BAD, ("gradcam", "late", "increase"): GOOD})
    (ranking,) = measured.rankings()
    assert [line[0] for line in ranking.lines] == ["gradcam at late", "gradcam at early"]
    written = [words for words, _ in texts(measured.figure())]
    assert {"gradcam at late", "gradcam at early"} <= set(written)


def test_the_sheet_shows_the_rankings_and_the_verdict() -> None:
    methods = ["gradcam", "saliency", "random"]
    found = limelight.compare(
        network(), pictures(2), methods=methods, metrics=["insertion:steps=3", "increase"]
    )
    assert found.measured is not None
    figure = found.figure()
    written = [words for words, _ in texts(figure)]
    assert "insertion:steps=3 (higher is better)" in written
    assert " ".join(found.measured.verdict().sentence.split()) in " ".join(
        " ".join(written).split()
    )
    for ranking in found.measured.rankings():
        for name, *values, good in ranking.lines:
            assert name in written
            assert set(values) <= set(written)
            colours = {
                to_rgb(one.get_color())
                for one in figure.findobj(Text)
                if one.get_text() == name and one.get_horizontalalignment() == "left"
            }
            assert to_rgb("black" if good else "#767676") in colours
    plain = limelight.compare(network(), pictures(2), methods=methods).figure()
    assert plain.get_figheight() < figure.get_figheight()


LONG = "occlusion:patch=0.3,stride=0.15,baseline=0.5"
VERDICTS = [
    "gradcam earned trust.",
    "No method earned trust on this network in 20 explanations: the nearest, integrated-gradients, "
    "beat random and centre in 1 of 3 metrics.",
    "gradcam earned trust on this network in 20 explanations: image by image it beat random "
    "and centre in all 3 metrics; so did " + ", ".join(list(limelight.METHODS)[:20]) + ".",
]


@pytest.mark.parametrize("sentence", VERDICTS, ids=["short", "long", "longest"])
@pytest.mark.parametrize("panels", [1, 3, 9])
def test_a_sheet_is_readable(panels: int, sentence: str) -> None:
    block = render.Block(
        Image.new("RGB", (32, 32)),
        "bee, score 0.112",
        [render.Panel(torch.zeros(32, 32), f"method {i}") for i in range(panels)],
    )
    lines = [(f"method {i}", "0.123", "-0.456", "0.789", i < 2) for i in range(panels)]
    rankings = [
        render.MetricRanking(name, "higher is better", lines)
        for name in ("insertion", "deletion", "road:steps=5", "energy-pointing")
    ]
    assert_readable(render.sheet([block], rankings=rankings, sentence=sentence))


def test_long_names_of_methods_do_not_run_into_each_other() -> None:
    block = render.Block(
        Image.new("RGB", (32, 32)),
        "bee, score 0.112",
        [render.Panel(torch.zeros(32, 32), LONG) for _ in range(3)],
    )
    ranking = render.MetricRanking(
        "road:steps=5,noise=0.01,seed=3", "higher is better", [(LONG, "0.1", "0.2", "0.3", True)]
    )
    assert_readable(render.sheet([block]))
    assert_readable(render.sheet([block], rankings=[ranking] * 2))


# Pictures of measurements


def test_many_methods_and_metrics_are_readable() -> None:
    names = list(limelight.METHODS)[:24]
    metrics = ("increase", "pointing-game", "max-sensitivity", "energy-pointing")
    figure = made({(name, metric): GOOD for name in names for metric in metrics}).figure()
    assert_readable(figure)
    written = [words for words, _ in texts(figure)]
    assert all(written.count(name) >= 4 for name in names)


def test_a_long_name_leaves_room_for_the_figure() -> None:
    figure = made({(LONG, metric): GOOD for metric in ("increase", "road", "infidelity")}).figure()
    texts(figure)  # lays it out
    for axes in figure.axes:
        assert axes.get_position().width > 0.5 / 3


def test_a_name_that_a_terminal_would_obey_is_written_out_in_a_figure() -> None:
    figure = made({("a\x1b[2J", metric): GOOD for metric in ("increase", "road")}).figure()
    written = render.encode_figure(figure, "svg")
    assert b"\x1b" not in written
    assert rb"a\x1b[2J" in written


@pytest.mark.parametrize("metrics", [1, 2, 3])
def test_the_verdict_is_not_cut_off(metrics: int) -> None:
    names = ("increase", "road", "infidelity")[:metrics]
    for readings in (GOOD, BAD, ([0.8], [0.3], [0.4])):
        assert_readable(made({("gradcam", name): readings for name in names}).figure())


def test_curves_are_drawn_with_chance_beside_them() -> None:
    model, images = network(), pictures(2)
    maps = limelight.compare(model, images, methods=["gradcam", "saliency"])
    measured = limelight.measure(
        model, images, maps, metrics=["insertion:steps=4", "road:steps=3", "increase"]
    )
    figure = measured.figure()
    assert_readable(figure)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == [
        "insertion:steps=4",
        "insertion:steps=4, curve",
        "road:steps=3",
        "road:steps=3, lerf curve",
        "road:steps=3, morf curve",
        "increase",
    ] or sorted(titles[3:5]) == ["road:steps=3, lerf curve", "road:steps=3, morf curve"]
    drawn = {str(line.get_label()): line for line in figure.axes[1].get_lines()}
    assert set(drawn) == {"gradcam", "saliency", "chance: random", "chance: centre"}
    for name, line in drawn.items():
        wanted = measured.curves("insertion:steps=4")["curve"][name]
        assert_agrees(np.asarray(line.get_ydata()), wanted.numpy())
    (legend,) = figure.legends
    assert {one.get_text() for one in legend.get_texts()} == set(drawn)


@pytest.mark.parametrize(
    "readings",
    [
        ([NAN] * 3, [NAN] * 3, [NAN] * 3),
        ([NAN, NAN, 0.5], [NAN, 0.1, 0.2], [0.1, 0.1, 0.1]),
        ([0.5], [NAN], [0.1]),
        ([0.0] * 3, [0.0] * 3, [0.0] * 3),
        # Values that differ by rounding alone: their mean may lie outside the interval.
        *(([v, v, np.nextafter(v, 1)] * 3, [v] * 9, [v] * 9) for v in (0.1, 0.3, 0.7, 1 / 3)),
    ],
    ids=[
        *("all nan", "some nan", "one", "zeros"),
        *(f"rounding {v}" for v in (0.1, 0.3, 0.7, 0.33)),
    ],
)
def test_readings_of_any_kind_can_be_drawn(tmp_path: Path, readings: Readings) -> None:
    measured = made({("gradcam", "increase"): readings, ("saliency", "increase"): GOOD})
    measured.save(tmp_path / "figure.png")
    first = measured.ranking("increase")[-1]
    assert str(first.own)
    measured.save(tmp_path / "table.json")
    json.loads((tmp_path / "table.json").read_text(), parse_constant=pytest.fail)
    assert Measurement.load(tmp_path / "table.json").n == max(20, len(readings[0]))


def test_the_mean_lies_in_its_interval() -> None:
    random = np.random.default_rng(0)
    for value in random.random(60):
        values = np.full(random.integers(2, 12), value)
        values[0] = np.nextafter(value, 2)
        found = mean(torch.tensor(values), ())
        assert found.low <= found.value <= found.high


def test_nothing_can_be_drawn_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(LimelightError):
        Measurement().save(tmp_path / "figure.png")
    assert list(tmp_path.iterdir()) == []


# Files


@pytest.mark.parametrize("form", MEASUREMENT_FORMATS)
def test_every_format_is_written(tmp_path: Path, form: str) -> None:
    measured = made({("gradcam", "increase"): GOOD, ("saliency", "increase"): BAD})
    path = measured.save(tmp_path / "deep" / "er" / f"figure.{form.upper()}")
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    if form in ("png", "jpg", "webp"):
        with Image.open(path) as picture:
            assert picture.format == {"jpg": "JPEG"}.get(form, form.upper())
    elif form == "csv":
        rows = list(csv.DictReader(path.read_text().splitlines()))
        for row, wanted in zip(rows, measured.rows(), strict=True):
            assert {name: str(value) for name, value in wanted.items()} == row
    elif form == "json":
        assert Measurement.load(path).rows() == measured.rows()
    else:
        assert path.read_bytes()[:5] in (b"%PDF-", b"<?xml")


@pytest.mark.parametrize("form", MEASUREMENT_FORMATS)
def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    measured, path = made({("gradcam", "increase"): GOOD}), tmp_path / f"figure.{form}"
    path.write_text("what was there before")

    def full(_self: Path, _target: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match="No space left on device"):
        measured.save(path)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "what was there before"


def test_a_format_that_is_not_known_is_refused(tmp_path: Path) -> None:
    for name in ("table.xls", "table", "table.npz"):
        with pytest.raises(OutputError, match="its suffix should be one of json, csv, png"):
            made({("gradcam", "increase"): GOOD}).save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in ("file/table.csv", "file/deep/table.json", "file/figure.png"):
        with pytest.raises(OutputError, match="Cannot write"):
            made({("gradcam", "increase"): GOOD}).save(tmp_path / name)


@pytest.mark.parametrize(
    "text",
    ["", "no json", "[]", "{}", '{"readings": 3}', '{"readings": [{}]}', b"\xff\xfe"],
    ids=str,
)
def test_what_save_did_not_write_is_refused(tmp_path: Path, text: str | bytes) -> None:
    (tmp_path / "x.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=r"x.json' cannot be read as a measurement"):
        Measurement.load(tmp_path / "x.json")
    with pytest.raises(InputError, match=r"none.json' cannot be read as a measurement"):
        Measurement.load(tmp_path / "none.json")


def test_what_could_not_be_measured_is_saved_too(tmp_path: Path) -> None:
    whole = made({("gradcam", "increase"): GOOD}) + Measurement(
        unmeasured=(Unmeasured("rollout", "", "no attention, <b> „here“"),)
    )
    read = Measurement.load(whole.save(tmp_path / "table.json"))
    assert read.unmeasured == whole.unmeasured
    assert read.status == whole.status
    assert read.save(tmp_path / "again.json").read_bytes() == (tmp_path / "table.json").read_bytes()
