"""A batch of images: what the network answers, where it looks, and what it sees there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from limelight.application import (
    DEFAULT,
    apply_method,
    apply_where_connected,
    cut_for_methods,
    layer_to_cut,
    method_for,
)
from limelight.audits.rows.columns import MapForm
from limelight.audits.rows.peaks import difference_hash, feature_count, features_under, find_peaks
from limelight.errors import OptionError
from limelight.explanation import Explanation
from limelight.finish import relu, resize
from limelight.inputs import ModelInputs
from limelight.layers.choice import stages
from limelight.layers.resolved import Layer
from limelight.metrics.localisation import pointing_hits, share_inside
from limelight.metrics.objects import Objects
from limelight.models.network import Network
from limelight.options import Options
from limelight.pipeline import named_method
from limelight.runtime.cut import Cut
from limelight.runtime.memory_format import suits_channels_last
from limelight.runtime.record import cached_record, chosen_layer
from limelight.runtime.unwrap import unwrap
from limelight.target_evidence import TargetEvidence
from limelight.targets import as_target
from limelight.targets.class_names import names_for
from limelight.targets.outputs import LogitsKey, class_probabilities

Explained = Literal["predicted", "label"]

#: The finest grid that maps are kept on, in cells along each axis.
FINEST_GRID = 28

#: Pixels with at least this share of the highest heat are hot.
HOT = 0.5


@dataclass(frozen=True)
class LookPlan:
    """How maps are made and what is kept of them: the same for all photos of a run.

    Attributes:
        form: The grid of the maps, and how many features a peak has.
        features_layer: The early layer whose activations describe what is under a peak.
        method: The method; None for the default.
        layer: The layer that was named; None to have it chosen.
        explained: Whether maps are of the predicted class or of the label.
        output: Which part of what the network returns holds the logits.
    """

    form: MapForm
    features_layer: str
    method: str | None = None
    layer: Layer | None = None
    explained: Explained = "predicted"
    output: LogitsKey | None = None

    @classmethod
    def make(
        cls,
        network: Network,
        images: Tensor,
        *,
        method: str | None = None,
        layer: Layer | None = None,
        features_layer: str | None = None,
        explained: Explained = "predicted",
        output: LogitsKey | None = None,
    ) -> LookPlan:
        """Decide on grid and early layer by looking at one photo.

        Args:
            network: The network.
            images: A photo as the network takes it, `[1, C, H, W]`.
            method, layer, output: As in `explain`.
            features_layer: The early layer, if the user named one; None for the last one whose grid
                is finer than that of the maps, or else the one halfway there.
            explained: What the maps are of.

        Raises:
            InputError, LayerError, MethodError, OptionError: As `explain`; or the input is no
                picture.
        """
        if images.ndim != 4:
            raise OptionError(
                f"The network takes input {list(images.shape)}; an audit is of pictures "
                "[B, C, H, W]. For volumes see limelight.measure."
            )
        row = named_method(method)
        options = Options.read(classes=network.classes, output=output)
        inputs = ModelInputs.of(images.to(next(network.model.parameters(), images)))
        wanted = layer_to_cut(row or DEFAULT, layer)
        (cut,) = cut_for_methods(
            network.model, inputs, [row or DEFAULT], [wanted], options, [as_target(None)]
        )
        early = features_layer or _early_layer(network, inputs, cut, options)
        (trunk,) = cut_for_methods(network.model, inputs, [DEFAULT], [early], options)
        evidence = TargetEvidence(cut, as_target(None), options)
        raw = apply_method(evidence, method_for(evidence.scores, row)).raw
        finest = FINEST_GRID if raw.shape[-1] <= FINEST_GRID else FINEST_GRID // 2
        grid = min(raw.shape[-2], finest), min(raw.shape[-1], finest)
        form = MapForm(grid, feature_count(trunk.activations.shape[1]))
        return cls(form, early, method, layer, explained, output)


def _early_layer(network: Network, inputs: ModelInputs, cut: Cut, options: Options) -> str:
    """Return the last stage before the cut with a finer grid; without one, the stage halfway."""
    calls = cached_record(unwrap(network.model), inputs, options.spec)
    known = stages(calls, 12)
    layer = cut.layer
    if layer not in known:  # a layer that the user named, or the input
        layer = str(chosen_layer(unwrap(network.model), inputs, options.spec, []).layer)
    before = known[: known.index(layer)] if layer in known else known[:-1]
    grids = {call.path: call.layout.grid for call in calls if call.layout}
    finer = [path for path in before if grids[path] > grids.get(layer, (0, 0))]
    if finer:
        return finer[-1]
    return before[len(before) // 2] if before else layer


class Looked(NamedTuple):
    """What became of one image.

    Attributes:
        columns: The columns of its row that the network decides.
        predicted: The index of the predicted class; None where there are no classes.
        explained: The index of the class that the map is of; None where it is of something else.
        explanation: The explanation of the batch.
        number: The number of the image in it.
    """

    columns: dict[str, Any]
    predicted: int | None
    explained: int | None
    explanation: Explanation
    number: int

    def beside(self, objects: Objects | None) -> dict[str, float]:
        """Return the columns that say how the map lies to what is marked on the image."""
        return truth_columns(self.explanation, self.number, objects)


@dataclass
class Looker:
    """Looks at batches of images: predictions, maps, and peaks with what is under them.

    Attributes:
        network: The network.
        plan: How maps are made.
        trial: Whether to find out once if channels-last memory format is faster, which pays for
            many photos on a CPU.
    """

    network: Network
    plan: LookPlan
    trial: bool = False
    _options: Options = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Read the options once."""
        self._options = Options.read(classes=self.network.classes, output=self.plan.output)

    def look(self, images: Tensor, labels: Sequence[int] | None = None) -> Iterator[Looked]:
        """Yield what becomes of each image of a batch.

        1. Run the network once, cut at the layer and at the early layer.
        2. Make the maps, and find their peaks.
        3. Describe each peak by the early activations under it.

        Args:
            images: `[B, C, H, W]`.
            labels: The classes to explain; None for the predicted ones.
        """
        plan, model = self.plan, self.network.model
        inputs = ModelInputs.of(images.to(next(model.parameters(), images)))
        if self.trial and suits_channels_last(model, inputs):
            inputs = inputs.on(inputs.image.contiguous(memory_format=torch.channels_last))
        # 1. One pass.
        method = named_method(plan.method)
        target = as_target(None if labels is None else list(labels))
        cut, early = cut_for_methods(
            model,
            inputs,
            [method or DEFAULT],
            [layer_to_cut(method or DEFAULT, plan.layer), plan.features_layer],
            self._options,
            [target],
            watched=[plan.features_layer],
        )
        # 2. The maps.
        evidence = TargetEvidence(cut, target, self._options)
        applied = method_for(evidence.scores, method)
        chosen = plan.layer is None and applied.place == "layer"
        explanation = (
            apply_where_connected(evidence, applied, [])
            if chosen
            else apply_method(evidence, applied)
        )
        heat, highest = cells_of(explanation, plan.form.grid)
        peaks = find_peaks(heat)
        # 3. What is under the peaks.
        features = features_under(heat, early.activations.cpu(), peaks)
        hashes = difference_hash(inputs.image)
        for b, answer in enumerate(self._answers(cut.output, explanation)):
            index = None if explanation.index is None else int(explanation.index[b])
            columns = {
                "look": hashes[b],
                "predicted": answer.name,
                "probability": answer.probability,
                "explained": answer.explained or None,
                "score": float(explanation.score[b].detach()),
                "status": explanation.status[b].name,
                "message": explanation.status[b].message or None,
                "layer": explanation.layer,
                "method": explanation.method,
                **_map_columns(heat[b], float(highest[b]), peaks[b], features[b]),
            }
            yield Looked(columns, answer.number, index, explanation, b)

    def _answers(self, output: Any, explanation: Explanation) -> list[_Answer]:
        """Return the predicted class of each image; nothing of what has no classes.

        Where the answers are not one vector of logits, as those of a detector, it is what explains
        itself: the object that the network is surest of. A single output has a name, but is no
        class: what is not it has none. Logits that are not finite say nothing.
        """
        probabilities = class_probabilities(output, self.plan.output)
        labels, index = explanation.label, explanation.index
        numbers = [None] * len(labels) if index is None else index.tolist()
        if probabilities is None or len(probabilities) != len(labels):
            explained = list(map(_name_of, numbers, labels, [self.network.classes] * len(labels)))
            if self.plan.explained == "label":
                return [_Answer(None, None, None, each) for each in explained]
            shares = [None] * len(labels) if probabilities is None else probabilities[:, 0].tolist()
            return list(map(_Answer, numbers, explained, shares, explained))
        if probabilities.shape[1] == 1:
            shares = probabilities[:, 0].tolist()
            return [_Answer(None, *each) for each in zip(labels, shares, labels, strict=True)]
        values, indices = probabilities.max(1)
        names = names_for(probabilities.shape[1], self.network.classes)
        explained = [_name_of(*each, names) for each in zip(numbers, labels, strict=True)]
        return [
            _Answer(None, None, None, each)
            if math.isnan(value)
            else _Answer(index, _name_of(index, "", names), value, each)
            for index, value, each in zip(indices.tolist(), values.tolist(), explained, strict=True)
        ]


def _name_of(index: int | None, label: str, names: Sequence[str] | None) -> str:
    """Return the name of a class, or its index; of what is no class, what it is called."""
    if index is None or (names is not None and not 0 <= index < len(names)):
        return label
    return str(index) if names is None else names[index]


class _Answer(NamedTuple):
    """The predicted class of an image and its probability, and the name of what is explained."""

    number: int | None
    name: str | None
    probability: float | None
    explained: str


def cells_of(explanation: Explanation, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return the heat of each map in equal cells of the picture, and the highest before scaling.

    The heat is `max(raw, 0)` at the centres of the cells, `[B, h, w]`, divided by its highest
    value; the mean over a cell where the map is finer than the grid. It is 0 where the status is
    not ok. The highest values are `[B]`.
    """
    raw = relu(explanation.raw.detach().float())
    if raw.shape[1] > grid[0] or raw.shape[2] > grid[1]:
        placed = resize(raw, explanation.heatmap.shape[1:], explanation.span)
        heat = adaptive_avg_pool2d(placed[:, None], grid)[:, 0]
    else:
        heat = resize(raw, grid, explanation.span)
    readable = torch.tensor(
        [status.ok for status in explanation.status], dtype=torch.bool, device=heat.device
    )
    highest = torch.where(readable, heat.flatten(1).amax(1), 0)
    scale = torch.where(highest > 0, highest, 1)
    heat = torch.where((highest > 0)[:, None, None], heat / scale[:, None, None], 0)
    return heat.cpu(), highest.cpu()


def _map_columns(heat: Tensor, highest: float, peaks: Tensor, features: Tensor) -> dict[str, Any]:
    """Return the columns of a map; none of them where it has no heat."""
    if highest <= 0:
        return {}
    limit = float(np.finfo(np.float16).max)
    return {
        "map": heat.flatten().numpy(),
        "map_scale": highest,
        "peak_cells": peaks.tolist(),
        "peak_heat": heat.flatten()[peaks].numpy(),
        "peak_features": features.nan_to_num(0, limit, -limit).clamp(-limit, limit).cpu().numpy(),
    }


def truth_columns(
    explanation: Explanation, image: int, objects: Objects | None
) -> dict[str, float]:
    """Return how the map of one image lies to what is marked on it.

    `energy_inside` is Wang et al. 2020, section 4.3, `pointing_hit` Zhang et al. 2018 with 15
    pixels, `mass_accuracy` Arras et al. 2022. `iou`, `object_coverage` and `saliency_coverage` are
    those of Boggust et al. 2022, section 3, with the pixels that have at least half of the highest
    heat as the salient ones.
    """
    if objects is None or not bool(objects.mask.any()) or not explanation.status[image].ok:
        return {}
    heatmap, inside = explanation.heatmap[image : image + 1].detach().cpu(), objects.mask.cpu()
    raw = relu(explanation.raw[image : image + 1].detach().float().cpu())
    relevance = resize(raw, heatmap.shape[1:], explanation.span)
    hot, both = heatmap >= HOT, (heatmap >= HOT) & inside
    return {
        "energy_inside": float(share_inside(heatmap, inside)),
        "pointing_hit": float(pointing_hits(heatmap, inside)),
        "mass_accuracy": float(share_inside(relevance, inside)),
        "object_share": float(inside.double().mean()),
        "iou": float(both.sum() / (hot | inside).sum()),
        "object_coverage": float(both.sum() / inside.sum()),
        "saliency_coverage": float(both.sum() / hot.sum()),
    }
