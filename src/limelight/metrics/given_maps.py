"""The maps that are measured: read off explanations, or heatmaps of the user's own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from torch import Tensor, nn

from limelight.application import repeat_recipe
from limelight.errors import InputError
from limelight.explanation import Explanation
from limelight.inputs import ModelInputs
from limelight.metrics.case import Maps, PerturbedModel, Remake
from limelight.options import Options
from limelight.recipe import Recipe
from limelight.status import Status, map_status, to_heatmap
from limelight.targets import FixedScore, ScoreTarget

#: Stands for the method of heatmaps of the user's own.
_OWN_HEATMAPS = "heatmaps"


@dataclass(frozen=True, eq=False)
class GivenMaps:
    """Maps of one method, and what they explain.

    Attributes:
        method: The method; "heatmaps" for the user's own.
        layer: The layer at which the network was cut; "" for the user's own.
        maps: The maps.
        status: The status of each.
        target: What they explain.
        options: How the network's output is read.
        label: The label of what each map explains; None where it is not known.
        remake: Makes the maps again; None where it is not known how they were made.
    """

    method: str
    layer: str
    maps: Maps
    status: tuple[Status, ...]
    target: ScoreTarget
    options: Options
    label: tuple[str, ...] | None = None
    remake: Remake | None = None

    @property
    def counts(self) -> dict[tuple[str, str], dict[str, int]]:
        """How often each status occurs."""
        names = Counter[str](status.name for status in self.status)
        return {(self.method, self.layer): dict(names)}

    def perturbed_model(
        self,
        models: dict[object, PerturbedModel],
        model: nn.Module,
        inputs: ModelInputs,
    ) -> PerturbedModel:
        """Return the network that gives the score of these maps; maps of the same score share it.

        Raises:
            InputError: The target gives another score than the maps explain.
        """
        spec = self.options.spec
        output = spec.key if isinstance(spec.key, str | int | None) else id(spec.key)
        key = id(self.target), self.label, output, spec.grid
        if key not in models:
            models[key] = PerturbedModel(model, inputs, self.target, self.options)
        labels = models[key].scores.labels
        if self.label is not None and self.label != labels:
            raise InputError(
                f"The explanation is of {list(self.label)}, and this model and these inputs give "
                f"{list(labels)}. Pass the model and the inputs that were explained; of an "
                "explanation fused twice, pass the target too."
            )
        return models[key]


def read_maps(
    maps: Explanation | Tensor, inputs: ModelInputs, target: ScoreTarget, options: Options
) -> GivenMaps:
    """Read an explanation, or heatmaps of the user's own.

    Raises:
        InputError: They are not of these images, or not finite.
    """
    if isinstance(maps, Explanation):
        return _read_explanation(maps, inputs.image, target, options)
    if not isinstance(maps, Tensor):
        raise InputError(
            f"The maps to measure hold {type(maps).__name__} {maps!r:.80}; explanations or "
            "heatmaps [B, *image] were expected. Pass what explain(model, images), or "
            "compare(model, images, methods=[...]), returned."
        )
    image = inputs.image
    if tuple(maps.shape) != (len(image), *image.shape[2:]):
        raise InputError(
            f"The heatmaps have shape {list(maps.shape)}; [B, *image] = "
            f"{[len(image), *image.shape[2:]]} was expected, one for each image and at its size."
        )
    heatmaps = maps.detach().to(image.device)
    heatmaps = heatmaps if heatmaps.is_floating_point() else heatmaps.float()
    if not bool(heatmaps.isfinite().all()):
        raise InputError("The heatmaps hold NaN or infinity; finite numbers were expected.")
    score = heatmaps.new_zeros(len(image))
    status = map_status(heatmaps, score, [], method=_OWN_HEATMAPS, layer="", why=lambda: "")
    finished = Maps(heatmaps, to_heatmap(heatmaps, image.shape[2:], status))
    return GivenMaps(_OWN_HEATMAPS, "", finished, status, target, options)


def _read_explanation(
    explanation: Explanation, image: Tensor, target: ScoreTarget, options: Options
) -> GivenMaps:
    if explanation.image.shape != image.shape:
        raise InputError(
            f"The explanation is of images {list(explanation.image.shape)}, and the images are "
            f"{list(image.shape)}. Pass what was explained."
        )
    recipe, remake = explanation.recipe, None
    if recipe is not None:
        target, spec = recipe.parts[0].target, recipe.parts[0].options.spec
        options, remake = replace(options, spec=spec), _remake_by(recipe)
    return GivenMaps(
        explanation.method,
        explanation.layer,
        Maps(explanation.raw.detach(), explanation.heatmap.detach(), explanation.span),
        explanation.status,
        target,
        options,
        explanation.label,
        remake,
    )


def _remake_by(recipe: Recipe) -> Remake:
    def remake(
        perturbed: PerturbedModel,
        inputs: ModelInputs,
        model: nn.Module | None = None,
        score: FixedScore | None = None,
    ) -> Maps:
        explanation = repeat_recipe(
            recipe, model or perturbed.model, inputs, score or perturbed.fixed_score()
        )
        return Maps(explanation.raw, explanation.heatmap, explanation.span)

    return remake


def number_heatmaps(several: list[GivenMaps]) -> list[GivenMaps]:
    """Return the maps; where several are the user's own heatmaps, their names have numbers."""
    heatmaps = [given for given in several if given.method == _OWN_HEATMAPS]
    if len(heatmaps) < 2:
        return several
    return [
        replace(given, method=f"{_OWN_HEATMAPS} {heatmaps.index(given) + 1}")
        if given in heatmaps
        else given
        for given in several
    ]
