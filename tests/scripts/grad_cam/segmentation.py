"""A segmentation: the class scores of the pixels that were found, as one score."""

import numpy as np
import torch
from PIL import Image
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import preprocess_image, show_cam_on_image
from pytorch_grad_cam.utils.model_targets import SemanticSegmentationTarget
from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large


class SegmentationModelOutputWrapper(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x)["out"]


torch.manual_seed(2)
model = deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=5)
# Random weights, whose features batch norm brings to an ordinary size by one batch of noise.
for module in model.modules():
    if isinstance(module, torch.nn.BatchNorm2d):
        module.momentum = None
with torch.no_grad():
    model.train()(torch.randn(4, 3, 64, 96))
model = SegmentationModelOutputWrapper(model.eval())

rgb_img = np.float32(Image.open("photo.png")) / 255
input_tensor = preprocess_image(rgb_img, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
output = model(input_tensor)

normalized_masks = torch.nn.functional.softmax(output, dim=1).cpu()
category = int(normalized_masks[0].sum((1, 2)).argmax())
mask = normalized_masks[0].argmax(dim=0).detach().cpu().numpy()
mask_float = np.float32(mask == category)

target_layers = [model.model.backbone["16"]]
targets = [SemanticSegmentationTarget(category, mask_float)]
with GradCAM(model=model, target_layers=target_layers) as cam:
    grayscale_cam = cam(input_tensor=input_tensor, targets=targets)[0, :]
    cam_image = show_cam_on_image(rgb_img, grayscale_cam, use_rgb=True)
