"""`compare`: maps of the same images by many methods, targets and layers, from one pass."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from limelight import map_views, tables
from limelight.drawing import as_pictures
from limelight.explanation import Explanation
from limelight.explanation_pictures import named_score
from limelight.figure_style import USUAL_STYLE, FigureStyle, MapScale
from limelight.layers.resolved import Layer
from limelight.map_scales import is_shown, on_one_scale
from limelight.map_views import MapList
from limelight.methods import Method, chosen_methods
from limelight.methods.views import Views
from limelight.metrics.measurement import Measurement
from limelight.metrics.metric import Metric
from limelight.metrics.objects import MasksOrBoxes, Objects
from limelight.metrics.run import check_metrics, measure_all
from limelight.misnamed import KnownAttributes, checked_arguments
from limelight.models.network import Images, Model, read_subject, with_own_input
from limelight.options import Options
from limelight.pipeline import Skipped, explain_many, sort_results
from limelight.progress import ProgressCallback
from limelight.provenance import Provenance
from limelight.targets import LogitsKey, Target, as_target

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from limelight.photos.crops import CroppedPhoto


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Comparison(KnownAttributes):
    """What `compare` returns: explanations of the same images, by method, layer and target.

    Attributes:
        explanations: One for each method, layer and target, sorted in this order.
        skipped: The methods that cannot work on the network, with reasons.
        measured: How far the maps can be trusted; None unless metrics were asked for.
    """

    explanations: tuple[Explanation, ...]
    skipped: tuple[Skipped, ...] = ()
    measured: Measurement | None = None

    def __len__(self) -> int:
        """Return the number of explanations."""
        return len(self.explanations)

    def __iter__(self) -> Iterator[Explanation]:
        """Go through the explanations."""
        return iter(self.explanations)

    def __repr__(self) -> str:
        """Return the number of explanations, the methods, and the methods that were skipped."""
        count = "1 explanation" if len(self) == 1 else f"{len(self)} explanations"
        methods = ", ".join(dict.fromkeys(explanation.method for explanation in self))
        skipped = ", ".join(dict.fromkeys(skip.method for skip in self.skipped))
        return f"Comparison({count}: {methods}" + (f"; skipped: {skipped})" if skipped else ")")

    def pick(
        self, *, method: str | None = None, label: str | None = None, layer: str | None = None
    ) -> list[Explanation]:
        """Return the explanations with this method, label and layer; None allows any.

        The name of a method without options allows any options.
        """
        return MapList(
            each
            for each in self
            if method in (None, each.method, re.split("[:,]", each.method)[0])
            and layer in (None, each.layer)
            and (label is None or label in each.label)
        )

    def drawn_on(self, crops: Sequence[CroppedPhoto] | None) -> Comparison:
        """Return a copy to be drawn on these photos, one per image; None changes nothing."""
        return replace(self, explanations=tuple(each.drawn_on(crops) for each in self))

    @property
    def heatmaps(self) -> Tensor:
        """All heatmaps, `[E, B, *image]`, in the order of `explanations`."""
        return torch.stack([explanation.heatmap for explanation in self])

    def rows(
        self,
        photos: Sequence[str] | None = None,
        *,
        objects: Tensor | None = None,
        first: int = 0,
    ) -> list[dict[str, Any]]:
        """Return the rows of all explanations, as `Explanation.rows`.

        A method that was skipped has a row with the reason as its `error`.
        """
        rows = [
            row
            for explanation in self
            for row in explanation.rows(photos, objects=objects, first=first)
        ]
        names: Sequence[str | None] = photos or [None] * max(map(len, self), default=1)
        for skip in self.skipped:
            rows += [
                tables.failed_row(
                    name, skip.reason, image=number, method=skip.method, layer=skip.layer
                )
                for number, name in enumerate(names, start=first)
            ]
        return rows

    def to_frame(
        self, photos: Sequence[str] | None = None, *, objects: Tensor | None = None
    ) -> pandas.DataFrame:
        """Return `rows` as a data frame; an OptionError says so when pandas is not installed."""
        return tables.as_frame(self.rows(photos, objects=objects), tables.EXPLANATION_COLUMNS)

    @checked_arguments
    def figure(
        self,
        photos: Sequence[Image] | None = None,
        *,
        whole: bool = False,
        colormap: str | None = None,
        scale: MapScale = "each",
        signed: bool = False,
        style: FigureStyle = USUAL_STYLE,
    ) -> Figure:
        """Draw a contact sheet: for each image and target, the photo and every overlay, with names.

        If the maps were measured, a ranking of the methods by each metric follows, with the
        controls beside them.

        Args:
            photos: What to draw on, as in `Explanation.overlay`.
            whole: Draw on the whole photos, and mark what the network did not see.
            colormap: The name of a matplotlib colour map.
            scale, signed, style: As in `Explanation.figure`. One scale for all needs maps of one
                method at one layer.

        Raises:
            InputError: As `Explanation.overlay`.
            OptionError: Maps of several methods or layers are to have one scale.
        """
        from limelight import render

        layers = {explanation.layer for explanation in self}
        maps, colours = on_one_scale(
            self.explanations, scale=scale, signed=signed, colormap=colormap
        )
        blocks = []
        longest = render.panel_pixels(style)
        pictures = as_pictures(maps, photos, whole=whole, longest=longest)
        for b, drawn in enumerate(pictures):
            by_target: dict[tuple[str, float], list[render.Panel]] = {}
            titles: dict[tuple[str, float], str] = {}
            drawn_maps = zip(self, drawn.heatmaps, drawn.regions, strict=True)
            for explanation, heatmap, region in drawn_maps:
                status = explanation.status[b]
                panel = render.Panel(
                    heatmap=heatmap,
                    title=explanation.method,
                    subtitle=explanation.layer if len(layers) > 1 else "",
                    note="" if is_shown(status, signed=signed) else status.name,
                    region=region,
                )
                target = explanation.label[b], float(explanation.score[b].detach())
                by_target.setdefault(target, []).append(panel)
                titles[target] = named_score(explanation, b)
            blocks += [
                render.Block(drawn.photo, titles[target], panels, drawn.name, drawn.curve)
                for target, panels in by_target.items()
            ]
        if self.measured is None:
            return render.sheet(blocks, colours=colours, style=style)
        return render.sheet(
            blocks,
            colours=colours,
            style=style,
            rankings=self.measured.rankings(),
            sentence=self.measured.verdict().sentence,
        )

    @checked_arguments
    def save(
        self,
        path: str | Path,
        *,
        photos: Sequence[Image] | None = None,
        whole: bool = False,
        colormap: str | None = None,
        scale: MapScale = "each",
        signed: bool = False,
        style: FigureStyle = USUAL_STYLE,
    ) -> Path:
        """Write the contact sheet, or with the suffix .npz the arrays, whole or not at all.

        The arrays are `heatmap_0`, `raw_0`, `score_0` and so on, in the order of `explanations`,
        and `names`, a JSON list with the method, layer, labels and status of each.

        Args:
            path: The file; its suffix is the format.
            photos, whole, colormap, scale, signed, style: As in `figure`. They change nothing in
                an .npz file.

        Raises:
            OutputError: The format is unknown, or the file cannot be written there.
        """
        from limelight import render

        def draw() -> Figure:
            return self.figure(
                photos, whole=whole, colormap=colormap, scale=scale, signed=signed, style=style
            )

        return render.save_figure_or_arrays(path, draw, self._arrays)

    def _arrays(self) -> tuple[dict[str, Tensor], object]:
        """Return what an .npz file holds: the arrays, and their names."""
        arrays, names = dict[str, Tensor](), []
        for number, explanation in enumerate(self):
            arrays[f"raw_{number}"] = explanation.raw.detach().float()
            arrays[f"heatmap_{number}"] = explanation.heatmap.detach().float()
            arrays[f"score_{number}"] = explanation.score.detach().float()
            names.append(
                {
                    "method": explanation.method,
                    "layer": explanation.layer,
                    "label": list(explanation.label),
                    "status": [str(status) for status in explanation.status],
                }
            )
        return arrays, names

    def _repr_html_(self) -> str:
        """Show the maps of a target in a notebook, with target and opacity to choose."""
        notes = [f"Skipped {skip.method}: {skip.reason}" for skip in self.skipped]
        if self.measured is not None:
            notes.insert(0, self.measured.verdict().sentence)
        return map_views.methods_html(self.explanations, notes)

    def _repr_png_(self) -> bytes:
        """Show the contact sheet where a notebook shows no HTML."""
        from limelight import render

        return render.figures_png([self.figure()])


@checked_arguments
def compare(
    model: Model,
    inputs: Images,
    *,
    methods: str | Method | Sequence[str | Method] | None = None,
    targets: Target | Sequence[Target] = (None,),
    layers: Layer | Sequence[Layer | None] | None = (None,),
    classes: Sequence[str] | None = None,
    output: LogitsKey | None = None,
    grid: Sequence[int] | None = None,
    views: Views | None = None,
    eigen: bool = False,
    chunk: int | None = None,
    compile: bool = False,
    metrics: str | Sequence[str | Metric] | None = None,
    objects: MasksOrBoxes | Objects | None = None,
    progress: ProgressCallback | None = None,
) -> Comparison:
    """Explain the same images by many methods, for many targets, at many layers, from one pass.

        grid = limelight.compare(model, images, methods=["gradcam", "layercam"],
                                 targets=[281, 254], layers=["layer3", "layer4"])
        grid.save("sheet.png")

    Methods that explain at the input, or read the whole network, are applied once, not at each
    layer. Methods that cannot work on the network are skipped, with the reason. `"all"` takes
    minutes, because some methods run the network thousands of times.

    Args:
        model, inputs: As in `explain`.
        methods: Names in METHODS, if need be with options, or rows of METHODS; "all"; or None for
            those in `limelight.methods.QUICK_METHODS`, of each kind one that does not take minutes.
        targets: A list of targets, each as in `explain`; or a single one.
        layers: A list of layers to cut at, or a single one; None stands for the chosen layer.
        classes, output, grid: As in `explain`.
        views, eigen, chunk, compile: As in `explain`.
        metrics: Names in METRICS, if need be with options, or rows of METRICS, by which to measure
            the maps; "all"; or None to measure nothing.
        objects: Where the objects are, as in `measure`.
        progress: Called as progress(method, done, total).

    Raises:
        MethodError: None of the methods can work on the network.
        MetricError: No metric is named, or one needs objects, which are not given.
        UnknownNameError, LayerError, TargetError, ModelError, InputError: As `explain`.
    """
    subject = read_subject(model, inputs, classes)
    if metrics is not None:
        check_metrics(subject.inputs.image, metrics, objects)
    options = Options.read(
        classes=subject.classes,
        output=output,
        grid=grid,
        views=views,
        eigen=eigen,
        chunk=chunk,
        compile=compile,
        progress=progress,
    )
    results = explain_many(
        subject.model,
        subject.inputs,
        methods=chosen_methods(methods),
        targets=list(map(as_target, _as_list(targets))),
        layers=_as_list(layers),
        options=options,
    )
    explanations, skipped = sort_results(results)
    measured = (
        None
        if metrics is None
        else measure_all(
            subject.model,
            subject.inputs,
            explanations,
            options,
            metrics=metrics,
            objects=objects,
        )
    )
    provenance = Provenance.of(with_own_input(model))
    explanations = tuple(replace(each, provenance=provenance) for each in explanations)
    return Comparison(explanations, skipped, measured).drawn_on(subject.crops)


def _as_list(one_or_more: Any) -> list[Any]:
    return list(one_or_more) if isinstance(one_or_more, list | tuple) else [one_or_more]
