"""Grad-CAM on a ViT, in front of the last attention: only the class token is read behind it."""

import matplotlib.pyplot as plt
import numpy as np
import timm
import torch
from PIL import Image
from torchvision import transforms
from utils import GradCAM, center_crop_img, show_cam_on_image


class ReshapeTransform:
    def __init__(self, model):
        input_size = model.patch_embed.img_size
        patch_size = model.patch_embed.patch_size
        self.h = input_size[0] // patch_size[0]
        self.w = input_size[1] // patch_size[1]

    def __call__(self, x):
        # Drop the class token, and lay the others on the grid of patches, [B, h, w, K].
        result = x[:, 1:, :].reshape(x.size(0), self.h, self.w, x.size(2))
        return result.permute(0, 3, 1, 2)


torch.manual_seed(0)
model = timm.create_model(
    "vit_tiny_patch16_224", pretrained=False, embed_dim=48, depth=3, num_heads=3
)
data_transform = transforms.Compose(
    [transforms.ToTensor(), transforms.Normalize([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])]
)
img = np.array(Image.open("both.png").convert("RGB"), dtype=np.uint8)
img = center_crop_img(img, 224)
input_tensor = torch.unsqueeze(data_transform(img), dim=0)

layers = {"early": model.blocks[0].norm1, "last": model.blocks[-1].norm1}
pictures, heat = {}, {}
for name, layer in layers.items():
    cam = GradCAM(
        model=model,
        target_layers=[layer],
        use_cuda=False,
        reshape_transform=ReshapeTransform(model),
    )
    for target_category in (281, 254):
        grayscale_cam = cam(input_tensor=input_tensor, target_category=target_category)[0, :]
        visualization = show_cam_on_image(img / 255.0, grayscale_cam, use_rgb=True)
        heat[name, target_category] = grayscale_cam
        pictures[name, target_category] = visualization
        plt.imshow(visualization)
        plt.show()
