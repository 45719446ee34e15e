"""One way to name several things, in the library and on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import limelight
from helpers.commands import MODELS, Runner, flat, folder, run, save_photo
from helpers.measure_commands import CLASSES, net
from limelight.errors import MethodError, MetricError, OptionError, UnknownNameError
from limelight.evidence import Evidence
from limelight.methods import METHODS, QUICK_METHODS, chosen_methods, find_method
from limelight.methods.views import VIEWS, find_views
from limelight.metrics import METRICS, find_metric
from limelight.metrics.run import chosen_metrics
from limelight.registry import find_name, split_names

__all__ = ["folder", "run"]  # fixtures


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        (" , ", []),
        ("gradcam", ["gradcam"]),
        ("gradcam layercam", ["gradcam", "layercam"]),
        ("gradcam,layercam", ["gradcam", "layercam"]),
        (" gradcam ,layercam\n,  fem,", ["gradcam", "layercam", "fem"]),
        ("rise:masks=1000,seed=1", ["rise:masks=1000,seed=1"]),
        ("rise:masks=1000, seed=1", ["rise:masks=1000,seed=1"]),
        ("rise:masks=1000,gradcam", ["rise:masks=1000", "gradcam"]),
        ("rise:masks=9,seed=1,gradcam,fem", ["rise:masks=9,seed=1", "gradcam", "fem"]),
        ("rise:masks=9,occlusion:patch=0.2", ["rise:masks=9", "occlusion:patch=0.2"]),
        ("rise:masks=9 seed=1", ["rise:masks=9", "seed=1"]),  # a space always begins a name
        ("gradcam,seed=1", ["gradcam", "seed=1"]),  # no name with options is open
        ("fem:deviations=1,rise,seed=1", ["fem:deviations=1", "rise", "seed=1"]),
        ("rise:,seed=1", ["rise:,seed=1"]),
        ("rise: masks = 9, seed =1 fem", ["rise:masks=9,seed=1", "fem"]),  # as one name is read
    ],
)
def test_where_a_name_begins(text: str, names: list[str]) -> None:
    assert split_names(text) == names


def abscam(evidence: Evidence, power: float = 1.0) -> Tensor:
    return (evidence.gradients.abs() ** power * evidence.activations).sum(1)


def method_of(function: Callable[..., Any], needs: Any = ("gradients",)) -> limelight.Method:
    return limelight.Method(
        name="mine",
        function=function,
        formula="sum_k |g_k|^power A_k",
        paper="ours",
        use="to try",
        family="pointwise",
        needs=needs,
    )


@pytest.mark.parametrize("needs", [["gradients"], {"gradients"}, frozenset({"gradients"})])
def test_a_method_of_ones_own(needs: Any) -> None:
    network, images = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), torch.rand(2, 3, 8, 8)
    mine = method_of(abscam, needs)
    result = limelight.explain(network, images, target=0, layer="0", method=mine.set(power=2.0))
    cut = limelight.cut(network, images, "0")
    expected = (cut.gradients(target=0) ** 2 * cut.activations).sum(1)
    assert torch.allclose(result.raw, expected, atol=1e-6)
    assert result.method == "mine:power=2.0"


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda evidence: evidence.activations, r"returned \[2, 4, 6, 6\] for activations \[2, 4"),
        (lambda evidence: evidence.activations.sum((0, 1))[None], r"returned \[1, 6, 6\] for"),
        (lambda evidence: None, "returned NoneType for"),
    ],
)
def test_a_method_that_returns_no_map(function: Callable[..., Any], says: str) -> None:
    network, images = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), torch.rand(2, 3, 8, 8)
    with pytest.raises(MethodError, match=f"The function of mine {says}"):
        limelight.explain(network, images, target=0, layer="0", method=method_of(function))


def test_a_function_alone_is_no_method() -> None:
    with pytest.raises(OptionError, match=r"or a row, which limelight\.Method\(\.\.\.\) makes"):
        limelight.explain(nn.Identity(), torch.rand(1, 3, 8, 8), method=abscam)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("GradCAM", "gradcam"),
        ("Grad-CAM", "gradcam"),
        ("Grad-CAM++", "gradcam++"),
        ("SmoothGrad", "smoothgrad"),
        ("integrated_gradients", "integrated-gradients"),
        ("IntegratedGradients", "integrated-gradients"),
        ("RISE:masks=3", "rise:masks=3"),
    ],
)
def test_methods_in_any_spelling(given: str, name: str) -> None:
    assert str(find_method(given)) == name


def test_metrics_and_views_in_any_spelling() -> None:
    assert str(find_metric("Pointing_Game")) == "pointing-game"
    assert str(find_metric("ROAD:steps=3")) == "road:steps=3"
    assert find_views("Noise:samples=2").name == "2 noisy copies"


@pytest.mark.parametrize("table", [METHODS, METRICS, VIEWS], ids=["methods", "metrics", "views"])
def test_every_name_is_found_in_capitals_and_without_dashes(table: dict[str, Any]) -> None:
    for name in table:
        for spelling in (name, name.upper(), name.replace("-", ""), name.replace("-", "_")):
            assert find_name(table, "row", spelling) == name


def test_a_spelling_that_two_names_share_is_not_guessed() -> None:
    known = ["grad-cam", "gradcam", "fem"]
    assert find_name(known, "method", "grad-cam") == "grad-cam"
    assert find_name(known, "method", "gradcam") == "gradcam"
    with pytest.raises(UnknownNameError, match=r"no method named 'GradCAM'\. Did you mean"):
        find_name(known, "method", "GradCAM")


def test_one_name_was_expected() -> None:
    for text in ("gradcam,layercam", "GradCAM LayerCAM", "gradcam,rise:masks=3"):
        with pytest.raises(OptionError, match="is 2 names; that of one method was expected"):
            find_method(text)
    with pytest.raises(OptionError, match="is 2 names; that of one kind of views was expected"):
        find_views("flips,noise:samples=2")
    with pytest.raises(UnknownNameError, match="Did you mean 'gradcam'"):
        find_method("gardcam")
    with pytest.raises(UnknownNameError, match="Did you mean 'integrated-gradients'"):
        find_method("Integrated Gradients")


def test_several_methods_and_metrics() -> None:
    for several in ("gradcam,rise:masks=3", ["GradCAM", "rise:masks=3"], ["gradcam rise:masks=3"]):
        assert list(map(str, chosen_methods(several))) == ["gradcam", "rise:masks=3"]
    assert chosen_methods(["gradcam", METHODS["fem"], "Grad-CAM"]) == [
        METHODS["gradcam"],
        METHODS["fem"],
    ]
    assert [row.name for row in chosen_methods(None)] == list(QUICK_METHODS)
    assert chosen_methods("All") == chosen_methods(["all"]) == list(METHODS.values())
    chosen = chosen_metrics("insertion:steps=3,ROAD", with_objects=False)
    assert list(map(str, chosen)) == ["insertion:steps=3", "road"]
    assert chosen_metrics(["all"], with_objects=True) == list(METRICS.values())
    for nothing in ("", [], [" , "]):
        with pytest.raises(MethodError, match="There are no methods to compare"):
            chosen_methods(nothing)
        with pytest.raises(MetricError, match="There are no metrics to measure by"):
            chosen_metrics(nothing, with_objects=False)
    with pytest.raises(UnknownNameError, match="no method named 'seed=1'"):
        chosen_methods("gradcam,seed=1")
    with pytest.raises(
        UnknownNameError, match=r"no method named 'gardcam'\. Did you mean 'gradcam'"
    ):
        chosen_methods("fem,gardcam")


def test_the_library_names_several_things_in_one_text() -> None:
    network, images = net(), torch.rand(1, 3, 24, 24)
    found = limelight.compare(
        network.model,
        images,
        methods="GradCAM, saliency",
        metrics="insertion:steps=3,increase",
        classes=CLASSES,
    )
    assert [explanation.method for explanation in found] == ["gradcam", "saliency"]
    assert found.measured is not None
    assert set(found.measured.metrics) == {"insertion:steps=3", "increase"}
    one = limelight.explain(network.model, images, method="GradCAM")
    assert one.method == "gradcam"
    checked = limelight.sanity(network.model, images, methods="gradcam,saliency", steps=2)
    assert set(checked.verdicts) == {"gradcam", "saliency"}


@pytest.mark.parametrize(
    "words",
    [
        ("--methods", "gradcam fem", "--layer", "bn2", "--layer", "blocks.4"),
        ("--methods", "GradCAM,fem", "--layer", "bn2,blocks.4"),
        ("--methods", "Grad-CAM", "--methods", "FEM", "--layer", "bn2 blocks.4"),
    ],
    ids=" ".join,
)
def test_the_command_line_does_so_too(run: Runner, folder: Path, words: tuple[str, ...]) -> None:
    save_photo(folder / "a.png")
    code, out, err = run("compare", "a.png", *words, "--format", "npz", "--json")
    assert code == 0, err
    explanations = json.loads(out)["photos"][0]["explanations"]
    assert [(each["method"], each["layer"]) for each in explanations] == [
        ("gradcam", "bn2"),
        ("gradcam", "blocks.4"),
        ("fem", "bn2"),
        ("fem", "blocks.4"),
    ]


def test_the_name_of_a_class_is_never_split(run: Runner, folder: Path) -> None:
    save_photo(folder / "a.png")
    (folder / "nets_names.py").write_text(MODELS)
    (folder / "names.txt").write_text("tiger cat\ncat, Persian\ndog\n")
    net = ("--model", "nets_names:Net", "--layer", "conv", "--classes", "names.txt")
    code, out, err = run(
        *("explain", "a.png", *net, "-t", "tiger cat", "-t", "cat, Persian", "--json"),
    )
    assert code == 0, err
    explanations = json.loads(out)["photos"][0]["explanations"]
    assert [each["target"] for each in explanations] == ["tiger cat", "cat, Persian"]
    code, _, err = run("explain", "a.png", *net, "-t", "tiger cat,dog")
    assert code == 2
    assert "no class named 'tiger cat,dog'" in flat(err)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("compare", "--methods", "fem,gardcam"), "no method named 'gardcam'. Did you mean"),
        (("compare", "--metrics", "road,insertoin"), "Did you mean 'insertion'"),
        (("explain", "--method", "gradcam,fem"), "is 2 names; that of one method was expected"),
        (("explain", "--layer", "bn2,blcks.3"), "no layer named 'blcks.3'"),
        (("explain", "--layer", ""), "Cannot read the layer ''"),
        (("explain", "--views", "Flip"), "Did you mean 'flips'"),
        (("trace", "--save", "npz,gif"), "its suffix should be one of"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_name_among_several_is_the_one_that_is_told(
    run: Runner, folder: Path, words: tuple[str, ...], says: str
) -> None:
    save_photo(folder / "a.png")
    code, _, err = run(words[0], "a.png", *words[1:])
    assert code == 2
    assert says in flat(err)


def test_other_options_that_take_several(run: Runner, folder: Path) -> None:
    save_photo(folder / "a.png")
    code, out, err = run("trace", "a.png", "--layer", "bn2,blocks.4", "--save", "npz,png", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert [each["layer"] for each in report["layers"]] == ["bn2", "blocks.4", "<input>"]
    assert [Path(name).suffix for name in report["files"]] == [".npz", ".png"]
    code, out, err = run("walkthrough", "a.png", "--beside", "FEM,EigenCAM", "--json")
    assert code == 0, err
    assert json.loads(out)["beside"] == ["fem", "eigencam"]


@pytest.mark.parametrize("name", ["GradCAMPlusPlus", "GradCAMpp", "GradCAM++", "gradcam_plusplus"])
def test_the_plus_signs_of_a_method_may_be_letters(name: str) -> None:
    assert find_method(name).name == "gradcam++"
