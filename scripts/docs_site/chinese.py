"""The Chinese half of the site: NAME.zh.md is the page of NAME.md in Chinese, at zh/NAME/.

Both languages are built at once, so that mkdocs checks every link and anchor between them. A page
without a Chinese one is linked to as it is.
"""

from __future__ import annotations

import posixpath
import re
from copy import deepcopy
from itertools import pairwise
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure import StructureItem
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.nav import Link, Navigation, Section
from mkdocs.structure.pages import Page

ENDING = ".zh.md"
LANGUAGES = {"en": "English", "zh": "中文"}

_HAN = "[\u3400-\u9fff]"


def is_chinese(file: File) -> bool:
    """Return whether a file is a Chinese page."""
    return file.src_uri.endswith(ENDING)


def english_of(uri: str) -> str:
    """Return the English page of a Chinese one; an English page is its own."""
    return uri.removesuffix(ENDING) + ".md" if uri.endswith(ENDING) else uri


def chinese_of(uri: str) -> str:
    """Return where the Chinese page of an English one would be in docs/."""
    return uri.removesuffix(".md") + ENDING


def place_chinese(files: Files, config: MkDocsConfig) -> None:
    """Give Chinese pages their places below zh/; the navigation of mkdocs.yml has none of them."""
    for file in filter(is_chinese, list(files)):
        english = files.get_file_from_path(english_of(file.src_uri))
        if english is None:
            raise ValueError(f"docs/{file.src_uri} is a page in Chinese that has no English one.")
        unlisted = InclusionLevel.NOT_IN_NAV
        placed = File.generated(
            config, file.src_uri, content=file.content_string, inclusion=unlisted
        )
        placed.dest_uri = posixpath.join("zh", english.dest_uri)
        files.remove(file)
        files.append(placed)


def chinese_navigation(english: Navigation, files: Files, config: MkDocsConfig) -> Navigation:
    """Return the navigation of the Chinese pages: English pages stay where no Chinese one is."""

    def translated(item: StructureItem) -> StructureItem:
        title = titles.get(item.title or "", item.title or "")
        if isinstance(item, Section):
            section = Section(title, [translated(child) for child in item.children])
            for child in section.children:
                child.parent = section
            return section
        if not isinstance(item, Page):
            return item
        file = files.get_file_from_path(chinese_of(item.file.src_uri))
        if file is None:
            return Link(title, item.url)
        page = Page(title, file, config)
        pages.append(page)
        return page

    titles: dict[str, str] = config.extra["titles_in_chinese"]
    pages: list[Page] = []
    items = [translated(item) for item in english.items]
    for before, after in pairwise(pages):
        before.next_page, after.previous_page = after, before
    navigation = Navigation(items, pages)
    navigation.homepage = next((p for p in pages if p.file.src_uri == f"index{ENDING}"), None)
    return navigation


def palettes(config: MkDocsConfig) -> dict[str, list[Any]]:
    """Return the theme's palettes by language: the button that switches them says what it does."""
    titles: dict[str, str] = config.extra["titles_in_chinese"]
    palettes = config.theme["palette"]
    translated = deepcopy(palettes)
    for palette in translated:
        palette["toggle"]["name"] = titles[palette["toggle"]["name"]]
    return {"en": palettes, "zh": translated}


def alternates(page: Page, files: Files) -> list[dict[str, str]]:
    """Return what the switch of languages offers on a page: the same page, or else the first."""
    english = english_of(page.file.src_uri)
    offered = []
    for language, uri in {"en": english, "zh": chinese_of(english)}.items():
        first = "index.md" if language == "en" else f"index{ENDING}"
        file = files.get_file_from_path(uri) or files.get_file_from_path(first)
        if file is not None:
            offered.append({"name": LANGUAGES[language], "link": file.url, "lang": language})
    return offered


def separated(text: str) -> str:
    """Return a text with a space of no width between Chinese characters: each can be found."""
    return re.sub(f"(?<={_HAN})(?={_HAN})", "\u200b", text)
