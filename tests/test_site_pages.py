"""The generated pages of the site: one for each method and metric, and that of all errors."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models.vision_transformer import VisionTransformer

import limelight
import limelight.cli
from helpers.asked_models import save_llava
from helpers.commands import save_photo
from limelight.cli.network_options import NetworkOptions
from limelight.errors import LimelightError
from limelight.methods import METHODS
from limelight.metrics import METRICS
from limelight.models.network import Network
from limelight.registry import Entry, options_of
from limelight.status import STATUS_NAMES, status_message
from site_pages import error_pages, method_pages, metric_pages, question_pages
from site_pages.error_groups import CURES, GROUPS, group_of
from site_pages.foreign_errors import FOREIGN
from site_pages.links import linked
from site_pages.markdown import file_of
from site_pages.measured import DOCS, cost_rows, measured_rows, of_row, record, sanity_rows
from site_pages.row_words import (
    METHOD_SIGNS,
    METHOD_WORDS,
    METRIC_SIGNS,
    METRIC_WORDS,
    OPTION_WORDS,
)
from site_pages.rows import check_words
from written_sentences import HOLE, MAKERS, ROOT, errors_in, files_with_errors

METHOD_PAGES = method_pages.pages()
METRIC_PAGES = metric_pages.pages()
ROW_PAGES = METHOD_PAGES | METRIC_PAGES
ERRORS = error_pages.pages()["errors.md"]
ALL = ROW_PAGES | {"errors.md": ERRORS}

every_page = pytest.mark.parametrize("path", ROW_PAGES)


def page_of(row: str) -> str:
    folder = "methods" if row in METHODS else "metrics"
    return ROW_PAGES[f"{folder}/{file_of(row)}.md"]


def sections(text: str) -> dict[str, str]:
    """Return the text of each section of a page, by its heading, without those in code."""
    plain = re.sub(r"^```.*?^```$", lambda code: code[0].replace("#", ""), text, flags=re.M | re.S)
    parts = re.split(r"^## (.+)$", plain, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def blocks(text: str, language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [body for kind, body in found if kind == language]


# One page for each row, in one form


def test_every_row_has_a_page() -> None:
    assert set(METHOD_PAGES) == {f"methods/{file_of(name)}.md" for name in METHODS}
    assert set(METRIC_PAGES) == {f"metrics/{file_of(name)}.md" for name in METRICS}
    assert len(METHOD_PAGES) == len(METHODS)
    assert len(METRIC_PAGES) == len(METRICS)


@pytest.mark.parametrize("pages", [METHOD_PAGES, METRIC_PAGES], ids=["methods", "metrics"])
def test_all_pages_of_a_kind_have_one_form(pages: dict[str, str]) -> None:
    assert len({tuple(sections(text)) for text in pages.values()}) == 1
    assert len(sections(next(iter(pages.values())))) >= 10


@every_page
def test_no_section_is_empty(path: str) -> None:
    for heading, text in sections(ROW_PAGES[path]).items():
        assert re.search(r"\w{2,}.*\.|```|\|", text), heading
    assert "None" not in re.sub(r"`[^`]*`|None of", "", ROW_PAGES[path])
    assert "\n\n\n" not in ROW_PAGES[path]


@pytest.mark.parametrize("row", [*METHODS.values(), *METRICS.values()], ids=lambda row: row.name)
def test_a_page_says_what_the_row_says(row: Entry) -> None:
    text = page_of(row.name)
    assert text.startswith(f"# {row.name}\n")
    for said in (row.formula, row.paper, row.use, row.avoid):
        assert said in text
    for option, default in options_of(row.function).items():
        assert re.search(rf"^\| `{option}` \| `.*{str(default).lower()}.*` \| ", text, re.MULTILINE)


def test_a_row_without_words_is_told_where_they_go() -> None:
    new = replace(METHODS["rise"], name="new")
    with pytest.raises(LookupError) as raised:
        method_pages.method_page(new)
    assert "The page of new has no words yet." in str(raised.value)
    assert "METHOD_SIGNS of row_words.py, COSTS of method_pages.py" in str(raised.value)
    optional = replace(new, function=lambda evidence, *, colours=3: evidence.activations)
    with pytest.raises(LookupError, match=r"for the option 'colours'"):
        check_words(optional, {"METHOD_SIGNS": {"new": ""}})
    assert "draws it" in method_pages.maps_part(new)
    assert "does it" in metric_pages.photo_part(replace(METRICS["deletion"], name="new"))


#: Words of formulas that need no explanation.
PLAIN = frozenset(
    re.findall(
        r"\w+",
        "without the highest lowest sharp blurred of mean max min sum ln sqrt exp only cell by "
        "rank at filtered word logits superpixel uniform covered windows over centred if as "
        "much than else within px classes another class with random weights a cascade pixels "
        "top box its maximum harmonic in and image patch loses gradcam",
    )
)


@pytest.mark.parametrize(
    ("rows", "signs", "words"),
    [(METHODS, METHOD_SIGNS, METHOD_WORDS), (METRICS, METRIC_SIGNS, METRIC_WORDS)],
    ids=["methods", "metrics"],
)
def test_every_sign_of_every_formula_is_explained(
    rows: dict[str, Entry], signs: dict[str, str], words: dict[str, str]
) -> None:
    assert set(signs) == set(rows)
    for row in rows.values():
        named = " ".join([signs[row.name], *(words[s] for s in signs[row.name].split("; ") if s)])
        for sign in re.findall(r"[A-Za-z]+", row.formula):
            known = sign in PLAIN or re.search(rf"(?<![A-Za-z]){sign}(?![A-Za-z])", named)
            assert known or sign in "ijknlhqtw", f"{sign} in the formula of {row.name}"


def test_no_words_are_left_over() -> None:
    for words, signs in ((METHOD_WORDS, METHOD_SIGNS), (METRIC_WORDS, METRIC_SIGNS)):
        assert set(words) == {each for line in signs.values() for each in line.split("; ") if each}
    options = {
        (name, option)
        for name, row in (METHODS | METRICS).items()
        for option in options_of(row.function)
    }
    own = {f"{name} {option}" for name, option in options}
    assert set(OPTION_WORDS) <= own | {option for _, option in options}


# What was measured


def test_measured_values_are_those_of_the_docs() -> None:
    table = (DOCS / "measure.md").read_text()
    for row in measured_rows():
        if row.page.startswith("measure.md"):
            cells = f"| `{row.method}` | {row.own} | {row.random} | {row.centre} | {row.lead} |"
            assert cells in table
    assert {row.method.partition(":")[0] for row in sanity_rows()} <= set(METHODS)
    methods = {row.method for row in measured_rows()}
    assert {"gradcam", "saliency", "attention-x-gradient", "rollout"} <= methods
    assert {row.metric.partition(":")[0] for row in measured_rows()} >= {
        "insertion",
        "road",
        "energy-pointing",
        "pointing-game",
    }


def test_every_measured_value_is_on_the_pages_of_its_method_and_its_metric() -> None:
    for row in measured_rows():
        for name in (row.method.partition(":")[0], row.metric.partition(":")[0]):
            assert f"| {row.own} | {row.random} | {row.centre} | {row.lead} |" in page_of(name)
    for sane in sanity_rows():
        for name in (sane.method.partition(":")[0], "parameter-randomisation"):
            assert sane.likeness in page_of(name)


@pytest.mark.parametrize("name", METHODS)
def test_what_was_not_measured_is_said(name: str) -> None:
    known = [*(row.method for row in measured_rows()), *(row.method for row in sanity_rows())]
    measured = any(of_row(name, method) for method in known)
    said = sections(page_of(name))["Measured"]
    assert measured == ("How this was measured" in said)
    assert measured or "has not been measured" in said or METHODS[name].family == "control"
    timed = any(of_row(name, row.method) for row in cost_rows())
    assert timed != ("was not measured" in sections(page_of(name))["Cost"])


# Pictures and links


@pytest.mark.parametrize("name", [name for name in METHODS if name != "tam"])
def test_every_method_has_a_small_picture_of_three_maps(name: str) -> None:
    path = DOCS / "images" / "methods" / f"{file_of(name)}.jpg"
    assert path.stat().st_size <= 30_000
    with Image.open(path) as picture:
        assert picture.width > 3 * picture.height
    assert f"](../images/methods/{path.name})" in page_of(name)
    found = record("page_pictures.json")["methods"][name]
    for status in found["status"]:
        assert status in STATUS_NAMES
        assert status == "ok" or f"errors.md#status-{status}" in page_of(name)


def test_a_method_without_a_picture_says_why() -> None:
    assert "There is no picture: " in page_of("tam")
    assert "images/" not in page_of("tam")


def test_every_metric_with_curves_has_a_small_picture() -> None:
    for name, row in METRICS.items():
        path = DOCS / "images" / "metrics" / f"{name}.png"
        assert path.exists() == (row.axes is not None)
        assert (f"](../images/metrics/{path.name})" in page_of(name)) == path.exists()
        assert not path.exists() or path.stat().st_size <= 30_000
        assert (
            len(re.findall(r"^\| (Grad-CAM|random|blob in the centre) \| ", page_of(name), re.M))
            == 3
        )


def test_no_picture_is_left_over() -> None:
    pictures = {path.name for path in (DOCS / "images").glob("me*/*")}
    named = re.findall(r"\.\./images/\w+/([^)]+)\)", "".join(ROW_PAGES.values()))
    assert pictures == set(named)


def anchors_of(path: str) -> set[str]:
    """Return the anchors of a page: those that it names, and those of its headings."""
    text = ALL[path] if path in ALL else (DOCS / path).read_text()
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w -]", "", each).strip().lower().replace(" ", "-") for each in headings}
    return slugs | set(re.findall(r"\{ #([\w-]+) \}$", text, re.MULTILINE))


@pytest.mark.parametrize("path", ALL)
def test_links_lead_somewhere(path: str) -> None:
    plain = re.sub(r"`[^`]*`|^```.*?^```$", "", ALL[path], flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)]+)\)", plain)
    assert links
    for link in links:
        place, _, anchor = link.partition("#")
        there = path if not place else str((DOCS / path).parent.joinpath(place).resolve())
        there = there.removeprefix(f"{DOCS.resolve()}/")
        assert there in ALL or (DOCS / there).exists(), link
        assert not anchor or anchor in anchors_of(there), link


def test_the_tables_of_the_docs_link_to_the_pages() -> None:
    for page, folder, rows in (
        ("methods.md", "methods", METHODS),
        ("measure.md", "metrics", METRICS),
    ):
        text = linked(page, (DOCS / page).read_text())
        for name in rows:
            assert f"| [`{name}`]({folder}/{file_of(name)}.md) |" in text
    assert linked("guide.md", "| `gradcam` |") == "| `gradcam` |"
    formula = METRICS["max-sensitivity"].formula
    assert f"| `{formula}` |" in linked("measure.md", (DOCS / "measure.md").read_text())


def test_a_methods_page_says_how_often_it_beat_chance() -> None:
    said = sections(page_of("gradcam"))["Measured"]
    rows = [row for row in measured_rows() if row.method == "gradcam"]
    for network in {row.network for row in rows}:
        beats = [row.beats_chance for row in rows if row.network == network]
        assert f"{beats.count('yes')} of {len(beats)} measurements on {network}" in said


# Questions


@pytest.mark.parametrize(
    ("page", "readme"), [("questions.md", "README.md"), ("questions.zh.md", "README.zh-CN.md")]
)
def test_every_question_of_the_readme_is_a_section(page: str, readme: str) -> None:
    text = question_pages.pages()[page]
    asked = (DOCS.parent / readme).read_text().count("](https://github.com/jacobgil/")
    assert text.count("](https://github.com/jacobgil/") == asked
    assert len(sections(text)) == 12
    (yolo,) = (answer for question, answer in sections(text).items() if "YOLO" in question)
    assert "YOLOv5" in yolo
    assert "](tasks.md#detection)" in yolo
    for target in re.findall(r"\]\((?!https:)([^)#]+)", text):
        assert target == "errors.md" or (DOCS / target).exists(), target


# How to call it


def tiny_network(name: str) -> Network:
    """Return a small network of each kind that the pages call: with attention for `vit_b_16`."""
    torch.manual_seed(0)
    if name == "vit_b_16":
        model: nn.Module = VisionTransformer(32, 8, 2, 2, 16, 16, num_classes=5)
        nn.init.normal_(model.heads.head.weight)  # type: ignore[union-attr, arg-type]
    else:
        model = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2),
            nn.ReLU(),
            nn.Conv2d(6, 4, 3, stride=2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 5),
        )
    return Network(name, model.eval(), limelight.Preprocess(size=(32, 32), resize=36))


@pytest.fixture
def folder(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A working directory with the files that the examples speak of, and small networks."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for name in ("cat.jpg", "photos/a.jpg", "photos/b.jpg"):
        save_photo(tmp_path / name)
    (tmp_path / "boxes.csv").write_text("photo,x1,y1,x2,y2\na.jpg,20,10,60,45\nb.jpg,20,10,60,45\n")

    def load(name: str = "", **_: object) -> Network:
        return tiny_network(name)

    monkeypatch.setattr(limelight, "load_model", load)
    monkeypatch.setattr(NetworkOptions, "load", lambda options: tiny_network(options.model))
    return tmp_path


#: Options with which a method takes no minutes on a network whose answer does not matter.
FAST = {"rise": "rise:masks=20", "kernelshap": "kernelshap:samples=20,segments=5"}


@pytest.mark.parametrize("name", [name for name in METHODS if METHODS[name].family != "words"])
def test_the_python_of_a_method_runs(folder: Path, name: str) -> None:
    (code,) = blocks(page_of(name), "python")
    space: dict[str, Any] = {}
    exec(code.replace(f'"{name}"', f'"{FAST.get(name, name)}"'), space)
    assert of_row(name, space["result"].method)
    assert (folder / f"{file_of(name)}.png").is_file()


@pytest.mark.parametrize("name", METRICS)
def test_the_python_of_a_metric_runs(folder: Path, name: str) -> None:
    (code,) = blocks(page_of(name), "python")
    code = code.replace("[40, 40, 150, 120]", "[4, 4, 20, 15]")  # the network takes 32 pixels
    space: dict[str, Any] = {}
    exec(code, space)
    assert space["estimate"].own.n <= 1


def test_the_python_of_words_runs(folder: Path) -> None:
    save_llava(folder / "llava")
    (code,) = blocks(page_of("tam"), "python")
    space: dict[str, Any] = {}
    exec(code, space)
    assert space["answer"]["cat"].heatmaps


COMMANDS = {
    line: name
    for name in (*METHODS, *METRICS)
    for block in blocks(page_of(name), "")
    for line in block.splitlines()
}


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_run(
    folder: Path, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = COMMANDS[line]
    words = [FAST.get(word, word) if word == name else word for word in shlex.split(line)]
    if "hf:llava" in words:
        save_llava(folder / "llava")
    if "methods" in words or "metrics" in words:
        words = shlex.split(line)
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as done:
        limelight.cli.main()
    assert done.value.code in (0, None), capsys.readouterr().err


# Errors


def test_every_error_of_the_library_is_on_the_page() -> None:
    for path in files_with_errors():
        for error in errors_in(path):
            for text in error.texts:
                assert text in ERRORS, error.where


#: Where an error passes on the text of another, and has none of its own.
PASSED_ON = {
    "audits/rows/maker.py",
    "cli/commands/choose.py",
    "metrics/annotation_files.py",
    "runtime/record.py",
    "target_evidence.py",
    "web/subjects/uploads.py",
}


def test_only_errors_that_pass_on_others_have_no_text() -> None:
    silent = {
        error.where for path in files_with_errors() for error in errors_in(path) if not error.texts
    }
    assert {where.partition(":")[0] for where in silent} == PASSED_ON
    assert len(silent) <= 9


def test_no_error_in_the_source_is_overlooked() -> None:
    made = re.compile(rf"\braise ({'|'.join(MAKERS)})\(")
    for path in sorted(ROOT.rglob("*.py")):
        raised = len(made.findall(path.read_text(encoding="utf-8")))
        assert len(errors_in(path.relative_to(ROOT).as_posix())) >= raised, path


def test_every_file_with_errors_has_a_group() -> None:
    used = {group_of(path) for path in files_with_errors()}
    assert used == set(GROUPS)


def test_every_status_is_on_the_page() -> None:
    for name in STATUS_NAMES:
        assert f"### `{name}` {{ #status-{name} }}" in ERRORS
        assert error_pages.STATUSES[name] in ERRORS
    message = status_message("flat", method="{method}", layer="{layer}", grid=None)
    assert message in ERRORS
    assert all(sentence in ERRORS for sentence in error_pages.other_sentences())


def test_anchors_of_errors_are_stable_and_distinct() -> None:
    named = re.findall(r"\{ #([\w-]+) \}$", ERRORS, re.MULTILINE)
    assert len(named) == len(set(named))
    assert len(named) > 500
    again = error_pages.pages()["errors.md"]
    assert again == ERRORS
    # An error keeps its anchor when others come and go: few take a number from their order.
    assert sum(bool(re.search(r"-\d$", each)) for each in named) < 20


def test_every_cure_belongs_to_an_error() -> None:
    texts = [text for path in files_with_errors() for e in errors_in(path) for text in e.texts]
    for start, cure in CURES.items():
        assert any(text.startswith(start) for text in texts), start
        assert cure in ERRORS


def pattern(text: str) -> re.Pattern[str]:
    """Return what the literal text of an error matches, whatever stands in its holes."""
    parts = re.split(rf"'\{{\w+\}}'|\{{\w+\}}|{HOLE}", text)  # a number has no quotes
    return re.compile(".*?".join(re.escape(" ".join(part.split())) for part in parts), re.DOTALL)


PATTERNS = [
    pattern(text) for path in files_with_errors() for e in errors_in(path) for text in e.texts
]


def small() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


IMAGES = torch.rand(1, 3, 16, 16)

RAISED: dict[str, Callable[[], object]] = {
    "a class that there is not": lambda: limelight.explain(small(), IMAGES, target=281),
    "a class by name": lambda: limelight.explain(small(), IMAGES, target="tabby"),
    "a layer that there is not": lambda: limelight.explain(small(), IMAGES, layer="layer4"),
    "a method that there is not": lambda: limelight.explain(small(), IMAGES, method="gradcan"),
    "an option": lambda: limelight.explain(small(), IMAGES, method="rise:masks=0"),
    "no tensor": lambda: limelight.explain(small(), "cat.jpg"),
    "no model": lambda: limelight.explain("resnet50", IMAGES),  # type: ignore[arg-type]
    "NaN": lambda: limelight.explain(small(), IMAGES * torch.nan),
    "an argument": lambda: limelight.explain(small(), IMAGES, targets=1),  # type: ignore[call-arg]
    "no file": lambda: limelight.load_photo("nowhere.jpg"),
    "attention": lambda: limelight.explain(small(), IMAGES, method="rollout"),
    "weights": lambda: limelight.load_model("resnet18", weights="nowhere.pth"),
    "objects": lambda: limelight.measure(
        small(), IMAGES, limelight.explain(small(), IMAGES), metrics="pointing-game"
    ),
    "a callable": lambda: limelight.explain(small(), IMAGES, target=lambda y: y),
    "a file of results": lambda: limelight.explain(small(), IMAGES).save("map.xyz"),
}


@pytest.mark.parametrize("name", RAISED)
def test_an_error_that_is_raised_is_found_on_the_page(name: str) -> None:
    with pytest.raises(LimelightError) as raised:
        RAISED[name]()
    said = " ".join(str(raised.value).split())
    assert any(each.fullmatch(said) for each in PATTERNS), said


def test_foreign_errors_are_answered_as_the_page_says() -> None:
    assert all(f"### `{text}` {{ #" in ERRORS for text in FOREIGN)
    model = small().requires_grad_(False)
    with torch.no_grad():
        assert limelight.explain(model, IMAGES).status[0].ok
    with torch.inference_mode():
        assert limelight.explain(model, IMAGES).status[0].ok
        made, images = small(), torch.rand(1, 3, 16, 16)
    assert limelight.explain(made, images).status[0].ok
    model = nn.Sequential(small(), nn.BatchNorm1d(4)).train()
    assert limelight.explain(model, IMAGES).status[0].ok
    assert model.training
    model = small()
    model[2] = nn.ReLU(inplace=True)  # type: ignore[operator]
    assert limelight.explain(model, IMAGES).status[0].ok

    class ReturnsDict(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = small()

        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"logits": self.inside(images)}

    assert limelight.explain(ReturnsDict(), IMAGES).status[0].ok
    for images in (IMAGES.double(), IMAGES[:, :1], IMAGES[0]):
        with pytest.raises((RuntimeError, ValueError)) as own:
            model(images)
        with pytest.raises(type(own.value)) as passed_on:
            limelight.explain(model, images)
        assert str(passed_on.value) == str(own.value)
