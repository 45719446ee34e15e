"""limelight shows what a neural network looked at.

    result = limelight.explain(model, images)
    result.heatmap, result.raw, result.score, result.status
    result.save("cat.png")

Cut the network at a layer: `A = body(x)`, `y = head(A)`. Everything else is arithmetic on A.
"""

from limelight.compare import Comparison, compare
from limelight.concepts import Factorization, factorize
from limelight.cut import INPUT, Cut, cut, cuts, record
from limelight.errors import LimelightError
from limelight.evidence import Attention, Evidence
from limelight.explain import PhotoResult, explain, explain_each, explain_photos
from limelight.explain import fuse_explanations as fuse
from limelight.explanation import Explanation, Status
from limelight.layers import stages
from limelight.measure import METRICS, Metric
from limelight.measure.measurement import Measurement
from limelight.measure.objects import Objects
from limelight.measure.run import measure
from limelight.measure.sanity import Sanity, sanity
from limelight.methods import METHODS, Method
from limelight.methods.combinators import Views, flips, noise, scales
from limelight.models import Network, load_model
from limelight.photos import Preprocess, load_photo
from limelight.targets import (
    Among,
    Box,
    Contrast,
    Counterfactual,
    Rank,
    Region,
    Similarity,
    Words,
    each_word,
    top,
)
from limelight.trace import Trace, trace
from limelight.walkthrough import Walkthrough, walkthrough

__all__ = [
    "INPUT",
    "METHODS",
    "METRICS",
    "Among",
    "Attention",
    "Box",
    "Comparison",
    "Contrast",
    "Counterfactual",
    "Cut",
    "Evidence",
    "Explanation",
    "Factorization",
    "LimelightError",
    "Measurement",
    "Method",
    "Metric",
    "Network",
    "Objects",
    "PhotoResult",
    "Preprocess",
    "Rank",
    "Region",
    "Sanity",
    "Similarity",
    "Status",
    "Trace",
    "Views",
    "Walkthrough",
    "Words",
    "compare",
    "cut",
    "cuts",
    "each_word",
    "explain",
    "explain_each",
    "explain_photos",
    "factorize",
    "flips",
    "fuse",
    "load_model",
    "load_photo",
    "measure",
    "noise",
    "record",
    "sanity",
    "scales",
    "stages",
    "top",
    "trace",
    "walkthrough",
]
