"""The methods of a layer equal their oracles, and doctored ones do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from helpers import attention_studies
from helpers.method_scenes import (
    OF_NO_CLASS,
    ORACLES,
    SCENES,
    SCENES_OF_CAM,
    SPECTRAL,
    Scene,
    every_method,
    explained,
    noise,
    over,
    seen_through,
    weighed,
)
from helpers.networks import CHOSEN
from helpers.tolerances import assert_agrees
from limelight.errors import MethodError, UnknownNameError
from limelight.evidence import Evidence
from limelight.methods import METHODS, find_method
from oracles import perturbed, spectral, weighted
from oracles.evidence import classes

# Mistakes that the oracles have to see


def total(s: Scene, tensor: Tensor) -> Tensor:
    return tensor.sum(s.axes, keepdim=True)


def of_channels(s: Scene, score: Callable[[int], Tensor]) -> Tensor:
    """Return weights `[B, K]` from those of each channel, `[B]`."""
    return torch.stack([score(k) for k in range(s.a.shape[1])], dim=1)


def without(s: Scene, k: int, instead: Tensor | float = 0.0) -> Tensor:
    activations = s.a.clone()
    activations[:, k] = instead
    return s.head(activations)


def resized(s: Scene, channels: Tensor, mode: str = "bilinear", corners: bool = False) -> Tensor:
    aligned = corners if mode == "bilinear" else None
    return interpolate(channels, s.size[1:], mode=mode, align_corners=aligned)


def scaled(channels: Tensor) -> Tensor:
    low, high = channels.amin((2, 3), keepdim=True), channels.amax((2, 3), keepdim=True)
    return (channels - low) / (high - low)


def masks_of(s: Scene) -> Tensor:
    return scaled(resized(s, s.a))


def gains(s: Scene, masks: Tensor, baseline: Tensor | float | None = None) -> Tensor:
    """Return the gains `[B, K]` through masks `[B, K, *image]`."""
    below = s.score(0 * s.images) if baseline is None else torch.as_tensor(baseline)
    return of_channels(s, lambda k: s.score(s.images * masks[:, k : k + 1]) - below)


def mean_gains(s: Scene, variations: Sequence[Tensor]) -> Tensor:
    return torch.stack([gains(s, masks) for masks in variations]).mean(0)


def only_cells(s: Scene, gaussian: bool = False) -> Tensor:
    """Return a mask for each cell, `[cells, *grid]`."""
    cells = torch.eye(s.a[0, 0].numel(), dtype=s.a.dtype).reshape(-1, 1, *s.a.shape[2:])
    kernel = torch.tensor([1.0, 2, 1], dtype=s.a.dtype) / 4
    outer = kernel[:, None] * kernel
    return (nn.functional.conv2d(cells, outer[None, None], padding=1) if gaussian else cells)[:, 0]


def of_cells(s: Scene, score: Callable[[Tensor], Tensor], *, gaussian: bool = False) -> Tensor:
    found = torch.stack([score(mask) for mask in only_cells(s, gaussian)], dim=1)
    return found.reshape(-1, *s.a.shape[2:])


def spread(s: Scene, mask: Tensor) -> Tensor:
    """Return the activations of a mask's heaviest cell, all over the mask."""
    i, j = divmod(int(mask.argmax()), mask.shape[1])
    return s.a[:, :, i : i + 1, j : j + 1] * mask


def directions(samples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return U, S and V^T of contributions `[B, K, *grid]`, the cells being samples."""
    found = torch.linalg.svd(samples.flatten(2).transpose(1, 2), full_matrices=False)
    return cast("tuple[Tensor, Tensor, Tensor]", tuple(found))


def along(s: Scene, vector: Tensor) -> Tensor:
    """Return projections `[B, cells]` as maps with the sign that Eigen-CAM gives them."""
    channels = s.a.mean(1).flatten(1)
    pairs = zip(vector, channels, strict=True)
    signs = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1].sign() for pair in pairs])
    return (signs[:, None] * vector).reshape(-1, *s.a.shape[2:])


def kernel_component(
    s: Scene,
    kernel: Callable[[Tensor], Tensor] = lambda x: (x @ x.mT / x.shape[2] + 1).tanh(),
    *,
    channels_centred: bool = True,
    kernel_centred: bool = True,
    scale: bool = True,
    which: int = -1,
) -> Tensor:
    cells = s.a.flatten(2).mT
    k = kernel(cells - cells.mean(1, keepdim=True) if channels_centred else cells)
    if kernel_centred:
        k = k - k.mean(1, keepdim=True) - k.mean(2, keepdim=True) + k.mean((1, 2), keepdim=True)
    values, vectors = torch.linalg.eigh(k)
    length = values[:, which, None].abs().sqrt() if scale else 1
    return along(s, vectors[:, :, which] * length)


#: What passes for each method at first sight, and is not it.
DOCTORED: dict[str, dict[str, Callable[[Scene], Tensor]]] = {
    "cam": {
        "another class": lambda s: weighted.cam(s.a, s.linear.weight, [2, 1, 0]),
        "the bias too": lambda s: s.expected("cam") + s.linear.bias[0].detach(),
        "the mean over channels": lambda s: s.expected("cam") / s.a.shape[1],
        "a relu": lambda s: s.expected("cam").relu(),
    },
    "gradcam": {
        "the gradient's sum": lambda s: weighed(s, s.g.sum(s.axes)),
        "the gradient's size": lambda s: weighed(s, s.g.abs().mean(s.axes)),
        "positive gradients only": lambda s: weighed(s, s.g.relu().mean(s.axes)),
        "positive weights only": lambda s: weighed(s, s.g.mean(s.axes).relu()),
        "the mean over channels": lambda s: weighed(s, s.g.mean(s.axes)) / s.a.shape[1],
        "no weights": lambda s: s.a.sum(1),
        "no activations": lambda s: s.g.sum(1),
        "a relu": lambda s: s.expected("gradcam").relu(),
        "the other sign": lambda s: -s.expected("gradcam"),
        "the weights of another image": lambda s: weighed(s, s.g.mean(s.axes).roll(1, 0)),
        "the weights of the next channel": lambda s: weighed(s, s.g.mean(s.axes).roll(1, 1)),
        "the mean over the batch": lambda s: weighed(s, s.g.mean((0, *s.axes)).expand(3, -1)),
        "each cell by itself": lambda s: (s.g * s.a).sum(1),
        "upside down": lambda s: s.expected("gradcam").flip(1),
        "one part in a million": lambda s: s.expected("gradcam") * (1 + 1e-6),
    },
    "gradcam++": {
        "the cube inside the sum": lambda s: weighed(
            s, (s.g**2 / (2 * s.g**2 + total(s, s.a * s.g**3)) * s.g.relu()).sum(s.axes)
        ),
        "the denominator lost": lambda s: weighed(s, (s.g**2 * s.g.relu()).sum(s.axes)),
        "an absolute epsilon": lambda s: weighed(
            s, (s.g**2 / (2 * s.g**2 + total(s, s.a) * s.g**3 + 1e-8) * s.g.relu()).sum(s.axes)
        ),
        "the mass of positive activations": lambda s: weighed(
            s, (s.g.relu() / (2 + total(s, s.a.relu()) * s.g)).sum(s.axes)
        ),
        "the mean activation": lambda s: weighed(
            s, (s.g.relu() / (2 + s.a.mean(s.axes, keepdim=True) * s.g)).sum(s.axes)
        ),
        "all gradients": lambda s: weighed(s, (s.g / (2 + total(s, s.a) * s.g)).sum(s.axes)),
        "the mean over cells": lambda s: s.expected("gradcam++") / s.a[0, 0].numel(),
        "the factor exp(S)": lambda s: (
            s.expected("gradcam++") * s.score(s.images).exp()[:, None, None]
        ),
    },
    "xgradcam": {
        "an absolute epsilon": lambda s: weighed(
            s, (s.a * s.g).sum(s.axes) / (s.a.sum(s.axes) + 1e-7)
        ),
        "the mass in absolute value": lambda s: weighed(
            s, (s.a * s.g).sum(s.axes) / s.a.abs().sum(s.axes)
        ),
        "the mass of all channels": lambda s: weighed(
            s, (s.a * s.g).sum(s.axes) / s.a.flatten(1).sum(1, keepdim=True)
        ),
        "the plain mean": lambda s: s.expected("gradcam"),
    },
    "shapleycam": {
        "no curvature": lambda s: s.expected("gradcam"),
        "all of the curvature": lambda s: weighed(s, (s.g - s.curvature).mean(s.axes)),
        "the curvature added": lambda s: weighed(s, (s.g + s.curvature / 2).mean(s.axes)),
        "the Hessian's diagonal": lambda s: weighed(
            s,
            (s.g - torch.stack([h.diag() for h in s.hessians]).reshape(s.a.shape) * s.a / 2).mean(
                s.axes
            ),
        ),
        "each cell by itself": lambda s: ((s.g - s.curvature / 2) * s.a).sum(1),
        "the sum over cells": lambda s: s.expected("shapleycam") * s.a[0, 0].numel(),
    },
    "ablationcam": {
        "divided by the score": lambda s: (
            s.expected("ablationcam") / s.score(s.images)[:, None, None]
        ),
        "the other sign": lambda s: -s.expected("ablationcam"),
        "the score without it": lambda s: weighed(s, of_channels(s, partial(without, s))),
        "the channel's mean in its place": lambda s: weighed(
            s,
            of_channels(
                s,
                lambda k: s.head(s.a) - without(s, k, s.a[:, k].mean((1, 2), keepdim=True)),
            ),
        ),
        "the channel's least in its place": lambda s: weighed(
            s,
            of_channels(
                s, lambda k: s.head(s.a) - without(s, k, s.a[:, k].amin((1, 2), keepdim=True))
            ),
        ),
        "a positive drop only": lambda s: weighed(
            s, of_channels(s, lambda k: s.head(s.a) - without(s, k)).relu()
        ),
    },
    "scorecam": {
        "a softmax": lambda s: s.expected("scorecam:softmax=true"),
        "no baseline": lambda s: weighed(s, gains(s, masks_of(s), 0.0)),
        "the image for a baseline": lambda s: weighed(s, gains(s, masks_of(s), s.score(s.images))),
        "masks that are not scaled": lambda s: weighed(s, gains(s, resized(s, s.a))),
        "masks scaled before the resize": lambda s: weighed(s, gains(s, resized(s, scaled(s.a)))),
        "masks scaled all together": lambda s: weighed(
            s,
            gains(s, scaled(resized(s, s.a).flatten(1)[:, None, None]).reshape(3, -1, *s.size[1:])),
        ),
        "masks inside out": lambda s: weighed(s, gains(s, 1 - masks_of(s))),
        "aligned corners": lambda s: weighed(s, gains(s, scaled(resized(s, s.a, corners=True)))),
        "the nearest cell": lambda s: weighed(s, gains(s, scaled(resized(s, s.a, "nearest")))),
        "positive gains only": lambda s: weighed(s, gains(s, masks_of(s)).relu()),
        "the mask for the activations": lambda s: (
            gains(s, masks_of(s))[:, :, None, None] * scaled(s.a)
        ).sum(1),
    },
    "scorecam:softmax=true": {
        "no softmax": lambda s: s.expected("scorecam"),
        "a softmax over images": lambda s: weighed(s, gains(s, masks_of(s)).softmax(0)),
    },
    "sscam": {
        "no noise": lambda s: s.expected("scorecam"),
        "another seed": lambda s: seen_through(s, perturbed.with_noise(noise(s, seed=1))),
        "a deviation of one": lambda s: seen_through(s, perturbed.with_noise(noise(s) / 2)),
        "noise on the activations": lambda s: weighed(
            s, mean_gains(s, [scaled(resized(s, s.a) + one) for one in noise(s)])
        ),
        "masks kept within 0 and 1": lambda s: weighed(
            s, mean_gains(s, [(masks_of(s) + one).clamp(0, 1) for one in noise(s)])
        ),
        "noise on the image": lambda s: weighed(
            s, mean_gains(s, [masks_of(s) * (1 + one) for one in noise(s)])
        ),
        "the first sample": lambda s: seen_through(s, perturbed.with_noise(noise(s)[:1])),
        "the sum over samples": lambda s: s.expected("sscam") * 10,
    },
    "iscam": {
        "full strength": lambda s: s.expected("scorecam"),
        "from nothing": lambda s: weighed(
            s, mean_gains(s, [masks_of(s) * i / 10 for i in range(10)])
        ),
        "strengths summed up": lambda s: weighed(
            s, mean_gains(s, [masks_of(s) * i * (i + 1) / 20 for i in range(1, 11)])
        ),
        "masks to a power": lambda s: weighed(
            s, mean_gains(s, [masks_of(s) ** (i / 10) for i in range(1, 11)])
        ),
        "the sum over steps": lambda s: s.expected("iscam") * 10,
    },
    "reciprocam": {
        "the bare score": lambda s: of_cells(s, lambda mask: s.head(s.a * mask)),
        "the probability": lambda s: of_cells(
            s, lambda mask: classes(CHOSEN, lambda y: y.softmax(1))(s.output(s.a * mask))
        ),
        "what is lost without the cell": lambda s: of_cells(
            s, lambda mask: s.head(s.a) - s.head(s.a * (1 - mask))
        ),
        "no class token": lambda s: of_cells(
            s,
            lambda mask: classes(CHOSEN)(s.output(s.a * mask, 0.0) - s.output(0 * s.a, 0.0)),
        ),
        "the neighbours too": lambda s: s.expected("reciprocam:gaussian=true"),
        "rows for columns": lambda s: s.expected("reciprocam").mT.reshape(-1, *s.a.shape[2:]),
    },
    "reciprocam:gaussian=true": {
        "the cell alone": lambda s: s.expected("reciprocam"),
        "the cell spread over its neighbours": lambda s: of_cells(
            s, lambda mask: s.head(spread(s, mask)) - s.head(0 * s.a), gaussian=True
        ),
        "weights that sum to one at the border": lambda s: of_cells(
            s, lambda mask: s.head(s.a * mask / mask.sum()) - s.head(0 * s.a), gaussian=True
        ),
        "weights whose peak is one": lambda s: of_cells(
            s, lambda mask: s.head(s.a * mask * 4) - s.head(0 * s.a), gaussian=True
        ),
    },
    "fem": {
        "the activations kept": lambda s: (s.a * rare(s)).sum(1),
        "the share that is rare for a weight": lambda s: weighed(s, rare(s).to(s.a).mean(s.axes)),
        "the size of the mean": lambda s: (s.a.mean(s.axes, keepdim=True).abs() * rare(s)).sum(1),
        "one deviation": lambda s: s.expected("fem:deviations=1"),
        "the spread of all channels": lambda s: (
            s.a.mean(s.axes, keepdim=True) * (s.a > 2 * s.a.std((1, 2, 3), keepdim=True))
        ).sum(1),
        "what is low as well": lambda s: weighted.fem(s.a) + weighted.fem(-s.a),
    },
    "hirescam": {
        "the mean gradient": lambda s: s.expected("gradcam"),
        "positive gradients only": lambda s: s.expected("layercam"),
        "positive products only": lambda s: s.expected("gradcam-elementwise"),
        "the gradient's size": lambda s: (s.g.abs() * s.a).sum(1),
        "the mean over channels": lambda s: s.expected("hirescam") / s.a.shape[1],
        "a relu": lambda s: s.expected("hirescam").relu(),
    },
    "layercam": {
        "all gradients": lambda s: s.expected("hirescam"),
        "positive products": lambda s: s.expected("gradcam-elementwise"),
        "positive activations only": lambda s: (s.g.relu() * s.a.relu()).sum(1),
        "the mean of positive gradients": lambda s: weighed(s, s.g.relu().mean(s.axes)),
        "a relu": lambda s: s.expected("layercam").relu(),
    },
    "gradcam-elementwise": {
        "a relu at the end": lambda s: s.expected("hirescam").relu(),
        "positive gradients": lambda s: s.expected("layercam"),
        "both positive": lambda s: (s.g.relu() * s.a.relu()).sum(1),
        "no relu": lambda s: s.expected("hirescam"),
    },
    "eigencam": {
        "centred": lambda s: s.expected("eigencam:centred=true"),
        "the second direction": lambda s: along(
            s, (directions(s.a)[0] * directions(s.a)[1][:, None])[:, :, 1]
        ),
        "a vector of length one": lambda s: along(s, directions(s.a)[0][:, :, 0]),
        "the other sign": lambda s: -s.expected("eigencam"),
        "the first cell positive": lambda s: torch.stack(
            [one * one[0, 0].sign() for one in s.expected("eigencam")]
        ),
        "the absolute value": lambda s: s.expected("eigencam").abs(),
        "the cells centred": lambda s: spectral.eigencam(s.a - s.a.mean(1, keepdim=True)),
    },
    "eigencam:centred=true": {
        "not centred": lambda s: s.expected("eigencam"),
        "centred over cells and channels alike": lambda s: spectral.eigencam(
            s.a - s.a.mean((1, 2, 3), keepdim=True)
        ),
        "centred for the direction only": lambda s: along(
            s,
            (s.a.flatten(2).mT @ directions(s.a - s.a.mean(s.axes, keepdim=True))[2][:, :1].mT)[
                :, :, 0
            ],
        ),
    },
    "eigengradcam": {
        "no gradient": lambda s: s.expected("eigencam"),
        "the mean gradient": lambda s: spectral.eigencam(s.a * s.g.mean(s.axes, keepdim=True)),
        "the gradient's size": lambda s: spectral.eigencam(s.a * s.g.abs()),
        "the gradient alone": lambda s: spectral.eigencam(s.g),
        "centred": lambda s: s.expected("eigengradcam:centred=true"),
        "the other sign": lambda s: -s.expected("eigengradcam"),
    },
    "segeigencam": {
        "not centred": lambda s: spectral.eigencam(s.a * s.g.abs()),
        "the gradient's sign kept": lambda s: spectral.segeigencam(s.a * s.g.sign(), s.g),
        "the other sign": lambda s: -s.expected("segeigencam"),
        "the sign of the mean activation": lambda s: spectral.eigencam(
            s.a * s.g.abs(), centred=True
        ),
    },
    "kpcacam": {
        "a linear kernel": lambda s: kernel_component(s, lambda x: x @ x.mT),
        "a Gaussian kernel": lambda s: kernel_component(
            s, lambda x: (-(torch.cdist(x, x) ** 2) / x.shape[2]).exp()
        ),
        "no offset": lambda s: kernel_component(s, lambda x: (x @ x.mT / x.shape[2]).tanh()),
        "no gamma": lambda s: kernel_component(s, lambda x: (x @ x.mT + 1).tanh()),
        "gamma of the cells": lambda s: kernel_component(
            s, lambda x: (x @ x.mT / x.shape[1] + 1).tanh()
        ),
        "channels not centred": lambda s: kernel_component(s, channels_centred=False),
        "the kernel not centred": lambda s: kernel_component(s, kernel_centred=False),
        "a vector of length one": lambda s: kernel_component(s, scale=False),
        "the second component": lambda s: kernel_component(s, which=-2),
        "the other sign": lambda s: -s.expected("kpcacam"),
    },
}


def rare(s: Scene) -> Tensor:
    deviation = s.a.std(s.axes, keepdim=True, correction=0)
    return s.a > s.a.mean(s.axes, keepdim=True) + 2 * deviation


#: What the doctored ones are made of, put together as it should be.
UNDOCTORED: dict[str, Callable[[Scene], Tensor]] = {
    "gradcam++": lambda s: weighed(s, (s.g.relu() / (2 + total(s, s.a) * s.g)).sum(s.axes)),
    "shapleycam": lambda s: weighed(s, (s.g - s.curvature / 2).mean(s.axes)),
    "ablationcam": lambda s: weighed(s, of_channels(s, lambda k: s.head(s.a) - without(s, k))),
    "scorecam": lambda s: weighed(s, gains(s, masks_of(s))),
    "sscam": lambda s: weighed(s, mean_gains(s, [masks_of(s) + one for one in noise(s)])),
    "iscam": lambda s: weighed(s, mean_gains(s, [masks_of(s) * i / 10 for i in range(1, 11)])),
    "reciprocam": lambda s: of_cells(s, lambda mask: s.head(s.a * mask) - s.head(0 * s.a)),
    "reciprocam:gaussian=true": lambda s: of_cells(
        s, lambda mask: s.head(s.a * mask) - s.head(0 * s.a), gaussian=True
    ),
    "fem": lambda s: (s.a.mean(s.axes, keepdim=True) * rare(s)).sum(1),
    "eigencam": lambda s: along(s, (directions(s.a)[0] * directions(s.a)[1][:, None])[:, :, 0]),
    "kpcacam": kernel_component,
}


# The table


def test_every_method_has_an_oracle() -> None:
    known = {how.partition(":")[0] for how in [*ORACLES, *attention_studies.ORACLES]}
    assert known == set(METHODS)


def test_every_oracle_has_seen_a_mistake() -> None:
    assert {how.partition(":")[0] for how in ORACLES} == set(DOCTORED) & set(METHODS)
    assert set(DOCTORED) <= set(ORACLES)
    assert all(DOCTORED.values())


@every_method
def test_a_row_says_what_it_is(name: str) -> None:
    row = METHODS[name]
    assert row.name == name
    assert row.formula
    assert row.paper
    assert row.use.endswith(".")


@every_method
def test_a_method_reads_what_its_row_says_and_no_more(name: str) -> None:
    row, image = METHODS[name], torch.randn(1, 3, 9, 9)
    evidence = Evidence(activations=image, image=image, score=torch.ones(1))
    if not row.needs:
        assert row.raw(evidence).shape == (1, 9, 9)
        return
    needs = "|".join(row.needs)
    with pytest.raises(MethodError, match=rf"reads the ({needs}), which were not gathered"):
        row.raw(evidence)


def test_a_method_that_is_not_there_comes_with_the_nearest() -> None:
    assert find_method("gradcam") == METHODS["gradcam"]
    with pytest.raises(UnknownNameError, match=r"no method named 'grad-cem'\. Did you mean"):
        find_method("grad-cem")
    with pytest.raises(UnknownNameError, match=r"no method named 'xyz'\. There are cam, gradcam"):
        find_method("xyz")


# Oracles


@over(ORACLES, [name for name in SCENES if name not in SCENES_OF_CAM[1:]])
def test_a_raw_map_equals_its_oracle(method: str, scene: Scene) -> None:
    assert_agrees(
        scene.explained(method).raw,
        scene.expected(method),
        scale=scene.what_cancels(method),
        limit=SPECTRAL if method in ("kpcacam", "eigencam", "eigengradcam") else None,
    )


def test_what_the_oracles_are_shown_would_tell_signs_and_cells_apart() -> None:
    for name in ("transformer", "block of a transformer", "channels last", "signal", "volume"):
        scene = SCENES[name]
        assert scene.a.min() < 0 < scene.a.max()
        assert (scene.g.std(scene.axes) > 0.01 * scene.g.abs().mean(scene.axes)).all()
    assert SCENES["transformer"].curvature.abs().max() > 1e-3
    dead = ~SCENES["cnn"].a.flatten(2).any(2)
    assert dead.any()  # some channel is zero everywhere
    for how in ORACLES.keys() - {"cam", "gradcam-elementwise"}:
        expected = SCENES["transformer"].expected(how)
        assert expected.min() < 0
        assert expected.max() > 0 or "softmax" in how


def doctored_on(method: str) -> Scene:
    return SCENES["pool" if method == "cam" else "transformer"]


@pytest.mark.parametrize(
    ("method", "how"), [(method, how) for method, made in DOCTORED.items() for how in made]
)
def test_a_doctored_map_fails_its_oracle(method: str, how: str) -> None:
    scene = doctored_on(method)
    with pytest.raises(AssertionError, match="apart by"):
        assert_agrees(DOCTORED[method][how](scene), scene.expected(method))


@pytest.mark.parametrize("method", UNDOCTORED)
def test_what_is_doctored_would_be_right_without(method: str) -> None:
    scene = doctored_on(method)
    right = UNDOCTORED[method](scene)
    assert_agrees(right, scene.expected(method), scale=scene.what_cancels(method))


@over(ORACLES)
@pytest.mark.parametrize("other", [[1, 1, 2], [0, 1, 2], [2, 2, 2]], ids=str)
def test_the_map_of_another_class_fails_the_oracle(
    method: str, scene: Scene, other: list[int]
) -> None:
    raw = explained(scene, scene.model, scene.images, method, other).raw
    if method.partition(":")[0] in OF_NO_CLASS:
        assert torch.equal(raw, scene.explained(method).raw)
        return
    with pytest.raises(AssertionError, match="apart by"):
        assert_agrees(raw, scene.expected(method))


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw[..., :-1],
        lambda raw: raw.transpose(1, 2),
        lambda raw: raw[:1],
        lambda raw: raw[:, None],
        lambda raw: raw.float(),
        lambda raw: raw * torch.nan,
    ],
)
def test_a_map_of_another_shape_or_kind_fails_the_oracle(
    change: Callable[[Tensor], Tensor],
) -> None:
    scene = SCENES["cnn"]
    with pytest.raises(AssertionError):
        assert_agrees(change(scene.explained("gradcam").raw), scene.expected("gradcam"))


def test_an_oracle_that_is_zero_everywhere_is_no_oracle() -> None:
    with pytest.raises(AssertionError, match="nothing would be compared"):
        assert_agrees(torch.zeros(2), torch.zeros(2))
