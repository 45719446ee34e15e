"""Maps of photos that a program sends: all photos of a request go through the network together."""

from __future__ import annotations

import tempfile
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from limelight.application import (
    DEFAULT,
    apply_method,
    apply_where_connected,
    cut_for_methods,
    layer_to_cut,
    method_for,
)
from limelight.errors import LimelightError
from limelight.explanation import Explanation
from limelight.inputs import ModelInputs
from limelight.methods import Method
from limelight.models.network import Network
from limelight.photos.crops import CroppedPhoto
from limelight.photos.memory import bytes_to_hold
from limelight.pipeline import named_method
from limelight.progress import ProgressCallback
from limelight.target_evidence import TargetEvidence
from limelight.targets import ScoreTarget, as_target
from limelight.translations.languages import Language
from limelight.web.answers.looks import named_answer
from limelight.web.answers.maps import map_as_dict
from limelight.web.requests import ExplainFields, TargetRequest
from limelight.web.serving.refusals import Refusal, refused
from limelight.web.settings import Limits
from limelight.web.subjects.answers import first_answers
from limelight.web.subjects.looks import check_cells, check_runs
from limelight.web.subjects.networks import ServedNetwork
from limelight.web.subjects.targets import read_choice
from limelight.web.subjects.uploads import read_upload

#: How many photos go through the network together.
_TOGETHER = 8

#: They take no more, decoded, than this part of what all photos of the page may take.
_SHARE = 4


@dataclass(frozen=True, slots=True)
class SentPhoto:
    """A photo that a program sent.

    Attributes:
        name: Its name.
        read: Returns its bytes, which are not read before its turn comes.
    """

    name: str
    read: Callable[[], bytes]


#: The explanation of a photo, or why there is none.
Outcome = Explanation | LimelightError


def explain_sent(
    sent: Sequence[SentPhoto],
    served: ServedNetwork,
    asked: ExplainFields,
    limits: Limits,
    progress: ProgressCallback,
) -> Iterator[Outcome]:
    """Yield the explanations of photos, in their order, or why there is none of one.

    1. Some photos are decoded: eight, or fewer if they are large.
    2. Those that make inputs of one size go through the network together.
    3. Where this fails, each is tried by itself: one of them may have no such object.

    Args:
        sent: The photos.
        served: The network.
        asked: What is explained, and how.
        limits: How large a photo may be.
        progress: As in `explain`.

    Raises:
        Refusal: The work was stopped.
        LimelightError: The method or the target is none.
    """
    target, method = as_target(read_choice(_target(asked))), named_method(asked.method)

    def explain_batch(photos: Sequence[_Decoded]) -> list[Explanation]:
        progress(asked.method or "", 0, 0)  # work that nobody waits for any more ends here
        inputs = ModelInputs.of(torch.cat([photo.images for photo in photos]))
        explanation = _explain(inputs, served, target, method, asked.layer, limits, progress)
        return [explanation[number].drawn_on([photo.crop]) for number, photo in enumerate(photos)]

    left = list(sent)
    while left:
        # 1. Some photos.
        some = list(_decoded(left, served.network, limits))
        del left[: len(some)]
        outcomes = dict[int, Outcome]()
        by_shape = dict[torch.Size, list[int]]()
        for number, each in enumerate(some):
            if isinstance(each, LimelightError):
                outcomes[number] = each
            else:
                by_shape.setdefault(each.images.shape, []).append(number)
        parts = list(by_shape.values())
        while parts:
            numbers = parts.pop()
            photos = [each for number in numbers if isinstance(each := some[number], _Decoded)]
            # 2. Together.
            try:
                outcomes |= dict(zip(numbers, explain_batch(photos), strict=True))
            except Refusal:
                raise
            except LimelightError as error:
                # 3. Each by itself.
                if len(numbers) == 1:
                    outcomes[numbers[0]] = error
                else:
                    parts += [[number] for number in numbers]
        yield from (outcomes[number] for number in range(len(some)))


def _explain(
    inputs: ModelInputs,
    served: ServedNetwork,
    target: ScoreTarget,
    method: Method | None,
    layer: str | None,
    limits: Limits,
    progress: ProgressCallback,
) -> Explanation:
    """Return the explanation of a batch, as `explain`, within the limits of the page."""
    model, options = served.network.model, replace(served.options, progress=progress)
    like = method or DEFAULT
    check_runs(like, inputs.image.numel(), limits)
    place = layer_to_cut(like, layer)
    with torch.inference_mode(False):
        (cut,) = cut_for_methods(model, inputs, [like], [place], options, [target])
        evidence = TargetEvidence(cut, target, options)
        applied = method_for(evidence.scores, method)
        if applied.place == "layer":
            check_cells(applied, cut)
        evidence.begin(str(applied))
        if place is None:
            return apply_where_connected(evidence, applied, [])
        return apply_method(evidence, applied)


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A photo, with the box of it that the network sees, and the network's input."""

    crop: CroppedPhoto
    images: torch.Tensor


def _decoded(
    sent: Sequence[SentPhoto], network: Network, limits: Limits
) -> Iterator[_Decoded | LimelightError]:
    """Yield the first photos, or why they cannot be read, as many as go together."""
    taken = 0
    for each in sent[:_TOGETHER]:
        try:
            photo = read_upload(each.read(), each.name, limits)
            crop = replace(network.preprocess.crop(photo), name=each.name)
            yield _Decoded(crop, network.images(photo))
        except LimelightError as error:
            yield error
            continue
        taken += bytes_to_hold(photo)
        if taken > limits.photo_bytes / _SHARE:
            return


def outcome_as_dict(
    name: str, outcome: Outcome, served: ServedNetwork, asked: ExplainFields, language: Language
) -> dict[str, Any]:
    """Return what became of a photo, as plain values."""
    if isinstance(outcome, LimelightError):
        return {"photo": name, **refused(outcome, language)[1]}
    try:
        shown = _shown(outcome, asked, language)
    except LimelightError as error:
        return {"photo": name, **refused(error, language)[1]}
    (crop,) = outcome.crops or ()
    facts = map_as_dict(outcome, 16, language)
    (row,) = outcome.rows()
    share = (
        None
        if row["probability"] is None
        else torch.tensor([row["probability"]], dtype=torch.float32, device="cpu")
    )
    likely = served.probability(share, outcome.score)
    return {
        "photo": name,
        "width": crop.photo.width,
        "height": crop.photo.height,
        "box": list(crop.box),
        **{name: facts[name] for name in ("label", "index", "score", "status", "method", "layer")},
        "probability": None if likely is None else float(likely[0]),
        "top": _top(outcome, served, language),
        **shown,
    }


def picture_of(explanation: Explanation, asked: ExplainFields) -> bytes:
    """Return the picture of the map of one photo, as PNG.

    Raises:
        LimelightError: As `Explanation.save`.
    """
    with tempfile.TemporaryDirectory(prefix="limelight-") as folder:
        path = Path(folder) / "map.png"
        explanation.save(path, picture=asked.picture, colormap=asked.colormap, whole=asked.whole)
        return path.read_bytes()


def _shown(explanation: Explanation, asked: ExplainFields, language: Language) -> dict[str, Any]:
    """Return the map itself: its numbers, or its picture."""
    if asked.arrays:
        return {"map": map_as_dict(explanation, asked.longest, language)}
    return {"heatmap": b64encode(picture_of(explanation, asked)).decode()}


def _target(asked: ExplainFields) -> TargetRequest:
    """Return the target of a form, in which classes are text: their indices, or names."""
    against = None if asked.against is None else _read_class(asked.against)
    chosen = None if asked.target is None else _read_class(asked.target)
    return TargetRequest(class_=chosen, against=against, counterfactual=asked.counterfactual)


def _read_class(text: str) -> int | str:
    return int(text) if text.strip().isdecimal() else text


def _top(
    explanation: Explanation, served: ServedNetwork, language: Language
) -> list[dict[str, Any]]:
    """Return the first five answers of the network."""
    inputs, measure = ModelInputs.of(explanation.image), served.measure
    found = first_answers(explanation.output, served.network, inputs, measure, 5)
    return [named_answer(each, measure, language) for each in found]
