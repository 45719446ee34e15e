"""Every network of torchvision, one of every architecture in timm, some of transformers: one call.

The call is `limelight.explain(model, inputs, method="gradcam")`, on random weights. The
script writes a page. For each network the page says at which layer limelight cut it, which grid it
found there, and the status of the map. It also says how far the map is from one that autograd
makes, with an ordinary hook on the model itself. The map of autograd takes three things from
limelight: the path of the layer, the layout of its output, and which of a detector's boxes is
explained. Whether that layout is right, `places.py` finds by itself, and the page says it too.

`zoo_networks.py` lists the networks. The script takes some hours on one core. Ctrl-C writes what
is done; with `--json` a later run continues from there.

    python benchmarks/zoo.py
    python benchmarks/zoo.py --family timm --only '^vit' --out vit.md --json vit.jsonl
"""

from __future__ import annotations

import argparse
import gc
import json
import re
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import limelight
from certainty import certainty
from limelight.inputs import Inputs, map_tensors
from limelight.layers import Layout
from measure import Table, taken
from places import Placement, placement
from zoo_networks import (
    NETWORKS as LIBRARIES,
)
from zoo_networks import (
    Kind,
    Network,
    by,
    fill_zeros,
    picture_in,
    redraw,
    settle,
)
from zoo_places import place_networks
from zoo_tasks import TASK_NETWORKS

#: The share of networks with status ok that is aimed at, in percent.
GOALS = {"torchvision": 100, "timm": 97, "transformers": 100, **dict.fromkeys(TASK_NETWORKS, 100)}

#: What each family's library is called where it is installed from, if otherwise.
PACKAGES = {
    "smp": "segmentation_models_pytorch",
    "open_clip": "open_clip_torch",
    "tasks": "transformers",
    "places": "transformers",
}

#: Maps that differ by less than this share of the largest value are the same.
SAME = 1e-3

#: How many draws of weights a network has to show something that speaks for its score.
SEEDS = 3


#: By library, and those of which no shape tells where cells lie.
NETWORKS = {**LIBRARIES, **TASK_NETWORKS, "places": place_networks}


# ---- one network -----------------------------------------------------------------------------


@dataclass
class Row:
    """The result of one network.

    Attributes:
        family, name: The network.
        input: The shape of the picture.
        layer, layout, grid: Where limelight cut it, and how it read the output.
        depth: How far into the network the layer is, in percent: the place of its return among the
            returns of modules that return something made of the picture.
        status: The name of the status; "" if there is none, and `problem` says why.
        problem: The error, or what the status says.
        difference: The largest difference from autograd's raw map, as a share of its largest value.
        place: Whether the map lies where the network looks; "" if the network is refused.
        correlation, distance: How well it does; see `Placement`.
        certain: If the layout follows from the network's operations: whether the measurement alone
            shows the same; see `certainty`.
        first: How long the first call took, in plain forwards.
        unseen, hot: At how many of the places nothing changes, and at how many of those is heat.
        seed: The seed of the weights.
        seconds: How long it took to make the network, explain it and check the map.
    """

    family: str
    name: str
    input: str = ""
    layer: str = ""
    layout: str = ""
    grid: str = ""
    depth: float | None = None
    status: str = ""
    problem: str = ""
    difference: float | None = None
    place: str = ""
    correlation: float | None = None
    distance: float | None = None
    certain: str = ""
    first: float | None = None
    unseen: int = 0
    hot: int = 0
    seed: int = 0
    seconds: float = 0.0


def visit(network: Network) -> Row:
    """Explain a network; draw new weights while the map is right but all against the score."""
    started = time.perf_counter()
    for seed in range(SEEDS):
        row = Row(network.family, network.name, seed=seed)
        try:
            explain(network, row)
        except Exception as error:  # of any kind, and the next network has its turn
            row.problem = first_sentence(f"{type(error).__name__}: {error}")
        if not (row.status == "no-positive-evidence" and is_same(row)):
            break
    row.seconds = time.perf_counter() - started
    return row


def explain(network: Network, row: Row) -> None:
    """Build a network, explain it, check the map, and fill in the row."""
    torch.manual_seed(row.seed)
    model, inputs = network.build().eval(), network.inputs()
    fill_zeros(model)
    settle(model, inputs)
    row.input = by(picture_in(inputs).shape)
    plain = min(taken(partial(forward, model, inputs)) for _ in range(2))
    started = time.perf_counter()
    found = limelight.explain(model, inputs, layer=network.layer, method="gradcam")
    row.first = (time.perf_counter() - started) / plain
    cut = limelight.cut(model, inputs, network.layer)
    row.layer, row.layout, row.grid = cut.layer, str(cut.layout), by(cut.layout.grid)
    row.status, row.problem = found.status[0].name, first_sentence(found.status[0].message)
    where = locate(network, row.seed, cut, found)
    row.place, row.correlation, row.distance = where.verdict, where.correlation, where.distance
    row.unseen, row.hot = where.unseen, where.hot
    row.certain = certainty(model, inputs, cut.layer)
    score = network.score or SCORES[network.kind]
    theirs, row.depth = grad_cam(model, inputs, cut.layer, cut.layout, score, found)
    row.difference = float((found.raw - theirs).abs().max() / theirs.abs().max())


def locate(
    network: Network, seed: int, cut: limelight.Cut, found: limelight.Explanation
) -> Placement:
    """Find whether the map lies where the network looks.

    With random weights some networks are chaotic, or mix everything: no change keeps its place.
    Where a cell lies does not depend on the weights, so two other ways to draw them are tried, with
    the same layer: as the network is built, in float64, and drawn so large that changes arrive.
    """
    results = [placement(cut, found)]
    for prepare in (as_built, drawn_again):
        if results[-1].verdict == "same place":
            return results[-1]
        with suppress(Exception):  # no float64, or nothing to explain
            torch.manual_seed(seed)
            model, inputs = prepare(network)
            again = limelight.cut(model, inputs, cut.layer)
            found = limelight.explain(model, inputs, layer=cut.layer, method="gradcam")
            results.append(placement(again, found))
    order = ("same place", "random", "elsewhere", "everywhere")
    return min(results, key=lambda result: order.index(result.verdict))


def as_built(network: Network) -> tuple[nn.Module, Inputs]:
    """Return a network as it is built, and its inputs, both in float64."""
    model = network.build().eval()
    fill_zeros(model)
    inputs = map_tensors(network.inputs(), lambda t: t.double() if t.is_floating_point() else t)
    return model.double(), inputs


def drawn_again(network: Network) -> tuple[nn.Module, Inputs]:
    """Return a network with weights that keep the size of what they are given."""
    model, inputs = network.build().eval(), network.inputs()
    redraw(model)
    settle(model, inputs)
    return model, inputs


def forward(model: nn.Module, inputs: Inputs) -> object:
    """Run a network without an explanation.

    Not in inference mode: what a network keeps of it could not be differentiated later.
    """
    with torch.no_grad():
        return run(model, inputs)


def run(model: nn.Module, inputs: Inputs) -> Any:
    """Run a network."""
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def first_sentence(text: str) -> str:
    """Return the beginning of a message, fit for a cell of a table."""
    return re.split(r"(?<=\.)\s|\n", text, maxsplit=1)[0].replace("|", "/")


# ---- the other way to the same map -----------------------------------------------------------


def highest_logit(output: Any, _found: limelight.Explanation) -> Tensor:
    """Return the highest logit of the only image, or the highest value of its embedding."""
    logits = named(output, "logits", "logits_per_image", "image_embeds", "pooler_output")
    assert logits.ndim == 2, "one logit per class was expected"
    highest: Tensor = logits.amax()
    return highest


def mean_logit(output: Any, _found: limelight.Explanation) -> Tensor:
    """Return the mean logit of the class predicted on most pixels, over those pixels."""
    logits = named(output, "logits", "out")[0]
    predicted = logits.argmax(0)
    most = predicted.flatten().bincount().argmax()
    return logits[most][predicted == most].mean()


def logit_of_box(output: Any, found: limelight.Explanation) -> Tensor:
    """Return the raw logit of the explained class that has the value of limelight's score.

    limelight chooses the box, because choosing boxes is half of every detector.
    """
    assert found.index is not None, "an object has a class"
    is_yolo = isinstance(output, tuple) and isinstance(output[-1], dict)
    raw = raw_scores(output[-1]) if is_yolo else named(output, "logits")
    logits = raw.flatten(0, -2)[:, int(found.index[0])]
    distances = (logits.detach() - found.score[0]).abs()
    nearest, next_ = distances.topk(2, largest=False).values.tolist()
    assert nearest < min(next_, 1e-5), f"not one logit has the score's value: {nearest}, {next_}"
    return logits[distances.argmin()]


def raw_scores(levels: dict[str, Any]) -> Tensor:
    """Return the logits `[B, N, C]` beside the boxes that a YOLO of ultralytics returns."""
    scores: Tensor = (levels.get("one2many") or levels)["scores"]
    return scores.transpose(1, 2)


def named(output: Any, *keys: str) -> Tensor:
    """Return an output that is a tensor, or its entry under the first of these keys that it has."""
    tensor = output if isinstance(output, Tensor) else next(output[k] for k in keys if k in output)
    assert isinstance(tensor, Tensor)
    return tensor


#: What is explained when no target is named, by what the network puts out.
SCORES: dict[Kind, Callable[[Any, limelight.Explanation], Tensor]] = {
    "classes": highest_logit,
    "pixels": mean_logit,
    "boxes": logit_of_box,
}

#: What puts out the raw logits in torchvision's detectors, which return boxes only.
RAW_LOGITS = ("roi_heads.box_predictor", "head.classification_head")


def grad_cam(
    model: nn.Module,
    inputs: Inputs,
    layer: str,
    layout: Layout,
    score: Callable[[Any, limelight.Explanation], Tensor],
    found: limelight.Explanation,
) -> tuple[Tensor, float]:
    """Make the map by autograd and hooks, and find how deep the layer is, in percent.

    The map is `sum_k alpha_k A_k`, `alpha_k = mean_ij dy/dA_k`.
    """
    path, _, number = layer.partition("#")
    returned, outputs = list[str](), dict[str, list[Tensor]]()

    def keep(at: str, _module: nn.Module, _arguments: object, output: Any) -> Any:
        leaves, spec = pytree.tree_flatten(output)
        first = next((i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)), None)
        if first is None or not leaves[first].requires_grad:  # not made of the picture
            return output
        returned.append(at)
        outputs.setdefault(at, []).append(leaves[first])
        leaves[first] = leaves[first].clone()  # which the network may overwrite
        return pytree.tree_unflatten(leaves, spec)

    model.requires_grad_(False)
    picture_in(inputs).requires_grad_()
    handles = [m.register_forward_hook(partial(keep, at)) for at, m in model.named_modules()]
    with torch.enable_grad():
        output = run(model, inputs)
        output = next((outputs[at][-1] for at in RAW_LOGITS if at in outputs), output)
        call = int(number or 1) - 1
        activations = outputs[path][call]
        (gradient,) = torch.autograd.grad(score(output, found), activations)
    for handle in handles:
        handle.remove()
    activations, gradient = (layout.to_grid(t.detach()) for t in (activations, gradient))
    axes = tuple(range(2, gradient.ndim))
    place = [i for i, at in enumerate(returned, 1) if at == path][call]
    return (gradient.mean(axes, keepdim=True) * activations).sum(1), 100 * place / len(returned)


# ---- the page --------------------------------------------------------------------------------


def page(rows: Sequence[Row], left_out: Sequence[str] = ()) -> str:
    """Return the page in Markdown; it names the networks that were not run."""
    ran = dict.fromkeys(PACKAGES.get(row.family, row.family) for row in rows)
    libraries = ", ".join(f"{name} {version(name)}" for name in dict.fromkeys(["torch", *ran]))
    parts = [
        "# The zoo",
        "All networks that limelight was tried on, with `limelight.explain(model, inputs, "
        'method="gradcam")` and no other argument. Has the map something to show (*status ok*)? '
        "Is it the same as one that autograd makes? Does it lie where the network looks? The "
        "networks are below, by family; [how they were tried](#how-they-were-tried) is told first.",
        totals(rows),
        *([f"Not run in this sweep: {', '.join(left_out)}."] if left_out else []),
        f"Libraries: {libraries}.",
        "## How they were tried",
        "`benchmarks/zoo.py` wrote this page. All networks have random weights. Three things "
        "replace training:",
        "* Weights that are zero everywhere are drawn from N(0, 0.02), because nothing can be "
        "explained through them. The fresh ViT heads of torchvision have such weights.\n"
        "* Batch norms see the picture and its mirror image, because activations die out in fresh "
        "batch norms.\n"
        "* Detectors keep boxes of any score, because untrained detectors have low confidence.",
        "In a fresh network it is a matter of luck whether anything on the grid speaks for the "
        "score. If a map agrees with autograd's but is against the score everywhere, the weights "
        f"are drawn again, up to {SEEDS} times in all. *Seed* says which draw a row shows. Nothing "
        "else is tried twice.",
        "*Depth* says how far into the network the layer is, in percent. It is the place of the "
        "layer's return among the returns of all modules that return something made of the "
        "picture. A map of a shallow layer may agree with autograd's and say little. So read this "
        "column, and the guide's section on what is not done yet.",
        "*Difference* compares the raw map with one that autograd makes, with an ordinary hook on "
        "the model itself, at the same layer and for the same score. The score is:",
        "* for classifiers, the highest logit;\n"
        "* for embeddings, the highest value;\n"
        "* for segmenters, the mean logit of the class predicted on most pixels, over those "
        "pixels;\n"
        "* for detectors, the logit whose value is the score: limelight says which box is "
        "explained;\n"
        "* for what combines masks, the mean score of the class predicted on most pixels, over "
        "those pixels; for open_clip, the logit of the most similar text; for depth and a single "
        "class, the mean where it is positive.",
        "*Place* says whether the map lies where the network looks. One small patch of the picture "
        "is changed a little, at 25 places; what that changes at the layer is laid on the picture "
        "as the map is, and the place of it compared with that of the patch (`places.py`). "
        "*Correlation* is the lowest of all axes. *Cells* is the median distance along an axis, in "
        "cells of the grid. Where nothing changes, the network does not see, and there has to be "
        "no heat. A network that is refused, with the reason, counts as right. *Everywhere*: with "
        "these weights every change is everywhere, so nothing tells. *Random*: the same picture "
        "gives other activations in every pass.",
        "*Certain* says whether the layout follows from the network's operations, so that nothing "
        "was measured. Where it does, the measurement is made nevertheless, and read without any "
        "hint (`certainty.py`): it agrees, or it cannot tell, or what it shows instead is among "
        "the exceptions. Convolutions of an even width, padded on one side, look half a cell "
        "beside their own; where several follow each other, as in `cpubone`, the measurement has "
        "the grid more than a cell beside. *First call* is the time of it, in plain forwards.",
    ]
    for family in NETWORKS:
        own = [row for row in rows if row.family == family]
        if own:
            parts += [f"## {family}", exceptions(own), networks(own)]
    return "\n\n".join(parts) + "\n"


def totals(rows: Sequence[Row]) -> str:
    """Return the table of totals."""
    head = ["family", "networks", "status ok", "goal", "same as autograd's", "largest difference"]
    head += ["same place, or refused", "goal for places"]
    table = Table(dict.fromkeys([*head, "least depth"], ""))
    for family in NETWORKS:
        own = [row for row in rows if row.family == family]
        if not own:
            continue
        compared = [row for row in own if row.difference is not None]
        same = [row for row in compared if is_same(row)]
        shallow = min(own, key=lambda row: 100 if row.depth is None else row.depth)
        table.add(
            family,
            len(own),
            share([row for row in own if row.status == "ok"], own),
            f"{GOALS[family]} %" if family in GOALS else "-",
            share(same, compared),
            gap(max((row.difference or 0 for row in same), default=0)),
            share([row for row in own if is_placed(row)], own),
            "100 %",
            f"{shallow.depth or 0:.0f} % ({shallow.name})",
        )
    return str(table)


def is_same(row: Row) -> bool:
    """Return whether the map equals autograd's; NaN does not."""
    return row.difference is not None and row.difference < SAME


def is_placed(row: Row) -> bool:
    """Return whether the map lies where the network looks, or the network is refused."""
    return row.place == "same place" or row.problem.startswith("LayerError")


def is_contradicted(row: Row) -> bool:
    """Return whether the measurement shows another layout than the operations."""
    return row.certain not in ("", "agrees", "cannot tell")


def placed(row: Row) -> str:
    """Return where the map lies, as text."""
    if not row.place:
        return "refused" if is_placed(row) else "-"
    seen = f", {row.unseen} places not seen" if row.unseen else ""
    return row.place + seen + (f", {row.hot} of them with heat" if row.hot else "")


def gap(difference: float | None) -> str:
    """Return a difference as text."""
    return "-" if difference is None else f"{difference:.0e}" if difference else "0"


def share(some: Sequence[Row], of: Sequence[Row]) -> str:
    """Return a share in percent, with both counts, as text."""
    return f"{100 * len(some) / max(1, len(of)):.1f} % ({len(some)} of {len(of)})"


def verdict(row: Row) -> str:
    """Return the result of a network in one line."""
    return ": ".join(filter(None, (row.name, row.status or "error", row.problem)))


def exceptions(rows: Sequence[Row]) -> str:
    """Return the list of networks that failed, with the reason."""
    lines = [f"* {verdict(row)}" for row in rows if row.problem]
    lines += [
        f"* {row.name}: its map differs from autograd's by {row.difference:.0e}"
        for row in rows
        if row.difference is not None and not is_same(row)
    ]
    lines += [
        f"* {row.name}: place: {placed(row)}" for row in rows if row.place and not is_placed(row)
    ]
    lines += [
        f"* {row.name}: {row.layout}, {row.grid}, but the measurement shows {row.certain}"
        for row in rows
        if is_contradicted(row)
    ]
    return "\n".join(["Exceptions:", "", *lines]) if lines else "No exceptions."


def networks(rows: Sequence[Row]) -> str:
    """Return the table of one family."""
    head = ["network", "input", "layer", "layout", "grid", "depth", "status", "seed", "difference"]
    head += ["place", "correlation", "cells", "certain", "first call"]
    table = Table(dict.fromkeys(head, ""))
    for row in rows:
        depth = "-" if row.depth is None else f"{row.depth:.0f} %"
        where = [cell or "-" for cell in (row.name, row.input, row.layer, row.layout, row.grid)]
        place = [
            placed(row),
            *("-" if v is None else f"{v:.2f}" for v in (row.correlation, row.distance)),
        ]
        certain = "contradicted" if is_contradicted(row) else row.certain or "-"
        first = "-" if row.first is None else f"{row.first:.1f}"
        status = row.status or "error"
        table.add(*where, depth, status, row.seed, gap(row.difference), *place, certain, first)
    return str(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--family", nargs="+", choices=NETWORKS, default=[*NETWORKS])
    parser.add_argument("--only", default="", metavar="REGEX", help="networks by name")
    parser.add_argument("--out", type=Path, default=Path("docs/zoo.md"), help="the page")
    parser.add_argument("--json", type=Path, help="keep rows here, one a line, and go on from them")
    parser.add_argument("--fresh", action="store_true", help="forget the rows kept there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    kept: Path | None = args.json
    rows = dict[tuple[str, str], Row]()
    if kept and kept.exists():
        if args.fresh:
            kept.unlink()
        else:
            known = (Row(**json.loads(line)) for line in kept.read_text().splitlines())
            rows = {(row.family, row.name): row for row in known}
    places = dict[tuple[str, str], int]()  # in the page, whichever was visited first
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with suppress(KeyboardInterrupt), Progress(*columns, TimeElapsedColumn()) as progress:
        for family in args.family:
            bar = progress.add_task(f"listing {family}", total=None)
            found = list(NETWORKS[family]())
            places |= {(family, network.name): place for place, network in enumerate(found)}
            due = [network for network in found if re.search(args.only, network.name)]
            progress.update(bar, total=len(due))
            for network in due:
                progress.update(bar, description=network.name)
                key = family, network.name
                if key not in rows:
                    rows[key] = row = visit(network)
                    gc.collect()
                    if kept:
                        with kept.open("a") as file:
                            file.write(json.dumps(asdict(row)) + "\n")
                    progress.console.print(f"{row.seconds:6.1f} s  {verdict(row)}")
                progress.advance(bar)
            progress.update(bar, description=family)
    listed = sorted(rows, key=lambda key: places.get(key, -1))
    left_out = [name for family, name in places if (family, name) not in rows]
    args.out.write_text(page([rows[key] for key in listed], left_out))


if __name__ == "__main__":
    main()
