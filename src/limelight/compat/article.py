"""The `utils` module of the Grad-CAM article's scripts: change the import, keep the code.

from limelight.compat.article import GradCAM, center_crop_img, show_cam_on_image

cam = GradCAM(model=model, target_layers=[model.features[-1]], use_cuda=False)
heatmap = cam(input_tensor=images, target_category=281)[0]
picture = show_cam_on_image(photo / 255, heatmap, use_rgb=True)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from limelight.compat.arrays import Array, as_array
from limelight.compat.pytorch_grad_cam import grad_cam
from limelight.compat.pytorch_grad_cam.activations_and_gradients import ActivationsAndGradients
from limelight.compat.pytorch_grad_cam.call_forms import on_gpu
from limelight.compat.pytorch_grad_cam.utils.image import show_cam_on_image
from limelight.compat.runs import ReshapeTransform
from limelight.errors import InputError
from limelight.finish import resize
from limelight.layers.resolved import Layer

__all__ = ["ActivationsAndGradients", "GradCAM", "center_crop_img", "show_cam_on_image"]


class GradCAM(grad_cam.GradCAM):
    """Grad-CAM as the article's scripts call it: `sum_k mean_ij(g_k) A_k`, after ReLU.

    Selvaraju et al. 2017, eq. 1 and 2. The maps of several layers are averaged.
    """

    def __init__(
        self,
        model: nn.Module,
        target_layers: Sequence[Layer],
        reshape_transform: ReshapeTransform | None = None,
        use_cuda: bool = False,
    ) -> None:
        """Remember what to explain.

        Args:
            model: The network; it runs as in evaluation mode, and is left untouched.
            target_layers: Modules inside the model, or their dotted paths.
            reshape_transform: From what a layer puts out to `[B, K, h, w]`; None to let limelight
                find the grid.
            use_cuda: Move the model to the GPU first.

        Raises:
            OptionError: `use_cuda` is set, and there is no GPU.
            UnknownNameError, LayerError: A layer is not part of the model.
        """
        super().__init__(on_gpu(model) if use_cuda else model, target_layers, reshape_transform)

    def __call__(  # type: ignore[override]
        self, input_tensor: Tensor, target_category: int | Sequence[int] | None = None
    ) -> Array:
        """Return the maps of images `[B, C, H, W]`, float32 `[B, H, W]` in [0, 1].

        Args:
            input_tensor: The images.
            target_category: The class, for all images or one per image; None for the predicted one.
        """
        return self.forward(input_tensor, target_category)


def center_crop_img(img: Array, size: int) -> Array:
    """Return the middle of a picture `[H, W, C]`, `[size, size, C]`, in 0 to 255.

    The shorter side is resized to `size`, and as much of the longer side is kept from its middle.

    Raises:
        InputError: The picture is not `[H, W, C]`, or the size is no positive number.
    """
    if img.ndim != 3 or size < 1:
        raise InputError(
            f"A picture {list(img.shape)} and the size {size} were given; a picture [H, W, C] and "
            "a size of at least 1 were expected."
        )
    height, width, _ = img.shape
    ratio = size / min(height, width)
    new = [size if side == min(height, width) else int(side * ratio) for side in (height, width)]
    values = torch.from_numpy(np.ascontiguousarray(img)).movedim(-1, 0).double()
    resized = as_array(resize(values, new).movedim(0, -1))
    top, left = (new[0] - size) // 2, (new[1] - size) // 2
    cropped = resized[top : top + size, left : left + size]
    return cropped.round().astype(img.dtype) if img.dtype == np.uint8 else cropped.astype(img.dtype)
