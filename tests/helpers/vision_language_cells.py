"""Where each cell of a layer lies on the photo, as each family's own code has it.

Nothing of limelight is read here: the order of patches in a pack, crops and tiles, class tokens,
and the places of pictures in a sentence are written out by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from helpers.vision_language import made

#: Left, top, right and bottom, in pixels of the photo.
Box = tuple[float, float, float, float]
#: Width and height.
Size = tuple[int, int]


def squashed(size: Size) -> list[Box]:
    return [(0, 0, *size)]


def middle(size: Size) -> list[Box]:
    """The square in the middle."""
    side = min(size)
    left, top = (size[0] - side) / 2, (size[1] - side) / 2
    return [(left, top, left + side, top + side)]


def tiles(size: Size, columns: int, rows: int) -> list[Box]:
    wide, high = size[0] / columns, size[1] / rows
    return [
        (c * wide, r * high, (c + 1) * wide, (r + 1) * high)
        for r in range(rows)
        for c in range(columns)
    ]


def by_32(size: Size) -> tuple[int, int]:
    return size[0] // 32, size[1] // 32


def whole_first(size: Size) -> list[Box]:
    """The whole photo, then tiles of 32 pixels."""
    return [*squashed(size), *tiles(size, *by_32(size))]


def whole_last(size: Size) -> list[Box]:
    return [*tiles(size, *by_32(size)), *squashed(size)]


def longest_64(size: Size) -> list[Box]:
    """Tiles of 32 pixels of a photo that is 64 on its longer side, rounded up, then the whole."""
    columns, rows = (-(-side * 64 // (32 * max(size))) for side in size)
    return [*tiles(size, columns, rows), *squashed(size)]


def four_tiles(size: Size) -> list[Box]:
    """Tiles of 32 pixels, and empty ones behind them."""
    seen = tiles(size, *by_32(size))
    return [*seen, *[(0.0, 0.0, 0.0, 0.0)] * (4 - len(seen))]


#: The grid of a picture's piece `(h, w)`, by the size of the photo.
GridOf = Callable[[Size], tuple[int, int]]


def four(_size: Size) -> tuple[int, int]:
    return 4, 4


def by_8(size: Size) -> tuple[int, int]:
    return size[1] // 8, size[0] // 8


def of_48(size: Size) -> tuple[int, int]:
    """The largest grid of square patches with the photo's shape and no more than 48 of them."""
    scale = (48 / (size[0] * size[1])) ** 0.5
    return int(size[1] * scale + 1e-9), int(size[0] * scale + 1e-9)


# In which order rows of numbers lie


def cells(h: int, w: int) -> Tensor:
    """Row by row."""
    return torch.arange(h * w).view(h, w)


def by_two(h: int, w: int) -> Tensor:
    """Four neighbours together, `[h/2, w/2, 2, 2]`, as they are merged later."""
    return torch.arange(h * w).view(h // 2, w // 2, 2, 2).permute(0, 2, 1, 3).reshape(h, w)


def windowed(h: int, w: int) -> Tensor:
    """Windows of 2 x 2, row by row in each."""
    return by_two(h, w)


def by_two_windowed(h: int, w: int) -> Tensor:
    """Windows of 2 x 2 merged cells, each of 2 x 2 patches."""
    merged = windowed(h // 2, w // 2)
    inner = torch.arange(4).view(2, 2).repeat(h // 2, w // 2)
    return merged.repeat_interleave(2, 0).repeat_interleave(2, 1) * 4 + inner


class Asked(NamedTuple):
    """What a question about rows is about."""

    family: Cells
    name: str
    sizes: Sequence[Sequence[Size]]
    given: dict[str, Any]
    picture: int


#: The numbers of the rows `[B, *grid]` of a layer's output `[..., K]`, were it `[rows, K]`.
Rows = Callable[[Asked], Tensor]


def pieces(prefix: int = 0, merge: int = 1, room: int = 0) -> Rows:
    """Pieces `[pieces, prefix + h w, K]`, or with room for more rows behind each."""

    def rows(asked: Asked) -> Tensor:
        grids, start = [], 0
        for photos in asked.sizes:
            own = []
            for size in photos:
                h, w = (side // merge for side in asked.family.grid(size))
                each = room or prefix + h * w
                for _ in asked.family.pieces(size):
                    own.append(start + prefix + cells(h, w))
                    start += each
            grids.append(own[0] if len(own) == 1 else torch.stack(own))
        return torch.stack(grids)

    return rows


def packed(order: Callable[[int, int], Tensor] = cells, merge: int = 1) -> Rows:
    """All pictures in one row of patches."""

    def rows(asked: Asked) -> Tensor:
        grids, start = [], 0
        for photos in asked.sizes:
            for number, size in enumerate(photos):
                h, w = (side // merge for side in asked.family.grid(size))
                if number == asked.picture:
                    grids.append(start + order(h, w))
                start += h * w
        return torch.stack(grids)

    return rows


def padded(count: int) -> Rows:
    """Each picture in so many rows, of which the first are patches."""

    def rows(asked: Asked) -> Tensor:
        return torch.stack(
            [b * count + cells(*asked.family.grid(size)) for b, (size,) in enumerate(asked.sizes)]
        )

    return rows


def places(asked: Asked) -> list[Tensor]:
    """Return where the tokens of pictures are in each sentence, as rows of `[B, L]`."""
    ids = asked.given["input_ids"]
    token = made(asked.name).processor.tokenizer.convert_tokens_to_ids(asked.family.token)
    return [(row == token).nonzero()[:, 0] + b * len(row) for b, row in enumerate(ids)]


def spoken(merge: int = 1) -> Rows:
    """The pictures' tokens in the sentences `[B, L, K]`, piece by piece."""

    def rows(asked: Asked) -> Tensor:
        grids = []
        for at, photos in zip(places(asked), asked.sizes, strict=True):
            h, w = (side // merge for side in asked.family.grid(photos[0]))
            grids.append(at.view(-1, h, w))
        together = torch.stack(grids)
        return together[:, 0] if together.shape[1] == 1 else together

    return rows


def spoken_packed(merge: int = 1) -> Rows:
    """The tokens of one picture in the sentences `[B, L, K]`."""

    def rows(asked: Asked) -> Tensor:
        grids = []
        for at, photos in zip(places(asked), asked.sizes, strict=True):
            sides = [[side // merge for side in asked.family.grid(size)] for size in photos]
            counts = [h * w for h, w in sides]
            grids.append(at.split(counts)[asked.picture].view(sides[asked.picture]))
        return torch.stack(grids)

    return rows


def spoken_lines(asked: Asked) -> Tensor:
    """The whole picture, then lines across all tiles, each with a token for its end."""
    grids = []
    for at, photos in zip(places(asked), asked.sizes, strict=True):
        left, own = at, list[Tensor]()
        for size in photos:
            untiled = len(photos) > 1 and asked.name == "llava-onevision"
            columns, lines = (4, 0) if untiled else (4 * side for side in by_32(size))
            whole, tiled, left = left.split(
                [16, lines * (columns + 1), len(left) - 16 - lines * (columns + 1)]
            )
            left = left[1:] if untiled else left  # the end of its one line
            inside = tiled.view(lines, columns + 1)[:, :-1]
            own += [whole.view(4, 4)]
            own += [part for line in inside.split(4) for part in line.split(4, dim=1)]
        grids.append(torch.stack(own))
    return torch.stack(grids)


@dataclass(frozen=True)
class Cells:
    """How a family cuts photos, and what each part of it puts out.

    Attributes:
        parts: The rows of layers of the picture tower, and behind it, by how their paths begin.
        layers: Some of these layers.
        speaks: How the paths of layers begin in which pictures lie among words, with their rows.
        within: Some of these layers. In the first, no word has looked at another yet.
        pieces: Which parts of the photo the tower takes.
        grid: The tower's grid over each piece.
        token: What stands for a piece of a picture in the sentence.
    """

    parts: dict[str, Rows]
    layers: tuple[str, ...]
    speaks: tuple[str, Rows] | None = None
    within: tuple[str, ...] = ()
    pieces: Callable[[Size], list[Box]] = squashed
    grid: GridOf = four
    token: str = ""

    def rows(self, layer: str) -> Rows:
        """Return the rows of a layer, from the longest beginning of its path that is known."""
        known = {**self.parts, **dict([self.speaks] if self.speaks else [])}
        return known[max((path for path in known if layer.startswith(path)), key=len)]


TOWER = "model.vision_tower"
CLIP = "model.vision_tower.encoder.layers.0"
PROJECTOR = "model.multi_modal_projector"
LANGUAGE = "model.language_model"
READS = (f"{LANGUAGE}.layers.0.input_layernorm", f"{LANGUAGE}.layers.0")


def to_language(prefix: int, **known: Any) -> Cells:
    """A tower, a projector, and a language model, of LLaVA's kind."""
    made = {
        "parts": {TOWER: pieces(prefix), PROJECTOR: pieces()},
        "layers": (CLIP, PROJECTOR),
        "speaks": (LANGUAGE, spoken()),
        "within": READS,
        "token": "<image>",
    }
    return Cells(**{**made, **known})


def to_queries(tower: str, *layers: str) -> Cells:
    """A tower with a class token, behind which are queries, or a decoder that looks at it."""
    return Cells({tower: pieces(1)}, tuple(f"{tower}.{layer}" for layer in layers))


def in_packs(tower: Rows, merger: Rows, token: str) -> Cells:
    """A tower of packed patches, merged two by two."""
    parts = {
        "model.visual": tower,
        "model.visual.merger": merger,
        "model.visual.downsample": merger,
    }
    return Cells(
        parts,
        ("model.visual.blocks.0", "model.visual.merger"),
        (LANGUAGE, spoken_packed(2)),
        READS,
        grid=by_8,
        token=token,
    )


def in_lines(merge: int) -> Cells:
    """A tower of packed patches, row by row."""
    parts = {TOWER: packed(), PROJECTOR: packed(merge=merge)}
    return Cells(
        parts,
        (f"{TOWER}.transformer.layers.0", PROJECTOR),
        (LANGUAGE, spoken_packed(merge)),
        READS,
        grid=by_8,
        token="[IMG]",
    )


IDEFICS = Cells(
    {"model.vision_model": pieces(), "model.connector": pieces(merge=2)},
    ("model.vision_model.encoder.layers.0", "model.connector"),
    ("model.text_model", spoken(2)),
    ("model.text_model.layers.0.input_layernorm", "model.text_model.layers.0"),
    longest_64,
    token="<image>",
)
BLIP_LAYERS = ("encoder.layers.0", "encoder.layers.1.layer_norm1")
VIT_LAYERS = ("layers.0", "layernorm")

CELLS: dict[str, Cells] = {
    "llava": to_language(1, pieces=middle),
    "paligemma": to_language(0),
    "blip": to_queries("vision_model", *BLIP_LAYERS),
    "blip-2": to_queries("vision_model", *BLIP_LAYERS),
    "instructblip": to_queries("vision_model", *BLIP_LAYERS),
    "vit-gpt2": to_queries("encoder", *VIT_LAYERS),
    "trocr": to_queries("encoder", *VIT_LAYERS),
    "kosmos-2": Cells(
        {"vision_model": pieces(1), "image_to_text_projection.dense": pieces(1)},
        ("vision_model.model.encoder.layers.0", "image_to_text_projection.dense"),
    ),
    "florence-2": Cells(
        {
            f"{TOWER}.convs.0": pieces(),
            f"{TOWER}.blocks.0": pieces(),
            TOWER: pieces(merge=2),
        },
        (f"{TOWER}.convs.0", f"{TOWER}.convs.1"),
        grid=lambda _size: (8, 8),
    ),
    "gemma-3": to_language(0),
    "git": Cells(
        {"git.image_encoder": pieces(1), "git.visual_projection": pieces(1)},
        ("git.image_encoder.vision_model.encoder.layers.0", "git.visual_projection"),
        ("git.encoder", pieces(1, room=24)),
        ("git.encoder.layer.0.attention.self.value", "git.encoder.layer.0"),
    ),
    "llava-next": to_language(1, pieces=whole_first, speaks=(LANGUAGE, spoken_lines)),
    "llava-onevision": to_language(0, pieces=whole_first, speaks=(LANGUAGE, spoken_lines)),
    "internvl": to_language(
        1,
        parts={TOWER: pieces(1), PROJECTOR: pieces(merge=2)},
        layers=(f"{TOWER}.encoder.layer.0", PROJECTOR),
        pieces=whole_last,
        token="<IMG_CONTEXT>",
        speaks=(LANGUAGE, spoken(2)),
    ),
    "idefics3": IDEFICS,
    "smolvlm": IDEFICS,
    "mllama": Cells(
        {"model.vision_model": pieces(1, room=24), PROJECTOR: pieces(1)},
        ("model.vision_model.transformer.layers.0", PROJECTOR),
        pieces=four_tiles,
    ),
    "qwen2-vl": in_packs(packed(by_two), packed(merge=2), "<|image_pad|>"),
    "qwen2.5-vl": in_packs(packed(by_two_windowed), packed(windowed, merge=2), "<|image_pad|>"),
    "qwen3-vl": in_packs(packed(by_two), packed(merge=2), "<|image_pad|>"),
    "glm4v": in_packs(packed(by_two), packed(merge=2), "<|image|>"),
    "pixtral": in_lines(1),
    "mistral3": in_lines(2),
    "pix2struct": Cells(
        {"encoder": padded(48)}, ("encoder.encoder.layer.0", "encoder.layernorm"), grid=of_48
    ),
    "siglip2": Cells(
        {"vision_model": padded(64)},
        ("vision_model.encoder.layers.0", "vision_model.post_layernorm"),
        grid=by_8,
    ),
}


def rows_of(
    name: str,
    layer: str,
    sizes: Sequence[Sequence[Size]],
    given: dict[str, Any],
    picture: int = 0,
) -> Tensor:
    """Return the rows `[B, *grid]` of what a layer puts out for prompts with photos of sizes."""
    family = CELLS[name]
    return family.rows(layer)(Asked(family, name, sizes, given, picture))


def laid(output: Tensor, rows: Tensor) -> Tensor:
    """Return a layer's output as a grid, `[B, K, *grid]`; of convolutions, channels come first."""
    if output.ndim == 4:
        output = output.movedim(1, -1)
    return output.reshape(-1, output.shape[-1])[rows].movedim(-1, 1)
