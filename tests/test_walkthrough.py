"""The page of a walkthrough: every number on it is that of the tensor it came from.

The tensors are computed again with deep copies, ordinary hooks and full backwards; the page is read
as a browser reads it.
"""

from __future__ import annotations

import base64
import copy
import dataclasses
import html
import json
import math
import re
import shutil
import subprocess
import tomllib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal
from functools import cache, cached_property
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torchvision
from markupsafe import Markup
from matplotlib import colormaps
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils.flop_counter import FlopCounterMode

import limelight
import limelight.steps
import networks
from limelight.errors import (
    InputError,
    LayerError,
    LimelightError,
    MethodError,
    OutputError,
    TargetError,
    UnknownNameError,
)
from limelight.methods import METHODS
from limelight.photos.samples import find_sample
from limelight.steps.formulas import MINUS, NONE, marked, typeset
from limelight.steps.page import readable
from limelight.steps.walkthrough import Language
from networks import ready
from oracles.methods import Grid, channels_first
from tolerances import assert_agrees

#: How far a sum may be off that is made in another order, or a cosine.
NEAR = 1e-6

# The page, read


@dataclass(eq=False)
class Node:
    """An element of a page."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Node | str] = field(default_factory=list)

    def all(self, tag: str = "", kind: str = "", **attributes: str) -> Iterator[Node]:
        """Yield the elements inside, in order, that have a tag, a class and attributes."""
        for child in self.children:
            if isinstance(child, str):
                continue
            classes = child.attributes.get("class", "").split()
            asked = attributes.items() <= child.attributes.items()
            if tag in ("", child.tag) and (not kind or kind in classes) and asked:
                yield child
            yield from child.all(tag, kind, **attributes)

    def one(self, tag: str = "", kind: str = "", **attributes: str) -> Node:
        (found,) = self.all(tag, kind, **attributes)
        return found

    def first(self, tag: str = "", kind: str = "", **attributes: str) -> Node:
        return next(self.all(tag, kind, **attributes))

    @property
    def text(self) -> str:
        return "".join(one if isinstance(one, str) else one.text for one in self.children)

    @property
    def seen(self) -> str:
        """What people read: no scripts, no styles."""
        hidden = ("script", "style")
        return "".join(
            one if isinstance(one, str) else one.seen
            for one in self.children
            if isinstance(one, str) or one.tag not in hidden
        )


class Reader(HTMLParser):
    """Reads a page into a tree, and refuses tags that are not balanced."""

    void = frozenset({"meta", "link", "img", "br"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Node("page")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"an attribute twice in <{tag}>"
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(node)
        if tag not in self.void:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def read(page: str) -> Node:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert [node.tag for node in reader.open] == ["page"], "elements are left open"
    return reader.open[0]


def packed_in(page: Node) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(page.one("script", id="maps").text))


def unpacked(one: dict[str, Any]) -> npt.NDArray[Any]:
    """Return the values of a map in the page."""
    values = np.frombuffer(base64.b64decode(one["data"]), f"<{one['type']}")
    return values.reshape(one["rows"], one["columns"])


def rows_of(page: Node) -> list[Node]:
    """Return the rows of the table of layers that are layers."""
    table = page.one("table", "layers")
    return [
        row for row in table.all("tr") if row.attributes.get("class") in ("body", "cut", "head")
    ]


def path_of(row: Node) -> str:
    return row.first("code").text


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
    ) -> None:
        self.method, self.layer, self.image = method, layer, image[0]
        self.logits, self.index, raw, slopes = taken(model, image, layer, index)
        self.activations, self.gradients = grid(raw)[0], grid(slopes)[0]
        self.axes = tuple(range(1, self.activations.ndim))
        self.class_weights = (
            dict(model.named_parameters())[f"{fc}.weight"][self.index].detach() if fc else None
        )
        self.shares = multiplications(model, image)
        self.beside = list(beside)

    def spread(self, values: Tensor) -> Tensor:
        """Return one number per channel, `[K]`, ready to multiply maps."""
        return values.reshape(-1, *(1,) * len(self.axes))

    def weighed(self, method: str) -> tuple[Tensor, Tensor]:
        """Return a method's weights, `[K]` or `[K, *grid]`, and what they weigh, by its paper."""
        a, g, axes = self.activations, self.gradients, self.axes
        mean, mass = a.mean(axes), a.sum(axes)
        if method == "gradcam":
            return g.mean(axes), a
        if method == "cam":
            assert self.class_weights is not None
            return self.class_weights, a
        if method == "gradcam++":
            fine, g = a.dtype, g.double()
            alpha = (g**2 / (2 * g**2 + self.spread(mass.double()) * g**3)).nan_to_num(0, 0, 0)
            return (alpha * g.relu()).sum(axes).to(fine), a
        if method == "xgradcam":
            return ((a * g).sum(axes) / mass).nan_to_num(0, 0, 0), a
        if method == "fem":
            rare = a > self.spread(mean) + 2 * self.spread(a.std(axes, correction=0))
            return mean, rare.to(a)
        by_cell = {
            "hirescam": g,
            "input-x-gradient": g,
            "layercam": g.clamp(min=0),
            "gradcam-elementwise": g.masked_fill(g * a < 0, 0),
        }
        return by_cell[method], a

    def parts(self, method: str) -> Tensor:
        weights, values = self.weighed(method)
        return (self.spread(weights) if weights.ndim == 1 else weights) * values

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
    def resized(self) -> Tensor:
        kept, size = self["kept"], self.image.shape[1:]
        mode = ("linear", "bilinear", "trilinear")[len(size) - 1]
        return interpolate(kept[None, None], tuple(size), mode=mode, align_corners=False)[0, 0]

    @cached_property
    def heatmap(self) -> Tensor:
        large = self.resized - self.resized.min()
        return large / large.max()

    def __getitem__(self, key: str) -> Tensor:
        name, *steps = key.split("/")
        found: Any
        match name:
            case "beside":
                found = self.parts(self.beside[int(steps.pop(0))]).sum(0)
            case "others":
                found = self.weighed(self.beside[int(steps.pop(0))])[0]
            case "image" | "activations" | "gradients" | "resized" | "heatmap" | "sums":
                found = getattr(self, name)
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
    if what in ("share", "probability"):
        digits = 1 if what == "share" else 2
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


# The cases


@dataclass(frozen=True)
class Case:
    """A walkthrough, and what computes its tensors again."""

    found: limelight.Walkthrough
    truth: Truth
    model: nn.Module
    image: Tensor


@cache
def embedded() -> tuple[limelight.Network, Image.Image, Tensor]:
    network = limelight.load_model()
    photo = limelight.load_photo(find_sample("chelsea"))
    return network, photo, network.images(photo)


def of_chelsea(method: str, layer: str = "bn2", beside: Sequence[str] | None = ()) -> Case:
    network, photo, images = embedded()
    found = limelight.walkthrough(
        network.model,
        images,
        method=method,
        beside=beside,
        layer=None if layer in ("bn2", limelight.INPUT) else layer,
        classes=network.classes,
        photo=network.preprocess.view(photo),
        preprocess=network.preprocess,
        name=network.name,
    )
    names = [one.method.name for one in found.beside]
    truth = Truth(network.model, images, layer, method, fc="classifier", beside=names)
    return Case(found, truth, network.model, images)


def of(
    model: nn.Module,
    image: Tensor,
    layer: str,
    method: str = "gradcam",
    grid: Grid = channels_first,
    fc: str = "",
    beside: Sequence[str] | None = None,
) -> Case:
    found = limelight.walkthrough(
        model,
        image,
        method=method,
        beside=beside,
        layer=None if layer == limelight.INPUT else layer,
        target=0,
    )
    names = [one.method.name for one in found.beside]
    truth = Truth(model, image, layer, method, grid=grid, index=0, fc=fc, beside=names)
    return Case(found, truth, model, image)


def swin() -> nn.Module:
    return cast("nn.Module", torchvision.models.swin_t(weights=None).eval())


def vit(**options: int) -> nn.Module:
    sizes = {"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 16}
    kind = torchvision.models.VisionTransformer
    model = kind(**(sizes | {"mlp_dim": 32, "num_classes": 7} | options))
    nn.init.normal_(model.heads.head.weight)
    return cast("nn.Module", model.eval())


def last(raw: Tensor) -> Tensor:
    return raw.movedim(-1, 1)


def tokens(prefix: int, *grid: int) -> Grid:
    return lambda raw: raw[:, prefix:].mT.reshape(len(raw), -1, *grid)


def noise(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(1, *shape, dtype=dtype, generator=torch.Generator().manual_seed(1))


double, single = torch.float64, torch.float32
CASES: dict[str, Callable[[], Case]] = {
    "chelsea, gradcam": lambda: of_chelsea("gradcam", beside=None),
    "chelsea, layercam early": lambda: of_chelsea("layercam", "blocks.2", ["fem", "hirescam"]),
    "chelsea, input-x-gradient": lambda: of_chelsea("input-x-gradient", limelight.INPUT),
    "swin_t": lambda: of(swin(), noise(3, 96, 96), "norm", grid=last, fc="head"),
    "a ViT, hirescam": lambda: of(
        vit(), noise(3, 32, 32), "encoder.layers.encoder_layer_1.ln_1", "hirescam", tokens(1, 4, 4)
    ),
    "a ViT, float64": lambda: of(
        ready(networks.TinyViT()),
        noise(3, 12, 16, dtype=double),
        "blocks.1.norm1",
        grid=tokens(3, 3, 4),
    ),
    "a signal": lambda: of(ready(networks.Signal(), single), noise(2, 180), "conv"),
    "a signal, gradcam++": lambda: of(
        ready(networks.Signal(), single), noise(2, 60), "body", "gradcam++"
    ),
    "a volume": lambda: of(ready(networks.Volume(), single), noise(1, 15, 13, 11), "conv"),
    "a volume, fem in float64": lambda: of(
        ready(networks.Volume()), noise(1, 11, 13, 9, dtype=double), "body", "fem"
    ),
    "cam": lambda: of(
        ready(networks.PoolLinear(), single), noise(3, 16, 12), "features", "cam", fc="fc"
    ),
    "cam, float64": lambda: of(
        ready(networks.PoolLinear()), noise(3, 10, 10, dtype=double), "features", "cam", fc="fc"
    ),
    "a residual network, xgradcam in float64": lambda: of(
        ready(networks.ResidualCNN()), noise(3, 24, 32, dtype=double), "block1", "xgradcam"
    ),
    "a residual network, elementwise": lambda: of(
        ready(networks.ResidualCNN(), single), noise(3, 24, 32), "block1", "gradcam-elementwise"
    ),
}


@cache
def case(name: str) -> Case:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CASES[name]()


@cache
def page(name: str, language: Language = "en") -> str:
    return case(name).found.html(language)


# Every number is that of the tensor it came from


@pytest.mark.parametrize("name", CASES)
def test_every_number_and_map_is_that_of_its_tensor(name: str) -> None:
    one = case(name)
    assert one.found.explanation.status[0].ok
    counted = check(page(name), one.truth)
    assert {"score value", "raw map", "heatmap map", "image mean", "steps share"} <= set(counted)
    channels = min(15, len(one.truth.activations))
    assert counted["activations map"] == counted["gradients map"] == channels
    assert counted["beside likeness"] == len(one.found.beside)


@pytest.mark.parametrize("name", ["chelsea, gradcam", "a volume, fem in float64"])
def test_the_chinese_page_has_the_same_numbers(name: str) -> None:
    english, chinese = (check(page(name, language), case(name).truth) for language in ("en", "zh"))
    assert english == chinese


def doctored_weight(text: str, truth: Truth) -> str:
    """Move one weight by 100 of the smallest steps there are."""
    weight = truth["weights"][truth.order[0]].numpy()
    off = weight + 100 * np.spacing(weight)
    return text.replace(f'value="{float(weight)!r}"', f'value="{float(off)!r}"', 1)


def doctored_map(text: str, truth: Truth) -> str:
    """Move one value of one map by a single bit."""
    packed = packed_in(read(text))
    one = packed["maps"][f"gradients/{truth.order[0]}"]
    values = unpacked(one).copy()
    values[0, 0] = np.nextafter(values[0, 0], np.inf, dtype=values.dtype)
    changed = base64.b64encode(values.tobytes()).decode()
    return text.replace(one["data"], changed)


def doctored_channels(text: str, truth: Truth) -> str:
    """Swap the activations of two channels."""
    maps = packed_in(read(text))["maps"]
    live = [k for k in truth.order[:9] if bool(truth.activations[k].any())]
    first, second = (maps[f"activations/{k}"]["data"] for k in live[:2])
    swapped = {first: second, second: first}
    pattern = "|".join(map(re.escape, swapped))
    return re.sub(pattern, lambda match: swapped[match[0]], text)


def doctored_text(text: str, truth: Truth) -> str:
    """Cut a digit of the score off rather than round it."""
    value = float(truth["score"])
    told = re.search(rf'data-of="score" data-as="value">({value:.4g})<', text)
    assert told is not None
    return text.replace(f'data-as="value">{told[1]}<', f'data-as="value">{told[1][:-1]}<', 1)


def doctored_name(text: str, truth: Truth) -> str:
    """Call a number what nobody knows."""
    return text.replace('data-of="score"', 'data-of="scores"', 1)


def doctored_mean(text: str, truth: Truth) -> str:
    """Give the share of work of another layer."""
    first, second = re.findall(r'<data value="[^"]+" data-of="steps/[01]" data-as="share">', text)[
        :2
    ]
    value = second.split('"')[1]
    return text.replace(first, re.sub(r'value="[^"]+"', f'value="{value}"', first), 1)


@pytest.mark.parametrize(
    "doctor",
    [
        doctored_weight,
        doctored_map,
        doctored_channels,
        doctored_text,
        doctored_name,
        doctored_mean,
    ],
)
def test_a_doctored_page_is_caught(doctor: Callable[[str, Truth], str]) -> None:
    truth = case("swin_t").truth
    wrong = doctor(page("swin_t"), truth)
    assert wrong != page("swin_t")
    with pytest.raises((AssertionError, AttributeError)):
        check(wrong, truth)


def test_shares_of_work_are_those_of_the_shapes() -> None:
    network, _, images = embedded()
    total = convolution_work(network.model, images)
    done = 0.0
    twin = copy.deepcopy(network.model).eval()
    stem = {"": 0.0}

    def note(module: nn.Module, args: object, output: Tensor) -> None:
        stem[""] = output.numel() * cast("Tensor", module.weight)[0].numel()

    twin.get_submodule("conv_stem").register_forward_hook(note)
    with torch.no_grad():
        twin(images)
    done = stem[""] / total
    tree = read(page("chelsea, gradcam"))
    (row,) = (row for row in rows_of(tree) if path_of(row) == "conv_stem")
    assert_agrees(float(row.one("data").attributes["value"]), done)
    last_row = rows_of(tree)[-1]
    assert float(last_row.one("data").attributes["value"]) == 1


def test_the_answers_are_the_first_five_and_the_explained_one() -> None:
    tree, truth = read(page("chelsea, gradcam")), case("chelsea, gradcam").truth
    rows = answers_of(tree)
    shown = [int(row.first("small").text) for row in rows]
    assert shown == truth.logits.topk(5).indices.tolist()
    assert [row.attributes.get("class") for row in rows] == ["cut", *[None] * 4]
    network, _, images = embedded()
    found = limelight.walkthrough(network.model, images, target=7, beside=[])
    rows = answers_of(read(found.html()))
    assert [int(row.first("small").text) for row in rows] == [*shown, 7]
    assert rows[-1].attributes["class"] == "cut"
    assert "cock 7" in rows[-1].text


def test_the_cards_show_the_channels_that_weigh_most_add_most_and_weigh_least() -> None:
    tree, truth = read(page("chelsea, gradcam")), case("chelsea, gradcam").truth
    cards = list(tree.all("article", "card"))
    named = [int(card.one("h4").text.removeprefix("channel ")) for card in cards]
    size = truth["contributions"].abs().flatten(1).mean(1)
    by_added = size.argsort(descending=True, stable=True).tolist()
    adding = [k for k in by_added if k not in truth.order[:6]][:6]
    weakest = [k for k in truth.order[::-1] if k not in adding][:3]
    assert named == truth.order[:6] + adding + weakest
    for k, card in zip(named, cards, strict=True):
        keys = [figure.attributes["data-map"] for figure in card.all("figure")]
        assert keys == [f"{name}/{k}" for name in ("activations", "gradients", "contributions")]


def test_the_bars_are_the_weights_from_highest_to_lowest() -> None:
    tree, truth = read(page("chelsea, gradcam")), case("chelsea, gradcam").truth
    weights = sorted(truth["weights"].tolist(), reverse=True)
    scale = 200 / (weights[0] - weights[-1])
    for kind in ("above", "below"):
        drawn = [
            float(y) for y in re.findall(r"V([-\d.]+)H", tree.one("path", kind).attributes["d"])
        ]
        sign = 1 if kind == "above" else -1
        heights = [max(0.0, sign * w) * scale * sign for w in weights]
        expected = [weights[0] * scale - h for h in heights]
        assert drawn == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize("name", CASES)
def test_layers_are_those_that_ran_with_the_shapes_that_they_put_out(name: str) -> None:
    one, shapes = case(name), dict[str, list[int]]()
    twin = copy.deepcopy(one.model).eval()

    def note(path: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: object, output: Any) -> None:
            output = output[0] if isinstance(output, tuple) else output
            shapes[path] = list(output.shape)

        return hook

    for path, module in twin.named_modules():
        module.register_forward_hook(note(path))
    with torch.no_grad():
        twin(one.image)
    for row in rows_of(read(page(name))):
        path, kind, shape = (cell.text for cell in list(row.all("td"))[1:4])
        path = path.partition("#")[0]
        assert kind == type(twin.get_submodule(path)).__name__
        assert json.loads(shape) == shapes[path]


# Pictures


def decoded(figure: Node) -> npt.NDArray[Any]:
    source = figure.first("img").attributes["src"]
    kind, _, data = source.partition(";base64,")
    assert kind == "data:image/png"
    with Image.open(BytesIO(base64.b64decode(data))) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


@pytest.mark.parametrize("name", CASES)
def test_maps_are_drawn_in_the_colours_of_their_values(name: str) -> None:
    truth = case(name).truth
    for figure in read(page(name)).all("figure", "map"):
        key = figure.attributes["data-map"]
        table, (low, high) = laid_out(truth[key]), truth.ends(key)
        step = math.ceil(max(table.shape) / 256)
        signed = low < 0 or key.split("/")[0] not in ("activations", "kept", "heatmap")
        bar = figure.one("div", "bar").attributes["class"]
        assert bar == ("bar signed" if signed else "bar plain")
        values = table[::step, ::step].astype(float)
        share = (values - low) / (high - low) if high > low else np.full_like(values, signed / 2)
        coloured = colormaps["RdBu_r" if signed else "inferno"](share)[..., :3] * 255
        expected = np.where(np.isnan(values)[..., None], 128, coloured)
        # Colours are 255 at most, and neighbours of 255 are up to 5 apart.
        assert np.abs(decoded(figure) - expected).max() <= 5, key


def test_the_input_is_drawn_as_it_was_seen() -> None:
    network, _, images = embedded()
    tree = read(page("chelsea, gradcam"))
    (shown,) = (
        one
        for one in tree.all("figure", "picture")
        if "in its own colours" in one.one("figcaption").text
    )
    data = shown.one("img").attributes["src"].partition(";base64,")[2]
    with Image.open(BytesIO(base64.b64decode(data))) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(float)
    mean, std = (np.array(one) for one in (network.preprocess.mean, network.preprocess.std))
    expected = (images[0].permute(1, 2, 0).numpy() * std + mean) * 255
    assert np.abs(pixels - expected).max() <= 0.51


# Laws


@pytest.mark.parametrize(
    "method", [name for name, row in METHODS.items() if row.by_channel and row.place != "network"]
)
def test_contributions_add_up_to_the_raw_map(method: str) -> None:
    model, image = ready(networks.PoolLinear()), noise(3, 12, 10, dtype=double)
    layer = None if METHODS[method].place == "input" else "features"
    options = {"sscam": ":samples=2", "iscam": ":samples=2"}.get(method, "")
    found = limelight.walkthrough(
        model, image, method=method + options, layer=layer, beside=[], target=0
    )
    raw, room = found.explanation.raw[0], NEAR * float(found.contributions.abs().sum(0).max())
    assert float((found.contributions.sum(0) - raw).abs().max()) <= room
    assert float((found.sums[-1] - raw).abs().max()) <= room
    assert found.counts[-1] == len(found.weights) == len(found.order)
    assert list(found.counts) == sorted(set(found.counts))
    strength = found.strength[found.order]
    assert bool((strength[1:] <= strength[:-1]).all())
    assert found.weighs_activations == (method != "fem")
    read(found.html())


def test_the_order_of_equal_weights_is_that_of_the_channels() -> None:
    found = limelight.walkthrough(
        ready(networks.PoolLinear()), noise(3, 8, 8, dtype=double), method="fem", beside=[]
    )
    flat = torch.ones_like(found.weights)
    same = dataclasses.replace(found, weights=flat)
    assert same.order.tolist() == list(range(8))
    assert same.counts == (1, 2, 5, 8)


def sides(found: limelight.Walkthrough) -> list[str]:
    return [step.side for step in found.steps]


def is_split(found: limelight.Walkthrough) -> None:
    """Check that the rows are a body, the layer at which the network was cut, and a head."""
    layer = found.explanation.layer
    order = {"body": 0, "cut": 1, "head": 2}
    ranks = [order[side] for side in sides(found)]
    assert ranks == sorted(ranks)
    assert [step.path for step in found.steps if step.side == "cut"] == [layer]
    assert not [step.path for step in found.steps if layer.startswith(f"{step.path}.")]
    inside = [step.side for step in found.steps if step.path.startswith(f"{layer}.")]
    assert set(inside) <= {"body"}
    shares = [step.share for step in found.steps]
    assert shares == sorted(shares)
    assert_agrees(shares[-1], 1)


NETWORKS = {
    "resnet50": 64,
    "vgg16": 64,
    "vit_b_16": 32,
    "swin_t": 64,
    "densenet121": 64,
    "mobilenet_v3_large": 64,
    "squeezenet1_0": 64,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_torchvision_are_unfolded_so_that_they_can_be_read(name: str) -> None:
    size = NETWORKS[name]
    options = {"image_size": size} if name.startswith("vit") else {}
    model = getattr(torchvision.models, name)(weights=None, **options).eval()
    found = limelight.walkthrough(model, noise(3, size, size), beside=[], target=0)
    assert 4 <= len(found.steps) <= 40
    is_split(found)


@pytest.mark.parametrize(
    ("layer", "number"),
    [("stem", 0), ("stem.0", 0), ("block1", 0), ("block1.conv2", 0), ("block2.relu#1", 1)],
)
def test_the_layer_at_which_it_is_cut_is_always_shown(layer: str, number: int) -> None:
    found = limelight.walkthrough(
        ready(networks.ResidualCNN()),
        noise(3, 16, 16, dtype=double),
        layer=layer,
        beside=[],
        target=0,
    )
    assert found.explanation.layer == layer
    assert found.explanation.reason == "named"
    is_split(found)
    assert "it was asked for" in read(found.html()).seen


def test_a_cut_at_the_input_has_no_body() -> None:
    found = case("chelsea, input-x-gradient").found
    assert set(sides(found)) == {"head"}
    tree = read(page("chelsea, input-x-gradient"))
    lines = list(tree.all("tr", "cutline"))
    assert [line.text for line in lines] == ["✂ cut: A is the image"]
    named = limelight.walkthrough(
        case("cam").model, case("cam").image, layer=limelight.INPUT, beside=[]
    )
    assert set(sides(named)) == {"head"}


# The page


LANGUAGES: tuple[Language, ...] = ("en", "zh")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", CASES)
def test_a_page_asks_for_nothing_and_leaves_nothing_open(name: str, language: Language) -> None:
    text = page(name, language)
    tree = read(text)
    assert len(text.encode()) < 3e6
    bare = re.sub(r"data:image/\w+;base64,[\w+/=]+", "", text)
    bare = bare.replace(tree.one("script", id="maps").text, "")
    assert not re.search(r"https?:|//\w+\.|@import|url\(|fetch|XMLHttp", bare)
    assert tree.one("html").attributes["lang"] == language
    for node in tree.all():
        for attribute in ("src", "href", "srcset", "data", "action", "poster", "srcdoc"):
            assert node.attributes.get(attribute, "data:").startswith("data:")
        assert node.tag not in ("iframe", "object", "embed", "form", "base")
    policy = tree.one("meta", **{"http-equiv": "Content-Security-Policy"}).attributes["content"]
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    ids = [node.attributes["id"] for node in tree.all() if "id" in node.attributes]
    assert len(set(ids)) == len(ids)
    for image in tree.all("img"):
        assert image.attributes["alt"].strip()
    seen = "\n".join([tree.seen, *(i.attributes["alt"] for i in tree.all("img"))])
    assert not re.search(r"[$]|THING|WEIGHT|\bNone\b|Undefined|\{\w*\}", seen)


def test_a_page_of_the_whole_input_is_no_larger_than_can_be_mailed() -> None:
    found = case("chelsea, input-x-gradient").found
    assert len(found.html().encode()) < 3e6
    assert found.activations.shape == (3, 224, 224)


def told(language: str) -> dict[str, Any]:
    folder = Path(limelight.steps.__file__).parent / "html"
    return tomllib.loads((folder / f"{language}.toml").read_text(encoding="utf-8"))


def flat(texts: dict[str, Any], above: str = "") -> dict[str, str]:
    found = dict[str, str]()
    for key, text in texts.items():
        if isinstance(text, dict):
            found |= flat(text, f"{above}{key}.")
        elif isinstance(text, list):
            found |= {f"{above}{key}.{number}": one for number, one in enumerate(text)}
        else:
            found[above + key] = text
    return found


def test_both_languages_say_the_same() -> None:
    texts = [flat(told(language)) for language in LANGUAGES]
    own = ("methods.", "reasons.")  # in English these are the library's own
    english, chinese = (
        {key: text for key, text in one.items() if not key.startswith(own)} for one in texts
    )
    assert set(english) == set(chinese)
    for key, text in english.items():
        other = chinese[key]
        for pattern in (r"\{\w+\}", r"\$[^$]+\$", r"</?\w+>", r"WEIGHT"):
            assert sorted(re.findall(pattern, text)) == sorted(re.findall(pattern, other)), key
        assert ("THING" in text) <= ("THING" in other or "photo" in key), key


def test_chinese_names_every_method_that_is_shown_unasked() -> None:
    page("chelsea, gradcam", "zh")
    by_default = {"gradcam", *(one.method.name for one in case("chelsea, gradcam").found.beside)}
    chinese = told("zh")["methods"]
    assert by_default <= set(chinese)
    assert set(chinese) <= set(METHODS)


def test_the_chinese_page_gives_the_reason_for_the_layer_in_chinese() -> None:
    reason = case("chelsea, gradcam").found.explanation.reason
    assert reason in told("zh")["reasons"]
    tree = read(page("chelsea, gradcam", "zh"))
    assert reason not in tree.seen
    assert told("zh")["reasons"][reason] in tree.seen
    assert reason in read(page("chelsea, gradcam")).seen
    sentences = re.findall(r"(?:\b[A-Za-z]{2,}\b[ ,]+){5,}", tree.one("main").seen)
    assert [one for one in sentences if "import" not in one and "=" not in one] == []


EVIL = "<b>&\"'{score} $x$ </script>"


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_with_html_in_them_are_only_text(language: Language) -> None:
    model, image = case("cam").model, case("cam").image
    found = limelight.walkthrough(
        model,
        image,
        target=2,
        classes=[f"{EVIL}{number}" for number in range(5)],
        name=f"{EVIL}net",
        language=language,
    )
    text = found.html()
    tree = read(text)
    assert EVIL not in text
    for where in (tree.one("title"), tree.one("p", "lead"), tree.one("main")):
        assert f"{EVIL}2" in where.text
    assert f"{EVIL}net" in tree.one("dl").text
    assert sum(f"{EVIL}{number} {number}" in tree.text for number in range(5)) == 5
    assert not [b for b in tree.all("b") if EVIL[3:] in b.text and b.text[:3] != "<b>"]


def test_names_of_layers_with_html_in_them_are_only_text() -> None:
    model = nn.Sequential(OrderedDict([("<i>&", nn.Conv2d(3, 4, 3)), ("head", Pooled(4, 3))]))
    found = limelight.walkthrough(model, noise(3, 9, 9), layer="<i>&", beside=[])
    tree = read(found.html())
    assert "<i>&" not in found.html().replace("&lt;i&gt;&amp;", "")
    assert path_of(rows_of(tree)[0]) == "<i>&"


class Pooled(nn.Sequential):
    """An average pool and a linear layer."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


def test_a_notebook_shows_the_very_page() -> None:
    found = case("cam").found
    shown = found._repr_html_()
    assert read(shown).one("iframe").attributes["srcdoc"] == page("cam")
    assert html.unescape(shown.split('"')[1]) == page("cam")


def test_the_page_is_written_as_it_is(tmp_path: Path) -> None:
    found = case("cam").found
    for name in ("deep/er/page.html", "page.HTM"):
        path = found.save(tmp_path / name)
        assert path.read_bytes() == found.html().encode()
    chinese = found.save(tmp_path / "zh.html", language="zh")
    assert read(chinese.read_text(encoding="utf-8")).one("html").attributes["lang"] == "zh"
    assert repr(found).startswith("Walkthrough(PoolLinear; Explanation(class 0;")


def test_two_runs_give_the_same_page() -> None:
    model, image = case("cam").model, case("cam").image
    one, other = (limelight.walkthrough(model, image, target=0).html() for _ in range(2))
    assert one == other


def test_the_code_on_the_page_gives_the_numbers_on_it() -> None:
    for name in ("chelsea, gradcam", "a volume", "a ViT, hirescam", "a signal, gradcam++"):
        one = case(name)
        code = read(page(name)).one("pre").text
        space = dict[str, Any](model=one.model, images=one.image)
        exec(code, space)
        raw = space["raw"] if "raw" in space else space["result"].raw
        assert_agrees(raw, one.found.explanation.raw)


def test_the_code_on_the_page_does_not_explain_something_else() -> None:
    model, image = case("cam").model, case("cam").image
    for target in (limelight.Contrast(0, 1), limelight.Counterfactual(0), lambda y: y[:, 2]):
        found = limelight.walkthrough(model, image, layer="features", target=target, beside=[])
        code = read(found.html()).one("pre").text
        space: dict[str, Any] = {"model": model, "images": image, "target": target}
        exec(code, space)
        raw = space["raw"] if "raw" in space else space["result"].raw
        assert_agrees(raw, found.explanation.raw)


# What goes wrong, and is said


class Dead(nn.Module):
    """Convolutions whose score is `sign` times their mean."""

    def __init__(self, sign: float) -> None:
        super().__init__()
        self.conv, self.sign = nn.Conv2d(3, 4, 3), sign

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.sign * self.conv(x).relu().mean((2, 3)))


def disconnected() -> limelight.Walkthrough:
    return limelight.walkthrough(
        ready(networks.TinyViT()), noise(3, 12, 16, dtype=double), layer="norm"
    )


def flat_map() -> limelight.Walkthrough:
    model = ready(Dead(1), single)
    nn.init.constant_(cast("Tensor", model.conv.bias), 1.0)
    return limelight.walkthrough(model, torch.zeros(1, 3, 8, 8), layer="conv")


def not_finite() -> limelight.Walkthrough:
    model = ready(networks.PoolLinear(), single)
    nn.init.constant_(model.fc.weight, math.nan)
    return limelight.walkthrough(model, noise(3, 8, 8), target=0, layer="features")


def overflowing() -> limelight.Walkthrough:
    model = ready(networks.PoolLinear(), single)
    nn.init.constant_(model.fc.weight, math.inf)
    return limelight.walkthrough(
        model, noise(3, 8, 8), target=0, layer="features", method="layercam"
    )


def against_all() -> limelight.Walkthrough:
    model = ready(Dead(-1), single)
    nn.init.constant_(cast("Tensor", model.conv.bias), 5.0)
    return limelight.walkthrough(model, noise(3, 8, 8), layer="conv", target=1)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("make", "status"),
    [
        (disconnected, "disconnected"),
        (flat_map, "flat"),
        (not_finite, "not-finite"),
        (overflowing, "not-finite"),
        (against_all, "no-positive-evidence"),
    ],
)
def test_a_map_that_is_worth_nothing_says_so(
    make: Callable[[], limelight.Walkthrough], status: str, language: Language
) -> None:
    found = make()
    assert found.explanation.status[0].name == status
    text = found.html(language)
    tree, words = read(text), told(language)
    assert tree.one("dd", "bad").text == words["status"][status]
    warnings = [one.text for one in tree.all("p", "warning")]
    assert found.explanation.status[0].message in warnings
    assert words["resize"]["worthless"] in warnings
    assert not unpacked(packed_in(tree)["maps"]["heatmap"]).any()
    for one in tree.all("data"):
        value = float(one.attributes["value"])
        shown = one.text.replace(MINUS, "-")
        assert shown != "-0"
        if not math.isfinite(value) and one.attributes["data-as"] not in ("share", "probability"):
            assert shown == (NONE if math.isnan(value) else f"{value:g}")


def test_methods_that_cannot_be_done_are_shown_with_the_reason() -> None:
    found = case("a ViT, hirescam").found
    assert [one.method for one in found.skipped] == ["cam"]
    tree = read(page("a ViT, hirescam"))
    (card,) = (one for one in tree.all("article", "method") if one.one("h4").text == "cam")
    assert "not possible here: CAM needs a head that is an average pool" in card.text
    assert found.skipped[0].reason in card.text


def test_beside_may_be_none_and_may_be_any_method_of_the_layer() -> None:
    model, image = case("cam").model, case("cam").image
    alone = limelight.walkthrough(model, image, beside=[], layer="features")
    tree = read(alone.html())
    assert alone.beside == ()
    others = limelight.walkthrough(
        model,
        image,
        beside=["eigencam", "saliency", "occlusion:patch=0.5", "random", "fem:deviations=1"],
        layer="features",
    )
    shown = [str(one.method) for one in others.beside]
    assert shown[2:] == ["occlusion:patch=0.5", "random", "fem:deviations=1"]
    assert [one.weights is None for one in others.beside] == [True, True, True, True, False]
    tree = read(others.html())
    names = [one.one("h4").text for one in tree.all("article", "method")]
    assert names == ["gradcam", *shown]


# The model is left alone


def state(model: nn.Module) -> list[object]:
    """Return everything about a model that a run might have changed."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [
        (
            path,
            module.training,
            sorted(vars(module)),
            [len(getattr(module, name)) for name in hooks],
            [(name, id(p), p._version, p.grad, p.requires_grad) for name, p in own(module)],
        )
        for path, module in model.named_modules()
    ]


def own(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(recurse=False)
    yield from module.named_buffers(recurse=False)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training: bool) -> None:
    model, image = ready(networks.ResidualCNN(), single).train(training), noise(3, 16, 16)
    before, weights = state(model), copy.deepcopy(model.state_dict())
    kept = image.clone()
    limelight.walkthrough(model, image).html()
    for wrong in ({"target": 99}, {"layer": "drop"}, {"method": "cam"}, {"chunk": 0}):
        with pytest.raises(LimelightError):
            limelight.walkthrough(model, image, **wrong)
    assert state(model) == before
    assert torch.equal(image, kept)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights[name])


def test_a_model_that_raises_is_left_as_it_was() -> None:
    model = ready(networks.RaisesLate(), single)
    before = state(model)
    with pytest.raises(RuntimeError, match="in the middle of the model"):
        limelight.walkthrough(model, noise(3, 12, 12), layer="second")
    assert state(model) == before


# Errors


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (
            {"method": "eigencam"},
            MethodError,
            "'eigencam' is not a sum over channels of one layer, so there are",
        ),
        ({"method": "eigencam"}, MethodError, "'eigencam' can be shown beside it"),
        ({"method": "saliency"}, MethodError, "Take one of cam, gradcam, gradcam"),
        ({"method": "gardcam"}, UnknownNameError, "Did you mean 'gradcam'"),
        ({"method": "fem:deviation=1"}, UnknownNameError, "Did you mean 'deviations'"),
        (
            {"beside": ["rollout"]},
            MethodError,
            "'rollout' reads the whole network, so it cannot be",
        ),
        ({"beside": ["gradcan"]}, UnknownNameError, "Did you mean 'gradcam'"),
        ({"language": "de"}, UnknownNameError, "no language named 'de'. There are en and zh"),
        ({"layer": "featurs"}, UnknownNameError, "Did you mean 'features'"),
        ({"layer": "fc"}, LayerError, "fc"),
        ({"target": 5}, TargetError, "an index from 0 to 4 was expected"),
        ({"target": "cat"}, TargetError, "the names of the model's 5 classes are not known"),
        (
            {"target": "elf", "classes": ["ant", "bee", "cat", "dog", "elk"]},
            UnknownNameError,
            "Did you mean 'elk'",
        ),
    ],
)
def test_what_is_wrong_is_said(
    options: dict[str, Any], error: type[LimelightError], text: str
) -> None:
    with pytest.raises(error, match=re.escape(text)):
        limelight.walkthrough(case("cam").model, case("cam").image, **options)


def test_a_method_of_the_whole_network_is_not_offered_beside() -> None:
    with pytest.raises(MethodError, match="not a sum over channels") as said:
        limelight.walkthrough(case("cam").model, case("cam").image, method="rollout")
    assert "can be shown beside" not in str(said.value)


def test_one_image_was_expected() -> None:
    with pytest.raises(InputError, match=r"There are 2 images; one was expected\. Pass images"):
        limelight.walkthrough(case("cam").model, torch.cat([case("cam").image] * 2))


def test_a_page_in_no_known_language() -> None:
    with pytest.raises(UnknownNameError, match=r"no language named 'fr'"):
        case("cam").found.html("fr")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["page.pdf", "page", "page.html.gz"])
def test_a_page_is_written_as_html_alone(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="its suffix should be one of html, htm"):
        case("cam").found.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="Cannot write"):
        case("cam").found.save(tmp_path / "file" / "page.html")
    with pytest.raises(UnknownNameError):
        case("cam").found.save(tmp_path / "page.html", language="fr")  # type: ignore[arg-type]
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


# Formulas


ALPHA = "\N{GREEK SMALL LETTER ALPHA}"


def plain(formula: str) -> str:
    """Return the letters of a formula that has to be left over when it is set."""
    signs = {"alpha": ALPHA, "psi": "ψ", "phi": "φ", "sum": "∑", "prod": "∏", "int": "∫"}
    words = re.sub(r"\bd(?=[A-Za-z]'?[_/])|\bd(?=[AX]\b)", "∂", formula)
    words = re.sub(r"[A-Za-z]+", lambda match: signs.get(match[0], match[0]), words)
    words = words.replace("relu", "ReLU").replace("<-", "←").replace("*", "·")
    return re.sub(r"[_^](?=[A-Za-z0-9])", "", words).replace("-", MINUS)


@pytest.mark.parametrize("write", [typeset, marked])
@pytest.mark.parametrize("name", METHODS)
def test_formulas_of_all_methods_are_set_whole(name: str, write: Callable[[str], Markup]) -> None:
    formula = METHODS[name].formula
    tree = read(str(write(formula)))  # which refuses tags that are not balanced
    assert {node.tag for node in tree.all()} <= {"i", "sub", "sup", "mark"}
    assert tree.text == plain(formula)
    assert not re.search(r"[_^](?=\w)", tree.text)
    if write is marked:
        assert tree.one("mark").text.strip()


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("A_k", "<i>A</i><sub>k</sub>"),
        ("dy_c/dA_k,ij", "∂<i>y</i><sub>c</sub>/∂<i>A</i><sub>k,ij</sub>"),
        ("sum_k w_k^c A_k", "∑<sub>k</sub> <i>w</i><sub>k</sub><sup>c</sup> <i>A</i><sub>k</sub>"),
        ("alpha_k * -1", f"{ALPHA}<sub>k</sub> · {MINUS}1"),
        ("relu(x) < max(x)", "ReLU(<i>x</i>) &lt; max(<i>x</i>)"),
        ("R <- d", "<i>R</i> ← <i>d</i>"),
        ("X'_k & (H A)_k", "<i>X&#39;</i><sub>k</sub> &amp; (<i>H</i> <i>A</i>)<sub>k</sub>"),
        ("<b>", "&lt;<i>b</i>&gt;"),
    ],
)
def test_formulas_are_set_as_people_write_them(formula: str, expected: str) -> None:
    assert str(typeset(formula)) == expected


def test_what_sets_a_method_apart_is_marked() -> None:
    assert str(marked("sum_k g_k A_k")) == (
        "∑<sub>k</sub> <mark><i>g</i><sub>k</sub></mark> <i>A</i><sub>k</sub>"
    )
    assert str(marked("uniform")) == "<mark>uniform</mark>"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (-1.23456, "-1.235"),
        (0.001, "0.001"),
        (0.00099999, "1.000e-3"),
        (-1.5e-4, "-1.500e-4"),
        (12345.0, "1.234e4"),
        (123456.0, "1.235e5"),
        (1e-12, "1.000e-12"),
        (1e100, "1.000e100"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
    ],
)
def test_numbers_are_written_for_people(value: float, text: str) -> None:
    assert readable(value) == text.replace("-", MINUS)


# In a browser


#: Reads pages in frames 400 pixels wide: how wide they are, what pointing and the table show.
PROBE = """
<script>
addEventListener("load", () => {
  const report = [];
  for (const frame of document.querySelectorAll("iframe")) {
    const page = frame.contentDocument, view = frame.contentWindow, told = {};
    const root = page.documentElement;
    told.wide = [root.scrollWidth, root.clientWidth];
    told.pointed = {};
    const pointed = (figure, x, y) => {
      const cells = figure.querySelector(".cells");
      cells.scrollIntoView();
      const box = cells.getBoundingClientRect();
      const at = { clientX: box.left + x * box.width, clientY: box.top + y * box.height };
      cells.dispatchEvent(new view.PointerEvent("pointermove", { bubbles: true, ...at }));
      return figure.querySelector("output").textContent;
    };
    for (const figure of page.querySelectorAll(".map")) {
      const corner = pointed(figure, 0.99, 0.99);
      const text = pointed(figure, 0.4, 0.6);
      const others = [...page.querySelectorAll(".map")];
      told.pointed[figure.dataset.map] = {
        text, corner,
        marked: others.filter((one) => one.querySelector(".mark").style.display === "block").length,
        linked: others.filter((one) => one.dataset.grid === figure.dataset.grid).length,
        written: others.filter((one) => one.querySelector("output").textContent).length,
      };
    }
    const first = page.querySelector(".map");
    const press = (key) => first.dispatchEvent(new view.KeyboardEvent("keydown", { key }));
    const keys = ["ArrowUp", "ArrowLeft", "x", "ArrowDown", "ArrowRight", "ArrowRight"];
    told.keys = keys.map((key) => {
      press(key);
      return first.querySelector("output").textContent;
    });
    const all = page.getElementById("all");
    all.open = true;
    all.dispatchEvent(new view.Event("toggle"));
    told.table = [...all.querySelectorAll("tbody tr")].map(
      (row) => [...row.cells].map((cell) => cell.textContent)
    );
    report.push(told);
  }
  const out = document.createElement("pre");
  out.id = "report";
  out.textContent = JSON.stringify(report);
  document.body.append(out);
});
</script>
"""


@dataclass(frozen=True)
class Browsed:
    """What a browser made of pages."""

    report: list[dict[str, Any]]
    console: list[str]
    asked: set[str]


BROWSED = ("a volume, fem in float64", "a signal", "swin_t", "chelsea, input-x-gradient")


@pytest.fixture(scope="module")
def browsed(tmp_path_factory: pytest.TempPathFactory) -> Browsed:
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("there is no chromium on the PATH")
    folder = tmp_path_factory.mktemp("browser")
    frames = [case(name).found._repr_html_() for name in BROWSED]
    narrow = [frame.replace('style="width: 100%', 'style="width: 400px') for frame in frames]
    # So that the probe may look inside.
    closed = 'sandbox="allow-scripts"'
    assert all(closed in frame for frame in frames)
    narrow = [frame.replace(closed, "") for frame in narrow]
    (folder / "frames.html").write_text(
        f"<!doctype html><meta charset=utf-8><body>{''.join(narrow)}{PROBE}", encoding="utf-8"
    )
    done = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
            *("--disable-sync", f"--user-data-dir={folder / 'profile'}", "--window-size=900,900"),
            *("--enable-logging=stderr", "--v=0", f"--log-net-log={folder / 'net.json'}"),
            *("--net-log-capture-mode=Everything", "--host-resolver-rules=MAP * ~NOTFOUND"),
            *("--virtual-time-budget=20000", "--dump-dom"),
            (folder / "frames.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    log = (folder / "net.json").read_text(encoding="utf-8", errors="replace")
    # The browser asks for updates of itself, of no page's accord.
    lines = [line for line in log.splitlines() if '"initiator":' in line]
    asked = {line for line in lines if '"initiator":"not an origin"' not in line}
    reader = Reader()
    told = re.search(r'<pre id="report">(.*?)</pre>', done.stdout, re.DOTALL)
    assert told is not None, done.stderr[-2000:]
    reader.feed(told[0])
    return Browsed(json.loads(reader.open[0].one("pre").text), console, asked)


def test_a_browser_has_nothing_to_complain_of_and_asks_for_nothing(browsed: Browsed) -> None:
    assert browsed.console == []
    assert browsed.asked == set()
    assert len(browsed.report) == len(BROWSED)


@pytest.mark.parametrize("name", BROWSED)
def test_a_page_fits_a_telephone(browsed: Browsed, name: str) -> None:
    wide, inside = browsed.report[BROWSED.index(name)]["wide"]
    assert wide <= inside <= 400


@pytest.mark.parametrize("name", BROWSED)
def test_pointing_at_a_map_tells_the_value_of_the_cell(browsed: Browsed, name: str) -> None:
    told, truth = browsed.report[BROWSED.index(name)], case(name).truth
    assert set(told["pointed"]) == set(packed_in(read(page(name)))["maps"]) - {
        *packed_in(read(page(name)))["listed"]
    }
    for key, seen in told["pointed"].items():
        values = truth[key]
        table = laid_out(values)
        step = math.ceil(max(table.shape) / 64)
        rows, columns = (math.ceil(side / step) for side in table.shape)
        row, column = int(0.6 * rows) * step, int(0.4 * columns) * step
        where = re.fullmatch(r"\[([\d, ]+)\] (.*)", seen["text"])
        assert where is not None, seen
        place = tuple(map(int, where[1].split(", ")))
        # Boxes are not a whole number of pixels: the cell may be the one beside it.
        assert len(place) == values.ndim
        if values.ndim == 3:
            across = math.ceil(math.sqrt(len(values)))
            high, wide = values.shape[1:]
            assert place == (row // high * across + column // wide, row % high, column % wide)
            inside = place[0] < len(values)
        else:
            assert place == ((row, column) if values.ndim == 2 else (column,))
            inside = True
        if inside:
            assert where[2] == readable(float(values[place])), (key, place)
        assert seen["marked"] == seen["written"] == seen["linked"] >= 1


def test_pointing_tells_of_no_slice_that_there_is_not(browsed: Browsed) -> None:
    truth = case(BROWSED[0]).truth
    for key, seen in browsed.report[0]["pointed"].items():
        place = re.match(r"\[(\d+), ", seen["corner"])
        assert place is None or int(place[1]) < len(truth[key]), (key, seen["corner"])
        assert "NaN" not in seen["corner"], key


@pytest.mark.parametrize("name", BROWSED)
def test_keys_move_about_a_map_and_stay_in_it(browsed: Browsed, name: str) -> None:
    told, truth = browsed.report[BROWSED.index(name)], case(name).truth
    values = truth[f"activations/{truth.order[0]}"]
    table = laid_out(values)
    step = math.ceil(max(table.shape) / 64)
    high, wide = ((side - 1) // step * step for side in table.shape)
    # From where it was pointed at last; x is no arrow.
    places = [re.match(r"\[([\d, ]+)\]", text) for text in told["keys"]]
    if values.ndim == 2:
        found = [tuple(map(int, place[1].split(", "))) for place in places if place]
        row, column = found[0][0] + step, found[0][1]
        row = row if row <= high and found[3][0] else found[0][0]
        left, right = max(0, column - step), min(wide, max(0, column - step) + step)
        down = min(high, found[0][0] + step)
        assert found[1:5] == [
            (found[0][0], left),
            (found[0][0], left),
            (down, left),
            (down, right),
        ]
    assert len([place for place in places if place]) == len(told["keys"])


@pytest.mark.parametrize("name", BROWSED)
def test_the_table_lists_every_channel(browsed: Browsed, name: str) -> None:
    told, truth = browsed.report[BROWSED.index(name)], case(name).truth
    weights = truth["weights" if truth.per_channel else "strength"]
    expected = [
        [str(rank), str(k), readable(float(weights[k])), readable(float(truth["totals"][k]))]
        for rank, k in enumerate(truth.order, start=1)
    ]
    assert told["table"] == expected
