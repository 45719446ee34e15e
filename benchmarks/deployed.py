"""An exported file over the plain network in onnxruntime, and over eager Grad-CAM, in one run.

All sides take turns on the same network and images. A ratio is the median over the rounds.

* heatmap: the file of `limelight.export`, in onnxruntime; it returns logits and heatmap;
* onnx: the network alone, exported by `torch.onnx.export`, in onnxruntime;
* explain: `limelight.explain` with the layer named;
* hooks: Grad-CAM as it is written by hand: a hook, `torch.autograd.grad`, relu, resize, normalise;
* torch: the network under `torch.inference_mode`.

The benchmark compares the heatmaps before it measures any time. onnxruntime's threads do not spin
after a run, as they would take the processors from the side whose turn is next. The second table
has the sizes of the files.

    python benchmarks/deployed.py
    python benchmarks/deployed.py --networks resnet18 --batches 1 16 --rounds 15
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.models import get_model

import limelight
from measure import Run, Table, in_turns, plain_forward, report
from zoo_networks import fill_zeros


class Network(NamedTuple):
    """A network of torchvision: its layer, and how the layer's output becomes `[B, K, h, w]`."""

    layer: str
    grid: Callable[[Tensor], Tensor] = lambda output: output


def tokens(output: Tensor) -> Tensor:
    """Return the tokens of a ViT, after the class token, as a grid."""
    side = round((output.shape[1] - 1) ** 0.5)
    return output[:, 1:].mT.reshape(len(output), -1, side, side)


def channels_last(output: Tensor) -> Tensor:
    return output.permute(0, 3, 1, 2)


NETWORKS = {
    "resnet18": Network("layer4"),
    "mobilenet_v3_large": Network("features"),
    "efficientnet_b0": Network("features"),
    "vit_b_16": Network("encoder.layers.encoder_layer_11.ln_1", tokens),
    "swin_t": Network("norm", channels_last),
}

#: The ratio to the plain network in onnxruntime that is aimed at.
GOAL = 1.2


def by_hooks(model: nn.Module, images: Tensor, network: Network) -> Tensor:
    """Return the heatmaps of Grad-CAM for the predicted classes, as it is written by hand."""
    kept = list[Tensor]()
    layer = model.get_submodule(network.layer)
    hook = layer.register_forward_hook(lambda _module, _args, output: kept.append(output))
    try:
        logits = model(images)
    finally:
        hook.remove()
    (gradients,) = torch.autograd.grad(logits.amax(1).sum(), kept)
    weights = network.grid(gradients).mean((2, 3), keepdim=True)
    maps = (weights * network.grid(kept[0].detach())).sum(1, keepdim=True).relu()
    larger = interpolate(maps, size=images.shape[2:], mode="bilinear")[:, 0]
    low, high = larger.amin((1, 2), keepdim=True), larger.amax((1, 2), keepdim=True)
    return (larger - low) / torch.where(high > low, high - low, 1)


def explained(model: nn.Module, images: Tensor, network: Network) -> Tensor:
    return limelight.explain(model, images, layer=network.layer).heatmap


def session_of(path: Path) -> Any:
    """Return a session with as many threads as torch has, which sleep between two runs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def plain_session(model: nn.Module, images: Tensor, path: Path) -> Any:
    """Export a network without an explanation, for any number of images."""
    batch = torch.export.Dim("batch")
    example = torch.cat([images, images])[:2]
    torch.onnx.export(
        model, (example,), path, dynamo=True, verbose=False, dynamic_shapes=({0: batch},)
    )
    return session_of(path)


def run_plain(session: Any, images: Tensor) -> object:
    return session.run(None, {session.get_inputs()[0].name: images.numpy()})


def run_heatmap(session: Any, images: Tensor) -> Tensor:
    """Return the heatmaps of a file, for the predicted classes; it returns all its outputs."""
    targets = torch.full((len(images),), -1)
    found = session.run(None, {"image": images.numpy(), "target": targets.numpy()})
    names = [output.name for output in session.get_outputs()]
    return torch.from_numpy(found[names.index("heatmap")])


class Files(NamedTuple):
    """The files of a network, in sessions, and their sizes in MB."""

    heatmap: Any
    plain: Any
    megabytes: tuple[float, float]


def files_of(model: nn.Module, images: Tensor, layer: str) -> Files:
    """Export a network with and without its heatmap."""
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the exporter says of its own parts
        paths = [Path(folder) / side / "network.onnx" for side in ("heatmap", "plain")]
        for path in paths:
            path.parent.mkdir()
        limelight.export(model, images, paths[0], layer=layer)
        plain = plain_session(model, images, paths[1])
        sizes = [sum(file.stat().st_size for file in path.parent.iterdir()) / 1e6 for path in paths]
        return Files(session_of(paths[0]), plain, (sizes[0], sizes[1]))


def sides_of(model: nn.Module, files: Files, network: Network, images: Tensor) -> dict[str, Run]:
    """Return all sides for a network, ready to run."""
    return {
        "heatmap": partial(run_heatmap, files.heatmap, images),
        "onnx": partial(run_plain, files.plain, images),
        "explain": partial(explained, model, images, network),
        "hooks": partial(by_hooks, model, images, network),
        "torch": partial(plain_forward, model, images),
    }


def apart(sides: dict[str, Run]) -> float:
    """Return how far the file's heatmaps are from those of the eager sides."""
    found, *others = (sides[side]() for side in ("heatmap", "explain", "hooks"))
    assert isinstance(found, Tensor)
    return max(float((found - torch.as_tensor(other)).abs().max()) for other in others)


def measured(
    networks: Sequence[str], batches: Sequence[int], rounds: int, seconds: float
) -> list[Table]:
    """Return the ratios of times, and the sizes of the files."""
    columns = {"network": "", "batch": "d", "heatmap, ms": ".1f", "over onnx": ".3f"}
    columns |= {f"over {side}": ".3f" for side in ("explain", "hooks", "torch")}
    times = Table({**columns, "onnx over torch": ".3f", "heatmaps apart": ".1e", "goal": ""})
    sizes = Table({"file": "", "heatmap, MB": ".1f", "plain, MB": ".1f", "over plain": ".3f"})
    for name in networks:
        torch.manual_seed(0)
        network, model = NETWORKS[name], get_model(name, weights=None).eval()
        fill_zeros(model)  # the head of a fresh ViT, to which no map leads
        files = files_of(model, torch.randn(1, 3, 224, 224), network.layer)
        with_map, plain = files.megabytes
        sizes.add(name, with_map, plain, with_map / plain)
        for batch in batches:
            sides = sides_of(model, files, network, torch.randn(batch, 3, 224, 224))
            gap = apart(sides)
            turns = in_turns(sides, rounds, seconds=seconds)
            over = [turns.over("heatmap", side) for side in ("onnx", "explain", "hooks", "torch")]
            plain_over = turns.over("onnx", "torch")
            met = "met" if over[0] <= GOAL else "missed"
            times.add(name, batch, turns.median("heatmap") * 1e3, *over, plain_over, gap, met)
            print(str(times).splitlines()[-1], flush=True)
    return [times, sizes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=15, help="more rounds while there is time")
    parser.add_argument("--publish", action="store_true", help="write docs/benchmarks.md and .json")
    args = parser.parse_args()
    found = measured(args.networks, args.batches, args.rounds, args.seconds)
    told = f"onnxruntime {onnxruntime.__version__}, float32, 224 px, random weights"
    report("deployed", found, told=f"{told}, at least {args.rounds} rounds", publish=args.publish)


if __name__ == "__main__":
    main()
