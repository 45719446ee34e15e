"""SESS: maps of windows of the enlarged image, put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from limelight.compat.arrays import Array, as_array, as_values
from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM
from limelight.compat.pytorch_grad_cam.call_forms import Targets, as_targets
from limelight.compat.pytorch_grad_cam.grad_cam import GradCAM
from limelight.compat.pytorch_grad_cam.utils.image import scale_cam_image
from limelight.compat.release import Releasable
from limelight.compat.runs import ReshapeTransform, output_without_graph
from limelight.compat.scores import OneImageTarget, output_of_image
from limelight.errors import InputError, OptionError
from limelight.finish import resize as resize_maps
from limelight.layers.resolved import Layer
from limelight.targets.outputs import class_logits


class Window(NamedTuple):
    """A window of an enlarged image.

    Attributes:
        pixels: `[1, C, side, side]`.
        x, y: Its upper left corner, in pixels of the enlarged image.
        size: Height and width of the enlarged image.
    """

    pixels: Tensor
    x: int
    y: int
    size: tuple[int, int]


class SESS(Releasable):
    """Maps of windows of the enlarged image, put together: Tursun et al. 2022, section 3.

    The image is enlarged to several sizes, and each is covered with windows. Each window's map is
    weighted by the window's score over the highest score; a pixel gets the mean of the values above
    `theta` there, or the highest.

    Attributes:
        base_cam: The method that makes the map of a window.
        model, device: As those of `base_cam`.
    """

    def __init__(
        self,
        model: nn.Module,
        target_layers: Sequence[Layer] | None = None,
        reshape_transform: ReshapeTransform | None = None,
        base_method: type[BaseCAM] = GradCAM,
        scales: Sequence[int] | None = None,
        num_scales: int = 12,
        scale_step_ratio: float = 2.0 / 7.0,
        window_size: int | None = None,
        step_size: int | None = None,
        pre_filter_ratio: float = 0.0,
        theta: float = 0.0,
        pool: str = "mean",
        smooth: bool = True,
        use_softmax_scores: bool = True,
        batch_size: int = 32,
        **kwargs: Any,
    ) -> None:
        """Remember what to explain.

        Args:
            model, target_layers, reshape_transform: As for `BaseCAM`.
            base_method: The method that makes the map of a window.
            scales: The lengths that the image's shorter side gets, in pixels; None for `num_scales`
                of them, from the window's size on in steps of `scale_step_ratio` of it.
            num_scales, scale_step_ratio: See `scales`.
            window_size: The side of a window, in pixels; None for the image's shorter side.
            step_size: From one window to the next; None for the side of a window.
            pre_filter_ratio: The share of windows to leave out, those with the lowest scores.
            theta: Values up to this do not take part in the mean.
            pool: "mean", or "max" for the highest value at each pixel.
            smooth: Blur the map, with a standard deviation of 5 pixels.
            use_softmax_scores: Weigh windows by the target's value on probabilities; else by its
                value on what the model returns.
            batch_size: How many windows run together.
            kwargs: They go to the base method.

        Raises:
            OptionError: An option has a value that it cannot have.
        """
        if pool not in ("mean", "max"):
            raise OptionError(f"pool is {pool!r}; 'mean' or 'max' was expected.")
        if not 0.0 <= pre_filter_ratio < 1.0:
            raise OptionError(
                f"pre_filter_ratio is {pre_filter_ratio}; a share of at least 0 and below 1 was "
                "expected."
            )
        if num_scales < 1:
            raise OptionError(f"num_scales is {num_scales}; at least 1 was expected.")
        self.base_cam: BaseCAM = base_method(model, target_layers, reshape_transform, **kwargs)
        self.base_cam.warns = False  # a window without the object shows nothing, as it should
        self.model: nn.Module = self.base_cam.model
        self.device: torch.device = self.base_cam.device
        self.scales, self.num_scales, self.scale_step_ratio = scales, num_scales, scale_step_ratio
        self.window_size, self.step_size = window_size, step_size
        self.pre_filter_ratio, self.theta, self.pool = pre_filter_ratio, theta, pool
        self.smooth, self.use_softmax_scores = smooth, use_softmax_scores
        self.batch_size = batch_size

    def __call__(self, *args: Any, **kwargs: Any) -> Array:
        """Return the maps; see `forward`."""
        return self.forward(*args, **kwargs)

    def forward(
        self, input_tensor: Tensor, targets: Targets = None, eigen_smooth: bool = False
    ) -> Array:
        """Return the maps of images `[B, C, H, W]`, `[B, H, W]` in [0, 1].

        Raises:
            TargetError: There is not one target per image.
            InputError: A scale is smaller than the window.
        """
        images = input_tensor.detach().to(self.device)
        one_by_one: list[OneImageTarget | None] = [None] * len(images)
        if targets is not None:
            one_by_one = [*as_targets(targets, len(images))]
        maps = [
            self.forward_single_image(images[b : b + 1], target, eigen_smooth)
            for b, target in enumerate(one_by_one)
        ]
        return scale_cam_image(np.stack(maps))

    def forward_single_image(
        self, input_tensor: Tensor, target: OneImageTarget | None, eigen_smooth: bool = False
    ) -> Array:
        """Return the map of one image `[1, C, H, W]`, `[H, W]`; of its predicted class for None.

        1. Collect the windows, score them, and keep those with the highest scores.
        2. Make the map of each window, weigh it, and paste it where the window was.
        3. Join the maps, and blur the result.
        """
        if target is None:
            (target,) = as_targets(
                class_logits(output_without_graph(self.model, input_tensor)).argmax(-1), 1
            )
        # 1. The windows.
        windows = self._windows(input_tensor)
        scores = self._scores(windows, target)
        kept = np.argsort(scores, kind="stable")[int(len(scores) * self.pre_filter_ratio) :]
        highest = scores[kept[-1]]
        weights = scores / highest if highest > 0 else np.ones_like(scores)
        # 2. Their maps.
        height, width = input_tensor.shape[2:]
        total, count = np.zeros((2, height, width), dtype=np.float32)
        for start in range(0, len(kept), self.batch_size):
            numbers = kept[start : start + self.batch_size]
            pixels = torch.cat([windows[n].pixels for n in numbers])
            maps = self.base_cam(pixels, [target] * len(numbers), eigen_smooth=eigen_smooth)
            for number, heatmap in zip(numbers, maps, strict=True):
                pasted = _pasted(heatmap * weights[number], windows[number], (height, width))
                if self.pool == "max":
                    total = np.maximum(total, pasted)
                else:
                    counts = pasted > self.theta
                    total, count = total + np.where(counts, pasted, 0), count + counts
        # 3. The map of the image.
        from scipy.ndimage import gaussian_filter

        joined = total if self.pool == "max" else total / np.maximum(count, 1)
        blurred: Array = gaussian_filter(joined, 5, mode="mirror", radius=5)
        return blurred if self.smooth else joined

    def _windows(self, image: Tensor) -> list[Window]:
        """Return the windows of the enlarged versions of an image `[1, C, H, W]`."""
        from torchvision.transforms.functional import resize

        side = self.window_size or min(image.shape[2:])
        step = self.step_size or side
        growth = round(side * self.scale_step_ratio)
        scales = self.scales or [side + growth * number for number in range(self.num_scales)]
        windows = []
        for scale in scales:
            if scale < side:
                raise InputError(
                    f"The scale {scale} is smaller than the window of {side} pixels; each scale "
                    "was expected to be at least as large."
                )
            enlarged = resize(image, scale)
            height, width = enlarged.shape[2:]
            windows += [
                Window(enlarged[:, :, y : y + side, x : x + side], x, y, (height, width))
                for x, y in sliding_window(height, width, step, side)
            ]
        return windows

    def _scores(self, windows: Sequence[Window], target: OneImageTarget) -> Array:
        """Return the score of each window; below 0 counts as 0."""
        scores = list[float]()
        for start in range(0, len(windows), self.batch_size):
            pixels = torch.cat([w.pixels for w in windows[start : start + self.batch_size]])
            outputs = output_without_graph(self.model, pixels)
            if self.use_softmax_scores:
                outputs = class_logits(outputs).softmax(-1)
            scores += [
                float(target(output_of_image(outputs, b, len(pixels)))) for b in range(len(pixels))
            ]
        return np.maximum(np.array(scores, dtype=np.float32), 0)

    @property
    def outputs(self) -> Any:
        """What the model returned for the last windows, without a graph."""
        return self.base_cam.outputs

    def release(self) -> None:
        """Forget what the last call kept."""
        self.base_cam.release()


def sliding_window(
    height: int, width: int, step_size: int, window_size: int
) -> list[tuple[int, int]]:
    """Return the upper left corners, x and y, of windows that cover an image.

    A window that would leave the image at the right or at the bottom is moved back into it.
    """
    return [
        (x, y)
        for y in window_starts(height, step_size, window_size)
        for x in window_starts(width, step_size, window_size)
    ]


def window_starts(length: int, step_size: int, window_size: int) -> list[int]:
    """Return where windows begin along one axis."""
    last = max(length - window_size, 0)
    return [*range(0, last, step_size), last]


def _pasted(heatmap: Array, window: Window, size: tuple[int, int]) -> Array:
    """Return the map of a window on the image, `[H, W]`; 0 around it."""
    canvas = np.zeros(window.size, dtype=np.float32)
    height, width = heatmap.shape
    canvas[window.y : window.y + height, window.x : window.x + width] = heatmap
    pasted: Array = as_array(resize_maps(as_values(canvas)[None], size))[0]
    return pasted
