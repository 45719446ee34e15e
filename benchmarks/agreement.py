"""Where limelight and grad-cam 1.5.7 make the same raw map, and why they differ elsewhere.

Both explain two photos of 96 pixels for a ResNet-18 with random weights, settled batch norm and no
in-place ReLU, in float32. The script compares raw maps, before relu and resize, each scaled by its
largest absolute value. It gives the largest difference, and the lower correlation of the two
images. Where the formulas differ, a second row undoes the difference: grad-cam's formula is then
written as a method of limelight. So every difference is explained.

The second table shows layers whose output is overwritten in place later in the pass. It gives the
lowest activation, and the correlation of Grad-CAM with gradients and activations taken by autograd
alone.

It takes about a minute on two cores.

    python benchmarks/agreement.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any, NamedTuple
from unittest.mock import patch

import pytorch_grad_cam as theirs
import torch
from torch import Tensor, nn
from torchvision.models import get_model

import limelight
from limelight import METHODS, Evidence, Method
from limelight.methods.perturbed import ablationcam
from limelight.methods.weighted import weigh
from limelight.photos.samples import SAMPLES, find_sample
from limelight.targets import Target
from measure import Table, report
from peers import agreement, grad_cam

LAYERS = ("layer3", "layer4")


# ---- grad-cam's formulas, where they are not the papers' -------------------------------------


def gradcam_plus_plus_damped(evidence: Evidence) -> Tensor:
    """Add 1e-6 to the denominator of eq. 19, as large as the square of a gradient of 1e-3."""
    g, axes = evidence.gradients, evidence.axes
    mass = evidence.activations.sum(axes, keepdim=True)
    alpha = g**2 / (2 * g**2 + mass * g**3 + 1e-6)
    return weigh(evidence, (alpha * g.relu()).sum(axes))


def fem_by_share(evidence: Evidence) -> Tensor:
    """Weight activations by the share of strong cells; FEM weights strong cells by the mean."""
    activations, axes = evidence.activations, evidence.axes
    mean = activations.mean(axes, keepdim=True)
    spread = activations.std(axes, keepdim=True, correction=0)
    return weigh(evidence, (activations > mean + 2 * spread).float().mean(axes))


def ablationcam_over_score(evidence: Evidence) -> Tensor:
    """Divide by the score, whatever its sign."""
    return ablationcam(evidence) / evidence.score[:, None, None]


DAMPED = replace(
    METHODS["gradcam++"], name="gradcam++ with 1e-6", function=gradcam_plus_plus_damped
)
BY_SHARE = replace(METHODS["fem"], name="fem by share", function=fem_by_share)
OVER_SCORE = replace(
    METHODS["ablationcam"], name="ablationcam / y", function=ablationcam_over_score
)


# ---- the comparison --------------------------------------------------------------------------


class Targets(NamedTuple):
    """The same scores, one class per image, in the form of limelight and of grad-cam."""

    ours: Target
    theirs: list[Callable[[Tensor], Tensor]]


class Pair(NamedTuple):
    """A method of both libraries, and a remark on their difference."""

    ours: str | Method
    theirs: Callable[..., Any]
    remark: str = ""
    target: str = "highest"
    signless: bool = False
    around: Callable[[], AbstractContextManager[object]] = nullcontext


def centres_aligned() -> AbstractContextManager[object]:
    """Make grad-cam resize masks as limelight does: cell centres over pixel centres."""
    resize = partial(nn.Upsample, mode="bilinear", align_corners=False)
    return patch.object(nn, "UpsamplingBilinear2d", resize)


PAIRS = (
    Pair("gradcam", theirs.GradCAM),
    Pair("gradcam++", theirs.GradCAMPlusPlus, "theirs adds 1e-6 to a denominator of squares"),
    Pair("gradcam++", theirs.GradCAMPlusPlus, "the same, with the score / 1000", target="small"),
    Pair(DAMPED, theirs.GradCAMPlusPlus, "undone, with the score / 1000", target="small"),
    Pair("xgradcam", theirs.XGradCAM),
    Pair("hirescam", theirs.HiResCAM),
    Pair("layercam", theirs.LayerCAM),
    Pair("gradcam-elementwise", theirs.GradCAMElementWise),
    Pair("shapleycam", theirs.ShapleyCAM, "target: the probability", target="probability"),
    Pair("eigencam", theirs.EigenCAM, "up to sign; theirs centres", signless=True),
    Pair("eigencam:centred=true", theirs.EigenCAM, "undone", signless=True),
    Pair("eigengradcam", theirs.EigenGradCAM, "up to sign; theirs centres", signless=True),
    Pair("eigengradcam:centred=true", theirs.EigenGradCAM, "undone", signless=True),
    Pair("kpcacam", theirs.KPCA_CAM, "up to sign", signless=True),
    Pair("scorecam:softmax=true", theirs.ScoreCAM, "theirs aligns corners of grid and image"),
    Pair("scorecam:softmax=true", theirs.ScoreCAM, "undone", around=centres_aligned),
    Pair("ablationcam", theirs.AblationCAM, "score above 0"),
    Pair("ablationcam", theirs.AblationCAM, "below 0: theirs divides by it", target="lowest"),
    Pair(OVER_SCORE, theirs.AblationCAM, "undone", target="lowest"),
    Pair("fem", theirs.FEM, "theirs weights A by its share of strong cells"),
    Pair(BY_SHARE, theirs.FEM, "undone"),
)


def compared(
    pair: Pair, model: nn.Module, layer: str, images: Tensor, target: Targets
) -> tuple[float, float]:
    """Return the difference and the correlation of one pair."""
    ours = limelight.explain(model, images, target=target.ours, method=pair.ours, layer=layer)
    with pair.around():
        made = grad_cam(pair.theirs, deepcopy(model), layer, images, target.theirs)
    return agreement(ours.raw, made.raw, signless=pair.signless)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--publish", action="store_true", help="write docs/benchmarks.md and .json")
    args = parser.parse_args()
    images = photos(args.size)
    model = settled("resnet18", images)
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    targets = targets_of(model, images)
    names = [f"{layer}, {what}" for layer in LAYERS for what in ("difference", "correlation")]
    formats = dict(zip(names, (".0e", ".4f") * len(LAYERS), strict=True))
    pairs = Table({"method": "", **formats, "remark": ""})
    for pair in PAIRS:
        name = pair.ours if isinstance(pair.ours, str) else pair.ours.name
        found = [compared(pair, model, layer, images, targets[pair.target]) for layer in LAYERS]
        pairs.add(name, *chain.from_iterable(found), pair.remark)
    traps = Table(
        {
            **dict.fromkeys(("network", "layer"), ""),
            **dict.fromkeys(("lowest A", "limelight's", "grad-cam's"), ".2f"),
            **dict.fromkeys(("limelight's map", "grad-cam's map"), ".4f"),
        }
    )
    traps.add(*trap("densenet121", "features.norm5", images))
    traps.add(*trap("resnet18", "layer4.1.bn2", images))
    told = f"ResNet-18 unless said otherwise, {args.size} px"
    report("agreement", [pairs, traps], told=told, publish=args.publish)


def trap(name: str, layer: str, images: Tensor) -> list[object]:
    """Return a row: the maps of both for a layer whose output is overwritten later in the pass."""
    model = settled(name, images)
    target = targets_of(model, images)["highest"]
    right, activations = by_autograd(model, layer, images, target)
    ours = limelight.explain(model, images, target=target.ours, layer=layer)
    read = limelight.cut(model, images, layer).activations
    made = grad_cam(theirs.GradCAM, deepcopy(model), layer, images, target.theirs)
    lowest = [float(one.min()) for one in (activations, read, made.activations)]
    alike = [agreement(raw, right)[1] for raw in (ours.raw, made.raw)]
    return [name, layer, *lowest, *alike]


def by_autograd(
    model: nn.Module, layer: str, images: Tensor, target: Targets
) -> tuple[Tensor, Tensor]:
    """Return Grad-CAM `[B, *grid]` and A from one full pass with a graph, by autograd alone."""
    kept = list[Tensor]()

    def keep(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()  # what comes after may write on this one

    handle = model.get_submodule(layer).register_forward_hook(keep)
    output = model(images)
    handle.remove()
    scores = [score(row) for score, row in zip(target.theirs, output, strict=True)]
    (gradient,) = torch.autograd.grad(torch.stack(scores).sum(), kept)
    activations = kept[0].detach()
    return (gradient.mean((2, 3), keepdim=True) * activations).sum(1), activations


# ---- what is explained -----------------------------------------------------------------------


def photos(size: int) -> Tensor:
    """Return the sample photos `[B, 3, size, size]`."""
    preprocess = limelight.Preprocess(size=(size, size), resize=size)
    return torch.stack([preprocess(limelight.load_photo(find_sample(name))) for name in SAMPLES])


def settled(name: str, images: Tensor) -> nn.Module:
    """Return a network with random weights whose batch norm has seen images.

    Its scores vary as much as those of a trained network.
    """
    torch.manual_seed(0)
    model: nn.Module = get_model(name, weights=None).train()
    with torch.no_grad():
        for _ in range(5):
            model(images + 0.3 * torch.randn_like(images))
        last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
        last.weight *= 10
    return model.eval()


def targets_of(model: nn.Module, images: Tensor) -> dict[str, Targets]:
    """Return targets: the highest score, 1/1000 of it, its probability, and the lowest score."""
    with torch.inference_mode():
        output = model(images)
    highest, lowest = output.argmax(1).tolist(), output.argmin(1).tolist()
    rows = range(len(images))

    def plain(index: int, scores: Tensor) -> Tensor:
        return scores[index]

    def small(index: int, scores: Tensor) -> Tensor:
        return scores[index] / 1000

    def probability(index: int, scores: Tensor) -> Tensor:
        return scores.softmax(0)[index]

    return {
        "highest": Targets(highest, [partial(plain, index) for index in highest]),
        "lowest": Targets(lowest, [partial(plain, index) for index in lowest]),
        "small": Targets(
            lambda output: output[rows, highest] / 1000,
            [partial(small, index) for index in highest],
        ),
        "probability": Targets(
            lambda output: output.softmax(1)[rows, highest],
            [partial(probability, index) for index in highest],
        ),
    }


if __name__ == "__main__":
    main()
