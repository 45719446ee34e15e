"""What mkdocs calls while it builds the site; mkdocs.yml names this file."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).parents[2]
# mkdocs loads this file by its path. The pages tell of the source that is beside them.
sys.path[:0] = [str(REPOSITORY / "src"), str(REPOSITORY / "scripts")]
from docs_site import api_pages, chinese, links  # noqa: E402
from site_pages import error_pages, method_pages, metric_pages, question_pages  # noqa: E402
from site_pages.links import linked  # noqa: E402

#: The modules that make pages from the code: `pages()` gives them by their place in docs/.
PAGES_OF = (method_pages, metric_pages, question_pages, error_pages, api_pages)

#: Pages that a search shows before others that hold the same words, or after them: those that
#: answer come before those that say why.
SEARCH_BOOSTS = {
    "questions": 4,
    "api/": 0.3,
    "changelog": 0.3,
    "contributing": 0.3,
    "decisions/": 0.2,
    "design": 0.3,
    "machines": 0.5,
}
ICON = REPOSITORY / "src" / "limelight" / "web" / "static" / "icon.svg"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Prepare what differs between the languages of the theme."""
    config.extra["palettes"] = chinese.palettes(config)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and the icon that are not in docs/, and give Chinese pages their places."""
    files.append(File.generated(config, "assets/icon.svg", abs_src_path=str(ICON)))
    for page, source in links.INCLUDED.items():
        text = (REPOSITORY / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    for module in PAGES_OF:
        for page, text in module.pages().items():
            files.append(File.generated(config, page, content=text))
    groups = {"methods/*": method_pages.families(), "metrics/*": metric_pages.families()}
    places = [file.src_uri for file in files.documentation_pages()]
    config.nav = filled(config.nav, places, groups)
    sources: set[str] = set()
    for file in files.documentation_pages():
        sources |= links.linked_sources(file.content_string, file.src_uri)
    for source in sorted(sources):
        page, text = links.source_page(source)
        unlisted = InclusionLevel.NOT_IN_NAV
        files.append(File.generated(config, page, content=text, inclusion=unlisted))
    chinese.place_chinese(files, config)
    return files


def filled(nav: Any, pages: Sequence[str], groups: Mapping[str, Any] | None = None) -> Any:
    """Return a navigation of mkdocs.yml in which "FOLDER/*" is all pages of this folder.

    Args:
        nav: The navigation, or a part of it.
        pages: All pages, by their path in docs.
        groups: The pages of a folder by title, in the order of the navigation, if it has groups.
    """
    groups = groups or {}
    if isinstance(nav, list):
        parts = [filled(item, pages, groups) for item in nav]
        return [one for part in parts for one in (part if isinstance(part, list) else [part])]
    if isinstance(nav, dict):
        return {title: filled(item, pages, groups) for title, item in nav.items()}
    if nav in groups:
        return [{title: list(grouped)} for title, grouped in groups[nav].items()]
    if nav.endswith("/*"):
        return [page for page in pages if page.startswith(nav.removesuffix("*"))]
    return nav


def on_nav(nav: Navigation, config: MkDocsConfig, files: Files) -> Navigation:
    """Make the navigation of the Chinese pages, too."""
    config.extra["chinese_navigation"] = chinese.chinese_navigation(nav, files, config)
    config.extra["all_files"] = files
    return nav


def on_page_markdown(markdown: str, page: Page, files: Files, **_: Any) -> str:
    """Make links those of the site, link names to the reference, and dress the first page."""
    for start, boost in SEARCH_BOOSTS.items():
        if page.file.src_uri.startswith(start):
            page.meta.setdefault("search", {"boost": boost})
    if chinese.english_of(page.file.src_uri) == "index.md":
        page.meta.update(template="home.html", hide=["navigation", "toc"])
    known = {file.src_uri for file in files}
    markdown = linked(page.file.src_uri, markdown)
    markdown = links.site_links(markdown, page.file.src_uri, known)
    return links.named_links(markdown, api_pages.NAMES)


def on_page_context(
    context: dict[str, Any], page: Page, config: MkDocsConfig, **_: Any
) -> dict[str, Any]:
    """Show a page in its language, and offer the other one."""
    language = "zh" if chinese.is_chinese(page.file) else "en"
    config.theme["language"] = language
    config.theme["palette"] = config.extra["palettes"][language]
    config.extra["alternate"] = chinese.alternates(page, config.extra["all_files"])
    if language == "zh":
        context["nav"] = config.extra["chinese_navigation"]
    return context


def on_post_page(output: str, **_: Any) -> str:
    """Take the other language out of the head: the theme's script would lead links there astray."""
    return re.sub(r' *<link rel="alternate" href="[^"]*" hreflang="[^"]*">\n', "", output)


@event_priority(100)  # before the search writes its index
def on_post_build(config: MkDocsConfig, **_: Any) -> None:
    """Let Chinese be found: the search looks for what stands between separators."""
    search: Any = config.plugins["material/search"]
    for entry in search.search_index.entries:
        for field in ("title", "text"):
            entry[field] = chinese.separated(entry[field])
