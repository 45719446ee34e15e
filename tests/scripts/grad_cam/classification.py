"""A classifier: a class as target, several layers, smoothing, and guided backpropagation."""

import cv2
import numpy as np
import torch
from pytorch_grad_cam import GradCAM, GuidedBackpropReLUModel, ScoreCAM
from pytorch_grad_cam.utils.image import deprocess_image, preprocess_image, show_cam_on_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torchvision.models import resnet18

torch.manual_seed(0)
model = resnet18(weights=None).eval()

rgb_img = cv2.imread("photo.png", 1)[:, :, ::-1]
rgb_img = np.float32(rgb_img) / 255
input_tensor = preprocess_image(rgb_img, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])

targets = [ClassifierOutputTarget(281)]
with GradCAM(model=model, target_layers=[model.layer4[-1]]) as cam:
    grayscale_cam = cam(input_tensor=input_tensor, targets=targets)[0, :]
    visualization = show_cam_on_image(rgb_img, grayscale_cam, use_rgb=True)
    model_outputs = cam.outputs
    smooth = cam(input_tensor=input_tensor, targets=targets, aug_smooth=True, eigen_smooth=False)[0]
    first_component = cam(input_tensor=input_tensor, targets=targets, eigen_smooth=True)[0]

with GradCAM(model=model, target_layers=[model.layer3[-1], model.layer4[-1]]) as cam:
    cam.batch_size = 32
    two_layers = cam(input_tensor=input_tensor, targets=targets)[0, :]

with ScoreCAM(model=model, target_layers=[model.layer1[-1]]) as cam:
    cam.batch_size = 32
    scorecam = cam(input_tensor=input_tensor, targets=targets)[0, :]

# The predicted class, of two pictures at once.
batch = torch.cat([input_tensor, input_tensor.flip(-1)])
predicted = GradCAM(model, [model.layer4])(batch, targets=None)

# Guided Grad-CAM.
gb_model = GuidedBackpropReLUModel(model=model, device="cpu")
gb = gb_model(input_tensor, target_category=281)
cam_mask = cv2.merge([grayscale_cam, grayscale_cam, grayscale_cam])
cam_gb = deprocess_image(cam_mask * gb)
gb_picture = deprocess_image(gb)

cv2.imwrite("cam.png", cv2.cvtColor(visualization, cv2.COLOR_RGB2BGR))
cv2.imwrite("cam_gb.png", cam_gb)
