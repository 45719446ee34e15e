"""How often an audit finds the cap that a network judges people by, and accuses its fair twin.

The networks and the photographs are those of `examples/bias`, with other seeds than docs/bias.md
has: a network that learned from caps that nearly determine the class, and its twin that learned
from evenly distributed ones. Each is audited on disjoint draws of new photographs, whose caps say
nothing about the class, and the first one also on photographs as biased as those it learned from.
Masks of the caps judge the evidence; the audit does not see them.

A kind of evidence is a cap if more than 80 % of its peaks lie in cells with a part of a cap.
"Cap first" counts the audits whose evidence with the largest excess of wrong answers is a cap, "cap
found" those with a finding that is a cap, and "other findings" those with any other finding.

It takes about ten minutes a seed on two idle cores.

    python benchmarks/audit_caps.py --seeds 11 12 --folder caps
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow.parquet
import torch
from PIL import Image
from rich.console import Console

from limelight.audits.data.views import PhotoViews
from limelight.audits.results import EvidenceCluster, Finding
from limelight.audits.rows.columns import AuditRows, as_arrays, write_rows
from limelight.audits.rows.looking import Looker, LookPlan
from limelight.audits.searches.cases import class_summaries
from limelight.audits.searches.conclusions import findings_of
from limelight.audits.searches.evidence import LEAST_HEAT, find_evidence
from limelight.audits.searches.placing import with_places
from limelight.audits.searches.related import sources_of
from limelight.audits.searches.removal import remove
from limelight.audits.searches.wrong_answers import with_wrong_answers
from limelight.metrics.photo_sources import digest_of_file
from limelight.models.network import Network
from measure import Table, report

sys.path.insert(0, str(Path(__file__).parent.parent / "examples" / "bias"))

import bias  # type: ignore[import-not-found]
from scenes import (  # type: ignore[import-not-found]
    CLASSES,
    SHARES,
    SIZE,
    deal_caps,
    draw_scene,
)

#: From which share of its peaks on a cap on evidence is a cap.
IS_CAP = 0.8

#: How many photographs go through the network at once.
BATCH = 20

QUIET = Console(quiet=True)


class AuditPhotos(NamedTuple):
    """Photographs to audit.

    Attributes:
        paths: Their files, `[N]`.
        kinds: Their classes, `[N]`.
        cap: The masks of the caps, `[N, H, W]`; only the judge reads them.
    """

    paths: list[Path]
    kinds: npt.NDArray[np.int_]
    cap: npt.NDArray[np.bool_]


def draw_photos(folder: Path, shares: str, count: int, seed: int, number: int) -> AuditPhotos:
    """Draw photographs, `count` per class, or read those that are there."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = np.arange(2 * count) % 2
    caps = deal_caps(kinds, SHARES[shares], np.random.default_rng([seed, 3, number]))
    paths, masks = [folder / f"{i:05d}.png" for i in range(2 * count)], folder / "caps.npy"
    if not masks.exists():
        drawn = []
        for i, path in enumerate(paths):
            scene = draw_scene(int(kinds[i]), int(caps[i]), [seed, number, i])
            scene.photo.save(path, compress_level=1)
            drawn.append(scene.cap)
        np.save(masks, np.stack(drawn))
    return AuditPhotos(paths, kinds, np.load(masks))


def learned(folder: Path, count: int, seed: int) -> dict[str, Network]:
    """Return the biased network and its twin; train them unless that was done."""
    models = {name: folder / f"{name}.pt" for name in SHARES}
    if not all(file.exists() for file in models.values()):
        folder.mkdir(parents=True, exist_ok=True)
        for name, photos in bias.draw_training(count, seed, QUIET).items():
            torch.save(bias.train(photos, 5, seed, QUIET, name).state_dict(), models[name])
    networks = {}
    for name, file in models.items():
        model = bias.Network().eval()
        model.load_state_dict(torch.load(file))
        networks[name] = Network(name, model, bias.PREPROCESS, CLASSES)
    return networks


def rows_of(network: Network, photos: AuditPhotos, cached: Path) -> AuditRows:
    """Return the rows of photographs; they are made once."""
    images = (bias.PREPROCESS(Image.open(path).convert("RGB")) for path in photos.paths)
    plan = LookPlan.make(network, next(images)[None])
    if not cached.exists():
        file = io.BytesIO()
        write_rows(file, list(_rows(Looker(network, plan), photos)), plan.form)
        cached.write_bytes(file.getvalue())
    return as_arrays(pyarrow.parquet.read_table(cached), plan.form)


def _rows(looker: Looker, photos: AuditPhotos) -> Iterator[dict[str, Any]]:
    for start in range(0, len(photos.paths), BATCH):
        paths = photos.paths[start : start + BATCH]
        images = [bias.PREPROCESS(Image.open(path).convert("RGB")) for path in paths]
        kinds = photos.kinds[start : start + BATCH]
        for path, kind, looked in zip(paths, kinds, looker.look(torch.stack(images)), strict=True):
            yield {
                **looked.columns,
                "photo": str(path),
                "digest": digest_of_file(path),
                "label": CLASSES[kind],
                "right": looked.columns["predicted"] == CLASSES[kind],
                "width": SIZE,
                "height": SIZE,
            }


def drawn(photos: AuditPhotos, count: int, number: int) -> npt.NDArray[np.bool_]:
    """Return which photographs one draw has, `[N]`: `count` of each class, none in two draws."""
    chosen = np.zeros(len(photos.kinds), bool)
    for kind in range(len(CLASSES)):
        chosen[np.flatnonzero(photos.kinds == kind)[number * count : (number + 1) * count]] = True
    return chosen


class Found(NamedTuple):
    """What an audit without the pixels found.

    Attributes:
        rows: The rows.
        evidence: The kinds of evidence.
        findings: The findings.
    """

    rows: AuditRows
    evidence: list[EvidenceCluster]
    findings: list[Finding]


def searched(rows: AuditRows) -> Found:
    """Search rows as an audit does, but for the pixels, which benchmarks/audit_marks.py tries."""
    sources = sources_of(rows)
    evidence = find_evidence(rows, sources, seed=0)
    evidence = with_wrong_answers(rows, sources, evidence, seed=0)
    evidence = with_places(rows, sources, evidence, seed=0)
    return Found(rows, evidence, findings_of(rows, evidence, ()))


def print_removal(network: Network, found: Found) -> None:
    """Print what removing the evidence of findings does, and that of right answers."""
    reported = {each.evidence.name for each in found.findings if each.evidence}
    good = [each for each in found.evidence if each.excess < -0.03]
    for each in [*(each for each in found.evidence if each.name in reported), *good]:
        sources, views = sources_of(found.rows), PhotoViews(network.preprocess)
        cut = remove(network, views, found.rows, sources, each, seed=0)
        if cut is not None:
            print(
                f"    without {each.name} ({'a finding' if each.name in reported else 'good'}): "
                f"{cut.change:+.2f}, random {cut.random_change:+.2f}, difference "
                f"[{cut.low:+.2f}, {cut.high:+.2f}]",
                flush=True,
            )


def on_cap(audit: Found, evidence: EvidenceCluster, cap: npt.NDArray[np.bool_]) -> float:
    """Return the share of the peaks of evidence whose cell has a part of a cap.

    Peaks count with at least half of the photo's highest heat, as for the audit.
    """
    peaks, (rows, columns) = audit.rows.peaks, audit.rows.maps.shape[1:]
    own = evidence.peaks[peaks.heat[evidence.peaks] >= LEAST_HEAT]
    high, wide = SIZE // rows, SIZE // columns
    cells = np.asarray(cap.reshape(-1, rows, high, columns, wide).any((2, 4)))
    return float(cells[peaks.photo[own], peaks.row[own], peaks.column[own]].mean())


@dataclass
class Counts:
    """What came of the audits of one network on one kind of photographs.

    Attributes:
        audits: How many there were.
        right: The shares of right answers.
        wrong: The numbers of wrong answers of each predicted class.
        first, found, others, untested: How many audits had the evidence of a cap first, a finding
            that is a cap, another finding, or too few wrong answers in both classes.
        purity: The share of the first evidence's peaks that is on caps.
        excess: Its excess.
    """

    audits: int = 0
    right: list[float] = field(default_factory=list)
    wrong: list[int] = field(default_factory=list)
    first: int = 0
    found: int = 0
    others: int = 0
    untested: int = 0
    purity: list[float] = field(default_factory=list)
    excess: list[float] = field(default_factory=list)

    def add(self, audit: Found, cap: npt.NDArray[np.bool_], told: str) -> None:
        """Count an audit, and print what it found."""
        ranked = sorted(audit.evidence, key=lambda each: -each.excess)
        purity = on_cap(audit, ranked[0], cap) if ranked else 0.0
        is_cap = [
            bool(each.evidence and on_cap(audit, each.evidence, cap) > IS_CAP)
            for each in audit.findings
        ]
        self.audits += 1
        self.right.append(float(audit.rows.right.mean()))
        classes = class_summaries(audit.rows, sources_of(audit.rows))
        self.wrong += [each.wrong or 0 for each in classes]
        self.first += purity > IS_CAP
        self.found += any(is_cap)
        self.others += not all(is_cap)
        self.untested += not any(each.tested for each in classes)
        self.purity.append(purity)
        self.excess.append(ranked[0].excess if ranked else np.nan)
        shown = [f"{each.kind} {each.title!r}" for each in audit.findings]
        first = f"{ranked[0].name} {ranked[0].excess:+.3f}, {purity:.2f} on caps" if ranked else "-"
        print(f"{told}: right {self.right[-1]:.2f}, first {first}; {shown}", flush=True)


def audits_of(
    folder: Path, seed: int, train: int, sizes: Sequence[int], draws: int
) -> Iterator[tuple[tuple[str, str, int], Found, npt.NDArray[np.bool_], str]]:
    """Yield each audit with what it is of, and the masks of its caps."""
    networks = learned(folder, train, seed)
    sets = {
        "balanced": draw_photos(folder / "balanced", "balanced", draws * max(sizes), seed, 1),
        "biased": draw_photos(folder / "biased", "biased", 200, seed, 7),
    }
    for shares, photos in sets.items():
        for name, network in networks.items():
            rows = rows_of(network, photos, folder / f"{name}-{shares}.parquet")
            for count in sizes:
                for number in range(min(draws, len(photos.kinds) // 2 // count)):
                    chosen = drawn(photos, count, number)
                    found = searched(rows.take(chosen))
                    told = f"seed {seed}, {name} network, {shares} photographs, {count} a class"
                    yield (name, shares, count), found, photos.cap[chosen], told
                    if shares == "balanced" and number == 0 and count == max(sizes):
                        print_removal(network, found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12])
    parser.add_argument("--train", type=int, default=200, help="photographs a class to learn from")
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 100], help="a class")
    parser.add_argument("--draws", type=int, default=5, help="audits of each network and size")
    parser.add_argument("--folder", type=Path, default=Path("limelight-out/caps"))
    parser.add_argument("--publish", action="store_true", help="write docs/benchmarks.md and .json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    counts = dict[tuple[str, str, int], Counts]()
    for seed in args.seeds:
        folder = args.folder / str(seed)
        for what, audit, cap, told in audits_of(folder, seed, args.train, args.sizes, args.draws):
            counts.setdefault(what, Counts()).add(audit, cap, told)
    table = Table(
        {
            **dict.fromkeys(("network", "photographs"), ""),
            "a class": "d",
            "audits": "d",
            "right": ".0%",
            "wrong a class": "",
            "cap first": "d",
            "cap found": "d",
            "other findings": "d",
            "too few wrong": "d",
            "first on caps": ".2f",
            "its excess": ".3f",
        }
    )
    for (name, shares, size), count in sorted(counts.items()):
        table.add(
            name,
            shares,
            size,
            count.audits,
            float(np.mean(count.right)),
            f"{min(count.wrong)} to {max(count.wrong)}",
            count.first,
            count.found,
            count.others,
            count.untested,
            float(np.mean(count.purity)),
            float(np.mean(count.excess)),
        )
    seeds = ", ".join(map(str, args.seeds))
    report("audit-caps", [table], told=f"seeds {seeds}", publish=args.publish)


if __name__ == "__main__":
    main()
