from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import limelight
from helpers import networks
from helpers.networks import CHOSEN, ready
from helpers.tolerances import assert_agrees
from limelight.errors import (
    LayerError,
    MethodError,
    OptionError,
    OutputError,
    TargetError,
    UnknownNameError,
)
from limelight.methods import METHODS

QUICK = ["gradcam", "layercam", "eigencam", "saliency", "occlusion", "random"]


def pictures() -> Tensor:
    return torch.randn(3, 3, 12, 16, dtype=torch.float64)


class Counted(nn.Module):
    """A network that counts how often its body and its head run."""

    def __init__(self) -> None:
        super().__init__()
        self.ran: Counter[str] = Counter()
        ran = self.ran

        class Step(nn.Conv2d):
            def __init__(self, name: str, inputs: int) -> None:
                super().__init__(inputs, 4, 3, padding=1)
                self.name = name

            def forward(self, x: Tensor) -> Tensor:
                ran[self.name] += 1
                return super().forward(x).tanh()

        self.body, self.neck, self.head = Step("body", 3), Step("neck", 4), Step("head", 4)

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.head(self.neck(self.body(x))).mean((2, 3)))


# The same maps as one by one


def test_a_comparison_is_what_explain_gives_one_by_one() -> None:
    model, images = ready(networks.ResidualCNN()), pictures()
    found = limelight.compare(
        model,
        images,
        methods=QUICK,
        targets=[CHOSEN, 3],
        layers=["block1", "block2"],
    )
    assert not found.skipped
    expected = [
        limelight.explain(model, images, target=target, method=method, layer=layer)
        for method in QUICK
        for layer in (("block1", "block2") if METHODS[method].place == "layer" else (None,))
        for target in (CHOSEN, 3)
    ]
    assert len(found) == len(expected) == 2 * (4 * 2 + 2)
    for one, other in zip(found, expected, strict=True):
        assert (one.method, one.layer, one.label) == (other.method, other.layer, other.label)
        assert_agrees(one.raw, other.raw)
        assert_agrees(one.heatmap, other.heatmap)
    assert found.heatmaps.shape == (20, 3, 12, 16)
    assert torch.equal(found.heatmaps[3], found.explanations[3].heatmap)


def test_the_order_of_layers_does_not_matter_to_the_maps() -> None:
    model, images = ready(networks.ResidualCNN()), pictures()
    layers = ["stem", "block1", "block2"]
    one = limelight.compare(model, images, methods="gradcam", layers=layers)
    other = limelight.compare(model, images, methods="gradcam", layers=layers[::-1])
    for layer in layers:
        assert_agrees(other.pick(layer=layer)[0].raw, one.pick(layer=layer)[0].raw)


def test_one_pass_serves_all_gradient_methods_targets_and_layers() -> None:
    model = ready(Counted())
    limelight.explain(model, pictures(), method="saliency", layer="body")
    model.ran.clear()
    found = limelight.compare(
        model,
        pictures(),
        methods=["gradcam", "gradcam++", "layercam", "hirescam", "eigencam", "saliency", "random"],
        targets=[0, 1, 2],
        layers=["body", "neck"],
    )
    assert len(found) == (6 * 2 + 1) * 3
    assert model.ran == {"body": 1, "neck": 1, "head": 1}


def test_methods_that_run_the_head_again_leave_the_body_alone() -> None:
    model = ready(Counted())
    images = pictures()[:1]
    limelight.cut(model, images, "neck")  # the first time, the network is recorded as well
    for method, runs in (("ablationcam", 1), ("reciprocam", 192 // 64 + 1)):
        model.ran.clear()
        limelight.explain(model, images, target=0, method=method, layer="neck", chunk=64)
        # The body runs for the map, and once to record what the head is to be given; the head twice
        # more, to see that the first axis of all that is the batch.
        assert model.ran == {"body": 2, "neck": 2, "head": 4 + runs}


def test_a_chunk_is_never_larger_than_asked() -> None:
    largest = 0

    class Watched(networks.PoolLinear):
        def forward(self, x: Tensor) -> Tensor:
            nonlocal largest
            largest = max(largest, len(x))
            return super().forward(x)

    limelight.explain(ready(Watched()), pictures()[:1], method="rise:masks=50", chunk=7)
    assert largest == 7


# What cannot be done


def test_all_methods_with_a_reason_for_what_the_network_cannot_do() -> None:
    model, images = ready(networks.ResidualCNN()), pictures()[:1]
    small = {"rise": "rise:masks=20", "kernelshap": "kernelshap:samples=20"}
    found = limelight.compare(model, images, methods=[small.get(name, name) for name in METHODS])
    skipped = {one.method: one.reason for one in found.skipped}
    of_attention = {"rollout", "attention-x-gradient", "legrad", "grad-eclip"}
    assert set(skipped) == {"cam", "tam", *of_attention}
    assert "average pool and one linear layer" in skipped["cam"]
    assert "needs attention among all tokens" in skipped["rollout"]
    assert len(found) == len(METHODS) - 6


def test_all_is_all() -> None:
    found = limelight.compare(ready(networks.TinyViT()), pictures()[:1], methods="all")
    assert {one.method for one in (*found, *found.skipped)} == set(METHODS)
    skipped = ["cam", "guided-backprop", "guided-gradcam", "tam"]
    assert [one.method for one in found.skipped] == skipped


def test_nothing_left_is_an_error_with_every_reason() -> None:
    with pytest.raises(MethodError, match=r"can do none of these methods:\n  cam: .*\n  rollout: "):
        limelight.compare(ready(networks.ResidualCNN()), pictures(), methods=["cam", "rollout"])


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"methods": []}, MethodError, "no methods to compare"),
        ({"methods": ["gradcam", "gardcam"]}, UnknownNameError, "Did you mean 'gradcam'"),
        ({"methods": "rise:mask=3"}, UnknownNameError, "Did you mean 'masks'"),
        ({"methods": "rise:masks=0"}, OptionError, "an integer of at least 1 was expected"),
        ({"methods": "rise:masks=2.5"}, OptionError, "masks of rise is 2.5"),
        ({"methods": "rise:keep=2"}, OptionError, "a number above 0 and at most 1"),
        ({"methods": "scorecam:softmax=3"}, OptionError, "true or false was expected"),
        ({"methods": "rise:masks"}, OptionError, "Cannot read 'masks'"),
        ({"methods": "gradcam:seed=1"}, UnknownNameError, "There are: none"),
        ({"targets": []}, TargetError, "no target or no layer"),
        ({"layers": ["nowhere"]}, UnknownNameError, "no layer named 'nowhere'"),
        ({"targets": [99]}, TargetError, "the model has 5 classes"),
        ({"chunk": 0}, OptionError, "chunk is 0"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(
    options: dict[str, object], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        limelight.compare(
            ready(networks.ResidualCNN()),
            pictures(),
            **({"methods": "gradcam"} | options),  # type: ignore[arg-type]
        )


def test_a_layer_is_refused_by_methods_that_read_the_whole_network() -> None:
    with pytest.raises(MethodError, match=r"'rollout' reads the whole network.*Leave layer out"):
        limelight.explain(ready(networks.TinyViT()), pictures(), method="rollout", layer="blocks.0")


def test_whole_numbers_are_no_images_to_differentiate_by() -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.conv = nn.Embedding(9, 4), nn.Conv1d(4, 4, 3, padding=1)

        def forward(self, words: Tensor) -> Tensor:
            return cast("Tensor", self.conv(self.embed(words).transpose(1, 2)).mean(2))

    words = torch.randint(0, 9, (2, 7))
    with pytest.raises(LayerError, match=r"The input is torch.int64 \[2, 7\].*'gradcam'"):
        limelight.explain(Words(), words, method="saliency")


def test_an_interruption_reaches_the_caller_and_the_model_is_untouched() -> None:
    model = ready(networks.ResidualCNN())
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def stop(_method: str, done: int, _count: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        limelight.compare(model, pictures(), methods=["gradcam", "occlusion"], progress=stop)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_progress_names_the_method_at_work() -> None:
    told: list[tuple[str, int, int]] = []
    limelight.compare(
        ready(networks.ResidualCNN()),
        pictures()[:1],
        methods=["gradcam", "rise:masks=10"],
        chunk=4,
        progress=lambda *facts: told.append(facts),
    )
    assert told == [
        ("gradcam", 0, 0),
        ("rise:masks=10", 0, 0),
        ("rise:masks=10", 4, 10),
        ("rise:masks=10", 8, 10),
        ("rise:masks=10", 10, 10),
    ]


# The sheet


def test_a_sheet_is_drawn_with_every_name(tmp_path: Path) -> None:
    model, images = ready(networks.ResidualCNN()), pictures()
    found = limelight.compare(
        model, images, methods=["gradcam", "saliency"], targets=[1, 2], layers=["block1"]
    )
    sheet = found.figure()
    words = {text.get_text() for part in sheet.subfigs for ax in part.axes for text in [ax.title]}
    assert words >= {"photo", "gradcam\nblock1", "saliency\n<input>"}
    assert len(sheet.subfigs) == 3 * 2
    with Image.open(found.save(tmp_path / "sheet.png")) as picture:
        assert picture.size[0] > 300
    with pytest.raises(OutputError, match="its suffix should be one of"):
        found.save(tmp_path / "sheet.doc")


def test_the_arrays_can_be_read_back(tmp_path: Path) -> None:
    model, images = ready(networks.ResidualCNN()), pictures()
    found = limelight.compare(model, images, methods=["gradcam", "saliency"], targets=[1, 2])
    with np.load(found.save(tmp_path / "maps.npz")) as arrays:
        names = json.loads(str(arrays["names"]))
        assert [one["method"] for one in names] == ["gradcam", "gradcam", "saliency", "saliency"]
        assert names[1]["label"] == ["class 2"] * 3
        assert_agrees(arrays["raw_1"], found.explanations[1].raw, dtype=torch.float32)
        assert arrays["heatmap_2"].shape == (3, 12, 16)


def test_a_comparison_says_what_it_is() -> None:
    model, images = ready(networks.ResidualCNN()), pictures()
    found = limelight.compare(model, images, methods=["gradcam", "cam"], layers=["block1"])
    assert repr(found) == "Comparison(1 explanation: gradcam; skipped: cam)"
    assert found.skipped[0].layer == "block1"
    assert [one.method for one in found] == ["gradcam"]


# Concepts


def blobs() -> tuple[nn.Module, Tensor]:
    """A network whose two features are two colours, and pictures of blobs of them."""
    colours, classify = nn.Conv2d(3, 2, 1, bias=False), nn.Linear(2, 2, bias=False)
    model = nn.Sequential(colours, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), classify)
    with torch.no_grad():
        colours.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])[:, :, None, None])
        classify.weight.copy_(torch.eye(2))
    images = torch.zeros(2, 3, 8, 8)
    images[0, 0, :4, :4] = 1
    images[0, 1, 4:, 4:] = 2
    images[1, 1, :2, :2] = 1
    return model, images


def test_concepts_are_found_where_they_are_and_called_what_they_are() -> None:
    model, images = blobs()
    found = limelight.factorize(model, images, concepts=2, layer="1", classes=["red", "green"])
    assert sorted(labels[0] for labels in found.labels) == ["green", "red"]
    assert found.error < 1e-3
    for labels, maps, concept in zip(
        found.labels, found.maps.unbind(1), found.concepts, strict=True
    ):
        channel = ["red", "green"].index(labels[0])
        assert_agrees(maps, images[:, channel])
        assert_agrees(concept, torch.eye(2)[channel])
    assert found.heatmaps.shape == (2, 2, 8, 8)
    assert found.heatmaps.amax() == 1
    assert "2 concepts at 1" in repr(found)


def test_concepts_of_tokens_and_their_picture(tmp_path: Path) -> None:
    model, images = ready(networks.TinyViT()), pictures()
    found = limelight.factorize(model, images, concepts=3)
    assert found.maps.shape == (3, 3, 3, 4)
    assert found.logits.shape == (3, 5)
    assert found.save(tmp_path / "concepts.png").stat().st_size
    with pytest.raises(OutputError, match=r"'concepts\.npz'"):
        found.save(tmp_path / "concepts.npz")


@pytest.mark.parametrize("count", [0, -1, 9])
def test_a_number_of_concepts_that_there_cannot_be(count: int) -> None:
    with pytest.raises(OptionError, match=rf"concepts is {count}; from 1 to 6 was expected"):
        limelight.factorize(
            ready(networks.ResidualCNN()), pictures()[:1], concepts=count, layer="block1"
        )
