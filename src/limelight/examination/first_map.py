"""A map of the embedded network, checked: its class, its place, and its equation by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from limelight.application import DEFAULT
from limelight.errors import LimelightError
from limelight.examination.observations import Observation, observed, timed
from limelight.models.efficientnet import EfficientNetLite0
from limelight.models.network import Network
from limelight.models.sources import load_model
from limelight.photos.samples import find_sample, samples_are_installed
from limelight.pipeline import explain

if TYPE_CHECKING:
    from limelight.explanation import Explanation

#: The sample photo, the class that the embedded network finds in it, and the box of the rim of the
#: cup in the network's input: left, top, right and bottom.
_SAMPLE, _CLASS, _CUP = "coffee", "espresso", (31, 0, 182, 116)

#: How far the map may be from the equation, as a share of its largest value.
_TOLERANCE = 1e-4


def examine_first_map() -> Iterator[Observation]:
    """Yield whether a first map is right.

    Its network is the embedded one; without the package that holds its weights, random ones.
    """
    part = "self-test"
    try:
        network, seconds = timed(load_model)
    except LimelightError as error:
        yield Observation(part, "network", "its weights are not there", "note", str(error))
        network, seconds = timed(lambda: load_model(weights="none"))
    yield Observation(part, "network", f"{network.name}, loaded in {seconds:.1f} s")
    if not samples_are_installed():
        advice = "The sample photos come with scikit-image: pip install 'limelight[metrics]'."
        yield Observation(part, "photo", "noise: there is no sample photo", "absent", advice)
        inputs: object = torch.randn(1, 3, 224, 224, dtype=torch.float32, device="cpu")
    else:
        inputs = find_sample(_SAMPLE)
    result, seconds = timed(lambda: explain(network, inputs))  # type: ignore[arg-type]
    if samples_are_installed() and network.weights != "random":
        yield _class(result)
        yield _status(result)
        yield _place(result)
    yield _equation(network, result)
    yield observed(part, "drawing", lambda: _drawing(result), _NO_DRAWING)
    yield Observation(part, "time", f"{seconds:.2f} s for the map")


_NO_DRAWING = "Pictures need matplotlib: pip install 'limelight[figures]'."


def _class(result: Explanation) -> Observation:
    found = f"{result.label[0]} in the photo of a cup of {_CLASS}"
    if result.label[0] == _CLASS:
        return Observation("self-test", "class", found)
    advice = (
        f"{_CLASS} was expected. The weights, or what computes with them, are not as they were."
    )
    return Observation("self-test", "class", found, "broken", advice)


def _status(result: Explanation) -> Observation:
    status = result.status[0]
    verdict = "ok" if status.ok else "broken"
    return Observation("self-test", "status", status.name, verdict, status.message)  # type: ignore[arg-type]


def _place(result: Explanation) -> Observation:
    """Return whether the heat lies in the cup: more of it than of the photo, and the maximum."""
    left, top, right, bottom = _CUP
    heat = result.heatmap[0]
    inside = torch.zeros_like(heat)
    inside[top:bottom, left:right] = 1
    share = float((heat * inside).sum() / heat.sum())
    found = f"{share:.0%} of the heat in the cup, which is {float(inside.mean()):.0%} of the photo"
    if share > float(inside.mean()) and bool(inside.flatten()[heat.argmax()]):
        return Observation("self-test", "place", found)
    advice = "The hottest place was expected in the cup. Please report this, with what stands here."
    return Observation("self-test", "place", found, "broken", advice)


def _equation(network: Network, result: Explanation) -> Observation:
    """Return whether the map is that of the equation, without hooks and without a gradient.

    Behind its last grid `A` the network is a mean and a linear layer, `y_c = sum_k w_k^c mean(A_k)`
    and a bias. So `dy_c/dA_k` is `w_k^c / N` in each of the N cells, and the map of Grad-CAM
    (Selvaraju et al. 2017, eq. 1 and 2) is `sum_k w_k^c A_k / N`, which is that of CAM.
    """
    assert isinstance(network.model, EfficientNetLite0)
    assert result.index is not None
    raw = _by_hand(network.model, result.image, int(result.index[0]))
    gap = float((raw - result.raw).abs().max() / raw.abs().max())
    found = f"the map of {DEFAULT.name} is within {gap:.0e} of its equation by hand"
    if gap < _TOLERANCE:
        return Observation("self-test", "equation", found)
    advice = (
        f"Less than {_TOLERANCE:.0e} was expected. torch computes something else here than in two "
        "other ways: look for a newer build of it, and please report this."
    )
    return Observation("self-test", "equation", found, "broken", advice)


def _by_hand(model: EfficientNetLite0, images: Tensor, index: int) -> Tensor:
    """Return `sum_k w_k^c A_k / N`, `[B, h, w]`."""
    linear: nn.Linear = model.classifier
    with torch.no_grad():
        features = model.blocks(model.bn1(model.conv_stem(images)))
        activations: Tensor = model.bn2(model.conv_head(features))
        weights = linear.weight[index][:, None, None] / activations[0, 0].numel()
        return (weights * activations).sum(1)


def _drawing(result: Explanation) -> Observation:
    """Return whether a heatmap can be laid over its photo."""
    (picture,) = result.overlay()
    size = f"{picture.width} x {picture.height}"
    return Observation("self-test", "drawing", f"an overlay of {size} pixels")
