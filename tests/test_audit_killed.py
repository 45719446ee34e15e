"""Audits that are killed, interrupted, or run out of disk: no row is lost, and none is another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers.audited import write_photos

pyarrow: Any = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.parquet")
pytest.importorskip("sklearn")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")

PHOTOS = 90


def may_mount(folder: Path) -> bool:
    """Return whether a disk in memory can be mounted on a folder."""
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "tmpfs", folder], check=True, stderr=subprocess.DEVNULL
        )
        subprocess.run(["umount", folder], check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory, results: Path) -> dict[str, Any]:
    """Return what became of each audit."""
    photos, disks = tmp_path_factory.mktemp("photos"), tmp_path_factory.mktemp("disks")
    write_photos(photos, PHOTOS)
    script = Path(__file__).parent / "helpers" / "disturbed_audits.py"
    arguments = [script, photos, results, *([disks / "disk"] if may_mount(disks) else [])]
    paths = os.pathsep.join([str(script.parents[1]), *sys.path])
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def rows_of(run: Path) -> Any:
    """Return the rows in the files of a run, sorted by photo."""
    files = sorted(run.glob("rows/*.parquet"))
    return pyarrow.concat_tables(map(pyarrow.parquet.read_table, files)).sort_by("photo")


def assert_like_undisturbed(results: Path, name: str) -> None:
    """Assert that a run has each photo once, with the bits that an undisturbed run has."""
    rows, expected = rows_of(results / name), rows_of(results / "plain")
    assert len(set(expected["photo"].to_pylist())) == PHOTOS
    assert rows["photo"].to_pylist() == expected["photo"].to_pylist()
    for column in expected.column_names:
        assert rows[column].combine_chunks().equals(expected[column].combine_chunks()), column


def test_an_audit_that_is_killed_ten_times_has_the_rows_of_one_that_was_not(
    said: dict[str, Any], results: Path
) -> None:
    killed = said["killed"]
    assert len(killed["rows"]) == 10
    assert killed["rows"] == sorted(killed["rows"])  # no row is lost
    assert len(set(killed["rows"])) > 3  # nor were they all killed before or after the work
    assert killed["code"] == 0
    assert_like_undisturbed(results, "killed")


def test_an_interrupted_audit_keeps_its_rows_and_goes_on(
    said: dict[str, Any], results: Path
) -> None:
    assert said["interrupted"] == {"interrupted": 4, "rows": 10, "code": 0}
    assert_like_undisturbed(results, "interrupted")


def test_a_file_that_cannot_be_written_is_an_error_that_keeps_the_rows(
    said: dict[str, Any], results: Path
) -> None:
    assert said["limited"]["message"].startswith(f"Cannot write '{results}/limited/rows/part-")
    assert "File too large" in said["limited"]["message"]
    assert 0 < said["limited"]["rows"] <= 10
    assert said["limited"]["code"] == 0
    assert_like_undisturbed(results, "limited")


def test_a_full_disk_is_an_error_that_keeps_the_rows(said: dict[str, Any], results: Path) -> None:
    if "filled" not in said:
        pytest.skip("no disk can be mounted here: that takes the rights of root")
    filled = said["filled"]
    assert "No space left on device. Free some space" in filled["message"]
    assert 0 < filled["rows"] <= 10
    assert "Read-only file system. Pass another" in filled["read-only"]
    assert filled["code"] == 0
    assert_like_undisturbed(results, "filled")


def test_two_audits_do_not_write_one_folder(said: dict[str, Any], results: Path) -> None:
    assert f"'{results}/two/rows' is being written by another run" in said["two"]["message"]
    assert said["two"]["code"] == 0
    assert_like_undisturbed(results, "two")
