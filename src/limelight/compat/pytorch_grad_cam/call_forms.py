"""What users pass to a peer's class, in today's forms and in those of earlier versions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from limelight.compat.arrays import Array
from limelight.compat.pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from limelight.compat.runs import LayerEvidence
from limelight.compat.scores import OneImageTarget, OneTargetPerImage
from limelight.errors import LayerError, OptionError, TargetError
from limelight.layers import resolve
from limelight.layers.resolved import Layer
from limelight.runtime.unwrap import unwrap
from limelight.targets import ScoreTarget, as_target

#: What a call takes as targets: for each image a callable or a class by index, or one for all.
Targets = (
    Sequence[OneImageTarget | int] | Array | Tensor | OneImageTarget | int | ScoreTarget | None
)


def layers_named(
    model: nn.Module, layers: Sequence[Layer] | None, layer: Layer | None
) -> list[Layer]:
    """Return the layers as a list, each of them found in the model.

    A container, as `model.layer4` is, stands for the layers in it. `layer` is the single layer of
    the earliest versions.

    Raises:
        UnknownNameError, LayerError: A layer is not part of the model, or none is named.
    """
    if layer is not None:
        _deprecated("target_layer=layer", "target_layers=[layer]")
        layers = [layer]
    is_container = isinstance(layers, nn.Sequential | nn.ModuleList)
    if isinstance(layers, nn.Module | str) and not is_container:
        layers = [layers]
    if not layers:
        raise LayerError(
            "target_layers is empty; a list of layers was expected, as in "
            "target_layers=[model.layer4[-1]]. `limelight layers` lists candidates."
        )
    for each in layers:
        resolve(unwrap(model), each)
    return list(layers)


def moved_to_gpu(model: nn.Module, use_cuda: bool | None) -> nn.Module:
    """Return the model, on the GPU if `use_cuda`, the form of earlier versions, asks for it."""
    if use_cuda is not None:
        _deprecated(f"use_cuda={use_cuda}", "model.to(device) before, and no use_cuda")
    return on_gpu(model) if use_cuda else model


def on_gpu(model: nn.Module) -> nn.Module:
    """Move a model to the GPU.

    Raises:
        OptionError: There is none.
    """
    if not torch.cuda.is_available():
        raise OptionError(
            "use_cuda=True was given, but torch finds no GPU. Leave it out: maps are made where "
            "the model's parameters are."
        )
    return model.cuda()


def category_as_targets(targets: Targets, category: Targets, batch: int) -> Targets:
    """Return the targets of B images, read from the earlier `target_category` if that is given."""
    if category is None:
        return targets
    if isinstance(category, np.ndarray | Tensor):
        category = category.tolist()
    if isinstance(category, Sequence):
        new = f"[{', '.join(f'ClassifierOutputTarget({each})' for each in category)}]"
    else:
        new = f"[ClassifierOutputTarget({category})]" + (f" * {batch}" if batch > 1 else "")
    _deprecated(f"target_category={category}", f"targets={new}")
    if targets is not None:
        raise TargetError("Both targets and target_category were given; pass targets alone.")
    return category


#: What holds several targets.
_LISTS = (Sequence, nn.ModuleList, np.ndarray, Tensor)


def as_targets(targets: Targets, batch: int) -> list[OneImageTarget]:
    """Return a callable for each of B images; a class by index becomes one.

    One that is not in a list is for all images.

    Raises:
        TargetError: There is neither one target nor one per image, or one is no callable.
    """
    is_list = isinstance(targets, _LISTS) and getattr(targets, "ndim", 1) > 0
    one_by_one: list[Any] = list(targets) if is_list else [targets] * batch  # type: ignore[arg-type]
    if len(one_by_one) != batch:
        raise TargetError(
            f"There are {len(one_by_one)} targets for {batch} images; one per image was expected, "
            "or one without a list, for all of them."
        )
    return [_as_callable(target) for target in one_by_one]


def _as_callable(target: object) -> OneImageTarget:
    if callable(target):
        function: Callable[..., object] = target
        return function
    try:
        return ClassifierOutputTarget(int(target))  # type: ignore[call-overload]
    except (TypeError, ValueError):
        raise TargetError(
            f"A target is {target!r}; a callable from the output for one image to a number was "
            "expected, as ClassifierOutputTarget(281), or a class by index."
        ) from None


def as_target_of_images(targets: Targets, batch: int) -> ScoreTarget:
    """Return what is explained of B images; None stands for the predicted class.

    A target of limelight's own, such as `limelight.Box`, is taken as it is.
    """
    if targets is None or isinstance(targets, ScoreTarget):
        return as_target(targets)
    return OneTargetPerImage(as_targets(targets, batch))


def targets_one_by_one(
    target: ScoreTarget, at_layers: Sequence[LayerEvidence]
) -> list[OneImageTarget]:
    """Return a callable for each image, also where the classes were predicted.

    It is [] where what was predicted is no class: a detector's best box.
    """
    if isinstance(target, OneTargetPerImage):
        return list(target.targets)
    indices = at_layers[0].scores.indices
    return [] if indices is None else [ClassifierOutputTarget(int(index)) for index in indices]


def _deprecated(old: str, new: str) -> None:
    warnings.warn(f"{old} is the form of an earlier version; write {new}.", DeprecationWarning, 4)
