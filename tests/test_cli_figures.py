"""Figures of commands: --width, --dpi, --font-size, --scale, --picture."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from pypdf import PdfReader

from helpers.commands import MODELS, Runner, folder, run, save_photo

__all__ = ["folder", "run"]

NET = ("--model", "nets:Net", "--size", "32")
COLUMN = ("--width", "85mm", "--dpi", "300", "--font-size", "7")


@pytest.fixture
def net(folder: Path) -> None:
    (folder / "nets.py").write_text(MODELS)
    save_photo(folder / "a photo.png")


@pytest.mark.usefixtures("net")
@pytest.mark.parametrize(
    "command",
    [
        ("explain", "--out", "x.pdf"),
        ("explain", "--out", "x.pdf", "--picture", "signed", "--scale", "shared"),
        ("compare", "--out", "x.pdf", "--methods", "gradcam layercam"),
        ("sanity", "--out", "x.pdf", "--methods", "gradcam", "--steps", "2", "--scale", "shared"),
        ("concepts", "--out", "x.pdf", "--count", "2"),
    ],
)
def test_a_command_writes_a_figure_of_a_width(run: Runner, command: tuple[str, ...]) -> None:
    name, *options = command
    code, _, err = run(name, "a photo.png", *NET, *options, *COLUMN)
    assert code == 0, err
    (page,) = PdfReader("x.pdf").pages
    assert float(page.mediabox.width) / 72 * 25.4 == pytest.approx(85, abs=0.1)
    if name != "concepts":
        assert "a photo" in " ".join(page.extract_text().split())


@pytest.mark.usefixtures("net")
def test_the_figures_of_layers_and_trace_take_a_width(run: Runner) -> None:
    assert run("layers", "--photo", "a photo.png", *NET, "--out", "x.png", *COLUMN)[0] == 0
    assert run("trace", "a photo.png", *NET, "--save", "png", "--out", ".", *COLUMN)[0] == 0
    for name in ("x.png", "x-cells.png", "a photo-trace.png"):
        if Path(name).exists():  # no cells where no layer is chosen
            with Image.open(name) as drawn:
                assert abs(drawn.width - 85 / 25.4 * 300) <= 1


@pytest.mark.usefixtures("net")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("explain", "--width", "85 furlongs"), "width is '85 furlongs'; a number with a unit"),
        (("explain", "--dpi", "3"), "dpi is 3; 30 to 2400 pixels per inch were expected"),
        (("explain", "--font-size", "99"), "font_size is 99.0; 4 to 24 points were expected"),
        (("explain", "--picture", "overlay", *COLUMN), "the picture 'overlay' is as large as"),
        (("compare", "--scale", "shared"), "those of 9 methods cannot be compared"),
        (("sanity", "--scale", "shared"), "those of 4 methods cannot be compared"),
        (("measure", "--width", "1mm"), "from 38 to 1016 mm was expected"),
        (("choose", "--width", "1mm"), "from 38 to 1016 mm was expected"),
        (("layers", "--width", "1mm", "--photo"), "from 38 to 1016 mm was expected"),
    ],
)
def test_values_that_make_no_sense_are_refused_before_any_work(
    run: Runner, options: tuple[str, ...], message: str
) -> None:
    name, *rest = options
    code, _, err = run(name, *rest, "a photo.png", "--model", "nets:there-is-none")
    assert code == 2
    assert message in " ".join(err.split())
    assert not Path("limelight-out").exists()
