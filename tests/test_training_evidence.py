"""Masks of the evidence that an audit found, and the same evidence in other rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import limelight
from helpers.audit_rows import made_rows
from limelight.audits.results import Audit, EvidenceCluster, Finding, Mark
from limelight.audits.rows.columns import AuditRows, Peaks
from limelight.errors import InputError, OptionError
from limelight.training import evidence_masks, find_again, inside


def rows_with(peaks: Sequence[tuple[int, int, int, Sequence[float]]], **columns: Any) -> AuditRows:
    """Return rows of photos on a grid of 4 x 4 with peaks: photo, row, column, features."""
    photo, row, column, features = zip(*peaks, strict=True)
    found = Peaks(
        np.array(photo),
        np.array(row),
        np.array(column),
        np.ones(len(peaks)),
        np.array(features, dtype=np.float32),
    )
    return made_rows(max(photo) + 1, peaks=found, **columns)


def kind(
    name: str, peaks: Sequence[int], rows: AuditRows, predicted: str = "cat"
) -> EvidenceCluster:
    numbers = np.array(peaks)
    photos = np.unique(rows.peaks.photo[numbers])
    return EvidenceCluster(name, predicted, numbers, photos, len(photos), 0.5, excess=0.1, p=0.01)


def audit_of(rows: AuditRows, *evidence: EvidenceCluster) -> Audit:
    return Audit(rows, len(rows), (), evidence, (), (), (), (), None, len(rows), {}, (), (), 0, {})


def finding_of(evidence: EvidenceCluster | None, mark: Mark | None = None) -> Finding:
    return Finding("wrong", "caps", "Caps.", "Relabel.", 0.1, evidence=evidence, mark=mark)


def test_the_cells_around_a_peak_are_marked_in_the_pixels_of_the_input() -> None:
    rows = rows_with([(0, 1, 2, [0.0]), (1, 0, 0, [0.0]), (1, 3, 3, [0.0]), (2, 2, 2, [0.0])])
    caps = kind("cat 1", [0, 1], rows)
    photos = ["photo1.png", "photo0.png", "photo2.png"]
    masks = evidence_masks(audit_of(rows, caps), caps, photos, (8, 12))
    due = torch.zeros(3, 8, 12, dtype=torch.bool)  # a cell has 2 x 3 pixels
    due[0, :4, :6] = True  # cells up to (1, 1) from the corner
    due[1, :6, 3:] = True  # cells (0, 1) to (2, 3)
    assert torch.equal(masks, due)
    only = evidence_masks(rows, caps, ["photo0.png"], (4, 4), around=0)
    assert only[0].nonzero().tolist() == [[1, 2]]


def test_several_findings_are_put_together() -> None:
    rows = rows_with([(0, 0, 0, [0.0]), (0, 3, 3, [0.0])])
    first, second = kind("cat 1", [0], rows), kind("cat 2", [1], rows)
    both = evidence_masks(rows, [finding_of(first), second], ["photo0.png"], (4, 4), around=0)
    assert both[0].nonzero().tolist() == [[0, 0], [3, 3]]


def test_a_mark_is_at_the_same_place_of_all_photos() -> None:
    rows = rows_with([(0, 0, 0, [0.0]), (1, 0, 0, [0.0])])
    pixels = np.zeros((80, 80), dtype=np.bool_)
    pixels[:40, 60:] = True
    mark = Mark("cat", pixels, (0.75, 0, 1, 0.5), 9, 0.01, 1.2, 50)
    masks = evidence_masks(rows, finding_of(None, mark), ["photo1.png", "photo0.png"], (8, 8))
    due = torch.zeros(8, 8, dtype=torch.bool)
    due[:4, 6:] = True
    assert torch.equal(masks, due.expand(2, 8, 8))
    with pytest.raises(InputError, match="one place in all photos"):
        find_again(audit_of(rows), finding_of(None, mark), rows)


def test_a_photo_that_is_not_among_the_rows_is_refused() -> None:
    rows = rows_with([(0, 0, 0, [0.0])])
    with pytest.raises(InputError, match=r"1 of the 2 photos .* 'photos/photo0.png' for one; the"):
        evidence_masks(rows, kind("cat 1", [0], rows), ["photo0.png", "photos/photo0.png"], (4, 4))
    with pytest.raises(OptionError, match="around is -1"):
        evidence_masks(rows, kind("cat 1", [0], rows), ["photo0.png"], (4, 4), around=-1)


def test_the_masks_fit_the_loss() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(2)
    )
    model = torch.nn.Sequential(model, torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten())
    rows = rows_with([(0, 1, 1, [0.0]), (1, 2, 2, [0.0])])
    masks = evidence_masks(rows, kind("cat 1", [0], rows), list(rows.photo), (8, 8))
    images = torch.rand(2, 3, 8, 8)
    result = limelight.explain(model, images, target=1, layer="0.1", differentiable=True)
    heat = result.raw[:1].relu()  # the other photo has no such evidence
    share = (heat * masks[:1]).sum() / heat.sum()
    assert float(inside(result, masks).detach()) == pytest.approx(float(share.detach()), rel=1e-5)


def two_kinds() -> tuple[Audit, EvidenceCluster, EvidenceCluster]:
    """An audit with two kinds of evidence: features near (0, 100) and near (1, 0)."""
    random = np.random.default_rng(0)
    caps = [(n, 0, 0, [0 + random.normal(0, 0.1), random.normal(100, 9)]) for n in range(12)]
    tools = [(n, 2, 2, [1 + random.normal(0, 0.1), random.normal(0, 9)]) for n in range(12)]
    rows = rows_with([*caps, *tools])
    first, second = kind("cat 1", range(12), rows), kind("cat 2", range(12, 24), rows)
    return audit_of(rows, first, second), first, second


def test_evidence_is_found_again_by_what_the_network_sees_there() -> None:
    audit, caps, tools = two_kinds()
    other = rows_with(
        [
            (0, 3, 3, [0.1, 90.0]),  # a cap at another place
            (1, 0, 0, [1.1, 5.0]),
            (2, 1, 1, [0.0, 100.0]),  # a cap
            (3, 1, 1, [0.0, 100.0]),  # a cap in a photo that is said to be a dog
        ],
        predicted=["cat", "cat", "cat", "dog"],
    )
    again = find_again(audit, finding_of(caps), other)
    assert again.peaks.tolist() == [2, 0]  # the nearest first
    assert again.photos.tolist() == [0, 2]
    assert again.name == "cat 1"
    assert np.isnan(again.p)
    assert again.right_with is None
    assert find_again(audit, tools, other).peaks.tolist() == [1]


def test_features_of_a_large_scale_do_not_decide_alone() -> None:
    # Without equal scales the second feature, of size 100, would say "tool" of both.
    audit, caps, _ = two_kinds()
    other = rows_with([(0, 0, 0, [-0.4, 45.0])])
    assert find_again(audit, caps, other).peaks.tolist() == [0]


def test_evidence_found_again_in_the_audit_itself_is_the_evidence() -> None:
    audit, caps, tools = two_kinds()
    for each in (caps, tools):
        assert sorted(find_again(audit, each, audit.rows).peaks) == sorted(each.peaks)


def test_features_of_another_layer_are_refused() -> None:
    audit, caps, _ = two_kinds()
    other = rows_with([(0, 0, 0, [0.0])])
    with pytest.raises(InputError, match="2 features and those of the rows 1"):
        find_again(audit, caps, other)


def test_small_classes_are_found_again_in_all_classes() -> None:
    audit, caps, tools = two_kinds()
    small = tuple(replace(each, predicted="") for each in (caps, tools))
    audit = replace(audit, evidence=small)
    other = rows_with([(0, 0, 0, [0.0, 100.0]), (1, 0, 0, [0.0, 99.0])], predicted=["cat", "dog"])
    assert sorted(find_again(audit, small[0], other).peaks) == [0, 1]
