"""A one-stage detector, which returns rows of numbers for boxes: a map without any target."""

import numpy as np
import torch
from PIL import Image
from pytorch_grad_cam import EigenCAM, GradCAM
from pytorch_grad_cam.utils.image import show_cam_on_image
from torchvision.transforms.functional import to_tensor


class Detector(torch.nn.Module):
    """Boxes, an objectness and two classes for each cell, `[B, cells, 7]`."""

    def __init__(self):
        super().__init__()
        self.backbone = torch.nn.Sequential(
            torch.nn.Conv2d(3, 16, 5, stride=4, padding=2),
            torch.nn.SiLU(),
            torch.nn.Conv2d(16, 16, 5, stride=4, padding=2),
            torch.nn.SiLU(),
            torch.nn.Conv2d(16, 7, 1),
        )

    def forward(self, x):
        return self.backbone(x).flatten(2).transpose(1, 2)


torch.manual_seed(0)
model = Detector().eval()
img = np.float32(Image.open("photo.png")) / 255
tensor = to_tensor(img).unsqueeze(0)
target_layers = [model.backbone[-2]]

cam = EigenCAM(model, target_layers)
grayscale_cam = cam(tensor, None)[0, :, :]
no_targets = cam(tensor, targets=[])[0, :, :]
smooth = cam(tensor, None, aug_smooth=True)[0, :, :]
cam_image = show_cam_on_image(img, grayscale_cam, use_rgb=True)

cam = GradCAM(model, target_layers)
confident = cam(tensor, targets=[lambda rows: rows[:, 4].max()])[0, :, :]
