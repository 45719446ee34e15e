"""limelight shows what a neural network looked at.

    result = limelight.explain(model, images)
    result.heatmap, result.raw, result.score, result.status
    result.save("cat.png")

Cut the network at a layer: `A = body(x)`, `y = head(A)`. Everything else is arithmetic on A.
"""

import logging
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers, and for tools that read what a program imports
    from limelight.audits.pages.differing import AuditDifference as AuditDifference
    from limelight.audits.pipeline import (
        audit as audit,
        audit_again as audit_again,
        compare_audits as compare_audits,
    )
    from limelight.audits.results import Audit as Audit, Finding as Finding
    from limelight.comparison import Comparison as Comparison, compare as compare
    from limelight.concepts import Factorization as Factorization, factorize as factorize
    from limelight.deprecations import LimelightDeprecationWarning as LimelightDeprecationWarning
    from limelight.errors import LimelightError as LimelightError
    from limelight.evidence import (
        Attention as Attention,
        AttentionLayer as AttentionLayer,
        BiasGradient as BiasGradient,
        Evidence as Evidence,
        Rerun as Rerun,
        WordLogits as WordLogits,
    )
    from limelight.examination.observations import (
        Examination as Examination,
        Observation as Observation,
    )
    from limelight.examination.pipeline import examine as examine
    from limelight.explanation import Explanation as Explanation
    from limelight.explanation_arrays import PhotoHeatmap as PhotoHeatmap
    from limelight.exporting.pipeline import Export as Export, export as export
    from limelight.figure_style import FigureStyle as FigureStyle
    from limelight.aligned import AlignedMap as AlignedMap
    from limelight.film import Film as Film
    from limelight.finish import AxisSpan as AxisSpan, FinishedInPieces as FinishedInPieces
    from limelight.fusion import fuse as fuse
    from limelight.inputs import ModelInputs as ModelInputs
    from limelight.layers.choice import Candidate as Candidate, stages as stages
    from limelight.layers.layouts import Layout as Layout
    from limelight.layers.record import ModuleCall as ModuleCall
    from limelight.layers.resolved import INPUT as INPUT
    from limelight.methods import METHODS as METHODS
    from limelight.methods.method import Method as Method
    from limelight.methods.tiles import Tiles as Tiles, tiles as tiles
    from limelight.methods.views import (
        View as View,
        Views as Views,
        flips as flips,
        noise as noise,
        scales as scales,
    )
    from limelight.metrics import METRICS as METRICS
    from limelight.metrics.candidates import MapCandidate as MapCandidate
    from limelight.metrics.case import (
        MapCase as MapCase,
        Maps as Maps,
        PerturbedModel as PerturbedModel,
    )
    from limelight.metrics.choose import choose as choose
    from limelight.metrics.comparisons import MapsDifference as MapsDifference
    from limelight.metrics.estimates import MetricEstimate as MetricEstimate
    from limelight.metrics.intervals import (
        Estimate as Estimate,
        PairedDifference as PairedDifference,
    )
    from limelight.metrics.learned import Learned as Learned
    from limelight.metrics.measurement import Measurement as Measurement
    from limelight.metrics.metric import CurveAxes as CurveAxes, Metric as Metric
    from limelight.metrics.objects import Objects as Objects
    from limelight.metrics.readings import (
        MapReadings as MapReadings,
        ReadingsKey as ReadingsKey,
        Unmeasured as Unmeasured,
    )
    from limelight.metrics.robustness import Stage as Stage
    from limelight.metrics.recommendation import (
        RankedCandidate as RankedCandidate,
        Recommendation as Recommendation,
    )
    from limelight.metrics.run import measure as measure
    from limelight.metrics.sanity import Sanity as Sanity, sanity as sanity
    from limelight.metrics.verdict import Verdict as Verdict
    from limelight.models.black_box import BlackBox as BlackBox
    from limelight.models.network import Network as Network
    from limelight.models.sources import load_model as load_model
    from limelight.models.vision_language import (
        VisionLanguageModel as VisionLanguageModel,
        load_vision_language as load_vision_language,
    )
    from limelight.options import Options as Options
    from limelight.photo_pipeline import (
        PhotoResult as PhotoResult,
        explain_photos as explain_photos,
    )
    from limelight.photos.pictures import load_photo as load_photo
    from limelight.photos.raster import Raster as Raster
    from limelight.photos.crops import CroppedPhoto as CroppedPhoto
    from limelight.photos.geometry import Geometry as Geometry
    from limelight.photos.memory import PhotoSize as PhotoSize
    from limelight.photos.preprocess import Preprocess as Preprocess
    from limelight.pipeline import (
        Skipped as Skipped,
        explain as explain,
        explain_each as explain_each,
    )
    from limelight.provenance import Provenance as Provenance
    from limelight.recipe import Part as Part, Recipe as Recipe
    from limelight.regions.explained_regions import ExplainedRegions as ExplainedRegions
    from limelight.regions.heat_regions import (
        HeatRegion as HeatRegion,
        ImageRegions as ImageRegions,
    )
    from limelight.repetition import explain_again as explain_again
    from limelight.runtime.cells import (
        CellPlaces as CellPlaces,
        where_cells_look as where_cells_look,
    )
    from limelight.runtime.cut import Cut as Cut, cut as cut, cuts as cuts
    from limelight.runtime.layer_gradients import LayerGradient as LayerGradient
    from limelight.runtime.record import record as record
    from limelight.status import Status as Status
    from limelight.steps.data import Answer as Answer, Beside as Beside, Step as Step
    from limelight.steps.walkthrough import Walkthrough as Walkthrough, walkthrough as walkthrough
    from limelight.targets.boxes import Box as Box
    from limelight.targets.classes import (
        AnyOf as AnyOf,
        Pair as Pair,
        Rank as Rank,
        top as top,
    )
    from limelight.targets.context import TargetContext as TargetContext
    from limelight.targets.differences import (
        Contrast as Contrast,
        Counterfactual as Counterfactual,
    )
    from limelight.targets.edges import Edge as Edge
    from limelight.targets.keypoints import Keypoint as Keypoint
    from limelight.targets.masks import Mask as Mask
    from limelight.targets.outputs import Detected as Detected, OutputSpec as OutputSpec
    from limelight.targets.regions import Region as Region
    from limelight.targets.scores import ScoreTarget as ScoreTarget, Scores as Scores
    from limelight.targets.words import (
        Similarity as Similarity,
        Words as Words,
        each_word as each_word,
    )
    from limelight.text_explanation import ExplainedText as ExplainedText, TextWord as TextWord
    from limelight.text_pipeline import explain_text as explain_text
    from limelight.tracing import Trace as Trace, Window as Window, trace as trace
    from limelight.version import __version__ as __version__
    from limelight.vision_language.answer import ExplainedWord as ExplainedWord, Sink as Sink
    from limelight.vision_language.explained_answer import ExplainedAnswer as ExplainedAnswer
    from limelight.vision_language.pipeline import ask as ask, caption as caption
    from limelight.web.launch import PageServer as PageServer, page as page
    from limelight.web.settings import Limits as Limits, PageSettings as PageSettings
    from limelight.window_scores import WindowScores as WindowScores

# What is decided is logged, and nothing is shown unless the program asks: docs/logging.md.
logging.getLogger(__name__).addHandler(logging.NullHandler())

#: The public names, by the module that defines them.
_PUBLIC_NAMES = {
    "audits.pipeline": ("audit", "audit_again", "compare_audits"),
    "audits.pages.differing": ("AuditDifference",),
    "audits.results": ("Audit", "Finding"),
    "comparison": (
        "Comparison",
        "compare",
    ),
    "concepts": (
        "Factorization",
        "factorize",
    ),
    "deprecations": ("LimelightDeprecationWarning",),
    "errors": ("LimelightError",),
    "evidence": (
        "Attention",
        "AttentionLayer",
        "BiasGradient",
        "Evidence",
        "Rerun",
        "WordLogits",
    ),
    "examination.observations": ("Examination", "Observation"),
    "examination.pipeline": ("examine",),
    "explanation": ("Explanation",),
    "explanation_arrays": ("PhotoHeatmap",),
    "exporting.pipeline": ("Export", "export"),
    "figure_style": ("FigureStyle",),
    "aligned": ("AlignedMap",),
    "film": ("Film",),
    "finish": ("AxisSpan", "FinishedInPieces"),
    "fusion": ("fuse",),
    "inputs": ("ModelInputs",),
    "layers.choice": (
        "Candidate",
        "stages",
    ),
    "layers.layouts": ("Layout",),
    "layers.record": ("ModuleCall",),
    "layers.resolved": ("INPUT",),
    "methods": ("METHODS",),
    "methods.method": ("Method",),
    "methods.tiles": ("Tiles", "tiles"),
    "methods.views": (
        "View",
        "Views",
        "flips",
        "noise",
        "scales",
    ),
    "metrics": ("METRICS",),
    "metrics.case": (
        "MapCase",
        "Maps",
        "PerturbedModel",
    ),
    "metrics.candidates": ("MapCandidate",),
    "metrics.choose": ("choose",),
    "metrics.comparisons": ("MapsDifference",),
    "metrics.estimates": ("MetricEstimate",),
    "metrics.intervals": ("Estimate", "PairedDifference"),
    "metrics.learned": ("Learned",),
    "metrics.measurement": ("Measurement",),
    "metrics.metric": (
        "CurveAxes",
        "Metric",
    ),
    "metrics.objects": ("Objects",),
    "metrics.readings": (
        "MapReadings",
        "ReadingsKey",
        "Unmeasured",
    ),
    "metrics.robustness": ("Stage",),
    "metrics.recommendation": ("RankedCandidate", "Recommendation"),
    "metrics.run": ("measure",),
    "metrics.sanity": (
        "Sanity",
        "sanity",
    ),
    "metrics.verdict": ("Verdict",),
    "models.black_box": ("BlackBox",),
    "models.network": ("Network",),
    "models.sources": ("load_model",),
    "models.vision_language": ("VisionLanguageModel", "load_vision_language"),
    "options": ("Options",),
    "photo_pipeline": (
        "PhotoResult",
        "explain_photos",
    ),
    "photos.pictures": ("load_photo",),
    "photos.raster": ("Raster",),
    "photos.crops": ("CroppedPhoto",),
    "photos.geometry": ("Geometry",),
    "photos.memory": ("PhotoSize",),
    "photos.preprocess": ("Preprocess",),
    "pipeline": (
        "Skipped",
        "explain",
        "explain_each",
    ),
    "provenance": ("Provenance",),
    "recipe": (
        "Part",
        "Recipe",
    ),
    "regions.explained_regions": ("ExplainedRegions",),
    "regions.heat_regions": (
        "HeatRegion",
        "ImageRegions",
    ),
    "repetition": ("explain_again",),
    "runtime.cells": (
        "CellPlaces",
        "where_cells_look",
    ),
    "runtime.cut": (
        "Cut",
        "cut",
        "cuts",
    ),
    "runtime.layer_gradients": ("LayerGradient",),
    "runtime.record": ("record",),
    "status": ("Status",),
    "steps.data": (
        "Answer",
        "Beside",
        "Step",
    ),
    "steps.walkthrough": (
        "Walkthrough",
        "walkthrough",
    ),
    "targets.boxes": ("Box",),
    "targets.classes": ("AnyOf", "Pair", "Rank", "top"),
    "targets.context": ("TargetContext",),
    "targets.differences": ("Contrast", "Counterfactual"),
    "targets.edges": ("Edge",),
    "targets.keypoints": ("Keypoint",),
    "targets.masks": ("Mask",),
    "targets.outputs": ("Detected", "OutputSpec"),
    "targets.regions": ("Region",),
    "targets.scores": (
        "ScoreTarget",
        "Scores",
    ),
    "targets.words": (
        "Similarity",
        "Words",
        "each_word",
    ),
    "text_explanation": ("ExplainedText", "TextWord"),
    "text_pipeline": ("explain_text",),
    "tracing": (
        "Trace",
        "Window",
        "trace",
    ),
    "version": ("__version__",),
    "vision_language.answer": ("ExplainedWord", "Sink"),
    "vision_language.explained_answer": ("ExplainedAnswer",),
    "vision_language.pipeline": ("ask", "caption"),
    "web.launch": ("PageServer", "page"),
    "web.settings": ("Limits", "PageSettings"),
    "window_scores": ("WindowScores",),
}
_MODULE_OF = {name: module for module, names in _PUBLIC_NAMES.items() for name in names}

import_module(f"{__name__}.extras").name_missing_packages()

__all__ = sorted(_MODULE_OF, key=lambda name: (not name.isupper(), name))  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    """Load a public name, or a module, when it is first asked for: torch alone takes seconds."""
    from limelight.deprecations import replacement
    from limelight.misnamed import missing_name, refuse_calls

    if name in _MODULE_OF:
        value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
        globals()[name] = value
        refuse_calls()
        return value
    if (new := replacement(name)) is not None:
        return __getattr__(new)
    if not name.startswith("_") and find_spec(f"{__name__}.{name}") is not None:
        module = import_module(f"{__name__}.{name}")
        refuse_calls()
        return module
    raise AttributeError(missing_name(name, __all__))


#: The packages and modules whose names are public, too.
_PUBLIC_MODULES = ("audits", "compat", "deployed", "errors", "targets", "training")


def __dir__() -> list[str]:
    return sorted([*__all__, *_PUBLIC_MODULES])
