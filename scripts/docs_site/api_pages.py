"""The API reference: every public name once, on the page of what one does with it."""

from __future__ import annotations

import inspect
from importlib import import_module
from operator import attrgetter
from typing import NamedTuple

from limelight.errors import LimelightError


class ApiPage(NamedTuple):
    """A page of the reference: its title, what it is for, and its names, by their package."""

    title: str
    about: str
    names: dict[str, str]


API_PAGES = {
    "explain": ApiPage(
        "Explain",
        "From a network and images to maps. `explain` is the one to start with; "
        "[the guide](../guide.md) goes on.",
        {
            "limelight": "explain explain_each explain_photos explain_text explain_again compare "
            "fuse factorize tiles flips noise scales cut cuts trace walkthrough Options"
        },
    ),
    "results": ApiPage(
        "Results",
        "What these calls return: maps, what they explain, and how to save and draw them.",
        {
            "limelight": "Explanation Status PhotoHeatmap PhotoResult Skipped Comparison "
            "Factorization Recipe Part ExplainedRegions ImageRegions HeatRegion AlignedMap Film "
            "FigureStyle WindowScores Trace Window Walkthrough Step Answer Beside ExplainedText "
            "TextWord Provenance AxisSpan FinishedInPieces"
        },
    ),
    "targets": ApiPage(
        "Targets",
        "What is explained: a class, a box, a region, a word. [Task by task](../tasks.md) shows "
        "which one to take.",
        {
            "limelight": "top each_word Rank AnyOf Pair Contrast Counterfactual Region Box Edge "
            "Mask Keypoint Similarity Words ScoreTarget Scores TargetContext OutputSpec Detected"
        },
    ),
    "layers": ApiPage(
        "Layers and cuts",
        "Where a network is cut, what was found there, and where its cells look.",
        {
            "limelight": "INPUT record stages Candidate Layout ModuleCall Cut Evidence Attention "
            "AttentionLayer LayerGradient BiasGradient WordLogits Rerun where_cells_look CellPlaces"
        },
    ),
    "methods": ApiPage(
        "Methods",
        "The table of methods, and what makes a row of it. [Methods](../methods.md) compares them.",
        {"limelight": "METHODS Method Views View Tiles"},
    ),
    "metrics": ApiPage(
        "Metrics",
        "How far to trust a map, and which map to take. [Measure](../measure.md) explains how, "
        "[choose](../choose.md) what was found.",
        {
            "limelight": "measure choose sanity METRICS Metric MapCase Maps MapCandidate "
            "Measurement MetricEstimate Estimate PairedDifference MapsDifference Verdict Learned "
            "Recommendation RankedCandidate MapReadings ReadingsKey Unmeasured CurveAxes Objects "
            "Sanity Stage PerturbedModel"
        },
    ),
    "networks": ApiPage(
        "Networks",
        "Networks by name, with what belongs to them, and functions in place of a network. "
        "[The zoo](../zoo.md) lists those that were tried; [doctor](../doctor.md) looks at yours.",
        {"limelight": "load_model Network ModelInputs BlackBox examine Examination Observation"},
    ),
    "photos": ApiPage(
        "Photos",
        "From a file to a network's input, and back to the photo.",
        {"limelight": "load_photo Raster Preprocess CroppedPhoto PhotoSize Geometry"},
    ),
    "audits": ApiPage(
        "Audits",
        "Where a network looks on a whole data set: [audit](../audit.md).",
        {"limelight": "audit audit_again compare_audits Audit Finding AuditDifference"},
    ),
    "training": ApiPage(
        "Training",
        "Losses on maps, and what watches maps epoch by epoch: [training](../training.md).",
        {
            "limelight.training": "inside outside evidence_masks find_again MapMonitor MapRecord "
            "lightning_callback trainer_callback MapWriter FolderWriter TensorBoardWriter "
            "WandbWriter MlflowWriter"
        },
    ),
    "vision-language": ApiPage(
        "Vision-language models",
        "Ask about a photo, and see where each word of the answer looked: [ask](../ask.md).",
        {
            "limelight": "ask caption load_vision_language VisionLanguageModel ExplainedAnswer "
            "ExplainedWord Sink"
        },
    ),
    "deployed": ApiPage(
        "Deployed",
        "One file with the network and its map, and what runs it without torch: "
        "[deploy](../deploy.md).",
        {
            "limelight": "export Export",
            "limelight.deployed": "load DeployedNetwork DeployedExplanation Description "
            "MapDescription PreparedPhoto FinishedInPieces STATUS_NAMES",
        },
    ),
    "page": ApiPage(
        "The page",
        "Maps in a browser: [the page](../page.md).",
        {"limelight": "page PageServer PageSettings Limits"},
    ),
    "errors": ApiPage(
        "Errors",
        "All that limelight raises on purpose. Every message says what was given, what was "
        "expected and what to do.",
        {"limelight": "LimelightError"},
    ),
    "compat": ApiPage(
        "Drop-ins and version",
        "The names of other libraries, computed by limelight: "
        "[coming from them](../migrate.md). And limelight's version.",
        {
            "limelight": "__version__ LimelightDeprecationWarning",
            "limelight.compat": "install",
            "limelight.compat.article": "GradCAM show_cam_on_image center_crop_img",
        },
    ),
}

#: What constants are, which have no docstring of their own.
CONSTANTS = {
    "limelight.INPUT": "The layer's name for a cut at the input.",
    "limelight.METHODS": "The methods by name, each a `Method`.",
    "limelight.METRICS": "The metrics by name, each a `Metric`.",
    "limelight.__version__": "The version of limelight that is installed.",
    "limelight.deployed.STATUS_NAMES": "The names that a status can have.",
}


def page_names(page: str) -> list[str]:
    """Return the names on a page, dotted, in the order of the page."""
    names = [
        f"{package}.{name}"
        for package, names in API_PAGES[page].names.items()
        for name in names.split()
    ]
    return names + (ERRORS if page == "errors" else [])


def summary(name: str) -> str:
    """Return the first line of what a name says of itself."""
    if name in CONSTANTS:
        return CONSTANTS[name]
    package, _, short = name.rpartition(".")
    return (inspect.getdoc(attrgetter(short)(import_module(package))) or "").splitlines()[0]


def _errors(kind: type[LimelightError]) -> list[str]:
    """Return the errors below one, each followed by its own."""
    found = []
    for below in kind.__subclasses__():
        if below.__module__ == LimelightError.__module__:
            found += [f"{below.__module__}.{below.__name__}", *_errors(below)]
    return found


ERRORS = _errors(LimelightError)
NAMES = [name for page in API_PAGES for name in page_names(page)]


def pages() -> dict[str, str]:
    """Return the pages of the reference, by their place on the site."""
    made = {"api/index.md": _contents()}
    for name, page in API_PAGES.items():
        blocks = [f"::: {each}\n\n{CONSTANTS.get(each, '')}" for each in page_names(name)]
        head = f"# {page.title}\n\n{page.about}"
        made[f"api/{name}.md"] = "\n\n".join([head, *blocks])
    return made


def _contents() -> str:
    """Return the page that lists all names; `named_links` makes links of them."""
    parts = ["# API reference\n\nEvery public name, by what one does with it.\n"]
    for name, page in API_PAGES.items():
        rows = [f"| `{each}` | {summary(each)} |" for each in page_names(name)]
        head = f"## [{page.title}]({name}.md)\n\n| name | what it is |\n|---|---|"
        parts.append("\n".join([head, *(row.replace("\n", " ") for row in rows), ""]))
    return "\n".join(parts)
