"""The skill file of limelight, for coding assistants: which call answers which question."""

from __future__ import annotations

from pathlib import Path

#: The file, which stands beside this one in the wheel.
SKILL_PATH = Path(__file__).with_name("SKILL.md")


def skill_text() -> str:
    """Return the text of the skill file."""
    return SKILL_PATH.read_text(encoding="utf-8")
