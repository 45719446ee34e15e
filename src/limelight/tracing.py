"""The gradient experiment: what layers put out, and the gradient of the score there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from limelight.errors import InputError, OptionError
from limelight.evidence import at_least_float32
from limelight.layers import INPUT
from limelight.layers.sites import Layer
from limelight.models.network import Images, Model, read_subject
from limelight.options import Options
from limelight.runtime.layer_gradients import LayerGradient, layer_gradients
from limelight.targets import LogitsKey, Target

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    """Look at a score on its way back: activations and gradients at layers, and at the input.

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
        target: What is scored, as in `explain`.
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
class Trace:
    """What `trace` returns.

    Attributes:
        layers: What was found at each layer, in the order asked for, and at the input, last.
        score: The score, `[B]`.
        label: For each image, what is scored.
        image: What the network was given, `[B, C, *image]`.
    """

    layers: tuple[LayerGradient, ...]
    score: Tensor
    label: tuple[str, ...]
    image: Tensor

    def __repr__(self) -> str:
        """Return all but the tensors, of which the shapes."""
        shapes = ", ".join(f"{one.layer} {list(one.activations.shape)}" for one in self.layers)
        return f"Trace({', '.join(self.label)}; {shapes})"

    def __str__(self) -> str:
        """Return the first image's numbers."""
        return self.text()

    def text(self, image: int = 0, *, window: int = 5, channel: int | None = None) -> str:
        """Return, of one image and each layer: shape, layout, ranges, and a window of values.

        Args:
            image: Which image, from 0.
            window: How many values along each axis are shown.
            channel: Which channel; None for that which adds most, `|alpha_k| mean_ij |A_k|` with
                `alpha_k` its mean gradient. So does one that only the input does not have.

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
        """Return a few neighbouring values of a layer, around the activation of largest size.

        Args:
            layer: Which of `layers`, from 0.
            image: Which image, from 0.
            size: How many values along each axis.
            channel: Which channel; None for that which adds most, as in `text`, and so does one
                that the input does not have. Where a layer has no grid, the window is around the
                largest gradient.

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
        one = self.layers[layer]
        activations, gradients = self.of_image(one, image)
        if one.layout is None:
            start, part = _around(gradients.abs(), (1,) * (gradients.ndim - 1) + (size,))
            return Window(None, None, start, activations[part], gradients[part])
        alpha = gradients.flatten(1).mean(1)
        if channel is None or (one.layer == INPUT and channel >= len(alpha)):
            size_of_a = activations.abs().flatten(1).mean(1)
            channel = int((alpha.abs() * size_of_a).nan_to_num(0).argmax())
        elif not 0 <= channel < len(alpha):
            raise OptionError(
                f"There is no channel {channel} at {one.layer!r}, which has {len(alpha)}, from 0."
            )
        activations, gradients = activations[channel], gradients[channel]
        start, part = _around(activations.abs(), (size,) * activations.ndim)
        return Window(channel, float(alpha[channel]), start, activations[part], gradients[part])

    def numbers(
        self, layer: int, image: int = 0, *, size: int = 5, channel: int | None = None
    ) -> dict[str, Any]:
        """Return the same as `text` of one layer, as plain values; arguments as of `window`."""
        one, seen = self.layers[layer], self.window(layer, image, size=size, channel=channel)
        activations, gradients = self.of_image(one, image)
        return {
            "layer": one.layer,
            "kind": one.kind,
            "shape": list(one.activations.shape),
            "grid": None if one.layout is None else list(one.layout.grid),
            "layout": None if one.layout is None else str(one.layout),
            "activations": _statistics(activations),
            "gradients": _statistics(gradients),
            "window": {
                "channel": seen.channel,
                "alpha": seen.alpha,
                "start": list(seen.start),
                "activations": seen.activations.tolist(),
                "gradients": seen.gradients.tolist(),
            },
        }

    def of_image(self, one: LayerGradient, image: int) -> tuple[Tensor, Tensor]:
        """Return activations and gradients of one image, `[K, *grid]` where there is a grid.

        Where the first axis is not that of the images, as within windows, they are all returned.
        """
        found = []
        for tensor in (one.activations, one.gradients):
            full = at_least_float32(tensor).cpu()
            if one.layout is not None:
                found.append(one.layout.to_grid(full)[image])
            else:
                found.append(full[image] if len(full) == len(self.label) else full)
        return found[0], found[1]

    def figure(self, image: int = 0) -> Figure:
        """Draw, of one image and each layer, one channel's activations and gradients, and sums.

        The channel is that which adds most, as in `text`; the sums are `max_k |dy_c/dA_k|`, and
        `sum_k alpha_k A_k`. What is no grid is drawn as curves.

        Raises:
            InputError: There is no such image.
        """
        from limelight.render import traces

        self._check_image(image)
        rows = []
        for number, one in enumerate(self.layers):
            activations, gradients = self.of_image(one, image)
            title = f"{one.layer}  {list(one.activations.shape)}"
            channel = self.window(number, image).channel
            rows.append(traces.TracedLayer(title, activations, gradients, channel))
        return traces.trace_figure(rows, f"{self.label[image]}, score {self.score[image]:.4g}")

    def save(self, path: str | Path, *, image: int = 0) -> Path:
        """Write the figure of one image, or with .npz the arrays of all, whole or not at all.

        The arrays are `activations_0`, `gradients_0` and so on in the order of `layers`, `score`,
        and `names`, JSON that says which layers these are and what is scored.

        Raises:
            OutputError: The format is unknown, or the file cannot be written there.
            InputError: There is no such image.
        """
        from limelight import render

        return render.save_figure_or_arrays(path, lambda: self.figure(image), self._arrays)

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
        one = self.layers[number]
        facts = [str(list(one.activations.shape))]
        if one.layout is not None:
            facts += [f"grid {' x '.join(map(str, one.layout.grid))}", str(one.layout)]
        else:
            facts += ["no grid over the image"]
        lines = [f"{one.layer}  {', '.join(filter(None, [one.kind, *facts]))}"]
        if one.reason != "named" and one.layer != INPUT:
            lines.append(f"  {one.reason}")
        activations, gradients = self.of_image(one, image)
        lines.append(f"  activations  {_range(activations)}")
        lines.append(f"  gradients    {_range(gradients)}")
        if one.layout is not None and one.layout.prefix:
            before = at_least_float32(one.gradients[image, : one.layout.prefix])
            lines.append(
                f"  gradients of the {one.layout.prefix} tokens before the grid  {_range(before)}"
            )
        seen = self.window(number, image, size=window, channel=channel)
        lines.append(f"  {_window_heading(seen)}")
        lines += [f"    {line}" for line in _window_lines(seen)]
        return lines


def _around(size: Tensor, wanted: Sequence[int]) -> tuple[tuple[int, ...], tuple[slice, ...]]:
    """Return where a window around the largest value begins, and its slices."""
    flat = int(size.nan_to_num(0).argmax())
    peak = [int(i) for i in torch.unravel_index(torch.tensor(flat, device="cpu"), size.shape)]
    start = tuple(
        max(0, min(middle - want // 2, there - want))
        for middle, want, there in zip(peak, wanted, size.shape, strict=True)
    )
    return start, tuple(slice(s, s + want) for s, want in zip(start, wanted, strict=True))


def _statistics(values: Tensor) -> dict[str, float]:
    """Return lowest, highest and mean value, and which share is zero."""
    low, high = values.aminmax()
    zero = (values == 0).float().mean()
    told = {"low": low, "high": high, "mean": values.mean(), "zero": zero}
    return {name: float(value) for name, value in told.items()}


def _range(values: Tensor) -> str:
    """Return the same in words."""
    if not values.isfinite().all():
        bad = int((~values.isfinite()).sum())
        return f"{bad} of {values.numel()} values are NaN or infinite"
    low, high, mean, zero = _statistics(values).values()
    return f"{low:.4g} to {high:.4g}, mean {mean:.4g}, {zero:.1%} zero"


def _window_heading(seen: Window) -> str:
    """Say what a window shows."""
    ends = zip(seen.start, seen.activations.shape, strict=True)
    where = ", ".join(f"{s}:{s + n}" if n > 1 else str(s) for s, n in ends)
    if seen.channel is None:
        return f"values [{where}], around the largest gradient"
    return f"channel {seen.channel}, mean gradient alpha = {seen.alpha:.4g}, cells [{where}]"


def _window_lines(seen: Window) -> list[str]:
    """Return the numbers of a window: activations on the left, gradients on the right."""
    blocks = []
    for name, values in (("activations", seen.activations), ("gradients", seen.gradients)):
        rows = values.reshape(-1, values.shape[-1]).tolist()
        told = [[f"{value:.4g}" for value in row] for row in rows]
        wide = max(len(text) for row in told for text in row)
        lines = ["  ".join(text.rjust(wide) for text in row) for row in told]
        across = max(len(name), len(lines[0]))
        blocks.append([text.ljust(across) for text in (name, *lines)])
    return ["     ".join(pair).rstrip() for pair in zip(*blocks, strict=True)]
