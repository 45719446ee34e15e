"""Networks of ultralytics: `yolo:FILE_OR_YAML`. Extra `yolo`, which is imported only for these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from limelight.errors import ModelError, OptionError, WeightsError, describe_error
from limelight.models.network import Network, yolo_network
from limelight.models.state import fit, read_state


def load_yolo(name: str, weights: str | Path, classes: Sequence[str] | None) -> Network:
    """Load a network of ultralytics: a .pt file with its weights, or a .yaml file without.

    ultralytics runs code that is stored in a .pt file: load only what you trust.

    Raises:
        ModelError: ultralytics cannot build the network.
        MissingPackageError: It is not installed.
        WeightsError: The file cannot be had, or other weights do not fit.
        OptionError: Random weights were asked for, but the file has its own.
    """
    import ultralytics

    source = name.removeprefix("yolo:")
    has_weights = not source.lower().endswith((".yaml", ".yml"))
    if has_weights and str(weights) == "none":
        raise OptionError(
            f"{source!r} has weights of its own. For random ones name the .yaml file of the "
            "network, as in yolo:yolo11n.yaml."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yolo = _built(ultralytics.YOLO, source, has_weights=has_weights)
        names = yolo.model.names
        if not has_weights and classes is not None and len(classes) != len(names):
            yolo.model = type(yolo.model)(yolo.model.yaml, nc=len(classes), verbose=False)
    network = yolo_network(yolo, name)
    if str(weights) in ("default", "none"):
        return replace(network, weights=source if has_weights else "random")
    fit(network.model, read_state(Path(weights)), str(weights))
    return replace(network, weights=str(weights))


def _built(build: Any, source: str, *, has_weights: bool) -> Any:
    """Build a YOLO from a file, which ultralytics downloads if it has none of that name."""
    try:
        yolo = build(source)
    except Exception as error:  # ultralytics raises nearly anything
        reason = describe_error(error).splitlines()[0]
        if has_weights:
            raise WeightsError(
                f"The network {source!r} cannot be had: {reason}. Pass a .pt file that ultralytics "
                "has saved, or a .yaml file of a network, for random weights."
            ) from error
        raise ModelError(f"ultralytics cannot build {source!r}: {reason}") from error
    if not isinstance(yolo.model, torch.nn.Module):
        raise ModelError(
            f"{source!r} is no network of PyTorch but an exported one. Pass the .pt file that it "
            "was exported from."
        )
    return yolo
