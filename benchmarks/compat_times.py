"""A user's script, timed with the import of either library; and the table of the times.

python benchmarks/compat_times.py pytorch_grad_cam resnet50
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import get_model

from measure import Table, in_turns

LIBRARIES = {"limelight": "limelight.compat.pytorch_grad_cam", "grad-cam": "pytorch_grad_cam"}

NETWORKS = ("resnet50", "mobilenet_v2", "vit_b_16")

#: From what a layer puts out to its channels over a grid.
Reshape = Callable[[Tensor], Tensor]


def vit_grid(tokens: Tensor) -> Tensor:
    """Turn the tokens of a ViT `[B, 1 + 196, K]` into a grid `[B, K, 14, 14]`."""
    return tokens[:, 1:].reshape(len(tokens), 14, 14, -1).permute(0, 3, 1, 2)


def network(name: str) -> tuple[nn.Module, str, Reshape | None]:
    """Return a network with random weights, its target layer, and its `reshape_transform`."""
    torch.manual_seed(0)
    model: nn.Module = get_model(name, weights=None).eval()
    if name == "vit_b_16":
        head = model.get_parameter("heads.head.weight")
        nn.init.normal_(head, std=0.02)  # zero in a fresh model
        return model, "encoder.layers.encoder_layer_11.ln_1", vit_grid
    return model, {"resnet50": "layer4.2", "mobilenet_v2": "features.18"}[name], None


def script(library: str, name: str) -> tuple[float, float]:
    """Return the seconds of the import, and those from there to the first map."""
    model, layer, transform = network(name)
    image = torch.randn(1, 3, 224, 224)
    begun = time.perf_counter()
    import_module(library)
    imported = time.perf_counter()
    explain(library, model, layer, transform)(image)
    return imported - begun, time.perf_counter() - imported


def explain(
    library: str, model: nn.Module, layer: str, transform: Reshape | None
) -> Callable[[Tensor], Any]:
    """Build the object of a library, and return what calls it."""
    module: Any = import_module(library)
    target = import_module(f"{library}.utils.model_targets").ClassifierOutputTarget(281)
    cam = module.GradCAM(
        model=model, target_layers=[model.get_submodule(layer)], reshape_transform=transform
    )
    return lambda image: cam(input_tensor=image, targets=[target])


def times(starts: int, calls: int) -> Table:
    """Return a table of imports, first maps and the calls that follow, with either library."""
    sides = [f"{what}, {side}" for what in ("import", "first map", "a call") for side in LIBRARIES]
    columns = {"network": "", **dict.fromkeys(sides, ".2f"), "over grad-cam's": ""}
    table = Table(columns)
    for name in NETWORKS:
        fresh: dict[str, list[list[float]]] = {side: [] for side in LIBRARIES}
        for number in range(starts):
            order = list(LIBRARIES) if number % 2 else list(LIBRARIES)[::-1]
            for side in order:
                command = [sys.executable, __file__, LIBRARIES[side], name]
                printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                fresh[side].append(json.loads(printed.splitlines()[-1]))
        image = torch.randn(1, 3, 224, 224)
        runs = {
            side: partial(explain(library, *network(name)), image)
            for side, library in LIBRARIES.items()
        }
        turns = in_turns(runs, calls)
        cells, ratios = list[float](), list[float]()
        for part in (0, 1):
            cells += [statistics.median(each[part] for each in fresh[side]) for side in LIBRARIES]
            pairs = zip(*fresh.values(), strict=True)
            ratios.append(statistics.median(one[part] / other[part] for one, other in pairs))
        cells += [turns.median(side) for side in LIBRARIES]
        ratios.append(turns.over(*LIBRARIES))
        table.add(name, *cells, ", ".join(f"{ratio:.2f}" for ratio in ratios))
        print(str(table).splitlines()[-1], flush=True)
    return table


if __name__ == "__main__":
    print(json.dumps(script(*sys.argv[1:])))
