"""What `limelight` offers, for type checkers; see `__init__.py`."""

from limelight.compare import Comparison as Comparison, compare as compare
from limelight.concepts import Factorization as Factorization, factorize as factorize
from limelight.cut import INPUT as INPUT, Cut as Cut, cut as cut, cuts as cuts, record as record
from limelight.errors import LimelightError as LimelightError
from limelight.evidence import Attention as Attention, Evidence as Evidence
from limelight.explain import (
    fuse_explanations,
    PhotoResult as PhotoResult,
    explain as explain,
    explain_each as explain_each,
    explain_photos as explain_photos,
)
from limelight.explanation import Explanation as Explanation, Status as Status
from limelight.layers import stages as stages
from limelight.measure import METRICS as METRICS, Metric as Metric
from limelight.measure.measurement import Measurement as Measurement
from limelight.measure.objects import Objects as Objects
from limelight.measure.run import measure as measure
from limelight.measure.sanity import Sanity as Sanity, sanity as sanity
from limelight.methods import METHODS as METHODS, Method as Method
from limelight.methods.combinators import (
    Views as Views,
    flips as flips,
    noise as noise,
    scales as scales,
)
from limelight.models import Network as Network, load_model as load_model
from limelight.photos import Preprocess as Preprocess, load_photo as load_photo
from limelight.targets import (
    Among as Among,
    Box as Box,
    Contrast as Contrast,
    Counterfactual as Counterfactual,
    Rank as Rank,
    Region as Region,
    Similarity as Similarity,
    Words as Words,
    each_word as each_word,
    top as top,
)
from limelight.trace import Trace as Trace, trace as trace
from limelight.walkthrough import Walkthrough as Walkthrough, walkthrough as walkthrough

fuse = fuse_explanations
__all__: list[str]
