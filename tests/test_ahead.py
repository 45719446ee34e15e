"""Work done in threads: in order, not too far ahead, and ended with the caller."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count, islice

import pytest

from limelight.ahead import ahead


def test_results_come_in_the_order_of_the_items() -> None:
    first = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert first.wait(10)  # until a later one is done
        first.set() if item == 1 else None
        return item * item

    assert list(ahead(work, range(5), threads=2, count=3)) == [0, 1, 4, 9, 16]


def test_no_more_items_are_taken_than_may_be_waiting() -> None:
    taken = list[int]()

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    results = ahead(lambda item: item, items(), threads=2, count=3)
    assert next(results) == 0
    assert len(taken) == 4
    assert next(results) == 1
    assert len(taken) == 5


def test_items_are_taken_in_the_callers_thread() -> None:
    def items() -> Iterator[int]:
        yield threading.get_ident()

    assert list(ahead(lambda item: item, items(), threads=1, count=1)) == [threading.get_ident()]


def test_an_error_is_raised_in_its_turn() -> None:
    def work(item: int) -> int:
        if item == 2:
            raise ValueError("the third")
        return item

    results = ahead(work, range(5), threads=2, count=4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="the third"):
        next(results)


def test_when_the_caller_stops_nothing_goes_on() -> None:
    before = threading.active_count()
    results = ahead(lambda item: item, count(), threads=2, count=5)
    assert list(islice(results, 3)) == [0, 1, 2]
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
