"""What people were doing when an error came, and what helps; for the page of errors.

A text alone says what was given, what was expected and what to do. What stands here goes beyond
it: what helps in most cases of a group, and the page that explains it.
"""

from __future__ import annotations

from typing import NamedTuple


class Group(NamedTuple):
    """A group of errors.

    Attributes:
        title: What the user was doing.
        help: What helps in most cases, as Markdown.
        paths: The beginnings of the paths of the files whose errors are of the group.
    """

    title: str
    help: str
    paths: tuple[str, ...]


#: A file is of the first group that has a beginning of its path.
GROUPS = (
    Group(
        "Calling a function: arguments and inputs",
        "`limelight.explain(model, images)` takes what the network takes: a tensor `[B, C, H, W]`, "
        "or a tuple or dict of arguments; or a photo, if the network is a `limelight.Network`. An "
        "argument under another library's name is refused with the name that it has here "
        "([the guide](guide.md#inputs), [coming from other libraries](migrate.md)).",
        (
            "misnamed.py",
            "inputs.py",
            "input_images.py",
            "packed_inputs.py",
            "options.py",
            "application.py",
            "pipeline.py",
            "fusion.py",
            "errors.py",
            "extras.py",
            "translations/",
        ),
    ),
    Group(
        "Choosing a layer",
        "Leave `layer` out, and limelight takes the last layer with a grid on which gradient of "
        "the score arrives. `limelight layers` lists those that can be cut at, and says of the "
        "others why not ([layers](guide.md#layers), [layouts](guide.md#layouts)).",
        ("layers/", "runtime/output_layout.py", "runtime/record.py", "runtime/cells.py"),
    ),
    Group(
        "Running the network and its gradient",
        "limelight runs a shadow of the network, in evaluation mode, with gradients on for itself "
        "alone; the network stays as it is. What it cannot run is refused with the reason. "
        "Methods without a gradient (`occlusion`, `rise`, `ablationcam`, `scorecam`) need least "
        "([how it works](design.md), [your own network](guide.md#inputs)).",
        ("runtime/",),
    ),
    Group(
        "Choosing a target",
        "A target is what the score is of: a class by index or name, a list with one per image, "
        "or a class of limelight such as `Region`, `Box` or `Similarity`. If the model returns "
        "more than logits, `output=` says which part they are. Any score goes as a function of "
        "the output: `target=lambda output: output[:, 281]` ([targets](guide.md#targets), "
        "[tasks](tasks.md)).",
        ("targets/", "tiling/"),
    ),
    Group(
        "Loading a network and its weights",
        "`limelight.load_model` knows the networks of torchvision, timm, transformers, open_clip "
        "and ultralytics by name; your own is `package.module:factory`. A weights file is a state "
        "dict: `torch.save(model.state_dict(), path)`, or a `.safetensors` file "
        "([your own network](own-network.md#on-the-command-line), [the zoo](zoo.md)).",
        ("models/", "examination/"),
    ),
    Group(
        "Reading photos, scans and films",
        "JPEG, PNG, WebP, TIFF, GIF, BMP, AVIF, JPEG 2000 and PPM are read as they are; DICOM, "
        "NIfTI, GeoTIFF and films with an extra that the error names. A damaged file in a folder "
        "stops neither `explain` nor `measure`: it is told at the end "
        "([your data](guide.md#your-data-grey-16-bits-ct-video)).",
        ("photos/", "film.py"),
    ),
    Group(
        "Choosing methods and their options",
        "`limelight methods` lists the methods and `limelight metrics` the metrics; with a name "
        "they show its options and their ranges. Options stand behind the name, as in "
        "`rise:masks=1000,seed=1` ([methods](methods.md)).",
        ("methods/", "registry.py", "evidence.py", "target_evidence.py", "concepts.py"),
    ),
    Group(
        "Measuring and choosing maps",
        "Metrics of localisation need to know where the objects are; those of a probability need "
        "a class; those that make maps again need what `explain` returned, not a heatmap. Claims "
        "need images: 8 to beat chance, 80 to tell two methods apart "
        "([is the map true?](measure.md), [which map for my network?](choose.md)).",
        ("metrics/",),
    ),
    Group(
        "Drawing and saving",
        "A path is written in full or not at all: what cannot be written leaves the old file as "
        "it was. The suffix says the form: `.png`, `.jpg`, `.webp`, `.tiff`, `.pdf`, `.svg`, "
        "`.npz`, `.csv`, `.json` ([the result](guide.md#the-result), "
        "[regions](guide.md#regions)).",
        (
            "render/",
            "drawing.py",
            "figure_style.py",
            "files.py",
            "explanation",
            "map_scales.py",
            "lock.py",
            "regions/",
            "tables/",
            "aligned.py",
            "manifests.py",
            "repetition.py",
        ),
    ),
    Group(
        "Walking through a map, and looking inside",
        "A walkthrough shows one map of one image, step by step; a trace the values at layers "
        "([walkthrough](walkthrough.md)).",
        ("steps/", "tracing.py"),
    ),
    Group(
        "Exporting, and running exported files",
        "An exported file holds the network and its map. It is written only if it gives what the "
        "network gives. What cannot be written as ONNX often can as a program of `torch.export` "
        "(`.pt2`) ([deploy](deploy.md)).",
        ("exporting/", "deployed/"),
    ),
    Group(
        "Auditing a data set",
        "An audit writes into a folder of its own and goes on where it was broken off, with the "
        "same settings; other settings take another folder ([audit](audit.md), "
        "[scale](scale.md)).",
        ("audits/",),
    ),
    Group(
        "Training on where the network looks",
        "Losses of maps need maps with a graph, `differentiable=True` ([training](training.md)).",
        ("training/",),
    ),
    Group(
        "Asking a model about a photo",
        "A vision-language model answers; each word of its answer has a map, and a measure of how "
        "far it needs the picture ([ask](ask.md)).",
        ("vision_language/", "text_"),
    ),
    Group(
        "Serving the page",
        "The page listens at this machine alone unless a password is set ([the page](page.md)). "
        "What it refuses in a request has a code; those are [listed with its "
        "interface](page-api.md).",
        ("web/",),
    ),
    Group(
        "On the command line",
        "`limelight COMMAND --help` lists the options of a command. The exit code is 2 for "
        "arguments that do not fit and 1 for data that cannot be read "
        "([exit codes](guide.md#exit-codes)).",
        ("cli/",),
    ),
    Group(
        "Coming from grad-cam, torchcam or captum",
        "`limelight migrate SCRIPT` rewrites a script; the drop-in keeps grad-cam's calls as they "
        "are ([coming from other libraries](migrate.md)).",
        ("compat/",),
    ),
)


def group_of(path: str) -> Group:
    """Return the group of a file's errors."""
    return next(group for group in GROUPS if path.startswith(group.paths))


#: What helps beyond the text of an error, by the beginning of the text.
CURES = {
    "No layer to cut at was found": "The network has no layer with a grid, or the score reads "
    "nothing of one: a network for tables, a head on one vector, a frozen encoder that is run "
    "under `no_grad` in its own forward. `saliency`, `occlusion` and `rise` work at the input and "
    "need no layer.",
    "The layer '{path}' ({kind}) put out {shape} for images": "A transformer's tokens become a "
    "grid by themselves if their number fits the patches; if it does not, say the grid: "
    "`grid=(14, 14)`.",
    "A class target needs logits [B, C]": '`output=0`, `output="logits"` or '
    "`output=lambda out: out.logits` picks them.",
    "The target is the name '{name}', and the names": "Pass `classes=[...]` in the order of the "
    "outputs, or a file with one name per line on the command line.",
    "'{path}' holds more than tensors, and is not run": "A pickled network can run any code when "
    "it is loaded, so limelight loads state dicts alone. Load it yourself where you trust it, and "
    "pass the network: `limelight.explain(model, images)`.",
    "The images hold values that are NaN or infinite": "Look at `images.isnan().any()` after each "
    "step of the preprocessing.",
    "'{name}' is a method, and there is no photo of that name": "The command line reads what "
    "stands alone as a photo.",
    "The network is quantised": "`model_fp32 = ...` before `torch.ao.quantization.convert` still "
    "has gradients; its maps are those of the network that was quantised.",
    "Guided backpropagation changes the gradient of ReLUs": "There is no such rule for other "
    "activations; a map would be made up.",
    "The page cannot listen at": "Another program, perhaps a page that still runs, has the port.",
    "{doing} raised": "The error is your function's own; it is told here because limelight called "
    "it.",
    "There is no weights file": "The path is looked for from the working directory on.",
    "None of the metrics can be had": "The reasons stand behind the colon, one for each metric.",
    "CAM needs a head that is an average pool": "Where CAM can be made, `gradcam` gives the same "
    "map up to a factor.",
}
