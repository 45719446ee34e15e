"""limelight shows what a neural network looked at.

    result = limelight.explain(model, images)
    result.heatmap, result.raw, result.score, result.status
    result.save("cat.png")

Cut the network at a layer: `A = body(x)`, `y = head(A)`. Everything else is arithmetic on A.
"""

from limelight.cut import Cut, cut, cuts, trace
from limelight.errors import LimelightError
from limelight.evidence import Evidence
from limelight.explain import PhotoResult, explain, explain_each, explain_photos
from limelight.explanation import Explanation, Status
from limelight.methods import METHODS, Method
from limelight.models import Network, load_model
from limelight.photos import Preprocess, load_photo
from limelight.targets import Rank, top

__all__ = [
    "METHODS",
    "Cut",
    "Evidence",
    "Explanation",
    "LimelightError",
    "Method",
    "Network",
    "PhotoResult",
    "Preprocess",
    "Rank",
    "Status",
    "cut",
    "cuts",
    "explain",
    "explain_each",
    "explain_photos",
    "load_model",
    "load_photo",
    "top",
    "trace",
]
