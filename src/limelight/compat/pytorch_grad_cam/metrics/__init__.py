"""Is the map true? `pytorch_grad_cam.metrics`."""

import sys

from limelight.compat.pytorch_grad_cam.metrics import arcc

# The peer's README writes `metrics.ARCC`, as its file was called before.
sys.modules[f"{__name__}.ARCC"] = arcc
