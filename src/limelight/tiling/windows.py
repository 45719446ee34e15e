"""Explanations of large pictures: each window explained by itself, and the maps put together."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from limelight.errors import LimelightError
from limelight.explanation import Explanation
from limelight.finish import at_places
from limelight.inputs import ModelInputs
from limelight.methods.tiles import WindowBox
from limelight.options import Options
from limelight.provenance import Provenance
from limelight.recipe import Recipe
from limelight.status import Status, map_status, to_heatmap
from limelight.targets import OutputSpec, ScoreTarget, TargetContext
from limelight.targets.output_table import find_table
from limelight.targets.region_table import RegionTable
from limelight.tiling.canvas import Canvas
from limelight.tiling.inputs import WindowInputs
from limelight.window_scores import WindowScores

#: Explains windows: by layer, then by target.
ExplainBatch = Callable[[ModelInputs, Sequence[ScoreTarget]], list[list[Explanation]]]


def explain_windows(
    windows: WindowInputs,
    targets: Sequence[ScoreTarget],
    explain: ExplainBatch,
    options: Options,
) -> list[list[Explanation]]:
    """Explain a large picture window by window: for each layer, an explanation of each target.

    1. Explain a few windows at a time.
    2. Lay the maps of each on the canvas of its layer and target.
    3. Make one explanation of each canvas.

    Args:
        windows: The picture, cut into windows.
        targets: What to explain, the same in every window (`same_in_all_windows`).
        explain: Explains windows: by layer, by target.
        options: The options of the call; `progress` is told how many windows are done.
    """
    canvases = list[list[_Stitched]]()
    done = 0
    for boxes, inputs in windows.batches():
        # 1. The windows' own explanations.
        by_layer = explain(inputs, targets)
        if not canvases:
            canvases = [
                [_Stitched(windows, options.spec) for _ in by_target] for by_target in by_layer
            ]
        # 2. Their maps on the canvases.
        for of_layer, explanations in zip(canvases, by_layer, strict=True):
            for stitched, explanation in zip(of_layer, explanations, strict=True):
                stitched.add(boxes, explanation)
        done += len(boxes)
        if options.progress:
            options.progress("windows", done, len(windows.boxes))
    # 3. The whole picture.
    return [[stitched.explanation() for stitched in of_layer] for of_layer in canvases]


@dataclass
class _Best:
    """The window of an image with the highest score so far."""

    box: WindowBox
    explanation: Explanation


@dataclass
class _Stitched:
    """The results for one target at one layer, from the windows that are done.

    Attributes:
        windows: The picture, cut into windows.
        spec: How to read the network's output.
        canvas: The maps so far; None before the first.
        scores: The score of each window, `[B]` each.
        status: The status of each window.
        best: For each image, the window with the highest score.
        layers: The layers that windows were explained at, each once.
        region: The pixels that the scores are about; None if none says.
        recipe: How the first windows were explained.
    """

    windows: WindowInputs
    spec: OutputSpec
    canvas: Canvas | None = None
    scores: list[Tensor] = field(default_factory=list)
    status: list[tuple[Status, ...]] = field(default_factory=list)
    best: list[_Best] = field(default_factory=list)
    layers: dict[str, None] = field(default_factory=dict)
    region: Tensor | None = None
    recipe: Recipe | None = None

    def add(self, boxes: Sequence[WindowBox], explanation: Explanation) -> None:
        """Add the explanation of windows, B rows for each."""
        batch = self.windows.batch
        self.layers[explanation.layer] = None
        if self.canvas is None:
            self.recipe = explanation.recipe
            shape, size, overlap = self.windows.shape, self.windows.size, self.windows.tiles.overlap
            first = explanation.raw[:batch]
            self.canvas = Canvas(shape, size, first, explanation.span, overlap=overlap)
        raw = _without_rounding(explanation)
        for number, box in enumerate(boxes):
            rows = slice(number * batch, (number + 1) * batch)
            self.canvas.add(box, raw[rows], explanation.span)
            self.scores.append(explanation.score[rows])
            self.status.append(explanation.status[rows])
            for b, score in enumerate(explanation.score[rows].tolist()):
                if len(self.best) <= b:
                    self.best.append(_Best(box, explanation[rows.start + b]))
                elif score > float(self.best[b].explanation.score):
                    self.best[b] = _Best(box, explanation[rows.start + b])
            if explanation.region is not None and self._is_dense:
                self._mark(box, explanation.region[rows], range(batch))

    @cached_property
    def _is_dense(self) -> bool:
        """Whether the network scores every pixel; else a region is a box or a mask of a window."""
        first = self.best[0].explanation
        context = TargetContext(1, tuple(first.image.shape[2:]), self.spec)
        try:
            return isinstance(find_table(first.output, context), RegionTable)
        except LimelightError:
            return False

    def _mark(self, box: WindowBox, region: Tensor, images: Sequence[int]) -> None:
        """Add a window's region, `[b, *window]`, to that of the whole picture."""
        size = self.windows.image.shape[2:]
        if self.region is None:
            self.region = torch.zeros(self.windows.batch, *size, dtype=torch.bool, device="cpu")
        inside, places = list[slice](), list[Tensor]()
        for along, n, length in zip(box, size, self.windows.shape, strict=True):
            first = min(int(along.start * n / length), n - 1)
            last = max(first + 1, -int(-along.stop * n // length))
            centres = (torch.arange(first, last, dtype=torch.float64, device="cpu") + 0.5) / n
            place = (centres * length - along.start) / (along.stop - along.start)
            inside.append(slice(first, last))
            places.append(place)
        marked = at_places(region.detach().float().cpu(), places) > 0
        for b, of_image in zip(images, marked, strict=True):
            self.region[b][tuple(inside)] |= of_image

    def explanation(self) -> Explanation:
        """Return the explanation of the whole picture."""
        assert self.canvas is not None
        raw, image, first = self.canvas.raw(), self.windows.image, self.best[0].explanation
        best = [best.explanation for best in self.best]
        score = torch.cat([each.score for each in best])
        layer = " + ".join(self.layers)
        count = len(self.windows.boxes)
        method = f"{first.method}, {count} tile{'' if count == 1 else 's'}"
        status = self._status(raw, score, method, layer)
        if first.region is not None and not self._is_dense:
            for b, of_image in enumerate(self.best):
                region = of_image.explanation.region
                assert region is not None
                self._mark(of_image.box, region, [b])
        indices = [each.index for each in best if each.index is not None]
        return Explanation(
            raw=raw,
            heatmap=to_heatmap(raw, image.shape[2:], status, self.canvas.span),
            score=score,
            index=torch.cat(indices) if len(indices) == len(best) else None,
            label=tuple(map(_label_on_picture, self.best)),
            status=status,
            method=method,
            layer=layer,
            reason=first.reason,
            image=image,
            output=_joined([each.output for each in best]),
            region=self.region,
            span=self.canvas.span,
            crops=self.windows.crops,
            picture=first.picture,
            windows=WindowScores.of(self.windows.boxes, self.scores, self.status),
            provenance=replace(
                Provenance.of(self.windows.model), tiles=self.windows.tiles, of_windows=self.recipe
            ),
        )

    def _status(self, raw: Tensor, score: Tensor, method: str, layer: str) -> tuple[Status, ...]:
        """Return the status of each image: of the whole map, or of the windows' that is commonest.

        It is not finite where that of any window is not.
        """
        of_whole = map_status(raw, score, [], method=method, layer=layer, why=lambda: "")
        status = []
        for of_windows, whole in zip(zip(*self.status, strict=True), of_whole, strict=True):
            bad = [each for each in of_windows if each.name == "not-finite"]
            empty = [each for each in of_windows if not each.ok]
            if bad:
                status.append(bad[0])
            elif whole.ok or not empty:
                status.append(whole)
            else:
                status.append(max(empty, key=[each.name for each in empty].count))
        return tuple(status)


def _label_on_picture(best: _Best) -> str:
    """Return a window's label, with the corners of a box in pixels of the whole picture."""
    label, size = best.explanation.label[0], best.explanation.image.shape[2:]

    def moved(corners: re.Match[str]) -> str:
        values = []
        for number, value in enumerate(map(float, corners[1].split(","))):
            axis = -1 - number % 2  # x, y, x, y
            along = best.box[axis]
            values.append(along.start + value * (along.stop - along.start) / size[axis])
        return f" in box [{', '.join(f'{value:.0f}' for value in values)}]"

    return re.sub(r" in box \[([-\d., ]+)\]", moved, label)


def _without_rounding(explanation: Explanation) -> Tensor:
    """Return raw maps with 0 in those that are nothing but rounding, or of no connected score.

    All others stay as they are, signed and unscaled, so that windows can be compared.
    """
    nothing = [status.name in ("disconnected", "cancelled") for status in explanation.status]
    if not any(nothing):
        return explanation.raw
    empty = torch.tensor(nothing, device=explanation.raw.device)
    shape = (-1, *(1,) * (explanation.raw.ndim - 1))
    return torch.where(empty.reshape(shape), 0, explanation.raw)


def _joined(outputs: Sequence[object]) -> object:
    """Return the outputs of single images as that of a batch; that of a single one as it is."""
    if len(outputs) == 1:
        return outputs[0]

    def join(*values: object) -> object:
        parts = [value for value in values if isinstance(value, Tensor)]
        return torch.cat(parts) if len(parts) == len(values) and parts[0].ndim else values[0]

    return pytree.tree_map(join, outputs[0], *outputs[1:])
