"""The sentence: cut -> method -> finish -> Explanation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor, nn

from limelight.cut import Cut, Layer, cut
from limelight.errors import PhotoError
from limelight.evidence import Evidence, Need
from limelight.explanation import Explanation, finished, judge
from limelight.inputs import Inputs
from limelight.methods import Method, find_method
from limelight.models import Network
from limelight.photos import Preprocess, load_photo
from limelight.targets import Scores, Target


def explain(
    model: nn.Module,
    inputs: Inputs,
    *,
    target: Target = None,
    method: str = "gradcam",
    layer: Layer | None = None,
    classes: Sequence[str] | None = None,
) -> Explanation:
    """Show what a network looked at: one heatmap per image.

    The raw map is that of the method, by default Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2),
    `L = sum_k alpha_k A_k` with `alpha_k = mean_ij dy_c/dA_k`, `[B, *grid]`; the heatmap is relu,
    resize and normalise of it, `[B, *image]` in [0, 1].

        result = limelight.explain(model, images)
        result = limelight.explain(model, images, target="tabby", layer="features.16")
        result.heatmap, result.raw, result.score, result.status

    Args:
        model: A trained network; used as in evaluation mode and left untouched.
        inputs: Images `[B, C, *image]`, or a tuple or dict of what the model takes.
        target: What to explain: a class by index or by name, a list with one per image, any
            callable from output to scores `[B]`, or None for the predicted class.
        method: A name in METHODS.
        layer: A dotted path or a module inside the model; None to have it chosen.
        classes: The names of the classes; a model with 1000 is taken to know ImageNet's.

    Raises:
        UnknownNameError: No class, layer or method has that name.
        LayerError, TargetError, MethodError, ModelError, InputError: See `limelight.errors`.
    """
    (only,) = explain_each(model, inputs, [target], method=method, layer=layer, classes=classes)
    return only


def explain_each(
    model: nn.Module,
    inputs: Inputs,
    targets: Sequence[Target],
    *,
    method: str = "gradcam",
    layer: Layer | None = None,
    classes: Sequence[str] | None = None,
) -> list[Explanation]:
    """Explain several targets of the same images from one forward pass.

    As `explain`, with one Explanation per target:

        cat, dog = limelight.explain_each(model, images, ["tabby", "pug"])
        first, second, third = limelight.explain_each(model, images, limelight.top(3))
    """
    row = find_method(method)
    run = cut(model, layer, inputs, classes=classes)
    return [_explain(run, target, row) for target in targets]


def _explain(run: Cut, target: Target, method: Method) -> Explanation:
    gather: dict[Need, Callable[[Scores], Tensor]] = {
        "gradients": run.gradients,
        "class weights": run.class_weights,
    }
    scores = run.score(target)
    found = {need: _full(gather[need](scores)) for need in method.needs}
    evidence = Evidence(activations=_full(run.activations), found=found)
    with torch.inference_mode(False), torch.no_grad():
        raw, score = method.function(evidence), scores.values.detach()
        status = judge(
            raw,
            score,
            list(found.values()),
            method=method.name,
            layer=run.layer,
            instead=run.suggested_layer,
        )
        heatmap = finished(raw, run.image.shape[2:], status)
    return Explanation(
        raw=raw,
        heatmap=heatmap,
        score=score,
        index=scores.indices,
        label=scores.labels,
        status=status,
        method=method.name,
        layer=run.layer,
        reason=run.reason,
        image=run.image,
        output=run.output,
    )


def _full(tensor: Tensor) -> Tensor:
    """Return a tensor in at least float32: sums over channels and cells overflow in float16."""
    return tensor.float() if torch.finfo(tensor.dtype).bits < 32 else tensor


@dataclass(frozen=True, slots=True)
class PhotoResult:
    """What became of one photo.

    Attributes:
        path: The file.
        view: The part of the photo that the network saw; None when it could not be read.
        explanations: One per target, each of this one image.
        error: Why there is none, if so.
    """

    path: Path
    view: Image | None
    explanations: tuple[Explanation, ...]
    error: PhotoError | None = None


def explain_photos(
    network: Network,
    paths: Sequence[str | Path],
    targets: Sequence[Target] = (None,),
    *,
    method: str = "gradcam",
    layer: Layer | None = None,
    batch: int = 8,
) -> Iterator[PhotoResult]:
    """Explain photo files, a batch at a time, one forward pass per batch.

    A photo that cannot be read yields a result with its error, and the others go on. Anything else
    that is wrong (a class, a layer, the model) concerns all photos and is raised at once.

    Args:
        network: From `load_model`, or a `Network` around your own model.
        paths: The photos.
        targets: What to explain of each photo.
        method: A name in METHODS.
        layer: A dotted path; None to have it chosen.
        batch: How many photos go through the network together.

    Yields:
        One PhotoResult per path, in order.
    """
    find_method(method)
    parameter = next(network.model.parameters(), torch.empty(0))
    for start in range(0, len(paths), batch):
        loaded = [_load(Path(path), network.preprocess) for path in paths[start : start + batch]]
        ready = [one for one in loaded if not isinstance(one, PhotoError)]
        done: list[Explanation] = []
        if ready:
            done = explain_each(
                network.model,
                torch.stack([image for _, image in ready]).to(parameter),
                targets,
                method=method,
                layer=layer,
                classes=network.classes,
            )
        row = 0
        for path, one in zip(paths[start : start + batch], loaded, strict=True):
            if isinstance(one, PhotoError):
                yield PhotoResult(Path(path), None, (), one)
                continue
            view = network.preprocess.view(one[0])
            yield PhotoResult(Path(path), view, tuple(result[row] for result in done))
            row += 1


def _load(path: Path, preprocess: Preprocess) -> tuple[Image, Tensor] | PhotoError:
    """Return a photo and the network's input, or why there is none."""
    try:
        photo = load_photo(path)
        return photo, preprocess(photo)
    except PhotoError as error:
        return error
