"""Grad-CAM over a plain forward, beside every peer that has it: time and memory, in one run.

All sides take turns, round by round, on the same model and images; ratios are of medians. The plain
side is the model under `torch.inference_mode`. The others go from images to maps, each as its users
call it: limelight.explain with the layer named, and with the layer found ("found": after the first
call on a model the choice is remembered, and that is what is timed; the first call is shown apart);
grad-cam's GradCAM, torchcam's GradCAM, captum's LayerGradCam. Before anything is timed the maps are
compared with limelight's. Memory is how far each rises above idle at its peak, in a process of its
own. It takes about fifteen minutes on two quiet cores.

    python benchmarks/gradcam.py
    python benchmarks/gradcam.py --networks resnet50 --batches 1 --rounds 15 --json out.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from captum.attr import LayerGradCam
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torchcam.methods import GradCAM as TorchcamGradCAM
from torchvision.models import get_model

import limelight
from measure import Run, median_times, peak_memory, plain_forward, setting, table, taken
from peers import agreement

CLASS = 281


class Network(NamedTuple):
    """A network of torchvision: where it is cut, and how its output becomes a grid for grad-cam."""

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
    """Return all sides for a network, ready to run; limelight has seen the model."""
    torch.manual_seed(0)
    network, model = NETWORKS[name], get_model(name, weights=None).eval()
    for module in model.modules():  # a fresh ViT's head is zero, and so would all maps be
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.02)
    images = torch.randn(batch, 3, 224, 224)
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
    """Return one of them, for a process of its own; small things have been loaded."""
    return sides_of(name, batch)[side]


def compared(sides: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the lowest correlation of each peer's maps with limelight's, at their size."""
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


def measured(name: str, batch: int, rounds: int) -> dict[str, object]:
    """Return times over plain and agreement, for one network and batch."""
    sides = sides_of(name, batch)
    alike = compared(sides)
    times = median_times(sides, rounds)
    fresh = get_model(name, weights=None).eval()
    images = torch.randn(batch, 3, 224, 224)
    plain_forward(fresh, images)
    first = taken(partial(limelights, fresh, images, None))
    plain = times["plain"]
    ratios = {side: time / plain for side, time in times.items() if side != "plain"}
    return {
        "network": name,
        "batch": batch,
        "plain_ms": plain * 1e3,
        "ratios": ratios,
        "first": first / plain,
        "correlation": alike,
    }


def memory(name: str, batch: int) -> dict[str, float]:
    """Return how far each side rises above idle at its peak, in MiB."""
    sides = ["plain", "limelight", "grad-cam"]
    sides += ["torchcam", "captum"] if name in PLAIN_GRIDS else []
    return {side: peak_memory(partial(side_of, name, batch, side)) for side in sides}


def time_table(results: list[dict[str, object]]) -> str:
    """Return times over a plain forward; "none" where a peer cannot."""
    sides = ["limelight", "found", *PEERS]
    rows = []
    for one in results:
        ratios, alike = one["ratios"], one["correlation"]
        assert isinstance(ratios, dict)
        assert isinstance(alike, dict)
        shown = [f"{ratios[side]:.3f}" if side in ratios else "none" for side in sides]
        fastest = min((ratios[peer] for peer in PEERS if peer in ratios), default=None)
        ahead = "none" if fastest is None else f"{fastest / ratios['limelight']:.2f}"
        row = [one["network"], one["batch"], f"{one['plain_ms']:.1f}", *shown, ahead]
        rows.append([*row, f"{one['first']:.2f}", f"{min(alike.values()):.4f}"])
    head = ["network", "batch", "plain, ms", "layer named", "layer found", *PEERS]
    return table([*head, "speed over fastest peer", "first call", "correlation"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory", nargs="*", choices=NETWORKS, default=["resnet50"])
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    print(f"{setting()}, float32, 224 px, random weights, medians of {args.rounds} rounds\n")
    results = []
    for name in args.networks:
        for batch in args.batches:
            results.append(measured(name, batch, args.rounds))
            print(time_table(results[-1:]).splitlines()[-1], flush=True)
    print(f"\nOver a plain forward:\n\n{time_table(results)}\n")
    peaks = {name: memory(name, max(args.batches)) for name in args.memory}
    for name, each in peaks.items():
        rows = [[side, f"{mib:.0f}", f"{mib / each['plain']:.3f}"] for side, mib in each.items()]
        head = [f"{name}, batch {max(args.batches)}", "peak over idle, MiB", "over plain"]
        print(f"{table(head, rows)}\n")
    if args.json:
        report = {"setting": setting(), "rounds": args.rounds, "times": results, "MiB": peaks}
        args.json.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
