"""Names that were replaced."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path

import pytest

import limelight
from helpers.commands import save_photo
from limelight.deprecations import DEPRECATIONS, Deprecation, LimelightDeprecationWarning

PAGE = (Path(__file__).parent.parent / "docs" / "deprecations.md").read_text()


def minor(version: str) -> tuple[int, int]:
    first, second, *_ = map(int, version.split("."))
    return first, second


@pytest.mark.parametrize("row", DEPRECATIONS, ids=str)
def test_no_name_outlives_its_release(row: Deprecation) -> None:
    assert minor(limelight.__version__) < minor(row.goes), "take the row and its page's line out"
    first, second = minor(row.since)
    assert minor(row.goes) == (first, second + 2)
    old, new = row.old, row.new
    if row.function:
        old, new = f"{row.function}({old}=...)", f"{row.function}({new}=...)"
        assert row.new in inspect.signature(getattr(limelight, row.function)).parameters
        assert row.old not in inspect.signature(getattr(limelight, row.function)).parameters
    else:
        old, new = f"limelight.{old}", f"limelight.{new}"
        assert row.new in limelight.__all__
        assert row.old not in limelight.__all__
    assert f"| `{old}` | `{new}` | {row.since} | {row.goes} |" in PAGE


@pytest.mark.parametrize("row", [row for row in DEPRECATIONS if not row.function], ids=str)
def test_an_old_name_is_the_new_one_with_a_warning(row: Deprecation) -> None:
    with pytest.warns(LimelightDeprecationWarning) as warned:
        found = getattr(limelight, row.old)
    assert found is getattr(limelight, row.new)
    (warning,) = warned
    assert warning.filename == __file__
    assert str(warning.message) == (
        f"limelight.{row.old} is called limelight.{row.new} since limelight {row.since}, and goes "
        f"in {row.goes}."
    )


def test_an_old_argument_is_the_new_one_with_a_warning(tmp_path: Path) -> None:
    photo, network = save_photo(tmp_path / "a.png"), limelight.load_model(weights="none")
    said = "the argument 'paths' of explain_photos\\(\\) is called 'photos' since limelight 0.1"
    with pytest.warns(LimelightDeprecationWarning, match=said) as warned:
        (old,) = limelight.explain_photos(network, paths=[photo])  # type: ignore[call-arg]
    assert warned[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (new,) = limelight.explain_photos(network, photos=[photo])
    assert old.explanations[0].label == new.explanations[0].label


def test_an_old_argument_beside_the_new_one_is_refused() -> None:
    network = limelight.load_model(weights="none")
    with pytest.raises(limelight.LimelightError, match="has no argument 'paths'"):
        limelight.explain_photos(network, photos=["a.png"], paths=["b.png"])  # type: ignore[call-arg]


def test_a_name_that_never_was_is_still_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'compare_run'"):
        _ = limelight.compare_run
    with pytest.raises(limelight.LimelightError, match="has no argument 'path'"):
        limelight.explain_photos(limelight.load_model(weights="none"), path=[])  # type: ignore[call-arg]
