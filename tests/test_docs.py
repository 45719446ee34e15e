from __future__ import annotations

import json
import re
import runpy
import shlex
import shutil
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import nibabel
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn
from transformers import ViTConfig, ViTImageProcessor

import limelight
import limelight.cli
import limelight.deployed
import tables
from helpers.asked_models import save_blip, save_llava
from helpers.audited import CLASSES, other_network, tiny_network, write_photos
from helpers.deployed_files import NETWORK, save_file
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
from limelight.cli.network_options import NetworkOptions
from limelight.compat.migration import migrate
from limelight.compat.migration.peers import PEERS, Explainer
from limelight.methods import METHODS
from limelight.metrics import METRICS, choosing
from limelight.metrics.learned import Learned
from limelight.render import write_film
from limelight.vision_language.rows import WORD_COLUMNS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
GUIDE = (ROOT / "docs" / "guide.md").read_text()
TASKS = (ROOT / "docs" / "tasks.md").read_text()
METHODS_PAGE = (ROOT / "docs" / "methods.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [body for kind, body in found if kind == language]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that answers about photos, and one that writes captions."""
    found = tmp_path_factory.mktemp("asked")
    save_llava(found / "llava")
    save_blip(found / "blip")
    return found


@pytest.fixture
def folder(tmp_path: Path, asked: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the files that the examples speak of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for name in ("cat.jpg", "street.jpg", "photos/a.jpg", "photos/b.jpg"):
        Image.fromarray(rng.integers(0, 255, (80, 90, 3), dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "mynets.py").write_text(
        "import torch, torchvision\n"
        "def build(): return torchvision.models.squeezenet1_1(weights=None, num_classes=2)\n"
        "def grey():\n"
        "    network = build()\n"
        "    network.features[0] = torch.nn.Conv2d(1, 64, 3, 2)\n"
        "    return network\n"
    )
    scan = rng.integers(-1000, 1000, (90, 80, 2)).astype("int16")
    volume = nibabel.Nifti1Image(scan, np.eye(4))  # type: ignore[no-untyped-call]
    nibabel.save(volume, tmp_path / "ct.nii.gz")
    frames = [Image.fromarray(rng.integers(0, 255, (80, 90, 3), dtype=np.uint8))] * 6
    write_film(tmp_path / "walk.mp4", frames, fps=10)
    (tmp_path / "old.py").write_text(
        "from pytorch_grad_cam import GradCAM\n"
        "maps = GradCAM(model=model, target_layers=[model.layer4])(images, None)\n"
    )
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    save_file(tmp_path / "net.onnx")
    mine = torchvision.models.squeezenet1_1(weights=None, num_classes=2)
    torch.save(mine.state_dict(), tmp_path / "mine.pth")
    config = ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=32)
    config.architectures = ["ViTForImageClassification"]
    config.save_pretrained(tmp_path / "mynets" / "vit")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "mynets" / "vit")
    for name in ("llava", "blip"):
        (tmp_path / name).symlink_to(asked / name)
    (tmp_path / "mynets" / "llava").symlink_to(asked / "llava")
    return tmp_path


def test_examples_of_the_readme_run(folder: Path) -> None:
    first, *others = blocks(README, "python")
    exec(first, {})
    assert (folder / "cat.png").is_file()
    assert others
    for block in others:
        torch.manual_seed(0)
        model = torchvision.models.resnet18(weights=None)
        space = {
            "limelight": limelight,
            "model": model,
            "images": torch.rand(2, 3, *([256] * 2 if "detector" in block else [64] * 2)),
        }
        if "detector" in block:
            bare: dict[str, Any] = {"weights": None, "weights_backbone": None}
            encoder = torchvision.models.resnet18(weights=None)
            encoder.fc = nn.Identity()
            space |= {
                "segmenter": torchvision.models.segmentation.lraspp_mobilenet_v3_large(**bare),
                "mask": torch.ones(256, 256),
                "detector": torchvision.models.detection.ssdlite320_mobilenet_v3_large(**bare),
                "encoder": encoder,
                "embedding": torch.randn(512),
            }
        exec(block, space)


def test_examples_of_the_guide_run(folder: Path) -> None:
    space: dict[str, object] = {}
    for block in blocks(GUIDE, "python"):
        exec(block, space)
    assert callable(space["build"])


SECTIONS = {
    part.partition("\n")[0]: part for part in TASKS.split("\n## ")[1:] if blocks(part, "python")
}


@pytest.mark.parametrize("section", SECTIONS)
def test_examples_of_the_tasks_run(folder: Path, section: str) -> None:
    torch.manual_seed(0)
    space: dict[str, object] = {"__name__": "tasks"}
    for block in blocks(SECTIONS[section], "python"):
        exec(block, space)


def test_every_task_has_examples() -> None:
    assert len(SECTIONS) == len(TASKS.split("\n## ")[1:]) >= 7


def test_the_pictures_of_the_tasks_are_those_that_the_example_draws() -> None:
    drawn = "".join(path.read_text() for path in (ROOT / "examples" / "tasks").glob("*.py"))
    named = set(re.findall(r"images/(task-\w+\.png)", TASKS))
    assert named == set(re.findall(r"task-\w+\.png", drawn))
    for name in named:
        assert (ROOT / "docs" / "images" / name).stat().st_size < 250_000


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


def commands(text: str) -> list[str]:
    lines = [line for block in blocks(text, "") for line in block.splitlines()]
    return [line for line in lines if line.startswith("limelight")]


COMMANDS = [line for line in commands(README) if not line.startswith("limelight page")]
SERVING = [line for line in commands(README) if line.startswith("limelight page")]
PAGE = (ROOT / "docs" / "page.md").read_text()


def serve_briefly(
    settings: limelight.PageSettings, networks: Any, announce: Callable[[str], None]
) -> None:
    """Serve the page as its command does, and end as soon as it was told where it is."""
    with limelight.PageServer(replace(settings, port=0), networks) as page:
        announce(page.url)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let `limelight page` end once it answers; return the addresses that a browser was sent to."""
    opened = list[str]()
    command = "limelight.cli.commands.page"
    monkeypatch.setattr(f"{command}.serve", serve_briefly)
    monkeypatch.setattr(f"{command}.webbrowser.open", opened.append)
    # The real networks are a download.
    monkeypatch.setattr(f"{command}.load_model", lambda name: replace(NETWORK, name=name))
    load = NetworkOptions.load

    def loaded(options: NetworkOptions) -> limelight.Network:
        return replace(NETWORK, name="resnet50") if options.model == "resnet50" else load(options)

    monkeypatch.setattr(NetworkOptions, "load", loaded)
    return opened


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_of_the_readme_run(
    folder: Path, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = shlex.split(line, comments=True)
    if "explain" in words and "--model" in words and "--weights" not in words:
        words += ["--weights", "none"]  # the real ones are a download
    if "export" in words:  # of a large network it takes many seconds
        monkeypatch.setattr(NetworkOptions, "load", lambda _options: NETWORK)
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as done:
        limelight.cli.main()
    assert done.value.code in (0, None), capsys.readouterr().err


def test_there_are_commands_to_test() -> None:
    assert len(COMMANDS) >= 6


@pytest.mark.parametrize("name", METHODS)
def test_the_page_of_methods_lists_every_method(name: str) -> None:
    row = METHODS[name]
    formula = row.formula.replace("|", r"\|")  # a pipe would end the table's cell
    assert f"| `{name}` | `{formula}` | {row.paper} |" in METHODS_PAGE, "run make tables"


def test_the_readme_lists_every_status() -> None:
    from typing import get_args

    from limelight.status import StatusName

    for status in get_args(StatusName):
        assert f"| `{status}` |" in README


@pytest.mark.parametrize(
    "page", [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")], ids=lambda p: p.name
)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert link.startswith("https://") or (page.parent / link).exists(), link


WALK = (ROOT / "docs" / "walkthrough.md").read_text()


def test_examples_of_the_walkthrough_run(folder: Path) -> None:
    space: dict[str, object] = {}
    for block in blocks(WALK, "python"):
        exec(block, space)
    assert {"page.html", "trace.npz", "trace.png"} <= {path.name for path in folder.iterdir()}


WALKING = [line for line in blocks(WALK, "")[0].splitlines() if line.startswith("limelight")]


def assert_runs(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", shlex.split(line, comments=True))
    with pytest.raises(SystemExit) as done:
        limelight.cli.main()
    assert done.value.code in (0, None), capsys.readouterr().err


@pytest.mark.parametrize("line", dict.fromkeys([*SERVING, *commands(PAGE)]))
def test_commands_of_the_page_run(
    folder: Path,
    line: str,
    brief: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert_runs(line, monkeypatch, capsys)
    assert bool(brief) == ("--open" in line)


def test_the_python_of_the_page_runs(folder: Path) -> None:
    network = limelight.load_model()
    space: dict[str, Any] = {"limelight": limelight, "network": network, "other": network}
    space["model"] = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    (block,) = blocks(PAGE, "python")
    exec(block, space)


@pytest.mark.parametrize("line", WALKING)
def test_commands_of_the_walkthrough_run(
    folder: Path, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_runs(line, monkeypatch, capsys)


def test_there_are_commands_of_the_walkthrough() -> None:
    assert len(WALKING) >= 5


ASK = (ROOT / "docs" / "ask.md").read_text()
ASKING = [line for line in blocks(ASK, "")[0].splitlines() if line.startswith("limelight")]


def test_examples_of_asking_run(folder: Path) -> None:
    space: dict[str, Any] = {}
    for block in blocks(ASK, "python"):
        exec(block, space)
    names = sorted(path.name for path in (folder / "answer").iterdir())
    assert names == ["answer.html", "maps.npz", "words.png"]
    assert space["against"]["cat"].contrast is not None
    assert len(space["both"]["cat"].heatmaps) == 2


@pytest.mark.parametrize("line", ASKING)
def test_commands_of_asking_run(
    folder: Path, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_runs(line, monkeypatch, capsys)


def test_the_page_about_asking_names_every_column_of_words() -> None:
    table = ASK.partition("## Tables")[2]
    assert set(re.findall(r"`(\w+)`", table)) >= set(WORD_COLUMNS)
    assert len(ASKING) >= 5


MEASURE = (ROOT / "docs" / "measure.md").read_text()


def test_examples_of_measuring_run(folder: Path) -> None:
    torch.manual_seed(0)
    space: dict[str, object] = {}
    for block in blocks(MEASURE, "python"):
        exec(block, space)
    assert (folder / "measured.csv").is_file()
    assert (folder / "shard-1.json").is_file()


@pytest.mark.parametrize("name", METRICS)
def test_the_page_lists_every_metric(name: str) -> None:
    row = METRICS[name]
    formula = row.formula.replace("|", r"\|")
    assert f"| `{name}` | `{formula}` | {row.better} | {row.paper} |" in MEASURE, "run make tables"


@pytest.mark.parametrize("page", tables.PAGES)
def test_the_tables_of_methods_and_metrics_are_as_new_as_they_are(page: str) -> None:
    assert (ROOT / page).read_text() == tables.renewed(page), "run make tables"


MEASURING = [line for line in blocks(MEASURE, "")[0].splitlines() if line.startswith("limelight")]


@pytest.mark.parametrize("line", MEASURING)
def test_commands_of_measuring_run(
    folder: Path, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "boxes.csv").write_text("photo,x1,y1,x2,y2\na.jpg,20,20,60,60\nb.jpg,0,0,50,50\n")
    (folder / "masks").mkdir()
    for name in ("a", "b"):
        Image.new("L", (90, 80), 255).save(folder / "masks" / f"{name}.png")
    assert_runs(line, monkeypatch, capsys)


def test_there_are_commands_of_measuring() -> None:
    assert len(MEASURING) >= 5


CHOOSE = (ROOT / "docs" / "choose.md").read_text()


def test_examples_of_choosing_run(folder: Path) -> None:
    torch.manual_seed(0)
    space: dict[str, Any] = {}
    for block in blocks(CHOOSE, "python"):
        exec(block, space)
    found = space["found"]
    assert (found.best, found.arguments) == (None, {})
    for words in found.sentence.partition(":")[0].split(". "):
        assert words in CHOOSE
    assert (folder / "choice.json").is_file()


CHOOSING = [line for line in blocks(CHOOSE, "")[0].splitlines() if line.startswith("limelight")]


@pytest.mark.parametrize("line", CHOOSING)
def test_commands_of_choosing_run(
    folder: Path, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(1)
    for number in range(16):
        noise = rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / "photos" / f"{number}.png")
    boxes = [f"{path.name},10,10,30,30" for path in sorted((folder / "photos").iterdir())]
    (folder / "boxes.csv").write_text("\n".join(["photo,x1,y1,x2,y2", *boxes]))
    # All 40 networks would take seconds; that they have learned nothing ends the choice.
    nothing = Learned(0.0, 0.5, 1.0)
    monkeypatch.setattr(choosing, "has_learned", lambda *_args, **_options: iter([nothing]))
    assert_runs(line, monkeypatch, capsys)


def test_there_are_commands_of_choosing() -> None:
    assert len(CHOOSING) >= 4


MIGRATE = (ROOT / "docs" / "migrate.md").read_text()


def test_examples_of_migrating_run() -> None:
    torch.manual_seed(0)
    space: dict[str, object] = {}
    for block in blocks(MIGRATE, "python"):
        exec(block, space)
    assert isinstance(space["result"], limelight.Explanation)


MIGRATING = [line for line in blocks(MIGRATE, "")[0].splitlines() if line.startswith("limelight")]


@pytest.mark.parametrize("line", MIGRATING)
def test_commands_of_migrating_run(
    folder: Path, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_runs(line, monkeypatch, capsys)


def test_there_are_commands_of_migrating() -> None:
    assert len(MIGRATING) >= 3


AUDIT = (ROOT / "docs" / "audit.md").read_text()
AUDITING = [line for line in blocks(AUDIT, "")[0].splitlines() if line.startswith("limelight")]


@pytest.fixture
def audit_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the examples of audits speak of, and networks that look at them quickly."""
    pytest.importorskip("pyarrow")
    pytest.importorskip("sklearn")
    shutil.rmtree(folder / "photos")
    photos = write_photos(folder / "photos", 24)
    for name in ("labels", "corrected"):
        lines = [f"{photo.name},{photo.parent.name}" for photo in photos]
        (folder / f"{name}.csv").write_text("\n".join(["photo,label", *lines]))
    lines = [f"{photo.name},patient {number // 2}" for number, photo in enumerate(photos)]
    (folder / "patients.csv").write_text("\n".join(["photo,group", *lines]))
    (folder / "boxes").mkdir()
    for number, photo in enumerate(photos):
        (folder / "boxes" / f"{photo.stem}.txt").write_text(f"{number % 3} 0.5 0.5 0.4 0.4\n")
    (folder / "coco.names").write_text("\n".join(CLASSES))
    for name, network in (("before", tiny_network()), ("after", other_network())):
        limelight.audit(network, "photos", name, report=False)
    shutil.copytree("before", "audit")
    monkeypatch.setattr(NetworkOptions, "load", lambda _options: tiny_network())
    monkeypatch.setattr(limelight, "load_model", tiny_network)
    return folder


def test_examples_of_auditing_run(audit_folder: Path) -> None:
    shutil.rmtree("audit")
    space: dict[str, Any] = {}
    for block in blocks(AUDIT, "python"):
        exec(block, space)
    assert space["again"].accuracy == space["found"].accuracy
    table = AUDIT.partition("## What it writes")[2].partition("A row has")[0]
    written = re.findall(r"^\| `([\w./*-]+)` \| ", table, re.MULTILINE)
    assert len(written) == 5
    for name in written:
        assert list(audit_folder.glob(f"audit/{name.rstrip('/')}")), name


@pytest.mark.parametrize("line", AUDITING)
def test_commands_of_auditing_run(
    audit_folder: Path,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert_runs(line, monkeypatch, capsys)


def test_there_are_commands_of_auditing() -> None:
    assert len(AUDITING) >= 5


def test_the_page_about_audits_has_the_limits_of_the_code() -> None:
    text = " ".join(AUDIT.partition("## What it looks for")[2].split())
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


DEPLOY = (ROOT / "docs" / "deploy.md").read_text()


@pytest.fixture
def small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Export a network of two layers in place of the one that comes with limelight."""
    monkeypatch.setattr(limelight, "load_model", lambda: NETWORK)


def test_examples_of_deploying_run(folder: Path, small_network: None) -> None:
    space: dict[str, Any] = {"__name__": "deploy"}
    for block in blocks(DEPLOY, "python"):
        exec(block, space)
    assert (folder / "laid-over.png").is_file()
    server = ThreadingHTTPServer(("127.0.0.1", 0), space["Explainer"])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    photo, address = Path("cat.jpg").read_bytes(), f"http://127.0.0.1:{server.server_port}"
    with urlopen(address, data=photo) as answer:
        assert json.load(answer)["class"] == space["result"].label[0]
    with urlopen(f"{address}/overlay", data=photo) as answer:
        assert Image.open(answer).size == (90, 80)
    server.shutdown()
    server.server_close()


def test_the_configuration_of_triton_has_the_names_and_types_of_a_file(folder: Path) -> None:
    session = limelight.deployed.load("net.onnx").session
    types = {"tensor(float)": "FP32", "tensor(int64)": "INT64"}
    for kind, values in (("input", session.get_inputs()), ("output", session.get_outputs())):
        (section,) = re.findall(rf"^{kind} \[\n(.*?)^\]", DEPLOY, re.DOTALL | re.MULTILINE)
        written = re.findall(r'name: "(\w+)" +data_type: TYPE_(\w+) +dims: \[(.*?)\]', section)
        axes = {"logits": 1, "target": 1, "status": 1, "raw": 2, "heatmap": 2, "image": 3}
        assert {(name, data) for name, data, _ in written} == {
            (value.name, types[value.type]) for value in values
        }
        assert all(len(dims.split(",")) == axes[name] for name, _, dims in written)


DEPLOYING = [line for line in blocks(DEPLOY, "")[0].splitlines() if line.startswith("limelight")]


@pytest.mark.parametrize("line", DEPLOYING)
def test_commands_of_deploying_run(
    folder: Path, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(NetworkOptions, "load", lambda _options: NETWORK)
    assert_runs(line, monkeypatch, capsys)


def test_there_are_commands_of_deploying() -> None:
    assert len(DEPLOYING) >= 5


def test_the_page_has_what_the_command_makes_of_its_example() -> None:
    (old, *_), new = blocks(MIGRATE, "py"), blocks(MIGRATE, "python")[2]
    head = "from pytorch_grad_cam import GradCAM\n"
    head += "from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget\n"
    assert migrate(head + old).script == f"import limelight\n\n{new}"


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
def test_the_page_names_every_class_of(peer: type[Explainer]) -> None:
    for name in peer.classes:
        assert re.search(rf"\b{name}\b", MIGRATE), name


def test_the_tables_of_the_benchmarks_are_those_of_their_figures() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    figures = json.loads((ROOT / "docs" / "benchmarks.json").read_text())
    sections = dict(re.findall(r"<!-- ([\w-]+) -->\n(.*?)<!-- end -->", page, re.DOTALL))
    assert sections.keys() == figures.keys()
    for name, section in sections.items():
        assert section.strip().startswith(f"On {figures[name]['setting']}")
        rows = [line for line in section.splitlines() if line.startswith("| ")]
        tables = figures[name]["tables"]
        assert len(rows) == sum(1 + len(table) for table in tables)
        for table in tables:
            assert f"| {' | '.join(table[0])} |" in rows
            for row in table:
                first, *_ = row.values()
                assert any(line.startswith(f"| {first} |") for line in rows)
