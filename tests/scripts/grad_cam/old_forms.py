"""Forms of earlier versions, as many scripts still have them."""

import numpy as np
import torch
from PIL import Image
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import preprocess_image
from torchvision.models import resnet18

torch.manual_seed(0)
model = resnet18(weights=None).eval()
input_tensor = preprocess_image(np.float32(Image.open("photo.png")) / 255)

cam = GradCAM(model=model, target_layers=[model.layer4[-1]], use_cuda=False)
grayscale_cam = cam(input_tensor=input_tensor, target_category=281)[0, :]

cam = GradCAM(model=model, target_layer=model.layer4[-1], use_cuda=False)
one_layer = cam(input_tensor=input_tensor, target_category=[285])[0, :]
