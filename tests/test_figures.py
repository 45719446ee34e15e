"""Figures as a journal takes them: width, fonts, colour bars, margins, and names in any script."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from pypdf import PdfReader
from pypdf.generic import DictionaryObject
from torch import Tensor

import limelight
from helpers.measurements import assert_readable, texts
from limelight import FigureStyle, render
from limelight.errors import OptionError, OutputError, UnknownNameError
from limelight.explanation import Explanation
from limelight.photos.crops import CroppedPhoto
from limelight.render import fonts
from limelight.render.cells import cells_figure
from limelight.render.measures import Bars, Curves, measurement_figure
from limelight.render.sheets import Block, Panel, sheet
from limelight.render.traces import TracedLayer, trace_figure
from limelight.runtime.cells import CellPlaces
from limelight.status import Status, to_heatmap

COLUMN = FigureStyle(width="85mm", dpi=200, font_size=7)
PAGE = FigureStyle(width="180mm", dpi=150)
FLAT = Status("flat", "The map is the same everywhere. " * 4)


def explained(
    image: Tensor, raw: Tensor, label: str = "a tabby, which is a cat", **more: object
) -> Explanation:
    """Return an explanation of images `[B, C, *image]` with these raw maps `[B, *grid]`."""
    status = (Status("ok"),) * len(image)
    plain = Explanation(
        raw=raw,
        heatmap=to_heatmap(raw, image.shape[2:], status),
        score=torch.linspace(1, 2, len(image)),
        index=torch.arange(len(image)) + 281,
        label=(label,) * len(image),
        status=status,
        method="gradcam",
        layer="features.7.block.2.conv",
        reason="",
        image=image,
        output=None,
    )
    return replace(plain, **more)  # type: ignore[arg-type]


def photos(count: int = 2, size: tuple[int, int] = (48, 64), **more: object) -> Explanation:
    """Return an explanation of noisy photos with names; the raw map has values of both signs."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(count, 3, *size, generator=generator)
    raw = torch.randn(count, 4, 5, generator=generator)
    result = explained(image, raw, **more)  # type: ignore[arg-type]
    crops = [
        CroppedPhoto.uncropped(photo, f"a long name of a photo {number}.png")
        for number, photo in enumerate(result.pictures())
    ]
    return result.drawn_on(crops)


def comparison(count: int = 8) -> limelight.Comparison:
    names = list(limelight.METHODS)[:count]
    return limelight.Comparison(tuple(replace(photos(1), method=name) for name in names))


def volume() -> Explanation:
    return explained(torch.rand(2, 1, 20, 24, 30), torch.rand(2, 20, 6, 6))


def signal(channels: int = 1) -> Explanation:
    wave = torch.linspace(0, 30, 512).sin().expand(2, channels, -1)
    return explained(wave, torch.rand(2, 64))


def traced(style: FigureStyle) -> Figure:
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(4, 7, 7, generator=generator) for _ in range(2)]
    curves = [torch.randn(50, generator=generator) for _ in range(2)]
    rows = [
        TracedLayer("layer4  [1, 4, 7, 7]", values[0], values[1] * 1e-5, 2),
        TracedLayer("fc  [1, 50]", curves[0], curves[1], None),
    ]
    return trace_figure(rows, "tabby, score 9.2", style=style)


def measured(style: FigureStyle) -> Figure:
    names = list(limelight.METHODS)[:6]
    chance = {
        name: {f"chance: {each}": (0.3, 0.25, 0.35) for each in ("random", "centre")}
        for name in names
    }
    means = dict.fromkeys(names, (0.5, 0.4, 0.6))
    bars = Bars("insertion", "higher is better; a dot right of both bars is good", means, chance)
    lines = {name: [0.1, 0.5, 0.9] for name in (*names, "chance: random", "chance: centre")}
    curves = Curves("insertion, curve", "share of pixels", "score", [0, 0.5, 1], lines)
    return measurement_figure(
        [bars, curves] * 2, title="A verdict of many words. " * 4, style=style
    )


def cells(style: FigureStyle) -> Figure:
    y, x = (((torch.arange(g, dtype=torch.float64) + 0.5) / g) for g in (3, 5))
    centre = torch.stack([y[:, None].expand(3, 5), x.expand(3, 5)])
    spread = torch.full((2, 3, 5), 0.1, dtype=torch.float64)
    layout = limelight.Layout("channels first", (3, 5))
    places = CellPlaces("features.7", layout, centre, spread, torch.ones(3, 5))
    return cells_figure(places, CroppedPhoto.uncropped(Image.new("RGB", (60, 40))), style=style)


FIGURES: dict[str, Callable[[FigureStyle], Figure]] = {
    "photos": lambda style: photos().figure(style=style),
    "one photo, high": lambda style: photos(1, (90, 30)).figure(style=style),
    "a photo without heat": lambda style: photos(status=(FLAT, FLAT)).figure(style=style),
    "signed": lambda style: photos().figure(signed=True, style=style),
    "shared": lambda style: photos().figure(scale="shared", style=style),
    "sheet": lambda style: comparison().figure(style=style),
    "volumes": lambda style: volume().figure(style=style),
    "signals": lambda style: signal().figure(style=style),
    "ecg": lambda style: signal(12).figure(style=style),
    "trace": traced,
    "measurement": measured,
    "cells": cells,
}


def pixels(figure: Figure) -> np.ndarray:
    with Image.open(io.BytesIO(render.encode_figure(figure, "png"))) as drawn:
        return np.asarray(drawn.convert("L"), int)


def margins(figure: Figure) -> list[float]:
    """Return the empty border in inches: left, right, top, bottom."""
    ink = pixels(figure) < 250
    found = []
    for axis in (0, 1):
        along = np.flatnonzero(ink.any(axis))
        found += [along[0], ink.shape[1 - axis] - 1 - along[-1]]
    return [border / figure.dpi for border in found]


# Width, fonts, margins


@pytest.mark.parametrize("kind", FIGURES)
def test_a_column_is_as_wide_as_it_should_be_and_nothing_overlaps(kind: str) -> None:
    figure = FIGURES[kind](COLUMN)
    assert figure.get_figwidth() * 25.4 == pytest.approx(85, abs=0.01)
    assert_readable(figure)
    hidden = [axis for axes in figure.axes if not axes.axison for axis in (axes.xaxis, axes.yaxis)]
    unseen = {text for axis in hidden for text in axis.findobj(Text)}
    shown = [text for text in figure.findobj(Text) if text not in unseen]
    sizes = {text.get_fontsize() for text in shown if isinstance(text, Text) and text.get_text()}
    assert sizes == {7}


@pytest.mark.parametrize(("kind", "style"), product(FIGURES, (FigureStyle(), PAGE, COLUMN)))
def test_margins_are_even(kind: str, style: FigureStyle) -> None:
    left, right, top, bottom = margins(FIGURES[kind](style))
    assert min(left, right, top, bottom) > 0.03
    assert max(left, right, top, bottom) < 0.15
    assert abs(top - bottom) < 0.05


@pytest.mark.parametrize("size", [4, 6, 12])
def test_text_fits_at_any_size(size: float) -> None:
    for kind in ("photos", "sheet", "volumes", "signals"):
        assert_readable(FIGURES[kind](FigureStyle(width="85mm", font_size=size)))


@pytest.mark.parametrize("width", ["85mm", "8.5cm", " 85 mm", 8.5 / 2.54, str(8.5 / 2.54)])
def test_a_pdf_has_the_width_and_fonts_as_truetype(tmp_path: Path, width: str | float) -> None:
    before = dict(rcParams)
    path = photos().save(tmp_path / "figure.pdf", style=FigureStyle(width=width))
    assert dict(rcParams) == before
    (page,) = PdfReader(path).pages
    assert float(page.mediabox.width) / 72 * 25.4 == pytest.approx(85, abs=0.1)
    resources = page["/Resources"]
    assert isinstance(resources, DictionaryObject)
    written = resources["/Font"]
    assert isinstance(written, DictionaryObject)
    assert len(written) >= 2  # upright and bold
    for name in written:
        font: Any = written[name]
        assert font["/Subtype"] == "/Type0"
        (descendant,) = font["/DescendantFonts"]
        assert descendant.get_object()["/Subtype"] == "/CIDFontType2"
        assert "/FontFile2" in descendant.get_object()["/FontDescriptor"]
    assert "a tabby" in page.extract_text().replace("\n", " ")


def test_an_svg_holds_text_as_text(tmp_path: Path) -> None:
    text = photos().save(tmp_path / "x.svg", style=COLUMN).read_text()
    assert re.search(r"<text[^>]*>gradcam at", text)
    (width,) = re.findall(r'<svg[^>]* width="([\d.]+)pt"', text)
    assert float(width) / 72 * 25.4 == pytest.approx(85, abs=0.1)


def test_a_png_has_the_pixels_of_its_resolution(tmp_path: Path) -> None:
    style = FigureStyle(width="85mm", dpi=300)
    with Image.open(photos().save(tmp_path / "x.png", style=style)) as drawn:
        assert abs(drawn.width - 85 / 25.4 * 300) <= 1
        assert drawn.info["dpi"] == pytest.approx((300, 300), abs=0.1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": "85 furlongs"}, r"width is '85 furlongs'; a number with a unit.*'85mm'"),
        ({"width": "wide"}, "a number with a unit was expected"),
        ({"width": -3}, "a number with a unit was expected"),
        ({"width": True}, "a number with a unit was expected"),
        ({"width": "5mm"}, r"width is '5mm', 5 mm; from 38 to 1016 mm was expected"),
        ({"width": 85}, "width is 85, 2159 mm; from 38"),
        ({"dpi": 0}, r"dpi is 0; 30 to 2400 pixels per inch were expected"),
        ({"dpi": "300"}, "dpi is '300'"),
        ({"font_size": float("nan")}, "font_size is nan; 4 to 24 points were expected"),
        ({"font_size": 80}, "font_size is 80"),
    ],
)
def test_styles_that_make_no_sense_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        FigureStyle(**values)  # type: ignore[arg-type]


def test_a_style_is_refused_for_a_picture_without_text(tmp_path: Path) -> None:
    for more in ({"style": COLUMN}, {"scale": "shared"}):
        with pytest.raises(OptionError, match="'overlay' is as large as the photo"):
            photos(1).save(tmp_path / "x.png", picture="overlay", **more)


def test_too_many_pixels_are_refused() -> None:
    figure = Figure(figsize=(40, 2), dpi=2400)
    with pytest.raises(OutputError, match=r"sides of 96000 pixels; at most 65535.*lower dpi"):
        render.encode_figure(figure, "png")


# What titles and colour bars say


def words(figure: Figure) -> list[str]:
    return [" ".join(text.split()) for text, _ in texts(figure)]


def test_rows_name_their_photos_classes_and_scores_and_the_method_once() -> None:
    written = words(photos(3).figure())
    assert [each for each in written if each.endswith(".png")] == [
        f"a long name of a photo {number}.png" for number in range(3)
    ]
    scores = [f"a tabby, which is a cat, score {score}" for score in ("1", "1.5", "2")]
    assert [each for each in written if "score" in each] == scores
    assert written.count("gradcam at features.7.block.2.conv") == 1


def test_a_map_without_heat_says_why_in_full() -> None:
    written = words(photos(status=(FLAT, Status("ok"))).figure(style=COLUMN))
    assert written.count("flat") == 1
    assert " ".join(str(FLAT).split()) in written


@pytest.mark.parametrize("kind", ["photos", "sheet", "volumes", "signals", "signed", "shared"])
def test_every_figure_of_maps_has_one_labelled_colour_bar(kind: str) -> None:
    labels = {"signed": "raw map: what lowers", "shared": "raw map, what raises the score; one"}
    begin = labels.get(kind, "heat; each map's own maximum is 1")
    assert sum(each.startswith(begin) for each in words(FIGURES[kind](PAGE))) == 1


def test_the_bar_of_one_map_says_so() -> None:
    assert "heat; the map's own maximum is 1" in words(photos(1).figure())


def test_one_scale_tells_weak_maps_from_strong_ones() -> None:
    raw = torch.rand(1, 4, 5, generator=torch.Generator().manual_seed(0))
    result = explained(torch.rand(2, 3, 32, 40), torch.cat([raw, raw / 4]))
    hottest = []
    for scale in ("each", "shared"):
        figure = result.figure(scale=scale, colormap="gray")
        heat = [np.asarray(figure.axes[at].images[0].get_array(), int) for at in (1, 4)]
        hottest.append([each.max() for each in heat])
        if scale == "shared":
            high = to_heatmap(raw, (32, 40), (Status("ok"),))
            assert high.max() > 0
            # Not stretched: the lowest positive evidence is not black.
            assert heat[0].min() > 0
            assert np.abs(heat[1] * 4 - heat[0]).max() <= 6
    assert hottest[0] == [255, 255]
    assert hottest[1][0] == 255
    assert abs(hottest[1][1] - 64) <= 1


def test_one_scale_needs_one_method_and_a_known_name() -> None:
    with pytest.raises(OptionError, match=r"scale='shared'.*gradcam at .*cannot be compared"):
        comparison(3).figure(scale="shared")
    limelight.Comparison((photos(1), photos(1))).figure(scale="shared")
    with pytest.raises(UnknownNameError, match=r"scale named 'all'.*each, shared"):
        photos().figure(scale="all")  # type: ignore[arg-type]


# Signed maps


def test_a_signed_map_has_its_zero_in_the_middle_of_the_colours() -> None:
    """The raw map is -2 on the left, 0 in the middle, 1 on the right."""
    raw = torch.tensor([-2.0, 0.0, 1.0]).repeat(1, 3, 1)
    figure = explained(torch.zeros(1, 3, 30, 90), raw).figure(signed=True)
    drawn = np.asarray(figure.axes[1].images[0].get_array(), int)[15]
    left, middle, right = drawn[10], drawn[45], drawn[80]
    assert left[2] > left[0] + 60  # blue
    assert middle.min() > 240  # white
    assert right[0] > right[2] + 60  # red
    assert left.sum() < right.sum() - 60  # twice as far from zero
    written = words(figure)
    minus = "\N{MINUS SIGN}"
    assert {f"{minus}2", "0", "2"} <= set(written)
    assert f"raw map: what lowers ({minus}) and raises (+) the score" in written
    (bar,) = [axes for axes in figure.axes if not axes.images]
    assert [line.get_xdata() for line in bar.lines] == [[0, 0]]


def test_a_signed_overlay_is_resized_linearly_and_not_clipped() -> None:
    raw = torch.tensor([[[-1.0, 1.0]]])
    result = explained(torch.full((1, 3, 20, 40), 0.5), raw)
    photo = Image.new("RGB", (40, 20), (128, 128, 128))
    (drawn,) = result.overlay([photo], signed=True)
    row = np.asarray(drawn, int)[10]
    assert row[0, 2] > row[0, 0] + 40
    assert row[-1, 0] > row[-1, 2] + 40
    assert np.abs(row[19:21] - 128).max() < 12  # where the map crosses zero the photo is left


def test_a_signed_map_is_the_same_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    result = photos(1)
    photo = result.pictures()[0].resize((256, 192))
    at_once = np.asarray(result.overlay([photo], signed=True)[0], int)
    monkeypatch.setattr("limelight.drawing._MAX_WHOLE_PIXELS", 0)
    in_pieces = np.asarray(result.overlay([photo], signed=True)[0], int)
    assert np.abs(in_pieces - at_once).max() <= 4


def test_a_map_that_is_never_negative_says_so() -> None:
    result = explained(torch.rand(1, 3, 20, 20), torch.rand(1, 4, 4))
    assert any(
        each.endswith("no value is below zero") for each in words(result.figure(signed=True))
    )
    assert "below zero" not in " ".join(words(photos(1).figure(signed=True)))


def test_what_only_lowers_the_score_is_drawn_when_signed() -> None:
    lowers = Status("no-positive-evidence", "Everything speaks against it.")
    result = explained(torch.rand(1, 3, 20, 20), -torch.rand(1, 4, 4), status=(lowers,))
    assert "no-positive-evidence" in words(result.figure())
    figure = result.figure(signed=True)
    assert "no-positive-evidence" not in words(figure)
    assert np.ptp(np.asarray(figure.axes[1].images[0].get_array(), int)) > 60


# The overlay


@pytest.mark.parametrize("colormap", ["inferno", "jet", "viridis"])
def test_cold_pixels_stay_as_the_photo_and_hot_ones_are_coloured(colormap: str) -> None:
    photo = Image.new("RGB", (100, 10), (128, 128, 128))
    heat = torch.linspace(0, 1, 100).expand(10, 100)
    drawn = np.asarray(render.overlay(photo, heat, colormap=colormap), int)[5]
    assert drawn[0].tolist() == [128] * 3
    assert np.ptp(drawn[-1]) > 60
    changed = np.abs(drawn - 128).sum(1)
    assert changed[:5].max() < 30


def test_the_picture_called_article_is_the_sum(tmp_path: Path) -> None:
    result = photos(1)
    for picture, alpha in (("article", None), ("overlay", "heat"), ("blend", 0.5)):
        path = result.save(tmp_path / "x.png", picture=picture)  # type: ignore[arg-type]
        (expected,) = result.overlay(alpha=alpha)  # type: ignore[arg-type]
        with Image.open(path) as drawn:
            assert drawn.tobytes() == expected.tobytes()


# Names in any script

NAMES = ("虎斑猫", "エスプレッソ", "고양이", "قطة", "बिल्ली", "кошка")


@pytest.fixture
def no_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no font be installed but those of matplotlib."""
    monkeypatch.setattr(fonts, "_installed", lambda: ())
    fonts._family_with.cache_clear()
    monkeypatch.setattr(fonts, "_family_with", fonts._family_with.__wrapped__)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["png", "pdf", "svg"])
def test_names_in_any_script_are_drawn_or_called_by_number(
    tmp_path: Path, name: str, form: str
) -> None:
    result = photos(1, label=name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", render.FontWarning)
        path = result.save(tmp_path / f"x.{form}", style=COLUMN)
    if form == "svg":
        assert (name in path.read_text()) == render.can_draw(name)


@pytest.mark.usefixtures("no_fonts")
def test_without_a_font_a_class_is_called_by_its_number_and_a_warning_names_fonts() -> None:
    message = r"No installed font has the characters '.*猫.*\\u\w{4}.*fonts-noto-cjk"
    with pytest.warns(render.FontWarning, match=message):
        figure = photos(1, label="虎斑猫").figure()
    assert "class 281, score 1" in words(figure)
    with pytest.warns(render.FontWarning, match=r"fonts-noto-core"):
        figure = photos(1, label="बिल्ली", index=None).figure()
    assert any(each.startswith(r"\u092c") for each in words(figure))


@pytest.mark.skipif(not render.can_draw("猫"), reason="no font for Chinese is installed")
def test_chinese_names_are_drawn_in_their_own_letters(tmp_path: Path) -> None:
    drawn = [pixels(photos(1, label=name).figure()) for name in ("虎斑猫", "埃及猫", "虎斑猫")]
    assert np.array_equal(drawn[0], drawn[2])
    assert drawn[0].shape == drawn[1].shape
    assert not np.array_equal(drawn[0], drawn[1])  # boxes would be alike
    (page,) = PdfReader(photos(1, label="虎斑猫").save(tmp_path / "x.pdf")).pages
    assert "虎斑猫" in page.extract_text()


def test_the_fonts_of_the_user_are_taken() -> None:
    with rc_context({"font.family": ["DejaVu Serif"]}):
        serif = pixels(photos(1).figure())
    assert not np.array_equal(serif, pixels(photos(1).figure()))


def test_maps_of_single_pixels_are_seen_on_sheets() -> None:
    """Scattered pixels over a grey photo are lighter than the rest by far; cells leave it alone."""
    grey = Image.new("RGB", (96, 96), (128, 128, 128))
    pixels = (torch.rand(96, 96, generator=torch.Generator().manual_seed(0)) > 0.97).float()
    cells = torch.zeros(96, 96)
    cells[20:60, 20:60] = 1

    def drawn(heat: torch.Tensor) -> np.ndarray[Any, Any]:
        block = Block(grey, "a title", [Panel(heat, "a method")])
        axes = next(a for a in sheet([block]).findobj(Axes) if a.get_title() == "a method")
        return np.asarray(axes.images[0].get_array()).astype(float)

    hot, cold = drawn(pixels)[pixels > 0], drawn(pixels)[pixels == 0]
    assert hot.mean() - cold.mean() > 60
    assert np.abs(drawn(cells)[cells == 0] - 128).max() <= 1
