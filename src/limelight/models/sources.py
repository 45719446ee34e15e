"""Networks by name, each with the preprocessing and the class names that belong to its weights.

efficientnet-lite0           embedded: real ImageNet weights, nothing to download; the default
resnet50, vit_b_16, ...      any classifier, segmenter or detector of torchvision
tf_efficientnet_lite0, ...   any model of timm; `timm:NAME` where torchvision has the name too
hf:NAME_OR_FOLDER            a network of transformers (extra `hf`), with its image processor
open_clip:NAME/TAG           a network of open_clip (extra `open_clip`), with texts as classes
yolo:FILE_OR_YAML            a network of ultralytics (extra `yolo`), with its class names
package.module:factory       your own: a function that returns an nn.Module or a Network
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from limelight.errors import OptionError
from limelight.misnamed import checked_arguments
from limelight.models.defaults import DEFAULT
from limelight.models.network import Network
from limelight.models.placement import library_defaults, place
from limelight.photos.preprocess import Preprocess
from limelight.targets.class_names import read_class_names

_log = logging.getLogger(__name__)

#: What a name of a library's network begins with; another colon is that of a factory.
_LIBRARIES = ("hf:", "open_clip:", "timm:", "torchvision:", "yolo:")


@checked_arguments
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
        limelight.explain(network, limelight.load_photo("cat.jpg"))

    Args:
        name: One of the names at the top of this module; `model_names` lists them.
        weights: `default` (the library's own, downloaded once), `none` (random, from a fixed
            seed), or a file with a state dict (.pth, .pt, .safetensors), loaded strictly and
            without running code from it.
        classes: The names of the classes: a sequence, or a text file with one per line. With
            weights from a file or none, the network is built with as many classes.
        preprocess: Replaces the preprocessing that belongs to the weights.
        device: The device of the network.
        dtype: Its floating point type.

    Raises:
        UnknownNameError: There is no such model; the nearest names are given.
        ModelError: The network takes no photo, or the factory or its module fails.
        WeightsError: The weights cannot be downloaded or read, or do not fit, key by key. Without
            a connection, weights that were downloaded before are taken.
        OptionError: The class names cannot be read, or the device does not exist.
    """
    from limelight.models import hub, openclip, own, yolo, zoo

    names = read_class_names(classes) if isinstance(classes, str | Path) else classes
    if names is not None and not len(names):
        raise OptionError(
            "There are no class names in classes; a name for each class was expected, or None for "
            "those of the network."
        )
    if ":" in name and not name.startswith(_LIBRARIES):
        network = own.load_factory(name, weights)
    else:
        with library_defaults():
            if name.startswith("hf:"):
                network = hub.load_hub(name, weights, names)
            elif name.startswith("open_clip:"):
                network = openclip.load_open_clip(name, weights, names)
            elif name.startswith("yolo:"):
                network = yolo.load_yolo(name, weights, names)
            else:
                network = zoo.load_library(name, weights, None if names is None else len(names))
    network = replace(
        network,
        preprocess=preprocess or network.preprocess,
        classes=network.classes if names is None else tuple(names),
    )
    place(network.model, name, device, dtype)
    _log.info("loaded %s, weights %s, on %s", network.name, network.weights, device)
    return network


def model_names() -> dict[str, list[str]]:
    """Return the names that `load_model` knows, by the library that they come from."""
    from limelight.models import zoo

    names = {"embedded": [DEFAULT]}
    return names | {"torchvision": zoo.torchvision_names(), "timm": zoo.timm_names()}
