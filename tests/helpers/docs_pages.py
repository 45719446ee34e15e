"""The pages of the documentation, read: their blocks of code, commands, headings, links."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
CHINESE = [*ROOT.glob("README.zh-CN.md"), *sorted((ROOT / "docs").rglob("*.zh.md"))]
#: The pages in English. They are found, so that no page has to be named here to be tested.
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted({*(ROOT / "docs").rglob("*.md")} - {*CHINESE}),
]

_FENCE = re.compile(r"^( *)(`{3,})([\w-]*)[^\n`]*\n(.*?)^\1\2 *$", re.DOTALL | re.MULTILINE)
#: What programs write into a page: `<!-- name -->` to `<!-- end -->`, or `<!-- name:begin -->` on.
_WRITTEN = re.compile(r"<!-- ([\w-]+)(:begin)? -->\n.*?<!-- (\1:)?end -->\n", re.DOTALL)

#: The programs whose lines in a page are commands.
PROGRAMS = {
    *("limelight", "make", "pip", "python", "docker", "curl", "npm", "cd", "git", "conda"),
    *("scripts/elsewhere", "scripts/check", "scripts/hostile", "scripts/house"),
}
SHELLS = {"", "sh", "bash", "console"}


class Block(NamedTuple):
    """A block of code: its language, "" if none is named, and its text."""

    language: str
    text: str


class Command(NamedTuple):
    """A line for a shell: without its comment, and with its continuation lines."""

    page: str
    line: str


def name_of(page: Path) -> str:
    """Return a page's path from the root on."""
    return str(page.relative_to(ROOT))


def blocks(text: str, language: str | None = None) -> list[Block]:
    """Return the blocks of a text, also those inside lists; of one language if it is named."""
    found = [Block(kind, textwrap.dedent(body)) for _, _, kind, body in _FENCE.findall(text)]
    return [block for block in found if language in (None, block.language)]


def python_of(text: str) -> list[str]:
    """Return the blocks of Python, each as text."""
    return [block.text for block in blocks(text, "python")]


def sections(text: str) -> dict[str, str]:
    """Return the sections of a page (level 2), by their headings; "" is what stands before."""
    first, *others = text.split("\n## ")
    return {"": first, **{part.partition("\n")[0]: part for part in others}}


def lines_of(block: Block) -> Iterator[str]:
    """Return the lines of a block for a shell: joined where they go on, without comments."""
    for line in re.sub(r"\\\n\s*", "", block.text).splitlines():
        if bare := re.sub(r"(^|\s)#.*$", "", line).rstrip():
            yield bare


def commands(page: Path) -> list[Command]:
    """Return the commands of a page."""
    of_shells = [block for block in blocks(page.read_text()) if block.language in SHELLS]
    lines = [line for block in of_shells for line in lines_of(block)]
    return [Command(name_of(page), line) for line in lines if line.split()[0] in PROGRAMS]


def without_comments(block: Block) -> object:
    """Return what a translated block has to have in common with the original."""
    if block.language in ("python", "py"):
        try:
            tree = ast.parse(block.text)
        except SyntaxError:  # a part of a script
            return [*lines_of(block)]
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
                node.body = node.body[1:] or [ast.Pass()]
        return ast.dump(tree)
    return [*lines_of(block)]


class Skeleton(NamedTuple):
    """What a page and its translation have in common."""

    headings: list[int]
    pictures: list[str]
    tables: list[int]


def skeleton(text: str) -> Skeleton:
    """Return the levels of a page's headings, its pictures, and the rows of its tables.

    What a program writes is left out: the translation refers to the English page for it.
    """
    prose = _FENCE.sub("", _WRITTEN.sub("", text))
    headings = [len(level) for level in re.findall(r"^(#+) ", prose, re.MULTILINE)]
    pictures = re.findall(r"!\[[^]]*\]\(([^)\s]+)\)", prose)
    tables = [len(rows.splitlines()) for rows in re.findall(r"(?:^\|.*\n?)+", prose, re.MULTILINE)]
    return Skeleton(headings, pictures, tables)


def places(text: str) -> set[str]:
    """Return the names to which links of a page can lead, as GitHub and the site make them."""
    found, prose = set(re.findall(r'<a id="([^"]+)">', text)), _FENCE.sub("", text)
    for title in re.findall(r"^#+ (.+)$", prose, re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title).replace("`", "")
        name = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        found.add(name if name not in found else f"{name}-1")
    return found


def links(text: str) -> list[tuple[str, str]]:
    """Return the links of a page: where each leads, and the place there, both perhaps ""."""
    prose = re.sub(r"`[^`\n]*`", "", _FENCE.sub("", text))
    return re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", prose)
