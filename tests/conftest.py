from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from limelight import Explanation

pytest.register_assert_rewrite("helpers")  # so that what failed there is shown as in a test
from helpers import tolerances  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("limelight")
    group.addoption(
        "--headroom",
        action="store_true",
        help="list the tests that use more than a tenth of what tolerances.py allows",
    )
    group.addoption(
        "--onednn", choices=["on", "off"], default="on", help="convolve with oneDNN, or without"
    )
    group.addoption(
        "--doctored",
        choices=sorted(DOCTORED),
        help="make every explanation wrong, a map by 1e-3 of its maximum in one cell or a score by "
        "1e-4 of itself: tests have to fail",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Let packages deprecate what other packages do; what is said of our own code is an error."""
    own = {path.stem for where in ("tests", "examples") for path in (ROOT / where).rglob("*.py")}
    ours = "|".join(sorted(own | {"limelight", "helpers", "oracles", "__main__"}))
    for kind in ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning"):
        # The module is the one that the warning is blamed on: who called what is deprecated.
        config.addinivalue_line("filterwarnings", rf"ignore::{kind}:(?!({ours})(\.|$))")
    # What torch says of the first Python 3.13.
    config.addinivalue_line("filterwarnings", "ignore:Guards may run slower:RuntimeWarning")


def in_one_cell(maps: torch.Tensor) -> torch.Tensor:
    """Maps `[B, *grid]` that are off in their first cell, by 1e-3 of their maximum."""
    wrong = torch.zeros_like(maps).flatten(1)
    wrong[:, 0] = 1e-3 * maps.detach().abs().flatten(1).amax(1)
    return maps + wrong.view_as(maps)


#: What is wrong with a doctored explanation, by the field that it is in.
DOCTORED = {
    "map": {"raw": in_one_cell, "heatmap": in_one_cell},
    "score": {"score": lambda score: score * (1 + 1e-4)},
}


@pytest.fixture(autouse=True, scope="session")
def _setting(pytestconfig: pytest.Config) -> None:
    # On few cores, threads that wait for each other cost small networks more than they save.
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.backends.mkldnn.enabled = pytestconfig.getoption("onednn") == "on"
    wrong = DOCTORED.get(pytestconfig.getoption("doctored") or "", {})
    made: Any = Explanation.__init__

    def doctored(self: Explanation, **fields: Any) -> None:
        made(self, **fields | {name: spoil(fields[name]) for name, spoil in wrong.items()})

    if wrong:
        Explanation.__init__ = doctored  # type: ignore[assignment, method-assign]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    path = ROOT.parent / "shared"
    if not path.is_dir():
        pytest.skip("the photos and numbers in ../shared, beside the repository, are not there")
    return path


# How much of their limits the comparisons of each test use


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
