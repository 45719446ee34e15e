"""What coding assistants read: llms.txt and the skill file."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import limelight
from helpers.commands import Runner, folder, run, save_photo
from limelight.cli import COMMANDS
from limelight.methods import METHODS
from limelight.skill import SKILL_PATH, skill_text

__all__ = ["folder", "run"]  # fixtures

ROOT = Path(__file__).parent.parent
LLMS = (ROOT / "llms.txt").read_text()
SKILL = skill_text()
BOTH = pytest.mark.parametrize("text", [LLMS, SKILL], ids=["llms.txt", "SKILL.md"])


def test_llms_txt_has_a_title_a_summary_and_sections_of_links() -> None:
    title, summary, *_ = [line for line in LLMS.splitlines() if line]
    assert title == "# limelight"
    assert summary.startswith("> ")
    for section in LLMS.split("\n## ")[1:]:
        lines = [line for line in section.splitlines()[1:] if line]
        assert lines
        assert all(re.fullmatch(r"- \[[^]]+\]\([^)]+\): .+", line) for line in lines)


def test_every_link_leads_somewhere_and_no_page_is_forgotten() -> None:
    links = re.findall(r"\]\(([^)]+)\)", LLMS)
    assert len(links) == len(set(links)) > 10
    for link in links:
        assert (ROOT / link).is_file(), link


@BOTH
def test_every_name_exists(text: str) -> None:
    names = set(re.findall(r"\blimelight\.([A-Za-z_]\w*)", text)) - {"compat"}
    assert len(names) > 10
    for name in names:
        assert name in limelight.__all__, name
    for command in re.findall(r"`limelight ([a-z]+)", text):
        assert command in COMMANDS
    for method in re.findall(r'method(?:s|=)?="?([a-z-]+)', text):
        assert method in METHODS


def test_the_front_matter_names_and_describes_it() -> None:
    _, front, _ = SKILL.split("---\n", 2)
    fields = dict(line.split(": ", 1) for line in front.splitlines())
    assert fields["name"] == "limelight"
    assert 50 < len(fields["description"]) < 1024
    assert len(SKILL.splitlines()) < 200  # an assistant reads all of it


def test_the_code_of_the_skill_runs(folder: Path) -> None:
    save_photo(folder / "cat.jpg")
    blocks = re.findall(r"^```python\n(.*?)^```$", SKILL, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 6
    space: dict[str, object] = {}
    for block in blocks:
        exec(block, space)
    assert (folder / "sheet.png").is_file()


def test_the_command_prints_it_and_where_it_is(run: Runner) -> None:
    assert run("skill") == (0, SKILL, "")
    assert run(*shlex.split("skill --path")) == (0, f"{SKILL_PATH}\n", "")
    assert Path(limelight.__file__).parent in SKILL_PATH.parents  # so it is in the wheel
