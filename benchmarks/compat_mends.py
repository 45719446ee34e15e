"""The errors of grad-cam 1.5.7, each as the change of its source that mends it.

A mend replaces a few words of a function of grad-cam while a block runs. If the result then equals
limelight's, the difference is that error and nothing else.
"""

from __future__ import annotations

import functools
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any, Literal, NamedTuple
from unittest.mock import patch

import cv2
import numpy as np
import numpy.typing as npt
import torch

Array = npt.NDArray[Any]


# ---- what changed source calls --------------------------------------------------------------


def _signed(projection: Array, activations: Array) -> Array:
    """Give a projection `[*grid]` the sign that correlates with the mean of `[K, *grid]`."""
    mean = activations.mean(axis=0).astype(np.float64)
    alike = ((mean - mean.mean()) * projection.reshape(mean.shape)).sum()
    return -projection if alike < 0 else projection


def _scaled_by_layer(tensor: Array, target_size: Sequence[int]) -> Array:
    """Scale `[B, K, h, w]` to [0, 1] over all channels of an image, and resize each channel."""
    image: Any = import_module("pytorch_grad_cam.utils.image")
    batch, channels, height, width = tensor.shape
    scaled = image.scale_cam_image(tensor.reshape(batch, channels * height, width))
    rows = scaled.reshape(batch * channels, height, width)
    resized = np.array([cv2.resize(row, tuple(target_size)) for row in rows])
    return resized.reshape(batch, channels, *resized.shape[1:])


def _biases_as_they_run(cam: Any, images: torch.Tensor) -> list[Array]:
    """Return the biases of FullGrad's layers in the order in which the layers run."""
    order = list[int]()
    handles = [
        layer.register_forward_hook(lambda *_, number=number: order.append(number))
        for number, layer in enumerate(cam.target_layers)
    ]
    kept = cam.activations_and_grads.activations, cam.activations_and_grads.gradients
    with torch.no_grad():
        cam.model(images)
    for handle in handles:
        handle.remove()
    cam.activations_and_grads.activations, cam.activations_and_grads.gradients = kept
    return [cam.bias_data[number] for number in order]


def _projected(contributions: Array) -> Array:
    """Return grad-cam's first component of contributions `[B, K, *grid]`."""
    spectral: Any = import_module("pytorch_grad_cam.utils.svd_on_activations")
    component: Array = spectral.get_2d_projection(contributions)
    return component


#: Where the grid lies on the picture along both axes, start and end in picture lengths.
SPAN: list[tuple[float, float]] = []


def _resized_onto_span(grid: Array, target_size: Sequence[int]) -> Array:
    """Resize a map `[h, w]` so that it lies on `SPAN`; beyond it the last cells go on."""
    resized = grid
    for axis, (size, (start, end)) in enumerate(zip(target_size[::-1], SPAN, strict=True)):
        cells = resized.shape[axis]
        centres = start + (end - start) * (np.arange(cells) + 0.5) / cells
        places = (np.arange(size) + 0.5) / size
        interpolate = functools.partial(np.interp, places, centres)
        resized = np.apply_along_axis(interpolate, axis, resized)
    return resized


# ---- the errors -----------------------------------------------------------------------------


class Edit(NamedTuple):
    """A change of source: in `module`, in the function `name` (dotted), `old` becomes `new`."""

    module: str
    name: str
    old: str
    new: str


class Mend(NamedTuple):
    """An error of grad-cam, by its number on the page.

    Attributes:
        number: The number.
        says: What is wrong, and what mends it.
        edits: The changes of grad-cam's source.
        call: What the script has to do instead, where no source is changed: wrap classes into
            targets, predict before the augmentation, pass one image at a time, or have modules for
            the network's ReLUs.
        helpers: What the changed source calls.
    """

    number: str
    says: str
    edits: Sequence[Edit] = ()
    call: Literal["wrap", "predict", "one by one", "modules"] | None = None
    helpers: Sequence[Callable[..., Any]] = ()


EPSILON = Mend(
    "1",
    "Each map is divided by its maximum + 1e-7, so that a map of small gradients gets dark. "
    "Mended: it is divided by its maximum.",
    [Edit("utils.image", "scale_cam_image", "(1e-7 + np.max(img))", "(np.max(img) or 1)")],
)
PLUS_PLUS = Mend(
    "2",
    "Grad-CAM++ adds 1e-6 to a denominator of squared gradients. Mended: it adds 0.",
    [Edit("grad_cam_plusplus", "GradCAMPlusPlus.get_cam_weights", "eps = 0.000001", "eps = 0")],
)
XGRAD = Mend(
    "3",
    "XGrad-CAM adds 1e-7 to the sum of a channel, which may have either sign. Mended: only where "
    "the sum is 0.",
    [
        Edit(
            "xgrad_cam",
            "XGradCAM.get_cam_weights",
            "eps = 1e-7",
            "eps = (sum_activations == 0)",
        )
    ],
)
SIGN = Mend(
    "4",
    "The sign of a principal component is what the solver happens to return, and the negative part "
    "of the map is dropped afterwards. Mended: the sign correlates positively with the mean of "
    "what is projected.",
    [
        Edit(
            "utils.svd_on_activations",
            name,
            "projections.append(projection)",
            "projections.append(_signed(projection, activations))",
        )
        for name in ("get_2d_projection", "get_2d_projection_kernel")
    ],
    helpers=[_signed],
)
FEM = Mend(
    "5",
    "FEM weighs the activations by the share of strong cells; the paper (Fuad et al. 2020) weighs "
    "the strong cells by the mean activation. Mended: as in the paper.",
    [
        Edit(
            "fem",
            "FEM.get_cam_image",
            "weights.reshape(weights_shape) * activations",
            "means.reshape(weights_shape) * binary_mask",
        )
    ],
)
ABLATION_SIGN = Mend(
    "6",
    "Ablation-CAM divides by the score: a negative score turns the map around, and a score of 0 "
    "makes NaN. Mended: it divides by the absolute score, and not by 0.",
    [
        Edit(
            "ablation_cam",
            "AblationCAM.get_cam_weights",
            "- weights) / original_scores",
            "- weights) / np.where(original_scores == 0, 1, np.abs(original_scores))",
        )
    ],
)
ABLATION_VALUE = Mend(
    "7",
    "Ablation-CAM sets a removed channel to the minimum minus 1e7 unless the minimum is 0; the "
    "paper sets it to zero. Mended: zero.",
    [
        Edit(
            "ablation_layer",
            "AblationLayer.__call__",
            "ABLATION_VALUE = 1e7",
            "ABLATION_VALUE = torch.min(output)",
        )
    ],
)
ABLATION_RATIO = Mend(
    "8",
    "With `ratio_channels_to_ablate` below 1, Ablation-CAM removes that share of the channels "
    "twice: the best ones, and the worst ones too. Mended: the best ones.",
    [
        Edit(
            "ablation_layer",
            "AblationLayer.activations_to_be_ablated",
            "high_score_indices + low_score_indices",
            "high_score_indices",
        )
    ],
)
SCORE_ALIGN = Mend(
    "9",
    "Score-CAM resizes masks with the corners of grid and image aligned, and draws the maps with "
    "cell centres over pixel centres: a mask does not cover what its channel is drawn on. Mended: "
    "cell centres for both.",
    [
        Edit(
            "score_cam",
            "ScoreCAM.get_cam_weights",
            "torch.nn.UpsamplingBilinear2d(",
            "functools.partial(torch.nn.Upsample, mode='bilinear')(",
        )
    ],
)
SCORE_EPSILON = Mend(
    "10",
    "Score-CAM adds 1e-8 to the range of a mask. Mended: only a constant mask has another range.",
    [
        Edit(
            "score_cam",
            "ScoreCAM.get_cam_weights",
            "(maxs - mins + 1e-8)",
            "torch.where(maxs > mins, maxs - mins, 1)",
        )
    ],
)
FULLGRAD_LAYER = Mend(
    "11",
    "FullGrad scales each channel to [0, 1], so that a channel without any weight counts as much "
    "as the most important one; the paper's psi scales a layer. Mended: a layer.",
    [
        Edit(
            "fullgrad_cam",
            "FullGrad.compute_cam_per_layer",
            f"{name} = scale_accross_batch_and_channels(",
            f"{name} = _scaled_by_layer(",
        )
        for name in ("gradient_multiplied_input", "result")
    ],
    helpers=[_scaled_by_layer],
)
FULLGRAD_INPUT = Mend(
    "12",
    "FullGrad takes the absolute value of input times gradient for each colour. Mended: of the sum "
    "over the colours, the share of the pixel.",
    [
        Edit(
            "fullgrad_cam",
            "FullGrad.compute_cam_per_layer",
            "np.abs(gradient_multiplied_input)",
            "np.abs(gradient_multiplied_input.sum(1, keepdims=True))",
        )
    ],
)
FULLGRAD_ORDER = Mend(
    "13",
    "FullGrad pairs biases in the order in which layers are defined with gradients in the order in "
    "which they run. Mended: both as they run.",
    [
        Edit(
            "fullgrad_cam",
            "FullGrad.compute_cam_per_layer",
            "zip(self.bias_data, grads_list)",
            "zip(_biases_as_they_run(self, input_tensor), grads_list)",
        )
    ],
    helpers=[_biases_as_they_run],
)
SHAPLEY = Mend(
    "14",
    "Shapley-CAM with several layers fails: the first layer frees the graph. Mended: it is kept.",
    [Edit("shapley_cam", "ShapleyCAM.get_cam_weights", "retain_graph=False", "retain_graph=True")],
)
CLASSES = Mend(
    "15",
    "A class by index, `targets=281`, fails. Mended: a ClassifierOutputTarget for each image.",
    call="wrap",
)
AUGMENTED = Mend(
    "16",
    "With `aug_smooth` and no targets, each augmented copy is explained for the class that is "
    "predicted of that copy. Mended: the classes predicted of the images are passed.",
    call="predict",
)
FIRST_IMAGE = Mend(
    "17",
    "Guided backpropagation explains the first image of a batch alone, and without a class looks "
    "for the highest score of the whole batch. Mended: one image at a time.",
    call="one by one",
)
FUNCTIONAL = Mend(
    "18",
    "Guided backpropagation replaces modules of the type ReLU alone; ReLU6, and `relu()` called as "
    "a function, let negative gradients pass. Mended: the network calls modules of that type.",
    call="modules",
)
FEM_SMOOTH = Mend(
    "20",
    "`eigen_smooth` has no effect on FEM. Mended: what is summed over channels is projected.",
    [
        Edit("fem", "FEM.get_cam_image", "return (", "return _projected("),
        Edit("fem", "FEM.get_cam_image", ").sum(axis=1)", ")"),
    ],
    helpers=[_projected],
)
PLACE = Mend(
    "19",
    "A map is stretched over the whole picture, whatever part of it the grid covers; where a "
    "network has convolutions without padding (SqueezeNet) it lands beside its place. Mended: the "
    "grid is resized onto the part that limelight finds (`layout.span`).",
    [
        Edit(
            "utils.image",
            "scale_cam_image",
            "cv2.resize(np.float32(img), target_size)",
            "_resized_onto_span(np.float32(img), target_size)",
        )
    ],
    helpers=[_resized_onto_span],
)

MENDS = (
    *(EPSILON, PLUS_PLUS, XGRAD, SIGN, FEM, ABLATION_SIGN, ABLATION_VALUE, ABLATION_RATIO),
    *(SCORE_ALIGN, SCORE_EPSILON, FULLGRAD_LAYER, FULLGRAD_INPUT, FULLGRAD_ORDER, SHAPLEY),
    *(CLASSES, AUGMENTED, FIRST_IMAGE, FUNCTIONAL, PLACE, FEM_SMOOTH),
)


@contextmanager
def mended(mends: Sequence[Mend]) -> Iterator[None]:
    """Change grad-cam's source in memory while the block runs."""
    edits = [edit for mend in mends for edit in mend.edits]
    helpers = [helper for mend in mends for helper in mend.helpers]
    by_function: dict[tuple[str, str], list[Edit]] = {}
    for edit in edits:
        by_function.setdefault((edit.module, edit.name), []).append(edit)
    with ExitStack() as stack:
        for (module, name), changes in by_function.items():
            _change(stack, import_module(f"pytorch_grad_cam.{module}"), name, changes, helpers)
        yield


def _change(
    stack: ExitStack,
    module: Any,
    name: str,
    changes: Sequence[Edit],
    helpers: Sequence[Callable[..., Any]],
) -> None:
    """Replace a function by one with changed source, wherever grad-cam has imported it."""
    owner, _, attribute = name.rpartition(".")
    holder = getattr(module, owner) if owner else module
    original = getattr(holder, attribute)
    source = textwrap.dedent(inspect.getsource(original))
    for change in changes:
        if change.old not in source:
            raise ValueError(f"{name} of grad-cam has no {change.old!r}; 1.5.7 was expected")
        source = source.replace(change.old, change.new)
    for helper in helpers:
        stack.enter_context(patch.object(module, helper.__name__, helper, create=True))
    stack.enter_context(patch.object(module, "functools", functools, create=True))
    defined: dict[str, Any] = {}
    exec(compile(source, f"<mended {name}>", "exec"), vars(module), defined)
    if owner:
        stack.enter_context(patch.object(holder, attribute, defined[attribute]))
        return
    for path, other in list(sys.modules.items()):
        if path.startswith("pytorch_grad_cam") and vars(other).get(attribute) is original:
            stack.enter_context(patch.object(other, attribute, defined[attribute]))
