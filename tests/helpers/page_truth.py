"""The numbers of a walkthrough, computed again in another way, and compared with its page."""

from __future__ import annotations

import copy
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Context, Decimal
from functools import cached_property
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils.flop_counter import FlopCounterMode

import limelight
import limelight.render
from helpers.pages import Node, packed_in, path_of, read, rows_of, unpacked
from limelight.steps.formulas import MINUS, NONE
from oracles import pixels, pointwise, weighted
from oracles.evidence import Grid, channels_first
from oracles.family import OneImage

#: How far a sum may be off that is made in another order, or a cosine.
NEAR = 1e-6
#: How far a place that was measured with a few draws of noise may be off, in spreads; and with how
#: many random signs the derivatives are taken.
ROOM, SIGNS = 0.35, 48
#: What the methods that walkthroughs show weigh with, and what they weigh.
WEIGHTS = {
    **weighted.AT_A_LAYER.weights,
    **pointwise.AT_A_LAYER.weights,
    **pixels.AT_THE_INPUT.weights,
}


# The same, computed again


def whole(module: nn.Module, inputs: Any) -> Any:
    return module(*inputs) if isinstance(inputs, tuple) else module(inputs)


def multiplications(model: nn.Module, inputs: Any) -> dict[str, float]:
    """Return by the path of each call (`#k` of several) which share of all work is done then."""
    twin, done, calls = copy.deepcopy(model).eval(), list[tuple[str, int]](), Counter[str]()
    counter = FlopCounterMode(display=False)

    def note(path: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            calls[path] += 1
            done.append((f"{path}#{calls[path]}", counter.get_total_flops()))

        return hook

    for path, module in twin.named_modules():
        module.register_forward_hook(note(path))
    with torch.no_grad(), counter:
        whole(twin, inputs)
    total = counter.get_total_flops()
    once = {f"{path}#1": path for path, count in calls.items() if count == 1}
    return {once.get(path, path): spent / total for path, spent in done}


def convolution_work(model: nn.Module, inputs: Any) -> float:
    """Count the multiplications of convolutions and linear layers by their shapes."""
    twin, work = copy.deepcopy(model).eval(), [0.0]

    def note(module: nn.Module, _args: object, output: Tensor) -> None:
        weight = cast("Tensor", module.weight)
        work[0] += output.numel() * weight[0].numel()

    for module in twin.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
            module.register_forward_hook(note)
    with torch.no_grad():
        whole(twin, inputs)
    return work[0]


def taken(
    model: nn.Module, image: Tensor, layer: str, index: int | None
) -> tuple[Tensor, int, Tensor, Tensor]:
    """Run a copy of a model; return its logits, the class, A and dy_c/dA as the layer put it out.

    What comes before the layer runs without a graph, as in inference, where PyTorch's attention
    takes a shorter way with other rounding.
    """
    twin, kept = copy.deepcopy(model).eval(), list[Tensor]()

    def keep(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
        torch.set_grad_enabled(True)
        kept.append(output.detach().clone().requires_grad_())
        return kept[0].clone()

    with torch.no_grad():
        if layer == limelight.INPUT:
            image = keep(twin, (), image)
        else:
            twin.get_submodule(layer).register_forward_hook(keep)
        logits = twin(image)[0]
    index = int(logits.argmax()) if index is None else index
    (slopes,) = torch.autograd.grad(logits[index], kept)
    return logits.detach(), index, kept[0].detach(), slopes


def looked_at(
    model: nn.Module, image: Tensor, layer: str, grid: Grid, cell: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Return the centre and the spread of what a cell looks at, `[A]`, from its derivatives.

    For signs r of chance, `E[(sum_k r_k J_k)^2] = sum_k J_k^2`: a backward pass for each of many r.
    """
    twin, kept = copy.deepcopy(model).eval().double(), list[Tensor]()
    leaf = image.double().requires_grad_()
    twin.get_submodule(layer).register_forward_hook(lambda _m, _a, output: kept.append(output))
    twin(leaf)
    numbers = grid(kept[0])[0].movedim(0, -1)[tuple(cell)]
    generator, squares = torch.Generator().manual_seed(3), torch.zeros(image.shape[2:]).double()
    for _ in range(SIGNS):
        signs = torch.randint(2, numbers.shape, generator=generator).double() * 2 - 1
        (slopes,) = torch.autograd.grad(signs @ numbers, leaf, retain_graph=True)
        squares += slopes[0].square().sum(0)
    centres, spreads = [], []
    for axis, size in enumerate(squares.shape):
        share = squares.sum([a for a in range(squares.ndim) if a != axis]) / squares.sum()
        places = (torch.arange(size).double() + 0.5) / size
        centres.append(share @ places)
        spreads.append((share @ (places - centres[-1]) ** 2).sqrt())
    return torch.stack(centres), torch.stack(spreads)


def spread_out(cells: Tensor, size: Sequence[int], span: Sequence[Sequence[float]]) -> Tensor:
    """Interpolate cells linearly that lie on a picture as `span` says, with NumPy."""
    values = cells.double().numpy()
    for axis, (n, (start, end, seen_from, seen_to)) in enumerate(zip(size, span, strict=True)):
        g = values.shape[axis]
        centres = start + (np.arange(g) + 0.5) / g * (end - start)
        places = (np.arange(n) + 0.5) / n
        seen = (places >= seen_from) & (places <= seen_to)

        def along(
            row: npt.NDArray[Any],
            centres: npt.NDArray[Any] = centres,
            places: npt.NDArray[Any] = places,
            seen: npt.NDArray[Any] = seen,
        ) -> npt.NDArray[Any]:
            return np.where(seen, np.interp(places, centres, row), 0)

        values = np.apply_along_axis(along, axis, values)
    return torch.from_numpy(values).to(cells.dtype)


class Truth:
    """The tensors of one run, by the names that they have on the page."""

    def __init__(
        self,
        model: nn.Module,
        image: Tensor,
        layer: str,
        method: str,
        *,
        grid: Grid = channels_first,
        index: int | None = None,
        fc: str = "",
        beside: Sequence[str] = (),
        span: Sequence[Sequence[float]] = (),
    ) -> None:
        self.span = span
        self.method, self.layer, self.image = method, layer, image[0]
        self.logits, self.index, raw, slopes = taken(model, image, layer, index)
        self.activations, self.gradients = grid(raw)[0], grid(slopes)[0]
        class_weights = (
            dict(model.named_parameters())[f"{fc}.weight"][self.index].detach() if fc else None
        )
        self.shown = OneImage(self.activations, self.gradients, class_weights)
        self.shares = multiplications(model, image)
        self.run, self.grid = (model, image), grid
        self.beside = list(beside)

    def weighed(self, method: str) -> tuple[Tensor, Tensor]:
        """Return a method's weights, `[K]` or `[K, *grid]`, and what they weigh, by its paper."""
        assert method in WEIGHTS, f"{method} lacks its weights in its family's tests/oracles module"
        return WEIGHTS[method](self.shown)

    def parts(self, method: str) -> Tensor:
        weights, values = self.weighed(method)
        return (self.shown.spread(weights) if weights.ndim == 1 else weights) * values

    @cached_property
    def per_channel(self) -> bool:
        return self.weighed(self.method)[0].ndim == 1

    @cached_property
    def order(self) -> list[int]:
        strength = self["strength"].tolist()
        return sorted(range(len(strength)), key=lambda k: -strength[k])

    @cached_property
    def counts(self) -> list[int]:
        channels = len(self.activations)
        round_numbers = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
        return [*(n for n in round_numbers if n < channels), channels]

    @cached_property
    def sums(self) -> list[Tensor]:
        """The growing sum, one channel after the other."""
        growing = torch.zeros_like(self["contributions"][0], dtype=torch.float64)
        found = []
        for count, k in enumerate(self.order, start=1):
            growing = growing + self["contributions"][k].double()
            if count in self.counts:
                found.append(growing.to(self.activations.dtype))
        return found

    @cached_property
    def looking(self) -> tuple[Tensor, Tensor]:
        kept = self["kept"]
        cell = [int(index[0]) for index in (kept == kept.max()).nonzero(as_tuple=True)]
        return looked_at(*self.run, self.layer, self.grid, cell)

    @cached_property
    def resized(self) -> Tensor:
        kept, size = self["kept"], self.image.shape[1:]
        if self.span:
            return spread_out(kept, size, self.span)
        mode = ("linear", "bilinear", "trilinear")[len(size) - 1]
        return interpolate(kept[None, None], tuple(size), mode=mode, align_corners=False)[0, 0]

    @cached_property
    def heatmap(self) -> Tensor:
        large = self.resized - self.resized.min()
        return large / large.max()

    def __getitem__(self, key: str) -> Tensor:  # noqa: PLR0912
        name, *steps = key.split("/")
        found: Any
        match name:
            case "beside":
                found = self.parts(self.beside[int(steps.pop(0))]).sum(0)
            case "others":
                found = self.weighed(self.beside[int(steps.pop(0))])[0]
            case "image" | "activations" | "gradients" | "resized" | "heatmap" | "sums":
                found = getattr(self, name)
            case "centre" | "spread":
                found = self.looking[name == "spread"]
            case "score":
                found = self.logits[self.index]
            case "weights":
                found = self.weighed(self.method)[0]
            case "strength":
                found = self["weights"].abs().flatten(1 if not self.per_channel else 0)
                found = found if self.per_channel else found.mean(1)
            case "contributions":
                found = self.parts(self.method)
            case "totals":
                found = self["contributions"].flatten(1).sum(1)
            case "raw":
                found = self["contributions"].sum(0)
            case "kept":
                found = self["raw"].clamp(min=0)
            case _:
                raise AssertionError(f"{key!r} is on the page, and nobody knows what it is")
        for step in steps:
            found = found[int(step)]
        return cast("Tensor", found)

    def room(self, key: str) -> float:
        """Return how far a value may be off.

        Not by a bit where its operations are done here in the same order; only those of Grad-CAM++
        are not, where powers of g are not cancelled here.
        """
        name, *steps = key.split("/")
        if self.span and name in ("resized", "heatmap"):
            return NEAR * float(self[name].max())
        if name in ("centre", "spread"):
            return ROOM * float(self[f"spread/{steps[0]}"])
        evidence = name in ("image", "activations", "gradients", "score")
        method = self.beside[int(steps[0])] if name in ("beside", "others") else self.method
        if evidence or method != "gradcam++":
            return 0.0
        near = NEAR if self.image.dtype == torch.float32 else 1e-12
        if name == "heatmap":
            return near * float(self["contributions"].abs().sum(0).max() / self["kept"].max())
        adds = name in ("raw", "kept", "resized", "sums", "totals", "contributions", "beside")
        whole = self.parts(method) if adds else self.weighed(method)[0]
        return near * float(whole.abs().sum(0).max() if adds else whole.abs().max())

    def ends(self, key: str) -> tuple[float, float]:
        """Return the values of the first and the last colour of a map."""
        if key == "heatmap":
            return 0.0, 1.0
        values = self[key]
        most = float(values.abs().max())
        kind = key.split("/", maxsplit=1)[0]
        signed = bool((values < 0).any()) or kind not in ("activations", "kept")
        return (-most if signed else 0.0), most

    def number(self, key: str, what: str) -> float:
        """Return a number by its name on the page."""
        if what in ("low", "high"):
            return self.ends(key)[what == "high"]
        if what == "likeness":
            one, other = self[key].double().flatten(), self["raw"].double().flatten()
            return float(one @ other / (one.norm() * other.norm()))
        found = self[key]
        numbers: dict[str, Callable[[], Tensor]] = {
            "value": lambda: found,
            "place": lambda: found,
            "min": found.min,
            "max": found.max,
            "mean": found.mean,
            "sum": found.sum,
            "above": (found > 0).sum,
            "below": (found < 0).sum,
        }
        return float(numbers[what]())


# What must hold of a page


def reads_as(text: str, value: float, what: str) -> bool:
    """Say whether a text is a value rounded to the digits that are shown."""
    if math.isnan(value):
        return text == NONE
    if what in ("above", "below"):
        return text == str(round(value))
    if what in ("share", "probability", "place"):
        digits = 2 if what == "probability" else 1
        shown = re.fullmatch(rf"(\d+\.\d{{{digits}}})%", text)
        return shown is not None and abs(float(shown[1]) - 100 * value) <= 0.5001 * 10**-digits
    told = text.replace("-", "?").replace(MINUS, "-")  # a hyphen is no minus
    if not re.fullmatch(r"-?\d+(\.\d+)?(e-?[1-9]\d*)?", told) or told == "-0":
        return False
    digits = 3 if what in ("low", "high") else 4
    rounded = Context(prec=digits).create_decimal(Decimal(value))
    return Decimal(told) == rounded


def laid_out(values: Tensor) -> npt.NDArray[Any]:
    """Return a map as the table that is drawn: slices of a volume in rows of sqrt(D) of them."""
    maps = values.detach().numpy()
    if maps.ndim < 3:
        return np.atleast_2d(maps)
    depth, high, wide = maps.shape
    across = math.ceil(math.sqrt(depth))
    table = np.full((math.ceil(depth / across) * high, across * wide), np.nan, maps.dtype)
    for d in range(depth):
        top, left = d // across * high, d % across * wide
        table[top : top + high, left : left + wide] = maps[d]
    return table


def check(page: str, truth: Truth) -> Counter[str]:
    """Check every number and every map on a page; return how many there are of each name."""
    tree = read(page)
    counted = Counter[str]()
    check_methods(tree, truth)
    for one in tree.all("data"):
        assert set(one.attributes) == {"value", "data-of", "data-as"}
        key, what = one.attributes["data-of"], one.attributes["data-as"]
        value = float(one.attributes["value"])
        expected, room = expected_number(tree, truth, key, what)
        where = f"{key} {what}: {value!r} is on the page, {expected!r} was expected"
        alike = math.isnan(value) and math.isnan(expected)  # nothing is like a sum of zeros
        assert alike or abs(value - expected) <= room, where
        assert reads_as(one.text, value, what), f"{where}; it reads {one.text!r}"
        counted[f"{key.split('/')[0]} {what}"] += 1
    return counted + check_maps(tree, truth)


def check_methods(tree: Node, truth: Truth) -> None:
    """Check which methods are shown, and that numbers are beside the right ones."""
    shown = [one for one in tree.all("article", "method") if list(one.all("figure", "map"))]
    names = [one.one("h4").text for one in shown]
    assert names == [truth.method, *truth.beside] or (not names and not truth.beside)
    for number, one in enumerate(shown[1:]):
        keys = {data.attributes["data-of"].rpartition("/")[0] for data in one.all("data")}
        assert keys <= {f"others/{number}", "beside"}
        assert one.one("figure", "map").attributes["data-map"] == f"beside/{number}"


def expected_number(tree: Node, truth: Truth, key: str, what: str) -> tuple[float, float]:
    """Return a number, and how far what is on the page may be from it."""
    name, _, number = key.partition("/")
    if name == "steps":
        return truth.shares[path_of(rows_of(tree)[int(number)])], 1e-15
    if name == "answers":
        index = int(answers_of(tree)[int(number)].first("small").text)
        found = truth.logits if what == "logit" else truth.logits.softmax(0)
        return float(found[index]), 0.0
    room = {"above": 0.0, "below": 0.0, "likeness": NEAR}.get(what, truth.room(key))
    return truth.number(key, what), room


def answers_of(tree: Node) -> list[Node]:
    """Return the rows of the table of scores."""
    (table,) = (t for t in tree.all("table") if any(t.all("th", "wide")))
    return list(table.one("tbody").all("tr"))


def check_maps(tree: Node, truth: Truth) -> Counter[str]:
    """Check the values of every map, and that there is one for each figure."""
    packed, counted = packed_in(tree), Counter[str]()
    figures = list(tree.all("figure", "map"))
    drawn = {figure.attributes["data-map"] for figure in figures}
    listed = ["weights" if truth.per_channel else "strength", "totals"]
    assert packed["order"] == truth.order
    assert packed["listed"] == listed
    assert set(packed["maps"]) == drawn | set(listed)
    for figure in figures:
        grid = tuple(map(int, figure.attributes["data-grid"].split(",")))
        assert grid == truth[figure.attributes["data-map"]].shape
    for key, one in packed["maps"].items():
        expected = laid_out(truth[key]) if key in drawn else truth[key].numpy()[None]
        step = 1 if key in listed else math.ceil(max(expected.shape) / 64)
        across = math.ceil(math.sqrt(len(truth[key]))) if truth[key].ndim == 3 else 1
        assert (one["step"], one["across"]) == (step, across), key
        expected = expected[::step, ::step]
        found = unpacked(one)
        assert found.shape == expected.shape, key
        assert found.dtype == expected.dtype, key
        room = truth.room(key)
        same = (found == expected) | (np.isnan(found) & np.isnan(expected))
        assert bool((same | (np.abs(found - expected) <= room)).all()), f"the map {key}"
        counted[f"{key.split('/')[0]} map"] += 1
    return counted
