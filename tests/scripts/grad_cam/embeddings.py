"""Embeddings: where a picture is like another one, and where it is not."""

import numpy as np
import torch
from PIL import Image
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import preprocess_image
from torchvision.models import resnet18


class ResnetFeatureExtractor(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model
        self.feature_extractor = torch.nn.Sequential(*list(self.model.children())[:-1])

    def __call__(self, x):
        return self.feature_extractor(x)[:, :, 0, 0]


class SimilarityToConceptTarget:
    def __init__(self, features):
        self.features = features

    def __call__(self, model_output):
        cos = torch.nn.CosineSimilarity(dim=0)
        return cos(model_output, self.features)


class DifferenceFromConceptTarget:
    def __init__(self, features):
        self.features = features

    def __call__(self, model_output):
        cos = torch.nn.CosineSimilarity(dim=0)
        return 1 - cos(model_output, self.features)


torch.manual_seed(0)
resnet = resnet18(weights=None).eval()
model = ResnetFeatureExtractor(resnet)

image_float = np.float32(Image.open("photo.png")) / 255
input_tensor = preprocess_image(image_float)
concept_tensor = preprocess_image(np.ascontiguousarray(image_float[:, 48:]))
concept_features = model(concept_tensor)[0, :]

target_layers = [resnet.layer4[-1]]
like = [SimilarityToConceptTarget(concept_features)]
unlike = [DifferenceFromConceptTarget(concept_features)]
with GradCAM(model=model, target_layers=target_layers) as cam:
    similar = cam(input_tensor=input_tensor, targets=like)[0, :]
    different = cam(input_tensor=input_tensor, targets=unlike)[0, :]
