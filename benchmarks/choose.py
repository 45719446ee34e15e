"""Which map `limelight.choose` takes on kinds of networks, and whether the choice holds.

choose: Each network with what it has learned: the recommendation and its evidence on photos that
    had no part in the choice, and for each method, where it ranked best, what it leads chance by,
    whether random weights change its maps, and what a map costs over a run of the network.
random: The same networks with random weights, some draws of each. Nothing may be recommended.

The networks are the embedded one, SqueezeNet and MobileNet V2 with weights from --weights
(NAME_imagenet.pth), and a transformer that is trained here on drawn shapes. What is done is kept in
--store, and a rerun goes on from there.

    python benchmarks/choose.py --photos coco128/images --weights weights
    python benchmarks/choose.py --photos coco128/images --only embedded --publish
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models import get_model

import limelight
from choose_pages import publish
from choose_shapes import KINDS, accuracy, draw, train, transformer
from limelight.metrics.candidates import MapCandidate
from limelight.metrics.choose import CHOICE_METRICS
from limelight.metrics.recommendation import RankedCandidate, Recommendation
from limelight.metrics.sanity import verdict_of
from limelight.models.network import Network
from limelight.photos.finding import find_photos
from limelight.plain import as_json
from measure import in_turns, plain_forward, setting

#: How many photos the test of sanity of each method looks at.
SANITY_PHOTOS = 12


@dataclass(frozen=True)
class Subject:
    """A network and its photos.

    Attributes:
        name: Its name.
        about: What it is, for the page.
        network: The network, or a plain module.
        inputs: Paths of photos, or the pictures of a plain module.
        masks: Where the objects are, if known.
    """

    name: str
    about: str
    network: Network | nn.Module
    inputs: list[Path] | Tensor
    masks: Tensor | None = None

    @property
    def model(self) -> nn.Module:
        """The network itself."""
        return self.network.model if isinstance(self.network, Network) else self.network

    def images(self, count: int) -> Tensor:
        """Return the first images as the network takes them."""
        if isinstance(self.inputs, Tensor):
            return self.inputs[:count]
        assert isinstance(self.network, Network)
        photos = map(limelight.load_photo, self.inputs[:count])
        return torch.cat([self.network.images(photo) for photo in photos])


#: What makes a subject, with random weights of a seed, or, for None, with what it has learned.
Make = Callable[[int | None], Subject]


# ---- the networks --------------------------------------------------------------------------------


def embedded(photos: list[Path], seed: int | None) -> Subject:
    """Return the embedded network."""
    network = limelight.load_model(weights="default" if seed is None else "none")
    if seed is not None:
        torch.manual_seed(seed)
        for module in network.model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.reset_parameters()
    about = "a convolutional network with an average pool and one linear layer"
    return Subject("EfficientNet-Lite0", about, network, photos)


#: What torchvision's networks take: the side of the input, and mean and deviation of its colours.
INPUTS: dict[str, dict[str, Any]] = {
    "squeezenet1_0": {"size": (227, 227), "resize": 256},
    "mobilenet_v2": {"mean": (0.5,) * 3, "std": (0.5,) * 3},
}

ABOUT = {
    "squeezenet1_0": "a convolutional network whose classifier is a convolution",
    "mobilenet_v2": "a convolutional network with an average pool and one linear layer",
}


def of_torchvision(name: str, photos: list[Path], weights: Path, seed: int | None) -> Subject:
    """Return a network of torchvision with the weights of a file, or with random ones."""
    torch.manual_seed(seed or 0)
    model: nn.Module = get_model(name, weights=None).eval()
    if seed is None:
        model.load_state_dict(torch.load(weights / f"{name}_imagenet.pth", weights_only=True))
    network = Network(name, model, limelight.Preprocess(**INPUTS[name]))
    return Subject(name, ABOUT[name], network, photos)


def shapes(count: int, steps: int, folder: Path, seed: int | None) -> Subject:
    """Return the transformer, trained on drawn shapes; what it learned is kept in a file."""
    model, drawn = transformer(seed or 0), draw(count, 1)
    learned = folder / f"choose-transformer-{steps}.pth"
    right = 0.0
    if seed is None:
        if learned.exists():
            model.load_state_dict(torch.load(learned, weights_only=True))
        else:
            train(model, steps, say)
            torch.save(model.state_dict(), learned)
        right = accuracy(model, draw(1000, 2))
    about = (
        f"a vision transformer with a class token, 6 blocks and patches of 8 pixels, trained for "
        f"{steps} steps on drawn shapes of 64 pixels ({', '.join(KINDS)}; right on {right:.0%} of "
        "new ones)"
    )
    return Subject("transformer", about, model, drawn.images, drawn.masks)


# ---- what is kept of a network -------------------------------------------------------------------


class Tried(NamedTuple):
    """What to choose among, and by what; None for what limelight takes.

    Attributes:
        methods: The methods.
        metrics: The metrics.
        further: Photos beside those, on which what ranked first is measured once more.
    """

    methods: str | None
    metrics: str | None
    further: Sequence[Path] = ()


def chosen(subject: Subject, tried: Tried) -> Recommendation:
    """Let limelight choose, and say now and then where it is."""
    said = [time.perf_counter()]

    def progress(task: str, done: int, total: int) -> None:
        if time.perf_counter() - said[0] > 30:
            said[0] = time.perf_counter()
            say(f"{subject.name}: {task}, {done} of {total}")

    inputs: Any = subject.inputs
    return limelight.choose(
        subject.network,
        inputs,
        methods=tried.methods,
        metrics=tried.metrics,
        objects=subject.masks,
        progress=progress,
    )


def record_of(subject: Subject, tried: Tried) -> dict[str, Any]:
    """Choose on a network that has learned something, and return what the page tells of it."""
    begun = time.perf_counter()
    found = chosen(subject, tried)
    record = base_record(subject, found, time.perf_counter() - begun)
    say(found.sentence)
    best = best_of_each(found)
    images = subject.images(SANITY_PHOTOS)
    costs = costs_of(subject.model, images[:1], [row.candidate for row in best])
    record["methods"] = [
        figures_of(row) | {"runs": cost} | sanity_of(subject.model, images, row.candidate)
        for row, cost in zip(best, costs, strict=True)
    ]
    record["places"] = [figures_of(row) for row in found.ranking]
    record["alike"] = alike(found, best)
    if tried.further and isinstance(subject.network, Network):
        first = next(row.candidate for row in found.ranking if row.sanity == "passes")
        record["further"] = further(subject.network, tried.further, first)
    return record


def base_record(subject: Subject, found: Recommendation, seconds: float) -> dict[str, Any]:
    """Return what the page tells of any choice."""
    return {
        "network": subject.name,
        "about": subject.about,
        "setting": setting(),
        "photos": len(subject.inputs),
        "seconds": seconds,
        "recommended": None if found.best is None else found.best.name,
        "sentence": found.sentence,
        "python": found.python,
        "evidence": found.evidence,
        "learned": None if found.learned is None else found.learned._asdict(),
        "candidates": len(found.ranking),
        "n": found.chosen_on.n,
        "confirmed": [
            {"metric": estimate.metric} | lead_of(estimate)
            for estimate in found.confirmed_on.estimates()
            if estimate.judged
        ],
        "beside_default": [pair.sentence for pair in found.beside_default],
        "skipped": {gap.method: gap.reason for gap in found.skipped},
    }


def lead_of(estimate: limelight.MetricEstimate) -> dict[str, Any]:
    """Return by how much maps lead the better control."""
    lead = estimate.lead
    return {
        "value": estimate.own.value,
        "random": estimate.random.value,
        "centre": estimate.centre.value,
        "lead": lead.value,
        "low": lead.low,
        "high": lead.high,
        "p": estimate.p,
        "n": estimate.own.n,
    }


def figures_of(row: RankedCandidate) -> dict[str, Any]:
    """Return what the photos to choose on say of a candidate."""
    judged = [estimate for estimate in row.estimates if estimate.judged]
    return {
        "method": str(row.candidate.method),
        "layers": list(row.candidate.layers),
        "rank": row.rank,
        "beats chance": all(estimate.beats_chance for estimate in judged),
        "metrics": {estimate.metric: lead_of(estimate) for estimate in judged},
    }


def best_of_each(found: Recommendation) -> list[RankedCandidate]:
    """Return each method where it ranked best."""
    rows = dict[str, RankedCandidate]()
    for row in found.ranking:
        rows.setdefault(str(row.candidate.method), row)
    return list(rows.values())


def costs_of(
    model: nn.Module, image: Tensor, candidates: Sequence[MapCandidate]
) -> Iterator[float]:
    """Return how many runs of the network a map of each candidate takes as long as."""
    sides: dict[str, Callable[[], object]] = {"run": lambda: plain_forward(model, image)}
    for candidate in candidates:
        sides[candidate.name] = partial(limelight.explain, model, image, **candidate.arguments)
    turns = in_turns(sides, 7)
    return (turns.over(candidate.name, "run") for candidate in candidates)


def sanity_of(model: nn.Module, images: Tensor, candidate: MapCandidate) -> dict[str, Any]:
    """Return whether random weights change a candidate's maps."""
    result = limelight.explain(model, images, **candidate.arguments)
    try:
        measured = limelight.measure(
            model, images, result, metrics=["parameter-randomisation:steps=5"]
        )
    except limelight.LimelightError as error:
        return {"sanity": "not possible", "why": str(error)}
    (likeness, *_) = measured.ranking("parameter-randomisation")
    return {
        "sanity": verdict_of(likeness),
        "likeness": [likeness.own.value, likeness.own.low, likeness.own.high, likeness.own.n],
    }


def further(
    network: Network, photos: Sequence[Path], candidate: MapCandidate
) -> list[dict[str, Any]]:
    """Return what photos beside those of the choice say of a candidate."""
    measured = limelight.Measurement()
    for path in photos:
        images = network.images(limelight.load_photo(path))
        result = limelight.explain(network, images, **candidate.arguments)
        measured += limelight.measure(network, images, result, metrics=CHOICE_METRICS)
    return [
        {"metric": estimate.metric, "candidate": candidate.name} | lead_of(estimate)
        for estimate in measured.estimates()
        if estimate.judged
    ]


def alike(found: Recommendation, best: Sequence[RankedCandidate]) -> dict[str, list[list[str]]]:
    """Return for each metric the groups of methods that cannot be told apart where chosen."""
    places = {(row.estimates[0].method, row.estimates[0].layer) for row in best}
    readings = {
        key: maps
        for key, maps in found.chosen_on.readings.items()
        if (key.method, key.layer) in places
    }
    measured = limelight.Measurement(readings)
    return {
        metric: [list(group) for group in measured.alike(metric)] for metric in measured.metrics
    }


# ---- the runs ------------------------------------------------------------------------------------


def say(text: str) -> None:
    """Print a line with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def run(makes: dict[str, Make], store: Path, tried: Tried, draws: int) -> dict[str, Any]:
    """Run what the store does not have yet, and keep each record as soon as it is there."""
    records: dict[str, Any] = json.loads(store.read_text()) if store.exists() else {}

    def keep(key: str, record: dict[str, Any]) -> None:
        records[key] = record
        store.write_text(as_json(records, indent=1) + "\n")

    for name, make in makes.items():
        if name not in records:
            say(f"{name} begins")
            keep(name, record_of(make(None), tried))
        for seed in range(draws):
            key = f"{name}, random weights {seed}"
            if key not in records:
                subject, begun = make(seed), time.perf_counter()
                found = chosen(subject, tried)
                say(f"{key}: {found.sentence}")
                keep(key, base_record(subject, found, time.perf_counter() - begun))
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--photos", type=Path, required=True, help="a folder of photos")
    parser.add_argument("--weights", type=Path, help="a folder with NAME_imagenet.pth")
    parser.add_argument("--count", type=int, default=64, help="how many photos")
    parser.add_argument(
        "--further", type=int, default=0, help="photos beside those, for what ranked first"
    )
    parser.add_argument("--drawn", type=int, default=128, help="how many drawn pictures")
    parser.add_argument("--steps", type=int, default=800, help="of training the transformer")
    parser.add_argument("--methods", help="instead of those that `choose` tries")
    parser.add_argument("--metrics", help="instead of those that `choose` measures by")
    parser.add_argument("--draws", type=int, default=3, help="of random weights for each network")
    parser.add_argument("--only", nargs="+", help="names of networks")
    parser.add_argument("--store", type=Path, default=Path("choose.json"))
    parser.add_argument("--publish", action="store_true", help="write the tables into docs/")
    args = parser.parse_args()
    found = find_photos([args.photos])
    photos, beside = found[: args.count], found[args.count : args.count + args.further]
    makes: dict[str, Make] = {
        "embedded": partial(embedded, photos),
        "transformer": partial(shapes, args.drawn, args.steps, args.store.parent),
    }
    if args.weights is not None:
        for name in INPUTS:
            makes[name] = partial(of_torchvision, name, photos, args.weights)
    wanted = {name: make for name, make in makes.items() if not args.only or name in args.only}
    records = run(wanted, args.store, Tried(args.methods, args.metrics, beside), args.draws)
    medians = [record["seconds"] for record in records.values()]
    say(f"{len(records)} records, {statistics.median(medians):.0f} s in the median")
    if args.publish:
        publish(records)


if __name__ == "__main__":
    main()
