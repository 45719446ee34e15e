"""Pictures in, pictures out: `pytorch_grad_cam.utils.image` without OpenCV.

Colours and resized pictures equal OpenCV's to one grey level. Pictures are numpy arrays
`[H, W, 3]`.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from limelight.compat.colormaps import Colormap, colour_table
from limelight.errors import InputError, OptionError
from limelight.finish import resize

Array = npt.NDArray[Any]


def preprocess_image(
    img: Array,
    mean: Sequence[float] = (0.5, 0.5, 0.5),
    std: Sequence[float] = (0.5, 0.5, 0.5),
) -> Tensor:
    """Return a picture `[H, W, C]` as a batch of one image, `(x - mean) / std`, `[1, C, H, W]`.

    Whole numbers from 0 to 255 (uint8) are divided by 255 first; other numbers stay as they are.
    """
    pixels = np.atleast_3d(np.asarray(img))
    tensor = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
    tensor = tensor.float() / 255 if tensor.dtype == torch.uint8 else tensor
    centre, spread = (
        torch.tensor(values, dtype=tensor.dtype, device="cpu").reshape(-1, 1, 1)
        for values in (mean, std)
    )
    if len(centre) not in (1, len(tensor)) or len(spread) not in (1, len(tensor)):
        raise InputError(
            f"The picture has {len(tensor)} channels, mean {len(centre)} values and std "
            f"{len(spread)}; one value per channel was expected."
        )
    return ((tensor - centre) / spread)[None]


def deprocess_image(img: Array | Tensor) -> npt.NDArray[np.uint8]:
    """Return numbers of any range as grey levels around the middle, of the same shape.

    `255 clip(0.1 (x - mean x) / (std x + 1e-5) + 0.5, 0, 1)`, rounded down.
    """
    values = np.asarray(img)
    scaled = (values - np.mean(values)) / (np.std(values) + 1e-5)
    return _whole(np.clip(0.1 * scaled + 0.5, 0, 1))


def show_cam_on_image(
    img: Array,
    mask: Array,
    use_rgb: bool = False,
    colormap: Colormap = 2,
    image_weight: float = 0.5,
) -> npt.NDArray[np.uint8]:
    """Lay the colours of a map over a picture, and brighten the result until its maximum is 255.

    `cam = (1 - w) colours(mask) + w img`, and then `255 cam / max cam`, rounded down.

    Args:
        img: The picture in [0, 1], `[H, W, 3]`.
        mask: The map in [0, 1], `[H, W]`. Values beyond are clipped; NaN counts as 0.
        use_rgb: Whether the picture is RGB; else it is BGR. The result is what the picture is.
        colormap: One of OpenCV's colour maps, as in `cv2.COLORMAP_JET` (2), or a name.
        image_weight: w, in [0, 1].

    Returns:
        The picture with the map on it, `[H, W, 3]`, 0 to 255.

    Raises:
        InputError: The picture is not in [0, 1], or its size is not that of the map.
        OptionError: The weight is not in [0, 1]; or there is no such colour map.
    """
    img, mask = np.asarray(img), _without_last_axis(np.asarray(mask))
    _check_picture(img, mask.shape)
    _check_weight(image_weight)
    levels = _whole(np.clip(np.nan_to_num(mask), 0, 1))
    heatmap = colour_table(colormap)[levels].astype(np.float32) / 255
    cam = (1 - image_weight) * (heatmap if use_rgb else heatmap[..., ::-1]) + image_weight * img
    brightest = np.max(cam)
    return _whole(cam / brightest if brightest > 0 else cam)


def create_labels_legend(
    concept_scores: Array, labels: Mapping[int, str] | Sequence[str], top_k: int = 2
) -> list[str]:
    """Return for each concept its classes with the highest scores, one a line, as `name:0.12`.

    Args:
        concept_scores: The score of each class for each concept, `[concepts, C]`.
        labels: The names of the classes, by index. Three parts between commas are kept of each.
        top_k: How many classes to name.
    """

    def line(category: int, score: float) -> str:
        return f"{','.join(labels[category].split(',')[:3])}:{score:.2f}"

    scores = np.asarray(concept_scores)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    return [
        "\n".join(line(int(category), row[category]) for category in categories)
        for row, categories in zip(scores, best, strict=True)
    ]


def show_factorization_on_image(
    img: Array,
    explanations: Array,
    colors: Sequence[Array] | None = None,
    image_weight: float = 0.5,
    concept_labels: Sequence[str] | None = None,
) -> npt.NDArray[np.uint8]:
    """Lay the maps of several concepts over a picture, each in its own colour.

    A pixel has the colour of the concept with the highest value there, as bright as that value.

    Args:
        img: The picture in [0, 1], RGB, `[H, W, 3]`.
        explanations: A map in [0, 1] per concept, `[concepts, H, W]`. Values beyond are clipped;
            NaN counts as 0.
        colors: R, G and B in [0, 1] of each concept; None for those of matplotlib's gist_rainbow.
        image_weight: The share of the picture in the result, in [0, 1].
        concept_labels: What to call each concept in a legend; None for no legend.

    Returns:
        The picture with the maps on it, `[H, W, 3]`, 0 to 255; with a legend beside it,
        `[H, 2 W, 3]`.

    Raises:
        InputError: The picture is not in [0, 1], its size is not that of the maps, or there is not
            one colour per concept.
        OptionError: The weight is not in [0, 1].
    """
    img, maps = np.asarray(img), np.clip(np.nan_to_num(np.asarray(explanations)), 0, 1)
    _check_picture(img, maps.shape[1:])
    _check_weight(image_weight)
    colors = _rainbow(len(maps)) if colors is None else colors
    if len(colors) < len(maps):
        raise InputError(f"There are {len(colors)} colours for {len(maps)} concepts.")
    full = np.array([_at_full_brightness(color) for color in colors])
    brightness = _whole(maps.max(axis=0))[..., None]
    coloured = np.rint(brightness * full[maps.argmax(axis=0)]).astype(np.float32) / 255
    result = _whole(np.clip(img * image_weight + coloured * (1 - image_weight), 0, 1))
    if concept_labels is None:
        return result
    return np.hstack([result, _legend(colors[: len(maps)], concept_labels, img.shape[:2])])


def scale_cam_image(
    cam: Array | Sequence[Array], target_size: Sequence[int] | None = None
) -> npt.NDArray[np.float32]:
    """Scale each map to [0, 1], `(m - min m) / max (m - min m)`, and resize it linearly.

    A constant map becomes 0 everywhere, and so do values that are not finite.

    Args:
        cam: Maps `[B, *grid]` with one, two or three grid axes.
        target_size: The sizes of the result in the opposite order: `(W, H)`, or `(W, H, D)`; None
            to keep the size.

    Returns:
        The maps, `[B, *grid]` or `[B, H, W]`.
    """
    scaled = [_scale(np.asarray(one_map)) for one_map in cam]
    if target_size is not None:
        size = [int(length) for length in target_size[::-1]]
        scaled = [resize(torch.from_numpy(each)[None], size)[0].numpy() for each in scaled]
    return np.array(scaled, dtype=np.float32)


def scale_accross_batch_and_channels(
    tensor: Array, target_size: Sequence[int]
) -> npt.NDArray[np.float32]:
    """Scale and resize every channel of `[B, K, *grid]` by itself, as `scale_cam_image` does.

    Returns:
        The channels, `[B, K, H, W]`.
    """
    batch, channels, *grid = tensor.shape
    scaled = scale_cam_image(tensor.reshape(batch * channels, *grid), target_size)
    return scaled.reshape(batch, channels, *scaled.shape[1:])


def _whole(shares: Array) -> npt.NDArray[np.uint8]:
    """Return numbers in [0, 1] as grey levels, rounded down."""
    return (255 * shares).astype(np.uint8)


def _scale(one_map: Array) -> npt.NDArray[np.float32]:
    """Scale one map to [0, 1]."""
    finite = np.isfinite(one_map)
    if not finite.any():
        return np.zeros(one_map.shape, dtype=np.float32)
    # Before the map is rounded to float32, its minimum is subtracted.
    from_zero = np.where(finite, one_map - np.min(one_map, where=finite, initial=np.inf), 0)
    highest = from_zero.max()
    return np.asarray(from_zero / highest if highest > 0 else from_zero, dtype=np.float32)


def _without_last_axis(mask: Array) -> Array:
    """Return a map `[H, W, 1]` as `[H, W]`."""
    return mask[..., 0] if mask.ndim == 3 and mask.shape[2] == 1 else mask


def _check_picture(img: Array, size: tuple[int, ...]) -> None:
    """Check that a picture is in [0, 1] and has the size of a map.

    Raises:
        InputError: It is not, or it has another size.
    """
    if img.ndim != 3 or img.shape[2] not in (1, 3) or img.shape[:2] != size:
        raise InputError(
            f"The picture is {list(img.shape)} and the map {list(size)}; a picture [H, W, 3] and a "
            "map [H, W] of the same size were expected."
        )
    low, high = float(np.min(img)), float(np.max(img))
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
        raise InputError(
            f"The picture has values from {low:.4g} to {high:.4g}; floating point in [0, 1] was "
            "expected. For a picture of 0 to 255: np.float32(img) / 255."
        )


#: How far a resized picture may lie outside [0, 1].
_ROUNDING = 1e-3


def _check_weight(image_weight: float) -> None:
    """Check that a weight is in [0, 1].

    Raises:
        OptionError: It is not.
    """
    if not 0 <= image_weight <= 1:
        raise OptionError(f"image_weight is {image_weight}; a number in [0, 1] was expected.")


def _rainbow(count: int) -> list[Array]:
    """Return colours at equal steps along matplotlib's gist_rainbow, RGBA."""
    from matplotlib import colormaps

    return [np.array(colormaps["gist_rainbow"](i / count)) for i in range(count)]


def _at_full_brightness(color: Array) -> tuple[float, float, float]:
    """Return R, G and B of a colour as bright as it can be, with hue and saturation in 8 bits.

    OpenCV keeps the hue in steps of two degrees and the saturation in 255, which shows.
    """
    hue, saturation, _ = colorsys.rgb_to_hsv(*(int(255 * float(part)) / 255 for part in color[:3]))
    return colorsys.hsv_to_rgb(round(180 * hue) % 180 / 180, round(255 * saturation) / 255, 1)


def _legend(
    colors: Sequence[Array], labels: Sequence[str], size: tuple[int, ...]
) -> npt.NDArray[np.uint8]:
    """Return a legend with a line in each colour, as a picture `[H, W, 3]`."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    height, width = size
    dpi = matplotlib.rcParams["figure.dpi"]
    figure = Figure(figsize=(width / dpi, height / dpi), dpi=dpi)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.legend(
        [Line2D([0], [0], color=tuple(color), lw=5 * height / 256) for color in colors],
        labels,
        mode="expand",
        fancybox=True,
        shadow=True,
        fontsize=max(1, int(14 * height / 256 / max(1, len(colors) / 6))),
    )
    figure.tight_layout(pad=0, w_pad=0, h_pad=0)
    axes.axis("off")
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    drawn = torch.from_numpy(pixels[..., :3].copy())
    fitting = resize(drawn.float().movedim(2, 0), size).movedim(0, 2)
    return np.asarray(fitting.round().numpy(), dtype=np.uint8)
