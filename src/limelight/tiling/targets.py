"""A target that means the same in every window of a large picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

from limelight.errors import TargetError
from limelight.layers.resolved import INPUT
from limelight.options import Options
from limelight.runtime.cut import Cut, cut_layers
from limelight.targets import Rank, ScoreTarget
from limelight.targets.classes import ClassTarget, GivenClasses, as_class_target
from limelight.tiling.inputs import WindowInputs

#: The fields of targets that name a place in the picture.
_PLACES = ("where", "box", "at")


def same_in_all_windows(
    targets: Sequence[ScoreTarget], windows: WindowInputs, options: Options
) -> list[ScoreTarget]:
    """Return targets that mean the same in every window.

    A class that is found from the output (the predicted one, one by rank, the highest of several)
    becomes the one of which any window is surest: `max_w p_c(w)`, or the logit where there is no
    probability. To find it, the network is run over all windows, forwards only.

    Raises:
        TargetError: A target names a place in the picture, or there are fewer classes than a rank.
    """
    for target in targets:
        _refuse_places(target)
    if windows.batch == 1:
        axes = len(windows.shape)
        targets = [target.of_image(0, axes) for target in targets]
    open_choices = [choice for target in targets if (choice := _open_choice(target)) is not None]
    if not open_choices:
        return list(targets)
    highest = [_Highest(choice) for choice in open_choices]
    done = 0
    for boxes, inputs in windows.batches():
        (cut,) = cut_layers(windows.model, inputs, [INPUT], options, input_requires_grad=False)
        for each in highest:
            each.add(cut, windows.batch)
        done += len(boxes)
        if options.progress:
            options.progress("finding the class", done, len(windows.boxes))
    found = iter(highest)
    return [
        target if _open_choice(target) is None else _with_class(target, next(found).classes())
        for target in targets
    ]


class _Highest:
    """The classes that a choice picks in windows, each with its highest probability."""

    def __init__(self, choice: ClassTarget) -> None:
        """Begin with no window."""
        self._rank = choice.k if isinstance(choice, Rank) else 1
        # A class among the first k of all windows is among the first k of its own surest window.
        self._choices: list[ClassTarget] = (
            [Rank(k) for k in range(1, choice.k + 1)] if isinstance(choice, Rank) else [choice]
        )
        self._by_image = list[dict[int, float]]()

    def add(self, cut: Cut, batch: int) -> None:
        """Add windows, B rows for each."""
        self._by_image = self._by_image or [{} for _ in range(batch)]
        for choice in self._choices:
            try:
                scores = cut.score(choice)
            except TargetError:
                if choice is self._choices[0]:
                    raise
                break  # a window may hold fewer classes than the rank
            if scores.indices is None:
                raise TargetError(
                    f"{type(choice).__name__} names no class, and in windows it has to be the same "
                    "class everywhere. Name one."
                )
            probability = cut.probability(scores)
            values = scores.values.detach() if probability is None else probability
            for row, (index, value) in enumerate(
                zip(scores.indices.tolist(), values.tolist(), strict=True)
            ):
                highest = self._by_image[row % batch]
                highest[index] = max(value, highest.get(index, value))

    def classes(self) -> list[int]:
        """Return the class of each image.

        Raises:
            TargetError: There are fewer classes than the rank.
        """
        chosen = []
        for highest in self._by_image:
            ranked = sorted(highest, key=lambda index: -highest[index])
            if len(ranked) < self._rank:
                raise TargetError(
                    f"The class of rank {self._rank} was asked for; the windows hold "
                    f"{len(ranked)} classes."
                )
            chosen.append(ranked[self._rank - 1])
        return chosen


def _open_choice(target: ScoreTarget) -> ClassTarget | None:
    """Return the choice in a target that each window would make for itself; None if there is none.

    It is the target, or what a difference or a region is about.
    """
    if isinstance(target, GivenClasses):
        return None
    if _has_class(target):
        return _open_choice(as_class_target(target.target, target))  # type: ignore[attr-defined]
    return target if isinstance(target, ClassTarget) else None


def _with_class(target: ScoreTarget, classes: list[int]) -> ScoreTarget:
    """Return a target with the class of each image in place of its open choice."""
    if _has_class(target):
        inner = as_class_target(target.target, target)  # type: ignore[attr-defined]
        return replace(target, target=_with_class(inner, classes))  # type: ignore[type-var]
    return GivenClasses(classes[0] if len(classes) == 1 else classes)


def _has_class(target: ScoreTarget) -> bool:
    """Return whether a target is about a class that it holds."""
    return is_dataclass(target) and any(field.name == "target" for field in fields(target))


def _refuse_places(target: ScoreTarget) -> None:
    """Refuse a target that names a place, which lies in a few windows only.

    Raises:
        TargetError: It names one.
    """
    for name in _PLACES:
        place: Any = getattr(target, name, None)
        if place is not None and _has_class(target):
            kind = type(target).__name__
            raise TargetError(
                f"{kind} names a place ({name}), and tiles explain the same score in every window. "
                f"Leave the place out, or explain the part of the picture around it alone, "
                "without tiles."
            )
