"""The records of decisions are numbered, short, in one form, and name what exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "decisions"
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))
every_record = pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem[:4])


def test_they_are_numbered_and_in_both_lists() -> None:
    assert [int(path.name[:4]) for path in RECORDS] == list(range(1, len(RECORDS) + 1))
    for page, folder in ((FOLDER / "index.md", ""), (ROOT / "docs" / "design.md", "decisions/")):
        text = page.read_text(encoding="utf-8")
        listed = re.findall(rf"\({folder}(\d{{4}}-[\w-]+\.md)\)", text)
        assert listed == [path.name for path in RECORDS]
        for path in RECORDS:
            assert path.read_text(encoding="utf-8").splitlines()[0].partition(". ")[2] in text


@every_record
def test_a_record_is_short_and_in_the_form(record: Path) -> None:
    text = record.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    assert text.startswith(f"# {int(record.name[:4])}. ")
    parts = re.findall(r"^\*\*(\w+)\.\*\* ", text, re.MULTILINE)
    assert parts == ["Context", "Decision", "Consequences", "Evidence"]


@every_record
def test_what_a_record_names_exists(record: Path) -> None:
    text = record.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (FOLDER / link).exists(), link
    for path in re.findall(r"`((?:tests|benchmarks|scripts)/[\w/.]+)`", text):
        assert (ROOT / path).exists(), path
