"""Scores of targets: what is read, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from limelight.errors import TargetError
from limelight.targets import OutputSpec, Scores, TargetContext, as_target

Pick = Any


def scored(
    output: Any,
    target: Any,
    batch: int,
    size: tuple[int, ...] = (8, 8),
    *,
    classes: list[str] | None = None,
    pick: Pick = None,
    words: bool = False,
) -> Scores:
    found = as_target(target).score(
        output, TargetContext(batch, size, OutputSpec(classes, pick), words)
    )
    # Whatever the target, the same output has the same scores again, in any order and repeated.
    everything = torch.arange(batch)
    assert torch.equal(found.read_again(output, everything), found.values)
    return found


def refused(output: Any, target: Any, batch: int, text: str, size: Any = (8, 8)) -> None:
    with pytest.raises(TargetError, match=text):
        as_target(target).score(output, TargetContext(batch, size, OutputSpec()))


def rows_of(output: Tensor, rows: list[int]) -> Tensor:
    return output[torch.tensor(rows)]
