"""The gradient experiment: outputs of layers, and the gradient of the score there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from limelight.errors import InputError, OptionError
from limelight.evidence import at_least_float32
from limelight.figure_style import USUAL_STYLE, FigureStyle
from limelight.layers import INPUT
from limelight.layers.resolved import Layer
from limelight.misnamed import KnownAttributes, checked_arguments
from limelight.models.network import Images, Model, read_subject
from limelight.notebook import Table, TablesView, tables_html
from limelight.options import Options
from limelight.runtime.layer_gradients import LayerGradient, layer_gradients
from limelight.targets import LogitsKey, Target

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@checked_arguments
def trace(
    model: Model,
    inputs: Images,
    layers: Layer | Sequence[Layer | None] | None = None,
    *,
    target: Target = None,
    classes: Sequence[str] | None = None,
    output: LogitsKey | None = None,
    grid: Sequence[int] | None = None,
) -> Trace:
    """Follow the gradient of a score back: activations and gradients at layers and at the input.

    One pass forward and one back through the whole network. For every layer: its output A and
    `d score_b / dA_b`, both in the shape of the output; and the same for the input, last.

        trace = limelight.trace(model, images, ["layer3", "layer4"], target=281)
        print(trace)                               # shapes, ranges, a window of values
        trace.layers[0].gradients                  # [B, 1024, 14, 14]
        trace.save("trace.npz")

    Args:
        model: A trained network, or a `Network` as `load_model` returns it; used as in evaluation
            mode and left untouched.
        inputs: Images `[B, C, *image]`, or a tuple or dict of what the model takes; with a
            `Network` also a photo, or a list of photos.
        layers: Dotted paths or modules, with outputs of any shape, a linear layer's too; None for
            the layer at which `explain` cuts, an empty list for the input alone.
        target: What to score, as in `explain`.
        classes, output, grid: As in `explain`.

    Raises:
        UnknownNameError, LayerError, TargetError, ModelError, InputError: As `explain`.
        MethodError: The network is quantised.
    """
    named: Sequence[Layer | None]
    named = layers if isinstance(layers, list | tuple) else [layers]  # type: ignore[list-item]
    subject = read_subject(model, inputs, classes)
    options = Options.read(classes=subject.classes, output=output, grid=grid)
    sites = [*(layer for layer in named if layer != INPUT), INPUT]
    scores, gradients = layer_gradients(subject.model, subject.inputs, sites, target, options)
    image = subject.inputs.image
    return Trace(tuple(gradients), scores.values.detach(), scores.labels, image)


class Window(NamedTuple):
    """A few neighbouring values of one channel of one image.

    Attributes:
        channel: Which channel; None where there is no grid.
        alpha: The mean gradient of the channel; None where there is no grid.
        start: The index of its first value along each axis of the grid, or of all axes.
        activations: The activations in it.
        gradients: The gradients at the same places.
    """

    channel: int | None
    alpha: float | None
    start: tuple[int, ...]
    activations: Tensor
    gradients: Tensor


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Trace(KnownAttributes):
    """What `trace` returns.

    Attributes:
        layers: Activations and gradients at each layer, in the order asked for; the input is last.
        score: The score, `[B]`.
        label: For each image, what is scored, in words.
        image: What the network was given, `[B, C, *image]`.
    """

    layers: tuple[LayerGradient, ...]
    score: Tensor
    label: tuple[str, ...]
    image: Tensor

    def __repr__(self) -> str:
        """Return the labels, and the shape at each layer."""
        shapes = ", ".join(f"{each.layer} {list(each.activations.shape)}" for each in self.layers)
        return f"Trace({', '.join(self.label)}; {shapes})"

    def __str__(self) -> str:
        """Return the numbers of the first image, as `text`."""
        return self.text()

    def text(self, image: int = 0, *, window: int = 5, channel: int | None = None) -> str:
        """Return for one image, layer by layer: shape, layout, ranges, and a window of values.

        Args:
            image: Which image, from 0.
            window: How many values along each axis are shown.
            channel: Which channel; None for the channel that adds most, `|alpha_k| mean_ij |A_k|`
                with `alpha_k` its mean gradient. The input, if it has no such channel, shows the
                channel that adds most.

        Raises:
            InputError: There is no such image.
            OptionError: The window is empty, or a layer has no such channel.
        """
        self._check_image(image)
        lines = [f"{self.label[image]}, score {self.score[image]:.6g}"]
        for number in range(len(self.layers)):
            lines += ["", *self._describe(number, image, window, channel)]
        return "\n".join(lines)

    def window(
        self, layer: int, image: int = 0, *, size: int = 5, channel: int | None = None
    ) -> Window:
        """Return a few neighbouring values of a layer, around the largest absolute activation.

        Args:
            layer: Which of `layers`, from 0.
            image: Which image, from 0.
            size: How many values along each axis.
            channel: Which channel; None for the channel that adds most, as in `text`. Where a layer
                has no grid, the window is around the largest absolute gradient.

        Raises:
            InputError: There is no such image.
            OptionError: There is no such layer, the window is empty, or the layer has no such
                channel.
        """
        self._check_image(image)
        if not -len(self.layers) <= layer < len(self.layers):
            raise OptionError(f"There is no layer {layer}; there are {len(self.layers)}, from 0.")
        if size < 1:
            raise OptionError(f"The window is {size}; at least 1 value was expected.")
        at_layer = self.layers[layer]
        activations, gradients = self.of_image(at_layer, image)
        if at_layer.layout is None:
            start, part = _around(gradients.abs(), (1,) * (gradients.ndim - 1) + (size,))
            return Window(None, None, start, activations[part], gradients[part])
        alpha = gradients.flatten(1).mean(1)
        if channel is None or (at_layer.layer == INPUT and channel >= len(alpha)):
            mean_size = activations.abs().flatten(1).mean(1)
            channel = int((alpha.abs() * mean_size).nan_to_num(0).argmax())
        elif not 0 <= channel < len(alpha):
            raise OptionError(
                f"There is no channel {channel} at {at_layer.layer!r}, which has {len(alpha)}, "
                "from 0."
            )
        activations, gradients = activations[channel], gradients[channel]
        start, part = _around(activations.abs(), (size,) * activations.ndim)
        return Window(channel, float(alpha[channel]), start, activations[part], gradients[part])

    def numbers(
        self, layer: int, image: int = 0, *, size: int = 5, channel: int | None = None
    ) -> dict[str, Any]:
        """Return what `text` says of one layer, as plain values; the arguments are `window`'s."""
        at_layer = self.layers[layer]
        window = self.window(layer, image, size=size, channel=channel)
        activations, gradients = self.of_image(at_layer, image)
        layout = at_layer.layout
        return {
            "layer": at_layer.layer,
            "kind": at_layer.kind,
            "shape": list(at_layer.activations.shape),
            "grid": None if layout is None else list(layout.grid),
            "layout": None if layout is None else str(layout),
            "activations": _statistics(activations),
            "gradients": _statistics(gradients),
            "window": {
                "channel": window.channel,
                "alpha": window.alpha,
                "start": list(window.start),
                "activations": window.activations.tolist(),
                "gradients": window.gradients.tolist(),
            },
        }

    def of_image(self, at_layer: LayerGradient, image: int) -> tuple[Tensor, Tensor]:
        """Return activations and gradients of one image, `[K, *grid]` where there is a grid.

        Where the first axis is not that of the images, as in attention windows, the whole tensors
        are returned.
        """

        def select(tensor: Tensor) -> Tensor:
            values = at_least_float32(tensor).cpu()
            if at_layer.layout is not None:
                return at_layer.layout.to_grid(values)[image]
            return values[image] if len(values) == len(self.label) else values

        return select(at_layer.activations), select(at_layer.gradients)

    def figure(self, image: int = 0, *, style: FigureStyle = USUAL_STYLE) -> Figure:
        """Draw for one image, layer by layer, one channel's activations and gradients, and sums.

        The channel is the one that adds most, as in `text`; the sums are `max_k |dy_c/dA_k|`, and
        `sum_k alpha_k A_k`. Where a layer has no grid, its values are drawn as curves.

        Raises:
            InputError: There is no such image.
        """
        from limelight.render import traces

        self._check_image(image)
        rows = []
        for number, at_layer in enumerate(self.layers):
            activations, gradients = self.of_image(at_layer, image)
            title = f"{at_layer.layer}  {list(at_layer.activations.shape)}"
            channel = self.window(number, image).channel
            rows.append(traces.TracedLayer(title, activations, gradients, channel))
        title = f"{self.label[image]}, score {self.score[image]:.4g}"
        return traces.trace_figure(rows, title, style=style)

    def _repr_html_(self) -> str:
        """Show the numbers of the first image in a notebook, layer by layer, and the figure."""
        from limelight import render

        rows = list[list[str]]()
        for each in self.layers:
            words = [each.layer, " x ".join(map(str, each.activations.shape))]
            values = self.of_image(each, 0)
            rows.append([*words, *(cell for value in values for cell in _cells(value))])
        sides = [
            column for side in ("activations", "gradients") for column in (side, "mean", "zero")
        ]
        table = Table("", ("layer", "output", *sides), rows, words=2)
        view = TablesView(
            heading=f"{self.label[0]}, score {float(self.score[0]):.4g}",
            tables=[table],
            picture=render.figure_picture(self.figure()),
            alt="activations and gradients at each layer",
            notes=[f"The first of {len(self.label)} images."] if len(self.label) > 1 else [],
        )
        return tables_html(view)

    def _repr_png_(self) -> bytes:
        """Show the figure where a notebook shows no HTML."""
        from limelight import render

        return render.figures_png([self.figure()])

    def save(self, path: str | Path, *, image: int = 0, style: FigureStyle = USUAL_STYLE) -> Path:
        """Write the figure of one image, or with .npz the arrays of all, whole or not at all.

        The arrays are `activations_0`, `gradients_0` and so on in the order of `layers`, `score`,
        and `names`, JSON with the names of the layers and what is scored.

        Raises:
            OutputError: The format is unknown, or the file cannot be written there.
            InputError: There is no such image.
        """
        from limelight import render

        return render.save_figure_or_arrays(
            path, lambda: self.figure(image, style=style), self._arrays
        )

    def _arrays(self) -> tuple[dict[str, Tensor], object]:
        """Return what an .npz file holds: the arrays, and their names."""
        arrays = {"score": at_least_float32(self.score)}
        for number, layer in enumerate(self.layers):
            arrays[f"activations_{number}"] = at_least_float32(layer.activations)
            arrays[f"gradients_{number}"] = at_least_float32(layer.gradients)
        return arrays, {"layers": [layer.layer for layer in self.layers], "label": list(self.label)}

    def _check_image(self, image: int) -> None:
        if not 0 <= image < len(self.label):
            raise InputError(
                f"There is no image {image}; there are {len(self.label)}, counted from 0."
            )

    def _describe(self, number: int, image: int, window: int, channel: int | None) -> list[str]:
        """Return the lines about one layer."""
        at_layer = self.layers[number]
        layout = at_layer.layout
        facts = [at_layer.kind, str(list(at_layer.activations.shape))]
        if layout is not None:
            facts += [f"grid {' x '.join(map(str, layout.grid))}", str(layout)]
        else:
            facts += ["no grid over the image"]
        lines = [f"{at_layer.layer}  {', '.join(filter(None, facts))}"]
        if at_layer.reason != "named" and at_layer.layer != INPUT:
            lines.append(f"  {at_layer.reason}")
        activations, gradients = self.of_image(at_layer, image)
        lines.append(f"  activations  {_range(activations)}")
        lines.append(f"  gradients    {_range(gradients)}")
        if layout is not None and layout.prefix:
            before = at_least_float32(at_layer.gradients[image, : layout.prefix])
            lines.append(
                f"  gradients of the {layout.prefix} tokens before the grid  {_range(before)}"
            )
        values = self.window(number, image, size=window, channel=channel)
        lines.append(f"  {_window_heading(values)}")
        lines += [f"    {line}" for line in _window_lines(values)]
        return lines


def _around(values: Tensor, sizes: Sequence[int]) -> tuple[tuple[int, ...], tuple[slice, ...]]:
    """Return where a window of these sizes around the largest value begins, and its slices."""
    flat = int(values.nan_to_num(0).argmax())
    peak = [int(i) for i in torch.unravel_index(torch.tensor(flat, device="cpu"), values.shape)]
    start = tuple(
        max(0, min(middle - size // 2, length - size))
        for middle, size, length in zip(peak, sizes, values.shape, strict=True)
    )
    return start, tuple(slice(s, s + size) for s, size in zip(start, sizes, strict=True))


def _cells(values: Tensor) -> list[str]:
    """Return the range, the mean and the share of zeros as the cells of a table."""
    low, high, mean, zero = _statistics(values).values()
    return [f"{low:.3g} to {high:.3g}", f"{mean:.3g}", f"{zero:.0%}"]


def _statistics(values: Tensor) -> dict[str, float]:
    """Return the lowest, highest and mean value, and the share of zeros."""
    low, high = values.aminmax()
    zero = (values == 0).float().mean()
    statistics = {"low": low, "high": high, "mean": values.mean(), "zero": zero}
    return {name: float(value) for name, value in statistics.items()}


def _range(values: Tensor) -> str:
    """Return the same as text."""
    if not values.isfinite().all():
        count = int((~values.isfinite()).sum())
        return f"{count} of {values.numel()} values are NaN or infinite"
    low, high, mean, zero = _statistics(values).values()
    return f"{low:.4g} to {high:.4g}, mean {mean:.4g}, {zero:.1%} zero"


def _window_heading(window: Window) -> str:
    """Return the line over a window: its channel and its place."""
    ends = zip(window.start, window.activations.shape, strict=True)
    where = ", ".join(f"{s}:{s + n}" if n > 1 else str(s) for s, n in ends)
    if window.channel is None:
        return f"values [{where}], around the largest gradient"
    return f"channel {window.channel}, mean gradient alpha = {window.alpha:.4g}, cells [{where}]"


def _window_lines(window: Window) -> list[str]:
    """Return the numbers of a window: activations on the left, gradients on the right."""
    blocks = []
    for name, values in (("activations", window.activations), ("gradients", window.gradients)):
        rows = [
            [f"{value:.4g}" for value in row]
            for row in values.reshape(-1, values.shape[-1]).tolist()
        ]
        width = max(len(number) for row in rows for number in row)
        lines = ["  ".join(number.rjust(width) for number in row) for row in rows]
        width = max(len(name), len(lines[0]))
        blocks.append([line.ljust(width) for line in (name, *lines)])
    return ["     ".join(pair).rstrip() for pair in zip(*blocks, strict=True)]
