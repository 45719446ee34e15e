"""The three scripts of the article on Grad-CAM, run with their import of `utils` changed alone."""

from __future__ import annotations

import runpy
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

import limelight
from helpers import drop_in
from helpers.drop_in import Grid
from limelight.compat.article import center_crop_img

Array = npt.NDArray[Any]

TABBY, PUG = 281, 254

Run = Callable[[str], dict[str, Any]]


@pytest.fixture
def run(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run a script of the article in a folder with the photo and the weights that it reads."""
    from matplotlib import pyplot

    shutil.copy(shared / "photos" / "both.png", tmp_path)
    shutil.copy(shared / "weights" / "mobilenet_v2_imagenet.pth", tmp_path / "mobilenet_v2.pth")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISPLAY", raising=False)  # show() says nothing where there is no screen
    with mpl.rc_context({"backend": "agg"}):
        yield lambda script: drop_in.run_script(
            f"article/{script}.py", "from utils import", "from limelight.compat.article import"
        )
        pyplot.close("all")


def assert_as_the_article_draws(
    done: dict[str, Any], model: Any, name: str, layer: Any, grid: Grid = lambda output: output
) -> None:
    """Compare the maps and pictures of a script with the article's recipe, pixel by pixel."""
    size = done["img"].shape[:2]
    for category in (TABBY, PUG):
        score = drop_in.of_class(category)
        evidence = drop_in.at_layer(model, layer, done["input_tensor"], score, grid)
        truth = drop_in.heatmap(drop_in.gradcam(*evidence), size)
        heat = done["heat"][name, category]
        assert heat.dtype == np.float32
        assert heat.shape == size
        np.testing.assert_allclose(heat, truth, atol=ROUNDING)
        picture = drop_in.overlay(done["img"].astype(np.float32) / 255, truth)
        apart = drop_in.levels_apart(done["pictures"][name, category], picture)
        # The next colour is up to two levels away, so the few pixels between two count apart.
        between = np.abs(255 * truth - np.rint(255 * truth)) < 255 * ROUNDING
        assert between[truth > 0.01].mean() < 0.03
        assert apart[~between].max() <= 1
        assert apart.max() <= 2


#: How far float32 may take a map from the recipe's.
ROUNDING = 3e-5


def test_cnn(run: Run) -> None:
    done = run("cnn")
    for name, layer in done["layers"].items():
        assert_as_the_article_draws(done, done["model"], name, layer)
    assert done["cropped"].shape == (160, 160, 3)


def test_cnn_takes_a_whole_photo_of_any_size(run: Run, shared: Path) -> None:
    photo = Image.open(shared / "photos" / "dog_cat.jpg")
    assert photo.width != photo.height
    photo.save("both.png")
    done = run("cnn")
    assert done["img"].shape == (photo.height, photo.width, 3)
    for name, layer in done["layers"].items():
        assert_as_the_article_draws(done, done["model"], name, layer)


def test_the_last_layer_tells_the_cat_from_the_dog(run: Run) -> None:
    heat = run("cnn")["heat"]
    on_cat, on_dog = ({key: heat[key][box].mean() for key in heat} for box in (CAT, DOG))
    assert on_cat["last", TABBY] > 20 * on_dog["last", TABBY]
    assert on_dog["last", PUG] > 1.5 * on_cat["last", PUG]
    # The early layer shows the same edges for both: it does not even find the cat.
    assert on_cat["early", TABBY] < on_dog["early", TABBY]

    def how_alike(layer: str) -> float:
        maps = [heat[layer, category].ravel() for category in (TABBY, PUG)]
        return float(np.corrcoef(maps)[0, 1])

    assert how_alike("early") > 0.5
    assert how_alike("last") < 0


#: Rows and columns of both.png: the cat below its ears, and the dog above the cat.
CAT, DOG = np.s_[150:224, 44:202], np.s_[14:120, 78:163]


def test_the_example_draws_what_the_recipe_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = Path(__file__).parents[1] / "examples" / "article.py"
    network = limelight.load_model()
    model = network.model
    mean, std = (np.array(v, np.float32) for v in (network.preprocess.mean, network.preprocess.std))
    left, *others = runpy.run_path(str(example))["draw"]().axes[-3:]  # the row of the last layer
    img = np.asarray(left.images[0].get_array())
    photo = img.astype(np.float32) / 255
    images = torch.from_numpy((photo - mean) / std).movedim(-1, 0)[None]
    for axes, category in zip(others, (TABBY, 967), strict=True):
        values = drop_in.at_layer(
            model, model.get_submodule("bn2"), images, drop_in.of_class(category)
        )
        truth = drop_in.heatmap(drop_in.gradcam(*values), img.shape[:2])
        picture = np.asarray(axes.images[0].get_array())
        apart = drop_in.levels_apart(picture, drop_in.overlay(photo, truth))
        assert apart.max() <= 2
        assert (apart > 1).mean() < 1e-3
    monkeypatch.setattr(sys, "argv", ["article.py", "--out", str(tmp_path / "article.png")])
    runpy.run_path(str(example), run_name="__main__")
    with Image.open(tmp_path / "article.png") as drawn:
        assert drawn.width > 900


def test_vit(run: Run) -> None:
    done = run("vit")
    for name, layer in done["layers"].items():
        grid = drop_in.tokens(14, 14, prefix=1)
        assert_as_the_article_draws(done, done["model"], name, layer, grid)


def test_swin(run: Run) -> None:
    done = run("swin")
    tokens, today = done["model"], done["today"]
    assert_as_the_article_draws(done, tokens, "tokens", tokens.norm, drop_in.tokens(7, 7))
    assert_as_the_article_draws(done, today, "today", today.norm, drop_in.channels_last)


def cropped(img: Array, size: int) -> Array:
    """Return what the article's crop gives: the shorter side resized, the middle of the longer."""
    height, width, _ = img.shape
    ratio = size / min(height, width)
    new = (size, int(height * ratio)) if width < height else (int(width * ratio), size)
    resized = cv2.resize(img, new)
    top, left = (new[1] - size) // 2, (new[0] - size) // 2
    return np.asarray(resized[top : top + size, left : left + size])


@pytest.mark.parametrize("size", [32, 57, 224])
@pytest.mark.parametrize("shape", [(90, 131), (131, 90), (75, 75), (224, 224), (32, 33)])
def test_center_crop_img_is_that_of_opencv(shape: tuple[int, int], size: int) -> None:
    img = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    ours = center_crop_img(img, size)
    assert drop_in.levels_apart(ours, cropped(img, size)).max() <= 1
    if shape == (size, size):
        np.testing.assert_array_equal(ours, img)


def test_center_crop_img_of_a_photo(shared: Path) -> None:
    for name in ("cat.jpg", "bird.jpg", "both.png"):
        img = np.array(Image.open(shared / "photos" / name).convert("RGB"))
        assert drop_in.levels_apart(center_crop_img(img, 224), cropped(img, 224)).max() <= 1
