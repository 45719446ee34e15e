"""Is the map true? Confidence with the map on the picture, ROAD, and ARCC."""

import numpy as np
import torch
from PIL import Image
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus
from pytorch_grad_cam.metrics.arcc import ARCC
from pytorch_grad_cam.metrics.cam_mult_image import (
    CamMultImageConfidenceChange,
    DropInConfidence,
    IncreaseInConfidence,
)
from pytorch_grad_cam.metrics.road import (
    ROADCombined,
    ROADLeastRelevantFirst,
    ROADMostRelevantFirst,
    ROADMostRelevantFirstAverage,
)
from pytorch_grad_cam.utils.image import deprocess_image, preprocess_image
from pytorch_grad_cam.utils.model_targets import (
    ClassifierOutputSoftmaxTarget,
    ClassifierOutputTarget,
)
from torchvision.models import resnet18

torch.manual_seed(0)
model = resnet18(weights=None, num_classes=10).eval()
model.fc.weight.data *= 4  # surer of the class

image = Image.open("photo.png").resize((48, 32))
input_tensor = preprocess_image(np.float32(image) / 255)
targets = [ClassifierOutputTarget(3)]
metric_targets = [ClassifierOutputSoftmaxTarget(3)]
cam = GradCAM(model=model, target_layers=[model.layer2])
grayscale_cams = cam(input_tensor=input_tensor, targets=targets)

cam_metric = CamMultImageConfidenceChange()
scores, visualizations = cam_metric(
    input_tensor, 1 - grayscale_cams, metric_targets, model, return_visualization=True
)
score = scores[0]
visualization = deprocess_image(visualizations[0].cpu().numpy().transpose((1, 2, 0)))
drop = DropInConfidence()(input_tensor, grayscale_cams, metric_targets, model)[0]
increase = IncreaseInConfidence()(input_tensor, grayscale_cams, metric_targets, model)[0]

road_metric = ROADMostRelevantFirst(percentile=75)
road_scores, road_pictures = road_metric(
    input_tensor, grayscale_cams, metric_targets, model, return_visualization=True
)
road_least = ROADLeastRelevantFirst(percentile=20)(
    input_tensor, grayscale_cams, metric_targets, model
)[0]
road_average = ROADMostRelevantFirstAverage(percentiles=[20, 40, 60, 80])(
    input_tensor, grayscale_cams, metric_targets, model
)[0]
road_combined = {
    method.__name__: ROADCombined(percentiles=[20, 40, 60, 80])(
        input_tensor,
        method(model=model, target_layers=[model.layer2])(input_tensor, targets),
        metric_targets,
        model,
    )[0]
    for method in (GradCAM, GradCAMPlusPlus)
}

arcc = ARCC(base_method=cam, road_percentiles=[20, 40, 60, 80])(
    input_tensor=input_tensor,
    grayscale_cams=grayscale_cams,
    targets=metric_targets,
    model=model,
)[0]
