"""Score-CAM."""

from __future__ import annotations

from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM
from limelight.compat.pytorch_grad_cam.steps import weights_in_a_call_by


class ScoreCAM(BaseCAM):
    """Channels weighted by the score of the image seen through them, after a softmax.

    Wang et al. 2020, algorithm 1. Masks and maps are resized by the same rule, with the centres of
    cells over the centres of pixels. `batch_size` says how many masks run together.
    """

    method = "scorecam"

    get_cam_weights = weights_in_a_call_by("scorecam:softmax=true")
