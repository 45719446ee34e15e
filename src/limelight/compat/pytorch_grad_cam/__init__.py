"""The names of the grad-cam library 1.5.7, computed by limelight: change the import, keep the code.

    from limelight.compat.pytorch_grad_cam import GradCAM
    from limelight.compat.pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

`docs/migrate.md` says what changes in the result, and why.
"""

import limelight.compat.pytorch_grad_cam.metrics.cam_mult_image
import limelight.compat.pytorch_grad_cam.metrics.road
import limelight.compat.pytorch_grad_cam.utils.model_targets
import limelight.compat.pytorch_grad_cam.utils.reshape_transforms  # noqa: F401
from limelight.compat.pytorch_grad_cam.ablation_cam import AblationCAM
from limelight.compat.pytorch_grad_cam.ablation_layer import (
    AblationLayer,
    AblationLayerFasterRCNN,
    AblationLayerVit,
)
from limelight.compat.pytorch_grad_cam.activations_and_gradients import ActivationsAndGradients
from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM
from limelight.compat.pytorch_grad_cam.eigen_cam import EigenCAM
from limelight.compat.pytorch_grad_cam.eigen_grad_cam import EigenGradCAM
from limelight.compat.pytorch_grad_cam.feature_factorization.deep_feature_factorization import (
    DeepFeatureFactorization,
    run_dff_on_image,
)
from limelight.compat.pytorch_grad_cam.fem import FEM
from limelight.compat.pytorch_grad_cam.finer_cam import FinerCAM
from limelight.compat.pytorch_grad_cam.fullgrad_cam import FullGrad
from limelight.compat.pytorch_grad_cam.grad_cam import GradCAM
from limelight.compat.pytorch_grad_cam.grad_cam_elementwise import GradCAMElementWise
from limelight.compat.pytorch_grad_cam.grad_cam_plusplus import GradCAMPlusPlus
from limelight.compat.pytorch_grad_cam.guided_backprop import GuidedBackpropReLUModel
from limelight.compat.pytorch_grad_cam.hirescam import HiResCAM
from limelight.compat.pytorch_grad_cam.kpca_cam import KPCA_CAM
from limelight.compat.pytorch_grad_cam.layer_cam import LayerCAM
from limelight.compat.pytorch_grad_cam.random_cam import RandomCAM
from limelight.compat.pytorch_grad_cam.refine_cam import RefineCAM
from limelight.compat.pytorch_grad_cam.score_cam import ScoreCAM
from limelight.compat.pytorch_grad_cam.seg_eigen_cam import SegEigenCAM
from limelight.compat.pytorch_grad_cam.sess import SESS
from limelight.compat.pytorch_grad_cam.shapley_cam import ShapleyCAM
from limelight.compat.pytorch_grad_cam.xgrad_cam import XGradCAM

__all__ = [
    "FEM",
    "KPCA_CAM",
    "SESS",
    "AblationCAM",
    "AblationLayer",
    "AblationLayerFasterRCNN",
    "AblationLayerVit",
    "ActivationsAndGradients",
    "BaseCAM",
    "DeepFeatureFactorization",
    "EigenCAM",
    "EigenGradCAM",
    "FinerCAM",
    "FullGrad",
    "GradCAM",
    "GradCAMElementWise",
    "GradCAMPlusPlus",
    "GuidedBackpropReLUModel",
    "HiResCAM",
    "LayerCAM",
    "RandomCAM",
    "RefineCAM",
    "ScoreCAM",
    "SegEigenCAM",
    "ShapleyCAM",
    "XGradCAM",
    "run_dff_on_image",
]
