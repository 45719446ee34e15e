"""Does the map go away with what the network learned? The parameter test, and its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from limelight.drawing import as_pictures
from limelight.errors import MetricError, OptionError
from limelight.explanation import Explanation
from limelight.figure_style import USUAL_STYLE, FigureStyle, MapScale
from limelight.layers.resolved import Layer
from limelight.map_scales import on_one_scale
from limelight.methods import Method, chosen_methods
from limelight.metrics import METRICS
from limelight.metrics.estimates import MetricEstimate
from limelight.metrics.intervals import FEWEST_IMAGES
from limelight.metrics.measurement import Measurement
from limelight.metrics.readings import Unmeasured
from limelight.metrics.robustness import Stage
from limelight.metrics.run import measure_randomised
from limelight.misnamed import checked_arguments
from limelight.models.network import Images, Model, read_subject
from limelight.options import Options
from limelight.pipeline import explain_many, sort_results
from limelight.progress import ProgressCallback
from limelight.status import Status
from limelight.targets import LogitsKey, Target, as_target

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from limelight.photos.crops import CroppedPhoto


#: A map whose rank correlation stays above this does not show what was learned.
LIKENESS_LIMIT = 0.5


SanityVerdict = Literal["passes", "fails", "unclear"]


@dataclass(frozen=True, eq=False, repr=False)
class Sanity:
    """The cascade of maps of each method, and whether it passes.

    Attributes:
        explanations: The maps of the trained network, one explanation per method.
        stages: For each of them, the maps when more and more layers are random.
        measurement: The readings, to which those of other images can be added.
    """

    explanations: tuple[Explanation, ...]
    stages: tuple[tuple[Stage, ...], ...]
    measurement: Measurement

    def __repr__(self) -> str:
        """Return whether each method passes."""
        verdicts = ", ".join(f"{method} {word}" for method, word in self.verdicts.items())
        return f"Sanity({verdicts or 'no method'})"

    def _repr_png_(self) -> bytes:
        """Show the strips of the first image in a notebook."""
        from limelight import render

        return render.figures_png([self.figure()])

    @property
    def verdicts(self) -> dict[str, SanityVerdict]:
        """Whether each method passes."""
        return verdicts(self.measurement)

    def drawn_on(self, crops: Sequence[CroppedPhoto] | None) -> Sanity:
        """Return a copy to be drawn on these photos, one per image; None changes nothing."""
        drawn = tuple(explanation.drawn_on(crops) for explanation in self.explanations)
        return replace(self, explanations=drawn)

    def figure(
        self,
        photos: Sequence[Image] | None = None,
        *,
        whole: bool = False,
        colormap: str | None = None,
        scale: MapScale = "each",
        style: FigureStyle = USUAL_STYLE,
    ) -> Figure:
        """Draw a strip for each image and method: its map, then that of every stage.

        Args:
            photos: What to draw on, as in `Explanation.overlay`.
            whole: Draw on the whole photos, and mark what the network did not see.
            colormap: The name of a matplotlib colour map.
            scale, style: As in `Explanation.figure`. One scale for all needs a single method.

        Raises:
            InputError: As `Explanation.overlay`.
            OptionError: Maps of several methods are to have one scale.
        """
        from limelight import render

        strips = [
            [explanation, *(_as_explanation(explanation, stage) for stage in stages)]
            for explanation, stages in zip(self.explanations, self.stages, strict=True)
        ]
        scaled, colours = on_one_scale(
            [each for strip in strips for each in strip], scale=scale, colormap=colormap
        )
        blocks, left, longest = [], list(scaled), render.panel_pixels(style)
        for explanation, stages in zip(self.explanations, self.stages, strict=True):
            strip, left = left[: 1 + len(stages)], left[1 + len(stages) :]
            if not stages:  # it could not be randomised; the measurement says why
                continue
            estimate = self.measurement.estimate(explanation.method, "parameter-randomisation")
            title = f"{explanation.method} {verdict_of(estimate)}: likeness {estimate.own}"
            captions = [("trained", ""), *((f"{s.share:.0%} random", s.layer) for s in stages)]
            for flat in as_pictures(strip, photos, whole=whole, longest=longest):
                panels = [
                    render.Panel(heatmap, *caption)
                    for heatmap, caption in zip(flat.heatmaps, captions, strict=True)
                ]
                blocks.append(render.Block(flat.photo, title, panels, flat.name, flat.curve))
        columns = 2 + max(map(len, self.stages))
        return render.sheet(blocks, colours=colours, style=style, columns=columns)

    def save(
        self,
        path: str | Path,
        *,
        photos: Sequence[Image] | None = None,
        whole: bool = False,
        colormap: str | None = None,
        scale: MapScale = "each",
        style: FigureStyle = USUAL_STYLE,
    ) -> Path:
        """Write the strips as a picture, whole or not at all.

        Raises:
            OutputError: The format is unknown, or the file cannot be written there.
        """
        from limelight import render

        return render.save_figure(
            path,
            lambda: self.figure(photos, whole=whole, colormap=colormap, scale=scale, style=style),
        )


@checked_arguments
def sanity(
    model: Model,
    inputs: Images,
    *,
    methods: str | Sequence[str | Method],
    target: Target = None,
    layer: Layer | None = None,
    steps: int = 8,
    seed: int = 0,
    classes: Sequence[str] | None = None,
    output: LogitsKey | None = None,
    grid: Sequence[int] | None = None,
    chunk: int | None = None,
    progress: ProgressCallback | None = None,
) -> Sanity:
    """Draw the weights anew, layer by layer from the logits down, and compare the maps.

    Cascading randomisation (Adebayo et al. 2018, section 3.1). A map that stays the same shows
    edges, not what the network learned. The likeness of a method is Spearman's correlation of its
    raw maps with those of the trained network, averaged over stages and images. A method *fails* if
    the whole interval of its likeness is above 0.5, and *passes* if the whole interval is below.
    On fewer than `FEWEST_IMAGES` images it is *unclear*. The model keeps its weights.

        found = limelight.sanity(model, images, methods=["gradcam", "guided-backprop"])
        found.verdicts          # {"gradcam": "passes", "guided-backprop": "fails"}
        found.save("cascade.png")

    Args:
        model, inputs: As in `explain`.
        methods: Names in METHODS, with options if any, or rows of it.
        target: What to explain, as in `explain`.
        layer: Where to cut; None to have it chosen.
        steps: How many stages, evenly from the first layer to all.
        seed: The seed of the new weights.
        classes, output, grid: As in `explain`.
        chunk: As in `explain`.
        progress: Called as progress(method, done, total).

    Raises:
        MethodError: The network can do none of the methods.
        MetricError: None of them can be put to the test: the network has no parameters, say.
        OptionError: `steps` is below 2.
        UnknownNameError, LayerError, TargetError, InputError: As `explain`.
    """
    row = METRICS["parameter-randomisation"].set(steps=steps, seed=seed)
    if steps < 2:
        raise OptionError(f"steps is {steps}; at least 2 were expected, the logits and all layers.")
    subject = read_subject(model, inputs, classes)
    options = Options.read(
        classes=subject.classes, output=output, grid=grid, chunk=chunk, progress=progress
    )
    results = list(
        explain_many(
            subject.model,
            subject.inputs,
            methods=chosen_methods(methods),
            targets=[as_target(target)],
            layers=[layer],
            options=options,
        )
    )
    explanations, skipped = sort_results(results)
    stages, measurement = measure_randomised(
        subject.model, subject.inputs, explanations, row, options
    )
    unmeasured = (Unmeasured(method.method, "", method.reason) for method in skipped)
    measurement = measurement + Measurement(unmeasured=tuple(unmeasured))
    if not measurement.readings:
        reasons = "\n".join(f"  {gap.method}: {gap.reason}" for gap in measurement.unmeasured)
        raise MetricError(f"None of the methods can be put to this test:\n{reasons}")
    return Sanity(tuple(explanations), stages, measurement).drawn_on(subject.crops)


def _as_explanation(explanation: Explanation, stage: Stage) -> Explanation:
    """Return an explanation with the maps of a stage."""
    raw, heatmap, span = stage.maps
    status = (Status("ok"),) * len(raw)
    return replace(explanation, raw=raw, heatmap=heatmap, span=span, status=status)


def verdicts(measurement: Measurement) -> dict[str, SanityVerdict]:
    """Return whether each measured method passes the parameter test."""
    return {
        estimate.method: verdict_of(estimate)
        for estimate in measurement.estimates()
        if estimate.metric.startswith("parameter-randomisation") and estimate.part == "value"
    }


def verdict_of(likeness: MetricEstimate) -> SanityVerdict:
    """Return whether a method passes, by its likeness; `unclear` on too few images."""
    mean = likeness.own
    if mean.images < FEWEST_IMAGES:
        return "unclear"
    if mean.high < LIKENESS_LIMIT:
        return "passes"
    return "fails" if mean.low > LIKENESS_LIMIT else "unclear"
