from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from helpers.audits import audit_rows, gone
from helpers.planted_evidence import reordered
from limelight.audits.data.views import PhotoViews
from limelight.audits.results import EvidenceCluster, Removal
from limelight.audits.rows.columns import AuditRows, Peaks
from limelight.audits.searches import removal
from limelight.audits.searches.removal import remove
from limelight.metrics.imputation import impute
from limelight.models.network import Network
from limelight.photos.preprocess import Preprocess

SIDE, GRID = 64, 8

#: The whole photo, in numbers from 0 to 1.
WHOLE = Preprocess((SIDE, SIDE), (SIDE, SIDE), (0.0,) * 3, (1.0,) * 3)


class SaysBlue(nn.Module):
    """Says the second class where any pixel is much more blue than red."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float32))

    def forward(self, images: Tensor) -> Tensor:
        blue = (images[:, 2] - images[:, 0]).flatten(1).amax(1) - 0.5
        return torch.stack([-blue, blue], 1) * self.scale


NETWORK = Network("says blue", SaysBlue(), WHOLE, ("red", "blue"))


class Drawn:
    """Photos with a blue and a red square each, in grey; some are called red."""

    def __init__(self, folder: Path, wrong: Sequence[bool]) -> None:
        count, random = len(wrong), np.random.default_rng(3)
        cells = [
            random.permutation([(i, j) for i in (1, 4, 6) for j in (1, 4, 6)])[:2] for _ in wrong
        ]
        paths = [str(folder / f"{number:03d}.png") for number in range(count)]
        maps = np.zeros((count, GRID, GRID))
        for number, (blue, red) in enumerate(cells):
            pixels = np.full((SIDE, SIDE, 3), 128, np.uint8)
            for (i, j), colour in ((blue, (20, 20, 240)), (red, (240, 20, 20))):
                pixels[8 * i : 8 * i + 8, 8 * j : 8 * j + 8] = colour
                maps[number, i, j] = 1
            Image.fromarray(pixels).save(paths[number])
        spots = np.array(cells).reshape(-1, 2)
        peaks = Peaks(
            np.repeat(np.arange(count), 2),
            spots[:, 0],
            spots[:, 1],
            np.ones(2 * count, np.float32),
            np.zeros((2 * count, 1), np.float32),
        )
        self.rows = audit_rows(
            count,
            maps,
            peaks=peaks,
            photo=paths,
            digest=[f"{number * 7919 % 1000:03d}" for number in range(count)],
            label=["red" if each else "blue" for each in wrong],
            predicted=["blue"] * count,
            right=[0.0 if each else 1.0 for each in wrong],
        )
        self.views = PhotoViews(WHOLE)
        self.sources = np.arange(count)

    def evidence(self, number: int) -> EvidenceCluster:
        """Return the blue squares, 0, or the red ones, 1."""
        photos = np.arange(len(self.rows))
        return EvidenceCluster("blue 1", "blue", 2 * photos + number, photos, len(photos), 0.5)

    def remove(self, number: int, **options: Any) -> Removal | None:
        settings: dict[str, Any] = {"seed": 0, **options}
        network = settings.pop("network", NETWORK)
        rows = settings.pop("rows", self.rows)
        views = settings.pop("views", self.views)
        sources = settings.pop("sources", self.sources)
        return remove(network, views, rows, sources, self.evidence(number), **settings)


@pytest.fixture
def photos(tmp_path: Path) -> Drawn:
    return Drawn(tmp_path, [number % 3 == 0 for number in range(18)])  # six are wrong


def test_removing_what_decides_changes_every_answer(photos: Drawn) -> None:
    found = photos.remove(0)
    assert found is not None
    assert (found.right, found.wrong) == (12, 6)
    assert (found.right_lost, found.wrong_mended) == (1, 1)
    assert found.change == pytest.approx(-12 / 18 + 6 / 18)
    assert abs(found.random_change) < abs(found.change)


def test_removing_what_the_network_does_not_look_at_changes_nothing(photos: Drawn) -> None:
    found = photos.remove(1)
    assert found is not None
    assert (found.right_lost, found.wrong_mended, found.change) == (0, 0, 0)


def test_the_interval_is_that_of_the_difference_from_random_holes(photos: Drawn) -> None:
    found = photos.remove(0)
    assert found is not None
    assert found.low <= found.change - found.random_change <= found.high
    assert found.high < 0


def test_photos_of_one_source_are_drawn_together(tmp_path: Path) -> None:
    photos = Drawn(tmp_path, [False] * 18)
    half = np.arange(18) >= 9  # of these, what the network does not look at
    mixed = replace(photos.evidence(0), peaks=2 * np.arange(18) + half)
    rows, views, films = photos.rows, photos.views, 2 * half + np.arange(18) % 2
    alone = remove(NETWORK, views, rows, photos.sources, mixed, seed=0)
    together = remove(NETWORK, views, rows, films, mixed, seed=0)
    assert alone is not None
    assert together is not None
    assert together.change == alone.change == -0.5
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_at_most_24_answers_of_a_kind_are_tried(tmp_path: Path) -> None:
    photos = Drawn(tmp_path, [number < 30 for number in range(60)])
    told = list[tuple[str, int, int]]()
    found = photos.remove(0, progress=lambda *done: told.append(done))
    assert found is not None
    assert (found.right, found.wrong) == (24, 24)
    assert told[-1] == ("painting over evidence", 48, 48)


def test_the_random_hole_has_the_same_shape_and_lies_elsewhere(
    photos: Drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    holes = []

    def seen(images: Tensor, removed: Tensor) -> Tensor:
        holes.append(removed.numpy())
        return impute(images, removed)

    monkeypatch.setattr(removal, "impute", seen)
    photos.remove(0)
    assert len(holes) == 18
    for evidence, other in holes:
        assert evidence.sum() == other.sum() > 0
        assert not (evidence & other).any()
        assert shape(evidence) == shape(other)


def shape(hole: Any) -> bytes:
    down, across = np.nonzero(hole)
    part = hole[down.min() : down.max() + 1, across.min() : across.max() + 1]
    content: bytes = part.tobytes()
    return bytes(part.shape) + content


def test_the_hole_covers_the_evidence_and_its_rim(
    photos: Drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seen(images: Tensor, removed: Tensor) -> Tensor:
        blue = (images[0, 2] - images[0, 0]) > 0.3
        assert bool((removed[0] | ~blue).all())
        made = impute(images, removed)
        assert float((made[0, 2] - made[0, 0]).max()) < 0.3
        return made

    monkeypatch.setattr(removal, "impute", seen)
    assert photos.remove(0) is not None


def test_the_order_of_the_rows_does_not_matter(photos: Drawn) -> None:
    order = np.random.default_rng(0).permutation(18)
    rows = reordered(photos.rows, order)
    blue = photos.rows.peaks.row[::2], photos.rows.peaks.column[::2]
    place = {photo: (int(i), int(j)) for photo, i, j in zip(photos.rows.photo, *blue, strict=True)}
    peaks = [
        number
        for number in range(len(rows.peaks))
        if place[rows.photo[rows.peaks.photo[number]]]
        == (rows.peaks.row[number], rows.peaks.column[number])
    ]
    moved = replace(photos.evidence(0), peaks=np.array(peaks))
    found = remove(NETWORK, photos.views, rows, order, moved, seed=0)
    assert found == photos.remove(0)


def test_a_label_that_is_another_name_of_the_class_counts(photos: Drawn) -> None:
    labels = np.where(photos.rows.label == "blue", "azure", photos.rows.label).astype(object)
    found = photos.remove(0, rows=replace(photos.rows, label=labels))
    assert found == photos.remove(0)


def test_a_label_that_is_the_index_of_a_class_counts(photos: Drawn) -> None:
    named = photos.remove(0)
    labels = np.where(photos.rows.label == "red", "0", "1").astype(object)
    photos.rows = replace(photos.rows, label=labels)
    assert named is not None
    assert named.wrong_mended > 0
    assert photos.remove(0) == named


def without_labels(rows: AuditRows) -> AuditRows:
    nothing = np.full(len(rows), "", dtype=object)
    return replace(rows, label=nothing, right=np.full(len(rows), np.nan))


def test_without_labels_nothing_is_tried(photos: Drawn) -> None:
    assert photos.remove(0, rows=without_labels(photos.rows)) is None


def test_photos_that_are_gone_are_left_out(photos: Drawn) -> None:
    assert photos.remove(0, views=PhotoViews(WHOLE, gone)) is None
    Path(photos.rows.photo[1]).unlink()
    found = photos.remove(0)
    assert found is not None
    assert found.right + found.wrong == 17


def test_a_network_that_does_not_answer_with_one_class_is_not_tried(photos: Drawn) -> None:
    class Maps(SaysBlue):
        def forward(self, images: Tensor) -> Tensor:
            return images

    network = replace(NETWORK, model=Maps())
    assert photos.remove(0, network=network) is None
