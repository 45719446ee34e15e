"""A Swin of timm: its tokens in a row, and on their grid with the channels last."""

import numpy as np
import timm
import torch
from PIL import Image
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus
from pytorch_grad_cam.utils.image import preprocess_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

torch.manual_seed(0)
model = timm.create_model(
    "swin_tiny_patch4_window7_224",
    pretrained=False,
    img_size=(64, 96),
    window_size=2,
    embed_dim=12,
    depths=(1, 1, 2),
    num_heads=(1, 2, 4),
    num_classes=10,
).eval()


def reshape_transform(tensor, height=4, width=6):
    result = tensor.reshape(tensor.size(0), height, width, tensor.size(2))
    return result.transpose(2, 3).transpose(1, 2)


def channels_first(tensor):
    return tensor.permute(0, 3, 1, 2)


rgb_img = np.float32(Image.open("photo.png")) / 255
input_tensor = preprocess_image(rgb_img, mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5])
targets = [ClassifierOutputTarget(3)]
block = model.layers[-1].blocks[-1]

with GradCAM(model, [block.norm2], reshape_transform=reshape_transform) as cam:
    in_a_row = cam(input_tensor, targets)[0]
with GradCAM(model, [block.norm1], reshape_transform=channels_first) as cam:
    on_a_grid = cam(input_tensor, targets)[0]
with GradCAMPlusPlus(model, [block.norm1], reshape_transform=channels_first) as cam:
    plusplus = cam(input_tensor, targets)[0]
