"""What the pages say agrees with the code, with the measurements, and with each other."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path
from typing import get_args

import pytest

import limelight
import tables
from helpers.deployed_files import save_file
from helpers.docs_pages import CHINESE, PAGES, ROOT, commands, links, places, python_of, sections
from limelight.audits.searches import (
    cases,
    conclusions,
    evidence,
    mark_heat,
    pixels,
    placing,
    related,
    removal,
    search,
    wrong_answers,
)
from limelight.cli import COMMANDS
from limelight.compat.migration import migrate
from limelight.compat.migration.peers import PEERS, Explainer
from limelight.methods import METHODS
from limelight.metrics import METRICS
from limelight.status import StatusName
from limelight.vision_language.rows import WORD_COLUMNS

README = (ROOT / "README.md").read_text()
DOCS = {page.stem: page.read_text() for page in PAGES if page.parent.name == "docs"}


# Links


@pytest.mark.parametrize(
    "page", [*PAGES, *CHINESE, ROOT / "CHANGELOG.md"], ids=lambda page: page.name
)
def test_links_lead_somewhere(page: Path) -> None:
    for path, place in links(page.read_text()):
        if path.startswith("https://"):
            continue
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), path
        if place and there.suffix == ".md":
            assert place in places(there.read_text()), f"{path}#{place}"


# The front door


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readme_names_every_command(command: str) -> None:
    lines = [found.line.split()[:2] for found in commands(ROOT / "README.md")]
    assert ["limelight", command] in lines


def test_the_readme_counts_the_methods_and_metrics() -> None:
    controls = [row for row in METHODS.values() if row.family == "control"]
    assert f"Grad-CAM and {len(METHODS) - len(controls) - 1} other methods" in README
    assert f"[{len(METHODS) - len(controls)}](docs/methods.md), and {len(controls)} contr" in README
    assert f"[{len(METRICS)}](docs/measure.md#the-metrics)" in README


def test_what_the_readme_says_of_cost_is_what_was_measured() -> None:
    """The columns: plain, layer named, layer found, grad-cam, torchcam, captum."""
    cells = r"\| resnet50 \| 16 \| [\d.]+ \| ([\d.]+) \| [\d.]+ \| ([\d.]+) \| ([\d.]+) \| ([\d.]+)"
    times = re.search(cells, DOCS["benchmarks"])
    assert times
    time = " | ".join(f"{float(number):.2f}" for number in times.groups())
    time = time.replace(time[:4], f"[{time[:4]}](docs/benchmarks.md#grad-cam-over-a-plain-forward)")
    assert f"| time over a plain forward, ResNet-50, 16 images | {time} |" in README
    sides = ("limelight", "grad-cam", "torchcam", "captum")
    peaks = [
        re.search(rf"\| resnet50 \| {side} \| \d+ \| ([\d.]+)", DOCS["benchmarks"])
        for side in sides
    ]
    memory = " | ".join(f"{float(peak[1]):.2f}" for peak in peaks if peak)
    assert f"| memory over a plain forward, the same | {memory} |" in README


@pytest.mark.parametrize("task", [title for title in sections(DOCS["tasks"]) if title])
def test_the_gallery_leads_to_every_task(task: str) -> None:
    (place,) = places(f"## {task}")
    assert f"(tasks.md#{place})" in DOCS["index"]


def test_the_figures_of_the_decision_table_were_measured() -> None:
    table = sections(DOCS["choose"])["Decision table"]
    measured = DOCS["choose"].replace(table, "") + DOCS["measure"] + DOCS["tasks"] + DOCS["ask"]
    figures = re.findall(r"\+\d\.\d+ \[[^]]+\]|\d+\.\d times", table)
    assert len(figures) >= 10
    for figure in figures:
        assert figure in measured, figure


# Tables


@pytest.mark.parametrize("name", METHODS)
def test_the_page_lists_every_method(name: str) -> None:
    row = METHODS[name]
    formula = row.formula.replace("|", r"\|")  # a pipe would end the table's cell
    assert f"| `{name}` | `{formula}` | {row.paper} |" in DOCS["methods"], "run make tables"


@pytest.mark.parametrize("name", METRICS)
def test_the_page_lists_every_metric(name: str) -> None:
    row = METRICS[name]
    formula = row.formula.replace("|", r"\|")
    written = f"| `{name}` | `{formula}` | {row.better} | {row.paper} |"
    assert written in DOCS["measure"], "run make tables"


@pytest.mark.parametrize("page", tables.PAGES)
def test_the_tables_of_methods_and_metrics_are_as_new_as_they_are(page: str) -> None:
    assert (ROOT / page).read_text() == tables.renewed(page), "run make tables"


@pytest.mark.parametrize("status", get_args(StatusName))
def test_the_page_about_trust_lists_every_status(status: str) -> None:
    assert f"| `{status}` |" in DOCS["trust"]


def test_the_page_about_asking_names_every_column_of_words() -> None:
    table = DOCS["ask"].partition("## Tables")[2]
    assert set(re.findall(r"`(\w+)`", table)) >= set(WORD_COLUMNS)


def test_the_tables_of_the_benchmarks_are_those_of_their_figures() -> None:
    figures = json.loads((ROOT / "docs" / "benchmarks.json").read_text())
    written = re.findall(r"<!-- ([\w-]+) -->\n(.*?)<!-- end -->", DOCS["benchmarks"], re.DOTALL)
    assert dict(written).keys() == figures.keys()
    for name, section in written:
        assert section.strip().startswith(f"On {figures[name]['setting']}")
        rows = [line for line in section.splitlines() if line.startswith("| ")]
        found = figures[name]["tables"]
        assert len(rows) == sum(1 + len(table) for table in found)
        for table in found:
            assert f"| {' | '.join(table[0])} |" in rows
            for row in table:
                first, *_ = row.values()
                assert any(line.startswith(f"| {first} |") for line in rows)


# Pages


def test_the_pictures_of_the_tasks_are_those_that_the_example_draws() -> None:
    drawn = "".join(path.read_text() for path in (ROOT / "examples" / "tasks").glob("*.py"))
    named = set(re.findall(r"images/(task-\w+\.png)", DOCS["tasks"]))
    assert named == set(re.findall(r"task-\w+\.png", drawn))
    for name in named:
        assert (ROOT / "docs" / "images" / name).stat().st_size < 250_000


def test_every_task_has_examples() -> None:
    tasks = [part for title, part in sections(DOCS["tasks"]).items() if title]
    assert len(tasks) >= 7
    assert all(python_of(part) for part in tasks)


def test_the_example_that_draws_them_can_be_asked_what_it_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tasks.py", "--help"])
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "tasks"))
    with pytest.raises(SystemExit) as done:
        runpy.run_path(str(ROOT / "examples" / "tasks" / "tasks.py"), run_name="__main__")
    assert done.value.code == 0
    said = capsys.readouterr().out
    assert "--only" in said
    assert "--out" in said


def test_the_page_has_what_the_command_makes_of_its_example() -> None:
    old = re.findall(r"^```py\n(.*?)^```$", DOCS["migrate"], re.DOTALL | re.MULTILINE)[0]
    new = python_of(DOCS["migrate"])[2]
    head = "from pytorch_grad_cam import GradCAM\n"
    head += "from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget\n"
    assert migrate(head + old).script == f"import limelight\n\n{new}"


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
def test_the_page_names_every_class_of(peer: type[Explainer]) -> None:
    for name in peer.classes:
        assert re.search(rf"\b{name}\b", DOCS["migrate"]), name


def test_the_configuration_of_triton_has_the_names_and_types_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_file(tmp_path / "net.onnx")
    session = limelight.deployed.load("net.onnx").session
    types = {"tensor(float)": "FP32", "tensor(int64)": "INT64"}
    for kind, values in (("input", session.get_inputs()), ("output", session.get_outputs())):
        (section,) = re.findall(rf"^{kind} \[\n(.*?)^\]", DOCS["deploy"], re.DOTALL | re.MULTILINE)
        written = re.findall(r'name: "(\w+)" +data_type: TYPE_(\w+) +dims: \[(.*?)\]', section)
        axes = {"logits": 1, "target": 1, "status": 1, "raw": 2, "heatmap": 2, "image": 3}
        assert {(name, data) for name, data, _ in written} == {
            (value.name, types[value.type]) for value in values
        }
        assert all(len(dims.split(",")) == axes[name] for name, _, dims in written)


def test_the_page_about_audits_has_the_limits_of_the_code() -> None:
    text = " ".join(DOCS["audit"].partition("## What it looks for")[2].split())
    for said in (
        f"{evidence.COMPONENTS} principal components",
        f"{min(evidence.KINDS)} to {max(evidence.KINDS)} kinds",
        f"within {evidence.TOLERANCE} of the best",
        f"fewer than {evidence.FEWEST_PHOTOS} photos, or of fewer than {evidence.FEWEST_SOURCES} s",
        f"fewer than {evidence.SMALL_CLASS} photos are sorted together",
        f"max-T test of {wrong_answers.PERMUTATIONS} permutations",
        f"p < {conclusions.ALPHA:.2f}".replace("0.", "."),
        f"at least {conclusions.LEAST_EXCESS:.0%}".replace("%", " %"),
        f"fewer than {cases.FEWEST_WRONG} wrong answers or {related.FEWEST_SOURCES} sources",
        f"more than {placing.PLACE_LIMIT:.0f} standard deviations closer together",
        f"more than {placing.BORDER_LIMIT:.0f} standard deviations closer to it",
        f"({placing.MOST_DRAWN} at most)",
        f"at least {placing.ON_OPPOSITE:.0%} on each of two opposite sides".replace("%", " %"),
        f"grey at {pixels.SIDE} x {pixels.SIDE}, less the mean of {pixels.NEIGHBOURHOOD} x",
        f"by {pixels.PERMUTATIONS} permutations",
        f"Up to {pixels.MOST_OF_A_CLASS} photos of a class",
        f"from {pixels.FEWEST_PHOTOS} photos of {related.FEWEST_SOURCES} sources on",
        f"at least {mark_heat.LEAST_RATIO} times as hot",
        f"t of at least {mark_heat.LEAST_T:.0f}",
        f"first {search.MOST_REMOVED} findings",
        f"up to {removal.MOST_OF_A_KIND} right answers and {removal.MOST_OF_A_KIND} wrong ones",
    ):
        assert said in text, said
    assert (evidence.LEAST_HEAT, placing.IN_OUTERMOST) == (0.5, 0.5)  # "half"
    assert pytest.approx(2 / 3) == conclusions.IN_FOUR_CELLS  # "two thirds"
