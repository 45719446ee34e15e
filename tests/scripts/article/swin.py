"""Grad-CAM on a Swin whose tokens stay in a row, as in the article's own file of the model."""

import math

import matplotlib.pyplot as plt
import numpy as np
import timm
import torch
from PIL import Image
from timm.models.swin_transformer import SwinTransformer
from torchvision import transforms
from utils import GradCAM, show_cam_on_image


class SwinOfTokens(SwinTransformer):
    def forward_features(self, x):
        x = self.layers(self.patch_embed(x))
        return self.norm(x.flatten(1, 2))

    def forward_head(self, x, pre_logits=False):
        return self.head.fc(x.mean(dim=1))


class ResizeTransform:
    def __init__(self, im_h, im_w):
        self.height = self.feature_size(im_h)
        self.width = self.feature_size(im_w)

    @staticmethod
    def feature_size(s):
        s = math.ceil(s / 4)  # the patches
        for _ in range(3):  # each merging of patches
            s = math.ceil(s / 2)
        return s

    def __call__(self, x):
        result = x.reshape(x.size(0), self.height, self.width, x.size(2))
        return result.permute(0, 3, 1, 2)


img = np.array(Image.open("both.png").convert("RGB"), dtype=np.uint8)
im_h, im_w = img.shape[:2]
assert im_h % 32 == 0
assert im_w % 32 == 0
data_transform = transforms.Compose(
    [
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
)
input_tensor = torch.unsqueeze(data_transform(img), dim=0)

torch.manual_seed(0)
size = {
    "img_size": (im_h, im_w),
    "embed_dim": 12,
    "depths": (1, 1, 1, 1),
    "num_heads": (1, 2, 4, 8),
}
model = SwinOfTokens(**size)
# The Swin of timm today keeps its tokens on their grid.
today = timm.create_model("swin_tiny_patch4_window7_224", pretrained=False, **size)

pictures, heat = {}, {}
for name, model_of_name, reshape_transform in (
    ("tokens", model, ResizeTransform(im_h, im_w)),
    ("today", today, None),
):
    cam = GradCAM(
        model=model_of_name,
        target_layers=[model_of_name.norm],
        use_cuda=False,
        reshape_transform=reshape_transform,
    )
    for target_category in (281, 254):
        grayscale_cam = cam(input_tensor=input_tensor, target_category=target_category)[0, :]
        visualization = show_cam_on_image(img / 255.0, grayscale_cam, use_rgb=True)
        heat[name, target_category] = grayscale_cam
        pictures[name, target_category] = visualization
        plt.imshow(visualization)
        plt.show()
