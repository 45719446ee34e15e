"""A page for each metric, all in one form."""

from __future__ import annotations

from limelight.metrics import METRICS
from limelight.metrics.metric import Metric, MetricFamily, MetricNeed
from site_pages.markdown import file_of, page, table
from site_pages.measured import measured_rows, of_row, record, sanity_rows
from site_pages.measured_tables import measured_table, sanity_table, sources
from site_pages.row_words import METRIC_SIGNS, METRIC_WORDS
from site_pages.rows import check_words, departures_part, formula_part, options_part, prose

#: What a metric needs besides maps and network, in words.
NEEDS: dict[MetricNeed, str] = {
    "objects": "where the objects are: masks, or boxes (`objects=`; `--masks` or `--boxes` of the "
    "command)",
    "probability": "a score that has a probability: a class or a word, not an embedding or a "
    "callable",
    "recipe": "how the maps were made, as it makes them again: what `explain` or `compare` "
    "returned, not heatmaps of your own",
}

#: What the families ask.
FAMILIES: dict[MetricFamily, str] = {
    "faithfulness": "It is a metric of **faithfulness**: it changes the image where the map says "
    "so, and looks what the score does. It counts in the verdict.",
    "localisation": "It is a metric of **localisation**: it asks whether the heat lies on the "
    "object. A network may have its reason elsewhere: a map that shows that is right, and punished "
    "here. It counts in the verdict.",
    "complexity": "It is a metric of **complexity**: how much of the image is lit. It says nothing "
    "about truth, and does not count in the verdict.",
    "robustness": "It is a metric of **robustness**: whether the map stays when the image hardly "
    "changes. It does not count in the verdict.",
    "sanity": "It is a test of **sanity**: whether the map depends on what it should show. It does "
    "not count in the verdict; `limelight sanity` and `limelight choose` ask it.",
}

#: What the values mean: the range, and what a map that knows nothing has.
READINGS = {
    "deletion": "Between the least and the largest f; the score of a network that is sure falls "
    "from near 1 to near 0. It depends on the photo: only the lead over the controls counts.",
    "insertion": "Between the least and the largest f. It depends on the photo: only the lead over "
    "the controls counts.",
    "road": "Between -1 and 1; a map that is the same everywhere has 0, and so have random maps, "
    "on average.",
    "average-drop": "Between 0, nothing is lost, and 1, everything is. A map that is 1 everywhere "
    "has 0.",
    "increase": "Yes or no for each image; the mean is the share of images that are more certain.",
    "average-gain": "Between 0, nothing is gained, and 1, the network becomes certain.",
    "adcc": "Between 0 and 1; 0 where one of the three parts is 0. A map that is the same "
    "everywhere has 0.",
    "infidelity": "From 0, the map predicts each loss; there is no upper end, and its unit is that "
    "of the score, squared: compare maps of the same image only.",
    "occlusion-correlation": "Between -1 and 1; a map that is the same everywhere has 0.",
    "saco": "Between -1 and 1; a map that is the same everywhere has 0.",
    "pointing-game": "Hit or miss for each map; the mean is over the classes. Objects that are "
    "large or in the middle are hit by chance: look at the controls.",
    "energy-pointing": "Between 0 and 1; a map that is the same everywhere has the object's share "
    "of the image.",
    "mass-accuracy": "Between 0 and 1; a map that is the same everywhere has the object's share of "
    "the image.",
    "rank-accuracy": "Between 0 and 1; random maps have the object's share of the image.",
    "localisation-error": "1 is a miss and 0 a hit; the mean is the share of misses.",
    "sparseness": "Between 0, the same everywhere, and nearly 1, all heat on one pixel.",
    "complexity": "Between 0, all heat on one pixel, and the logarithm of the number of pixels, "
    "the same everywhere. `of uniform` is its share of that.",
    "max-sensitivity": "From 0, the map stays; 1 is a change as large as the map itself.",
    "parameter-randomisation": "Between -1 and 1; 1 is the same map. Above 0.5 with the whole "
    "interval a method fails, below it passes; on fewer than 8 images it is unclear.",
    "random-logit": "Between -1 and 1; 1 is the same map for another class.",
}

#: What a metric costs, in forward passes for one map; the two controls cost as much again, each.
COSTS = {
    "deletion": "`steps` + 1 forward passes.",
    "insertion": "`steps` + 1 forward passes.",
    "road": "Two for each step, and as many sparse systems of equations, which fill the holes.",
    "average-drop": "One forward pass, and that of the image.",
    "increase": "One forward pass, and that of the image.",
    "average-gain": "One forward pass, and that of the image.",
    "adcc": "One forward pass, and the map of the masked image.",
    "infidelity": "`samples` forward passes.",
    "occlusion-correlation": "`cells` x `cells` forward passes.",
    "saco": "`groups` forward passes.",
    "pointing-game": "No forward pass.",
    "energy-pointing": "No forward pass.",
    "mass-accuracy": "No forward pass.",
    "rank-accuracy": "No forward pass.",
    "localisation-error": "No forward pass.",
    "sparseness": "No forward pass.",
    "complexity": "No forward pass.",
    "max-sensitivity": "`samples` maps of changed images.",
    "parameter-randomisation": "One map for each stage, of a copy of the network.",
    "random-logit": "One map, of another class.",
}

#: The words of its own that the page of each metric needs.
WORDS = {
    "METRIC_SIGNS of row_words.py": METRIC_SIGNS,
    "READINGS of metric_pages.py": READINGS,
    "COSTS of metric_pages.py": COSTS,
}


def pages() -> dict[str, str]:
    """Return the page of each metric, by its path in docs."""
    return {f"metrics/{file_of(name)}.md": metric_page(row) for name, row in METRICS.items()}


def families() -> dict[str, list[str]]:
    """Return the paths of the pages of each family, by what it is called."""
    return {
        family.capitalize(): [
            f"metrics/{file_of(n)}.md" for n, row in METRICS.items() if row.family == family
        ]
        for family in FAMILIES
    }


def metric_page(row: Metric) -> str:
    """Return the page of a metric."""
    check_words(row, WORDS)
    sections = [
        ("What it asks", f"{row.use}\n\n{FAMILIES[row.family]}"),
        ("When not to use it", row.avoid),
        ("On one photo", photo_part(row)),
        ("Formula", formula_part(row, METRIC_WORDS, METRIC_SIGNS)),
        (
            "How to read it",
            f"**{row.better.capitalize()} is better.** {READINGS[row.name]}\n\n{_READ}",
        ),
        ("What it needs", needs_part(row)),
        ("Options", options_part(row, "metric")),
        ("Cost", COSTS[row.name]),
        ("Measured", measured_part(row)),
        ("How to call it", call_part(row)),
        ("Paper", departures_part(row, "measure.md", _AS_THERE, _MORE)),
    ]
    return page(row.name, prose(row)[0], sections)


_READ = (
    "Compare image by image with the controls, never mean by mean: "
    "[how to read metrics](../measure.md#how-to-read-them)."
)
_AS_THERE = "No departure from it is known."
_MORE = "[Is the map true?](../measure.md) has all metrics, and how often their intervals hold."


def photo_part(row: Metric) -> str:
    """Return what a metric says of one map, and of chance, on the same photo."""
    known = record("page_pictures.json")
    if row.name not in known["metrics"]:
        return (
            "It has not been measured yet: `PYTHONPATH=benchmarks python scripts/page_pictures.py "
            f"--only {row.name}` does it."
        )
    found = known["metrics"][row.name]
    sides = [("Grad-CAM", "gradcam"), ("random", "random"), ("blob in the centre", "centre")]
    rows = [
        (title, "not defined" if found[side] is None else f"{found[side]:.3f}")
        for title, side in sides
    ]
    parts = [
        "The cup of espresso of the [pages of methods](../methods/gradcam.md), explained by "
        "Grad-CAM at the last layer of the embedded network. One photo proves nothing; it shows "
        "what the metric does.",
        table(("map", row.name), rows),
    ]
    if row.axes is not None:
        parts.append(
            f"![The curves of {row.name} for Grad-CAM, a random map and a blob in the centre: "
            f"{row.axes.y_label} over the {row.axes.x_label}.](../images/metrics/"
            f"{file_of(row.name)}.png)"
        )
    if "objects" in row.needs:
        parts.append("The object is a box around the coffee.")
    return "\n\n".join(parts)


def needs_part(row: Metric) -> str:
    """Return what a metric needs."""
    needs = "; ".join(NEEDS[need] for need in NEEDS if need in row.needs)
    return f"{needs[0].upper()}{needs[1:]}." if needs else "Nothing but the network and the maps."


def measured_part(row: Metric) -> str:
    """Return what a metric said of the methods, beside chance."""
    if row.name == "parameter-randomisation":
        return f"{sanity_table(sanity_rows(), with_method=True)}\n\n{sources(sanity_rows())}"
    found = [each for each in measured_rows() if of_row(row.name, each.metric)]
    if not found:
        return (
            "No table of it is kept here. `limelight measure`, as below, gives yours, with "
            "intervals and beside chance."
        )
    return f"{measured_table(found, by_metric=False)}\n\n{sources(found)}"


_CALL = """\
```python
import limelight

network = limelight.load_model()
photo = limelight.load_photo("cat.jpg")
result = limelight.explain(network, photo)
measured = limelight.measure(network.model, network.images(photo), result, metrics=["{name}"])
estimate = measured.estimate("gradcam", "{name}")
estimate.own, estimate.random, estimate.centre
```

```
limelight measure photos/ --metrics {name} --out measured
limelight metrics {name}
```"""

_CALL_WITH_OBJECTS = """\
```python
import limelight

network = limelight.load_model()
photo = limelight.load_photo("cat.jpg")
result = limelight.explain(network, photo)
boxes = [[[40, 40, 150, 120]]]  # of each image: x1, y1, x2, y2 in pixels of the network's input
measured = limelight.measure(
    network.model, network.images(photo), result, metrics=["{name}"], objects=boxes
)
estimate = measured.estimate("gradcam", "{name}")
estimate.own, estimate.random, estimate.centre
```

```
limelight measure photos/ --boxes boxes.csv --metrics {name} --out measured
limelight metrics {name}
```"""


def call_part(row: Metric) -> str:
    """Return how to call a metric, in Python and as a command."""
    template = _CALL_WITH_OBJECTS if "objects" in row.needs else _CALL
    return template.format(name=row.name)
