"""Which part of an output is explained, on which grid, with which sign."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import pytest
import torch
from torch import Tensor, nn

import limelight
from helpers.scores import Pick, scored
from helpers.tolerances import assert_agrees
from limelight.errors import InputError, LayerError, OptionError, TargetError, UnknownNameError
from limelight.inputs import ModelInputs
from limelight.targets import Counterfactual, Similarity, output_spec
from limelight.targets.outputs import find_logits

# Which part of the output


@dataclass
class Parts:
    note: str
    aux: dict[str, Tensor]
    scores: Tensor


class Ordered(NamedTuple):
    hidden: Tensor
    scores: Tensor


class Free:
    def __init__(self, scores: Tensor) -> None:
        self.scores = scores
        self.note = "text"


OTHER, MINE = torch.zeros(2, 3), torch.tensor([[1.0, 4.0, 2.0], [0.0, -1.0, 5.0]])


@pytest.mark.parametrize(
    ("output", "pick"),
    [
        ({"logits": OTHER, "scores": MINE}, "scores"),
        ((OTHER, MINE), 1),
        ((OTHER, MINE), -1),
        ([OTHER, MINE], "1"),
        (Ordered(OTHER, MINE), 1),
        (Ordered(OTHER, MINE), "scores"),
        (Parts("a", {"inner": OTHER}, MINE), "scores"),
        (Parts("a", {"inner": MINE}, OTHER), "aux.inner"),
        (Free(MINE), "scores"),
        ([{"logits": OTHER}, {"deep": (OTHER, MINE)}], "1.deep.1"),
        ({1: MINE, "logits": OTHER}, 1),
        ({"a.b": OTHER, "a": {"b": MINE}}, "a.b"),
        ({"logits": OTHER, "scores": MINE}, lambda output: output["scores"]),
        (MINE * 2, lambda output: output / 2),
    ],
    ids=lambda value: str(value) if isinstance(value, str | int) else type(value).__name__,
)
def test_a_part_of_the_output_is_picked(output: Any, pick: Pick) -> None:
    assert torch.equal(find_logits(output, pick), MINE)
    assert scored(output, None, 2, pick=pick).values.tolist() == [4, 5]
    assert scored(output, Similarity(torch.ones(3)), 2, pick=pick).values.shape == (2,)


@pytest.mark.parametrize(
    ("output", "pick", "text"),
    [
        ({"logits": OTHER, "scores": MINE}, "score", r"no output named 'score'\. .*'scores'"),
        ({"logits": OTHER}, "zzz", r"no output named 'zzz'\. a dict of 1 has logits"),
        ((OTHER, MINE), 2, r"no output named '2'\. .*a tuple of 2 has 0, 1"),
        (Ordered(OTHER, MINE), "score", r"no output named 'score'\. Did you mean 'scores'"),
        (Parts("a", {"inner": OTHER}, MINE), "aux.iner", r"no output named 'aux\.iner'"),
    ],
    ids=["key", "far", "index", "named", "deep"],
)
def test_a_part_that_is_not_there_comes_with_the_nearest(
    output: Any, pick: Pick, text: str
) -> None:
    with pytest.raises(UnknownNameError, match=text):
        find_logits(output, pick)


@pytest.mark.parametrize(
    ("output", "pick", "text"),
    [
        ({"note": "text"}, "note", r"output='note' is a str; the tensor that holds the logits"),
        ({"inner": {"logits": OTHER}}, "inner", r"output='inner' is a dict of 1; the tensor"),
        ([OTHER], lambda output: None, r" is None; the tensor that holds"),
    ],
    ids=["text", "dict", "none"],
)
def test_a_part_that_is_no_tensor_is_refused(output: Any, pick: Pick, text: str) -> None:
    with pytest.raises(TargetError, match=text):
        find_logits(output, pick)


def test_logits_are_found_however_deep_they_are() -> None:
    assert find_logits([[{"a": [MINE]}]]) is MINE
    assert find_logits({"loss": None, "inner": {"deep": (None, MINE)}}) is MINE
    assert find_logits((None, Parts("a", {"inner": OTHER}, MINE))) is MINE


# List inputs


class Listens(nn.Module):
    """Takes a list of images, as torchvision's detectors do, and refuses a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, stride=2)
        self.fc = nn.Linear(5, 4)

    def forward(self, images: list[Tensor]) -> Tensor:
        assert isinstance(images, list)
        assert all(image.ndim == 3 for image in images)
        return cast("Tensor", self.fc(self.conv(torch.stack(images)).tanh().mean((2, 3))))


@pytest.mark.parametrize(
    "method", ["gradcam", "saliency", "occlusion:patch=0.3,stride=0.3", "scorecam"]
)
def test_a_list_of_images_reaches_the_model_as_a_list(method: str) -> None:
    model, images = Listens().eval(), torch.randn(2, 3, 13, 17)

    class Stacks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, x: Tensor) -> Tensor:
            return cast("Tensor", self.inner(list(x)))

    listed = limelight.explain(model, list(images), target=[2, 0], method=method)
    stacked = limelight.explain(Stacks().eval(), images, target=[2, 0], method=method)
    assert listed.heatmap.shape == (2, 13, 17)
    assert_agrees(listed.raw, stacked.raw)


@pytest.mark.parametrize(
    ("images", "text"),
    [
        ([], r"a list of nothing; a list of images \[C, H, W\] was expected"),
        ([1, 2], r"a list of int; a list of images"),
        ([torch.ones(3, 4, 4), "text"], r"a list of Tensor, str"),
        (
            [torch.ones(3, 4, 4), torch.ones(3, 5, 4)],
            r"shapes \[\[3, 4, 4\], \[3, 5, 4\]\]; one shap",
        ),
        ([torch.ones(3, 0, 4)], r"The images are empty"),
        ([torch.full((3, 4, 4), math.nan)], r"NaN or infinite"),
    ],
    ids=["nothing", "numbers", "text", "sizes", "empty", "nan"],
)
def test_a_list_that_is_none_of_images_is_refused(images: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        ModelInputs.of(images)


# A grid that has to be said


class Unfolds(nn.Module):
    """Cuts patches of 4 with an unfold and embeds them with a linear layer; no class token."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3 * 16, 8)
        self.norm = nn.LayerNorm(8)
        self.mix = nn.Linear(8, 8)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        patches = nn.functional.unfold(x, 4, stride=4).transpose(1, 2)
        x = self.mix(self.norm(self.embed(patches)).tanh())
        return cast("Tensor", self.fc(x.sin().mean(1)))


def test_an_ambiguous_grid_is_measured_and_can_be_said() -> None:
    # 26 x 40 pixels hold 6 x 10 patches of 4 (the last rows are lost), and 60 tokens could as well
    # be 5 x 12; neither has the picture's proportions exactly.
    model, images = Unfolds().eval(), torch.randn(2, 3, 26, 40)
    for layer in (None, "mix"):
        measured = limelight.explain(model, images, target=1, layer=layer)
        assert measured.raw.shape == (2, 6, 10)
        assert_agrees(measured.raw, limelight.explain(model, images, target=1, grid=(6, 10)).raw)
    found = limelight.explain(model, images, target=1, grid=(6, 10))
    assert found.raw.shape == (2, 6, 10)
    assert found.layer == "mix"
    # Each cell is the token of its patch, row by row.
    cut = limelight.cut(model, images, "mix", grid=(6, 10))
    patches = nn.functional.unfold(images, 4, stride=4).transpose(1, 2)
    with torch.no_grad():
        tokens = model.mix(model.norm(model.embed(patches)).tanh())
    assert_agrees(cut.activations[:, :, 4, 7], tokens[:, 47])
    other = limelight.explain(model, images, target=1, grid=[10, 6])
    assert other.raw.shape == (2, 10, 6)
    each = limelight.explain_each(model, images, [0, 1], grid=(6, 10))
    assert_agrees(each[1].raw, found.raw)


@pytest.mark.parametrize("grid", [(9, 9), (61, 1), (3, 4, 5), (60,)], ids=str)
def test_a_grid_that_does_not_hold_the_tokens_is_refused(grid: tuple[int, ...]) -> None:
    model, images = Unfolds().eval(), torch.randn(2, 3, 26, 40)
    with pytest.raises(LayerError):
        limelight.explain(model, images, target=1, grid=grid)
    with pytest.raises(LayerError):
        limelight.explain(model, images, target=1, grid=grid, layer="mix")


@pytest.mark.parametrize("grid", [(), (0, 4), (2.5, 4), "77", 7, (-1, 3)], ids=str)
def test_a_grid_of_no_sizes_is_refused(grid: Any) -> None:
    with pytest.raises(OptionError, match=r"the sizes of its axes were expected"):
        output_spec(None, None, grid)


# Signs


class Regressor(nn.Module):
    def __init__(self, channels: int = 3, outputs: int = 1, *, flat: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 6, 3, stride=2)
        self.fc = nn.Linear(6, outputs)
        self.flat = flat

    def forward(self, x: Tensor) -> Tensor:
        found = cast("Tensor", self.fc(self.conv(x).tanh().mean((2, 3))))
        return found[:, 0] if self.flat else found


@pytest.mark.parametrize("flat", [True, False], ids=["[B]", "[B, 1]"])
@pytest.mark.parametrize("method", ["gradcam", "hirescam", "ablationcam", "scorecam"])
def test_what_speaks_against_one_output_is_its_map_turned_round(flat: bool, method: str) -> None:
    model, images = Regressor(flat=flat).double().eval(), torch.randn(3, 3, 11, 11).double()
    plain = limelight.explain(model, images, method=method)
    against = limelight.explain(model, images, target=Counterfactual(), method=method)
    with torch.no_grad():
        expected = model(images).reshape(3)
    assert_agrees(plain.score, expected)
    assert_agrees(against.score, -expected)
    assert_agrees(against.raw, -plain.raw)
    assert plain.raw.abs().max() > 0
    assert plain.label == ("the output",) * 3
    assert against.label == ("against the output",) * 3


def test_many_labels_are_each_explained_by_their_own_logit() -> None:
    model, images = Regressor(outputs=4).double().eval(), torch.randn(2, 3, 11, 11).double()
    found = limelight.explain_each(model, images, [0, 3, Counterfactual(3)])
    with torch.no_grad():
        logits = model(images)
    assert_agrees(found[0].score, logits[:, 0])
    assert_agrees(found[1].score, logits[:, 3])
    assert_agrees(found[2].raw, -found[1].raw)


@pytest.mark.parametrize("channels", [1, 2, 4, 200])
@pytest.mark.parametrize(
    "method", ["gradcam", "saliency", "occlusion:patch=0.4,stride=0.4", "rise:masks=8"]
)
def test_pictures_of_any_number_of_channels(channels: int, method: str) -> None:
    model, images = Regressor(channels, 3).eval(), torch.randn(2, channels, 11, 13)
    found = limelight.explain(model, images, target=2, method=method)
    assert found.heatmap.shape == (2, 11, 13)
    assert found.heatmap.isfinite().all()
    with torch.no_grad():
        assert_agrees(found.score, model(images)[:, 2])
    assert len(found.pictures()) == 2
