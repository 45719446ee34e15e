"""A Chinese page says what its English page says: the same code, headings, pictures and tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.docs_pages import CHINESE, ROOT, blocks, name_of, skeleton, without_comments

#: The pages that both languages have: the first ten of the site, and the README.
IN_BOTH = (
    "index", "start", "choose", "own-network", "trust", "cells", "audit", "deploy", "migrate",
    "how-it-works",
)  # fmt: skip


def english(page: Path) -> Path:
    """Return the English page of a Chinese one."""
    name = page.name.replace(".zh-CN.md", ".md").replace(".zh.md", ".md")
    return page.with_name(name)


def test_the_first_pages_are_in_chinese_too() -> None:
    wanted = {"README.zh-CN.md", *(f"docs/{name}.zh.md" for name in IN_BOTH)}
    assert wanted <= {name_of(page) for page in CHINESE}


translated = pytest.mark.parametrize("page", CHINESE, ids=lambda page: page.name)


@translated
def test_a_chinese_page_has_the_code_of_its_english_page(page: Path) -> None:
    here, there = (blocks(each.read_text()) for each in (page, english(page)))
    for ours, theirs in zip(here, there, strict=False):
        assert ours.language == theirs.language
        assert without_comments(ours) == without_comments(theirs), ours.text
    assert len(here) == len(there)


@translated
def test_a_chinese_page_has_the_headings_pictures_and_tables_of_its_english_page(
    page: Path,
) -> None:
    here, there = (skeleton(each.read_text()) for each in (page, english(page)))
    assert here.headings == there.headings
    assert here.pictures == there.pictures
    assert here.tables == there.tables


def test_what_must_be_equal_is_told_from_what_may_differ() -> None:
    """Comments and docstrings may be translated, and what a program writes may be left out."""
    code = "```python\nx = 1  # one\n```\n"
    (block,) = blocks(code)
    (same,) = blocks(code.replace("one", "一"))
    (other,) = blocks(code.replace("1", "2"))
    assert without_comments(block) == without_comments(same) != without_comments(other)
    page = "# A\n![a](a.png)\n\n| a |\n|---|\n| b |\n\n<!-- x -->\n\n| c |\n\n<!-- end -->\n"
    assert skeleton(page) == ([1], ["a.png"], [3])
    assert skeleton(page.replace("| b |\n", "")) != skeleton(page)
    assert name_of(english(ROOT / "README.zh-CN.md")) == "README.md"
    assert name_of(english(ROOT / "docs" / "start.zh.md")) == "docs/start.md"
