"""The gradient experiment: what layers put out, and the gradient there, against ordinary hooks."""

from __future__ import annotations

import copy
import json
import re
import runpy
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

import limelight
from helpers import networks
from helpers.model_state import state
from helpers.networks import ready
from helpers.plain_network import IMAGES, old, quantised_dynamically, quantised_statically
from helpers.tolerances import assert_agrees
from limelight.errors import (
    InputError,
    LayerError,
    LimelightError,
    MethodError,
    OptionError,
    OutputError,
    TargetError,
    UnknownNameError,
)
from limelight.photos.samples import find_sample
from limelight.runtime.layer_gradients import LayerGradient

EXAMPLE = Path(__file__).parent.parent / "examples" / "gradient_by_hand.py"


def noise(*shape: int, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(batch, *shape, dtype=torch.float64, generator=generator)


def by_hooks(
    model: nn.Module, images: Tensor, layers: Sequence[str], targets: Sequence[int]
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Return the scores, and of each layer and the input what it put out and the gradient there.

    Each image's score is differentiated by itself, in a pass of its own.
    """
    scores, found = list[Tensor](), list[list[tuple[Tensor, Tensor]]]()
    for target, image in zip(targets, images, strict=True):
        twin = copy.deepcopy(model).eval()
        calls, kept = Counter[str](), dict[str, Tensor]()

        def keep(
            path: str, calls: Counter[str] = calls, kept: dict[str, Tensor] = kept
        ) -> Callable[..., Any]:
            def hook(_module: nn.Module, _args: object, output: Any) -> Any:
                calls[path] += 1
                tensor = output[0] if isinstance(output, tuple) else output
                tensor = tensor.clone()
                tensor.retain_grad()
                kept[f"{path}#{calls[path]}"] = tensor
                # What comes later may write on what it is given.
                on = tensor.clone()
                return (on, *output[1:]) if isinstance(output, tuple) else on

            return hook

        for path in {layer.partition("#")[0] for layer in layers}:
            twin.get_submodule(path).register_forward_hook(keep(path))
        leaf = image[None].clone().requires_grad_()
        logits = twin(leaf.clone())
        logits = logits[0] if isinstance(logits, tuple) else logits
        logits[0, target].backward()
        scores.append(logits[0, target].detach())
        tensors = [kept[layer if "#" in layer else f"{layer}#1"] for layer in layers]
        found.append([(t.detach(), cast("Tensor", t.grad)) for t in [*tensors, leaf]])
    pairs = [
        (torch.cat([a for a, _ in each]), torch.cat([g for _, g in each]))
        for each in zip(*found, strict=True)
    ]
    return torch.stack(scores), pairs


CASES: dict[str, tuple[Callable[[], nn.Module], Tensor, list[str]]] = {
    "in-place ReLUs": (
        networks.ResidualCNN,
        noise(3, 16, 12),
        ["stem", "stem.1", "block1.relu#1", "block1.relu#2", "block1.bn2", "classifier.0"],
    ),
    "layers in any order": (
        networks.ResidualCNN,
        noise(3, 12, 16),
        ["classifier", "block2", "stem.0", "block1"],
    ),
    "tokens": (
        networks.TinyViT,
        noise(3, 12, 16),
        ["blocks.0", "blocks.1.norm1", "patches", "norm", "blocks.1.attention.qkv"],
    ),
    "channels last": (networks.ChannelsLast, noise(3, 12, 20), ["mix", "mix.1", "norm", "head"]),
    "a transformer of PyTorch's own": (networks.Encoder, noise(3, 12, 16), ["encoder.layers.0"]),
    "called twice": (networks.CalledTwice, noise(3, 9, 8), ["conv#2", "conv#1", "stem"]),
    "tuples inside": (networks.TupleInside, noise(3, 12, 12), ["pair", "third"]),
    "a tuple returned": (lambda: networks.Returns("tuple"), noise(3, 12, 12), ["second"]),
    "recurrent": (networks.Recurrent, noise(3, 16, 16), ["conv", "rnn", "fc"]),
    "a signal": (networks.Signal, noise(2, 40), ["body", "body.0", "conv"]),
    "a volume": (networks.Volume, noise(1, 9, 8, 10), ["body.1", "conv"]),
}


@pytest.mark.parametrize("name", CASES)
def test_activations_and_gradients_are_those_of_ordinary_hooks(name: str) -> None:
    make, images, layers = CASES[name]
    model = ready(make())
    found = limelight.trace(model, images, layers, target=[1, 2])
    scores, expected = by_hooks(model, images, layers, [1, 2])
    assert [one.layer for one in found.layers] == [*layers, limelight.INPUT]
    assert found.label == ("class 1", "class 2")
    assert_agrees(found.score, scores)
    assert_same(found.layers, expected)
    assert torch.equal(found.layers[-1].activations, images)
    assert torch.equal(found.image, images)


def assert_same(found: Sequence[LayerGradient], expected: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Check activations and gradients, relative to the largest of each layer."""
    for one, pair in zip(found, expected, strict=True):
        for tensor, true in zip((one.activations, one.gradients), pair, strict=True):
            assert tensor.shape == true.shape
            assert not tensor.requires_grad
            assert_agrees(tensor, true)


@pytest.mark.parametrize(
    "doctor",
    [
        lambda one: one._replace(gradients=one.gradients.flip(1)),
        lambda one: one._replace(gradients=one.gradients[[1, 0]]),
        lambda one: one._replace(activations=one.activations.relu()),
        lambda one: one._replace(gradients=one.gradients * (1 + 1e-8)),
    ],
    ids=["channels", "images", "after the in-place ReLU", "rounding"],
)
def test_a_doctored_trace_is_caught(doctor: Callable[[LayerGradient], LayerGradient]) -> None:
    model, images = ready(networks.ResidualCNN()), noise(3, 16, 12)
    found = limelight.trace(model, images, "block1.bn1", target=[1, 2]).layers
    _, expected = by_hooks(model, images, ["block1.bn1"], [1, 2])
    assert_same(found, expected)
    with pytest.raises(AssertionError):
        assert_same([doctor(found[0]), found[1]], expected)


def test_stages_of_swin_are_traced_as_they_are() -> None:
    model = torchvision.models.swin_t(weights=None).eval().double()
    images, layers = noise(3, 64, 64), ["features.1", "norm", "head"]
    found = limelight.trace(model, images, layers, target=[3, 4])
    _, expected = by_hooks(model, images, layers, [3, 4])
    assert_same(found.layers, expected)
    layouts = [one.layout for one in found.layers]
    assert [None if one is None else one.kind for one in layouts] == [
        "channels last",
        "channels last",
        None,
        "channels first",
    ]


@pytest.mark.parametrize("layers", [None, "block2", ["block2"], [limelight.INPUT, "block2"]])
def test_a_layer_alone_or_none_or_the_input_named(layers: Any) -> None:
    model, images = ready(networks.ResidualCNN()), noise(3, 16, 16)
    found = limelight.trace(model, images, layers)
    assert [one.layer for one in found.layers] == ["block2", limelight.INPUT]
    cut = limelight.cut(model, images, None)
    assert torch.equal(found.layers[0].activations, cut.activations)
    assert torch.equal(found.layers[0].gradients, cut.gradients())
    reason = found.layers[0].reason
    assert (reason == "named") == (layers is not None)
    assert (reason in found.text()) == (layers is None)


def test_a_layer_as_a_module_and_the_input_alone() -> None:
    model, images = ready(networks.ResidualCNN()), noise(3, 16, 16)
    found = limelight.trace(model, images, [model.block1, model.classifier[0]], target=0)
    assert [one.layer for one in found.layers[:2]] == ["block1", "classifier.0"]
    alone = limelight.trace(model, images, [], target=0)
    assert [one.layer for one in alone.layers] == [limelight.INPUT]
    assert torch.equal(alone.layers[0].gradients, found.layers[2].gradients)


def test_a_score_that_does_not_depend_on_a_layer_has_no_gradient_there() -> None:
    found = limelight.trace(ready(networks.TinyViT()), noise(3, 12, 16), ["blocks.1", "norm"])
    blocks = found.layers[0]
    assert blocks.layout is not None
    assert not blocks.gradients[:, blocks.layout.prefix :].any()
    assert blocks.gradients[:, 0].any()
    text = found.text()
    assert "gradients of the 3 tokens before the grid" in text
    assert "gradients    0 to 0, mean 0, 100.0% zero" in text


# The text


def blocks(text: str) -> list[list[str]]:
    return [part.splitlines() for part in text.split("\n\n")]


def numbers_of(line: str) -> list[float]:
    return [float(one) for one in re.findall(r"-?\d[\d.]*(?:e[+-]\d+)?", line)]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("window", [1, 3, 5, 50])
def test_the_text_tells_shapes_ranges_and_the_numbers_of_the_window(name: str, window: int) -> None:
    make, images, layers = CASES[name]
    found = limelight.trace(ready(make()), images, layers, target=2)
    head, *parts = blocks(found.text(1, window=window))
    assert head == [f"class 2, score {float(found.score[1]):.6g}"]
    assert len(parts) == len(found.layers)
    for number, (part, one) in enumerate(zip(parts, found.layers, strict=True)):
        assert part[0].startswith(f"{one.layer}  ")
        assert str(list(one.activations.shape)) in part[0]
        if one.layout is None:
            assert part[0].endswith("no grid over the image")
        else:
            assert f"grid {' x '.join(map(str, one.layout.grid))}, {one.layout}" in part[0]
        tensors = found.of_image(one, 1)
        for word, tensor in zip(("activations", "gradients"), tensors, strict=True):
            (line,) = (x for x in part if re.match(rf"  {word}  +\S+ to ", x))
            low, high, mean, zero = numbers_of(line)
            expected = [float(tensor.min()), float(tensor.max()), float(tensor.mean())]
            assert [low, high, mean] == pytest.approx(expected, rel=6e-4, abs=1e-300)
            assert zero == pytest.approx(100 * float((tensor == 0).double().mean()), abs=0.0501)
        seen = found.window(number, 1, size=window)
        count = seen.activations.numel() // seen.activations.shape[-1]
        table = [numbers_of(line) for line in part[-count:]]
        shown = torch.tensor(table, dtype=torch.float64)
        wide = seen.activations.shape[-1]
        for values, columns in (
            (seen.activations, shown[:, :wide]),
            (seen.gradients, shown[:, wide:]),
        ):
            expected_values = values.reshape(-1, wide)
            torch.testing.assert_close(columns, expected_values, rtol=6e-4, atol=1e-300)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", [1, 2, 5, 50])
def test_the_window_is_around_the_largest_activation_and_inside(name: str, size: int) -> None:
    make, images, layers = CASES[name]
    found = limelight.trace(ready(make()), images, layers, target=2)
    for number, one in enumerate(found.layers):
        seen = found.window(number, 1, size=size)
        activations, gradients = found.of_image(one, 1)
        if one.layout is None:
            assert seen.channel is None
            assert seen.alpha is None
            peak = float(gradients.abs().max())
            assert float(seen.gradients.abs().max()) == peak
            assert seen.activations.shape[:-1] == (1,) * (activations.ndim - 1)
            whole, other = activations, gradients
        else:
            alphas = gradients.flatten(1).mean(1)
            adds = alphas.abs() * activations.abs().flatten(1).mean(1)
            assert seen.channel == int(adds.argmax())
            assert_agrees(seen.alpha, alphas[seen.channel], scale=gradients.abs().max() or 1.0)
            whole, other = activations[seen.channel], gradients[seen.channel]
            assert float(seen.activations.abs().max()) == float(whole.abs().max())
            assert seen.activations.shape == tuple(min(size, there) for there in whole.shape)
        ends = zip(seen.start, seen.activations.shape, whole.shape, strict=True)
        assert all(start >= 0 and start + wide <= there for start, wide, there in ends)
        part = tuple(
            slice(start, start + wide)
            for start, wide in zip(seen.start, seen.activations.shape, strict=True)
        )
        assert torch.equal(seen.activations, whole[part])
        assert torch.equal(seen.gradients, other[part])


def test_a_channel_can_be_chosen() -> None:
    found = limelight.trace(ready(networks.ResidualCNN()), noise(3, 16, 16), "block1", target=0)
    seen = found.window(0, channel=2, size=3)
    assert seen.channel == 2
    assert_agrees(seen.alpha, float(found.layers[0].gradients[0, 2].mean()))
    assert "channel 2, mean gradient" in found.text(channel=2)


def test_plain_values_say_the_same() -> None:
    layers = ["block1", "classifier.0"]
    found = limelight.trace(ready(networks.ResidualCNN()), noise(3, 16, 16), layers, target=0)
    first, second = (found.numbers(number, 1, size=2) for number in (0, 1))
    assert json.loads(json.dumps(first)) == first
    one, seen = found.layers[0], found.window(0, 1, size=2)
    assert (first["layer"], first["kind"]) == ("block1", "Block")
    assert first["shape"] == [2, 6, 8, 8]
    assert first["grid"] == [8, 8]
    assert first["activations"]["high"] == float(one.activations[1].max())
    assert_agrees(first["gradients"]["mean"], float(one.gradients[1].mean()))
    assert first["window"]["start"] == list(seen.start)
    assert first["window"]["activations"] == seen.activations.tolist()
    assert first["window"]["gradients"] == seen.gradients.tolist()
    assert second["grid"] is None
    assert second["window"]["channel"] is None


def test_what_is_no_number_is_counted() -> None:
    model = ready(networks.PoolLinear())
    nn.init.constant_(model.fc.weight, torch.nan)
    found = limelight.trace(model, noise(3, 8, 8), "features", target=0)
    assert "gradients    128 of 128 values are NaN or infinite" in found.text()
    assert "score nan" in str(found)


@pytest.mark.parametrize("layers", [["stem", "stem"], ["stem", "block1", "stem"]])
def test_a_layer_may_be_asked_for_twice(layers: list[str]) -> None:
    found = limelight.trace(ready(networks.ResidualCNN()), noise(3, 12, 12), layers, target=0)
    assert [one.layer for one in found.layers][: len(layers)] == layers
    parts = blocks(found.text())
    assert parts[1] == parts[len(layers)]


def test_a_trace_says_what_it_is() -> None:
    found = limelight.trace(ready(networks.ResidualCNN()), noise(3, 16, 16), "block1", target=0)
    assert repr(found) == "Trace(class 0, class 0; block1 [2, 6, 8, 8], <input> [2, 3, 16, 16])"
    assert str(found) == found.text(0)
    assert found.text(0) != found.text(1)


def test_half_precision_is_shown_in_float32() -> None:
    model = ready(networks.Volume(), torch.bfloat16)
    found = limelight.trace(model, noise(1, 9, 9, 9).bfloat16(), "conv", target=0)
    assert found.layers[0].activations.dtype == torch.bfloat16
    assert found.window(0).activations.dtype == torch.float32
    assert "conv  Conv3d" in found.text()


# Files


@pytest.mark.parametrize("name", ["in-place ReLUs", "tokens", "a volume"])
def test_the_arrays_can_be_read_back(name: str, tmp_path: Path) -> None:
    make, images, layers = CASES[name]
    found = limelight.trace(ready(make()), images, layers, target=1)
    with np.load(found.save(tmp_path / "trace.npz")) as arrays:
        names = json.loads(str(arrays["names"]))
        assert names == {"layers": [*layers, "<input>"], "label": ["class 1"] * 2}
        assert len(arrays.files) == 2 + 2 * len(found.layers)
        np.testing.assert_array_equal(arrays["score"], found.score.numpy())
        for number, one in enumerate(found.layers):
            np.testing.assert_array_equal(arrays[f"activations_{number}"], one.activations.numpy())
            np.testing.assert_array_equal(arrays[f"gradients_{number}"], one.gradients.numpy())


@pytest.mark.parametrize("name", ["in-place ReLUs", "a signal", "a volume"])
def test_the_figure_has_maps_of_grids_and_curves_of_vectors(name: str, tmp_path: Path) -> None:
    make, images, layers = CASES[name]
    found = limelight.trace(ready(make()), images, layers, target=1)
    sheet = found.figure(1)
    for number, (part, one) in enumerate(zip(sheet.subfigs, found.layers, strict=True)):
        panels = [axes for axes in part.axes if axes.get_title()]
        activations, gradients = (tensor.numpy() for tensor in found.of_image(one, 1))
        if one.layout is None:
            assert len(panels) == 2
            for panel, values in zip(panels, (activations, gradients), strict=True):
                np.testing.assert_array_equal(panel.lines[0].get_ydata(), values.ravel())
            continue
        assert len(panels) == 4
        k = found.window(number, 1).channel
        assert k is not None
        alpha = gradients.reshape(len(gradients), -1).mean(1)
        expected = (
            activations[k],
            gradients[k],
            np.abs(gradients).max(0),
            np.tensordot(alpha, activations, 1),
        )
        size = max(np.abs(activations).max(), np.abs(gradients).max())
        for panel, values in zip(panels, expected, strict=True):
            drawn = np.ma.filled(cast("Any", panel.images[0].get_array()), np.nan)
            cells = drawn[np.isfinite(drawn)]
            assert_agrees(np.sort(cells), np.sort(values.ravel()), scale=size)
            if values.ndim == 2:
                assert_agrees(drawn, values, scale=size)
            low, high = panel.images[0].get_clim()
            signed = panel in (panels[1], panels[3]) or values.min() < 0
            assert_agrees(high, np.abs(values).max(), scale=size)
            assert low == (-high if signed else 0)
            assert panel.images[0].get_cmap().name == ("RdBu_r" if signed else "inferno")
    with Image.open(found.save(tmp_path / "trace.png", image=1)) as picture:
        assert picture.width > 600


# What goes wrong


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"layers": "blok1"}, UnknownNameError, "no layer named 'blok1'. Did you mean 'block1'"),
        ({"layers": ["block1", "block2[9]"]}, UnknownNameError, "modules inside"),
        ({"layers": "block1.relu"}, LayerError, "ran 2 times in this pass. Say which call"),
        ({"layers": "block1.relu#3"}, LayerError, "block1.relu"),
        ({"layers": nn.ReLU()}, LayerError, "a ReLU outside the model"),
        ({"target": 9}, TargetError, "an index from 0 to 4 was expected"),
        ({"target": "cat"}, TargetError, "names of the model's 5 classes are not known"),
        ({"grid": 7}, OptionError, "grid is 7"),
    ],
)
def test_what_is_wrong_is_said(
    given: dict[str, Any], error: type[LimelightError], text: str
) -> None:
    with pytest.raises(error, match=re.escape(text)):
        limelight.trace(ready(networks.ResidualCNN()), noise(3, 16, 16), **given)


@pytest.mark.parametrize(
    ("ask", "error", "text"),
    [
        (lambda t: t.text(window=0), OptionError, "The window is 0; at least 1 value"),
        (lambda t: t.window(0, size=-3), OptionError, "The window is -3"),
        (lambda t: t.text(channel=6), OptionError, "no channel 6 at 'block1', which has 6, from 0"),
        (lambda t: t.numbers(0, channel=-1), OptionError, "There is no channel -1"),
        (lambda t: t.text(2), InputError, "There is no image 2; there are 2, counted from 0"),
        (lambda t: t.figure(-1), InputError, "There is no image -1"),
        (lambda t: t.numbers(0, 7), InputError, "There is no image 7"),
    ],
)
def test_what_cannot_be_shown_is_said(
    ask: Callable[[limelight.Trace], object], error: type[LimelightError], text: str
) -> None:
    found = limelight.trace(ready(networks.ResidualCNN()), noise(3, 16, 16), "block1", target=0)
    with pytest.raises(error, match=re.escape(text)):
        ask(found)


def test_a_channel_that_one_layer_has_and_another_has_not() -> None:
    layers = ["block2", "classifier.0"]
    found = limelight.trace(ready(networks.ResidualCNN()), noise(3, 16, 16), layers, target=0)
    assert found.window(0, channel=6).channel == 6
    assert found.window(2, channel=6).channel == found.window(2).channel  # the input has three
    assert found.window(2, channel=1).channel == 1
    with pytest.raises(OptionError, match="no channel 60 at 'block2', which has"):
        found.text(channel=60)


@pytest.mark.parametrize("name", ["trace.gif", "trace", "trace.npy"])
def test_a_format_that_is_not_known(name: str, tmp_path: Path) -> None:
    found = limelight.trace(ready(networks.Signal()), noise(2, 40), target=0)
    with pytest.raises(OutputError, match="its suffix should be one of png, jpg"):
        found.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@old
@pytest.mark.parametrize("make", [quantised_dynamically, quantised_statically])
def test_a_quantised_network_has_no_gradient(make: Callable[[], nn.Module]) -> None:
    with pytest.raises((MethodError, LayerError), match=r"(?i)quanti[sz]ed"):
        limelight.trace(make(), IMAGES.float(), None)


class Bytes(networks.PoolLinear):
    """Takes pictures as bytes."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.double() / 255)


def test_bytes_have_no_gradient() -> None:
    images = torch.randint(0, 255, (1, 3, 8, 8), dtype=torch.uint8)
    with pytest.raises(LayerError, match="uint8"):
        limelight.trace(ready(Bytes()), images, "features", target=0)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training: bool) -> None:
    model, images = ready(networks.ResidualCNN()).train(training), noise(3, 16, 16)
    before, weights, kept = state(model), copy.deepcopy(model.state_dict()), images.clone()
    found = limelight.trace(model, images, ["block1", "classifier"], target=0)
    found.text()
    for wrong in ({"layers": "none"}, {"target": 77}, {"layers": "block1.relu"}):
        with pytest.raises(LimelightError):
            limelight.trace(model, images, **wrong)
    assert state(model) == before
    assert torch.equal(images, kept)
    assert not images.requires_grad
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights[name])


def test_a_model_that_raises_is_left_as_it_was() -> None:
    model = ready(networks.RaisesLate())
    before = state(model)
    with pytest.raises(RuntimeError, match="in the middle of the model"):
        limelight.trace(model, noise(3, 12, 12), "second")
    assert state(model) == before


# The gradient by hand

#: As they can be worked out on paper, and as the article has them.
ON_PAPER: dict[str, list[Any]] = {
    "convolved": [[4, 7], [5, 6]],
    "outputs": [13, 15],
    "at_convolution": [[0, 1], [0, 1]],
    "jacobian": [
        [1, 0, 0, 1, 2, 0, 0, 0, 0],
        [0, 1, 0, 0, 1, 2, 0, 0, 0],
        [0, 0, 0, 1, 0, 0, 1, 2, 0],
        [0, 0, 0, 0, 1, 0, 0, 1, 2],
    ],
    "at_input": [[0, 1, 0], [0, 2, 2], [0, 1, 2]],
    "by_chain_rule": [[0, 1, 0], [0, 2, 2], [0, 1, 2]],
}


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLE))


def test_the_gradient_by_hand_is_that_on_paper(example: dict[str, Any]) -> None:
    found = example["numbers"]()
    assert set(found._fields) == set(ON_PAPER)
    for name, expected in ON_PAPER.items():
        assert torch.equal(getattr(found, name), torch.tensor(expected, dtype=torch.float64)), name


def test_the_gradient_by_hand_is_that_of_the_article(example: dict[str, Any], shared: Path) -> None:
    worked = json.loads((shared / "article" / "worked_examples.json").read_text())
    given = worked["gradient_by_hand"]
    keys = {
        "convolved": "conv_output_2_2",
        "outputs": "fc_output_2",
        "at_convolution": "grad_of_output0_wrt_conv_output_2_2",
        "jacobian": "jacobian_conv_output_wrt_input_4_9",
        "at_input": "grad_of_output0_wrt_input_3_3",
        "by_chain_rule": "grad_of_output0_wrt_input_3_3",
    }
    assert {name: given[key] for name, key in keys.items()} == ON_PAPER
    assert example["IMAGE"][0, 0].tolist() == given["input_1_1_3_3"]
    assert example["KERNEL"][0, 0].tolist() == given["conv_weight_1_1_2_2"]
    assert example["WEIGHTS"].tolist() == given["fc_weight_2_4"]


def test_the_gradient_by_hand_prints_every_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE)])
    monkeypatch.setenv("COLUMNS", "120")
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    said = capsys.readouterr().out
    printed = [numbers_of(line) for line in said.splitlines() if re.fullmatch(r"[\s\d.-]+", line)]
    for name, expected in ON_PAPER.items():
        rows = expected if isinstance(expected[0], list) else [expected]
        assert all(row in printed for row in rows), name
    assert "The two differ by at most 0." in said


def test_a_network_prepares_the_photo_and_names_the_classes() -> None:
    network = limelight.load_model()
    photo = limelight.load_photo(find_sample("chelsea"))
    found = limelight.trace(network, photo, "bn2")
    parts = limelight.trace(network.model, network.images(photo), "bn2", classes=network.classes)
    assert found.label == parts.label
    assert torch.equal(found.layers[0].gradients, parts.layers[0].gradients)
    assert limelight.trace(network, [photo, photo], []).image.shape[0] == 2
    with pytest.raises(InputError, match="A photo was given"):
        limelight.trace(network.model, photo)
