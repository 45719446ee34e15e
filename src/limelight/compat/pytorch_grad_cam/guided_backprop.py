"""Guided backpropagation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from limelight.compat.arrays import Array, as_array
from limelight.compat.pytorch_grad_cam.call_forms import moved_to_gpu
from limelight.layers.resolved import INPUT
from limelight.runtime.cut import cut


class GuidedBackpropReLUModel:
    """The gradient at the images when each ReLU passes on only positive gradients.

    Springenberg et al. 2015, section 3.4. The model's ReLUs stay in place, and functional ones take
    part too.
    """

    def __init__(
        self,
        model: nn.Module,
        device: torch.device | str | None = None,
        *,
        use_cuda: bool | None = None,
    ) -> None:
        """Remember the model; images go to `device`, or to where its parameters are.

        `use_cuda` is the form of earlier versions.

        Raises:
            OptionError: `use_cuda` is set, and there is no GPU.
        """
        if isinstance(device, bool):  # earlier versions had use_cuda in this place
            device, use_cuda = None, device
        model = moved_to_gpu(model, use_cuda)
        self.model: nn.Module = model if device is None else model.to(device)
        devices = (p.device for p in self.model.parameters())
        self.device: torch.device = next(devices, torch.device("cpu"))

    def forward(self, input_img: Tensor) -> Tensor:
        """Return what the model returns."""
        output: Tensor = self.model(input_img)
        return output

    def __call__(self, input_img: Tensor, target_category: int | None = None) -> Array:
        """Return the guided gradient of a class, float32 `[H, W, C]`; of B images `[B, H, W, C]`.

        Args:
            input_img: The images, `[B, C, H, W]`.
            target_category: The class; None for the predicted one of each image.

        Raises:
            MethodError: The network has no ReLU.
        """
        at_input = cut(self.model, input_img.to(self.device), INPUT)
        gradients = as_array(at_input.guided_gradients(target_category).movedim(1, -1))
        only: Array = gradients[0]
        return only if len(gradients) == 1 else gradients
