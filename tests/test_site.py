"""The documentation as a website: it builds, every link leads somewhere, nothing is fetched."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from docs_site.links import linked_sources, page_of, site_links, source_page

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `scripts/check` has just built it, or built here."""
    if "LIMELIGHT_SITE" in os.environ:
        return Path(os.environ["LIMELIGHT_SITE"])
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, env=quiet, check=False)
    assert done.returncode == 0, done.stderr
    return folder


class Read(HTMLParser):
    """What a page loads, where it leads, and the names of its places."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.leads: list[str] = []
        self.places: set[str] = set()
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = {name: value or "" for name, value in attrs}
        self.places |= {has[name] for name in ("id", "name") if name in has}
        self.loads += [has["src"]] if "src" in has else []
        if "href" in has and tag == "link" and has.get("rel") not in ("prev", "next", "alternate"):
            self.loads.append(has["href"])
        elif "href" in has:
            self.leads.append(has["href"])


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Read]:
    return {page: Read(page) for page in sorted(site.rglob("*.html"))}


def file_of(site: Path, page: Path, path: str) -> Path:
    """The file that a path on a page means."""
    where = site / path.lstrip("/") if path.startswith("/") else page.parent / path
    return (where / "index.html" if where.is_dir() else where).resolve()


def test_a_page_loads_nothing_from_elsewhere(site: Path, pages: dict[Path, Read]) -> None:
    for page, read in pages.items():
        assert read.loads
        for load in read.loads:
            url = urlsplit(load)
            assert not url.netloc, f"{page}: {load}"
            assert url.scheme == "data" or file_of(site, page, unquote(url.path)).is_file(), load


@pytest.mark.parametrize(
    ("page", "link", "on_the_site"),
    [
        ("guide.md", "[a](choose.md#how)", "[a](choose.md#how)"),
        ("guide.md", "[a](#here)", "[a](#here)"),
        ("guide.md", "[a](https://x.org/a.py)", "[a](https://x.org/a.py)"),
        ("guide.md", "[how](../CONTRIBUTING.md#the-house)", "[how](contributing.md#the-house)"),
        ("methods/cam.md", "[b](../choose.md)", "[b](../choose.md)"),
        ("guide.md", "[a\nb](../tests/conftest.py)", "[a\nb](source/tests/conftest.py.md)"),
        ("guide.md", "([README](../README.md))", "(`README.md`)"),
        ("guide.md", "[these](../tests)", "these (`tests`)"),
        ("guide.md", "[gone](../gone.txt)", "[gone](../gone.txt)"),
        ("guide.md", "`[a](../README.md)`", "`[a](../README.md)`"),
        ("guide.md", "```\n[a](../README.md)\n```", "```\n[a](../README.md)\n```"),
        ("contributing.md", "[plan](docs/design.md)", "[plan](design.md)"),
        ("contributing.md", "![house](docs/images/a.svg)", "![house](images/a.svg)"),
        ("decisions/a.md", "![house](../images/a.svg)", "![house](../images/a.svg)"),
    ],
)
def test_links_to_files_of_the_repository(page: str, link: str, on_the_site: str) -> None:
    assert site_links(f"So {link}.", page) == f"So {on_the_site}."


def test_a_linked_python_file_is_a_page() -> None:
    (path,) = linked_sources("[this](../tests/test_site.py), [that](choose.md)", "guide.md")
    page, text = source_page(path)
    assert page == page_of("tests/test_site.py") == "source/tests/test_site.py.md"
    source = Path(__file__).read_text()
    assert source in text
    (fence,) = re.findall("^(`+)python$", text, re.MULTILINE)
    assert "```" in source
    assert fence not in source
