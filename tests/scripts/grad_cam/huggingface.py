"""Networks of transformers, whose output is an object: a wrapper that returns the logits."""

from functools import partial

import numpy as np
import torch
from PIL import Image
from pytorch_grad_cam import GradCAM, run_dff_on_image
from pytorch_grad_cam.utils.image import show_cam_on_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torchvision import transforms
from transformers import (
    ResNetConfig,
    ResNetForImageClassification,
    SwinConfig,
    SwinForImageClassification,
)

names = dict(enumerate(["background", "disc, orange", "square, blue", "noise"]))


class HuggingfaceToTensorModelWrapper(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x).logits


def category_name_to_index(model, category_name):
    name_to_index = {name: index for index, name in model.config.id2label.items()}
    return name_to_index[category_name]


def reshape_transform_swin(tensor, width, height):
    result = tensor.reshape(tensor.shape[0], height, width, tensor.shape[2])
    return result.transpose(2, 3).transpose(1, 2)


def run_grad_cam_on_image(
    model, target_layer, targets_for_gradcam, reshape_transform, input_tensor, input_image
):
    wrapped = HuggingfaceToTensorModelWrapper(model)
    with GradCAM(
        model=wrapped, target_layers=[target_layer], reshape_transform=reshape_transform
    ) as cam:
        # The same picture once for each class.
        repeated_tensor = input_tensor[None, :].repeat(len(targets_for_gradcam), 1, 1, 1)
        batch_results = cam(input_tensor=repeated_tensor, targets=targets_for_gradcam)
        results = [
            show_cam_on_image(np.float32(input_image) / 255, grayscale_cam, use_rgb=True)
            for grayscale_cam in batch_results
        ]
        return batch_results, np.hstack(results)


torch.manual_seed(7)
image = Image.open("photo.png")
img_tensor = transforms.ToTensor()(image)

swin = SwinForImageClassification(
    SwinConfig(
        image_size=(64, 96),
        embed_dim=12,
        depths=(1, 1, 2),
        num_heads=(1, 2, 4),
        window_size=2,
        id2label=names,
    )
).eval()
targets = [
    ClassifierOutputTarget(category_name_to_index(swin, "disc, orange")),
    ClassifierOutputTarget(category_name_to_index(swin, "square, blue")),
]
swin_maps, swin_picture = run_grad_cam_on_image(
    model=swin,
    target_layer=swin.swin.layernorm,
    targets_for_gradcam=targets,
    reshape_transform=partial(reshape_transform_swin, width=6, height=4),
    input_tensor=img_tensor,
    input_image=image,
)

resnet = ResNetForImageClassification(
    ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic", id2label=names
    )
).eval()
resnet_maps, _ = run_grad_cam_on_image(
    model=resnet,
    target_layer=resnet.resnet.encoder.stages[-1].layers[-1],
    targets_for_gradcam=targets,
    reshape_transform=None,
    input_tensor=img_tensor,
    input_image=image,
)
concepts_picture = run_dff_on_image(
    model=HuggingfaceToTensorModelWrapper(resnet).model,
    target_layer=resnet.resnet.encoder.stages[-1].layers[-1],
    classifier=resnet.classifier,
    img_pil=image,
    img_tensor=img_tensor,
    reshape_transform=None,
    n_components=3,
    top_k=2,
)
