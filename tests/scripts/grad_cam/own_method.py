"""Methods of one's own: weights for the channels, or the whole map."""

import numpy as np
import torch
from PIL import Image
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.base_cam import BaseCAM
from pytorch_grad_cam.utils.image import preprocess_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torchvision.models import resnet18


class LargestGradientCAM(BaseCAM):
    """Channels weighted by their largest gradient."""

    def __init__(self, model, target_layers, reshape_transform=None):
        super().__init__(model, target_layers, reshape_transform)

    def get_cam_weights(self, input_tensor, target_layer, target_category, activations, grads):
        return np.max(grads, axis=(2, 3))


class PositiveGradCAM(GradCAM):
    """Grad-CAM of positive gradients alone."""

    def get_cam_weights(self, input_tensor, target_layer, target_category, activations, grads):
        positive = np.maximum(grads, 0)
        return super().get_cam_weights(
            input_tensor, target_layer, target_category, activations, positive
        )


class NormCAM(BaseCAM):
    """The length of the activations, without gradients."""

    def __init__(self, model, target_layers, reshape_transform=None):
        super().__init__(model, target_layers, reshape_transform, uses_gradients=False)

    def get_cam_image(
        self, input_tensor, target_layer, target_category, activations, grads, eigen_smooth=False
    ):
        self.grads_seen = grads
        return np.linalg.norm(activations, axis=1)


torch.manual_seed(0)
model = resnet18(weights=None).eval()
rgb_img = np.float32(Image.open("photo.png")) / 255
input_tensor = preprocess_image(rgb_img)
targets = [ClassifierOutputTarget(281)]
target_layers = [model.layer4[-1]]

with LargestGradientCAM(model, target_layers) as cam:
    largest = cam(input_tensor, targets)[0]
with PositiveGradCAM(model=model, target_layers=target_layers) as cam:
    positive = cam(input_tensor, targets)[0]
with NormCAM(model, target_layers) as cam:
    norm = cam(input_tensor, None)[0]
    grads_seen = cam.grads_seen
with GradCAM(model, target_layers) as cam:
    # Any function from the output for one image to a number is a target.
    margin = cam(input_tensor, [lambda output: output[281] - output[254]])[0]
