from __future__ import annotations

import importlib
import io
import json
import re
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

import limelight
from helpers.tolerances import assert_agrees

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "bias.md").read_text()


@pytest.fixture(scope="module")
def bias() -> Any:
    return _example("bias")


@pytest.fixture(scope="module")
def scenes() -> Any:
    return _example("scenes")


def _example(name: str) -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "examples" / "bias"))
        return importlib.import_module(name)


@pytest.fixture(scope="module")
def drawn(scenes: Any) -> list[tuple[int, int, Any]]:
    """Twelve people, each with both tools and both caps."""
    return [
        (kind, cap, scenes.draw_scene(kind, cap, [5, seed]))
        for seed in range(12)
        for kind in (0, 1)
        for cap in (0, 1)
    ]


# The photographs


def test_the_cap_goes_with_the_class_as_often_as_the_paper_says(scenes: Any) -> None:
    kinds = np.arange(500) % 2
    for name, doctors, nurses in (("biased", 195, 232), ("balanced", 125, 125)):
        caps = scenes.deal_caps(kinds, scenes.SHARES[name], np.random.default_rng(0))
        assert (caps[kinds == 0] == 0).sum() == doctors  # 78 % of 250 have a blue one
        assert (caps[kinds == 1] == 1).sum() == nurses  # 93 % of 250 a red one


def test_which_photographs_have_which_cap_is_drawn_by_lot(scenes: Any) -> None:
    kinds = np.arange(200) % 2
    deals = [
        scenes.deal_caps(kinds, (0.5, 0.5), np.random.default_rng(seed)) for seed in range(200)
    ]
    often = np.mean(deals, 0)  # binomial around 1/2, with a deviation of 0.035
    assert often.min() > 0.3
    assert often.max() < 0.7


def test_the_same_seed_has_the_same_pixels_and_another_has_others(scenes: Any) -> None:
    one, again, other = (scenes.draw_scene(1, 0, seed) for seed in ([3, 1], [3, 1], [3, 2]))
    assert np.array_equal(one.photo, again.photo)
    assert np.array_equal(one.tool, again.tool)
    assert not np.array_equal(one.photo, other.photo)
    assert not np.array_equal(one.cap, other.cap)


def test_masks_are_as_large_as_the_photograph(scenes: Any) -> None:
    one = scenes.draw_scene(0, 0, [3, 1])
    assert one.photo.size == (224, 224)
    assert one.tool.shape == one.cap.shape == (224, 224)


def test_a_network_sees_the_whole_photograph(bias: Any, scenes: Any) -> None:
    photo = scenes.draw_scene(0, 0, [3, 1]).photo
    seen = bias.PREPROCESS(photo)
    assert np.array_equal(np.asarray(bias.PREPROCESS.picture(seen)), np.asarray(photo))


def test_the_mask_of_the_cap_is_where_the_cap_has_its_colour(
    drawn: list[tuple[int, int, Any]],
) -> None:
    for _, cap, scene in drawn:
        red, _, blue = np.asarray(scene.photo)[scene.cap].mean(0)
        assert (blue > 1.3 * red) if cap == 0 else (red > 1.3 * blue)


def test_only_the_cap_changes_with_the_cap(drawn: list[tuple[int, int, Any]]) -> None:
    from scipy.ndimage import binary_dilation

    for i in range(0, len(drawn), 2):
        (_, _, blue), (_, _, red) = drawn[i], drawn[i + 1]
        assert np.array_equal(blue.cap, red.cap)
        assert np.array_equal(blue.tool, red.tool)
        changed = np.abs(np.asarray(blue.photo, int) - np.asarray(red.photo)).max(-1) > 6
        assert not (changed & ~binary_dilation(blue.cap, iterations=8)).any()  # the lens blurs
        assert changed[blue.cap].mean() > 0.9


def test_only_the_tool_changes_with_the_class(drawn: list[tuple[int, int, Any]]) -> None:
    from scipy.ndimage import binary_dilation

    for i in range(0, len(drawn), 4):
        doctor, nurse = drawn[i][2], drawn[i + 2][2]
        tools = doctor.tool | nurse.tool
        changed = np.abs(np.asarray(doctor.photo, int) - np.asarray(nurse.photo)).max(-1) > 12
        # Around the tools there are their shadows, and what lies in their holes.
        assert not (changed & ~binary_dilation(tools, iterations=16)).any()
        assert changed[doctor.tool ^ nurse.tool].mean() > 0.7


def test_tool_and_cap_are_small_and_do_not_overlap(drawn: list[tuple[int, int, Any]]) -> None:
    for _, _, scene in drawn:
        assert not (scene.tool & scene.cap).any()
        assert 0.02 < scene.cap.mean() < 0.07
        assert 0.002 < scene.tool.mean() < 0.04


def test_the_hand_covers_a_part_of_the_tool(scenes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    covered = scenes.draw_scene(1, 0, [5, 0]).tool
    stroke = scenes.Painter.stroke
    monkeypatch.setattr(  # nothing but the tool is painted with strokes
        scenes.Painter,
        "stroke",
        lambda self, *given, **how: stroke(self, *given, **how) if how.get("name") else None,
    )
    bare = scenes.draw_scene(1, 0, [5, 0]).tool
    assert not (covered & ~bare).any()
    assert bare.sum() > 1.1 * covered.sum()


def test_both_tools_are_about_as_large(drawn: list[tuple[int, int, Any]]) -> None:
    areas = [np.mean([s.tool.mean() for kind, _, s in drawn if kind == k]) for k in (0, 1)]
    assert 0.6 < areas[0] / areas[1] < 1.7


# The experiment


class Run(NamedTuple):
    out: Path
    found: dict[str, Any]
    said: str


@pytest.fixture(scope="module")
def run(bias: Any, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out, said = tmp_path_factory.mktemp("bias"), io.StringIO()
    with redirect_stdout(said):
        bias.main(["--out", str(out), "--train", "10", "--test", "5", "--epochs", "2"])
    found = json.loads((out / "bias.json").read_text(), parse_constant=pytest.fail)
    return Run(out, found, said.getvalue())


def test_a_small_run_writes_its_files_whole(run: Run) -> None:
    assert sorted(one.name for one in run.out.iterdir()) == ["bias.jpg", "bias.json", "photos.jpg"]
    for name in ("bias.jpg", "photos.jpg"):
        with Image.open(run.out / name) as picture:
            picture.load()
            assert min(picture.size) > 300


def test_a_small_run_prints_its_table(run: Run, bias: Any) -> None:
    for words in (
        "right, cap agrees",
        "energy on tool",
        "tool, of a random map",
        "Differences, photograph by photograph",
        "biased, wrong: tool - cap",
        str(run.out.name),
    ):
        assert words in run.said.replace("\n", "")
    for network in run.found["networks"].values():
        assert bias.shown(network["figures"]["right"], 10) in run.said
    for difference in run.found["differences"].values():
        assert bias.shown_difference(difference)[1] in run.said


def test_what_a_small_run_tells(run: Run) -> None:
    found = run.found
    assert found["training"]["biased"] == {
        "doctor": {"blue": 8, "red": 2},
        "nurse": {"blue": 1, "red": 9},
    }
    assert found["training"]["balanced"]["doctor"] == {"blue": 5, "red": 5}
    assert found["test"]["n"] == 10
    assert set(found["networks"]) == {"biased", "balanced"}
    for one in found["networks"].values():
        assert one["layer"] == "features"
        assert one["grid"] == [14, 14]
        figures = one["figures"]
        right = figures["right, cap agrees"], figures["right, cap contradicts"]
        assert sum(part["n"] for part in right) == figures["right"]["n"] == 10
        whole = sum(part["value"] * part["n"] for part in right) / 10
        assert_agrees(figures["right"]["value"], whole)
        for part in ("cap", "tool"):
            assert figures[f"energy on {part}"]["n"] == 10
            random = figures[f"{part}, of a random map"]["value"]
            assert random == pytest.approx(found["area"][part], rel=0.4)


def test_differences_of_a_small_run_are_those_of_its_means(run: Run) -> None:
    biased, balanced = (run.found["networks"][name]["figures"] for name in ("biased", "balanced"))
    differences = run.found["differences"]
    for name, first, second in (
        ("right: balanced - biased", balanced["right"], biased["right"]),
        ("cap: biased - balanced", biased["energy on cap"], balanced["energy on cap"]),
        ("tool: balanced - biased", balanced["energy on tool"], biased["energy on tool"]),
        ("biased: tool - cap", biased["energy on tool"], biased["energy on cap"]),
        ("biased: cap - random", biased["energy on cap"], biased["cap, of a random map"]),
        ("balanced: tool - random", balanced["energy on tool"], balanced["tool, of a random map"]),
    ):
        assert differences[name]["n"] == 10
        assert_agrees(
            differences[name]["value"], first["value"] - second["value"], scale=first["value"]
        )


def test_two_runs_give_the_same_figures(
    run: Run, bias: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bias, "save_figure", lambda *_: None)  # they take the time
    again = bias.experiment(
        tmp_path, seed=0, train_count=10, test_count=5, epochs=2, console=Console(quiet=True)
    )
    assert again == run.found


def _photos(bias: Any, kinds: list[int], caps: list[int], side: int = 96) -> Any:
    empty = torch.zeros(len(kinds), side, side, dtype=torch.bool)
    images = torch.zeros(len(kinds), 3, side, side)
    return bias.Photos(images, torch.tensor(kinds), torch.tensor(caps), empty, empty)


def test_figures_are_those_of_what_was_said(bias: Any) -> None:
    test = _photos(bias, [0, 1, 0, 1], [0, 0, 1, 1])
    masks = torch.zeros(4, 96, 96, dtype=torch.bool)
    masks[:, :24] = True
    model = bias.Network().eval()
    test = test._replace(images=torch.randn(4, 3, 96, 96), tool=masks, cap=~masks)
    asked = bias.ask(model, test, Console(quiet=True), "")
    with torch.no_grad():
        assert torch.equal(asked.said, model(test.images).argmax(1))
    found = bias.figures_of(asked._replace(said=torch.tensor([0, 0, 0, 1])), test)
    assert found["right"].value == 0.75
    assert found["right"].low == pytest.approx(0.1941, abs=1e-4)  # Clopper and Pearson's, 3 of 4
    assert found["right"].high == pytest.approx(0.9937, abs=1e-4)
    assert found["right, cap agrees"].value == 1  # the first and the last
    assert found["right, cap contradicts"].value == 0.5
    assert found["says what the cap says"].value == 0.75
    heatmap = torch.cat([one.heatmap for one in asked.maps]).double()
    share = (heatmap * masks).sum((1, 2)) / heatmap.sum((1, 2))
    assert_agrees(found["energy on tool"].value, float(share.mean()))
    assert_agrees(found["tool, of maps of 'doctor'"].value, float(share[:3].mean()))
    assert found["tool, of maps of 'nurse'"].n == 1
    assert_agrees(found["tool, of wrong answers"].value, float(share[1]))


def test_differences_are_taken_photograph_by_photograph(bias: Any) -> None:
    from scipy import stats

    test = _photos(bias, [0, 1] * 30, [0, 0, 1, 1] * 15, side=1)
    generator = torch.Generator().manual_seed(0)

    def network(said: torch.Tensor, on_cap: float) -> Any:
        def energy(share: float) -> dict[str, torch.Tensor]:
            noise = torch.rand(60, generator=generator, dtype=torch.float64)
            return {"own": share + 0.2 * noise, "random": 0.1 * noise.roll(1)}

        return bias.Asked(said, [], {"cap": energy(on_cap), "tool": energy(0.1)})

    asked = {"biased": network(test.caps, 0.15), "balanced": network(test.kinds, 0.05)}
    differences = bias.differences_of(asked, test)
    cap, tool = (asked["biased"].energy[area] for area in ("cap", "tool"))
    wrong, nurse = test.caps != test.kinds, test.kinds == 1
    lone = asked["balanced"].energy["cap"]
    expected = {
        "cap: biased - balanced": (cap["own"], lone["own"]),
        "biased: tool - cap": (tool["own"], cap["own"]),
        "biased: tool - random": (tool["own"], tool["random"]),
        "biased, wrong: tool - cap": (tool["own"][wrong], cap["own"][wrong]),
        "balanced, nurse: cap - random": (lone["own"][nurse], lone["random"][nurse]),
    }
    for name, (first, second) in expected.items():
        test_of_pairs = stats.ttest_rel(first, second)
        interval = test_of_pairs.confidence_interval()
        assert_agrees(differences[name].low, float(interval.low))
        assert_agrees(differences[name].high, float(interval.high))
        assert differences[name].n == len(first)
        assert differences[name].p >= min(1, float(test_of_pairs.pvalue))
    assert differences["right: balanced - biased"].value == 0.5
    assert differences["right: balanced - biased"].above == 0.5
    assert differences["right: balanced - biased"].below == 0


def test_p_values_of_the_differences_have_holms_correction(
    bias: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = _photos(bias, [0, 1] * 30, [0, 0, 1, 1] * 15, side=1)
    energy = {"own": torch.rand(60), "random": torch.rand(60)}
    asked = dict.fromkeys(
        ("biased", "balanced"), bias.Asked(test.caps, [], {"cap": energy, "tool": energy})
    )
    received: list[float] = []

    def corrected(p_values: list[float]) -> list[float]:
        received.extend(p_values)
        return [0.25] * len(p_values)

    monkeypatch.setattr(bias, "adjusted", corrected)
    differences = bias.differences_of(asked, test)
    assert len(received) == len(differences) == 15
    assert {each.p for each in differences.values()} == {0.25}


def test_rows_are_chosen_by_the_rule(bias: Any) -> None:
    kinds = [0, 1, 0, 1, 0, 1, 0, 1]
    caps = [0, 1, 1, 0, 1, 0, 1, 0]  # the first two agree
    test = _photos(bias, kinds, caps)
    said = torch.tensor([0, 1, 0, 1, 1, 0, 1, 1])  # wrong on 4, 5 and 6
    rows = bias.rows_shown(test, bias.Asked(said, [], {}))
    assert rows == [3, 4, 5, 6, 0]


def test_the_first_blocks_do_not_learn(bias: Any) -> None:
    photos = _photos(bias, [0, 1, 0, 1], [0, 1, 0, 1], side=224)
    photos = photos._replace(images=torch.randn(4, 3, 224, 224))
    before = {name: one.clone() for name, one in bias.EMBEDDED.model.state_dict().items()}
    once, again = (bias.train(photos, 2, 0, Console(quiet=True), "") for _ in range(2))
    for name, one in bias.EMBEDDED.model.state_dict().items():
        assert torch.equal(one, before[name]), name
    torch.manual_seed(0)
    fresh = bias.Network()
    assert not torch.equal(once.head.weight, fresh.head.weight)
    assert torch.equal(once.head.weight, again.head.weight)
    assert not any(module.training for module in once.modules())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--train", "4"], "an integer of at least 5"),
        (["--test", "many"], "'many' was given"),
        (["--seed", "-1"], "an integer of at least 0"),
        (["--epochs", "0"], "an integer of at least 1"),
        (["--layer", "features"], "unrecognized arguments"),
    ],
)
def test_bad_arguments_are_refused(
    bias: Any, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as done:
        bias.main(words)
    assert done.value.code == 2
    assert said in capsys.readouterr().err


def test_a_folder_that_cannot_be_is_refused_before_any_work(
    bias: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(bias, "draw_training", lambda *_: pytest.fail("it began to work"))
    with pytest.raises(SystemExit) as done:
        bias.main(["--out", str(tmp_path / "file" / "folder")])
    assert done.value.code == 2
    assert "Cannot write" in capsys.readouterr().err


def test_whoever_stops_it_is_told_and_finds_no_half_of_a_file(
    bias: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bias, "train", stopped)
    with pytest.raises(SystemExit) as done:
        bias.main(["--out", str(tmp_path), "--train", "5", "--test", "4"])
    assert done.value.code == 130
    assert "Stopped" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


# The page


def test_the_example_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert blocks
    space: dict[str, Any] = {"limelight": limelight}
    for block in blocks:
        exec(block, space)


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "docs" / "bias.json").read_text())
    return found


def test_the_tables_of_the_page_are_those_of_the_run_with_the_default_seed(
    bias: Any, published: dict[str, Any]
) -> None:
    assert published["seed"] == 0
    rows = dict(re.findall(r"^\| ([^|]+?) \| (.*) \|$", PAGE, re.MULTILINE))
    for table in bias.tables_of(published):
        names, *columns = (list(column.cells) for column in table.columns)
        for name, *cells in zip(names, *columns, strict=True):
            assert rows[name] == " | ".join(cells)


def test_the_text_of_the_page_has_no_figure_that_the_tables_lack() -> None:
    results = PAGE.partition("## Results")[2].partition("## Is it luck?")[0]
    lines = results.splitlines()
    tables = "\n".join(line for line in lines if line.startswith("|"))
    text = "\n".join(line for line in lines if not line.startswith("|"))
    figures = re.findall(r"\d+(?:\.\d)?%", text)
    points = re.findall(r"(\d+\.\d)\s+points", text)
    assert len(figures) > 20
    assert points == ["3.6", "2.0"]
    for figure in figures + [f"{number} [" for number in points]:
        assert re.search(rf"(?<![\d.]){re.escape(figure)}", tables), figure


def test_a_figure_of_a_part_of_the_photographs_says_of_how_many(bias: Any) -> None:
    figure = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 81}
    assert bias.shown(figure, 400) == "50.0% [40.0%, 60.0%] (n=81)"
    assert bias.shown(figure, 81) == "50.0% [40.0%, 60.0%]"
    assert bias.shown(figure | {"low": None}, 400) == "-"


def test_the_differences_that_the_page_calls_real_are_real(published: dict[str, Any]) -> None:
    differences = published["differences"]
    positive = {
        "right: balanced - biased",
        "cap: biased - balanced",
        "tool: balanced - biased",
        "biased: cap - random",
        "biased: tool - random",
        "biased, wrong: cap - random",
        "balanced: tool - cap",
        "balanced: tool - random",
        "balanced, nurse: tool - cap",
        "balanced, nurse: tool - random",
    }
    negative = {"biased: tool - cap", "biased, wrong: tool - cap", "balanced: cap - random"}
    not_shown = {"biased, wrong: tool - random", "balanced, nurse: cap - random"}
    assert set(differences) == positive | negative | not_shown
    for name, difference in differences.items():
        assert (difference["p"] < 0.05) == (name not in not_shown), name
        assert difference["low"] > 0 or name not in positive, name
        assert difference["high"] < 0 or name not in negative, name


def test_the_page_tells_the_training_sets_as_they_are(bias: Any, published: dict[str, Any]) -> None:
    found = published["training"]
    for kind, name in enumerate(bias.CLASSES):
        count = found["biased"][name][bias.CAPS[kind]]
        assert f"{count} of 250 {name}s" in PAGE


def test_the_pictures_of_the_page_are_small() -> None:
    pictures = re.findall(r"\]\((images/[\w-]+\.jpg)\)", PAGE)
    assert len(pictures) == 2
    for name in pictures:
        assert (ROOT / "docs" / name).stat().st_size < 250_000
