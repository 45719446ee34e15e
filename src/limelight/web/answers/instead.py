"""Why a map is blank, answered with what to do next: steps that were tried before they are said."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from limelight.errors import LimelightError
from limelight.explanation import Explanation
from limelight.methods import METHODS
from limelight.status import StatusName
from limelight.translations.languages import Language
from limelight.web.answers.looks import named_answer
from limelight.web.requests import MapRequest, TargetRequest
from limelight.web.serving.refusals import Refusal
from limelight.web.subjects.looks import Look
from limelight.web.wording import say, status_sentence

#: Methods that read one pass, by what they weigh, in the order in which they are tried.
_METHODS = ("gradcam", "hirescam", "layercam", "xgradcam", "input-x-gradient")

#: What may help, by the status of the map, in the order in which it is offered.
_STEPS: dict[StatusName, tuple[str, ...]] = {
    "ok": (),
    "no-positive-evidence": ("signed", "class", "layer", "method"),
    "disconnected": ("layer", "method", "class"),
    "cancelled": ("method", "layer"),
    "flat": ("layer", "method", "class"),
    "not-finite": ("layer", "method"),
}

#: How many answers are tried as another class.
_CLASSES = 3


def instead(
    look: Look, request: MapRequest, check: Callable[[], None], language: Language
) -> dict[str, Any]:
    """Return the status of a map, and the next steps for one that shows nothing.

    A step is `{"action": "signed"}`, `{"action": "layer", "layer"}`, `{"action": "method",
    "method"}` or `{"action": "class", "index"}`, each with `words`. Layers, methods and classes are
    tried: each step leads to a map whose status is ok.

    Args:
        look: The photo as the network saw it.
        request: The map that is blank.
        check: Called before each trial; it raises an error when nobody waits any more.
        language: The language of the words.

    Raises:
        LimelightError: As `Look.explain`.
    """
    explanation = look.explain(request)
    (status,) = explanation.status
    steps = list[dict[str, Any]]()
    for kind in _STEPS[status.name]:
        check()
        if kind == "signed":
            if float(explanation.raw.detach().min()) < 0:
                steps.append({"action": "signed", "words": say("page.instead.signed", language)})
            continue
        for changed, step in _trials(kind, look, request, explanation, language):
            check()
            made = _shown(look, changed)
            if made is not None:
                values = {**step, "layer": made.layer} if kind == "layer" else step
                words = say(f"page.instead.{kind}", language, **values)
                steps.append({"action": kind, **values, "words": words})
                break
    return {
        "status": {"name": status.name, "message": status_sentence(status, language)},
        "steps": steps,
    }


def _trials(
    kind: str, look: Look, request: MapRequest, explanation: Explanation, language: Language
) -> Iterator[tuple[MapRequest, dict[str, Any]]]:
    """Yield what may be asked instead, the likeliest first, each with what a step there names."""
    if kind == "class":
        for answer in look.answers(_CLASSES):
            index = answer["index"]
            if explanation.index is None or index != int(explanation.index[0]):
                target = TargetRequest(class_=index)
                name = named_answer(answer, look.served.measure, language)["name"]
                step = {"index": index, "name": name}
                yield request.model_copy(update={"target": target}), step
    elif kind == "method":
        assert explanation.recipe is not None  # every map of a look has one
        blank = explanation.recipe.parts[0].method.name
        for name in _METHODS:
            if name != blank:
                # A method that is cut at the input by itself is not held to the layer.
                layer = request.layer if METHODS[name].place == "layer" else None
                changed = request.model_copy(update={"method": name, "layer": layer})
                yield changed, {"method": name}
    else:
        for path in _layers(look, request, explanation):
            yield request.model_copy(update={"layer": path}), {}


def _layers(look: Look, request: MapRequest, explanation: Explanation) -> list[str | None]:
    """Return the layers to try: from the one before the map's back to the first, then the later.

    None stands for the one that limelight takes for this score; if the score does not depend on
    the layer that was named, that one comes first.
    """
    paths = list[str | None](each.path for each in look.served.layers)
    at = paths.index(explanation.layer) if explanation.layer in paths else len(paths)
    others = paths[:at][::-1] + paths[at + 1 :]
    if request.layer is None:
        return others
    return [None, *others] if explanation.status[0].name == "disconnected" else [*others, None]


def _shown(look: Look, request: MapRequest) -> Explanation | None:
    """Return a map; None if it cannot be made, or shows nothing."""
    try:
        explanation = look.explain(request)
    except Refusal:
        raise
    except LimelightError:
        return None
    return explanation if explanation.status[0].ok else None
