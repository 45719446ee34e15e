from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import limelight
from limelight import files, render
from limelight.errors import InputError, OptionError, OutputError, UnknownNameError
from limelight.explanation_pictures import PictureKind

RAMP = torch.linspace(0, 1, 256).reshape(1, 256).expand(64, 256)


def photo(width: int = 256, height: int = 64) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8))


@pytest.fixture
def explanation() -> limelight.Explanation:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 64, 3))
    squashed = limelight.Preprocess((8, 8), (8, 8))(photo())
    return limelight.explain(model, squashed[None], classes=["a", "b", "c"])


def lightness(rgb: np.ndarray) -> np.ndarray:
    from skimage.color import rgb2lab

    return np.asarray(rgb2lab(rgb)[..., 0])


def test_the_default_colours_are_perceptually_uniform() -> None:
    steps = np.diff(lightness(np.asarray(render.colourise(RAMP))[0][None])[0])
    assert steps.min() > -0.6  # 8-bit rounding
    assert lightness(np.asarray(render.colourise(RAMP)))[0][[0, -1]] == pytest.approx(
        [0, 98], abs=2
    )


def test_jet_goes_from_blue_to_red_in_rgb() -> None:
    pixels = np.asarray(render.colourise(RAMP, "jet"))[0].astype(int)
    assert pixels[0, 2] > 100
    assert pixels[0, 0] == 0
    assert pixels[-1, 0] > 100
    assert pixels[-1, 2] == 0


def test_the_articles_overlay() -> None:
    # Photo in [0, 1] plus colours, divided by the maximum, times 255.
    colours = np.asarray(render.colourise(RAMP, "jet"), float) / 255
    expected = np.asarray(photo(), float) / 255 + colours
    expected = expected / expected.max() * 255
    drawn = np.asarray(render.overlay(photo(), RAMP, colormap="jet", alpha=None), float)
    assert np.abs(drawn - expected).max() <= 1


def test_the_blend() -> None:
    colours = np.asarray(render.colourise(RAMP), float)
    for alpha in (0.0, 0.3, 1.0):
        drawn = np.asarray(render.overlay(photo(), RAMP, alpha=alpha), float)
        expected = (1 - alpha) * np.asarray(photo(), float) + alpha * colours
        assert np.abs(drawn - expected).max() <= 1


def test_a_black_photo_without_heat_stays_black() -> None:
    black = Image.new("RGB", (8, 8))
    assert np.asarray(render.overlay(black, torch.zeros(8, 8))).max() <= 255
    grey = Image.new("L", (8, 8), 100)
    assert render.overlay(grey, torch.zeros(8, 8)).mode == "RGB"


def test_unknown_colour_map(explanation: limelight.Explanation) -> None:
    with pytest.raises(UnknownNameError, match=r"colour map named 'infrno'.*'inferno'"):
        explanation.overlay(colormap="infrno")


@pytest.mark.parametrize("picture", ["figure", "overlay", "blend", "heatmap"])
@pytest.mark.parametrize("form", ["png", "jpg", "webp", "pdf", "svg"])
def test_every_picture_in_every_format(
    explanation: limelight.Explanation, tmp_path: Path, picture: PictureKind, form: str
) -> None:
    path = explanation.save(tmp_path / "new" / f"x.{form}", photos=[photo()], picture=picture)
    assert path.stat().st_size > 500
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    if form in ("png", "jpg", "webp"):
        with Image.open(path) as drawn:
            drawn.load()
            assert drawn.size == (256, 64) or picture == "figure"
    elif form == "pdf":
        assert path.read_bytes().startswith(b"%PDF")
    else:
        assert "<svg" in path.read_text()


def test_the_figure_names_class_method_and_layer(explanation: limelight.Explanation) -> None:
    figure = explanation.figure([photo().resize((300, 200))])
    titles = " ".join(axes.get_title() for axes in figure.axes)
    for name in (explanation.label[0], "gradcam", "at 0", "photo"):
        assert name in titles
    ticks = [axes for axes in figure.axes if not axes.get_title()]
    assert len(ticks) == 1  # the colour bar
    with Image.open(io.BytesIO(render.encode_figure(figure, "png"))) as drawn:
        assert drawn.width >= 1800


def test_the_figure_says_when_a_map_is_worth_nothing() -> None:
    head = nn.Linear(4 * 36, 3)
    nn.init.zeros_(head.weight)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), head)
    result = limelight.explain(model, torch.randn(1, 3, 8, 8), layer="0")
    words = " ".join(text.get_text() for axes in result.figure().axes for text in axes.texts)
    assert "disconnected" in words


def test_a_figure_has_a_row_per_image() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 3))
    result = limelight.explain(model, torch.randn(3, 1, 8, 8))
    assert len(result.figure().axes) == 3 * 3 + 1  # one colour bar for all
    assert result._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(OutputError, match="there are 3 images"):
        result.save("never.png", picture="overlay")
    with pytest.raises(InputError, match="photos is 1, that of the explained images 3"):
        result.overlay([photo()])


def test_the_panels_of_a_figure_have_the_shapes_of_the_photos_and_do_not_overlap() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 3))
    shapes = [(300, 200), (120, 480), (400, 100)]
    squashed = limelight.Preprocess((8, 8), (8, 8))
    result = limelight.explain(model, torch.stack([squashed(photo(*shape)) for shape in shapes]))
    figure = result.figure([photo(*shape) for shape in shapes])
    across, up = figure.get_size_inches()
    below = up
    for row, (width, height) in enumerate(shapes):
        places = [axes.get_position(original=True) for axes in figure.axes[3 * row : 3 * row + 3]]
        left, middle, right = places
        for place in (left, middle, right):
            assert place.height * up / (place.width * across) == pytest.approx(height / width)
        order = [0, left.x0, left.x1, middle.x0, middle.x1, right.x0, right.x1, 1]
        assert order == sorted(order)
        assert left.y1 * up + 0.15 < below  # the titles have their place
        below = left.y0 * up
    bar = figure.axes[-1].get_position(original=True)
    assert (bar.x0, bar.x1) == pytest.approx((middle.x0, middle.x1))
    assert 0.2 < bar.y0 * up < bar.y1 * up < below  # its numbers and its label have their place


def test_a_png_of_a_figure_is_what_matplotlib_draws(explanation: limelight.Explanation) -> None:
    figure = explanation.figure([photo()])
    expected = io.BytesIO()
    figure.savefig(expected, format="png", facecolor="white")
    drawn = io.BytesIO(render.encode_figure(figure, "png"))
    with Image.open(drawn) as ours, Image.open(expected) as theirs:
        assert np.array_equal(np.asarray(ours), np.asarray(theirs.convert("RGB")))
        assert ours.info["dpi"] == theirs.info["dpi"]


def test_the_networks_own_input_is_drawn_when_there_is_no_photo(
    explanation: limelight.Explanation,
) -> None:
    (drawn,) = explanation.pictures()
    assert drawn.size == (8, 8)
    assert (np.asarray(drawn).min(), np.asarray(drawn).max()) == (0, 255)


def test_arrays_come_back(explanation: limelight.Explanation, tmp_path: Path) -> None:
    with np.load(explanation.save(tmp_path / "maps.npz")) as arrays:
        assert np.array_equal(arrays["raw"], explanation.raw.numpy())
        assert np.array_equal(arrays["heatmap"], explanation.heatmap.numpy())
        names = json.loads(str(arrays["names"]))
    assert names == {
        "label": list(explanation.label),
        "status": ["ok"],
        "method": "gradcam",
        "layer": "0",
        "manifest": explanation.manifest(),
    }


def test_unknown_format(explanation: limelight.Explanation, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="its suffix should be one of png"):
        explanation.save(tmp_path / "map.xyz")


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "map.png"
    path.write_bytes(b"before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(OutputError, match="No space left on device"):
        files.write_whole(path, b"after")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="Cannot write"):
        files.write_whole(tmp_path / "file" / "map.png", b"x")


def test_render_sees_no_model() -> None:
    for source in Path(render.__file__).parent.glob("*.py"):
        assert "nn" not in [
            line.split()[-1] for line in source.read_text().splitlines() if "import" in line
        ]
        assert "limelight.cut" not in source.read_text()


def test_names_with_dollar_signs_are_drawn_as_they_are() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 1))
    result = limelight.explain(model, torch.randn(1, 3, 8, 8), classes=[r"a$\frac$b"])
    assert result._repr_png_()


def test_a_figure_of_a_large_photo_holds_no_more_pixels_than_are_seen(
    explanation: limelight.Explanation,
) -> None:
    figure = explanation.figure([photo(4000, 3000)])
    for axes in figure.axes[:3]:
        for drawn in axes.images:
            assert max(np.asarray(drawn.get_array()).shape[:2]) <= 2 * render.PANEL_PIXELS


def test_an_explanation_prints_in_one_line(explanation: limelight.Explanation) -> None:
    text = repr(explanation)
    assert "\n" not in text
    for words in (explanation.label[0], "gradcam at 0", "status ok", "raw [1, 8, 8]"):
        assert words in text


def test_senseless_pictures_are_refused(explanation: limelight.Explanation, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"picture named 'overlai'.*'overlay'"):
        explanation.save(tmp_path / "x.png", picture="overlai")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="alpha is 5; a share from 0 to 1"):
        explanation.overlay(alpha=5)
