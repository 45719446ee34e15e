"""How one heatmap came to be, step by step: the true tensors of one run."""

from __future__ import annotations

import html
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from limelight import files
from limelight.application import apply_method, cut_for, cut_place
from limelight.errors import InputError, LimelightError, MethodError, unknown
from limelight.evidence import at_least_float32, contributions, total
from limelight.explanation import Explanation
from limelight.finish import relu, resize
from limelight.inputs import Inputs, ModelInputs
from limelight.layers import INPUT, Layout, ModuleCall
from limelight.layers.resolved import Layer
from limelight.methods import METHODS, Method, chosen_methods, find_method
from limelight.options import Options
from limelight.photos.preprocess import Preprocess
from limelight.pipeline import Skipped
from limelight.progress import ProgressCallback
from limelight.runtime.costs import costs
from limelight.runtime.record import record
from limelight.target_evidence import TargetEvidence
from limelight.targets import AnyOf, LogitsKey, Rank, Target, as_target
from limelight.targets.class_names import label_of, names_for
from limelight.targets.outputs import answers, class_logits

if TYPE_CHECKING:
    from PIL.Image import Image


Language = Literal["en", "zh"]


#: Into so few rows the network is unfolded, and into no more than so many.
_FEW, _MANY = 8, 40


def walkthrough(
    model: nn.Module,
    inputs: Inputs,
    *,
    target: Target = None,
    method: str | Method = "gradcam",
    beside: str | Method | Sequence[str | Method] | None = None,
    layer: Layer | None = None,
    classes: Sequence[str] | None = None,
    output: LogitsKey | None = None,
    grid: Sequence[int] | None = None,
    photo: Image | None = None,
    preprocess: Preprocess | None = None,
    name: str | None = None,
    language: Language = "en",
    chunk: int | None = None,
    progress: ProgressCallback | None = None,
) -> Walkthrough:
    """Show how a heatmap came to be: every step from one image to the overlay, with its numbers.

    A map that is a sum over channels, `L = sum_k w_k A_k`, is taken apart: activations A, gradients
    `dy_c/dA`, weights w, what each channel adds, the sum as it grows, ReLU, resize, overlay; and
    beside it the maps that other formulas make of the same A and gradients. In a notebook the
    result shows itself.

        page = limelight.walkthrough(model, images[:1], target="tabby")
        page.save("page.html")

    Args:
        model: A trained network; used as in evaluation mode and left untouched.
        inputs: One image `[1, C, *image]`, or a tuple or dict of what the model takes.
        target: What to explain, as in `explain`.
        method: A name in METHODS whose map is a sum over channels, or such a row.
        beside: Other methods at the same layer, to be shown side by side; None for all that weigh
            channels or cells by gradients; at the input, for those that read gradients there.
        layer: A dotted path or a module; None to have it chosen.
        classes, output, grid: As in `explain`.
        photo: What to draw on: the part of the photo that the network saw, at any size; the
            network's own input when not given.
        preprocess: How the photo was prepared, so that the input can be shown in its own colours.
        name: What the network is called; its class's name when not given.
        language: Of the page: `en` or `zh`.
        chunk: As in `explain`.
        progress: Is told the method at work, how many runs it has done, and of how many.

    Raises:
        MethodError: The method's map is not a sum over channels, or the network cannot do it.
        InputError: There is not exactly one image, or the photo is none.
        UnknownNameError, LayerError, TargetError, ModelError: As `explain`.
    """
    row = walkable(method)
    where = cut_place(row, layer)
    named = chosen_methods(beside) if beside else []
    rows = _siblings(where) if beside is None else list(map(_at_layer, named))
    rows = [one for one in rows if str(one) != str(row)]
    if language not in get_args(Language):
        raise unknown("language", language, get_args(Language), "There are en and zh.")
    given = ModelInputs.of(inputs)
    if given.batch != 1:
        raise InputError(f"There are {given.batch} images; one was expected. Pass images[:1].")
    if photo is not None and not hasattr(photo, "convert"):
        raise InputError(
            f"photo is a {type(photo).__name__}; a picture was expected, as limelight.load_photo "
            "returns it."
        )
    options = Options.read(classes=classes, output=output, grid=grid, chunk=chunk)
    (run,) = cut_for(model, given, [row, *rows], [where], options)
    gathered = TargetEvidence(run, as_target(target), options)

    def taken_apart(one: Method) -> tuple[Explanation, list[tuple[Tensor, Tensor]]]:
        parts = list[tuple[Tensor, Tensor]]()

        def noted(weights: Tensor, values: Tensor) -> Tensor:
            parts.append((weights.detach(), values.detach()))
            return total(weights, values)

        if progress is not None:
            progress(str(one), 0, 0)
        gathered.begin(str(one), progress)
        return apply_method(gathered, one, noted), parts

    explanation, [(weights, values)] = taken_apart(row)
    others, skipped = list[Beside](), list[Skipped]()
    for one in rows:
        try:
            other, parts = taken_apart(one)
        except LimelightError as error:
            skipped.append(Skipped(str(one), run.layer, str(error)))
            continue
        others.append(Beside(one, other, parts[0][0][0] if parts else None))
    try:
        slopes = gathered.evidence(frozenset({"gradients"})).gradients[0]
    except MethodError:  # a quantised network, and a method that needs none
        slopes = None
    activations = at_least_float32(run.activations)[0]
    calls = record(model, inputs, output=output, grid=grid)
    return Walkthrough(
        name=name or type(model).__name__,
        method=row,
        explanation=explanation,
        steps=_steps(calls, costs(model, inputs), run.layer),
        explained=_explained(explanation, target),
        answers=_answers(explanation, classes, output),
        activations=activations,
        gradients=slopes,
        weights=weights[0],
        contributions=contributions(weights, values)[0],
        weighs_activations=torch.equal(values[0], activations),
        beside=tuple(others),
        skipped=tuple(skipped),
        photo=photo,
        preprocess=preprocess,
        language=language,
    )


class Step(NamedTuple):
    """A layer on the way from the input to the output.

    Attributes:
        path: Its dotted path, with #k for the k-th of several calls.
        kind: What the module is called.
        shape: What it puts out.
        layout: How that becomes a grid over the image; None when it does not.
        share: Which share of the network's multiplications is done when it is.
        side: Whether it belongs to the `body`, is the last of that, the `cut`, or to the `head`.
    """

    path: str
    kind: str
    shape: tuple[int, ...]
    layout: Layout | None
    share: float
    side: Literal["body", "cut", "head"]


class Answer(NamedTuple):
    """One of a network's first answers.

    Attributes:
        number: The class, from 0.
        label: Its name.
        logit: Its score before softmax; None of what is no classifier.
        probability: Its probability, or of a segmenter its share of the pixels.
    """

    number: int
    label: str
    logit: float | None
    probability: float


class Beside(NamedTuple):
    """What another method makes of the same evidence.

    Attributes:
        method: Its row in METHODS.
        explanation: Its explanation.
        weights: Its weights, `[K]` or `[K, *grid]`; None when it weighs no channels.
    """

    method: Method
    explanation: Explanation
    weights: Tensor | None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Walkthrough:
    """What `walkthrough` returns: the tensors of each step, and a page that shows them.

    Attributes:
        name: What the network is called.
        method: The row of METHODS that is walked through.
        explanation: Its explanation, of one image.
        steps: The layers from input to output, unfolded as far as can be read.
        explained: The class whose own score is explained; None of a contrast, a callable, ...
        answers: The network's first answers.
        activations: A, `[K, *grid]`.
        gradients: `dy_c/dA`, `[K, *grid]`; None of a network without any.
        weights: One per channel `[K]`, or one per cell `[K, *grid]`.
        contributions: What each channel adds, `[K, *grid]`; the raw map is their sum.
        weighs_activations: Whether what is weighed is A.
        beside: What other methods make of the same evidence.
        skipped: Methods that this network cannot do.
        photo: What to draw on; None for the network's own input.
        preprocess: How the photo was prepared; None when that is not known.
        language: Of the page.
    """

    name: str
    method: Method
    explanation: Explanation
    steps: tuple[Step, ...]
    explained: int | None
    answers: tuple[Answer, ...]
    activations: Tensor
    gradients: Tensor | None
    weights: Tensor
    contributions: Tensor
    weighs_activations: bool
    beside: tuple[Beside, ...]
    skipped: tuple[Skipped, ...]
    photo: Image | None
    preprocess: Preprocess | None
    language: Language

    def __repr__(self) -> str:
        """Return what is walked through."""
        return f"Walkthrough({self.name}; {self.explanation!r})"

    @property
    def strength(self) -> Tensor:
        """How much each channel weighs, whatever the sign: `mean_ij |w_k|`, `[K]`."""
        return self.weights.abs().reshape(len(self.weights), -1).mean(1)

    @property
    def added(self) -> Tensor:
        """How much each channel adds, whatever the sign: the mean size of what it adds, `[K]`."""
        return self.contributions.abs().flatten(1).mean(1)

    @property
    def order(self) -> Tensor:
        """The channels, `[K]`, the one that weighs most first."""
        return self.strength.argsort(descending=True, stable=True)

    @property
    def counts(self) -> tuple[int, ...]:
        """After how many channels the growing sum is shown: 1, 2, 5, 10, ..., K."""
        channels = len(self.weights)
        steps = (c * 10**power for power in range(len(str(channels))) for c in (1, 2, 5))
        return (*(count for count in steps if count < channels), channels)

    @property
    def sums(self) -> Tensor:
        """The sum of what the first channels in `order` add, for each of `counts`, `[S, *grid]`."""
        growing = self.contributions[self.order].cumsum(0)
        return growing[torch.tensor(self.counts, device="cpu") - 1]

    @property
    def kept(self) -> Tensor:
        """The raw map after ReLU, `[*grid]`."""
        return relu(self.explanation.raw.detach())[0]

    @property
    def resized(self) -> Tensor:
        """The same at the image's size, `[*image]`, before it is scaled to [0, 1]."""
        one = self.explanation
        return resize(self.kept[None], one.image.shape[2:], one.span)[0]

    @property
    def code(self) -> str:
        """How to get the same numbers in Python."""
        one = self.explanation
        # A plain class is named by its number; whatever else was asked for has to be passed again.
        target = "target=target" if self.explained is None else f"target={self.explained}"
        if self.method.name != "gradcam":
            return (
                "import limelight\n\n"
                f'result = limelight.explain(model, images, method="{self.method}", '
                f'layer="{one.layer}", {target})\n'
                "result.raw       # the sum, before ReLU\n"
                "result.heatmap   # after ReLU, resize and scale"
            )
        axes = tuple(range(1 - self.activations.ndim, 0))
        return (
            "import limelight\n\n"
            f'cut = limelight.cut(model, images, "{one.layer}")\n'
            f"alpha = cut.gradients({target}).mean({axes}, keepdim=True)\n"
            "raw = (alpha * cut.activations).sum(1)   # before ReLU\n"
            "heatmap = limelight.explain(model, images, "
            f'layer="{one.layer}", {target}).heatmap'
        )

    def html(self, language: Language | None = None) -> str:
        """Return the page: one file that asks for nothing else.

        Args:
            language: `en` or `zh`; None for that of the walkthrough.

        Raises:
            UnknownNameError: There is no such language.
        """
        from limelight.steps import page as render

        language = language or self.language
        if language not in get_args(Language):
            raise unknown("language", language, get_args(Language), "There are en and zh.")
        return render.page(self, language)

    def save(self, path: str | Path, *, language: Language | None = None) -> Path:
        """Write the page, whole or not at all; the suffix should be .html.

        Raises:
            OutputError: The suffix is another, or the file cannot be written there.
            UnknownNameError: There is no such language.
        """
        path = Path(path)
        files.known_suffix(path, ("html", "htm"))
        return files.write_whole(path, self.html(language).encode(errors="backslashreplace"))

    def _repr_html_(self) -> str:
        """Show the page in a notebook, in a frame of its own."""
        return (
            f'<iframe srcdoc="{html.escape(self.html())}" sandbox="allow-scripts" '
            'style="width: 100%; height: 800px; border: 1px solid #8884"></iframe>'
        )


def walkable(named: str | Method) -> Method:
    """Return a method whose map can be taken apart into channels.

    Raises:
        MethodError: It cannot.
        UnknownNameError, OptionError: As `find_method`.
    """
    method = find_method(named)
    if method.by_channel and method.place != "network":
        return method
    able = ", ".join(
        name for name, row in METHODS.items() if row.by_channel and row.place != "network"
    )
    also = "" if method.place == "network" else f"; {method.name!r} can be shown beside it"
    raise MethodError(
        f"The map of {method.name!r} is not a sum over channels of one layer, so there are no "
        f"channels to walk through. Take one of {able}{also}."
    )


def _at_layer(method: Method) -> Method:
    """Refuse a method that reads the whole network, to be shown beside one at a layer."""
    if method.place != "network":
        return method
    raise MethodError(
        f"{method.name!r} reads the whole network, so it cannot be shown beside a map of one "
        "layer. Use `limelight.compare` for it."
    )


def _siblings(where: Layer | None) -> list[Method]:
    """Return the methods that differ from each other by their formula alone, at this place."""
    rows = METHODS.values()
    if where == INPUT:
        return [row for row in rows if row.place == "input" and row.needs == {"gradients"}]
    families = ("weighted", "pointwise")
    return [
        row
        for row in rows
        if row.family in families and row.needs <= {"gradients", "class weights"}
    ]


def _steps(calls: Sequence[ModuleCall], shares: Sequence[float], cut: str) -> tuple[Step, ...]:
    """Return the calls of a recorded pass as rows that can be read: neither few nor too many.

    The layer at which the network is cut is always one of them, also behind what is inside it;
    modules that hold it never are.
    """
    layer, _, number = cut.partition("#")
    ran = [call for call in calls if call.path]
    paths = {call.path for call in ran}
    shown = {path.partition(".")[0] for path in paths}
    while True:
        inside = {one: _children(one, paths) for one in shown}
        must = [one for one in shown if layer.startswith(f"{one}.") or one not in paths]
        may = [one for one in shown if len(shown) < _FEW and len(inside[one]) > 1]
        may = [one for one in may if len(shown) + len(inside[one]) <= _MANY]
        opened = max(must or may, key=lambda one: (len(inside[one]), one), default=None)
        if opened is None:
            break
        shown = shown - {opened} | inside[opened]
    found, past, seen = list[Step](), cut == INPUT, dict[str, int]()
    for call in ran:
        if call.path not in shown | {layer}:  # which may have been unfolded too
            continue
        seen[call.path] = seen.get(call.path, 0) + 1
        here = call.path == layer and (not number or seen[layer] == int(number))
        side: Literal["body", "cut", "head"] = "cut" if here else "head" if past else "body"
        past = past or here
        path = f"{call.path}#{seen[call.path]}" if call.calls > 1 else call.path
        found.append(Step(path, call.kind, call.shape, call.layout, shares[call.number], side))
    return tuple(found)


def _children(path: str, paths: Set[str]) -> set[str]:
    """Return what is directly inside a module, of the modules that ran."""
    steps = path.count(".") + 2
    return {".".join(one.split(".")[:steps]) for one in paths if one.startswith(f"{path}.")}


def _explained(explanation: Explanation, target: Target) -> int | None:
    """Return the class whose own score is explained, if it is one."""
    plain = target is None or isinstance(target, int | str | Rank | AnyOf | list | tuple | Tensor)
    return int(explanation.index[0]) if plain and explanation.index is not None else None


def _answers(
    explanation: Explanation, classes: Sequence[str] | None, output: LogitsKey | None
) -> tuple[Answer, ...]:
    """Return the first answers, and of a classifier also the explained class.

    There are none where the score is not about classes.
    """
    if explanation.index is None:
        return ()
    found = explanation.output
    logits = None if isinstance(found, list) else class_logits(found, output).detach()
    if logits is None or logits.ndim != 2 or len(logits) != 1:  # a detector, a segmenter
        return tuple(Answer(i, label_of(i, classes), None, p) for i, p in answers(found))
    scores = at_least_float32(logits[0])
    if len(scores) == 1:
        return ()
    best = scores.topk(min(5, len(scores))).indices.tolist()
    best += [i for i in explanation.index.tolist() if i not in best]
    names, shares = names_for(len(scores), classes), scores.softmax(0)
    return tuple(Answer(i, label_of(i, names), float(scores[i]), float(shares[i])) for i in best)
