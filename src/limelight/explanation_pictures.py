"""The pictures of an explanation: the figure with all names, and single pictures of its maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, Literal, get_args

from limelight.drawing import Drawable, Explained, as_pictures, refuse_photos
from limelight.errors import OptionError, unknown
from limelight.figure_style import USUAL_STYLE, FigureStyle, MapScale
from limelight.map_scales import is_shown, on_one_scale, signed_maps

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from limelight.render import Alpha

#: How opaque the colours of each kind of overlay are; None for the article's sum.
OPACITY: Final[dict[str, Alpha]] = {"overlay": "heat", "article": None, "blend": 0.5}


FormatName = Literal["png", "jpg", "jpeg", "webp", "pdf", "svg", "npz"]

#: The picture files that explanations are written to, and the arrays.
FORMATS: tuple[FormatName, ...] = get_args(FormatName)

PictureKind = Literal["figure", "signed", "overlay", "article", "blend", "heatmap"]


def check_picture(picture: str, scale: MapScale, style: FigureStyle) -> None:
    """Refuse a kind of picture that is unknown, or that cannot have this scale or style.

    Raises:
        UnknownNameError: There is no such kind.
        OptionError: A scale or a style is asked for, and the picture is no figure.
    """
    if picture not in get_args(PictureKind):
        known = get_args(PictureKind)
        raise unknown("picture", picture, known, f"There are {', '.join(known)}.")
    if picture not in ("figure", "signed") and (style != USUAL_STYLE or scale != "each"):
        raise OptionError(
            f"width, dpi, font size and scale are those of a figure; the picture {picture!r} is as "
            "large as the photo, and has no text. Leave them out, or take the picture 'figure' or "
            "'signed'."
        )


def explanation_figure(
    explanation: Explained,
    photos: Sequence[Image] | None,
    *,
    whole: bool,
    colormap: str | None,
    scale: MapScale,
    signed: bool,
    style: FigureStyle,
) -> Figure:
    """Draw the maps of an explanation, as `Explanation.figure` says."""
    from limelight import render

    (maps,), colours = on_one_scale([explanation], scale=scale, signed=signed, colormap=colormap)
    how = f"{explanation.method} at {explanation.layer}"
    titles = [named_score(explanation, image) for image in range(len(explanation.label))]
    notes = ["" if is_shown(status, signed=signed) else str(status) for status in maps.status]
    if maps.image.ndim == 4:
        longest = render.panel_pixels(style)
        panels = as_pictures([maps], photos, whole=whole, longest=longest)
        rows = [
            render.ExplainedPhoto(
                panel.photo,
                panel.heatmaps[0],
                title,
                note,
                panel.regions[0],
                panel.name,
                panel.geometry,
            )
            for panel, title, note in zip(panels, titles, notes, strict=True)
        ]
        return render.photo_figure(rows, how=how, colours=colours, style=style)
    refuse_photos(maps.image, photos, whole=whole)
    heatmaps = maps.heatmap.detach().float().cpu()
    inputs = [
        render.ExplainedInput(*fields)
        for fields in zip(
            maps.image,
            heatmaps,
            titles,
            notes,
            maps.scored_regions,
            explanation.geometry or [None] * len(titles),
            strict=True,
        )
    ]
    return render.input_figure(inputs, how=how, colours=colours, style=style)


def named_score(explanation: Explained, image: int) -> str:
    """Return what is explained of an image and its score, as titles say it.

    A class whose name no installed font can draw is called by its number.
    """
    from limelight.render.fonts import can_draw, drawable
    from limelight.render.whole import as_array

    name, index = explanation.label[image], explanation.index
    if index is not None and not can_draw(name):
        name = f"class {int(index[image])}"
        drawable(explanation.label[image])  # warns of the missing font
    return f"{name}, score {float(as_array(explanation.score)[image]):.4g}"


def overlays(
    explanation: Drawable,
    photos: Sequence[Image] | None,
    *,
    whole: bool,
    colormap: str | None,
    alpha: Alpha,
    signed: bool = False,
) -> Iterator[Image]:
    """Yield the photos with the colours of their maps, as `Explanation.overlay` says.

    Raises:
        OptionError: `alpha` is not in [0, 1].
    """
    from limelight import render

    is_share = isinstance(alpha, int | float) and 0 <= alpha <= 1
    if alpha not in ("heat", None) and not is_share:
        raise OptionError(
            f"alpha is {alpha}; a share from 0 to 1 was expected, or 'heat', or None for the "
            "overlay of the article."
        )
    colormap = colormap or (render.SIGNED if signed else render.SEQUENTIAL)
    maps = signed_maps(explanation) if signed else explanation
    for drawn in as_pictures([maps], photos, whole=whole):
        overlay = render.overlay(
            drawn.photo,
            drawn.heatmaps[0],
            colormap=colormap,
            alpha=alpha,
            curve=drawn.curve,
            signed=signed,
        )
        (region,) = drawn.regions
        yield overlay if region is None else render.outlined(overlay, region)


def heat_picture(
    explanation: Drawable,
    photos: Sequence[Image] | None,
    colormap: str | None,
    *,
    whole: bool,
) -> Image:
    """Return the colours of the heatmap of one image."""
    from limelight import render

    (drawn,) = as_pictures([explanation], photos, whole=whole)
    return render.colourise(drawn.heatmaps[0], colormap or render.SEQUENTIAL)
