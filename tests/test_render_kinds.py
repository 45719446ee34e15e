"""Pictures of what is no photo: signals, volumes, video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.text import Text
from PIL import Image
from torch import Tensor, nn

import limelight
from helpers.tolerances import assert_agrees
from limelight import render
from limelight.errors import InputError, OptionError, OutputError, UnknownNameError
from limelight.explanation import Explanation
from limelight.explanation_pictures import PictureKind
from limelight.render.volumes import shown_slices
from limelight.status import Status, to_heatmap

OK = Status("ok")
BAD = Status("flat", "The map is the same everywhere.")


def explained(image: Tensor, raw: Tensor, *status: Status) -> Explanation:
    """An explanation of images `[B, C, *image]` with these raw maps `[B, *grid]`."""
    status = status or (OK,) * len(image)
    return Explanation(
        raw=raw,
        heatmap=to_heatmap(raw, image.shape[2:], status),
        score=torch.ones(len(image)),
        index=None,
        label=("a label",) * len(image),
        status=status,
        method="gradcam",
        layer="features.7",
        reason="",
        image=image,
        output=None,
    )


def signal(channels: int = 1, length: int = 512, count: int = 1) -> Explanation:
    """Waves, with heat in the third quarter."""
    wave = torch.linspace(0, 30, length).sin().expand(count, channels, -1)
    raw = torch.zeros(count, length)
    raw[:, length // 2 : 3 * length // 4] = 1
    return explained(wave, raw)


def volume(channels: int = 1, depth: int = 32, count: int = 1, peak: int = 4) -> Explanation:
    """Noise, with heat in the lower right quarter of one slice."""
    raw = torch.zeros(count, depth, 24, 30)
    raw[:, peak, 12:, 15:] = 1
    return explained(torch.rand(count, channels, depth, 24, 30), raw)


Kind = Callable[..., Explanation]
KINDS: dict[str, Kind] = {
    "signal": signal,
    "ecg": lambda: signal(12),
    "ct": volume,
    "video": lambda: volume(3, 16),
}


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture, dtype=int)


def alike(one: object, other: object) -> bool:
    """Whether pictures are the same but for the black of the colour map, which is a little blue."""
    return bool(np.abs(np.asarray(one, int) - np.asarray(other, int)).max() <= 4)


def words(result: Explanation) -> str:
    """All that is written in the figure."""
    return " | ".join(text.get_text() for text in result.figure().findobj(Text))


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("kind", [signal, volume])
def test_there_is_one_picture_for_each_image(kind: Kind, count: int) -> None:
    result = kind(count=count)
    pictures, blends, overlays = result.pictures(), result.overlay(alpha=0.5), result.overlay()
    assert len(pictures) == len(blends) == len(overlays) == count
    assert {(one.mode, one.size) for one in pictures + blends + overlays} == {
        ("RGB", pictures[0].size)
    }
    assert len({one.tobytes() for one in overlays}) == (1 if kind is signal else count)


@pytest.mark.parametrize("picture", ["overlay", "blend", "heatmap"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_saved_in_every_picture(
    tmp_path: Path, kind: str, picture: PictureKind
) -> None:
    result = KINDS[kind]()
    with Image.open(result.save(tmp_path / "x.png", picture=picture)) as drawn:
        assert drawn.size == result.pictures()[0].size
    assert "<svg" in result.save(tmp_path / "x.svg", picture=picture).read_text()


@pytest.mark.parametrize("form", ["jpg", "pdf", "svg", "npz"])
def test_figures_are_saved_in_every_format(tmp_path: Path, form: str) -> None:
    for result in (signal(), volume(depth=2, peak=1)):
        assert result.save(tmp_path / f"x.{form}").stat().st_size > 500


@pytest.mark.parametrize("kind", ["ecg", "video"])
def test_a_notebook_shows_the_figure(kind: str) -> None:
    assert KINDS[kind]()._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("kind", [signal, volume])
def test_figures_name_what_they_show(kind: Kind) -> None:
    result = kind(count=3)
    result = replace(result, status=(OK, BAD, OK), label=("first", r"a$\frac$b", "third"))
    written = words(result)
    for name in (*result.label, "gradcam at features.7"):
        assert name in written
    assert written.count(str(BAD)) == 1
    assert result[1]._repr_png_()


@pytest.mark.parametrize("kind", [signal, volume])
def test_what_cannot_be_is_refused(tmp_path: Path, kind: Kind) -> None:
    result, photos = kind(), [Image.new("RGB", (8, 8))]
    for draw in (result.overlay, result.figure, limelight.Comparison((result,)).figure):
        with pytest.raises(InputError, match=r"photos go with pictures \[B, C, H, W\] alone"):
            draw(photos)
    with pytest.raises(OutputError, match="there are 2 images"):
        kind(count=2).save(tmp_path / "x.png", picture="overlay")
    with pytest.raises(OptionError, match="alpha is 2"):
        result.overlay(alpha=2)
    for draw in (result.overlay, result.figure):
        with pytest.raises(UnknownNameError, match="colour map named 'infrno'"):
            draw(colormap="infrno")


# Signals


def test_the_heat_is_where_it_is_on_the_signal() -> None:
    result = signal()
    (drawn,), (plain,) = result.overlay(), result.pictures()
    changed = (np.abs(pixels(drawn) - pixels(plain)) > 10).any(2)
    width = changed.shape[1]
    assert changed[:, width // 2 + 10 : 3 * width // 4 - 10].all()
    assert not changed[:, : width // 2 - 10].any()
    assert not changed[:, 3 * width // 4 + 10 :].any()


@pytest.mark.parametrize("colormap", ["inferno", "jet", "Greys"])
def test_the_curve_is_seen_on_every_colour(colormap: str) -> None:
    result = explained(signal().image, torch.linspace(0, 1, 512)[None])
    drawn = pixels(result.overlay(colormap=colormap)[0])
    curve = pixels(result.pictures()[0]) == 255
    paper = np.median(drawn, axis=0)
    contrast = np.abs(drawn - paper).max(2)[curve.all(2)]
    assert contrast.min() > 100


def test_a_spike_of_heat_narrower_than_a_pixel_is_seen() -> None:
    raw = torch.zeros(1, 20_000)
    raw[0, 12_345] = 1
    drawn = pixels(explained(torch.zeros(1, 1, 20_000), raw).overlay()[0])
    column = int(drawn[5].sum(1).argmax())
    assert drawn[5, column].sum() > 600
    assert column == int(12_345 * drawn.shape[1] / 20_000)


@pytest.mark.parametrize(
    ("channels", "said", "curves"),
    [(1, "value", 1), (12, "12 channels,\neach to its own", 12), (40, "mean of 40 channels", 3)],
)
def test_channels_are_drawn_apart_while_they_are_few(channels: int, said: str, curves: int) -> None:
    result = signal(channels)
    assert said in words(result)
    assert len(result.figure().axes[0].lines) == 2 * curves  # in white and in black
    assert pixels(result.pictures()[0]).max() == 255


def test_signals_that_are_short_or_the_same_everywhere() -> None:
    for image in (torch.zeros(1, 1, 64), torch.ones(1, 3, 64), torch.randn(1, 2, 1)):
        result = explained(image, torch.ones(1, image.shape[2]), BAD)
        assert alike(result.overlay()[0], result.pictures()[0])
        assert "flat" in words(result)


# Volumes and video


@pytest.mark.parametrize("depth", [1, 2, 7, 8, 9, 16, 33, 200])
def test_the_slice_with_the_most_heat_is_always_shown(depth: int) -> None:
    for peak in range(depth):
        heat = torch.zeros(depth)
        heat[peak] = 1
        shown = shown_slices(heat)
        assert peak in shown
        assert len(shown) == min(8, depth)
        assert shown == sorted(set(shown))
        gaps = np.diff(shown)
        assert depth <= 8 or gaps.max() <= 1.6 * depth / 7 + 1


def test_the_heat_is_where_it_is_on_the_slices() -> None:
    result = volume(peak=20)
    strip = pixels(result.overlay()[0])
    assert strip.shape == (24, 8 * 30 + 7, 3)
    assert "slice 20" in words(result)
    slices = [strip[:, left : left + 30] for left in range(0, 8 * 31, 31)]
    coloured = [(np.ptp(one, axis=2) > 10).any() for one in slices]
    assert coloured == [number == 20 for number in shown_slices(result.heatmap[0].sum((1, 2)))]
    hot = slices[coloured.index(True)]
    assert (np.ptp(hot[14:, 17:], axis=2) > 10).all()
    assert (np.ptp(hot[:10], axis=2) < 10).all()


def test_slices_keep_their_brightness_among_each_other() -> None:
    image = torch.linspace(0, 1, 8).reshape(1, 1, 8, 1, 1).expand(1, 1, 8, 10, 10)
    strip = pixels(explained(image, torch.zeros(1, 8, 2, 2), BAD).overlay()[0])
    levels = strip[5, 5::11, 0]
    assert levels[0] == 0
    assert levels[-1] > 250
    assert (np.diff(levels) > 30).all()


def test_three_channels_are_frames_and_all_others_slices() -> None:
    for channels, word in ((1, "slice"), (2, "slice"), (3, "frame"), (4, "slice")):
        result = volume(channels, 16, peak=9)
        assert f"{word} 9" in words(result)
        strip = pixels(result.pictures()[0])
        assert (strip[..., 0] == strip[..., 1]).all() == (channels != 3)


def test_the_curve_holds_all_slices_and_marks_those_shown() -> None:
    result = volume(depth=32, peak=21)
    curve = result.figure().subfigs[0].axes[0]
    heat, marks = curve.lines
    assert_agrees(heat.get_ydata(), result.heatmap[0].mean((1, 2)))
    marked = np.asarray(marks.get_xdata()).tolist()
    assert marked == shown_slices(result.heatmap[0].mean((1, 2)))
    assert 21 in marked


# Comparisons


@pytest.mark.parametrize("kind", KINDS)
def test_a_sheet_holds_the_overlays(tmp_path: Path, kind: str) -> None:
    first = KINDS[kind]()
    second = replace(first, method="layercam", status=(BAD,), heatmap=first.heatmap * 0)
    comparison = limelight.Comparison((first, second))
    (part,) = comparison.figure().subfigs
    cells = [axes for axes in part.axes if axes.images]
    titles = [axes.get_title() for axes in cells]
    assert titles[1:] == ["gradcam", "layercam"]
    assert titles[0].startswith(
        {"ecg": "signal, 12", "ct": "slices", "video": "frames"}.get(kind, "")
    )
    shown = [np.asarray(axes.images[0].get_array()) for axes in cells]
    assert np.array_equal(shown[1], np.asarray(first.overlay()[0]))
    assert alike(shown[2], shown[0]) or kind in ("ct", "video")
    assert [text.get_text() for text in cells[2].texts] == ["flat"]
    assert comparison.save(tmp_path / "sheet.jpg").exists()


def test_a_sheet_shows_the_same_slices_of_all() -> None:
    comparison = limelight.Comparison((volume(peak=2), volume(peak=20)))
    (part,) = comparison.figure().subfigs
    shown = [int(number) for number in part.axes[0].get_title().removeprefix("slices ").split(",")]
    assert len(shown) == 8
    assert {2, 20} & set(shown)


# Regions


LINE, AROUND = (127, 255, 0), (0, 0, 0)


def test_a_region_is_outlined_on_the_slices_that_it_reaches() -> None:
    """Region in rows 6 to 15 and columns 10 to 19 of slices 4 and on; the heat is in slice 4."""
    result = volume(depth=8)
    region = torch.zeros(1, 8, 24, 30, dtype=torch.bool)
    region[:, 4:, 6:16, 10:20] = True
    outlined = replace(result, region=region)
    drawn, plain = (pixels(each.overlay()[0]) for each in (outlined, result))
    before, inside = slice(0, 4 * 31), [31 * number for number in range(4, 8)]
    assert np.array_equal(drawn[:, before], plain[:, before])
    for left in inside:
        slice_of = drawn[:, left : left + 30]
        assert (slice_of[6, 10:20] == LINE).all()
        assert (slice_of[6:16, 19] == LINE).all()
        assert (slice_of[16, 10:20] == AROUND).all()
        assert np.array_equal(slice_of[7:15, 11:19], plain[7:15, left + 11 : left + 19])
    panels = outlined.figure().subfigs[0].axes[1:]
    assert [len(panel.collections) for panel in panels] == [0] * 8 + [2] * 8


def test_a_region_of_a_signal_is_left_out() -> None:
    result = signal()
    region = torch.zeros(1, 512, dtype=torch.bool)
    region[:, 100:200] = True
    outlined = replace(result, region=region)
    assert outlined.overlay()[0].tobytes() == result.overlay()[0].tobytes()


@pytest.mark.parametrize("kind", [signal, volume])
def test_a_sheet_of_signals_and_volumes_takes_regions(kind: Callable[[], Explanation]) -> None:
    """A sheet draws what the overlay draws, and the outline over it once."""
    result = kind()
    region = torch.zeros(result.heatmap.shape, dtype=torch.bool)
    region[..., 5:12] = True
    comparison = limelight.Comparison((replace(result, region=region), result))
    (part,) = comparison.figure().subfigs
    drawn = [len(axes.collections) for axes in part.axes if axes.images]
    assert drawn == ([0, 0, 0] if kind is signal else [0, 2, 0])


# From the network to the picture


def test_networks_of_every_kind_are_explained_and_drawn() -> None:
    for convolution, size in ((nn.Conv1d, (40,)), (nn.Conv3d, (9, 8, 8))):
        model = nn.Sequential(convolution(1, 4, 3), nn.Flatten(), nn.LazyLinear(3))
        images = torch.randn(2, 1, *size)
        model(images)
        result = limelight.explain(model, images, layer="0")
        assert len(result.overlay()) == 2
        graph = limelight.explain(model, images, layer="0", differentiable=True)
        assert [a.tobytes() for a in graph.overlay()] == [a.tobytes() for a in result.overlay()]


def test_flat_pictures_are_what_the_house_lays() -> None:
    result = volume(3, 5)
    flat = render.input_picture(result.image[0], [result.heatmap[0]], [None])
    assert flat.name == "frames 0, 1, 2, 3, 4"
    assert flat.photo.size == (5 * 30 + 4, 24)
    assert flat.heatmaps[0].shape == (24, 5 * 30 + 4)
