"""A ViT of timm: the tokens of the last block in front of its attention, as a grid."""

import numpy as np
import timm
import torch
from PIL import Image
from pytorch_grad_cam import AblationCAM, EigenGradCAM, GradCAM, LayerCAM
from pytorch_grad_cam.ablation_layer import AblationLayerVit
from pytorch_grad_cam.utils.image import preprocess_image, show_cam_on_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

torch.manual_seed(0)
model = timm.create_model(
    "vit_tiny_patch16_224",
    pretrained=False,
    img_size=(64, 96),
    embed_dim=24,
    depth=3,
    num_heads=3,
    num_classes=10,
)
model.eval()


def reshape_transform(tensor, height=4, width=6):
    result = tensor[:, 1:, :].reshape(tensor.size(0), height, width, tensor.size(2))
    # The channels to the front, as a CNN has them.
    return result.transpose(2, 3).transpose(1, 2)


rgb_img = np.float32(Image.open("photo.png")) / 255
input_tensor = preprocess_image(rgb_img, mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5])
target_layers = [model.blocks[-1].norm1]
targets = [ClassifierOutputTarget(0)]

methods = {"gradcam": GradCAM, "layercam": LayerCAM, "eigengradcam": EigenGradCAM}
maps = {}
for name, method in methods.items():
    cam = method(model=model, target_layers=target_layers, reshape_transform=reshape_transform)
    cam.batch_size = 32
    maps[name] = cam(input_tensor=input_tensor, targets=targets)[0, :]

cam = AblationCAM(
    model=model,
    target_layers=target_layers,
    reshape_transform=reshape_transform,
    ablation_layer=AblationLayerVit(),
)
maps["ablationcam"] = cam(input_tensor=input_tensor, targets=targets)[0, :]
cam_image = show_cam_on_image(rgb_img, maps["gradcam"])
