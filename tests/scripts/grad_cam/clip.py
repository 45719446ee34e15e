"""CLIP as a classifier of captions: a module that returns image-text probabilities."""

import numpy as np
import torch
from PIL import Image
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import preprocess_image, show_cam_on_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from transformers import CLIPConfig, CLIPModel

size = {
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
}
config = CLIPConfig(
    text_config=dict(
        vocab_size=50, max_position_embeddings=8, bos_token_id=48, eos_token_id=49, **size
    ),
    vision_config=dict(image_size=64, patch_size=16, **size),
    projection_dim=16,
)


class ImageClassifier(nn.Module):
    def __init__(self, captions):
        super().__init__()
        self.clip = CLIPModel(config)
        self.captions = captions

    def forward(self, x):
        outputs = self.clip(
            pixel_values=x,
            input_ids=self.captions,
            attention_mask=torch.ones_like(self.captions),
        )
        return outputs.logits_per_image.softmax(dim=1)


def reshape_transform(tensor, height=4, width=4):
    result = tensor[:, 1:, :].reshape(tensor.size(0), height, width, tensor.size(2))
    return result.transpose(2, 3).transpose(1, 2)


torch.manual_seed(0)
# What a tokenizer makes of three captions.
captions = torch.tensor([[48, 7, 8, 49], [48, 7, 9, 49], [48, 20, 30, 49]])
model = ImageClassifier(captions).eval()

rgb_img = np.float32(Image.open("photo.png").resize((64, 64))) / 255
input_tensor = preprocess_image(rgb_img, mean=[0.481, 0.458, 0.408], std=[0.269, 0.261, 0.276])
target_layers = [model.clip.vision_model.encoder.layers[-1].layer_norm1]

with GradCAM(model, target_layers, reshape_transform=reshape_transform) as cam:
    by_caption = [
        cam(input_tensor, [ClassifierOutputTarget(caption)])[0] for caption in range(len(captions))
    ]
    predicted = cam(input_tensor=input_tensor, targets=None)[0, :]
    probabilities = cam.outputs
visualization = show_cam_on_image(rgb_img, predicted, use_rgb=True)
