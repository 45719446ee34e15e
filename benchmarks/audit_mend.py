"""The circle closed: a biased network is audited, mended with what was found, and audited again.

    python benchmarks/audit_mend.py --seeds 31 32 33    # each took 24 minutes, on two busy cores

For each seed people are drawn as in `examples/bias`: photographs to learn from (biased), to audit
and to test on (both balanced: the cap says nothing). A network learns from the biased ones.

1. It is audited without masks: the audit reads photographs and labels alone.
2. The evidence to leave alone is chosen in two ways: what is reported of wrong answers, and what
   a person who looks at the crops would call a cap, of which the masks of the caps play the part:
   kinds of evidence with at least 80 % of their peaks on one.
3. That evidence is found again in the photographs it learned from, and the network learns on, with
   the share of the heat there as a second loss. A control learns on without that loss.
4. All are tested on photographs that nothing was chosen by, and audited again.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, max_pool2d

sys.path.insert(0, str(Path(__file__).parent.parent / "examples" / "bias"))

import bias  # type: ignore[import-not-found]
from scenes import (  # type: ignore[import-not-found]
    CLASSES,
    SHARES,
    deal_caps,
    draw_scene,
)

import limelight
from limelight.audits.pipeline import audit
from limelight.audits.results import Audit, EvidenceCluster
from limelight.metrics.intervals import difference, mean
from limelight.training import MapMonitor, evidence_masks, find_again, inside

#: How much of the peaks of a kind of evidence lies on caps, if a person would call it one.
CAPS_FROM = 0.8

BATCH = 20


class Set(NamedTuple):
    """Photographs, their files, and where caps and tools are."""

    photos: bias.Photos
    paths: list[Path]


def draw(folder: Path, count: int, seed: int, number: int, shares: str) -> Set:
    """Draw so many photographs of each class, and write them into folders named after these."""
    kinds = np.arange(2 * count) % 2
    caps = deal_caps(kinds, SHARES[shares], np.random.default_rng([seed, 10 + number]))
    scenes, paths = [], []
    for i, (kind, cap) in enumerate(zip(kinds, caps, strict=True)):
        scene = draw_scene(int(kind), int(cap), [seed, 10 + number, i])
        path = folder / CLASSES[kind] / f"{i:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        scene.photo.save(path)
        scenes.append(scene)
        paths.append(path)
    return Set(bias.Photos.of(scenes, kinds, caps), paths)


class Judge(nn.Module):
    """What learns of a network, as a network of its own: it takes what the frozen trunk saw."""

    def __init__(self, network: bias.Network) -> None:
        """Share the layers of a network."""
        super().__init__()
        self.features, self.head = network.features, network.head

    def forward(self, seen: Tensor) -> Tensor:
        """Return the logits, `[B, 2]`."""
        logits: Tensor = self.head(self.features(seen).mean((2, 3)))
        return logits


def seen_by(network: bias.Network, images: Tensor) -> Tensor:
    """Return what the trunk makes of images, which never changes, `[B, 40, 28, 28]`."""
    with torch.no_grad():
        return torch.cat([network.trunk(part) for part in torch.split(images, BATCH)])


def learn_on(
    network: bias.Network,
    seen: Tensor,
    kinds: Tensor,
    masks: Tensor | None,
    *,
    epochs: int,
    weight: float,
    seed: int,
    watch: Callable[[float], object] = lambda _epoch: None,
) -> None:
    """Let a network learn on, looking away from masks `[B, 28, 28]`.

    The maps are of the difference of both logits: what speaks for a class, and what speaks against
    the other, which would otherwise be a way round the loss.
    """
    judge = Judge(network)
    parameters = list(judge.parameters())
    optimizer = torch.optim.AdamW(parameters, 1e-3, weight_decay=1e-2)
    steps = epochs * -(-len(kinds) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps)
    shuffled = torch.Generator().manual_seed(seed)
    watch(0)
    for epoch in range(epochs):
        batches = torch.split(torch.randperm(len(kinds), generator=shuffled), BATCH)
        for number, rows in enumerate(batches, start=1):
            judge.train()
            loss = cross_entropy(judge(seen[rows]), kinds[rows])
            if masks is not None:
                own, other = kinds[rows].tolist(), (1 - kinds[rows]).tolist()
                target = limelight.Contrast(own, against=other, weight=1)
                result = limelight.explain(
                    judge, seen[rows], target=target, layer="features", differentiable=True
                )
                loss = loss + weight * inside(result, masks[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            if number % (len(batches) // 5) == 0:
                watch(round(epoch + number / len(batches), 2))
    network.eval()


def on_caps(found: Audit, evidence: EvidenceCluster, audited: Set) -> float:
    """Return the share of the peaks of evidence that lie on a cap, or in the cell beside it."""
    rows = found.rows
    number = {str(path): i for i, path in enumerate(audited.paths)}
    cap = nn.functional.adaptive_avg_pool2d(
        audited.photos.cap[:, None].float(), rows.maps.shape[1:]
    )
    near = max_pool2d(cap, 3, 1, 1)[:, 0].numpy() > 0.3
    peaks = evidence.peaks
    photo = [number[str(rows.photo[row])] for row in rows.peaks.photo[peaks]]
    return float(near[photo, rows.peaks.row[peaks], rows.peaks.column[peaks]].mean())


def summary(found: Audit, audited: Set) -> dict[str, Any]:
    """Return what an audit found, with the share of each kind of evidence on caps."""
    shares = {each.name: round(on_caps(found, each, audited), 2) for each in found.evidence}
    heat = [each.heat_share for each in found.evidence if shares[each.name] >= CAPS_FROM]
    classes = len({each.predicted for each in found.evidence})
    return {
        "findings": [finding.sentence for finding in found.findings],
        "evidence": [
            {
                "name": each.name,
                "photos": len(each.photos),
                "heat": round(each.heat_share, 2),
                "excess": round(each.excess, 3),
                "p": each.p,
                "on caps": shares[each.name],
            }
            for each in found.evidence
        ],
        "heat on evidence that is caps": round(sum(heat) / max(classes, 1), 2),
    }


def said_by(network: bias.Network, seen: Tensor) -> Tensor:
    """Return the predicted classes, `[B]`."""
    with torch.no_grad():
        classes: Tensor = Judge(network)(seen).argmax(1)
    return classes


def watching(network: bias.Network, tested: Set, folder: Path) -> MapMonitor:
    """Return a monitor of the maps of what is said of four photographs whose cap contradicts."""
    rows = [row for row in range(len(tested.paths)) if not tested.photos.agrees[row]][:4]
    return MapMonitor(
        limelight.Network("mended", network, bias.PREPROCESS, CLASSES),
        [tested.paths[row] for row in rows],
        masks=tested.photos.cap[rows],
        folder=folder,
    )


def circle(seed: int, out: Path, options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Go round once, and return the figures."""
    begun = time.perf_counter()
    folder = out / str(seed)
    learned = draw(folder / "learned", options.learn, seed, 0, "biased")
    audited = draw(folder / "audited", options.audit, seed, 1, "balanced")
    tested = draw(folder / "tested", options.test, seed, 2, "balanced")
    network = bias.train(learned.photos, 5, seed, console, "biased")

    def audited_by(name: str, model: bias.Network, photos: Sequence[Path]) -> Audit:
        subject = limelight.Network(name, model, bias.PREPROCESS, CLASSES)
        where = folder / f"audit-{name}"
        return audit(subject, photos, where, labels="folders", removal=False, report=options.report)

    # 1. The audit.
    first = audited_by("biased", network, audited.paths)
    # 2. What to look away from.
    reported = [each.evidence for each in first.findings if each.kind == "wrong" and each.evidence]
    caps = [each for each in first.evidence if on_caps(first, each, audited) >= CAPS_FROM]
    chosen = {"control": [], "findings": reported, "caps of the inventory": caps}
    # 3. Where that is in what the network learned from, and on it goes.
    rows = audited_by("biased-learned", network, learned.paths).rows
    seen, kinds = seen_by(network, learned.photos.images), learned.photos.kinds
    mended = dict[str, bias.Network]()
    marked = dict[str, int]()
    for name, evidence in chosen.items():
        again = [find_again(first, each, rows) for each in evidence]
        masks = evidence_masks(rows, again, learned.paths, (28, 28)) if again else None
        marked[name] = 0 if masks is None else int(masks.flatten(1).any(1).sum())
        mended[name] = copy.deepcopy(network)
        monitor = watching(mended[name], tested, folder / f"maps-{name.replace(' ', '-')}")
        learn_on(
            mended[name],
            seen,
            kinds,
            None if masks is None else masks.float(),
            epochs=options.epochs,
            weight=options.weight,
            seed=seed,
            watch=monitor,
        )
        monitor.film(folder / f"{name.replace(' ', '-')}.gif", fps=4)
    # 4. The test, and the audits after it.
    test_seen, right = seen_by(network, tested.photos.images), {}
    agrees = tested.photos.agrees
    for name, each in {"before": network, **mended}.items():
        right[name] = (said_by(each, test_seen) == tested.photos.kinds).double()
    after = {
        name: summary(audited_by(name.replace(" ", "-"), each, audited.paths), audited)
        for name, each in mended.items()
    }
    return {
        "seed": seed,
        "right": {name: asdict(mean(values, yes_or_no=True)) for name, values in right.items()},
        "right where the cap contradicts": {
            name: asdict(mean(values[~agrees], yes_or_no=True)) for name, values in right.items()
        },
        "more than the control": {
            name: asdict(difference(values, right["control"]))
            for name, values in right.items()
            if name != "control"
        },
        "photos with masks": marked,
        "audit before": summary(first, audited),
        "audits after": after,
        "seconds": round(time.perf_counter() - begun),
    }


def main() -> None:
    """Read the options, go round for each seed, and print and write the figures."""
    parser = argparse.ArgumentParser(description="Mend a network with what an audit found.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[31, 32, 33])
    parser.add_argument("--learn", type=int, default=250, help="photographs a class")
    parser.add_argument("--audit", type=int, default=200, help="photographs a class")
    parser.add_argument("--test", type=int, default=200, help="photographs a class")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--weight", type=float, default=1.0, help="of the loss on the map")
    parser.add_argument("--report", action="store_true", help="write the audits' reports, too")
    parser.add_argument("--out", type=Path, default=Path("audit-mend"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(stderr=True, quiet=True)
    for seed in options.seeds:
        figures = circle(seed, options.out, options, console)
        text = json.dumps(figures, indent=1, default=float)
        (options.out / f"{seed}.json").write_text(text)
        print(text, flush=True)


if __name__ == "__main__":
    main()
