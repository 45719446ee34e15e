"""The target `AnyOf`, and what becomes of a target when one image of a batch is taken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import limelight
from helpers import networks
from helpers.networks import ready
from helpers.tolerances import assert_agrees
from limelight import AnyOf, Contrast, Counterfactual, Region
from limelight.errors import TargetError, UnknownNameError
from limelight.inputs import as_tensor
from limelight.targets import Box, Rank, as_target
from limelight.targets.classes import GivenClasses

CLASSES = ("ant", "bee", "cat, moggy", "dog", "elk")


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = ready(networks.PoolLinear())
        with torch.no_grad():
            model.fc.weight.mul_(30)
            model.fc.bias.sub_(model(pictures()).mean(0))  # so that no class always wins
        return model


def pictures() -> Tensor:
    return torch.randn(6, 3, 9, 8, dtype=torch.float64, generator=torch.manual_seed(1))


def explained(target: Any, **options: Any) -> limelight.Explanation:
    return limelight.explain(network(), pictures(), target=target, classes=CLASSES, **options)


# AnyOf


@pytest.mark.parametrize("among", [[0, 1], ["bee", "moggy", 4], [3], (4, 0), ["ELK", 4], range(5)])
def test_each_image_has_its_own_highest_among_them(among: Any) -> None:
    logits = network()(pictures()).detach()
    numbers = [{"bee": 1, "moggy": 2, "ELK": 4}.get(one, one) for one in among]
    best = [max(numbers, key=lambda one: float(row[one])) for row in logits]
    found = explained(AnyOf(among))
    assert found.index is not None
    assert found.index.tolist() == best
    assert found.label == tuple(CLASSES[one] for one in best)
    assert torch.equal(found.score, logits.gather(1, torch.tensor(best)[:, None])[:, 0])
    assert torch.equal(found.raw, explained(best).raw)


def test_the_pictures_tell_the_classes_apart() -> None:
    """Or the test above could not fail."""
    for among in ([0, 1], [1, 2, 4], range(5)):
        index = explained(AnyOf(list(among))).index
        assert index is not None
        assert len(set(index.tolist())) > 1


def test_among_all_is_the_predicted_class_and_among_one_is_it() -> None:
    assert torch.equal(explained(AnyOf(range(5))).raw, explained(None).raw)
    assert torch.equal(explained(AnyOf(["dog"])).raw, explained("dog").raw)


def test_neither_order_nor_repetition_matters() -> None:
    wanted = explained(AnyOf([4, 1, 2]))
    for among in ([1, 2, 4], [2, 4, 1, 1, 2]):
        found = explained(AnyOf(among))
        assert found.label == wanted.label
        assert torch.equal(found.raw, wanted.raw)


def test_among_stands_where_a_class_does() -> None:
    among = AnyOf([1, 2])
    chosen = explained(among).index
    assert chosen is not None
    for target, wanted in (
        (Counterfactual(among), Counterfactual(chosen)),
        (Contrast(among, 0), Contrast(chosen, 0)),
        (Contrast(0, among), Contrast(0, chosen)),
        (Contrast(among, AnyOf([3, 4])), Contrast(chosen, explained(AnyOf([3, 4])).index)),
        (Contrast(among), Contrast(chosen)),
    ):
        found, other = explained(target), explained(wanted)
        assert found.label == other.label
        assert torch.equal(found.raw, other.raw)


def test_perturbed_images_keep_the_class_that_was_chosen() -> None:
    chosen = explained(AnyOf([1, 2])).index
    for method in ("occlusion", "scorecam", "smoothgrad:samples=3"):
        found = explained(AnyOf([1, 2]), method=method)
        assert_agrees(found.raw, explained(chosen, method=method).raw)


def test_among_in_a_segmenter_is_chosen_over_the_region() -> None:
    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 5, 1)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.body(x).tanh())
            return out

    model = ready(Dense())
    mask = torch.zeros(9, 8, dtype=torch.bool)
    mask[2:6, 3:7] = True
    found = limelight.explain(
        model, pictures(), target=Region(AnyOf([1, 3]), where=mask), layer="body"
    )
    assert found.index is not None
    assert set(found.index.tolist()) <= {1, 3}
    wanted = limelight.explain(
        model, pictures(), target=Region(found.index, where=mask), layer="body"
    )
    assert torch.equal(found.raw, wanted.raw)


@pytest.mark.parametrize(
    ("classes", "error", "says"),
    [
        ([], TargetError, "AnyOf is given []; a list of at least one class was expected."),
        ("dog", TargetError, "AnyOf is given 'dog'; a list of at least one class was expected."),
        ([9], TargetError, "an index from 0 to 4 was expected"),
        ([-1], TargetError, "an index from 0 to 4 was expected"),
        (["dgo"], UnknownNameError, "Did you mean 'dog'"),
        (["ant", "wolf"], UnknownNameError, "There is no class named 'wolf'"),
        ([1.5], TargetError, "an index from 0 to 4 was expected"),
    ],
    ids=str,
)
def test_what_is_no_list_of_classes_is_refused(
    classes: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error) as caught:
        explained(AnyOf(classes))
    assert says in str(caught.value)


# One image of a batch


@pytest.mark.parametrize(
    "target",
    [
        None,
        2,
        "dog",
        [0, 1, 2, 3, 4, 0],
        ("ant", "bee", "dog", "elk", "ant", "moggy"),
        np.array([0, 1, 2, 3, 4, 0]),
        torch.tensor([0, 1, 2, 3, 4, 0]),
        torch.tensor(3),
        np.int64(3),
        Rank(2),
        AnyOf([1, 2]),
        AnyOf(["bee", "elk"]),
        Counterfactual([0, 1, 2, 3, 4, 0]),
        Counterfactual(AnyOf([1, 2])),
        Contrast([0, 1, 2, 3, 4, 0], 4, weight=0.3),
        Contrast(None, torch.tensor([0, 1, 2, 3, 4, 0])),
        Contrast([0, 1, 2, 3, 4, 0], [1, 2, 3, 4, 0, 1]),
        Contrast(AnyOf([0, 1]), AnyOf([2, 3])),
        Contrast(None, similar=2),
    ],
    ids=str,
)
def test_the_explanation_of_one_image_asks_what_was_asked_of_it(target: Any) -> None:
    whole = explained(target)
    for b in (0, 3, -1):
        one, image = whole[b], pictures()[b][None]
        assert one.recipe is not None
        kept = one.recipe.parts[0].target
        again = limelight.explain(network(), image, target=kept, classes=CLASSES)
        assert again.label == one.label == (whole.label[b],)
        assert_agrees(again.raw, whole.raw[b][None])
        # And so it can be measured.
        limelight.measure(network(), image, one, metrics=["increase"])


def test_a_batch_of_one_keeps_its_list() -> None:
    image = pictures()[:1]
    targets: list[Any] = [[3], np.array([3]), torch.tensor([3])]
    for target in targets:
        one = limelight.explain(network(), image, target=target)[0]
        assert one.recipe is not None
        kept = one.recipe.parts[0].target
        assert isinstance(kept, GivenClasses)
        assert kept.value == 3


def index(target: object) -> object:
    """Return the one class that a target picks."""
    assert isinstance(target, GivenClasses)
    return target.value


def test_masks_boxes_and_classes_of_each_image() -> None:
    masks = torch.rand(6, 9, 8) > 0.5
    kept = Region([0, 1, 2, 3, 4, 0], where=masks).of_image(4, 2)
    assert index(kept.target) == 4
    assert torch.equal(as_tensor(kept.where), masks[4])
    for where in (masks[2], (3, 4), None):  # of all images alike
        assert Region(1, where=where).of_image(4, 2).where is where
    boxes = torch.arange(24.0).reshape(6, 4)
    assert torch.equal(as_tensor(Box(boxes, 1).of_image(2, 2).box), boxes[2])
    assert torch.equal(as_tensor(Box(boxes.tolist(), 1).of_image(2, 2).box), boxes[2])
    assert Box([1, 2, 3, 4], "dog").of_image(2, 2).box == [1, 2, 3, 4]
    assert index(Box(target=[5, 6, 7]).of_image(2, 2).target) == 7
    inner = Region(Contrast([0, 1, 2], [2, 1, 0])).of_image(2, 2).target
    assert isinstance(inner, Contrast)
    assert (index(inner.target), index(inner.against)) == (2, 0)


def test_what_is_asked_of_all_images_stays_as_it_is() -> None:
    for target in (None, 3, "dog", Rank(1), AnyOf([1, 2]), lambda output: output[:, 1]):
        asked = as_target(target)
        assert asked.of_image(2, 2) is asked


def test_a_mask_alone_and_one_of_a_batch_are_told_apart_by_its_axes() -> None:
    volume = torch.rand(4, 5, 6)
    assert Region(1, where=volume).of_image(3, 3).where is volume
    assert torch.equal(as_tensor(Region(1, where=volume).of_image(3, 2).where), volume[3])
    one = torch.rand(1, 5, 6)  # for all images alike
    assert torch.equal(as_tensor(Region(1, where=one).of_image(3, 2).where), one[0])
