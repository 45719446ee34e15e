from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import tolerances


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    # On few cores, threads that wait for each other cost small networks more than they save.
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    path = Path(__file__).resolve().parents[2] / "shared"
    if not path.is_dir():
        pytest.skip("the photos and numbers in ../shared, beside the repository, are not there")
    return path


# How much of their limits the comparisons of each test use


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--headroom",
        action="store_true",
        help="list the tests that use more than a tenth of what tolerances.py allows",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    tolerances.used.clear()
    try:
        return (yield)
    finally:
        if tolerances.used:  # with the report, from other processes too
            item.user_properties.append(("headroom", max(tolerances.used, key=lambda u: u[0])))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if not config.getoption("headroom"):
        return
    shares = [
        (*value, report.nodeid)
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if report.when == "call" and name == "headroom"
    ]
    close = sorted((one for one in shares if one[0] > 0.1), key=lambda one: -one[0])
    terminalreporter.section(f"{len(close)} of {len(shares)} tests use over a tenth of their limit")
    for share, limit, nodeid in close:
        terminalreporter.write_line(f"{share:4.0%} {nodeid}: {limit or 'no reason given'}")
