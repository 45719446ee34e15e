"""Links of docs/ that are right on GitHub, made right on the site.

A page may link to any file of the repository. The site has pages for some of them: those of docs/,
the two in INCLUDED, and Python files, which are shown as they are. Of other files the names stay,
as text.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from docs_site.chinese import ENDING, chinese_of

ROOT = Path(__file__).parents[2]

#: Files of the repository that are pages of the site, by where they are on it.
INCLUDED = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}

#: A block of code, a word of code that stands in no link, or a link or an image.
_CODE_OR_LINK = re.compile(
    r"^ *(?P<fence>`{3,})[^\n]*\n.*?^ *(?P=fence)$|(?P<ticks>`+)(?!`).*?(?<!`)(?P=ticks)(?!`)"
    r"|(?P<image>!?)\[(?P<label>(?:[^\[\]]|\[[^\[\]]*\])*)\]\((?P<target>[^()\s]+)\)",
    re.DOTALL | re.MULTILINE,
)


class Link(NamedTuple):
    """A link or an image of a page: "!" or nothing, what it says, and where it leads."""

    image: str
    label: str
    path: str  #: in the repository
    anchor: str  #: with its #, or empty

    def leading_to(self, path: str) -> str:
        """Return it in Markdown, with another path."""
        return f"{self.image}[{self.label}]({path}{self.anchor})"


def source_of(page: str) -> str:
    """Return the path in the repository of a page of the site."""
    return INCLUDED.get(page, f"docs/{page}")


def page_of(path: str) -> str | None:
    """Return the page of the site that shows a file of the repository, if there is one."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    for page, source in INCLUDED.items():
        if path == source:
            return page
    return f"source/{path}.md" if path.endswith(".py") else None


def source_page(path: str) -> tuple[str, str]:
    """Return where the page of a Python file is, and the page."""
    text = (ROOT / path).read_text(encoding="utf-8")
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    title = f"---\nsearch:\n  exclude: true\n---\n\n# {posixpath.basename(path)}\n\n`{path}`\n"
    return f"source/{path}.md", f"{title}\n{fence}python\n{text}{fence}\n"


def linked_sources(markdown: str, page: str) -> set[str]:
    """Return the Python files of the repository that a page links to."""
    found: set[str] = set()

    def note(link: Link) -> None:
        if link.path.endswith(".py") and not link.path.startswith("docs/"):
            found.add(link.path)

    _each_link(markdown, page, note)
    return found


def site_links(markdown: str, page: str, pages: Collection[str] = ()) -> str:
    """Return a page with its links to files of the repository as the site has them.

    A Chinese page links to Chinese pages, where `pages` has them, and to its own English page.
    """
    chinese = page.endswith(ENDING)

    def rewritten(link: Link) -> str | None:
        to = page_of(link.path)
        if to is not None:
            if chinese and chinese_of(to) in pages and chinese_of(to) != page:
                to = chinese_of(to)
            return link.leading_to(posixpath.relpath(to, posixpath.dirname(page) or "."))
        if not (ROOT / link.path).exists():
            return None  # mkdocs says that it leads nowhere
        name = link.label.strip("`")
        named = name.lower() in link.path.lower()
        return f"`{link.path}`" if named else f"{link.label} (`{link.path}`)"

    return _each_link(markdown, page, rewritten)


def named_links(markdown: str, names: Collection[str]) -> str:
    """Return a page in which `limelight.NAME`, where it is one of these, leads to the reference."""

    def one(match: re.Match[str]) -> str:
        line = markdown[markdown.rfind("\n", 0, match.start()) + 1 : match.start()]
        name = match[0].strip("`")
        known = name in names and not line.startswith("#")  # a heading is a link of its own
        return f"[{match[0]}][{name}]" if known else match[0]

    return _CODE_OR_LINK.sub(one, markdown)


def _each_link(markdown: str, page: str, rewritten: Callable[[Link], str | None]) -> str:
    """Replace each link to a file, where it is to be replaced; code is left as it is."""
    folder = posixpath.dirname(source_of(page))

    def one(match: re.Match[str]) -> str:
        image, label, target = match["image"], match["label"], match["target"]
        if label is None or re.match(r"[a-z]+:|#|/", target):  # code; elsewhere; this page
            return match[0]
        path, hash_, anchor = target.partition("#")
        path = posixpath.normpath(posixpath.join(folder, path))
        return rewritten(Link(image, label, path, hash_ + anchor)) or match[0]

    return _CODE_OR_LINK.sub(one, markdown)
