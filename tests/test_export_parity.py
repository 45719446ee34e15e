"""Whether an exported file returns, in onnxruntime, what papers and a full backward say it should.

The limit is the one that limelight claims: raw maps to 1e-4 of their largest value, logits too, and
heatmaps to 1e-4.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import limelight
from helpers import export_networks as small
from helpers import networks
from helpers.exporting import needs_onnx
from helpers.networks import ready
from helpers.oracles_exported import Expected, behind_prefix, last_axis
from helpers.tolerances import assert_agrees, of_heatmaps
from limelight.deployed.description import Description
from limelight.status import STATUS_NAMES
from oracles.evidence import Grid, channels_first, channels_last, tokens

needs_onnx()


#: So many terms, at a rounding of float32 on one side, are the 1e-4 that limelight claims.
CLAIMED = 43_000

WEIGHING = ("gradcam", "gradcam++", "xgradcam", "hirescam", "layercam", "gradcam-elementwise")
METHODS = (*WEIGHING, "reciprocam", "fem")

#: The classes of batches of 1, 3 and 16; -1 is the predicted one.
TARGETS = [[-1], [2], [-1, 0, 4], [1, 3, 2], [-1] * 3, [-1, 0, 1, 2] * 4]


class Outputs(NamedTuple):
    """What a file returns: its logits, and each map's heatmap, raw map and status."""

    logits: Tensor
    heatmaps: list[Tensor]
    raws: list[Tensor]
    statuses: list[list[str]]


def run_file(path: Path, images: Tensor, targets: Sequence[int]) -> Outputs:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    given = {"image": images.numpy(), "target": torch.tensor(targets).numpy()}
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, map(torch.from_numpy, session.run(None, given)), strict=True))
    said = session.get_modelmeta().custom_metadata_map["limelight"]
    maps = Description.from_json(said).maps
    return Outputs(
        found["logits"],
        [found[each.heatmap] for each in maps],
        [found[each.raw] for each in maps],
        [[STATUS_NAMES[number] for number in found[each.status].tolist()] for each in maps],
    )


@dataclass(frozen=True, eq=False)
class Case:
    """A network, a layer of it, and how an oracle reads what that puts out."""

    build: Callable[[], nn.Module]
    layer: str
    grid: Grid = channels_first
    ungrid: Callable[[Tensor, Tensor], Tensor] = lambda grid, _output: grid
    call: int = 1
    calls: int = 1
    logits: Callable[[Any], Tensor] = lambda output: output
    linear: str = ""
    methods: Sequence[str] = METHODS
    size: tuple[int, ...] = small.PICTURE

    @functools.cached_property
    def model(self) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = ready(self.build(), torch.float32)
            for module in model.modules():
                if isinstance(module, nn.LayerNorm):  # as trained
                    nn.init.uniform_(module.weight, 0.5, 1.5)
                    nn.init.normal_(module.bias, 0, 0.5)
            return model

    def images(self, count: int) -> Tensor:
        generator = torch.Generator().manual_seed(count)
        return torch.randn(count, *self.size, generator=generator)

    @property
    def all_methods(self) -> list[str]:
        return [*self.methods, *(["cam"] if self.linear else [])]

    @property
    def layer_of_call(self) -> str:
        return self.layer if self.calls == 1 else f"{self.layer}#{self.call}"

    def export(self, path: Path) -> Any:
        return limelight.export(
            self.model, self.images(2), path, method=self.all_methods, layer=self.layer_of_call
        )

    def expected(self, targets: Sequence[int]) -> Expected:
        return Expected(
            self.model,
            self.layer,
            self.images(len(targets)),
            targets,
            grid=self.grid,
            ungrid=self.ungrid,
            call=self.call,
            logits=self.logits,
            linear=self.linear,
        )


def assert_file_agrees(case: Case, path: Path, targets: Sequence[int]) -> None:
    """Assert that a file returns what the oracles say, for a batch of images."""
    expected = case.expected(targets)
    found = run_file(path, expected.images, targets)
    assert_close(found.logits, expected.output)
    for number, method in enumerate(case.all_methods):
        raw = expected.raw(method)
        assert found.statuses[number] == expected.statuses(method), method
        size = expected.what_cancels(method)
        assert_close(found.raws[number], raw, scale=size)
        shown = torch.tensor([status == "ok" for status in found.statuses[number]])
        assert not found.heatmaps[number][~shown].any()
        if shown.any():
            heatmap = expected.heatmap(method)[shown]
            condition = of_heatmaps(raw[shown], size)
            assert_close(found.heatmaps[number][shown], heatmap, condition=condition)


def assert_close(
    found: Tensor, expected: Tensor, *, scale: float | None = None, condition: float = 1.0
) -> None:
    assert found.dtype == torch.float32
    assert_agrees(
        found,
        expected,
        dtype=torch.float32,
        terms=CLAIMED,
        scale=scale,
        condition=condition,
        limit="what a network sums in float32, against the 1e-4 that limelight claims",
    )


def tokens_of(prefix: int, height: int, width: int) -> dict[str, Any]:
    return {"grid": tokens(prefix, (height, width)), "ungrid": behind_prefix(prefix)}


LAST: dict[str, Any] = {"grid": channels_last, "ungrid": last_axis}
VIT: dict[str, Any] = {**tokens_of(networks.TinyViT.prefix, 3, 4), "size": networks.PICTURE}

#: What reads every gradient, at every cell: the other methods are formulas of the same.
GRADIENTS = ("gradcam", "hirescam")

CASES: dict[str, Case] = {
    **{
        name: Case(functools.partial(small.behind, *heads), "body", methods=GRADIENTS)
        for name, heads in small.GROUPS.items()
    },
    "every method": Case(functools.partial(small.behind, "residual, relu in place"), "body"),
    "pool and linear layer": Case(
        small.Pooled, "features", linear="fc", methods=["gradcam", "reciprocam"]
    ),
    "past the layer": Case(small.Concatenated, "layer", methods=GRADIENTS),
    "transformer, before attention": Case(
        networks.TinyViT, "blocks.1.norm1", **VIT, methods=[*GRADIENTS, "reciprocam"]
    ),
    "transformer, a block": Case(
        networks.TinyViT, "blocks.0", **VIT, methods=["gradcam", "layercam"]
    ),
    "torch's own transformer": Case(
        networks.Encoder,
        "encoder.layers.0",
        **tokens_of(0, 3, 4),
        size=networks.PICTURE,
        methods=GRADIENTS,
    ),
    "channels last": Case(small.ChannelsLast, "norm", **LAST, methods=[*GRADIENTS, "reciprocam"]),
    "the first of two calls": Case(small.Twice, "conv", call=1, calls=2, methods=GRADIENTS),
    "the second of two calls": Case(small.Twice, "conv", call=2, calls=2, methods=GRADIENTS),
    "tuples": Case(
        functools.partial(small.Wrapped, "tuple"),
        "pair",
        logits=lambda output: output[0],
        methods=GRADIENTS,
    ),
    "a dict": Case(
        functools.partial(small.Wrapped, "dict"),
        "last",
        logits=lambda output: output["logits"],
        methods=GRADIENTS,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_file_returns_what_a_full_backward_finds(name: str, tmp_path: Path) -> None:
    export_and_assert(CASES[name], tmp_path)


def test_a_file_returns_a_small_difference_of_scores(tmp_path: Path) -> None:
    export_and_assert(Case(small.Concatenated, "layer", methods=["reciprocam"]), tmp_path)


def export_and_assert(case: Case, folder: Path) -> None:
    case.export(folder / "network.onnx")
    for targets in TARGETS:
        assert_file_agrees(case, folder / "network.onnx", targets)


# The status


class Answers(nn.Module):
    """Classes by what their maps show: something, nothing for them, and no dependence at all."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.ReLU())
        self.fc = nn.Linear(6, 3)
        with torch.no_grad():
            self.fc.weight[0] = torch.tensor([1.0, 2, 1, -1, 1, 1])
            self.fc.weight[1] = -1
            self.fc.weight[2] = 0

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.fc(self.patches(x).mean((2, 3))))


def statuses(
    model: nn.Module, images: Tensor, targets: Sequence[int], method: str, layer: str, path: Path
) -> list[str]:
    """Return the status that a file returns, after comparing it with that of an explanation."""
    limelight.export(model, torch.randn_like(images), path, method=method, layer=layer)
    found = run_file(path, images, targets)
    eager = limelight.explain(model, images, target=list(targets), method=method, layer=layer)
    (names,), (heatmaps,) = found.statuses, found.heatmaps
    assert names == [status.name for status in eager.status]
    shown = torch.tensor([name == "ok" for name in names])
    assert not heatmaps[~shown].any()
    assert heatmaps.isfinite().all()
    assert (heatmaps[shown].flatten(1).amax(1) == 1).all()
    return names


@pytest.mark.parametrize("method", ["gradcam", "layercam", "hirescam"])
def test_each_image_has_its_status(method: str, tmp_path: Path) -> None:
    images = torch.rand(5, *small.PICTURE)
    images[3] = 0.5
    images[4] = 3e38  # their sum overflows
    names = statuses(
        Answers().eval(), images, [0, 1, 2, 0, 0], method, "patches", tmp_path / "network.onnx"
    )
    assert names == ["ok", "no-positive-evidence", "disconnected", "flat", "not-finite"]


def test_gradients_that_cancel_in_front_of_an_instance_norm(tmp_path: Path) -> None:
    model = small.Behind(nn.Sequential(nn.InstanceNorm2d(6), small.conv(6, 7), nn.ReLU())).eval()
    images = torch.randn(3, *small.PICTURE)
    path = tmp_path / "network.onnx"
    assert statuses(model, images, [0, 1, 2], "gradcam", "body", path) == ["cancelled"] * 3
    assert statuses(model, images, [0, 1, 2], "layercam", "body", path) == ["ok"] * 3


def test_products_that_cancel_in_front_of_a_layer_norm(tmp_path: Path) -> None:
    model = small.ChannelsLast().eval()
    images = torch.randn(3, *small.PICTURE)
    path = tmp_path / "network.onnx"
    for method, name in (("hirescam", "cancelled"), ("layercam", "ok")):
        found = statuses(model, images, [0, 1, 2], method, "merge", path)
        assert found == [name] * 3


@pytest.mark.parametrize("method", ["gradcam", "reciprocam"])
@pytest.mark.parametrize(
    "index",
    [
        3,
        1000,
        -2,
    ],
)
def test_a_class_that_is_not_there_is_never_explained(
    method: str, index: int, tmp_path: Path
) -> None:
    """A graph cannot raise by itself: onnxruntime does, or the map says that it shows nothing."""
    images, path = torch.rand(2, *small.PICTURE), tmp_path / "network.onnx"
    limelight.export(Answers().eval(), images, path, method=method, layer="patches")
    assert run_file(path, images, [0, 0]).statuses == [["ok", "ok"]]
    errors = onnxruntime.capi.onnxruntime_pybind11_state
    with suppress(errors.InvalidArgument, errors.Fail):
        found = run_file(path, images, [0, index])
        assert found.statuses[0][1] != "ok"
        assert not found.heatmaps[0][1].any()
