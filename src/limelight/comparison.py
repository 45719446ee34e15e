"""Any methods, targets and layers of the same images, from one pass through the body."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from limelight import files
from limelight.explanation import FORMATS, Explanation, as_pictures
from limelight.layers.sites import Layer
from limelight.methods import Method, chosen_methods
from limelight.methods.views import Views
from limelight.metrics.measurement import Measurement
from limelight.metrics.metric import Metric
from limelight.metrics.objects import MasksOrBoxes, Objects
from limelight.metrics.run import check_metrics, measure_all
from limelight.models.network import Images, Model, read_subject
from limelight.options import Options
from limelight.pipeline import Skipped, explain_many, sort_results
from limelight.plain import as_json
from limelight.progress import ProgressCallback
from limelight.targets import LogitsKey, Target, as_target

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Comparison:
    """What `compare` returns: explanations of the same images, by method, layer and target.

    Attributes:
        explanations: In the order of methods, then layers, then targets.
        skipped: What the network cannot do, with the reason.
        measured: How far the maps can be trusted, if that was asked.
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
        """Return what was compared."""
        count = "1 explanation" if len(self) == 1 else f"{len(self)} explanations"
        methods = ", ".join(dict.fromkeys(one.method for one in self))
        skipped = ", ".join(dict.fromkeys(one.method for one in self.skipped))
        return f"Comparison({count}: {methods}" + (f"; skipped: {skipped})" if skipped else ")")

    def pick(
        self, *, method: str | None = None, label: str | None = None, layer: str | None = None
    ) -> list[Explanation]:
        """Return the explanations of this method, label and layer; None stands for any.

        A method's name alone means it with any options.
        """
        return [
            one
            for one in self
            if method in (None, one.method, re.split("[:,]", one.method)[0])
            and layer in (None, one.layer)
            and (label is None or label in one.label)
        ]

    @property
    def heatmaps(self) -> Tensor:
        """All heatmaps, `[E, B, *image]`, in the order of `explanations`."""
        return torch.stack([one.heatmap for one in self])

    def figure(self, photos: Sequence[Image] | None = None, *, colormap: str = "inferno") -> Figure:
        """Draw a contact sheet: for each image and target the photo, then every overlay, labelled.

        What was measured follows below: the methods ranked by each metric, chance beside them.

        Args:
            photos: One per image; those that were explained, or the network's own
                input, when not given.
            colormap: The name of a matplotlib colour map.
        """
        from limelight import render

        layers = {one.layer for one in self}
        blocks = []
        for b, flat in enumerate(as_pictures(self.explanations, photos, as_panels=True)):
            by_target: dict[tuple[str, float], list[render.Panel]] = {}
            for one, heatmap in zip(self, flat.heatmaps, strict=True):
                panel = render.Panel(
                    heatmap=heatmap,
                    title=one.method,
                    subtitle=one.layer if len(layers) > 1 else "",
                    note="" if one.status[b].ok else one.status[b].name,
                )
                by_target.setdefault((one.label[b], float(one.score[b])), []).append(panel)
            blocks += [
                render.Block(
                    flat.photo, f"{label}, score {score:.3g}", panels, flat.name, flat.curve
                )
                for (label, score), panels in by_target.items()
            ]
        if self.measured is None:
            return render.sheet(blocks, colormap=colormap)
        sentence = self.measured.verdict().sentence
        return render.sheet(
            blocks, colormap=colormap, rankings=self.measured.rankings(), sentence=sentence
        )

    def save(
        self,
        path: str | Path,
        *,
        photos: Sequence[Image] | None = None,
        colormap: str = "inferno",
    ) -> Path:
        """Write the contact sheet, or with the suffix .npz the arrays, whole or not at all.

        The arrays are `heatmap_0`, `raw_0`, `score_0` and so on, in the order of `explanations`,
        and `names`, a JSON list that says of each what it is.

        Raises:
            OutputError: The format is unknown, or the file cannot be written there.
        """
        from limelight import render

        path = Path(path)
        form = files.known_suffix(path, FORMATS)
        if form == "npz":
            return files.write_whole(path, self._arrays())
        return files.write_whole(
            path, render.encode_figure(self.figure(photos, colormap=colormap), form)
        )

    def _arrays(self) -> bytes:
        import numpy as np

        arrays, names = dict[str, Any](), []
        for number, one in enumerate(self):
            arrays |= {
                f"{name}_{number}": tensor.detach().float().cpu().numpy()
                for name, tensor in (
                    ("raw", one.raw),
                    ("heatmap", one.heatmap),
                    ("score", one.score),
                )
            }
            names.append(
                {
                    "method": one.method,
                    "layer": one.layer,
                    "label": list(one.label),
                    "status": [str(status) for status in one.status],
                }
            )
        buffer = BytesIO()
        np.savez_compressed(buffer, names=np.array(as_json(names)), **arrays)
        return buffer.getvalue()


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
    """Explain the same images in many ways, from one pass through the body.

        grid = limelight.compare(model, images, methods=["gradcam", "layercam"],
                                 targets=[281, 254], layers=["layer3", "layer4"])
        grid.save("sheet.png")

    Methods of the input, and of the whole network, are done once, whatever the layers. What the
    network cannot do is skipped, with the reason. `"all"` takes minutes: some methods run the
    network thousands of times.

    Args:
        model, inputs: As in `explain`.
        methods: Names in METHODS, with options if any, or rows of it; "all"; or None for the nine
            of `limelight.methods.QUICK`, one of each kind that takes no minutes.
        targets: A list of what to explain, each as in `explain`; or one of them.
        layers: A list of where to cut, or one layer; None has the layer chosen.
        classes, output, grid: As in `explain`.
        views, eigen, chunk, compile: As in `explain`.
        metrics: Names in METRICS, with options if any, or rows of it, to measure the maps by; or
            "all". None measures nothing.
        objects: Where the objects are, as in `measure`.
        progress: Called as progress(method, done, total).

    Raises:
        MethodError: The network can do none of the methods.
        MetricError: A metric cannot be had.
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
        targets=list(map(as_target, _several(targets))),
        layers=_several(layers),
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
    drawn = tuple(explanation.drawn_on(subject.photos) for explanation in explanations)
    return Comparison(drawn, skipped, measured)


def _several(one_or_more: Any) -> list[Any]:
    return list(one_or_more) if isinstance(one_or_more, list | tuple) else [one_or_more]
