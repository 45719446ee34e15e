"""Every method on one picture, chosen by name on the command line."""

import argparse

import cv2
import numpy as np
import torch
from pytorch_grad_cam import (
    FEM,
    KPCA_CAM,
    AblationCAM,
    EigenCAM,
    EigenGradCAM,
    FullGrad,
    GradCAM,
    GradCAMElementWise,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    RandomCAM,
    ScoreCAM,
    ShapleyCAM,
    XGradCAM,
)
from pytorch_grad_cam.utils.image import preprocess_image, show_cam_on_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget


def get_args():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", type=str, default="cpu")
    parser.add_argument("--image-path", type=str, default="photo.png")
    parser.add_argument("--aug-smooth", action="store_true")
    parser.add_argument("--eigen-smooth", action="store_true")
    parser.add_argument("--method", type=str, nargs="+", default=None)
    return parser.parse_args()


args = get_args()
methods = {
    "gradcam": GradCAM,
    "hirescam": HiResCAM,
    "scorecam": ScoreCAM,
    "gradcam++": GradCAMPlusPlus,
    "ablationcam": AblationCAM,
    "xgradcam": XGradCAM,
    "eigencam": EigenCAM,
    "eigengradcam": EigenGradCAM,
    "layercam": LayerCAM,
    "fullgrad": FullGrad,
    "fem": FEM,
    "gradcamelementwise": GradCAMElementWise,
    "kpcacam": KPCA_CAM,
    "shapleycam": ShapleyCAM,
    "randomcam": RandomCAM,
}

torch.manual_seed(0)
np.random.seed(0)  # for RandomCAM
model = torch.nn.Sequential(
    torch.nn.Conv2d(3, 8, 5, stride=4, padding=2),
    torch.nn.BatchNorm2d(8),
    torch.nn.ReLU(),
    torch.nn.Conv2d(8, 8, 3, padding=1),
    torch.nn.Softplus(),
    torch.nn.Conv2d(8, 16, 3, stride=2),
    torch.nn.Tanh(),
    torch.nn.AdaptiveAvgPool2d(2),
    torch.nn.Flatten(),
    torch.nn.Linear(64, 6),
)
model = model.to(torch.device(args.device)).eval()
target_layers = [model[4]]

rgb_img = cv2.imread(args.image_path, 1)[:, :, ::-1]
rgb_img = np.float32(rgb_img) / 255
input_tensor = preprocess_image(rgb_img, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]).to(
    args.device
)
targets = [ClassifierOutputTarget(2)]

maps = {}
for name in args.method or methods:
    cam_algorithm = methods[name]
    with cam_algorithm(model=model, target_layers=target_layers) as cam:
        cam.batch_size = 32
        grayscale_cam = cam(
            input_tensor=input_tensor,
            targets=targets,
            aug_smooth=args.aug_smooth,
            eigen_smooth=args.eigen_smooth,
        )
        maps[name] = grayscale_cam[0, :]
        cam_image = show_cam_on_image(rgb_img, maps[name], use_rgb=True)
        cv2.imwrite(f"{name}_cam.jpg", cv2.cvtColor(cam_image, cv2.COLOR_RGB2BGR))
