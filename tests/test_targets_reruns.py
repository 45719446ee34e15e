"""Targets of every kind where the network runs again, and over views."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

import limelight
from helpers.tolerances import assert_agrees
from limelight.targets import Region, Similarity, Words


class Dense(nn.Module):
    """A segmenter whose logits have half the image's size."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.Tanh())
        self.late = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Conv2d(6, 4, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": self.head(self.late(self.body(x)).tanh())}


class Embeds(nn.Module):
    """A picture's embedding, or with words the logits of each next one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.words = nn.Embedding(9, 6)
        self.out = nn.Linear(6, 9)

    def forward(self, images: Tensor, ids: Tensor | None = None) -> Tensor:
        picture = self.conv(images).tanh().mean((2, 3))
        if ids is None:
            return cast("Tensor", picture)
        return cast("Tensor", self.out((self.words(ids) * picture[:, None]).cumsum(1)))


SENTENCE = torch.tensor([[0, 3, 5, 1], [0, 2, 2, 8]])


def prepared(kind: str) -> tuple[Any, Any, Any, Any]:
    """A model, its inputs, a target, and the score of an output's rows `[M]` of images `[M]`."""
    images = torch.randn(2, 3, 12, 12).double()
    if kind == "region":
        mask = torch.zeros(2, 12, 12)
        mask[0, 2:6, 2:8] = mask[1, 6:, 4:8] = 1
        cells = mask[:, ::2, ::2].double()

        def over(output: Any, rows: Tensor) -> Tensor:
            share = cells[rows] / cells[rows].sum((1, 2), keepdim=True)
            return cast("Tensor", (output["out"][:, 2] * share).sum((1, 2)))

        return Dense().double().eval(), images, Region(2, where=mask), over
    model = Embeds().double().eval()
    if kind == "similarity":
        to = torch.randn(2, 6).double()

        def alike(output: Any, rows: Tensor) -> Tensor:
            product = (output * to[rows]).sum(1)
            return cast("Tensor", product / output.norm(dim=1) / to[rows].norm(dim=1))

        return model, images, Similarity(to), alike

    def likely(output: Any, rows: Tensor) -> Tensor:
        return torch.stack(
            [output[m, 1].log_softmax(0)[SENTENCE[b, 2]] for m, b in enumerate(rows.tolist())]
        )

    return model, (images, SENTENCE), Words(SENTENCE, 2), likely


@pytest.mark.parametrize("kind", ["region", "similarity", "words"])
def test_occlusion_of_any_target_is_what_the_score_loses(kind: str) -> None:
    model, inputs, target, scores = prepared(kind)
    found = limelight.explain(
        model, inputs, target=target, method="occlusion:patch=0.33,stride=0.33", chunk=2
    )
    images = inputs[0] if isinstance(inputs, tuple) else inputs
    rows = torch.arange(2)

    def run(pictures: Tensor) -> Tensor:
        with torch.no_grad():
            output = model(pictures, SENTENCE) if kind == "words" else model(pictures)
        return cast("Tensor", scores(output, rows))

    whole = run(images)
    assert_agrees(found.score.double(), whole)
    for row in range(0, 12, 4):
        for column in range(0, 12, 4):
            hidden = images.clone()
            hidden[:, :, row : row + 4, column : column + 4] = 0
            inside = found.raw[:, row : row + 4, column : column + 4].flatten(1)
            lost = (whole - run(hidden))[:, None].expand_as(inside)
            assert_agrees(inside.double(), lost)


@pytest.mark.parametrize("kind", ["region", "similarity", "words"])
def test_ablation_of_any_target_is_what_the_score_loses_without_each_channel(kind: str) -> None:
    model, inputs, target, scores = prepared(kind)
    layer = "late" if kind == "region" else "conv"
    found = limelight.explain(model, inputs, target=target, method="ablationcam", layer=layer)
    cut = limelight.cut(model, inputs, layer)
    rows = torch.arange(2)
    expected = torch.zeros_like(cut.activations[:, 0])
    with torch.no_grad():
        whole = scores(cut.head(cut.activations), rows)
        for k in range(6):
            without = cut.activations.clone()
            without[:, k] = 0
            lost = whole - scores(cut.head(without), rows)
            expected += lost[:, None, None] * cut.activations[:, k]
    assert_agrees(found.raw.double(), expected)


@pytest.mark.parametrize("kind", ["region", "similarity", "words"])
@pytest.mark.parametrize(
    "method", ["scorecam", "ablationcam", "rise:masks=6", "hirescam", "saliency"]
)
def test_a_batch_is_as_each_image_alone(kind: str, method: str) -> None:
    model, inputs, target, _ = prepared(kind)
    images = inputs[0] if isinstance(inputs, tuple) else inputs
    together = limelight.explain(model, inputs, target=target, method=method)
    for b in range(2):
        own: Any = Words(SENTENCE[b], 2)
        if kind != "words":
            own = Region(2, where=target.where[b]) if kind == "region" else Similarity(target.to[b])
        one = images[b : b + 1]
        given = (one, SENTENCE[b : b + 1]) if kind == "words" else one
        alone = limelight.explain(model, given, target=own, method=method)
        assert_agrees(alone.raw[0], together.raw[b])


@pytest.mark.parametrize("kind", ["region", "similarity", "words"])
def test_scores_again_of_many_rows_of_one_image(kind: str) -> None:
    model, inputs, target, scores = prepared(kind)
    cut = limelight.cut(model, inputs, None)
    found = cut.score(target)
    for b in range(2):
        rows = torch.full((3,), b)
        variants = cut.activations[b] * torch.tensor([1.0, 0.5, 2.0])[:, None, None, None].double()
        with torch.no_grad():
            output = cut.head(variants, rows=rows)
            assert_agrees(found.read_again(output, rows).double(), scores(output, rows))
            assert_agrees(found.read_again(output, rows)[0], found.values[b].detach())


def test_a_region_of_a_mirror_image_is_flipped_back() -> None:
    model, images, target, _ = prepared("region")
    found = limelight.explain(
        model, images, target=target, views=limelight.flips(), layer="late", method="hirescam"
    )
    plain = limelight.explain(model, images, target=target, layer="late", method="hirescam").raw
    turned = Region(2, where=target.where.flip(-1))
    other = limelight.explain(
        model, images.flip(-1), target=turned, layer="late", method="hirescam"
    ).raw
    assert_agrees(found.raw, (plain + other.flip(-1)) / 2)


class Scorer(nn.Module):
    """A segmenter in miniature, as wide as its picture: what it puts out is the picture itself."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(torch.eye(2)[..., None, None])

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.conv(x))


def test_where_a_class_is_predicted_is_found_in_the_picture_itself_for_every_view() -> None:
    images = torch.randn(1, 2, 4, 4).double()
    there = (images[0, 1] > images[0, 0]).double()
    expected = images[0, 1] * there / there.sum()
    for views in (None, limelight.flips(-1, -2)):
        found = limelight.explain(
            Scorer().double().eval(), images, target=1, views=views, method="hirescam", layer="conv"
        )
        assert_agrees(found.raw[0], expected)
