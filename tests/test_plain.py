"""What is written as JSON is JSON, and comes back as it was."""

from __future__ import annotations

import ast
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import limelight
from helpers.networks import PoolLinear, ready
from limelight.metrics.journal import Journal
from limelight.metrics.measurement import Measurement
from limelight.metrics.photo_measurement import MeasureSpec, PhotoMeasured
from limelight.plain import as_json, from_json_number, spelled, to_json_number

SOURCE = Path(limelight.__file__).parent
ODD = (math.nan, math.inf, -math.inf)


def strictly(text: str) -> Any:
    """Parse JSON as its standard says, without NaN and Infinity."""

    def refuse(token: str) -> None:
        raise AssertionError(token)

    return json.loads(text, parse_constant=refuse)


def measured() -> Measurement:
    """A measurement with numbers that JSON does not have."""
    model, images = ready(PoolLinear(), torch.float32), torch.randn(4, 3, 8, 8)
    maps = limelight.explain(model, images)
    whole = limelight.measure(model, images, maps, metrics=["deletion:steps=3"])
    plain = whole.as_dict()
    for values in plain["readings"][0]["numbers"].values():
        values["value"] = [None, "Infinity", "-Infinity", 0.1]
    plain["readings"][0]["curves"]["own"]["curve"][0] = "Infinity"
    return Measurement.from_dict(plain)


def readings(one: Measurement) -> dict[str, Any]:
    (maps,) = one.readings.values()
    return {
        f"{whose} {name}": values.numpy()
        for whose in ("own", "random", "centre")
        for name, values in {**maps.values[whose], **maps.curve_sums[whose]}.items()
    }


def assert_same(one: Measurement, other: Measurement) -> None:
    np.testing.assert_equal(readings(one), readings(other))


def test_json_has_null_for_what_it_has_no_number_for() -> None:
    value = {"a": [*ODD, 0.5], "b": (math.nan, {"c": math.inf}), "d": "NaN", "e": 3, "f": True}
    found = strictly(as_json(value))
    assert found == {
        "a": [None, None, None, 0.5],
        "b": [None, {"c": None}],
        "d": "NaN",
        "e": 3,
        "f": True,
    }


@pytest.mark.parametrize("value", [*ODD, 0.1, -0.0, 1e-320, 5e300])
def test_a_number_comes_back_as_it_was(value: float) -> None:
    np.testing.assert_equal(from_json_number(strictly(json.dumps(to_json_number(value)))), value)
    np.testing.assert_equal(float(spelled(value)), value)


def test_a_measurement_is_saved_as_json_and_comes_back(tmp_path: Path) -> None:
    one = measured()
    assert len(readings(one)) == 6
    text = one.save(tmp_path / "m.json").read_text()
    assert strictly(text)["readings"][0]["numbers"]["own"]["value"][:2] == [None, "Infinity"]
    assert_same(Measurement.load(tmp_path / "m.json"), one)
    assert_same(Measurement.from_dict(strictly(json.dumps(one.as_dict()))), one)


def test_a_journal_is_json_and_comes_back(tmp_path: Path) -> None:
    photo, path, asked = tmp_path / "a.png", tmp_path / "readings.jsonl", MeasureSpec([], [])
    book = Journal(path, {"model": "net"}, [photo], asked)
    one = measured()
    book.keep(PhotoMeasured(photo, one))
    for line in path.read_text().splitlines():
        strictly(line)
    again = Journal(path, {"model": "net"}, [photo], asked)
    assert again.done == {str(photo)}
    assert_same(again.total, one)


def test_a_journal_with_the_tokens_of_earlier_versions_is_read(tmp_path: Path) -> None:
    photo, path, asked = tmp_path / "a.png", tmp_path / "readings.jsonl", MeasureSpec([], [])
    one = measured()
    Journal(path, {"model": "net"}, [photo], asked).keep(PhotoMeasured(photo, one))
    path.write_text(path.read_text().replace('"Infinity"', "Infinity").replace("null", "NaN"))
    assert_same(Journal(path, {"model": "net"}, [photo], asked).total, one)


def test_only_one_place_writes_json() -> None:
    found = set[str]()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("json.dumps", "json.dump"):
                found.add(path.name)
    assert found == {"plain.py"}
