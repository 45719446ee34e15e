"""Draw the pictures of the pages of methods and metrics: `make pictures`.

Every method that can be shown with real weights explains three inputs, and its maps stand side by
side in docs/images/methods/NAME.jpg. Most explain photos from the wheel of scikit-image with the
embedded network; those that read attention explain drawn shapes with the small transformer of
benchmarks/choose_shapes.py, which is trained for that. How many forward passes a map takes as long
as is measured at the same time. Every metric is measured on one of the photos, and the curves of
those that have some are in docs/images/metrics/NAME.png. Figures and labels are in
docs/page_pictures.json.

    PYTHONPATH=benchmarks python scripts/page_pictures.py --learned transformer.pth
    PYTHONPATH=benchmarks python scripts/page_pictures.py --only gradcam insertion
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import skimage
import torch
from matplotlib import colormaps
from PIL import Image
from torch import nn

import limelight
from choose_shapes import KINDS, accuracy, draw, train, transformer
from limelight.methods import METHODS
from limelight.metrics import METRICS
from measure import setting, taken
from site_pages.markdown import file_of

ROOT = Path(__file__).parent.parent
IMAGES, RECORD = ROOT / "docs" / "images", ROOT / "docs" / "page_pictures.json"

#: The photos: what a file of scikit-image shows, and the class that is explained.
PHOTOS = {
    "chelsea.png": ("a cat", "tiger cat"),
    "coffee.png": ("a cup of espresso", "espresso"),
    "camera.png": ("a man with a camera on a tripod", "tripod"),
}
#: Where the coffee is on what the network sees of coffee.png: x1, y1, x2, y2 in its pixels.
COFFEE = (44, 40, 156, 117)

#: The numbers of three shapes, of as many that are drawn.
SHAPES, DRAWN = (5, 17, 15), 18
STEPS = 800

#: The methods that read attention; and those that no network with real weights at hand can show.
OF_ATTENTION = {name for name, row in METHODS.items() if row.family == "attention"}
WITHOUT_PICTURE = {"tam"}

#: The methods whose maps are so fine that nothing of them is seen over a photo.
FINE = {name for name, row in METHODS.items() if row.family == "pixels"} - {"fullgrad"}

#: Methods that run the network thousands of times are shown with fewer samples.
FEWER = {"sscam": "sscam:samples=2", "iscam": "iscam:samples=2", "rise": "rise:masks=1000"}

SIDE, GAP, MOST_BYTES = 240, 8, 30_000

#: A method is timed in so many turns, or fewer if they take longer than so many seconds.
TURNS, MOST_SECONDS = 5, 6


@dataclass(frozen=True)
class Scene:
    """A network and three inputs that it knows.

    Attributes:
        name: The name of the network.
        about: What it is.
        network: The network.
        inputs: The photos, or the pictures `[1, 3, H, W]` of a plain module.
        shown: What is on each.
        targets: The class that is explained on each: its name, or its number.
        labels: The names of these classes.
        model: The network as a module.
    """

    name: str
    about: str
    network: Any
    inputs: Sequence[Any]
    shown: Sequence[str]
    targets: Sequence[str | int]
    labels: Sequence[str]
    model: nn.Module

    def explain(self, number: int, method: str) -> limelight.Explanation:
        """Explain one of the inputs."""
        return limelight.explain(
            self.network, self.inputs[number], method=method, target=self.targets[number]
        )

    def image(self, number: int) -> torch.Tensor:
        """Return an input as the network takes it, `[1, 3, H, W]`."""
        given = self.inputs[number]
        return given if isinstance(given, torch.Tensor) else self.network.images(given)

    def facts(self) -> dict[str, Any]:
        """Return what a page says of it."""
        inputs = []
        for number, (shown, label) in enumerate(zip(self.shown, self.labels, strict=True)):
            index = self.explain(number, "gradcam").index
            assert index is not None
            with torch.inference_mode():
                probabilities = self.model(self.image(number)).softmax(1)
            probability = round(float(probabilities[0, int(index)]), 3)
            inputs.append({"shown": shown, "label": label, "probability": probability})
        return {"about": self.about, "inputs": inputs}


def photo_scene() -> Scene:
    """Return the embedded network and three photos."""
    network = limelight.load_model()
    folder = Path(skimage.__file__).parent / "data"
    return Scene(
        name=network.name,
        about="the embedded network, which was trained on ImageNet",
        network=network,
        inputs=[limelight.load_photo(folder / name) for name in PHOTOS],
        shown=[about for about, _ in PHOTOS.values()],
        targets=[label for _, label in PHOTOS.values()],
        labels=[label for _, label in PHOTOS.values()],
        model=network.model,
    )


def shape_scene(learned: Path | None) -> Scene:
    """Return the transformer, trained if need be, and three drawn shapes."""
    model, drawn = transformer(0), draw(DRAWN, 1)
    if learned is not None and learned.exists():
        model.load_state_dict(torch.load(learned, weights_only=True))
    else:
        train(model, STEPS, print)
        if learned is not None:
            torch.save(model.state_dict(), learned)
    right = accuracy(model, draw(1000, 2))
    kinds = [KINDS[int(drawn.kinds[number])] for number in SHAPES]
    return Scene(
        name="transformer",
        about=f"a vision transformer of 6 blocks, trained for {STEPS} steps on drawn shapes "
        f"(right on {right:.0%} of new ones)",
        network=model,
        inputs=[drawn.images[number : number + 1] for number in SHAPES],
        shown=[f"a drawn {kind}" for kind in kinds],
        targets=[int(drawn.kinds[number]) for number in SHAPES],
        labels=kinds,
        model=model,
    )


def row_of(pictures: Sequence[Image.Image]) -> Image.Image:
    """Put pictures side by side."""
    row = Image.new("RGB", (len(pictures) * (SIDE + GAP) - GAP, SIDE), "white")
    for number, picture in enumerate(pictures):
        row.paste(picture.convert("RGB").resize((SIDE, SIDE)), (number * (SIDE + GAP), 0))
    return row


def save_small(picture: Image.Image, path: Path) -> None:
    """Save a jpg that is small enough."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for quality in range(88, 20, -6):
        picture.save(path, quality=quality, optimize=True, progressive=True)
        if path.stat().st_size <= MOST_BYTES:
            return


def explain_in_turns(scene: Scene, number: int, method: str) -> tuple[limelight.Explanation, float]:
    """Return a map, and as how many forward passes it takes as long, timed in turns.

    The first of several turns does not count, as things are made in it that are kept.
    """
    image, results = scene.image(number), list[limelight.Explanation]()

    def forward() -> None:
        with torch.inference_mode():
            scene.model(image)

    forwards, maps = list[float](), list[float]()
    while len(maps) < TURNS and sum(maps) < MOST_SECONDS:
        forwards.append(statistics.median(taken(forward) for _ in range(3)))
        maps.append(taken(lambda: results.append(scene.explain(number, method))))
    forwards.append(statistics.median(taken(forward) for _ in range(3)))
    later = slice(1, None) if len(maps) > 1 else slice(None)
    return results[-1], statistics.median(maps[later]) / statistics.median(forwards[later])


def draw_over(result: limelight.Explanation) -> Image.Image:
    """Draw a heatmap over its photo."""
    return result.overlay()[0]


def draw_alone(result: limelight.Explanation) -> Image.Image:
    """Draw a heatmap by itself, so bright that a hundredth of its pixels have the last colour."""
    heat = result.heatmap[0].numpy()
    bright = (heat / np.quantile(heat, 0.99)).clip(0, 1)
    return Image.fromarray((colormaps["inferno"](bright)[..., :3] * 255).astype("uint8"))


def draw_method(name: str, scene: Scene) -> dict[str, Any]:
    """Draw the maps of a method, and return what its page says of them."""
    method = FEWER.get(name, name)
    found = [explain_in_turns(scene, number, method) for number in range(len(scene.inputs))]
    draw = draw_alone if name in FINE else draw_over
    save_small(
        row_of([draw(result) for result, _ in found]), IMAGES / "methods" / f"{file_of(name)}.jpg"
    )
    return {
        "method": method,
        "network": scene.name,
        "alone": name in FINE,
        "layer": found[0][0].layer,
        "runs": statistics.median(runs for _, runs in found),
        "status": [result.status[0].name for result, _ in found],
    }


def measure_metric(name: str, scene: Scene) -> dict[str, Any]:
    """Measure a map of the cup of espresso beside chance, and draw the curves, if there are some.

    Returns:
        The `value` of the map, of a random one, and of a blob in the centre.
    """
    number = list(PHOTOS).index("coffee.png")
    result = scene.explain(number, "gradcam")
    measured = limelight.measure(
        scene.model,
        scene.image(number),
        result,
        metrics=[name],
        objects=[[list(COFFEE)]] if "objects" in METRICS[name].needs else None,
    )
    estimate = measured.estimate("gradcam", name)
    sides = {"gradcam": estimate.own, "random": estimate.random, "centre": estimate.centre}
    curves = measured.curves(name)
    if curves:
        draw_curves(name, curves)
    return {side: None if value is None else value.value for side, value in sides.items()}


#: The lines, as the measurement and as the picture calls them, and their colours.
LINES = {
    "gradcam": ("Grad-CAM", "#c2410c"),
    "chance: random": ("random", "#6b7280"),
    "chance: centre": ("centre", "#2563eb"),
}


def draw_curves(name: str, curves: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
    """Draw the curves of a metric on one photo."""
    axes_of = METRICS[name].axes
    assert axes_of is not None
    figure, all_axes = plt.subplots(
        1, len(curves), figsize=(3.4 * len(curves), 2.6), layout="constrained", squeeze=False
    )
    for axes, (part, lines) in zip(all_axes[0], curves.items(), strict=True):
        for label, values in lines.items():
            places = axes_of.x_values(len(values))
            shown, colour = LINES[label]
            style = {"Grad-CAM": "-", "random": "--", "centre": ":"}[shown]
            axes.plot(places, values, style, label=shown, color=colour)
        title = part.removesuffix("curve").strip() or "signed"
        axes.set(title=title if len(curves) > 1 else "", xlabel=axes_of.x_label)
        axes.spines[["top", "right"]].set_visible(False)
    all_axes[0][0].set_ylabel(axes_of.y_label)
    all_axes[0][0].legend(frameon=False, fontsize=8)
    path = IMAGES / "metrics" / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = BytesIO()
    figure.savefig(drawn, dpi=110)
    plt.close(figure)
    Image.open(drawn).convert("RGB").quantize(32).save(path, optimize=True)


def read_record() -> dict[str, Any]:
    """Return what is known of all pictures."""
    empty: dict[str, Any] = {"scenes": {}, "methods": {}, "metrics": {}}
    return json.loads(RECORD.read_text()) if RECORD.exists() else empty


def main() -> None:
    """Draw what is asked for; what is done is kept, also when a later picture fails."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="*", help="names of methods and metrics; else all")
    parser.add_argument("--learned", type=Path, help="keeps what the transformer has learned")
    options = parser.parse_args()
    wanted = set(options.only or [*METHODS, *METRICS])
    record = read_record()
    photos = photo_scene()
    scenes = [photos]
    if wanted & OF_ATTENTION:
        scenes.append(shape_scene(options.learned))
    for scene in scenes:
        record["scenes"][scene.name] = scene.facts()
    for name in METHODS:
        if name in wanted - WITHOUT_PICTURE:
            scene = scenes[-1] if name in OF_ATTENTION else photos
            record["methods"][name] = draw_method(name, scene) | {"setting": setting()}
            write_record(record, name)
    for name in METRICS:
        if name in wanted:
            record["metrics"][name] = measure_metric(name, photos)
            write_record(record, name)


def write_record(record: dict[str, Any], name: str) -> None:
    """Keep what is known of all pictures."""
    for part, table in (("methods", METHODS), ("metrics", METRICS)):
        record[part] = {name: record[part][name] for name in table if name in record[part]}
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
    print(f"{name}: done", flush=True)


if __name__ == "__main__":
    main()
