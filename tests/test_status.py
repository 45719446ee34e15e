"""Whether the status of a map that shows nothing names the right cause, layer and grid."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import limelight
from limelight.compat import pytorch_grad_cam as drop_in
from limelight.methods.views import flips, noise, scales
from limelight.status import Status


class Signed(nn.Module):
    """Two convolutions with ReLUs, a pool, and a linear layer whose weights are given.

    Attributes:
        early, late: Grids of 20 x 20 and 10 x 10 cells for pictures of 40 x 40 pixels.
    """

    def __init__(self, *weights: float) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.early = nn.Sequential(nn.Conv2d(3, 8, 3, 2, padding=1), nn.ReLU())
            self.late = nn.Sequential(nn.Conv2d(8, 8, 3, 2, padding=1), nn.ReLU())
            self.fc = nn.Linear(8, 2)
        self.last: nn.Module = nn.Identity()
        with torch.no_grad():
            cast("Tensor", self.late[0].bias).fill_(0.1)
            self.fc.weight.copy_(torch.tensor(weights).repeat(8)[:8].expand(2, 8))

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.fc(self.last(self.late(self.early(x)).mean((2, 3)))))


#: Every gradient at the layer is negative; and one of eight is positive, but Grad-CAM nowhere.
ALL_NEGATIVE, MOSTLY_NEGATIVE = (-1.0,), (0.001, *(-1.0,) * 7)
IMAGES = torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
CONVOLUTIONAL = [
    row for row in limelight.METHODS.values() if row.family not in ("attention", "words")
]


def status_of(model: nn.Module, method: str, layer: str | None = "late", **options: Any) -> Status:
    if limelight.METHODS[method].place != "layer":
        layer = None
    found = limelight.explain(model, IMAGES, target=0, method=method, layer=layer, **options)
    if not found.status[0].ok:
        assert not found.heatmap[0].any()
    return found.status[0]


@pytest.mark.parametrize("weights", [ALL_NEGATIVE, MOSTLY_NEGATIVE], ids=["all", "most"])
@pytest.mark.parametrize("method", [row.name for row in CONVOLUTIONAL])
def test_missing_evidence_is_never_called_a_flat_or_disconnected_map(
    method: str, weights: tuple[float, ...]
) -> None:
    status = status_of(Signed(*weights), method)
    assert status.name in ("ok", "no-positive-evidence")
    keeps = limelight.METHODS[method].keeps_positive
    if keeps and weights == ALL_NEGATIVE:
        assert status.name == "no-positive-evidence"
    if keeps and not status.ok:
        where = "" if method == "guided-backprop" else " at 'late'"
        assert f"{method!r} keeps only what speaks for this score" in status.message
        assert f"finds nothing of it{where}: the map is zero everywhere" in status.message
        assert "such as 'gradcam' or 'input-x-gradient'" in status.message
        assert "[40, 40]" not in status.message


def test_a_product_with_a_gradcam_that_is_positive_nowhere() -> None:
    model = Signed(*MOSTLY_NEGATIVE)
    assert status_of(model, "guided-backprop").ok
    gradcam = limelight.explain(model, IMAGES, target=0, layer="late")
    assert gradcam.raw.amax() <= 0
    status = status_of(model, "guided-gradcam")
    assert status.name == "no-positive-evidence"
    assert "at 'late'" in status.message


@pytest.mark.parametrize("views", [flips(), noise(2), scales(2)], ids=lambda views: views.name)
@pytest.mark.parametrize("method", ["gradcam", "layercam", "guided-gradcam"])
def test_missing_evidence_in_all_views(method: str, views: Any) -> None:
    status = status_of(Signed(*ALL_NEGATIVE), method, views=views)
    assert status.name == "no-positive-evidence"
    assert "'late'" in status.message
    if method != "gradcam" or views.name == "2 scales":  # which leave out what is negative
        assert f"'{method}, {views.name}' keeps only" in status.message


class Attending(nn.Module):
    """Patches that attend to each other; the score is a sign times what they bring together."""

    def __init__(self, sign: float) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.patches = nn.Conv2d(3, 8, 10, 10)
            self.query, self.key = nn.Linear(8, 8), nn.Linear(8, 8)
        self.head = nn.Linear(8, 2)
        self.sign = sign
        nn.init.ones_(self.head.weight)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        query, key, value = self.query(tokens)[:, None], self.key(tokens)[:, None], tokens.exp()
        brought = F.scaled_dot_product_attention(query, key, value[:, None])[:, 0]
        return cast("Tensor", self.sign * self.head(brought.mean(1)))


def test_missing_evidence_in_the_attention() -> None:
    assert status_of(Attending(1.0), "attention-x-gradient").ok
    status = status_of(Attending(-1.0), "attention-x-gradient")
    assert status.name == "no-positive-evidence"
    assert "finds nothing of it: the map is zero everywhere" in status.message
    assert "<input>" not in status.message


# A map that is the same everywhere


class Summed(nn.Module):
    """The sum of all pixels, with a grid of 2 x 2 cells on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.fc = nn.AdaptiveAvgPool2d(2), nn.Linear(3, 2, bias=False)
        nn.init.ones_(self.fc.weight)

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.fc(self.pool(x).mean((2, 3))))


def test_a_flat_map_names_the_grid_of_its_layer() -> None:
    model = Summed()
    for method, options in (("gradcam", {}), ("gradcam", {"views": scales(2)}), ("layercam", {})):
        found = limelight.explain(
            model,
            torch.ones(2, 3, 40, 40),
            target=0,
            layer="pool",
            method=method,
            **cast("Any", options),
        )
        assert found.status[0].name == "flat"
        assert "on the grid [2, 2] of 'pool'. Take an earlier layer" in found.status[0].message


def test_a_flat_map_of_pixels_names_no_grid_and_no_earlier_layer() -> None:
    status = status_of(Summed(), "saliency")
    assert status.name == "flat"
    assert status.message.startswith("The map is the same everywhere. Take another method than 's")
    own = limelight.measure(Summed(), IMAGES, torch.ones(2, 40, 40), metrics="increase", target=0)
    assert own.status == {("heatmaps", ""): {"flat": 2}}


def test_a_flat_map_of_attention_names_no_layer() -> None:
    model = Attending(1.0)
    nn.init.zeros_(model.query.weight)
    nn.init.zeros_(cast("Tensor", model.query.bias))
    status = status_of(model, "rollout")
    assert status.name == "flat"
    assert "<input>" not in status.message
    assert "earlier layer" not in status.message


# A score that depends on nothing


class Detached(nn.Module):
    """Passes numbers on, and no gradient back."""

    def forward(self, x: Tensor) -> Tensor:
        return x.detach()


@pytest.mark.parametrize("method", ["guided-backprop", "saliency", "fullgrad", "gradcam"])
def test_a_score_without_a_gradient_is_disconnected(method: str) -> None:
    """No other layer is advised, as none would do."""
    layer = "early" if method == "gradcam" else "<input>"
    status = status_of(Signed(0.0), method, layer="early")
    assert status.name == "disconnected"
    assert f"zero everywhere on the grid of {layer!r}" in status.message
    model = Signed(1.0)
    model.last = Detached()
    status = status_of(model, method, layer="early")
    assert status.name == "disconnected"
    assert f"Nothing leads back from the score to {layer!r}: the model detaches" in status.message


@pytest.mark.parametrize("method", ["attention-x-gradient", "rollout"])
def test_attention_that_no_gradient_reaches_is_disconnected(method: str) -> None:
    status = status_of(Attending(0.0), method)
    assert status.name == "disconnected"
    assert "zero everywhere on the grid of '<input>'" in status.message


# Several maps in one


def test_fused_maps_that_all_show_nothing_say_why_each_does() -> None:
    model = Signed(*ALL_NEGATIVE)
    late, early = (
        limelight.explain(model, IMAGES, target=0, layer=layer, method="layercam")
        for layer in ("late", "late.0")
    )
    for how in ("mean", "max", "product"):
        (status, _) = limelight.fuse([late, early], cast("Any", how)).status
        assert status.name == "no-positive-evidence"
        assert "at 'late'" in status.message
        assert "at 'late.0'" in status.message
    (same, _) = limelight.fuse([late, late]).status
    assert same == late.status[0]


def test_a_product_with_a_map_that_shows_nothing_shows_nothing_for_its_reason() -> None:
    model = Signed(*MOSTLY_NEGATIVE)
    late = limelight.explain(model, IMAGES, target=0, layer="late")
    ok = limelight.explain(model, IMAGES, target=0, layer="late", method="layercam")
    assert ok.status[0].ok
    assert limelight.fuse([late, ok], "product").status[0] == late.status[0]
    assert limelight.fuse([late, ok], "mean").status[0].ok


def test_a_product_of_maps_that_have_heat_in_different_places() -> None:
    class Corner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            left, right = x[:, :, :, :20].mean((1, 2, 3)), x[:, :, :, 20:].mean((1, 2, 3))
            return torch.stack([left, right], 1)

    left, right = (
        limelight.explain(Corner(), IMAGES.abs(), target=c, method="input-x-gradient")
        for c in (0, 1)
    )
    right = limelight.Explanation(
        **{name: getattr(right, name) for name in right.__dataclass_fields__}
        | {"label": left.label}
    )
    (status, _) = limelight.fuse([left, right], "product").status
    assert status.name == "flat"
    assert status.message.startswith("The product of the maps is zero everywhere: no place has")


# The drop-in


def test_the_drop_in_calls_missing_evidence_by_its_name() -> None:
    model = Signed(*ALL_NEGATIVE)
    for method in (drop_in.LayerCAM, drop_in.GradCAMPlusPlus, drop_in.GradCAMElementWise):
        for eigen in (False, True):
            cam = method(model, [model.late])
            with pytest.warns(UserWarning, match="no-positive-evidence"):
                assert not cam(IMAGES, 0, eigen_smooth=eigen).any()
            ((status, _),) = cam.statuses
            assert f"{method.__name__!r} keeps only what speaks for this score" in status.message
