"""Large pictures explained window by window, and their maps put together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import limelight
from helpers import networks
from helpers.networks import PoolLinear, Volume, ready
from helpers.tolerances import assert_agrees
from limelight.errors import InputError, MethodError, OptionError, PhotoError, TargetError
from limelight.finish import AxisSpan
from limelight.methods.views import find_views
from limelight.tiling.canvas import Canvas


class Patches(nn.Module):
    """Convolutions without padding, so that no window changes what a cell sees."""

    def __init__(self, kernel: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, kernel, stride=4), nn.Tanh(), nn.Conv2d(6, 8, 1))
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.fc(self.body(x).relu().mean((2, 3))))


class Reds(nn.Module):
    """Class 1 is what is red: padded convolutions that smooth, with a stride of four in all."""

    def __init__(self) -> None:
        super().__init__()
        first, second = (nn.Conv2d(n, 2, 3, stride=2, padding=1) for n in (3, 2))
        with torch.no_grad():
            for conv in (first, second):
                conv.weight.zero_()
                conv.bias.zero_()  # type: ignore[union-attr]
                for channel in (0, 1):
                    conv.weight[channel, channel] = 1 / 9
        self.body = nn.Sequential(first, nn.ReLU(), second, nn.ReLU())
        self.fc = nn.Linear(2, 3)
        with torch.no_grad():
            self.fc.weight.copy_(torch.tensor([[0.0, 1.0], [1.0, -0.5], [0.0, 0.0]]))
            self.fc.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.fc(self.body(x).mean((2, 3))))


class RedViT(nn.Module):
    """A transformer of 32 x 32 pixels alone, with positions; class 1 is what is red."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        with torch.no_grad():
            self.patches.weight[0] = 0
            self.patches.weight[0, 0] = 1 / 4
        self.positions = nn.Parameter(0.01 * torch.randn(1, 64, 8))
        self.block = networks.TransformerBlock(8, heads=2)
        self.head = nn.Linear(8, 3)
        with torch.no_grad():
            self.head.weight[1] = torch.eye(8)[0]

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        return cast("Tensor", self.head((tokens + 0.1 * self.block(tokens)).mean(1)))


class Centre(nn.Module):
    """A detector of one box in the middle of what it is shown; its logit is the brightness."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> limelight.Detected:
        maps = self.body(x).abs().mean(1)
        height, width = x.shape[2:]
        box = torch.tensor([[width / 4, height / 4, width / 2, height / 2]]).to(x)
        logit = maps[:, height // 4 : height // 2, width // 4 : width // 2].mean((1, 2))
        logits = torch.stack([logit, -logit], 1)[:, None]
        return limelight.Detected(logits=logits, boxes=box.expand(len(x), 1, 4))


class Segmenter(nn.Module):
    """Two classes for each pixel: bright, and not."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 2, 1)
        with torch.no_grad():
            self.body.weight.copy_(torch.tensor([[-1.0] * 3, [1.0] * 3])[:, :, None, None])
            self.body.bias.copy_(torch.tensor([1.0, -1.0]))  # type: ignore[union-attr]
        self.last = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.last(self.body(x)))


def network(model: nn.Module, size: int = 32, **preprocess: Any) -> limelight.Network:
    wanted: dict[str, Any] = {
        "size": (size, size),
        "resize": size,
        "mean": (0.5,) * 3,
        "std": (0.5,) * 3,
    }
    return limelight.Network(
        "net",
        model.eval(),
        limelight.Preprocess(**(wanted | preprocess)),
        ("a", "b", "c", "d", "e"),
    )


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 3, height, width, generator=generator, dtype=torch.float64)


# The windows


@pytest.mark.parametrize("shape", [(100, 64), (64, 300), (65, 131), (30, 200), (10, 10)])
@pytest.mark.parametrize("overlap", [0, 0.25, 0.5, 0.9])
def test_windows_cover_every_pixel(shape: tuple[int, int], overlap: float) -> None:
    seen = torch.zeros(shape)
    for box in limelight.tiles(64, overlap).boxes(shape, (64, 64)):
        assert [along.stop - along.start for along in box] == [min(64, n) for n in shape]
        seen[box] += 1
    assert seen.min() >= 1
    assert overlap > 0 or seen[:64, :64].max() <= 4


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda: limelight.tiles(0),
            r"The size of the tiles is 0; pixels were expected, as in 512 or \(512, 256\), or None "
            "for what the network takes.",
        ),
        (lambda: limelight.tiles((32, 0)), r"size of the tiles is \(32, 0\)"),
        (lambda: limelight.tiles(1.5), "size of the tiles is 1.5"),  # type: ignore[arg-type]
        (lambda: limelight.tiles(32, 1), "overlap of the tiles is 1; a share"),
        (lambda: limelight.tiles(32, -0.1), "overlap of the tiles is -0.1"),
        (lambda: find_views("tiles:size=none,overlap=2"), "overlap of the tiles is 2"),
    ],
)
def test_tiles_that_make_no_sense_are_refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        make()


def test_tiles_by_name() -> None:
    assert find_views("tiles:size=64,overlap=0.5") == limelight.tiles(64, 0.5)


@pytest.mark.parametrize(
    ("tiles", "says"),
    [
        (limelight.tiles(), "which size the network takes is not known"),
        (limelight.tiles((8, 8, 8)), r"size of the tiles is \(8, 8, 8\), and the picture has 2"),
    ],
)
def test_a_size_is_needed_for_each_axis(tiles: limelight.Tiles, says: str) -> None:
    with pytest.raises(OptionError, match=says):
        limelight.explain(ready(Patches()), picture(64, 64), views=tiles)


# The map


@pytest.mark.parametrize("overlap", [0, 0.25, 0.5])
@pytest.mark.parametrize(("shape", "size"), [((128, 96), 32), ((80, 112), (48, 32))])
def test_the_map_is_that_of_the_whole_picture(
    shape: tuple[int, int], size: int | tuple[int, int], overlap: float
) -> None:
    model, image = ready(Patches()), picture(*shape)
    tiled = limelight.explain(
        model,
        image,
        target=2,
        layer="body",
        method="hirescam",
        views=limelight.tiles(size, overlap),
    )
    whole = limelight.explain(model, image, target=2, layer="body", method="hirescam")
    sides = (size, size) if isinstance(size, int) else size
    # The score is a mean over cells, of which a window has fewer.
    factor = shape[0] * shape[1] / (sides[0] * sides[1])
    assert_agrees(tiled.raw, whole.raw * factor)
    assert_agrees(tiled.heatmap, whole.heatmap, scale=1)
    assert tiled.span == whole.span or tiled.span == (AxisSpan(0, 1),) * 2
    assert tiled.status == whole.status


@pytest.mark.parametrize("overlap", [0.25, 0.5])
def test_maps_lie_where_the_layer_was_measured_to_look(overlap: float) -> None:
    # Without padding, the map of a window ends before the window does, on each side.
    model, image = ready(Patches(kernel=9)), picture(128, 96)
    options: dict[str, Any] = {"target": 2, "layer": "body", "method": "hirescam"}
    tiled = limelight.explain(model, image, views=limelight.tiles(32, overlap), **options)
    whole = limelight.explain(model, image, **options)
    rows, columns = whole.raw.shape[1:]
    expected = whole.raw * (rows * columns / 6**2)
    # Beyond its own map, a window has a weight of 1e-6 of that of the next one.
    beyond = 1e-4 * float(expected.abs().max())
    assert_agrees(tiled.raw[:, :rows, :columns], expected, truncation=beyond)
    assert [along.start for along in tiled.span] == pytest.approx([2.5 / 128, 2.5 / 96])
    assert [along.start for along in whole.span] == pytest.approx([2.5 / 128, 2.5 / 96])


def test_one_window_is_the_picture_itself() -> None:
    model, image = ready(PoolLinear()), picture(40, 60)
    tiled = limelight.explain(model, image, target=1, views=limelight.tiles(64))
    whole = limelight.explain(model, image, target=1)
    assert_agrees(tiled.raw, whole.raw)
    assert_agrees(tiled.heatmap, whole.heatmap, scale=1)
    assert tiled.method == "gradcam, 1 tile"
    assert tiled.windows is not None
    assert tiled.windows.boxes.tolist() == [[0, 0, 60, 40]]
    assert tiled.recipe is None


@pytest.mark.parametrize(
    ("make", "layer"), [(Reds, "body"), (RedViT, "patches")], ids=["padded convolutions", "ViT"]
)
@pytest.mark.parametrize("place", [(4, 8), (117, 30), (150, 201), (60, 250), (71, 100)])
def test_an_object_is_found_where_it_is(
    make: Callable[[], nn.Module], layer: str, place: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    model, (top, left) = make().eval(), place
    image = torch.full((1, 3, 170, 270), 0.1)
    image[0, 0, top : top + 12, left : left + 12] = 3
    found = limelight.explain(
        model, image, layer=layer, method="hirescam", views=limelight.tiles(32)
    )
    assert found.label == ("class 1",)
    heat = found.heatmap[0]
    rows, columns = torch.meshgrid(*map(torch.arange, heat.shape), indexing="ij")
    hot = heat * (heat > 0.5)
    centre = [float((hot * axis).sum() / hot.sum()) for axis in (rows, columns)]
    assert centre == pytest.approx([top + 5.5, left + 5.5], abs=4)  # a cell


def test_there_are_no_seams() -> None:
    model = ready(PoolLinear())
    image = torch.full((1, 3, 200, 200), 0.7, dtype=torch.float64)
    (tiled,) = limelight.explain(model, image, target=1, views=limelight.tiles(64, 0.25)).raw
    (window,) = limelight.explain(model, image[..., :64, :64], target=1).raw

    def steps(raw: Tensor) -> float:
        return max(float(raw.diff(dim=axis).abs().max()) for axis in (0, 1))

    # Zero padding changes the outermost cells of a window; inside, all is the same.
    assert steps(tiled[2:-2, 2:-2]) < steps(window) / 4


def test_a_canvas_has_no_more_cells_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    model, image = ready(Patches()), picture(128, 128)
    options: dict[str, Any] = {"target": 2, "layer": "body", "method": "hirescam"}
    fine = limelight.explain(model, image, views=limelight.tiles(32), **options)
    monkeypatch.setattr("limelight.tiling.canvas.MAX_CELLS", 16**2)
    coarse = limelight.explain(model, image, views=limelight.tiles(32), **options)
    means = nn.functional.avg_pool2d(fine.raw[None], 2)[0]
    assert coarse.raw.shape == (1, 16, 16)
    assert_agrees(coarse.raw, means)


def test_what_the_network_does_not_see_of_any_window_is_zero() -> None:
    span = [AxisSpan(0.25, 0.75, 0.25, 0.75)] * 2
    canvas = Canvas((64, 64), (32, 32), torch.ones(1, 4, 4), span, overlap=0)
    for box in limelight.tiles(32, 0).boxes((64, 64), (32, 32)):
        canvas.add(box, torch.ones(1, 4, 4), span)
    assert set(canvas.raw().flatten().tolist()) == {0, 1}


def test_volumes_have_windows_of_three_sizes() -> None:
    model = ready(Volume())
    image = torch.rand(1, 1, 20, 24, 28, dtype=torch.float64)
    found = limelight.explain(model, image, target=1, views=limelight.tiles((8, 12, 16)))
    assert found.heatmap.shape == (1, 20, 24, 28)
    assert found.windows is not None
    assert found.windows.boxes[0].tolist() == [0, 0, 0, 16, 12, 8]
    assert found.windows.boxes[-1].tolist() == [12, 12, 12, 28, 24, 20]


def test_maps_of_several_layers_are_fused_over_the_whole_picture() -> None:
    model, image = ready(networks.ResidualCNN()), picture(40, 48)
    tiles = limelight.tiles((24, 32))
    layers = ["block1", "block2"]
    fused = limelight.explain(model, image, target=1, layer=layers, fuse="max", views=tiles)
    parts = [limelight.explain(model, image, target=1, layer=name, views=tiles) for name in layers]
    assert_agrees(fused.raw, limelight.fuse(parts, "max").raw, scale=1)
    assert fused.windows is not None


# The windows' scores and status


def test_each_window_keeps_its_score() -> None:
    model, image = ready(PoolLinear()), picture(50, 70)
    found = limelight.explain(model, image, target=3, views=limelight.tiles(32, 0.5))
    assert found.windows is not None
    by_hand = torch.stack(
        [model(image[..., y1:y2, x1:x2])[0, 3] for x1, y1, x2, y2 in found.windows.boxes.tolist()]
    )
    assert_agrees(found.windows.score[:, 0], by_hand.detach())
    assert found.score == found.windows.score.max()
    assert [status.name for (status,) in found.windows.status] == ["ok"] * len(found.windows)
    assert [*found.windows.as_dicts()[0]] == ["box", "score", "status"]
    assert_agrees(found.output[0, 3], by_hand.detach().max())


class Broken(PoolLinear):
    """NaN for what is very bright, constant for what is dark."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + (9 - x.mean((1, 2, 3)))[:, None].sqrt() * 0


def test_a_window_that_is_not_finite_spoils_the_whole() -> None:
    image = picture(64, 64)
    image[..., 40:, 40:] += 30
    found = limelight.explain(ready(Broken()), image, target=1, views=limelight.tiles(32))
    assert found.status[0].name == "not-finite"
    assert not found.heatmap.any()
    assert found.windows is not None
    assert {status.name for (status,) in found.windows.status} == {"ok", "not-finite"}


def test_a_status_that_is_not_ok_is_the_commonest_of_the_windows() -> None:
    model = Reds()
    dark = torch.zeros(1, 3, 64, 64)
    found = limelight.explain(model.eval(), dark, target=1, views=limelight.tiles(32))
    assert found.windows is not None
    names = [status.name for (status,) in found.windows.status]
    assert set(names) == {found.status[0].name}
    assert found.status[0].name != "ok"
    lit = dark.clone()
    lit[0, 0, 40:50, 40:50] = 1
    assert (
        limelight.explain(model.eval(), lit, target=1, views=limelight.tiles(32), method="hirescam")
        .status[0]
        .ok
    )


# The target


def test_the_class_of_which_any_window_is_surest_is_explained_everywhere() -> None:
    model, image = ready(PoolLinear()), picture(60, 60) * 4
    tiles = limelight.tiles(24)
    boxes = tiles.boxes((60, 60), (24, 24))
    highest = torch.stack([model(image[:, :, *box]).softmax(1)[0] for box in boxes]).amax(0)
    ranked = highest.argsort(descending=True).tolist()
    assert limelight.explain(model, image, views=tiles).index == ranked[0]
    found = limelight.explain_each(model, image, limelight.top(4), views=tiles)
    assert [int(cast("Tensor", each.index)) for each in found] == ranked[:4]
    among = limelight.AnyOf([ranked[2], ranked[3]])
    assert limelight.explain(model, image, target=among, views=tiles).index == ranked[2]
    against = limelight.explain(
        model, image, target=limelight.Contrast(None, ranked[4]), views=tiles
    )
    assert against.label == (f"class {ranked[0]} rather than class {ranked[4]}",)


def test_each_image_of_a_batch_has_its_own_class() -> None:
    model, images = ready(PoolLinear()), torch.cat([picture(40, 40), 3 * picture(40, 40, seed=1)])
    tiles = limelight.tiles(24)
    for target in (None, [1, 4], torch.tensor([2, 0])):
        together = limelight.explain(model, images, target=target, views=tiles)
        for b in range(2):
            alone = None if target is None else int(target[b])
            found = limelight.explain(model, images[b : b + 1], target=alone, views=tiles)
            assert together.label[b] == found.label[0]
            assert_agrees(together.raw[b], found.raw[0])
            one = together[b]
            assert one.windows is not None
            assert found.windows is not None
            assert_agrees(one.windows.score, found.windows.score)
            assert_agrees(one.output, found.output)


def test_other_inputs_go_with_every_window() -> None:
    model = ready(networks.TwoInputs())
    known = torch.rand(1, 2, dtype=torch.float64)
    found = limelight.explain(model, (picture(40, 40), known), views=limelight.tiles(24))
    assert found.windows is not None
    assert len(found.windows) == 4


def test_a_callable_is_read_in_every_window() -> None:
    model, image = ready(PoolLinear()), picture(40, 40)
    tiles = limelight.tiles(24)
    by_callable = limelight.explain(model, image, target=lambda y: y[:, 2], views=tiles)
    assert_agrees(by_callable.raw, limelight.explain(model, image, target=2, views=tiles).raw)


@pytest.mark.parametrize(
    "target", [limelight.Box([1, 2, 9, 9], 0), limelight.Region(1, (3, 4)), limelight.Mask((3, 4))]
)
def test_a_place_in_the_picture_is_refused(target: limelight.ScoreTarget) -> None:
    with pytest.raises(TargetError, match=r"names a place .*Leave the place out"):
        limelight.explain(
            ready(Segmenter()), picture(40, 40), target=target, views=limelight.tiles(24)
        )


def test_the_region_of_a_segmenter_is_that_of_all_windows() -> None:
    image = torch.zeros(1, 3, 60, 60)
    image[..., 10:20, 10:50] = 1
    found = limelight.explain(Segmenter().eval(), image, target=1, views=limelight.tiles(24))
    assert found.region is not None
    whole = limelight.explain(Segmenter().eval(), image, target=1)
    # Where the class is predicted nowhere in a window, the score is of all of the window.
    assert (found.region | ~cast("Tensor", whole.region)).all()


def test_the_box_of_a_detector_is_that_of_the_highest_window() -> None:
    image = torch.zeros(1, 3, 96, 96)
    image[..., 56:64, 32:40] = 5
    torch.manual_seed(0)
    found = limelight.explain(
        Centre().eval(), image, target=0, layer="body", views=limelight.tiles(32, 0)
    )
    assert found.region is not None
    rows, columns = (found.region[0].any(axis).nonzero()[:, 0].tolist() for axis in (1, 0))
    assert found.windows is not None
    x1, y1, *_ = found.windows.boxes[int(found.windows.score[:, 0].argmax())].tolist()
    assert (rows[0], rows[-1] + 1) == (y1 + 8, y1 + 16)
    assert (columns[0], columns[-1] + 1) == (x1 + 8, x1 + 16)
    assert found.label[0].endswith(f" in box [{x1 + 8}, {y1 + 8}, {x1 + 16}, {y1 + 16}]")


# What does not go with tiles


def test_what_does_not_go_with_tiles_is_refused() -> None:
    model, image = ready(PoolLinear()), picture(40, 40)
    tiles = limelight.tiles(24)
    with pytest.raises(MethodError, match="differentiable=True does not go with tiles"):
        limelight.explain(model, image, views=tiles, differentiable=True)
    with pytest.raises(OptionError, match=r"goes with explain, explain_each and explain_photos"):
        limelight.compare(model, image, views=cast("Any", tiles))
    photos = [Image.new("RGB", (40, 40))] * 2
    with pytest.raises(InputError, match=r"There are 2 photos; tiles\(\) explains one at a time"):
        limelight.explain(network(PoolLinear()), photos, views=tiles)


def test_eigen_smoothing_and_other_methods_go_with_tiles() -> None:
    model, image = ready(PoolLinear()), picture(40, 40)
    tiles = limelight.tiles(24)
    eigen = limelight.explain(model, image, views=tiles, eigen=True)
    assert eigen.method == "gradcam, eigen, 4 tiles"
    pixels = limelight.explain(model, image, method="input-x-gradient", views=tiles)
    assert pixels.raw.shape == (1, 40, 40)


def test_progress_counts_windows() -> None:
    told = list[tuple[str, int, int]]()

    def note(name: str, done: int, count: int) -> None:
        told.append((name, done, count))

    limelight.explain(
        ready(PoolLinear()), picture(90, 90), views=limelight.tiles(24), progress=note
    )
    assert told[0] == ("finding the class", 8, 25)
    assert told[-1] == ("windows", 25, 25)


# Photos in memory


def test_windows_of_a_photo_are_resized_to_what_the_network_takes() -> None:
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 255, (100, 160, 3), dtype=np.uint8))
    net = network(Patches())
    found = limelight.explain(net, photo, target=2, views=limelight.tiles(64))
    assert found.windows is not None
    by_hand = [
        limelight.explain(net, photo.crop(box), target=2).score
        for box in map(tuple, found.windows.boxes.tolist())
    ]
    assert_agrees(found.windows.score[:, 0], torch.cat(by_hand))
    assert found.crops is not None
    assert found.crops[0].photo.size == (160, 100)
    assert found.overlay(whole=True)[0].size == (160, 100)
    default = limelight.explain(net, photo, target=2, views=limelight.tiles())
    assert default.windows is not None
    assert default.windows.boxes[0].tolist() == [0, 0, 32, 32]


def test_a_tensor_of_a_network_has_windows_of_the_size_that_it_takes() -> None:
    found = limelight.explain(network(Patches()), torch.rand(1, 3, 80, 80), views=limelight.tiles())
    assert found.windows is not None
    assert found.windows.boxes[0].tolist() == [0, 0, 32, 32]


def test_a_volume_is_no_picture() -> None:
    with pytest.raises(PhotoError, match=r"has 3 axes, \[20, 40, 40\].*takes pictures"):
        limelight.explain(
            network(Patches()), np.zeros((20, 40, 40), np.uint16), views=limelight.tiles(32)
        )
