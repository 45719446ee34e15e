"""Small networks of which no shape tells where a layer's cells lie, and where they do lie.

Each scene says by hand how an output of its layers is laid on a grid, and which part of the picture
that grid covers. Nothing of limelight is used here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, grid_sample, interpolate, pad
from torchvision import transforms

from helpers.networks import TransformerBlock, ready
from oracles.evidence import Grid, channels_first
from oracles.places import Part

CLASSES = 10
WIDTH = 8
#: Pixels of a patch, a side.
PATCH = 8


@dataclass(frozen=True)
class Scene:
    """A network with its inputs, and where the cells of its layers lie.

    Attributes:
        build: Make the network.
        size: The size of the picture, `[H, W]` or `[T, H, W]`.
        layer: A layer to name.
        lay: A layer's output as `[B, K, *grid]`, also of the other layers that may be chosen.
        part: The part of the picture that the grid covers; () for the whole.
        others: Make the model's other inputs, which follow the picture.
        channels: The channels of the picture.
        drops: Whether the network drops patches, whose cells are then zero.
    """

    build: Callable[[], nn.Module]
    size: tuple[int, ...]
    layer: str
    lay: Grid = channels_first
    part: Part = ()
    others: Callable[[], tuple[Tensor, ...]] = tuple
    channels: int = 3
    drops: bool = False

    def model(self) -> nn.Module:
        torch.manual_seed(0)
        return ready(self.build())

    def inputs(self, batch: int = 1) -> Any:
        picture = torch.randn(batch, self.channels, *self.size, dtype=torch.float64)
        others = self.others()
        return (picture, *others) if others else picture


# Networks that end in one dimension, and strides along one axis


class Line(nn.Module):
    """Convolutions over a line of text or a spectrogram, of which one axis is then averaged."""

    def __init__(self, width: int, strides: Sequence[int | tuple[int, int]], axis: int) -> None:
        super().__init__()
        channels = (1, *[WIDTH] * len(strides))
        self.cnn = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(before, after, 3, stride, 1), nn.Tanh())
                for before, after, stride in zip(channels, channels[1:], strides, strict=False)
            )
        )
        self.axis = axis
        self.tcn = nn.Sequential(nn.Conv1d(WIDTH, width, 3, 1, 1), nn.BatchNorm1d(width), nn.Tanh())
        self.fc = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.fc(self.tcn(self.cnn(x).mean(self.axis)).sin().mean(2)))


def lay_line(axis: int) -> Grid:
    """Lay `[B, K, L]` along the axis of the picture that is left when another was averaged."""
    return lambda raw: raw if raw.ndim == 4 else raw.unsqueeze(axis)


class InTime(nn.Module):
    """A tagger of spectrograms whose strides are along time alone."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 32, 3, (1, 8), 1), nn.Tanh())
        self.fc = nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.fc(self.features(x).sin().mean((2, 3))))


# What a network does to the picture before it looks at it


class Convs(nn.Module):
    """Three convolutions with strides: a cell is 8 pixels a side."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(channels, WIDTH, 3, 2, 1), nn.Tanh()),
            *(nn.Conv2d(WIDTH, WIDTH, 3, 2, 1), nn.Tanh()),
            *(nn.Conv2d(WIDTH, 16, 3, 2, 1), nn.Tanh()),
        )
        self.fc = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.fc(self.features(x).sin().mean((2, 3))))


class Inside(nn.Module):
    """Convolutions behind a step of preprocessing that belongs to the network."""

    def __init__(self, step: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.step = step
        self.net = Convs()

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.net(self.step(x)))


def slice_centre(x: Tensor, side: int = 64) -> Tensor:
    """Take the middle of the picture."""
    top, left = ((size - side) // 2 for size in x.shape[2:])
    return x[..., top : top + side, left : left + side]


def zoom(x: Tensor, corner: tuple[int, int], sides: tuple[int, int]) -> Tensor:
    """Take a part of the picture, and enlarge it to 64 by 64."""
    (top, left), (height, width) = corner, sides
    return interpolate(
        x[..., top : top + height, left : left + width], size=(64, 64), mode="bilinear"
    )


def sample(x: Tensor) -> Tensor:
    """Take the middle half of the picture along both axes, a little to the left, by an affinity."""
    theta = torch.tensor([[[0.5, 0, -0.25], [0, 0.5, 0]]], dtype=x.dtype).expand(len(x), -1, -1)
    points = nn.functional.affine_grid(theta, [len(x), 3, 64, 64], align_corners=False)
    return grid_sample(x, points, align_corners=False)


def letterbox(x: Tensor) -> Tensor:
    """Resize the longer side of an oblong picture to 64, and pad the other."""
    scale = 64 / max(x.shape[2:])
    height, width = (round(size * scale) for size in x.shape[2:])
    small = interpolate(x, size=(height, width), mode="bilinear", antialias=True)
    above, before = (64 - height) // 2, (64 - width) // 2
    return pad(small, (before, 64 - width - before, above, 64 - height - above))


def lay_turned(raw: Tensor) -> Tensor:
    """Lay the cells of a picture that was turned by 90 degrees against the clock."""
    return raw.rot90(-1, (2, 3))


# Tokens in any order


class Patched(nn.Module):
    """A transformer over patches, whose tokens are in any order, with others among them.

    Args:
        grid: Along how many patches.
        arrange: Make the tokens, from the patches and from 50 tokens without a place.
        pool: What the head reads of the tokens; their mean when not given.
        fold: How many tokens become one behind the first block: those that are `N / fold` apart.
    """

    def __init__(
        self,
        grid: tuple[int, ...],
        arrange: Callable[[Tensor, Tensor], Tensor],
        pool: Callable[[Tensor], Tensor] | None = None,
        fold: int = 1,
    ) -> None:
        super().__init__()
        kind = nn.Conv2d if len(grid) == 2 else nn.Conv3d
        sides = PATCH if len(grid) == 2 else (2, PATCH, PATCH)
        self.patches = kind(3, WIDTH, sides, stride=sides)  # type: ignore[arg-type]
        self.positions = nn.Parameter(torch.randn(1, WIDTH, *grid))
        self.extra = nn.Parameter(torch.randn(1, 50, WIDTH))
        self.blocks = nn.ModuleList(TransformerBlock(WIDTH, heads=2) for _ in range(3))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)
        self.arrange, self.pool, self.fold = arrange, pool, fold

    def forward(self, x: Tensor) -> Tensor:
        patches = (self.patches(x) + self.positions).flatten(2).transpose(1, 2)
        return self.read(self.arrange(patches, self.extra.expand(len(x), -1, -1)))

    def read(self, tokens: Tensor) -> Tensor:
        for number, block in enumerate(self.blocks):
            tokens = block(tokens)
            if number == 0:
                tokens = tokens.reshape(len(tokens), self.fold, -1, WIDTH).amax(1)
        tokens = self.norm(tokens).tanh()
        return cast("Tensor", self.head(tokens.mean(1) if self.pool is None else self.pool(tokens)))


class Masked(Patched):
    """Shuffles the patches in the order of given noise, and drops three quarters of them."""

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:  # type: ignore[override]
        patches = (self.patches(x) + self.positions).flatten(2).transpose(1, 2)
        kept = noise.argsort(1)[:, : patches.shape[1] // 4]
        return self.read(patches.gather(1, kept[..., None].expand(-1, -1, WIDTH)))


class Captioner(Patched):
    """A class token, the patches, and behind them the words so far."""

    def __init__(self, grid: tuple[int, ...]) -> None:
        super().__init__(grid, put_in_front(1))
        self.words = nn.Embedding(100, WIDTH)

    def forward(self, x: Tensor, words: Tensor) -> Tensor:  # type: ignore[override]
        patches = (self.patches(x) + self.positions).flatten(2).transpose(1, 2)
        tokens = self.arrange(patches, self.extra.expand(len(x), -1, -1))
        return self.read(torch.cat([tokens, self.words(words)], dim=1))


def lay_tokens(
    grid: tuple[int, ...], cells: Sequence[int] | None = None, front: int = 0, behind: int = 0
) -> Grid:
    """Lay tokens `[B, N, K]` on a grid, one by one.

    Args:
        grid: The grid of the patches.
        cells: The cell of each token, counted row by row; that of its number when not given.
        front, behind: The tokens without a place in front of the others, and behind them.
    """

    def lay(raw: Tensor) -> Tensor:
        if raw.ndim != 3:  # the patches, as the convolution puts them out
            return raw
        placed = raw[:, front : raw.shape[1] - behind]
        laid = raw.new_zeros(len(raw), raw.shape[2], int(torch.tensor(grid).prod()))
        order = range(placed.shape[1]) if cells is None else cells
        for token, cell in zip(placed.unbind(1), order, strict=True):
            laid[:, :, cell] = token
        return laid.reshape(*laid.shape[:2], *grid)

    return lay


def lay_around(grid: tuple[int, int], place: int) -> Grid:
    """Lay tokens among which one, at this place, is no patch."""
    plain = lay_tokens(grid)

    def lay(raw: Tensor) -> Tensor:
        if raw.ndim != 3:
            return raw
        return plain(torch.cat([raw[:, :place], raw[:, place + 1 :]], dim=1))

    return lay


def put_in_front(count: int) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda patches, extra: torch.cat([extra[:, :count], patches], dim=1)


def put_behind(count: int, front: int = 0) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda patches, extra: torch.cat(
        [extra[:, :front], patches, extra[:, front : front + count]], dim=1
    )


def put_at(place: int) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda patches, extra: torch.cat(
        [patches[:, :place], extra[:, :1], patches[:, place:]], dim=1
    )


def put_in_order(order: Sequence[int], front: int = 0) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda patches, extra: torch.cat([extra[:, :front], patches[:, list(order)]], dim=1)


def shuffle(patches: Tensor, _extra: Tensor) -> Tensor:
    """Put the patches in an order that is drawn in every forward."""
    return patches[:, torch.randperm(patches.shape[1])]


def numbers(grid: Sequence[int]) -> Tensor:
    """Number the cells of a grid row by row."""
    return torch.arange(int(torch.tensor(list(grid)).prod())).reshape(*grid)


def by_columns(grid: tuple[int, int]) -> list[int]:
    return numbers(grid).t().flatten().tolist()


def from_below(grid: tuple[int, int]) -> list[int]:
    return numbers(grid).flip(0).flatten().tolist()


def frames_last(grid: tuple[int, int, int]) -> list[int]:
    """Number the patches of a video in an order in which time runs fastest."""
    return numbers(grid).permute(1, 2, 0).flatten().tolist()


def unrolled(grid: tuple[int, int]) -> list[int]:
    """Number the patches in nested units of 2 by 2: the place in the unit, then the unit."""
    rows, columns = grid
    nested = numbers(grid).reshape(rows // 4, 2, 2, columns // 4, 2, 2)
    return nested.permute(2, 5, 1, 4, 0, 3).flatten().tolist()


def unrolled_units(grid: tuple[int, int]) -> list[int]:
    """Number the units of 2 by 2 patches in the order that they are left in when each is folded."""
    rows, columns = grid
    nested = numbers((rows // 2, columns // 2)).reshape(rows // 4, 2, columns // 4, 2)
    return nested.permute(1, 3, 0, 2).flatten().tolist()


def lay_folded(grid: tuple[int, int]) -> Grid:
    """Lay the units that an unrolled order is folded to, or the patches before that."""
    rows, columns = grid
    before = lay_tokens(grid, unrolled(grid))
    behind = lay_tokens((rows // 2, columns // 2), unrolled_units(grid))
    return lambda raw: (behind if raw.shape[1] == rows * columns // 4 else before)(raw)


# Attention inside windows


class Windows(nn.Module):
    """Attention among the cells of a window, `[B, windows, cells, K]` or `[B windows, cells, K]`.

    Args:
        side: How many cells a window has along an axis.
        strided: Whether a window's cells are spread over the picture, as in grid attention.
        in_batch: Whether the windows are put in the batch axis.
    """

    def __init__(self, side: int, strided: bool, in_batch: bool) -> None:
        super().__init__()
        self.attention = TransformerBlock(WIDTH, heads=2)
        self.mlp = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.Tanh())
        self.side, self.strided, self.in_batch = side, strided, in_batch

    def forward(self, x: Tensor) -> Tensor:
        batch = len(x)
        windows = self.attention(split(x, self.side, self.strided).flatten(0, 1))
        windows = self.mlp(
            windows if self.in_batch else windows.reshape(batch, -1, *windows.shape[1:])
        )
        windows = windows.reshape(batch, -1, self.side**2, WIDTH)
        return x + join(windows, tuple(x.shape[2:]), self.side, self.strided)


def split(x: Tensor, side: int, strided: bool) -> Tensor:
    """Return the cells of `[B, K, H, W]` by window, `[B, windows, cells, K]`."""
    batch, width, height, length = x.shape
    if strided:
        parts = x.reshape(batch, width, side, height // side, side, length // side)
        ordered = parts.permute(0, 3, 5, 2, 4, 1)
    else:
        parts = x.reshape(batch, width, height // side, side, length // side, side)
        ordered = parts.permute(0, 2, 4, 3, 5, 1)
    return ordered.reshape(batch, -1, side**2, width)


def join(windows: Tensor, grid: tuple[int, ...], side: int, strided: bool) -> Tensor:
    """Lay the cells of all windows on the grid, one by one: `split` undone."""
    cells = split(numbers(grid)[None, None], side, strided)[0, ..., 0]  # [windows, cells]
    laid = windows.new_zeros(len(windows), windows.shape[-1], int(torch.tensor(grid).prod()))
    for window, row in enumerate(cells):
        for place, cell in enumerate(row):
            laid[:, :, cell] = windows[:, window, place]
    return laid.reshape(*laid.shape[:2], *grid)


def lay_windows(grid: tuple[int, int], side: int, strided: bool) -> Grid:
    """Lay an output inside the windows; outside of them channels come first."""
    count = grid[0] * grid[1] // side**2

    def lay(raw: Tensor) -> Tensor:
        if raw.shape[-2:-1] != (side**2,):
            return raw
        return join(raw.reshape(-1, count, side**2, raw.shape[-1]), grid, side, strided)

    return lay


class Windowed(nn.Module):
    """Patches, attention inside windows, and a head."""

    def __init__(self, side: int, strided: bool, in_batch: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 4, 4)
        self.windows = Windows(side, strided, in_batch)
        self.fc = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.fc(self.windows(self.patches(x)).sin().mean((2, 3))))


# Tokens that belong to no place


class Reader(nn.Module):
    """Tokens that read the picture: each of them may look anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.keys, self.values = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.block = TransformerBlock(WIDTH, heads=2)

    def forward(self, tokens: Tensor, picture: Tensor) -> Tensor:
        weights = (tokens @ self.keys(picture).transpose(1, 2)).softmax(-1)
        return cast("Tensor", self.block(tokens + weights @ self.values(picture)))


class Queries(nn.Module):
    """A detector's object queries, a Perceiver's latents, or the prompts of a mask decoder.

    Args:
        count: How many there are.
        prompts: Whether half of them are made of points `[B, count / 2, 2]`, a second input.
    """

    def __init__(self, count: int, *, prompts: bool = False) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.encoder = TransformerBlock(WIDTH, heads=2)
        self.queries = nn.Parameter(torch.randn(1, count // 2 if prompts else count, WIDTH))
        self.points = nn.Linear(2, WIDTH)
        self.decoder = Reader()
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor, points: Tensor | None = None) -> Tensor:
        picture = self.encoder(self.patches(x).flatten(2).transpose(1, 2))
        queries = self.queries.expand(len(x), -1, -1)
        if points is not None:
            queries = torch.cat([queries, self.points(points)], dim=1)
        return cast("Tensor", self.head(self.decoder(queries, picture).tanh()).mean(1))


# Inputs that are no picture, or several


class Packed(nn.Module):
    """A transformer that is given its patches, packed, and along which grid they were cut."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3 * PATCH * PATCH, WIDTH)
        self.along = nn.Linear(2, WIDTH)
        self.blocks = nn.ModuleList(TransformerBlock(WIDTH, heads=2) for _ in range(2))
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, pixel_values: Tensor, spatial_shapes: Tensor) -> Tensor:
        _rows, columns = spatial_shapes[0].tolist()
        number = torch.arange(pixel_values.shape[1])
        places = torch.stack([number // columns, number % columns], 1).to(pixel_values)
        tokens = self.embed(pixel_values) + self.along(places).sin()
        for block in self.blocks:
            tokens = block(tokens)
        return cast("Tensor", self.head(tokens.tanh().mean(1)))


class Siamese(nn.Module):
    """Two pictures through one backbone."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Convs().features
        self.fc = nn.Linear(32, CLASSES)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        of_a, of_b = self.backbone(a).sin().mean((2, 3)), self.backbone(b).sin().mean((2, 3))
        return cast("Tensor", self.fc(torch.cat([of_a * of_b, of_b - of_a], dim=1)))


class TwoEncoders(nn.Module):
    """Two pictures, each through an encoder of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Convs().features, Convs().features
        self.fc = nn.Linear(32, CLASSES)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        of_a, of_b = self.first(a).sin().mean((2, 3)), self.second(b).sin().mean((2, 3))
        return cast("Tensor", self.fc(torch.cat([of_a, of_b], dim=1).tanh()))


class Tracker(nn.Module):
    """Where in a picture the template is: the correlation of what one backbone finds in both."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Convs().features

    def forward(self, template: Tensor, search: Tensor) -> Tensor:
        small, large = self.backbone(template), self.backbone(search)
        return torch.cat(
            [conv2d(one[None], other[None]) for one, other in zip(large, small, strict=True)]
        )


class Crops(nn.Module):
    """Several crops of a picture, `[B, crops, 3, H, W]`, each through one transformer."""

    def __init__(self, grid: tuple[int, int]) -> None:
        super().__init__()
        self.tower = Patched(grid, put_in_front(1))

    def forward(self, pixel_values: Tensor) -> Tensor:
        logits = self.tower(pixel_values.flatten(0, 1))
        return cast("Tensor", logits.reshape(*pixel_values.shape[:2], CLASSES).tanh().sum(1))


# The scenes

MEL = (2, 2, (2, 1))
GRID, SQUARE = (4, 6), (4, 4)
CENTRE = GRID[0] * GRID[1] // 2
VIDEO = (4, 2, 3)


def noise() -> tuple[Tensor]:
    return (torch.rand(1, CENTRE * 2, generator=torch.Generator().manual_seed(3)),)


def words() -> tuple[Tensor]:
    return (torch.tensor([[5, 17, 23, 60, 99]]),)


def inside(
    step: Callable[[Tensor], Tensor], size: tuple[int, int], *part: tuple[float, float], **more: Any
) -> Scene:
    return Scene(partial(Inside, step), size, "net.features", part=part, **more)


def patched(
    arrange: Callable[[Tensor, Tensor], Tensor], lay: Grid, grid: Any = GRID, **more: Any
) -> Scene:
    size = (2 * grid[0], *grid[1:]) if len(grid) == 3 else grid
    pixels = tuple(PATCH * cells for cells in size[-2:])
    build = partial(Patched, grid, arrange, **more)
    return Scene(build, (*size[:-2], *pixels), "blocks.1", lay)


def in_order(order: Callable[[Any], list[int]], grid: Any, front: int = 0) -> Scene:
    cells = order(grid)
    return patched(put_in_order(cells, front), lay_tokens(grid, cells, front), grid)


def windowed(cells: tuple[int, int], strided: bool, in_batch: bool, layer: str) -> Scene:
    size = (4 * cells[0], 4 * cells[1])
    lay = lay_windows(cells, 7, strided)
    return Scene(partial(Windowed, 7, strided, in_batch), size, layer, lay)


LINES: dict[str, Scene] = {
    "a line of text, 256 channels": Scene(
        partial(Line, 256, (2, 2, (2, 1), (2, 1)), 2), (32, 128), "tcn", lay_line(2), channels=1
    ),
    "a line of text, its batch norm": Scene(
        partial(Line, 256, (2, 2, (2, 1), (2, 1)), 2), (32, 128), "tcn.1", lay_line(2), channels=1
    ),
    "mel 64 x 64": Scene(partial(Line, 256, (2, 2), 2), (64, 64), "tcn", lay_line(2), channels=1),
    "mel 64 x 256, 256 channels": Scene(
        partial(Line, 256, (2, 4), 2), (64, 256), "tcn.0", lay_line(2), channels=1
    ),
    "mel with time along the rows": Scene(
        partial(Line, 64, (2, 2, (1, 2)), 3), (64, 32), "tcn", lay_line(3), channels=1
    ),
    "strides in time alone": Scene(InTime, (128, 1000), "features", channels=1),
}

STEPS: dict[str, Scene] = {
    "a slice of the middle, oblong": inside(slice_centre, (64, 192), (0, 64), (64, 128)),
    "a slice of the middle, square": inside(slice_centre, (96, 96), (16, 80), (16, 80)),
    "torchvision's centre crop": inside(transforms.CenterCrop(64), (80, 144), (8, 72), (40, 104)),
    "torchvision's resize and crop": inside(
        transforms.Compose([transforms.Resize(64), transforms.CenterCrop(64)]),
        (96, 144),
        (0, 96),
        (24, 120),
    ),
    "a part in a corner, enlarged": inside(
        partial(zoom, corner=(8, 40), sides=(32, 48)), (64, 96), (8, 40), (40, 88)
    ),
    "a part, by sampling": inside(sample, (96, 128), (24, 72), (16, 80)),
    "resized": inside(partial(interpolate, size=(64, 64)), (48, 96)),
    "padded to a square": inside(partial(pad, pad=(0, 0, 24, 24)), (48, 96), (-24, 72), (0, 96)),
    "padded at the right and below": inside(
        partial(pad, pad=(0, 32, 0, 16)), (48, 64), (0, 64), (0, 96)
    ),
    "letterbox, oblong": inside(letterbox, (48, 96), (-24, 72), (0, 96)),
    "letterbox, upright": inside(letterbox, (128, 64), (0, 128), (-32, 96)),
    "transposed": inside(
        partial(torch.transpose, dim0=2, dim1=3), (48, 96), lay=lambda raw: raw.transpose(2, 3)
    ),
    "turned": inside(partial(torch.rot90, dims=(2, 3)), (48, 96), lay=lay_turned),
    "mirrored": inside(partial(torch.flip, dims=(3,)), (48, 96), lay=lambda raw: raw.flip(3)),
}

TOKENS: dict[str, Scene] = {
    "shuffled by noise, three quarters dropped": Scene(
        partial(Masked, GRID, shuffle),
        (32, 48),
        "blocks.1",
        lay_tokens(GRID, noise()[0].argsort(1)[0, : CENTRE // 2].tolist()),
        others=noise,
        drops=True,
    ),
    "shuffled": in_order(lambda grid: noise()[0].argsort(1)[0].tolist(), GRID),
    "class token in the middle": patched(
        put_at(CENTRE), lay_around(GRID, CENTRE), pool=lambda tokens: tokens[:, CENTRE]
    ),
    "class token last": patched(
        put_behind(1), lay_tokens(GRID, behind=1), pool=lambda tokens: tokens[:, -1]
    ),
    "class token in the middle, square": patched(
        put_at(8), lay_around(SQUARE, 8), SQUARE, pool=lambda tokens: tokens[:, 8]
    ),
    "10 prompts in front": patched(put_in_front(10), lay_tokens(GRID, front=10)),
    "50 prompts in front": patched(put_in_front(50), lay_tokens(GRID, front=50)),
    "10 prompts behind": patched(put_behind(10), lay_tokens(GRID, behind=10)),
    "50 prompts behind": patched(put_behind(50), lay_tokens(GRID, behind=50)),
    "class token, and detection tokens behind": patched(
        put_behind(10, front=1), lay_tokens(GRID, front=1, behind=10)
    ),
    "words behind": Scene(
        partial(Captioner, GRID), (32, 48), "blocks.1", lay_tokens(GRID, None, 1, 5), others=words
    ),
    "column by column": in_order(by_columns, GRID),
    "column by column, square": in_order(by_columns, SQUARE),
    "from below": in_order(from_below, GRID),
    "unrolled": in_order(unrolled, (8, 12)),
    "unrolled, square": in_order(unrolled, (8, 8)),
    "unrolled and folded": patched(
        put_in_order(unrolled((8, 12))), lay_folded((8, 12)), (8, 12), fold=4
    ),
    "a video, time fastest": in_order(frames_last, VIDEO),
    "a video, time fastest, behind a class token": in_order(frames_last, VIDEO, front=1),
}

WINDOWS: dict[str, Scene] = {
    "one window": windowed((7, 7), False, False, "windows.mlp"),
    "windows": windowed((14, 21), False, False, "windows.mlp"),
    "windows, spread": windowed((14, 14), True, False, "windows.mlp"),
    "windows, spread, oblong": windowed((14, 21), True, False, "windows.mlp"),
    "around windows": windowed((14, 21), False, True, "windows"),
    "around spread windows": windowed((14, 14), True, True, "windows"),
}

SCENES = {**LINES, **STEPS, **TOKENS, **WINDOWS}

#: Windows in the batch axis: laid, or refused.
BATCHED_WINDOWS: dict[str, Scene] = {
    "windows in the batch": windowed((14, 21), False, True, "windows.mlp"),
    "spread windows in the batch": windowed((14, 14), True, True, "windows.mlp"),
}
