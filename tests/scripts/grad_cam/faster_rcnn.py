"""A detector: the features that its boxes come from, and those that they need."""

import numpy as np
import torch
from PIL import Image
from pytorch_grad_cam import AblationCAM, EigenCAM
from pytorch_grad_cam.ablation_layer import AblationLayerFasterRCNN
from pytorch_grad_cam.utils.image import scale_cam_image, show_cam_on_image
from pytorch_grad_cam.utils.model_targets import FasterRCNNBoxScoreTarget
from pytorch_grad_cam.utils.reshape_transforms import fasterrcnn_reshape_transform
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn
from torchvision.transforms.functional import to_tensor

torch.manual_seed(0)
model = fasterrcnn_mobilenet_v3_large_320_fpn(
    weights=None,
    weights_backbone=None,
    num_classes=4,
    min_size=192,
    max_size=320,
    box_score_thresh=0.0,
    rpn_pre_nms_top_n_test=20,
    box_detections_per_img=6,
)
# Random weights, whose features batch norm brings to an ordinary size by one batch of noise.
for module in model.modules():
    if isinstance(module, torch.nn.BatchNorm2d):
        module.momentum = None
with torch.no_grad():
    model.train().backbone(torch.randn(2, 3, 192, 288))
model.eval()


def predict(input_tensor, model, detection_threshold):
    outputs = model(input_tensor)[0]
    kept = outputs["scores"].detach().cpu().numpy() > detection_threshold
    boxes = np.int32(outputs["boxes"].detach().cpu().numpy()[kept])
    labels = outputs["labels"].cpu().numpy()[kept]
    return boxes, labels


image = np.array(Image.open("photo.png"))
image_float_np = np.float32(image) / 255
input_tensor = to_tensor(image).unsqueeze(0)

boxes, labels = predict(input_tensor, model, 0.1)
boxes, labels = boxes[:3], labels[:3]
target_layers = [model.backbone]
targets = [FasterRCNNBoxScoreTarget(labels=labels, bounding_boxes=boxes)]

cam = EigenCAM(model, target_layers, reshape_transform=fasterrcnn_reshape_transform)
eigencam = cam(input_tensor, targets=targets)[0, :]
cam_image = show_cam_on_image(image_float_np, eigencam, use_rgb=True)

cam = AblationCAM(
    model,
    target_layers,
    reshape_transform=fasterrcnn_reshape_transform,
    ablation_layer=AblationLayerFasterRCNN(),
    ratio_channels_to_ablate=0.02,
)
ablationcam = cam(input_tensor, targets=targets)[0, :]

# The heat inside each box, scaled by itself.
renormalized = np.zeros(eigencam.shape, dtype=np.float32)
for x1, y1, x2, y2 in np.maximum(boxes, 0):
    renormalized[y1:y2, x1:x2] = scale_cam_image(eigencam[None, y1:y2, x1:x2])[0]
