"""Several views of the same images, with their maps averaged: flips, noise, scales; or tiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from limelight.errors import OptionError
from limelight.finish import normalise, relu, resize
from limelight.methods.tiles import Tiles, tiles
from limelight.registry import check_options, find_name, options_of, read_settings


@dataclass(frozen=True, slots=True)
class View:
    """One view: a changed version of the images.

    Attributes:
        change: Returns what the network sees, given images `[B, C, *image]`, of the same shape.
        back: Returns the map of the images, given a map of the view: `[B, *grid]`, or with more
            axes in front of the grid.
        turned: The axes that the view flips, counted from the end.
    """

    change: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]
    turned: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Views:
    """Several views of the images, and how their maps are joined.

    Attributes:
        name: The name that stands in results, as "3 flips".
        make: Returns the views, given the shape of the images, `[B, C, *image]`.
        join: Returns the raw map, given the maps of all views, `[V, B, *grid]`, after `back`, and
            the scores, `[V, B]`.
        spatial: Whether outputs with the image's axes have to be brought back too.
        keeps_positive: Whether `join` leaves out what speaks against the score.
        made_with: The name in VIEWS and the arguments that make the same views again, as plain
            values; None for views of the user's own, also for those that `replace` made of others.
    """

    name: str
    make: Callable[[torch.Size], Sequence[View]]
    join: Callable[[Tensor, Tensor], Tensor]
    spatial: bool = False
    keeps_positive: bool = False
    made_with: Mapping[str, Any] | None = field(default=None, init=False)


def _made_with(views: Views, **arguments: Mapping[str, Any]) -> Views:
    """Let views know the name and the arguments that make them again."""
    object.__setattr__(views, "made_with", arguments)
    return views


def flips(*axes: int) -> Views:
    """Average the maps over the images and their mirror images: test-time augmentation.

    `L = mean_v v^-1(L(v(X)))`. If the network's output has the image's axes, it is flipped back
    before the target sees it, so that a target that names a place still means the same place.

    Args:
        axes: The image axes to flip, counted from the end; -1, left and right, if none is given.
            All combinations are used.

    Raises:
        OptionError: The axes are not different ones of -1, -2 and -3. Images that have no such axis
            are refused when they are seen.
    """
    chosen = axes or (-1,)
    are_integers = all(isinstance(axis, int) for axis in chosen)
    if not are_integers or not {-1, -2, -3}.issuperset(chosen) or len(set(chosen)) < len(chosen):
        raise OptionError(
            f"The axes to flip are {chosen}; different ones of -1 (left and right), -2 (top and "
            "bottom) and -3 (depth) were expected."
        )

    def make(shape: torch.Size) -> Sequence[View]:
        if len(shape) - 2 < -min(chosen):
            raise OptionError(
                f"Axis {min(chosen)} cannot be flipped: the images {list(shape)} have "
                f"{len(shape) - 2} axes."
            )
        views = []
        for flipped in product((False, True), repeat=len(chosen)):
            turned = [axis for axis, flip in zip(chosen, flipped, strict=True) if flip]
            turn = partial(torch.flip, dims=turned)
            views.append(View(turn, turn, tuple(turned)))
        return views

    views = Views(f"{2 ** len(chosen)} flips", make, _mean, spatial=True)
    return _made_with(views, flips={"axes": list(chosen)})


def noise(samples: int = 25, deviation: float = 0.15, *, seed: int = 0) -> Views:
    """Average the maps over noisy copies of the images.

    `L = mean_i L(X + noise_i)`, with normal noise whose standard deviation is a share of each
    image's range (Smilkov et al. 2017, section 3). With `gradcam++` this is Smooth Grad-CAM++
    (Omeiza et al. 2019), which averages the derivatives rather than the maps. All images get the
    same noise.
    """
    _check_view_options(noise, samples=samples, deviation=deviation, seed=seed)

    def make(shape: torch.Size) -> Sequence[View]:
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(
            samples, *shape[1:], generator=generator, dtype=torch.float64, device="cpu"
        )

        def noisy(images: Tensor, draw: Tensor) -> Tensor:
            low, high = images.flatten(1).aminmax(dim=1)
            scale = (deviation * (high - low)).reshape(-1, *[1] * (images.ndim - 1))
            return images + scale * draw.to(images)

        return [View(partial(noisy, draw=draw), _same) for draw in drawn]

    views = Views(f"{samples} noisy copies", make, _mean)
    return _made_with(views, noise={"samples": samples, "deviation": deviation, "seed": seed})


def scales(count: int = 4, *, growth: float = 0.5) -> Views:
    """Explain windows of the enlarged images, and put their maps together: SESS.

    The images are enlarged by 1, 1 + growth, 1 + 2 growth, ..., and covered with windows of the
    size that the network takes. Each window's map is scaled to [0, 1] and weighted by its score
    over the highest score; a pixel gets the mean of the positive values there (Tursun et al. 2022,
    section 3). The raw map has the size of the images.
    """
    _check_view_options(scales, count=count, growth=growth)

    def make(shape: torch.Size) -> Sequence[View]:
        size, windows = shape[2:], list[View]()
        for number in range(count):
            large = [round(length * (1 + number * growth)) for length in size]
            starts = [
                sorted({*range(0, big - length, length), big - length})
                for big, length in zip(large, size, strict=True)
            ]
            windows += [_window(size, large, place) for place in product(*starts)]
        return windows

    views = Views(f"{count} scales", make, _mean_of_positive, keeps_positive=True)
    return _made_with(views, scales={"count": count, "growth": growth})


#: The kinds of views, by the name that `--views` takes.
VIEWS: dict[str, Callable[..., Views | Tiles]] = {
    "flips": flips,
    "noise": noise,
    "scales": scales,
    "tiles": tiles,
}


def find_views(text: str) -> Views | Tiles:
    """Return the views called `name`, or `name:option=value,option=value`.

    Raises:
        UnknownNameError: There are no such views, or they have no such option.
        OptionError: An option cannot be read, or cannot have that value.
    """
    name, options = read_settings(text)
    name = find_name(VIEWS, "kind of views", name)
    check_options(name, options_of(VIEWS[name]), options)
    return VIEWS[name](**options)


def views_from_plain(value: Mapping[str, Any]) -> Views | Tiles:
    """Return the views that `made_with` describes."""
    ((name, arguments),) = value.items()
    if name == "flips":
        return flips(*arguments["axes"])
    if name == "tiles" and isinstance(arguments["size"], list):
        arguments = {**arguments, "size": tuple(arguments["size"])}
    return VIEWS[name](**arguments)


def _check_view_options(views: Callable[..., Views], **options: Any) -> None:
    """Raise an error for options that these views cannot have."""
    check_options(views.__name__, options_of(views), options)


def _window(size: Sequence[int], large: Sequence[int], place: Sequence[int]) -> View:
    """Return the view of one window of the enlarged images."""
    inside = tuple(slice(start, start + n) for start, n in zip(place, size, strict=True))
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(size)]

    def change(images: Tensor) -> Tensor:
        enlarged = interpolate(images, size=tuple(large), mode=mode, align_corners=False)
        return enlarged[:, :, *inside]

    def back(maps: Tensor) -> Tensor:
        canvas = maps.new_zeros(len(maps), *large)
        canvas[:, *inside] = normalise(resize(relu(maps), size))
        return resize(canvas, size)

    return View(change, back)


def _same(maps: Tensor) -> Tensor:
    return maps


def _mean(maps: Tensor, _scores: Tensor) -> Tensor:
    return maps.mean(0)


def _mean_of_positive(maps: Tensor, scores: Tensor) -> Tensor:
    weight = scores - scores.amin(0).clamp(max=0)  # so that no weight is negative
    highest = weight.amax(0)
    weight = torch.where(highest > 0, weight / torch.where(highest > 0, highest, 1), 1)
    weighed = maps * weight.reshape(*weight.shape, *[1] * (maps.ndim - 2))
    return weighed.sum(0) / (weighed > 0).sum(0).clamp(min=1)
