"""Grad-CAM on a CNN: an early layer beside the last one, for the cat and for the dog."""

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from torchvision import models, transforms
from utils import GradCAM, center_crop_img, show_cam_on_image

model = models.mobilenet_v2(weights=None)
model.load_state_dict(torch.load("mobilenet_v2.pth", map_location="cpu"))

data_transform = transforms.Compose(
    [transforms.ToTensor(), transforms.Normalize([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])]
)
img = np.array(Image.open("both.png").convert("RGB"), dtype=np.uint8)
# To cut the middle out: img = center_crop_img(img, 224).
cropped = center_crop_img(img, 160)
img_tensor = data_transform(img)
input_tensor = torch.unsqueeze(img_tensor, dim=0)

layers = {"early": model.features[6], "last": model.features[-1]}
pictures, heat = {}, {}
for name, layer in layers.items():
    target_layers = [layer]
    cam = GradCAM(model=model, target_layers=target_layers, use_cuda=False)
    # 281: tabby, tabby cat; 254: pug, pug-dog.
    for target_category in (281, 254):
        grayscale_cam = cam(input_tensor=input_tensor, target_category=target_category)
        grayscale_cam = grayscale_cam[0, :]
        visualization = show_cam_on_image(
            img.astype(dtype=np.float32) / 255.0, grayscale_cam, use_rgb=True
        )
        heat[name, target_category] = grayscale_cam
        pictures[name, target_category] = visualization
        plt.imshow(visualization)
        plt.show()
