"""The documentation as a website: it builds, every link leads somewhere, nothing is fetched."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from functools import partial
from html import unescape
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import torch
from torchvision.models import resnet18

from docs_site import api_pages, hooks, links
from docs_site.docstrings import one_by_one
from docs_site.links import linked_sources, page_of, site_links, source_page
from helpers.page_server import browser
from limelight import explain
from limelight.errors import LimelightError
from site_pages import method_pages, metric_pages

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


def test_every_link_leads_to_a_place(site: Path, pages: dict[Path, Read]) -> None:
    # mkdocs sees those in Markdown only: not those of HTML, of docstrings and of its theme.
    missing = []
    for page, read in pages.items():
        for lead in read.leads:
            url = urlsplit(lead)
            if url.scheme or url.netloc:
                continue
            to = file_of(site, page, unquote(url.path)) if url.path else page
            if not to.is_file():
                missing.append(f"{page.relative_to(site)}: {lead}")
            elif url.fragment and to.suffix == ".html":
                places = pages[to].places
                if unquote(url.fragment) not in places | {"__search", "__drawer"}:
                    missing.append(f"{page.relative_to(site)}: {lead}")
    assert missing == []


def test_no_markdown_is_left_unread(pages: dict[Path, Read]) -> None:
    for page in pages:
        (article,) = re.findall("<article.*?</article>", page.read_text(), re.DOTALL) or [""]
        prose = re.sub(r"<(pre|code|script)\b.*?</\1>|<[^>]+>", "", article, flags=re.DOTALL)
        left = re.findall(
            r".*(?:\]\(|\]\[|\*\*\w|```|\|--|^::: |^#+ |^[*-] ).*", prose, re.MULTILINE
        )
        assert left == [], page


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


def test_a_chinese_page_links_to_chinese_pages_and_to_its_own_english_page() -> None:
    pages = {"choose.md", "choose.zh.md", "start.md", "start.zh.md", "guide.md"}
    links = "[a](start.md#b) [c](choose.md#d) [e](guide.md)"
    assert site_links(links, "choose.md", pages) == links
    there = "[a](start.zh.md#b) [c](choose.md#d) [e](guide.md)"
    assert site_links(links, "choose.zh.md", pages) == there


def test_a_linked_python_file_is_a_page() -> None:
    (path,) = linked_sources("[this](../tests/test_site.py), [that](choose.md)", "guide.md")
    page, text = source_page(path)
    assert page == page_of("tests/test_site.py") == "source/tests/test_site.py.md"
    source = Path(__file__).read_text()
    assert source in text
    (fence,) = re.findall("^(`+)python$", text, re.MULTILINE)
    assert "```" in source
    assert fence not in source


def test_every_public_name_is_on_one_page() -> None:
    names = api_pages.NAMES
    assert len(names) == len(set(names))
    for package in ("limelight", "limelight.training", "limelight.deployed"):
        offered = {f"{package}.{name}" for name in import_module(package).__all__}
        on_pages = {n for n in names if n.rpartition(".")[0] == package}
        assert on_pages == offered, package
    errors = {f"limelight.errors.{e.__name__}" for e in raised_on_purpose()} - {
        "limelight.errors.LimelightError"
    }
    assert {name for name in names if name.startswith("limelight.errors.")} == errors


def raised_on_purpose() -> list[type]:
    kinds = vars(import_module("limelight.errors")).values()
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, LimelightError)]


def test_the_reference_needs_no_more_than_its_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert "limelight[figures]" in extras["docs"]
    code = """
from helpers.hidden_packages import hide
hide("torchvision timm safetensors scipy skimage tifffile typer rich pyarrow onnx fastapi".split())
from docs_site import api_pages
print(len(api_pages.pages()))
"""
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("src", "scripts", "tests"))
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        check=False,
    )
    assert done.stdout == f"{len(api_pages.API_PAGES) + 1}\n", done.stderr


@pytest.mark.parametrize("page", api_pages.API_PAGES)
def test_the_reference_shows_what_names_say(page: str, site: Path, pages: dict[Path, Read]) -> None:
    where = site / "api" / page / "index.html"
    text = " ".join(re.sub("<[^>]*>", "", where.read_text()).split())
    for name in api_pages.page_names(page):
        assert name in pages[where].places  # its anchor
        assert api_pages.summary(name).replace("`", "") in unescape(text), name


def test_names_in_prose_lead_to_the_reference() -> None:
    text = "# `limelight.cut`\n`limelight.cut`, `limelight.cats`, [`limelight.cut`](a.md)"
    assert links.named_links(text, api_pages.NAMES) == (
        "# `limelight.cut`\n[`limelight.cut`][limelight.cut], `limelight.cats`, "
        "[`limelight.cut`](a.md)"
    )


def test_arguments_that_are_told_of_together_are_shown_one_by_one() -> None:
    together = "one: First.\n    two, three: As in\n        `explain`."
    told = f"Do it.\n\nArgs:\n    {together}\n\nRaises:\n    A, B: No."
    assert one_by_one(told) == (
        "Do it.\n\nArgs:\n    one: First.\n    two: As in\n        `explain`.\n"
        "    three: As in\n        `explain`.\n\nRaises:\n    A, B: No."
    )


def test_no_page_is_twice_in_the_navigation() -> None:
    listed = re.findall(r"- .*: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert "start.md" in listed
    assert len(listed) == len(set(listed))


def test_a_folder_of_the_navigation_is_its_pages() -> None:
    nav = [{"Home": "index.md"}, {"API": [{"All": "api/*"}, "b.md"]}, {"C": ["c.md", "d/*"]}]
    pages = ["api/index.md", "api/x.md", "b.md", "c.md", "d/e.md", "index.md"]
    assert hooks.filled(nav, pages) == [
        {"Home": "index.md"},
        {"API": [{"All": ["api/index.md", "api/x.md"]}, "b.md"]},
        {"C": ["c.md", "d/e.md"]},
    ]


@pytest.fixture(scope="module")
def served(site: Path) -> Iterator[str]:
    """The address of the site."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as started:
        yield started


@pytest.fixture
def opened(chromium: Any, served: str) -> Iterator[Callable[..., Any]]:
    """Opens a page in a window of its own; fails on errors and on requests elsewhere."""
    contexts, wrong = [], []

    def note(response: Any) -> None:
        if response.status >= 400:
            wrong.append(f"{response.status} {response.url}")

    def ask(request: Any) -> None:
        if not request.url.startswith((served, "data:", "blob:")):
            wrong.append(request.url)

    def complain(message: Any) -> None:
        if message.type in ("error", "warning"):
            wrong.append(message.text)

    def open_page(path: str, width: int = 1280, **options: Any) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": 900}, **options)
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        page.on("response", note)
        page.on("request", ask)
        page.on("console", complain)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(served + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


#: A page of each kind: first page, tables, wide tables, code, reference, Chinese, made from a file.
KINDS = (
    *("", "zh/choose/", "choose/", "zoo/", "benchmarks/", "migrate/", "methods/", "api/explain/"),
    *(
        "api/",
        "contributing/",
        "page-api/",
        "methods/gradcam/",
        "errors/",
        "source/examples/article.py/",
    ),
)


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("path", KINDS)
def test_no_page_is_wider_than_its_window(
    path: str, width: int, opened: Callable[..., Any]
) -> None:
    page = opened(path, width)
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_a_wide_table_scrolls_within_itself(opened: Callable[..., Any]) -> None:
    table = opened("benchmarks/", 400).locator(".md-typeset__scrollwrap").first
    width, seen = table.evaluate("one => [one.scrollWidth, one.clientWidth]")
    assert width > seen
    assert table.evaluate("one => getComputedStyle(one).overflowX") == "auto"
    assert table.evaluate("one => { one.scrollLeft = 50; return one.scrollLeft; }") == 50


def test_colours_follow_the_system_until_they_are_chosen(opened: Callable[..., Any]) -> None:
    page = opened("choose/", color_scheme="light")

    def shown(scheme: str) -> None:
        page.locator(f"body[data-md-color-scheme={scheme}]").wait_for()

    shown("default")
    page.emulate_media(color_scheme="dark")
    shown("slate")
    page.emulate_media(color_scheme="light")
    shown("default")
    page.emulate_media(color_scheme="dark")
    shown("slate")
    page.locator("label[for=__palette_1]:visible").click()  # light, whatever the system says
    shown("default")
    page.reload()
    shown("default")


def test_the_switch_of_languages_leads_to_the_same_page(opened: Callable[..., Any]) -> None:
    page = opened("choose/")

    def switch(to: str) -> None:
        page.locator(".md-select").hover()
        page.locator(f".md-select__link[hreflang={to}]").click()

    switch("zh")
    page.wait_for_url("**/zh/choose/")
    assert page.locator("html").get_attribute("lang") == "zh"
    assert page.locator(".md-tabs__item--active").inner_text() == "指南"
    page.locator(".md-nav--primary a:has-text('部署')").first.click()
    page.wait_for_url("**/zh/deploy/")  # Chinese pages lead to Chinese pages
    switch("en")
    page.wait_for_url("**/deploy/")
    assert "/zh/" not in page.url
    assert page.locator("html").get_attribute("lang") == "en"


@pytest.mark.parametrize(
    ("start", "words", "found"),
    [
        ("choose/", "explain_photos", "/api/explain/#limelight.explain_photos"),
        ("choose/", "biased network", "/bias/"),
        ("choose/", "integrated gradients", "/methods/integrated-gradients/"),
        ("zh/choose/", "随机权重", "/zh/choose/#随机权重的网络"),
        ("zh/choose/", "迁移", "/zh/migrate/"),
    ],
)
def test_both_languages_can_be_searched(
    start: str, words: str, found: str, opened: Callable[..., Any]
) -> None:
    page = opened(start)
    page.locator(".md-search__input").click()
    page.keyboard.insert_text(words)
    page.keyboard.press("End")
    page.locator(".md-search-result__link").first.wait_for()
    links = [one.get_attribute("href") for one in page.locator(".md-search-result__link").all()]
    shown = [re.sub(r"\?h=[^#]*", "", unquote(link)) for link in links]
    assert any(link.endswith(found) for link in shown[:12]), shown


def test_the_families_of_methods_and_metrics_are_groups_of_the_navigation() -> None:
    groups = {"a/*": {"One": ["a/x.md"], "Two": ["a/y.md", "a/z.md"]}}
    pages = ["a/x.md", "a/y.md", "a/z.md"]
    assert hooks.filled([{"A": ["b.md", "a/*"]}], pages, groups) == [
        {"A": ["b.md", {"One": ["a/x.md"]}, {"Two": ["a/y.md", "a/z.md"]}]}
    ]
    for module in (method_pages, metric_pages):
        grouped = [page for family in module.families().values() for page in family]
        assert sorted(grouped) == sorted(module.pages())


def test_no_code_shows_the_backslash_of_a_pipe(site: Path) -> None:
    for page in ("methods", "measure", "methods/saliency"):
        (article,) = re.findall(
            "<article.*?</article>", (site / page / "index.html").read_text(), re.DOTALL
        )
        assert "|" in article
        assert r"\|" not in article


def messages() -> dict[str, str]:
    """Errors as they are raised, by the beginning of the entry that says them."""
    model = resnet18(weights=None)
    images = torch.randn(1, 3, 64, 64)
    calls: dict[str, Callable[[], object]] = {
        "There is no layer named": lambda: explain(model, images, layer="layer9"),
        "The target class is": lambda: explain(model, images, target=5000),
        "The layer '{path}' ({kind}) put out": lambda: explain(model, images, layer="fc"),
        "The method needs attention": lambda: explain(model, images, method="rollout"),
        "expected 4D input": lambda: explain(model, images[0]),
    }
    raised = {}
    for start, call in calls.items():
        with pytest.raises(Exception, match=r"\w") as caught:
            call()
        raised[start] = f"{caught.type.__name__}: {caught.value}"
    return raised


def test_a_pasted_error_is_found(opened: Callable[..., Any]) -> None:
    page = opened("errors/")
    field, found = page.locator("#error-message"), page.locator(".error-finder li")
    for start, message in messages().items():
        field.fill(f'Traceback (most recent call last):\n  File "a.py", line 3\n{message}')
        assert found.first.inner_text().startswith(start), message
    field.fill("memory")
    assert any("CUDA out of memory" in each for each in found.all_inner_texts())
    field.fill("xyzzy")
    assert found.count() == 0
    assert page.locator(".error-finder > p").is_visible()
    field.fill("")
    assert not page.locator(".error-finder > p").is_visible()
