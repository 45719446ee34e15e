"""What `limelight doctor` looks at: the installation, and one's own network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import limelight
from limelight.examination import first_map, installation, own_network, packages
from limelight.examination.cell_places import cells_observation
from limelight.examination.model_state import changed_in, model_state
from limelight.examination.network_output import examine_output
from limelight.examination.observations import Examination, Observation, of_part, summary
from limelight.examination.packages import EXAMINED_PACKAGES, examine_packages
from limelight.layers.layouts import Layout
from limelight.runtime.cells import CellPlaces
from limelight.targets import OutputSpec
from limelight.targets.outputs import Detected

ROOT = Path(__file__).parent.parent


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
        self.fc = nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.body(images).mean((2, 3)))
        return logits


class Raising(Net):
    def forward(self, images: Tensor) -> Tensor:
        raise RuntimeError("shapes do not fit")


class Noisy(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images + 0.1 * torch.randn_like(images))


def of(found: Examination, part: str, subject: str) -> Observation:
    """Return the one observation of a subject."""
    (observation,) = [each for each in found.observations if each[:2] == (part, subject)]
    return observation


@pytest.fixture
def images() -> Tensor:
    return torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))


# The installation


def test_the_installation_is_examined_and_works() -> None:
    found = limelight.examine()
    assert found.ok, str(found)
    assert of(found, "self-test", "class").found.startswith("espresso")
    assert "gradcam is within" in of(found, "self-test", "equation").found
    assert found.observations[0].part == "versions"
    assert found.rows()[0]["subject"] == "limelight"
    assert str(found).endswith(summary(found.observations))
    assert "0 broken" in repr(found)


def test_what_is_announced_is_what_is_looked_at() -> None:
    told = list[str]()
    found = list(installation.examine_installation(lambda step, _done, _total: told.append(step)))
    assert told == [
        "versions",
        "importing torch",
        "the machine",
        "packages together",
        "a first map",
    ]
    assert len(found) > len(EXAMINED_PACKAGES)


def test_images_without_a_model_are_refused(images: Tensor) -> None:
    with pytest.raises(limelight.LimelightError, match="images and no model"):
        limelight.examine(None, images)


def test_every_package_of_the_project_has_its_purpose_and_its_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    left_out = ("test", "docs", "all")
    extras = project["optional-dependencies"]
    named = dict[str, set[str]]()
    for extra, lines in {"": project["dependencies"], **extras}.items():
        for line in lines if extra not in left_out else ():
            name = re.split(r"[^\w.-]", line)[0]
            if name != "limelight":
                named.setdefault(name, set()).add(extra)
    assert {package.name for package in EXAMINED_PACKAGES} == set(named)
    for package in EXAMINED_PACKAGES:
        assert package.extra in named[package.name] or package.extra not in extras, package


def test_a_missing_package_is_told_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = {"nibabel", "torch"}
    real = packages.installed_version
    monkeypatch.setattr(
        packages, "installed_version", lambda name: None if name in missing else real(name)
    )
    found = {each.subject: each for each in examine_packages()}
    assert found["nibabel"].verdict == "absent"
    assert found["nibabel"].advice == "For NIfTI volumes: pip install 'limelight[medical]'."
    assert found["torch"].verdict == "broken"
    assert "pip install torch" in found["torch"].advice


def test_an_old_or_a_half_installed_package_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "least_versions", lambda: {"numpy": "999.1"})
    monkeypatch.setattr(packages, "_can_be_found", lambda module: module != "PIL")
    found = {each.subject: each for each in examine_packages()}
    assert found["numpy"].verdict == "broken"
    assert "999.1 or newer was expected: pip install 'numpy>=999.1'" in found["numpy"].advice
    assert found["pillow"].verdict == "broken"
    assert "does not find the module PIL" in found["pillow"].advice


@pytest.mark.parametrize("version", ["1.26", "1.26.4", "2.0.0+cu128", "10"])
def test_versions_are_compared_by_their_numbers(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "least_versions", lambda: {"numpy": "1.26"})
    monkeypatch.setattr(packages, "installed_version", lambda _name: version)
    assert {each.subject: each for each in examine_packages()}["numpy"].verdict == "ok"


def test_a_torchvision_for_another_torch_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "_wanted_torch", lambda: "1.0.0")
    found = list(vars(installation)["_fitting"](torch))
    assert [each.verdict for each in found] == ["ok", "broken"]
    assert "was built for torch 1.0.0" in found[1].advice


def test_a_device_that_cannot_compute_is_broken() -> None:
    found = vars(installation)["_tried"](torch, "cuda:97", "a GPU")
    assert found.verdict == "broken"
    assert "finds this device and cannot compute on it" in found.advice


def test_more_threads_than_cores_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "usable_cores", lambda: 0)
    found = {each.subject: each for each in vars(installation)["_machine"](torch)}
    assert found["threads"].verdict == "note"
    assert "OMP_NUM_THREADS" in found["threads"].advice


@pytest.mark.parametrize(
    ("subject", "spoil"),
    [
        ("class", lambda result: replace(result, label=("tabby",))),
        ("status", lambda result: replace(result, status=(limelight.Status("flat", "Flat."),))),
        ("place", lambda result: replace(result, heatmap=result.heatmap.flip(1))),
        ("equation", lambda result: replace(result, raw=result.raw * 1.001)),
    ],
)
def test_a_wrong_map_is_found(
    subject: str, spoil: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    explain = limelight.explain
    monkeypatch.setattr(first_map, "explain", lambda *given: spoil(explain(*given)))
    found = {each.subject: each for each in first_map.examine_first_map()}
    assert {name for name, each in found.items() if each.verdict == "broken"} == {subject}
    assert found[subject].advice


def test_without_sample_photos_the_equation_is_still_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(first_map, "samples_are_installed", lambda: False)
    found = {each.subject: each for each in first_map.examine_first_map()}
    assert found["photo"].verdict == "absent"
    assert found["equation"].verdict == "ok"
    assert "class" not in found


def python(*arguments: str, path: Path) -> tuple[int, str]:
    """Run Python, with modules in a folder that are found before all others."""
    paths = [str(path), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "300"}
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_it_runs_where_torch_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libtorch.so: wrong ELF class')")
    for command in ("doctor", "doctor --json"):
        code, said = python("-m", "limelight", *command.split(), path=tmp_path)
        assert code == 1, said
        assert "libtorch.so: wrong ELF class" in said
        assert "PyTorch cannot be imported" in said
        assert "nibabel" in said
        assert "Traceback" not in said


def test_it_runs_where_the_command_line_cannot_start(tmp_path: Path) -> None:
    for name in ("typer", "rich", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('a broken package')")
    code, said = python("-m", "limelight.examination", path=tmp_path)
    assert code == 1, said
    assert "a broken package" in said
    assert "To mend: " in said


# One's own network


def test_a_network_is_examined(images: Tensor) -> None:
    net = Net()
    before = model_state(net)
    found = limelight.examine(net, images, seconds=30)
    assert found.ok, str(found)
    assert changed_in(net, before) == []
    assert of(found, "network", "name").found.startswith("Net (Net), 844 parameters, float32")
    assert "takes 3" in of(found, "input", "shape").found
    assert "4 numbers [1, 4]" in of(found, "output", "output").found
    assert of(found, "layers", "layer").found.startswith("body: the last layer with a grid")
    assert "a grid of 13 x 13, from the operations" in of(found, "layers", "grid").found
    assert of(found, "place", "cells").verdict == "ok"
    assert of(found, "map", "map").found.startswith("ok: gradcam of class")
    assert of(found, "map", "again").found == "the same map twice"
    assert "rank correlation" in of(found, "trust", "random weights").found
    assert of(found, "model", "untouched").verdict == "ok"


def test_a_named_layer_is_examined(images: Tensor) -> None:
    found = limelight.examine(Net(), images, layer="body.0", seconds=30)
    assert of(found, "layers", "layer").found == "body.0: named"
    assert "a grid of 15 x 15" in of(found, "layers", "grid").found


class TwoLevels(nn.Module):
    """A detector that reads small boxes from a fine grid, and large ones from a coarse grid."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU())
        self.down = nn.Sequential(nn.Conv2d(8, 8, 2, 2), nn.ReLU())
        self.fine, self.coarse = (
            nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Conv2d(8, 3, 1)) for _ in range(2)
        )

    def forward(self, images: Tensor) -> limelight.Detected:
        fine = self.body(images)
        levels = [self.fine(fine), self.coarse(self.down(fine))]
        logits = [level.flatten(2).transpose(1, 2) for level in levels]
        boxes = []
        for level, side in zip(levels, (4, 28), strict=True):
            middles = (torch.arange(level.shape[2]) + 0.5) * images.shape[2] / level.shape[2]
            grid = torch.stack(torch.meshgrid(middles, middles, indexing="xy"), -1).reshape(-1, 2)
            boxes.append(torch.cat([grid - side / 2, grid + side / 2], 1))
        return limelight.Detected(torch.cat(logits, 1), torch.cat(boxes))


def test_a_layer_of_some_boxes_is_no_objection(images: Tensor) -> None:
    torch.manual_seed(0)
    layer = of(limelight.examine(TwoLevels(), images, seconds=0), "layers", "layer")
    assert layer.verdict == "ok"
    assert layer.found.startswith("coarse.0: the last layer with a grid")
    assert "read from another grid is explained at a layer of that" in layer.found
    assert layer.advice == ""
    named = limelight.examine(TwoLevels(), images, layer="coarse.0", seconds=0)
    assert "no gradient of the score arrives on its grid" in of(named, "layers", "layer").advice


def test_a_network_of_limelight_is_shown_a_sample() -> None:
    network = limelight.Network("mine", Net(), classes=("a", "b"), weights="random")
    found = limelight.examine(network, seconds=30)
    assert of(found, "input", "images").found == "the sample photo 'chelsea', as none was given"
    assert of(found, "network", "weights").verdict == "note"
    assert "A name for each of the 4 outputs" in of(found, "output", "classes").advice


def test_a_network_of_other_channels_is_shown_noise() -> None:
    net = nn.Sequential(
        nn.Conv2d(5, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    preprocess = limelight.Preprocess(size=(24, 24), mean=(0.5,) * 5, std=(0.5,) * 5)
    found = limelight.examine(limelight.Network("mine", net, preprocess), seconds=30)
    assert of(found, "input", "images").found == "noise, as no photo was given"


def test_a_model_without_images_is_refused() -> None:
    with pytest.raises(limelight.LimelightError, match="No images were given"):
        limelight.examine(Net())


def test_a_network_that_raises_is_broken_and_nothing_else_is_tried(images: Tensor) -> None:
    found = limelight.examine(Raising(), images)
    broken = of(found, "output", "output")
    assert "shapes do not fit" in broken.found
    assert found.broken == (broken,)
    assert {each.part for each in found.observations} == {"network", "input", "output", "model"}


def test_a_network_without_a_layer_to_cut_at_is_broken(images: Tensor) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4))
    found = limelight.examine(net, images)
    assert [each.part for each in found.broken] == ["layers"]
    assert "No layer to cut at was found" in found.broken[0].advice


def test_weights_that_are_no_numbers_are_broken(images: Tensor) -> None:
    net = Net()
    nn.init.constant_(net.fc.weight, float("nan"))
    found = limelight.examine(net, images)
    assert of(found, "network", "values").found == "NaN or infinity in fc.weight"
    assert of(found, "map", "map").verdict == "broken"
    assert of(found, "trust", "random weights").found == "not tried"


def test_a_buffer_that_is_no_number_is_broken_and_a_mask_is_not(images: Tensor) -> None:
    model = Net()
    model.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    assert limelight.examine(model, images, seconds=0).ok
    norm = nn.BatchNorm2d(8)
    nn.init.constant_(norm.get_buffer("running_mean"), torch.nan)
    model.body.insert(1, norm)
    found = limelight.examine(model, images, seconds=0)
    assert of(found, "network", "values").found == "NaN or infinity in body.1.running_mean"
    assert all((each.part, each.subject) != ("map", "again") for each in found.observations)


@pytest.mark.parametrize(
    ("model", "name"),
    [(Net().to("meta"), "body.0.weight"), (nn.Sequential(nn.LazyConv2d(8, 3)), "0.weight")],
)
def test_weights_that_hold_nothing_are_broken(model: nn.Module, name: str, images: Tensor) -> None:
    found = limelight.examine(model, images)
    (broken,) = found.broken
    assert broken == of(found, "network", "values")
    assert broken.found.startswith(name)
    assert {each.part for each in found.observations} == {"network", "model"}


def test_what_is_no_module_is_refused(images: Tensor) -> None:
    with pytest.raises(limelight.LimelightError, match=r"a torch.nn.Module was expected"):
        limelight.examine(lambda images: images, images)  # type: ignore[arg-type]


def test_wrong_channels_are_told_before_the_network_says_so(images: Tensor) -> None:
    found = limelight.examine(Net(), images[:, :1])
    assert "The first convolution takes 3 channels" in of(found, "input", "shape").advice
    assert not found.ok


def test_pixel_values_are_noted(images: Tensor) -> None:
    found = limelight.examine(Net(), images * 255, seconds=0)
    assert of(found, "input", "values").verdict == "note"


def test_random_networks_are_noted(images: Tensor) -> None:
    found = limelight.examine(Noisy(), images, seconds=30)
    assert of(found, "output", "again").verdict == "note"
    assert of(found, "map", "again").verdict == "note"
    assert "a second map differs by" in of(found, "map", "again").found


def test_random_weights_take_no_longer_than_allowed(images: Tensor) -> None:
    found = limelight.examine(Net(), images, seconds=0)
    assert of(found, "trust", "random weights").found == "not finished in 0 s"


def test_a_map_that_random_weights_leave_is_noted() -> None:
    likeness = vars(own_network)["_likeness"]
    assert likeness(0.9, 1).verdict == "note"
    assert likeness(0.1, 1).verdict == "ok"


def places(centre: Tensor) -> CellPlaces:
    size = centre.shape[1:]
    layout = Layout("channels first", tuple(size))
    return CellPlaces("layer", layout, centre, torch.full_like(centre, 0.1), torch.ones(size))


def test_cells_that_look_elsewhere_are_noted() -> None:
    middle = (torch.arange(4) + 0.5) / 4
    own = torch.stack(torch.meshgrid(middle, middle, indexing="ij"))
    assert cells_observation(places(own)).verdict == "ok"
    assert cells_observation(places(own)).found.startswith("places correlate by 1.00")
    for wrong in (own.flip(2), own.transpose(1, 2), torch.full_like(own, 0.5)):
        assert cells_observation(places(wrong)).verdict == "note"


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("the values of its weights", lambda net: net.fc.weight.data.add_(1)),
        ("its tensors", lambda net: net.fc.weight.requires_grad_(False)),
        ("gradients", lambda net: net(torch.rand(1, 3, 9, 9)).sum().backward()),
        ("its mode", lambda net: net.body.train(not net.body.training)),
        ("hooks", lambda net: net.fc.register_forward_hook(lambda *_: None)),
        ("attributes", lambda net: setattr(net, "more", 1)),
    ],
)
def test_what_was_changed_in_a_network_is_named(what: str, change: Callable[[Net], Any]) -> None:
    net = Net()
    before = model_state(net)
    change(net)
    assert changed_in(net, before) == [what]


LOGITS = torch.tensor([[0.0, 3, 1, 2]])


@pytest.mark.parametrize(
    ("output", "says"),
    [
        (LOGITS, "a classifier or an embedding of 4 numbers [1, 4]"),
        (LOGITS[:, :1], "one number for each image [1, 1]"),
        (torch.rand(1, 3, 8, 8), "a segmenter of 3 classes [1, 3, 8, 8]"),
        (torch.rand(1, 7, 4), "numbers of several tokens or words [1, 7, 4]"),
        (Detected(torch.rand(1, 9, 5), torch.rand(1, 9, 4)), "a detector: 9 proposed boxes"),
        ([{"boxes": torch.rand(0, 4), "labels": torch.rand(0), "scores": torch.rand(0)}], "a det"),
        ({"logits": LOGITS, "loss": LOGITS[0]}, "[1, 4], the part 'logits' (beside loss)"),
    ],
)
def test_of_which_kind_an_output_is(output: Any, says: str) -> None:
    first, *rest = examine_output(output, output, OutputSpec(), 1)
    assert says in first.found
    assert {each.subject: each for each in rest}["again"].verdict == "ok"


def test_an_answer_by_chance_is_noted() -> None:
    def answer(logits: Tensor) -> Observation:
        found = examine_output(logits, logits, OutputSpec(), 1)
        return {each.subject: each for each in found}["answer"]

    by_chance, sure = answer(torch.rand(1, 50) - 0.5), answer(10 * torch.eye(50)[:1])
    assert (by_chance.verdict, sure.verdict) == ("note", "ok")
    assert "any has 2.0% by chance" in by_chance.advice


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda logits: logits.softmax(1), "behind a softmax, it seems"),
        (lambda logits: logits.half().softmax(1), "behind a softmax, it seems"),
        (torch.sigmoid, "behind a sigmoid, it seems"),
        (lambda logits: logits, None),
        (lambda logits: logits.log_softmax(1), None),
    ],
)
def test_probabilities_instead_of_logits_are_noted_and_read_as_such(
    function: Callable[[Tensor], Tensor], says: str | None
) -> None:
    logits = torch.full((2, 1000), -6.0)
    logits[:, 3] = 9
    output = function(logits)
    seen = {each.subject: each for each in examine_output(output, output, OutputSpec(), 2)}
    assert seen["answer"].verdict == "ok"
    assert seen["answer"].found.startswith("tiger shark, ")
    assert seen["scale"].found == says if says else "scale" not in seen


def test_few_logits_between_0_and_1_are_no_probabilities() -> None:
    output = torch.tensor([[0.2, 0.9, 0.4]])
    seen = [each.subject for each in examine_output(output, output, OutputSpec(), 1)]
    assert "scale" not in seen


def test_a_likeness_that_is_no_number_is_no_success() -> None:
    assert own_network._likeness(float("nan"), 1).verdict == "note"
    assert own_network._likeness(0.1, 1).verdict == "ok"


def test_what_raises_ends_its_part_alone() -> None:
    def observations() -> Iterator[Observation]:
        yield Observation("part", "first", "good")
        raise ZeroDivisionError("by zero")

    found = list(of_part("part", observations(), "Do this."))
    assert [each.verdict for each in found] == ["ok", "broken"]
    assert found[1].found == "ZeroDivisionError: by zero"
    assert found[1].advice == "Do this."
