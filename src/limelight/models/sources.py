"""TODO."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import RLock

import torch

from limelight.errors import ModelError, OptionError, described
from limelight.models.network import DEFAULT, Network
from limelight.photos.preprocess import Preprocess
from limelight.targets.class_names import read_class_names


def load_model(
    name: str = DEFAULT,
    *,
    weights: str | Path = "default",
    classes: Sequence[str] | str | Path | None = None,
    preprocess: Preprocess | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Network:
    """Load a network by name.

        network = limelight.load_model("resnet50")
        images = network.preprocess(limelight.load_photo("cat.jpg"))[None]
        limelight.explain(network.model, images, classes=network.classes)

    Args:
        name: See the head of this module.
        weights: `default` (the library's own, downloaded once), `none` (random, from a fixed
            seed), or a file with a state dict (.pth, .pt, .safetensors), loaded strictly and
            without running code from it.
        classes: The names of the classes: a sequence, or a text file with one per line. With
            weights from a file or none, the network is built with as many classes.
        preprocess: Instead of what belongs to the weights.
        device: Where the network goes.
        dtype: Its floating point type.

    Raises:
        UnknownNameError: There is no such model; the nearest names are given.
        ModelError: The network takes no photo, or the factory or its module fails.
        WeightsError: The weights cannot be downloaded, read, or do not fit, key by key. Without
            a connection, what was downloaded before is taken.
        OptionError: The class names cannot be read, or the device does not exist.
    """
    from limelight.models import hub, own, zoo

    names = read_class_names(classes) if isinstance(classes, str | Path) else classes
    if ":" in name and not name.startswith(("hf:", "timm:", "torchvision:")):
        network = own.load_factory(name, weights)
    else:
        with _library_defaults():
            if name.startswith("hf:"):
                network = hub.load_hub(name, weights, names)
            else:
                network = zoo.load_library(name, weights, None if names is None else len(names))
    network = replace(
        network,
        preprocess=preprocess or network.preprocess,
        classes=network.classes if names is None else tuple(names),
    )
    if any(one.is_meta for one in (*network.model.parameters(), *network.model.buffers())):
        raise ModelError(
            f"The network {name!r} has no weights: parameters are on the device 'meta'. Build it "
            "on the CPU, and load its weights there."
        )
    if str(device).startswith("meta"):
        raise OptionError("The device 'meta' holds shapes and no numbers. Pass 'cpu' or a GPU.")
    try:
        network.model.to(device=device, dtype=dtype).eval()
    except (RuntimeError, AssertionError) as error:
        reason = described(error).splitlines()[0]
        raise OptionError(f"The device {str(device)!r} cannot be used: {reason}") from error
    return network


#: What is set for the whole process is set by one thread at a time, or would not be set back.
_ONE_AT_A_TIME = RLock()


@contextmanager
def _library_defaults() -> Iterator[None]:
    """Let new tensors be float32 on the CPU, whatever the caller's defaults are.

    Else weights would be rounded to a default of float16, or drawn otherwise.
    """
    with _ONE_AT_A_TIME:
        before = torch.get_default_dtype()
        try:
            torch.set_default_dtype(torch.float32)
            with torch.device("cpu"):
                yield
        finally:
            torch.set_default_dtype(before)


def model_names() -> dict[str, list[str]]:
    """Return the names that `load_model` knows, by where they come from."""
    from limelight.models import zoo

    names = {"embedded": [DEFAULT]}
    return names | {"torchvision": zoo.torchvision_names(), "timm": zoo.timm_names()}
