"""Grad-CAM over a plain forward, beside every peer that has it: time and memory, in one run.

All sides take turns on the same model and images. A ratio is the median over the rounds. The plain
side is the model under `torch.inference_mode`. The others go from images to maps, each as its users
call it:

* limelight.explain with the layer named;
* limelight.explain with the layer found. After the first call on a model limelight remembers the
  layer, and the benchmark times later calls. It shows the first call separately;
* grad-cam's GradCAM, torchcam's GradCAM, captum's LayerGradCam.

The benchmark compares the maps with limelight's before it measures any time. Memory is how far each
side rises above idle at its peak, when it runs for the second time in a process of its own.

    python benchmarks/gradcam.py
    python benchmarks/gradcam.py --networks resnet50 --batches 1 --rounds 15
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import NamedTuple

import torch
from captum.attr import LayerGradCam
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torchcam.methods import GradCAM as TorchcamGradCAM
from torchvision.models import get_model

import limelight
from measure import DEVICE, Run, Table, alone, in_turns, plain_forward, report, taken
from peers import agreement

CLASS = 281


class Network(NamedTuple):
    """A network of torchvision, its layer, and how the output becomes a grid for grad-cam."""

    layer: str
    reshape: Callable[[Tensor], Tensor] | None = None


def tokens(output: Tensor) -> Tensor:
    """Return the tokens of a ViT, after the class token, as a grid."""
    side = round((output.shape[1] - 1) ** 0.5)
    return output[:, 1:].mT.reshape(len(output), -1, side, side)


def channels_last(output: Tensor) -> Tensor:
    return output.permute(0, 3, 1, 2)


NETWORKS = {
    "mobilenet_v3_large": Network("features"),
    "resnet50": Network("layer4"),
    "densenet121": Network("features"),
    "convnext_tiny": Network("features"),
    "vit_b_16": Network("encoder.layers.encoder_layer_11.ln_1", tokens),
    "swin_t": Network("norm", channels_last),
}

#: What torchcam and captum take: activations with channels first.
PLAIN_GRIDS = [name for name, network in NETWORKS.items() if network.reshape is None]


def limelights(model: nn.Module, images: Tensor, layer: str | None) -> Tensor:
    """Return limelight's maps."""
    return limelight.explain(model, images, target=CLASS, layer=layer).heatmap


def grad_cam(model: nn.Module, images: Tensor, network: Network) -> Tensor:
    layers = [model.get_submodule(network.layer)]
    with GradCAM(model=model, target_layers=layers, reshape_transform=network.reshape) as cam:
        return torch.as_tensor(cam(images, [ClassifierOutputTarget(CLASS)] * len(images)))


def torchcam(model: nn.Module, images: Tensor, network: Network) -> Tensor:
    with TorchcamGradCAM(model, network.layer) as cam:
        scores = model(images)
        (found,) = cam([CLASS] * len(images), scores)
    return torch.as_tensor(found)


def captum(model: nn.Module, images: Tensor, network: Network) -> Tensor:
    cam = LayerGradCam(model, model.get_submodule(network.layer))
    found = cam.attribute(images, target=CLASS, relu_attributions=True)
    return torch.as_tensor(found).detach()[:, 0]


PEERS = {"grad-cam": grad_cam, "torchcam": torchcam, "captum": captum}


def sides_of(name: str, batch: int) -> dict[str, Callable[[], object]]:
    """Return all sides for a network, ready to run, after a first call of limelight."""
    torch.manual_seed(0)
    network, model = NETWORKS[name], get_model(name, weights=None).eval().to(DEVICE)
    for module in model.modules():  # a fresh ViT's head is zero, and so would all maps be
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.02)
    images = torch.randn(batch, 3, 224, 224, device=DEVICE)
    sides: dict[str, Callable[[], object]] = {
        "plain": partial(plain_forward, model, images),
        "limelight": partial(limelights, model, images, network.layer),
        "found": partial(limelights, model, images, None),
    }
    for peer, run in PEERS.items():
        if peer == "grad-cam" or name in PLAIN_GRIDS:
            sides[peer] = partial(run, model, images, network)
    sides["found"]()
    return sides


def side_of(name: str, batch: int, side: str) -> Run:
    """Return one side, for a process of its own, after it has run once."""
    run = sides_of(name, batch)[side]
    run()
    return run


def compared(sides: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the lowest correlation of each peer's maps with limelight's, at the peer's size."""
    ours = sides["limelight"]()
    assert isinstance(ours, Tensor)
    found = {}
    for name in sides.keys() & PEERS.keys():
        theirs = sides[name]()
        assert isinstance(theirs, Tensor)
        size = tuple(ours.shape[1:])
        larger = nn.functional.interpolate(theirs[:, None].float(), size, mode="bilinear")[:, 0]
        found[name] = agreement(ours, larger)[1]
    return found


def times(networks: Sequence[str], batches: Sequence[int], rounds: int, seconds: float) -> Table:
    """Return times over a plain forward, and the lowest correlation of a peer's map."""
    columns = {"network": "", "batch": "d", "plain, ms": ".1f", "layer named": ".3f"}
    columns |= {"layer found": ".3f", **dict.fromkeys(PEERS, ".3f")}
    columns |= {"speed over fastest peer": ".2f", "first call": ".2f", "correlation": ".4f"}
    table = Table(columns)
    for name, batch in product(networks, batches):
        sides = sides_of(name, batch)
        alike = compared(sides)
        turns = in_turns(sides, rounds, seconds=seconds)
        over = {side: turns.over(side, "plain") for side in sides}
        fastest = min((peer for peer in PEERS if peer in sides), key=lambda peer: over[peer])
        fresh = get_model(name, weights=None).eval().to(DEVICE)
        images = torch.randn(batch, 3, 224, 224, device=DEVICE)
        plain_forward(fresh, images)
        first = taken(partial(limelights, fresh, images, None)) / turns.median("plain")
        table.add(
            name,
            batch,
            turns.median("plain") * 1e3,
            over["limelight"],
            over["found"],
            *(over.get(peer, "none") for peer in PEERS),
            turns.over(fastest, "limelight"),
            first,
            min(alike.values()),
        )
        print(str(table).splitlines()[-1], flush=True)
    return table


def memory(networks: Sequence[str], batch: int) -> Table:
    """Return how far each side rises above idle at its peak."""
    table = Table(
        {f"batch {batch}": "", "side": "", "peak over idle, MiB": ".0f", "over plain": ".3f"}
    )
    for name in networks:
        sides = ["plain", "limelight", "grad-cam"]
        sides += ["torchcam", "captum"] if name in PLAIN_GRIDS else []
        peaks = {side: alone(partial(side_of, name, batch, side)).peak for side in sides}
        for side, peak in peaks.items():
            table.add(name, side, peak, peak / peaks["plain"])
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=12, help="more rounds while there is time")
    parser.add_argument("--memory", nargs="*", choices=NETWORKS, default=["resnet50"])
    parser.add_argument("--publish", action="store_true", help="write docs/benchmarks.md and .json")
    args = parser.parse_args()
    found = times(args.networks, args.batches, args.rounds, args.seconds)
    peaks = memory(args.memory, max(args.batches))
    told = f"float32, 224 px, random weights, at least {args.rounds} rounds"
    report("gradcam", [found, peaks], told=told, publish=args.publish)


if __name__ == "__main__":
    main()
