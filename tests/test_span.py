"""Grids that reach past the picture, or end before it: where each cell is, in pixels."""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.swin_transformer import SwinTransformer

import limelight
from helpers.networks import PoolLinear
from helpers.tolerances import assert_agrees, rounding
from limelight.finish import AxisSpan, finish, onto_picture, resize

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what transformers imports
    transformers = pytest.importorskip("transformers")


def laid_out(maps: Tensor, size: Sequence[int], span: Sequence[float]) -> Tensor:
    """Interpolate from the definition: cell i of g is centred at pixel (i + 0.5) span size / g."""
    found = maps.double().numpy()
    for axis, (pixels, length) in enumerate(zip(size, span, strict=True), start=1):
        cells = found.shape[axis]
        centres = (np.arange(cells) + 0.5) * length * pixels / cells
        at = np.arange(pixels) + 0.5
        rows = np.moveaxis(found, axis, -1)
        along = [np.interp(at, centres, row) for row in rows.reshape(-1, cells)]
        found = np.moveaxis(np.array(along).reshape(*rows.shape[:-1], pixels), -1, axis)
    return torch.from_numpy(found)


def from_edge(lengths: Sequence[float]) -> tuple[AxisSpan, ...]:
    """The span of a grid that begins where the picture does, and is so long along each axis."""
    return tuple(AxisSpan(0.0, length) for length in lengths)


# Resizing

SPANS: list[tuple[tuple[int, ...], tuple[int, ...], tuple[float, ...]]] = [
    ((8, 8), (230, 230), (256 / 230, 256 / 230)),
    ((7, 7), (230, 230), (224 / 230, 224 / 230)),
    ((57, 57), (230, 230), (228 / 230, 228 / 230)),
    ((5, 3), (46, 54), (40 / 46, 48 / 54)),
    ((2, 8), (48, 64), (64 / 48, 1.0)),
    ((3, 5), (10, 33), (0.5, 2.0)),
    ((1, 4), (9, 9), (1.4, 0.7)),
    ((4, 4), (4, 4), (1.25, 1.25)),
    ((6,), (23,), (24 / 23,)),
    ((6,), (31,), (24 / 31,)),
    ((2, 3, 4), (9, 13, 15), (10 / 9, 12 / 13, 16 / 15)),
]

#: Of what is within ten of its limit.
HAIR = "the hair, which the last cells of a noisy map are off by almost wholly"

any_span = pytest.mark.parametrize(("grid", "size", "span"), SPANS, ids=str)


def hair(maps: Tensor) -> float:
    """How far a map is off as its scale is 1e-9 larger, so that no pixel gets lost.

    The last pixel moves by so much of the grid, along each axis, and a cell differs from the next
    by the range of the map at most.
    """
    cells = sum(maps.shape[1:])
    return 1e-9 * cells * float(maps.max() - maps.min())


@any_span
def test_the_centre_of_each_cell_is_where_it_belongs(
    grid: tuple[int, ...], size: tuple[int, ...], span: tuple[float, ...]
) -> None:
    maps = torch.randn(2, *grid, dtype=torch.float64)
    found = resize(maps, size, from_edge(span))
    assert found.shape == (2, *size)
    assert_agrees(found, laid_out(maps, size, span), truncation=hair(maps), limit=HAIR)


@any_span
def test_an_impulse_stays_at_the_pixels_of_its_cell(
    grid: tuple[int, ...], size: tuple[int, ...], span: tuple[float, ...]
) -> None:
    for number in range(math.prod(grid)):
        maps = torch.zeros(1, *grid, dtype=torch.float64)
        cell = tuple(int(i) for i in np.unravel_index(number, grid))
        maps[(0, *cell)] = 1
        sides = [s * length / g for s, length, g in zip(size, span, grid, strict=True)]
        centre = [(i + 0.5) * side for i, side in zip(cell, sides, strict=True)]
        if any(c >= s for c, s in zip(centre, size, strict=True)):
            continue  # past the picture
        found = resize(maps, size, from_edge(span))[0]
        peak = np.unravel_index(int(found.argmax()), size)
        on = zip(peak, centre, sides, strict=True)
        edge = [i in (0, g - 1) for i, g in zip(cell, grid, strict=True)]  # held up to the edge
        assert all(
            e or abs(p + 0.5 - c) <= max(s, 1) / 2 for e, (p, c, s) in zip(edge, on, strict=True)
        )


def test_a_span_of_one_is_no_span() -> None:
    maps = torch.randn(2, 5, 7, dtype=torch.float64)
    found, due = resize(maps, (23, 31), from_edge((1.0, 1.0))), resize(maps, (23, 31))
    assert_agrees(found, due, truncation=hair(maps), limit=HAIR)
    assert torch.equal(finish(maps, (23, 31), ()), finish(maps, (23, 31)))


@any_span
def test_a_constant_map_stays_constant_and_nothing_leaves_the_range(
    grid: tuple[int, ...], size: tuple[int, ...], span: tuple[float, ...]
) -> None:
    for dtype in (torch.float64, torch.float32):
        assert not finish(torch.full((1, *grid), 0.3, dtype=dtype), size, from_edge(span)).any()
        maps = torch.randn(2, *grid, dtype=dtype)
        found = resize(maps, size, from_edge(span))
        assert found.min() >= maps.min()
        assert found.max() <= maps.max()


@pytest.mark.parametrize("pixels", [1, 7, 33, 224, 230, 513, 1999])
def test_no_pixel_is_lost_to_rounding(pixels: int) -> None:
    for cells in (1, 3, 7, 8, 57):
        for side in (4, 7, 16, 32):
            span = cells * side / pixels
            maps = torch.rand(1, cells, cells)
            found = resize(maps, (pixels, pixels), from_edge((span, span)))
            assert found.shape == (1, pixels, pixels)


def test_on_the_picture_cells_keep_about_their_size() -> None:
    maps = torch.arange(8.0, dtype=torch.float64).expand(1, 8, 8)
    found = onto_picture(maps, from_edge((1.0, 256 / 230)))
    # 8 cells of 32 pixels over 230 of them: 7 cells, a bit longer each.
    assert found.shape == (1, 8, 7)
    centres = (np.arange(7) + 0.5) * 230 / 7 / 32 - 0.5
    assert_agrees(found[0, 0], torch.from_numpy(centres.clip(0, 7)), truncation=hair(maps))
    assert onto_picture(maps, ()) is maps


# Networks that pad, or cut off


def spans(model: nn.Module, image: Tensor, layers: Sequence[str]) -> list[Any]:
    found = limelight.cuts(model.eval(), image, layers)
    return [(cut.layout.grid, lengths(cut.layout.span)) for cut in found]


def lengths(span: Sequence[AxisSpan]) -> tuple[float, ...]:
    """How long a grid is along each axis; it has to begin where the picture does."""
    assert all(along == (0.0, along.end, 0.0, 1.0) for along in span)
    return tuple(along.length for along in span)


def by_hand(sides: tuple[int, int], size: tuple[int, int], grid: tuple[int, int]) -> Any:
    """The span of a grid whose cells have so many pixels a side; () when it is the picture."""
    span = tuple(g * side / s for g, side, s in zip(grid, sides, size, strict=True))
    return grid, pytest.approx(span, rel=rounding(terms=3)) if span != (1.0, 1.0) else ()


def small_swin(stages: int = 4) -> Any:
    return SwinTransformer(
        [4, 4], 8, [1] * stages, [1] * stages, [3, 3], stochastic_depth_prob=0.0, num_classes=5
    )


#: Picture, and of each stage the grid: patches are cut off (46 = 11 x 4 + 2), neighbours padded.
SWIN = [
    ((46, 46), [(11, 11), (6, 6), (3, 3), (2, 2)]),
    ((54, 46), [(13, 11), (7, 6), (4, 3), (2, 2)]),
    ((64, 64), [(16, 16), (8, 8), (4, 4), (2, 2)]),
    ((60, 64), [(15, 16), (8, 8), (4, 4), (2, 2)]),
]


@pytest.mark.parametrize(("size", "grids"), SWIN, ids=str)
def test_torchvision_s_swin(size: tuple[int, int], grids: list[tuple[int, int]]) -> None:
    layers = ["features.1", "features.3", "features.5", "features.7"]
    found = spans(small_swin(), torch.randn(1, 3, *size), layers)
    expected = [by_hand((4 * 2**stage,) * 2, size, grid) for stage, grid in enumerate(grids)]
    assert found == expected


def test_swin_t_at_230_pixels() -> None:
    model = torchvision.models.swin_t(weights=None).eval()
    result = limelight.explain(model, torch.randn(1, 3, 230, 230), target=3)
    # 57 patches, then 29, 15 and 8, of 32 pixels each.
    assert result.raw.shape == (1, 8, 8)
    assert_agrees(lengths(result.span), (256 / 230, 256 / 230))
    expected = laid_out(result.raw.clamp(min=0), (230, 230), (256 / 230,) * 2)
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    assert_agrees(result.heatmap, expected, dtype=torch.float32)


def test_timm_s_swin() -> None:
    model = timm.models.swin_transformer.SwinTransformer(
        img_size=(48, 48),
        patch_size=4,
        window_size=3,
        embed_dim=8,
        depths=(1, 1, 1),
        num_heads=(1, 1, 1),
        num_classes=5,
    )
    # 12, 6 and 3 divide; nothing is padded.
    layers = ["layers.0", "layers.1", "layers.2"]
    assert spans(model, torch.randn(1, 3, 48, 48), layers) == [((n, n), ()) for n in (12, 6, 3)]
    odd = timm.models.swin_transformer.SwinTransformer(
        img_size=(44, 52),
        patch_size=4,
        window_size=3,
        embed_dim=8,
        depths=(1, 1, 1),
        num_heads=(1, 1, 1),
        num_classes=5,
    )
    found = spans(odd, torch.randn(1, 3, 44, 52), layers)
    grids = [(11, 13), (6, 7), (3, 4)]
    assert found == [by_hand((4 * 2**s,) * 2, (44, 52), grid) for s, grid in enumerate(grids)]


@pytest.mark.parametrize(
    ("size", "grid"),
    [((46, 46), (6, 6)), ((48, 42), (6, 6)), ((48, 48), (6, 6)), ((41, 63), (6, 8))],
)
def test_timm_s_vit_that_pads(size: tuple[int, int], grid: tuple[int, int]) -> None:
    model = timm.models.vision_transformer.VisionTransformer(
        img_size=48,
        patch_size=8,
        embed_dim=8,
        depth=2,
        num_heads=2,
        num_classes=5,
        dynamic_img_size=True,
        dynamic_img_pad=True,
    )
    found = spans(model, torch.randn(1, 3, *size), ["blocks.0", "blocks.1.norm1"])
    assert found == [by_hand((8, 8), size, grid)] * 2


@pytest.mark.parametrize(
    ("size", "grids"),
    [
        # Padded from the first: 46 is 12 patches of 4 with two pixels of nothing.
        ((46, 46), [(12, 12), (6, 6), (3, 3)]),
        ((50, 44), [(13, 11), (7, 6), (4, 3)]),
        ((64, 48), [(16, 12), (8, 6), (4, 3)]),
    ],
)
def test_transformers_swin(size: tuple[int, int], grids: list[tuple[int, int]]) -> None:
    config = transformers.SwinConfig(
        image_size=48,
        patch_size=4,
        embed_dim=8,
        depths=[1, 1, 1],
        num_heads=[1, 1, 1],
        window_size=3,
        num_labels=5,
    )
    model = transformers.SwinForImageClassification(config)
    layers = [f"swin.encoder.layers.{s}.blocks.0" for s in range(3)]
    found = spans(model, torch.randn(1, 3, *size), layers)
    assert found == [by_hand((4 * 2**s,) * 2, size, grid) for s, grid in enumerate(grids)]


@pytest.mark.parametrize(
    ("size", "grids"),
    [
        # Cut off at every step: 46 is 11 patches of 4, 11 is 5 of two, 5 is 2 of two.
        ((46, 46), [(11, 11), (5, 5), (2, 2)]),
        ((64, 38), [(16, 9), (8, 4), (4, 2)]),
        ((64, 64), [(16, 16), (8, 8), (4, 4)]),
    ],
)
def test_convnext(size: tuple[int, int], grids: list[tuple[int, int]]) -> None:
    setting = torchvision.models.convnext.CNBlockConfig
    model = torchvision.models.ConvNeXt(
        [setting(24, 32, 1), setting(32, 40, 1), setting(40, None, 1)], num_classes=5
    )
    layers = ["features.1", "features.3", "features.5"]
    found = spans(model, torch.randn(1, 3, *size), layers)
    assert found == [by_hand((4 * 2**s,) * 2, size, grid) for s, grid in enumerate(grids)]


def test_swin_at_240_pixels_pads_once() -> None:
    # 60, 30 and 15 divide, and 15 is padded to 16: 8 cells of 32 pixels, although 8 divides 240.
    model = small_swin()
    found = spans(model, torch.randn(1, 3, 240, 240), ["features.5", "features.7"])
    assert found == [((15, 15), ()), by_hand((32, 32), (240, 240), (8, 8))]
    result = limelight.explain(model, torch.randn(1, 3, 240, 240), target=3)
    assert result.raw.shape == (1, 8, 8)
    assert_agrees(lengths(result.span), (256 / 240, 256 / 240))


def test_convnext_at_230_pixels() -> None:
    model = torchvision.models.convnext_tiny(weights=None).eval()
    result = limelight.explain(model, torch.randn(1, 3, 230, 230), target=3)
    assert result.raw.shape == (1, 7, 7)  # 57, 28, 14 and 7 cells; of 32 pixels
    assert_agrees(lengths(result.span), (224 / 230, 224 / 230))


@pytest.mark.parametrize("size", [(64, 64), (63, 50), (37, 45)], ids=str)
def test_convolutions_that_slide_cover_the_picture(size: tuple[int, int]) -> None:
    model = torchvision.models.resnet18(weights=None)
    found = spans(model, torch.randn(1, 3, *size), ["layer2", "layer3", "layer4"])
    assert [span for _, span in found] == [()] * 3
    assert spans(PoolLinear(), torch.randn(1, 3, *size), ["features"])[0][1] == ()


# Detectors lay pictures on a canvas


class Stages(nn.Module):
    out_channels = 32

    def __init__(self) -> None:
        super().__init__()
        self.early = nn.Sequential(nn.Conv2d(3, 16, 3, stride=4, padding=1), nn.ReLU())
        self.late = nn.Sequential(nn.Conv2d(16, 32, 3, stride=4, padding=1), nn.ReLU())

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        return OrderedDict([("0", self.late(self.early(x)))])


def detector(low: int, high: int) -> Any:
    return FCOS(
        Stages(),
        3,
        anchor_generator=AnchorGenerator(((16,),), ((1.0,),)),
        head=FCOSHead(32, 1, 3, num_convs=1),
        min_size=low,
        max_size=high,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
    ).eval()


@pytest.mark.parametrize(
    ("size", "low", "high", "grids", "span"),
    [
        ((64, 64), 64, 64, [(16, 16), (4, 4)], ()),
        # 48 x 80 on a canvas of multiples of 32: 64 x 96.
        ((48, 80), 48, 80, [(16, 24), (4, 6)], (64 / 48, 96 / 80)),
        # Scaled by two to 64 x 100, on a canvas of 64 x 128.
        ((32, 50), 64, 100, [(16, 32), (4, 8)], (1.0, 128 / 100)),
        # Scaled to a half, 50 x 32, on 64 x 32.
        ((100, 64), 32, 64, [(16, 8), (4, 2)], (64 / 50, 1.0)),
    ],
    ids=["as it is", "padded", "larger", "smaller"],
)
def test_the_canvas_of_a_detector(
    size: tuple[int, int],
    low: int,
    high: int,
    grids: list[tuple[int, int]],
    span: tuple[float, ...],
) -> None:
    model, image = detector(low, high), torch.rand(1, 3, *size)
    found = spans(model, image, ["backbone.early", "backbone.late"])
    assert found == [
        (grid, pytest.approx(span, rel=rounding(terms=3)) if span else ()) for grid in grids
    ]


def test_a_box_on_a_canvas_is_where_it_is_in_the_picture() -> None:
    # What the layer sees of a bright square is where the square is, in spite of the padding.
    model = detector(48, 80)
    with torch.no_grad():
        model.backbone.early[0].weight.abs_()
    for x, y in ((4, 6), (60, 30), (34, 20)):
        image = torch.zeros(1, 3, 48, 80)
        image[:, :, y : y + 14, x : x + 14] = 5
        cut = limelight.cut(model, image, "backbone.early")
        bright = cut.activations[:, 0] - cut.activations[:, 0, -1:, -1:]
        seen = resize(bright.abs(), (48, 80), cut.layout.span)[0]
        seen = seen / seen.sum()
        rows, columns = torch.arange(48) + 0.5, torch.arange(80) + 0.5
        assert float((seen.sum(1) * rows).sum()) == pytest.approx(y + 7, abs=2)
        assert float((seen.sum(0) * columns).sum()) == pytest.approx(x + 7, abs=2)
    result = limelight.explain(model, image)
    assert result.heatmap.shape == (1, 48, 80)


# Nothing drifts


class Cuts(nn.Module):
    """Averages patches of 4, then of two by two, as they come: what is left over is cut off."""

    def __init__(self, *, pads: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 1, 4, stride=4, bias=False)
        self.merge = nn.Conv2d(1, 1, 2, stride=2, bias=False)
        self.pads = pads
        with torch.no_grad():
            for layer in (self.patches, self.merge):
                layer.weight.fill_(1 / layer.weight[0, 0].numel())

    def forward(self, x: Tensor) -> Tensor:
        for layer, side in ((self.patches, 4), (self.merge, 2)):
            if self.pads:
                x = nn.functional.pad(x, (0, -x.shape[3] % side, 0, -x.shape[2] % side))
            x = layer(x)
        return x.mean((2, 3))


@pytest.mark.parametrize("pads", [True, False])
@pytest.mark.parametrize("size", [(46, 46), (45, 70), (48, 64)], ids=str)
def test_a_bright_spot_is_seen_where_it_is(pads: bool, size: tuple[int, int]) -> None:
    model = Cuts(pads=pads).eval()
    for layer, side in (("patches", 4), ("merge", 8)):
        for row in range(side, size[0] - 2 * side, 7):
            for column in range(side, size[1] - 2 * side, 11):
                image = torch.zeros(1, 1, *size)
                image[0, 0, row, column] = 1
                result = limelight.explain(model, image, layer=layer)
                cell = (row // side, column // side)
                highest = divmod(int(result.raw.argmax()), result.raw.shape[2])
                assert highest == cell
                centre = [(i + 0.5) * side for i in cell]
                energy = result.heatmap[0] / result.heatmap.sum()
                middle = [
                    float((energy.sum(1 - axis) * (torch.arange(s) + 0.5)).sum())
                    for axis, s in enumerate(size)
                ]
                assert middle == pytest.approx(centre, abs=0.01)
