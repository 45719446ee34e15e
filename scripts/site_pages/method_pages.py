"""A page for each method, all in one form."""

from __future__ import annotations

from limelight.evidence import EvidenceKind
from limelight.methods import METHODS
from limelight.methods.method import CutPlace, Method
from limelight.peer_names import GRAD_CAM_METHODS, TORCHCAM_METHODS
from site_pages.markdown import code, file_of, page, table
from site_pages.measured import (
    DOCS,
    cost_rows,
    measured_rows,
    of_row,
    record,
    sanity_rows,
)
from site_pages.measured_tables import TITLES, measured_table, sanity_table, sources
from site_pages.row_words import METHOD_SIGNS, METHOD_WORDS
from site_pages.rows import check_words, departures_part, formula_part, options_part, prose
from tables import TITLES as FAMILIES

#: What a method needs besides the activations, in words.
NEEDS: dict[EvidenceKind, str] = {
    "gradients": "the gradient of the score at the layer, so not a quantised network",
    "curvature": "the second derivative of the score at the layer",
    "class weights": "a head that is a mean over the cells and one linear layer, whose weights it "
    "reads",
    "head": "runs of what comes after the layer, on changed activations; no gradient, unless its "
    "formula has one",
    "network": "runs of the whole network, on changed images; no gradient",
    "guided gradients": "ReLUs: their gradient is replaced, on a copy of the network",
    "bias gradients": "the gradients at all biases of the network",
    "attention": "layers of attention over the picture, and their gradients",
    "layer attention": "layers of attention over the picture, and a head that can read the tokens "
    "after each of them",
    "word logits": "a language model whose sentence holds the tokens of the picture (LLaVA, "
    "Qwen-VL, InternVL, PaliGemma)",
}

#: Where a network is cut if no layer is named, in words.
PLACES: dict[CutPlace, str] = {
    "layer": "limelight finds the layer: the last one with a grid on which gradient arrives, "
    "unless you name one (`layer=`). The map has the size of its grid",
    "input": "the network is cut at the image itself, unless you name a layer (`layer=`). The map "
    "has the size of the image",
    "network": "the whole network is read from the image on; no layer can be named",
}

_ONE = "One forward pass through the network"
_TWO = "Two forward passes, the second of a copy whose ReLUs have another gradient"
_BACK = f"{_ONE}, and one backward pass from the score to"

#: What one map costs, in passes, with n images counting as n passes.
COSTS = {
    "cam": f"{_ONE}; no backward pass.",
    "gradcam": f"{_BACK} the layer.",
    "gradcam++": f"{_BACK} the layer.",
    "xgradcam": f"{_BACK} the layer.",
    "shapleycam": f"{_BACK} the layer; then one more, through that, for the second derivative.",
    "ablationcam": f"{_ONE}; then one of the head for each channel that is not zero everywhere.",
    "scorecam": f"{_ONE}; then one more for each channel that is not constant, and one for the "
    "black image.",
    "sscam": f"{_ONE}; then `samples` more for each channel that is not constant, and one for the "
    "black image.",
    "iscam": f"{_ONE}; then `samples` more for each channel that is not constant, and one for the "
    "black image.",
    "reciprocam": f"{_ONE}; then one of the head for each cell, and one without any cell.",
    "fem": f"{_ONE}; no backward pass.",
    "hirescam": f"{_BACK} the layer.",
    "layercam": f"{_BACK} the layer.",
    "gradcam-elementwise": f"{_BACK} the layer.",
    "eigencam": f"{_ONE}, and a singular value decomposition; no backward pass.",
    "eigengradcam": f"{_BACK} the layer, and a singular value decomposition.",
    "segeigencam": f"{_BACK} the layer, and a singular value decomposition.",
    "kpcacam": f"{_ONE}, and the eigenvectors of a matrix of all cells; no backward pass.",
    "saliency": f"{_BACK} the image.",
    "input-x-gradient": f"{_BACK} the image.",
    "smoothgrad": f"{_ONE}; then `samples` forward and backward passes.",
    "integrated-gradients": f"{_ONE}; then `steps` forward and backward passes, and one forward "
    "pass of the baseline.",
    "guided-backprop": f"{_TWO}; a backward pass from there to the image.",
    "guided-gradcam": f"{_TWO}; two backward passes, to the layer, and on the copy to the image.",
    "fullgrad": "Two forward passes, and a backward pass to the image by way of all biases.",
    "occlusion": f"{_ONE}; then one more for each place of the window: some hundred, with the "
    "options as they are.",
    "rise": f"{_ONE}; then `masks` more.",
    "kernelshap": f"{_ONE}; then up to `samples` more, and a cut into superpixels.",
    "rollout": f"{_BACK} the attention of all layers.",
    "attention-x-gradient": f"{_BACK} the attention of all layers.",
    "legrad": f"{_ONE}; then the head and one backward pass for each layer of attention.",
    "grad-eclip": f"{_BACK} the last attention.",
    "tam": f"{_ONE} with its answer; no backward pass.",
    "random": f"{_ONE}, for the grid; the map itself costs nothing.",
    "centre": f"{_ONE}, for the grid; the map itself costs nothing.",
}

#: The words of its own that the page of each method needs.
WORDS = {"METHOD_SIGNS of row_words.py": METHOD_SIGNS, "COSTS of method_pages.py": COSTS}

#: The classes of captum that compute the same; grad-cam's and torchcam's are in `peer_names`.
CAPTUM = {
    "gradcam": "LayerGradCam",
    "saliency": "Saliency",
    "input-x-gradient": "InputXGradient",
    "smoothgrad": "NoiseTunnel",
    "integrated-gradients": "IntegratedGradients",
    "guided-backprop": "GuidedBackprop",
    "guided-gradcam": "GuidedGradCam",
    "occlusion": "Occlusion",
    "kernelshap": "KernelShap",
}

#: What the two methods are called with that the embedded network cannot show.
_WITH_ATTENTION = "vit_b_16"


def pages() -> dict[str, str]:
    """Return the page of each method, by its path in docs."""
    return {f"methods/{file_of(name)}.md": method_page(row) for name, row in METHODS.items()}


def families() -> dict[str, list[str]]:
    """Return the paths of the pages of each family, by what it is called."""
    return {
        title: [f"methods/{file_of(n)}.md" for n, row in METHODS.items() if row.family == family]
        for family, title in FAMILIES.items()
    }


def method_page(row: Method) -> str:
    """Return the page of a method."""
    check_words(row, WORDS)
    sections = [
        ("Its maps", maps_part(row)),
        ("When to use it", row.use),
        ("When not to use it", row.avoid),
        ("How to call it", call_part(row)),
        ("Formula", formula_part(row, METHOD_WORDS, METHOD_SIGNS)),
        ("What it needs", needs_part(row)),
        ("Options", options_part(row, "method")),
        ("Cost", cost_part(row)),
        ("Measured", measured_part(row)),
        ("In other libraries", peers_part(row)),
        ("Paper", departures_part(row, "methods.md", _AS_THERE, _MORE)),
    ]
    return page(row.name, prose(row)[0], sections)


_AS_THERE = "No departure from it is known; the raw map comes before a ReLU and a scaling."
_MORE = "[Methods](../methods.md) has what all methods share, and where other libraries differ."


def maps_part(row: Method) -> str:
    """Return the picture of a method's maps on three inputs, and what they show."""
    known = record("page_pictures.json")
    if row.name not in known["methods"]:
        if row.family != "words":
            return (
                "There is no picture yet: `PYTHONPATH=benchmarks python scripts/page_pictures.py "
                f"--only {row.name}` draws it."
            )
        return (
            "There is no picture: the weights of a language model that answers about photos are "
            "too large to come with limelight, and a map of random weights shows nothing. "
            "[Ask a model about a photo](../ask.md) says how to see one of your own model."
        )
    found = known["methods"][row.name]
    scene = known["scenes"][found["network"]]
    inputs = scene["inputs"]
    explained = ", ".join(
        f"{each['shown']} (`{each['label']}`, probability {each['probability']:.2f})"
        for each in inputs
    )
    remarks = [
        f"The {place} map has the status [`{status}`](../errors.md#status-{status})."
        for place, status in zip(("first", "second", "third"), found["status"], strict=True)
        if status != "ok"
    ]
    alike = [
        f"[{code(other)}]({file_of(other)}.md)"
        for other in known["methods"]
        if other != row.name and _picture(other) == _picture(row.name)
    ]
    if alike:
        remarks.append(f"Those of {', '.join(alike)} are the same on this network.")
    if found["method"] != row.name:
        remarks.append(f"They are made with fewer samples than usual, as `{found['method']}`.")
    if found["alone"]:
        remarks.append(
            "The maps are drawn without the photos, as they are too fine to be seen over them, and "
            "so bright that a hundredth of the pixels have the last colour."
        )
    where = "the image" if found["layer"] == "<input>" else f"`{found['layer']}`"
    picture = f"![The maps of {row.name} on {', '.join(each['shown'] for each in inputs)}.]"
    return "\n\n".join(
        [
            f"{picture}(../images/methods/{file_of(row.name)}.jpg)",
            f"From left to right: {explained}, explained at {where} of {scene['about']}. "
            f"{' '.join(remarks)}".strip(),
        ]
    )


def _picture(name: str) -> bytes:
    return (DOCS / "images" / "methods" / f"{file_of(name)}.jpg").read_bytes()


def needs_part(row: Method) -> str:
    """Return the evidence that a method reads, and where the network is cut."""
    needs = "; ".join(NEEDS[kind] for kind in NEEDS if kind in row.needs)
    evidence = f"Besides the activations: {needs}." if needs else "Nothing but the activations."
    return f"{evidence}\n\nWhere: {PLACES[row.place]}."


def cost_part(row: Method) -> str:
    """Return what a map costs: in passes, and as measured."""
    found = [each for each in cost_rows() if of_row(row.name, each.method)]
    if not found:
        return f"{COSTS[row.name]}\n\nHow long that takes was not measured here."
    settings = record("page_pictures.json")["methods"]
    alone = all(each.method == row.name for each in found)
    rows = [
        (
            *(() if alone else (code(each.method),)),
            each.network,
            f"{each.runs:.1f}" if each.runs < 100 else f"{each.runs:.0f}",
            f"[{TITLES[each.page.partition('#')[0]]}](../{each.page})" if each.page else "here",
        )
        for each in found
    ]
    head = ("network, where", "time, in plain forward passes", "measured in")
    text = table(head if alone else ("method", *head), rows)
    note = f"Here: on {settings[row.name]['setting']}." if row.name in settings else ""
    return "\n\n".join(part for part in (COSTS[row.name], text, note) if part)


def measured_part(row: Method) -> str:
    """Return what was measured of a method, beside chance."""
    if row.family == "control":
        return (
            "It is what every method is measured against: the columns *random* and *centre* on "
            "the pages of the other methods."
        )
    found = [each for each in measured_rows() if of_row(row.name, each.method)]
    sane = [each for each in sanity_rows() if of_row(row.name, each.method)]
    if not found and not sane:
        return _UNMEASURED
    parts = []
    if found:
        parts.append(measured_table(found, by_metric=True))
    if sane:
        parts.append(
            "When the weights become random, its maps should change: a *likeness* of 1 is no "
            "change. A method that fails draws the picture rather than what the network learned."
        )
        parts.append(sanity_table(sane, with_method=False))
    return "\n\n".join([*parts, sources((*found, *sane))])


_UNMEASURED = (
    "This method has not been measured here against random maps and a blob in the centre. Measure "
    "it on your own network and photos before you trust it: [is the map true?](../measure.md)"
)

_CALL = """\
```python
import limelight

network = limelight.load_model({model})
photo = limelight.load_photo("cat.jpg")
result = limelight.explain(network, photo, method="{name}")
result.save("{file}.png")
```

```
limelight explain cat.jpg --method {name}{option}
limelight methods {name}
```"""

_CALL_FOR_WORDS = """\
```python
import limelight

model = limelight.load_vision_language("hf:llava")
answer = limelight.ask(
    "cat.jpg", "What is on the mat?", model=model, answer="a red cat", method="{name}"
)
answer["cat"].heatmaps[0]
```

```
limelight ask cat.jpg "What is on the mat?" --model hf:llava --answer "a red cat" --method {name}
limelight methods {name}
```

`hf:llava` is a folder with a model; the name of a repository does as well."""


def call_part(row: Method) -> str:
    """Return how to call a method, in Python and as a command."""
    if row.family == "words":
        return _CALL_FOR_WORDS.format(name=row.name)
    reads_attention = row.family == "attention"
    return _CALL.format(
        name=row.name,
        file=file_of(row.name),
        model=f'"{_WITH_ATTENTION}"' if reads_attention else "",
        option=f" --model {_WITH_ATTENTION}" if reads_attention else "",
    )


def peers_part(row: Method) -> str:
    """Return the classes of other libraries that compute the same."""
    found = [
        (package, code(name))
        for package, known in (("grad-cam", GRAD_CAM_METHODS), ("torchcam", TORCHCAM_METHODS))
        for name, method in known.items()
        if of_row(row.name, method)
    ]
    if CAPTUM.get(row.name):
        found.append(("captum", code(CAPTUM[row.name])))
    if not found:
        return "Neither grad-cam nor torchcam nor captum has it."
    calls = {
        method
        for known in (GRAD_CAM_METHODS, TORCHCAM_METHODS)
        for method in known.values()
        if of_row(row.name, method) and method != row.name
    }
    as_there = "".join(f" `{call}` computes what they do." for call in sorted(calls))
    return (
        f"{table(('library', 'class'), found)}\n\n"
        f"[Coming from grad-cam, torchcam, captum](../migrate.md) has what differs.{as_there}"
    )
