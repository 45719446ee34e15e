"""A notebook with one cell for each kind of result, executed, and what its cells show."""

from __future__ import annotations

import re
from base64 import b64decode
from io import BytesIO
from typing import Any

import nbclient
import nbformat
import pytest
from PIL import Image

#: What each cell shows: its code, and the kinds of output that it has.
CELLS = {
    "network": ("network", {"text/html"}),
    "result": ("result", {"text/html", "image/png"}),
    "batch": ("limelight.explain(network, photos)", {"text/html", "image/png"}),
    "each": ("limelight.explain_each(network, photo, limelight.top(3))", {"text/html"}),
    "grid": (
        "grid = limelight.compare(network, photo, methods=['gradcam', 'layercam', 'saliency'],\n"
        "                         targets=['tabby', 'Egyptian cat'], metrics='average-drop')\ngrid",
        {"text/html", "image/png"},
    ),
    "picked": ("grid.pick(method='gradcam')", {"text/html"}),
    "measured": ("grid.measured", {"text/html"}),
    "found": ("limelight.factorize(network, photo, concepts=3)", {"text/html", "image/png"}),
    "trace": ("limelight.trace(network, photo)", {"text/html", "image/png"}),
    "sanity": (
        "limelight.sanity(network, photo, methods='gradcam', steps=2)",
        {"image/png"},
    ),
    "overlay": ("result.overlay()", {"text/html"}),
    "pictures": ("result.pictures()", {"text/html"}),
    "figure": ("result.figure()", {"image/png"}),
    "sheet": ("grid.figure()", {"image/png"}),
    "photo result": (
        "next(limelight.explain_photos(network, [path], ['tabby', 'lynx']))",
        {"text/html"},
    ),
}
START = """
import limelight
from limelight.photos.samples import find_sample
network, path = limelight.load_model(), find_sample("chelsea")
photo = limelight.load_photo(path)
photos = [photo.rotate(10 * number) for number in range(9)]
result = limelight.explain(network, photo)
"""


@pytest.fixture(scope="module")
def shown() -> dict[str, dict[str, Any]]:
    codes = [START, *(code for code, _ in CELLS.values())]
    cells = [nbformat.v4.new_code_cell(code) for code in codes]  # type: ignore[no-untyped-call]
    notebook = nbformat.v4.new_notebook(cells=cells)  # type: ignore[no-untyped-call]
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    outputs = {}
    for name, cell in zip(CELLS, notebook.cells[1:], strict=True):
        results = [out for out in cell.outputs if out.output_type == "execute_result"]
        (outputs[name],) = (out.data for out in results)
    return outputs


@pytest.mark.parametrize("name", CELLS)
def test_every_kind_of_result_shows_itself(shown: dict[str, dict[str, Any]], name: str) -> None:
    data = shown[name]
    assert data.keys() == CELLS[name][1] | {"text/plain"}
    assert len(data["text/plain"]) < 2500, "more than a screen of text"
    assert sum(map(len, data.values())) < 300_000
    words = re.sub(r"base64,[\w+/=]+", "", data.get("text/html", ""))
    assert "<script" not in words
    assert "http" not in words


@pytest.mark.parametrize(
    "name", [name for name, (_, kinds) in CELLS.items() if "image/png" in kinds]
)
def test_a_viewer_without_html_shows_a_picture(shown: dict[str, dict[str, Any]], name: str) -> None:
    picture = Image.open(BytesIO(b64decode(shown[name]["image/png"])))
    assert min(picture.size) > 100
    assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 50


@pytest.mark.parametrize("name", ["result", "each", "grid", "found", "photo result"])
def test_where_style_is_taken_out_plain_pictures_are_left(
    shown: dict[str, dict[str, Any]], name: str
) -> None:
    plain = re.sub(
        r"<style>.*?</style>|<input[^>]*>", "", shown[name]["text/html"], flags=re.DOTALL
    )
    sources = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"', plain)
    assert len(sources) >= 2
    for source in sources:
        Image.open(BytesIO(b64decode(source))).load()
    # What is chosen from says nothing without its style.
    controls = re.findall(r"<fieldset>.*?</fieldset>", plain, re.DOTALL)
    assert controls
    assert not any(re.sub(r"<[^>]+>", "", each).strip() for each in controls)
