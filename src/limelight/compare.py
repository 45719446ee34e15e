"""Any methods, targets and layers of the same images, from one pass through the body."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from limelight import files
from limelight.cut import INPUT, Cut, Layer
from limelight.cut.record import choose
from limelight.cut.shadow import unwrap
from limelight.errors import (
    LayerError,
    LimelightError,
    MethodError,
    TargetError,
)
from limelight.explain import Settings, cuts_for, explained, gather
from limelight.explanation import FORMATS, Explanation, laid_flat
from limelight.inputs import Given, Inputs, input_problem
from limelight.methods import METHODS, Method, find_method
from limelight.methods.combinators import Views
from limelight.plain import as_json
from limelight.targets import Pick, Target, reading_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from limelight.measure import Metric
    from limelight.measure.measurement import Measurement
    from limelight.measure.objects import Objects, Where

#: Is told the method at work, how many runs it has done, and of how many (0 of 0 when it begins).
Told = Callable[[str, int, int], None]


class Skipped(NamedTuple):
    """A method that this network cannot do.

    Attributes:
        method: Its name.
        layer: The layer it was asked for; None when it was to be chosen.
        reason: Why not, and what to do.
    """

    method: str
    layer: str | None
    reason: str


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
            photos: One per image; the network's own input when not given.
            colormap: The name of a matplotlib colour map.
        """
        from limelight import render

        layers = {one.layer for one in self}
        blocks = []
        for b, flat in enumerate(laid_flat(self.explanations, photos, as_panels=True)):
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
        photos: Sequence[Image] | None = None,
        *,
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
    model: nn.Module,
    inputs: Inputs,
    *,
    methods: str | Sequence[str | Method] = "all",
    targets: Target | Sequence[Target] = (None,),
    layers: Layer | Sequence[Layer | None] | None = (None,),
    classes: Sequence[str] | None = None,
    output: Pick | None = None,
    grid: Sequence[int] | None = None,
    views: Views | None = None,
    eigen: bool = False,
    chunk: int | None = None,
    compile: bool = False,
    metrics: str | Sequence[str | Metric] | None = None,
    objects: Where | Objects | None = None,
    progress: Told | None = None,
) -> Comparison:
    """Explain the same images in many ways, from one pass through the body.

        grid = limelight.compare(model, images, methods=["gradcam", "layercam"],
                                 targets=[281, 254], layers=["layer3", "layer4"])
        grid.save("sheet.png")

    Methods of the input, and of the whole network, are done once, whatever the layers. What the
    network cannot do is skipped, with the reason. `"all"` takes minutes: some methods run the
    network thousands of times.

    Args:
        model: A trained network; used as in evaluation mode and left untouched.
        inputs: Images `[B, C, *image]`, or a tuple or dict of what the model takes.
        methods: Names in METHODS, with options if any, or rows of it; or "all".
        targets: A list of what to explain, each as in `explain`; or one of them.
        layers: A list of where to cut, or one layer; None has the layer chosen.
        classes, output, grid: As in `explain`.
        views, eigen, chunk, compile: As in `explain`.
        metrics: Names in METRICS, with options if any, or rows of it, to measure the maps by; or
            "all". None measures nothing.
        objects: Where the objects are, as in `measure`.
        progress: Is told the method at work, how many runs it has done, and of how many.

    Raises:
        MethodError: The network can do none of the methods.
        MetricError: A metric cannot be had.
        UnknownNameError, LayerError, TargetError, ModelError, InputError: As `explain`.
    """
    if metrics is not None:
        from limelight.measure.run import check_metrics, measure_all

        check_metrics(Given.of(inputs).image, metrics, objects)
    reading = reading_of(classes, output, grid)
    found = list(
        compare_each(
            model,
            inputs,
            methods=methods,
            targets=_several(targets),
            layers=_several(layers),
            settings=Settings(reading, views, eigen, False, chunk, compile=compile),
            progress=progress,
        )
    )
    comparison = collect(found)
    if metrics is None:
        return comparison
    measured = measure_all(
        model,
        inputs,
        comparison.explanations,
        metrics=metrics,
        objects=objects,
        chunk=chunk,
        compile=compile,
        progress=progress,
    )
    return replace(comparison, measured=measured)


def _several(one_or_more: Any) -> list[Any]:
    return list(one_or_more) if isinstance(one_or_more, list | tuple) else [one_or_more]


def collect(found: Sequence[Explanation | Skipped]) -> Comparison:
    """Make a comparison of what `compare_each` yielded.

    Raises:
        MethodError: There is no explanation among it.
    """
    explanations = tuple(one for one in found if isinstance(one, Explanation))
    skipped = tuple(one for one in found if isinstance(one, Skipped))
    if not explanations:
        reasons = "\n".join(f"  {one.method}: {one.reason}" for one in skipped)
        raise MethodError(f"The network can do none of these methods:\n{reasons}")
    return Comparison(explanations, skipped)


def compare_each(
    model: nn.Module,
    inputs: Inputs,
    *,
    methods: str | Sequence[str | Method],
    targets: Sequence[Target],
    layers: Sequence[Layer | None],
    settings: Settings,
    progress: Told | None = None,
) -> Iterator[Explanation | Skipped]:
    """Yield what `compare` collects, one by one, so that what is done is not lost."""
    rows = chosen_methods(methods)
    if not targets or not layers:
        raise TargetError("There is no target or no layer to compare; pass at least one of each.")
    given = Given.of(inputs)
    cuts, reasons = _cuts(model, given, rows, layers, settings)
    known = {
        (where, number): gather(run, target, settings)
        for where, run in cuts.items()
        for number, target in enumerate(targets)
    }
    for row in rows:
        for layer in layers if row.place == "layer" else (INPUT,):
            asked = None if layer in (None, INPUT) else str(layer)
            if layer in reasons:
                yield Skipped(str(row), asked, reasons[layer])
                continue
            for number in range(len(targets)):
                gathered = known[layer, number]
                if progress:
                    progress(str(row), 0, 0)
                    gathered.progress = partial(progress, str(row))
                try:
                    settings.check(row)
                    result = explained(gathered, row, settings)
                except LimelightError as error:
                    yield Skipped(str(row), asked, str(error))
                    break
                yield result


def chosen_methods(methods: str | Method | Sequence[str | Method]) -> list[Method]:
    """Return the rows meant, each once: all of METHODS for "all".

    Raises:
        UnknownNameError, OptionError: As `find_method`.
    """
    if methods == "all":
        return list(METHODS.values())
    named = [methods] if isinstance(methods, str | Method) else list(methods)
    if not named:
        raise MethodError("There are no methods to compare; name at least one, or 'all'.")
    return list({str(row): row for row in map(find_method, named)}.values())


def _cuts(
    model: nn.Module,
    given: Given,
    rows: Sequence[Method],
    layers: Sequence[Layer | None],
    settings: Settings,
) -> tuple[dict[Layer | None, Cut], dict[Layer | None, str]]:
    """Cut once at everything that is read; return the cuts, and why there is none, by layer."""
    wanted = list[Layer | None]()
    reasons = dict[Layer | None, str]()
    if any(row.place == "layer" for row in rows):
        wanted += dict.fromkeys(layers)
    if None in wanted:
        try:
            choose(unwrap(model), given, settings.reading)
        except LayerError as error:
            reasons[None] = str(error)
    if any(row.place != "layer" for row in rows):
        wanted += [INPUT] if INPUT not in wanted else []
        if problem := input_problem(given):
            reasons[INPUT] = problem
    wanted = [layer for layer in wanted if layer not in reasons]
    at_input = [row for row in rows if row.place != "layer" or INPUT in layers]
    found = cuts_for(model, given, at_input, wanted, settings)
    return dict(zip(wanted, found, strict=True)), reasons
