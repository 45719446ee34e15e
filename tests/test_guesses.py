"""Names that people guess: errors say what limelight calls it; real names are not hidden."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import limelight
from helpers.networks import PoolLinear, ready
from limelight.cli.guessed_options import option_instead
from limelight.errors import ArgumentError, InputError
from limelight.peer_names import ARGUMENTS, GRAD_CAM_METHODS, INSTEAD, TORCHCAM_METHODS

IMAGES = torch.rand(1, 3, 16, 16)


def small_network() -> PoolLinear:
    torch.manual_seed(0)
    return ready(PoolLinear(), torch.float32)


@pytest.fixture(scope="module")
def result() -> limelight.Explanation:
    return limelight.explain(small_network(), IMAGES)


@pytest.mark.parametrize(
    ("function", "arguments", "says"),
    [
        (limelight.explain, {"target_layers": 1}, "Use 'layer': a dotted path or a module, or"),
        (limelight.explain, {"target_layer": 1}, "Use 'layer': a dotted path or a module."),
        (limelight.explain, {"input_tensor": 1}, "Use 'inputs': the second argument, without"),
        (limelight.explain, {"targets": 1}, "Use 'target': explain_each takes a list of targets."),
        (limelight.explain, {"aug_smooth": True}, "Use views=limelight.flips()."),
        (limelight.explain, {"eigen_smooth": True}, "Use eigen=True."),
        (limelight.explain, {"reshape_transform": 1}, "Use grid=(height, width) where"),
        (limelight.explain, {"use_cuda": True}, "Leave it out: move the model"),
        (limelight.explain, {"methods": "x"}, "Use 'method': limelight.compare takes several."),
        (limelight.explain, {"methd": "x"}, "Did you mean 'method'?"),
        (limelight.explain, {"frobnicate": 1}, "It takes model, inputs, target, method, layer,"),
        (limelight.explain_each, {"target": 1}, "Use 'targets': a list, or a single one."),
        (limelight.explain_photos, {"target": 1}, "Use 'targets': a list, or a single one."),
        (limelight.compare, {"method": "x"}, "Use 'methods': a list, or a single one."),
        (limelight.cut, {"target_layer": 1}, "Use 'layer': a dotted path or a module."),
        (limelight.trace, {"target_layers": 1}, "Use 'layers': a dotted path or a module, or"),
        (limelight.measure, {"targets": 1}, "Use 'target'"),
        (limelight.Explanation.save, {"width": "85mm"}, "Use style=limelight.FigureStyle(width="),
        (limelight.Explanation.overlay, {"opacity": 0.5}, "Use 'alpha'."),
        (limelight.walkthrough, {"lang": "zh"}, "Did you mean 'language'?"),
    ],
)
def test_an_argument_of_another_name(
    function: Callable[..., Any], arguments: dict[str, Any], says: str
) -> None:
    with pytest.raises(ArgumentError) as error:
        function(small_network(), IMAGES, **arguments)
    (given,) = arguments
    assert str(error.value).startswith(f"{function.__name__}() has no argument {given!r}. {says}")


def test_arguments_that_need_a_name(result: limelight.Explanation) -> None:
    with pytest.raises(ArgumentError) as error:
        limelight.explain(small_network(), IMAGES, 281)  # type: ignore[call-arg]
    assert str(error.value).startswith(
        "explain() takes 2 arguments without a name (model, inputs), and 3 were given. "
        "Name the others: target=, method=, layer=,"
    )
    with pytest.raises(ArgumentError) as error:
        result.save("map.png", [Image.new("RGB", (16, 16))])  # type: ignore[call-arg]
    assert str(error.value) == (
        "save() takes 1 argument without a name (path), and 2 were given. "
        "Name the others: photos=, whole=, picture=, colormap=, scale=, style=."
    )


def test_one_photo_that_is_in_no_list(result: limelight.Explanation, tmp_path: Path) -> None:
    photo: Any = Image.new("RGB", (16, 16))
    for draw in (result.overlay, lambda photo: result.save(tmp_path / "map.png", photos=photo)):
        with pytest.raises(InputError, match=r"are one picture; a list .* was expected: \[photo\]"):
            draw(photo)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("show", "A notebook shows it as the last line of a cell; .save('map.png') writes it"),
        ("plot", ".figure() draws it, .save('map.png') writes it to a file."),
        ("probability", "The score is before softmax; .output holds what the model returned"),
        ("cam", ".heatmap is the map in [0, 1], .raw the signed one"),
        ("to_csv", ".to_frame().to_csv('maps.csv') writes a table"),
        ("numpy", ".heatmap.numpy(force=True) is the map as an array"),
        ("heatmp", "Did you mean 'heatmap', 'heatmap_at'"),
        ("frobnicate", "It has completeness_gap, crops,"),
    ],
)
def test_an_attribute_that_a_result_has_not(
    result: limelight.Explanation, name: str, says: str
) -> None:
    with pytest.raises(AttributeError) as error:
        getattr(result, name)
    refused = f"'Explanation' object has no attribute {name!r}. "
    assert str(error.value).startswith(refused + says)
    assert not hasattr(result, name)


def test_other_results_say_what_they_have(result: limelight.Explanation) -> None:
    network = small_network()
    measured = limelight.measure(network, IMAGES, result, metrics="average-drop")
    grid = limelight.compare(network, IMAGES, methods="gradcam")
    for each in (measured, grid, limelight.trace(network, IMAGES)):
        with pytest.raises(AttributeError, match=r"A notebook shows it .*\.save\('map\.png'\)"):
            each.show()  # type: ignore[union-attr]


def test_results_are_copied_and_pickled_as_before(result: limelight.Explanation) -> None:
    for copied in (copy.copy(result), copy.deepcopy(result), pickle.loads(pickle.dumps(result))):
        assert copied.heatmap.equal(result.heatmap)
    with pytest.raises(AttributeError, match=r"has no attribute '__array__'$"):
        result.__array__  # type: ignore[attr-defined]  # noqa: B018


def test_the_error_of_a_property_is_not_hidden() -> None:
    from limelight.misnamed import KnownAttributes

    class Broken(KnownAttributes):
        @property
        def broken(self) -> int:
            raise AttributeError("the error inside")

    with pytest.raises(AttributeError, match="the error inside"):
        _ = Broken().broken


@pytest.mark.parametrize("name", [*GRAD_CAM_METHODS, *TORCHCAM_METHODS])
def test_a_class_of_another_library_is_a_method(name: str) -> None:
    with pytest.raises(
        AttributeError, match=r"limelight\.explain\(model, images, method="
    ) as error:
        getattr(limelight, name)
    method = str(error.value).split("method='")[1].split("'")[0]
    assert limelight.methods.find_method(method)
    assert not hasattr(limelight, name)


@pytest.mark.parametrize("name", INSTEAD)
def test_a_function_of_another_library_has_its_place(name: str) -> None:
    with pytest.raises(AttributeError, match=r"has no attribute .*Instead, ") as error:
        getattr(limelight, name)
    assert INSTEAD[name] in str(error.value)


def test_a_name_that_is_nearly_right() -> None:
    with pytest.raises(
        AttributeError, match=r"has no attribute 'explian'\. Did you mean 'explain'"
    ):
        _ = limelight.explian
    with pytest.raises(AttributeError, match=r"has no attribute '_explian'$"):
        _ = limelight._explian


@pytest.mark.parametrize(
    ("module", "says"),
    [
        ("methods", r"list\(limelight\.METHODS\) are the names"),
        ("metrics", r"list\(limelight\.METRICS\) are the names"),
        ("layers", r"limelight\.record\(model, images\) lists the layers of a model"),
    ],
)
def test_a_module_that_is_called(module: str, says: str) -> None:
    with pytest.raises(ArgumentError, match=rf"^limelight\.{module} is a module, .*{says}"):
        getattr(limelight, module)()


def test_signatures_are_not_hidden() -> None:
    parameters = inspect.signature(limelight.explain).parameters
    assert list(parameters)[:3] == ["model", "inputs", "target"]
    assert "kwargs" not in parameters
    assert "photos" in inspect.signature(limelight.Explanation.save).parameters


def test_every_argument_of_other_libraries_has_a_place() -> None:
    taken = {
        name
        for function in (limelight.explain, limelight.compare, limelight.explain_photos)
        for name in inspect.signature(function).parameters
    } | {
        name
        for function in (limelight.Explanation.save, limelight.Explanation.overlay)
        for name in inspect.signature(function).parameters
    }
    for given, (instead, advice) in ARGUMENTS.items():
        assert set(instead) <= taken, given
        assert instead or advice, given


@pytest.mark.parametrize(
    ("given", "known", "says"),
    [
        ("--target_layers", ["--layer"], "Use --layer."),
        ("--target-layer", ["--layer"], "Use --layer."),
        ("--layers", ["--layer"], "Use --layer."),
        ("--methods", ["--method"], "Use --method for one; limelight compare takes several."),
        ("--method", ["--methods"], "Use --methods."),
        ("--aug_smooth", ["--views"], "Use --views flips."),
        ("--eigen-smooth", ["--eigen"], "Use --eigen."),
        ("--use-cuda", ["--device"], "Use --device cuda."),
        ("--image-path", [], "Photos are named without an option."),
        ("--class", ["--targets"], "Use --targets."),
        ("--language", ["--lang"], "Use --lang."),
        ("--output-dir", ["--out"], "Use --out."),
        ("--overlay", ["--picture"], "Use --picture overlay."),
        ("--overlay", [], ""),
        ("--frobnicate", ["--out"], ""),
    ],
)
def test_an_option_of_another_name(given: str, known: list[str], says: str) -> None:
    assert option_instead(given, known) == says
