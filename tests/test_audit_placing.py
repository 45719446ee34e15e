"""Whether evidence keeps to one place: planted places, and chance."""

from __future__ import annotations

import math

import numpy as np
import pytest

from helpers.audit_rows import made_rows
from limelight.audits.results import EvidenceCluster
from limelight.audits.rows.columns import AuditRows, Numbers, Peaks
from limelight.audits.searches.placing import BORDER_LIMIT, PLACE_LIMIT, with_places

GRID = (10, 14)


def _rows(cells: np.ndarray, photo: np.ndarray, *, predicted: str = "cat") -> AuditRows:
    """Return rows with peaks in these cells `[P, 2]` of these photos `[P]`."""
    count, peaks = int(photo.max()) + 1, len(photo)
    found = Peaks(photo, cells[:, 0], cells[:, 1], np.ones(peaks), np.zeros((peaks, 2)))
    maps = np.ones((count, *GRID), np.float16)
    return made_rows(count, peaks=found, maps=maps, predicted=[predicted] * count)


def _evidence(rows: AuditRows, sources: Numbers, peaks: np.ndarray) -> EvidenceCluster:
    photos = np.unique(rows.peaks.photo[peaks])
    count = len(np.unique(sources[photos]))
    return EvidenceCluster("cat 1", str(rows.predicted[photos[0]]), peaks, photos, count, 0.5)


def _scattered(drawn: np.random.Generator, count: int) -> np.ndarray:
    return drawn.integers((0, 0), GRID, (count, 2))


def _slow(rows: AuditRows, sources: Numbers, peaks: np.ndarray, draws: int) -> tuple[float, float]:
    """Return both z as they are defined, a draw and a peak at a time."""
    drawn = np.random.default_rng(77)
    where = [
        ((r + 0.5) / GRID[0], (c + 0.5) / GRID[1])
        for r, c in zip(rows.peaks.row.tolist(), rows.peaks.column.tolist(), strict=True)
    ]
    of = sources[rows.peaks.photo].tolist()

    def figures(chosen: list[int]) -> tuple[float, float]:
        down = sum(where[i][0] for i in chosen) / len(chosen)
        across = sum(where[i][1] for i in chosen) / len(chosen)
        away = sum((where[i][0] - down) ** 2 + (where[i][1] - across) ** 2 for i in chosen)
        edge = sum(min(v for x in where[i] for v in (x, 1 - x)) for i in chosen)
        return math.sqrt(away / len(chosen)), edge / len(chosen)

    wanted = len({of[i] for i in peaks.tolist()})
    chance = []
    for _ in range(draws):
        order = drawn.permutation(sorted(set(of))).tolist()
        pool = [i for i, source in enumerate(of) if source in order[:wanted]]
        for source in order[wanted:]:
            if len(pool) >= len(peaks):
                break
            pool += [i for i, other in enumerate(of) if other == source]
        chance.append(figures(drawn.permutation(pool)[: len(peaks)].tolist()))
    own, drawn_figures = figures(peaks.tolist()), np.array(chance)
    spread, edge = (drawn_figures.mean(0) - own) / drawn_figures.std(0)
    return float(spread), float(edge)


def test_both_deviations_are_those_of_a_slow_count() -> None:
    drawn = np.random.default_rng(3)
    photo = np.repeat(np.arange(60), 3)
    cells = _scattered(drawn, 180)
    sources = np.arange(60) // 2  # two photos each
    peaks = np.flatnonzero((cells[:, 0] < 6) & (photo % 3 > 0))[:40]
    rows = _rows(cells, photo)
    (found,) = with_places(rows, sources, [_evidence(rows, sources, peaks)], seed=1)
    place, border = _slow(rows, sources, peaks, 1500)
    assert found.place == pytest.approx(place, rel=0.15, abs=0.2)
    assert found.border == pytest.approx(border, rel=0.15, abs=0.2)
    mean = ((cells[peaks] + 0.5) / GRID).mean(0)
    assert found.centre == pytest.approx(tuple(mean))


def test_a_stamp_is_found_by_its_place_and_a_frame_by_the_border() -> None:
    drawn = np.random.default_rng(0)
    photo = np.repeat(np.arange(80), 3)
    cells = _scattered(drawn, 240)
    stamped, framed = np.arange(0, 240, 3), np.arange(1, 240, 3)
    cells[stamped] = np.array([8, 10]) + drawn.integers(-1, 2, (80, 2))
    around = drawn.integers(0, GRID[1], 80)
    cells[framed] = np.where(drawn.random((80, 1)) < 0.5, 0, [[9, 0]])
    cells[framed, 1] = around
    rows, sources = _rows(cells, photo), np.arange(80)
    given = [_evidence(rows, sources, peaks) for peaks in (stamped, framed, np.arange(2, 240, 3))]
    stamp, frame, rest = with_places(rows, sources, given, seed=0)
    assert stamp.place > PLACE_LIMIT
    assert frame.border > BORDER_LIMIT
    assert frame.place < 0
    assert max(rest.place, stamp.border, rest.border) < 3
    # The mean cell is (8, 10), of 10 x 14.
    assert stamp.centre == pytest.approx((0.85, 0.75), abs=0.03)


def test_the_sides_of_a_frame_are_taken_together_and_compared_with_the_other_peaks() -> None:
    drawn = np.random.default_rng(6)
    photo = np.repeat(np.arange(60), 4)
    cells = drawn.integers((2, 2), (GRID[0] - 2, GRID[1] - 2), (240, 2))
    sides = []
    for side, (axis, cell) in enumerate([(0, 0), (0, GRID[0] - 1), (1, 0), (1, GRID[1] - 1)]):
        chosen = np.flatnonzero((photo % 4 == side) & (np.arange(240) % 4 < 2))
        cells[chosen, axis] = cell
        sides.append(chosen)
    rows, sources = _rows(cells, photo), np.arange(60) // 2
    inside = np.flatnonzero(~np.isin(np.arange(240), np.concatenate(sides)))
    given = [_evidence(rows, sources, peaks) for peaks in (*sides, inside)]
    *framed, rest = with_places(rows, sources, given, seed=0)
    distance = np.minimum((cells + 0.5) / GRID, 1 - (cells + 0.5) / GRID).min(1)
    # A quarter of the 120 peaks inside is drawn, of as many sources as the frame has: all.
    chance = [drawn.permutation(distance[inside])[:30].mean() for _ in range(2000)]
    expected = (np.mean(chance) - distance[np.concatenate(sides)].mean()) / np.std(chance)
    assert [each.border for each in framed] == [pytest.approx(expected, rel=0.15)] * 4
    assert expected > BORDER_LIMIT
    assert rest.border < 0
    # Where the border is nearly all that the class looks at, there is too little to compare with.
    rows.peaks.row[inside[3:]] = 0
    few = [_evidence(rows, sources, peaks) for peaks in (*sides, inside[3:])]
    assert all(each.border < BORDER_LIMIT for each in with_places(rows, sources, few, seed=0))


def test_evidence_drawn_by_chance_has_the_deviations_of_chance() -> None:
    drawn = np.random.default_rng(5)
    found = []
    for number in range(100):
        photo = np.repeat(np.arange(40), 3)
        cells = _scattered(drawn, 120)
        rows, sources = _rows(cells, photo), np.arange(40)
        peaks = np.flatnonzero(np.isin(photo, drawn.permutation(40)[:30]))
        peaks = drawn.permutation(peaks)[:40]
        (each,) = with_places(rows, sources, [_evidence(rows, sources, peaks)], seed=number)
        found.append((each.place, each.border))
    # Of 100 normal deviations 5 are expected above 1.645, and 12 or more once in 300 times.
    assert ((np.array(found) > 1.645).sum(0) < 13).all()
    assert np.abs(np.array(found)).max() < 4.5
    assert np.std(found, axis=0) == pytest.approx((1, 1), abs=0.3)


def test_few_scenes_are_not_taken_for_many_witnesses() -> None:
    drawn = np.random.default_rng(8)
    scene, photo = np.arange(200) // 10, np.arange(200)  # 20 scenes, each with its own place
    found = []
    for _ in range(30):
        rows = _rows(_scattered(drawn, 20)[scene], photo)
        own = np.flatnonzero(np.isin(scene, drawn.permutation(20)[:4]))
        found.append(
            [
                with_places(rows, of, [_evidence(rows, of, own)], seed=0)[0].place
                for of in (photo, scene)
            ]
        )
    alone, together = np.abs(found).T
    assert (alone > 3).sum() >= 8
    assert (together > 3).sum() <= 2


def test_many_peaks_do_not_make_a_habit_a_place() -> None:
    drawn = np.random.default_rng(2)
    cells = np.clip(drawn.normal((5, 7), (2.5, 3.5), (20_000, 2)), 0, (9, 13)).astype(int)
    lower = np.flatnonzero(cells[:, 0] > 5)  # it is below the middle, and nothing else
    rows, sources = _rows(cells, np.arange(20_000)), np.arange(20_000)
    (found,) = with_places(rows, sources, [_evidence(rows, sources, lower)], seed=0)
    assert 2 < found.place < PLACE_LIMIT


def test_the_order_of_the_rows_changes_nothing_but_the_draws() -> None:
    drawn = np.random.default_rng(1)
    cells, photo = _scattered(drawn, 120), np.arange(120)
    cells[:30] = (2, 3)
    order = drawn.permutation(120)
    rows, again = _rows(cells, photo), _rows(cells[order], photo)
    peaks = np.flatnonzero(order < 30)
    (first,) = with_places(rows, photo, [_evidence(rows, photo, np.arange(30))], seed=0)
    (second,) = with_places(again, photo, [_evidence(again, photo, peaks)], seed=0)
    assert first.place == pytest.approx(second.place, rel=0.1)
    assert first.centre == pytest.approx(second.centre)
    (repeated,) = with_places(rows, photo, [first], seed=0)
    assert (repeated.place, repeated.border) == (first.place, first.border)


def test_nothing_is_said_of_few_sources_of_all_peaks_or_of_peaks_in_one_cell() -> None:
    drawn = np.random.default_rng(1)
    cells, photo = _scattered(drawn, 60), np.arange(60)
    rows = _rows(cells, photo)
    few = photo % 9
    (of_few,) = with_places(rows, few, [_evidence(rows, few, np.arange(20))], seed=0)
    (of_all,) = with_places(rows, photo, [_evidence(rows, photo, np.arange(60))], seed=0)
    still = _rows(np.full((60, 2), 4), photo)
    (in_one,) = with_places(still, photo, [_evidence(still, photo, np.arange(20))], seed=0)
    for found in (of_few, of_all, in_one):
        assert math.isnan(found.place)
        assert math.isnan(found.border)
        assert all(0 < each < 1 for each in found.centre)
    assert with_places(rows, photo, [], seed=0) == []


def test_small_classes_are_compared_together_and_photos_without_a_map_are_left_out() -> None:
    drawn = np.random.default_rng(4)
    cells, photo = _scattered(drawn, 200), np.arange(200)
    cells[100:140] = (5, 5)
    rows = _rows(cells, photo)
    rows.predicted[:100] = "dog"
    rows.predicted[100:] = [f"class{i % 10}" for i in range(100)]
    dogs, small = _evidence(rows, photo, np.arange(30)), _evidence(rows, photo, np.arange(100, 140))
    small = EvidenceCluster("small classes 1", "", small.peaks, small.photos, small.sources, 0.4)
    found = with_places(rows, photo, [dogs, small], seed=0)
    assert abs(found[0].place) < 3.5
    assert found[1].place > 4
    rows.status[140:] = "flat"  # now the small classes have these peaks alone
    assert math.isnan(with_places(rows, photo, [dogs, small], seed=0)[1].place)
