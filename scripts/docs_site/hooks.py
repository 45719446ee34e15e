"""What mkdocs calls while it builds the site; mkdocs.yml names this file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parents[1]))  # mkdocs loads this file by its path
from docs_site import api_pages
from docs_site.links import INCLUDED, ROOT, linked_sources, site_links, source_page

#: The modules that make pages from the code: `pages()` gives them by their place in docs/.
PAGES_OF = (api_pages,)
ICON = ROOT / "src" / "limelight" / "web" / "static" / "icon.svg"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and the icon that are not in docs/."""
    files.append(File.generated(config, "assets/icon.svg", abs_src_path=str(ICON)))
    for page, source in INCLUDED.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    for module in PAGES_OF:
        for page, text in module.pages().items():
            files.append(File.generated(config, page, content=text))
    sources: set[str] = set()
    for file in files.documentation_pages():
        sources |= linked_sources(file.content_string, file.src_uri)
    for source in sorted(sources):
        page, text = source_page(source)
        unlisted = InclusionLevel.NOT_IN_NAV
        files.append(File.generated(config, page, content=text, inclusion=unlisted))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turn links to files of the repository into what the site has of them."""
    return site_links(markdown, page.file.src_uri)
