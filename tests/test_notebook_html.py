"""The HTML of a notebook's cells: small, closed, safe, and readable without its style."""

from __future__ import annotations

import re
from io import BytesIO

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from PIL import Image

import limelight
from helpers.networks import PoolLinear, ready
from limelight.map_views import MapList
from limelight.metrics.displays import recommendation_html
from limelight.notebook import MOST_HTML, MOST_PNG, Table, TablesView, small_png, tables_html
from limelight.render.shown import ShownFigure

SCRIPT = '<script>alert("1")</script>'


@pytest.fixture(scope="module")
def network() -> PoolLinear:
    torch.manual_seed(0)
    return ready(PoolLinear(), torch.float32)


def noise(size: int, seed: int = 0) -> Image.Image:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (size, size, 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


def test_names_are_no_markup(network: PoolLinear) -> None:
    images = torch.rand(1, 3, 16, 16)
    classes = [f"{SCRIPT} {number}" for number in range(network(images).shape[1])]
    results = limelight.explain_each(network, images, [0, 1], classes=classes)
    html = results._repr_html_()  # type: ignore[attr-defined]
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 4
    table = tables_html(TablesView(SCRIPT, [Table(SCRIPT, [SCRIPT], [[SCRIPT]])], code=SCRIPT))
    assert "<script" not in table


def test_a_batch_shows_its_first_images_and_says_how_many_more(network: PoolLinear) -> None:
    html = limelight.explain(network, torch.rand(32, 3, 16, 16))._repr_html_()
    assert html.count("<img") == 6
    assert "Not shown: 26 more images." in html
    assert "image 5, score" in html


def test_many_noisy_maps_fit(network: PoolLinear) -> None:
    # Noise is what compresses worst.
    photos = [noise(400, seed) for seed in range(6)]
    wide = limelight.Preprocess(size=(400, 400), resize=None)
    results = limelight.explain_each(limelight.Network("net", network, wide), photos, range(5))
    html = results._repr_html_()  # type: ignore[attr-defined]
    assert len(html) <= MOST_HTML
    assert html.count("<img") == 30


def test_a_noisy_picture_becomes_a_small_png() -> None:
    data = small_png(noise(900))
    assert len(data) <= MOST_PNG
    assert Image.open(BytesIO(data)).format == "PNG"


def test_rare_colours_stay_in_a_small_png() -> None:
    picture = noise(600).convert("L").convert("RGB")  # greys, and a bar of the colours of a map
    bar = colormaps["RdBu_r"](np.linspace(0, 1, 300), bytes=True)[:, :3]
    picture.paste(Image.fromarray(np.tile(bar, (12, 1, 1))), (150, 560))
    shown = Image.open(BytesIO(small_png(picture, 10**6))).convert("RGB")
    drawn = np.asarray(shown)[560:572, 150:450].mean(0)
    assert np.abs(drawn - bar).max() < 40
    assert np.abs(drawn - bar).mean() < 8


def test_two_cells_do_not_share_an_id(network: PoolLinear) -> None:
    result = limelight.explain(network, torch.rand(1, 3, 16, 16))
    first, second = (set(re.findall(r"limelight-\w+", result._repr_html_())) for _ in range(2))
    assert len({name.split("-")[1] for name in first | second}) == 2
    assert not first & second


def test_a_map_that_shows_nothing_says_so(network: PoolLinear) -> None:
    result = limelight.explain(network, torch.rand(1, 3, 16, 16), target=lambda y: 0 * y.sum(1))
    assert not result.status[0].ok
    assert 'class="note"' in result._repr_html_()


def test_a_list_of_explanations_stays_a_list(network: PoolLinear) -> None:
    results = limelight.explain_each(network, torch.rand(1, 3, 16, 16), [0, 1])
    first, second = results
    assert isinstance(results, list)
    assert results == [first, second]
    assert results[0] is first
    assert len([*results, first]) == 3
    assert MapList()._repr_html_() == "[]"


def test_a_network_is_told_in_a_line(network: PoolLinear) -> None:
    named = limelight.Network("net", network, classes=("cat", "dog"))
    count = sum(parameter.numel() for parameter in network.parameters())
    expected = f"Network(net, PoolLinear, {count:,} parameters, input 224 x 224, 2 classes)"
    assert repr(named) == expected
    assert "cat, dog" in named._repr_html_()


def test_a_figure_shows_itself() -> None:
    figure = ShownFigure(figsize=(2, 1))
    figure.text(0.5, 0.5, "\x1b")
    picture = Image.open(BytesIO(figure._repr_png_()))
    assert picture.size == (200, 100)


def test_long_tables_show_their_first_rows() -> None:
    rows = [[f"row {number}", "1"] for number in range(100)]
    html = tables_html(TablesView("", [Table("many", ("name", "number"), rows)]))
    assert html.count("<tr") == 61
    assert "and 40 more rows" in html
    assert html.count('align="right"') == 61


def test_a_recommendation_shows_its_line_of_python() -> None:
    rows = [(f"gradcam at layer{number}", 1.5 + number, 0.12, ()) for number in range(3)]
    html = recommendation_html("Use gradcam.", "limelight.explain(model, x)", rows, ["Evidence."])
    assert "<code>limelight.explain(model, x)</code>" in html
    assert html.count('<tr class="strong"') == 1
    assert "<details><summary>On the other photos</summary><p>Evidence.</p></details>" in html
