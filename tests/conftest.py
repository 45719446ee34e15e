from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from limelight import Explanation

ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("limelight", "what scripts/elsewhere asks for")
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
    ours = "|".join(sorted(own | {"limelight", "oracles", "__main__"}))
    for kind in ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning"):
        # The module is the one that the warning is blamed on: who called what is deprecated.
        config.addinivalue_line("filterwarnings", rf"ignore::{kind}:(?!({ours})(\.|$))")


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
